// SPDX-License-Identifier: Apache-2.0
//! The same complaint is heard once a minute, however often it is due: what fails is tried again many times a second.

use std::sync::atomic::{AtomicU64, Ordering};

const INTERVAL_NANOS: u64 = 60_000_000_000;

/// One complaint. Ready to be heard.
#[derive(Debug, Default)]
pub struct Seldom {
    next_nanos: AtomicU64,
}

impl Seldom {
    /// Whether it is time to say it (again), by `Clock::nanos`.
    pub fn is_due(&self, now_nanos: u64) -> bool {
        let next = self.next_nanos.load(Ordering::Relaxed);
        next <= now_nanos
            && self.next_nanos.compare_exchange(next, now_nanos + INTERVAL_NANOS, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
