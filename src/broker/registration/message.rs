// SPDX-License-Identifier: Apache-2.0
//! What name servers are told, as requests: the whole table in one registration or in parts, one topic, a departure.
//!
//! Follows BrokerController.java and BrokerOuterAPI.java. Knows nothing of connections, and nothing of who was told what.

use std::sync::Arc;
use std::time::Duration;

use ferrocket_protocol::body::route::QueueData;
use ferrocket_protocol::body::{
    RegisterBrokerBody, TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicQueueMappingInfo, TopicRouteData,
};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::frame::FRAME_BYTES_MAX;
use ferrocket_protocol::header::route::{
    BrokerHeartbeatRequestHeader, QueryDataVersionRequestHeader, RegisterBrokerRequestHeader, RegisterTopicRequestHeader,
    UnregisterBrokerRequestHeader,
};
use ferrocket_protocol::{RemotingCommand, fastjson, perm, request_code};

use crate::broker::topics::Topic;
use crate::config::Advertised;

/// A registration's body: what a frame holds, less room for the header. Name servers of either make close the connection above it.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;

/// A table in parts names a static topic, on a topic that nobody routes: a name server with `deleteTopicWithBrokerRegistration`
/// takes a registration without one for the whole table and deletes every topic that it does not name. Followed from
/// RouteInfoManager.java (5.5.0); the original's own parts (`enableSplitRegistration`) say nothing and delete each other.
const PART_MARK: &str = "rmq_sys_REGISTERED_IN_PARTS";

/// No broker has this id. A broker that moved takes its old address back under it: name servers of 5.x remove by address, those of
/// 4.x by id and would remove the new one.
const NO_BROKER_ID: i64 = -1;

/// The broker's place in the tables of a name server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub broker_name: String,
    /// As name servers give it to clients.
    pub broker_addr: String,
    pub cluster_name: String,
    pub broker_id: i64,
    pub ha_server_addr: String,
}

impl Identity {
    pub(super) fn is_slave(&self) -> bool {
        self.broker_id > 0
    }

    /// As it is taken back when another address of this broker has its place.
    pub(super) fn replaced(self) -> Self {
        Self { broker_id: NO_BROKER_ID, ..self }
    }
}

/// How registrations are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// `compressedRegister`.
    pub compressed: bool,
    /// `splitRegistrationSize` where `enableSplitRegistration` is set: topics of one part.
    pub part_topics: Option<usize>,
    /// `enableSingleTopicRegister`: a changed topic goes alone, by 217.
    pub single_topics: bool,
}

/// What the broker says of itself at this moment.
#[derive(Clone)]
pub struct BrokerSnapshot {
    pub identity: Identity,
    /// The address as each network is told it, for the name server of this process.
    pub advertised: Advertised,
    /// What all topics' permissions are cut down to.
    pub broker_permission: i32,
    /// Register always, or only where the name server says that its table is old.
    pub force: bool,
    pub form: Form,
    pub timeout: Duration,
    /// `enableSlaveActingMaster`: after so much silence, in milliseconds, the broker is not there (`brokerNotActiveTimeoutMillis`).
    pub acting_not_active_millis: Option<i64>,
    pub data_version: DataVersion,
    pub topics: Vec<Arc<Topic>>,
}

impl BrokerSnapshot {
    /// A topic as name servers are told it.
    pub fn config_of(&self, topic: &Topic) -> TopicConfig {
        let broker = self.broker_permission;
        let mask = if perm::is_readable(broker) && perm::is_writable(broker) { !0 } else { broker };
        TopicConfig { perm: topic.perm & mask, ..topic.config().clone() }
    }
}

/// One registration of a table that goes in so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub at: usize,
    pub of: usize,
    /// The name server is to take every topic anew. It compares the version only with that of the part before: each part then
    /// needs one of its own, and the last one the true one.
    pub anew: bool,
    pub compressed: bool,
}

impl Part {
    fn version(&self, snapshot: &BrokerSnapshot) -> DataVersion {
        let before_last = (self.of - 1 - self.at) as i64;
        let true_version = &snapshot.data_version;
        if self.anew {
            DataVersion { timestamp: true_version.timestamp - before_last, ..true_version.clone() }
        } else {
            true_version.clone()
        }
    }
}

