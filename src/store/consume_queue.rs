// SPDX-License-Identifier: Apache-2.0
//! One ConsumeQueue: 20-byte units (physical offset, size, tagsCode) in Java's files, its newest ones in memory.
//!
//! Units reach the files in batches by `write_pending`; nothing is mapped and no file stays open here. What the files hold is
//! found out by `load`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::queue_files::{QueueDir, QueueFiles};
use super::unit::{UNIT_BYTES, Unit};

mod load;
mod mend;

use load::first_at_or_after;

/// Units that stay in memory after they were written, for consumers at the tail.
const TAIL_UNITS_KEPT: usize = 64;

pub(super) struct ConsumeQueue {
    pub(super) topic: Arc<str>,
    pub(super) queue_id: i32,
    dir: QueueDir,
    /// The offset after the last readable message.
    visible: AtomicI64,
    min: AtomicI64,
    loaded: AtomicBool,
    /// Puts that wait for the queue to be loaded.
    cold_puts: AtomicU32,
    /// On the append lock's list of queues with unwritten units; changed only under that lock.
    pub(super) is_unwritten: AtomicBool,
    inner: Mutex<Inner>,
}

/// Where a queue begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueEnd {
    /// The first offset that its files have room for.
    pub(super) first: i64,
    /// The offset of the next message.
    pub(super) next: i64,
    /// The end in the log of the last message; 0 when that is not known.
    pub(super) in_log: i64,
}

/// The newest units are in memory, from a few that are written to the last one:
///
/// ```text
/// tail_base <= written <= next          visible <= next
/// ```
///
/// `visible` is the queue's end for readers; with SYNC_FLUSH it follows `next` when the log is on the disk.
#[derive(Default)]
struct Inner {
    /// The offset of the next message.
    next: i64,
    /// Units from `tail_base` to `next`.
    tail: Vec<u8>,
    tail_base: i64,
    /// Units before are in the files.
    written: i64,
    /// The end in the log of the last message.
    max_physical_end: i64,
    /// Starts (in bytes) of the files, ascending.
    files: Vec<i64>,
    /// Files written to since the last sync, and whether some were created.
    unsynced: Vec<i64>,
    unsynced_dir: bool,
    destroyed: bool,
    /// How far the queue reached when the store was last stopped in order: it does not end before.
    reached: Option<QueueEnd>,
    /// Recovery has begun to write this queue anew.
    redispatched: bool,
}

