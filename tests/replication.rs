// SPDX-License-Identifier: Apache-2.0
//! A master and its slaves: what a slave that speaks the original's bytes is sent, what of its reports is believed, what a send waits
//! for, and what each key of it changes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrocket::broker::replication::master::{SLAVES_MAX, copies};
use ferrocket::broker::role::Role;
use ferrocket::config::{BrokerConfig, BrokerRole};
use ferrocket::runtime::{Clock, ManualClock};
use ferrocket::store::{Fs, MemoryFs, StoreConfig};
use ferrocket_protocol::body::ha::HaRuntimeInfo;
use ferrocket_protocol::body::kv::KvTable;
use ferrocket_protocol::ha::{HA_HEADER_BYTES, HaHeader, LOGS_DIFFER_REPORT, encode_report};
use ferrocket_protocol::message::MessageInner;
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use support::{Client, PATIENCE, Setup, TestBroker, remark, send_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const FILE_BYTES: usize = support::log::FILE_BYTES;
const TOPIC: &str = "T";

/// A slave that keeps what it is sent, without reading it.
struct PlainSlave {
    stream: TcpStream,
    start: i64,
    log: Vec<u8>,
}

impl PlainSlave {
    async fn connect(broker: &TestBroker) -> Self {
        Self::on(broker, TcpSocket::new_v4().unwrap()).await
    }

    async fn on(broker: &TestBroker, socket: TcpSocket) -> Self {
        let port = broker.broker.config.load().ha_listen_port as u16;
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, start: 0, log: Vec::new() }
    }

    /// One that has told its end.
    async fn reporting(broker: &TestBroker, end: i64) -> Self {
        let mut slave = Self::connect(broker).await;
        slave.start = end;
        slave.report(end).await;
        slave
    }

    fn end(&self) -> i64 {
        self.start + self.log.len() as i64
    }

    async fn report(&mut self, end: i64) {
        self.stream.write_all(&encode_report(end)).await.unwrap();
    }

    /// The next header, and what follows it, which must fit where this log ends.
    async fn frame(&mut self) -> HaHeader {
        let mut header = [0; HA_HEADER_BYTES];
        tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut header)).await.expect("a frame in time").unwrap();
        let header = HaHeader::decode(header);
        if self.log.is_empty() && self.start == 0 {
            self.start = header.physical_offset;
        }
        assert_eq!(header.physical_offset, self.end());
        let mut body = vec![0; header.body_bytes as usize];
        tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut body)).await.expect("a body in time").unwrap();
        self.log.extend_from_slice(&body);
        header
    }

    /// Until it has everything before `end`; the lengths of the pieces, without heartbeats.
    async fn read_to(&mut self, end: i64) -> Vec<i32> {
        let mut pieces = Vec::new();
        while self.end() < end {
            pieces.push(self.frame().await.body_bytes);
        }
        assert_eq!(self.end(), end);
        pieces.retain(|length| *length > 0);
        pieces
    }

    async fn read_and_report(&mut self, end: i64) {
        self.read_to(end).await;
        self.report(end).await;
    }

    /// Waits until the master has closed the connection, which it may have with more on its way.
    async fn expect_closed(mut self) {
        let mut rest = Vec::new();
        let _reset = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("it is closed in time");
    }
}

/// Small files over a file system in memory, on a clock that stands.
fn setup(change: impl FnOnce(&mut BrokerConfig)) -> (Setup, ManualClock, MemoryFs) {
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().on(&fs).manual_clock();
    (setup.with_small_files().config(change), clock, fs)
}

fn sync_master(copies: i32) -> impl FnOnce(&mut BrokerConfig) {
    move |config| {
        config.broker_role = BrokerRole::SyncMaster;
        config.in_sync_replicas = copies;
    }
}

fn message() -> MessageInner {
    MessageInner {
        topic: TOPIC.into(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_795_219_808_000,
        born_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 2)),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: "one that waits".into(),
        tags_code: 0,
        properties: "".into(),
    }
}

/// Messages that fill several files.
async fn fill(client: &mut Client, count: usize) {
    for number in 0..count {
        client.send(TOPIC, (number % 4) as i32, "A", &"x".repeat(200 + number * 37 % 900)).await;
    }
}

