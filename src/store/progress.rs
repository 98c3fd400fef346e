// SPDX-License-Identifier: Apache-2.0
//! How far the log has come: on this machine's disk, and on the slaves; and the puts that wait for either.
//!
//! Whoever moves a watermark answers those who waited for it, in the order of the log. A timer of its own, which never touches a disk,
//! answers those whose time is over: the flusher may be waiting for a disk that does not answer, and so may everybody else who works
//! for the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::put::Needs;
use super::{ArrivalListener, PutMessageStatus};
use crate::runtime::{Parker, SharedClock, Shutdown};

/// Maximum answers coalesced per peer. With more the first would wait for the last.
const ANSWERS_PER_ROUND: usize = 64;

/// Of a wait without an end a clock could not tell the end.
const DEADLINE_CHECK_NANOS_MAX: u64 = 3_600_000_000_000;

pub(super) type Done = Box<dyn FnOnce(PutMessageStatus) + Send>;

/// The watermarks that follow the log's end, and who waits for them.
pub(super) struct Progress {
    flushed: AtomicI64,
    /// Where the log of each connected slave ends, as far as it has said.
    replicas: Mutex<HashMap<String, i64>>,
    /// What consumers may read has this.
    visible: Needs,
    /// It has it as soon as it is in the log; asked by every put.
    is_visible_at_once: bool,
    /// There may be puts that need slaves; asked by every put.
    wants_replicas: AtomicBool,
    waiters: Waiters,
}

impl Progress {
    pub(super) fn new(flushed: i64, visible: Needs) -> Self {
        let is_visible_at_once = visible == Needs::default();
        let (replicas, wants_replicas, waiters) = (Mutex::default(), AtomicBool::new(false), Waiters::default());
        Self { flushed: AtomicI64::new(flushed), replicas, visible, is_visible_at_once, wants_replicas, waiters }
    }

