// SPDX-License-Identifier: Apache-2.0
//! The log read forward, for services that derive their state from it; and marks by which they know that it is still the same log.

use std::ops::ControlFlow;

use ferrocket_protocol::message::MessageView;

use super::checkpoint::Mark;
use super::message_store::MessageStore;
use super::record::{self, Found};

impl MessageStore {
    /// The end of the log as it is now, with the record before it.
    pub fn log_mark(&self) -> Mark {
        let (position, last_record) = {
            let appender = self.appender.lock();
            (self.log.max_offset(), appender.last_record)
        };
        Mark::at(&self.log, position, last_record)
    }

    /// Whether this is the log that the mark was made of, at that length or longer.
    pub fn holds(&self, mark: &Mark) -> bool {
        mark.last_record >= self.log.min_offset()
            && mark.last_record < mark.position
            && mark.position <= self.log.max_offset()
            && Mark::at(&self.log, mark.position, mark.last_record) == *mark
    }

    /// Every record from `position`, where one starts or a file ends, to the end of the log, or until `each` breaks; where it stopped.
    /// Waits for the disk.
    pub fn read_forward(&self, position: i64, mut each: impl FnMut(&MessageView<'_>) -> ControlFlow<()>) -> i64 {
        let end = self.log.max_offset();
        let mut at = position;
        while at < end {
            let step = self.log.with_bytes(at, |bytes| match record::check(bytes, at, false) {
                Found::Record(view) => Some((view.total_bytes() as i64, each(&view))),
                Found::Blank => Some((0, ControlFlow::Continue(()))),
                Found::Nothing => None,
            });
            match step.flatten() {
                Some((_, ControlFlow::Break(()))) => break,
                // The rest of the file is blank.
                Some((0, ControlFlow::Continue(()))) => match self.log.files.find(at) {
                    Some(file) => at = file.end_offset(),
                    None => break,
                },
                Some((bytes, ControlFlow::Continue(()))) => at += bytes,
                None => break,
            }
        }
        at
    }
}
