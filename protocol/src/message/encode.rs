// SPDX-License-Identifier: Apache-2.0
//! A message to its record. Everything that is known before the append lock is written here; three numbers are patched under it.

use std::net::{IpAddr, SocketAddr};

use super::{MessageInner, layout, sys_flag};

/// The CRC of a body as records keep it: its sign bit is cleared.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

fn needs_v2(message: &MessageInner) -> bool {
    message.topic.as_bytes().len() > layout::TOPIC_V1_BYTES_MAX
}

/// An IPv4 address that came in IPv6 clothes is IPv4.
fn canonical(host: SocketAddr) -> (IpAddr, u16) {
    (host.ip().to_canonical(), host.port())
}

/// The bytes of the record.
pub fn record_bytes(message: &MessageInner) -> usize {
    let v6_hosts = [message.born_host, message.store_host].into_iter().filter(|host| canonical(*host).0.is_ipv6()).count();
    layout::FIXED_BYTES
        + v6_hosts * (layout::HOST_V6_BYTES - layout::HOST_V4_BYTES)
        + usize::from(needs_v2(message))
        + message.body.len()
        + message.topic.as_bytes().len()
        + message.properties.len()
}

/// Appends the record: V1, or V2 for a topic that V1 has no room to name. Queue offset, physical offset and store time are zero until
/// `patch_record`. The IPv6 bits of the sys flag follow the hosts.
///
/// The caller has checked that the properties fit `PROPERTIES_BYTES_MAX`.
pub fn encode_record(message: &MessageInner, out: &mut Vec<u8>) {
    assert!(message.properties.len() <= layout::PROPERTIES_BYTES_MAX, "the store checks the size first: {}", message.properties.len());
    let total = record_bytes(message);
    let start = out.len();
    out.reserve(total);
    let v2 = needs_v2(message);
    let born_host = canonical(message.born_host);
    let store_host = canonical(message.store_host);
    let mut flags = message.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
    flags |= if born_host.0.is_ipv6() { sys_flag::BORN_HOST_V6 } else { 0 };
    flags |= if store_host.0.is_ipv6() { sys_flag::STORE_HOST_V6 } else { 0 };

    let mut head = Head { bytes: [0; HEAD_BYTES_MAX], len: 0 };
    head.put((total as u32).to_be_bytes());
    head.put((if v2 { layout::MAGIC_V2 } else { layout::MAGIC_V1 }).to_be_bytes());
    head.put(body_crc(&message.body).to_be_bytes());
    head.put(message.queue_id.to_be_bytes());
    head.put(message.flag.to_be_bytes());
    head.put([0; 16]); // queue offset, physical offset
    head.put(flags.to_be_bytes());
    head.put(message.born_timestamp.to_be_bytes());
    head.put_host(born_host);
    head.put([0; 8]); // store time
    head.put_host(store_host);
    head.put(message.reconsume_times.to_be_bytes());
    head.put(message.prepared_transaction_offset.to_be_bytes());
    head.put((message.body.len() as u32).to_be_bytes());
    out.extend_from_slice(&head.bytes[..head.len]);
    out.extend_from_slice(&message.body);
    let topic = message.topic.as_bytes();
    if v2 {
        out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    } else {
        out.push(topic.len() as u8);
    }
    out.extend_from_slice(topic);
    out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(&message.properties);
    assert_eq!(out.len() - start, total, "the record is as long as it says");
}

/// Fills in what only the append lock knows.
pub fn patch_record(record: &mut [u8], queue_offset: i64, physical_offset: i64, store_timestamp: i64) {
    put_i64(record, layout::QUEUE_OFFSET_AT, queue_offset);
    put_i64(record, layout::PHYSICAL_OFFSET_AT, physical_offset);
    // The one byte that holds the IPv6 bits.
    let born_host_is_v6 = record[layout::SYS_FLAG_AT + 3] & sys_flag::BORN_HOST_V6 as u8 != 0;
    put_i64(record, layout::store_timestamp_at(born_host_is_v6), store_timestamp);
}

fn put_i64(record: &mut [u8], at: usize, value: i64) {
    record[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// What lies before the body, with two IPv6 hosts.
const HEAD_BYTES_MAX: usize = layout::body_length_at(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6) + 4;

/// Put together here and copied at once.
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    #[inline]
    fn put<const N: usize>(&mut self, part: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&part);
        self.len += N;
    }

    fn put_host(&mut self, (ip, port): (IpAddr, u16)) {
        match ip {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
        self.put(u32::from(port).to_be_bytes());
    }
}
