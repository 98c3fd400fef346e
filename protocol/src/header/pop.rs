// SPDX-License-Identifier: Apache-2.0
//! POP: take, acknowledge, hide longer, ask whether there is something.

use super::header;
use crate::str::Str;

header! {
    /// POP_MESSAGE (200050).
    pub struct PopMessageRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str!,
        "queueId" => queue_id: i32!,
        "maxMsgNums" => max_msg_nums: i32!,
        "invisibleTime" => invisible_time: i64!,
        "pollTime" => poll_time: i64!,
        "bornTime" => born_time: i64!,
        "initMode" => init_mode: i32!,
        "expType" => exp_type: Option<Str>,
        "exp" => exp: Option<Str>,
        "order" => order: bool,
        "attemptId" => attempt_id: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }

    pub struct PopMessageResponseHeader {
        "popTime" => pop_time: i64!,
        "invisibleTime" => invisible_time: i64!,
        "reviveQid" => revive_qid: i32!,
        "restNum" => rest_num: i64!,
        "startOffsetInfo" => start_offset_info: Option<Str>,
        "msgOffsetInfo" => msg_offset_info: Option<Str>,
        "orderCountInfo" => order_count_info: Option<Str>,
    }

    /// PEEK_MESSAGE (200052).
    pub struct PeekMessageRequestHeader {
        "topic" => topic: Str!,
        "queueId" => queue_id: i32!,
        "maxMsgNums" => max_msg_nums: i32!,
        "consumerGroup" => consumer_group: Str!,
        "bname" => broker_name: Option<Str>,
    }

    /// ACK_MESSAGE (200051). `extraInfo` is the POP_CK of the message.
    pub struct AckMessageRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str!,
        "queueId" => queue_id: i32!,
        "extraInfo" => extra_info: Str!,
        "offset" => offset: i64!,
        "liteTopic" => lite_topic: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }

    /// CHANGE_MESSAGE_INVISIBLETIME (200053).
    pub struct ChangeInvisibleTimeRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str!,
        "queueId" => queue_id: i32!,
        "extraInfo" => extra_info: Str!,
        "offset" => offset: i64!,
        "invisibleTime" => invisible_time: i64!,
        "liteTopic" => lite_topic: Option<Str>,
        "suspend" => suspend: bool,
        "bname" => broker_name: Option<Str>,
    }

    pub struct ChangeInvisibleTimeResponseHeader {
        "popTime" => pop_time: i64!,
        "invisibleTime" => invisible_time: i64!,
        "reviveQid" => revive_qid: i32!,
    }

    /// NOTIFICATION (200054).
    pub struct NotificationRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str!,
        "queueId" => queue_id: i32!,
        "pollTime" => poll_time: i64!,
        "bornTime" => born_time: i64!,
        "order" => order: bool,
        "attemptId" => attempt_id: Option<Str>,
        "expType" => exp_type: Option<Str>,
        "exp" => exp: Option<Str>,
        "isLiteConsumer" => is_lite_consumer: bool,
        "clientId" => client_id: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }

    pub struct NotificationResponseHeader {
        "hasMsg" => has_msg: bool!,
        "pollingFull" => polling_full: bool,
    }

    /// POLLING_INFO (200055).
    pub struct PollingInfoRequestHeader {
        "consumerGroup" => consumer_group: Str!,
        "topic" => topic: Str!,
        "queueId" => queue_id: i32!,
        "bname" => broker_name: Option<Str>,
    }

    pub struct PollingInfoResponseHeader {
        "pollingNum" => polling_num: i32!,
    }
}
