// SPDX-License-Identifier: Apache-2.0
//! One broker of a master and its slaves: how it is configured, what it is asked, and what it has on its disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::dialect;
use compat_tests::plain_client::{Outgoing, PlainClient, eventually};
use compat_tests::servers::{self, BrokerSettings, Make, Server};
use compat_tests::wire::Frame;

pub(super) const TOPIC: &str = "Copied";
pub(super) const QUEUES: i32 = 4;
/// Small, so that a few megabytes are many files.
pub(super) const LOG_FILE_BYTES: i64 = 1024 * 1024;
pub(super) const LOG_FILES: i64 = 5;
pub(super) const SLAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A slave of the original waits 5 s after a connection that failed, and knows a new master after `registerNameServerPeriod`.
pub(super) const CATCH_UP_LIMIT: Duration = Duration::from_secs(90);
/// A slave of the original copies the tables for the first time a minute after its start.
pub(super) const TABLES_LIMIT: Duration = Duration::from_secs(120);
pub(super) const SEND_OK: i32 = 0;
pub(super) const FLUSH_SLAVE_TIMEOUT: i32 = 12;
const SLAVE_NOT_AVAILABLE: i32 = 11;
const UNIT_BYTES: usize = 20;
const COMMON: [&str; 6] = [
    "mappedFileSizeConsumeQueue=20000",
    "haSendHeartbeatInterval=1000",
    "haHousekeepingInterval=5000",
    // The shortest that is taken.
    "registerNameServerPeriod=10000",
    "slaveTimeout=5000",
    "slaveReadEnable=true",
];

/// A broker, which may be started several times.
pub(super) struct Member {
    pub make: Make,
    pub id: u8,
    pub port: u16,
    pub lines: Vec<String>,
    home: PathBuf,
    namesrv: String,
}

impl Member {
    pub(super) fn master(make: &Make, home: &Path, namesrv: &Server, lines: &[&str]) -> Result<Self> {
        Self::new(make, home.join("master"), namesrv, 0, lines)
    }

    pub(super) fn slave(make: &Make, home: &Path, namesrv: &Server, id: u8) -> Result<Self> {
        Self::new(make, home.join(format!("slave-{id}")), namesrv, id, &["brokerRole=SLAVE"])
    }

    fn new(make: &Make, home: PathBuf, namesrv: &Server, id: u8, lines: &[&str]) -> Result<Self> {
        let mut lines: Vec<String> = lines.iter().chain(&COMMON).map(|line| (*line).to_owned()).collect();
        lines.push(format!("mappedFileSizeCommitLog={LOG_FILE_BYTES}"));
        if !lines.iter().any(|line| line.starts_with("brokerIP2")) {
            // What slaves are told; all listen on the loopback alone.
            lines.push("brokerIP2=127.0.0.1".to_owned());
        }
        Ok(Self { make: make.clone(), id, port: servers::free_port()?, home, namesrv: namesrv.addr.to_string(), lines })
    }

    pub(super) fn start(&self) -> Result<Server> {
        let lines = [&self.lines[..], &[format!("brokerId={}", self.id)]].concat();
        let settings = BrokerSettings { name: "pair", port: self.port, namesrv: Some(self.namesrv.clone()), lines: &lines };
        servers::start_broker(&self.make, &self.home, &settings).with_context(|| format!("start the broker with id {}", self.id))
    }

    /// From the next start on; `line` is KEY=VALUE.
    pub(super) fn set(&mut self, line: &str) {
        let key = line.split_once('=').map_or(line, |(key, _)| key);
        self.lines.retain(|held| held.split_once('=').is_none_or(|(held, _)| held != key));
        self.lines.push(line.to_owned());
    }

    /// From the next start on it is the master, on the same store.
    pub(super) fn promote(&mut self) {
        self.id = 0;
        self.set("brokerRole=ASYNC_MASTER");
    }

    pub(super) fn ha_port(&self) -> u16 {
        self.port + 1
    }

