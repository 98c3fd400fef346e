// SPDX-License-Identifier: Apache-2.0
//! PULL_MESSAGE and LITE_PULL_MESSAGE: find messages, or wait for them.
//!
//! Order of checks follows PullMessageProcessor.java; clients depend on which refusal comes first.
//! Knows nothing of files or sockets. A pull that must wait is handed to `broker/hold` and never holds the connection; a read
//! that would wait for the disk goes to the pool for that.

use std::sync::Arc;

use bytes::Bytes;
use ferrocket_protocol::body::{ConsumeType, MessageModel, SubscriptionGroupConfig};
use ferrocket_protocol::header::{FORBIDDEN_TYPE, PullFields, PullMessageResponseHeader, PullNumbers};
use ferrocket_protocol::{RemotingCommand, perm, request_code, response_code, topic_names};

use super::checks::FAQ;
use super::coverage;
use super::lane::Disk;
use super::reply::{PulledReply, Refusal, Reply};
use crate::broker::Broker;
use crate::broker::consumer_offsets::{Pulled, TopicOffsets};
use crate::broker::filter::Subscription;
use crate::broker::hold::{Piece, Waiter, Waits};
use crate::broker::topics::Topic;
use crate::config::BrokerConfig;
use crate::remoting::{Completion, Peer, Work};
use crate::store::{GET_BYTES_MAX, GetMessage, GetMessageResult, GetMessageStatus};

/// What a NO_PERMISSION is about.
const BROKER_FORBIDDEN: &str = "1";
const GROUP_FORBIDDEN: &str = "2";
const TOPIC_FORBIDDEN: &str = "3";
const BROADCASTING_FORBIDDEN: &str = "4";
const SUBSCRIPTION_FORBIDDEN: &str = "5";

/// A subscription that a pull brought is parsed anew after this time, so that it does not look forgotten.
const PULLED_SUBSCRIPTION_FRESH_MILLIS: i64 = 60_000;
/// Groups that may pull although pulling is refused to clients that only pull.
const TOOL_GROUPS: [&str; 10] = [
    "DEFAULT_CONSUMER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
];

/// What a pull asks for, wherever its names lie.
#[derive(Clone, Copy)]
struct Pull<'a> {
    code: i32,
    group: &'a str,
    topic: &'a str,
    numbers: PullNumbers,
}

/// The subscription that a pull brings along.
#[derive(Clone, Copy)]
struct Stated<'a> {
    expression: Option<&'a str>,
    expression_type: Option<&'a str>,
}

/// Whether this run may end in waiting. Only the first one may, and only the first one commits the offset it carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    First,
    Again,
}

/// A pull that is answered later: it waits for a message, or for the disk.
struct LatePull {
    broker: Arc<Broker>,
    code: i32,
    numbers: PullNumbers,
    /// What the last run went by; the names are there too.
    checked: Checked,
    /// `Again` once it has waited for a message.
    next_run: Run,
    completion: Completion,
    /// It was woken with others, and the next of them wait for it.
    piece: Option<Piece>,
}

/// What the checks have found.
struct Checked {
    tables: TablesSeen,
    group: Arc<SubscriptionGroupConfig>,
    topic: Arc<Topic>,
    offsets: Arc<TopicOffsets>,
    subscription: Arc<Subscription>,
}

/// How often groups and topics had changed before something was looked up in them: while that is so, it is what they have.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TablesSeen {
    groups: u64,
    topics: u64,
}

impl TablesSeen {
    fn now(broker: &Broker) -> Self {
        Self { groups: broker.groups.changes(), topics: broker.topics.changes() }
    }
}

enum Outcome {
    Answer(PulledReply),
    Refused(Refusal),
    /// Nothing there: wait for an arrival.
    Wait,
    /// The bytes are not in memory: read them where that may wait.
    Cold,
}

