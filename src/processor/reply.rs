// SPDX-License-Identifier: Apache-2.0
//! What a request comes to: a reply, or a refusal with the original's code and text.
//!
//! Knows no request. The dispatcher gives either of them the request's opaque and serialisation, or drops it when it is oneway.

use bytes::Bytes;
use ferrocket_protocol::command::reply::{SendReply, encode_pull_reply, encode_send_reply};
use ferrocket_protocol::header::PullMessageResponseHeader;
use ferrocket_protocol::message::id::Id;
use ferrocket_protocol::{HeaderError, RemotingCommand, SerializeType, Str, response_code};

use crate::broker::WriteError;
use crate::broker::attributes::AttributeError;
use crate::broker::flow_control::InFlight;
use crate::broker::persist::PersistError;
use crate::broker::send::UniqueKey;
use crate::config::BrokerConfig;
use crate::remoting::{Completion, Replies};
use crate::store::{ColdPut, StoreError};

/// A request that was served.
#[derive(Debug)]
pub enum Reply {
    /// The answer, to be written with the other replies of this read.
    Now(RemotingCommand),
    /// The answer to a send: written from a template.
    Sent(SentReply),
    /// The answer to a pull: written from a template.
    Pulled(PulledReply),
    /// A `Completion` was taken and will be answered.
    Later,
    /// Nothing is answered, whatever the request says.
    Silent,
    /// Nothing was done: what is asked for is not in memory. The request is served again where it may wait for the disk.
    WouldBlock(Cold),
}

/// What a request waits for that cannot be served from memory.
#[derive(Debug)]
pub enum Cold {
    Read,
    /// A queue that is not loaded; later sends to it keep behind this one.
    Send(ColdPut, InFlight),
}

impl Reply {
    /// SUCCESS without fields and body.
    pub fn success() -> Self {
        Self::Now(RemotingCommand::response(response_code::SUCCESS))
    }

    /// SUCCESS from a header class without a field that is set.
    pub fn success_with_header() -> Self {
        Self::Now(RemotingCommand::response(response_code::SUCCESS).with_header(&()))
    }

    pub fn body(body: impl Into<Bytes>) -> Self {
        Self::Now(RemotingCommand::response(response_code::SUCCESS).with_body(body))
    }
}

/// The answer to a send that reached the log.
#[derive(Debug)]
pub struct SentReply {
    pub code: i32,
    pub ids: MessageIds,
    pub queue_id: i32,
    pub queue_offset: i64,
    /// What the original answers as the transaction id.
    pub unique_key: UniqueKey,
}

/// The message id: where in the log.
#[derive(Debug)]
pub enum MessageIds {
    One(Id),
    /// Of a batch: all ids, commas between them.
    Several(String),
}

impl SentReply {
    /// Appends the whole frame.
    pub(super) fn write(&self, config: &BrokerConfig, form: SerializeType, opaque: i32, replies: &mut Replies) {
        let reply = SendReply {
            code: self.code,
            msg_id: match &self.ids {
                MessageIds::One(id) => id.as_bytes(),
                MessageIds::Several(ids) => ids.as_bytes(),
            },
            queue_id: self.queue_id,
            queue_offset: self.queue_offset,
            transaction_id: self.unique_key.bytes(),
            recall_handle: None,
            msg_region: &config.region_id,
            trace_on: config.trace_on,
        };
        encode_send_reply(replies.buffer(), form, opaque, &reply);
    }
}

/// As Java prints it.
pub(super) fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Room for the head of a usual answer to a pull.
const PULL_REPLY_BYTES: usize = 640;

/// The answer to a pull: its body leaves as it came from the store.
#[derive(Debug)]
pub struct PulledReply {
    pub code: i32,
    pub status: &'static str,
    pub header: PullMessageResponseHeader,
    pub body: Bytes,
}

impl PulledReply {
    /// Writes the answer to `request` from the template; a oneway pull gets none.
    pub(super) fn write(self, request: &RemotingCommand, replies: &mut Replies) {
        if !request.is_oneway() {
            self.encode(request.serialize_type, request.opaque, replies);
        }
    }

    /// As `write`, for a pull that was held or read from the disk.
    pub(super) fn answer(self, completion: Completion) {
        let (form, opaque) = (completion.serialize_type(), completion.opaque());
        completion.answer_with(|replies| self.encode(form, opaque, replies));
    }

    fn encode(self, form: SerializeType, opaque: i32, replies: &mut Replies) {
        replies.reserve(PULL_REPLY_BYTES, self.body.len());
        encode_pull_reply(replies.buffer(), form, self.code, opaque, Some(self.status), &self.header, self.body.len());
        replies.body(self.body);
    }
}

/// A request that was not served: the original's code, text and fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub code: i32,
    pub remark: Option<Str>,
    pub fields: Vec<(&'static str, Str)>,
    /// The original answers from a header class: `extFields` are there even when none of them is set.
    pub has_header: bool,
}

impl Refusal {
    pub fn new(code: i32, remark: impl Into<Str>) -> Self {
        Self { code, remark: Some(remark.into()), fields: Vec::new(), has_header: false }
    }

    pub fn without_remark(code: i32) -> Self {
        Self { code, remark: None, fields: Vec::new(), has_header: false }
    }

    pub fn system_error(remark: impl Into<Str>) -> Self {
        Self::new(response_code::SYSTEM_ERROR, remark)
    }

    /// A change that holds in memory and is not on the disk. The original logs that and answers SUCCESS.
    pub fn unwritten(error: &PersistError) -> Self {
        Self::system_error(format!("the change holds, but it is lost if the broker is killed before it can be written: {error}"))
    }

    pub fn with_field(mut self, name: &'static str, value: impl Into<Str>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub fn with_header(mut self) -> Self {
        self.has_header = true;
        self
    }

    pub fn into_response(self) -> RemotingCommand {
        let mut response = RemotingCommand::response(self.code);
        response.remark = self.remark;
        if self.has_header {
            response = response.with_header(&());
        }
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

/// What cannot be read is no answer; clients try again.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::system_error(error.to_string())
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => error.into(),
            WriteError::Persist(error) => Self::unwritten(&error),
        }
    }
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        Self::system_error(error.to_string())
    }
}
