// SPDX-License-Identifier: Apache-2.0
//! No name leads out of the store's directory, whoever brings it: a client in a field or a property, a log that another broker wrote,
//! a directory that is there at the start.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::runtime::{ManualClock, SystemClock};
use ferrocket::store::{ArrivalListener, Fs, MemoryFs, MessageStore, PutMessageStatus, RealFs, StoreConfig, may_name_a_directory};
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::header::{ConsumerSendMsgBackRequestHeader, EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader};
use ferrocket_protocol::message::id::parse_offset_id;
use ferrocket_protocol::message::{MessageInner, properties};
use ferrocket_protocol::{Str, request_code, response_code};
use support::hostile::{paths, require_inside};
use support::{Client, Setup, TestBroker, java_request, remark};

/// Names that only a request must not bring: on Linux they are directories like any other.
const ODD: [&str; 7] = ["CON", "nul", "a:b", "a b", " ", "...", "..a"];

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

fn open(fs: &MemoryFs, root: &Path) -> Arc<MessageStore> {
    let config = StoreConfig { mapped_file_size_commit_log: 1 << 20, max_hash_slot_num: 50, max_index_num: 120, ..StoreConfig::at(root) };
    let clock = Arc::new(ManualClock::at_millis(1_795_219_808_010));
    MessageStore::open(config, fs.shared(), clock, Arc::new(Nobody)).unwrap()
}

fn message(topic: &str, queue_id: i32, pairs: &[(&str, &str)]) -> MessageInner {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    MessageInner {
        topic: Str::copy_from(topic),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_795_219_808_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from_static(b"body"),
        properties: properties::encode(pairs.iter().copied()).into(),
        tags_code: 0,
    }
}

#[test]
fn a_topic_may_have_a_directory_or_may_not() {
    for name in paths() {
        assert!(!may_name_a_directory(&name), "{name:?}");
    }
    for name in ODD.into_iter().chain(["orders", "%RETRY%g", "ns%orders", "%LMQ%orders$lite", "测试"]) {
        assert!(may_name_a_directory(name), "{name:?}");
    }
    // A retry topic of the longest group that a topic table of the original may have.
    assert!(may_name_a_directory(&format!("%RETRY%{}", "n".repeat(248))));
}

#[test]
fn no_put_leaves_the_directory() {
    let (fs, root) = (MemoryFs::new(), Path::new("/data/store"));
    fs.create_dir_all(Path::new("/data/escaped")).unwrap();
    fs.create_dir_all(Path::new("/escaped")).unwrap();
    let before = fs.paths();
    let store = open(&fs, root);
    for name in paths() {
        for queue_id in [0, i32::MAX] {
            assert_eq!(store.put_message(&message(&name, queue_id, &[])).status, PutMessageStatus::MessageIllegal, "{name:?}");
        }
    }
    for name in ODD {
        assert_eq!(store.put_message(&message(name, 0, &[])).status, PutMessageStatus::PutOk, "{name:?}");
    }
    assert_eq!(store.put_message(&message("orders", -1, &[])).status, PutMessageStatus::MessageIllegal, "no queue has this number");
    assert_eq!(store.put_message(&message("orders", i32::MIN, &[])).status, PutMessageStatus::MessageIllegal);
    store.shutdown().unwrap();
    require_inside(&fs, root, &before);
}

/// On a real disk, where a name that goes up arrives somewhere: an empty directory would be removed.
#[test]
fn no_deletion_leaves_the_directory() {
    let parent = tempfile::tempdir().unwrap();
    let (root, beside) = (parent.path().join("store"), parent.path().join("escaped"));
    std::fs::create_dir(&beside).unwrap();
    let config = StoreConfig { mapped_file_size_commit_log: 1 << 20, max_hash_slot_num: 50, max_index_num: 120, ..StoreConfig::at(&root) };
    let store = MessageStore::open(config, RealFs::shared(), SystemClock::shared(), Arc::new(Nobody)).unwrap();
    let absolute = beside.to_str().unwrap().to_owned();
    for name in paths().into_iter().chain([absolute]) {
        store.delete_topic(&name).unwrap();
        assert!(beside.is_dir() && root.join("consumequeue").is_dir(), "{name:?}");
    }
    store.shutdown().unwrap();
}

