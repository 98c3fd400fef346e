// SPDX-License-Identifier: Apache-2.0
//! The record checker: is there a whole record of the CommitLog at this position?
//!
//! Java's checkMessageAndReturnSize, which decides where recovery ends the log. How a record is laid out is the protocol's.

use ferrocket_protocol::message::{MessageView, layout, properties, property, sys_flag};

/// What lies at a position of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Record(MessageView<'a>),
    /// The rest of the file is unused.
    Blank,
    /// No record: the end of the log, or damage.
    Nothing,
}

/// Checks what `bytes` begin with; they may reach beyond the record. `expected_offset` is where `bytes` lie in the log: a
/// record that says otherwise is a leftover of an earlier life of the file.
pub(super) fn check(bytes: &[u8], expected_offset: i64, check_crc: bool) -> Found<'_> {
    if bytes.get(layout::MAGIC_AT..layout::MAGIC_AT + 4) == Some(&layout::MAGIC_BLANK.to_be_bytes()) {
        return Found::Blank;
    }
    let Ok(record) = MessageView::decode(bytes) else { return Found::Nothing };
    if record.physical_offset != expected_offset {
        return Found::Nothing;
    }
    if check_crc && !record.body.is_empty() && !record.has_valid_body_crc() {
        return Found::Nothing;
    }
    Found::Record(record)
}

/// What a record says of itself before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) total_bytes: usize,
    pub(super) store_timestamp: i64,
}

/// Enough bytes for `head`, whatever kind of address the record bears.
pub(super) const HEAD_BYTES_MAX: usize = layout::store_host_at(true);

/// The head of the record that `bytes` begin with; `None` when they begin with none that belongs at `expected_offset`.
pub(super) fn head(bytes: &[u8], expected_offset: i64) -> Option<Head> {
    let int = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let is_record = matches!(int(layout::MAGIC_AT)?, layout::MAGIC_V1 | layout::MAGIC_V2);
    if !is_record || long(layout::PHYSICAL_OFFSET_AT)? != expected_offset {
        return None;
    }
    let born_host_is_v6 = sys_flag::has(int(layout::SYS_FLAG_AT)? as i32, sys_flag::BORN_HOST_V6);
    let total_bytes = i32::try_from(int(layout::TOTAL_BYTES_AT)?).ok().filter(|total| *total > 0)?;
    Some(Head { total_bytes: total_bytes as usize, store_timestamp: long(layout::store_timestamp_at(born_host_is_v6))? })
}

/// The end-of-file blank: only its head is written.
pub(super) fn blank_head(blank_bytes: usize) -> [u8; BLANK_HEAD_BYTES] {
    let mut head = [0; BLANK_HEAD_BYTES];
    head[..4].copy_from_slice(&(blank_bytes as u32).to_be_bytes());
    head[4..].copy_from_slice(&layout::MAGIC_BLANK.to_be_bytes());
    head
}

/// Every file ends with at least the head of a blank.
pub(super) const BLANK_HEAD_BYTES: usize = 8;

/// Half messages that were rolled back or are not yet decided have no place in a ConsumeQueue.
pub(super) fn is_dispatched(flag: i32) -> bool {
    matches!(sys_flag::transaction_type(flag), sys_flag::TRANSACTION_NOT | sys_flag::TRANSACTION_COMMIT)
}

/// The delay level that a record of SCHEDULE_TOPIC_XXXX waits for; its unit's tagsCode is then the time of delivery.
pub(super) fn delay_level(record_properties: &[u8]) -> Option<usize> {
    let level: i64 = properties::find_str(record_properties, property::DELAY)?.trim().parse().ok()?;
    usize::try_from(level).ok().filter(|level| *level > 0)
}

/// Java's computeDeliverTimestamp: levels beyond the table are its last, and a hole in it is a second.
pub(super) fn deliver_timestamp(level: usize, delay_level_millis: &[i64], store_timestamp: i64) -> i64 {
    let level = level.min(delay_level_millis.len());
    store_timestamp + level.checked_sub(1).and_then(|index| delay_level_millis.get(index)).copied().unwrap_or(1_000)
}
