// SPDX-License-Identifier: Apache-2.0
//! Files of the store that were damaged while nobody looked: what is damaged is found, mended from the log where the log has it, and
//! never hides what follows it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ferrocket::runtime::ManualClock;
use ferrocket::store::{
    AllMessages, ArrivalListener, Crash, Fs, GetMessage, GetMessageStatus, IndexType, MemoryFs, MessageStore, PutMessageStatus, QueryMax,
    RealFs, StoreConfig,
};
use ferrocket_protocol::message::{MessageInner, decode};

const START_MILLIS: i64 = 1_700_000_000_000;
const UNIT_BYTES: u64 = 20;
/// Units of a ConsumeQueue file.
const FILE_UNITS: u64 = 20;

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

fn config() -> StoreConfig {
    StoreConfig {
        mapped_file_size_commit_log: 16 * 1024,
        mapped_file_size_consume_queue: (FILE_UNITS * UNIT_BYTES) as usize,
        max_hash_slot_num: 50,
        max_index_num: 120,
        delete_when: String::new(),
        ..StoreConfig::at("/store")
    }
}

fn open_on(fs: Arc<dyn Fs>, config: StoreConfig) -> Arc<MessageStore> {
    MessageStore::open(config, fs, Arc::new(ManualClock::at_millis(START_MILLIS)), Arc::new(Nobody)).unwrap()
}

fn open(fs: &MemoryFs) -> Arc<MessageStore> {
    fs.set_now_millis(START_MILLIS);
    open_on(fs.shared(), config())
}

fn message(number: usize) -> MessageInner {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    MessageInner {
        topic: "T".into(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: START_MILLIS,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from(format!("{number:0300}")),
        properties: Bytes::from(format!("KEYS\x01key{number}\x02TAGS\x01A\x02")),
        tags_code: ferrocket_protocol::message::tags_code("A"),
    }
}

/// Messages of the queue, and between any two of them one of another.
fn put(store: &MessageStore, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let put = store.put_message(&message(number));
        assert_eq!((put.status, put.queue_offset), (PutMessageStatus::PutOk, number as i64));
        let other = MessageInner { topic: "U".into(), ..message(number) };
        assert_eq!(store.put_message(&other).status, PutMessageStatus::PutOk);
    }
}

/// The numbers of the messages of the queue, from its minimum on.
fn numbers(store: &MessageStore) -> Vec<usize> {
    let mut numbers = Vec::new();
    let mut offset = store.min_offset("T", 0);
    loop {
        let request = GetMessage { group: "G", topic: "T", queue_id: 0, offset, max_count: 32, max_bytes: 1 << 20 };
        let got = store.get_message_blocking(&request, &AllMessages).unwrap();
        for record in decode::records(&got.body) {
            let record = record.unwrap();
            numbers.push(std::str::from_utf8(record.body).unwrap().parse::<usize>().unwrap());
            assert_eq!(record.queue_offset, *numbers.last().unwrap() as i64);
        }
        if matches!(got.status, GetMessageStatus::OffsetOverflowOne | GetMessageStatus::NoMessageInQueue) {
            return numbers;
        }
        assert!(got.next_begin_offset > offset, "{:?} at {offset}", got.status);
        offset = got.next_begin_offset;
    }
}

fn all_but(count: usize, missing: &[usize]) -> Vec<usize> {
    (0..count).filter(|number| !missing.contains(number)).collect()
}

/// The file of queue 0 of T that holds a unit, and where.
fn place_of(unit: u64) -> (PathBuf, u64) {
    let at = unit * UNIT_BYTES;
    let start = at - at % (FILE_UNITS * UNIT_BYTES);
    (PathBuf::from(format!("/store/consumequeue/T/0/{start:020}")), at - start)
}

fn overwrite(fs: &MemoryFs, unit: u64, bytes: &[u8; UNIT_BYTES as usize]) {
    let (path, at) = place_of(unit);
    fs.damage(&path, at, bytes).unwrap();
}

/// The file of the log that holds the record of a unit of queue 0, and where.
fn place_in_log(fs: &MemoryFs, topic: &str, unit: u64) -> (PathBuf, u64) {
    let (path, at) = place_of(unit);
    let bytes = fs.read(Path::new(&path.to_str().unwrap().replace("/T/", &format!("/{topic}/")))).unwrap();
    let record = u64::from_be_bytes(bytes[at as usize..at as usize + 8].try_into().unwrap());
    let start = record - record % (16 * 1024);
    (PathBuf::from(format!("/store/commitlog/{start:020}")), record - start)
}

