// SPDX-License-Identifier: Apache-2.0
//! Each code of the name server, refusals included, over its port: DefaultRequestProcessor.java and ClientRequestProcessor.java.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on ends")]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferrocket::config::{AdvertiseRules, NamesrvConfig, NamesrvConfigCell};
use ferrocket::namesrv::{KvConfig, NameServer, OwnBroker};
use ferrocket::remoting::{Limits, Listener};
use ferrocket::runtime::{ManualClock, Runtime};
use ferrocket_protocol::body::*;
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::*;
use ferrocket_protocol::{RemotingCommand, Str, fastjson, perm, request_code as code, response_code, version};
use parking_lot::Mutex;
use support::{Client, remark};

/// A name server whose time stands still and whose `kvConfig.json` is a string.
struct Story {
    addr: SocketAddr,
    clock: ManualClock,
    kv_file: Arc<Mutex<String>>,
    server: Arc<NameServer>,
    _listener: Listener,
}

async fn with(change: impl FnOnce(&mut NamesrvConfig)) -> Story {
    with_rules(change, "").await
}

async fn with_rules(change: impl FnOnce(&mut NamesrvConfig), rules: &str) -> Story {
    with_disk(change, rules, || ()).await
}

/// `written` runs before each write of `kvConfig.json`, where the write may wait.
async fn with_disk(change: impl FnOnce(&mut NamesrvConfig), rules: &str, mut written: impl FnMut() + Send + 'static) -> Story {
    let clock = ManualClock::at_millis(1_795_219_808_010);
    let runtime = Runtime::current(Arc::new(clock.clone()));
    let mut config = NamesrvConfig::default();
    change(&mut config);
    let kv_file = Arc::new(Mutex::new(String::new()));
    let file = Arc::clone(&kv_file);
    let save = move |bytes: &[u8]| {
        written();
        *file.lock() = String::from_utf8(bytes.to_vec()).unwrap();
        Ok(())
    };
    let kv = KvConfig::load(Some(br#"{"configTable":{"old":{"k":"v"}}}"#), Box::new(save)).unwrap();
    let server = NameServer::new(Arc::new(NamesrvConfigCell::new(config)), kv, AdvertiseRules::parse(rules).unwrap(), &runtime);
    server.start();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any_port, Arc::clone(&server), Limits::default(), &runtime).await.unwrap();
    Story { addr: listener.local_addr(), clock, kv_file, server, _listener: listener }
}

impl Story {
    async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }
}

fn broker_header(name: &str, addr: &str) -> RegisterBrokerRequestHeader {
    RegisterBrokerRequestHeader {
        broker_name: Str::copy_from(name),
        broker_addr: Str::copy_from(addr),
        cluster_name: "C".into(),
        ha_server_addr: "ha:1".into(),
        broker_id: 0,
        ..RegisterBrokerRequestHeader::default()
    }
}

fn topics(names: &[&str]) -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = DataVersion { counter: 1, state_version: 0, timestamp: 5 };
    wrapper.topic_config_table = names.iter().map(|name| ((*name).to_owned(), TopicConfig::new(*name, 4, 8, perm::READ_WRITE))).collect();
    body
}

async fn register(client: &mut Client, header: &RegisterBrokerRequestHeader, body: &RegisterBrokerBody) -> RemotingCommand {
    let body = body.encode(header.compressed);
    client.call(RemotingCommand::request_with(code::REGISTER_BROKER, header).with_body(body)).await
}

async fn route(client: &mut Client, topic: &'static str) -> Option<TopicRouteData> {
    let header = GetRouteInfoRequestHeader { topic: topic.into(), ..GetRouteInfoRequestHeader::default() };
    let response = client.call_with(code::GET_ROUTEINFO_BY_TOPIC, &header).await;
    (response.code == response_code::SUCCESS).then(|| fastjson::from_slice(&response.body).unwrap())
}

