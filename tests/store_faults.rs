// SPDX-License-Identifier: Apache-2.0
//! What the store makes of a disk and a machine that fail it: no descriptor left, a sync that failed, no space, a bad sector. Only a
//! sync that failed ends the puts; everything else is refused or waits, is tried again, and nothing that was promised is lost.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::runtime::ManualClock;
use ferrocket::store::{
    AllMessages, ArrivalListener, Crash, FlushDiskType, Fs, GetMessage, GetMessageStatus, IndexType, MemoryFs, MessageStore, Operation,
    PutMessageStatus, QueryMax, StoreConfig,
};
use ferrocket_protocol::message::{MessageInner, decode};

const START_MILLIS: i64 = 1_700_000_000_000;
/// flushConsumeQueueThoroughInterval, and a little.
const QUEUE_SYNC: Duration = Duration::from_secs(61);

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

struct Life {
    fs: MemoryFs,
    clock: ManualClock,
    config: StoreConfig,
    store: Arc<MessageStore>,
}

fn open(fs: &MemoryFs, clock: &ManualClock, config: &StoreConfig) -> Arc<MessageStore> {
    MessageStore::open(config.clone(), fs.shared(), Arc::new(clock.clone()), Arc::new(Nobody)).unwrap()
}

impl Life {
    fn new(change: impl FnOnce(&mut StoreConfig)) -> Self {
        Self::on(MemoryFs::new(), change)
    }

    fn on(fs: MemoryFs, change: impl FnOnce(&mut StoreConfig)) -> Self {
        let mut config = StoreConfig {
            mapped_file_size_commit_log: 16 * 1024,
            mapped_file_size_consume_queue: 400,
            max_hash_slot_num: 50,
            max_index_num: 120,
            delete_when: String::new(),
            ..StoreConfig::at("/store")
        };
        change(&mut config);
        fs.set_now_millis(START_MILLIS);
        let clock = ManualClock::at_millis(START_MILLIS);
        let store = open(&fs, &clock, &config);
        Self { fs, clock, config, store }
    }

    fn put(&self, number: usize) -> PutMessageStatus {
        self.store.put_message(&message(number)).status
    }

    fn put_all(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            assert_eq!(self.put(number), PutMessageStatus::PutOk, "{number}");
        }
    }

    /// The keeper's and the indexer's work after so much time.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.store.run_maintenance();
    }

    /// A start on what a power cut leaves now. Seed 0 keeps nothing that was not synced.
    fn after_power_cut(&self, seed: u64) -> Arc<MessageStore> {
        open(&self.fs.crashed(Crash::PowerCut(seed)), &self.clock, &self.config)
    }

    /// Up to where `ferrocket.position` says that units are written, and durable (docs/formats.md).
    fn marks(&self) -> (i64, i64) {
        let bytes = self.fs.crashed(Crash::Killed).read(Path::new("/store/ferrocket.position")).unwrap();
        let long = |slot: &[u8], index: usize| i64::from_be_bytes(slot[index * 8..index * 8 + 8].try_into().unwrap());
        let newest = bytes.chunks_exact(128).max_by_key(|slot| long(slot, 1)).unwrap();
        (long(newest, 4), long(newest, 7))
    }
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
        properties: Bytes::from(format!("KEYS\x01key{number}\x02")),
        tags_code: 0,
    }
}

/// The numbers of the messages of the queue, from its minimum on.
fn numbers(store: &MessageStore) -> Vec<usize> {
    let mut numbers = Vec::new();
    let mut offset = store.min_offset("T", 0);
    loop {
        let request = GetMessage { group: "G", topic: "T", queue_id: 0, offset, max_count: 32, max_bytes: 1 << 20 };
        let got = store.get_message_blocking(&request, &AllMessages).unwrap();
        numbers
            .extend(decode::records(&got.body).map(|record| std::str::from_utf8(record.unwrap().body).unwrap().parse::<usize>().unwrap()));
        if got.status != GetMessageStatus::Found {
            return numbers;
        }
        offset = got.next_begin_offset;
    }
}

fn finds_key(store: &MessageStore, number: usize) -> bool {
    !store
        .query_message("T", &format!("key{number}"), QueryMax { count: 32, bytes: usize::MAX }, 0, i64::MAX, IndexType::Key)
        .records
        .is_empty()
}

