// SPDX-License-Identifier: Apache-2.0
//! The meter: each workload on a small load, and that a run against a server that lies gives no figures.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

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
    server_with(folder, "flushDiskType=ASYNC_FLUSH")
}

fn server_with(folder: &Path, setting: &str) -> (Server, SocketAddr) {
    let mut server = Server::start(folder, &with_any_ports(&["--set", "brokerName=b", "--set", setting]));
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
        ("--connections 2 --depth 4 --messages 1000 --topic many --topics 20 --queues 2", 1000),
    ] {
        let read_back = if shape.contains("--topics") { "" } else { "--read-back" };
        let report = report(&run(folder.path(), addr, "send", &format!("{shape} {read_back} --server-pid {pid}")));
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

#[test]
fn groups_at_the_tail_receive_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server(folder.path());
    let pid = server.child.id();
    let shape = format!("--connections 2 --rate 1000 --groups 3 --consumers 2 --seconds 0.5 --warmup-seconds 0.1 --server-pid {pid}");
    let report = report(&run(folder.path(), addr, "e2e", &shape));
    assert_eq!(report["messages"], 500);
    assert_eq!(report["figures"]["groups_count"], 3.0);
    assert!(report["figures"]["deliveries_per_second"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["latency_micros"]["p50"].as_f64().unwrap() > 0.0);
    assert!(report["bodies_checked"].as_u64().unwrap() >= 3 * 500 / 64);
}

/// W17: what is acknowledged is at the slave too, consumers are served there, and one that was away catches up.
#[test]
fn a_pair_is_measured_as_one_and_a_slave_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut master = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=b", "--set", "haListenPort=0"]));
    let namesrv = master.namesrv().to_string();
    let addr = master.broker("b");
    let port = free_port();
    let (replica, data) = (format!("127.0.0.1:{port}"), folder.path().join("slave").display().to_string());
    let listen = format!("listenPort={port}");
    let mut slave_line = vec!["--data", &data, "--namesrvAddr", &namesrv, "--set", &listen, "--set", "bindAddress=127.0.0.1"];
    for setting in ["brokerName=b", "brokerId=1", "brokerRole=SLAVE", "slaveReadEnable=true"] {
        slave_line.extend(["--set", setting]);
    }
    let pid = master.child.id();
    let mut line = vec!["bench", "catch-up", "--json", "--addr"];
    let (master_addr, pids) = (addr.to_string(), pid.to_string());
    line.extend([&*master_addr, "--replica", &replica, "--messages", "2000", "--server-pid", &pids, "--copy-to", "."]);
    line.extend(["--", env!("CARGO_BIN_EXE_ferrocket")].into_iter().chain(slave_line.iter().copied()));
    let caught = report(&command(folder.path(), &line).output().unwrap());
    assert!(caught["messages"].as_u64().unwrap() <= 2_000, "{caught}");
    for figure in ["behind_megabytes", "bare_copy_megabytes_per_second", "of_bare_copy_percent"] {
        assert!(caught["figures"][figure].as_f64().unwrap() > 0.0, "{figure}: {caught}");
    }
    assert!(!folder.path().join("ferrocket-bench-copy").exists());

    let mut slave = Server::start(folder.path(), &slave_line);
    slave.broker("b");
    let pids = format!("{pid},{}", slave.child.id());
    let shape = format!("--connections 2 --depth 8 --messages 1000 --replica {replica} --server-pid {pids}");
    let sent = report(&run(folder.path(), addr, "send", &shape));
    assert_eq!(sent["messages"], 1_000);
    let alone = report(&run(folder.path(), addr, "send", &format!("--messages 100 --server-pid {pid}")));
    let memory = |report: &Value| report["server"]["anonymous_mib"].as_f64().unwrap();
    assert!(memory(&sent) > memory(&alone), "of both: {sent}, of one: {alone}");
    let shape = format!("--topic lag --connections 2 --rate 500 --seconds 0.5 --warmup-seconds 0.1 --consume-addr {replica}");
    let lag = report(&run(folder.path(), addr, "e2e", &shape));
    assert_eq!(lag["messages"], 250);
}

#[test]
fn many_topics_are_made_sent_to_and_consumed() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, addr) = server(folder.path());
    for header in ["json", "binary"] {
        let shape = format!("--topic {header} --topics 20 --connections 2 --depth 4 --header {header} --seconds 0.5 --warmup-seconds 0.1");
        let report = report(&run(folder.path(), addr, "topics", &shape));
        assert_eq!(report["figures"]["topics_count"], 20.0);
        // How many is the machine's affair; a run in which one is lost has no report.
        assert!(report["messages"].as_u64().unwrap() > 0, "{report}");
        assert!(report["bodies_checked"].as_u64().unwrap() > 0, "{report}");
    }
}

