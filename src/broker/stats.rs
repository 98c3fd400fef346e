// SPDX-License-Identifier: Apache-2.0
//! Counters that tools read: what was put and got, in total, since this and the last morning, and per topic.
//!
//! Counting is one relaxed addition; rates come out of samples taken by the broker's housekeeping. Knows no answer's form.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Samples kept by a counter: seven of them span the six periods of 10 seconds that the original's minute has.
const SAMPLES_MAX: usize = 7;

/// What was put into one topic since the start.
#[derive(Debug, Default)]
pub struct PutCounters {
    messages: AtomicU64,
    bytes: AtomicU64,
    samples: Mutex<VecDeque<(u64, u64)>>,
}

impl PutCounters {
    pub fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Remembers where the counter stands; called every 10 seconds.
    pub fn sample(&self, nanos: u64) {
        let mut samples = self.samples.lock();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((nanos, self.messages()));
    }

    /// Messages per second over the sampled minute; 0 until there are two samples.
    pub fn messages_per_second(&self) -> f64 {
        let samples = self.samples.lock();
        match (samples.front(), samples.back()) {
            (Some(first), Some(last)) if last.0 > first.0 => (last.1 - first.1) as f64 * 1e9 / (last.0 - first.0) as f64,
            _ => 0.0,
        }
    }
}

/// What the broker counts beside its topics.
#[derive(Debug, Default)]
pub struct Stats {
    get_total: AtomicU64,
    mornings: Mutex<Mornings>,
}

/// The totals as they stood when the last days began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mornings {
    pub put_yesterday: u64,
    pub put_today: u64,
    pub get_yesterday: u64,
    pub get_today: u64,
}

impl Stats {
    pub fn count_get(&self, messages: u64) {
        self.get_total.fetch_add(messages, Ordering::Relaxed);
    }

    pub fn get_total(&self) -> u64 {
        self.get_total.load(Ordering::Relaxed)
    }

    pub fn mornings(&self) -> Mornings {
        *self.mornings.lock()
    }

    /// A new day has begun. Puts are counted by the topics.
    pub fn record_morning(&self, put_total: u64) {
        let mut mornings = self.mornings.lock();
        *mornings = Mornings {
            put_yesterday: mornings.put_today,
            put_today: put_total,
            get_yesterday: mornings.get_today,
            get_today: self.get_total(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_rate_is_that_of_the_sampled_minute() {
        let counters = PutCounters::default();
        assert_eq!(counters.messages_per_second(), 0.0);
        for period in 0..10 {
            counters.sample(period * 10 * SECOND);
            counters.add(if period < 3 { 1_000_000 } else { 50 }, 1_024);
        }
        assert_eq!(counters.messages_per_second(), 5.0, "what is older than a minute is forgotten");
        assert_eq!((counters.messages(), counters.bytes()), (3_000_350, 10_240));
    }

    #[test]
    fn a_morning_moves_today_to_yesterday() {
        let stats = Stats::default();
        stats.record_morning(3);
        stats.count_get(2);
        stats.record_morning(7);
        assert_eq!(stats.mornings(), Mornings { put_yesterday: 3, put_today: 7, get_yesterday: 0, get_today: 2 });
    }
}
