// SPDX-License-Identifier: Apache-2.0
//! Who is there and what it serves: brokers by name, cluster and address, and the queues of each topic.
//!
//! What the name server asks of its tables, each under one lock. Knows neither sockets nor request codes; a connection is a
//! number.

use std::collections::{BTreeMap, BTreeSet};

use ferrocket_protocol::body::route::{BrokerMemberGroup, ClusterInfo, QueueData, TopicRouteData};
use ferrocket_protocol::body::topic::TopicList;
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::perm;
use parking_lot::RwLock;
use tracing::{info, warn};

use super::live::OWN_BROKER;
use super::route_tables::{Departure, MinIdChange, NotRegistered, Registered, Registration, Rules, Tables, address};

/// Bits of a topic's sysFlag.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;

#[derive(Default)]
pub(super) struct RouteInfo(RwLock<Tables>);

impl RouteInfo {
    pub(super) fn register(&self, wanted: Registration, rules: Rules, now_millis: i64) -> Result<Registered, NotRegistered> {
        self.0.write().register(wanted, rules, now_millis)
    }

    /// REGISTER_TOPIC_IN_NAMESRV: queues of brokers that are all known.
    pub(super) fn register_topic(&self, topic: &str, queues: Vec<QueueData>) {
        let mut tables = self.0.write();
        let is_new = !tables.topics.contains_key(topic);
        if queues.is_empty() {
            return;
        }
        let strangers = queues.iter().position(|queue| !tables.brokers.contains_key(&queue.broker_name));
        if let Some(at) = strangers {
            warn!(topic, broker = queues[at].broker_name, "a topic names a broker that is not registered");
            // As the original: a new topic is dropped, an existing one has taken what came before the stranger.
            if is_new {
                return;
            }
        }
        let known = strangers.unwrap_or(queues.len());
        let table = tables.topics.entry(topic.to_owned()).or_default();
        for queue in queues.into_iter().take(known) {
            table.insert(queue.broker_name.clone(), queue);
        }
    }

    /// False when it was not there, or not in that cluster.
    pub(super) fn delete_topic(&self, topic: &str, cluster: Option<&str>) -> bool {
        let mut tables = self.0.write();
        let Some(cluster) = cluster else { return tables.topics.remove(topic).is_some() };
        let names = tables.clusters.get(cluster).cloned().unwrap_or_default();
        let Some(queues) = tables.topics.get_mut(topic) else { return false };
        let count = queues.len();
        queues.retain(|name, _| !names.contains(name));
        let left = queues.len();
        if left == 0 {
            tables.topics.remove(topic);
        }
        left < count
    }

    pub(super) fn topic_route(&self, topic: &str, rules: Rules) -> Option<TopicRouteData> {
        self.0.read().topic_route(topic, rules)
    }

    pub(super) fn cluster_info(&self) -> ClusterInfo {
        let tables = self.0.read();
        ClusterInfo { broker_addr_table: tables.brokers.clone(), cluster_addr_table: tables.clusters.clone() }
    }

    pub(super) fn member_group(&self, cluster: &str, name: &str) -> BrokerMemberGroup {
        let tables = self.0.read();
        let addrs = tables.brokers.get(name).map(|broker| broker.broker_addrs.clone()).unwrap_or_default();
        BrokerMemberGroup { broker_addrs: addrs, broker_name: name.to_owned(), cluster: cluster.to_owned() }
    }

    pub(super) fn all_topics(&self) -> TopicList {
        topic_list(self.0.read().topics.keys().cloned())
    }

