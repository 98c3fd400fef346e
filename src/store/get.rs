// SPDX-License-Identifier: Apache-2.0
//! What a get asks for and what it answers.

use bytes::Bytes;

#[derive(Clone, Copy, Debug)]
pub struct GetMessage<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub offset: i64,
    pub max_count: i32,
    /// The answer's body; the first message always fits. At most `GET_BYTES_MAX`.
    pub max_bytes: usize,
}

/// Java's MAX_PULL_MSG_SIZE.
pub const GET_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Java's GetMessageStatus, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetMessageStatus {
    Found,
    NoMatchedMessage,
    MessageWasRemoving,
    OffsetFoundNull,
    OffsetOverflowBadly,
    OffsetOverflowOne,
    OffsetTooSmall,
    NoMatchedLogicQueue,
    NoMessageInQueue,
    OffsetReset,
}

impl GetMessageStatus {
    /// Java's name, which travels as the remark of a pull's answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::OffsetFoundNull => "OFFSET_FOUND_NULL",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            Self::OffsetReset => "OFFSET_RESET",
        }
    }
}

/// One message of a get's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagePosition {
    pub queue_offset: i64,
    /// Where in the log its record begins.
    pub physical_offset: i64,
    /// Of the record, in bytes.
    pub size: i32,
}

#[derive(Clone, Debug)]
pub struct GetMessageResult {
    pub status: GetMessageStatus,
    pub next_begin_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    /// The records, one after the other, as they are in the log.
    pub body: Bytes,
    pub message_count: i32,
    /// Of each message in `body`, in their order; empty unless `get_message_listed` was asked.
    pub positions: Vec<MessagePosition>,
    pub suggest_pulling_from_slave: bool,
    /// Nothing was decided: the bytes are not in memory. Ask again through `get_message_blocking`, on a thread that may wait.
    pub would_block: bool,
}
