// SPDX-License-Identifier: Apache-2.0
//! A broker that changes between master and slave while delayed messages and open transactions are due: a slave delivers nothing and
//! asks nobody, and a master does each of it once, whatever came before.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::broker::role::Role;
use ferrocket::config::BrokerRole;
use ferrocket::runtime::{Clock, ManualClock};
use ferrocket::store::MemoryFs;
use ferrocket_protocol::header::{CheckTransactionStateRequestHeader, EndTransactionRequestHeader};
use ferrocket_protocol::message::{MessageInner, MessageView};
use ferrocket_protocol::{Str, request_code, response_code};
use support::{Client, Setup, TestBroker, java_request};

const TOPIC: &str = "orders";
/// Queues of the topic: of delayed messages, and of transactions.
const DELAYED: i32 = 0;
const COMMITTED: i32 = 3;
const COMMIT: i32 = 8;
/// Later than any delay and immunity here.
const LONG: Duration = Duration::from_secs(40);
/// `transactionCheckInterval`.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

async fn send(client: &mut Client, queue_id: i32, pairs: &[(&str, &str)], sys_flag: i32, body: &str) {
    let mut header = support::send_header(TOPIC, queue_id, pairs);
    header.sys_flag = sys_flag;
    let request = java_request(request_code::SEND_MESSAGE).with_header(&header).with_body(Bytes::copy_from_slice(body.as_bytes()));
    assert_eq!(client.call(request).await.code, response_code::SUCCESS);
}

/// Two delayed messages and two half messages.
async fn put_some(client: &mut Client, round: usize) {
    for level in ["1", "2"] {
        send(client, DELAYED, &[("DELAY", level), ("UNIQ_KEY", "d")], 0, &format!("{round}-level{level}")).await;
    }
    for half in ["a", "b"] {
        let body = format!("{round}-{half}");
        send(client, COMMITTED, &[("UNIQ_KEY", &body), ("TRAN_MSG", "true"), ("PGROUP", "P")], 4, &body).await;
    }
}

/// The bodies in a queue.
fn bodies(broker: &TestBroker, queue_id: i32) -> Vec<String> {
    let store = &broker.broker.store;
    let body = |offset| {
        let unit = store.consume_queue_unit(TOPIC, queue_id, offset).unwrap().unwrap();
        let record = store.look_message(unit.physical_offset).unwrap().unwrap();
        String::from_utf8(MessageView::decode(&record).unwrap().body.to_vec()).unwrap()
    };
    (0..store.max_offset(TOPIC, queue_id)).map(body).collect()
}

/// The delivering thread, which there is once the broker has been a master, has looked at what is there by now.
async fn looked(broker: &TestBroker, clock: &ManualClock) {
    let rounds = broker.broker.schedule.rounds();
    while broker.broker.schedule.rounds() < rounds + 2 {
        broker.advance(clock, Duration::from_secs(1)).await;
    }
}

async fn has(broker: &TestBroker, queue_id: i32, count: usize) {
    broker.wait_until(|broker| broker.store.max_offset(TOPIC, queue_id) >= count as i64).await;
}

/// Answers as many questions as there are halves; a half that is asked about twice fails.
async fn commit_asked(client: &mut Client, count: usize) {
    let mut asked = BTreeSet::new();
    for _ in 0..count {
        let question = client.pushed().await;
        assert_eq!(question.code, request_code::CHECK_TRANSACTION_STATE);
        let header: CheckTransactionStateRequestHeader = question.header().unwrap();
        assert!(asked.insert(header.tran_state_table_offset), "asked twice");
        let decision = EndTransactionRequestHeader {
            producer_group: Str::from("P"),
            tran_state_table_offset: header.tran_state_table_offset,
            commit_log_offset: header.commit_log_offset,
            commit_or_rollback: COMMIT,
            msg_id: Str::from("key"),
            from_transaction_check: true,
            ..Default::default()
        };
        assert_eq!(client.call_with(request_code::END_TRANSACTION, &decision).await.code, response_code::SUCCESS);
    }
    assert!(!client.has_pushed().await, "nothing else is asked");
}

async fn producer(broker: &TestBroker) -> Client {
    let mut client = broker.connect().await;
    client.heartbeat(&support::producer_heartbeat("P", "c")).await;
    client
}

