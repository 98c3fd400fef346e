// SPDX-License-Identifier: Apache-2.0
//! One live connection as the rooms above see it: whom to answer, send to, call and close.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrocket_protocol::{LanguageCode, RemotingCommand, SerializeType, response_code};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::warn;

use super::deferred::{self, BoxedWork};
use super::limits::{Limits, READ_BYTES_MIN};
use super::outbound::{Outbound, Urgency};
use super::read_scheduler::ReadScheduler;
use super::replies::Replies;
use super::socket::OwnedWriteHalf;
use super::unserved::Unserved;
use crate::runtime::SharedClock;
use crate::runtime::sync::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};

pub struct Peer {
    id: u64,
    remote_addr: SocketAddr,
    local_addr: SocketAddr,
    clock: SharedClock,
    active: AtomicBool,
    /// The listener's tick at the last byte read or written.
    last_tick: AtomicU32,
    /// When the bytes of the request that is handled now were read; 0 for the first request of a read, which has not waited.
    read_nanos: AtomicU64,
    language: AtomicU8,
    version: AtomicI32,
    pub(super) outbound: Arc<Outbound>,
    pub(super) read_scheduler: ReadScheduler,
    unserved: Unserved,
    /// It is read before others: see `ReadScheduler`.
    priority: AtomicBool,
    /// The scheduler lets it be read.
    read_granted: AtomicBool,
    calls: Mutex<Calls>,
}

/// Requests of ours that wait for the peer's response.
#[derive(Default)]
struct Calls {
    last_opaque: i32,
    waiting: HashMap<i32, oneshot::Sender<RemotingCommand>>,
    ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    #[error("connect to {addr} failed: {why}")]
    Connect { addr: String, why: String },
    #[error("no answer from {addr} within {timeout:?}")]
    Timeout { addr: SocketAddr, timeout: Duration },
    #[error("connection to {addr} ended before the answer came")]
    Closed { addr: SocketAddr },
    #[error("answered {code}: {remark}")]
    Refused { code: i32, remark: String },
    #[error("what is to be said takes more than {limit} bytes and cannot be divided")]
    TooLarge { limit: usize },
}

impl CallError {
    /// The other side does not know the request, or not well enough to say so.
    pub fn is_unserved(&self) -> bool {
        matches!(self, Self::Refused { code: response_code::REQUEST_CODE_NOT_SUPPORTED, .. } | Self::Timeout { .. })
    }
}

impl Peer {
    pub(super) fn new(
        remote_addr: SocketAddr,
        local_addr: SocketAddr,
        stream: OwnedWriteHalf,
        limits: &Limits,
        clock: SharedClock,
    ) -> Self {
        static LAST_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        Self {
            id: LAST_ID.fetch_add(1, Ordering::Relaxed) + 1,
            remote_addr,
            local_addr,
            clock,
            active: AtomicBool::new(true),
            last_tick: AtomicU32::new(0),
            read_nanos: AtomicU64::new(0),
            language: AtomicU8::new(LanguageCode::default().code()),
            version: AtomicI32::new(0),
            outbound: Arc::new_cyclic(|outbound| Outbound::new(outbound, remote_addr, stream, limits)),
            read_scheduler: limits.read_scheduler.clone(),
            unserved: limits.connections.unserved.clone(),
            priority: AtomicBool::new(false),
            read_granted: AtomicBool::new(false),
            calls: Mutex::new(Calls::default()),
        }
    }

    /// Unlike an address, never used twice by one process.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    /// It asked for something that is not served: the log names both, once.
    pub fn asked_in_vain(&self, feature: &'static str) {
        self.unserved.asked(self.remote_addr, feature, None);
    }

    /// As `asked_in_vain`, by a request code of its own.
    pub fn asked_in_vain_by(&self, code: i32, feature: &'static str) {
        self.unserved.asked(self.remote_addr, feature, Some(code));
    }

    /// The address of ours that this peer reached, by construction one that it can reach.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// The version (an ordinal) that the last request named.
    pub fn version(&self) -> i32 {
        self.version.load(Ordering::Relaxed)
    }

    pub fn language(&self) -> LanguageCode {
        LanguageCode::from_code(self.language.load(Ordering::Relaxed))
    }

    /// Sends a command that expects no answer: it is marked oneway.
    pub fn send(&self, mut command: RemotingCommand) {
        command.mark_oneway();
        command.opaque = self.next_opaque();
        self.outbound.push(Urgency::WithOthers, false, |out| out.push(command));
    }

