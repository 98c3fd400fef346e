// SPDX-License-Identifier: Apache-2.0
//! What must be done behind the puts: space and pages ahead of the log, writeback behind it, ConsumeQueue units to their files,
//! checkpoints, cleaning.
//!
//! One keeper thread; each duty can also be called by itself, which is how the tests and the orderly stop drive it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{error, warn};

use super::checkpoint::Indexed;
use super::consume_queue::ConsumeQueue;
use super::message_store::MessageStore;
use super::queue_writes::Round;
use crate::runtime::{Shutdown, or_abort};

const PASS_INTERVAL: Duration = Duration::from_millis(200);
const DISK_LOOK_INTERVAL_NANOS: u64 = 1_000_000_000;
const CHECKPOINT_INTERVAL_NANOS: u64 = 1_000_000_000;
/// What failed for want of a descriptor or of memory is tried again after this.
const AGAIN_NANOS: u64 = 1_000_000_000;
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

/// More ConsumeQueues than these are synced with everything else on their disk.
const SYNCED_ONE_BY_ONE_MAX: usize = 512;

/// ConsumeQueues are synced early when a restart after a power cut would otherwise have to read this much of the log again.
const UNSYNCED_LOG_BYTES_MAX: i64 = 512 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Keeper {
    /// The round of queue writes that is under way.
    pub(super) round: Option<Round>,
    /// Queues whose last units are still in memory though written.
    pub(super) warm: Vec<Arc<ConsumeQueue>>,
    /// Queues written to since the last sync, by number.
    pub(super) unsynced: HashMap<u32, Arc<ConsumeQueue>>,
    /// The log up to here has its units in the ConsumeQueues' files.
    pub(super) written: Indexed,
    pub(super) written_store_timestamp: i64,
    writeback_from: i64,
    /// Where the log ended when it was last looked at, and when that was.
    looked_at: (i64, u64),
    /// By how much it grows in `AHEAD_NANOS`.
    growth_bytes: i64,
    free_bytes: u64,
    /// A stop that was not orderly may have left files unsynced that nobody remembers: the first sync is of everything.
    sync_everything: bool,
    next_disk_look_nanos: u64,
    next_checkpoint_nanos: u64,
    next_queue_sync_nanos: u64,
    /// After one that failed.
    queue_sync_again_nanos: u64,
    next_clean_nanos: u64,
}

impl Keeper {
    pub(super) fn new(sync_everything: bool) -> Self {
        Self { sync_everything, ..Self::default() }
    }

    fn look_at_growth(&mut self, end: i64, now: u64) {
        let (end_before, before) = std::mem::replace(&mut self.looked_at, (end, now));
        let passed = (now - before).max(LOOK_NANOS_MIN);
        self.growth_bytes = ((end - end_before) as f64 * AHEAD_NANOS as f64 / passed as f64) as i64;
    }

    /// A topic's queues go: the next mark is made anew, even when the log did not grow.
    pub(super) fn forget_mark(&mut self) {
        self.written = Indexed::default();
    }
}

impl MessageStore {
    pub(super) fn run_keeper(&self, shutdown: &Shutdown) {
        let bell = self.keeper_bell.lock().clone();
        let mut next_pass_nanos = 0;
        while !shutdown.has_begun() && !self.health.shutdown.load(Ordering::Relaxed) {
            self.keep_ahead(&mut self.keeper.lock());
            let now = self.clock.nanos();
            if now >= next_pass_nanos {
                next_pass_nanos = now + PASS_INTERVAL.as_nanos() as u64;
                self.keep_up();
            }
            self.clock.park(&bell, Duration::from_nanos(next_pass_nanos.saturating_sub(self.clock.nanos())));
        }
    }

    /// One pass over everything that is due.
    pub fn keep(&self) {
        self.keep_ahead(&mut self.keeper.lock());
        self.keep_up();
        self.sync_queues_when_due();
    }

