// SPDX-License-Identifier: Apache-2.0
//! Request families: decode, check in the original's order, ask a service or the store, reply.
//!
//! This file holds the table of the codes that the broker serves. A request runs to its end on the task of the connection that
//! brought it, or where `lane` says; what must wait takes a `Completion`. Knows no file, no socket and no thread.

mod admin;
mod checks;
mod client_manage;
mod consumer_manage;
pub mod coverage;
mod end_transaction;
mod lane;
mod pull_message;
mod query_message;
mod reply;
mod send_back;
mod send_message;
mod send_properties;

use std::sync::Arc;

use ferrocket_protocol::header::unreadable_field;
use ferrocket_protocol::{RemotingCommand, request_code as code, response_code};
use tracing::debug;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::remoting::{Peer, Replies, RequestHandler};

use lane::Lanes;
use send_message::put_refusal;

pub use admin::runtime_info::figures as runtime_info_figures;
pub use lane::Disk;
pub use reply::{Refusal, Reply, SentReply};

/// THE TABLE. `coverage` says the same for the documents, and a test compares the two.
pub fn process(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    if let Some(field) = unreadable_field(request) {
        return Err(unreadable(field));
    }
    match request.code {
        code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => send_message::process(broker, peer, request, disk),

        code::END_TRANSACTION => end_transaction::end(broker, peer, request, disk),
        code::RESUME_CHECK_HALF_MESSAGE => end_transaction::resume_check(broker, peer, request),

        code::QUERY_MESSAGE => query_message::query(broker, peer, request),
        code::VIEW_MESSAGE_BY_ID => query_message::view(broker, peer, request),

        code::UPDATE_AND_CREATE_TOPIC => admin::topic::update(broker, peer, request),
        code::UPDATE_AND_CREATE_TOPIC_LIST => admin::topic::update_list(broker, peer, request),
        code::DELETE_TOPIC_IN_BROKER => admin::topic::delete(broker, peer, request),
        code::GET_ALL_TOPIC_CONFIG => admin::topic::all(broker, request),
        code::GET_TOPIC_CONFIG => admin::topic::one(broker, request),
        code::GET_TOPIC_STATS_INFO => admin::topic::stats(broker, request),

        code::UPDATE_BROKER_CONFIG => admin::broker::update_config(broker, peer, request),
        code::GET_BROKER_CONFIG => admin::broker::config(broker),
        code::GET_BROKER_RUNTIME_INFO => admin::broker::runtime_info(broker),
        code::GET_ALL_DELAY_OFFSET => admin::broker::delay_offsets(broker),

        code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => pull_message::process(broker, peer, request),
        code::CONSUMER_SEND_MSG_BACK => send_back::process(broker, request),

        code::QUERY_CONSUMER_OFFSET => consumer_manage::query_offset(broker, request, disk),
        code::UPDATE_CONSUMER_OFFSET => consumer_manage::update_offset(broker, request, disk),
        code::SEARCH_OFFSET_BY_TIMESTAMP => consumer_manage::search_offset(broker, request),
        code::GET_MAX_OFFSET => consumer_manage::max_offset(broker, request, disk),
        code::GET_MIN_OFFSET => consumer_manage::min_offset(broker, request, disk),
        code::GET_EARLIEST_MSG_STORETIME => consumer_manage::earliest_store_time(broker, request),
        code::GET_CONSUMER_LIST_BY_GROUP => consumer_manage::list_consumers(broker, request),
        code::GET_ALL_CONSUMER_OFFSET => consumer_manage::all_offsets(broker),

        code::HEART_BEAT => client_manage::heartbeat(broker, peer, request),
        code::UNREGISTER_CLIENT => client_manage::unregister(broker, peer, request),
        code::CHECK_CLIENT_CONFIG => client_manage::check_config(peer, request),
        code::LOCK_BATCH_MQ => client_manage::lock_queues(broker, request),
        code::UNLOCK_BATCH_MQ => client_manage::unlock_queues(broker, request),

        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => admin::group::update(broker, peer, request),
        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => admin::group::update_list(broker, peer, request),
        code::DELETE_SUBSCRIPTIONGROUP => admin::group::delete(broker, peer, request),
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => admin::group::all(broker, request),
        code::GET_SUBSCRIPTIONGROUP_CONFIG => admin::group::one(broker, request),

        code::GET_CONSUMER_CONNECTION_LIST => admin::consumer::connections(broker, request),
        code::GET_PRODUCER_CONNECTION_LIST => admin::consumer::producer_connections(broker, request),
        code::GET_ALL_PRODUCER_INFO => admin::consumer::producers(broker),
        code::GET_CONSUME_STATS => admin::consumer::stats(broker, request),
        code::INVOKE_BROKER_TO_RESET_OFFSET => admin::consumer::reset_offset(broker, peer, request),
        code::CLONE_GROUP_OFFSET => admin::consumer::clone_offsets(broker, peer, request),
        code::QUERY_TOPIC_CONSUME_BY_WHO => admin::consumer::groups_of_topic(broker, request),
        code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => admin::consumer::system_topics(broker),
        code::GET_CONSUMER_RUNNING_INFO => admin::consumer::running_info(broker, peer, request),

        other => Err(not_supported(peer, other)),
    }
}

