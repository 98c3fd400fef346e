// SPDX-License-Identifier: Apache-2.0
//! Every number that a client sends, with the ends of an int and of a long, what lies beyond them, and what is no number: each is
//! answered, nothing panics (a debug build does where a sum overflows), and memory stays what it is. What the answers are is in the
//! family `numbers` of the differential runner, which asks the original.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a story that cannot go on ends")]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ferrocket::config::{AdvertiseRules, NamesrvConfig, NamesrvConfigCell};
use ferrocket::namesrv::{KvConfig, NameServer};
use ferrocket::remoting::{Limits, Listener};
use ferrocket::runtime::{Runtime, SystemClock};
use ferrocket_protocol::body::stats::TopicStatsTable;
use ferrocket_protocol::body::{ConsumeStats, HeartbeatData, MessageQueue, ProducerData, ResetOffsetBody};
use ferrocket_protocol::header::{ConsumerSendMsgBackRequestHeader, SendMessageResponseHeader};
use ferrocket_protocol::message::{MessageView, id, sys_flag};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code as code, response_code};
use support::{Client, Setup, TestBroker, body, consumer_heartbeat, remark, send_header, subscription};

const NUMBERS: [&str; 14] = [
    "-9223372036854775809",
    "-9223372036854775808",
    "-2147483649",
    "-2147483648",
    "-1",
    "0",
    "1",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "word",
    "",
    "1e9",
];

/// In a body only what an int or a long can hold is a number.
const LONGS: [&str; 7] = ["-9223372036854775808", "-2147483648", "-1", "0", "1", "2147483647", "9223372036854775807"];

/// A request that is right, and the fields of it that are numbers or switches. In a body `@` stands for the number.
struct Row {
    code: i32,
    fields: &'static str,
    numbers: &'static str,
    body: &'static str,
}

const fn row(code: i32, fields: &'static str, numbers: &'static str, body: &'static str) -> Row {
    Row { code, fields, numbers, body }
}

const SEND: &str =
    "producerGroup=PG topic=T defaultTopic=TBW102 defaultTopicQueueNums=4 queueId=0 sysFlag=0 bornTimestamp=0 flag=0 properties=";
const SEND_NUMBERS: &str = "defaultTopicQueueNums queueId sysFlag bornTimestamp flag reconsumeTimes maxReconsumeTimes unitMode batch";
const LETTERS: &str = "a=PG b=T c=TBW102 d=4 e=0 f=0 g=0 h=0 i=";
const LETTERS_NUMBERS: &str = "d e f g h j k l m";
const PULL: &str = "consumerGroup=G topic=T queueId=0 queueOffset=0 maxMsgNums=32 sysFlag=4 commitOffset=0 suspendTimeoutMillis=0 \
     subscription=* subVersion=0 expressionType=TAG";
const PULL_NUMBERS: &str = "queueId queueOffset maxMsgNums sysFlag commitOffset suspendTimeoutMillis subVersion maxMsgBytes requestSource";
const TOPIC: &str = "topic=Made defaultTopic=TBW102 readQueueNums=1 writeQueueNums=1 perm=6 topicFilterType=SINGLE_TAG order=false";
const RESET: &str = "topic=T group=G timestamp=0 isForce=true";
const HEARTBEAT: &str = r#"{"clientID":"c","heartbeatFingerprint":@,"consumerDataSet":[{"consumeType":"CONSUME_PASSIVELY","groupName":"G",
    "messageModel":"CLUSTERING","subscriptionDataSet":[{"codeSet":[@],"expressionType":"TAG","subString":"*","subVersion":@,"topic":"T"}]}]}"#;
const QUEUES: &str = r#"{"clientId":"c","consumerGroup":"G","mqSet":[{"brokerName":"broker-a","queueId":@,"topic":"T"}]}"#;

