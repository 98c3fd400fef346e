// SPDX-License-Identifier: Apache-2.0
//! Topics for administrators: create, alter, delete, list, look at; every refusal in the original's order and words.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use ferrocket_protocol::body::stats::TopicStatsTable;
use ferrocket_protocol::body::topic::{CreateTopicListRequestBody, TopicConfig, TopicConfigAndMappingSerializeWrapper};
use ferrocket_protocol::header::admin::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader, GetAllTopicConfigResponseHeader,
    GetTopicConfigRequestHeader, GetTopicStatsInfoRequestHeader,
};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code, response_code};
use support::{Client, Setup, TestBroker, remark};

const INVALID: i32 = response_code::INVALID_PARAMETER;
const ERROR: i32 = response_code::SYSTEM_ERROR;

fn create(topic: &str, attributes: &str) -> RemotingCommand {
    let header = CreateTopicRequestHeader {
        topic: Str::copy_from(topic),
        default_topic: "TBW102".into(),
        read_queue_nums: 4,
        write_queue_nums: 6,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some(Str::copy_from(attributes)),
        ..Default::default()
    };
    RemotingCommand::request_with(request_code::UPDATE_AND_CREATE_TOPIC, &header)
}

fn create_list(topics: Vec<TopicConfig>) -> RemotingCommand {
    let body = fastjson::to_vec(&CreateTopicListRequestBody { topic_config_list: topics });
    RemotingCommand::request(request_code::UPDATE_AND_CREATE_TOPIC_LIST).with_body(body)
}

fn named(topic: &str) -> TopicConfig {
    TopicConfig { topic_name: topic.into(), ..TopicConfig::default() }
}

fn delete(topic: &str) -> RemotingCommand {
    let header = DeleteTopicRequestHeader { topic: Str::copy_from(topic), ..Default::default() };
    RemotingCommand::request_with(request_code::DELETE_TOPIC_IN_BROKER, &header)
}

async fn assert_answer(client: &mut Client, request: RemotingCommand, code: i32, text: &str) {
    let answer = client.call(request).await;
    assert_eq!((answer.code, remark(&answer)), (code, text));
}

#[tokio::test]
async fn a_topic_is_created_altered_and_deleted() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    assert_answer(&mut client, create("orders", "+message.type=FIFO"), 0, "").await;
    let topic = broker.broker.topics.get("orders").unwrap();
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.attribute("message.type")), (4, 6, Some("FIFO")));
    assert!(!broker.broker.topics.get("orders").unwrap().order);
    let file = std::fs::read_to_string(broker.folder().join("config/topics.json")).unwrap();
    assert!(file.contains("\"topicName\":\"orders\""), "on the disk when it is answered");

    assert_answer(&mut client, create("orders", "-message.type"), 0, "").await;
    assert_eq!(broker.broker.topics.get("orders").unwrap().attribute("message.type"), None);
    let version = broker.broker.topics.data_version();
    // AdminBrokerProcessor.java#updateAndCreateTopic leaves the default remark in this answer.
    assert_answer(&mut client, create("orders", ""), 0, "not set any response code").await;
    assert_eq!(broker.broker.topics.data_version(), version);

    client.send("orders", 0, "", "m").await;
    assert_answer(&mut client, delete("orders"), 0, "").await;
    assert!(!broker.broker.topics.contains("orders"));
    assert_eq!(broker.broker.store.max_offset("orders", 0), 0);
    assert_answer(&mut client, delete("orders"), 0, "").await;
}

#[tokio::test]
async fn what_cannot_be_a_topic_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let long = "t".repeat(128);
    let too_long = format!("The specified topic: {long}, is longer than topic max length: 127");
    let illegal = "The specified topic: a.b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
    for (request, code, text) in [
        (create(" ", ""), INVALID, "The specified topic is blank."),
        (create("a.b", ""), INVALID, illegal),
        (create(&long, ""), INVALID, &*too_long),
        (create("TBW102", ""), INVALID, "The topic[TBW102] is conflict with system topic."),
        (create("broker-a", ""), INVALID, "The topic[broker-a] is conflict with system topic."),
        (create("rmq_sys_x", ""), INVALID, "The topic[rmq_sys_x] is conflict with system topic."),
        (create("orders", "+message.type=MIXED"), INVALID, "MIXED message type is not supported."),
        (create("orders", "message.type=FIFO"), ERROR, "add/alter attribute format is wrong: message.type"),
        (create("orders", "+no.such=1"), ERROR, "unsupported key: no.such"),
        (create("orders", "-message.type"), ERROR, "only add attribute is supported while creating topic. key: message.type"),
        (create("orders", "+queue.type=BatchCQ"), INVALID, "queue.type=BatchCQ is not served yet"),
        (create("orders", "+cleanup.policy=COMPACTION"), INVALID, "cleanup.policy=COMPACTION is not served yet"),
        (delete(""), INVALID, "The specified topic is blank."),
        (delete("TBW102"), INVALID, "The topic[TBW102] is conflict with system topic."),
        (create_list(vec![named("good"), named("a.b")]), INVALID, illegal),
        (create_list(vec![named("good"), named("TBW102")]), INVALID, "The topic[TBW102] is conflict with system topic."),
    ] {
        assert_answer(&mut client, request, code, text).await;
    }
    assert!(!broker.broker.topics.contains("orders") && !broker.broker.topics.contains("good"));
}

