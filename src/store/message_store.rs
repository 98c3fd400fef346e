// SPDX-License-Identifier: Apache-2.0
//! The store's only door: it joins the parts, and says how they are.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::appender::Appender;
use super::base::Base;
use super::clean::{Retention, emptiest};
use super::figures::StoreFigures;
use super::flush::Flusher;
use super::followers::Followers;
use super::fs::{DiskUsage, FsLock};
use super::index::Indexer;
use super::keep::LogKeeper;
use super::queue_writes::QueueWriter;
use super::{IndexType, QueryMax, QueryResult, StoreConfig, StoreError};

/// Each part owns its locks; `ARCHITECTURE.md` has their order.
pub struct MessageStore {
    pub(super) base: Base,
    pub(super) appender: Appender,
    pub(super) flusher: Flusher,
    pub(super) queue_writer: QueueWriter,
    pub(super) keeper: LogKeeper,
    pub(super) retention: Retention,
    pub(super) indexer: Indexer,
    pub(super) followers: Followers,
    /// Of the root and of the directories of the log, while the store is open.
    directories: Mutex<Vec<Box<dyn FsLock>>>,
}

impl MessageStore {
    pub(super) fn join(
        base: Base,
        appender: Appender,
        flusher: Flusher,
        queue_writer: QueueWriter,
        keeper: LogKeeper,
        indexer: Indexer,
        directories: Vec<Box<dyn FsLock>>,
    ) -> Arc<Self> {
        let (retention, followers, directories) = (Retention::default(), Followers::default(), Mutex::new(directories));
        Arc::new(Self { base, appender, flusher, queue_writer, keeper, retention, indexer, followers, directories })
    }

    /// Another process may open them.
    pub(super) fn leave_directories(&self) {
        self.directories.lock().clear();
    }

    /// Takes over the live part of a changed configuration.
    pub fn reconfigure(&self, config: StoreConfig) {
        self.flusher.progress.set_wants_replicas(config.copies.may_need_slaves());
        self.base.config.store(Arc::new(config));
        self.keeper.ring();
    }

    pub fn config(&self) -> Arc<StoreConfig> {
        self.base.config.load_full()
    }

    /// Whether a put would be taken now.
    pub fn is_writable(&self) -> bool {
        let health = &self.base.health;
        ![&health.shutdown, &health.poisoned, &health.disk_full, &health.queue_error].iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// Why a put would be refused now, for people; `None` when it would be taken.
    pub fn unwritable_why(&self) -> Option<&'static str> {
        let health = &self.base.health;
        let reasons = [
            (&health.shutdown, "the store is being closed"),
            (&health.poisoned, "a write or sync of its data failed: mend the disk and start the broker anew"),
            (&health.disk_full, "its disk is full"),
            (&health.queue_error, "ConsumeQueues cannot be written: see the log"),
        ];
        let flagged = reasons.into_iter().find(|(flag, _)| flag.load(Ordering::Relaxed)).map(|(_, why)| why);
        flagged.or_else(|| self.is_page_cache_busy().then_some("an append does not end: the disk hangs"))
    }

    /// Java's isOSPageCacheBusy: a put has held the append lock for longer than `osPageCacheBusyTimeOutMills`.
    pub fn is_page_cache_busy(&self) -> bool {
        let held_millis = self.append_lock_millis();
        // Nearly always nobody holds it, and then the configuration need not be asked.
        held_millis > 0 && held_millis > self.base.config.load().os_page_cache_busy_timeout_millis
    }

    /// How long the present put has held the append lock. Java's lockTimeMills; 0 when nobody has it.
    pub fn append_lock_millis(&self) -> u64 {
        match self.appender.began_millis() {
            0 => 0,
            began => (self.base.clock.now_millis() - began).max(0) as u64,
        }
    }

    /// How much of the log the message index does not have yet. ConsumeQueues have their units with the records.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        self.indexer.behind_bytes(self.base.log.max_offset())
    }

    /// Messages of a topic by key, stored within the times, oldest first. Keys are compared by hash only, as in Java: the
    /// client looks closer.
    pub fn query_message(&self, topic: &str, key: &str, max: QueryMax, begin: i64, end: i64, kind: IndexType) -> QueryResult {
        self.indexer.query(&self.base, topic, key, max, begin..=end, kind)
    }

    pub fn max_phy_offset(&self) -> i64 {
        self.base.log.max_offset()
    }

    pub fn min_phy_offset(&self) -> i64 {
        self.base.log.min_offset()
    }

    pub fn flushed_offset(&self) -> i64 {
        self.flusher.progress.flushed()
    }

    /// All (topic, queue id) that have a ConsumeQueue.
    pub fn queues(&self) -> Vec<(Arc<str>, i32)> {
        self.base.queues.all().iter().map(|queue| (Arc::clone(&queue.topic), queue.queue_id)).collect()
    }

    /// Those of one topic.
    pub fn queue_ids(&self, topic: &str) -> Vec<i32> {
        self.base.queues.of_topic(topic).iter().map(|queue| queue.queue_id).collect()
    }

    /// Topics that have a ConsumeQueue.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.base.queues.topics()
    }

    /// How the store stands. Reads the first record of the log, which may wait for the disk; an error says that it could not.
    pub fn figures(&self) -> Result<StoreFigures, StoreError> {
        let base = &self.base;
        Ok(StoreFigures {
            unwritable_why: self.unwritable_why().map(Cow::Borrowed),
            commit_log_disks: base.log.files.dirs().iter().map(|dir| (dir.clone(), base.used_ratio(dir))).collect(),
            consume_queue_disk_used: base.used_ratio(base.queues.files.root()),
            disk: self.disk_capacity(),
            min_offset: self.min_phy_offset(),
            max_offset: self.max_phy_offset(),
            flushed_offset: self.flushed_offset(),
            index_behind_bytes: self.dispatch_behind_bytes(),
            append_lock_millis: self.append_lock_millis(),
            earliest_store_millis: self.earliest_store_time()?,
            ..base.stats.figures(base.clock.now_millis())
        })
    }

    /// Used parts of the disks: for SERVICE_NOT_AVAILABLE's remark.
    pub fn disk_use(&self) -> DiskUse {
        let dirs = self.base.log.files.dirs();
        DiskUse {
            commit_log: emptiest(dirs.iter().map(|dir| self.base.used_ratio(dir))),
            consume_queue: self.base.used_ratio(self.base.queues.files.root()),
            index: self.base.used_ratio(&self.base.root),
        }
    }

    /// Of the disk that the store's root is on.
    pub fn disk_capacity(&self) -> Option<DiskUsage> {
        self.base.fs.disk_usage(&self.base.root).ok()
    }
}

/// Used parts of the disks that the CommitLog (the emptiest of its paths), the ConsumeQueues and the index are on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskUse {
    pub commit_log: f64,
    pub consume_queue: f64,
    pub index: f64,
}
