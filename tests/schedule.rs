// SPDX-License-Identifier: Apache-2.0
//! Delay levels by a clock that the test drives: when a delayed message comes, what it looks like, and what a restart does to it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use ferrocket::runtime::ManualClock;
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::message::MessageView;
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use support::{Client, PATIENCE, Setup, TestBroker, java_request};

const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

fn delayed(topic: &str, queue_id: i32, level: &str, body: &str) -> RemotingCommand {
    let header = support::send_header(topic, queue_id, &[("DELAY", level), ("TAGS", "TagA"), ("UNIQ_KEY", body)]);
    java_request(request_code::SEND_MESSAGE).with_header(&header).with_body(Bytes::copy_from_slice(body.as_bytes()))
}

async fn send(client: &mut Client, request: RemotingCommand) -> SendMessageResponseHeader {
    let answer = client.call(request).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    answer.header().unwrap()
}

/// The record of one message of a queue.
fn record(broker: &TestBroker, topic: &str, queue_id: i32, offset: i64) -> Bytes {
    let unit = broker.broker.store.consume_queue_unit(topic, queue_id, offset).expect("a message there");
    broker.broker.store.look_message(unit.physical_offset).expect("its record")
}

/// Waits until the queue has `count` messages.
async fn arrived(broker: &TestBroker, topic: &str, queue_id: i32, count: i64) {
    let waiting = async {
        while broker.broker.store.max_offset(topic, queue_id) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{count} messages in {topic}"));
}

/// Waits until the delivering thread has looked and sleeps again, so that what did not come will not come by itself.
async fn settled(broker: &TestBroker, clock: &ManualClock) {
    let looked = broker.broker.schedule.rounds();
    clock.advance(Duration::from_millis(1));
    broker.broker.schedule.arriving(i64::MIN);
    let waiting = async {
        while broker.broker.schedule.rounds() < looked + 2 {
            broker.broker.schedule.arriving(i64::MIN);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the thread looks again");
}

#[tokio::test]
async fn a_delayed_message_waits_and_comes_when_it_is_due() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let header = send(&mut client, delayed("orders", 3, "1", "m")).await;
    assert_eq!((header.queue_id, header.queue_offset), (3, 0), "the queue asked for, the offset where it waits");

    let waiting = record(&broker, SCHEDULE_TOPIC, 0, 0);
    let view = MessageView::decode(&waiting).unwrap();
    assert_eq!((view.property("REAL_TOPIC"), view.property("REAL_QID"), view.body), (Some("orders"), Some("3"), &b"m"[..]));
    let unit = broker.broker.store.consume_queue_unit(SCHEDULE_TOPIC, 0, 0).unwrap();
    assert_eq!(unit.tags_code, view.store_timestamp + 1_000, "the queue says when it is due");

    clock.advance(Duration::from_millis(998));
    settled(&broker, &clock).await;
    assert_eq!(broker.broker.store.max_offset("orders", 3), 0, "a millisecond early");
    clock.advance(Duration::from_millis(1));
    arrived(&broker, "orders", 3, 1).await;

    let delivered = record(&broker, "orders", 3, 0);
    let view = MessageView::decode(&delivered).unwrap();
    assert_eq!((view.topic, view.queue_id, view.body), ("orders", 3, &b"m"[..]));
    assert_eq!((view.born_host, view.store_host), (client.local_addr(), broker.addr));
    // The original's consumers see how the message was delayed.
    assert_eq!(
        ["DELAY", "REAL_TOPIC", "REAL_QID", "UNIQ_KEY"].map(|name| view.property(name)),
        [Some("1"), Some("orders"), Some("3"), Some("m")]
    );
    let unit = broker.broker.store.consume_queue_unit("orders", 3, 0).unwrap();
    assert_eq!(unit.tags_code, 2_598_919, "filtered by its tag again");
}

#[tokio::test]
async fn a_level_beyond_the_last_is_the_last_and_none_is_no_delay() {
    let (setup, _clock) = Setup::new().manual_clock();
    let broker = setup.config(|config| config.message_delay_level = "1s 1h".to_owned()).start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, delayed("orders", 0, "99", "late")).await;
    let waiting = record(&broker, SCHEDULE_TOPIC, 1, 0);
    assert_eq!(MessageView::decode(&waiting).unwrap().property("DELAY"), Some("2"));
    for level in ["0", "-1"] {
        send(&mut client, delayed("orders", 0, level, "now")).await;
    }
    assert_eq!(broker.broker.store.max_offset("orders", 0), 2);
    // The original fails by a NumberFormatException.
    let refused = client.call(delayed("orders", 0, "soon", "never")).await;
    assert_eq!((refused.code, support::remark(&refused)), (response_code::SYSTEM_ERROR, "For input string: \"soon\""));
}

#[tokio::test]
async fn levels_do_not_wait_for_each_other() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    for (level, body) in [("3", "third"), ("1", "a"), ("2", "second"), ("1", "b")] {
        send(&mut client, delayed("orders", 0, level, body)).await;
    }
    for (seconds, count) in [(1, 2), (4, 3), (5, 4)] {
        clock.advance(Duration::from_secs(seconds));
        arrived(&broker, "orders", 0, count).await;
    }
    let bodies: Vec<Bytes> = (0..4).map(|offset| record(&broker, "orders", 0, offset)).collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(|record| MessageView::decode(record).unwrap().body).collect();
    assert_eq!(bodies, [&b"a"[..], b"b", b"second", b"third"]);
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats_what_was_delivered() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, delayed("orders", 0, "1", "before")).await;
    send(&mut client, delayed("orders", 0, "2", "across")).await;
    clock.advance(Duration::from_secs(1));
    arrived(&broker, "orders", 0, 1).await;
    drop(client);

    let setup = broker.stop().await.with_clock(&clock);
    clock.advance(Duration::from_secs(10));
    let broker = setup.start().await;
    arrived(&broker, "orders", 0, 2).await;
    settled(&broker, &clock).await;
    assert_eq!(broker.broker.store.max_offset("orders", 0), 2);
    let across = record(&broker, "orders", 0, 1);
    assert_eq!(MessageView::decode(&across).unwrap().body, b"across");
}

