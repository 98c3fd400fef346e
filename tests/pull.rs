// SPDX-License-Identifier: Apache-2.0
//! PULL_MESSAGE and LITE_PULL_MESSAGE as consumers use them: what is found, what is refused and in which order, and how a pull
//! waits.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::time::Duration;

use ferrocket_protocol::body::SubscriptionGroupConfig;
use ferrocket_protocol::header::{PullMessageRequestHeader, PullMessageResponseHeader};
use ferrocket_protocol::{RemotingCommand, Str, request_code, response_code};
use support::{Setup, TestBroker, consumer_heartbeat, pull_header, pull_request, pulled, remark, send_request};

const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Pulls that bring their own filter and do not wait, as a pull consumer's.
fn own_filter(topic: &str, queue_id: i32, offset: i64, tags: &str) -> PullMessageRequestHeader {
    PullMessageRequestHeader { sys_flag: 4, subscription: Some(Str::copy_from(tags)), ..pull_header("G", topic, queue_id, offset) }
}

fn forbidden_type(response: &RemotingCommand) -> Option<i32> {
    response.header::<PullMessageResponseHeader>().unwrap().forbidden_type
}

#[tokio::test]
async fn what_was_sent_is_found_in_order_with_the_offset_to_go_on() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 2);
    let mut client = broker.connect().await;
    for body in ["one", "two", "three"] {
        client.send("T", 1, "A", body).await;
    }
    let response = client.call(pull_request(&own_filter("T", 1, 1, "*"))).await;
    assert_eq!(pulled(&response), (0, 3, vec!["two".to_owned(), "three".to_owned()]));
    assert_eq!(remark(&response), "FOUND");
    let header: PullMessageResponseHeader = response.header().unwrap();
    assert_eq!((header.min_offset, header.max_offset, header.suggest_which_broker_id), (0, 3, 0));
    assert_eq!((header.topic_sys_flag, header.group_sys_flag, header.offset_delta), (Some(0), Some(0), None));

    let fewer = PullMessageRequestHeader { max_msg_nums: 1, ..own_filter("T", 1, 0, "*") };
    assert_eq!(pulled(&client.call(pull_request(&fewer)).await), (0, 1, vec!["one".to_owned()]));
    let none_wanted = PullMessageRequestHeader { max_msg_nums: 0, ..own_filter("T", 1, 0, "*") };
    assert_eq!(pulled(&client.call(pull_request(&none_wanted)).await), (0, 1, vec!["one".to_owned()]), "Go asks so");
    broker.stop().await;
}

/// PullMessageProcessor.java#composeResponseHeader, each status that a client can bring about.
#[tokio::test]
async fn an_offset_that_is_not_there_is_corrected() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 2);
    let mut client = broker.connect().await;
    client.send("T", 0, "A", "one").await;
    for (queue_id, offset, code, next, status) in [
        (0, 1, response_code::PULL_NOT_FOUND, 1, "OFFSET_OVERFLOW_ONE"),
        (0, 2, response_code::PULL_OFFSET_MOVED, 1, "OFFSET_OVERFLOW_BADLY"),
        (0, -1, response_code::PULL_OFFSET_MOVED, 0, "OFFSET_TOO_SMALL"),
        (1, 0, response_code::PULL_NOT_FOUND, 0, "NO_MESSAGE_IN_QUEUE"),
        (1, 5, response_code::PULL_OFFSET_MOVED, 0, "NO_MESSAGE_IN_QUEUE"),
    ] {
        let response = client.call(pull_request(&own_filter("T", queue_id, offset, "*"))).await;
        assert_eq!((pulled(&response).0, pulled(&response).1), (code, next), "queue {queue_id} at {offset}");
        assert_eq!(remark(&response), status);
    }
    broker.stop().await;
}

