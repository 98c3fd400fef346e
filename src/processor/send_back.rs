// SPDX-License-Identifier: Apache-2.0
//! CONSUMER_SEND_MSG_BACK (36): a message that could not be consumed comes back, after a delay, or goes to the dead letters.
//!
//! Order of checks follows AbstractSendMessageProcessor.java#consumerSendMsgBack.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ferrocket_protocol::body::topic_sys_flag;
use ferrocket_protocol::header::ConsumerSendMsgBackRequestHeader;
use ferrocket_protocol::message::MessageView;
use ferrocket_protocol::{RemotingCommand, perm, response_code, topic_names, version};

use super::checks::FAQ;
use super::reply::{Refusal, Reply};
use crate::broker::Broker;
use crate::broker::retry::{self, FIRST_RETRY_LEVEL};
use crate::broker::send::DLQ_QUEUES;
use crate::broker::topics::{QUEUES_MAX, Topic};
use crate::store::PutMessageStatus;

pub(super) fn process(broker: &Arc<Broker>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: ConsumerSendMsgBackRequestHeader = request.header()?;
    let group_name = &*header.group;
    let Some(group) = broker.groups.find(group_name) else {
        let remark = format!("subscription group not exist, {group_name} {FAQ}");
        return Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    };
    let config = broker.config.load();
    if !perm::is_writable(config.broker_permission) {
        let remark = format!("the broker[{}] sending message is forbidden", config.broker_ip1);
        return Err(Refusal::new(response_code::NO_PERMISSION, remark));
    }
    if group.retry_queue_nums <= 0 {
        // A group without retry queues gives its failed messages up.
        return Ok(Reply::success());
    }
    let retry_name = topic_names::retry_topic(group_name);
    let sys_flag = if header.unit_mode { topic_sys_flag::UNIT_SUB } else { 0 };
    let retry_topic = own_topic_on_disk(broker, retry_name.clone(), group.retry_queue_nums, sys_flag)?;
    if !perm::is_writable(retry_topic.perm) {
        let remark = format!("the topic[{retry_name}] sending message is forbidden");
        return Err(Refusal::new(response_code::NO_PERMISSION, remark));
    }
    let asked_max = header.max_reconsume_times.filter(|_| request.version >= version::V3_4_9);
    let max_reconsume_times = asked_max.unwrap_or(group.retry_max_times);
    put_back(broker, &header, &retry_name, group.retry_queue_nums.min(QUEUES_MAX), max_reconsume_times)
}

/// The message is acknowledged with its topic on the disk: after a kill nobody could read it otherwise.
fn own_topic_on_disk(broker: &Arc<Broker>, name: String, queue_count: i32, sys_flag: i32) -> Result<Arc<Topic>, Refusal> {
    let absent = || Refusal::system_error(format!("topic[{name}] not exist"));
    let found = retry::own_topic(broker, name.clone(), queue_count, sys_flag, false).ok_or_else(absent)?;
    if found.is_created() {
        broker.topics.persist().map_err(|why| Refusal::unwritten(&why))?;
    }
    Ok(Arc::clone(found.topic()))
}

fn put_back(
    broker: &Arc<Broker>,
    header: &ConsumerSendMsgBackRequestHeader,
    retry_name: &str,
    retry_queue_nums: i32,
    max_reconsume_times: i32,
) -> Result<Reply, Refusal> {
    let record = broker.store.look_message(header.offset)?;
    let Some(record) = record.as_ref().and_then(|record| MessageView::decode(record).ok()) else {
        return Err(Refusal::system_error(format!("look message by offset failed, {}", header.offset)));
    };
    let delay_level = header.required_delay_level().map_err(super::unreadable)?;
    let is_dead = record.reconsume_times >= max_reconsume_times || delay_level < 0;
    let message = if is_dead {
        let dlq_name = topic_names::dlq_topic(&header.group);
        own_topic_on_disk(broker, dlq_name.clone(), DLQ_QUEUES, 0)?;
        tracing::info!(group = %header.group, topic = record.topic, offset = header.offset, "a message goes to the dead letters");
        retry::next_try(&record, &dlq_name, 0, 0, broker.store_host())
    } else {
        static TURN: AtomicU32 = AtomicU32::new(0);
        let queue_id = (TURN.fetch_add(1, Ordering::Relaxed) % retry_queue_nums.unsigned_abs()) as i32;
        let level = if delay_level == 0 { FIRST_RETRY_LEVEL.saturating_add(record.reconsume_times) } else { delay_level };
        let mut message = retry::next_try(&record, retry_name, queue_id, level, broker.store_host());
        broker.schedule.delay(&mut message, level);
        message
    };
    let put = broker.store.put_message(&message);
    if put.status.is_stored()
        && let Some(topic) = broker.topics.get(&message.topic)
    {
        broker.count_put(&topic, put.message_count as u64, put.record_bytes as u64);
    }
    // As in the original, the message bears WAIT=false: nobody waits for the disk.
    match put.status {
        PutMessageStatus::PutOk => Ok(Reply::success()),
        other => Err(Refusal::system_error(status_name(other))),
    }
}

/// The original's name of a status, which it answers as the remark.
fn status_name(status: PutMessageStatus) -> &'static str {
    use PutMessageStatus::*;
    match status {
        PutOk => "PUT_OK",
        FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
        FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
        SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        ServiceNotAvailable => "SERVICE_NOT_AVAILABLE",
        CreateMappedFileFailed => "CREATE_MAPPED_FILE_FAILED",
        MessageIllegal => "MESSAGE_ILLEGAL",
        PropertiesSizeExceeded => "PROPERTIES_SIZE_EXCEEDED",
        OsPageCacheBusy => "OS_PAGE_CACHE_BUSY",
        UnknownError => "UNKNOWN_ERROR",
        InSyncReplicasNotEnough => "IN_SYNC_REPLICAS_NOT_ENOUGH",
        PutToRemoteBrokerFail => "PUT_TO_REMOTE_BROKER_FAIL",
        LmqConsumeQueueNumExceeded => "LMQ_CONSUME_QUEUE_NUM_EXCEEDED",
        WheelTimerFlowControl => "WHEEL_TIMER_FLOW_CONTROL",
        WheelTimerMsgIllegal => "WHEEL_TIMER_MSG_ILLEGAL",
        WheelTimerNotEnable => "WHEEL_TIMER_NOT_ENABLE",
    }
}
