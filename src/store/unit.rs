// SPDX-License-Identifier: Apache-2.0
//! A unit of a ConsumeQueue, as its 20 bytes: where a message lies in the log, how long it is, and the hash of its tags.

pub(super) const UNIT_BYTES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    pub physical_offset: i64,
    pub size: i32,
    pub tags_code: i64,
}

impl Unit {
    /// Fills the places before a queue's first message when that is not number 0.
    pub(super) const BLANK: Self = Self { physical_offset: 0, size: i32::MAX, tags_code: 0 };

    pub(super) fn decode(bytes: &[u8; UNIT_BYTES]) -> Self {
        Self {
            physical_offset: i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
            size: i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
            tags_code: i64::from_be_bytes(bytes[12..].try_into().expect("eight bytes")),
        }
    }

    pub(super) fn encode(&self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// Java's test for "something was written here".
    pub(super) fn is_valid(&self) -> bool {
        self.physical_offset >= 0 && self.size > 0
    }

    pub(super) fn is_blank(&self) -> bool {
        *self == Self::BLANK
    }

    /// Whether it says where a message lies.
    pub(super) fn is_message(&self) -> bool {
        self.is_valid() && !self.is_blank()
    }

    pub(super) fn end_offset(&self) -> i64 {
        // Of a damaged one it may be anything.
        self.physical_offset.saturating_add(i64::from(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// store-and-ha.md §14.
    #[test]
    fn units_are_bytes_of_the_original() {
        let unit = Unit { physical_offset: 1000, size: 154, tags_code: 2_598_919 };
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&1000_i64.to_be_bytes());
        bytes.extend_from_slice(&0x9a_i32.to_be_bytes());
        bytes.extend_from_slice(&0x27a807_i64.to_be_bytes());
        assert_eq!(unit.encode()[..], bytes);
        assert_eq!(Unit::decode(&unit.encode()), unit);
        assert_eq!(Unit::BLANK.encode(), [0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
