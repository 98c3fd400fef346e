// SPDX-License-Identifier: Apache-2.0
//! Transactions by a clock that the test drives: half messages, how they end, who is asked about them, and what a stop leaves behind.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, and it reads files")]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::runtime::ManualClock;
use ferrocket::store::{MemoryFs, Operation};
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::header::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader, PullMessageRequestHeader, ResumeCheckHalfMessageRequestHeader,
};
use ferrocket_protocol::message::id::parse_offset_id;
use ferrocket_protocol::message::{MessageInner, MessageView, properties};
use ferrocket_protocol::{RemotingCommand, Str, request_code, response_code};
use support::{Client, Setup, TestBroker, java_request, remark};

const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
const GROUP: &str = "CID_RMQ_SYS_TRANS";
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
const UNKNOWN: i32 = 0;

/// Where a half message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    queue_offset: i64,
    physical_offset: i64,
}

async fn prepare_with(client: &mut Client, topic: &str, queue_id: i32, pairs: &[(&str, &str)], body: &str) -> Place {
    let mut all = vec![("UNIQ_KEY", body), ("TRAN_MSG", "true"), ("PGROUP", "P"), ("TAGS", "TagA")];
    all.extend(pairs);
    let mut header = support::send_header(topic, queue_id, &all);
    header.sys_flag = 4;
    header.flag = 7;
    let request = java_request(request_code::SEND_MESSAGE).with_header(&header).with_body(Bytes::copy_from_slice(body.as_bytes()));
    let answer = client.call(request).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    let sent: SendMessageResponseHeader = answer.header().unwrap();
    assert_eq!((sent.queue_id, sent.transaction_id.as_deref()), (queue_id, Some(body)));
    let (_, physical_offset) = parse_offset_id(&sent.msg_id).unwrap();
    Place { queue_offset: sent.queue_offset, physical_offset }
}

async fn prepare(client: &mut Client, body: &str) -> Place {
    prepare_with(client, "orders", 3, &[], body).await
}

fn end_header(place: Place, decision: i32) -> EndTransactionRequestHeader {
    EndTransactionRequestHeader {
        producer_group: Str::from("P"),
        tran_state_table_offset: place.queue_offset,
        commit_log_offset: place.physical_offset,
        commit_or_rollback: decision,
        msg_id: Str::from("key"),
        ..Default::default()
    }
}

async fn ask_end(client: &mut Client, header: &EndTransactionRequestHeader) -> RemotingCommand {
    client.call_with(request_code::END_TRANSACTION, header).await
}

async fn end(client: &mut Client, place: Place, decision: i32) {
    let answer = ask_end(client, &end_header(place, decision)).await;
    assert_eq!((answer.code, remark(&answer)), (response_code::SUCCESS, ""));
}

/// The record of one message of a queue.
fn record(broker: &TestBroker, topic: &str, queue_id: i32, offset: i64) -> Bytes {
    let unit = broker.broker.store.consume_queue_unit(topic, queue_id, offset).unwrap().expect("a message there");
    broker.broker.store.look_message(unit.physical_offset).unwrap().expect("its record")
}

fn max(broker: &TestBroker, topic: &str, queue_id: i32) -> i64 {
    broker.broker.store.max_offset(topic, queue_id)
}

async fn start() -> (TestBroker, ManualClock) {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 4);
    (broker, clock)
}

/// A producer of group P, ready to be asked.
async fn producer(broker: &TestBroker, client_id: &str) -> Client {
    let mut client = broker.connect().await;
    client.heartbeat(&support::producer_heartbeat("P", client_id)).await;
    client
}

/// The next question, with the record in its body.
async fn asked(client: &mut Client) -> (CheckTransactionStateRequestHeader, Bytes) {
    let request = client.pushed().await;
    assert_eq!(request.code, request_code::CHECK_TRANSACTION_STATE);
    assert!(request.is_oneway());
    (request.header().unwrap(), request.body)
}

fn place_asked(header: &CheckTransactionStateRequestHeader) -> Place {
    Place { queue_offset: header.tran_state_table_offset, physical_offset: header.commit_log_offset }
}

fn answer_of(header: &CheckTransactionStateRequestHeader, decision: i32) -> EndTransactionRequestHeader {
    EndTransactionRequestHeader { from_transaction_check: true, ..end_header(place_asked(header), decision) }
}

async fn pass(broker: &TestBroker, clock: &ManualClock, millis: u64) {
    broker.advance(clock, Duration::from_millis(millis)).await;
}

