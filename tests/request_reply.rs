// SPDX-License-Identifier: Apache-2.0
//! Request-reply: a reply reaches the producer that asked, is stored, and is answered when both are done.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::header::ReplyMessageRequestHeader;
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::message::{properties, property};
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use support::{Client, Setup, TestBroker, java_request, producer_heartbeat, pull_header, pull_request, pulled, remark, send_header};

const TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

fn reply_to(asker: &str, body: &str) -> RemotingCommand {
    let pairs = [("MSG_TYPE", "reply"), ("CORRELATION_ID", body), (property::REPLY_TO_CLIENT, asker), ("TTL", "3000")];
    let header = send_header(TOPIC, 0, &pairs);
    java_request(request_code::SEND_REPLY_MESSAGE).with_header(&header).with_body(Bytes::copy_from_slice(body.as_bytes()))
}

fn success() -> RemotingCommand {
    RemotingCommand::response(response_code::SUCCESS)
}

async fn stored(client: &mut Client) -> Vec<String> {
    client.consume("g", "reader@1", &[(TOPIC, "*")]).await;
    let answer = client.call(pull_request(&pull_header("g", TOPIC, 0, 0))).await;
    pulled(&answer).2
}

/// Of the queue that replies are stored in.
fn end(broker: &TestBroker) -> i64 {
    broker.broker.store.max_offset(TOPIC, 0)
}

async fn asker(broker: &TestBroker, client_id: &str) -> Client {
    let mut client = broker.connect().await;
    client.heartbeat(&producer_heartbeat("askers", client_id)).await;
    client
}

#[tokio::test]
async fn a_reply_reaches_the_producer_that_asked_and_is_stored() {
    let broker = TestBroker::start().await;
    let (mut asker, mut other) = (asker(&broker, "asker@1").await, broker.connect().await);
    let opaque = other.begin(reply_to("asker@1", "pong")).await;
    let push = asker.pushed().await;
    assert_eq!((push.code, &push.body[..]), (request_code::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"pong"[..]));
    let header: ReplyMessageRequestHeader = push.header().unwrap();
    assert_eq!((&*header.topic, &*header.born_host), (TOPIC, &*other.local_addr().to_string()));
    let told = header.properties.unwrap();
    assert_eq!(properties::find_str(told.as_bytes(), "CORRELATION_ID"), Some("pong"));
    let pushed_millis: i64 = properties::find_str(told.as_bytes(), property::PUSH_REPLY_TIME).unwrap().parse().unwrap();
    assert_eq!(pushed_millis, header.store_timestamp);
    assert!(!other.has_response(opaque) && end(&broker) == 0, "not before the producer has it");
    asker.answer(&push, success()).await;
    let answer = other.response(opaque).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    let sent: SendMessageResponseHeader = answer.header().unwrap();
    assert_eq!((sent.queue_id, sent.queue_offset), (0, 0));
    assert_ne!(&*sent.msg_id, "0");
    assert_eq!(stored(&mut other).await, ["pong"]);
}

#[tokio::test]
async fn the_youngest_connection_of_a_client_id_is_told() {
    let broker = TestBroker::start().await;
    let (first, mut second) = (asker(&broker, "asker@1").await, asker(&broker, "asker@1").await);
    let mut other = broker.connect().await;
    let opaque = other.begin(reply_to("asker@1", "to the second")).await;
    let push = second.pushed().await;
    second.answer(&push, success()).await;
    assert_eq!(other.response(opaque).await.code, response_code::SUCCESS);
    first.close().await;
    second.close().await;
    broker.wait_until(|broker| broker.producers.channel_of_client("asker@1").is_none()).await;
    let answer = other.call(reply_to("asker@1", "to nobody")).await;
    assert_eq!((answer.code, remark(&answer)), (response_code::SYSTEM_ERROR, "push reply message fail, channel of <asker@1> not found."));
    assert_eq!(stored(&mut other).await, ["to the second", "to nobody"], "stored all the same");
}

/// The requester may be gone, refuse, or say nothing for 10 s of the broker's clock.
#[tokio::test]
async fn a_push_that_fails_is_said_and_the_reply_stored() {
    let (setup, clock) = Setup::new().manual_clock();
    let broker = setup.start().await;
    let (mut asker, mut other) = (asker(&broker, "asker@1").await, broker.connect().await);
    for (how, said) in [("refuses", "refused"), ("is silent", "silent"), ("goes", "gone")] {
        let opaque = other.begin(reply_to("asker@1", said)).await;
        let push = asker.pushed().await;
        match how {
            "refuses" => asker.answer(&push, RemotingCommand::response(response_code::SYSTEM_ERROR)).await,
            "is silent" => broker.advance(&clock, Duration::from_secs(11)).await,
            _ => break,
        }
        let answer = other.response(opaque).await;
        assert_eq!((answer.code, remark(&answer)), (response_code::SYSTEM_ERROR, "push reply message to asker@1fail."), "{how}");
    }
    asker.close().await;
    broker.wait_until(|broker| broker.store.max_offset(TOPIC, 0) == 3).await;
    assert_eq!(stored(&mut other).await, ["refused", "silent", "gone"]);
}

#[tokio::test]
async fn store_reply_message_enable_says_whether_it_is_stored() {
    let broker = Setup::new().config(|config| config.store_reply_message_enable = false).start().await;
    let (mut asker, mut other) = (asker(&broker, "asker@1").await, broker.connect().await);
    let opaque = other.begin(reply_to("asker@1", "pong")).await;
    let push = asker.pushed().await;
    asker.answer(&push, success()).await;
    let sent: SendMessageResponseHeader = other.response(opaque).await.header().unwrap();
    assert_eq!((&*sent.msg_id, sent.queue_offset), ("0", 0));
    assert_eq!(end(&broker), 0);
}

#[tokio::test]
async fn as_many_replies_wait_as_reply_thread_pool_queue_capacity_says() {
    let broker = Setup::new().config(|config| config.reply_thread_pool_queue_capacity = 2).start().await;
    let (mut asker, mut other) = (asker(&broker, "asker@1").await, broker.connect().await);
    let opaques = other.begin_all((0..3).map(|at| reply_to("asker@1", &at.to_string()))).await;
    let refused = other.response(opaques[2]).await;
    assert_eq!((refused.code, remark(&refused)), (response_code::SYSTEM_BUSY, "[OVERLOAD]system busy, start flow control for a while"));
    for _ in 0..2 {
        let push = asker.pushed().await;
        asker.answer(&push, success()).await;
    }
    for opaque in &opaques[..2] {
        assert_eq!(other.response(*opaque).await.code, response_code::SUCCESS);
    }
    assert_eq!(broker.broker.reply_flow_control.sends_in_flight(), 0);
}
