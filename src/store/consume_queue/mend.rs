// SPDX-License-Identifier: Apache-2.0
//! Damaged ConsumeQueue files: units that are gone between others are made from the log again.
//!
//! The original takes the first unit that is not there for the queue's end; what follows it is lost to consumers, and overwritten. Here
//! a unit behind it that the log confirms says that the queue is damaged, not short. What the log has no more stays blank: a pull
//! passes over it. No unit that is there is ever overwritten.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use tracing::{error, warn};

use super::super::commit_log::CommitLog;
use super::super::fs::FsFile;
use super::super::log_reader::forward_over_damage;
use super::super::queue_files::QueueFiles;
use super::super::unit::{UNIT_BYTES, Unit};
use super::super::{StoreError, at_path};
use super::load::MISSING_UNITS_MAX;
use super::{ConsumeQueue, Inner, QueueEnd};

/// A look behind a queue's end first reads so far that only whole blocks of the file system follow, which mostly have nothing in them.
const BLOCK_BYTES: u64 = 4096;
/// Read at once where they have.
const STEP_BYTES: u64 = 256 * 1024;
static NOTHING: [u8; 4096] = [0; 4096];

/// The files of a queue as they were when a look at them began, and up to where they have units.
pub(super) struct Files {
    pub(super) starts: Vec<i64>,
    pub(super) end: i64,
}

