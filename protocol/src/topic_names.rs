// SPDX-License-Identifier: Apache-2.0
//! Names of topics and groups: the system's own, the derived ones, and which names are legal, with the original's texts.

pub const AUTO_CREATE: &str = "TBW102";
pub const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";
pub const BENCHMARK: &str = "BenchmarkTest";
pub const TRANS_HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub const TRANS_OP_HALF: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
pub const ROCKSDB_TRANS_HALF: &str = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC";
pub const ROCKSDB_TRANS_OP_HALF: &str = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC";
pub const TRANS_CHECK_MAX_TIME: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
pub const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";
pub const SELF_TEST: &str = "SELF_TEST_TOPIC";
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
pub const CHECKPOINT: &str = "CHECKPOINT_TOPIC";
pub const TIMER_WHEEL: &str = "rmq_sys_wheel_timer";

pub const RETRY_PREFIX: &str = "%RETRY%";
pub const DLQ_PREFIX: &str = "%DLQ%";
pub const LMQ_PREFIX: &str = "%LMQ%";
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
pub const REVIVE_LOG_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
pub const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
pub const REPLY_SUFFIX: &str = "_REPLY_TOPIC";

pub const TOOLS_CONSUMER_GROUP: &str = "TOOLS_CONSUMER";
pub const SCHEDULE_CONSUMER_GROUP: &str = "SCHEDULE_CONSUMER";
pub const CLIENT_INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";
pub const DEFAULT_PRODUCER_GROUP: &str = "DEFAULT_PRODUCER";
pub const DEFAULT_CONSUMER_GROUP: &str = "DEFAULT_CONSUMER";
pub const SYSTEM_TRANS_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// Groups that every broker has from its first start.
pub const SYSTEM_GROUPS: [&str; 8] = [
    TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    SYSTEM_TRANS_GROUP,
];

/// Topics that belong to the system by name alone; a broker adds those that carry its own or its cluster's name.
pub const SYSTEM_TOPICS: [&str; 12] = [
    AUTO_CREATE,
    SCHEDULE,
    BENCHMARK,
    TRANS_HALF,
    TRACE,
    TRANS_OP_HALF,
    TRANS_CHECK_MAX_TIME,
    SELF_TEST,
    OFFSET_MOVED_EVENT,
    CHECKPOINT,
    ROCKSDB_TRANS_HALF,
    ROCKSDB_TRANS_OP_HALF,
];

/// Topics that no producer may send to.
pub const NOT_SENDABLE: [&str; 8] =
    [SCHEDULE, TRANS_HALF, TRANS_OP_HALF, TRANS_CHECK_MAX_TIME, SELF_TEST, OFFSET_MOVED_EVENT, ROCKSDB_TRANS_HALF, ROCKSDB_TRANS_OP_HALF];

pub const TOPIC_LENGTH_MAX: usize = 127;
pub const RETRY_OR_DLQ_TOPIC_LENGTH_MAX: usize = 255;
/// Short enough to stand inside a retry or dead-letter topic.
pub const GROUP_LENGTH_MAX: usize = 120;

pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

pub fn reply_topic(cluster: &str) -> String {
    format!("{cluster}{REPLY_SUFFIX}")
}

pub fn revive_topic(cluster: &str) -> String {
    format!("{REVIVE_LOG_PREFIX}{cluster}")
}

pub fn sync_broker_member_topic(broker: &str) -> String {
    format!("{SYNC_BROKER_MEMBER_PREFIX}{broker}")
}

pub fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

pub fn is_dlq(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// The group that a retry topic belongs to.
pub fn group_of_retry(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

/// By name alone; a broker knows more of them.
pub fn is_system(topic: &str) -> bool {
    topic.starts_with(SYSTEM_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Groups of which only the broker itself keeps offsets: which transactions have ended, and how far invisible messages are.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX)
}

pub fn is_sendable(topic: &str) -> bool {
    !NOT_SENDABLE.contains(&topic)
}

/// Whether a producer may send to it.
pub fn takes_sends(topic: &str) -> bool {
    validate_topic(topic).is_ok() && is_sendable(topic)
}

const LEGAL: &str = "^[%|a-zA-Z0-9_-]+$";

fn has_illegal_characters(name: &str) -> bool {
    // A look into a table is half the work, and every message that is sent is checked.
    const LEGAL_BYTES: [bool; 256] = {
        let mut legal = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            legal[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
            byte += 1;
        }
        legal
    };
    !name.bytes().all(|byte| LEGAL_BYTES[byte as usize])
}

/// `Err` holds the remark of the refusal (INVALID_PARAMETER).
pub fn validate_topic(topic: &str) -> Result<(), String> {
    if topic.is_empty() || has_illegal_characters(topic) {
        if topic.trim().is_empty() {
            return Err("The specified topic is blank.".to_owned());
        }
        return Err(format!("The specified topic: {topic}, contains illegal characters, allowing only {LEGAL}"));
    }
    if is_retry(topic) || is_dlq(topic) {
        if topic.len() > RETRY_OR_DLQ_TOPIC_LENGTH_MAX {
            return Err(format!(
                "The specified topic is DLQ or Retry topic: {topic}, and it's longer than topic max length: {RETRY_OR_DLQ_TOPIC_LENGTH_MAX}"
            ));
        }
    } else if topic.len() > TOPIC_LENGTH_MAX {
        return Err(format!("The specified topic: {topic}, is longer than topic max length: {TOPIC_LENGTH_MAX}"));
    }
    Ok(())
}

/// `Err` holds the remark of the refusal (INVALID_PARAMETER).
pub fn validate_group(group: &str) -> Result<(), String> {
    if group.trim().is_empty() {
        return Err("The specified group is blank.".to_owned());
    }
    if has_illegal_characters(group) {
        return Err(format!("The specified group: {group}, contains illegal characters, allowing only {LEGAL}"));
    }
    if group.len() > GROUP_LENGTH_MAX {
        return Err(format!("The specified group: {group}, is longer than group max length: {GROUP_LENGTH_MAX}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TopicValidator.java#validateTopic, in its order.
    #[test]
    fn topics_are_judged_as_in_java() {
        assert_eq!(validate_topic(" "), Err("The specified topic is blank.".into()));
        assert!(validate_topic("a.b").unwrap_err().contains("contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"));
        assert_eq!(validate_topic(&"t".repeat(127)), Ok(()));
        assert!(validate_topic(&"t".repeat(128)).unwrap_err().ends_with("is longer than topic max length: 127"));
        assert_eq!(validate_topic(&retry_topic(&"g".repeat(248))), Ok(()));
        assert!(validate_topic(&dlq_topic(&"g".repeat(251))).unwrap_err().ends_with("and it's longer than topic max length: 255"));
    }

    #[test]
    fn groups_are_judged_as_in_java() {
        assert_eq!(validate_group(""), Err("The specified group is blank.".into()));
        assert!(validate_group("gé").is_err());
        assert!(validate_group(&"g".repeat(121)).unwrap_err().ends_with("is longer than group max length: 120"));
        assert_eq!(validate_group(&"g".repeat(120)), Ok(()));
    }

    #[test]
    fn system_topics_are_known_by_name_or_prefix() {
        assert!(is_system("TBW102") && is_system("rmq_sys_anything") && !is_system("orders"));
        assert!(!is_sendable(SCHEDULE) && is_sendable(AUTO_CREATE));
    }
}
