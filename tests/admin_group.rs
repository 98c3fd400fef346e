// SPDX-License-Identifier: Apache-2.0
//! What administrators see and change of groups: their settings, members, progress and offsets.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::body::{
    ConsumeStats, ConsumerConnection, GroupList, MessageQueue, ProducerConnection, ProducerTableInfo, SubscriptionGroupConfig,
    SubscriptionGroupWrapper, TopicList,
};
use ferrocket_protocol::header::*;
use ferrocket_protocol::{LanguageCode, RemotingCommand, Str, fastjson, request_code, response_code};
use support::{Setup, TestBroker, body, consumer_heartbeat, hears_of, producer_heartbeat, pull_header, pull_request, remark};

#[tokio::test]
async fn administrators_make_change_and_delete_groups() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let update = request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    for (name, text) in [
        ("", "The specified group is blank."),
        ("a b", "The specified group: a b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
    ] {
        let refused = client.call_with_body(update, format!("{{\"groupName\":\"{name}\"}}")).await;
        assert_eq!((refused.code, remark(&refused)), (response_code::INVALID_PARAMETER, text));
    }
    let long = "g".repeat(121);
    let refused = client.call_with_body(update, format!("{{\"groupName\":\"{long}\"}}")).await;
    assert_eq!(remark(&refused), format!("The specified group: {long}, is longer than group max length: 120"));
    assert_eq!(client.call_with_body(update, Bytes::new()).await.code, response_code::SUCCESS);
    let made = client.call_with_body(update, "{\"groupName\":\"G\",\"retryMaxTimes\":3}").await;
    assert_eq!(made.code, response_code::SUCCESS);

    let one = GetSubscriptionGroupConfigRequestHeader { group: Str::from("G") };
    let response = client.call_with(request_code::GET_SUBSCRIPTIONGROUP_CONFIG, &one).await;
    assert_eq!(body::<SubscriptionGroupConfig>(&response).retry_max_times, 3);

    let list = r#"{"groupConfigList":[{"groupName":"H"},{"groupName":"bad name"}]}"#;
    let refused = client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, list).await;
    assert_eq!(refused.code, response_code::INVALID_PARAMETER);
    assert!(!broker.broker.groups.contains("H"), "all or nothing");
    let list = r#"{"groupConfigList":[{"groupName":"H"},{"groupName":"I"}]}"#;
    let made = client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, list).await;
    assert_eq!(made.code, response_code::SUCCESS);

    let all = client.call(RemotingCommand::request(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG)).await;
    let table: SubscriptionGroupWrapper = body(&all);
    assert_eq!(table.subscription_group_table.len(), 11);
    assert_eq!(all.header::<GetAllSubscriptionGroupResponseHeader>().unwrap().total_group_num, 11);
    let page = GetAllSubscriptionGroupRequestHeader {
        group_seq: Some(9),
        data_version: Some(Str::from(fastjson::to_string(&table.data_version))),
        max_group_num: Some(1),
    };
    let page = client.call_with(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &page).await;
    let names: Vec<String> = body::<SubscriptionGroupWrapper>(&page).subscription_group_table.into_keys().collect();
    assert_eq!(names, ["SELF_TEST_C_GROUP"]);

    broker.create_topic("T", 1);
    client.send_many("T", 0, 5).await;
    client.commit("G", "T", 0, 5).await;
    let delete = |clean_offset| DeleteSubscriptionGroupRequestHeader { group_name: Str::from("G"), clean_offset };
    let code = request_code::DELETE_SUBSCRIPTIONGROUP;
    assert_eq!(client.call_with(code, &delete(false)).await.code, response_code::SUCCESS);
    assert!(!broker.broker.groups.contains("G"));
    assert_eq!(broker.broker.consumer_offsets.committed("G", "T", 0), Some(5));
    assert_eq!(client.call_with(code, &delete(true)).await.code, response_code::SUCCESS);
    assert_eq!(broker.broker.consumer_offsets.committed("G", "T", 0), None);

    let broker = broker.stop().await.start().await;
    assert!(broker.broker.groups.contains("I") && !broker.broker.groups.contains("G"));
    broker.stop().await;
}

