// SPDX-License-Identifier: Apache-2.0
//! Delay levels: a delayed message waits in SCHEDULE_TOPIC_XXXX, one queue per level, and is put into its own topic when due.
//!
//! One thread serves all levels and sleeps until the earliest message is due; the original looks at each level every 100 ms.
//! How far each level has come lies in `delayOffset.json`; it never runs ahead of what the disk has of the delivered messages,
//! so a crash delivers some of them twice but loses none. Knows no request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::fastjson::{self, ReadError};
use ferrocket_protocol::message::{MessageInner, MessageView, properties, property, tags_code_of};
use ferrocket_protocol::{Str, topic_names};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::broker::checkpointed::{Checkpointed, Taken};
use crate::broker::due::Due;
use crate::broker::persist::{ConfigFile, PersistError};
use crate::broker::role::Duty;
use crate::runtime::{Parker, Runtime, SharedClock};
use crate::store::{MessageStore, PutMessageStatus, may_name_a_directory};

/// Messages of one level delivered in a row, before the other levels get their turn.
const TURN_COUNT_MAX: usize = 64;
/// Room for REAL_TOPIC and REAL_QID without their values.
const DELAY_BYTES_USUAL: usize = 32;
/// Wait after a delivery that the store refused.
const RETRY_MILLIS: i64 = 100;
/// Wait after a queue or a message that could not be read.
const READ_AGAIN_MILLIS: i64 = 1_000;

#[derive(Debug, Error)]
pub enum ScheduleError {
    #[error("messageDelayLevel {0:?} is wrong: it is a list like \"1s 5s 1m 2h 1d\"")]
    Levels(String),
    #[error(transparent)]
    Persist(#[from] PersistError),
}

/// The file: level to next queue offset.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DelayOffsets {
    data_version: DataVersion,
    offset_table: BTreeMap<i32, i64>,
}

#[derive(Debug)]
pub struct Schedule {
    /// Of level 1, 2, ...
    levels: Vec<Level>,
    /// Levels by the moment when each is looked at next.
    due: Mutex<Due<i32>>,
    table: Mutex<Table>,
    version_step: u64,
    persist_interval_millis: i64,
    file: Checkpointed<()>,
    clock: SharedClock,
    parker: Parker,
    duty: Duty,
    rounds: AtomicU64,
}

#[derive(Debug)]
struct Level {
    delay_millis: i64,
    /// When it is looked at next, at the latest when its first waiting message is due; the maximum: nothing waits, as far as is known.
    /// Changed under the lock of `due`, which has an entry for it.
    due_millis: AtomicI64,
}

/// Invariant: an offset never speaks of a delivery that the log does not have.
#[derive(Debug, Default)]
struct Table {
    offsets: BTreeMap<i32, i64>,
    version: DataVersion,
    deliveries: u64,
}

/// How one level stands, for tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelProgress {
    pub level: i32,
    pub delivered_offset: i64,
    pub max_offset: i64,
}

/// `1s 5s 10m 2h 1d` in milliseconds.
pub fn parse_levels(text: &str) -> Result<Vec<i64>, ScheduleError> {
    let one = |level: &str| {
        let unit_at = level.len().checked_sub(1).filter(|at| level.is_char_boundary(*at))?;
        let (number, unit) = level.split_at(unit_at);
        let unit_millis = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.parse::<i64>().ok()?.checked_mul(unit_millis)
    };
    text.split(' ').map(one).collect::<Option<Vec<i64>>>().ok_or_else(|| ScheduleError::Levels(text.to_owned()))
}

impl Schedule {
    pub fn load(
        file: ConfigFile,
        levels: &str,
        version_step: i64,
        persist_interval_millis: i64,
        clock: SharedClock,
        parker: Parker,
    ) -> Result<Self, ScheduleError> {
        let stored = file.load(fastjson::from_slice::<DelayOffsets>)?;
        let now = clock.now_millis();
        let stored = stored.unwrap_or_else(|| DelayOffsets { data_version: DataVersion::at(now), ..DelayOffsets::default() });
        Ok(Self {
            levels: parse_levels(levels)?.into_iter().map(Level::of).collect(),
            due: Mutex::new(Due::ringing(parker.clone())),
            table: Mutex::new(Table { offsets: stored.offset_table, version: stored.data_version, deliveries: 0 }),
            version_step: version_step.max(1) as u64,
            persist_interval_millis,
            file: Checkpointed::new(file, now),
            clock,
            duty: Duty::new(parker.clone()),
            parker,
            rounds: AtomicU64::new(0),
        })
    }

