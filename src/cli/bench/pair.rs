// SPDX-License-Identifier: Apache-2.0
//! A master and a slave as processes to measure, and a name server of this binary beside them, by which they find each other. Either
//! kind of server has the same.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ferrocket_protocol::body::kv::KvTable;
use ferrocket_protocol::{RemotingCommand, request_code, response_code};

use super::control::{Control, pull_header};
use super::server::{START_MAX, Server, own_binary};
use super::{ANSWER_MAX, BenchError};
use crate::remoting::RemotingClient;
use crate::runtime::{Runtime, SharedClock};

/// The precision of what is waited for here.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How the processes of one pair are started.
pub(super) struct PairCommands {
    pub(super) master: Vec<String>,
    pub(super) slave: Vec<String>,
    pub(super) addrs: PairAddrs,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PairAddrs {
    pub(super) master: SocketAddr,
    pub(super) slave: SocketAddr,
    pub(super) namesrv: SocketAddr,
}

impl PairAddrs {
    /// A broker takes the ports beside its own too.
    pub(super) fn beside(master: SocketAddr) -> Self {
        let at = |distance| SocketAddr::new(master.ip(), master.port() + distance);
        Self { master, slave: at(10), namesrv: at(20) }
    }
}

pub(super) struct Pair {
    pub(super) master: Server,
    /// `None` once it was stopped.
    pub(super) slave: Option<Server>,
    namesrv: Server,
}

impl Pair {
    /// When it returns the slave follows its master. What they print goes to `log`.
    pub(super) async fn start(commands: &PairCommands, log: &Path, runtime: &Runtime) -> Result<Self, BenchError> {
        let clock = runtime.clock();
        let PairAddrs { master: master_addr, slave: slave_addr, namesrv: namesrv_addr } = commands.addrs;
        let listen = format!("listenPort={}", namesrv_addr.port());
        let bind = format!("bindAddress={}", namesrv_addr.ip());
        let words = ["namesrv", "--log", "warn", "--set", &listen, "--set", &bind];
        let namesrv = Server::start(&own_binary(&words)?, Some(log))?;
        let client = RemotingClient::new(runtime);
        let clusters = || async {
            let request = RemotingCommand::request(request_code::GET_BROKER_CLUSTER_INFO);
            let answer = client.invoke(&namesrv_addr.to_string(), request, ANSWER_MAX).await.ok()?;
            Some(String::from_utf8_lossy(&answer.body).into_owned())
        };
        // In this order: who asks before the other is known asks again after half a minute.
        come(clock, "the name server", || async { clusters().await.is_some() }).await?;
        let master = Server::start(&commands.master, Some(log))?;
        let known = format!("\"{master_addr}\"");
        come(clock, "the master", || async { clusters().await.is_some_and(|text| text.contains(&known)) }).await?;
        let slave = Server::start(&commands.slave, Some(log))?;
        follow(master_addr, slave_addr, runtime).await?;
        Ok(Self { master, slave: Some(slave), namesrv })
    }

    /// Their stores go away with them: nothing is gained by an orderly stop.
    pub(super) async fn end(self, clock: &SharedClock) -> Result<(), BenchError> {
        for server in self.slave.into_iter().chain([self.master, self.namesrv]) {
            server.kill(clock).await?;
        }
        Ok(())
    }
}

async fn come<F: Future<Output = bool>>(clock: &SharedClock, what: &str, is_there: impl Fn() -> F) -> Result<(), BenchError> {
    let began = clock.nanos();
    while !is_there().await {
        if clock.nanos() - began > START_MAX.as_nanos() as u64 {
            return Err(BenchError::NotProven(format!("{what} did not come within {START_MAX:?}")));
        }
        clock.sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Waits until the slave's log ends where the master's does and has something: a message is sent that waits for nobody.
pub(super) async fn follow(master: SocketAddr, slave: SocketAddr, runtime: &Runtime) -> Result<(), BenchError> {
    let (master, slave) = (Control::new(master, runtime), Control::new(slave, runtime));
    let client = RemotingClient::new(runtime);
    let began = || async {
        let sent = client.invoke(master.addr(), super::server::first_send(), ANSWER_MAX).await;
        matches!(sent, Ok(answer) if [response_code::SUCCESS, response_code::FLUSH_SLAVE_TIMEOUT].contains(&answer.code))
    };
    come(runtime.clock(), "an answer of the master", began).await?;
    let is_there = || async { matches!((log_end(&master).await, log_end(&slave).await), (Ok(one), Ok(other)) if one == other) };
    come(runtime.clock(), "the slave", is_there).await
}

/// Where a broker's log ends, as it tells administrators.
pub(super) async fn log_end(broker: &Control) -> Result<i64, BenchError> {
    let what = "ask for the log's end";
    let answer = broker.ask(what, RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO)).await?;
    let table: KvTable = serde_json::from_slice(&answer.body).map_err(|error| BenchError::NotProven(format!("{what}: {error}")))?;
    let end = table.table.get("commitLogMaxOffset").and_then(|end| end.parse().ok());
    end.ok_or_else(|| BenchError::NotProven("the broker does not say where its log ends".to_owned()))
}

/// Waits until a slave has learnt of topics, which it asks its master for every few seconds.
pub(super) async fn know_topics(slave: SocketAddr, names: &[String], runtime: &Runtime) -> Result<(), BenchError> {
    let client = RemotingClient::new(runtime);
    for name in names {
        let is_known = || async {
            let request = RemotingCommand::request_with(request_code::PULL_MESSAGE, &pull_header(name, 0, 0, 1));
            let refusals = [response_code::TOPIC_NOT_EXIST, response_code::SYSTEM_ERROR];
            client.invoke(&slave.to_string(), request, ANSWER_MAX).await.is_ok_and(|answer| !refusals.contains(&answer.code))
        };
        come(runtime.clock(), "a topic of the master at its slave", is_known).await?;
    }
    Ok(())
}
