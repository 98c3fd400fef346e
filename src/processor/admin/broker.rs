// SPDX-License-Identifier: Apache-2.0
//! The broker itself for administrators and slaves: its configuration (25, 26), how it runs (28), how far the delay levels are (45), its
//! slaves or its master (907), who lives and where it replicates (905, 906, 908), and the tables of what it has not (60, 61, 402).

use std::sync::Arc;

use ferrocket_protocol::body::assignment::MessageRequestModeSerializeWrapper;
use ferrocket_protocol::body::ha::{HaClientRuntimeInfo, HaConnectionRuntimeInfo, HaRuntimeInfo};
use ferrocket_protocol::body::kv::KvTable;
use ferrocket_protocol::header::admin::broker::{ExchangeHaInfoHeader, GetBrokerConfigResponseHeader, ResetMasterFlushOffsetHeader};
use ferrocket_protocol::header::route::NotifyMinBrokerIdChangeRequestHeader;
use ferrocket_protocol::{RemotingCommand, Str, fastjson, response_code};
use tracing::{info, warn};

use super::runtime_info;
use crate::broker::Broker;
use crate::broker::figures::BrokerFigures;
use crate::broker::replication::master::SlaveFigures;
use crate::broker::replication::members::MASTER_ID;
use crate::broker::role::Role;
use crate::config::UpdateError;
use crate::processor::reply::{Refusal, Reply};
use crate::remoting::Peer;

/// Seven numbers of 64 bits.
const TIMER_CHECK_POINT_BYTES: usize = 56;
/// The key whose change the name servers must hear of at once.
const PERMISSION_KEY: &[u8] = b"brokerPermission";

pub(in crate::processor) fn update_config(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    if request.body.is_empty() {
        return Ok(Reply::success());
    }
    let before = broker.registered_as();
    // The file is written before the answer.
    let changed = broker.config.update(&request.body, broker.clock.now_millis()).map_err(|error| {
        let code = match error {
            UpdateError::BlackListed => response_code::NO_PERMISSION,
            _ => response_code::SYSTEM_ERROR,
        };
        Refusal::new(code, error.to_string())
    })?;
    for change in &changed {
        info!(%peer, key = change.key, from = change.from, to = change.to, "configuration changed by command");
        if change.key == "listenPort" {
            warn!("clients are told the new listenPort from now on; this process goes on listening on the old one until the next start");
        }
    }
    let names_permission = request.body.windows(PERMISSION_KEY.len()).any(|part| part == PERMISSION_KEY);
    if names_permission {
        broker.topics.step_version();
    } else if broker.registered_as() == before {
        return Ok(Reply::success());
    }
    let completion = peer.completion(request);
    // The key is in its file; that of the topics only got a new version.
    broker.announce_then(move |_| completion.answer_now(RemotingCommand::response(response_code::SUCCESS)));
    Ok(Reply::Later)
}

pub(in crate::processor) fn config(broker: &Broker) -> Result<Reply, Refusal> {
    let version = broker.config.version();
    let version =
        ferrocket_protocol::data_version::DataVersion { counter: version.counter, state_version: 0, timestamp: version.timestamp_millis };
    let fields = GetBrokerConfigResponseHeader { version: fastjson::to_string(&version).into() };
    let response = RemotingCommand::response(response_code::SUCCESS);
    Ok(Reply::Now(response.with_header(&fields).with_body(broker.config.to_properties())))
}

pub(in crate::processor) fn delay_offsets(broker: &Broker) -> Result<Reply, Refusal> {
    Ok(Reply::body(broker.schedule.encode()))
}

pub(in crate::processor) fn runtime_info(broker: &Broker) -> Result<Reply, Refusal> {
    let table = runtime_info::table(BrokerFigures::of(broker)?, &broker.config.load());
    Ok(Reply::body(fastjson::to_vec(&KvTable { table })))
}