/// A store of another broker, or a damaged one: the topic's bytes are under no checksum.
#[test]
fn a_record_of_an_illegal_topic_is_passed_over_and_what_lies_behind_it_is_found() {
    for name in paths().into_iter().filter(|name| !name.is_empty() && name.len() <= 127) {
        let (fs, root) = (MemoryFs::new(), Path::new("/data/store"));
        let store = open(&fs, root);
        let stand_in = "s".repeat(name.len());
        let before = store.put_message(&message("orders", 0, &[]));
        let wrong = store.put_message(&message(&stand_in, 0, &[]));
        let behind = store.put_message(&message("orders", 0, &[]));
        let last = store.put_message(&message(&stand_in, 0, &[]));
        let read = |at: i64| store.look_message(at).unwrap().unwrap();
        let topic_at = read(wrong.physical_offset).windows(name.len()).position(|part| part == stand_in.as_bytes()).unwrap() as i64;
        drop(store);
        // Killed: nothing of the queues is on the disk.
        let fs = fs.crashed(ferrocket::store::Crash::Killed);
        let log = root.join("commitlog/00000000000000000000");
        for at in [wrong.physical_offset, last.physical_offset] {
            fs.damage(&log, (at + topic_at) as u64, name.as_bytes()).unwrap();
        }
        for start in ["after a kill", "after a stop"] {
            let store = open(&fs, root);
            assert_eq!(store.queue_offsets("orders", 0).unwrap(), 0..2, "{name:?} {start}");
            let unit = |offset| store.consume_queue_unit("orders", 0, offset).unwrap().unwrap().physical_offset;
            assert_eq!([unit(0), unit(1)], [before.physical_offset, behind.physical_offset], "{name:?} {start}");
            assert_eq!(store.max_phy_offset(), last.end_offset(), "{name:?} {start}");
            store.shutdown().unwrap();
        }
        require_inside(&fs, root, &[]);
    }
}

/// As above, with bytes that are no text at all.
#[test]
fn a_topic_that_is_no_text_does_not_end_the_log() {
    let (fs, root) = (MemoryFs::new(), Path::new("/data/store"));
    let store = open(&fs, root);
    let wrong = store.put_message(&message("ssss", 0, &[]));
    let behind = store.put_message(&message("orders", 0, &[]));
    let record = store.look_message(wrong.physical_offset).unwrap().unwrap();
    let topic_at = record.windows(4).position(|part| part == b"ssss").unwrap();
    drop(store);
    let fs = fs.crashed(ferrocket::store::Crash::Killed);
    fs.damage(&root.join("commitlog/00000000000000000000"), topic_at as u64, b"\xff\xfe\xff\xfe").unwrap();
    let store = open(&fs, root);
    assert_eq!((store.max_phy_offset(), store.queue_offsets("orders", 0).unwrap()), (behind.end_offset(), 0..1));
}

#[test]
fn a_directory_that_no_topic_can_have_is_left_alone() {
    let (fs, root) = (MemoryFs::new(), Path::new("/data/store"));
    for name in ["a\\b", "line\nbreak", "%RETRY%g", "CON"] {
        fs.create_dir_all(&root.join("consumequeue").join(name).join("0")).unwrap();
    }
    // Without a log a start removes what it takes for queues.
    let store = open(&fs, root);
    store.shutdown().unwrap();
    let left = |name: &str| fs.exists(&root.join("consumequeue").join(name).join("0"));
    assert!(left("a\\b") && left("line\nbreak"));
    assert!(!left("%RETRY%g") && !left("CON"));
}

