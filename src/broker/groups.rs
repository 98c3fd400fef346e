// SPDX-License-Identifier: Apache-2.0
//! Subscription groups and what they may: `config/subscriptionGroup.json`, field for field as the original keeps it.
//!
//! Knows no client and no offset. Who changes the table writes the file afterwards (`persist`), off the
//! request's path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrocket_protocol::body::{SubscriptionGroupConfig, SubscriptionGroupWrapper};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::fastjson;
use ferrocket_protocol::topic_names;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::attributes::{self, Attribute, AttributeError, Values};
use super::persist::{ConfigFile, PersistError};
use crate::config::ConfigCell;
use crate::runtime::{NameMap, SharedClock};

/// Groups that every broker has.
const BUILT_IN: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];
/// Groups with this prefix are the system's and may be made on demand even where users' groups may not.
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Bit of a forbidden mask: the group may not read the topic.
const FORBIDDEN_READ_BIT: u32 = 2;

const KNOWN_ATTRIBUTES: [Attribute; 8] = [
    Attribute { name: "priority.factor", changeable: true, values: Values::Range(0, 100) },
    Attribute { name: "lite.bind.topic", changeable: true, values: Values::Text },
    Attribute { name: "lite.sub.model", changeable: true, values: Values::OneOf(&["Shared", "Exclusive"]) },
    Attribute { name: "lite.sub.reset.offset.exclusive", changeable: true, values: Values::Bool },
    Attribute { name: "lite.sub.reset.offset.unsubscribe", changeable: true, values: Values::Bool },
    Attribute { name: "lite.sub.client.quota", changeable: true, values: Values::Range(-1, i64::MAX) },
    Attribute { name: "lite.sub.client.max.event.cnt", changeable: true, values: Values::Range(10, i64::MAX) },
    Attribute { name: "lite.sub.wildcard", changeable: true, values: Values::Text },
];

type ForbiddenTable = BTreeMap<String, BTreeMap<String, i32>>;

pub struct Groups {
    clock: SharedClock,
    config: Arc<ConfigCell>,
    table: RwLock<NameMap<Arc<SubscriptionGroupConfig>>>,
    forbidden: RwLock<ForbiddenTable>,
    version: Mutex<DataVersion>,
    /// Counts changes, for `persist` to know whether the file is behind.
    changes: AtomicU64,
    written: Mutex<u64>,
    /// Rung after each change.
    bell: Notify,
    file: ConfigFile,
}

/// Some groups of the table, for callers that read it in pages.
#[derive(Debug)]
pub struct GroupPage {
    pub body: Vec<u8>,
    /// How many groups there are in all.
    pub total_count: usize,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Groups({})", self.table.read().len())
    }
}

impl Groups {
    /// The built-in groups, then what the file has: the file wins.
    pub fn load(file: ConfigFile, config: Arc<ConfigCell>, clock: SharedClock) -> Result<Self, PersistError> {
        let mut table: NameMap<Arc<SubscriptionGroupConfig>> =
            BUILT_IN.iter().map(|name| (Arc::from(*name), Arc::new(default_config(name)))).collect();
        let mut forbidden = ForbiddenTable::new();
        let mut version = DataVersion::at(clock.now_millis());
        if let Some(stored) = file.load(fastjson::from_slice::<SubscriptionGroupWrapper>)? {
            version = stored.data_version;
            forbidden = stored.forbidden_table;
            for (name, mut config) in stored.subscription_group_table {
                if config.group_name.is_empty() {
                    config.group_name.clone_from(&name);
                }
                table.insert(Arc::from(name), Arc::new(config));
            }
        }
        Ok(Self {
            clock,
            config,
            table: RwLock::new(table),
            forbidden: RwLock::new(forbidden),
            version: Mutex::new(version),
            changes: AtomicU64::new(0),
            written: Mutex::new(0),
            bell: Notify::new(),
            file,
        })
    }

    /// Changes of the groups so far.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
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

    /// Resolves after a change that nobody has waited for yet.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }

    pub fn contains(&self, group: &str) -> bool {
        self.table.read().contains_key(group)
    }

    /// Of a group that is there.
    pub fn retry_queue_nums(&self, group: &str) -> Option<i32> {
        self.table.read().get(group).map(|config| config.retry_queue_nums)
    }

