// SPDX-License-Identifier: Apache-2.0
//! Topics for administrators: create and alter (17, 18), delete (215), list (21), one (351), its queues (202).
//!
//! Order of checks follows AdminBrokerProcessor.java. An answer to a change comes when the change is on the disk and the name
//! servers had their chance to hear of it, so that the next command of a script finds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ferrocket_protocol::body::queue::MessageQueue;
use ferrocket_protocol::body::stats::{TopicOffset, TopicStatsTable};
use ferrocket_protocol::body::topic::{
    CreateTopicListRequestBody, TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicConfigAndQueueMapping, TopicFilterType,
};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::admin::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader, GetAllTopicConfigResponseHeader,
    GetTopicConfigRequestHeader, GetTopicStatsInfoRequestHeader,
};
use ferrocket_protocol::{RemotingCommand, fastjson, response_code};
use tracing::info;

use crate::broker::attributes;
use crate::broker::persist::PersistError;
use crate::broker::topics::MESSAGE_TYPE;
use crate::broker::{Broker, WriteError};
use crate::processor::admin::NAMED_MAX;
use crate::processor::reply::{Refusal, Reply};
use crate::processor::{checks, unreadable};
use crate::remoting::Peer;

pub(in crate::processor) fn update(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: CreateTopicRequestHeader = request.header()?;
    checks::require_legal_topic_name(&header.topic)?;
    checks::require_not_a_system_topic(broker, &header.topic)?;
    let filter_type = &*header.topic_filter_type;
    let wanted = TopicConfig {
        topic_name: header.topic.to_string(),
        read_queue_nums: header.read_queue_nums,
        write_queue_nums: header.write_queue_nums,
        perm: header.perm,
        topic_filter_type: TopicFilterType::from_name(filter_type)
            .ok_or_else(|| Refusal::system_error(format!("No enum constant org.apache.rocketmq.common.TopicFilterType.{filter_type}")))?,
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        order: header.order,
        attributes: attributes::parse(header.attributes.as_deref().unwrap_or(""))?,
    };
    require_served(broker, &wanted)?;
    match broker.topics.update(wanted)? {
        Some(topic) => {
            info!(%peer, topic = checks::topic_text(&topic), "a topic was made or changed by command");
            Ok(answer_announced(broker, peer, request))
        }
        // The original forgets to set a remark here, and so sends its default.
        None => Ok(Reply::Now(RemotingCommand::response(response_code::SUCCESS).with_remark("not set any response code"))),
    }
}

pub(in crate::processor) fn update_list(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let body: CreateTopicListRequestBody = checks::body_of(request)?;
    for wanted in &body.topic_config_list {
        checks::require_legal_topic_name(&wanted.topic_name)?;
        checks::require_not_a_system_topic(broker, &wanted.topic_name)?;
        require_served(broker, wanted)?;
    }
    let changed = broker.topics.update_all(body.topic_config_list)?;
    if changed.is_empty() {
        return Ok(Reply::success());
    }
    for topic in changed.iter().take(NAMED_MAX) {
        info!(%peer, topic = checks::topic_text(topic), of = changed.len(), "a topic was made or changed by command");
    }
    Ok(answer_announced(broker, peer, request))
}

/// What no topic can have, or cannot have here yet.
fn require_served(broker: &Broker, wanted: &TopicConfig) -> Result<(), Refusal> {
    let present = broker.topics.get(&wanted.topic_name);
    checks::require_queue_count(wanted.read_queue_nums, present.as_ref().map(|topic| topic.read_queue_nums))?;
    checks::require_queue_count(wanted.write_queue_nums, present.as_ref().map(|topic| topic.write_queue_nums))?;
    let set = |name: &str| wanted.attributes.get(&format!("+{name}")).map(String::as_str);
    if set(MESSAGE_TYPE) == Some("MIXED") && !broker.config.load().enable_mixed_message_type {
        return Err(Refusal::new(response_code::INVALID_PARAMETER, "MIXED message type is not supported."));
    }
    for (name, value) in [("queue.type", "BatchCQ"), ("cleanup.policy", "COMPACTION")] {
        if set(name) == Some(value) {
            return Err(Refusal::new(response_code::INVALID_PARAMETER, format!("{name}={value} is not served yet")));
        }
    }
    Ok(())
}

