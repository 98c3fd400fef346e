// SPDX-License-Identifier: Apache-2.0
//! Memory shared with a file, and the system calls about it that no safe crate wraps.
//!
//! The only file with `unsafe` in it. What keeps it sound: bytes below a published position are never stored to again, bytes above it are
//! never read as a slice (`Published`), and only one writer at a time stores above it (the append lock's holder, or recovery before
//! anybody reads). Of an index's slots no slice is ever made. Knows nothing of records.
#![expect(unsafe_code, reason = "shared mappings, and two system calls that no safe crate wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

/// Bytes shared with a file (or, for `MemoryFs`, with the image that stands for one).
pub struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    pub fn of_file(file: &File, len: usize) -> io::Result<Arc<Self>> {
        let writable = MmapOptions::new().len(len).map_raw(file);
        let raw = match writable {
            // A file on a read-only path.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => MmapOptions::new().len(len).map_raw_read_only(file)?,
            other => other?,
        };
        // Readahead behind a fault would fetch, and so fill with zeroes, what is about to be written anyway.
        raw.advise(Advice::Random)?;
        Ok(Arc::new(Self { raw }))
    }

    /// Zeroed memory that belongs to no file.
    pub fn anonymous(len: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { raw: MmapOptions::new().len(len.max(1)).map_anon()?.into() }))
    }

    pub fn len(&self) -> usize {
        self.raw.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn copy_in(&self, at: usize, bytes: &[u8]) {
        assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= self.raw.len()), "a store outside the mapping");
        // SAFETY: the range is inside the mapping (asserted). No slice of it exists: slices are made only below a MappedFile's
        // published position, and its writer stores only above it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.as_mut_ptr().add(at), bytes.len()) }
    }

    pub(super) fn copy_out(&self, at: usize, bytes: &mut [u8]) {
        assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= self.raw.len()), "a load outside the mapping");
        // SAFETY: the range is inside the mapping (asserted), and `bytes` is ordinary memory that cannot overlap it.
        unsafe { std::ptr::copy_nonoverlapping(self.raw.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Faults a range in for writing, so that stores there take no page fault. Best effort: the first store would do the same.
    pub(super) fn populate(&self, at: usize, len: usize) {
        let start = at / PAGE_BYTES * PAGE_BYTES;
        let end = (at + len).min(self.raw.len());
        if start >= end {
            return;
        }
        // SAFETY: the range is inside the mapping and starts on a page; populating changes no byte.
        let result = unsafe { libc::madvise(self.raw.as_mut_ptr().add(start).cast(), end - start, libc::MADV_POPULATE_WRITE) };
        // Kernels before 5.14 refuse; the page faults then happen at the stores.
        let _refused_by_older_kernels = result;
    }

    /// Takes a range of a file's mapping out of this process' page tables, and not out of memory.
    pub(super) fn unmap_pages(&self, at: usize, len: usize) {
        let start = at / PAGE_BYTES * PAGE_BYTES;
        let end = (at + len).min(self.raw.len());
        if start >= end {
            return;
        }
        // SAFETY: the range is inside the mapping and starts on a page. The mapping is shared with a file: what was stored stays in the
        // file's pages, and the next load or store faults them in again.
        let result = unsafe { libc::madvise(self.raw.as_mut_ptr().add(start).cast(), end - start, libc::MADV_DONTNEED) };
        debug_assert_eq!(result, 0, "advice about a mapping of our own");
    }

    /// How many bytes of a range, from its start on, are in memory: reading them takes no fault that waits for the disk.
    pub(super) fn resident_prefix(&self, at: usize, len: usize) -> usize {
        let start = at / PAGE_BYTES * PAGE_BYTES;
        let end = (at + len).min(self.raw.len());
        if at >= end {
            return 0;
        }
        let mut pages = [0_u8; RESIDENT_PAGES_MAX];
        let count = (end - start).div_ceil(PAGE_BYTES).min(RESIDENT_PAGES_MAX);
        let span = (count * PAGE_BYTES).min(self.raw.len() - start);
        // SAFETY: the range is inside the mapping and starts on a page; `pages` has a byte for each of its pages.
        let result = unsafe { libc::mincore(self.raw.as_mut_ptr().add(start).cast(), span, pages.as_mut_ptr().cast()) };
        if result != 0 {
            return 0;
        }
        let resident = pages[..count].iter().take_while(|page| **page & 1 == 1).count();
        (start + resident * PAGE_BYTES).min(end).saturating_sub(at)
    }
}

/// A mapping whose first bytes are readable: those below the published position.
pub(super) struct Published {
    mapping: Arc<Mapping>,
    /// Bytes below are records (or a blank) and are never stored to again.
    position: AtomicUsize,
}

impl Published {
    pub(super) fn new(mapping: Arc<Mapping>, position: usize) -> Self {
        Self { mapping, position: AtomicUsize::new(position) }
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(super) fn position(&self) -> usize {
        self.position.load(Ordering::Acquire)
    }

    /// The published bytes of a range, cut at the published position.
    pub(super) fn read(&self, at: usize, len: usize) -> &[u8] {
        let end = at.saturating_add(len).min(self.position());
        if at >= end {
            return &[];
        }
        // SAFETY: the range is below the published position, which is inside the mapping; those bytes are not stored to again
        // (see the head of this file), and the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.mapping.raw.as_ptr().add(at), end - at) }
    }

    pub(super) fn publish(&self, position: usize) {
        debug_assert!(position >= self.position.load(Ordering::Relaxed), "publishing backwards");
        debug_assert!(position <= self.mapping.len(), "a published position outside the mapping");
        self.position.store(position, Ordering::Release);
    }

    /// Recovery's word on where the records end. Nobody else may be reading yet.
    pub(super) fn set(&self, position: usize) {
        assert!(position <= self.mapping.len(), "a published position outside the mapping");
        self.position.store(position, Ordering::Release);
    }
}

pub(super) const PAGE_BYTES: usize = 4096;

/// Pages that one look at residency covers: the messages of a full pull lie this far apart where some ten queues share the log.
pub(super) const RESIDENT_PAGES_MAX: usize = 256;

/// Starts writing a range of a file to the disk without waiting for it.
pub(super) fn start_writeback(file: &File, offset: u64, len: u64) -> io::Result<()> {
    // SAFETY: a plain system call on an open descriptor; no memory is passed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, len as i64, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Some file systems have no such call; the later fdatasync does all the work.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE)) => Ok(()),
        error => Err(error),
    }
}