    /// The group, made on the spot where the configuration allows that.
    pub fn find(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(config) = self.table.read().get(group) {
            return Some(Arc::clone(config));
        }
        let config = self.config.load();
        let may_create =
            config.auto_create_subscription_group || (config.enable_create_sys_group && group.starts_with(SYSTEM_GROUP_PREFIX));
        if !may_create || topic_names::validate_group(group).is_err() {
            return None;
        }
        let created = {
            let mut table = self.table.write();
            let created = table.entry(Arc::from(group)).or_insert_with(|| Arc::new(default_config(group)));
            Arc::clone(created)
        };
        tracing::info!(group, "a subscription group was created on first use");
        self.step();
        Some(created)
    }

    /// Creates or replaces a group; its attributes are a modification of those it has.
    pub fn update(&self, mut config: SubscriptionGroupConfig) -> Result<(), AttributeError> {
        let mut table = self.table.write();
        let current = table.get(config.group_name.as_str()).map(|config| &config.attributes);
        config.attributes = attributes::alter(&KNOWN_ATTRIBUTES, current, &config.attributes)?;
        table.insert(Arc::from(config.group_name.as_str()), Arc::new(config));
        drop(table);
        self.step();
        Ok(())
    }

    /// The group as it was.
    pub fn delete(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let removed = self.table.write().remove(group);
        self.forbidden.write().remove(group);
        if removed.is_some() {
            self.step();
        }
        removed
    }

