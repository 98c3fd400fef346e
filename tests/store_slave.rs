// SPDX-License-Identifier: Apache-2.0
//! A second store is handed the first one's log in pieces, as a slave is, and comes to the same queues, index and arrivals; also
//! after a power cut in the middle.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ferrocket::runtime::ManualClock;
use ferrocket::store::{
    Crash, FlushDiskType, MemoryFs, MessageStore, Needs, Operation, PutMessageStatus, PutResult, RawAppendError, StoreConfig,
};
use parking_lot::Mutex;
use support::log::{Arrivals, FILE_BYTES, assert_same, fill, log_bytes, message, node};

/// What a slave does with what comes from `bytes`, which begin at `start` in the master's log; the lengths of the pieces go round.
fn feed(slave: &MessageStore, start: i64, bytes: &[u8], lengths: &[usize]) -> Result<(), RawAppendError> {
    let mut arrived = 0;
    let mut at = 0;
    for length in lengths.iter().cycle() {
        arrived = (arrived + length).min(bytes.len());
        at = (slave.append_raw(start + at as i64, &bytes[at..arrived])? - start) as usize;
        if arrived == bytes.len() {
            break;
        }
    }
    assert_eq!(slave.max_phy_offset(), start + bytes.len() as i64);
    Ok(())
}

#[test]
fn a_slave_comes_to_what_its_master_has_whatever_the_pieces() {
    for flush_disk_type in [FlushDiskType::Async, FlushDiskType::Sync] {
        let master = node(MemoryFs::new(), flush_disk_type);
        fill(&master.store);
        let bytes = log_bytes(&master);
        assert!(bytes.len() > 3 * FILE_BYTES, "several files");
        for lengths in [&[1][..], &[7, 113, 1], &[4_096], &[FILE_BYTES + 5], &[bytes.len()]] {
            let story = format!("{flush_disk_type:?}, pieces of {lengths:?}");
            let slave = node(MemoryFs::new(), flush_disk_type);
            feed(&slave.store, 0, &bytes, lengths).unwrap();
            if flush_disk_type == FlushDiskType::Sync {
                assert!(slave.arrivals.0.lock().is_empty(), "{story}: nothing is readable before it is on the disk");
                slave.store.flush_log();
            }
            assert_eq!(log_bytes(&slave), bytes, "{story}");
            assert_eq!(*slave.arrivals.0.lock(), *master.arrivals.0.lock(), "{story}");
            assert_same(&master, &slave, &story);
        }
    }
}

#[test]
fn after_a_power_cut_a_slave_goes_on_where_its_log_ends() {
    let master = node(MemoryFs::new(), FlushDiskType::Async);
    fill(&master.store);
    let bytes = log_bytes(&master);
    for cut in [1, 900, 5_003, FILE_BYTES - 9, FILE_BYTES, 2 * FILE_BYTES + 77, bytes.len()] {
        let slave = node(MemoryFs::new(), FlushDiskType::Async);
        let (mut at, mut arrived, mut durable) = (0, 0, 0);
        // The last piece mostly ends inside a record.
        for piece in 1.. {
            arrived = (arrived + 331).min(cut);
            at = slave.store.append_raw(at, &bytes[at as usize..arrived]).unwrap();
            if piece % 9 == 0 {
                slave.store.flush_log();
                slave.store.run_maintenance();
                durable = at;
            }
            if arrived == cut {
                break;
            }
        }
        for crash in [Crash::PowerCut(0), Crash::PowerCut(7), Crash::Killed] {
            let story = format!("{crash:?} after {cut} bytes");
            let slave = node(slave.fs.crashed(crash), FlushDiskType::Async);
            let found = slave.store.max_phy_offset();
            assert!((durable..=at).contains(&found), "{story}: {found} of {durable} to {at}");
            feed(&slave.store, found, &bytes[found as usize..], &[613, 2]).unwrap();
            assert_same(&master, &slave, &story);
        }
    }
}

