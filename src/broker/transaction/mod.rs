// SPDX-License-Identifier: Apache-2.0
//! Transactions: half messages, how they end, and the questions to producers that say nothing.
//!
//! The log is the truth: half messages, op messages and committed messages are the original's, and either server can go on where the
//! other stopped. The open halves are held in memory, so no queue is ever read again; `snapshot` lets a start begin near the end.
//! A half is stored once: its place is its name until it ends. Knows no request; what a producer is asked is sent by `check`.

pub mod check;
mod evidence;
pub mod half;
mod metrics;
mod op;
mod open_halves;
mod ops_written;
mod rebuild;
mod snapshot;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use ferrocket_protocol::message::{MessageInner, MessageView, properties, property};
use ferrocket_protocol::topic_names;
use parking_lot::{Mutex, RwLock};
use tracing::{error, warn};

use self::evidence::{OpMessages, Remembered};
use self::metrics::Metrics;
use self::open_halves::{OpenHalf, OpenHalves};
use self::ops_written::OpsWritten;
use super::checkpointed::{Checkpointed, Taken};
use super::consumer_offsets::ConsumerOffsets;
use super::persist::{ConfigFile, PersistError};
use super::role::Duty;
use super::schedule::Schedule;
use crate::config::{BrokerConfig, ConfigCell};
use crate::runtime::{Parker, SharedClock};
use crate::store::{MessageStore, PutMessageStatus, PutResult, StoreError};

/// Between two snapshots of the open halves. A start after a crash reads the log of that time.
const SNAPSHOT_INTERVAL_MILLIS: i64 = 10_000;
/// So many open halves double the time between snapshots: each writes all of them.
const SNAPSHOT_HALVES_USUAL: i64 = 20_000;
/// Wait after something that the store refused.
const RETRY_MILLIS: i64 = 1_000;

/// What transactions are made of.
pub struct Parts {
    pub store: Arc<MessageStore>,
    pub config: Arc<ConfigCell>,
    pub clock: SharedClock,
    pub parker: Parker,
    /// `ferrocket.halves`.
    pub snapshot: ConfigFile,
    /// `config/transactionMetrics`.
    pub metrics: ConfigFile,
}

pub struct Transactions {
    store: Arc<MessageStore>,
    config: Arc<ConfigCell>,
    clock: SharedClock,
    /// Held shared from a put to its entry in the tables, alone while a snapshot is taken: what the log has up to the snapshot's
    /// mark is in the tables.
    in_step: RwLock<()>,
    tables: Mutex<Tables>,
    op_messages: OpMessages,
    /// One writer of op messages at a time, so that a stop finds them all written.
    writing_ops: Mutex<()>,
    snapshot: Checkpointed<QueuePlaces>,
    metrics: Metrics,
    parker: Parker,
    duty: Duty,
}

#[derive(Debug)]
struct Tables {
    open: OpenHalves,
    /// Places in the log of halves that were not known, and whose end counted all the same.
    ended_unknown: Remembered,
    /// Halves that were given up, by offset in the half queue: their producer may decide yet.
    given_up: Remembered,
    /// Halves that have ended and are named by no op message yet.
    ended: Vec<i64>,
    /// What they take in op messages.
    ended_bytes: usize,
    /// When the first of them ended.
    ended_since_millis: i64,
    ops: OpsWritten,
    metrics_millis: i64,
}

/// From where a broker of the original would have to go on in its queues, were it to take over.
#[derive(Debug)]
struct QueuePlaces {
    half_offset: i64,
    op_offset: i64,
}

/// What came of an end.
#[derive(Debug)]
pub enum Ended {
    /// The message is in the log.
    Committed(PutResult),
    RolledBack,
    /// An earlier one counts, and nothing was done.
    Before,
    /// The half stays open.
    Refused(PutMessageStatus),
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transactions({} open)", self.open_count())
    }
}

impl Transactions {
    /// Finds out what is open. Blocks on the disk.
    pub fn open(parts: Parts, consumer_offsets: &ConsumerOffsets) -> Result<Self, StoreError> {
        let Parts { store, config, clock, parker, snapshot, metrics } = parts;
        let now = clock.now_millis();
        let bytes = snapshot.load(|bytes| Ok::<_, PersistError>(bytes.to_vec())).unwrap_or_else(|error| {
            warn!(%error, "the snapshot of open transactions cannot be read: they are taken from the log");
            None
        });
        let snapshot = Checkpointed::new(snapshot, now);
        let tables = Tables::read(&store, &config.load(), bytes.as_deref(), consumer_offsets, &clock, parker.clone())?;
        if !tables.open.is_empty() {
            snapshot.changed();
        }
        Ok(Self {
            metrics: Metrics::load(metrics, now),
            in_step: RwLock::new(()),
            tables: Mutex::new(tables),
            op_messages: OpMessages::default(),
            writing_ops: Mutex::new(()),
            snapshot,
            duty: Duty::new(parker.clone()),
            parker,
            store,
            config,
            clock,
        })
    }

