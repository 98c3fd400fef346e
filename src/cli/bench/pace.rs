// SPDX-License-Identifier: Apache-2.0
//! Open loop: message i is due at t0 + i/R, whatever the server does. A timer of the kernel wakes for it; tokio's would come up to 1 ms late.

use std::os::fd::OwnedFd;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use tokio::io::unix::AsyncFd;

use super::BenchError;

/// Due times of one worker of `workers` that share a rate: `first`, then every `step_nanos`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    next_nanos: f64,
    step_nanos: f64,
}

impl Pace {
    /// `rate` in messages per second of all workers together.
    pub(super) fn new(start_nanos: u64, rate: f64, worker: usize, workers: usize) -> Self {
        let step_nanos = 1e9 * workers as f64 / rate;
        Self { next_nanos: start_nanos as f64 + 1e9 * worker as f64 / rate, step_nanos }
    }

    pub(super) fn next_nanos(&self) -> u64 {
        self.next_nanos as u64
    }

    /// The due time of the next message when it has come.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next_nanos();
        if due > now {
            return None;
        }
        self.next_nanos += self.step_nanos;
        Some(due)
    }
}

/// Wakes a task at a moment, to some microseconds.
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    pub(super) fn new() -> Result<Self, BenchError> {
        let io = |error| BenchError::Io { what: "create a timer", error };
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).map_err(|error| io(error.into()))?;
        #[expect(deprecated, reason = "its successor asks the caller to keep the descriptor open; this one it owns")]
        AsyncFd::new(timer).map(Self).map_err(io)
    }

    /// Rings once after `nanos`; an earlier setting is forgotten.
    pub(super) fn set(&self, nanos: u64) -> Result<(), BenchError> {
        let nanos = nanos.max(1);
        let after = Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: after };
        let set = timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once);
        set.map(|_| ()).map_err(|error| BenchError::Io { what: "set a timer", error: error.into() })
    }

    pub(super) async fn rung(&self) -> Result<(), BenchError> {
        let io = |error| BenchError::Io { what: "wait for a timer", error };
        let mut ready = self.0.readable().await.map_err(io)?;
        let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0u8; 8])?));
        match read {
            Ok(read) => read.map(|_| ()).map_err(io),
            // Set anew since it rang: what it was set to is not over yet, and the caller looks at its clock anyway.
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SystemClock;

    #[test]
    fn two_workers_share_a_rate_in_turns() {
        let (mut even, mut odd) = (Pace::new(100, 1e9, 0, 2), Pace::new(100, 1e9, 1, 2));
        assert_eq!((even.take(100), odd.take(100)), (Some(100), None));
        assert_eq!((even.take(102), odd.take(102)), (Some(102), Some(101)));
        assert_eq!(odd.next_nanos(), 103);
    }

    #[tokio::test]
    async fn an_alarm_does_not_ring_before_its_time() {
        let clock = SystemClock::shared();
        let alarm = Alarm::new().unwrap();
        let started = clock.nanos();
        alarm.set(3_000_000).unwrap();
        alarm.rung().await.unwrap();
        assert!(clock.nanos() - started >= 3_000_000);
    }
}
