// SPDX-License-Identifier: Apache-2.0
//! The memory that all connections of a process may hold together, and who gives way when it is short.
//!
//! Counted is what clients make us keep: answers that they do not take, pieces of requests, requests that wait for the disk or for a
//! message, and the connections themselves. Below `GRAIN_BYTES` nothing is counted but the connection, so that one which is read and
//! answered at once costs no atomic.
//!
//! Each connection may hold a quarter of what is free: many that hold much stop early and leave room for those that come. Whoever
//! holds less than `SMALL_BYTES` is always served, which is why the last quarter is not given away. When even that is gone, the
//! connections that hold the most are closed, at once and by whoever needs the room: nothing is waited for.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::limits::{
    BUDGET_GONE_LOOKS, BUDGET_IDLE_LOOKS, BUDGET_NEED_MAX, BUDGET_PASS_MAX, BUDGET_SAY, BUDGET_SHARE, CONNECTION_BYTES, GRAIN_BYTES,
    SMALL_BYTES,
};
use crate::runtime::sync::Mutex;

/// Clones share what is counted, so that all listeners of a process keep one budget.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    bytes: usize,
    used: AtomicUsize,
    /// Of connections that were closed for the budget and have not ended yet.
    leaving: AtomicUsize,
    /// Connections that wait for room.
    paused_count: AtomicUsize,
    /// Whoever was ever counted, by the number of its account.
    accounts: Mutex<HashMap<u64, Weak<dyn Holder>>>,
    /// One makes room at a time.
    relief: Mutex<()>,
    /// Rung by the first that waits.
    paused: Notify,
    watched: AtomicBool,
    refusal_said_nanos: AtomicU64,
}

/// A connection as the budget sees it.
pub(super) trait Holder: Send + Sync {
    fn account(&self) -> &Account;

    /// For the log.
    fn remote_addr(&self) -> SocketAddr;

    /// Whether its task has work to do that will be answered.
    fn has_work(&self) -> bool;

    /// Lets its task run.
    fn wake(&self);

