// SPDX-License-Identifier: Apache-2.0
//! The log read forward, for services that derive their state from it; and marks by which they know that it is still the same log.

use std::ops::ControlFlow;

use ferrocket_protocol::message::MessageView;
use tracing::error;

use super::log_reader::forward;
use super::mark::Mark;
use super::message_store::MessageStore;
use super::{StoreError, at_path};

impl MessageStore {
    /// The end of the log as it is now, with the record before it.
    pub fn log_mark(&self) -> Result<Mark, StoreError> {
        let (position, last_record) = {
            let end = self.appender.lock();
            (self.base.log.max_offset(), end.last_record)
        };
        Mark::at(&self.base.log, position, last_record).map_err(at_path("read the log of", &self.base.root))
    }

    /// Whether this is the log that the mark was made of, at that length or longer.
    pub fn holds(&self, mark: &Mark) -> Result<bool, StoreError> {
        let is_inside = mark.last_record >= self.base.log.min_offset()
            && mark.last_record < mark.position
            && mark.position <= self.base.log.max_offset();
        if !is_inside {
            return Ok(false);
        }
        let found = Mark::at(&self.base.log, mark.position, mark.last_record).map_err(at_path("read the log of", &self.base.root))?;
        Ok(found == *mark)
    }

    /// Every record from `position`, where one starts or a file ends, to the end of the log, or until `each` breaks; where it stopped.
    /// Waits for the disk. Where the log goes on behind a place that is damaged or cannot be read it stops there, and says so.
    pub fn read_forward(&self, position: i64, mut each: impl FnMut(&MessageView<'_>) -> ControlFlow<()>) -> i64 {
        let end = self.base.log.max_offset();
        let mut wanted = true;
        let each = |record: &MessageView<'_>| {
            let flow = each(record);
            wanted = flow.is_continue();
            flow
        };
        let (at, error) = forward(&self.base.log, position, end, each);
        match error {
            Some(error) => error!(%error, "a part of the log cannot be read"),
            None if wanted && at < end => error!(at, "the log has no record here"),
            None => {}
        }
        at
    }
}