const BROKER: [Row; 34] = [
    row(code::SEND_MESSAGE, SEND, SEND_NUMBERS, "x"),
    row(code::SEND_MESSAGE_V2, LETTERS, LETTERS_NUMBERS, "x"),
    row(code::SEND_MESSAGE_V2, "a=PG b=%RETRY%G c=TBW102 d=4 e=0 f=0 g=0 h=0 i=", "d e f g h j l", "x"),
    row(code::SEND_BATCH_MESSAGE, LETTERS, LETTERS_NUMBERS, "x"),
    row(code::PULL_MESSAGE, PULL, PULL_NUMBERS, ""),
    row(code::LITE_PULL_MESSAGE, PULL, PULL_NUMBERS, ""),
    row(code::CONSUMER_SEND_MSG_BACK, "offset=0 group=G delayLevel=0", "offset delayLevel maxReconsumeTimes unitMode", ""),
    row(
        code::END_TRANSACTION,
        "producerGroup=PG tranStateTableOffset=0 commitLogOffset=0 commitOrRollback=8",
        "tranStateTableOffset commitLogOffset fromTransactionCheck",
        "",
    ),
    row(code::QUERY_MESSAGE, "topic=T key=k maxNum=1 beginTimestamp=0 endTimestamp=0", "maxNum beginTimestamp endTimestamp", ""),
    row(code::VIEW_MESSAGE_BY_ID, "offset=0", "offset", ""),
    row(code::UPDATE_AND_CREATE_TOPIC, TOPIC, "readQueueNums writeQueueNums perm topicSysFlag order", ""),
    row(
        code::UPDATE_AND_CREATE_TOPIC_LIST,
        "",
        "",
        r#"{"topicConfigList":[{"perm":6,"readQueueNums":@,"topicName":"Listed","topicSysFlag":@,"writeQueueNums":@}]}"#,
    ),
    row(code::GET_TOPIC_STATS_INFO, "topic=Made", "", ""),
    row(code::GET_TOPIC_STATS_INFO, "topic=Listed", "", ""),
    row(code::GET_ALL_TOPIC_CONFIG, "", "topicSeq maxTopicNum", ""),
    row(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, "", "groupSeq maxGroupNum", ""),
    row(code::QUERY_CONSUMER_OFFSET, "consumerGroup=G topic=T queueId=0", "queueId setZeroIfNotFound", ""),
    row(code::UPDATE_CONSUMER_OFFSET, "consumerGroup=G topic=T queueId=0 commitOffset=0", "queueId commitOffset", ""),
    row(code::GET_CONSUME_STATS, "consumerGroup=G topic=T", "", ""),
    row(code::GET_ALL_CONSUMER_OFFSET, "", "", ""),
    row(code::SEARCH_OFFSET_BY_TIMESTAMP, "topic=T queueId=0 timestamp=0", "queueId timestamp boundaryType", ""),
    row(code::GET_MAX_OFFSET, "topic=T queueId=0", "queueId committed", ""),
    row(code::GET_MIN_OFFSET, "topic=T queueId=0", "queueId", ""),
    row(code::GET_EARLIEST_MSG_STORETIME, "topic=T queueId=0", "queueId", ""),
    row(code::INVOKE_BROKER_TO_RESET_OFFSET, RESET, "queueId offset timestamp isForce", ""),
    row(code::GET_CONSUME_STATS, "consumerGroup=G topic=T", "", ""),
    row(code::CLONE_GROUP_OFFSET, "srcGroup=G destGroup=H topic=T", "offline", ""),
    row(
        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        "",
        "",
        r#"{"groupName":"Made","retryQueueNums":@,"retryMaxTimes":@,"brokerId":@,"groupSysFlag":@,"consumeTimeoutMinute":@}"#,
    ),
    row(code::CONSUMER_SEND_MSG_BACK, "offset=0 group=Made delayLevel=0", "maxReconsumeTimes", ""),
    row(code::DELETE_SUBSCRIPTIONGROUP, "groupName=Made", "cleanOffset", ""),
    row(code::HEART_BEAT, "", "", HEARTBEAT),
    row(code::LOCK_BATCH_MQ, "", "", QUEUES),
    row(code::UNLOCK_BATCH_MQ, "", "", QUEUES),
    row(code::GET_CONSUMER_RUNNING_INFO, "consumerGroup=G clientId=nobody", "jstackEnable", ""),
];

const REGISTER: &str = "brokerName=b brokerAddr=10.0.0.1:1 clusterName=C haServerAddr=10.0.0.1:2 brokerId=0";
const SET: &str = "brokerName=b brokerAddr=10.0.0.1:1 clusterName=C brokerId=0";

const NAME_SERVER: [Row; 6] = [
    row(code::REGISTER_BROKER, REGISTER, "brokerId heartbeatTimeoutMillis bodyCrc32 compressed enableActingMaster", ""),
    row(
        code::REGISTER_BROKER,
        REGISTER,
        "",
        r#"{"topicConfigSerializeWrapper":{"dataVersion":{"counter":@,"stateVersion":@,"timestamp":@},
            "topicConfigTable":{"T":{"perm":@,"readQueueNums":@,"topicName":"T","topicSysFlag":@,"writeQueueNums":@}}}}"#,
    ),
    row(code::BROKER_HEARTBEAT, SET, "brokerId epoch maxOffset confirmOffset heartbeatTimeoutMills electionPriority", ""),
    row(code::QUERY_DATA_VERSION, SET, "brokerId", r#"{"counter":@,"stateVersion":@,"timestamp":@}"#),
    row(code::GET_ROUTEINFO_BY_TOPIC, "topic=T", "acceptStandardJsonOnly __ZONE_MODE", ""),
    row(code::UNREGISTER_BROKER, SET, "brokerId", ""),
];