#[test]
fn an_empty_slave_may_begin_at_a_later_file() {
    let master = node(MemoryFs::new(), FlushDiskType::Async);
    fill(&master.store);
    let bytes = log_bytes(&master);
    let start = 2 * FILE_BYTES;
    let slave = node(MemoryFs::new(), FlushDiskType::Async);
    feed(&slave.store, start as i64, &bytes[start..], &[1_000]).unwrap();
    assert_eq!((slave.store.min_phy_offset(), slave.store.max_phy_offset()), (start as i64, bytes.len() as i64));
    for (topic, queue_id) in slave.store.queues() {
        let offsets = slave.store.queue_offsets(&topic, queue_id).unwrap();
        assert_eq!(offsets.end, master.store.max_offset(&topic, queue_id), "{topic} {queue_id}");
        for offset in offsets {
            let unit = |store: &MessageStore| store.consume_queue_unit(&topic, queue_id, offset).unwrap().unwrap();
            assert_eq!(unit(&slave.store), unit(&master.store));
            assert!(unit(&slave.store).physical_offset >= start as i64);
        }
    }
}

#[test]
fn bytes_that_are_no_stretch_of_a_log_are_refused_and_leave_no_trace() {
    let master = node(MemoryFs::new(), FlushDiskType::Async);
    fill(&master.store);
    let bytes = log_bytes(&master);
    let slave = node(MemoryFs::new(), FlushDiskType::Async);
    let append = |at: i64, piece: &[u8]| slave.store.append_raw(at, piece);
    let first = append(0, &bytes[..1_000]).unwrap();
    assert!(first > 0 && first < 1_000);
    let at = first as usize;
    let not_at_end =
        |offset: i64| matches!(append(offset, &bytes[offset as usize..2_000]), Err(RawAppendError::NotAtEnd { end, .. }) if end == first);
    assert!(not_at_end(0) && not_at_end(first + 1) && not_at_end(first - 1));
    // The next record with one byte changed: its magic, its place in the log, its body.
    let record_bytes = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    for changed in [4, 35, record_bytes - 60] {
        let mut piece = bytes[at..at + 2_000].to_vec();
        piece[changed] ^= 0x10;
        let refused = append(first, &piece);
        assert!(matches!(refused, Err(RawAppendError::NoRecord { offset }) if offset == first), "byte {changed}: {refused:?}");
    }
    let mut long = bytes[at..at + 2_000].to_vec();
    long[..4].copy_from_slice(&(FILE_BYTES as u32).to_be_bytes());
    assert!(append(first, &long).is_err(), "a length that cannot be");
    assert!(matches!(append(first, b"GET / HTTP/1.1"), Err(RawAppendError::NoRecord { .. })));
    assert_eq!(slave.store.max_phy_offset(), first);
    // Nothing of it stands in the way of what is right; a disk that is full for a moment neither.
    slave.fs.fail(Operation::Reserve, "commitlog", std::io::ErrorKind::StorageFull, 2);
    let refused = feed(&slave.store, first, &bytes[at..], &[700]);
    assert!(matches!(refused, Ok(()) | Err(RawAppendError::Refused(PutMessageStatus::ServiceNotAvailable))), "{refused:?}");
    slave.fs.heal();
    slave.store.clean();
    let end = slave.store.max_phy_offset();
    feed(&slave.store, end, &bytes[end as usize..], &[700]).unwrap();
    assert_same(&master, &slave, "after refusals");
}

#[test]
fn a_master_with_longer_files_is_refused() {
    let master = node(MemoryFs::new(), FlushDiskType::Async);
    fill(&master.store);
    let bytes = log_bytes(&master);
    for file_bytes in [FILE_BYTES / 2, FILE_BYTES * 2] {
        let config = StoreConfig { mapped_file_size_commit_log: file_bytes, ..StoreConfig::at("/store") };
        let clock = Arc::new(ManualClock::at_millis(1_700_000_000_000));
        let slave = MessageStore::open(config, MemoryFs::new().shared(), clock, Arc::new(Arrivals::default())).unwrap();
        let refused = feed(&slave, 0, &bytes, &[512]);
        assert!(matches!(refused, Err(RawAppendError::OtherFileLength { .. })), "{file_bytes}: {refused:?}");
        assert!(slave.max_phy_offset() > 0, "what came before is taken");
    }
}

