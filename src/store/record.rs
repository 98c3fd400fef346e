// SPDX-License-Identifier: Apache-2.0
//! The record checker: is there a whole record of the CommitLog at this position?
//!
//! Java's checkMessageAndReturnSize, which decides where recovery ends the log. How a record is laid out is the protocol's.

use ferrocket_protocol::message::{MessageView, layout, sys_flag};

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
    if is_blank(bytes) {
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

/// Whether the rest of a file is unused from here on.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.get(layout::MAGIC_AT..layout::MAGIC_AT + 4) == Some(&layout::MAGIC_BLANK.to_be_bytes())
}

/// What a record says of itself before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) total_bytes: usize,
    pub(super) sys_flag: i32,
    pub(super) store_timestamp: i64,
}

/// Enough bytes for `head`, whatever kind of address the record bears.
pub(super) const HEAD_BYTES_MAX: usize = layout::store_host_at(true);

/// The head of the record that `bytes` begin with; `None` when they begin with none that belongs at `expected_offset`.
pub(super) fn head(bytes: &[u8], expected_offset: i64) -> Option<Head> {
    let is_record = matches!(int(bytes, layout::MAGIC_AT)?, layout::MAGIC_V1 | layout::MAGIC_V2);
    if !is_record || long(bytes, layout::PHYSICAL_OFFSET_AT)? != expected_offset {
        return None;
    }
    let sys_flag = int(bytes, layout::SYS_FLAG_AT)? as i32;
    let born_host_is_v6 = sys_flag::has(sys_flag, sys_flag::BORN_HOST_V6);
    let total_bytes = i32::try_from(int(bytes, layout::TOTAL_BYTES_AT)?).ok().filter(|total| *total > 0)?;
    let store_timestamp = long(bytes, layout::store_timestamp_at(born_host_is_v6))?;
    Some(Head { total_bytes: total_bytes as usize, sys_flag, store_timestamp })
}

/// Whether `bytes` look like a whole record that belongs at `expected_offset`.
pub(super) fn is_at(bytes: &[u8], expected_offset: i64) -> bool {
    int(bytes, layout::TOTAL_BYTES_AT).is_some_and(|total| total as usize == bytes.len())
        && matches!(int(bytes, layout::MAGIC_AT), Some(layout::MAGIC_V1 | layout::MAGIC_V2))
        && long(bytes, layout::PHYSICAL_OFFSET_AT) == Some(expected_offset)
}

/// Enough bytes for `plausible_bytes`.
pub(super) const LENGTHS_BYTES_MAX: usize = layout::body_length_at(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6) + 4;

/// What a record may have besides its body: head, topic and properties with their lengths.
const BESIDE_BODY_BYTES_MAX: usize = LENGTHS_BYTES_MAX + 2 + u16::MAX as usize + 2 + u16::MAX as usize;

/// How long the record is that `bytes` begin with; `None` when its lengths contradict each other: one that lies is not worth reading so
/// much.
pub(super) fn plausible_bytes(bytes: &[u8], expected_offset: i64) -> Option<usize> {
    let head = head(bytes, expected_offset)?;
    let body_bytes = int(bytes, layout::body_length_at(head.sys_flag))? as usize;
    (body_bytes..=body_bytes + BESIDE_BODY_BYTES_MAX).contains(&head.total_bytes).then_some(head.total_bytes)
}

/// How long the record is of which `bytes`, where `check` finds neither one nor a blank, are the beginning: 0 while that is not known,
/// `None` when they are of none.
pub(super) fn begun_bytes(bytes: &[u8], expected_offset: i64) -> Option<usize> {
    if let Some(total_bytes) = plausible_bytes(bytes, expected_offset) {
        return Some(total_bytes).filter(|total_bytes| bytes.len() < *total_bytes);
    }
    let magic = int(bytes, layout::MAGIC_AT);
    let may_be = magic.is_none_or(|magic| matches!(magic, layout::MAGIC_V1 | layout::MAGIC_V2));
    (may_be && bytes.len() < LENGTHS_BYTES_MAX).then_some(0)
}

/// The length of the blank that `bytes` begin with: what is left of the file of whoever wrote it.
pub(super) fn blank_bytes(bytes: &[u8]) -> Option<usize> {
    int(bytes, 0).filter(|_| is_blank(bytes)).map(|blank_bytes| blank_bytes as usize)
}

fn int(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The part of a record that names it: what lies behind the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) head: Head,
    pub(super) topic: &'a [u8],
    pub(super) properties: &'a [u8],
}

/// Topic and properties of the record that `bytes` begin with, for who reads every record and wants nothing else of it; `None` when
/// they begin with none that belongs at `expected_offset`.
pub(super) fn named(bytes: &[u8], expected_offset: i64) -> Option<Named<'_>> {
    let head = head(bytes, expected_offset)?;
    let record = bytes.get(..head.total_bytes)?;
    let body_length_at = layout::body_length_at(head.sys_flag);
    let topic_length_at = body_length_at + 4 + int(record, body_length_at)? as usize;
    let (topic_length, topic_at) = match int(record, layout::MAGIC_AT)? {
        layout::MAGIC_V1 => (usize::from(*record.get(topic_length_at)?), topic_length_at + 1),
        _ => (short(record, topic_length_at)?, topic_length_at + 2),
    };
    let topic = record.get(topic_at..topic_at + topic_length)?;
    let properties_at = topic_at + topic_length + 2;
    let properties = record.get(properties_at..)?;
    (properties.len() == short(record, properties_at - 2)?).then_some(Named { head, topic, properties })
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)))
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ferrocket_protocol::message::{MessageInner, encode_record, patch_record};

    use super::*;

    #[test]
    fn what_names_a_record_is_what_the_whole_record_says() {
        let hosts = ["127.0.0.1:1", "[2001:db8::1]:2"];
        let long = "t".repeat(200);
        for (topic, born, store) in [("T", 0, 0), ("T", 1, 0), ("T", 0, 1), ("T", 1, 1), (&*long, 1, 0)] {
            let message = MessageInner {
                topic: topic.to_owned().into(),
                queue_id: 1,
                flag: 0,
                sys_flag: sys_flag::TRANSACTION_COMMIT,
                born_timestamp: 5,
                born_host: hosts[born].parse().unwrap(),
                store_host: hosts[store].parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: Bytes::from_static(b"body"),
                properties: Bytes::from_static(b"KEYS\x01k\x02"),
                tags_code: 0,
            };
            let mut bytes = Vec::new();
            encode_record(&message, &mut bytes);
            patch_record(&mut bytes, 7, 100, 1_000);
            let record_bytes = bytes.len();
            bytes.extend_from_slice(b"what follows");
            let Found::Record(whole) = check(&bytes, 100, true) else { panic!("no record") };
            let named = named(&bytes, 100).unwrap();
            assert_eq!(named.head, Head { total_bytes: record_bytes, sys_flag: whole.sys_flag, store_timestamp: 1_000 });
            assert_eq!((named.topic, named.properties), (topic.as_bytes(), whole.properties));
            assert_eq!(super::named(&bytes, 101), None, "it belongs elsewhere");
            for cut in 0..record_bytes {
                assert_eq!(super::named(&bytes[..cut], 100), None, "cut at {cut}");
            }
        }
    }
}
