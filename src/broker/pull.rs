// SPDX-License-Identifier: Apache-2.0
//! Pulling: find messages, or wait for them. Typed in, typed out, whoever asks and whatever he speaks.
//!
//! Order of checks follows PullMessageProcessor.java; clients depend on which refusal comes first. Knows no connection and no answer. A
//! pull that must wait is handed to `hold`, a read that would wait for the disk to the pool for that; how it ends is told to its `Puller`.

use std::sync::Arc;

use bytes::Bytes;
use ferrocket_protocol::body::{ConsumeType, MessageModel, SubscriptionGroupConfig};
use ferrocket_protocol::{perm, topic_names};

use super::client_channel::ClientChannel;
use super::consumer_offsets::{Pulled, TopicOffsets};
use super::filter::Subscription;
use super::hold::{Piece, Waiter, Waits, Wants};
use super::replication::members::MASTER_ID;
use super::topics::Topic;
use super::{Broker, Disk};
use crate::config::BrokerConfig;
use crate::remoting::Work;
use crate::store::{GET_BYTES_MAX, GetMessage, GetMessageResult, GetMessageStatus};

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
#[derive(Clone, Copy, Debug)]
pub struct PullRequest<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub terms: PullTerms,
}

/// A pull without its names.
#[derive(Clone, Copy, Debug)]
pub struct PullTerms {
    pub queue_id: i32,
    /// The queue offset to begin with.
    pub offset: i64,
    pub max_count: i32,
    /// What the group has consumed of the queue meanwhile.
    pub commit_offset: Option<i64>,
    /// How long it may wait for a message, in milliseconds; `None`: not at all.
    pub wait_millis: Option<i64>,
    /// The version of the client's subscription; the heartbeats must have brought it or a later one.
    pub sub_version: i64,
    /// It brings its subscription along (`Stated`) instead.
    pub states_subscription: bool,
    /// LITE_PULL_MESSAGE.
    pub is_lite: bool,
}

/// The subscription that a pull brings along.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stated<'a> {
    pub expression: Option<&'a str>,
    pub expression_type: Option<&'a str>,
}

/// What there is. DefaultPullMessageResultHandler.java decides by the status, too.
#[derive(Debug)]
pub struct PullResult {
    pub kind: PullKind,
    pub status: GetMessageStatus,
    /// The queue offset to go on with.
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    /// The records, one after the other, as they are in the log; empty unless `Found`.
    pub body: Bytes,
    /// The broker to ask next; 0 is the master.
    pub suggested_broker_id: i64,
    pub topic_sys_flag: i32,
    pub group_sys_flag: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullKind {
    Found,
    /// Nothing is there yet.
    Nothing,
    /// There may be something behind what was looked at.
    AskAgain,
    /// The offset is none of the queue's: to go on at `next_offset`.
    Moved,
}

/// Why a pull is refused. In the order in which it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullError {
    BrokerForbids,
    LiteForbidden,
    NoGroup,
    GroupForbids,
    NoTopic,
    TopicForbids,
    /// With the number of queues that may be read.
    NoSuchQueue(i32),
    Unparsable,
    /// Nobody of the group is there.
    GroupOffline,
    BroadcastForbidden,
    /// An administrator has forbidden the group to read the topic.
    ReadForbidden,
    NotSubscribed,
    /// The client's subscription is newer than that of the heartbeats.
    SubscriptionOld,
    /// In this language; only tags are served.
    FilterUnserved(String),
    /// `rejectPullConsumerEnable`, and the client is in no group that heartbeats.
    NoMember,
    StoreClosed,
}

/// Whoever pulls, when the outcome comes later.
pub trait Puller: Send + 'static {
    type Channel: ClientChannel;

    fn channel(&self) -> &Arc<Self::Channel>;

    /// The outcome, once; `request` is what was asked.
    fn finish(self, broker: &Broker, request: &PullRequest<'_>, outcome: Result<PullResult, PullError>);
}