/// The log's bytes from `start` on, through the files.
fn log_bytes(broker: &TestBroker, fs: &MemoryFs, start: i64) -> Vec<u8> {
    let mut names: Vec<_> = fs.paths().into_iter().filter(|path| path.parent() == Some(&*broker.folder().join("commitlog"))).collect();
    names.sort();
    let first: i64 = names[0].file_name().unwrap().to_str().unwrap().parse().unwrap();
    let bytes: Vec<u8> = names.iter().flat_map(|path| fs.read(path).unwrap()).collect();
    let end = broker.broker.store.max_phy_offset();
    bytes[(start - first) as usize..(end - first) as usize].to_vec()
}

/// Moves the clock by steps until `is_so`: whoever follows the clock may begin to do so meanwhile.
async fn advance_until(clock: &ManualClock, step: Duration, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never came");
        clock.advance(step);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Java's DefaultHAConnection: an empty slave gets the last file only, any other one what lies behind its end, blank ends of files too.
#[tokio::test]
async fn a_slave_is_sent_the_log_byte_for_byte_from_where_its_own_ends() {
    let (setup, _clock, fs) = setup(|_| {});
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    fill(&mut client, 120).await;
    let store = &broker.broker.store;
    let end = store.max_phy_offset();
    assert!(end > 4 * FILE_BYTES as i64, "several files");

    let first_record = fs.read(&broker.folder().join("commitlog").join(format!("{:020}", 0))).unwrap();
    let record_bytes = i64::from(i32::from_be_bytes(first_record[..4].try_into().unwrap()));
    let mut late = PlainSlave::reporting(&broker, record_bytes).await;
    let pieces = late.read_to(end).await;
    assert_eq!(late.log, log_bytes(&broker, &fs, record_bytes));
    let mut at = record_bytes;
    for piece in pieces {
        let end_of_file = at - at % FILE_BYTES as i64 + FILE_BYTES as i64;
        at += i64::from(piece);
        assert!(at <= end_of_file, "no piece spans two files");
    }

    let mut empty = PlainSlave::reporting(&broker, 0).await;
    empty.read_to(end).await;
    assert_eq!(empty.start, end - end % FILE_BYTES as i64, "the last file only");
    assert_eq!(empty.log, log_bytes(&broker, &fs, empty.start));

    // Both go on with what is put now.
    fill(&mut client, 40).await;
    let end = store.max_phy_offset();
    for slave in [&mut late, &mut empty] {
        slave.read_to(end).await;
        assert_eq!(slave.log, log_bytes(&broker, &fs, slave.start));
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_slave_is_silent_until_it_reports_and_the_later_of_two_reports_counts() {
    let (setup, clock, _fs) = setup(|_| {});
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    fill(&mut client, 3).await;
    let end = broker.broker.store.max_phy_offset();
    let mut slave = PlainSlave::connect(&broker).await;
    broker.wait_until(|broker| broker.slaves.figures().len() == 1).await;
    for _ in 0..3 {
        broker.advance(&clock, Duration::from_secs(6)).await;
    }
    let mut any = [0];
    assert!(slave.stream.try_read(&mut any).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "not a heartbeat");
    let mut both = encode_report(0).to_vec();
    both.extend(encode_report(end));
    slave.stream.write_all(&both).await.unwrap();
    slave.start = end;
    broker.wait_until(|broker| broker.slaves.figures().first().is_some_and(|slave| slave.sent_offset == end)).await;
    // A report in two halves is one.
    fill(&mut client, 1).await;
    let end = broker.broker.store.max_phy_offset();
    slave.read_to(end).await;
    let report = encode_report(end);
    slave.stream.write_all(&report[..3]).await.unwrap();
    tokio::task::yield_now().await;
    slave.stream.write_all(&report[3..]).await.unwrap();
    broker.wait_until(|broker| broker.slaves.figures()[0].reported_offset == end).await;
    broker.stop().await;
}

#[tokio::test]
async fn reports_that_cannot_be_true_close_the_connection_and_do_no_more() {
    let (setup, _clock, _fs) = setup(sync_master(2));
    let broker = setup.start().await;
    let store = &broker.broker.store;
    let put = store.put_message(&message());
    assert!(put.needs_wait());
    let settled = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&settled);
    let tell = move |_| {
        told.fetch_add(1, Ordering::SeqCst);
    };
    store.when_durable(&put, Box::new(tell));
    let end = store.max_phy_offset();
    for first in [-1, i64::MIN, LOGS_DIFFER_REPORT, end + 1, i64::MAX, i64::from_be_bytes(*b"GET / HT")] {
        PlainSlave::reporting(&broker, first).await.expect_closed().await;
    }
    // Back, and beyond what it was sent.
    let mut back = PlainSlave::reporting(&broker, 0).await;
    back.read_to(end).await;
    back.report(end - 1).await;
    broker.wait_until(|broker| broker.slaves.figures().iter().any(|slave| slave.reported_offset == end - 1)).await;
    back.report(end - 2).await;
    back.expect_closed().await;
    let mut lying = PlainSlave::reporting(&broker, 0).await;
    lying.read_to(end).await;
    lying.report(end + 8).await;
    lying.expect_closed().await;
    // One that has found another log here: after its first report, since as that it is nonsense.
    let mut differing = PlainSlave::reporting(&broker, 0).await;
    differing.read_to(end).await;
    differing.report(LOGS_DIFFER_REPORT).await;
    differing.expect_closed().await;
    // One that ends inside of a report.
    let mut torn = PlainSlave::reporting(&broker, 0).await;
    torn.read_to(end).await;
    torn.stream.write_all(&[0, 0, 0]).await.unwrap();
    torn.stream.shutdown().await.unwrap();
    torn.expect_closed().await;
    broker.wait_until(|broker| broker.slaves.figures().is_empty()).await;
    assert_eq!(settled.load(Ordering::SeqCst), 0, "none of it has acknowledged anything");
    let mut honest = PlainSlave::reporting(&broker, 0).await;
    honest.read_and_report(end).await;
    broker.wait_until(|_| settled.load(Ordering::SeqCst) == 1).await;
    broker.stop().await;
}

#[tokio::test]
async fn no_more_slaves_connect_than_may() {
    let (setup, _clock, _fs) = setup(|_| {});
    let broker = setup.start().await;
    let mut slaves = Vec::new();
    for _ in 0..SLAVES_MAX {
        slaves.push(PlainSlave::reporting(&broker, 0).await);
    }
    broker.wait_until(|broker| broker.slaves.figures().len() == SLAVES_MAX).await;
    PlainSlave::connect(&broker).await.expect_closed().await;
    drop(slaves.pop());
    broker.wait_until(|broker| broker.slaves.figures().len() == SLAVES_MAX - 1).await;
    let _another = PlainSlave::reporting(&broker, 0).await;
    broker.wait_until(|broker| broker.slaves.figures().len() == SLAVES_MAX).await;
    drop(slaves);
    broker.stop().await;
}

/// Places are for slaves: who does not say where his log ends gives his to one that comes.
#[tokio::test]
async fn those_who_say_nothing_keep_no_slave_out() {
    let (setup, _clock, _fs) = setup(|_| {});
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    fill(&mut client, 3).await;
    let mut silent = Vec::new();
    for _ in 0..SLAVES_MAX {
        silent.push(PlainSlave::connect(&broker).await);
    }
    broker.wait_until(|broker| broker.slaves.figures().len() == SLAVES_MAX).await;
    let mut slave = PlainSlave::reporting(&broker, 0).await;
    slave.read_to(broker.broker.store.max_phy_offset()).await;
    silent.remove(0).expect_closed().await;
    broker.stop().await;
}

/// What makes no report is no sign of life, and neither are reports of one that takes nothing.
#[tokio::test]
async fn a_connection_lives_by_reports_and_by_taking_what_it_is_sent() {
    let (setup, clock, _fs) = setup(|config| config.ha_housekeeping_interval = 20_000);
    let broker = setup.start().await;
    let mut dribbling = PlainSlave::connect(&broker).await;
    broker.wait_until(|broker| broker.slaves.figures().len() == 1).await;
    for _ in 0..5 {
        dribbling.stream.write_all(&[0]).await.unwrap();
        broker.advance(&clock, Duration::from_secs(4)).await;
    }
    broker.wait_until(|broker| broker.slaves.figures().is_empty()).await;
    dribbling.expect_closed().await;

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = PlainSlave::on(&broker, socket).await;
    deaf.report(0).await;
    broker.wait_until(|broker| broker.slaves.figures().first().is_some_and(|slave| slave.reported_offset == 0)).await;
    // More than sockets keep.
    let large = MessageInner { body: vec![b'x'; 12_000].into(), ..message() };
    for _ in 0..1_500 {
        assert!(broker.broker.store.put_message(&large).status.is_stored());
    }
    let began = std::time::Instant::now();
    while !broker.broker.slaves.figures().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it reports and takes nothing, and is kept");
        // It may be closed already.
        let _ = deaf.stream.write_all(&encode_report(0)).await;
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    broker.stop().await;
}

/// A slave that comes again before its last connection was found to be dead is one copy. What cannot be told apart are two slaves behind one
/// address: there the older counts again with its next report.
#[tokio::test]
async fn a_slave_that_comes_again_is_no_second_copy() {
    let (setup, _clock, _fs) = setup(sync_master(3));
    let broker = setup.start().await;
    broker.create_topic(TOPIC, 4);
    let mut client = broker.connect().await;
    let mut before = PlainSlave::reporting(&broker, 0).await;
    let sent = client.begin(send_request(TOPIC, 0, "A", "x")).await;
    broker.wait_until(|broker| broker.store.max_phy_offset() > 0).await;
    let end = broker.broker.store.max_phy_offset();
    before.read_and_report(end).await;
    broker.wait_until(|broker| broker.slaves.figures()[0].reported_offset == end).await;
    let mut again = PlainSlave::reporting(&broker, 0).await;
    again.read_and_report(end).await;
    broker.wait_until(|broker| broker.slaves.figures().iter().all(|slave| slave.reported_offset == end)).await;
    assert!(!client.is_answered(sent).await, "one slave, by two connections");
    before.report(end).await;
    assert_eq!(client.response(sent).await.code, response_code::SUCCESS);
    broker.stop().await;
}

#[tokio::test]
async fn the_port_is_a_masters_alone() {
    let (setup, _clock, _fs) = setup(|_| {});
    let broker = setup.start().await;
    let slave = PlainSlave::reporting(&broker, 0).await;
    broker.wait_until(|broker| broker.slaves.figures().len() == 1).await;
    let port = broker.broker.config.load().ha_listen_port as u16;
    broker.broker.change_role(Role::Slave).unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "nobody listens");
    slave.expect_closed().await;
    let status: HaRuntimeInfo =
        support::body(&broker.connect().await.call(RemotingCommand::request(request_code::GET_BROKER_HA_STATUS)).await);
    assert_eq!((status.master, status.ha_client_runtime_info.master_addr), (false, None), "nobody has told it of a master");
    broker.broker.change_role(Role::Master).unwrap();
    let _again = PlainSlave::reporting(&broker, 0).await;
    broker.wait_until(|broker| broker.slaves.figures().len() == 1).await;
    broker.stop().await;
}

/// haSendHeartbeatInterval, haHousekeepingInterval, haTransferBatchSize; by file and by command.
#[tokio::test]
async fn heartbeats_silence_and_pieces_are_as_long_as_they_are_told() {
    let (setup, clock, _fs) = setup(|config| {
        config.ha_send_heartbeat_interval = 700;
        config.ha_housekeeping_interval = 60_000;
        config.ha_transfer_batch_size = 1_000;
    });
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    fill(&mut client, 30).await;
    let end = broker.broker.store.max_phy_offset();
    let mut slave = PlainSlave::reporting(&broker, 0).await;
    let pieces = slave.read_to(end).await;
    assert!(pieces.iter().all(|length| *length <= 1_000) && pieces.contains(&1_000), "{pieces:?}");
    slave.report(end).await;

    let began = clock.nanos();
    let heartbeat = tokio::select! {
        heartbeat = slave.frame() => heartbeat,
        () = async { loop { clock.advance(Duration::from_millis(50)); tokio::time::sleep(Duration::from_millis(2)).await; } } => unreachable!(),
    };
    assert_eq!(heartbeat, HaHeader { physical_offset: end, body_bytes: 0 });
    assert!(clock.nanos() - began >= 650_000_000, "not before its time");

    let set = |text: &'static str| RemotingCommand::request(request_code::UPDATE_BROKER_CONFIG).with_body(text);
    let changed = client.call(set("haTransferBatchSize=300\nhaHousekeepingInterval=5000")).await;
    assert_eq!(changed.code, response_code::SUCCESS, "{}", remark(&changed));
    fill(&mut client, 3).await;
    let end = broker.broker.store.max_phy_offset();
    let pieces = slave.read_to(end).await;
    assert!(pieces.iter().all(|length| *length <= 300), "{pieces:?}");
    slave.report(end).await;
    broker.wait_until(|broker| broker.slaves.figures().first().is_some_and(|slave| slave.reported_offset == end)).await;
    let silent = clock.nanos();
    advance_until(&clock, Duration::from_millis(500), || broker.broker.slaves.figures().is_empty()).await;
    assert!(clock.nanos() - silent >= 4_500_000_000, "the new silence, and no shorter one");
    slave.expect_closed().await;
    broker.stop().await;
}

/// haFlowControlEnable with maxHaTransferByteInSecond: headers and log together. The original counts the headers alone.
#[tokio::test]
async fn a_second_carries_no_more_than_it_may() {
    let (setup, clock, _fs) = setup(|config| {
        config.ha_flow_control_enable = true;
        config.max_ha_transfer_byte_in_second = 4_000;
        config.ha_send_heartbeat_interval = 600_000;
        config.ha_housekeeping_interval = 600_000;
    });
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    fill(&mut client, 20).await;
    let end = broker.broker.store.max_phy_offset();
    assert!((12_300..FILE_BYTES as i64).contains(&end), "{end}");
    let mut slave = PlainSlave::reporting(&broker, 0).await;
    slave.frame().await;
    let sent = |broker: &TestBroker| broker.broker.slaves.figures()[0].sent_offset;
    let first = sent(&broker);
    assert!((3_900..=4_012).contains(&first), "{first}");
    for second in 1..end / 4_100 {
        // It waits for the second's end, and nothing else here follows the clock so soon.
        clock.advance(Duration::from_millis(999));
        tokio::task::yield_now().await;
        assert!(sent(&broker) <= second * 4_012);
        clock.advance(Duration::from_millis(1));
        slave.frame().await;
        broker.wait_until(|broker| broker.slaves.figures()[0].sent_offset == slave.end()).await;
        assert!(slave.end() <= (second + 1) * 4_012, "{} after {second} seconds", slave.end());
    }
    let set = RemotingCommand::request(request_code::UPDATE_BROKER_CONFIG).with_body("haFlowControlEnable=false");
    assert_eq!(client.call(set).await.code, response_code::SUCCESS);
    slave.read_to(broker.broker.store.max_phy_offset()).await;
    broker.stop().await;
}

/// CommitLog.java#handleHA: inSyncReplicas counts the master; what is missing at the end of slaveTimeout is FLUSH_SLAVE_TIMEOUT, and
/// SLAVE_NOT_AVAILABLE is no answer of 5.x.
#[tokio::test]
async fn a_send_waits_for_as_many_slaves_as_it_needs() {
    let (setup, clock, _fs) = setup(sync_master(3));
    let broker = setup.config(|config| config.slave_timeout = 2_000).start().await;
    let mut client = broker.connect().await;
    broker.create_topic(TOPIC, 4);
    let store = &broker.broker.store;

    // Nobody is there.
    let lonely = client.begin(send_request(TOPIC, 0, "A", "lonely")).await;
    assert!(!client.is_answered(lonely).await);
    clock.advance(Duration::from_millis(1_999));
    assert!(!client.is_answered(lonely).await, "its time is not over");
    clock.advance(Duration::from_millis(1));
    assert_eq!(client.response(lonely).await.code, response_code::FLUSH_SLAVE_TIMEOUT);
    // One that does not want to wait does not.
    let header = support::send_header(TOPIC, 0, &[("WAIT", "false")]);
    let unwaited = RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body("unwaited");
    assert_eq!(client.call(unwaited).await.code, response_code::SUCCESS);

    let end = store.max_phy_offset();
    let (mut one, mut other) = (PlainSlave::reporting(&broker, 0).await, PlainSlave::reporting(&broker, 0).await);
    one.read_and_report(end).await;
    other.read_and_report(end).await;
    let both = client.begin(send_request(TOPIC, 0, "A", "both")).await;
    broker.wait_until(|broker| broker.store.max_phy_offset() > end).await;
    let end = store.max_phy_offset();
    one.read_and_report(end).await;
    broker.wait_until(|broker| broker.slaves.figures().iter().any(|slave| slave.reported_offset == end)).await;
    assert!(!client.is_answered(both).await, "one slave is not two");
    other.read_to(end).await;
    other.report(end - 1).await;
    broker.wait_until(|broker| broker.slaves.figures().iter().all(|slave| slave.reported_offset >= end - 1)).await;
    assert!(!client.is_answered(both).await, "a byte is missing");
    other.report(end).await;
    assert_eq!(client.response(both).await.code, response_code::SUCCESS);

    // One goes: what it had counts no longer.
    drop(other);
    broker.wait_until(|broker| broker.slaves.figures().len() == 1).await;
    let missed = client.begin(send_request(TOPIC, 0, "A", "missed")).await;
    broker.wait_until(|broker| broker.store.max_phy_offset() > end).await;
    one.read_and_report(store.max_phy_offset()).await;
    assert!(!client.is_answered(missed).await);
    clock.advance(Duration::from_secs(2));
    assert_eq!(client.response(missed).await.code, response_code::FLUSH_SLAVE_TIMEOUT);
    broker.stop().await;
}

/// With SYNC_FLUSH the disk has its own time, and a slave's answer does not stand in for it.
#[tokio::test]
async fn a_send_may_wait_for_the_disk_and_for_a_slave() {
    let (setup, _clock, _fs) = setup(sync_master(2));
    let broker = setup.sync_flush().start().await;
    let mut client = broker.connect().await;
    let sent = client.begin(send_request(TOPIC, 0, "A", "both")).await;
    broker.wait_until(|broker| broker.store.max_phy_offset() > 0 && broker.store.flushed_offset() == broker.store.max_phy_offset()).await;
    assert!(!client.is_answered(sent).await, "the disk has it, no slave does");
    let mut slave = PlainSlave::reporting(&broker, 0).await;
    slave.read_and_report(broker.broker.store.max_phy_offset()).await;
    assert_eq!(client.response(sent).await.code, response_code::SUCCESS);
    broker.stop().await;
}

/// CommitLog.java#calcNeedAckNums, with enableSlaveActingMaster: too few in sync is said before anything is written.
#[tokio::test]
async fn a_message_that_too_few_slaves_could_have_is_not_written() {
    let (setup, _clock, _fs) = setup(|config| {
        sync_master(2)(config);
        config.enable_slave_acting_master = true;
        config.ha_max_gap_not_in_sync = 1_500;
    });
    let broker = setup.start().await;
    broker.create_topic(TOPIC, 4);
    let mut client = broker.connect().await;
    let store = &broker.broker.store;
    let refused = client.call(send_request(TOPIC, 0, "A", "x")).await;
    assert_eq!((refused.code, remark(&refused)), (response_code::SYSTEM_ERROR, "in-sync replicas not enough"));
    assert_eq!(store.max_phy_offset(), 0, "nothing was written");

    let mut slave = PlainSlave::reporting(&broker, 0).await;
    broker.wait_until(|broker| broker.slaves.figures().first().is_some_and(|slave| slave.reported_offset == 0)).await;
    let sent = client.begin(send_request(TOPIC, 0, "A", &"x".repeat(2_000))).await;
    broker.wait_until(|broker| broker.store.max_phy_offset() > 0).await;
    // The slave is now further behind than one in sync may be.
    assert_eq!(client.call(send_request(TOPIC, 0, "A", "x")).await.code, response_code::SYSTEM_ERROR);
    slave.read_and_report(store.max_phy_offset()).await;
    assert_eq!(client.response(sent).await.code, response_code::SUCCESS);

    // Those that are there will do, down to the least.
    drop(slave);
    broker.wait_until(|broker| broker.slaves.figures().is_empty()).await;
    let reconfigure = |least: i32| {
        let mut config = BrokerConfig::clone(&broker.broker.config.load());
        config.enable_auto_in_sync_replicas = true;
        config.min_in_sync_replicas = least;
        store.reconfigure(StoreConfig { copies: copies(&config), ..(*store.config()).clone() });
    };
    reconfigure(1);
    assert_eq!(client.call(send_request(TOPIC, 0, "A", "alone")).await.code, response_code::SUCCESS);
    reconfigure(2);
    assert_eq!(client.call(send_request(TOPIC, 0, "A", "alone")).await.code, response_code::SYSTEM_ERROR);
    broker.stop().await;
}

/// However many sends wait, one report answers all of them.
#[tokio::test]
async fn one_report_answers_a_thousand_sends() {
    const SENDS: usize = 1_024;
    let (setup, _clock, _fs) = setup(sync_master(2));
    let broker = setup.start().await;
    broker.create_topic(TOPIC, 4);
    let mut client = broker.connect().await;
    let opaques = client.begin_all((0..SENDS).map(|_| send_request(TOPIC, 0, "A", "one of many"))).await;
    broker.wait_until(|broker| broker.store.max_offset(TOPIC, 0) == SENDS as i64).await;
    assert!(!client.is_answered(opaques[0]).await);
    let mut slave = PlainSlave::reporting(&broker, 0).await;
    let end = broker.broker.store.max_phy_offset();
    let answered = |client: &Client| opaques.iter().filter(|opaque| client.has_response(**opaque)).count();
    slave.read_and_report(end).await;
    let mut reads = 0;
    while answered(&client) < SENDS {
        client.read_once().await;
        reads += 1;
    }
    assert!(reads <= SENDS / 16, "{reads} reads for {SENDS} answers");
    broker.stop().await;
}

/// DefaultHAService.java#getRuntimeInfo, and what slaves ask for of what this broker has not.
#[tokio::test]
async fn a_master_says_how_its_slaves_stand() {
    let (setup, clock, _fs) = setup(|config| config.ha_max_gap_not_in_sync = 3_000);
    let broker = setup.start().await;
    let mut client = broker.connect().await;
    fill(&mut client, 8).await;
    let end = broker.broker.store.max_phy_offset();
    let mut near = PlainSlave::reporting(&broker, 0).await;
    near.read_and_report(end).await;
    let far = PlainSlave::reporting(&broker, 0).await;
    broker.wait_until(|broker| broker.slaves.figures().iter().filter(|slave| slave.sent_offset == end).count() == 2).await;
    broker.wait_until(|broker| broker.slaves.figures().iter().any(|slave| slave.reported_offset == end)).await;
    clock.advance(Duration::from_millis(1_500));
    let answer = client.call(RemotingCommand::request(request_code::GET_BROKER_HA_STATUS)).await;
    let info: HaRuntimeInfo = support::body(&answer);
    assert_eq!((info.master, info.master_commit_log_max_offset, info.in_sync_slave_nums), (true, end, 1));
    let of = |slave: &PlainSlave| {
        let addr = slave.stream.local_addr().unwrap().to_string();
        info.ha_connection_info.iter().find(|info| info.addr == addr).unwrap().clone()
    };
    assert_eq!((of(&near).slave_ack_offset, of(&near).diff, of(&near).in_sync, of(&near).transfer_from_where), (end, 0, true, end));
    assert_eq!((of(&far).slave_ack_offset, of(&far).diff, of(&far).in_sync), (0, end, false));
    let keys = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(keys.contains("\"haClientRuntimeInfo\":{") && keys.contains("\"masterCommitLogMaxOffset\""), "{keys}");

    let figures: KvTable = support::body(&client.call(RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO)).await);
    let slave_of = |slave: &PlainSlave| figures.table[&format!("haSlave_{}", slave.stream.local_addr().unwrap())].clone();
    assert_eq!(slave_of(&near), "0 bytes, 0 ms behind");
    assert_eq!(slave_of(&far), format!("{end} bytes, 1500 ms behind"));

    for (code, text) in [
        (request_code::GET_TIMER_CHECK_POINT, "The checkpoint is null"),
        (request_code::GET_TIMER_METRICS, "The timer message store is null"),
    ] {
        let answer = client.call(RemotingCommand::request(code)).await;
        assert_eq!((answer.code, remark(&answer)), (response_code::SYSTEM_ERROR, text));
    }
    let modes = client.call(RemotingCommand::request(request_code::GET_ALL_MESSAGE_REQUEST_MODE)).await;
    assert_eq!((modes.code, &modes.body[..]), (response_code::SUCCESS, &b"{\"messageRequestModeMap\":{}}"[..]));
    broker.stop().await;
}
