// SPDX-License-Identifier: Apache-2.0
//! Frames that real clients, tools and brokers said to each other (fixtures/captures.tsv: who, direction, kind, request code, frame in hex).
//!
//! Each is read, read as its header and body, written again and compared with what came.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use bytes::BytesMut;
use ferrocket_protocol::body::{
    connection::*, consume_queue::*, group::*, ha::*, heartbeat::*, kv::*, lock::*, offset::*, route::*, running_info::*, stats::*,
    topic::*,
};
use ferrocket_protocol::fastjson::parse::{self, Value};
use ferrocket_protocol::header::admin::{broker::*, group::*, topic::*};
use ferrocket_protocol::header::{client::*, lock::*, offset::*, pull::*, query::*, relay::*, route::*, send::*, transaction::*};
use ferrocket_protocol::message::{batch, decode::records, id, properties, property};
use ferrocket_protocol::{
    Header, LanguageCode, RemotingCommand, SerializeType, fastjson, request_code, response_code, split_frame, version,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const CAPTURES: &str = include_str!("fixtures/captures.tsv");

struct Capture {
    who: &'static str,
    is_answer: bool,
    /// Of the request, when this is the answer to one.
    code: i32,
    frame: Vec<u8>,
    command: RemotingCommand,
}

fn captures() -> Vec<Capture> {
    CAPTURES
        .lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [who, _direction, kind, code, hex] = columns[..] else { panic!("five columns: {line}") };
            let frame: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
            let mut buffer = BytesMut::from(&frame[..]);
            let command = RemotingCommand::decode(split_frame(&mut buffer).unwrap().expect("a whole frame")).unwrap();
            Capture { who, is_answer: kind == "answer", code: code.parse().unwrap(), frame, command }
        })
        .collect()
}

fn requests(code: i32) -> Vec<Capture> {
    let found: Vec<_> = captures().into_iter().filter(|capture| !capture.is_answer && capture.code == code).collect();
    assert!(!found.is_empty(), "a request {code} was captured");
    found
}

fn answers(code: i32) -> Vec<Capture> {
    let success = |capture: &Capture| capture.is_answer && capture.code == code && capture.command.code == response_code::SUCCESS;
    let found: Vec<_> = captures().into_iter().filter(success).collect();
    assert!(!found.is_empty(), "an answer to {code} was captured");
    found
}

#[test]
fn every_frame_reads_and_says_who_sent_it() {
    for capture in captures() {
        let command = &capture.command;
        let name = request_code::name(capture.code).unwrap_or_else(|| panic!("{}: code {} has no name", capture.who, capture.code));
        assert_eq!(command.is_response(), capture.is_answer, "{name}");
        let by_go = capture.who.starts_with("go") && !capture.is_answer && command.language == LanguageCode::Go;
        let expected = match (by_go, command.version) {
            (true, found) => found == version::V4_5_2,
            (false, found) => found == version::V5_5_0 || found == version::V4_9_7,
        };
        assert!(expected, "{} {name}: version {}", capture.who, command.version);
    }
}

/// Java's frames come out byte for byte; Go orders the header's members otherwise.
#[test]
fn every_frame_writes_back() {
    for capture in captures() {
        let mut out = BytesMut::new();
        capture.command.encode(&mut out);
        if capture.command.language == LanguageCode::Java {
            assert_eq!(out, capture.frame, "{} {}", capture.who, capture.code);
        } else {
            assert_eq!(RemotingCommand::decode(split_frame(&mut out).unwrap().unwrap()).unwrap(), capture.command);
        }
    }
}

/// Every field that came stands in the header again, with the same text.
fn covers<H: Header>(capture: &Capture) {
    let command = &capture.command;
    let again = RemotingCommand::request_with(capture.code, &command.header::<H>().unwrap());
    for (name, value) in command.ext_fields.iter() {
        // For a proxy, a namespace or statistics, which a broker does not read.
        if matches!(name.as_str(), "ns" | "nsd" | "oway" | "ReqT") {
            continue;
        }
        // Go writes numbers that it does not know as no text at all.
        let written = again.ext_fields.get(&name).unwrap_or_default();
        let absent = value.is_empty() && again.ext_fields.get(&name).is_none();
        assert!(written == value || absent, "{} {}: {name} = {value:?}, written {written:?}", capture.who, std::any::type_name::<H>());
    }
}

fn all_cover<H: Header>(code: i32) {
    requests(code).iter().for_each(covers::<H>);
}

