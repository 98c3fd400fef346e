// SPDX-License-Identifier: Apache-2.0
//! PULL_MESSAGE and LITE_PULL_MESSAGE: find messages, or wait for them.
//!
//! Order of checks follows PullMessageProcessor.java; clients depend on which refusal comes first.
//! Knows nothing of files or sockets. A pull that must wait is handed to `broker/hold` and never holds the connection; a read
//! that would wait for the disk goes to the pool for that.

use std::sync::Arc;

use bytes::Bytes;
use ferrocket_protocol::body::{ConsumeType, MessageModel, SubscriptionGroupConfig};
use ferrocket_protocol::header::{FORBIDDEN_TYPE, PullMessageRequestHeader, PullMessageResponseHeader};
use ferrocket_protocol::{RemotingCommand, perm, request_code, response_code};

use super::checks::FAQ;
use super::lane::Disk;
use super::reply::{PulledReply, Refusal, Reply};
use crate::broker::Broker;
use crate::broker::consumer_offsets::Pulled;
use crate::broker::filter::Subscription;
use crate::broker::hold::{Waiter, Waits};
use crate::broker::topics::Topic;
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

/// What stays of a request that may be answered later.
#[derive(Debug)]
struct Pull {
    code: i32,
    header: PullMessageRequestHeader,
}

/// Whether this run may end in waiting. Only the first one may, and only the first one commits the offset it carries.
#[derive(Clone, Copy)]
enum Run<'a> {
    First,
    /// With what the first one went by.
    Again(&'a Arc<Subscription>),
}

impl Run<'_> {
    fn is_first(self) -> bool {
        matches!(self, Run::First)
    }
}

/// A pull that is answered later: it waits for a message, or for the disk.
struct LatePull {
    broker: Arc<Broker>,
    pull: Pull,
    completion: Completion,
    /// Once it has waited for a message.
    subscription: Option<Arc<Subscription>>,
}

/// A pull that passed all checks.
struct Checked {
    group: Arc<SubscriptionGroupConfig>,
    topic: Arc<Topic>,
    subscription: Arc<Subscription>,
}

/// Where a run ends.
enum Outcome {
    Answer(PulledReply),
    /// The store is shut down.
    Refused(Refusal),
    /// Nothing there yet, and the client is willing to wait.
    Wait(Checked),
    /// What is there has to be read from the disk.
    Cold(Checked),
}

pub(super) fn process(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let pull = Pull { code: request.code, header: request.header()? };
    match pull.run(broker, peer, Run::First).map_err(Refusal::with_header)? {
        Outcome::Answer(reply) => Ok(Reply::Pulled(reply)),
        Outcome::Refused(refusal) => Err(refusal.with_header()),
        later => {
            let pull = Pull { header: pull.header.detached(), ..pull };
            let late = LatePull { broker: Arc::clone(broker), pull, completion: peer.completion(request), subscription: None };
            Box::new(late).go_on(later);
            Ok(Reply::Later)
        }
    }
}

impl LatePull {
    /// What is left to do once the connection has gone on: wait, read cold data, or answer.
    fn go_on(self: Box<Self>, outcome: Outcome) {
        match outcome {
            Outcome::Answer(reply) => reply.answer(self.completion),
            Outcome::Refused(refusal) => self.completion.answer_now(refusal.with_header().into_response()),
            Outcome::Wait(checked) => self.wait(checked),
            Outcome::Cold(checked) => {
                let runtime = self.broker.runtime.clone();
                runtime.spawn_blocking("cold pull", move || {
                    let found = self.pull.find(&self.broker, &checked, Disk::MayWait);
                    let outcome = self.pull.conclude(&self.broker, self.completion.peer(), self.next_run(), checked, found);
                    self.go_on(outcome);
                });
            }
        }
    }

