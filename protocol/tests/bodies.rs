// SPDX-License-Identifier: Apache-2.0
//! The bodies against what the original's classes print: each golden line is read, written again and compared byte for byte.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::collections::BTreeMap;

use ferrocket_protocol::body::{
    assignment::*, auth::*, connection::*, consume_queue::*, group::*, ha::*, heartbeat::*, kv::*, lock::*, offset::*, pop::*, queue::*,
    register::*, route::*, running_info::*, stats::*, topic::*,
};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::fastjson;
use serde::Serialize;
use serde::de::DeserializeOwned;

const GOLDEN: &str = include_str!("fixtures/golden_bodies.txt");

fn golden(name: &str) -> &'static str {
    let mut lines = GOLDEN.lines().filter_map(|line| line.split_once('\t'));
    lines.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no golden body named {name}")).1
}

fn round<T: Serialize + DeserializeOwned>(name: &str) -> T {
    let line = golden(name);
    let body: T = fastjson::from_slice(line.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(String::from_utf8(fastjson::to_vec(&body)).unwrap(), line, "{name}");
    body
}

#[test]
fn every_body_prints_as_the_original_prints_it() {
    round::<TopicRouteData>("TopicRouteData default");
    round::<ClusterInfo>("ClusterInfo");
    round::<GetBrokerMemberGroupResponseBody>("GetBrokerMemberGroupResponseBody");
    round::<DataVersion>("DataVersion");
    round::<TopicConfig>("TopicConfig");
    round::<TopicConfig>("TopicConfig plain");
    round::<TopicConfigSerializeWrapper>("TopicConfigSerializeWrapper");
    round::<TopicConfigAndMappingSerializeWrapper>("TopicConfigAndMappingSerializeWrapper");
    round::<TopicQueueMappingDetail>("TopicQueueMappingDetail");
    round::<TopicConfigAndQueueMapping>("TopicConfigAndQueueMapping(null)");
    round::<TopicConfigAndQueueMapping>("TopicConfigAndQueueMapping");
    round::<RegisterBrokerBody>("RegisterBrokerBody");
    round::<SubscriptionGroupConfig>("SubscriptionGroupConfig");
    round::<SubscriptionGroupConfig>("SubscriptionGroupConfig full");
    round::<GroupRetryPolicy>("GroupRetryPolicy cust");
    round::<SubscriptionGroupWrapper>("SubscriptionGroupWrapper");
    round::<SubscriptionGroupList>("SubscriptionGroupList");
    round::<CreateTopicListRequestBody>("CreateTopicListRequestBody");
    round::<SubscriptionData>("SubscriptionData");
    round::<HeartbeatData>("HeartbeatData");
    round::<HeartbeatData>("HeartbeatData v2");
    round::<ConsumerConnection>("ConsumerConnection");
    round::<ProducerConnection>("ProducerConnection");
    round::<ProducerTableInfo>("ProducerTableInfo");
    round::<ConsumeStats>("ConsumeStats");
    round::<TopicStatsTable>("TopicStatsTable");
    round::<LockBatchRequestBody>("LockBatchRequestBody");
    round::<LockBatchResponseBody>("LockBatchResponseBody");
    round::<LockBatchRequestBody>("UnlockBatchRequestBody");
    round::<KvTable>("KVTable");
    round::<GroupList>("GroupList");
    round::<TopicList>("TopicList");
    round::<TopicList>("TopicList2");
    round::<QueryConsumeTimeSpanBody>("QueryConsumeTimeSpanBody");
    round::<ResetOffsetBody>("ResetOffsetBody");
    round::<ResetOffsetBody>("ResetOffsetBody two");
    round::<ResetOffsetBodyForC>("ResetOffsetBodyForC");
    round::<GetConsumerStatusBody>("GetConsumerStatusBody client");
    round::<GetConsumerStatusBody>("GetConsumerStatusBody broker");
    round::<QueryAssignmentRequestBody>("QueryAssignmentRequestBody");
    round::<QueryAssignmentResponseBody>("QueryAssignmentResponseBody");
    round::<SetMessageRequestModeRequestBody>("SetMessageRequestModeRequestBody");
    round::<MessageRequestModeSerializeWrapper>("MessageRequestModeSerializeWrapper");
    round::<BatchAckMessageRequestBody>("BatchAckMessageRequestBody");
    round::<ConsumeMessageDirectlyResult>("ConsumeMessageDirectlyResult");
    round::<QueryConsumeQueueResponseBody>("QueryConsumeQueueResponseBody");
    round::<QueryCorrectionOffsetBody>("QueryCorrectionOffsetBody");
    round::<QuerySubscriptionResponseBody>("QuerySubscriptionResponseBody");
    round::<ConsumerOffsetSerializeWrapper>("ConsumerOffsetSerializeWrapper");
    round::<CheckClientRequestBody>("CheckClientRequestBody");
    round::<HaRuntimeInfo>("HARuntimeInfo");
    round::<BrokerReplicasInfo>("BrokerReplicasInfo");
    round::<EpochEntryCache>("EpochEntryCache");
    round::<SyncStateSet>("SyncStateSet");
    round::<BrokerSyncInfo>("BrokerSyncInfo");
    round::<UserInfo>("UserInfo");
    round::<AclInfo>("AclInfo");
    round::<Vec<AclInfo>>("AclInfo list");
    round::<GroupForbidden>("GroupForbidden");
    round::<MessageQueue>("MessageQueue");
    round::<PopProcessQueueInfo>("PopProcessQueueInfo");
    round::<BTreeMap<String, String>>("nonascii");
}

/// 105 for clients since 4.9.4.
#[test]
fn the_standard_form_is_the_originals() {
    let route: TopicRouteData = round("TopicRouteData default");
    assert_eq!(String::from_utf8(fastjson::to_vec_standard(&route)).unwrap(), golden("TopicRouteData standard"));
    assert_eq!(fastjson::from_slice::<TopicRouteData>(golden("TopicRouteData standard").as_bytes()).unwrap(), route);
    // 1.2.83 escaped everything beyond ASCII here; 5.5.0 writes it as it is, and both read both.
    let text: BTreeMap<String, String> = round("nonascii");
    assert_eq!(String::from_utf8(fastjson::to_vec_standard(&text)).unwrap(), golden("nonascii"));
    assert_eq!(fastjson::from_slice::<BTreeMap<String, String>>(golden("nonascii std").as_bytes()).unwrap(), text);
}

#[test]
fn a_topic_config_as_text_is_the_originals() {
    let text = golden("TopicConfig.encode text");
    assert_eq!(TopicConfig::from_text(text).unwrap().to_text(), text);
}

/// 1.2.83 refers to an object that it printed before; 5.5 prints it again, as we do.
#[test]
fn references_read_as_what_they_refer_to() {
    let stats: ConsumeStats = fastjson::from_slice(golden("ConsumeStats2").as_bytes()).unwrap();
    let offsets: Vec<_> = stats.offset_table.values().collect();
    assert!(offsets.len() == 2 && offsets[0] == offsets[1] && offsets[0].broker_offset == 10);

    let stats: BrokerStatsData = fastjson::from_slice(golden("BrokerStatsData (note $ref)").as_bytes()).unwrap();
    assert_eq!((stats.stats_hour.avgpt, stats.stats_minute.sum), (2.0, 1));

    let list: ConsumeStatsList = fastjson::from_slice(golden("ConsumeStatsList").as_bytes()).unwrap();
    assert!(list.consume_stats_list[0]["G"][0].offset_table.values().all(|offset| offset.consumer_offset == 9));

    let info: ConsumerRunningInfo = fastjson::from_slice(golden("ConsumerRunningInfo").as_bytes()).unwrap();
    let queue = MessageQueue::new("T", "b-a", 3);
    assert!(info.mq_table.contains_key(&queue) && info.mq_pop_table.contains_key(&queue));
    assert_eq!(info.properties["PROP_CONSUMER_START_TIMESTAMP"], "12", "numbers in a map of text are text");
}

/// What either generation of the original reads, we read.
#[test]
fn every_spelling_is_read() {
    let queue = MessageQueue::new("T", "b", 3);
    for text in [
        r#"{"offsetTable":{{"brokerName":"b","queueId":3,"topic":"T"}:7}}"#,
        r#"{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":3,\"topic\":\"T\"}":7}}"#,
        r#"{offsetTable:{{brokerName:'b',queueId:"3",topic:'T',}:"7",},}"#,
    ] {
        let body: ResetOffsetBody = fastjson::from_slice(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(body.offset_table, BTreeMap::from([(queue.clone(), 7)]), "{text}");
    }
    for text in [r#"{0:"a"}"#, r#"{"0":"a"}"#, "{0:'a'}\n", r#"{0:"b","0":"a"}"#] {
        assert_eq!(fastjson::from_slice::<BTreeMap<i64, String>>(text.as_bytes()).unwrap(), BTreeMap::from([(0, "a".into())]), "{text}");
    }
}

#[test]
fn nulls_and_missing_members_keep_the_defaults() {
    let config: SubscriptionGroupConfig = fastjson::from_slice(br#"{"groupName":"G","retryMaxTimes":null,"unknown":[{}]}"#).unwrap();
    assert_eq!(config, SubscriptionGroupConfig::new("G"));
    let config: TopicConfig = fastjson::from_slice(br#"{"topicName":"T","topicName":"U","attributes":null}"#).unwrap();
    assert_eq!((config.topic_name.as_str(), config.read_queue_nums), ("U", 16), "the last of two counts");
}

#[test]
fn bodies_that_are_none_are_refused() {
    for text in ["", "[]", "null;", "{\"perm\":\"x\"}", "{\"perm\":99999999999}", "{\"topicFilterType\":7}", "{\"attributes\":5}"] {
        assert!(fastjson::from_slice::<TopicConfig>(text.as_bytes()).is_err(), "{text}");
    }
    let config = fastjson::from_slice::<TopicConfig>(b"{\"topicName\":\"\xff\"}").unwrap();
    assert_eq!(config.topic_name, "\u{fffd}", "no topic has such a name");
}

/// References to references: a few hundred bytes must not stand for billions of values.
#[test]
fn a_bomb_of_references_is_refused() {
    let mut text = String::from(r#"{"consumerDataSet":["#);
    let subscriptions = r#"{"topic":"t"},"#.repeat(20_000);
    text.push_str(&format!(r#"{{"subscriptionDataSet":[{subscriptions}]}},"#));
    text.push_str(&r#"{"subscriptionDataSet":{"$ref":"$.consumerDataSet[0].subscriptionDataSet"}},"#.repeat(20_000));
    text.push_str("]}");
    let error = fastjson::from_slice::<HeartbeatData>(text.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("$ref"), "{error}");
    let endless = r#"{"consumerDataSet":{"$ref":"$.consumerDataSet"}}"#;
    assert!(fastjson::from_slice::<HeartbeatData>(endless.as_bytes()).unwrap().consumer_data_set.is_empty());
}

/// What the original reads back is the same text without its line breaks.
#[test]
fn the_pretty_form_is_the_usual_one_on_lines() {
    let wrapper: TopicConfigSerializeWrapper = round("TopicConfigSerializeWrapper");
    let pretty = String::from_utf8(fastjson::to_pretty(&wrapper)).unwrap();
    assert!(pretty.starts_with("{\n\t\"dataVersion\":{\n\t\t\"counter\":1,\n\t\t\"stateVersion\":0,\n"), "{pretty}");
    assert!(pretty.contains("\t\t\t\"attributes\":{\n\t\t\t\t\"message.type\":\"NORMAL\"\n\t\t\t},\n"), "{pretty}");
    assert!(pretty.ends_with("\n\t}\n}"), "{pretty}");
    let compact: String = pretty.chars().filter(|character| !matches!(character, '\n' | '\t')).collect();
    assert_eq!(compact, golden("TopicConfigSerializeWrapper"));
    let empty: KvTable = KvTable::default();
    assert_eq!(fastjson::to_pretty(&empty), b"{\n\t\"table\":{}\n}");
}
