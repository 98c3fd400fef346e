// SPDX-License-Identifier: Apache-2.0
//! The store through its door, on a real disk: what is put is got, before and after every kind of stop.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::runtime::{BoxFuture, Clock, ManualClock, Parker, Runtime, SystemClock};
use ferrocket::store::{
    AllMessages, AppendBy, ArrivalListener, Boundary, Crash, FlushDiskType, Fs, GetMessage, GetMessageResult, GetMessageStatus, IndexType,
    MappedFile, MemoryFs, MessageFilter, MessageStore, Operation, PutMessageStatus, QueryMax, RealFs, StoreConfig, StoreError,
};
use ferrocket_protocol::message::{MessageInner, MessageView, batch, decode, tags_code};
use parking_lot::Mutex;

#[derive(Default)]
struct Arrivals(Mutex<Vec<(String, i32, i64)>>);

impl ArrivalListener for Arrivals {
    fn arriving(&self, topic: &str, queue_id: i32, max_offset: i64, _tags_code: i64, _store_time: i64) {
        self.0.lock().push((topic.to_owned(), queue_id, max_offset));
    }
}

fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        mapped_file_size_commit_log: 1 << 20,
        mapped_file_size_consume_queue: 4_000,
        max_hash_slot_num: 1_000,
        max_index_num: 4_000,
        ..StoreConfig::at(root)
    }
}

fn open(config: StoreConfig) -> Arc<MessageStore> {
    try_open(config).unwrap()
}

fn try_open(config: StoreConfig) -> Result<Arc<MessageStore>, StoreError> {
    MessageStore::open(config, RealFs::shared(), SystemClock::shared(), Arc::new(Arrivals::default()))
}

fn message(topic: &str, queue_id: i32, body: impl Into<Bytes>) -> MessageInner {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    MessageInner {
        topic: topic.to_owned().into(),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.into(),
        properties: Bytes::from_static(b"TAGS\x01TagA\x02KEYS\x01k1 k2\x02"),
        tags_code: tags_code("TagA"),
    }
}

fn get(store: &MessageStore, topic: &str, queue_id: i32, offset: i64) -> GetMessageResult {
    let request = GetMessage { group: "G", topic, queue_id, offset, max_count: 32, max_bytes: 1 << 20 };
    store.get_message_blocking(&request, &AllMessages).unwrap()
}

/// All bodies of a queue, got as a consumer gets them.
fn bodies(store: &MessageStore, topic: &str, queue_id: i32) -> Vec<String> {
    let mut bodies = Vec::new();
    let mut offset = store.min_offset(topic, queue_id);
    loop {
        let got = get(store, topic, queue_id, offset);
        for record in decode::records(&got.body) {
            let record: MessageView<'_> = record.unwrap();
            assert_eq!(record.queue_offset, offset + (bodies.len() as i64 + store.min_offset(topic, queue_id) - offset));
            bodies.push(String::from_utf8(record.body.to_vec()).unwrap());
        }
        match got.status {
            GetMessageStatus::Found => offset = got.next_begin_offset,
            GetMessageStatus::OffsetOverflowOne | GetMessageStatus::NoMessageInQueue => return bodies,
            other => panic!("{other:?} at {offset}"),
        }
    }
}

fn put_many(store: &MessageStore, range: std::ops::Range<usize>) {
    for number in range {
        let put = store.put_message(&message("T", (number % 3) as i32, format!("body {number} {}", "x".repeat(number % 700))));
        assert_eq!(put.status, PutMessageStatus::PutOk);
        assert_eq!(put.queue_offset, (number / 3) as i64);
    }
}

fn assert_has(store: &MessageStore, count: usize) {
    for queue in 0..3 {
        let expected: Vec<String> =
            (0..count).filter(|number| number % 3 == queue).map(|number| format!("body {number} {}", "x".repeat(number % 700))).collect();
        assert_eq!(bodies(store, "T", queue as i32), expected, "queue {queue}");
    }
}

