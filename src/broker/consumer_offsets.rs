// SPDX-License-Identifier: Apache-2.0
//! What each group has consumed, per topic and queue: `config/consumerOffset.json`, field for field as the original keeps it.
//!
//! Three tables: committed offsets (the file), pulled offsets (how far a group has read; memory only) and pending resets (an
//! admin's order that the group's next pull obeys; memory only, as in the original). Knows neither topics nor groups as such:
//! whoever commits has checked that they exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::fastjson::{self, ReadError};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::persist::{ConfigFile, PersistError};
use super::stats::PutCounters;
use crate::runtime::{NameMap, SharedClock};

/// Between topic and group in the file's keys. A topic cannot contain it; the pseudo group `g@broadcast` does.
const SEPARATOR: char = '@';

#[derive(Debug)]
pub struct ConsumerOffsets {
    clock: SharedClock,
    groups: RwLock<NameMap<Arc<GroupOffsets>>>,
    version: Mutex<DataVersion>,
    commit_count: AtomicU64,
    /// Whether there ever was a pending reset: without one no pull looks for its own.
    resets_assigned: AtomicBool,
    /// Counts changes, for `persist` to know whether the file is behind.
    changes: AtomicU64,
    written: Mutex<u64>,
    file: ConfigFile,
}

#[derive(Debug, Default)]
struct GroupOffsets {
    topics: RwLock<NameMap<Arc<TopicOffsets>>>,
}

/// What a group has of a topic. May still be written after its group or topic was deleted; nobody reads it then.
#[derive(Debug)]
pub struct TopicOffsets {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    tables: Mutex<Tables>,
    /// What the group has read of the topic; the original's GROUP_GET_NUMS.
    reads: PutCounters,
}

#[derive(Debug, Default)]
struct Tables {
    committed: BTreeMap<i32, i64>,
    pulled: BTreeMap<i32, i64>,
    pending_resets: BTreeMap<i32, i64>,
}

/// Topics and groups, as keys of the file, of which a slave has offsets and its master none.
pub type Lacking = BTreeSet<String>;

/// What a pull of a queue leaves behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulled {
    /// How far the group has read now, committed or not.
    pub next_offset: i64,
    /// Messages that the pull took out of the topic, and their bytes.
    pub messages: u64,
    pub bytes: u64,
    /// The offset that the pull brought along to be committed.
    pub commit: Option<i64>,
}

