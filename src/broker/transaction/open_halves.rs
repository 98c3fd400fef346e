// SPDX-License-Identifier: Apache-2.0
//! Which half messages are still open, and when each is asked about next.
//!
//! Work and memory follow the number of open halves: a half that is ended leaves at once. Knows offsets and times; no message, no
//! store and no clock.

use std::collections::BTreeMap;

use crate::broker::due::Due;

/// One half message without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenHalf {
    pub(super) physical_offset: i64,
    /// How often its producers were asked, or would have been had there been one.
    pub(super) check_times: u32,
    /// When it is asked about next, in wall clock milliseconds.
    pub(super) due_millis: i64,
}

/// Invariants: `known_from <= next`; each open half lies below `next`, and has an entry in `due` at its moment or has come up at it.
#[derive(Debug, Default)]
pub(super) struct OpenHalves {
    /// By offset in the half queue.
    halves: BTreeMap<i64, OpenHalf>,
    /// Their offsets in the half queue, by the moment that each half names.
    pub(super) due: Due<i64>,
    /// Offsets from here to `next` were seen: of those that are not open it is known that they have ended.
    known_from: i64,
    next: i64,
}

impl OpenHalves {
    pub(super) fn insert(&mut self, queue_offset: i64, half: OpenHalf) {
        self.next = self.next.max(queue_offset + 1);
        self.halves.insert(queue_offset, half);
        self.due.push(half.due_millis, queue_offset);
        self.drop_stale();
    }

    /// Takes the half out when it is open and lies at that place of the log.
    pub(super) fn take(&mut self, queue_offset: i64, physical_offset: i64) -> Option<OpenHalf> {
        self.get(queue_offset).filter(|half| half.physical_offset == physical_offset)?;
        self.remove(queue_offset)
    }

    pub(super) fn remove(&mut self, queue_offset: i64) -> Option<OpenHalf> {
        let half = self.halves.remove(&queue_offset);
        self.drop_stale();
        half
    }

    pub(super) fn get(&self, queue_offset: i64) -> Option<OpenHalf> {
        self.halves.get(&queue_offset).copied()
    }

    /// Nothing is known of halves below `queue_offset` that are not open.
    pub(super) fn know_from(&mut self, queue_offset: i64) {
        self.known_from = queue_offset;
        self.saw(queue_offset);
    }

    pub(super) fn known_from(&self) -> i64 {
        self.known_from
    }

    /// Whether the half was seen and is known to have ended since.
    pub(super) fn has_ended(&self, queue_offset: i64) -> bool {
        (self.known_from..self.next).contains(&queue_offset) && !self.halves.contains_key(&queue_offset)
    }

    /// Offsets below `next` were seen, also those that have ended since.
    pub(super) fn saw(&mut self, next: i64) {
        self.next = self.next.max(next);
        debug_assert!(self.known_from <= self.next, "halves that were not seen are known");
    }

    /// Offsets below `queue_offset` are no longer open, whatever was known of them.
    pub(super) fn remove_below(&mut self, queue_offset: i64) {
        self.halves = self.halves.split_off(&queue_offset);
        self.saw(queue_offset);
        self.drop_stale();
    }

    /// Moves every moment before `millis` to it.
    pub(super) fn postpone_all(&mut self, millis: i64) {
        self.halves.values_mut().for_each(|half| half.due_millis = half.due_millis.max(millis));
        self.rebuild_moments();
    }

    /// The next half that is due by now, and its offset in the half queue. It stays open; without a new moment it does not come up again.
    pub(super) fn next_due(&mut self, now_millis: i64) -> Option<(i64, OpenHalf)> {
        let halves = &self.halves;
        let queue_offset = self.due.take(now_millis, |queue_offset| halves.get(queue_offset).map(|half| half.due_millis))?;
        Some((queue_offset, self.get(queue_offset)?))
    }

    /// A half that is still open is asked about again at `due_millis`.
    pub(super) fn set_moment(&mut self, queue_offset: i64, check_times: u32, due_millis: i64) {
        let Some(half) = self.halves.get_mut(&queue_offset) else { return };
        (half.check_times, half.due_millis) = (check_times, due_millis);
        self.due.push(due_millis, queue_offset);
    }

    /// The offset of the oldest open half, or the one that the next half gets.
    pub(super) fn first(&self) -> i64 {
        self.halves.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    pub(super) fn next(&self) -> i64 {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.halves.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.halves.is_empty()
    }

    /// Ascending by offset in the half queue.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, OpenHalf)> + '_ {
        self.halves.iter().map(|(offset, half)| (*offset, *half))
    }

    fn drop_stale(&mut self) {
        if self.due.is_stale(self.halves.len()) {
            self.rebuild_moments();
        }
    }

    fn rebuild_moments(&mut self) {
        self.due.refill(self.halves.iter().map(|(offset, half)| (half.due_millis, *offset)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(due_millis: i64) -> OpenHalf {
        OpenHalf { physical_offset: due_millis * 100, check_times: 0, due_millis }
    }

    #[test]
    fn halves_come_up_when_they_are_due_and_once_per_moment() {
        let mut open = OpenHalves::default();
        for (offset, due) in [(0, 30), (1, 10), (2, 20)] {
            open.insert(offset, half(due));
        }
        assert_eq!(open.next_due(9), None);
        assert_eq!(open.next_due(20).map(|(offset, _)| offset), Some(1));
        assert_eq!(open.next_due(20).map(|(offset, _)| offset), Some(2));
        assert_eq!(open.next_due(20), None);
        open.set_moment(1, 1, 25);
        assert_eq!(open.remove(0), Some(half(30)));
        assert_eq!(open.next_due(40), Some((1, OpenHalf { check_times: 1, due_millis: 25, ..half(10) })));
        assert_eq!(open.next_due(40), None, "an ended half is not asked about");
        assert_eq!((open.first(), open.next(), open.len()), (1, 3, 2));
    }

    #[test]
    fn only_the_half_at_that_place_is_taken() {
        let mut open = OpenHalves::default();
        open.insert(5, half(10));
        assert_eq!(open.take(5, 999), None, "a forged place");
        assert_eq!(open.take(4, 1_000), None);
        assert_eq!(open.take(5, 1_000), Some(half(10)));
        assert_eq!(open.take(5, 1_000), None, "ended once");
        assert_eq!(open.first(), 6);
    }

    #[test]
    fn memory_follows_the_open_halves_not_the_ended_ones() {
        let mut open = OpenHalves::default();
        for offset in 0..100_000 {
            open.insert(offset, half(1_000_000 + offset));
            open.remove(offset);
        }
        assert!(open.due.entry_count() <= 2_000, "{}", open.due.entry_count());
    }
}