/// The file that follows is made ahead by the keeper and taken by the put that needs it: made again in between, it would be zeroed over
/// its records, and removed by the stop.
#[test]
fn the_keeper_makes_no_file_that_a_put_has_just_taken() {
    const MESSAGES: usize = 5_000;
    for flush_disk_type in [FlushDiskType::Sync, FlushDiskType::Async] {
        let fs = MemoryFs::new();
        let config = StoreConfig { mapped_file_size_commit_log: 4_096, flush_disk_type, ..config(Path::new("/store")) };
        let open = || {
            let clock = Arc::new(ManualClock::at_millis(1_700_000_000_000));
            MessageStore::open(config.clone(), fs.shared(), clock, Arc::new(Arrivals::default())).unwrap()
        };
        let store = open();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    store.run_maintenance();
                }
            });
            put_many(&store, 0..MESSAGES);
            ended.store(true, Ordering::Relaxed);
        });
        store.flush_log();
        assert_has(&store, MESSAGES);
        store.shutdown().unwrap();
        assert_has(&open(), MESSAGES);
    }
}

#[test]
fn what_is_put_is_got_after_an_orderly_stop_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let store = open(config.clone());
    put_many(&store, 0..5_000);
    assert_has(&store, 5_000);
    store.run_maintenance();
    assert_has(&store, 5_000);
    store.shutdown().unwrap();
    assert!(!dir.path().join("abort").exists());

    let store = open(config.clone());
    assert_has(&store, 5_000);
    put_many(&store, 5_000..6_000);
    store.run_maintenance();
    put_many(&store, 6_000..7_000);
    // Not shut down: what the process would leave when killed, its files and nothing else.
    drop(store);
    assert!(dir.path().join("abort").exists());

    let store = open(config.clone());
    assert_has(&store, 7_000);
    put_many(&store, 7_000..7_100);
    store.shutdown().unwrap();

    for gone in ["ferrocket.position", "checkpoint", "consumequeue"] {
        let path = dir.path().join(gone);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        }
        let store = open(config.clone());
        assert_has(&store, 7_100);
        store.shutdown().unwrap();
    }
}

