// SPDX-License-Identifier: Apache-2.0
//! A client that speaks another protocol: a channel of the test's own, which the broker's services serve without a socket and without a
//! `RemotingCommand`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferrocket::broker::client_channel::{Answer, ClientChannel};
use ferrocket::broker::consumers::{Client, ConsumeMode};
use ferrocket::broker::filter::Subscription;
use ferrocket::broker::hold::{Piece, Waiter, Waits, Wants};
use ferrocket::broker::pull::{PullError, PullKind, PullRequest, PullResult, PullTerms, Puller, Stated, pull};
use ferrocket::broker::send::{NewTopic, SendError, SendRequest, SendResult, Sent, send};
use ferrocket::broker::{Broker, Disk, membership};
use ferrocket::remoting::{CallError, Work, next_channel_id};
use ferrocket::store::{GetMessage, GetMessageStatus, MessageFilter, MessagePosition, PutMessageStatus};
use ferrocket_protocol::body::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use ferrocket_protocol::header::{CheckTransactionStateRequestHeader, ReplyMessageRequestHeader, ResetOffsetRequestHeader};
use ferrocket_protocol::message::{MessageView, decode, properties};
use ferrocket_protocol::{ExtFields, LanguageCode, Str, version};
use support::{Setup, TestBroker, subscription};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

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

    fn gone(&self) -> Answer<'_> {
        let gone = CallError::Closed { addr: self.remote_addr() };
        Box::pin(async move { Err(gone) })
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

    fn defer(self: Arc<Self>, work: Box<dyn Work>) {
        tokio::task::spawn_blocking(|| work.run());
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
        self.gone()
    }

    fn push_reply(&self, _header: &ReplyMessageRequestHeader, _body: Bytes) -> Answer<'_> {
        self.gone()
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

/// However many start together: who joins costs nothing by the number of those who are there, and the news go once to each of them and
/// once more in a moment.
#[tokio::test]
async fn three_hundred_that_join_at_once_are_told_twice_at_most() {
    const COUNT: usize = 300;
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    let (channels, mut hears): (Vec<_>, Vec<_>) = (0..COUNT).map(|_| TestChannel::new()).unzip();
    for (at, channel) in channels.iter().enumerate() {
        join(&broker, "G", channel, &format!("c{at}"), vec![subscription("T", "*")]);
    }
    let count = |hears: &mut [UnboundedReceiver<Heard>]| {
        let counts = hears.iter_mut().map(|hears| std::iter::from_fn(|| hears.try_recv().ok()).count());
        counts.collect::<Vec<_>>()
    };
    assert_eq!(count(&mut hears).iter().sum::<usize>(), 1, "the first one, before the others came");
    broker.advance(&clock, Duration::from_millis(100)).await;
    for hears in &mut hears {
        assert_eq!(next(hears).await, Heard::IdsChanged("G".to_owned()));
    }
    assert_eq!(count(&mut hears).iter().sum::<usize>(), 0, "once for all who came");
    // As long as they come and go the moments become longer.
    let mut moments = 0;
    for _ in 0..32 {
        membership::left(&broker.broker, &*channels[0]);
        join(&broker, "G", &channels[0], "c0", vec![subscription("T", "*")]);
        broker.advance(&clock, Duration::from_millis(100)).await;
        moments += count(&mut hears)[1];
    }
    assert!((1..=6).contains(&moments), "{moments} times in 3.2 s");
    broker.stop().await;
}

/// Each pull reads the table of members: a line of the log must not be written while it is locked.
#[tokio::test]
async fn no_line_is_written_while_the_members_are_locked() {
    let broker = TestBroker::start().await;
    let (channel, _hears) = TestChannel::new();
    let lines = Arc::new(AtomicUsize::new(0));
    let tables = LooksAtTables { broker: Arc::clone(&broker.broker), lines: Arc::clone(&lines) };
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(tables));
    // Other tests of this process, who have no such log, may be the first to come to a line: then it is looked at again who wants it.
    for _ in 0..2 {
        join(&broker, "G", &channel, "c", vec![subscription("T", "*")]);
        broker.broker.consumers.unregister("G", &*channel);
        join(&broker, "G", &channel, "c", vec![subscription("T", "*")]);
        broker.broker.producers.register("P", &client(&channel, "c"));
        membership::left(&broker.broker, &*channel);
        broker.broker.producers.register("P", &client(&channel, "c"));
        broker.broker.producers.unregister("P", &*channel);
        tracing::callsite::rebuild_interest_cache();
    }
    assert!(lines.load(Ordering::SeqCst) > 0, "who joined and who left is told");
    broker.stop().await;
}

/// A log that looks at the tables with each line about members.
struct LooksAtTables {
    broker: Arc<Broker>,
    lines: Arc<AtomicUsize>,
}

impl<S: tracing::Subscriber> Layer<S> for LooksAtTables {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        if !["ferrocket::broker::consumers", "ferrocket::broker::producers"].contains(&event.metadata().target()) {
            return;
        }
        let (broker, (looked, looks)) = (Arc::clone(&self.broker), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            broker.consumers.client_ids("G");
            broker.producers.members("P");
            // Nobody waits for it any more when it took too long.
            let _ = looked.send(());
        });
        looks.recv_timeout(support::PATIENCE).expect("the tables are not locked");
        self.lines.fetch_add(1, Ordering::SeqCst);
    }
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

