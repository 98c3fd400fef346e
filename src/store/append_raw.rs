// SPDX-License-Identifier: Apache-2.0
//! A stretch of a master's log, appended as it is: what a slave's log is made of. Java's CommitLog.appendData.
//!
//! The bytes are checked as a recovery checks them, and what follows from each record is what follows from it after a put
//! (`dispatch`). Of a record or a blank that is not whole yet nothing is taken. Knows nothing of who sends the bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::appender::LogEnd;
use super::commit_log::AppendError;
use super::consume_queue::ConsumeQueue;
use super::flush::{Arrival, Unseen};
use super::message_store::MessageStore;
use super::record::{self, BLANK_HEAD_BYTES, Found};
use super::unit::Unit;
use super::{PutMessageStatus, StoreError};
use crate::runtime::or_abort;

/// Why bytes of a master's log were not taken, or not all: `MessageStore::max_phy_offset` says where those that were end.
#[derive(Debug, thiserror::Error)]
pub enum RawAppendError {
    #[error("the bytes begin at {offset}, where the log ends at {end}")]
    NotAtEnd { offset: i64, end: i64 },
    #[error("no record lies at {offset}: the bytes are damaged, or not of a log")]
    NoRecord { offset: i64 },
    #[error("what lies at {offset} does not fit into a file: set mappedFileSizeCommitLog to the master's value")]
    OtherFileLength { offset: i64 },
    /// What the status means is told where it arises.
    #[error("the store takes nothing: {0:?}")]
    Refused(PutMessageStatus),
    /// A ConsumeQueue cannot be loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What of some bytes can be appended in one go: whole records, and the blank that ends their file.
#[derive(Default)]
struct Stretch {
    records: Vec<RawRecord>,
    record_bytes: usize,
    /// 0 without one.
    blank_bytes: usize,
}

impl Stretch {
    fn has(&self, queue: &Arc<ConsumeQueue>) -> bool {
        self.records.iter().any(|record| record.place.as_ref().is_some_and(|(placed, ..)| Arc::ptr_eq(placed, queue)))
    }
}

struct RawRecord {
    /// `None` for a record that has no place in a queue.
    place: Option<(Arc<ConsumeQueue>, i64, Unit)>,
    physical_offset: i64,
    store_timestamp: i64,
}

impl MessageStore {
    /// Whether the log is a copy of a master's from now on. Of one that is nothing is put: a put that has passed the checks before is let
    /// finish, and none follows when this returns.
    pub fn set_copy(&self, is_copy: bool) {
        self.base.health.is_copy.store(is_copy, Ordering::SeqCst);
        drop(self.appender.lock());
    }

    pub fn is_copy(&self) -> bool {
        self.base.health.is_copy.load(Ordering::Relaxed)
    }

    /// Appends what a master has at this place of its log, which must be where this log ends; an empty log may begin where any file of
    /// the master does. Readable when this returns, or with SYNC_FLUSH when it is on the disk. Waits for the disk. One caller at a time,
    /// and no puts (`set_copy`).
    ///
    /// The new end of the log. Bytes behind it are the beginning of a record, or of a blank: they come again with what follows them.
    pub fn append_raw(&self, physical_offset: i64, bytes: &[u8]) -> Result<i64, RawAppendError> {
        let end = self.max_phy_offset();
        if physical_offset != end && !(end == 0 && self.base.log.may_begin_at(physical_offset)) {
            return Err(RawAppendError::NotAtEnd { offset: physical_offset, end });
        }
        let mut taken = 0;
        loop {
            let at = physical_offset + taken as i64;
            let stretch = self.stretch(at, &bytes[taken..])?;
            if stretch.record_bytes + stretch.blank_bytes == 0 {
                return Ok(at);
            }
            self.append_stretch(at, &bytes[taken..taken + stretch.record_bytes], &stretch)?;
            taken += stretch.record_bytes + stretch.blank_bytes;
        }
    }

    fn stretch(&self, start: i64, bytes: &[u8]) -> Result<Stretch, RawAppendError> {
        let file_bytes = self.base.log.files.file_bytes();
        let rest_of_file = file_bytes - (start.max(0) as usize % file_bytes);
        let mut stretch = Stretch::default();
        while stretch.record_bytes < bytes.len() {
            let rest = &bytes[stretch.record_bytes..];
            let offset = start + stretch.record_bytes as i64;
            let room = rest_of_file - stretch.record_bytes;
            let wanted = match record::check(rest, offset, true) {
                Found::Record(view) => {
                    let record_bytes = view.total_bytes();
                    if record_bytes + BLANK_HEAD_BYTES <= room {
                        let unit = self.base.queues.files.dispatch.unit_of(&view);
                        let queue = match unit {
                            Some(_) => self.queue_of(view.topic, view.queue_id, offset)?,
                            None => None,
                        };
                        if view.queue_offset == 0
                            && let Some(queue) = &queue
                            && (queue.lock_tail().next() > 0 || stretch.has(queue))
                        {
                            if stretch.record_bytes == 0 {
                                self.begin_anew(queue)?;
                                continue;
                            }
                            // What comes before is put into the queue as it was.
                            break;
                        }
                        let place = queue.zip(unit).map(|(queue, unit)| (queue, view.queue_offset, unit));
                        stretch.records.push(RawRecord { place, physical_offset: offset, store_timestamp: view.store_timestamp });
                        stretch.record_bytes += record_bytes;
                        continue;
                    }
                    record_bytes
                }
                Found::Blank => {
                    let blank_bytes = record::blank_bytes(rest).unwrap_or(0);
                    if blank_bytes != room {
                        return Err(RawAppendError::OtherFileLength { offset });
                    }
                    stretch.blank_bytes = if blank_bytes <= rest.len() { blank_bytes } else { 0 };
                    break;
                }
                Found::Nothing => record::begun_bytes(rest, offset).ok_or(RawAppendError::NoRecord { offset })?,
            };
            if wanted + BLANK_HEAD_BYTES > room {
                return Err(RawAppendError::OtherFileLength { offset });
            }
            break;
        }
        Ok(stretch)
    }