#[test]
fn zeroes_that_are_written_ahead_never_meet_a_record() {
    const FILE_BYTES: usize = 32 * 1024 * 1024;
    const RECORD: [u8; 1000] = [0xA5; 1000];
    for by in [AppendBy::Mapping, AppendBy::Write] {
        let dir = tempfile::tempdir().unwrap();
        let file = MappedFile::create(&RealFs, &dir.path().join("0"), 0, FILE_BYTES).unwrap();
        file.reserve(FILE_BYTES).unwrap();
        let count = FILE_BYTES / RECORD.len();
        std::thread::scope(|threads| {
            // Always a little ahead only: the appends overtake it all the time.
            threads.spawn(|| {
                while file.published() < count * RECORD.len() {
                    file.write_ahead(by, file.published() + 1).unwrap();
                }
            });
            for number in 0..count {
                let at = number * RECORD.len();
                file.append(by, at, &RECORD).unwrap();
                file.publish(at + RECORD.len());
            }
        });
        let lost = file.read(0, count * RECORD.len()).iter().position(|byte| *byte != RECORD[0]);
        assert_eq!(lost, None, "{by:?}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let store = open(config.clone());
    put_many(&store, 0..100);
    let last = store.put_message(&message("T", 1, "torn"));
    drop(store);
    let log = dir.path().join("commitlog").join(format!("{:020}", 0));
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[last.physical_offset as usize + 89] ^= 0xff;
    std::fs::write(&log, bytes).unwrap();
    let store = open(config);
    assert_has(&store, 100);
    assert_eq!(store.max_phy_offset(), last.physical_offset);
    put_many(&store, 100..200);
    assert_has(&store, 200);
}

/// What lies behind damage cannot be part of the log any more, but no start removes it.
#[test]
fn records_behind_damage_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let store = open(config.clone());
    let places: Vec<i64> = (0..40).map(|_| store.put_message(&message("T", 0, vec![b'x'; 60_000])).physical_offset).collect();
    let end = store.max_phy_offset();
    drop(store);
    let log = |offset: i64| dir.path().join("commitlog").join(format!("{offset:020}"));
    let (first, second) = (std::fs::read(log(0)).unwrap(), std::fs::read(log(1 << 20)).unwrap());
    let damaged = places[4];
    let mut bytes = first.clone();
    bytes[damaged as usize + 200] ^= 1;
    std::fs::write(log(0), bytes).unwrap();
    std::fs::remove_file(dir.path().join("ferrocket.position")).unwrap();

    let store = open(config);
    assert_eq!(store.max_phy_offset(), damaged, "offsets go on from the last whole record");
    let kept = dir.path().join(format!("commitlog.behind.{damaged:020}"));
    assert_eq!(std::fs::read(kept.join(format!("{:020}", 1 << 20))).unwrap(), second);
    assert!(kept.join(format!("{:020}", 2 << 20)).exists() && end > 2 << 20);
    let rest = std::fs::read(kept.join(format!("{damaged:020}"))).unwrap();
    let next = (places[5] - damaged) as usize;
    assert_eq!(rest[next..], first[places[5] as usize..], "with what the damaged file has behind it");
    assert_eq!(store.put_message(&message("T", 0, "on")).queue_offset, 4);
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(config(dir.path()));
    // POSIX record locks do not keep one process from itself: another process tries.
    let held = std::process::Command::new("python3")
        .args([
            "-c",
            "import fcntl,sys\nf=open(sys.argv[1],'r+')\ntry:\n fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB,1)\nexcept OSError: sys.exit(7)",
        ])
        .arg(dir.path().join("lock"))
        .status();
    match held {
        Ok(status) => assert_eq!(status.code(), Some(7)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "no python on this machine: not shown"),
    }
}

/// DefaultMessageStore.java#getMessage.
#[test]
fn offsets_outside_the_queue_are_corrected_as_in_java() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(config(dir.path()));
    let outcome = |offset| {
        let got = get(&store, "T", 0, offset);
        (got.status, got.next_begin_offset)
    };
    assert_eq!(outcome(7), (GetMessageStatus::NoMessageInQueue, 0));
    put_many(&store, 0..30);
    assert_eq!(outcome(10), (GetMessageStatus::OffsetOverflowOne, 10));
    assert_eq!(outcome(11), (GetMessageStatus::OffsetOverflowBadly, 10));
    assert_eq!(outcome(-1), (GetMessageStatus::OffsetTooSmall, 0));
    assert_eq!(outcome(3), (GetMessageStatus::Found, 10));
}

#[test]
fn a_get_is_limited_by_count_and_bytes_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(config(dir.path()));
    for _ in 0..100 {
        store.put_message(&message("T", 0, vec![b'x'; 1000]));
    }
    let count = |max_count, max_bytes| {
        let request = GetMessage { group: "G", topic: "T", queue_id: 0, offset: 0, max_count, max_bytes };
        store.get_message_blocking(&request, &AllMessages).unwrap().message_count
    };
    assert_eq!(count(5, 1 << 20), 5);
    assert_eq!(count(200, 1 << 20), 32, "maxTransferCountOnMessageInMemory");
    assert_eq!(count(32, 2_500), 2);
    assert_eq!(count(32, 100), 1);
    assert_eq!(count(0, 1 << 20), 1, "the first message always fits");
}

/// Nobody wants such messages.
struct NoMessages;

impl MessageFilter for NoMessages {
    fn matches_unit(&self, _tags_code: i64) -> bool {
        false
    }
}

