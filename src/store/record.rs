// SPDX-License-Identifier: Apache-2.0
//! The record checker: is there a whole record of the CommitLog at this position, and what must the indexes know of it?
//!
//! Java's checkMessageAndReturnSize, which decides where recovery ends the log. Positions of fields are the protocol's.

use ferrocket_protocol::message::layout;

/// What lies at a position of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Record(Record<'a>),
    /// The rest of the file is unused.
    Blank,
    /// No record: the end of the log, or damage.
    Nothing,
}

/// A record that passed the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) physical_offset: i64,
    pub(super) sys_flag: i32,
    pub(super) store_timestamp: i64,
    pub(super) properties: &'a [u8],
}

impl Record<'_> {
    pub(super) fn size(&self) -> i32 {
        self.bytes.len() as i32
    }

    pub(super) fn end_offset(&self) -> i64 {
        self.physical_offset + self.bytes.len() as i64
    }
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Checks what `bytes` begin with; they may reach beyond the record. `expected_offset` is where `bytes` lie in the log: a
/// record that says otherwise is a leftover of an earlier life of the file.
pub(super) fn check(bytes: &[u8], expected_offset: i64, check_crc: bool) -> Found<'_> {
    parse(bytes, expected_offset, check_crc).unwrap_or(Found::Nothing)
}

fn parse(bytes: &[u8], expected_offset: i64, check_crc: bool) -> Option<Found<'_>> {
    let total = int(bytes, 0)?;
    let magic = int(bytes, layout::MAGIC_AT)?;
    let topic_length_bytes = match magic {
        layout::MAGIC_BLANK => return Some(Found::Blank),
        layout::MAGIC_V1 => 1,
        layout::MAGIC_V2 => 2,
        _ => return Some(Found::Nothing),
    };
    let bytes = bytes.get(..usize::try_from(total).ok()?)?;
    let sys_flag = int(bytes, layout::SYS_FLAG_AT)?;
    let born_host_bytes = if sys_flag & layout::BORN_HOST_V6_FLAG == 0 { 8 } else { 20 };
    let store_host_bytes = if sys_flag & layout::STORE_HOST_V6_FLAG == 0 { 8 } else { 20 };
    let store_timestamp_at = layout::BORN_HOST_AT + born_host_bytes;
    let body_length_at = store_timestamp_at + 8 + store_host_bytes + 4 + 8;
    let body_bytes = usize::try_from(int(bytes, body_length_at)?).ok()?;
    let body = bytes.get(body_length_at + 4..)?.get(..body_bytes)?;
    let topic_at = body_length_at + 4 + body_bytes;
    let topic_bytes = match topic_length_bytes {
        1 => usize::from(*bytes.get(topic_at)?),
        _ => usize::from(u16::from_be_bytes(bytes.get(topic_at..topic_at + 2)?.try_into().ok()?)),
    };
    let topic = bytes.get(topic_at + topic_length_bytes..)?.get(..topic_bytes)?;
    let properties_at = topic_at + topic_length_bytes + topic_bytes;
    let properties_bytes = usize::from(u16::from_be_bytes(bytes.get(properties_at..properties_at + 2)?.try_into().ok()?));
    let properties = bytes.get(properties_at + 2..)?.get(..properties_bytes)?;
    let physical_offset = long(bytes, layout::PHYSICAL_OFFSET_AT)?;
    let right_length = properties_at + 2 + properties_bytes == bytes.len();
    if !right_length || physical_offset != expected_offset {
        return Some(Found::Nothing);
    }
    if check_crc && body_bytes > 0 && crc32fast::hash(body) & 0x7fff_ffff != int(bytes, layout::BODY_CRC_AT)? as u32 {
        return Some(Found::Nothing);
    }
    Some(Found::Record(Record {
        bytes,
        topic: std::str::from_utf8(topic).ok()?,
        queue_id: int(bytes, layout::QUEUE_ID_AT)?,
        queue_offset: long(bytes, layout::QUEUE_OFFSET_AT)?,
        physical_offset,
        sys_flag,
        store_timestamp: long(bytes, store_timestamp_at)?,
        properties,
    }))
}

/// Half messages that were rolled back or are not yet decided have no place in a ConsumeQueue.
pub(super) fn is_dispatched(sys_flag: i32) -> bool {
    matches!(sys_flag & layout::TRANSACTION_MASK, 0 | layout::TRANSACTION_COMMIT)
}
