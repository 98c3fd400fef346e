// SPDX-License-Identifier: Apache-2.0
//! Java's StoreStatsService, as far as tools show it: totals and rates of puts and gets, and how long they took of late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::message_store::java_double;

/// Samples for the rates over 10, 60 and 600 seconds.
const SAMPLES_MAX: usize = 601;

/// How long puts took is shown of the last whole minute, as by the original. Maxima are of that minute and the present one, where the
/// original's are of its whole life.
const WINDOW_MILLIS: i64 = 60_000;

#[derive(Default)]
pub(super) struct StoreStats {
    pub(super) boot_millis: AtomicI64,
    pub(super) put_times: AtomicU64,
    pub(super) put_bytes: AtomicU64,
    pub(super) put_failed: AtomicU64,
    pub(super) get_found: AtomicU64,
    pub(super) get_missed: AtomicU64,
    pub(super) get_transferred: AtomicU64,
    pub(super) get_nanos: LatestMax,
    /// Of every 64th put, nanoseconds from its beginning to its answer; the index is the bit length.
    put_nanos: PutTimes,
    samples: Mutex<VecDeque<Sample>>,
    window_began_millis: AtomicI64,
}

/// One in this many puts is timed: two looks at the clock cost as much as the append lock.
pub(super) const PUTS_PER_TIMING: u64 = 64;

/// The longest of the present window and of the one before it.
#[derive(Default)]
pub(super) struct LatestMax {
    present: AtomicU64,
    last: AtomicU64,
}

impl LatestMax {
    pub(super) fn see(&self, nanos: u64) {
        self.present.fetch_max(nanos, Ordering::Relaxed);
    }

    fn begin_window(&self) {
        self.last.store(self.present.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        self.present.load(Ordering::Relaxed).max(self.last.load(Ordering::Relaxed)) / 1_000_000
    }
}

struct PutTimes {
    present: [AtomicU64; 64],
    /// Of the window before.
    last: [AtomicU64; 64],
    max: LatestMax,
}

impl Default for PutTimes {
    fn default() -> Self {
        let none = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { present: none(), last: none(), max: LatestMax::default() }
    }
}

impl PutTimes {
    fn begin_window(&self) {
        for (present, last) in self.present.iter().zip(&self.last) {
            last.store(present.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        self.max.begin_window();
    }

    /// Milliseconds that this part of the puts stays below, by the upper end of its bucket.
    fn percentile_millis(&self, part: f64) -> f64 {
        let counts: Vec<u64> = self.last.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let wanted = counts.iter().sum::<u64>() as f64 * part;
        let mut passed = 0;
        for (bits, count) in counts.iter().enumerate() {
            passed += count;
            if *count > 0 && passed as f64 >= wanted {
                return (1_u64 << bits) as f64 / 1_000_000.0;
            }
        }
        0.0
    }

    /// Java's words for it: how many puts took how long.
    fn distribution(&self) -> String {
        const NAMES: [&str; 13] = [
            "[<=0ms]",
            "[0~10ms]",
            "[10~50ms]",
            "[50~100ms]",
            "[100~200ms]",
            "[200~500ms]",
            "[500ms~1s]",
            "[1~2s]",
            "[2~3s]",
            "[3~4s]",
            "[4~5s]",
            "[5~10s]",
            "[10s~]",
        ];
        const ENDS_MILLIS: [u64; 12] = [1, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000];
        let mut counts = [0; NAMES.len()];
        for (bits, bucket) in self.last.iter().enumerate() {
            let millis = (1_u64 << bits) / 2 / 1_000_000;
            let place = ENDS_MILLIS.iter().position(|end| millis < *end).unwrap_or(ENDS_MILLIS.len());
            counts[place] += bucket.load(Ordering::Relaxed) * PUTS_PER_TIMING;
        }
        NAMES.iter().zip(counts).map(|(name, count)| format!("{name}:{count} ")).collect()
    }
}

#[derive(Clone, Copy)]
struct Sample {
    millis: i64,
    totals: [u64; 4],
}

impl StoreStats {
    pub(super) fn time_put(&self, nanos: u64) {
        self.put_nanos.present[(u64::BITS - nanos.leading_zeros()).min(63) as usize].fetch_add(1, Ordering::Relaxed);
        self.put_nanos.max.see(nanos);
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

    /// Rates over 10, 60 and 600 seconds, blank between them, as the original prints them.
    fn rates(&self, of: impl Fn(&[u64; 4]) -> u64) -> String {
        let samples = self.samples.lock();
        let rate = |seconds: usize| {
            let last = samples.back()?;
            let first = samples.get(samples.len().checked_sub(seconds + 1)?)?;
            let millis = (last.millis - first.millis).max(1);
            Some((of(&last.totals) - of(&first.totals)) as f64 * 1_000.0 / millis as f64)
        };
        [10, 60, 600].map(|seconds| java_double(rate(seconds).unwrap_or(0.0))).join(" ")
    }

    pub(super) fn runtime_info(&self, now_millis: i64) -> BTreeMap<String, String> {
        let put_times = self.put_times.load(Ordering::Relaxed).max(1);
        let put_bytes = self.put_bytes.load(Ordering::Relaxed);
        let boot = self.boot_millis.load(Ordering::Relaxed);
        let up = (now_millis - boot).max(0) / 1_000;
        let figures = [
            ("bootTimestamp", boot.to_string()),
            ("runtime", format!("[ {} days, {} hours, {} minutes, {} seconds ]", up / 86_400, up / 3_600 % 24, up / 60 % 60, up % 60)),
            ("putMessageTimesTotal", put_times.to_string()),
            ("putMessageFailedTimes", self.put_failed.load(Ordering::Relaxed).to_string()),
            ("putMessageSizeTotal", put_bytes.to_string()),
            ("putMessageAverageSize", java_double(put_bytes as f64 / put_times as f64)),
            ("putMessageEntireTimeMax", self.put_nanos.max.millis().to_string()),
            ("putMessageDistributeTime", self.put_nanos.distribution()),
            ("putLatency99", format!("{:.2}", self.put_nanos.percentile_millis(0.99))),
            ("putLatency999", format!("{:.2}", self.put_nanos.percentile_millis(0.999))),
            // Nothing is buffered between the log and the queues.
            ("dispatchMaxBuffer", "0".to_owned()),
            ("getMessageEntireTimeMax", self.get_nanos.millis().to_string()),
            ("putTps", self.rates(|totals| totals[0])),
            ("getFoundTps", self.rates(|totals| totals[1])),
            ("getMissTps", self.rates(|totals| totals[2])),
            ("getTotalTps", self.rates(|totals| totals[1] + totals[2])),
            ("getTransferredTps", self.rates(|totals| totals[3])),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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
        stats.sample(100 * SECOND);
        stats.time_put(700_000_000);
        stats.get_nanos.see(30_000_000);
        let shown = |now| {
            stats.sample(now);
            let info = stats.runtime_info(now);
            let slow = info["putMessageDistributeTime"].contains("[500ms~1s]:64");
            (slow, info["putLatency99"] != "0.00", info["putMessageEntireTimeMax"] == "700", info["getMessageEntireTimeMax"] == "30")
        };
        assert_eq!(shown(159 * SECOND), (false, false, true, true), "the minute is not over");
        assert_eq!(shown(160 * SECOND), (true, true, true, true));
        assert_eq!(shown(219 * SECOND), (true, true, true, true));
        assert_eq!(shown(220 * SECOND), (false, false, false, false));
    }
}
