// SPDX-License-Identifier: Apache-2.0
//! Transactions that one server leaves open are asked about and settled by the next, on the same store, both ways: each that
//! commits is there once, none that rolls back, and what is settled is not asked about again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compat_tests::plain_client::{Outgoing, PlainClient};
use compat_tests::record;
use compat_tests::servers::{self, BrokerSettings, Make, Server};
use compat_tests::wire::{Connection, Frame, Next};

use crate::End;

const LINES: &[&str] = &[
    "mappedFileSizeCommitLog=524288",
    "transactionCheckInterval=1000",
    "transactionTimeOut=1500",
    "transactionOpBatchInterval=300",
    "transactionCheckMax=100",
];
const TOPIC: &str = "Paid";
const QUEUES: i32 = 2;
const GROUP: &str = "TravelProducer";
/// Of each kind and leg.
const COUNT: i32 = 20;

const END_TRANSACTION: i32 = 37;
const CHECK_TRANSACTION_STATE: i32 = 39;
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

pub(crate) fn travel(java: &Make, guest: &Make, keep: bool) -> Result<()> {
    let home = servers::scratch(&format!("travel-transactions-{}", java.name()))?;
    let mut trip = Trip { home: home.clone(), port: servers::free_port()?, committed: Vec::new(), open: BTreeSet::new() };
    trip.run(java, guest).with_context(|| format!("transactions: the store stays in {}", home.display()))?;
    if !keep {
        fs::remove_dir_all(&home)?;
    }
    Ok(())
}

struct Trip {
    home: PathBuf,
    port: u16,
    /// Bodies that consumers must see, each once.
    committed: Vec<String>,
    /// Bodies of the half messages that nobody has decided about.
    open: BTreeSet<String>,
}

impl Trip {
    fn run(&mut self, java: &Make, guest: &Make) -> Result<()> {
        // The original, after it was killed, asks again about the copies that it made: that cannot be asked of itself.
        let hard = if *guest == Make::Ferrocket { End::Killed } else { End::Orderly };
        self.leg(1, java, End::Orderly)?;
        self.leg(2, guest, End::Orderly)?;
        self.leg(3, java, hard)?;
        // 4.9 cannot read the op messages of 5.x: it needs the mark in the half queue, which an orderly stop writes.
        self.leg(4, guest, if *java == Make::Java("4.9.7") { End::Orderly } else { hard })?;
        self.leg(5, java, End::Orderly)?;
        self.leg(6, guest, End::Orderly)
    }

    /// Settle what was left open, look, end some at once, leave some open, stop.
    fn leg(&mut self, number: usize, make: &Make, end: End) -> Result<()> {
        let started = Instant::now();
        let lines: Vec<String> = LINES.iter().map(|line| (*line).to_owned()).collect();
        let settings = BrokerSettings { name: "broker-a", port: self.port, namesrv: None, lines: &lines };
        let server = servers::start_broker(make, &self.home, &settings)?;
        let name = format!("transactions, leg {number} on {}", make.name());
        let left = self.open.len();
        self.stay(&server, number).with_context(|| format!("{name}\n{}", server.tail()))?;
        match end {
            End::Orderly => drop(server.stop()?),
            End::Killed => server.kill()?,
        }
        println!(
            "{name}: {left} settled, {} seen, {} left open ({:.1} s)",
            self.committed.len(),
            self.open.len(),
            started.elapsed().as_secs_f32()
        );
        Ok(())
    }

    fn stay(&mut self, server: &Server, number: usize) -> Result<()> {
        let mut client = PlainClient::open(server.addr)?;
        if number == 1 {
            client.create_topic(TOPIC, QUEUES)?;
            self.committed.push("no transaction".to_owned());
            client.send(&Outgoing::new(TOPIC, 0, "no transaction").with("UNIQ_KEY", "plain"))?;
        }
        self.look(&mut client)?;
        self.settle(server)?;
        for (kind, decision) in [("now", COMMIT), ("never", ROLLBACK)] {
            for index in 0..COUNT {
                let body = format!("{kind}-{number}-{index}");
                let sent = client.send(&half(&body, index % QUEUES))?;
                let at = (sent.ext_i64("queueOffset")?, record::id_offset(sent.ext("msgId"))?);
                client.expect(&end_transaction(at, decision, false))?;
                if decision == COMMIT {
                    self.committed.push(body);
                }
            }
        }
        self.look(&mut client)?;
        for kind in ["keep", "drop"] {
            for index in 0..COUNT {
                let body = format!("{kind}-{number}-{index}");
                let half = half(&body, index % QUEUES);
                // Not for those that end at once: the original may have made a copy by then, and asks about that.
                let patient = index % 5 == 0;
                client.send(&if patient { half.with("CHECK_IMMUNITY_TIME_IN_SECONDS", "3") } else { half })?;
                self.open.insert(body);
            }
        }
        // Several rounds find nobody to ask; and what was ended is written down.
        std::thread::sleep(Duration::from_secs(4));
        self.look(&mut client)
    }

