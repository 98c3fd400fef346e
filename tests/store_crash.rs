// SPDX-License-Identifier: Apache-2.0
//! The machine stops before every single operation of the store on its disk: killed, or with the power cut. Whatever was
//! acknowledged must be there after the restart, in order, and what is there must be what was put.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::runtime::ManualClock;
use ferrocket::store::{
    AllMessages, ArrivalListener, Crash, FlushDiskType, GetMessage, GetMessageStatus, IndexType, MemoryFs, MessageStore, Operation,
    PutMessageStatus, QueryMax, StoreConfig,
};
use ferrocket_protocol::message::{MessageInner, decode, tags_code};
use proptest::prelude::*;

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

fn config(flush_disk_type: FlushDiskType) -> StoreConfig {
    StoreConfig {
        mapped_file_size_commit_log: 16 * 1024,
        mapped_file_size_consume_queue: 400,
        max_hash_slot_num: 50,
        max_index_num: 120,
        flush_disk_type,
        ..StoreConfig::at("/store")
    }
}

fn open(fs: &MemoryFs, clock: &ManualClock, config: &StoreConfig) -> Option<Arc<MessageStore>> {
    MessageStore::open(config.clone(), fs.shared(), Arc::new(clock.clone()), Arc::new(Nobody)).ok()
}

fn body_of(number: usize) -> String {
    format!("message {number} {}", "x".repeat(number * 37 % 400))
}

fn message(number: usize) -> MessageInner {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    MessageInner {
        topic: format!("T{}", number % 3).into(),
        queue_id: (number % 2) as i32,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from(body_of(number)),
        properties: Bytes::from(format!("KEYS\x01key{number}\x02TAGS\x01TagA\x02")),
        tags_code: tags_code("TagA"),
    }
}

/// What a run has been told: the last message number that was acknowledged as durable, and as taken.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    durable: usize,
    taken: usize,
}

/// Puts messages `from..to` and does the threads' work now and then, until the machine stops.
fn run(store: &MessageStore, clock: &ManualClock, from: usize, to: usize, told: &mut Told) {
    for number in from..to {
        if store.put_message(&message(number)).status != PutMessageStatus::PutOk {
            return;
        }
        told.taken = number + 1;
        if number % 7 == 6 {
            store.flush_log();
            if store.flushed_offset() < store.max_phy_offset() {
                return;
            }
            told.durable = number + 1;
        }
        if number % 20 == 19 {
            // One duty of the keeper after the other becomes due.
            clock.advance(Duration::from_secs(25));
            store.run_maintenance();
            store.build_index();
        }
    }
}

/// Everything that can be read, by topic and queue.
fn contents(store: &MessageStore, story: &str) -> BTreeMap<(String, i32), Vec<String>> {
    let mut contents = BTreeMap::new();
    for (topic, queue_id) in store.queues() {
        let mut bodies = Vec::new();
        let mut offset = store.min_offset(&topic, queue_id);
        assert_eq!(offset, 0, "{story}: nothing has expired");
        loop {
            let request = GetMessage { group: "G", topic: &topic, queue_id, offset, max_count: 32, max_bytes: 1 << 20 };
            let got = store.get_message_blocking(&request, &AllMessages).unwrap();
            for record in decode::records(&got.body) {
                let record = record.unwrap();
                let place = (record.topic, record.queue_id, record.queue_offset);
                assert_eq!(place, (&*topic, queue_id, bodies.len() as i64), "{story}");
                bodies.push(String::from_utf8(record.body.to_vec()).unwrap());
            }
            if got.status != GetMessageStatus::Found {
                assert!(
                    matches!(got.status, GetMessageStatus::OffsetOverflowOne | GetMessageStatus::NoMessageInQueue),
                    "{story}: {topic} {queue_id} at {offset}: {:?}",
                    got.status
                );
                break;
            }
            offset = got.next_begin_offset;
        }
        contents.insert((topic.to_string(), queue_id), bodies);
    }
    contents
}

