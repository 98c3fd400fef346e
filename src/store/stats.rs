// SPDX-License-Identifier: Apache-2.0
//! Java's StoreStatsService, as far as tools show it: totals and rates of puts and gets. Counting is one relaxed addition.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::figures::{Rates, StoreFigures};
pub(super) use super::latency::PUTS_PER_TIMING;
use super::latency::{LatestMax, PutTimes};

/// Samples for the rates over 10, 60 and 600 seconds.
const SAMPLES_MAX: usize = 601;

/// How long puts took is shown of the last whole minute, as by the original. Maxima are of that minute and the present one, where the
/// original's are of its whole life.
const WINDOW_MILLIS: i64 = 60_000;

#[derive(Default)]
pub(super) struct StoreStats {
    boot_millis: AtomicI64,
    pub(super) put_times: AtomicU64,
    pub(super) put_bytes: AtomicU64,
    pub(super) put_failed: AtomicU64,
    pub(super) get_found: AtomicU64,
    pub(super) get_missed: AtomicU64,
    pub(super) get_transferred: AtomicU64,
    pub(super) get_nanos: LatestMax,
    put_nanos: PutTimes,
    samples: Mutex<VecDeque<Sample>>,
    window_began_millis: AtomicI64,
}

#[derive(Clone, Copy)]
struct Sample {
    millis: i64,
    totals: [u64; 4],
}

impl StoreStats {
    /// The first window begins here too: a put of the start's first second belongs to it, whenever the keeper comes to its first sample.
    pub(super) fn begin(&self, now_millis: i64) {
        self.boot_millis.store(now_millis, Ordering::Relaxed);
        self.window_began_millis.store(now_millis, Ordering::Relaxed);
    }

    pub(super) fn time_put(&self, nanos: u64) {
        self.put_nanos.see(nanos);
    }

    fn totals(&self) -> [u64; 4] {
        [&self.put_times, &self.get_found, &self.get_missed, &self.get_transferred].map(|total| total.load(Ordering::Relaxed))
    }

    /// Once a second, by the keeper.
    pub(super) fn sample(&self, now_millis: i64) {
        let mut samples = self.samples.lock();
        samples.push_back(Sample { millis: now_millis, totals: self.totals() });
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
        let began = self.window_began_millis.load(Ordering::Relaxed);
        // A clock that was set back begins one too.
        if !(0..WINDOW_MILLIS).contains(&(now_millis - began)) {
            self.window_began_millis.store(now_millis, Ordering::Relaxed);
            self.put_nanos.begin_window();
            self.get_nanos.begin_window();
        }
    }

    fn rates(&self, of: impl Fn(&[u64; 4]) -> u64) -> Rates {
        let samples = self.samples.lock();
        let rate = |seconds: usize| {
            let last = samples.back()?;
            let first = samples.get(samples.len().checked_sub(seconds + 1)?)?;
            let millis = (last.millis - first.millis).max(1);
            Some((of(&last.totals) - of(&first.totals)) as f64 * 1_000.0 / millis as f64)
        };
        [10, 60, 600].map(|seconds| rate(seconds).unwrap_or(0.0))
    }

    /// What is counted here; the rest stays empty.
    pub(super) fn figures(&self, now_millis: i64) -> StoreFigures {
        let boot_millis = self.boot_millis.load(Ordering::Relaxed);
        StoreFigures {
            boot_millis,
            up_seconds: (now_millis - boot_millis).max(0) as u64 / 1_000,
            put_count: self.put_times.load(Ordering::Relaxed),
            put_failed_count: self.put_failed.load(Ordering::Relaxed),
            put_bytes: self.put_bytes.load(Ordering::Relaxed),
            put_millis_max: self.put_nanos.max.millis(),
            get_millis_max: self.get_nanos.millis(),
            put_counts_by_time: self.put_nanos.counts(),
            put_millis_99: self.put_nanos.percentile_millis(0.99),
            put_millis_999: self.put_nanos.percentile_millis(0.999),
            puts: self.rates(|totals| totals[0]),
            gets_found: self.rates(|totals| totals[1]),
            gets_missed: self.rates(|totals| totals[2]),
            gets: self.rates(|totals| totals[1] + totals[2]),
            gets_transferred: self.rates(|totals| totals[3]),
            ..StoreFigures::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// StoreStatsService.java#printTps: the distribution and the percentiles are of the last whole minute.
    #[test]
    fn a_slow_put_is_forgotten_after_two_minutes() {
        const SECOND: i64 = 1_000;
        let stats = StoreStats::default();
        stats.begin(100 * SECOND);
        stats.time_put(700_000_000);
        stats.get_nanos.see(30_000_000);
        stats.sample(100 * SECOND);
        let shown = |now| {
            stats.sample(now);
            let figures = stats.figures(now);
            let slow = figures.put_counts_by_time == [0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0];
            (slow, figures.put_millis_99 > 0.0, figures.put_millis_max == 700, figures.get_millis_max == 30)
        };
        assert_eq!(shown(159 * SECOND), (false, false, true, true), "the minute is not over");
        assert_eq!(shown(160 * SECOND), (true, true, true, true));
        assert_eq!(shown(219 * SECOND), (true, true, true, true));
        assert_eq!(shown(220 * SECOND), (false, false, false, false));
    }

    #[test]
    fn a_rate_is_that_of_the_last_samples_and_nothing_before_there_are_enough() {
        let stats = StoreStats::default();
        for second in 0..=60 {
            stats.sample(second * 1_000);
            stats.put_times.fetch_add(if second < 50 { 4 } else { 1 }, Ordering::Relaxed);
            stats.get_found.fetch_add(2, Ordering::Relaxed);
            stats.get_missed.fetch_add(3, Ordering::Relaxed);
            stats.get_transferred.fetch_add(5, Ordering::Relaxed);
        }
        let figures = stats.figures(60_000);
        assert_eq!((figures.puts, figures.gets_found, figures.gets_missed), ([1.0, 3.5, 0.0], [2.0, 2.0, 0.0], [3.0, 3.0, 0.0]));
        assert_eq!((figures.gets, figures.gets_transferred), ([5.0, 5.0, 0.0], [5.0, 5.0, 0.0]));
    }
}
