// SPDX-License-Identifier: Apache-2.0
//! The requests of a name server: decode, ask the tables, answer in the original's codes and words. `routes` says which function serves
//! which code.
//!
//! Follows DefaultRequestProcessor.java and ClientRequestProcessor.java. Answers at once but for changes that are to last: those
//! are answered when they are on the disk. Knows no file and no port.

use std::sync::Arc;
use std::time::Duration;

use ferrocket_protocol::body::register::RegisterBrokerBody;
use ferrocket_protocol::body::route::{BrokerData, GetBrokerMemberGroupResponseBody, TopicRouteData};
use ferrocket_protocol::body::topic::{TopicConfigSerializeWrapper, TopicList};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::route::*;
use ferrocket_protocol::{Header, RemotingCommand, Str, fastjson, request_code, response_code, version};
use tracing::{info, warn};

use super::kv_config::NotKept;
use super::route_tables::{Departure, MinIdChange, Part, Registration};
use super::routes::{Lane, row_of};
use super::{NameServer, kv_config};
use crate::config::{UpdateError, shown};
use crate::remoting::Peer;

/// Since this version a client is answered in JSON that any parser reads.
const STANDARD_JSON_SINCE: i32 = version::V4_9_4;
/// Since this version a registration carries filter servers beside the topics.
const REGISTER_BODY_SINCE: i32 = version::V3_0_11;
const NOTIFY_TIMEOUT: Duration = Duration::from_millis(300);
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// The order for every request: decode, judge, lane, handler. `None` when the answer comes later.
pub(super) fn process(server: &NameServer, peer: &Arc<Peer>, request: &RemotingCommand) -> Option<RemotingCommand> {
    let Some(row) = row_of(request.code) else {
        let remark = format!(" request type {} not supported", request.code);
        return Some(refused(response_code::REQUEST_CODE_NOT_SUPPORTED, remark));
    };
    if let Some(field) = row.route.unreadable_field(&request.ext_fields) {
        return Some(refused(response_code::SYSTEM_ERROR, format!("the field {field} is missing or no number")));
    }
    // Judge: as in the broker's `dispatch`. The original's name server asks nobody.
    let waits = match row.lane {
        Lane::Connection => false,
        Lane::Tables => server.changes.has_of(peer),
        Lane::DiskChanges => true,
    };
    if !waits {
        return Some((row.serve)(server, peer, request));
    }
    let (shared, completion, request) = (server.shared(), peer.completion(request), request.clone());
    server.changes.push(peer, move || {
        let response = (row.serve)(&shared, completion.peer(), &request);
        completion.answer_now(response);
    });
    None
}

pub(super) fn put_kv_config(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    let header = PutKvConfigRequestHeader::decode(&request.ext_fields);
    match header.namespace.zip(header.key) {
        Some((namespace, key)) => {
            let value = header.value.as_deref();
            let put = server.kv.put(&namespace, &key, value);
            if put.is_ok() {
                let value = value.map(|value| shown(&key, value));
                info!(%peer, namespace = &*namespace, key = &*key, value = value.as_deref(), "a setting of the KV table was put by command");
            }
            written(put)
        }
        None => refused(response_code::SYSTEM_ERROR, "namespace or key is null"),
    }
}

pub(super) fn get_kv_config(server: &NameServer, request: &RemotingCommand) -> RemotingCommand {
    let header = GetKvConfigRequestHeader::decode(&request.ext_fields);
    let (namespace, key) = (header.namespace.as_deref(), header.key.as_deref());
    match namespace.zip(key).and_then(|(namespace, key)| server.kv.get(namespace, key)) {
        Some(value) => success_with(&GetKvConfigResponseHeader { value: Some(Str::from(value)) }),
        None => {
            let remark = format!("No config item, Namespace: {} Key: {}", namespace.unwrap_or("null"), key.unwrap_or("null"));
            refused(response_code::QUERY_NOT_FOUND, remark)
        }
    }
}

pub(super) fn delete_kv_config(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    let header = DeleteKvConfigRequestHeader::decode(&request.ext_fields);
    match header.namespace.zip(header.key) {
        Some((namespace, key)) => {
            let deleted = server.kv.delete(&namespace, &key);
            if deleted == Ok(true) {
                info!(%peer, namespace = &*namespace, key = &*key, "a setting of the KV table was deleted by command");
            }
            written(deleted.map(drop))
        }
        None => success(),
    }
}

