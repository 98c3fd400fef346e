// SPDX-License-Identifier: Apache-2.0
//! Message ids: where one lies (offset id), and the one its sender gave it (unique key). The caller brings time and address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// Hex digits of an offset id or unique key with an IPv4 address.
pub const ID_V4_LENGTH: usize = 32;
/// With an IPv6 address.
pub const ID_V6_LENGTH: usize = 56;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The hex digits of an id, on the stack.
#[derive(Clone, Copy)]
pub struct Id {
    digits: [u8; ID_V6_LENGTH],
    length: usize,
}

impl Id {
    fn new() -> Self {
        Self { digits: [0; ID_V6_LENGTH], length: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digits[self.length] = HEX[usize::from(byte >> 4)];
            self.digits[self.length + 1] = HEX[usize::from(byte & 0xF)];
            self.length += 2;
        }
    }

    fn push_word(&mut self, word: u32) {
        self.digits[self.length..self.length + 8].copy_from_slice(&hex_of(word));
        self.length += 8;
    }

    fn push_ip(&mut self, ip: IpAddr) {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.push_word(ip.to_bits()),
            IpAddr::V6(ip) => self.push(&ip.octets()),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("hex digits are ASCII")
    }
}

impl std::fmt::Debug for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a message lies: address of the broker, position in its log.
pub fn offset_id(store_host: SocketAddr, physical_offset: i64) -> Id {
    let mut id = Id::new();
    id.push_ip(store_host.ip());
    id.push_word(store_host.port().into());
    id.push_word((physical_offset >> 32) as u32);
    id.push_word(physical_offset as u32);
    id
}

/// Eight hex digits at once: each half byte gets a byte of its own, and those above nine seven more, from behind `9` to `A`.
const fn hex_of(word: u32) -> [u8; 8] {
    let mut halves = word as u64;
    halves = (halves | halves << 16) & 0x0000_FFFF_0000_FFFF;
    halves = (halves | halves << 8) & 0x00FF_00FF_00FF_00FF;
    halves = (halves | halves << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    let above_nine = (halves + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (halves + 0x3030_3030_3030_3030 + above_nine * 7).to_be_bytes()
}

/// `None` when it is no offset id.
pub fn parse_offset_id(id: &str) -> Option<(SocketAddr, i64)> {
    let bytes = unhex(id)?;
    let (ip, rest): (IpAddr, &[u8]) = match bytes.len() * 2 {
        ID_V4_LENGTH => (Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(), &bytes[4..]),
        ID_V6_LENGTH => (Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(), &bytes[16..]),
        _ => return None,
    };
    let port = u32::from_be_bytes(*rest.first_chunk()?);
    let offset = i64::from_be_bytes(*rest.last_chunk()?);
    Some((SocketAddr::new(ip, u16::try_from(port).ok()?), offset))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    text.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// Makes unique keys as a Java client does: address, process, a number of its own, milliseconds of this month, a counter.
#[derive(Debug)]
pub struct UniqueKeys {
    ip: IpAddr,
    process: u16,
    instance: u32,
    counter: AtomicU16,
}

impl UniqueKeys {
    /// `instance` tells two makers in one process apart.
    pub fn new(ip: IpAddr, process: u32, instance: u32) -> Self {
        Self { ip, process: process as u16, instance, counter: AtomicU16::new(0) }
    }

    /// `month_start_millis`: when this month began, in local time.
    pub fn next(&self, now_millis: i64, month_start_millis: i64) -> Id {
        let mut id = Id::new();
        id.push_ip(self.ip);
        id.push(&self.process.to_be_bytes());
        id.push(&self.instance.to_be_bytes());
        id.push(&((now_millis - month_start_millis) as u32).to_be_bytes());
        id.push(&self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        id
    }
}

/// What a unique key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKeyParts {
    pub ip: IpAddr,
    pub process: u16,
    pub millis_of_month: u32,
    pub counter: u16,
}

/// `None` when it is none.
pub fn parse_unique_key(key: &str) -> Option<UniqueKeyParts> {
    let bytes = unhex(key)?;
    let (ip, rest): (IpAddr, &[u8]) = match bytes.len() * 2 {
        ID_V4_LENGTH => (Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(), &bytes[4..]),
        ID_V6_LENGTH => (Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(), &bytes[16..]),
        _ => return None,
    };
    Some(UniqueKeyParts {
        ip,
        process: u16::from_be_bytes(*rest.first_chunk()?),
        millis_of_month: u32::from_be_bytes(*rest[6..].first_chunk()?),
        counter: u16::from_be_bytes(*rest.last_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors computed by the original's code.
    #[test]
    fn offset_ids_are_the_vectors() {
        for (host, offset, id) in [
            ("10.0.0.2:10911", 1000, "0A00000200002A9F00000000000003E8"),
            ("127.0.0.1:10911", 1000, "7F00000100002A9F00000000000003E8"),
            ("[2001:db8::1]:10911", 1000, "20010DB800000000000000000000000100002A9F00000000000003E8"),
        ] {
            let host: SocketAddr = host.parse().unwrap();
            assert_eq!(offset_id(host, offset).as_str(), id);
            assert_eq!(parse_offset_id(id), Some((host, offset)));
        }
        for broken in ["", "0A", "0A00000200002A9F00000000000003EZ", "0A00000200012A9F00000000000003E8", "é".repeat(16).as_str()] {
            assert_eq!(parse_offset_id(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_word_has_the_digits_of_its_bytes() {
        for word in [0, 1, 0x0123_4567, 0x89AB_CDEF, 0x9A9A_0F0F, u32::MAX] {
            assert_eq!(hex_of(word), *format!("{word:08X}").as_bytes());
        }
    }

    #[test]
    fn unique_keys_count_up_and_say_their_time() {
        let keys = UniqueKeys::new([10, 0, 0, 1].into(), 0x1_1234, 7);
        let (first, second) = (keys.next(5_000, 2_000), keys.next(5_000, 2_000));
        assert_eq!(first.as_str(), "0A00000112340000000700000BB80000");
        assert_ne!(first.as_str(), second.as_str());
        let parts = parse_unique_key(second.as_str()).unwrap();
        assert_eq!((parts.process, parts.millis_of_month, parts.counter), (0x1234, 3_000, 1));
    }
}
