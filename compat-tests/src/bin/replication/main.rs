// SPDX-License-Identifier: Apache-2.0
//! `replication`: masters and slaves of Ferrocket and of the original, as processes: equal bytes and queue offsets on both ends, slaves
//! that come late, are killed and come back, tables that are carried, and what a send is answered with and without a slave.
//! An argument runs only the trials whose name contains it.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

mod java_master;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::plain_client::{Outgoing, PlainClient, eventually};
use compat_tests::servers::{self, BrokerSettings, Make, Server};
use compat_tests::wire::Frame;

const TOPIC: &str = "Copied";
const GROUP: &str = "CopiedGroup";
const QUEUES: i32 = 4;
const UNIT_BYTES: usize = 20;
const SEND_OK: i32 = 0;
const FLUSH_SLAVE_TIMEOUT: i32 = 12;
/// A slave of the original asks its name server every 30 s, waits 5 s after a connection that failed, and reports up to 5 s late.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
/// It copies the tables for the first time a minute after its start.
const TABLES_LIMIT: Duration = Duration::from_secs(100);

/// Runs in a directory of its own.
type Trial = fn(&Path) -> Result<()>;

fn main() -> ExitCode {
    let started = Instant::now();
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let trials: [(&str, Trial); 6] = [
        ("a Ferrocket master and a 5.5.0 slave, asynchronous", |home| async_pair(home, &Make::Ferrocket, &Make::Java("5.5.0"))),
        ("a Ferrocket master and a 5.5.0 slave, double write", |home| sync_pair(home, &Make::Ferrocket, &Make::Java("5.5.0"))),
        ("a 5.5.0 master and a Ferrocket slave, asynchronous", |home| async_pair(home, &Make::Java("5.5.0"), &Make::Ferrocket)),
        ("a 5.5.0 master and a Ferrocket slave, double write", |home| sync_pair(home, &Make::Java("5.5.0"), &Make::Ferrocket)),
        ("a 5.5.0 master that is killed, carried on by its Ferrocket slave", java_master::carried_on),
        ("two of Ferrocket, asynchronous", |home| async_pair(home, &Make::Ferrocket, &Make::Ferrocket)),
    ];
    let mut good = true;
    for (name, trial) in trials.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let since = Instant::now();
        let result = servers::scratch("replication").and_then(|home| {
            trial(&home).with_context(|| format!("the directories stay in {}", home.display()))?;
            Ok(fs::remove_dir_all(&home)?)
        });
        match result {
            Ok(()) => println!("replication: {name}: good ({:.1} s)", since.elapsed().as_secs_f32()),
            Err(error) => {
                good = false;
                println!("replication: {name}: FAILED: {error:#}");
            }
        }
    }
    println!("replication: {} in {:.1} s", if good { "all good" } else { "FAILED" }, started.elapsed().as_secs_f32());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One broker of the pair, which may be started several times.
struct Member {
    make: Make,
    id: u8,
    port: u16,
    home: PathBuf,
    namesrv: String,
    lines: Vec<String>,
}

impl Member {
    fn new(make: &Make, home: &Path, namesrv: &Server, id: u8, lines: &[&str]) -> Result<Self> {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        // What slaves are told; both listen on the loopback alone.
        lines.extend([format!("brokerId={id}"), "brokerIP2=127.0.0.1".to_owned()]);
        let home = home.join(if id == 0 { "master" } else { "slave" });
        Ok(Self { make: make.clone(), id, port: servers::free_port()?, home, namesrv: namesrv.addr.to_string(), lines })
    }

    fn start(&self) -> Result<Server> {
        let settings = BrokerSettings { name: "pair", port: self.port, namesrv: Some(self.namesrv.clone()), lines: &self.lines };
        servers::start_broker(&self.make, &self.home, &settings).with_context(|| format!("start the broker with id {}", self.id))
    }

    fn store(&self) -> PathBuf {
        self.home.join("store")
    }
}

fn async_pair(home: &Path, master_make: &Make, slave_make: &Make) -> Result<()> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let master = Member::new(master_make, home, &namesrv, 0, &["brokerRole=ASYNC_MASTER"])?;
    let slave = Member::new(slave_make, home, &namesrv, 1, &["brokerRole=SLAVE", "slaveReadEnable=true"])?;
    let master_server = master.start()?;
    let mut client = PlainClient::open(master_server.addr)?;
    client.create_topic(TOPIC, QUEUES)?;
    client.create_group(GROUP)?;
    send_many(&mut client, 0, 2_000)?;
    client.commit(GROUP, TOPIC, 1, 77)?;

    // It comes late, and catches up; then it is killed, and catches up again.
    let slave_server = slave.start()?;
    caught_up(&mut client)?;
    send_many(&mut client, 2_000, 500)?;
    caught_up(&mut client)?;
    let status = tool(&["haStatus", "-b", &master_server.addr.to_string()], &slave.namesrv)?;
    ensure!(status.contains("127.0.0.1:"), "haStatus names no slave:\n{status}");
    slave_server.kill()?;
    eventually("the master forgets the slave", CATCH_UP_LIMIT, || Ok(slave_lags(&mut client)?.is_empty().then_some(())))?;
    send_many(&mut client, 2_500, 1_500)?;
    let slave_server = slave.start()?;
    caught_up(&mut client)?;

    // What the slave answers, and the tables that it was given.
    let mut asking = PlainClient::open(slave_server.addr)?;
    eventually("the slave has the topic, the group and its offset", TABLES_LIMIT, || {
        let asked = Frame::request(14).with("consumerGroup", GROUP).with("topic", TOPIC).with("queueId", 1);
        let answer = asking.ask(&asked)?;
        Ok((answer.code == SEND_OK && answer.ext_i64("offset")? == 77).then_some(()))
    })?;
    for queue_id in 0..QUEUES {
        let (ours, theirs) = (client.pull_all(TOPIC, queue_id, 0, "*")?, asking.pull_all(TOPIC, queue_id, 0, "*")?);
        ensure!(
            !ours.is_empty() && ours == theirs,
            "queue {queue_id}: {} messages on the master, {} on the slave",
            ours.len(),
            theirs.len()
        );
    }
    slave_server.stop()?;
    master_server.stop()?;
    same_files(&master, &slave)?;
    namesrv.stop()?;
    Ok(())
}

