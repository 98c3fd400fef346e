// SPDX-License-Identifier: Apache-2.0
//! Pulls that wait for a message: an arrival, or their deadline, runs them once more.
//!
//! A waiter lies in its queue's own list; what it does when it is woken is the affair of whoever registered it, so this room
//! knows neither requests nor connections. One task watches all deadlines; nothing polls.
//!
//! Where it differs from PullRequestHoldService.java: the original looks at every held pull each five seconds, so a pull ends
//! up to five seconds after its deadline; here it ends at its deadline. A pull whose filter did not want what arrived is run
//! again five seconds later at the latest, as there, so that its consumer's offset moves on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::filter::Subscription;
use crate::runtime::{NameMap, Runtime, SharedClock};

/// No pull is held longer, whatever it asks for: a client that went away without a word must not leave its waiters for good.
/// Clients ask for 15 or 20 seconds and give up after 30.
pub const HOLD_MILLIS_MAX: i64 = 300_000;
/// How long a waiter stays after an arrival that its filter did not want.
pub const PASSED_OVER_MILLIS_MAX: u64 = 5_000;
/// Waiters in all queues together. Each connection's share is bounded by its outstanding requests; this bounds the memory
/// (about 250 bytes each) when all of them wait at once.
pub const WAITERS_COUNT_MAX: usize = 500_000;

/// Who waits.
pub trait Waits: Send {
    /// The wait is over. Called under the lock of the queue's list: whoever waited goes on elsewhere.
    fn wake(self: Box<Self>);
}

/// What a pull leaves behind when it waits.
pub struct Waiter {
    /// The offset it waits for: a greater maximum offset of the queue ends the wait.
    pub from_offset: i64,
    pub subscription: Arc<Subscription>,
    pub timeout_millis: i64,
    /// False for a short poll, which only its deadline ends.
    pub wakes_on_arrival: bool,
    pub who: Box<dyn Waits>,
}

#[derive(Debug)]
pub struct Hold {
    clock: SharedClock,
    topics: RwLock<NameMap<Arc<TopicHold>>>,
    waiting: AtomicUsize,
    next_id: AtomicU64,
    /// Each queue that has waiters is looked at when the first of them may be overdue; by that moment and the queue's number. Waiters
    /// come and go with every message: they are not worth an entry each.
    looks: Mutex<BTreeMap<(u64, u64), Arc<QueueHold>>>,
    /// When the task that watches the deadlines looks again of its own accord; changed under the lock of `looks`.
    watched_until: AtomicU64,
    /// Rung when a deadline before that was added.
    earlier: Notify,
    /// The broker stops: nobody waits any more.
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct TopicHold {
    queues: RwLock<Vec<Arc<QueueHold>>>,
}

#[derive(Debug)]
struct QueueHold {
    number: u64,
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    held: Vec<Held>,
    /// When the queue is looked at; never later than the first deadline. `u64::MAX`: it is not.
    look_nanos: u64,
}

struct Held {
    id: u64,
    deadline_nanos: u64,
    passed_over: bool,
    waiter: Waiter,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held(#{} from {})", self.id, self.waiter.from_offset)
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
            stopping: AtomicBool::new(false),
        }
    }

    /// Registers first and reads `max_offset` after: a message that was put in between is seen by one of the two sides.
    /// Gives the waiter back when too many wait already.
    pub fn register(&self, topic: &str, queue_id: i32, waiter: Waiter, max_offset: impl FnOnce() -> i64) -> Result<(), Waiter> {
        if self.waiting.load(Ordering::Relaxed) >= WAITERS_COUNT_MAX {
            return Err(waiter);
        }
        let queue = self.queue(topic, queue_id);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let timeout_millis = waiter.timeout_millis.clamp(0, HOLD_MILLIS_MAX) as u64;
        let deadline_nanos = self.clock.nanos() + timeout_millis * 1_000_000;
        let from_offset = waiter.from_offset;
        let wakes_on_arrival = waiter.wakes_on_arrival;
        {
            let mut waiters = queue.waiters.lock();
            waiters.held.push(Held { id, deadline_nanos, passed_over: false, waiter });
            self.count(&queue, 1);
            self.look_by(deadline_nanos, &queue, &mut waiters);
        }
        // Pairs with the fence in `arriving`: either that side sees the waiter or this side sees the new maximum. Likewise with `stop`.
        fence(Ordering::SeqCst);
        if self.stopping.load(Ordering::Relaxed) || (wakes_on_arrival && max_offset() > from_offset) {
            self.wake(&queue, |held| held.id == id);
        }
        Ok(())
    }

