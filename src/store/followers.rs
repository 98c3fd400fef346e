// SPDX-License-Identifier: Apache-2.0
//! The bell of those who follow the log's end: rung after each append, and heard by nobody most of the time. Knows no log.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use tokio::sync::Notify;

/// Whoever follows the log's end.
#[derive(Default)]
pub(super) struct Followers {
    count: AtomicUsize,
    /// One of them has seen the log's end, and waits.
    is_one_waiting: AtomicBool,
    bell: Notify,
}

impl Followers {
    /// The log has grown, and the append lock is free again. Without followers it costs one load of what hardly ever changes.
    pub(super) fn ring(&self) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        // The log's end was stored before this fence, and is loaded by a follower behind its own: either it sees the new end, or its wait is
        // seen here.
        fence(Ordering::SeqCst);
        if self.is_one_waiting.load(Ordering::Relaxed) && self.is_one_waiting.swap(false, Ordering::AcqRel) {
            self.bell.notify_waiters();
        }
    }

    /// Until dropped (`leave`).
    pub(super) fn join(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns when `has_grown`, which is asked after every ring.
    pub(super) async fn wait(&self, has_grown: impl Fn() -> bool) {
        loop {
            // Hears every ring from here on.
            let rung = self.bell.notified();
            self.is_one_waiting.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if has_grown() {
                return;
            }
            rung.await;
        }
    }
}