    /// Finds out anew what is open: the log has grown by what a master sent. Blocks on the disk.
    pub fn reopen(&self, consumer_offsets: &ConsumerOffsets) -> Result<(), StoreError> {
        let tables = Tables::read(&self.store, &self.config.load(), None, consumer_offsets, &self.clock, self.parker.clone())?;
        *self.tables.lock() = tables;
        self.snapshot.changed();
        Ok(())
    }

    /// Half messages without an end.
    pub fn open_count(&self) -> usize {
        self.tables.lock().open.len()
    }

    /// The original's count of a topic's open halves; not exact after a crash.
    pub fn counted(&self, topic: &str) -> i64 {
        self.metrics.count(topic)
    }

    /// Stores a half message that `half::prepare` has made.
    pub fn put_half(&self, message: &MessageInner) -> PutResult {
        let timeout_millis = self.config.load().transaction_time_out;
        let in_step = self.in_step.read();
        let put = self.store.put_message(message);
        if !put.status.is_stored() {
            return put;
        }
        let due_millis = put.store_timestamp.saturating_add(half::immunity_millis(&message.properties, timeout_millis));
        self.insert(put.queue_offset, OpenHalf { physical_offset: put.physical_offset, check_times: 0, due_millis });
        drop(in_step);
        if let Some(topic) = properties::find_str(&message.properties, property::REAL_TOPIC) {
            self.metrics.add(topic, 1, put.store_timestamp);
        }
        put
    }

    /// Puts the message of an open half into its own topic, or into the schedule topic when it is to be delayed.
    pub fn commit(&self, record: &Bytes, view: &MessageView<'_>, schedule: &Schedule) -> Ended {
        if is_timer(view) {
            return Ended::Refused(PutMessageStatus::WheelTimerNotEnable);
        }
        let _in_step = self.in_step.read();
        let open = match self.take_unless_ended(view) {
            Ok(Some(open)) => open,
            Ok(None) => return Ended::Before,
            Err(error) => return cannot_tell(&error),
        };
        let Some(mut message) = half::committed(record, view, open.check_times) else {
            self.insert(view.queue_offset, open);
            return Ended::Refused(PutMessageStatus::MessageIllegal);
        };
        if let Some(level) = delay_level(view) {
            schedule.delay(&mut message, level);
        }
        let put = self.store.put_message(&message);
        if !put.status.is_stored() {
            self.insert(view.queue_offset, open);
            return Ended::Refused(put.status);
        }
        self.ended(view);
        Ended::Committed(put)
    }

    pub fn roll_back(&self, view: &MessageView<'_>) -> Ended {
        let _in_step = self.in_step.read();
        match self.take_unless_ended(view) {
            Ok(Some(_)) => {
                self.ended(view);
                Ended::RolledBack
            }
            Ok(None) => Ended::Before,
            Err(error) => cannot_tell(&error),
        }
    }

    /// Whether it can be told at once, without the disk, if the half is open.
    pub fn can_tell(&self, view: &MessageView<'_>) -> bool {
        let tables = self.tables.lock();
        let offset = view.queue_offset;
        tables.open.get(offset).is_some() || tables.open.has_ended(offset) || self.op_messages.are_read()
    }

    /// The half, when it is open or nothing says that it has ended; it counts as ended then. May wait for the disk.
    fn take_unless_ended(&self, view: &MessageView<'_>) -> Result<Option<OpenHalf>, StoreError> {
        let offset = view.queue_offset;
        {
            let mut tables = self.tables.lock();
            if let Some(open) = tables.open.take(offset, view.physical_offset) {
                return Ok(Some(open));
            }
            let was_given_up = tables.given_up.remove(offset);
            if tables.open.has_ended(offset) && !was_given_up || tables.ended_unknown.contains(view.physical_offset) {
                return Ok(None);
            }
            if was_given_up {
                return Ok(Some(self.reopened(view)));
            }
        }
        if self.op_messages.name(&self.store, offset)? || !self.tables.lock().ended_unknown.insert(view.physical_offset) {
            return Ok(None);
        }
        warn!(
            queue_offset = offset,
            "a half message that nothing is known of is ended: should it have been before, its message comes twice"
        );
        Ok(Some(self.reopened(view)))
    }

    /// As one that is open, and counted as such.
    fn reopened(&self, view: &MessageView<'_>) -> OpenHalf {
        let now = self.clock.now_millis();
        if let Some((topic, _)) = half::destination(view) {
            self.metrics.add(topic, 1, now);
        }
        let due_millis = now + self.config.load().transaction_check_interval.max(1);
        OpenHalf { physical_offset: view.physical_offset, check_times: half::check_times(view), due_millis }
    }