pub(super) fn process(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let fields = PullFields::read(request).map_err(super::unreadable)?;
    let stated = Stated { expression: fields.subscription, expression_type: fields.expression_type };
    let pull = Pull { code: request.code, group: fields.consumer_group, topic: fields.topic, numbers: fields.numbers };
    let config = broker.config.load();
    let checked = pull.check(broker, peer, &config, stated).map_err(Refusal::with_header)?;
    match pull.search(broker, peer, &config, &checked, Run::First, Disk::MustNotWait) {
        Outcome::Answer(reply) => Ok(Reply::Pulled(reply)),
        Outcome::Refused(refusal) => Err(refusal.with_header()),
        later => {
            let completion = peer.completion(request);
            let (code, numbers) = (pull.code, pull.numbers);
            let late = LatePull { broker: Arc::clone(broker), code, numbers, checked, next_run: Run::First, completion, piece: None };
            Box::new(late).go_on(&config, later);
            Ok(Reply::Later)
        }
    }
}

impl LatePull {
    /// What is left to do once the connection has gone on: wait, read cold data, or answer.
    fn go_on(self: Box<Self>, config: &BrokerConfig, outcome: Outcome) {
        match outcome {
            Outcome::Answer(reply) => reply.answer(self.completion),
            Outcome::Refused(refusal) => self.completion.answer_now(refusal.with_header().into_response()),
            Outcome::Wait => self.wait(config),
            Outcome::Cold => {
                let runtime = self.broker.runtime.clone();
                runtime.spawn_blocking("cold pull", move || {
                    if !self.completion.peer().is_active() {
                        // Nobody is left to whom what the disk has could be given.
                        return;
                    }
                    let config = self.broker.config.load();
                    let outcome = self.search(&config, Disk::MayWait);
                    self.go_on(&config, outcome);
                });
            }
        }
    }

    fn search(&self, config: &BrokerConfig, disk: Disk) -> Outcome {
        let pull = self.pull(&self.checked.offsets);
        pull.search(&self.broker, self.completion.peer(), config, &self.checked, self.next_run, disk)
    }

    fn pull<'a>(&self, names: &'a TopicOffsets) -> Pull<'a> {
        Pull { code: self.code, group: &names.group, topic: &names.topic, numbers: self.numbers }
    }

    fn wait(mut self: Box<Self>, config: &BrokerConfig) {
        self.next_run = Run::Again;
        let broker = Arc::clone(&self.broker);
        let topic = Arc::clone(&self.checked.topic);
        let subscription = Arc::clone(&self.checked.subscription);
        let wakes_on_arrival = config.long_polling_enable;
        let PullNumbers { queue_id, queue_offset, suspend_timeout_millis, .. } = self.numbers;
        let timeout_millis = if wakes_on_arrival { suspend_timeout_millis } else { config.short_polling_time_mills };
        let may_wait = self.completion.peer().may_wait();
        let waiter = Waiter { from_offset: queue_offset, subscription, timeout_millis, wakes_on_arrival, who: self };
        let max_offset = || broker.store.max_offset(&topic.topic_name, queue_id);
        let held = if may_wait { broker.hold.register(&topic.topic_name, queue_id, waiter, max_offset) } else { Err(waiter) };
        if let Err(waiter) = held {
            waiter.who.wake(None);
        }
    }
}

impl Waits for LatePull {
    fn wake(mut self: Box<Self>, piece: Option<Piece>) {
        self.piece = piece;
        let peer = Arc::clone(self.completion.peer());
        peer.defer(self);
    }
}

impl Work for LatePull {
    fn run(mut self: Box<Self>) {
        let _piece = self.piece.take();
        let names = Arc::clone(&self.checked.offsets);
        let broker = Arc::clone(&self.broker);
        let config = broker.config.load();
        let pull = self.pull(&names);
        let peer = Arc::clone(self.completion.peer());
        match pull.check_again(&broker, &peer, &config, &mut self.checked) {
            Ok(()) => {
                let outcome = self.search(&config, Disk::MustNotWait);
                self.go_on(&config, outcome);
            }
            Err(refusal) => self.completion.answer(refusal.with_header().into_response()),
        }
    }
}