/// TransactionalMessageBridge.java#parseHalfMessageInner, EndTransactionProcessor.java#endMessageTransaction; bytes seen on 5.5.0.
#[tokio::test]
async fn a_half_message_is_seen_when_it_is_committed() {
    let (broker, _clock) = start().await;
    let mut client = broker.connect().await;
    let place = prepare(&mut client, "m").await;
    assert_eq!((place.queue_offset, max(&broker, "orders", 3)), (0, 0), "not seen before");

    let half = record(&broker, HALF, 0, 0);
    let half = MessageView::decode(&half).unwrap();
    assert_eq!((half.queue_id, half.sys_flag, half.physical_offset), (0, 0, place.physical_offset));
    let names = ["REAL_TOPIC", "REAL_QID", "__transactionId__", "TRAN_MSG", "PGROUP", "UNIQ_KEY"];
    assert_eq!(names.map(|name| half.property(name)), [Some("orders"), Some("3"), Some("m"), Some("true"), Some("P"), Some("m")]);

    end(&mut client, place, COMMIT).await;
    let seen = record(&broker, "orders", 3, 0);
    let seen = MessageView::decode(&seen).unwrap();
    assert_eq!((seen.body, seen.flag, seen.sys_flag), (&b"m"[..], 7, COMMIT));
    assert_eq!(seen.prepared_transaction_offset, place.physical_offset);
    assert_eq!((seen.born_host, seen.store_host, seen.born_timestamp), (half.born_host, half.store_host, half.born_timestamp));
    assert_eq!(names.map(|name| seen.property(name)), [None, None, Some("m"), Some("true"), Some("P"), Some("m")]);
    let unit = broker.broker.store.consume_queue_unit("orders", 3, 0).unwrap().unwrap();
    assert_eq!(unit.tags_code, 2_598_919, "filtered by its tag");
    assert_eq!(broker.broker.transactions.open_count(), 0);
}

#[tokio::test]
async fn a_transaction_ends_once() {
    let (broker, _clock) = start().await;
    let mut client = broker.connect().await;
    let (committed, rolled_back, open) =
        (prepare(&mut client, "c").await, prepare(&mut client, "r").await, prepare(&mut client, "o").await);
    end(&mut client, committed, COMMIT).await;
    end(&mut client, rolled_back, ROLLBACK).await;
    // The original writes the message again, and brings back what was rolled back.
    for decision in [COMMIT, ROLLBACK, COMMIT] {
        end(&mut client, committed, decision).await;
        end(&mut client, rolled_back, decision).await;
    }
    assert_eq!((max(&broker, "orders", 3), broker.broker.transactions.open_count()), (1, 1));
    assert_eq!(broker.broker.transactions.counted("orders"), 1);

    // The producer does not know yet: no answer.
    let opaque = client.begin(RemotingCommand::request_with(request_code::END_TRANSACTION, &end_header(open, UNKNOWN))).await;
    assert!(!client.is_answered(opaque).await);
    assert_eq!(broker.broker.transactions.open_count(), 1);
    end(&mut client, open, COMMIT).await;
    assert_eq!(max(&broker, "orders", 3), 2);
}