pub(in crate::processor) fn delete(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: DeleteTopicRequestHeader = request.header()?;
    if header.topic.trim().is_empty() {
        return Err(Refusal::new(response_code::INVALID_PARAMETER, "The specified topic is blank."));
    }
    checks::require_not_a_system_topic(broker, &header.topic)?;
    checks::require_a_clients_topic(&header.topic)?;
    // Of one that is not there, offsets and queues may be left over.
    let was_there = broker.topics.contains(&header.topic);
    let deleted = broker.delete_topic(&header.topic);
    if was_there {
        info!(%peer, topic = &*header.topic, "a topic was deleted by command");
    }
    let completion = peer.completion(request);
    // Whatever could not be written, the topic is gone, and the name servers hear of it.
    broker.announce_then(move |written| {
        completion.answer_now(match deleted.and(written.map_err(WriteError::from)) {
            Ok(()) => RemotingCommand::response(response_code::SUCCESS),
            Err(error) => Refusal::from(error).into_response(),
        });
    });
    Ok(Reply::Later)
}

/// The whole table, or a page of it for those who ask with a position.
pub(in crate::processor) fn all(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetAllTopicConfigRequestHeader = request.header()?;
    let config = broker.config.load();
    let (data_version, topics) = broker.topics.in_order();
    let mut page = &topics[..];
    let is_paged = header.topic_seq.is_some() || header.data_version.is_some() || header.max_topic_num.is_some();
    if is_paged && config.enable_split_metadata {
        let seq = header.required_seq().map_err(unreadable)?;
        let known: Option<DataVersion> = header.data_version.as_deref().and_then(|text| fastjson::from_str(text).ok());
        let start = match usize::try_from(seq) {
            Ok(start) if known.as_ref() == Some(&data_version) => start.min(topics.len()),
            _ => 0,
        };
        let asked = header.max_topic_num.unwrap_or(i32::MAX);
        let count = checks::require_page(asked.min(config.split_metadata_size))?;
        page = &topics[start..topics.len().min(start.saturating_add(count))];
    }
    let total = topics.len();
    let body = TopicConfigAndMappingSerializeWrapper {
        data_version,
        // Static topics are not served: their table is as it was at the start.
        mapping_data_version: DataVersion::at(broker.started_millis()),
        topic_config_table: page.iter().map(|topic| (topic.topic_name.clone(), topic.config().clone())).collect(),
        ..TopicConfigAndMappingSerializeWrapper::default()
    };
    let fields = GetAllTopicConfigResponseHeader { total_topic_num: total as i32 };
    let response = RemotingCommand::response(response_code::SUCCESS);
    Ok(Reply::Now(response.with_header(&fields).with_body(fastjson::to_vec(&body))))
}

pub(in crate::processor) fn one(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetTopicConfigRequestHeader = request.header()?;
    let Some(topic) = broker.topics.get(&header.topic) else {
        let remark = format!("No topic in this broker. topic: {}", header.topic);
        return Err(Refusal::new(response_code::TOPIC_NOT_EXIST, remark));
    };
    Ok(Reply::body(fastjson::to_vec(&TopicConfigAndQueueMapping::from(topic.config().clone()))))
}

/// Where each queue begins and ends.
pub(in crate::processor) fn stats(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetTopicStatsInfoRequestHeader = request.header()?;
    let topic = checks::require_topic(broker, &header.topic)?;
    let broker_name = broker.started_with.broker_name.clone();
    let mut table = TopicStatsTable { topic_put_tps: topic.puts.messages_per_second(), ..TopicStatsTable::default() };
    for queue_id in broker.queues_to_list(&topic, topic.queue_count(), BTreeSet::new) {
        let within = broker.store.queue_offsets(&header.topic, queue_id)?;
        let max_offset = within.end.max(0);
        let offsets = TopicOffset {
            min_offset: within.start.max(0),
            max_offset,
            last_update_timestamp: match max_offset {
                0 => 0,
                _ => broker.store.message_store_time(&header.topic, queue_id, max_offset - 1)?,
            },
        };
        let queue = MessageQueue::new(header.topic.to_string(), broker_name.clone(), queue_id);
        table.offset_table.insert(queue, offsets);
    }
    Ok(Reply::body(fastjson::to_vec(&table)))
}

fn answer_announced(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
    let completion = peer.completion(request);
    broker.announce_then(move |written| completion.answer_now(answer(written)));
    Reply::Later
}

fn answer(written: Result<(), PersistError>) -> RemotingCommand {
    match written {
        Ok(()) => RemotingCommand::response(response_code::SUCCESS),
        Err(error) => Refusal::unwritten(&error).into_response(),
    }
}
