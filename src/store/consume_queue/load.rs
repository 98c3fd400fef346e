// SPDX-License-Identifier: Apache-2.0
//! What the files of a ConsumeQueue hold: found out once, when the queue is first used, and set right by recovery.
//!
//! A unit on the disk is believed only if the log has that very message there.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

use tracing::{error, info, warn};

use super::super::commit_log::CommitLog;
use super::super::queue_files::QueueFiles;
use super::super::unit::{UNIT_BYTES, Unit};
use super::super::{StoreError, at_path};
use super::mend::Files;
use super::{ConsumeQueue, Inner, QueueEnd};

/// Units of a file that are read at once when its queue is loaded: not quite a page.
const HEAD_UNITS: usize = 200;

/// Blanks that recovery puts before a message. More messages than these do not get lost: then the record is damaged.
pub(super) const MISSING_UNITS_MAX: i64 = 1_000_000;

/// Half of what positions in bytes can express, so that no sum of them overflows.
const OFFSET_MAX: i64 = i64::MAX / 2 / UNIT_BYTES as i64;

impl ConsumeQueue {
    /// Finds out what the files hold, once.
    #[inline]
    pub(in crate::store) fn ensure_loaded(&self, files: &QueueFiles, log: &CommitLog) -> Result<(), StoreError> {
        if self.is_loaded() { Ok(()) } else { self.ensure_loaded_up_to(files, log, i64::MAX) }
    }