#[test]
fn transactions_are_committed_or_stay_open_and_are_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server_with(folder.path(), "transactionTimeOut=100");
    let pid = server.child.id();
    let set =
        report(&run(folder.path(), addr, "transactions", &format!("--connections 2 --in-flight 8 --messages 300 --server-pid {pid}")));
    assert_eq!((&set["messages"], &set["workload"]), (&300.into(), &"transactions".into()));
    let asked = report(&run(folder.path(), addr, "transactions", &format!("--open 50 --asked-seconds 2 --server-pid {pid}")));
    assert_eq!((&asked["workload"], &asked["figures"]["open_halves"]), (&"questions".into(), &50.0.into()));
    assert_eq!(asked["messages"], 50, "each is asked about once in the first interval");
}

#[test]
fn connections_that_hold_are_counted_and_each_gets_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server(folder.path());
    let pid = server.child.id();
    let shape = format!("--connections 40 --queues 3 --rate 500 --producers 2 --seconds 0.4 --server-pid {pid}");
    let report = report(&run(folder.path(), addr, "hold", &shape));
    let figure = |name: &str| report["figures"][name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert_eq!((figure("held_pulls_count"), &report["messages"]), (40.0, &200.into()));
    assert!(figure("alone_ack_p99_micros") > 0.0 && figure("beside_ack_p99_micros") > 0.0);
    assert!(figure("wake_all_millis") >= figure("wake_p50_millis"));
    assert!(report["server"]["descriptors"].as_u64().unwrap() > 40, "{report}");
}

#[test]
fn a_group_joins_lives_and_hears_that_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server(folder.path());
    let pid = server.child.id();
    let shape = format!("--connections 30 --heartbeats 2 --lists 3 --server-pid {pid}");
    let report = report(&run(folder.path(), addr, "group", &shape));
    assert_eq!((&report["messages"], &report["figures"]["members_count"]), (&60.into(), &30.0.into()));
    // {"consumerIdList":["127.0.0.1@bench-00000",...]}
    assert_eq!(report["figures"]["list_bytes"].as_f64(), Some(21.0 + 30.0 * 24.0 - 1.0));
    assert!(report["figures"]["join_news_count"].as_f64().unwrap() >= 29.0, "{report}");
    assert!(report["figures"]["leave_all_listed_millis"].as_f64() >= report["figures"]["leave_all_told_millis"].as_f64());
    assert!(refusal(&run(folder.path(), addr, "group", "--connections 1")).contains("at least two"));
}

#[test]
fn a_backlog_is_filled_once_and_read_beside_live_sends() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server(folder.path());
    let pid = server.child.id();
    let shape = format!("--connections 2 --backlog-messages 3000 --rate 500 --producers 2 --seconds 0.4 --server-pid {pid}");
    for _ in 0..2 {
        let report = report(&run(folder.path(), addr, "drain", &shape));
        let figure = |name: &str| report["figures"][name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
        assert_eq!(figure("backlog_messages"), 3000.0, "the second run finds it");
        assert_eq!(report["messages"].as_u64().unwrap() % 3000, 0, "only whole rounds are counted: {report}");
        assert!(figure("alone_ack_p50_micros") > 0.0 && figure("beside_ack_p99_9_micros") > 0.0);
    }
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

#[test]
fn the_limit_is_the_same_load_on_a_server_that_only_answers() {
    let folder = tempfile::tempdir().unwrap();
    for form in ["json", "binary"] {
        let line = format!("bench echo --json --connections 3 --depth 4 --messages 5000 --header {form}");
        let report = report(&command(folder.path(), &line.split(' ').collect::<Vec<_>>()).output().unwrap());
        assert_eq!((&report["workload"], &report["messages"]), (&"echo".into(), &5000.into()));
        assert!(report["server"]["anonymous_mib"].as_f64().unwrap() > 200.0, "its log counts: {report}");
    }
}

#[test]
fn flush_is_measured_only_where_an_answer_means_that_it_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server_with(folder.path(), "flushDiskType=SYNC_FLUSH");
    let output = run(folder.path(), addr, "flush", "--producers 1,4 --messages 40");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reports: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let shapes: Vec<(&Value, &Value)> = reports.iter().map(|report| (&report["connections"], &report["messages"])).collect();
    assert_eq!(shapes, [(&1.into(), &40.into()), (&4.into(), &40.into())]);
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let (_server, addr) = self::server(folder.path());
    let said = refusal(&run(folder.path(), addr, "flush", "--producers 1 --messages 40"));
    assert!(said.contains("does not run with flushDiskType=SYNC_FLUSH"), "{said}");
}

#[test]
fn a_suite_runs_the_lines_of_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let (server, addr) = server(folder.path());
    let (addr, pid) = (addr.to_string(), server.child.id().to_string());
    let line = ["bench", "suite", "--addr", &addr, "--server-pid", &pid, "--only", "W1,W7-100B,W8-1", "--seconds", "0.2"];
    let output = command(folder.path(), &line).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&Value> = lines.iter().map(|line| &line["id"]).collect();
    assert_eq!(ids, ["W1", "W7-100B"], "W8 needs SYNC_FLUSH");
    assert!(lines.iter().all(|line| line["messages_per_second"].as_f64().unwrap() > 0.0));
    let wrong = command(folder.path(), &["bench", "suite", "--only", "W99"]).output().unwrap();
    assert!(refusal(&wrong).contains("there are W1, "));
}

