// SPDX-License-Identifier: Apache-2.0
//! What must be done behind the puts, and when: space ahead of the log, ConsumeQueue units to their files, checkpoints, cleaning, the
//! index.
//!
//! Two threads; each duty can also be called by itself, which is how the tests and the orderly stop drive it.

use std::io;
use std::time::Duration;

use tracing::error;

use super::consume_queue::ConsumeQueue;
use super::message_store::MessageStore;
use super::queue_writes::QUEUES_PER_PASS;
use super::{StoreError, at_path};
use crate::runtime::{Parker, Shutdown};

const PASS_INTERVAL: Duration = Duration::from_millis(200);

/// How often the index looks for messages while none come.
const INDEX_INTERVAL: Duration = Duration::from_millis(200);
/// And while they come: what it reads is then still in the processor's cache, and it never has much to do at once.
const INDEX_BUSY_INTERVAL: Duration = Duration::from_millis(20);

impl MessageStore {
    pub(super) fn run_keeper(&self, shutdown: &Shutdown) {
        let bell = self.keeper.bell();
        let mut next_pass_nanos = 0;
        while !shutdown.has_begun() && !self.base.is_shut_down() {
            self.preallocate();
            let now = self.base.clock.nanos();
            if now >= next_pass_nanos {
                next_pass_nanos = now + PASS_INTERVAL.as_nanos() as u64;
                self.periodic_pass();
            }
            self.base.clock.park(&bell, Duration::from_nanos(next_pass_nanos.saturating_sub(self.base.clock.nanos())));
        }
    }

    pub(super) fn run_indexer(&self, shutdown: &Shutdown, bell: &Parker) {
        while !shutdown.has_begun() && !self.base.is_shut_down() {
            let has_grown = self.build_index();
            self.queue_writer.sync_when_due(&self.base, &self.flusher);
            self.base.clock.park(bell, if has_grown { INDEX_BUSY_INTERVAL } else { INDEX_INTERVAL });
        }
    }

    /// One pass over everything that is due.
    pub fn run_maintenance(&self) {
        self.preallocate();
        self.periodic_pass();
        self.queue_writer.sync_when_due(&self.base, &self.flusher);
    }

    /// What can wait for the next pass. Under load a pass has many units for each queue to write, not a few.
    fn periodic_pass(&self) {
        self.queue_writer.write_due(&self.base, &self.appender, || self.preallocate());
        let (checkpoint_due, clean_due) = self.keeper.due(&self.base);
        if checkpoint_due {
            self.base.stats.sample(self.base.clock.now_millis());
            if let Err(error) = self.write_checkpoints()
                && self.base.complaints.checkpoint.is_due(self.base.clock.nanos())
            {
                error!(%error, "cannot write the checkpoint");
            }
        }
        if clean_due {
            self.clean();
        }
    }

    fn preallocate(&self) {
        self.keeper.preallocate(&self.base, self.flushed_offset());
    }

    /// Makes everything that is in the log now durable and tells those who wait for it.
    pub fn flush_log(&self) {
        self.flusher.flush(&self.base);
    }

    /// Answers those whose message did not get to the disk in time.
    pub fn expire_waiters(&self) {
        self.flusher.progress.expire(&self.base.clock, &*self.base.arrivals);
    }

    /// Brings the index up to where the log ends now; whether it was behind.
    pub fn build_index(&self) -> bool {
        self.indexer.build(&self.base)
    }

    /// One tick of the cleaning.
    pub fn clean(&self) {
        if self.retention.tick(&self.base, self.flushed_offset()) {
            // The log lost its oldest files: so do the ConsumeQueues and the index.
            self.queue_writer.expire(&self.base);
            if let Err(error) = self.indexer.expire(self.base.log.min_offset()) {
                error!(%error, "cannot expire the index");
            }
        }
    }

    /// DELETE_EXPIRED_COMMITLOG: expired files go now, and for some ticks after.
    pub fn delete_expired_now(&self) {
        self.retention.delete_by_hand();
        self.clean();
    }

    /// As long as `goes_on` says so; false when some units are still only in memory.
    pub(super) fn write_queues_while(&self, goes_on: impl Fn() -> bool) -> bool {
        self.queue_writer.write_while(&self.base, &self.appender, |turns| {
            if turns > 0 && turns.is_multiple_of(QUEUES_PER_PASS) {
                self.preallocate();
            }
            goes_on()
        })
    }

    pub(super) fn write_checkpoints(&self) -> io::Result<()> {
        self.base.checkpoints.write(self.min_phy_offset(), self.queue_writer.written(&self.base))
    }

    /// Forgets a topic's queues and removes their files. Its messages stay in the log until they expire.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        self.delete_queues(topic, &|_| true)
    }

    /// As `delete_topic`, of some of its queues.
    pub(super) fn delete_queues(&self, topic: &str, is_going: &dyn Fn(&ConsumeQueue) -> bool) -> Result<(), StoreError> {
        let failed = || at_path("checkpoint", &self.base.root);
        // Marks that need the topic's queues would be worth nothing without them, and a start after a kill would read the whole log. On a
        // full disk they stay where they are: it must not keep the queues.
        self.write_queues_while(|| true);
        self.queue_writer.sync(&self.base, &self.flusher).map_err(failed())?;
        self.queue_writer.delete_queues(&self.base, topic, is_going, || self.preallocate())?;
        // A recovery that met the topic's old messages would take them for those of a topic of the same name made since.
        self.write_queues_while(|| true);
        self.queue_writer.sync(&self.base, &self.flusher).map_err(failed())?;
        self.write_checkpoints().and_then(|()| self.base.checkpoints.sync_position()).map_err(failed())
    }
}
