// SPDX-License-Identifier: Apache-2.0
//! THE TABLE: one row for each request code that the broker serves. The dispatcher, the lanes, the time that a request may wait, the check
//! of its fields, and the table in `docs/compatibility.md` read it; codes that nobody serves are rows of `coverage`.

use std::fmt;
use std::sync::Arc;

use ferrocket_protocol::header::*;
use ferrocket_protocol::route::Route;
use ferrocket_protocol::{RemotingCommand, request_code as code, route};

use super::lane::{Disk, Lane};
use super::reply::{Refusal, Reply};
use super::{
    admin, client_manage, consumer_manage, end_transaction, not_supported, pull_message, query_message, reply_message, send_back,
    send_message,
};
use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::remoting::Peer;

const SEND: &str = "tests/send.rs";
const PULL: &str = "tests/pull.rs";
const CONSUMERS: &str = "tests/consumers.rs";
const QUERY: &str = "tests/query_message.rs";
const TOPIC: &str = "tests/admin_topic.rs";
const REPLY: &str = "tests/request_reply.rs";
const TRANSACTION: &str = "tests/transaction.rs";
const BROKER: &str = "tests/admin_broker.rs";
const ACTING: &str = "tests/replication_acting.rs";
const REPLICATION: &str = "tests/replication.rs";

/// What is known of a request by its code.
#[derive(Debug)]
pub struct Row {
    pub route: Route,
    pub lane: Lane,
    pub wait: Wait,
    pub(super) serve: Serve,
}

type Serve = fn(&Arc<Broker>, &Arc<Peer>, &RemotingCommand, Disk) -> Result<Reply, Refusal>;

/// How long a request may have waited before it is looked at (BrokerFastFailure.java); each has its key in `broker.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Send,
    Pull,
    LitePull,
    Heartbeat,
    Transaction,
    AdminBroker,
    /// Clients come and go, offsets and queries: the original lets them wait.
    Endless,
}

impl Wait {
    pub(super) fn allowed_millis(self, config: &BrokerConfig) -> Option<i64> {
        Some(match self {
            Self::Send => config.wait_time_mills_in_send_queue,
            Self::Pull => config.wait_time_mills_in_pull_queue,
            Self::LitePull => config.wait_time_mills_in_lite_pull_queue,
            Self::Heartbeat => config.wait_time_mills_in_heartbeat_queue,
            Self::Transaction => config.wait_time_mills_in_transaction_queue,
            Self::AdminBroker => config.wait_time_mills_in_admin_broker_queue,
            Self::Endless => return None,
        })
    }
}

impl fmt::Display for Wait {
    /// The key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::Endless { Ok(()) } else { write!(f, "waitTimeMillsIn{self:?}Queue") }
    }
}

/// `NAME: lane, wait, checks Header, [Action on Resource], proof => handler;`. `reads Header`: the handler tells a missing field itself.
/// The lookup is a `match` over numbers: there is no table to search.
macro_rules! routes {
    ($broker:ident, $peer:ident, $request:ident, $disk:ident;
     $($name:ident: $lane:ident, $wait:ident, $how:ident $header:ty, [$($right:tt)*], $proof:ident
        => $first:ident $(:: $rest:ident)* ($($given:ident),*);)*) => {
        mod row {
            use super::*;

            $(pub(super) static $name: Row = Row {
                route: route!($name, $how $header, [$($right)*], $proof, concat!(stringify!($first) $(, "::", stringify!($rest))*)),
                lane: Lane::$lane,
                wait: Wait::$wait,
                #[allow(unused_variables, reason = "not every handler asks for all of it")]
                serve: |$broker, $peer, $request, $disk| $first $(:: $rest)* ($($given),*),
            };)*
        }

        /// All of them.
        pub static ROUTES: &[&Row] = &[$(&row::$name),*];

        #[inline]
        pub(super) fn row_of(request_code: i32) -> &'static Row {
            match request_code {
                $(code::$name => &row::$name,)*
                _ => &UNSERVED,
            }
        }
    };
}

/// Every code that has no row.
static UNSERVED: Row = Row {
    route: Route {
        code: -1,
        label: "",
        header: "()",
        required: &[],
        checked: &[],
        permission: ferrocket_protocol::route::Permission { actions: &[], on: &[] },
        handler: "not_supported",
        proof: "tests/compatibility.rs",
    },
    lane: Lane::Connection,
    wait: Wait::AdminBroker,
    serve: |_, peer, request, _| Err(not_supported(peer, request.code)),
};

