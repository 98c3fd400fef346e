// SPDX-License-Identifier: Apache-2.0
//! Random lives of transactions on a hand-driven clock and the in-memory file system: sends, decisions that arrive, are lost, come
//! late, twice or contradict themselves, restarts, kills and power cuts in the middle of any operation, full disks.
//!
//! Whatever happens, a committed message is there once, one that was rolled back never, and nothing stays open for ever.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket::broker::consumer_offsets::ConsumerOffsets;
use ferrocket::broker::persist::ConfigFile;
use ferrocket::broker::schedule::Schedule;
use ferrocket::broker::transaction::check::Asked;
use ferrocket::broker::transaction::{Ended, Parts, Transactions, half};
use ferrocket::config::{BrokerConfig, ConfigCell};
use ferrocket::runtime::{Clock, ManualClock, Parker, SharedClock};
use ferrocket::store::{ArrivalListener, Crash, FlushDiskType, MemoryFs, MessageStore, Operation, PutMessageStatus, StoreConfig};
use ferrocket_protocol::Str;
use ferrocket_protocol::message::{MessageInner, MessageView, properties};
use support::dice::Dice;

const STEPS: usize = 100_000;
/// Then the story ends well, is looked at, and another one begins.
const STEPS_PER_WORLD: usize = 400;
const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Commit,
    RollBack,
}

/// One transaction as its producer knows it.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    queue_offset: i64,
    physical_offset: i64,
    decision: Option<Decision>,
    /// The broker said so, in this life of it.
    is_applied: bool,
}

struct World {
    dice: Dice,
    fs: MemoryFs,
    clock: ManualClock,
    store_config: StoreConfig,
    life: Option<Life>,
    transactions: Vec<Transaction>,
}

struct Life {
    store: Arc<MessageStore>,
    transactions: Transactions,
    offsets: ConsumerOffsets,
    schedule: Schedule,
}

fn host() -> SocketAddr {
    "127.0.0.1:10911".parse().unwrap()
}

fn name(number: usize) -> String {
    format!("t{number}")
}

impl Life {
    fn begin(fs: &MemoryFs, clock: &ManualClock, store_config: &StoreConfig) -> Option<Self> {
        let shared: SharedClock = Arc::new(clock.clone());
        let mut config = BrokerConfig::default();
        config.transaction_check_max = i32::MAX;
        config.transaction_op_msg_max_size = 40;
        let store = MessageStore::open(store_config.clone(), fs.shared(), Arc::clone(&shared), Arc::new(Nobody)).ok()?;
        let file = |name: &str| ConfigFile::new(fs.shared(), format!("/store/{name}"));
        let offsets = ConsumerOffsets::load(file("config/consumerOffset.json"), Arc::clone(&shared)).ok()?;
        let parts = Parts {
            store: Arc::clone(&store),
            config: Arc::new(ConfigCell::new(config)),
            clock: Arc::clone(&shared),
            parker: Parker::new(),
            snapshot: file("ferrocket.halves"),
            metrics: file("config/transactionMetrics"),
        };
        let transactions = Transactions::open(parts, &offsets).ok()?;
        let schedule = Schedule::load(file("config/delayOffset.json"), "1s", 200, 10_000, shared, Parker::new()).ok()?;
        Some(Self { store, transactions, offsets, schedule })
    }

