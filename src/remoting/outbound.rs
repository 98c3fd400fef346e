// SPDX-License-Identifier: Apache-2.0
//! What waits to be written to one peer, and the only place that writes to it.
//!
//! The connection's task writes the replies of each read; late answers come from other threads. Both write under one short
//! lock, so frames never mix. What the socket does not take stays here, and the task writes it when the socket has room.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Weak;
use std::task::{Context, Waker};

use bytes::BytesMut;

use super::budget::{Account, Budget, Holder};
use super::limits::{COMPLETIONS_PER_GRAIN, GRAIN_BYTES};
use super::replies::Replies;
use super::transport::{Served, Transport};
use super::work::BoxedWork;
use crate::runtime::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};

#[derive(Debug)]
pub(super) struct Outbound {
    remote_addr: SocketAddr,
    pub(super) account: Account,
    me: Weak<Self>,
    limits: OutboundLimits,
    /// Requests that wait for a late answer. Counted up without the lock, so that nobody waits there for a write; counted down under it.
    completions: AtomicUsize,
    /// It is read before others: see `ReadScheduler`.
    priority: AtomicBool,
    /// The scheduler lets it be read.
    read_granted: AtomicBool,
    state: Mutex<State>,
}

/// As `Limits` names them.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutboundLimits {
    pub(super) pause_bytes: usize,
    pub(super) bytes: usize,
    pub(super) completions: usize,
}

/// Nothing waits once the socket takes nothing more.
struct State {
    waiting: Replies,
    /// What of it the account knows.
    counted_bytes: usize,
    /// What the account still counts of a connection that was closed for the budget.
    leaving_bytes: Option<usize>,
    /// What the connection's task is to do before it reads.
    work: Vec<BoxedWork>,
    /// The connection has ended.
    ended: bool,
    /// The connection's task, when it sleeps.
    task: Option<Waker>,
    transport: Transport,
    close: Option<&'static str>,
    drain: Drain,
    /// The task stopped reading because of a limit and wants to hear when it is kept again.
    paused: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} bytes)", self.waiting.len())
    }
}

/// How far a connection is on its way to an end in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// What has arrived is still read.
    Asked,
    /// Nothing is read any more; late answers go out.
    ReadOut,
}

/// What the connection's task may do next.
pub(super) enum NextStep {
    Read,
    /// Do this, and come again.
    Work(Vec<BoxedWork>),
    /// Read what has arrived, say `read_out`, and read no more.
    ReadLast,
    /// A limit is reached: read nothing until woken.
    Pause,
    /// There is work to do, and no room for its answers.
    PauseForRoom,
    /// Read for the session, which lets nothing be written before, whatever limit is reached.
    ReadSession,
    Close(&'static str),
}

/// Whether a late answer is written by the thread that gives it, or by the connection's task together with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Now,
    WithOthers,
    /// Whoever gives it calls `flush` soon.
    AtFlush,
}

impl Outbound {
    /// For an `Arc`, `me`: the budget finds it there.
    pub(super) fn new(me: &Weak<Self>, remote_addr: SocketAddr, transport: Transport, limits: OutboundLimits, budget: &Budget) -> Self {
        Self {
            remote_addr,
            account: Account::new(budget),
            me: Weak::clone(me),
            limits,
            completions: AtomicUsize::new(0),
            priority: AtomicBool::new(false),
            read_granted: AtomicBool::new(false),
            state: Mutex::new(State {
                waiting: Replies::default(),
                counted_bytes: 0,
                leaving_bytes: None,
                work: Vec::new(),
                ended: false,
                task: None,
                transport,
                close: None,
                drain: Drain::No,
                paused: false,
            }),
        }
    }