    /// Loaded. `None` for a topic that may have no queue: as after a recovery its messages are in the log, where no consumer finds them.
    fn queue_of(&self, topic: &str, queue_id: i32, offset: i64) -> Result<Option<Arc<ConsumeQueue>>, StoreError> {
        let queue = self.base.queues.get_or_create(topic, queue_id, true);
        match &queue {
            Some(queue) => queue.ensure_loaded(&self.base.queues.files, &self.base.log)?,
            None if self.base.complaints.append.is_due(self.base.clock.nanos()) => {
                warn!(?topic, offset, "the master's log has messages whose topic is no legal name: they are passed over");
            }
            None => {}
        }
        Ok(queue)
    }

    /// The master has a first message where this queue has had others: its topic was deleted there and made anew, of which the log says
    /// nothing else. What the topic's queues have up to the end of this one is of its former life; a recovery goes by the same rule.
    fn begin_anew(&self, queue: &ConsumeQueue) -> Result<(), StoreError> {
        for other in self.base.queues.of_topic(&queue.topic) {
            other.ensure_loaded(&self.base.queues.files, &self.base.log)?;
        }
        let end = queue.max_physical_end();
        info!(topic = %queue.topic, queue_id = queue.queue_id, "the master has made the topic anew: so are its queues here");
        self.delete_queues(&queue.topic, &|other| other.queue_id == queue.queue_id || other.max_physical_end() <= end)
    }

    fn append_stretch(&self, start: i64, bytes: &[u8], stretch: &Stretch) -> Result<(), RawAppendError> {
        if !self.is_writable() {
            return Err(RawAppendError::Refused(PutMessageStatus::ServiceNotAvailable));
        }
        let mut arrivals = Vec::with_capacity(stretch.records.len());
        let mut log_end = self.appender.lock();
        let end = log_end.tail.position;
        if start != end && end == 0 {
            self.base.log.begin_at(&mut log_end.tail, start);
        } else if start != end {
            // Somebody has put a message.
            return Err(RawAppendError::NotAtEnd { offset: start, end });
        }
        self.appender.set_began_millis(self.base.clock.now_millis());
        // As for a put: from a record's first byte to its unit nothing may be left half done.
        let appended = or_abort("an append of a master's log", || self.append_under_lock(&mut log_end, bytes, stretch, &mut arrivals));
        self.appender.set_began_millis(0);
        let end = log_end.tail.position;
        drop(log_end);
        // Also when the file could not be ended: its records are in the log.
        arrivals.iter().for_each(|arrival: &Arrival| arrival.publish(&*self.base.arrivals));
        self.keeper.grown_to(end);
        self.followers.ring();
        if self.base.sync_flush {
            self.flusher.ring();
        }
        appended.map_err(|error| RawAppendError::Refused(self.append_failed(&error)))
    }

    fn append_under_lock(
        &self,
        log_end: &mut LogEnd,
        bytes: &[u8],
        stretch: &Stretch,
        arrivals: &mut Vec<Arrival>,
    ) -> Result<(), AppendError> {
        if self.base.health.shutdown.load(Ordering::SeqCst) {
            return Err(AppendError::Closed);
        }
        if !bytes.is_empty() {
            self.base.log.prepare(&mut log_end.tail, bytes.len())?;
            self.base.log.append(&mut log_end.tail, bytes)?;
            self.base.stats.put_times.fetch_add(stretch.records.len() as u64, Ordering::Relaxed);
            self.base.stats.put_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        for record in &stretch.records {
            if let Some((queue, offset, unit)) = &record.place {
                arrivals.extend(self.place_unit(log_end, queue, *offset, unit, record.store_timestamp));
            }
            log_end.last_record = record.physical_offset;
            log_end.last_store_timestamp = record.store_timestamp;
            self.base.last_store_timestamp.store(record.store_timestamp, Ordering::Relaxed);
        }
        if stretch.blank_bytes > 0 {
            self.base.log.end_last_file(&mut log_end.tail)?;
        }
        Ok(())
    }

    /// What may be published at once.
    fn place_unit(
        &self,
        log_end: &mut LogEnd,
        queue: &Arc<ConsumeQueue>,
        offset: i64,
        unit: &Unit,
        store_timestamp: i64,
    ) -> Option<Arrival> {
        let mut queue = Arc::clone(queue);
        let mut tail = queue.lock_tail();
        while tail.is_destroyed() {
            // Its topic was deleted since the queue was looked up: the message begins a new one.
            drop(tail);
            queue = self.base.queues.renewed(&queue);
            tail = queue.lock_tail();
        }
        let is_placed = tail.place(&self.base.queues.files, offset, unit);
        let max_offset = tail.next();
        drop(tail);
        if !is_placed {
            return None;
        }
        log_end.note_unwritten(&queue);
        let arrival = Arrival { queue, max_offset, tags_code: unit.tags_code, store_timestamp };
        if !self.flusher.progress.is_visible_at_once() {
            self.flusher.unseen().push_back(Unseen { end: unit.end_offset(), arrival });
            return None;
        }
        Some(arrival)
    }
}
