// SPDX-License-Identifier: Apache-2.0
//! Groups and their members: heartbeats of both forms, leaving, news for the rest, offsets, locks of queues, failed messages,
//! and what administrators see and change of all that.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::body::{
    ConsumeStats, ConsumerConnection, GetConsumerListByGroupResponseBody, GroupList, HeartbeatData, LockBatchRequestBody,
    LockBatchResponseBody, MessageQueue, ProducerConnection, ProducerTableInfo, SubscriptionGroupConfig, SubscriptionGroupWrapper,
    TopicList,
};
use ferrocket_protocol::header::*;
use ferrocket_protocol::message::{MessageView, properties, property};
use ferrocket_protocol::{LanguageCode, RemotingCommand, Str, fastjson, request_code, response_code};
use serde::de::DeserializeOwned;
use support::{Client, Setup, TestBroker, consumer_heartbeat, producer_heartbeat, pull_header, pull_request, pulled, remark};

fn body<T: DeserializeOwned>(response: &RemotingCommand) -> T {
    assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
    fastjson::from_slice(&response.body).unwrap()
}

async fn consumer_ids(client: &mut Client, group: &str) -> RemotingCommand {
    let header = GetConsumerListByGroupRequestHeader { consumer_group: Str::copy_from(group), ..Default::default() };
    client.call_with(request_code::GET_CONSUMER_LIST_BY_GROUP, &header).await
}

fn sorted_ids(response: &RemotingCommand) -> Vec<String> {
    let mut ids = body::<GetConsumerListByGroupResponseBody>(response).consumer_id_list;
    ids.sort();
    ids
}

async fn hears_of(client: &mut Client, group: &str) {
    let news = client.pushed().await;
    assert_eq!((news.code, news.is_oneway()), (request_code::NOTIFY_CONSUMER_IDS_CHANGED, true));
    let header: NotifyConsumerIdsChangedRequestHeader = news.header().unwrap();
    assert_eq!(&*header.consumer_group, group);
}

#[tokio::test]
async fn members_come_and_go_and_the_rest_hears_of_it() {
    let broker = TestBroker::start().await;
    let (mut first, mut second) = (broker.connect().await, broker.connect().await);
    let nobody = consumer_ids(&mut first, "G").await;
    assert_eq!((nobody.code, remark(&nobody)), (response_code::SYSTEM_ERROR, "no consumer for this group, G"));

    let response = first.heartbeat(&consumer_heartbeat("G", "a", &[("T", "*")])).await;
    let header: HeartbeatResponseHeader = response.header().unwrap();
    assert!(header.supports_heartbeat_v2 && header.subscription_changed, "the first form is always told so");
    hears_of(&mut first, "G").await;
    assert!(broker.broker.topics.contains("%RETRY%G"));

    second.consume("G", "b", &[("T", "*")]).await;
    hears_of(&mut first, "G").await;
    hears_of(&mut second, "G").await;
    assert_eq!(sorted_ids(&consumer_ids(&mut first, "G").await), ["a", "b"]);

    first.consume("G", "a", &[("T", "*")]).await;
    first.consume("G", "a", &[("T", "*"), ("U", "*")]).await;
    hears_of(&mut second, "G").await;
    hears_of(&mut first, "G").await;

    let header = UnregisterClientRequestHeader { client_id: Str::from("a"), consumer_group: Some(Str::from("G")), ..Default::default() };
    assert_eq!(first.call_with(request_code::UNREGISTER_CLIENT, &header).await.code, response_code::SUCCESS);
    hears_of(&mut second, "G").await;
    assert_eq!(sorted_ids(&consumer_ids(&mut first, "G").await), ["b"]);

    // Go's clients leave without a word.
    first.consume("G", "a", &[("T", "*")]).await;
    hears_of(&mut second, "G").await;
    drop(first);
    hears_of(&mut second, "G").await;
    assert_eq!(sorted_ids(&consumer_ids(&mut second, "G").await), ["b"]);
    broker.stop().await;
}

#[tokio::test]
async fn nobody_is_told_where_nobody_wants_to_be() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let mut heartbeat = consumer_heartbeat("B", "a", &[("T", "*")]);
    heartbeat.consumer_data_set[0].message_model = ferrocket_protocol::body::MessageModel::Broadcasting;
    client.heartbeat(&heartbeat).await;
    let quiet = SubscriptionGroupConfig { notify_consumer_ids_changed_enable: false, ..SubscriptionGroupConfig::new("Q") };
    broker.broker.groups.update(quiet).unwrap();
    client.consume("Q", "a", &[("T", "*")]).await;
    client.consume("G", "a", &[("T", "*")]).await;
    hears_of(&mut client, "G").await;
    broker.stop().await;
}

