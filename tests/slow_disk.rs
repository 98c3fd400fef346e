// SPDX-License-Identifier: Apache-2.0
//! A disk that does not answer holds up the requests that need it, and nothing else on their connection.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ferrocket::store::{MemoryFs, Stall};
use ferrocket_protocol::body::TopicConfigAndQueueMapping;
use ferrocket_protocol::header::{PullMessageRequestHeader, SendMessageResponseHeader};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code as code, response_code};
use support::{Client, PATIENCE, Setup, TestBroker, consumer_heartbeat, pull_header, pull_request, send_request};

/// A request by its fields; `%` in a value is the row's own topic.
struct Row {
    code: i32,
    fields: &'static [(&'static str, &'static str)],
    body: &'static str,
    answer: i32,
    /// Whether it cannot be answered while the disk does not answer.
    waits: bool,
}

const fn row(code: i32, fields: &'static [(&'static str, &'static str)], waits: bool) -> Row {
    Row { code, fields, body: "", answer: response_code::SUCCESS, waits }
}

const QUEUE: &[(&str, &str)] = &[("topic", "%"), ("queueId", "0")];
const NEW_TOPIC: &[(&str, &str)] = &topic_fields("New");
const SAME_TOPIC: &[(&str, &str)] = &topic_fields("%");

const fn topic_fields(name: &'static str) -> [(&'static str, &'static str); 7] {
    [
        ("topic", name),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "3"),
        ("writeQueueNums", "3"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ]
}

/// Every code but sends and pulls, which have their own rows in the story.
const ROWS: &[Row] = &[
    row(code::GET_MAX_OFFSET, QUEUE, true),
    row(code::GET_MIN_OFFSET, QUEUE, true),
    row(code::SEARCH_OFFSET_BY_TIMESTAMP, &[("topic", "%"), ("queueId", "0"), ("timestamp", "0")], true),
    row(code::GET_EARLIEST_MSG_STORETIME, QUEUE, true),
    row(code::QUERY_CONSUMER_OFFSET, &[("consumerGroup", "New"), ("topic", "%"), ("queueId", "0")], true),
    row(code::UPDATE_CONSUMER_OFFSET, &[("consumerGroup", "G"), ("topic", "%"), ("queueId", "0"), ("commitOffset", "1")], true),
    row(code::GET_TOPIC_STATS_INFO, QUEUE, true),
    row(code::GET_CONSUME_STATS, &[("consumerGroup", "Idle"), ("topic", "%")], true),
    row(code::GET_BROKER_RUNTIME_INFO, &[], true),
    row(
        code::QUERY_MESSAGE,
        &[("topic", "%"), ("key", "A"), ("indexType", "T"), ("maxNum", "9"), ("beginTimestamp", "0"), ("endTimestamp", "9999999999999")],
        true,
    ),
    row(code::VIEW_MESSAGE_BY_ID, &[("offset", "0")], true),
    row(code::CONSUMER_SEND_MSG_BACK, &[("offset", "0"), ("group", "G"), ("delayLevel", "0")], true),
    row(code::INVOKE_BROKER_TO_RESET_OFFSET, &[("topic", "%"), ("group", "Idle"), ("timestamp", "0"), ("isForce", "true")], true),
    Row {
        answer: response_code::SYSTEM_ERROR,
        ..row(
            code::END_TRANSACTION,
            &[("producerGroup", "P"), ("tranStateTableOffset", "0"), ("commitLogOffset", "0"), ("commitOrRollback", "8"), ("msgId", "x")],
            true,
        )
    },
    Row { answer: response_code::SYSTEM_ERROR, ..row(code::RESUME_CHECK_HALF_MESSAGE, &[("msgId", "none")], false) },
    row(code::CLONE_GROUP_OFFSET, &[("srcGroup", "G"), ("destGroup", "H"), ("topic", "%"), ("offline", "true")], true),
    row(code::UPDATE_AND_CREATE_TOPIC, NEW_TOPIC, true),
    Row {
        body: r#"{"topicConfigList":[{"topicName":"New2","readQueueNums":1,"writeQueueNums":1,"perm":6}]}"#,
        ..row(code::UPDATE_AND_CREATE_TOPIC_LIST, &[], true)
    },
    Row { body: r#"{"groupName":"New"}"#, ..row(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], true) },
    Row { body: r#"{"groupConfigList":[{"groupName":"New2"}]}"#, ..row(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, &[], true) },
    row(code::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "New2"), ("cleanOffset", "true")], true),
    row(code::DELETE_TOPIC_IN_BROKER, &[("topic", "%")], true),
    Row { body: "maxMessageSize=4000000\n", ..row(code::UPDATE_BROKER_CONFIG, &[], false) },
    row(code::GET_BROKER_CONFIG, &[], false),
    row(code::GET_ALL_TOPIC_CONFIG, &[], false),
    row(code::GET_TOPIC_CONFIG, &[("topic", "%")], false),
    row(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], false),
    row(code::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "G")], false),
    row(code::GET_ALL_CONSUMER_OFFSET, &[], false),
    row(code::GET_ALL_DELAY_OFFSET, &[], false),
    row(code::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "%")], false),
    row(code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, &[], false),
    row(code::GET_ALL_PRODUCER_INFO, &[], false),
];

