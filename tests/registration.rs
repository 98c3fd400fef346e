// SPDX-License-Identifier: Apache-2.0
//! A broker keeps its name servers told: all of them, in order, whatever one of them does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panicking and own what they start")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use ferrocket::broker::persist::ConfigFile;
use ferrocket::broker::registration::{BODY_BYTES_MAX, BrokerSnapshot, Form, Identity, Learned, Registration, RegistrationSource};
use ferrocket::broker::topics::Topics;
use ferrocket::config::{AdvertiseRules, Advertised, BrokerConfig};
use ferrocket::remoting::{Completion, Limits, Listener, Peer, Replies, RequestHandler};
use ferrocket::runtime::{Clock, ManualClock, Runtime, SystemClock};
use ferrocket::store::RealFs;
use ferrocket_protocol::body::{KvTable, RegisterBrokerBody, TopicConfig, TopicRouteData};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::route::{RegisterTopicRequestHeader, UnregisterBrokerRequestHeader};
use ferrocket_protocol::header::{QueryDataVersionResponseHeader, RegisterBrokerRequestHeader};
use ferrocket_protocol::{RemotingCommand, fastjson, perm, request_code, response_code, version};
use parking_lot::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Singles {
    #[default]
    Known,
    Refused,
    /// As 4.9.7, which says its version and answers nothing to a code that it does not know.
    OfOldVersion,
    NeverAnswered,
}

/// A name server that writes down what it is told.
#[derive(Default)]
struct NameServer {
    registrations: Mutex<Vec<(RegisterBrokerRequestHeader, RegisterBrokerBody)>>,
    codes: Mutex<Vec<i32>>,
    /// Answers that were not given yet, when it is slow.
    held: Mutex<Vec<Completion>>,
    slow: bool,
    ordered: Vec<String>,
    /// What it says to a query of the data version.
    finds_changed: bool,
    /// Topics that came alone, by 217: name and write queues.
    singles: Mutex<Vec<(String, i32)>>,
    /// What it does with 217.
    singles_are: Singles,
    refuses_compressed: bool,
    refuses: AtomicBool,
    /// Departures: address and broker id.
    left: Mutex<Vec<(String, i64)>>,
}

impl RequestHandler for NameServer {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        self.codes.lock().push(request.code);
        let mut response = RemotingCommand::response(response_code::SUCCESS);
        match request.code {
            request_code::REGISTER_BROKER => {
                let header: RegisterBrokerRequestHeader = request.header().unwrap();
                assert_eq!(header.body_crc32 as u32, crc32fast::hash(&request.body) & 0x7FFF_FFFF);
                let body = RegisterBrokerBody::decode(&request.body, header.compressed, request.version).unwrap();
                if self.refuses_compressed && header.compressed || self.refuses.load(Ordering::SeqCst) {
                    replies.answer(request, RemotingCommand::response(response_code::SYSTEM_ERROR));
                    return;
                }
                self.registrations.lock().push((header, body));
                if !self.ordered.is_empty() {
                    let table = self.ordered.iter().map(|topic| (topic.clone(), "b:4".to_owned())).collect();
                    response = response.with_body(fastjson::to_vec(&KvTable { table }));
                }
                if self.slow {
                    self.held.lock().push(peer.completion(request));
                    return;
                }
            }
            request_code::QUERY_DATA_VERSION => {
                response = response.with_header(&QueryDataVersionResponseHeader { changed: self.finds_changed });
            }
            request_code::UNREGISTER_BROKER => {
                let header: UnregisterBrokerRequestHeader = request.header().unwrap();
                self.left.lock().push((header.broker_addr.to_string(), header.broker_id));
            }
            request_code::REGISTER_TOPIC_IN_NAMESRV if self.singles_are == Singles::Refused => {
                response = RemotingCommand::response(response_code::REQUEST_CODE_NOT_SUPPORTED);
            }
            request_code::REGISTER_TOPIC_IN_NAMESRV if self.singles_are != Singles::Known => return,
            request_code::REGISTER_TOPIC_IN_NAMESRV => {
                let header: RegisterTopicRequestHeader = request.header().unwrap();
                let route: TopicRouteData = fastjson::from_slice(&request.body).unwrap();
                assert_eq!(route.queue_datas.len(), 1);
                self.singles.lock().push((header.topic.to_string(), route.queue_datas[0].write_queue_nums));
            }
            other => panic!("a broker does not send {other} here"),
        }
        if self.singles_are == Singles::OfOldVersion {
            response.version = version::V4_9_7;
        }
        replies.answer(request, response);
    }

    fn connected(&self, _peer: &Arc<Peer>) {}
    fn closed(&self, _peer: &Arc<Peer>) {}
}