    /// The table of a master, with its version, in place of this one.
    pub fn take_over(&self, master: SubscriptionGroupWrapper) {
        let mut version = self.version.lock();
        if *version == master.data_version {
            return;
        }
        let named = |(name, config): (String, SubscriptionGroupConfig)| {
            let config = SubscriptionGroupConfig { group_name: name.clone(), ..config };
            (Arc::from(name), Arc::new(config))
        };
        *self.table.write() = master.subscription_group_table.into_iter().map(named).collect();
        *self.forbidden.write() = master.forbidden_table;
        *version = master.data_version;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Whether an admin has forbidden the group to read the topic.
    pub fn is_reading_forbidden(&self, group: &str, topic: &str) -> bool {
        let forbidden = self.forbidden.read();
        if forbidden.is_empty() {
            return false;
        }
        let mask = forbidden.get(group).and_then(|topics| topics.get(topic)).copied().unwrap_or(0).max(0);
        mask & (1 << FORBIDDEN_READ_BIT) != 0
    }

    pub fn names(&self) -> Vec<String> {
        self.table.read().keys().map(|name| name.to_string()).collect()
    }

    pub fn data_version(&self) -> DataVersion {
        self.version.lock().clone()
    }

    /// The whole table in one line, as GET_ALL_SUBSCRIPTIONGROUP_CONFIG answers it.
    pub fn encode(&self) -> GroupPage {
        let file = self.to_file();
        GroupPage { total_count: file.subscription_group_table.len(), body: fastjson::to_vec(&file) }
    }

    /// `count_max` groups in the order of their names from the `start`-th on; from the first one when the caller's first
    /// pages are of another version of the table.
    pub fn encode_page(&self, start: usize, version_seen: Option<&DataVersion>, count_max: usize) -> GroupPage {
        let mut file = self.to_file();
        let total_count = file.subscription_group_table.len();
        let start = if version_seen == Some(&file.data_version) { start } else { 0 };
        file.subscription_group_table =
            std::mem::take(&mut file.subscription_group_table).into_iter().skip(start).take(count_max).collect();
        file.forbidden_table.retain(|group, _| file.subscription_group_table.contains_key(group));
        GroupPage { total_count, body: fastjson::to_vec(&file) }
    }

    fn to_file(&self) -> SubscriptionGroupWrapper {
        let table = self.table.read();
        SubscriptionGroupWrapper {
            data_version: self.data_version(),
            forbidden_table: self.forbidden.read().clone(),
            subscription_group_table: table
                .iter()
                .map(|(name, config)| (name.to_string(), SubscriptionGroupConfig::clone(config)))
                .collect(),
        }
    }

    fn step(&self) {
        self.version.lock().next(self.clock.now_millis());
        self.changes.fetch_add(1, Ordering::Release);
        self.bell.notify_one();
    }
}

fn default_config(group: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: group.to_owned(), ..SubscriptionGroupConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;
    use crate::runtime::ManualClock;
    use crate::store::RealFs;

    fn load(folder: &tempfile::TempDir, config: BrokerConfig) -> Groups {
        let file = ConfigFile::new(RealFs::shared(), folder.path().join("config/subscriptionGroup.json"));
        Groups::load(file, Arc::new(ConfigCell::new(config)), Arc::new(ManualClock::at_millis(1))).unwrap()
    }

    fn closed() -> BrokerConfig {
        let mut config = BrokerConfig::default();
        config.auto_create_subscription_group = false;
        config
    }

    #[test]
    fn a_group_is_made_on_first_use_where_that_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let open = load(&folder, BrokerConfig::default());
        assert!(!open.contains("G"));
        let group = open.find("G").unwrap();
        assert_eq!((group.retry_queue_nums, group.retry_max_times, group.consume_enable), (1, 16, true));
        assert!(open.contains("G") && open.data_version().counter == 1);
        assert!(open.find("bad name").is_none() && open.find("").is_none());

        let closed = load(&folder, closed());
        assert!(closed.find("H").is_none());
        assert!(closed.find("CID_RMQ_SYS_X").is_some(), "the system's own groups are made anyway");
        assert!(closed.find("TOOLS_CONSUMER").is_some());
    }

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        // A group that may not read T, as an administrator of the original has left it.
        let before = br#"{"forbiddenTable":{"G":{"T":4,"U":2},"H":{"T":4}}}"#;
        ConfigFile::new(RealFs::shared(), folder.path().join("config/subscriptionGroup.json")).store(before).unwrap();
        let groups = load(&folder, closed());
        assert!(groups.is_reading_forbidden("H", "T"));
        groups.update(SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("G") }).unwrap();
        groups.update(SubscriptionGroupConfig::new("H")).unwrap();
        groups.delete("H");
        groups.persist().unwrap();
        let again = load(&folder, closed());
        assert_eq!(again.find("G").unwrap().retry_max_times, 3);
        assert!(again.find("H").is_none());
        assert!(again.is_reading_forbidden("G", "T") && !again.is_reading_forbidden("G", "U"));
        assert_eq!(again.data_version(), groups.data_version());
        assert!(!again.is_reading_forbidden("H", "T"), "it went with the group");
    }

    #[test]
    fn attributes_are_altered_by_signed_names() {
        let groups = load(&tempfile::tempdir().unwrap(), closed());
        let with =
            |text: &str| SubscriptionGroupConfig { attributes: attributes::parse(text).unwrap(), ..SubscriptionGroupConfig::new("G") };
        groups.update(with("+priority.factor=7,+lite.sub.model=Shared")).unwrap();
        groups.update(with("-lite.sub.model")).unwrap();
        let group = groups.find("G").unwrap();
        assert_eq!(group.attributes, BTreeMap::from([("priority.factor".to_owned(), "7".to_owned())]));
        let refused = groups.update(with("+priority.factor=101")).unwrap_err();
        assert_eq!(refused.to_string(), "value is not in range(0, 100)");
    }

    #[test]
    fn pages_follow_the_names_and_begin_anew_when_the_table_has_changed() {
        let groups = load(&tempfile::tempdir().unwrap(), BrokerConfig::default());
        let names = |page: GroupPage| {
            let table: SubscriptionGroupWrapper = fastjson::from_slice(&page.body).unwrap();
            (page.total_count, table.subscription_group_table.into_keys().collect::<Vec<_>>())
        };
        let version = groups.data_version();
        let (total, first) = names(groups.encode_page(0, Some(&version), 2));
        assert_eq!((total, first), (8, vec!["CID_ONS-HTTP-PROXY".to_owned(), "CID_ONSAPI_OWNER".to_owned()]));
        assert_eq!(names(groups.encode_page(7, Some(&version), 2)).1, ["TOOLS_CONSUMER"]);
        groups.find("A");
        assert_eq!(names(groups.encode_page(7, Some(&version), 1)).1, ["A"]);
        assert_eq!(names(groups.encode()).1.len(), 9);
    }
}
