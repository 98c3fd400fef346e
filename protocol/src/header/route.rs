// SPDX-License-Identifier: Apache-2.0
//! The name server's codes: routes, registrations, write permissions, KV config.

use super::header;
use crate::str::Str;

header! {
    /// GET_ROUTEINFO_BY_TOPIC (105). The zone fields are constants of the original, hence their spelling.
    pub struct GetRouteInfoRequestHeader {
        "topic" => topic: Str!,
        "acceptStandardJsonOnly" => accept_standard_json_only: bool,
        "__ZONE_NAME" => zone_name: Option<Str>,
        "__ZONE_MODE" => zone_mode: bool,
    }

    /// REGISTER_BROKER (103).
    pub struct RegisterBrokerRequestHeader {
        "brokerName" => broker_name: Str! required,
        "brokerAddr" => broker_addr: Str! required,
        "clusterName" => cluster_name: Str! required,
        "haServerAddr" => ha_server_addr: Str!,
        "brokerId" => broker_id: i64! required,
        "heartbeatTimeoutMillis" => heartbeat_timeout_millis: Option<i64>,
        "enableActingMaster" => enable_acting_master: Option<bool>,
        "compressed" => compressed: bool,
        "bodyCrc32" => body_crc32: i32,
        "__ZONE_NAME" => zone_name: Option<Str>,
    }

    pub struct RegisterBrokerResponseHeader {
        "haServerAddr" => ha_server_addr: Option<Str>,
        "masterAddr" => master_addr: Option<Str>,
    }

    /// UNREGISTER_BROKER (104).
    pub struct UnregisterBrokerRequestHeader {
        "brokerName" => broker_name: Str!,
        "brokerAddr" => broker_addr: Str!,
        "clusterName" => cluster_name: Str!,
        "brokerId" => broker_id: i64!,
    }

    /// QUERY_DATA_VERSION (322).
    pub struct QueryDataVersionRequestHeader {
        "brokerName" => broker_name: Str!,
        "brokerAddr" => broker_addr: Str! required,
        "clusterName" => cluster_name: Str!,
        "brokerId" => broker_id: i64!,
    }

    pub struct QueryDataVersionResponseHeader {
        "changed" => changed: bool!,
    }

    /// BROKER_HEARTBEAT (904). `heartbeatTimeoutMills` is spelled so.
    pub struct BrokerHeartbeatRequestHeader {
        "clusterName" => cluster_name: Str!,
        "brokerAddr" => broker_addr: Str! required,
        "brokerName" => broker_name: Str!,
        "brokerId" => broker_id: Option<i64>,
        "epoch" => epoch: Option<i32>,
        "maxOffset" => max_offset: Option<i64>,
        "confirmOffset" => confirm_offset: Option<i64>,
        "heartbeatTimeoutMills" => heartbeat_timeout_mills: Option<i64>,
        "electionPriority" => election_priority: Option<i32>,
    }

    /// GET_BROKER_MEMBER_GROUP (901).
    pub struct GetBrokerMemberGroupRequestHeader {
        "clusterName" => cluster_name: Str!,
        "brokerName" => broker_name: Str!,
    }

    /// NOTIFY_MIN_BROKER_ID_CHANGE (905), name server to broker.
    pub struct NotifyMinBrokerIdChangeRequestHeader {
        "minBrokerId" => min_broker_id: i64! required,
        "brokerName" => broker_name: Option<Str>,
        "minBrokerAddr" => min_broker_addr: Option<Str>,
        "offlineBrokerAddr" => offline_broker_addr: Option<Str>,
        "haBrokerAddr" => ha_broker_addr: Option<Str>,
    }

    /// WIPE_WRITE_PERM_OF_BROKER (205).
    pub struct WipeWritePermOfBrokerRequestHeader {
        "brokerName" => broker_name: Str!,
    }

    pub struct WipeWritePermOfBrokerResponseHeader {
        "wipeTopicCount" => wipe_topic_count: i32!,
    }

    /// ADD_WRITE_PERM_OF_BROKER (327).
    pub struct AddWritePermOfBrokerRequestHeader {
        "brokerName" => broker_name: Str!,
    }

    pub struct AddWritePermOfBrokerResponseHeader {
        "addTopicCount" => add_topic_count: i32!,
    }

    /// DELETE_TOPIC_IN_NAMESRV (216).
    pub struct DeleteTopicFromNamesrvRequestHeader {
        "topic" => topic: Str!,
        "clusterName" => cluster_name: Option<Str>,
    }

    /// REGISTER_TOPIC_IN_NAMESRV (217).
    pub struct RegisterTopicRequestHeader {
        "topic" => topic: Str!,
    }

    /// GET_TOPICS_BY_CLUSTER (224).
    pub struct GetTopicsByClusterRequestHeader {
        "cluster" => cluster: Str!,
    }

    /// PUT_KV_CONFIG (100). Missing names are refused, so null is told apart.
    pub struct PutKvConfigRequestHeader {
        "namespace" => namespace: Option<Str>!,
        "key" => key: Option<Str>!,
        "value" => value: Option<Str>!,
    }

    /// GET_KV_CONFIG (101).
    pub struct GetKvConfigRequestHeader {
        "namespace" => namespace: Option<Str>!,
        "key" => key: Option<Str>!,
    }

    pub struct GetKvConfigResponseHeader {
        "value" => value: Option<Str>,
    }

    /// DELETE_KV_CONFIG (102).
    pub struct DeleteKvConfigRequestHeader {
        "namespace" => namespace: Option<Str>!,
        "key" => key: Option<Str>!,
    }

    /// GET_KVLIST_BY_NAMESPACE (219).
    pub struct GetKvListByNamespaceRequestHeader {
        "namespace" => namespace: Str!,
    }
}