/// EndTransactionProcessor.java#checkPrepareMessage; texts seen on 5.5.0. What is no half message fails there by a null pointer.
#[tokio::test]
async fn an_end_that_names_no_open_half_is_refused() {
    let (broker, _clock) = start().await;
    let mut client = broker.connect().await;
    let place = prepare(&mut client, "m").await;
    let plain = client.send("orders", 0, "", "plain").await;
    let (_, plain_at) = parse_offset_id(&plain.msg_id).unwrap();
    let header = || end_header(place, COMMIT);
    let not_found = "Find prepared transaction message failed";
    for (header, text) in [
        (
            EndTransactionRequestHeader { producer_group: Str::from("Q"), tran_state_table_offset: 9, ..header() },
            "The producer group wrong",
        ),
        (EndTransactionRequestHeader { tran_state_table_offset: 9, ..header() }, "The transaction state table offset wrong"),
        (EndTransactionRequestHeader { commit_log_offset: place.physical_offset + 1, ..header() }, not_found),
        (EndTransactionRequestHeader { commit_log_offset: 1 << 40, ..header() }, not_found),
        (EndTransactionRequestHeader { commit_log_offset: i64::MAX, ..header() }, not_found),
        (EndTransactionRequestHeader { commit_log_offset: -1, ..header() }, not_found),
        (EndTransactionRequestHeader { commit_log_offset: plain_at, ..header() }, "The producer group wrong"),
    ] {
        for decision in [COMMIT, ROLLBACK] {
            let answer = ask_end(&mut client, &EndTransactionRequestHeader { commit_or_rollback: decision, ..header.clone() }).await;
            assert_eq!((answer.code, remark(&answer)), (response_code::SYSTEM_ERROR, text), "{header:?}");
        }
    }
    let wrong_decision = ask_end(&mut client, &end_header(place, 4)).await;
    assert_eq!((wrong_decision.code, remark(&wrong_decision)), (response_code::SYSTEM_ERROR, "commitOrRollback field wrong"));
    let mut missing = RemotingCommand::request_with(request_code::END_TRANSACTION, &header());
    missing.ext_fields.remove("commitLogOffset");
    assert_eq!(client.call(missing).await.code, response_code::SYSTEM_ERROR);

    // A consumer's own message that claims to be of the group is no half message either.
    let claims = support::send_header("orders", 0, &[("PGROUP", "P"), ("UNIQ_KEY", "claims")]);
    let answer = client.call(java_request(request_code::SEND_MESSAGE).with_header(&claims).with_body("x")).await;
    let sent: SendMessageResponseHeader = answer.header().unwrap();
    let claimed = Place { queue_offset: sent.queue_offset, physical_offset: parse_offset_id(&sent.msg_id).unwrap().1 };
    assert_eq!(ask_end(&mut client, &end_header(claimed, COMMIT)).await.code, response_code::SYSTEM_ERROR);
    assert_eq!((max(&broker, "orders", 0), max(&broker, "orders", 3)), (2, 0), "nothing was written");
    assert_eq!(broker.broker.transactions.open_count(), 1);
}

/// SendMessageProcessor.java#sendMessage: `rejectTransactionMessage`.
#[tokio::test]
async fn a_broker_may_refuse_half_messages() {
    let broker = Setup::new().config(|config| config.reject_transaction_message = true).start().await;
    let mut client = broker.connect().await;
    let header = support::send_header("orders", 0, &[("TRAN_MSG", "true")]);
    let answer = client.call(java_request(request_code::SEND_MESSAGE).with_header(&header).with_body("x")).await;
    let text = "the broker[127.0.0.1] sending transaction message is forbidden";
    assert_eq!((answer.code, remark(&answer)), (response_code::NO_PERMISSION, text));
}

/// The original delays the half message itself, and its schedule then drops it.
#[tokio::test]
async fn a_delayed_half_message_is_delayed_when_it_is_committed() {
    let (broker, clock) = start().await;
    let mut client = broker.connect().await;
    let place = prepare_with(&mut client, "orders", 3, &[("DELAY", "1")], "late").await;
    pass(&broker, &clock, 2_000).await;
    end(&mut client, place, COMMIT).await;
    assert_eq!((max(&broker, "SCHEDULE_TOPIC_XXXX", 0), max(&broker, "orders", 3)), (1, 0));
    pass(&broker, &clock, 1_000).await;
    broker.wait_until(|broker| broker.store.max_offset("orders", 3) == 1).await;
    assert_eq!(MessageView::decode(&record(&broker, "orders", 3, 0)).unwrap().body, b"late");
}

/// AbstractTransactionalMessageCheckListener.java#sendCheckMessage.
#[tokio::test]
async fn a_producer_is_asked_until_it_decides() {
    let (broker, clock) = start().await;
    let mut asked_one = producer(&broker, "c1").await;
    let place = prepare(&mut asked_one, "m").await;
    pass(&broker, &clock, 5_900).await;
    assert!(!asked_one.has_pushed().await, "transactionTimeOut has not passed");
    pass(&broker, &clock, 200).await;
    let (header, body) = asked(&mut asked_one).await;
    assert_eq!(place_asked(&header), place);
    assert_eq!((header.msg_id.as_deref(), header.transaction_id.as_deref()), (Some("m"), Some("m")));
    assert_eq!((header.topic.as_deref(), header.broker_name.as_deref()), (Some(HALF), Some("broker-a")));
    assert_eq!(parse_offset_id(header.offset_msg_id.as_deref().unwrap()), Some((broker.addr, place.physical_offset)));
    let view = MessageView::decode(&body).unwrap();
    assert_eq!((view.topic, view.queue_id, view.body, view.total_bytes()), ("orders", 3, &b"m"[..], body.len()));
    assert_eq!((view.queue_offset, view.physical_offset), (place.queue_offset, place.physical_offset));
    assert_eq!((view.property("PGROUP"), view.property("TRANSACTION_CHECK_TIMES")), (Some("P"), Some("1")));
    assert!(view.has_valid_body_crc());

    // Still unknown: asked again one interval later, and not before.
    ask_end_silently(&mut asked_one, &answer_of(&header, UNKNOWN)).await;
    pass(&broker, &clock, 29_000).await;
    assert!(!asked_one.has_pushed().await);
    // The first one died; another member of the group lives.
    asked_one.close().await;
    broker.wait_until(|broker| broker.producers.available_channel("P").is_none()).await;
    let mut other = producer(&broker, "c2").await;
    pass(&broker, &clock, 1_000).await;
    let (header, body) = asked(&mut other).await;
    assert_eq!(MessageView::decode(&body).unwrap().property("TRANSACTION_CHECK_TIMES"), Some("2"));
    let answer = ask_end(&mut other, &answer_of(&header, COMMIT)).await;
    assert_eq!(answer.code, response_code::SUCCESS);
    let seen = record(&broker, "orders", 3, 0);
    assert_eq!(MessageView::decode(&seen).unwrap().property("TRANSACTION_CHECK_TIMES"), Some("2"));
    pass(&broker, &clock, 60_000).await;
    assert!(!other.has_pushed().await, "decided");
}

