// SPDX-License-Identifier: Apache-2.0
//! What clients are told of a broker, in one process with its name server and apart: its topics, however many; its address, whoever
//! changes it; and nothing that is gone.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a story that cannot go on ends")]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

use ferrocket_protocol::body::topic::{CreateTopicListRequestBody, TopicConfigSerializeWrapper, TopicList};
use ferrocket_protocol::body::{RegisterBrokerBody, TopicConfig, TopicRouteData};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::admin::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader, GetAllTopicConfigResponseHeader,
};
use ferrocket_protocol::header::{GetRouteInfoRequestHeader, RegisterBrokerRequestHeader, RegisterBrokerResponseHeader};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code as code, response_code};
use support::process::{Server, with_any_ports, write};
use support::{Client, send_request};

/// A broker and its name server, in one process or in two.
struct Story {
    servers: Vec<Server>,
    broker: SocketAddr,
    namesrv: SocketAddr,
}

type Start = fn(&Path, &[&str]) -> Story;

fn together(folder: &Path, settings: &[&str]) -> Story {
    let mut server = Server::start(folder, &with_any_ports(&with_settings(settings)));
    let namesrv = server.namesrv();
    let broker = server.broker("b");
    Story { servers: vec![server], broker, namesrv }
}

fn apart(folder: &Path, settings: &[&str]) -> Story {
    let mut namesrv = Server::start(folder, &["namesrv", "--set", "listenPort=0"]);
    let namesrv_addr = namesrv.namesrv();
    let (address, root) = (namesrv_addr.to_string(), format!("storePathRootDir={}", folder.join("ferrocket-data").display()));
    let mut args = vec!["broker", "-n", &address, "--set", &root, "--set", "listenPort=0"];
    args.extend(with_settings(settings));
    let mut broker = Server::start(folder, &args);
    let broker_addr = broker.broker("b");
    Story { servers: vec![broker, namesrv], broker: broker_addr, namesrv: namesrv_addr }
}

fn with_settings<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    std::iter::once("brokerName=b").chain(settings.iter().copied()).flat_map(|setting| ["--set", setting]).collect()
}

impl Story {
    async fn clients(&self) -> (Client, Client) {
        (Client::connect(self.broker).await, Client::connect(self.namesrv).await)
    }

    fn end(self) {
        self.servers.into_iter().for_each(|server| assert_eq!(server.stop("-TERM"), Some(0)));
    }

    /// As `end`, of servers that had to warn so often, of these and of nothing else.
    fn end_having_warned(self, times: usize, of: &[&str]) {
        let mut lines = Vec::new();
        for server in self.servers {
            let (code, warnings) = server.stop_and_hear("-TERM");
            assert_eq!(code, Some(0));
            lines.extend(warnings.lines().map(str::to_owned));
        }
        assert!(lines.len() == times && lines.iter().all(|line| of.iter().any(|of| line.contains(of))), "{lines:?}");
    }
}

async fn route(client: &mut Client, topic: &str) -> Option<TopicRouteData> {
    let header = GetRouteInfoRequestHeader { topic: Str::copy_from(topic), ..GetRouteInfoRequestHeader::default() };
    let response = client.call_with(code::GET_ROUTEINFO_BY_TOPIC, &header).await;
    (response.code == response_code::SUCCESS).then(|| fastjson::from_slice(&response.body).unwrap())
}

async fn master(client: &mut Client, topic: &str) -> String {
    route(client, topic).await.unwrap().broker_datas[0].broker_addrs[&0].clone()
}

