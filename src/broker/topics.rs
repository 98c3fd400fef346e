// SPDX-License-Identifier: Apache-2.0
//! The topics of this broker: `topics.json`, the built-in ones, automatic creation, attributes.
//!
//! Reads never wait for a change; changes are made one at a time, each with its own step of the data version. Writing the file
//! and telling the name servers is the caller's errand (`Broker::announce`), off the request's path.
//! Knows neither requests nor queues' contents.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrocket_protocol::body::topic::{TopicConfig, TopicConfigSerializeWrapper};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::{fastjson, perm, topic_names};
use parking_lot::Mutex;

use crate::broker::attributes::{self, Attribute, AttributeError, Values};
use crate::broker::persist::{ConfigFile, PersistError};
use crate::broker::stats::PutCounters;
use crate::config::BrokerConfig;
use crate::runtime::{SharedClock, SharedNameMap};

/// Queues of SCHEDULE_TOPIC_XXXX as the original creates it, one per default delay level.
const SCHEDULE_QUEUES: i32 = 18;
/// Queues of a topic that names no number.
const DEFAULT_QUEUES: i32 = 16;
const BENCHMARK_QUEUES: i32 = 1024;
/// Queues that a topic can be given. What lists a topic names each queue in about 280 bytes: so many fit into a frame of 16 MiB. One
/// that a file brings may have more, and costs what it has stored.
pub const QUEUES_MAX: i32 = 32_768;

/// The attributes that a topic can have.
const ATTRIBUTES: [Attribute; 5] = [
    Attribute { name: "queue.type", changeable: false, values: Values::OneOf(&["SimpleCQ", "BatchCQ"]) },
    Attribute { name: "cleanup.policy", changeable: false, values: Values::OneOf(&["DELETE", "COMPACTION"]) },
    Attribute {
        name: MESSAGE_TYPE,
        changeable: true,
        values: Values::OneOf(&["UNSPECIFIED", "MIXED", "TRANSACTION", "PRIORITY", "FIFO", "DELAY", "LITE", "NORMAL"]),
    },
    Attribute { name: "reserve.time", changeable: true, values: Values::Range(-1, i64::MAX) },
    Attribute { name: "lite.topic.expiration", changeable: true, values: Values::Range(-1, 43_200) },
];
pub const MESSAGE_TYPE: &str = "message.type";

/// One topic as requests see it: its configuration, and what was put into it since the start.
#[derive(Debug)]
pub struct Topic {
    config: TopicConfig,
    /// Its name is legal and no system topic's: nothing of it must be asked again for every message.
    pub takes_sends: bool,
    pub puts: Arc<PutCounters>,
}

impl Deref for Topic {
    type Target = TopicConfig;
    fn deref(&self) -> &TopicConfig {
        &self.config
    }
}

impl Topic {
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// Queue ids below this one exist for reading or writing.
    pub fn queue_count(&self) -> i32 {
        self.config.write_queue_nums.max(self.config.read_queue_nums)
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.config.attributes.get(name).map(String::as_str)
    }
}

/// Whether the topic was there or has just been made, and still has to be announced.
#[derive(Debug)]
pub enum FoundTopic {
    Existing(Arc<Topic>),
    Created(Arc<Topic>),
}

impl FoundTopic {
    pub fn topic(&self) -> &Arc<Topic> {
        match self {
            Self::Existing(topic) | Self::Created(topic) => topic,
        }
    }

    pub fn is_created(&self) -> bool {
        matches!(self, Self::Created(_))
    }
}

/// A topic whose queues are being removed.
#[must_use]
pub struct Leaving<'a> {
    topics: &'a Topics,
    name: String,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.topics.leaving.lock().remove(&self.name);
    }
}

#[derive(Debug)]
pub struct Topics {
    table: SharedNameMap<Arc<Topic>>,
    /// Held during a change, so that version and table step together.
    version: Mutex<DataVersion>,
    /// Messages put into topics that are gone.
    deleted_puts: AtomicU64,
    /// Counts changes, for `persist` to know whether the file is behind.
    changes: AtomicU64,
    written: Mutex<u64>,
    /// Topics whose queues are being removed. Locked while `version` is.
    leaving: Mutex<BTreeSet<String>>,
    /// What `in_order` gave last. Locked before `version`.
    in_order: Mutex<(DataVersion, Arc<[Arc<Topic>]>)>,
    /// Names that belong to this cluster and broker beside the fixed system topics.
    own_system_names: Vec<String>,
    file: ConfigFile,
    clock: SharedClock,
}

