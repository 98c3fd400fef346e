// SPDX-License-Identifier: Apache-2.0
//! Small programmes over the rooms that share something between threads, run in thousands of orders. In each of them every request is
//! answered exactly once, and nobody waits for something that has happened: the scheduler ends a run in which all wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ferrocket_protocol::{RemotingCommand, response_code};
use shuttle::future::{block_on, spawn};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, MaxSteps, Runner};

use self::rooms::{AtomicU64, Hold, Ordering, Piece, Runtime, SharedClock, Waiter, Waits, Wants, subscription};
use self::service::{Broker, Handler, LATER, SEND, SERIAL, TOPIC, pull_of};
use crate::broker::hold::LOOKED_AT_ONCE_MAX;
use crate::remoting::{Client, Connected, Limits, ReadScheduler, connect, drain, is_drained};
use crate::runtime::sync::AtomicUsize;
use crate::runtime::{Clock, ManualClock, SystemClock};

mod rooms {
    //! The rooms as the model has them.

    use std::sync::Arc;

    use crate::broker::filter::Subscription;
    pub(super) use crate::broker::hold::{Hold, Piece, Waiter, Waits, Wants};
    pub(super) use crate::remoting::{Completion, Peer, Replies, RequestHandler, SerialQueue, Work};
    pub(super) use crate::runtime::sync::{AtomicU64, Mutex, Ordering};
    pub(super) use crate::runtime::{Runtime, SharedClock};

    pub(super) fn tags_code(tag: i64) -> i64 {
        tag
    }

    pub(super) fn subscription(tags_code: Option<i64>) -> Arc<Subscription> {
        Arc::new(Subscription { tags_code })
    }
}
#[expect(clippy::duplicate_mod, reason = "over two sorts of rooms")]
#[path = "service.rs"]
mod service;

/// Longer than any model waits, except where its clock is moved.
const LONG_MILLIS: i64 = 15_000;

struct Model {
    name: &'static str,
    run: fn(),
}

const MODELS: [Model; 7] = [
    Model { name: "read grants, held pulls and deferred answers", run: everybody_is_answered },
    Model { name: "clients that go, closes and drains", run: whoever_goes_leaves_nothing },
    Model { name: "peers that read late", run: late_readers_are_answered },
    Model { name: "limits of one request and one answer", run: paused_ones_go_on },
    Model { name: "arrivals told in another order", run: swapped_arrivals_lose_nobody },
    Model { name: "crowds", run: crowds_are_woken },
    Model { name: "lists that are let go", run: lists_come_and_go },
];

/// Orders that a scheduler of few, well placed changes tries: as many as most faults of this kind need.
const CHANGES: usize = 3;
/// Between two looks at the clock.
const ORDERS_OF_A_SEED: usize = 50;
/// Frames of ours on the stack of a model's thread.
const STACK_BYTES: usize = 256 * 1024;
/// Steps of one run: far above what any model takes, so that one which goes round for good is found.
const STEPS_MAX: usize = 1_000_000;

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    // Weaker orders than the strongest are not tried; the fences are reasoned about where they stand.
    config.silence_warnings = true;
    config
}

pub(crate) fn run_all(seed: u64, time: Duration) {
    if time.is_zero() {
        return;
    }
    let clock = SystemClock::new();
    for (at, Model { name, run }) in MODELS.into_iter().enumerate() {
        let end = time * (at as u32 + 1) / MODELS.len() as u32;
        let (mut seed, mut orders) = (seed, 0);
        while orders == 0 || clock.nanos() < end.as_nanos() as u64 {
            orders += Runner::new(RandomScheduler::new_from_seed(seed, ORDERS_OF_A_SEED), config()).run(run);
            orders += Runner::new(PctScheduler::new_from_seed(seed, CHANGES, ORDERS_OF_A_SEED), config()).run(run);
            seed = seed.wrapping_add(1);
        }
        eprintln!("races: {name}: {orders} orders");
    }
}

pub(crate) fn replay(name: &str, schedule: &str) {
    let model = MODELS.iter().find(|model| model.name == name);
    let Model { run, .. } = model.unwrap_or_else(|| panic!("no model is named {name:?}"));
    Runner::new(ReplayScheduler::new_from_encoded(schedule), config()).run(*run);
}

