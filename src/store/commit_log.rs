// SPDX-License-Identifier: Apache-2.0
//! The CommitLog: the one append-only log of all topics.
//!
//! One writer at a time (`LogTail`, kept under the append lock), any number of readers below the published end. Space is
//! reserved and zeroed ahead by the keeper, so that an append is a copy. Knows records, not queues.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::BytesMut;
use ferrocket_protocol::message::MessageView;
use parking_lot::Mutex;

use super::GET_BYTES_MAX;
use super::mapped_file::{AppendBy, MappedFile};
use super::mapped_file_queue::MappedFileQueue;
use super::record::{self, BLANK_HEAD_BYTES, Found, Head};

/// Disk space reserved ahead of the end of the log; less where the disk is small.
const RESERVE_AHEAD_BYTES: usize = 64 * 1024 * 1024;
/// Of that, overwritten with zeroes before the append comes: no less and no more than this.
const WRITE_AHEAD_BYTES_MIN: usize = 1024 * 1024;
const WRITE_AHEAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The least window: enough for one record of the largest size, and for a small disk.
const RESERVE_STEP_BYTES_MIN: usize = 1024 * 1024;
/// An exabyte: a log that began behind it would soon be at the end of all offsets.
const BEGIN_MAX: i64 = 1 << 60;
/// Reads this close to the end, of what this process has appended, go through the mapping: its pages were written moments ago.
const HOT_BYTES: i64 = 16 * 1024 * 1024;

pub(super) struct CommitLog {
    pub(super) files: MappedFileQueue,
    append_by: AppendBy,
    max_offset: AtomicI64,
    /// What lies before was written by an earlier process: who knows where its pages are.
    appended_from: AtomicI64,
    /// The file that follows the last one, made before it is needed. Locked from when it is taken until it is the last one itself: whoever
    /// looked in between would make it a second time, and write zeroes over its records.
    prepared: Mutex<Option<Arc<MappedFile>>>,
}