/// The file, and the body of GET_ALL_CONSUMER_OFFSET.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OffsetFile {
    data_version: DataVersion,
    /// Written by the original through a getter that nobody reads; ignored when loaded.
    group_topic_map: BTreeMap<String, BTreeSet<String>>,
    offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Written by the original as well, and ignored when loaded.
    pull_offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl ConsumerOffsets {
    /// What the file has, or nothing.
    pub fn load(file: ConfigFile, clock: SharedClock) -> Result<Self, PersistError> {
        let stored = file.load(fastjson::from_slice::<OffsetFile>)?;
        let version = match &stored {
            Some(stored) => stored.data_version.clone(),
            None => DataVersion::at(clock.now_millis()),
        };
        let offsets = Self {
            clock,
            groups: RwLock::default(),
            version: Mutex::new(version),
            commit_count: AtomicU64::new(0),
            resets_assigned: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            written: Mutex::new(0),
            file,
        };
        for (key, committed) in stored.unwrap_or_default().offset_table {
            let Some((topic, group)) = key.split_once(SEPARATOR) else {
                tracing::warn!(key, "an entry of consumerOffset.json names no group; left out");
                continue;
            };
            offsets.of_or_new(group, topic).tables.lock().committed = committed;
        }
        Ok(offsets)
    }

    /// Writes the file unless it already holds every change. Blocks on the disk.
    pub fn persist(&self) -> Result<(), PersistError> {
        let mut written = self.written.lock();
        let changes = self.changes.load(Ordering::Acquire);
        if *written == changes {
            return Ok(());
        }
        self.file.store(&fastjson::to_pretty(&self.to_file()))?;
        *written = changes;
        Ok(())
    }

    /// Stores an offset, greater or smaller than before. `version_step`: so many commits make one new data version.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64, version_step: i64) {
        self.of_or_new(group, topic).tables.lock().committed.insert(queue_id, offset);
        self.committed_one(version_step);
    }

    fn committed_one(&self, version_step: i64) {
        let count = self.commit_count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(version_step.max(1) as u64) {
            self.version.lock().next(self.clock.now_millis());
        }
        self.changed();
    }

    /// A pull has read the queue up to somewhere, and may commit what the client has consumed.
    pub fn record_pull(&self, offsets: &TopicOffsets, queue_id: i32, pulled: &Pulled, version_step: i64) {
        {
            let mut tables = offsets.tables.lock();
            tables.pulled.insert(queue_id, pulled.next_offset);
            if let Some(commit) = pulled.commit {
                tables.committed.insert(queue_id, commit);
            }
        }
        if pulled.messages > 0 {
            offsets.reads.add(pulled.messages, pulled.bytes);
        }
        if pulled.commit.is_some() {
            self.committed_one(version_step);
        }
    }

    /// Messages per second over the last minute.
    pub fn read_rate(&self, group: &str, topic: &str) -> f64 {
        self.of(group, topic).map_or(0.0, |offsets| offsets.reads.messages_per_second())
    }

    /// Called every 10 seconds.
    pub fn sample_reads(&self) {
        let nanos = self.clock.nanos();
        for group in self.groups.read().values() {
            for offsets in group.topics.read().values() {
                offsets.reads.sample(nanos);
            }
        }
    }

    pub fn committed(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.of(group, topic)?.tables.lock().committed.get(&queue_id).copied()
    }

    /// Where the group stands: a pending reset comes before what was committed.
    pub fn current(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let offsets = self.of(group, topic)?;
        let tables = offsets.tables.lock();
        tables.pending_resets.get(&queue_id).or_else(|| tables.committed.get(&queue_id)).copied()
    }

    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.of(group, topic)?.tables.lock().pulled.get(&queue_id).copied()
    }

    /// The group's next pull of this queue starts at `offset`, and so does a client that asks.
    pub fn assign_reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        if group.is_empty() || topic.is_empty() || queue_id < 0 || offset < 0 {
            return;
        }
        let offsets = self.of_or_new(group, topic);
        let mut tables = offsets.tables.lock();
        tables.pending_resets.insert(queue_id, offset);
        tables.committed.insert(queue_id, offset);
        drop(tables);
        self.resets_assigned.store(true, Ordering::Release);
        self.changed();
    }

    /// What a master answers to GET_ALL_CONSUMER_OFFSET, of the groups that are wanted: its offsets of a group and a topic replace those
    /// here. What it has none of goes when it had none the last time either (`lacking`, which becomes what it lacks now): a topic that was
    /// made anew begins without offsets, but a master that was away may not have heard yet of what groups have committed here.
    pub fn take_over(&self, table: &[u8], is_wanted: impl Fn(&str) -> bool, lacking: &mut Lacking) -> Result<(), ReadError> {
        let master: OffsetFile = fastjson::from_slice(table)?;
        let mut is_news = false;
        let mut lacks = Lacking::new();
        for (group, of_group) in self.groups.read().iter().filter(|(group, _)| is_wanted(group)) {
            of_group.topics.write().retain(|topic, _| {
                let key = format!("{topic}{SEPARATOR}{group}");
                let stays = master.offset_table.contains_key(&key) || !lacking.contains(&key);
                is_news |= !stays;
                if stays && !master.offset_table.contains_key(&key) {
                    lacks.insert(key);
                }
                stays
            });
        }
        *lacking = lacks;
        for (key, committed) in master.offset_table {
            let Some((topic, group)) = key.split_once(SEPARATOR).filter(|(_, group)| is_wanted(group)) else { continue };
            let offsets = self.of_or_new(group, topic);
            let mut tables = offsets.tables.lock();
            if tables.committed != committed {
                tables.committed = committed;
                is_news = true;
            }
        }
        let mut version = self.version.lock();
        if *version != master.data_version {
            *version = master.data_version;
            is_news = true;
        }
        if is_news {
            self.changed();
        }
        Ok(())
    }

    /// What a slave that acted for this master answers to it: where a group is further there and `may_be`, it is so here.
    pub fn take_higher(&self, table: &[u8], version_step: i64, may_be: impl Fn(&str, &str, i32, i64) -> bool) -> Result<(), ReadError> {
        let slave: OffsetFile = fastjson::from_slice(table)?;
        for (key, committed) in &slave.offset_table {
            let Some((topic, group)) = key.split_once(SEPARATOR) else { continue };
            for (queue_id, offset) in committed {
                let is_higher = self.committed(group, topic, *queue_id).is_none_or(|known| known < *offset);
                if is_higher && may_be(group, topic, *queue_id, *offset) {
                    self.commit(group, topic, *queue_id, *offset, version_step);
                }
            }
        }
        Ok(())
    }

    pub fn has_pending_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        self.of(group, topic).is_some_and(|offsets| offsets.tables.lock().pending_resets.contains_key(&queue_id))
    }

    pub fn take_pending_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if !self.resets_assigned.load(Ordering::Acquire) {
            return None;
        }
        let offsets = self.of(group, topic)?;
        let mut tables = offsets.tables.lock();
        if tables.pending_resets.is_empty() { None } else { tables.pending_resets.remove(&queue_id) }
    }

    pub fn remove_group(&self, group: &str) {
        if self.groups.write().remove(group).is_some() {
            self.changed();
        }
    }

    pub fn remove_topic(&self, topic: &str) {
        for group in self.groups.read().values() {
            if group.topics.write().remove(topic).is_some() {
                self.changed();
            }
        }
    }

    /// Topics of which the group has committed something.
    pub fn topics_of(&self, group: &str) -> BTreeSet<String> {
        if group.contains(SEPARATOR) {
            return BTreeSet::new();
        }
        let groups = self.groups.read();
        let Some(group) = groups.get(group) else { return BTreeSet::new() };
        let topics = group.topics.read();
        topics.iter().filter(|(_, offsets)| offsets.is_committed()).map(|(topic, _)| topic.to_string()).collect()
    }

    /// Queues of the topic of which the group has committed something.
    pub fn queues_of(&self, group: &str, topic: &str) -> BTreeSet<i32> {
        self.of(group, topic).map(|offsets| offsets.tables.lock().committed.keys().copied().collect()).unwrap_or_default()
    }

    /// Whether an offset of the queue can be kept when no more than `count_max` queues are. Clients may name queues that no topic has.
    pub fn has_room(&self, group: &str, topic: &str, queue_id: i32, count_max: i32) -> bool {
        let Some(offsets) = self.of(group, topic) else { return true };
        let tables = offsets.tables.lock();
        (tables.committed.len() as i64) < i64::from(count_max) || tables.committed.contains_key(&queue_id)
    }

    /// Groups that have committed something of the topic.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        let groups = self.groups.read();
        groups
            .iter()
            .filter(|(name, _)| !name.contains(SEPARATOR))
            .filter(|(_, group)| group.topics.read().get(topic).is_some_and(|offsets| offsets.is_committed()))
            .map(|(name, _)| name.to_string())
            .collect()
    }

    pub fn clone_group(&self, from_group: &str, to_group: &str, topic: &str) -> bool {
        let Some(source) = self.of(from_group, topic) else { return false };
        let committed = source.tables.lock().committed.clone();
        self.of_or_new(to_group, topic).tables.lock().committed = committed;
        self.changed();
        true
    }

    pub fn data_version(&self) -> DataVersion {
        self.version.lock().clone()
    }

    /// One line, as GET_ALL_CONSUMER_OFFSET answers it; without what was pulled: a slave of 5.5.0 does not know that table, cannot pass
    /// over its bare numbers, and would take over no offset.
    pub fn encode(&self) -> Vec<u8> {
        fastjson::to_vec(&OffsetFile { pull_offset_table: BTreeMap::new(), ..self.to_file() })
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn to_file(&self) -> OffsetFile {
        let mut file = OffsetFile { data_version: self.data_version(), ..OffsetFile::default() };
        for (group_name, group) in self.groups.read().iter() {
            for (topic, offsets) in group.topics.read().iter() {
                let (committed, pulled) = {
                    let tables = offsets.tables.lock();
                    (tables.committed.clone(), tables.pulled.clone())
                };
                let key = format!("{topic}{SEPARATOR}{group_name}");
                if !pulled.is_empty() {
                    file.pull_offset_table.insert(key.clone(), pulled);
                }
                if committed.is_empty() {
                    continue;
                }
                file.offset_table.insert(key, committed);
                if !group_name.contains(SEPARATOR) {
                    file.group_topic_map.entry(group_name.to_string()).or_default().insert(topic.to_string());
                }
            }
        }
        file
    }

    fn of(&self, group: &str, topic: &str) -> Option<Arc<TopicOffsets>> {
        let groups = self.groups.read();
        let topics = groups.get(group)?.topics.read();
        topics.get(topic).cloned()
    }

    pub fn of_or_new(&self, group: &str, topic: &str) -> Arc<TopicOffsets> {
        if let Some(offsets) = self.of(group, topic) {
            return offsets;
        }
        let (group, topic): (Arc<str>, Arc<str>) = (Arc::from(group), Arc::from(topic));
        let mut groups = self.groups.write();
        let mut topics = groups.entry(Arc::clone(&group)).or_default().topics.write();
        let made = || TopicOffsets { group, topic: Arc::clone(&topic), tables: Mutex::default(), reads: PutCounters::default() };
        Arc::clone(topics.entry(Arc::clone(&topic)).or_insert_with(|| Arc::new(made())))
    }
}