impl Pull<'_> {
    /// The whole of a pull but checks and waiting: search, answer.
    fn search(&self, broker: &Broker, peer: &Peer, config: &BrokerConfig, checked: &Checked, run: Run, disk: Disk) -> Outcome {
        match self.find(broker, peer, config, checked, disk) {
            Some(found) if found.would_block => Outcome::Cold,
            Some(found) => self.conclude(broker, peer, config, checked, run, found),
            None => Outcome::Refused(Refusal::system_error("store getMessage return null")),
        }
    }

    /// What the store has, or where an administrator sends the group.
    fn find(&self, broker: &Broker, peer: &Peer, config: &BrokerConfig, checked: &Checked, disk: Disk) -> Option<GetMessageResult> {
        let reader = broker.store.reader(self.topic, self.numbers.queue_id);
        let get = || match disk {
            Disk::MayWait => reader.get_message_blocking(&self.position(peer), &*checked.subscription),
            Disk::MustNotWait => reader.get_message(&self.position(peer), &*checked.subscription),
        };
        if disk == Disk::MustNotWait && !reader.is_loaded() {
            return get();
        }
        let reset = broker.consumer_offsets.take_pending_reset(self.group, self.topic, self.numbers.queue_id);
        match reset.filter(|_| config.use_server_side_reset_offset) {
            Some(offset) => Some(GetMessageResult {
                status: GetMessageStatus::OffsetReset,
                next_begin_offset: offset,
                min_offset: reader.min_offset(),
                max_offset: reader.max_offset(),
                body: Bytes::new(),
                message_count: 0,
                suggest_pulling_from_slave: false,
                would_block: false,
            }),
            None => get(),
        }
    }

    fn position(&self, peer: &Peer) -> GetMessage<'_> {
        GetMessage {
            group: self.group,
            topic: self.topic,
            queue_id: self.numbers.queue_id,
            offset: self.numbers.queue_offset,
            max_count: self.numbers.max_msg_nums,
            // The original ignores the request's maxMsgBytes too. One message comes in any case.
            max_bytes: GET_BYTES_MAX.min(peer.room_bytes()),
        }
    }

    fn check(&self, broker: &Broker, peer: &Peer, config: &BrokerConfig, stated: Stated<'_>) -> Result<Checked, Refusal> {
        self.check_broker(config)?;
        let tables = TablesSeen::now(broker);
        let (group, topic) = self.look_up(broker, peer)?;
        let subscription = match self.numbers.has_subscription() {
            true => self.subscription_of_request(broker, stated)?,
            false => self.subscription_of_heartbeats(broker, &group)?,
        };
        self.check_subscriber(broker, peer, config, &subscription)?;
        let offsets = broker.consumer_offsets.of_or_new(self.group, self.topic);
        Ok(Checked { tables, group, topic, offsets, subscription })
    }

    /// The same for a pull that has waited: only what may have changed is looked up again.
    fn check_again(&self, broker: &Broker, peer: &Peer, config: &BrokerConfig, checked: &mut Checked) -> Result<(), Refusal> {
        self.check_broker(config)?;
        let tables = TablesSeen::now(broker);
        if tables != checked.tables {
            (checked.group, checked.topic) = self.look_up(broker, peer)?;
            checked.offsets = broker.consumer_offsets.of_or_new(self.group, self.topic);
            checked.tables = tables;
        }
        // One that came with the request is what it was.
        if !self.numbers.has_subscription() {
            checked.subscription = self.subscription_of_heartbeats(broker, &checked.group)?;
        }
        self.check_subscriber(broker, peer, config, &checked.subscription)
    }

    fn check_broker(&self, config: &BrokerConfig) -> Result<(), Refusal> {
        if !perm::is_readable(config.broker_permission) {
            let remark = format!("the broker[{}] pulling message is forbidden", config.broker_ip1);
            return Err(no_permission(remark, BROKER_FORBIDDEN));
        }
        if self.code == request_code::LITE_PULL_MESSAGE && !config.lite_pull_message_enable {
            let remark = format!("the broker[{}] for lite pull consumer is forbidden", config.broker_ip1);
            return Err(no_permission(remark, BROKER_FORBIDDEN));
        }
        Ok(())
    }

    /// The group and the topic, if both let it read this queue.
    fn look_up(&self, broker: &Broker, peer: &Peer) -> Result<(Arc<SubscriptionGroupConfig>, Arc<Topic>), Refusal> {
        let group_name = self.group;
        let Some(group) = broker.groups.find(group_name) else {
            let remark = format!("subscription group [{group_name}] does not exist, {FAQ}");
            return Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        if !group.consume_enable {
            return Err(no_permission(format!("subscription group no permission, {group_name}"), GROUP_FORBIDDEN));
        }
        let topic_name = self.topic;
        let Some(topic) = broker.topics.get(topic_name) else {
            let remark = format!("topic[{topic_name}] not exist, apply first please! {FAQ}");
            return Err(Refusal::new(response_code::TOPIC_NOT_EXIST, remark));
        };
        if !perm::is_readable(topic.perm) {
            return Err(no_permission(format!("the topic[{topic_name}] pulling message is forbidden"), TOPIC_FORBIDDEN));
        }
        let queue_id = self.numbers.queue_id;
        if queue_id < 0 || queue_id >= topic.read_queue_nums {
            let remark = format!(
                "queueId[{queue_id}] is illegal, topic:[{topic_name}] topicConfig.readQueueNums:[{}] consumer:[/{}]",
                topic.read_queue_nums,
                peer.remote_addr()
            );
            return Err(Refusal::new(response_code::INVALID_PARAMETER, remark));
        }
        Ok((group, topic))
    }

    fn check_subscriber(&self, broker: &Broker, peer: &Peer, config: &BrokerConfig, subscription: &Subscription) -> Result<(), Refusal> {
        if !subscription.is_tag_type() {
            peer.asked_in_vain(coverage::SQL92);
            let remark = format!("The broker does not support consumer to filter message by {}", subscription.data.expression_type);
            return Err(Refusal::system_error(remark));
        }
        if config.reject_pull_consumer_enable {
            require_heartbeating_puller(broker, peer, self.group)?;
        }
        Ok(())
    }

    fn subscription_of_request(&self, broker: &Broker, stated: Stated<'_>) -> Result<Arc<Subscription>, Refusal> {
        let Stated { expression, expression_type } = stated;
        let now = broker.clock.now_millis();
        let known = broker.consumers.pulled_subscription(self.group, self.topic).filter(|known| {
            known.has_expression(expression, expression_type) && now - known.data.sub_version < PULLED_SUBSCRIPTION_FRESH_MILLIS
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let parsed = Subscription::of_pull(self.topic, expression, expression_type, now).map_err(|why| {
            tracing::debug!(%why, group = self.group, "a pull's subscription cannot be parsed");
            let remark = "parse the consumer's subscription failed";
            Refusal::new(response_code::SUBSCRIPTION_PARSE_FAILED, remark)
        })?;
        let parsed = Arc::new(parsed);
        broker.consumers.remember_pulled(self.group, self.topic, &parsed);
        Ok(parsed)
    }

    fn subscription_of_heartbeats(&self, broker: &Broker, group: &SubscriptionGroupConfig) -> Result<Arc<Subscription>, Refusal> {
        let (group_name, topic) = (self.group, self.topic);
        let Some((mode, subscription)) = broker.consumers.subscription(group_name, topic) else {
            let remark = format!("the consumer's group info not exist{FAQ}");
            return Err(Refusal::new(response_code::SUBSCRIPTION_NOT_EXIST, remark));
        };
        if !group.consume_broadcast_enable && mode.message_model == MessageModel::Broadcasting {
            let remark = format!("the consumer group[{group_name}] can not consume by broadcast way");
            return Err(no_permission(remark, BROADCASTING_FORBIDDEN));
        }
        if broker.groups.is_reading_forbidden(group_name, topic) {
            let remark = format!("the consumer group[{group_name}] is forbidden for topic[{topic}]");
            return Err(no_permission(remark, SUBSCRIPTION_FORBIDDEN));
        }
        let Some(subscription) = subscription else {
            let remark = format!("the consumer's subscription not exist{FAQ}");
            return Err(Refusal::new(response_code::SUBSCRIPTION_NOT_EXIST, remark));
        };
        if subscription.data.sub_version < self.numbers.sub_version {
            let remark = "the consumer's subscription not latest";
            return Err(Refusal::new(response_code::SUBSCRIPTION_NOT_LATEST, remark));
        }
        Ok(subscription)
    }

    /// What the store found, as an answer: DefaultPullMessageResultHandler.java#handle.
    fn conclude(
        &self,
        broker: &Broker,
        peer: &Peer,
        config: &BrokerConfig,
        checked: &Checked,
        run: Run,
        found: GetMessageResult,
    ) -> Outcome {
        let numbers = &self.numbers;
        let code = response_code_of(found.status, numbers.queue_offset);
        let mut pulled = Pulled { next_offset: found.next_begin_offset, ..Pulled::default() };
        if run == Run::First && numbers.commits_offset() && !topic_names::is_system_group(&checked.group.group_name) {
            // As with UPDATE_CONSUMER_OFFSET: what is not in the queue yet nobody has consumed.
            pulled.commit = Some(numbers.commit_offset).filter(|offset| *offset <= found.max_offset.max(0));
        }
        if code == response_code::SUCCESS {
            (pulled.messages, pulled.bytes) = (found.message_count as u64, found.body.len() as u64);
            broker.stats.count_get(pulled.messages);
        }
        broker.consumer_offsets.record_pull(&checked.offsets, numbers.queue_id, &pulled, config.consumer_offset_update_version_step);
        if code == response_code::PULL_NOT_FOUND && run == Run::First && numbers.may_suspend() {
            return Outcome::Wait;
        }
        if code == response_code::PULL_OFFSET_MOVED {
            let (group, topic, queue_id, asked) = (self.group, self.topic, numbers.queue_id, numbers.queue_offset);
            let next = found.next_begin_offset;
            if found.status == GetMessageStatus::OffsetReset {
                tracing::info!(group, topic, queue_id, asked, reset_to = next, peer = %peer, "a consumer is told of its reset offset");
            } else {
                let status = found.status.name();
                tracing::info!(group, topic, queue_id, asked, corrected = next, status, peer = %peer, "a pull asked for an offset that is not there");
            }
        }
        peer.set_priority(found.next_begin_offset < found.max_offset);
        let suggests_slave = config.slave_read_enable && !config.in_broker_container;
        let suggest_which_broker_id = match (suggests_slave, found.suggest_pulling_from_slave) {
            (false, _) => 0,
            (true, true) => checked.group.which_broker_when_consume_slowly,
            (true, false) => checked.group.broker_id,
        };
        let response_header = PullMessageResponseHeader {
            suggest_which_broker_id,
            next_begin_offset: found.next_begin_offset,
            min_offset: found.min_offset,
            max_offset: found.max_offset,
            topic_sys_flag: Some(checked.topic.topic_sys_flag),
            group_sys_flag: Some(checked.group.group_sys_flag),
            ..PullMessageResponseHeader::default()
        };
        // A result that found nothing carries no body.
        let reply = PulledReply { code, status: found.status.name(), header: response_header, body: found.body };
        Outcome::Answer(reply)
    }
}

/// NO_PERMISSION, with what it is about.
fn no_permission(remark: String, forbidden_type: &'static str) -> Refusal {
    Refusal::new(response_code::NO_PERMISSION, remark).with_field(FORBIDDEN_TYPE, forbidden_type)
}

/// `rejectPullConsumerEnable`: only members of a group that heartbeats may pull.
fn require_heartbeating_puller(broker: &Broker, peer: &Peer, group: &str) -> Result<(), Refusal> {
    let pulls_actively = broker.consumers.mode(group).is_none_or(|mode| mode.consume_type == ConsumeType::ConsumeActively);
    if pulls_actively && !broker.consumers.is_member(group, peer) && !TOOL_GROUPS.contains(&group) {
        let remark = format!("the consumer's group info not exist, or the pull consumer is rejected by server.{FAQ}");
        return Err(Refusal::new(response_code::SUBSCRIPTION_NOT_EXIST, remark));
    }
    Ok(())
}

fn response_code_of(status: GetMessageStatus, asked_offset: i64) -> i32 {
    match status {
        GetMessageStatus::Found => response_code::SUCCESS,
        GetMessageStatus::MessageWasRemoving | GetMessageStatus::NoMatchedMessage => response_code::PULL_RETRY_IMMEDIATELY,
        GetMessageStatus::NoMatchedLogicQueue | GetMessageStatus::NoMessageInQueue if asked_offset == 0 => response_code::PULL_NOT_FOUND,
        GetMessageStatus::OffsetFoundNull | GetMessageStatus::OffsetOverflowOne => response_code::PULL_NOT_FOUND,
        GetMessageStatus::NoMatchedLogicQueue
        | GetMessageStatus::NoMessageInQueue
        | GetMessageStatus::OffsetOverflowBadly
        | GetMessageStatus::OffsetTooSmall
        | GetMessageStatus::OffsetReset => response_code::PULL_OFFSET_MOVED,
    }
}