/// What the first `count` messages are, by topic and queue.
fn expected(count: usize) -> BTreeMap<(String, i32), Vec<String>> {
    let mut expected: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for number in 0..count {
        expected.entry((format!("T{}", number % 3), (number % 2) as i32)).or_default().push(body_of(number));
    }
    expected
}

/// The store holds the first messages, at least `least` of them; how many.
fn assert_holds_first(store: &MessageStore, least: usize, most: usize, story: &str) -> usize {
    let found = contents(store, story);
    let count = found.values().map(Vec::len).sum();
    assert!((least..=most).contains(&count), "{story}: {count} messages instead of {least} to {most}");
    let found: BTreeMap<_, _> = found.into_iter().filter(|(_, bodies)| !bodies.is_empty()).collect();
    assert_eq!(found, expected(count), "{story}");
    count
}

/// Reopens after a crash, checks, goes on writing, stops in order, and checks again.
fn restart_and_check(fs: &MemoryFs, clock: &ManualClock, config: &StoreConfig, least: usize, most: usize, story: &str) {
    let store = MessageStore::open(config.clone(), fs.shared(), Arc::new(clock.clone()), Arc::new(Nobody))
        .unwrap_or_else(|error| panic!("{story}: {error}"));
    let count = assert_holds_first(&store, least, most, story);
    let mut told = Told::default();
    run(&store, clock, count, count + 30, &mut told);
    store.flush_log();
    assert_eq!(told.taken, count + 30, "{story}: it goes on");
    store.shutdown().unwrap_or_else(|error| panic!("{story}: {error}"));
    drop(store);
    assert!(!fs.crashed(Crash::Killed).metadata_exists("/store/abort"), "{story}");

    // After an orderly stop even a power cut takes nothing.
    let fs = fs.crashed(Crash::PowerCut(0));
    let store = open(&fs, clock, config).unwrap_or_else(|| panic!("{story}: does not open after an orderly stop"));
    assert_holds_first(&store, count + 30, count + 30, story);
    for number in [0, count / 2, count + 29] {
        let found = store.query_message(
            &format!("T{}", number % 3),
            &format!("key{number}"),
            QueryMax { count: 32, bytes: usize::MAX },
            0,
            i64::MAX,
            IndexType::Key,
        );
        assert_eq!(found.records.len(), 1, "{story}: key{number}");
    }
}

trait Exists {
    fn metadata_exists(&self, path: &str) -> bool;
}

impl Exists for MemoryFs {
    fn metadata_exists(&self, path: &str) -> bool {
        use ferrocket::store::Fs;
        self.exists(Path::new(path))
    }
}

const MESSAGES: usize = 130;

/// Stops the machine before operation `at` of a run. False when the run had fewer.
fn crash_at(at: u64, flush: FlushDiskType, crashes: &[Crash]) -> bool {
    let config = config(flush);
    let clock = ManualClock::at_millis(1_700_000_000_000);
    let fs = MemoryFs::new();
    fs.stop_before(at);
    let mut told = Told::default();
    let mut finished = false;
    if let Some(store) = open(&fs, &clock, &config) {
        run(&store, &clock, 0, MESSAGES, &mut told);
        finished = told.taken == MESSAGES && store.shutdown().is_ok();
    }
    for &crash in crashes {
        let least = match crash {
            Crash::Killed => told.taken,
            Crash::PowerCut(_) => told.durable,
        };
        let story = format!("{flush:?}, {crash:?} before operation {at}, {told:?}");
        restart_and_check(&fs.crashed(crash), &clock, &config, least, told.taken + 1, &story);
    }
    !finished
}

fn crash_everywhere(flush: FlushDiskType) {
    let mut at = 0_u64;
    loop {
        let crashes = [Crash::Killed, Crash::PowerCut(at % 2 * (at.wrapping_mul(0x9e37_79b9) + 7))];
        if !crash_at(at, flush, &crashes) {
            assert!(at > 300, "the run was long enough to mean something: {at}");
            return;
        }
        at += 1;
    }
}

