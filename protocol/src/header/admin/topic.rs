// SPDX-License-Identifier: Apache-2.0
//! Topics: create, change, delete, list, statistics.

use crate::header::header;
use crate::str::Str;

header! {
    /// UPDATE_AND_CREATE_TOPIC (17), UPDATE_AND_CREATE_STATIC_TOPIC (513). `attributes` is a comma list of `+key=value` and `-key`.
    pub struct CreateTopicRequestHeader {
        "topic" => topic: Str! required,
        "defaultTopic" => default_topic: Str!,
        "readQueueNums" => read_queue_nums: i32! required,
        "writeQueueNums" => write_queue_nums: i32! required,
        "perm" => perm: i32! required,
        "topicFilterType" => topic_filter_type: Str! required,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "order" => order: bool!,
        "attributes" => attributes: Option<Str>,
        "force" => force: Option<bool>,
        "bname" => broker_name: Option<Str>,
    }

    /// DELETE_TOPIC_IN_BROKER (215).
    pub struct DeleteTopicRequestHeader {
        "topic" => topic: Str!,
        "bname" => broker_name: Option<Str>,
    }

    /// GET_ALL_TOPIC_CONFIG (21). Absent fields ask for the whole table.
    pub struct GetAllTopicConfigRequestHeader {
        "topicSeq" => topic_seq: Option<i32>!,
        "dataVersion" => data_version: Option<Str>,
        "maxTopicNum" => max_topic_num: Option<i32>,
    }

    pub struct GetAllTopicConfigResponseHeader {
        "totalTopicNum" => total_topic_num: i32!,
    }

    /// GET_TOPIC_CONFIG (351). `lo=true` asks for the mapping of a static topic.
    pub struct GetTopicConfigRequestHeader {
        "topic" => topic: Str! required,
        "lo" => logical: Option<bool>,
        "bname" => broker_name: Option<Str>,
    }

    /// GET_TOPIC_STATS_INFO (202).
    pub struct GetTopicStatsInfoRequestHeader {
        "topic" => topic: Str! required,
        "bname" => broker_name: Option<Str>,
    }

    /// QUERY_TOPIC_CONSUME_BY_WHO (300).
    pub struct QueryTopicConsumeByWhoRequestHeader {
        "topic" => topic: Str! required,
        "bname" => broker_name: Option<Str>,
    }

    /// QUERY_TOPICS_BY_CONSUMER (343).
    pub struct QueryTopicsByConsumerRequestHeader {
        "group" => group: Str!,
    }
}

impl GetAllTopicConfigRequestHeader {
    /// `topic_seq`, without which the original has no page.
    pub fn required_seq(&self) -> Result<i32, &'static str> {
        self.topic_seq.ok_or("topicSeq")
    }
}
