// SPDX-License-Identifier: Apache-2.0
//! `bench start`: brings a store into a state, starts the server on it, and measures until a send is acknowledged and the last
//! message of before can be pulled; then what the server uses when nothing happens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::frames::topics;
use super::meter::Usage;
use super::report::Report;
use super::send::{self, Load};
use super::server::{ATTEMPT_EVERY, Server};
use super::{BenchError, CommonArgs, ask};
use crate::runtime::Runtime;

#[derive(Debug, Args)]
pub(in crate::cli) struct StartArgs {
    /// Where the broker will answer
    #[arg(long, value_name = "HOST:PORT")]
    addr: SocketAddr,
    /// The state of the store before the start that is measured
    #[arg(long, value_enum, default_value_t = Case::Empty)]
    case: Case,
    /// So many messages of 1 KB are in the store
    #[arg(long, default_value_t = 0)]
    fill_messages: u64,
    /// They are in so many topics
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    fill_topics: u32,
    /// Queues of each of them
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    queues: u32,
    /// The server's store, whose derived files are deleted; only for --case derived-deleted
    #[arg(long, value_name = "DIRECTORY", required_if_eq("case", "derived-deleted"))]
    data: Option<PathBuf>,
    /// After it is ready, before its idle use is looked at
    #[arg(long, default_value_t = 0.0)]
    settle_seconds: f64,
    /// Left alone for so long to read its idle use
    #[arg(long, default_value_t = 0.0)]
    idle_seconds: f64,
    /// Give up when no send was acknowledged by then, and again so long after when what was acknowledged before is not found: the
    /// original makes the queues of 4 GB anew for a minute
    #[arg(long, default_value_t = 180.0)]
    patience_seconds: f64,
    /// What the server prints goes there
    #[arg(long, value_name = "FILE")]
    server_log: Option<PathBuf>,
    /// One line of JSON instead of the table
    #[arg(long)]
    json: bool,
    #[arg(long, default_value = "")]
    label: String,
    /// The command that starts the server
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Whatever is there is started as it is
    Empty,
    /// Filled, then stopped in order
    Clean,
    /// Filled, then killed
    Killed,
    /// Filled, stopped, and what is made from the CommitLog removed
    DerivedDeleted,
}

/// What a server makes again from its CommitLog.
const DERIVED: [&str; 3] = ["consumequeue", "index", "checkpoint"];

const FILL_TOPIC: &str = "ferrocket-bench-fill";