/// REGISTER_BROKER with these topics; `None` when no frame holds them.
pub(super) fn registration(
    snapshot: &BrokerSnapshot,
    topics: &[Arc<Topic>],
    part: Part,
    mapping_version: &DataVersion,
) -> Option<RemotingCommand> {
    let at = &snapshot.identity;
    let config = |topic: &Arc<Topic>| (topic.topic_name.clone(), snapshot.config_of(topic));
    let mut wrapper = TopicConfigAndMappingSerializeWrapper {
        data_version: part.version(snapshot),
        mapping_data_version: mapping_version.clone(),
        topic_config_table: topics.iter().map(config).collect(),
        ..TopicConfigAndMappingSerializeWrapper::default()
    };
    if part.of > 1 {
        let mark = TopicQueueMappingInfo {
            topic: Some(PART_MARK.to_owned()),
            bname: Some(at.broker_name.clone()),
            ..TopicQueueMappingInfo::default()
        };
        wrapper.topic_queue_mapping_info_map.insert(PART_MARK.to_owned(), mark);
    }
    let body = RegisterBrokerBody { topic_config_serialize_wrapper: wrapper, ..RegisterBrokerBody::default() }.encode(part.compressed);
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let header = RegisterBrokerRequestHeader {
        broker_name: at.broker_name.clone().into(),
        broker_addr: at.broker_addr.clone().into(),
        cluster_name: at.cluster_name.clone().into(),
        ha_server_addr: at.ha_server_addr.clone().into(),
        broker_id: at.broker_id,
        heartbeat_timeout_millis: snapshot.acting_not_active_millis,
        enable_acting_master: Some(snapshot.acting_not_active_millis.is_some()),
        // 5.5 says false whatever it sends, and what it then compressed can be read by nobody.
        compressed: part.compressed,
        body_crc32: (crc32fast::hash(&body) & 0x7FFF_FFFF) as i32,
        ..RegisterBrokerRequestHeader::default()
    };
    Some(RemotingCommand::request_with(request_code::REGISTER_BROKER, &header).with_body(body))
}

/// REGISTER_TOPIC_IN_NAMESRV: one topic, and no word about the others.
pub(super) fn single_topic(snapshot: &BrokerSnapshot, topic: &Topic) -> RemotingCommand {
    let config = snapshot.config_of(topic);
    let queues = QueueData {
        broker_name: snapshot.identity.broker_name.clone(),
        perm: config.perm,
        read_queue_nums: config.read_queue_nums,
        write_queue_nums: config.write_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
    };
    let body = TopicRouteData { queue_datas: vec![queues], ..TopicRouteData::default() };
    let header = RegisterTopicRequestHeader { topic: config.topic_name.into() };
    RemotingCommand::request_with(request_code::REGISTER_TOPIC_IN_NAMESRV, &header).with_body(fastjson::to_vec(&body))
}

/// UNREGISTER_BROKER.
pub(super) fn departure(at: &Identity) -> RemotingCommand {
    let header = UnregisterBrokerRequestHeader {
        broker_name: at.broker_name.clone().into(),
        broker_addr: at.broker_addr.clone().into(),
        cluster_name: at.cluster_name.clone().into(),
        broker_id: at.broker_id,
    };
    RemotingCommand::request_with(request_code::UNREGISTER_BROKER, &header)
}

/// QUERY_DATA_VERSION: is what the name server has still true?
pub(super) fn version_query(snapshot: &BrokerSnapshot) -> RemotingCommand {
    let at = &snapshot.identity;
    let header = QueryDataVersionRequestHeader {
        broker_name: at.broker_name.clone().into(),
        broker_addr: at.broker_addr.clone().into(),
        cluster_name: at.cluster_name.clone().into(),
        broker_id: at.broker_id,
    };
    RemotingCommand::request_with(request_code::QUERY_DATA_VERSION, &header).with_body(fastjson::to_vec(&snapshot.data_version))
}

/// BROKER_HEARTBEAT.
pub(super) fn heartbeat(snapshot: &BrokerSnapshot) -> RemotingCommand {
    let at = &snapshot.identity;
    let header = BrokerHeartbeatRequestHeader {
        broker_name: at.broker_name.clone().into(),
        broker_addr: at.broker_addr.clone().into(),
        cluster_name: at.cluster_name.clone().into(),
        ..BrokerHeartbeatRequestHeader::default()
    };
    RemotingCommand::request_with(request_code::BROKER_HEARTBEAT, &header)
}
