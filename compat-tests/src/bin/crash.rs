// SPDX-License-Identifier: Apache-2.0
//! `crash`: rounds of SIGKILL under load. Eight producers send, each to its own queue with several requests in flight; the
//! process is killed; after the next start every acknowledged message must be at the offset that its answer named, and each
//! queue must hold its producer's messages in the order in which they were sent.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use compat_tests::plain_client::{Outgoing, PlainClient};
use compat_tests::producers::Producers;
use compat_tests::servers::{self, BrokerSettings, Make, Server};

const PRODUCERS: usize = 8;
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

fn rounds(flush: &str, count: u32, java: bool) -> Result<()> {
    let home = servers::scratch(&format!("crash-{flush}"))?;
    let port = servers::free_port()?;
    let lines =
        vec![format!("flushDiskType={flush}"), "mappedFileSizeCommitLog=4194304".to_owned(), "mappedFileSizeConsumeQueue=60000".to_owned()];
    let make = if java { Make::Java("5.5.0") } else { Make::Ferrocket };
    let mut producers = Producers::new(TOPIC, PRODUCERS);
    let mut slowest = Duration::ZERO;
    let started = Instant::now();
    for round in 0..=count {
        let (server, ready) = start(&make, &home, port, &lines)?;
        if round > 0 {
            slowest = slowest.max(ready);
            producers
                .check(server.addr)
                .with_context(|| format!("after kill {round}; the store stays in {}\n{}", home.display(), server.tail()))?;
        } else {
            PlainClient::open(server.addr)?.create_topic(TOPIC, PRODUCERS as i32)?;
        }
        if round == count {
            producers.check_whole(server.addr)?;
            server.stop()?;
            break;
        }
        // A time that differs from round to round, so that the kill meets rolls, flushes and quiet moments alike.
        let load = Duration::from_millis(250 + u64::from(round * 137 % 400));
        producers.load(server.addr, if java { 1 } else { WINDOW }, load, || server.kill())?;
    }
    let acknowledged = producers.acknowledged_count();
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
