// SPDX-License-Identifier: Apache-2.0
//! The store's only door: opening, stopping, and what every part of the store shares.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use arc_swap::ArcSwap;
use ferrocket_protocol::message::MessageView;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::checkpoint::{self, Checkpoint, CheckpointFile, Indexed, Mark, Position, PositionFile};
use super::commit_log::{CommitLog, LogTail};
use super::consume_queue::ConsumeQueue;
use super::dispatch::{DispatchRule, is_dispatched};
use super::figures::StoreFigures;
use super::fs::{DiskUsage, Fs, FsLock};
use super::index::Index;
use super::keep::Keeper;
use super::mapped_file::AppendBy;
use super::mapped_file_queue::MappedFileQueue;
use super::progress::Waiters;
use super::queue_table::QueueTable;
use super::recover::Recovered;
use super::stats::StoreStats;
use super::{ArrivalListener, FlushDiskType, StoreConfig, StoreError, at_path};
use crate::runtime::{Parker, Runtime, Seldom, SharedClock};

/// A stop writes ConsumeQueues for so long. Files of new queues cost up to 0.3 ms each, and the whole stop has 4.5 s: what is not
/// written is made from the log again.
const CLOSE_QUEUES_NANOS: u64 = 2_000_000_000;
/// And it syncs them when they are no more than these: 25 us each, together with all others, when their files are new.
const CLOSE_SYNCED_MAX: usize = 40_000;
/// A start writes ConsumeQueues that it made from the log for so long; the keeper writes the rest.
const OPEN_QUEUES_NANOS: u64 = 200_000_000;

pub struct MessageStore {
    pub(super) config: ArcSwap<StoreConfig>,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) clock: SharedClock,
    pub(super) arrivals: Arc<dyn ArrivalListener>,
    pub(super) root: PathBuf,
    pub(super) log: CommitLog,
    pub(super) queues: QueueTable,
    pub(super) appender: Mutex<Appender>,
    pub(super) sync_flush: bool,
    /// The log is durable up to here.
    pub(super) flushed: AtomicI64,
    pub(super) waiters: Waiters,
    /// With SYNC_FLUSH: messages that become readable when their group is on the disk.
    pub(super) unseen: Mutex<VecDeque<Unseen>>,
    /// One flush at a time.
    pub(super) flushing: Mutex<()>,
    pub(super) keeper: Mutex<Keeper>,
    /// One sync of the ConsumeQueues at a time: each speaks for all that were written before it.
    pub(super) syncing_queues: Mutex<()>,
    pub(super) index: Index,
    pub(super) checkpoint: Mutex<CheckpointState>,
    pub(super) health: Health,
    pub(super) complaints: Complaints,
    pub(super) stats: StoreStats,
    pub(super) flush_bell: Mutex<Parker>,
    pub(super) keeper_bell: Mutex<Parker>,
    /// The keeper wants to run when the log gets this long.
    pub(super) keeper_wanted_at: AtomicI64,
    pub(super) last_store_timestamp: AtomicI64,
    /// When the present put took the append lock, by the wall clock; 0 while nobody has it.
    pub(super) put_began_millis: AtomicI64,
    /// Of the root and of the directories of the log.
    locks: Mutex<Vec<Box<dyn FsLock>>>,
}

/// What the holder of the append lock may change.
pub(super) struct Appender {
    pub(super) tail: LogTail,
    pub(super) last_record: i64,
    pub(super) last_store_timestamp: i64,
    /// Queues with units that are only in memory.
    pub(super) dirty: Vec<Arc<ConsumeQueue>>,
}

impl Appender {
    /// The queue has a unit that is only in memory.
    pub(super) fn note_unwritten(&mut self, queue: &Arc<ConsumeQueue>) {
        if !queue.dirty.swap(true, Ordering::Relaxed) {
            self.dirty.push(Arc::clone(queue));
        }
    }
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
        self.queue.show(self.max_offset);
        listener.arriving(&self.queue.topic, self.queue.queue_id, self.max_offset, self.tags_code, self.store_timestamp);
    }
}