impl Row {
    /// As it stands, then with each number in each place.
    fn requests(&self) -> Vec<RemotingCommand> {
        let with = |field: &str, value: &str, body: String| {
            let mut request = RemotingCommand::request(self.code).with_body(Bytes::from(body));
            for (name, usual) in self.fields.split_whitespace().filter_map(|pair| pair.split_once('=')) {
                request.ext_fields.insert(name, usual);
            }
            if !field.is_empty() {
                request.ext_fields.insert(field, value);
            }
            request
        };
        let body = |number: &str| self.body.replace('@', number);
        let mut requests = vec![with("", "", body("1"))];
        for field in self.numbers.split_whitespace() {
            requests.extend(NUMBERS.map(|value| with(field, value, body("1"))));
        }
        if self.body.contains('@') {
            requests.extend(LONGS.map(|number| with("", "", body(number))));
        }
        requests
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Private memory of this process; what is mapped from files is not counted.
fn private_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// More than all rows leave behind, beside what the other stories take; a table by a client's number needs far more.
const GROWN_BYTES_MAX: usize = 128 * 1024 * 1024;

async fn ask_all(client: &mut Client, rows: &[Row]) {
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        inherited(info);
    }));
    let before = private_bytes();
    for row in rows {
        for request in row.requests() {
            let asked = format!("{} {:?} {:?}", request.code, request.ext_fields, request.body);
            let response = client.call(request).await;
            let said = response.remark.as_deref().unwrap_or_default();
            assert!(!["internal error", "the request was dropped"].contains(&said), "{asked}: {said}");
        }
        let grown = private_bytes().saturating_sub(before);
        assert!(grown < GROWN_BYTES_MAX, "{grown} bytes after code {} {}", row.code, row.fields);
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_broker_answers_every_number_and_grows_by_none() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    let sent = client.send("T", 0, "A", "first").await;
    assert_eq!(id::parse_offset_id(&sent.msg_id).unwrap().1, 0);
    ask_all(&mut client, &BROKER).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_name_server_answers_every_number_and_grows_by_none() {
    let runtime = Runtime::current(SystemClock::shared());
    let kv = KvConfig::load(None, Box::new(|_: &[u8]| Ok(()))).unwrap();
    let config = Arc::new(NamesrvConfigCell::new(NamesrvConfig::default()));
    let server = NameServer::new(config, kv, AdvertiseRules::default(), &runtime);
    server.start();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any_port, server, Limits::default(), &runtime).await.unwrap();
    let mut client = Client::connect(listener.local_addr()).await;
    ask_all(&mut client, &NAME_SERVER).await;
}

/// HookUtils.java#checkInnerBatch: what says that it holds inner messages belongs into a queue for them, and none here is one.
#[tokio::test]
async fn a_flag_that_makes_a_message_unreadable_is_refused() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    for (flag, wanted) in [
        (-1, response_code::MESSAGE_ILLEGAL),
        (i32::MAX, response_code::MESSAGE_ILLEGAL),
        (sys_flag::INNER_BATCH, response_code::MESSAGE_ILLEGAL),
        (i32::MIN, response_code::SUCCESS),
        (0, response_code::SUCCESS),
    ] {
        let mut header = send_header("T", 0, &[]);
        header.sys_flag = flag;
        let request = RemotingCommand::request_with(code::SEND_MESSAGE, &header).with_body(Bytes::from_static(b"x"));
        assert_eq!(client.call(request).await.code, wanted, "{flag}");
    }
    assert_eq!(broker.broker.store.max_offset("T", 0), 2);
    broker.stop().await;
}

#[tokio::test]
async fn a_priority_finds_no_queue_in_a_topic_without_one_to_write_to() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut closed = broker.broker.topics.get("T").unwrap().config().clone();
    closed.write_queue_nums = 0;
    broker.broker.topics.update(closed).unwrap();
    let mut client = broker.connect().await;
    let request = RemotingCommand::request_with(code::SEND_MESSAGE, &send_header("T", 0, &[("_SYS_MSG_PRIORITY_", "3")]));
    let response = client.call(request.with_body(Bytes::from_static(b"x"))).await;
    assert_eq!((response.code, remark(&response)), (response_code::SYSTEM_ERROR, "topic[T] has no queue to write to"));
    assert!(broker.broker.store.queues().iter().all(|(_, queue_id)| *queue_id >= 0));
    broker.stop().await;
}