#[test]
fn no_field_of_a_request_is_unknown() {
    all_cover::<SendMessageRequestHeaderV2>(request_code::SEND_MESSAGE_V2);
    all_cover::<SendMessageRequestHeaderV2>(request_code::SEND_BATCH_MESSAGE);
    all_cover::<SendMessageRequestHeader>(request_code::SEND_MESSAGE);
    all_cover::<PullMessageRequestHeader>(request_code::PULL_MESSAGE);
    all_cover::<PullMessageRequestHeader>(request_code::LITE_PULL_MESSAGE);
    all_cover::<QueryMessageRequestHeader>(request_code::QUERY_MESSAGE);
    all_cover::<QueryConsumerOffsetRequestHeader>(request_code::QUERY_CONSUMER_OFFSET);
    all_cover::<UpdateConsumerOffsetRequestHeader>(request_code::UPDATE_CONSUMER_OFFSET);
    all_cover::<SearchOffsetRequestHeader>(request_code::SEARCH_OFFSET_BY_TIMESTAMP);
    all_cover::<GetMaxOffsetRequestHeader>(request_code::GET_MAX_OFFSET);
    all_cover::<GetMinOffsetRequestHeader>(request_code::GET_MIN_OFFSET);
    all_cover::<GetEarliestMsgStoretimeRequestHeader>(request_code::GET_EARLIEST_MSG_STORETIME);
    all_cover::<UnregisterClientRequestHeader>(request_code::UNREGISTER_CLIENT);
    all_cover::<ConsumerSendMsgBackRequestHeader>(request_code::CONSUMER_SEND_MSG_BACK);
    all_cover::<EndTransactionRequestHeader>(request_code::END_TRANSACTION);
    all_cover::<GetConsumerListByGroupRequestHeader>(request_code::GET_CONSUMER_LIST_BY_GROUP);
    all_cover::<NotifyConsumerIdsChangedRequestHeader>(request_code::NOTIFY_CONSUMER_IDS_CHANGED);
    all_cover::<LockBatchMqRequestHeader>(request_code::LOCK_BATCH_MQ);
    all_cover::<UnlockBatchMqRequestHeader>(request_code::UNLOCK_BATCH_MQ);
    all_cover::<GetRouteInfoRequestHeader>(request_code::GET_ROUTEINFO_BY_TOPIC);
    all_cover::<CreateTopicRequestHeader>(request_code::UPDATE_AND_CREATE_TOPIC);
    all_cover::<DeleteTopicRequestHeader>(request_code::DELETE_TOPIC_IN_BROKER);
    all_cover::<DeleteTopicFromNamesrvRequestHeader>(request_code::DELETE_TOPIC_IN_NAMESRV);
    all_cover::<GetAllTopicConfigRequestHeader>(request_code::GET_ALL_TOPIC_CONFIG);
    all_cover::<GetTopicConfigRequestHeader>(request_code::GET_TOPIC_CONFIG);
    all_cover::<GetTopicStatsInfoRequestHeader>(request_code::GET_TOPIC_STATS_INFO);
    all_cover::<QueryTopicConsumeByWhoRequestHeader>(request_code::QUERY_TOPIC_CONSUME_BY_WHO);
    all_cover::<GetAllSubscriptionGroupRequestHeader>(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
    all_cover::<DeleteSubscriptionGroupRequestHeader>(request_code::DELETE_SUBSCRIPTIONGROUP);
    all_cover::<GetConsumeStatsRequestHeader>(request_code::GET_CONSUME_STATS);
    all_cover::<GetConsumerConnectionListRequestHeader>(request_code::GET_CONSUMER_CONNECTION_LIST);
    all_cover::<GetProducerConnectionListRequestHeader>(request_code::GET_PRODUCER_CONNECTION_LIST);
    all_cover::<GetConsumerRunningInfoRequestHeader>(request_code::GET_CONSUMER_RUNNING_INFO);
    all_cover::<QueryConsumeTimeSpanRequestHeader>(request_code::QUERY_CONSUME_TIME_SPAN);
    all_cover::<ViewBrokerStatsDataRequestHeader>(request_code::VIEW_BROKER_STATS_DATA);
    all_cover::<GetConsumeStatsInBrokerHeader>(request_code::GET_BROKER_CONSUME_STATS);
    all_cover::<QueryConsumeQueueRequestHeader>(request_code::QUERY_CONSUME_QUEUE);
    all_cover::<GetConsumerStatusRequestHeader>(request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS);
    all_cover::<ResetOffsetRequestHeader>(request_code::INVOKE_BROKER_TO_RESET_OFFSET);
    all_cover::<PutKvConfigRequestHeader>(request_code::PUT_KV_CONFIG);
    all_cover::<GetKvConfigRequestHeader>(request_code::GET_KV_CONFIG);
    all_cover::<DeleteKvConfigRequestHeader>(request_code::DELETE_KV_CONFIG);
    all_cover::<GetKvListByNamespaceRequestHeader>(request_code::GET_KVLIST_BY_NAMESPACE);
    all_cover::<WipeWritePermOfBrokerRequestHeader>(request_code::WIPE_WRITE_PERM_OF_BROKER);
    all_cover::<AddWritePermOfBrokerRequestHeader>(request_code::ADD_WRITE_PERM_OF_BROKER);
}

#[test]
fn no_field_of_an_answer_is_unknown() {
    for code in [request_code::SEND_MESSAGE, request_code::SEND_MESSAGE_V2, request_code::SEND_BATCH_MESSAGE] {
        answers(code).iter().for_each(covers::<SendMessageResponseHeader>);
    }
    answers(request_code::PULL_MESSAGE).iter().for_each(covers::<PullMessageResponseHeader>);
    answers(request_code::QUERY_MESSAGE).iter().for_each(covers::<QueryMessageResponseHeader>);
    answers(request_code::HEART_BEAT).iter().for_each(covers::<HeartbeatResponseHeader>);
    answers(request_code::QUERY_CONSUMER_OFFSET).iter().for_each(covers::<QueryConsumerOffsetResponseHeader>);
    answers(request_code::GET_MAX_OFFSET).iter().for_each(covers::<GetMaxOffsetResponseHeader>);
    answers(request_code::GET_EARLIEST_MSG_STORETIME).iter().for_each(covers::<GetEarliestMsgStoretimeResponseHeader>);
    answers(request_code::GET_ALL_TOPIC_CONFIG).iter().for_each(covers::<GetAllTopicConfigResponseHeader>);
    answers(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).iter().for_each(covers::<GetAllSubscriptionGroupResponseHeader>);
    answers(request_code::GET_BROKER_CONFIG).iter().for_each(covers::<GetBrokerConfigResponseHeader>);
    answers(request_code::GET_KV_CONFIG).iter().for_each(covers::<GetKvConfigResponseHeader>);
    answers(request_code::WIPE_WRITE_PERM_OF_BROKER).iter().for_each(covers::<WipeWritePermOfBrokerResponseHeader>);
}

/// JSON whatever the order of its members and of its sets.
fn canonical(text: &[u8]) -> String {
    fn print(value: &Value<'_>) -> String {
        match value {
            Value::List(items) => {
                let mut items: Vec<String> = items.iter().map(print).collect();
                items.sort();
                format!("[{}]", items.join(","))
            }
            Value::Object(members) => {
                let mut members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{}", print(key), print(value))).collect();
                members.sort();
                format!("{{{}}}", members.join(","))
            }
            other => other.to_text().unwrap_or_default(),
        }
    }
    print(&parse::parse(text).unwrap())
}

fn same_again<T: Serialize + DeserializeOwned>(found: Vec<Capture>) -> Vec<T> {
    let again = |capture: Capture| {
        let body: T =
            fastjson::from_slice(&capture.command.body).unwrap_or_else(|error| panic!("{} {}: {error}", capture.who, capture.code));
        assert_eq!(canonical(&fastjson::to_vec(&body)), canonical(&capture.command.body), "{} {}", capture.who, capture.code);
        body
    };
    // 4.9.7 has fewer members.
    let comparable = |capture: &Capture| !capture.command.body.is_empty() && capture.command.version != version::V4_9_7;
    found.into_iter().filter(comparable).map(again).collect()
}

/// No member is lost and none is added: what a 5.5.0 broker or client wrote, we write.
#[test]
fn bodies_are_written_as_they_came() {
    same_again::<TopicRouteData>(answers(request_code::GET_ROUTEINFO_BY_TOPIC));
    same_again::<ClusterInfo>(answers(request_code::GET_BROKER_CLUSTER_INFO));
    same_again::<TopicList>(answers(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER));
    same_again::<KvTable>(answers(request_code::GET_KVLIST_BY_NAMESPACE));
    same_again::<KvTable>(answers(request_code::GET_BROKER_RUNTIME_INFO));
    same_again::<TopicConfigAndMappingSerializeWrapper>(answers(request_code::GET_ALL_TOPIC_CONFIG));
    same_again::<TopicConfigAndQueueMapping>(answers(request_code::GET_TOPIC_CONFIG));
    same_again::<SubscriptionGroupWrapper>(answers(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG));
    same_again::<SubscriptionGroupConfig>(requests(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP));
    same_again::<TopicStatsTable>(answers(request_code::GET_TOPIC_STATS_INFO));
    same_again::<ConsumeStats>(answers(request_code::GET_CONSUME_STATS));
    same_again::<ConsumeStatsList>(answers(request_code::GET_BROKER_CONSUME_STATS));
    same_again::<ConsumerConnection>(answers(request_code::GET_CONSUMER_CONNECTION_LIST));
    same_again::<ProducerConnection>(answers(request_code::GET_PRODUCER_CONNECTION_LIST));
    same_again::<ConsumerRunningInfo>(answers(request_code::GET_CONSUMER_RUNNING_INFO));
    same_again::<GroupList>(answers(request_code::QUERY_TOPIC_CONSUME_BY_WHO));
    same_again::<QueryConsumeTimeSpanBody>(answers(request_code::QUERY_CONSUME_TIME_SPAN));
    same_again::<BrokerStatsData>(answers(request_code::VIEW_BROKER_STATS_DATA));
    same_again::<QueryConsumeQueueResponseBody>(answers(request_code::QUERY_CONSUME_QUEUE));
    same_again::<GetConsumerStatusBody>(answers(request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS));
    same_again::<ResetOffsetBody>(answers(request_code::INVOKE_BROKER_TO_RESET_OFFSET));
    same_again::<HaRuntimeInfo>(answers(request_code::GET_BROKER_HA_STATUS));
    same_again::<GetConsumerListByGroupResponseBody>(answers(request_code::GET_CONSUMER_LIST_BY_GROUP));
    same_again::<LockBatchRequestBody>(requests(request_code::LOCK_BATCH_MQ));
    same_again::<LockBatchResponseBody>(answers(request_code::LOCK_BATCH_MQ));
}

#[test]
fn heartbeats_of_every_client_are_read() {
    for capture in requests(request_code::HEART_BEAT) {
        let heartbeat: HeartbeatData = fastjson::from_slice(&capture.command.body).unwrap();
        assert!(!heartbeat.client_id.is_empty(), "{}", capture.who);
        for consumer in &heartbeat.consumer_data_set {
            assert!(consumer.group_name.starts_with("Cap") || consumer.group_name.contains("CONSUMER"), "{consumer:?}");
            let by_tags = consumer.subscription_data_set.iter().find(|subscription| subscription.sub_string == "TagA || TagB");
            if let Some(subscription) = by_tags {
                assert_eq!(subscription.code_set, [2_598_919, 2_598_920].into(), "{}", capture.who);
            }
        }
    }
}

#[test]
fn messages_in_answers_are_read() {
    let mut count = 0;
    for code in [request_code::PULL_MESSAGE, request_code::LITE_PULL_MESSAGE, request_code::QUERY_MESSAGE, request_code::VIEW_MESSAGE_BY_ID]
    {
        for capture in captures().into_iter().filter(|capture| capture.is_answer && capture.code == code) {
            for record in records(&capture.command.body) {
                let record = record.unwrap();
                assert!(
                    record.has_valid_body_crc() && record.topic.starts_with("Cap") | record.topic.starts_with("%RETRY%Cap"),
                    "{}",
                    record.topic
                );
                // Go gives none to the messages of a batch.
                assert!(record.property(property::UNIQ_KEY).is_some() || matches!(record.body, b"b1" | b"b2"));
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count} messages");
}

#[test]
fn batches_and_send_answers_are_read() {
    for capture in requests(request_code::SEND_BATCH_MESSAGE) {
        let items: Vec<_> = batch::items(&capture.command.body).map(Result::unwrap).collect();
        assert!(items.len() >= 2, "{}", capture.who);
        assert!(items.iter().all(|item| properties::iter(&item.properties).count() > 0 || capture.who.starts_with("go")));
        let header = SendMessageRequestHeader::from_request(&capture.command).unwrap();
        assert!(header.batch && header.topic.starts_with("CapTopic"));
    }
    for capture in answers(request_code::SEND_MESSAGE_V2) {
        let header: SendMessageResponseHeader = capture.command.header().unwrap();
        assert!(id::parse_offset_id(&header.msg_id).is_some(), "{header:?}");
        assert_eq!((header.msg_region.as_deref(), header.trace_on.as_deref()), (Some("DefaultRegion"), Some("true")));
    }
}

/// The name server's answer in standard JSON, as clients since 4.9.4 get it.
#[test]
fn routes_are_printed_as_they_came() {
    for capture in answers(request_code::GET_ROUTEINFO_BY_TOPIC) {
        let route: TopicRouteData = fastjson::from_slice(&capture.command.body).unwrap();
        let printed = if capture.who.starts_with("go") { fastjson::to_vec(&route) } else { fastjson::to_vec_standard(&route) };
        assert_eq!(String::from_utf8(printed).unwrap(), String::from_utf8(capture.command.body.to_vec()).unwrap(), "{}", capture.who);
    }
}

#[test]
fn the_binary_form_was_captured_too() {
    let binary = captures().into_iter().filter(|capture| capture.command.serialize_type == SerializeType::RocketMq).count();
    assert!(binary > 20, "{binary} frames");
}