    fn next_run(&self) -> Run<'_> {
        self.subscription.as_ref().map_or(Run::First, Run::Again)
    }

    fn wait(mut self: Box<Self>, Checked { topic, subscription, .. }: Checked) {
        self.subscription = Some(Arc::clone(&subscription));
        let broker = Arc::clone(&self.broker);
        let config = broker.config.load();
        let wakes_on_arrival = config.long_polling_enable;
        let header = &self.pull.header;
        let (queue_id, from_offset) = (header.queue_id, header.queue_offset);
        let timeout_millis = if wakes_on_arrival { header.suspend_timeout_millis } else { config.short_polling_time_mills };
        let waiter = Waiter { from_offset, subscription, timeout_millis, wakes_on_arrival, who: self };
        if let Err(waiter) =
            broker.hold.register(&topic.topic_name, queue_id, waiter, || broker.store.max_offset(&topic.topic_name, queue_id))
        {
            waiter.who.wake();
        }
    }
}

impl Waits for LatePull {
    fn wake(self: Box<Self>) {
        let peer = Arc::clone(self.completion.peer());
        peer.run_soon(self);
    }
}

impl Work for LatePull {
    fn run(self: Box<Self>) {
        match self.pull.run(&self.broker, self.completion.peer(), self.next_run()) {
            Ok(outcome) => self.go_on(outcome),
            Err(refusal) => self.completion.answer(refusal.with_header().into_response()),
        }
    }
}

impl Pull {
    /// The whole of a pull but waiting: checks, search, answer.
    fn run(&self, broker: &Arc<Broker>, peer: &Arc<Peer>, run: Run<'_>) -> Result<Outcome, Refusal> {
        let checked = self.check(broker, peer, run)?;
        match self.find(broker, &checked, Disk::MustNotWait) {
            Some(found) if found.would_block => Ok(Outcome::Cold(checked)),
            found => Ok(self.conclude(broker, peer, run, checked, found)),
        }
    }

