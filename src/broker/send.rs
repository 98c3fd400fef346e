// SPDX-License-Identifier: Apache-2.0
//! Sending: check, complete, put. Typed in, typed out, whoever asks and whatever he speaks.
//!
//! Order of checks follows SendMessageProcessor.java and AbstractSendMessageProcessor#msgCheck; clients depend on which refusal comes
//! first. The client's properties travel as its bytes: what the broker adds is appended, what it takes away is cut out. Knows no
//! connection and no answer: a send that waits for the disk or the name servers is left with whoever asked (`DueSend`).

mod properties;
pub mod reply;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{BufMut, Bytes};
use ferrocket_protocol::body::topic::{TopicConfig, TopicFilterType, topic_sys_flag};
use ferrocket_protocol::message::id::Id;
use ferrocket_protocol::message::{MessageInner, id, property, sys_flag, tags_code};
use ferrocket_protocol::{Str, perm, topic_names};

use self::properties::{Seen, copy_client_properties, put_pair, put_together, with_stamp};
use super::flow_control::{FlowControl, InFlight};
use super::topics::{FoundTopic, Topic};
use super::transaction::half;
use super::{Broker, Disk};
use crate::config::BrokerConfig;
use crate::store::{ColdPut, PutMessageStatus, PutResult};

/// Queues of a dead letter topic; the original's DLQ_NUMS_PER_GROUP.
pub const DLQ_QUEUES: i32 = 1;
/// The longest topic that a batch may go to, in characters.
const BATCH_TOPIC_CHARS_MAX: usize = 127;

/// One message that a client sends, or a batch of them.
#[derive(Clone, Debug)]
pub struct SendRequest<'a> {
    pub topic: Str,
    pub new_topic: NewTopic<'a>,
    /// Below 0 the broker takes the topic's queues in turn.
    pub queue_id: i32,
    /// Of a batch: the messages, each with its own properties.
    pub body: &'a Bytes,
    /// Name, value and separators as they are stored.
    pub properties: &'a [u8],
    pub flag: i32,
    pub sys_flag: i32,
    /// When the client made it, in milliseconds of its clock.
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    /// `Broker::store_host`, which whoever asks has at hand for the answer.
    pub store_host: SocketAddr,
    /// How often a message of a retry topic was tried.
    pub reconsume_times: i32,
    /// After so many tries it goes to the dead letters; `None`: as the group has it.
    pub max_reconsume_times: Option<i32>,
    pub is_batch: bool,
    /// Nobody waits for an answer.
    pub is_oneway: bool,
    pub disk: Disk,
}

/// How a topic is made that is not there.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    /// The name of the topic that it is made like; of bytes that are no text there is none.
    pub like: &'a [u8],
    /// Without a number none is made.
    pub queue_nums: Option<i32>,
    pub unit_mode: bool,
}

/// What came of a send.
#[derive(Debug)]
pub enum Sent {
    /// The message is in the log, and on the disk as far as the configuration wants that.
    Stored(SendResult),
    /// It is in the log; the answer is due when `DueSend::when_done` says so.
    Later(SendResult, DueSend),
    /// It is in the log, and nobody wants to hear of it.
    Oneway,
    /// Nothing was done. What has to be known is on the disk: to be sent again with `Disk::MayWait`.
    WouldBlock,
    /// Nothing was done, the queue is not loaded: to be sent again with `Disk::MayWait`. Later sends to it keep behind this one.
    ColdQueue(ColdPut, InFlight),
}

/// A message in the log.
#[derive(Debug)]
pub struct SendResult {
    /// One for which `PutMessageStatus::is_stored` is true.
    pub status: PutMessageStatus,
    /// Where in the log the (first) message begins.
    pub physical_offset: i64,
    /// Of each message of a batch; empty for a single one.
    pub physical_offsets: Vec<i64>,
    /// The queue that the client is told: of a delayed or a half message the one that it is meant for.
    pub queue_id: i32,
    /// Of the (first) message in the queue that it was really put into.
    pub queue_offset: i64,
    pub unique_key: UniqueKey,
}

/// The client's name for a message, or the one that the broker gave it.
#[derive(Debug)]
pub enum UniqueKey {
    Client(Bytes),
    Made(Id),
    None,
}

impl UniqueKey {
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Client(key) => Some(key),
            Self::Made(key) => Some(key.as_bytes()),
            Self::None => None,
        }
    }
}

