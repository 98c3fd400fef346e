// SPDX-License-Identifier: Apache-2.0
//! A panic where the store is in the middle of something ends the process, and the next start finds every message.
//!
//! Each story runs a second time as a process of its own, which is to end by SIGABRT.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferrocket::runtime::{Runtime, SystemClock};
use ferrocket::store::{
    AllMessages, ArrivalListener, DirEntry, DiskUsage, FlushDiskType, Fs, FsFile, FsLock, GetMessage, Mapping, MessageStore, Metadata,
    PutMessageStatus, RealFs, StoreConfig,
};
use ferrocket_protocol::message::{MessageInner, decode};

const FOLDER: &str = "FERROCKET_TEST_FOLDER";
const SIGABRT: i32 = 6;

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

/// The machine's file system; one of its operations on the log panics when it is done.
struct Panics {
    /// So many appends go well.
    appends: AtomicUsize,
}

struct File {
    file: Arc<dyn FsFile>,
    of_log: bool,
    fs: Arc<Panics>,
}

struct PanicsFs(Arc<Panics>);

impl PanicsFs {
    fn file(&self, path: &Path, file: io::Result<Arc<dyn FsFile>>) -> io::Result<Arc<dyn FsFile>> {
        let of_log = path.to_string_lossy().contains("commitlog");
        Ok(Arc::new(File { file: file?, of_log, fs: Arc::clone(&self.0) }))
    }
}

impl Fs for PanicsFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir_all(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.file(path, RealFs.open(path))
    }
    fn open_without_waiting(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.file(path, RealFs.open_without_waiting(path))
    }
    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.file(path, RealFs.open_read_only(path))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.file(path, RealFs.create(path))
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealFs.read_dir(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        RealFs.metadata(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_dir(path)
    }
    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_file_system(path)
    }
    fn disk_usage(&self, path: &Path) -> io::Result<DiskUsage> {
        RealFs.disk_usage(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FsLock>> {
        RealFs.lock(path)
    }
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn FsLock>> {
        RealFs.lock_dir(path)
    }
    fn boot_id(&self) -> String {
        RealFs.boot_id()
    }
}

impl FsFile for File {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }
    fn read_at_without_waiting(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at_without_waiting(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.reserve(offset, len)
    }
    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.zero(offset, len)
    }
    fn start_writeback(&self, mapping: &Mapping, at: usize, len: usize) -> io::Result<()> {
        self.file.start_writeback(mapping, at, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn map(&self, len: usize) -> io::Result<Arc<Mapping>> {
        self.file.map(len)
    }
    fn store(&self, mapping: &Mapping, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.store(mapping, at, bytes)?;
        assert!(!self.of_log || self.fs.appends.fetch_sub(1, Ordering::Relaxed) > 0, "on purpose, with the record in the log");
        Ok(())
    }
}

fn config(folder: &Path) -> StoreConfig {
    StoreConfig { mapped_file_size_commit_log: 1 << 20, flush_disk_type: FlushDiskType::Async, ..StoreConfig::at(folder) }
}

fn open(folder: &Path, fs: Arc<dyn Fs>) -> Arc<MessageStore> {
    MessageStore::open(config(folder), fs, SystemClock::shared(), Arc::new(Nobody)).unwrap()
}

fn message(number: usize) -> MessageInner {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    MessageInner {
        topic: "T".into(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: Bytes::from(format!("message {number}")),
        properties: Bytes::new(),
        tags_code: 0,
    }
}

fn bodies(store: &MessageStore) -> Vec<String> {
    let request = GetMessage { group: "g", topic: "T", queue_id: 0, offset: 0, max_count: 32, max_bytes: 1 << 20 };
    let found = store.get_message_blocking(&request, &AllMessages).unwrap();
    decode::records(&found.body).map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap()).collect()
}

/// Runs this test again as a process that has a folder. How it ended: its signal, and what it said.
fn as_a_process(test: &str, folder: &Path) -> (Option<i32>, String) {
    let ended = Command::new(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(FOLDER, folder).output().unwrap();
    (ended.status.signal(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn a_panic_between_the_record_and_its_unit_ends_the_process_and_the_next_start_finds_the_message() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let store = open(Path::new(&folder), Arc::new(PanicsFs(Arc::new(Panics { appends: AtomicUsize::new(3) }))));
        for number in 0..3 {
            assert_eq!(store.put_message(&message(number)).status, PutMessageStatus::PutOk);
        }
        // As at the boundary of a request.
        let _ = catch_unwind(AssertUnwindSafe(|| store.put_message(&message(3))));
        // Neither a fourth message without its unit nor a lock that seems to be held for ever.
        let _ = writeln!(io::stderr(), "it went on: {:?} {}", bodies(&store), store.append_lock_millis());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "a_panic_between_the_record_and_its_unit_ends_the_process_and_the_next_start_finds_the_message";
    let (signal, said) = as_a_process(name, folder.path());
    assert_eq!(signal, Some(SIGABRT), "{said}");
    assert!(said.contains("on purpose"), "{said}");
    assert!(folder.path().join("abort").exists());
    let store = open(folder.path(), RealFs::shared());
    assert_eq!(bodies(&store), ["message 0", "message 1", "message 2", "message 3"]);
    store.shutdown().unwrap();
}

/// Delayed messages, transactions, the flusher: each is one thread, and without it messages would be taken that nobody looks after.
#[test]
fn an_owned_thread_or_an_essential_task_that_panics_ends_the_process() {
    const NAME: &str = "an_owned_thread_or_an_essential_task_that_panics_ends_the_process";
    if let Some(which) = std::env::var_os(FOLDER) {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let runtime = Runtime::new(tokio.handle().clone(), SystemClock::shared());
        match which.to_str().unwrap() {
            "thread" => runtime.thread("schedule", || panic!("on purpose")).unwrap(),
            "essential task" => drop(runtime.spawn_essential("accept", async { panic!("on purpose") })),
            _ => drop(runtime.spawn("connection", async { panic!("on purpose") })),
        }
        tokio.block_on(runtime.stop(Duration::from_secs(10)));
        return;
    }
    for (which, ends) in [("thread", Some(SIGABRT)), ("essential task", Some(SIGABRT)), ("task", None)] {
        let (signal, said) = as_a_process(NAME, Path::new(which));
        assert_eq!(signal, ends, "{which}: {said}");
        assert!(said.contains("on purpose"), "{said}");
    }
}
