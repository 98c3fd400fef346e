// SPDX-License-Identifier: Apache-2.0
//! One file of the CommitLog: mapped for reading, appended by copy into the mapping or by `write_at`, never resized.
//!
//! Only one writer at a time stores above the published position: the append lock's holder, or recovery before anybody reads.
//! Knows nothing of records.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::fs::{Fs, FsFile};
use super::mapping::{PAGE_BYTES, Published, RESIDENT_PAGES_MAX};

/// Zeroes are written ahead by so much at once: some 40 us of the processor.
const WRITE_AHEAD_STEP_BYTES: usize = 256 * 1024;
/// Never written to: all of its pages are the kernel's one page of zeroes.
static ZEROES: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; WRITE_AHEAD_STEP_BYTES]);

/// How records reach the file, fixed at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendBy {
    /// ASYNC_FLUSH: a copy into pages that were written ahead.
    Mapping,
    /// SYNC_FLUSH: fdatasync of written pages is ten times cheaper than of pages dirtied through a mapping.
    Write,
}

/// One CommitLog file.
pub struct MappedFile {
    path: PathBuf,
    start_offset: i64,
    file: Arc<dyn FsFile>,
    /// Its published bytes are records (or a blank) and are never stored to again.
    bytes: Published,
    /// Disk space below is ours.
    reserved: AtomicUsize,
    /// Bytes below have their zeroes, or a record.
    written_ahead: AtomicUsize,
    /// Held while zeroes are written ahead of the records.
    ahead: Mutex<()>,
    read_only: AtomicBool,
}

impl MappedFile {
    /// Creates the file at its full length, sparse.
    pub fn create(fs: &dyn Fs, path: &Path, start_offset: i64, file_bytes: usize) -> io::Result<Self> {
        let file = fs.create(path)?;
        file.set_len(file_bytes as u64)?;
        // A short file that is not the last would keep every broker, Java's too, from starting.
        file.sync_data()?;
        if let Some(parent) = path.parent() {
            fs.sync_dir(parent)?;
        }
        Self::of(file, path, start_offset, file_bytes, 0)
    }