#[test]
fn a_stop_before_any_operation_loses_nothing_acknowledged_with_async_flush() {
    crash_everywhere(FlushDiskType::Async);
}

#[test]
fn a_stop_before_any_operation_loses_nothing_acknowledged_with_sync_flush() {
    crash_everywhere(FlushDiskType::Sync);
}

/// More queues than one pass of the keeper writes: the machine stops between the passes of a round, while messages still come and a
/// topic goes.
#[test]
fn a_stop_in_the_middle_of_a_round_of_queue_writes_loses_nothing() {
    const QUEUES: usize = 400;
    let place = |queue: usize| (format!("T{}", queue / 8), (queue % 8) as i32);
    let config = StoreConfig { mapped_file_size_commit_log: 1 << 20, ..config(FlushDiskType::Async) };
    for passes in 0..=9 {
        let clock = ManualClock::at_millis(1_700_000_000_000);
        let fs = MemoryFs::new();
        let store = open(&fs, &clock, &config).unwrap();
        let mut sent: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut put = |queue: usize| {
            let (topic, queue_id) = place(queue);
            let bodies = sent.entry((topic.clone(), queue_id)).or_default();
            bodies.push(body_of(bodies.len()));
            let one = MessageInner { topic: topic.into(), queue_id, ..message(bodies.len() - 1) };
            assert_eq!(store.put_message(&one).status, PutMessageStatus::PutOk);
        };
        let mut written = Vec::new();
        for pass in 0..passes {
            // At first a message for each queue, then for some that had their turn, and for the one that has it last.
            (0..if pass == 0 { QUEUES } else { 60 }).for_each(&mut put);
            put(QUEUES - 1);
            clock.advance(Duration::from_millis(350));
            store.run_maintenance();
            let has_file = |queue: &usize| {
                let (topic, queue_id) = place(*queue);
                fs.metadata_exists(&format!("/store/consumequeue/{topic}/{queue_id}/00000000000000000000"))
            };
            written.push((0..QUEUES).filter(has_file).count());
        }
        assert!(written.iter().zip([128, 256, 384, 400]).all(|(written, expected)| *written == expected), "{written:?}");
        (100..103).for_each(&mut put);
        if passes % 2 == 1 {
            store.delete_topic("T11").unwrap();
            sent.retain(|(topic, _), _| topic != "T11");
        }
        store.flush_log();
        for crash in [Crash::Killed, Crash::PowerCut(passes)] {
            let story = format!("{crash:?} after {passes} passes");
            let store = open(&fs.crashed(crash), &clock, &config).unwrap();
            let mut found = contents(&store, &story);
            found.retain(|_, bodies| !bodies.is_empty());
            assert_eq!(found, sent, "{story}");
            store.shutdown().unwrap();
        }
        store.shutdown().unwrap();
    }
}

