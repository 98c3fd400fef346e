// SPDX-License-Identifier: Apache-2.0
//! Connections over real sockets: order, overtaking, ends and resets, limits.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panicking and own what they start")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ferrocket::remoting::{Budget, CallError, Completion, Limits, Listener, Peer, RemotingClient, Replies, RequestHandler};
use ferrocket::runtime::{ManualClock, Runtime, SharedClock, SystemClock};
use ferrocket_protocol::{RemotingCommand, SerializeType, frame};
use parking_lot::Mutex;
use support::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

const ECHO: i32 = 1;
const HOLD: i32 = 2;
const RELEASE_ALL: i32 = 3;
const PANIC: i32 = 4;
const BIG: i32 = 5;
const CALL_BACK: i32 = 6;
const DROP: i32 = 7;
const RELEASE_EACH_NOW: i32 = 8;
const RELEASE_DEFERRED: i32 = 9;

/// Long enough for a loaded machine; nothing waits for it when all is well.

#[derive(Default)]
struct Handler {
    requests: AtomicUsize,
    held: Mutex<Vec<Completion>>,
    peers: Mutex<Vec<Arc<Peer>>>,
    connected: AtomicUsize,
    /// Requests handled when each connection closed.
    closed: Mutex<Vec<usize>>,
    changed: Notify,
}

impl Handler {
    async fn until(&self, mut test: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !test(self) {
                // A change may come between the test and the wait.
                let _ = tokio::time::timeout(Duration::from_millis(20), self.changed.notified()).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the awaited state comes");
    }
}

impl RequestHandler for Handler {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        match request.code {
            ECHO => replies.answer(request, RemotingCommand::response(0).with_body(request.body.clone())),
            HOLD => self.held.lock().push(peer.completion(request)),
            RELEASE_ALL | RELEASE_EACH_NOW => {
                let held = std::mem::take(&mut *self.held.lock());
                let now = request.code == RELEASE_EACH_NOW;
                std::thread::spawn(move || {
                    for completion in held {
                        let response = RemotingCommand::response(0).with_remark("late");
                        if now { completion.answer_now(response) } else { completion.answer(response) }
                    }
                });
                replies.answer(request, RemotingCommand::response(0));
            }
            RELEASE_DEFERRED => {
                for completion in std::mem::take(&mut *self.held.lock()) {
                    let peer = Arc::clone(completion.peer());
                    peer.defer(Box::new(move || completion.answer(RemotingCommand::response(0))));
                }
                replies.answer(request, RemotingCommand::response(0));
            }
            PANIC => panic!("on purpose"),
            BIG => replies.answer(request, RemotingCommand::response(0).with_body(vec![7u8; 256 * 1024])),
            CALL_BACK => {
                let (peer, completion) = (Arc::clone(peer), peer.completion(request));
                tokio::spawn(async move {
                    let answer = peer.call(RemotingCommand::request(77), PATIENCE).await;
                    completion.answer(RemotingCommand::response(0).with_body(answer.map(|answer| answer.body).unwrap_or_default()));
                });
            }
            DROP => drop(peer.completion(request)),
            other => panic!("no test sends {other}"),
        }
        self.changed.notify_waiters();
    }

    fn connected(&self, peer: &Arc<Peer>) {
        self.connected.fetch_add(1, Ordering::SeqCst);
        self.peers.lock().push(Arc::clone(peer));
        self.changed.notify_waiters();
    }

    fn closed(&self, peer: &Arc<Peer>) {
        assert!(!peer.is_active());
        self.closed.lock().push(self.requests.load(Ordering::SeqCst));
        self.changed.notify_waiters();
    }
}

struct Server {
    handler: Arc<Handler>,
    listener: Listener,
    runtime: Runtime,
}

impl Server {
    async fn start() -> Self {
        Self::with(Limits::default(), SystemClock::shared()).await
    }