    pub(super) fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    /// What SYNC_MASTER answers when too few slaves have the message. Only up to 4.x does it look whether there is one before it waits.
    pub(super) fn unacknowledged(&self) -> i32 {
        if self.make == Make::Java("4.9.7") { SLAVE_NOT_AVAILABLE } else { FLUSH_SLAVE_TIMEOUT }
    }

    /// The oldest files of the log go, as retention takes them.
    pub(super) fn expire_first_files(&self, count: usize) -> Result<()> {
        let starts: Vec<i64> = files(&self.store().join("commitlog"))?.into_keys().take(count).collect();
        for start in starts {
            fs::remove_file(self.store().join(format!("commitlog/{start:020}")))?;
        }
        Ok(())
    }

    pub(super) fn delay_offsets(&self) -> Result<serde_json::Value> {
        match fs::read_to_string(self.store().join("config/delayOffset.json")) {
            Ok(text) => Ok(dialect::parse(&text)?["offsetTable"].clone()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(serde_json::Value::Null),
            Err(error) => Err(error.into()),
        }
    }
}

/// The numbers of the messages of each queue, in order.
#[derive(Default)]
pub(super) struct Sent {
    next: i32,
    pub queues: [Vec<i32>; QUEUES as usize],
}

impl Sent {
    /// Messages that nobody waits for, in whatever role the master is.
    pub(super) fn fill(&mut self, client: &mut PlainClient, count: i32) -> Result<()> {
        for _ in 0..count {
            let code = self.send(client, false)?;
            ensure!(code == SEND_OK, "message {} was answered {code}", self.next - 1);
        }
        Ok(())
    }

    /// So many that the log grows by `LOG_FILES` files.
    pub(super) fn fill_files(&mut self, client: &mut PlainClient) -> Result<()> {
        let end = log_bounds(client)?.1 + LOG_FILES * LOG_FILE_BYTES;
        while log_bounds(client)?.1 < end {
            self.fill(client, 200)?;
        }
        Ok(())
    }

    pub(super) fn send(&mut self, client: &mut PlainClient, waits: bool) -> Result<i32> {
        let (number, queue_id) = (self.next, self.next % QUEUES);
        let body = format!("{number} {}", "x".repeat(number as usize * 37 % 7_000));
        let message = Outgoing::new(TOPIC, queue_id, body).with("KEYS", format!("key{number}")).with("TAGS", "t");
        let answer = client.ask(&message.with("WAIT", waits.to_string()).request())?;
        // Also what no slave has is in the master's log.
        if [SEND_OK, FLUSH_SLAVE_TIMEOUT, SLAVE_NOT_AVAILABLE].contains(&answer.code) {
            let queue = &mut self.queues[queue_id as usize];
            let offset = answer.ext_i64("queueOffset")?;
            ensure!(offset == queue.len() as i64, "message {number} got the queue offset {offset} of {}", queue.len());
            queue.push(number);
            self.next += 1;
        }
        Ok(answer.code)
    }

