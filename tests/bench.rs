// SPDX-License-Identifier: Apache-2.0
//! The meter: each workload on a small load, and that a run against a server that lies gives no figures.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on ends")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::BytesMut;
use ferrocket::runtime::{Runtime, SystemClock};
use ferrocket_protocol::header::offset::GetMaxOffsetResponseHeader;
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::{RemotingCommand, request_code, split_frame};
use serde_json::Value;
use support::process::{Server, command, with_any_ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;

fn server(folder: &Path) -> (Server, SocketAddr) {
    let mut server = Server::start(folder, &with_any_ports(&["--set", "brokerName=b"]));
    server.namesrv();
    let addr = server.broker("b");
    (server, addr)
}

fn run(folder: &Path, addr: SocketAddr, workload: &str, args: &str) -> Output {
    let addr = addr.to_string();
    let line: Vec<&str> = ["bench", workload, "--json", "--addr", &addr].into_iter().chain(args.split_whitespace()).collect();
    command(folder, &line).output().unwrap()
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "a figure was printed: {}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_way_to_send_is_acknowledged_counted_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server(folder.path());
    let pid = server.child.id();
    for (shape, messages) in [
        ("--connections 2 --depth 4 --messages 1000", 1000),
        ("--connections 2 --depth 4 --messages 1000 --header binary --body-bytes 100", 1000),
        ("--connections 2 --depth 2 --messages 1280 --batch 32", 1280),
        ("--connections 2 --messages 1280 --oneway", 1280),
        ("--connections 4 --messages 500 --rate 5000", 500),
    ] {
        let report = report(&run(folder.path(), addr, "send", &format!("{shape} --read-back --server-pid {pid}")));
        assert_eq!(report["messages"], messages, "{shape}");
        assert!(report["bodies_checked"].as_u64().unwrap() > 8, "{shape}: {report}");
        assert!(report["latency_micros"]["p50"].as_f64().unwrap() > 0.0, "{shape}");
        assert!(report["server"]["anonymous_mib"].as_f64().unwrap() > 1.0, "{shape}");
        assert!(report["generator"]["busy_percent"].is_number(), "{shape}");
        assert!(report["machine"]["foreign_cpu_percent"].is_number(), "{shape}");
    }
    let pulled = report(&run(folder.path(), addr, "pull", "--connections 2 --rounds 2"));
    assert_eq!(pulled["messages"], 2 * (1000 + 1000 + 1280 + 1280 + 500));
    drop(server);
}

/// Message i is due at t0 + i/R: a run of 500 messages at 1,000 per second takes half a second however fast the server is.
#[test]
fn an_open_loop_keeps_to_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, addr) = server(folder.path());
    let report = report(&run(folder.path(), addr, "send", "--connections 3 --messages 500 --rate 1000"));
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds > 0.499, "{seconds}");
}

/// What stands between the generator and an honest server.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    /// Acknowledges the tenth send without storing it.
    LosesOne,
    /// Says of each message that it stands one further.
    WrongPlace,
    /// Says that the queues hold one more than they do.
    WrongEnd,
    /// Changes the body of each message that is read.
    WrongBody,
}

async fn liar(upstream: SocketAddr, lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let sends = Arc::new(AtomicU32::new(0));
    let runtime = Runtime::current(SystemClock::shared());
    runtime.clone().spawn("liar", async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(upstream).await.unwrap();
            runtime.spawn("one who is lied to", lie_to(client, server, lie, Arc::clone(&sends)));
        }
    });
    addr
}

/// One request at a time: what it answers is for this request.
async fn lie_to(mut client: TcpStream, mut server: TcpStream, lie: Lie, sends: Arc<AtomicU32>) {
    let (mut asked, mut answered) = (BytesMut::new(), BytesMut::new());
    let mut last_send: Option<RemotingCommand> = None;
    while let Some(request) = frame(&mut client, &mut asked).await {
        let is_send = request.code == request_code::SEND_MESSAGE_V2;
        if lie == Lie::LosesOne && is_send && sends.fetch_add(1, Ordering::Relaxed) == 9 {
            let mut answer = last_send.clone().unwrap();
            answer.opaque = request.opaque;
            write(&mut client, &answer).await;
            continue;
        }
        write(&mut server, &request).await;
        let mut answer = frame(&mut server, &mut answered).await.unwrap();
        match request.code {
            request_code::SEND_MESSAGE_V2 if lie == Lie::WrongPlace => {
                let mut header: SendMessageResponseHeader = answer.header().unwrap();
                header.queue_offset += 1;
                answer = answer.with_header(&header);
            }
            request_code::GET_MAX_OFFSET if lie == Lie::WrongEnd && sends.load(Ordering::Relaxed) > 0 => {
                let mut header: GetMaxOffsetResponseHeader = answer.header().unwrap();
                header.offset += 1;
                answer = answer.with_header(&header);
            }
            request_code::PULL_MESSAGE if lie == Lie::WrongBody => {
                let mut body = answer.body.to_vec();
                for at in 0..body.len().saturating_sub(7) {
                    if &body[at..at + 7] == b"0123456" {
                        body[at] ^= 1;
                    }
                }
                answer = answer.with_body(body);
            }
            _ => {}
        }
        if is_send {
            sends.fetch_add(u32::from(lie != Lie::LosesOne), Ordering::Relaxed);
            last_send = Some(answer.clone());
        }
        write(&mut client, &answer).await;
    }
}

async fn frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<RemotingCommand> {
    loop {
        if let Some(frame) = split_frame(buffer).unwrap() {
            return Some(RemotingCommand::decode(frame).unwrap());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn write(stream: &mut TcpStream, command: &RemotingCommand) {
    let mut out = BytesMut::new();
    command.clone().encode(&mut out);
    stream.write_all(&out).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_gets_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, addr) = server(folder.path());
    for (lie, says) in [
        (Lie::None, ""),
        (Lie::LosesOne, "100 sends were acknowledged, the queues advanced by 99"),
        (Lie::WrongPlace, "does not hold what was sent"),
        (Lie::WrongEnd, "100 sends were acknowledged, the queues advanced by 108"),
        (Lie::WrongBody, "does not hold what was sent"),
    ] {
        let liar = liar(addr, lie).await;
        let output = block_in_place(|| run(folder.path(), liar, "send", "--messages 100"));
        if lie == Lie::None {
            assert_eq!(report(&output)["messages"], 100);
        } else {
            let said = refusal(&output);
            assert!(said.contains("the run does not prove itself") && said.contains(says), "{said}");
        }
    }
    // The checksum of what was stored is right, what is read is not.
    let liar = liar(addr, Lie::WrongBody).await;
    let output = block_in_place(|| run(folder.path(), liar, "pull", ""));
    assert!(refusal(&output).contains("checksum of the body"));
}