    /// Opens an existing file; all of it counts as published until recovery says otherwise.
    pub fn open(fs: &dyn Fs, path: &Path, start_offset: i64, file_bytes: usize, read_only: bool) -> io::Result<Self> {
        // A file on a read-only path is only opened so when it must be: it may hold the end of the log.
        let (file, read_only) = match fs.open(path) {
            Err(error) if read_only && matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                (fs.open_read_only(path)?, true)
            }
            file => (file?, false),
        };
        let mapped = Self::of(file, path, start_offset, file_bytes, file_bytes)?;
        mapped.read_only.store(read_only, Ordering::Relaxed);
        Ok(mapped)
    }

    fn of(file: Arc<dyn FsFile>, path: &Path, start_offset: i64, file_bytes: usize, published: usize) -> io::Result<Self> {
        let mapping = file.map(file_bytes)?;
        Ok(Self {
            path: path.to_owned(),
            start_offset,
            file,
            bytes: Published::new(mapping, published),
            reserved: AtomicUsize::new(0),
            written_ahead: AtomicUsize::new(0),
            ahead: Mutex::new(()),
            read_only: AtomicBool::new(false),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    pub fn file_bytes(&self) -> usize {
        self.bytes.mapping().len()
    }

    pub fn end_offset(&self) -> i64 {
        self.start_offset + self.file_bytes() as i64
    }

    pub fn published(&self) -> usize {
        self.bytes.position()
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// The published bytes of a range, cut at the published position.
    pub fn read(&self, at: usize, len: usize) -> &[u8] {
        self.bytes.read(at, len)
    }

    /// How many of the `len` bytes from `at` on can be read through the mapping without waiting for the disk; 1 MiB at most.
    pub fn resident_from(&self, at: usize, len: usize) -> usize {
        self.bytes.mapping().resident_prefix(at, len.min(RESIDENT_PAGES_MAX * PAGE_BYTES))
    }

    /// Reads through the file, not the mapping: `WouldBlock` when the bytes are not in memory and `waiting` is false.
    pub fn read_file(&self, bytes: &mut [u8], at: usize, waiting: bool) -> io::Result<()> {
        debug_assert!(at + bytes.len() <= self.published(), "a read beyond the published position");
        let read = if waiting { self.file.read_at(bytes, at as u64)? } else { self.file.read_at_without_waiting(bytes, at as u64)? };
        if read < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The first byte at `at` or behind it that may be something else than zero; `None` when there is none.
    pub(super) fn next_data(&self, at: usize) -> io::Result<Option<usize>> {
        Ok(self.file.next_data(at as u64)?.map(|data| data as usize))
    }

    /// Stores bytes at the published position or above it; they are not readable before `publish`.
    pub fn append(&self, by: AppendBy, at: usize, bytes: &[u8]) -> io::Result<()> {
        assert!(at >= self.published(), "a store below the published position");
        let end = at + bytes.len();
        if end > self.written_ahead.load(Ordering::Acquire) {
            // The zeroes ahead are late: from here on this range is no longer theirs to overwrite.
            let _ahead = self.ahead.lock();
            self.written_ahead.fetch_max(end, Ordering::AcqRel);
        }
        match by {
            AppendBy::Mapping => self.file.store(self.bytes.mapping(), at, bytes),
            AppendBy::Write => self.file.write_at(bytes, at as u64),
        }
    }

    pub fn publish(&self, position: usize) {
        self.bytes.publish(position);
    }

    /// Recovery's word on where the records end. Nobody else may be reading yet.
    pub(super) fn truncate(&self, position: usize) -> io::Result<()> {
        if position < self.file_bytes() && !self.is_read_only() {
            // What lies behind may look like records of an earlier life; a later recovery must not find them again.
            self.file.zero(position as u64, (self.file_bytes() - position) as u64)?;
        }
        self.set_end(position);
        Ok(())
    }

    /// As `truncate`, where what lies behind is known to be zero.
    pub(super) fn set_end(&self, position: usize) {
        self.bytes.set(position);
        self.reserved.store(position, Ordering::Release);
        self.written_ahead.store(position, Ordering::Release);
    }

    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Acquire)
    }

    /// Takes disk space up to `to` (cut at the end of the file).
    pub fn reserve(&self, to: usize) -> io::Result<()> {
        let to = to.min(self.file_bytes());
        if to <= self.reserved() {
            return Ok(());
        }
        // One at a time: where there is no fallocate the space is taken by writing zeroes, which must never meet a record.
        let _ahead = self.ahead.lock();
        let from = self.reserved();
        if to > from {
            self.file.reserve(from as u64, (to - from) as u64)?;
            self.reserved.fetch_max(to, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Overwrites reserved space ahead with zeroes. A later store there takes no page fault, and a sync of it changes no block map.
    ///
    /// Written, not touched through the mapping: the kernel then takes its pages in larger runs, which costs a fifth.
    pub fn write_ahead(&self, by: AppendBy, to: usize) -> io::Result<()> {
        let to = to.next_multiple_of(WRITE_AHEAD_STEP_BYTES).min(self.reserved());
        loop {
            let ahead = self.ahead.lock();
            let from = self.written_ahead.load(Ordering::Acquire).max(self.published());
            if from >= to {
                return Ok(());
            }
            let part = (WRITE_AHEAD_STEP_BYTES - from % WRITE_AHEAD_STEP_BYTES).min(to - from);
            self.file.write_at(&ZEROES[..part], from as u64)?;
            if by == AppendBy::Mapping {
                self.bytes.mapping().populate(from, part);
            }
            self.written_ahead.store(from + part, Ordering::Release);
            drop(ahead);
            // With plenty ahead a connection that waits for the processor goes first. With little an append would soon have to do
            // this itself, and under its lock.
            if from.saturating_sub(self.published()) >= to - from {
                std::thread::yield_now();
            }
        }
    }

    pub fn written_ahead(&self) -> usize {
        self.written_ahead.load(Ordering::Acquire)
    }

    pub fn start_writeback(&self, from: usize, len: usize) -> io::Result<()> {
        self.file.start_writeback(self.bytes.mapping(), from, len)
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryFs;
    use super::*;

    /// Pages go out of the process's page tables, and on an image, which no file stands behind, that would be for good.
    #[test]
    fn what_is_being_written_back_can_still_be_read() {
        let fs = MemoryFs::new();
        let file = MappedFile::create(&fs, Path::new("/00000000000000000000"), 0, 4 * PAGE_BYTES).unwrap();
        file.append(AppendBy::Mapping, 0, b"a record").unwrap();
        file.publish(2 * PAGE_BYTES);
        file.start_writeback(0, 2 * PAGE_BYTES).unwrap();
        assert_eq!(file.read(0, 8), b"a record");
    }
}
