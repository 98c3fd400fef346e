// SPDX-License-Identifier: Apache-2.0
//! Who produces: per group its connections, from heartbeats; checks of transactions look for them here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::client_channel::ClientChannel;
use super::consumers::{Client, MEMBER_EXPIRES_MILLIS};
use crate::runtime::SharedClock;

/// Connections tried before one that may not answer is taken.
const AVAILABLE_TRIES: usize = 3;

#[derive(Debug)]
pub struct Producers {
    clock: SharedClock,
    table: RwLock<Table>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<Arc<str>, BTreeMap<u64, Producer>>,
    groups_of_channel: HashMap<u64, HashSet<Arc<str>>>,
    /// By client id, its connections, the youngest last.
    clients: HashMap<Arc<str>, BTreeMap<u64, OfClient>>,
}

/// A connection of a client, and of how many groups it is by that client id.
#[derive(Debug)]
struct OfClient {
    channel: Arc<dyn ClientChannel>,
    groups: usize,
}

/// One connection of a producer group, for admin tools.
#[derive(Clone, Debug)]
pub struct Producer {
    pub client: Client,
    pub heard_millis: i64,
}

impl Producers {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, table: RwLock::default(), turn: AtomicUsize::new(0) }
    }

    /// One heartbeat.
    pub fn register(&self, group: &str, client: &Client) {
        let now = self.clock.now_millis();
        let mut locked = self.table.write();
        let table = &mut *locked;
        if let Some(known) = table.groups.get_mut(group).and_then(|members| members.get_mut(&client.channel.id())) {
            known.heard_millis = now;
            return;
        }
        let name: Arc<str> = Arc::from(group);
        let producer = Producer { client: client.clone(), heard_millis: now };
        table.groups.entry(Arc::clone(&name)).or_default().insert(client.channel.id(), producer);
        table.groups_of_channel.entry(client.channel.id()).or_default().insert(name);
        let of_client = table.clients.entry(Arc::clone(&client.client_id)).or_default();
        let connection = || OfClient { channel: Arc::clone(&client.channel), groups: 0 };
        of_client.entry(client.channel.id()).or_insert_with(connection).groups += 1;
        drop(locked);
        tracing::info!(group, client_id = %client.client_id, peer = %client.channel.remote_addr(), "a producer joined");
    }

    pub fn unregister(&self, group: &str, channel: &dyn ClientChannel) {
        let left = self.table.write().leave(group, channel.id());
        log_left(group, left);
    }

    /// The connection is gone, and with it its place in every group.
    pub fn close(&self, channel: &dyn ClientChannel) {
        if !self.table.read().groups_of_channel.contains_key(&channel.id()) {
            return;
        }
        let mut table = self.table.write();
        let groups = table.groups_of_channel.remove(&channel.id()).unwrap_or_default();
        let left: Vec<_> = groups.into_iter().map(|group| (table.leave(&group, channel.id()), group)).collect();
        drop(table);
        left.into_iter().for_each(|(left, group)| log_left(&group, left));
    }

    /// Producers that have been silent for too long. The caller closes their connections, which unregisters them.
    pub fn silent_channels(&self) -> Vec<Arc<dyn ClientChannel>> {
        let now = self.clock.now_millis();
        let table = self.table.read();
        let members = table.groups.values().flat_map(BTreeMap::values);
        members
            .filter(|producer| now - producer.heard_millis > MEMBER_EXPIRES_MILLIS)
            .map(|producer| Arc::clone(&producer.client.channel))
            .collect()
    }

    /// `None` when the group is not there.
    pub fn members(&self, group: &str) -> Option<Vec<Producer>> {
        Some(self.table.read().groups.get(group)?.values().cloned().collect())
    }

    pub fn all(&self) -> BTreeMap<String, Vec<Producer>> {
        let table = self.table.read();
        table.groups.iter().map(|(group, members)| (group.to_string(), members.values().cloned().collect())).collect()
    }

    /// The youngest connection of a producer by its client id.
    pub fn channel_of_client(&self, client_id: &str) -> Option<Arc<dyn ClientChannel>> {
        let table = self.table.read();
        let mut channels = table.clients.get(client_id)?.values().rev().map(|connection| &connection.channel);
        channels.find(|channel| channel.is_active()).cloned()
    }

    /// A connection of the group that can be asked something, in turn.
    pub fn available_channel(&self, group: &str) -> Option<Arc<dyn ClientChannel>> {
        let table = self.table.read();
        let members = table.groups.get(group)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = members.values().cycle().skip(turn % members.len()).take(AVAILABLE_TRIES);
        in_turn.map(|producer| &producer.client.channel).find(|channel| channel.is_active()).cloned()
    }
}

impl Table {
    /// Who it was, if it was there.
    fn leave(&mut self, group_name: &str, channel_id: u64) -> Option<Producer> {
        if let Some(groups) = self.groups_of_channel.get_mut(&channel_id) {
            groups.remove(group_name);
            if groups.is_empty() {
                self.groups_of_channel.remove(&channel_id);
            }
        }
        let members = self.groups.get_mut(group_name)?;
        let left = members.remove(&channel_id);
        if members.is_empty() {
            self.groups.remove(group_name);
        }
        if let Some(left) = &left {
            self.leave_client(&left.client.client_id, channel_id);
        }
        left
    }

    fn leave_client(&mut self, client_id: &str, channel_id: u64) {
        let Some(channels) = self.clients.get_mut(client_id) else { return };
        if let Some(connection) = channels.get_mut(&channel_id) {
            connection.groups -= 1;
            if connection.groups == 0 {
                channels.remove(&channel_id);
            }
        }
        if channels.is_empty() {
            self.clients.remove(client_id);
        }
    }
}

fn log_left(group: &str, left: Option<Producer>) {
    if let Some(producer) = left {
        tracing::info!(group, client_id = %producer.client.client_id, "a producer left");
    }
}