/// What a store of so many messages leaves when it is stopped in order, and when it is killed.
fn left_behind(count: usize) -> [MemoryFs; 2] {
    let fs = MemoryFs::new();
    let store = open(&fs);
    put(&store, 0..count);
    store.flush_log();
    store.run_maintenance();
    let killed = fs.crashed(Crash::Killed);
    store.shutdown().unwrap();
    [fs, killed]
}

/// Twenty bytes that are no unit, and some that are one but lead to no message.
fn nonsense() -> [(&'static str, [u8; UNIT_BYTES as usize]); 6] {
    let unit = |physical_offset: i64, size: i32| {
        let mut bytes = [0; UNIT_BYTES as usize];
        bytes[..8].copy_from_slice(&physical_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&size.to_be_bytes());
        bytes
    };
    [
        ("zeroes", [0; UNIT_BYTES as usize]),
        ("a negative offset", unit(i64::MIN, 450)),
        ("no size", unit(450, 0)),
        ("an offset behind the log", unit(i64::MAX, 450)),
        ("an offset inside a record", unit(17, 450)),
        ("a size of a gigabyte", unit(450, 1 << 30)),
    ]
}

/// ConsumeQueue.java#recover ends a queue at the first unit that is not there; what follows is overwritten.
#[test]
fn units_that_are_damaged_are_made_from_the_log_and_hide_nothing() {
    for (name, bytes) in nonsense() {
        for units in [vec![50], vec![40], vec![40, 41, 42, 43, 44], vec![45, 49, 50, 57], vec![39, 40], vec![0], vec![3, 19, 20, 55]] {
            for fs in left_behind(59) {
                for &unit in &units {
                    overwrite(&fs, unit, &bytes);
                }
                for _ in 0..2 {
                    let store = open(&fs);
                    assert_eq!(store.max_offset("T", 0), 59, "{name} at {units:?}");
                    assert_eq!(numbers(&store), all_but(59, &[]), "{name} at {units:?}");
                    store.shutdown().unwrap();
                }
                let store = open(&fs);
                put(&store, 59..70);
                store.run_maintenance();
                assert_eq!(numbers(&store), all_but(70, &[]), "{name} at {units:?}");
                for &unit in &units {
                    let unit = store.consume_queue_unit("T", 0, unit as i64).unwrap().unwrap();
                    assert_eq!(unit.tags_code, message(0).tags_code);
                }
            }
        }
    }
}

/// The last ones too, when they are not merely zeroes: those look as if nothing had been there.
#[test]
fn nonsense_at_the_end_of_a_queue_does_not_end_it() {
    for (name, bytes) in nonsense().into_iter().filter(|(name, _)| matches!(*name, "an offset inside a record" | "a size of a gigabyte")) {
        for units in [58..59, 40..59, 57..59] {
            let [fs, _] = left_behind(59);
            for unit in units.clone() {
                overwrite(&fs, unit, &bytes);
            }
            let store = open(&fs);
            assert_eq!(numbers(&store), all_but(59, &[]), "{name} at {units:?}");
            put(&store, 59..70);
            assert_eq!(numbers(&store), all_but(70, &[]), "{name} at {units:?}");
        }
    }
}

#[test]
fn a_file_that_is_missing_between_others_is_made_from_the_log() {
    for fs in left_behind(70) {
        fs.remove_file(&place_of(20).0).unwrap();
        fs.remove_file(&place_of(40).0).unwrap();
        let store = open(&fs);
        assert_eq!(numbers(&store), all_but(70, &[]));
        store.shutdown().unwrap();
    }
}

/// The original passes over a unit whose message it cannot read.
#[test]
fn a_unit_whose_record_is_damaged_as_well_stays_blank_and_what_follows_is_delivered() {
    let [fs, _] = left_behind(59);
    let store = open(&fs);
    let record = store.consume_queue_unit("T", 0, 50).unwrap().unwrap().physical_offset as u64;
    store.shutdown().unwrap();
    let log_file = record - record % (16 * 1024);
    fs.damage(Path::new(&format!("/store/commitlog/{log_file:020}")), record - log_file + 4, &[0; 4]).unwrap();
    overwrite(&fs, 50, &[0; 20]);
    for _ in 0..2 {
        let store = open(&fs);
        assert_eq!(numbers(&store), all_but(59, &[50]));
        assert_eq!(store.consume_queue_unit("T", 0, 50).unwrap(), None);
        store.shutdown().unwrap();
    }
}

/// A damaged record must not reach a client, which would lose the rest of its answer with it.
#[test]
fn a_damaged_record_is_passed_over_and_what_follows_is_delivered() {
    let [fs, _] = left_behind(59);
    let store = open(&fs);
    let mut missing = Vec::new();
    for (number, (at, bytes)) in
        [(0, vec![0; 8]), (0, vec![0x7f; 4]), (4, vec![0; 4]), (28, vec![1; 8]), (0, vec![0xff; 60])].into_iter().enumerate()
    {
        let number = 10 + 3 * number;
        let record = store.consume_queue_unit("T", 0, number as i64).unwrap().unwrap().physical_offset as u64;
        let log_file = record - record % (16 * 1024);
        fs.damage(Path::new(&format!("/store/commitlog/{log_file:020}")), record - log_file + at, &bytes).unwrap();
        missing.push(number);
    }
    for _ in 0..2 {
        assert_eq!(numbers(&store), all_but(59, &missing));
    }
    put(&store, 59..70);
    assert_eq!(numbers(&store), all_but(70, &missing));
    store.shutdown().unwrap();
    let store = open(&fs);
    assert_eq!(numbers(&store), all_but(70, &missing));
}

/// On a file system that keeps holes, where a look behind the end costs next to nothing.
#[test]
fn a_page_that_is_gone_on_a_real_disk_is_mended() {
    const COUNT: usize = 1_500;
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        mapped_file_size_commit_log: 1 << 20,
        mapped_file_size_consume_queue: 6_000_000,
        ..StoreConfig { store_path_root_dir: dir.path().to_owned(), ..StoreConfig::at(dir.path()) }
    };
    let file = dir.path().join("consumequeue/T/0/00000000000000000000");
    let fs = RealFs::shared();
    let store = open_on(Arc::clone(&fs), config.clone());
    put(&store, 0..COUNT);
    store.shutdown().unwrap();
    for (at, len) in [(0, 4096), (4096, 4096), (8192, 8192), (0, 20), (4080, 20), (20 * (COUNT as u64 - 2), 20)] {
        fs.open(&file).unwrap().zero(at, len).unwrap();
        let store = open_on(Arc::clone(&fs), config.clone());
        assert_eq!(numbers(&store), all_but(COUNT, &[]), "{len} bytes at {at}");
        store.shutdown().unwrap();
    }
}

