// SPDX-License-Identifier: Apache-2.0
//! Clients, their progress and their offsets for administrators: codes 203, 204, 208, 222, 300, 305, 307, 314
//! and 328.
//!
//! Order of checks, codes and texts follow AdminBrokerProcessor.java and Broker2Client.java.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use ferrocket_protocol::body::{
    Connection, ConsumeStats, ConsumerConnection, GroupList, MessageQueue, MessageQueueForC, OffsetWrapper, ProducerConnection,
    ProducerInfo, ProducerTableInfo, ResetOffsetBody, ResetOffsetBodyForC, TopicList,
};
use ferrocket_protocol::header::{
    CloneGroupOffsetRequestHeader, GetConsumeStatsRequestHeader, GetConsumerConnectionListRequestHeader,
    GetConsumerRunningInfoRequestHeader, GetProducerConnectionListRequestHeader, QueryTopicConsumeByWhoRequestHeader,
    ResetOffsetRequestHeader,
};
use ferrocket_protocol::{LanguageCode, RemotingCommand, fastjson, response_code, version};

use crate::broker::Broker;
use crate::broker::consumers::Client;
use crate::broker::topics::QUEUES_MAX;
use crate::processor::checks::require_a_clients_group;
use crate::processor::consumer_manage::position_of;
use crate::processor::reply::{Refusal, Reply};
use crate::remoting::{CallError, Peer};
use crate::store::Boundary;

/// GET_CONSUMER_CONNECTION_LIST.
pub(in crate::processor) fn connections(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetConsumerConnectionListRequestHeader = request.header()?;
    let group = &*header.consumer_group;
    let Some(view) = broker.consumers.view(group) else {
        let remark = format!("the consumer group[{group}] not online");
        return Err(Refusal::new(response_code::CONSUMER_NOT_ONLINE, remark));
    };
    Ok(Reply::body(fastjson::to_vec(&ConsumerConnection {
        connection_set: view.members.iter().map(connection).collect(),
        subscription_table: view.subscriptions,
        consume_type: Some(view.mode.consume_type),
        message_model: Some(view.mode.message_model),
        consume_from_where: Some(view.mode.consume_from_where),
    })))
}

/// GET_PRODUCER_CONNECTION_LIST.
pub(in crate::processor) fn producer_connections(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetProducerConnectionListRequestHeader = request.header()?;
    let group = &*header.producer_group;
    let Some(members) = broker.producers.members(group) else {
        return Err(Refusal::system_error(format!("the producer group[{group}] not exist")));
    };
    let connection_set = members.iter().map(|producer| connection(&producer.client)).collect();
    Ok(Reply::body(fastjson::to_vec(&ProducerConnection { connection_set })))
}

fn connection(client: &Client) -> Connection {
    Connection {
        client_id: client.client_id.to_string(),
        client_addr: client.channel.remote_addr().to_string(),
        language: client.language,
        version: client.version,
    }
}

/// GET_ALL_PRODUCER_INFO.
pub(in crate::processor) fn producers(broker: &Broker) -> Result<Reply, Refusal> {
    let groups = broker.producers.all().into_iter().map(|(group, members)| {
        let infos = members.into_iter().map(|producer| ProducerInfo {
            client_id: producer.client.client_id.to_string(),
            // Java prints a socket address with a slash before it.
            remote_ip: format!("/{}", producer.client.channel.remote_addr()),
            language: producer.client.language,
            version: producer.client.version,
            last_update_timestamp: producer.heard_millis,
        });
        (group, infos.collect())
    });
    Ok(Reply::body(fastjson::to_vec(&ProducerTableInfo { data: groups.collect() })))
}

