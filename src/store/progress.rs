// SPDX-License-Identifier: Apache-2.0
//! Puts that wait until their records are durable, and those whose time is over before.
//!
//! The flusher answers the first, in the order of the log. A timer of its own, which never touches a disk, answers the others: the
//! flusher may be waiting for a disk that does not answer, and so may everybody else who works for the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{ArrivalListener, PutMessageStatus};
use crate::runtime::{Parker, SharedClock, Shutdown};

/// Maximum answers coalesced per peer. With more the first would wait for the last.
const ANSWERS_PER_ROUND: usize = 64;

/// Of a wait without an end a clock could not tell the end.
const DEADLINE_CHECK_NANOS_MAX: u64 = 3_600_000_000_000;

pub(super) type Done = Box<dyn FnOnce(PutMessageStatus) + Send>;

/// Puts that wait for their bytes to be durable.
#[derive(Default)]
struct Waiters {
    waiting: Mutex<Waiting>,
    /// The timer looks again then; `u64::MAX` while it waits for its bell.
    deadline_check_at_nanos: AtomicU64,
    bell: Mutex<Parker>,
}

#[derive(Default)]
struct Waiting {
    /// By the end of the record, then by ticket; with the deadline.
    by_end: BTreeMap<(i64, u64), (u64, Done)>,
    /// (deadline, end, ticket)
    by_deadline: BTreeSet<(u64, i64, u64)>,
    next_ticket: u64,
}

impl Waiters {
    fn push(&self, end: i64, deadline_nanos: u64, done: Done) {
        {
            let mut waiting = self.waiting.lock();
            let ticket = waiting.next_ticket;
            waiting.next_ticket += 1;
            waiting.by_end.insert((end, ticket), (deadline_nanos, done));
            waiting.by_deadline.insert((deadline_nanos, end, ticket));
        }
        // Mostly it looks earlier than that: whoever waits now has a later deadline than those before.
        if deadline_nanos < self.deadline_check_at_nanos.load(Ordering::Acquire) {
            self.bell.lock().unpark();
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().by_end.is_empty()
    }

    /// Those whose records end there or before, in the order of the log.
    fn take_to(&self, end: i64) -> Vec<Done> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        while let Some(first) = waiting.by_end.first_entry().filter(|first| first.key().0 <= end) {
            let ((end, ticket), (deadline, done)) = first.remove_entry();
            waiting.by_deadline.remove(&(deadline, end, ticket));
            taken.push(done);
        }
        taken
    }

    /// Those whose time is over, the earliest first.
    fn take_overdue(&self, now_nanos: u64) -> Vec<Done> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        while let Some(&(deadline, end, ticket)) = waiting.by_deadline.first().filter(|(deadline, ..)| *deadline <= now_nanos) {
            waiting.by_deadline.remove(&(deadline, end, ticket));
            taken.extend(waiting.by_end.remove(&(end, ticket)).map(|(_, done)| done));
        }
        taken
    }

    /// The moment when the timer looks again.
    fn next_deadline_check(&self) -> u64 {
        let waiting = self.waiting.lock();
        let next = waiting.by_deadline.first().map_or(u64::MAX, |(deadline, ..)| *deadline);
        // Under the lock: whoever comes after it compares with this moment.
        self.deadline_check_at_nanos.store(next, Ordering::Release);
        next
    }
}

/// How far the log is durable, and who waits for it.
pub(super) struct Progress {
    flushed: AtomicI64,
    waiters: Waiters,
}

impl Progress {
    pub(super) fn new(flushed: i64) -> Self {
        Self { flushed: AtomicI64::new(flushed), waiters: Waiters::default() }
    }

    /// The log is durable up to here.
    pub(super) fn flushed(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(super) fn set_flushed(&self, end: i64) {
        self.flushed.store(end, Ordering::Release);
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn wait(&self, end: i64, deadline_nanos: u64, done: Done) {
        self.waiters.push(end, deadline_nanos, done);
    }

    /// Answers those who wait for what the disk has now, or will never be known to have.
    pub(super) fn settle(&self, poisoned: bool, listener: &dyn ArrivalListener) {
        if poisoned {
            // The messages are in the log, but nobody can say that they are on the disk.
            return answer(listener, self.waiters.take_to(i64::MAX), PutMessageStatus::FlushDiskTimeout);
        }
        answer(listener, self.waiters.take_to(self.flushed()), PutMessageStatus::PutOk);
    }

    /// Answers those whose message did not get to the disk in time.
    pub(super) fn expire(&self, clock: &SharedClock, listener: &dyn ArrivalListener) {
        answer(listener, self.waiters.take_overdue(clock.nanos()), PutMessageStatus::FlushDiskTimeout);
    }

    /// The timer's work. Until the process ends, also while the store is being closed: that waits for the disk.
    pub(super) fn run_timer(&self, clock: &SharedClock, listener: &dyn ArrivalListener, shutdown: &Shutdown, bell: &Parker) {
        while !shutdown.has_begun() {
            let wait = self.waiters.next_deadline_check().saturating_sub(clock.nanos());
            clock.park(bell, Duration::from_nanos(wait.min(DEADLINE_CHECK_NANOS_MAX)));
            self.expire(clock, listener);
        }
    }

    pub(super) fn set_timer_bell(&self, bell: &Parker) {
        *self.waiters.bell.lock() = bell.clone();
    }
}

fn answer(listener: &dyn ArrivalListener, waiters: Vec<Done>, status: PutMessageStatus) {
    // Outside the lock: an answer may do anything, even put again.
    let mut waiters = waiters.into_iter();
    while waiters.len() > 0 {
        listener.round(&mut || waiters.by_ref().take(ANSWERS_PER_ROUND).for_each(|done| done(status)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn waiters_are_answered_in_the_order_of_the_log_or_of_their_deadlines() {
        let waiters = Waiters::default();
        let answered = Arc::new(Mutex::new(Vec::new()));
        for (name, end, deadline) in [("a", 30, 5), ("b", 10, 9), ("c", 20, 7), ("d", 10, 3)] {
            let answered = Arc::clone(&answered);
            waiters.push(end, deadline, Box::new(move |_| answered.lock().push(name)));
        }
        let settle = |taken: Vec<Done>| {
            taken.into_iter().for_each(|done| done(PutMessageStatus::PutOk));
            std::mem::take(&mut *answered.lock())
        };
        assert_eq!(waiters.next_deadline_check(), 3);
        assert_eq!(settle(waiters.take_overdue(5)), ["d", "a"]);
        assert_eq!(waiters.next_deadline_check(), 7);
        assert_eq!(settle(waiters.take_to(19)), ["b"]);
        assert_eq!(settle(waiters.take_to(20)), ["c"]);
        assert!(waiters.is_empty());
        assert_eq!(waiters.next_deadline_check(), u64::MAX);
    }
}
