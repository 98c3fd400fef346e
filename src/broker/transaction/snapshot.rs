// SPDX-License-Identifier: Apache-2.0
//! `ferrocket.halves`: the open halves as they were at a position of the log, so that a start reads only what lies behind it.
//!
//! Ours, beside the original's files; it may be deleted at any time, the log has it all. Knows its bytes, not what they are for.

use crate::store::Mark;

use super::open_halves::{OpenHalf, OpenHalves};

const MAGIC: &[u8; 8] = b"FRRHAL02";
const HEAD_BYTES: usize = 56;
const ENTRY_BYTES: usize = 28;
const CRC_BYTES: usize = 4;

/// The bytes of `docs/formats.md`.
pub(super) fn encode(mark: &Mark, open: &OpenHalves) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + open.len() * ENTRY_BYTES + CRC_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&mark.position.to_be_bytes());
    bytes.extend_from_slice(&mark.last_record.to_be_bytes());
    bytes.extend_from_slice(&u64::from(mark.last_record_crc).to_be_bytes());
    bytes.extend_from_slice(&open.known_from().to_be_bytes());
    bytes.extend_from_slice(&open.next().to_be_bytes());
    bytes.extend_from_slice(&(open.len() as u64).to_be_bytes());
    for (queue_offset, half) in open.iter() {
        bytes.extend_from_slice(&queue_offset.to_be_bytes());
        bytes.extend_from_slice(&half.physical_offset.to_be_bytes());
        bytes.extend_from_slice(&half.due_millis.to_be_bytes());
        bytes.extend_from_slice(&half.check_times.to_be_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// `None` for what is not wholly such a file.
pub(super) fn decode(bytes: &[u8]) -> Option<(Mark, OpenHalves)> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
    let (head, entries) = content.split_at_checked(HEAD_BYTES)?;
    if &head[..8] != MAGIC || crc32fast::hash(content).to_be_bytes() != crc {
        return None;
    }
    let long = |bytes: &[u8], index: usize| i64::from_be_bytes(bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"));
    let mark = Mark { position: long(head, 1), last_record: long(head, 2), last_record_crc: long(head, 3) as u32 };
    if entries.len() as u64 != (long(head, 6) as u64).checked_mul(ENTRY_BYTES as u64)? {
        return None;
    }
    let mut open = OpenHalves::default();
    open.know_from(long(head, 4));
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let check_times = u32::from_be_bytes(entry[24..].try_into().expect("four bytes"));
        open.insert(long(entry, 0), OpenHalf { physical_offset: long(entry, 1), check_times, due_millis: long(entry, 2) });
    }
    open.saw(long(head, 5));
    Some((mark, open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_nothing() {
        let mark = Mark { position: 900, last_record: 700, last_record_crc: 0xFFFF_FFFE };
        let mut open = OpenHalves::default();
        open.know_from(2);
        for offset in [3, 7] {
            open.insert(offset, OpenHalf { physical_offset: offset * 100, check_times: offset as u32, due_millis: 5_000 + offset });
        }
        open.insert(9, OpenHalf { physical_offset: 900, check_times: 0, due_millis: 1 });
        open.remove(9);
        let bytes = encode(&mark, &open);
        let (read_mark, read) = decode(&bytes).unwrap();
        assert_eq!((read_mark, read.known_from(), read.first(), read.next()), (mark, 2, 3, 10));
        assert_eq!(read.iter().collect::<Vec<_>>(), open.iter().collect::<Vec<_>>());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_none(), "byte {at}");
            assert!(decode(&bytes[..at]).is_none(), "{at} bytes");
        }
    }
}