/// Thousands of consumers that start together would each be told of every other.
#[tokio::test]
async fn changes_that_follow_each_other_are_told_as_one() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    let mut first = broker.connect().await;
    first.consume("G", "a", &[("T", "*")]).await;
    hears_of(&mut first, "G").await;
    let mut others = Vec::new();
    for id in ["b", "c", "d"] {
        let mut other = broker.connect().await;
        other.consume("G", id, &[("T", "*")]).await;
        others.push(other);
    }
    assert!(!first.has_pushed().await, "the moment is not over");
    broker.advance(&clock, Duration::from_millis(100)).await;
    for member in others.iter_mut().chain([&mut first]) {
        hears_of(member, "G").await;
        assert!(!member.has_pushed().await, "three came, the news are one");
    }
    broker.stop().await;
}

#[tokio::test]
async fn news_can_wait_for_their_turn() {
    let (setup, clock) = Setup::new().config(|config| config.real_time_notify_consumer_change = false).manual_clock();
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    client.consume("G", "a", &[("T", "*")]).await;
    assert!(!client.has_pushed().await);
    for _ in 0..100 {
        if client.has_pushed().await {
            break;
        }
        broker.advance(&clock, Duration::from_secs(15)).await;
    }
    hears_of(&mut client, "G").await;
    broker.stop().await;
}

/// ClientManageProcessor.java#heartBeatV2.
#[tokio::test]
async fn the_second_form_states_subscriptions_only_when_they_change() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let v2 = |fingerprint, without_sub, topics: &[(&str, &str)]| HeartbeatData {
        heartbeat_fingerprint: fingerprint,
        without_sub,
        ..consumer_heartbeat("G", "a", topics)
    };
    let changed = |response: RemotingCommand| response.header::<HeartbeatResponseHeader>().unwrap().subscription_changed;
    assert!(changed(client.heartbeat(&v2(1, true, &[])).await), "a broker that does not know them asks for them");
    assert!(!changed(client.heartbeat(&v2(1, false, &[("T", "A")])).await));
    assert!(!changed(client.heartbeat(&v2(1, true, &[])).await));
    assert_eq!(broker.broker.consumers.subscription_count("G"), 1, "kept");
    assert!(changed(client.heartbeat(&v2(2, false, &[("U", "A")])).await));
    assert!(!changed(client.heartbeat(&v2(2, true, &[])).await));
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_for_two_minutes_is_gone() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    let (mut silent, mut other) = (broker.connect().await, broker.connect().await);
    silent.consume("G", "silent", &[("T", "*")]).await;
    other.consume("G", "other", &[("T", "*")]).await;
    other.heartbeat(&producer_heartbeat("P", "other")).await;
    broker.advance(&clock, Duration::from_secs(115)).await;
    other.consume("G", "other", &[("T", "*")]).await;
    other.heartbeat(&producer_heartbeat("P", "other")).await;
    // Housekeeping looks each 10 s of its own; the other one goes on being heard until it has looked.
    for _ in 0..100 {
        if broker.broker.consumers.client_ids("G").len() == 1 {
            break;
        }
        broker.advance(&clock, Duration::from_secs(5)).await;
        other.consume("G", "other", &[("T", "*")]).await;
        other.heartbeat(&producer_heartbeat("P", "other")).await;
    }
    assert_eq!(broker.broker.consumers.client_ids("G"), ["other"]);
    silent.is_closed().await;
    assert!(broker.broker.producers.members("P").is_some());
    broker.stop().await;
}

#[tokio::test]
async fn groups_that_may_not_be_made_are_left_out_of_a_heartbeat() {
    let broker = Setup::new().config(|config| config.auto_create_subscription_group = false).start().await;
    let mut client = broker.connect().await;
    client.consume("G", "a", &[("T", "*")]).await;
    assert_eq!(consumer_ids(&mut client, "G").await.code, response_code::SYSTEM_ERROR);
    assert!(!broker.broker.topics.contains("%RETRY%G"));
    broker.stop().await;
}

