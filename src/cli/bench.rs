// SPDX-License-Identifier: Apache-2.0
//! `ferrocket bench`: a native, pipelined load generator for any server that speaks the remoting protocol.
//!
//! The same bytes go to either server, so two servers can be compared; every run proves itself before it prints a figure.
//! Knows only the protocol: nothing here reads a store or a broker from the inside.
//!
//! A workload is a file: it takes `CommonArgs`, opens a `meter::Window` around its load, counts in a `Progress`, and prints a
//! `Report`. `frames` makes its requests, `pace` its due times, `control` asks what proves it. A row in `workload` makes it part of
//! `suite` and `compare`.

mod ask;
mod catch_up;
mod compare;
mod connection;
mod control;
mod drain;
mod e2e;
mod echo;
mod flow;
mod flush;
mod frames;
mod group;
mod hold;
mod image;
mod meter;
mod original;
mod pace;
mod pair;
mod progress;
mod pull;
mod pull_frame;
mod report;
mod send;
mod server;
mod start;
mod suite;
mod table;
mod topics;
mod transactions;
mod workload;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ferrocket_protocol::SerializeType;
use thiserror::Error;

use self::progress::Progress;
use crate::remoting::CallError;
use crate::runtime::{Runtime, SharedClock, SystemClock, Task};

/// How long any answer may take before the run is given up.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// The producers' and the consumers' group.
const GROUP: &str = "ferrocket-bench";

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Send messages and report throughput, latency and the server's CPU per message
    Send(send::SendArgs),
    /// Read a topic from its first message to its last
    Pull(pull::PullArgs),
    /// Send synchronously to a broker with SYNC_FLUSH, by ever more producers
    Flush(flush::FlushArgs),
    /// Send at a fixed rate while groups consume at the tail: latency from the moment a message is due to its consumers
    E2e(e2e::E2eArgs),
    /// Send to and consume from many topics at full speed
    Topics(topics::TopicsArgs),
    /// Read a backlog while producers send at a fixed rate: what these notice
    Drain(drain::DrainArgs),
    /// Keep many connections with held pulls: what they cost, and what producers beside them notice
    Hold(hold::HoldArgs),
    /// Join many consumers to one group: heartbeats, lists of members, and the news when one leaves
    Group(group::GroupArgs),
    /// Stop a slave, send more to its master, and measure how fast it has that once it is started again
    CatchUp(catch_up::CatchUpArgs),
    /// Start a server on a store in some state and measure until it serves, and what it uses when idle
    Start(start::StartArgs),
    /// Put the load of `send` on a server that only answers: the limit of this machine today
    Echo(echo::EchoArgs),
    /// Run the workloads of the table against a server
    Suite(suite::SuiteArgs),
    /// Run the workloads on this server and on the Java broker in turn, and print the ratios
    Compare(compare::CompareArgs),
    /// Make the table of BENCHMARKS.md from the lines of comparisons
    Table(table::TableArgs),
    /// Prepare half messages and commit them, or leave them open
    Transactions(transactions::TransactionArgs),
}

#[derive(Debug, Clone, Args)]
struct CommonArgs {
    /// The broker, not a name server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    addr: SocketAddr,
    #[arg(long, default_value = "ferrocket-bench")]
    topic: String,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    queues: u32,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// The header form of the requests
    #[arg(long, value_enum, default_value_t = HeaderForm::Json)]
    header: HeaderForm,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The server's process, to report its CPU and memory; its children count with it, and of several, as of a master and its slave, the
    /// sum
    #[arg(long = "server-pid", id = "server_pid", value_name = "PID", value_delimiter = ',')]
    server_pids: Vec<u32>,
    /// Count the server's system calls too (with perf, which costs it some CPU)
    #[arg(long, requires = "server_pid")]
    count_syscalls: bool,
    /// One line of JSON instead of the table
    #[arg(long)]
    json: bool,
    /// A name for this run, repeated in its report
    #[arg(long, default_value = "")]
    label: String,
}

impl CommonArgs {
    /// For a load that the meter itself puts on a server, with nothing asked for but the address.
    fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            topic: GROUP.to_owned(),
            queues: 8,
            connections: 1,
            header: HeaderForm::Json,
            threads: 1,
            server_pids: Vec::new(),
            count_syscalls: false,
            json: false,
            label: String::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeaderForm {
    Json,
    Binary,
}

impl HeaderForm {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Binary => "binary",
        }
    }
}