/// The end of the log, for its one writer.
pub(super) struct LogTail {
    file: Option<Arc<MappedFile>>,
    /// Where the next record goes.
    pub(super) position: i64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    /// No disk space, or no file: nothing was appended.
    #[error("no space for the record: {0}")]
    NoSpace(#[source] io::Error),
    #[error("cannot create the next file: {0}")]
    CreateFile(#[source] io::Error),
    #[error("writing the record failed: {0}")]
    Write(#[source] io::Error),
    #[error("a record of {0} bytes fits in no file")]
    TooLong(usize),
    #[error("the store is closed")]
    Closed,
}

impl CommitLog {
    pub(super) fn new(files: MappedFileQueue, append_by: AppendBy) -> Self {
        Self { files, append_by, max_offset: AtomicI64::new(0), appended_from: AtomicI64::new(i64::MAX), prepared: Mutex::new(None) }
    }

    /// Recovery has found the end.
    pub(super) fn set_end(&self, end: i64) -> LogTail {
        self.max_offset.store(end, Ordering::Release);
        self.appended_from.store(end, Ordering::Release);
        LogTail { file: self.files.last().filter(|file| end < file.end_offset() && end >= file.start_offset()), position: end }
    }

    /// While recovery reads: everything in the files may be looked at.
    pub(super) fn set_readable_end(&self, end: i64) {
        self.max_offset.store(end, Ordering::Release);
    }

    pub(super) fn max_offset(&self) -> i64 {
        self.max_offset.load(Ordering::Acquire)
    }

    pub(super) fn min_offset(&self) -> i64 {
        self.files.min_offset().unwrap_or_else(|| self.max_offset())
    }

    /// Makes room for `len` bytes of records that must lie together; the offset where they will begin.
    pub(super) fn prepare(&self, tail: &mut LogTail, len: usize) -> Result<i64, AppendError> {
        if len + BLANK_HEAD_BYTES > self.files.file_bytes() {
            return Err(AppendError::TooLong(len));
        }
        let file = match tail.file.take() {
            Some(file) => file,
            None => {
                let mut prepared = self.prepared.lock();
                let file = self.next_file(&mut prepared, tail.position)?;
                self.files.push(Arc::clone(&file));
                file
            }
        };
        let at = (tail.position - file.start_offset()) as usize;
        if len + BLANK_HEAD_BYTES <= file.file_bytes() - at {
            let room = self.make_room(&file, at + len + BLANK_HEAD_BYTES);
            tail.file = Some(file);
            room?;
            return Ok(tail.position);
        }
        self.end_file(tail, file)?;
        let room = tail.file.as_ref().map_or(Ok(()), |next| self.make_room(next, len + BLANK_HEAD_BYTES));
        room?;
        Ok(tail.position)
    }

    /// Whether a log in which nothing is yet may begin here.
    pub(super) fn may_begin_at(&self, start: i64) -> bool {
        self.files.last().is_none() && (1..BEGIN_MAX).contains(&start) && start % self.files.file_bytes() as i64 == 0
    }

    pub(super) fn begin_at(&self, tail: &mut LogTail, start: i64) {
        assert!(tail.file.is_none() && self.may_begin_at(start), "a log begins once, where a file does");
        tail.position = start;
        self.max_offset.store(start, Ordering::Release);
    }

    /// What is left of the file that the log ends in stays blank.
    pub(super) fn end_last_file(&self, tail: &mut LogTail) -> Result<(), AppendError> {
        match tail.file.take() {
            Some(file) => self.end_file(tail, file),
            None => Ok(()),
        }
    }

    /// The rest of this file stays blank. The next one is made first: if that fails nothing has changed.
    fn end_file(&self, tail: &mut LogTail, file: Arc<MappedFile>) -> Result<(), AppendError> {
        let at = (tail.position - file.start_offset()) as usize;
        let mut prepared = self.prepared.lock();
        let next = match self.next_file(&mut prepared, file.end_offset()) {
            Ok(next) => next,
            Err(error) => {
                tail.file = Some(file);
                return Err(error);
            }
        };
        let blank = record::blank_head(file.file_bytes() - at);
        let written =
            self.make_room(&file, at + BLANK_HEAD_BYTES).and_then(|()| file.append(self.append_by, at, &blank).map_err(AppendError::Write));
        if let Err(error) = written {
            *prepared = Some(next);
            tail.file = Some(file);
            return Err(error);
        }
        file.publish(file.file_bytes());
        tail.position = file.end_offset();
        self.files.push(Arc::clone(&next));
        self.max_offset.store(tail.position, Ordering::Release);
        tail.file = Some(next);
        Ok(())
    }

    /// Appends the bytes that `prepare` made room for, and publishes them.
    pub(super) fn append(&self, tail: &mut LogTail, bytes: &[u8]) -> Result<(), AppendError> {
        let file = tail.file.as_ref().expect("prepare has chosen the file");
        let at = (tail.position - file.start_offset()) as usize;
        file.append(self.append_by, at, bytes).map_err(AppendError::Write)?;
        file.publish(at + bytes.len());
        tail.position += bytes.len() as i64;
        self.max_offset.store(tail.position, Ordering::Release);
        Ok(())
    }

    /// The file that starts at `start`, made ahead or now.
    fn next_file(&self, prepared: &mut Option<Arc<MappedFile>>, start: i64) -> Result<Arc<MappedFile>, AppendError> {
        let start = start - start % self.files.file_bytes() as i64;
        let file = match prepared.take() {
            Some(file) if file.start_offset() == start => file,
            _ => self.files.create(start).map_err(AppendError::CreateFile)?,
        };
        Ok(file)
    }

    fn make_room(&self, file: &MappedFile, to: usize) -> Result<(), AppendError> {
        if to <= file.reserved() {
            return Ok(());
        }
        // The keeper is late (or this is the first append): take a window here, or at least what this record needs.
        file.reserve(to + RESERVE_STEP_BYTES_MIN).or_else(|_| file.reserve(to)).map_err(AppendError::NoSpace)
    }

    /// The keeper's work: disk space, zeroed pages and the next file, all before they are needed. The offset at which to come again.
    pub(super) fn look_ahead(&self, free_bytes: u64, growth_bytes: usize) -> io::Result<i64> {
        let end = self.max_offset();
        let Some(file) = self.files.last() else { return Ok(end + RESERVE_STEP_BYTES_MIN as i64) };
        // A small disk keeps most of its space for messages rather than for the space ahead of them.
        let window = RESERVE_AHEAD_BYTES.min((free_bytes / 16) as usize).max(RESERVE_STEP_BYTES_MIN);
        let ahead = growth_bytes.clamp(WRITE_AHEAD_BYTES_MIN, WRITE_AHEAD_BYTES_MAX).min(window);
        let at = file.published();
        if file.reserved() < file.file_bytes() && file.reserved() - at.min(file.reserved()) < window / 2 {
            file.reserve(at + window)?;
        }
        file.write_ahead(self.append_by, at + ahead)?;
        if file.file_bytes() - at <= window {
            self.prepare_next(file.end_offset(), window.min(ahead))?;
        }
        Ok(end + (ahead / 4) as i64)
    }

    fn prepare_next(&self, start: i64, window: usize) -> io::Result<()> {
        let file = {
            // Held while the file is made, so that an append that needs it now waits instead of making it a second time.
            let mut prepared = self.prepared.lock();
            match &*prepared {
                Some(file) => Arc::clone(file),
                None if self.files.last().is_some_and(|last| last.end_offset() == start) => {
                    let file = self.files.create(start)?;
                    *prepared = Some(Arc::clone(&file));
                    file
                }
                None => return Ok(()),
            }
        };
        file.reserve(window)?;
        file.write_ahead(self.append_by, window)
    }

    /// Removes the file that was made ahead and not used, as an orderly Java stop does.
    pub(super) fn discard_prepared(&self) -> io::Result<()> {
        match self.prepared.lock().take() {
            Some(file) => self.files.discard(&file),
            None => Ok(()),
        }
    }

    /// Gives the space ahead of the end back to the disk.
    pub(super) fn release_ahead(&self) -> io::Result<()> {
        match self.files.last() {
            Some(file) if file.reserved() > file.published() => file.truncate(file.published()),
            _ => Ok(()),
        }
    }

    /// Calls `read` with up to `len` published bytes from an offset on, of one file; `None` outside the log. The newest part is read
    /// through the mapping, everything older through the file: what the disk cannot read is then an error, and no signal.
    fn with_bytes<R>(&self, offset: i64, len: usize, read: impl FnOnce(&[u8]) -> R) -> io::Result<Option<R>> {
        let Some(file) = self.files.find(offset) else { return Ok(None) };
        let at = (offset - file.start_offset()) as usize;
        let len = len.min(file.published().saturating_sub(at));
        if len == 0 {
            return Ok(None);
        }
        if self.is_hot(offset) {
            return Ok(Some(read(file.read(at, len))));
        }
        let mut bytes = vec![0; len];
        file.read_file(&mut bytes, at, true)?;
        Ok(Some(read(&bytes)))
    }

    /// What the record at this place says of itself; `None` when no record is there.
    pub(super) fn head(&self, offset: i64) -> io::Result<Option<Head>> {
        Ok(self.with_bytes(offset, record::HEAD_BYTES_MAX, |bytes| record::head(bytes, offset))?.flatten())
    }

    /// Calls `read` with the record at this place, checked but for its CRC; `None` when no whole record is there.
    pub(super) fn with_record<R>(&self, offset: i64, read: impl FnOnce(&MessageView<'_>) -> R) -> io::Result<Option<R>> {
        // A length that lies costs no more than a get may.
        let Some(head) = self.head(offset)?.filter(|head| head.total_bytes <= GET_BYTES_MAX) else { return Ok(None) };
        let read = |bytes: &[u8]| match record::check(bytes, offset, false) {
            Found::Record(record) => Some(read(&record)),
            _ => None,
        };
        Ok(self.with_bytes(offset, head.total_bytes, read)?.flatten())
    }

    /// Whether the record at this place is that message.
    pub(super) fn has_message(&self, offset: i64, size: i32, topic: &str, queue_id: i32, queue_offset: i64) -> io::Result<bool> {
        let same = |record: &MessageView<'_>| {
            record.total_bytes() == size as usize
                && record.topic == topic
                && record.queue_id == queue_id
                && record.queue_offset == queue_offset
        };
        Ok(self.with_record(offset, same)?.unwrap_or(false))
    }

    /// When the message at this place was stored; `None` outside the log.
    pub(super) fn store_timestamp(&self, offset: i64) -> io::Result<Option<i64>> {
        Ok(self.head(offset)?.map(|head| head.store_timestamp))
    }

    /// CRC-32 of the bytes between two places of one file; `None` outside the log.
    pub(super) fn crc(&self, from: i64, to: i64) -> io::Result<Option<u32>> {
        self.with_bytes(from, usize::try_from(to - from).unwrap_or(0), crc32fast::hash)
    }

    pub(super) fn is_hot(&self, offset: i64) -> bool {
        offset >= self.max_offset() - HOT_BYTES && offset >= self.appended_from.load(Ordering::Relaxed)
    }

    /// Appends the record at this place to `out`; false when it has expired. `WouldBlock` when it is not in memory and `waiting`
    /// is false. `span` bytes from it on are going to be asked for; `place` remembers what is known of them.
    pub(super) fn copy(
        &self,
        offset: i64,
        size: usize,
        span: usize,
        waiting: bool,
        place: &mut ReadPlace,
        out: &mut BytesMut,
    ) -> io::Result<bool> {
        let file = match &place.file {
            Some(file) if file.start_offset() <= offset && offset < file.end_offset() => file,
            _ => match self.files.find(offset) {
                Some(file) => place.file.insert(file),
                None => return Ok(false),
            },
        };
        let at = (offset - file.start_offset()) as usize;
        if at + size > file.published() {
            return Ok(false);
        }
        let end = offset + size as i64;
        let mut in_memory = self.is_hot(offset) || place.resident.start <= offset && end <= place.resident.end;
        if !in_memory {
            let resident = file.resident_from(at, span.max(size));
            in_memory = size <= resident;
            place.resident = offset..offset + resident as i64;
        }
        if in_memory {
            out.extend_from_slice(file.read(at, size));
            return Ok(true);
        }
        let start = out.len();
        out.resize(start + size, 0);
        if let Err(error) = file.read_file(&mut out[start..], at, waiting) {
            out.truncate(start);
            return Err(error);
        }
        Ok(true)
    }
}

/// Where one get reads: its messages mostly lie in one file, and near each other.
#[derive(Default)]
pub(super) struct ReadPlace {
    file: Option<Arc<MappedFile>>,
    /// Known to be in memory.
    resident: Range<i64>,
}
