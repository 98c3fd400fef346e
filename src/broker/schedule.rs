// SPDX-License-Identifier: Apache-2.0
//! Delay levels: a delayed message waits in SCHEDULE_TOPIC_XXXX, one queue per level, and is put into its own topic when due.
//!
//! One thread serves all levels and sleeps until the earliest message is due; the original looks at each level every 100 ms.
//! How far each level has come lies in `delayOffset.json`; it never runs ahead of what the disk has of the delivered messages,
//! so a crash delivers some of them twice but loses none. Knows no request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::message::{MessageInner, MessageView, properties, property, tags_code_of};
use ferrocket_protocol::{Str, fastjson, topic_names};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::broker::persist::{ConfigFile, PersistError};
use crate::runtime::{Parker, Runtime, SharedClock};
use crate::store::{MessageStore, PutMessageStatus, may_name_a_directory};

/// Messages of one level delivered in a row, before the other levels get their turn.
const TURN_COUNT_MAX: usize = 64;
/// Room for REAL_TOPIC and REAL_QID without their values.
const DELAY_BYTES_USUAL: usize = 32;
/// Wait after a delivery that the store refused.
const RETRY_MILLIS: i64 = 100;
/// The wall clock can be set while the thread sleeps; so late is a message at most then.
const NAP_MILLIS_MAX: i64 = 1_000;

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
    level_millis: Vec<i64>,
    table: Mutex<Table>,
    version_step: u64,
    persist_interval_millis: i64,
    file: ConfigFile,
    clock: SharedClock,
    /// When the thread will look again by itself; an earlier message rings it.
    looks_at_millis: AtomicI64,
    parker: Parker,
    stopped: AtomicBool,
    rounds: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    offsets: BTreeMap<i32, i64>,
    version: DataVersion,
    deliveries: u64,
    changed: bool,
    /// Offsets that may be written once the log is on the disk up to the position beside them.
    to_write: Option<(i64, Vec<u8>)>,
    persisted_millis: i64,
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
            level_millis: parse_levels(levels)?,
            table: Mutex::new(Table {
                offsets: stored.offset_table,
                version: stored.data_version,
                persisted_millis: now,
                ..Table::default()
            }),
            version_step: version_step.max(1) as u64,
            persist_interval_millis,
            file,
            clock,
            looks_at_millis: AtomicI64::new(i64::MIN),
            parker,
            stopped: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
        })
    }

    pub fn max_level(&self) -> i32 {
        self.level_millis.len() as i32
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

    /// A delayed message lies in the log, due at `due_millis`.
    pub fn arriving(&self, due_millis: i64) {
        // Pairs with the fence in `round`: that side sees the message, or this side sees that it looks. Which of two that come at the same
        // time is told first does not matter: each rings for itself.
        fence(Ordering::SeqCst);
        if due_millis < self.looks_at_millis.load(Ordering::Acquire) {
            self.parker.unpark();
        }
    }

    /// Starts delivering.
    pub fn start(self: &Arc<Self>, store: Arc<MessageStore>, runtime: &Runtime) -> std::io::Result<()> {
        self.correct_offsets(&store);
        let schedule = Arc::clone(self);
        let shutdown = runtime.shutdown().clone();
        runtime.thread("schedule", move || {
            while !shutdown.has_begun() && !schedule.stopped.load(Ordering::Acquire) {
                let nap = schedule.round(&store);
                schedule.clock.park(&schedule.parker, nap);
            }
        })
    }

    /// Delivers nothing more; what is delivered can be persisted after the store is closed.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.parker.unpark();
    }

    /// Delivers what is due, persists now and then; the time until there is something to do.
    fn round(&self, store: &MessageStore) -> Duration {
        // From here on a message that is due before the next look rings, whichever queue it enters.
        self.looks_at_millis.store(i64::MAX, Ordering::Release);
        fence(Ordering::SeqCst);
        let next_millis = self.deliver_due(store);
        self.persist_when_flushed(store);
        let now = self.clock.now_millis();
        let next_millis = next_millis.min(now + NAP_MILLIS_MAX);
        self.looks_at_millis.store(next_millis, Ordering::Release);
        self.rounds.fetch_add(1, Ordering::Release);
        Duration::from_millis((next_millis - now).max(0) as u64)
    }

    /// How often the thread has looked for what is due; lets a test wait for the next look.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// Delivers everything that is due; when the next message is, in wall clock milliseconds.
    fn deliver_due(&self, store: &MessageStore) -> i64 {
        let mut next_millis = i64::MAX;
        let mut levels: Vec<i32> = (1..=self.max_level()).collect();
        while !levels.is_empty() {
            levels.retain(|level| match self.deliver_turn(store, *level) {
                Turn::More => !self.stopped.load(Ordering::Acquire),
                Turn::Until(millis) => {
                    next_millis = next_millis.min(millis);
                    false
                }
            });
        }
        next_millis
    }

    fn deliver_turn(&self, store: &MessageStore, level: i32) -> Turn {
        let queue_id = level - 1;
        let delay_millis = self.level_millis[queue_id as usize];
        let mut offset = self.offset(level);
        for _ in 0..TURN_COUNT_MAX {
            let found = store.consume_queue_unit(topic_names::SCHEDULE, queue_id, offset).and_then(|unit| match unit {
                Some(unit) => Ok((Some(unit), 0..0)),
                None => Ok((None, store.queue_offsets(topic_names::SCHEDULE, queue_id)?)),
            });
            // Of a queue that cannot be read nothing is known; another look is due soon.
            let Ok((unit, within)) = found else { return Turn::Until(self.clock.now_millis() + NAP_MILLIS_MAX) };
            let Some(unit) = unit else {
                let corrected = offset.clamp(within.start.max(0), within.end.max(within.start).max(0));
                if corrected == offset {
                    return Turn::Until(i64::MAX);
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
                return Turn::Until(unit.tags_code);
            }
            let record = match store.look_message(unit.physical_offset) {
                Ok(record) => record,
                Err(error) => {
                    warn!(level, offset, %error, "a delayed message could not be read, trying again");
                    return Turn::Until(now + NAP_MILLIS_MAX);
                }
            };
            match record {
                Some(record) => match delivered_message(&record) {
                    Ok(Some(message)) => {
                        let put = store.put_message(&message);
                        if put.status != PutMessageStatus::PutOk {
                            warn!(level, offset, status = ?put.status, "a delayed message could not be put, trying again");
                            return Turn::Until(now + RETRY_MILLIS);
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
        Turn::More
    }

    fn offset(&self, level: i32) -> i64 {
        self.table.lock().offsets.get(&level).copied().unwrap_or(0)
    }

    fn advance(&self, level: i32, offset: i64) {
        let mut table = self.table.lock();
        table.offsets.insert(level, offset);
        table.changed = true;
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

    /// Takes the offsets every `flushDelayOffsetInterval`, and writes them as soon as the disk has what they speak of.
    fn persist_when_flushed(&self, store: &MessageStore) {
        let now = self.clock.now_millis();
        let due = {
            let mut table = self.table.lock();
            if table.to_write.is_none() && table.changed && now - table.persisted_millis >= self.persist_interval_millis {
                table.to_write = Some((store.max_phy_offset(), fastjson::to_pretty(&table.offsets_file())));
                table.changed = false;
                table.persisted_millis = now;
            }
            let flushed = store.flushed_offset();
            table.to_write.take_if(|(position, _)| *position <= flushed)
        };
        if let Some((_, bytes)) = due
            && let Err(error) = self.file.store(&bytes)
        {
            error!(%error, "delay offsets could not be written");
            self.table.lock().changed = true;
        }
    }

    /// Writes the offsets as they are; right when the store is closed, so that all it holds is on the disk.
    pub fn persist(&self) -> Result<(), PersistError> {
        let bytes = {
            let mut table = self.table.lock();
            table.to_write = None;
            table.changed = false;
            fastjson::to_pretty(&table.offsets_file())
        };
        self.file.store(&bytes)
    }
}

impl Table {
    fn offsets_file(&self) -> DelayOffsets {
        DelayOffsets { data_version: self.version.clone(), offset_table: self.offsets.clone() }
    }
}

enum Turn {
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
