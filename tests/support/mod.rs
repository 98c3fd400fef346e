// SPDX-License-Identifier: Apache-2.0
//! A broker in this process, on a port that the machine chose, and clients that speak its bytes.
#![allow(dead_code, unreachable_pub, reason = "each story is a crate of its own and uses its part")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

pub mod dice;
pub mod hostile;
pub mod log;
pub mod plain_master;
pub mod process;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrocket::broker::schedule::parse_levels;
use ferrocket::broker::{Broker, Location, Parts, replication};
use ferrocket::config::{AdvertiseRules, BrokerConfig, ConfigCell};
use ferrocket::processor::BrokerHandler;
use ferrocket::remoting::{Limits, Listener};
use ferrocket::runtime::{ManualClock, Runtime, SharedClock, SystemClock};
use ferrocket::store::{FlushDiskType, Fs, MemoryFs, RealFs, StoreConfig};
use ferrocket_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData, SubscriptionData, TopicConfig,
};
use ferrocket_protocol::header::{
    NotifyConsumerIdsChangedRequestHeader, PullMessageRequestHeader, PullMessageResponseHeader, SendMessageRequestHeader,
    SendMessageResponseHeader, UpdateConsumerOffsetRequestHeader,
};
use ferrocket_protocol::java_hash::string_hash;
use ferrocket_protocol::{Header, LanguageCode, RemotingCommand, Str, fastjson, request_code, response_code, split_frame, version};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything may take here; a story that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this process runs the test of that name alone. If not, another one has just done so, and the test has nothing to do: a figure
/// of the whole process means something only without the other tests beside it.
pub fn is_alone(test: &str) -> bool {
    const ALONE: &str = "FERROCKET_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let run = std::process::Command::new(std::env::current_exe().unwrap()).args(["--exact", test]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
    false
}

/// As many descriptors as this process may have; how many that are.
pub fn raised_descriptor_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.current.unwrap_or(u64::MAX) as usize
}

/// A broker with a store of its own in a folder that is removed with it.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    pub addr: SocketAddr,
    pub runtime: Runtime,
    listener: Listener,
    pub fs: Arc<dyn Fs>,
    folder: Arc<tempfile::TempDir>,
}

/// What a story wants different from the defaults.
pub struct Setup {
    pub config: BrokerConfig,
    pub flush: FlushDiskType,
    pub clock: SharedClock,
    pub limits: Limits,
    pub fs: Arc<dyn Fs>,
    /// Of the log, and of ConsumeQueues.
    file_bytes: (usize, usize),
    folder: Arc<tempfile::TempDir>,
}

