// SPDX-License-Identifier: Apache-2.0
//! Pulls that wait for a message: an arrival, or their deadline, runs them once more.
//!
//! A waiter lies in the list of its queue, or of its topic when any queue of it will do; a list is there as long as somebody waits or has
//! waited a moment ago. What a waiter does when it is woken is the affair of whoever registered it, so this room knows neither requests
//! nor connections. One task watches all deadlines, another wakes crowds piece by piece (`crowd`); nothing polls.
//!
//! Arrivals of one queue may be told in another order than that of the queue (`ArrivalListener`). That is no matter here: each is
//! compared with the offset that a waiter waits for, and none changes what another one is compared with.
//!
//! Where it differs from PullRequestHoldService.java: the original looks at every held pull each five seconds, so a pull ends
//! up to five seconds after its deadline; here it ends at its deadline. A pull whose filter did not want what arrived is run
//! again five seconds later at the latest, as there, so that its consumer's offset moves on.

mod crowd;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::Notify;

pub use self::crowd::Piece;
use self::crowd::{Crowds, News};
use super::filter::Subscription;
use crate::runtime::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, RwLock, fence};
use crate::runtime::{NameMap, Runtime, SharedClock};

/// No pull is held longer, whatever it asks for: a client that went away without a word must not leave its waiters for good.
/// Clients ask for 15 or 20 seconds and give up after 30.
pub const HOLD_MILLIS_MAX: i64 = 300_000;
/// How long a waiter stays after an arrival that its filter did not want.
pub const PASSED_OVER_MILLIS_MAX: u64 = 5_000;
/// Waiters in all queues together. Each connection's share is bounded by its outstanding requests; this bounds the memory
/// (about 250 bytes each) when all of them wait at once.
pub const WAITERS_COUNT_MAX: usize = 500_000;
/// As many waiters in one queue as whoever brings a message looks at himself: a message rarely has more consumers, and these get it at
/// once. More of them are a crowd; its sender's answer waits for none of it.
pub const LOOKED_AT_ONCE_MAX: usize = 32;
/// A list or table keeps room for this many, and for four times of what is in it.
const SPARE_ROOM: usize = 64;

/// Who waits.
pub trait Waits: Send {
    /// The wait is over. May be called under the lock of the queue's list: whoever waited goes on elsewhere, and keeps the `piece` until
    /// that is done.
    fn wake(self: Box<Self>, piece: Option<Piece>);
}

/// What a pull leaves behind when it waits.
pub struct Waiter {
    pub wants: Wants,
    pub timeout_millis: i64,
    pub who: Box<dyn Waits>,
}

/// What ends a wait before its deadline.
pub enum Wants {
    /// A message that the subscription wants, in the queue at this offset or behind it.
    Message { from_offset: i64, subscription: Arc<Subscription> },
    /// The first arrival of which this is true. It is asked under the lock of the list.
    Arrival(Box<dyn Fn(&Arrived) -> bool + Send>),
    /// Nothing: a short poll.
    Nothing,
}

/// A message that has come, or several that count as one.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// `None`: whichever.
    pub queue_id: Option<i32>,
    /// The queue's after it.
    pub max_offset: i64,
    /// `None`: whichever.
    pub tags_code: Option<i64>,
}

#[derive(Debug)]
pub struct Hold {
    clock: SharedClock,
    /// Only queues that somebody waits on, or did when they were last looked at.
    topics: RwLock<NameMap<TopicHold>>,
    waiting: AtomicUsize,
    next_id: AtomicU64,
    /// Each queue in the table is looked at when the first of its waiters may be overdue; by that moment and the queue's number. Waiters
    /// come and go with every message: they are not worth an entry each.
    looks: Mutex<BTreeMap<(u64, u64), Arc<QueueHold>>>,
    /// When the task that watches the deadlines looks again of its own accord; changed under the lock of `looks`.
    watched_until: AtomicU64,
    /// Rung when a deadline before that was added.
    earlier: Notify,
    crowds: Crowds,
    /// The broker stops: nobody waits any more.
    stopping: AtomicBool,
}

/// The lists of a topic.
#[derive(Debug, Default)]
struct TopicHold {
    queues: HashMap<i32, Arc<QueueHold>, RandomState>,
    /// Of those to whom every queue of the topic is right, also one that is made later.
    any_queue: Option<Arc<QueueHold>>,
}