    /// Called by the connection's task before it reads: registers it, writes what waits and says how to go on.
    /// True beside it when something was written.
    pub(super) fn next_step(&self, context: &mut Context<'_>) -> (NextStep, bool) {
        let mut state = self.state.lock();
        match &state.task {
            Some(task) if task.will_wake(context.waker()) => {}
            _ => state.task = Some(context.waker().clone()),
        }
        let mut progress = false;
        while !state.is_written() {
            progress |= state.write() > 0;
            if state.is_written() || state.transport.poll_write_ready(context).is_pending() {
                break;
            }
        }
        self.count(&mut state);
        if let Some(reason) = state.close {
            state.transport.end();
            state.write();
            return (NextStep::Close(reason), progress);
        }
        let must_read = !state.waiting.is_empty() && state.transport.must_read_first();
        let pause = |step| if must_read { NextStep::ReadSession } else { step };
        if !state.work.is_empty() {
            if state.drain == Drain::No && !self.account.may_answer() {
                return (pause(NextStep::PauseForRoom), progress);
            }
            // It comes again after the work: nobody has to wake it for what the work answers.
            state.task = None;
            return (NextStep::Work(std::mem::take(&mut state.work)), progress);
        }
        match state.drain {
            Drain::No => {}
            Drain::Asked => return (NextStep::ReadLast, progress),
            Drain::ReadOut => return (pause(NextStep::Pause), progress),
        }
        state.paused = self.is_over(&state);
        let step = match state.paused {
            true => pause(NextStep::Pause),
            false if must_read && !self.account.may_read() => NextStep::ReadSession,
            false => NextStep::Read,
        };
        (step, progress)
    }

    /// The replies of one read. True while more may be read at once.
    pub(super) fn reply(&self, replies: &mut Replies) -> bool {
        let (goes_on, short) = {
            let mut state = self.state.lock();
            // Its heads, bodies and what is open of it.
            let added = replies.pieces_count() + 1;
            state.waiting.append(replies);
            state.write();
            if state.waiting.is_empty() {
                // Their buffer is the caller's again.
                std::mem::swap(&mut state.waiting, replies);
            } else {
                state.waiting.fit(added, self.account.is_tight());
            }
            let short = self.count(&mut state);
            (!self.is_over(&state), short)
        };
        if short {
            self.account.relieve();
        }
        goes_on && self.account.may_read()
    }