pub(super) fn kv_list(server: &NameServer, request: &RemotingCommand) -> RemotingCommand {
    let namespace = GetKvListByNamespaceRequestHeader::decode(&request.ext_fields).namespace;
    match server.kv.list(&namespace) {
        Some(table) => success().with_body(fastjson::to_vec(&table)),
        None => refused(response_code::QUERY_NOT_FOUND, format!("No config item, Namespace: {namespace}")),
    }
}

pub(super) fn update_config(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    match server.config.update(&request.body, server.now_millis()) {
        Ok(changed) => {
            for change in changed {
                info!(%peer, key = change.key, from = change.from, to = change.to, "configuration changed by command");
            }
            success()
        }
        Err(error @ UpdateError::BlackListed) => refused(response_code::NO_PERMISSION, error.to_string()),
        Err(error) => refused(response_code::SYSTEM_ERROR, error.to_string()),
    }
}

pub(super) fn config(server: &NameServer) -> RemotingCommand {
    success().with_body(server.config.to_properties())
}

pub(super) fn heartbeat(server: &NameServer, request: &RemotingCommand) -> RemotingCommand {
    let header = BrokerHeartbeatRequestHeader::decode(&request.ext_fields);
    server.routes.touch(&header.cluster_name, &header.broker_addr, server.now_millis());
    success()
}

pub(super) fn cluster_info(server: &NameServer, peer: &Peer) -> RemotingCommand {
    let mut info = server.routes.cluster_info();
    for broker in info.broker_addr_table.values_mut() {
        broker.broker_addrs.values_mut().for_each(|addr| server.show(addr, peer));
    }
    success().with_body(fastjson::to_vec(&info))
}

pub(super) fn member_group(server: &NameServer, request: &RemotingCommand) -> RemotingCommand {
    let header = GetBrokerMemberGroupRequestHeader::decode(&request.ext_fields);
    let group = server.routes.member_group(&header.cluster_name, &header.broker_name);
    success().with_body(fastjson::to_vec(&GetBrokerMemberGroupResponseBody { broker_member_group: Some(group) }))
}

pub(super) fn wipe_write_perm(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    let broker = WipeWritePermOfBrokerRequestHeader::decode(&request.ext_fields).broker_name;
    let wipe_topic_count = server.routes.wipe_write_perm(&broker);
    if wipe_topic_count > 0 {
        info!(%peer, %broker, topics = wipe_topic_count, "write permission taken from a broker");
    }
    success_with(&WipeWritePermOfBrokerResponseHeader { wipe_topic_count })
}

pub(super) fn add_write_perm(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    let broker = AddWritePermOfBrokerRequestHeader::decode(&request.ext_fields).broker_name;
    let add_topic_count = server.routes.add_write_perm(&broker);
    if add_topic_count > 0 {
        info!(%peer, %broker, topics = add_topic_count, "write permission given to a broker");
    }
    success_with(&AddWritePermOfBrokerResponseHeader { add_topic_count })
}

pub(super) fn register_topic(server: &NameServer, request: &RemotingCommand) -> RemotingCommand {
    if let Ok(route) = fastjson::from_slice::<TopicRouteData>(&request.body) {
        server.routes.register_topic(&RegisterTopicRequestHeader::decode(&request.ext_fields).topic, route.queue_datas);
    }
    success()
}

pub(super) fn delete_topic(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    let header = DeleteTopicFromNamesrvRequestHeader::decode(&request.ext_fields);
    let cluster = header.cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
    if server.routes.delete_topic(&header.topic, cluster) {
        info!(%peer, topic = &*header.topic, cluster, "a topic was taken out of the routes by command");
    }
    success()
}

pub(super) fn all_topics(server: &NameServer) -> RemotingCommand {
    topics_if(server.config.load().enable_all_topic_list, || server.routes.all_topics())
}

pub(super) fn topics_of_cluster(server: &NameServer, request: &RemotingCommand) -> RemotingCommand {
    topics_if(server.config.load().enable_topic_list, || {
        server.routes.topics_of_cluster(&GetTopicsByClusterRequestHeader::decode(&request.ext_fields).cluster)
    })
}

pub(super) fn unit_topics(server: &NameServer) -> RemotingCommand {
    topics_if(server.config.load().enable_topic_list, || server.routes.unit_topics())
}

pub(super) fn unit_sub_topics(server: &NameServer) -> RemotingCommand {
    topics_if(server.config.load().enable_topic_list, || server.routes.unit_sub_topics())
}

pub(super) fn unit_sub_topics_without_unit(server: &NameServer) -> RemotingCommand {
    topics_if(server.config.load().enable_topic_list, || server.routes.unit_sub_topics_without_unit())
}