impl Row {
    fn request(&self, topic: &str) -> RemotingCommand {
        let mut request = RemotingCommand::request(self.code).with_body(self.body);
        for (name, value) in self.fields {
            request.ext_fields.insert(name, Str::from(value.replace('%', topic)));
        }
        request
    }
}

/// A broker that was just started on a store in memory, in which topics of one queue hold two messages each; group G has consumed one
/// of each. Only the queue of `Hot` is loaded.
async fn restarted(topics: &[String]) -> (TestBroker, MemoryFs) {
    let fs = MemoryFs::new();
    let broker = Setup::new().on(&fs).start().await;
    let mut client = broker.connect().await;
    for topic in topics.iter().map(String::as_str).chain(["Hot"]) {
        broker.create_topic(topic, 1);
        client.consume("G", "c", &[(topic, "*")]).await;
        client.consume("Idle", "c", &[(topic, "*")]).await;
        client.send(topic, 0, "A", "one").await;
        client.send(topic, 0, "A", "two").await;
        for group in ["G", "Idle"] {
            client.commit(group, topic, 0, 1).await;
        }
    }
    broker.broker.store.build_index();
    let broker = broker.stop().await.start().await;
    let mut client = broker.connect().await;
    client.send("Hot", 0, "A", "three").await;
    (broker, fs)
}