/// QUERY_TOPIC_CONSUME_BY_WHO: groups that subscribe the topic now, and those that have consumed it.
pub(in crate::processor) fn groups_of_topic(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: QueryTopicConsumeByWhoRequestHeader = request.header()?;
    let mut groups = broker.consumers.groups_of(&header.topic);
    groups.extend(broker.consumer_offsets.groups_of(&header.topic));
    Ok(Reply::body(fastjson::to_vec(&GroupList { group_list: groups })))
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
pub(in crate::processor) fn system_topics(broker: &Broker) -> Result<Reply, Refusal> {
    let topic_list = broker.topics.system_names().into_iter().collect();
    Ok(Reply::body(fastjson::to_vec(&TopicList { topic_list, ..TopicList::default() })))
}

/// GET_CONSUME_STATS: how far a group is, queue by queue.
pub(in crate::processor) fn stats(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetConsumeStatsRequestHeader = request.header()?;
    let group = &*header.consumer_group;
    let mut stats = ConsumeStats::default();
    for name in topics_for_stats(broker, &header) {
        let Some(topic) = broker.topics.get(&name) else { continue };
        let known = || broker.consumer_offsets.queues_of(group, &name);
        for queue_id in broker.queues_to_list(&topic, topic.read_queue_nums, known) {
            let queue = queue_of(broker, &name, queue_id);
            stats.offset_table.insert(queue, progress(broker, group, &name, queue_id)?);
        }
        stats.consume_tps += broker.consumer_offsets.read_rate(group, &name);
    }
    Ok(Reply::body(fastjson::to_vec(&stats)))
}

fn progress(broker: &Broker, group: &str, topic: &str, queue_id: i32) -> Result<OffsetWrapper, Refusal> {
    let position = position_of(broker, group, topic, queue_id);
    let consumer_offset = position.unwrap_or(-1).max(0);
    let pulled = broker.consumer_offsets.pulled(group, topic, queue_id).or(position).unwrap_or(-1);
    let last_timestamp = match consumer_offset - 1 {
        last if last >= 0 => broker.store.message_store_time(topic, queue_id, last)?.max(0),
        _ => 0,
    };
    Ok(OffsetWrapper {
        broker_offset: broker.store.queue_offsets(topic, queue_id)?.end.max(0),
        consumer_offset,
        pull_offset: pulled.max(consumer_offset),
        last_timestamp,
    })
}

/// The topics that were asked for, else those the group has consumed; a group that is there counts only what it subscribes.
fn topics_for_stats(broker: &Broker, header: &GetConsumeStatsRequestHeader) -> BTreeSet<String> {
    let group = &*header.consumer_group;
    let listed = header.topic_list.as_deref().unwrap_or_default();
    if !listed.trim().is_empty() {
        return listed.split(';').map(str::to_owned).collect();
    }
    let topics = match header.topic.as_deref().unwrap_or_default() {
        topic if topic.trim().is_empty() => broker.consumer_offsets.topics_of(group),
        topic => BTreeSet::from([topic.to_owned()]),
    };
    if broker.consumers.subscription_count(group) == 0 {
        return topics;
    }
    topics.into_iter().filter(|topic| broker.consumers.known_subscription(group, topic).is_some()).collect()
}

/// INVOKE_BROKER_TO_RESET_OFFSET.
pub(in crate::processor) fn reset_offset(broker: &Broker, peer: &Peer, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: ResetOffsetRequestHeader = request.header()?;
    require_a_clients_group(&header.group)?;
    let reset = if broker.config.load().use_server_side_reset_offset {
        if broker.is_slave() {
            return Err(Refusal::system_error("Can not reset offset in slave broker"));
        }
        reset_here(broker, &header)
    } else {
        reset_in_clients(broker, &header, request.language == LanguageCode::Cpp)
    }?;
    let (group, topic, queue_id) = (&*header.group, &*header.topic, header.queue_id);
    // -1 stands for all queues, and for the time of now.
    tracing::info!(%peer, group, topic, queue_id, offset = header.offset, timestamp = header.timestamp, "offsets were reset by command");
    Ok(reset)
}

/// The broker keeps the new offsets; each queue's next pull is sent there.
fn reset_here(broker: &Broker, header: &ResetOffsetRequestHeader) -> Result<Reply, Refusal> {
    let (group, name) = (&*header.group, &*header.topic);
    let Some(topic) = broker.topics.get(name) else {
        return Err(Refusal::new(response_code::TOPIC_NOT_EXIST, format!("Topic {name} does not exist")));
    };
    if !broker.groups.contains(group) {
        let remark = format!("Group {group} does not exist");
        return Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let store = &broker.store;
    let mut offsets: BTreeMap<i32, i64> = BTreeMap::new();
    if header.queue_id >= 0 {
        let queue_id = header.queue_id;
        let offset = match header.offset.filter(|offset| *offset != -1) {
            Some(offset) => {
                let Range { start: min, end: max } = store.queue_offsets(name, queue_id)?;
                if min >= 0 && offset < min || offset > max + 1 {
                    let remark = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
                    return Err(Refusal::system_error(remark));
                }
                offset
            }
            None => offset_at(broker, name, queue_id, header.timestamp)?,
        };
        if !broker.consumer_offsets.has_room(group, name, queue_id, topic.queue_count().max(QUEUES_MAX)) {
            return Err(Refusal::system_error(format!("Group {group} has offsets of too many queues of topic {name}")));
        }
        offsets.insert(queue_id, offset);
    } else {
        let known = || broker.consumer_offsets.queues_of(group, name);
        for queue_id in broker.queues_to_list(&topic, topic.read_queue_nums, known) {
            offsets.insert(queue_id, offset_at(broker, name, queue_id, header.timestamp)?);
        }
    }
    if offsets.is_empty() {
        return Err(Refusal::system_error("No queues to reset."));
    }
    for (queue_id, offset) in &offsets {
        broker.consumer_offsets.assign_reset(group, name, *queue_id, *offset);
    }
    broker.consumer_offsets.persist().map_err(|why| Refusal::unwritten(&why))?;
    let offset_table = offsets.into_iter().map(|(queue_id, offset)| (queue_of(broker, name, queue_id), offset)).collect();
    Ok(Reply::body(fastjson::to_vec(&ResetOffsetBody { offset_table })))
}

/// The way of brokers before 5.0: the group's clients are told.
fn reset_in_clients(broker: &Broker, header: &ResetOffsetRequestHeader, asker_is_c: bool) -> Result<Reply, Refusal> {
    let (group, name) = (&*header.group, &*header.topic);
    let Some(topic) = broker.topics.get(name) else {
        let remark = format!("[reset-offset] reset offset failed, no topic in this broker. topic={name}");
        return Err(Refusal::new(response_code::TOPIC_NOT_EXIST, remark));
    };
    let mut offset_table: BTreeMap<MessageQueue, i64> = BTreeMap::new();
    for queue_id in broker.queues_to_list(&topic, topic.write_queue_nums, || broker.consumer_offsets.queues_of(group, name)) {
        let Some(position) = position_of(broker, group, name, queue_id) else {
            return Err(Refusal::system_error(format!("THe consumer group <{group}> not exist")));
        };
        let wanted = match header.timestamp {
            -1 => broker.store.queue_offsets(name, queue_id)?.end,
            timestamp => broker.store.offset_by_time(name, queue_id, timestamp, Boundary::Lower)?,
        };
        let wanted = wanted.max(0);
        let offset = if header.is_force || wanted < position { wanted } else { position };
        offset_table.insert(queue_of(broker, name, queue_id), offset);
    }
    let members = broker.consumers.members(group);
    if members.is_empty() {
        let remark = format!("Consumer not online, so can not reset offset, Group: {group} Topic: {name} Timestamp: {}", header.timestamp);
        return Err(Refusal::new(response_code::CONSUMER_NOT_ONLINE, remark));
    }
    if let Some(old) = members.iter().find(|member| member.version < version::V3_0_7_SNAPSHOT) {
        let remark = format!("the client does not support this feature. version={}", old.version);
        return Err(Refusal::system_error(remark));
    }
    let body = fastjson::to_vec(&ResetOffsetBody { offset_table: offset_table.clone() });
    let told = if asker_is_c {
        let list = offset_table.into_iter().map(|(queue, offset)| MessageQueueForC {
            topic: queue.topic,
            broker_name: queue.broker_name,
            queue_id: queue.queue_id,
            offset,
        });
        fastjson::to_vec(&ResetOffsetBodyForC { offset_table: list.collect() })
    } else {
        body.clone()
    };
    let told_header = ResetOffsetRequestHeader {
        topic: header.topic.clone(),
        group: header.group.clone(),
        timestamp: header.timestamp,
        ..ResetOffsetRequestHeader::default()
    };
    let told = Bytes::from(told);
    for member in &members {
        member.channel.reset_offset(&told_header, told.clone());
    }
    Ok(Reply::body(body))
}

/// Where the queue was at a time; a time before all times is now.
fn offset_at(broker: &Broker, topic: &str, queue_id: i32, timestamp: i64) -> Result<i64, Refusal> {
    if timestamp < 0 {
        Ok(broker.store.queue_offsets(topic, queue_id)?.end)
    } else {
        Ok(broker.store.offset_by_time(topic, queue_id, timestamp, Boundary::Lower)?)
    }
}

fn queue_of(broker: &Broker, topic: &str, queue_id: i32) -> MessageQueue {
    let broker_name = broker.started_with.broker_name.clone();
    MessageQueue::new(topic, broker_name, queue_id)
}

/// CLONE_GROUP_OFFSET: another group goes on where this one is. Topics that the group does not consume are passed over.
pub(in crate::processor) fn clone_offsets(broker: &Broker, peer: &Peer, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: CloneGroupOffsetRequestHeader = request.header()?;
    require_a_clients_group(&header.dest_group)?;
    let source = &*header.src_group;
    let topics = match header.topic.as_deref().unwrap_or_default() {
        topic if topic.trim().is_empty() => broker.consumer_offsets.topics_of(source),
        topic => BTreeSet::from([topic.to_owned()]),
    };
    let is_consumed = |topic: &str| {
        header.offline || broker.consumers.subscription_count(source) == 0 || broker.consumers.known_subscription(source, topic).is_some()
    };
    let consumed = topics.iter().filter(|topic| broker.topics.contains(topic) && is_consumed(topic));
    let cloned = consumed.filter(|topic| broker.consumer_offsets.clone_group(source, &header.dest_group, topic)).count();
    broker.consumer_offsets.persist().map_err(|why| Refusal::unwritten(&why))?;
    if cloned > 0 {
        let (topic, from, to) = (header.topic.as_deref(), source, &*header.dest_group);
        tracing::info!(%peer, from, to, topic, topics = cloned, "offsets of a group were given to another one by command");
    }
    Ok(Reply::success())
}

/// GET_CONSUMER_RUNNING_INFO: the client itself is asked, and its answer passed on as it is.
pub(in crate::processor) fn running_info(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetConsumerRunningInfoRequestHeader = request.header()?;
    let (group, client_id) = (&*header.consumer_group, &*header.client_id);
    let Some(client) = broker.consumers.find_client(group, client_id) else {
        return Err(Refusal::system_error(format!("The Consumer <{group}> <{client_id}> not online")));
    };
    if client.version < version::V3_1_8_SNAPSHOT {
        let remark =
            format!("The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT", client.version);
        return Err(Refusal::system_error(remark));
    }
    let who = format!("<{group}> <{client_id}>");
    let (fields, body) = (request.ext_fields.clone(), request.body.clone());
    let completion = peer.completion(request);
    broker.runtime.spawn("relay to a client", async move {
        let response = match client.channel.running_info(fields, body).await {
            Ok(response) => response,
            // A client that goes while it is asked has not answered in time either.
            Err(why @ (CallError::Timeout { .. } | CallError::Closed { .. })) => {
                let remark = format!("consumer {who} Timeout: {why}");
                Refusal::new(response_code::CONSUME_MSG_TIMEOUT, remark).into_response()
            }
            Err(why) => Refusal::system_error(format!("invoke consumer {who} Exception: {why}")).into_response(),
        };
        completion.answer_now(response);
    });
    Ok(Reply::Later)
}