    /// Moves an open half that nobody decides about to TRANS_CHECK_MAX_TIME_TOPIC.
    fn give_up(&self, record: &Bytes, view: &MessageView<'_>, retry_millis: i64) -> bool {
        let _in_step = self.in_step.read();
        let Some(open) = self.take(view) else { return false };
        let put = self.store.put_message(&half::moved(record, view, topic_names::TRANS_CHECK_MAX_TIME, open.check_times));
        if !put.status.is_stored() {
            self.insert(view.queue_offset, OpenHalf { due_millis: retry_millis, ..open });
            return false;
        }
        self.store.flush_soon(&put);
        self.tables.lock().given_up.insert(view.queue_offset);
        self.ended(view);
        true
    }

    fn take(&self, view: &MessageView<'_>) -> Option<OpenHalf> {
        self.tables.lock().open.take(view.queue_offset, view.physical_offset)
    }

    fn insert(&self, queue_offset: i64, half: OpenHalf) {
        self.tables.lock().open.insert(queue_offset, half);
        self.snapshot.changed();
    }

    /// An op message will say so: when there are enough of them, or after `transactionOpBatchInterval`.
    fn ended(&self, view: &MessageView<'_>) {
        let now = self.clock.now_millis();
        let config = self.config.load();
        let mut tables = self.tables.lock();
        let was_full = tables.ops_due_millis(&config) == i64::MIN;
        tables.ended_since_millis = tables.ended_since_millis.min(now);
        tables.ended.push(view.queue_offset);
        tables.ended_bytes += op::bytes(view.queue_offset);
        if !was_full {
            tables.open.due.wake_by(tables.ops_due_millis(&config));
        }
        drop(tables);
        self.snapshot.changed();
        if let Some((topic, _)) = half::destination(view) {
            self.metrics.add(topic, -1, now);
        }
    }

    /// Writes the op messages that are due, or all. When to try again, if the store takes none.
    fn write_ops(&self, host: SocketAddr, all: bool) -> Option<i64> {
        let _writing = self.writing_ops.lock();
        let now = self.clock.now_millis();
        let config = self.config.load();
        let bytes_max = usize::try_from(config.transaction_op_msg_max_size).unwrap_or(0);
        let ended = {
            let mut tables = self.tables.lock();
            if tables.ended.is_empty() || !all && now < tables.ops_due_millis(&config) {
                return None;
            }
            (tables.ended_bytes, tables.ended_since_millis) = (0, i64::MAX);
            std::mem::take(&mut tables.ended)
        };
        let mut rest = &ended[..];
        while !rest.is_empty() {
            let mut body = String::new();
            let mut count = 0;
            while count < rest.len() && (count == 0 || body.len() < bytes_max) {
                op::push(&mut body, rest[count]);
                count += 1;
            }
            let put = self.store.put_message(&op::message(body, host, now));
            if !put.status.is_stored() {
                warn!(status = ?put.status, count = rest.len(), "an op message could not be put, trying again");
                let mut tables = self.tables.lock();
                tables.ended.extend_from_slice(rest);
                tables.ended_bytes += rest.iter().map(|offset| op::bytes(*offset)).sum::<usize>();
                tables.ended_since_millis = now;
                return Some(now + RETRY_MILLIS);
            }
            self.store.flush_soon(&put);
            let newest = rest[..count].iter().copied().max().unwrap_or(i64::MAX);
            self.tables.lock().ops.push(put.queue_offset, newest);
            rest = &rest[count..];
        }
        None
    }

    /// Takes a snapshot now and then, and writes it as soon as the disk has the log that it speaks of.
    fn persist_when_flushed(&self, consumer_offsets: &ConsumerOffsets) {
        let now = self.clock.now_millis();
        let interval = SNAPSHOT_INTERVAL_MILLIS * (1 + self.open_count() as i64 / SNAPSHOT_HALVES_USUAL);
        let written = self.snapshot.keep_up(
            now,
            interval,
            || self.take_snapshot(),
            || self.store.flushed_offset(),
            |at| self.commit_places(consumer_offsets, at),
        );
        if let Err(error) = written {
            error!(%error, "the open transactions could not be written");
        }
        self.persist_metrics_when_due(now);
    }

    fn persist_metrics_when_due(&self, now_millis: i64) {
        {
            let mut tables = self.tables.lock();
            if now_millis - tables.metrics_millis < self.config.load().transaction_metric_flush_interval {
                return;
            }
            tables.metrics_millis = now_millis;
        }
        if let Err(error) = self.metrics.persist() {
            error!(%error, "transactionMetrics could not be written");
        }
    }

