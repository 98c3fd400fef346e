// SPDX-License-Identifier: Apache-2.0
//! Groups and their members: heartbeats of both forms, leaving, news for the rest, offsets, locks of queues, failed messages.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::body::{
    GetConsumerListByGroupResponseBody, HeartbeatData, LockBatchRequestBody, LockBatchResponseBody, MessageQueue, SubscriptionGroupConfig,
};
use ferrocket_protocol::header::*;
use ferrocket_protocol::message::{MessageView, properties, property};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code, response_code};
use support::{
    Client, Setup, TestBroker, body, consumer_heartbeat, hears_of, producer_heartbeat, pull_header, pull_request, pulled, remark,
};

async fn consumer_ids(client: &mut Client, group: &str) -> RemotingCommand {
    let header = GetConsumerListByGroupRequestHeader { consumer_group: Str::copy_from(group), ..Default::default() };
    client.call_with(request_code::GET_CONSUMER_LIST_BY_GROUP, &header).await
}

fn sorted_ids(response: &RemotingCommand) -> Vec<String> {
    let mut ids = body::<GetConsumerListByGroupResponseBody>(response).consumer_id_list;
    ids.sort();
    ids
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

/// client-go 2.0.0 says how it consumes in a word that Java does not know; Java takes it for null and serves.
#[tokio::test]
async fn a_consumer_with_words_of_its_own_is_served() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let beat = br#"{"clientID":"go","consumerDataSet":[{"groupName":"G","consumeType":"PUSH","messageModel":"Clustering","subscriptionDataSet":[{"topic":"T","subString":"*"}]}]}"#;
    assert_eq!(client.call_with_body(request_code::HEART_BEAT, &beat[..]).await.code, response_code::SUCCESS);
    assert_eq!(sorted_ids(&consumer_ids(&mut client, "G").await), ["go"]);
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

/// What a member of G subscribes of T, stated as of `version`.
async fn states(client: &mut Client, client_id: &str, expression: &str, version: i64) {
    let mut heartbeat = consumer_heartbeat("G", client_id, &[("T", expression)]);
    heartbeat.consumer_data_set.iter_mut().for_each(|consumer| {
        consumer.subscription_data_set.iter_mut().for_each(|data| data.sub_version = version);
    });
    assert_eq!(client.heartbeat(&heartbeat).await.code, response_code::SUCCESS);
}

/// ConsumerGroupInfo.java#updateSubscription goes by versions alone, which are the clients' clocks.
#[tokio::test]
async fn a_client_whose_clock_was_set_back_is_heard_and_members_do_not_overwrite_each_other() {
    let broker = TestBroker::start().await;
    let (mut first, mut second) = (broker.connect().await, broker.connect().await);
    let in_force = || broker.broker.consumers.known_subscription("G", "T").map(|subscription| subscription.data.sub_string.clone());
    states(&mut first, "a", "Old", 1_000).await;
    states(&mut first, "a", "New", 900).await;
    assert_eq!(in_force().as_deref(), Some("New"), "the same client, later");
    states(&mut second, "b", "Other", 500).await;
    for _ in 0..2 {
        states(&mut second, "b", "Other", 500).await;
        assert_eq!(in_force().as_deref(), Some("New"), "the newest statement of those who are here");
        states(&mut first, "a", "New", 900).await;
        assert_eq!(in_force().as_deref(), Some("New"));
    }
    // Back on another connection, before the broker has missed the first one.
    let mut again = broker.connect().await;
    states(&mut again, "a", "Back", 700).await;
    assert_eq!(in_force().as_deref(), Some("Back"));
    again.close().await;
    first.close().await;
    broker.wait_until(|broker| broker.consumers.members("G").len() == 1).await;
    assert_eq!(in_force().as_deref(), Some("Other"), "who has gone has no say");
    broker.stop().await;
}

/// The original lets each heartbeat take the topics away that another member subscribes.
#[tokio::test]
async fn members_with_different_topics_leave_each_other_theirs() {
    let broker = TestBroker::start().await;
    let (mut first, mut second) = (broker.connect().await, broker.connect().await);
    first.consume("G", "a", &[("T", "*")]).await;
    second.consume("G", "b", &[("U", "*")]).await;
    let topics = |name: &str| broker.broker.consumers.groups_of(name).contains("G");
    for _ in 0..2 {
        first.consume("G", "a", &[("T", "*")]).await;
        assert!(topics("T") && topics("U"));
        second.consume("G", "b", &[("U", "*")]).await;
        assert!(topics("T") && topics("U"));
    }
    second.consume("G", "b", &[("V", "*")]).await;
    assert!(topics("T") && topics("V") && !topics("U"), "its own it may give up");
    first.close().await;
    broker.wait_until(|broker| broker.consumers.members("G").len() == 1).await;
    assert!(!topics("T") && topics("V"));
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
    client.send_many("T", 0, 5).await;
    assert_eq!(client.commit("G", "T", 0, 5).await.code, response_code::SUCCESS);
    assert_eq!(client.commit("G", "T", 0, 4).await.code, response_code::SUCCESS, "backwards too");
    for (queue_id, offset) in [(0, 6), (0, i64::MAX), (1, 0), (-1, 0), (7, 1)] {
        let response = client.commit("G", "T", queue_id, offset).await;
        assert_eq!(response.code, response_code::INVALID_PARAMETER, "{queue_id} {offset}: no such place");
    }
    assert!(remark(&client.commit("G", "T", 0, 6).await).contains("ends at 5"));

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
    for queue_id in 0..64 {
        client.send_many("T", queue_id, queue_id as usize + 1).await;
    }
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
    client.send_many("T", 1, 9).await;
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

    // A member that says goodbye lets the others go on at once; one whose connection has ended may still be consuming.
    let mut other = broker.connect().await;
    client.consume("G", "b", &[("T", "*")]).await;
    other.consume("G", "b", &[("T", "*")]).await;
    let goodbye = UnregisterClientRequestHeader { client_id: Str::from("b"), producer_group: None, consumer_group: Some(Str::from("G")) };
    for (leaving, free) in [(&mut other, BTreeSet::new()), (&mut client, both.clone())] {
        leaving.call_with(request_code::UNREGISTER_CLIENT, &goodbye).await;
        let locked: LockBatchResponseBody = body(&leaving.call_with_body(lock, request("c", both.clone())).await);
        assert_eq!(locked.lock_ok_mq_set, free, "b was a member on two connections");
    }
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
        delay_level: Some(delay_level),
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