/// Whether this run may end in waiting. Only the first one may, and only the first one commits the offset it carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    First,
    Again,
}

/// A pull that is answered later: it waits for a message, or for the disk.
struct LatePull<P> {
    broker: Arc<Broker>,
    terms: PullTerms,
    /// What the last run went by; the names are there too.
    checked: Checked,
    /// `Again` once it has waited for a message.
    next_run: Run,
    puller: P,
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
    Result(PullResult),
    /// Nothing there: wait for an arrival.
    Wait,
    /// The bytes are not in memory: read them where that may wait.
    Cold,
}

/// Pulls for the client of `channel`. `None`: the outcome comes later, by `puller`.
pub fn pull<P: Puller>(
    broker: &Arc<Broker>,
    config: &BrokerConfig,
    channel: &dyn ClientChannel,
    request: &PullRequest<'_>,
    stated: Stated<'_>,
    puller: impl FnOnce() -> P,
) -> Option<Result<PullResult, PullError>> {
    let checked = match request.check(broker, channel, config, stated) {
        Ok(checked) => checked,
        Err(error) => return Some(Err(error)),
    };
    match request.search(broker, channel, config, &checked, Run::First, Disk::MustNotWait) {
        Ok(Outcome::Result(result)) => Some(Ok(result)),
        Err(error) => Some(Err(error)),
        Ok(later) => {
            let (broker, puller) = (Arc::clone(broker), puller());
            let late = LatePull { broker, terms: request.terms, checked, next_run: Run::First, puller, piece: None };
            Box::new(late).go_on(config, Ok(later));
            None
        }
    }
}

