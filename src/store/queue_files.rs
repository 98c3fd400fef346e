// SPDX-License-Identifier: Apache-2.0
//! The files of all ConsumeQueues, and the few of them that are open: opened when needed, closed when others are needed more.
//!
//! Here alone a topic becomes a path (`QueueFiles::topic_dir`): whoever brings a name, it leads nowhere but into `consumequeue`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::dispatch::DispatchRule;
use super::fs::{Fs, FsFile};
use super::mapped_file_queue::file_name;

/// ConsumeQueue files open at a time. The usual limit of descriptors is 1,024, and connections want most of them.
const OPEN_FILES_MAX: usize = 192;

/// The longest name of a directory; what the file systems of Linux take.
const DIR_NAME_BYTES_MAX: usize = 255;

/// Whether a topic may have a directory of its own. A request's names are held against `TopicValidator`'s list before; this is for
/// all the others that a name can come from: a message's properties, a log that another broker wrote, a file of `config`.
///
/// Wider than that list, for what a store of the original may hold, and decided for Linux, where this runs: `:`, `CON` and a blank at
/// the end are names like any other. A backslash is refused all the same, since the store may be moved to where it separates.
pub fn may_name_a_directory(topic: &str) -> bool {
    let is_separator = |character: char| matches!(character, '/' | '\\') || character.is_control();
    !matches!(topic, "" | "." | "..") && topic.len() <= DIR_NAME_BYTES_MAX && !topic.contains(is_separator)
}

/// Where one queue's files lie.
pub(super) struct QueueDir {
    /// Names the queue in the cache of open files.
    cache_id: u32,
    path: PathBuf,
}

impl QueueDir {
    pub(super) fn new(cache_id: u32, path: PathBuf) -> Self {
        Self { cache_id, path }
    }

    pub(super) fn cache_id(&self) -> u32 {
        self.cache_id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Of the file that starts at this byte.
    pub(super) fn path_of(&self, file_start: i64) -> PathBuf {
        self.path.join(file_name(file_start))
    }
}

/// What all queues share.
pub(super) struct QueueFiles {
    pub(super) fs: Arc<dyn Fs>,
    root: PathBuf,
    pub(super) file_bytes: u64,
    /// The rule by which a unit is made from a record: at a put, and when it is missing in a file.
    pub(super) dispatch: DispatchRule,
    open: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    files: HashMap<(u32, i64), (Arc<dyn FsFile>, u64)>,
    uses: u64,
}

impl QueueFiles {
    pub(super) fn new(fs: Arc<dyn Fs>, root: PathBuf, file_bytes: u64, dispatch: DispatchRule) -> Self {
        Self { fs, root, file_bytes, dispatch, open: Mutex::default() }
    }

    /// The directory of all topics.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a topic; `None` for a name that may not have one.
    pub(super) fn topic_dir(&self, topic: &str) -> Option<PathBuf> {
        may_name_a_directory(topic).then(|| self.root.join(topic))
    }

    /// The file of a queue that starts at this byte; it must exist. `WouldBlock` when the disk would have to be asked for it and
    /// `waiting` is false.
    pub(super) fn open(&self, queue: &QueueDir, file_start: i64, waiting: bool) -> io::Result<Arc<dyn FsFile>> {
        let key = (queue.cache_id, file_start);
        {
            let mut open = self.open.lock();
            open.uses += 1;
            let now = open.uses;
            if let Some((file, used)) = open.files.get_mut(&key) {
                *used = now;
                return Ok(Arc::clone(file));
            }
        }
        let path = queue.path_of(file_start);
        let file = if waiting { self.fs.open(&path)? } else { self.fs.open_without_waiting(&path)? };
        self.keep_open(key, &file);
        Ok(file)
    }

    /// Makes a file of a queue, with all its length.
    pub(super) fn create(&self, queue: &QueueDir, file_start: i64) -> io::Result<()> {
        self.fs.create_dir_all(&queue.path)?;
        let file = self.fs.create(&queue.path_of(file_start))?;
        file.set_len(self.file_bytes)?;
        self.keep_open((queue.cache_id, file_start), &file);
        Ok(())
    }

    fn keep_open(&self, key: (u32, i64), file: &Arc<dyn FsFile>) {
        let mut open = self.open.lock();
        if open.files.len() >= OPEN_FILES_MAX {
            // The least recently used half goes at once: a search per open would cost more than a few openings again.
            let mut uses: Vec<u64> = open.files.values().map(|(_, used)| *used).collect();
            let (_, median, _) = uses.select_nth_unstable(OPEN_FILES_MAX / 2);
            let median = *median;
            open.files.retain(|_, (_, used)| *used > median);
        }
        open.uses += 1;
        let now = open.uses;
        open.files.insert(key, (Arc::clone(file), now));
    }

    pub(super) fn forget(&self, queue: &QueueDir, file_start: i64) {
        self.open.lock().files.remove(&(queue.cache_id, file_start));
    }

    pub(super) fn forget_queue(&self, queue: &QueueDir) {
        self.open.lock().files.retain(|(cache_id, _), _| *cache_id != queue.cache_id);
    }
}
