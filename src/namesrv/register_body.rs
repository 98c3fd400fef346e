// SPDX-License-Identifier: Apache-2.0
//! What a broker brings when it registers, in the three forms that brokers have sent since 3.0.

use std::collections::BTreeMap;
use std::io::Read;

use super::wire::{RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper, TopicQueueMappingInfo};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::{fastjson, version};
use serde::de::DeserializeOwned;

/// A compressed body that unpacks to more is refused: it is 40 times the body of 10,000 topics.
const UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Since this version a compressed body ends with the static topics.
const MAPPINGS_SINCE: i32 = version::V5_0_0;

#[derive(Debug, Default)]
pub(super) struct RegisterBody {
    pub data_version: DataVersion,
    pub topics: Vec<TopicConfig>,
    pub mapping_infos: BTreeMap<String, TopicQueueMappingInfo>,
    pub filter_servers: Option<Vec<String>>,
}

/// RegisterBrokerBody in JSON.
pub(super) fn read(bytes: &[u8]) -> Result<RegisterBody, String> {
    let body: RegisterBrokerBody = from_json(bytes)?;
    let wrapper = body.topic_config_serialize_wrapper;
    Ok(RegisterBody {
        data_version: wrapper.data_version,
        topics: named(wrapper.topic_config_table),
        mapping_infos: wrapper.topic_queue_mapping_info_map,
        filter_servers: Some(body.filter_server_list),
    })
}

/// The topics alone: brokers before 3.0.11.
pub(super) fn read_topics(bytes: &[u8]) -> Result<RegisterBody, String> {
    let wrapper: TopicConfigSerializeWrapper = from_json(bytes)?;
    Ok(RegisterBody { data_version: wrapper.data_version, topics: named(wrapper.topic_config_table), ..RegisterBody::default() })
}

/// The whole body deflated: lengths and pieces of JSON and text.
pub(super) fn read_compressed(bytes: &[u8], sender_version: i32) -> Result<RegisterBody, String> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::ZlibDecoder::new(bytes).take(UNPACKED_BYTES_MAX);
    reader.read_to_end(&mut unpacked).map_err(|error| format!("inflate: {error}"))?;
    let mut rest = unpacked.as_slice();
    let data_version = from_json(piece(&mut rest)?)?;
    let topics = (0..count(&mut rest)?).map(|_| topic(piece(&mut rest)?)).collect::<Result<Vec<_>, String>>()?;
    let filter_servers = Some(from_json(piece(&mut rest)?)?);
    let mut mapping_infos = BTreeMap::new();
    if sender_version >= MAPPINGS_SINCE && !rest.is_empty() {
        for _ in 0..count(&mut rest)? {
            let info: TopicQueueMappingInfo = from_json(piece(&mut rest)?)?;
            mapping_infos.insert(info.topic.clone().unwrap_or_default(), info);
        }
    }
    Ok(RegisterBody { data_version, topics, mapping_infos, filter_servers })
}

/// The checksum that `bodyCrc32` carries: never negative.
pub(super) fn crc32(bytes: &[u8]) -> i32 {
    (crc32fast::hash(bytes) & 0x7FFF_FFFF) as i32
}

/// The table's values; the name in the value counts, as in the original.
fn named(table: BTreeMap<String, TopicConfig>) -> Vec<TopicConfig> {
    table.into_values().collect()
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    fastjson::from_slice(bytes).map_err(|error| error.to_string())
}

fn count(rest: &mut &[u8]) -> Result<i32, String> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or("the body ends inside a number")?;
    *rest = tail;
    Ok(i32::from_be_bytes(*head))
}

fn piece<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = usize::try_from(count(rest)?).map_err(|_| "a length is negative")?;
    let (head, tail) = rest.split_at_checked(length).ok_or("the body ends inside a piece")?;
    *rest = tail;
    Ok(head)
}

/// `name readQueueNums writeQueueNums perm filterType attributes`, the last since 5.0.
fn topic(bytes: &[u8]) -> Result<TopicConfig, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut words = text.splitn(6, ' ');
    let mut word = || words.next().ok_or_else(|| format!("the topic text {text} is too short"));
    let number = |word: &str| word.parse::<i32>().map_err(|_| format!("the topic text {text} has {word} for a number"));
    let mut topic = TopicConfig { topic_name: word()?.to_owned(), ..TopicConfig::default() };
    topic.read_queue_nums = number(word()?)?;
    topic.write_queue_nums = number(word()?)?;
    topic.perm = number(word()?)?;
    Ok(topic)
}