impl From<HeaderForm> for SerializeType {
    fn from(form: HeaderForm) -> Self {
        match form {
            HeaderForm::Json => Self::Json,
            HeaderForm::Binary => Self::RocketMq,
        }
    }
}

#[derive(Debug, Error)]
pub(super) enum BenchError {
    #[error("{what}: {error}")]
    Ask { what: &'static str, error: CallError },
    #[error("{what} was refused with code {code}: {remark}")]
    Refused { what: &'static str, code: i32, remark: String },
    #[error("{what}: {error}")]
    Io { what: &'static str, error: std::io::Error },
    #[error("{what}: the server sent something that is not RocketMQ: {error}")]
    Decode { what: &'static str, error: ferrocket_protocol::DecodeError },
    #[error("the server closed a connection in the middle of the run")]
    ConnectionClosed,
    #[error("no answer within {ANSWER_MAX:?}")]
    Silent,
    #[error("a worker of the generator failed: see above")]
    Worker,
    #[error("{}: {error}", file.display())]
    Process { file: PathBuf, error: String },
    #[error("{0}")]
    Refusal(String),
    #[error("the workload failed: {0}")]
    Workload(String),
    #[error("the run does not prove itself: {0}")]
    NotProven(String),
}

impl Bench {
    /// Runs to the end and prints the report, or why there is none.
    pub(super) fn run(&self) -> ExitCode {
        match self.measure() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                super::say_error(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn measure(&self) -> Result<(), BenchError> {
        let threads = match self {
            Self::Send(args) => args.common.threads,
            Self::Pull(args) => args.common.threads,
            Self::E2e(args) => args.common.threads,
            Self::Topics(args) => args.common.threads,
            Self::Drain(args) => args.common.threads,
            Self::Hold(args) => args.common.threads,
            Self::Group(args) => args.common.threads,
            Self::Flush(args) => args.send.common.threads,
            Self::Echo(args) => args.common.threads,
            Self::CatchUp(_) | Self::Start(_) | Self::Suite(_) | Self::Compare(_) | Self::Table(_) => 1,
            Self::Transactions(args) => args.common.threads,
        };
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .map_err(|error| BenchError::Io { what: "start the generator", error })?;
        let runtime = Runtime::new(tokio.handle().clone(), SystemClock::shared());
        tokio.block_on(async {
            let result = match self {
                Self::Send(args) => send::run(args, &runtime).await,
                Self::Pull(args) => pull::run(args, &runtime).await,
                Self::E2e(args) => e2e::run(args, &runtime).await,
                Self::Topics(args) => topics::run(args, &runtime).await,
                Self::Drain(args) => drain::run(args, &runtime).await,
                Self::Hold(args) => hold::run(args, &runtime).await,
                Self::Group(args) => group::run(args, &runtime).await,
                Self::Flush(args) => flush::run(args, &runtime).await,
                Self::CatchUp(args) => catch_up::run(args, &runtime).await,
                Self::Start(args) => start::run(args, &runtime).await,
                Self::Echo(args) => echo::run(args, &runtime).await,
                Self::Suite(args) => suite::run(args, &runtime).await,
                Self::Compare(args) => compare::run(args, &runtime).await,
                Self::Table(args) => table::run(args),
                Self::Transactions(args) => transactions::run(args, &runtime).await,
            };
            // After a failure the other workers may wait for a server that says nothing; the process ends them.
            let patience = if result.is_ok() { Duration::from_secs(5) } else { Duration::from_millis(100) };
            runtime.stop(patience).await;
            result
        })
    }
}

/// Waits for workers; the first failure wins. A run whose `progress` stands still for `ANSWER_MAX` is given up.
async fn join_all<T>(tasks: Vec<Task<Result<T, BenchError>>>, progress: &Progress, clock: &SharedClock) -> Result<Vec<T>, BenchError> {
    let joined = async {
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            results.push(task.join().await.ok_or(BenchError::Worker)??);
        }
        Ok(results)
    };
    let counter = progress.counter();
    let silent = async {
        let mut seen = counter.load(Ordering::Relaxed);
        loop {
            clock.sleep(ANSWER_MAX).await;
            let now = counter.load(Ordering::Relaxed);
            if now == seen {
                break;
            }
            seen = now;
        }
    };
    tokio::select! {
        joined = joined => joined,
        () = silent => Err(BenchError::Silent),
    }
}

fn say(text: &str) -> Result<(), BenchError> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(|error| BenchError::Io { what: "print the report", error })
}