impl NameServer {
    fn tables(&self) -> Vec<Vec<String>> {
        let names = |body: &RegisterBrokerBody| body.topic_config_serialize_wrapper.topic_config_table.keys().cloned().collect();
        self.registrations.lock().iter().map(|(_, body)| names(body)).collect()
    }

    fn versions(&self) -> Vec<DataVersion> {
        self.registrations.lock().iter().map(|(_, body)| body.topic_config_serialize_wrapper.data_version.clone()).collect()
    }
}

struct TestBroker {
    topics: Topics,
    force: bool,
    permission: AtomicI32,
    form: Mutex<Form>,
    addr: Mutex<String>,
}

impl RegistrationSource for TestBroker {
    fn snapshot(&self) -> BrokerSnapshot {
        let (data_version, topics) = self.topics.shared_snapshot();
        let broker_addr = self.addr.lock().clone();
        let (host, port) = broker_addr.rsplit_once(':').unwrap();
        BrokerSnapshot {
            acting_not_active_millis: None,
            advertised: Advertised::new(AdvertiseRules::default(), host, true, port.parse().unwrap()),
            identity: Identity {
                broker_name: "b".into(),
                broker_addr: broker_addr.clone(),
                cluster_name: "c".into(),
                broker_id: 0,
                ha_server_addr: "10.0.0.1:10912".into(),
            },
            broker_permission: self.permission.load(Ordering::SeqCst),
            force: self.force,
            form: *self.form.lock(),
            // Tests move the clock while requests are under way.
            timeout: Duration::from_secs(24 * 3_600),
            data_version,
            topics,
        }
    }

    fn learn(&self, learned: Learned) {
        self.topics.mark_ordered(learned.ordered.iter().map(String::as_str));
    }
}

struct Setting {
    runtime: Runtime,
    clock: ManualClock,
    broker: Arc<TestBroker>,
    built_in: usize,
}

impl Setting {
    fn new(force: bool) -> Self {
        Self::with(force, perm::READ_WRITE)
    }

    fn with(force: bool, permission: i32) -> Self {
        let clock = ManualClock::at_millis(1_700_000_000_000);
        // Never written, so it need not exist.
        let file = ConfigFile::new(RealFs::shared(), PathBuf::from("/does-not-exist/topics.json"));
        let topics = Topics::load(file, &BrokerConfig::default(), Arc::new(clock.clone())).unwrap();
        let built_in = topics.len();
        let broker = Arc::new(TestBroker {
            topics,
            force,
            permission: AtomicI32::new(permission),
            form: Mutex::default(),
            addr: Mutex::new("10.0.0.1:10911".to_owned()),
        });
        Self { runtime: Runtime::current(Arc::new(clock.clone())), clock, broker, built_in }
    }

    async fn name_server(&self, name_server: NameServer) -> (Arc<NameServer>, Listener) {
        // On a clock of its own: time in these tests is the broker's.
        let runtime = Runtime::current(SystemClock::shared());
        let name_server = Arc::new(name_server);
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any_port, Arc::clone(&name_server), Limits::default(), &runtime).await.unwrap();
        (name_server, listener)
    }

    fn register(&self, with: &[&Listener]) -> Arc<Registration> {
        let addrs: Vec<String> = with.iter().map(|listener| listener.local_addr().to_string()).collect();
        Registration::start(&addrs, None, Arc::clone(&self.broker) as Arc<dyn RegistrationSource>, PERIOD, &self.runtime)
    }

    fn create(&self, topic: &str) {
        self.broker.topics.update(TopicConfig::new(topic, 4, 4, perm::READ_WRITE)).unwrap();
    }

    /// Lets time pass until `test` holds.
    async fn advance_until(&self, step: Duration, mut test: impl FnMut() -> bool) {
        let advancing = async {
            while !test() {
                self.clock.advance(step);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, advancing).await.expect("the awaited state comes");
    }
}

