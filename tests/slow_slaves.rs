// SPDX-License-Identifier: Apache-2.0
//! Slaves that hang, trickle or are far behind: what they cost a master is bounded, and sends go on beside them. The figures are printed:
//! `cargo test --release --test slow_slaves -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferrocket::broker::replication::master::SLAVES_MAX;
use ferrocket_protocol::body::ha::HaRuntimeInfo;
use ferrocket_protocol::ha::encode_report;
use ferrocket_protocol::{RemotingCommand, request_code};
use serde_json::Value;
use support::process::{Server, command, with_any_ports};
use support::{Client, PATIENCE};

/// What one slave may add to the master's memory of its own: one piece of `haTransferBatchSize` (32 KiB), and its task.
const PER_SLAVE_KIB_MAX: u64 = 32 + 32;
const HANGING: usize = SLAVES_MAX - 1;
const BEHIND_MESSAGES: u32 = 40_000;

fn anonymous_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn send(folder: &Path, addr: SocketAddr, server: &Server, load: &str) -> Value {
    let (addr, pid) = (addr.to_string(), server.child.id().to_string());
    let line = ["bench", "send", "--json", "--addr", &addr, "--server-pid", &pid].into_iter().chain(load.split_whitespace());
    let output = command(folder, &line.collect::<Vec<_>>()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A slave of this master whose log ends there.
fn slave(port: u16, end: i64) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(&encode_report(end)).unwrap();
    stream
}

async fn figures(client: &mut Client) -> HaRuntimeInfo {
    support::body(&client.call(RemotingCommand::request(request_code::GET_BROKER_HA_STATUS)).await)
}

/// Waits until each of `count` slaves has been sent something, and nothing more goes to it: its socket is full. Where each stands.
async fn stuck(client: &mut Client, count: usize, first: i64) -> Vec<i64> {
    let began = Instant::now();
    let mut before = Vec::new();
    loop {
        let info = figures(client).await;
        let mut now: Vec<i64> = info.ha_connection_info.iter().map(|slave| slave.transfer_from_where).collect();
        now.sort_unstable();
        if now.len() == count && now[0] > first && now == before {
            return now;
        }
        assert!(began.elapsed() < PATIENCE * 4, "{count} slaves never stood still: {now:?}");
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slaves_that_do_not_read_cost_their_sockets_and_no_send_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d").display().to_string();
    // They are not to be sent away while the story looks at them, and no send is refused because the machine is busy.
    let patient = ["haHousekeepingInterval=600000", "waitTimeMillsInSendQueue=60000"];
    let keys = ["brokerName=b", "brokerRole=SYNC_MASTER", "inSyncReplicas=1"].into_iter().chain(patient);
    let port = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port();
    let listen = format!("haListenPort={port}");
    let mut line = with_any_ports(&["--data", &data, "--set", &listen]);
    keys.for_each(|key| line.extend(["--set", key]));
    let mut server = Server::start(folder.path(), &line);
    server.namesrv();
    let addr = server.broker("b");
    let mut client = Client::connect(addr).await;
    send(folder.path(), addr, &server, &format!("--connections 4 --depth 16 --messages {BEHIND_MESSAGES}"));
    let end = figures(&mut client).await.master_commit_log_max_offset;
    let mut head = [0; 4];
    std::fs::File::open(folder.path().join("d/commitlog").join(format!("{:020}", 0))).unwrap().read_exact(&mut head).unwrap();
    let first = i64::from(i32::from_be_bytes(head));

    let live = "--topic live --connections 4 --rate 1000 --messages 2000";
    let alone = send(folder.path(), addr, &server, live);
    let one = slave(port, first);
    stuck(&mut client, 1, first).await;
    let before_kib = anonymous_kib(&server);
    let mut hanging: Vec<TcpStream> = (0..HANGING - 1).map(|_| slave(port, first)).collect();
    hanging.push(one);
    let stood = stuck(&mut client, HANGING, first).await;
    let after_kib = anonymous_kib(&server);
    assert!(*stood.last().unwrap() < end, "what lies behind a full socket is not sent: {stood:?} of {end}");
    let added_kib = after_kib.saturating_sub(before_kib);
    assert!(added_kib < HANGING as u64 * PER_SLAVE_KIB_MAX, "{HANGING} slaves that hang added {added_kib} KiB");

    // One that trickles beside those that hang.
    let mut trickling = slave(port, first);
    let is_over = Arc::new(AtomicBool::new(false));
    let seen_over = Arc::clone(&is_over);
    let reader = tokio::task::spawn_blocking(move || {
        let (mut piece, mut read) = ([0; 6_400], 0);
        while !seen_over.load(Ordering::Relaxed) {
            match trickling.read(&mut piece) {
                Ok(bytes @ 1..) => read += bytes,
                _ => break,
            }
            // 64 KB a second.
            std::thread::sleep(Duration::from_millis(100));
        }
        read
    });
    let beside = send(folder.path(), addr, &server, live);
    for run in [&alone, &beside] {
        assert_eq!((run["messages"].as_u64(), run["refused"].as_u64()), (Some(2_000), Some(0)), "{run}");
    }
    let now: Vec<i64> = figures(&mut client).await.ha_connection_info.iter().map(|slave| slave.transfer_from_where).collect();
    assert_eq!(now.len(), SLAVES_MAX);
    assert!(stood.iter().all(|stand| now.contains(stand)), "nothing went to those that hang: {stood:?}, then {now:?}");
    let grown_kib = anonymous_kib(&server).saturating_sub(after_kib);
    println!(
        "{HANGING} slaves that hang: {added_kib} KiB; sends alone p50 {} p99 {} us, {} switches each; beside p50 {} p99 {} us, {} switches each, {grown_kib} KiB",
        alone["latency_micros"]["p50"],
        alone["latency_micros"]["p99"],
        alone["server"]["context_switches_per_message"],
        beside["latency_micros"]["p50"],
        beside["latency_micros"]["p99"],
        beside["server"]["context_switches_per_message"],
    );
    is_over.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0, "the one that trickles was served");
    drop((server, hanging));
}