/// The original's sum wraps: a message that was tried 2^31-1 times begins anew, and is tried for ever.
#[tokio::test]
async fn a_message_that_was_tried_as_often_as_can_be_counted_stays_so() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    for (tries, max, topic) in [(i32::MAX, Some(16), "%DLQ%G"), (i32::MAX - 1, Some(i32::MAX), "SCHEDULE_TOPIC_XXXX")] {
        let mut header = send_header("T", 0, &[]);
        header.reconsume_times = Some(tries);
        let sent = client.call(RemotingCommand::request_with(code::SEND_MESSAGE, &header).with_body(Bytes::from_static(b"x"))).await;
        let sent: SendMessageResponseHeader = sent.header().unwrap();
        let offset = id::parse_offset_id(&sent.msg_id).unwrap().1;
        let back = ConsumerSendMsgBackRequestHeader {
            offset,
            group: Str::from("G"),
            delay_level: Some(0),
            max_reconsume_times: max,
            ..Default::default()
        };
        let end = broker.broker.store.max_phy_offset();
        assert_eq!(client.call_with(code::CONSUMER_SEND_MSG_BACK, &back).await.code, response_code::SUCCESS);
        let record = broker.broker.store.look_message(end).unwrap().unwrap();
        let record = MessageView::decode(&record).unwrap();
        assert_eq!((record.topic, record.reconsume_times), (topic, i32::MAX));
    }
    broker.stop().await;
}

/// Named in the original by nothing: it makes the topic, and whatever lists its queues ends with memory.
#[tokio::test]
async fn a_topic_is_given_no_more_queues_than_a_list_can_name() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let make = |read: i64, write: i64| {
        let mut request = RemotingCommand::request(code::UPDATE_AND_CREATE_TOPIC);
        for pair in TOPIC.split_whitespace() {
            let (name, value) = pair.split_once('=').unwrap();
            request.ext_fields.insert(name, value);
        }
        request.ext_fields.insert("readQueueNums", read.to_string());
        request.ext_fields.insert("writeQueueNums", write.to_string());
        request
    };
    assert_eq!(client.call(make(32_768, 32_768)).await.code, response_code::SUCCESS);
    let response = client.call(make(1, 32_769)).await;
    assert_eq!(response.code, response_code::INVALID_PARAMETER);
    assert_eq!(remark(&response), "32769 queues are illegal, a topic has at most 32768");
    assert_eq!(client.call(make(i64::from(i32::MAX), 1)).await.code, response_code::INVALID_PARAMETER);

    let list = r#"{"topicConfigList":[{"topicName":"A","readQueueNums":1,"writeQueueNums":1},{"topicName":"B","readQueueNums":2147483647,"writeQueueNums":1}]}"#;
    let response = client.call_with_body(code::UPDATE_AND_CREATE_TOPIC_LIST, list).await;
    assert_eq!(response.code, response_code::INVALID_PARAMETER);
    assert!(!broker.broker.topics.contains("A"), "all or none");

    let group = r#"{"groupName":"G","retryQueueNums":2147483647}"#;
    let response = client.call_with_body(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group).await;
    assert_eq!(remark(&response), "2147483647 queues are illegal, a topic has at most 32768");

    let mut stats = RemotingCommand::request(code::GET_TOPIC_STATS_INFO);
    stats.ext_fields.insert("topic", "Made");
    let response = client.call(stats).await;
    assert!(response.body.len() < 16 * 1024 * 1024);
    assert_eq!(body::<TopicStatsTable>(&response).offset_table.len(), 32_768);
    broker.stop().await;
}

