// SPDX-License-Identifier: Apache-2.0
//! Whatever is written reads back as it was, and what reads at all reads the same on both roads.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use bytes::{Bytes, BytesMut};
use ferrocket_protocol::body::{group::*, heartbeat::*, offset::*, queue::*, stats::*, topic::*};
use ferrocket_protocol::header::{pull::*, send::*};
use ferrocket_protocol::message::{self, MessageInner, MessageView, batch, properties};
use ferrocket_protocol::{ExtFields, LanguageCode, RemotingCommand, SerializeType, Str, fastjson, split_frame};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ -~]{0,24}", 2 => "[\u{1}\u{2}a-c\"\\\\/\n\u{7f}]{0,24}", 1 => "\\PC{0,12}", 1 => any::<String>()]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z_]{1,20}", text().prop_filter("a name is not empty", |text| !text.is_empty())]
}

fn command() -> impl Strategy<Value = RemotingCommand> {
    let numbers = (any::<i16>(), any::<i16>(), any::<i32>(), any::<i32>(), 0u8..14);
    let fields = prop::option::of(prop::collection::vec((name(), text()), 0..20));
    let body = prop::collection::vec(any::<u8>(), 0..64);
    (numbers, prop::option::of(text()), fields, body, any::<bool>()).prop_map(
        |((code, version, opaque, flag, language), remark, fields, body, json)| RemotingCommand {
            code: code.into(),
            language: LanguageCode::from_code(language),
            version: version.into(),
            opaque,
            flag,
            remark: remark.map(Str::from),
            ext_fields: fields.map(ExtFields::from_iter).unwrap_or_default(),
            body: Bytes::from(body),
            serialize_type: if json { SerializeType::Json } else { SerializeType::RocketMq },
        },
    )
}

/// What the compact form cannot tell apart: no text and null, no fields and null.
fn as_binary_says(mut command: RemotingCommand) -> RemotingCommand {
    command.remark = command.remark.filter(|remark| !remark.is_empty());
    let fields: Vec<_> = command.ext_fields.iter().filter(|(_, value)| !value.is_empty()).collect();
    let written = command.ext_fields.iter().next().is_some();
    command.ext_fields = if written { fields.into_iter().collect() } else { ExtFields::default() };
    command
}

fn written(command: &RemotingCommand) -> BytesMut {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out
}

fn read(mut bytes: BytesMut) -> RemotingCommand {
    RemotingCommand::decode(split_frame(&mut bytes).unwrap().expect("a whole frame")).unwrap()
}

fn queue() -> impl Strategy<Value = MessageQueue> {
    (text(), text(), any::<i32>()).prop_map(|(topic, broker, queue)| MessageQueue::new(topic, broker, queue))
}

fn message() -> impl Strategy<Value = MessageInner> {
    let numbers = (any::<i32>(), any::<i32>(), any::<i32>(), any::<i64>(), any::<i32>(), any::<i64>());
    let hosts = (any::<std::net::SocketAddr>(), any::<std::net::SocketAddr>());
    let bytes = (prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..300), "[a-zA-Z%_-]{1,255}");
    (numbers, hosts, bytes).prop_map(
        |((queue_id, flag, sys_flag, born, reconsume, prepared), (born_host, store_host), (body, properties, topic))| MessageInner {
            topic: topic.into(),
            queue_id,
            flag,
            sys_flag,
            born_timestamp: born,
            born_host,
            store_host,
            reconsume_times: reconsume,
            prepared_transaction_offset: prepared,
            body: body.into(),
            properties: properties.into(),
            tags_code: 0,
        },
    )
}

