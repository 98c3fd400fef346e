// SPDX-License-Identifier: Apache-2.0
//! Before a broker is shown to clients: with `enableSlaveActingMaster` and `totalReplicas` above 1 it first hears from the others of its
//! name. A master takes back what was consumed and delivered at the slaves that acted for it. In the original BrokerPreOnlineService.
//!
//! Of each place the higher one counts: the original takes the slave's table as a whole when its version is no older, and loses the rest.
//! A slave that lives and does not follow, or does not answer as it should, keeps its master away for a while only; in the original for ever.

use std::sync::Arc;
use std::time::Duration;

use ferrocket_protocol::fastjson::ReadError;
use ferrocket_protocol::{RemotingCommand, request_code, topic_names};
use thiserror::Error;
use tracing::{info, warn};

use super::members::{self, ANSWER_MAX, MASTER_ID};
use crate::broker::registration::Neighbour;
use crate::broker::{Broker, WriteError};
use crate::config::BrokerConfig;
use crate::remoting::CallError;
use crate::runtime::Seldom;

/// Before the next attempt, as the original waits.
const RETRY: Duration = Duration::from_secs(1);
/// How long a connection for the log may take to come about: slaves try every 5 s.
const LINK_MAX: Duration = Duration::from_secs(15);
const LINK_LOOK: Duration = Duration::from_millis(100);
/// So often another broker of this name may fail to answer before it is passed over: name servers forget one that is gone much sooner.
const TRIES_MAX: usize = 20;

#[derive(Debug, Error)]
enum NotReady {
    #[error("no name server says which brokers of this name live: {0}")]
    NoNameServer(CallError),
    #[error("{addr}, which has the same name, does not answer: {why}")]
    Unanswered { addr: String, why: CallError },
}

#[derive(Debug, Error)]
enum NotTaken {
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Whether this broker waits before clients are told of it.
pub(super) fn is_wanted(config: &BrokerConfig) -> bool {
    config.enable_slave_acting_master && config.total_replicas > 1 && !config.skip_pre_online
}

/// Registers with the name servers, when the others of this name have been heard.
pub(in crate::broker) fn start(broker: &Arc<Broker>, neighbour: Option<(String, Arc<dyn Neighbour>)>) {
    if !broker.members.is_isolated() {
        return broker.register(neighbour);
    }
    let (coming, shutdown) = (Arc::clone(broker), broker.runtime.shutdown().clone());
    broker.runtime.spawn_essential("before clients are told", async move {
        if shutdown.or(come_online(&coming)).await.is_some() {
            coming.register(neighbour);
        }
    });
}

async fn come_online(broker: &Arc<Broker>) {
    let seldom = Seldom::default();
    let mut tries = 0;
    loop {
        let ready = match meet_others(broker, tries >= TRIES_MAX).await {
            Ok(()) => {
                let online = Arc::clone(broker);
                let started = broker.runtime.spawn_blocking("come online", move || online.end_isolation()).join().await;
                started.map(|started| started.map_err(|error| error.to_string())).unwrap_or_else(|| Err("see the log".to_owned()))
            }
            Err(error) => {
                tries += usize::from(matches!(error, NotReady::Unanswered { .. }));
                Err(error.to_string())
            }
        };
        match ready {
            Ok(()) => return info!("clients may be told of this broker"),
            Err(why) if seldom.is_due(broker.clock.nanos()) => {
                warn!(why, "clients are not told of this broker yet; trying again every {RETRY:?}")
            }
            Err(_) => {}
        }
        broker.clock.sleep(RETRY).await;
    }
}

/// `passes_over`: one that does not answer counts as gone.
async fn meet_others(broker: &Arc<Broker>, passes_over: bool) -> Result<(), NotReady> {
    let own = broker.started_with.broker_id;
    let mut others = members::living(broker).await.map_err(NotReady::NoNameServer)?;
    others.retain(|id, _| (own == MASTER_ID) != (*id == MASTER_ID));
    for addr in others.into_values() {
        let met = if own == MASTER_ID { take_back_from(broker, &addr).await } else { join(broker, &addr).await };
        match met {
            Ok(()) => {}
            Err(why @ CallError::Refused { .. }) => {
                warn!(addr, %why, "a broker of the same name refuses to say how far it is; it is passed over")
            }
            Err(why) if passes_over => warn!(addr, %why, "a broker of the same name does not answer; it is passed over"),
            Err(why) => return Err(NotReady::Unanswered { addr, why }),
        }
    }
    Ok(())
}

/// A slave that may have acted for this master.
async fn take_back_from(broker: &Arc<Broker>, slave: &str) -> Result<(), CallError> {
    let client = &broker.members.client;
    let come = RemotingCommand::request_with(request_code::EXCHANGE_BROKER_HA_INFO, &broker.ha_info());
    client.succeed(slave, come, ANSWER_MAX).await?;
    let host = slave.rsplit_once(':').map_or(slave, |(host, _)| host).trim_matches(['[', ']']).parse().ok();
    let follows = || {
        let slaves = broker.slaves.figures();
        slaves.iter().any(|slave| slave.reported_offset >= 0 && host.is_none_or(|host: std::net::IpAddr| slave.addr.ip() == host))
    };
    if !comes_true(broker, follows).await {
        warn!(slave, "the slave does not follow this master's log; clients are told of the master all the same");
    }
    let ask = |code| client.succeed(slave, RemotingCommand::request(code), ANSWER_MAX);
    let delay_offsets = ask(request_code::GET_ALL_DELAY_OFFSET).await?.body;
    let consumer_offsets = ask(request_code::GET_ALL_CONSUMER_OFFSET).await?.body;
    let taking = Arc::clone(broker);
    let take = move || {
        taking.schedule.take_higher(&delay_offsets)?;
        take_consumer_offsets(&taking, &consumer_offsets)
    };
    match broker.runtime.spawn_blocking("take back what a slave has", take).join().await {
        Some(Ok(())) => info!(slave, "what was consumed and delivered at the slave counts here, too"),
        Some(Err(error)) => warn!(slave, %error, "what was consumed at the slave is not all taken back: some of it will be consumed again"),
        // It is logged.
        None => {}
    }
    Ok(())
}

fn take_consumer_offsets(broker: &Broker, table: &[u8]) -> Result<(), NotTaken> {
    let step = broker.config.load().consumer_offset_update_version_step;
    // As with a commit: what is not in the queue here nobody has consumed here.
    let may_be = |group: &str, topic: &str, queue_id: i32, offset: i64| {
        let is_there = || broker.store.queue_offsets(topic, queue_id).is_ok_and(|queue| offset <= queue.end);
        !topic_names::is_system_group(group) && broker.topics.contains(topic) && is_there()
    };
    broker.consumer_offsets.take_higher(table, step, may_be)?;
    broker.consumer_offsets.persist().map_err(WriteError::from)?;
    Ok(())
}

/// A slave whose master is there: it follows it from the beginning.
async fn join(broker: &Arc<Broker>, master: &str) -> Result<(), CallError> {
    broker.ask_ha_info(master).await?;
    broker.slave.learn_master(Some(master.to_owned()), None);
    if !comes_true(broker, || broker.slave.is_connected()).await {
        warn!(master, "the master's log is not followed yet; clients are told of this slave all the same");
    }
    Ok(())
}

async fn comes_true(broker: &Broker, is_so: impl Fn() -> bool) -> bool {
    let began = broker.clock.nanos();
    while !is_so() {
        if u128::from(broker.clock.nanos() - began) >= LINK_MAX.as_nanos() {
            return false;
        }
        broker.clock.sleep(LINK_LOOK).await;
    }
    true
}