    /// Closes it, and drops what waits to be written now. False when it has ended anyway. `leaves` hears, under its lock, how many bytes
    /// are still counted until its task has ended: `Account::end` is told them again.
    fn give_up(&self, reason: &'static str, leaves: &dyn Fn(usize)) -> bool;
}

pub(super) type AnyHolder = Arc<dyn Holder>;

/// What one connection holds.
pub(super) struct Account {
    number: u64,
    budget: Budget,
    /// Freed when the connection is closed: unread answers, and its buffer.
    held: AtomicUsize,
    /// Freed when its requests are answered.
    in_flight: AtomicUsize,
    listed: AtomicBool,
    /// When it began to wait for room, with what arrived for it still unread; 0 when it does not.
    paused_nanos: AtomicU64,
    /// How many looks ago everything that its peer had sent was read, counted from 1; 0 while there may be more to read. A peer far away,
    /// or on a busy machine, pauses for a moment in the middle of a request and goes on.
    idle_looks: AtomicU32,
    /// It is not read any more, for want of memory and not because its peer has answers to take.
    needy: AtomicBool,
    /// How much is missing of the request that it is in.
    missing: AtomicUsize,
    /// It may use what is kept back, to end the request that it has begun.
    pass: AtomicBool,
}

/// A connection's own cost, until dropped.
#[derive(Debug)]
pub(super) struct Admission(Budget);

/// The right of one connection to use what is kept back, until it has ended the request that it is in. Without it many that are each
/// in the middle of a long request would wait for each other for good.
pub(super) struct ReservePass {
    holder: AnyHolder,
    since: u64,
}

impl ReservePass {
    fn is_over(&self, now: u64) -> bool {
        let account = self.holder.account();
        let is_served = !account.has_pass() || account.bytes() <= SMALL_BYTES;
        is_served || account.idle_looks() > BUDGET_IDLE_LOOKS || passed(self.since, now, BUDGET_PASS_MAX) && !account.is_paused()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.0.used.fetch_sub(CONNECTION_BYTES, Ordering::Relaxed);
    }
}

impl Default for Budget {
    /// Without a limit.
    fn default() -> Self {
        Self::new(isize::MAX as usize)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {} bytes)", self.used_bytes(), self.bytes())
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} bytes)", self.bytes())
    }
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared {
            bytes,
            used: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            paused_count: AtomicUsize::new(0),
            accounts: Mutex::default(),
            relief: Mutex::default(),
            paused: Notify::new(),
            watched: AtomicBool::new(false),
            refusal_said_nanos: AtomicU64::new(0),
        }))
    }

    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// What is counted now.
    pub fn used_bytes(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// What one connection may hold at most in this moment: a part of what is free, without what is kept back.
    fn share(&self) -> usize {
        self.share_beside(self.used_bytes())
    }

    fn share_beside(&self, used: usize) -> usize {
        (self.0.bytes - self.0.bytes / BUDGET_SHARE).saturating_sub(used) / BUDGET_SHARE
    }

    /// What will be used when those that were closed have ended.
    fn staying_bytes(&self) -> usize {
        self.used_bytes().saturating_sub(self.0.leaving.load(Ordering::Relaxed))
    }

    /// A new connection; `None` when there is no room for it, whoever were closed.
    pub(super) fn admit(&self) -> Option<Admission> {
        self.0.used.fetch_add(CONNECTION_BYTES, Ordering::Relaxed);
        let admission = Admission(self.clone());
        self.relieve();
        (!self.is_short()).then_some(admission)
    }

    /// Whether a refusal is worth a line: one of many is.
    pub(super) fn says_refusal(&self, now: u64) -> bool {
        let said = &self.0.refusal_said_nanos;
        let before = said.load(Ordering::Relaxed);
        let due = before == 0 || now.saturating_sub(before) >= BUDGET_SAY.as_nanos() as u64;
        due && said.compare_exchange(before, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn is_short(&self) -> bool {
        self.staying_bytes() > self.0.bytes
    }

    /// When there is no room left, closes those that hold the most. To be called without any lock.
    pub(super) fn relieve(&self) {
        if self.is_short() {
            let _one = self.0.relief.lock();
            if !self.is_short() {
                // Whoever had the lock has made room.
                return;
            }
            // Some more than needed, lest the next answer begins again.
            let wanted = self.0.bytes - self.0.bytes / (4 * BUDGET_SHARE);
            for connection in by_greed(self.accounts()) {
                if self.staying_bytes() <= wanted {
                    break;
                }
                self.close(&*connection);
            }
        }
    }

    fn close(&self, connection: &dyn Holder) {
        let bytes = connection.account().held_bytes();
        if connection.give_up("it held the most memory when there was none left", &|left| {
            self.0.leaving.fetch_add(left, Ordering::Relaxed);
        }) {
            let (peer, used, budget) = (connection.remote_addr(), self.used_bytes(), self.bytes());
            warn!(%peer, bytes, used, budget, "out of memory for connections: closing the one that holds the most");
        }
    }

    pub(super) fn accounts(&self) -> Vec<AnyHolder> {
        let mut accounts = self.0.accounts.lock();
        accounts.retain(|_, connection| connection.strong_count() > 0);
        accounts.values().filter_map(Weak::upgrade).collect()
    }

    /// Whether nobody watches it yet: one task does, for all listeners.
    pub(super) fn is_unwatched(&self) -> bool {
        !self.0.watched.swap(true, Ordering::Relaxed)
    }

    pub(super) fn has_paused(&self) -> bool {
        self.0.paused_count.load(Ordering::Relaxed) > 0
    }

    /// Until a connection waits for room.
    pub(super) async fn paused(&self) {
        self.0.paused.notified().await;
    }

    /// Wakes whoever may go on, and sees to it that those who wait for memory get some.
    pub(super) fn look(&self, connections: &[AnyHolder], now: u64, pass: &mut Option<ReservePass>) {
        if let Some(over) = pass.take_if(|pass| pass.is_over(now)) {
            over.holder.account().pass.store(false, Ordering::Relaxed);
        }
        let mut longest = u64::MAX;
        // First whoever is next to the end of its request: it gives its memory back soonest.
        let mut first: Option<((usize, u64), &AnyHolder)> = None;
        for connection in connections {
            let account = connection.account();
            account.count_idle_look();
            let since = account.paused_nanos.load(Ordering::Relaxed);
            if since > 0 && (account.may_read() || connection.has_work() && account.may_answer()) {
                connection.wake();
            } else if since > 0 && account.needy.load(Ordering::Relaxed) {
                longest = longest.min(since);
                let place = (account.missing.load(Ordering::Relaxed), since);
                if first.is_none_or(|(first, _)| place < first) {
                    first = Some((place, connection));
                }
            }
        }
        let Some((_, needy)) = first else { return };
        if pass.is_none() {
            needy.account().pass.store(true, Ordering::Relaxed);
            needy.wake();
            *pass = Some(ReservePass { holder: Arc::clone(needy), since: now });
        }
        let Some(pass) = pass.as_ref().filter(|_| passed(longest, now, BUDGET_NEED_MAX)) else { return };
        // One that is at work only goes when the pass is of no use either, and then one at a time.
        let is_stuck = pass.holder.account().is_paused() && passed(pass.since, now, BUDGET_NEED_MAX);
        for connection in by_greed(connections.to_vec()) {
            let keeps_us_waiting = connection.account().keeps_us_waiting();
            if needy.account().fits_beside(self.staying_bytes()) || !keeps_us_waiting && !is_stuck {
                break;
            }
            self.close(&*connection);
            if !keeps_us_waiting {
                break;
            }
        }
    }

    pub(super) fn say(&self) {
        let (paused, used, budget) = (self.0.paused_count.load(Ordering::Relaxed), self.used_bytes(), self.bytes());
        let greediest = self.accounts().into_iter().max_by_key(|connection| connection.account().bytes());
        if let Some(greediest) = greediest {
            let (peer, bytes) = (greediest.remote_addr(), greediest.account().bytes());
            warn!(paused, used, budget, %peer, bytes, "little memory is left for connections: those that hold much wait; this one holds the most");
        }
    }
}

fn passed(since: u64, now: u64, time: Duration) -> bool {
    now.saturating_sub(since) >= time.as_nanos() as u64
}

/// Who may be closed for others, the first one first; those that hold little never are.
fn by_greed(mut connections: Vec<AnyHolder>) -> Vec<AnyHolder> {
    connections.retain(|connection| connection.account().held_bytes() > SMALL_BYTES && !connection.account().has_pass());
    connections.sort_by_cached_key(|connection| std::cmp::Reverse(connection.account().greed()));
    connections
}

impl Account {
    pub(super) fn new(budget: &Budget) -> Self {
        static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);
        Self {
            number: LAST_NUMBER.fetch_add(1, Ordering::Relaxed),
            budget: budget.clone(),
            held: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            listed: AtomicBool::new(false),
            paused_nanos: AtomicU64::new(0),
            idle_looks: AtomicU32::new(0),
            needy: AtomicBool::new(false),
            missing: AtomicUsize::new(0),
            pass: AtomicBool::new(false),
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.held_bytes() + self.in_flight.load(Ordering::Relaxed)
    }

    /// Its peer does not go on, and it holds something for it.
    fn keeps_us_waiting(&self) -> bool {
        let is_stuck = self.is_paused() && !self.needy.load(Ordering::Relaxed);
        (is_stuck || self.idle_looks() > BUDGET_GONE_LOOKS) && self.held_bytes() > SMALL_BYTES
    }

    fn idle_looks(&self) -> u32 {
        self.idle_looks.load(Ordering::Relaxed)
    }

    fn count_idle_look(&self) {
        let looks = self.idle_looks();
        if looks > 0 {
            // Its task may have read something meanwhile: then it begins anew.
            let _ = self.idle_looks.compare_exchange(looks, looks.saturating_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn end_idling(&self) {
        if self.idle_looks() > 0 {
            self.idle_looks.store(0, Ordering::Relaxed);
        }
    }

    /// The greatest is closed first: those that keep us waiting before those that are at work, by what they hold and still want.
    fn greed(&self) -> (bool, usize) {
        (self.keeps_us_waiting(), self.held_bytes() + self.missing.load(Ordering::Relaxed))
    }

    fn has_pass(&self) -> bool {
        self.pass.load(Ordering::Relaxed)
    }

    /// Whether one more request may be read. Those that hold little may always: they can add little.
    pub(super) fn may_read(&self) -> bool {
        self.fits_beside(self.budget.used_bytes())
    }

    fn fits_beside(&self, used: usize) -> bool {
        match self.bytes() {
            bytes if bytes <= SMALL_BYTES => true,
            // With the pass too it only goes on when there is room for its buffer to become twice as large.
            bytes => bytes <= self.budget.share_beside(used) || self.has_pass() && used + bytes <= self.budget.bytes(),
        }
    }

    /// Whether one more late answer may be made, for which the peer need not have read others.
    pub(super) fn may_answer(&self) -> bool {
        let held = self.held_bytes();
        held <= SMALL_BYTES || held <= self.budget.share()
    }

    /// Whether there is room for requests that wait.
    pub(super) fn may_wait(&self) -> bool {
        self.budget.used_bytes() < self.budget.bytes()
    }

    /// What it may hold beside what it holds already.
    pub(super) fn room_bytes(&self) -> usize {
        self.budget.share().saturating_sub(self.held_bytes())
    }

    /// Little is left: buffers are small.
    pub(super) fn is_tight(&self) -> bool {
        self.budget.share() < self.budget.bytes() / (4 * BUDGET_SHARE)
    }

    /// It waits for room, unless it waits already. `needy`: for memory, and not for its peer.
    pub(super) fn pause(&self, now: u64, needy: bool, missing: usize) {
        self.needy.store(needy, Ordering::Relaxed);
        self.missing.store(missing, Ordering::Relaxed);
        self.end_idling();
        if !self.is_paused() {
            self.paused_nanos.store(now.max(1), Ordering::Relaxed);
            self.budget.0.paused_count.fetch_add(1, Ordering::Relaxed);
            self.budget.0.paused.notify_one();
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_nanos.load(Ordering::Relaxed) != 0
    }

    /// It reads, or answers; only its own task pauses it and lets it go on.
    pub(super) fn go_on(&self) {
        self.end_pause();
        self.end_idling();
    }

    fn end_pause(&self) {
        if self.is_paused() {
            self.paused_nanos.store(0, Ordering::Relaxed);
            self.budget.0.paused_count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Everything that has arrived for it was read.
    pub(super) fn waits_for_peer(&self) {
        self.end_pause();
        if self.idle_looks() == 0 {
            self.idle_looks.store(1, Ordering::Relaxed);
        }
    }

    /// Counts what its connection holds: whole grains. True when there may be no room left: `relieve` is to be called.
    pub(super) fn count_held<H: Holder + 'static>(&self, counted: &mut usize, bytes: usize, connection: &Weak<H>) -> bool {
        let now = bytes - bytes % GRAIN_BYTES;
        let before = std::mem::replace(counted, now);
        if now == before {
            return false;
        }
        self.count(&self.held, before, now, connection);
        now > before && self.budget.is_short()
    }

    /// As `count_held`, for what its requests hold.
    pub(super) fn count_in_flight<H: Holder + 'static>(&self, before: usize, now: usize, connection: &Weak<H>) {
        self.count(&self.in_flight, before, now, connection);
    }

    fn count<H: Holder + 'static>(&self, part: &AtomicUsize, before: usize, now: usize, connection: &Weak<H>) {
        let used = &self.budget.0.used;
        if now > before {
            part.fetch_add(now - before, Ordering::Relaxed);
            used.fetch_add(now - before, Ordering::Relaxed);
            if !self.listed.swap(true, Ordering::Relaxed) {
                let connection: Weak<H> = Weak::clone(connection);
                self.budget.0.accounts.lock().insert(self.number, connection);
            }
        } else {
            part.fetch_sub(before - now, Ordering::Relaxed);
            used.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    pub(super) fn relieve(&self) {
        self.budget.relieve();
    }

    /// The connection has ended. `left`: what `Budget::close` counted as leaving.
    pub(super) fn end(&self, left: usize) {
        self.go_on();
        self.pass.store(false, Ordering::Relaxed);
        self.budget.0.leaving.fetch_sub(left, Ordering::Relaxed);
        self.budget.0.accounts.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::BUDGET_LOOK;
    use super::*;

    /// A connection of whom only the account is real.
    struct Fake {
        me: Weak<Self>,
        account: Account,
        counted: Mutex<usize>,
        closed: AtomicBool,
    }

    impl Fake {
        fn holding(budget: &Budget, bytes: usize) -> Arc<Self> {
            let fake = Arc::new_cyclic(|me| Self {
                me: Weak::clone(me),
                account: Account::new(budget),
                counted: Mutex::new(0),
                closed: AtomicBool::new(false),
            });
            fake.hold(bytes);
            fake
        }

        fn hold(&self, bytes: usize) {
            let mut counted = *self.counted.lock();
            let short = self.account.count_held(&mut counted, bytes, &self.me);
            *self.counted.lock() = counted;
            if short {
                self.account.relieve();
            }
        }

        fn is_closed(&self) -> bool {
            self.closed.load(Ordering::Relaxed)
        }
    }

    impl Holder for Fake {
        fn account(&self) -> &Account {
            &self.account
        }

        fn remote_addr(&self) -> SocketAddr {
            SocketAddr::from(([127, 0, 0, 1], 1))
        }

        fn has_work(&self) -> bool {
            false
        }

        fn wake(&self) {}

        fn give_up(&self, _reason: &'static str, leaves: &dyn Fn(usize)) -> bool {
            leaves(self.account.held_bytes());
            !self.closed.swap(true, Ordering::Relaxed)
        }
    }

    #[test]
    fn whoever_holds_the_most_is_closed_when_nothing_is_left_and_whoever_holds_little_never() {
        const KIB: usize = 1024;
        let budget = Budget::new(1024 * KIB);
        let small: Vec<_> = (0..16).map(|_| Fake::holding(&budget, SMALL_BYTES)).collect();
        let large = [300, 200, 380].map(|kib| Fake::holding(&budget, kib * KIB));
        assert!(!large.iter().any(|one| one.is_closed()), "{budget:?}");
        large[1].hold(240 * KIB);
        assert_eq!([0, 1, 2].map(|at| large[at].is_closed()), [false, false, true], "{budget:?}");
        assert!(!small.iter().any(|one| one.is_closed()));
        // What leaves is still counted, and no reason to close more.
        large[0].hold(320 * KIB);
        assert!(!large[0].is_closed() && !large[1].is_closed());
        large[2].hold(0);
        large[2].account.end(380 * KIB);
        assert_eq!(budget.used_bytes(), (16 * 8 + 320 + 240) * KIB);
    }

    /// A sender in the middle of a long message holds the most, and its peer takes a moment for the next piece; others have gone.
    #[test]
    fn whoever_waits_for_memory_gets_it_from_one_that_has_gone_and_not_from_one_that_pauses() {
        let budget = Budget::new(1024 * 1024);
        let [sender, gone, waiting] = [600, 340, 60].map(|kib| Fake::holding(&budget, kib * 1024));
        waiting.account.pause(1, true, 1024 * 1024);
        gone.account.waits_for_peer();
        let holders = [&sender, &gone, &waiting].map(|fake| Arc::clone(fake) as AnyHolder);
        let mut pass = None;
        for look in 0..=BUDGET_GONE_LOOKS {
            assert!(!gone.is_closed(), "its peer may go on");
            sender.account.go_on();
            sender.account.waits_for_peer();
            budget.look(&holders, 1 + BUDGET_LOOK.as_nanos() as u64 * u64::from(look), &mut pass);
        }
        // Its bytes are still counted: its task has not ended.
        assert!(gone.is_closed() && !sender.is_closed(), "{budget:?}");
    }
}