    pub(super) fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        let tables = self.0.read();
        let names = tables.clusters.get(cluster).cloned().unwrap_or_default();
        let serves = |queues: &BTreeMap<String, QueueData>| names.iter().any(|name| queues.contains_key(name));
        topic_list(tables.topics.iter().filter(|(_, queues)| serves(queues)).map(|(topic, _)| topic.clone()))
    }

    /// Names of clusters and brokers, which are topics too, and one broker's address.
    pub(super) fn system_topics(&self) -> TopicList {
        let tables = self.0.read();
        let names = tables.clusters.iter().flat_map(|(cluster, names)| std::iter::once(cluster).chain(names)).cloned();
        let mut list = topic_list(names);
        list.broker_addr = tables.brokers.values().find_map(|broker| broker.broker_addrs.values().next().cloned());
        list
    }

    pub(super) fn unit_topics(&self) -> TopicList {
        self.topics_by_flag(|flag| flag & UNIT != 0)
    }

    pub(super) fn unit_sub_topics(&self) -> TopicList {
        self.topics_by_flag(|flag| flag & UNIT_SUB != 0)
    }

    pub(super) fn unit_sub_topics_without_unit(&self) -> TopicList {
        self.topics_by_flag(|flag| flag & UNIT == 0 && flag & UNIT_SUB != 0)
    }

    fn topics_by_flag(&self, wanted: impl Fn(i32) -> bool) -> TopicList {
        let tables = self.0.read();
        let first = |queues: &BTreeMap<String, QueueData>| queues.values().next().is_some_and(|queue| wanted(queue.topic_sys_flag));
        topic_list(tables.topics.iter().filter(|(_, queues)| first(queues)).map(|(topic, _)| topic.clone()))
    }

    /// Takes the write permission from every topic of the broker; how many those are.
    pub(super) fn wipe_write_perm(&self, broker: &str) -> i32 {
        self.change_perm(broker, |perm| perm & !perm::WRITE)
    }

    pub(super) fn add_write_perm(&self, broker: &str) -> i32 {
        self.change_perm(broker, |_| perm::READ | perm::WRITE)
    }

    fn change_perm(&self, broker: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut tables = self.0.write();
        let queues = tables.topics.values_mut().filter_map(|queues| queues.get_mut(broker));
        queues.map(|queue| queue.perm = change(queue.perm)).count() as i32
    }

    /// The data version that the broker last registered with.
    pub(super) fn data_version(&self, cluster: &str, addr: &str) -> Option<DataVersion> {
        self.0.read().live.get(&address(cluster, addr)).map(|live| live.data_version.clone())
    }

    /// A sign of life; a broker that is not known stays unknown.
    pub(super) fn touch(&self, cluster: &str, addr: &str, now_millis: i64) {
        self.0.write().live.touch(&address(cluster, addr), now_millis);
    }

    /// Is it the broker of this process that would be forgotten?
    pub(super) fn is_own(&self, departure: &Departure) -> bool {
        let tables = self.0.read();
        tables.live.of_connection(OWN_BROKER).iter().any(|own| own.name == departure.name && own.addr == departure.addr)
    }

    /// Forgets brokers; whom to tell about it.
    pub(super) fn unregister(&self, departures: &[Departure], rules: Rules) -> Vec<MinIdChange> {
        let changes = self.0.write().unregister(departures, rules);
        say_left(departures, "said so");
        changes
    }

    /// Forgets the brokers whose last registration came over this connection, all in one step: one that comes back over another one
    /// meanwhile stays. Whom to tell about it.
    pub(super) fn unregister_connection(&self, connection: u64, rules: Rules) -> Vec<MinIdChange> {
        let (departures, changes) = {
            let mut tables = self.0.write();
            let departures = tables.live.of_connection(connection);
            let changes = if departures.is_empty() { Vec::new() } else { tables.unregister(&departures, rules) };
            (departures, changes)
        };
        say_left(&departures, "its connection ended");
        changes
    }

    /// Forgets the brokers that have been silent for too long; their connections, and whom to tell about it.
    pub(super) fn unregister_silent(&self, now_millis: i64, rules: Rules) -> (Vec<u64>, Vec<MinIdChange>) {
        let (departures, connections, changes) = {
            let mut tables = self.0.write();
            let (departures, connections) = tables.live.silent(now_millis);
            let changes = if departures.is_empty() { Vec::new() } else { tables.unregister(&departures, rules) };
            (departures, connections, changes)
        };
        say_left(&departures, "it has gone silent");
        (connections, changes)
    }

    /// The broker has these topics no longer.
    pub(super) fn forget_topics<'a>(&self, broker: &str, topics: impl Iterator<Item = &'a str>) {
        let mut tables = self.0.write();
        topics.for_each(|topic| tables.forget_topic(broker, topic));
    }

    /// The broker has no topics but these.
    pub(super) fn keep_topics(&self, broker: &str, keep: impl Fn(&str) -> bool) {
        self.0.write().keep_topics(broker, keep);
    }
}