/// An expired file is one whose last message has expired, whatever its last unit says.
#[test]
fn damage_at_the_end_of_a_file_expires_no_message_before_it() {
    let fs = MemoryFs::new();
    let store = open(&fs);
    put(&store, 0..100);
    store.flush_log();
    store.run_maintenance();
    // The first file of the log ends in the middle of a file of the queue.
    let first_in_second = (0..100).find(|&offset| store.consume_queue_unit("T", 0, offset).unwrap().unwrap().physical_offset >= 16 * 1024);
    let first_in_second = first_in_second.unwrap();
    let last_of_file = (first_in_second as u64 / FILE_UNITS + 1) * FILE_UNITS - 1;
    assert!(last_of_file > first_in_second as u64);
    overwrite(&fs, last_of_file, &[0; 20]);
    fs.set_disk_bytes(fs.used_bytes() * 100 / 88);
    store.clean();
    let expired = store.min_phy_offset();
    assert!(expired > 0);
    let first = numbers(&store)[0] as i64;
    assert!(store.consume_queue_unit("T", 0, first).unwrap().unwrap().physical_offset >= expired);
    assert!(expired > 16 * 1024 || first == first_in_second);
}

/// The index is made from the log, so what is damaged of it is made again.
#[test]
fn a_damaged_index_file_is_built_again_with_all_later_ones() {
    const COUNT: usize = 200;
    let finds = |store: &MessageStore, number: usize| {
        !store
            .query_message("T", &format!("key{number}"), QueryMax { count: 32, bytes: usize::MAX }, 0, i64::MAX, IndexType::Key)
            .records
            .is_empty()
    };
    for damage in 0..4 {
        let [fs, _] = left_behind(COUNT);
        let mut names: Vec<_> = fs.read_dir(Path::new("/store/index")).unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        assert!(names.len() > 3);
        let path = Path::new("/store/index").join(&names[1]);
        let file = fs.open(&path).unwrap();
        match damage {
            0 => file.set_len(file.len().unwrap() / 2).unwrap(),
            1 => file.set_len(30).unwrap(),
            2 => fs.damage(&path, 36, &i32::MAX.to_be_bytes()).unwrap(),
            _ => fs.damage(&path, 16, &i64::MAX.to_be_bytes()).unwrap(),
        }
        let store = open(&fs);
        let lost: Vec<usize> = (0..COUNT).filter(|number| !finds(&store, *number)).collect();
        assert_eq!(lost, Vec::<usize>::new(), "damage {damage}");
        store.shutdown().unwrap();
    }
}

