// SPDX-License-Identifier: Apache-2.0
//! The life of a store: its directory is locked, loaded and recovered; its threads run; it is closed as an orderly Java stop closes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::appender::Appender;
use super::base::{Base, Complaints, Health};
use super::checkpoint::{self, CheckpointFile, Checkpoints, Position, PositionFile, hash_of};
use super::clean::measure_disk;
use super::commit_log::CommitLog;
use super::dispatch::DispatchRule;
use super::flush::Flusher;
use super::fs::{Fs, FsLock};
use super::index::Indexer;
use super::keep::LogKeeper;
use super::mapped_file::AppendBy;
use super::mapped_file_queue::MappedFileQueue;
use super::message_store::MessageStore;
use super::put::Needs;
use super::queue_ends;
use super::queue_table::QueueTable;
use super::queue_writes::QueueWriter;
use super::recover::{Recovered, RecoveryInput, recover};
use super::stats::StoreStats;
use super::{ArrivalListener, FlushDiskType, StoreConfig, StoreError, at_path};
use crate::runtime::{Runtime, SharedClock};

/// At most this long is spent writing ConsumeQueues at shutdown. Files of new queues cost up to 0.3 ms each, and the whole stop has
/// 4.5 s: what is not written is made from the log again.
const CLOSE_QUEUES_NANOS: u64 = 2_000_000_000;
/// And they are synced when there are no more than these: 25 us each, together with all others, when their files are new.
const CLOSE_SYNCED_MAX: usize = 40_000;
/// At most this long a stop looks at queues that it knows nothing of.
const CLOSE_LOOK_NANOS: u64 = 300_000_000;
/// At most this long a start writes ConsumeQueues that it made from the log; the keeper writes the rest.
const OPEN_QUEUES_NANOS: u64 = 200_000_000;

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
        let ends = queue_ends::read(fs.as_ref(), &root).map_err(at_path("read the ends of the ConsumeQueues in", &root))?;
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
        let left = RecoveryInput { checkpoint: &values, position: position.as_ref(), ends, orderly };
        let recovered = recover(fs.as_ref(), &config, &log, &queues, left)?;
        let Recovered { end, last_record, last_store_timestamp, redispatched, synced } = recovered;
        info!(end, orderly, redispatched = redispatched.len(), millis = (clock.nanos() - began) / 1_000_000, "store recovered");
        let rebuilt = !redispatched.is_empty();
        let tail = log.set_end(end);
        let boot_id = fs.boot_id();
        let same_boot = !boot_id.is_empty() && position.as_ref().is_some_and(|position| position.boot == hash_of(&boot_id));
        let indexer = Indexer::load(Arc::clone(&fs), &config, &log, values.index_msg_timestamp, orderly || same_boot)?;
        let appender = Appender::new(tail, last_record, last_store_timestamp, redispatched);
        let position = Position { clean: false, boot: hash_of(&boot_id), synced, ..Position::default() };
        let base = Base {
            config: ArcSwap::from_pointee(config),
            clock,
            arrivals,
            log,
            queues,
            sync_flush,
            checkpoints: Checkpoints::new(checkpoint_file, values, position_file, position),
            health: Health::default(),
            complaints: Complaints::default(),
            stats: StoreStats::default(),
            last_store_timestamp: AtomicI64::new(last_store_timestamp),
            root,
            fs,
        };
        base.stats.begin(base.clock.now_millis());
        // Recovered bytes may still be only in the page cache: the first flush covers their file.
        let flusher = Flusher::new(synced.mark.position.clamp(0, end), Needs { disk: sync_flush, replicas: 0 });
        flusher.progress.set_wants_replicas(base.config.load().copies.may_need_slaves());
        let queue_writer = QueueWriter::new(!orderly || rebuilt);
        let store = Self::join(base, appender, flusher, queue_writer, LogKeeper::new(end), indexer, locks);
        // From here on the directory counts as not stopped in order.
        store.mark_running().map_err(at_path("write to", &store.base.root))?;
        if sync_flush {
            // What is readable must be durable, also what a killed process left.
            store.flush_log();
        }
        let until = store.base.clock.nanos() + OPEN_QUEUES_NANOS;
        store.write_queues_while(|| store.base.clock.nanos() < until);
        store.write_checkpoints().map_err(at_path("write to", &store.base.root))?;
        measure_disk(&store.base);
        Ok(store)
    }

    fn mark_running(&self) -> io::Result<()> {
        let abort = self.base.fs.create(&self.base.root.join(checkpoint::ABORT_FILE))?;
        abort.write_at(std::process::id().to_string().as_bytes(), 0)?;
        self.base.checkpoints.mark_running()?;
        self.base.fs.sync_dir(&self.base.root)
    }

    /// Starts the threads that flush, keep the log and index it, and the one that none of them can hold up.
    pub fn start(self: &Arc<Self>, runtime: &Runtime) -> io::Result<()> {
        self.flusher.set_bell(runtime.parker());
        self.keeper.set_bell(runtime.parker());
        let (store, shutdown) = (Arc::clone(self), runtime.shutdown().clone());
        runtime.thread("store-flush", move || store.flusher.run(&store.base, &shutdown))?;
        let (store, shutdown) = (Arc::clone(self), runtime.shutdown().clone());
        runtime.thread("store-keeper", move || store.run_keeper(&shutdown))?;
        let (store, shutdown, bell) = (Arc::clone(self), runtime.shutdown().clone(), runtime.parker());
        runtime.thread("store-index", move || store.run_indexer(&shutdown, &bell))?;
        let (store, shutdown, bell) = (Arc::clone(self), runtime.shutdown().clone(), runtime.parker());
        self.flusher.progress.set_timer_bell(&bell);
        runtime.thread("store-timer", move || {
            store.flusher.progress.run_timer(&store.base.clock, &*store.base.arrivals, &shutdown, &bell);
        })?;
        Ok(())
    }

    /// Refuses further puts, writes and syncs everything, and leaves the directory as an orderly Java stop does.
    pub fn shutdown(&self) -> Result<(), StoreError> {
        if self.base.health.shutdown.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // A put that has passed the check is let finish; none begins after it.
        drop(self.appender.lock());
        let failed = at_path("close the store in", &self.base.root);
        self.flush_log();
        self.look_at_unknown_queues();
        let result = self.close_queues().and_then(|written| self.indexer.close(&self.base).and_then(|()| self.close_files(written)));
        self.leave_directories();
        result.map_err(failed)?;
        if self.base.is_poisoned() {
            return Err(StoreError::Poisoned);
        }
        Ok(())
    }

    /// Whether the directory counts as not stopped in order.
    pub fn next_start_recovers(&self) -> bool {
        self.base.fs.exists(&self.base.root.join(checkpoint::ABORT_FILE))
    }

    /// Where the next start must find the ends of queues that nobody used, as far as there is time: they are known from this stop on.
    fn look_at_unknown_queues(&self) {
        let until = self.base.clock.nanos() + CLOSE_LOOK_NANOS;
        for queue in self.base.queues.all() {
            if self.base.clock.nanos() >= until {
                break;
            }
            if queue.known_end().is_none()
                && let Err(error) = queue.ensure_loaded(&self.base.queues.files, &self.base.log)
            {
                warn!(topic = %queue.topic, queue_id = queue.queue_id, %error, "cannot load a ConsumeQueue");
            }
        }
    }

    /// Whether every unit is on the disk.
    fn close_queues(&self) -> io::Result<bool> {
        let until = self.base.clock.nanos() + CLOSE_QUEUES_NANOS;
        let written = self.write_queues_while(|| self.base.clock.nanos() < until);
        if self.base.clock.nanos() >= until || self.queue_writer.unsynced_count() > CLOSE_SYNCED_MAX {
            info!("not all ConsumeQueues are on the disk: the next start makes from the log what is missing");
            return Ok(false);
        }
        self.queue_writer.sync(&self.base, &self.flusher)?;
        Ok(written)
    }

    fn close_files(&self, queues_written: bool) -> io::Result<()> {
        let base = &self.base;
        base.log.discard_prepared()?;
        base.log.release_ahead()?;
        let in_order = queues_written && !base.is_poisoned();
        let written = self.queue_writer.written(base);
        if in_order {
            queue_ends::write(base.fs.as_ref(), &base.root, &written.mark, &base.queues)?;
        }
        base.checkpoints.close(base.log.min_offset(), written, in_order)?;
        if in_order {
            base.fs.remove_file(&base.root.join(checkpoint::ABORT_FILE))?;
            base.fs.sync_dir(&base.root)?;
            queue_ends::empty_lock(base.fs.as_ref(), &base.root)?;
        }
        Ok(())
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