#[tokio::test]
async fn tags_are_chosen_by_their_hash_and_what_is_passed_over_counts() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    for (tag, body) in [("Aa", "1"), ("C", "2"), ("BB", "3"), ("C", "4")] {
        client.send("T", 0, tag, body).await;
    }
    let response = client.call(pull_request(&own_filter("T", 0, 0, "Aa"))).await;
    let both = vec!["1".to_owned(), "3".to_owned()];
    assert_eq!(pulled(&response), (0, 4, both), "Aa and BB have one hash; the client tells them apart");
    let response = client.call(pull_request(&own_filter("T", 0, 0, "D || E"))).await;
    assert_eq!(pulled(&response), (response_code::PULL_RETRY_IMMEDIATELY, 4, vec![]));
    assert_eq!(remark(&response), "NO_MATCHED_MESSAGE");
    let response = client.call(pull_request(&own_filter("T", 0, 0, "C||Aa"))).await;
    assert_eq!(pulled(&response).2.len(), 4);
    broker.stop().await;
}

/// PullMessageProcessor.java#processRequest: each refusal, with everything that is checked after it wrong as well.
#[tokio::test]
async fn refusals_come_in_the_original_s_order() {
    let mut setup = Setup::new();
    // Only the original's 353 says so; it stays in the file.
    std::fs::create_dir(setup.folder().join("config")).unwrap();
    std::fs::write(setup.folder().join("config/subscriptionGroup.json"), br#"{"forbiddenTable":{"F":{"T":4}}}"#).unwrap();
    setup.config.broker_permission = 2;
    setup.config.auto_create_subscription_group = false;
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    let mut wrong = PullMessageRequestHeader { sys_flag: 0, ..pull_header("G", "T", 9, 0) };
    let change = |text: &str| {
        let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
        RemotingCommand::request(request_code::UPDATE_BROKER_CONFIG).with_body(bytes)
    };

    let response = client.call(pull_request(&wrong)).await;
    assert_eq!((response.code, forbidden_type(&response)), (response_code::NO_PERMISSION, Some(1)));
    assert_eq!(remark(&response), "the broker[127.0.0.1] pulling message is forbidden");

    assert_eq!(client.call(change("brokerPermission=6\nlitePullMessageEnable=false\n")).await.code, 0);
    let response = client.call_with(request_code::LITE_PULL_MESSAGE, &wrong).await;
    assert_eq!((response.code, forbidden_type(&response)), (response_code::NO_PERMISSION, Some(1)));
    assert_eq!(remark(&response), "the broker[127.0.0.1] for lite pull consumer is forbidden");

    let response = client.call(pull_request(&wrong)).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(remark(&response), format!("subscription group [G] does not exist, {FAQ}"));

    let group = |text: &str| format!("{{\"groupName\":\"G\",\"consumeBroadcastEnable\":false{text}}}");
    client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group(",\"consumeEnable\":false")).await;
    let response = client.call(pull_request(&wrong)).await;
    assert_eq!((response.code, forbidden_type(&response)), (response_code::NO_PERMISSION, Some(2)));
    assert_eq!(remark(&response), "subscription group no permission, G");

    client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group("")).await;
    let response = client.call(pull_request(&wrong)).await;
    assert_eq!(response.code, response_code::TOPIC_NOT_EXIST);
    assert_eq!(remark(&response), format!("topic[T] not exist, apply first please! {FAQ}"));

    broker.create_topic_with("T", 1, 2);
    let response = client.call(pull_request(&wrong)).await;
    assert_eq!((response.code, forbidden_type(&response)), (response_code::NO_PERMISSION, Some(3)));
    assert_eq!(remark(&response), "the topic[T] pulling message is forbidden");

    broker.create_topic_with("T", 1, 6);
    let response = client.call(pull_request(&wrong)).await;
    assert_eq!(response.code, response_code::INVALID_PARAMETER);
    let who = client.local_addr();
    let text = format!("queueId[9] is illegal, topic:[T] topicConfig.readQueueNums:[1] consumer:[/{who}]");
    assert_eq!(remark(&response), text);

    wrong.queue_id = 0;
    let response = client.call(pull_request(&wrong)).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_NOT_EXIST);
    assert_eq!(remark(&response), format!("the consumer's group info not exist{FAQ}"));

    let mut heartbeat = consumer_heartbeat("G", "c", &[("U", "*")]);
    heartbeat.consumer_data_set[0].message_model = ferrocket_protocol::body::MessageModel::Broadcasting;
    client.heartbeat(&heartbeat).await;
    let response = client.call(pull_request(&wrong)).await;
    assert_eq!((response.code, forbidden_type(&response)), (response_code::NO_PERMISSION, Some(4)));
    assert_eq!(remark(&response), "the consumer group[G] can not consume by broadcast way");

    client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, r#"{"groupName":"F"}"#).await;
    client.consume("F", "c", &[("U", "*")]).await;
    let response = client.call(pull_request(&PullMessageRequestHeader { consumer_group: Str::from("F"), ..wrong.clone() })).await;
    assert_eq!((response.code, forbidden_type(&response)), (response_code::NO_PERMISSION, Some(5)));
    assert_eq!(remark(&response), "the consumer group[F] is forbidden for topic[T]");

    client.consume("G", "c", &[("U", "*")]).await;
    let response = client.call(pull_request(&wrong)).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_NOT_EXIST);
    assert_eq!(remark(&response), format!("the consumer's subscription not exist{FAQ}"));

    client.consume("G", "c", &[("T", "*")]).await;
    let newer = PullMessageRequestHeader { sub_version: 2, ..wrong.clone() };
    let response = client.call(pull_request(&newer)).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_NOT_LATEST);
    assert_eq!(remark(&response), "the consumer's subscription not latest");

    let unparsable = PullMessageRequestHeader { sys_flag: 4, subscription: Some(Str::from("||")), ..wrong.clone() };
    let response = client.call(pull_request(&unparsable)).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_PARSE_FAILED);
    assert_eq!(remark(&response), "parse the consumer's subscription failed");

    let sql = PullMessageRequestHeader {
        sys_flag: 4,
        subscription: Some(Str::from("a > 1")),
        expression_type: Some(Str::from("SQL92")),
        ..wrong.clone()
    };
    let response = client.call(pull_request(&sql)).await;
    assert_eq!(response.code, response_code::SYSTEM_ERROR);
    assert_eq!(remark(&response), "The broker does not support consumer to filter message by SQL92");

    assert_eq!(client.call(change("rejectPullConsumerEnable=true\n")).await.code, 0);
    let stranger = PullMessageRequestHeader { sys_flag: 4, ..wrong.clone() };
    let mut other = broker.connect().await;
    assert_eq!(other.call(pull_request(&stranger)).await.code, response_code::PULL_NOT_FOUND, "a push group's");
    let mut heartbeat = consumer_heartbeat("G", "c", &[("T", "*")]);
    heartbeat.consumer_data_set[0].consume_type = ferrocket_protocol::body::ConsumeType::ConsumeActively;
    client.heartbeat(&heartbeat).await;
    assert_eq!(other.call(pull_request(&stranger)).await.code, response_code::PULL_NOT_FOUND, "not taken in any more");
    drop(client);
    broker.wait_until(|broker| broker.consumers.mode("G").is_none()).await;
    let response = other.call(pull_request(&stranger)).await;
    assert_eq!(response.code, response_code::SUBSCRIPTION_NOT_EXIST);
    let text = "the consumer's group info not exist, or the pull consumer is rejected by server.";
    assert_eq!(remark(&response), format!("{text}{FAQ}"));
    broker.stop().await;
}

