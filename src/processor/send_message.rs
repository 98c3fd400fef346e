// SPDX-License-Identifier: Apache-2.0
//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320): the header becomes a `SendRequest`, and what comes of it an
//! answer with the original's codes and texts.
//!
//! Knows nothing of files or sockets; a send that waits for the disk leaves a completion.

use std::net::SocketAddr;
use std::sync::Arc;

use ferrocket_protocol::header::send::SendFields;
use ferrocket_protocol::message::{id, property};
use ferrocket_protocol::{RemotingCommand, response_code, topic_names, version};

use super::checks;
use super::coverage;
use super::lane::Disk;
use super::reply::{Cold, MessageIds, Refusal, Reply, SentReply, bool_text};
use crate::broker::send::{self, DueSend, NewTopic, SendError, SendRequest, SendResult, Sent};
use crate::broker::{Broker, Hosts};
use crate::config::BrokerConfig;
use crate::remoting::Peer;
use crate::runtime::local_time;
use crate::store::PutMessageStatus;

pub(super) fn process(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    let fields = SendFields::read(request).map_err(super::unreadable)?;
    let config = broker.config.load();
    let Hosts { store, for_peer } = broker.hosts_for(peer);
    let sending = send_request(peer, request, fields, store, disk);
    match send::send(broker, &config, &sending) {
        Ok(Sent::Stored(result)) => Ok(Reply::Sent(sent_reply(for_peer, result))),
        Ok(Sent::Later(result, due)) => {
            answer_later(broker, peer, request, sent_reply(for_peer, result), due);
            Ok(Reply::Later)
        }
        Ok(Sent::Oneway) => Ok(Reply::Silent),
        Ok(Sent::WouldBlock) => Ok(Reply::WouldBlock(Cold::Read)),
        Ok(Sent::ColdQueue(put, in_flight)) => Ok(Reply::WouldBlock(Cold::Send(put, in_flight))),
        Err(error) => Err(refusal(error, broker, &config, peer, &sending)),
    }
}

/// `store` is the address that the record bears.
#[inline]
pub(super) fn send_request<'a>(
    peer: &Peer,
    request: &'a RemotingCommand,
    fields: SendFields<'a>,
    store: SocketAddr,
    disk: Disk,
) -> SendRequest<'a> {
    SendRequest {
        topic: fields.topic,
        new_topic: NewTopic { like: fields.default_topic, queue_nums: fields.default_topic_queue_nums, unit_mode: fields.unit_mode },
        queue_id: fields.queue_id,
        body: &request.body,
        properties: fields.properties,
        flag: fields.flag,
        sys_flag: fields.sys_flag,
        born_timestamp: fields.born_timestamp,
        born_host: peer.remote_addr(),
        store_host: store,
        reconsume_times: fields.reconsume_times.unwrap_or(0),
        max_reconsume_times: fields.max_reconsume_times.filter(|_| request.version >= version::V3_4_9),
        is_batch: fields.batch,
        is_oneway: request.is_oneway(),
        disk,
    }
}

fn sent_reply(address: SocketAddr, result: SendResult) -> SentReply {
    SentReply {
        code: put_code(result.status),
        ids: message_ids(address, &result),
        queue_id: result.queue_id,
        queue_offset: result.queue_offset,
        unique_key: result.unique_key,
    }
}

/// By which any tool finds the message again: address and position, of a batch all of them.
fn message_ids(address: SocketAddr, result: &SendResult) -> MessageIds {
    if result.physical_offsets.is_empty() {
        return MessageIds::One(id::offset_id(address, result.physical_offset));
    }
    let ids: Vec<String> = result.physical_offsets.iter().map(|offset| id::offset_id(address, *offset).to_string()).collect();
    MessageIds::Several(ids.join(","))
}

fn answer_later(broker: &Broker, peer: &Arc<Peer>, request: &RemotingCommand, mut reply: SentReply, due: DueSend) {
    let completion = peer.completion(request);
    let config = Arc::clone(&broker.config);
    due.when_done(move |status| {
        reply.code = put_code(status);
        let (form, opaque) = (completion.serialize_type(), completion.opaque());
        // Many are flushed at once: those of one producer leave in one write, from the thread that flushed them.
        let peer = Arc::clone(completion.peer());
        peer.defer(Box::new(move || completion.answer_with(|replies| reply.write(&config.load(), form, opaque, replies))));
    });
}

/// With what 4.x clients decide by whether to trace; they fail on an answer without any field.
pub(super) fn stamped(refusal: Refusal, config: &BrokerConfig) -> Refusal {
    refusal.with_field(property::MSG_REGION, config.region_id.clone()).with_field(property::TRACE_ON, bool_text(config.trace_on))
}