/// The log is read from its first record, where the marks of what is on the disk lead nowhere: a kill in the middle of a delete, a lost
/// `ferrocket.position`. It holds the messages of both lives of the topic.
#[test]
fn a_topic_that_was_deleted_and_made_anew_keeps_its_new_messages_when_the_log_is_read_again() {
    let fs = MemoryFs::new();
    let store = open(&fs);
    put(&store, 0..50);
    store.delete_topic("T").unwrap();
    for number in 0..10 {
        assert_eq!(store.put_message(&message(number)).queue_offset, number as i64);
    }
    let killed = fs.crashed(Crash::Killed);
    for mark in ["ferrocket.position", "checkpoint"] {
        killed.remove_file(Path::new(&format!("/store/{mark}"))).unwrap();
    }
    assert_eq!(numbers(&open(&killed)), all_but(10, &[]));
}

/// What cannot be read today may be read tomorrow: a place in the queue that is made blank meanwhile would lose its message for good.
#[test]
fn a_unit_whose_part_of_the_log_cannot_be_read_is_mended_when_it_can() {
    for fs in left_behind(59) {
        // Unit 50 is missed when the queue is loaded, unit 3 by a get.
        let records = [50, 3].map(|unit| (unit, place_in_log(&fs, "T", unit)));
        records.iter().for_each(|(unit, _)| overwrite(&fs, *unit, &[0; 20]));
        let store = open(&fs);
        for (unit, (log_file, at)) in records {
            fs.break_sector(log_file.to_str().unwrap(), at + 200);
            let request = GetMessage { group: "G", topic: "T", queue_id: 0, offset: 3, max_count: 32, max_bytes: 1 << 20 };
            assert!(store.get_message_blocking(&request, &AllMessages).is_none(), "unit {unit} is looked for");
            fs.heal();
        }
        assert_eq!(numbers(&store), all_but(59, &[]));
    }
}

/// A recovery that meets a gap in a queue looks for its units in the log before: where it cannot be read nothing is made of it.
#[test]
fn a_start_that_cannot_read_what_it_mends_fails_and_the_next_one_mends() {
    let fs = MemoryFs::new();
    let store = open(&fs);
    put(&store, 0..40);
    store.flush_log();
    store.run_maintenance();
    put(&store, 40..59);
    let killed = fs.crashed(Crash::Killed);
    let (file, at) = place_in_log(&killed, "T", 36);
    // The queue ends before what the recovery reads.
    (35..40).for_each(|unit| overwrite(&killed, unit, &[0; 20]));
    killed.break_sector(file.to_str().unwrap(), at + 200);
    let clock = Arc::new(ManualClock::at_millis(START_MILLIS));
    let why = MessageStore::open(config(), killed.shared(), clock, Arc::new(Nobody)).err().map(|error| error.to_string());
    assert!(why.as_ref().is_some_and(|why| why.contains(file.to_str().unwrap())), "{why:?}");
    killed.heal();
    assert_eq!(numbers(&open(&killed)), all_but(59, &[]));
}

/// A file that does not belong among those of a queue is not a full disk.
#[test]
fn a_foreign_file_among_those_of_a_queue_is_told_as_broken_files() {
    let [fs, _] = left_behind(5);
    fs.create(Path::new("/store/consumequeue/T/0/notes.txt")).unwrap();
    let store = open(&fs);
    assert_eq!(store.put_message(&message(5)).status, PutMessageStatus::CreateMappedFileFailed);
    assert_eq!(store.unwritable_why(), None, "other queues take messages");
}

