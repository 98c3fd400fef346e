// SPDX-License-Identifier: Apache-2.0
//! Many topics, many connections, many members: what a broker with few of them never shows. `ferrocket bench topics` is the same
//! with figures, ten times as large.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::time::Duration;

use ferrocket_protocol::header::PullMessageRequestHeader;
use ferrocket_protocol::header::admin::topic::CreateTopicRequestHeader;
use ferrocket_protocol::header::offset::{GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader};
use ferrocket_protocol::{RemotingCommand, Str, request_code, response_code};
use support::{Client, PATIENCE, Setup, TestBroker, pull_header, pull_request, pulled, send_request};

const TOPICS: usize = 1_000;
const QUEUES: i32 = 8;
/// Requests in one write: as many as one connection's answers have room for.
const AT_ONCE: usize = 500;

fn topic(number: usize) -> String {
    format!("T{number:04}")
}

fn queues() -> impl Iterator<Item = (String, i32)> + Clone {
    (0..TOPICS).flat_map(|number| (0..QUEUES).map(move |queue_id| (topic(number), queue_id)))
}

/// A pull that brings its own filter and waits.
fn held_pull(topic: &str, queue_id: i32) -> RemotingCommand {
    pull_request(&PullMessageRequestHeader { sys_flag: 2 | 4, subscription: Some(Str::from("*")), ..pull_header("G", topic, queue_id, 0) })
}

async fn all_succeed(client: &mut Client, requests: impl Iterator<Item = RemotingCommand>) -> Vec<RemotingCommand> {
    let mut requests = requests.peekable();
    let mut responses = Vec::new();
    while requests.peek().is_some() {
        for opaque in client.begin_all(requests.by_ref().take(AT_ONCE)).await {
            let response = client.response(opaque).await;
            assert_eq!(response.code, response_code::SUCCESS, "{:?}", response.remark);
            responses.push(response);
        }
    }
    responses
}

fn open_consume_queues() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|path| path.components().any(|part| part.as_os_str() == "consumequeue")).count()
}

/// The original stops here with the usual limit of descriptors: each queue has one, and a mapping.
#[tokio::test]
async fn a_thousand_topics_are_made_in_one_go_and_every_queue_is_sent_to_and_consumed() {
    // A busy machine may take longer over a request than a broker would let it wait.
    let setup = Setup::new().config(|config| config.wait_time_mills_in_send_queue = 60_000);
    let folder = setup.folder().to_owned();
    let broker = setup.start().await;
    let mut admin = broker.connect().await;
    let create = |number: usize| {
        let header = CreateTopicRequestHeader {
            topic: Str::from(topic(number)),
            default_topic: Str::from("TBW102"),
            read_queue_nums: QUEUES,
            write_queue_nums: QUEUES,
            perm: 6,
            topic_filter_type: Str::from("SINGLE_TAG"),
            ..Default::default()
        };
        RemotingCommand::request_with(request_code::UPDATE_AND_CREATE_TOPIC, &header)
    };
    all_succeed(&mut admin, (0..TOPICS).map(create)).await;
    let written = std::fs::read_to_string(folder.join("config/topics.json")).unwrap();
    assert!((0..TOPICS).all(|number| written.contains(&format!("\"{}\"", topic(number)))), "an answered creation is on the disk");

    let mut consumer = broker.connect().await;
    let mut held = Vec::new();
    for (topic, queue_id) in queues() {
        held.push(consumer.begin(held_pull(&topic, queue_id)).await);
    }
    broker.wait_until(|broker| broker.hold.waiting_count() == held.len()).await;
    let mut producer = broker.connect().await;
    all_succeed(&mut producer, queues().map(|(topic, queue_id)| send_request(&topic, queue_id, "A", &format!("{topic}/{queue_id}")))).await;
    for (opaque, (topic, queue_id)) in held.into_iter().zip(queues()) {
        assert_eq!(pulled(&consumer.response(opaque).await), (response_code::SUCCESS, 1, vec![format!("{topic}/{queue_id}")]));
    }

    // Until the units have reached the files of all queues.
    let last = folder.join("consumequeue").join(topic(TOPICS - 1)).join("7").join("00000000000000000000");
    let began = std::time::Instant::now();
    while !last.exists() {
        assert!(began.elapsed() < PATIENCE, "the keeper writes the queues after some seconds at the latest");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let open = open_consume_queues();
    assert!(open <= 192, "{open} ConsumeQueue files are open");

    let broker = broker.stop().await.start().await;
    let mut client = broker.connect().await;
    let ends = all_succeed(
        &mut client,
        queues().map(|(topic, queue_id)| {
            let header = GetMaxOffsetRequestHeader { topic: Str::from(topic), queue_id, ..Default::default() };
            RemotingCommand::request_with(request_code::GET_MAX_OFFSET, &header)
        }),
    )
    .await;
    assert!(ends.iter().all(|end| end.header::<GetMaxOffsetResponseHeader>().unwrap().offset == 1));
    broker.stop().await;
}

#[tokio::test]
async fn two_thousand_connections_hold_their_pulls_until_a_message_comes() {
    let descriptors = support::raised_descriptor_limit();
    // Both ends live in this process; where fewer descriptors are allowed the test makes do.
    let connections = 2_000.min((descriptors - 500) / 2);
    let broker = TestBroker::start().await;
    broker.create_topic("T", QUEUES);
    let mut clients = Vec::new();
    for number in 0..connections {
        let mut client = broker.connect().await;
        let opaque = client.begin(held_pull("T", number as i32 % QUEUES)).await;
        clients.push((client, opaque));
    }
    broker.wait_until(|broker| broker.hold.waiting_count() == connections).await;
    let mut producer = broker.connect().await;
    for queue_id in 0..QUEUES {
        producer.send("T", queue_id, "A", &queue_id.to_string()).await;
    }
    for (number, (client, opaque)) in clients.iter_mut().enumerate() {
        let expected = vec![(number as i32 % QUEUES).to_string()];
        assert_eq!(pulled(&client.response(*opaque).await), (response_code::SUCCESS, 1, expected));
    }
    assert_eq!(broker.broker.hold.waiting_count(), 0);
    broker.stop().await;
}
