// SPDX-License-Identifier: Apache-2.0
//! What follows from a record of the log: its unit in a ConsumeQueue, its entries in the index, and the word of its arrival.
//!
//! One rule, however a record got into the log: by a put, or in a stretch of a master's log (`append_raw`); and whenever it is read again:
//! by a recovery, by what mends a ConsumeQueue, by the indexer. Java's CommitLogDispatcher. Knows no lock and no file.

use ferrocket_protocol::java_hash;
use ferrocket_protocol::message::{MessageView, properties, property, sys_flag, tags_code_of};
use ferrocket_protocol::topic_names;

use super::index_file::{Key, key_hash};
use super::record::Named;
use super::unit::Unit;

/// Half messages that were rolled back or are not yet decided have no place in a ConsumeQueue.
pub(super) fn is_dispatched(flag: i32) -> bool {
    matches!(sys_flag::transaction_type(flag), sys_flag::TRANSACTION_NOT | sys_flag::TRANSACTION_COMMIT)
}

/// What the last field of a record's unit says. The time of a delayed message's delivery is known when its store time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitTags {
    Code(i64),
    DelayLevel(usize),
}

impl UnitTags {
    /// Of a record of this topic; `tags_code` is the hash of its tags.
    pub(super) fn of(topic: &str, record_properties: &[u8], tags_code: impl FnOnce() -> i64) -> Self {
        match if topic == topic_names::SCHEDULE { delay_level(record_properties) } else { None } {
            Some(level) => Self::DelayLevel(level),
            None => Self::Code(tags_code()),
        }
    }
}

/// The delay level that a record of SCHEDULE_TOPIC_XXXX waits for; its unit's tagsCode is then the time of delivery.
fn delay_level(record_properties: &[u8]) -> Option<usize> {
    let level: i64 = properties::find_str(record_properties, property::DELAY)?.trim().parse().ok()?;
    usize::try_from(level).ok().filter(|level| *level > 0)
}

/// The rule, with what it depends on besides the record. Fixed when the store opens.
pub(super) struct DispatchRule {
    delay_level_millis: Vec<i64>,
}

impl DispatchRule {
    pub(super) fn new(delay_level_millis: Vec<i64>) -> Self {
        Self { delay_level_millis }
    }

    pub(super) fn tags_code(&self, tags: UnitTags, store_timestamp: i64) -> i64 {
        match tags {
            UnitTags::Code(code) => code,
            // Java's computeDeliverTimestamp: levels beyond the table are its last, and a hole in it is a second.
            UnitTags::DelayLevel(level) => {
                let level = level.min(self.delay_level_millis.len());
                store_timestamp + level.checked_sub(1).and_then(|index| self.delay_level_millis.get(index)).copied().unwrap_or(1_000)
            }
        }
    }

    /// The unit of a record that is in the log; `None` when it has none.
    pub(super) fn unit_of(&self, record: &MessageView<'_>) -> Option<Unit> {
        if !is_dispatched(record.sys_flag) {
            return None;
        }
        let tags = UnitTags::of(record.topic, record.properties, || tags_code_of(record.properties));
        let tags_code = self.tags_code(tags, record.store_timestamp);
        Some(Unit { physical_offset: record.physical_offset, size: record.total_bytes() as i32, tags_code })
    }
}

/// The keys of one message, as hashes of `topic#key`, in the order in which Java adds them.
pub(super) fn push_keys(record: &Named<'_>, physical_offset: i64, keys: &mut Vec<Key>) {
    if sys_flag::transaction_type(record.head.sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
        return;
    }
    // One walk over the properties; of a name that comes twice the later value counts.
    let (mut unique, mut named, mut tags) = (None, None, None);
    for part in properties::parts(record.properties) {
        match part.first() {
            Some(b'U') => unique = properties::value(part, property::UNIQ_KEY).or(unique),
            Some(b'K') => named = properties::value(part, property::KEYS).or(named),
            Some(b'T') => tags = properties::value(part, property::TAGS).or(tags),
            _ => {}
        }
    }
    let of_topic = java_hash::extend(java_hash::extend_bytes(0, record.topic), "#");
    let mut push = |begin: i32, key: &[u8]| {
        let hash = key_hash(java_hash::extend_bytes(begin, key));
        keys.push(Key { hash, physical_offset, store_timestamp: record.head.store_timestamp });
    };
    if let Some(unique) = unique {
        push(of_topic, unique);
    }
    for key in named.unwrap_or_default().split(|byte| *byte == b' ').filter(|key| !key.is_empty()) {
        push(of_topic, key);
    }
    if let Some(tags) = tags {
        push(java_hash::extend(of_topic, TAG_KIND), tags);
    }
}

/// Since 5.5: tags are keys of their own kind.
pub(super) const TAG_KIND: &str = "T#";
