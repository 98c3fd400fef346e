// SPDX-License-Identifier: Apache-2.0
//! Reading: get messages of a queue, look at one by its place in the log, find offsets by time.
//!
//! What a get answers, and when it corrects an offset, is Java's to the letter: clients act on it.

use std::cell::Cell;
use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use ferrocket_protocol::message::MessageView;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::{error, warn};

use super::commit_log::ReadPlace;
use super::consume_queue::ConsumeQueue;
use super::message_store::MessageStore;
use super::record;
use super::unit::{UNIT_BYTES, Unit};
use super::{GET_BYTES_MAX, GetMessage, GetMessageResult, GetMessageStatus, MessageFilter, MessagePosition, StoreError, at_path};

/// Units fetched at a time; most gets need fewer.
const UNITS_PER_READ: usize = 128;

/// At most this many units are looked at by one get for messages that it wants, however many it asks for. The original's product wraps.
const SCAN_UNITS_MAX: usize = 65_536;

/// An answer's body may wait long for its client: it keeps no more room for messages that did not come than it has bytes, and this.
const SPARE_BODY_BYTES_MAX: usize = 4 * 1024;

thread_local! {
    /// Memory for the units of the thread's next get.
    static UNITS: Cell<Vec<Unit>> = const { Cell::new(Vec::new()) };
}

/// Which of several messages stored at one time an offset search means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first one stored at that time or later.
    #[default]
    Lower,
    /// The last one stored at that time or earlier.
    Upper,
}

/// One queue, looked up once for all that a pull asks of it.
pub struct QueueReader<'s> {
    store: &'s MessageStore,
    /// `None` without such a queue.
    queue: Option<Arc<ConsumeQueue>>,
}

impl QueueReader<'_> {
    /// Whether a look at the queue's offsets needs no disk; true also of a queue that is not there.
    pub fn is_loaded(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.is_loaded())
    }

    /// From the queue's first message that has not expired to the offset after its last readable one; 0..0 without such a queue.
    pub fn offsets(&self) -> Result<Range<i64>, StoreError> {
        Ok(self.loaded()?.map_or(0..0, |queue| queue.min_offset()..queue.max_offset()))
    }

    /// The end of `offsets`; 0 also for a queue that cannot be loaded, so no consumer may be moved by it.
    pub fn max_offset(&self) -> i64 {
        self.offsets().map_or(0, |offsets| offsets.end)
    }

    /// The start of `offsets`; 0 also for a queue that cannot be loaded, so no consumer may be moved by it.
    pub fn min_offset(&self) -> i64 {
        self.offsets().map_or(0, |offsets| offsets.start)
    }

    fn loaded(&self) -> Result<Option<&Arc<ConsumeQueue>>, StoreError> {
        let Some(queue) = &self.queue else { return Ok(None) };
        match queue.ensure_loaded(&self.store.base.queues.files, &self.store.base.log) {
            Ok(()) => Ok(Some(queue)),
            Err(error) => {
                error!(topic = %queue.topic, queue_id = queue.queue_id, %error, "cannot load a ConsumeQueue");
                Err(error)
            }
        }
    }

    /// Messages of the queue from an offset on. Never waits for the disk: see `GetMessageResult::would_block`. `None` when the
    /// store is shut down or cannot read the queue.
    pub fn get_message(&self, request: &GetMessage<'_>, filter: &dyn MessageFilter) -> Option<GetMessageResult> {
        self.get(request, filter, false, false)
    }

    /// As `get_message`, on a thread that may wait for the disk.
    pub fn get_message_blocking(&self, request: &GetMessage<'_>, filter: &dyn MessageFilter) -> Option<GetMessageResult> {
        self.get(request, filter, true, false)
    }

    /// As `get_message_blocking`, with the `positions` of what was found.
    pub fn get_message_listed(&self, request: &GetMessage<'_>, filter: &dyn MessageFilter) -> Option<GetMessageResult> {
        self.get(request, filter, true, true)
    }

    fn get(&self, request: &GetMessage<'_>, filter: &dyn MessageFilter, waiting: bool, listed: bool) -> Option<GetMessageResult> {
        let store = self.store;
        if store.base.health.shutdown.load(Ordering::Relaxed) {
            return None;
        }
        let mut result = GetMessageResult {
            status: GetMessageStatus::NoMessageInQueue,
            next_begin_offset: 0,
            min_offset: 0,
            max_offset: 0,
            body: Bytes::new(),
            message_count: 0,
            positions: Vec::new(),
            suggest_pulling_from_slave: false,
            would_block: false,
        };
        if !waiting && !self.is_loaded() {
            result.would_block = true;
            return Some(result);
        }
        // Of a queue that cannot be loaded nothing is known: an answer like that of an empty one would send consumers to its start.
        let Some(queue) = self.loaded().ok()? else { return Some(store.counted(result)) };
        let (min, max) = (queue.min_offset(), queue.max_offset());
        result.min_offset = min;
        result.max_offset = max;
        let offset = request.offset;
        (result.status, result.next_begin_offset) = if max == 0 {
            (GetMessageStatus::NoMessageInQueue, 0)
        } else if offset < min {
            (GetMessageStatus::OffsetTooSmall, min)
        } else if offset == max {
            (GetMessageStatus::OffsetOverflowOne, offset)
        } else if offset > max {
            (GetMessageStatus::OffsetOverflowBadly, max)
        } else {
            let began = store.base.clock.nanos();
            let collected = store.collect(queue, request, filter, waiting, listed, &mut result);
            store.base.stats.get_nanos.see(store.base.clock.nanos() - began);
            if let Err(error) = collected {
                if error.kind() == io::ErrorKind::WouldBlock && !waiting {
                    result.would_block = true;
                    return Some(result);
                }
                error!(topic = %queue.topic, queue_id = queue.queue_id, offset, %error, "reading failed");
                return None;
            }
            (result.status, result.next_begin_offset)
        };
        Some(store.counted(result))
    }
}

