// SPDX-License-Identifier: Apache-2.0
//! The broker itself for administrators: its configuration (25, 26), how it runs (28), how far the delay levels are (45).
//!
//! Tools parse the texts of 28 and fail on a key that is missing, so all of them are given, old spellings beside new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferrocket_protocol::body::kv::KvTable;
use ferrocket_protocol::header::admin::broker::GetBrokerConfigResponseHeader;
use ferrocket_protocol::{RemotingCommand, fastjson, response_code, version};
use tracing::{info, warn};

use crate::broker::Broker;
use crate::config::UpdateError;
use crate::processor::reply::{Refusal, Reply};
use crate::remoting::Peer;

/// The key whose change the name servers must hear of at once.
const PERMISSION_KEY: &[u8] = b"brokerPermission";

/// In the table of 28 while no message is taken: why.
pub const UNWRITABLE_KEY: &str = "storeUnwritable";

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
    let mut table: BTreeMap<String, String> = broker.store.runtime_info();
    for progress in broker.schedule.progress(&broker.store) {
        let key = format!("scheduleMessageOffset_{}", progress.level);
        table.insert(key, format!("{},{}", progress.delivered_offset, progress.max_offset));
    }
    let config = broker.config.load();
    let mornings = broker.stats.mornings();
    let behind_flush = (broker.store.max_phy_offset() - broker.store.flushed_offset()).max(0) as u64;
    let mut set = |key: &str, value: String| {
        table.insert(key.to_owned(), value);
    };
    set("brokerActive", "true".to_owned());
    set("brokerVersion", version::CURRENT.to_string());
    set("brokerVersionDesc", version::CURRENT_NAME.to_owned());
    set("msgPutTotalYesterdayMorning", mornings.put_yesterday.to_string());
    set("msgPutTotalTodayMorning", mornings.put_today.to_string());
    set("msgPutTotalTodayNow", broker.topics.put_total().to_string());
    set("msgGetTotalYesterdayMorning", mornings.get_yesterday.to_string());
    set("msgGetTotalTodayMorning", mornings.get_today.to_string());
    set("msgGetTotalTodayNow", broker.stats.get_total().to_string());
    set("dispatchBehindBytes", broker.store.dispatch_behind_bytes().to_string());
    set("pageCacheLockTimeMills", broker.store.append_lock_millis().to_string());
    set("earliestMessageTimeStamp", broker.store.earliest_store_time()?.to_string());
    set("startAcceptSendRequestTimeStamp", config.start_accept_send_request_time_stamp.to_string());
    for key in ["timerReadBehind", "timerOffsetBehind", "timerCongestNum"] {
        set(key, "0".to_owned());
    }
    for key in ["timerEnqueueTps", "timerDequeueTps"] {
        set(key, "0.0".to_owned());
    }
    set("remainTransientStoreBufferNumbs", i32::MAX.to_string());
    set("remainHowManyDataToFlush", human_bytes(behind_flush));
    if let Some(disk) = broker.store.disk_capacity() {
        set("commitLogDirCapacity", format!("Total : {}, Free : {}.", human_bytes(disk.total), human_bytes(disk.free)));
    }
    // Nothing queues here, so every pool of the original is empty; its capacity is the configured one.
    let pools = [
        ("send", config.send_thread_pool_queue_capacity, broker.flow_control.sends_in_flight()),
        ("pull", config.pull_thread_pool_queue_capacity, 0),
        ("litePull", config.lite_pull_thread_pool_queue_capacity, 0),
        ("query", config.query_thread_pool_queue_capacity, 0),
        ("ack", config.ack_thread_pool_queue_capacity, 0),
    ];
    for (pool, capacity, waiting) in pools {
        set(&format!("{pool}ThreadPoolQueueSize"), waiting.to_string());
        set(&format!("{pool}ThreadPoolQueueCapacity"), capacity.to_string());
        set(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
    }
    // Ours, for `ferrocket health`, and only then: a broker that takes messages answers as the original does.
    if let Some(why) = broker.store.unwritable_why() {
        set(UNWRITABLE_KEY, why.to_owned());
    }
    set("EndTransactionQueueSize", "0".to_owned());
    set("EndTransactionThreadPoolQueueCapacity", config.end_transaction_pool_queue_capacity.to_string());
    // Tools of 4.9 read only this spelling.
    if let Some(rate) = table.get("getTransferredTps").cloned() {
        table.insert("getTransferedTps".to_owned(), rate);
    }
    Ok(Reply::body(fastjson::to_vec(&KvTable { table })))
}

/// `1.5 KiB`, as the original's MixAll#humanReadableByteCount.
fn human_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog2() / 10) as usize;
    let unit = ["K", "M", "G", "T", "P", "E"][exponent - 1];
    format!("{:.1} {unit}iB", bytes as f64 / 1024f64.powi(exponent as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by the original.
    #[test]
    fn bytes_are_written_for_people() {
        assert_eq!([0, 1_536, 1_234_567_890_123].map(human_bytes), ["0 B", "1.5 KiB", "1.1 TiB"]);
    }
}