async fn is_waited_for(stall: &Stall) {
    let began = std::time::Instant::now();
    while stall.waiting_count() == 0 {
        assert!(began.elapsed() < PATIENCE, "nothing asks the disk");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// `asked` is answered when the disk answers, and what follows it on the connection before that.
async fn holds_up_nobody(broker: &TestBroker, client: &mut Client, asked: RemotingCommand, stall: Stall, waits: bool) -> RemotingCommand {
    let what = asked.code;
    // Of the message that is sent before the pull: whatever is older may have left the memory.
    let newest = broker.broker.store.max_offset("Hot", 0);
    let heartbeat = fastjson::to_vec(&consumer_heartbeat("G", "c", &[("Hot", "*")]));
    let behind = [
        send_request("Hot", 0, "A", "behind"),
        RemotingCommand::request(code::HEART_BEAT).with_body(heartbeat),
        pull_request(&pull_header("G", "Hot", 0, newest)),
    ];
    let opaques = client.begin_all([asked].into_iter().chain(behind)).await;
    for opaque in &opaques[1..] {
        assert_eq!(client.response(*opaque).await.code, response_code::SUCCESS, "behind {what}");
    }
    if waits {
        is_waited_for(&stall).await;
        assert!(!client.is_answered(opaques[0]).await, "{what} cannot be answered without the disk");
        drop(stall);
    }
    client.response(opaques[0]).await
}

/// Each code in turn, while no file of the store can be read or written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_waits_behind_one_that_waits_for_the_disk() {
    let topics: Vec<String> = (0..ROWS.len() + 2).map(|number| format!("T{number}")).collect();
    let (broker, fs) = restarted(&topics).await;
    let mut client = broker.connect().await;
    for (row, topic) in ROWS.iter().zip(&topics) {
        let response = holds_up_nobody(&broker, &mut client, row.request(topic), fs.stall("/"), row.waits).await;
        assert_eq!(response.code, row.answer, "{}: {:?}", row.code, response.remark);
    }
    let [to_send, to_pull] = &topics[ROWS.len()..] else { panic!("two are left") };
    let sent = holds_up_nobody(&broker, &mut client, send_request(to_send, 0, "A", "cold"), fs.stall("/"), true).await;
    let header: SendMessageResponseHeader = sent.header().unwrap();
    assert_eq!((sent.code, header.queue_offset), (response_code::SUCCESS, 2));
    let header = PullMessageRequestHeader {
        // It brings its own subscription.
        sys_flag: 4,
        subscription: Some(Str::from("*")),
        ..pull_header("G", to_pull, 0, 0)
    };
    let pulled = holds_up_nobody(&broker, &mut client, pull_request(&header), fs.stall("/"), true).await;
    let (code, next, bodies) = support::pulled(&pulled);
    assert_eq!((code, next, bodies), (response_code::SUCCESS, 2, vec!["one".to_owned(), "two".to_owned()]));
    broker.stop().await;
}

/// Sends that wait for their queue to be loaded stay before those that would not have to any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_to_a_queue_that_is_being_loaded_keep_their_order() {
    let (broker, fs) = restarted(&["Cold".to_owned()]).await;
    let mut client = broker.connect().await;
    let stall = fs.stall("/consumequeue/Cold");
    let mut opaques = client.begin_all((0..50).map(|_| send_request("Cold", 0, "A", "x"))).await;
    is_waited_for(&stall).await;
    drop(stall);
    for _ in 0..50 {
        opaques.push(client.begin(send_request("Cold", 0, "A", "x")).await);
    }
    for (number, opaque) in opaques.into_iter().enumerate() {
        let header: SendMessageResponseHeader = client.response(opaque).await.header().unwrap();
        assert_eq!(header.queue_offset, 2 + number as i64);
    }
    broker.stop().await;
}

/// Also when it was loaded meanwhile by somebody else, while the send waits for others of its line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_to_a_queue_that_was_loaded_meanwhile_waits_behind_those_that_came_before() {
    // So many that some wait in the line of the one that is stalled.
    let topics: Vec<String> = (0..20).map(|number| format!("T{number}")).collect();
    let (broker, fs) = restarted(&[&topics[..], &["Slow".to_owned()]].concat()).await;
    let (mut client, mut other) = (broker.connect().await, broker.connect().await);
    let stall = fs.stall("/consumequeue/Slow");
    let slow = client.begin(send_request("Slow", 0, "A", "x")).await;
    is_waited_for(&stall).await;
    let send_all = || topics.iter().map(|topic| send_request(topic, 0, "A", "x"));
    let first = client.begin_all(send_all()).await;
    assert!(!client.is_answered(slow).await);
    for topic in &topics {
        assert_eq!(other.call(row(code::GET_MAX_OFFSET, QUEUE, true).request(topic)).await.code, response_code::SUCCESS);
    }
    let second = client.begin_all(send_all()).await;
    assert!(!client.is_answered(slow).await);
    drop(stall);
    for (opaques, queue_offset) in [(first, 2), (second, 3)] {
        for opaque in opaques {
            let header: SendMessageResponseHeader = client.response(opaque).await.header().unwrap();
            assert_eq!(header.queue_offset, queue_offset);
        }
    }
    broker.stop().await;
}

/// After a restart with many queues: one that loads slowly holds up neither the loading of others nor sends to those that are loaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_being_loaded_holds_up_no_other_queue() {
    const CAPACITY: usize = 4;
    let topics = ["Slow", "Other"].map(str::to_owned);
    let (broker, fs) = restarted(&topics).await;
    let allow = |sends: usize| broker.broker.config.assume(|config| config.send_thread_pool_queue_capacity = sends as i32);
    allow(CAPACITY);
    broker.wait_until(|broker| broker.cold_flow_control.sends_in_flight() == 0).await;
    let mut client = broker.connect().await;
    let stall = fs.stall("/consumequeue/Slow");
    let waiting = client.begin_all((0..CAPACITY).map(|_| send_request("Slow", 0, "A", "x"))).await;
    is_waited_for(&stall).await;
    let refused = client.call(send_request("Slow", 0, "A", "one too many")).await;
    assert_eq!(refused.code, response_code::SYSTEM_BUSY);
    assert_eq!(client.send("Hot", 0, "A", "loaded").await.queue_offset, 3);
    allow(CAPACITY + 1);
    assert_eq!(client.send("Other", 0, "A", "loaded meanwhile").await.queue_offset, 2);
    drop(stall);
    for (number, opaque) in waiting.into_iter().enumerate() {
        let header: SendMessageResponseHeader = client.response(opaque).await.header().unwrap();
        assert_eq!(header.queue_offset, 2 + number as i64);
    }
    broker.stop().await;
}