impl MessageStore {
    pub fn reader(&self, topic: &str, queue_id: i32) -> QueueReader<'_> {
        QueueReader { store: self, queue: self.base.queues.get(topic, queue_id) }
    }

    /// `QueueReader::get_message`.
    pub fn get_message(&self, request: &GetMessage<'_>, filter: &dyn MessageFilter) -> Option<GetMessageResult> {
        self.reader(request.topic, request.queue_id).get_message(request, filter)
    }

    /// `QueueReader::get_message_listed`.
    pub fn get_message_listed(&self, request: &GetMessage<'_>, filter: &dyn MessageFilter) -> Option<GetMessageResult> {
        self.reader(request.topic, request.queue_id).get_message_listed(request, filter)
    }

    /// `QueueReader::get_message_blocking`.
    pub fn get_message_blocking(&self, request: &GetMessage<'_>, filter: &dyn MessageFilter) -> Option<GetMessageResult> {
        self.reader(request.topic, request.queue_id).get_message_blocking(request, filter)
    }

    fn counted(&self, result: GetMessageResult) -> GetMessageResult {
        if result.status == GetMessageStatus::Found {
            self.base.stats.get_found.fetch_add(1, Ordering::Relaxed);
            self.base.stats.get_transferred.fetch_add(result.message_count as u64, Ordering::Relaxed);
        } else {
            self.base.stats.get_missed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Fills `result` from `request.offset` on, which is inside the queue.
    fn collect(
        &self,
        queue: &ConsumeQueue,
        request: &GetMessage<'_>,
        filter: &dyn MessageFilter,
        waiting: bool,
        listed: bool,
        result: &mut GetMessageResult,
    ) -> io::Result<()> {
        let config = self.base.config.load();
        let max_count = request.max_count.max(0) as usize;
        let max_bytes = request.max_bytes.clamp(100, GET_BYTES_MAX);
        let scan_bytes = config.max_filter_message_size.max(max_count.min(SCAN_UNITS_MAX) * UNIT_BYTES);
        let scan_units = scan_bytes.div_ceil(UNIT_BYTES);
        let log_end = self.base.log.max_offset();
        let memory = super::physical_memory_bytes() / 100 * i64::from(config.access_message_in_memory_max_ratio);
        let mut next = request.offset;
        let mut body = BytesMut::new();
        let mut count = 0;
        let mut status = GetMessageStatus::NoMatchedMessage;
        let mut last_physical = 0;
        // Units of a log file that was found gone are skipped without a look.
        let mut gone_before = i64::MIN;
        let mut place = ReadPlace::default();
        let mut mended_to = request.offset;
        let mut units = UNITS.take();
        'fetching: loop {
            units.clear();
            let wanted = UNITS_PER_READ.min(scan_units.saturating_sub((next - request.offset) as usize)).max(1);
            queue.read(&self.base.queues.files, next, wanted, waiting, &mut units)?;
            if units.is_empty() {
                if next == request.offset {
                    status = GetMessageStatus::OffsetFoundNull;
                    let units_per_file = self.base.queues.files.file_bytes as i64 / UNIT_BYTES as i64;
                    next = next + units_per_file - next % units_per_file;
                }
                break;
            }
            let first = next;
            for (index, unit) in units.iter().enumerate() {
                let offset = first + index as i64;
                if !unit.is_valid() && offset >= mended_to {
                    // The queue's file is damaged here. Who may not wait for the disk leaves it to who may.
                    if !waiting {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    next = offset;
                    mended_to = offset + units.len() as i64 - index as i64;
                    queue.mend_between(&self.base.queues.files, &self.base.log, offset..mended_to)?;
                    continue 'fetching;
                }
                let size = unit.size as usize;
                let in_memory = log_end - unit.physical_offset <= memory;
                if (offset - request.offset) as usize * UNIT_BYTES >= scan_bytes {
                    break 'fetching;
                }
                if count > 0 && is_full(&config, size, count, max_count, body.len(), max_bytes, in_memory) || body.len() >= max_bytes {
                    break 'fetching;
                }
                last_physical = unit.physical_offset;
                next = offset + 1;
                if unit.physical_offset < gone_before || !unit.is_message() {
                    continue;
                }
                if !filter.matches_unit(unit.tags_code) {
                    if count == 0 {
                        status = GetMessageStatus::NoMatchedMessage;
                    }
                    continue;
                }
                let start = body.len();
                if body.capacity() == 0 && size <= GET_BYTES_MAX {
                    // Most gets are of messages of about one size.
                    let fitting = max_bytes.min(config.max_transfer_bytes_on_message_in_memory) / size.max(1);
                    let expected = (units.len() - index).min(max_count).min(fitting).max(1);
                    body = BytesMut::with_capacity(size * expected);
                }
                // Up to the last message that this get may want: they are asked for together.
                let last = (index + max_count.saturating_sub(count).max(1)).min(units.len()) - 1;
                let span = usize::try_from(units[last].end_offset().saturating_sub(unit.physical_offset)).unwrap_or(size);
                let is_whole = size <= GET_BYTES_MAX
                    && self.base.log.copy(unit.physical_offset, size, span, waiting, &mut place, &mut body)?
                    && record::is_at(&body[start..], unit.physical_offset);
                if !is_whole {
                    body.truncate(start);
                    if count == 0 {
                        status = GetMessageStatus::MessageWasRemoving;
                    }
                    if unit.physical_offset < self.base.log.min_offset() {
                        let file_bytes = self.base.log.files.file_bytes() as i64;
                        gone_before = unit.physical_offset - unit.physical_offset % file_bytes + file_bytes;
                    } else if self.mends(queue, offset, unit, waiting)? {
                        next = offset;
                        continue 'fetching;
                    }
                    continue;
                }
                if filter.needs_record() {
                    let matches = match MessageView::decode(&body[start..]) {
                        Ok(record) => filter.matches_record(&record),
                        Err(_) => false,
                    };
                    if !matches {
                        body.truncate(start);
                        if count == 0 {
                            status = GetMessageStatus::NoMatchedMessage;
                        }
                        continue;
                    }
                }
                if listed {
                    let (queue_offset, physical_offset) = (first + index as i64, unit.physical_offset);
                    result.positions.push(MessagePosition { queue_offset, physical_offset, size: unit.size });
                }
                count += 1;
                status = GetMessageStatus::Found;
                gone_before = i64::MIN;
            }
            // The next file of the queue is another get's, once something was found or this one has ended.
            let units_per_file = self.base.queues.files.file_bytes as i64 / UNIT_BYTES as i64;
            if units.len() < wanted || next % units_per_file == 0 || next >= result.max_offset {
                break;
            }
        }
        UNITS.set(units);
        if body.capacity() / 2 > body.len() + SPARE_BODY_BYTES_MAX {
            // What follows a large message may be small.
            body = BytesMut::from(&body[..]);
        }
        result.status = status;
        result.next_begin_offset = next;
        result.message_count = count as i32;
        result.body = body.freeze();
        result.suggest_pulling_from_slave = log_end - last_physical > memory;
        Ok(())
    }

    /// Damage in the log, or a unit that leads to no record, must not reach a client; it would lose the messages behind it as well.
    /// Whether the unit was made anew; otherwise the message is passed over, as in the original.
    #[cold]
    fn mends(&self, queue: &ConsumeQueue, offset: i64, unit: &Unit, waiting: bool) -> io::Result<bool> {
        let message = (queue.cache_id(), offset);
        if !self.base.complaints.looked_for.contains(message) {
            if !waiting {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.base.complaints.looked_for.insert(message);
            if queue.remake(&self.base.queues.files, &self.base.log, offset)? {
                return Ok(true);
            }
        }
        if self.base.complaints.damaged.is_due(self.base.clock.nanos()) {
            let (physical_offset, size) = (unit.physical_offset, unit.size);
            warn!(topic = %queue.topic, queue_id = queue.queue_id, offset, physical_offset, size, "the log has no such record: damaged messages are passed over");
        }
        Ok(false)
    }

    /// `QueueReader::offsets`.
    pub fn queue_offsets(&self, topic: &str, queue_id: i32) -> Result<Range<i64>, StoreError> {
        self.reader(topic, queue_id).offsets()
    }

    /// `QueueReader::max_offset`.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.reader(topic, queue_id).max_offset()
    }

    /// `QueueReader::min_offset`.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.reader(topic, queue_id).min_offset()
    }

    /// `QueueReader::is_loaded`.
    pub fn is_loaded(&self, topic: &str, queue_id: i32) -> bool {
        self.reader(topic, queue_id).is_loaded()
    }

    /// `None` outside the queue and where a unit is blank.
    pub fn consume_queue_unit(&self, topic: &str, queue_id: i32, offset: i64) -> Result<Option<Unit>, StoreError> {
        let reader = self.reader(topic, queue_id);
        let Some(queue) = reader.loaded()? else { return Ok(None) };
        queue.get(&self.base.queues.files, offset).map_err(at_path("read", queue.dir()))
    }

    /// When the message with this offset was stored; -1 without one.
    pub fn message_store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Result<i64, StoreError> {
        match self.consume_queue_unit(topic, queue_id, offset)? {
            Some(unit) => self.store_time_at(unit.physical_offset),
            None => Ok(-1),
        }
    }

    /// When a queue's first message was stored; -1 without one.
    pub fn earliest_message_time(&self, topic: &str, queue_id: i32) -> Result<i64, StoreError> {
        self.message_store_time(topic, queue_id, self.queue_offsets(topic, queue_id)?.start)
    }

    /// When the first message of the log was stored; -1 without one.
    pub fn earliest_store_time(&self) -> Result<i64, StoreError> {
        self.store_time_at(self.base.log.min_offset())
    }

    fn store_time_at(&self, physical_offset: i64) -> Result<i64, StoreError> {
        Ok(self.base.log.store_timestamp(physical_offset).map_err(at_path("read the log of", &self.base.root))?.unwrap_or(-1))
    }

    /// Whether this place of the log was written moments ago, so that looking at it does not wait for the disk.
    pub fn is_hot(&self, physical_offset: i64) -> bool {
        self.base.log.is_hot(physical_offset)
    }

    /// The record at this place of the log; `None` when it has expired, or none begins there.
    pub fn look_message(&self, physical_offset: i64) -> Result<Option<Bytes>, StoreError> {
        let copy = |record: &MessageView<'_>| Bytes::copy_from_slice(record.record);
        self.base.log.with_record(physical_offset, copy).map_err(at_path("read the log of", &self.base.root))
    }

    /// Whether the next `batch` messages of a consumer at `offset` would come from memory; Java's estimate for flow control.
    pub fn in_memory_by_consume_offset(&self, topic: &str, queue_id: i32, offset: i64, batch: i32) -> Result<bool, StoreError> {
        let Some(unit) = self.consume_queue_unit(topic, queue_id, offset)? else { return Ok(false) };
        let last = self.consume_queue_unit(topic, queue_id, offset + i64::from(batch))?.unwrap_or(unit);
        let ratio = self.base.config.load().access_message_in_memory_max_ratio;
        Ok(self.base.log.max_offset() - last.physical_offset <= super::physical_memory_bytes() / 100 * i64::from(ratio))
    }

    /// The offset of a queue at a time; between its minimum and maximum.
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp: i64, boundary: Boundary) -> Result<i64, StoreError> {
        let reader = self.reader(topic, queue_id);
        let Some(queue) = reader.loaded()? else { return Ok(0) };
        let (min, max) = (queue.min_offset(), queue.max_offset());
        if min >= max {
            return Ok(min.min(max));
        }
        let stored_at = |offset: i64| {
            let failed = at_path("read", queue.dir());
            match queue.get(&self.base.queues.files, offset).map_err(&failed)? {
                Some(unit) => self.base.log.store_timestamp(unit.physical_offset).map_err(failed),
                None => Ok(None),
            }
        };
        // The first offset stored later than (or, for the lower boundary, at) the time. Expired units count as earlier.
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            let earlier = match (stored_at(middle)?, boundary) {
                (None, _) => true,
                (Some(stored), Boundary::Lower) => stored < timestamp,
                (Some(stored), Boundary::Upper) => stored <= timestamp,
            };
            if earlier {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(match boundary {
            Boundary::Lower => low.clamp(min, max),
            // Nothing is that old: Java's 0, brought into the queue's range.
            Boundary::Upper if low == min => min,
            Boundary::Upper => (low - 1).clamp(min, max),
        })
    }
}

/// Java's isTheBatchFull, for a message that is not the first.
fn is_full(
    config: &super::StoreConfig,
    size: usize,
    count: usize,
    max_count: usize,
    bytes: usize,
    max_bytes: usize,
    in_memory: bool,
) -> bool {
    if count + 1 > max_count || bytes + size > max_bytes {
        return true;
    }
    if in_memory {
        return bytes + size > config.max_transfer_bytes_on_message_in_memory || count + 1 > config.max_transfer_count_on_message_in_memory;
    }
    bytes + size > config.max_transfer_bytes_on_message_in_disk || count + 1 > config.max_transfer_count_on_message_in_disk
}