impl TopicOffsets {
    fn is_committed(&self) -> bool {
        !self.tables.lock().committed.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test has files and threads of its own")]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;
    use crate::store::RealFs;

    const STEP: i64 = 500;

    fn load(folder: &tempfile::TempDir) -> ConsumerOffsets {
        let file = ConfigFile::new(RealFs::shared(), folder.path().join("config/consumerOffset.json"));
        ConsumerOffsets::load(file, Arc::new(ManualClock::at_millis(1_795_219_808_010))).unwrap()
    }

    fn offsets() -> ConsumerOffsets {
        load(&tempfile::tempdir().unwrap())
    }

    #[test]
    fn offsets_are_kept_per_queue_and_may_go_backwards() {
        let offsets = offsets();
        assert_eq!(offsets.current("G", "T", 0), None);
        offsets.commit("G", "T", 0, 5, STEP);
        offsets.commit("G", "T", 0, 3, STEP);
        assert_eq!(offsets.current("G", "T", 0), Some(3));
        assert_eq!(offsets.current("G", "T", 1), None);
        assert_eq!(offsets.current("H", "T", 0), None);
        offsets.record_pull(&offsets.of_or_new("G", "T"), 0, &Pulled { next_offset: 9, ..Pulled::default() }, STEP);
        assert_eq!((offsets.pulled("G", "T", 0), offsets.committed("G", "T", 0)), (Some(9), Some(3)));
    }

    #[test]
    fn a_pending_reset_comes_first_until_a_pull_takes_it() {
        let offsets = offsets();
        offsets.commit("G", "T", 0, 5, STEP);
        offsets.assign_reset("G", "T", 0, 2);
        offsets.assign_reset("G", "T", -1, 2);
        offsets.assign_reset("G", "T", 1, -1);
        assert!(offsets.has_pending_reset("G", "T", 0) && !offsets.has_pending_reset("G", "T", 1));
        assert_eq!((offsets.current("G", "T", 0), offsets.committed("G", "T", 0)), (Some(2), Some(2)));
        offsets.commit("G", "T", 0, 7, STEP);
        assert_eq!(offsets.current("G", "T", 0), Some(2));
        assert_eq!(offsets.take_pending_reset("G", "T", 0), Some(2));
        assert_eq!(offsets.take_pending_reset("G", "T", 0), None);
        assert_eq!(offsets.current("G", "T", 0), Some(7));
    }

    /// store-and-ha.md §7.5: the file as the original's class prints it.
    #[test]
    fn the_file_reads_as_the_original_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let written = load(&folder);
        written.commit("G", "T1", 0, 5, STEP);
        written.commit("G", "T1", 1, 7, STEP);
        written.commit("G@broadcast", "T1", 0, 4, STEP);
        written.record_pull(&written.of_or_new("G", "T2"), 0, &Pulled { next_offset: 4, ..Pulled::default() }, STEP);
        assert_eq!(
            String::from_utf8(written.encode()).unwrap(),
            "{\"dataVersion\":{\"counter\":0,\"stateVersion\":0,\"timestamp\":1795219808010},\
             \"groupTopicMap\":{\"G\":[\"T1\"]},\"offsetTable\":{\"T1@G\":{0:5,1:7},\"T1@G@broadcast\":{0:4}},\"pullOffsetTable\":{}}"
        );
        written.persist().unwrap();
        let kept = std::fs::read_to_string(folder.path().join("config/consumerOffset.json")).unwrap();
        assert!(kept.contains("\"T2@G\""), "the file has what was pulled, as the original's");
        let read = load(&folder);
        assert_eq!((read.current("G", "T1", 1), read.pulled("G", "T2", 0)), (Some(7), None));
        assert_eq!(read.data_version(), written.data_version());

        let path = folder.path().join("config/consumerOffset.json");
        let stamp = || std::fs::metadata(&path).unwrap().modified().unwrap();
        let before = stamp();
        written.persist().unwrap();
        assert_eq!(stamp(), before, "nothing changed, nothing is written");

        let other_dialect = "{\"offsetTable\":{\"T@G\":{\"0\":\"12\"},\"nonsense\":{0:1}},\"dataVersion\":{\"counter\":3}}";
        std::fs::write(&path, other_dialect).unwrap();
        let read = load(&folder);
        assert_eq!((read.current("G", "T", 0), read.data_version().counter), (Some(12), 3));
    }

