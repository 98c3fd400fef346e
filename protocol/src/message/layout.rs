// SPDX-License-Identifier: Apache-2.0
//! Where the parts of a record lie. All numbers are big-endian.
//!
//! ```text
//!  0        4        8         12        16     20            28               36        40
//!  | total  | magic  | bodyCRC | queueId | flag | queueOffset | physicalOffset | sysFlag | bornTimestamp ...
//! 48                      then
//!  | bornHost (8 or 20) | storeTimestamp 8 | storeHost (8 or 20) | reconsumeTimes 4 | preparedTransactionOffset 8
//!  | bodyLength 4 | body | topicLength 1 (V1) or 2 (V2) | topic | propertiesLength 2 | properties
//! ```

use super::sys_flag;

/// One byte says how long the topic is.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Two bytes say how long the topic is.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// The rest of a file that no record fitted into.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;

pub const TOTAL_BYTES_AT: usize = 0;
pub const MAGIC_AT: usize = 4;
pub const BODY_CRC_AT: usize = 8;
pub const QUEUE_ID_AT: usize = 12;
pub const FLAG_AT: usize = 16;
pub const QUEUE_OFFSET_AT: usize = 20;
pub const PHYSICAL_OFFSET_AT: usize = 28;
pub const SYS_FLAG_AT: usize = 36;
pub const BORN_TIMESTAMP_AT: usize = 40;
pub const BORN_HOST_AT: usize = 48;

pub const HOST_V4_BYTES: usize = 8;
pub const HOST_V6_BYTES: usize = 20;

/// The longest topic that a V1 record can name: its length is a signed byte.
pub const TOPIC_V1_BYTES_MAX: usize = 127;
/// The property string's length is a signed short.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// A record without body, topic and properties: V1, both hosts IPv4.
pub const FIXED_BYTES: usize = 91;

/// A batch item without body and properties, and where its parts begin.
pub const BATCH_ITEM_FIXED_BYTES: usize = 22;

pub const fn host_bytes(is_v6: bool) -> usize {
    if is_v6 { HOST_V6_BYTES } else { HOST_V4_BYTES }
}

/// By the sys flag of the record.
pub const fn store_timestamp_at(born_host_is_v6: bool) -> usize {
    BORN_HOST_AT + host_bytes(born_host_is_v6)
}

pub const fn store_host_at(born_host_is_v6: bool) -> usize {
    store_timestamp_at(born_host_is_v6) + 8
}

/// By the sys flag of the record: the body's length stands before the body.
pub const fn body_length_at(flags: i32) -> usize {
    let store_host_is_v6 = sys_flag::has(flags, sys_flag::STORE_HOST_V6);
    store_host_at(sys_flag::has(flags, sys_flag::BORN_HOST_V6)) + host_bytes(store_host_is_v6) + 4 + 8
}
