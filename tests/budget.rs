// SPDX-License-Identifier: Apache-2.0
//! What clients make a process keep stays within its budget, and those who ask for little are served whatever others do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panicking and wait for real time")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ferrocket::remoting::{Budget, Limits};
use ferrocket_protocol::header::PullMessageRequestHeader;
use ferrocket_protocol::header::query::QueryMessageRequestHeader;
use ferrocket_protocol::message::decode;
use ferrocket_protocol::{RemotingCommand, Str, request_code, response_code};
use support::process::Server;
use support::{Client, Setup, TestBroker, pull_header, pull_request, pulled, send_header, send_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const MIB: usize = 1024 * 1024;
const BUDGET_BYTES: usize = 16 * MIB;
/// What one thread may have made before it sees that there is no room.
const ONE_ANSWER_BYTES: usize = MIB;
/// The allocator keeps some of what was freed, and so does the client's side of this process. Unbounded it is hundreds of MiB.
const RESIDENT_GROWTH_MAX: usize = 96 * MIB;

const TOPIC: &str = "TBW102";

/// What is resident is one number for the whole process.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn broker() -> (TestBroker, Budget) {
    let budget = Budget::new(BUDGET_BYTES);
    let mut setup = Setup::new();
    setup.limits = Limits { budget: budget.clone(), ..Limits::default() };
    (setup.start().await, budget)
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A client whose kernel takes little for it.
async fn connect_small(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(addr).await.unwrap()
}

fn pull_from(queue_offset: i64) -> RemotingCommand {
    pull_request(&PullMessageRequestHeader {
        sys_flag: 2 | 4,
        subscription: Some(Str::from("*")),
        ..pull_header("G", TOPIC, 0, queue_offset)
    })
}

fn frames(requests: impl IntoIterator<Item = RemotingCommand>) -> BytesMut {
    let mut out = BytesMut::new();
    for (opaque, mut request) in requests.into_iter().enumerate() {
        request.opaque = opaque as i32;
        request.encode(&mut out);
    }
    out
}

/// The first 1,000 sends of this client; how long the slowest took.
async fn slowest_send(client: &mut Client) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..1_000 {
        let began = Instant::now();
        client.send(TOPIC, 1, "", "a well-behaved message").await;
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_go_on_beside_readers_that_never_read() {
    let _one = ONE_AT_A_TIME.lock().await;
    let (broker, budget) = broker().await;
    let mut senders = Vec::new();
    for _ in 0..4 {
        senders.push(broker.connect().await);
    }
    let body = "x".repeat(32 * 1024);
    for _ in 0..64 {
        senders[0].send(TOPIC, 0, "", &body).await;
    }
    let before = resident_bytes();
    let ask = frames((0..64).map(|_| pull_from(0)));
    let mut readers = Vec::new();
    for _ in 0..200 {
        let mut reader = connect_small(broker.addr).await;
        // One that is closed meanwhile is one that gave way.
        let _ = reader.write_all(&ask).await;
        readers.push(reader);
    }
    let mut slowest = Duration::ZERO;
    let mut most = 0;
    for sender in &mut senders {
        slowest = slowest.max(slowest_send(sender).await);
        most = most.max(budget.used_bytes());
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("used {} KiB at most, resident +{} MiB, the slowest send took {slowest:?}", most / 1024, grown / MIB);
    assert!(most <= BUDGET_BYTES + ONE_ANSWER_BYTES, "{most} bytes are counted");
    assert!(most > BUDGET_BYTES / 2, "the readers have reached the budget: {most}");
    assert!(grown < RESIDENT_GROWTH_MAX, "{} MiB more are resident", grown / MIB);
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    drop(readers);
    let empty = async {
        while budget.used_bytes() > MIB {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, empty).await.expect("what they held is given back");
    senders[0].send(TOPIC, 1, "", "and on").await;
    broker.stop().await;
}

/// Whatever a pull or a query asks for, its answer takes no more than one connection's share of what is free, but one message.
#[tokio::test]
async fn what_is_read_for_an_answer_has_room_in_the_budget() {
    let _one = ONE_AT_A_TIME.lock().await;
    let query = QueryMessageRequestHeader {
        topic: Str::from(TOPIC),
        key: Str::from("k"),
        max_num: 32,
        end_timestamp: i64::MAX,
        ..Default::default()
    };
    for (budget_bytes, count) in [(16 * MIB, 5), (MIB / 2, 2), (MIB / 8, 1)] {
        let mut setup = Setup::new();
        setup.limits = Limits { budget: Budget::new(budget_bytes), ..Limits::default() };
        let broker = setup.start().await;
        let mut client = broker.connect().await;
        let header = send_header(TOPIC, 0, &[("KEYS", "k")]);
        for _ in 0..5 {
            let request = RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body(vec![b'x'; 40 * 1024]);
            assert_eq!(client.call(request).await.code, response_code::SUCCESS);
        }
        assert_eq!(pulled(&client.call(pull_from(0)).await).2.len(), count, "pulled of {budget_bytes}");
        let found = client.call_with(request_code::QUERY_MESSAGE, &query).await;
        assert_eq!(decode::records(&found.body).count(), count, "found of {budget_bytes}");
        broker.stop().await;
    }
}

/// A frame is announced with 16 MiB; a few hundred KiB come, and then nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_message_gets_through_beside_frames_that_never_end() {
    let _one = ONE_AT_A_TIME.lock().await;
    let (broker, budget) = broker().await;
    let before = resident_bytes();
    let mut piece = (16 * MIB as u32 - 4).to_be_bytes().to_vec();
    piece.resize(MIB, 0);
    let mut trickling = Vec::new();
    for _ in 0..200 {
        let stream = connect_small(broker.addr).await;
        let _ = stream.set_nodelay(true);
        trickling.push(stream);
    }
    // What the kernel takes, or what the broker reads of it within a moment.
    for stream in &mut trickling {
        let _ = tokio::time::timeout(Duration::from_millis(5), stream.write_all(&piece)).await;
    }
    let held = budget.used_bytes();
    assert!(held > BUDGET_BYTES / 2, "the frames have reached the budget: {held}");
    let mut sender = broker.connect().await;
    let began = Instant::now();
    let body = "m".repeat(3 * MIB);
    let response = sender.call(send_request(TOPIC, 0, "", &body)).await;
    assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
    let (took, grown, used) = (began.elapsed(), resident_bytes().saturating_sub(before), budget.used_bytes());
    println!("used {} KiB, then {} KiB, resident +{} MiB, the long message took {took:?}", held / 1024, used / 1024, grown / MIB);
    assert!(used <= BUDGET_BYTES + ONE_ANSWER_BYTES, "{used} bytes are counted");
    assert!(grown < RESIDENT_GROWTH_MAX, "{} MiB more are resident", grown / MIB);
    broker.stop().await;
}

/// Each is given the message, though all answers together are three times the budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_read_are_all_given_a_long_message_that_they_wait_for() {
    let _one = ONE_AT_A_TIME.lock().await;
    let (broker, budget) = broker().await;
    let mut consumers = Vec::new();
    for _ in 0..100 {
        let mut consumer = broker.connect().await;
        let opaque = consumer.begin(pull_from(0)).await;
        consumers.push((consumer, opaque));
    }
    let mut sender = broker.connect().await;
    let body = "m".repeat(MIB / 2);
    sender.send(TOPIC, 0, "", &body).await;
    let mut most = 0;
    for (consumer, opaque) in &mut consumers {
        let (code, next, bodies) = pulled(&consumer.response(*opaque).await);
        most = most.max(budget.used_bytes());
        assert_eq!((code, next, bodies.len()), (response_code::SUCCESS, 1, 1));
        assert_eq!(bodies[0].len(), body.len());
    }
    assert!(most <= BUDGET_BYTES + ONE_ANSWER_BYTES, "{most} bytes are counted");
    broker.stop().await;
}

/// Many long messages at once, each of which alone would have room: they wait for each other and all get through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_long_messages_than_there_is_room_for_all_get_through() {
    let _one = ONE_AT_A_TIME.lock().await;
    let (broker, budget) = broker().await;
    let body = "m".repeat(3 * MIB);
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (addr, body) = (broker.addr, body.clone());
        sending.spawn(async move {
            let mut client = Client::connect(addr).await;
            client.send(TOPIC, 0, "", &body).await;
        });
    }
    let mut most = 0;
    while let Some(sent) = sending.join_next().await {
        sent.unwrap();
        most = most.max(budget.used_bytes());
    }
    println!("used {} KiB at most", most / 1024);
    broker.stop().await;
}

/// The key is obeyed: so many connections have room, the next are told so at once.
#[tokio::test]
async fn a_connection_that_has_no_room_is_refused_and_the_others_are_served() {
    support::raised_descriptor_limit();
    let folder = tempfile::tempdir().unwrap();
    let args = support::process::with_any_ports(&["--set", "brokerName=b", "--set", "memoryBudgetBytes=16777216", "--log", "error"]);
    let mut server = Server::start(folder.path(), &args);
    let addr = {
        server.namesrv();
        server.broker("b")
    };
    let mut client = Client::connect(addr).await;
    let mut connections = Vec::new();
    for _ in 0..BUDGET_BYTES / 4096 + 50 {
        connections.push(TcpStream::connect(addr).await.unwrap());
    }
    let mut last = connections.pop().unwrap();
    let end = tokio::time::timeout(support::PATIENCE, last.read(&mut [0; 16])).await.expect("it is closed");
    assert!(end.map_or(true, |bytes| bytes == 0));
    client.send(TOPIC, 0, "", "one that is connected").await;
    drop(connections);
    drop(client);
    assert_eq!(server.stop("-TERM"), Some(0));
}