impl ConsumeQueue {
    /// The last unit of a range, which lies in one file and seems to be empty, that the log confirms.
    pub(super) fn last_confirmed(&self, there: &Files, files: &QueueFiles, log: &CommitLog, range: Range<i64>) -> io::Result<Option<i64>> {
        if range.is_empty() {
            return Ok(None);
        }
        let file_start = self.file_start(files, range.start);
        let file = files.open(&self.dir, file_start, true)?;
        let mut at = (range.start * UNIT_BYTES as i64 - file_start) as u64;
        let end = (range.end * UNIT_BYTES as i64 - file_start) as u64;
        let mut step = BLOCK_BYTES - at % BLOCK_BYTES;
        let mut found = Vec::new();
        let mut bytes = Vec::new();
        while at < end {
            let Some(data) = file.next_data(at)? else { break };
            // The unit that the data begins in.
            at = at.max(data - data % UNIT_BYTES as u64);
            if at >= end {
                break;
            }
            bytes.resize(step.next_multiple_of(UNIT_BYTES as u64).min(end - at) as usize, 0);
            let read = file.read_at(&mut bytes, at)?;
            if read < bytes.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let first = (file_start + at as i64) / UNIT_BYTES as i64;
            if bytes.chunks(NOTHING.len()).any(|chunk| chunk != &NOTHING[..chunk.len()]) {
                let units = bytes.as_chunks().0.iter().map(Unit::decode).zip(first..);
                found.extend(units.filter(|(unit, _)| unit.is_message()));
            }
            at += bytes.len() as u64;
            step = STEP_BYTES;
        }
        // Mostly nothing at all is there.
        let Some((first, _)) = found.first() else { return Ok(None) };
        let expired_after = if first.physical_offset < log.min_offset() { self.end_before(there, files, log, range.start)? } else { 0 };
        for (unit, offset) in found.into_iter().rev() {
            // What has expired cannot be confirmed; it is believed in its place.
            let is_expired = unit.physical_offset < log.min_offset() && unit.physical_offset >= expired_after;
            if is_expired || unit.physical_offset >= log.min_offset() && self.log_agrees(log, offset, &unit)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// The file that holds a unit.
    pub(super) fn file_start(&self, files: &QueueFiles, offset: i64) -> i64 {
        let at = offset * UNIT_BYTES as i64;
        at - at % files.file_bytes as i64
    }

    /// Where the log goes on behind the last message before `offset` that it confirms.
    fn end_before(&self, there: &Files, files: &QueueFiles, log: &CommitLog, offset: i64) -> io::Result<i64> {
        let floor = there.starts.first().map_or(offset, |start| start / UNIT_BYTES as i64);
        for before in (floor..offset).rev() {
            if !there.starts.contains(&self.file_start(files, before)) {
                break;
            }
            let unit = self.unit_on_disk(files, before)?;
            if unit.is_message() && self.log_agrees(log, before, &unit)? {
                return Ok(unit.end_offset());
            }
        }
        Ok(0)
    }

    /// Where the first message at `offset` or behind it lies that the log confirms; the end of the log without one.
    fn start_behind(&self, there: &Files, files: &QueueFiles, log: &CommitLog, offset: i64) -> io::Result<i64> {
        let end = there.starts.last().map_or(offset, |start| (start + files.file_bytes as i64) / UNIT_BYTES as i64);
        for behind in offset..end.min(there.end) {
            if !there.starts.contains(&self.file_start(files, behind)) {
                break;
            }
            let unit = self.unit_on_disk(files, behind)?;
            if unit.is_message() && self.log_agrees(log, behind, &unit)? {
                return Ok(unit.physical_offset);
            }
        }
        Ok(log.max_offset())
    }

    /// The units of this queue's messages with these offsets, from a part of the log; `MISSING_UNITS_MAX` of them at most. Of two with one
    /// offset the first. What the log has no more is missing among them; what the disk cannot read is an error, since it may be read
    /// tomorrow.
    pub(super) fn units_in_log(
        &self,
        files: &QueueFiles,
        log: &CommitLog,
        offsets: Range<i64>,
        within: Range<i64>,
    ) -> io::Result<BTreeMap<i64, Unit>> {
        let mut found = BTreeMap::new();
        forward_over_damage(log, within.start.max(log.min_offset()), within.end, |message| {
            if message.topic != &*self.topic || message.queue_id != self.queue_id {
                return ControlFlow::Continue(());
            }
            let Some(unit) = files.dispatch.unit_of(message) else { return ControlFlow::Continue(()) };
            if message.queue_offset == 0 {
                // What came before is of a topic that was deleted and made anew.
                found.clear();
            }
            if offsets.contains(&message.queue_offset) {
                found.entry(message.queue_offset).or_insert(unit);
            }
            if found.len() as i64 >= MISSING_UNITS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// Makes the units of a range that are not there anew; the range lies in one file.
    pub(super) fn mend(&self, there: &Files, file: &dyn FsFile, files: &QueueFiles, log: &CommitLog, range: Range<i64>) -> io::Result<()> {
        let file_start = self.file_start(files, range.start);
        let place_of = |offset: i64| (offset * UNIT_BYTES as i64 - file_start) as u64;
        let mut bytes = vec![0; (range.end - range.start) as usize * UNIT_BYTES];
        file.read_at(&mut bytes, place_of(range.start))?;
        let is_there: Vec<bool> = bytes.as_chunks().0.iter().map(|unit| Unit::decode(unit).is_valid()).collect();
        let (mut made, mut blank) = (0, 0);
        let mut start = range.start;
        for gap in is_there.chunk_by(|one, other| one == other) {
            let offsets = start..start + gap.len() as i64;
            start = offsets.end;
            if gap[0] {
                continue;
            }
            let within = self.end_before(there, files, log, offsets.start)?..self.start_behind(there, files, log, offsets.end)?;
            let found = self.units_in_log(files, log, offsets.clone(), within)?;
            let units = offsets.clone().flat_map(|offset| found.get(&offset).unwrap_or(&Unit::BLANK).encode());
            file.write_at(&units.collect::<Vec<u8>>(), place_of(offsets.start))?;
            made += found.len();
            blank += gap.len() - found.len();
        }
        let (from, to) = (range.start, range.end);
        error!(topic = %self.topic, queue_id = self.queue_id, from, to, made, blank, "a ConsumeQueue was damaged: units were missing, and are made from the log; what it has no more stays blank");
        Ok(())
    }

    /// A get has met units in one file that are not there. Puts and other gets do not wait meanwhile.
    pub(in crate::store) fn mend_between(&self, files: &QueueFiles, log: &CommitLog, range: Range<i64>) -> io::Result<()> {
        let Some((file, there)) = self.written_file(files, range.start)? else { return Ok(()) };
        self.mend(&there, file.as_ref(), files, log, range.start..range.end.min(there.end))?;
        self.not_synced(self.file_start(files, range.start));
        Ok(())
    }

    /// A get has met a unit that leads to no record: makes it anew if the log has its message elsewhere. Whether it has.
    pub(in crate::store) fn remake(&self, files: &QueueFiles, log: &CommitLog, offset: i64) -> io::Result<bool> {
        let Some((file, there)) = self.written_file(files, offset)? else { return Ok(false) };
        let within = self.end_before(&there, files, log, offset)?..self.start_behind(&there, files, log, offset + 1)?;
        let Some(unit) = self.units_in_log(files, log, offset..offset + 1, within)?.remove(&offset) else { return Ok(false) };
        let file_start = self.file_start(files, offset);
        file.write_at(&unit.encode(), (offset * UNIT_BYTES as i64 - file_start) as u64)?;
        self.not_synced(file_start);
        error!(topic = %self.topic, queue_id = self.queue_id, offset, "a unit of a ConsumeQueue was damaged: it is made from the log");
        Ok(true)
    }

    /// The file of a unit that is written, and all files.
    fn written_file(&self, files: &QueueFiles, offset: i64) -> io::Result<Option<(Arc<dyn FsFile>, Files)>> {
        let inner = self.inner.lock();
        if inner.destroyed || offset >= inner.written {
            return Ok(None);
        }
        // Opened under the lock: another queue of this name may soon have a file of the same.
        let file = files.open(&self.dir, self.file_start(files, offset), true)?;
        Ok(Some((file, Files { starts: inner.files.clone(), end: inner.written })))
    }

    fn not_synced(&self, file_start: i64) {
        let mut inner = self.inner.lock();
        if !inner.unsynced.contains(&file_start) {
            inner.unsynced.push(file_start);
        }
    }

    /// Units at the queue's end led to no records and were cut off: those that the log has all the same. The queue's end then.
    pub(super) fn regain(&self, inner: &mut Inner, files: &QueueFiles, log: &CommitLog, end: i64) -> io::Result<i64> {
        let after = self.end_before(&Files { starts: inner.files.clone(), end }, files, log, end)?;
        let found = self.units_in_log(files, log, end..end + MISSING_UNITS_MAX, after..log.max_offset())?;
        let Some((&last, _)) = found.last_key_value() else { return Ok(end) };
        self.write_units(inner, files, end..last + 1, &found)?;
        let (to, made) = (last + 1, found.len());
        error!(topic = %self.topic, queue_id = self.queue_id, from = end, to, made, "the end of a ConsumeQueue was damaged: its units are made from the log");
        Ok(to)
    }

    /// The queue ends before an offset that it reached once: the units between, as far as the log has them. What it has no more stays
    /// blank, so that no other message gets its offset.
    pub(super) fn reach(&self, inner: &mut Inner, files: &QueueFiles, log: &CommitLog, end: i64, to: QueueEnd) -> io::Result<()> {
        let mut after = self.end_before(&Files { starts: inner.files.clone(), end }, files, log, end)?;
        let log_end = if to.in_log > 0 { to.in_log } else { log.max_offset() };
        let (mut next, mut made) = (end, 0);
        while next < to.next {
            let found = self.units_in_log(files, log, next..to.next, after..log_end)?;
            if inner.files.is_empty() {
                // Blanks from the start of the first file, as Java writes them.
                let first = found.first_key_value().map_or(to.next - 1, |(first, _)| *first);
                next = self.file_start(files, first) / UNIT_BYTES as i64;
            }
            let last = found.last_key_value().filter(|_| found.len() as i64 >= MISSING_UNITS_MAX);
            let until = last.map_or(to.next, |(last, _)| last + 1);
            self.write_units(inner, files, next..until, &found)?;
            made += found.len();
            after = last.map_or(log_end, |(_, unit)| unit.end_offset());
            next = until;
        }
        let to = to.next;
        warn!(topic = %self.topic, queue_id = self.queue_id, from = end, to, made, "the end of a ConsumeQueue was lost: its units are made from the log; what it has no more stays blank");
        Ok(())
    }

    /// The first files of a queue are there as long as the log has their last message. When they are not, their units are made from it.
    pub(super) fn mend_beginning(&self, inner: &mut Inner, files: &QueueFiles, log: &CommitLog) -> io::Result<()> {
        while let Some(first) = inner.files.first().map(|start| start / UNIT_BYTES as i64).filter(|first| *first > 0) {
            // Where it began so it is still so; and a queue that begins late begins with blanks, or in a new file with an expired message.
            let unit = self.unit_on_disk(files, first)?;
            let is_so = inner.reached.is_some_and(|reached| reached.first >= first);
            if is_so || !unit.is_message() || unit.physical_offset <= log.min_offset() || !self.log_agrees(log, first, &unit)? {
                break;
            }
            let within = log.min_offset()..unit.physical_offset;
            let found = self.units_in_log(files, log, (first - MISSING_UNITS_MAX).max(0)..first, within)?;
            let Some((&oldest, _)) = found.first_key_value() else { break };
            self.write_units(inner, files, self.file_start(files, oldest) / UNIT_BYTES as i64..first, &found)?;
            let made = found.len();
            warn!(topic = %self.topic, queue_id = self.queue_id, from = oldest, to = first, made, "the beginning of a ConsumeQueue was lost: its units are made from the log");
        }
        Ok(())
    }

    /// Writes units to their files, which are made where they are missing; those that were not found are blank.
    fn write_units(&self, inner: &mut Inner, files: &QueueFiles, range: Range<i64>, found: &BTreeMap<i64, Unit>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let file_start = self.file_start(files, at);
            let until = range.end.min((file_start + files.file_bytes as i64) / UNIT_BYTES as i64);
            if !inner.files.contains(&file_start) {
                files.create(&self.dir, file_start)?;
                inner.files.push(file_start);
                inner.files.sort_unstable();
                inner.unsynced_dir = true;
            }
            if !inner.unsynced.contains(&file_start) {
                inner.unsynced.push(file_start);
            }
            let units = (at..until).flat_map(|offset| found.get(&offset).unwrap_or(&Unit::BLANK).encode());
            let place = (at * UNIT_BYTES as i64 - file_start) as u64;
            files.open(&self.dir, file_start, true)?.write_at(&units.collect::<Vec<u8>>(), place)?;
            at = until;
        }
        Ok(())
    }

    /// As `mend`, while the queue is loaded.
    pub(super) fn mend_file(&self, inner: &mut Inner, files: &QueueFiles, log: &CommitLog, range: Range<i64>) -> Result<(), StoreError> {
        let file_start = self.file_start(files, range.start);
        let failed = at_path("mend", &self.path_of(file_start));
        let file = files.open(&self.dir, file_start, true).map_err(&failed)?;
        self.mend(&Files { starts: inner.files.clone(), end: i64::MAX }, file.as_ref(), files, log, range).map_err(&failed)?;
        inner.unsynced.push(file_start);
        Ok(())
    }

    /// Files that are missing between others are made anew.
    pub(super) fn mend_missing_files(&self, inner: &mut Inner, files: &QueueFiles, log: &CommitLog) -> Result<(), StoreError> {
        let missing: Vec<Range<i64>> =
            inner.files.windows(2).map(|pair| pair[0] + files.file_bytes as i64..pair[1]).filter(|missing| !missing.is_empty()).collect();
        for bytes in missing {
            let units = bytes.start / UNIT_BYTES as i64..bytes.end / UNIT_BYTES as i64;
            if units.end - units.start > MISSING_UNITS_MAX {
                let (from, to) = (units.start, units.end);
                error!(topic = %self.topic, queue_id = self.queue_id, from, to, "files of a ConsumeQueue are missing, or one has a wrong name");
                continue;
            }
            for file_start in bytes.step_by(files.file_bytes as usize) {
                let first = file_start / UNIT_BYTES as i64;
                files.create(&self.dir, file_start).map_err(at_path("create", &self.path_of(file_start)))?;
                inner.files.push(file_start);
                inner.files.sort_unstable();
                inner.unsynced_dir = true;
                self.mend_file(inner, files, log, first..first + files.file_bytes as i64 / UNIT_BYTES as i64)?;
            }
        }
        Ok(())
    }
}
