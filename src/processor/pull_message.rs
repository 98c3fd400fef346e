// SPDX-License-Identifier: Apache-2.0
//! PULL_MESSAGE and LITE_PULL_MESSAGE: the header becomes a `PullRequest`, and what comes of it an answer with the original's codes and
//! texts; `broker/pull` finds messages, or waits for them.
//!
//! Knows nothing of files or sockets. A pull that waits leaves a completion.

use std::sync::Arc;

use ferrocket_protocol::header::{FORBIDDEN_TYPE, PullFields, PullMessageResponseHeader};
use ferrocket_protocol::{RemotingCommand, request_code, response_code};

use super::checks::FAQ;
use super::coverage;
use super::reply::{PulledReply, Refusal, Reply};
use crate::broker::Broker;
use crate::broker::pull::{self, PullError, PullKind, PullRequest, PullResult, PullTerms, Puller, Stated};
use crate::config::BrokerConfig;
use crate::remoting::{Completion, Peer};

/// What a NO_PERMISSION is about.
const BROKER_FORBIDDEN: &str = "1";
const GROUP_FORBIDDEN: &str = "2";
const TOPIC_FORBIDDEN: &str = "3";
const BROADCASTING_FORBIDDEN: &str = "4";
const SUBSCRIPTION_FORBIDDEN: &str = "5";

pub(super) fn process(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let PullFields { consumer_group, topic, numbers, subscription, expression_type } =
        PullFields::read(request).map_err(super::unreadable)?;
    let terms = PullTerms {
        queue_id: numbers.queue_id,
        offset: numbers.queue_offset,
        max_count: numbers.max_msg_nums,
        commit_offset: numbers.commits_offset().then_some(numbers.commit_offset),
        wait_millis: numbers.may_suspend().then_some(numbers.suspend_timeout_millis),
        sub_version: numbers.sub_version,
        states_subscription: numbers.has_subscription(),
        is_lite: request.code == request_code::LITE_PULL_MESSAGE,
    };
    let asked = PullRequest { group: consumer_group, topic, terms };
    let stated = Stated { expression: subscription, expression_type };
    let config = broker.config.load();
    match pull::pull(broker, &config, &**peer, &asked, stated, || LatePuller(peer.completion(request))) {
        None => Ok(Reply::Later),
        Some(Ok(result)) => Ok(Reply::Pulled(pulled_reply(peer, result))),
        Some(Err(error)) => Err(refusal(error, &config, peer, &asked)),
    }
}

struct LatePuller(Completion);

impl Puller for LatePuller {
    type Channel = Peer;

    fn channel(&self) -> &Arc<Peer> {
        self.0.peer()
    }

    fn finish(self, broker: &Broker, asked: &PullRequest<'_>, outcome: Result<PullResult, PullError>) {
        match outcome {
            Ok(result) => pulled_reply(self.0.peer(), result).answer(self.0),
            Err(error) => {
                let refusal = refusal(error, &broker.config.load(), self.0.peer(), asked);
                self.0.answer(refusal.into_response());
            }
        }
    }
}

fn pulled_reply(peer: &Peer, result: PullResult) -> PulledReply {
    peer.set_priority(result.next_offset < result.max_offset);
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: result.suggested_broker_id,
        next_begin_offset: result.next_offset,
        min_offset: result.min_offset,
        max_offset: result.max_offset,
        topic_sys_flag: Some(result.topic_sys_flag),
        group_sys_flag: Some(result.group_sys_flag),
        ..PullMessageResponseHeader::default()
    };
    PulledReply { code: code_of(result.kind), status: result.status.name(), header, body: result.body }
}

fn code_of(kind: PullKind) -> i32 {
    match kind {
        PullKind::Found => response_code::SUCCESS,
        PullKind::Nothing => response_code::PULL_NOT_FOUND,
        PullKind::AskAgain => response_code::PULL_RETRY_IMMEDIATELY,
        PullKind::Moved => response_code::PULL_OFFSET_MOVED,
    }
}

/// The original's code and text.
fn refusal(error: PullError, config: &BrokerConfig, peer: &Peer, asked: &PullRequest<'_>) -> Refusal {
    let PullRequest { group, topic, terms } = asked;
    let no_permission = |remark: String, about| Refusal::new(response_code::NO_PERMISSION, remark).with_field(FORBIDDEN_TYPE, about);
    let no_subscription = |why: &str| Refusal::new(response_code::SUBSCRIPTION_NOT_EXIST, format!("{why}{FAQ}"));
    let broker = &config.broker_ip1;
    let refusal = match error {
        PullError::BrokerForbids => no_permission(format!("the broker[{broker}] pulling message is forbidden"), BROKER_FORBIDDEN),
        PullError::LiteForbidden => no_permission(format!("the broker[{broker}] for lite pull consumer is forbidden"), BROKER_FORBIDDEN),
        PullError::NoGroup => {
            let remark = format!("subscription group [{group}] does not exist, {FAQ}");
            Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        }
        PullError::GroupForbids => no_permission(format!("subscription group no permission, {group}"), GROUP_FORBIDDEN),
        PullError::NoTopic => Refusal::new(response_code::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist, apply first please! {FAQ}")),
        PullError::TopicForbids => no_permission(format!("the topic[{topic}] pulling message is forbidden"), TOPIC_FORBIDDEN),
        PullError::NoSuchQueue(read_queue_nums) => {
            let (queue_id, consumer) = (terms.queue_id, peer.remote_addr());
            let remark = format!(
                "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{read_queue_nums}] consumer:[/{consumer}]"
            );
            Refusal::new(response_code::INVALID_PARAMETER, remark)
        }
        PullError::Unparsable => Refusal::new(response_code::SUBSCRIPTION_PARSE_FAILED, "parse the consumer's subscription failed"),
        PullError::GroupOffline => no_subscription("the consumer's group info not exist"),
        PullError::BroadcastForbidden => {
            no_permission(format!("the consumer group[{group}] can not consume by broadcast way"), BROADCASTING_FORBIDDEN)
        }
        PullError::ReadForbidden => {
            no_permission(format!("the consumer group[{group}] is forbidden for topic[{topic}]"), SUBSCRIPTION_FORBIDDEN)
        }
        PullError::NotSubscribed => no_subscription("the consumer's subscription not exist"),
        PullError::SubscriptionOld => Refusal::new(response_code::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest"),
        PullError::FilterUnserved(language) => {
            peer.asked_in_vain(coverage::SQL92);
            Refusal::system_error(format!("The broker does not support consumer to filter message by {language}"))
        }
        PullError::NoMember => no_subscription("the consumer's group info not exist, or the pull consumer is rejected by server."),
        PullError::StoreClosed => Refusal::system_error("store getMessage return null"),
    };
    refusal.with_header()
}