#[tokio::test]
async fn administrators_see_who_is_connected() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let header = GetConsumerConnectionListRequestHeader { consumer_group: Str::from("G") };
    let code = request_code::GET_CONSUMER_CONNECTION_LIST;
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::CONSUMER_NOT_ONLINE);
    assert_eq!(remark(&response), "the consumer group[G] not online");
    client.consume("G", "a", &[("T", "A")]).await;
    let view: ConsumerConnection = body(&client.call_with(code, &header).await);
    assert_eq!(view.connection_set.len(), 1);
    assert_eq!(view.connection_set[0].client_addr, client.local_addr().to_string());
    assert_eq!(view.connection_set[0].client_id, "a");
    assert_eq!(view.subscription_table["T"].sub_string, "A");

    let header = GetProducerConnectionListRequestHeader { producer_group: Str::from("P") };
    let code = request_code::GET_PRODUCER_CONNECTION_LIST;
    let response = client.call_with(code, &header).await;
    assert_eq!((response.code, remark(&response)), (response_code::SYSTEM_ERROR, "the producer group[P] not exist"));
    client.heartbeat(&producer_heartbeat("P", "a")).await;
    let view: ProducerConnection = body(&client.call_with(code, &header).await);
    assert_eq!(view.connection_set[0].client_id, "a");
    let all: ProducerTableInfo = body(&client.call(RemotingCommand::request(request_code::GET_ALL_PRODUCER_INFO)).await);
    assert_eq!(all.data["P"][0].remote_ip, format!("/{}", client.local_addr()));

    client.commit("G", "T", 0, 1).await;
    let header = QueryTopicConsumeByWhoRequestHeader { topic: Str::from("T"), ..Default::default() };
    let groups: GroupList = body(&client.call_with(request_code::QUERY_TOPIC_CONSUME_BY_WHO, &header).await);
    assert_eq!(groups.group_list, BTreeSet::from(["G".to_owned()]));
    let topics = client.call(RemotingCommand::request(request_code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER)).await;
    assert!(body::<TopicList>(&topics).topic_list.contains(&"SCHEDULE_TOPIC_XXXX".to_owned()));
    broker.stop().await;
}

#[tokio::test]
async fn administrators_see_how_far_a_group_is() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 2);
    broker.create_topic("U", 1);
    let mut client = broker.connect().await;
    client.send("T", 1, "A", "0").await;
    client.send("T", 1, "A", "1").await;
    client.consume("G", "a", &[("T", "*")]).await;
    client.commit("G", "T", 1, 1).await;
    client.commit("G", "U", 0, 0).await;
    client.call(pull_request(&pull_header("G", "T", 1, 1))).await;
    let header = |topic: Option<&'static str>, list: Option<&'static str>| GetConsumeStatsRequestHeader {
        consumer_group: Str::from("G"),
        topic: topic.map(Str::from),
        topic_list: list.map(Str::from),
        ..Default::default()
    };
    let code = request_code::GET_CONSUME_STATS;
    let stats: ConsumeStats = body(&client.call_with(code, &header(None, None)).await);
    assert_eq!(stats.offset_table.len(), 2, "what it does not subscribe any more is left out");
    let queue = &stats.offset_table[&MessageQueue::new("T", "broker-a", 1)];
    assert_eq!((queue.broker_offset, queue.consumer_offset, queue.pull_offset), (2, 1, 2));
    assert!(queue.last_timestamp > 1_700_000_000_000);
    let idle = &stats.offset_table[&MessageQueue::new("T", "broker-a", 0)];
    assert_eq!((idle.broker_offset, idle.consumer_offset, idle.pull_offset, idle.last_timestamp), (0, 0, 0, 0));
    let stats: ConsumeStats = body(&client.call_with(code, &header(None, Some("U;NONE"))).await);
    assert_eq!(stats.offset_table.len(), 1);
    let stats: ConsumeStats = body(&client.call_with(code, &header(Some("U"), None)).await);
    assert!(stats.offset_table.is_empty());
    broker.stop().await;
}

