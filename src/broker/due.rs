// SPDX-License-Identifier: Apache-2.0
//! What is due when: a queue of moments for one thread, which sleeps until the earliest and is rung when an earlier one comes.
//!
//! Moments are wall clock milliseconds. Lies under its owner's lock, so that between a look at the queue and the thread's sleep no
//! moment can come unseen. Knows no item's meaning; used for delay levels and for open transactions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::runtime::Parker;

/// Entries that are stale stay until they come up, or until there are so many more of them than items.
const STALE_COUNT_MAX: usize = 1_024;
/// The wall clock can be set while the thread sleeps; so late is an item at most then.
const NAP_MILLIS_MAX: i64 = 1_000;

/// Each item's moment is known to its owner, who pushes the item again when that changes: an entry with another moment is stale.
#[derive(Debug)]
pub struct Due<T: Ord> {
    entries: BinaryHeap<Reverse<(i64, T)>>,
    /// When the thread looks again by itself; the minimum while it looks, since it looks here again before it sleeps.
    looks_at_millis: i64,
    bell: Parker,
}

impl<T: Ord> Default for Due<T> {
    fn default() -> Self {
        Self::ringing(Parker::new())
    }
}

impl<T: Ord> Due<T> {
    pub fn ringing(bell: Parker) -> Self {
        Self { entries: BinaryHeap::new(), looks_at_millis: i64::MIN, bell }
    }

    /// From now on this one is rung.
    pub fn ring(&mut self, bell: Parker) {
        self.bell = bell;
    }

    /// The item is due at that moment, and its owner knows it.
    pub fn push(&mut self, millis: i64, item: T) {
        self.entries.push(Reverse((millis, item)));
        self.wake_by(millis);
    }

    /// Rings when the thread would sleep beyond that moment.
    pub fn wake_by(&self, millis: i64) {
        if millis < self.looks_at_millis {
            self.bell.unpark();
        }
    }

    /// Takes the next item that is due by now. `moment_of` gives its present moment; `None`: it is gone.
    pub fn take(&mut self, now_millis: i64, moment_of: impl Fn(&T) -> Option<i64>) -> Option<T> {
        self.looks_at_millis = i64::MIN;
        while let Some(Reverse((millis, item))) = self.entries.peek() {
            let is_live = moment_of(item) == Some(*millis);
            if is_live && *millis > now_millis {
                return None;
            }
            let Reverse((_, item)) = self.entries.pop()?;
            if is_live {
                return Some(item);
            }
        }
        None
    }

    /// Until when the thread sleeps now: the earliest moment here, and no later than `latest_millis`.
    pub fn sleep_until(&mut self, now_millis: i64, latest_millis: i64) -> i64 {
        let earliest = self.entries.peek().map_or(i64::MAX, |Reverse((millis, _))| *millis);
        self.looks_at_millis = earliest.min(latest_millis).min(now_millis + NAP_MILLIS_MAX);
        self.looks_at_millis
    }

    /// Until when the thread sleeps when nothing may be done now: nobody rings for an item, only whoever ends that.
    pub fn rest_until(&mut self, now_millis: i64) -> i64 {
        self.looks_at_millis = i64::MIN;
        now_millis + NAP_MILLIS_MAX
    }

    /// Whether `refill` would make it much smaller, when so many items have a moment.
    pub fn is_stale(&self, item_count: usize) -> bool {
        self.entries.len() > 2 * item_count + STALE_COUNT_MAX
    }

    /// Every item that has a moment, and nothing else.
    pub fn refill(&mut self, items: impl Iterator<Item = (i64, T)>) {
        self.entries = items.map(Reverse).collect();
    }

    #[cfg(test)]
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::runtime::{Clock, ManualClock};

    #[test]
    fn items_come_up_when_they_are_due_and_only_at_their_present_moment() {
        let mut moments = HashMap::from([('a', 30), ('b', 10), ('c', 20)]);
        let mut due = Due::default();
        moments.iter().for_each(|(item, millis)| due.push(*millis, *item));
        let mut take = |now, moments: &HashMap<char, i64>| due.take(now, |item| moments.get(item).copied());
        assert_eq!(take(9, &moments), None);
        assert_eq!((take(20, &moments), take(20, &moments), take(20, &moments)), (Some('b'), Some('c'), None));
        moments.insert('a', 40);
        assert_eq!(take(35, &moments), None, "moved: the entry at 30 is stale");
        due.push(40, 'a');
        moments.remove(&'a');
        assert_eq!(due.take(50, |item| moments.get(item).copied()), None, "gone");
    }

    #[test]
    fn only_what_comes_before_the_next_look_rings() {
        let clock = ManualClock::at_millis(0);
        let bell = Parker::new();
        let mut due = Due::ringing(bell.clone());
        let mut rings = |act: &dyn Fn(&mut Due<char>)| {
            act(&mut due);
            clock.park(&bell, Duration::ZERO)
        };
        assert!(!rings(&|due| due.push(500, 'a')), "there is no thread yet");
        assert!(!rings(&|due| assert_eq!(due.take(0, |_| Some(500)), None)));
        assert!(!rings(&|due| due.push(400, 'b')), "it looks");
        assert!(!rings(&|due| assert_eq!(due.sleep_until(0, i64::MAX), 400)), "and has seen it before it sleeps");
        assert!(!rings(&|due| due.push(400, 'c')));
        assert!(rings(&|due| due.push(399, 'd')));
        assert!(rings(&|due| due.wake_by(399)));
        assert!(!rings(&|due| assert_eq!(due.sleep_until(0, 100), 100)));
        assert!(!rings(&|due| due.push(100, 'e')));
        assert!(!rings(&|due| due.refill(std::iter::empty())));
        assert!(!rings(&|due| assert_eq!(due.sleep_until(5, i64::MAX), 5 + NAP_MILLIS_MAX)));
    }
}