    /// A crash of the original between its two steps leaves only the `.bak`.
    #[test]
    fn a_halved_file_is_replaced_by_its_bak() {
        let folder = tempfile::tempdir().unwrap();
        let offsets = load(&folder);
        offsets.commit("G", "T", 0, 5, STEP);
        offsets.persist().unwrap();
        offsets.commit("G", "T", 0, 6, STEP);
        offsets.persist().unwrap();
        std::fs::write(folder.path().join("config/consumerOffset.json"), "{\"offsetTable\":{\"T@G\"").unwrap();
        assert_eq!(load(&folder).current("G", "T", 0), Some(5));
    }

    #[test]
    fn groups_and_topics_find_each_other_and_are_removed() {
        let offsets = offsets();
        for (group, topic) in [("G", "T"), ("G", "U"), ("H", "T"), ("H@broadcast", "T")] {
            offsets.commit(group, topic, 0, 1, STEP);
        }
        offsets.record_pull(&offsets.of_or_new("G", "V"), 0, &Pulled { next_offset: 1, ..Pulled::default() }, STEP);
        let names = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        assert_eq!(names(offsets.topics_of("G")), ["T", "U"]);
        assert_eq!(names(offsets.groups_of("T")), ["G", "H"]);
        assert!(offsets.topics_of("H@broadcast").is_empty());
        offsets.clone_group("G", "K", "U");
        assert_eq!(offsets.current("K", "U", 0), Some(1));
        offsets.remove_topic("T");
        assert_eq!(names(offsets.topics_of("G")), ["U"]);
        offsets.remove_group("G");
        assert!(offsets.topics_of("G").is_empty());
    }

    #[test]
    fn so_many_commits_make_a_new_version() {
        let offsets = offsets();
        for offset in 0..7 {
            offsets.commit("G", "T", 0, offset, 3);
        }
        assert_eq!(offsets.data_version().counter, 2);
    }
}