/// One line, however many they are; the tables are free by then.
fn say_left(departures: &[Departure], why: &str) {
    match departures {
        [] => {}
        [Departure { cluster, name, id, addr }] => info!(cluster, broker = name, id, addr, why, "a broker left"),
        [Departure { cluster, name, id, addr }, ..] => {
            info!(cluster, broker = name, id, addr, why, brokers = departures.len(), "brokers left; the first one is named");
        }
    }
}

fn topic_list(topics: impl Iterator<Item = String>) -> TopicList {
    let topics: BTreeSet<String> = topics.collect();
    TopicList { topic_list: topics.into_iter().collect(), ..TopicList::default() }
}

#[cfg(test)]
mod tests {
    use ferrocket_protocol::body::topic::TopicConfig;

    use super::*;
    use crate::namesrv::live::BROKERS_OF_A_CONNECTION;

    const RULES: Rules = Rules { delete_topics_not_registered: false, acting_master: false, notify_min_id: false };

    fn version(counter: i64) -> DataVersion {
        DataVersion { counter, state_version: 0, timestamp: 0 }
    }

    fn broker(name: &str, id: i64, addr: &str, topics: &[(&str, i32)]) -> Registration {
        Registration {
            cluster: "C".into(),
            addr: addr.into(),
            name: name.into(),
            id,
            ha_server_addr: format!("{addr}9"),
            data_version: version(1),
            topics: topics.iter().map(|(topic, queues)| TopicConfig::new(*topic, *queues, *queues, perm::READ_WRITE)).collect(),
            connection: 1,
            ..Registration::default()
        }
    }

    fn write_queues(routes: &RouteInfo, topic: &str) -> Option<i32> {
        routes.topic_route(topic, RULES).map(|route| route.queue_datas[0].write_queue_nums)
    }

    fn departure(name: &str, id: i64, addr: &str) -> Departure {
        Departure { cluster: "C".into(), addr: addr.into(), name: name.into(), id }
    }

