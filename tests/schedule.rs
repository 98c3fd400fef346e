// SPDX-License-Identifier: Apache-2.0
//! Delay levels by a clock that the test drives: when a delayed message comes, what it looks like, and what a restart does to it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, and it damages a file")]

mod support;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::broker::{Broker, Location, Parts};
use ferrocket::config::{AdvertiseRules, BrokerConfig, ConfigCell};
use ferrocket::runtime::{Clock, ManualClock, Runtime, SharedClock};
use ferrocket::store::{Crash, MemoryFs, Operation, StoreConfig};
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::message::{MessageInner, MessageView};
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
    let unit = broker.broker.store.consume_queue_unit(topic, queue_id, offset).unwrap().expect("a message there");
    broker.broker.store.look_message(unit.physical_offset).unwrap().expect("its record")
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
    broker.broker.schedule.arriving(0, i64::MIN);
    let waiting = async {
        while broker.broker.schedule.rounds() < looked + 2 {
            broker.broker.schedule.arriving(0, i64::MIN);
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
    let unit = broker.broker.store.consume_queue_unit(SCHEDULE_TOPIC, 0, 0).unwrap().unwrap();
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
    let unit = broker.broker.store.consume_queue_unit("orders", 3, 0).unwrap().unwrap();
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

/// A broker without a port, on a file system that can lose its power.
fn open(fs: &MemoryFs, clock: &ManualClock) -> Arc<Broker> {
    let shared: SharedClock = Arc::new(clock.clone());
    let mut store_config = StoreConfig::at("/store");
    store_config.mapped_file_size_commit_log = 1 << 20;
    store_config.max_hash_slot_num = 100;
    store_config.max_index_num = 400;
    let broker = Broker::open(Parts {
        config: Arc::new(ConfigCell::new(BrokerConfig::default())),
        store_config,
        fs: fs.shared(),
        clock: Arc::clone(&shared),
        runtime: Runtime::current(shared),
        location: Location {
            host: "127.0.0.1".to_owned(),
            ip: Ipv4Addr::LOCALHOST.into(),
            is_set: true,
            rules: AdvertiseRules::default(),
            port: 10_911,
        },
    });
    let broker = broker.unwrap();
    broker.start(None).unwrap();
    broker
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Puts a message for `orders` that waits 5 seconds.
fn put_delayed(broker: &Broker, clock: &ManualClock) {
    let mut message = MessageInner {
        topic: "orders".into(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: clock.now_millis(),
        born_host: broker.store_host(),
        store_host: broker.store_host(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from_static(b"m"),
        properties: Bytes::from_static(b"DELAY\x012\x02"),
        tags_code: 0,
    };
    broker.schedule.delay(&mut message, 2);
    assert!(broker.store.put_message(&message).status.is_stored());
}

/// The offsets never speak of deliveries that the disk does not have.
#[tokio::test]
async fn a_power_cut_repeats_a_delivery_rather_than_losing_it() {
    for (after_delivery, at_most) in [(Duration::ZERO, 2), (Duration::from_secs(30), 1)] {
        let clock = ManualClock::at_millis(1_795_219_808_010);
        let fs = MemoryFs::new();
        let broker = open(&fs, &clock);
        put_delayed(&broker, &clock);
        let store = &broker.store;
        until("the waiting message is on the disk", || {
            clock.advance(Duration::from_millis(100));
            store.flushed_offset() >= store.max_phy_offset()
        })
        .await;
        clock.advance(Duration::from_secs(5));
        until("it is delivered", || store.max_offset("orders", 0) == 1).await;
        if !after_delivery.is_zero() {
            until("the offsets are on the disk", || {
                clock.advance(Duration::from_millis(100));
                fs.shared().exists(Path::new("/store/config/delayOffset.json"))
            })
            .await;
        }
        let rest = fs.crashed(Crash::PowerCut(0));
        broker.runtime.stop(PATIENCE).await;

        let again = open(&rest, &clock);
        until("it is there after the power cut", || again.store.max_offset("orders", 0) >= 1).await;
        let looked = again.schedule.rounds();
        until("the thread has looked", || {
            clock.advance(Duration::from_millis(100));
            again.schedule.rounds() > looked + 1
        })
        .await;
        let count = again.store.max_offset("orders", 0);
        assert!((1..=at_most).contains(&count), "{count}");
        again.runtime.stop(PATIENCE).await;
        again.stop().unwrap();
    }
}

/// As long as the disk does not take the delivered message, no file says that it was delivered.
#[tokio::test]
async fn offsets_wait_for_a_disk_that_does_not_take_the_delivery() {
    let clock = ManualClock::at_millis(1_795_219_808_010);
    let fs = MemoryFs::new();
    let broker = open(&fs, &clock);
    put_delayed(&broker, &clock);
    broker.store.flush_log();
    fs.hang_syncs("commitlog");
    clock.advance(Duration::from_secs(5));
    until("it is delivered", || broker.store.max_offset("orders", 0) == 1).await;
    let interval = Duration::from_millis(BrokerConfig::default().flush_delay_offset_interval as u64);
    for _ in 0..3 {
        clock.advance(interval);
        let looked = broker.schedule.rounds();
        until("the thread has looked", || {
            broker.schedule.arriving(1, i64::MIN);
            broker.schedule.rounds() > looked + 1
        })
        .await;
    }
    assert!(broker.store.flushed_offset() < broker.store.max_phy_offset());
    assert!(!fs.shared().exists(Path::new("/store/config/delayOffset.json")), "it would speak of what a power cut takes");
    fs.heal();
    until("the offsets follow the log", || {
        clock.advance(Duration::from_millis(100));
        broker.schedule.arriving(1, i64::MIN);
        fs.shared().exists(Path::new("/store/config/delayOffset.json"))
    })
    .await;
    broker.runtime.stop(PATIENCE).await;
    broker.stop().unwrap();
}

/// Nothing is known of a queue that cannot be loaded: least of all that the delay offset lies outside it.
#[tokio::test]
async fn a_waiting_queue_that_cannot_be_loaded_moves_no_offset() {
    let clock = ManualClock::at_millis(1_795_219_808_010);
    let fs = MemoryFs::new();
    let broker = open(&fs, &clock);
    put_delayed(&broker, &clock);
    clock.advance(Duration::from_secs(5));
    until("it is delivered", || broker.store.max_offset("orders", 0) == 1).await;
    broker.runtime.stop(PATIENCE).await;
    broker.stop().unwrap();
    drop(broker);

    fs.fail(Operation::Open, "consumequeue/SCHEDULE_TOPIC_XXXX/", std::io::ErrorKind::Other, usize::MAX);
    let again = open(&fs, &clock);
    let looks = async |times: u64| {
        let looked = again.schedule.rounds();
        until("the thread has looked", || {
            clock.advance(Duration::from_millis(100));
            again.schedule.rounds() > looked + times
        })
        .await;
    };
    looks(2).await;
    assert!(again.store.queue_offsets(SCHEDULE_TOPIC, 1).is_err());
    fs.heal();
    looks(2).await;
    assert_eq!(again.store.queue_offsets(SCHEDULE_TOPIC, 1).unwrap(), 0..1);
    assert_eq!(again.store.max_offset("orders", 0), 1, "not delivered again");
    put_delayed(&again, &clock);
    clock.advance(Duration::from_secs(5));
    until("delivery goes on", || again.store.max_offset("orders", 0) == 2).await;
    again.runtime.stop(PATIENCE).await;
    again.stop().unwrap();
}

/// Nobody waits for the flush of a delivery; it must come all the same.
#[tokio::test]
async fn deliveries_are_readable_under_sync_flush_too() {
    let (setup, clock) = Setup::new().sync_flush().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, delayed("orders", 0, "1", "m")).await;
    clock.advance(Duration::from_secs(1));
    arrived(&broker, "orders", 0, 1).await;
    let unwaiting = support::send_header("orders", 0, &[("WAIT", "false")]);
    let request = java_request(request_code::SEND_MESSAGE).with_header(&unwaiting).with_body(Bytes::from_static(b"n"));
    send(&mut client, request).await;
    arrived(&broker, "orders", 0, 2).await;
}

/// A store that takes nothing when a message is due delivers it when it takes messages again.
#[tokio::test]
async fn a_delivery_that_the_store_refuses_is_tried_again() {
    let clock = ManualClock::at_millis(1_795_219_808_010);
    let fs = MemoryFs::new();
    let broker = open(&fs, &clock);
    fs.fail(Operation::Create, "consumequeue", std::io::ErrorKind::StorageFull, usize::MAX);
    put_delayed(&broker, &clock);
    broker.store.run_maintenance();
    assert!(!broker.store.is_writable(), "the unit of the waiting message cannot be written");
    clock.advance(Duration::from_secs(5));
    let looked = broker.schedule.rounds();
    until("the thread has looked", || {
        clock.advance(Duration::from_millis(100));
        broker.schedule.rounds() > looked + 2
    })
    .await;
    assert_eq!(broker.store.max_offset("orders", 0), 0);
    fs.heal();
    until("it is delivered", || {
        clock.advance(Duration::from_millis(100));
        broker.store.max_offset("orders", 0) == 1
    })
    .await;
    broker.runtime.stop(PATIENCE).await;
    broker.stop().unwrap();
}