/// Why a message is not in the log. In the order in which it is looked for.
#[derive(Debug)]
pub enum SendError {
    /// The log's lock was held too long a moment ago.
    PageCacheBusy,
    /// As many sends wait as may.
    TooManyInFlight,
    EmptyBody,
    /// Before `startAcceptSendRequestTimeStamp`, in milliseconds.
    NotBefore(i64),
    /// The broker's permission forbids it, and the topic is ordered.
    BrokerForbids,
    /// In the words of `topic_names::validate_topic`.
    IllegalTopic(String),
    SystemTopic,
    NoQueueNums,
    NoTopic,
    NoSuchQueue(Arc<Topic>),
    /// queue.type=BatchCQ is not served.
    BatchQueue,
    /// The topic has no queue to write to.
    NoQueue,
    /// Of a retry topic.
    NoGroup,
    NoKey,
    /// The text that is no number.
    DelayLevel(String),
    TransactionsForbidden,
    /// It has a time to be delivered at, which is not served.
    Timed,
    /// So many characters, more than a batch's topic may have.
    BatchTopicTooLong(usize),
    BatchOfRetries,
    /// Too long as a whole, or not a batch.
    BatchIllegal,
    /// As many sends wait for queues to be loaded as may.
    TooManyCold,
    /// The store said no.
    Put(PutMessageStatus),
}

/// Sends; `config` is what the answer goes by, too. `Err`: nothing is in the log.
pub fn send(broker: &Arc<Broker>, config: &BrokerConfig, request: &SendRequest<'_>) -> Result<Sent, SendError> {
    if request.disk == Disk::MustNotWait {
        // One that waited for the disk was let in before.
        require_room(broker, config)?;
    }
    if request.body.is_empty() {
        return Err(SendError::EmptyBody);
    }
    Sending { broker, config, request }.run()
}

fn require_room(broker: &Broker, config: &BrokerConfig) -> Result<(), SendError> {
    if broker.store.is_page_cache_busy() {
        return Err(SendError::PageCacheBusy);
    }
    if has_room(&broker.flow_control, config) { Ok(()) } else { Err(SendError::TooManyInFlight) }
}

fn has_room(flow_control: &FlowControl, config: &BrokerConfig) -> bool {
    flow_control.has_room(usize::try_from(config.send_thread_pool_queue_capacity).unwrap_or(0))
}

struct Sending<'a> {
    broker: &'a Arc<Broker>,
    config: &'a BrokerConfig,
    request: &'a SendRequest<'a>,
}

