// SPDX-License-Identifier: Apache-2.0
//! Time: the machine's, or one that a test moves by hand.
//!
//! Everything that follows time (delay levels, retries, long polling, retention, expiry) asks here, so a test can make an
//! hour pass in no time. Nothing else in the programme asks the operating system for the time.

#![expect(clippy::disallowed_methods, reason = "the one home of time")]

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::time::ClockId;
use parking_lot::{Condvar, Mutex};

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;
pub type SharedClock = Arc<dyn Clock>;

pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Wall clock, milliseconds since 1970: for timestamps that leave the process. May jump.
    fn now_millis(&self) -> i64;

    /// Monotonic nanoseconds since some moment before the first call: for durations and deadlines.
    fn nanos(&self) -> u64;

    /// Resolves when `duration` has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;

    /// Blocks the calling thread until `parker` is unparked (then true) or `timeout` has passed (then false).
    fn park(&self, parker: &Parker, timeout: Duration) -> bool;
}

/// One thread's bell: an `unpark` before the `park` is remembered, several count as one.
#[derive(Clone, Default)]
pub struct Parker(Arc<ParkerState>);

#[derive(Default)]
struct ParkerState {
    notified: Mutex<bool>,
    bell: Condvar,
}

impl Parker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn unpark(&self) {
        let mut notified = self.0.notified.lock();
        if !*notified {
            *notified = true;
            self.0.bell.notify_one();
        }
    }

    /// Blocks until unparked, however long that takes.
    pub fn park(&self) {
        let mut notified = self.0.notified.lock();
        while !*notified {
            self.0.bell.wait(&mut notified);
        }
        *notified = false;
    }
}

impl fmt::Debug for Parker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parker")
    }
}

/// The machine's clock. Asked several times for each message, so it takes the kernel's two numbers as they are: `Instant` and
/// `SystemTime` check and carry at every step.
#[derive(Debug)]
pub struct SystemClock {
    origin_nanos: u64,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { origin_nanos: monotonic_nanos() }
    }

    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

/// Either clock is on every system that this runs on.
fn kernel_time(clock: ClockId) -> TimeSpec {
    clock.now().expect("the kernel has this clock")
}

