// SPDX-License-Identifier: Apache-2.0
//! The tables behind the routes, and how a broker that comes or leaves changes them.
//!
//! Follows RouteInfoManager.java step by step, because brokers and clients of all versions rely on its small print. Its caller
//! locks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ferrocket_protocol::body::route::{BrokerData, QueueData, TopicRouteData};
use ferrocket_protocol::body::topic::{TopicConfig, TopicQueueMappingInfo};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::perm;
use thiserror::Error;
use tracing::{info, warn};

use super::live::{BROKERS_OF_A_CONNECTION, BrokerAddress, LiveTable, OWN_BROKER};

const MASTER_ID: i64 = 0;
/// Topics by which brokers of one set find each other; their routes never show a slave as master.
const MEMBER_GROUP_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

#[derive(Default)]
pub(super) struct Tables {
    /// Topic, then broker name.
    pub topics: HashMap<String, BTreeMap<String, QueueData>>,
    pub brokers: BTreeMap<String, BrokerData>,
    pub clusters: BTreeMap<String, BTreeSet<String>>,
    pub live: LiveTable,
    pub filter_servers: HashMap<BrokerAddress, Vec<String>>,
    /// Static topics: topic, then broker name.
    pub mapping_infos: HashMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
}

/// REGISTER_BROKER as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Registration {
    pub cluster: String,
    pub addr: String,
    pub name: String,
    pub id: i64,
    pub ha_server_addr: String,
    pub zone: Option<String>,
    pub expiry_millis: Option<i64>,
    /// `None`: a broker of 4.x, which knows nothing of acting masters.
    pub acting_master: Option<bool>,
    pub data_version: DataVersion,
    pub topics: Vec<TopicConfig>,
    pub mapping_infos: BTreeMap<String, TopicQueueMappingInfo>,
    pub filter_servers: Option<Vec<String>>,
    pub connection: u64,
    pub part: Part,
}

/// What a registration says about the topics that it does not name, and about those that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// As it came in a frame: the data version, the rules and the static topics in it decide, as in the original.
    #[default]
    Frame,
    /// Handed over within the process: these topics are as they are here; nothing is said about others.
    Anew,
    /// Handed over within the process: these topics are to be there; one that is stays as it is.
    Missing,
}

/// What a broker learns from its registration: a slave learns its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registered {
    pub ha_server_addr: Option<String>,
    pub master_addr: Option<String>,
    pub notice: Option<MinIdChange>,
}

/// Why a registration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NotRegistered {
    /// The first registration of a broker must bring all of its topics; a single one would be taken for all.
    #[error("register broker failed")]
    SingleTopic,
    #[error("register broker failed: one connection registers {BROKERS_OF_A_CONNECTION} brokers at most")]
    TooMany,
    /// In the original whoever registers last has the name, until the other one registers again.
    #[error("register broker failed: the broker of this process has this name and id, or this address")]
    OwnBroker,
}

/// A broker set has another smallest id than before: its members are told, if the name server is so configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MinIdChange {
    pub min_id: i64,
    pub min_addr: String,
    pub offline_addr: Option<String>,
    pub ha_server_addr: Option<String>,
    pub tell: Vec<String>,
}

/// Switches of the name server that decide about registrations and routes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    pub delete_topics_not_registered: bool,
    pub acting_master: bool,
    pub notify_min_id: bool,
}

/// A broker that is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    pub cluster: String,
    pub addr: String,
    pub name: String,
    pub id: i64,
}

impl Departure {
    fn is_said_by(&self, wanted: &Registration) -> bool {
        (&self.cluster, &self.addr, &self.name, self.id) == (&wanted.cluster, &wanted.addr, &wanted.name, wanted.id)
    }

