// SPDX-License-Identifier: Apache-2.0
//! The programme's connections on two reactors and real sockets: clients that send, wait, lag and leave, and a stop in the midst.
//!
//! Every request is answered once, by its opaque; a connection that stands still fails the run, as does whatever is left after a stop.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use ferrocket::remoting::{Limits, Listener, ReadScheduler};
use ferrocket::runtime::{Clock, Runtime, SystemClock, Task};
use ferrocket_protocol::{RemotingCommand, frame, response_code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::service::{Broker, Handler, LATER, SEND, SERIAL, pull_of};

mod rooms {
    //! The rooms as the programme has them.

    use std::sync::Arc;

    pub(super) use ferrocket::broker::filter::Subscription;
    pub(super) use ferrocket::broker::hold::{Hold, Piece, Waiter, Waits, Wants};
    pub(super) use ferrocket::remoting::{Completion, Peer, Replies, RequestHandler, SerialQueue, Work};
    pub(super) use ferrocket::runtime::sync::{AtomicU64, Mutex, Ordering};
    pub(super) use ferrocket::runtime::{Runtime, SharedClock};
    use ferrocket_protocol::java_hash::string_hash;

    fn name(tag: i64) -> String {
        format!("tag{tag}")
    }

    pub(super) fn tags_code(tag: i64) -> i64 {
        i64::from(string_hash(&name(tag)))
    }

    pub(super) fn subscription(tag: Option<i64>) -> Arc<Subscription> {
        let expression = tag.map_or_else(|| "*".to_owned(), name);
        Arc::new(Subscription::of_pull("T", Some(&expression), None, 0).expect("an expression of one tag"))
    }
}
#[expect(clippy::duplicate_mod, reason = "over two sorts of rooms")]
#[path = "service.rs"]
mod service;

/// Of each stop: long enough that everything mixes, short enough for a few of them in a minute.
const ROUND: Duration = Duration::from_secs(4);
/// A request that has no answer after this stands still, if others were answered meanwhile. Pulls wait for a fraction of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many others: on a machine that has no time for us all of them wait.
const OTHERS: usize = 50_000;
/// When none is answered for so many times the patience, all stand still.
const PATIENCES: usize = 10;
const PULL_MILLIS: i64 = 500;
const SENDERS: usize = 8;
const LAGGING: usize = 6;
/// More than an arrival looks at at once.
const WAITING: usize = 60;
const LEAVING: usize = 6;
/// How far behind a consumer that lags begins.
const LAG: i64 = 400;
const TAGS: u64 = 3;

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

pub(crate) fn now_nanos() -> u64 {
    SystemClock::new().now_millis() as u64 * 1_000_003
}

pub(crate) fn run(seed: u64, time: Duration) {
    let clock = SystemClock::new();
    let (mut rounds, mut answers) = (0, 0);
    while clock.nanos() < time.as_nanos() as u64 {
        let seed = seed.wrapping_add(rounds);
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a tokio runtime");
        let round = ROUND.min(time);
        answers += tokio.block_on(one_round(seed, round));
        rounds += 1;
    }
    if rounds > 0 {
        eprintln!("races: {answers} answers in {rounds} rounds on two reactors");
    }
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    answers: AtomicUsize,
}

/// A client of one connection, which may end once the stop has begun.
struct Client {
    stream: TcpStream,
    input: BytesMut,
    next_opaque: i32,
    open: HashMap<i32, i32>,
    shared: Arc<Shared>,
}

impl Client {
    async fn connect(addr: SocketAddr, shared: &Arc<Shared>) -> Option<Self> {
        let stream = match TcpStream::connect(addr).await {
            Ok(stream) => stream,
            Err(_) if shared.stopping.load(Ordering::SeqCst) => return None,
            Err(error) => panic!("cannot connect: {error}"),
        };
        let shared = Arc::clone(shared);
        Some(Self { stream, input: BytesMut::new(), next_opaque: 0, open: HashMap::new(), shared })
    }

    async fn ask(&mut self, requests: &[(i32, i32)]) -> Option<()> {
        let mut bytes = BytesMut::new();
        for (code, version) in requests {
            let mut request = RemotingCommand::request(*code);
            self.next_opaque += 1;
            (request.opaque, request.version) = (self.next_opaque, *version);
            self.open.insert(request.opaque, *code);
            request.encode(&mut bytes);
        }
        match tokio::time::timeout(PATIENCE, self.stream.write_all(&bytes)).await {
            Ok(Ok(())) => Some(()),
            Ok(Err(error)) => self.ended(&error.to_string()),
            Err(_) => panic!("a connection takes no requests; open: {:?}", self.open),
        }
    }

    async fn answer(&mut self) -> Option<RemotingCommand> {
        let answers_before = self.shared.answers.load(Ordering::Relaxed);
        let mut patiences = 0;
        loop {
            let bytes = frame::split_frame(&mut self.input).unwrap_or_else(|error| panic!("an answer that is no frame: {error}"));
            if let Some(bytes) = bytes {
                let answer = RemotingCommand::decode(bytes).unwrap_or_else(|error| panic!("an answer that cannot be read: {error}"));
                assert!(self.open.remove(&answer.opaque).is_some(), "{} was answered twice, or never asked", answer.opaque);
                self.shared.answers.fetch_add(1, Ordering::Relaxed);
                return Some(answer);
            }
            match tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(0)) => return self.ended("end of stream"),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return self.ended(&error.to_string()),
                Err(_) => {
                    patiences += 1;
                    let others = self.shared.answers.load(Ordering::Relaxed) - answers_before;
                    let stands_still = others >= OTHERS || patiences >= PATIENCES;
                    assert!(!stands_still, "a connection stands still while {others} others were answered; open: {:?}", self.open);
                }
            }
        }
    }

    async fn all_answers(&mut self) -> Option<()> {
        while !self.open.is_empty() {
            self.answer().await?;
        }
        Some(())
    }

    fn ended<T>(&self, why: &str) -> Option<T> {
        assert!(self.shared.stopping.load(Ordering::SeqCst), "a connection ended ({why}); open: {:?}", self.open);
        None
    }
}