async fn create(client: &mut Client, topic: &str) {
    let header = CreateTopicRequestHeader {
        topic: Str::copy_from(topic),
        default_topic: "TBW102".into(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        ..CreateTopicRequestHeader::default()
    };
    assert_eq!(client.call_with(code::UPDATE_AND_CREATE_TOPIC, &header).await.code, response_code::SUCCESS);
}

async fn create_list(client: &mut Client, names: impl Iterator<Item = String>) {
    let topic_config_list = names.map(|name| TopicConfig::new(name, 4, 4, 6)).collect();
    let body = fastjson::to_vec(&CreateTopicListRequestBody { topic_config_list });
    assert_eq!(client.call_with_body(code::UPDATE_AND_CREATE_TOPIC_LIST, body).await.code, response_code::SUCCESS);
}

async fn update(client: &mut Client, change: &str) {
    let answer = client.call_with_body(code::UPDATE_BROKER_CONFIG, change.to_owned()).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
}

async fn topics_of_name_server(client: &mut Client) -> Vec<String> {
    let answer = client.call(RemotingCommand::request(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await;
    assert_eq!(answer.code, response_code::SUCCESS);
    fastjson::from_slice::<TopicList>(&answer.body).unwrap().topic_list
}

/// As `mqadmin` asks (21): page by page until it has all.
async fn topics_of_broker(client: &mut Client) -> usize {
    let (mut names, mut version) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let header = GetAllTopicConfigRequestHeader {
            topic_seq: Some(names.len() as i32),
            max_topic_num: Some(2_000),
            data_version: Some(version.clone().into()),
        };
        let answer = client.call_with(code::GET_ALL_TOPIC_CONFIG, &header).await;
        let page: TopicConfigSerializeWrapper = fastjson::from_slice(&answer.body).unwrap();
        version = fastjson::to_string(&page.data_version);
        names.extend(page.topic_config_table.into_keys());
        if names.len() as i32 >= answer.header::<GetAllTopicConfigResponseHeader>().unwrap().total_topic_num {
            return names.len();
        }
    }
}

/// `topics.json` of a broker that has had so many topics, with names of 40 bytes.
fn many_topics(folder: &Path, count: usize) {
    let config = folder.join("ferrocket-data/config");
    std::fs::create_dir_all(&config).unwrap();
    let name = |n: usize| format!("{n:040}");
    let topic_config_table: BTreeMap<String, TopicConfig> = (0..count).map(|n| (name(n), TopicConfig::new(name(n), 4, 4, 6))).collect();
    let data_version = DataVersion { counter: 10, state_version: 0, timestamp: 1_795_219_808_010 };
    let text = String::from_utf8(fastjson::to_vec(&TopicConfigSerializeWrapper { data_version, topic_config_table })).unwrap();
    write(config.join("topics.json"), &text);
}

/// One registration of 80,000 is a frame of 17 MB, over the limit. `make many-topics` starts 200,000.
#[tokio::test]
async fn more_topics_than_a_frame_holds_are_routed_and_listed() {
    let count: usize = std::env::var("FERROCKET_TOPICS").map_or(80_000, |count| count.parse().unwrap());
    for start in [together, apart] {
        let folder = tempfile::tempdir().unwrap();
        many_topics(folder.path(), count);
        let story = start(folder.path(), &[]);
        let (mut broker, mut namesrv) = story.clients().await;
        let began = std::time::Instant::now();
        while topics_of_name_server(&mut namesrv).await.len() < count {
            assert!(began.elapsed() < support::PATIENCE * 2, "not all are routed");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        for n in [0, count / 2, count - 1] {
            assert!(route(&mut namesrv, &format!("{n:040}")).await.is_some(), "{n}");
        }
        assert!(topics_of_broker(&mut broker).await > count);
        create(&mut broker, "one-more").await;
        assert!(route(&mut namesrv, "one-more").await.is_some());
        story.servers.into_iter().for_each(drop);
    }
}

/// RouteInfoManager.java#registerBroker with deleteTopicWithBrokerRegistration: what a registration does not name is gone.
#[tokio::test]
async fn a_new_topic_takes_no_other_out_of_the_routes() {
    let cases: [(Start, &[&str]); 4] = [
        (together, &[]),
        (apart, &[]),
        (apart, &["enableSingleTopicRegister=true"]),
        (apart, &["enableSplitRegistration=true", "splitRegistrationSize=3"]),
    ];
    for (start, settings) in cases {
        let folder = tempfile::tempdir().unwrap();
        let story = start(folder.path(), settings);
        let (mut broker, mut namesrv) = story.clients().await;
        create(&mut broker, "old").await;
        let on = namesrv.call_with_body(code::UPDATE_NAMESRV_CONFIG, "deleteTopicWithBrokerRegistration=true").await;
        assert_eq!(on.code, response_code::SUCCESS);
        create(&mut broker, "new").await;
        create_list(&mut broker, ["listed".to_owned()].into_iter()).await;
        assert_eq!(broker.call(send_request("sent", 0, "", "x")).await.code, response_code::SUCCESS);
        for topic in ["old", "new", "listed", "sent", "TBW102"] {
            assert!(route(&mut namesrv, topic).await.is_some(), "{topic} with {settings:?}");
        }
        story.end();
    }
}

/// In one process at once; apart as soon as the name server takes the whole for the whole.
#[tokio::test]
async fn a_topic_that_is_deleted_in_the_broker_is_routed_no_longer() {
    for (start, key) in [(together as Start, false), (apart, true)] {
        let folder = tempfile::tempdir().unwrap();
        let story = start(folder.path(), &[]);
        let (mut broker, mut namesrv) = story.clients().await;
        let key = format!("deleteTopicWithBrokerRegistration={key}");
        assert_eq!(namesrv.call_with_body(code::UPDATE_NAMESRV_CONFIG, key).await.code, response_code::SUCCESS);
        for topic in ["gone", "kept"] {
            create(&mut broker, topic).await;
        }
        let header = DeleteTopicRequestHeader { topic: "gone".into(), ..DeleteTopicRequestHeader::default() };
        assert_eq!(broker.call_with(code::DELETE_TOPIC_IN_BROKER, &header).await.code, response_code::SUCCESS);
        assert!(route(&mut namesrv, "gone").await.is_none() && route(&mut namesrv, "kept").await.is_some());
        story.end();
    }
}

/// As test helpers set them when they know which port of the host leads here. The socket stays where it is.
#[tokio::test]
async fn a_changed_address_is_in_the_routes_with_the_answer() {
    for start in [together, apart] {
        let folder = tempfile::tempdir().unwrap();
        let story = start(folder.path(), &[]);
        let (mut broker, mut namesrv) = story.clients().await;
        let sent = broker.call(send_request("T", 0, "", "x")).await;
        let id_before = sent.ext_fields.get("msgId").unwrap().to_string();
        update(&mut broker, "brokerIP1=192.0.2.7\nlistenPort=32768").await;
        assert_eq!(master(&mut namesrv, "TBW102").await, "192.0.2.7:32768");
        update(&mut broker, "listenPort=32770").await;
        assert_eq!(master(&mut namesrv, "T").await, "192.0.2.7:32770");
        let cluster = namesrv.call(RemotingCommand::request(code::GET_BROKER_CLUSTER_INFO)).await;
        let cluster = String::from_utf8(cluster.body.to_vec()).unwrap();
        assert!(cluster.contains("192.0.2.7:32770") && cluster.matches("192.0.2.7").count() == 1, "{cluster}");
        let shown = broker.call(RemotingCommand::request(code::GET_BROKER_CONFIG)).await;
        assert!(String::from_utf8(shown.body.to_vec()).unwrap().contains("listenPort=32770\n"));
        // What waits for the next start is registered then: otherwise clients find every queue twice.
        update(&mut broker, "brokerName=other\nbrokerClusterName=elsewhere").await;
        update(&mut broker, "listenPort=32771").await;
        let cluster = namesrv.call(RemotingCommand::request(code::GET_BROKER_CLUSTER_INFO)).await;
        let cluster = String::from_utf8(cluster.body.to_vec()).unwrap();
        assert!(cluster.contains("192.0.2.7:32771") && !cluster.contains("other") && !cluster.contains("elsewhere"), "{cluster}");
        // Message ids are those of the start, as in the original, and the port is where it was.
        let sent = Client::connect(story.broker).await.call(send_request("T", 0, "", "x")).await;
        assert_eq!(sent.ext_fields.get("msgId").unwrap().to_string()[..16], id_before[..16]);
        let refused = broker.call_with_body(code::UPDATE_BROKER_CONFIG, "listenPort=0").await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        story.end_having_warned(5, &["clients are told the new listenPort from now on", "next start"]);
    }
}

/// 901 gives what a broker registered; brokerIP2:haListenPort is what a slave would be told of its master.
#[tokio::test]
async fn a_slave_is_told_where_its_master_replicates() {
    let folder = tempfile::tempdir().unwrap();
    let story = apart(folder.path(), &["brokerIP2=192.0.2.9", "haListenPort=4711"]);
    let (mut broker, mut namesrv) = story.clients().await;
    assert_eq!(told_to_a_slave(&mut namesrv).await, "192.0.2.9:4711");
    update(&mut broker, "brokerIP2=192.0.2.10\nhaListenPort=4712").await;
    assert_eq!(told_to_a_slave(&mut namesrv).await, "192.0.2.10:4712");
    story.end();
}

async fn told_to_a_slave(namesrv: &mut Client) -> String {
    let header = RegisterBrokerRequestHeader {
        broker_name: "b".into(),
        broker_addr: "192.0.2.1:1".into(),
        cluster_name: "DefaultCluster".into(),
        broker_id: 1,
        ..RegisterBrokerRequestHeader::default()
    };
    let answer = namesrv.call_with(code::REGISTER_BROKER, &header).await;
    answer.header::<RegisterBrokerResponseHeader>().unwrap().ha_server_addr.unwrap().to_string()
}

/// BrokerController.java#updateNamesrvAddr: the original looks at the key every two minutes.
#[tokio::test]
async fn other_name_servers_are_registered_with_at_once_and_the_old_ones_left() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let story = together(folder.path(), &[]);
    let (mut broker, mut before) = story.clients().await;
    let mut other = Server::start(elsewhere.path(), &["namesrv", "--set", "listenPort=0"]);
    let addr = other.namesrv();
    update(&mut broker, &format!("namesrvAddr={addr}")).await;
    assert!(route(&mut Client::connect(addr).await, "TBW102").await.is_some());
    let began = std::time::Instant::now();
    while route(&mut before, "TBW102").await.is_some() {
        assert!(began.elapsed() < support::PATIENCE, "it is still routed");
    }
    story.end();
    assert_eq!(other.stop("-TERM"), Some(0));
}

/// `0.0.0.0` is every address, as in Java; an IPv4 client of that socket is one.
#[tokio::test]
async fn the_ports_are_open_for_both_families() {
    let folder = tempfile::tempdir().unwrap();
    let story = together(folder.path(), &[]);
    let has_ipv6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if has_ipv6 {
        for port in [story.namesrv.port(), story.broker.port()] {
            let mut client = Client::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await;
            assert!(route(&mut client, "TBW102").await.is_some());
        }
    }
    let mut client = Client::connect(story.namesrv).await;
    assert_eq!(master(&mut client, "TBW102").await, format!("127.0.0.1:{}", story.broker.port()));
    story.end();
}

/// enableSplitRegistration, splitRegistrationSize, compressedRegister and enableSingleTopicRegister, at the start and by command: what a
/// name server elsewhere is told first, and of a new topic.
#[tokio::test]
async fn how_name_servers_are_told() {
    let cases: [(&[&str], Registered); 5] = [
        (&[], Registered { topics_of_first: 15, compressed: false, singles: 0 }),
        (&["enableSplitRegistration=true"], Registered { topics_of_first: 15, compressed: false, singles: 0 }),
        (&["enableSplitRegistration=true", "splitRegistrationSize=5"], Registered { topics_of_first: 5, compressed: false, singles: 0 }),
        (&["compressedRegister=true"], Registered { topics_of_first: 15, compressed: true, singles: 0 }),
        (&["enableSingleTopicRegister=true"], Registered { topics_of_first: 15, compressed: false, singles: 1 }),
    ];
    for (settings, expected) in cases {
        let namesrv = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("namesrvAddr={}", namesrv.local_addr().unwrap());
        let heard = std::thread::spawn(move || hear(&namesrv));
        let folder = tempfile::tempdir().unwrap();
        let mut args = vec!["--set", "brokerName=b", "--set", "listenPort=0", "--set", &address];
        settings.iter().for_each(|setting| args.extend(["--set", *setting]));
        let mut server = Server::start(folder.path(), &args);
        let mut client = Client::connect(server.broker("b")).await;
        assert_eq!(client.call(send_request("T", 0, "", "x")).await.code, response_code::SUCCESS);
        drop(client);
        assert_eq!(server.stop("-TERM"), Some(0));
        let heard = tokio::task::spawn_blocking(move || heard.join().unwrap()).await.unwrap();
        assert_eq!(heard, expected, "{settings:?}");
    }
}

#[derive(Debug, PartialEq)]
struct Registered {
    topics_of_first: usize,
    compressed: bool,
    singles: usize,
}

/// A name server that answers everything with success, until its broker goes.
fn hear(namesrv: &std::net::TcpListener) -> Registered {
    use std::io::{Read, Write};
    let (mut stream, _) = namesrv.accept().unwrap();
    let mut heard = Registered { topics_of_first: 0, compressed: false, singles: 0 };
    let (mut buffer, mut read) = (bytes::BytesMut::new(), [0; 65_536]);
    loop {
        let count = stream.read(&mut read).unwrap_or(0);
        if count == 0 {
            return heard;
        }
        buffer.extend_from_slice(&read[..count]);
        while let Some(frame) = ferrocket_protocol::split_frame(&mut buffer).unwrap() {
            let request = RemotingCommand::decode(frame).unwrap();
            match request.code {
                code::REGISTER_BROKER if heard.topics_of_first == 0 => {
                    let header: RegisterBrokerRequestHeader = request.header().unwrap();
                    let body = RegisterBrokerBody::decode(&request.body, header.compressed, request.version).unwrap();
                    heard.topics_of_first = body.topic_config_serialize_wrapper.topic_config_table.len();
                    heard.compressed = header.compressed;
                }
                code::REGISTER_TOPIC_IN_NAMESRV => heard.singles += 1,
                _ => {}
            }
            let mut frame = bytes::BytesMut::new();
            RemotingCommand::response(response_code::SUCCESS).answering(&request).encode(&mut frame);
            stream.write_all(&frame).unwrap();
        }
    }
}