    /// What can wait for the next pass. Under load a pass has many units for each queue to write, not a few.
    fn keep_up(&self) {
        let now = self.clock.nanos();
        self.write_due_queues(now);
        let (checkpoint_due, clean_due) = {
            let mut keeper = self.keeper.lock();
            if keeper.next_clean_nanos == 0 {
                keeper.next_clean_nanos = now + FIRST_CLEAN_NANOS;
            }
            let due = (now >= keeper.next_checkpoint_nanos, now >= keeper.next_clean_nanos);
            if due.0 {
                keeper.next_checkpoint_nanos = now + CHECKPOINT_INTERVAL_NANOS;
            }
            if due.1 {
                keeper.next_clean_nanos = now + self.config.load().clean_resource_interval * 1_000_000;
            }
            due
        };
        if checkpoint_due {
            self.stats.sample(self.clock.now_millis());
            if let Err(error) = self.write_checkpoints()
                && self.complaints.checkpoint.is_due(now)
            {
                error!(%error, "cannot write the checkpoint");
            }
        }
        if clean_due {
            self.clean();
        }
    }

    /// Many small files take their time: this is done by the indexer's thread, which nobody waits for.
    pub(super) fn sync_queues_when_due(&self) {
        let now = self.clock.nanos();
        let due = {
            let mut keeper = self.keeper.lock();
            let interval = self.config.load().flush_consume_queue_thorough_interval * 1_000_000;
            if keeper.next_queue_sync_nanos == 0 {
                keeper.next_queue_sync_nanos = now + interval;
            }
            let unsynced_bytes = keeper.written.mark.position - self.checkpoint.lock().position.synced.mark.position;
            let due = (now >= keeper.next_queue_sync_nanos && unsynced_bytes > 0) || unsynced_bytes >= UNSYNCED_LOG_BYTES_MAX;
            let due = due && now >= keeper.queue_sync_again_nanos && !self.health.poisoned.load(Ordering::Acquire);
            if due {
                keeper.next_queue_sync_nanos = now + interval;
            }
            due
        };
        if due && let Err(error) = self.sync_queues() {
            let mut keeper = self.keeper.lock();
            keeper.queue_sync_again_nanos = now + AGAIN_NANOS;
            keeper.next_queue_sync_nanos = now + AGAIN_NANOS;
            if self.complaints.queue_sync.is_due(now) {
                error!(%error, "cannot sync the ConsumeQueues: after a power cut more of the log would be read again; trying again");
            }
        }
    }

    /// What the next appends rely on.
    pub(super) fn keep_ahead(&self, keeper: &mut Keeper) {
        if let Err(error) = self.look_ahead(keeper) {
            self.poison_if_sync_failed(&error);
            // The put that needs the space will be refused; until then this is only a sign.
            if self.complaints.ahead.is_due(self.clock.nanos()) {
                warn!(%error, "cannot reserve disk space ahead of the log");
            }
        }
        self.start_writeback(keeper);
    }

    fn look_ahead(&self, keeper: &mut Keeper) -> io::Result<()> {
        let now = self.clock.nanos();
        if now >= keeper.next_disk_look_nanos {
            keeper.next_disk_look_nanos = now + DISK_LOOK_INTERVAL_NANOS;
            let dir = self.log.files.last().and_then(|file| file.path().parent().map(|dir| dir.to_owned()));
            keeper.free_bytes = self.fs.disk_usage(dir.as_deref().unwrap_or(&self.root))?.usable;
        }
        keeper.look_at_growth(self.log.max_offset(), now);
        let again_at = self.log.look_ahead(keeper.free_bytes, keeper.growth_bytes as usize);
        self.keeper_wanted_at.store(*again_at.as_ref().unwrap_or(&i64::MAX), Ordering::Relaxed);
        again_at.map(|_| ())
    }

