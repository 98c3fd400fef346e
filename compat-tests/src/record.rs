// SPDX-License-Identifier: Apache-2.0
//! Stored message records as a consumer receives them, and batch bodies as a producer sends them. Knows the layout only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail};

const MAGIC_V1: u32 = 0xdaa3_20a7;
const MAGIC_V2: u32 = 0xdaa3_20ab;
const BORN_HOST_V6: i32 = 1 << 4;
const STORE_HOST_V6: i32 = 1 << 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub record_bytes: usize,
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
    pub body: Vec<u8>,
    pub topic: String,
    pub properties: String,
}

impl Record {
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.split('\u{2}').find_map(|pair| pair.split_once('\u{1}').filter(|(name, _)| *name == key).map(|(_, v)| v))
    }

    #[must_use]
    pub fn property_map(&self) -> BTreeMap<String, String> {
        self.properties
            .split('\u{2}')
            .filter_map(|pair| pair.split_once('\u{1}'))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// All records of a pull or query body.
pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let record = decode(bytes)?;
        bytes = &bytes[record.record_bytes..];
        records.push(record);
    }
    Ok(records)
}

fn decode(bytes: &[u8]) -> Result<Record> {
    let mut at = Reader { bytes, at: 0 };
    let record_bytes = at.int()? as usize;
    if record_bytes > bytes.len() {
        bail!("a record of {record_bytes} bytes in {} bytes", bytes.len());
    }
    let magic = at.int()? as u32;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        bail!("magic {magic:08x}");
    }
    let body_crc = at.int()? as u32;
    let queue_id = at.int()?;
    let flag = at.int()?;
    let queue_offset = at.long()?;
    let physical_offset = at.long()?;
    let sys_flag = at.int()?;
    let born_timestamp = at.long()?;
    let born_host = at.host(sys_flag & BORN_HOST_V6 != 0)?;
    let store_timestamp = at.long()?;
    let store_host = at.host(sys_flag & STORE_HOST_V6 != 0)?;
    let reconsume_times = at.int()?;
    let prepared_transaction_offset = at.long()?;
    let body_bytes = at.int()? as usize;
    let body = at.take(body_bytes)?.to_vec();
    let topic_bytes = if magic == MAGIC_V2 { at.short()? as usize } else { at.take(1)?[0] as usize };
    let topic = String::from_utf8(at.take(topic_bytes)?.to_vec())?;
    let properties_bytes = at.short()? as usize;
    let properties = String::from_utf8(at.take(properties_bytes)?.to_vec())?;
    if at.at != record_bytes {
        bail!("a record says {record_bytes} bytes and has {}", at.at);
    }
    Ok(Record {
        record_bytes,
        magic,
        body_crc,
        queue_id,
        flag,
        queue_offset,
        physical_offset,
        sys_flag,
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

/// One message of a batch body: magic and CRC are ignored by the server and left zero, as the Java client does.
pub fn push_batch_message(out: &mut Vec<u8>, body: &[u8], properties: &[u8]) {
    let total = 4 + 4 + 4 + 4 + 4 + body.len() + 2 + properties.len();
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    out.extend_from_slice(properties);
}

/// The physical offset inside an IPv4 offset id.
pub fn id_offset(id: &str) -> Result<i64> {
    let tail = id.get(16..32).with_context(|| format!("message id {id}"))?;
    Ok(i64::from_str_radix(tail, 16)?)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + count).context("the record ends early")?;
        self.at += count;
        Ok(taken)
    }

    fn short(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn host(&mut self, v6: bool) -> Result<SocketAddr> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?)?))
        } else {
            IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?)?))
        };
        Ok(SocketAddr::new(ip, self.int()? as u16))
    }
}