impl Setup {
    pub fn new() -> Self {
        let mut config = BrokerConfig::default();
        config.broker_name = "broker-a".to_owned();
        config.broker_ip1 = "127.0.0.1".to_owned();
        // Every port is one that the machine chooses, that for slaves too.
        config.listen_port = 0;
        Self {
            config,
            flush: FlushDiskType::Async,
            clock: SystemClock::shared(),
            limits: Limits::default(),
            fs: RealFs::shared(),
            file_bytes: (16 * 1024 * 1024, StoreConfig::at("").mapped_file_size_consume_queue),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    pub fn config(mut self, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    pub fn sync_flush(mut self) -> Self {
        self.flush = FlushDiskType::Sync;
        self
    }

    /// Time stands still until the story moves it.
    pub fn manual_clock(mut self) -> (Self, ManualClock) {
        let clock = ManualClock::at_millis(1_795_219_808_010);
        self.clock = Arc::new(clock.clone());
        (self, clock)
    }

    /// The clock of an earlier broker goes on.
    pub fn with_clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Arc::new(clock.clone());
        self
    }

    /// The store lies in this file system instead of the machine's.
    pub fn on(mut self, fs: &MemoryFs) -> Self {
        self.fs = fs.shared();
        self
    }

    /// As those of `log::node`.
    pub fn with_small_files(mut self) -> Self {
        self.file_bytes = (log::FILE_BYTES, log::QUEUE_FILE_BYTES);
        self
    }

    /// A second life of the store there, whose first may still run on other files.
    pub fn in_folder_of(mut self, other: &TestBroker) -> Self {
        self.folder = Arc::clone(&other.folder);
        self
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn start(self) -> TestBroker {
        let runtime = Runtime::current(Arc::clone(&self.clock));
        let store_config = StoreConfig {
            mapped_file_size_commit_log: self.file_bytes.0,
            mapped_file_size_consume_queue: self.file_bytes.1,
            max_index_num: 40_000,
            max_hash_slot_num: 10_000,
            flush_disk_type: self.flush,
            max_message_size: self.config.max_message_size as usize,
            disk_space_warning_level_ratio: self.config.disk_space_warning_level_ratio as u32,
            copies: replication::master::copies(&self.config),
            delay_level_millis: parse_levels(&self.config.message_delay_level).unwrap(),
            ..StoreConfig::at(self.folder.path())
        };
        let broker = Broker::open(Parts {
            config: Arc::new(ConfigCell::new(self.config)),
            store_config,
            fs: Arc::clone(&self.fs),
            clock: self.clock,
            runtime: runtime.clone(),
            location: Location {
                host: "127.0.0.1".to_owned(),
                ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
                is_set: true,
                rules: AdvertiseRules::default(),
                port: 0,
            },
        })
        .unwrap();
        let handler = Arc::new(BrokerHandler::new(Arc::clone(&broker)));
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind(any_port, handler, self.limits, &runtime).await.unwrap();
        let addr = listener.local_addr();
        broker.listening_on(addr.port());
        broker.start(None).unwrap();
        TestBroker { broker, addr, runtime, listener, fs: self.fs, folder: self.folder }
    }
}

impl TestBroker {
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// Stops in order; the setup given back starts a broker on the same folder.
    pub async fn stop(self) -> Setup {
        self.listener.stop_accepting();
        self.broker.hold.stop();
        self.listener.drain(Duration::from_secs(5)).await;
        self.listener.close_all("the story ends");
        self.broker.stop().unwrap();
        assert!(self.runtime.stop(Duration::from_secs(10)).await, "everything that was started has ended");
        Setup { folder: self.folder, fs: self.fs, ..Setup::new() }
    }

    pub fn create_topic(&self, name: &str, queues: i32) {
        self.create_topic_with(name, queues, 6);
    }

    pub fn create_topic_with(&self, name: &str, queues: i32, perm: i32) {
        let config =
            TopicConfig { topic_name: name.to_owned(), read_queue_nums: queues, write_queue_nums: queues, perm, ..Default::default() };
        self.broker.topics.update(config).unwrap();
    }

    /// Moves the clock when whoever follows it is asleep, and lets them look at the new time.
    pub async fn advance(&self, clock: &ManualClock, duration: Duration) {
        for moves in [true, false] {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if moves {
                clock.advance(duration);
            }
        }
    }

    /// Waits until the broker is as the story needs it.
    pub async fn wait_until(&self, is_so: impl Fn(&Broker) -> bool) {
        let began = std::time::Instant::now();
        while !is_so(&self.broker) {
            assert!(began.elapsed() < PATIENCE, "the broker never came to be as the story needs it");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// One connection, used by one story at a time.
pub struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    last_opaque: i32,
    responses: HashMap<i32, RemotingCommand>,
    /// Requests of the broker that the story has not looked at yet.
    pushed: VecDeque<RemotingCommand>,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: BytesMut::new(), last_opaque: 0, responses: HashMap::new(), pushed: VecDeque::new() }
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends without waiting for the answer; gives the opaque by which it comes.
    pub async fn begin(&mut self, mut request: RemotingCommand) -> i32 {
        self.last_opaque += 1;
        request.opaque = self.last_opaque;
        let mut frame = BytesMut::new();
        request.encode(&mut frame);
        self.stream.write_all(&frame).await.unwrap();
        self.last_opaque
    }

    /// Sends several requests in one write; gives their opaques.
    pub async fn begin_all(&mut self, requests: impl IntoIterator<Item = RemotingCommand>) -> Vec<i32> {
        let mut frames = BytesMut::new();
        let mut opaques = Vec::new();
        for mut request in requests {
            self.last_opaque += 1;
            request.opaque = self.last_opaque;
            opaques.push(self.last_opaque);
            request.encode(&mut frames);
        }
        self.stream.write_all(&frames).await.unwrap();
        opaques
    }

    pub async fn response(&mut self, opaque: i32) -> RemotingCommand {
        loop {
            if let Some(response) = self.responses.remove(&opaque) {
                return response;
            }
            self.read_some().await;
        }
    }

    /// Whether the answer was read together with others.
    pub fn has_response(&self, opaque: i32) -> bool {
        self.responses.contains_key(&opaque)
    }

    pub async fn call(&mut self, request: RemotingCommand) -> RemotingCommand {
        let opaque = self.begin(request).await;
        self.response(opaque).await
    }

    pub async fn call_with(&mut self, code: i32, header: &impl Header) -> RemotingCommand {
        self.call(RemotingCommand::request_with(code, header)).await
    }

    pub async fn call_with_body(&mut self, code: i32, body: impl Into<Bytes>) -> RemotingCommand {
        self.call(RemotingCommand::request(code).with_body(body)).await
    }

    /// The next request of the broker.
    pub async fn pushed(&mut self) -> RemotingCommand {
        loop {
            if let Some(request) = self.pushed.pop_front() {
                return request;
            }
            self.read_some().await;
        }
    }

    /// Whether a request of the broker has come by now.
    pub async fn has_pushed(&mut self) -> bool {
        self.is_answered(0).await;
        !self.pushed.is_empty()
    }

    /// Waits until the broker has closed the connection.
    pub async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }

    /// Answers a request of the broker.
    pub async fn answer(&mut self, request: &RemotingCommand, response: RemotingCommand) {
        let mut frame = BytesMut::new();
        response.answering(request).encode(&mut frame);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Whether the answer has come by now; waits for nothing but a round trip that follows it.
    pub async fn is_answered(&mut self, opaque: i32) -> bool {
        let probe = self.begin(RemotingCommand::request(request_code::UNREGISTER_CLIENT)).await;
        let answered = self.response(probe).await;
        assert_eq!(answered.code, response_code::SUCCESS);
        self.responses.contains_key(&opaque)
    }

    /// Closes the sending side and waits until the broker has closed its own.
    pub async fn close(mut self) {
        self.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.unwrap();
    }

    /// One read, of whatever has come.
    pub async fn read_once(&mut self) {
        self.buffer.reserve(256 * 1024);
        self.read_some().await;
    }

    async fn read_some(&mut self) {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        let count = read.expect("an answer within the patience of a test").unwrap();
        assert_ne!(count, 0, "the broker closed the connection");
        while let Some(frame) = split_frame(&mut self.buffer).unwrap() {
            let command = RemotingCommand::decode(frame).unwrap();
            if command.is_response() {
                self.responses.insert(command.opaque, command);
            } else {
                self.pushed.push_back(command);
            }
        }
    }

    pub async fn send(&mut self, topic: &str, queue_id: i32, tag: &str, body: &str) -> SendMessageResponseHeader {
        let response = self.call(send_request(topic, queue_id, tag, body)).await;
        assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
        response.header().unwrap()
    }

    /// So many messages, one after the other.
    pub async fn send_many(&mut self, topic: &str, queue_id: i32, count: usize) {
        for opaque in self.begin_all((0..count).map(|_| send_request(topic, queue_id, "A", "one of many"))).await {
            assert_eq!(self.response(opaque).await.code, 0);
        }
    }

    pub async fn heartbeat(&mut self, heartbeat: &HeartbeatData) -> RemotingCommand {
        let response = self.call_with_body(request_code::HEART_BEAT, fastjson::to_vec(heartbeat)).await;
        assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
        response
    }

    /// Joins a group as a push consumer would.
    pub async fn consume(&mut self, group: &str, client_id: &str, subscriptions: &[(&str, &str)]) {
        self.heartbeat(&consumer_heartbeat(group, client_id, subscriptions)).await;
    }

    pub async fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> RemotingCommand {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: Str::copy_from(group),
            topic: Str::copy_from(topic),
            queue_id: Some(queue_id),
            commit_offset: Some(offset),
            ..Default::default()
        };
        self.call_with(request_code::UPDATE_CONSUMER_OFFSET, &header).await
    }
}

pub fn send_request(topic: &str, queue_id: i32, tag: &str, body: &str) -> RemotingCommand {
    let properties = if tag.is_empty() { String::new() } else { format!("TAGS\u{1}{tag}\u{2}") };
    let header = SendMessageRequestHeader {
        producer_group: Str::from("P"),
        topic: Str::copy_from(topic),
        default_topic: Str::from("TBW102"),
        default_topic_queue_nums: 4,
        queue_id,
        born_timestamp: 1_795_219_808_000,
        properties: Str::from(properties),
        ..Default::default()
    };
    RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body(Bytes::copy_from_slice(body.as_bytes()))
}

/// A send with these properties, as a producer of any language fills it in.
pub fn send_header(topic: &str, queue_id: i32, pairs: &[(&str, &str)]) -> SendMessageRequestHeader {
    let properties = ferrocket_protocol::message::properties::encode(pairs.iter().copied());
    SendMessageRequestHeader {
        producer_group: Str::from("P"),
        topic: Str::copy_from(topic),
        default_topic: Str::from("TBW102"),
        default_topic_queue_nums: 4,
        queue_id,
        born_timestamp: 1_795_219_808_000,
        properties: Str::from(String::from_utf8(properties).unwrap()),
        ..Default::default()
    }
}

pub fn subscription(topic: &str, expression: &str) -> SubscriptionData {
    let tags = expression.split("||").map(str::trim).filter(|tag| *tag != "*");
    SubscriptionData {
        topic: topic.to_owned(),
        sub_string: expression.to_owned(),
        tags_set: tags.clone().map(str::to_owned).collect(),
        code_set: tags.map(string_hash).collect(),
        sub_version: 1,
        expression_type: "TAG".to_owned(),
        ..Default::default()
    }
}

pub fn consumer_heartbeat(group: &str, client_id: &str, subscriptions: &[(&str, &str)]) -> HeartbeatData {
    HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            consume_type: ConsumeType::ConsumePassively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::ConsumeFromLastOffset,
            subscription_data_set: subscriptions.iter().map(|(topic, tags)| subscription(topic, tags)).collect(),
            unit_mode: false,
        }],
        ..Default::default()
    }
}

