// SPDX-License-Identifier: Apache-2.0
//! The brokers of one name: which of them live, and which has the smallest id. With `enableSlaveActingMaster` a slave acts for a master that
//! is gone: name servers show the smallest id to clients. In the original BrokerController#updateMinBroker.
//!
//! Name servers hear that this broker lives every second, and say who else does; those that tell brokers of changes
//! (NOTIFY_MIN_BROKER_ID_CHANGE) only say it sooner. Knows nothing of how a log or a table is copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use ferrocket_protocol::body::NumericMap;
use ferrocket_protocol::body::route::{BrokerData, GetBrokerMemberGroupResponseBody, TopicRouteData};
use ferrocket_protocol::header::admin::broker::ExchangeHaInfoHeader;
use ferrocket_protocol::header::route::{GetBrokerMemberGroupRequestHeader, GetRouteInfoRequestHeader};
use ferrocket_protocol::{RemotingCommand, fastjson, request_code, topic_names};
use tracing::{info, warn};

use super::pre_online;
use crate::broker::Broker;
use crate::broker::announce::name_servers;
use crate::broker::registration::Identity;
use crate::config::BrokerConfig;
use crate::remoting::{CallError, RemotingClient};
use crate::runtime::{Runtime, Seldom};

/// The id of a master, and of the slave that is shown as one.
pub const MASTER_ID: i64 = 0;
/// How long an answer may take, as in the original.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Addresses by id.
type Living = NumericMap<i64, String>;

pub struct Members {
    smallest_id: AtomicI64,
    /// Where the broker with the smallest id is, when that was said. Held while another one takes its place.
    smallest_addr: tokio::sync::Mutex<Option<String>>,
    /// What a master says of its log to its slaves: where it ended at the start.
    began_at: i64,
    /// What a slave was told of it; 0: nothing. Nothing goes by it, here as in the original.
    master_flush_offset: AtomicI64,
    /// Clients are not told of this broker yet, and it does nothing by itself.
    is_isolated: AtomicBool,
    pub(super) client: RemotingClient,
}

impl Members {
    pub(in crate::broker) fn new(config: &BrokerConfig, began_at: i64, runtime: &Runtime) -> Self {
        Self {
            smallest_id: AtomicI64::new(MASTER_ID),
            smallest_addr: tokio::sync::Mutex::default(),
            began_at,
            master_flush_offset: AtomicI64::new(0),
            is_isolated: AtomicBool::new(pre_online::is_wanted(config)),
            client: RemotingClient::new(runtime),
        }
    }

    /// Of the brokers that live; that of a master before anything is known, and where nobody acts for one.
    pub fn smallest_id(&self) -> i64 {
        self.smallest_id.load(Ordering::Acquire)
    }

    pub fn is_isolated(&self) -> bool {
        self.is_isolated.load(Ordering::Acquire)
    }

    pub(in crate::broker) fn end_isolation(&self) {
        self.is_isolated.store(false, Ordering::Release);
    }

    pub fn master_flush_offset(&self) -> i64 {
        self.master_flush_offset.load(Ordering::Relaxed)
    }

    pub fn reset_master_flush_offset(&self, offset: i64) {
        self.master_flush_offset.store(offset, Ordering::Relaxed);
    }
}

impl Broker {
    /// What a master says of itself (906).
    pub fn ha_info(&self) -> ExchangeHaInfoHeader {
        let Identity { broker_addr, ha_server_addr, .. } = self.identity();
        ExchangeHaInfoHeader {
            master_ha_address: Some(ha_server_addr.into()),
            master_flush_offset: Some(self.members.began_at),
            master_address: Some(broker_addr.into()),
        }
    }

    /// What a master says of itself: where it replicates is where the log is followed from now on. Its tables are not copied before a name
    /// server knows it: until then it takes over what was consumed here.
    pub fn take_ha_info(&self, said: &ExchangeHaInfoHeader) {
        if let Some(offset) = said.master_flush_offset
            && self.config.load().sync_master_flush_offset_when_startup
        {
            let known = &self.members.master_flush_offset;
            // Only what was not known: an error is the offset that is.
            let _ = known.compare_exchange(0, offset, Ordering::Relaxed, Ordering::Relaxed);
        }
        if let Some(ha_addr) = said.master_ha_address.as_deref().filter(|addr| !addr.is_empty()) {
            self.slave.know_only(Some(ha_addr.to_owned()));
        }
    }