    /// Would this registration have its address, or its name with its id or a smaller one, which counts as the master before it? The
    /// master of a slave is no stranger.
    fn is_wanted_by(&self, wanted: &Registration) -> bool {
        let is_its_master = self.id > MASTER_ID && wanted.id == MASTER_ID;
        let wants_name = self.name == wanted.name && wanted.id <= self.id && !is_its_master;
        wants_name || (self.cluster == wanted.cluster && self.addr == wanted.addr)
    }
}

impl Tables {
    pub(super) fn register(&mut self, wanted: Registration, rules: Rules, now_millis: i64) -> Result<Registered, NotRegistered> {
        let Registration { cluster, addr, name, id, .. } = &wanted;
        let at = address(cluster, addr);
        if !self.live.has_room(&at, &wanted) {
            return Err(NotRegistered::TooMany);
        }
        let is_own = wanted.connection == OWN_BROKER;
        if !is_own {
            let own = self.live.of_connection(OWN_BROKER);
            if own.iter().any(|own| own.is_said_by(&wanted)) {
                // It said so itself, and for good; it may know this name server under another address too.
                return Ok(Registered::default());
            }
            if own.iter().any(|own| own.is_wanted_by(&wanted)) {
                warn!(broker = name, id, addr, "another broker wants the place of the one of this process; refused");
                return Err(NotRegistered::OwnBroker);
            }
        }
        let holder = self.brokers.get(name).and_then(|broker| broker.broker_addrs.get(id));
        if let Some(old) = holder.filter(|old| *old != addr && !is_own) {
            let newer = self
                .live
                .get(&address(cluster, old))
                .is_some_and(|live| live.data_version.state_version > wanted.data_version.state_version);
            if newer {
                warn!(broker = name, id, old, new = addr, "a broker with an older epoch wants the place of another; ignored");
                self.live.leave(&at, name);
                self.brokers.entry(name.clone()).and_modify(|broker| broker.broker_addrs.retain(|_, other| other != addr));
                return Ok(Registered::default());
            }
        }
        if holder.is_none() && wanted.topics.len() == 1 && wanted.part == Part::Frame {
            warn!(broker = name, id, addr, "a broker that is not registered brings a single topic; refused");
            return Err(NotRegistered::SingleTopic);
        }

        // From here on it is registered. The original has changed its tables by then, and leaves behind what it refused.
        self.clusters.entry(cluster.clone()).or_default().insert(name.clone());
        let mut first = !self.brokers.contains_key(name);
        let broker = self.brokers.entry(name.clone()).or_insert_with(|| BrokerData {
            cluster: cluster.clone(),
            broker_name: name.clone(),
            ..BrokerData::default()
        });
        broker.enable_acting_master = wanted.acting_master.unwrap_or(false);
        broker.zone_name.clone_from(&wanted.zone);

        // In the original the smallest id of an empty set is 0, so the first registration is never a change.
        let min_id_before = broker.broker_addrs.keys().next().copied().unwrap_or(0);
        let min_id_changes = *id < min_id_before;
        // A slave that became master keeps one record: its address moves to the new id.
        broker.broker_addrs.retain(|other_id, other| other != addr || other_id == id);

        let old = broker.broker_addrs.insert(*id, addr.clone());
        if let Some(old) = old.as_ref().filter(|old| *old != addr) {
            // The original keeps what it knows of the address that was replaced until it is silent for long enough, and then closes
            // the connection that it came over, which may be this one.
            self.live.leave(&address(cluster, old), name);
            self.filter_servers.remove(&address(cluster, old));
        }
        first |= old.is_none_or(|old| old.is_empty());
        let is_master = *id == MASTER_ID;
        let is_smallest = broker.broker_addrs.keys().next() == Some(id);
        let is_prime_slave = wanted.acting_master.is_some() && !is_master && is_smallest;
        let reads_only = is_prime_slave && broker.enable_acting_master;

        if is_master || is_prime_slave {
            self.take_topics(&wanted, first, reads_only, rules);
        }

        if self.live.put(&at, &wanted, now_millis) {
            info!(cluster, broker = name, id, addr, "a broker registered");
        }
        match &wanted.filter_servers {
            Some(servers) if servers.is_empty() => drop(self.filter_servers.remove(&at)),
            Some(servers) => drop(self.filter_servers.insert(at, servers.clone())),
            None => {}
        }

        let mut registered = Registered::default();
        let addrs = &self.brokers[name].broker_addrs;
        if !is_master
            && let Some(master) = addrs.get(&MASTER_ID)
            && let Some(live) = self.live.get(&address(cluster, master))
        {
            registered.ha_server_addr = Some(live.ha_server_addr.clone());
            registered.master_addr = Some(master.clone());
        }
        if min_id_changes && rules.notify_min_id {
            registered.notice = Some(min_id_change(addrs, None, Some(wanted.ha_server_addr.clone())));
        }
        Ok(registered)
    }