/// A consumer whose tag nobody sends does not have a whole queue looked through for it at one go.
#[test]
fn a_get_looks_at_no_more_units_than_max_filter_message_size_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(StoreConfig { max_filter_message_size: 200, ..config(dir.path()) });
    for _ in 0..50 {
        store.put_message(&message("T", 0, "x"));
    }
    let outcome = |offset, max_count| {
        let request = GetMessage { group: "G", topic: "T", queue_id: 0, offset, max_count, max_bytes: 1 << 20 };
        let got = store.get_message_blocking(&request, &NoMessages).unwrap();
        (got.status, got.next_begin_offset)
    };
    assert_eq!(outcome(0, 5), (GetMessageStatus::NoMatchedMessage, 10), "200 bytes of units");
    assert_eq!(outcome(10, 30), (GetMessageStatus::NoMatchedMessage, 40), "or as many as are asked for");
    assert_eq!(outcome(45, 5), (GetMessageStatus::NoMatchedMessage, 50));
}

/// What an answer's body has room for is about what is in it, also when small messages follow a large one.
#[test]
fn an_answer_keeps_no_room_for_messages_that_did_not_come() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(config(dir.path()));
    store.put_message(&message("T", 0, vec![b'x'; 8_000]));
    for _ in 0..50 {
        store.put_message(&message("T", 0, "small"));
    }
    let got = get(&store, "T", 0, 0);
    assert_eq!(got.message_count, 32);
    let len = got.body.len();
    let room = got.body.try_into_mut().unwrap().capacity();
    assert!(room <= 2 * (len + 4 * 1024), "{room} bytes for {len}");
}

/// A query names how many messages it wants, but no more than `maxMsgsNumBatch` are read for it.
#[test]
fn a_query_finds_no_more_messages_than_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(StoreConfig { max_msgs_num_batch: 5, ..config(dir.path()) });
    for _ in 0..20 {
        store.put_message(&message("T", 0, "x"));
    }
    let found = |max| store.query_message("T", "k1", QueryMax { count: max, bytes: usize::MAX }, 0, i64::MAX, IndexType::Key).records.len();
    assert_eq!((found(3), found(1_000), found(usize::MAX)), (3, 5, 5));
}

#[test]
fn a_batch_is_consecutive_and_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(config(dir.path()));
    let mut body = Vec::new();
    for number in 0..10 {
        batch::encode_item(number, format!("item {number}").as_bytes(), format!("TAGS\x01Tag{number}\x02").as_bytes(), &mut body);
    }
    let put = store.put_messages(&message("T", 0, body.clone()));
    assert_eq!((put.status, put.message_count, put.queue_offset), (PutMessageStatus::PutOk, 10, 0));
    assert_eq!(put.physical_offsets.len(), 10);
    assert_eq!(store.consume_queue_unit("T", 0, 3).unwrap().unwrap().tags_code, tags_code("Tag3"));
    assert_eq!(bodies(&store, "T", 0), (0..10).map(|number| format!("item {number}")).collect::<Vec<_>>());
    body.truncate(body.len() - 1);
    // Java fails by an exception here, as for a batch that is too long.
    assert_eq!(store.put_messages(&message("T", 0, body)).status, PutMessageStatus::UnknownError);
    assert_eq!(store.max_offset("T", 0), 10);
}

#[test]
fn sizes_are_refused_as_in_java() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(StoreConfig { max_message_size: 1_000, ..config(dir.path()) });
    let status = |message: &MessageInner| store.put_message(message).status;
    assert_eq!(status(&message("T", 0, vec![0; 1_001])), PutMessageStatus::MessageIllegal);
    assert_eq!(status(&message("T", 0, vec![0; 1_000])), PutMessageStatus::PutOk);
    assert_eq!(status(&message(&"t".repeat(128), 0, "x")), PutMessageStatus::MessageIllegal);
    assert_eq!(status(&message(&format!("%RETRY%{}", "g".repeat(200)), 0, "x")), PutMessageStatus::PutOk);
    let long = MessageInner { properties: Bytes::from(vec![b'p'; 32_768]), ..message("T", 0, "x") };
    assert_eq!(status(&long), PutMessageStatus::PropertiesSizeExceeded);
}

