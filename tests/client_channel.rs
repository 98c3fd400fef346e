// SPDX-License-Identifier: Apache-2.0
//! A client that speaks another protocol: a channel of the test's own, which the broker's services serve without a socket and without a
//! `RemotingCommand`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferrocket::broker::client_channel::{Answer, ClientChannel};
use ferrocket::broker::consumers::{Client, ConsumeMode};
use ferrocket::broker::membership;
use ferrocket::remoting::{CallError, next_channel_id};
use ferrocket_protocol::body::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use ferrocket_protocol::header::{CheckTransactionStateRequestHeader, ResetOffsetRequestHeader};
use ferrocket_protocol::message::MessageView;
use ferrocket_protocol::{ExtFields, LanguageCode, version};
use support::{Setup, TestBroker, subscription};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What the client was told or asked.
#[derive(Debug, PartialEq)]
enum Heard {
    IdsChanged(String),
    Check { half_offset: i64, body: String },
    Closed,
}

#[derive(Debug)]
struct TestChannel {
    id: u64,
    active: AtomicBool,
    heard: UnboundedSender<Heard>,
}

impl TestChannel {
    fn new() -> (Arc<Self>, UnboundedReceiver<Heard>) {
        let (heard, hears) = unbounded_channel();
        (Arc::new(Self { id: next_channel_id(), active: AtomicBool::new(true), heard }), hears)
    }

    fn hear(&self, heard: Heard) {
        self.heard.send(heard).unwrap();
    }
}

impl ClientChannel for TestChannel {
    fn id(&self) -> u64 {
        self.id
    }

    fn remote_addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 8081))
    }

    fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst)
    }

    fn unread_bytes(&self) -> usize {
        0
    }

    fn room_bytes(&self) -> usize {
        1024 * 1024
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn close(&self, _reason: &'static str) {
        self.active.store(false, Ordering::SeqCst);
        self.hear(Heard::Closed);
    }

    fn consumer_ids_changed(&self, group: &str) {
        self.hear(Heard::IdsChanged(group.to_owned()));
    }

    fn check_transaction(&self, header: &CheckTransactionStateRequestHeader, half_message: Bytes) {
        let body = MessageView::decode(&half_message).unwrap().body.to_vec();
        self.hear(Heard::Check { half_offset: header.commit_log_offset, body: String::from_utf8(body).unwrap() });
    }

    fn reset_offset(&self, _header: &ResetOffsetRequestHeader, _body: Bytes) {
        panic!("nobody resets its offsets");
    }

    fn running_info(&self, _fields: ExtFields, _body: Bytes) -> Answer<'_> {
        let gone = CallError::Closed { addr: self.remote_addr() };
        Box::pin(async move { Err(gone) })
    }
}

async fn next(hears: &mut UnboundedReceiver<Heard>) -> Heard {
    tokio::time::timeout(support::PATIENCE, hears.recv()).await.expect("news within the patience of a test").unwrap()
}

fn client(channel: &Arc<TestChannel>, client_id: &str) -> Client {
    let channel: Arc<dyn ClientChannel> = Arc::clone(channel) as _;
    Client { channel, client_id: Arc::from(client_id), language: LanguageCode::Rust, version: version::CURRENT }
}

fn join(broker: &TestBroker, group: &str, channel: &Arc<TestChannel>, client_id: &str, subscriptions: Vec<SubscriptionData>) {
    let mode = ConsumeMode {
        consume_type: ConsumeType::ConsumePassively,
        message_model: MessageModel::Clustering,
        consume_from_where: ConsumeFromWhere::ConsumeFromLastOffset,
    };
    let broker = &broker.broker;
    let config = broker.groups.find(group);
    let change = broker.consumers.register(group, client(channel, client_id), mode, 1, Some(subscriptions));
    membership::tell(broker, group, config.as_deref(), &change);
}

/// Members of two protocols in one group hear of each other.
#[tokio::test]
async fn a_client_of_another_protocol_is_a_member_like_any_other() {
    let broker = TestBroker::start().await;
    let (channel, mut hears) = TestChannel::new();
    join(&broker, "G", &channel, "other", vec![subscription("T", "*")]);
    assert_eq!(next(&mut hears).await, Heard::IdsChanged("G".to_owned()));

    let mut peer = broker.connect().await;
    peer.consume("G", "tcp", &[("T", "*")]).await;
    support::hears_of(&mut peer, "G").await;
    assert_eq!(next(&mut hears).await, Heard::IdsChanged("G".to_owned()));
    let mut members = broker.broker.consumers.client_ids("G");
    members.sort();
    assert_eq!(members, ["other", "tcp"]);

    membership::left(&broker.broker, &*channel);
    support::hears_of(&mut peer, "G").await;
    assert_eq!(broker.broker.consumers.client_ids("G"), ["tcp"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_of_another_protocol_that_is_silent_is_closed() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    let (channel, mut hears) = TestChannel::new();
    broker.broker.producers.register("P", &client(&channel, "other"));
    clock.advance(Duration::from_secs(121));
    membership::close_silent_clients(&broker.broker);
    assert_eq!(next(&mut hears).await, Heard::Closed);
    assert!(!channel.is_active() && broker.broker.producers.members("P").is_none());
    broker.stop().await;
}