/// A message that becomes readable when the log is durable up to its end.
pub(super) struct Unseen {
    pub(super) end: i64,
    pub(super) arrival: Arrival,
}

pub(super) struct CheckpointState {
    pub(super) file: CheckpointFile,
    pub(super) values: Checkpoint,
    pub(super) position_file: PositionFile,
    pub(super) position: Position,
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
    pub(super) manual_delete_ticks: AtomicU32,
}

/// What goes wrong again and again is said now and then.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    pub(super) ahead: Seldom,
    pub(super) append: Seldom,
    pub(super) checkpoint: Seldom,
    pub(super) queue_sync: Seldom,
    pub(super) damaged: Seldom,
    /// Messages by queue number and offset that were found damaged, and were looked for in the log.
    pub(super) looked_for: Mutex<HashSet<(u32, i64)>>,
}

impl MessageStore {
    /// Locks the directory, loads it and recovers.
    pub fn open(
        config: StoreConfig,
        fs: Arc<dyn Fs>,
        clock: SharedClock,
        arrivals: Arc<dyn ArrivalListener>,
    ) -> Result<Arc<Self>, StoreError> {
        let began = clock.nanos();
        let root = config.store_path_root_dir.clone();
        fs.create_dir_all(&root).map_err(at_path("create directory", &root))?;
        let lock_path = root.join(checkpoint::LOCK_FILE);
        let lock = fs.lock(&lock_path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StoreError::Locked { path: root.clone(), key: "storePathRootDir" },
            _ => at_path("lock", &lock_path)(error),
        })?;
        let mut locks = vec![lock];
        locks.extend(lock_log(fs.as_ref(), &config)?);
        let orderly = !fs.exists(&root.join(checkpoint::ABORT_FILE));
        let read_only_dirs = config.read_only_commit_log_store_paths.clone();
        let files = MappedFileQueue::load(Arc::clone(&fs), config.commit_log_dirs(), read_only_dirs, config.mapped_file_size_commit_log)?;
        let sync_flush = config.flush_disk_type == FlushDiskType::Sync;
        let log = CommitLog::new(files, if sync_flush { AppendBy::Write } else { AppendBy::Mapping });
        let dispatch = DispatchRule::new(config.delay_level_millis.clone());
        let queues = QueueTable::load(Arc::clone(&fs), &root, config.consume_queue_file_bytes(), dispatch)?;
        let (checkpoint_file, values) =
            CheckpointFile::open(fs.as_ref(), &root).map_err(at_path("open", &root.join(checkpoint::CHECKPOINT_FILE)))?;
        let (position_file, position) =
            PositionFile::open(fs.as_ref(), &root).map_err(at_path("open", &root.join(checkpoint::POSITION_FILE)))?;
        let recovered = super::recover::recover(fs.as_ref(), &config, &log, &queues, &values, position.as_ref(), orderly)?;
        let Recovered { end, last_record, last_store_timestamp, redispatched, synced } = recovered;
        info!(end, orderly, redispatched = redispatched.len(), millis = (clock.nanos() - began) / 1_000_000, "store recovered");
        let rebuilt = !redispatched.is_empty();
        let tail = log.set_end(end);
        let boot_id = fs.boot_id();
        let same_boot = !boot_id.is_empty() && position.as_ref().is_some_and(|position| position.boot == hash_of(&boot_id));
        let index = Index::load(Arc::clone(&fs), &config, &log, values.index_msg_timestamp, orderly || same_boot)?;
        let appender = Appender { tail, last_record, last_store_timestamp, dirty: redispatched };
        let position = Position { clean: false, boot: hash_of(&boot_id), synced, ..Position::default() };
        let store = Arc::new(Self {
            config: ArcSwap::from_pointee(config),
            clock,
            arrivals,
            log,
            queues,
            appender: Mutex::new(appender),
            sync_flush,
            // Recovered bytes may still be only in the page cache: the first flush covers their file.
            flushed: AtomicI64::new(synced.mark.position.clamp(0, end)),
            waiters: Waiters::default(),
            unseen: Mutex::default(),
            flushing: Mutex::new(()),
            keeper: Mutex::new(Keeper::new(!orderly || rebuilt)),
            syncing_queues: Mutex::new(()),
            index,
            checkpoint: Mutex::new(CheckpointState { file: checkpoint_file, values, position_file, position }),
            health: Health::default(),
            complaints: Complaints::default(),
            stats: StoreStats::default(),
            flush_bell: Mutex::default(),
            keeper_bell: Mutex::default(),
            keeper_wanted_at: AtomicI64::new(end + 1),
            last_store_timestamp: AtomicI64::new(last_store_timestamp),
            put_began_millis: AtomicI64::new(0),
            locks: Mutex::new(locks),
            root,
            fs,
        });
        store.stats.boot_millis.store(store.clock.now_millis(), Ordering::Relaxed);
        // From here on the directory counts as not stopped in order.
        store.mark_running().map_err(at_path("write to", &store.root))?;
        if sync_flush {
            // What is readable must be durable, also what a killed process left.
            store.flush_log();
        }
        let until = store.clock.nanos() + OPEN_QUEUES_NANOS;
        store.write_queues_while(|| store.clock.nanos() < until);
        store.write_checkpoints().map_err(at_path("write to", &store.root))?;
        store.measure_disk();
        Ok(store)
    }

    fn mark_running(&self) -> io::Result<()> {
        let abort = self.fs.create(&self.root.join(checkpoint::ABORT_FILE))?;
        abort.write_at(std::process::id().to_string().as_bytes(), 0)?;
        {
            let mut checkpoint = self.checkpoint.lock();
            let position = checkpoint.position.clone();
            checkpoint.position_file.write(&position)?;
            checkpoint.position_file.sync()?;
        }
        self.fs.sync_dir(&self.root)
    }

    /// Starts the threads that flush, write ahead and clean, and the one that none of them can hold up.
    pub fn start(self: &Arc<Self>, runtime: &Runtime) -> io::Result<()> {
        *self.flush_bell.lock() = runtime.parker();
        *self.keeper_bell.lock() = runtime.parker();
        let (store, shutdown) = (Arc::clone(self), runtime.shutdown().clone());
        runtime.thread("store-flush", move || store.run_flusher(&shutdown))?;
        let (store, shutdown) = (Arc::clone(self), runtime.shutdown().clone());
        runtime.thread("store-keeper", move || store.run_keeper(&shutdown))?;
        let (store, shutdown, bell) = (Arc::clone(self), runtime.shutdown().clone(), runtime.parker());
        runtime.thread("store-index", move || store.run_indexer(&shutdown, &bell))?;
        let (store, shutdown, bell) = (Arc::clone(self), runtime.shutdown().clone(), runtime.parker());
        self.set_timer_bell(&bell);
        runtime.thread("store-timer", move || store.run_timer(&shutdown, &bell))?;
        Ok(())
    }

    /// Refuses further puts, writes and syncs everything, and leaves the directory as an orderly Java stop does.
    pub fn shutdown(&self) -> Result<(), StoreError> {
        if self.health.shutdown.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // A put that has passed the check is let finish; none begins after it.
        drop(self.appender.lock());
        let failed = at_path("close the store in", &self.root);
        self.flush_log();
        let result = self.close_queues().and_then(|written| self.close_index().and_then(|()| self.close_files(written)));
        self.locks.lock().clear();
        result.map_err(failed)?;
        if self.health.poisoned.load(Ordering::SeqCst) {
            return Err(StoreError::Poisoned);
        }
        Ok(())
    }

    /// Whether every unit is on the disk.
    fn close_queues(&self) -> io::Result<bool> {
        let until = self.clock.nanos() + CLOSE_QUEUES_NANOS;
        let written = self.write_queues_while(|| self.clock.nanos() < until);
        if self.clock.nanos() >= until || self.unsynced_queue_count() > CLOSE_SYNCED_MAX {
            info!("not all ConsumeQueues are on the disk: the next start makes from the log what is missing");
            return Ok(false);
        }
        self.sync_queues()?;
        Ok(written)
    }

    fn close_files(&self, queues_written: bool) -> io::Result<()> {
        self.log.discard_prepared()?;
        self.log.release_ahead()?;
        let in_order = queues_written && !self.health.poisoned.load(Ordering::SeqCst);
        self.checkpoint.lock().position.clean = in_order;
        self.write_checkpoints()?;
        {
            let checkpoint = self.checkpoint.lock();
            checkpoint.file.sync()?;
            checkpoint.position_file.sync()?;
        }
        if in_order {
            self.fs.remove_file(&self.root.join(checkpoint::ABORT_FILE))?;
            self.fs.sync_dir(&self.root)?;
        }
        Ok(())
    }

    /// Takes over the live part of a changed configuration.
    pub fn reconfigure(&self, config: StoreConfig) {
        self.config.store(Arc::new(config));
        self.keeper_bell.lock().unpark();
    }

    pub fn config(&self) -> Arc<StoreConfig> {
        self.config.load_full()
    }

    /// Whether a put would be taken now.
    pub fn is_writable(&self) -> bool {
        let health = &self.health;
        ![&health.shutdown, &health.poisoned, &health.disk_full, &health.queue_error].iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// Why a put would be refused now, for people; `None` when it would be taken.
    pub fn unwritable_why(&self) -> Option<&'static str> {
        let health = &self.health;
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
        held_millis > 0 && held_millis > self.config.load().os_page_cache_busy_timeout_millis
    }

    /// How long the present put has held the append lock. Java's lockTimeMills; 0 when nobody has it.
    pub fn append_lock_millis(&self) -> u64 {
        match self.put_began_millis.load(Ordering::Relaxed) {
            0 => 0,
            began => (self.clock.now_millis() - began).max(0) as u64,
        }
    }

    /// How much of the log the message index does not have yet. ConsumeQueues have their units with the records.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        self.index.behind_bytes(self.log.max_offset())
    }

    pub fn max_phy_offset(&self) -> i64 {
        self.log.max_offset()
    }

    pub fn min_phy_offset(&self) -> i64 {
        self.log.min_offset()
    }

    pub fn flushed_offset(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// All (topic, queue id) that have a ConsumeQueue.
    pub fn queues(&self) -> Vec<(Arc<str>, i32)> {
        self.queues.all().iter().map(|queue| (Arc::clone(&queue.topic), queue.queue_id)).collect()
    }

    /// Those of one topic.
    pub fn queue_ids(&self, topic: &str) -> Vec<i32> {
        self.queues.of_topic(topic).iter().map(|queue| queue.queue_id).collect()
    }

    /// Topics that have a ConsumeQueue.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.queues.topics()
    }

    /// Forgets a topic's queues and removes their files. Its messages stay in the log until they expire.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        self.destroy_queues(topic)?;
        // A recovery that met the topic's old messages would take them for those of a topic of the same name made since.
        self.write_queues();
        let failed = || at_path("checkpoint", &self.root);
        self.sync_queues().map_err(failed())?;
        self.write_checkpoints().and_then(|()| self.checkpoint.lock().position_file.sync()).map_err(failed())
    }

    fn destroy_queues(&self, topic: &str) -> Result<(), StoreError> {
        // The keeper must not write a queue's file back while its directory goes.
        let mut keeper = self.keeper.lock();
        keeper.forget_mark();
        for queue in self.queues.of_topic(topic) {
            queue.destroy(&self.queues.files).map_err(at_path("remove", queue.dir()))?;
            self.queues.remove_queue(&queue);
        }
        // A name that may have no directory has none.
        let Some(dir) = self.queues.files.topic_dir(topic) else { return Ok(()) };
        if self.fs.exists(&dir) {
            match self.fs.remove_dir(&dir) {
                // Something else lies in it: as in Java it stays.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => other.map_err(at_path("remove", &dir))?,
            }
            self.fs.sync_dir(self.queues.files.root()).map_err(at_path("sync", self.queues.files.root()))?;
        }
        Ok(())
    }

    /// How the store stands. Reads the first record of the log, which may wait for the disk; an error says that it could not.
    pub fn figures(&self) -> Result<StoreFigures, StoreError> {
        Ok(StoreFigures {
            unwritable_why: self.unwritable_why().map(Cow::Borrowed),
            commit_log_disks: self.log.files.dirs().iter().map(|dir| (dir.clone(), self.used_ratio(dir))).collect(),
            consume_queue_disk_used: self.used_ratio(self.queues.files.root()),
            disk: self.disk_capacity(),
            min_offset: self.min_phy_offset(),
            max_offset: self.max_phy_offset(),
            flushed_offset: self.flushed_offset(),
            index_behind_bytes: self.dispatch_behind_bytes(),
            append_lock_millis: self.append_lock_millis(),
            earliest_store_millis: self.earliest_store_time()?,
            ..self.stats.figures(self.clock.now_millis())
        })
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

    /// Used parts of the disks: for SERVICE_NOT_AVAILABLE's remark.
    pub fn disk_use(&self) -> DiskUse {
        let dirs = self.log.files.dirs();
        DiskUse {
            commit_log: dirs.iter().map(|dir| self.used_ratio(dir)).fold(f64::MAX, f64::min),
            consume_queue: self.used_ratio(self.queues.files.root()),
            index: self.used_ratio(&self.root),
        }
    }

    /// Of the disk that the store's root is on.
    pub fn disk_capacity(&self) -> Option<DiskUsage> {
        self.fs.disk_usage(&self.root).ok()
    }
}