impl ConsumeQueue {
    pub(super) fn new(topic: Arc<str>, queue_id: i32, dir: QueueDir) -> Self {
        Self {
            topic,
            queue_id,
            dir,
            visible: AtomicI64::new(0),
            min: AtomicI64::new(0),
            loaded: AtomicBool::new(false),
            cold_puts: AtomicU32::new(0),
            is_unwritten: AtomicBool::new(false),
            inner: Mutex::new(Inner::default()),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Tells the queues of a store apart, also two that had one name one after the other.
    pub(super) fn cache_id(&self) -> u32 {
        self.dir.cache_id()
    }

    fn path_of(&self, file_start: i64) -> PathBuf {
        self.dir.path_of(file_start)
    }

    /// The offset after the last readable message; the queue must be loaded.
    pub(super) fn max_offset(&self) -> i64 {
        self.visible.load(Ordering::Acquire)
    }

    pub(super) fn min_offset(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Whether a start would find it in the directory.
    pub(super) fn has_files(&self) -> bool {
        !self.is_loaded() || !self.inner.lock().files.is_empty()
    }

    /// Whether a put would find it in memory, with no put before it that did not.
    pub(super) fn is_hot(&self) -> bool {
        self.is_loaded() && self.cold_puts.load(Ordering::Acquire) == 0
    }

    /// A queue that has no directory has nothing to load.
    pub(super) fn mark_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    fn unit(&self, inner: &Inner, files: &QueueFiles, offset: i64) -> io::Result<Unit> {
        match self.unit_in_memory(inner, offset) {
            Some(unit) => Ok(unit),
            None => self.unit_on_disk(files, offset),
        }
    }

    fn unit_in_memory(&self, inner: &Inner, offset: i64) -> Option<Unit> {
        let at = usize::try_from(offset - inner.tail_base).ok()? * UNIT_BYTES;
        Some(Unit::decode(inner.tail.get(at..at + UNIT_BYTES)?.try_into().ok()?))
    }

    /// The offset that the next message gets. The caller holds the append lock and has loaded the queue.
    pub(super) fn lock_tail(&self) -> Tail<'_> {
        Tail { queue: self, inner: self.inner.lock() }
    }

    /// Makes messages before `offset` readable.
    pub(super) fn publish(&self, offset: i64) {
        debug_assert!(offset <= self.inner.lock().next, "a message is readable before it is there");
        self.visible.fetch_max(offset, Ordering::AcqRel);
    }

    /// One unit of the readable part, `None` outside it.
    pub(super) fn get(&self, files: &QueueFiles, offset: i64) -> io::Result<Option<Unit>> {
        let mut units = Vec::with_capacity(1);
        if (self.min_offset()..self.max_offset()).contains(&offset) {
            self.read(files, offset, 1, true, &mut units)?;
        }
        Ok(units.pop().filter(Unit::is_message))
    }

    /// Appends up to `count` units from `from` on, not beyond the file that holds `from`. Empty when that file is not there.
    /// `WouldBlock` when they are not in memory and `waiting` is false.
    pub(super) fn read(&self, files: &QueueFiles, from: i64, count: usize, waiting: bool, units: &mut Vec<Unit>) -> io::Result<()> {
        let units_per_file = files.file_bytes as i64 / UNIT_BYTES as i64;
        let file_end = from - from % units_per_file + units_per_file;
        let end = (from + count as i64).min(self.max_offset()).min(file_end);
        if from >= end {
            return Ok(());
        }
        let file_start = (from - from % units_per_file) * UNIT_BYTES as i64;
        let from_disk = {
            let inner = self.inner.lock();
            if from >= inner.tail_base {
                let at = (from - inner.tail_base) as usize * UNIT_BYTES;
                let len = (end - from) as usize * UNIT_BYTES;
                units.extend(inner.tail[at..at + len].as_chunks().0.iter().map(Unit::decode));
                return Ok(());
            }
            if !inner.files.contains(&file_start) {
                return Ok(());
            }
            end.min(inner.tail_base) - from
        };
        let mut bytes = vec![0; from_disk as usize * UNIT_BYTES];
        let at = from * UNIT_BYTES as i64 - file_start;
        let file = match files.open(&self.dir, file_start, waiting) {
            // Expired between the look at the list and now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let at = at as u64;
        let read = if waiting { file.read_at(&mut bytes, at)? } else { file.read_at_without_waiting(&mut bytes, at)? };
        units.extend(bytes[..read].as_chunks().0.iter().map(Unit::decode));
        Ok(())
    }

    /// Writes the units that are only in memory. One caller at a time (the keeper). Bytes written.
    pub(super) fn write_pending(&self, files: &QueueFiles) -> io::Result<usize> {
        let (mut at, bytes) = {
            let inner = self.inner.lock();
            if inner.destroyed || inner.written == inner.next {
                return Ok(0);
            }
            let from = (inner.written - inner.tail_base) as usize * UNIT_BYTES;
            (inner.written * UNIT_BYTES as i64, inner.tail[from..].to_vec())
        };
        let file_bytes = files.file_bytes as i64;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let file_start = at - at % file_bytes;
            let part = rest.len().min((file_start + file_bytes - at) as usize);
            self.create_missing(files, file_start)?;
            files.open(&self.dir, file_start, true)?.write_at(&rest[..part], (at - file_start) as u64)?;
            let mut inner = self.inner.lock();
            if !inner.unsynced.contains(&file_start) {
                inner.unsynced.push(file_start);
            }
            at += part as i64;
            inner.written = at / UNIT_BYTES as i64;
            rest = &rest[part..];
        }
        let mut inner = self.inner.lock();
        let kept_from = (inner.written - TAIL_UNITS_KEPT as i64).max(inner.tail_base);
        inner.drop_tail_before(kept_from);
        inner.check();
        Ok(bytes.len())
    }

    fn create_missing(&self, files: &QueueFiles, file_start: i64) -> io::Result<()> {
        if self.inner.lock().files.contains(&file_start) {
            return Ok(());
        }
        files.create(&self.dir, file_start)?;
        let mut inner = self.inner.lock();
        inner.files.push(file_start);
        inner.files.sort_unstable();
        inner.unsynced_dir = true;
        Ok(())
    }

    /// Lets go of the memory of a queue that nothing was appended to since its units were written. False when it still has some to write.
    pub(super) fn release_tail(&self) -> bool {
        let mut inner = self.inner.lock();
        if inner.written < inner.next {
            return false;
        }
        inner.tail = Vec::new();
        inner.tail_base = inner.next;
        true
    }

    /// What was written is about to become durable with everything else on its disk.
    pub(super) fn forget_unsynced(&self) {
        let mut inner = self.inner.lock();
        inner.unsynced.clear();
        inner.unsynced_dir = false;
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self, files: &QueueFiles) -> io::Result<()> {
        let (starts, dir_too) = {
            let mut inner = self.inner.lock();
            if inner.destroyed {
                return Ok(());
            }
            (std::mem::take(&mut inner.unsynced), std::mem::take(&mut inner.unsynced_dir))
        };
        for start in starts {
            match files.open(&self.dir, start, true) {
                Ok(file) => file.sync_data()?,
                // Expired meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if dir_too {
            for dir in self.dir().ancestors().take_while(|dir| dir.starts_with(files.root())) {
                match files.fs.sync_dir(dir) {
                    // Its topic was deleted meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    synced => synced?,
                }
            }
        }
        Ok(())
    }

    /// The end in the log of the last message; -1 when the queue is empty.
    pub(super) fn max_physical_end(&self) -> i64 {
        let inner = self.inner.lock();
        if inner.max_physical_end == 0 { -1 } else { inner.max_physical_end }
    }

    /// Where it ends, as far as that is known; of a queue that was not looked at, where it ended at the last orderly stop.
    pub(super) fn known_end(&self) -> Option<QueueEnd> {
        let inner = self.inner.lock();
        if !self.is_loaded() {
            return inner.reached;
        }
        let first = inner.files.first()? / UNIT_BYTES as i64;
        Some(QueueEnd { first, next: inner.next, in_log: inner.max_physical_end })
    }

    /// After the log lost its oldest files: removes files that hold nothing of it any more (never the last) and moves the minimum.
    /// One caller at a time, and none while the queue is destroyed. Puts and gets do not wait for it.
    pub(super) fn expire(&self, files: &QueueFiles, min_physical: i64) -> io::Result<()> {
        let units_per_file = files.file_bytes as i64 / UNIT_BYTES as i64;
        loop {
            let (first, written) = {
                let inner = self.inner.lock();
                match inner.files[..] {
                    [first, _, ..] if !inner.destroyed => (first, inner.written),
                    _ => break,
                }
            };
            let end = first / UNIT_BYTES as i64 + units_per_file;
            if end > written || self.last_message_of(files, first, end)?.is_some_and(|unit| unit.physical_offset >= min_physical) {
                break;
            }
            files.forget(&self.dir, first);
            files.fs.remove_file(&self.path_of(first))?;
            let mut inner = self.inner.lock();
            inner.files.retain(|start| *start != first);
            inner.unsynced.retain(|start| *start != first);
        }
        let (floor, next) = {
            let inner = self.inner.lock();
            if inner.destroyed {
                return Ok(());
            }
            (inner.files.first().map_or(inner.tail_base, |start| start / UNIT_BYTES as i64), inner.next)
        };
        let floor = floor.max(self.min_offset()).min(next);
        let min = first_at_or_after(floor..next, min_physical, |offset| match self.unit_in_memory(&self.inner.lock(), offset) {
            Some(unit) => Ok(unit),
            None => self.unit_on_disk(files, offset),
        })?;
        self.min.fetch_max(min, Ordering::AcqRel);
        Ok(())
    }

    /// The last unit of a full file that says where a message lies: damage at its end must not speak for all of it.
    fn last_message_of(&self, files: &QueueFiles, file_start: i64, end: i64) -> io::Result<Option<Unit>> {
        for offset in (file_start / UNIT_BYTES as i64..end).rev() {
            let unit = self.unit_on_disk(files, offset)?;
            if unit.is_message() {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// Removes the queue's files and directory. Puts and gets do not wait for it.
    pub(super) fn destroy(&self, files: &QueueFiles) -> io::Result<()> {
        {
            let mut inner = self.inner.lock();
            inner.destroyed = true;
            inner.tail = Vec::new();
            inner.tail_base = inner.next;
            inner.written = inner.next;
            inner.unsynced.clear();
            inner.files.clear();
        }
        files.forget_queue(&self.dir);
        if !files.fs.exists(self.dir()) {
            return Ok(());
        }
        for entry in files.fs.read_dir(self.dir())? {
            if !entry.is_dir {
                files.fs.remove_file(&self.dir().join(&entry.name))?;
            }
        }
        files.fs.remove_dir(self.dir())
    }
}

/// A put that found its queue not loaded. Until it is dropped later puts of that queue wait behind it, so that they keep their order.
pub struct ColdPut {
    queue: Arc<ConsumeQueue>,
}

impl ColdPut {
    pub(super) fn new(queue: Arc<ConsumeQueue>) -> Self {
        queue.cold_puts.fetch_add(1, Ordering::AcqRel);
        Self { queue }
    }

    /// The same for all puts of a queue; those of other queues need not wait for it.
    pub fn queue_number(&self) -> u32 {
        self.queue.cache_id()
    }
}

impl Drop for ColdPut {
    fn drop(&mut self) {
        self.queue.cold_puts.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for ColdPut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ColdPut({} {})", self.queue.topic, self.queue.queue_id)
    }
}

impl Inner {
    fn push(&mut self, unit: &Unit) {
        self.tail.extend_from_slice(&unit.encode());
        self.next += 1;
        if !unit.is_blank() {
            self.max_physical_end = unit.end_offset();
        }
        self.check();
    }

    fn check(&self) {
        debug_assert!(self.tail_base <= self.written && self.written <= self.next, "units in memory and in the files do not meet");
        debug_assert_eq!(self.tail.len(), (self.next - self.tail_base) as usize * UNIT_BYTES, "the tail is what lies behind its base");
    }

    fn drop_tail_before(&mut self, offset: i64) {
        let gone = (offset - self.tail_base) as usize * UNIT_BYTES;
        if gone == 0 {
            return;
        }
        self.tail.drain(..gone);
        self.tail_base = offset;
        if self.tail.capacity() > 4 * TAIL_UNITS_KEPT * UNIT_BYTES && self.tail.len() < self.tail.capacity() / 4 {
            self.tail.shrink_to(2 * TAIL_UNITS_KEPT * UNIT_BYTES);
        }
    }
}

/// A queue's end, held while a put gives out its next offsets.
pub(super) struct Tail<'a> {
    queue: &'a ConsumeQueue,
    inner: MutexGuard<'a, Inner>,
}

impl Tail<'_> {
    pub(super) fn next(&self) -> i64 {
        self.inner.next
    }

    pub(super) fn is_destroyed(&self) -> bool {
        self.inner.destroyed
    }

    pub(super) fn push(&mut self, unit: &Unit) {
        self.inner.push(unit);
    }

    /// The unit of a record that has its queue offset already; false when it cannot be there, and the message is not readable.
    pub(super) fn place(&mut self, files: &QueueFiles, offset: i64, unit: &Unit) -> bool {
        self.queue.place(&mut self.inner, files, offset, unit, &BTreeMap::new())
    }
}
