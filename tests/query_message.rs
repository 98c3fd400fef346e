// SPDX-License-Identifier: Apache-2.0
//! Messages found again by key, unique key, tag, and by the id of their place.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use ferrocket_protocol::header::query::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use ferrocket_protocol::message::{MessageView, decode, id};
use ferrocket_protocol::{RemotingCommand, Str, request_code, response_code};
use support::{Client, TestBroker, java_request, remark};

async fn send(client: &mut Client, body: &str, pairs: &[(&str, &str)]) -> String {
    let header = support::send_header("orders", 0, pairs);
    let request = java_request(request_code::SEND_MESSAGE).with_header(&header).with_body(Bytes::copy_from_slice(body.as_bytes()));
    let answer = client.call(request).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    answer.ext_fields.get_str("msgId").unwrap().to_owned()
}

fn by_key(key: &str, index_type: Option<&'static str>) -> QueryMessageRequestHeader {
    QueryMessageRequestHeader {
        topic: "orders".into(),
        key: Str::copy_from(key),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        index_type: index_type.map(Str::from),
        ..Default::default()
    }
}

async fn found(client: &mut Client, header: QueryMessageRequestHeader) -> Vec<String> {
    let answer = client.call_with(request_code::QUERY_MESSAGE, &header).await;
    assert!([response_code::SUCCESS, response_code::QUERY_NOT_FOUND].contains(&answer.code), "{answer:?}");
    let mut bodies: Vec<String> =
        decode::records(&answer.body).map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap()).collect();
    bodies.sort();
    bodies
}

#[tokio::test]
async fn a_message_is_found_by_each_of_its_keys() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, "one", &[("KEYS", "k1 k2"), ("UNIQ_KEY", "U1"), ("TAGS", "TagA")]).await;
    send(&mut client, "two", &[("KEYS", "k2"), ("UNIQ_KEY", "U2"), ("TAGS", "TagA")]).await;
    assert_eq!(found(&mut client, by_key("k1", None)).await, ["one"]);
    assert_eq!(found(&mut client, by_key("k2", Some("K"))).await, ["one", "two"]);
    assert_eq!(found(&mut client, by_key("U2", Some("U"))).await, ["two"]);
    assert_eq!(found(&mut client, by_key("TagA", Some("T"))).await, ["one", "two"]);
    let unique = QueryMessageRequestHeader { unique_key_query: true, max_num: 0, ..by_key("U1", None) };
    assert_eq!(found(&mut client, unique).await, ["one"], "the broker's own limit counts");
    let at_most = QueryMessageRequestHeader { max_num: 1, ..by_key("k2", None) };
    assert_eq!(found(&mut client, at_most).await.len(), 1);
}

#[tokio::test]
async fn what_is_not_found_is_said_so_with_a_full_header() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, "one", &[("KEYS", "k1")]).await;
    let answer = client.call_with(request_code::QUERY_MESSAGE, &by_key("none", None)).await;
    assert_eq!(answer.code, response_code::QUERY_NOT_FOUND);
    assert_eq!(remark(&answer), "can not find message, maybe time range not correct");
    // DefaultMessageStore.java#queryMessage leaves both at 0 when the index has nothing.
    assert_eq!(answer.ext_fields.get_str("indexLastUpdateTimestamp"), Some("0"));
    assert_eq!(answer.ext_fields.get_str("indexLastUpdatePhyoffset"), Some("0"));
    let too_early = QueryMessageRequestHeader { end_timestamp: 1, ..by_key("k1", None) };
    assert_eq!(found(&mut client, too_early).await, Vec::<String>::new());
}

fn view(offset: i64) -> RemotingCommand {
    let header = ViewMessageRequestHeader { offset, ..Default::default() };
    RemotingCommand::request_with(request_code::VIEW_MESSAGE_BY_ID, &header)
}

#[tokio::test]
async fn a_message_is_found_by_its_id() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    send(&mut client, "one", &[]).await;
    let msg_id = send(&mut client, "two", &[]).await;
    let (address, offset) = id::parse_offset_id(&msg_id).unwrap();
    assert_eq!(address, broker.addr);
    let answer = client.call(view(offset)).await;
    assert_eq!(answer.code, response_code::SUCCESS);
    assert_eq!(MessageView::decode(&answer.body).unwrap().body, b"two");
    let answer = client.call(view(offset + 7)).await;
    assert_eq!(answer.code, response_code::SYSTEM_ERROR);
    assert_eq!(remark(&answer), format!("can not find message by the offset, {}", offset + 7));
}

/// The stored host is what the broker was when it stored; the client is told where it can reach it.
#[tokio::test]
async fn the_host_in_an_answer_is_the_one_that_the_client_can_reach() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    let msg_id = send(&mut client, "one", &[("KEYS", "k1")]).await;
    let (_, offset) = id::parse_offset_id(&msg_id).unwrap();
    // As if the broker had been moved to another port since.
    broker.broker.listening_on(12_345);
    let moved = std::net::SocketAddr::from(([127, 0, 0, 1], 12_345));
    for answer in [client.call(view(offset)).await, client.call_with(request_code::QUERY_MESSAGE, &by_key("k1", None)).await] {
        let view = MessageView::decode(&answer.body).unwrap();
        assert_eq!((view.store_host, view.body), (moved, &b"one"[..]));
    }
    let stored = broker.broker.store.look_message(offset).unwrap().unwrap();
    assert_eq!(MessageView::decode(&stored).unwrap().store_host, broker.addr, "the log is untouched");
}
