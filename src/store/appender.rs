// SPDX-License-Identifier: Apache-2.0
//! The append lock, and what its holder may change: the end of the log, and the queues that have units of it in memory only.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::commit_log::LogTail;
use super::consume_queue::ConsumeQueue;

pub(super) struct Appender {
    end: Mutex<LogEnd>,
    /// When the lock's present holder took it, by the wall clock; 0 while nobody has it.
    began_millis: AtomicI64,
}

pub(super) struct LogEnd {
    pub(super) tail: LogTail,
    /// Start of the last record; -1 without one.
    pub(super) last_record: i64,
    pub(super) last_store_timestamp: i64,
    /// Queues with units that are only in memory.
    unwritten: Vec<Arc<ConsumeQueue>>,
}

impl Appender {
    pub(super) fn new(tail: LogTail, last_record: i64, last_store_timestamp: i64, unwritten: Vec<Arc<ConsumeQueue>>) -> Self {
        let end = LogEnd { tail, last_record, last_store_timestamp, unwritten };
        Self { end: Mutex::new(end), began_millis: AtomicI64::new(0) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LogEnd> {
        self.end.lock()
    }

    /// Said by the holder of the lock, so that others see how long an append takes; 0 when it is done.
    pub(super) fn set_began_millis(&self, now_millis: i64) {
        self.began_millis.store(now_millis, Ordering::Relaxed);
    }

    pub(super) fn began_millis(&self) -> i64 {
        self.began_millis.load(Ordering::Relaxed)
    }
}

impl LogEnd {
    /// The queue has a unit that is only in memory.
    pub(super) fn note_unwritten(&mut self, queue: &Arc<ConsumeQueue>) {
        if !queue.is_unwritten.swap(true, Ordering::Relaxed) {
            self.unwritten.push(Arc::clone(queue));
        }
    }

    /// Whoever takes them writes them.
    pub(super) fn take_unwritten(&mut self) -> Vec<Arc<ConsumeQueue>> {
        let queues = std::mem::take(&mut self.unwritten);
        for queue in &queues {
            queue.is_unwritten.store(false, Ordering::Relaxed);
        }
        queues
    }
}