async fn ask_end_silently(client: &mut Client, header: &EndTransactionRequestHeader) {
    let opaque = client.begin(RemotingCommand::request_with(request_code::END_TRANSACTION, header)).await;
    assert!(!client.is_answered(opaque).await);
}

/// EndTransactionProcessor.java#rejectCommitOrRollback. The original counts rounds within the immunity as checks, and gives a
/// message up that may not be asked about yet.
#[tokio::test]
async fn a_message_may_ask_for_time_of_its_own() {
    let (broker, clock) = start().await;
    let mut client = producer(&broker, "c").await;
    let place = prepare_with(&mut client, "orders", 3, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "3600")], "m").await;
    for _ in 0..35 {
        pass(&broker, &clock, 100_000).await;
        client.heartbeat(&support::producer_heartbeat("P", "c")).await;
    }
    assert!(!client.has_pushed().await, "still immune");
    pass(&broker, &clock, 100_100).await;
    let (header, _) = asked(&mut client).await;
    // Now only an answer to the question counts.
    let late = ask_end(&mut client, &end_header(place, COMMIT)).await;
    assert_eq!((late.code, max(&broker, "orders", 3)), (response_code::ILLEGAL_OPERATION, 0));
    assert_eq!(ask_end(&mut client, &answer_of(&header, COMMIT)).await.code, response_code::SUCCESS);
    assert_eq!(max(&broker, "orders", 3), 1);
}

/// DefaultTransactionalMessageCheckListener.java#resolveDiscardMsg, AdminBrokerProcessor.java#resumeCheckHalfMessage.
#[tokio::test]
async fn a_half_that_nobody_decides_about_is_given_up_and_can_be_taken_up_again() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.config(|config| config.transaction_check_max = 2).start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    prepare(&mut client, "m").await;
    // Nobody is there to be asked: it counts all the same.
    for millis in [6_100, 30_100] {
        pass(&broker, &clock, millis).await;
        assert_eq!(max(&broker, GIVEN_UP, 0), 0);
    }
    pass(&broker, &clock, 30_100).await;
    broker.wait_until(|broker| broker.store.max_offset(GIVEN_UP, 0) == 1).await;
    broker.wait_until(|broker| broker.topics.get(GIVEN_UP).is_some_and(|topic| topic.read_queue_nums == 1)).await;
    assert_eq!((broker.broker.transactions.open_count(), broker.broker.transactions.counted("orders")), (0, 0));
    let given_up = record(&broker, GIVEN_UP, 0, 0);
    let view = MessageView::decode(&given_up).unwrap();
    assert_eq!((view.property("REAL_TOPIC"), view.property("TRANSACTION_CHECK_TIMES")), (Some("orders"), Some("2")));

    let mut client = producer(&broker, "c").await;
    let at = ferrocket_protocol::message::id::offset_id(broker.addr, view.physical_offset);
    let header = ResumeCheckHalfMessageRequestHeader { msg_id: Some(Str::copy_from(at.as_str())), ..Default::default() };
    assert_eq!(client.call_with(request_code::RESUME_CHECK_HALF_MESSAGE, &header).await.code, response_code::SUCCESS);
    pass(&broker, &clock, 6_100).await;
    let (header, body) = asked(&mut client).await;
    assert_eq!(MessageView::decode(&body).unwrap().property("TRANSACTION_CHECK_TIMES"), Some("1"));
    assert_eq!(ask_end(&mut client, &answer_of(&header, COMMIT)).await.code, response_code::SUCCESS);
    assert_eq!(max(&broker, "orders", 3), 1);

    for id in ["zz", "", "7F000001000060860000FFFFFFFFFFFF"] {
        let header = ResumeCheckHalfMessageRequestHeader { msg_id: Some(Str::copy_from(id)), ..Default::default() };
        let answer = client.call_with(request_code::RESUME_CHECK_HALF_MESSAGE, &header).await;
        let text = "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.";
        assert_eq!((answer.code, remark(&answer)), (response_code::SYSTEM_ERROR, text), "{id}");
    }
}

