// SPDX-License-Identifier: Apache-2.0
//! A master and its slave, both whole brokers on files in memory, through random sends, cuts, kills and power cuts of either end.
//!
//! * What was acknowledged with `inSyncReplicas=2` and SYNC_FLUSH is on both disks, in one order, whatever happens to either end.
//! * A kill takes nothing of a log, and a power cut nothing that had been synced, with either `flushDiskType`.
//! * The slave's log is a beginning of its master's, and so are its ConsumeQueues. Where a power cut leaves two logs that differ, the slave
//!   takes nothing more: its operator empties it.
//!
//! Of what was not synced nothing is promised after a power cut, which with ASYNC_FLUSH is what came last: a record bears a checksum of its
//! body alone, so that a last record whose properties lay in a page that was lost is taken for whole. That log, of a master or of a slave,
//! differs from the other one in less than its last page, and the walk has the comparison find it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ferrocket::config::{BrokerConfig, BrokerRole};
use ferrocket::runtime::ManualClock;
use ferrocket::store::{Crash, FlushDiskType, MemoryFs, MessageStore, Operation, PutMessageStatus};
use parking_lot::Mutex;
use support::dice::Dice;
use support::log::{log_bytes_at, message};
use support::plain_master::{as_slave_of, end_of};
use support::{PATIENCE, Setup, TestBroker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Worlds of one test. Two tests, so that two processors have work: 12,000 steps in all, of which nine in ten are puts and one in 50 is a
/// crash.
const WORLDS: u64 = 4;
const STEPS: usize = 1_500;
/// Of memory, and of what a power cut takes.
const PAGE_BYTES: usize = 4_096;

impl Dice {
    fn crash(&mut self) -> Crash {
        match self.roll(4) {
            0 => Crash::Killed,
            1 => Crash::PowerCut(0),
            _ => Crash::PowerCut(1 + self.roll(9)),
        }
    }
}

/// What lies between the two: it can be cut after any byte, and stays where it is when the master comes back elsewhere.
struct Wire {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
    shared: Arc<WireState>,
}

struct WireState {
    master: Mutex<SocketAddr>,
    current: Mutex<Option<JoinHandle<()>>>,
    /// Bytes from the master that still pass.
    passes: AtomicI64,
    connections: AtomicUsize,
    /// Nobody comes through.
    is_down: AtomicBool,
}

impl Wire {
    async fn to(master: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(WireState {
            master: Mutex::new(master),
            current: Mutex::default(),
            passes: AtomicI64::new(i64::MAX),
            connections: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
        });
        let state = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            loop {
                let (slave, _) = listener.accept().await.unwrap();
                let passing = tokio::spawn(pass(slave, Arc::clone(&state)));
                state.current.lock().replace(passing);
            }
        });
        Self { addr, accepting, shared }
    }

    /// When it returns nothing more arrives at either end.
    async fn cut(&self) {
        let current = self.shared.current.lock().take();
        if let Some(current) = current {
            current.abort();
            let _aborted = current.await;
        }
    }
}

async fn pass(mut slave: TcpStream, state: Arc<WireState>) {
    if state.is_down.load(Ordering::SeqCst) {
        return;
    }
    let master = *state.master.lock();
    // A master that is down: the slave's connection ends at once.
    let Ok(mut master) = TcpStream::connect(master).await else { return };
    state.passes.store(i64::MAX, Ordering::SeqCst);
    state.connections.fetch_add(1, Ordering::SeqCst);
    let (mut from_slave, mut to_slave) = slave.split();
    let (mut from_master, mut to_master) = master.split();
    let down = async {
        let mut buffer = vec![0; 8 * 1024];
        loop {
            let Ok(read) = from_master.read(&mut buffer).await else { return };
            let left = state.passes.fetch_sub(read as i64, Ordering::SeqCst).min(read as i64);
            if read == 0 || to_slave.write_all(&buffer[..left.max(0) as usize]).await.is_err() || left < read as i64 {
                return;
            }
        }
    };
    tokio::select! {
        () = down => {}
        _ = tokio::io::copy(&mut from_slave, &mut to_master) => {}
    }
}