pub(super) fn system_topics(server: &NameServer, peer: &Peer) -> RemotingCommand {
    let mut list = server.routes.system_topics();
    if let Some(addr) = &mut list.broker_addr {
        server.show(addr, peer);
    }
    success().with_body(fastjson::to_vec(&list))
}

pub(super) fn route(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    let config = server.config.load();
    let header = GetRouteInfoRequestHeader::decode(&request.ext_fields);
    let topic = header.topic.as_str();
    if config.need_wait_for_service && server.now_millis() - server.started_millis < i64::from(config.wait_seconds_for_service) * 1000 {
        warn!(topic, "name server not ready");
        return refused(response_code::SYSTEM_ERROR, "name server not ready");
    }
    let Some(mut route) = server.routes.topic_route(topic, server.rules()) else {
        return refused(response_code::TOPIC_NOT_EXIST, format!("No topic route info in name server for the topic: {topic}{FAQ}"));
    };
    if config.order_message_enable {
        route.order_topic_conf = server.kv.get(kv_config::ORDER_TOPIC_CONFIG, topic);
    }
    let mut standard = request.version >= STANDARD_JSON_SINCE || header.accept_standard_json_only;
    let zone = header.zone_name.as_deref().filter(|zone| header.zone_mode && !zone.trim().is_empty());
    if let Some(zone) = zone {
        keep_zone(&mut route, zone);
        // The original's filter writes the answer again, and forgets which form it had.
        standard = false;
    }
    for addr in route.broker_datas.iter_mut().flat_map(|broker| broker.broker_addrs.values_mut()) {
        let before = addr.clone();
        server.show(addr, peer);
        if let Some(servers) = route.filter_server_table.remove(&before) {
            route.filter_server_table.insert(addr.clone(), servers);
        }
    }
    success().with_body(if standard { fastjson::to_vec_standard(&route) } else { fastjson::to_vec(&route) })
}

/// ZoneRouteRPCHook.java: broker sets of other zones go, unless they have lost their master.
fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    let stays = |broker: &BrokerData| {
        !broker.broker_addrs.contains_key(&0) || broker.zone_name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(zone))
    };
    let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut route.broker_datas).into_iter().partition(stays);
    route.queue_datas.retain(|queue| !gone.iter().any(|broker| broker.broker_name == queue.broker_name));
    for addr in gone.iter().flat_map(|broker| broker.broker_addrs.values()) {
        route.filter_server_table.remove(addr);
    }
    route.broker_datas = kept;
}

pub(super) fn register_broker(server: &NameServer, peer: &Arc<Peer>, request: &RemotingCommand) -> RemotingCommand {
    let header = RegisterBrokerRequestHeader::decode(&request.ext_fields);
    if header.body_crc32 != 0 && body_crc32(&request.body) != header.body_crc32 {
        warn!(%peer, "a registration came damaged");
        return refused(response_code::SYSTEM_ERROR, "crc32 not match");
    }
    let body = if request.body.is_empty() {
        Ok(RegisterBrokerBody::default())
    } else if request.version < REGISTER_BODY_SINCE {
        fastjson::from_slice(&request.body).map(only_topics)
    } else {
        RegisterBrokerBody::decode(&request.body, header.compressed, request.version)
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            warn!(%peer, broker = %header.broker_name, %error, "a registration cannot be read");
            let remark = "org.apache.rocketmq.remoting.exception.RemotingCommandException: Failed to decode RegisterBrokerBody";
            return refused(response_code::SYSTEM_ERROR, remark);
        }
    };
    let wrapper = body.topic_config_serialize_wrapper;
    let registration = Registration {
        cluster: header.cluster_name.to_string(),
        addr: header.broker_addr.to_string(),
        name: header.broker_name.to_string(),
        id: header.broker_id,
        ha_server_addr: header.ha_server_addr.to_string(),
        zone: header.zone_name.map(|zone| zone.to_string()),
        expiry_millis: header.heartbeat_timeout_millis,
        acting_master: header.enable_acting_master,
        data_version: wrapper.data_version,
        topics: wrapper.topic_config_table.into_values().collect(),
        mapping_infos: wrapper.topic_queue_mapping_info_map,
        // Brokers of before 3.0.11 say nothing of filter servers.
        filter_servers: (request.version >= REGISTER_BODY_SINCE).then_some(body.filter_server_list),
        connection: peer.id(),
        part: Part::Frame,
    };
    server.remember(peer);
    let registered = match server.routes.register(registration, server.rules(), server.now_millis()) {
        Ok(registered) => registered,
        Err(why) => {
            warn!(%peer, broker = %header.broker_name, %why, "a registration is refused");
            return refused(response_code::SYSTEM_ERROR, why.to_string());
        }
    };
    notify(server, registered.notice);
    let response = success_with(&RegisterBrokerResponseHeader {
        ha_server_addr: registered.ha_server_addr.map(Str::from),
        master_addr: registered.master_addr.map(Str::from),
    });
    let order_topics =
        server.config.load().return_order_topic_config_to_broker.then(|| server.kv.list(kv_config::ORDER_TOPIC_CONFIG)).flatten();
    match order_topics {
        Some(table) => response.with_body(fastjson::to_vec(&table)),
        None => response,
    }
}

