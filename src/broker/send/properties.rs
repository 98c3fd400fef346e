// SPDX-License-Identifier: Apache-2.0
//! The property string of a message that is sent: what the broker looks for in the client's, and how its own is put together.
//!
//! Knows the names of properties, and nothing of topics, queues or answers.

use std::borrow::Cow;
use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use ferrocket_protocol::message::{properties, property};

use super::UniqueKey;
use crate::config::BrokerConfig;

/// Room for the properties of a good many messages; longer ones get memory of their own.
const PROPERTIES_BYTES: usize = 4096;

thread_local! {
    /// Where this thread puts properties together: free again when the message is in the log.
    static PROPERTIES: RefCell<BytesMut> = RefCell::default();
    static STAMP: RefCell<Stamp> = RefCell::default();
}

/// The properties that the broker gives every message: the same bytes until the configuration changes.
#[derive(Default)]
struct Stamp {
    region_id: String,
    trace_on: bool,
    cluster: String,
    bytes: BytesMut,
}

impl Stamp {
    fn is_of(&self, config: &BrokerConfig) -> bool {
        self.region_id == config.region_id && self.trace_on == config.trace_on && self.cluster == config.broker_cluster_name
    }

    fn of(config: &BrokerConfig) -> Self {
        let mut bytes = BytesMut::new();
        put_pair(&mut bytes, property::MSG_REGION, config.region_id.as_bytes());
        put_pair(&mut bytes, property::TRACE_ON, if config.trace_on { b"true" } else { b"false" });
        put_pair(&mut bytes, property::CLUSTER, config.broker_cluster_name.as_bytes());
        Self { region_id: config.region_id.clone(), trace_on: config.trace_on, cluster: config.broker_cluster_name.clone(), bytes }
    }
}

/// Calls `with` with the stamp that `config` says.
pub(super) fn with_stamp<T>(config: &BrokerConfig, with: impl FnOnce(&[u8]) -> T) -> T {
    STAMP.with_borrow_mut(|stamp| {
        if stamp.bytes.is_empty() || !stamp.is_of(config) {
            *stamp = Stamp::of(config);
        }
        with(&stamp.bytes)
    })
}

/// What one walk over the client's properties finds. Of a name that comes twice the later value counts.
#[derive(Default)]
pub(super) struct Seen<'a> {
    pub(super) unique_key: Option<&'a [u8]>,
    /// Where the unique key begins.
    pub(super) unique_key_at: usize,
    pub(super) tags: Option<&'a [u8]>,
    pub(super) keys: Option<&'a [u8]>,
    pub(super) delay: Option<&'a [u8]>,
    pub(super) transaction: Option<&'a [u8]>,
    pub(super) priority: Option<&'a [u8]>,
    pub(super) lite_topic: Option<&'a [u8]>,
    pub(super) has_timer: bool,
    pub(super) has_timer_out: bool,
    pub(super) has_sharding_key: bool,
    pub(super) has_inner_number: bool,
    pub(super) has_pop_check_point: bool,
    /// One of the three that the broker sets itself.
    pub(super) has_stamp: bool,
    /// There are parts that no reader would see.
    pub(super) is_ragged: bool,
    /// The last separator is missing.
    pub(super) has_open_end: bool,
}