/// AdminBrokerProcessor.java#cloneGroupOffset.
#[tokio::test]
async fn a_group_can_begin_where_another_one_is() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "a", &[("T", "*")]).await;
    client.send_many("T", 0, 5).await;
    client.commit("G", "T", 0, 5).await;
    broker.broker.consumer_offsets.commit("G", "GONE", 0, 3, 500);
    let header = |topic: Option<&'static str>, dest: &'static str| CloneGroupOffsetRequestHeader {
        src_group: Str::from("G"),
        dest_group: Str::from(dest),
        topic: topic.map(Str::from),
        offline: false,
    };
    let code = request_code::CLONE_GROUP_OFFSET;
    assert_eq!(client.call_with(code, &header(Some("T"), "H")).await.code, response_code::SUCCESS);
    assert_eq!(client.call_with(code, &header(None, "I")).await.code, response_code::SUCCESS);
    for group in ["H", "I"] {
        assert_eq!(broker.broker.consumer_offsets.committed(group, "T", 0), Some(5));
        assert_eq!(broker.broker.consumer_offsets.committed(group, "GONE", 0), None);
    }
    let fieldless = client.call(RemotingCommand::request(code)).await;
    assert_eq!(fieldless.code, response_code::SYSTEM_ERROR, "the original looks for the topics of no group, and fails");
    broker.stop().await;
}

/// AdminBrokerProcessor.java#resetOffsetInner.
#[tokio::test]
async fn a_reset_is_refused_where_there_is_nothing_to_reset() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let mut header = ResetOffsetRequestHeader { topic: Str::from("T"), group: Str::from("G"), ..Default::default() };
    let code = request_code::INVOKE_BROKER_TO_RESET_OFFSET;
    let response = client.call_with(code, &header).await;
    assert_eq!((response.code, remark(&response)), (response_code::TOPIC_NOT_EXIST, "Topic T does not exist"));
    broker.create_topic("T", 2);
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(remark(&response), "Group G does not exist");
    client.consume("G", "a", &[("T", "*")]).await;
    client.send("T", 0, "A", "0").await;
    (header.queue_id, header.offset) = (0, Some(3));
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::SYSTEM_ERROR);
    assert_eq!(remark(&response), "Target offset 3 not in consume queue range [0-1]");
    (header.queue_id, header.offset, header.timestamp) = (-1, None, -1);
    let response = client.call_with(code, &header).await;
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    assert_eq!(
        text,
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:1,{"brokerName":"broker-a","queueId":1,"topic":"T"}:0}}"#
    );
    broker.stop().await;
}

/// Broker2Client.java#resetOffset: how brokers before 5.0 did it.
#[tokio::test]
async fn a_reset_can_be_left_to_the_clients() {
    let broker = Setup::new().config(|config| config.use_server_side_reset_offset = false).start().await;
    let mut client = broker.connect().await;
    let header =
        ResetOffsetRequestHeader { topic: Str::from("T"), group: Str::from("G"), timestamp: -1, is_force: true, ..Default::default() };
    let code = request_code::INVOKE_BROKER_TO_RESET_OFFSET;
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::TOPIC_NOT_EXIST);
    assert_eq!(remark(&response), "[reset-offset] reset offset failed, no topic in this broker. topic=T");
    broker.create_topic("T", 1);
    let response = client.call_with(code, &header).await;
    assert_eq!((response.code, remark(&response)), (response_code::SYSTEM_ERROR, "THe consumer group <G> not exist"));
    broker.broker.groups.find("G");
    client.commit("G", "T", 0, 0).await;
    client.send("T", 0, "A", "0").await;
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::CONSUMER_NOT_ONLINE);
    let text = "Consumer not online, so can not reset offset, Group: G Topic: T Timestamp: -1";
    assert_eq!(remark(&response), text);

    client.consume("G", "a", &[("T", "*")]).await;
    hears_of(&mut client, "G").await;
    let cpp = RemotingCommand { language: LanguageCode::Cpp, ..RemotingCommand::request_with(code, &header) };
    let response = client.call(cpp).await;
    let table = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:1}}"#;
    assert_eq!(&response.body[..], table.as_bytes());
    let told = client.pushed().await;
    assert_eq!(told.code, request_code::RESET_CONSUMER_CLIENT_OFFSET);
    let list = br#"{"offsetTable":[{"brokerName":"broker-a","offset":1,"queueId":0,"topic":"T"}]}"#;
    assert_eq!(&told.body[..], list);
    client.call_with(code, &header).await;
    assert_eq!(&client.pushed().await.body[..], table.as_bytes());
    broker.stop().await;
}

