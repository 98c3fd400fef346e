// SPDX-License-Identifier: Apache-2.0
//! What a half message turns into: from the message that a producer prepares to the one that consumers see, the question to its
//! producers, or the copy that is kept when nobody answers.
//!
//! Knows records and properties; where a message goes and when is decided by whoever asks.

use bytes::Bytes;
use ferrocket_protocol::Str;
use ferrocket_protocol::header::CheckTransactionStateRequestHeader;
use ferrocket_protocol::message::{
    MessageInner, MessageView, encode_record, id, patch_record, properties, property, sys_flag, tags_code_of,
};
use ferrocket_protocol::topic_names;

/// Room for the three properties that a half message gets, without their values.
const PREPARED_BYTES_USUAL: usize = 64;

/// Turns a message for some topic into a half message of it. `unique_key` is its UNIQ_KEY.
pub fn prepare(message: &mut MessageInner, unique_key: Option<&[u8]>) {
    let mut edited =
        Vec::with_capacity(message.properties.len() + message.topic.len() + unique_key.map_or(0, <[u8]>::len) + PREPARED_BYTES_USUAL);
    edited.extend_from_slice(&message.properties);
    if let Some(unique_key) = unique_key {
        properties::set(&mut edited, property::TRANSACTION_ID, unique_key);
    }
    properties::set(&mut edited, property::REAL_TOPIC, &*message.topic);
    properties::set(&mut edited, property::REAL_QID, message.queue_id.to_string());
    message.properties = edited.into();
    message.sys_flag = sys_flag::with_transaction_type(message.sys_flag, sys_flag::TRANSACTION_NOT);
    message.topic = Str::from_static(topic_names::TRANS_HALF);
    message.queue_id = 0;
}

/// Whether this is a half message, of which an end may be told.
pub fn is_half(view: &MessageView<'_>) -> bool {
    view.topic == topic_names::TRANS_HALF && view.queue_id == 0
}

/// Whether this is a half message that was given up.
pub fn is_given_up(view: &MessageView<'_>) -> bool {
    view.topic == topic_names::TRANS_CHECK_MAX_TIME
}

/// The topic and queue that the message is for; `None` when the record does not name them, or when no producer may send there: the
/// log may be another broker's.
pub fn destination<'a>(view: &MessageView<'a>) -> Option<(&'a str, i32)> {
    let queue_id = view.property(property::REAL_QID)?.parse().ok().filter(|queue_id| *queue_id >= 0)?;
    let topic = view.property(property::REAL_TOPIC).filter(|topic| topic_names::takes_sends(topic))?;
    Some((topic, queue_id))
}

/// How often its producers had been asked when the record was stored: the original stores it again with each question.
pub fn check_times(view: &MessageView<'_>) -> u32 {
    view.property(property::TRANSACTION_CHECK_TIMES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How long nobody is asked about the half, in milliseconds: what the message says, else `transactionTimeOut`.
pub fn immunity_millis(record_properties: &[u8], timeout_millis: i64) -> i64 {
    let own = properties::find_str(record_properties, property::CHECK_IMMUNITY_TIME_IN_SECONDS);
    let seconds = own.and_then(|text| text.parse::<i64>().ok()).filter(|seconds| *seconds >= 0);
    seconds.map_or(timeout_millis, |seconds| seconds.saturating_mul(1_000))
}

/// The message as its own topic gets it. `record` is the half message's, `check_times` how often its producers were asked.
pub fn committed(record: &Bytes, view: &MessageView<'_>, check_times: u32) -> Option<MessageInner> {
    let (topic, queue_id) = destination(view)?;
    let mut edited = Vec::with_capacity(view.properties.len() + PREPARED_BYTES_USUAL);
    for (name, value) in properties::iter(view.properties) {
        if name != property::REAL_TOPIC.as_bytes() && name != property::REAL_QID.as_bytes() {
            edited.extend_from_slice(name);
            edited.push(properties::NAME_VALUE_SEPARATOR);
            edited.extend_from_slice(value);
            edited.push(properties::PROPERTY_SEPARATOR);
        }
    }
    count_checks(&mut edited, check_times);
    Some(MessageInner {
        topic: Str::copy_from(topic),
        queue_id,
        flag: view.flag,
        sys_flag: sys_flag::with_transaction_type(view.sys_flag, sys_flag::TRANSACTION_COMMIT),
        born_timestamp: view.born_timestamp,
        born_host: view.born_host,
        store_host: view.store_host,
        reconsume_times: view.reconsume_times,
        prepared_transaction_offset: view.physical_offset,
        tags_code: tags_code_of(view.properties),
        body: record.slice_ref(view.body),
        properties: edited.into(),
    })
}

/// The half message in another of the system's topics: given up, or taken up again. Checks count from `check_times`.
pub fn moved(record: &Bytes, view: &MessageView<'_>, topic: &'static str, check_times: u32) -> MessageInner {
    let mut edited = view.properties.to_vec();
    properties::set(&mut edited, property::TRANSACTION_CHECK_TIMES, check_times.to_string());
    MessageInner {
        topic: Str::from_static(topic),
        queue_id: 0,
        flag: view.flag,
        sys_flag: view.sys_flag,
        born_timestamp: view.born_timestamp,
        born_host: view.born_host,
        store_host: view.store_host,
        reconsume_times: view.reconsume_times,
        prepared_transaction_offset: 0,
        tags_code: tags_code_of(view.properties),
        body: record.slice_ref(view.body),
        properties: edited.into(),
    }
}

/// Header and body of CHECK_TRANSACTION_STATE: the message as its own topic would get it, at the place of the half message.
pub fn question(
    record: &Bytes,
    view: &MessageView<'_>,
    check_times: u32,
    broker_name: &str,
) -> Option<(CheckTransactionStateRequestHeader, Bytes)> {
    let (topic, queue_id) = destination(view)?;
    let unique_key = view.property(property::UNIQ_KEY).map(Str::copy_from);
    let header = CheckTransactionStateRequestHeader {
        topic: Some(Str::from_static(topic_names::TRANS_HALF)),
        tran_state_table_offset: view.queue_offset,
        commit_log_offset: view.physical_offset,
        msg_id: unique_key.clone(),
        transaction_id: unique_key,
        offset_msg_id: Some(Str::copy_from(id::offset_id(view.store_host, view.physical_offset).as_str())),
        broker_name: Some(Str::copy_from(broker_name)),
    };
    let mut edited = view.properties.to_vec();
    count_checks(&mut edited, check_times);
    // The original asks with the copy that it stores, and for that waits for no disk.
    properties::set(&mut edited, property::WAIT, "false");
    let message = MessageInner {
        topic: Str::copy_from(topic),
        queue_id,
        flag: view.flag,
        sys_flag: view.sys_flag,
        born_timestamp: view.born_timestamp,
        born_host: view.born_host,
        store_host: view.store_host,
        reconsume_times: view.reconsume_times,
        prepared_transaction_offset: view.prepared_transaction_offset,
        tags_code: 0,
        body: record.slice_ref(view.body),
        properties: edited.into(),
    };
    let mut body = Vec::new();
    encode_record(&message, &mut body);
    patch_record(&mut body, view.queue_offset, view.physical_offset, view.store_timestamp);
    Some((header, body.into()))
}

/// What listeners and consumers of the original read as the number of questions so far.
fn count_checks(edited: &mut Vec<u8>, check_times: u32) {
    if check_times > 0 {
        properties::set(edited, property::TRANSACTION_CHECK_TIMES, check_times.to_string());
    }
}