    pub fn max_level(&self) -> i32 {
        self.levels.len() as i32
    }

    /// Turns a message for some topic into one that waits in the schedule topic. `level` is positive; one that is too high
    /// becomes the highest.
    pub fn delay(&self, message: &mut MessageInner, level: i32) {
        let capped = level.min(self.max_level());
        let mut edited = Vec::with_capacity(message.properties.len() + message.topic.len() + DELAY_BYTES_USUAL);
        edited.extend_from_slice(&message.properties);
        if capped != level {
            properties::set(&mut edited, property::DELAY, capped.to_string());
        }
        for timer in [property::TIMER_DELIVER_MS, property::TIMER_DELAY_SEC, property::TIMER_DELAY_MS] {
            properties::remove(&mut edited, timer);
        }
        properties::set(&mut edited, property::REAL_TOPIC, &*message.topic);
        properties::set(&mut edited, property::REAL_QID, message.queue_id.to_string());
        message.properties = Bytes::from(edited);
        message.topic = Str::from_static(topic_names::SCHEDULE);
        message.queue_id = capped - 1;
    }

    /// A delayed message lies in this queue of the schedule topic, due at `due_millis`.
    pub fn arriving(&self, queue_id: i32, due_millis: i64) {
        let Some(level) = usize::try_from(queue_id).ok().and_then(|at| self.levels.get(at)) else { return };
        // Pairs with the fence in `deliver_due`: that side sees the message, or this side sees that the level was looked at.
        fence(Ordering::SeqCst);
        if due_millis < level.due_millis.load(Ordering::Acquire) {
            self.look_by(due_millis, queue_id + 1);
        }
    }

    /// The level is looked at no later than this.
    fn look_by(&self, millis: i64, level: i32) {
        let mut due = self.due.lock();
        let due_millis = &self.level(level).due_millis;
        if millis < due_millis.load(Ordering::Acquire) {
            due_millis.store(millis, Ordering::Release);
            due.push(millis, level);
        }
    }

    fn level(&self, level: i32) -> &Level {
        &self.levels[level as usize - 1]
    }

    /// Starts delivering, from the offsets as they are.
    pub fn start(self: &Arc<Self>, store: Arc<MessageStore>, runtime: &Runtime) -> std::io::Result<()> {
        self.correct_offsets(&store);
        (1..=self.max_level()).for_each(|level| self.look_by(i64::MIN, level));
        self.duty.begin(|| {
            let schedule = Arc::clone(self);
            let shutdown = runtime.shutdown().clone();
            runtime.thread("schedule", move || {
                while !shutdown.has_begun() {
                    let nap = schedule.round(&store);
                    schedule.clock.park(&schedule.parker, nap);
                }
            })
        })
    }

    /// When it returns nothing more is delivered; what is delivered can be persisted after the store is closed.
    pub fn stop(&self) {
        self.duty.end();
    }

    /// Delivers what is due, persists now and then; the time until there is something to do.
    fn round(&self, store: &MessageStore) -> Duration {
        let may_deliver = self.deliver_due(store);
        self.persist_when_flushed(store);
        let now = self.clock.now_millis();
        let mut due = self.due.lock();
        let next_millis = if may_deliver { due.sleep_until(now, i64::MAX) } else { due.rest_until(now) };
        drop(due);
        self.rounds.fetch_add(1, Ordering::Release);
        Duration::from_millis(next_millis.saturating_sub(now).max(0) as u64)
    }

    /// How often the thread has looked for what is due; lets a test wait for the next look.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// Delivers everything that is due, the levels by turns; false when it may not.
    fn deliver_due(&self, store: &MessageStore) -> bool {
        loop {
            let levels = self.take_due();
            // Pairs with the fence in `arriving`.
            fence(Ordering::SeqCst);
            if levels.is_empty() {
                return true;
            }
            for (at, level) in levels.iter().enumerate() {
                let Some(_on_duty) = self.duty.hold() else {
                    levels[at..].iter().for_each(|level| self.look_by(i64::MIN, *level));
                    return false;
                };
                match self.deliver_turn(store, *level) {
                    LevelTurn::More => self.look_by(self.clock.now_millis(), *level),
                    LevelTurn::Until(millis) => self.look_by(millis, *level),
                }
            }
        }
    }

