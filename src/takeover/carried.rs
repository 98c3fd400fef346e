// SPDX-License-Identifier: Apache-2.0
//! Whether everything of the old master but its log is here: topics with their permissions, groups, what was consumed, and how far delayed
//! messages are.

use ferrocket_protocol::body::SubscriptionGroupWrapper;
use ferrocket_protocol::body::offset::{ConsumerOffsetSerializeWrapper, DelayOffsetSerializeWrapper};
use ferrocket_protocol::body::topic::TopicConfigAndMappingSerializeWrapper;
use ferrocket_protocol::request_code;

use super::old_master::OldMaster;
use crate::admin::AdminError;
use crate::broker::Broker;

/// What was found here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub topics: usize,
    pub groups: usize,
    pub offsets: usize,
    pub delay_levels: usize,
}

/// Whether the tables there change all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableState {
    /// What is here may be a moment old, but nothing may be missing.
    Moving,
    Still,
}

/// `Err` of the answer: something that is not here, or not as there.
pub(super) async fn compare(old: &OldMaster, broker: &Broker, tables: TableState) -> Result<Result<Carried, String>, AdminError> {
    let mut carried = Carried::default();
    let is_behind = |here: Option<i64>, there: i64| here.is_none_or(|here| tables == TableState::Still && here < there);
    let topics: TopicConfigAndMappingSerializeWrapper = old.admin.table(&old.addr, request_code::GET_ALL_TOPIC_CONFIG).await?;
    for (name, there) in &topics.topic_config_table {
        if broker.topics.get(name).is_none_or(|here| here.config() != there) {
            return Ok(Err(format!("the topic {name} is not as there")));
        }
        carried.topics += 1;
    }
    let groups: SubscriptionGroupWrapper = old.admin.table(&old.addr, request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).await?;
    if broker.groups.data_version() != groups.data_version {
        return Ok(Err("the groups are not as there".to_owned()));
    }
    for name in groups.subscription_group_table.keys() {
        if !broker.groups.contains(name) {
            return Ok(Err(format!("the group {name} is missing")));
        }
        carried.groups += 1;
    }
    let offsets: ConsumerOffsetSerializeWrapper = old.admin.table(&old.addr, request_code::GET_ALL_CONSUMER_OFFSET).await?;
    for (key, queues) in offsets.offset_table {
        let Some((topic, group)) = key.split_once('@') else { continue };
        for (queue_id, there) in queues {
            let here = broker.consumer_offsets.committed(group, topic, queue_id);
            if is_behind(here, there) {
                return Ok(Err(format!("what {group} has consumed of queue {queue_id} of {topic} is {here:?}, and {there} there")));
            }
            carried.offsets += 1;
        }
    }
    let delay: DelayOffsetSerializeWrapper = old.admin.table(&old.addr, request_code::GET_ALL_DELAY_OFFSET).await?;
    let here = broker.schedule.progress(&broker.store);
    for (level, there) in delay.offset_table {
        if is_behind(here.iter().find(|here| here.level == level).map(|here| here.delivered_offset), there) {
            return Ok(Err(format!("how far delay level {level} is delivered is not as there")));
        }
        carried.delay_levels += 1;
    }
    Ok(Ok(carried))
}
