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
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    millis: i64,
    totals: [u64; 4],
}

impl StoreStats {
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
            ("putTps", self.rates(|totals| totals[0])),
            ("getFoundTps", self.rates(|totals| totals[1])),
            ("getMissTps", self.rates(|totals| totals[2])),
            ("getTotalTps", self.rates(|totals| totals[1] + totals[2])),
            ("getTransferredTps", self.rates(|totals| totals[3])),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
