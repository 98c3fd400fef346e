// SPDX-License-Identifier: Apache-2.0
//! All ConsumeQueues by topic and queue id. A queue costs a table entry until it is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::warn;

use super::consume_queue::ConsumeQueue;
use super::dispatch::DispatchRule;
use super::fs::Fs;
use super::queue_files::{QueueDir, QueueFiles};
use super::{StoreError, at_path};
use crate::runtime::SharedNameMap;

pub(super) struct QueueTable {
    pub(super) files: QueueFiles,
    topics: SharedNameMap<TopicQueues>,
    next_cache_id: AtomicU32,
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
        let files = QueueFiles::new(fs, root.clone(), file_bytes, dispatch);
        let table = Self { files, topics: SharedNameMap::default(), next_cache_id: AtomicU32::new(0) };
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
                let dir = QueueDir::new(self.next_cache_id.fetch_add(1, Ordering::Relaxed), dir);
                let queue = Arc::new(ConsumeQueue::new(Arc::clone(queues.key()), queue_id, dir));
                if empty {
                    queue.mark_loaded();
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
        if let Some(mut queues) = self.topics.get_mut(&*queue.topic)
            && let Ok(at) = queues.place(queue.queue_id)
            // That very queue: another put may have replaced it already.
            && std::ptr::eq(&*queues.0[at], queue)
        {
            queues.0.remove(at);
        }
        self.topics.remove_if(&*queue.topic, |_, queues| queues.0.is_empty());
    }
}
