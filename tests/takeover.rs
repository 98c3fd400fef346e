// SPDX-License-Identifier: Apache-2.0
//! `ferrocket takeover`, of a Ferrocket master: what it refuses and what it leaves alone, the switch under load, and the way back when
//! something fails. Those of the original are compat-tests' `takeover`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ferrocket_protocol::body::route::ClusterInfo;
use ferrocket_protocol::header::offset::{QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader};
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use support::process::{Server, command, failed_start};
use support::{Client, body, pull_header, pull_request, pulled, remark, send_request};

/// A record has 600 bytes and more: several files of the log.
const FILE: &str = "mappedFileSizeCommitLog=65536";
const TOPIC: &str = "TBW102";
const LIMIT: Duration = Duration::from_secs(60);

struct Old {
    _servers: [Server; 2],
    namesrv: SocketAddr,
    addr: SocketAddr,
}

impl Old {
    async fn with_messages(folder: &Path, count: usize) -> Self {
        let mut name_server = Server::start(folder, &["namesrv", "--set", "listenPort=0"]);
        let namesrv = name_server.namesrv();
        let known = format!("{namesrv}");
        let settings = ["brokerName=old", "brokerIP1=127.0.0.1", "brokerIP2=127.0.0.1", "brokerClusterName=c", "listenPort=0", FILE];
        let mut arguments = vec!["broker", "--data", "old", "-n", &known];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let mut server = Server::start(folder, &arguments);
        let addr = server.broker("old");
        let mut client = Client::connect(addr).await;
        for number in 0..count {
            client.send(TOPIC, 0, "t", &text(number)).await;
        }
        client.consume("readers", "reader@1", &[(TOPIC, "*")]).await;
        assert_eq!(client.commit("readers", TOPIC, 0, 2).await.code, response_code::SUCCESS);
        client.close().await;
        Self { _servers: [name_server, server], namesrv, addr }
    }

    fn from(&self) -> String {
        self.addr.to_string()
    }

    /// Who is the master of the name, as its name server says.
    async fn master(&self) -> Option<String> {
        let mut client = Client::connect(self.namesrv).await;
        let known: ClusterInfo = body(&client.call(RemotingCommand::request(request_code::GET_BROKER_CLUSTER_INFO)).await);
        known.broker_addr_table.get("old").and_then(|data| data.broker_addrs.get(&0).cloned())
    }

    async fn config(&self) -> String {
        let answer = Client::connect(self.addr).await.call(RemotingCommand::request(request_code::GET_BROKER_CONFIG)).await;
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// It is what it was, and takes messages.
    async fn is_untouched(&self, config: &str) {
        assert_eq!(self.config().await, config);
        assert_eq!(self.master().await, Some(self.from()));
        assert_eq!(Client::connect(self.addr).await.call(send_request(TOPIC, 0, "t", "after")).await.code, response_code::SUCCESS);
    }
}

fn text(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(500))
}

fn arguments<'a>(from: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let always =
        ["takeover", "--from", from, "--data", "new", "--settle", "0", "--set", "brokerIP1=127.0.0.1", "--set", "brokerIP2=127.0.0.1"];
    always.into_iter().chain(more.iter().copied()).collect()
}

/// A port that was free a moment ago, and the VIP port below it.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port - 2)).is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return port;
        }
    }
}

