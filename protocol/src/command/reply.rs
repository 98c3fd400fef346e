// SPDX-License-Identifier: Apache-2.0
//! The two answers that are given for every message, written straight into the connection's buffer: no map, no allocation.

use bytes::{BufMut, BytesMut};

use super::{SerializeType, patch_head};
use crate::command::binary::put_field;
use crate::fastjson::escape::{put_escaped, write_text};
use crate::header::pull::PullMessageResponseHeader;
use crate::version;

/// The answer to a send, as SendMessageResponseHeader says it, with the text where it lies.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendReply<'a> {
    pub code: i32,
    pub msg_id: &'a [u8],
    pub queue_id: i32,
    pub queue_offset: i64,
    /// The message's unique key, as it stands among its properties.
    pub transaction_id: Option<&'a [u8]>,
    pub recall_handle: Option<&'a str>,
    pub msg_region: &'a str,
    pub trace_on: bool,
}

/// All of a send's answer but its texts, with every number as long as can be; a test fills it.
const SEND_REPLY_BYTES: usize = 384;

/// All of a pull's answer but its remark and its body, likewise.
const PULL_REPLY_BYTES: usize = 480;

/// The longest escape of one byte.
const ESCAPE_BYTES_MAX: usize = 6;

/// Appends a whole frame: the answer to a send. The fixed text between two values is one piece, and the room for all is made at once.
pub fn encode_send_reply(out: &mut BytesMut, form: SerializeType, opaque: i32, reply: &SendReply<'_>) {
    let escaped_bytes = reply.transaction_id.map_or(0, <[u8]>::len) + reply.recall_handle.map_or(0, str::len) + reply.msg_region.len();
    let start = out.len();
    out.resize(start + SEND_REPLY_BYTES + reply.msg_id.len() + ESCAPE_BYTES_MAX * escaped_bytes, 0);
    let mut room = &mut out[start + 8..];
    match form {
        SerializeType::Json => send_reply_json(&mut room, opaque, reply),
        SerializeType::RocketMq => send_reply_binary(&mut room, opaque, reply),
    }
    let left = room.len();
    out.truncate(out.len() - left);
    if form == SerializeType::RocketMq {
        patch_binary_fields(out, start + 8 + BINARY_HEAD_BYTES);
    }
    patch_head(out, start, form, 0);
}