    /// What the store has, or where an administrator sends the group.
    fn find(&self, broker: &Broker, checked: &Checked, disk: Disk) -> Option<GetMessageResult> {
        let header = &self.header;
        let reader = broker.store.reader(&header.topic, header.queue_id);
        let get = || match disk {
            Disk::MayWait => reader.get_message_blocking(&self.position(), &*checked.subscription),
            Disk::MustNotWait => reader.get_message(&self.position(), &*checked.subscription),
        };
        if disk == Disk::MustNotWait && !reader.is_loaded() {
            return get();
        }
        let reset = broker.consumer_offsets.take_pending_reset(&header.consumer_group, &header.topic, header.queue_id);
        match reset.filter(|_| broker.config.load().use_server_side_reset_offset) {
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

    fn position(&self) -> GetMessage<'_> {
        let header = &self.header;
        GetMessage {
            group: &header.consumer_group,
            topic: &header.topic,
            queue_id: header.queue_id,
            offset: header.queue_offset,
            max_count: header.max_msg_nums,
            // The original ignores the request's maxMsgBytes too.
            max_bytes: GET_BYTES_MAX,
        }
    }

    fn check(&self, broker: &Arc<Broker>, peer: &Arc<Peer>, run: Run<'_>) -> Result<Checked, Refusal> {
        let header = &self.header;
        let config = broker.config.load();
        if !perm::is_readable(config.broker_permission) {
            let remark = format!("the broker[{}] pulling message is forbidden", config.broker_ip1);
            return Err(no_permission(remark, BROKER_FORBIDDEN));
        }
        if self.code == request_code::LITE_PULL_MESSAGE && !config.lite_pull_message_enable {
            let remark = format!("the broker[{}] for lite pull consumer is forbidden", config.broker_ip1);
            return Err(no_permission(remark, BROKER_FORBIDDEN));
        }
        let group_name = &*header.consumer_group;
        let Some(group) = broker.groups.find(group_name) else {
            let remark = format!("subscription group [{group_name}] does not exist, {FAQ}");
            return Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        if !group.consume_enable {
            return Err(no_permission(format!("subscription group no permission, {group_name}"), GROUP_FORBIDDEN));
        }
        let topic_name = &*header.topic;
        let Some(topic) = broker.topics.get(topic_name) else {
            let remark = format!("topic[{topic_name}] not exist, apply first please! {FAQ}");
            return Err(Refusal::new(response_code::TOPIC_NOT_EXIST, remark));
        };
        if !perm::is_readable(topic.perm) {
            return Err(no_permission(format!("the topic[{topic_name}] pulling message is forbidden"), TOPIC_FORBIDDEN));
        }
        if header.queue_id < 0 || header.queue_id >= topic.read_queue_nums {
            let remark = format!(
                "queueId[{}] is illegal, topic:[{topic_name}] topicConfig.readQueueNums:[{}] consumer:[/{}]",
                header.queue_id,
                topic.read_queue_nums,
                peer.remote_addr()
            );
            return Err(Refusal::new(response_code::INVALID_PARAMETER, remark));
        }
        let subscription = match run {
            // It came with the request, so nothing has changed it.
            Run::Again(subscription) if header.has_subscription() => Arc::clone(subscription),
            _ if header.has_subscription() => self.subscription_of_request(broker)?,
            _ => self.subscription_of_heartbeats(broker, &group)?,
        };
        if !subscription.is_tag_type() {
            let remark = format!("The broker does not support consumer to filter message by {}", subscription.data.expression_type);
            return Err(Refusal::system_error(remark));
        }
        if config.reject_pull_consumer_enable {
            require_heartbeating_puller(broker, peer, group_name)?;
        }
        Ok(Checked { group, topic, subscription })
    }

    fn subscription_of_request(&self, broker: &Broker) -> Result<Arc<Subscription>, Refusal> {
        let header = &self.header;
        let (expression, expression_type) = (header.subscription.as_deref(), header.expression_type.as_deref());
        let now = broker.clock.now_millis();
        let known = broker.consumers.pulled_subscription(&header.consumer_group, &header.topic).filter(|known| {
            known.has_expression(expression, expression_type) && now - known.data.sub_version < PULLED_SUBSCRIPTION_FRESH_MILLIS
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let parsed = Subscription::of_pull(&header.topic, expression, expression_type, now).map_err(|why| {
            tracing::debug!(%why, group = %header.consumer_group, "a pull's subscription cannot be parsed");
            let remark = "parse the consumer's subscription failed";
            Refusal::new(response_code::SUBSCRIPTION_PARSE_FAILED, remark)
        })?;
        let parsed = Arc::new(parsed);
        broker.consumers.remember_pulled(&header.consumer_group, &header.topic, &parsed);
        Ok(parsed)
    }

    fn subscription_of_heartbeats(&self, broker: &Broker, group: &SubscriptionGroupConfig) -> Result<Arc<Subscription>, Refusal> {
        let header = &self.header;
        let (group_name, topic) = (&*header.consumer_group, &*header.topic);
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
        if subscription.data.sub_version < header.sub_version {
            let remark = "the consumer's subscription not latest";
            return Err(Refusal::new(response_code::SUBSCRIPTION_NOT_LATEST, remark));
        }
        Ok(subscription)
    }

    /// What the store found, as an answer: DefaultPullMessageResultHandler.java#handle.
    fn conclude(&self, broker: &Arc<Broker>, peer: &Peer, run: Run<'_>, checked: Checked, found: Option<GetMessageResult>) -> Outcome {
        let header = &self.header;
        let Some(found) = found else {
            return Outcome::Refused(Refusal::system_error("store getMessage return null"));
        };
        let config = broker.config.load();
        let (group, topic, queue_id) = (&*header.consumer_group, &*header.topic, header.queue_id);
        let code = response_code_of(found.status, header.queue_offset);
        let mut pulled = Pulled { next_offset: found.next_begin_offset, ..Pulled::default() };
        if run.is_first() && header.commits_offset() {
            pulled.commit = Some(header.commit_offset);
        }
        if code == response_code::SUCCESS {
            (pulled.messages, pulled.bytes) = (found.message_count as u64, found.body.len() as u64);
            broker.stats.count_get(pulled.messages);
        }
        broker.consumer_offsets.record_pull(group, topic, queue_id, &pulled, config.consumer_offset_update_version_step);
        if code == response_code::PULL_NOT_FOUND && run.is_first() && header.may_suspend() {
            return Outcome::Wait(checked);
        }
        if code == response_code::PULL_OFFSET_MOVED {
            tracing::info!(group, topic, queue_id, asked = header.queue_offset, corrected = found.next_begin_offset,
                status = found.status.name(), peer = %peer, "a pull asked for an offset that is not there");
        }
        peer.come_first(found.next_begin_offset < found.max_offset);
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
