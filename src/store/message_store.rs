// SPDX-License-Identifier: Apache-2.0
//! The store's only door: puts, and what every part of the store shares.
//!
//! A put is encoded outside the append lock; under it the record gets its offsets, is copied into the log and its unit pushed
//! to its ConsumeQueue, so that both are in one order. Locks are taken in the order: append, one queue's tail, leaf locks.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ferrocket_protocol::message::{
    MessageInner, MessageView, batch, encode_record, layout, patch_record, properties, property, record_bytes, tags_code_of,
};
use ferrocket_protocol::topic_names;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::checkpoint::{self, Checkpoint, CheckpointFile, Indexed, Mark, Position, PositionFile};
use super::commit_log::{AppendError, CommitLog, LogTail};
use super::consume_queue::{ColdPut, ConsumeQueue, Unit};
use super::flush::Waiters;
use super::fs::{DiskUsage, Fs, FsLock};
use super::index::Index;
use super::keep::Keeper;
use super::mapped_file::AppendBy;
use super::mapped_file_queue::MappedFileQueue;
use super::queue_table::QueueTable;
use super::record;
use super::recover::Recovered;
use super::stats::{PUTS_PER_TIMING, StoreStats};
use super::{ArrivalListener, FlushDiskType, PutMessageStatus, PutResult, StoreConfig, StoreError, at_path};
use crate::runtime::{Parker, Runtime, SharedClock};

/// A thread's encode buffer above this is given back after use: one message of the largest size must not be kept by every thread.
const ENCODE_BUFFER_KEPT_BYTES: usize = 512 * 1024;

/// Store times do not go back with a clock that is corrected by this much. One that was far ahead is believed again at once, as in
/// Java: otherwise every delayed message would count as overdue until the time it showed.
const CLOCK_STEP_BACK_MILLIS_MAX: i64 = 1_000;

/// A stop writes ConsumeQueues for so long. Files of new queues cost up to 0.3 ms each, and the whole stop has 4.5 s: what is not
/// written is made from the log again.
const CLOSE_QUEUES_NANOS: u64 = 2_000_000_000;
/// And it syncs them when they are no more than these: 25 us each, together with all others, when their files are new.
const CLOSE_SYNCED_MAX: usize = 40_000;
/// A start writes ConsumeQueues that it made from the log for so long; the keeper writes the rest.
const OPEN_QUEUES_NANOS: u64 = 200_000_000;

thread_local! {
    static ENCODE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    pub(super) stats: StoreStats,
    pub(super) flush_bell: Mutex<Parker>,
    pub(super) keeper_bell: Mutex<Parker>,
    /// The keeper wants to run when the log gets this long.
    pub(super) keeper_wanted_at: AtomicI64,
    pub(super) last_store_timestamp: AtomicI64,
    /// When the present put took the append lock, by the wall clock; 0 while nobody has it.
    pub(super) put_began_millis: AtomicI64,
    lock: Mutex<Option<Box<dyn FsLock>>>,
}

/// What the holder of the append lock may change.
pub(super) struct Appender {
    pub(super) tail: LogTail,
    pub(super) last_record: i64,
    pub(super) last_store_timestamp: i64,
    /// Queues with units that are only in memory.
    pub(super) dirty: Vec<Arc<ConsumeQueue>>,
}

