// SPDX-License-Identifier: Apache-2.0
//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320): check, complete, put, answer.
//!
//! Order of checks follows SendMessageProcessor.java and AbstractSendMessageProcessor#msgCheck; clients depend on which refusal
//! comes first. The client's properties travel as its bytes: what the broker adds is appended, what it takes away is cut out.
//! Knows nothing of files or sockets; a send that waits for the disk leaves a completion.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{BufMut, Bytes};
use ferrocket_protocol::body::topic::{TopicConfig, TopicFilterType, topic_sys_flag};
use ferrocket_protocol::header::send::SendFields;
use ferrocket_protocol::message::{MessageInner, id, property, sys_flag, tags_code};
use ferrocket_protocol::{RemotingCommand, Str, perm, response_code, topic_names, version};

use super::checks;
use super::coverage;
use super::lane::Disk;
use super::reply::{Cold, Place, Refusal, Reply, SentReply, UniqueKey};
use super::send_properties::{Seen, bool_text, copy_client_properties, put_pair, put_together, with_stamp};
use crate::broker::flow_control::FlowControl;
use crate::broker::topics::{Found, Topic};
use crate::broker::transaction::half;
use crate::broker::{Broker, Hosts};
use crate::config::BrokerConfig;
use crate::remoting::Peer;
use crate::runtime::local_time;
use crate::store::{ColdPut, PutMessageStatus, PutResult};

/// Queues of a dead letter topic; the original's DLQ_NUMS_PER_GROUP.
const DLQ_QUEUES: i32 = 1;
/// The longest topic that a batch may go to, in characters.
const BATCH_TOPIC_CHARS_MAX: usize = 127;

pub(super) fn process(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    let header = SendFields::read(request).map_err(super::unreadable)?;
    let config = broker.config.load();
    if disk == Disk::MustNotWait {
        // One that waited for the disk was let in before.
        require_room(broker, &config)?;
    }
    require_body(request)?;
    let hosts = broker.hosts_for(peer);
    let send = Send { broker, config: &config, peer, hosts, request, header, disk };
    send.run().map_err(|refused| match refused {
        // 4.x clients decide by these two whether to trace, and fail on an answer without any field.
        Refused::InWords(refusal) => {
            refusal.with_field(property::MSG_REGION, config.region_id.clone()).with_field(property::TRACE_ON, bool_text(config.trace_on))
        }
        Refused::ByFailure(refusal) => refusal,
    })
}

/// SYSTEM_BUSY before anything else is looked at.
fn require_room(broker: &Broker, config: &BrokerConfig) -> Result<(), Refusal> {
    if broker.store.is_page_cache_busy() {
        let remark = "[REJECTREQUEST]system busy, start flow control for a while";
        return Err(Refusal::new(response_code::SYSTEM_BUSY, remark));
    }
    require_room_in(&broker.flow_control, config)
}

fn require_room_in(flow_control: &FlowControl, config: &BrokerConfig) -> Result<(), Refusal> {
    if !flow_control.has_room(usize::try_from(config.send_thread_pool_queue_capacity).unwrap_or(0)) {
        let remark = "[OVERLOAD]system busy, start flow control for a while";
        return Err(Refusal::new(response_code::SYSTEM_BUSY, remark));
    }
    Ok(())
}

/// An empty body fails in the original by a null pointer, so its text is its own.
fn require_body(request: &RemotingCommand) -> Result<(), Refusal> {
    if request.body.is_empty() {
        return Err(Refusal::system_error("the message body is empty"));
    }
    Ok(())
}

/// How the original says no.
enum Refused {
    /// With an answer that it made for a send.
    InWords(Refusal),
    /// With an exception that nobody caught: SYSTEM_ERROR, and no fields.
    ByFailure(Refusal),
}

/// NumberFormatException, as it is told.
fn not_a_number(text: impl Display) -> Refused {
    Refused::ByFailure(Refusal::system_error(format!("For input string: \"{text}\"")))
}

fn no_queue(topic: &Topic) -> Refused {
    Refused::ByFailure(Refusal::system_error(format!("topic[{}] has no queue to write to", topic.topic_name)))
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::InWords(refusal)
    }
}

struct Send<'a> {
    broker: &'a Arc<Broker>,
    config: &'a BrokerConfig,
    peer: &'a Arc<Peer>,
    hosts: Hosts,
    request: &'a RemotingCommand,
    header: SendFields<'a>,
    disk: Disk,
}

