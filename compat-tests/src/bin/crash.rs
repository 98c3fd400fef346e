// SPDX-License-Identifier: Apache-2.0
//! `crash`: rounds of SIGKILL under load. Eight producers send, each to its own queue with several requests in flight; the
//! process is killed; after the next start every acknowledged message must be at the offset that its answer named, and each
//! queue must hold its producer's messages in the order in which they were sent.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use compat_tests::plain_client::{Outgoing, PlainClient};
use compat_tests::servers::{self, BrokerSettings, Make, Server};
use compat_tests::wire::{Connection, Next};

const PRODUCERS: i32 = 8;
/// Requests in flight per producer.
const WINDOW: usize = 16;
const TOPIC: &str = "Crash";
/// From the start of the process to the first acknowledged send.
const READY_LIMIT: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Options {
    /// Rounds, half of them with SYNC_FLUSH.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Run against the original instead, to prove the programme itself. It does not keep the order of pipelined requests, so
    /// each producer then has one in flight.
    #[arg(long)]
    java: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    for flush in ["SYNC_FLUSH", "ASYNC_FLUSH"] {
        if let Err(error) = rounds(flush, options.rounds / 2, options.java) {
            println!("crash: {flush} FAILED: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What one producer knows: queue offset -> number of the message, for each acknowledged one.
type Acknowledged = BTreeMap<i64, u64>;

#[derive(Default)]
struct Producer {
    next: u64,
    acknowledged: Acknowledged,
    /// Where the next check may begin, and the last number before it.
    checked_to: i64,
    last_number: Option<u64>,
}

fn rounds(flush: &str, count: u32, java: bool) -> Result<()> {
    let home = servers::scratch(&format!("crash-{flush}"))?;
    let port = servers::free_port()?;
    let lines =
        vec![format!("flushDiskType={flush}"), "mappedFileSizeCommitLog=4194304".to_owned(), "mappedFileSizeConsumeQueue=60000".to_owned()];
    let make = if java { Make::Java("5.5.0") } else { Make::Ferrocket };
    let mut producers: Vec<Producer> = (0..PRODUCERS).map(|_| Producer::default()).collect();
    let mut slowest = Duration::ZERO;
    let started = Instant::now();
    for round in 0..=count {
        let (server, ready) = start(&make, &home, port, &lines)?;
        if round > 0 {
            slowest = slowest.max(ready);
            let mut client = PlainClient::open(server.addr)?;
            for (queue_id, producer) in producers.iter_mut().enumerate() {
                check(&mut client, queue_id as i32, producer).with_context(|| {
                    format!("after kill {round}, queue {queue_id}; the store stays in {}\n{}", home.display(), server.tail())
                })?;
            }
        } else {
            PlainClient::open(server.addr)?.create_topic(TOPIC, PRODUCERS)?;
        }
        if round == count {
            whole(&server, &producers)?;
            server.stop()?;
            break;
        }
        // A time that differs from round to round, so that the kill meets rolls, flushes and quiet moments alike.
        load_and_kill(server, &mut producers, if java { 1 } else { WINDOW }, Duration::from_millis(250 + u64::from(round * 137 % 400)))?;
    }
    let acknowledged: usize = producers.iter().map(|producer| producer.acknowledged.len()).sum();
    println!(
        "crash: {flush}: {count} kills, {acknowledged} acknowledged messages all there and in order, ready in at most {} ms ({:.1} s)",
        slowest.as_millis(),
        started.elapsed().as_secs_f32()
    );
    if !java {
        ensure!(slowest < READY_LIMIT, "the slowest start took {slowest:?}");
    }
    fs::remove_dir_all(&home)?;
    Ok(())
}

/// Starts and measures until the first send is acknowledged.
fn start(make: &Make, home: &Path, port: u16, lines: &[String]) -> Result<(Server, Duration)> {
    let started = Instant::now();
    let server = servers::start_broker(make, home, &BrokerSettings { name: "broker-a", port, namesrv: None, lines })?;
    PlainClient::open(server.addr)?.send(&Outgoing::new("CrashProbe", 0, "ready"))?;
    Ok((server, started.elapsed()))
}

fn load_and_kill(server: Server, producers: &mut [Producer], window: usize, load: Duration) -> Result<()> {
    let stop = AtomicBool::new(false);
    let addr = server.addr;
    std::thread::scope(|scope| -> Result<()> {
        let running: Vec<_> = producers
            .iter_mut()
            .enumerate()
            .map(|(queue_id, producer)| {
                let stop = &stop;
                scope.spawn(move || -> Result<()> { produce(&mut Connection::open(addr)?, queue_id as i32, producer, window, stop) })
            })
            .collect();
        std::thread::sleep(load);
        server.kill()?;
        stop.store(true, Ordering::Relaxed);
        for producer in running {
            producer.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??;
        }
        Ok(())
    })
}

/// Sends until the connection ends. One producer's requests are on one connection, so they are stored in the order of sending.
fn produce(connection: &mut Connection, queue_id: i32, producer: &mut Producer, window: usize, stop: &AtomicBool) -> Result<()> {
    let mut in_flight: HashMap<i32, u64> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        while in_flight.len() < window {
            let number = producer.next;
            let message = Outgoing::new(TOPIC, queue_id, format!("{queue_id} {number} {}", "x".repeat(500 + (number % 700) as usize)))
                .with("UNIQ_KEY", format!("{queue_id}-{number}"));
            let Ok(opaque) = connection.send(&message.request()) else { return Ok(()) };
            producer.next += 1;
            in_flight.insert(opaque, number);
        }
        match connection.anything(Duration::from_millis(200))? {
            Next::Frame(answer) => {
                let number = in_flight.remove(&answer.opaque).context("an answer to nothing")?;
                ensure!(answer.code == 0, "a send was answered {}: {:?}", answer.code, answer.remark);
                let twice = producer.acknowledged.insert(answer.ext_i64("queueOffset")?, number);
                ensure!(twice.is_none(), "the queue offset {} was given twice", answer.ext("queueOffset"));
            }
            Next::Nothing => {}
            Next::Closed | Next::Foreign => return Ok(()),
        }
    }
    Ok(())
}

fn number_of(body: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(body)?;
    text.split(' ').nth(1).with_context(|| format!("body {text}"))?.parse().context("the number in a body")
}

/// What came since the last check.
fn check(client: &mut PlainClient, queue_id: i32, producer: &mut Producer) -> Result<()> {
    let records = client.pull_all(TOPIC, queue_id, producer.checked_to, "*")?;
    let mut at = producer.checked_to;
    for record in &records {
        ensure!(record.queue_offset == at, "a hole at {at}: next is {}", record.queue_offset);
        let number = number_of(&record.body)?;
        ensure!(producer.last_number.is_none_or(|last| last < number), "number {number} stands after {:?}", producer.last_number);
        if let Some(wanted) = producer.acknowledged.get(&at) {
            ensure!(*wanted == number, "offset {at} was acknowledged for {wanted} and holds {number}");
        }
        producer.last_number = Some(number);
        at += 1;
    }
    if let Some((last, number)) = producer.acknowledged.last_key_value() {
        ensure!(*last < at, "message {number}, acknowledged at {last}, is missing: the queue ends at {at}");
    }
    producer.checked_to = at;
    Ok(())
}

/// At the end everything once more, from the beginning.
fn whole(server: &Server, producers: &[Producer]) -> Result<()> {
    let mut client = PlainClient::open(server.addr)?;
    for (queue_id, producer) in producers.iter().enumerate() {
        let records = client.pull_all(TOPIC, queue_id as i32, 0, "*")?;
        ensure!(records.len() as i64 == producer.checked_to, "queue {queue_id} has {} of {} records", records.len(), producer.checked_to);
        for (offset, number) in &producer.acknowledged {
            let record = &records[*offset as usize];
            ensure!(number_of(&record.body)? == *number, "queue {queue_id}: offset {offset} no longer holds {number}");
        }
    }
    Ok(())
}
