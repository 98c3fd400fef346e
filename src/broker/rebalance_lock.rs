// SPDX-License-Identifier: Apache-2.0
//! Which client of a group may consume a queue in order: leases that only time or their owner ends.
//!
//! In memory only, as in the original; a connection's end does not release them, since its client may go on consuming what it has.
//! A client that unregisters does not; the original lets the others wait for a minute.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ferrocket_protocol::body::MessageQueue;
use parking_lot::Mutex;

use crate::runtime::SharedClock;

/// A lease that was not renewed for longer is free for others. Clients renew each 20 s and count on 60 s here: a shorter
/// lease breaks the order, a longer one stalls whoever takes a queue over.
pub const LOCK_MILLIS: u64 = 60_000;

#[derive(Debug)]
pub struct RebalanceLocks {
    clock: SharedClock,
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Lease>>>,
}

#[derive(Debug)]
struct Lease {
    client_id: Arc<str>,
    renewed_nanos: u64,
}

impl Lease {
    fn is_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.renewed_nanos) > LOCK_MILLIS * 1_000_000
    }
}

impl RebalanceLocks {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, groups: Mutex::new(HashMap::new()) }
    }

    /// The queues among `queues` that `client_id` owns from now on.
    pub fn lock_batch(&self, group: &str, queues: &BTreeSet<MessageQueue>, client_id: &str) -> BTreeSet<MessageQueue> {
        let now = self.clock.nanos();
        let client_id: Arc<str> = Arc::from(client_id);
        let mut groups = self.groups.lock();
        let leases = groups.entry(group.to_owned()).or_default();
        // An expired lease means nothing to anybody; without this the table would keep every queue it ever saw.
        leases.retain(|_, lease| !lease.is_expired(now));
        let mut locked = BTreeSet::new();
        for queue in queues {
            let lease = leases.entry(queue.clone()).or_insert_with(|| Lease { client_id: Arc::clone(&client_id), renewed_nanos: now });
            if lease.client_id == client_id {
                lease.renewed_nanos = now;
                locked.insert(queue.clone());
            }
        }
        if leases.is_empty() {
            groups.remove(group);
        }
        locked
    }

    pub fn unlock_batch(&self, group: &str, queues: &BTreeSet<MessageQueue>, client_id: &str) {
        let mut groups = self.groups.lock();
        let Some(leases) = groups.get_mut(group) else { return };
        for queue in queues {
            if leases.get(queue).is_some_and(|lease| &*lease.client_id == client_id) {
                leases.remove(queue);
            }
        }
        if leases.is_empty() {
            groups.remove(group);
        }
    }

    /// A client has said goodbye: what it locked is free.
    pub fn release(&self, group: &str, client_id: &str) {
        let mut groups = self.groups.lock();
        let Some(leases) = groups.get_mut(group) else { return };
        leases.retain(|_, lease| &*lease.client_id != client_id);
        if leases.is_empty() {
            groups.remove(group);
        }
    }

    /// Forgets expired leases of groups that lock nothing any more.
    pub fn expire(&self) {
        let now = self.clock.nanos();
        self.groups.lock().retain(|_, leases| leases.values().any(|lease| !lease.is_expired(now)));
    }

    /// True when nobody of the group consumes in order now.
    pub fn is_lock_all_expired(&self, group: &str) -> bool {
        let now = self.clock.nanos();
        self.groups.lock().get(group).is_none_or(|leases| leases.values().all(|lease| lease.is_expired(now)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::ManualClock;

    fn queues<const N: usize>(queue_ids: [i32; N]) -> BTreeSet<MessageQueue> {
        queue_ids.map(|queue_id| MessageQueue::new("T", "b", queue_id)).into()
    }

    #[test]
    fn a_queue_belongs_to_one_client_until_it_unlocks_or_a_minute_passes() {
        let clock = ManualClock::at_millis(0);
        let locks = RebalanceLocks::new(Arc::new(clock.clone()));
        assert!(locks.is_lock_all_expired("G"));
        assert_eq!(locks.lock_batch("G", &queues([0, 1]), "a"), queues([0, 1]));
        assert_eq!(locks.lock_batch("G", &queues([1, 2]), "b"), queues([2]), "queue 1 is a's");
        assert_eq!(locks.lock_batch("H", &queues([1]), "b"), queues([1]), "another group has its own locks");
        clock.advance(Duration::from_millis(60_000));
        assert_eq!(locks.lock_batch("G", &queues([0]), "a"), queues([0]), "renewed at the last moment");
        assert!(!locks.is_lock_all_expired("G"));
        clock.advance(Duration::from_millis(1));
        assert_eq!(locks.lock_batch("G", &queues([0, 1]), "b"), queues([1]), "a renewed only queue 0");
        locks.unlock_batch("G", &queues([0, 1]), "a");
        assert_eq!(locks.lock_batch("G", &queues([0, 1]), "b"), queues([0, 1]));
        locks.unlock_batch("G", &queues([0]), "a");
        assert_eq!(locks.lock_batch("G", &queues([0]), "a"), queues([]), "only the owner unlocks");
        clock.advance(Duration::from_millis(60_001));
        assert!(locks.is_lock_all_expired("G"));
    }

    #[test]
    fn who_says_goodbye_leaves_no_lease() {
        let clock = ManualClock::at_millis(0);
        let locks = RebalanceLocks::new(Arc::new(clock.clone()));
        locks.lock_batch("G", &queues([0, 1]), "a");
        locks.lock_batch("G", &queues([2]), "b");
        locks.lock_batch("H", &queues([0]), "a");
        locks.release("G", "a");
        assert_eq!(locks.lock_batch("G", &queues([0, 1, 2]), "c"), queues([0, 1]), "b is still there");
        assert_eq!(locks.lock_batch("H", &queues([0]), "c"), queues([]), "as a is in another group");
        clock.advance(Duration::from_millis(60_001));
        locks.expire();
        assert!(locks.groups.lock().is_empty(), "nothing is kept of leases that nobody renews");
    }
}