pub fn producer_heartbeat(group: &str, client_id: &str) -> HeartbeatData {
    HeartbeatData {
        client_id: client_id.to_owned(),
        producer_data_set: vec![ProducerData { group_name: group.to_owned() }],
        ..Default::default()
    }
}

/// A pull as a push consumer makes it: willing to wait, filter known from the heartbeat.
pub fn pull_header(group: &str, topic: &str, queue_id: i32, offset: i64) -> PullMessageRequestHeader {
    PullMessageRequestHeader {
        consumer_group: Str::copy_from(group),
        topic: Str::copy_from(topic),
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: 2,
        suspend_timeout_millis: 15_000,
        ..Default::default()
    }
}

pub fn pull_request(header: &PullMessageRequestHeader) -> RemotingCommand {
    RemotingCommand::request_with(request_code::PULL_MESSAGE, header)
}

/// A pull's answer: code, the offset to go on with, the bodies of the messages.
pub fn pulled(response: &RemotingCommand) -> (i32, i64, Vec<String>) {
    let header: PullMessageResponseHeader = response.header().unwrap();
    let bodies = ferrocket_protocol::message::decode::records(&response.body)
        .map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap())
        .collect();
    (response.code, header.next_begin_offset, bodies)
}

/// The next thing pushed to the client says that the members of the group changed.
pub async fn hears_of(client: &mut Client, group: &str) {
    let news = client.pushed().await;
    assert_eq!((news.code, news.is_oneway()), (request_code::NOTIFY_CONSUMER_IDS_CHANGED, true));
    let header: NotifyConsumerIdsChangedRequestHeader = news.header().unwrap();
    assert_eq!(&*header.consumer_group, group);
}

/// The body of an answer that must be a success.
pub fn body<T: DeserializeOwned>(response: &RemotingCommand) -> T {
    assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
    fastjson::from_slice(&response.body).unwrap()
}

pub fn remark(response: &RemotingCommand) -> &str {
    response.remark.as_deref().unwrap_or_default()
}

pub fn java_request(code: i32) -> RemotingCommand {
    RemotingCommand { language: LanguageCode::Java, version: version::CURRENT, ..RemotingCommand::request(code) }
}