async fn until(mut test: impl FnMut() -> bool) {
    let waiting = async {
        while !test() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the awaited state comes");
}

#[tokio::test]
async fn every_name_server_hears_of_the_whole_table_and_then_of_changes() {
    let setting = Setting::new(true);
    let (first, first_listener) = setting.name_server(NameServer::default()).await;
    let (second, second_listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&first_listener, &second_listener]);
    for name_server in [&first, &second] {
        until(|| name_server.tables().len() == 1).await;
        assert_eq!(name_server.tables()[0].len(), setting.built_in);
    }
    setting.create("A");
    registration.announce().await;
    for name_server in [&first, &second] {
        assert_eq!(name_server.tables()[1].len(), setting.built_in + 1, "with all the others");
        let registrations = name_server.registrations.lock();
        let (header, body) = &registrations[1];
        assert_eq!((&*header.broker_name, &*header.broker_addr, header.broker_id), ("b", "10.0.0.1:10911", 0));
        assert_eq!(body.topic_config_serialize_wrapper.data_version, setting.broker.topics.data_version());
        assert!(!header.compressed);
    }
    registration.unregister().await;
    for name_server in [&first, &second] {
        assert_eq!(name_server.codes.lock().last(), Some(&request_code::UNREGISTER_BROKER));
    }
}

/// observed.md 12: the original can tell two quick changes in the wrong order; the older one then stays.
#[tokio::test]
async fn quick_changes_are_told_in_order_and_none_is_lost() {
    let setting = Setting::new(true);
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&listener]);
    let mut announcing = Vec::new();
    for n in 0..200 {
        setting.create(&format!("T{n}"));
        let registration = Arc::clone(&registration);
        announcing.push(tokio::spawn(async move { registration.announce().await }));
        if n % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for announcing in announcing {
        announcing.await.unwrap();
    }
    let registrations = name_server.registrations.lock();
    let counters: Vec<i64> = registrations.iter().map(|(_, body)| body.topic_config_serialize_wrapper.data_version.counter).collect();
    assert!(counters.is_sorted(), "{counters:?}");
    drop(registrations);
    let all: std::collections::BTreeSet<String> = name_server.tables().into_iter().flatten().collect();
    assert_eq!(all.len(), setting.built_in + 200);
}

#[tokio::test]
async fn a_slow_or_dead_name_server_delays_no_other() {
    let setting = Setting::new(true);
    let (slow, slow_listener) = setting.name_server(NameServer { slow: true, ..NameServer::default() }).await;
    let (good, good_listener) = setting.name_server(NameServer::default()).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let addrs = [dead.to_string(), slow_listener.local_addr().to_string(), good_listener.local_addr().to_string()];
    let registration =
        Registration::start(&addrs, None, Arc::clone(&setting.broker) as Arc<dyn RegistrationSource>, PERIOD, &setting.runtime);
    until(|| good.tables().len() == 1 && slow.tables().len() == 1).await;
    setting.create("A");
    let announcing = tokio::spawn({
        let registration = Arc::clone(&registration);
        async move { registration.announce().await }
    });
    until(|| good.tables().len() == 2).await;
    assert!(!announcing.is_finished(), "the slow one has not answered");
    assert_eq!(slow.tables().len(), 1, "one at a time");
    for _ in 0..2 {
        until(|| !slow.held.lock().is_empty()).await;
        slow.held.lock().pop().unwrap().answer(RemotingCommand::response(response_code::SUCCESS));
    }
    tokio::time::timeout(PATIENCE, announcing).await.unwrap().unwrap();
    assert_eq!(slow.tables()[1].len(), setting.built_in + 1);
}

#[tokio::test]
async fn the_whole_table_is_told_again_every_period() {
    let setting = Setting::new(true);
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let _registration = setting.register(&[&listener]);
    until(|| name_server.tables().len() == 1).await;
    let started = setting.clock.now_millis();
    setting.advance_until(Duration::from_secs(5), || name_server.tables().len() == 2).await;
    assert!(setting.clock.now_millis() - started >= 30_000);
    assert_eq!(name_server.tables()[1].len(), setting.built_in);
}

#[tokio::test]
async fn without_force_a_name_server_is_asked_first() {
    for finds_changed in [false, true] {
        let setting = Setting::new(false);
        let (name_server, listener) = setting.name_server(NameServer { finds_changed, ..NameServer::default() }).await;
        let _registration = setting.register(&[&listener]);
        until(|| name_server.tables().len() == 1).await;
        let asked = || name_server.codes.lock().iter().filter(|code| **code == request_code::QUERY_DATA_VERSION).count();
        setting.advance_until(Duration::from_secs(5), || asked() == 2).await;
        let told_again = name_server.tables().len() - 1;
        assert!(if finds_changed { told_again >= 1 } else { told_again == 0 }, "told again {told_again} times");
    }
}