fn send_reply_json(out: &mut impl BufMut, opaque: i32, reply: &SendReply<'_>) {
    out.put_slice(b"{\"code\":");
    put_number(out, reply.code);
    // Hex digits, and commas between those of a batch: nothing to escape.
    out.put_slice(b",\"extFields\":{\"msgId\":\"");
    out.put_slice(reply.msg_id);
    out.put_slice(b"\",\"queueId\":\"");
    put_number(out, reply.queue_id);
    out.put_slice(b"\",\"queueOffset\":\"");
    put_number(out, reply.queue_offset);
    if let Some(transaction_id) = reply.transaction_id {
        out.put_slice(b"\",\"transactionId\":\"");
        put_escaped(transaction_id, out);
    }
    if let Some(recall_handle) = reply.recall_handle {
        out.put_slice(b"\",\"recallHandle\":\"");
        put_escaped(recall_handle.as_bytes(), out);
    }
    out.put_slice(b"\",\"MSG_REGION\":\"");
    put_escaped(reply.msg_region.as_bytes(), out);
    out.put_slice(b"\",\"TRACE_ON\":\"");
    out.put_slice(if reply.trace_on { b"true" } else { b"false" });
    out.put_slice(b"\"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    put_number(out, opaque);
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(out, version::CURRENT);
    out.put_slice(b"}");
}

fn send_reply_binary(out: &mut impl BufMut, opaque: i32, reply: &SendReply<'_>) {
    put_binary_head(out, reply.code, opaque, "");
    put_field(out, b"msgId", reply.msg_id);
    put_field(out, b"queueId", itoa::Buffer::new().format(reply.queue_id).as_bytes());
    put_field(out, b"queueOffset", itoa::Buffer::new().format(reply.queue_offset).as_bytes());
    if let Some(transaction_id) = reply.transaction_id {
        put_field(out, b"transactionId", transaction_id);
    }
    if let Some(recall_handle) = reply.recall_handle {
        put_field(out, b"recallHandle", recall_handle.as_bytes());
    }
    put_field(out, b"MSG_REGION", reply.msg_region.as_bytes());
    put_field(out, b"TRACE_ON", if reply.trace_on { b"true" } else { b"false" });
}

fn put_number(out: &mut impl BufMut, number: impl itoa::Integer) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Of a binary header without remark: up to the fields, the length of which is filled in behind them.
const BINARY_HEAD_BYTES: usize = 21;

fn put_binary_head(out: &mut impl BufMut, code: i32, opaque: i32, remark: &str) {
    let mut head = [0; 17];
    head[0..2].copy_from_slice(&(code as i16).to_be_bytes());
    // language 0 is JAVA
    head[3..5].copy_from_slice(&(version::CURRENT as i16).to_be_bytes());
    head[5..9].copy_from_slice(&opaque.to_be_bytes());
    head[9..13].copy_from_slice(&super::FLAG_RESPONSE.to_be_bytes());
    head[13..17].copy_from_slice(&(remark.len() as u32).to_be_bytes());
    out.put_slice(&head);
    out.put_slice(remark.as_bytes());
    out.put_slice(&[0; 4]);
}

/// The fields begin at `fields_at` and end with `out`.
fn patch_binary_fields(out: &mut BytesMut, fields_at: usize) {
    let length = (out.len() - fields_at) as u32;
    out[fields_at - 4..fields_at].copy_from_slice(&length.to_be_bytes());
}

/// Appends the answer to a pull up to its body; `body_bytes` follow.
pub fn encode_pull_reply(
    out: &mut BytesMut,
    form: SerializeType,
    code: i32,
    opaque: i32,
    remark: Option<&str>,
    header: &PullMessageResponseHeader,
    body_bytes: usize,
) {
    let start = out.len();
    out.resize(start + PULL_REPLY_BYTES + ESCAPE_BYTES_MAX * remark.map_or(0, str::len), 0);
    let mut room = &mut out[start + 8..];
    match form {
        SerializeType::Json => pull_reply_json(&mut room, code, opaque, remark, header),
        SerializeType::RocketMq => pull_reply_binary(&mut room, code, opaque, remark, header),
    }
    let left = room.len();
    out.truncate(out.len() - left);
    if form == SerializeType::RocketMq {
        patch_binary_fields(out, start + 8 + BINARY_HEAD_BYTES + remark.map_or(0, str::len));
    }
    patch_head(out, start, form, body_bytes);
}

fn pull_reply_json(out: &mut impl BufMut, code: i32, opaque: i32, remark: Option<&str>, header: &PullMessageResponseHeader) {
    out.put_slice(b"{\"code\":");
    put_number(out, code);
    out.put_slice(b",\"extFields\":{\"suggestWhichBrokerId\":\"");
    put_number(out, header.suggest_which_broker_id);
    out.put_slice(b"\",\"nextBeginOffset\":\"");
    put_number(out, header.next_begin_offset);
    out.put_slice(b"\",\"minOffset\":\"");
    put_number(out, header.min_offset);
    out.put_slice(b"\",\"maxOffset\":\"");
    put_number(out, header.max_offset);
    if let Some(offset_delta) = header.offset_delta {
        out.put_slice(b"\",\"offsetDelta\":\"");
        put_number(out, offset_delta);
    }
    if let Some(topic_sys_flag) = header.topic_sys_flag {
        out.put_slice(b"\",\"topicSysFlag\":\"");
        put_number(out, topic_sys_flag);
    }
    if let Some(group_sys_flag) = header.group_sys_flag {
        out.put_slice(b"\",\"groupSysFlag\":\"");
        put_number(out, group_sys_flag);
    }
    if let Some(forbidden_type) = header.forbidden_type {
        out.put_slice(b"\",\"forbiddenType\":\"");
        put_number(out, forbidden_type);
    }
    out.put_slice(b"\"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    put_number(out, opaque);
    if let Some(remark) = remark {
        out.put_slice(b",\"remark\":");
        write_text(remark.as_bytes(), out);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(out, version::CURRENT);
    out.put_slice(b"}");
}

fn pull_reply_binary(out: &mut impl BufMut, code: i32, opaque: i32, remark: Option<&str>, header: &PullMessageResponseHeader) {
    put_binary_head(out, code, opaque, remark.unwrap_or_default());
    let fields = [
        ("suggestWhichBrokerId", Some(header.suggest_which_broker_id)),
        ("nextBeginOffset", Some(header.next_begin_offset)),
        ("minOffset", Some(header.min_offset)),
        ("maxOffset", Some(header.max_offset)),
        ("offsetDelta", header.offset_delta),
        ("topicSysFlag", header.topic_sys_flag.map(i64::from)),
        ("groupSysFlag", header.group_sys_flag.map(i64::from)),
        ("forbiddenType", header.forbidden_type.map(i64::from)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            put_field(out, name.as_bytes(), itoa::Buffer::new().format(value).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::RemotingCommand;
    use crate::frame::split_frame;
    use crate::header::send::SendMessageResponseHeader;
    use crate::str::Str;

    fn read(mut out: BytesMut) -> RemotingCommand {
        RemotingCommand::decode(split_frame(&mut out).unwrap().expect("a whole frame")).unwrap()
    }

    fn request(form: SerializeType) -> RemotingCommand {
        RemotingCommand { opaque: 77, serialize_type: form, ..RemotingCommand::request(310) }
    }

    /// The template and the general encoder write the same bytes.
    #[test]
    fn a_send_reply_is_what_the_header_says() {
        let reply = SendReply {
            code: 10,
            msg_id: b"0A00000200002A9F00000000000003E8",
            queue_id: 3,
            queue_offset: i64::MAX,
            transaction_id: Some(b"quo\"te"),
            recall_handle: None,
            msg_region: "DefaultRegion",
            trace_on: true,
        };
        let header = SendMessageResponseHeader {
            msg_id: "0A00000200002A9F00000000000003E8".into(),
            queue_id: 3,
            queue_offset: i64::MAX,
            transaction_id: Some("quo\"te".into()),
            msg_region: Some("DefaultRegion".into()),
            trace_on: Some("true".into()),
            ..Default::default()
        };
        for form in [SerializeType::Json, SerializeType::RocketMq] {
            let mut template = BytesMut::new();
            encode_send_reply(&mut template, form, 77, &reply);
            let mut general = BytesMut::new();
            RemotingCommand::response(10).with_header(&header).answering(&request(form)).encode(&mut general);
            assert_eq!(template, general);
            assert_eq!(read(template).header::<SendMessageResponseHeader>(), Ok(header.clone()));
        }
    }

    #[test]
    fn the_longest_send_reply_has_room() {
        let control = "\u{1}".repeat(300);
        let reply = SendReply {
            code: i32::MIN,
            msg_id: &[b'F'; 56],
            queue_id: i32::MIN,
            queue_offset: i64::MIN,
            transaction_id: Some(control.as_bytes()),
            recall_handle: Some(&control),
            msg_region: &control,
            trace_on: false,
        };
        for form in [SerializeType::Json, SerializeType::RocketMq] {
            let mut out = BytesMut::from(&b"before"[..]);
            encode_send_reply(&mut out, form, i32::MIN, &reply);
            let read = read(out.split_off(6)).header::<SendMessageResponseHeader>().unwrap();
            assert_eq!((read.queue_offset, read.recall_handle.as_deref()), (i64::MIN, Some(&*control)));
            assert_eq!((read.transaction_id.as_deref(), read.msg_region.as_deref()), (Some(&*control), Some(&*control)));
        }
    }

    #[test]
    fn the_longest_pull_reply_has_room() {
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: i64::MIN,
            next_begin_offset: i64::MIN,
            min_offset: i64::MIN,
            max_offset: i64::MIN,
            offset_delta: Some(i64::MIN),
            topic_sys_flag: Some(i32::MIN),
            group_sys_flag: Some(i32::MIN),
            forbidden_type: Some(i32::MIN),
        };
        let control = "\u{1}".repeat(300);
        for form in [SerializeType::Json, SerializeType::RocketMq] {
            let mut out = BytesMut::from(&b"before"[..]);
            encode_pull_reply(&mut out, form, i32::MIN, i32::MIN, Some(&control), &header, 0);
            let read = read(out.split_off(6));
            assert_eq!((read.header(), read.remark.as_deref()), (Ok(header.clone()), Some(&*control)));
        }
    }

    #[test]
    fn a_pull_reply_is_what_the_header_says() {
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: 0,
            next_begin_offset: 12,
            min_offset: 0,
            max_offset: 12,
            topic_sys_flag: Some(0),
            ..Default::default()
        };
        let full = PullMessageResponseHeader { offset_delta: Some(7), group_sys_flag: Some(1), forbidden_type: Some(3), ..header.clone() };
        let json = SerializeType::Json;
        let binary = SerializeType::RocketMq;
        for (form, remark, header) in [
            (json, Some("FOUND"), &header),
            (binary, Some("FOUND"), &header),
            (json, None, &header),
            (json, None, &full),
            (binary, None, &full),
        ] {
            let mut template = BytesMut::new();
            encode_pull_reply(&mut template, form, 0, 77, remark, header, 4);
            let mut general = BytesMut::new();
            let mut response = RemotingCommand::response(0).with_header(header).answering(&request(form));
            response.remark = remark.map(Str::from);
            response.encode_header(4, &mut general);
            assert_eq!(template, general);
            template.extend_from_slice(b"body");
            let read = read(template);
            assert_eq!((read.opaque, read.is_response(), &read.body[..]), (77, true, &b"body"[..]));
        }
    }
}