async fn all_messages(addr: SocketAddr) -> Vec<String> {
    let mut client = Client::connect(addr).await;
    client.consume("reader", "reader@1", &[(TOPIC, "*")]).await;
    let mut all = Vec::new();
    loop {
        let (code, next, bodies) = pulled(&client.call(pull_request(&pull_header("reader", TOPIC, 0, all.len() as i64))).await);
        if code == response_code::PULL_NOT_FOUND {
            return all;
        }
        assert!(code == response_code::SUCCESS && !bodies.is_empty(), "code {code} at {}", all.len());
        all.extend(bodies);
        assert_eq!(next, all.len() as i64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_who_it_is_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let old = Old::with_messages(folder.path(), 3).await;
    let before = old.config().await;
    let output = command(folder.path(), &arguments(&old.from(), &["--check", "--set", "listenPort=0"])).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("takes over old of cluster c from {}", old.from())), "{said}");
    assert!(said.ends_with("nothing stands in the way, and nothing was changed\n"), "{said}");
    assert!(!folder.path().join("new").exists());

    // Its own port on its own machine.
    let why = failed_start(folder.path(), &arguments(&old.from(), &["--check"]));
    assert!(why.contains("another process listens there") && why.contains("--set listenPort=PORT"), "{why}");
    let why = failed_start(folder.path(), &arguments(&old.namesrv.to_string(), &["--check", "--set", "listenPort=0"]));
    assert!(why.contains("does not answer as a broker"), "{why}");
    std::fs::create_dir_all(folder.path().join("new/commitlog")).unwrap();
    std::fs::write(folder.path().join("new/commitlog/00000000000000000000"), [1]).unwrap();
    let why = failed_start(folder.path(), &arguments(&old.from(), &["--switch", "--set", "listenPort=0"]));
    assert!(why.contains("has messages, and not those of this master"), "{why}");
    assert!(!folder.path().join("new/broker.conf").exists());
    old.is_untouched(&before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_under_load_loses_nothing_and_keeps_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let old = Old::with_messages(folder.path(), 600).await;
    let (from, port) = (old.from(), free_port());
    let listen_port = format!("listenPort={port}");
    let mut new = Server::start(folder.path(), &arguments(&from, &["--switch", "--set", &listen_port]));
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let load = tokio::spawn(async move {
        let (mut number, mut client, mut retries) = (600, None, 0);
        let begun = Instant::now();
        // The old one has answered before, too: whoever is the master, an answer is a promise.
        while number < 1_600 {
            assert!(begun.elapsed() < LIMIT, "{number} messages");
            let stream = match client.take() {
                Some(client) => client,
                None => tokio::net::TcpStream::connect(addr).await.ok(),
            };
            let Some(mut stream) = stream else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            match plain_send(&mut stream, &text(number)).await {
                Ok(response_code::SUCCESS) => {
                    number += 1;
                    client = Some(Some(stream));
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(_) => retries += 1,
                Err(_) => retries += 1,
            }
        }
        retries
    });
    assert_eq!(new.broker("old"), addr);
    assert!(new.lines.iter().any(|line| line.starts_with("the two logs are equal from 1 to ")), "{:?}", new.lines);
    let retries = load.await.unwrap();
    assert!(retries < 20, "{retries} sends failed");
    assert_eq!(old.master().await, Some(addr.to_string()));

    let mut all = all_messages(addr).await;
    // One whose answer was lost is sent again.
    all.dedup();
    assert_eq!(all, (0..1_600).map(text).collect::<Vec<_>>());
    let mut client = Client::connect(addr).await;
    let asked = QueryConsumerOffsetRequestHeader { consumer_group: "readers".into(), topic: TOPIC.into(), ..Default::default() };
    let answer = client.call_with(request_code::QUERY_CONSUMER_OFFSET, &asked).await;
    assert_eq!(answer.header::<QueryConsumerOffsetResponseHeader>().unwrap().offset, 2);
    // The old one takes nothing.
    let refused = Client::connect(old.addr).await.call(send_request(TOPIC, 0, "t", "late")).await;
    assert_ne!(refused.code, response_code::SUCCESS, "{}", remark(&refused));
    assert_eq!(new.stop("-TERM"), Some(0));

    // The file that it left is what the next start needs.
    let mut again = Server::start(folder.path(), &["broker", "-c", "new/broker.conf"]);
    assert_eq!(again.broker("old"), addr);
    let mut all = all_messages(addr).await;
    all.dedup();
    assert_eq!(all.len(), 1_600);
    assert_eq!(Client::connect(addr).await.call(send_request(TOPIC, 0, "t", "on")).await.code, response_code::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_before_the_switch_leaves_the_old_master_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let old = Old::with_messages(folder.path(), 300).await;
    let (before, from) = (old.config().await, old.from());
    let mut new = Server::start(folder.path(), &arguments(&from, &["--set", "listenPort=0"]));
    new.line("copied, and followed from now on");
    assert_eq!(new.stop("-INT"), Some(0));
    old.is_untouched(&before).await;
    // It goes on where it ended.
    let mut new = Server::start(folder.path(), &arguments(&from, &["--switch", "--set", "listenPort=0"]));
    let addr = new.broker("old");
    assert!(new.lines.iter().any(|line| line.starts_with("the two logs are equal from 1 to ")), "{:?}", new.lines);
    assert_eq!(all_messages(addr).await.len(), 301);
    assert_eq!(new.stop("-TERM"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_while_it_switches_gives_the_old_master_its_place_and_its_permission_back() {
    let folder = tempfile::tempdir().unwrap();
    let old = Old::with_messages(folder.path(), 300).await;
    let (before, from) = (old.config().await, old.from());
    // A master of slaves cannot listen there.
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = format!("haListenPort={}", taken.local_addr().unwrap().port());
    let mut command = command(folder.path(), &arguments(&from, &["--switch", "--set", "listenPort=0", "--set", &port]));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (said, why) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{said} {why}");
    assert!(said.contains("the old master has its place and its permission back"), "{said} {why}");
    assert!(why.contains("this broker cannot become the master"), "{why}");
    old.is_untouched(&before).await;
}

/// A send over a socket that may end at any moment.
async fn plain_send(stream: &mut tokio::net::TcpStream, text: &str) -> std::io::Result<i32> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut out = bytes::BytesMut::new();
    send_request(TOPIC, 0, "t", text).encode(&mut out);
    stream.write_all(&out).await?;
    let mut received = bytes::BytesMut::new();
    loop {
        if let Some(frame) = ferrocket_protocol::split_frame(&mut received).map_err(std::io::Error::other)? {
            return Ok(RemotingCommand::decode(frame).map_err(std::io::Error::other)?.code);
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