#[tokio::test]
async fn a_name_server_that_comes_back_is_told_everything() {
    let setting = Setting::new(true);
    let (before, listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&listener]);
    until(|| before.tables().len() == 1).await;
    let addr = listener.local_addr();
    listener.stop_accepting();
    listener.close_all("test");
    drop(listener);
    setting.create("A");
    registration.announce().await;
    let after = Arc::new(NameServer::default());
    let runtime = Runtime::current(SystemClock::shared());
    let _listener = loop {
        // The old socket is let go by a task of its own.
        match Listener::bind(addr, Arc::clone(&after), Limits::default(), &runtime).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    setting.advance_until(Duration::from_millis(500), || !after.tables().is_empty()).await;
    assert_eq!(after.tables()[0].len(), setting.built_in + 1);
}

/// A name server forgets a broker whose connection it has lost: it is told again over the next one, at once.
#[tokio::test]
async fn everything_is_told_again_over_a_new_connection() {
    let setting = Setting::new(true);
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let _registration = setting.register(&[&listener]);
    until(|| name_server.tables().len() == 1).await;
    listener.close_all("test");
    // Time stands still: it is not the period that brings it.
    until(|| name_server.tables().len() == 2).await;
    assert_eq!(name_server.tables()[1].len(), setting.built_in);
}

/// However long a name server was out of order, it is tried again within the period.
#[tokio::test]
async fn a_name_server_that_was_away_for_long_is_tried_as_often_as_ever() {
    let setting = Setting::new(true);
    let (name_server, listener) = setting.name_server(NameServer { refuses: AtomicBool::new(true), ..NameServer::default() }).await;
    let registration = setting.register(&[&listener]);
    for attempt in 1..10 {
        until(|| name_server.codes.lock().len() >= attempt).await;
        // The first may be answered by the attempt, the second only by the pause after it.
        registration.announce().await;
        registration.announce().await;
        name_server.refuses.store(attempt < 9, Ordering::SeqCst);
        setting.clock.advance(PERIOD);
    }
    until(|| name_server.tables().len() == 1).await;
}

#[tokio::test]
async fn a_broker_that_may_not_be_written_says_so_of_every_topic() {
    let setting = Setting::with(true, perm::READ);
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let _registration = setting.register(&[&listener]);
    until(|| name_server.tables().len() == 1).await;
    let registrations = name_server.registrations.lock();
    let table = &registrations[0].1.topic_config_serialize_wrapper.topic_config_table;
    assert!(table.values().all(|config| config.perm & !perm::READ == 0), "{table:?}");
}

#[tokio::test]
async fn ordered_topics_of_the_name_server_are_marked() {
    let setting = Setting::new(true);
    setting.create("A");
    let (name_server, listener) =
        setting.name_server(NameServer { ordered: vec!["A".into(), "not here".into()], ..NameServer::default() }).await;
    let _registration = setting.register(&[&listener]);
    until(|| setting.broker.topics.get("A").is_some_and(|topic| topic.order)).await;
    assert!(!name_server.tables().is_empty());
}

/// What a change is told as: (registrations after the first, topics that came alone).
async fn told_after_one_change(name_server: NameServer, change: impl FnOnce(&Setting)) -> (Vec<Vec<String>>, Vec<(String, i32)>) {
    let setting = Setting::new(true);
    change(&setting);
    let (name_server, listener) = setting.name_server(name_server).await;
    let registration = setting.register(&[&listener]);
    until(|| !name_server.tables().is_empty()).await;
    registration.announce().await;
    let before = name_server.tables().len();
    setting.create("A");
    let announced = async {
        tokio::select! {
            () = registration.announce() => {}
            () = async { setting.advance_until(Duration::from_millis(100), || false).await } => {}
        }
    };
    if name_server.singles_are == Singles::NeverAnswered {
        announced.await
    } else {
        registration.announce().await
    }
    let singles = name_server.singles.lock().clone();
    (name_server.tables()[before..].to_vec(), singles)
}

