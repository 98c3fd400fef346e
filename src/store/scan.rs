// SPDX-License-Identifier: Apache-2.0
//! The log read forward, for services that derive their state from it; and marks by which they know that it is still the same log.

use std::io;
use std::ops::ControlFlow;

use ferrocket_protocol::message::MessageView;
use tracing::error;

use super::checkpoint::Mark;
use super::commit_log::CommitLog;
use super::log_reader::LogReader;
use super::message_store::MessageStore;
use super::record::Found;
use super::{StoreError, at_path};

/// Every record from `position`, where one starts or a file ends, to `end`, or until `each` breaks or no record follows; where it stopped,
/// with the error when the disk cannot read what lies there.
pub(super) fn forward(
    log: &CommitLog,
    position: i64,
    end: i64,
    mut each: impl FnMut(&MessageView<'_>) -> ControlFlow<()>,
) -> (i64, Option<io::Error>) {
    let mut reader = LogReader::default();
    let mut at = position;
    while at < end {
        let Some(file) = log.files.find(at) else { break };
        match reader.check(&file, at, false) {
            Ok(Found::Record(view)) => {
                if each(&view).is_break() {
                    break;
                }
                at += view.total_bytes() as i64;
            }
            // The rest of the file is blank.
            Ok(Found::Blank) => at = file.end_offset(),
            Ok(Found::Nothing) => break,
            Err(error) => return (at, Some(error)),
        }
    }
    (at, None)
}

impl MessageStore {
    /// The end of the log as it is now, with the record before it.
    pub fn log_mark(&self) -> Result<Mark, StoreError> {
        let (position, last_record) = {
            let appender = self.appender.lock();
            (self.log.max_offset(), appender.last_record)
        };
        Mark::at(&self.log, position, last_record).map_err(at_path("read the log of", &self.root))
    }

    /// Whether this is the log that the mark was made of, at that length or longer.
    pub fn holds(&self, mark: &Mark) -> Result<bool, StoreError> {
        let is_inside =
            mark.last_record >= self.log.min_offset() && mark.last_record < mark.position && mark.position <= self.log.max_offset();
        if !is_inside {
            return Ok(false);
        }
        let found = Mark::at(&self.log, mark.position, mark.last_record).map_err(at_path("read the log of", &self.root))?;
        Ok(found == *mark)
    }

    /// Every record from `position`, where one starts or a file ends, to the end of the log, or until `each` breaks; where it stopped.
    /// Waits for the disk. Where the log goes on behind a place that is damaged or cannot be read it stops there, and says so.
    pub fn read_forward(&self, position: i64, mut each: impl FnMut(&MessageView<'_>) -> ControlFlow<()>) -> i64 {
        let end = self.log.max_offset();
        let mut wanted = true;
        let each = |record: &MessageView<'_>| {
            let flow = each(record);
            wanted = flow.is_continue();
            flow
        };
        let (at, error) = forward(&self.log, position, end, each);
        match error {
            Some(error) => error!(%error, "a part of the log cannot be read"),
            None if wanted && at < end => error!(at, "the log has no record here"),
            None => {}
        }
        at
    }
}