#[tokio::test]
async fn sync_flush_answers_when_the_group_is_on_the_disk_and_only_then_shows_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let arrivals = Arc::new(Arrivals::default());
    let config = StoreConfig { flush_disk_type: FlushDiskType::Sync, ..config(dir.path()) };
    let store = MessageStore::open(config, RealFs::shared(), SystemClock::shared(), Arc::clone(&arrivals) as _).unwrap();
    let put = store.put_message(&message("T", 0, "waits"));
    assert!(put.needs_wait());
    assert_eq!(store.max_offset("T", 0), 0, "an offset that may be given out again is not shown");
    let runtime = Runtime::current(SystemClock::shared());
    store.start(&runtime).unwrap();
    let (sender, receiver) = mpsc::channel();
    for number in 0..200 {
        let put = store.put_message(&message("T", 0, format!("{number}")));
        let sender = sender.clone();
        store.when_durable(&put, Box::new(move |status| sender.send((number, status)).unwrap()));
    }
    for _ in 0..200 {
        let (_, status) = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(status, PutMessageStatus::PutOk);
    }
    assert_eq!(store.max_offset("T", 0), 201);
    assert_eq!(store.flushed_offset(), store.max_phy_offset());
    assert_eq!(arrivals.0.lock().len(), 201);
    let unwaited = MessageInner { properties: Bytes::from_static(b"WAIT\x01false\x02"), ..message("T", 0, "x") };
    assert!(!store.put_message(&unwaited).needs_wait());
    store.shutdown().unwrap();
    assert!(runtime.stop(Duration::from_secs(5)).await);
}

#[test]
fn a_deleted_topic_is_gone_and_can_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let store = open(config.clone());
    put_many(&store, 0..300);
    store.put_message(&message("Other", 0, "stays"));
    store.run_maintenance();
    store.delete_topic("T").unwrap();
    assert!(!dir.path().join("consumequeue/T").exists());
    assert_eq!(store.max_offset("T", 0), 0);
    assert_eq!(store.put_message(&message("T", 0, "anew")).queue_offset, 0);
    assert_eq!(bodies(&store, "T", 0), ["anew"]);
    store.shutdown().unwrap();
    let store = open(config);
    assert_eq!(bodies(&store, "T", 0), ["anew"]);
    assert_eq!(bodies(&store, "Other", 0), ["stays"]);
}

/// ConsumeQueue.java#getOffsetInQueueByTime.
#[test]
fn offsets_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ferrocket::runtime::ManualClock::at_millis(1_000_000);
    let store = MessageStore::open(config(dir.path()), RealFs::shared(), Arc::new(clock.clone()), Arc::new(Arrivals::default())).unwrap();
    for _ in 0..3 {
        for _ in 0..2 {
            store.put_message(&message("T", 0, "x"));
        }
        clock.advance(Duration::from_millis(100));
    }
    let at = |time: i64, boundary| store.offset_by_time("T", 0, 1_000_000 + time, boundary).unwrap();
    assert_eq!(
        [at(-1, Boundary::Lower), at(0, Boundary::Lower), at(1, Boundary::Lower), at(100, Boundary::Lower), at(201, Boundary::Lower)],
        [0, 0, 2, 2, 6]
    );
    assert_eq!(
        [at(-1, Boundary::Upper), at(0, Boundary::Upper), at(50, Boundary::Upper), at(100, Boundary::Upper), at(900, Boundary::Upper)],
        [0, 1, 1, 3, 5]
    );
}

