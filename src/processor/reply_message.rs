// SPDX-License-Identifier: Apache-2.0
//! SEND_REPLY_MESSAGE (324) and SEND_REPLY_MESSAGE_V2 (325): a consumer's reply to a producer's request, answered when the producer has
//! taken it and it is stored.

use std::net::SocketAddr;
use std::sync::Arc;

use ferrocket_protocol::header::ReplyMessageRequestHeader;
use ferrocket_protocol::header::send::{SendFields, SendMessageRequestHeader, SendMessageResponseHeader};
use ferrocket_protocol::message::{id, property};
use ferrocket_protocol::{RemotingCommand, Str, response_code, topic_names};

use super::lane::Disk;
use super::reply::{Refusal, Reply, bool_text};
use super::send_message::{refusal, send_request, stamped};
use crate::broker::send::reply::{self, Delivery, PushFailure};
use crate::broker::{Broker, Hosts};
use crate::config::BrokerConfig;
use crate::remoting::Peer;

/// What the original answers as the id of a reply that is not stored.
const NOT_STORED_ID: &str = "0";

pub(super) fn process(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let config = broker.config.load();
    let fields = SendFields::read(request).map_err(|field| match topic_names::validate_topic("") {
        // Its check of the name comes first in the original.
        Err(blank) if field == "topic" => stamped(Refusal::new(response_code::INVALID_PARAMETER, blank), &config),
        _ => super::unreadable(field),
    })?;
    let Hosts { store, for_peer } = broker.hosts_for(peer);
    let header = push_header(peer, SendMessageRequestHeader::from_request(request)?, store);
    let sending = send_request(peer, request, fields, store, Disk::MustNotWait);
    let accepted = reply::accept(broker, &config, &sending).map_err(|error| refusal(error, broker, &config, peer, &sending))?;
    let queue_id = accepted.queue_id();
    let completion = peer.completion(request).keeping(request);
    let services = Arc::clone(broker);
    broker.runtime.spawn("deliver a reply", async move {
        let delivery = accepted.deliver(&services, header).await;
        completion.answer_now(answer(&services.config.load(), for_peer, queue_id, delivery));
    });
    Ok(Reply::Later)
}

fn push_header(peer: &Peer, sent: SendMessageRequestHeader, store: SocketAddr) -> ReplyMessageRequestHeader {
    ReplyMessageRequestHeader {
        producer_group: sent.producer_group,
        topic: sent.topic,
        default_topic: sent.default_topic,
        default_topic_queue_nums: sent.default_topic_queue_nums,
        queue_id: sent.queue_id,
        sys_flag: sent.sys_flag,
        born_timestamp: sent.born_timestamp,
        flag: sent.flag,
        reconsume_times: sent.reconsume_times,
        unit_mode: sent.unit_mode,
        born_host: peer.remote_addr().to_string().into(),
        store_host: store.to_string().into(),
        ..Default::default()
    }
}

fn answer(config: &BrokerConfig, address: SocketAddr, queue_id: i32, delivery: Delivery) -> RemotingCommand {
    let Delivery { pushed, stored } = delivery;
    let (msg_id, queue_offset) = match (&stored, &pushed) {
        (Some(result), _) => (id::offset_id(address, result.physical_offset).to_string(), result.queue_offset),
        (None, Ok(())) => (NOT_STORED_ID.to_owned(), 0),
        (None, Err(failure)) => return stamped(Refusal::system_error(remark(failure)), config).into_response(),
    };
    let answer = match pushed {
        Ok(()) => RemotingCommand::response(response_code::SUCCESS),
        Err(failure) => RemotingCommand::response(response_code::SYSTEM_ERROR).with_remark(remark(&failure)),
    };
    answer.with_header(&SendMessageResponseHeader {
        msg_id: msg_id.into(),
        queue_id,
        queue_offset,
        msg_region: Some(Str::copy_from(&config.region_id)),
        trace_on: Some(Str::from_static(bool_text(config.trace_on))),
        ..Default::default()
    })
}

/// The original's texts.
fn remark(failure: &PushFailure) -> String {
    match failure {
        PushFailure::NoAsker => format!("reply message properties[{}] is null", property::REPLY_TO_CLIENT),
        PushFailure::NotThere(asker) => format!("push reply message fail, channel of <{asker}> not found."),
        PushFailure::Failed { asker, .. } => format!("push reply message to {asker}fail."),
    }
}