fn request(random: &mut Random) -> (i32, i32) {
    match random.below(8) {
        0 => (SERIAL, 0),
        1 => (LATER, random.below(2) as i32),
        _ => (SEND, random.below(TAGS) as i32),
    }
}

/// Bursts, of which some are answered before the next and some are not.
async fn send(mut client: Client, mut random: Random) -> Option<()> {
    loop {
        let burst: Vec<_> = (0..=random.below(12)).map(|_| request(&mut random)).collect();
        client.ask(&burst).await?;
        match random.below(4) {
            0 if client.open.len() < 200 => {}
            1 => {
                client.answer().await?;
            }
            _ => client.all_answers().await?,
        }
        if random.below(64) == 0 {
            client.all_answers().await?;
            SystemClock::new().sleep(Duration::from_millis(random.below(5))).await;
        }
    }
}

/// Begins far behind, and asks for the next as soon as it has one.
async fn lag(mut client: Client, broker: Arc<Broker>) -> Option<()> {
    loop {
        let mut from = (broker.max_offset() - LAG).max(0);
        for _ in 0..4 * LAG {
            client.ask(&[pull_of(from, None)]).await?;
            from = i64::from(client.answer().await?.version);
        }
    }
}

/// At the end, for one tag or all.
async fn wait(mut client: Client, broker: Arc<Broker>, tag: Option<i64>) -> Option<()> {
    let mut from = broker.max_offset();
    loop {
        client.ask(&[pull_of(from, tag)]).await?;
        let answer = client.answer().await?;
        assert!([response_code::SUCCESS, response_code::PULL_RETRY_IMMEDIATELY].contains(&answer.code));
        assert!(i64::from(answer.version) >= from, "back from {from} to {}", answer.version);
        // One that fell behind lets the rest be.
        from = i64::from(answer.version).max(broker.max_offset() - LAG);
    }
}

