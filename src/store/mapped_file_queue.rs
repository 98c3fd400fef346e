// SPDX-License-Identifier: Apache-2.0
//! The CommitLog's files in order, spread over one or several directories.
//!
//! Knows where a file may be created and which file holds an offset; knows nothing of records.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::fs::Fs;
use super::mapped_file::MappedFile;
use super::{StoreError, at_path};

pub(super) struct MappedFileQueue {
    fs: Arc<dyn Fs>,
    dirs: Vec<PathBuf>,
    read_only_dirs: Vec<PathBuf>,
    file_bytes: usize,
    files: ArcSwap<Vec<Arc<MappedFile>>>,
    /// Held while the list is exchanged.
    changing: Mutex<()>,
    /// Directories whose disk is used beyond the forcible ratio: no new files there while another has room.
    full_dirs: Mutex<Vec<PathBuf>>,
}

/// The name that Java gives the file of a log or ConsumeQueue which starts at this offset.
pub(super) fn file_name(offset: i64) -> String {
    format!("{offset:020}")
}

impl MappedFileQueue {
    /// Opens what the directories hold: sorted, a zero-length last file dropped, any other wrong length refused.
    pub(super) fn load(fs: Arc<dyn Fs>, dirs: Vec<PathBuf>, read_only_dirs: Vec<PathBuf>, file_bytes: usize) -> Result<Self, StoreError> {
        let mut found: Vec<(i64, PathBuf, bool)> = Vec::new();
        for dir in &dirs {
            fs.create_dir_all(dir).map_err(at_path("create directory", dir))?;
        }
        let mut visited: Vec<&PathBuf> = Vec::new();
        for dir in read_only_dirs.iter().chain(&dirs) {
            if visited.contains(&dir) {
                continue;
            }
            visited.push(dir);
            let read_only = read_only_dirs.contains(dir);
            if read_only && !fs.exists(dir) {
                warn!(dir = %dir.display(), "a read-only CommitLog path does not exist");
                continue;
            }
            for entry in fs.read_dir(dir).map_err(at_path("list", dir))? {
                if entry.is_dir {
                    continue;
                }
                let path = dir.join(&entry.name);
                let offset = entry.name.parse::<i64>().map_err(|_| StoreError::ForeignFile { path: path.clone() })?;
                found.push((offset, path, read_only));
            }
        }
        found.sort();
        let mut files = Vec::with_capacity(found.len());
        let count = found.len();
        for (index, (offset, path, read_only)) in found.into_iter().enumerate() {
            let len = fs.metadata(&path).map_err(at_path("look at", &path))?.len;
            if len == 0 && index + 1 == count {
                info!(path = %path.display(), "removing a CommitLog file whose creation did not finish");
                fs.remove_file(&path).map_err(at_path("remove", &path))?;
                continue;
            }
            if len != file_bytes as u64 {
                return Err(StoreError::WrongLength { path, found: len, expected: file_bytes as u64, key: "mappedFileSizeCommitLog" });
            }
            let file = MappedFile::open(fs.as_ref(), &path, offset, file_bytes, read_only).map_err(at_path("open", &path))?;
            if let Some(previous) = files.last().filter(|previous: &&Arc<MappedFile>| previous.end_offset() != offset) {
                return Err(StoreError::Gap { before: previous.path().to_owned(), behind: path });
            }
            files.push(Arc::new(file));
        }
        if let Some(last) = files.last().filter(|file: &&Arc<MappedFile>| file.is_read_only()) {
            return Err(StoreError::ReadOnlyEnd { path: last.path().to_owned() });
        }
        Ok(Self {
            fs,
            dirs,
            read_only_dirs,
            file_bytes,
            files: ArcSwap::from_pointee(files),
            changing: Mutex::new(()),
            full_dirs: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn files(&self) -> Arc<Vec<Arc<MappedFile>>> {
        self.files.load_full()
    }

    pub(super) fn file_bytes(&self) -> usize {
        self.file_bytes
    }

    pub(super) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    pub(super) fn set_full_dirs(&self, dirs: Vec<PathBuf>) {
        *self.full_dirs.lock() = dirs;
    }

    pub(super) fn last(&self) -> Option<Arc<MappedFile>> {
        self.files.load().last().cloned()
    }

    pub(super) fn min_offset(&self) -> Option<i64> {
        self.files.load().first().map(|file| file.start_offset())
    }

    /// The file that holds an offset.
    pub(super) fn find(&self, offset: i64) -> Option<Arc<MappedFile>> {
        let files = self.files.load();
        let index = files.partition_point(|file| file.end_offset() <= offset);
        files.get(index).filter(|file| file.start_offset() <= offset).cloned()
    }

    /// Java's choice among several directories: by the file's number, full ones left out while another has room.
    fn dir_for(&self, start_offset: i64) -> &Path {
        let full = self.full_dirs.lock();
        let writable = |dir: &&PathBuf| !self.read_only_dirs.contains(dir);
        let mut candidates: Vec<&PathBuf> = self.dirs.iter().filter(writable).filter(|dir| !full.contains(dir)).collect();
        if candidates.is_empty() {
            candidates = self.dirs.iter().filter(writable).collect();
        }
        if candidates.is_empty() {
            candidates = self.dirs.iter().collect();
        }
        candidates.sort();
        candidates[(start_offset / self.file_bytes as i64) as usize % candidates.len()]
    }

    /// Creates a file that is not yet part of the log.
    pub(super) fn create(&self, start_offset: i64) -> io::Result<Arc<MappedFile>> {
        let path = self.dir_for(start_offset).join(file_name(start_offset));
        Ok(Arc::new(MappedFile::create(self.fs.as_ref(), &path, start_offset, self.file_bytes)?))
    }

    /// Makes a created file the last of the log.
    pub(super) fn push(&self, file: Arc<MappedFile>) {
        let _changing = self.changing.lock();
        let mut files = Vec::clone(&self.files.load());
        if let Some(last) = files.last() {
            assert_eq!(last.end_offset(), file.start_offset(), "the next file begins where the last one ends");
        }
        files.push(file);
        self.files.store(Arc::new(files));
    }

    /// Takes a file off the disk and out of the log; one that cannot be taken off the disk stays, to be tried again. Readers that
    /// have it keep it until they let go.
    pub(super) fn remove(&self, file: &Arc<MappedFile>) -> io::Result<()> {
        match self.fs.remove_file(file.path()) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.forget(file);
        self.sync_dir_of(file)
    }

    /// Takes a file out of the log, and keeps it in this directory of the same file system.
    pub(super) fn move_to(&self, file: &Arc<MappedFile>, dir: &Path) -> io::Result<()> {
        if let Some(name) = file.path().file_name() {
            self.fs.rename(file.path(), &dir.join(name))?;
        }
        self.forget(file);
        self.fs.sync_dir(dir)?;
        self.sync_dir_of(file)
    }

    fn forget(&self, file: &Arc<MappedFile>) {
        let _changing = self.changing.lock();
        let mut files = Vec::clone(&self.files.load());
        files.retain(|other| !Arc::ptr_eq(other, file));
        self.files.store(Arc::new(files));
    }

    /// Takes a created file off the disk that never became part of the log.
    pub(super) fn discard(&self, file: &MappedFile) -> io::Result<()> {
        self.fs.remove_file(file.path())?;
        self.sync_dir_of(file)
    }

    fn sync_dir_of(&self, file: &MappedFile) -> io::Result<()> {
        match file.path().parent() {
            Some(dir) => self.fs.sync_dir(dir),
            None => Ok(()),
        }
    }
}
