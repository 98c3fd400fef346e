// SPDX-License-Identifier: Apache-2.0
//! Topic configurations, their table, and the mapping of static topics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NumericMap;
use crate::data_version::DataVersion;
use crate::perm;

/// Bits of `topicSysFlag`.
pub mod topic_sys_flag {
    pub const UNIT: i32 = 1;
    pub const UNIT_SUB: i32 = 1 << 1;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    /// Also what an unknown word counts as: Java's null has no place in the text form of a registration.
    #[default]
    #[serde(alias = "")]
    SingleTag,
    MultiTag,
}

impl TopicFilterType {
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleTag => "SINGLE_TAG",
            Self::MultiTag => "MULTI_TAG",
        }
    }

    /// `None` for what is neither.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::SingleTag, Self::MultiTag].into_iter().find(|kind| kind.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ_WRITE,
            read_queue_nums: Self::DEFAULT_QUEUE_NUMS,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: Self::DEFAULT_QUEUE_NUMS,
        }
    }
}

impl TopicConfig {
    /// What a config has that says nothing.
    pub const DEFAULT_QUEUE_NUMS: i32 = 16;

    pub fn new(topic_name: impl Into<String>, read_queue_nums: i32, write_queue_nums: i32, perm: i32) -> Self {
        Self { topic_name: topic_name.into(), read_queue_nums, write_queue_nums, perm, ..Self::default() }
    }

    /// The text form inside a compressed registration: name, read and write queues, perm, filter type, attributes.
    pub fn to_text(&self) -> String {
        format!(
            "{} {} {} {} {} {}",
            self.topic_name,
            self.read_queue_nums,
            self.write_queue_nums,
            self.perm,
            self.topic_filter_type.name(),
            crate::fastjson::to_string(&self.attributes)
        )
    }

    /// Reads the text form; 4.x leaves out the attributes. `None` when it is none.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.splitn(6, ' ');
        let mut next = || words.next();
        let topic_name = next()?.to_owned();
        let read_queue_nums = next()?.parse().ok()?;
        let write_queue_nums = next()?.parse().ok()?;
        let perm = next()?.parse().ok()?;
        let topic_filter_type = TopicFilterType::from_name(next()?)?;
        // As the original: attributes that cannot be read are none.
        let attributes = next().and_then(|text| crate::fastjson::from_str(text).ok()).unwrap_or_default();
        Some(Self { attributes, perm, read_queue_nums, topic_filter_type, topic_name, write_queue_nums, ..Self::default() })
    }
}

/// 21 of a 4.x broker, and the body of very old registrations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigSerializeWrapper {
    pub data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// 21 and the registration since 5.0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndMappingSerializeWrapper {
    pub data_version: DataVersion,
    pub mapping_data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    pub topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
}

/// 351: a config, and the mapping when the topic is static.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndQueueMapping {
    pub attributes: BTreeMap<String, String>,
    pub mapping_detail: Option<TopicQueueMappingDetail>,
    pub order: bool,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl From<TopicConfig> for TopicConfigAndQueueMapping {
    fn from(config: TopicConfig) -> Self {
        Self {
            attributes: config.attributes,
            mapping_detail: None,
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: config.topic_filter_type,
            topic_name: config.topic_name,
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }
    }
}

/// What a broker knows of a static topic, in short: enough for a name server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingInfo {
    pub bname: Option<String>,
    pub curr_id_map: NumericMap<i32, i32>,
    pub dirty: bool,
    pub epoch: i64,
    pub scope: Option<String>,
    pub topic: Option<String>,
    pub total_queues: i32,
}

/// What a broker knows of a static topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingDetail {
    pub bname: Option<String>,
    pub curr_id_map: NumericMap<i32, i32>,
    pub dirty: bool,
    pub epoch: i64,
    pub hosted_queues: NumericMap<i32, Vec<LogicQueueMappingItem>>,
    pub scope: Option<String>,
    pub topic: Option<String>,
    pub total_queues: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogicQueueMappingItem {
    pub bname: Option<String>,
    pub end_offset: i64,
    pub r#gen: i32,
    pub logic_offset: i64,
    pub queue_id: i32,
    pub start_offset: i64,
    pub time_of_end: i64,
    pub time_of_start: i64,
}

impl Default for LogicQueueMappingItem {
    fn default() -> Self {
        Self { bname: None, end_offset: -1, r#gen: 0, logic_offset: 0, queue_id: 0, start_offset: 0, time_of_end: -1, time_of_start: -1 }
    }
}

/// 18.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CreateTopicListRequestBody {
    pub topic_config_list: Vec<TopicConfig>,
}

/// 206, 224, 304, 305, 311 to 313, 343.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    pub broker_addr: Option<String>,
    pub topic_list: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_with_and_without_attributes() {
        let text = r#"T 4 4 6 SINGLE_TAG {"message.type":"NORMAL"}"#;
        let config = TopicConfig::from_text(text).unwrap();
        assert_eq!(config.to_text(), text);
        assert_eq!(
            TopicConfig::from_text("T 4 8 6 MULTI_TAG").map(|config| (config.write_queue_nums, config.topic_filter_type)),
            Some((8, TopicFilterType::MultiTag))
        );
        assert_eq!(TopicConfig::from_text("T 4 4"), None);
    }
}
