// SPDX-License-Identifier: Apache-2.0
//! Offsets: a group's own, and where a queue begins, ends and was at a time.

use super::header;
use crate::str::Str;

header! {
    /// QUERY_CONSUMER_OFFSET (14). An explicit `setZeroIfNotFound=false` differs from an absent one.
    pub struct QueryConsumerOffsetRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str!,
        "queueId" => queue_id: i32! required,
        "setZeroIfNotFound" => set_zero_if_not_found: Option<bool>,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    pub struct QueryConsumerOffsetResponseHeader {
        "offset" => offset: i64!,
    }

    /// UPDATE_CONSUMER_OFFSET (15). Missing `queueId` or `commitOffset` is refused, so null is told apart.
    pub struct UpdateConsumerOffsetRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str! required,
        "queueId" => queue_id: Option<i32>!,
        "commitOffset" => commit_offset: Option<i64>!,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP (29). `boundaryType` `upper` in any case, everything else is lower.
    pub struct SearchOffsetRequestHeader {
        "topic" => topic: Str! required,
        "queueId" => queue_id: i32! required,
        "timestamp" => timestamp: i64! required,
        "boundaryType" => boundary_type: Option<Str>,
        "liteTopic" => lite_topic: Option<Str>,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    pub struct SearchOffsetResponseHeader {
        "offset" => offset: i64!,
    }

    /// GET_MAX_OFFSET (30).
    pub struct GetMaxOffsetRequestHeader {
        "topic" => topic: Str! required,
        "queueId" => queue_id: i32! required,
        "committed" => committed: bool = true,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    pub struct GetMaxOffsetResponseHeader {
        "offset" => offset: i64!,
    }

    /// GET_MIN_OFFSET (31).
    pub struct GetMinOffsetRequestHeader {
        "topic" => topic: Str! required,
        "queueId" => queue_id: i32! required,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    pub struct GetMinOffsetResponseHeader {
        "offset" => offset: i64!,
    }

    /// GET_EARLIEST_MSG_STORETIME (32).
    pub struct GetEarliestMsgStoretimeRequestHeader {
        "topic" => topic: Str! required,
        "queueId" => queue_id: i32! required,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    pub struct GetEarliestMsgStoretimeResponseHeader {
        "timestamp" => timestamp: i64!,
    }
}

impl SearchOffsetRequestHeader {
    /// Whether the search wants the last message at or before the time rather than the first.
    pub fn wants_upper_boundary(&self) -> bool {
        self.boundary_type.as_ref().is_some_and(|boundary| boundary.eq_ignore_ascii_case("upper"))
    }
}