/// EMFILE at the opening of a file or a directory that is to be synced has lost nothing.
#[test]
fn a_sync_that_could_not_begin_is_tried_again_and_the_mark_stays_meanwhile() {
    for after_a_kill in [false, true] {
        let mut life = Life::new(|config| config.flush_disk_type = FlushDiskType::Async);
        if after_a_kill {
            // The first sync is of everything.
            life = Life::on(life.fs.crashed(Crash::Killed), |_| ());
        }
        life.put_all(0..10);
        life.store.flush_log();
        if !after_a_kill {
            life.pass(QUEUE_SYNC);
            life.pass(QUEUE_SYNC);
            life.pass(Duration::from_secs(1));
            assert!(life.marks().1 > 0);
        }
        let before = life.marks().1;
        life.put_all(10..50);
        life.store.flush_log();
        life.pass(Duration::from_secs(1));
        life.fs.set_open_files_max(life.fs.open_files());
        life.pass(QUEUE_SYNC);
        life.pass(QUEUE_SYNC);
        life.pass(Duration::from_secs(2));
        assert!(life.store.is_writable(), "it is no failed sync");
        assert_eq!(life.marks().1, before, "what is not synced is not said to be");
        for seed in 0..20 {
            assert_eq!(numbers(&life.after_power_cut(seed)), (0..50).collect::<Vec<_>>(), "{seed}");
        }
        life.fs.set_open_files_max(usize::MAX);
        let other = MessageInner { topic: "U".into(), ..message(50) };
        assert_eq!(life.store.put_message(&other).status, PutMessageStatus::PutOk);
        life.store.flush_log();
        for _ in 0..4 {
            life.pass(Duration::from_secs(2));
        }
        assert!(life.marks().1 > before, "it was tried again");
        for seed in 0..20 {
            assert_eq!(numbers(&life.after_power_cut(seed)), (0..50).collect::<Vec<_>>(), "what waited is there too: {seed}");
        }
        life.store.shutdown().unwrap();
    }
}

/// After a sync that failed the kernel may have dropped what was written: neither mark may speak of it, on this boot or another.
#[test]
fn after_a_failed_queue_sync_no_mark_says_that_units_are_there() {
    for operation in [Operation::SyncData, Operation::SyncDir] {
        let life = Life::new(|_| ());
        life.put_all(0..10);
        life.store.flush_log();
        life.pass(Duration::from_secs(1));
        life.pass(Duration::from_secs(1));
        assert!(life.marks().0 > 0 && life.marks().1 < 0, "{:?}", life.marks());
        // The first sync after a start that was in order is of single queues.
        life.fs.fail(operation, "consumequeue", io::ErrorKind::Other, 1);
        life.pass(QUEUE_SYNC);
        assert!(!life.store.is_writable());
        assert_eq!(life.put(10), PutMessageStatus::ServiceNotAvailable);
        for _ in 0..3 {
            // A second sync would succeed, and say nothing of the pages that are gone.
            assert!(life.store.delete_topic("other").is_err());
            life.pass(QUEUE_SYNC);
            assert_eq!(life.marks(), (-1, -1), "{operation:?}");
        }
        assert_eq!(numbers(&life.store), (0..10).collect::<Vec<_>>(), "reads go on");
        assert!(life.store.shutdown().is_err());
    }
}

/// A sync of the log that fails while queues are being synced takes its share with it.
#[test]
fn a_queue_sync_behind_a_failed_flush_moves_no_mark() {
    let life = Life::new(|_| ());
    life.put_all(0..10);
    life.store.flush_log();
    life.pass(Duration::from_secs(1));
    life.put_all(10..11);
    life.fs.fail(Operation::SyncData, "commitlog", io::ErrorKind::Other, 1);
    life.store.flush_log();
    // All that was written before lies below the flushed end: the sync of the queues itself succeeds.
    assert!(life.store.delete_topic("other").is_err());
    life.pass(Duration::from_secs(1));
    assert_eq!(life.marks(), (-1, -1));
}

/// A restart after a power cut reads no more of the log than half a gigabyte, however seldom queues are synced otherwise. A log that
/// begins there is as good as one that has grown so far.
#[test]
fn half_a_gigabyte_of_log_is_not_left_without_synced_queues() {
    const MIB: i64 = 1 << 20;
    for (begins, is_synced) in [(511 * MIB, false), (512 * MIB, true)] {
        let fs = MemoryFs::new();
        fs.create_dir_all(Path::new("/store/commitlog")).unwrap();
        fs.create(Path::new(&format!("/store/commitlog/{begins:020}"))).unwrap().set_len(16 * 1024).unwrap();
        let life = Life::on(fs, |config| config.flush_consume_queue_thorough_interval = 3_600_000);
        life.put_all(0..10);
        for _ in 0..3 {
            life.pass(Duration::from_secs(6));
        }
        assert!(life.marks().0 > begins, "written: {:?}", life.marks());
        assert_eq!(life.marks().1 > begins, is_synced, "synced: {:?}", life.marks());
    }
}