routes! {
    broker, peer, request, disk;

    SEND_MESSAGE: Connection, Send, reads SendMessageRequestHeader, [Pub on Topic], SEND
        => send_message::process(broker, peer, request, disk);
    SEND_MESSAGE_V2: Connection, Send, reads SendMessageRequestHeaderV2, [Pub on Topic], SEND
        => send_message::process(broker, peer, request, disk);
    SEND_BATCH_MESSAGE: Connection, Send, reads SendMessageRequestHeaderV2, [Pub on Topic], SEND
        => send_message::process(broker, peer, request, disk);

    SEND_REPLY_MESSAGE: Connection, Endless, reads SendMessageRequestHeader, [], REPLY
        => reply_message::process(broker, peer, request);
    SEND_REPLY_MESSAGE_V2: Connection, Endless, reads SendMessageRequestHeaderV2, [], REPLY
        => reply_message::process(broker, peer, request);

    END_TRANSACTION: Connection, Transaction, checks EndTransactionRequestHeader, [Pub on Topic], TRANSACTION
        => end_transaction::end(broker, peer, request, disk);
    RESUME_CHECK_HALF_MESSAGE: Disk, AdminBroker, checks ResumeCheckHalfMessageRequestHeader, [Update on Topic], TRANSACTION
        => end_transaction::resume_check(broker, peer, request);

    QUERY_MESSAGE: Disk, Endless, checks QueryMessageRequestHeader, [Sub | Get on Topic], QUERY
        => query_message::query(broker, peer, request);
    VIEW_MESSAGE_BY_ID: Disk, Endless, checks ViewMessageRequestHeader, [Get on Topic], QUERY
        => query_message::view(broker, peer, request);

    UPDATE_AND_CREATE_TOPIC: Changes, AdminBroker, checks CreateTopicRequestHeader, [Create on Topic], TOPIC
        => admin::topic::update(broker, peer, request);
    UPDATE_AND_CREATE_TOPIC_LIST: Changes, AdminBroker, checks (), [], TOPIC
        => admin::topic::update_list(broker, peer, request);
    DELETE_TOPIC_IN_BROKER: DiskChanges, AdminBroker, checks DeleteTopicRequestHeader, [Delete on Topic], TOPIC
        => admin::topic::delete(broker, peer, request);
    GET_ALL_TOPIC_CONFIG: Disk, AdminBroker, checks GetAllTopicConfigRequestHeader, [], TOPIC
        => admin::topic::all(broker, request);
    GET_TOPIC_CONFIG: Tables, AdminBroker, checks GetTopicConfigRequestHeader, [Get on Topic], TOPIC
        => admin::topic::one(broker, request);
    GET_TOPIC_STATS_INFO: Disk, AdminBroker, checks GetTopicStatsInfoRequestHeader, [Get on Topic], TOPIC
        => admin::topic::stats(broker, request);

    UPDATE_BROKER_CONFIG: DiskChanges, AdminBroker, checks (), [], BROKER
        => admin::broker::update_config(broker, peer, request);
    GET_BROKER_CONFIG: Tables, AdminBroker, checks (), [], BROKER
        => admin::broker::config(broker);
    GET_BROKER_RUNTIME_INFO: Disk, AdminBroker, checks (), [], BROKER
        => admin::broker::runtime_info(broker);
    GET_ALL_DELAY_OFFSET: Tables, AdminBroker, checks (), [], BROKER
        => admin::broker::delay_offsets(broker);
    GET_TIMER_CHECK_POINT: Connection, AdminBroker, checks (), [], REPLICATION
        => admin::broker::timer_check_point(broker);
    GET_TIMER_METRICS: Connection, AdminBroker, checks (), [], REPLICATION
        => admin::broker::timer_metrics();
    GET_ALL_MESSAGE_REQUEST_MODE: Connection, AdminBroker, checks (), [], REPLICATION
        => admin::broker::message_request_modes();
    GET_BROKER_HA_STATUS: Tables, AdminBroker, checks (), [], REPLICATION
        => admin::broker::ha_status(broker);
    NOTIFY_MIN_BROKER_ID_CHANGE: Connection, AdminBroker, checks NotifyMinBrokerIdChangeRequestHeader, [Update on Cluster], ACTING
        => admin::broker::smallest_id_changed(broker, peer, request);
    EXCHANGE_BROKER_HA_INFO: Connection, AdminBroker, checks ExchangeHaInfoHeader, [Update on Cluster], ACTING
        => admin::broker::exchange_ha_info(broker, request);
    RESET_MASTER_FLUSH_OFFSET: Connection, AdminBroker, checks ResetMasterFlushOffsetHeader, [Update on Cluster], ACTING
        => admin::broker::reset_master_flush_offset(broker, request);

    PULL_MESSAGE: Connection, Pull, reads PullMessageRequestHeader, [Sub on Topic & Group], PULL
        => pull_message::process(broker, peer, request);
    LITE_PULL_MESSAGE: Connection, LitePull, reads PullMessageRequestHeader, [], PULL
        => pull_message::process(broker, peer, request);
    CONSUMER_SEND_MSG_BACK: Disk, Send, checks ConsumerSendMsgBackRequestHeader, [Sub on Group], CONSUMERS
        => send_back::process(broker, request);

    QUERY_CONSUMER_OFFSET: Connection, Endless, checks QueryConsumerOffsetRequestHeader, [Sub | Get on Topic & Group], CONSUMERS
        => consumer_manage::query_offset(broker, request, disk);
    UPDATE_CONSUMER_OFFSET: Connection, Endless, checks UpdateConsumerOffsetRequestHeader, [Sub | Update on Topic & Group], CONSUMERS
        => consumer_manage::update_offset(broker, request, disk);
    SEARCH_OFFSET_BY_TIMESTAMP: Disk, AdminBroker, checks SearchOffsetRequestHeader, [Get on Topic], CONSUMERS
        => consumer_manage::search_offset(broker, request);
    GET_MAX_OFFSET: Connection, AdminBroker, checks GetMaxOffsetRequestHeader, [Get on Topic], CONSUMERS
        => consumer_manage::max_offset(broker, request, disk);
    GET_MIN_OFFSET: Connection, AdminBroker, checks GetMinOffsetRequestHeader, [Get on Topic], CONSUMERS
        => consumer_manage::min_offset(broker, request, disk);
    GET_EARLIEST_MSG_STORETIME: Disk, AdminBroker, checks GetEarliestMsgStoretimeRequestHeader, [Get on Topic], CONSUMERS
        => consumer_manage::earliest_store_time(broker, request);
    GET_CONSUMER_LIST_BY_GROUP: Connection, Endless, checks GetConsumerListByGroupRequestHeader, [Sub | Get on Group], CONSUMERS
        => consumer_manage::list_consumers(broker, request);
    GET_ALL_CONSUMER_OFFSET: Disk, AdminBroker, checks (), [], CONSUMERS
        => consumer_manage::all_offsets(broker);

    HEART_BEAT: Connection, Heartbeat, checks (), [Sub on Group & Topic], CONSUMERS
        => client_manage::heartbeat(broker, peer, request);
    UNREGISTER_CLIENT: Connection, Endless, checks UnregisterClientRequestHeader, [Sub on Group], CONSUMERS
        => client_manage::unregister(broker, peer, request);
    CHECK_CLIENT_CONFIG: Connection, Endless, checks (), [], CONSUMERS
        => client_manage::check_config(peer, request);
    LOCK_BATCH_MQ: Connection, AdminBroker, checks LockBatchMqRequestHeader, [Sub on Group & Topic], CONSUMERS
        => client_manage::lock_queues(broker, peer, request);
    UNLOCK_BATCH_MQ: Connection, AdminBroker, checks UnlockBatchMqRequestHeader, [Sub on Group & Topic], CONSUMERS
        => client_manage::unlock_queues(broker, request);

    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: Changes, AdminBroker, checks (), [], CONSUMERS
        => admin::group::update(broker, peer, request);
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: Changes, AdminBroker, checks (), [], CONSUMERS
        => admin::group::update_list(broker, peer, request);
    DELETE_SUBSCRIPTIONGROUP: Changes, AdminBroker, checks DeleteSubscriptionGroupRequestHeader, [Delete on Group], CONSUMERS
        => admin::group::delete(broker, peer, request);
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG: Disk, AdminBroker, checks GetAllSubscriptionGroupRequestHeader, [], CONSUMERS
        => admin::group::all(broker, request);
    GET_SUBSCRIPTIONGROUP_CONFIG: Tables, AdminBroker, checks GetSubscriptionGroupConfigRequestHeader, [Get on Group], CONSUMERS
        => admin::group::one(broker, request);

    GET_CONSUMER_CONNECTION_LIST: Tables, AdminBroker, checks GetConsumerConnectionListRequestHeader, [Get on Group], CONSUMERS
        => admin::consumer::connections(broker, request);
    GET_PRODUCER_CONNECTION_LIST: Tables, AdminBroker, checks GetProducerConnectionListRequestHeader, [Get on Cluster], CONSUMERS
        => admin::consumer::producer_connections(broker, request);
    GET_ALL_PRODUCER_INFO: Disk, AdminBroker, checks (), [Get on Cluster], CONSUMERS
        => admin::consumer::producers(broker);
    GET_CONSUME_STATS: Disk, AdminBroker, checks GetConsumeStatsRequestHeader, [Get on Group & Topic], CONSUMERS
        => admin::consumer::stats(broker, request);
    INVOKE_BROKER_TO_RESET_OFFSET: DiskChanges, AdminBroker, checks ResetOffsetRequestHeader, [Update on Group & Topic], CONSUMERS
        => admin::consumer::reset_offset(broker, peer, request);
    CLONE_GROUP_OFFSET: DiskChanges, AdminBroker, checks CloneGroupOffsetRequestHeader, [Update on Group & Topic], CONSUMERS
        => admin::consumer::clone_offsets(broker, peer, request);
    QUERY_TOPIC_CONSUME_BY_WHO: Tables, AdminBroker, checks QueryTopicConsumeByWhoRequestHeader, [Get on Topic], CONSUMERS
        => admin::consumer::groups_of_topic(broker, request);
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER: Tables, AdminBroker, checks (), [], CONSUMERS
        => admin::consumer::system_topics(broker);
    GET_CONSUMER_RUNNING_INFO: Connection, AdminBroker, checks GetConsumerRunningInfoRequestHeader, [Get on Group], CONSUMERS
        => admin::consumer::running_info(broker, peer, request);
}