struct World {
    story: String,
    dice: Dice,
    flush: FlushDiskType,
    clock: ManualClock,
    wire: Wire,
    master: TestBroker,
    master_fs: MemoryFs,
    slave: TestBroker,
    slave_fs: MemoryFs,
    puts: usize,
    /// Where the last message ends that somebody waits for.
    awaited: i64,
    /// Where the last message ends that was acknowledged in the present lives of both.
    acknowledged: Arc<AtomicI64>,
    /// Slaves that were found to have another log than their master.
    refused: usize,
}

fn port_of(master: &TestBroker) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, master.broker.config.load().ha_listen_port as u16))
}

fn log_of(fs: &MemoryFs, broker: &TestBroker) -> Vec<u8> {
    log_bytes_at(fs, broker.folder(), &broker.broker.store)
}

fn as_master(config: &mut BrokerConfig) {
    config.broker_role = BrokerRole::SyncMaster;
    config.in_sync_replicas = 2;
    // The clock moves in leaps, and who is killed cannot say so.
    config.ha_housekeeping_interval = i32::MAX;
    config.slave_timeout = i32::MAX;
    config.sync_flush_timeout = i32::MAX;
}

impl World {
    async fn begin(seed: u64, flush: FlushDiskType) -> Self {
        let (master_fs, slave_fs) = (MemoryFs::new(), MemoryFs::new());
        let (mut setup, clock) = Setup::new().on(&master_fs).with_small_files().manual_clock();
        setup.flush = flush;
        let master = setup.config(as_master).start().await;
        let wire = Wire::to(port_of(&master)).await;
        let slave = slave_setup(&slave_fs, &clock, flush, &wire).start().await;
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let acknowledged = Arc::new(AtomicI64::new(-1));
        let story = format!("world {seed}, {flush:?}");
        Self { story, dice, flush, clock, wire, master, master_fs, slave, slave_fs, puts: 0, awaited: -1, acknowledged, refused: 0 }
    }

    async fn step(&mut self) {
        match self.dice.roll(1_000) {
            0..890 => self.put().await,
            890..940 => self.catch_up().await,
            940..960 => self.wire.shared.passes.store(self.dice.roll(5_000) as i64, Ordering::SeqCst),
            960..969 => self.wire.cut().await,
            969..978 => self.clock.advance(Duration::from_secs(5)),
            978..980 => self.slave_fs.fail(Operation::Create, "commitlog", std::io::ErrorKind::StorageFull, 3),
            980..990 => {
                let crash = self.dice.crash();
                self.crash_master(crash).await;
            }
            _ => self.crash_slave().await,
        }
        self.check_queues();
    }

    async fn put(&mut self) {
        self.puts += 1;
        let message = message(["T0", "T1"][self.dice.roll(2) as usize], self.puts, "TAGS\x01A\x02");
        let store = &self.master.broker.store;
        let put = store.put_message(&message);
        assert!(put.status.is_stored(), "{}: {put:?}", self.story);
        let (acknowledged, end) = (Arc::clone(&self.acknowledged), put.physical_offset + i64::from(put.record_bytes));
        let note = move |status| {
            if status == PutMessageStatus::PutOk {
                acknowledged.fetch_max(end, Ordering::SeqCst);
            }
        };
        store.when_durable(&put, Box::new(note));
        self.awaited = end;
        // Both ends have their turn.
        tokio::task::yield_now().await;
    }