impl Sending<'_> {
    fn run(&self) -> Result<Sent, SendError> {
        let found = self.admit()?;
        if self.request.is_batch { self.run_batch(found) } else { self.run_single(found) }
    }

    /// What a reply is checked for, too.
    fn admit(&self) -> Result<FoundTopic, SendError> {
        self.require_accepting()?;
        let found = self.require_topic()?;
        self.require_queue(found.topic())?;
        Ok(found)
    }

    /// The operator's `startAcceptSendRequestTimeStamp`.
    fn require_accepting(&self) -> Result<(), SendError> {
        let start_millis = self.config.start_accept_send_request_time_stamp;
        if start_millis > 0 && self.broker.clock.now_millis() < start_millis {
            return Err(SendError::NotBefore(start_millis));
        }
        Ok(())
    }

    /// AbstractSendMessageProcessor#msgCheck up to the queue. The topic's own permission is not looked at: clients do.
    fn require_topic(&self) -> Result<FoundTopic, SendError> {
        let name: &str = &self.request.topic;
        let known = self.broker.topics.get(name);
        if !perm::is_writable(self.config.broker_permission) && known.as_ref().is_some_and(|topic| topic.order) {
            return Err(SendError::BrokerForbids);
        }
        if !known.as_ref().is_some_and(|topic| topic.takes_sends) {
            topic_names::validate_topic(name).map_err(SendError::IllegalTopic)?;
            if !topic_names::is_sendable(name) {
                return Err(SendError::SystemTopic);
            }
        }
        match known {
            Some(known) => Ok(FoundTopic::Existing(known)),
            None => self.create_topic(name),
        }
    }

    fn create_topic(&self, name: &str) -> Result<FoundTopic, SendError> {
        let NewTopic { like, queue_nums, unit_mode } = self.request.new_topic;
        let is_retry = name.starts_with(topic_names::RETRY_PREFIX);
        let sys_flag = match (unit_mode, is_retry) {
            (false, _) => 0,
            (true, true) => topic_sys_flag::UNIT_SUB,
            (true, false) => topic_sys_flag::UNIT,
        };
        // No topic has such a name.
        let like = std::str::from_utf8(like).unwrap_or("\u{FFFD}");
        let queue_nums = queue_nums.ok_or(SendError::NoQueueNums)?;
        let topics = &self.broker.topics;
        match topics.find_or_create(name, like, queue_nums, sys_flag, self.config.auto_create_topic_enable) {
            Some(found) => Ok(found),
            None if is_retry => topics.find_or_create_own(own_topic(name, 1, sys_flag)).ok_or(SendError::NoTopic),
            None => Err(SendError::NoTopic),
        }
    }

    fn require_queue(&self, topic: &Arc<Topic>) -> Result<(), SendError> {
        if self.request.queue_id >= topic.queue_count() {
            return Err(SendError::NoSuchQueue(Arc::clone(topic)));
        }
        if topic.attribute("queue.type") == Some("BatchCQ") {
            return Err(SendError::BatchQueue);
        }
        Ok(())
    }

    fn queue_id(&self, topic: &Topic) -> Result<i32, SendError> {
        if self.request.queue_id >= 0 {
            return Ok(self.request.queue_id);
        }
        static TURN: AtomicU32 = AtomicU32::new(0);
        match u32::try_from(topic.write_queue_nums) {
            Ok(count) if count > 0 => Ok((TURN.fetch_add(1, Ordering::Relaxed) % count) as i32),
            _ => Err(SendError::NoQueue),
        }
    }

    fn run_single(&self, found: FoundTopic) -> Result<Sent, SendError> {
        let mut queue_id = self.queue_id(found.topic())?;
        let mut has_new_topic = found.is_created();
        let topic = found.topic();
        let mut counted_elsewhere = None;
        let mut target = Target { name: self.request.topic.clone(), queue_id, multi_tags: is_multi_tag(topic) };
        let client = self.request.properties;
        let seen = Seen::scan(client);
        let mut cut: Vec<&'static str> = Vec::new();

        let is_dead = match self.request.topic.strip_prefix(topic_names::RETRY_PREFIX) {
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
                    return Err(SendError::NoQueue);
                }
                queue_id = priority.min(topic.write_queue_nums - 1);
                target.queue_id = queue_id;
            } else {
                cut.push(property::PRIORITY);
            }
        }
        let has_keys = seen.keys.is_some_and(|keys| !keys.trim_ascii().is_empty());
        if !has_keys && topic.attribute("cleanup.policy") == Some("COMPACTION") {
            return Err(SendError::NoKey);
        }
        let delay_level = if is_dead { -1 } else { seen.delay_level().map_err(|text| SendError::DelayLevel(text.into_owned()))? };
        let is_half = seen.is_half() && !(self.request.reconsume_times > 0 && delay_level > 0);
        if is_half && self.config.reject_transaction_message {
            return Err(SendError::TransactionsForbidden);
        }
        // Only topics with queue.type=BatchCQ have inner batches.
        if seen.has_inner_number || self.request.sys_flag & sys_flag::INNER_BATCH != 0 {
            return Err(SendError::Put(PutMessageStatus::MessageIllegal));
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
                    let queue = format!("%LMQ%${}${}", self.request.topic, String::from_utf8_lossy(lite));
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
                return Err(SendError::Timed);
            }
        }
        if is_half {
            half::prepare(&mut message, unique_key.bytes());
            counted_elsewhere = self.broker.topics.get(topic_names::TRANS_HALF).or(counted_elsewhere);
        }
        let Broker { store, transactions, .. } = &**self.broker;
        let put = match self.request.disk {
            // The half queue was loaded at the start.
            _ if is_half => Ok(transactions.put_half(&message)),
            Disk::MustNotWait => store.put_message_at_once(&message),
            Disk::MayWait => Ok(store.put_message(&message)),
        };
        match put {
            Ok(put) => {
                let counted = counted_elsewhere.as_ref().unwrap_or(topic);
                self.settle(put, counted, queue_id, unique_key, has_new_topic)
            }
            Err(cold) => self.leave_to_disk(cold, has_new_topic),
        }
    }

    /// SendMessageProcessor#sendBatchMessage: the messages keep their own properties and nothing is added to them.
    fn run_batch(&self, found: FoundTopic) -> Result<Sent, SendError> {
        let topic = found.topic();
        let queue_id = self.queue_id(topic)?;
        let name: &str = &self.request.topic;
        let characters = name.encode_utf16().count();
        if characters > BATCH_TOPIC_CHARS_MAX {
            return Err(SendError::BatchTopicTooLong(characters));
        }
        if name.starts_with(topic_names::RETRY_PREFIX) {
            return Err(SendError::BatchOfRetries);
        }
        let client = self.request.properties;
        let properties = put_together(client.len(), |copy| copy.put_slice(client));
        let unique_key = Seen::scan(client).unique_key_in(&properties, true);
        let target = Target { name: self.request.topic.clone(), queue_id, multi_tags: is_multi_tag(topic) };
        let message = self.message(target, properties);
        let store = &self.broker.store;
        let put = match self.request.disk {
            Disk::MustNotWait => store.put_messages_at_once(&message),
            Disk::MayWait => Ok(store.put_messages(&message)),
        };
        let put = match put {
            Ok(put) => put,
            Err(cold) => return self.leave_to_disk(cold, found.is_created()),
        };
        if put.status == PutMessageStatus::UnknownError {
            self.announce_if(found.is_created());
            return Err(SendError::BatchIllegal);
        }
        self.settle(put, topic, queue_id, unique_key, found.is_created())
    }

    fn message(&self, target: Target, properties: Bytes) -> MessageInner {
        MessageInner {
            topic: target.name,
            queue_id: target.queue_id,
            flag: self.request.flag,
            sys_flag: self.request.sys_flag | if target.multi_tags { sys_flag::MULTI_TAGS } else { 0 },
            born_timestamp: self.request.born_timestamp,
            born_host: self.request.born_host,
            store_host: self.request.store_host,
            reconsume_times: self.request.reconsume_times,
            prepared_transaction_offset: 0,
            body: self.request.body.clone(),
            properties,
            tags_code: 0,
        }
    }

    /// The dead letter topic of a retry that was tried too often, or whose group consumes in order just now.
    fn dead_letter_topic(&self, group: &str) -> Result<Option<FoundTopic>, SendError> {
        let group_config = self.broker.groups.find(group).ok_or(SendError::NoGroup)?;
        let max = self.request.max_reconsume_times.unwrap_or(group_config.retry_max_times);
        let is_spent = self.request.reconsume_times > max;
        if !is_spent && self.broker.rebalance_locks.is_lock_all_expired(group) {
            return Ok(None);
        }
        let name = topic_names::dlq_topic(group);
        self.broker.topics.find_or_create_own(own_topic(&name, DLQ_QUEUES, 0)).ok_or(SendError::NoTopic).map(Some)
    }

    /// The store's answer becomes ours: at once, or when the disk or the name servers have what the answer promises. `counted` is where the
    /// message really went: for a delayed one the schedule topic, as the original counts it.
    fn settle(
        &self,
        mut put: PutResult,
        counted: &Topic,
        queue_id: i32,
        unique_key: UniqueKey,
        has_new_topic: bool,
    ) -> Result<Sent, SendError> {
        if !put.status.is_stored() {
            self.announce_if(has_new_topic);
            if put.status == PutMessageStatus::ServiceNotAvailable && self.request.disk == Disk::MustNotWait {
                // Whoever refuses says how full the disks are.
                return Ok(Sent::WouldBlock);
            }
            return Err(SendError::Put(put.status));
        }
        self.broker.count_put(counted, put.message_count as u64, put.record_bytes as u64);
        if self.request.is_oneway {
            self.broker.store.flush_soon(&put);
            self.announce_if(has_new_topic);
            return Ok(Sent::Oneway);
        }
        let result = SendResult {
            status: put.status,
            physical_offset: put.physical_offset,
            physical_offsets: std::mem::take(&mut put.physical_offsets),
            queue_id,
            queue_offset: put.queue_offset,
            unique_key,
        };
        if !put.needs_wait() && !has_new_topic {
            return Ok(Sent::Stored(result));
        }
        let in_flight = self.broker.flow_control.enter(self.request.body.len());
        Ok(Sent::Later(result, DueSend { broker: Arc::clone(self.broker), put, has_new_topic, in_flight }))
    }

    /// The queue has to be loaded first.
    fn leave_to_disk(&self, cold: ColdPut, has_new_topic: bool) -> Result<Sent, SendError> {
        // The next time the topic is there.
        self.announce_if(has_new_topic);
        let flow_control = &self.broker.cold_flow_control;
        if !has_room(flow_control, self.config) {
            return Err(SendError::TooManyCold);
        }
        Ok(Sent::ColdQueue(cold, flow_control.enter(self.request.body.len())))
    }

    fn announce_if(&self, has_new_topic: bool) {
        if has_new_topic {
            self.broker.announce();
        }
    }
}

/// A message in the log whose answer promises more: that the disk has it, or that the name servers know its topic.
#[derive(Debug)]
#[must_use = "whoever sent it waits for the answer"]
pub struct DueSend {
    broker: Arc<Broker>,
    put: PutResult,
    has_new_topic: bool,
    in_flight: InFlight,
}

impl DueSend {
    /// Calls `then` with what the answer is to say, on whichever thread brings it about.
    pub fn when_done(self, then: impl FnOnce(PutMessageStatus) + Send + 'static) {
        let Self { broker, put, has_new_topic, in_flight } = self;
        let store = Arc::clone(&broker.store);
        let done = move |status: PutMessageStatus| {
            let answer = move || {
                drop(in_flight);
                then(status);
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
        if put.needs_wait() {
            store.when_durable(&put, Box::new(done));
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
