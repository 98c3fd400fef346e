// SPDX-License-Identifier: Apache-2.0
//! Properties that are no UTF-8, as clients write them that encode their text otherwise: their bytes reach the consumer as they came,
//! whichever way a message takes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrocket_protocol::header::*;
use ferrocket_protocol::message::{MessageView, batch, decode, id, properties};
use ferrocket_protocol::{RemotingCommand, SerializeType, Str, request_code, response_code};
use support::{Client, Setup, TestBroker, pull_header, pull_request, send_header};

/// What `~` stands for here: the first byte of two in GBK, and of two in UTF-8.
const BYTE: u8 = 0xC4;
const KEY: &[u8] = b"\xC4\xC4x";

fn broken(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    bytes.as_ref().iter().map(|byte| if *byte == b'~' { BYTE } else { *byte }).collect()
}

/// The request with `BYTE` for every `~` of its header, as it would be read.
fn unclean(mut request: RemotingCommand, form: SerializeType) -> RemotingCommand {
    request.serialize_type = form;
    let mut frame = BytesMut::new();
    request.encode(&mut frame);
    RemotingCommand::decode(Bytes::from(broken(frame)).slice(4..)).unwrap()
}

async fn send(
    client: &mut Client,
    code: i32,
    form: SerializeType,
    header: SendMessageRequestHeader,
    body: impl Into<Bytes>,
) -> SendMessageResponseHeader {
    let request = match code {
        request_code::SEND_MESSAGE => RemotingCommand::request_with(code, &header),
        _ => RemotingCommand::request_with(code, &SendMessageRequestHeaderV2::from(header)),
    };
    let answer = client.call(unclean(request.with_body(body), form)).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    answer.header().unwrap()
}

/// That the keys and the tags of every message of a queue, `count` of them, are as they came.
async fn are_unharmed(client: &mut Client, topic: &str, queue_id: i32, count: usize) -> i64 {
    let header = PullMessageRequestHeader { sys_flag: 4, subscription: Some(Str::from("*")), ..pull_header("G", topic, queue_id, 0) };
    let answer = client.call(pull_request(&header)).await;
    let records: Vec<MessageView<'_>> = decode::records(&answer.body).map(Result::unwrap).collect();
    assert_eq!(records.len(), count);
    for record in &records {
        assert_eq!(properties::find(record.properties, "KEYS"), Some(KEY), "{record:?}");
        assert_eq!(properties::find(record.properties, "TAGS"), Some(&[BYTE][..]));
    }
    records[0].physical_offset
}

const PAIRS: [(&str, &str); 2] = [("KEYS", "~~x"), ("TAGS", "~")];

#[tokio::test]
async fn bytes_that_are_no_utf8_reach_the_consumer_as_they_came() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker: TestBroker = setup.start().await;
    for topic in ["Plain", "Batch", "Delayed", "Half"] {
        broker.create_topic(topic, 1);
    }
    let mut client = broker.connect().await;
    let forms = [SerializeType::Json, SerializeType::RocketMq];
    for form in forms {
        for code in [request_code::SEND_MESSAGE, request_code::SEND_MESSAGE_V2] {
            send(&mut client, code, form, send_header("Plain", 0, &PAIRS), "x").await;
        }
        let mut items = Vec::new();
        for _ in 0..2 {
            batch::encode_item(0, b"x", &broken(properties::encode(PAIRS)), &mut items);
        }
        let header = SendMessageRequestHeader { batch: true, ..send_header("Batch", 0, &[]) };
        send(&mut client, request_code::SEND_BATCH_MESSAGE, form, header, items).await;
        send(&mut client, request_code::SEND_MESSAGE_V2, form, send_header("Delayed", 0, &[&PAIRS[..], &[("DELAY", "1")]].concat()), "x")
            .await;

        let half = [&PAIRS[..], &[("TRAN_MSG", "true"), ("PGROUP", "P"), ("UNIQ_KEY", "U")]].concat();
        let header = SendMessageRequestHeader { sys_flag: 4, ..send_header("Half", 0, &half) };
        let sent = send(&mut client, request_code::SEND_MESSAGE, form, header, "x").await;
        let commit = EndTransactionRequestHeader {
            producer_group: Str::from("P"),
            tran_state_table_offset: sent.queue_offset,
            commit_log_offset: id::parse_offset_id(&sent.msg_id).unwrap().1,
            commit_or_rollback: 8,
            msg_id: Str::from("U"),
            ..Default::default()
        };
        assert_eq!(client.call_with(request_code::END_TRANSACTION, &commit).await.code, response_code::SUCCESS);
    }
    let place = are_unharmed(&mut client, "Plain", 0, 4).await;
    are_unharmed(&mut client, "Batch", 0, 4).await;
    are_unharmed(&mut client, "Half", 0, 2).await;
    broker.advance(&clock, Duration::from_secs(2)).await;
    broker.wait_until(|broker| broker.store.max_offset("Delayed", 0) == 2).await;
    are_unharmed(&mut client, "Delayed", 0, 2).await;

    let back = ConsumerSendMsgBackRequestHeader { offset: place, group: Str::from("G"), delay_level: Some(1), ..Default::default() };
    assert_eq!(client.call_with(request_code::CONSUMER_SEND_MSG_BACK, &back).await.code, response_code::SUCCESS);
    broker.advance(&clock, Duration::from_secs(2)).await;
    broker.wait_until(|broker| broker.store.max_offset("%RETRY%G", 0) == 1).await;
    are_unharmed(&mut client, "%RETRY%G", 0, 1).await;

    // The index hashes what the bytes read as, and so does the question.
    let by_key = QueryMessageRequestHeader {
        topic: Str::from("Plain"),
        key: Str::from("~~x"),
        max_num: 10,
        end_timestamp: i64::MAX,
        ..Default::default()
    };
    for form in forms {
        let answer = client.call(unclean(RemotingCommand::request_with(request_code::QUERY_MESSAGE, &by_key), form)).await;
        assert_eq!(decode::records(&answer.body).count(), 4);
    }
    broker.stop().await;
}
