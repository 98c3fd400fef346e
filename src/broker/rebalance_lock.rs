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
/// One connection may have one part in so many of what the others leave. Names of groups and clients cost nothing: without it one client
/// that makes them up keeps all others out. With it one alone gets 65,536, twice the queues of the largest topic.
pub const LEASES_SHARE: usize = 4;
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
    counts: Counts,
}

/// How many leases there are.
#[derive(Debug, Default)]
struct Counts {
    /// Of all groups.
    all: usize,
    /// By the channel that asked last.
    of_channels: HashMap<u64, usize>,
}

impl Counts {
    fn has_room(&self, channel_id: u64) -> bool {
        let own = self.of_channels.get(&channel_id).copied().unwrap_or(0);
        own < (LEASES_MAX - (self.all - own)) / LEASES_SHARE
    }

    fn add(&mut self, channel_id: u64) {
        self.all += 1;
        *self.of_channels.entry(channel_id).or_default() += 1;
    }

    fn remove(&mut self, channel_id: u64) {
        self.all -= 1;
        if let Some(own) = self.of_channels.get_mut(&channel_id) {
            *own -= 1;
            if *own == 0 {
                self.of_channels.remove(&channel_id);
            }
        }
    }
}

impl Table {
    /// Forgets leases of one group; without one that is left the group, too.
    fn retain(&mut self, group: &str, keeps: impl Fn(&Lease) -> bool) {
        let Some(leases) = self.groups.get_mut(group) else { return };
        leases.retain(|_, lease| {
            let kept = keeps(lease);
            if !kept {
                self.counts.remove(lease.channel_id);
            }
            kept
        });
        if leases.is_empty() {
            self.groups.remove(group);
        }
    }
}

#[derive(Debug)]
struct Lease {
    client_id: Arc<str>,
    /// Its owner's latest.
    channel_id: u64,
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

