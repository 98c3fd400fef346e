// SPDX-License-Identifier: Apache-2.0
//! What waits to be written to one peer, and the only place that writes to it.
//!
//! The connection's task writes the replies of each read; late answers come from other threads. Both write under one short
//! lock, so frames never mix. What the socket does not take stays here, and the task writes it when the socket has room.

use std::fmt;
use std::task::{Context, Poll, Waker};

use super::late::BoxedWork;
use super::limits::Limits;
use super::replies::Replies;
use super::socket::OwnedWriteHalf;
use crate::runtime::sync::{AtomicUsize, Mutex, Ordering};

#[derive(Debug)]
pub(super) struct Outbound {
    limits: OutboundLimits,
    /// Requests that wait for a late answer. Counted up without the lock, so that nobody waits there for a write; counted down under it.
    completions: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct OutboundLimits {
    pause_bytes: usize,
    bytes: usize,
    completions: usize,
}

struct State {
    waiting: Replies,
    /// What the connection's task is to do before it reads.
    work: Vec<BoxedWork>,
    /// The connection has ended.
    ended: bool,
    /// The connection's task, when it sleeps.
    task: Option<Waker>,
    /// `None` when the peer's socket takes nothing more; what it sent before is still read.
    stream: Option<OwnedWriteHalf>,
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
pub(super) enum Turn {
    Read,
    /// Do this, and come again.
    Work(Vec<BoxedWork>),
    /// Read what has arrived, say `read_out`, and read no more.
    ReadLast,
    /// A limit is reached: read nothing until woken.
    Pause,
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
    pub(super) fn new(stream: OwnedWriteHalf, limits: &Limits) -> Self {
        Self {
            limits: OutboundLimits {
                pause_bytes: limits.outbound_pause_bytes,
                bytes: limits.outbound_bytes,
                completions: limits.completions,
            },
            completions: AtomicUsize::new(0),
            state: Mutex::new(State {
                waiting: Replies::default(),
                work: Vec::new(),
                ended: false,
                task: None,
                stream: Some(stream),
                close: None,
                drain: Drain::No,
                paused: false,
            }),
        }
    }

    /// Called by the connection's task before it reads: registers it, writes what waits and says how to go on.
    /// True beside it when something was written.
    pub(super) fn turn(&self, context: &mut Context<'_>) -> (Turn, bool) {
        let mut state = self.state.lock();
        match &state.task {
            Some(task) if task.will_wake(context.waker()) => {}
            _ => state.task = Some(context.waker().clone()),
        }
        let mut progress = false;
        while !state.waiting.is_empty() {
            progress |= state.write() > 0;
            if state.waiting.is_empty() || state.poll_write_ready(context).is_pending() {
                break;
            }
        }
        if let Some(reason) = state.close {
            return (Turn::Close(reason), progress);
        }
        if !state.work.is_empty() {
            // It comes again after the work: nobody has to wake it for what the work answers.
            state.task = None;
            return (Turn::Work(std::mem::take(&mut state.work)), progress);
        }
        match state.drain {
            Drain::No => {}
            Drain::Asked => return (Turn::ReadLast, progress),
            Drain::ReadOut => return (Turn::Pause, progress),
        }
        state.paused = self.is_over(&state);
        (if state.paused { Turn::Pause } else { Turn::Read }, progress)
    }

    /// The replies of one read. True while more may be read at once.
    pub(super) fn reply(&self, replies: &mut Replies) -> bool {
        let mut state = self.state.lock();
        state.waiting.append(replies);
        state.write();
        if state.waiting.is_empty() {
            // Their buffer is the caller's again.
            std::mem::swap(&mut state.waiting, replies);
        }
        !self.is_over(&state)
    }

    /// An answer or a command from any thread.
    pub(super) fn push(&self, urgency: Urgency, ends_completion: bool, encode: impl FnOnce(&mut Replies)) {
        let task = {
            let mut state = self.state.lock();
            if ends_completion {
                self.completions.fetch_sub(1, Ordering::AcqRel);
            }
            let was_empty = state.waiting.is_empty();
            if state.stream.is_some() {
                encode(&mut state.waiting);
                if urgency == Urgency::Now && was_empty {
                    state.write();
                }
                if state.waiting.len() > self.limits.bytes && state.close.is_none() {
                    state.close = Some("it does not read its answers");
                }
            }
            let resumes = state.paused && !self.is_over(&state);
            let writes = urgency != Urgency::AtFlush && !state.waiting.is_empty();
            if resumes || writes || state.close.is_some() { state.task.take() } else { None }
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Writes what was pushed for a flush; what the socket does not take is left to the connection's task.
    pub(super) fn flush(&self) {
        let task = {
            let mut state = self.state.lock();
            state.write();
            let resumes = state.paused && !self.is_over(&state);
            if resumes || !state.waiting.is_empty() { state.task.take() } else { None }
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

    pub(super) fn begin_completion(&self) {
        self.completions.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn completions(&self) -> usize {
        self.completions.load(Ordering::Acquire)
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.state.lock().waiting.len()
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
            state.drain = Drain::ReadOut;
            state.task = None;
            state.ended = true;
            std::mem::take(&mut state.work)
        };
        // What it was to answer ends here, and for that asks for the lock.
        drop(left);
    }

    fn is_over(&self, state: &State) -> bool {
        state.stream.is_some() && (state.waiting.len() > self.limits.pause_bytes || self.completions() >= self.limits.completions)
    }
}

impl State {
    /// Returns the bytes that the socket took.
    fn write(&mut self) -> usize {
        let Some(stream) = &self.stream else {
            self.waiting = Replies::default();
            return 0;
        };
        let written = self.waiting.write(|slices| match slices {
            [one] => stream.try_write(one),
            many => stream.try_write_vectored(many),
        });
        match written {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // The reading side tells the end, after what the peer sent before it.
                self.break_off();
                0
            }
        }
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            // An error shows at the next write.
            Some(stream) => stream.as_ref().poll_write_ready(context).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    fn break_off(&mut self) {
        self.waiting = Replies::default();
        if let Some(stream) = self.stream.take() {
            // Dropping would say "end of stream" to the peer although its requests are still being read.
            stream.forget();
        }
    }
}