/// An answer like that of an empty queue would send its consumers back to 0.
#[test]
fn a_queue_that_cannot_be_loaded_is_not_taken_for_an_empty_one() {
    let fs = MemoryFs::new();
    let open = || {
        let config = config(Path::new("/store"));
        MessageStore::open(config, fs.shared(), SystemClock::shared(), Arc::new(Arrivals::default())).unwrap()
    };
    let store = open();
    put_many(&store, 0..30);
    store.shutdown().unwrap();
    drop(store);
    let store = open();
    fs.fail(Operation::Open, "consumequeue/T/0/", std::io::ErrorKind::Other, usize::MAX);
    let request = |topic| GetMessage { group: "G", topic, queue_id: 0, offset: 5, max_count: 32, max_bytes: 1 << 20 };
    assert!(store.get_message(&request("T"), &AllMessages).unwrap().would_block);
    assert!(store.get_message_blocking(&request("T"), &AllMessages).is_none());
    assert!(store.queue_offsets("T", 0).is_err());
    assert!(store.offset_by_time("T", 0, 0, Boundary::Lower).is_err());
    assert!(store.consume_queue_unit("T", 0, 5).is_err() && store.message_store_time("T", 0, 5).is_err());
    assert_eq!(store.queue_offsets("T", 1).unwrap(), 0..10, "its neighbour is not concerned");
    assert_eq!(store.queue_offsets("U", 0).unwrap(), 0..0, "a queue that is not there");
    assert_eq!(get(&store, "U", 0, 5).status, GetMessageStatus::NoMessageInQueue);
    fs.heal();
    assert_eq!(store.queue_offsets("T", 0).unwrap(), 0..10);
    let got = get(&store, "T", 0, 5);
    assert_eq!((got.status, got.next_begin_offset, got.message_count), (GetMessageStatus::Found, 10, 5));
}

/// A recovery reads the log from the last checkpoint on: it must not take the old messages of a topic that was deleted for those
/// of one that was made since.
#[test]
fn a_topic_made_again_after_its_deletion_keeps_its_messages_over_a_crash() {
    for crash in [Crash::Killed, Crash::PowerCut(0)] {
        let fs = MemoryFs::new();
        let open = |fs: &MemoryFs| {
            let config = config(Path::new("/store"));
            MessageStore::open(config, fs.shared(), SystemClock::shared(), Arc::new(Arrivals::default())).unwrap()
        };
        let store = open(&fs);
        assert_eq!(store.put_message(&message("U", 0, "other")).queue_offset, 0);
        for number in 0..10 {
            assert_eq!(store.put_message(&message("T", 0, format!("old {number}"))).queue_offset, number);
        }
        store.run_maintenance();
        store.delete_topic("T").unwrap();
        for number in 0..3 {
            assert_eq!(store.put_message(&message("T", 0, format!("new {number}"))).queue_offset, number);
        }
        store.flush_log();
        let store = open(&fs.crashed(crash));
        assert_eq!(bodies(&store, "T", 0), ["new 0", "new 1", "new 2"], "{crash:?}");
        assert_eq!(bodies(&store, "U", 0), ["other"], "{crash:?}");
    }
}

/// As above, when nothing follows the deletion: the topic does not come back.
#[test]
fn a_deleted_topic_stays_deleted_over_a_kill_and_removed_queues_are_built_again() {
    let fs = MemoryFs::new();
    let open = |fs: &MemoryFs| {
        let config = config(Path::new("/store"));
        MessageStore::open(config, fs.shared(), SystemClock::shared(), Arc::new(Arrivals::default())).unwrap()
    };
    let store = open(&fs);
    store.put_message(&message("U", 0, "other"));
    store.put_message(&message("T", 0, "old"));
    store.run_maintenance();
    store.delete_topic("T").unwrap();
    let killed = fs.crashed(Crash::Killed);
    let store = open(&killed);
    assert_eq!(store.queues(), [(Arc::from("U"), 0)]);
    drop(store);

    let without_queues = fs.crashed(Crash::Killed);
    without_queues.remove_file(Path::new("/store/consumequeue/U/0/00000000000000000000")).unwrap();
    for dir in ["/store/consumequeue/U/0", "/store/consumequeue/U"] {
        without_queues.remove_dir(Path::new(dir)).unwrap();
    }
    let store = open(&without_queues);
    assert_eq!(bodies(&store, "U", 0), ["other"], "the mark after the deletion is not believed without the queues that were left");
}