    #[test]
    fn a_route_names_the_queues_and_every_broker_that_has_them() {
        let routes = RouteInfo::default();
        assert!(routes.topic_route("T", RULES).is_none());
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 2)]), RULES, 0).unwrap();
        routes.register(broker("b", 0, "h2:1", &[("T", 8), ("V", 2)]), RULES, 0).unwrap();
        let route = routes.topic_route("T", RULES).unwrap();
        assert_eq!(
            route.queue_datas.iter().map(|queue| (queue.broker_name.as_str(), queue.read_queue_nums)).collect::<Vec<_>>(),
            [("a", 4), ("b", 8)]
        );
        assert_eq!(route.broker_datas.iter().map(|broker| broker.broker_addrs[&0].as_str()).collect::<Vec<_>>(), ["h1:1", "h2:1"]);
        assert_eq!(routes.topics_of_cluster("C").topic_list, ["T", "U", "V"]);
        assert!(routes.topics_of_cluster("D").topic_list.is_empty());
        let system = routes.system_topics();
        assert_eq!((system.topic_list, system.broker_addr.as_deref()), (vec!["C".into(), "a".into(), "b".into()], Some("h1:1")));
    }

    /// RouteInfoManager.java#registerBroker: brokers register each new topic alone, with a newer version.
    #[test]
    fn a_later_registration_adds_its_topics_and_takes_none_away() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        let mut one = broker("a", 0, "h1:1", &[("V", 4)]);
        one.data_version = version(2);
        routes.register(one.clone(), RULES, 0).unwrap();
        assert_eq!(routes.all_topics().topic_list, ["T", "U", "V"]);
        let deleting = Rules { delete_topics_not_registered: true, ..RULES };
        one.data_version = version(3);
        routes.register(one, deleting, 0).unwrap();
        assert_eq!(routes.all_topics().topic_list, ["V"]);
    }

    #[test]
    fn the_same_version_says_that_nothing_changed() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        let mut again = broker("a", 0, "h1:1", &[("T", 16), ("U", 4), ("New", 3)]);
        routes.register(again.clone(), RULES, 0).unwrap();
        assert_eq!((write_queues(&routes, "T"), write_queues(&routes, "New")), (Some(4), Some(3)));
        again.data_version = version(2);
        routes.register(again, RULES, 0).unwrap();
        assert_eq!(write_queues(&routes, "T"), Some(16));
        assert_eq!(routes.data_version("C", "h1:1"), Some(version(2)));
        assert_eq!(routes.data_version("C", "h2:1"), None);
    }

    #[test]
    fn the_first_registration_must_not_be_a_single_topic() {
        let routes = RouteInfo::default();
        assert_eq!(routes.register(broker("a", 0, "h1:1", &[("T", 4)]), RULES, 0), Err(NotRegistered::SingleTopic));
        assert!(routes.topic_route("T", RULES).is_none());
    }

    /// The original leaves the names of the broker and of its cluster behind for good, so that a client could fill its memory with them.
    #[test]
    fn nothing_is_kept_of_a_registration_that_was_refused() {
        let routes = RouteInfo::default();
        for at in 0..3 {
            let mut one = broker(&format!("b{at}"), 0, "h1:1", &[("T", 4)]);
            one.cluster = format!("C{at}");
            assert_eq!(routes.register(one, RULES, 0), Err(NotRegistered::SingleTopic));
        }
        let stranger = QueueData { broker_name: "stranger".into(), ..QueueData::default() };
        routes.register_topic("T", vec![stranger]);
        assert_eq!(routes.cluster_info(), ClusterInfo::default());
        assert!(routes.all_topics().topic_list.is_empty());
        // Nor does it change what is there: neither the switches of the set, nor the address under its old id.
        routes.register(broker("a", 1, "h2:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        let before = routes.cluster_info();
        let mut refused = broker("a", 0, "h2:1", &[("T", 4)]);
        (refused.zone, refused.acting_master) = (Some("z".into()), Some(true));
        assert_eq!(routes.register(refused, RULES, 0), Err(NotRegistered::SingleTopic));
        assert_eq!(routes.cluster_info(), before);
    }

    /// The original gives a name to whoever registered last.
    #[test]
    fn nobody_takes_the_place_of_the_broker_of_this_process() {
        let routes = RouteInfo::default();
        let topics = [("T", 4), ("U", 4)];
        let mut own = broker("a", 0, "h1:1", &topics);
        own.connection = OWN_BROKER;
        // A stranger that came first gives way, whatever epoch it names.
        let mut early = broker("a", 0, "h9:9", &topics);
        early.data_version.state_version = i64::MAX;
        routes.register(early, RULES, 0).unwrap();
        routes.register(own.clone(), RULES, 0).unwrap();
        let before = routes.cluster_info();
        let refused: Result<Registered, _> = Err(NotRegistered::OwnBroker);
        for (name, id, addr, answer) in [
            ("a", 0, "h9:9", refused.clone()),
            ("a", -1, "h9:9", refused.clone()),
            ("b", 0, "h1:1", refused),
            ("a", 0, "h1:1", Ok(Registered::default())),
        ] {
            let mut stranger = broker(name, id, addr, &topics);
            (stranger.acting_master, stranger.data_version.state_version) = (Some(true), i64::MAX);
            assert_eq!(routes.register(stranger, RULES, 0), answer, "{name} {id} {addr}");
        }
        routes.unregister_connection(1, RULES);
        assert_eq!(routes.cluster_info(), before);
        assert!(routes.is_own(&departure("a", 0, "h1:1")) && !routes.is_own(&departure("a", 0, "h9:9")));
        // A slave of it is no stranger, and a changed address is its own affair.
        routes.register(broker("a", 1, "h9:9", &topics), RULES, 0).unwrap();
        own.addr = "h2:1".into();
        routes.register(own, RULES, 0).unwrap();
        assert_eq!(routes.member_group("C", "a").broker_addrs[&0], "h2:1");
        // When it has left, its name is free.
        routes.unregister(&[departure("a", 0, "h2:1")], RULES);
        routes.register(broker("a", 0, "h9:8", &topics), RULES, 0).unwrap();
    }

    #[test]
    fn the_slave_of_this_process_has_its_master_elsewhere() {
        let routes = RouteInfo::default();
        let topics = [("T", 4), ("U", 4)];
        let mut own = broker("a", 1, "h1:1", &topics);
        own.connection = OWN_BROKER;
        routes.register(own.clone(), RULES, 0).unwrap();
        for id in [1, -1] {
            assert_eq!(routes.register(broker("a", id, "h9:9", &topics), RULES, 0), Err(NotRegistered::OwnBroker), "{id}");
        }
        routes.register(broker("a", 0, "h2:1", &topics), RULES, 0).unwrap();
        assert_eq!(routes.register(own, RULES, 0).unwrap().master_addr.as_deref(), Some("h2:1"));
    }

    #[test]
    fn a_slave_learns_its_master_and_brings_no_topics() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        let mut slave = broker("a", 1, "h2:1", &[("T", 9), ("W", 4)]);
        slave.data_version = version(5);
        let learned = routes.register(slave, RULES, 0).unwrap();
        assert_eq!((learned.master_addr.as_deref(), learned.ha_server_addr.as_deref()), (Some("h1:1"), Some("h1:19")));
        assert_eq!((write_queues(&routes, "T"), write_queues(&routes, "W")), (Some(4), None));
        assert_eq!(routes.member_group("C", "a").broker_addrs.len(), 2);
    }

    #[test]
    fn a_slave_that_becomes_master_keeps_one_record() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 1, "h2:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        routes.register(broker("a", 0, "h2:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        assert_eq!(routes.member_group("C", "a").broker_addrs, BTreeMap::from([(0, "h2:1".to_owned())]));
    }

    #[test]
    fn a_broker_of_an_older_epoch_does_not_take_a_place() {
        let routes = RouteInfo::default();
        let mut newer = broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]);
        newer.data_version.state_version = 7;
        routes.register(newer, RULES, 0).unwrap();
        let mut older = broker("a", 0, "h2:1", &[("T", 4), ("U", 4)]);
        older.data_version.state_version = 6;
        assert_eq!(routes.register(older, RULES, 0), Ok(Registered::default()));
        assert_eq!(routes.member_group("C", "a").broker_addrs[&0], "h1:1");
    }

    #[test]
    fn an_acting_master_stands_in_for_a_lost_one_and_only_reads() {
        let routes = RouteInfo::default();
        let rules = Rules { acting_master: true, notify_min_id: true, ..RULES };
        for (id, addr) in [(0, "h1:1"), (2, "h2:1")] {
            let mut one = broker("a", id, addr, &[("T", 4), ("rmq_sys_SYNC_BROKER_MEMBER_a", 1)]);
            one.acting_master = Some(true);
            routes.register(one, rules, 0).unwrap();
        }
        let told = routes.unregister(&[departure("a", 0, "h1:1")], rules);
        assert_eq!((told[0].min_id, told[0].offline_addr.as_deref(), told[0].tell.as_slice()), (2, Some("h1:1"), &["h2:1".to_owned()][..]));
        let route = routes.topic_route("T", rules).unwrap();
        assert_eq!((route.queue_datas[0].perm, route.broker_datas[0].broker_addrs.get(&0).map(String::as_str)), (perm::READ, Some("h2:1")));
        assert!(!routes.topic_route("T", RULES).unwrap().broker_datas[0].broker_addrs.contains_key(&0));
        let members = routes.topic_route("rmq_sys_SYNC_BROKER_MEMBER_a", rules).unwrap();
        assert!(!members.broker_datas[0].broker_addrs.contains_key(&0));
    }

    #[test]
    fn a_broker_that_leaves_takes_its_topics_along() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        routes.register(broker("b", 0, "h2:1", &[("T", 4), ("V", 4)]), RULES, 0).unwrap();
        routes.unregister(&[departure("a", 0, "h1:1")], RULES);
        assert_eq!(routes.all_topics().topic_list, ["T", "V"]);
        routes.unregister(&[departure("b", 0, "h2:1")], RULES);
        assert!(routes.all_topics().topic_list.is_empty());
        assert_eq!(routes.cluster_info(), ClusterInfo::default());
    }

    #[test]
    fn a_closed_connection_takes_its_brokers_and_an_old_one_nothing() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        let mut moved = broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]);
        moved.connection = 2;
        routes.register(moved, RULES, 0).unwrap();
        routes.unregister_connection(1, RULES);
        assert_eq!(routes.all_topics().topic_list, ["T", "U"]);
        routes.unregister_connection(2, RULES);
        assert!(routes.all_topics().topic_list.is_empty());
    }

    /// The original keeps the replaced address for 120 s and then closes the connection of the broker that lives.
    #[test]
    fn nothing_is_kept_of_an_address_that_was_replaced() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        routes.register(broker("a", 0, "h9:9", &[("T", 4), ("U", 4)]), RULES, 130_000).unwrap();
        assert_eq!(routes.data_version("C", "h1:1"), None);
        assert!(routes.unregister_silent(130_000, RULES).0.is_empty());
        // Under an id that no broker has, as a broker takes its old address back.
        routes.unregister(&[departure("a", -1, "h1:1")], RULES);
        assert_eq!(routes.topic_route("T", RULES).unwrap().broker_datas[0].broker_addrs[&0], "h9:9");
    }

    /// The original looks for it only under the cluster that it began in.
    #[test]
    fn a_broker_that_changed_its_cluster_leaves_nothing_behind() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        let mut moved = broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]);
        (moved.cluster, moved.connection) = ("D".into(), 2);
        routes.register(moved, RULES, 0).unwrap();
        routes.unregister_connection(2, RULES);
        assert_eq!(routes.cluster_info(), ClusterInfo::default());
        assert!(routes.all_topics().topic_list.is_empty());
    }

    #[test]
    fn silence_is_judged_by_the_time_each_broker_asked_for() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 1_000).unwrap();
        let mut quick = broker("b", 0, "h2:1", &[("T", 4), ("U", 4)]);
        quick.expiry_millis = Some(10_000);
        routes.register(quick, RULES, 1_000).unwrap();
        let names = || routes.cluster_info().broker_addr_table.into_keys().collect::<Vec<_>>();
        assert!(routes.unregister_silent(11_000, RULES).0.is_empty());
        assert_eq!((routes.unregister_silent(11_001, RULES).0, names()), (vec![1], vec!["a".to_owned()]));
        routes.touch("C", "nobody:1", 120_000);
        assert!(routes.unregister_silent(121_000, RULES).0.is_empty());
        assert_eq!((routes.unregister_silent(121_001, RULES).0, names()), (vec![1], vec![]));
    }

    /// Brokers that say they live at one address leave together; the original forgets one of them and keeps the others for good.
    #[test]
    fn brokers_of_one_address_leave_together() {
        let routes = RouteInfo::default();
        for name in ["a", "b", "c"] {
            routes.register(broker(name, 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        }
        routes.unregister(&[departure("c", 0, "h1:1")], RULES);
        assert_eq!(routes.cluster_info().broker_addr_table.len(), 2);
        routes.unregister_connection(1, RULES);
        assert_eq!(routes.cluster_info(), ClusterInfo::default());
    }

    #[test]
    fn one_connection_registers_so_many_brokers_and_no_more() {
        let routes = RouteInfo::default();
        let one = |at: usize, addr: usize| broker(&format!("b{at}"), 0, &format!("h{addr}:1"), &[("T", 4), ("U", 4)]);
        // Half of them at addresses of their own, half at one address.
        let addr = |at: usize| if at.is_multiple_of(2) { at } else { 1 };
        for at in 0..BROKERS_OF_A_CONNECTION {
            routes.register(one(at, addr(at)), RULES, 0).unwrap();
        }
        for addr in [1, BROKERS_OF_A_CONNECTION] {
            assert_eq!(routes.register(one(BROKERS_OF_A_CONNECTION, addr), RULES, 0), Err(NotRegistered::TooMany));
        }
        assert_eq!(routes.cluster_info().cluster_addr_table["C"].len(), BROKERS_OF_A_CONNECTION, "nothing is left of what was refused");
        for at in 0..4 {
            routes.register(one(at, addr(at)), RULES, 0).unwrap();
        }
        let mut other = one(BROKERS_OF_A_CONNECTION, BROKERS_OF_A_CONNECTION);
        other.connection = 2;
        routes.register(other, RULES, 0).unwrap();
        // One that leaves makes room for another one.
        routes.unregister(&[departure("b2", 0, "h2:1")], RULES);
        routes.register(one(BROKERS_OF_A_CONNECTION + 1, 2), RULES, 0).unwrap();
        routes.unregister_connection(1, RULES);
        assert_eq!(routes.cluster_info().broker_addr_table.len(), 1);
    }

    /// 20,000 brokers, each in a cluster of its own. Looking through all for each of them takes minutes in an unoptimised build;
    /// looking once takes a fraction of a second, so that the limit tells the two apart on any machine.
    #[test]
    fn many_brokers_leave_in_time_that_grows_with_their_number() {
        let routes = RouteInfo::default();
        for at in 0..20_000 {
            let mut one = broker(&format!("b{at}"), 0, &format!("h{at}:1"), &[("T", 4), ("U", 4)]);
            (one.cluster, one.connection) = (format!("C{at}"), at / BROKERS_OF_A_CONNECTION as u64);
            routes.register(one, RULES, 0).unwrap();
        }
        let clock = crate::runtime::SystemClock::shared();
        let began = clock.nanos();
        (0..10).for_each(|connection| drop(routes.unregister_connection(connection, RULES)));
        assert_eq!(routes.cluster_info().broker_addr_table.len(), 20_000 - 10 * BROKERS_OF_A_CONNECTION);
        assert_eq!(routes.unregister_silent(120_001, RULES).0.len(), 10);
        assert_eq!(routes.cluster_info(), ClusterInfo::default());
        let took = std::time::Duration::from_nanos(clock.nanos() - began);
        assert!(took < std::time::Duration::from_secs(30), "{took:?}");
    }

    #[test]
    fn write_permission_is_wiped_and_given_by_broker() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        routes.register(broker("b", 0, "h2:1", &[("T", 4), ("V", 4)]), RULES, 0).unwrap();
        assert_eq!(routes.wipe_write_perm("a"), 2);
        let perms = |topic: &str| routes.topic_route(topic, RULES).unwrap().queue_datas.iter().map(|queue| queue.perm).collect::<Vec<_>>();
        assert_eq!((perms("T"), perms("U"), perms("V")), (vec![4, 6], vec![4], vec![6]));
        assert_eq!((routes.add_write_perm("a"), perms("T")), (2, vec![6, 6]));
        assert_eq!(routes.wipe_write_perm("nobody"), 0);
    }

    #[test]
    fn topics_are_listed_by_their_unit_flags() {
        let routes = RouteInfo::default();
        let mut wanted = broker("a", 0, "h1:1", &[("Unit", 1), ("Sub", 1), ("Both", 1), ("None", 1)]);
        for (topic, flag) in wanted.topics.iter_mut().zip([UNIT, UNIT_SUB, UNIT | UNIT_SUB, 0]) {
            topic.topic_sys_flag = flag;
        }
        routes.register(wanted, RULES, 0).unwrap();
        assert_eq!(routes.unit_topics().topic_list, ["Both", "Unit"]);
        assert_eq!(routes.unit_sub_topics().topic_list, ["Both", "Sub"]);
        assert_eq!(routes.unit_sub_topics_without_unit().topic_list, ["Sub"]);
    }

    #[test]
    fn a_topic_is_registered_and_deleted_by_hand() {
        let routes = RouteInfo::default();
        routes.register(broker("a", 0, "h1:1", &[("T", 4), ("U", 4)]), RULES, 0).unwrap();
        let queue = |name: &str| QueueData { broker_name: name.into(), perm: 6, ..QueueData::default() };
        routes.register_topic("X", vec![queue("a"), queue("stranger")]);
        assert!(routes.topic_route("X", RULES).is_none());
        routes.register_topic("X", vec![queue("a")]);
        assert!(routes.topic_route("X", RULES).is_some());
        routes.delete_topic("X", Some("other cluster"));
        assert!(routes.topic_route("X", RULES).is_some());
        routes.delete_topic("X", Some("C"));
        assert!(routes.topic_route("X", RULES).is_none());
        routes.delete_topic("T", None);
        assert_eq!(routes.all_topics().topic_list, ["U"]);
    }
}