/// What a client has asked and not heard of.
struct Asked {
    client: Client,
    next_opaque: i32,
    open: HashMap<i32, i32>,
}

impl Asked {
    fn new(client: &Client) -> Self {
        Self { client: client.clone(), next_opaque: 0, open: HashMap::new() }
    }

    /// All of them arrive together.
    fn ask(&mut self, requests: &[(i32, i32)]) {
        let mut bytes = BytesMut::new();
        for (code, version) in requests {
            let mut request = RemotingCommand::request(*code);
            self.next_opaque += 1;
            (request.opaque, request.version) = (self.next_opaque, *version);
            self.open.insert(request.opaque, *code);
            request.encode(&mut bytes);
        }
        self.client.send(&bytes);
    }

    /// `None` when the connection has ended.
    async fn answer(&mut self) -> Option<RemotingCommand> {
        let answer = self.client.answer().await?;
        assert!(self.open.remove(&answer.opaque).is_some(), "{} was answered twice, or never asked", answer.opaque);
        Some(answer)
    }

    async fn all_answers(&mut self) {
        while !self.open.is_empty() {
            let answer = self.answer().await.expect("the connection ended before the answer");
            assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        }
    }
}

/// Reads until it has so many of its tag.
async fn consume(client: Client, tag: Option<i64>, count: usize) {
    let mut asked = Asked::new(&client);
    let (mut from, mut seen) = (0, 0);
    while seen < count {
        asked.ask(&[pull_of(from, tag)]);
        let answer = asked.answer().await.expect("the connection ended before the message");
        assert!(i64::from(answer.version) >= from, "back from {from} to {}", answer.version);
        seen += usize::from(answer.code == response_code::SUCCESS);
        from = i64::from(answer.version);
    }
    client.close();
}

/// Sends in reads of one, and other requests beside.
async fn produce(client: Client, rounds: usize, tag: i64) {
    let mut asked = Asked::new(&client);
    for round in 0..rounds {
        match thread_rng().gen_range(0..3) {
            0 => asked.ask(&[(SEND, tag as i32)]),
            1 => asked.ask(&[(SEND, tag as i32), (SERIAL, 0)]),
            _ => asked.ask(&[(LATER, round as i32 % 2), (SEND, tag as i32)]),
        }
        if round % 2 == 1 {
            asked.all_answers().await;
        }
    }
    asked.all_answers().await;
    client.close();
}

struct Server {
    broker: Arc<Broker>,
    handler: Arc<Handler>,
    runtime: Runtime,
    limits: Limits,
    clock: SharedClock,
}

impl Server {
    fn new(limits: Limits) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::at_millis(0));
        let runtime = Runtime::default();
        let broker = Broker::new(Arc::clone(&clock), &runtime, LONG_MILLIS);
        let limits = Limits { read_scheduler: ReadScheduler::new(1), ..limits };
        Self { handler: Arc::new(Handler(Arc::clone(&broker))), broker, runtime, limits, clock }
    }

    fn connect(&self, room: usize) -> Connected {
        connect(Arc::clone(&self.handler), &self.limits, Arc::clone(&self.clock), room)
    }

    /// Nothing is left of these connections.
    fn ended(self, connections: Vec<Connected>) {
        for Connected { client, peer, task } in connections {
            client.close();
            block_on(task).expect("a connection's task panicked");
            self.broker.hold.stop();
            while !self.broker.serial.is_idle() || peer.outstanding_count() > 0 {
                shuttle::thread::yield_now();
            }
        }
        assert_eq!(self.broker.hold.waiting_count(), 0, "somebody waits after the stop");
        self.runtime.shutdown().begin();
        assert_eq!(format!("{:?}", self.limits.read_scheduler), "ReadScheduler(1 free, 0 waiting)");
    }
}

fn everybody_is_answered() {
    let server = Server::new(Limits::default());
    let connections: Vec<_> = (0..4).map(|_| server.connect(usize::MAX)).collect();
    let clients = [
        spawn(consume(connections[0].client.clone(), None, 6)),
        spawn(consume(connections[1].client.clone(), None, 6)),
        spawn(produce(connections[2].client.clone(), 3, 1)),
        spawn(produce(connections[3].client.clone(), 3, 2)),
    ];
    for client in clients {
        block_on(client).expect("a client panicked");
    }
    server.ended(connections);
}

