// SPDX-License-Identifier: Apache-2.0
//! Message records against the original's bytes.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use ferrocket_protocol::message::{self, MessageInner, MessageView, decode::records, layout, patch_record, record_bytes};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn inner() -> MessageInner {
    MessageInner {
        topic: "TopicTest".into(),
        queue_id: 1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: "127.0.0.1:54321".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: "hello".into(),
        properties: "TAGS\x01TagA\x02UNIQ_KEY\x017F000001\x02KEYS\x01k1 k2\x02WAIT\x01true\x02".into(),
        tags_code: 0,
    }
}

fn record(message: &MessageInner, queue_offset: i64, physical_offset: i64, store_timestamp: i64) -> Vec<u8> {
    let mut record = Vec::new();
    message::encode_record(message, &mut record);
    patch_record(&mut record, queue_offset, physical_offset, store_timestamp);
    assert_eq!(record.len(), record_bytes(message));
    record
}

#[test]
fn the_store_vector_writes_and_reads() {
    let vector = hex("0000009adaa320a73610a6860000000100000000000000000000000500000000
         000003e8000000000000018bcfe568007f0000010000d4310000018bcfe5687b
         7f00000100002a9f0000000000000000000000000000000568656c6c6f09546f
         70696354657374003154414753015461674102554e49515f4b45590137463030
         30303031024b455953016b31206b320257414954017472756502");
    assert_eq!(record(&inner(), 5, 1000, 1_700_000_000_123), vector);
    let view = MessageView::decode(&vector).unwrap();
    assert_eq!((view.topic, view.queue_id, view.queue_offset, view.physical_offset), ("TopicTest", 1, 5, 1000));
    assert_eq!((view.body, view.property("KEYS"), view.store_timestamp), (&b"hello"[..], Some("k1 k2"), 1_700_000_000_123));
    assert_eq!((view.born_host, view.store_host), (inner().born_host, inner().store_host));
    assert!(view.has_valid_body_crc());
    assert_eq!(message::tags_code_of(view.properties), 2_598_919);
}

#[test]
fn the_wire_vector_reads() {
    let vector = hex(
        "00000076 daa320a7 3610a686 00000003 00000000 0000000000000007 00000000000003e8 00000000 0000018bcfe56800 0a000001 00001388
         0000018bcfe5687b 0a000002 00002a9f 00000000 0000000000000000 00000005 68656c6c6f 06 546f70696341 0010 6b310176310254414753015461674102",
    );
    let view = MessageView::decode(&vector).unwrap();
    assert_eq!((view.topic, view.property("TAGS"), view.property("k1")), ("TopicA", Some("TagA"), Some("v1")));
    assert_eq!(message::id::offset_id(view.store_host, view.physical_offset).as_str(), "0A00000200002A9F00000000000003E8");
}

#[test]
fn ipv6_hosts_and_long_topics_keep_their_places() {
    for (born, store, topic) in [
        ("[2001:db8::1]:5000", "127.0.0.1:1", "T".repeat(127)),
        ("127.0.0.1:5000", "[2001:db8::2]:10911", "T".repeat(128)),
        ("[2001:db8::1]:5000", "[2001:db8::2]:10911", "%RETRY%".to_owned() + &"g".repeat(248)),
        ("[::ffff:127.0.0.1]:5000", "127.0.0.1:10911", "T".to_owned()),
    ] {
        let message =
            MessageInner { born_host: born.parse().unwrap(), store_host: store.parse().unwrap(), topic: topic.clone().into(), ..inner() };
        let record = record(&message, 1, 2, 3);
        let view = MessageView::decode(&record).unwrap();
        assert_eq!(view.magic, if topic.len() > 127 { layout::MAGIC_V2 } else { layout::MAGIC_V1 });
        assert_eq!((view.topic, view.queue_offset, view.physical_offset, view.store_timestamp), (topic.as_str(), 1, 2, 3));
        assert_eq!(view.born_host.ip(), message.born_host.ip().to_canonical());
        assert_eq!(view.store_host, message.store_host);
    }
}

#[test]
fn records_follow_each_other_and_end_at_the_first_error() {
    let one = record(&inner(), 0, 0, 0);
    let mut two = [one.clone(), one.clone()].concat();
    assert_eq!(records(&two).filter(Result::is_ok).count(), 2);
    two.truncate(two.len() - 1);
    let read: Vec<_> = records(&two).collect();
    assert!(read.len() == 2 && read[1].is_err());
}

#[test]
fn a_record_that_is_cut_or_lies_is_refused() {
    let whole = record(&inner(), 0, 0, 0);
    for cut in 0..whole.len() {
        assert!(MessageView::decode(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for at in [0, 4, 84, 93] {
        for value in [0x7F, 0xFF] {
            let mut lying = whole.clone();
            lying[at] = value;
            assert!(MessageView::decode(&lying).is_err(), "byte {at} = {value:#x}");
        }
    }
}