impl TopicHold {
    fn lists(&self) -> impl Iterator<Item = &Arc<QueueHold>> {
        self.queues.values().chain(&self.any_queue)
    }
}

/// One list of waiters.
#[derive(Debug)]
struct QueueHold {
    number: u64,
    topic: Arc<str>,
    /// `None`: any queue of the topic.
    queue_id: Option<i32>,
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    held: Vec<HeldWaiter>,
    /// When the queue is looked at; never later than the first deadline. `u64::MAX`: it is not.
    look_nanos: u64,
    /// Why its crowd is looked at next.
    news: News,
    /// The task for crowds knows of it.
    is_crowd: bool,
    /// It is in the table no more: whoever comes finds another one.
    is_gone: bool,
}

struct HeldWaiter {
    id: u64,
    deadline_nanos: u64,
    passed_over: bool,
    waiter: Waiter,
}

impl fmt::Debug for HeldWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldWaiter(#{})", self.id)
    }
}

impl HeldWaiter {
    /// Whether one of these ends the wait.
    fn is_wanted(&mut self, arrived: &[Arrived], clock: &SharedClock) -> bool {
        let (from_offset, subscription) = match &self.waiter.wants {
            Wants::Message { from_offset, subscription } => (*from_offset, subscription),
            Wants::Arrival(is_wanted) => return arrived.iter().any(is_wanted),
            Wants::Nothing => return false,
        };
        for Arrived { tags_code, .. } in arrived.iter().filter(|arrived| arrived.max_offset > from_offset) {
            if tags_code.is_none_or(|code| subscription.matches_tags_code(code)) {
                return true;
            }
            if !self.passed_over {
                self.passed_over = true;
                self.deadline_nanos = self.deadline_nanos.min(clock.nanos() + PASSED_OVER_MILLIS_MAX * 1_000_000);
            }
        }
        false
    }
}

impl Hold {
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            topics: RwLock::default(),
            waiting: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            looks: Mutex::new(BTreeMap::new()),
            watched_until: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
            crowds: Crowds::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Registers first and asks `has_come` after: a message that was put in between is seen by one of the two sides. `queue_id` is `None`
    /// for any queue of the topic, also one that is made later. Gives the waiter back when too many wait already.
    pub fn register(&self, topic: &str, queue_id: Option<i32>, waiter: Waiter, has_come: impl FnOnce() -> bool) -> Result<(), Waiter> {
        if self.waiting.load(Ordering::Relaxed) >= WAITERS_COUNT_MAX {
            return Err(waiter);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let timeout_millis = waiter.timeout_millis.clamp(0, HOLD_MILLIS_MAX) as u64;
        let deadline_nanos = self.clock.nanos() + timeout_millis * 1_000_000;
        let wakes_on_arrival = !matches!(waiter.wants, Wants::Nothing);
        let held = HeldWaiter { id, deadline_nanos, passed_over: false, waiter };
        let queue = self.add(topic, queue_id, held);
        // Pairs with the fence in `arriving`: either that side sees the waiter or this side sees the message. Likewise with `stop`.
        fence(Ordering::SeqCst);
        if self.stopping.load(Ordering::Relaxed) || (wakes_on_arrival && has_come()) {
            let mut waiters = queue.waiters.lock();
            // It came a moment ago, so it is one of the last.
            if let Some(at) = waiters.held.iter().rposition(|held| held.id == id) {
                let held = waiters.held.remove(at);
                self.count(&queue, -1);
                drop(waiters);
                held.waiter.who.wake(None);
            }
        }
        Ok(())
    }

    /// Into the queue's list, which is made when it is not there.
    fn add(&self, topic: &str, queue_id: Option<i32>, held: HeldWaiter) -> Arc<QueueHold> {
        let deadline_nanos = held.deadline_nanos;
        loop {
            let queue = self.find_queue(topic, queue_id).unwrap_or_else(|| self.make_queue(topic, queue_id));
            let mut waiters = queue.waiters.lock();
            // It was let go between the look into the table and now.
            if waiters.is_gone {
                continue;
            }
            waiters.held.push(held);
            self.count(&queue, 1);
            self.look_by(deadline_nanos, &queue, &mut waiters);
            drop(waiters);
            return queue;
        }
    }

    /// A message lies in the queue now; the queue's maximum offset after it was `max_offset`.
    pub fn arriving(&self, topic: &str, queue_id: i32, max_offset: i64, tags_code: i64) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (queue, any_queue) = {
            let topics = self.topics.read();
            let Some(lists) = topics.get(topic) else { return };
            (lists.queues.get(&queue_id).cloned(), lists.any_queue.clone())
        };
        let arrived = Arrived { queue_id: Some(queue_id), max_offset, tags_code: Some(tags_code) };
        for list in queue.into_iter().chain(any_queue) {
            self.tell(&list, arrived);
        }
    }