impl<P: Puller> LatePull<P> {
    /// What is left to do once the client's next request was read: wait, read cold data, or tell the end.
    fn go_on(self: Box<Self>, config: &BrokerConfig, outcome: Result<Outcome, PullError>) {
        match outcome {
            Ok(Outcome::Result(result)) => (*self).finish(Ok(result)),
            Err(error) => (*self).finish(Err(error)),
            Ok(Outcome::Wait) => self.wait(config),
            Ok(Outcome::Cold) => {
                let runtime = self.broker.runtime.clone();
                runtime.spawn_blocking("cold pull", move || {
                    if !self.puller.channel().is_active() {
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

    fn finish(self, outcome: Result<PullResult, PullError>) {
        let Self { broker, terms, checked, puller, .. } = self;
        puller.finish(&broker, &named(terms, &checked.offsets), outcome);
    }

    fn search(&self, config: &BrokerConfig, disk: Disk) -> Result<Outcome, PullError> {
        let request = named(self.terms, &self.checked.offsets);
        request.search(&self.broker, &**self.puller.channel(), config, &self.checked, self.next_run, disk)
    }

    fn wait(mut self: Box<Self>, config: &BrokerConfig) {
        self.next_run = Run::Again;
        let broker = Arc::clone(&self.broker);
        let topic = Arc::clone(&self.checked.topic);
        let PullTerms { queue_id, offset, wait_millis, .. } = self.terms;
        let (wants, timeout_millis) = if config.long_polling_enable {
            let subscription = Arc::clone(&self.checked.subscription);
            (Wants::Message { from_offset: offset, subscription }, wait_millis.unwrap_or(0))
        } else {
            (Wants::Nothing, config.short_polling_time_mills)
        };
        let may_wait = self.puller.channel().may_wait();
        let waiter = Waiter { wants, timeout_millis, who: self };
        let has_come = || broker.store.max_offset(&topic.topic_name, queue_id) > offset;
        let held = if may_wait { broker.hold.register(&topic.topic_name, Some(queue_id), waiter, has_come) } else { Err(waiter) };
        if let Err(waiter) = held {
            waiter.who.wake(None);
        }
    }
}

fn named(terms: PullTerms, names: &TopicOffsets) -> PullRequest<'_> {
    PullRequest { group: &names.group, topic: &names.topic, terms }
}

impl<P: Puller> Waits for LatePull<P> {
    fn wake(mut self: Box<Self>, piece: Option<Piece>) {
        self.piece = piece;
        let channel = Arc::clone(self.puller.channel());
        channel.defer(self);
    }
}

impl<P: Puller> Work for LatePull<P> {
    fn run(mut self: Box<Self>) {
        let _piece = self.piece.take();
        let names = Arc::clone(&self.checked.offsets);
        let broker = Arc::clone(&self.broker);
        let config = broker.config.load();
        let request = named(self.terms, &names);
        let checked = request.check_again(&broker, &**self.puller.channel(), &config, &mut self.checked);
        let outcome = checked.and_then(|()| self.search(&config, Disk::MustNotWait));
        self.go_on(&config, outcome);
    }
}

impl PullRequest<'_> {
    /// The whole of a pull but checks and waiting.
    fn search(
        &self,
        broker: &Broker,
        channel: &dyn ClientChannel,
        config: &BrokerConfig,
        checked: &Checked,
        run: Run,
        disk: Disk,
    ) -> Result<Outcome, PullError> {
        match self.find(broker, channel, config, checked, disk) {
            Some(found) if found.would_block => Ok(Outcome::Cold),
            Some(found) => Ok(self.conclude(broker, channel, config, checked, run, found)),
            None => Err(PullError::StoreClosed),
        }
    }

    /// What the store has, or where an administrator sends the group.
    fn find(
        &self,
        broker: &Broker,
        channel: &dyn ClientChannel,
        config: &BrokerConfig,
        checked: &Checked,
        disk: Disk,
    ) -> Option<GetMessageResult> {
        let queue_id = self.terms.queue_id;
        let reader = broker.store.reader(self.topic, queue_id);
        let get = || match disk {
            Disk::MayWait => reader.get_message_blocking(&self.position(channel), &*checked.subscription),
            Disk::MustNotWait => reader.get_message(&self.position(channel), &*checked.subscription),
        };
        if disk == Disk::MustNotWait && !reader.is_loaded() {
            return get();
        }
        let reset = broker.consumer_offsets.take_pending_reset(self.group, self.topic, queue_id);
        match reset.filter(|_| config.use_server_side_reset_offset) {
            Some(offset) => Some(GetMessageResult {
                status: GetMessageStatus::OffsetReset,
                next_begin_offset: offset,
                min_offset: reader.min_offset(),
                max_offset: reader.max_offset(),
                body: Bytes::new(),
                message_count: 0,
                positions: Vec::new(),
                suggest_pulling_from_slave: false,
                would_block: false,
            }),
            None => get(),
        }
    }

    fn position(&self, channel: &dyn ClientChannel) -> GetMessage<'_> {
        GetMessage {
            group: self.group,
            topic: self.topic,
            queue_id: self.terms.queue_id,
            offset: self.terms.offset,
            max_count: self.terms.max_count,
            // The original ignores the request's maxMsgBytes too. One message comes in any case.
            max_bytes: GET_BYTES_MAX.min(channel.room_bytes()),
        }
    }

    fn check(&self, broker: &Broker, channel: &dyn ClientChannel, config: &BrokerConfig, stated: Stated<'_>) -> Result<Checked, PullError> {
        self.check_broker(config)?;
        let tables = TablesSeen::now(broker);
        let (group, topic) = self.look_up(broker)?;
        let subscription = match self.terms.states_subscription {
            true => self.subscription_of_request(broker, stated)?,
            false => self.subscription_of_heartbeats(broker, &group)?,
        };
        self.check_subscriber(broker, channel, config, &subscription)?;
        let offsets = broker.consumer_offsets.of_or_new(self.group, self.topic);
        Ok(Checked { tables, group, topic, offsets, subscription })
    }

    /// The same for a pull that has waited: only what may have changed is looked up again.
    fn check_again(
        &self,
        broker: &Broker,
        channel: &dyn ClientChannel,
        config: &BrokerConfig,
        checked: &mut Checked,
    ) -> Result<(), PullError> {
        self.check_broker(config)?;
        let tables = TablesSeen::now(broker);
        if tables != checked.tables {
            (checked.group, checked.topic) = self.look_up(broker)?;
            checked.offsets = broker.consumer_offsets.of_or_new(self.group, self.topic);
            checked.tables = tables;
        }
        // One that came with the request is what it was.
        if !self.terms.states_subscription {
            checked.subscription = self.subscription_of_heartbeats(broker, &checked.group)?;
        }
        self.check_subscriber(broker, channel, config, &checked.subscription)
    }

    fn check_broker(&self, config: &BrokerConfig) -> Result<(), PullError> {
        if !perm::is_readable(config.broker_permission) {
            return Err(PullError::BrokerForbids);
        }
        if self.terms.is_lite && !config.lite_pull_message_enable {
            return Err(PullError::LiteForbidden);
        }
        Ok(())
    }

    /// The group and the topic, if both let it read this queue.
    fn look_up(&self, broker: &Broker) -> Result<(Arc<SubscriptionGroupConfig>, Arc<Topic>), PullError> {
        let group = broker.groups.find(self.group).ok_or(PullError::NoGroup)?;
        if !group.consume_enable {
            return Err(PullError::GroupForbids);
        }
        let topic = broker.topics.get(self.topic).ok_or(PullError::NoTopic)?;
        if !perm::is_readable(topic.perm) {
            return Err(PullError::TopicForbids);
        }
        if !(0..topic.read_queue_nums).contains(&self.terms.queue_id) {
            return Err(PullError::NoSuchQueue(topic.read_queue_nums));
        }
        Ok((group, topic))
    }

    fn check_subscriber(
        &self,
        broker: &Broker,
        channel: &dyn ClientChannel,
        config: &BrokerConfig,
        subscription: &Subscription,
    ) -> Result<(), PullError> {
        if !subscription.is_tag_type() {
            return Err(PullError::FilterUnserved(subscription.data.expression_type.clone()));
        }
        if config.reject_pull_consumer_enable {
            self.require_heartbeating_puller(broker, channel)?;
        }
        Ok(())
    }

    /// `rejectPullConsumerEnable`: only members of a group that heartbeats may pull.
    fn require_heartbeating_puller(&self, broker: &Broker, channel: &dyn ClientChannel) -> Result<(), PullError> {
        let pulls_actively = broker.consumers.mode(self.group).is_none_or(|mode| mode.consume_type == ConsumeType::ConsumeActively);
        if pulls_actively && !broker.consumers.is_member(self.group, channel) && !TOOL_GROUPS.contains(&self.group) {
            return Err(PullError::NoMember);
        }
        Ok(())
    }

    fn subscription_of_request(&self, broker: &Broker, stated: Stated<'_>) -> Result<Arc<Subscription>, PullError> {
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
            PullError::Unparsable
        })?;
        let parsed = Arc::new(parsed);
        broker.consumers.remember_pulled(self.group, self.topic, &parsed);
        Ok(parsed)
    }

    fn subscription_of_heartbeats(&self, broker: &Broker, group: &SubscriptionGroupConfig) -> Result<Arc<Subscription>, PullError> {
        let (mode, subscription) = broker.consumers.subscription(self.group, self.topic).ok_or(PullError::GroupOffline)?;
        if !group.consume_broadcast_enable && mode.message_model == MessageModel::Broadcasting {
            return Err(PullError::BroadcastForbidden);
        }
        if broker.groups.is_reading_forbidden(self.group, self.topic) {
            return Err(PullError::ReadForbidden);
        }
        let subscription = subscription.ok_or(PullError::NotSubscribed)?;
        if subscription.data.sub_version < self.terms.sub_version {
            return Err(PullError::SubscriptionOld);
        }
        Ok(subscription)
    }

    /// What the store found, and what it means for the group: DefaultPullMessageResultHandler.java#handle.
    fn conclude(
        &self,
        broker: &Broker,
        channel: &dyn ClientChannel,
        config: &BrokerConfig,
        checked: &Checked,
        run: Run,
        found: GetMessageResult,
    ) -> Outcome {
        let terms = &self.terms;
        let mut kind = kind_of(found.status, terms.offset);
        let suggests_slave = config.slave_read_enable && !config.in_broker_container;
        let mut suggested_broker_id = match (suggests_slave, found.suggest_pulling_from_slave) {
            (false, _) => MASTER_ID,
            (true, true) => checked.group.which_broker_when_consume_slowly,
            (true, false) => checked.group.broker_id,
        };
        let mut next_offset = found.next_begin_offset;
        if broker.is_slave() {
            if kind == PullKind::Moved && found.status != GetMessageStatus::OffsetReset && !config.offset_check_in_slave {
                // The log here may lag: the master knows better.
                next_offset = terms.offset;
                suggested_broker_id = checked.group.broker_id;
                kind = PullKind::AskAgain;
            }
            // The original sends a consumer back as long as the name server has ever known a master; when it is gone the consumer then
            // asks again without a pause. Here it waits for messages as on a master.
            let master_is_there = broker.slave.is_connected() && broker.members.smallest_id() == MASTER_ID;
            if !found.suggest_pulling_from_slave && master_is_there {
                suggested_broker_id = MASTER_ID;
                kind = if kind == PullKind::Found { kind } else { PullKind::AskAgain };
            }
        }
        let mut pulled = Pulled { next_offset, ..Pulled::default() };
        // As with UPDATE_CONSUMER_OFFSET: what is not in the queue yet nobody has consumed.
        let may_commit = |offset: &i64| *offset <= found.max_offset.max(0) && !topic_names::is_system_group(&checked.group.group_name);
        pulled.commit = terms.commit_offset.filter(|offset| run == Run::First && may_commit(offset));
        if kind == PullKind::Found {
            (pulled.messages, pulled.bytes) = (found.message_count as u64, found.body.len() as u64);
            broker.stats.count_get(pulled.messages);
        }
        broker.consumer_offsets.record_pull(&checked.offsets, terms.queue_id, &pulled, config.consumer_offset_update_version_step);
        if kind == PullKind::Nothing && run == Run::First && terms.wait_millis.is_some() {
            return Outcome::Wait;
        }
        if kind == PullKind::Moved {
            let (group, topic, queue_id, asked) = (self.group, self.topic, terms.queue_id, terms.offset);
            let (next, peer) = (found.next_begin_offset, channel.remote_addr());
            if found.status == GetMessageStatus::OffsetReset {
                tracing::info!(group, topic, queue_id, asked, reset_to = next, %peer, "a consumer is told of its reset offset");
            } else {
                let status = found.status.name();
                tracing::info!(group, topic, queue_id, asked, corrected = next, status, %peer, "a pull asked for an offset that is not there");
            }
        }
        Outcome::Result(PullResult {
            kind,
            status: found.status,
            next_offset,
            min_offset: found.min_offset,
            max_offset: found.max_offset,
            body: found.body,
            suggested_broker_id,
            topic_sys_flag: checked.topic.topic_sys_flag,
            group_sys_flag: checked.group.group_sys_flag,
        })
    }
}

fn kind_of(status: GetMessageStatus, asked_offset: i64) -> PullKind {
    match status {
        GetMessageStatus::Found => PullKind::Found,
        GetMessageStatus::MessageWasRemoving | GetMessageStatus::NoMatchedMessage => PullKind::AskAgain,
        GetMessageStatus::NoMatchedLogicQueue | GetMessageStatus::NoMessageInQueue if asked_offset == 0 => PullKind::Nothing,
        GetMessageStatus::OffsetFoundNull | GetMessageStatus::OffsetOverflowOne => PullKind::Nothing,
        GetMessageStatus::NoMatchedLogicQueue
        | GetMessageStatus::NoMessageInQueue
        | GetMessageStatus::OffsetOverflowBadly
        | GetMessageStatus::OffsetTooSmall
        | GetMessageStatus::OffsetReset => PullKind::Moved,
    }
}
