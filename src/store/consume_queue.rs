// SPDX-License-Identifier: Apache-2.0
//! One ConsumeQueue: 20-byte units (physical offset, size, tagsCode) in Java's files, its newest ones in memory.
//!
//! Units reach the files in batches by `write_pending`; nothing is mapped and no file stays open here. A queue is loaded when
//! it is first used. It believes a unit on the disk only if the log has that very message there.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tracing::{info, warn};

use super::commit_log::CommitLog;
use super::mapped_file_queue::file_name;
use super::queue_table::QueueFiles;
use super::{StoreError, at_path};

pub(super) const UNIT_BYTES: usize = 20;

/// Units that stay in memory after they were written, for consumers at the tail.
const TAIL_UNITS_KEPT: usize = 64;

/// Units of a file that are read at once when its queue is loaded: not quite a page.
const HEAD_UNITS: usize = 200;

/// Blanks that recovery puts before a message. More messages than these do not get lost: then the record is damaged.
const MISSING_UNITS_MAX: i64 = 1_000_000;

/// Half of what positions in bytes can express, so that no sum of them overflows.
const OFFSET_MAX: i64 = i64::MAX / 2 / UNIT_BYTES as i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    pub physical_offset: i64,
    pub size: i32,
    pub tags_code: i64,
}

impl Unit {
    /// Fills the places before a queue's first message when that is not number 0.
    pub(super) const BLANK: Self = Self { physical_offset: 0, size: i32::MAX, tags_code: 0 };

    pub(super) fn decode(bytes: &[u8; UNIT_BYTES]) -> Self {
        Self {
            physical_offset: i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
            size: i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
            tags_code: i64::from_be_bytes(bytes[12..].try_into().expect("eight bytes")),
        }
    }

    pub(super) fn encode(&self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// Java's test for "something was written here".
    pub(super) fn is_valid(&self) -> bool {
        self.physical_offset >= 0 && self.size > 0
    }

    pub(super) fn is_blank(&self) -> bool {
        *self == Self::BLANK
    }

    pub(super) fn end_offset(&self) -> i64 {
        self.physical_offset + i64::from(self.size)
    }
}

pub(super) struct ConsumeQueue {
    pub(super) topic: Arc<str>,
    pub(super) queue_id: i32,
    /// Names this queue in the cache of open files.
    pub(super) number: u32,
    dir: PathBuf,
    /// The offset after the last readable message.
    visible: AtomicI64,
    min: AtomicI64,
    loaded: AtomicBool,
    /// Puts that wait for the queue to be loaded.
    cold_puts: AtomicU32,
    /// On the append lock's list of queues with unwritten units; changed only under that lock.
    pub(super) dirty: AtomicBool,
    inner: Mutex<Inner>,
}

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
    /// Recovery has begun to write this queue anew.
    redispatched: bool,
}

