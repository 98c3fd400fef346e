// SPDX-License-Identifier: Apache-2.0
//! `bench start`: starts a server, waits for its first acknowledged send, and looks at what it uses when nothing happens.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;
use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use ferrocket_protocol::{RemotingCommand, request_code, response_code, topic_names};
use serde::Serialize;

use super::meter::Usage;
use super::{BenchError, GROUP, say};
use crate::remoting::RemotingClient;
use crate::runtime::Runtime;

#[derive(Debug, Args)]
pub(in crate::cli) struct StartArgs {
    /// Where the broker will answer
    #[arg(long, value_name = "HOST:PORT")]
    addr: SocketAddr,
    /// Left alone for so long before its idle use is read
    #[arg(long, default_value_t = 0.0)]
    idle_seconds: f64,
    /// Give up when no send was acknowledged by then
    #[arg(long, default_value_t = 60.0)]
    patience_seconds: f64,
    #[arg(long, default_value = "")]
    label: String,
    /// The command that starts the server
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Between two attempts; the precision of the result.
const ATTEMPT_EVERY: Duration = Duration::from_millis(1);
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
const STOP_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize)]
struct Readiness {
    workload: &'static str,
    label: String,
    ready_millis: f64,
    cpu_seconds_until_ready: f64,
    idle_seconds: f64,
    idle_cpu_percent_of_a_core: f64,
    idle_anonymous_mib: f64,
    stop_millis: f64,
}

pub(super) async fn run(args: &StartArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let clock = runtime.clock();
    let started = clock.nanos();
    let mut server = Server::start(&args.command)?;
    let deadline = started + (args.patience_seconds * 1e9) as u64;
    let client = RemotingClient::new(runtime);
    let addr = args.addr.to_string();
    loop {
        if matches!(client.invoke(&addr, first_send(), ATTEMPT_MAX).await, Ok(answer) if answer.code == response_code::SUCCESS) {
            break;
        }
        if let Some(status) = server.ended()? {
            return Err(BenchError::NotProven(format!("the server ended before it was ready: {status}")));
        }
        if clock.nanos() > deadline {
            return Err(BenchError::Silent);
        }
        clock.sleep(ATTEMPT_EVERY).await;
    }
    let ready_millis = (clock.nanos() - started) as f64 / 1e6;
    let at_ready = Usage::of(server.0.id())?;
    clock.sleep(Duration::from_secs_f64(args.idle_seconds)).await;
    let after_idle = Usage::of(server.0.id())?;
    let stopping = clock.nanos();
    server.stop()?;
    while server.ended()?.is_none() {
        if clock.nanos() - stopping > STOP_MAX.as_nanos() as u64 {
            return Err(BenchError::NotProven("the server did not stop".to_owned()));
        }
        clock.sleep(ATTEMPT_EVERY).await;
    }
    let readiness = Readiness {
        workload: "start",
        label: args.label.clone(),
        ready_millis,
        cpu_seconds_until_ready: at_ready.cpu_seconds,
        idle_seconds: args.idle_seconds,
        idle_cpu_percent_of_a_core: (after_idle.cpu_seconds - at_ready.cpu_seconds) * 100.0 / args.idle_seconds.max(1e-3),
        idle_anonymous_mib: after_idle.anonymous_bytes as f64 / (1024.0 * 1024.0),
        stop_millis: (clock.nanos() - stopping) as f64 / 1e6,
    };
    say(&serde_json::to_string(&readiness).expect("numbers and text"))
}

fn first_send() -> RemotingCommand {
    let header = SendMessageRequestHeaderV2::from(SendMessageRequestHeader {
        producer_group: GROUP.into(),
        topic: "ferrocket-bench-start".into(),
        default_topic: topic_names::AUTO_CREATE.into(),
        default_topic_queue_nums: 1,
        properties: "WAIT\u{1}true\u{2}".into(),
        reconsume_times: Some(0),
        ..SendMessageRequestHeader::default()
    });
    RemotingCommand::request_with(request_code::SEND_MESSAGE_V2, &header).with_body("ready")
}

/// The server's process, ended with this value.
struct Server(Child);

impl Server {
    fn start(command: &[String]) -> Result<Self, BenchError> {
        let (program, arguments) = command.split_first().expect("clap requires a command");
        let started = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        started.map(Self).map_err(|error| BenchError::Io { what: "start the server", error })
    }

    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>, BenchError> {
        self.0.try_wait().map_err(|error| BenchError::Io { what: "look at the server", error })
    }

    fn stop(&self) -> Result<(), BenchError> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| BenchError::Io { what: "stop the server", error: error.into() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended in the good case; there is nobody left to tell in the other.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