/// Answers until the connection ends; each at most once.
async fn ask_until_the_end(client: Client, goes_after: usize) {
    let mut asked = Asked::new(&client);
    for at in 0..goes_after {
        asked.ask(&[pull_of(at as i64, None), (SEND, 1), (SERIAL, 0), (LATER, at as i32 % 2)]);
        if asked.answer().await.is_none() {
            return;
        }
    }
    if thread_rng().gen_bool(0.5) {
        client.close();
    }
    while asked.answer().await.is_some() {}
}

fn whoever_goes_leaves_nothing() {
    let server = Server::new(Limits { completions: 3, ..Limits::default() });
    let connections: Vec<_> = (0..3).map(|_| server.connect(usize::MAX)).collect();
    let clients: Vec<_> = connections.iter().map(|one| spawn(ask_until_the_end(one.client.clone(), 2))).collect();
    let peers: Vec<_> = connections.iter().map(|one| Arc::clone(&one.peer)).collect();
    let broker = Arc::clone(&server.broker);
    let stop = shuttle::thread::spawn(move || {
        drain(&peers[0]);
        peers[1].close("on purpose");
        broker.hold.forget_topic(TOPIC);
        drain(&peers[2]);
        broker.hold.stop();
        // What was read has its answer, and then it ends.
        for peer in peers {
            while peer.is_active() && !is_drained(&peer) {
                shuttle::thread::yield_now();
            }
            peer.close("the server stops");
        }
    });
    stop.join().expect("the stop panicked");
    for client in clients {
        block_on(client).expect("a client panicked");
    }
    server.ended(connections);
}

/// Little room, and limits that are reached by few answers.
fn late_readers_are_answered() {
    let limits = Limits { completions: 2, outbound_pause_bytes: 150, ..Limits::default() };
    let server = Server::new(limits);
    let connections: Vec<_> = (0..2).map(|_| server.connect(100)).collect();
    let clients: Vec<_> = connections
        .iter()
        .map(|one| {
            let client = one.client.clone();
            spawn(async move {
                let mut asked = Asked::new(&client);
                asked.ask(&[(SEND, 1), (LATER, 0), (SERIAL, 0), (SEND, 1), (LATER, 1), pull_of(0, None)]);
                asked.ask(&[(SEND, 1), (LATER, 0), (SEND, 1)]);
                asked.all_answers().await;
                client.close();
            })
        })
        .collect();
    for client in clients {
        block_on(client).expect("a client panicked");
    }
    server.ended(connections);
}

/// One that waits may not be read, and its answer is more than it may leave unread until it is written.
fn paused_ones_go_on() {
    let server = Server::new(Limits { completions: 1, outbound_pause_bytes: 20, ..Limits::default() });
    let connections: Vec<_> = (0..3).map(|_| server.connect(usize::MAX)).collect();
    let clients = [
        spawn(consume(connections[0].client.clone(), None, 4)),
        spawn(consume(connections[1].client.clone(), None, 4)),
        spawn(produce(connections[2].client.clone(), 4, 1)),
    ];
    for client in clients {
        block_on(client).expect("a client panicked");
    }
    server.ended(connections);
}

fn swapped_arrivals_lose_nobody() {
    let server = Server::new(Limits::default());
    let connections: Vec<_> = (0..3).map(|_| server.connect(usize::MAX)).collect();
    let clients = [
        spawn(consume(connections[0].client.clone(), Some(1), 2)),
        spawn(consume(connections[1].client.clone(), Some(2), 2)),
        spawn(consume(connections[2].client.clone(), None, 4)),
    ];
    // Puts of two threads: the lock of the log is left before the arrival is told.
    let producers = [1, 2].map(|tag| {
        let broker = Arc::clone(&server.broker);
        shuttle::thread::spawn(move || (0..2).for_each(|_| broker.put(tag)))
    });
    for producer in producers {
        producer.join().expect("a producer panicked");
    }
    for client in clients {
        block_on(client).expect("a client panicked");
    }
    server.ended(connections);
}