/// ConsumerManageProcessor.java#updateConsumerOffset: each refusal in its order.
#[tokio::test]
async fn an_offset_is_committed_for_a_group_and_a_topic_that_exist() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let response = client.commit("G", "T", 0, 5).await;
    assert_eq!((response.code, remark(&response)), (response_code::SUBSCRIPTION_GROUP_NOT_EXIST, "Group G not exist!"));
    client.consume("G", "a", &[("T", "*")]).await;
    let response = client.commit("G", "T", 0, 5).await;
    assert_eq!((response.code, remark(&response)), (response_code::TOPIC_NOT_EXIST, "Topic T not exist!"));
    broker.create_topic("T", 1);
    let mut header = UpdateConsumerOffsetRequestHeader {
        consumer_group: Str::from("G"),
        topic: Str::from("T"),
        queue_id: None,
        commit_offset: None,
        ..Default::default()
    };
    let response = client.call_with(request_code::UPDATE_CONSUMER_OFFSET, &header).await;
    assert_eq!((response.code, remark(&response)), (response_code::INVALID_PARAMETER, "QueueId is null, topic is T"));
    header.queue_id = Some(0);
    let response = client.call_with(request_code::UPDATE_CONSUMER_OFFSET, &header).await;
    assert_eq!((response.code, remark(&response)), (response_code::INVALID_PARAMETER, "Offset is null, topic is T"));
    assert_eq!(client.commit("G", "T", 0, 5).await.code, response_code::SUCCESS);
    assert_eq!(client.commit("G", "T", 0, 4).await.code, response_code::SUCCESS, "backwards too");

    let all = client.call(RemotingCommand::request(request_code::GET_ALL_CONSUMER_OFFSET)).await;
    let text = String::from_utf8(all.body.to_vec()).unwrap();
    assert!(text.ends_with(r#""groupTopicMap":{"G":["T"]},"offsetTable":{"T@G":{0:4}},"pullOffsetTable":{}}"#), "{text}");
    broker.stop().await;
}

/// Go sends its last offsets and closes, with answers unread: the kernel makes that a reset.
#[tokio::test]
async fn offsets_sent_in_the_breath_of_the_end_are_kept() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 64);
    let mut client = broker.connect().await;
    client.consume("G", "a", &[("T", "*")]).await;
    let requests = (0..64).map(|queue_id| {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: Str::from("G"),
            topic: Str::from("T"),
            queue_id: Some(queue_id),
            commit_offset: Some(i64::from(queue_id) + 1),
            ..Default::default()
        };
        RemotingCommand::request_with(request_code::UPDATE_CONSUMER_OFFSET, &header)
    });
    client.begin_all(requests).await;
    drop(client);
    broker.wait_until(|broker| broker.consumer_offsets.committed("G", "T", 63) == Some(64)).await;
    for queue_id in 0..64 {
        assert_eq!(broker.broker.consumer_offsets.committed("G", "T", queue_id), Some(i64::from(queue_id) + 1));
    }
    broker.stop().await;
}

/// ConsumerManageProcessor.java#queryConsumerOffset: where a new group begins.
#[tokio::test]
async fn a_new_group_begins_at_zero_where_nothing_is_lost_yet() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 2);
    let mut client = broker.connect().await;
    client.send("T", 0, "A", "one").await;
    let header = |queue_id, set_zero| QueryConsumerOffsetRequestHeader {
        consumer_group: Str::from("G"),
        topic: Str::from("T"),
        queue_id,
        set_zero_if_not_found: set_zero,
        ..Default::default()
    };
    let code = request_code::QUERY_CONSUMER_OFFSET;
    let response = client.call_with(code, &header(0, None)).await;
    assert_eq!(response.header::<QueryConsumerOffsetResponseHeader>().unwrap().offset, 0);
    assert_eq!((response.code, response.remark), (response_code::SUCCESS, None));
    let response = client.call_with(code, &header(0, Some(false))).await;
    assert_eq!(response.code, response_code::QUERY_NOT_FOUND);
    assert_eq!(remark(&response), "Not found, do not set to zero, maybe this group boot first");
    let response = client.call_with(code, &header(1, None)).await;
    assert_eq!(response.code, response_code::QUERY_NOT_FOUND, "an empty queue has no message in memory");
    assert_eq!(remark(&response), "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first");
    client.consume("G", "a", &[("T", "*")]).await;
    client.commit("G", "T", 1, 9).await;
    let response = client.call_with(code, &header(1, Some(false))).await;
    assert_eq!(response.header::<QueryConsumerOffsetResponseHeader>().unwrap().offset, 9);
    broker.stop().await;
}

