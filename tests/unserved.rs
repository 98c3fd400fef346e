// SPDX-License-Identifier: Apache-2.0
//! A directory of the original's in which messages wait for what is not served yet: the start says so, or refuses, and touches nothing.
//!
//! The files are made by hand in the original's layouts: TimerWheel.java, TimerCheckpoint.java, PopReviveService.java,
//! TopicQueueMappingManager.java, BatchConsumeQueue.java, CompactionStore.java.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a story that cannot go on ends")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bytes::Bytes;
use ferrocket_protocol::Str;
use ferrocket_protocol::message::{MessageInner, properties, property, tags_code};
use support::TestBroker;
use support::process::{Server, failed_start};

const REVIVE: &str = "rmq_sys_REVIVE_LOG_DefaultCluster";

fn message(topic: &str, queue_id: i32, tag: &str) -> MessageInner {
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 10_911));
    let mut text = Vec::new();
    properties::set(&mut text, property::TAGS, tag);
    MessageInner {
        topic: Str::copy_from(topic),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from_static(b"{}"),
        properties: text.into(),
        tags_code: tags_code(tag),
    }
}

fn file(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// One slot of `timerwheel`: time in precisions, first and last position, count, magic.
fn slot(seconds: i64, count: i32) -> Vec<u8> {
    [&seconds.to_be_bytes()[..], &[0; 16], &count.to_be_bytes(), &[0; 4]].concat()
}

/// One unit of a BatchConsumeQueue that stands for so many messages.
fn unit(size: i32, messages: i16) -> Vec<u8> {
    [&[0; 8][..], &size.to_be_bytes(), &[0; 24], &messages.to_be_bytes(), &(-1_i32).to_be_bytes(), &[0; 4]].concat()
}

/// A store with something of everything.
async fn left_by_the_original() -> support::Setup {
    let broker = TestBroker::start().await;
    broker.create_topic("ST", 1);
    let put = |topic: &str, queue_id, tag: &str| {
        assert!(broker.broker.store.put_message(&message(topic, queue_id, tag)).status.is_stored());
    };
    // Of three in the queue the wheel has taken one.
    (0..3).for_each(|_| put("rmq_sys_wheel_timer", 0, "t"));
    // Check points and acknowledgements; the first check point was seen to.
    ["ck", "ack", "ck", "ack"].iter().for_each(|tag| put(REVIVE, 3, tag));
    ["ck", "ack"].iter().for_each(|tag| put(REVIVE, 4, tag));
    for queue_id in [3, 4] {
        broker.broker.consumer_offsets.commit("CID_RMQ_SYS_REVIVE_GROUP", REVIVE, queue_id, 0, 500);
    }
    (0..2).for_each(|_| put("ST", 0, "t"));
    let setup = broker.stop().await;
    let root = setup.folder();
    // Read up to second 1,000; the wheel has one message from before it (delivered), and four to come.
    file(&root.join("config/timercheck"), &[&1_000_000_i64.to_be_bytes()[..], &[0; 8], &1_i64.to_be_bytes(), &[0; 4_072]].concat());
    file(&root.join("timerwheel"), &[slot(999, 1), slot(1_000, 3), slot(0, 0), slot(2_000, 1), slot(3_000, -1)].concat());
    let mapping = br#"{"dataVersion":{"counter":1},"topicQueueMappingInfoMap":{"ST":{"bname":"b0","currIdMap":{0:0},"dirty":false,"epoch":1,"hostedQueues":{0:[{"bname":"b0","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"ST","totalQueues":2}}}"#;
    file(&root.join("config/topicQueueMapping.json"), mapping);
    file(&root.join("batchconsumequeue/BT/0/00000000000000000000"), &[unit(100, 3), unit(100, 1), unit(0, 0)].concat());
    file(&root.join("compaction/compactionCq/CT/1/00000000000000000000"), &[unit(100, 1), unit(100, 1), unit(0, 0)].concat());
    setup
}

#[tokio::test]
async fn what_waits_in_vain_is_said_at_the_start_or_refuses_it() {
    let setup = left_by_the_original().await;
    let root = setup.folder();
    let data = root.to_str().unwrap();
    let args = ["broker", "--data", data, "--set", "listenPort=0", "--set", "brokerName=b", "--set", "mappedFileSizeCommitLog=16777216"];
    let args = [&args[..], &["--set", "maxIndexNum=40000", "--set", "maxHashSlotNum=10000"]].concat();
    let expected = [
        "6 timed messages wait in timerwheel and rmq_sys_wheel_timer: ",
        "1 check point of POP consumers waits in the revive log: ",
        "the mapping of ST is not obeyed, and what lies in their queues (messages: 2) ",
        "what lies in BT (messages: 4) is not delivered, ",
        "no compaction of CT while this broker runs, and what lies in the compaction logs (messages: 2) ",
    ];
    let says = failed_start(root, &[&args[..], &["--refuse-unserved"]].concat());
    assert!(says.starts_with("--refuse-unserved: "), "{says}");
    expected.iter().for_each(|part| assert!(says.contains(part), "{part}: {says}"));
    assert!(!root.join("abort").exists(), "it was closed in order");
    let before = std::fs::read(root.join("timerwheel")).unwrap();

    let mut server = Server::start(root, &args);
    server.line("boot success");
    let (code, said) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, part) in lines.iter().zip(expected) {
        assert!(line.contains("WARN") && line.contains(part), "{part}: {line}");
    }
    assert_eq!(std::fs::read(root.join("timerwheel")).unwrap(), before);
}

/// What was delivered long ago is no reason to warn.
#[tokio::test]
async fn a_store_whose_features_have_nothing_left_to_do_starts_in_silence() {
    let broker = TestBroker::start().await;
    for (topic, tag) in [("rmq_sys_wheel_timer", "t"), (REVIVE, "ck"), (REVIVE, "ack")] {
        assert!(broker.broker.store.put_message(&message(topic, 0, tag)).status.is_stored());
    }
    broker.broker.consumer_offsets.commit("CID_RMQ_SYS_REVIVE_GROUP", REVIVE, 0, 0, 500);
    let setup = broker.stop().await;
    let root = setup.folder();
    file(&root.join("config/timercheck"), &[&1_000_000_i64.to_be_bytes()[..], &[0; 8], &1_i64.to_be_bytes(), &[0; 4_072]].concat());
    file(&root.join("timerwheel"), &[slot(998, 1), slot(999, 1)].concat());
    file(&root.join("config/topicQueueMapping.json"), br#"{"dataVersion":{"counter":1},"topicQueueMappingInfoMap":{}}"#);
    let args = ["broker", "--data", root.to_str().unwrap(), "--refuse-unserved", "--set", "listenPort=0", "--set", "brokerName=b"];
    let sizes = ["--set", "mappedFileSizeCommitLog=16777216", "--set", "maxIndexNum=40000", "--set", "maxHashSlotNum=10000"];
    let mut server = Server::start(root, &[&args[..], &sizes].concat());
    server.line("boot success");
    assert_eq!(server.stop("-TERM"), Some(0));
}