    /// Time goes by until it is so.
    async fn comes_to(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < PATIENCE, "{}: {what} never came, {} of {}", self.story, end_of(&self.slave), end_of(&self.master));
            if !self.slave.broker.slave.is_connected() {
                self.clock.advance(Duration::from_secs(1));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn catch_up(&self) {
        self.comes_to("the slave's catching up", |world| end_of(&world.slave) == end_of(&world.master)).await;
        self.comes_to("the acknowledgement", |world| world.acknowledged.load(Ordering::SeqCst) >= world.awaited).await;
    }

    /// No queue speaks of what is not in its log. Units are looked at first: the log may grow meanwhile.
    fn check_queues(&self) {
        let store = &self.slave.broker.store;
        for (topic, queue_id) in store.queues() {
            let Some(last) = store.queue_offsets(&topic, queue_id).unwrap().last() else { continue };
            let Some(unit) = store.consume_queue_unit(&topic, queue_id, last).unwrap() else { continue };
            let (unit_end, end) = (unit.physical_offset + i64::from(unit.size), store.max_phy_offset());
            assert!(unit_end <= end, "{}: {topic} {queue_id} reaches to {unit_end}, the log to {end}", self.story);
        }
    }

    /// Up to where this crash must leave the log of this end as it is.
    fn kept(&self, crash: Crash, broker: &TestBroker, acknowledged: i64) -> i64 {
        let store = &broker.broker.store;
        let kept = if crash == Crash::Killed { store.max_phy_offset() } else { store.flushed_offset() };
        let kept = if self.flush == FlushDiskType::Sync { kept.max(acknowledged) } else { kept };
        // Of an empty slave that was given its first file only now nothing may be there yet.
        if kept > store.min_phy_offset() { kept } else { 0 }
    }

    /// Whether a log that begins at `start`, found after a crash, is a part of the master's; up to `kept` it has to be, and to be there.
    fn is_part(&self, who: &str, crash: Crash, master: &[u8], (start, found): (usize, &[u8]), kept: i64) -> bool {
        let story = format!("{}: {crash:?} of the {who}, whose log goes from {start} to {}", self.story, start + found.len());
        let Some(master) = master.get(start..) else { panic!("{story}: it begins behind the master's end") };
        let same = master.iter().zip(found).take_while(|(one, other)| one == other).count();
        let kept = (kept as usize).saturating_sub(start);
        assert!(same >= kept, "{story}: the same for {same} bytes instead of {kept}");
        assert!(found.len() <= same + if crash == Crash::Killed { 0 } else { PAGE_BYTES }, "{story}: the same for only {same} bytes");
        same == found.len()
    }

    async fn crash_master(&mut self, crash: Crash) {
        self.wire.cut().await;
        // What has come is appended first.
        self.comes_to("the end of the connection", |world| !world.slave.broker.slave.is_connected()).await;
        // Who is killed after this moment acknowledges nothing.
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let before = log_of(&self.master_fs, &self.master);
        let kept = self.kept(crash, &self.master, acknowledged);
        let image = self.master_fs.crashed(crash);
        self.acknowledged = Arc::new(AtomicI64::new(acknowledged));
        self.awaited = -1;
        let mut setup = Setup::new().on(&image).with_small_files().with_clock(&self.clock).config(as_master).in_folder_of(&self.master);
        setup.flush = self.flush;
        let master = setup.start().await;
        *self.wire.shared.master.lock() = port_of(&master);
        std::mem::replace(&mut self.master, master).stop().await;
        self.master_fs = image;
        let after = log_of(&self.master_fs, &self.master);
        self.is_part("master", crash, &before, (0, &after), kept);
        let start = self.slave.broker.store.min_phy_offset();
        let slave = log_of(&self.slave_fs, &self.slave);
        if start as usize <= after.len() && after[start as usize..].starts_with(&slave) {
            self.acknowledged.fetch_min(after.len() as i64, Ordering::SeqCst);
            return;
        }
        assert_ne!(crash, Crash::Killed, "{}: the slave has what the master has not", self.story);
        if self.flush == FlushDiskType::Sync && acknowledged > start {
            let of_slave = slave.get(..(acknowledged - start) as usize);
            assert!(of_slave == after.get(start as usize..acknowledged as usize), "{}: {acknowledged} is not on both", self.story);
        }
        self.refuse_slave(start).await;
    }

    /// The master's disk lacks what the slave was sent.
    async fn leave_two_logs(&mut self) {
        let refused = self.refused;
        for _ in 0..100 {
            // The clock, which has a disk synced, moves only until the two are connected.
            self.comes_to("a connection", |world| world.slave.broker.slave.is_connected()).await;
            self.put().await;
            self.catch_up().await;
            self.crash_master(Crash::PowerCut(0)).await;
            if self.refused > refused {
                return;
            }
        }
        panic!("{}: no power cut took what was not synced", self.story);
    }

    /// The two differ in what one of them has not on its disk: the slave takes nothing of its master's, and its operator empties it.
    async fn refuse_slave(&mut self, start: i64) {
        self.refused += 1;
        let (end, kept) = (end_of(&self.slave), log_of(&self.slave_fs, &self.slave));
        while end_of(&self.master) <= end + 2_000 {
            self.put().await;
        }
        let connections = self.wire.shared.connections.load(Ordering::SeqCst);
        self.comes_to("a connection", |world| world.wire.shared.connections.load(Ordering::SeqCst) > connections).await;
        self.comes_to("its end", |world| !world.slave.broker.slave.is_connected()).await;
        let here = log_of(&self.slave_fs, &self.slave);
        assert!(kept == here, "{}: a slave whose log begins at {start} and is another one took something", self.story);
        self.wire.cut().await;
        self.acknowledged = Arc::new(AtomicI64::new(-1));
        self.slave_fs = MemoryFs::new();
        let slave = slave_setup(&self.slave_fs, &self.clock, self.flush, &self.wire).start().await;
        std::mem::replace(&mut self.slave, slave).stop().await;
        self.put().await;
        self.catch_up().await;
    }

    async fn crash_slave(&mut self) {
        self.wire.cut().await;
        let crash = self.dice.crash();
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let kept = self.kept(crash, &self.slave, acknowledged);
        let image = self.slave_fs.crashed(crash);
        // What it has is looked at before more comes.
        self.wire.shared.is_down.store(true, Ordering::SeqCst);
        let setup = slave_setup(&image, &self.clock, self.flush, &self.wire).in_folder_of(&self.slave);
        std::mem::replace(&mut self.slave, setup.start().await).stop().await;
        self.slave_fs = image;
        let (start, slave) = (self.slave.broker.store.min_phy_offset() as usize, log_of(&self.slave_fs, &self.slave));
        // It tries again in 5 s.
        self.comes_to("the end of the connection", |world| !world.slave.broker.slave.is_connected()).await;
        self.wire.shared.is_down.store(false, Ordering::SeqCst);
        if self.flush == FlushDiskType::Async && crash != Crash::Killed {
            // What it had acknowledged may be gone, and nobody is told twice.
            self.acknowledged.fetch_min((start + slave.len()) as i64, Ordering::SeqCst);
            self.awaited = -1;
        }
        let master = log_of(&self.master_fs, &self.master);
        if !self.is_part("slave", crash, &master, (start, &slave), kept) {
            self.refuse_slave(start as i64).await;
        }
    }

    async fn end(mut self) {
        self.put().await;
        self.catch_up().await;
        let (master, slave) = (&self.master.broker.store, &self.slave.broker.store);
        let start = slave.min_phy_offset();
        assert_eq!(log_of(&self.slave_fs, &self.slave), log_of(&self.master_fs, &self.master)[start as usize..], "{}", self.story);
        let mut queues = slave.queues();
        if start == 0 {
            let mut all = master.queues();
            all.sort();
            queues.sort();
            assert_eq!(queues, all, "{}", self.story);
        }
        for (topic, queue_id) in queues {
            let story = format!("{}: {topic} {queue_id}", self.story);
            let (of_master, of_slave) = (master.queue_offsets(&topic, queue_id).unwrap(), slave.queue_offsets(&topic, queue_id).unwrap());
            assert!(
                of_master.end == of_slave.end && (start > 0 || of_master.start == of_slave.start),
                "{story}: {of_master:?} {of_slave:?}"
            );
            let mut last = -1;
            for offset in of_slave {
                let unit = |store: &MessageStore| store.consume_queue_unit(&topic, queue_id, offset).unwrap();
                assert_eq!(unit(slave), unit(master), "{story} at {offset}");
                let place = unit(slave).unwrap().physical_offset;
                assert!(place > last, "{story} at {offset}: {place} after {last}");
                last = place;
            }
        }
        self.wire.cut().await;
        self.slave.stop().await;
        self.master.stop().await;
        self.wire.accepting.abort();
    }
}

fn slave_setup(fs: &MemoryFs, clock: &ManualClock, flush: FlushDiskType, wire: &Wire) -> Setup {
    let mut setup = Setup::new().on(fs).with_small_files().with_clock(clock).config(as_slave_of(wire.addr));
    setup.flush = flush;
    setup.config(|config| config.ha_housekeeping_interval = i32::MAX)
}

async fn walk(flush: FlushDiskType) {
    for seed in 1..=WORLDS {
        let mut world = World::begin(seed, flush).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        if flush == FlushDiskType::Async {
            // At least once in each world, however the threads ran.
            world.leave_two_logs().await;
        }
        world.end().await;
    }
}

#[tokio::test]
async fn whatever_happens_both_have_one_log_with_sync_flush() {
    walk(FlushDiskType::Sync).await;
}

#[tokio::test]
async fn whatever_happens_both_have_one_log_with_async_flush() {
    walk(FlushDiskType::Async).await;
}