/// What another protocol's message comes to: no header and no fields.
fn send_one(broker: &TestBroker, topic: &str, queue_id: i32, pairs: &[(&str, &str)], body: &'static str) -> Result<Sent, SendError> {
    let (body, properties) = (Bytes::from_static(body.as_bytes()), properties::encode(pairs.iter().copied()));
    let request = SendRequest {
        topic: Str::copy_from(topic),
        new_topic: NewTopic { like: b"TBW102", queue_nums: Some(4), unit_mode: false },
        queue_id,
        body: &body,
        properties: &properties,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_795_219_808_000,
        born_host: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 8081)),
        store_host: broker.broker.store_host(),
        reconsume_times: 0,
        max_reconsume_times: None,
        is_batch: false,
        is_oneway: false,
        disk: Disk::MayWait,
    };
    send(&broker.broker, &broker.broker.config.load(), &request)
}

fn stored(sent: Result<Sent, SendError>) -> SendResult {
    match sent {
        Ok(Sent::Stored(result)) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_of_another_protocol_is_checked_completed_and_put_like_any_other() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 2);
    let result = stored(send_one(&broker, "T", 1, &[("TAGS", "TagA")], "hello"));
    assert_eq!((result.status, result.queue_id, result.queue_offset), (PutMessageStatus::PutOk, 1, 0));
    let record = broker.broker.store.look_message(result.physical_offset).unwrap().unwrap();
    let view = MessageView::decode(&record).unwrap();
    assert_eq!((view.body, view.born_host.to_string().as_str()), (&b"hello"[..], "192.0.2.1:8081"));
    assert_eq!(view.property("UNIQ_KEY").map(str::as_bytes), result.unique_key.bytes(), "which the broker made");
    assert_eq!((view.property("MSG_REGION"), view.property("TRACE_ON")), (Some("DefaultRegion"), Some("true")));

    assert!(matches!(send_one(&broker, "T", 2, &[], "x"), Err(SendError::NoSuchQueue(topic)) if topic.topic_name == "T"));
    assert!(matches!(send_one(&broker, "T", 0, &[], ""), Err(SendError::EmptyBody)));
    assert!(matches!(send_one(&broker, "T", 0, &[("DELAY", "soon")], "x"), Err(SendError::DelayLevel(text)) if text == "soon"));
    assert!(matches!(send_one(&broker, "bad name", 0, &[], "x"), Err(SendError::IllegalTopic(_))));
    broker.stop().await;
}

/// A topic that has to be made, and a disk that has to have the message: the outcome comes later, to whoever asked.
#[tokio::test]
async fn a_send_that_has_to_wait_says_so_and_tells_its_end() {
    let broker = Setup::new().sync_flush().start().await;
    let Ok(Sent::Later(result, due)) = send_one(&broker, "made-for-it", 3, &[], "hello") else { panic!("it waits for the disk") };
    assert_eq!((result.queue_id, result.queue_offset), (3, 0));
    let (ends, mut ended) = unbounded_channel();
    due.when_done(move |status| ends.send(status).unwrap());
    let status = tokio::time::timeout(support::PATIENCE, ended.recv()).await.unwrap();
    assert_eq!(status, Some(PutMessageStatus::PutOk));
    assert_eq!(broker.broker.topics.get("made-for-it").unwrap().write_queue_nums, 4);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_of_another_protocol_is_asked_what_became_of_its_transaction() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let (channel, mut hears) = TestChannel::new();
    broker.broker.producers.register("P", &client(&channel, "other"));
    let half = stored(send_one(&broker, "orders", 0, &[("TRAN_MSG", "true"), ("PGROUP", "P")], "half"));
    broker.advance(&clock, Duration::from_secs(7)).await;
    broker.advance(&clock, Duration::from_secs(31)).await;
    assert_eq!(next(&mut hears).await, Heard::Check { half_offset: half.physical_offset, body: "half".to_owned() });
    broker.stop().await;
}

/// Who waits for a pull's outcome.
struct TestPuller {
    channel: Arc<TestChannel>,
    ends: UnboundedSender<Result<PullResult, PullError>>,
}

impl Puller for TestPuller {
    type Channel = TestChannel;

    fn channel(&self) -> &Arc<TestChannel> {
        &self.channel
    }

    fn finish(self, _broker: &Broker, request: &PullRequest<'_>, outcome: Result<PullResult, PullError>) {
        assert_eq!(request.group, "G");
        self.ends.send(outcome).unwrap();
    }
}

type Outcome = Result<PullResult, PullError>;

fn pull_one(broker: &TestBroker, channel: &Arc<TestChannel>, terms: PullTerms) -> Result<Outcome, UnboundedReceiver<Outcome>> {
    let (ends, ended) = unbounded_channel();
    let request = PullRequest { group: "G", topic: "T", terms };
    let puller = || TestPuller { channel: Arc::clone(channel), ends };
    let config = broker.broker.config.load();
    pull(&broker.broker, &config, &**channel, &request, Stated::default(), puller).ok_or(ended)
}