    /// The log is durable up to here.
    pub(super) fn flushed(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(super) fn set_flushed(&self, end: i64) {
        self.flushed.store(end, Ordering::Release);
    }

    /// A slave's log ends here; what it says of a log longer than ours (`appended`) is not believed. Never back while it is connected.
    pub(super) fn set_replicated(&self, replica: &str, end: i64, appended: i64) {
        let end = end.min(appended);
        let mut replicas = self.replicas.lock();
        match replicas.get_mut(replica) {
            Some(known) => *known = end.max(*known),
            None => drop(replicas.insert(replica.to_owned(), end)),
        }
    }

    pub(super) fn forget_replica(&self, replica: &str) {
        self.replicas.lock().remove(replica);
    }

    pub(super) fn wants_replicas(&self) -> bool {
        self.wants_replicas.load(Ordering::Relaxed)
    }

    pub(super) fn set_wants_replicas(&self, wants: bool) {
        self.wants_replicas.store(wants, Ordering::Relaxed);
    }

    /// Slaves whose logs end behind this place.
    pub(super) fn in_sync_replicas(&self, place: i64) -> usize {
        self.replicas.lock().values().filter(|end| **end > place).count()
    }

    /// This many slaves have the log up to here; nothing of it while there are fewer.
    fn replicated(&self, count: usize) -> i64 {
        let mut ends: Vec<i64> = self.replicas.lock().values().copied().collect();
        ends.sort_unstable_by(|one, other| other.cmp(one));
        count.checked_sub(1).map_or(i64::MAX, |index| ends.get(index).copied().unwrap_or(i64::MIN))
    }

    /// The log up to here has what is needed.
    pub(super) fn reached(&self, needs: Needs) -> i64 {
        let flushed = if needs.disk { self.flushed() } else { i64::MAX };
        if needs.replicas == 0 { flushed } else { flushed.min(self.replicated(needs.replicas)) }
    }

    /// Whether a message is readable as soon as it is in the log.
    pub(super) fn is_visible_at_once(&self) -> bool {
        self.is_visible_at_once
    }

    /// Queues are readable up to messages that end here.
    pub(super) fn visible_end(&self) -> i64 {
        self.reached(self.visible)
    }

    /// Whether somebody waits for what a flush would settle.
    pub(super) fn wants_flush(&self) -> bool {
        let flushed = self.flushed();
        let waiting = self.waiters.waiting.lock();
        let mut of_disk = waiting.by_end.iter().filter(|(needs, _)| needs.disk);
        of_disk.any(|(needs, by_end)| {
            let is_unflushed = by_end.last_key_value().is_some_and(|((end, _), _)| *end > flushed);
            is_unflushed || by_end.first_key_value().is_some_and(|((end, _), _)| *end <= self.reached(*needs))
        })
    }

    /// Until `deadline_nanos` for slaves; for the disk until `disk_deadline_nanos`, and as long as slaves are waited for.
    pub(super) fn wait(&self, end: i64, needs: Needs, deadline_nanos: u64, disk_deadline_nanos: u64, done: Done) {
        let deadline_nanos = if needs.replicas > 0 { deadline_nanos } else { disk_deadline_nanos };
        self.waiters.push(end, needs, WaitingPut { deadline_nanos, disk_deadline_nanos, done });
    }

    /// Answers those who wait for what has been reached, or can never be known to be.
    pub(super) fn settle(&self, poisoned: bool, listener: &dyn ArrivalListener) {
        let settled = self.waiters.take(|needs| match poisoned && needs.disk {
            // The messages are in the log, but nobody can say that they are on the disk.
            true => (i64::MAX, PutMessageStatus::FlushDiskTimeout),
            false => (self.reached(needs), PutMessageStatus::PutOk),
        });
        answer(listener, settled);
    }

    /// The store is about to be closed: who waits for slaves hears at once that they have not said so.
    pub(super) fn stop_waiting_for_replicas(&self, listener: &dyn ArrivalListener) {
        let settled = self.waiters.take(|needs| match needs.replicas {
            0 => (i64::MIN, PutMessageStatus::PutOk),
            _ => (i64::MAX, PutMessageStatus::FlushSlaveTimeout),
        });
        answer(listener, settled);
    }

    /// Answers those whose time is over: with what was still missing, of which the slaves' part is said first, as in Java. Who has waited
    /// for the slaves alone goes on waiting for the disk.
    pub(super) fn expire(&self, clock: &SharedClock, listener: &dyn ArrivalListener) {
        let now = clock.nanos();
        let (mut answers, mut wait_on) = (Vec::new(), false);
        for (needs, end, waiter) in self.waiters.take_overdue(now) {
            let disk_deadline_nanos = waiter.disk_deadline_nanos;
            let status = if self.reached(needs) >= end {
                PutMessageStatus::PutOk
            } else if self.reached(Needs { disk: false, ..needs }) < end {
                PutMessageStatus::FlushSlaveTimeout
            } else if disk_deadline_nanos > now {
                self.waiters.push(end, Needs::DISK, WaitingPut { deadline_nanos: disk_deadline_nanos, ..waiter });
                wait_on = true;
                continue;
            } else {
                PutMessageStatus::FlushDiskTimeout
            };
            answers.push((waiter.done, status));
        }
        answer(listener, answers);
        if wait_on {
            // The disk may have come so far since the look above.
            self.settle(false, listener);
        }
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

fn answer(listener: &dyn ArrivalListener, answers: Vec<(Done, PutMessageStatus)>) {
    // Outside the lock: an answer may do anything, even put again.
    let mut answers = answers.into_iter();
    while answers.len() > 0 {
        listener.round(&mut || answers.by_ref().take(ANSWERS_PER_ROUND).for_each(|(done, status)| done(status)));
    }
}

/// A put that waits.
struct WaitingPut {
    deadline_nanos: u64,
    disk_deadline_nanos: u64,
    done: Done,
}

/// By the end of the record, then by ticket.
type ByEnd = BTreeMap<(i64, u64), WaitingPut>;

/// Puts that wait.
#[derive(Default)]
struct Waiters {
    waiting: Mutex<Waiting>,
    /// The timer looks again then; `u64::MAX` while it waits for its bell.
    deadline_check_at_nanos: AtomicU64,
    bell: Mutex<Parker>,
}

#[derive(Default)]
struct Waiting {
    by_end: BTreeMap<Needs, ByEnd>,
    /// (deadline, needs, end, ticket)
    by_deadline: BTreeSet<(u64, Needs, i64, u64)>,
    next_ticket: u64,
}

impl Waiters {
    fn push(&self, end: i64, needs: Needs, waiter: WaitingPut) {
        let deadline_nanos = waiter.deadline_nanos;
        {
            let mut waiting = self.waiting.lock();
            let ticket = waiting.next_ticket;
            waiting.next_ticket += 1;
            waiting.by_end.entry(needs).or_default().insert((end, ticket), waiter);
            waiting.by_deadline.insert((deadline_nanos, needs, end, ticket));
        }
        // Mostly it looks earlier than that: whoever waits now has a later deadline than those before.
        if deadline_nanos < self.deadline_check_at_nanos.load(Ordering::Acquire) {
            self.bell.lock().unpark();
        }
    }

    /// Those whose records end at or before where `reached` says that what they need ends, in the order of the log; with its status.
    fn take(&self, reached: impl Fn(Needs) -> (i64, PutMessageStatus)) -> Vec<(Done, PutMessageStatus)> {
        let waiting = &mut *self.waiting.lock();
        let mut taken = Vec::new();
        for (needs, by_end) in &mut waiting.by_end {
            let (to, status) = reached(*needs);
            while let Some(first) = by_end.first_entry().filter(|first| first.key().0 <= to) {
                let ((end, ticket), waiter) = first.remove_entry();
                waiting.by_deadline.remove(&(waiter.deadline_nanos, *needs, end, ticket));
                taken.push((waiter.done, status));
            }
        }
        taken
    }

    /// Those whose time is over, the earliest first.
    fn take_overdue(&self, now_nanos: u64) -> Vec<(Needs, i64, WaitingPut)> {
        let waiting = &mut *self.waiting.lock();
        let mut taken = Vec::new();
        while let Some(&(deadline, needs, end, ticket)) = waiting.by_deadline.first().filter(|(deadline, ..)| *deadline <= now_nanos) {
            waiting.by_deadline.remove(&(deadline, needs, end, ticket));
            let waiter = waiting.by_end.get_mut(&needs).and_then(|by_end| by_end.remove(&(end, ticket)));
            taken.extend(waiter.map(|waiter| (needs, end, waiter)));
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
            let done: Done = Box::new(move |_| answered.lock().push(name));
            waiters.push(end, Needs::DISK, WaitingPut { deadline_nanos: deadline, disk_deadline_nanos: deadline, done });
        }
        let settle = |taken: Vec<Done>| {
            taken.into_iter().for_each(|done| done(PutMessageStatus::PutOk));
            std::mem::take(&mut *answered.lock())
        };
        let take_to = |end| waiters.take(|_| (end, PutMessageStatus::PutOk)).into_iter().map(|(done, _)| done).collect();
        assert_eq!(waiters.next_deadline_check(), 3);
        assert_eq!(settle(waiters.take_overdue(5).into_iter().map(|(.., waiter)| waiter.done).collect()), ["d", "a"]);
        assert_eq!(waiters.next_deadline_check(), 7);
        assert_eq!(settle(take_to(19)), ["b"]);
        assert_eq!(settle(take_to(20)), ["c"]);
        assert_eq!(waiters.next_deadline_check(), u64::MAX);
    }

    #[test]
    fn what_is_visible_and_settled_has_what_it_needs() {
        let needs = |disk, replicas| Needs { disk, replicas };
        let progress = Progress::new(100, needs(true, 2));
        assert_eq!(progress.visible_end(), i64::MIN, "no slave is there");
        progress.set_replicated("one", 300, 1_000);
        progress.set_replicated("two", 2_000, 1_000);
        let ends = [needs(false, 0), needs(true, 0), needs(false, 1), needs(false, 2), needs(true, 1), needs(false, 3)];
        let reached = |progress: &Progress| ends.map(|needs| progress.reached(needs));
        assert_eq!(reached(&progress), [i64::MAX, 100, 1_000, 300, 100, i64::MIN], "what is not in our log counts for nothing");
        assert_eq!(progress.visible_end(), 100);
        progress.set_flushed(700);
        progress.set_replicated("one", 200, 1_000);
        assert_eq!(progress.visible_end(), 300, "a slave that stays does not lose what it had");
        progress.forget_replica("two");
        assert_eq!(reached(&progress), [i64::MAX, 700, 300, i64::MIN, 300, i64::MIN]);
    }
}
