// SPDX-License-Identifier: Apache-2.0
//! What is kept in order around the end of the log: space and pages ahead of it, writeback behind it.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tracing::warn;

use super::base::Base;
use crate::runtime::Parker;

const DISK_LOOK_INTERVAL_NANOS: u64 = 1_000_000_000;
const CHECKPOINT_INTERVAL_NANOS: u64 = 1_000_000_000;
/// The first cleaning comes this long after the start, as in Java.
const FIRST_CLEAN_NANOS: u64 = 60_000_000_000;

/// What the log grows by in this time is kept zeroed ahead of it. More would go to the disk twice, as zeroes and as records, and would
/// make each sync long.
const AHEAD_NANOS: u64 = 100_000_000;
/// Looks that follow each other sooner count as this far apart: a moment says little.
const LOOK_NANOS_MIN: u64 = 5_000_000;

/// Writeback starts half of that time behind the end, so that pages still being appended to and just being read are left alone; no less
/// and no more than this.
const WRITEBACK_LAG_BYTES_MIN: i64 = 512 * 1024;
const WRITEBACK_LAG_BYTES_MAX: i64 = 4 * 1024 * 1024;
const WRITEBACK_STEP_BYTES: i64 = 256 * 1024;

pub(super) struct LogKeeper {
    growth: Mutex<Growth>,
    bell: Mutex<Parker>,
    /// The keeper wants to run when the log gets this long.
    wanted_at: AtomicI64,
}

#[derive(Default)]
struct Growth {
    writeback_from: i64,
    /// Where the log ended when it was last looked at, and when that was.
    looked_at: (i64, u64),
    /// By how much it grows in `AHEAD_NANOS`.
    growth_bytes: i64,
    free_bytes: u64,
    next_disk_look_nanos: u64,
    next_checkpoint_nanos: u64,
    next_clean_nanos: u64,
}

impl Growth {
    fn look_at_growth(&mut self, end: i64, now: u64) {
        let (end_before, before) = std::mem::replace(&mut self.looked_at, (end, now));
        let passed = (now - before).max(LOOK_NANOS_MIN);
        self.growth_bytes = ((end - end_before) as f64 * AHEAD_NANOS as f64 / passed as f64) as i64;
    }
}

impl LogKeeper {
    pub(super) fn new(log_end: i64) -> Self {
        Self { growth: Mutex::default(), bell: Mutex::default(), wanted_at: AtomicI64::new(log_end + 1) }
    }

    pub(super) fn set_bell(&self, bell: Parker) {
        *self.bell.lock() = bell;
    }

    pub(super) fn bell(&self) -> Parker {
        self.bell.lock().clone()
    }

    pub(super) fn ring(&self) {
        self.bell.lock().unpark();
    }

    /// The log has grown to here.
    pub(super) fn grown_to(&self, end: i64) {
        if end >= self.wanted_at.load(Ordering::Relaxed) {
            self.wanted_at.store(i64::MAX, Ordering::Relaxed);
            self.ring();
        }
    }

    /// Whether the checkpoints are to be written now, and whether the log is to be cleaned.
    pub(super) fn due(&self, base: &Base) -> (bool, bool) {
        let now = base.clock.nanos();
        let mut growth = self.growth.lock();
        if growth.next_clean_nanos == 0 {
            growth.next_clean_nanos = now + FIRST_CLEAN_NANOS;
        }
        let due = (now >= growth.next_checkpoint_nanos, now >= growth.next_clean_nanos);
        if due.0 {
            growth.next_checkpoint_nanos = now + CHECKPOINT_INTERVAL_NANOS;
        }
        if due.1 {
            growth.next_clean_nanos = now + base.config.load().clean_resource_interval * 1_000_000;
        }
        due
    }

    /// What the next appends rely on. The log is durable up to `flushed`.
    pub(super) fn preallocate(&self, base: &Base, flushed: i64) {
        let mut growth = self.growth.lock();
        if let Err(error) = self.look_ahead(base, &mut growth) {
            base.poison_if_sync_failed(&error);
            // The put that needs the space will be refused; until then this is only a sign.
            if base.complaints.ahead.is_due(base.clock.nanos()) {
                warn!(%error, "cannot reserve disk space ahead of the log");
            }
        }
        growth.start_writeback(base, flushed);
    }

    fn look_ahead(&self, base: &Base, growth: &mut Growth) -> io::Result<()> {
        let now = base.clock.nanos();
        if now >= growth.next_disk_look_nanos {
            growth.next_disk_look_nanos = now + DISK_LOOK_INTERVAL_NANOS;
            let dir = base.log.files.last().and_then(|file| file.path().parent().map(|dir| dir.to_owned()));
            growth.free_bytes = base.fs.disk_usage(dir.as_deref().unwrap_or(&base.root))?.usable;
        }
        growth.look_at_growth(base.log.max_offset(), now);
        let again_at = base.log.look_ahead(growth.free_bytes, growth.growth_bytes as usize);
        self.wanted_at.store(*again_at.as_ref().unwrap_or(&i64::MAX), Ordering::Relaxed);
        again_at.map(|_| ())
    }
}

impl Growth {
    fn start_writeback(&mut self, base: &Base, flushed: i64) {
        if base.sync_flush {
            return;
        }
        let lag = (self.growth_bytes / 2).clamp(WRITEBACK_LAG_BYTES_MIN, WRITEBACK_LAG_BYTES_MAX);
        let to = (base.log.max_offset() - lag) / WRITEBACK_STEP_BYTES * WRITEBACK_STEP_BYTES;
        let from = self.writeback_from.max(flushed) / WRITEBACK_STEP_BYTES * WRITEBACK_STEP_BYTES;
        if to <= from {
            return;
        }
        self.writeback_from = to;
        for file in base.log.files.files().iter() {
            let (start, end) = (from.max(file.start_offset()), to.min(file.end_offset()));
            if start < end
                && let Err(error) = file.start_writeback((start - file.start_offset()) as usize, (end - start) as usize)
            {
                // The flusher's sync will say the same, and act on it.
                warn!(%error, "cannot start writing the log back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_ahead_follows_the_growth_since_the_last_look() {
        let mut growth = Growth::default();
        let mut look = |end, now| {
            growth.look_at_growth(end, now);
            growth.growth_bytes
        };
        look(1_000_000, 1_000_000_000);
        assert_eq!(look(3_000_000, 1_200_000_000), 1_000_000, "2 MB in 200 ms");
        assert_eq!(look(4_000_000, 1_200_000_001), 20_000_000, "1 MB at once counts as 5 ms");
        assert_eq!(look(4_000_000, 1_400_000_000), 0);
    }
}
