// SPDX-License-Identifier: Apache-2.0
//! `bench start`: brings a store into a state, starts the server on it, and measures until a send is acknowledged and the last
//! message of before can be pulled; then what the server uses when nothing happens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::control::Control;
use super::meter::Usage;
use super::report::Report;
use super::send::Load;
use super::server::{ATTEMPT_EVERY, Server};
use super::{BenchError, CommonArgs};
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
    let common = CommonArgs { topic: FILL_TOPIC.to_owned(), connections: 16, ..CommonArgs::new(args.addr) };
    let before = if args.case == Case::Empty { None } else { Some(prepare(args, &common, runtime).await?) };

    let started = clock.nanos();
    let mut server = Server::start(&args.command, args.server_log.as_deref())?;
    server.first_send(args.addr, patience, runtime).await?;
    let ready_send_millis = millis(clock.nanos() - started);
    let mut report = Report::new("start", &common);
    report.label.clone_from(&args.label);
    if let Some(ends) = before {
        last_pull(&ends, &common, patience, runtime).await?;
        report.figure("ready_pull_millis", millis(clock.nanos() - started));
    }
    let at_ready = Usage::of(server.id())?;
    report.figure("ready_send_millis", ready_send_millis);
    report.figure("cpu_seconds_until_ready", at_ready.cpu_seconds);
    report.figure("ready_anonymous_mib", at_ready.anonymous_bytes as f64 / (1024.0 * 1024.0));
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

/// The ends of the queues that the server that is measured must find again.
async fn prepare(args: &StartArgs, common: &CommonArgs, runtime: &Runtime) -> Result<Vec<i64>, BenchError> {
    let mut server = Server::start(&args.command, args.server_log.as_deref())?;
    server.first_send(args.addr, Duration::from_secs_f64(args.patience_seconds), runtime).await?;
    let control = Control::new(args.addr, runtime);
    control.create_topic(&common.topic, common.queues).await?;
    let before = control.max_offsets(&common.topic, common.queues).await?;
    let acknowledged = Load::filling(common, args.fill_messages).run("fill", common, runtime).await?.1;
    super::send::prove(&control, runtime.clock(), common, &before, acknowledged).await?;
    let ends = control.max_offsets(&common.topic, common.queues).await?;
    drop(control);
    if args.case == Case::Killed {
        server.kill(runtime.clock()).await?;
    } else {
        server.stop(runtime.clock()).await?;
    }
    if args.case == Case::DerivedDeleted {
        remove_derived(args.data.as_deref().expect("clap requires it"))?;
    }
    Ok(ends)
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
async fn last_pull(ends: &[i64], common: &CommonArgs, patience: Duration, runtime: &Runtime) -> Result<(), BenchError> {
    let clock = runtime.clock();
    let control = Control::new(common.addr, runtime);
    let deadline = clock.nanos() + patience.as_nanos() as u64;
    for (queue_id, end) in ends.iter().enumerate().filter(|(_, end)| **end > 0) {
        while let Err(error) = control.pull_one(&common.topic, queue_id as i32, end - 1).await {
            if clock.nanos() > deadline {
                return Err(BenchError::NotProven(format!(
                    "queue {queue_id} offset {} was acknowledged and is not found: {error}",
                    end - 1
                )));
            }
            clock.sleep(ATTEMPT_EVERY).await;
        }
    }
    Ok(())
}