    /// As `ensure_loaded`, when all units from `limit` on are about to be written anew.
    fn ensure_loaded_up_to(&self, files: &QueueFiles, log: &CommitLog, limit: i64) -> Result<(), StoreError> {
        if self.is_loaded() {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        if self.is_loaded() {
            return Ok(());
        }
        self.load(&mut inner, files, log, limit)?;
        self.visible.store(inner.next, Ordering::Release);
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    fn load(&self, inner: &mut Inner, files: &QueueFiles, log: &CommitLog, limit: i64) -> Result<(), StoreError> {
        inner.files = self.list(files)?;
        let units_per_file = files.file_bytes as i64 / UNIT_BYTES as i64;
        // From the last file back to the first one that holds anything: that is where the queue ends.
        let mut on_disk = None;
        let mut damaged = None;
        let mut head = Head::default();
        while let Some(&start) = inner.files.last() {
            let first = start / UNIT_BYTES as i64;
            head = self.read_head(files, start).map_err(at_path("read", &self.path_of(start)))?;
            let count = self.count_valid(files, &head, units_per_file).map_err(at_path("read", &self.path_of(start)))?;
            // What lies behind that end, if anything does, it must not hide.
            let unused = first + count..(first + units_per_file).min(limit);
            let there = Files { starts: inner.files.clone(), end: i64::MAX };
            let behind = self.last_confirmed(&there, files, log, unused.clone()).map_err(at_path("read", &self.path_of(start)))?;
            if let Some(last) = behind {
                on_disk = Some((first, last + 1));
                damaged = Some(unused.start..last + 1);
                break;
            }
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
            files.forget(&self.dir, start);
            files.fs.remove_file(&self.path_of(start)).map_err(at_path("remove", &self.path_of(start)))?;
        }
        // Units from `limit` on are made anew by whoever says so.
        let reached = inner.reached.map(|reached| QueueEnd { next: reached.next.min(limit), ..reached });
        let end = match on_disk {
            Some((_, end)) => end,
            None if reached.is_none_or(|reached| reached.next <= 0) => return Ok(()),
            None => 0,
        };
        self.mend_missing_files(inner, files, log)?;
        if let Some(damaged) = damaged {
            self.mend_file(inner, files, log, damaged)?;
            head = Head::default();
        }
        let floor = inner.files.first().map_or(0, |start| start / UNIT_BYTES as i64);
        let unit = |offset| head.unit(offset).map_or_else(|| self.unit_on_disk(files, offset), Ok);
        let mut next = end;
        let mut inside_log = false;
        while next > floor {
            let unit = unit(next - 1).map_err(at_path("read", self.dir()))?;
            if unit.is_blank() || self.log_agrees(log, next - 1, &unit).map_err(at_path("read the log for", self.dir()))? {
                break;
            }
            inside_log |= unit.physical_offset < log.max_offset();
            next -= 1;
        }
        if next < end {
            warn!(topic = %self.topic, queue_id = self.queue_id, from = end, to = next, "cutting units that the log does not have");
            self.erase(inner, files, next, end)?;
            if inside_log && limit == i64::MAX {
                next = self.regain(inner, files, log, next).map_err(at_path("mend", self.dir()))?;
                head = Head::default();
            }
        }
        let failed = at_path("mend", self.dir());
        if let Some(reached) = reached.filter(|reached| next < reached.next) {
            self.reach(inner, files, log, next, reached).map_err(&failed)?;
            next = reached.next;
            head = Head::default();
        }
        self.mend_beginning(inner, files, log).map_err(&failed)?;
        let floor = inner.files[0] / UNIT_BYTES as i64;
        let unit = |offset| head.unit(offset).map_or_else(|| self.unit_on_disk(files, offset), Ok);
        inner.next = next;
        inner.written = next;
        inner.tail_base = next;
        if next > floor {
            let last = unit(next - 1).map_err(at_path("read", self.dir()))?;
            inner.max_physical_end = if last.is_blank() { 0 } else { last.end_offset() };
        }
        let failed = at_path("read", self.dir());
        let mut min = first_at_or_after(floor..inner.next, log.min_offset(), unit).map_err(&failed)?;
        let mut damaged_from = min;
        let file_floor = ((min - 1) / units_per_file * units_per_file).max(floor);
        while damaged_from > file_floor && !unit(damaged_from - 1).map_err(&failed)?.is_valid() {
            damaged_from -= 1;
        }
        if damaged_from < min {
            // Nobody would ask for what lies before the minimum.
            self.mend_file(inner, files, log, damaged_from..min)?;
            min = first_at_or_after(floor..inner.next, log.min_offset(), |offset| self.unit_on_disk(files, offset)).map_err(&failed)?;
        }
        self.min.store(min, Ordering::Release);
        Ok(())
    }

    /// The unit's message is in the log, or its part of the log has expired.
    pub(super) fn log_agrees(&self, log: &CommitLog, offset: i64, unit: &Unit) -> io::Result<bool> {
        if unit.physical_offset < log.min_offset() {
            return Ok(true);
        }
        Ok(unit.end_offset() <= log.max_offset() && log.has_message(unit.physical_offset, unit.size, &self.topic, self.queue_id, offset)?)
    }

    fn list(&self, files: &QueueFiles) -> Result<Vec<i64>, StoreError> {
        let entries = match files.fs.read_dir(self.dir()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at_path("list", self.dir()))?,
        };
        let mut found = Vec::new();
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let path = self.dir().join(&entry.name);
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
        let read = files.open(&self.dir, file_start, true)?.read_at(&mut bytes, 0)?;
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

    pub(super) fn unit_on_disk(&self, files: &QueueFiles, offset: i64) -> io::Result<Unit> {
        let mut bytes = [0; UNIT_BYTES];
        let at = offset * UNIT_BYTES as i64;
        let file_start = at - at % files.file_bytes as i64;
        let read = files.open(&self.dir, file_start, true)?.read_at(&mut bytes, (at - file_start) as u64)?;
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
                let file = files.open(&self.dir, file_start, true).map_err(at_path("open", &path))?;
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
            files.forget(&self.dir, last);
            files.fs.remove_file(&self.path_of(last)).map_err(at_path("remove", &self.path_of(last)))?;
        }
        Ok(())
    }

    /// Recovery: the record at this place of the log belongs at `offset`. The first one that a recovery meets cuts the queue
    /// there, since all that follow are met as well.
    pub(in crate::store) fn redispatch(&self, files: &QueueFiles, log: &CommitLog, offset: i64, unit: &Unit) -> Result<(), StoreError> {
        self.ensure_loaded_up_to(files, log, offset)?;
        let mut inner = self.inner.lock();
        let is_first = inner.may_hold(offset) && !std::mem::replace(&mut inner.redispatched, true);
        // A first message further on in the log: its topic was deleted and made anew, and what the queue held is not of this topic.
        let begins_anew = offset == 0 && unit.physical_offset >= inner.max_physical_end;
        if (is_first || begins_anew) && offset < inner.next {
            let end = inner.next;
            self.erase(&mut inner, files, offset, end)?;
            inner.next = offset;
            inner.written = inner.written.min(offset);
            inner.tail.clear();
            inner.tail_base = offset;
            inner.check();
            let min = self.min.load(Ordering::Relaxed).min(offset);
            self.min.store(min, Ordering::Release);
            self.visible.store(offset, Ordering::Release);
        }
        // The log before this recovery's part of it may have what the files lack; what lies in its part would have been met.
        let missing = if is_first && !inner.has_nothing() { inner.next..offset } else { 0..0 };
        let within = inner.max_physical_end..unit.physical_offset;
        let found = match missing.is_empty() {
            true => BTreeMap::new(),
            false => self.units_in_log(files, log, missing, within).map_err(at_path("mend", self.dir()))?,
        };
        if self.place(&mut inner, files, offset, unit, &found) {
            self.visible.store(inner.next, Ordering::Release);
        }
        Ok(())
    }

    /// A unit at the offset that its record names, which is the next one but for messages that are missing: of those some may be `found`.
    /// False when it cannot be there.
    pub(super) fn place(&self, inner: &mut Inner, files: &QueueFiles, offset: i64, unit: &Unit, found: &BTreeMap<i64, Unit>) -> bool {
        if !inner.may_hold(offset) {
            let (next, at) = (inner.next, unit.physical_offset);
            warn!(topic = %self.topic, queue_id = self.queue_id, offset, next, at, "a record whose queue offset cannot be right is not readable");
            return false;
        }
        if offset < inner.next {
            // Java appends a message with a wrong queue offset at the queue's end; so its log may hold two with one offset.
            warn!(topic = %self.topic, queue_id = self.queue_id, offset, next = inner.next, "a second message with this offset is not readable");
            return false;
        }
        if offset > inner.next {
            if inner.has_nothing() {
                info!(topic = %self.topic, queue_id = self.queue_id, offset, "the queue begins here: older messages have expired");
                // Blanks from the start of the file that holds the first message, as Java writes them.
                let units_per_file = files.file_bytes as i64 / UNIT_BYTES as i64;
                inner.next = offset - offset % units_per_file;
                inner.written = inner.next;
                inner.tail_base = inner.next;
                self.min.store(offset, Ordering::Release);
            } else {
                let (from, made) = (inner.next, found.len());
                error!(topic = %self.topic, queue_id = self.queue_id, from, to = offset, made, "units are missing in a ConsumeQueue, and are made from the log; what it has no more stays blank");
            }
            for missing in inner.next..offset {
                inner.push(found.get(&missing).unwrap_or(&Unit::BLANK));
            }
        }
        inner.push(unit);
        true
    }

    /// Before the queue is loaded: how far it reached once.
    pub(in crate::store) fn has_reached(&self, end: QueueEnd) {
        self.inner.lock().reached = Some(end);
    }

    /// Whether a start has to look for its end in the log.
    pub(in crate::store) fn lacks_its_last_file(&self, files: &QueueFiles) -> bool {
        let reached = self.inner.lock().reached;
        reached.is_some_and(|end| !files.fs.exists(&self.path_of(self.file_start(files, end.next - 1))))
    }

    /// Whether it has no units, before those from `limit` on are written.
    pub(in crate::store) fn has_nothing(&self, files: &QueueFiles, log: &CommitLog, limit: i64) -> Result<bool, StoreError> {
        self.ensure_loaded_up_to(files, log, limit)?;
        Ok(self.inner.lock().has_nothing())
    }

    /// Recovery has made the queue from the log; what is missing to where it ended once stays blank. Whether anything was.
    pub(in crate::store) fn fill_to_its_end(&self, files: &QueueFiles, log: &CommitLog) -> Result<bool, StoreError> {
        // Nothing of it was in the log, or it is as its files have it.
        self.ensure_loaded(files, log)?;
        let mut inner = self.inner.lock();
        let Some(reached) = inner.reached.filter(|reached| inner.next < reached.next) else { return Ok(false) };
        while inner.next < reached.next {
            inner.push(&Unit::BLANK);
        }
        self.visible.store(inner.next, Ordering::Release);
        Ok(true)
    }

    /// One unit as the files have it, of a queue that may not be loaded yet.
    pub(in crate::store) fn unit_before_loading(&self, files: &QueueFiles, offset: i64) -> Option<Unit> {
        if !(0..=OFFSET_MAX).contains(&offset) {
            return None;
        }
        self.unit_on_disk(files, offset).ok().filter(Unit::is_valid)
    }

    /// Recovery has found the end of the log: units behind it go.
    pub(in crate::store) fn cut_behind(&self, files: &QueueFiles, log_end: i64) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        if !self.is_loaded() || inner.max_physical_end <= log_end {
            return Ok(());
        }
        let floor = inner.files.first().map_or(inner.tail_base, |start| start / UNIT_BYTES as i64);
        let failed = at_path("read", self.dir());
        let next = first_at_or_after(floor..inner.next, log_end, |offset| self.unit(&inner, files, offset)).map_err(&failed)?;
        let end = inner.next;
        self.erase(&mut inner, files, next, end)?;
        let in_tail = (next - inner.tail_base).max(0) as usize * UNIT_BYTES;
        inner.tail.truncate(in_tail);
        inner.tail_base = inner.tail_base.min(next);
        inner.written = inner.written.min(next);
        inner.next = next;
        inner.check();
        let last = if next > floor { Some(self.unit(&inner, files, next - 1).map_err(&failed)?) } else { None };
        inner.max_physical_end = last.filter(|last| !last.is_blank()).map_or(0, |last| last.end_offset());
        self.visible.store(next, Ordering::Release);
        Ok(())
    }
}

impl Inner {
    fn has_nothing(&self) -> bool {
        self.files.is_empty() && self.next == 0
    }

    /// Whether a record may name this offset.
    fn may_hold(&self, offset: i64) -> bool {
        (0..=OFFSET_MAX).contains(&offset) && (self.has_nothing() || offset - self.next <= MISSING_UNITS_MAX)
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
pub(super) fn first_at_or_after(offsets: Range<i64>, physical: i64, unit: impl Fn(i64) -> io::Result<Unit>) -> io::Result<i64> {
    let (mut low, mut high, mut found) = (offsets.start, offsets.end, offsets.end);
    let mut middle = low;
    while low < high {
        // A blank (or damage) says nothing of what lies before it: the next message does.
        let mut probe = middle;
        let unit = loop {
            if probe == high {
                break None;
            }
            let unit = unit(probe)?;
            if unit.is_message() {
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