    fn take_snapshot(&self) -> Option<Taken<QueuePlaces>> {
        if self.store.is_copy() {
            // Of halves that came with a master's log the tables know nothing: an older snapshot is true up to where it was taken.
            return None;
        }
        let _alone = self.in_step.write();
        let mark = match self.store.log_mark() {
            Ok(mark) => mark,
            Err(error) => {
                error!(%error, "the open transactions could not be taken down, trying again");
                return None;
            }
        };
        let mut tables = self.tables.lock();
        let half_offset = tables.open.first();
        let op_offset = tables.ops.needed_from(half_offset);
        let bytes = snapshot::encode(&mark, &tables.open);
        Some(Taken { position: mark.position, bytes, told: QueuePlaces { half_offset, op_offset } })
    }

    /// For a broker of the original: it goes on from these places.
    fn commit_places(&self, consumer_offsets: &ConsumerOffsets, places: &QueuePlaces) {
        let version_step = self.config.load().consumer_offset_update_version_step;
        let commit = |topic, offset| consumer_offsets.commit(topic_names::SYSTEM_TRANS_GROUP, topic, 0, offset, version_step);
        commit(topic_names::TRANS_HALF, places.half_offset);
        commit(topic_names::TRANS_OP_HALF, places.op_offset);
    }

    /// When it returns nobody is asked any more, and the log has the op messages of what has ended. `persist` follows when the store is
    /// closed.
    pub fn stop(&self, host: SocketAddr) {
        self.duty.end();
        self.write_ops(host, true);
    }

    /// Writes the files as things are; right when the store is closed, so that all it holds is on the disk.
    pub fn persist(&self, consumer_offsets: &ConsumerOffsets) -> Result<(), PersistError> {
        let was_used = self.tables.lock().open.next() > 0;
        if was_used {
            let take = || self.take_snapshot().map(|taken| (taken.bytes, taken.told));
            self.snapshot.write_closed(take, |places| self.commit_places(consumer_offsets, places))?;
        }
        self.metrics.persist()
    }
}

impl Tables {
    fn read(
        store: &MessageStore,
        config: &BrokerConfig,
        snapshot: Option<&[u8]>,
        consumer_offsets: &ConsumerOffsets,
        clock: &SharedClock,
        bell: Parker,
    ) -> Result<Self, StoreError> {
        let now = clock.now_millis();
        let committed = |topic| consumer_offsets.committed(topic_names::SYSTEM_TRANS_GROUP, topic, 0);
        let committed_half = committed(topic_names::TRANS_HALF);
        let left = rebuild::RebuildInput { snapshot, committed_half, transaction_timeout_millis: config.transaction_time_out };
        let (mut open, copied) = rebuild::open_halves(store, &left, clock)?;
        // As in the original nobody is asked before one interval has passed: producers come back first.
        open.postpone_all(now + config.transaction_check_interval.max(1));
        open.due.ring(bell);
        let ops = store.queue_offsets(topic_names::TRANS_OP_HALF, 0)?;
        let first_op = committed(topic_names::TRANS_OP_HALF).unwrap_or(0).clamp(ops.start, ops.end.max(ops.start));
        Ok(Self {
            ops: OpsWritten::new(first_op, ops.end, open.next() - 1),
            open,
            ended_unknown: Remembered::default(),
            given_up: Remembered::default(),
            ended_bytes: copied.iter().map(|offset| op::bytes(*offset)).sum(),
            ended_since_millis: if copied.is_empty() { i64::MAX } else { now },
            ended: copied,
            metrics_millis: now,
        })
    }

    /// When what has ended is told to the log: the minimum when it fills an op message, the maximum when there is nothing.
    fn ops_due_millis(&self, config: &BrokerConfig) -> i64 {
        let bytes_max = usize::try_from(config.transaction_op_msg_max_size).unwrap_or(0);
        if self.ended.is_empty() {
            i64::MAX
        } else if self.ended_bytes >= bytes_max {
            i64::MIN
        } else {
            self.ended_since_millis.saturating_add(i64::from(config.transaction_op_batch_interval))
        }
    }
}

fn cannot_tell(error: &StoreError) -> Ended {
    error!(%error, "it cannot be told whether a transaction has ended");
    Ended::Refused(PutMessageStatus::ServiceNotAvailable)
}

fn delay_level(view: &MessageView<'_>) -> Option<i32> {
    view.property(property::DELAY)?.parse().ok().filter(|level| *level > 0)
}

/// Left by a broker of the original whose timer was on.
fn is_timer(view: &MessageView<'_>) -> bool {
    let has = |name: &str| properties::find(view.properties, name).is_some();
    !has(property::TIMER_OUT_MS) && [property::TIMER_DELIVER_MS, property::TIMER_DELAY_SEC, property::TIMER_DELAY_MS].into_iter().any(has)
}