impl Send<'_> {
    fn run(&self) -> Result<Reply, Refused> {
        self.require_accepting()?;
        let found = self.require_topic()?;
        self.require_queue(found.topic())?;
        if self.header.batch { self.run_batch(found) } else { self.run_single(found) }
    }

    /// The operator's `startAcceptSendRequestTimeStamp`.
    fn require_accepting(&self) -> Result<(), Refusal> {
        let start_millis = self.config.start_accept_send_request_time_stamp;
        if start_millis > 0 && self.broker.clock.now_millis() < start_millis {
            let until = local_time(start_millis).format("%Y-%m-%d %H:%M:%S,%3f");
            return Err(Refusal::system_error(format!("broker unable to service, until {until}")));
        }
        Ok(())
    }

    /// AbstractSendMessageProcessor#msgCheck up to the queue. The topic's own permission is not looked at: clients do.
    fn require_topic(&self) -> Result<Found, Refused> {
        let name: &str = &self.header.topic;
        let known = self.broker.topics.get(name);
        if !perm::is_writable(self.config.broker_permission) && known.as_ref().is_some_and(|topic| topic.order) {
            return Err(forbidden(self.config, "sending message is forbidden").into());
        }
        if !known.as_ref().is_some_and(|topic| topic.takes_sends) {
            checks::require_legal_topic_name(name)?;
            self.require_sendable(name)?;
        }
        match known {
            Some(known) => Ok(Found::Existing(known)),
            None => self.create_topic(name),
        }
    }

    fn require_sendable(&self, name: &str) -> Result<(), Refusal> {
        if !topic_names::is_sendable(name) {
            let remark = format!("Sending message to topic[{name}] is forbidden.");
            return Err(Refusal::new(response_code::NO_PERMISSION, remark));
        }
        Ok(())
    }

    fn create_topic(&self, name: &str) -> Result<Found, Refused> {
        let is_retry = name.starts_with(topic_names::RETRY_PREFIX);
        let sys_flag = match (self.header.unit_mode, is_retry) {
            (false, _) => 0,
            (true, true) => topic_sys_flag::UNIT_SUB,
            (true, false) => topic_sys_flag::UNIT,
        };
        let queue_nums = self.header.queue_nums_for_new_topic().map_err(|field| Refused::ByFailure(super::unreadable(field)))?;
        let found = self.broker.topics.find_or_create(
            name,
            self.header.default_topic(),
            queue_nums,
            sys_flag,
            self.config.auto_create_topic_enable,
        );
        match found {
            Some(found) => Ok(found),
            None if is_retry => Ok(self.broker.topics.find_or_create_own(own_topic(name, 1, sys_flag))),
            None => {
                let remark = format!("topic[{name}] not exist, apply first please!{}", checks::FAQ);
                Err(Refusal::new(response_code::TOPIC_NOT_EXIST, remark).into())
            }
        }
    }

    fn require_queue(&self, topic: &Topic) -> Result<(), Refusal> {
        if self.header.queue_id >= topic.queue_count() {
            let remark = format!(
                "request queueId[{}] is illegal, {} Producer: {}",
                self.header.queue_id,
                checks::topic_text(topic),
                self.peer.remote_addr()
            );
            return Err(Refusal::new(response_code::INVALID_PARAMETER, remark));
        }
        if topic.attribute("queue.type") == Some("BatchCQ") {
            return Err(Refusal::system_error("topics with queue.type=BatchCQ are not served yet"));
        }
        Ok(())
    }

    fn queue_id(&self, topic: &Topic) -> Result<i32, Refused> {
        if self.header.queue_id >= 0 {
            return Ok(self.header.queue_id);
        }
        static TURN: AtomicU32 = AtomicU32::new(0);
        match u32::try_from(topic.write_queue_nums) {
            Ok(count) if count > 0 => Ok((TURN.fetch_add(1, Ordering::Relaxed) % count) as i32),
            _ => Err(no_queue(topic)),
        }
    }

    fn run_single(&self, found: Found) -> Result<Reply, Refused> {
        let mut queue_id = self.queue_id(found.topic())?;
        let mut has_new_topic = found.is_created();
        let topic = found.topic();
        let mut counted_elsewhere = None;
        let mut target = Target { name: self.header.topic.clone(), queue_id, multi_tags: is_multi_tag(topic) };
        let client = self.header.properties;
        let seen = Seen::scan(client);
        let mut cut: Vec<&'static str> = Vec::new();

        let is_dead = match self.header.topic.strip_prefix(topic_names::RETRY_PREFIX) {
            Some(group) => match self.dead_letter_topic(group)? {
                Some(dead) => {
                    target = Target { name: Str::copy_from(&dead.topic().topic_name), queue_id: 0, multi_tags: is_multi_tag(dead.topic()) };
                    cut.push(property::DELAY);
                    has_new_topic |= dead.is_created();
                    counted_elsewhere = Some(Arc::clone(dead.topic()));
                    true
                }
                None => false,
            },
            None => false,
        };
        let fresh_key = seen.unique_key.is_none().then(|| self.broker.next_unique_key());
        if seen.lite_topic.is_some() {
            cut.push(property::INNER_MULTI_DISPATCH);
        }
        if let Some(priority) = seen.priority() {
            if seen.is_priority_message() {
                if topic.write_queue_nums <= 0 {
                    return Err(no_queue(topic));
                }
                queue_id = priority.min(topic.write_queue_nums - 1);
                target.queue_id = queue_id;
            } else {
                cut.push(property::PRIORITY);
            }
        }
        let has_keys = seen.keys.is_some_and(|keys| !keys.trim_ascii().is_empty());
        if !has_keys && topic.attribute("cleanup.policy") == Some("COMPACTION") {
            return Err(Refusal::new(response_code::MESSAGE_ILLEGAL, "Required message key is missing").into());
        }
        let reconsume_times = self.header.reconsume_times.unwrap_or(0);
        let delay_level = if is_dead { -1 } else { seen.delay_level().map_err(not_a_number)? };
        let is_half = seen.is_half() && !(reconsume_times > 0 && delay_level > 0);
        if is_half && self.config.reject_transaction_message {
            return Err(forbidden(self.config, "sending transaction message is forbidden").into());
        }
        // Only topics with queue.type=BatchCQ have inner batches.
        if seen.has_inner_number || self.header.sys_flag & sys_flag::INNER_BATCH != 0 {
            return Err(put_refusal(PutMessageStatus::MessageIllegal, self.broker, self.config).into());
        }
        if seen.has_pop_check_point {
            cut.push(property::POP_CK);
        }
        if seen.has_stamp {
            cut.extend([property::MSG_REGION, property::TRACE_ON, property::CLUSTER]);
        }

        let properties = with_stamp(self.config, |stamp| {
            let separator = usize::from(!cut.is_empty() || seen.is_ragged || seen.has_open_end);
            let made_key = if fresh_key.is_some() { MADE_KEY_BYTES } else { 0 };
            // Exact where nothing is cut, so that the buffer needs no second home.
            put_together(client.len() + separator + made_key + stamp.len(), |edited| {
                copy_client_properties(edited, client, &seen, &cut);
                if let Some(key) = &fresh_key {
                    put_pair(edited, property::UNIQ_KEY, key.as_bytes());
                }
                if let Some(lite) = seen.lite_topic {
                    let queue = format!("%LMQ%${}${}", self.header.topic, String::from_utf8_lossy(lite));
                    put_pair(edited, property::INNER_MULTI_DISPATCH, queue.as_bytes());
                }
                if is_dead {
                    put_pair(edited, property::DELAY, b"-1");
                }
                edited.put_slice(stamp);
            })
        });

        let unique_key = match fresh_key {
            Some(key) => UniqueKey::Made(key),
            None => seen.unique_key_in(&properties, cut.is_empty()),
        };
        let mut message = self.message(target, properties);
        message.tags_code = seen.tags.map_or(0, tags_code);
        // Other prepared and rolled back messages are never delayed.
        let kind = sys_flag::transaction_type(message.sys_flag);
        if is_half || matches!(kind, sys_flag::TRANSACTION_NOT | sys_flag::TRANSACTION_COMMIT) {
            // A half message is delayed when it is committed: the original delays the half message itself, and loses it.
            if delay_level > 0 && !is_half {
                self.broker.schedule.delay(&mut message, delay_level);
                counted_elsewhere = self.broker.topics.get(topic_names::SCHEDULE).or(counted_elsewhere);
            } else if seen.is_timer() {
                self.peer.asked_in_vain(coverage::TIMED);
                return Err(put_refusal(PutMessageStatus::WheelTimerNotEnable, self.broker, self.config).into());
            }
        }
        if is_half {
            half::prepare(&mut message, unique_key.bytes());
            counted_elsewhere = self.broker.topics.get(topic_names::TRANS_HALF).or(counted_elsewhere);
        }
        let Broker { store, transactions, .. } = &**self.broker;
        let put = match self.disk {
            // The half queue was loaded at the start.
            _ if is_half => Ok(transactions.put_half(&message)),
            Disk::MustNotWait => store.put_message_at_once(&message),
            Disk::MayWait => Ok(store.put_message(&message)),
        };
        match put {
            Ok(put) => {
                let counted = counted_elsewhere.as_ref().unwrap_or(topic);
                self.settle(put, counted, Sent { queue_id, unique_key, has_new_topic })
            }
            Err(cold) => self.leave_to_disk(cold, has_new_topic),
        }
    }

    /// SendMessageProcessor#sendBatchMessage: the messages keep their own properties and nothing is added to them.
    fn run_batch(&self, found: Found) -> Result<Reply, Refused> {
        let topic = found.topic();
        let queue_id = self.queue_id(topic)?;
        let name: &str = &self.header.topic;
        let characters = name.encode_utf16().count();
        if characters > BATCH_TOPIC_CHARS_MAX {
            let remark = format!("message topic length too long {characters}");
            return Err(Refusal::new(response_code::MESSAGE_ILLEGAL, remark).into());
        }
        if name.starts_with(topic_names::RETRY_PREFIX) {
            let remark = format!("batch request does not support retry group {name}");
            return Err(Refusal::new(response_code::MESSAGE_ILLEGAL, remark).into());
        }
        let client = self.header.properties;
        let properties = put_together(client.len(), |copy| copy.put_slice(client));
        let unique_key = Seen::scan(client).unique_key_in(&properties, true);
        let target = Target { name: self.header.topic.clone(), queue_id, multi_tags: is_multi_tag(topic) };
        let message = self.message(target, properties);
        let store = &self.broker.store;
        let put = match self.disk {
            Disk::MustNotWait => store.put_messages_at_once(&message),
            Disk::MayWait => Ok(store.put_messages(&message)),
        };
        let put = match put {
            Ok(put) => put,
            Err(cold) => return self.leave_to_disk(cold, found.is_created()),
        };
        if put.status == PutMessageStatus::UnknownError {
            // Too long as a whole, or not a batch.
            self.announce_if(found.is_created());
            return Err(Refused::ByFailure(Refusal::system_error("the batch cannot be stored: it is too long or damaged")));
        }
        self.settle(put, topic, Sent { queue_id, unique_key, has_new_topic: found.is_created() })
    }

    fn message(&self, target: Target, properties: Bytes) -> MessageInner {
        MessageInner {
            topic: target.name,
            queue_id: target.queue_id,
            flag: self.header.flag,
            sys_flag: self.header.sys_flag | if target.multi_tags { sys_flag::MULTI_TAGS } else { 0 },
            born_timestamp: self.header.born_timestamp,
            born_host: self.peer.remote_addr(),
            store_host: self.hosts.store,
            reconsume_times: self.header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: self.request.body.clone(),
            properties,
            tags_code: 0,
        }
    }

    /// The dead letter topic of a retry that was tried too often, or whose group consumes in order just now.
    fn dead_letter_topic(&self, group: &str) -> Result<Option<Found>, Refusal> {
        let Some(group_config) = self.broker.groups.find(group) else {
            let remark = format!("subscription group not exist, {group} {}", checks::FAQ);
            return Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        let asked_max = self.header.max_reconsume_times.filter(|_| self.request.version >= version::V3_4_9);
        let max = asked_max.unwrap_or(group_config.retry_max_times);
        let is_spent = self.header.reconsume_times.unwrap_or(0) > max;
        if !is_spent && self.broker.rebalance_locks.is_lock_all_expired(group) {
            return Ok(None);
        }
        let name = topic_names::dlq_topic(group);
        Ok(Some(self.broker.topics.find_or_create_own(own_topic(&name, DLQ_QUEUES, 0))))
    }

    /// The store's answer becomes ours: at once, or when the disk or the name servers have what the answer promises. `counted` is where the
    /// message really went: for a delayed one the schedule topic, as the original counts it.
    fn settle(&self, put: PutResult, counted: &Topic, sent: Sent) -> Result<Reply, Refused> {
        if !put.status.is_stored() {
            self.announce_if(sent.has_new_topic);
            if put.status == PutMessageStatus::ServiceNotAvailable && self.disk == Disk::MustNotWait {
                // The remark says how full the disks are.
                return Ok(Reply::WouldBlock(Cold::Read));
            }
            return Err(put_refusal(put.status, self.broker, self.config).into());
        }
        self.broker.count_put(counted, put.message_count as u64, put.record_bytes as u64);
        if self.request.is_oneway() {
            self.broker.store.flush_soon(&put);
            self.announce_if(sent.has_new_topic);
            return Ok(Reply::Silent);
        }
        let reply = SentReply {
            code: put_code(put.status),
            place: place(self.hosts.for_peer, &put),
            queue_id: sent.queue_id,
            queue_offset: put.queue_offset,
            unique_key: sent.unique_key,
        };
        let waits_for_disk = put.needs_wait();
        if !waits_for_disk && !sent.has_new_topic {
            return Ok(Reply::Sent(reply));
        }
        self.answer_later(put, reply, waits_for_disk, sent.has_new_topic);
        Ok(Reply::Later)
    }

    /// The queue has to be loaded first: the send is served again when the disk was asked.
    fn leave_to_disk(&self, cold: ColdPut, has_new_topic: bool) -> Result<Reply, Refused> {
        // The next time the topic is there.
        self.announce_if(has_new_topic);
        let flow_control = &self.broker.cold_flow_control;
        require_room_in(flow_control, self.config)?;
        Ok(Reply::WouldBlock(Cold::Send(cold, flow_control.enter(self.request.body.len()))))
    }

    fn announce_if(&self, has_new_topic: bool) {
        if has_new_topic {
            self.broker.announce();
        }
    }

    fn answer_later(&self, put: PutResult, mut reply: SentReply, waits_for_disk: bool, has_new_topic: bool) {
        let in_flight = self.broker.flow_control.enter(self.request.body.len());
        let completion = self.peer.completion(self.request);
        let broker = Arc::clone(self.broker);
        let config = Arc::clone(&broker.config);
        let done = move |status: PutMessageStatus| {
            reply.code = put_code(status);
            let answer = move || {
                drop(in_flight);
                let (form, opaque) = (completion.serialize_type(), completion.opaque());
                // Many are flushed at once: those of one producer leave in one write, from the thread that flushed them.
                let peer = Arc::clone(completion.peer());
                peer.defer(Box::new(move || completion.answer_with(|replies| reply.write(&config.load(), form, opaque, replies))));
            };
            if has_new_topic && status != PutMessageStatus::PutOk {
                // The disk may not answer for long.
                broker.announce();
                answer();
            } else if has_new_topic {
                // The message is stored; its topic is written as soon as it can be.
                broker.announce_then(|_| answer());
            } else {
                answer();
            }
        };
        if waits_for_disk {
            self.broker.store.when_durable(&put, Box::new(done));
        } else {
            done(put.status);
        }
    }
}

/// A unique key that the broker made, as a property: name, value, two separators.
const MADE_KEY_BYTES: usize = property::UNIQ_KEY.len() + id::ID_V6_LENGTH + 2;

struct Target {
    name: Str,
    queue_id: i32,
    multi_tags: bool,
}

/// What the answer to a stored message says of the send.
struct Sent {
    /// The queue that the client is told.
    queue_id: i32,
    unique_key: UniqueKey,
    /// A topic was made for this send.
    has_new_topic: bool,
}

fn is_multi_tag(topic: &Topic) -> bool {
    topic.topic_filter_type == TopicFilterType::MultiTag
}

/// A topic that the broker makes for itself.
fn own_topic(name: &str, queues: i32, sys_flag: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: perm::READ_WRITE,
        topic_sys_flag: sys_flag,
        ..TopicConfig::default()
    }
}

/// The id by which any tool finds the message again: address and position, of a batch all of them.
fn place(address: SocketAddr, put: &PutResult) -> Place {
    if put.physical_offsets.is_empty() {
        return Place::One(id::offset_id(address, put.physical_offset));
    }
    let ids: Vec<String> = put.physical_offsets.iter().map(|offset| id::offset_id(address, *offset).to_string()).collect();
    Place::Several(ids.join(","))
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
