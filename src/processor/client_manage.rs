// SPDX-License-Identifier: Apache-2.0
//! Clients that come, stay and go: HEART_BEAT (34, both forms), UNREGISTER_CLIENT (35), CHECK_CLIENT_CONFIG (46), queue locks
//! (41, 42).
//!
//! Follows ClientManageProcessor.java.

use std::sync::Arc;

use ferrocket_protocol::body::{
    CheckClientRequestBody, ConsumeType, ConsumerData, HeartbeatData, LockBatchRequestBody, LockBatchResponseBody, SubscriptionGroupConfig,
    topic_sys_flag,
};
use ferrocket_protocol::header::{HeartbeatResponseHeader, UnregisterClientRequestHeader};
use ferrocket_protocol::{RemotingCommand, fastjson, response_code, topic_names};

use super::checks::body_of;
use super::coverage;
use super::reply::{Refusal, Reply};
use crate::broker::Broker;
use crate::broker::client_channel::ClientChannel;
use crate::broker::consumers::{Client, ConsumeMode};
use crate::broker::{filter, membership, retry};
use crate::remoting::Peer;

/// Groups that one client can be in. Each is made with its retry topic, on the disk and in every name server; a process has a few.
const GROUPS_PER_CLIENT_MAX: usize = 4_096;
/// Topics that one group can subscribe. They are kept for each group, and compared at each heartbeat.
const SUBSCRIPTIONS_MAX: usize = 16_384;

/// HEART_BEAT.
pub(super) fn heartbeat(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let heartbeat: HeartbeatData = body_of(request)?;
    require_countable(&heartbeat)?;
    let client = Client {
        channel: Arc::clone(peer) as Arc<dyn ClientChannel>,
        client_id: Arc::from(heartbeat.client_id.as_str()),
        language: request.language,
        version: request.version,
    };
    let fingerprint = heartbeat.heartbeat_fingerprint;
    let without_subscriptions = fingerprint != 0 && heartbeat.without_sub;
    let rejects_pullers = broker.config.load().reject_pull_consumer_enable;
    // The first form never compares, and says that the second one would be welcome.
    let mut subscription_changed = fingerprint == 0;
    for consumer in heartbeat.consumer_data_set {
        if rejects_pullers && consumer.consume_type == ConsumeType::ConsumeActively {
            continue;
        }
        let Some(group) = broker.groups.find(&consumer.group_name) else { continue };
        ensure_retry_topic(broker, &group, &consumer);
        let mode = ConsumeMode {
            consume_type: consumer.consume_type,
            message_model: consumer.message_model,
            consume_from_where: consumer.consume_from_where,
        };
        let subscriptions = (!without_subscriptions).then_some(consumer.subscription_data_set);
        let change = broker.consumers.register(&consumer.group_name, client.clone(), mode, fingerprint, subscriptions);
        subscription_changed |= change.wants_subscriptions;
        membership::tell(broker, &consumer.group_name, Some(&group), &change);
    }
    for producer in &heartbeat.producer_data_set {
        broker.producers.register(&producer.group_name, &client);
    }
    let header = HeartbeatResponseHeader { supports_heartbeat_v2: true, subscription_changed };
    Ok(Reply::Now(RemotingCommand::response(response_code::SUCCESS).with_header(&header)))
}

fn require_countable(heartbeat: &HeartbeatData) -> Result<(), Refusal> {
    let most = heartbeat.consumer_data_set.iter().map(|consumer| consumer.subscription_data_set.len()).max().unwrap_or(0);
    let subscriptions = || heartbeat.consumer_data_set.iter().flat_map(|consumer| &consumer.subscription_data_set);
    let tags = subscriptions().map(|data| data.tags_set.len() + data.code_set.len()).sum();
    let longest = subscriptions().map(|data| data.sub_string.len()).max().unwrap_or(0);
    for (what, count, limit) in [
        ("tags", tags, filter::TAGS_MAX),
        ("bytes of an expression", longest, filter::EXPRESSION_BYTES_MAX),
        ("consumer groups", heartbeat.consumer_data_set.len(), GROUPS_PER_CLIENT_MAX),
        ("producer groups", heartbeat.producer_data_set.len(), GROUPS_PER_CLIENT_MAX),
        ("subscriptions of one group", most, SUBSCRIPTIONS_MAX),
    ] {
        if count > limit {
            return Err(Refusal::system_error(format!("a heartbeat with {count} {what}, {limit} are allowed")));
        }
    }
    Ok(())
}

/// Every consumer group has its retry topic from its first heartbeat on.
fn ensure_retry_topic(broker: &Arc<Broker>, group: &SubscriptionGroupConfig, consumer: &ConsumerData) {
    let subscribes_ordered =
        consumer.subscription_data_set.iter().any(|data| broker.topics.get(&data.topic).is_some_and(|topic| topic.order));
    let sys_flag = if consumer.unit_mode { topic_sys_flag::UNIT_SUB } else { 0 };
    let name = topic_names::retry_topic(&consumer.group_name);
    retry::own_topic(broker, name, group.retry_queue_nums, sys_flag, subscribes_ordered);
}

/// UNREGISTER_CLIENT.
pub(super) fn unregister(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: UnregisterClientRequestHeader = request.header()?;
    if let Some(group) = &header.producer_group {
        broker.producers.unregister(group, &**peer);
    }
    if let Some(group) = &header.consumer_group {
        let config = broker.groups.find(group);
        let (change, gone) = broker.consumers.unregister(group, &**peer);
        if let Some(client_id) = gone {
            broker.rebalance_locks.release(group, &client_id);
        }
        membership::tell(broker, group, config.as_deref(), &change);
    }
    Ok(Reply::success_with_header())
}

/// CHECK_CLIENT_CONFIG: clients ask before they start with a filter that is no list of tags.
pub(super) fn check_config(peer: &Peer, request: &RemotingCommand) -> Result<Reply, Refusal> {
    if request.body.is_empty() {
        return Ok(Reply::success());
    }
    let check: CheckClientRequestBody = body_of(request)?;
    match check.subscription_data {
        Some(data) if !crate::broker::filter::is_tag_type(&data.expression_type) => {
            peer.asked_in_vain(coverage::SQL92);
            let language = data.expression_type;
            Err(Refusal::system_error(format!("The broker does not support consumer to filter message by {language}")))
        }
        _ => Ok(Reply::success()),
    }
}

/// LOCK_BATCH_MQ.
pub(super) fn lock_queues(broker: &Broker, peer: &Peer, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let body: LockBatchRequestBody = body_of(request)?;
    let locked = broker.rebalance_locks.lock_batch(&body.consumer_group, &body.mq_set, &body.client_id, peer.id());
    Ok(Reply::body(fastjson::to_vec(&LockBatchResponseBody { lock_ok_mq_set: locked })))
}

/// UNLOCK_BATCH_MQ.
pub(super) fn unlock_queues(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let body: LockBatchRequestBody = body_of(request)?;
    broker.rebalance_locks.unlock_batch(&body.consumer_group, &body.mq_set, &body.client_id);
    Ok(Reply::success())
}
