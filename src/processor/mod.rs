// SPDX-License-Identifier: Apache-2.0
//! Request families: decode, check in the original's order, ask a service or the store, reply.
//!
//! `routes` has a row for each code that the broker serves, and `BrokerHandler::dispatch` the order in which a request goes through what
//! the row says. A request runs to its end on the task of the connection that brought it, or where `lane` says; what must wait takes a
//! `Completion`. Knows no file, no socket and no thread.

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
mod reply_message;
pub mod routes;
mod send_back;
mod send_message;

use std::sync::Arc;

use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use tracing::debug;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::remoting::{Peer, Replies, RequestHandler};
use crate::store::PutMessageStatus;

use lane::Lanes;
use routes::{Row, Wait, row_of};
use send_message::put_refusal;

pub use admin::runtime_info::figures as runtime_info_figures;
pub use lane::{Disk, Lane};
pub use reply::{Refusal, Reply, SentReply};

/// The original's answer to a field that it reads without a look.
fn unreadable(field: &str) -> Refusal {
    Refusal::system_error(format!("the field {field} is missing or no number"))
}

fn not_supported(peer: &Peer, code: i32) -> Refusal {
    if let Some(feature) = coverage::unserved_feature(code) {
        // Such a question is a feature of its own.
        let asked = if feature == coverage::QUESTIONS { request_code::name(code).unwrap_or(feature) } else { feature };
        peer.asked_in_vain_by(code, asked);
    }
    Refusal::new(response_code::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {code} not supported"))
}

fn busy_elsewhere() -> Refusal {
    Refusal::new(response_code::SYSTEM_BUSY, "[REJECTREQUEST]system busy, start flow control for a while")
}

/// What a slave leaves to its master: SendMessageProcessor and PullMessageProcessor of the original, `rejectRequest`.
fn left_to_the_master(broker: &Broker, config: &BrokerConfig, row: &Row) -> Result<(), Refusal> {
    let is_left = match row.wait {
        Wait::Send => true,
        Wait::Pull | Wait::LitePull => !config.slave_read_enable,
        _ => false,
    };
    if !is_left || !broker.is_slave() {
        return Ok(());
    }
    let comes_back = row.route.code == request_code::CONSUMER_SEND_MSG_BACK;
    // With acting masters it gets as far as the store, which takes nothing; what comes back would have to go to a master.
    Err(match row.wait {
        Wait::Send if !broker.started_with.enable_slave_acting_master => busy_elsewhere(),
        Wait::Send if comes_back => Refusal::system_error(format!("no master available along with {}", config.broker_ip1)),
        Wait::Send => put_refusal(PutMessageStatus::ServiceNotAvailable, broker, config),
        _ => busy_elsewhere(),
    })
}

/// BrokerFastFailure.java: a request that has waited longer than its lane allows is refused instead of served late. Here a request
/// waits behind others of the same read, or until its client takes the answers that it has.
fn waited_too_long(broker: &Broker, config: &BrokerConfig, peer: &Peer, row: &Row) -> Result<(), Refusal> {
    let waited = peer.waited();
    if waited.is_zero() {
        return Ok(());
    }
    let waited_millis = waited.as_millis() as i64;
    match row.wait.allowed_millis(config) {
        Some(allowed_millis) if config.broker_fast_failure_enable && waited_millis >= allowed_millis => {
            let remark = format!(
                "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {waited_millis}ms, size of queue: {}",
                broker.flow_control.sends_in_flight()
            );
            Err(Refusal::new(response_code::SYSTEM_BUSY, remark))
        }
        _ => Ok(()),
    }
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

    /// The order for every request. Below the first step nothing depends on the frame that it came in.
    fn dispatch(&self, config: &BrokerConfig, peer: &Arc<Peer>, request: &mut RemotingCommand) -> Result<Reply, Refusal> {
        // Decode: its row, and the fields that the original cannot go on without.
        let row = row_of(request.code);
        left_to_the_master(&self.broker, config, row)?;
        if let Some(field) = row.route.unreadable_field(&request.ext_fields) {
            return Err(unreadable(field));
        }
        // Judge: who may do this is asked here, by `row.route.permission`, when there is access control.
        waited_too_long(&self.broker, config, peer, row)?;
        if let Some(beside) = self.lanes.beside(peer, row.lane) {
            self.lanes.serve(beside, row, &self.broker, peer, std::mem::take(request));
            return Ok(Reply::Later);
        }
        (row.serve)(&self.broker, peer, request, Disk::MustNotWait)
    }
}

impl RequestHandler for BrokerHandler {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        let config = self.broker.config.load();
        match self.dispatch(&config, peer, request) {
            Ok(Reply::Now(response)) => replies.answer(request, response),
            Ok(Reply::Sent(sent)) => sent.write(&config, request.serialize_type, request.opaque, replies),
            Ok(Reply::Pulled(pulled)) => pulled.write(request, replies),
            Ok(Reply::Later | Reply::Silent) => {}
            Ok(Reply::WouldBlock(cold)) => {
                self.lanes.serve_again(cold, row_of(request.code), &self.broker, peer, std::mem::take(request));
            }
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
