// SPDX-License-Identifier: Apache-2.0
//! `ferrocket bench`: a native, pipelined load generator for any server that speaks the remoting protocol.
//!
//! The same bytes go to either server, so two servers can be compared; every run proves itself before it prints a figure.
//! Knows only the protocol: nothing here reads a store or a broker from the inside.

mod connection;
mod meter;
mod pull;
mod ready;
mod report;
mod send;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ferrocket_protocol::{RemotingCommand, SerializeType};
use thiserror::Error;

use crate::remoting::{CallError, RemotingClient};
use crate::runtime::{Runtime, SystemClock};

/// How long any answer may take before the run is given up.
const ANSWER_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Send messages and report throughput, latency and the server's CPU per message
    Send(send::SendArgs),
    /// Read a topic from its first message to its last
    Pull(pull::PullArgs),
    /// Start a server and measure the time to its first acknowledged send and what it uses when idle
    Ready(ready::ReadyArgs),
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// The broker, not a name server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    addr: SocketAddr,
    #[arg(long, default_value = "ferrocket-bench")]
    topic: String,
    #[arg(long, default_value_t = 8)]
    queues: u32,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// The header form of the requests
    #[arg(long, value_enum, default_value_t = HeaderForm::Json)]
    header: HeaderForm,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The server's process, to report its CPU and memory; its children count with it
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// One line of JSON instead of the table
    #[arg(long)]
    json: bool,
    /// A name for this run, repeated in its report
    #[arg(long, default_value = "")]
    label: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeaderForm {
    Json,
    Binary,
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
    #[error("{file} of the server's process: {error}")]
    ServerProcess { file: PathBuf, error: String },
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
            Self::Ready(_) => 1,
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
                Self::Ready(args) => ready::run(args, &runtime).await,
            };
            runtime.stop(Duration::from_secs(5)).await;
            result
        })
    }
}

/// Questions beside the load: topics, offsets, samples.
struct Control {
    client: RemotingClient,
    addr: String,
}

impl Control {
    fn new(common: &CommonArgs, runtime: &Runtime) -> Self {
        Self { client: RemotingClient::new(runtime), addr: common.addr.to_string() }
    }

    async fn ask(&self, what: &'static str, request: RemotingCommand) -> Result<RemotingCommand, BenchError> {
        self.client.succeed(&self.addr, request, ANSWER_MAX).await.map_err(|error| BenchError::Ask { what, error })
    }

    async fn max_offsets(&self, common: &CommonArgs) -> Result<Vec<i64>, BenchError> {
        use ferrocket_protocol::header::offset::{GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader};
        let mut offsets = Vec::new();
        for queue_id in 0..common.queues as i32 {
            let header = GetMaxOffsetRequestHeader { topic: common.topic.clone().into(), queue_id, ..GetMaxOffsetRequestHeader::default() };
            let request = RemotingCommand::request_with(ferrocket_protocol::request_code::GET_MAX_OFFSET, &header);
            let response = self.ask("get max offset", request).await?;
            let header: GetMaxOffsetResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
            offsets.push(header.offset);
        }
        Ok(offsets)
    }
}

/// Waits for workers; the first failure wins.
async fn join_all<T>(tasks: Vec<crate::runtime::Task<Result<T, BenchError>>>) -> Result<Vec<T>, BenchError> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.join().await.ok_or(BenchError::Worker)??);
    }
    Ok(results)
}

fn say(text: &str) -> Result<(), BenchError> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(|error| BenchError::Io { what: "print the report", error })
}
