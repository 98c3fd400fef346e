// SPDX-License-Identifier: Apache-2.0
//! A server that the meter starts itself, asks whether it serves, and ends.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use ferrocket_protocol::{RemotingCommand, request_code, response_code, topic_names};
use rustix::process::Signal;

use super::{BenchError, GROUP};
use crate::remoting::RemotingClient;
use crate::runtime::{Runtime, SharedClock};

/// Between two attempts; the precision of a start's time.
pub(super) const ATTEMPT_EVERY: Duration = Duration::from_millis(1);
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// The original waits for its queues to be written out when it is stopped.
const STOP_MAX: Duration = Duration::from_secs(120);

pub(super) const START_MAX: Duration = Duration::from_secs(120);

/// The topic of the first send; the server creates it.
pub(super) const FIRST_TOPIC: &str = "ferrocket-bench-start";

/// This binary with these words.
pub(super) fn own_binary(words: &[&str]) -> Result<Vec<String>, BenchError> {
    let binary = std::env::current_exe().map_err(|error| BenchError::Io { what: "find this binary", error })?;
    Ok([&*binary.to_string_lossy()].iter().chain(words).map(|word| (*word).to_owned()).collect())
}

/// The process, ended with this value.
pub(super) struct Server(Child);

impl Server {
    /// What it prints goes to `log`, or nowhere.
    pub(super) fn start(command: &[String], log: Option<&Path>) -> Result<Self, BenchError> {
        let io = |error| BenchError::Io { what: "start the server", error };
        let (program, arguments) = command.split_first().ok_or_else(|| BenchError::NotProven("no server to start".to_owned()))?;
        let mut process = Command::new(program);
        process.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(log) = log {
            let log = OpenOptions::new().create(true).append(true).open(log).map_err(io)?;
            process.stderr(log.try_clone().map_err(io)?).stdout(log);
        }
        process.spawn().map(Self).map_err(io)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, BenchError> {
        self.0.try_wait().map_err(|error| BenchError::Io { what: "look at the server", error })
    }

    /// Tries until a send is acknowledged.
    pub(super) async fn first_send(&mut self, addr: SocketAddr, patience: Duration, runtime: &Runtime) -> Result<(), BenchError> {
        let clock = runtime.clock();
        let deadline = clock.nanos() + patience.as_nanos() as u64;
        let client = RemotingClient::new(runtime);
        let addr = addr.to_string();
        loop {
            if matches!(client.invoke(&addr, first_send(), ATTEMPT_MAX).await, Ok(answer) if answer.code == response_code::SUCCESS) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                return Err(BenchError::NotProven(format!("the server ended before it was ready: {status}")));
            }
            if clock.nanos() > deadline {
                return Err(BenchError::Silent);
            }
            clock.sleep(ATTEMPT_EVERY).await;
        }
    }

    /// Asks it to end and waits.
    pub(super) async fn stop(self, clock: &SharedClock) -> Result<(), BenchError> {
        self.end(Signal::TERM, clock).await
    }

    /// Ends it in the middle of whatever it does.
    pub(super) async fn kill(self, clock: &SharedClock) -> Result<(), BenchError> {
        self.end(Signal::KILL, clock).await
    }

    async fn end(mut self, signal: Signal, clock: &SharedClock) -> Result<(), BenchError> {
        let began = clock.nanos();
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal)
            .map_err(|error| BenchError::Io { what: "stop the server", error: error.into() })?;
        while self.ended()?.is_none() {
            if clock.nanos() - began > STOP_MAX.as_nanos() as u64 {
                return Err(BenchError::NotProven("the server did not stop".to_owned()));
            }
            clock.sleep(ATTEMPT_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended in the good case; there is nobody left to tell in the other.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn first_send() -> RemotingCommand {
    let header = SendMessageRequestHeaderV2::from(SendMessageRequestHeader {
        producer_group: GROUP.into(),
        topic: FIRST_TOPIC.into(),
        default_topic: topic_names::AUTO_CREATE.into(),
        default_topic_queue_nums: 1,
        properties: "WAIT\u{1}true\u{2}".into(),
        reconsume_times: Some(0),
        ..SendMessageRequestHeader::default()
    });
    RemotingCommand::request_with(request_code::SEND_MESSAGE_V2, &header).with_body("ready")
}