/// A second crash while the first one is being recovered from.
#[test]
fn a_crash_during_recovery_is_recovered_from() {
    let config = config(FlushDiskType::Async);
    for first in [Crash::Killed, Crash::PowerCut(3)] {
        let clock = ManualClock::at_millis(1_700_000_000_000);
        let fs = MemoryFs::new();
        let mut told = Told::default();
        let store = open(&fs, &clock, &config).unwrap();
        run(&store, &clock, 0, MESSAGES, &mut told);
        let least = if first == Crash::Killed { told.taken } else { told.durable };
        let image = fs.crashed(first);
        for at in 0.. {
            let fs = image.crashed(Crash::Killed);
            fs.stop_before(at);
            let opened = open(&fs, &clock, &config).is_some();
            for second in [Crash::Killed, Crash::PowerCut(at)] {
                let story = format!("{first:?}, then {second:?} before operation {at} of the recovery");
                // A second power cut may take what the first left by luck, but nothing that was durable.
                let least = if second == Crash::Killed { least } else { told.durable };
                restart_and_check(&fs.crashed(second), &clock, &config, least, told.taken, &story);
            }
            if opened {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_messages_and_takes_them_again_when_there_is_room() {
    for flush in [FlushDiskType::Async, FlushDiskType::Sync] {
        let config = StoreConfig { clean_file_forcibly_enable: false, ..config(flush) };
        let clock = ManualClock::at_millis(1_700_000_000_000);
        let fs = MemoryFs::new();
        fs.set_now_millis(1_700_000_000_000);
        let store = open(&fs, &clock, &config).unwrap();
        let mut told = Told::default();
        run(&store, &clock, 0, 50, &mut told);
        assert_eq!(told.taken, 50);
        fs.set_disk_bytes(fs.used_bytes() + 8 * 1024);
        run(&store, &clock, 50, 1_000, &mut told);
        assert!(told.taken < 1_000);
        assert_eq!(store.put_message(&message(told.taken)).status, PutMessageStatus::ServiceNotAvailable);
        assert!(!store.is_writable());
        store.flush_log();
        assert_holds_first(&store, told.taken, told.taken, "reads go on");
        fs.set_disk_bytes(1 << 40);
        store.clean();
        assert!(store.is_writable());
        let from = told.taken;
        run(&store, &clock, from, from + 100, &mut told);
        store.flush_log();
        assert_holds_first(&store, from + 100, from + 100, "after room was made");
        store.shutdown().unwrap();
    }
}

/// A failed sync is never tried again: nobody can know what the disk holds.
#[test]
fn a_failed_sync_ends_the_puts_but_not_the_reads() {
    let config = config(FlushDiskType::Sync);
    let clock = ManualClock::at_millis(1_700_000_000_000);
    let fs = MemoryFs::new();
    let store = open(&fs, &clock, &config).unwrap();
    let mut told = Told::default();
    run(&store, &clock, 0, 49, &mut told);
    assert_eq!(told.durable, 49);
    let put = store.put_message(&message(49));
    fs.fail(Operation::SyncData, "commitlog", io::ErrorKind::Other, 1);
    let (sender, answers) = std::sync::mpsc::channel();
    store.when_durable(&put, Box::new(move |status| sender.send(status).unwrap()));
    store.flush_log();
    assert_eq!(answers.recv().unwrap(), PutMessageStatus::FlushDiskTimeout);
    store.flush_log();
    assert_eq!(store.put_message(&message(50)).status, PutMessageStatus::ServiceNotAvailable);
    assert_holds_first(&store, 49, 49, "what was durable is readable");
    assert!(store.shutdown().is_err(), "the exit status says it");
    drop(store);
    restart_and_check(&fs.crashed(Crash::PowerCut(0)), &clock, &config, 49, 50, "after the restart");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any sequence of runs, kills, power cuts and orderly stops.
    #[test]
    fn any_sequence_of_stops_keeps_what_was_acknowledged(
        sync in any::<bool>(),
        steps in prop::collection::vec((1usize..80, 0u8..4, any::<u64>()), 1..6),
    ) {
        let config = config(if sync { FlushDiskType::Sync } else { FlushDiskType::Async });
        let clock = ManualClock::at_millis(1_700_000_000_000);
        let mut fs = MemoryFs::new();
        let (mut least, mut most) = (0, 0);
        // What a kill has left in the page cache is there after a restart, but no power cut later owes it.
        let mut durable = 0;
        for (count, stop, seed) in steps {
            let store = open(&fs, &clock, &config).expect("opens");
            let held = assert_holds_first(&store, least, most, "between");
            let mut told = Told { durable, taken: held };
            run(&store, &clock, held, held + count, &mut told);
            match stop {
                0 => {
                    store.shutdown().expect("stops in order");
                    told.durable = told.taken;
                    (least, most) = (told.taken, told.taken);
                    fs = fs.crashed(Crash::PowerCut(seed));
                }
                1 => {
                    (least, most) = (told.taken, told.taken);
                    fs = fs.crashed(Crash::Killed);
                }
                _ => {
                    (least, most) = (told.durable, told.taken);
                    fs = fs.crashed(Crash::PowerCut(seed));
                }
            }
            durable = told.durable;
        }
        restart_and_check(&fs, &clock, &config, least, most, "at the end");
    }
}
