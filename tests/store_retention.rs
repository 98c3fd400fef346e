// SPDX-License-Identifier: Apache-2.0
//! What expires, what stays, where files go, when the log is made durable, and what is noticed when another broker, or damage, has
//! changed the directory.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Timelike;
use ferrocket::runtime::{ManualClock, Runtime, local_time};
use ferrocket::store::{
    AllMessages, ArrivalListener, Crash, FlushDiskType, Fs, GetMessage, GetMessageResult, GetMessageStatus, IndexType, MemoryFs,
    MessageStore, PutMessageStatus, QueryMax, RealFs, StoreConfig, StoreError,
};
use ferrocket_protocol::message::{MessageInner, decode, layout, tags_code};

const START_MILLIS: i64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

struct Broker {
    fs: MemoryFs,
    clock: ManualClock,
    config: StoreConfig,
    store: Option<Arc<MessageStore>>,
}

impl Broker {
    fn new(change: impl FnOnce(&mut StoreConfig)) -> Self {
        let mut config = StoreConfig {
            mapped_file_size_commit_log: 16 * 1024,
            mapped_file_size_consume_queue: 400,
            max_hash_slot_num: 50,
            max_index_num: 120,
            // Never by the hour, unless a test says so.
            delete_when: String::new(),
            ..StoreConfig::at("/store")
        };
        change(&mut config);
        let fs = MemoryFs::new();
        fs.set_now_millis(START_MILLIS);
        let mut broker = Self { fs, clock: ManualClock::at_millis(START_MILLIS), config, store: None };
        broker.open();
        broker
    }

    fn open(&mut self) {
        self.store = Some(self.try_open().unwrap());
    }

    fn try_open(&self) -> Result<Arc<MessageStore>, StoreError> {
        MessageStore::open(self.config.clone(), self.fs.shared(), Arc::new(self.clock.clone()), Arc::new(Nobody))
    }

    fn store(&self) -> &MessageStore {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.stop();
        self.open();
    }

    fn stop(&mut self) {
        self.store.take().unwrap().shutdown().unwrap();
    }

    fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        use ferrocket::runtime::Clock;
        self.fs.set_now_millis(self.clock.now_millis());
    }

    fn put(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let put = self.store().put_message(&message(number));
            assert_eq!((put.status, put.queue_offset), (PutMessageStatus::PutOk, number as i64));
        }
        self.store().flush_log();
        self.store().run_maintenance();
        self.store().build_index();
    }

    /// Puts one message and leaves everything else undone; where it lies in the log.
    fn put_only(&self, number: usize) -> i64 {
        let put = self.store().put_message(&message(number));
        assert_eq!((put.status, put.queue_offset), (PutMessageStatus::PutOk, number as i64));
        put.physical_offset
    }

    fn is_flushed(&self) -> bool {
        self.store().flushed_offset() == self.store().max_phy_offset()
    }

    /// Whether the flusher's thread makes the log durable in so much real time; the store's own stands still.
    fn gets_flushed(&self, wait: Duration) -> bool {
        let begun = Instant::now();
        while !self.is_flushed() && begun.elapsed() < wait {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_flushed()
    }

    fn files(&self, dir: impl AsRef<Path>) -> Vec<String> {
        self.fs.read_dir(dir.as_ref()).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    fn get(&self, offset: i64) -> GetMessageResult {
        let request = GetMessage { group: "G", topic: "T", queue_id: 0, offset, max_count: 32, max_bytes: 1 << 20 };
        self.store().get_message_blocking(&request, &AllMessages).unwrap()
    }

    fn count_from(&self, mut offset: i64) -> usize {
        let mut count = 0;
        loop {
            let got = self.get(offset);
            count += decode::records(&got.body).filter(|record| record.is_ok()).count();
            if got.status != GetMessageStatus::Found {
                return count;
            }
            offset = got.next_begin_offset;
        }
    }

    fn finds_key(&self, number: usize) -> bool {
        let found = self.store().query_message(
            "T",
            &format!("key{number}"),
            QueryMax { count: 32, bytes: usize::MAX },
            0,
            i64::MAX,
            IndexType::Key,
        );
        !found.records.is_empty()
    }
}

fn message(number: usize) -> MessageInner {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    MessageInner {
        topic: "T".to_owned().into(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: START_MILLIS,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from(vec![b'x'; 300]),
        properties: Bytes::from(format!("KEYS\x01key{number}\x02TAGS\x01TagA\x02")),
        tags_code: tags_code("TagA"),
    }
}

#[test]
fn expired_files_go_with_their_units_and_keys_but_never_the_last() {
    let mut broker = Broker::new(|_| ());
    broker.put(0..100);
    broker.advance(HOUR * 71);
    broker.store().delete_expired_now();
    assert_eq!(broker.store().min_phy_offset(), 0, "an hour too early");
    broker.put(100..200);
    broker.advance(HOUR);
    broker.store().delete_expired_now();
    let min = broker.store().min_offset("T", 0);
    assert!((1..=100).contains(&min), "{min}");
    assert!(broker.store().min_phy_offset() > 0);
    let got = broker.get(0);
    assert_eq!((got.status, got.next_begin_offset), (GetMessageStatus::OffsetTooSmall, min));
    assert_eq!(broker.count_from(min), 200 - min as usize);
    assert!(!broker.finds_key(0) && broker.finds_key(199));
    assert_eq!(broker.files("/store/consumequeue/T/0").first().unwrap(), &format!("{:020}", min / 20 * 400));

    broker.restart();
    assert_eq!(broker.store().min_offset("T", 0), min);
    assert_eq!(broker.count_from(min), 200 - min as usize);

    broker.advance(HOUR * 100);
    broker.store().delete_expired_now();
    assert_eq!(broker.files("/store/commitlog").len(), 1);
    assert!(broker.store().max_offset("T", 0) == 200 && broker.count_from(broker.store().min_offset("T", 0)) > 0);
    broker.put(200..210);
}

/// DefaultMessageStore.java#isTimeToDelete: the whole hour, local time.
#[test]
fn the_hours_of_delete_when_are_local() {
    let hour = local_time(START_MILLIS + 100 * 3_600_000).hour();
    for (when, goes) in [(format!("{:02}", (hour + 12) % 24), false), (format!("99;{hour:02}"), true)] {
        let broker = Broker::new(|config| config.delete_when = when.clone());
        broker.put(0..100);
        broker.advance(HOUR * 100);
        broker.store().clean();
        assert_eq!(broker.store().min_phy_offset() > 0, goes, "{when}");
    }
}

#[test]
fn a_nearly_full_disk_costs_the_oldest_files_whatever_their_age() {
    let broker = Broker::new(|config| config.delete_file_batch_max = 2);
    broker.put(0..300);
    let used = broker.fs.used_bytes();
    broker.fs.set_disk_bytes(used * 100 / 80);
    broker.store().clean();
    assert_eq!(broker.store().min_phy_offset(), 0, "over diskMaxUsedSpaceRatio only expired files go");
    broker.fs.set_disk_bytes(used * 100 / 88);
    broker.store().clean();
    assert_eq!(broker.store().min_phy_offset(), 2 * 16 * 1024, "over diskSpaceCleanForciblyRatio");
    assert!(broker.store().is_writable());
}

#[test]
fn files_are_kept_for_as_many_hours_as_are_set() {
    let broker = Broker::new(|config| config.file_reserved_time_hours = 2);
    broker.put(0..100);
    broker.advance(HOUR * 2 - Duration::from_millis(1));
    broker.store().delete_expired_now();
    assert_eq!(broker.store().min_phy_offset(), 0);
    broker.store().reconfigure(StoreConfig { file_reserved_time_hours: 3, ..StoreConfig::clone(&broker.store().config()) });
    broker.advance(HOUR);
    broker.store().delete_expired_now();
    assert_eq!(broker.store().min_phy_offset(), 0, "changed while it runs");
    broker.advance(Duration::from_millis(1));
    broker.store().delete_expired_now();
    assert!(broker.store().min_phy_offset() > 0);
}

#[test]
fn over_the_used_space_that_is_set_expired_files_go_at_any_hour() {
    for (max_used, goes) in [(65, false), (55, true)] {
        let broker = Broker::new(|config| config.disk_max_used_space_ratio = max_used);
        broker.put(0..100);
        broker.advance(HOUR * 100);
        broker.fs.set_disk_bytes(broker.fs.used_bytes() * 100 / 60);
        broker.store().clean();
        assert_eq!(broker.store().min_phy_offset() > 0, goes, "{max_used}");
    }
}

/// A broker whose threads run by its clock, with ASYNC_FLUSH and one thing that can make the log durable.
fn with_threads(change: impl FnOnce(&mut StoreConfig)) -> (Broker, Runtime) {
    const NEVER: u64 = 3_600_000;
    let broker = Broker::new(|config| {
        config.flush_commit_log_thorough_interval = NEVER;
        config.flush_consume_queue_thorough_interval = NEVER;
        change(config);
    });
    let runtime = Runtime::current(Arc::new(broker.clock.clone()));
    broker.store.as_ref().unwrap().start(&runtime).unwrap();
    while broker.clock.waiting_count() < 4 {
        std::thread::yield_now();
    }
    (broker, runtime)
}

const SOON: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(10);

async fn end(broker: Broker, runtime: Runtime) {
    broker.store().shutdown().unwrap();
    assert!(runtime.stop(LONG).await);
}

#[tokio::test]
async fn the_log_is_made_durable_as_often_as_is_set() {
    let (broker, runtime) = with_threads(|config| {
        config.flush_interval_commit_log = 2_000;
        config.flush_commit_log_least_pages = 0;
    });
    broker.put_only(0);
    broker.advance(Duration::from_millis(1_999));
    assert!(!broker.gets_flushed(SOON));
    broker.advance(Duration::from_millis(1));
    assert!(broker.gets_flushed(LONG));
    end(broker, runtime).await;
}

#[tokio::test]
async fn fewer_pages_than_are_set_wait() {
    for (least_pages, flushes) in [(2, true), (3, false)] {
        let (broker, runtime) = with_threads(|config| config.flush_commit_log_least_pages = least_pages);
        for number in 0..25 {
            broker.put_only(number);
        }
        assert_eq!(broker.store().max_phy_offset() / 4096, 2);
        broker.advance(Duration::from_millis(500));
        assert_eq!(broker.gets_flushed(if flushes { LONG } else { SOON }), flushes, "{least_pages}");
        end(broker, runtime).await;
    }
}

#[tokio::test]
async fn after_the_thorough_interval_nothing_waits_for_more_pages() {
    let (broker, runtime) = with_threads(|config| config.flush_commit_log_thorough_interval = 3_000);
    broker.put_only(0);
    broker.advance(Duration::from_millis(2_500));
    assert!(!broker.gets_flushed(SOON));
    // More than once: the flusher may have begun its next pause a little late.
    let flushed = (0..10).any(|_| {
        broker.advance(Duration::from_millis(500));
        broker.gets_flushed(Duration::from_secs(1))
    });
    assert!(flushed, "long before the 10 seconds that are the default");
    end(broker, runtime).await;
}

/// Nobody flushes here, as when the disk hangs in a sync.
#[test]
fn a_put_waits_for_the_disk_as_long_as_is_set() {
    let broker = Broker::new(|config| {
        config.flush_disk_type = FlushDiskType::Sync;
        config.sync_flush_timeout = 2_000;
    });
    for (number, timeout) in [(0, 2_000), (1, 7_000)] {
        broker.store().reconfigure(StoreConfig { sync_flush_timeout: timeout, ..StoreConfig::clone(&broker.store().config()) });
        let put = broker.store().put_message(&message(number));
        let (sender, answers) = std::sync::mpsc::channel();
        broker.store().when_durable(&put, Box::new(move |status| sender.send(status).unwrap()));
        broker.advance(Duration::from_millis(timeout - 1));
        broker.store().expire_waiters();
        assert!(answers.try_recv().is_err(), "{timeout}");
        broker.advance(Duration::from_millis(1));
        broker.store().expire_waiters();
        assert_eq!(answers.try_recv().unwrap(), PutMessageStatus::FlushDiskTimeout);
    }
    assert_eq!(broker.store().max_offset("T", 0), 0);
    broker.store().flush_log();
    assert_eq!(broker.count_from(0), 2, "they were late, not lost");
}

#[test]
fn several_paths_share_the_files_and_a_read_only_one_gets_none() {
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    let mut broker = Broker::new(|config| config.store_path_commit_log = paths(&["/a", "/b"]));
    broker.put(0..150);
    broker.stop();
    let (in_a, in_b) = (broker.files("/a").len(), broker.files("/b").len());
    assert!(in_a >= 1 && in_b >= 1, "{in_a} {in_b}");
    broker.config.store_path_commit_log = paths(&["/b", "/c"]);
    broker.config.read_only_commit_log_store_paths = paths(&["/a"]);
    broker.open();
    assert_eq!(broker.count_from(0), 150);
    broker.put(150..400);
    assert_eq!(broker.files("/a").len(), in_a);
    assert!(!broker.files("/c").is_empty());
    broker.restart();
    assert_eq!(broker.count_from(0), 400);
}

#[test]
fn a_file_of_another_size_stops_the_start_and_names_the_key() {
    let mut broker = Broker::new(|_| ());
    broker.put(0..10);
    broker.stop();
    broker.config.mapped_file_size_commit_log = 32 * 1024;
    let error = broker.try_open().err().unwrap().to_string();
    assert!(error.contains("mappedFileSizeCommitLog") && error.contains("16384"), "{error}");
}

#[test]
fn a_second_broker_in_the_same_directory_is_refused() {
    let broker = Broker::new(|_| ());
    assert!(matches!(broker.try_open(), Err(StoreError::Locked { .. })));
}

/// Two servers with one log and different roots would write over each other's messages. Nothing may lie beside the log's files: the
/// original takes every name there for an offset.
#[test]
fn a_second_broker_with_another_root_and_the_same_log_is_refused() {
    for fs in [MemoryFs::new().shared(), RealFs::shared()] {
        let dir = tempfile::tempdir().unwrap();
        fs.create_dir_all(dir.path()).unwrap();
        let config_of = |root: &str| StoreConfig {
            store_path_commit_log: vec![dir.path().join("log")],
            mapped_file_size_commit_log: 16 * 1024,
            ..StoreConfig::at(dir.path().join(root))
        };
        let open = |root: &str| {
            let clock = Arc::new(ManualClock::at_millis(START_MILLIS));
            MessageStore::open(config_of(root), Arc::clone(&fs), clock, Arc::new(Nobody))
        };
        let first = open("a").unwrap();
        let why = open("b").err().unwrap().to_string();
        assert!(why.contains("/log is in use by another broker") && why.contains("storePathCommitLog"), "{why}");
        assert!(fs.read_dir(&dir.path().join("log")).unwrap().iter().all(|entry| entry.name.parse::<u64>().is_ok()));
        first.shutdown().unwrap();
        open("b").unwrap().shutdown().unwrap();
    }
}

/// Our position file is a hint: a Java broker that knows nothing of it has appended, or has expired files, meanwhile.
#[test]
fn what_another_broker_did_since_is_noticed() {
    let mut broker = Broker::new(|_| ());
    broker.put(0..60);
    broker.stop();
    let position = broker.fs.read(Path::new("/store/ferrocket.position")).unwrap();
    broker.open();
    broker.put(60..120);
    broker.advance(HOUR * 73);
    broker.put(120..121);
    broker.stop();
    broker.fs.damage(Path::new("/store/ferrocket.position"), 0, &position).unwrap();
    broker.open();
    assert_eq!(broker.count_from(0), 121);
    assert!(broker.finds_key(119));
    broker.store().delete_expired_now();
    let min = broker.store().min_offset("T", 0);
    assert!(min > 0);
    broker.stop();
    broker.fs.damage(Path::new("/store/ferrocket.position"), 0, &position).unwrap();
    broker.open();
    assert_eq!((broker.store().min_offset("T", 0), broker.count_from(min)), (min, 121 - min as usize));
}

#[test]
fn a_small_disk_is_enough_to_start_with_files_of_the_usual_size() {
    let fs = MemoryFs::new();
    fs.set_disk_bytes(64 * 1024 * 1024);
    let clock = ManualClock::at_millis(START_MILLIS);
    let store = MessageStore::open(StoreConfig::at("/store"), fs.shared(), Arc::new(clock), Arc::new(Nobody)).unwrap();
    for number in 0..100 {
        assert_eq!(store.put_message(&message(number)).status, PutMessageStatus::PutOk);
        store.run_maintenance();
    }
    assert!(fs.used_bytes() < 16 * 1024 * 1024, "{}", fs.used_bytes());
    store.shutdown().unwrap();
    assert!(fs.used_bytes() < 1024 * 1024, "the space ahead is given back: {}", fs.used_bytes());
}

/// CommitLog.java#checkMessageAndReturnSize: the unit of a delayed message bears the time of its delivery.
#[test]
fn a_delayed_message_has_its_time_in_the_queue() {
    let mut broker = Broker::new(|_| ());
    let delayed = MessageInner {
        topic: "SCHEDULE_TOPIC_XXXX".to_owned().into(),
        queue_id: 2,
        properties: Bytes::from_static(b"DELAY\x013\x02"),
        ..message(0)
    };
    assert_eq!(broker.store().put_message(&delayed).status, PutMessageStatus::PutOk);
    let due = |broker: &Broker| broker.store().consume_queue_unit("SCHEDULE_TOPIC_XXXX", 2, 0).unwrap().unwrap().tags_code;
    assert_eq!(due(&broker), START_MILLIS + 10_000);
    broker.store().run_maintenance();
    broker.fs = broker.fs.crashed(Crash::Killed);
    broker.store = None;
    broker.open();
    assert_eq!(due(&broker), START_MILLIS + 10_000, "built again from the log");
}

#[test]
fn a_removed_index_and_removed_queues_are_built_again() {
    let mut broker = Broker::new(|_| ());
    broker.put(0..100);
    broker.stop();
    for dir in ["/store/index", "/store/consumequeue/T/0"] {
        for name in broker.files(dir) {
            broker.fs.remove_file(&Path::new(dir).join(name)).unwrap();
        }
    }
    broker.fs.remove_dir(Path::new("/store/consumequeue/T/0")).unwrap();
    broker.open();
    assert_eq!(broker.count_from(0), 100);
    assert!((0..100).all(|number| broker.finds_key(number)));
}

/// The queue offset is covered by no checksum.
#[test]
fn a_record_with_an_impossible_queue_offset_costs_only_itself() {
    for kept in [0, 10] {
        for damaged in [-1, i64::MIN, 2_000_000, i64::MAX] {
            if kept == 0 && damaged == 2_000_000 {
                // An empty queue may begin anywhere.
                continue;
            }
            let story = format!("{damaged} behind {kept}");
            let mut broker = Broker::new(|_| ());
            broker.put(0..kept);
            let at: Vec<i64> = (kept..20).map(|number| broker.put_only(number)).collect();
            let log = Path::new("/store/commitlog/00000000000000000000");
            broker.fs.damage(log, at[0] as u64 + layout::QUEUE_OFFSET_AT as u64, &damaged.to_be_bytes()).unwrap();
            broker.fs = broker.fs.crashed(Crash::Killed);
            broker.store = None;
            for _ in 0..2 {
                broker.open();
                assert_eq!(broker.store().max_offset("T", 0), 20, "{story}");
                assert_eq!(broker.count_from(kept as i64 + 1), 19 - kept, "{story}");
                assert_eq!(broker.get(0).message_count > 0, kept > 0, "{story}");
                broker.stop();
            }
        }
    }
}

/// The oldest message that is left may be the last of its ConsumeQueue's file, and consumers still need it.
#[test]
fn a_queue_s_file_stays_as_long_as_the_log_has_its_last_message() {
    const LAST_OF_FILE: usize = 400 / 20 - 1;
    const LOG_FILE_BYTES: i64 = 16 * 1024;
    let broker = Broker::new(|_| ());
    for number in 0..LAST_OF_FILE - 1 {
        broker.put_only(number);
    }
    let left = LOG_FILE_BYTES - broker.store().max_phy_offset();
    let filling = MessageInner { body: Bytes::from(vec![b'x'; left as usize - 200]), ..message(LAST_OF_FILE - 1) };
    assert_eq!(broker.store().put_message(&filling).status, PutMessageStatus::PutOk);
    assert_eq!(broker.put_only(LAST_OF_FILE), LOG_FILE_BYTES, "the first of the next file of the log");
    broker.put(LAST_OF_FILE + 1..LAST_OF_FILE + 11);
    assert_eq!(broker.files("/store/consumequeue/T/0").len(), 2);
    broker.advance(HOUR * 100);
    broker.store().delete_expired_now();
    assert_eq!(broker.store().min_phy_offset(), LOG_FILE_BYTES);
    assert_eq!(broker.store().min_offset("T", 0), LAST_OF_FILE as i64);
    assert_eq!(broker.count_from(LAST_OF_FILE as i64), 11);
}

/// A mark is of one log: where another one of the same length lies, all of it is read.
#[test]
fn a_position_in_another_log_is_not_believed() {
    // Two brokers whose logs differ in the last message alone, killed when all units were written.
    let killed = |last: u8| {
        let broker = Broker::new(|_| ());
        let other = MessageInner { topic: "U".to_owned().into(), ..message(0) };
        assert_eq!(broker.store().put_message(&other).status, PutMessageStatus::PutOk);
        broker.put(0..10);
        let last = MessageInner { body: Bytes::from(vec![last; 300]), ..message(10) };
        assert_eq!(broker.store().put_message(&last).status, PutMessageStatus::PutOk);
        broker.store().flush_log();
        broker.advance(Duration::from_secs(10));
        broker.store().run_maintenance();
        broker.fs.crashed(Crash::Killed)
    };
    let position = Path::new("/store/ferrocket.position");
    for (of, units) in [(b'a', 0), (b'b', 1)] {
        let mut broker = Broker::new(|_| ());
        broker.fs = killed(b'a');
        broker.fs.damage(position, 0, &killed(of).read(position).unwrap()).unwrap();
        broker.fs.remove_file(Path::new("/store/consumequeue/U/0/00000000000000000000")).unwrap();
        broker.fs.remove_dir(Path::new("/store/consumequeue/U/0")).unwrap();
        broker.open();
        assert_eq!(broker.store().max_offset("U", 0), units, "the position of {}", of as char);
        assert_eq!(broker.count_from(0), 11);
    }
}
