// SPDX-License-Identifier: Apache-2.0
//! What masters and slaves say to each other on the replication port: a slave reports where its log ends, a master sends the bytes that
//! follow there. No handshake, no version and no frame around it.

/// A slave's report: where its log ends, as a number of eight bytes.
pub const HA_REPORT_BYTES: usize = 8;
/// In front of each piece of the log.
pub const HA_HEADER_BYTES: usize = 12;

/// What a master sends before bytes of its log, or alone as a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaHeader {
    /// Where in the log the bytes behind it begin; of a heartbeat, where the next ones will.
    pub physical_offset: i64,
    /// 0 in a heartbeat.
    pub body_bytes: i32,
}

impl HaHeader {
    pub fn encode(self) -> [u8; HA_HEADER_BYTES] {
        let mut bytes = [0; HA_HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..].copy_from_slice(&self.body_bytes.to_be_bytes());
        bytes
    }

    /// Whatever the numbers are: what they may be is for whoever knows the log.
    pub fn decode(bytes: [u8; HA_HEADER_BYTES]) -> Self {
        let [o0, o1, o2, o3, o4, o5, o6, o7, b0, b1, b2, b3] = bytes;
        Self { physical_offset: i64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]), body_bytes: i32::from_be_bytes([b0, b1, b2, b3]) }
    }
}

/// A report of ours that no log can end at: the slave's log differs from the master's, and it leaves. A master of the original notes the
/// number, and finds that nobody waits for it.
pub const LOGS_DIFFER_REPORT: i64 = i64::from_be_bytes(*b"\xffdiffers");

pub fn encode_report(physical_offset: i64) -> [u8; HA_REPORT_BYTES] {
    physical_offset.to_be_bytes()
}

pub fn decode_report(bytes: [u8; HA_REPORT_BYTES]) -> i64 {
    i64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a 5.5.0 master sends them.
    #[test]
    fn a_header_is_an_offset_of_eight_bytes_and_a_length_of_four() {
        let heartbeat = HaHeader { physical_offset: 4_096, body_bytes: 0 };
        assert_eq!(heartbeat.encode(), *b"\0\0\0\0\0\0\x10\0\0\0\0\0");
        let data = HaHeader { physical_offset: 0x0102_0304_0506_0708, body_bytes: 0x090a_0b0c };
        assert_eq!(data.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let hostile = HaHeader { physical_offset: i64::MIN, body_bytes: -1 };
        for header in [heartbeat, data, hostile] {
            assert_eq!(HaHeader::decode(header.encode()), header);
        }
    }

    #[test]
    fn a_report_is_an_offset_of_eight_bytes() {
        assert_eq!(encode_report(4_096), *b"\0\0\0\0\0\0\x10\0");
        const { assert!(LOGS_DIFFER_REPORT < 0) };
        for offset in [0, 1, i64::MAX, -1, LOGS_DIFFER_REPORT] {
            assert_eq!(decode_report(encode_report(offset)), offset);
        }
    }
}
