// SPDX-License-Identifier: Apache-2.0
//! Making the log durable: on a cadence (ASYNC_FLUSH), or in groups for everyone who waits (SYNC_FLUSH).
//!
//! One flusher. While it is in fdatasync the next group gathers, so a group is as large as the load. A sync that failed is
//! never tried again: the store takes no more puts.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::error;

use super::fs::is_failed_sync;
use super::message_store::{MessageStore, Unseen};
use crate::runtime::{Shutdown, or_abort};

const PAGE_BYTES: i64 = 4096;

/// A SYNC_FLUSH flusher that nobody rings looks this often for messages that nobody waits for.
const IDLE_GROUP_INTERVAL: Duration = Duration::from_millis(500);

impl MessageStore {
    pub(super) fn run_flusher(&self, shutdown: &Shutdown) {
        let bell = self.flush_bell.lock().clone();
        let mut last_thorough_nanos = self.clock.nanos();
        while !shutdown.has_begun() && !self.health.shutdown.load(Ordering::Relaxed) {
            if self.sync_flush {
                let nothing_to_do = self.flushed_offset() == self.log.max_offset() || self.health.poisoned.load(Ordering::Acquire);
                if self.waiters.is_empty() && nothing_to_do {
                    self.clock.park(&bell, IDLE_GROUP_INTERVAL);
                }
                self.flush_log();
                continue;
            }
            let config = self.config.load_full();
            self.clock.park(&bell, Duration::from_millis(config.flush_interval_commit_log));
            let now = self.clock.nanos();
            let thorough = now - last_thorough_nanos >= config.flush_commit_log_thorough_interval * 1_000_000;
            let dirty_pages = self.log.max_offset() / PAGE_BYTES - self.flushed_offset() / PAGE_BYTES;
            if thorough || dirty_pages >= i64::from(config.flush_commit_log_least_pages) {
                last_thorough_nanos = if thorough { now } else { last_thorough_nanos };
                self.flush_log();
            }
        }
    }

    /// Makes everything that is in the log now durable and tells those who wait for it.
    pub fn flush_log(&self) {
        // Whoever calls: messages would never be shown, and producers never answered.
        or_abort("a flush", || self.flush_log_once());
    }

    fn flush_log_once(&self) {
        let _one_at_a_time = self.flushing.lock();
        let flushed = self.flushed.load(Ordering::Acquire);
        // In this order, so that the time is never that of a message behind the flushed end.
        let store_timestamp = self.last_store_timestamp.load(Ordering::Acquire);
        let end = self.log.max_offset();
        if end > flushed && !self.health.poisoned.load(Ordering::Acquire) {
            match self.sync_files(flushed, end) {
                Ok(()) => {
                    self.flushed.store(end, Ordering::Release);
                    self.checkpoint.lock().values.physic_msg_timestamp = store_timestamp;
                }
                Err(error) => self.poison(&error),
            }
        }
        if self.sync_flush {
            self.show_flushed();
        }
        self.answer_waiters();
    }

    fn sync_files(&self, from: i64, to: i64) -> io::Result<()> {
        for file in self.log.files.files().iter() {
            if file.end_offset() > from && file.start_offset() < to && !file.is_read_only() {
                file.sync()?;
            }
        }
        Ok(())
    }

    /// With SYNC_FLUSH a message is readable when it is durable: an offset that a consumer has seen is never given out again.
    fn show_flushed(&self) {
        let flushed = self.flushed.load(Ordering::Acquire);
        let shown: Vec<Unseen> = {
            let mut unseen = self.unseen.lock();
            let count = unseen.partition_point(|message| message.end <= flushed);
            unseen.drain(..count).collect()
        };
        // In no round: the pulls that this ends run on their connections' tasks, and the producers' answers do not wait for them.
        for Unseen { arrival, .. } in &shown {
            arrival.publish(&*self.arrivals);
        }
    }

    /// Of an error that may be anything.
    pub(super) fn poison_if_sync_failed(&self, error: &io::Error) {
        if is_failed_sync(error) {
            self.poison(error);
        }
    }

    fn poison(&self, error: &io::Error) {
        if !self.health.poisoned.swap(true, Ordering::SeqCst) {
            error!(%error, "a sync failed: what the disk holds is unknown, no more messages are taken; reads go on");
        }
    }
}
