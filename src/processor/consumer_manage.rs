// SPDX-License-Identifier: Apache-2.0
//! Offsets of groups and of queues, and who is in a group: codes 14, 15, 29 to 32, 38 and 43.
//!
//! Order of checks follows ConsumerManageProcessor.java and AdminBrokerProcessor.java.

use std::ops::Range;

use ferrocket_protocol::body::GetConsumerListByGroupResponseBody;
use ferrocket_protocol::header::{
    GetConsumerListByGroupRequestHeader, GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader, GetMinOffsetResponseHeader,
    QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use ferrocket_protocol::{Header, RemotingCommand, fastjson, response_code};

use super::checks::require_a_clients_group;
use super::lane::Disk;
use super::reply::{Cold, Refusal, Reply};
use crate::broker::Broker;
use crate::store::Boundary;

/// GET_CONSUMER_LIST_BY_GROUP.
pub(super) fn list_consumers(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetConsumerListByGroupRequestHeader = request.header()?;
    let consumer_id_list = broker.consumers.client_ids(&header.consumer_group);
    if consumer_id_list.is_empty() {
        let remark = format!("no consumer for this group, {}", header.consumer_group);
        return Err(Refusal::system_error(remark).with_header());
    }
    let body = fastjson::to_vec(&GetConsumerListByGroupResponseBody { consumer_id_list });
    Ok(Reply::Now(RemotingCommand::response(response_code::SUCCESS).with_header(&()).with_body(body)))
}

/// UPDATE_CONSUMER_OFFSET.
pub(super) fn update_offset(broker: &Broker, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    update_offset_by(broker, &request.header()?, disk).map_err(Refusal::with_header)
}

fn update_offset_by(broker: &Broker, header: &UpdateConsumerOffsetRequestHeader, disk: Disk) -> Result<Reply, Refusal> {
    let (group, topic) = (&*header.consumer_group, &*header.topic);
    if !broker.groups.contains(group) {
        let remark = format!("Group {group} not exist!");
        return Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let Some(topic_config) = broker.topics.get(topic) else {
        return Err(Refusal::new(response_code::TOPIC_NOT_EXIST, format!("Topic {topic} not exist!")));
    };
    let Some(queue_id) = header.queue_id else {
        return Err(Refusal::new(response_code::INVALID_PARAMETER, format!("QueueId is null, topic is {topic}")));
    };
    let Some(offset) = header.commit_offset else {
        return Err(Refusal::new(response_code::INVALID_PARAMETER, format!("Offset is null, topic is {topic}")));
    };
    require_a_clients_group(group)?;
    let config = broker.config.load();
    if config.use_server_side_reset_offset && broker.consumer_offsets.has_pending_reset(group, topic, queue_id) {
        let response = RemotingCommand::response(response_code::SUCCESS).with_header(&());
        return Ok(Reply::Now(response.with_remark("Offset has been previously reset")));
    }
    let Some(Range { end, .. }) = queue_offsets(broker, topic, queue_id, disk)? else { return Ok(Reply::WouldBlock(Cold::Read)) };
    // The original takes any offset. A late commit of a topic that was deleted and made anew would pass over the new messages.
    let is_queue = (0..topic_config.queue_count()).contains(&queue_id) || end > 0;
    if offset > end.max(0) || !is_queue {
        let end = end.max(0);
        tracing::info!(group, topic, queue_id, offset, end, "refused a commit of an offset that is not there");
        let remark = format!("offset {offset} is not in queue {queue_id} of topic {topic}, which ends at {end}");
        return Err(Refusal::new(response_code::INVALID_PARAMETER, remark));
    }
    broker.consumer_offsets.commit(group, topic, queue_id, offset, config.consumer_offset_update_version_step);
    if !broker.topics.contains(topic) {
        // Deleted meanwhile: nothing of it may wait for a topic of the same name.
        broker.consumer_offsets.remove_topic(topic);
    }
    Ok(Reply::success_with_header())
}

/// QUERY_CONSUMER_OFFSET.
pub(super) fn query_offset(broker: &Broker, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    let header: QueryConsumerOffsetRequestHeader = request.header()?;
    let (group, topic, queue_id) = (&*header.consumer_group, &*header.topic, header.queue_id);
    if let Some(offset) = position_of(broker, group, topic, queue_id).filter(|offset| *offset >= 0) {
        return found(&QueryConsumerOffsetResponseHeader { offset });
    }
    if header.set_zero_if_not_found == Some(false) {
        let remark = "Not found, do not set to zero, maybe this group boot first";
        return Err(Refusal::new(response_code::QUERY_NOT_FOUND, remark).with_header());
    }
    if disk == Disk::MustNotWait {
        return Ok(Reply::WouldBlock(Cold::Read));
    }
    // A queue of which nothing has been deleted or pushed out of memory yet is new, and so is this group: both begin at 0.
    let store = &broker.store;
    if store.queue_offsets(topic, queue_id)?.start <= 0 && store.in_memory_by_consume_offset(topic, queue_id, 0, 1)? {
        return found(&QueryConsumerOffsetResponseHeader { offset: 0 });
    }
    let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
    Err(Refusal::new(response_code::QUERY_NOT_FOUND, remark).with_header())
}

/// Where a group goes on: a pending reset counts before what it committed, unless resets are the clients' business.
pub(super) fn position_of(broker: &Broker, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
    if broker.config.load().use_server_side_reset_offset {
        broker.consumer_offsets.current(group, topic, queue_id)
    } else {
        broker.consumer_offsets.committed(group, topic, queue_id)
    }
}

/// GET_ALL_CONSUMER_OFFSET.
pub(super) fn all_offsets(broker: &Broker) -> Result<Reply, Refusal> {
    Ok(Reply::body(broker.consumer_offsets.encode()))
}

/// GET_MAX_OFFSET.
pub(super) fn max_offset(broker: &Broker, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    let header: GetMaxOffsetRequestHeader = request.header()?;
    let Some(offsets) = queue_offsets(broker, &header.topic, header.queue_id, disk)? else { return Ok(Reply::WouldBlock(Cold::Read)) };
    found(&GetMaxOffsetResponseHeader { offset: offsets.end })
}

/// GET_MIN_OFFSET.
pub(super) fn min_offset(broker: &Broker, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    let header: GetMinOffsetRequestHeader = request.header()?;
    let Some(offsets) = queue_offsets(broker, &header.topic, header.queue_id, disk)? else { return Ok(Reply::WouldBlock(Cold::Read)) };
    // A queue that nobody has written to begins at 0, as in the original, which makes it on the spot.
    let header = GetMinOffsetResponseHeader { offset: offsets.start.max(0) };
    let response = RemotingCommand::response(response_code::SUCCESS).with_header(&header);
    // The original answers this one with a remark, and an empty one.
    Ok(Reply::Now(response.with_remark("")))
}

/// `None` of a queue that the disk has to be asked for.
fn queue_offsets(broker: &Broker, topic: &str, queue_id: i32, disk: Disk) -> Result<Option<Range<i64>>, Refusal> {
    if disk == Disk::MustNotWait && !broker.store.is_loaded(topic, queue_id) {
        return Ok(None);
    }
    Ok(Some(broker.store.queue_offsets(topic, queue_id)?))
}

/// SEARCH_OFFSET_BY_TIMESTAMP.
pub(super) fn search_offset(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: SearchOffsetRequestHeader = request.header()?;
    let boundary = if header.wants_upper_boundary() { Boundary::Upper } else { Boundary::Lower };
    found(&SearchOffsetResponseHeader { offset: broker.store.offset_by_time(&header.topic, header.queue_id, header.timestamp, boundary)? })
}

/// GET_EARLIEST_MSG_STORETIME.
pub(super) fn earliest_store_time(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetEarliestMsgStoretimeRequestHeader = request.header()?;
    found(&GetEarliestMsgStoretimeResponseHeader { timestamp: broker.store.earliest_message_time(&header.topic, header.queue_id)? })
}

fn found(header: &impl Header) -> Result<Reply, Refusal> {
    Ok(Reply::Now(RemotingCommand::response(response_code::SUCCESS).with_header(header)))
}