pub(in crate::processor) fn ha_status(broker: &Broker) -> Result<Reply, Refusal> {
    let (slaves, end) = (broker.slaves.figures(), broker.store.max_phy_offset());
    if broker.role() == Role::Slave {
        let link = broker.slave.figures(broker.clock.now_millis());
        let ha_client_runtime_info = HaClientRuntimeInfo {
            last_read_timestamp: link.last_read_millis,
            last_write_timestamp: link.last_write_millis,
            master_addr: broker.slave.ha_addr(&broker.config.load()),
            master_flush_offset: broker.members.master_flush_offset(),
            max_offset: end,
            transferred_byte_in_second: link.bytes_per_second,
        };
        return Ok(Reply::body(fastjson::to_vec(&HaRuntimeInfo { ha_client_runtime_info, ..HaRuntimeInfo::default() })));
    }
    let info = HaRuntimeInfo {
        master: true,
        master_commit_log_max_offset: end,
        in_sync_slave_nums: slaves.iter().filter(|slave| slave.is_in_sync).count() as i32,
        ha_connection_info: slaves.iter().map(connection_info).collect(),
        ..HaRuntimeInfo::default()
    };
    Ok(Reply::body(fastjson::to_vec(&info)))
}

/// NOTIFY_MIN_BROKER_ID_CHANGE: a name server says which broker of this name has the smallest id now.
pub(in crate::processor) fn smallest_id_changed(broker: &Arc<Broker>, peer: &Peer, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: NotifyMinBrokerIdChangeRequestHeader = request.header()?;
    let id = header.min_broker_id;
    let text = |addr: Option<Str>| addr.map(|addr| addr.to_string()).filter(|addr| !addr.is_empty());
    let (addr, offline, ha_addr) = (text(header.min_broker_addr), text(header.offline_broker_addr), text(header.ha_broker_addr));
    info!(%peer, id, addr, offline, "a name server says who has the smallest id");
    let told = Arc::clone(broker);
    broker.runtime.spawn("smallest id", async move { told.set_smallest(id, addr, offline, ha_addr).await });
    Ok(Reply::success())
}

/// EXCHANGE_BROKER_HA_INFO: a master says where it replicates, or is asked for it.
pub(in crate::processor) fn exchange_ha_info(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let said: ExchangeHaInfoHeader = request.header()?;
    let answer = if said.master_ha_address.is_some() {
        broker.take_ha_info(&said);
        ExchangeHaInfoHeader::default()
    } else if broker.started_with.broker_id == MASTER_ID {
        broker.ha_info()
    } else {
        ExchangeHaInfoHeader::default()
    };
    Ok(Reply::Now(RemotingCommand::response(response_code::SUCCESS).with_header(&answer)))
}

pub(in crate::processor) fn reset_master_flush_offset(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    // Of a master it is where its own log ended.
    if broker.started_with.broker_id != MASTER_ID {
        broker.members.reset_master_flush_offset(request.header::<ResetMasterFlushOffsetHeader>()?.master_flush_offset);
    }
    Ok(Reply::success())
}

fn connection_info(slave: &SlaveFigures) -> HaConnectionRuntimeInfo {
    HaConnectionRuntimeInfo {
        addr: slave.addr.to_string(),
        diff: slave.behind_bytes,
        in_sync: slave.is_in_sync,
        slave_ack_offset: slave.reported_offset,
        transfer_from_where: slave.sent_offset,
        transferred_byte_in_second: slave.sent_bytes_in_second as i64,
    }
}

/// Slaves ask every few seconds. A broker of the original without timers answers so; but a master of the original that comes back asks the
/// slave that acted for it, and takes no refusal: that of a slave is of version 0, older than any.
pub(in crate::processor) fn timer_check_point(broker: &Broker) -> Result<Reply, Refusal> {
    if broker.is_slave() {
        return Ok(Reply::body(vec![0; TIMER_CHECK_POINT_BYTES]));
    }
    Err(Refusal::system_error("The checkpoint is null"))
}

/// As `timer_check_point`.
pub(in crate::processor) fn timer_metrics() -> Result<Reply, Refusal> {
    Err(Refusal::system_error("The timer message store is null"))
}

/// Nobody can set one while POP is not served.
pub(in crate::processor) fn message_request_modes() -> Result<Reply, Refusal> {
    Ok(Reply::body(fastjson::to_vec(&MessageRequestModeSerializeWrapper::default())))
}