    /// The levels that are due.
    fn take_due(&self) -> Vec<i32> {
        let now = self.clock.now_millis();
        // Later than its delay from now, and than what could not be read waits, is a level only when the clock was set back.
        for (level, Level { delay_millis, due_millis }) in (1..).zip(&self.levels) {
            let millis = due_millis.load(Ordering::Acquire);
            if millis < i64::MAX && millis > now.saturating_add(*delay_millis).saturating_add(READ_AGAIN_MILLIS) {
                self.look_by(now, level);
            }
        }
        let mut due = self.due.lock();
        let moment_of = |level: &i32| Some(self.level(*level).due_millis.load(Ordering::Acquire));
        let mut levels = Vec::new();
        while let Some(level) = due.take(now, moment_of) {
            self.level(level).due_millis.store(i64::MAX, Ordering::Release);
            levels.push(level);
        }
        levels
    }

    fn deliver_turn(&self, store: &MessageStore, level: i32) -> LevelTurn {
        let queue_id = level - 1;
        let delay_millis = self.level(level).delay_millis;
        let mut offset = self.offset(level);
        for _ in 0..TURN_COUNT_MAX {
            let found = store.consume_queue_unit(topic_names::SCHEDULE, queue_id, offset).and_then(|unit| match unit {
                Some(unit) => Ok((Some(unit), 0..0)),
                None => Ok((None, store.queue_offsets(topic_names::SCHEDULE, queue_id)?)),
            });
            // Of a queue that cannot be read nothing is known; another look is due soon.
            let Ok((unit, within)) = found else { return LevelTurn::Until(self.clock.now_millis() + READ_AGAIN_MILLIS) };
            let Some(unit) = unit else {
                let corrected = offset.clamp(within.start.max(0), within.end.max(within.start).max(0));
                if corrected == offset {
                    return LevelTurn::Until(i64::MAX);
                }
                warn!(level, offset, corrected, "the delay offset was outside its queue");
                self.advance(level, corrected);
                offset = corrected;
                continue;
            };
            let now = self.clock.now_millis();
            // Later than its delay from now can only be a clock that was set back: then it is due.
            let is_due = unit.tags_code <= now || unit.tags_code > now + delay_millis;
            if !is_due {
                return LevelTurn::Until(unit.tags_code);
            }
            let record = match store.look_message(unit.physical_offset) {
                Ok(record) => record,
                Err(error) => {
                    warn!(level, offset, %error, "a delayed message could not be read, trying again");
                    return LevelTurn::Until(now + READ_AGAIN_MILLIS);
                }
            };
            match record {
                Some(record) => match delivered_message(&record) {
                    Ok(Some(message)) => {
                        let put = store.put_message(&message);
                        if put.status != PutMessageStatus::PutOk {
                            warn!(level, offset, status = ?put.status, "a delayed message could not be put, trying again");
                            return LevelTurn::Until(now + RETRY_MILLIS);
                        }
                        store.flush_soon(&put);
                    }
                    Ok(None) => error!(level, offset, "a delayed half message is discarded"),
                    Err(why) => error!(level, offset, why, "a delayed message cannot be understood, passing it over"),
                },
                None => warn!(level, offset, physical_offset = unit.physical_offset, "a delayed message is no longer in the log"),
            }
            offset += 1;
            self.advance(level, offset);
        }
        LevelTurn::More
    }

    fn offset(&self, level: i32) -> i64 {
        self.table.lock().offsets.get(&level).copied().unwrap_or(0)
    }

    fn advance(&self, level: i32, offset: i64) {
        let mut table = self.table.lock();
        table.offsets.insert(level, offset);
        self.file.changed();
        table.deliveries += 1;
        if table.deliveries.is_multiple_of(self.version_step) {
            table.version.next(self.clock.now_millis());
        }
    }

    /// At start: an offset outside its queue (a log that was cut, a file from elsewhere) is moved to the nearer end.
    fn correct_offsets(&self, store: &MessageStore) {
        // The queues may have to be loaded: the table is not locked meanwhile.
        let offsets = self.table.lock().offsets.clone();
        for (level, offset) in offsets {
            // A queue that cannot be loaded now is looked at again by the delivery.
            let Ok(within) = store.queue_offsets(topic_names::SCHEDULE, level - 1) else { continue };
            let min = within.start.max(0);
            let corrected = offset.clamp(min, within.end.max(min));
            if corrected != offset {
                info!(level, offset, corrected, "delay offset corrected");
                self.table.lock().offsets.insert(level, corrected);
            }
        }
    }