/// What an administrator sends in one go takes effect in its order, and he reads what he has written; others do not wait for him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_connection_take_effect_in_their_order() {
    let (broker, fs) = restarted(&["Again".to_owned()]).await;
    let (mut admin, mut other) = (broker.connect().await, broker.connect().await);
    let ask = |code: i32, fields: &'static [(&'static str, &'static str)]| row(code, fields, true).request("Again");
    let stall = fs.stall("/consumequeue/Again");
    let topic: &[(&str, &str)] = &[("topic", "%")];
    let opaques = admin
        .begin_all([
            ask(code::DELETE_TOPIC_IN_BROKER, topic),
            ask(code::UPDATE_AND_CREATE_TOPIC, SAME_TOPIC),
            ask(code::GET_TOPIC_CONFIG, topic),
            ask(code::GET_TOPIC_STATS_INFO, topic),
        ])
        .await;
    is_waited_for(&stall).await;
    assert_eq!(other.call(row(code::GET_TOPIC_CONFIG, &[("topic", "Hot")], false).request("")).await.code, response_code::SUCCESS);
    for opaque in &opaques {
        assert!(!admin.is_answered(*opaque).await);
    }
    drop(stall);
    for opaque in &opaques[..2] {
        assert_eq!(admin.response(*opaque).await.code, response_code::SUCCESS);
    }
    let config: TopicConfigAndQueueMapping = fastjson::from_slice(&admin.response(opaques[2]).await.body).unwrap();
    assert_eq!(config.read_queue_nums, 3);
    let stats = admin.response(opaques[3]).await;
    assert_eq!(stats.code, response_code::SUCCESS);
    assert!(!String::from_utf8_lossy(&stats.body).contains("\"maxOffset\":2"), "its messages went with it");
    assert_eq!(other.send("Again", 0, "A", "first").await.queue_offset, 0);
    broker.stop().await;
}

/// Every call hangs: the flusher, the keeper and the indexer wait for the disk, and the time of those who wait for it goes on.
#[tokio::test]
async fn a_send_that_waits_for_a_disk_that_hangs_is_answered_in_time() {
    const SENDS: usize = 3;
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().sync_flush().on(&fs).manual_clock();
    let broker = setup.start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    assert_eq!(client.call(send_request("T", 0, "", "before")).await.code, response_code::SUCCESS);
    let store = Arc::clone(&broker.broker.store);
    fs.hang_syncs("commitlog");
    let end = store.max_phy_offset();
    let opaques = client.begin_all((0..SENDS).map(|_| send_request("T", 0, "", "behind"))).await;
    broker.wait_until(|broker| broker.store.max_phy_offset() >= end + SENDS as i64 * 100).await;
    let stall = fs.stall("");
    // The flusher and the keeper wait for the disk, and the indexer for it or for the keeper, once each has looked at the time.
    for _ in 0..30 {
        if stall.waiting_count() < 2 {
            broker.advance(&clock, Duration::from_millis(100)).await;
        }
    }
    broker.wait_until(|_| stall.waiting_count() >= 2).await;
    for opaque in &opaques {
        assert!(!client.is_answered(*opaque).await);
    }
    for _ in 0..2 {
        broker.advance(&clock, Duration::from_millis(store.config().sync_flush_timeout)).await;
    }
    for opaque in opaques {
        assert_eq!(client.response(opaque).await.code, response_code::FLUSH_DISK_TIMEOUT);
    }
    fs.heal();
    drop(stall);
    broker.stop().await;
}