#[tokio::test]
async fn an_administrator_s_question_is_passed_to_the_client_and_back() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    let (mut admin, mut consumer) = (broker.connect().await, broker.connect().await);
    let header = GetConsumerRunningInfoRequestHeader { consumer_group: Str::from("G"), client_id: Str::from("a"), ..Default::default() };
    let code = request_code::GET_CONSUMER_RUNNING_INFO;
    let response = admin.call_with(code, &header).await;
    assert_eq!((response.code, remark(&response)), (response_code::SYSTEM_ERROR, "The Consumer <G> <a> not online"));

    consumer.consume("G", "a", &[("T", "*")]).await;
    hears_of(&mut consumer, "G").await;
    let asked = admin.begin(RemotingCommand::request_with(code, &header)).await;
    let question = consumer.pushed().await;
    assert_eq!((question.code, question.is_oneway()), (code, false));
    assert_eq!(question.header::<GetConsumerRunningInfoRequestHeader>().unwrap().client_id, "a");
    let info = RemotingCommand::response(response_code::SUCCESS).with_body("{\"jstack\":\"x\"}");
    consumer.answer(&question, info).await;
    let answer = admin.response(asked).await;
    assert_eq!((answer.code, &answer.body[..]), (response_code::SUCCESS, &b"{\"jstack\":\"x\"}"[..]));

    let asked = admin.begin(RemotingCommand::request_with(code, &header)).await;
    consumer.pushed().await;
    assert!(!admin.is_answered(asked).await);
    for _ in 0..100 {
        if admin.is_answered(asked).await {
            break;
        }
        broker.advance(&clock, Duration::from_secs(10)).await;
    }
    assert_eq!(admin.response(asked).await.code, response_code::CONSUME_MSG_TIMEOUT);

    let old = RemotingCommand { version: 61, ..RemotingCommand::request(request_code::HEART_BEAT) };
    consumer.call(old.with_body(fastjson::to_vec(&consumer_heartbeat("OLD", "a", &[("T", "*")])))).await;
    let header = GetConsumerRunningInfoRequestHeader { consumer_group: Str::from("OLD"), ..header };
    let response = admin.call_with(code, &header).await;
    assert_eq!(response.code, response_code::SYSTEM_ERROR);
    assert!(remark(&response).starts_with("The Consumer <a> Version <"), "{}", remark(&response));
    broker.stop().await;
}

