// SPDX-License-Identifier: Apache-2.0
//! How long puts and reads took of late: the last whole minute and the present one, as Java's StoreStatsService keeps them.
//!
//! Seeing one is a relaxed addition. Whoever keeps the time begins each window.

use std::sync::atomic::{AtomicU64, Ordering};

use super::figures::PUT_TIME_ENDS_MILLIS;

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

    pub(super) fn begin_window(&self) {
        self.last.store(self.present.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn millis(&self) -> u64 {
        self.present.load(Ordering::Relaxed).max(self.last.load(Ordering::Relaxed)) / 1_000_000
    }
}

/// Of every 64th put, how long it took from its beginning to its answer; the index is the bit length of its nanoseconds.
pub(super) struct PutTimes {
    present: [AtomicU64; 64],
    /// Of the window before.
    last: [AtomicU64; 64],
    pub(super) max: LatestMax,
}

impl Default for PutTimes {
    fn default() -> Self {
        let none = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { present: none(), last: none(), max: LatestMax::default() }
    }
}

impl PutTimes {
    pub(super) fn see(&self, nanos: u64) {
        self.present[(u64::BITS - nanos.leading_zeros()).min(63) as usize].fetch_add(1, Ordering::Relaxed);
        self.max.see(nanos);
    }

    pub(super) fn begin_window(&self) {
        for (present, last) in self.present.iter().zip(&self.last) {
            last.store(present.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        self.max.begin_window();
    }

    /// Milliseconds that this part of the puts stays below, by the upper end of its bucket.
    pub(super) fn percentile_millis(&self, part: f64) -> f64 {
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

    /// How many puts took how long, each timed one counted for all that it stands for.
    pub(super) fn counts(&self) -> [u64; PUT_TIME_ENDS_MILLIS.len() + 1] {
        let mut counts = [0; PUT_TIME_ENDS_MILLIS.len() + 1];
        for (bits, bucket) in self.last.iter().enumerate() {
            let millis = (1_u64 << bits) / 2 / 1_000_000;
            let place = PUT_TIME_ENDS_MILLIS.iter().position(|end| millis < *end).unwrap_or(PUT_TIME_ENDS_MILLIS.len());
            counts[place] += bucket.load(Ordering::Relaxed) * PUTS_PER_TIMING;
        }
        counts
    }
}