#[tokio::test]
async fn an_arrival_answers_a_held_pull_and_only_a_first_run_commits() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 2);
    let (mut consumer, mut producer) = (broker.connect().await, broker.connect().await);
    consumer.consume("G", "c", &[("T", "*")]).await;
    // The heartbeat's own news.
    consumer.pushed().await;
    producer.send_many("T", 1, 7).await;
    let ahead = PullMessageRequestHeader { sys_flag: 1, commit_offset: 8, ..pull_header("G", "T", 1, 0) };
    consumer.call(pull_request(&ahead)).await;
    assert_eq!(broker.broker.consumer_offsets.committed("G", "T", 1), None, "nobody has consumed what is not there");
    let committing = PullMessageRequestHeader { sys_flag: 3, commit_offset: 7, ..pull_header("G", "T", 1, 7) };
    let held = consumer.begin(pull_request(&committing)).await;
    assert!(!consumer.is_answered(held).await);
    assert_eq!(broker.broker.consumer_offsets.committed("G", "T", 1), Some(7));
    consumer.commit("G", "T", 1, 3).await;
    producer.send("T", 0, "A", "another queue").await;
    assert!(!consumer.is_answered(held).await);
    producer.send("T", 1, "A", "this queue").await;
    assert_eq!(pulled(&consumer.response(held).await), (0, 8, vec!["this queue".to_owned()]));
    assert_eq!(broker.broker.consumer_offsets.committed("G", "T", 1), Some(3), "not committed twice");
    assert_eq!(broker.broker.consumer_offsets.pulled("G", "T", 1), Some(8));
    assert_eq!(broker.broker.hold.waiting_count(), 0);
    broker.stop().await;
}

