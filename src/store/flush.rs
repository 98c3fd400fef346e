// SPDX-License-Identifier: Apache-2.0
//! Making the log durable: on a cadence (ASYNC_FLUSH), or in groups for everyone who waits (SYNC_FLUSH).
//!
//! One flusher. While it is in fdatasync the next group gathers, so a group is as large as the load. A sync that failed is
//! never tried again: the store takes no more puts.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::ArrivalListener;
use super::base::Base;
use super::consume_queue::ConsumeQueue;
use super::progress::Progress;
use super::put::Needs;
use crate::runtime::{Parker, Shutdown, or_abort};

const PAGE_BYTES: i64 = 4096;

/// A SYNC_FLUSH flusher that nobody rings looks this often for messages that nobody waits for.
const IDLE_GROUP_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Flusher {
    pub(super) progress: Progress,
    /// Messages that are in the log but not readable yet, in its order: with SYNC_FLUSH until their group is on the disk.
    unseen: Mutex<VecDeque<Unseen>>,
    /// One flush at a time.
    flushing: Mutex<()>,
    bell: Mutex<Parker>,
}

/// A message of a queue that readers have not been shown yet.
pub(super) struct Arrival {
    pub(super) queue: Arc<ConsumeQueue>,
    /// The queue's after this message.
    pub(super) max_offset: i64,
    pub(super) tags_code: i64,
    pub(super) store_timestamp: i64,
}

impl Arrival {
    /// Makes the message readable, and says so.
    pub(super) fn publish(&self, listener: &dyn ArrivalListener) {
        self.queue.publish(self.max_offset);
        listener.arriving(&self.queue.topic, self.queue.queue_id, self.max_offset, self.tags_code, self.store_timestamp);
    }
}

/// A message that becomes readable when `Progress::visible_end` comes to its end.
pub(super) struct Unseen {
    pub(super) end: i64,
    pub(super) arrival: Arrival,
}

impl Flusher {
    pub(super) fn new(flushed: i64, visible: Needs) -> Self {
        Self { progress: Progress::new(flushed, visible), unseen: Mutex::default(), flushing: Mutex::new(()), bell: Mutex::default() }
    }

    pub(super) fn set_bell(&self, bell: Parker) {
        *self.bell.lock() = bell;
    }

    pub(super) fn ring(&self) {
        self.bell.lock().unpark();
    }

    /// The messages that nobody may read yet, for who holds the append lock.
    pub(super) fn unseen(&self) -> MutexGuard<'_, VecDeque<Unseen>> {
        self.unseen.lock()
    }

    pub(super) fn run(&self, base: &Base, shutdown: &Shutdown) {
        let bell = self.bell.lock().clone();
        let mut last_thorough_nanos = base.clock.nanos();
        while !shutdown.has_begun() && !base.is_shut_down() {
            if base.sync_flush {
                let nothing_to_do = self.progress.flushed() == base.log.max_offset() || base.is_poisoned();
                if nothing_to_do && !self.progress.wants_flush() {
                    base.clock.park(&bell, IDLE_GROUP_INTERVAL);
                }
                self.flush(base);
                continue;
            }
            let config = base.config.load_full();
            base.clock.park(&bell, Duration::from_millis(config.flush_interval_commit_log));
            let now = base.clock.nanos();
            let thorough = now - last_thorough_nanos >= config.flush_commit_log_thorough_interval * 1_000_000;
            let dirty_pages = base.log.max_offset() / PAGE_BYTES - self.progress.flushed() / PAGE_BYTES;
            if thorough || dirty_pages >= i64::from(config.flush_commit_log_least_pages) {
                last_thorough_nanos = if thorough { now } else { last_thorough_nanos };
                self.flush(base);
            }
        }
    }

    /// Makes everything that is in the log now durable and tells those who wait for it.
    pub(super) fn flush(&self, base: &Base) {
        // Whoever calls: messages would never be shown, and producers never answered.
        or_abort("a flush", || self.flush_once(base));
    }

    fn flush_once(&self, base: &Base) {
        let _one_at_a_time = self.flushing.lock();
        let flushed = self.progress.flushed();
        // In this order, so that the time is never that of a message behind the flushed end.
        let store_timestamp = base.last_store_timestamp.load(Ordering::Acquire);
        let end = base.log.max_offset();
        if end > flushed && !base.is_poisoned() {
            match sync_files(base, flushed, end) {
                Ok(()) => {
                    self.progress.set_flushed(end);
                    base.checkpoints.log_is_synced(store_timestamp);
                }
                Err(error) => base.poison(&error),
            }
        }
        self.settle(base);
    }

    /// A slave's log ends here; those who waited for it are told.
    pub(super) fn replicated(&self, base: &Base, replica: &str, end: i64) {
        self.progress.set_replicated(replica, end, base.log.max_offset());
        self.settle(base);
    }

    /// What follows from a watermark that has moved: messages are readable, and producers answered.
    pub(super) fn settle(&self, base: &Base) {
        if !self.progress.is_visible_at_once() {
            self.publish_visible(base);
        }
        self.progress.settle(base.is_poisoned(), &*base.arrivals);
    }

    /// An offset that a consumer has seen must never be given out again, whatever fails: a message that may be lost is not readable.
    fn publish_visible(&self, base: &Base) {
        let visible_end = self.progress.visible_end();
        let readable: Vec<Unseen> = {
            let mut unseen = self.unseen.lock();
            let count = unseen.partition_point(|message| message.end <= visible_end);
            unseen.drain(..count).collect()
        };
        // In no round: the pulls that this ends run on their connections' tasks, and the producers' answers do not wait for them.
        for Unseen { arrival, .. } in &readable {
            arrival.publish(&*base.arrivals);
        }
    }
}

fn sync_files(base: &Base, from: i64, to: i64) -> io::Result<()> {
    for file in base.log.files.files().iter() {
        if file.end_offset() > from && file.start_offset() < to && !file.is_read_only() {
            file.sync()?;
        }
    }
    Ok(())
}