/// Asks for this and that and goes, with or without its answers; and comes again.
async fn leave(addr: SocketAddr, shared: Arc<Shared>, broker: Arc<Broker>, mut random: Random) -> Option<()> {
    while !shared.stopping.load(Ordering::SeqCst) {
        let mut client = Client::connect(addr, &shared).await?;
        for _ in 0..random.below(6) {
            let mut burst: Vec<_> = (0..=random.below(40)).map(|_| request(&mut random)).collect();
            burst.push(pull_of(broker.max_offset(), None));
            client.ask(&burst).await?;
            if random.below(2) == 0 {
                client.answer().await?;
            }
        }
    }
    None
}

async fn one_round(seed: u64, time: Duration) -> usize {
    let runtime = Runtime::current(SystemClock::shared());
    runtime.start_reactors(31).expect("reactors");
    let broker = Broker::new(SystemClock::shared(), &runtime, PULL_MILLIS);
    let read_scheduler = ReadScheduler::new(2);
    let limits = Limits { read_scheduler: read_scheduler.clone(), completions: 64, outbound_pause_bytes: 4 * 1024, ..Limits::default() };
    let handler = Arc::new(Handler(Arc::clone(&broker)));
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), handler, limits, &runtime).await.expect("a port");
    let addr = listener.local_addr();
    let shared = Arc::new(Shared::default());
    let mut clients = Vec::new();
    let random = |of: usize| Random(seed.wrapping_mul(1_000_003).wrapping_add(of as u64));
    for of in 0..SENDERS {
        let client = Client::connect(addr, &shared).await.expect("the listener stops later");
        clients.push(runtime.spawn("client", send(client, random(of))));
    }
    for _ in 0..LAGGING {
        let client = Client::connect(addr, &shared).await.expect("the listener stops later");
        clients.push(runtime.spawn("client", lag(client, Arc::clone(&broker))));
    }
    for of in 0..WAITING {
        let client = Client::connect(addr, &shared).await.expect("the listener stops later");
        let tag = Some(random(of).below(2 * TAGS) as i64).filter(|tag| *tag < TAGS as i64);
        clients.push(runtime.spawn("client", wait(client, Arc::clone(&broker), tag)));
    }
    for of in 0..LEAVING {
        clients.push(runtime.spawn("client", leave(addr, Arc::clone(&shared), Arc::clone(&broker), random(SENDERS + of))));
    }

    let clock = SystemClock::new();
    while clock.nanos() < time.as_nanos() as u64 {
        clock.sleep(Duration::from_millis(20)).await;
        assert!(!clients.iter().any(Task::is_finished), "seed {seed}: a client ended");
    }

    shared.stopping.store(true, Ordering::SeqCst);
    listener.stop_accepting();
    listener.stop_reading();
    broker.hold.stop();
    assert!(listener.drain(PATIENCE).await, "seed {seed}: requests that were read have no answer");
    listener.close_all("the server stops");
    for client in clients {
        assert!(client.join().await.is_some(), "seed {seed}: a client panicked");
    }
    let settled = async {
        while listener.connection_count() > 0
            || !broker.serial.is_idle()
            || format!("{read_scheduler:?}") != "ReadScheduler(2 free, 0 waiting)"
        {
            clock.sleep(Duration::from_millis(1)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, settled).await.is_ok();
    assert!(ended, "seed {seed}: left: {} connections, {:?}, {read_scheduler:?}", listener.connection_count(), broker.serial);
    assert_eq!(broker.hold.waiting_count(), 0, "seed {seed}: somebody waits after the stop");
    assert!(runtime.stop(PATIENCE).await, "seed {seed}: the runtime does not stop");
    shared.answers.load(Ordering::Relaxed)
}