    /// A message lies in the queue now, and the queue's maximum offset is `max_offset`.
    pub fn arriving(&self, topic: &str, queue_id: i32, max_offset: i64, tags_code: i64) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(queue) = self.find_queue(topic, queue_id) else { return };
        if queue.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut look_nanos = u64::MAX;
        self.wake(&queue, |held| {
            if !held.waiter.wakes_on_arrival || max_offset <= held.waiter.from_offset {
                return false;
            }
            if held.waiter.subscription.matches_tags_code(tags_code) {
                return true;
            }
            if !held.passed_over {
                held.passed_over = true;
                let sooner = self.clock.nanos() + PASSED_OVER_MILLIS_MAX * 1_000_000;
                held.deadline_nanos = held.deadline_nanos.min(sooner);
                look_nanos = look_nanos.min(held.deadline_nanos);
            }
            false
        });
        if look_nanos < u64::MAX {
            self.look_by(look_nanos, &queue, &mut queue.waiters.lock());
        }
    }

    /// The topic is gone: whoever waits for it is told so.
    pub fn forget_topic(&self, topic: &str) {
        let Some(topic) = self.topics.write().remove(topic) else { return };
        let queues = topic.queues.read().clone();
        for queue in queues {
            self.wake(&queue, |_| true);
        }
    }

    /// The broker stops: every waiter is run, and whoever comes later is run at once. Clients ask again with every answer, and would
    /// keep the stop waiting for as long as they are held.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let topics: Vec<_> = self.topics.read().values().cloned().collect();
        for topic in topics {
            let queues = topic.queues.read().clone();
            for queue in queues {
                self.wake(&queue, |_| true);
            }
        }
    }

    pub fn waiting_count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Starts the task that ends waits at their deadlines.
    pub fn start(self: &Arc<Self>, runtime: &Runtime) {
        let hold = Arc::clone(self);
        let shutdown = runtime.shutdown().clone();
        runtime.spawn_essential("pull deadlines", async move {
            while shutdown.or(hold.next_deadline()).await.is_some() {
                hold.end_overdue();
            }
        });
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
            {
                let mut waiters = queue.waiters.lock();
                // Otherwise somebody has asked for an earlier look meanwhile.
                if waiters.look_nanos == look_nanos {
                    waiters.look_nanos = u64::MAX;
                }
            }
            self.wake(&queue, |held| held.deadline_nanos <= now);
            let mut waiters = queue.waiters.lock();
            if let Some(next) = waiters.held.iter().map(|held| held.deadline_nanos).min() {
                self.look_by(next, &queue, &mut waiters);
            }
        }
    }

    /// Takes out the chosen waiters.
    fn wake(&self, queue: &Arc<QueueHold>, chosen: impl FnMut(&mut Held) -> bool) {
        let mut waiters = queue.waiters.lock();
        let mut woken_count = 0;
        for held in waiters.held.extract_if(.., chosen) {
            held.waiter.who.wake();
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

    fn find_queue(&self, topic: &str, queue_id: i32) -> Option<Arc<QueueHold>> {
        let topics = self.topics.read();
        let queues = topics.get(topic)?.queues.read();
        queues.get(usize::try_from(queue_id).ok()?).cloned()
    }

    /// The queue's list, made when it is not there yet. The caller has checked the queue id against the topic.
    fn queue(&self, topic: &str, queue_id: i32) -> Arc<QueueHold> {
        assert!(queue_id >= 0, "the pull's checks let only queues of the topic through");
        if let Some(queue) = self.find_queue(topic, queue_id) {
            return queue;
        }
        let mut topics = self.topics.write();
        let topic = topics.entry(Arc::from(topic)).or_default();
        let mut queues = topic.queues.write();
        while queues.len() <= queue_id as usize {
            let waiters = Waiters { held: Vec::new(), look_nanos: u64::MAX };
            let number = self.next_id.fetch_add(1, Ordering::Relaxed);
            queues.push(Arc::new(QueueHold { number, waiting: AtomicUsize::new(0), waiters: Mutex::new(waiters) }));
        }
        Arc::clone(&queues[queue_id as usize])
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test has files and threads of its own")]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;

    fn hold() -> (Arc<Hold>, ManualClock) {
        let clock = ManualClock::at_millis(0);
        (Arc::new(Hold::new(Arc::new(clock.clone()))), clock)
    }

    fn waiter(from_offset: i64, tags: &str, timeout_millis: i64, woken: &Arc<AtomicUsize>) -> Waiter {
        let woken = Arc::clone(woken);
        Waiter {
            from_offset,
            subscription: Arc::new(Subscription::of_tags("T", tags)),
            timeout_millis,
            wakes_on_arrival: true,
            who: Box::new(Counted(woken)),
        }
    }

    struct Counted(Arc<AtomicUsize>);

    impl Waits for Counted {
        fn wake(self: Box<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn held(hold: &Hold, waiter: Waiter, max_offset: i64) {
        assert!(hold.register("T", 1, waiter, || max_offset).is_ok());
    }

    /// Lets the deadline task look at the clock before it is moved, and answer after.
    async fn settle(clock: &ManualClock) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(clock.waiting_count() <= 1, "one sleeper for all deadlines");
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
        held(&hold, Waiter { wakes_on_arrival: false, ..waiter(0, "*", 1_000, &woken) }, 1);
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
            assert!(hold.register("T", 1, waiter, || max_offset.load(Ordering::Acquire) as i64).is_ok());
            while woken.load(Ordering::SeqCst) == before {
                std::hint::spin_loop();
            }
        }
        producer.join().unwrap();
        assert_eq!(hold.waiting_count(), 0);
    }
}