/// The log may lie outside the root, where a broker with another root would write over it. A broker of the original takes every file
/// there for a part of the log, so the directories themselves are locked.
fn lock_log(fs: &dyn Fs, config: &StoreConfig) -> Result<Vec<Box<dyn FsLock>>, StoreError> {
    let mut locks = Vec::new();
    let mut dirs = config.commit_log_dirs();
    dirs.sort();
    dirs.dedup();
    for dir in dirs.iter().filter(|dir| !config.read_only_commit_log_store_paths.contains(dir)) {
        fs.create_dir_all(dir).map_err(at_path("create directory", dir))?;
        match fs.lock_dir(dir) {
            Ok(lock) => locks.push(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(StoreError::Locked { path: dir.clone(), key: "storePathCommitLog" });
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                warn!(dir = %dir.display(), "this file system cannot lock a directory: nothing keeps another broker from writing to this log");
            }
            Err(error) => return Err(at_path("lock", dir)(error)),
        }
    }
    Ok(locks)
}

/// Used parts of the disks that the CommitLog (the emptiest of its paths), the ConsumeQueues and the index are on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskUse {
    pub commit_log: f64,
    pub consume_queue: f64,
    pub index: f64,
}

pub(super) fn hash_of(text: &str) -> u64 {
    // FNV-1a: only ever compared with itself.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

impl Mark {
    /// The mark after the record that starts at `last_record` and ends at `position`.
    pub(super) fn at(log: &CommitLog, position: i64, last_record: i64) -> io::Result<Self> {
        Ok(match log.crc(last_record, position)? {
            Some(last_record_crc) if last_record >= 0 => Self { position, last_record, last_record_crc },
            _ => Self { position, ..Self::default() },
        })
    }
}

impl Indexed {
    pub(super) fn at(log: &CommitLog, queues: &QueueTable, position: i64, last_record: i64) -> io::Result<Self> {
        let is_deleted = |record: &MessageView<'_>| is_dispatched(record.sys_flag) && queues.get(record.topic, record.queue_id).is_none();
        let is_deleted = log.with_record(last_record, is_deleted)?.unwrap_or(false);
        let left = || queues.all().iter().filter(|queue| queue.has_files()).count() as u32;
        Ok(Self { mark: Mark::at(log, position, last_record)?, queues_left: is_deleted.then(left) })
    }
}