/// What the waiters of a put were told, each once.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<PutMessageStatus>>>);

impl Told {
    fn wait(&self, store: &MessageStore, put: &PutResult, disk: bool, replicas: usize) {
        let told = self.clone();
        store.when_settled(put, Needs { disk, replicas }, Duration::from_secs(3), Box::new(move |status| told.0.lock().push(status)));
    }

    fn take(&self) -> Vec<PutMessageStatus> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// handleDiskFlushAndHA of CommitLog.java: the producer is answered when the disk and the slaves that it asked for have its message.
#[test]
fn a_put_is_settled_when_the_slaves_that_it_needs_have_it() {
    use PutMessageStatus::{FlushDiskTimeout, FlushSlaveTimeout, PutOk};
    let master = node(MemoryFs::new(), FlushDiskType::Sync);
    let slave = node(MemoryFs::new(), FlushDiskType::Async);
    let told = Told::default();
    let mut number = 0;
    let mut put = || {
        number += 1;
        master.store.put_message(&message("T", number, "TAGS\x01TagA\x02"))
    };
    let replicate = || {
        let (from, bytes) = (slave.store.max_phy_offset(), log_bytes(&master));
        feed(&slave.store, from, &bytes[from as usize..], &[300]).unwrap();
        slave.store.max_phy_offset()
    };

    // One slave, and not the disk.
    let first = put();
    told.wait(&master.store, &first, false, 1);
    master.store.flush_log();
    master.store.acknowledge("slave", first.physical_offset);
    assert_eq!(told.take(), [], "the disk is not asked for, and the slave lacks it");
    master.store.acknowledge("slave", replicate());
    assert_eq!(told.take(), [PutOk]);
    told.wait(&master.store, &first, true, 1);
    assert_eq!(told.take(), [PutOk], "what is reached already is answered at once");

    // Both, in either order; with SYNC_FLUSH the disk alone decides what consumers may read.
    let second = put();
    told.wait(&master.store, &second, true, 1);
    master.store.acknowledge("slave", replicate());
    assert_eq!((told.take(), master.store.max_offset("T", 0)), (vec![], 0));
    master.store.flush_log();
    assert_eq!(told.take(), [PutOk]);
    let third = put();
    told.wait(&master.store, &third, true, 1);
    master.store.flush_log();
    assert_eq!(told.take(), []);
    master.store.acknowledge("slave", replicate());
    assert_eq!(told.take(), [PutOk]);

    // Two slaves: one that is gone does not count, and one that boasts has no more than our log.
    let fourth = put();
    told.wait(&master.store, &fourth, false, 2);
    master.store.acknowledge("slave", replicate());
    master.store.acknowledge("other", fourth.physical_offset);
    master.store.acknowledge("gone", fourth.physical_offset);
    master.store.forget_replica("gone");
    assert_eq!(told.take(), []);
    master.store.acknowledge("other", i64::MAX);
    assert_eq!(told.take(), [PutOk]);
    master.store.forget_replica("other");

    // Time is over by the clock alone: each is told what it lacks, once.
    let fifth = put();
    told.wait(&master.store, &fifth, false, 1);
    told.wait(&master.store, &fifth, true, 1);
    told.wait(&master.store, &fifth, true, 0);
    master.clock.advance(Duration::from_millis(2_999));
    master.store.expire_waiters();
    assert_eq!(told.take(), []);
    master.clock.advance(Duration::from_millis(1));
    master.store.expire_waiters();
    let mut statuses = told.take();
    statuses.sort_by_key(|status| format!("{status:?}"));
    assert_eq!(statuses, [FlushDiskTimeout, FlushSlaveTimeout, FlushSlaveTimeout]);
    master.store.flush_log();
    master.store.acknowledge("slave", replicate());
    assert_eq!(told.take(), [], "answered once");
    let sixth = put();
    told.wait(&master.store, &sixth, true, 1);
    master.store.acknowledge("slave", replicate());
    master.clock.advance(Duration::from_secs(3));
    master.store.expire_waiters();
    assert_eq!(told.take(), [FlushDiskTimeout], "the slave has it, the disk does not");
}
