// SPDX-License-Identifier: Apache-2.0
//! One live way to a client, as the services see it: who it is, whether it is there, and what it can be told or asked.
//!
//! A connection (`remoting::Peer`) is one; a client of another protocol is another one. Tables hold channels and never ask which kind they
//! are. Whoever asks for an answer waits on its own task, never on a connection.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::header::{
    CheckTransactionStateRequestHeader, NotifyConsumerIdsChangedRequestHeader, ReplyMessageRequestHeader, ResetOffsetRequestHeader,
};
use ferrocket_protocol::{ExtFields, RemotingCommand, Str, request_code};

use crate::remoting::{CallError, Peer, Work};

/// How long a question may wait for the client; the original's 10 s.
const RELAY_MAX: Duration = Duration::from_secs(10);

/// What a question comes to. `CallError` when the client does not answer within 10 s, or is gone.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<RemotingCommand, CallError>> + Send + 'a>>;

/// Several, to be told or closed.
pub type Channels = Vec<Arc<dyn ClientChannel>>;

/// A client by the way that leads to it; Java's Channel, and GrpcClientChannel.
pub trait ClientChannel: fmt::Debug + Send + Sync {
    /// Who it is: two channels with one id are one. Taken from `remoting::next_channel_id`, so never used twice by one process.
    fn id(&self) -> u64;

    fn remote_addr(&self) -> SocketAddr;

    /// False from the moment when nothing reaches the client any more.
    fn is_active(&self) -> bool;

    /// Bytes that were sent and that the client has not taken yet.
    fn unread_bytes(&self) -> usize;

    /// How many bytes an answer to it may hold now.
    fn room_bytes(&self) -> usize;

    /// Whether one more of its requests may wait; if not it is to be answered as if its time were over.
    fn may_wait(&self) -> bool;

    /// Does this soon, where the answers are made that others bring about: those of one client leave together. Never on the spot, for the
    /// caller may hold locks; not at all when the client is gone.
    fn defer(self: Arc<Self>, work: Box<dyn Work>);

    fn close(&self, reason: &'static str);

    /// NOTIFY_CONSUMER_IDS_CHANGED: it looks again who is in the group and takes its share of the queues anew.
    fn consumer_ids_changed(&self, group: &str);

    /// CHECK_TRANSACTION_STATE: what became of the half message; the producer ends the transaction when it knows.
    fn check_transaction(&self, header: &CheckTransactionStateRequestHeader, half_message: Bytes);

    /// RESET_CONSUMER_CLIENT_OFFSET: it drops what it holds of the topic and goes on at the offsets in `body`.
    fn reset_offset(&self, header: &ResetOffsetRequestHeader, body: Bytes);

    /// GET_CONSUMER_RUNNING_INFO with an administrator's fields; the answer is passed on as it is.
    fn running_info(&self, fields: ExtFields, body: Bytes) -> Answer<'_>;

    /// PUSH_REPLY_MESSAGE_TO_CLIENT: the reply to a request of its own. An error when it does not say that it has it.
    fn push_reply(&self, header: &ReplyMessageRequestHeader, body: Bytes) -> Answer<'_>;
}

impl ClientChannel for Peer {
    fn id(&self) -> u64 {
        self.id()
    }

    fn remote_addr(&self) -> SocketAddr {
        self.remote_addr()
    }

    fn is_active(&self) -> bool {
        self.is_active()
    }

    fn unread_bytes(&self) -> usize {
        self.unread_bytes()
    }

    fn room_bytes(&self) -> usize {
        self.room_bytes()
    }

    fn may_wait(&self) -> bool {
        self.may_wait()
    }

    fn defer(self: Arc<Self>, work: Box<dyn Work>) {
        Peer::defer(self, work);
    }

    fn close(&self, reason: &'static str) {
        self.close(reason);
    }

    fn consumer_ids_changed(&self, group: &str) {
        let header = NotifyConsumerIdsChangedRequestHeader { consumer_group: Str::copy_from(group) };
        self.send(RemotingCommand::request_with(request_code::NOTIFY_CONSUMER_IDS_CHANGED, &header));
    }

    fn check_transaction(&self, header: &CheckTransactionStateRequestHeader, half_message: Bytes) {
        self.send(RemotingCommand::request_with(request_code::CHECK_TRANSACTION_STATE, header).with_body(half_message));
    }

    fn reset_offset(&self, header: &ResetOffsetRequestHeader, body: Bytes) {
        self.send(RemotingCommand::request_with(request_code::RESET_CONSUMER_CLIENT_OFFSET, header).with_body(body));
    }

    fn running_info(&self, fields: ExtFields, body: Bytes) -> Answer<'_> {
        let mut question = RemotingCommand::request(request_code::GET_CONSUMER_RUNNING_INFO).with_body(body);
        question.ext_fields = fields;
        Box::pin(self.call(question, RELAY_MAX))
    }

    fn push_reply(&self, header: &ReplyMessageRequestHeader, body: Bytes) -> Answer<'_> {
        let push = RemotingCommand::request_with(request_code::PUSH_REPLY_MESSAGE_TO_CLIENT, header).with_body(body);
        Box::pin(self.succeed(push, RELAY_MAX))
    }
}
