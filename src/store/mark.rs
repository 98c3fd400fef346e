// SPDX-License-Identifier: Apache-2.0
//! A place in the log that somebody has come to, and how to know later that it is still the same log.

use std::io;

use ferrocket_protocol::message::MessageView;

use super::commit_log::CommitLog;
use super::dispatch::is_dispatched;
use super::queue_table::QueueTable;

/// A position in the log, with the record before it: what somebody has seen of the log, and how to know that it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub position: i64,
    /// Start of the last record before `position`; -1 when there is none.
    pub last_record: i64,
    /// CRC-32 of that whole record.
    pub last_record_crc: u32,
}

impl Default for Mark {
    /// A place that is in no log.
    fn default() -> Self {
        Self { position: -1, last_record: -1, last_record_crc: 0 }
    }
}

/// A mark up to which every record has its unit in its ConsumeQueue's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) mark: Mark,
    /// The last record's topic was deleted, so its unit cannot tell whether the ConsumeQueues are still the same: so many of them
    /// were left.
    pub(super) queues_left: Option<u32>,
}

impl Mark {
    /// The mark after the record that starts at `last_record` and ends at `position`.
    pub(super) fn at(log: &CommitLog, position: i64, last_record: i64) -> io::Result<Self> {
        Ok(match log.crc(last_record, position)? {
            Some(last_record_crc) if last_record >= 0 => Self { position, last_record, last_record_crc },
            _ => Self { position, ..Self::default() },
        })
    }
}

impl Indexed {
    /// Of the log up to a position to which its records have their units in the files.
    pub(super) fn at(log: &CommitLog, queues: &QueueTable, position: i64, last_record: i64) -> io::Result<Self> {
        let is_deleted = |record: &MessageView<'_>| is_dispatched(record.sys_flag) && queues.get(record.topic, record.queue_id).is_none();
        let is_deleted = log.with_record(last_record, is_deleted)?.unwrap_or(false);
        let left = || queues.all().iter().filter(|queue| queue.has_files()).count() as u32;
        Ok(Self { mark: Mark::at(log, position, last_record)?, queues_left: is_deleted.then(left) })
    }
}
