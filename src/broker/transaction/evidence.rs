// SPDX-License-Identifier: Apache-2.0
//! Whether a half message that is not open has ended. An end is answered with success, and nothing done, only where something says so:
//! this process or its snapshot has seen the half end, or an op message names it. Of any other half nobody knows, and its end counts:
//! a message that comes twice is better than one that is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use ferrocket_protocol::message::MessageView;
use ferrocket_protocol::topic_names;

use super::op;
use crate::store::{MessageStore, StoreError};

/// Halves that were ended although nothing was known of them, and halves given up: so many of each are remembered, the newest.
const REMEMBERED_MAX: usize = 65_536;

/// What op messages say; read when it is asked for the first time, which is after damage or with a store that another broker left.
#[derive(Debug, Default)]
pub(super) struct OpMessages(OnceLock<Ranges>);

impl OpMessages {
    pub(super) fn are_read(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether an op message that was there at the first call names this half. Waits for the disk.
    pub(super) fn name(&self, store: &MessageStore, queue_offset: i64) -> Result<bool, StoreError> {
        if let Some(ended) = self.0.get() {
            return Ok(ended.contains(queue_offset));
        }
        let mut ended = Ranges::default();
        let queue = store.queue_offsets(topic_names::TRANS_OP_HALF, 0)?;
        for offset in queue.start.max(0)..queue.end {
            let Some(unit) = store.consume_queue_unit(topic_names::TRANS_OP_HALF, 0, offset)? else { continue };
            let record = store.look_message(unit.physical_offset)?;
            let Some(view) = record.as_ref().and_then(|record| MessageView::decode(record).ok()) else { continue };
            if view.topic == topic_names::TRANS_OP_HALF {
                op::ended(&view).for_each(|half| ended.insert(half));
            }
        }
        Ok(self.0.get_or_init(|| ended).contains(queue_offset))
    }
}

/// Offsets, neighbours as one: halves end more or less in their order.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<i64, i64>);

impl Ranges {
    fn insert(&mut self, offset: i64) {
        if offset == i64::MAX || self.contains(offset) {
            return;
        }
        let mut end = offset + 1;
        if let Some(next_end) = self.0.remove(&end) {
            end = next_end;
        }
        match self.0.range_mut(..offset).next_back() {
            Some((_, before_end)) if *before_end == offset => *before_end = end,
            _ => {
                self.0.insert(offset, end);
            }
        }
    }

    fn contains(&self, offset: i64) -> bool {
        self.0.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }
}

/// The newest of some offsets.
#[derive(Debug, Default)]
pub(super) struct Remembered(BTreeSet<i64>);

impl Remembered {
    /// False when it was there.
    pub(super) fn insert(&mut self, offset: i64) -> bool {
        let is_new = self.0.insert(offset);
        if self.0.len() > REMEMBERED_MAX {
            self.0.pop_first();
        }
        is_new
    }

    pub(super) fn remove(&mut self, offset: i64) -> bool {
        self.0.remove(&offset)
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        self.0.contains(&offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_in_whatever_order_they_come() {
        let mut ranges = Ranges::default();
        for offset in [5, 3, 4, 9, 7, 8, 5, 0, i64::MAX, i64::MIN] {
            ranges.insert(offset);
        }
        let expected = BTreeMap::from([(i64::MIN, i64::MIN + 1), (0, 1), (3, 6), (7, 10)]);
        assert_eq!(ranges.0, expected);
        assert!([3, 5, 9, 0].into_iter().all(|offset| ranges.contains(offset)));
        assert!([1, 2, 6, 10, -1].into_iter().all(|offset| !ranges.contains(offset)));
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let mut remembered = Remembered::default();
        for offset in 0..REMEMBERED_MAX as i64 + 2 {
            assert!(remembered.insert(offset));
        }
        assert!(!remembered.contains(1) && remembered.contains(2) && !remembered.insert(2));
        assert!(remembered.remove(2) && !remembered.contains(2));
    }
}