/// The directories beside the log with what lay behind damage.
fn set_aside(fs: &MemoryFs) -> Vec<PathBuf> {
    let names = fs.read_dir(Path::new("/store")).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("commitlog.behind.")).map(|name| Path::new("/store").join(name)).collect()
}

/// A store that was killed, all of whose log is read by the next start.
fn read_from_the_start(count: usize) -> MemoryFs {
    let [_, killed] = left_behind(count);
    ["ferrocket.position", "checkpoint"].iter().for_each(|mark| killed.remove_file(&Path::new("/store").join(mark)).unwrap());
    killed
}

/// Records behind the damage cannot be part of the log any more, but no start makes zeroes of them: also of those in the same file, and
/// of those in a later one whose first record is damaged as well.
#[test]
fn records_behind_damage_are_set_aside_in_the_last_file_too() {
    for (story, damaged) in [("in the last file", 67), ("in several", 3)] {
        let fs = read_from_the_start(70);
        let last = place_in_log(&fs, "U", 69).0;
        let (file, at) = place_in_log(&fs, "T", damaged);
        let whole = fs.read(&file).unwrap();
        fs.damage(&file, at + 150, b"?").unwrap();
        assert_eq!(file == last, damaged > 50, "{story}");
        if file != last {
            fs.damage(&last, 150, b"?").unwrap();
        }
        let last_whole = fs.read(&last).unwrap();
        let damaged = damaged as usize;
        let store = open(&fs);
        assert_eq!(numbers(&store), all_but(damaged, &[]), "{story}");
        let end = store.max_phy_offset();
        let kept = PathBuf::from(format!("/store/commitlog.behind.{end:020}"));
        assert_eq!(set_aside(&fs), std::slice::from_ref(&kept), "{story}");
        let rest = fs.read(&kept.join(format!("{end:020}"))).unwrap();
        assert!(rest[200..] == whole[at as usize + 200..], "{story}");
        if last != file {
            assert!(fs.read(&kept.join(last.file_name().unwrap())).unwrap() == last_whole, "{story}");
        }
        put(&store, damaged..80);
        store.shutdown().unwrap();
        assert_eq!(numbers(&open(&fs)), all_but(80, &[]), "{story}");
        assert_eq!(set_aside(&fs), [kept], "{story}");
    }
}

/// A record that was not finished when the machine stopped is no damage, and nothing of it is kept.
#[test]
fn a_torn_tail_is_not_set_aside() {
    let fs = read_from_the_start(59);
    // Behind the last message of T there is one of U.
    let (path, at) = place_in_log(&fs, "U", 58);
    fs.damage(&path, at + 150, &[0; 500]).unwrap();
    let store = open(&fs);
    assert_eq!((store.max_offset("T", 0), store.max_offset("U", 0)), (59, 58));
    assert_eq!(set_aside(&fs), [] as [PathBuf; 0]);
}

/// While a topic's queues go a mark that needs none of them is on the disk: a start after a crash reads nothing that lies before.
#[test]
fn a_crash_while_a_topic_is_deleted_does_not_cost_the_whole_log() {
    let [fs, _] = left_behind(59);
    let store = open(&fs);
    assert_eq!(store.put_message(&message(59)).queue_offset, 59, "the last record is the topic's");
    store.shutdown().unwrap();
    for at in 0.. {
        let fs = fs.crashed(Crash::Killed);
        let store = open(&fs);
        fs.stop_before(fs.operations() + at);
        let is_done = store.delete_topic("T").is_ok();
        for crash in [Crash::Killed, Crash::PowerCut(0)] {
            let left = fs.crashed(crash);
            left.break_sector("/commitlog/00000000000000000000", 8 * 1024);
            let clock = Arc::new(ManualClock::at_millis(START_MILLIS));
            let store = MessageStore::open(config(), left.shared(), clock, Arc::new(Nobody));
            let store = store.unwrap_or_else(|error| panic!("{crash:?} before operation {at}: {error}"));
            assert_eq!(store.max_offset("U", 0), 59);
            assert!(!is_done || store.max_offset("T", 0) == 0, "{crash:?}");
        }
        if is_done {
            assert!(at > 10, "{at}");
            return;
        }
    }
}

