// SPDX-License-Identifier: Apache-2.0
//! Offsets of groups: their table, the delay levels' table, and what a reset says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::queue::MessageQueue;
use super::{NumericMap, ObjectKeyMap};
use crate::data_version::DataVersion;

/// 43, and `consumerOffset.json`: `topic@group` to queue to offset. `groupTopicMap` repeats what the keys say and is ignored when read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetSerializeWrapper {
    pub data_version: Option<DataVersion>,
    pub group_topic_map: Option<BTreeMap<String, BTreeSet<String>>>,
    pub lmq_offset_table: Option<BTreeMap<String, i64>>,
    pub offset_table: BTreeMap<String, NumericMap<i32, i64>>,
    /// Only in the answer to 43: where POP and pull consumers read, not what they acknowledged.
    pub pull_offset_table: Option<BTreeMap<String, NumericMap<i32, i64>>>,
}

/// 45, and `delayOffset.json`: delay level to the next offset in its queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetSerializeWrapper {
    pub data_version: DataVersion,
    pub offset_table: NumericMap<i32, i64>,
}

/// 220, 222.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    pub offset_table: ObjectKeyMap<MessageQueue, i64>,
}

/// 220 when the tool that asked spoke C++.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBodyForC {
    pub offset_table: Vec<MessageQueueForC>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueForC {
    pub broker_name: String,
    pub offset: i64,
    pub queue_id: i32,
    pub topic: String,
}

/// 221, 223.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetConsumerStatusBody {
    pub consumer_table: BTreeMap<String, ObjectKeyMap<MessageQueue, i64>>,
    pub message_queue_table: ObjectKeyMap<MessageQueue, i64>,
}

/// 308.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryCorrectionOffsetBody {
    pub correction_offsets: NumericMap<i32, i64>,
}
