// SPDX-License-Identifier: Apache-2.0
//! Crowds: more waiters in one queue than whoever brings a message looks at himself. One task wakes them piece by piece.
//!
//! What has come for a crowd is collected in its queue (`News`); the task goes over the waiters from the last to the first, some under
//! each lock, and the next piece is woken when the pulls of the last have run. Which waiters there are, and when a queue is looked at
//! for its deadlines, is the affair of `hold`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{Arrived, Hold, QueueHold, Waiters};
use crate::runtime::SharedClock;
use crate::runtime::sync::Mutex;

/// So many of a crowd are woken together.
const PIECE_COUNT: usize = 16;
/// Pieces whose pulls have not run yet. The connections' threads always have something to do, and a request that comes meanwhile
/// waits for no more than this.
const PIECES_UNDER_WAY_MAX: usize = 2;
/// A piece whose pulls have not run after this is waited for no longer: a connection that does not come to its work, because its peer
/// takes no answers, must not keep the others from their messages.
const PIECE_MILLIS_MAX: u64 = 10;
/// Waiters of a crowd that are looked at under one lock: a sender may wait for it.
const CROWD_LOOK_COUNT: usize = 256;
/// Different tags, each of one queue, that have arrived for a crowd since it was last looked at. After these they count as whichever: a
/// pull that is run in vain is answered so and asks again.
const ARRIVED_TAGS_MAX: usize = 64;

