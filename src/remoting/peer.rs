// SPDX-License-Identifier: Apache-2.0
//! One live connection as the rooms above see it: whom to answer, send to, call and close.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrocket_protocol::{LanguageCode, RemotingCommand, response_code};
use thiserror::Error;
use tokio::sync::oneshot;

use super::connection_limits::Limits;
use super::outbound::{Outbound, Urgency};
use super::read_scheduler::ReadScheduler;
use super::socket::OwnedWriteHalf;
use super::transport::{Sessions, Transport};
use super::unserved::AskedInVain;
use crate::runtime::SharedClock;
use crate::runtime::sync::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};

/// What the original knows as a connection's Channel.
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
    pub(super) sessions: Sessions,
    unserved: AskedInVain,
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

/// A number for one way to one client, whatever it speaks: never given twice by one process.
pub fn next_channel_id() -> u64 {
    static LAST_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    LAST_ID.fetch_add(1, Ordering::Relaxed) + 1
}

impl Peer {
    pub(super) fn new(
        remote_addr: SocketAddr,
        local_addr: SocketAddr,
        stream: OwnedWriteHalf,
        limits: &Limits,
        clock: SharedClock,
    ) -> Self {
        Self {
            id: next_channel_id(),
            remote_addr,
            local_addr,
            clock,
            active: AtomicBool::new(true),
            last_tick: AtomicU32::new(0),
            read_nanos: AtomicU64::new(0),
            language: AtomicU8::new(LanguageCode::default().code()),
            version: AtomicI32::new(0),
            outbound: Arc::new_cyclic(|outbound| {
                Outbound::new(outbound, remote_addr, Transport::plain(stream), limits.outbound(), &limits.budget)
            }),
            read_scheduler: limits.read_scheduler.clone(),
            sessions: limits.sessions,
            unserved: limits.connections.unserved.clone(),
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

    /// How much an answer may hold: a client that does not read what it asked for, while the process is short of memory, is given less
    /// at a time.
    pub fn room_bytes(&self) -> usize {
        self.outbound.account.room_bytes()
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
        if self.outbound.set_priority(priority) {
            self.read_scheduler.begin();
        }
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