    fn prepare(&self, number: usize, now_millis: i64) -> Option<(i64, i64)> {
        let name = name(number);
        let mut message = MessageInner {
            topic: Str::from_static("orders"),
            queue_id: 0,
            flag: 0,
            sys_flag: 4,
            born_timestamp: now_millis,
            born_host: host(),
            store_host: host(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from(name.clone()),
            properties: properties::encode([("UNIQ_KEY", &*name), ("PGROUP", "P"), ("TRAN_MSG", "true")]).into(),
            tags_code: 0,
        };
        half::prepare(&mut message, Some(name.as_bytes()));
        let put = self.transactions.put_half(&message);
        (put.status == PutMessageStatus::PutOk).then_some((put.queue_offset, put.physical_offset))
    }

    /// As END_TRANSACTION: looks the half up, checks that it is the one that is meant, ends it. True when that was taken.
    fn end(&self, number: usize, (queue_offset, physical_offset): (i64, i64), decision: Decision) -> bool {
        let Some(record) = self.store.look_message(physical_offset).unwrap() else { return false };
        let Ok(view) = MessageView::decode(&record) else { return false };
        if !half::is_half(&view) || view.queue_offset != queue_offset || view.body != name(number).as_bytes() {
            return false;
        }
        let ended = match decision {
            Decision::Commit => self.transactions.commit(&record, &view, &self.schedule),
            Decision::RollBack => self.transactions.roll_back(&view),
        };
        !matches!(ended, Ended::Refused(_))
    }

    /// What consumers see: how often whole, and how often torn by a power cut. The log's checksum covers bodies only.
    fn seen(&self) -> HashMap<String, (usize, usize)> {
        let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
        for offset in 0..self.store.max_offset("orders", 0) {
            let unit = self.store.consume_queue_unit("orders", 0, offset).unwrap().unwrap();
            let record = self.store.look_message(unit.physical_offset).unwrap().unwrap();
            let view = MessageView::decode(&record).unwrap();
            let body = String::from_utf8(view.body.to_vec()).unwrap();
            let is_whole = view.property("UNIQ_KEY") == Some(&*body);
            let (whole, torn) = seen.entry(body).or_default();
            *(if is_whole { whole } else { torn }) += 1;
        }
        seen
    }

    /// Those that are whole: of one that no disk had when the power went, the record may be torn.
    fn halves(&self) -> Vec<String> {
        let body = |offset| {
            let unit = self.store.consume_queue_unit(HALF, 0, offset).unwrap().unwrap();
            let record = self.store.look_message(unit.physical_offset).unwrap().unwrap();
            let view = MessageView::decode(&record).unwrap();
            half::destination(&view).map(|_| String::from_utf8(view.body.to_vec()).unwrap())
        };
        (0..self.store.max_offset(HALF, 0)).filter_map(body).collect()
    }
}

impl World {
    fn begin(seed: u64) -> Self {
        let fs = MemoryFs::new();
        let clock = ManualClock::at_millis(1_795_219_808_010);
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let store_config = StoreConfig {
            mapped_file_size_commit_log: 64 * 1024,
            mapped_file_size_consume_queue: 4_000,
            max_hash_slot_num: 50,
            max_index_num: 120,
            message_index_enable: false,
            file_reserved_time_hours: 1_000_000,
            flush_disk_type: if dice.roll(3) == 0 { FlushDiskType::Sync } else { FlushDiskType::Async },
            ..StoreConfig::at("/store")
        };
        let life = Life::begin(&fs, &clock, &store_config);
        assert!(life.is_some());
        Self { dice, fs, clock, store_config, life, transactions: Vec::new() }
    }

    /// Somebody who has not decided, or whose decision got lost.
    fn pick(&mut self) -> Option<usize> {
        let count = self.transactions.len() as u64;
        // Mostly one of the latest.
        let back = if self.dice.roll(4) == 0 { self.dice.roll(count.max(1)) } else { self.dice.roll(count.clamp(1, 10)) };
        (count > 0).then(|| (count - 1 - back) as usize)
    }

    fn step(&mut self) {
        match self.dice.roll(1_000) {
            0..350 => self.prepare(),
            350..700 => self.decide(),
            700..760 => self.decide_again(),
            760..840 => self.pass(),
            840..940 => self.keep_up(),
            940..970 => {
                if let Some(life) = &self.life {
                    life.store.flush_log();
                }
            }
            970..980 => self.fill_the_disk(),
            980..986 => self.restart(),
            986..993 => self.die_during_a_step(),
            _ => self.crash(),
        }
    }

    fn prepare(&mut self) {
        let number = self.transactions.len();
        let place = self.life.as_ref().and_then(|life| life.prepare(number, self.clock.now_millis()));
        // One that was not taken is forgotten by its producer; its number is not used again.
        let (queue_offset, physical_offset) = place.unwrap_or((-1, -1));
        self.transactions.push(Transaction { queue_offset, physical_offset, decision: None, is_applied: false });
    }

    /// A producer decides; the broker hears of it, mostly.
    fn decide(&mut self) {
        let Some(number) = self.pick() else { return };
        let decision = if self.dice.roll(3) == 0 { Decision::RollBack } else { Decision::Commit };
        let decision = *self.transactions[number].decision.get_or_insert(decision);
        if self.dice.roll(5) > 0 {
            self.tell(number, decision);
        }
    }

    fn tell(&mut self, number: usize, decision: Decision) {
        let transaction = &mut self.transactions[number];
        if let Some(life) = &self.life
            && life.end(number, (transaction.queue_offset, transaction.physical_offset), decision)
        {
            transaction.is_applied = true;
        }
    }

    /// A decision comes again, or turned around: a decision that was obeyed in this life counts.
    fn decide_again(&mut self) {
        let Some(number) = self.pick() else { return };
        let Transaction { decision: Some(decision), is_applied, .. } = self.transactions[number] else { return };
        let turned = match decision {
            Decision::Commit => Decision::RollBack,
            Decision::RollBack => Decision::Commit,
        };
        let is_turned = is_applied && self.dice.roll(2) == 0;
        self.tell(number, if is_turned { turned } else { decision });
    }

    /// Time passes and producers are asked.
    fn pass(&mut self) {
        let millis = self.dice.roll(20_000);
        self.clock.advance(Duration::from_millis(millis));
        self.ask(false);
    }