/// enableSingleTopicRegister, and a table of which each change would send too much: a name server with
/// deleteTopicWithBrokerRegistration takes a registration of the changed topics alone for the whole table.
#[tokio::test]
async fn a_changed_topic_goes_alone_by_217_or_with_the_whole_table() {
    let singly = |setting: &Setting| setting.broker.form.lock().single_topics = true;
    let large = |setting: &Setting| {
        (0..1_000).for_each(|n| setting.create(&format!("T{n}")));
    };
    let (tables, singles) = told_after_one_change(NameServer::default(), |_| ()).await;
    assert_eq!((tables.len(), tables[0].len() > 1, singles.len()), (1, true, 0));
    for alone in [singly as fn(&Setting), large] {
        let (tables, singles) = told_after_one_change(NameServer::default(), alone).await;
        assert_eq!((tables.len(), singles), (0, vec![("A".to_owned(), 4)]));
        for singles_are in [Singles::Refused, Singles::OfOldVersion, Singles::NeverAnswered] {
            let (tables, singles) = told_after_one_change(NameServer { singles_are, ..NameServer::default() }, alone).await;
            let is_whole = tables.len() == 1 && tables[0].len() > 1 && tables[0].contains(&"A".to_owned());
            assert!(is_whole && singles.is_empty(), "{singles_are:?}: {tables:?}");
        }
    }
}

/// A topic that is altered is told like one that is new.
#[tokio::test]
async fn an_altered_topic_is_told_at_once() {
    for single_topics in [false, true] {
        let setting = Setting::new(true);
        setting.create("A");
        setting.broker.form.lock().single_topics = single_topics;
        let (name_server, listener) = setting.name_server(NameServer::default()).await;
        let registration = setting.register(&[&listener]);
        until(|| !name_server.tables().is_empty()).await;
        registration.announce().await;
        let before = name_server.tables().len();
        setting.broker.topics.update(TopicConfig::new("A", 8, 8, perm::READ_WRITE)).unwrap();
        registration.announce().await;
        if single_topics {
            assert_eq!(*name_server.singles.lock(), [("A".to_owned(), 8)]);
            continue;
        }
        let told = name_server.registrations.lock();
        assert_eq!(told.len(), before + 1);
        assert_eq!(told[before].1.topic_config_serialize_wrapper.topic_config_table["A"].write_queue_nums, 8);
    }
}

#[tokio::test]
async fn many_changes_at_once_go_with_the_whole_table() {
    let setting = Setting::new(true);
    setting.broker.form.lock().single_topics = true;
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&listener]);
    until(|| name_server.tables().len() == 1).await;
    setting.broker.topics.update_all((0..101).map(|n| TopicConfig::new(format!("T{n}"), 4, 4, 6)).collect()).unwrap();
    registration.announce().await;
    assert_eq!((name_server.tables().len(), name_server.singles.lock().len()), (2, 0));
}

#[tokio::test]
async fn a_changed_permission_is_told_of_every_topic() {
    let setting = Setting::new(true);
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&listener]);
    until(|| name_server.tables().len() == 1).await;
    setting.broker.permission.store(perm::READ, Ordering::SeqCst);
    registration.announce().await;
    let registrations = name_server.registrations.lock();
    let table = &registrations[1].1.topic_config_serialize_wrapper.topic_config_table;
    assert_eq!(table.len(), setting.built_in);
    assert!(table.values().all(|config| config.perm & perm::WRITE == 0), "{table:?}");
}

/// By a registration that does not name it, also when as many are made as are deleted.
#[tokio::test]
async fn a_deleted_topic_is_told_at_once_as_far_as_the_protocol_goes() {
    let setting = Setting::new(true);
    setting.broker.form.lock().single_topics = true;
    setting.create("A");
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&listener]);
    until(|| name_server.tables().len() == 1).await;
    drop(setting.broker.topics.delete("A"));
    setting.create("B");
    registration.announce().await;
    let tables = name_server.tables();
    assert_eq!((tables.len(), tables[1].len()), (2, setting.built_in + 1));
    assert!(!tables[1].contains(&"A".to_owned()) && tables[1].contains(&"B".to_owned()));
}

