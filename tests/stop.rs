// SPDX-License-Identifier: Apache-2.0
//! The end of the binary: within its time whatever clients do, and also before the start is complete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a story that cannot go on ends, with clients and files of its own")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrocket::runtime::SystemClock;
use ferrocket::store::{ArrivalListener, MessageStore, RealFs, StoreConfig};
use ferrocket_protocol::header::{GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader};
use ferrocket_protocol::message::MessageInner;
use ferrocket_protocol::{RemotingCommand, request_code, response_code, split_frame};
use support::process::{Server, command, with_any_ports};
use support::{Client, PATIENCE, pull_header, pull_request, send_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

const PULLERS: usize = 50;
/// So many that the first ones come again while the last ones are still being let go.
const LONG_POLLS_EACH: usize = 40;

/// Pulls, and pulls again with every answer, until the broker closes the connection; the codes of the answers.
async fn pull_on(addr: SocketAddr, opaque_of_first: i32, held: Arc<Barrier>) -> Vec<i32> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let (mut codes, mut buffer, mut out) = (Vec::new(), BytesMut::new(), BytesMut::new());
    let mut opaque = opaque_of_first;
    let mut pull = |out: &mut BytesMut| {
        let mut header = pull_header("g", "T", 0, 1);
        header.suspend_timeout_millis = 30_000;
        let mut request = pull_request(&header);
        request.opaque = opaque;
        opaque += 1;
        request.encode(out);
    };
    (0..LONG_POLLS_EACH).for_each(|_| pull(&mut out));
    // In the order of one connection: when this is answered, the pulls are held.
    let mut probe = RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO);
    probe.opaque = 0;
    probe.encode(&mut out);
    let mut is_held = false;
    loop {
        // One that comes too late to be read; the answers before it are there all the same.
        if stream.write_all_buf(&mut out).await.is_err() {
            out.clear();
        }
        match tokio::time::timeout(PATIENCE, stream.read_buf(&mut buffer)).await.unwrap() {
            Ok(0) | Err(_) => return codes,
            Ok(_) => {}
        }
        while let Some(frame) = split_frame(&mut buffer).unwrap() {
            let response = RemotingCommand::decode(frame).unwrap();
            if response.opaque == 0 {
                assert!(!is_held);
                is_held = true;
                held.wait().await;
                continue;
            }
            codes.push(response.code);
            pull(&mut out);
        }
    }
}

/// Push clients pull again as soon as they are answered: whoever let them wait anew would never see the last of them.
#[test]
fn long_polls_that_come_again_with_every_answer_do_not_hold_up_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &with_any_ports(&["--set", "brokerName=p"]));
    server.namesrv();
    let broker = server.broker("p");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let held = Arc::new(Barrier::new(PULLERS + 1));
    let (_member, pullers) = runtime.block_on(async {
        let mut member = Client::connect(broker).await;
        assert_eq!(member.call(send_request("T", 0, "", "hello")).await.code, response_code::SUCCESS);
        member.consume("g", "c@1", &[("T", "*")]).await;
        let pullers: Vec<_> = (0..PULLERS).map(|_| tokio::spawn(pull_on(broker, 1, Arc::clone(&held)))).collect();
        held.wait().await;
        (member, pullers)
    });
    let (done, ended) = std::sync::mpsc::channel();
    // It also says that there was nothing to warn of: no answer that could not be given, no step that did not end.
    let stopper = std::thread::Builder::new().spawn(move || done.send(server.stop("-TERM")).unwrap()).unwrap();
    assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(Some(0)), "long before the pulls' own end");
    stopper.join().unwrap();
    for puller in pullers {
        let codes = runtime.block_on(puller).unwrap();
        assert!(codes.len() >= LONG_POLLS_EACH, "every held pull is answered: {}", codes.len());
        assert!(codes.iter().all(|code| *code == response_code::PULL_NOT_FOUND), "{codes:?}");
    }
}

const LOG_FILE_BYTES: usize = 16 * 1024 * 1024;
const MESSAGES: i64 = 150_000;

struct NobodyListens;

impl ArrivalListener for NobodyListens {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

/// A store as `kill -9` leaves it, of which nothing says how far it is known.
fn leave_a_long_log(root: &Path) {
    let config = StoreConfig { mapped_file_size_commit_log: LOG_FILE_BYTES, message_index_enable: false, ..StoreConfig::at(root) };
    let store = MessageStore::open(config, RealFs::shared(), SystemClock::shared(), Arc::new(NobodyListens)).unwrap();
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
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
        body: Bytes::from_static(b"a short one"),
        properties: Bytes::new(),
        tags_code: 0,
    };
    for _ in 0..MESSAGES {
        assert!(store.put_message(&message).status.is_stored());
    }
    store.shutdown().unwrap();
    for derived in ["checkpoint", "ferrocket.position"] {
        std::fs::remove_file(root.join(derived)).unwrap();
    }
    std::fs::remove_dir_all(root.join("consumequeue")).unwrap();
    std::fs::write(root.join("abort"), "1").unwrap();
}

#[test]
fn a_signal_ends_a_recovery_and_the_next_start_begins_it_anew() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ferrocket-data");
    leave_a_long_log(&root);
    let log_file_bytes = format!("mappedFileSizeCommitLog={LOG_FILE_BYTES}");
    let args = with_any_ports(&["--set", "brokerName=p", "--set", &log_file_bytes]);
    let mut child = command(folder.path(), &args).env("RUST_LOG", "info").spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("reading the log") {
        assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    log.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("stopping before the start is complete") && !said.contains("store recovered"), "{said}");
    assert!(root.join("abort").exists(), "the next start recovers");

    let mut server = Server::start(folder.path(), &args);
    server.namesrv();
    let broker = server.broker("p");
    let max_offset = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let header = GetMaxOffsetRequestHeader { topic: "T".into(), queue_id: 0, ..GetMaxOffsetRequestHeader::default() };
        let response = Client::connect(broker).await.call_with(request_code::GET_MAX_OFFSET, &header).await;
        response.header::<GetMaxOffsetResponseHeader>().unwrap().offset
    });
    assert_eq!(max_offset, MESSAGES);
    // Its directory was taken away.
    let (code, warnings) = server.stop_and_hear("-TERM");
    assert_eq!(code, Some(0));
    assert!(warnings.contains("ConsumeQueues lack messages") && warnings.lines().count() == 1, "{warnings}");
}

#[test]
fn a_send_that_waits_for_a_slave_is_answered_at_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["brokerName=s", "brokerRole=SYNC_MASTER", "inSyncReplicas=2", "slaveTimeout=60000"].map(|set| ["--set", set]);
    let mut server = Server::start(folder.path(), &with_any_ports(settings.as_flattened()));
    server.namesrv();
    let broker = server.broker("s");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut client, send) = runtime.block_on(async {
        let mut client = Client::connect(broker).await;
        let send = client.begin(send_request("T", 0, "", "x")).await;
        assert!(!client.is_answered(send).await);
        (client, send)
    });
    let answer = runtime.spawn(async move { client.response(send).await.code });
    assert_eq!(server.stop("-TERM"), Some(0));
    assert_eq!(runtime.block_on(answer).unwrap(), response_code::FLUSH_SLAVE_TIMEOUT);
}