/// Part of a crowd: when the last of them is done the next part is woken.
#[derive(Clone, Debug)]
pub struct Piece(#[expect(dead_code, reason = "it is there to be dropped")] Arc<OwnedSemaphorePermit>);

/// The queues that have news for their crowds.
#[derive(Debug)]
pub(super) struct Crowds {
    told: Mutex<Vec<Arc<QueueHold>>>,
    /// Rung when one was added.
    rung: Notify,
}

/// Why a crowd is looked at.
#[derive(Debug, Default)]
pub(super) struct News {
    arrived: Vec<Arrived>,
    /// Deadlines up to this moment have passed.
    pub(super) overdue_nanos: u64,
}

/// A crowd that is being looked at, from the last to the first: who comes meanwhile knows the news.
struct Pass {
    queue: Arc<QueueHold>,
    news: News,
    /// Waiters that were not looked at lie below.
    below: usize,
    first_deadline_nanos: u64,
}

impl Crowds {
    pub(super) fn new() -> Self {
        Self { told: Mutex::new(Vec::new()), rung: Notify::new() }
    }

    /// The queue has news for its crowd.
    pub(super) fn tell(&self, queue: &Arc<QueueHold>, waiters: &mut Waiters) {
        if !std::mem::replace(&mut waiters.is_crowd, true) {
            self.told.lock().push(Arc::clone(queue));
            self.rung.notify_one();
        }
    }
}

impl News {
    fn is_none(&self) -> bool {
        self.arrived.is_empty() && self.overdue_nanos == 0
    }

    /// What a tags code has brought to a queue is one arrival, whatever the order in which it is told.
    pub(super) fn add(&mut self, arrived: Arrived) {
        let same =
            |known: &&mut Arrived| known.tags_code.is_none() || (known.queue_id, known.tags_code) == (arrived.queue_id, arrived.tags_code);
        if let Some(known) = self.arrived.iter_mut().find(same) {
            known.max_offset = known.max_offset.max(arrived.max_offset);
        } else if self.arrived.len() < ARRIVED_TAGS_MAX {
            self.arrived.push(arrived);
        } else {
            let max_offset = self.arrived.iter().map(|known| known.max_offset).fold(arrived.max_offset, i64::max);
            self.arrived.clear();
            self.arrived.push(Arrived { queue_id: None, max_offset, tags_code: None });
        }
    }
}

impl Pass {
    fn new(queue: Arc<QueueHold>) -> Self {
        let mut pass = Self { queue: Arc::clone(&queue), news: News::default(), below: 0, first_deadline_nanos: u64::MAX };
        pass.begin(&mut queue.waiters.lock());
        pass
    }

    /// From the last waiter on, when there is news.
    fn begin(&mut self, waiters: &mut Waiters) -> bool {
        if waiters.news.is_none() {
            return false;
        }
        self.news = std::mem::take(&mut waiters.news);
        self.below = waiters.held.len();
        self.first_deadline_nanos = u64::MAX;
        true
    }

    /// Wakes the next piece of a crowd. Whether there is more to look at.
    fn look_on(&mut self, hold: &Hold, piece: &Piece) -> bool {
        let mut woken = Vec::with_capacity(PIECE_COUNT);
        let queue = Arc::clone(&self.queue);
        let mut waiters = queue.waiters.lock();
        // Others take waiters out meanwhile; what was not looked at only moves down.
        self.below = self.below.min(waiters.held.len());
        for _ in 0..CROWD_LOOK_COUNT {
            let Some(at) = self.below.checked_sub(1) else { break };
            if woken.len() == PIECE_COUNT {
                break;
            }
            self.below = at;
            let held = &mut waiters.held[at];
            if held.is_wanted(&self.news.arrived, &hold.clock) || held.deadline_nanos <= self.news.overdue_nanos {
                woken.push(waiters.held.swap_remove(at));
            } else {
                self.first_deadline_nanos = self.first_deadline_nanos.min(held.deadline_nanos);
            }
        }
        hold.count(&queue, -(woken.len() as isize));
        let mut goes_on = true;
        if self.below == 0 {
            if self.first_deadline_nanos < u64::MAX {
                hold.look_by(self.first_deadline_nanos, &queue, &mut waiters);
            }
            goes_on = self.begin(&mut waiters);
        }
        if goes_on {
            drop(waiters);
        } else {
            waiters.is_crowd = false;
            hold.looked(&queue, waiters);
        }
        for held in woken {
            held.waiter.who.wake(Some(piece.clone()));
        }
        goes_on
    }
}

/// Wakes crowds as long as it is awaited.
pub(super) async fn look_after(hold: &Hold) {
    let mut passes = VecDeque::new();
    let mut pieces = Arc::new(Semaphore::new(PIECES_UNDER_WAY_MAX));
    loop {
        let came = std::mem::take(&mut *hold.crowds.told.lock());
        passes.extend(came.into_iter().map(Pass::new));
        let Some(mut pass) = passes.pop_front() else {
            hold.crowds.rung.notified().await;
            continue;
        };
        let piece = next_piece(&hold.clock, &mut pieces).await;
        if pass.look_on(hold, &piece) {
            passes.push_back(pass);
        }
    }
}

async fn next_piece(clock: &SharedClock, pieces: &mut Arc<Semaphore>) -> Piece {
    loop {
        tokio::select! {
            biased;
            Ok(permit) = Arc::clone(pieces).acquire_owned() => return Piece(Arc::new(permit)),
            () = clock.sleep(Duration::from_millis(PIECE_MILLIS_MAX)) => *pieces = Arc::new(Semaphore::new(PIECES_UNDER_WAY_MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{held, hold, settle, waiter};
    use super::super::{LOOKED_AT_ONCE_MAX, Waiter, Waits, Wants};
    use super::*;
    use crate::broker::filter::Subscription;
    use crate::runtime::Runtime;
    use crate::runtime::sync::{AtomicUsize, Ordering};

    /// A crowd's place in the queue of whoever works for it.
    struct OfCrowd {
        woken: Arc<Mutex<Vec<Option<Piece>>>>,
    }

    impl Waits for OfCrowd {
        fn wake(self: Box<Self>, piece: Option<Piece>) {
            self.woken.lock().push(piece);
        }
    }

    #[tokio::test]
    async fn a_crowd_is_woken_piece_by_piece_and_never_by_the_sender() {
        const COUNT: usize = 1_000;
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(Mutex::new(Vec::new()));
        for at in 0..COUNT {
            let who = Box::new(OfCrowd { woken: Arc::clone(&woken) });
            let tags = if at % 10 == 0 { "A" } else { "*" };
            let subscription = Arc::new(Subscription::of_tags("T", tags));
            held(&hold, Waiter { wants: Wants::Message { from_offset: 0, subscription }, timeout_millis: 15_000, who }, 0);
        }
        hold.arriving("T", 1, 1, 66);
        assert_eq!(woken.lock().len(), 0, "the sender goes on");
        settle(&clock).await;
        assert_eq!(woken.lock().len(), PIECE_COUNT * PIECES_UNDER_WAY_MAX);
        // Nobody comes to his pulls.
        clock.advance(Duration::from_millis(PIECE_MILLIS_MAX));
        settle(&clock).await;
        assert_eq!(woken.lock().len(), 2 * PIECE_COUNT * PIECES_UNDER_WAY_MAX, "the others do not wait for them");
        let mut all = std::mem::take(&mut *woken.lock()).len();
        while all < COUNT * 9 / 10 {
            settle(&clock).await;
            let piece = std::mem::take(&mut *woken.lock());
            assert!(!piece.is_empty() && piece.len() <= PIECE_COUNT * PIECES_UNDER_WAY_MAX, "{} at once", piece.len());
            assert!(piece.iter().all(Option::is_some));
            all += piece.len();
        }
        settle(&clock).await;
        assert_eq!((woken.lock().len(), hold.waiting_count()), (0, COUNT / 10), "those who want another tag wait on");
        // The other tag, told after a later message of the first, as it may come from two senders.
        hold.arriving("T", 1, 3, 66);
        hold.arriving("T", 1, 2, 65);
        while hold.waiting_count() > 0 {
            settle(&clock).await;
            woken.lock().clear();
        }
        // As many deadlines at one moment are a crowd too.
        for _ in 0..COUNT {
            let who = Box::new(OfCrowd { woken: Arc::clone(&woken) });
            let subscription = Arc::new(Subscription::of_tags("T", "*"));
            held(&hold, Waiter { wants: Wants::Message { from_offset: 3, subscription }, timeout_millis: 15_000, who }, 3);
        }
        settle(&clock).await;
        clock.advance(Duration::from_secs(15));
        settle(&clock).await;
        assert!(woken.lock().len() <= PIECE_COUNT * PIECES_UNDER_WAY_MAX);
        while hold.waiting_count() > 0 {
            woken.lock().clear();
            settle(&clock).await;
        }
        woken.lock().clear();
        settle(&clock).await;
        assert_eq!(hold.queue_count(), 0);
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    fn any_queue(hold: &Hold, woken: &Arc<AtomicUsize>, is_wanted: impl Fn(&Arrived) -> bool + Send + 'static) {
        let waiter = Waiter { wants: Wants::Arrival(Box::new(is_wanted)), ..waiter(0, "*", 15_000, woken) };
        assert!(hold.register("T", None, waiter, || false).is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_any_queue_of_a_topic_is_woken_by_the_one_it_wants() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(AtomicUsize::new(0));
        any_queue(&hold, &woken, |arrived| arrived.tags_code.is_none_or(|code| code == 65));
        held(&hold, waiter(0, "*", 15_000, &woken), 0);
        hold.arriving("U", 7, 1, 65);
        hold.arriving("T", 7, 1, 66);
        assert_eq!(woken.load(Ordering::SeqCst), 0, "another topic, another tag");
        hold.arriving("T", 7, 2, 65);
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (1, 1), "a queue that nobody waits on by its number");
        // So many are a crowd, whichever the queue.
        for queue_id in 0..2 * LOOKED_AT_ONCE_MAX as i32 {
            any_queue(&hold, &woken, move |arrived| arrived.queue_id.is_none_or(|arrived| arrived == queue_id));
        }
        hold.arriving("T", 3, 1, 0);
        hold.arriving("T", 5, 1, 0);
        settle(&clock).await;
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (3, 2 * LOOKED_AT_ONCE_MAX - 1));
        hold.forget_topic("T");
        assert_eq!((hold.waiting_count(), hold.queue_count()), (0, 0));
        // A list that nobody is left in goes, too.
        any_queue(&hold, &woken, |_| true);
        settle(&clock).await;
        clock.advance(Duration::from_secs(15));
        settle(&clock).await;
        assert_eq!((hold.waiting_count(), hold.queue_count()), (0, 0));
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    /// Two senders tell their messages in another order than that of the queue: the later one counts.
    #[tokio::test]
    async fn an_earlier_message_that_is_told_later_takes_nothing_from_a_crowd() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(AtomicUsize::new(0));
        for _ in 0..=LOOKED_AT_ONCE_MAX {
            held(&hold, waiter(1, "*", 15_000, &woken), 1);
        }
        hold.arriving("T", 1, 2, 66);
        hold.arriving("T", 1, 1, 66);
        settle(&clock).await;
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (LOOKED_AT_ONCE_MAX + 1, 0));
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    /// A crowd that goes while it is woken keeps no other from being woken.
    #[tokio::test]
    async fn a_crowd_may_go_while_it_is_woken() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..10 * PIECE_COUNT {
            let who = Box::new(OfCrowd { woken: Arc::clone(&woken) });
            let subscription = Arc::new(Subscription::of_tags("T", "*"));
            held(&hold, Waiter { wants: Wants::Message { from_offset: 0, subscription }, timeout_millis: 15_000, who }, 0);
        }
        hold.arriving("T", 1, 1, 66);
        settle(&clock).await;
        assert_eq!(woken.lock().len(), PIECE_COUNT * PIECES_UNDER_WAY_MAX);
        hold.forget_topic("T");
        assert_eq!((woken.lock().len(), hold.waiting_count()), (10 * PIECE_COUNT, 0));
        woken.lock().clear();
        settle(&clock).await;
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..=LOOKED_AT_ONCE_MAX {
            held(&hold, waiter(0, "*", 15_000, &next), 0);
        }
        hold.arriving("T", 1, 1, 66);
        settle(&clock).await;
        assert_eq!((next.load(Ordering::SeqCst), hold.waiting_count()), (LOOKED_AT_ONCE_MAX + 1, 0));
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn more_tags_than_are_kept_count_as_whichever() {
        let (hold, clock) = hold();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        hold.start(&runtime);
        let woken = Arc::new(AtomicUsize::new(0));
        for _ in 0..=LOOKED_AT_ONCE_MAX {
            held(&hold, waiter(0, "A", 15_000, &woken), 0);
        }
        for at in 0..2 * ARRIVED_TAGS_MAX as i64 {
            hold.arriving("T", 1, at + 1, 1_000 + at);
        }
        assert!(hold.find_queue("T", Some(1)).unwrap().waiters.lock().news.arrived.len() <= ARRIVED_TAGS_MAX);
        settle(&clock).await;
        assert_eq!((woken.load(Ordering::SeqCst), hold.waiting_count()), (LOOKED_AT_ONCE_MAX + 1, 0));
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }
}
