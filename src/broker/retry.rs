// SPDX-License-Identifier: Apache-2.0
//! The topics that belong to a group, and a message that could not be consumed, made ready for its next try.
//!
//! Knows records and properties; where the message goes is decided by whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use ferrocket_protocol::body::TopicConfig;
use ferrocket_protocol::message::{MessageInner, MessageView, id, properties, property, tags_code_of};
use ferrocket_protocol::{Str, perm};

use super::Broker;
use super::topics::{FoundTopic, QUEUES_MAX};

/// Added to the number of tries so far when the consumer names no delay level: the first retry waits 10 s.
pub const FIRST_RETRY_LEVEL: i32 = 3;

/// A topic of a group's own; the name servers hear of it when it had to be made or changed. `None` while one of that name is being deleted.
pub fn own_topic(broker: &Arc<Broker>, name: String, queue_count: i32, sys_flag: i32, order: bool) -> Option<FoundTopic> {
    // A group that a file brings may ask for more.
    let queue_count = queue_count.min(QUEUES_MAX);
    let found = broker.topics.find_or_create_own(TopicConfig {
        topic_name: name,
        read_queue_nums: queue_count,
        write_queue_nums: queue_count,
        perm: perm::READ_WRITE,
        topic_sys_flag: sys_flag,
        order,
        ..TopicConfig::default()
    })?;
    if found.is_created() {
        broker.announce();
    }
    Some(found)
}

/// The next try of `record`: the same message, one more try counted, with the names that lead back to where it came from.
/// `delay_level` 0 is none.
pub fn next_try(record: &MessageView<'_>, topic: &str, queue_id: i32, delay_level: i32, store_host: SocketAddr) -> MessageInner {
    let mut edited = record.properties.to_vec();
    if properties::find(record.properties, property::RETRY_TOPIC).is_none() {
        properties::set(&mut edited, property::RETRY_TOPIC, record.topic);
    }
    properties::set(&mut edited, property::WAIT, "false");
    properties::set(&mut edited, property::DELAY, delay_level.to_string());
    let is_blank = |origin: &str| origin.trim().is_empty();
    if properties::find_str(record.properties, property::ORIGIN_MESSAGE_ID).is_none_or(is_blank) {
        let origin = id::offset_id(record.store_host, record.physical_offset);
        properties::set(&mut edited, property::ORIGIN_MESSAGE_ID, origin.as_str());
    }
    MessageInner {
        topic: Str::copy_from(topic),
        queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp: record.born_timestamp,
        born_host: record.born_host,
        store_host,
        reconsume_times: record.reconsume_times.saturating_add(1),
        prepared_transaction_offset: 0,
        body: Bytes::copy_from_slice(record.body),
        properties: edited.into(),
        tags_code: tags_code_of(record.properties),
    }
}
