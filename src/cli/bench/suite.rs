// SPDX-License-Identifier: Apache-2.0
//! `bench suite`: the workloads of the table, one after the other, against a server that runs. Each is this binary once more, so that
//! a line of the suite is the line that anyone can type.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::Value;

use super::control::Control;
use super::workload::{Needs, WORKLOADS, Workload};
use super::{BenchError, flush, say};
use crate::runtime::Runtime;

#[derive(Debug, Args)]
pub(in crate::cli) struct SuiteArgs {
    /// The broker, not a name server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    addr: SocketAddr,
    /// The server's process, to report its CPU and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    #[command(flatten)]
    choice: Choice,
    /// Seconds of each run
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// Which workloads.
#[derive(Debug, Clone, Args)]
pub(super) struct Choice {
    /// The short list
    #[arg(long)]
    quick: bool,
    /// Only these, by id
    #[arg(long, value_delimiter = ',', value_parser = known)]
    only: Vec<String>,
}

fn known(id: &str) -> Result<String, String> {
    let ids: Vec<&str> = WORKLOADS.iter().map(|workload| workload.id).collect();
    if ids.contains(&id) { Ok(id.to_owned()) } else { Err(format!("there are {}", ids.join(", "))) }
}

impl Choice {
    pub(super) fn of(&self, needs: Needs) -> impl Iterator<Item = &'static Workload> + '_ {
        let is_chosen = move |workload: &&Workload| {
            if self.only.is_empty() { !self.quick || workload.quick } else { self.only.iter().any(|id| id == workload.id) }
        };
        WORKLOADS.iter().filter(move |workload| workload.needs == needs).filter(is_chosen)
    }
}

/// Those that fit how the server flushes, one line of JSON each.
pub(super) async fn run(args: &SuiteArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let is_sync = flush::is_sync(&Control::new(args.addr, runtime)).await?;
    for workload in args.choice.of(if is_sync { Needs::SyncFlush } else { Needs::AsyncFlush }) {
        let mut line = on_server(workload, args.addr, args.seconds);
        line.extend(args.server_pid.iter().flat_map(|pid| ["--server-pid".to_owned(), pid.to_string()]));
        say(&measured(workload.id, &line)?.to_string())?;
    }
    Ok(())
}

/// A workload's whole line, for a server that runs.
pub(super) fn on_server(workload: &Workload, addr: SocketAddr, seconds: f64) -> Vec<String> {
    let mut line = own(workload.line);
    line.extend(own(&["--addr", &addr.to_string()]));
    if workload.line[0] == "send" {
        line.push("--read-back".to_owned());
    }
    line.extend(timed(workload, seconds));
    line
}

/// The same load on the echo server.
pub(super) fn on_echo(workload: &Workload, seconds: f64) -> Vec<String> {
    let mut line = own(&["echo"]);
    line.extend(own(&workload.line[1..]));
    line.extend(timed(workload, seconds));
    line
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn timed(workload: &Workload, seconds: f64) -> Vec<String> {
    let seconds = seconds.to_string();
    match workload.line[0] {
        "pull" | "catch-up" => Vec::new(),
        "transactions" => own(&["--seconds", &seconds]),
        _ if workload.line.contains(&"--messages") => Vec::new(),
        _ => own(&["--warmup-seconds", "1", "--seconds", &seconds]),
    }
}

/// Runs `ferrocket bench LINE --json`; the report with an id in front.
pub(super) fn measured(id: &str, line: &[String]) -> Result<Value, BenchError> {
    let io = |error| BenchError::Io { what: "run a workload", error };
    let mut command = Command::new(std::env::current_exe().map_err(io)?);
    command.args(["bench", &line[0], "--json"]).args(&line[1..]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(io)?;
    if !output.status.success() {
        return Err(BenchError::Workload(format!("{id} ({}): {}", line.join(" "), output.status)));
    }
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| BenchError::Workload(format!("{id}: {error}")))?;
    let Value::Object(report) = report else {
        return Err(BenchError::Workload(format!("{id}: {report} is not a report")));
    };
    let mut named = serde_json::Map::from_iter([("id".to_owned(), id.into())]);
    named.extend(report);
    Ok(Value::Object(named))
}
