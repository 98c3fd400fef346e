// SPDX-License-Identifier: Apache-2.0
//! What a broker passes on to a client, and what a tool asks it to pass on.

use super::header;
use crate::str::Str;

header! {
    /// RESET_CONSUMER_CLIENT_OFFSET (220), broker to client, and INVOKE_BROKER_TO_RESET_OFFSET (222). `queueId` -1 is every queue.
    pub struct ResetOffsetRequestHeader {
        "topic" => topic: Str! required,
        "group" => group: Str!,
        "queueId" => queue_id: i32 = -1,
        "offset" => offset: Option<i64>,
        "timestamp" => timestamp: i64!,
        "isForce" => is_force: bool!,
        "bname" => broker_name: Option<Str>,
    }

    /// GET_CONSUMER_STATUS_FROM_CLIENT (221) and INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
    pub struct GetConsumerStatusRequestHeader {
        "topic" => topic: Str!,
        "group" => group: Str!,
        "clientAddr" => client_addr: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }

    /// GET_CONSUMER_RUNNING_INFO (307).
    pub struct GetConsumerRunningInfoRequestHeader {
        "consumerGroup" => consumer_group: Str! required,
        "clientId" => client_id: Str!,
        "jstackEnable" => jstack_enable: bool,
        "bname" => broker_name: Option<Str>,
    }

    /// CONSUME_MESSAGE_DIRECTLY (309).
    pub struct ConsumeMessageDirectlyResultRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "clientId" => client_id: Option<Str>,
        "msgId" => msg_id: Option<Str>,
        "brokerName" => broker_name: Option<Str>,
        "topic" => topic: Option<Str>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "groupSysFlag" => group_sys_flag: Option<i32>,
    }

    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326), broker to client.
    pub struct ReplyMessageRequestHeader {
        "producerGroup" => producer_group: Str!,
        "topic" => topic: Str!,
        "defaultTopic" => default_topic: Str!,
        "defaultTopicQueueNums" => default_topic_queue_nums: i32!,
        "queueId" => queue_id: i32!,
        "sysFlag" => sys_flag: i32!,
        "bornTimestamp" => born_timestamp: i64!,
        "flag" => flag: i32!,
        "properties" => properties: Option<Str>,
        "reconsumeTimes" => reconsume_times: Option<i32>,
        "unitMode" => unit_mode: bool,
        "bornHost" => born_host: Str!,
        "storeHost" => store_host: Str!,
        "storeTimestamp" => store_timestamp: i64!,
        "bname" => broker_name: Option<Str>,
    }
}
