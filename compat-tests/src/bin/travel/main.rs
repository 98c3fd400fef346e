// SPDX-License-Identifier: Apache-2.0
//! `travel`: one store directory goes from the original to Ferrocket and back, stopped orderly and killed, and after each leg
//! the next server must show exactly what the last one showed: every record of every queue byte for byte, tag filters, keys,
//! times, ids, committed offsets. Then another store, with transactions that are left open.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

mod transactions;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use compat_tests::plain_client::{Outgoing, PlainClient, batch_request, eventually};
use compat_tests::record::Record;
use compat_tests::servers::{self, BrokerSettings, Make, Server};
use compat_tests::wire::Frame;

/// Small files, so that everything rolls: the CommitLog at 512 KiB, a ConsumeQueue at 300 units, an index at 2,000 entries.
const LINES: &[&str] = &[
    "mappedFileSizeCommitLog=524288",
    "mappedFileSizeConsumeQueue=6000",
    "maxHashSlotNum=500",
    "maxIndexNum=2000",
    "messageDelayLevel=1s 5s",
];

/// Topic and its queues.
const TOPICS: &[(&str, i32)] = &[("Orders", 4), ("Bulk", 1), ("Delayed", 1), ("Doomed", 2), ("SCHEDULE_TOPIC_XXXX", 2)];
const GROUP: &str = "TravelGroup";
const TAGS: [&str; 3] = ["red", "green", "blue"];
/// Single messages per queue of Orders and part.
const SINGLES: usize = 100;
/// Messages of Bulk per part, in batches.
const BULK: usize = 500;
const BATCH: usize = 50;

#[derive(Parser)]
struct Options {
    /// Versions of the original to travel with.
    #[arg(default_values = ["5.5.0", "4.9.7"])]
    versions: Vec<String>,
    /// Whose server stands in Ferrocket's place: `java` proves the programme itself against the original alone.
    #[arg(long, default_value = "ferrocket")]
    guest: String,
    /// Only the transactions.
    #[arg(long)]
    transactions: bool,
    /// Keep the directories.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let guest_is_java = options.guest == "java";
    let started = Instant::now();
    let trips: Vec<_> = options
        .versions
        .iter()
        .map(|version| {
            let version: &'static str = if version == "4.9.7" { "4.9.7" } else { "5.5.0" };
            let (keep, transactions_only) = (options.keep, options.transactions);
            std::thread::spawn(move || {
                let java = Make::Java(version);
                let guest = if guest_is_java { java.clone() } else { Make::Ferrocket };
                let whole = if transactions_only { Ok(()) } else { travel(version, &java, &guest, keep) };
                (version, whole.and_then(|()| transactions::travel(&java, &guest, keep)))
            })
        })
        .collect();
    let mut good = true;
    for trip in trips {
        match trip.join() {
            Ok((_, Ok(()))) => {}
            Ok((version, Err(error))) => {
                good = false;
                println!("{version}: FAILED: {error:#}");
            }
            Err(_) => good = false,
        }
    }
    println!("travel: {} in {:.1} s", if good { "all legs agree" } else { "FAILED" }, started.elapsed().as_secs_f32());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How a leg ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Killed,
}

struct Trip {
    home: PathBuf,
    port: u16,
    java: Make,
    guest: Make,
}

fn travel(version: &str, java: &Make, guest: &Make, keep: bool) -> Result<()> {
    let home = servers::scratch(&format!("travel-{version}"))?;
    let trip = Trip { home: home.clone(), port: servers::free_port()?, java: java.clone(), guest: guest.clone() };
    trip.run().with_context(|| format!("the store stays in {}", home.display()))?;
    if !keep {
        fs::remove_dir_all(&home)?;
    }
    Ok(())
}

impl Trip {
    fn run(&self) -> Result<()> {
        let (java, guest) = (self.java.clone(), self.guest.clone());
        let first = self.leg(&java, None, 1, End::Orderly)?;
        let second = self.leg(&guest, Some(&first), 2, End::Orderly)?;
        let third = self.leg(&java, Some(&second), 3, End::Killed)?;
        let fourth = self.leg(&guest, Some(&third), 4, End::Killed)?;
        let fifth = self.clean_leg(&java, &fourth)?;
        let sixth = self.leg(&guest, Some(&fifth), 6, End::Orderly)?;
        self.leg(&java, Some(&sixth), 7, End::Orderly)?;
        Ok(())
    }