/// What the disk cannot read is an error: no signal, and no message that seems to be gone.
#[test]
fn a_part_of_the_log_that_cannot_be_read_is_an_error() {
    let fs = MemoryFs::new();
    let mut config = config(Path::new("/store"));
    config.mapped_file_size_commit_log = 8 << 20;
    config.max_message_size = 4 << 20;
    let store = MessageStore::open(config, fs.shared(), SystemClock::shared(), Arc::new(Arrivals::default())).unwrap();
    let first = store.put_message(&message("T", 0, "first"));
    for _ in 0..6 {
        assert_eq!(store.put_message(&message("T", 0, vec![b'x'; 3 << 20])).status, PutMessageStatus::PutOk);
    }
    assert!(store.look_message(first.physical_offset).unwrap().is_some());
    fs.fail(Operation::Read, "commitlog/00000000000000000000", std::io::ErrorKind::Other, usize::MAX);
    assert!(store.look_message(first.physical_offset).is_err());
    assert!(store.message_store_time("T", 0, 0).is_err());
    assert!(store.offset_by_time("T", 0, first.store_timestamp, Boundary::Lower).is_err());
    assert!(store.message_store_time("T", 0, 6).unwrap() > 0, "the newest part is in memory");
    fs.heal();
    assert_eq!(store.look_message(first.physical_offset).unwrap().unwrap().len(), first.record_bytes as usize);
}

/// A clock that goes on by a millisecond whenever it is asked: everything takes its time.
#[derive(Debug)]
struct Ticking(ManualClock);

impl Clock for Ticking {
    fn now_millis(&self) -> i64 {
        self.0.now_millis()
    }

    fn nanos(&self) -> u64 {
        self.0.advance(Duration::from_millis(1));
        self.0.nanos()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.0.sleep(duration)
    }

    fn park(&self, parker: &Parker, timeout: Duration) -> bool {
        self.0.park(parker, timeout)
    }
}

/// Making the files of 80,000 new queues takes longer than a stop may: those that are not written are made from the log again.
#[test]
fn a_stop_does_not_wait_for_the_files_of_all_queues() {
    const TOPICS: usize = 500;
    let fs = MemoryFs::new();
    let open_on = |fs: &MemoryFs| {
        let clock = Arc::new(Ticking(ManualClock::at_millis(1_700_000_000_000)));
        MessageStore::open(config(Path::new("/store")), fs.shared(), clock, Arc::new(Arrivals::default())).unwrap()
    };
    let written = |fs: &MemoryFs| fs.shared().read_dir(Path::new("/store/consumequeue")).unwrap().len();
    let topic = |number: usize| format!("T{number}");
    let store = open_on(&fs);
    for number in 0..TOPICS {
        for queue_id in 0..8 {
            assert!(store.put_message(&message(&topic(number), queue_id, "x")).status.is_stored());
        }
    }
    store.shutdown().unwrap();
    let after_stop = written(&fs);
    assert!((1..TOPICS).contains(&after_stop), "{after_stop} of {TOPICS}: it wrote as long as it might");
    assert!(fs.shared().exists(Path::new("/store/abort")), "so that a Java broker too makes the others from the log");
    drop(store);

    for after in [fs.crashed(Crash::Killed), fs.crashed(Crash::PowerCut(0))] {
        let store = open_on(&after);
        for number in 0..TOPICS {
            for queue_id in 0..8 {
                assert_eq!(store.max_offset(&topic(number), queue_id), 1, "{}-{queue_id}", topic(number));
            }
        }
        assert!(written(&after) < TOPICS, "nor does the start wait");
        while written(&after) < TOPICS {
            store.run_maintenance();
        }
        store.shutdown().unwrap();
        assert!(!after.shared().exists(Path::new("/store/abort")), "now all are written");
    }
}