/// The original's code and text.
pub(super) fn refusal(error: SendError, broker: &Broker, config: &BrokerConfig, peer: &Peer, sending: &SendRequest<'_>) -> Refusal {
    let busy = |why| Refusal::new(response_code::SYSTEM_BUSY, format!("{why}system busy, start flow control for a while"));
    let new = |code, remark: String| Refusal::new(code, remark);
    let topic = &sending.topic;
    let refusal = match error {
        // Before the original makes an answer, or by an exception that nobody catches there: no fields.
        SendError::PageCacheBusy => return busy("[REJECTREQUEST]"),
        SendError::TooManyInFlight => return busy("[OVERLOAD]"),
        // A null pointer in the original, so the text is its own.
        SendError::EmptyBody => return Refusal::system_error("the message body is empty"),
        SendError::NoQueueNums => return super::unreadable(SendFields::QUEUE_NUMS),
        SendError::NoQueue => return Refusal::system_error(format!("topic[{topic}] has no queue to write to")),
        // NumberFormatException, as it is told.
        SendError::DelayLevel(text) => return Refusal::system_error(format!("For input string: \"{text}\"")),
        SendError::BatchIllegal => return Refusal::system_error("the batch cannot be stored: it is too long or damaged"),

        SendError::NotBefore(start_millis) => {
            let until = local_time(start_millis).format("%Y-%m-%d %H:%M:%S,%3f");
            Refusal::system_error(format!("broker unable to service, until {until}"))
        }
        SendError::BrokerForbids => forbidden(config, "sending message is forbidden"),
        SendError::IllegalTopic(remark) => new(response_code::INVALID_PARAMETER, remark),
        SendError::SystemTopic => new(response_code::NO_PERMISSION, format!("Sending message to topic[{topic}] is forbidden.")),
        SendError::NoTopic => new(response_code::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist, apply first please!{}", checks::FAQ)),
        SendError::NoSuchQueue(found) => {
            let (queue_id, found, producer) = (sending.queue_id, checks::topic_text(&found), peer.remote_addr());
            new(response_code::INVALID_PARAMETER, format!("request queueId[{queue_id}] is illegal, {found} Producer: {producer}"))
        }
        SendError::BatchQueue => Refusal::system_error("topics with queue.type=BatchCQ are not served yet"),
        SendError::NoGroup => {
            let group = topic.strip_prefix(topic_names::RETRY_PREFIX).unwrap_or(topic);
            let remark = format!("subscription group not exist, {group} {}", checks::FAQ);
            new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        }
        SendError::NoKey => Refusal::new(response_code::MESSAGE_ILLEGAL, "Required message key is missing"),
        SendError::TransactionsForbidden => forbidden(config, "sending transaction message is forbidden"),
        SendError::Timed => {
            peer.asked_in_vain(coverage::TIMED);
            put_refusal(PutMessageStatus::WheelTimerNotEnable, broker, config)
        }
        SendError::BatchTopicTooLong(characters) => {
            new(response_code::MESSAGE_ILLEGAL, format!("message topic length too long {characters}"))
        }
        SendError::BatchOfRetries => new(response_code::MESSAGE_ILLEGAL, format!("batch request does not support retry group {topic}")),
        SendError::TooManyCold => busy("[OVERLOAD]"),
        SendError::Put(status) => put_refusal(status, broker, config),
    };
    stamped(refusal, config)
}

fn forbidden(config: &BrokerConfig, what: &str) -> Refusal {
    Refusal::new(response_code::NO_PERMISSION, format!("the broker[{}] {what}", config.broker_ip1))
}

/// The four that tell the client that its message is in the log.
fn put_code(status: PutMessageStatus) -> i32 {
    match status {
        PutMessageStatus::FlushDiskTimeout => response_code::FLUSH_DISK_TIMEOUT,
        PutMessageStatus::FlushSlaveTimeout => response_code::FLUSH_SLAVE_TIMEOUT,
        PutMessageStatus::SlaveNotAvailable => response_code::SLAVE_NOT_AVAILABLE,
        _ => response_code::SUCCESS,
    }
}

/// SendMessageProcessor#handlePutMessageResult: the store said no.
pub(super) fn put_refusal(status: PutMessageStatus, broker: &Broker, config: &BrokerConfig) -> Refusal {
    use PutMessageStatus as Status;
    match status {
        Status::InSyncReplicasNotEnough => Refusal::system_error("in-sync replicas not enough"),
        Status::CreateMappedFileFailed => Refusal::system_error("create mapped file failed, server is busy or broken."),
        Status::MessageIllegal | Status::PropertiesSizeExceeded => {
            let limit = config.max_message_size;
            let remark = format!(
                "the message is illegal, maybe msg body or properties length not matched. \
                 msg body length limit {limit}B, msg properties length limit 32KB."
            );
            Refusal::new(response_code::MESSAGE_ILLEGAL, remark)
        }
        Status::WheelTimerMsgIllegal => {
            let limit = i64::from(config.timer_max_delay_sec) * 1_000;
            let remark = format!(
                "timer message illegal, the delay time should not be bigger than the max delay {limit}ms; \
                 or if set del msg, the delay time should be bigger than the current time"
            );
            Refusal::new(response_code::MESSAGE_ILLEGAL, remark)
        }
        Status::WheelTimerFlowControl => Refusal::system_error("timer message is under flow control"),
        Status::WheelTimerNotEnable if config.timer_wheel_enable => {
            Refusal::system_error("accurate timer message is not served yet, though timerWheelEnable is true")
        }
        Status::WheelTimerNotEnable => Refusal::system_error("accurate timer message is not enabled, timerWheelEnable is false"),
        Status::ServiceNotAvailable => {
            let disk = broker.store.disk_use();
            let remark = format!(
                "service not available now. It may be caused by one of the following reasons: \
                 the broker's disk is full [CL: {:5.2} CQ: {:5.2} INDEX: {:5.2}], \
                 messages are put to the slave, message store has been shut down, etc.",
                disk.commit_log, disk.consume_queue, disk.index
            );
            Refusal::new(response_code::SERVICE_NOT_AVAILABLE, remark)
        }
        Status::OsPageCacheBusy => {
            let remark = "[PC_SYNCHRONIZED]broker busy, start flow control for a while";
            Refusal::new(response_code::SYSTEM_BUSY, remark)
        }
        Status::LmqConsumeQueueNumExceeded => {
            let remark = "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded.";
            Refusal::new(response_code::LMQ_QUOTA_EXCEEDED, remark)
        }
        Status::UnknownError => Refusal::system_error("UNKNOWN_ERROR"),
        _ => Refusal::system_error("UNKNOWN_ERROR DEFAULT"),
    }
}