async fn send(client: &mut Client, topic: &str, pairs: &[(&str, &str)]) -> (SendMessageResponseHeader, i64) {
    let header = support::send_header(topic, 0, pairs);
    let answer = client.call(java_request(request_code::SEND_MESSAGE).with_header(&header).with_body("body")).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    let sent: SendMessageResponseHeader = answer.header().unwrap();
    let (_, at) = parse_offset_id(&sent.msg_id).unwrap();
    (sent, at)
}

async fn on_memory() -> (TestBroker, MemoryFs, ManualClock) {
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().on(&fs).manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 4);
    (broker, fs, clock)
}

fn end_header(queue_offset: i64, physical_offset: i64) -> EndTransactionRequestHeader {
    EndTransactionRequestHeader {
        producer_group: Str::from("P"),
        tran_state_table_offset: queue_offset,
        commit_log_offset: physical_offset,
        commit_or_rollback: 8,
        msg_id: Str::from("key"),
        ..Default::default()
    }
}

/// The topics that a forged property may name: paths, and those that no producer may send to.
fn forged() -> Vec<String> {
    let mut names: Vec<String> = paths().into_iter().filter(|name| !name.contains(['\u{1}', '\u{2}'])).collect();
    // A directory could have this name, a record cannot: a delay level must not wait for it for ever.
    names.push("n".repeat(200));
    names.extend(
        ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC", "CON", "a:b", "orders"].map(str::to_owned),
    );
    names
}

/// A plain message that claims to be a half message, taken up by 323 and committed by 37: it used to be stored wherever it said.
#[tokio::test]
async fn a_plain_message_cannot_be_taken_up_as_a_half_message() {
    let (broker, fs, _clock) = on_memory().await;
    let mut client = broker.connect().await;
    let before = fs.paths();
    for name in forged() {
        for queue_id in ["0", "-1", "2147483647", "2147483648", "x"] {
            let pairs = [("REAL_TOPIC", &*name), ("REAL_QID", queue_id), ("PGROUP", "P"), ("UNIQ_KEY", "key")];
            let (sent, at) = send(&mut client, "orders", &pairs).await;
            let resume = ResumeCheckHalfMessageRequestHeader { msg_id: Some(sent.msg_id.clone()), ..Default::default() };
            let answer = client.call_with(request_code::RESUME_CHECK_HALF_MESSAGE, &resume).await;
            assert_eq!(answer.code, response_code::SYSTEM_ERROR, "{name:?}");
            assert_eq!(broker.broker.store.max_offset("RMQ_SYS_TRANS_HALF_TOPIC", 0).max(0), 0, "{name:?} became a half message");
            let answer = client.call_with(request_code::END_TRANSACTION, &end_header(sent.queue_offset, at)).await;
            assert_eq!(answer.code, response_code::SYSTEM_ERROR, "{name:?}");
        }
    }
    require_inside(&fs, broker.folder(), &before);
}

/// A half message of another broker's log that names a place where nobody may send.
#[tokio::test]
async fn a_half_message_is_committed_only_to_where_its_sender_could_have_sent() {
    let (broker, fs, clock) = on_memory().await;
    let mut client = broker.connect().await;
    let before = fs.paths();
    for name in forged() {
        for queue_id in ["0", "-1"] {
            let pairs = [("REAL_TOPIC", &*name), ("REAL_QID", queue_id), ("PGROUP", "P"), ("UNIQ_KEY", "key")];
            let put = broker.broker.transactions.put_half(&message("RMQ_SYS_TRANS_HALF_TOPIC", 0, &pairs));
            let answer = client.call_with(request_code::END_TRANSACTION, &end_header(put.queue_offset, put.physical_offset)).await;
            let code = match (&*name, queue_id) {
                ("orders" | "CON", "0") => response_code::SUCCESS,
                _ => response_code::MESSAGE_ILLEGAL,
            };
            assert_eq!((answer.code, remark(&answer).is_empty()), (code, code == response_code::SUCCESS), "{name:?} {queue_id}");
        }
    }
    // Nobody can be asked about them: they are given up when their time comes.
    let open = broker.broker.transactions.open_count() as i64;
    assert!(open > 0);
    broker.advance(&clock, Duration::from_secs(7)).await;
    broker.wait_until(|broker| broker.store.max_offset("TRANS_CHECK_MAX_TIME_TOPIC", 0) == open).await;
    require_inside(&fs, broker.folder(), &before);
}

