// SPDX-License-Identifier: Apache-2.0
//! The codes that nobody serves, one row each, and what people call the parts of RocketMQ: with the rows of `routes` and of the name
//! server the source of the tables in `docs/compatibility.md` and `README.md`.
//!
//! `tests/compatibility.rs` asks a running broker for every code and compares, and writes the documents.

use ferrocket_protocol::request_code as code;

/// Why a code is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// Sent by the broker to clients, as this test file shows.
    ToClients(&'static str),
    /// For good reason.
    OnPurpose(&'static str),
    /// Part of this feature.
    NotYet(&'static str),
}

use Unserved::{NotYet, OnPurpose, ToClients};

const NOBODY: &str = "the original does not serve it either";
const OLD_ACL: &str = "the ACL of 4.x, gone from the original since 5.3";

pub const ACL: &str = "access control";
pub const COLD: &str = "flow control of cold data";
pub const LITE: &str = "lite topics";
pub const POP: &str = "POP consumption";
pub const QUESTIONS: &str = "the rarer questions of tools";
pub const REPLICATION: &str = "replication and the controller";
pub const ROCKSDB: &str = "stores in RocksDB";
pub const SQL92: &str = "SQL92 filters";
pub const STATIC_TOPICS: &str = "static topics";
pub const TIMED: &str = "timed messages";

const CONSUMERS: &str = "tests/consumers.rs";
const REPLY: &str = "tests/request_reply.rs";
const TRANSACTION: &str = "tests/transaction.rs";

/// The feature that a code belongs to, where it is not served yet.
pub fn unserved_feature(request_code: i32) -> Option<&'static str> {
    let at = UNSERVED.binary_search_by_key(&request_code, |(known, _)| *known).ok()?;
    match UNSERVED[at].1 {
        NotYet(feature) => Some(feature),
        _ => None,
    }
}

/// Ascending. With the rows of the broker and of the name server these are all codes.
pub const UNSERVED: &[(i32, Unserved)] = &[
    (code::QUERY_BROKER_OFFSET, OnPurpose(NOBODY)),
    (code::GET_TOPIC_CONFIG_LIST, OnPurpose(NOBODY)),
    (code::GET_TOPIC_NAME_LIST, OnPurpose(NOBODY)),
    (code::TRIGGER_DELETE_FILES, OnPurpose(NOBODY)),
    (code::CHECK_TRANSACTION_STATE, ToClients(TRANSACTION)),
    (code::NOTIFY_CONSUMER_IDS_CHANGED, ToClients(CONSUMERS)),
    (code::GET_CLIENT_CONFIG, OnPurpose(NOBODY)),
    (code::UPDATE_AND_CREATE_ACL_CONFIG, OnPurpose(OLD_ACL)),
    (code::DELETE_ACL_CONFIG, OnPurpose(OLD_ACL)),
    (code::GET_BROKER_CLUSTER_ACL_INFO, OnPurpose(OLD_ACL)),
    (code::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG, OnPurpose(OLD_ACL)),
    (code::GET_BROKER_CLUSTER_ACL_CONFIG, OnPurpose(OLD_ACL)),
    (code::SUSPEND_CONSUMER, OnPurpose(NOBODY)),
    (code::RESUME_CONSUMER, OnPurpose(NOBODY)),
    (code::RESET_CONSUMER_OFFSET_IN_CONSUMER, OnPurpose(NOBODY)),
    (code::RESET_CONSUMER_OFFSET_IN_BROKER, OnPurpose(NOBODY)),
    (code::ADJUST_CONSUMER_THREAD_POOL, OnPurpose(NOBODY)),
    (code::WHO_CONSUME_THE_MESSAGE, OnPurpose(NOBODY)),
    (code::RESET_CONSUMER_CLIENT_OFFSET, ToClients(CONSUMERS)),
    (code::GET_CONSUMER_STATUS_FROM_CLIENT, NotYet(QUESTIONS)),
    (code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, NotYet(QUESTIONS)),
    (code::REGISTER_FILTER_SERVER, OnPurpose(NOBODY)),
    (code::REGISTER_MESSAGE_FILTER_CLASS, OnPurpose(NOBODY)),
    (code::QUERY_CONSUME_TIME_SPAN, NotYet(QUESTIONS)),
    (code::CLEAN_EXPIRED_CONSUMEQUEUE, NotYet(QUESTIONS)),
    (code::QUERY_CORRECTION_OFFSET, NotYet(QUESTIONS)),
    (code::CONSUME_MESSAGE_DIRECTLY, NotYet(QUESTIONS)),
    (code::VIEW_BROKER_STATS_DATA, NotYet(QUESTIONS)),
    (code::CLEAN_UNUSED_TOPIC, NotYet(QUESTIONS)),
    (code::GET_BROKER_CONSUME_STATS, NotYet(QUESTIONS)),
    (code::QUERY_CONSUME_QUEUE, NotYet(QUESTIONS)),
    (code::PUSH_REPLY_MESSAGE_TO_CLIENT, ToClients(REPLY)),
    (code::DELETE_EXPIRED_COMMITLOG, NotYet(QUESTIONS)),
    (code::QUERY_TOPICS_BY_CONSUMER, NotYet(QUESTIONS)),
    (code::QUERY_SUBSCRIPTION_BY_CONSUMER, NotYet(QUESTIONS)),
    (code::UPDATE_AND_GET_GROUP_FORBIDDEN, NotYet(QUESTIONS)),
    (code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS, NotYet(ROCKSDB)),
    (code::EXPORT_ROCKSDB_CONFIG_TO_JSON, NotYet(ROCKSDB)),
    (code::RECALL_MESSAGE, NotYet(TIMED)),
    (code::QUERY_ASSIGNMENT, NotYet(POP)),
    (code::SET_MESSAGE_REQUEST_MODE, NotYet(POP)),
    (code::UPDATE_AND_CREATE_STATIC_TOPIC, NotYet(STATIC_TOPICS)),
    (code::ADD_BROKER, NotYet(REPLICATION)),
    (code::REMOVE_BROKER, NotYet(REPLICATION)),
    (code::CONTROLLER_ALTER_SYNC_STATE_SET, NotYet(REPLICATION)),
    (code::CONTROLLER_ELECT_MASTER, NotYet(REPLICATION)),
    (code::CONTROLLER_REGISTER_BROKER, NotYet(REPLICATION)),
    (code::CONTROLLER_GET_REPLICA_INFO, NotYet(REPLICATION)),
    (code::CONTROLLER_GET_METADATA_INFO, NotYet(REPLICATION)),
    (code::CONTROLLER_GET_SYNC_STATE_DATA, NotYet(REPLICATION)),
    (code::GET_BROKER_EPOCH_CACHE, NotYet(REPLICATION)),
    (code::NOTIFY_BROKER_ROLE_CHANGED, NotYet(REPLICATION)),
    (code::UPDATE_CONTROLLER_CONFIG, NotYet(REPLICATION)),
    (code::GET_CONTROLLER_CONFIG, NotYet(REPLICATION)),
    (code::CLEAN_BROKER_DATA, NotYet(REPLICATION)),
    (code::CONTROLLER_GET_NEXT_BROKER_ID, NotYet(REPLICATION)),
    (code::CONTROLLER_APPLY_BROKER_ID, NotYet(REPLICATION)),
    (code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG, NotYet(COLD)),
    (code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG, NotYet(COLD)),
    (code::GET_COLD_DATA_FLOW_CTR_INFO, NotYet(COLD)),
    (code::SET_COMMITLOG_READ_MODE, NotYet(QUESTIONS)),
    (code::AUTH_CREATE_USER, NotYet(ACL)),
    (code::AUTH_UPDATE_USER, NotYet(ACL)),
    (code::AUTH_DELETE_USER, NotYet(ACL)),
    (code::AUTH_GET_USER, NotYet(ACL)),
    (code::AUTH_LIST_USER, NotYet(ACL)),
    (code::AUTH_CREATE_ACL, NotYet(ACL)),
    (code::AUTH_UPDATE_ACL, NotYet(ACL)),
    (code::AUTH_DELETE_ACL, NotYet(ACL)),
    (code::AUTH_GET_ACL, NotYet(ACL)),
    (code::AUTH_LIST_ACL, NotYet(ACL)),
    (code::SWITCH_TIMER_ENGINE, NotYet(TIMED)),
    (code::DELETE_TOPIC_IN_BROKER_LIST, NotYet(QUESTIONS)),
    (code::DELETE_SUBSCRIPTION_GROUP_LIST, NotYet(QUESTIONS)),
    (code::POP_MESSAGE, NotYet(POP)),
    (code::ACK_MESSAGE, NotYet(POP)),
    (code::PEEK_MESSAGE, NotYet(POP)),
    (code::CHANGE_MESSAGE_INVISIBLETIME, NotYet(POP)),
    (code::NOTIFICATION, NotYet(POP)),
    (code::POLLING_INFO, NotYet(POP)),
    (code::POP_ROLLBACK, NotYet(POP)),
    (code::POP_LITE_MESSAGE, NotYet(LITE)),
    (code::LITE_SUBSCRIPTION_CTL, NotYet(LITE)),
    (code::ACK_LITE_MESSAGE, OnPurpose(NOBODY)),
    (code::NOTIFY_UNSUBSCRIBE_LITE, NotYet(LITE)),
    (code::GET_BROKER_LITE_INFO, NotYet(LITE)),
    (code::GET_PARENT_TOPIC_INFO, NotYet(LITE)),
    (code::GET_LITE_TOPIC_INFO, NotYet(LITE)),
    (code::GET_LITE_CLIENT_INFO, NotYet(LITE)),
    (code::GET_LITE_GROUP_INFO, NotYet(LITE)),
    (code::TRIGGER_LITE_DISPATCH, NotYet(LITE)),
    (code::BATCH_ACK_MESSAGE, NotYet(POP)),
];

/// What people call a part of RocketMQ, for the table in `README.md`.
pub struct Feature {
    pub name: &'static str,
    pub shown_by: ShownBy,
}

/// What shows whether a feature is served; `tests/compatibility.rs` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownBy {
    /// All of them are, or none.
    Codes(&'static [i32]),
    /// How a running server answers to a try of it.
    Trying { is_served: bool },
}

const NOT_SERVED: ShownBy = ShownBy::Trying { is_served: false };

pub const FEATURES: &[Feature] = &[
    Feature { name: "Sending: sync, async, one-way, batches, in order", shown_by: ShownBy::Codes(&[10, 310, 320]) },
    Feature {
        name: "Push and pull consumers: clustering, broadcasting, in order, tags",
        shown_by: ShownBy::Codes(&[11, 361, 34, 38, 41, 42]),
    },
    Feature { name: "Retries and dead letters", shown_by: ShownBy::Codes(&[36]) },
    Feature { name: DELAYED, shown_by: ShownBy::Trying { is_served: true } },
    Feature { name: "Transactions", shown_by: ShownBy::Codes(&[37, 39, 323]) },
    Feature { name: "Queries by key, id and time", shown_by: ShownBy::Codes(&[12, 33, 29]) },
    Feature {
        name: "Topics, groups, offsets and configuration by mqadmin",
        shown_by: ShownBy::Codes(&[17, 215, 200, 207, 222, 25, 26, 28]),
    },
    Feature { name: RARE_COMMANDS, shown_by: ShownBy::Codes(&[306, 309, 315, 316, 317, 321, 329, 2004]) },
    Feature { name: TIMED_AND_RECALL, shown_by: NOT_SERVED },
    Feature { name: "Request-reply", shown_by: ShownBy::Codes(&[324, 325]) },
    Feature {
        name: "POP consumption (also push consumers with `clientRebalance=false`)",
        shown_by: ShownBy::Codes(&[400, 401, 200_050, 200_051, 200_053]),
    },
    Feature { name: FILTERS, shown_by: NOT_SERVED },
    Feature { name: TLS, shown_by: NOT_SERVED },
    Feature { name: "Access control", shown_by: ShownBy::Codes(&[3001, 3006]) },
    Feature { name: "Static topics", shown_by: ShownBy::Codes(&[513]) },
    Feature { name: "Lite topics", shown_by: ShownBy::Codes(&[200_070]) },
    Feature { name: MASTER, shown_by: ShownBy::Codes(&[907]) },
    Feature {
        name: "Slaves that act for their master for consumers (`enableSlaveActingMaster`)",
        shown_by: ShownBy::Codes(&[904, 905, 906]),
    },
    Feature { name: "The controller, and several brokers in one process", shown_by: ShownBy::Codes(&[903, 1001]) },
];

pub const RARE_COMMANDS: &str = "Rarer commands of mqadmin: `brokerConsumeStats`, `queryCq`, `cleanExpiredCQ`, `cleanUnusedTopic`, `deleteExpiredCommitLog`, `setCommitLogReadAheadMode`, the figures of `statsAll`, and a message given to one consumer (`queryMsgById -g -d`)";
pub const MASTER: &str = "Masters and slaves: `ASYNC_MASTER`, `SYNC_MASTER` with `inSyncReplicas`, `SLAVE`";
pub const DELAYED: &str = "Delayed messages (the 18 levels)";
pub const TIMED_AND_RECALL: &str = "Timed messages at any moment, and their recall";
pub const FILTERS: &str = "SQL92 filters";
/// The original's default is `tls.server.mode=permissive`: it serves such clients unasked.
pub const TLS: &str = "TLS (the original serves it unasked)";
/// Asked for on every port of ours; the original's own is 8081, of its proxy.
pub const GRPC: &str = "gRPC";
