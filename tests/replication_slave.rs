// SPDX-License-Identifier: Apache-2.0
//! A slave and a master that is a plain socket: whatever the pieces, the cuts and the crashes, the slave's log is a beginning of the
//! master's, and goes on where it ends.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::time::Duration;

use ferrocket::broker::role::Role;
use ferrocket::runtime::{Clock, ManualClock};
use ferrocket::store::{COMPARED_BYTES, Crash, FlushDiskType, MemoryFs};
use ferrocket_protocol::ha::{HA_REPORT_BYTES, HaHeader, decode_report};
use ferrocket_protocol::message::layout;
use ferrocket_protocol::response_code;
use support::log::{FILE_BYTES, Node, assert_same_stores, fill, log_bytes, log_bytes_at, node};
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
        let start = link.resume(&slave, &bytes).await;
        assert!(start >= last, "{start} after {last}");
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
        assert_eq!(link.resume(&slave, &bytes).await, end, "{story}");
        link.write_all(&sent).await;
        assert_eq!(link.closed(story).await, 0, "{story}: nothing is reported");
        assert_eq!(end_of(&slave), end, "{story}");
    }
    // What is right goes in.
    let mut link = port.accept_again(&clock).await;
    link.resume(&slave, &bytes).await;
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
        let start = link.resume(&slave, &bytes).await;
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
    // Its log is another now, which shows where the two have gone apart.
    let start = link.report().await;
    assert!(start < end);
    link.send(start, &bytes[start as usize..10_000]).await;
    link.differs("promoted, and a slave again").await;
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

/// A slave that has all of these bytes, and whose connection has ended.
async fn slave_with(bytes: &[u8]) -> (PlainMaster, MemoryFs, TestBroker, ManualClock) {
    let (port, fs) = (PlainMaster::bind().await, MemoryFs::new());
    let (slave, clock) = slave_of(&port, &fs).await;
    let mut link = port.accept().await;
    link.report().await;
    link.write_all(&frames(0, bytes, &[5_000])).await;
    link.reports_up_to(bytes.len() as i64).await;
    (port, fs, slave, clock)
}

/// Where records begin, and the blanks at the ends of files.
fn places(bytes: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let (mut records, mut blanks, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        if int(at + 4) == layout::MAGIC_BLANK as i32 {
            blanks.push(at)
        } else {
            records.push(at)
        }
        at += int(at) as usize;
    }
    (records, blanks)
}

/// Whatever the other log is: longer, shorter, or of the same length. Java's slave appends what comes.
#[tokio::test]
async fn a_log_that_is_not_the_masters_is_left_as_it_is() {
    let (master, _) = filled_master();
    fill(&master.store);
    let bytes = log_bytes(&master);
    let (records, blanks) = places(&bytes);
    let end = records[records.len() - 40];
    let (port, fs, slave, clock) = slave_with(&bytes[..end]).await;
    let start = *records.iter().find(|record| **record as i64 >= end as i64 - COMPARED_BYTES).unwrap();
    assert!(start > FILE_BYTES, "more than is compared");
    let blanks: Vec<usize> = blanks.into_iter().filter(|blank| (start..end).contains(blank)).collect();
    for (place, other_end) in [(end - 1, bytes.len()), (end - 1, end), (start + 70, bytes.len()), (blanks[0] + 3, end)] {
        let story = format!("other at {place}, up to {other_end}");
        let mut other = bytes[..other_end].to_vec();
        other[place] ^= 0x20;
        let mut link = port.accept_again(&clock).await;
        let from = link.report().await as usize;
        assert_eq!(from, start, "{story}");
        link.write_all(&frames(from as i64, &other[from..], &[3_000, 11])).await;
        link.differs(&story).await;
        assert_eq!(log_of(&fs, &slave), bytes[..end], "{story}");
    }
    // The master's log is shorter, and ends within what is compared; a heartbeat may be under way before.
    let mut link = port.accept_again(&clock).await;
    let from = link.report().await;
    link.send(from, &[]).await;
    clock.advance(Duration::from_millis(1));
    link.write_all(&frames(from, &bytes[from as usize..end - 700], &[900])).await;
    slave.wait_until(|broker| broker.slave.figures(0).last_read_millis == clock.now_millis()).await;
    for _ in 0..2 {
        link.send(end as i64 - 700, &[]).await;
    }
    link.differs("a shorter one").await;
    // What lies behind the head of a blank is nobody's: files of the original may have anything there.
    let mut garbled = bytes.clone();
    for blank in blanks {
        garbled[blank + 8..(blank / FILE_BYTES + 1) * FILE_BYTES].fill(0x5a);
    }
    assert_ne!(garbled, bytes);
    let mut link = port.accept_again(&clock).await;
    assert_eq!(link.resume(&slave, &garbled).await, end as i64);
    link.write_all(&frames(end as i64, &bytes[end..], &[1_000])).await;
    link.reports_up_to(bytes.len() as i64).await;
    assert_eq!(log_of(&fs, &slave), bytes);
    slave.stop().await;
}

/// Masters are silent before their first file: the slave then asks for what lies in the file of its end, the least that a master has that
/// it can follow.
#[tokio::test]
async fn a_master_without_the_older_files_is_followed() {
    let (_, bytes) = filled_master();
    let last_file = bytes.len() / FILE_BYTES * FILE_BYTES;
    let records = places(&bytes).0;
    let inside = *records.iter().find(|record| **record > last_file + 200).unwrap();
    for end in [last_file, inside] {
        let (port, fs, slave, clock) = slave_with(&bytes[..end]).await;
        // 0 would ask for another beginning. Inside of the last file, too, it may have nothing, yet.
        let first = *records.iter().find(|record| **record as i64 >= end as i64 - COMPARED_BYTES).unwrap() as i64;
        for from in [first.max(1), last_file as i64].into_iter().filter(|from| *from < end as i64) {
            let mut link = port.accept_again(&clock).await;
            assert_eq!(link.report().await, from);
            for _ in 0..2 {
                link.send(from, &[]).await;
            }
            assert_eq!(link.closed("a silent master").await, 0);
        }
        let mut link = port.accept_again(&clock).await;
        if end == last_file {
            assert_eq!(link.report().await, end as i64, "there is nothing to compare");
        } else {
            assert_eq!(link.report().await, last_file as i64);
            link.write_all(&frames(last_file as i64, &bytes[last_file..end], &[500])).await;
            assert_eq!(link.report().await, end as i64);
        }
        link.write_all(&frames(end as i64, &bytes[end..], &[500])).await;
        link.reports_up_to(bytes.len() as i64).await;
        assert_eq!(log_of(&fs, &slave), bytes);
        slave.stop().await;
    }
}