impl<'a> Seen<'a> {
    pub(super) fn scan(properties: &'a [u8]) -> Self {
        let mut seen = Self::default();
        let mut end = 0;
        for part in properties::parts(properties) {
            end += part.len() + 1;
            let Some((name, value)) = properties::pair(part) else {
                seen.is_ragged = true;
                continue;
            };
            // The first letter sends most of the user's own properties on their way.
            match name.first() {
                Some(b'U') if name == property::UNIQ_KEY.as_bytes() => {
                    (seen.unique_key, seen.unique_key_at) = (Some(value), end - 1 - value.len());
                }
                Some(b'K') if name == property::KEYS.as_bytes() => seen.keys = Some(value),
                Some(b'D') if name == property::DELAY.as_bytes() => seen.delay = Some(value),
                Some(b'P') if name == property::POP_CK.as_bytes() => seen.has_pop_check_point = true,
                Some(b'M') if name == property::MSG_REGION.as_bytes() => seen.has_stamp = true,
                Some(b'C') if name == property::CLUSTER.as_bytes() => seen.has_stamp = true,
                Some(b'I') if name == property::INNER_NUM.as_bytes() => seen.has_inner_number = true,
                Some(b'T') => match name {
                    _ if name == property::TAGS.as_bytes() => seen.tags = Some(value),
                    _ if name == property::TRACE_ON.as_bytes() => seen.has_stamp = true,
                    _ if name == property::TRAN_MSG.as_bytes() => seen.transaction = Some(value),
                    _ if name == property::TIMER_OUT_MS.as_bytes() => seen.has_timer_out = true,
                    _ if TIMER_NAMES.iter().any(|timer| name == timer.as_bytes()) => seen.has_timer = true,
                    _ => {}
                },
                Some(b'_') => match name {
                    _ if name == property::PRIORITY.as_bytes() => seen.priority = Some(value),
                    _ if name == property::LITE_TOPIC.as_bytes() => seen.lite_topic = Some(value),
                    _ if name == property::SHARDING_KEY.as_bytes() => seen.has_sharding_key = true,
                    _ => {}
                },
                _ => {}
            }
        }
        seen.has_open_end = properties.last().is_some_and(|last| *last != properties::PROPERTY_SEPARATOR);
        seen
    }

    /// The client's own key as a part of `properties`, which begin with those that were scanned unless something was cut out.
    pub(super) fn unique_key_in(&self, properties: &Bytes, is_whole: bool) -> UniqueKey {
        let Some(key) = self.unique_key else { return UniqueKey::None };
        UniqueKey::Client(if is_whole && !self.is_ragged {
            properties.slice(self.unique_key_at..self.unique_key_at + key.len())
        } else {
            Bytes::copy_from_slice(key)
        })
    }

    /// 0 without one; the text that is no number.
    pub(super) fn delay_level(&self) -> Result<i32, Cow<'a, str>> {
        let Some(value) = self.delay else { return Ok(0) };
        let text = String::from_utf8_lossy(value);
        text.parse().map_err(|_| text)
    }

    pub(super) fn is_half(&self) -> bool {
        self.transaction.is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
    }

    pub(super) fn is_timer(&self) -> bool {
        self.has_timer && !self.has_timer_out
    }

    /// A priority of 0 or more.
    pub(super) fn priority(&self) -> Option<i32> {
        self.priority.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).filter(|priority| *priority >= 0)
    }

    /// TopicMessageType#parseFromMessageProperty: the other kinds come first.
    pub(super) fn is_priority_message(&self) -> bool {
        !self.is_half() && self.delay.is_none() && !self.has_timer && !self.has_sharding_key
    }
}

const TIMER_NAMES: [&str; 3] = [property::TIMER_DELIVER_MS, property::TIMER_DELAY_SEC, property::TIMER_DELAY_MS];

/// The client's properties without those in `cut`, closed by a separator so that more can follow.
pub(super) fn copy_client_properties(out: &mut BytesMut, client: &[u8], seen: &Seen<'_>, cut: &[&'static str]) {
    if cut.is_empty() && !seen.is_ragged {
        out.put_slice(client);
        if seen.has_open_end {
            out.put_u8(properties::PROPERTY_SEPARATOR);
        }
        return;
    }
    for (name, value) in properties::iter(client) {
        if !cut.iter().any(|cut| name == cut.as_bytes()) {
            out.put_slice(name);
            out.put_u8(properties::NAME_VALUE_SEPARATOR);
            out.put_slice(value);
            out.put_u8(properties::PROPERTY_SEPARATOR);
        }
    }
}

/// Properties of about so many bytes, as `write` makes them.
pub(super) fn put_together(bytes: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    if bytes > PROPERTIES_BYTES {
        let mut own = BytesMut::with_capacity(bytes);
        write(&mut own);
        return own.freeze();
    }
    PROPERTIES.with_borrow_mut(|shared| {
        if shared.capacity() < bytes {
            shared.reserve(PROPERTIES_BYTES);
        }
        // What a panic left behind belongs to no message.
        shared.clear();
        write(shared);
        shared.split().freeze()
    })
}

/// Appends a pair to properties that are closed by a separator.
#[inline(always)]
pub(super) fn put_pair(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_u8(properties::NAME_VALUE_SEPARATOR);
    out.put_slice(value);
    out.put_u8(properties::PROPERTY_SEPARATOR);
}