fn sync_pair(home: &Path, master_make: &Make, slave_make: &Make) -> Result<()> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let master = Member::new(master_make, home, &namesrv, 0, &["brokerRole=SYNC_MASTER", "inSyncReplicas=2", "slaveTimeout=1500"])?;
    let slave = Member::new(slave_make, home, &namesrv, 1, &["brokerRole=SLAVE"])?;
    let master_server = master.start()?;
    let mut client = PlainClient::open(master_server.addr)?;
    client.create_topic(TOPIC, QUEUES)?;
    let mut send = |number: i32| -> Result<i32> {
        Ok(client.ask(&Outgoing::new(TOPIC, number % QUEUES, format!("message {number}")).request())?.code)
    };
    let since = Instant::now();
    ensure!(send(0)? == FLUSH_SLAVE_TIMEOUT, "a send without a slave");
    ensure!(since.elapsed() >= Duration::from_millis(1_400), "it did not wait for slaveTimeout: {:?}", since.elapsed());
    for round in 0..2 {
        let slave_server = slave.start()?;
        eventually("a send has a slave", CATCH_UP_LIMIT, || Ok((send(1)? == SEND_OK).then_some(())))?;
        for number in 0..200 {
            let code = send(number)?;
            ensure!(code == SEND_OK, "round {round}, send {number} with a slave was answered {code}");
        }
        slave_server.kill()?;
        let code = send(2)?;
        ensure!(code == FLUSH_SLAVE_TIMEOUT, "round {round}, a send after the slave was killed was answered {code}");
    }
    master_server.stop()?;
    namesrv.stop()?;
    Ok(())
}

fn send_many(client: &mut PlainClient, from: i32, count: i32) -> Result<()> {
    for number in from..from + count {
        let body = format!("message {number} {}", "x".repeat(number as usize * 37 % 900));
        client.send(&Outgoing::new(TOPIC, number % QUEUES, body).with("KEYS", format!("key{number}")).with("TAGS", "t"))?;
    }
    Ok(())
}

/// How far each slave is behind, as the master says.
fn slave_lags(client: &mut PlainClient) -> Result<Vec<i64>> {
    let status = client.body(&Frame::request(907))?;
    let slaves = status["haConnectionInfo"].as_array().context("no haConnectionInfo")?;
    slaves.iter().map(|slave| slave["diff"].as_i64().context("no diff")).collect()
}

fn caught_up(client: &mut PlainClient) -> Result<()> {
    eventually("the slave has caught up", CATCH_UP_LIMIT, || Ok((slave_lags(client)? == [0]).then_some(())))
}

/// The logs, and the ConsumeQueues that either made of its own, byte for byte as far as the shorter of them goes: files end in zeroes
/// behind what is written, and neither has more than the other.
fn same_files(master: &Member, slave: &Member) -> Result<()> {
    let log = |member: &Member| read_all(&member.store().join("commitlog"));
    let (ours, theirs) = (log(master)?, log(slave)?);
    let differs = ours.iter().zip(&theirs).position(|(one, other)| one != other);
    ensure!(differs.is_none(), "the logs differ at {differs:?}");
    ensure!(trimmed(&ours).len() == trimmed(&theirs).len(), "the logs end at {} and {}", trimmed(&ours).len(), trimmed(&theirs).len());
    let mut units = 0;
    for queue_id in 0..QUEUES {
        let queue = |member: &Member| read_all(&member.store().join(format!("consumequeue/{TOPIC}/{queue_id}")));
        let (ours, theirs) = (queue(master)?, queue(slave)?);
        let (ours, theirs) = (trimmed(&ours), trimmed(&theirs));
        ensure!(ours == theirs, "the ConsumeQueues of queue {queue_id} differ: {} and {} bytes", ours.len(), theirs.len());
        units += ours.len().div_ceil(UNIT_BYTES);
    }
    ensure!(units == 4_000, "{units} units of 4,000 messages");
    Ok(())
}

/// The files of a directory, one behind the other.
fn read_all(dir: &Path) -> Result<Vec<u8>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_none());
    files.sort();
    let mut bytes = Vec::new();
    for file in files {
        bytes.extend(fs::read(&file)?);
    }
    Ok(bytes)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// The original's own tool.
fn tool(arguments: &[&str], namesrv: &str) -> Result<String> {
    let output = Command::new("java")
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &servers::oracle_classpath("5.5.0")?])
        .arg("org.apache.rocketmq.tools.command.MQAdminStartup")
        .args(arguments)
        .args(["-n", namesrv])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
