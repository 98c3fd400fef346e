// SPDX-License-Identifier: Apache-2.0
//! A store on files in memory whose log has some of everything, and what another must have that holds the same log.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ferrocket::runtime::ManualClock;
use ferrocket::store::{ArrivalListener, FlushDiskType, Fs, IndexType, MemoryFs, MessageStore, PutMessageStatus, QueryMax, StoreConfig};
use ferrocket_protocol::message::{MessageInner, batch, sys_flag, tags_code_of};
use parking_lot::Mutex;

pub const FILE_BYTES: usize = 16 * 1024;
pub const QUEUE_FILE_BYTES: usize = 400;
pub const MESSAGES: usize = 240;

/// (topic, queue id, max offset, tags code, store time)
pub type Arrival = (String, i32, i64, i64, i64);

#[derive(Default)]
pub struct Arrivals(pub Mutex<BTreeSet<Arrival>>);

impl ArrivalListener for Arrivals {
    fn arriving(&self, topic: &str, queue_id: i32, max_offset: i64, tags_code: i64, store_time: i64) {
        assert!(self.0.lock().insert((topic.to_owned(), queue_id, max_offset, tags_code, store_time)), "told twice");
    }
}

pub struct Node {
    pub fs: MemoryFs,
    pub arrivals: Arc<Arrivals>,
    pub clock: ManualClock,
    pub store: Arc<MessageStore>,
}

pub fn node(fs: MemoryFs, flush_disk_type: FlushDiskType) -> Node {
    let config = StoreConfig {
        mapped_file_size_commit_log: FILE_BYTES,
        mapped_file_size_consume_queue: QUEUE_FILE_BYTES,
        max_hash_slot_num: 50,
        max_index_num: 5_000,
        flush_disk_type,
        ..StoreConfig::at("/store")
    };
    let arrivals = Arc::new(Arrivals::default());
    let clock = ManualClock::at_millis(1_700_000_000_000);
    let listener = Arc::clone(&arrivals) as Arc<dyn ArrivalListener>;
    let store = MessageStore::open(config, fs.shared(), Arc::new(clock.clone()), listener).unwrap();
    Node { fs, arrivals, clock, store }
}

pub fn message(topic: &str, number: usize, properties: &str) -> MessageInner {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let properties = format!("KEYS\x01key{number} all\x02UNIQ_KEY\x01u{number}\x02{properties}");
    MessageInner {
        topic: topic.to_owned().into(),
        queue_id: (number % 2) as i32,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from(format!("message {number} {}", "x".repeat(number * 37 % 400))),
        tags_code: tags_code_of(properties.as_bytes()),
        properties: properties.into(),
    }
}

/// Plain, delayed and half messages, what became of those, and batches.
pub fn fill(master: &MessageStore) {
    for number in 0..MESSAGES {
        let put = match number % 6 {
            0 => master.put_message(&message("SCHEDULE_TOPIC_XXXX", number, &format!("DELAY\x01{}\x02", number % 20))),
            1 => {
                let transaction = [sys_flag::TRANSACTION_PREPARED, sys_flag::TRANSACTION_COMMIT, sys_flag::TRANSACTION_ROLLBACK];
                let half = message("T1", number, "TAGS\x01TagH\x02");
                master.put_message(&MessageInner { sys_flag: transaction[number / 6 % 3], ..half })
            }
            2 => {
                let item = |name: &str| (Bytes::from(format!("{name} of {number}")), Bytes::from(format!("TAGS\x01{name}\x02")));
                let mut body = Vec::new();
                for (item_body, properties) in [item("TagA"), item("TagB"), item("TagC")] {
                    batch::encode_item(0, &item_body, &properties, &mut body);
                }
                master.put_messages(&MessageInner { body: body.into(), ..message("T2", number, "") })
            }
            _ => master.put_message(&message(&format!("T{}", number % 3), number, "TAGS\x01TagA\x02")),
        };
        assert_eq!(put.status, PutMessageStatus::PutOk);
    }
    master.flush_log();
}

/// The bytes of a store's log, from the first file's start.
pub fn log_bytes(node: &Node) -> Vec<u8> {
    log_bytes_at(&node.fs, Path::new("/store"), &node.store)
}

pub fn log_bytes_at(fs: &MemoryFs, root: &Path, store: &MessageStore) -> Vec<u8> {
    let mut names: Vec<_> = fs.paths().into_iter().filter(|path| path.starts_with(root.join("commitlog"))).collect();
    names.sort();
    let files = names.iter().filter(|path| path.extension().is_none()).flat_map(|path| fs.read(path).unwrap_or_default());
    let mut bytes: Vec<u8> = files.collect();
    bytes.truncate((store.max_phy_offset() - store.min_phy_offset()) as usize);
    bytes
}

pub fn assert_same(master: &Node, slave: &Node, story: &str) {
    assert_same_stores(&master.store, &slave.store, story);
}

/// Queues and keys, of a master that was filled.
pub fn assert_same_stores(master: &MessageStore, slave: &MessageStore, story: &str) {
    let (mut queues, mut slave_queues) = (master.queues(), slave.queues());
    queues.sort();
    slave_queues.sort();
    assert_eq!(queues, slave_queues, "{story}");
    for (topic, queue_id) in queues {
        let offsets = master.queue_offsets(&topic, queue_id).unwrap();
        assert_eq!(slave.queue_offsets(&topic, queue_id).unwrap(), offsets, "{story}: {topic} {queue_id}");
        assert!(offsets.end > offsets.start, "{topic} {queue_id} has messages");
        for offset in offsets {
            let unit = |store: &MessageStore| store.consume_queue_unit(&topic, queue_id, offset).unwrap();
            assert_eq!(unit(slave), unit(master), "{story}: {topic} {queue_id} at {offset}");
        }
    }
    let mut found = 0;
    for (topic, key, kind) in (0..MESSAGES)
        .flat_map(|number| ["T0", "T1", "T2", "SCHEDULE_TOPIC_XXXX"].map(|topic| (topic, format!("key{number}"), IndexType::Key)))
        .chain([
            ("T0", "u3".to_owned(), IndexType::Unique),
            ("T2", "TagB".to_owned(), IndexType::Tag),
            ("T1", "all".to_owned(), IndexType::Key),
        ])
    {
        let query =
            |store: &MessageStore| store.query_message(topic, &key, QueryMax { count: 300, bytes: usize::MAX }, 0, i64::MAX, kind).records;
        let records = query(master);
        found += records.len();
        assert_eq!(query(slave), records, "{story}: {topic} {key}");
    }
    assert!(found > MESSAGES, "{found} records found by key");
}