    fn start(&self, make: &Make) -> Result<Server> {
        let lines: Vec<String> = LINES.iter().map(|line| (*line).to_owned()).collect();
        servers::start_broker(make, &self.home, &BrokerSettings { name: "broker-a", port: self.port, namesrv: None, lines: &lines })
    }

    /// Open, compare with what the last server showed, append, look, stop.
    fn leg(&self, make: &Make, before: Option<&Seen>, part: usize, end: End) -> Result<Seen> {
        let started = Instant::now();
        let server = self.start(make)?;
        let name = format!("leg {part} on {}", make.name());
        let mut client = PlainClient::open(server.addr)?;
        match before {
            Some(before) => before.compare(&mut client, make).with_context(|| format!("{name}, opened\n{}", server.tail()))?,
            None => prepare(&mut client)?,
        }
        append(&mut client, part, before).with_context(|| format!("{name}, append\n{}", server.tail()))?;
        let seen = Seen::look(&mut client, make, end).with_context(|| format!("{name}, look\n{}", server.tail()))?;
        if let Some(before) = before {
            seen.continues(before).with_context(|| name.clone())?;
        }
        self.finish(server, &name, &seen, end, started)?;
        Ok(seen)
    }

    /// The original deletes a topic and finds its oldest log file expired: whatever the next server keeps beside the original's
    /// files is stale. The original's own cleaning begins a minute after its start, so the file is taken away here.
    fn clean_leg(&self, make: &Make, before: &Seen) -> Result<Seen> {
        let started = Instant::now();
        let log = self.home.join("store/commitlog");
        let mut files: Vec<PathBuf> = fs::read_dir(&log)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        ensure!(files.len() > 2, "the log has only {} files", files.len());
        fs::remove_file(&files[0])?;
        let first = files[1].file_name().and_then(|name| name.to_str()).context("a log file without a name")?.parse()?;
        let server = self.start(make)?;
        let name = format!("leg 5 on {}", make.name());
        let mut client = PlainClient::open(server.addr)?;
        let rest = before.without_expired(first);
        ensure!(rest.queues[&("Bulk", 0)].min > 0, "the first log file held nothing of Bulk");
        rest.compare(&mut client, make).with_context(|| format!("{name}, opened"))?;
        client.expect(&Frame::request(215).with("topic", "Doomed"))?;
        append(&mut client, 5, Some(before)).with_context(|| format!("{name}, append"))?;
        let seen = Seen::look(&mut client, make, End::Orderly).with_context(|| format!("{name}, look"))?;
        self.finish(server, &name, &seen, End::Orderly, started)?;
        Ok(seen)
    }

    fn finish(&self, server: Server, name: &str, seen: &Seen, end: End, started: Instant) -> Result<()> {
        match end {
            End::Orderly => {
                server.stop()?;
                ensure!(!self.home.join("store/abort").exists(), "{name}: stopped orderly, and `abort` is still there");
            }
            End::Killed => server.kill()?,
        }
        let records: usize = seen.queues.values().map(|queue| queue.records.len()).sum();
        println!(
            "{name}: {records} records, {} keys, {} times agree; {} ({:.1} s)",
            seen.keys.len(),
            seen.times.len(),
            if end == End::Orderly { "stopped" } else { "killed" },
            started.elapsed().as_secs_f32()
        );
        Ok(())
    }
}

fn prepare(client: &mut PlainClient) -> Result<()> {
    for (topic, queues) in TOPICS.iter().filter(|(topic, _)| *topic != "SCHEDULE_TOPIC_XXXX") {
        client.create_topic(topic, *queues)?;
    }
    client.create_group(GROUP)
}