    async fn with(limits: Limits, clock: SharedClock) -> Self {
        let runtime = Runtime::current(clock);
        let handler = Arc::new(Handler::default());
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any_port, Arc::clone(&handler), limits, &runtime).await.unwrap();
        Self { handler, listener, runtime }
    }

    async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.listener.local_addr()).await.unwrap(), input: BytesMut::new() }
    }

    async fn stop(self) {
        assert!(self.runtime.stop(PATIENCE).await, "every connection ends with the runtime");
    }
}

struct Client {
    stream: TcpStream,
    input: BytesMut,
}

impl Client {
    async fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).await.unwrap();
    }

    async fn receive(&mut self) -> RemotingCommand {
        let receiving = async {
            loop {
                if let Some(whole) = frame::split_frame(&mut self.input).unwrap() {
                    return RemotingCommand::decode(whole).unwrap();
                }
                assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "the server closed the connection");
            }
        };
        tokio::time::timeout(PATIENCE, receiving).await.expect("an answer comes")
    }

    /// True when the server ends the connection without another byte.
    async fn is_closed(&mut self) -> bool {
        let end = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await.expect("the server closes");
        end.map_or(true, |bytes| bytes == 0)
    }
}

fn encoded(code: i32, opaque: i32, body: &[u8]) -> Vec<u8> {
    let mut request = RemotingCommand::request(code).with_body(body.to_vec());
    request.opaque = opaque;
    encoded_command(&request)
}

fn encoded_command(command: &RemotingCommand) -> Vec<u8> {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out.to_vec()
}

#[tokio::test]
async fn a_thousand_pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let body = |opaque: i32| format!("body {opaque}");
    let frames: Vec<u8> = (0..1000).flat_map(|opaque| encoded(ECHO, opaque, body(opaque).as_bytes())).collect();
    client.send(&frames).await;
    for opaque in 0..1000 {
        let response = client.receive().await;
        assert!(response.is_response());
        assert_eq!((response.code, response.opaque), (0, opaque));
        assert_eq!(response.body, body(opaque));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_binary_request_gets_a_binary_answer() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let mut request = RemotingCommand::request(ECHO).with_body("b".as_bytes());
    request.serialize_type = SerializeType::RocketMq;
    client.send(&encoded_command(&request)).await;
    assert_eq!(client.receive().await.serialize_type, SerializeType::RocketMq);
    server.stop().await;
}

#[tokio::test]
async fn a_oneway_request_is_handled_and_not_answered() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let mut oneway = RemotingCommand::request(ECHO);
    oneway.mark_oneway();
    client.send(&encoded_command(&oneway)).await;
    client.send(&encoded(ECHO, 5, b"")).await;
    assert_eq!(client.receive().await.opaque, 5);
    assert_eq!(server.handler.requests.load(Ordering::SeqCst), 2);
    server.stop().await;
}

/// One connection carries everything of a Go client: held pulls must not hold up its heartbeats, and are answered later.
#[tokio::test]
async fn later_requests_overtake_32_held_ones() {
    for release in [RELEASE_ALL, RELEASE_EACH_NOW] {
        let server = Server::start().await;
        let mut client = server.connect().await;
        let held: Vec<u8> = (0..32).flat_map(|opaque| encoded(HOLD, opaque, b"")).collect();
        client.send(&held).await;
        for opaque in 100..1100 {
            client.send(&encoded(ECHO, opaque, b"heartbeat")).await;
            assert_eq!(client.receive().await.opaque, opaque);
        }
        let peer = Arc::clone(&server.handler.peers.lock()[0]);
        assert_eq!(peer.outstanding_count(), 32);
        client.send(&encoded(release, 2000, b"")).await;
        let mut late = Vec::new();
        for _ in 0..33 {
            let response = client.receive().await;
            if response.opaque < 32 {
                assert_eq!(response.remark.as_deref(), Some("late"));
                late.push(response.opaque);
            }
        }
        assert_eq!(late, (0..32).collect::<Vec<_>>(), "late answers leave in the order in which they were given");
        assert_eq!(peer.outstanding_count(), 0);
        server.stop().await;
    }
}

