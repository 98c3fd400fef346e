// SPDX-License-Identifier: Apache-2.0
//! The two answers that are given for every message, written straight into the connection's buffer: no map, no allocation.

use bytes::BytesMut;

use super::{SerializeType, patch_head};
use crate::command::binary::put_field;
use crate::fastjson::escape::write_text;
use crate::header::pull::PullMessageResponseHeader;
use crate::version;

/// The answer to a send, as SendMessageResponseHeader says it, with the text where it lies.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendReply<'a> {
    pub code: i32,
    pub msg_id: &'a str,
    pub queue_id: i32,
    pub queue_offset: i64,
    /// The message's unique key, as it stands among its properties.
    pub transaction_id: Option<&'a str>,
    pub recall_handle: Option<&'a str>,
    pub msg_region: &'a str,
    pub trace_on: bool,
}

/// Room that a reply without long texts needs: growing once is cheaper than growing in steps.
const REPLY_BYTES: usize = 512;

/// Appends a whole frame: the answer to a send.
pub fn encode_send_reply(out: &mut BytesMut, form: SerializeType, opaque: i32, reply: &SendReply<'_>) {
    let mut writer = Writer::begin(out, form, reply.code, opaque, None);
    writer.text("msgId", reply.msg_id);
    writer.number("queueId", reply.queue_id.into());
    writer.number("queueOffset", reply.queue_offset);
    if let Some(transaction_id) = reply.transaction_id {
        writer.text("transactionId", transaction_id);
    }
    if let Some(recall_handle) = reply.recall_handle {
        writer.text("recallHandle", recall_handle);
    }
    writer.text("MSG_REGION", reply.msg_region);
    writer.text("TRACE_ON", if reply.trace_on { "true" } else { "false" });
    writer.end(opaque, None, 0);
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
    let mut writer = Writer::begin(out, form, code, opaque, remark);
    writer.number("suggestWhichBrokerId", header.suggest_which_broker_id);
    writer.number("nextBeginOffset", header.next_begin_offset);
    writer.number("minOffset", header.min_offset);
    writer.number("maxOffset", header.max_offset);
    let optional = [
        ("offsetDelta", header.offset_delta),
        ("topicSysFlag", header.topic_sys_flag.map(i64::from)),
        ("groupSysFlag", header.group_sys_flag.map(i64::from)),
        ("forbiddenType", header.forbidden_type.map(i64::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            writer.number(name, value);
        }
    }
    writer.end(opaque, remark, body_bytes);
}

/// A response under way, in either form.
struct Writer<'o> {
    out: &'o mut BytesMut,
    form: SerializeType,
    start: usize,
    /// Binary: where the length of the fields stands.
    fields_at: usize,
    /// JSON: what stands before the next field.
    separator: &'static [u8],
}

impl<'o> Writer<'o> {
    fn begin(out: &'o mut BytesMut, form: SerializeType, code: i32, opaque: i32, remark: Option<&str>) -> Self {
        out.reserve(REPLY_BYTES);
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        match form {
            SerializeType::Json => {
                out.extend_from_slice(b"{\"code\":");
                out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
                out.extend_from_slice(b",\"extFields\":{");
            }
            SerializeType::RocketMq => {
                let mut head = [0; 17];
                head[0..2].copy_from_slice(&(code as i16).to_be_bytes());
                // language 0 is JAVA
                head[3..5].copy_from_slice(&(version::CURRENT as i16).to_be_bytes());
                head[5..9].copy_from_slice(&opaque.to_be_bytes());
                head[9..13].copy_from_slice(&super::FLAG_RESPONSE.to_be_bytes());
                let remark = remark.unwrap_or_default();
                head[13..17].copy_from_slice(&(remark.len() as u32).to_be_bytes());
                out.extend_from_slice(&head);
                out.extend_from_slice(remark.as_bytes());
                out.extend_from_slice(&[0; 4]);
            }
        }
        let fields_at = out.len();
        Self { out, form, start, fields_at, separator: b"\"" }
    }

    fn text(&mut self, name: &'static str, value: &str) {
        match self.form {
            SerializeType::Json => {
                self.name(name);
                write_text(value.as_bytes(), self.out);
            }
            SerializeType::RocketMq => put_field(self.out, name.as_bytes(), value.as_bytes()),
        }
    }

    fn number(&mut self, name: &'static str, value: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        match self.form {
            SerializeType::Json => {
                self.name(name);
                self.out.extend_from_slice(b"\"");
                self.out.extend_from_slice(digits);
                self.out.extend_from_slice(b"\"");
            }
            SerializeType::RocketMq => put_field(self.out, name.as_bytes(), digits),
        }
    }

    fn name(&mut self, name: &'static str) {
        self.out.extend_from_slice(self.separator);
        self.separator = b",\"";
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn end(self, opaque: i32, remark: Option<&str>, body_bytes: usize) {
        match self.form {
            SerializeType::Json => {
                self.out.extend_from_slice(b"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
                self.out.extend_from_slice(itoa::Buffer::new().format(opaque).as_bytes());
                if let Some(remark) = remark {
                    self.out.extend_from_slice(b",\"remark\":");
                    write_text(remark.as_bytes(), self.out);
                }
                self.out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
                self.out.extend_from_slice(itoa::Buffer::new().format(version::CURRENT).as_bytes());
                self.out.extend_from_slice(b"}");
            }
            SerializeType::RocketMq => {
                let length = (self.out.len() - self.fields_at) as u32;
                self.out[self.fields_at - 4..self.fields_at].copy_from_slice(&length.to_be_bytes());
            }
        }
        patch_head(self.out, self.start, self.form, body_bytes);
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
            msg_id: "0A00000200002A9F00000000000003E8",
            queue_id: 3,
            queue_offset: i64::MAX,
            transaction_id: Some("quo\"te"),
            recall_handle: None,
            msg_region: "DefaultRegion",
            trace_on: true,
        };
        let header = SendMessageResponseHeader {
            msg_id: reply.msg_id.into(),
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
    fn a_pull_reply_is_what_the_header_says() {
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: 0,
            next_begin_offset: 12,
            min_offset: 0,
            max_offset: 12,
            topic_sys_flag: Some(0),
            ..Default::default()
        };
        for (form, remark) in [(SerializeType::Json, Some("FOUND")), (SerializeType::RocketMq, Some("FOUND")), (SerializeType::Json, None)]
        {
            let mut template = BytesMut::new();
            encode_pull_reply(&mut template, form, 0, 77, remark, &header, 4);
            let mut general = BytesMut::new();
            let mut response = RemotingCommand::response(0).with_header(&header).answering(&request(form));
            response.remark = remark.map(Str::from);
            response.encode_header(4, &mut general);
            assert_eq!(template, general);
            template.extend_from_slice(b"body");
            let read = read(template);
            assert_eq!((read.opaque, read.is_response(), &read.body[..]), (77, true, &b"body"[..]));
        }
    }
}
