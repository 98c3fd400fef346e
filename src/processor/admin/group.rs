// SPDX-License-Identifier: Apache-2.0
//! Subscription groups for administrators: codes 200, 201, 207, 225 and 352. A change is answered when it is on the disk.

use std::sync::Arc;

use ferrocket_protocol::body::{SubscriptionGroupConfig, SubscriptionGroupList};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::{
    DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupRequestHeader, GetAllSubscriptionGroupResponseHeader,
    GetSubscriptionGroupConfigRequestHeader,
};
use ferrocket_protocol::{RemotingCommand, fastjson, response_code, topic_names};
use tracing::info;

use crate::broker::{Broker, membership};
use crate::processor::admin::NAMED_MAX;
use crate::processor::checks::{body_of, require_a_clients_group, require_page, require_queue_count};
use crate::processor::reply::{Refusal, Reply};
use crate::processor::unreadable;
use crate::remoting::Peer;

/// A group with this attribute shares the lite topics below one topic; its offsets go with it.
const LITE_BIND_TOPIC: &str = "lite.bind.topic";

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP.
pub(in crate::processor) fn update(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    if request.body.is_empty() {
        return Ok(Reply::success());
    }
    let group: SubscriptionGroupConfig = body_of(request)?;
    apply(broker, peer, request, vec![group])
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: all names are looked at before anything is changed.
pub(in crate::processor) fn update_list(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let list: SubscriptionGroupList = body_of(request)?;
    apply(broker, peer, request, list.group_config_list)
}

fn apply(
    broker: &Arc<Broker>,
    peer: &Arc<Peer>,
    request: &RemotingCommand,
    groups: Vec<SubscriptionGroupConfig>,
) -> Result<Reply, Refusal> {
    for group in &groups {
        topic_names::validate_group(&group.group_name).map_err(|remark| Refusal::new(response_code::INVALID_PARAMETER, remark))?;
        require_queue_count(group.retry_queue_nums, broker.groups.retry_queue_nums(&group.group_name))?;
    }
    let count = groups.len();
    for (at, group) in groups.into_iter().enumerate() {
        let said = fastjson::to_string(&group);
        broker.groups.update(group)?;
        if at < NAMED_MAX {
            info!(%peer, group = said, of = count, "a subscription group was made or changed by command");
        }
    }
    persisted(broker, peer, request)
}

/// DELETE_SUBSCRIPTIONGROUP.
pub(in crate::processor) fn delete(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: DeleteSubscriptionGroupRequestHeader = request.header()?;
    let group = &*header.group_name;
    require_a_clients_group(group)?;
    let deleted = broker.groups.delete(group);
    if deleted.is_some() {
        info!(%peer, group, with_offsets = header.clean_offset, "a subscription group was deleted by command");
    }
    let is_lite = deleted.is_some_and(|config| config.attributes.contains_key(LITE_BIND_TOPIC));
    if header.clean_offset || is_lite {
        broker.consumer_offsets.remove_group(group);
    }
    persisted(broker, peer, request)
}

/// GET_SUBSCRIPTIONGROUP_CONFIG. A group that is not there is made, as everywhere.
pub(in crate::processor) fn one(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetSubscriptionGroupConfigRequestHeader = request.header()?;
    match broker.groups.find(&header.group) {
        Some(group) => Ok(Reply::body(fastjson::to_vec(&*group))),
        None => Err(Refusal::new(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker")),
    }
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG: everything, or a page for those who ask for pages.
pub(in crate::processor) fn all(broker: &Broker, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: GetAllSubscriptionGroupRequestHeader = request.header()?;
    let config = broker.config.load();
    let asks_for_page = header.group_seq.is_some() || header.data_version.is_some() || header.max_group_num.is_some();
    let page = if config.enable_split_metadata && asks_for_page {
        let start = usize::try_from(header.required_seq().map_err(unreadable)?).unwrap_or(0);
        let seen = header.data_version.as_ref().and_then(|text| fastjson::from_str::<DataVersion>(text).ok());
        let count_max = header.max_group_num.unwrap_or(i32::MAX).min(config.split_metadata_size);
        broker.groups.encode_page(start, seen.as_ref(), require_page(count_max)?)
    } else {
        broker.groups.encode()
    };
    let header = GetAllSubscriptionGroupResponseHeader { total_group_num: page.total_count as i32 };
    Ok(Reply::Now(RemotingCommand::response(response_code::SUCCESS).with_header(&header).with_body(page.body)))
}

/// The change is made; the answer comes when it is on the disk.
fn persisted(broker: &Arc<Broker>, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let completion = peer.completion(request);
    let working = Arc::clone(broker);
    broker.runtime.spawn_blocking("persist groups", move || {
        completion.answer_now(match membership::persist_all(&working) {
            Ok(()) => RemotingCommand::response(response_code::SUCCESS),
            Err(why) => Refusal::unwritten(&why).into_response(),
        });
    });
    Ok(Reply::Later)
}