/// One of many who wait for the same.
struct OfCrowd {
    woken: Arc<AtomicUsize>,
    piece: Option<Piece>,
}

impl Waits for OfCrowd {
    fn wake(mut self: Box<Self>, piece: Option<Piece>) {
        self.piece = piece;
        self.woken.fetch_add(1, Ordering::SeqCst);
        if self.woken.load(Ordering::SeqCst).is_multiple_of(16) {
            drop(shuttle::thread::spawn(move || drop(self)));
        }
    }
}

fn join_crowd(hold: &Hold, from_offset: i64, tags_code: Option<i64>, woken: &Arc<AtomicUsize>, max_offset: &AtomicU64) {
    let who = Box::new(OfCrowd { woken: Arc::clone(woken), piece: None });
    let wants = Wants::Message { from_offset, subscription: subscription(tags_code) };
    let waiter = Waiter { wants, timeout_millis: LONG_MILLIS, who };
    assert!(hold.register(TOPIC, Some(0), waiter, || max_offset.load(Ordering::SeqCst) as i64 > from_offset).is_ok());
}

fn crowds_are_woken() {
    let clock = ManualClock::at_millis(0);
    let hold = Arc::new(Hold::new(Arc::new(clock.clone())));
    let runtime = Runtime::default();
    hold.start(&runtime);
    let woken = Arc::new(AtomicUsize::new(0));
    let max_offset = Arc::new(AtomicU64::new(0));
    const COUNT: usize = LOOKED_AT_ONCE_MAX + 8;
    for at in 0..COUNT {
        join_crowd(&hold, 0, (at % 4 == 0).then_some(2), &woken, &max_offset);
    }
    let puts = [1, 2].map(|tag| {
        let (hold, max_offset) = (Arc::clone(&hold), Arc::clone(&max_offset));
        shuttle::thread::spawn(move || {
            let max_offset = max_offset.fetch_add(1, Ordering::SeqCst) + 1;
            hold.arriving(TOPIC, 0, max_offset as i64, tag);
        })
    });
    // They come while the crowd is looked at.
    for from in 0..3 {
        join_crowd(&hold, from, None, &woken, &max_offset);
    }
    for put in puts {
        put.join().expect("a put panicked");
    }
    // All but the one that waits for a third message.
    while woken.load(Ordering::SeqCst) < COUNT + 2 {
        shuttle::thread::yield_now();
    }
    clock.advance(Duration::from_millis(LONG_MILLIS as u64));
    while hold.waiting_count() > 0 {
        shuttle::thread::yield_now();
    }
    assert_eq!(woken.load(Ordering::SeqCst), COUNT + 3);
    runtime.shutdown().begin();
}

/// Waiters of one queue come, go at their deadlines and are forgotten: each is woken once, and the table is empty in the end.
fn lists_come_and_go() {
    let clock = ManualClock::at_millis(0);
    let hold = Arc::new(Hold::new(Arc::new(clock.clone())));
    let runtime = Runtime::default();
    hold.start(&runtime);
    let woken = Arc::new(AtomicUsize::new(0));
    let max_offset = Arc::new(AtomicU64::new(0));
    let coming = [0, 1].map(|_| {
        let (hold, woken, max_offset) = (Arc::clone(&hold), Arc::clone(&woken), Arc::clone(&max_offset));
        shuttle::thread::spawn(move || {
            for _ in 0..3 {
                join_crowd(&hold, i64::MAX, None, &woken, &max_offset);
            }
        })
    });
    for _ in 0..3 {
        clock.advance(Duration::from_millis(LONG_MILLIS as u64));
        shuttle::thread::yield_now();
    }
    hold.forget_topic(TOPIC);
    for one in coming {
        one.join().expect("whoever waits panicked");
    }
    while hold.waiting_count() > 0 {
        clock.advance(Duration::from_millis(LONG_MILLIS as u64));
        shuttle::thread::yield_now();
    }
    assert_eq!(woken.load(Ordering::SeqCst), 6);
    while hold.queue_count() > 0 {
        clock.advance(Duration::from_millis(LONG_MILLIS as u64));
        shuttle::thread::yield_now();
    }
    runtime.shutdown().begin();
}