/// The body of brokers before 3.0.11.
fn only_topics(wrapper: TopicConfigSerializeWrapper) -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    body.topic_config_serialize_wrapper.data_version = wrapper.data_version;
    body.topic_config_serialize_wrapper.topic_config_table = wrapper.topic_config_table;
    body
}

/// The checksum that `bodyCrc32` carries: never negative.
fn body_crc32(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

pub(super) fn unregister_broker(server: &NameServer, peer: &Peer, request: &RemotingCommand) -> RemotingCommand {
    let header = UnregisterBrokerRequestHeader::decode(&request.ext_fields);
    let departure = Departure {
        cluster: header.cluster_name.to_string(),
        addr: header.broker_addr.to_string(),
        name: header.broker_name.to_string(),
        id: header.broker_id,
    };
    if server.routes.is_own(&departure) {
        // It leaves within the process; only there is it sure who says so.
        info!(%peer, broker = departure.name, "a connection says that the broker of this process leaves; ignored");
        return success();
    }
    notify(server, server.routes.unregister(&[departure], server.rules()));
    success()
}

pub(super) fn query_data_version(server: &NameServer, request: &RemotingCommand) -> RemotingCommand {
    let header = QueryDataVersionRequestHeader::decode(&request.ext_fields);
    let (cluster, addr) = (header.cluster_name.as_str(), header.broker_addr.as_str());
    let theirs: Option<DataVersion> = fastjson::from_slice(&request.body).ok();
    let ours = server.routes.data_version(cluster, addr);
    server.routes.touch(cluster, addr, server.now_millis());
    let changed = ours.is_none() || ours != theirs;
    let response = success_with(&QueryDataVersionResponseHeader { changed });
    match ours {
        Some(version) => response.with_body(fastjson::to_vec(&version)),
        None => response,
    }
}

/// NOTIFY_MIN_BROKER_ID_CHANGE to the brokers that a change concerns; nobody waits for it.
pub(super) fn notify(server: &NameServer, changes: impl IntoIterator<Item = MinIdChange>) {
    for change in changes {
        info!(min_id = change.min_id, min_addr = change.min_addr, tell = change.tell.join(";"), "a broker set has another smallest id");
        let header = NotifyMinBrokerIdChangeRequestHeader {
            min_broker_id: change.min_id,
            min_broker_addr: Some(Str::from(change.min_addr)),
            offline_broker_addr: change.offline_addr.map(Str::from),
            ha_broker_addr: change.ha_server_addr.map(Str::from),
            ..NotifyMinBrokerIdChangeRequestHeader::default()
        };
        for addr in change.tell {
            let (client, header) = (server.client.clone(), header.clone());
            server.runtime.spawn("notify min broker id", async move {
                let request = RemotingCommand::request_with(request_code::NOTIFY_MIN_BROKER_ID_CHANGE, &header);
                if let Err(error) = client.invoke_oneway(&addr, request, NOTIFY_TIMEOUT).await {
                    warn!(addr, %error, "a broker could not be told of the smallest id");
                }
            });
        }
    }
}

fn topics_if(enabled: bool, topics: impl FnOnce() -> TopicList) -> RemotingCommand {
    if enabled { success().with_body(fastjson::to_vec(&topics())) } else { refused(response_code::SYSTEM_ERROR, "disable") }
}

fn written(change: Result<(), NotKept>) -> RemotingCommand {
    match change {
        Ok(()) => success(),
        Err(why) => refused(response_code::SYSTEM_ERROR, why.to_string()),
    }
}

fn success() -> RemotingCommand {
    RemotingCommand::response(response_code::SUCCESS)
}

fn success_with(header: &impl Header) -> RemotingCommand {
    let mut response = success();
    header.encode(&mut response.ext_fields);
    response
}

fn refused(code: i32, remark: impl Into<Str>) -> RemotingCommand {
    RemotingCommand::response(code).with_remark(remark)
}
