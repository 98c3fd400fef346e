// SPDX-License-Identifier: Apache-2.0
//! A record as it lies in the log or in a pull answer, read where it lies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{encode, layout, properties, sys_flag};
use crate::error::DecodeError;

/// One record. Nothing is copied; nothing is checked that costs a pass over the body (`has_valid_body_crc` does).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// The whole record.
    pub record: &'a [u8],
    pub magic: u32,
    pub body_crc: u32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    /// Empty when it is no text: such a record is whole, and no topic's.
    pub topic: &'a str,
    pub properties: &'a [u8],
}

/// Reads forward over bytes it never leaves.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A record is read for every message that is indexed, filtered or recovered: the calls would cost more than the reading.
impl<'a> Reader<'a> {
    #[inline]
    fn slice(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let available = self.bytes.len() - self.at;
        if length > available {
            return Err(DecodeError::Truncated { what, at: self.at, needed: length, available });
        }
        let slice = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(slice)
    }

    #[inline]
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let slice = self.slice(what, N)?;
        Ok(*slice.first_chunk().expect("a slice of N bytes"))
    }

    #[inline]
    fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.take(what).map(u32::from_be_bytes)
    }

    #[inline]
    fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.take(what).map(i32::from_be_bytes)
    }

    #[inline]
    fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.take(what).map(i64::from_be_bytes)
    }

    /// A length that the bytes say; a negative one lies.
    #[inline]
    fn length(&self, what: &'static str, length: i64) -> Result<usize, DecodeError> {
        usize::try_from(length).map_err(|_| DecodeError::Length { what, length, available: self.bytes.len() - self.at })
    }

    fn host(&mut self, what: &'static str, is_v6: bool) -> Result<SocketAddr, DecodeError> {
        let ip = if is_v6 { IpAddr::V6(Ipv6Addr::from(self.take::<16>(what)?)) } else { IpAddr::V4(Ipv4Addr::from(self.take::<4>(what)?)) };
        // Ports are written as four bytes; the upper two are never set.
        Ok(SocketAddr::new(ip, self.u32(what)? as u16))
    }
}

impl<'a> MessageView<'a> {
    /// The record that `bytes` begin with; what follows it is left alone.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut head = Reader { bytes, at: 0 };
        let total = head.i32("record length")?;
        let magic = head.u32("magic")?;
        let topic_length_bytes = match magic {
            layout::MAGIC_V1 => 1,
            layout::MAGIC_V2 => 2,
            other => return Err(DecodeError::Magic(other)),
        };
        let total = usize::try_from(total).ok().filter(|total| *total <= bytes.len()).ok_or(DecodeError::Length {
            what: "record",
            length: i64::from(total),
            available: bytes.len(),
        })?;
        if total < layout::FIXED_BYTES {
            return Err(DecodeError::Length { what: "record", length: total as i64, available: bytes.len() });
        }
        let record = &bytes[..total];
        let mut reader = Reader { bytes: record, at: layout::BODY_CRC_AT };
        let body_crc = reader.u32("body crc")?;
        let queue_id = reader.i32("queue id")?;
        let flag = reader.i32("flag")?;
        let queue_offset = reader.i64("queue offset")?;
        let physical_offset = reader.i64("physical offset")?;
        let flags = reader.i32("sys flag")?;
        let born_timestamp = reader.i64("born time")?;
        let born_host = reader.host("born host", sys_flag::has(flags, sys_flag::BORN_HOST_V6))?;
        let store_timestamp = reader.i64("store time")?;
        let store_host = reader.host("store host", sys_flag::has(flags, sys_flag::STORE_HOST_V6))?;
        let reconsume_times = reader.i32("reconsume times")?;
        let prepared_transaction_offset = reader.i64("prepared transaction offset")?;
        let body_length = reader.i32("body length")?;
        let body_length = reader.length("body", i64::from(body_length))?;
        let body = reader.slice("body", body_length)?;
        let topic_length = if topic_length_bytes == 1 {
            i64::from(i8::from_be_bytes(reader.take("topic length")?))
        } else {
            i64::from(i16::from_be_bytes(reader.take("topic length")?))
        };
        let topic_length = reader.length("topic", topic_length)?;
        let topic = std::str::from_utf8(reader.slice("topic", topic_length)?).unwrap_or_default();
        let properties_length = i64::from(i16::from_be_bytes(reader.take("properties length")?));
        let properties_length = reader.length("properties", properties_length)?;
        let properties = reader.slice("properties", properties_length)?;
        if reader.at != total {
            return Err(DecodeError::Length { what: "record", length: total as i64, available: reader.at });
        }
        Ok(Self {
            record,
            magic,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag: flags,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    pub fn total_bytes(&self) -> usize {
        self.record.len()
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        properties::find_str(self.properties, name)
    }

    pub fn has_valid_body_crc(&self) -> bool {
        self.body_crc == encode::body_crc(self.body)
    }
}

/// The records of a pull or query body, one behind the other. After an error there is nothing more.
pub fn records(body: &[u8]) -> impl Iterator<Item = Result<MessageView<'_>, DecodeError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let view = MessageView::decode(rest);
        rest = view.as_ref().map_or(&[][..], |view| &rest[view.total_bytes()..]);
        Some(view)
    })
}
