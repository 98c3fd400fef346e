// SPDX-License-Identifier: Apache-2.0
//! Pulling.

use super::header;
use crate::command::RemotingCommand;
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
        "consumerGroup" => consumer_group: Str! required,
        "topic" => topic: Str! required,
        "queueId" => queue_id: i32! required,
        "queueOffset" => queue_offset: i64! required,
        "maxMsgNums" => max_msg_nums: i32! required,
        "sysFlag" => sys_flag: i32! required,
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

/// A pull's fields where they lie in the request, as many as a broker goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullFields<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub numbers: PullNumbers,
    pub subscription: Option<&'a str>,
    pub expression_type: Option<&'a str>,
}

/// What is left of a pull's fields without the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullNumbers {
    pub queue_id: i32,
    pub queue_offset: i64,
    pub max_msg_nums: i32,
    pub sys_flag: i32,
    pub commit_offset: i64,
    pub suspend_timeout_millis: i64,
    pub sub_version: i64,
}

/// The words of the names: one comparison of numbers tells them apart.
mod word {
    use crate::scan::word_of;

    pub(super) const CONSUMER_GROUP: u64 = word_of(b"consumerGroup");
    pub(super) const TOPIC: u64 = word_of(b"topic");
    pub(super) const QUEUE_ID: u64 = word_of(b"queueId");
    pub(super) const QUEUE_OFFSET: u64 = word_of(b"queueOffset");
    pub(super) const MAX_MSG_NUMS: u64 = word_of(b"maxMsgNums");
    pub(super) const SYS_FLAG: u64 = word_of(b"sysFlag");
    pub(super) const COMMIT_OFFSET: u64 = word_of(b"commitOffset");
    pub(super) const SUSPEND_TIMEOUT_MILLIS: u64 = word_of(b"suspendTimeoutMillis");
    pub(super) const SUB_VERSION: u64 = word_of(b"subVersion");
    pub(super) const SUBSCRIPTION: u64 = word_of(b"subscription");
    pub(super) const MAX_MSG_BYTES: u64 = word_of(b"maxMsgBytes");
    pub(super) const REQUEST_SOURCE: u64 = word_of(b"requestSource");
    pub(super) const EXPRESSION_TYPE: u64 = word_of(b"expressionType");
}

impl<'a> PullFields<'a> {
    /// `Err` names the first field that is no number, or is missing while the original cannot go on without it.
    pub fn read(request: &'a RemotingCommand) -> Result<Self, &'static str> {
        let (mut consumer_group, mut topic, mut subscription, mut expression_type) = (None, None, None, None);
        let mut numbers = PullNumbers::default();
        // Of a name that comes twice the last value says whether it can be read.
        let (mut has_queue_id, mut has_queue_offset, mut has_max_msg_nums, mut has_sys_flag) = (false, false, false, false);
        // The original reads every number at once, also those that may be missing.
        let (mut may_commit, mut may_suspend, mut may_version, mut may_bytes, mut may_source) = (true, true, true, true, true);
        let mut unused = 0_i32;
        for (found, name, value) in request.ext_fields.walk() {
            let text = || (!value.is_null()).then(|| value.text());
            match found {
                word::CONSUMER_GROUP if name.is("consumerGroup") => consumer_group = text(),
                word::TOPIC if name.is("topic") => topic = text(),
                word::QUEUE_ID if name.is("queueId") => has_queue_id = value.read_number(&mut numbers.queue_id),
                word::QUEUE_OFFSET if name.is("queueOffset") => has_queue_offset = value.read_number(&mut numbers.queue_offset),
                word::MAX_MSG_NUMS if name.is("maxMsgNums") => has_max_msg_nums = value.read_number(&mut numbers.max_msg_nums),
                word::SYS_FLAG if name.is("sysFlag") => has_sys_flag = value.read_number(&mut numbers.sys_flag),
                word::COMMIT_OFFSET if name.is("commitOffset") => may_commit = value.may_read_number(&mut numbers.commit_offset),
                word::SUSPEND_TIMEOUT_MILLIS if name.is("suspendTimeoutMillis") => {
                    may_suspend = value.may_read_number(&mut numbers.suspend_timeout_millis);
                }
                word::SUB_VERSION if name.is("subVersion") => may_version = value.may_read_number(&mut numbers.sub_version),
                word::MAX_MSG_BYTES if name.is("maxMsgBytes") => may_bytes = value.may_read_number(&mut unused),
                word::REQUEST_SOURCE if name.is("requestSource") => may_source = value.may_read_number(&mut unused),
                word::SUBSCRIPTION if name.is("subscription") => subscription = text().or(subscription),
                word::EXPRESSION_TYPE if name.is("expressionType") => expression_type = text().or(expression_type),
                _ => {}
            }
        }
        let required = [
            (has_queue_id, "queueId"),
            (has_queue_offset, "queueOffset"),
            (has_max_msg_nums, "maxMsgNums"),
            (has_sys_flag, "sysFlag"),
            (may_commit, "commitOffset"),
            (may_suspend, "suspendTimeoutMillis"),
            (may_version, "subVersion"),
            (may_bytes, "maxMsgBytes"),
            (may_source, "requestSource"),
        ];
        let consumer_group = consumer_group.ok_or("consumerGroup")?;
        let topic = topic.ok_or("topic")?;
        match required.into_iter().find(|(is_readable, _)| !is_readable) {
            Some((_, name)) => Err(name),
            None => Ok(Self { consumer_group, topic, numbers, subscription, expression_type }),
        }
    }
}

impl PullNumbers {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;
    use crate::request_code;