fn bodies(result: &PullResult) -> Vec<&str> {
    decode::records(&result.body).map(|record| std::str::from_utf8(record.unwrap().body).unwrap()).collect()
}

#[tokio::test]
async fn a_client_of_another_protocol_pulls_waits_and_is_refused() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let (channel, mut hears) = TestChannel::new();
    let terms = PullTerms {
        queue_id: 0,
        offset: 0,
        max_count: 32,
        commit_offset: None,
        wait_millis: Some(15_000),
        sub_version: 0,
        states_subscription: false,
        is_lite: false,
    };
    assert_eq!(pull_one(&broker, &channel, terms).unwrap().unwrap_err(), PullError::GroupOffline);
    join(&broker, "G", &channel, "other", vec![subscription("T", "TagA")]);
    assert_eq!(next(&mut hears).await, Heard::IdsChanged("G".to_owned()));

    let mut held = pull_one(&broker, &channel, terms).unwrap_err();
    assert_eq!(broker.broker.hold.waiting_count(), 1);
    stored(send_one(&broker, "T", 0, &[("TAGS", "TagB")], "not wanted"));
    assert!(held.try_recv().is_err());
    stored(send_one(&broker, "T", 0, &[("TAGS", "TagA")], "wanted"));
    let result = tokio::time::timeout(support::PATIENCE, held.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!((result.kind, result.next_offset, bodies(&result)), (PullKind::Found, 2, vec!["wanted"]));

    let result = pull_one(&broker, &channel, PullTerms { commit_offset: Some(1), ..terms }).unwrap().unwrap();
    assert_eq!((result.kind, result.max_offset), (PullKind::Found, 2));
    assert_eq!(broker.broker.consumer_offsets.committed("G", "T", 0), Some(1));
    let result = pull_one(&broker, &channel, PullTerms { offset: 9, ..terms }).unwrap().unwrap();
    assert_eq!((result.kind, result.next_offset), (PullKind::Moved, 2));
    let refused = pull_one(&broker, &channel, PullTerms { queue_id: 1, ..terms }).unwrap().unwrap_err();
    assert_eq!(refused, PullError::NoSuchQueue(1));
    broker.stop().await;
}

/// Whoever waits for any queue of a topic.
struct AnyQueue(UnboundedSender<()>);

impl Waits for AnyQueue {
    fn wake(self: Box<Self>, _piece: Option<Piece>) {
        self.0.send(()).unwrap();
    }
}

/// What POP does: it names a topic and waits for whichever queue brings something, and keeps the place of each message that it hands out.
#[tokio::test]
async fn whoever_waits_for_any_queue_is_woken_by_one_that_was_made_meanwhile_and_gets_places() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let wanted = Arc::new(Subscription::of_heartbeat(subscription("T", "TagA")));
    let (ends, mut ended) = unbounded_channel();
    let filter = Arc::clone(&wanted);
    let is_wanted = move |arrived: &ferrocket::broker::hold::Arrived| arrived.tags_code.is_none_or(|code| filter.matches_unit(code));
    let waiter = Waiter { wants: Wants::Arrival(Box::new(is_wanted)), timeout_millis: 60_000, who: Box::new(AnyQueue(ends)) };
    assert!(broker.broker.hold.register("T", None, waiter, || false).is_ok());

    stored(send_one(&broker, "T", 0, &[("TAGS", "TagB")], "another tag"));
    broker.create_topic("T", 4);
    stored(send_one(&broker, "T", 3, &[("TAGS", "TagB")], "another tag"));
    assert!(ended.try_recv().is_err());
    let first = stored(send_one(&broker, "T", 3, &[("TAGS", "TagA")], "wanted"));
    ended.try_recv().expect("the arrival in a queue that was not there before");
    assert_eq!(broker.broker.hold.waiting_count(), 0);

    stored(send_one(&broker, "T", 3, &[("TAGS", "TagB")], "another tag"));
    let second = stored(send_one(&broker, "T", 3, &[("TAGS", "TagA")], "wanted, too"));
    let request = GetMessage { group: "G", topic: "T", queue_id: 3, offset: 0, max_count: 32, max_bytes: 1 << 20 };
    let got = broker.broker.store.get_message_listed(&request, &*wanted).unwrap();
    assert_eq!((got.status, got.message_count, got.next_begin_offset), (GetMessageStatus::Found, 2, 4));
    let places: Vec<_> = got.positions.iter().map(|place| (place.queue_offset, place.physical_offset)).collect();
    assert_eq!(places, [(1, first.physical_offset), (3, second.physical_offset)]);
    assert_eq!(got.positions.iter().map(|MessagePosition { size, .. }| *size as usize).sum::<usize>(), got.body.len());
    assert!(broker.broker.store.get_message_blocking(&request, &*wanted).unwrap().positions.is_empty(), "nobody asked for them");
    broker.stop().await;
}