/// What a held pull goes by is looked up again once groups or topics have changed.
#[tokio::test]
async fn a_held_pull_goes_by_what_holds_when_it_ends() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 3);
    let (groups, offsets) = (&broker.broker.groups, &broker.broker.consumer_offsets);
    let (mut consumer, mut producer) = (broker.connect().await, broker.connect().await);
    let held_pull = |queue_id| PullMessageRequestHeader { sys_flag: 7, ..own_filter("T", queue_id, 0, "*") };

    // The group is deleted with its offsets, and made again on the spot.
    let held = consumer.begin(pull_request(&held_pull(0))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    groups.delete("G");
    offsets.remove_group("G");
    producer.send("T", 0, "A", "after the group").await;
    assert_eq!(pulled(&consumer.response(held).await).2, ["after the group"]);
    assert!(groups.contains("G"));
    assert_eq!((offsets.pulled("G", "T", 0), offsets.committed("G", "T", 0)), (Some(1), None));

    // The group may not consume any more.
    let held = consumer.begin(pull_request(&held_pull(1))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    groups.update(SubscriptionGroupConfig { consume_enable: false, ..SubscriptionGroupConfig::new("G") }).unwrap();
    producer.send("T", 1, "A", "unread").await;
    let refused = consumer.response(held).await;
    assert_eq!((refused.code, remark(&refused)), (response_code::NO_PERMISSION, "subscription group no permission, G"));
    groups.update(SubscriptionGroupConfig::new("G")).unwrap();

    // The topic may only be written.
    let held = consumer.begin(pull_request(&held_pull(2))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    broker.create_topic_with("T", 3, 2);
    producer.send("T", 2, "A", "unread").await;
    let refused = consumer.response(held).await;
    assert_eq!((refused.code, remark(&refused)), (response_code::NO_PERMISSION, "the topic[T] pulling message is forbidden"));
    broker.stop().await;
}

#[tokio::test]
async fn a_held_pull_waits_for_a_tag_that_it_wants() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let (mut consumer, mut producer) = (broker.connect().await, broker.connect().await);
    consumer.consume("G", "c", &[("T", "A")]).await;
    let held = consumer.begin(pull_request(&pull_header("G", "T", 0, 0))).await;
    producer.send("T", 0, "B", "unwanted").await;
    assert!(!consumer.is_answered(held).await);
    producer.send("T", 0, "A", "wanted").await;
    assert_eq!(pulled(&consumer.response(held).await), (0, 2, vec!["wanted".to_owned()]));
    broker.stop().await;
}

#[tokio::test]
async fn a_held_pull_ends_at_its_deadline_and_one_that_may_not_wait_ends_at_once() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "c", &[("T", "*")]).await;
    let impatient = PullMessageRequestHeader { sys_flag: 0, ..pull_header("G", "T", 0, 0) };
    assert_eq!(client.call(pull_request(&impatient)).await.code, response_code::PULL_NOT_FOUND);
    let held = client.begin(pull_request(&pull_header("G", "T", 0, 0))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    clock.advance(Duration::from_millis(14_999));
    assert!(!client.is_answered(held).await);
    clock.advance(Duration::from_millis(1));
    let response = client.response(held).await;
    assert_eq!((response.code, remark(&response)), (response_code::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE"));
    broker.stop().await;
}

/// Nobody waits for a topic that is gone, nor for one of its name that is made later.
#[tokio::test]
async fn a_held_pull_of_a_deleted_topic_is_told_so_at_once() {
    let (setup, _clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "c", &[("T", "*")]).await;
    let held = client.begin(pull_request(&pull_header("G", "T", 0, 0))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    let mut admin = broker.connect().await;
    let mut delete = RemotingCommand::request(request_code::DELETE_TOPIC_IN_BROKER);
    delete.ext_fields.insert("topic", "T");
    assert_eq!(admin.call(delete).await.code, response_code::SUCCESS);
    assert_eq!(client.response(held).await.code, response_code::TOPIC_NOT_EXIST);
    broker.stop().await;
}

#[tokio::test]
async fn without_long_polling_a_pull_waits_for_a_second_and_hears_no_arrival() {
    let (setup, clock) = Setup::new().config(|config| config.long_polling_enable = false).manual_clock();
    let broker = setup.start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "c", &[("T", "*")]).await;
    let held = client.begin(pull_request(&pull_header("G", "T", 0, 0))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    client.send("T", 0, "A", "in between").await;
    assert!(!client.is_answered(held).await);
    clock.advance(Duration::from_secs(1));
    assert_eq!(pulled(&client.response(held).await).2, ["in between"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_reset_by_an_administrator_ends_in_the_next_pull() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    for body in ["0", "1", "2"] {
        client.send("T", 0, "A", body).await;
    }
    client.consume("G", "c", &[("T", "*")]).await;
    client.commit("G", "T", 0, 3).await;
    let header = ferrocket_protocol::header::ResetOffsetRequestHeader {
        topic: Str::from("T"),
        group: Str::from("G"),
        queue_id: 0,
        offset: Some(1),
        ..Default::default()
    };
    let response = client.call_with(request_code::INVOKE_BROKER_TO_RESET_OFFSET, &header).await;
    assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
    assert_eq!(&response.body[..], br#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:1}}"#);

    let ignored = client.commit("G", "T", 0, 3).await;
    assert_eq!((ignored.code, remark(&ignored)), (response_code::SUCCESS, "Offset has been previously reset"));
    let moved = client.call(pull_request(&pull_header("G", "T", 0, 3))).await;
    assert_eq!((pulled(&moved).0, pulled(&moved).1), (response_code::PULL_OFFSET_MOVED, 1));
    assert_eq!(remark(&moved), "OFFSET_RESET");
    let next = client.call(pull_request(&pull_header("G", "T", 0, 1))).await;
    assert_eq!(pulled(&next).2, ["1", "2"]);
    broker.stop().await;
}

/// The connection that holds pulls reads on: nothing on it waits behind another, and its sends share group commits.
#[tokio::test]
async fn a_connection_holds_pulls_while_heartbeats_and_flushed_sends_go_through() {
    const PULLS: usize = 32;
    const SENDS: usize = 1_000;
    // A busy machine may take longer over a thousand sends than a broker would let them wait.
    let broker = Setup::new().config(|config| config.wait_time_mills_in_send_queue = 60_000).sync_flush().start().await;
    broker.create_topic("QUIET", PULLS as i32);
    broker.create_topic("BUSY", 4);
    let mut client = broker.connect().await;
    client.consume("G", "c", &[("QUIET", "*")]).await;
    let header = |queue_id| PullMessageRequestHeader { suspend_timeout_millis: 15_000, ..pull_header("G", "QUIET", queue_id as i32, 0) };
    let held = client.begin_all((0..PULLS).map(|queue_id| pull_request(&header(queue_id)))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == PULLS).await;

    let began = std::time::Instant::now();
    let sends = client.begin_all((0..SENDS).map(|turn| send_request("BUSY", turn as i32 % 4, "", "x"))).await;
    client.heartbeat(&consumer_heartbeat("G", "c", &[("QUIET", "*")])).await;
    for opaque in sends {
        assert_eq!(client.response(opaque).await.code, response_code::SUCCESS);
    }
    let took = began.elapsed();
    // One flush for each would take seconds on any disk that keeps its word; sharing them takes a fraction of that.
    assert!(took < Duration::from_secs(12), "1,000 flushed sends took {took:?}");
    assert_eq!(broker.broker.hold.waiting_count(), PULLS, "all pulls still wait");
    for opaque in &held {
        assert!(!client.is_answered(*opaque).await);
    }
    let mut producer = broker.connect().await;
    for queue_id in 0..PULLS {
        producer.send("QUIET", queue_id as i32, "A", &queue_id.to_string()).await;
    }
    for (queue_id, opaque) in held.into_iter().enumerate() {
        assert_eq!(pulled(&client.response(opaque).await).2, [queue_id.to_string()]);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_is_held_and_offsets_survive_it() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "c", &[("T", "*")]).await;
    client.send("T", 0, "A", "kept").await;
    client.commit("G", "T", 0, 1).await;
    let held = client.begin(pull_request(&pull_header("G", "T", 0, 1))).await;
    broker.wait_until(|broker| broker.hold.waiting_count() == 1).await;
    let stopping = tokio::spawn(broker.stop());
    assert_eq!(client.response(held).await.code, response_code::PULL_NOT_FOUND);
    drop(client);
    let broker = stopping.await.unwrap().start().await;
    assert_eq!(broker.broker.consumer_offsets.current("G", "T", 0), Some(1));
    assert!(broker.broker.groups.contains("G"));
    let mut client = broker.connect().await;
    assert_eq!(pulled(&client.call(pull_request(&own_filter("T", 0, 0, "*"))).await).2, ["kept"]);
    broker.stop().await;
}

/// A pull brings any expression, and what it says is remembered for minutes: neither may be of any size.
#[tokio::test]
async fn expressions_of_pulls_are_bounded_one_by_one_and_together() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    let pull = |group: String, expression: String| {
        let header = PullMessageRequestHeader { sys_flag: 4, subscription: Some(Str::from(expression)), ..pull_header("G", "T", 0, 0) };
        pull_request(&PullMessageRequestHeader { consumer_group: Str::from(group), ..header })
    };
    let tags = |bytes: usize| (0..).map(|tag| format!("{tag:x}")).take(bytes / 8).collect::<Vec<_>>().join("||");
    let refused = client.call(pull("G".to_owned(), tags(1 << 20))).await;
    assert_eq!(refused.code, response_code::SUBSCRIPTION_PARSE_FAILED);
    let allowed = tags(32 * 1024);
    for number in 0..100 {
        let response = client.call(pull(format!("G{number}"), allowed.clone())).await;
        assert_eq!(response.code, response_code::PULL_NOT_FOUND, "read anew each time, if need be");
    }
    let remembered = (0..100).filter(|number| broker.broker.consumers.pulled_subscription(&format!("G{number}"), "T").is_some()).count();
    assert!((10..90).contains(&remembered), "{remembered} of 100 are remembered");
    broker.stop().await;
}