#[tokio::test]
async fn what_is_older_than_the_log_is_kept_is_given_up_unasked() {
    let (broker, clock) = start().await;
    let mut client = producer(&broker, "c").await;
    prepare_with(&mut client, "orders", 3, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "260000")], "m").await;
    pass(&broker, &clock, 260_000_100).await;
    broker.wait_until(|broker| broker.store.max_offset(GIVEN_UP, 0) == 1).await;
}

/// What the original reads at its start: op messages, and its places in both queues.
#[tokio::test]
async fn a_stop_leaves_what_the_original_needs() {
    let (broker, clock) = start().await;
    let mut client = broker.connect().await;
    let mut places = Vec::new();
    for body in ["a", "b", "c", "d"] {
        places.push(prepare(&mut client, body).await);
    }
    end(&mut client, places[0], COMMIT).await;
    end(&mut client, places[1], ROLLBACK).await;
    pass(&broker, &clock, 3_100).await;
    broker.wait_until(|broker| broker.store.max_offset(OP, 0) == 1).await;
    let op = record(&broker, OP, 0, 0);
    let op = MessageView::decode(&op).unwrap();
    assert_eq!((op.body, op.sys_flag, op.born_host), (&b"0,1,"[..], 0, broker.addr));
    assert_eq!(op.properties, b"WAIT\x01true\x02TAGS\x01d\x02");
    end(&mut client, places[3], COMMIT).await;
    drop(client);

    let setup = broker.stop().await;
    let read = |name: &str| std::fs::read_to_string(setup.folder().join("config").join(name)).unwrap();
    let offsets = read("consumerOffset.json");
    for (topic, offset) in [(HALF, 2), (OP, 1)] {
        let entry = format!("\"{topic}@{GROUP}\":{{\n\t\t\t0:{offset}\n\t\t}}");
        assert!(offsets.contains(&entry), "{entry} in {offsets}");
    }
    let metrics = read("transactionMetrics");
    assert!(metrics.contains("\"transactionCount\":{\"orders\":{\"count\":1,\"timeStamp\":"), "{metrics}");

    // The op message of the last end was written by the stop.
    let setup = setup.with_clock(&clock);
    let broker = setup.start().await;
    assert_eq!(MessageView::decode(&record(&broker, OP, 0, 1)).unwrap().body, b"3,");
    assert_eq!(broker.broker.transactions.open_count(), 1);
    let mut client = producer(&broker, "c").await;
    pass(&broker, &clock, 31_000).await;
    let (header, _) = asked(&mut client).await;
    assert_eq!(place_asked(&header), places[2]);
    assert!(!client.has_pushed().await, "only one is open");
    // Its own end, late, after the restart.
    end(&mut client, places[2], COMMIT).await;
    assert_eq!(max(&broker, "orders", 3), 3);
}

/// The original starts without them too. What no broker can be without still refuses: see `persist`.
#[tokio::test]
async fn figures_that_are_damaged_keep_no_broker_from_starting() {
    let (broker, _) = start().await;
    let mut client = broker.connect().await;
    prepare(&mut client, "a").await;
    drop(client);
    let setup = broker.stop().await;
    let file = |name: &str| setup.folder().join(name);
    std::fs::write(file("config/transactionMetrics"), "{half").unwrap();
    std::fs::write(file("config/transactionMetrics.bak"), "[]").unwrap();
    std::fs::remove_file(file("ferrocket.halves")).unwrap();
    std::fs::create_dir(file("ferrocket.halves")).unwrap();
    let broker = setup.start().await;
    assert_eq!(broker.broker.transactions.open_count(), 1, "the log says so");
}