fn monotonic_nanos() -> u64 {
    let now = kernel_time(ClockId::CLOCK_MONOTONIC);
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_millis(&self) -> i64 {
        let now = kernel_time(ClockId::CLOCK_REALTIME);
        now.tv_sec() * 1_000 + now.tv_nsec() / 1_000_000
    }

    fn nanos(&self) -> u64 {
        monotonic_nanos() - self.origin_nanos
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn park(&self, parker: &Parker, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut notified = parker.0.notified.lock();
        while !*notified {
            if parker.0.bell.wait_until(&mut notified, deadline).timed_out() {
                break;
            }
        }
        std::mem::take(&mut *notified)
    }
}

/// A clock that stands still until `advance` moves it; sleepers and parked threads whose time has come then wake.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<ManualState>>);

struct ManualState {
    wall_millis_at_zero: i64,
    nanos: u64,
    /// Sleepers by deadline and ticket.
    sleepers: BTreeMap<(u64, u64), Waker>,
    parked: Vec<(u64, Parker)>,
    next_ticket: u64,
}

impl ManualClock {
    /// Starts at the given wall clock time.
    pub fn at_millis(wall_millis: i64) -> Self {
        Self(Arc::new(Mutex::new(ManualState {
            wall_millis_at_zero: wall_millis,
            nanos: 0,
            sleepers: BTreeMap::new(),
            parked: Vec::new(),
            next_ticket: 0,
        })))
    }

    pub fn advance(&self, duration: Duration) {
        let (due, parked) = {
            let mut state = self.0.lock();
            state.nanos += duration.as_nanos() as u64;
            let first_not_due = (state.nanos + 1, 0);
            let later = state.sleepers.split_off(&first_not_due);
            let due = std::mem::replace(&mut state.sleepers, later);
            let parked: Vec<Parker> = state.parked.iter().map(|(_, parker)| parker.clone()).collect();
            (due, parked)
        };
        due.into_values().for_each(Waker::wake);
        for parker in parked {
            // The lock makes sure that the thread is either waiting (and is rung) or has yet to look at the new time.
            let _looking = parker.0.notified.lock();
            parker.0.bell.notify_all();
        }
    }

    /// Sleepers and parked threads that wait for this clock: lets a test advance only when all it expects are waiting.
    pub fn waiting_count(&self) -> usize {
        let state = self.0.lock();
        state.sleepers.len() + state.parked.len()
    }

    fn ticket(&self) -> u64 {
        let mut state = self.0.lock();
        state.next_ticket += 1;
        state.next_ticket
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({} ms)", self.now_millis())
    }
}

impl Clock for ManualClock {
    fn now_millis(&self) -> i64 {
        let state = self.0.lock();
        state.wall_millis_at_zero + (state.nanos / 1_000_000) as i64
    }

    fn nanos(&self) -> u64 {
        self.0.lock().nanos
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        let deadline = self.nanos() + duration.as_nanos() as u64;
        Box::pin(ManualSleep { clock: self.clone(), key: (deadline, self.ticket()) })
    }

    fn park(&self, parker: &Parker, timeout: Duration) -> bool {
        let deadline = self.nanos().saturating_add(timeout.as_nanos() as u64);
        let ticket = self.ticket();
        self.0.lock().parked.push((ticket, parker.clone()));
        let unparked = {
            let mut notified = parker.0.notified.lock();
            while !*notified && self.nanos() < deadline {
                parker.0.bell.wait(&mut notified);
            }
            std::mem::take(&mut *notified)
        };
        self.0.lock().parked.retain(|(other, _)| *other != ticket);
        unparked
    }
}

struct ManualSleep {
    clock: ManualClock,
    key: (u64, u64),
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.0.lock();
        if state.nanos >= self.key.0 {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        self.clock.0.lock().sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_hour_passes_when_the_test_says_so() {
        let clock = ManualClock::at_millis(1_000);
        let sleeping = tokio::spawn(clock.sleep(Duration::from_secs(3_600)));
        while clock.waiting_count() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(3_599));
        tokio::task::yield_now().await;
        assert!(!sleeping.is_finished(), "one second early");
        clock.advance(Duration::from_secs(1));
        sleeping.await.unwrap();
        assert_eq!(clock.now_millis(), 3_601_000);
        assert_eq!(clock.waiting_count(), 0);
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_forgotten() {
        let clock = ManualClock::at_millis(0);
        let mut sleep = clock.sleep(Duration::from_secs(1));
        assert!(std::future::poll_fn(|context| Poll::Ready(sleep.as_mut().poll(context).is_pending())).await);
        assert_eq!(clock.waiting_count(), 1);
        drop(sleep);
        assert_eq!(clock.waiting_count(), 0);
    }

    #[test]
    fn a_parked_thread_wakes_by_time_and_by_bell() {
        let clock = ManualClock::at_millis(0);
        for by_bell in [true, false] {
            let parker = Parker::new();
            let (thread_clock, thread_parker) = (clock.clone(), parker.clone());
            let thread = std::thread::spawn(move || thread_clock.park(&thread_parker, Duration::from_secs(5)));
            while clock.waiting_count() == 0 {
                std::thread::yield_now();
            }
            if by_bell {
                parker.unpark();
            } else {
                clock.advance(Duration::from_secs(5));
            }
            assert_eq!(thread.join().unwrap(), by_bell);
        }
    }

    #[test]
    fn the_system_clock_parks_until_the_timeout_and_remembers_an_early_bell() {
        let clock = SystemClock::new();
        let parker = Parker::new();
        let before = clock.nanos();
        assert!(!clock.park(&parker, Duration::from_millis(5)));
        assert!(clock.nanos() - before >= 5_000_000);
        parker.unpark();
        parker.unpark();
        assert!(clock.park(&parker, Duration::from_secs(60)));
        assert!(!clock.park(&parker, Duration::from_millis(1)), "two rings before one park count once");
        assert!(clock.now_millis() > 1_700_000_000_000);
    }
}