/// CreateTopicRequestHeader.java#getTopicFilterTypeEnum fails by an exception whose text is the remark.
#[tokio::test]
async fn an_unknown_filter_type_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let mut request = create("orders", "");
    request.ext_fields.insert("topicFilterType", "ALL_TAGS");
    let text = "No enum constant org.apache.rocketmq.common.TopicFilterType.ALL_TAGS";
    assert_answer(&mut client, request, ERROR, text).await;
}

/// AdminBrokerProcessor.java#deleteTopic.
#[tokio::test]
async fn the_retry_topics_of_pop_go_with_their_topic() {
    let broker = TestBroker::start().await;
    for name in ["orders", "%RETRY%g_orders", "%RETRY%g", "%RETRY%h_orders"] {
        broker.create_topic(name, 1);
    }
    broker.broker.consumer_offsets.commit("g", "orders", 0, 1, 500);
    let mut client = broker.connect().await;
    assert_answer(&mut client, delete("orders"), 0, "").await;
    let left = ["orders", "%RETRY%g_orders", "%RETRY%g", "%RETRY%h_orders"].map(|name| broker.broker.topics.contains(name));
    assert_eq!(left, [false, false, true, true]);
}

#[tokio::test]
async fn the_operator_can_allow_system_topics_and_mixed_types() {
    let setup = Setup::new().config(|config| {
        config.validate_system_topic_when_update_topic = false;
        config.enable_mixed_message_type = true;
    });
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    assert_answer(&mut client, create("TBW102", ""), 0, "").await;
    assert_answer(&mut client, create("orders", "+message.type=MIXED"), 0, "").await;
}

#[tokio::test]
async fn a_list_of_topics_is_created_at_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    assert_answer(&mut client, create_list(vec![named("a"), named("b")]), 0, "").await;
    assert!(broker.broker.topics.contains("a") && broker.broker.topics.contains("b"));
    // The original stops at the first one that is already so, and answers 0 for the rest.
    assert_answer(&mut client, create_list(vec![named("a"), named("c"), named("b"), named("d")]), 0, "").await;
    assert!(broker.broker.topics.contains("c") && broker.broker.topics.contains("d"));
    let version = broker.broker.topics.data_version();
    assert_answer(&mut client, create_list(vec![named("a"), named("d")]), 0, "").await;
    assert_eq!(broker.broker.topics.data_version(), version, "nothing to do is no change");
}

/// The whole table for those who ask plainly, pages for those who say where they are.
#[tokio::test]
async fn all_topics_are_listed_whole_or_by_pages() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let answer = client.call(RemotingCommand::request(request_code::GET_ALL_TOPIC_CONFIG)).await;
    let header: GetAllTopicConfigResponseHeader = answer.header().unwrap();
    let whole: TopicConfigAndMappingSerializeWrapper = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!(header.total_topic_num as usize, whole.topic_config_table.len());
    assert_eq!(whole.data_version, broker.broker.topics.data_version());
    let names: Vec<&String> = whole.topic_config_table.keys().collect();
    let version = fastjson::to_string(&whole.data_version);
    for (seq, version, expected) in [
        (0, String::new(), &names[..2]),
        (2, version, &names[2..4]),
        (2, "{\"counter\":99}".to_owned(), &names[..2]),
        (99, fastjson::to_string(&whole.data_version), &[][..]),
    ] {
        let header = GetAllTopicConfigRequestHeader { topic_seq: Some(seq), data_version: Some(version.into()), max_topic_num: Some(2) };
        let answer = client.call_with(request_code::GET_ALL_TOPIC_CONFIG, &header).await;
        let page: TopicConfigAndMappingSerializeWrapper = fastjson::from_slice(&answer.body).unwrap();
        assert_eq!(page.topic_config_table.keys().collect::<Vec<_>>(), expected, "from {seq}");
        let header: GetAllTopicConfigResponseHeader = answer.header().unwrap();
        assert_eq!(header.total_topic_num as usize, names.len());
    }
}

#[tokio::test]
async fn one_topic_is_shown() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let ask = |topic: &str| {
        let header = GetTopicConfigRequestHeader { topic: Str::copy_from(topic), ..Default::default() };
        RemotingCommand::request_with(request_code::GET_TOPIC_CONFIG, &header)
    };
    let answer = client.call(ask("orders")).await;
    let expected = br#"{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"orders","topicSysFlag":0,"writeQueueNums":4}"#;
    assert_eq!(answer.body, Bytes::from_static(expected));
    assert_answer(&mut client, ask("none"), response_code::TOPIC_NOT_EXIST, "No topic in this broker. topic: none").await;
}

#[tokio::test]
async fn the_queues_of_a_topic_are_shown() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 2);
    let mut client = broker.connect().await;
    for body in ["a", "b", "c"] {
        client.send("orders", 1, "", body).await;
    }
    let ask = |topic: &str| {
        let header = GetTopicStatsInfoRequestHeader { topic: Str::copy_from(topic), ..Default::default() };
        RemotingCommand::request_with(request_code::GET_TOPIC_STATS_INFO, &header)
    };
    let answer = client.call(ask("orders")).await;
    let table: TopicStatsTable = fastjson::from_slice(&answer.body).unwrap();
    let rows: Vec<_> = table.offset_table.iter().map(|(queue, row)| (queue.queue_id, row.min_offset, row.max_offset)).collect();
    assert_eq!(rows, [(0, 0, 0), (1, 0, 3)]);
    let times: Vec<bool> = table.offset_table.values().map(|row| row.last_update_timestamp > 0).collect();
    assert_eq!(times, [false, true]);
    assert!(table.offset_table.keys().all(|queue| queue.broker_name == "broker-a"));
    assert_answer(&mut client, ask("none"), response_code::TOPIC_NOT_EXIST, "topic[none] not exist").await;
}