impl Topics {
    /// The built-in topics, then what `topics.json` has: the file wins.
    pub fn load(file: ConfigFile, config: &BrokerConfig, clock: SharedClock) -> Result<Self, PersistError> {
        let built_in = built_in(config);
        let mut own_system_names: Vec<String> = vec![
            config.broker_cluster_name.clone(),
            config.broker_name.clone(),
            topic_names::reply_topic(&config.broker_cluster_name),
            topic_names::revive_topic(&config.broker_cluster_name),
            topic_names::sync_broker_member_topic(&config.broker_name),
        ];
        if config.trace_topic_enable {
            own_system_names.push(config.msg_trace_topic_name.clone());
        }
        if config.timer_wheel_enable {
            own_system_names.push(topic_names::TIMER_WHEEL.to_owned());
        }
        let topics = Self {
            table: SharedNameMap::default(),
            version: Mutex::new(DataVersion::at(clock.now_millis())),
            deleted_puts: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            written: Mutex::new(0),
            leaving: Mutex::default(),
            in_order: Mutex::new((DataVersion::default(), Arc::default())),
            own_system_names,
            file,
            clock,
        };
        for config in built_in {
            topics.set(config);
        }
        let stored = topics.file.load(fastjson::from_slice::<TopicConfigSerializeWrapper>)?;
        if let Some(stored) = stored {
            for (name, mut config) in stored.topic_config_table {
                if config.topic_name.is_empty() {
                    config.topic_name = name;
                }
                topics.set(config);
            }
            *topics.version.lock() = stored.data_version;
        }
        Ok(topics)
    }

    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.get(name).map(|entry| Arc::clone(&entry))
    }

    pub fn contains(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn names(&self) -> Vec<String> {
        self.table.iter().map(|entry| entry.key().to_string()).collect()
    }

    /// All topics at one moment, with the version that speaks for them.
    pub fn snapshot(&self) -> TopicConfigSerializeWrapper {
        let version = self.version.lock();
        TopicConfigSerializeWrapper { data_version: version.clone(), topic_config_table: self.by_name() }
    }

    /// As `snapshot`, without copying a configuration.
    pub fn shared_snapshot(&self) -> (DataVersion, Vec<Arc<Topic>>) {
        let version = self.version.lock();
        (version.clone(), self.table.iter().map(|entry| Arc::clone(&entry)).collect())
    }

    /// As `shared_snapshot`, by name; one order for all who ask for pages of one version.
    pub fn in_order(&self) -> (DataVersion, Arc<[Arc<Topic>]>) {
        let mut in_order = self.in_order.lock();
        if in_order.0 != self.data_version() {
            let (version, mut topics) = self.shared_snapshot();
            topics.sort_unstable_by(|one, other| one.topic_name.cmp(&other.topic_name));
            *in_order = (version, topics.into());
        }
        in_order.clone()
    }

    pub fn data_version(&self) -> DataVersion {
        self.version.lock().clone()
    }

    /// One step of the version without a change of a topic: the name servers then take the next registration as new.
    pub fn step_version(&self) {
        self.change(|_| ((), true));
    }

    /// Names that admin requests must leave alone.
    pub fn is_system(&self, name: &str) -> bool {
        topic_names::is_system(name) || self.own_system_names.iter().any(|own| own == name)
    }

    pub fn system_names(&self) -> Vec<String> {
        let fixed = topic_names::SYSTEM_TOPICS.iter().map(|name| (*name).to_owned());
        let mut names: Vec<String> = fixed.chain(self.own_system_names.iter().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Automatic creation after `template`, when that topic exists and passes its permission on. Not while queues of that name are being
    /// removed: what was put into them would go, too.
    pub fn find_or_create(&self, name: &str, template: &str, queue_count: i32, sys_flag: i32, auto_create: bool) -> Option<FoundTopic> {
        self.change(|table| {
            if let Some(existing) = table.get(name) {
                return (Some(FoundTopic::Existing(existing)), false);
            }
            let Some(template) = table.get(template).filter(|_| !table.is_leaving(name)) else { return (None, false) };
            let inherits = perm::is_inherited(template.perm) && (auto_create || template.topic_name != topic_names::AUTO_CREATE);
            if !inherits {
                return (None, false);
            }
            let queue_count = queue_count.min(template.write_queue_nums).clamp(0, QUEUES_MAX);
            let created = table.set(TopicConfig {
                topic_name: name.to_owned(),
                read_queue_nums: queue_count,
                write_queue_nums: queue_count,
                perm: template.perm & !perm::INHERIT,
                topic_filter_type: template.topic_filter_type,
                topic_sys_flag: sys_flag,
                ..TopicConfig::default()
            });
            (Some(FoundTopic::Created(created)), true)
        })
    }

    /// A retry, DLQ or other topic that the broker itself needs. `Created` also when only its order flag had to change, or it had to
    /// get more queues: the original stores retries into queues that a topic does not have when `retryQueueNums` was raised. `None` while
    /// queues of that name are being removed.
    pub fn find_or_create_own(&self, config: TopicConfig) -> Option<FoundTopic> {
        let (order, queues) = (config.order, config.read_queue_nums.max(config.write_queue_nums));
        let up_to_date =
            |existing: &Arc<Topic>| existing.order == order && existing.read_queue_nums.min(existing.write_queue_nums) >= queues;
        if let Some(existing) = self.get(&config.topic_name).filter(up_to_date) {
            return Some(FoundTopic::Existing(existing));
        }
        self.change(|table| match table.get(&config.topic_name) {
            Some(existing) if up_to_date(&existing) => (Some(FoundTopic::Existing(existing)), false),
            Some(existing) => {
                let read_queue_nums = existing.read_queue_nums.max(queues);
                let write_queue_nums = existing.write_queue_nums.max(queues);
                let altered = TopicConfig { order, read_queue_nums, write_queue_nums, ..existing.config.clone() };
                (Some(FoundTopic::Created(table.set(altered))), true)
            }
            None if table.is_leaving(&config.topic_name) => (None, false),
            None => (Some(FoundTopic::Created(table.set(config))), true),
        })
    }

    /// Creates or alters: the attributes of `wanted` carry their signs. `None` when the topic is already so.
    pub fn update(&self, wanted: TopicConfig) -> Result<Option<Arc<Topic>>, AttributeError> {
        Ok(self.update_all(vec![wanted])?.pop())
    }

    /// Creates or alters several topics: all or none. Those that are already so are passed over; the original stops at the first one.
    pub fn update_all(&self, wanted: Vec<TopicConfig>) -> Result<Vec<Arc<Topic>>, AttributeError> {
        self.change(|table| {
            let mut altered = Vec::with_capacity(wanted.len());
            for mut config in wanted {
                let existing = table.get(&config.topic_name);
                if existing.as_ref().is_some_and(|existing| existing.config == config) {
                    continue;
                }
                let current = existing.as_ref().map(|existing| &existing.config.attributes);
                match attributes::alter(&ATTRIBUTES, current, &config.attributes) {
                    Ok(attributes) => config.attributes = attributes,
                    Err(error) => return (Err(error), false),
                }
                altered.push(config);
            }
            let topics: Vec<Arc<Topic>> = altered.into_iter().map(|config| table.set(config)).collect();
            let changed = !topics.is_empty();
            (Ok(topics), changed)
        })
    }

    /// Marks topics as ordered, as a name server's KV table says.
    pub fn mark_ordered<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Arc<Topic>> {
        self.change(|table| {
            let unordered = names.filter_map(|name| table.get(name)).filter(|topic| !topic.order);
            let marked: Vec<Arc<Topic>> = unordered.map(|topic| table.set(TopicConfig { order: true, ..topic.config.clone() })).collect();
            let changed = !marked.is_empty();
            (marked, changed)
        })
    }

    /// Takes the topic out of the table. No message makes it anew before what is returned is dropped, when its queues are gone.
    pub fn delete(&self, name: &str) -> Leaving<'_> {
        self.change(|table| {
            table.leaving.lock().insert(name.to_owned());
            ((), table.remove(name))
        });
        Leaving { topics: self, name: name.to_owned() }
    }

    fn is_leaving(&self, name: &str) -> bool {
        self.leaving.lock().contains(name)
    }

    fn remove(&self, name: &str) -> bool {
        let removed = self.table.remove(name);
        if let Some((_, topic)) = removed.as_ref().filter(|_| !self.is_system(name)) {
            self.deleted_puts.fetch_add(topic.puts.messages(), Ordering::Relaxed);
        }
        removed.is_some()
    }

    /// The table of a master, with its version, in place of this one; whether it is another.
    pub fn take_over(&self, master_version: DataVersion, table: BTreeMap<String, TopicConfig>) -> bool {
        let mut version = self.version.lock();
        if *version == master_version {
            return false;
        }
        for name in self.names().iter().filter(|name| !table.contains_key(*name)) {
            self.remove(name);
        }
        for (name, mut config) in table {
            config.topic_name = name;
            if self.get(&config.topic_name).is_none_or(|known| known.config != config) {
                self.set(config);
            }
        }
        *version = master_version;
        self.changes.fetch_add(1, Ordering::Release);
        true
    }

    /// Remembers where each topic's counters stand; called every `SAMPLE_PERIOD`.
    pub fn sample_rates(&self) {
        let nanos = self.clock.nanos();
        self.table.iter().for_each(|topic| topic.puts.sample(nanos));
    }

    /// Messages put since the start, without system topics.
    pub fn put_total(&self) -> u64 {
        let living: u64 = self.table.iter().filter(|topic| !self.is_system(topic.key())).map(|topic| topic.puts.messages()).sum();
        living + self.deleted_puts.load(Ordering::Relaxed)
    }

    /// Changes so far: what `is_written` asks for.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether `topics.json` holds so many changes, unless it is being written just now.
    pub fn is_written(&self, changes: u64) -> bool {
        self.written.try_lock().is_some_and(|written| *written >= changes)
    }

    /// Writes `topics.json` unless it already holds every change. Blocks on the disk.
    pub fn persist(&self) -> Result<(), PersistError> {
        let mut written = self.written.lock();
        let changes = self.changes.load(Ordering::Acquire);
        if *written == changes {
            return Ok(());
        }
        self.file.store(&fastjson::to_pretty(&self.snapshot()))?;
        *written = changes;
        Ok(())
    }

    fn by_name(&self) -> BTreeMap<String, TopicConfig> {
        self.table.iter().map(|entry| (entry.key().to_string(), entry.config.clone())).collect()
    }

    /// Runs one change under the lock; steps the version when it says that it changed something.
    fn change<T>(&self, change: impl FnOnce(&Self) -> (T, bool)) -> T {
        let mut version = self.version.lock();
        let (outcome, changed) = change(self);
        if changed {
            version.next(self.clock.now_millis());
            self.changes.fetch_add(1, Ordering::Release);
        }
        outcome
    }

    fn set(&self, config: TopicConfig) -> Arc<Topic> {
        let name: Arc<str> = Arc::from(config.topic_name.as_str());
        let puts = self.get(&name).map(|old| Arc::clone(&old.puts)).unwrap_or_default();
        let takes_sends = topic_names::takes_sends(&name);
        let topic = Arc::new(Topic { config, takes_sends, puts });
        self.table.insert(name, Arc::clone(&topic));
        topic
    }
}

/// The topics that every broker has, as the original makes them before it reads `topics.json`.
fn built_in(config: &BrokerConfig) -> Vec<TopicConfig> {
    let with = |name: &str, queues: i32, perm: i32| TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::default()
    };
    let inherited_if = |enabled: bool| if enabled { perm::INHERIT | perm::READ_WRITE } else { perm::INHERIT };
    let (cluster, broker) = (&config.broker_cluster_name, &config.broker_name);
    let mut topics = vec![
        with(topic_names::SELF_TEST, 1, perm::READ_WRITE),
        with(topic_names::BENCHMARK, BENCHMARK_QUEUES, perm::READ_WRITE),
        with(cluster, DEFAULT_QUEUES, inherited_if(config.cluster_topic_enable)),
        with(broker, 1, inherited_if(config.broker_topic_enable)),
        with(topic_names::OFFSET_MOVED_EVENT, 1, perm::READ_WRITE),
        with(topic_names::SCHEDULE, SCHEDULE_QUEUES, perm::READ_WRITE),
        with(&topic_names::reply_topic(cluster), 1, perm::READ_WRITE),
        with(&topic_names::revive_topic(cluster), config.revive_queue_num, perm::READ_WRITE),
        with(&topic_names::sync_broker_member_topic(broker), 1, perm::INHERIT),
        with(topic_names::TRANS_HALF, 1, perm::READ_WRITE),
        with(topic_names::TRANS_OP_HALF, 1, perm::READ_WRITE),
        with(topic_names::ROCKSDB_TRANS_HALF, 1, perm::READ_WRITE),
        with(topic_names::ROCKSDB_TRANS_OP_HALF, 1, perm::READ_WRITE),
    ];
    if config.auto_create_topic_enable {
        let queues = config.default_topic_queue_nums;
        topics.push(with(topic_names::AUTO_CREATE, queues, perm::INHERIT | perm::READ_WRITE));
    }
    if config.trace_topic_enable {
        topics.push(with(&config.msg_trace_topic_name, 1, perm::READ_WRITE));
    }
    if config.timer_wheel_enable {
        topics.push(with(topic_names::TIMER_WHEEL, 1, perm::READ_WRITE));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;
    use crate::store::MemoryFs;
    use std::time::Duration;

    struct Table {
        topics: Topics,
        clock: ManualClock,
        fs: MemoryFs,
    }

    fn config() -> BrokerConfig {
        let mut config = BrokerConfig::default();
        config.broker_name = "broker-a".into();
        config.broker_cluster_name = "DefaultCluster".into();
        config
    }

    const PATH: &str = "/store/config/topics.json";

    fn load(fs: MemoryFs) -> Table {
        let clock = ManualClock::at_millis(1_000);
        let file = ConfigFile::new(fs.shared(), PATH);
        let topics = Topics::load(file, &config(), Arc::new(clock.clone())).unwrap();
        Table { topics, clock, fs }
    }

    fn empty() -> Table {
        load(MemoryFs::new())
    }

    fn topic(name: &str) -> TopicConfig {
        TopicConfig { topic_name: name.into(), read_queue_nums: 4, write_queue_nums: 4, ..TopicConfig::default() }
    }

    fn with_attribute(name: &str, attribute: &str, value: &str) -> TopicConfig {
        TopicConfig { attributes: [(attribute.to_owned(), value.to_owned())].into(), ..topic(name) }
    }

    /// TopicConfigManager.java#init (5.5.0).
    #[test]
    fn the_built_in_topics_are_those_of_the_original() {
        let Table { topics, .. } = empty();
        for (name, queues, perm) in [
            ("SELF_TEST_TOPIC", 1, 6),
            ("TBW102", 8, 7),
            ("BenchmarkTest", 1024, 6),
            ("DefaultCluster", 16, 7),
            ("broker-a", 1, 7),
            ("OFFSET_MOVED_EVENT", 1, 6),
            ("SCHEDULE_TOPIC_XXXX", 18, 6),
            ("DefaultCluster_REPLY_TOPIC", 1, 6),
            ("rmq_sys_REVIVE_LOG_DefaultCluster", 8, 6),
            ("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1),
            ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
            ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
            ("RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", 1, 6),
            ("RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", 1, 6),
            ("rmq_sys_wheel_timer", 1, 6),
        ] {
            let topic = topics.get(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (queues, queues, perm), "{name}");
        }
        assert_eq!(topics.len(), 15);
        assert!(topics.is_system("DefaultCluster") && topics.is_system("broker-a") && !topics.is_system("orders"));
    }

    #[test]
    fn a_topic_is_created_after_its_template() {
        let Table { topics, .. } = empty();
        let before = topics.data_version();
        let found = topics.find_or_create("orders", "TBW102", 4, 0, true).unwrap();
        assert!(found.is_created());
        assert_eq!((found.topic().read_queue_nums, found.topic().write_queue_nums, found.topic().perm), (4, 4, 6));
        assert_eq!(topics.data_version().counter, before.counter + 1);
        assert!(!topics.find_or_create("orders", "TBW102", 8, 0, true).unwrap().is_created());
        assert_eq!(topics.find_or_create("wide", "TBW102", 99, 0, true).unwrap().topic().write_queue_nums, 8, "not more than the template");
        assert_eq!(topics.find_or_create("odd", "TBW102", -3, 0, true).unwrap().topic().write_queue_nums, 0);
        assert!(topics.find_or_create("x", "TBW102", 4, 0, false).is_none(), "autoCreateTopicEnable=false");
        assert!(topics.find_or_create("x", "orders", 4, 0, true).is_none(), "a template that does not pass its permission on");
        assert!(topics.find_or_create("x", "nothing", 4, 0, true).is_none());
    }

    #[test]
    fn what_was_persisted_is_there_after_a_restart_and_keeps_its_version() {
        let Table { topics, clock, fs } = empty();
        clock.advance(Duration::from_secs(5));
        topics.update(with_attribute("orders", "+message.type", "FIFO")).unwrap().unwrap();
        topics.persist().unwrap();
        let version = topics.data_version();
        assert_eq!(version, DataVersion { counter: 1, state_version: 0, timestamp: 6_000 });
        let again = load(fs).topics;
        assert_eq!(again.data_version(), version);
        assert_eq!(again.get("orders").unwrap().attribute(MESSAGE_TYPE), Some("FIFO"));
        assert_eq!(again.snapshot().topic_config_table, topics.snapshot().topic_config_table);
    }

    /// store-and-ha §7.3, printed by the original.
    #[test]
    fn the_file_of_the_original_is_read() {
        let fs = MemoryFs::new();
        let text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1795219807823\n\t},\n\
                    \t\"topicConfigTable\":{\n\t\t\"T2\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"message.type\":\"FIFO\"\n\t\t\t},\n\
                    \t\t\t\"order\":true,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":8,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\
                    \t\t\t\"topicName\":\"T2\",\n\t\t\t\"topicSysFlag\":2,\n\t\t\t\"writeQueueNums\":8\n\t\t}\n\t}\n}";
        ConfigFile::new(fs.shared(), PATH).store(text.as_bytes()).unwrap();
        let topics = load(fs).topics;
        let topic = topics.get("T2").unwrap();
        assert_eq!((topic.order, topic.topic_sys_flag, topic.attribute(MESSAGE_TYPE)), (true, 2, Some("FIFO")));
        assert_eq!(topics.data_version(), DataVersion { counter: 3, state_version: 0, timestamp: 1_795_219_807_823 });
    }

    #[test]
    fn an_update_that_changes_nothing_leaves_the_version() {
        let Table { topics, .. } = empty();
        assert!(topics.update(topic("orders")).unwrap().is_some());
        let version = topics.data_version();
        assert!(topics.update(topic("orders")).unwrap().is_none());
        assert_eq!(topics.data_version(), version);
        let refused = topics.update(with_attribute("orders", "+queue.type", "BatchCQ")).unwrap_err();
        assert_eq!(refused.to_string(), "attempt to update an unchangeable attribute. key: queue.type");
        assert_eq!(topics.data_version(), version);
    }

    #[test]
    fn a_list_is_applied_as_a_whole() {
        let Table { topics, .. } = empty();
        let refused = topics.update_all(vec![topic("a"), with_attribute("b", "+no.such", "1")]).unwrap_err();
        assert_eq!(refused.to_string(), "unsupported key: no.such");
        assert!(!topics.contains("a"));
        assert_eq!(topics.update_all(vec![topic("a"), topic("b")]).unwrap().len(), 2);
        drop(topics.delete("a"));
        assert!(!topics.contains("a") && topics.contains("b"));
    }

    /// What is put into its old queues goes with them.
    #[test]
    fn a_topic_that_is_being_deleted_is_not_made_by_a_message() {
        let Table { topics, .. } = empty();
        topics.update(topic("a")).unwrap();
        let by_message = || topics.find_or_create("a", topic_names::AUTO_CREATE, 4, 0, true);
        let leaving = topics.delete("a");
        assert!(by_message().is_none() && topics.find_or_create_own(topic("a")).is_none());
        drop(leaving);
        assert!(by_message().is_some_and(|found| found.is_created()));
    }

    #[test]
    fn counters_of_a_topic_outlive_its_changes() {
        let Table { topics, .. } = empty();
        topics.update(topic("orders")).unwrap();
        topics.get("orders").unwrap().puts.add(3, 30);
        topics.mark_ordered(["orders", "nothing"].into_iter());
        let orders = topics.get("orders").unwrap();
        assert!(orders.order);
        assert_eq!(orders.puts.messages(), 3);
    }
}
