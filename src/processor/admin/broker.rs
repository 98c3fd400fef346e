// SPDX-License-Identifier: Apache-2.0
//! The broker itself for administrators: its configuration (25, 26), how it runs (28), how far the delay levels are (45).

use std::sync::Arc;

use ferrocket_protocol::body::kv::KvTable;
use ferrocket_protocol::header::admin::broker::GetBrokerConfigResponseHeader;
use ferrocket_protocol::{RemotingCommand, fastjson, response_code};
use tracing::{info, warn};

use super::runtime_info;
use crate::broker::Broker;
use crate::broker::figures::BrokerFigures;
use crate::config::UpdateError;
use crate::processor::reply::{Refusal, Reply};
use crate::remoting::Peer;

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
