// SPDX-License-Identifier: Apache-2.0
//! Finding stored messages: by key, by position, by ConsumeQueue index.

use super::header;
use crate::str::Str;

/// The extra field by which QUERY_MESSAGE asks for a unique key; no header of the original declares it.
pub const UNIQUE_KEY_QUERY: &str = "_UNIQUE_KEY_QUERY";

header! {
    /// QUERY_MESSAGE (12). `indexType` is K, U or T; absent means K unless `_UNIQUE_KEY_QUERY` says U.
    pub struct QueryMessageRequestHeader {
        "topic" => topic: Str!,
        "key" => key: Str!,
        "maxNum" => max_num: i32! required,
        "beginTimestamp" => begin_timestamp: i64! required,
        "endTimestamp" => end_timestamp: i64! required,
        "indexType" => index_type: Option<Str>,
        "lastKey" => last_key: Option<Str>,
        "_UNIQUE_KEY_QUERY" => unique_key_query: bool,
        "bname" => broker_name: Option<Str>,
    }

    pub struct QueryMessageResponseHeader {
        "indexLastUpdateTimestamp" => index_last_update_timestamp: i64!,
        "indexLastUpdatePhyoffset" => index_last_update_phyoffset: i64!,
    }

    /// VIEW_MESSAGE_BY_ID (33): by position in the log, whatever the name says.
    pub struct ViewMessageRequestHeader {
        "topic" => topic: Option<Str>,
        "offset" => offset: i64! required,
        "bname" => broker_name: Option<Str>,
    }

    /// QUERY_CONSUME_QUEUE (321).
    pub struct QueryConsumeQueueRequestHeader {
        "topic" => topic: Str,
        "queueId" => queue_id: i32,
        "index" => index: i64,
        "count" => count: i32,
        "consumerGroup" => consumer_group: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }

    /// QUERY_CORRECTION_OFFSET (308). `filterGroups` is a comma list.
    pub struct QueryCorrectionOffsetHeader {
        "filterGroups" => filter_groups: Option<Str>,
        "compareGroup" => compare_group: Str!,
        "topic" => topic: Str!,
    }

    /// QUERY_CONSUME_TIME_SPAN (303).
    pub struct QueryConsumeTimeSpanRequestHeader {
        "topic" => topic: Str!,
        "group" => group: Str!,
    }
}