/// A delayed message of another broker's log: it is passed over, and the level goes on.
#[tokio::test]
async fn a_delayed_message_goes_only_to_where_its_sender_could_have_sent() {
    let (broker, fs, clock) = on_memory().await;
    let before = fs.paths();
    let mut expected = 0;
    for name in forged() {
        for queue_id in ["0", "-1"] {
            let pairs = [("REAL_TOPIC", &*name), ("REAL_QID", queue_id), ("DELAY", "1")];
            assert!(broker.broker.store.put_message(&message("SCHEDULE_TOPIC_XXXX", 0, &pairs)).status.is_stored());
            expected += 1;
        }
    }
    broker.advance(&clock, Duration::from_secs(2)).await;
    let delivered = |broker: &ferrocket::broker::Broker| {
        broker.schedule.progress(&broker.store).iter().any(|level| level.level == 1 && level.delivered_offset == expected)
    };
    broker.wait_until(delivered).await;
    let store = &broker.broker.store;
    assert_eq!(["orders", "CON", "a:b"].map(|topic| store.max_offset(topic, 0)), [1, 1, 1]);
    assert_eq!(store.max_offset("SCHEDULE_TOPIC_XXXX", 0), expected, "nothing was delayed anew");
    require_inside(&fs, broker.folder(), &before);
}

/// A send's own REAL_TOPIC and REAL_QID count for nothing, delayed or not, half or not.
#[tokio::test]
async fn what_a_send_claims_about_its_real_topic_is_overwritten() {
    let (broker, fs, clock) = on_memory().await;
    let mut client = broker.connect().await;
    let before = fs.paths();
    let forged = [("REAL_TOPIC", "../../escaped"), ("REAL_QID", "-1"), ("UNIQ_KEY", "key")];
    send(&mut client, "orders", &[&forged[..], &[("DELAY", "1")]].concat()).await;
    broker.advance(&clock, Duration::from_secs(2)).await;
    broker.wait_until(|broker| broker.store.max_offset("orders", 0) == 1).await;
    let (half, at) = send(&mut client, "orders", &[&forged[..], &[("TRAN_MSG", "true"), ("PGROUP", "P")]].concat()).await;
    let answer = client.call_with(request_code::END_TRANSACTION, &end_header(half.queue_offset, at)).await;
    assert_eq!((answer.code, broker.broker.store.max_offset("orders", 0)), (response_code::SUCCESS, 2));
    require_inside(&fs, broker.folder(), &before);
}

/// Groups name retry and dead letter topics.
#[tokio::test]
async fn a_group_that_is_no_name_gets_no_topics() {
    let (broker, fs, _clock) = on_memory().await;
    let mut client = broker.connect().await;
    let before = fs.paths();
    let (_, at) = send(&mut client, "orders", &[]).await;
    for name in paths() {
        client.heartbeat(&support::consumer_heartbeat(&name, "c", &[("orders", "*")])).await;
        for delay_level in [-1, 0, 1] {
            let header = ConsumerSendMsgBackRequestHeader {
                offset: at,
                group: Str::copy_from(&name),
                delay_level: Some(delay_level),
                ..Default::default()
            };
            let answer = client.call_with(request_code::CONSUMER_SEND_MSG_BACK, &header).await;
            assert_ne!(answer.code, response_code::SUCCESS, "{name:?}");
        }
    }
    assert!(broker.broker.topics.names().iter().all(|topic| !topic.starts_with("%RETRY%") && !topic.starts_with("%DLQ%")));
    require_inside(&fs, broker.folder(), &before);
}
