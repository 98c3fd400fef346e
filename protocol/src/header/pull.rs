// SPDX-License-Identifier: Apache-2.0
//! Pulling.

use super::header;
use crate::str::Str;

/// The one field of a pull's refusal: what a NO_PERMISSION is about.
pub const FORBIDDEN_TYPE: &str = "forbiddenType";

/// Bits of a pull's `sysFlag`.
pub mod pull_flag {
    pub const COMMIT_OFFSET: i32 = 1;
    pub const SUSPEND: i32 = 1 << 1;
    pub const SUBSCRIPTION: i32 = 1 << 2;
    pub const CLASS_FILTER: i32 = 1 << 3;
    pub const LITE_PULL: i32 = 1 << 4;
}

header! {
    /// PULL_MESSAGE (11), LITE_PULL_MESSAGE (361).
    pub struct PullMessageRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str!,
        "queueId" => queue_id: i32!,
        "queueOffset" => queue_offset: i64!,
        "maxMsgNums" => max_msg_nums: i32!,
        "sysFlag" => sys_flag: i32!,
        "commitOffset" => commit_offset: i64!,
        "suspendTimeoutMillis" => suspend_timeout_millis: i64!,
        "subscription" => subscription: Option<Str>,
        "subVersion" => sub_version: i64!,
        "expressionType" => expression_type: Option<Str>,
        "maxMsgBytes" => max_msg_bytes: Option<i32>,
        "requestSource" => request_source: Option<i32>,
        "proxyFrowardClientId" => proxy_forward_client_id: Option<Str>,
        "liteTopic" => lite_topic: Option<Str>,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    /// The answer: the first four are always there, or Java clients fail.
    pub struct PullMessageResponseHeader {
        "suggestWhichBrokerId" => suggest_which_broker_id: i64!,
        "nextBeginOffset" => next_begin_offset: i64!,
        "minOffset" => min_offset: i64!,
        "maxOffset" => max_offset: i64!,
        "offsetDelta" => offset_delta: Option<i64>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "groupSysFlag" => group_sys_flag: Option<i32>,
        "forbiddenType" => forbidden_type: Option<i32>,
    }
}

impl PullMessageRequestHeader {
    /// What a pull that waits is run with again, with strings of its own: it must not keep the bytes of everything that was read with it.
    pub fn detached(self) -> Self {
        let own = |text: Str| match text.as_str() {
            // What nearly every consumer says.
            "*" => Str::from_static("*"),
            "TAG" => Str::from_static("TAG"),
            text => Str::copy_from(text),
        };
        Self {
            consumer_group: own(self.consumer_group),
            topic: own(self.topic),
            subscription: self.subscription.map(own),
            expression_type: self.expression_type.map(own),
            proxy_forward_client_id: None,
            lite_topic: None,
            broker_name: None,
            ..self
        }
    }

    pub fn commits_offset(&self) -> bool {
        self.sys_flag & pull_flag::COMMIT_OFFSET != 0
    }
    pub fn may_suspend(&self) -> bool {
        self.sys_flag & pull_flag::SUSPEND != 0
    }
    pub fn has_subscription(&self) -> bool {
        self.sys_flag & pull_flag::SUBSCRIPTION != 0
    }
}