/// One part of the load. Ends when the index and the delayed messages are there.
fn append(client: &mut PlainClient, part: usize, before: Option<&Seen>) -> Result<()> {
    let delayed_before = client.max_offset("Delayed", 0)?;
    for index in 0..SINGLES {
        for queue_id in 0..4 {
            let message = Outgoing::new("Orders", queue_id, body(part, index))
                .with("UNIQ_KEY", format!("U{part}-{queue_id}-{index}"))
                .with("KEYS", format!("order-{part}-{index} part-{part}-{}", index % 10))
                .with("TAGS", TAGS[index % TAGS.len()]);
            client.send(&message)?;
        }
        if index % 10 == 0 {
            // Compressed by the client: zlib's stored form; the flag and the bytes must travel, nobody reads them.
            let packed = Outgoing { sys_flag: 1, ..Outgoing::new("Orders", 0, [&[0x78, 0x01][..], &body(part, index)].concat()) };
            client.send(&packed.with("UNIQ_KEY", format!("P{part}-{index}")).with("TAGS", "packed"))?;
        }
    }
    for round in 0..BULK / BATCH {
        let batch: Vec<Outgoing> = (0..BATCH)
            .map(|index| {
                Outgoing::new("Bulk", 0, format!("bulk {part} {round} {index}"))
                    .with("UNIQ_KEY", format!("B{part}-{round}-{index}"))
                    .with("KEYS", format!("bulk-{part}-{round}"))
                    .with("TAGS", TAGS[index % TAGS.len()])
            })
            .collect();
        client.expect(&batch_request(&batch))?;
    }
    if part < 5 {
        for queue_id in 0..2 {
            client.send(&Outgoing::new("Doomed", queue_id, body(part, 0)).with("UNIQ_KEY", format!("D{part}-{queue_id}")))?;
        }
    }
    for (index, tag) in TAGS.into_iter().enumerate() {
        client.send(
            &Outgoing::new("Delayed", 0, format!("delayed {part} {index}"))
                .with("UNIQ_KEY", format!("L{part}-{index}"))
                .with("DELAY", "1")
                .with("TAGS", tag),
        )?;
    }
    // The slow one of the part before was left for this server, and one is left for the next.
    let expected = delayed_before + 3 + i64::from(before.is_some_and(|before| before.delayed == delayed_before));
    eventually("the delayed messages", Duration::from_secs(20), || Ok((client.max_offset("Delayed", 0)? >= expected).then_some(())))?;
    client.send(&Outgoing::new("Delayed", 0, format!("left over {part}")).with("UNIQ_KEY", format!("S{part}")).with("DELAY", "2"))?;
    for queue_id in 0..4 {
        client.commit(GROUP, "Orders", queue_id, (part * 10) as i64 + i64::from(queue_id))?;
    }
    // A scheduled record is indexed under the schedule's topic; what was sent before it is indexed by then.
    eventually("the index", Duration::from_secs(20), || {
        Ok((!client.query("SCHEDULE_TOPIC_XXXX", &format!("S{part}"), true)?.is_empty()).then_some(()))
    })
}

fn body(part: usize, index: usize) -> Vec<u8> {
    format!("part {part} message {index} ").repeat(20 + index % 20).into_bytes()
}

#[derive(Debug, PartialEq, Eq)]
struct Queue {
    min: i64,
    records: Vec<Record>,
}

