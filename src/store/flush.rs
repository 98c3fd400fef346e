// SPDX-License-Identifier: Apache-2.0
//! Making the log durable: on a cadence (ASYNC_FLUSH), or in groups for everyone who waits (SYNC_FLUSH).
//!
//! One flusher. While it is in fdatasync the next group gathers, so a group is as large as the load. A sync that failed is
//! never tried again: the store takes no more puts.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::error;

use super::PutMessageStatus;
use super::message_store::{MessageStore, Unseen};
use crate::runtime::{Shutdown, or_abort};

const PAGE_BYTES: i64 = 4096;

/// A SYNC_FLUSH flusher that nobody rings looks this often for messages that nobody waits for.
const IDLE_GROUP_INTERVAL: Duration = Duration::from_millis(500);

/// So many answers leave together, if they are for one peer. With more the first would wait for the last.
const ANSWERS_PER_ROUND: usize = 64;

type Done = Box<dyn FnOnce(PutMessageStatus) + Send>;

struct Waiter {
    end: i64,
    deadline_nanos: u64,
    done: Done,
}

/// Puts that wait for their bytes to be durable.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: Mutex<Vec<Waiter>>,
}

impl Waiters {
    pub(super) fn push(&self, end: i64, deadline_nanos: u64, done: Done) {
        self.waiting.lock().push(Waiter { end, deadline_nanos, done });
    }

    fn take(&self, gone: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        self.waiting.lock().extract_if(.., |waiter| gone(waiter)).collect()
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

impl MessageStore {
    fn answer_waiters(&self, status: PutMessageStatus, gone: impl Fn(&Waiter) -> bool) {
        // Outside the lock: an answer may do anything, even put again.
        let mut waiters = self.waiters.take(gone).into_iter();
        while waiters.len() > 0 {
            self.arrivals.round(&mut || waiters.by_ref().take(ANSWERS_PER_ROUND).for_each(|waiter| (waiter.done)(status)));
        }
    }

    /// Answers those whose message did not get to the disk in time.
    pub(super) fn expire_waiters(&self, now_nanos: u64) {
        self.answer_waiters(PutMessageStatus::FlushDiskTimeout, |waiter| waiter.deadline_nanos <= now_nanos);
    }

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
        if self.health.poisoned.load(Ordering::Acquire) {
            // The messages are in the log, but nobody can say that they are on the disk.
            self.answer_waiters(PutMessageStatus::FlushDiskTimeout, |_| true);
            return;
        }
        let flushed = self.flushed.load(Ordering::Acquire);
        self.answer_waiters(PutMessageStatus::PutOk, |waiter| waiter.end <= flushed);
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
        for Unseen { queue, max_offset, tags_code, store_timestamp, .. } in &shown {
            queue.show(*max_offset);
            self.arrivals.arriving(&queue.topic, queue.queue_id, *max_offset, *tags_code, *store_timestamp);
        }
    }

    pub(super) fn poison(&self, error: &io::Error) {
        if !self.health.poisoned.swap(true, Ordering::SeqCst) {
            error!(%error, "a sync failed: what the disk holds is unknown, no more messages are taken; reads go on");
        }
    }
}