proptest! {
    #[test]
    fn a_command_reads_back(command in command()) {
        let expected = if command.serialize_type == SerializeType::Json { command.clone() } else { as_binary_says(command.clone()) };
        prop_assert_eq!(read(written(&command)), expected);
    }

    /// A member that the quick pass does not know sends the header down the tolerant road: it must arrive at the same place.
    #[test]
    fn both_roads_through_a_json_header_meet(command in command()) {
        let command = RemotingCommand { serialize_type: SerializeType::Json, body: Bytes::new(), ..command };
        let mut frame = written(&command).split_off(8);
        let quick = read(written(&command));
        frame.truncate(frame.len() - 1);
        frame.extend_from_slice(b",\"unknown\":[{}]}");
        let mut whole = (frame.len() as u32).to_be_bytes().to_vec();
        whole.extend_from_slice(&frame);
        prop_assert_eq!(RemotingCommand::decode(whole.into()).unwrap(), quick);
    }

    #[test]
    fn no_frame_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), form in 0u8..2) {
        let mut frame = vec![form, 0, 0, bytes.len() as u8];
        frame.extend_from_slice(&bytes);
        let _ = RemotingCommand::decode(Bytes::from(frame));
    }

    #[test]
    fn a_send_header_reads_back(group in text(), topic in text(), properties in text(), queue in any::<i32>(), born in any::<i64>(), times in any::<Option<i32>>()) {
        let header = SendMessageRequestHeader {
            producer_group: group.into(), topic: topic.into(), properties: properties.into(), queue_id: queue, born_timestamp: born,
            max_reconsume_times: times, ..Default::default()
        };
        let request = RemotingCommand::request_with(310, &SendMessageRequestHeaderV2::from(header.clone()));
        prop_assert_eq!(SendMessageRequestHeader::from_request(&read(written(&request))), Ok(header));
    }

    #[test]
    fn a_pull_header_reads_back(group in text(), offset in any::<i64>(), version in any::<i64>(), subscription in prop::option::of(text())) {
        let header = PullMessageRequestHeader {
            consumer_group: group.into(), queue_offset: offset, sub_version: version, subscription: subscription.map(Str::from), ..Default::default()
        };
        let request = RemotingCommand::request_with(11, &header);
        prop_assert_eq!(read(written(&request)).header(), Ok(header));
    }

    #[test]
    fn a_record_reads_back(message in message(), queue_offset in any::<i64>(), physical in any::<i64>(), stored in any::<i64>()) {
        let mut record = Vec::new();
        message::encode_record(&message, &mut record);
        message::patch_record(&mut record, queue_offset, physical, stored);
        let view = MessageView::decode(&record).unwrap();
        prop_assert_eq!(view.total_bytes(), message::record_bytes(&message));
        prop_assert_eq!((view.queue_offset, view.physical_offset, view.store_timestamp), (queue_offset, physical, stored));
        prop_assert_eq!((view.topic, view.body, view.properties), (message.topic.as_str(), &message.body[..], &message.properties[..]));
        prop_assert_eq!((view.born_host.ip(), view.born_host.port()), (message.born_host.ip().to_canonical(), message.born_host.port()));
        prop_assert_eq!(view.store_host.ip(), message.store_host.ip().to_canonical());
        prop_assert_eq!((view.queue_id, view.flag, view.reconsume_times), (message.queue_id, message.flag, message.reconsume_times));
        prop_assert_eq!((view.born_timestamp, view.prepared_transaction_offset), (message.born_timestamp, message.prepared_transaction_offset));
        prop_assert_eq!(view.sys_flag & !0x30, message.sys_flag & !0x30);
        prop_assert!(view.has_valid_body_crc());
    }

    #[test]
    fn no_record_makes_it_panic(mut record in prop::collection::vec(any::<u8>(), 0..300), v2 in any::<bool>()) {
        if record.len() >= 8 {
            let length = record.len() as u32;
            record[0..4].copy_from_slice(&length.to_be_bytes());
            record[4..8].copy_from_slice(&(if v2 { message::layout::MAGIC_V2 } else { message::layout::MAGIC_V1 }).to_be_bytes());
        }
        let _ = MessageView::decode(&record);
    }

    #[test]
    fn a_batch_reads_back(items in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..50), prop::collection::vec(any::<u8>(), 0..50)), 0..8)) {
        let mut body = Vec::new();
        for (flag, content, properties) in &items {
            batch::encode_item(*flag, content, properties, &mut body);
        }
        let body = Bytes::from(body);
        let read: Vec<_> = batch::items(&body).map(|item| item.unwrap()).map(|item| (item.flag, item.body.to_vec(), item.properties.to_vec())).collect();
        prop_assert_eq!(read, items);
    }

    /// Editing bytes is the same as rebuilding from a map, whatever the bytes.
    #[test]
    fn edited_properties_are_those_of_a_map(bytes in prop::collection::vec(prop_oneof![Just(1u8), Just(2u8), b'a'..b'd'], 0..40), value in "[a-d]{1,4}") {
        let all = |properties: &[u8]| -> std::collections::HashMap<Vec<u8>, Vec<u8>> {
            properties::iter(properties).map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
        };
        let map = all(&bytes);
        for name in ["a", "ab", "b", "abc"] {
            prop_assert_eq!(properties::find(&bytes, name), map.get(name.as_bytes()).map(Vec::as_slice));
            let mut removed = bytes.clone();
            properties::remove(&mut removed, name);
            let mut without = map.clone();
            without.remove(name.as_bytes());
            prop_assert_eq!(all(&removed), without.clone());
            let mut edited = bytes.clone();
            properties::set(&mut edited, name, &value);
            without.insert(name.into(), value.clone().into_bytes());
            prop_assert_eq!(all(&edited), without);
        }
    }

    #[test]
    fn bodies_read_back(queues in prop::collection::btree_map(queue(), (any::<i64>(), any::<i64>()), 0..6), topic in text(), tags in prop::collection::btree_set(text(), 0..4), tps in -1e9f64..1e9) {
        let stats = ConsumeStats {
            consume_tps: tps,
            offset_table: queues.iter().map(|(queue, (broker, consumer))| {
                (queue.clone(), OffsetWrapper { broker_offset: *broker, consumer_offset: *consumer, ..Default::default() })
            }).collect(),
        };
        prop_assert_eq!(&fastjson::from_slice::<ConsumeStats>(&fastjson::to_vec(&stats)).unwrap(), &stats);
        prop_assert_eq!(&fastjson::from_slice::<ConsumeStats>(&fastjson::to_pretty(&stats)).unwrap(), &stats);
        let reset = ResetOffsetBody { offset_table: queues.into_iter().map(|(queue, (offset, _))| (queue, offset)).collect() };
        prop_assert_eq!(&fastjson::from_slice::<ResetOffsetBody>(&fastjson::to_vec(&reset)).unwrap(), &reset);
        let subscription = SubscriptionData { topic: topic.clone(), sub_string: topic.clone(), tags_set: tags, ..Default::default() };
        prop_assert_eq!(&fastjson::from_slice::<SubscriptionData>(&fastjson::to_vec_standard(&subscription)).unwrap(), &subscription);
        let config = TopicConfig { attributes: [(topic.clone(), topic.clone())].into(), ..TopicConfig::new(topic.clone(), 1, 2, 6) };
        prop_assert_eq!(&fastjson::from_slice::<TopicConfig>(&fastjson::to_vec(&config)).unwrap(), &config);
        let group = SubscriptionGroupConfig::new(topic);
        prop_assert_eq!(&fastjson::from_slice::<SubscriptionGroupConfig>(&fastjson::to_vec(&group)).unwrap(), &group);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), json in "[\\[\\]{}:,'\"a0$.tnul-]{0,40}") {
        let _ = fastjson::from_str::<HeartbeatData>(&text);
        let _ = fastjson::from_str::<HeartbeatData>(&json);
        let _ = fastjson::from_str::<ConsumerOffsetSerializeWrapper>(&json);
    }
}
