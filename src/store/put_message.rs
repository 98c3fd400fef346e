// SPDX-License-Identifier: Apache-2.0
//! Putting messages: checked, encoded, appended to the log and pushed to their queue.
//!
//! A put is encoded outside the append lock; under it the record gets its offsets, is copied into the log and its unit pushed
//! to its ConsumeQueue, so that both are in one order. Locks are taken in the order: append, one queue's tail, leaf locks.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ferrocket_protocol::message::{
    MessageInner, batch, encode_record, layout, patch_record, properties, property, record_bytes, tags_code_of,
};
use ferrocket_protocol::topic_names;
use tracing::error;

use super::commit_log::AppendError;
use super::consume_queue::{ColdPut, ConsumeQueue};
use super::dispatch::{UnitTags, is_dispatched};
use super::flush::{Arrival, Unseen};
use super::message_store::MessageStore;
use super::progress::Done;
use super::put::Needs;
use super::stats::PUTS_PER_TIMING;
use super::unit::Unit;
use super::{PutMessageStatus, PutResult};
use crate::runtime::or_abort;

/// A thread's encode buffer above this is given back after use: one message of the largest size must not be kept by every thread.
const ENCODE_BUFFER_KEPT_BYTES: usize = 512 * 1024;

/// Store times do not go back with a clock that is corrected by this much. One that was far ahead is believed again at once, as in
/// Java: otherwise every delayed message would count as overdue until the time it showed.
const CLOCK_STEP_BACK_MILLIS_MAX: i64 = 1_000;

