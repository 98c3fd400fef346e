// SPDX-License-Identifier: Apache-2.0
//! A broker asked through a session of the tests' own, in the shape of TLS, by the client of this crate: send, pull, long poll.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::body::TopicConfig;
use ferrocket_protocol::header::{PullMessageRequestHeader, PullMessageResponseHeader, SendMessageRequestHeader};
use ferrocket_protocol::message::decode;
use ferrocket_protocol::{RemotingCommand, Str, request_code, response_code, topic_names};

use crate::broker::{Broker, Location, Parts};
use crate::config::{AdvertiseRules, BrokerConfig, ConfigCell};
use crate::processor::BrokerHandler;
use crate::remoting::{Limits, Listener, RemotingClient, Sessions};
use crate::runtime::{Runtime, SystemClock};
use crate::store::{MemoryFs, StoreConfig};

const PATIENCE: Duration = Duration::from_secs(30);
const MIB: usize = 1024 * 1024;

struct Asker {
    client: RemotingClient,
    addr: String,
}

impl Asker {
    async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        self.client.invoke(&self.addr, request, PATIENCE).await.unwrap()
    }

    async fn send(&self, body: Bytes) {
        let header = SendMessageRequestHeader {
            producer_group: Str::from("P"),
            topic: Str::from("T"),
            default_topic: Str::from(topic_names::AUTO_CREATE),
            default_topic_queue_nums: 1,
            ..Default::default()
        };
        let answer = self.ask(RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body(body)).await;
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    }

    /// Waits for a message when there is none. The offset to go on with, and the bodies.
    async fn pull(&self, queue_offset: i64) -> (i64, Vec<Bytes>) {
        const MAY_WAIT_AND_SUBSCRIBES: i32 = 2 | 4;
        let header = PullMessageRequestHeader {
            consumer_group: Str::from("C"),
            topic: Str::from("T"),
            queue_offset,
            max_msg_nums: 32,
            sys_flag: MAY_WAIT_AND_SUBSCRIBES,
            suspend_timeout_millis: PATIENCE.as_millis() as i64,
            subscription: Some(Str::from("*")),
            ..Default::default()
        };
        let answer = self.ask(RemotingCommand::request_with(request_code::PULL_MESSAGE, &header)).await;
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        let next = answer.header::<PullMessageResponseHeader>().unwrap().next_begin_offset;
        (next, decode::records(&answer.body).map(|record| Bytes::copy_from_slice(record.unwrap().body)).collect())
    }
}

#[tokio::test]
async fn a_broker_is_sent_to_pulled_from_and_waited_for_through_a_session() {
    let runtime = Runtime::current(SystemClock::shared());
    let mut config = BrokerConfig::default();
    config.broker_ip1 = "127.0.0.1".to_owned();
    let store_config = StoreConfig {
        mapped_file_size_commit_log: 16 * MIB,
        max_index_num: 1_000,
        max_hash_slot_num: 1_000,
        ..StoreConfig::at(Path::new("/store"))
    };
    let location =
        Location { host: "b".to_owned(), ip: IpAddr::V4(Ipv4Addr::LOCALHOST), is_set: true, rules: AdvertiseRules::default(), port: 0 };
    let broker = Broker::open(Parts {
        config: Arc::new(ConfigCell::new(config)),
        store_config,
        fs: MemoryFs::default().shared(),
        clock: SystemClock::shared(),
        runtime: runtime.clone(),
        location,
    })
    .unwrap();
    let limits = Limits { sessions: Sessions::Records, ..Limits::default() };
    let handler = Arc::new(BrokerHandler::new(Arc::clone(&broker)));
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), handler, limits.clone(), &runtime).await.unwrap();
    broker.listening_on(listener.local_addr().port());
    broker.start(None).unwrap();
    broker
        .topics
        .update(TopicConfig { topic_name: "T".to_owned(), read_queue_nums: 1, write_queue_nums: 1, perm: 6, ..Default::default() })
        .unwrap();

    let connect =
        || Arc::new(Asker { client: RemotingClient::with(&runtime, limits.clone(), |_| ()), addr: listener.local_addr().to_string() });
    let (producer, consumer) = (connect(), connect());
    let bodies: Vec<Bytes> = [1, 3 * MIB, 100].map(|bytes| Bytes::from(vec![bytes as u8; bytes])).to_vec();
    for body in &bodies {
        producer.send(body.clone()).await;
    }
    let (mut next, mut read) = (0, Vec::new());
    while read.len() < bodies.len() {
        let (go_on, more) = consumer.pull(next).await;
        next = go_on;
        read.extend(more);
    }
    assert!(read == bodies, "other bodies: {:?}", read.iter().map(Bytes::len).collect::<Vec<_>>());

    let waits = runtime.spawn("a pull that waits", {
        let consumer = Arc::clone(&consumer);
        async move { consumer.pull(next).await }
    });
    while broker.hold.waiting_count() == 0 {
        tokio::task::yield_now().await;
    }
    producer.send(Bytes::from_static(b"an arrival")).await;
    assert_eq!(waits.join().await.expect("the pull failed").1, [Bytes::from_static(b"an arrival")]);

    listener.stop_accepting();
    broker.hold.stop();
    assert!(listener.drain(PATIENCE).await);
    listener.close_all("the story ends");
    broker.stop().unwrap();
    assert!(runtime.stop(PATIENCE).await);
}