pub(super) async fn run(args: &StartArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let clock = runtime.clock();
    let patience = Duration::from_secs_f64(args.patience_seconds);
    let common = CommonArgs { topic: FILL_TOPIC.to_owned(), queues: args.queues, connections: 16, ..CommonArgs::new(args.addr) };
    let before = if args.case == Case::Empty { None } else { Some(prepare(args, &common, runtime).await?) };

    let started = clock.nanos();
    let mut server = Server::start(&args.command, args.server_log.as_deref())?;
    server.first_send(args.addr, patience, runtime).await?;
    let ready_send_millis = millis(clock.nanos() - started);
    let mut report = Report::new("start", &common);
    report.label.clone_from(&args.label);
    if let Some(stored) = before {
        last_pull(&stored, &common, patience, runtime).await?;
        report.figure("ready_pull_millis", millis(clock.nanos() - started));
    }
    let at_ready = Usage::of(server.id())?;
    report.figure("ready_send_millis", ready_send_millis);
    report.figure("cpu_seconds_until_ready", at_ready.cpu_seconds);
    report.figure("ready_anonymous_mib", at_ready.anonymous_bytes as f64 / (1024.0 * 1024.0));
    report.figure("ready_file_mib", at_ready.file_bytes as f64 / (1024.0 * 1024.0));
    report.figure("ready_descriptors_count", at_ready.descriptors as f64);
    report.figure("messages_before_millions", args.fill_messages as f64 / 1e6);
    report.figure("queues_before_count", if args.case == Case::Empty { 0.0 } else { f64::from(args.fill_topics * args.queues) });
    if args.idle_seconds > 0.0 {
        clock.sleep(Duration::from_secs_f64(args.settle_seconds)).await;
        let settled = Usage::of(server.id())?;
        clock.sleep(Duration::from_secs_f64(args.idle_seconds)).await;
        let idle = Usage::of(server.id())?;
        report.figure("idle_seconds", args.idle_seconds);
        report.figure("idle_cpu_percent_of_a_core", (idle.cpu_seconds - settled.cpu_seconds) * 100.0 / args.idle_seconds);
        report.figure("idle_anonymous_mib", idle.anonymous_bytes as f64 / (1024.0 * 1024.0));
    }
    let stopping = clock.nanos();
    server.stop(clock).await?;
    report.figure("stop_millis", millis(clock.nanos() - stopping));
    report.messages = args.fill_messages;
    report.print(args.json)
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// What the server that is measured must find again.
struct Stored {
    names: Vec<String>,
    /// Of all queues: those of the first topic, then those of the next one.
    ends: Vec<i64>,
}

async fn prepare(args: &StartArgs, common: &CommonArgs, runtime: &Runtime) -> Result<Stored, BenchError> {
    let mut server = Server::start(&args.command, args.server_log.as_deref())?;
    server.first_send(args.addr, Duration::from_secs_f64(args.patience_seconds), runtime).await?;
    let names = topics(&common.topic, args.fill_topics);
    ask::create_topics(common, &names).await?;
    let before = ask::max_offsets(common, &names).await?;
    let acknowledged = Load::filling(common, args.fill_messages, args.fill_topics).run("fill", common, runtime).await?.1;
    send::prove(runtime.clock(), common, &names, &before, acknowledged).await?;
    let ends = ask::max_offsets(common, &names).await?;
    if args.case == Case::Killed {
        server.kill(runtime.clock()).await?;
    } else {
        server.stop(runtime.clock()).await?;
    }
    if args.case == Case::DerivedDeleted {
        remove_derived(args.data.as_deref().expect("clap requires it"))?;
    }
    Ok(Stored { names, ends })
}

fn remove_derived(data: &Path) -> Result<(), BenchError> {
    let io = |error| BenchError::Io { what: "remove the derived files", error };
    let mut removed = 0;
    for name in DERIVED {
        let path = data.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).map_err(io)?;
            removed += 1;
        } else if path.is_file() {
            #[expect(clippy::disallowed_methods, reason = "a store's file from outside, while no server runs")]
            std::fs::remove_file(&path).map_err(io)?;
            removed += 1;
        }
    }
    if removed == 0 {
        return Err(BenchError::Refusal(format!("{} holds none of {}", data.display(), DERIVED.join(", "))));
    }
    Ok(())
}

/// Waits until the last message of every queue can be pulled: the original follows its log at some distance after a start.
async fn last_pull(stored: &Stored, common: &CommonArgs, patience: Duration, runtime: &Runtime) -> Result<(), BenchError> {
    let clock = runtime.clock();
    let Stored { names, ends } = stored;
    let deadline = clock.nanos() + patience.as_nanos() as u64;
    let mut missing: Vec<usize> = (0..ends.len()).filter(|place| ends[*place] > 0).collect();
    loop {
        missing = ask::without_last(common, names, ends, &missing).await?;
        let Some(place) = missing.first() else { return Ok(()) };
        if clock.nanos() > deadline {
            let (count, queues) = (missing.len(), common.queues as usize);
            let (name, queue_id, offset) = (&names[place / queues], place % queues, ends[*place] - 1);
            let text = format!("{name} queue {queue_id} offset {offset} was acknowledged and is not found, as in {count} queues");
            return Err(BenchError::NotProven(text));
        }
        clock.sleep(ATTEMPT_EVERY).await;
    }
}
