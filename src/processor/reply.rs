// SPDX-License-Identifier: Apache-2.0
//! What a request comes to: a reply, or a refusal with the original's code and text.
//!
//! Knows no request. The dispatcher gives either of them the request's opaque and serialisation, or drops it when it is oneway.

use bytes::BytesMut;
use ferrocket_protocol::command::reply::{SendReply, encode_send_reply};
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::{HeaderError, RemotingCommand, Str, response_code};

use crate::broker::attributes::AttributeError;

/// A request that was served.
#[derive(Debug)]
pub enum Reply {
    /// The answer, to be written with the other replies of this read.
    Now(RemotingCommand),
    /// The answer to a send: written from a template.
    Sent(SentReply),
    /// A `Completion` was taken and will be answered.
    Later,
    /// Nothing is answered, whatever the request says.
    Silent,
}

impl Reply {
    /// SUCCESS without fields and body.
    pub fn success() -> Self {
        Self::Now(RemotingCommand::response(response_code::SUCCESS))
    }

    pub fn body(body: impl Into<bytes::Bytes>) -> Self {
        Self::Now(RemotingCommand::response(response_code::SUCCESS).with_body(body))
    }
}

/// The answer to a send that reached the log.
#[derive(Debug)]
pub struct SentReply {
    pub code: i32,
    pub header: SendMessageResponseHeader,
}

impl SentReply {
    /// Writes the answer to `request` from the template; a oneway send gets none.
    pub(super) fn write(&self, request: &RemotingCommand, out: &mut BytesMut) {
        if request.is_oneway() {
            return;
        }
        let header = &self.header;
        let reply = SendReply {
            code: self.code,
            msg_id: &header.msg_id,
            queue_id: header.queue_id,
            queue_offset: header.queue_offset,
            transaction_id: header.transaction_id.as_deref(),
            recall_handle: header.recall_handle.as_deref(),
            msg_region: header.msg_region.as_deref().unwrap_or_default(),
            trace_on: header.trace_on.as_deref() == Some("true"),
        };
        encode_send_reply(out, request.serialize_type, request.opaque, &reply);
    }

    pub(super) fn into_response(self) -> RemotingCommand {
        RemotingCommand::response(self.code).with_header(&self.header)
    }
}

/// A request that was not served: the original's code, text and fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub code: i32,
    pub remark: Option<Str>,
    pub fields: Vec<(&'static str, Str)>,
}

impl Refusal {
    pub fn new(code: i32, remark: impl Into<Str>) -> Self {
        Self { code, remark: Some(remark.into()), fields: Vec::new() }
    }

    pub fn without_remark(code: i32) -> Self {
        Self { code, remark: None, fields: Vec::new() }
    }

    pub fn system_error(remark: impl Into<Str>) -> Self {
        Self::new(response_code::SYSTEM_ERROR, remark)
    }

    pub fn with_field(mut self, name: &'static str, value: impl Into<Str>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub fn into_response(self) -> RemotingCommand {
        let mut response = RemotingCommand::response(self.code);
        response.remark = self.remark;
        for (name, value) in self.fields {
            response.ext_fields.insert(name, value);
        }
        response
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        Self::system_error(error.to_string())
    }
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        Self::system_error(error.to_string())
    }
}