#[tokio::test]
async fn a_queue_tells_where_it_begins_and_ends_and_where_it_was() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    let began = broker.broker.clock.now_millis();
    for body in ["0", "1", "2"] {
        client.send("T", 0, "A", body).await;
        clock.advance(Duration::from_secs(10));
    }
    let topic = Str::from("T");
    let max = GetMaxOffsetRequestHeader { topic: topic.clone(), ..Default::default() };
    let response = client.call_with(request_code::GET_MAX_OFFSET, &max).await;
    assert_eq!(response.header::<GetMaxOffsetResponseHeader>().unwrap().offset, 3);
    let min = GetMinOffsetRequestHeader { topic: topic.clone(), ..Default::default() };
    let response = client.call_with(request_code::GET_MIN_OFFSET, &min).await;
    assert_eq!(response.header::<GetMinOffsetResponseHeader>().unwrap().offset, 0);
    let unknown = GetMaxOffsetRequestHeader { topic: Str::from("NONE"), queue_id: 3, ..Default::default() };
    let response = client.call_with(request_code::GET_MAX_OFFSET, &unknown).await;
    assert_eq!(response.header::<GetMaxOffsetResponseHeader>().unwrap().offset, 0);
    let unknown = GetMinOffsetRequestHeader { topic: Str::from("NONE"), queue_id: 3, ..Default::default() };
    let response = client.call_with(request_code::GET_MIN_OFFSET, &unknown).await;
    assert_eq!(response.header::<GetMinOffsetResponseHeader>().unwrap().offset, 0);
    for (after, boundary, offset) in [(10_000, None, 1), (10_001, None, 2), (10_001, Some("UPPER"), 1), (-5, None, 0), (99_999, None, 3)] {
        let header = SearchOffsetRequestHeader {
            topic: topic.clone(),
            timestamp: began + after,
            boundary_type: boundary.map(Str::from),
            ..Default::default()
        };
        let response = client.call_with(request_code::SEARCH_OFFSET_BY_TIMESTAMP, &header).await;
        assert_eq!(response.header::<SearchOffsetResponseHeader>().unwrap().offset, offset, "{after} ms {boundary:?}");
    }
    let header = GetEarliestMsgStoretimeRequestHeader { topic: topic.clone(), ..Default::default() };
    let response = client.call_with(request_code::GET_EARLIEST_MSG_STORETIME, &header).await;
    assert_eq!(response.header::<GetEarliestMsgStoretimeResponseHeader>().unwrap().timestamp, began);
    let header = GetEarliestMsgStoretimeRequestHeader { topic: Str::from("NONE"), ..Default::default() };
    let response = client.call_with(request_code::GET_EARLIEST_MSG_STORETIME, &header).await;
    assert_eq!(response.header::<GetEarliestMsgStoretimeResponseHeader>().unwrap().timestamp, -1);
    broker.stop().await;
}

#[tokio::test]
async fn a_queue_is_locked_for_one_member() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let queue = |queue_id| MessageQueue::new("T", "broker-a", queue_id);
    let request = |client_id: &str, queues: BTreeSet<MessageQueue>| {
        fastjson::to_vec(&LockBatchRequestBody {
            client_id: client_id.to_owned(),
            consumer_group: "G".to_owned(),
            mq_set: queues,
            only_this_broker: false,
        })
    };
    let both = BTreeSet::from([queue(0), queue(1)]);
    let lock = request_code::LOCK_BATCH_MQ;
    let locked: LockBatchResponseBody = body(&client.call_with_body(lock, request("a", BTreeSet::from([queue(0)]))).await);
    assert_eq!(locked.lock_ok_mq_set, BTreeSet::from([queue(0)]));
    let locked: LockBatchResponseBody = body(&client.call_with_body(lock, request("b", both.clone())).await);
    assert_eq!(locked.lock_ok_mq_set, BTreeSet::from([queue(1)]));
    let unlocked = client.call_with_body(request_code::UNLOCK_BATCH_MQ, request("a", both.clone())).await;
    assert_eq!((unlocked.code, unlocked.body.len()), (response_code::SUCCESS, 0));
    let locked: LockBatchResponseBody = body(&client.call_with_body(lock, request("b", both.clone())).await);
    assert_eq!(locked.lock_ok_mq_set, both);
    assert_eq!(client.call_with_body(lock, Bytes::new()).await.code, response_code::SYSTEM_ERROR);
    broker.stop().await;
}

#[tokio::test]
async fn a_filter_that_is_no_list_of_tags_is_refused_before_the_client_starts() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let check = |kind: &str| {
        format!(
            "{{\"clientId\":\"c\",\"group\":\"G\",\"subscriptionData\":{{\"topic\":\"T\",\"subString\":\"a > 1\",\"expressionType\":\"{kind}\"}}}}"
        )
    };
    let code = request_code::CHECK_CLIENT_CONFIG;
    assert_eq!(client.call_with_body(code, check("TAG")).await.code, response_code::SUCCESS);
    assert_eq!(client.call_with_body(code, Bytes::new()).await.code, response_code::SUCCESS);
    let refused = client.call_with_body(code, check("SQL92")).await;
    assert_eq!(refused.code, response_code::SYSTEM_ERROR);
    assert_eq!(remark(&refused), "The broker does not support consumer to filter message by SQL92");
    broker.stop().await;
}

