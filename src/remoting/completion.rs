// SPDX-License-Identifier: Apache-2.0
//! The answer to a request that is given later than those of its read.

use std::sync::Arc;

use ferrocket_protocol::{RemotingCommand, SerializeType, response_code};
use tracing::warn;

use super::deferred;
use super::limits::READ_BYTES_MIN;
use super::outbound::Urgency;
use super::peer::Peer;
use super::replies::Replies;

/// The right, and the duty, to answer one request later. Counts against the connection's limit until answered.
#[derive(Debug)]
#[must_use = "a completion that is dropped answers SYSTEM_ERROR"]
pub struct Completion {
    peer: Arc<Peer>,
    opaque: i32,
    serialize_type: SerializeType,
    oneway: bool,
    answered: bool,
    /// What the budget counts for the request that is kept.
    kept: usize,
}

impl Peer {
    /// Takes the request's place for an answer that comes later, from any thread.
    pub fn completion(self: &Arc<Self>, request: &RemotingCommand) -> Completion {
        self.outbound.begin_completion();
        Completion {
            peer: Arc::clone(self),
            opaque: request.opaque,
            serialize_type: request.serialize_type,
            oneway: request.is_oneway(),
            answered: false,
            kept: 0,
        }
    }
}

impl Completion {
    /// The request itself is kept until it is answered, with the buffer that it lies in.
    pub fn keeping(mut self, request: &RemotingCommand) -> Self {
        self.kept += self.peer.outbound.keep(request.body.len() + READ_BYTES_MIN);
        self
    }

    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    pub fn opaque(&self) -> i32 {
        self.opaque
    }

    pub fn serialize_type(&self) -> SerializeType {
        self.serialize_type
    }

    /// Answers; the connection's task writes it together with whatever else is answered by then. Right for answers that
    /// come in groups (one fsync for many sends, held pulls).
    pub fn answer(self, response: RemotingCommand) {
        self.finish(Self::gathered(), response);
    }

    /// Answers and writes from the calling thread when nothing else waits: no hand-over, the earliest the peer can get it.
    pub fn answer_now(self, response: RemotingCommand) {
        self.finish(Urgency::Now, response);
    }

    /// As `answer`, with whole frames that `write` appends (templates).
    pub fn answer_with(mut self, write: impl FnOnce(&mut Replies)) {
        self.answered = true;
        let oneway = self.oneway;
        self.peer.outbound.push(Self::gathered(), true, |out| {
            if !oneway {
                write(out);
            }
        });
    }

    fn gathered() -> Urgency {
        if deferred::writes_after() { Urgency::AtFlush } else { Urgency::WithOthers }
    }

    /// Ends without an answer: another completion of the same request gives it, or nobody does.
    pub fn end_unanswered(mut self) {
        self.answered = true;
        self.peer.outbound.push(Urgency::WithOthers, true, |_| ());
    }

    fn finish(mut self, urgency: Urgency, response: RemotingCommand) {
        self.answered = true;
        self.push(urgency, response);
    }

    fn push(&self, urgency: Urgency, mut response: RemotingCommand) {
        response.opaque = self.opaque;
        response.serialize_type = self.serialize_type;
        debug_assert!(response.is_response(), "a completion answers");
        let oneway = self.oneway;
        self.peer.outbound.push(urgency, true, |out| {
            if !oneway {
                out.push(response);
            }
        });
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.peer.outbound.release(self.kept);
        if !self.answered {
            if self.peer.is_active() {
                warn!(peer = %self.peer, opaque = self.opaque, "a request was dropped without an answer");
            }
            let response = RemotingCommand::response(response_code::SYSTEM_ERROR).with_remark("the request was dropped");
            self.push(Urgency::WithOthers, response);
        }
    }
}
