// SPDX-License-Identifier: Apache-2.0
//! One row for each request code that the name server serves; the form is that of the broker's `processor/routes`. The table in
//! `docs/compatibility.md` reads it too.

use std::sync::Arc;

use ferrocket_protocol::header::*;
use ferrocket_protocol::route::Route;
use ferrocket_protocol::{RemotingCommand, request_code as code, route};

use super::{NameServer, processor};
use crate::remoting::Peer;

const NAMESRV: &str = "tests/namesrv.rs";

/// What is known of a request by its code.
#[derive(Debug)]
pub struct Row {
    pub route: Route,
    pub lane: Lane,
    pub(super) serve: Serve,
}

type Serve = fn(&NameServer, &Arc<Peer>, &RemotingCommand) -> RemotingCommand;

/// Where a code is served; the names are those of the broker's lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The connection's task.
    Connection,
    /// The connection's task, but behind the changes that this connection has under way.
    Tables,
    /// The pool, one after the other in the order in which they came: answered when they are on the disk.
    DiskChanges,
}

macro_rules! routes {
    ($server:ident, $peer:ident, $request:ident;
     $($name:ident: $lane:ident, $how:ident $header:ty, [$($right:tt)*], $proof:ident
        => $first:ident $(:: $rest:ident)* ($($given:ident),*);)*) => {
        mod row {
            use super::*;

            $(pub(super) static $name: Row = Row {
                route: route!($name, $how $header, [$($right)*], $proof, concat!(stringify!($first) $(, "::", stringify!($rest))*)),
                lane: Lane::$lane,
                #[allow(unused_variables, reason = "not every handler asks for all of it")]
                serve: |$server, $peer, $request| $first $(:: $rest)* ($($given),*),
            };)*
        }

        /// All of them.
        pub static ROUTES: &[&Row] = &[$(&row::$name),*];

        #[inline]
        pub(super) fn row_of(request_code: i32) -> Option<&'static Row> {
            match request_code {
                $(code::$name => Some(&row::$name),)*
                _ => None,
            }
        }
    };
}

/// Does a name server answer this request?
#[inline]
pub fn serves(request_code: i32) -> bool {
    row_of(request_code).is_some()
}

routes! {
    server, peer, request;

    PUT_KV_CONFIG: DiskChanges, checks PutKvConfigRequestHeader, [Update on Cluster], NAMESRV
        => processor::put_kv_config(server, peer, request);
    GET_KV_CONFIG: Tables, checks GetKvConfigRequestHeader, [Get on Cluster], NAMESRV
        => processor::get_kv_config(server, request);
    DELETE_KV_CONFIG: DiskChanges, checks DeleteKvConfigRequestHeader, [Update on Cluster], NAMESRV
        => processor::delete_kv_config(server, peer, request);
    GET_KVLIST_BY_NAMESPACE: Tables, checks GetKvListByNamespaceRequestHeader, [Get on Cluster], NAMESRV
        => processor::kv_list(server, request);
    UPDATE_NAMESRV_CONFIG: DiskChanges, checks (), [], NAMESRV
        => processor::update_config(server, peer, request);
    GET_NAMESRV_CONFIG: Tables, checks (), [], NAMESRV
        => processor::config(server);

    REGISTER_BROKER: Connection, checks RegisterBrokerRequestHeader, [Update on Cluster], NAMESRV
        => processor::register_broker(server, peer, request);
    UNREGISTER_BROKER: Connection, checks UnregisterBrokerRequestHeader, [Update on Cluster], NAMESRV
        => processor::unregister_broker(server, peer, request);
    QUERY_DATA_VERSION: Connection, checks QueryDataVersionRequestHeader, [Get on Cluster], NAMESRV
        => processor::query_data_version(server, request);
    BROKER_HEARTBEAT: Connection, checks BrokerHeartbeatRequestHeader, [Update on Cluster], NAMESRV
        => processor::heartbeat(server, request);
    GET_BROKER_MEMBER_GROUP: Connection, checks GetBrokerMemberGroupRequestHeader, [Get on Cluster], NAMESRV
        => processor::member_group(server, request);
    WIPE_WRITE_PERM_OF_BROKER: Connection, checks WipeWritePermOfBrokerRequestHeader, [Update on Cluster], NAMESRV
        => processor::wipe_write_perm(server, peer, request);
    ADD_WRITE_PERM_OF_BROKER: Connection, checks AddWritePermOfBrokerRequestHeader, [Update on Cluster], NAMESRV
        => processor::add_write_perm(server, peer, request);

    GET_ROUTEINFO_BY_TOPIC: Connection, checks GetRouteInfoRequestHeader, [Pub | Sub | Get on Topic], NAMESRV
        => processor::route(server, peer, request);
    GET_BROKER_CLUSTER_INFO: Connection, checks (), [], NAMESRV
        => processor::cluster_info(server, peer);
    REGISTER_TOPIC_IN_NAMESRV: Connection, checks RegisterTopicRequestHeader, [Update on Cluster], NAMESRV
        => processor::register_topic(server, request);
    DELETE_TOPIC_IN_NAMESRV: Connection, checks DeleteTopicFromNamesrvRequestHeader, [Update on Cluster], NAMESRV
        => processor::delete_topic(server, peer, request);

    GET_ALL_TOPIC_LIST_FROM_NAMESERVER: Connection, checks (), [], NAMESRV
        => processor::all_topics(server);
    GET_TOPICS_BY_CLUSTER: Connection, checks GetTopicsByClusterRequestHeader, [], NAMESRV
        => processor::topics_of_cluster(server, request);
    GET_SYSTEM_TOPIC_LIST_FROM_NS: Connection, checks (), [], NAMESRV
        => processor::system_topics(server, peer);
    GET_UNIT_TOPIC_LIST: Connection, checks (), [], NAMESRV
        => processor::unit_topics(server);
    GET_HAS_UNIT_SUB_TOPIC_LIST: Connection, checks (), [], NAMESRV
        => processor::unit_sub_topics(server);
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: Connection, checks (), [], NAMESRV
        => processor::unit_sub_topics_without_unit(server);
}