    /// Everything that the broker has is what was sent, from its first message of each queue to the last that was sent.
    pub(super) fn check(&self, asking: &mut PlainClient) -> Result<()> {
        for (queue_id, sent) in (0..).zip(&self.queues) {
            let first = asking.min_offset(TOPIC, queue_id)?;
            let held = asking.pull_all(TOPIC, queue_id, first, "*")?;
            let numbers = held.iter().map(|record| {
                let text = std::str::from_utf8(&record.body)?;
                Ok((record.queue_offset, text.split(' ').next().unwrap_or_default().parse()?))
            });
            let numbers: Vec<(i64, i32)> = numbers.collect::<Result<_>>()?;
            let wanted: Vec<(i64, i32)> = (0..).zip(sent.iter().copied()).skip(first as usize).collect();
            ensure!(
                !wanted.is_empty() && numbers == wanted,
                "queue {queue_id} from {first}: {} of {} messages",
                numbers.len(),
                wanted.len()
            );
        }
        Ok(())
    }
}

/// Where the log of a broker begins and ends.
pub(super) fn log_bounds(client: &mut PlainClient) -> Result<(i64, i64)> {
    // The original may answer with an error in its first second.
    let table = eventually("the broker's figures", CATCH_UP_LIMIT, || {
        let answer = client.ask(&Frame::request(28))?;
        (answer.code == SEND_OK).then(|| dialect::parse(std::str::from_utf8(&answer.body)?)).transpose()
    })?;
    let number = |key: &str| table["table"][key].as_str().and_then(|text| text.parse().ok()).with_context(|| format!("28 has no {key}"));
    Ok((number("commitLogMinOffset")?, number("commitLogMaxOffset")?))
}

/// A slave serves only topics that it knows.
pub(super) fn knows_topic(slave: &mut PlainClient, topic: &str) -> Result<()> {
    eventually("the slave knows the topic", TABLES_LIMIT, || {
        Ok((!slave.body(&Frame::request(21))?["topicConfigTable"][topic].is_null()).then_some(()))
    })
}

pub(super) fn caught_up(master: &mut PlainClient, slave: &mut PlainClient) -> Result<()> {
    let end = log_bounds(master)?.1;
    let limit = CATCH_UP_LIMIT;
    let mut at = 0;
    eventually("the slave has caught up", limit, || {
        at = log_bounds(slave)?.1;
        Ok((at == end).then_some(()))
    })
    .with_context(|| format!("the master's log ends at {end}, the slave's at {at}"))
}

/// The logs and the ConsumeQueues of two that have stopped, byte for byte where both have something, and where they end: either may have
/// begun later. How many files of the log both have.
pub(super) fn same_files(master: &Member, slave: &Member) -> Result<usize> {
    let log = |member: &Member| files(&member.store().join("commitlog"));
    let (ours, theirs) = (log(master)?, log(slave)?);
    let ends = [end_of(&ours), end_of(&theirs)];
    ensure!(ends[0] == ends[1], "the logs end at {} and {}", ends[0], ends[1]);
    let mut common = 0;
    for (start, bytes) in ours.iter().filter(|(start, _)| **start < ends[0]) {
        let Some(other) = theirs.get(start) else { continue };
        let differs = bytes.iter().zip(other).position(|(one, other)| one != other);
        ensure!(differs.is_none(), "the files {start:020} of the logs differ at {differs:?}");
        common += 1;
    }
    for queue_id in 0..QUEUES {
        let units = |member: &Member| units(&member.store().join(format!("consumequeue/{TOPIC}/{queue_id}")));
        let (ours, theirs) = (units(master)?, units(slave)?);
        ensure!(ours.keys().last() == theirs.keys().last(), "queue {queue_id} ends elsewhere");
        let both: Vec<_> = ours.iter().filter_map(|(at, unit)| Some((at, unit, theirs.get(at)?))).collect();
        ensure!(!both.is_empty(), "the ConsumeQueues of queue {queue_id} have nothing in common");
        let differs = both.iter().find(|(_, one, other)| one != other);
        ensure!(differs.is_none(), "queue {queue_id} differs at {:?}", differs.map(|(at, ..)| at));
    }
    Ok(common)
}

/// The files of a directory by the number that is their name.
fn files(dir: &Path) -> Result<BTreeMap<i64, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        if let Ok(start) = entry.file_name().to_string_lossy().parse() {
            files.insert(start, fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// Behind the last byte that is written: files end in zeroes.
fn end_of(files: &BTreeMap<i64, Vec<u8>>) -> i64 {
    let last = files.iter().rev().find_map(|(start, bytes)| Some(start + 1 + bytes.iter().rposition(|byte| *byte != 0)? as i64));
    last.unwrap_or(0)
}

/// By queue offset, without the units that only fill a file up to the first of a queue that begins in its middle.
fn units(dir: &Path) -> Result<BTreeMap<i64, Vec<u8>>> {
    let is_filler = |unit: &[u8]| unit[8..12] == i32::MAX.to_be_bytes() || unit.iter().all(|byte| *byte == 0);
    let mut units = BTreeMap::new();
    for (start, bytes) in files(dir)? {
        let numbered = (start / UNIT_BYTES as i64..).zip(bytes.chunks_exact(UNIT_BYTES));
        units.extend(numbered.filter(|(_, unit)| !is_filler(unit)).map(|(at, unit)| (at, unit.to_vec())));
    }
    Ok(units)
}
