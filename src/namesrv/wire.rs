// SPDX-License-Identifier: Apache-2.0
//! Temporary home of bodies and headers.
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::{ExtFields, Header, Str};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: Option<String>,
    pub cluster: Option<String>,
    pub enable_acting_master: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroup {
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: Option<String>,
    pub cluster: Option<String>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetBrokerMemberGroupResponseBody {
    pub broker_member_group: Option<BrokerMemberGroup>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    pub broker_addr_table: Option<BTreeMap<String, BrokerData>>,
    pub cluster_addr_table: Option<BTreeMap<String, BTreeSet<String>>>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    pub broker_name: String,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRouteData {
    pub broker_datas: Vec<BrokerData>,
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    pub order_topic_conf: Option<String>,
    pub queue_datas: Vec<QueueData>,
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingInfo {
    pub bname: Option<String>,
    pub curr_id_map: BTreeMap<i32, i32>,
    pub dirty: bool,
    pub epoch: i64,
    pub scope: Option<String>,
    pub topic: Option<String>,
    pub total_queues: i32,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    pub broker_addr: Option<String>,
    pub topic_list: Vec<String>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KvTable {
    pub table: BTreeMap<String, String>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    pub topic_name: String,
    pub read_queue_nums: i32,
    pub write_queue_nums: i32,
    pub perm: i32,
    pub topic_sys_flag: i32,
}
impl Default for TopicConfig {
    fn default() -> Self {
        Self { topic_name: String::new(), read_queue_nums: 16, write_queue_nums: 16, perm: 6, topic_sys_flag: 0 }
    }
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigSerializeWrapper {
    pub data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
    pub filter_server_list: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct RegisterBrokerRequestHeader {
    pub broker_name: Str,
    pub broker_addr: Str,
    pub cluster_name: Str,
    pub ha_server_addr: Str,
    pub broker_id: i64,
    pub heartbeat_timeout_millis: Option<i64>,
    pub enable_acting_master: Option<bool>,
    pub compressed: bool,
    pub body_crc32: i32,
}
impl RegisterBrokerRequestHeader {
    pub fn decode(ext: &ExtFields) -> Self {
        let s = |k: &str| ext.get(k).unwrap_or_default();
        Self {
            broker_name: s("brokerName"),
            broker_addr: s("brokerAddr"),
            cluster_name: s("clusterName"),
            ha_server_addr: s("haServerAddr"),
            broker_id: s("brokerId").parse().unwrap_or(0),
            heartbeat_timeout_millis: s("heartbeatTimeoutMillis").parse().ok(),
            enable_acting_master: ext.get("enableActingMaster").map(|v| v.as_str() == "true"),
            compressed: s("compressed").as_str() == "true",
            body_crc32: s("bodyCrc32").parse().unwrap_or(0),
        }
    }
}
macro_rules! out { ($name:ident { $($f:ident $w:literal : $t:ty),* }) => {
    #[derive(Clone, Debug, Default)] pub struct $name { $(pub $f: Option<$t>),* }
    impl Header for $name { fn decode(_: &ExtFields) -> Self { Self::default() } fn encode(&self, ext: &mut ExtFields) { ext.mark_present(); $(if let Some(v) = &self.$f { ext.insert_display($w, v); })* } }
} }
out!(RegisterBrokerResponseHeader { ha_server_addr "haServerAddr": Str, master_addr "masterAddr": Str });
out!(GetKvConfigResponseHeader { value "value": Str });
out!(WipeWritePermOfBrokerResponseHeader { wipe_topic_count "wipeTopicCount": i32 });
out!(AddWritePermOfBrokerResponseHeader { add_topic_count "addTopicCount": i32 });
out!(QueryDataVersionResponseHeader { changed "changed": bool });
out!(NotifyMinBrokerIdChangeRequestHeader { min_broker_id "minBrokerId": i64, min_broker_addr "minBrokerAddr": Str, offline_broker_addr "offlineBrokerAddr": Str, ha_broker_addr "haBrokerAddr": Str });