async fn topic_list(client: &mut Client, request: RemotingCommand) -> Vec<String> {
    let response = client.call(request).await;
    assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
    fastjson::from_slice::<TopicList>(&response.body).unwrap().topic_list
}

/// 103 and 105.
#[tokio::test]
async fn a_registered_broker_is_found_in_the_form_that_the_client_reads() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    let header = GetRouteInfoRequestHeader { topic: "T".into(), ..GetRouteInfoRequestHeader::default() };
    let none = client.call_with(code::GET_ROUTEINFO_BY_TOPIC, &header).await;
    assert_eq!(none.code, response_code::TOPIC_NOT_EXIST);
    assert_eq!(
        remark(&none),
        "No topic route info in name server for the topic: T\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    );
    let registered = register(&mut client, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await;
    assert_eq!((registered.code, registered.body.len()), (response_code::SUCCESS, 0));

    let mut request = RemotingCommand::request_with(code::GET_ROUTEINFO_BY_TOPIC, &header);
    request.version = version::V4_9_3;
    let old = client.call(request.clone()).await;
    let usual = r#"{"brokerDatas":[{"brokerAddrs":{0:"h1:1"},"brokerName":"a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":8}]}"#;
    assert_eq!(std::str::from_utf8(&old.body).unwrap(), usual);
    let standard = usual.replace("{0:", r#"{"0":"#);
    request.ext_fields.insert("acceptStandardJsonOnly", "true");
    assert_eq!(std::str::from_utf8(&client.call(request).await.body).unwrap(), standard);
    let mut request = RemotingCommand::request_with(code::GET_ROUTEINFO_BY_TOPIC, &header);
    request.version = version::V4_9_4;
    assert_eq!(std::str::from_utf8(&client.call(request).await.body).unwrap(), standard);
}

/// 103 in its other forms, and refused.
#[tokio::test]
async fn registrations_come_compressed_checked_and_refused() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    let compressed = RegisterBrokerRequestHeader { compressed: true, ..broker_header("a", "h1:1") };
    assert_eq!(register(&mut client, &compressed, &topics(&["T", "U"])).await.code, response_code::SUCCESS);
    assert_eq!(route(&mut client, "U").await.unwrap().queue_datas[0].write_queue_nums, 8);

    let bytes = topics(&["T", "U"]).encode(false);
    let right = (crc32fast::hash(&bytes) & 0x7FFF_FFFF) as i32;
    let checked = |body_crc32| RegisterBrokerRequestHeader { body_crc32, ..broker_header("b", "h2:1") };
    assert_eq!(register(&mut client, &checked(right), &topics(&["T", "U"])).await.code, response_code::SUCCESS);
    let damaged = register(&mut client, &checked(right ^ 1), &topics(&["T", "U"])).await;
    assert_eq!((damaged.code, remark(&damaged)), (response_code::SYSTEM_ERROR, "crc32 not match"));

    let single = register(&mut client, &broker_header("c", "h3:1"), &topics(&["T"])).await;
    assert_eq!((single.code, remark(&single)), (response_code::SYSTEM_ERROR, "register broker failed"));

    let request = RemotingCommand::request_with(code::REGISTER_BROKER, &broker_header("d", "h4:1")).with_body("no json");
    let unreadable = client.call(request).await;
    assert_eq!(unreadable.code, response_code::SYSTEM_ERROR);
    assert!(remark(&unreadable).contains("Failed to decode RegisterBrokerBody"));

    // Brokers before 3.0.11 bring their topics alone.
    let wrapper = topics(&["Old", "Older"]).topic_config_serialize_wrapper;
    let old = TopicConfigSerializeWrapper { data_version: wrapper.data_version, topic_config_table: wrapper.topic_config_table };
    let mut request = RemotingCommand::request_with(code::REGISTER_BROKER, &broker_header("e", "h5:1")).with_body(fastjson::to_vec(&old));
    request.version = version::V3_0_11 - 1;
    assert_eq!(client.call(request).await.code, response_code::SUCCESS);
    assert!(route(&mut client, "Old").await.is_some());
}

/// 103: the answer names the master to a slave, and the ordered topics to everyone.
#[tokio::test]
async fn a_registration_is_answered_with_master_and_ordered_topics() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    let put = PutKvConfigRequestHeader { namespace: Some("ORDER_TOPIC_CONFIG".into()), key: Some("T".into()), value: Some("a:4".into()) };
    client.call_with(code::PUT_KV_CONFIG, &put).await;
    let answer = register(&mut client, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await;
    assert_eq!(fastjson::from_slice::<KvTable>(&answer.body).unwrap().table, BTreeMap::from([("T".to_owned(), "a:4".to_owned())]));
    let slave = RegisterBrokerRequestHeader { broker_id: 1, ..broker_header("a", "h2:1") };
    let answer: RegisterBrokerResponseHeader = register(&mut client, &slave, &topics(&["T", "U"])).await.header().unwrap();
    assert_eq!((answer.master_addr.as_deref(), answer.ha_server_addr.as_deref()), (Some("h1:1"), Some("ha:1")));
    // 901
    let group = GetBrokerMemberGroupRequestHeader { cluster_name: "C".into(), broker_name: "a".into() };
    let body = client.call_with(code::GET_BROKER_MEMBER_GROUP, &group).await.body;
    let expected = r#"{"brokerMemberGroup":{"brokerAddrs":{0:"h1:1",1:"h2:1"},"brokerName":"a","cluster":"C"}}"#;
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected);

    let silent = with(|config| config.return_order_topic_config_to_broker = false).await;
    let mut client = silent.client().await;
    client.call_with(code::PUT_KV_CONFIG, &put).await;
    assert!(register(&mut client, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await.body.is_empty());
}

/// 105: `orderMessageEnable`.
#[tokio::test]
async fn a_route_carries_the_ordered_topic_configuration_where_it_is_enabled() {
    for enabled in [true, false] {
        let story = with(|config| config.order_message_enable = enabled).await;
        let mut client = story.client().await;
        register(&mut client, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await;
        let put =
            PutKvConfigRequestHeader { namespace: Some("ORDER_TOPIC_CONFIG".into()), key: Some("T".into()), value: Some("a:4".into()) };
        client.call_with(code::PUT_KV_CONFIG, &put).await;
        assert_eq!(route(&mut client, "T").await.unwrap().order_topic_conf.as_deref(), enabled.then_some("a:4"));
    }
}

/// 105: ZoneRouteRPCHook.java.
#[tokio::test]
async fn a_client_of_a_zone_sees_its_brokers_and_those_that_lost_their_master() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    for (name, addr, id, zone) in
        [("near", "h1:1", 0, Some("Z")), ("far", "h2:1", 0, Some("Y")), ("none", "h3:1", 0, None), ("lost", "h4:1", 1, Some("Y"))]
    {
        let header = RegisterBrokerRequestHeader {
            broker_id: id,
            zone_name: zone.map(Str::copy_from),
            enable_acting_master: Some(true),
            ..broker_header(name, addr)
        };
        register(&mut client, &header, &topics(&["T", "U"])).await;
    }
    let ask =
        |zone_mode: bool| GetRouteInfoRequestHeader { topic: "T".into(), zone_name: Some("z".into()), zone_mode, ..Default::default() };
    let response = client.call_with(code::GET_ROUTEINFO_BY_TOPIC, &ask(true)).await;
    let seen: TopicRouteData = fastjson::from_slice(&response.body).unwrap();
    assert_eq!(seen.broker_datas.iter().map(|broker| broker.broker_name.as_str()).collect::<Vec<_>>(), ["lost", "near"]);
    assert_eq!(seen.queue_datas.len(), 2);
    let response = client.call_with(code::GET_ROUTEINFO_BY_TOPIC, &ask(false)).await;
    assert_eq!(fastjson::from_slice::<TopicRouteData>(&response.body).unwrap().broker_datas.len(), 4);
}

/// 105: `needWaitForService`.
#[tokio::test]
async fn routes_are_refused_until_brokers_had_time_to_register() {
    let story = with(|config| config.need_wait_for_service = true).await;
    let mut client = story.client().await;
    register(&mut client, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await;
    let header = GetRouteInfoRequestHeader { topic: "T".into(), ..GetRouteInfoRequestHeader::default() };
    let early = client.call_with(code::GET_ROUTEINFO_BY_TOPIC, &header).await;
    assert_eq!((early.code, remark(&early)), (response_code::SYSTEM_ERROR, "name server not ready"));
    story.clock.advance(Duration::from_secs(45));
    assert!(route(&mut client, "T").await.is_some());
}

/// 105, 106, 304: the broker of this process, and rules for others.
#[tokio::test]
async fn addresses_are_those_that_the_asking_client_reaches() {
    let story = with_rules(|_| {}, "127.0.0.0/8=gate").await;
    let mut client = story.client().await;
    register(&mut client, &broker_header("own", "10.0.0.9:10911"), &topics(&["T", "U"])).await;
    register(&mut client, &broker_header("other", "10.0.0.8:20911"), &topics(&["T", "U"])).await;
    story.server.set_own_broker(ferrocket::config::Advertised::new(AdvertiseRules::default(), "10.0.0.9", false, 10911));
    let seen = route(&mut client, "T").await.unwrap();
    assert_eq!(
        seen.broker_datas.iter().map(|broker| broker.broker_addrs[&0].as_str()).collect::<Vec<_>>(),
        ["gate:20911", "127.0.0.1:10911"]
    );
    let cluster: ClusterInfo = fastjson::from_slice(&client.call_with_body(code::GET_BROKER_CLUSTER_INFO, "").await.body).unwrap();
    assert_eq!(cluster.broker_addr_table["own"].broker_addrs[&0], "127.0.0.1:10911");
    let system: TopicList = fastjson::from_slice(&client.call_with_body(code::GET_SYSTEM_TOPIC_LIST_FROM_NS, "").await.body).unwrap();
    assert_eq!((system.topic_list, system.broker_addr.as_deref()), (vec!["C".into(), "other".into(), "own".into()], Some("gate:20911")));
}

/// 103 and 104 of others: the original gives a name to whoever registered last.
#[tokio::test]
async fn nobody_registers_in_the_place_of_the_broker_of_this_process() {
    let story = with(|_| {}).await;
    let own = OwnBroker {
        acting_master: false,
        cluster: "C".into(),
        name: "own".into(),
        id: 0,
        ha_server_addr: "10.0.0.9:10912".into(),
        advertised: ferrocket::config::Advertised::new(AdvertiseRules::default(), "10.0.0.9", false, 10911),
        data_version: DataVersion { counter: 1, state_version: 0, timestamp: 0 },
    };
    story.server.take_own(&own, ["T", "U"].map(|topic| TopicConfig::new(topic, 4, 8, perm::READ_WRITE)).into(), true);
    let (mut asking, mut stranger) = (story.client().await, story.client().await);
    for (name, addr) in [("own", "10.6.6.6:10911"), ("other", "10.0.0.9:10911")] {
        let refused = register(&mut stranger, &broker_header(name, addr), &topics(&["T", "U"])).await;
        let why = "register broker failed: the broker of this process has this name and id, or this address";
        assert_eq!((refused.code, remark(&refused)), (response_code::SYSTEM_ERROR, why));
    }
    let header = UnregisterBrokerRequestHeader {
        broker_name: "own".into(),
        broker_addr: "10.0.0.9:10911".into(),
        cluster_name: "C".into(),
        broker_id: 0,
    };
    assert_eq!(stranger.call_with(code::UNREGISTER_BROKER, &header).await.code, response_code::SUCCESS);
    stranger.close().await;
    let seen = route(&mut asking, "T").await.unwrap();
    assert_eq!((seen.broker_datas.len(), seen.broker_datas[0].broker_addrs[&0].as_str()), (1, "127.0.0.1:10911"));
    story.server.leave_own("C", "own", 0, "10.0.0.9:10911");
    assert!(route(&mut asking, "T").await.is_none());
    let registered = register(&mut asking, &broker_header("own", "10.6.6.6:10911"), &topics(&["T", "U"])).await;
    assert_eq!(registered.code, response_code::SUCCESS);
}

/// 104 and the end of a connection.
#[tokio::test]
async fn a_broker_leaves_by_word_or_with_its_connection() {
    let story = with(|_| {}).await;
    let (mut asking, mut first, mut second) = (story.client().await, story.client().await, story.client().await);
    register(&mut first, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await;
    register(&mut second, &broker_header("b", "h2:1"), &topics(&["T", "V"])).await;
    let header =
        UnregisterBrokerRequestHeader { broker_name: "a".into(), broker_addr: "h1:1".into(), cluster_name: "C".into(), broker_id: 0 };
    assert_eq!(first.call_with(code::UNREGISTER_BROKER, &header).await.code, response_code::SUCCESS);
    assert!(route(&mut asking, "U").await.is_none());
    assert_eq!(route(&mut asking, "T").await.unwrap().broker_datas.len(), 1);
    second.close().await;
    while route(&mut asking, "T").await.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(topic_list(&mut asking, RemotingCommand::request(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await.is_empty());
}

/// 322, 904 and silence.
#[tokio::test]
async fn a_silent_broker_is_forgotten_and_a_sign_of_life_keeps_it() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    for (name, addr) in [("a", "h1:1"), ("b", "h2:1"), ("c", "h3:1")] {
        // Each over a connection of its own, for the connection of a silent broker is closed.
        let mut own = story.client().await;
        register(&mut own, &broker_header(name, addr), &topics(&["T", "U"])).await;
        std::mem::forget(own);
    }
    let ask =
        |addr: &'static str| QueryDataVersionRequestHeader { broker_addr: addr.into(), cluster_name: "C".into(), ..Default::default() };
    let query = |addr, counter| {
        let version = DataVersion { counter, state_version: 0, timestamp: 5 };
        RemotingCommand::request_with(code::QUERY_DATA_VERSION, &ask(addr)).with_body(fastjson::to_vec(&version))
    };
    story.clock.advance(Duration::from_secs(100));
    let same = client.call(query("h1:1", 1)).await;
    assert!(!same.header::<QueryDataVersionResponseHeader>().unwrap().changed);
    assert_eq!(fastjson::from_slice::<DataVersion>(&same.body).unwrap().counter, 1);
    assert!(client.call(query("h1:1", 2)).await.header::<QueryDataVersionResponseHeader>().unwrap().changed);
    let unknown = client.call(query("nobody:1", 1)).await;
    assert!(unknown.header::<QueryDataVersionResponseHeader>().unwrap().changed && unknown.body.is_empty());
    let beat = BrokerHeartbeatRequestHeader {
        cluster_name: "C".into(),
        broker_addr: "h2:1".into(),
        broker_name: "b".into(),
        ..Default::default()
    };
    assert_eq!(client.call_with(code::BROKER_HEARTBEAT, &beat).await.code, response_code::SUCCESS);
    for _ in 0..6 {
        story.clock.advance(Duration::from_secs(5));
        // The sweep runs beside; it sleeps again when it has looked.
        while story.clock.waiting_count() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
    }
    let left = route(&mut client, "T").await.unwrap();
    assert_eq!(left.broker_datas.iter().map(|broker| broker.broker_name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

/// 205 and 327.
#[tokio::test]
async fn write_permission_is_wiped_and_given_back() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    register(&mut client, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await;
    let wipe = WipeWritePermOfBrokerRequestHeader { broker_name: "a".into() };
    let wiped: WipeWritePermOfBrokerResponseHeader = client.call_with(code::WIPE_WRITE_PERM_OF_BROKER, &wipe).await.header().unwrap();
    assert_eq!((wiped.wipe_topic_count, route(&mut client, "T").await.unwrap().queue_datas[0].perm), (2, perm::READ));
    let add = AddWritePermOfBrokerRequestHeader { broker_name: "a".into() };
    let added: AddWritePermOfBrokerResponseHeader = client.call_with(code::ADD_WRITE_PERM_OF_BROKER, &add).await.header().unwrap();
    assert_eq!((added.add_topic_count, route(&mut client, "T").await.unwrap().queue_datas[0].perm), (2, perm::READ_WRITE));
}

/// 206, 224, 311, 312, 313, and their switches.
#[tokio::test]
async fn topics_are_listed_where_that_is_enabled() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    let mut body = topics(&["T", "Unit", "Sub"]);
    let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
    table.get_mut("Unit").unwrap().topic_sys_flag = 1;
    table.get_mut("Sub").unwrap().topic_sys_flag = 2;
    register(&mut client, &broker_header("a", "h1:1"), &body).await;
    let of_cluster = |cluster: &'static str| {
        RemotingCommand::request_with(code::GET_TOPICS_BY_CLUSTER, &GetTopicsByClusterRequestHeader { cluster: cluster.into() })
    };
    assert_eq!(topic_list(&mut client, RemotingCommand::request(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await, ["Sub", "T", "Unit"]);
    assert_eq!(topic_list(&mut client, of_cluster("C")).await, ["Sub", "T", "Unit"]);
    assert!(topic_list(&mut client, of_cluster("nobody")).await.is_empty());
    assert_eq!(topic_list(&mut client, RemotingCommand::request(code::GET_UNIT_TOPIC_LIST)).await, ["Unit"]);
    assert_eq!(topic_list(&mut client, RemotingCommand::request(code::GET_HAS_UNIT_SUB_TOPIC_LIST)).await, ["Sub"]);
    assert_eq!(topic_list(&mut client, RemotingCommand::request(code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST)).await, ["Sub"]);

    let story = with(|config| (config.enable_all_topic_list, config.enable_topic_list) = (false, false)).await;
    let mut client = story.client().await;
    let lists = [
        RemotingCommand::request(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER),
        of_cluster("C"),
        RemotingCommand::request(code::GET_UNIT_TOPIC_LIST),
        RemotingCommand::request(code::GET_HAS_UNIT_SUB_TOPIC_LIST),
        RemotingCommand::request(code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST),
    ];
    for list in lists {
        let refused = client.call(list).await;
        assert_eq!((refused.code, remark(&refused)), (response_code::SYSTEM_ERROR, "disable"));
    }
}

/// 216 and 217.
#[tokio::test]
async fn a_topic_is_registered_and_deleted_by_hand() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    register(&mut client, &broker_header("a", "h1:1"), &topics(&["T", "U"])).await;
    let queues = |broker: &str| TopicRouteData {
        queue_datas: vec![QueueData {
            broker_name: broker.to_owned(),
            perm: 6,
            read_queue_nums: 3,
            write_queue_nums: 3,
            topic_sys_flag: 0,
        }],
        ..TopicRouteData::default()
    };
    for (topic, broker) in [("Known", "a"), ("Strange", "nobody")] {
        let header = RegisterTopicRequestHeader { topic: Str::copy_from(topic) };
        let request = RemotingCommand::request_with(code::REGISTER_TOPIC_IN_NAMESRV, &header).with_body(fastjson::to_vec(&queues(broker)));
        assert_eq!(client.call(request).await.code, response_code::SUCCESS);
    }
    assert_eq!(route(&mut client, "Known").await.unwrap().queue_datas[0].read_queue_nums, 3);
    assert!(route(&mut client, "Strange").await.is_none());
    let delete = |topic: &'static str, cluster: Option<&'static str>| DeleteTopicFromNamesrvRequestHeader {
        topic: topic.into(),
        cluster_name: cluster.map(Str::from),
    };
    for (header, stays) in [(delete("Known", Some("other")), true), (delete("Known", Some("C")), false), (delete("T", None), false)] {
        assert_eq!(client.call_with(code::DELETE_TOPIC_IN_NAMESRV, &header).await.code, response_code::SUCCESS);
        assert_eq!(route(&mut client, "Known").await.is_some(), stays);
    }
    assert!(route(&mut client, "T").await.is_none() && route(&mut client, "U").await.is_some());
}

/// 103, from one connection for more brokers than one connection has.
#[tokio::test]
async fn a_connection_that_registers_too_many_brokers_is_refused_and_leaves_nothing_behind() {
    let story = with(|_| {}).await;
    let (mut client, mut other) = (story.client().await, story.client().await);
    let body = topics(&["T", "U"]);
    for at in 0..1024 {
        let header = broker_header(&format!("b{at}"), &format!("h{at}:1"));
        assert_eq!(register(&mut client, &header, &body).await.code, response_code::SUCCESS, "{at}");
    }
    let refused = register(&mut client, &broker_header("more", "more:1"), &body).await;
    let words = "register broker failed: one connection registers 1024 brokers at most";
    assert_eq!((refused.code, remark(&refused)), (response_code::SYSTEM_ERROR, words));
    assert_eq!(register(&mut client, &broker_header("b7", "h7:1"), &body).await.code, response_code::SUCCESS, "a heartbeat");
    assert_eq!(register(&mut other, &broker_header("more", "more:1"), &body).await.code, response_code::SUCCESS);
    drop(client);
    // The end of the connection is noticed in its own time.
    let info = async {
        loop {
            let info = other.call(RemotingCommand::request(code::GET_BROKER_CLUSTER_INFO)).await;
            let info: ClusterInfo = fastjson::from_slice(&info.body).unwrap();
            if info.broker_addr_table.len() == 1 {
                break info;
            }
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(30), info).await.unwrap();
    assert!(left.broker_addr_table.contains_key("more"));
}

/// 100, 101, 102, 219 and `kvConfig.json`.
#[tokio::test]
async fn settings_are_kept_by_namespace() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    let get =
        |namespace: &'static str, key: &'static str| GetKvConfigRequestHeader { namespace: Some(namespace.into()), key: Some(key.into()) };
    let put = PutKvConfigRequestHeader { namespace: Some("n".into()), key: Some("k".into()), value: Some("v".into()) };
    assert_eq!(client.call_with(code::PUT_KV_CONFIG, &put).await.code, response_code::SUCCESS);
    assert_eq!(*story.kv_file.lock(), r#"{"configTable":{"n":{"k":"v"},"old":{"k":"v"}}}"#);
    for namespace in ["n", "old"] {
        let got = client.call_with(code::GET_KV_CONFIG, &get(namespace, "k")).await;
        assert_eq!(got.header::<GetKvConfigResponseHeader>().unwrap().value.as_deref(), Some("v"));
    }
    let list = |namespace: &'static str| GetKvListByNamespaceRequestHeader { namespace: namespace.into() };
    assert_eq!(&client.call_with(code::GET_KVLIST_BY_NAMESPACE, &list("n")).await.body[..], br#"{"table":{"k":"v"}}"#);
    let none = client.call_with(code::GET_KVLIST_BY_NAMESPACE, &list("x")).await;
    assert_eq!((none.code, remark(&none)), (response_code::QUERY_NOT_FOUND, "No config item, Namespace: x"));

    let delete = DeleteKvConfigRequestHeader { namespace: Some("n".into()), key: Some("k".into()) };
    assert_eq!(client.call_with(code::DELETE_KV_CONFIG, &delete).await.code, response_code::SUCCESS);
    let none = client.call_with(code::GET_KV_CONFIG, &get("n", "k")).await;
    assert_eq!((none.code, remark(&none)), (response_code::QUERY_NOT_FOUND, "No config item, Namespace: n Key: k"));
    assert_eq!(*story.kv_file.lock(), r#"{"configTable":{"n":{},"old":{"k":"v"}}}"#);
    let nameless = client.call(RemotingCommand::request(code::PUT_KV_CONFIG)).await;
    assert_eq!((nameless.code, remark(&nameless)), (response_code::SYSTEM_ERROR, "namespace or key is null"));
}

/// 318 and 319.
#[tokio::test]
async fn the_configuration_is_read_and_changed() {
    let story = with(|_| {}).await;
    let mut client = story.client().await;
    assert_eq!(client.call_with_body(code::UPDATE_NAMESRV_CONFIG, "orderMessageEnable=true\nnobody=1").await.code, response_code::SUCCESS);
    let listed = client.call_with_body(code::GET_NAMESRV_CONFIG, "").await;
    let text = std::str::from_utf8(&listed.body).unwrap();
    assert!(text.lines().any(|line| line == "orderMessageEnable=true") && text.lines().any(|line| line == "listenPort=9876"), "{text}");
    for key in ["kvConfigPath", "configStorePath", "configBlackList", "rocketmqHome"] {
        let refused = client.call_with_body(code::UPDATE_NAMESRV_CONFIG, format!("{key}=x")).await;
        assert_eq!((refused.code, remark(&refused)), (response_code::NO_PERMISSION, "Can not update config in black list."));
    }
    let wrong = client.call_with_body(code::UPDATE_NAMESRV_CONFIG, "waitSecondsForService=soon").await;
    assert_eq!(wrong.code, response_code::SYSTEM_ERROR);
}

#[tokio::test]
async fn a_code_of_a_broker_is_not_served() {
    let story = with(|_| {}).await;
    let refused = story.client().await.call(RemotingCommand::request(code::SEND_MESSAGE)).await;
    assert_eq!((refused.code, remark(&refused)), (response_code::REQUEST_CODE_NOT_SUPPORTED, " request type 10 not supported"));
}

/// A change is answered when it is on the disk; who asks for it on the same connection waits with it, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_holds_up_only_the_change_that_waits_for_it() {
    let (goes_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let story = with_disk(|_| (), "", move || may_go_on.recv().unwrap()).await;
    let (mut client, mut other) = (story.client().await, story.client().await);
    let put = PutKvConfigRequestHeader { namespace: Some("n".into()), key: Some("k".into()), value: Some("v".into()) };
    let get = GetKvConfigRequestHeader { namespace: Some("n".into()), key: Some("k".into()) };
    let asked = client
        .begin_all([
            RemotingCommand::request_with(code::PUT_KV_CONFIG, &put),
            RemotingCommand::request_with(code::GET_KV_CONFIG, &get),
            RemotingCommand::request(code::GET_BROKER_CLUSTER_INFO),
        ])
        .await;
    assert_eq!(client.response(asked[2]).await.code, response_code::SUCCESS);
    assert_eq!(other.call_with(code::GET_KV_CONFIG, &get).await.code, response_code::QUERY_NOT_FOUND);
    assert!(!client.has_response(asked[0]) && !client.has_response(asked[1]) && story.kv_file.lock().is_empty());
    goes_on.send(()).unwrap();
    assert_eq!(client.response(asked[0]).await.code, response_code::SUCCESS);
    let found: GetKvConfigResponseHeader = client.response(asked[1]).await.header().unwrap();
    assert_eq!(found.value.as_deref(), Some("v"));
    assert!(story.kv_file.lock().contains("\"k\":\"v\""));
}
