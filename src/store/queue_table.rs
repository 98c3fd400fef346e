// SPDX-License-Identifier: Apache-2.0
//! All ConsumeQueues by topic and queue id, and the few of their files that are open.
//!
//! A queue costs a table entry until it is used; files are opened when needed and closed when others are needed more.
//! Here alone a topic becomes a path (`QueueFiles::topic_dir`): whoever brings a name, it leads nowhere but into `consumequeue`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tracing::warn;

use super::consume_queue::ConsumeQueue;
use super::dispatch::DispatchRule;
use super::fs::{Fs, FsFile};
use super::{StoreError, at_path};
use crate::runtime::SharedNameMap;

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
    pub(super) fn open(&self, queue: &ConsumeQueue, file_start: i64, waiting: bool) -> io::Result<Arc<dyn FsFile>> {
        let key = (queue.number, file_start);
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
    pub(super) fn create(&self, queue: &ConsumeQueue, file_start: i64) -> io::Result<()> {
        self.fs.create_dir_all(queue.dir())?;
        let file = self.fs.create(&queue.path_of(file_start))?;
        file.set_len(self.file_bytes)?;
        self.keep_open((queue.number, file_start), &file);
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

    pub(super) fn forget(&self, queue: &ConsumeQueue, file_start: i64) {
        self.open.lock().files.remove(&(queue.number, file_start));
    }

    pub(super) fn forget_queue(&self, queue: &ConsumeQueue) {
        self.open.lock().files.retain(|(number, _), _| *number != queue.number);
    }
}

pub(super) struct QueueTable {
    pub(super) files: QueueFiles,
    topics: SharedNameMap<TopicQueues>,
    next_number: AtomicU32,
}

/// Ascending by queue id.
#[derive(Default)]
struct TopicQueues(Vec<Arc<ConsumeQueue>>);

impl TopicQueues {
    fn place(&self, queue_id: i32) -> Result<usize, usize> {
        // Ids mostly are 0..n: look there first.
        match self.0.get(queue_id as usize) {
            Some(queue) if queue.queue_id == queue_id => Ok(queue_id as usize),
            _ => self.0.binary_search_by_key(&queue_id, |queue| queue.queue_id),
        }
    }
}

impl QueueTable {
    /// Lists the directories; no file is opened.
    pub(super) fn load(fs: Arc<dyn Fs>, root: &Path, file_bytes: u64, dispatch: DispatchRule) -> Result<Self, StoreError> {
        let root = root.join("consumequeue");
        fs.create_dir_all(&root).map_err(at_path("create directory", &root))?;
        let files = QueueFiles { fs, root: root.clone(), file_bytes, dispatch, open: Mutex::default() };
        let table = Self { files, topics: SharedNameMap::default(), next_number: AtomicU32::new(0) };
        let fs = &table.files.fs;
        for topic in fs.read_dir(&root).map_err(at_path("list", &root))? {
            if !topic.is_dir {
                if topic.name == "CURRENT" {
                    return Err(StoreError::RocksDb { path: root });
                }
                continue;
            }
            let Some(topic_dir) = table.files.topic_dir(&topic.name) else {
                warn!(name = ?topic.name, "no topic can have this name: the directory is left alone");
                continue;
            };
            for queue in fs.read_dir(&topic_dir).map_err(at_path("list", &topic_dir))? {
                match queue.name.parse::<i32>() {
                    Ok(queue_id) if queue.is_dir => {
                        table.get_or_create(&topic.name, queue_id, false);
                    }
                    _ => warn!(path = %topic_dir.join(&queue.name).display(), "not a ConsumeQueue: left alone"),
                }
            }
        }
        Ok(table)
    }

    pub(super) fn get(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        let queues = self.topics.get(topic)?;
        queues.place(queue_id).ok().map(|index| Arc::clone(&queues.0[index]))
    }

    /// `empty`: a queue that is not in the table has no files either. `None` for a topic that may not have a directory.
    pub(super) fn get_or_create(&self, topic: &str, queue_id: i32, empty: bool) -> Option<Arc<ConsumeQueue>> {
        if let Some(queue) = self.get(topic, queue_id) {
            return Some(queue);
        }
        let dir = self.files.topic_dir(topic)?.join(queue_id.to_string());
        Some(self.get_or_insert(topic, queue_id, dir, empty))
    }

    /// The queue at the place of one that was destroyed.
    pub(super) fn renewed(&self, destroyed: &ConsumeQueue) -> Arc<ConsumeQueue> {
        self.remove_queue(destroyed);
        self.get_or_insert(&destroyed.topic, destroyed.queue_id, destroyed.dir().to_owned(), true)
    }

    fn get_or_insert(&self, topic: &str, queue_id: i32, dir: PathBuf, empty: bool) -> Arc<ConsumeQueue> {
        let mut queues = self.topics.entry(Arc::from(topic)).or_default();
        match queues.place(queue_id) {
            Ok(index) => Arc::clone(&queues.0[index]),
            Err(index) => {
                let number = self.next_number.fetch_add(1, Ordering::Relaxed);
                let queue = Arc::new(ConsumeQueue::new(Arc::clone(queues.key()), queue_id, number, dir));
                if empty {
                    queue.set_empty();
                }
                queues.0.insert(index, Arc::clone(&queue));
                queue
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<ConsumeQueue>> {
        self.topics.iter().flat_map(|queues| queues.0.clone()).collect()
    }

    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        self.topics.iter().map(|queues| Arc::clone(queues.key())).collect()
    }

    pub(super) fn of_topic(&self, topic: &str) -> Vec<Arc<ConsumeQueue>> {
        self.topics.get(topic).map(|queues| queues.0.clone()).unwrap_or_default()
    }

    pub(super) fn remove_queue(&self, queue: &ConsumeQueue) {
        if let Some(mut queues) = self.topics.get_mut(&*queue.topic) {
            // That very queue: another put may have replaced it already.
            queues.0.retain(|other| !std::ptr::eq(&**other, queue));
        }
        self.topics.remove_if(&*queue.topic, |_, queues| queues.0.is_empty());
    }
}
