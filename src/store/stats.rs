// SPDX-License-Identifier: Apache-2.0
//! Java's StoreStatsService, as far as tools show it: totals and rates of puts and gets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::message_store::java_double;

/// Samples for the rates over 10, 60 and 600 seconds.
const SAMPLES_MAX: usize = 601;

#[derive(Default)]
pub(super) struct StoreStats {
    pub(super) boot_millis: AtomicI64,
    pub(super) put_times: AtomicU64,
    pub(super) put_bytes: AtomicU64,
    pub(super) put_failed: AtomicU64,
    pub(super) get_found: AtomicU64,
    pub(super) get_missed: AtomicU64,
    pub(super) get_transferred: AtomicU64,
    pub(super) get_max_nanos: AtomicU64,
    /// Of every 64th put, nanoseconds from its beginning to its answer; the index is the bit length.
    put_nanos: PutTimes,
    samples: Mutex<VecDeque<Sample>>,
}

/// One in this many puts is timed: two looks at the clock cost as much as the append lock.
pub(super) const PUTS_PER_TIMING: u64 = 64;

struct PutTimes {
    buckets: [AtomicU64; 64],
    max_nanos: AtomicU64,
}

impl Default for PutTimes {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), max_nanos: AtomicU64::new(0) }
    }
}

impl PutTimes {
    /// Milliseconds that this part of the puts stays below, by the upper end of its bucket.
    fn percentile_millis(&self, part: f64) -> f64 {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
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
        for (bits, bucket) in self.buckets.iter().enumerate() {
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
        self.put_nanos.buckets[(u64::BITS - nanos.leading_zeros()).min(63) as usize].fetch_add(1, Ordering::Relaxed);
        self.put_nanos.max_nanos.fetch_max(nanos, Ordering::Relaxed);
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
            ("putMessageEntireTimeMax", (self.put_nanos.max_nanos.load(Ordering::Relaxed) / 1_000_000).to_string()),
            ("putMessageDistributeTime", self.put_nanos.distribution()),
            ("putLatency99", format!("{:.2}", self.put_nanos.percentile_millis(0.99))),
            ("putLatency999", format!("{:.2}", self.put_nanos.percentile_millis(0.999))),
            // Nothing is buffered between the log and the queues.
            ("dispatchMaxBuffer", "0".to_owned()),
            ("getMessageEntireTimeMax", (self.get_max_nanos.load(Ordering::Relaxed) / 1_000_000).to_string()),
            ("putTps", self.rates(|totals| totals[0])),
            ("getFoundTps", self.rates(|totals| totals[1])),
            ("getMissTps", self.rates(|totals| totals[2])),
            ("getTotalTps", self.rates(|totals| totals[1] + totals[2])),
            ("getTransferredTps", self.rates(|totals| totals[3])),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