/// Every part has a version of its own, because a name server compares it with that of the part before; the last has the true one.
/// All say that they are not the whole (a static topic).
#[tokio::test]
async fn a_table_that_no_frame_holds_goes_in_parts() {
    let setting = Setting::new(true);
    for n in 0..6 {
        let attributes = [("+message.type".to_owned(), "NORMAL".to_owned())].into();
        setting.broker.topics.update(TopicConfig { attributes, ..TopicConfig::new(format!("L{n}"), 4, 4, 6) }).unwrap();
    }
    // A name of so many bytes is not legal; it stands for 100,000 names of 200.
    (0..6).for_each(|n| setting.create(&format!("{n}{}", "x".repeat(BODY_BYTES_MAX / 8))));
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&listener]);
    let complete = |versions: &[DataVersion]| versions.last() == Some(&setting.broker.topics.data_version());
    until(|| complete(&name_server.versions())).await;
    registration.announce().await;
    // The table has no order: a first attempt may tell some parts before it meets one that no frame holds, and begin anew.
    let first = name_server.tables().len();
    let named_since = |part: usize| name_server.tables()[part..].iter().flatten().cloned().collect::<BTreeSet<String>>().len();
    assert!(first > 1 && named_since(0) == setting.built_in + 12, "{first} parts");
    let versions = name_server.versions();
    assert!(versions.windows(2).all(|two| two[0] != two[1]), "{versions:?}");
    assert!(
        name_server
            .registrations
            .lock()
            .iter()
            .all(|(_, body)| !body.topic_config_serialize_wrapper.topic_queue_mapping_info_map.is_empty())
    );
    // What has not changed is not told anew.
    setting.advance_until(Duration::from_secs(5), || named_since(first) == setting.built_in + 12).await;
    assert!(name_server.versions()[first..].iter().all(|version| *version == versions[first - 1]));
}

#[tokio::test]
async fn a_table_goes_in_parts_where_the_operator_says_so() {
    let setting = Setting::new(true);
    for (wanted, size) in [(5, 5), (0, 2)] {
        setting.broker.form.lock().part_topics = Some(wanted);
        let (name_server, listener) = setting.name_server(NameServer::default()).await;
        let registration = setting.register(&[&listener]);
        registration.announce().await;
        let sizes: Vec<usize> = name_server.tables().iter().map(Vec::len).collect();
        assert!(sizes.len() == setting.built_in.div_ceil(size) && sizes[0] == size, "{sizes:?}");
    }
}

#[tokio::test]
async fn a_registration_is_compressed_for_those_who_read_it() {
    for refuses_compressed in [false, true] {
        let setting = Setting::new(true);
        setting.broker.form.lock().compressed = true;
        let (name_server, listener) = setting.name_server(NameServer { refuses_compressed, ..NameServer::default() }).await;
        let registration = setting.register(&[&listener]);
        registration.announce().await;
        assert_eq!(name_server.tables()[0].len(), setting.built_in);
        assert_eq!(name_server.registrations.lock()[0].0.compressed, !refuses_compressed);
    }
}

/// The new address first, so that no route is without one; the old one is taken back under an id that no broker has, because name
/// servers of 4.x remove by id.
#[tokio::test]
async fn a_new_address_takes_the_place_of_the_old_one() {
    let setting = Setting::new(true);
    let (name_server, listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&listener]);
    until(|| name_server.tables().len() == 1).await;
    *setting.broker.addr.lock() = "192.0.2.7:32768".to_owned();
    registration.announce().await;
    assert_eq!(name_server.registrations.lock()[1].0.broker_addr, "192.0.2.7:32768");
    assert_eq!(*name_server.left.lock(), [("10.0.0.1:10911".to_owned(), -1)]);
    registration.announce().await;
    assert_eq!((name_server.tables().len(), name_server.left.lock().len()), (2, 1), "once");
    registration.unregister().await;
    assert_eq!(name_server.left.lock()[1], ("192.0.2.7:32768".to_owned(), 0));
}

#[tokio::test]
async fn a_name_server_that_is_no_longer_named_is_left() {
    let setting = Setting::new(true);
    let (first, first_listener) = setting.name_server(NameServer::default()).await;
    let (second, second_listener) = setting.name_server(NameServer::default()).await;
    let registration = setting.register(&[&first_listener]);
    until(|| first.tables().len() == 1).await;
    registration.register_with(&[second_listener.local_addr().to_string()]);
    until(|| second.tables().len() == 1 && first.left.lock().len() == 1).await;
    setting.create("A");
    registration.announce().await;
    assert_eq!((first.tables().len(), second.tables().len()), (1, 2));
}