    #[test]
    fn the_fields_where_they_lie_are_those_of_the_header() {
        let header = PullMessageRequestHeader {
            consumer_group: "G".into(),
            topic: "T".into(),
            queue_id: -1,
            queue_offset: i64::MAX,
            max_msg_nums: 32,
            sys_flag: pull_flag::SUSPEND | pull_flag::SUBSCRIPTION,
            commit_offset: i64::MIN,
            suspend_timeout_millis: 15_000,
            subscription: Some("TagA || TagB".into()),
            sub_version: 7,
            expression_type: Some("TAG".into()),
            broker_name: Some("broker-a".into()),
            ..Default::default()
        };
        let request = RemotingCommand::request_with(request_code::PULL_MESSAGE, &header);
        let numbers = PullNumbers {
            queue_id: -1,
            queue_offset: i64::MAX,
            max_msg_nums: 32,
            sys_flag: 6,
            commit_offset: i64::MIN,
            suspend_timeout_millis: 15_000,
            sub_version: 7,
        };
        let fields =
            PullFields { consumer_group: "G", topic: "T", numbers, subscription: Some("TagA || TagB"), expression_type: Some("TAG") };
        assert_eq!(PullFields::read(&request), Ok(fields));
        assert!(numbers.may_suspend() && numbers.has_subscription() && !numbers.commits_offset());
    }

    /// Seen on 5.5.0: each of these ends in a NullPointerException or a NumberFormatException.
    #[test]
    fn the_first_field_that_cannot_be_read_is_named() {
        let all = [("consumerGroup", "G"), ("topic", ""), ("queueId", "0"), ("queueOffset", "5"), ("maxMsgNums", "1"), ("sysFlag", "0")];
        assert!(PullMessageRequestHeader::REQUIRED.iter().map(|field| field.name).eq(all.map(|(name, _)| name)), "they are marked so");
        let mut request = RemotingCommand::request(request_code::PULL_MESSAGE);
        let read = |request: &RemotingCommand| PullFields::read(request).map(|fields| fields.numbers);
        for (name, value) in all {
            assert_eq!(read(&request), Err(name));
            if !matches!(name, "consumerGroup" | "topic") {
                request.ext_fields.insert(name, "x");
                assert_eq!(read(&request), Err(name));
            }
            request.ext_fields.insert(name, value);
        }
        let asked = PullNumbers { queue_offset: 5, max_msg_nums: 1, ..Default::default() };
        assert_eq!(read(&request), Ok(asked));
        // What may be missing must still be a number.
        for (name, wrong) in [
            ("queueId", "2147483648"),
            ("commitOffset", "x"),
            ("suspendTimeoutMillis", "9223372036854775808"),
            ("subVersion", ""),
            ("maxMsgBytes", "2147483648"),
            ("requestSource", "x"),
        ] {
            request.ext_fields.insert(name, wrong);
            assert_eq!(read(&request), Err(name));
            request.ext_fields.insert(name, "0");
        }
        assert_eq!(read(&request), Ok(asked));
    }
}