impl ConsumeQueue {
    pub(super) fn new(topic: Arc<str>, queue_id: i32, number: u32, dir: PathBuf) -> Self {
        Self {
            topic,
            queue_id,
            number,
            dir,
            visible: AtomicI64::new(0),
            min: AtomicI64::new(0),
            loaded: AtomicBool::new(false),
            cold_puts: AtomicU32::new(0),
            dirty: AtomicBool::new(false),
            inner: Mutex::new(Inner::default()),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path_of(&self, file_start: i64) -> PathBuf {
        self.dir.join(file_name(file_start))
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

    /// Finds out what the files hold, once.
    pub(super) fn ensure_loaded(&self, files: &QueueFiles, log: &CommitLog) -> Result<(), StoreError> {
        if self.is_loaded() {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        if self.is_loaded() {
            return Ok(());
        }
        self.load(&mut inner, files, log)?;
        self.visible.store(inner.next, Ordering::Release);
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// A queue that has no directory has nothing to load.
    pub(super) fn set_empty(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    fn load(&self, inner: &mut Inner, files: &QueueFiles, log: &CommitLog) -> Result<(), StoreError> {
        inner.files = self.list(files)?;
        let units_per_file = files.file_bytes as i64 / UNIT_BYTES as i64;
        // From the last file back to the first one that holds anything: that is where the queue ends.
        let mut on_disk = None;
        let mut head = Head::default();
        while let Some(&start) = inner.files.last() {
            let first = start / UNIT_BYTES as i64;
            head = self.read_head(files, start).map_err(at_path("read", &self.path_of(start)))?;
            let count = self.count_valid(files, &head, units_per_file).map_err(at_path("read", &self.path_of(start)))?;
            if count > 0 {
                on_disk = Some((first, first + count));
                break;
            }
            if inner.files.len() == 1 {
                on_disk = Some((first, first));
                break;
            }
            // An empty file behind a full one: it is created anew when it is needed.
            inner.files.pop();
            files.forget(self, start);
            files.fs.remove_file(&self.path_of(start)).map_err(at_path("remove", &self.path_of(start)))?;
        }
        let Some((_, end)) = on_disk else { return Ok(()) };
        let floor = inner.files[0] / UNIT_BYTES as i64;
        let unit = |offset| head.unit(offset).map_or_else(|| self.unit_on_disk(files, offset), Ok);
        let mut next = end;
        while next > floor {
            let unit = unit(next - 1).map_err(at_path("read", &self.dir))?;
            if unit.is_blank() || self.log_agrees(log, next - 1, &unit).map_err(at_path("read the log for", &self.dir))? {
                break;
            }
            next -= 1;
        }
        if next < end {
            warn!(topic = %self.topic, queue_id = self.queue_id, from = end, to = next, "cutting units that the log does not have");
            self.erase(inner, files, next, end)?;
        }
        inner.next = next;
        inner.written = next;
        inner.tail_base = next;
        if next > floor {
            let last = unit(next - 1).map_err(at_path("read", &self.dir))?;
            inner.max_physical_end = if last.is_blank() { 0 } else { last.end_offset() };
        }
        let min = first_at_or_after(floor..inner.next, log.min_offset(), unit);
        let min = min.map_err(at_path("read", &self.dir))?;
        self.min.store(min, Ordering::Release);
        Ok(())
    }

    /// The unit's message is in the log, or its part of the log has expired.
    fn log_agrees(&self, log: &CommitLog, offset: i64, unit: &Unit) -> io::Result<bool> {
        if unit.physical_offset < log.min_offset() {
            return Ok(true);
        }
        Ok(unit.end_offset() <= log.max_offset() && log.has_message(unit.physical_offset, unit.size, &self.topic, self.queue_id, offset)?)
    }

    fn list(&self, files: &QueueFiles) -> Result<Vec<i64>, StoreError> {
        let entries = match files.fs.read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at_path("list", &self.dir))?,
        };
        let mut found = Vec::new();
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let path = self.dir.join(&entry.name);
            let Ok(start) = entry.name.parse::<i64>() else { return Err(StoreError::ForeignFile { path }) };
            found.push((start, files.fs.metadata(&path).map_err(at_path("look at", &path))?.len));
        }
        found.sort_unstable();
        // A power cut can leave a file's name without its length. At the end it goes, as in Java; before files that were luckier
        // its units are blank until recovery, which starts before everything that was not synced, writes them anew.
        while let Some((start, _)) = found.pop_if(|(_, bytes)| *bytes == 0) {
            let path = self.path_of(start);
            files.fs.remove_file(&path).map_err(at_path("remove", &path))?;
        }
        for &(start, bytes) in &found {
            let path = self.path_of(start);
            if bytes == 0 {
                warn!(path = %path.display(), "a ConsumeQueue file lost its length");
                let file = files.fs.open(&path).map_err(at_path("open", &path))?;
                file.set_len(files.file_bytes).map_err(at_path("lengthen", &path))?;
            } else if bytes != files.file_bytes {
                return Err(StoreError::WrongLength { path, found: bytes, expected: files.file_bytes, key: "mappedFileSizeConsumeQueue" });
            }
        }
        Ok(found.into_iter().map(|(start, _)| start).collect())
    }

    /// The first units of a file, at one go: in a store of many queues most have no more.
    fn read_head(&self, files: &QueueFiles, file_start: i64) -> io::Result<Head> {
        let mut bytes = vec![0; HEAD_UNITS * UNIT_BYTES];
        let read = files.open(self, file_start, true)?.read_at(&mut bytes, 0)?;
        bytes.truncate(read - read % UNIT_BYTES);
        Ok(Head { first: file_start / UNIT_BYTES as i64, bytes })
    }

    /// How many units from the start of a file are written; they are written without gaps.
    fn count_valid(&self, files: &QueueFiles, head: &Head, units_per_file: i64) -> io::Result<i64> {
        let in_head = head.units().take_while(Unit::is_valid).count() as i64;
        if in_head < head.units().len() as i64 {
            return Ok(in_head);
        }
        let (mut low, mut high) = (in_head, units_per_file);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.unit_on_disk(files, head.first + middle)?.is_valid() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn unit_on_disk(&self, files: &QueueFiles, offset: i64) -> io::Result<Unit> {
        let mut bytes = [0; UNIT_BYTES];
        let at = offset * UNIT_BYTES as i64;
        let file_start = at - at % files.file_bytes as i64;
        let read = files.open(self, file_start, true)?.read_at(&mut bytes, (at - file_start) as u64)?;
        if read < UNIT_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Unit::decode(&bytes))
    }

    /// Makes units on the disk invalid again.
    fn erase(&self, inner: &mut Inner, files: &QueueFiles, from: i64, to: i64) -> Result<(), StoreError> {
        let mut at = from * UNIT_BYTES as i64;
        let end = to * UNIT_BYTES as i64;
        let file_bytes = files.file_bytes as i64;
        while at < end {
            let file_start = at - at % file_bytes;
            let part = (end - at).min(file_start + file_bytes - at);
            if inner.files.contains(&file_start) {
                let path = self.path_of(file_start);
                let file = files.open(self, file_start, true).map_err(at_path("open", &path))?;
                file.write_at(&vec![0; part as usize], (at - file_start) as u64).map_err(at_path("write", &path))?;
                if !inner.unsynced.contains(&file_start) {
                    inner.unsynced.push(file_start);
                }
            }
            at += part;
        }
        // Files that begin behind the end hold nothing any more.
        let keep = from * UNIT_BYTES as i64;
        while let Some(&last) = inner.files.last() {
            if last <= keep || inner.files.len() == 1 {
                break;
            }
            inner.files.pop();
            inner.unsynced.retain(|start| *start != last);
            files.forget(self, last);
            files.fs.remove_file(&self.path_of(last)).map_err(at_path("remove", &self.path_of(last)))?;
        }
        Ok(())
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
        Tail { inner: self.inner.lock() }
    }

    /// Makes messages before `offset` readable.
    pub(super) fn show(&self, offset: i64) {
        self.visible.fetch_max(offset, Ordering::AcqRel);
    }

    /// One unit of the readable part, `None` outside it.
    pub(super) fn get(&self, files: &QueueFiles, offset: i64) -> io::Result<Option<Unit>> {
        let mut units = Vec::with_capacity(1);
        if offset >= self.min_offset() {
            self.read(files, offset, 1, true, &mut units)?;
        }
        Ok(units.pop().filter(|unit| !unit.is_blank() && unit.is_valid()))
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
        let file = match files.open(self, file_start, waiting) {
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
            files.open(self, file_start, true)?.write_at(&rest[..part], (at - file_start) as u64)?;
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
        Ok(bytes.len())
    }

    fn create_missing(&self, files: &QueueFiles, file_start: i64) -> io::Result<()> {
        if self.inner.lock().files.contains(&file_start) {
            return Ok(());
        }
        files.fs.create_dir_all(&self.dir)?;
        let file = files.fs.create(&self.path_of(file_start))?;
        file.set_len(files.file_bytes)?;
        let mut inner = self.inner.lock();
        inner.files.push(file_start);
        inner.files.sort_unstable();
        inner.unsynced_dir = true;
        Ok(())
    }

    /// Lets go of the memory of a queue that nothing was appended to since its units were written. False when it still has some to write.
    pub(super) fn rest(&self) -> bool {
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
            match files.open(self, start, true) {
                Ok(file) => file.sync_data()?,
                // Expired meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if dir_too {
            for dir in self.dir.ancestors().take_while(|dir| dir.starts_with(&files.root)) {
                match files.fs.sync_dir(dir) {
                    // Its topic was deleted meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    synced => synced?,
                }
            }
        }
        Ok(())
    }

    /// Recovery: the record at this place of the log belongs at `offset`. The first one that a recovery meets cuts the queue
    /// there, since all that follow are met as well.
    pub(super) fn redispatch(&self, files: &QueueFiles, offset: i64, unit: Unit) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let empty = inner.files.is_empty() && inner.next == 0;
        if !(0..=OFFSET_MAX).contains(&offset) || (!empty && offset - inner.next > MISSING_UNITS_MAX) {
            let (next, at) = (inner.next, unit.physical_offset);
            warn!(topic = %self.topic, queue_id = self.queue_id, offset, next, at, "a record whose queue offset cannot be right is not readable");
            return Ok(());
        }
        if !inner.redispatched {
            inner.redispatched = true;
            if offset < inner.next {
                let end = inner.next;
                self.erase(&mut inner, files, offset, end)?;
                inner.next = offset;
                inner.written = inner.written.min(offset);
                inner.tail.clear();
                inner.tail_base = offset;
                let min = self.min.load(Ordering::Relaxed).min(offset);
                self.min.store(min, Ordering::Release);
                self.visible.store(offset, Ordering::Release);
            }
        }
        if offset < inner.next {
            // Java appends a message with a wrong queue offset at the queue's end; so its log may hold two with one offset.
            warn!(topic = %self.topic, queue_id = self.queue_id, offset, next = inner.next, "a second message with this offset is not readable");
            return Ok(());
        }
        if offset > inner.next {
            if empty {
                info!(topic = %self.topic, queue_id = self.queue_id, offset, "the queue begins here: older messages have expired");
                // Blanks from the start of the file that holds the first message, as Java writes them.
                let units_per_file = files.file_bytes as i64 / UNIT_BYTES as i64;
                inner.next = offset - offset % units_per_file;
                inner.written = inner.next;
                inner.tail_base = inner.next;
                self.min.store(offset, Ordering::Release);
            } else {
                warn!(topic = %self.topic, queue_id = self.queue_id, from = inner.next, to = offset, "messages are missing: their places stay blank");
            }
            while inner.next < offset {
                inner.push(&Unit::BLANK);
            }
        }
        inner.push(&unit);
        self.visible.store(inner.next, Ordering::Release);
        Ok(())
    }

    /// One unit as the files have it, of a queue that may not be loaded yet.
    pub(super) fn unit_before_loading(&self, files: &QueueFiles, offset: i64) -> Option<Unit> {
        if !(0..=OFFSET_MAX).contains(&offset) {
            return None;
        }
        self.unit_on_disk(files, offset).ok().filter(Unit::is_valid)
    }

    /// Recovery has found the end of the log: units behind it go.
    pub(super) fn cut_behind(&self, files: &QueueFiles, log_end: i64) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        if !self.is_loaded() || inner.max_physical_end <= log_end {
            return Ok(());
        }
        let floor = inner.files.first().map_or(inner.tail_base, |start| start / UNIT_BYTES as i64);
        let failed = at_path("read", &self.dir);
        let next = first_at_or_after(floor..inner.next, log_end, |offset| self.unit(&inner, files, offset)).map_err(&failed)?;
        let end = inner.next;
        self.erase(&mut inner, files, next, end)?;
        let in_tail = (next - inner.tail_base).max(0) as usize * UNIT_BYTES;
        inner.tail.truncate(in_tail);
        inner.tail_base = inner.tail_base.min(next);
        inner.written = inner.written.min(next);
        inner.next = next;
        let last = if next > floor { Some(self.unit(&inner, files, next - 1).map_err(&failed)?) } else { None };
        inner.max_physical_end = last.filter(|last| !last.is_blank()).map_or(0, |last| last.end_offset());
        self.visible.store(next, Ordering::Release);
        Ok(())
    }

    /// The end in the log of the last message; -1 when the queue is empty.
    pub(super) fn max_physical_end(&self) -> i64 {
        let inner = self.inner.lock();
        if inner.max_physical_end == 0 { -1 } else { inner.max_physical_end }
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
            let last_unit = first / UNIT_BYTES as i64 + units_per_file - 1;
            if last_unit >= written || self.unit_on_disk(files, last_unit)?.physical_offset >= min_physical {
                break;
            }
            files.forget(self, first);
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
        files.forget_queue(self);
        if !files.fs.exists(&self.dir) {
            return Ok(());
        }
        for entry in files.fs.read_dir(&self.dir)? {
            if !entry.is_dir {
                files.fs.remove_file(&self.dir.join(&entry.name))?;
            }
        }
        files.fs.remove_dir(&self.dir)
    }
}

/// The first units of a file.
#[derive(Default)]
struct Head {
    first: i64,
    bytes: Vec<u8>,
}

impl Head {
    fn units(&self) -> impl ExactSizeIterator<Item = Unit> {
        self.bytes.as_chunks().0.iter().map(Unit::decode)
    }

    fn unit(&self, offset: i64) -> Option<Unit> {
        let at = usize::try_from(offset - self.first).ok()?;
        self.bytes.as_chunks().0.get(at).map(Unit::decode)
    }
}

/// The first of these offsets whose message is at `physical` in the log or behind it; their end without one.
fn first_at_or_after(offsets: Range<i64>, physical: i64, unit: impl Fn(i64) -> io::Result<Unit>) -> io::Result<i64> {
    let (mut low, mut high, mut found) = (offsets.start, offsets.end, offsets.end);
    let mut middle = low;
    while low < high {
        // A blank says nothing of what lies before it: the next message does.
        let mut probe = middle;
        let unit = loop {
            if probe == high {
                break None;
            }
            let unit = unit(probe)?;
            if !unit.is_blank() {
                break Some(unit);
            }
            probe += 1;
        };
        match unit {
            Some(unit) if unit.physical_offset < physical => low = probe + 1,
            Some(_) => (found, high) = (probe, middle),
            None => high = middle,
        }
        middle = low + (high - low) / 2;
    }
    Ok(found)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// store-and-ha.md §14.
    #[test]
    fn units_are_bytes_of_the_original() {
        let unit = Unit { physical_offset: 1000, size: 154, tags_code: 2_598_919 };
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&1000_i64.to_be_bytes());
        bytes.extend_from_slice(&0x9a_i32.to_be_bytes());
        bytes.extend_from_slice(&0x27a807_i64.to_be_bytes());
        assert_eq!(unit.encode()[..], bytes);
        assert_eq!(Unit::decode(&unit.encode()), unit);
        assert_eq!(Unit::BLANK.encode(), [0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