    fn take_topics(&mut self, wanted: &Registration, first: bool, reads_only: bool, rules: Rules) {
        let name = &wanted.name;
        if rules.delete_topics_not_registered && wanted.mapping_infos.is_empty() && wanted.part == Part::Frame {
            let kept: BTreeSet<&str> = wanted.topics.iter().map(|topic| topic.topic_name.as_str()).collect();
            self.keep_topics(name, |topic| kept.contains(topic));
        }
        let changed = match wanted.part {
            // The same version says that nothing changed, whatever the body says.
            Part::Frame => {
                let before = self.live.get(&address(&wanted.cluster, &wanted.addr)).map(|live| &live.data_version);
                first || before != Some(&wanted.data_version)
            }
            Part::Anew => true,
            Part::Missing => false,
        };
        for topic in &wanted.topics {
            let queues = self.topics.entry(topic.topic_name.clone()).or_default();
            if changed || !queues.contains_key(name) {
                let perm = if reads_only { topic.perm & !perm::WRITE } else { topic.perm };
                queues.insert(
                    name.clone(),
                    QueueData {
                        broker_name: name.clone(),
                        read_queue_nums: topic.read_queue_nums,
                        write_queue_nums: topic.write_queue_nums,
                        perm,
                        topic_sys_flag: topic.topic_sys_flag,
                    },
                );
            }
        }
        if changed {
            for (topic, info) in &wanted.mapping_infos {
                let owner = info.bname.clone().unwrap_or_default();
                self.mapping_infos.entry(topic.clone()).or_default().insert(owner, info.clone());
            }
        }
    }

    /// The broker has no topics but these.
    pub(super) fn keep_topics(&mut self, name: &str, keep: impl Fn(&str) -> bool) {
        self.topics.retain(|topic, queues| {
            if !keep(topic) {
                queues.remove(name);
            }
            !queues.is_empty()
        });
    }