/// A Java broker makes such a topic, and its tables are taken over.
#[tokio::test]
async fn a_topic_of_more_queues_that_a_file_brings_costs_what_it_stores() {
    let setup = Setup::new();
    let config = setup.folder().join("config");
    std::fs::create_dir_all(&config).unwrap();
    let topics = r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1},"topicConfigTable":{"Wide":{"perm":6,"readQueueNums":2147483647,"topicName":"Wide","writeQueueNums":2147483647}}}"#;
    std::fs::write(config.join("topics.json"), topics).unwrap();
    let groups = r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1},"subscriptionGroupTable":{"G":{"groupName":"G","retryQueueNums":2147483647}}}"#;
    std::fs::write(config.join("subscriptionGroup.json"), groups).unwrap();
    let broker = setup.start().await;
    let before = private_bytes();
    let mut client = broker.connect().await;
    for queue_id in [0, 50_000_000, i32::MAX - 1] {
        client.send("Wide", queue_id, "A", "x").await;
    }
    assert_eq!(client.commit("G", "Wide", 7, 0).await.code, response_code::SUCCESS);
    client.consume("G", "c", &[("Wide", "*")]).await;

    let ask = |code: i32, fields: &[(&str, &str)]| {
        let mut request = RemotingCommand::request(code);
        fields.iter().for_each(|(name, value)| request.ext_fields.insert(name, value));
        request
    };
    let stats = client.call(ask(code::GET_TOPIC_STATS_INFO, &[("topic", "Wide")])).await;
    let queues = |table: Vec<&MessageQueue>| table.into_iter().map(|queue| queue.queue_id).collect::<BTreeSet<i32>>();
    assert_eq!(queues(body::<TopicStatsTable>(&stats).offset_table.keys().collect()), [0, 50_000_000, i32::MAX - 1].into());
    let progress = client.call(ask(code::GET_CONSUME_STATS, &[("consumerGroup", "G"), ("topic", "Wide")])).await;
    assert_eq!(queues(body::<ConsumeStats>(&progress).offset_table.keys().collect()), [0, 7, 50_000_000, i32::MAX - 1].into());
    let reset = [("topic", "Wide"), ("group", "G"), ("timestamp", "0"), ("isForce", "true")];
    let reset = client.call(ask(code::INVOKE_BROKER_TO_RESET_OFFSET, &reset)).await;
    assert_eq!(body::<ResetOffsetBody>(&reset).offset_table.len(), 4);

    // The group's retries go into as many queues as a topic can have.
    let retry = broker.broker.topics.get("%RETRY%G").unwrap();
    assert_eq!((retry.read_queue_nums, retry.write_queue_nums), (32_768, 32_768));
    // What is there already may be kept, or cut down.
    let mut alter = ask(code::UPDATE_AND_CREATE_TOPIC, &[("topic", "Wide"), ("perm", "4"), ("topicFilterType", "SINGLE_TAG")]);
    alter.ext_fields.insert("readQueueNums", "2147483647");
    alter.ext_fields.insert("writeQueueNums", "40000");
    assert_eq!(client.call(alter).await.code, response_code::SUCCESS);
    let grown = private_bytes().saturating_sub(before);
    assert!(grown < GROWN_BYTES_MAX, "{grown} bytes");
    broker.stop().await;
}

/// A reset names a queue, and no topic has to have it.
#[tokio::test]
async fn a_group_keeps_offsets_of_as_many_queues_as_a_topic_can_have() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "c", &[("T", "*")]).await;
    for queue_id in 0..32_768 {
        broker.broker.consumer_offsets.commit("G", "T", queue_id, 0, 1);
    }
    for (queue_id, wanted) in [(i32::MAX, response_code::SYSTEM_ERROR), (0, response_code::SUCCESS)] {
        let mut request = RemotingCommand::request(code::INVOKE_BROKER_TO_RESET_OFFSET);
        for pair in RESET.split_whitespace() {
            let (name, value) = pair.split_once('=').unwrap();
            request.ext_fields.insert(name, value);
        }
        request.ext_fields.insert("queueId", queue_id.to_string());
        assert_eq!(client.call(request).await.code, wanted, "{queue_id}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_heartbeat_names_no_more_groups_and_topics_than_are_kept() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let mut heartbeat = consumer_heartbeat("G", "c", &[]);
    heartbeat.consumer_data_set[0].subscription_data_set = (0..16_385).map(|at| subscription(&format!("T{at}"), "*")).collect();
    let response = client.call_with_body(code::HEART_BEAT, fastjson::to_vec(&heartbeat)).await;
    assert_eq!(remark(&response), "a heartbeat with 16385 subscriptions of one group, 16384 are allowed");
    let group = |at: usize| ProducerData { group_name: format!("P{at}") };
    let heartbeat = HeartbeatData { client_id: "c".to_owned(), producer_data_set: (0..4_097).map(group).collect(), ..Default::default() };
    let response = client.call_with_body(code::HEART_BEAT, fastjson::to_vec(&heartbeat)).await;
    assert_eq!(remark(&response), "a heartbeat with 4097 producer groups, 4096 are allowed");
    broker.stop().await;
}