    /// Sends a request of ours and waits for the peer's response.
    pub async fn call(&self, mut request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, CallError> {
        let closed = || CallError::Closed { addr: self.remote_addr };
        let (sender, receiver) = oneshot::channel();
        let opaque = {
            let mut calls = self.calls.lock();
            if calls.ended {
                return Err(closed());
            }
            calls.last_opaque = calls.last_opaque.wrapping_add(1) & i32::MAX;
            let opaque = calls.last_opaque;
            calls.waiting.insert(opaque, sender);
            opaque
        };
        request.opaque = opaque;
        self.outbound.push(Urgency::Now, false, |out| out.push(request));
        tokio::select! {
            response = receiver => response.map_err(|_| closed()),
            () = self.clock.sleep(timeout) => {
                self.calls.lock().waiting.remove(&opaque);
                Err(CallError::Timeout { addr: self.remote_addr, timeout })
            }
        }
    }

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

    /// How much an answer may hold: a client that does not read what it asked for, while the process is short of memory, is given less
    /// at a time.
    pub fn room_bytes(&self) -> usize {
        self.outbound.account.room_bytes()
    }

    /// Does this at the end of the read that brings it about (arrivals that end held pulls), or on the connection's task; what `answer`
    /// and `answer_with` say there leaves in one write: see `deferred`. Dropped when the connection has ended.
    pub fn defer(self: Arc<Self>, work: BoxedWork) {
        deferred::defer(self, work);
    }

    /// Ends the connection; what already waits to be written is offered to the socket once more.
    pub fn close(&self, reason: &'static str) {
        self.outbound.close(reason);
    }

    /// The server stops: what has arrived is still handled, nothing is read after it, and no answer to a call of ours is waited for.
    pub(super) fn drain(&self) {
        self.end_calls();
        self.outbound.drain();
    }

    /// Every request that was read has its answer.
    pub(super) fn is_drained(&self) -> bool {
        self.outbound.is_drained()
    }

    /// Whether what this peer asks is read before what those ask that have no priority. Right for a consumer that is behind: it asks
    /// for little at a time and waits for it. With little memory left nobody has it: what is asked then mostly is not taken.
    pub fn set_priority(&self, priority: bool) {
        let priority = priority && !self.outbound.account.is_tight();
        if self.has_priority() != priority {
            self.priority.store(priority, Ordering::Relaxed);
        }
        if priority {
            self.read_scheduler.begin();
        }
    }

    pub(super) fn has_priority(&self) -> bool {
        self.priority.load(Ordering::Relaxed)
    }

    pub(super) fn grant_read(&self) {
        self.read_granted.store(true, Ordering::Release);
    }

    pub(super) fn take_grant(&self) -> bool {
        self.read_granted.swap(false, Ordering::Acquire)
    }

    /// Late answers that this connection still waits for.
    pub fn outstanding_count(&self) -> usize {
        self.outbound.completions()
    }

    /// Bytes that the peer has not read yet and the socket does not take.
    pub fn unread_bytes(&self) -> usize {
        self.outbound.waiting_bytes()
    }

    /// Whether one more request may wait; if not it is to be answered as if its time were over.
    pub fn may_wait(&self) -> bool {
        self.outbound.account.may_wait()
    }

    pub(super) fn next_opaque(&self) -> i32 {
        let mut calls = self.calls.lock();
        calls.last_opaque = calls.last_opaque.wrapping_add(1) & i32::MAX;
        calls.last_opaque
    }

    /// A response of the peer; one that nobody waits for any more is dropped, as the original does.
    pub(super) fn responded(&self, response: RemotingCommand) {
        let waiting = self.calls.lock().waiting.remove(&response.opaque);
        if let Some(waiting) = waiting {
            // The caller may have gone in this moment.
            let _ = waiting.send(response);
        }
    }

    pub(super) fn saw(&self, request: &RemotingCommand) {
        if self.version.load(Ordering::Relaxed) != request.version {
            self.version.store(request.version, Ordering::Relaxed);
        }
        let language = request.language.code();
        if self.language.load(Ordering::Relaxed) != language {
            self.language.store(language, Ordering::Relaxed);
        }
    }

    /// How long the request that is handled now has waited since its bytes were read: behind others of the same read, or for the
    /// peer to take its answers. Meant for the handler, while it handles.
    pub fn waited(&self) -> Duration {
        match self.read_nanos.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            read_nanos => Duration::from_nanos(self.clock.nanos().saturating_sub(read_nanos)),
        }
    }

    /// `None` for the first request of a read.
    pub(super) fn set_read_nanos(&self, nanos: Option<u64>) {
        self.read_nanos.store(nanos.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn now_nanos(&self) -> u64 {
        self.clock.nanos()
    }

    pub(super) fn touch(&self, tick: u32) {
        self.last_tick.store(tick, Ordering::Relaxed);
    }

    pub(super) fn last_tick(&self) -> u32 {
        self.last_tick.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.active.store(false, Ordering::Release);
        self.outbound.end();
        self.end_calls();
    }

    fn end_calls(&self) {
        let mut calls = self.calls.lock();
        calls.ended = true;
        calls.waiting.clear();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({} #{})", self.remote_addr, self.id)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.remote_addr.fmt(f)
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Peer {}

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