    /// The broker has this topic no longer.
    pub(super) fn forget_topic(&mut self, name: &str, topic: &str) {
        if let Some(queues) = self.topics.get_mut(topic) {
            queues.remove(name);
            if queues.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    pub(super) fn topic_route(&self, topic: &str, rules: Rules) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let mut brokers: Vec<BrokerData> = queues.keys().filter_map(|name| self.brokers.get(name)).cloned().collect();
        if brokers.is_empty() {
            return None;
        }
        let mut filter_servers = BTreeMap::new();
        if !self.filter_servers.is_empty() {
            for broker in &brokers {
                for addr in broker.broker_addrs.values() {
                    if let Some(servers) = self.filter_servers.get(&address(&broker.cluster, addr)) {
                        filter_servers.insert(addr.clone(), servers.clone());
                    }
                }
            }
        }
        if rules.acting_master && !topic.starts_with(MEMBER_GROUP_TOPIC_PREFIX) {
            for broker in brokers.iter_mut().filter(|broker| broker.enable_acting_master) {
                let queue = queues.get(&broker.broker_name);
                let without_master = !broker.broker_addrs.contains_key(&MASTER_ID);
                if without_master
                    && queue.is_some_and(|queue| !perm::is_writable(queue.perm))
                    && let Some((_, addr)) = broker.broker_addrs.pop_first()
                {
                    broker.broker_addrs.insert(MASTER_ID, addr);
                }
            }
        }
        Some(TopicRouteData {
            order_topic_conf: None,
            queue_datas: queues.values().cloned().collect(),
            broker_datas: brokers,
            filter_server_table: filter_servers,
            topic_queue_mapping_by_broker: self.mapping_infos.get(topic).cloned(),
        })
    }

    pub(super) fn unregister(&mut self, departures: &[Departure], rules: Rules) -> Vec<MinIdChange> {
        let (mut removed, mut reduced) = (BTreeSet::new(), BTreeSet::new());
        let mut changes: BTreeMap<String, String> = BTreeMap::new();
        for Departure { cluster, addr, name, id } in departures {
            let at = address(cluster, addr);
            self.live.leave(&at, name);
            self.filter_servers.remove(&at);
            let mut is_gone = false;
            if let Some(broker) = self.brokers.get_mut(name) {
                let was_smallest = broker.broker_addrs.keys().next() == Some(id);
                if broker.broker_addrs.get(id) == Some(addr) {
                    broker.broker_addrs.remove(id);
                } else {
                    broker.broker_addrs.retain(|_, other| other != addr);
                }
                is_gone = broker.broker_addrs.is_empty();
                if !is_gone && was_smallest {
                    changes.insert(name.clone(), addr.clone());
                }
            }
            if !is_gone {
                reduced.insert(name.clone());
                continue;
            }
            self.brokers.remove(name);
            removed.insert(name.clone());
        }
        if !removed.is_empty() {
            // In every cluster: a broker may have come back in another one than it began in.
            self.clusters.retain(|_, names| {
                names.retain(|name| !removed.contains(name));
                !names.is_empty()
            });
        }
        let masterless: BTreeSet<&String> = reduced
            .iter()
            .filter(|name| {
                let broker = self.brokers.get(*name);
                broker.is_some_and(|broker| broker.enable_acting_master && broker.broker_addrs.keys().next() > Some(&MASTER_ID))
            })
            .collect();
        self.topics.retain(|_, queues| {
            queues.retain(|name, _| !removed.contains(name));
            for (name, queue) in queues.iter_mut() {
                if masterless.contains(name) {
                    queue.perm &= !perm::WRITE;
                }
            }
            !queues.is_empty()
        });
        if !removed.is_empty() {
            self.mapping_infos.retain(|_, infos| {
                infos.retain(|name, _| !removed.contains(name));
                !infos.is_empty()
            });
        }
        if !rules.notify_min_id {
            return Vec::new();
        }
        let set = |name: &String| self.brokers.get(name).filter(|broker| broker.enable_acting_master);
        let change =
            |(name, offline): (&String, &String)| set(name).map(|broker| min_id_change(&broker.broker_addrs, Some(offline.clone()), None));
        changes.iter().filter_map(change).collect()
    }
}

/// A broker that left is told to all who stay; a new one only to the others.
fn min_id_change(addrs: &BTreeMap<i64, String>, offline_addr: Option<String>, ha_server_addr: Option<String>) -> MinIdChange {
    let (min_id, min_addr) = addrs.first_key_value().map(|(id, addr)| (*id, addr.clone())).unwrap_or_default();
    let everyone = offline_addr.is_some() || addrs.len() == 1;
    let tell = addrs.iter().filter(|(id, _)| everyone || **id != min_id).map(|(_, addr)| addr.clone()).collect();
    MinIdChange { min_id, min_addr, offline_addr, ha_server_addr, tell }
}

pub(super) fn address(cluster: &str, addr: &str) -> BrokerAddress {
    BrokerAddress { cluster: cluster.to_owned(), addr: addr.to_owned() }
}