/// A port that was free a moment ago, as was the VIP port two below it; below those that outgoing connections take, of which the
/// other stories of this file open hundreds.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 500) as u16 * 20;
    loop {
        let port = first + NEXT.fetch_add(4, Ordering::Relaxed);
        if [port, port - 2].iter().all(|port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
            return port;
        }
    }
}

/// `bench start` on this binary.
fn start(folder: &Path, args: &str, shell: &str) -> Output {
    let port = free_port();
    let (addr, data) = (format!("127.0.0.1:{port}"), folder.join("data").display().to_string());
    let server = format!(
        "{shell} exec {} --data {data} --namesrv-port 0 --log warn --set listenPort={port} --set bindAddress=127.0.0.1",
        env!("CARGO_BIN_EXE_ferrocket")
    );
    let mut line = vec!["bench", "start", "--json", "--addr", &addr, "--data", &data];
    line.extend(args.split_whitespace());
    line.extend(["--", "sh", "-c", &server]);
    command(folder, &line).output().unwrap()
}

#[test]
fn a_start_is_measured_from_every_state_of_the_store() {
    for case in [
        "empty --idle-seconds 0.2",
        "clean --fill-messages 2000",
        "killed --fill-messages 2000 --fill-topics 30 --queues 4",
        "derived-deleted --fill-messages 2000",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let report = report(&start(folder.path(), &format!("--case {case}"), ""));
        let figure = |name: &str| report["figures"][name].as_f64();
        assert!(figure("ready_send_millis").unwrap() > 0.0, "{case}");
        let is_empty = case.starts_with("empty");
        assert_eq!(figure("ready_pull_millis").is_some(), !is_empty, "{case}: {report}");
        assert_eq!(figure("idle_anonymous_mib").is_some(), is_empty, "{case}: {report}");
    }
}

#[test]
fn a_start_that_loses_what_was_acknowledged_gets_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    let forgets = format!("rm -rf {};", folder.path().join("data").display());
    let said = refusal(&start(folder.path(), "--case clean --fill-messages 100 --patience-seconds 2", &forgets));
    assert!(said.contains("was acknowledged and is not found"), "{said}");
}

/// A program that stands before the machine's own.
fn program(folder: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// One turn of a start, with a directory of results for each.
fn compare(folder: &Path, java: &str, results: &str) -> Output {
    let port = free_port();
    let (addr, dir) = (format!("127.0.0.1:{port}"), folder.join("dir").display().to_string());
    let line = ["bench", "compare", "--java", java, "--only", "R1", "--turns", "1", "--addr", &addr, "--dir", &dir, "--results", results];
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    command(folder, &line).env("PATH", path).output().unwrap()
}

#[test]
fn what_is_lacking_to_run_the_original_is_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    program(folder.path(), "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1");
    let said = refusal(&compare(folder.path(), "apache/rocketmq:5.3.2", "results"));
    assert!(said.contains("no directory of jars") && said.contains("Cannot connect to the Docker daemon"), "{said}");
    let said = refusal(&compare(folder.path(), &folder.path().display().to_string(), "results"));
    assert!(said.contains("holds no rocketmq-broker-*.jar"), "{said}");
    assert!(!folder.path().join("results").exists());
}

/// A server that never gets up is enough to see that the jars of the image are those that are run.
#[test]
fn the_jars_of_an_image_are_copied_out_once_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("image/rocketmq-9.9.9/lib");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("rocketmq-broker-9.9.9.jar"), "").unwrap();
    let log = folder.path().join("docker.log").display().to_string();
    let image = folder.path().join("image").display().to_string();
    let docker = format!("echo \"$@\" >>{log}; case $1 in create) echo c0;; cp) cp -r {image} \"$3\";; esac");
    program(folder.path(), "docker", &docker);
    program(folder.path(), "java", "echo \"$@\" >>java.log; exit 3");
    for results in ["first", "second"] {
        let output = compare(folder.path(), "apache/rocketmq:9.9.9", results);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("R1 9.9.9 lean: bench start") && table.contains("| R1 start, empty |"), "{table}");
    }
    let to = folder.path().join("dir/images/apache_rocketmq_9.9.9");
    let asked = std::fs::read_to_string(log).unwrap();
    assert_eq!(asked, format!("create apache/rocketmq:9.9.9\ncp c0:/home/rocketmq {}\nrm c0\n", to.display()));
    let run = std::fs::read_to_string(folder.path().join("java.log")).unwrap();
    assert!(run.contains(&format!("{}/rocketmq-9.9.9/lib/*", to.display())), "{run}");
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