/// AbstractSendMessageProcessor.java#consumerSendMsgBack.
#[tokio::test]
async fn a_failed_message_comes_back_and_ends_with_the_dead() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "a", &[("T", "*"), ("%RETRY%G", "*")]).await;
    client.send("T", 0, "A", "hard").await;
    let response = client.call(pull_request(&pull_header("G", "T", 0, 0))).await;
    let offset = MessageView::decode(&response.body).unwrap().physical_offset;
    let back = |offset, delay_level, max| ConsumerSendMsgBackRequestHeader {
        offset,
        group: Str::from("G"),
        delay_level,
        max_reconsume_times: max,
        ..Default::default()
    };
    let code = request_code::CONSUMER_SEND_MSG_BACK;
    assert_eq!(client.call_with(code, &back(offset, 0, None)).await.code, response_code::SUCCESS);

    let held = client.begin(pull_request(&pull_header("G", "%RETRY%G", 0, 0))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    broker.advance(&clock, Duration::from_secs(9)).await;
    assert!(!client.is_answered(held).await, "level 3 is 10 s");
    broker.advance(&clock, Duration::from_secs(2)).await;
    let response = client.response(held).await;
    assert_eq!(pulled(&response).2, ["hard"]);
    let record = MessageView::decode(&response.body).unwrap();
    assert_eq!((record.topic, record.reconsume_times), ("%RETRY%G", 1));
    let property = |name| properties::find_str(record.properties, name);
    assert_eq!(property(property::RETRY_TOPIC), Some("T"));
    assert_eq!(property(property::TAGS), Some("A"));
    assert_eq!(property(property::ORIGIN_MESSAGE_ID).map(str::len), Some(32));
    assert_eq!(property(property::WAIT), Some("false"));

    let again = record.physical_offset;
    assert_eq!(client.call_with(code, &back(again, 1, Some(1))).await.code, response_code::SUCCESS);
    let dead = PullMessageRequestHeader { sys_flag: 4, subscription: Some(Str::from("*")), ..pull_header("H", "%DLQ%G", 0, 0) };
    let response = client.call(pull_request(&dead)).await;
    assert_eq!(pulled(&response).2, ["hard"]);
    let record = MessageView::decode(&response.body).unwrap();
    assert_eq!((record.topic, record.reconsume_times), ("%DLQ%G", 2));
    assert_eq!(properties::find_str(record.properties, property::RETRY_TOPIC), Some("T"));

    assert_eq!(client.call_with(code, &back(offset, -1, None)).await.code, response_code::SUCCESS);
    assert_eq!(pulled(&client.call(pull_request(&dead)).await).2.len(), 2, "a negative level gives it up at once");
    broker.stop().await;
}

#[tokio::test]
async fn a_failed_message_is_refused_in_the_original_s_order() {
    let mut setup = Setup::new();
    setup.config.broker_permission = 4;
    setup.config.auto_create_subscription_group = false;
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    let header = ConsumerSendMsgBackRequestHeader { offset: 12_345, group: Str::from("G"), ..Default::default() };
    let code = request_code::CONSUMER_SEND_MSG_BACK;
    let faq = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(remark(&response), format!("subscription group not exist, G {faq}"));

    let group = |retry_queue_nums| SubscriptionGroupConfig { retry_queue_nums, ..SubscriptionGroupConfig::new("G") };
    broker.broker.groups.update(group(0)).unwrap();
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::NO_PERMISSION);
    assert_eq!(remark(&response), "the broker[127.0.0.1] sending message is forbidden");

    client.call_with_body(request_code::UPDATE_BROKER_CONFIG, &b"brokerPermission=6\n"[..]).await;
    assert_eq!(client.call_with(code, &header).await.code, response_code::SUCCESS, "no retry queues: given up");

    broker.broker.groups.update(group(1)).unwrap();
    broker.create_topic_with("%RETRY%G", 1, 4);
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::NO_PERMISSION);
    assert_eq!(remark(&response), "the topic[%RETRY%G] sending message is forbidden");

    broker.create_topic_with("%RETRY%G", 1, 6);
    let response = client.call_with(code, &header).await;
    assert_eq!(response.code, response_code::SYSTEM_ERROR);
    assert_eq!(remark(&response), "look message by offset failed, 12345");
    broker.stop().await;
}

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