/// ScheduleMessageService.java#correctDelayOffset.
#[tokio::test]
async fn an_offset_outside_its_queue_is_moved_to_the_nearer_end() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, delayed("orders", 0, "1", "first")).await;
    drop(client);
    let folder = broker.folder().to_owned();
    let setup = broker.stop().await.with_clock(&clock);
    std::fs::write(folder.join("config/delayOffset.json"), b"{\"offsetTable\":{1:7}}").unwrap();
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    send(&mut client, delayed("orders", 0, "1", "second")).await;
    clock.advance(Duration::from_secs(2));
    arrived(&broker, "orders", 0, 1).await;
    let delivered = record(&broker, "orders", 0, 0);
    assert_eq!(MessageView::decode(&delivered).unwrap().body, b"second");
}

/// ScheduleMessageService.java#correctDeliverTimestamp.
#[tokio::test]
async fn a_message_due_later_than_its_delay_comes_at_once() {
    let (setup, later) = Setup::new().manual_clock();
    later.advance(Duration::from_secs(3_600));
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, delayed("orders", 0, "1", "m")).await;
    drop(client);
    // The machine's clock is an hour back at the next start.
    let (earlier, _clock) = broker.stop().await.manual_clock();
    let broker = earlier.start().await;
    arrived(&broker, "orders", 0, 1).await;
}

/// GET_ALL_DELAY_OFFSET, and the file that a slave of the original would write from it.
#[tokio::test]
async fn how_far_the_levels_are_is_told_and_kept() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, delayed("orders", 0, "1", "m")).await;
    clock.advance(Duration::from_secs(1));
    arrived(&broker, "orders", 0, 1).await;
    settled(&broker, &clock).await;
    let answer = client.call(java_request(request_code::GET_ALL_DELAY_OFFSET)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.starts_with("{\"dataVersion\":{\"counter\":") && text.ends_with("\"offsetTable\":{1:1}}"), "{text}");
    drop(client);
    let setup = broker.stop().await;
    let file = std::fs::read_to_string(setup.folder().join("config/delayOffset.json")).unwrap();
    assert!(file.contains("\"offsetTable\":{\n\t\t1:1\n\t}"), "{file}");
}