pub(super) struct Unseen {
    pub(super) end: i64,
    pub(super) queue: Arc<ConsumeQueue>,
    pub(super) max_offset: i64,
    pub(super) tags_code: i64,
    pub(super) store_timestamp: i64,
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
            io::ErrorKind::WouldBlock => StoreError::Locked { path: root.clone() },
            _ => at_path("lock", &lock_path)(error),
        })?;
        let orderly = !fs.exists(&root.join(checkpoint::ABORT_FILE));
        let read_only_dirs = config.read_only_commit_log_store_paths.clone();
        let files = MappedFileQueue::load(Arc::clone(&fs), config.commit_log_dirs(), read_only_dirs, config.mapped_file_size_commit_log)?;
        let sync_flush = config.flush_disk_type == FlushDiskType::Sync;
        let log = CommitLog::new(files, if sync_flush { AppendBy::Write } else { AppendBy::Mapping });
        let queues = QueueTable::load(Arc::clone(&fs), &root, config.consume_queue_file_bytes())?;
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
            stats: StoreStats::default(),
            flush_bell: Mutex::default(),
            keeper_bell: Mutex::default(),
            keeper_wanted_at: AtomicI64::new(end + 1),
            last_store_timestamp: AtomicI64::new(last_store_timestamp),
            put_began_millis: AtomicI64::new(0),
            lock: Mutex::new(Some(lock)),
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

    /// Starts the threads that flush, write ahead and clean.
    pub fn start(self: &Arc<Self>, runtime: &Runtime) -> io::Result<()> {
        *self.flush_bell.lock() = runtime.parker();
        *self.keeper_bell.lock() = runtime.parker();
        let (store, shutdown) = (Arc::clone(self), runtime.shutdown().clone());
        runtime.thread("store-flush", move || fatal_when_it_panics(|| store.run_flusher(&shutdown)))?;
        let (store, shutdown) = (Arc::clone(self), runtime.shutdown().clone());
        runtime.thread("store-keeper", move || fatal_when_it_panics(|| store.run_keeper(&shutdown)))?;
        let (store, shutdown, bell) = (Arc::clone(self), runtime.shutdown().clone(), runtime.parker());
        runtime.thread("store-index", move || fatal_when_it_panics(|| store.run_indexer(&shutdown, &bell)))?;
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
        *self.lock.lock() = None;
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
        // The delay levels too are read at the start: whoever delivers must count with the same ones as whoever stores.
        let delay_level_millis = self.config.load().delay_level_millis.clone();
        self.config.store(Arc::new(StoreConfig { delay_level_millis, ..config }));
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

    /// One message into the log and its queue. Readable when this returns, or with SYNC_FLUSH when it is on the disk.
    pub fn put_message(&self, message: &MessageInner) -> PutResult {
        self.answered(self.put_one(message, true)).expect("a put that may wait")
    }

    /// As `put_message`, but `Err` when the queue is not in memory: then nothing was done.
    pub fn put_message_at_once(&self, message: &MessageInner) -> Result<PutResult, ColdPut> {
        self.answered(self.put_one(message, false))
    }

    /// A batch: `message.body` holds its items, which all go to one place of one queue, or nowhere.
    pub fn put_messages(&self, message: &MessageInner) -> PutResult {
        self.answered(self.put_batch(message, true)).expect("a put that may wait")
    }

    /// As `put_messages`, but `Err` when the queue is not in memory: then nothing was done.
    pub fn put_messages_at_once(&self, message: &MessageInner) -> Result<PutResult, ColdPut> {
        self.answered(self.put_batch(message, false))
    }

    fn answered(&self, put: Result<PutResult, NotPut>) -> Result<PutResult, ColdPut> {
        match put {
            Ok(put) => Ok(put),
            Err(NotPut::Refused(status)) => Ok(self.refuse(status)),
            Err(NotPut::Cold(cold)) => Err(cold),
        }
    }

    fn put_one(&self, message: &MessageInner, waiting: bool) -> Result<PutResult, NotPut> {
        self.check(message, message.body.len())?;
        let queue = self.queue_for(message, waiting)?;
        let units = [PendingUnit { start: 0, len: 0, tags_code: message.tags_code }];
        ENCODE_BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            encode_record(message, buffer);
            let [mut unit] = units;
            unit.len = buffer.len();
            let result = self.append(message, queue, buffer, &[unit]);
            if buffer.capacity() > ENCODE_BUFFER_KEPT_BYTES {
                *buffer = Vec::new();
            }
            Ok(result)
        })
    }

    fn put_batch(&self, message: &MessageInner, waiting: bool) -> Result<PutResult, NotPut> {
        // Java answers a batch over the limit with an exception, not with MESSAGE_ILLEGAL.
        if message.body.len() > self.config.load().max_message_size {
            return Err(PutMessageStatus::UnknownError.into());
        }
        self.check(message, message.body.len())?;
        let delayed = properties::find_str(&message.properties, property::DELAY)
            .and_then(|level| level.parse::<i32>().ok())
            .is_some_and(|level| level > 0);
        if delayed || !record::is_dispatched(message.sys_flag) {
            return Err(PutMessageStatus::MessageIllegal.into());
        }
        ENCODE_BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let mut units = Vec::new();
            let mut one = MessageInner { prepared_transaction_offset: 0, ..message.clone() };
            for item in batch::items(&message.body) {
                // As for a batch that is too long.
                let Ok(item) = item else { return Err(PutMessageStatus::UnknownError.into()) };
                if item.properties.len() > layout::PROPERTIES_BYTES_MAX {
                    return Err(PutMessageStatus::PropertiesSizeExceeded.into());
                }
                let tags_code = tags_code_of(&item.properties);
                (one.flag, one.body, one.properties) = (item.flag, item.body, item.properties);
                let start = buffer.len();
                encode_record(&one, buffer);
                units.push(PendingUnit { start, len: buffer.len() - start, tags_code });
            }
            if units.is_empty() {
                return Err(PutMessageStatus::MessageIllegal.into());
            }
            let queue = self.queue_for(message, waiting)?;
            let result = self.append(message, queue, buffer, &units);
            if buffer.capacity() > ENCODE_BUFFER_KEPT_BYTES {
                *buffer = Vec::new();
            }
            Ok(result)
        })
    }

    fn refuse(&self, status: PutMessageStatus) -> PutResult {
        self.stats.put_failed.fetch_add(1, Ordering::Relaxed);
        PutResult::refused(status)
    }

    /// Java's checks before a put, in its order.
    fn check(&self, message: &MessageInner, body_bytes: usize) -> Result<(), PutMessageStatus> {
        if !self.is_writable() {
            return Err(PutMessageStatus::ServiceNotAvailable);
        }
        let topic_bytes = message.topic.len();
        if topic_bytes > i8::MAX as usize && !topic_names::is_retry(&message.topic) || topic_bytes > u8::MAX as usize {
            return Err(PutMessageStatus::MessageIllegal);
        }
        if message.properties.len() > layout::PROPERTIES_BYTES_MAX {
            return Err(PutMessageStatus::PropertiesSizeExceeded);
        }
        let max_message_size = self.config.load().max_message_size;
        if body_bytes > max_message_size || record_bytes(message) > max_message_size + 64 * 1024 {
            return Err(PutMessageStatus::MessageIllegal);
        }
        Ok(())
    }

    fn queue_for(&self, message: &MessageInner, waiting: bool) -> Result<Arc<ConsumeQueue>, NotPut> {
        let (topic, queue_id) = (&*message.topic, message.queue_id);
        let queue = self.queues.get_or_create(topic, queue_id, true);
        if !waiting && !queue.is_hot() {
            return Err(NotPut::Cold(ColdPut::new(queue)));
        }
        queue.ensure_loaded(&self.queues.files, &self.log).map_err(|error| {
            error!(topic, queue_id, %error, "cannot load a ConsumeQueue");
            PutMessageStatus::ServiceNotAvailable
        })?;
        Ok(queue)
    }

    fn append(&self, message: &MessageInner, mut queue: Arc<ConsumeQueue>, records: &mut [u8], units: &[PendingUnit]) -> PutResult {
        let dispatched = record::is_dispatched(message.sys_flag);
        let delay_level = if message.topic == *topic_names::SCHEDULE { record::delay_level(&message.properties) } else { None };
        let waits =
            self.sync_flush && properties::find(&message.properties, property::WAIT).is_none_or(|wait| wait.eq_ignore_ascii_case(b"true"));
        let timed = self.stats.put_times.load(Ordering::Relaxed).is_multiple_of(PUTS_PER_TIMING);
        let began = if timed { self.clock.nanos() } else { 0 };
        let mut appender = self.appender.lock();
        let now_millis = self.clock.now_millis();
        self.put_began_millis.store(now_millis, Ordering::Relaxed);
        let result = (|| {
            let appender = &mut *appender;
            if self.health.shutdown.load(Ordering::SeqCst) {
                return Err(AppendError::Closed);
            }
            let physical_offset = self.log.prepare(&mut appender.tail, records.len())?;
            let last = appender.last_store_timestamp;
            let store_timestamp = if last - now_millis <= CLOCK_STEP_BACK_MILLIS_MAX { last.max(now_millis) } else { now_millis };
            let mut tail = queue.lock_tail();
            while tail.is_destroyed() {
                // Its topic was deleted between the look into the table and now: the message begins a new one.
                drop(tail);
                self.queues.remove_queue(&queue);
                queue = self.queues.get_or_create(&message.topic, message.queue_id, true);
                tail = queue.lock_tail();
            }
            let first_queue_offset = if dispatched { tail.next() } else { 0 };
            for (index, unit) in units.iter().enumerate() {
                let queue_offset = if dispatched { first_queue_offset + index as i64 } else { 0 };
                patch_record(
                    &mut records[unit.start..unit.start + unit.len],
                    queue_offset,
                    physical_offset + unit.start as i64,
                    store_timestamp,
                );
            }
            self.log.append(&mut appender.tail, records)?;
            let mut physical_offsets = Vec::new();
            if units.len() > 1 {
                physical_offsets.extend(units.iter().map(|unit| physical_offset + unit.start as i64));
            }
            let mut unseen = self.sync_flush.then(|| self.unseen.lock());
            for unit in units.iter().filter(|_| dispatched) {
                let tags_code = match delay_level {
                    Some(level) => record::deliver_timestamp(level, &self.config.load().delay_level_millis, store_timestamp),
                    None => unit.tags_code,
                };
                let unit = Unit { physical_offset: physical_offset + unit.start as i64, size: unit.len as i32, tags_code };
                tail.push(&unit);
                if let Some(unseen) = &mut unseen {
                    let (end, queue) = (unit.end_offset(), Arc::clone(&queue));
                    unseen.push_back(Unseen { end, queue, max_offset: tail.next(), tags_code, store_timestamp });
                }
            }
            drop(unseen);
            let max_offset = tail.next();
            drop(tail);
            if dispatched {
                if !self.sync_flush {
                    queue.show(max_offset);
                }
                if !queue.dirty.swap(true, Ordering::Relaxed) {
                    appender.dirty.push(Arc::clone(&queue));
                }
            }
            appender.last_record = physical_offset + units.last().map_or(0, |unit| unit.start as i64);
            appender.last_store_timestamp = store_timestamp;
            self.last_store_timestamp.store(store_timestamp, Ordering::Relaxed);
            Ok(PutResult {
                status: PutMessageStatus::PutOk,
                physical_offset,
                queue_offset: first_queue_offset,
                store_timestamp,
                message_count: units.len() as i32,
                record_bytes: records.len() as i32,
                physical_offsets,
                waits_for_flush: waits,
            })
        })();
        self.put_began_millis.store(0, Ordering::Relaxed);
        drop(appender);
        match result {
            Ok(put) => {
                self.after_append(&put, message, &queue, units, dispatched, delay_level);
                if timed {
                    self.stats.time_put(self.clock.nanos() - began);
                }
                put
            }
            Err(error) => self.refuse_append(&error),
        }
    }

    fn after_append(
        &self,
        put: &PutResult,
        message: &MessageInner,
        queue: &ConsumeQueue,
        units: &[PendingUnit],
        dispatched: bool,
        delay_level: Option<usize>,
    ) {
        self.stats.put_times.fetch_add(units.len() as u64, Ordering::Relaxed);
        self.stats.put_bytes.fetch_add(put.record_bytes as u64, Ordering::Relaxed);
        if put.end_offset() >= self.keeper_wanted_at.load(Ordering::Relaxed) {
            self.keeper_wanted_at.store(i64::MAX, Ordering::Relaxed);
            self.keeper_bell.lock().unpark();
        }
        if self.sync_flush {
            if !put.waits_for_flush {
                self.flush_bell.lock().unpark();
            }
            return;
        }
        if dispatched {
            for (index, unit) in units.iter().enumerate() {
                let tags_code = match delay_level {
                    Some(level) => record::deliver_timestamp(level, &self.config.load().delay_level_millis, put.store_timestamp),
                    None => unit.tags_code,
                };
                let max_offset = put.queue_offset + index as i64 + 1;
                self.arrivals.arriving(&queue.topic, message.queue_id, max_offset, tags_code, put.store_timestamp);
            }
        }
    }

    fn refuse_append(&self, error: &AppendError) -> PutResult {
        let status = match error {
            AppendError::NoSpace(_) => {
                if !self.health.disk_full.swap(true, Ordering::SeqCst) {
                    error!(%error, "the disk is full: messages are refused until there is room");
                }
                PutMessageStatus::ServiceNotAvailable
            }
            AppendError::CreateFile(_) => {
                error!(%error, "a put was refused");
                PutMessageStatus::CreateMappedFileFailed
            }
            AppendError::Write(_) => {
                error!(%error, "a put was refused");
                PutMessageStatus::UnknownError
            }
            AppendError::TooLong(_) => PutMessageStatus::MessageIllegal,
            AppendError::Closed => PutMessageStatus::ServiceNotAvailable,
        };
        self.refuse(status)
    }

    /// Calls `done` when the put is durable, or with FLUSH_DISK_TIMEOUT when it does not get so in time.
    pub fn when_durable(&self, put: &PutResult, done: Box<dyn FnOnce(PutMessageStatus) + Send>) {
        if !put.needs_wait() || self.flushed.load(Ordering::Acquire) >= put.end_offset() {
            return done(put.status);
        }
        if self.health.poisoned.load(Ordering::Acquire) {
            return done(PutMessageStatus::FlushDiskTimeout);
        }
        let timeout = Duration::from_millis(self.config.load().sync_flush_timeout);
        self.waiters.push(put.end_offset(), self.clock.nanos() + timeout.as_nanos() as u64, done);
        self.flush_bell.lock().unpark();
    }

    /// For a put that nobody waits for: consumers wait for its message, which with SYNC_FLUSH they see when it is on the disk.
    pub fn flush_soon(&self, put: &PutResult) {
        if put.needs_wait() {
            self.flush_bell.lock().unpark();
        }
    }

    /// How much of the log the indexes do not have yet: nothing, since units are pushed with the records.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        0
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
        if let Err(error) = self.sync_queues() {
            self.poison(&error);
            return Err(failed()(error));
        }
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
        // The name comes from whoever asked: it must not lead out of the directory.
        if !matches!(Path::new(topic).components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
            return Ok(());
        }
        let dir = self.queues.files.root.join(topic);
        if self.fs.exists(&dir) {
            match self.fs.remove_dir(&dir) {
                // Something else lies in it: as in Java it stays.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => other.map_err(at_path("remove", &dir))?,
            }
            self.fs.sync_dir(&self.queues.files.root).map_err(at_path("sync", &self.queues.files.root))?;
        }
        Ok(())
    }

    /// Java's figures for 28, as text.
    pub fn runtime_info(&self) -> BTreeMap<String, String> {
        let mut info = self.stats.runtime_info(self.clock.now_millis());
        let mut least = f64::MAX;
        for dir in self.log.files.dirs() {
            let ratio = self.used_ratio(dir);
            info.insert(format!("commitLogDiskRatio_{}", dir.display()), java_double(ratio));
            least = least.min(ratio);
        }
        info.insert("commitLogDiskRatio".to_owned(), java_double(least));
        info.insert("consumeQueueDiskRatio".to_owned(), java_double(self.used_ratio(&self.queues.files.root)));
        info.insert("commitLogMinOffset".to_owned(), self.min_phy_offset().to_string());
        info.insert("commitLogMaxOffset".to_owned(), self.max_phy_offset().to_string());
        info
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
            consume_queue: self.used_ratio(&self.queues.files.root),
            index: self.used_ratio(&self.root),
        }
    }

    /// Of the disk that the store's root is on.
    pub fn disk_capacity(&self) -> Option<DiskUsage> {
        self.fs.disk_usage(&self.root).ok()
    }
}