fn remove_files(fs: &MemoryFs, topic: &str, starts: impl Iterator<Item = u64>) {
    let dir = PathBuf::from(format!("/store/consumequeue/{topic}/0"));
    starts.for_each(|start| fs.remove_file(&dir.join(format!("{:020}", start * UNIT_BYTES))).unwrap());
}

/// What a directory of ConsumeQueues may lose, of a queue of three files with 59 units.
type Loss = fn(&MemoryFs, &str);
const LOSSES: [(&str, Loss); 6] = [
    ("its last file", |fs, topic| remove_files(fs, topic, [40].into_iter())),
    ("its last two files", |fs, topic| remove_files(fs, topic, [20, 40].into_iter())),
    ("all its files", |fs, topic| remove_files(fs, topic, [0, 20, 40].into_iter())),
    ("its directory", |fs, topic| {
        remove_files(fs, topic, [0, 20, 40].into_iter());
        fs.remove_dir(Path::new(&format!("/store/consumequeue/{topic}/0"))).unwrap();
    }),
    ("its topic's directory", |fs, topic| {
        LOSSES[3].1(fs, topic);
        fs.remove_dir(Path::new(&format!("/store/consumequeue/{topic}"))).unwrap();
    }),
    ("its last units", |fs, topic| {
        let (path, at) = place_of(45);
        fs.damage(Path::new(&path.to_str().unwrap().replace("/T/", &format!("/{topic}/"))), at, &[0; 14 * 20]).unwrap();
    }),
];

/// A queue that lost its end looks like one that never had it: its offsets would go to other messages, which consumers then pass over. The
/// queue U has the last record of the log.
#[test]
fn a_queue_that_lost_its_end_after_an_orderly_stop_gives_no_offset_twice() {
    for (story, lose) in LOSSES {
        for topics in [&["T"][..], &["U"], &["T", "U"]] {
            let [fs, _] = left_behind(59);
            topics.iter().for_each(|topic| lose(&fs, topic));
            // Also when nobody looked at it before a kill.
            for fs in [fs.crashed(Crash::Killed), {
                open(&fs);
                fs.crashed(Crash::Killed)
            }] {
                for _ in 0..2 {
                    let store = open(&fs);
                    assert_eq!(store.queue_offsets("U", 0).unwrap(), 0..59, "{story} of {topics:?}");
                    assert!((0..59).all(|offset| store.consume_queue_unit("U", 0, offset).unwrap().is_some()), "{story} of {topics:?}");
                    assert_eq!(numbers(&store), all_but(59, &[]), "{story} of {topics:?}");
                    store.shutdown().unwrap();
                }
                let store = open(&fs);
                put(&store, 59..70);
                store.shutdown().unwrap();
                assert_eq!(numbers(&open(&fs)), all_but(70, &[]), "{story} of {topics:?}");
            }
        }
    }
}

/// Where nothing says how the queues ended, the log's own last records say that a queue has nothing of what came before.
#[test]
fn a_queue_that_is_gone_does_not_begin_at_its_last_message() {
    let [fs, _] = left_behind(59);
    LOSSES[4].1(&fs, "U");
    fs.remove_file(Path::new("/store/ferrocket.queues")).unwrap();
    // Damage in the middle of the log costs its own record.
    let (file, at) = place_in_log(&fs, "T", 20);
    fs.damage(&file, at, &[0; 300]).unwrap();
    for _ in 0..2 {
        let store = open(&fs);
        assert_eq!(store.queue_offsets("U", 0).unwrap(), 0..59);
        assert!((0..59).all(|offset| store.consume_queue_unit("U", 0, offset).unwrap().is_some()));
        store.shutdown().unwrap();
    }
}

#[test]
fn the_first_files_of_a_queue_are_made_from_the_log() {
    for (is_known, lost) in [(true, &[0][..]), (false, &[0]), (false, &[0, 20])] {
        let [fs, _] = left_behind(70);
        if !is_known {
            fs.remove_file(Path::new("/store/ferrocket.queues")).unwrap();
        }
        remove_files(&fs, "T", lost.iter().copied());
        for _ in 0..2 {
            let store = open(&fs);
            assert_eq!(store.min_offset("T", 0), 0, "{lost:?}");
            assert_eq!(numbers(&store), all_but(70, &[]), "{lost:?}");
            store.shutdown().unwrap();
        }
    }
}