/// The original's answer to a field that it reads without a look.
fn unreadable(field: &str) -> Refusal {
    Refusal::system_error(format!("the field {field} is missing or no number"))
}

fn not_supported(peer: &Peer, code: i32) -> Refusal {
    if let Some(feature) = coverage::unserved_feature(code) {
        peer.asked_in_vain(feature);
    }
    Refusal::new(response_code::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {code} not supported"))
}

/// BrokerFastFailure.java: a request that has waited longer than its lane allows is refused instead of served late. Here a request
/// waits behind others of the same read, or until its client takes the answers that it has.
fn waited_too_long(broker: &Broker, config: &BrokerConfig, peer: &Peer, code: i32) -> Option<Refusal> {
    let waited = peer.waited();
    if waited.is_zero() {
        return None;
    }
    let allowed_millis = match code {
        code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE | code::CONSUMER_SEND_MSG_BACK => {
            config.wait_time_mills_in_send_queue
        }
        code::PULL_MESSAGE => config.wait_time_mills_in_pull_queue,
        code::LITE_PULL_MESSAGE => config.wait_time_mills_in_lite_pull_queue,
        code::HEART_BEAT => config.wait_time_mills_in_heartbeat_queue,
        code::END_TRANSACTION => config.wait_time_mills_in_transaction_queue,
        // Clients come and go, offsets and queries: the original lets them wait.
        code::UNREGISTER_CLIENT
        | code::CHECK_CLIENT_CONFIG
        | code::GET_CONSUMER_LIST_BY_GROUP
        | code::UPDATE_CONSUMER_OFFSET
        | code::QUERY_CONSUMER_OFFSET
        | code::QUERY_MESSAGE
        | code::VIEW_MESSAGE_BY_ID => return None,
        _ => config.wait_time_mills_in_admin_broker_queue,
    };
    let waited_millis = waited.as_millis() as i64;
    (config.broker_fast_failure_enable && waited_millis >= allowed_millis).then(|| {
        let remark = format!(
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {waited_millis}ms, size of queue: {}",
            broker.flow_control.sends_in_flight()
        );
        Refusal::new(response_code::SYSTEM_BUSY, remark)
    })
}

/// The broker as the listener sees it.
#[derive(Debug)]
pub struct BrokerHandler {
    broker: Arc<Broker>,
    lanes: Lanes,
}

impl BrokerHandler {
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { lanes: Lanes::new(&broker), broker }
    }
}

impl RequestHandler for BrokerHandler {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        let config = self.broker.config.load();
        if let Some(refusal) = waited_too_long(&self.broker, &config, peer, request.code) {
            replies.answer(request, refusal.into_response());
            return;
        }
        if let Some(beside) = self.lanes.beside(peer, request.code) {
            self.lanes.serve(beside, &self.broker, peer, std::mem::take(request));
            return;
        }
        match process(&self.broker, peer, request, Disk::MustNotWait) {
            Ok(Reply::Now(response)) => replies.answer(request, response),
            Ok(Reply::Sent(sent)) => sent.write(&config, request.serialize_type, request.opaque, replies),
            Ok(Reply::Pulled(pulled)) => pulled.write(request, replies),
            Ok(Reply::Later | Reply::Silent) => {}
            Ok(Reply::WouldBlock(cold)) => self.lanes.serve_again(cold, &self.broker, peer, std::mem::take(request)),
            Err(refusal) => {
                debug!(code = request.code, peer = %peer, refusal = refusal.code, remark = ?refusal.remark, "refused");
                replies.answer(request, refusal.into_response());
            }
        }
    }

    fn connected(&self, _peer: &Arc<Peer>) {}

    fn closed(&self, peer: &Arc<Peer>) {
        self.broker.peer_closed(peer);
    }
}