/// Used parts of the disks that the CommitLog (the emptiest of its paths), the ConsumeQueues and the index are on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskUse {
    pub commit_log: f64,
    pub consume_queue: f64,
    pub index: f64,
}

/// A store thread that ended by a panic would leave puts waiting and disks unwritten: the process ends instead, and the restart
/// recovers.
fn fatal_when_it_panics(work: impl FnOnce()) {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            if std::thread::panicking() {
                error!("a thread of the store panicked: the process ends");
                std::process::abort();
            }
        }
    }
    let _guard = Guard;
    work();
}

/// Why nothing was put.
enum NotPut {
    Refused(PutMessageStatus),
    Cold(ColdPut),
}

impl From<PutMessageStatus> for NotPut {
    fn from(status: PutMessageStatus) -> Self {
        Self::Refused(status)
    }
}

/// A record in the encode buffer.
struct PendingUnit {
    start: usize,
    len: usize,
    tags_code: i64,
}

/// Java's Double.toString for the ratios and rates that travel as text.
pub(super) fn java_double(value: f64) -> String {
    if value == value.trunc() { format!("{value:.1}") } else { value.to_string() }
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
        let is_deleted =
            |record: &MessageView<'_>| record::is_dispatched(record.sys_flag) && queues.get(record.topic, record.queue_id).is_none();
        let is_deleted = log.with_record(last_record, is_deleted)?.unwrap_or(false);
        let left = || queues.all().iter().filter(|queue| queue.has_files()).count() as u32;
        Ok(Self { mark: Mark::at(log, position, last_record)?, queues_left: is_deleted.then(left) })
    }
}
