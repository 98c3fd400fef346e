// SPDX-License-Identifier: Apache-2.0
//! A slave and a master that is a plain socket: whatever the pieces, the cuts and the crashes, the slave's log is a beginning of the
//! master's, and goes on where it ends.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::time::Duration;

use ferrocket::broker::role::Role;
use ferrocket::runtime::{Clock, ManualClock};
use ferrocket::store::{Crash, FlushDiskType, MemoryFs, MessageStore};
use ferrocket_protocol::ha::{HA_REPORT_BYTES, HaHeader, decode_report};
use ferrocket_protocol::response_code;
use support::log::{FILE_BYTES, Node, assert_same_stores, fill, log_bytes, log_bytes_at, message, node};
use support::plain_master::{PlainMaster, SlaveLink, as_slave_of, end_of, frame, frames};
use support::{PATIENCE, Setup, TestBroker, send_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn filled_master() -> (Node, Vec<u8>) {
    let master = node(MemoryFs::new(), FlushDiskType::Async);
    fill(&master.store);
    let bytes = log_bytes(&master);
    assert!(bytes.len() > 3 * FILE_BYTES, "several files");
    (master, bytes)
}

/// A slave on files in memory, and the clock that it goes by.
async fn slave_of(master: &PlainMaster, fs: &MemoryFs) -> (TestBroker, ManualClock) {
    let (setup, clock) = Setup::new().on(fs).with_small_files().manual_clock();
    (setup.config(as_slave_of(master.addr)).start().await, clock)
}

fn log_of(fs: &MemoryFs, slave: &TestBroker) -> Vec<u8> {
    log_bytes_at(fs, slave.folder(), &slave.broker.store)
}

#[tokio::test]
async fn a_slave_comes_to_what_its_master_has_whatever_the_pieces() {
    let (master, bytes) = filled_master();
    for flush in [FlushDiskType::Async, FlushDiskType::Sync] {
        for lengths in [&[1][..], &[7, 113, 1], &[4_096], &[32 * 1024, 17], &[bytes.len()]] {
            let story = format!("{flush:?}, pieces of {lengths:?}");
            let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
            let (mut setup, _clock) = Setup::new().on(&fs).with_small_files().manual_clock();
            setup.flush = flush;
            let slave = setup.config(as_slave_of(port.addr)).start().await;
            let mut link = port.accept().await;
            assert_eq!(link.report().await, 0, "{story}: it says at once where it ends");
            // A heartbeat says where the next bytes begin.
            link.send(0, &[]).await;
            let framed = frames(0, &bytes, lengths);
            let SlaveLink { mut read, mut write } = link;
            let sending = async { write.write_all(&framed).await.unwrap() };
            let hearing = async {
                let mut reports = [0; HA_REPORT_BYTES];
                let mut last = 0;
                while last < bytes.len() as i64 {
                    tokio::time::timeout(PATIENCE, read.read_exact(&mut reports)).await.expect("a report").unwrap();
                    let report = decode_report(reports);
                    assert!(report > last, "{story}: {report} after {last}");
                    last = report;
                }
            };
            tokio::join!(sending, hearing);
            if flush == FlushDiskType::Sync {
                assert_eq!(slave.broker.store.flushed_offset(), bytes.len() as i64, "{story}: what it reports is on its disk");
            }
            assert_eq!(log_of(&fs, &slave), bytes, "{story}");
            slave.wait_until(|broker| !broker.store.build_index()).await;
            assert_same_stores(&master.store, &slave.broker.store, &story);
            slave.stop().await;
        }
    }
}

/// The connection ends at any byte, of a header too; the slave comes back after 5 s, at the end of a record.
#[tokio::test]
async fn after_a_cut_a_slave_goes_on_where_its_last_record_ends() {
    let (master, bytes) = filled_master();
    let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
    let (slave, clock) = slave_of(&port, &fs).await;
    let mut link = port.accept().await;
    let (mut cuts, mut last) = (0, -1);
    loop {
        let start = link.report().await;
        assert!(start >= last && start == end_of(&slave), "{start} after {last}");
        last = start;
        if start == bytes.len() as i64 {
            break;
        }
        let framed = frames(start, &bytes[start as usize..], &[300, 41]);
        // 1 to 1,400 bytes, so that it comes back without a record, too.
        let cut = framed.len().min(1 + cuts * 397 % 1_400);
        link.write_all(&framed[..cut]).await;
        link.write.shutdown().await.unwrap();
        link.closed("closed").await;
        cuts += 1;
        link = port.accept_again(&clock).await;
    }
    assert!(cuts > 60, "{cuts} cuts");
    assert_eq!(log_of(&fs, &slave), bytes);
    slave.wait_until(|broker| !broker.store.build_index()).await;
    assert_same_stores(&master.store, &slave.broker.store, "after cuts");
    slave.stop().await;
}

/// Nothing that is no piece of the master's log changes anything, or is kept.
#[tokio::test]
async fn what_no_master_sends_ends_the_connection_and_leaves_no_trace() {
    let (_, bytes) = filled_master();
    let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
    let (slave, clock) = slave_of(&port, &fs).await;
    let mut link = port.accept().await;
    assert_eq!(link.report().await, 0);
    link.send(0, &bytes[..2_000]).await;
    let mut end = 0;
    while end < 1_000 {
        end = link.report().await;
    }
    let at = end as usize;
    let header = |physical_offset, body_bytes| HaHeader { physical_offset, body_bytes }.encode().to_vec();
    let mut damaged = bytes[at..at + 2_000].to_vec();
    // Its body's checksum says so.
    damaged[90] ^= 0x10;
    let mut endless = bytes[at..at + 400].to_vec();
    endless[..4].copy_from_slice(&i32::MAX.to_be_bytes());
    let hostile = [
        ("elsewhere", header(end + 1, 0)),
        ("before", frame(0, &bytes[..500])),
        ("behind", frame(end + 500, &bytes[at + 500..at + 900])),
        ("negative offset", header(i64::MIN, 0)),
        ("negative length", header(end, -1)),
        ("lowest length", header(end, i32::MIN)),
        ("more than the original sends", header(end, 4 * 1024 * 1024 - 11)),
        ("highest length", header(end, i32::MAX)),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("no record", frame(end, &[0x55; 400])),
        ("a damaged record", frame(end, &damaged)),
        ("a record that no file holds", frame(end, &endless)),
    ];
    link.write.shutdown().await.unwrap();
    link.closed("closed").await;
    for (story, sent) in hostile {
        let mut link = port.accept_again(&clock).await;
        assert_eq!(link.report().await, end, "{story}");
        link.write_all(&sent).await;
        assert_eq!(link.closed(story).await, 0, "{story}: nothing is reported");
        assert_eq!(end_of(&slave), end, "{story}");
    }
    // What is right goes in.
    let mut link = port.accept_again(&clock).await;
    link.report().await;
    link.write_all(&frames(end, &bytes[at..], &[5_000])).await;
    link.reports_up_to(bytes.len() as i64).await;
    assert_eq!(log_of(&fs, &slave), bytes);
    slave.stop().await;
}

/// DefaultHAClient: reports every haSendHeartbeatInterval, and leaves a master that is silent for haHousekeepingInterval.
#[tokio::test]
async fn a_slave_says_that_it_lives_and_leaves_a_master_that_does_not() {
    let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
    let (slave, clock) = slave_of(&port, &fs).await;
    let mut link = port.accept().await;
    assert_eq!(link.report().await, 0);
    for _ in 0..6 {
        // Heartbeats keep the connection: 30 s go by.
        link.send(0, &[]).await;
        slave.wait_until(|broker| broker.slave.figures(0).last_read_millis == clock.now_millis()).await;
        slave.advance(&clock, Duration::from_secs(5)).await;
        assert_eq!(link.report().await, 0);
    }
    // 5 s of it are over.
    for second in 5..20 {
        assert!(slave.broker.slave.is_connected(), "after {second} s of silence");
        slave.advance(&clock, Duration::from_secs(1)).await;
    }
    slave.wait_until(|broker| !broker.slave.is_connected()).await;
    link.closed("closed").await;
    let mut link = port.accept_again(&clock).await;
    assert_eq!(link.report().await, 0);
    slave.stop().await;
}

#[tokio::test]
async fn an_empty_slave_begins_where_the_masters_last_file_does() {
    let (_, bytes) = filled_master();
    let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
    let (slave, clock) = slave_of(&port, &fs).await;
    let mut link = port.accept().await;
    link.report().await;
    // No file begins there.
    link.write_all(&frames(1_000, &bytes[1_000..3_000], &[500])).await;
    link.closed("closed").await;
    let mut link = port.accept_again(&clock).await;
    assert_eq!(link.report().await, 0);
    let start = 2 * FILE_BYTES;
    link.send(start as i64, &[]).await;
    link.write_all(&frames(start as i64, &bytes[start..], &[1_000])).await;
    link.reports_up_to(bytes.len() as i64).await;
    assert_eq!((slave.broker.store.min_phy_offset(), log_of(&fs, &slave)), (start as i64, bytes[start..].to_vec()));
    slave.stop().await;
}

/// The file systems of a slave that is killed, or whose machine loses its power, at any moment.
#[tokio::test]
async fn after_a_crash_a_slave_goes_on_without_a_gap() {
    let (master, bytes) = filled_master();
    let port = PlainMaster::bind().await;
    let mut fs = MemoryFs::new();
    let (mut slave, clock) = slave_of(&port, &fs).await;
    let mut link = port.accept().await;
    let mut life = 0;
    loop {
        let start = link.report().await;
        if start == bytes.len() as i64 {
            break;
        }
        let end = bytes.len().min(start as usize + 4_000 + life * 611);
        link.write_all(&frames(start, &bytes[start as usize..end], &[701])).await;
        let mut reported = start;
        while reported + 1_000 < end as i64 {
            reported = link.report().await;
        }
        if life % 3 == 0 {
            slave.broker.store.flush_log();
        }
        let flushed = slave.broker.store.flushed_offset();
        let crash = [Crash::Killed, Crash::PowerCut(life as u64), Crash::PowerCut(0)][life % 3];
        let image = fs.crashed(crash);
        drop(link);
        let setup = slave.stop().await.with_small_files().with_clock(&clock).on(&image).config(as_slave_of(port.addr));
        (slave, fs) = (setup.start().await, image);
        let found = end_of(&slave);
        assert!(found >= if crash == Crash::Killed { reported } else { flushed }, "life {life}, {crash:?}: {found}");
        assert_eq!(log_of(&fs, &slave), bytes[..found as usize], "life {life}, {crash:?}");
        link = port.accept_again(&clock).await;
        life += 1;
    }
    assert!(life > 6, "{life} lives");
    slave.wait_until(|broker| !broker.store.build_index()).await;
    assert_same_stores(&master.store, &slave.broker.store, "after crashes");
    slave.stop().await;
}

/// A slave takes no messages, and what it becomes takes nothing of its former master's.
#[tokio::test]
async fn a_change_of_role_ends_the_copy_and_begins_the_other() {
    let (_, bytes) = filled_master();
    let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
    let (slave, clock) = slave_of(&port, &fs).await;
    slave.create_topic("T", 1);
    let mut link = port.accept().await;
    link.report().await;
    link.write_all(&frames(0, &bytes[..5_000], &[5_000])).await;
    while link.report().await < 4_000 {}
    let end = end_of(&slave);
    let mut client = slave.connect().await;
    let refused = client.call(send_request("T", 0, "", "one")).await;
    assert_eq!(refused.code, response_code::SYSTEM_BUSY);
    assert_eq!(support::remark(&refused), "[REJECTREQUEST]system busy, start flow control for a while");
    assert_eq!(end_of(&slave), end);

    slave.broker.change_role(Role::Master).unwrap();
    let SlaveLink { read, mut write } = link;
    // It may be closed already.
    let _ = write.write_all(&frames(end, &bytes[end as usize..10_000], &[1_000])).await;
    SlaveLink { read, write }.closed("closed").await;
    assert_eq!(end_of(&slave), end, "nothing of the master's follows");
    client.send("T", 0, "", "one").await;
    let own_end = end_of(&slave);
    assert!(own_end > end);

    slave.broker.change_role(Role::Slave).unwrap();
    let mut link = port.accept_again(&clock).await;
    assert_eq!(link.report().await, own_end);
    // Its log is another now, which the master cannot know.
    link.send(end, &bytes[end as usize..10_000]).await;
    assert_eq!(link.closed("closed").await, 0);
    assert_eq!(end_of(&slave), own_end);
    slave.stop().await;
}

/// A master whose address is unknown is waited for, and followed as soon as a name server says where it is.
#[tokio::test]
async fn a_master_that_becomes_known_is_followed_at_once() {
    let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
    let (setup, _clock) = Setup::new().on(&fs).manual_clock();
    let slave = setup.config(as_slave_of(port.addr)).config(|config| config.ha_master_address.clear()).start().await;
    assert!(!slave.broker.slave.is_connected());
    slave.broker.slave.learn_master(Some("127.0.0.1:1".to_owned()), Some(port.addr.to_string()));
    assert_eq!(port.accept().await.report().await, 0);
    slave.stop().await;
}

/// xorshift64*: the same story for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides) as usize
    }
}