    pub fn progress(&self, store: &MessageStore) -> Vec<LevelProgress> {
        let offsets = self.table.lock().offsets.clone();
        let progress = offsets.into_iter().map(|(level, delivered_offset)| LevelProgress {
            level,
            delivered_offset,
            max_offset: store.max_offset(topic_names::SCHEDULE, level - 1).max(0),
        });
        progress.collect()
    }

    /// The body of GET_ALL_DELAY_OFFSET.
    pub fn encode(&self) -> Vec<u8> {
        fastjson::to_vec(&self.table.lock().offsets_file())
    }

    /// What a master answers to GET_ALL_DELAY_OFFSET, in place of what is here; whether that changes anything. The disk has what it speaks of.
    pub fn take_over(&self, table: &[u8]) -> Result<bool, ReadError> {
        let master: DelayOffsets = fastjson::from_slice(table)?;
        let mut table = self.table.lock();
        let is_news = table.version != master.data_version || table.offsets != master.offset_table;
        (table.offsets, table.version) = (master.offset_table, master.data_version);
        Ok(is_news)
    }

    /// What a slave that delivered for this master answers to it: nothing is delivered again that one of them has delivered.
    pub fn take_higher(&self, table: &[u8]) -> Result<(), ReadError> {
        let slave: DelayOffsets = fastjson::from_slice(table)?;
        let mut table = self.table.lock();
        for (level, delivered) in slave.offset_table {
            let known = table.offsets.entry(level).or_default();
            *known = delivered.max(*known);
        }
        self.file.changed();
        Ok(())
    }

    /// Takes the offsets every `flushDelayOffsetInterval`, and writes them as soon as the disk has what they speak of.
    fn persist_when_flushed(&self, store: &MessageStore) {
        let (now, interval) = (self.clock.now_millis(), self.persist_interval_millis);
        let take = || {
            let table = self.table.lock();
            Some(Taken { position: store.max_phy_offset(), bytes: fastjson::to_pretty(&table.offsets_file()), told: () })
        };
        if let Err(error) = self.file.keep_up(now, interval, take, || store.flushed_offset(), |()| ()) {
            error!(%error, "delay offsets could not be written");
        }
    }

    /// Writes the offsets as they are; right when the store is closed, so that all it holds is on the disk.
    pub fn persist(&self) -> Result<(), PersistError> {
        let bytes = || fastjson::to_pretty(&self.table.lock().offsets_file());
        self.file.write_closed(|| Some((bytes(), ())), |()| ())
    }
}

impl Level {
    fn of(delay_millis: i64) -> Self {
        Self { delay_millis, due_millis: AtomicI64::new(i64::MAX) }
    }
}

impl Table {
    fn offsets_file(&self) -> DelayOffsets {
        DelayOffsets { data_version: self.version.clone(), offset_table: self.offsets.clone() }
    }
}

enum LevelTurn {
    /// There may be more that is due.
    More,
    /// Nothing before this wall clock time.
    Until(i64),
}

/// The message as its own topic gets it. Its properties stay as they are, DELAY, REAL_TOPIC and REAL_QID with them: consumers
/// of the original see them too. `None` for one that must not be delivered.
fn delivered_message(record: &Bytes) -> Result<Option<MessageInner>, &'static str> {
    let view = MessageView::decode(record).map_err(|_| "its record is damaged")?;
    let topic = view.property(property::REAL_TOPIC).ok_or("it names no topic")?;
    let queue_id = view.property(property::REAL_QID).and_then(|text| text.parse::<i32>().ok()).ok_or("it names no queue")?;
    if topic == topic_names::TRANS_HALF {
        return Ok(None);
    }
    // Every message that this broker delays is a send's; the log may be another's.
    let is_too_long = topic.len() > topic_names::TOPIC_LENGTH_MAX && !topic_names::is_retry(topic);
    if is_too_long || !may_name_a_directory(topic) || !topic_names::is_sendable(topic) || queue_id < 0 {
        return Err("it names a place that no message may be sent to");
    }
    Ok(Some(MessageInner {
        topic: Str::copy_from(topic),
        queue_id,
        flag: view.flag,
        sys_flag: view.sys_flag,
        born_timestamp: view.born_timestamp,
        born_host: view.born_host,
        store_host: view.store_host,
        reconsume_times: view.reconsume_times,
        prepared_transaction_offset: 0,
        tags_code: tags_code_of(view.properties),
        body: record.slice_ref(view.body),
        properties: record.slice_ref(view.properties),
    }))
}
