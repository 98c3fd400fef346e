// SPDX-License-Identifier: Apache-2.0
//! What every part of the store stands on: the log, the table of queues, and what is known of their health.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::{error, warn};

use super::checkpoint::Checkpoints;
use super::commit_log::CommitLog;
use super::fs::{Fs, is_failed_sync};
use super::queue_table::QueueTable;
use super::stats::StoreStats;
use super::{ArrivalListener, StoreConfig};
use crate::runtime::{Seldom, SharedClock};

/// Damaged messages that are not looked for in the log again: each look may read much of it.
const LOOKED_FOR_MAX: usize = 4096;

pub(super) struct Base {
    pub(super) config: ArcSwap<StoreConfig>,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) clock: SharedClock,
    pub(super) arrivals: Arc<dyn ArrivalListener>,
    pub(super) root: PathBuf,
    pub(super) log: CommitLog,
    pub(super) queues: QueueTable,
    /// SYNC_FLUSH: a message is readable, and its producer answered, when it is on the disk.
    pub(super) sync_flush: bool,
    pub(super) checkpoints: Checkpoints,
    pub(super) health: Health,
    pub(super) complaints: Complaints,
    pub(super) stats: StoreStats,
    /// Of the last record.
    pub(super) last_store_timestamp: AtomicI64,
}

/// Why puts are refused, if they are. Reads go on in every case but `shutdown`.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) shutdown: AtomicBool,
    /// A sync failed: what the kernel has dropped nobody can know, so nothing more is promised.
    pub(super) poisoned: AtomicBool,
    pub(super) disk_full: AtomicBool,
    /// ConsumeQueue units cannot be written.
    pub(super) queue_error: AtomicBool,
    /// The log is a copy of a master's: what is put would not be in the master's, and takes the place of what is.
    pub(super) is_copy: AtomicBool,
}

/// What goes wrong again and again is said now and then.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    pub(super) ahead: Seldom,
    pub(super) append: Seldom,
    pub(super) checkpoint: Seldom,
    pub(super) queue_sync: Seldom,
    pub(super) damaged: Seldom,
    pub(super) looked_for: LookedFor,
}

/// Messages by their queue's cache id and offset that were found damaged, and were looked for in the log.
#[derive(Debug, Default)]
pub(super) struct LookedFor {
    messages: Mutex<HashSet<(u32, i64)>>,
}

impl LookedFor {
    pub(super) fn contains(&self, message: (u32, i64)) -> bool {
        self.messages.lock().contains(&message)
    }

    pub(super) fn insert(&self, message: (u32, i64)) {
        let mut messages = self.messages.lock();
        if messages.len() >= LOOKED_FOR_MAX {
            messages.clear();
        }
        messages.insert(message);
    }
}

impl Base {
    pub(super) fn is_shut_down(&self) -> bool {
        self.health.shutdown.load(Ordering::Relaxed)
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.health.poisoned.load(Ordering::Acquire)
    }

    /// Of an error that may be anything.
    pub(super) fn poison_if_sync_failed(&self, error: &io::Error) {
        if is_failed_sync(error) {
            self.poison(error);
        }
    }

    pub(super) fn poison(&self, error: &io::Error) {
        if !self.health.poisoned.swap(true, Ordering::SeqCst) {
            error!(%error, "a sync failed: what the disk holds is unknown, no more messages are taken; reads go on");
        }
    }

    /// Used part of the disk under a path, -1 when it cannot be told.
    pub(super) fn used_ratio(&self, dir: &Path) -> f64 {
        match self.fs.disk_usage(dir) {
            Ok(usage) => usage.used_ratio(),
            Err(error) => {
                warn!(dir = %dir.display(), %error, "cannot tell how full the disk is");
                -1.0
            }
        }
    }
}