/// A master's store, its slave, and what goes between them.
struct World {
    dice: Dice,
    master: Node,
    /// Its messages so far.
    count: usize,
    port: PlainMaster,
    slave: TestBroker,
    slave_fs: MemoryFs,
    clock: ManualClock,
    link: Option<SlaveLink>,
    /// What the master has sent over the link ends here in its log, and what of that is still on its way.
    next: i64,
    on_its_way: Vec<u8>,
}

impl World {
    async fn begin(seed: u64) -> Self {
        let (port, slave_fs) = (PlainMaster::bind().await, MemoryFs::new());
        let (slave, clock) = slave_of(&port, &slave_fs).await;
        let link = Some(port.accept().await);
        let master = node(MemoryFs::new(), FlushDiskType::Async);
        let mut world = Self { dice: Dice(seed), master, count: 0, port, slave, slave_fs, clock, link, next: 0, on_its_way: Vec::new() };
        assert_eq!(world.link.as_mut().unwrap().report().await, 0);
        world
    }

    async fn step(&mut self) {
        match self.dice.roll(12) {
            0..=3 => self.put(),
            4..=8 => self.send().await,
            9 => self.cut(),
            10 => self.crash_master(),
            _ => self.crash_slave().await,
        }
    }

    fn put(&mut self) {
        for _ in 0..=self.dice.roll(20) {
            self.count += 1;
            let message = message(["T0", "T1"][self.dice.roll(2)], self.count, "TAGS\x01A\x02");
            assert!(self.master.store.put_message(&message).status.is_stored());
        }
    }

