// SPDX-License-Identifier: Apache-2.0
//! Consumer groups: delete, list, what they read and how far they are.

use crate::header::header;
use crate::str::Str;

header! {
    /// DELETE_SUBSCRIPTIONGROUP (207).
    pub struct DeleteSubscriptionGroupRequestHeader {
        "groupName" => group_name: Str! required,
        "cleanOffset" => clean_offset: bool,
    }

    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201). Absent fields ask for the whole table.
    pub struct GetAllSubscriptionGroupRequestHeader {
        "groupSeq" => group_seq: Option<i32>!,
        "dataVersion" => data_version: Option<Str>,
        "maxGroupNum" => max_group_num: Option<i32>,
    }

    pub struct GetAllSubscriptionGroupResponseHeader {
        "totalGroupNum" => total_group_num: i32!,
    }

    /// GET_SUBSCRIPTIONGROUP_CONFIG (352).
    pub struct GetSubscriptionGroupConfigRequestHeader {
        "group" => group: Str! required,
    }

    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353). Without `readable` it only asks.
    pub struct UpdateGroupForbiddenRequestHeader {
        "group" => group: Str!,
        "topic" => topic: Str!,
        "readable" => readable: Option<bool>,
    }

    /// GET_CONSUME_STATS (208). `topicList` is separated by `;`.
    pub struct GetConsumeStatsRequestHeader {
        "consumerGroup" => consumer_group: Str! required,
        "topic" => topic: Option<Str>,
        "topicList" => topic_list: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }

    /// GET_CONSUMER_CONNECTION_LIST (203).
    pub struct GetConsumerConnectionListRequestHeader {
        "consumerGroup" => consumer_group: Str! required,
    }

    /// GET_PRODUCER_CONNECTION_LIST (204).
    pub struct GetProducerConnectionListRequestHeader {
        "producerGroup" => producer_group: Str! required,
    }

    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    pub struct QuerySubscriptionByConsumerRequestHeader {
        "group" => group: Str!,
        "topic" => topic: Option<Str>,
    }

    /// CLONE_GROUP_OFFSET (314).
    pub struct CloneGroupOffsetRequestHeader {
        "srcGroup" => src_group: Str! required,
        "destGroup" => dest_group: Str!,
        "topic" => topic: Option<Str>,
        "offline" => offline: bool,
    }
}

impl GetAllSubscriptionGroupRequestHeader {
    /// `group_seq`, without which the original has no page.
    pub fn required_seq(&self) -> Result<i32, &'static str> {
        self.group_seq.ok_or("groupSeq")
    }
}
