// SPDX-License-Identifier: Apache-2.0
//! A server with thousands of index files, on a machine that lets it open 4,096 files.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a story that cannot go on ends")]

mod support;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ferrocket::runtime::SystemClock;
use ferrocket::store::{ArrivalListener, MessageStore, PutMessageStatus, RealFs, StoreConfig};
use ferrocket_protocol::header::query::QueryMessageRequestHeader;
use ferrocket_protocol::java_hash::string_hash;
use ferrocket_protocol::message::{MessageInner, decode};
use ferrocket_protocol::{Str, request_code, response_code};
use support::process::{Server, with_any_ports};
use support::{Client, java_request, send_header};

const FILES: usize = 3_000;
const OPEN_FILES: u64 = 4_096;
/// An index file of one message: its key, and the unique one that the broker gives.
const MAX_INDEX_NUM: u32 = 3;
const MAX_HASH_SLOT_NUM: u32 = 3;
const LOG_FILE_BYTES: usize = 1 << 20;

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

/// Messages of one key, and for each of them an index file as docs/formats.md has it: written at once, where a server would sync each.
fn make_store(root: &Path) {
    let config = StoreConfig {
        mapped_file_size_commit_log: LOG_FILE_BYTES,
        max_hash_slot_num: MAX_HASH_SLOT_NUM,
        max_index_num: MAX_INDEX_NUM,
        message_index_enable: false,
        ..StoreConfig::at(root)
    };
    let store = MessageStore::open(config, RealFs::shared(), SystemClock::shared(), Arc::new(Nobody)).unwrap();
    std::fs::create_dir(root.join("index")).unwrap();
    let host = "127.0.0.1:10911".parse().unwrap();
    for number in 0..FILES {
        let message = MessageInner {
            topic: "T".into(),
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from(format!("old {number}")),
            properties: Bytes::from(format!("KEYS\x01old{number}\x02")),
            tags_code: 0,
        };
        let put = store.put_message(&message);
        assert_eq!(put.status, PutMessageStatus::PutOk);
        let hash = string_hash(&format!("T#old{number}")).checked_abs().unwrap_or(0) as u32;
        let mut bytes = Vec::new();
        for long in [put.store_timestamp, put.store_timestamp, put.physical_offset, put.physical_offset] {
            bytes.extend(long.to_be_bytes());
        }
        // One slot is used, and the next entry is number 2.
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.extend((0..MAX_HASH_SLOT_NUM).flat_map(|slot| u32::from(slot == hash % MAX_HASH_SLOT_NUM).to_be_bytes()));
        bytes.extend([0; 20]);
        bytes.extend(hash.to_be_bytes());
        bytes.extend(put.physical_offset.to_be_bytes());
        bytes.resize((40 + 4 * MAX_HASH_SLOT_NUM + 20 * MAX_INDEX_NUM) as usize, 0);
        std::fs::write(root.join(format!("index/{:017}", 20_260_101_000_000_000 + number)), bytes).unwrap();
    }
    store.shutdown().unwrap();
}

async fn by_key(client: &mut Client, key: &str) -> Vec<String> {
    let header = QueryMessageRequestHeader {
        topic: "T".into(),
        key: Str::copy_from(key),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        ..Default::default()
    };
    let answer = client.call_with(request_code::QUERY_MESSAGE, &header).await;
    let bodies = decode::records(&answer.body).map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap());
    bodies.collect()
}

#[tokio::test]
async fn three_thousand_index_files_are_served_with_four_thousand_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    make_store(&root);
    let index_files = || std::fs::read_dir(root.join("index")).unwrap().count();
    assert!(index_files() >= FILES, "{}", index_files());
    let sets = [
        "brokerName=i".to_owned(),
        format!("storePathRootDir={}", root.display()),
        format!("mappedFileSizeCommitLog={LOG_FILE_BYTES}"),
        format!("maxHashSlotNum={MAX_HASH_SLOT_NUM}"),
        format!("maxIndexNum={MAX_INDEX_NUM}"),
    ];
    let args: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    for life in 0..2 {
        let mut server = Server::start_with_open_files(folder.path(), OPEN_FILES, &with_any_ports(&args));
        server.namesrv();
        let mut client = Client::connect(server.broker("i")).await;
        for number in 0..32 {
            let header = send_header("T", 0, &[("KEYS", &format!("new{life}x{number}"))]);
            let request =
                java_request(request_code::SEND_MESSAGE).with_header(&header).with_body(Bytes::from(format!("new {life} {number}")));
            assert_eq!(client.call(request).await.code, response_code::SUCCESS);
        }
        for number in [0, 1, FILES / 2, FILES - 1] {
            assert_eq!(by_key(&mut client, &format!("old{number}")).await, [format!("old {number}")]);
        }
        for earlier in 0..=life {
            assert_eq!(by_key(&mut client, &format!("new{earlier}x31")).await, [format!("new {earlier} 31")]);
        }
        assert!(index_files() >= FILES + 32 * (life + 1));
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count();
        assert!(open < FILES / 4, "{open} descriptors: few of them are of index files");
        drop(client);
        assert_eq!(server.stop("-TERM"), Some(0));
    }
}
