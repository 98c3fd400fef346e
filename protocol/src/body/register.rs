// SPDX-License-Identifier: Apache-2.0
//! REGISTER_BROKER (103): the table that a broker tells a name server, as JSON or deflated.

use std::io::Read;

use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use serde::{Deserialize, Serialize};

use super::topic::{TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicQueueMappingInfo};
use crate::error::DecodeError;
use crate::fastjson::{self, ReadError};
use crate::version;

/// What a compressed registration may grow to: a table of half a million topics. A frame holds 16 MiB, deflate a thousandfold.
pub const INFLATED_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    pub filter_server_list: Vec<String>,
    pub topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
}

impl RegisterBrokerBody {
    /// `compressed` and `version` are the request's: the field of that name and the sender's version.
    pub fn decode(body: &[u8], compressed: bool, version: i32) -> Result<Self, ReadError> {
        if compressed { Self::inflate(body, version) } else { fastjson::from_slice(body) }
    }

    fn inflate(body: &[u8], version: i32) -> Result<Self, ReadError> {
        let mut inflated = Vec::new();
        ZlibDecoder::new(body)
            .take(INFLATED_BYTES_MAX + 1)
            .read_to_end(&mut inflated)
            .map_err(|error| DecodeError::Inflate(error.to_string()))?;
        if inflated.len() as u64 > INFLATED_BYTES_MAX {
            return Err(DecodeError::TooMany { what: "bytes of an inflated registration", limit: INFLATED_BYTES_MAX as usize }.into());
        }
        let mut parts = Parts { bytes: &inflated };
        let mut body = Self::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = fastjson::from_slice(parts.next("data version")?)?;
        for _ in 0..parts.number("topic count")? {
            let text = std::str::from_utf8(parts.next("topic")?).map_err(|_| DecodeError::Utf8 { what: "topic" })?;
            let config = TopicConfig::from_text(text).ok_or_else(|| ReadError::Shape(format!("topic config is unreadable: {text}")))?;
            wrapper.topic_config_table.insert(config.topic_name.clone(), config);
        }
        body.filter_server_list = fastjson::from_slice(parts.next("filter servers")?)?;
        if version >= version::V5_0_0 {
            for _ in 0..parts.number("mapping count")? {
                let info: TopicQueueMappingInfo = fastjson::from_slice(parts.next("mapping")?)?;
                wrapper.topic_queue_mapping_info_map.insert(info.topic.clone().unwrap_or_default(), info);
            }
        }
        Ok(body)
    }

    /// The body as a broker sends it; the compressed form is the one since 5.0.
    pub fn encode(&self, compressed: bool) -> Vec<u8> {
        if !compressed {
            return fastjson::to_vec(self);
        }
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        push_part(&mut plain, &fastjson::to_vec(&wrapper.data_version));
        push_number(&mut plain, wrapper.topic_config_table.len());
        for config in wrapper.topic_config_table.values() {
            let text = config.to_text();
            // A name server of 4.9 reads five words and no sixth; one of 5.x reads five as "no attributes".
            push_part(&mut plain, text.strip_suffix(" {}").unwrap_or(&text).as_bytes());
        }
        push_part(&mut plain, &fastjson::to_vec(&self.filter_server_list));
        push_number(&mut plain, wrapper.topic_queue_mapping_info_map.len());
        for info in wrapper.topic_queue_mapping_info_map.values() {
            push_part(&mut plain, &fastjson::to_vec(info));
        }
        let mut deflated = Vec::new();
        ZlibEncoder::new(&plain[..], Compression::default()).read_to_end(&mut deflated).expect("deflating memory into memory");
        deflated
    }
}

fn push_number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u32).to_be_bytes());
}

fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    push_number(out, part.len());
    out.extend_from_slice(part);
}

/// Length-prefixed parts, one behind the other.
struct Parts<'a> {
    bytes: &'a [u8],
}

impl<'a> Parts<'a> {
    fn number(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let Some((word, rest)) = self.bytes.split_first_chunk::<4>() else {
            return Err(DecodeError::Truncated { what, at: 0, needed: 4, available: self.bytes.len() });
        };
        self.bytes = rest;
        let number = i32::from_be_bytes(*word);
        usize::try_from(number).map_err(|_| DecodeError::Length { what, length: i64::from(number), available: rest.len() })
    }

    fn next(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.number(what)?;
        let Some((part, rest)) = self.bytes.split_at_checked(length) else {
            return Err(DecodeError::Length { what, length: length as i64, available: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_version::DataVersion;

    fn body() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody { filter_server_list: vec!["f:1".into()], ..Default::default() };
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = DataVersion { counter: 3, state_version: 0, timestamp: 9 };
        for topic in ["A", "B"] {
            wrapper.topic_config_table.insert(topic.into(), TopicConfig::new(topic, 4, 8, 6));
        }
        wrapper
            .topic_queue_mapping_info_map
            .insert("S".into(), TopicQueueMappingInfo { topic: Some("S".into()), total_queues: 8, ..Default::default() });
        body
    }

    #[test]
    fn both_forms_say_the_same() {
        assert_eq!(RegisterBrokerBody::decode(&body().encode(false), false, version::CURRENT), Ok(body()));
        assert_eq!(RegisterBrokerBody::decode(&body().encode(true), true, version::CURRENT), Ok(body()));
        let without_mapping = RegisterBrokerBody::decode(&body().encode(true), true, version::V4_9_7).unwrap();
        assert!(without_mapping.topic_config_serialize_wrapper.topic_queue_mapping_info_map.is_empty(), "4.x sends none and none is read");
    }

    #[test]
    fn a_bomb_and_a_lie_are_refused() {
        let mut bomb = Vec::new();
        let zeros = std::io::repeat(0).take(INFLATED_BYTES_MAX + 10);
        ZlibEncoder::new(zeros, Compression::best()).read_to_end(&mut bomb).unwrap();
        assert!(RegisterBrokerBody::decode(&bomb, true, version::CURRENT).is_err());
        let mut lie = Vec::new();
        ZlibEncoder::new(&b"\x7f\xff\xff\xff{}"[..], Compression::default()).read_to_end(&mut lie).unwrap();
        assert!(RegisterBrokerBody::decode(&lie, true, version::CURRENT).is_err());
        assert!(RegisterBrokerBody::decode(b"no zlib", true, version::CURRENT).is_err());
    }
}
