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

/// Leases of all groups together, about 300 bytes each: what a client asks for beyond them it does not get.
pub const LEASES_MAX: usize = 262_144;
/// No legal name of a topic, a group or a broker is longer; a lease of any other would cost as much as its name.
const NAME_BYTES_MAX: usize = 255;
/// Clients make theirs of an address, a process and a name that their user gave.
const CLIENT_ID_BYTES_MAX: usize = 4_096;

#[derive(Debug)]
pub struct RebalanceLocks {
    clock: SharedClock,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<String, HashMap<MessageQueue, Lease>>,
    /// Of all groups.
    leases: usize,
}

impl Table {
    /// Forgets what has expired in one group. An expired lease means nothing to anybody; without this the table would keep every queue
    /// it ever saw.
    fn expire(&mut self, group: &str, now: u64) {
        let Some(leases) = self.groups.get_mut(group) else { return };
        let before = leases.len();
        leases.retain(|_, lease| !lease.is_expired(now));
        self.leases -= before - leases.len();
    }

    fn expire_all(&mut self, now: u64) {
        self.groups.retain(|_, leases| {
            leases.retain(|_, lease| !lease.is_expired(now));
            !leases.is_empty()
        });
        self.leases = self.groups.values().map(HashMap::len).sum();
    }
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
        Self { clock, table: Mutex::default() }
    }

    /// The queues among `queues` that `client_id` owns from now on.
    pub fn lock_batch(&self, group: &str, queues: &BTreeSet<MessageQueue>, client_id: &str) -> BTreeSet<MessageQueue> {
        let now = self.clock.nanos();
        let mut locked = BTreeSet::new();
        if group.len() > NAME_BYTES_MAX || client_id.len() > CLIENT_ID_BYTES_MAX {
            return locked;
        }
        let client_id: Arc<str> = Arc::from(client_id);
        let mut table = self.table.lock();
        if table.leases + queues.len() > LEASES_MAX {
            table.expire_all(now)
        } else {
            table.expire(group, now)
        }
        let Table { groups, leases } = &mut *table;
        let of_group = groups.entry(group.to_owned()).or_default();
        for queue in queues {
            match of_group.get_mut(queue) {
                Some(lease) if lease.client_id == client_id => lease.renewed_nanos = now,
                Some(_) => continue,
                None if *leases == LEASES_MAX || queue.topic.len().max(queue.broker_name.len()) > NAME_BYTES_MAX => continue,
                None => {
                    of_group.insert(queue.clone(), Lease { client_id: Arc::clone(&client_id), renewed_nanos: now });
                    *leases += 1;
                }
            }
            locked.insert(queue.clone());
        }
        if of_group.is_empty() {
            groups.remove(group);
        }
        locked
    }

    pub fn unlock_batch(&self, group: &str, queues: &BTreeSet<MessageQueue>, client_id: &str) {
        let mut table = self.table.lock();
        let Table { groups, leases } = &mut *table;
        let Some(of_group) = groups.get_mut(group) else { return };
        for queue in queues {
            if of_group.get(queue).is_some_and(|lease| &*lease.client_id == client_id) {
                of_group.remove(queue);
                *leases -= 1;
            }
        }
        if of_group.is_empty() {
            groups.remove(group);
        }
    }

    /// A client has said goodbye: what it locked is free.
    pub fn release(&self, group: &str, client_id: &str) {
        let mut table = self.table.lock();
        let Table { groups, leases } = &mut *table;
        let Some(of_group) = groups.get_mut(group) else { return };
        let before = of_group.len();
        of_group.retain(|_, lease| &*lease.client_id != client_id);
        *leases -= before - of_group.len();
        if of_group.is_empty() {
            groups.remove(group);
        }
    }

    /// Forgets expired leases of groups that lock nothing any more.
    pub fn expire(&self) {
        let now = self.clock.nanos();
        self.table.lock().expire_all(now);
    }

    /// True when nobody of the group consumes in order now.
    pub fn is_lock_all_expired(&self, group: &str) -> bool {
        let now = self.clock.nanos();
        self.table.lock().groups.get(group).is_none_or(|leases| leases.values().all(|lease| lease.is_expired(now)))
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

    /// A body of 16 MiB names 250,000 queues, and each request another group.
    #[test]
    fn leases_are_bounded_and_those_that_expired_make_room() {
        let clock = ManualClock::at_millis(0);
        let locks = RebalanceLocks::new(Arc::new(clock.clone()));
        let many: BTreeSet<MessageQueue> = (0..LEASES_MAX as i32).map(|queue_id| MessageQueue::new("T", "b", queue_id)).collect();
        assert_eq!(locks.lock_batch("G", &many, "a").len(), LEASES_MAX);
        assert_eq!(locks.lock_batch("H", &queues([0]), "b"), queues([]));
        assert_eq!(locks.lock_batch("G", &queues([1]), "a"), queues([1]), "what is held can be renewed");
        clock.advance(Duration::from_millis(60_001));
        assert_eq!(locks.lock_batch("H", &queues([0]), "b"), queues([0]));
        assert_eq!(locks.table.lock().leases, 1);
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(locks.lock_batch("H", &BTreeSet::from([MessageQueue::new(long.as_str(), "b", 0)]), "b"), queues([]));
        assert_eq!(locks.lock_batch(&long, &queues([0]), "b"), queues([]));
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
        assert!(locks.table.lock().groups.is_empty(), "nothing is kept of leases that nobody renews");
    }
}