    /// Producers that are asked say what they decided, or nothing; at the end everybody decides.
    fn ask(&mut self, everybody: bool) {
        let Some(life) = &self.life else { return };
        let mut questions = Vec::new();
        while life
            .transactions
            .check_due(|question| {
                questions.push(question);
                Asked::Counts
            })
            .has_more
        {}
        for question in questions {
            let view = MessageView::decode(&question.body).unwrap();
            let number: usize = std::str::from_utf8(view.body).unwrap()[1..].parse().unwrap();
            let place = (question.header.tran_state_table_offset, question.header.commit_log_offset);
            let is_silent = !everybody && self.dice.roll(3) == 0;
            let transaction = &mut self.transactions[number];
            if everybody {
                transaction.decision.get_or_insert(Decision::Commit);
            }
            let Some(decision) = transaction.decision.filter(|_| !is_silent) else { continue };
            if life.end(number, place, decision) {
                transaction.is_applied = true;
            }
        }
    }

    fn keep_up(&mut self) {
        if let Some(life) = &self.life {
            life.transactions.keep_up(host(), &life.offsets);
            life.store.run_maintenance();
            // A table that is behind is an older truth; that it cannot be written now is part of the story.
            let _ = life.offsets.persist();
        }
    }

    /// The disk takes nothing for some steps.
    fn fill_the_disk(&mut self) {
        for operation in [Operation::Reserve, Operation::Write] {
            self.fs.fail(operation, "", std::io::ErrorKind::StorageFull, usize::MAX);
        }
        for _ in 0..self.dice.roll(10) {
            match self.dice.roll(3) {
                0 => self.prepare(),
                1 => self.decide(),
                _ => self.pass(),
            }
        }
        self.fs.heal();
        if let Some(life) = &self.life {
            life.store.run_maintenance();
        }
    }

    fn restart(&mut self) {
        if let Some(life) = self.life.take() {
            life.transactions.stop(host());
            if life.store.shutdown().is_ok() {
                life.transactions.persist(&life.offsets).unwrap();
            }
            life.offsets.persist().unwrap();
        }
        self.next_life();
    }

    /// The machine stops before some operation on its disk.
    fn die_during_a_step(&mut self) {
        let after = self.dice.roll(30);
        self.fs.stop_before(self.fs.operations() + after);
        for _ in 0..self.dice.roll(20) + 1 {
            match self.dice.roll(4) {
                0 => self.prepare(),
                1 => self.decide(),
                2 => self.pass(),
                _ => self.keep_up(),
            }
        }
        self.crash();
    }

    fn crash(&mut self) {
        let crash = if self.dice.roll(2) == 0 { Crash::Killed } else { Crash::PowerCut(self.dice.roll(4)) };
        self.life = None;
        self.fs = self.fs.crashed(crash);
        self.next_life();
    }

    fn next_life(&mut self) {
        self.transactions.iter_mut().for_each(|transaction| transaction.is_applied = false);
        self.life = Life::begin(&self.fs, &self.clock, &self.store_config);
        assert!(self.life.is_some(), "the broker starts again");
    }

    /// Everybody is asked until nothing is open; then what consumers see is what producers decided.
    fn end_well(&mut self, seed: u64) {
        self.restart();
        for _ in 0..5 {
            self.clock.advance(Duration::from_secs(100));
            self.ask(true);
            self.keep_up();
        }
        self.restart();
        let life = self.life.as_ref().unwrap();
        assert_eq!(life.transactions.open_count(), 0, "seed {seed}: nothing stays open");
        let mut seen = life.seen();
        for half in life.halves() {
            let number: usize = half[1..].parse().unwrap();
            let (whole, torn) = seen.remove(&half).unwrap_or_default();
            // A committed message that the power cut has torn no longer says whose it is, unless its op message survived.
            let is_right = match self.transactions[number].decision {
                Some(Decision::Commit) => whole <= 1 && torn <= 1 && whole + torn >= 1,
                _ => whole + torn == 0,
            };
            assert!(is_right, "seed {seed}: {half} {whole} times, torn {torn}, {:?}", self.transactions[number]);
        }
        // Of these the half message is torn, and the committed message behind it is not.
        for (name, (whole, torn)) in seen {
            let number: usize = name[1..].parse().unwrap();
            let is_right = self.transactions[number].decision == Some(Decision::Commit) && whole + torn == 1;
            assert!(is_right, "seed {seed}: {name} {whole} times, torn {torn}, {:?}", self.transactions[number]);
        }
    }
}

#[test]
fn every_transaction_ends_once_and_as_its_producer_decided() {
    for seed in 1..=(STEPS / STEPS_PER_WORLD) as u64 {
        let mut world = World::begin(seed);
        for _ in 0..STEPS_PER_WORLD {
            world.step();
        }
        world.end_well(seed);
    }
}