    /// The smallest id is another one now; `offline`: who left. A slave without a master follows nobody, and one whose master is back
    /// follows it again.
    pub async fn set_smallest(self: &Arc<Self>, id: i64, addr: Option<String>, offline: Option<String>, ha_addr: Option<String>) {
        if !self.started_with.enable_slave_acting_master || self.started_with.broker_id == MASTER_ID {
            return;
        }
        let mut known_addr = self.members.smallest_addr.lock().await;
        let before = self.members.smallest_id();
        let was_at = std::mem::replace(&mut *known_addr, addr.clone());
        if before == id {
            return;
        }
        info!(before, now = id, addr, "the smallest id of the living brokers of this name is another one");
        self.members.smallest_id.store(id, Ordering::Release);
        let gone = offline.or_else(|| was_at.filter(|_| id > before));
        if gone.is_some() && gone == self.slave.master_addr() {
            self.slave.know_only(None);
        }
        if id == MASTER_ID
            && let Some(addr) = addr
        {
            let asked = if ha_addr.is_some() { Ok(()) } else { self.ask_ha_info(&addr).await };
            if let Err(error) = asked {
                warn!(master = addr, %error, "the master does not say where it replicates; name servers will");
            }
            self.slave.learn_master(Some(addr), ha_addr);
        }
    }

    pub(super) async fn ask_ha_info(&self, master: &str) -> Result<(), CallError> {
        let answer =
            self.members.client.succeed(master, RemotingCommand::request(request_code::EXCHANGE_BROKER_HA_INFO), ANSWER_MAX).await?;
        self.take_ha_info(&answer.header().unwrap_or_default());
        Ok(())
    }
}

/// Says that this broker lives, and asks who else does, as long as the broker runs.
pub(in crate::broker) fn start(broker: &Arc<Broker>) {
    if !broker.started_with.enable_slave_acting_master {
        return;
    }
    let (beating, shutdown) = (Arc::clone(broker), broker.runtime.shutdown().clone());
    broker.runtime.spawn_essential("heartbeats to name servers", async move {
        while shutdown.or(pause(&beating, |config| config.broker_heartbeat_interval)).await.is_some() {
            let config = beating.config.load();
            if let Some(registration) = beating.registration.get() {
                let timeout = Duration::from_millis(config.send_heartbeat_timeout_millis.max(1) as u64);
                registration.send_heartbeats(config.compatible_with_old_name_srv, timeout);
            }
        }
    });
    let (asking, shutdown) = (Arc::clone(broker), broker.runtime.shutdown().clone());
    broker.runtime.spawn_essential("brokers of the same name", async move {
        let seldom = Seldom::default();
        while shutdown.or(pause(&asking, |config| config.sync_broker_member_group_period)).await.is_some() {
            if asking.members.is_isolated() {
                continue;
            }
            match shutdown.or(living(&asking)).await {
                Some(Ok(living)) => {
                    if let Some((id, addr)) = living.into_iter().next() {
                        asking.set_smallest(id, Some(addr), None, None).await;
                    }
                }
                Some(Err(error)) if seldom.is_due(asking.clock.nanos()) => {
                    warn!(%error, "no name server says which brokers of this name live")
                }
                _ => {}
            }
        }
    });
}

async fn pause(broker: &Broker, key: impl FnOnce(&BrokerConfig) -> i32) {
    let millis = key(&broker.config.load()).max(1) as u64;
    broker.clock.sleep(Duration::from_millis(millis)).await;
}

/// The brokers of this name that live, as the first name server says that answers.
pub(super) async fn living(broker: &Broker) -> Result<Living, CallError> {
    let (config, at) = (broker.config.load().clone(), broker.identity());
    let mut outcome = Ok(Living::default());
    for addr in name_servers(&config) {
        outcome = living_by(broker, &addr, &at, config.compatible_with_old_name_srv).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

async fn living_by(broker: &Broker, name_server: &str, at: &Identity, known_to_4: bool) -> Result<Living, CallError> {
    let request = if known_to_4 {
        let topic = topic_names::sync_broker_member_topic(&at.broker_name).into();
        let header = GetRouteInfoRequestHeader { topic, ..GetRouteInfoRequestHeader::default() };
        RemotingCommand::request_with(request_code::GET_ROUTEINFO_BY_TOPIC, &header)
    } else {
        let (cluster_name, broker_name) = (at.cluster_name.clone().into(), at.broker_name.clone().into());
        let header = GetBrokerMemberGroupRequestHeader { cluster_name, broker_name };
        RemotingCommand::request_with(request_code::GET_BROKER_MEMBER_GROUP, &header)
    };
    let answer = match broker.members.client.succeed(name_server, request, ANSWER_MAX).await {
        // It knows none of them.
        Err(CallError::Refused { .. }) => return Ok(Living::default()),
        answer => answer?,
    };
    let unreadable = |error: fastjson::ReadError| CallError::Refused { code: answer.code, remark: error.to_string() };
    if known_to_4 {
        let route: TopicRouteData = fastjson::from_slice(&answer.body).map_err(unreadable)?;
        let is_ours = |broker: &BrokerData| (&broker.broker_name, &broker.cluster) == (&at.broker_name, &at.cluster_name);
        return Ok(route.broker_datas.into_iter().find(is_ours).map(|broker| broker.broker_addrs).unwrap_or_default());
    }
    let body: GetBrokerMemberGroupResponseBody = fastjson::from_slice(&answer.body).map_err(unreadable)?;
    Ok(body.broker_member_group.map(|group| group.broker_addrs).unwrap_or_default())
}