/// A producer's answer waits for the pulls of one or two consumers that its message ends, and not for those of more.
#[tokio::test]
async fn the_answer_of_a_read_leaves_before_the_many_that_it_brings_about() {
    for (held, expected) in [(2, vec![0, 1, 9]), (3, vec![9, 0, 1, 2])] {
        let server = Server::start().await;
        let mut client = server.connect().await;
        let frames: Vec<u8> = (0..held).flat_map(|opaque| encoded(HOLD, opaque, b"")).collect();
        client.send(&frames).await;
        server.handler.until(|handler| handler.held.lock().len() == held as usize).await;
        client.send(&encoded(RELEASE_DEFERRED, 9, b"")).await;
        let mut order = Vec::new();
        for _ in 0..=held {
            order.push(client.receive().await.opaque);
        }
        assert_eq!(order, expected);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_dropped_completion_answers_system_error() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&encoded(DROP, 9, b"")).await;
    let response = client.receive().await;
    assert_eq!((response.opaque, response.code), (9, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_panic_is_answered_and_the_connection_lives() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&[encoded(ECHO, 1, b""), encoded(PANIC, 2, b""), encoded(ECHO, 3, b"")].concat()).await;
    for expected in [(1, 0), (2, 1), (3, 0)] {
        let response = client.receive().await;
        assert_eq!((response.opaque, response.code), expected);
    }
    server.stop().await;
}

/// clients.md: Go sends its last offsets and closes in the same breath, often as a reset because answers were left unread.
#[tokio::test]
async fn every_frame_before_an_end_or_a_reset_is_handled_and_only_then_closed() {
    // A reset discards what is still on its way, so this must fit in what the server's socket takes unread.
    const FRAMES: usize = 40;
    for reset in [false, true] {
        let server = Server::start().await;
        for round in 1..=50 {
            let mut client = server.connect().await;
            let frames: Vec<u8> = (0..FRAMES).flat_map(|opaque| encoded(ECHO, opaque as i32, &[1; 1000])).collect();
            client.send(&frames).await;
            if reset {
                socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
                drop(client);
            } else {
                client.stream.shutdown().await.unwrap();
            }
            server.handler.until(|handler| handler.closed.lock().len() == round).await;
            assert_eq!(server.handler.closed.lock()[round - 1], round * FRAMES, "reset: {reset}, round {round}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn frames_may_come_in_any_pieces() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.stream.set_nodelay(true).unwrap();
    let frames: Vec<u8> = (0..4).flat_map(|opaque| encoded(ECHO, opaque, &[3; 50])).collect();
    for piece in frames.chunks(7) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    for opaque in 0..4 {
        assert_eq!(client.receive().await.opaque, opaque);
    }
    let big = vec![9; 5_000_000];
    client.send(&encoded(ECHO, 4, &big)).await;
    assert_eq!(client.receive().await.body, big);
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_rocketmq_is_closed_after_what_was() {
    let lies: [(&str, &[u8]); 5] = [
        ("a frame of 2 GB", b"\x7f\xff\xff\xff"),
        ("a negative length", b"\xff\xff\xff\xff"),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n"),
        ("an unknown serialisation", b"\0\0\0\x04\x09\0\0\0"),
        ("a header longer than its frame", b"\0\0\0\x08\0\0\0\x09{}{}"),
    ];
    let server = Server::start().await;
    for (what, lie) in lies {
        let mut client = server.connect().await;
        client.send(&[&encoded(ECHO, 1, b"good")[..], lie].concat()).await;
        assert_eq!(client.receive().await.opaque, 1, "the good frame is answered before {what}");
        assert!(client.is_closed().await, "{what}");
    }
    let mut tls = server.connect().await;
    tls.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03").await;
    assert!(tls.is_closed().await, "a TLS hello is closed at once");
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_stops_being_read_and_then_gets_all() {
    let limits = Limits { outbound_pause_bytes: 1 << 20, ..Limits::default() };
    let server = Server::with(limits, SystemClock::shared()).await;
    let mut client = server.connect().await;
    let frames: Vec<u8> = (0..200).flat_map(|opaque| encoded(BIG, opaque, b"")).collect();
    client.send(&frames).await;
    let unread = |handler: &Handler| handler.peers.lock().first().map_or(0, |peer| peer.unread_bytes());
    server.handler.until(|handler| unread(handler) > 1 << 20).await;
    assert!(unread(&server.handler) < 2 << 20, "about the limit, not the 50 MB that were asked for");
    assert!(server.handler.requests.load(Ordering::SeqCst) < 200);
    for opaque in 0..200 {
        let response = client.receive().await;
        assert_eq!((response.opaque, response.body.len()), (opaque, 256 * 1024));
    }
    assert_eq!(unread(&server.handler), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_lets_late_answers_pile_up_is_closed() {
    let limits = Limits { outbound_bytes: 8 << 20, ..Limits::default() };
    let server = Server::with(limits, SystemClock::shared()).await;
    let mut client = server.connect().await;
    let frames: Vec<u8> = (0..100).flat_map(|opaque| encoded(HOLD, opaque, b"")).collect();
    client.send(&frames).await;
    server.handler.until(|handler| handler.held.lock().len() == 100).await;
    for completion in std::mem::take(&mut *server.handler.held.lock()) {
        completion.answer(RemotingCommand::response(0).with_body(vec![1u8; 256 * 1024]));
    }
    server.handler.until(|handler| handler.closed.lock().len() == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn too_many_held_requests_stop_the_reading_until_one_is_answered() {
    let limits = Limits { completions: 10, ..Limits::default() };
    let server = Server::with(limits, SystemClock::shared()).await;
    let mut client = server.connect().await;
    for opaque in 0..10 {
        client.send(&encoded(HOLD, opaque, b"")).await;
        server.handler.until(|handler| handler.held.lock().len() == opaque as usize + 1).await;
    }
    client.send(&encoded(ECHO, 50, b"")).await;
    let early = tokio::time::timeout(Duration::from_millis(100), client.receive()).await;
    assert!(early.is_err(), "not read while ten are held");
    let one = server.handler.held.lock().remove(0);
    one.answer_now(RemotingCommand::response(0));
    assert_eq!((client.receive().await.opaque, client.receive().await.opaque), (0, 50));
    server.handler.held.lock().clear();
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_a_busy_one_is_not() {
    let clock = ManualClock::at_millis(0);
    let server = Server::with(Limits::default(), Arc::new(clock.clone())).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    server.handler.until(|handler| handler.connected.load(Ordering::SeqCst) == 2).await;
    for step in 1..=24 {
        busy.send(&encoded(ECHO, step, b"")).await;
        assert_eq!(busy.receive().await.opaque, step);
        assert_eq!(server.listener.connection_count(), 2, "after {} seconds", (step - 1) * 5);
        while clock.waiting_count() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(5));
    }
    assert!(idle.is_closed().await, "120 seconds without a byte");
    busy.send(&encoded(ECHO, 99, b"")).await;
    assert_eq!(busy.receive().await.opaque, 99);
    server.stop().await;
}

#[tokio::test]
async fn the_server_calls_the_client_over_the_same_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&encoded(CALL_BACK, 3, b"")).await;
    let called = client.receive().await;
    assert!(!called.is_response());
    assert_eq!(called.code, 77);
    let answer = RemotingCommand::response(0).with_body("from the client").answering(&called);
    client.send(&encoded_command(&answer)).await;
    let response = client.receive().await;
    assert_eq!((response.opaque, &response.body[..]), (3, &b"from the client"[..]));
    server.stop().await;
}

/// Whoever asks a client that has gone hears so at once, and not when the time for its answer is over.
#[tokio::test]
async fn a_call_to_a_client_that_has_gone_fails_at_once() {
    let server = Server::start().await;
    let client = server.connect().await;
    server.handler.until(|handler| handler.peers.lock().len() == 1).await;
    let peer = Arc::clone(&server.handler.peers.lock()[0]);
    drop(client);
    server.handler.until(|handler| handler.closed.lock().len() == 1).await;
    let called = tokio::time::timeout(PATIENCE, peer.call(RemotingCommand::request(77), 1_000 * PATIENCE)).await;
    assert!(matches!(called, Ok(Err(CallError::Closed { .. }))), "{called:?}");
    server.stop().await;
}

#[tokio::test]
async fn our_own_client_connects_calls_and_connects_again() {
    let server = Server::start().await;
    let client = RemotingClient::new(&server.runtime);
    let addr = server.listener.local_addr().to_string();
    let mut calls = Vec::new();
    for n in 0..20 {
        let (client, addr) = (client.clone(), addr.clone());
        calls.push(tokio::spawn(async move {
            let request = RemotingCommand::request(ECHO).with_body(format!("{n}"));
            assert_eq!(client.invoke(&addr, request, PATIENCE).await.unwrap().body, format!("{n}"));
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(server.handler.connected.load(Ordering::SeqCst), 1, "callers share the connection");
    let held = client.invoke(&addr, RemotingCommand::request(HOLD), Duration::from_millis(50)).await;
    assert!(matches!(held, Err(CallError::Timeout { .. })), "{held:?}");
    let lost = tokio::spawn({
        let (client, addr) = (client.clone(), addr.clone());
        async move { client.invoke(&addr, RemotingCommand::request(HOLD), PATIENCE).await }
    });
    server.handler.until(|handler| handler.held.lock().len() == 2).await;
    server.listener.close_all("test");
    let lost = lost.await.unwrap();
    assert!(matches!(lost, Err(CallError::Closed { .. })), "{lost:?}");
    client.invoke(&addr, RemotingCommand::request(ECHO), PATIENCE).await.unwrap();
    assert_eq!(server.handler.connected.load(Ordering::SeqCst), 3, "given up after no answer, and lost once");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = client.invoke(&nobody.to_string(), RemotingCommand::request(ECHO), PATIENCE).await;
    assert!(matches!(refused, Err(CallError::Connect { .. })), "{refused:?}");
    server.handler.held.lock().clear();
    server.stop().await;
}

#[tokio::test]
async fn an_orderly_stop_answers_what_is_in_flight() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&encoded(HOLD, 1, b"")).await;
    server.handler.until(|handler| handler.held.lock().len() == 1).await;
    server.listener.stop_accepting();
    assert!(!server.listener.drain(Duration::from_millis(30)).await, "one is in flight");
    let completion = server.handler.held.lock().pop().unwrap();
    completion.answer(RemotingCommand::response(0));
    assert!(server.listener.drain(PATIENCE).await);
    server.listener.close_all("test");
    assert_eq!(client.receive().await.opaque, 1);
    assert!(client.is_closed().await);
    server.stop().await;
}

/// A client that was asked something may take as long as it likes: a stop gives up the question.
#[tokio::test]
async fn an_orderly_stop_waits_for_no_answer_of_a_client() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&encoded(CALL_BACK, 3, b"")).await;
    assert_eq!(client.receive().await.code, 77);
    server.listener.stop_accepting();
    assert!(server.listener.drain(Duration::from_secs(5)).await, "whoever waited for the client has answered");
    server.listener.close_all("test");
    assert_eq!(client.receive().await.opaque, 3);
    server.stop().await;
}

/// One that is not read for its requests' sake keeps the piece of the next one that has come, and not the buffer that it came in.
#[tokio::test]
async fn a_connection_that_waits_for_its_answers_owns_no_buffer() {
    let budget = Budget::default();
    let server = Server::with(Limits { completions: 10, budget: budget.clone(), ..Limits::default() }, SystemClock::shared()).await;
    let mut client = server.connect().await;
    // After as much as this it is read with the large buffer.
    client.send(&encoded(ECHO, 99, &[1; 20_000])).await;
    assert_eq!(client.receive().await.opaque, 99);
    let mut frames: Vec<u8> = (0..10).flat_map(|opaque| encoded(HOLD, opaque, &[1; 50])).collect();
    frames.extend_from_slice(&encoded(ECHO, 10, b"")[..20]);
    client.send(&frames).await;
    server.handler.until(|handler| handler.held.lock().len() == 10).await;
    // The connection itself, and eight requests that wait.
    assert_eq!(budget.used_bytes(), 2 * 4096);
    client.send(&encoded(ECHO, 10, b"")[20..]).await;
    server.handler.held.lock().drain(..).for_each(|held| held.answer(RemotingCommand::response(0)));
    for opaque in 0..=10 {
        assert_eq!(client.receive().await.opaque, opaque);
    }
    assert_eq!(budget.used_bytes(), 4096);
    server.stop().await;
}

/// Whatever ended a connection, the listener forgets it, and its bytes are no longer counted: answers that were never read, the begin of
/// a long request, requests that waited.
#[tokio::test]
async fn connections_that_have_ended_leave_no_entry_and_no_byte() {
    const EACH: usize = 16;
    let budget = Budget::default();
    let server = Server::with(Limits { budget: budget.clone(), ..Limits::default() }, SystemClock::shared()).await;
    let mut clients = Vec::new();
    for at in 0..3 * EACH {
        let mut client = server.connect().await;
        let frames: Vec<u8> = match at / EACH {
            0 => (0..40).flat_map(|opaque| encoded(BIG, opaque, b"")).collect(),
            1 => [&(8u32 << 20).to_be_bytes()[..], &vec![0; 1 << 20]].concat(),
            _ => (0..100).flat_map(|opaque| encoded(HOLD, opaque, b"")).collect(),
        };
        client.send(&frames).await;
        clients.push(client);
    }
    server.handler.until(|_| budget.used_bytes() > EACH * (3 << 20)).await;
    server.handler.until(|handler| handler.held.lock().len() == 100 * EACH).await;
    assert_eq!(server.listener.connection_count(), 3 * EACH);
    // Some go, the others are closed while their peers are still there.
    for at in (0..clients.len()).rev().step_by(2) {
        drop(clients.remove(at));
    }
    server.handler.until(|handler| handler.closed.lock().len() == 3 * EACH / 2).await;
    server.listener.close_all("test");
    server.handler.until(|_| server.listener.connection_count() == 0).await;
    // What waits is counted until whoever has it gives it up.
    server.handler.held.lock().clear();
    assert_eq!(budget.used_bytes(), 0);
    server.stop().await;
}

/// No buffer is kept by an idle connection, whatever it carried before.
#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_memory() {
    if !support::is_alone("ten_thousand_idle_connections_cost_little_memory") {
        return;
    }
    let descriptors = support::raised_descriptor_limit();
    // Both ends live in this process; where fewer descriptors are allowed the test makes do.
    let connections = 10_000.min((descriptors - 100) / 2);
    let server = Server::start().await;
    let mut clients = Vec::with_capacity(connections);
    let before = anonymous_bytes();
    for opaque in 0..connections {
        let mut client = server.connect().await;
        client.send(&encoded(ECHO, opaque as i32, &[1; 2000])).await;
        // A piece of the next frame stays in the connection.
        client.send(&encoded(ECHO, 0, b"")[..20]).await;
        assert_eq!(client.receive().await.opaque, opaque as i32);
        client.input = BytesMut::new();
        clients.push(client);
    }
    assert_eq!(server.listener.connection_count(), connections);
    // What the last reads took is given back a moment later.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let each = anonymous_bytes().saturating_sub(before) / connections;
        // Both ends, and what the test itself keeps of each; a read buffer alone would be 64 KiB.
        if each < 6 * 1024 {
            break;
        }
        assert!(Instant::now() < deadline, "{each} bytes per connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(clients);
    server.stop().await;
}

fn anonymous_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