thread_local! {
    static ENCODE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl MessageStore {
    /// One message into the log and its queue. Readable when this returns, or with SYNC_FLUSH when it is on the disk.
    pub fn put_message(&self, message: &MessageInner) -> PutResult {
        self.answered(self.put_one(message, true)).expect("a put that may wait")
    }

    /// As `put_message`, but `Err` when the queue is not in memory: then nothing was done.
    pub fn put_message_at_once(&self, message: &MessageInner) -> Result<PutResult, ColdPut> {
        self.answered(self.put_one(message, false))
    }

    /// A batch: `message.body` holds its items, which all go to one place of one queue, or nowhere.
    pub fn put_messages(&self, message: &MessageInner) -> PutResult {
        self.answered(self.put_batch(message, true)).expect("a put that may wait")
    }

    /// As `put_messages`, but `Err` when the queue is not in memory: then nothing was done.
    pub fn put_messages_at_once(&self, message: &MessageInner) -> Result<PutResult, ColdPut> {
        self.answered(self.put_batch(message, false))
    }

    fn answered(&self, put: Result<PutResult, NotPut>) -> Result<PutResult, ColdPut> {
        match put {
            Ok(put) => Ok(put),
            Err(NotPut::Refused(status)) => Ok(self.refuse(status)),
            Err(NotPut::Cold(cold)) => Err(cold),
        }
    }

    fn put_one(&self, message: &MessageInner, waiting: bool) -> Result<PutResult, NotPut> {
        self.check(message, message.body.len())?;
        let needs = self.needs_of(message)?;
        let queue = self.queue_for(message, waiting)?;
        let tags = UnitTags::of(&message.topic, &message.properties, || message.tags_code);
        ENCODE_BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            encode_record(message, buffer);
            let unit = PendingUnit { start: 0, len: buffer.len(), tags };
            let result = self.append(message, queue, buffer, &[unit], needs);
            if buffer.capacity() > ENCODE_BUFFER_KEPT_BYTES {
                *buffer = Vec::new();
            }
            Ok(result)
        })
    }

    fn put_batch(&self, message: &MessageInner, waiting: bool) -> Result<PutResult, NotPut> {
        // Java answers a batch over the limit with an exception, not with MESSAGE_ILLEGAL.
        if message.body.len() > self.base.config.load().max_message_size {
            return Err(PutMessageStatus::UnknownError.into());
        }
        self.check(message, message.body.len())?;
        let delayed = properties::find_str(&message.properties, property::DELAY)
            .and_then(|level| level.parse::<i32>().ok())
            .is_some_and(|level| level > 0);
        if delayed || !is_dispatched(message.sys_flag) {
            return Err(PutMessageStatus::MessageIllegal.into());
        }
        let needs = self.needs_of(message)?;
        ENCODE_BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let mut units = Vec::new();
            let mut one = MessageInner { prepared_transaction_offset: 0, ..message.clone() };
            for item in batch::items(&message.body) {
                // As for a batch that is too long.
                let Ok(item) = item else { return Err(PutMessageStatus::UnknownError.into()) };
                if item.properties.len() > layout::PROPERTIES_BYTES_MAX {
                    return Err(PutMessageStatus::PropertiesSizeExceeded.into());
                }
                let tags = UnitTags::of(&message.topic, &item.properties, || tags_code_of(&item.properties));
                (one.flag, one.body, one.properties) = (item.flag, item.body, item.properties);
                let start = buffer.len();
                encode_record(&one, buffer);
                units.push(PendingUnit { start, len: buffer.len() - start, tags });
            }
            if units.is_empty() {
                return Err(PutMessageStatus::MessageIllegal.into());
            }
            let queue = self.queue_for(message, waiting)?;
            let result = self.append(message, queue, buffer, &units, needs);
            if buffer.capacity() > ENCODE_BUFFER_KEPT_BYTES {
                *buffer = Vec::new();
            }
            Ok(result)
        })
    }

    fn refuse(&self, status: PutMessageStatus) -> PutResult {
        self.base.stats.put_failed.fetch_add(1, Ordering::Relaxed);
        PutResult::refused(status)
    }

    /// Java's checks before a put, in its order.
    fn check(&self, message: &MessageInner, body_bytes: usize) -> Result<(), PutMessageStatus> {
        if !self.is_writable() || self.is_copy() {
            return Err(PutMessageStatus::ServiceNotAvailable);
        }
        let topic_bytes = message.topic.len();
        if topic_bytes > i8::MAX as usize && !topic_names::is_retry(&message.topic) || topic_bytes > u8::MAX as usize {
            return Err(PutMessageStatus::MessageIllegal);
        }
        if message.properties.len() > layout::PROPERTIES_BYTES_MAX {
            return Err(PutMessageStatus::PropertiesSizeExceeded);
        }
        let max_message_size = self.base.config.load().max_message_size;
        if body_bytes > max_message_size || record_bytes(message) > max_message_size + 64 * 1024 {
            return Err(PutMessageStatus::MessageIllegal);
        }
        Ok(())
    }

    /// What the message's producer waits for, unless it says that it does not (Java's isWaitStoreMsgOK); an error when slaves must have
    /// it and too few are there.
    fn needs_of(&self, message: &MessageInner) -> Result<Needs, PutMessageStatus> {
        let progress = &self.flusher.progress;
        if !self.base.sync_flush && !progress.wants_replicas() {
            return Ok(Needs::default());
        }
        let waits = properties::find(&message.properties, property::WAIT).is_none_or(|wait| wait.eq_ignore_ascii_case(b"true"));
        if !waits {
            return Ok(Needs::default());
        }
        let mut needs = Needs { disk: self.base.sync_flush, replicas: 0 };
        if progress.wants_replicas() {
            let copies = self.base.config.load().copies;
            let in_sync = 1 + progress.in_sync_replicas(self.max_phy_offset() - copies.max_gap_not_in_sync);
            needs.replicas = copies.needed(in_sync).ok_or(PutMessageStatus::InSyncReplicasNotEnough)?.saturating_sub(1);
        }
        Ok(needs)
    }

    fn queue_for(&self, message: &MessageInner, waiting: bool) -> Result<Arc<ConsumeQueue>, NotPut> {
        let (topic, queue_id) = (&*message.topic, message.queue_id);
        if queue_id < 0 {
            return Err(PutMessageStatus::MessageIllegal.into());
        }
        // A request's topic was looked at long before; this one may come from a message's properties.
        let queue = self.base.queues.get_or_create(topic, queue_id, true).ok_or(PutMessageStatus::MessageIllegal)?;
        if !waiting && !queue.is_hot() {
            return Err(NotPut::Cold(ColdPut::new(queue)));
        }
        queue.ensure_loaded(&self.base.queues.files, &self.base.log).map_err(|error| {
            error!(topic, queue_id, %error, "cannot load a ConsumeQueue");
            // The original's word for files that are broken; its others would name a full disk to the producer.
            PutMessageStatus::CreateMappedFileFailed
        })?;
        Ok(queue)
    }

    fn append(
        &self,
        message: &MessageInner,
        mut queue: Arc<ConsumeQueue>,
        records: &mut [u8],
        units: &[PendingUnit],
        needs: Needs,
    ) -> PutResult {
        let dispatched = is_dispatched(message.sys_flag);
        let visible_at_once = self.flusher.progress.is_visible_at_once();
        let timed = self.base.stats.put_times.load(Ordering::Relaxed).is_multiple_of(PUTS_PER_TIMING);
        let began = if timed { self.base.clock.nanos() } else { 0 };
        let mut end = self.appender.lock();
        let now_millis = self.base.clock.now_millis();
        self.appender.set_began_millis(now_millis);
        // From the record's first byte to its unit nothing may be left half done: other puts would go on behind it.
        let result = or_abort("an append", || {
            let end = &mut *end;
            let health = &self.base.health;
            if health.shutdown.load(Ordering::SeqCst) || health.is_copy.load(Ordering::SeqCst) {
                return Err(AppendError::Closed);
            }
            let physical_offset = self.base.log.prepare(&mut end.tail, records.len())?;
            let last = end.last_store_timestamp;
            let store_timestamp = if last - now_millis <= CLOCK_STEP_BACK_MILLIS_MAX { last.max(now_millis) } else { now_millis };
            let mut tail = queue.lock_tail();
            while tail.is_destroyed() {
                // Its topic was deleted between the look into the table and now: the message begins a new one.
                drop(tail);
                queue = self.base.queues.renewed(&queue);
                tail = queue.lock_tail();
            }
            let first_queue_offset = if dispatched { tail.next() } else { 0 };
            for (index, unit) in units.iter().enumerate() {
                let queue_offset = if dispatched { first_queue_offset + index as i64 } else { 0 };
                patch_record(
                    &mut records[unit.start..unit.start + unit.len],
                    queue_offset,
                    physical_offset + unit.start as i64,
                    store_timestamp,
                );
            }
            self.base.log.append(&mut end.tail, records)?;
            let mut physical_offsets = Vec::new();
            if units.len() > 1 {
                physical_offsets.extend(units.iter().map(|unit| physical_offset + unit.start as i64));
            }
            let mut unseen = (!visible_at_once).then(|| self.flusher.unseen());
            for unit in units.iter().filter(|_| dispatched) {
                let tags_code = self.base.queues.files.dispatch.tags_code(unit.tags, store_timestamp);
                let unit = Unit { physical_offset: physical_offset + unit.start as i64, size: unit.len as i32, tags_code };
                tail.push(&unit);
                if let Some(unseen) = &mut unseen {
                    let arrival = Arrival { queue: Arc::clone(&queue), max_offset: tail.next(), tags_code, store_timestamp };
                    unseen.push_back(Unseen { end: unit.end_offset(), arrival });
                }
            }
            drop(unseen);
            let max_offset = tail.next();
            drop(tail);
            if dispatched {
                if visible_at_once {
                    queue.publish(max_offset);
                }
                end.note_unwritten(&queue);
            }
            end.last_record = physical_offset + units.last().map_or(0, |unit| unit.start as i64);
            end.last_store_timestamp = store_timestamp;
            self.base.last_store_timestamp.store(store_timestamp, Ordering::Relaxed);
            Ok(PutResult {
                status: PutMessageStatus::PutOk,
                physical_offset,
                queue_offset: first_queue_offset,
                store_timestamp,
                message_count: units.len() as i32,
                record_bytes: records.len() as i32,
                physical_offsets,
                needs,
            })
        });
        self.appender.set_began_millis(0);
        drop(end);
        match result {
            Ok(put) => {
                self.after_append(&put, &queue, units, dispatched);
                if timed {
                    self.base.stats.time_put(self.base.clock.nanos() - began);
                }
                put
            }
            Err(error) => self.refuse_append(&error),
        }
    }

    fn after_append(&self, put: &PutResult, queue: &ConsumeQueue, units: &[PendingUnit], dispatched: bool) {
        self.base.stats.put_times.fetch_add(units.len() as u64, Ordering::Relaxed);
        self.base.stats.put_bytes.fetch_add(put.record_bytes as u64, Ordering::Relaxed);
        self.keeper.grown_to(put.end_offset());
        self.followers.ring();
        if self.base.sync_flush && !put.needs.disk {
            self.flusher.ring();
        }
        if dispatched && self.flusher.progress.is_visible_at_once() {
            for (index, unit) in units.iter().enumerate() {
                let tags_code = self.base.queues.files.dispatch.tags_code(unit.tags, put.store_timestamp);
                let max_offset = put.queue_offset + index as i64 + 1;
                self.base.arrivals.arriving(&queue.topic, queue.queue_id, max_offset, tags_code, put.store_timestamp);
            }
        }
    }

    fn refuse_append(&self, error: &AppendError) -> PutResult {
        self.refuse(self.append_failed(error))
    }

    /// What an append that failed says of the store, and is answered with.
    pub(super) fn append_failed(&self, error: &AppendError) -> PutMessageStatus {
        match error {
            AppendError::NoSpace(_) => {
                if !self.base.health.disk_full.swap(true, Ordering::SeqCst) {
                    error!(%error, "the disk is full: messages are refused until there is room");
                }
                PutMessageStatus::ServiceNotAvailable
            }
            AppendError::CreateFile(source) => {
                self.base.poison_if_sync_failed(source);
                self.complain_of(error);
                PutMessageStatus::CreateMappedFileFailed
            }
            AppendError::Write(_) => {
                self.complain_of(error);
                PutMessageStatus::UnknownError
            }
            AppendError::TooLong(_) => PutMessageStatus::MessageIllegal,
            AppendError::Closed => PutMessageStatus::ServiceNotAvailable,
        }
    }

    fn complain_of(&self, error: &AppendError) {
        if self.base.complaints.append.is_due(self.base.clock.nanos()) {
            error!(%error, "puts are refused");
        }
    }

    /// Calls `done` when the put has what its producer waits for; with FLUSH_SLAVE_TIMEOUT when the slaves do not have it in
    /// `slaveTimeout`, else with FLUSH_DISK_TIMEOUT when the disk does not in `syncFlushTimeout`.
    pub fn when_durable(&self, put: &PutResult, done: Box<dyn FnOnce(PutMessageStatus) + Send>) {
        let (slaves, disk) = {
            let config = self.base.config.load();
            (config.copies.slave_timeout_millis, config.sync_flush_timeout)
        };
        self.settle(put, put.needs, Duration::from_millis(slaves), Duration::from_millis(disk), done);
    }

    /// As `when_durable`, whatever the configuration wants.
    pub fn when_settled(&self, put: &PutResult, needs: Needs, timeout: Duration, done: Box<dyn FnOnce(PutMessageStatus) + Send>) {
        self.settle(put, needs, timeout, timeout, done);
    }

    fn settle(&self, put: &PutResult, needs: Needs, slaves_within: Duration, disk_within: Duration, done: Done) {
        let progress = &self.flusher.progress;
        if !put.status.is_stored() || progress.reached(needs) >= put.end_offset() {
            return done(put.status);
        }
        if needs.disk && self.base.is_poisoned() {
            return done(PutMessageStatus::FlushDiskTimeout);
        }
        let at = |within: Duration| self.base.clock.nanos() + within.as_nanos() as u64;
        progress.wait(put.end_offset(), needs, at(slaves_within), at(disk_within), done);
        if needs.disk {
            self.flusher.ring();
        }
        if needs.replicas > 0 {
            // A slave may have said so since the look above.
            self.flusher.settle(&self.base);
        }
    }

    /// A slave says that its log has everything before `end`. While it is connected what it has said holds.
    pub fn acknowledge(&self, replica: &str, end: i64) {
        self.flusher.replicated(&self.base, replica, end);
    }

    /// A slave is gone, and what it has does not count.
    pub fn forget_replica(&self, replica: &str) {
        self.flusher.progress.forget_replica(replica);
    }

    /// At a stop: no put waits for a slave any more.
    pub fn stop_waiting_for_slaves(&self) {
        self.flusher.progress.stop_waiting_for_replicas(&*self.base.arrivals);
    }

    /// For a put that nobody waits for: consumers wait for its message, which with SYNC_FLUSH they see when it is on the disk.
    pub fn flush_soon(&self, put: &PutResult) {
        if put.needs.disk {
            self.flusher.ring();
        }
    }
}

/// Why nothing was put.
enum NotPut {
    Refused(PutMessageStatus),
    Cold(ColdPut),
}

impl From<PutMessageStatus> for NotPut {
    fn from(status: PutMessageStatus) -> Self {
        Self::Refused(status)
    }
}

/// A record in the encode buffer.
struct PendingUnit {
    start: usize,
    len: usize,
    tags: UnitTags,
}