/// What a server shows of its store.
#[derive(Debug)]
struct Seen {
    queues: BTreeMap<(&'static str, i32), Queue>,
    /// (topic, key, unique) -> physical offsets.
    keys: BTreeMap<(&'static str, String, bool), Vec<i64>>,
    /// (topic, queue, time) -> queue offset.
    times: BTreeMap<(&'static str, i32, i64), i64>,
    /// (queue of Orders, tag) -> queue offsets.
    tags: BTreeMap<(i32, &'static str), Vec<i64>>,
    /// Committed offsets; not after a kill, where only the original's habit of writing them every few seconds counts.
    committed: BTreeMap<i32, i64>,
    /// Messages of Delayed when it was looked at: a slow one comes later.
    delayed: i64,
}

impl Seen {
    fn look(client: &mut PlainClient, make: &Make, end: End) -> Result<Self> {
        let mut queues = BTreeMap::new();
        for (topic, count) in TOPICS {
            for queue_id in 0..*count {
                if let Some(queue) = look_at(client, topic, queue_id)? {
                    queues.insert((*topic, queue_id), queue);
                }
            }
        }
        let mut seen = Self {
            delayed: client.max_offset("Delayed", 0)?,
            queues,
            keys: BTreeMap::new(),
            times: BTreeMap::new(),
            tags: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        seen.choose_questions(make);
        seen.ask(client)?;
        if end == End::Orderly {
            for queue_id in 0..4 {
                seen.committed.insert(queue_id, client.committed(GROUP, "Orders", queue_id)?);
            }
        }
        seen.check_itself()?;
        Ok(seen)
    }

    /// Keys, times and tags to ask for, from the records themselves.
    fn choose_questions(&mut self, make: &Make) {
        // Delayed still grows while it is looked at.
        for ((topic, queue_id), queue) in self.queues.iter().filter(|((topic, _), _)| *topic != "Delayed") {
            let records = &queue.records;
            for (index, record) in records.iter().enumerate() {
                if index % 37 == 0 || index + 1 == records.len() {
                    if let Some(unique) = record.property("UNIQ_KEY") {
                        self.keys.insert((*topic, unique.to_owned(), true), Vec::new());
                    }
                    for key in record.property("KEYS").unwrap_or("").split(' ').filter(|key| !key.is_empty()) {
                        self.keys.insert((*topic, key.to_owned(), false), Vec::new());
                    }
                }
                // Versions before 5 answer any of a run of equal times, so only a time that stands alone is asked for.
                let time = record.store_timestamp;
                let alone = |other: Option<&Record>| other.is_none_or(|other| other.store_timestamp != time);
                let before = index.checked_sub(1).and_then(|index| records.get(index));
                if index % 23 == 0 && answers_times(make, queue) && alone(before) && alone(records.get(index + 1)) {
                    self.times.insert((*topic, *queue_id, time), -1);
                }
            }
        }
        for queue_id in 0..4 {
            for tag in TAGS.into_iter().chain(["packed", "red || blue", "none"]) {
                self.tags.insert((queue_id, tag), Vec::new());
            }
        }
    }

    fn ask(&mut self, client: &mut PlainClient) -> Result<()> {
        for ((topic, key, unique), found) in &mut self.keys {
            *found = client.query(topic, key, *unique)?;
        }
        for ((topic, queue_id, time), found) in &mut self.times {
            *found = client.search_offset(topic, *queue_id, *time)?;
        }
        for ((queue_id, tag), found) in &mut self.tags {
            let from = self.queues[&("Orders", *queue_id)].min;
            *found = client.pull_all("Orders", *queue_id, from, tag)?.iter().map(|record| record.queue_offset).collect();
        }
        Ok(())
    }

    /// The answers against the records that they speak of.
    fn check_itself(&self) -> Result<()> {
        for ((topic, queue_id), queue) in &self.queues {
            for (index, record) in queue.records.iter().enumerate() {
                ensure!(record.queue_offset == queue.min + index as i64, "{topic} {queue_id}: a hole before {}", record.queue_offset);
            }
        }
        for ((topic, queue_id, time), offset) in &self.times {
            let queue = &self.queues[&(*topic, *queue_id)];
            let wanted = queue.records.iter().find(|record| record.store_timestamp == *time).map(|record| record.queue_offset);
            ensure!(wanted == Some(*offset), "time {time} of {topic} {queue_id}: {offset}, {wanted:?} has it");
        }
        for ((topic, key, unique), found) in &self.keys {
            let mut wanted: Vec<i64> = self
                .queues
                .iter()
                .filter(|((name, _), _)| name == topic)
                .flat_map(|(_, queue)| &queue.records)
                .filter(|record| {
                    let keys = record.property("KEYS").unwrap_or("");
                    record.property("UNIQ_KEY") == Some(key) || (!*unique && keys.split(' ').any(|known| known == key))
                })
                .map(|record| record.physical_offset)
                .collect();
            wanted.sort_unstable();
            ensure!(*found == wanted, "key {key} of {topic}: found {found:?}, the queues hold {wanted:?}");
        }
        for ((queue_id, tag), found) in &self.tags {
            let wanted: Vec<i64> = self.queues[&("Orders", *queue_id)]
                .records
                .iter()
                .filter(|record| tag.split("||").any(|tag| record.property("TAGS") == Some(tag.trim())))
                .map(|record| record.queue_offset)
                .collect();
            ensure!(*found == wanted, "tag {tag} of queue {queue_id}: {} found, {} wanted", found.len(), wanted.len());
        }
        Ok(())
    }

    /// What is left when the log begins at `first`.
    fn without_expired(&self, first: i64) -> Self {
        let mut queues = BTreeMap::new();
        for (at, queue) in &self.queues {
            let records: Vec<Record> = queue.records.iter().filter(|record| record.physical_offset >= first).cloned().collect();
            let min = records.first().map_or(queue.min + queue.records.len() as i64, |record| record.queue_offset);
            queues.insert(*at, Queue { min, records });
        }
        let kept = |offsets: &Vec<i64>| offsets.iter().copied().filter(|offset| *offset >= first).collect::<Vec<_>>();
        Self {
            keys: self.keys.iter().map(|(key, found)| (key.clone(), kept(found))).collect(),
            times: self
                .times
                .iter()
                .filter(|((topic, queue_id, _), offset)| {
                    queues.get(&(*topic, *queue_id)).is_some_and(|queue: &Queue| **offset >= queue.min)
                })
                .map(|(at, offset)| (*at, *offset))
                .collect(),
            tags: self
                .tags
                .iter()
                .map(|((queue_id, tag), found)| {
                    let min = queues[&("Orders", *queue_id)].min;
                    ((*queue_id, *tag), found.iter().copied().filter(|offset| *offset >= min).collect())
                })
                .collect(),
            committed: self.committed.clone(),
            delayed: self.delayed,
            queues,
        }
    }

    /// A server that opened the directory must show the same; the slow delayed message may have come meanwhile.
    fn compare(&self, client: &mut PlainClient, make: &Make) -> Result<()> {
        for ((topic, queue_id), queue) in &self.queues {
            let now = look_at(client, topic, *queue_id)?.with_context(|| format!("{topic} is gone"))?;
            ensure!(now.min == queue.min, "{topic} {queue_id}: min offset {} was {}", now.min, queue.min);
            same_records(topic, *queue_id, &queue.records, &now.records)?;
            let later = now.records.len() - queue.records.len();
            // The slow delayed message comes now; after a kill those since the last written delay offset come again.
            ensure!(later == 0 || *topic == "Delayed", "{topic} {queue_id}: {later} records more than were left");
        }
        for (topic, count) in TOPICS {
            for queue_id in 0..*count {
                let known = self.queues.contains_key(&(*topic, queue_id));
                ensure!(known || look_at(client, topic, queue_id)?.is_none(), "{topic} {queue_id} is back");
            }
        }
        for ((topic, key, unique), wanted) in &self.keys {
            // The index follows the log after a kill; in time it must be there.
            eventually(&format!("key {key} of {topic} leads to {wanted:?}"), Duration::from_secs(10), || {
                Ok((client.query(topic, key, *unique)? == *wanted).then_some(()))
            })?;
        }
        for ((topic, queue_id, time), wanted) in &self.times {
            if !answers_times(make, &self.queues[&(*topic, *queue_id)]) {
                continue;
            }
            let found = client.search_offset(topic, *queue_id, *time)?;
            ensure!(found == *wanted, "time {time} of {topic} {queue_id}: {found} was {wanted}");
        }
        for ((queue_id, tag), wanted) in &self.tags {
            let from = self.queues[&("Orders", *queue_id)].min;
            let found: Vec<i64> = client.pull_all("Orders", *queue_id, from, tag)?.iter().map(|record| record.queue_offset).collect();
            ensure!(found == *wanted, "tag {tag} of queue {queue_id}: {} found, {} were there", found.len(), wanted.len());
        }
        for queue in self.queues.values() {
            for record in queue.records.iter().step_by(101) {
                let viewed = client.view(record.physical_offset)?;
                ensure!(viewed == *record, "the id at {} shows {viewed:?}, was {record:?}", record.physical_offset);
            }
        }
        for (queue_id, wanted) in &self.committed {
            let found = client.committed(GROUP, "Orders", *queue_id)?;
            ensure!(found == *wanted, "committed offset of queue {queue_id}: {found} was {wanted}");
        }
        Ok(())
    }

    /// The older part is still there under the newer one.
    fn continues(&self, before: &Self) -> Result<()> {
        for ((topic, queue_id), queue) in &before.queues {
            let now = self.queues.get(&(*topic, *queue_id)).with_context(|| format!("{topic} is gone"))?;
            same_records(topic, *queue_id, &queue.records, &now.records)?;
        }
        Ok(())
    }
}

/// 4.9.7 chooses the ConsumeQueue file by the time when the file was last written, which is the time of the last opening:
/// its answers about a queue of several files are not meant.
fn answers_times(make: &Make, queue: &Queue) -> bool {
    *make != Make::Java("4.9.7") || queue.min + (queue.records.len() as i64) < 300
}

fn look_at(client: &mut PlainClient, topic: &'static str, queue_id: i32) -> Result<Option<Queue>> {
    let answered = client.min_offset(topic, queue_id)?;
    let max = client.max_offset(topic, queue_id)?;
    if max == 0 {
        return Ok(None);
    }
    let records = client.pull_all(topic, queue_id, answered, "*")?;
    // The original learns of an expired first file a minute after its start: until then the answer is too small, never too big.
    let min = records.first().map_or(max, |record| record.queue_offset);
    ensure!(answered <= min, "{topic} {queue_id}: min offset {answered}, and the first record is {min}");
    Ok(Some(Queue { min, records }))
}

fn same_records(topic: &str, queue_id: i32, before: &[Record], now: &[Record]) -> Result<()> {
    for (index, record) in before.iter().enumerate() {
        match now.get(index) {
            Some(other) if other == record => {}
            Some(other) => bail!("{topic} {queue_id}: record {index} is\n  {other:?}\nand was\n  {record:?}"),
            None => bail!("{topic} {queue_id}: {} records, {} were there", now.len(), before.len()),
        }
    }
    Ok(())
}