fn original(broker: &TestBroker, topic: &'static str, body: &str, pairs: &[(&str, &str)]) -> i64 {
    let put = broker.broker.store.put_message(&MessageInner {
        topic: Str::from_static(topic),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_795_219_808_000,
        born_host: broker.addr,
        store_host: broker.addr,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::copy_from_slice(body.as_bytes()),
        properties: properties::encode(pairs.iter().copied()).into(),
        tags_code: 0,
    });
    assert!(put.status.is_stored());
    put.queue_offset
}

/// The original stores a half again with each check, and moves its place past the first copy; op messages before 5.x name one half.
#[tokio::test]
async fn what_the_original_left_open_is_settled_here() {
    let (broker, clock) = start().await;
    let half = |body: &str, checks: &str| {
        let pairs = [("UNIQ_KEY", body), ("PGROUP", "P"), ("REAL_TOPIC", "orders"), ("REAL_QID", "3"), ("TRANSACTION_CHECK_TIMES", checks)];
        original(&broker, HALF, body, &pairs)
    };
    assert_eq!((half("asked", "0"), half("old op", "0"), half("batch", "0"), half("batch2", "0")), (0, 1, 2, 3));
    assert_eq!(half("asked", "1"), 4);
    original(&broker, OP, "1", &[("TAGS", "d")]);
    original(&broker, OP, "2,3,", &[("TAGS", "d")]);
    assert_eq!(half("never asked", "0"), 5);
    broker.broker.consumer_offsets.commit(GROUP, HALF, 0, 1, 500);
    broker.broker.consumer_offsets.commit(GROUP, OP, 0, 0, 500);
    let folder = broker.folder().to_owned();
    let setup = broker.stop().await.with_clock(&clock);
    let _ = std::fs::remove_file(folder.join("ferrocket.halves"));

    let broker = setup.start().await;
    assert_eq!(broker.broker.transactions.open_count(), 2);
    let mut client = producer(&broker, "c").await;
    pass(&broker, &clock, 31_000).await;
    for (body, checks) in [(&b"asked"[..], "2"), (b"never asked", "1")] {
        let (header, record) = asked(&mut client).await;
        let view = MessageView::decode(&record).unwrap();
        assert_eq!((view.body, view.property("TRANSACTION_CHECK_TIMES")), (body, Some(checks)));
        assert_eq!(ask_end(&mut client, &answer_of(&header, COMMIT)).await.code, response_code::SUCCESS);
    }
    assert_eq!(max(&broker, "orders", 3), 2);
}

/// A copy is all that counts of its half; after a kill the original's place in the queue may be older than its copies.
#[tokio::test]
async fn copies_that_a_killed_original_made_are_one_transaction() {
    let (broker, clock) = start().await;
    let half = |body: &str, more: &[(&str, &str)]| {
        let pairs = [("UNIQ_KEY", body), ("PGROUP", "P"), ("REAL_TOPIC", "orders"), ("REAL_QID", "3")];
        original(&broker, HALF, body, &[&pairs[..], more].concat())
    };
    assert_eq!((half("ended", &[]), half("open", &[]), half("alone", &[])), (0, 1, 2));
    assert_eq!((half("ended", &[("TRANSACTION_CHECK_TIMES", "1")]), half("open", &[("TRAN_PREPARED_QUEUE_OFFSET", "1")])), (3, 4));
    assert_eq!(half("ended", &[("TRANSACTION_CHECK_TIMES", "2")]), 5);
    original(&broker, OP, "5,", &[("TAGS", "d")]);
    let folder = broker.folder().to_owned();
    let setup = broker.stop().await.with_clock(&clock);
    let _ = std::fs::remove_file(folder.join("ferrocket.halves"));

    let broker = setup.start().await;
    assert_eq!(broker.broker.transactions.open_count(), 2);
    let mut client = producer(&broker, "c").await;
    pass(&broker, &clock, 31_000).await;
    for body in [&b"alone"[..], b"open"] {
        let (header, record) = asked(&mut client).await;
        assert_eq!(MessageView::decode(&record).unwrap().body, body);
        assert_eq!(ask_end(&mut client, &answer_of(&header, COMMIT)).await.code, response_code::SUCCESS);
    }
    assert!(!client.has_pushed().await);
    assert_eq!(max(&broker, "orders", 3), 2);
    // A broker of the original is told, should it be the next one.
    let op = record(&broker, OP, 0, 1);
    assert_eq!(MessageView::decode(&op).unwrap().body, b"0,1,3,");
}

