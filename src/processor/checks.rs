// SPDX-License-Identifier: Apache-2.0
//! Checks that several request families make, with the original's codes and texts. Knows no family's order of checks.

use std::sync::Arc;

use ferrocket_protocol::{RemotingCommand, fastjson, perm, response_code, topic_names};

use super::reply::Refusal;
use crate::broker::Broker;
use crate::broker::topics::{QUEUES_MAX, Topic};

/// What the original appends to remarks that have a page about them.
pub(super) const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// INVALID_PARAMETER for a name that no topic may have.
pub(super) fn require_legal_topic_name(name: &str) -> Result<(), Refusal> {
    topic_names::validate_topic(name).map_err(|remark| Refusal::new(response_code::INVALID_PARAMETER, remark))
}

/// INVALID_PARAMETER for a topic that administrators must leave alone.
pub(super) fn require_not_a_system_topic(broker: &Broker, name: &str) -> Result<(), Refusal> {
    if broker.config.load().validate_system_topic_when_update_topic && broker.topics.is_system(name) {
        let remark = format!("The topic[{name}] is conflict with system topic.");
        return Err(Refusal::new(response_code::INVALID_PARAMETER, remark));
    }
    Ok(())
}

/// NO_PERMISSION for a group whose offsets are the broker's own bookkeeping. The original lets anybody write them.
pub(super) fn require_a_clients_group(group: &str) -> Result<(), Refusal> {
    if topic_names::is_system_group(group) {
        let remark = format!("The offsets of group[{group}] are the broker's own.");
        return Err(Refusal::new(response_code::NO_PERMISSION, remark));
    }
    Ok(())
}

/// INVALID_PARAMETER for a topic without which the broker forgets what it was given to do, whatever the configuration allows.
pub(super) fn require_a_clients_topic(name: &str) -> Result<(), Refusal> {
    if !topic_names::is_sendable(name) {
        let remark = format!("The topic[{name}] is conflict with system topic.");
        return Err(Refusal::new(response_code::INVALID_PARAMETER, remark));
    }
    Ok(())
}

/// INVALID_PARAMETER for more queues than a topic can be given. What has more already may keep it.
pub(super) fn require_queue_count(wanted: i32, present: Option<i32>) -> Result<(), Refusal> {
    if wanted > QUEUES_MAX.max(present.unwrap_or(0)) {
        let remark = format!("{wanted} queues are illegal, a topic has at most {QUEUES_MAX}");
        return Err(Refusal::new(response_code::INVALID_PARAMETER, remark));
    }
    Ok(())
}

/// TOPIC_NOT_EXIST in the words of the admin requests.
pub(super) fn require_topic(broker: &Broker, name: &str) -> Result<Arc<Topic>, Refusal> {
    broker.topics.get(name).ok_or_else(|| Refusal::new(response_code::TOPIC_NOT_EXIST, format!("topic[{name}] not exist")))
}

/// The topic as the original's log lines and remarks print it.
pub(super) fn topic_text(topic: &Topic) -> String {
    let attributes: Vec<String> = topic.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, \
         order={}, attributes={{{}}}]",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        perm::text(topic.perm),
        topic.topic_filter_type.name(),
        topic.topic_sys_flag,
        topic.order,
        attributes.join(", ")
    )
}

/// The length of a page of a table; one of nothing ends in an exception of the original.
pub(super) fn require_page(count: i32) -> Result<usize, Refusal> {
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    count.ok_or_else(|| Refusal::system_error("a page has at least one entry"))
}

/// The body as `T`; SYSTEM_ERROR when it is not one.
pub(super) fn body_of<T: serde::de::DeserializeOwned>(request: &RemotingCommand) -> Result<T, Refusal> {
    fastjson::from_slice(&request.body).map_err(|error| Refusal::system_error(error.to_string()))
}
