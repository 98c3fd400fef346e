// SPDX-License-Identifier: Apache-2.0
//! Op messages: which half messages have ended, as the original writes and reads it in RMQ_SYS_TRANS_OP_HALF_TOPIC.
//!
//! A body is a list of offsets in the half queue, each followed by a comma; before 5.x it was one offset without one.

use std::net::SocketAddr;

use ferrocket_protocol::Str;
use ferrocket_protocol::message::{MessageInner, MessageView, properties, property, tags_code};
use ferrocket_protocol::topic_names;

/// The tag of "this half has ended"; there is no other.
const REMOVE_TAG: &str = "d";
const SEPARATOR: char = ',';

/// Appends one offset to a body.
pub(super) fn push(body: &mut String, queue_offset: i64) {
    body.push_str(&queue_offset.to_string());
    body.push(SEPARATOR);
}

/// The op message with that body.
pub(super) fn message(body: String, host: SocketAddr, now_millis: i64) -> MessageInner {
    MessageInner {
        topic: Str::from_static(topic_names::TRANS_OP_HALF),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: now_millis,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.into_bytes().into(),
        properties: properties::encode([(property::WAIT, "true"), (property::TAGS, REMOVE_TAG)]).into(),
        tags_code: tags_code(REMOVE_TAG),
    }
}

/// The offsets that an op message names; what is no offset is passed over, as in the original.
pub(super) fn ended<'a>(view: &MessageView<'a>) -> impl Iterator<Item = i64> + 'a {
    let is_remove = view.property(property::TAGS) == Some(REMOVE_TAG);
    let body = if is_remove { std::str::from_utf8(view.body).unwrap_or_default() } else { "" };
    body.split(SEPARATOR).filter_map(|offset| offset.parse().ok())
}

/// What an offset takes in a body.
pub(super) fn bytes(queue_offset: i64) -> usize {
    queue_offset.max(1).ilog10() as usize + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_takes_what_it_takes() {
        for offset in [0, 1, 9, 10, 99, 100, 12_345_678_901] {
            let mut body = String::new();
            push(&mut body, offset);
            assert_eq!(body.len(), bytes(offset), "{offset}");
        }
    }
}