    /// Some of what the slave has not; at times it must be asked first.
    async fn send(&mut self) {
        if self.link.is_none() {
            let mut link = self.port.accept_again(&self.clock).await;
            self.next = link.report().await;
            assert_eq!(self.next, end_of(&self.slave), "it says where its log ends");
            self.on_its_way.clear();
            self.link = Some(link);
        }
        // A master of which the power may fail does not send what it may lose: else its slave would be ahead of it.
        self.master.store.flush_log();
        let bytes = log_bytes(&self.master);
        let lengths = [1 + self.dice.roll(3_000), 1 + self.dice.roll(200)];
        self.on_its_way.extend(frames(self.next, &bytes[self.next as usize..], &lengths));
        self.next = bytes.len() as i64;
        let count = self.on_its_way.len().min(1 + self.dice.roll(4_000));
        let sent: Vec<u8> = self.on_its_way.drain(..count).collect();
        self.link.as_mut().unwrap().write_all(&sent).await;
    }

    fn cut(&mut self) {
        self.link = None;
    }

    fn crash_master(&mut self) {
        self.cut();
        let crash = if self.dice.roll(2) == 0 { Crash::Killed } else { Crash::PowerCut(self.dice.roll(9) as u64) };
        self.master = node(self.master.fs.crashed(crash), FlushDiskType::Async);
    }

