// SPDX-License-Identifier: Apache-2.0
//! Which op messages a broker of the original would still have to read, were it to take over: those that name a half behind the
//! oldest open one.
//!
//! Bounded: where there would be too many entries, neighbours become one that says a little less.

use std::collections::VecDeque;

const ENTRIES_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct OpsWritten {
    /// (offset in the op queue, the newest half that it or one before the next entry names).
    entries: VecDeque<(i64, i64)>,
    next: i64,
}

impl OpsWritten {
    /// The op messages from `first` to `next` name halves up to `newest_half`, as far as anyone knows.
    pub(super) fn new(first: i64, next: i64, newest_half: i64) -> Self {
        let entries = if first < next { VecDeque::from([(first, newest_half)]) } else { VecDeque::new() };
        Self { entries, next }
    }

    pub(super) fn push(&mut self, op_offset: i64, newest_half: i64) {
        self.entries.push_back((op_offset, newest_half));
        self.next = op_offset + 1;
        if self.entries.len() > ENTRIES_MAX {
            let pairs = self.entries.make_contiguous().chunks(2);
            self.entries = pairs.map(|pair| (pair[0].0, pair.iter().map(|(_, half)| *half).max().unwrap_or(i64::MAX))).collect();
        }
    }

    /// The first op message that matters when `first_open` is the oldest open half.
    pub(super) fn needed_from(&mut self, first_open: i64) -> i64 {
        while self.entries.front().is_some_and(|(_, newest_half)| *newest_half < first_open) {
            self.entries.pop_front();
        }
        self.entries.front().map_or(self.next, |(op_offset, _)| *op_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_message_is_needed_while_it_names_a_half_behind_the_oldest_open_one() {
        let mut ops = OpsWritten::new(2, 5, 30);
        ops.push(5, 41);
        ops.push(6, 38);
        assert_eq!(ops.needed_from(10), 2);
        assert_eq!(ops.needed_from(31), 5);
        assert_eq!(ops.needed_from(40), 5);
        assert_eq!(ops.needed_from(42), 7);
        ops.push(7, 50);
        assert_eq!(ops.needed_from(42), 7);
    }

    #[test]
    fn many_entries_become_fewer_and_never_promise_too_much() {
        let mut ops = OpsWritten::new(0, 0, -1);
        for op in 0..100_000 {
            ops.push(op, op * 10);
        }
        assert!(ops.entries.len() <= ENTRIES_MAX);
        for first_open in (0..1_000_000).step_by(9_999) {
            let needed = ops.needed_from(first_open);
            assert!(needed <= (first_open + 9) / 10, "{needed} for {first_open}");
        }
    }
}