/// The log no longer has what the queue lost: no other message gets its offsets.
#[test]
fn offsets_of_a_lost_queue_whose_messages_have_expired_are_not_used_again() {
    for (story, lose) in LOSSES {
        let [fs, _] = left_behind(59);
        let store = open(&fs);
        for number in 59..150 {
            assert_eq!(store.put_message(&MessageInner { topic: "U".into(), ..message(number) }).status, PutMessageStatus::PutOk);
        }
        store.flush_log();
        store.run_maintenance();
        fs.set_disk_bytes(fs.used_bytes() * 100 / 88);
        (0..10).for_each(|_| store.clean());
        assert!(store.min_phy_offset() > 0);
        assert_eq!(store.queue_offsets("T", 0).unwrap(), 59..59, "{story}");
        store.shutdown().unwrap();
        fs.set_disk_bytes(1 << 40);
        if fs.read_dir(Path::new("/store/consumequeue/T/0")).unwrap().len() == 3 {
            lose(&fs, "T");
        } else {
            remove_files(&fs, "T", [40].into_iter());
        }
        for _ in 0..2 {
            let store = open(&fs);
            assert_eq!(store.queue_offsets("T", 0).unwrap(), 59..59, "{story}");
            store.shutdown().unwrap();
        }
        assert_eq!(open(&fs).put_message(&message(59)).queue_offset, 59, "{story}");
    }
}

/// DefaultMessageStore.java#start leaves a word in `lock`; what such a broker did to the queues we do not know.
#[test]
fn where_the_queues_ended_is_not_believed_after_another_broker() {
    let [fs, _] = left_behind(59);
    fs.open(Path::new("/store/lock")).unwrap().write_at(b"lock", 0).unwrap();
    LOSSES[4].1(&fs, "T");
    for _ in 0..2 {
        let store = open(&fs);
        assert_eq!(store.queues(), [(Arc::from("U"), 0)], "it deleted the topic");
        store.shutdown().unwrap();
        assert_eq!(fs.metadata(Path::new("/store/lock")).unwrap().len, 0, "from now on the word is ours");
    }
    LOSSES[4].1(&fs, "U");
    assert_eq!(open(&fs).queue_offsets("U", 0).unwrap(), 0..59);
}

#[test]
fn a_topic_that_was_deleted_since_the_last_orderly_stop_is_not_missed() {
    let [fs, _] = left_behind(59);
    let store = open(&fs);
    store.delete_topic("T").unwrap();
    assert_eq!(open(&fs.crashed(Crash::Killed)).queues(), [(Arc::from("U"), 0)]);
    store.shutdown().unwrap();
    assert_eq!(open(&fs).queues(), [(Arc::from("U"), 0)]);
}

#[test]
fn a_damaged_word_of_where_the_queues_ended_is_not_believed() {
    let file = Path::new("/store/ferrocket.queues");
    let [fs, _] = left_behind(59);
    for at in (0..fs.metadata(file).unwrap().len).step_by(5) {
        let fs = fs.crashed(Crash::Killed);
        let byte = fs.read(file).unwrap()[at as usize];
        fs.damage(file, at, &[!byte]).unwrap();
        assert_eq!(numbers(&open(&fs)), all_but(59, &[]), "{at}");
    }
}

/// Damage that ends the log early takes messages that consumers may have had: those that follow get other offsets.
#[test]
fn offsets_of_messages_that_the_log_has_lost_are_not_used_again() {
    let [fs, _] = left_behind(59);
    let killed = {
        open(&fs);
        fs.crashed(Crash::Killed)
    };
    ["ferrocket.position", "checkpoint"].iter().for_each(|mark| killed.remove_file(&Path::new("/store").join(mark)).unwrap());
    let (file, at) = place_in_log(&killed, "T", 40);
    killed.damage(&file, at + 150, b"?").unwrap();
    for _ in 0..2 {
        let store = open(&killed);
        assert_eq!(numbers(&store), all_but(40, &[]));
        assert_eq!((store.max_offset("T", 0), store.max_offset("U", 0)), (59, 59));
        store.shutdown().unwrap();
    }
    let store = open(&killed);
    put(&store, 59..60);
    assert_eq!(numbers(&store), all_but(60, &(40..59).collect::<Vec<_>>()));
}
