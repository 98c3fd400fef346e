// SPDX-License-Identifier: Apache-2.0
//! The last records of a slave's log, to be compared with what its master has in the same places before anything is put behind them: the
//! wire has no other check that the two are one log. Knows nothing of who sends the master's bytes.

use std::io;
use std::ops::Range;

use super::message_store::MessageStore;
use super::record::{self, BLANK_HEAD_BYTES};

/// So much of a slave's end is compared, and at least the last record. Two masters that go apart write other times and addresses into
/// the first record already; but a slave may have many of them behind that.
pub const COMPARED_BYTES: i64 = 64 * 1024;

/// The end of the log as it lies here, from a record's start on. In memory while it is compared: no more than `COMPARED_BYTES`, or one
/// record and the blank behind it.
pub struct Overlap {
    start: i64,
    bytes: Vec<u8>,
    /// Behind the head of a blank a file of the original may have anything, which no slave of ours copies.
    unused: Vec<Range<usize>>,
}

impl Overlap {
    /// Where a master is to begin. Not at 0, which it would take for an empty log: the first byte of a record is always 0.
    pub fn start(&self) -> i64 {
        self.start.max(1)
    }

    /// Where the log ends.
    pub fn end(&self) -> i64 {
        self.start + self.bytes.len() as i64
    }

    /// The first place where the master's bytes from `offset` on are not as those here; the two must overlap there.
    pub fn difference(&self, offset: i64, bytes: &[u8]) -> Option<i64> {
        let at = (offset - self.start) as usize;
        let differs = |(index, (one, other)): (usize, (&u8, &u8))| {
            let index = at + index;
            (one != other && !self.unused.iter().any(|unused| unused.contains(&index))).then_some(self.start + index as i64)
        };
        self.bytes[at..].iter().zip(bytes).enumerate().find_map(differs)
    }
}

impl MessageStore {
    /// The end of the log, from a record on that begins at `floor` or behind it; `None` where no record does. Waits for the disk.
    pub fn overlap(&self, floor: i64) -> io::Result<Option<Overlap>> {
        let (end, last_record) = {
            let log_end = self.appender.lock();
            (log_end.tail.position, log_end.last_record)
        };
        let floor = floor.max(self.min_phy_offset());
        let start = floor.max(end - COMPARED_BYTES);
        let mut bytes = self.read_log(start, end)?;
        let first = (0..bytes.len()).find(|at| record::head(&bytes[*at..], start + *at as i64).is_some());
        let start = match first {
            Some(first) => {
                bytes.drain(..first);
                start + first as i64
            }
            None if last_record >= floor => {
                bytes = self.read_log(last_record, end)?;
                last_record
            }
            None => return Ok(None),
        };
        let (mut at, mut unused) = (0, Vec::new());
        while at < bytes.len() {
            let rest = &bytes[at..];
            let blank_bytes = record::blank_bytes(rest);
            if let Some(blank_bytes) = blank_bytes {
                unused.push(at + BLANK_HEAD_BYTES..at + blank_bytes);
            }
            let head = || record::head(rest, start + at as i64).map(|head| head.total_bytes);
            // What is no record is damaged, and compared like one.
            let Some(next) = blank_bytes.or_else(head) else { break };
            at += next.max(1);
        }
        Ok(Some(Overlap { start, bytes, unused }))
    }

    fn read_log(&self, start: i64, end: i64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while start + (bytes.len() as i64) < end {
            let at = start + bytes.len() as i64;
            let range = self.log_range(at, (end - at) as usize).ok_or(io::ErrorKind::NotFound)?;
            bytes.extend(range.read()?);
        }
        Ok(bytes)
    }
}