/// The offsets of CID_RMQ_SYS_TRANS say which transactions have ended; on 5.5.0 anybody may write them, and delete them.
#[tokio::test]
async fn what_the_broker_keeps_for_itself_is_no_client_s_to_write() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let (half, group) = ("RMQ_SYS_TRANS_HALF_TOPIC", "CID_RMQ_SYS_TRANS");
    client.consume("G", "c", &[("orders", "*")]).await;
    broker.create_topic("orders", 1);
    client.send_many("orders", 0, 1).await;
    client.commit("G", half, 0, 7).await;
    let text = "The offsets of group[CID_RMQ_SYS_TRANS] are the broker's own.";
    let refused = |answer: RemotingCommand| assert_eq!((answer.code, remark(&answer)), (response_code::NO_PERMISSION, text));
    let committed = || broker.broker.consumer_offsets.committed(group, half, 0);

    refused(client.commit(group, half, 0, 7).await);
    let clone = CloneGroupOffsetRequestHeader {
        src_group: Str::from("G"),
        dest_group: Str::from(group),
        topic: Some(Str::from(half)),
        offline: true,
    };
    refused(client.call_with(request_code::CLONE_GROUP_OFFSET, &clone).await);
    let reset = ResetOffsetRequestHeader {
        topic: Str::from(half),
        group: Str::from(group),
        queue_id: 0,
        offset: Some(0),
        timestamp: -1,
        ..Default::default()
    };
    refused(client.call_with(request_code::INVOKE_BROKER_TO_RESET_OFFSET, &reset).await);
    let delete = DeleteSubscriptionGroupRequestHeader { group_name: Str::from(group), clean_offset: true };
    refused(client.call_with(request_code::DELETE_SUBSCRIPTIONGROUP, &delete).await);
    // A pull that brings an offset is served without it.
    let pull = PullMessageRequestHeader { sys_flag: 1 | 4, commit_offset: 7, ..pull_header(group, half, 0, 0) };
    let pull = PullMessageRequestHeader { subscription: Some(Str::from("*")), ..pull };
    assert_eq!(client.call(pull_request(&pull)).await.code, response_code::PULL_NOT_FOUND);
    assert_eq!(committed(), None);

    // What tools read and do stays.
    let query = QueryConsumerOffsetRequestHeader { consumer_group: Str::from(group), topic: Str::from(half), ..Default::default() };
    assert_ne!(client.call_with(request_code::QUERY_CONSUMER_OFFSET, &query).await.code, response_code::NO_PERMISSION);
    for tool in ["TOOLS_CONSUMER", "CID_ONSAPI_OWNER", "CID_ONSAPI_PULL", "G"] {
        assert_eq!(client.commit(tool, "orders", 0, 1).await.code, response_code::SUCCESS, "{tool}");
    }
}

/// `validateSystemTopicWhenUpdateTopic=false` lets administrators alter system topics, but what they wait in does not go.
#[tokio::test]
async fn topics_that_hold_the_broker_s_own_work_are_not_deleted() {
    let broker = Setup::new().config(|config| config.validate_system_topic_when_update_topic = false).start().await;
    let mut client = broker.connect().await;
    for topic in ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"] {
        let mut delete = RemotingCommand::request(request_code::DELETE_TOPIC_IN_BROKER);
        delete.ext_fields.insert("topic", Str::from(topic));
        let answer = client.call(delete).await;
        let text = format!("The topic[{topic}] is conflict with system topic.");
        assert_eq!((answer.code, remark(&answer)), (response_code::INVALID_PARAMETER, &*text));
    }
}

/// The original goes on with the retry topic as it is, and stores retries into queues that nobody reads.
#[tokio::test]
async fn more_retry_queues_of_a_group_are_queues_of_its_retry_topic() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "a", &[("T", "*")]).await;
    client.send_many("T", 0, 1).await;
    let queues = || broker.broker.topics.get("%RETRY%G").map(|topic| (topic.read_queue_nums, topic.write_queue_nums));
    assert_eq!(queues(), Some((1, 1)));
    let raised = fastjson::to_vec(&SubscriptionGroupConfig { retry_queue_nums: 4, ..SubscriptionGroupConfig::new("G") });
    client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, raised).await;
    let mut back = RemotingCommand::request(request_code::CONSUMER_SEND_MSG_BACK);
    [("offset", "0"), ("group", "G"), ("delayLevel", "1")].iter().for_each(|(name, value)| back.ext_fields.insert(name, *value));
    assert_eq!(client.call(back).await.code, response_code::SUCCESS);
    assert_eq!(queues(), Some((4, 4)));
    broker.stop().await;
}