#[tokio::test]
async fn a_slave_delivers_and_asks_nothing_and_a_master_all_of_it_once() {
    let (setup, clock) = Setup::new().manual_clock();
    let as_slave = |setup: Setup| setup.config(|config| config.broker_role = BrokerRole::Slave);
    let mut broker = setup.start().await;
    broker.create_topic(TOPIC, 4);
    let mut client = producer(&broker).await;
    let mut count = 0;
    for round in 0..6 {
        // They are not due before the clock moves.
        put_some(&mut client, round).await;
        broker.broker.change_role(Role::Slave).unwrap();
        assert_eq!(broker.broker.role(), Role::Slave);
        clock.advance(LONG);
        client.heartbeat(&support::producer_heartbeat("P", "c")).await;
        looked(&broker, &clock).await;
        assert_eq!((bodies(&broker, DELAYED).len(), bodies(&broker, COMMITTED).len()), (count, count), "round {round}: a slave");
        assert!(!client.has_pushed().await, "round {round}: a slave asks nobody");
        if round == 3 {
            // What waits outlives a slave's stop and start.
            drop(client);
            broker = as_slave(broker.stop().await.with_clock(&clock)).start().await;
            clock.advance(LONG);
            client = producer(&broker).await;
            assert_eq!(broker.broker.schedule.rounds(), 0, "nothing was started");
        }
        broker.broker.change_role(Role::Master).unwrap();
        broker.broker.change_role(Role::Master).unwrap();
        count += 2;
        has(&broker, DELAYED, count).await;
        // Producers come to a new master before it asks them.
        clock.advance(CHECK_INTERVAL);
        client.heartbeat(&support::producer_heartbeat("P", "c")).await;
        commit_asked(&mut client, 2).await;
        looked(&broker, &clock).await;
    }
    let expected = |names: [&str; 2]| (0..6).flat_map(|round| names.map(|name| format!("{round}-{name}"))).collect::<Vec<_>>();
    let sorted = |queue_id| {
        let mut bodies = bodies(&broker, queue_id);
        bodies.sort();
        bodies
    };
    assert_eq!(sorted(DELAYED), expected(["level1", "level2"]));
    assert_eq!(sorted(COMMITTED), expected(["a", "b"]));
    drop(client);
    broker.broker.change_role(Role::Slave).unwrap();

    // A slave that stops has nothing to deliver as a master.
    let broker = broker.stop().await.with_clock(&clock).start().await;
    clock.advance(LONG);
    looked(&broker, &clock).await;
    assert_eq!((bodies(&broker, DELAYED).len(), broker.broker.transactions.open_count()), (count, 0));
    broker.stop().await;
}

#[tokio::test]
async fn no_delivery_follows_a_change_that_has_returned() {
    const COUNT: usize = 2_000;
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().on(&fs).manual_clock();
    let broker = setup.start().await;
    broker.create_topic(TOPIC, 4);
    let services = &broker.broker;
    for number in 0..COUNT {
        let mut message = MessageInner {
            topic: TOPIC.into(),
            queue_id: DELAYED,
            flag: 0,
            sys_flag: 0,
            born_timestamp: clock.now_millis(),
            born_host: services.store_host(),
            store_host: services.store_host(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: number.to_string().into(),
            properties: Bytes::from_static(b"DELAY\x011\x02"),
            tags_code: 0,
        };
        services.schedule.delay(&mut message, 1 + (number % 3) as i32);
        assert!(services.store.put_message(&message).status.is_stored());
    }
    services.change_role(Role::Slave).unwrap();
    clock.advance(LONG);
    let delivered = || services.store.max_offset(TOPIC, DELAYED);
    let mut was_interrupted = false;
    while (delivered() as usize) < COUNT {
        let before = delivered();
        services.change_role(Role::Master).unwrap();
        broker.wait_until(|_| delivered() > before).await;
        services.change_role(Role::Slave).unwrap();
        let at_return = delivered();
        was_interrupted |= (at_return as usize) < COUNT;
        looked(&broker, &clock).await;
        assert_eq!(delivered(), at_return);
    }
    assert!(was_interrupted, "the test is too small to say anything");
    services.change_role(Role::Master).unwrap();
    looked(&broker, &clock).await;
    let once: BTreeSet<String> = bodies(&broker, DELAYED).into_iter().collect();
    assert_eq!((once.len(), delivered() as usize), (COUNT, COUNT), "each once");
    broker.stop().await;
}