    /// Exactly what was committed is in the topic, and found by its key.
    fn look(&self, client: &mut PlainClient) -> Result<()> {
        let mut wanted = self.committed.clone();
        wanted.sort();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut seen = Vec::new();
            for queue_id in 0..QUEUES {
                for record in client.pull_all(TOPIC, queue_id, 0, "*")? {
                    let body = String::from_utf8(record.body.clone())?;
                    if body != "no transaction" {
                        ensure!(record.sys_flag & 12 == COMMIT && record.prepared_transaction_offset > 0, "committed as {record:?}");
                    }
                    seen.push(body);
                }
            }
            seen.sort();
            if seen == wanted {
                break;
            }
            let unwanted: Vec<&String> = seen.iter().filter(|body| !wanted.contains(body)).collect();
            ensure!(unwanted.is_empty(), "seen without a commit: {unwanted:?}");
            ensure!(seen.len() <= wanted.len(), "{} seen, {} committed: some twice", seen.len(), wanted.len());
            ensure!(Instant::now() < deadline, "{} seen, {} committed", seen.len(), wanted.len());
            std::thread::sleep(Duration::from_millis(50));
        }
        for body in self.committed.iter().step_by(7).filter(|body| *body != "no transaction") {
            let found = client.query(TOPIC, &format!("key-{body}"), false)?;
            ensure!(found.len() == 1, "the key of {body} leads to {found:?}");
        }
        Ok(())
    }

    /// A member of the group is asked about each one that is open, decides, and is asked no more.
    fn settle(&mut self, server: &Server) -> Result<()> {
        let mut member = Connection::open(server.addr)?;
        let beat = format!("{{\"clientID\":\"traveller\",\"consumerDataSet\":[],\"producerDataSet\":[{{\"groupName\":\"{GROUP}\"}}]}}");
        member.call(&Frame::request(34).with_body(beat), Duration::from_secs(10))?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut quiet_since = Instant::now();
        while !self.open.is_empty() || quiet_since.elapsed() < Duration::from_secs(4) {
            ensure!(Instant::now() < deadline, "nobody asked about {:?}", self.open);
            let asked = match member.server_request(CHECK_TRANSACTION_STATE, Duration::from_millis(500))? {
                Next::Frame(asked) => asked,
                Next::Nothing => continue,
                Next::Closed | Next::Foreign => bail!("the server ended the connection of the group's only member"),
            };
            quiet_since = Instant::now();
            let record = record::decode_all(&asked.body)?.pop().context("asked about no message")?;
            let body = String::from_utf8(record.body.clone())?;
            ensure!(record.topic == TOPIC, "asked about {record:?}");
            ensure!(self.open.remove(&body), "asked about {body}, which is decided");
            let at = (asked.ext_i64("tranStateTableOffset")?, asked.ext_i64("commitLogOffset")?);
            let keep = body.starts_with("keep");
            member.call(&end_transaction(at, if keep { COMMIT } else { ROLLBACK }, true), Duration::from_secs(10))?;
            if keep {
                self.committed.push(body);
            }
        }
        Ok(())
    }
}

fn half(body: &str, queue_id: i32) -> Outgoing {
    Outgoing { sys_flag: 4, ..Outgoing::new(TOPIC, queue_id, body) }
        .with("UNIQ_KEY", body)
        .with("KEYS", format!("key-{body}"))
        .with("TRAN_MSG", "true")
        .with("PGROUP", GROUP)
}

/// `at`: the half message's queue offset and physical offset.
fn end_transaction(at: (i64, i64), decision: i32, from_check: bool) -> Frame {
    Frame::request(END_TRANSACTION)
        .with("topic", TOPIC)
        .with("producerGroup", GROUP)
        .with("tranStateTableOffset", at.0)
        .with("commitLogOffset", at.1)
        .with("commitOrRollback", decision)
        .with("fromTransactionCheck", from_check)
        .with("msgId", "travel")
        .with("transactionId", "travel")
}