/// Each of many index files is opened for a look; only the one that grows stays open.
#[test]
fn hundreds_of_index_files_need_few_descriptors() {
    const MESSAGES: usize = 500;
    let life = Life::new(|config| {
        (config.max_index_num, config.max_hash_slot_num) = (2, 3);
        (config.mapped_file_size_commit_log, config.mapped_file_size_consume_queue) = (1 << 20, 20_000);
    });
    let few = life.fs.open_files() + 16;
    life.fs.set_open_files_max(few);
    life.put_all(0..MESSAGES);
    life.store.build_index();
    let files = life.fs.read_dir(Path::new("/store/index")).unwrap().len();
    assert!(files >= MESSAGES, "{files}");
    life.store.flush_log();
    life.store.shutdown().unwrap();
    drop(life.store);
    let store = open(&life.fs, &life.clock, &life.config);
    for number in [0, MESSAGES / 2, MESSAGES - 1] {
        assert!(finds_key(&store, number), "{number}");
    }
    assert_eq!(store.put_message(&message(MESSAGES)).status, PutMessageStatus::PutOk);
    assert!(finds_key(&store, MESSAGES));
    store.shutdown().unwrap();
}

/// What the disk has of a file whose sync failed nobody knows; the index is made from the log, so it is made again.
#[test]
fn an_index_file_whose_sync_failed_is_made_again() {
    let life = Life::new(|_| ());
    life.put_all(0..100);
    life.store.build_index();
    let first = life.fs.read_dir(Path::new("/store/index")).unwrap()[0].name.clone();
    life.fs.fail(Operation::SyncData, "index", io::ErrorKind::Other, 1);
    life.put_all(100..200);
    life.clock.advance(Duration::from_secs(1));
    life.store.build_index();
    life.store.build_index();
    let names: Vec<_> = life.fs.read_dir(Path::new("/store/index")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(!names.contains(&first) && names.len() == 2, "{names:?}");
    assert!((0..200).all(|number| finds_key(&life.store, number)));
    assert!(life.store.is_writable(), "no message depends on the index");
}

/// Without space for the index or a queue's file nothing is lost or littered; with space everything goes on.
#[test]
fn a_disk_without_space_for_new_files_refuses_and_recovers() {
    for (operation, path) in
        [(Operation::Create, "index"), (Operation::Write, "index"), (Operation::Create, "consumequeue"), (Operation::Write, "consumequeue")]
    {
        let life = Life::new(|_| ());
        life.put_all(0..5);
        life.fs.fail(operation, path, io::ErrorKind::StorageFull, usize::MAX);
        for _ in 0..10 {
            life.pass(Duration::from_millis(200));
            life.store.build_index();
        }
        assert!(path == "index" || !life.store.is_writable(), "{operation:?} {path}");
        assert!(life.fs.read_dir(Path::new("/store/index")).unwrap().len() <= 1, "{operation:?} {path}");
        life.fs.heal();
        life.pass(Duration::from_millis(200));
        assert!(life.store.is_writable(), "{operation:?} {path}");
        life.put_all(5..10);
        assert_eq!(numbers(&life.store), (0..10).collect::<Vec<_>>());
        assert!((0..10).all(|number| finds_key(&life.store, number)), "{operation:?} {path}");
        life.store.shutdown().unwrap();
    }
}

/// A log file that cannot be made is refused, not poison; the next put makes it.
#[test]
fn puts_go_on_when_the_next_file_of_the_log_can_be_made_again() {
    let life = Life::new(|_| ());
    life.fs.fail(Operation::Create, "commitlog/00000000000000016384", io::ErrorKind::StorageFull, usize::MAX);
    let mut taken = 0;
    while life.put(taken) == PutMessageStatus::PutOk {
        taken += 1;
    }
    assert_eq!(life.put(taken), PutMessageStatus::CreateMappedFileFailed);
    life.fs.heal();
    life.put_all(taken..taken + 50);
    assert_eq!(numbers(&life.store), (0..taken + 50).collect::<Vec<_>>());
}

/// But a sync that failed is not tried again, whatever it is of: what the kernel has dropped of the file nobody can know.
#[test]
fn a_new_file_of_the_log_whose_sync_failed_ends_the_puts() {
    for (operation, path) in [(Operation::SyncData, "commitlog/00000000000000016384"), (Operation::SyncDir, "commitlog")] {
        let life = Life::new(|_| ());
        life.put_all(0..1);
        life.fs.fail(operation, path, io::ErrorKind::Other, 1);
        let mut taken = 1;
        while life.put(taken) == PutMessageStatus::PutOk {
            taken += 1;
            assert!(taken < 1_000, "a new file was made without {operation:?}");
        }
        assert!(!life.store.is_writable(), "{operation:?}");
        assert_eq!(life.put(taken), PutMessageStatus::ServiceNotAvailable);
        assert_eq!(numbers(&life.store), (0..taken).collect::<Vec<_>>(), "reads go on");
        assert!(life.store.shutdown().is_err());
    }
}

/// How far the index is behind is told, also while its files hang on the disk.
#[test]
fn what_the_index_lacks_is_behind() {
    let life = Life::new(|_| ());
    life.put_all(0..10);
    assert_eq!(life.store.dispatch_behind_bytes(), life.store.max_phy_offset());
    life.store.build_index();
    assert_eq!(life.store.dispatch_behind_bytes(), 0);
    life.put_all(10..11);
    assert!(life.store.dispatch_behind_bytes() > 0);
    let stall = life.fs.stall("index");
    std::thread::scope(|scope| {
        scope.spawn(|| life.store.build_index());
        while stall.waiting_count() == 0 {
            std::thread::yield_now();
        }
        assert!(life.store.dispatch_behind_bytes() > 0);
        drop(stall);
    });
    let without = Life::new(|config| config.message_index_enable = false);
    without.put_all(0..10);
    assert_eq!(without.store.dispatch_behind_bytes(), 0, "there is nothing to be behind");
}

/// Store times never go back with a clock that is corrected a little: an offset is searched for by time.
#[test]
fn store_times_do_not_go_back_with_a_clock_that_is_set_back_a_little() {
    let life = Life::new(|_| ());
    life.clock.advance(Duration::from_secs(10));
    let first = life.store.put_message(&message(0));
    let earlier = ManualClock::at_millis(first.store_timestamp - 500);
    life.store.flush_log();
    life.store.shutdown().unwrap();
    let store = open(&life.fs, &earlier, &life.config);
    let second = store.put_message(&message(1));
    assert_eq!(second.store_timestamp, first.store_timestamp, "half a second back");
    earlier.advance(Duration::from_millis(501));
    assert_eq!(store.put_message(&message(2)).store_timestamp, first.store_timestamp + 1);
}

/// What is acknowledged and not yet on the disk stays, however full the disk is.
#[test]
fn files_that_are_not_flushed_never_go() {
    let life = Life::new(|_| ());
    life.put_all(0..10);
    life.store.flush_log();
    life.put_all(10..300);
    let used = life.fs.used_bytes();
    life.fs.set_disk_bytes(used * 100 / 88);
    life.store.clean();
    assert_eq!(life.store.min_phy_offset(), 0);
    life.store.flush_log();
    life.store.clean();
    assert!(life.store.min_phy_offset() > 0, "then the oldest go");
}

/// A start that cannot read the end of the log must not take what it cannot see for nothing.
#[test]
fn a_bad_sector_where_a_start_reads_stops_it_and_names_the_place() {
    let life = Life::new(|_| ());
    life.put_all(0..10);
    let bad = life.store.put_message(&message(10)).physical_offset;
    life.put_all(11..20);
    life.store.flush_log();
    let fs = life.fs.crashed(Crash::Killed);
    fs.break_sector("commitlog/00000000000000000000", bad as u64 + 100);
    let started = MessageStore::open(life.config.clone(), fs.shared(), Arc::new(life.clock.clone()), Arc::new(Nobody));
    let why = started.err().unwrap().to_string();
    assert!(why.contains("commitlog/00000000000000000000") && why.contains(&format!("the log at {bad} ")), "{why}");
    fs.heal();
    let end = life.store.max_phy_offset() as u64;
    fs.break_sector("commitlog/00000000000000000000", end + 1_000);
    let store = open(&fs, &life.clock, &life.config);
    assert_eq!(numbers(&store), (0..20).collect::<Vec<_>>(), "nobody needs what lies behind the end");
}

/// What lies behind damage is found all the same: keys from the next file on. Who reads the log forward is told where it ended.
#[test]
fn what_lies_behind_a_bad_sector_is_found() {
    const MESSAGES: usize = 200;
    let life = Life::new(|_| ());
    life.put_all(0..10);
    let bad = life.store.put_message(&message(10)).physical_offset;
    life.put_all(11..MESSAGES);
    life.store.shutdown().unwrap();
    for name in life.fs.read_dir(Path::new("/store/index")).unwrap() {
        life.fs.remove_file(&Path::new("/store/index").join(name.name)).unwrap();
    }
    let seen = |store: &MessageStore| {
        let mut seen = 0;
        let read = store.read_forward(0, |_| {
            seen += 1;
            ControlFlow::Continue(())
        });
        (read, seen)
    };
    life.fs.break_sector("commitlog/00000000000000000000", bad as u64 + 100);
    let store = open(&life.fs, &life.clock, &life.config);
    store.build_index();
    assert_eq!(store.dispatch_behind_bytes(), 0);
    let in_file = (0..MESSAGES).filter(|number| !finds_key(&store, *number)).collect::<Vec<_>>();
    assert!(in_file.first() == Some(&10) && in_file.len() < 50, "only the rest of that file: {in_file:?}");
    assert_eq!(seen(&store), (bad, 10), "who reads on must know where it ended");
    life.fs.heal();
    life.fs.damage(Path::new("/store/commitlog/00000000000000000000"), bad as u64, &[0xff; 40]).unwrap();
    assert_eq!(seen(&store), (bad, 10));
}

/// What is gone is gone, whether its directory could be synced or not; what cannot be removed is tried again.
#[test]
fn cleaning_goes_on_after_what_it_could_not_do() {
    let life = Life::new(|_| ());
    life.put_all(0..300);
    life.store.flush_log();
    life.store.run_maintenance();
    life.store.build_index();
    let index_files = || life.fs.read_dir(Path::new("/store/index")).unwrap().len();
    let (before, used) = (index_files(), life.fs.used_bytes());
    life.fs.set_disk_bytes(used * 100 / 88);
    life.fs.fail(Operation::SyncDir, "commitlog", io::ErrorKind::Other, 1);
    life.fs.fail(Operation::Remove, "index", io::ErrorKind::Other, 1);
    life.store.clean();
    let min = life.store.min_phy_offset();
    assert_eq!(min, 16 * 1024, "nothing more goes before that is on the disk");
    assert!(life.store.min_offset("T", 0) > 0, "the queue follows the log");
    assert!(life.store.is_writable());
    for round in 3..7 {
        life.fs.set_disk_bytes(1 << 40);
        life.store.clean();
        life.put_all(round * 100..round * 100 + 100);
        life.store.flush_log();
        life.store.build_index();
        life.fs.set_disk_bytes(life.fs.used_bytes() * 100 / 88);
        life.store.clean();
    }
    assert!(life.store.min_phy_offset() > min);
    assert!(index_files() < before, "{} of {before}", index_files());
    assert!(!finds_key(&life.store, 0) && finds_key(&life.store, 699));
}

/// A chain of keys that damage has bent into a circle ends where it no longer leads back.
#[test]
fn a_damaged_chain_of_keys_leads_no_query_in_a_circle() {
    const BENT: u64 = 5;
    let life = Life::new(|config| config.max_hash_slot_num = 1);
    life.put_all(0..10);
    assert!((0..10).all(|number| finds_key(&life.store, number)));
    let name = life.fs.read_dir(Path::new("/store/index")).unwrap()[0].name.clone();
    // The last four of the 20 bytes of an entry are the place of the one before it: docs/formats.md.
    life.fs.damage(&Path::new("/store/index").join(name), 40 + 4 + BENT * 20 + 16, &9i32.to_be_bytes()).unwrap();
    let found: Vec<_> = (0..10).filter(|number| finds_key(&life.store, *number)).collect();
    assert_eq!(found, [4, 5, 6, 7, 8, 9], "what the chain reaches before it");
}

/// What lies behind the place where a log was cut never comes back, also when the next message ends exactly where the one that was
/// torn did: after the next kill old messages would be taken for those behind it.
#[test]
fn messages_behind_a_torn_one_stay_gone() {
    let life = Life::new(|_| ());
    life.put_all(10..15);
    let torn = life.store.put_message(&message(15));
    life.put_all(16..20);
    let fs = life.fs.crashed(Crash::Killed);
    let nothing = vec![0; torn.record_bytes as usize];
    fs.damage(Path::new("/store/commitlog/00000000000000000000"), torn.physical_offset as u64, &nothing).unwrap();
    let store = open(&fs, &life.clock, &life.config);
    assert_eq!(numbers(&store), (10..15).collect::<Vec<_>>());
    let next = store.put_message(&message(99));
    assert_eq!((next.physical_offset, next.record_bytes), (torn.physical_offset, torn.record_bytes));
    let store = open(&fs.crashed(Crash::Killed), &life.clock, &life.config);
    assert_eq!(numbers(&store), [10, 11, 12, 13, 14, 99]);
}