    /// An answer or a command from any thread.
    pub(super) fn push(&self, urgency: Urgency, ends_completion: bool, encode: impl FnOnce(&mut Replies)) {
        let (task, short) = {
            let mut state = self.state.lock();
            if ends_completion {
                self.end_completion();
            }
            let was_empty = state.waiting.is_empty();
            if state.transport.is_open() {
                let known = state.waiting.pieces_count();
                encode(&mut state.waiting);
                let added = state.waiting.pieces_count() - known;
                if urgency == Urgency::Now && was_empty {
                    state.write();
                }
                if added > 0 && !state.waiting.is_empty() && urgency != Urgency::AtFlush && self.account.is_tight() {
                    state.waiting.fit(added, true);
                }
                if state.waiting.len() > self.limits.bytes && state.close.is_none() {
                    state.close = Some("it does not read its answers");
                }
            }
            let short = self.count(&mut state);
            let resumes = state.paused && !self.is_over(&state) || self.account.is_paused() && self.account.may_read();
            let writes = urgency != Urgency::AtFlush && !state.is_written();
            (if resumes || writes || state.close.is_some() { state.task.take() } else { None }, short)
        };
        if short {
            self.account.relieve();
        }
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Writes what was pushed for a flush; what the socket does not take is left to the connection's task.
    pub(super) fn flush(&self) {
        let task = {
            let mut state = self.state.lock();
            state.write();
            self.count(&mut state);
            let resumes = state.paused && !self.is_over(&state);
            if resumes || !state.is_written() { state.task.take() } else { None }
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Has the connection's task do something; nothing is done once the connection has ended.
    pub(super) fn push_work(&self, work: BoxedWork) {
        let task = {
            let mut state = self.state.lock();
            if state.ended {
                None
            } else {
                state.work.push(work);
                state.task.take()
            }
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// What the connection's task has not come to, because there is no room for its answers.
    pub(super) fn put_back(&self, mut works: Vec<BoxedWork>) {
        let late = {
            let mut state = self.state.lock();
            if state.ended {
                works
            } else {
                works.append(&mut state.work);
                state.work = works;
                Vec::new()
            }
        };
        drop(late);
    }

    /// What waits for the budget: requests that have arrived, unless the peer has answers to take first.
    pub(super) fn pause(&self, now: u64, missing: usize) {
        let needy = self.state.lock().waiting.is_empty();
        self.account.pause(now, needy, missing);
    }

    /// Counts the connection's buffer; `counted` is what the account knows of it.
    pub(super) fn count_input(&self, counted: &mut usize, bytes: usize) {
        if self.account.count_held(counted, bytes, &self.me) {
            self.account.relieve();
        }
    }

    /// Counts what a request keeps that is answered late; 0 when that is not worth counting.
    pub(super) fn keep(&self, bytes: usize) -> usize {
        let grains = bytes - bytes % GRAIN_BYTES;
        if grains > 0 {
            self.account.count_in_flight(0, grains, &self.me);
            self.account.relieve();
        }
        grains
    }

    pub(super) fn release(&self, grains: usize) {
        if grains > 0 {
            self.account.count_in_flight(grains, 0, &self.me);
        }
    }

    /// True when there may be no room left: whoever counts calls `Account::relieve` after the lock.
    fn count(&self, state: &mut State) -> bool {
        debug_assert!(state.transport.is_open() || state.is_written(), "what nobody takes is kept");
        self.account.count_held(&mut state.counted_bytes, state.waiting.held_bytes() + state.transport.held_bytes(), &self.me)
    }

    #[cfg(test)]
    pub(super) fn take_work(&self) -> Vec<BoxedWork> {
        std::mem::take(&mut self.state.lock().work)
    }

    /// Lets the connection's task run.
    pub(super) fn wake(&self) {
        let task = self.state.lock().task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether it is to be read before others; with little memory left nobody is. What it is now.
    pub(super) fn set_priority(&self, priority: bool) -> bool {
        let priority = priority && !self.account.is_tight();
        if self.has_priority() != priority {
            self.priority.store(priority, Ordering::Relaxed);
        }
        priority
    }

    pub(super) fn has_priority(&self) -> bool {
        self.priority.load(Ordering::Relaxed)
    }

    /// Whoever grants wakes it afterwards.
    pub(super) fn grant_read(&self) {
        self.read_granted.store(true, Ordering::Release);
    }

    pub(super) fn take_grant(&self) -> bool {
        self.read_granted.swap(false, Ordering::Acquire)
    }

    pub(super) fn begin_completion(&self) {
        let before = self.completions.fetch_add(1, Ordering::AcqRel);
        if before % COMPLETIONS_PER_GRAIN == COMPLETIONS_PER_GRAIN - 1 {
            self.account.count_in_flight(0, GRAIN_BYTES, &self.me);
        }
    }

    fn end_completion(&self) {
        let before = self.completions.fetch_sub(1, Ordering::AcqRel);
        debug_assert_ne!(before, 0, "a completion has ended twice");
        if before.is_multiple_of(COMPLETIONS_PER_GRAIN) {
            self.account.count_in_flight(GRAIN_BYTES, 0, &self.me);
        }
    }

    pub(super) fn completions(&self) -> usize {
        self.completions.load(Ordering::Acquire)
    }

    /// Answers that the socket has not taken.
    pub(super) fn waiting_bytes(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + state.transport.sealed_bytes()
    }

    /// From here on what is read and written goes through the session.
    pub(super) fn secure(&self, session: Served) {
        self.state.lock().transport.secure(session);
    }

    /// Has the session take what was read of the socket: what it means is put behind `input`. False once the peer has said that nothing
    /// more comes.
    pub(super) fn receive(&self, bytes: &[u8], input: &mut BytesMut) -> std::io::Result<bool> {
        let (received, short) = {
            let mut state = self.state.lock();
            let received = state.transport.receive(bytes, input);
            // It may have something to say, and what waits may go on.
            state.write();
            (received, self.count(&mut state))
        };
        if short {
            self.account.relieve();
        }
        received
    }

    /// Asks the connection's task to read what has arrived, and no more.
    pub(super) fn drain(&self) {
        let task = {
            let mut state = self.state.lock();
            if state.drain != Drain::No {
                return;
            }
            state.drain = Drain::Asked;
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    pub(super) fn read_out(&self) {
        self.state.lock().drain = Drain::ReadOut;
    }

    /// No request is left that has no answer yet.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        state.drain == Drain::ReadOut && self.completions() == 0
    }

    pub(super) fn close(&self, reason: &'static str) {
        let task = {
            let mut state = self.state.lock();
            state.close.get_or_insert(reason);
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// The connection has ended: nothing is kept or written any more, and the socket is let go.
    pub(super) fn end(&self) {
        let left = {
            let mut state = self.state.lock();
            state.break_off();
            self.count(&mut state);
            state.drain = Drain::ReadOut;
            state.task = None;
            state.ended = true;
            self.account.end(state.leaving_bytes.take().unwrap_or(0));
            std::mem::take(&mut state.work)
        };
        // What it was to answer ends here, and for that asks for the lock.
        drop(left);
    }

    fn is_over(&self, state: &State) -> bool {
        state.transport.is_open() && (state.waiting.len() > self.limits.pause_bytes || self.completions() >= self.limits.completions)
    }
}

impl Holder for Outbound {
    fn account(&self) -> &Account {
        &self.account
    }

    fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    fn has_work(&self) -> bool {
        !self.state.lock().work.is_empty()
    }

    fn wake(&self) {
        Self::wake(self);
    }

    fn give_up(&self, reason: &'static str, leaves: &dyn Fn(usize)) -> bool {
        let task = {
            let mut state = self.state.lock();
            if state.ended || state.leaving_bytes.is_some() {
                return false;
            }
            state.break_off();
            self.count(&mut state);
            state.close.get_or_insert(reason);
            let left = self.account.held_bytes();
            state.leaving_bytes = Some(left);
            leaves(left);
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
        true
    }
}

impl State {
    /// Nothing is left that the socket could take.
    fn is_written(&self) -> bool {
        self.waiting.is_empty() && self.transport.sealed_bytes() == 0
    }

    /// Returns how many bytes of what waited are on their way.
    fn write(&mut self) -> usize {
        if !self.transport.is_open() {
            self.break_off();
            return 0;
        }
        match self.transport.write(&mut self.waiting) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // The reading side tells the end, after what the peer sent before it.
                self.break_off();
                0
            }
        }
    }

    /// The socket takes nothing more, and nothing is kept for it.
    fn break_off(&mut self) {
        self.waiting = Replies::default();
        self.transport.break_off();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ferrocket_protocol::{RemotingCommand, response_code};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::limits::{READ_BYTES_MAX, READ_BYTES_MIN, WAITING_PIECE_BYTES};
    use super::super::{Limits, Peer};
    use super::*;
    use crate::runtime::SystemClock;

    async fn peer(budget: &Budget) -> (Peer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (stream, addr) = server.unwrap();
        let limits = Limits { budget: budget.clone(), ..Limits::default() };
        (Peer::new(addr, addr, stream.into_split().1, &limits, SystemClock::shared()), client.unwrap())
    }

    /// What a read's answers were gathered in is the next read's, also when the peer does not take them.
    #[tokio::test]
    async fn answers_that_wait_are_counted_until_they_have_left_and_keep_no_large_buffer() {
        const BODY_BYTES: usize = 16 * 1024 * 1024;
        let budget = Budget::default();
        let (peer, client) = peer(&budget).await;
        let mut replies = Replies::in_buffer(BytesMut::with_capacity(READ_BYTES_MAX));
        replies.buffer().extend_from_slice(b"head");
        replies.chain(Bytes::from(vec![b'x'; BODY_BYTES]));
        replies.buffer().extend_from_slice(b"head");
        let all = replies.len();
        peer.outbound.reply(&mut replies);
        assert!(peer.unread_bytes() > 0, "more than a socket takes");
        assert_eq!(budget.used_bytes(), BODY_BYTES, "in grains");
        assert!(replies.is_empty() && replies.into_buffer().capacity() == 0, "it is not the caller's any more");
        let mut read = 0;
        let mut bytes = vec![0; 256 * 1024];
        let reading = async {
            while read < all {
                peer.outbound.flush();
                match client.try_read(&mut bytes) {
                    Ok(count) => read += count,
                    // The machine tells both sides what they may do.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), reading).await.expect("it takes all");
        assert_eq!((peer.unread_bytes(), budget.used_bytes()), (0, 0));
        let kept = std::mem::take(&mut peer.outbound.state.lock().waiting).into_buffer().capacity();
        assert!(kept <= READ_BYTES_MIN, "{kept} bytes");
    }

    #[tokio::test]
    async fn late_answers_lie_in_pieces_of_one_size_when_little_memory_is_left() {
        let budget = Budget::new(1024 * 1024);
        let (peer, _client) = peer(&budget).await;
        let push = |body_bytes: usize| {
            let known = peer.outbound.state.lock().waiting.pieces_count();
            let response = RemotingCommand::response(response_code::SUCCESS).with_body(vec![b'x'; body_bytes]);
            peer.outbound.push(Urgency::WithOthers, false, |out| out.push(response));
            peer.outbound.state.lock().waiting.pieces_count() - known
        };
        assert_eq!(push(900 * 1024), 2, "a head and a body");
        assert_eq!(push(4 * WAITING_PIECE_BYTES), 5);
        peer.end();
        assert_eq!(budget.used_bytes(), 0);
    }
}