    fn tell(&self, queue: &Arc<QueueHold>, arrived: Arrived) {
        if queue.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiters = queue.waiters.lock();
        if waiters.held.len() > LOOKED_AT_ONCE_MAX {
            waiters.news.add(arrived);
            self.crowds.tell(queue, &mut waiters);
            return;
        }
        let mut look_nanos = u64::MAX;
        self.wake(queue, &mut waiters, |held| {
            let is_wanted = held.is_wanted(&[arrived], &self.clock);
            if held.passed_over {
                look_nanos = look_nanos.min(held.deadline_nanos);
            }
            is_wanted
        });
        if look_nanos < u64::MAX {
            self.look_by(look_nanos, queue, &mut waiters);
        }
    }

    /// The topic is gone: whoever waits for it is told so.
    pub fn forget_topic(&self, topic: &str) {
        let Some(lists) = self.topics.write().remove(topic) else { return };
        for queue in lists.lists() {
            let mut waiters = queue.waiters.lock();
            waiters.is_gone = true;
            self.wake(queue, &mut waiters, |_| true);
        }
    }

    /// The broker stops: every waiter is run, and whoever comes later is run at once. Clients ask again with every answer, and would
    /// keep the stop waiting for as long as they are held.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let queues: Vec<_> = self.topics.read().values().flat_map(TopicHold::lists).cloned().collect();
        for queue in queues {
            self.wake(&queue, &mut queue.waiters.lock(), |_| true);
        }
    }

    pub fn waiting_count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lists that are kept.
    pub fn queue_count(&self) -> usize {
        self.topics.read().values().map(|topic| topic.lists().count()).sum()
    }

    /// Starts the tasks that end waits at their deadlines and wake crowds.
    pub fn start(self: &Arc<Self>, runtime: &Runtime) {
        let hold = Arc::clone(self);
        let shutdown = runtime.shutdown().clone();
        runtime.spawn_essential("pull deadlines", async move {
            while shutdown.or(hold.next_deadline()).await.is_some() {
                hold.end_overdue();
            }
        });
        let hold = Arc::clone(self);
        let shutdown = runtime.shutdown().clone();
        runtime.spawn_essential("pull crowds", async move { shutdown.or(crowd::look_after(&hold)).await });
    }

    async fn next_deadline(&self) {
        loop {
            let earliest = {
                let looks = self.looks.lock();
                let earliest = looks.first_key_value().map(|((nanos, _), _)| *nanos);
                self.watched_until.store(earliest.unwrap_or(u64::MAX), Ordering::Relaxed);
                earliest
            };
            match earliest {
                None => self.earlier.notified().await,
                Some(nanos) => {
                    let now = self.clock.nanos();
                    if nanos <= now {
                        return;
                    }
                    tokio::select! {
                        biased;
                        () = self.clock.sleep(Duration::from_nanos(nanos - now)) => {}
                        () = self.earlier.notified() => {}
                    }
                }
            }
        }
    }

    fn end_overdue(&self) {
        let now = self.clock.nanos();
        loop {
            let due = {
                let mut looks = self.looks.lock();
                match looks.first_entry() {
                    Some(first) if first.key().0 <= now => Some((first.key().0, first.remove())),
                    _ => None,
                }
            };
            let Some((look_nanos, queue)) = due else { return };
            let mut waiters = queue.waiters.lock();
            // Otherwise somebody has asked for an earlier look meanwhile.
            if waiters.look_nanos == look_nanos {
                waiters.look_nanos = u64::MAX;
            }
            if waiters.held.len() > LOOKED_AT_ONCE_MAX {
                waiters.news.overdue_nanos = now;
                self.crowds.tell(&queue, &mut waiters);
                continue;
            }
            self.wake(&queue, &mut waiters, |held| held.deadline_nanos <= now);
            if let Some(nanos) = waiters.held.iter().map(|held| held.deadline_nanos).min() {
                self.look_by(nanos, &queue, &mut waiters);
            }
            self.looked(&queue, waiters);
        }
    }

    /// Everybody in the queue was looked at: the list ends when nobody is left in it.
    fn looked(&self, queue: &QueueHold, mut waiters: MutexGuard<'_, Waiters>) {
        if waiters.held.capacity() > SPARE_ROOM.max(4 * waiters.held.len()) {
            waiters.held.shrink_to(SPARE_ROOM);
        }
        if !waiters.held.is_empty() {
            return;
        }
        drop(waiters);
        let mut topics = self.topics.write();
        let mut waiters = queue.waiters.lock();
        if waiters.is_gone || waiters.is_crowd || !waiters.held.is_empty() {
            return;
        }
        let Some(TopicHold { queues, any_queue }) = topics.get_mut(&*queue.topic) else { return };
        waiters.is_gone = true;
        if waiters.look_nanos < u64::MAX {
            self.looks.lock().remove(&(waiters.look_nanos, queue.number));
        }
        match queue.queue_id {
            Some(queue_id) => drop(queues.remove(&queue_id)),
            None => *any_queue = None,
        }
        if queues.capacity() > SPARE_ROOM.max(4 * queues.len()) {
            queues.shrink_to(SPARE_ROOM);
        }
        if queues.is_empty() && any_queue.is_none() {
            topics.remove(&*queue.topic);
            if topics.capacity() > SPARE_ROOM.max(4 * topics.len()) {
                topics.shrink_to(SPARE_ROOM);
            }
        }
    }

    /// Takes out the chosen waiters.
    fn wake(&self, queue: &QueueHold, waiters: &mut Waiters, chosen: impl FnMut(&mut HeldWaiter) -> bool) {
        let mut woken_count = 0;
        for held in waiters.held.extract_if(.., chosen) {
            held.waiter.who.wake(None);
            woken_count += 1;
        }
        self.count(queue, -woken_count);
    }

    fn look_by(&self, nanos: u64, queue: &Arc<QueueHold>, waiters: &mut Waiters) {
        if waiters.look_nanos <= nanos {
            return;
        }
        let mut looks = self.looks.lock();
        looks.remove(&(waiters.look_nanos, queue.number));
        looks.insert((nanos, queue.number), Arc::clone(queue));
        waiters.look_nanos = nanos;
        // The task is not woken for each first deadline, only for one that it would miss.
        if nanos < self.watched_until.load(Ordering::Relaxed) {
            self.watched_until.store(nanos, Ordering::Relaxed);
            self.earlier.notify_one();
        }
    }

    fn count(&self, queue: &QueueHold, by: isize) {
        if by >= 0 {
            queue.waiting.fetch_add(by as usize, Ordering::Relaxed);
            self.waiting.fetch_add(by as usize, Ordering::Relaxed);
        } else {
            queue.waiting.fetch_sub(by.unsigned_abs(), Ordering::Relaxed);
            self.waiting.fetch_sub(by.unsigned_abs(), Ordering::Relaxed);
        }
    }

    fn find_queue(&self, topic: &str, queue_id: Option<i32>) -> Option<Arc<QueueHold>> {
        let topics = self.topics.read();
        let TopicHold { queues, any_queue } = topics.get(topic)?;
        queue_id.map_or(any_queue.as_ref(), |queue_id| queues.get(&queue_id)).cloned()
    }

    fn make_queue(&self, topic: &str, queue_id: Option<i32>) -> Arc<QueueHold> {
        let mut topics = self.topics.write();
        let topic = match topics.get_key_value(topic) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(topic),
        };
        let TopicHold { queues, any_queue } = topics.entry(Arc::clone(&topic)).or_default();
        let make = || {
            let number = self.next_id.fetch_add(1, Ordering::Relaxed);
            let waiters = Waiters { held: Vec::new(), look_nanos: u64::MAX, news: News::default(), is_crowd: false, is_gone: false };
            Arc::new(QueueHold { number, topic, queue_id, waiting: AtomicUsize::new(0), waiters: Mutex::new(waiters) })
        };
        Arc::clone(match queue_id {
            Some(queue_id) => queues.entry(queue_id).or_insert_with(make),
            None => any_queue.get_or_insert_with(make),
        })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test has files and threads of its own")]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;

    pub(super) fn hold() -> (Arc<Hold>, ManualClock) {
        let clock = ManualClock::at_millis(0);
        (Arc::new(Hold::new(Arc::new(clock.clone()))), clock)
    }

    pub(super) fn waiter(from_offset: i64, tags: &str, timeout_millis: i64, woken: &Arc<AtomicUsize>) -> Waiter {
        let woken = Arc::clone(woken);
        Waiter {
            wants: Wants::Message { from_offset, subscription: Arc::new(Subscription::of_tags("T", tags)) },
            timeout_millis,
            who: Box::new(Counted(woken)),
        }
    }

    struct Counted(Arc<AtomicUsize>);

    impl Waits for Counted {
        fn wake(self: Box<Self>, _piece: Option<Piece>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) fn held(hold: &Hold, waiter: Waiter, max_offset: i64) {
        let from = if let Wants::Message { from_offset, .. } = &waiter.wants { *from_offset } else { max_offset };
        assert!(hold.register("T", Some(1), waiter, || max_offset > from).is_ok());
    }

    /// Lets the deadline task look at the clock before it is moved, and answer after.
    pub(super) async fn settle(clock: &ManualClock) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(clock.waiting_count() <= 2, "one sleeper for all deadlines, one for a crowd");
    }

    #[test]
    fn an_arrival_wakes_only_those_who_wait_below_it_in_that_queue() {
        let (hold, _clock) = hold();
        let woken = Arc::new(AtomicUsize::new(0));
        held(&hold, waiter(5, "*", 15_000, &woken), 5);
        held(&hold, waiter(6, "*", 15_000, &woken), 6);
        hold.arriving("T", 0, 6, 0);
        hold.arriving("U", 1, 6, 0);
        assert_eq!(woken.load(Ordering::SeqCst), 0, "another queue, another topic");
        hold.arriving("T", 1, 6, 0);
        assert_eq!(woken.load(Ordering::SeqCst), 1, "the pull from 6 waits for the next one");
        hold.arriving("T", 1, 7, 0);
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (2, 0));
        assert_eq!(hold.looks.lock().len(), 1, "one for the queue, however many come and go");
    }

    #[test]
    fn what_was_put_before_the_registration_ends_the_wait_at_once() {
        let (hold, _clock) = hold();
        let woken = Arc::new(AtomicUsize::new(0));
        held(&hold, waiter(5, "*", 15_000, &woken), 6);
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (1, 0));
    }

    #[tokio::test]
    async fn the_deadline_ends_the_wait() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(AtomicUsize::new(0));
        held(&hold, waiter(5, "*", 20_000, &woken), 5);
        settle(&clock).await;
        held(&hold, waiter(5, "*", 15_000, &woken), 5);
        settle(&clock).await;
        clock.advance(Duration::from_millis(14_999));
        settle(&clock).await;
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        clock.advance(Duration::from_millis(1));
        settle(&clock).await;
        assert_eq!(woken.load(Ordering::SeqCst), 1, "the later one with the earlier deadline");
        clock.advance(Duration::from_secs(5));
        settle(&clock).await;
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (2, 0));
        assert!(hold.looks.lock().is_empty(), "nobody is left to look for");
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn whoever_comes_after_another_has_gone_is_not_forgotten() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(AtomicUsize::new(0));
        held(&hold, waiter(5, "*", 15_000, &woken), 5);
        settle(&clock).await;
        clock.advance(Duration::from_secs(10));
        hold.arriving("T", 1, 6, 0);
        held(&hold, waiter(6, "*", 15_000, &woken), 6);
        clock.advance(Duration::from_secs(5));
        settle(&clock).await;
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (1, 1), "the look for the first one finds nobody overdue");
        clock.advance(Duration::from_secs(10));
        settle(&clock).await;
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (2, 0));
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    /// PullRequestHoldService.java#checkHoldRequest runs each five seconds without a tags code, which matches every filter.
    #[tokio::test]
    async fn a_waiter_that_was_passed_over_goes_on_after_five_seconds() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(AtomicUsize::new(0));
        held(&hold, waiter(0, "A", 15_000, &woken), 0);
        settle(&clock).await;
        hold.arriving("T", 1, 1, 66);
        settle(&clock).await;
        clock.advance(Duration::from_secs(4));
        hold.arriving("T", 1, 2, 66);
        settle(&clock).await;
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        clock.advance(Duration::from_secs(1));
        settle(&clock).await;
        assert_eq!(woken.load(Ordering::SeqCst), 1, "five seconds after the first unwanted arrival, not the last");
        held(&hold, waiter(2, "A", 15_000, &woken), 2);
        hold.arriving("T", 1, 3, 65);
        assert_eq!(woken.load(Ordering::SeqCst), 2, "the tag it wants wakes it in the same tick");
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    #[test]
    fn a_short_poll_does_not_hear_arrivals() {
        let (hold, _clock) = hold();
        let woken = Arc::new(AtomicUsize::new(0));
        held(&hold, Waiter { wants: Wants::Nothing, ..waiter(0, "*", 1_000, &woken) }, 1);
        hold.arriving("T", 1, 2, 0);
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (0, 1));
    }

    #[test]
    fn a_stop_or_a_deleted_topic_releases_everyone() {
        let (hold, _clock) = hold();
        let woken = Arc::new(AtomicUsize::new(0));
        held(&hold, waiter(0, "*", i64::MAX, &woken), 0);
        hold.forget_topic("T");
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        held(&hold, waiter(0, "*", i64::MAX, &woken), 0);
        hold.stop();
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (2, 0));
        held(&hold, waiter(0, "*", i64::MAX, &woken), 0);
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (3, 0), "who comes after the stop does not wait");
    }

    #[test]
    fn a_producer_and_a_consumer_that_race_never_lose_a_wake_up() {
        let (hold, _clock) = hold();
        let woken = Arc::new(AtomicUsize::new(0));
        let max_offset = Arc::new(AtomicU64::new(0));
        const ROUNDS: usize = 20_000;
        let producer = {
            let (hold, max_offset) = (Arc::clone(&hold), Arc::clone(&max_offset));
            std::thread::spawn(move || {
                for offset in 1..=ROUNDS as u64 {
                    max_offset.store(offset, Ordering::Release);
                    hold.arriving("T", 1, offset as i64, 0);
                }
            })
        };
        for _ in 0..ROUNDS {
            let from = max_offset.load(Ordering::Acquire) as i64;
            if from == ROUNDS as i64 {
                break;
            }
            let before = woken.load(Ordering::SeqCst);
            let max_offset = Arc::clone(&max_offset);
            let waiter = waiter(from, "*", 15_000, &woken);
            assert!(hold.register("T", Some(1), waiter, || max_offset.load(Ordering::Acquire) as i64 > from).is_ok());
            while woken.load(Ordering::SeqCst) == before {
                std::hint::spin_loop();
            }
        }
        producer.join().unwrap();
        assert_eq!(hold.waiting_count(), 0);
    }

    #[test]
    fn more_than_may_wait_are_given_back() {
        let (hold, _clock) = hold();
        let woken = Arc::new(AtomicUsize::new(0));
        hold.waiting.store(WAITERS_COUNT_MAX - 1, Ordering::SeqCst);
        held(&hold, waiter(0, "*", 15_000, &woken), 0);
        assert!(hold.register("T", Some(1), waiter(0, "*", 15_000, &woken), || false).is_err());
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (0, WAITERS_COUNT_MAX));
    }

    #[tokio::test]
    async fn queues_that_nobody_waits_on_any_more_leave_nothing() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(AtomicUsize::new(0));
        // The numbers and names that a client may choose.
        for walked in 0..5_000 {
            let topic = format!("T{}", walked % 500);
            assert!(hold.register(&topic, Some(i32::MAX - walked), waiter(0, "*", 1_000, &woken), || false).is_ok());
        }
        assert_eq!(hold.queue_count(), 5_000, "what exists, whatever its number");
        // One of them is woken by a message before its deadline.
        hold.arriving("T0", i32::MAX, 1, 0);
        settle(&clock).await;
        clock.advance(Duration::from_secs(1));
        settle(&clock).await;
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count(), hold.queue_count()), (5_000, 0, 0));
        assert!(hold.looks.lock().is_empty() && hold.topics.read().capacity() <= 2 * SPARE_ROOM, "nor room for them");
        held(&hold, waiter(0, "*", 1_000, &woken), 1);
        assert_eq!(woken.load(Ordering::SeqCst), 5_001, "and one comes again");
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }
}