/// With SYNC_FLUSH the answer says that the committed message is on the disk, and only then it is read.
#[tokio::test]
async fn a_commit_waits_for_the_disk_like_a_send() {
    let broker = Setup::new().sync_flush().start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let place = prepare(&mut client, "m").await;
    end(&mut client, place, COMMIT).await;
    assert!(broker.broker.store.flushed_offset() >= place.physical_offset);
    assert_eq!((max(&broker, "orders", 3), broker.broker.store.flushed_offset()), (1, broker.broker.store.max_phy_offset()));
}

/// An end that the store does not take down at its time is taken down later: a broker of the original would ask about the half again.
#[tokio::test]
async fn an_end_that_could_not_be_written_down_is_written_down_later() {
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().on(&fs).manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let place = prepare(&mut client, "m").await;
    end(&mut client, place, ROLLBACK).await;
    fs.fail(Operation::Create, "consumequeue", ErrorKind::StorageFull, usize::MAX);
    broker.broker.store.run_maintenance();
    for is_full in [true, false] {
        assert_ne!(broker.broker.store.is_writable(), is_full);
        for _ in 0..6 {
            pass(&broker, &clock, 1_000).await;
        }
        assert_eq!(max(&broker, OP, 0), i64::from(!is_full));
        fs.heal();
        broker.broker.store.run_maintenance();
    }
    broker.stop().await;
}

/// The commit is refused, the half stays open, and the same commit comes through when there is room again.
#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_a_commit_leaves_the_half_open() {
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().on(&fs).manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let place = prepare(&mut client, "half").await;
    for operation in [Operation::Create, Operation::Reserve] {
        fs.fail(operation, "commitlog", ErrorKind::StorageFull, usize::MAX);
    }
    // What a large message leaves of the last file may hold a small one.
    for body_bytes in [2 << 20, 64 << 10, 2 << 10, 1] {
        let filling = support::send_request("orders", 0, "", &"m".repeat(body_bytes));
        let mut sent = 0;
        while client.call(filling.clone()).await.code == response_code::SUCCESS {
            sent += 1;
            assert!(sent < 100, "a full disk took {sent} messages of {body_bytes} bytes");
        }
    }
    let refused = ask_end(&mut client, &end_header(place, COMMIT)).await;
    let refusals = [response_code::SERVICE_NOT_AVAILABLE, response_code::SYSTEM_ERROR];
    assert!(refusals.contains(&refused.code), "{} {:?}", refused.code, refused.remark);
    assert_eq!(max(&broker, "orders", 3), 0);

    fs.heal();
    pass(&broker, &clock, 61_000).await;
    broker.wait_until(|broker| broker.store.is_writable()).await;
    end(&mut client, place, COMMIT).await;
    assert_eq!(max(&broker, "orders", 3), 1);
}

fn forget_snapshot(broker: &Setup) {
    std::fs::remove_file(broker.folder().join("ferrocket.halves")).unwrap();
}

/// The offset of CID_RMQ_SYS_TRANS that stands in `consumerOffset.json` may be wrong: 15 used to let anybody write it.
#[tokio::test]
async fn a_half_that_nothing_is_known_of_is_not_taken_for_ended() {
    let (broker, clock) = start().await;
    let mut client = broker.connect().await;
    let mut places = Vec::new();
    for body in ["committed", "rolled back", "a", "b"] {
        places.push(prepare(&mut client, body).await);
    }
    end(&mut client, places[0], COMMIT).await;
    end(&mut client, places[1], ROLLBACK).await;
    drop(client);
    let setup = broker.stop().await.with_clock(&clock);
    forget_snapshot(&setup);
    let file = setup.folder().join("config/consumerOffset.json");
    let offsets = std::fs::read_to_string(&file).unwrap();
    let (true_mark, forged) = (format!("\"{HALF}@{GROUP}\":{{\n\t\t\t0:2"), format!("\"{HALF}@{GROUP}\":{{\n\t\t\t0:4"));
    assert!(offsets.contains(&true_mark), "{offsets}");
    std::fs::write(&file, offsets.replace(&true_mark, &forged)).unwrap();

    let broker = setup.start().await;
    assert_eq!((broker.broker.transactions.open_count(), max(&broker, "orders", 3)), (0, 1));
    let mut client = broker.connect().await;
    // Op messages name these two.
    end(&mut client, places[0], COMMIT).await;
    end(&mut client, places[1], COMMIT).await;
    assert_eq!(max(&broker, "orders", 3), 1);
    for _ in 0..2 {
        end(&mut client, places[2], COMMIT).await;
        assert_eq!(max(&broker, "orders", 3), 2, "it is there, and once");
        end(&mut client, places[3], ROLLBACK).await;
    }
    end(&mut client, places[3], COMMIT).await;
    assert_eq!(max(&broker, "orders", 3), 2, "the first end counts");
    drop(client);

    // So it is after a stop, with the snapshot and without it.
    let mut setup = broker.stop().await.with_clock(&clock);
    for has_snapshot in [true, false] {
        if !has_snapshot {
            forget_snapshot(&setup);
        }
        let broker = setup.start().await;
        let mut client = broker.connect().await;
        for place in &places {
            end(&mut client, *place, COMMIT).await;
        }
        assert_eq!(max(&broker, "orders", 3), 2, "{has_snapshot}");
        drop(client);
        setup = broker.stop().await.with_clock(&clock);
    }
}