    fn start_writeback(&self, keeper: &mut Keeper) {
        if self.sync_flush {
            return;
        }
        let lag = (keeper.growth_bytes / 2).clamp(WRITEBACK_LAG_BYTES_MIN, WRITEBACK_LAG_BYTES_MAX);
        let to = (self.log.max_offset() - lag) / WRITEBACK_STEP_BYTES * WRITEBACK_STEP_BYTES;
        let from = keeper.writeback_from.max(self.flushed_offset()) / WRITEBACK_STEP_BYTES * WRITEBACK_STEP_BYTES;
        if to <= from {
            return;
        }
        keeper.writeback_from = to;
        for file in self.log.files.files().iter() {
            let (start, end) = (from.max(file.start_offset()), to.min(file.end_offset()));
            if start < end
                && let Err(error) = file.start_writeback((start - file.start_offset()) as usize, (end - start) as usize)
            {
                // The flusher's sync will say the same, and act on it.
                warn!(%error, "cannot start writing the log back");
            }
        }
    }

    pub(super) fn unsynced_queue_count(&self) -> usize {
        self.keeper.lock().unsynced.len()
    }

    /// Makes the written units durable, after the log that they point into.
    pub(super) fn sync_queues(&self) -> io::Result<()> {
        let _one_at_a_time = self.syncing_queues.lock();
        let (unsynced, written, store_timestamp, everything) = {
            let mut keeper = self.keeper.lock();
            let everything = std::mem::take(&mut keeper.sync_everything);
            (std::mem::take(&mut keeper.unsynced), keeper.written, keeper.written_store_timestamp, everything)
        };
        if self.flushed_offset() < written.mark.position {
            self.flush_log();
        }
        if self.flushed_offset() < written.mark.position {
            return Err(io::Error::other("the log could not be synced"));
        }
        let everything = everything || unsynced.len() > SYNCED_ONE_BY_ONE_MAX;
        // What was taken from the lists is on none of them while it is synced.
        let synced = or_abort("a sync of ConsumeQueues", || self.sync_written(&unsynced, everything));
        if let Err(error) = synced {
            self.poison_if_sync_failed(&error);
            self.keeper.lock().sync_everything = true;
            return Err(error);
        }
        // An earlier sync may have failed and taken its share of the queues with it: then nothing more is known to be durable.
        if self.health.poisoned.load(Ordering::Acquire) {
            return Err(io::Error::other("a sync failed before"));
        }
        let mut checkpoint = self.checkpoint.lock();
        checkpoint.position.synced = written;
        if store_timestamp > 0 {
            checkpoint.values.logics_msg_timestamp = store_timestamp;
        }
        if written.mark.last_record > 0 {
            checkpoint.values.logics_physical_offset = written.mark.last_record;
        }
        Ok(())
    }

    fn sync_written(&self, queues: &HashMap<u32, Arc<ConsumeQueue>>, everything: bool) -> io::Result<()> {
        if everything {
            queues.values().for_each(|queue| queue.forget_unsynced());
            return self.fs.sync_file_system(&self.root);
        }
        queues.values().try_for_each(|queue| queue.sync(&self.queues.files))
    }

    /// Writes both checkpoints. They are not synced: an older one is as true, it only costs time after a power cut.
    pub(super) fn write_checkpoints(&self) -> io::Result<()> {
        // After a failed sync the kernel may have dropped what was written, on this boot too.
        let poisoned = self.health.poisoned.load(Ordering::Acquire);
        let written = if poisoned { Indexed::default() } else { self.keeper.lock().written };
        let mut checkpoint = self.checkpoint.lock();
        checkpoint.position.written = written;
        checkpoint.position.log_begins = Some(self.log.min_offset());
        let position = checkpoint.position.clone();
        let values = checkpoint.values;
        checkpoint.file.write(&values)?;
        checkpoint.position_file.write(&position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_ahead_follows_the_growth_since_the_last_look() {
        let mut keeper = Keeper::new(false);
        let mut look = |end, now| {
            keeper.look_at_growth(end, now);
            keeper.growth_bytes
        };
        look(1_000_000, 1_000_000_000);
        assert_eq!(look(3_000_000, 1_200_000_000), 1_000_000, "2 MB in 200 ms");
        assert_eq!(look(4_000_000, 1_200_000_001), 20_000_000, "1 MB at once counts as 5 ms");
        assert_eq!(look(4_000_000, 1_400_000_000), 0);
    }
}