    /// The queues among `queues` that `client_id`, who asks by this channel, owns from now on.
    pub fn lock_batch(&self, group: &str, queues: &BTreeSet<MessageQueue>, client_id: &str, channel_id: u64) -> BTreeSet<MessageQueue> {
        let now = self.clock.nanos();
        let mut locked = BTreeSet::new();
        if group.len() > NAME_BYTES_MAX || client_id.len() > CLIENT_ID_BYTES_MAX {
            return locked;
        }
        let client_id: Arc<str> = Arc::from(client_id);
        let mut table = self.table.lock();
        // Those of other groups make room with the next `expire`: a request must not walk over all of them.
        table.retain(group, |lease| !lease.is_expired(now));
        let Table { groups, counts } = &mut *table;
        let of_group = groups.entry(group.to_owned()).or_default();
        for queue in queues {
            match of_group.get_mut(queue) {
                Some(lease) if lease.client_id == client_id => {
                    counts.remove(std::mem::replace(&mut lease.channel_id, channel_id));
                    counts.add(channel_id);
                    lease.renewed_nanos = now;
                }
                Some(_) => continue,
                None if !counts.has_room(channel_id) || queue.topic.len().max(queue.broker_name.len()) > NAME_BYTES_MAX => continue,
                None => {
                    of_group.insert(queue.clone(), Lease { client_id: Arc::clone(&client_id), channel_id, renewed_nanos: now });
                    counts.add(channel_id);
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
        let Table { groups, counts } = &mut *table;
        let Some(of_group) = groups.get_mut(group) else { return };
        for queue in queues {
            if of_group.get(queue).is_some_and(|lease| &*lease.client_id == client_id) {
                of_group.remove(queue).into_iter().for_each(|lease| counts.remove(lease.channel_id));
            }
        }
        if of_group.is_empty() {
            groups.remove(group);
        }
    }

    /// A client has said goodbye: what it locked is free.
    pub fn release(&self, group: &str, client_id: &str) {
        self.table.lock().retain(group, |lease| &*lease.client_id != client_id);
    }

    /// Forgets expired leases of all groups: they mean nothing to anybody. Without this the table would keep every queue it ever saw.
    pub fn expire(&self) {
        let now = self.clock.nanos();
        let groups: Vec<String> = self.table.lock().groups.keys().cloned().collect();
        groups.iter().for_each(|group| self.table.lock().retain(group, |lease| !lease.is_expired(now)));
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
        // Names that one connection makes up are one connection's.
        let taken = ["G0", "G1", "G2"].map(|group| locks.lock_batch(group, &many, group, 1).len());
        assert_eq!(taken, [LEASES_MAX / LEASES_SHARE, 0, 0]);
        assert_eq!(locks.lock_batch("G0", &queues([1]), "G0", 1), queues([1]), "what is held can be renewed");
        // The others have their share of the rest, and what comes over a new connection of its owner is counted there.
        assert_eq!(locks.lock_batch("H", &many, "b", 2).len(), LEASES_MAX / 16 * 3);
        locks.lock_batch("G0", &many, "G0", 3);
        let counts = |locks: &RebalanceLocks| {
            let table = locks.table.lock();
            let mut channels: Vec<_> = table.counts.of_channels.clone().into_iter().collect();
            channels.sort_unstable();
            (table.counts.all, channels)
        };
        assert_eq!(counts(&locks), (LEASES_MAX / 16 * 7, vec![(2, LEASES_MAX / 16 * 3), (3, LEASES_MAX / 4)]));
        locks.release("H", "b");
        assert_eq!(counts(&locks), (LEASES_MAX / 4, vec![(3, LEASES_MAX / 4)]));
        locks.unlock_batch("G0", &queues([0, 1]), "G0");
        assert_eq!(counts(&locks).0, LEASES_MAX / 4 - 2);
        clock.advance(Duration::from_millis(60_001));
        locks.expire();
        assert_eq!(locks.lock_batch("H", &many, "b", 2).len(), LEASES_MAX / 4, "expired ones make room");
        locks.release("H", "b");
        assert_eq!(locks.lock_batch("H", &queues([0]), "b", 2), queues([0]));
        assert_eq!(counts(&locks), (1, vec![(2, 1)]));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(locks.lock_batch("H", &BTreeSet::from([MessageQueue::new(long.as_str(), "b", 0)]), "b", 2), queues([]));
        assert_eq!(locks.lock_batch(&long, &queues([0]), "b", 2), queues([]));
    }

    #[test]
    fn a_queue_belongs_to_one_client_until_it_unlocks_or_a_minute_passes() {
        let clock = ManualClock::at_millis(0);
        let locks = RebalanceLocks::new(Arc::new(clock.clone()));
        assert!(locks.is_lock_all_expired("G"));
        assert_eq!(locks.lock_batch("G", &queues([0, 1]), "a", 1), queues([0, 1]));
        assert_eq!(locks.lock_batch("G", &queues([1, 2]), "b", 2), queues([2]), "queue 1 is a's");
        assert_eq!(locks.lock_batch("H", &queues([1]), "b", 2), queues([1]), "another group has its own locks");
        clock.advance(Duration::from_millis(60_000));
        assert_eq!(locks.lock_batch("G", &queues([0]), "a", 1), queues([0]), "renewed at the last moment");
        assert!(!locks.is_lock_all_expired("G"));
        clock.advance(Duration::from_millis(1));
        assert_eq!(locks.lock_batch("G", &queues([0, 1]), "b", 2), queues([1]), "a renewed only queue 0");
        locks.unlock_batch("G", &queues([0, 1]), "a");
        assert_eq!(locks.lock_batch("G", &queues([0, 1]), "b", 2), queues([0, 1]));
        locks.unlock_batch("G", &queues([0]), "a");
        assert_eq!(locks.lock_batch("G", &queues([0]), "a", 1), queues([]), "only the owner unlocks");
        clock.advance(Duration::from_millis(60_001));
        assert!(locks.is_lock_all_expired("G"));
    }

    #[test]
    fn who_says_goodbye_leaves_no_lease() {
        let clock = ManualClock::at_millis(0);
        let locks = RebalanceLocks::new(Arc::new(clock.clone()));
        locks.lock_batch("G", &queues([0, 1]), "a", 1);
        locks.lock_batch("G", &queues([2]), "b", 2);
        locks.lock_batch("H", &queues([0]), "a", 1);
        locks.release("G", "a");
        assert_eq!(locks.lock_batch("G", &queues([0, 1, 2]), "c", 3), queues([0, 1]), "b is still there");
        assert_eq!(locks.lock_batch("H", &queues([0]), "c", 3), queues([]), "as a is in another group");
        clock.advance(Duration::from_millis(60_001));
        locks.expire();
        assert!(locks.table.lock().groups.is_empty(), "nothing is kept of leases that nobody renews");
    }
}
