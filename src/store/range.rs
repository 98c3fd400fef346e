// SPDX-License-Identifier: Apache-2.0
//! Bytes of the log as they lie there, for slaves, and waiting for more of them. Java's getCommitLogData, and the wait of its HAService.
//!
//! Knows nothing of records, and nothing of who asks.

use std::io;
use std::sync::Arc;

use super::mapped_file::MappedFile;
use super::message_store::MessageStore;

/// A stretch of one file of the log. While it lives the file's bytes stay on the disk, also when the file is deleted: not to be kept
/// while a slave is waited for.
pub struct LogRange {
    file: Arc<MappedFile>,
    at: usize,
    len: usize,
    is_in_memory: bool,
}

impl LogRange {
    /// In bytes; never 0.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes where they lie, when reading them does not wait for the disk.
    pub fn in_memory(&self) -> Option<&[u8]> {
        self.is_in_memory.then(|| self.file.read(self.at, self.len))
    }

    /// The bytes through the file: what the disk cannot read is an error. Waits for the disk.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        self.file.read_file(&mut bytes, self.at, true)?;
        Ok(bytes)
    }
}

/// Follows the log's end until dropped.
pub struct LogFollower(Arc<MessageStore>);

impl LogFollower {
    /// Returns when the log has something behind `end`.
    pub async fn grown_beyond(&self, end: i64) {
        self.0.followers.wait(|| self.0.max_phy_offset() > end).await;
    }
}

impl Drop for LogFollower {
    fn drop(&mut self) {
        self.0.followers.leave();
    }
}

impl MessageStore {
    /// At most `max` bytes from this place on, as far as one file has them, its blank end too; fewer where only the first are in memory.
    /// `None` where the log has none (yet), or none any more.
    pub fn log_range(&self, offset: i64, max: usize) -> Option<LogRange> {
        let log = &self.base.log;
        // Not the file's own end, which a reader may see before the log's.
        let end = log.max_offset();
        let file = log.files.find(offset).filter(|_| offset < end)?;
        let at = (offset - file.start_offset()) as usize;
        let len = max.min((end.min(file.end_offset()) - offset) as usize);
        let resident = if log.is_hot(offset) { len } else { file.resident_from(at, len) };
        Some(LogRange { file, at, len: if resident > 0 { resident } else { len }, is_in_memory: resident > 0 })
    }

    /// Where the last file of the log begins.
    pub fn last_file_start(&self) -> i64 {
        let end = self.max_phy_offset();
        end - end % self.base.log.files.file_bytes() as i64
    }

    pub fn follow(self: &Arc<Self>) -> LogFollower {
        self.followers.join();
        // Whoever appends from here on sees the count, because he takes this lock after us; what was appended before is seen by us.
        drop(self.appender.lock());
        LogFollower(Arc::clone(self))
    }
}