    async fn crash_slave(&mut self) {
        self.cut();
        if self.dice.roll(2) == 0 {
            self.slave.broker.store.flush_log();
        }
        let crash = if self.dice.roll(2) == 0 { Crash::Killed } else { Crash::PowerCut(self.dice.roll(9) as u64) };
        let image = self.slave_fs.crashed(crash);
        // The connections of its former life are none of the next one's.
        self.port = PlainMaster::bind().await;
        let setup = Setup::new().on(&image).with_small_files().with_clock(&self.clock).config(as_slave_of(self.port.addr));
        let setup = setup.in_folder_of(&self.slave);
        let before = std::mem::replace(&mut self.slave, setup.start().await);
        before.stop().await;
        self.slave_fs = image;
        let (master, slave) = (log_bytes(&self.master), log_of(&self.slave_fs, &self.slave));
        assert!(master.starts_with(&slave), "{crash:?}: the slave's {} bytes are no beginning of {}", slave.len(), master.len());
    }

    /// In the end the slave has everything, in every queue.
    async fn end(mut self, seed: u64) {
        self.cut();
        self.put();
        self.send().await;
        let rest = std::mem::take(&mut self.on_its_way);
        let link = self.link.as_mut().unwrap();
        link.write_all(&rest).await;
        let end = self.next;
        self.slave.wait_until(|slave| slave.store.max_phy_offset() == end).await;
        assert_eq!(log_of(&self.slave_fs, &self.slave), log_bytes(&self.master), "seed {seed}");
        for (topic, queue_id) in self.master.store.queues() {
            let (master, slave) = (&self.master.store, &self.slave.broker.store);
            let offsets = master.queue_offsets(&topic, queue_id).unwrap();
            assert_eq!(slave.queue_offsets(&topic, queue_id).unwrap(), offsets, "seed {seed}: {topic} {queue_id}");
            for offset in offsets {
                let unit = |store: &MessageStore| store.consume_queue_unit(&topic, queue_id, offset).unwrap();
                assert_eq!(unit(slave), unit(master), "seed {seed}: {topic} {queue_id} at {offset}");
            }
        }
        self.slave.stop().await;
    }
}

/// Messages, pieces of any length, cuts at any byte, kills and power cuts of either end.
#[tokio::test]
async fn whatever_happens_a_slave_has_a_beginning_of_its_masters_log() {
    for seed in 1..=6 {
        let mut world = World::begin(seed * 7_919).await;
        for _ in 0..150 {
            world.step().await;
        }
        world.end(seed).await;
    }
}