/// A sector in the middle of the log is gone: what lies behind it is still asked about and ended.
#[tokio::test]
async fn damage_in_the_log_hides_no_open_half() {
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().on(&fs).manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let before = prepare(&mut client, "before").await;
    let damaged = client.send("orders", 0, "", "damaged").await;
    let (_, damaged_at) = parse_offset_id(&damaged.msg_id).unwrap();
    let behind = prepare(&mut client, "behind").await;
    let ended = prepare(&mut client, "ended").await;
    end(&mut client, ended, COMMIT).await;
    drop(client);
    let setup = broker.stop().await.with_clock(&clock);
    fs.shared().remove_file(&setup.folder().join("ferrocket.halves")).unwrap();
    fs.damage(&setup.folder().join("commitlog/00000000000000000000"), damaged_at as u64, &[0xFF; 8]).unwrap();

    let broker = setup.start().await;
    assert_eq!(broker.broker.transactions.open_count(), 2);
    let mut client = producer(&broker, "c").await;
    pass(&broker, &clock, 31_000).await;
    for place in [before, behind] {
        let (header, _) = asked(&mut client).await;
        assert_eq!(place_asked(&header), place);
        assert_eq!(ask_end(&mut client, &answer_of(&header, COMMIT)).await.code, response_code::SUCCESS);
    }
    end(&mut client, ended, COMMIT).await;
    assert_eq!(max(&broker, "orders", 3), 3, "each of them once");
}

/// As in the original: its producer may still decide about a half that was given up.
#[tokio::test]
async fn a_half_that_was_given_up_is_delivered_when_it_is_committed_after_all() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.config(|config| config.transaction_check_max = 0).start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let place = prepare(&mut client, "m").await;
    pass(&broker, &clock, 6_100).await;
    broker.wait_until(|broker| broker.store.max_offset(GIVEN_UP, 0) == 1).await;
    end(&mut client, place, COMMIT).await;
    end(&mut client, place, COMMIT).await;
    assert_eq!((max(&broker, "orders", 3), broker.broker.transactions.counted("orders")), (1, 0));
}

/// A producer that does not read is not asked: what it cannot take would end its connection, and its halves would be given up.
#[tokio::test]
async fn a_producer_that_does_not_read_is_asked_when_it_does() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.config(|config| config.transaction_check_max = 1).start().await;
    broker.create_topic("orders", 4);
    let mut client = producer(&broker, "c").await;
    let place = prepare(&mut client, "m").await;
    for _ in 0..2 {
        client.send("orders", 0, "", &"x".repeat(1_000_000)).await;
    }
    // Far more than two sockets hold; the connection is not read any further when enough of it waits.
    let header = PullMessageRequestHeader { subscription: Some(Str::from("*")), sys_flag: 4, ..support::pull_header("G", "orders", 0, 0) };
    let pulls = client.begin_all(std::iter::repeat_with(|| support::pull_request(&header)).take(48)).await;
    broker.wait_until(|broker| broker.producers.available_channel("P").unwrap().unread_bytes() > 1024 * 1024).await;
    for millis in [6_100, 31_000] {
        pass(&broker, &clock, millis).await;
    }
    assert_eq!(
        (broker.broker.transactions.open_count(), max(&broker, GIVEN_UP, 0)),
        (1, 0),
        "a question that was not asked does not count"
    );
    for opaque in pulls {
        client.response(opaque).await;
    }
    pass(&broker, &clock, 2_000).await;
    let (header, record) = asked(&mut client).await;
    assert_eq!(place_asked(&header), place);
    assert_eq!(MessageView::decode(&record).unwrap().property("TRANSACTION_CHECK_TIMES"), Some("1"));
}
