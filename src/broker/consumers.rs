// SPDX-License-Identifier: Apache-2.0
//! Who consumes: per group its members (one per connection) and what the group subscribes.
//!
//! Lives in memory, from heartbeats; a closed connection leaves at once. Whoever changes a group is told whether its members must
//! hear of it; this room sends nothing. Each pull reads the table: what a change costs beside it (a line of the log, the members who
//! hear of it) is done when the lock is left, and once for many changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ferrocket_protocol::LanguageCode;
use ferrocket_protocol::body::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use parking_lot::RwLock;

use super::client_channel::{Channels, ClientChannel};
use super::filter::Subscription;
use crate::runtime::{NameMap, SharedClock};

/// A member that sent no heartbeat for longer is removed and its connection closed; the original's channelExpiredTimeout.
pub const MEMBER_EXPIRES_MILLIS: i64 = 120_000;
/// How long a subscription that only a pull brought is remembered; the original's subscriptionExpiredTimeout.
pub const PULLED_SUBSCRIPTION_EXPIRES_MILLIS: i64 = 600_000;

/// One client of a group, on one connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub channel: Arc<dyn ClientChannel>,
    pub client_id: Arc<str>,
    pub language: LanguageCode,
    pub version: i32,
}

/// How a group consumes; the latest heartbeat decides for all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumeMode {
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
}

/// What a change means for the group: whether it was one, and whether `Consumers::who_hears` must hear of it.
#[derive(Debug, Default)]
pub struct GroupChange {
    pub changed: bool,
    pub is_news: bool,
    /// The group's subscriptions are not those that the heartbeat's fingerprint speaks for: the client must state them again.
    pub wants_subscriptions: bool,
}

/// A group as it is now, for admin tools.
#[derive(Debug)]
pub struct GroupView {
    pub mode: ConsumeMode,
    pub members: Vec<Client>,
    pub subscriptions: BTreeMap<String, SubscriptionData>,
}

#[derive(Debug)]
pub struct Consumers {
    clock: SharedClock,
    table: RwLock<Table>,
    /// Subscriptions that came with pulls of groups that may have no heartbeat (the original's compensation table).
    pulled: RwLock<PulledSubscriptions>,
}

/// What the subscriptions of pulls may take together, by `Subscription::kept_bytes`: a pull brings any group name and any expression.
/// Beyond it they are read anew with each pull.
const PULLED_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Debug, Default)]
struct PulledSubscriptions {
    groups: NameMap<SubscriptionsByTopic>,
    bytes: usize,
}

type SubscriptionsByTopic = NameMap<Arc<Subscription>>;

#[derive(Debug, Default)]
struct Table {
    groups: NameMap<Group>,
    groups_of_topic: HashMap<Arc<str>, HashSet<Arc<str>>>,
    groups_of_channel: HashMap<u64, HashSet<Arc<str>>>,
}

#[derive(Debug)]
struct Group {
    mode: ConsumeMode,
    /// Of the latest heartbeat, whosever it was; 0 for one of the first form.
    fingerprint: Option<i32>,
    members: HashMap<u64, Member>,
    /// In force: of each topic the newest statement among those of the members that are here. Theirs and this one are one `Arc`.
    subscriptions: SubscriptionsByTopic,
}

#[derive(Debug)]
struct Member {
    client: Client,
    heard_millis: i64,
    /// What its last heartbeat with subscriptions stated.
    stated: SubscriptionsByTopic,
}

impl Group {
    /// Nobody in a broadcasting group: each has all queues.
    fn hears_news(&self) -> bool {
        self.mode.message_model != MessageModel::Broadcasting && !self.members.is_empty()
    }
}

impl Consumers {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, table: RwLock::default(), pulled: RwLock::default() }
    }

    /// One heartbeat of one member. `subscriptions` is `None` when the heartbeat says that they are as before.
    pub fn register(
        &self,
        group: &str,
        client: Client,
        mode: ConsumeMode,
        fingerprint: i32,
        subscriptions: Option<Vec<SubscriptionData>>,
    ) -> GroupChange {
        let now = self.clock.now_millis();
        let (client_id, peer) = (Arc::clone(&client.client_id), client.channel.remote_addr());
        let mut locked = self.table.write();
        let table = &mut *locked;
        let name = table.groups.get_key_value(group).map_or_else(|| Arc::from(group), |(name, _)| Arc::clone(name));
        let entry = table.groups.entry(Arc::clone(&name)).or_insert_with(|| Group {
            mode,
            fingerprint: None,
            members: HashMap::new(),
            subscriptions: NameMap::default(),
        });
        entry.mode = mode;
        // Where the original knows no fingerprint it takes a heartbeat without subscriptions for complete, and the group's pulls
        // are refused until the client changes something; here the client is asked again.
        let wants_subscriptions = match entry.fingerprint.replace(fingerprint) {
            Some(known) => known != fingerprint,
            None => subscriptions.is_none(),
        };
        let channel_id = client.channel.id();
        let is_new = match entry.members.get_mut(&channel_id) {
            None => {
                entry.members.insert(channel_id, Member { client, heard_millis: now, stated: SubscriptionsByTopic::default() });
                table.groups_of_channel.entry(channel_id).or_default().insert(Arc::clone(&name));
                true
            }
            Some(member) => {
                // The same connection under another client id: the newer one counts, which is no change of the group.
                if member.client.client_id != client.client_id {
                    member.client = client;
                }
                member.heard_millis = now;
                false
            }
        };
        let subscription_changed = match subscriptions {
            Some(stated) => {
                let change = entry.state(channel_id, stated, now, is_new);
                table.note_topics(&name, &change);
                change.is_change()
            }
            None => {
                if is_new {
                    // Its fingerprint says that it subscribes what the others do.
                    let in_force = entry.subscriptions.clone();
                    entry.members.entry(channel_id).and_modify(|member| member.stated = in_force);
                }
                false
            }
        };
        let entry = &table.groups[&name];
        let changed = is_new || subscription_changed;
        let is_news = changed && entry.hears_news();
        drop(locked);
        if is_new {
            tracing::info!(group, %client_id, %peer, "a consumer joined");
        }
        GroupChange { changed, is_news, wants_subscriptions }
    }

    /// Who must hear that the group has changed.
    pub fn who_hears(&self, group: &str) -> Channels {
        let table = self.table.read();
        let group = table.groups.get(group).filter(|group| group.hears_news());
        group.map_or_else(Vec::new, |group| group.members.values().map(|member| Arc::clone(&member.client.channel)).collect())
    }

    /// A client says goodbye. The rest is told even when it was not there, as in the original. With its client id, unless the same client
    /// is still a member on another connection.
    pub fn unregister(&self, group: &str, channel: &dyn ClientChannel) -> (GroupChange, Option<Arc<str>>) {
        let mut table = self.table.write();
        let (change, left) = table.leave(group, channel.id());
        let is_elsewhere = |id: &Arc<str>| {
            table.groups.get(group).is_some_and(|group| group.members.values().any(|member| member.client.client_id == *id))
        };
        let gone = left.clone().filter(|id| !is_elsewhere(id));
        drop(table);
        log_left(group, left);
        (change, gone)
    }

    /// The connection is gone, and with it its place in every group. Groups whose members must hear of it.
    pub fn close(&self, channel: &dyn ClientChannel) -> Vec<Arc<str>> {
        if !self.table.read().groups_of_channel.contains_key(&channel.id()) {
            return Vec::new();
        }
        let mut table = self.table.write();
        let groups = table.groups_of_channel.remove(&channel.id()).unwrap_or_default();
        let left: Vec<_> = groups.into_iter().map(|group| (table.leave(&group, channel.id()), group)).collect();
        drop(table);
        let told = left.into_iter().filter_map(|((change, left), group)| {
            log_left(&group, left);
            (change.changed && change.is_news).then_some(group)
        });
        told.collect()
    }

    /// Members that have been silent for too long. The caller closes their connections, which unregisters them.
    pub fn silent_channels(&self) -> Channels {
        let now = self.clock.now_millis();
        let table = self.table.read();
        let members = table.groups.values().flat_map(|group| group.members.values());
        members
            .filter(|member| now - member.heard_millis > MEMBER_EXPIRES_MILLIS)
            .map(|member| Arc::clone(&member.client.channel))
            .collect()
    }

    pub fn mode(&self, group: &str) -> Option<ConsumeMode> {
        self.table.read().groups.get(group).map(|group| group.mode)
    }

    /// The group's mode and what it subscribes of the topic: `None` when nobody of the group is there.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<(ConsumeMode, Option<Arc<Subscription>>)> {
        let table = self.table.read();
        let group = table.groups.get(group)?;
        Some((group.mode, group.subscriptions.get(topic).cloned()))
    }

    pub fn client_ids(&self, group: &str) -> Vec<String> {
        let table = self.table.read();
        let Some(group) = table.groups.get(group) else { return Vec::new() };
        group.members.values().map(|member| member.client.client_id.to_string()).collect()
    }

    pub fn members(&self, group: &str) -> Vec<Client> {
        let table = self.table.read();
        let Some(group) = table.groups.get(group) else { return Vec::new() };
        group.members.values().map(|member| member.client.clone()).collect()
    }

    pub fn find_client(&self, group: &str, client_id: &str) -> Option<Client> {
        let table = self.table.read();
        let members = &table.groups.get(group)?.members;
        members.values().find(|member| &*member.client.client_id == client_id).map(|member| member.client.clone())
    }

    /// Whether this connection is a member of the group.
    pub fn is_member(&self, group: &str, channel: &dyn ClientChannel) -> bool {
        self.table.read().groups.get(group).is_some_and(|group| group.members.contains_key(&channel.id()))
    }

    pub fn view(&self, group: &str) -> Option<GroupView> {
        let table = self.table.read();
        let group = table.groups.get(group)?;
        Some(GroupView {
            mode: group.mode,
            members: group.members.values().map(|member| member.client.clone()).collect(),
            subscriptions: group.subscriptions.iter().map(|(topic, subscription)| (topic.to_string(), subscription.data.clone())).collect(),
        })
    }

    /// Groups whose members subscribe the topic now.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        let table = self.table.read();
        let Some(groups) = table.groups_of_topic.get(topic) else { return BTreeSet::new() };
        groups.iter().map(|group| group.to_string()).collect()
    }

    pub fn subscription_count(&self, group: &str) -> usize {
        self.table.read().groups.get(group).map_or(0, |group| group.subscriptions.len())
    }

    /// What the group subscribes of the topic, from its heartbeats or else from its pulls.
    pub fn known_subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        self.subscription(group, topic).and_then(|(_, subscription)| subscription).or_else(|| self.pulled_subscription(group, topic))
    }

    pub fn pulled_subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        self.pulled.read().groups.get(group)?.get(topic).cloned()
    }

    pub fn remember_pulled(&self, group: &str, topic: &str, subscription: &Arc<Subscription>) {
        let mut pulled = self.pulled.write();
        let pulled = &mut *pulled;
        let bytes = subscription.kept_bytes() + group.len();
        let before = pulled.groups.get(group).and_then(|topics| topics.get(topic)).map_or(0, |old| old.kept_bytes() + group.len());
        if pulled.bytes - before + bytes > PULLED_BYTES_MAX {
            return;
        }
        pulled.bytes = pulled.bytes - before + bytes;
        pulled.groups.entry(Arc::from(group)).or_default().insert(Arc::from(topic), Arc::clone(subscription));
    }

    /// Forgets subscriptions of pulls that were made long ago.
    pub fn expire_pulled(&self) {
        let oldest = self.clock.now_millis() - PULLED_SUBSCRIPTION_EXPIRES_MILLIS;
        let mut pulled = self.pulled.write();
        let pulled = &mut *pulled;
        pulled.bytes = 0;
        pulled.groups.retain(|group, topics| {
            topics.retain(|_, subscription| subscription.data.sub_version >= oldest);
            pulled.bytes += topics.values().map(|subscription| subscription.kept_bytes() + group.len()).sum::<usize>();
            !topics.is_empty()
        });
    }
}

/// Topics that a group subscribes since a moment ago, and those that it does not any more.
#[derive(Debug, Default)]
struct TopicsChange {
    added: Vec<Arc<str>>,
    removed: Vec<Arc<str>>,
}

impl TopicsChange {
    fn is_change(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }
}

impl Table {
    /// `changed` says whether the member was there; beside it its client id.
    fn leave(&mut self, group_name: &str, channel_id: u64) -> (GroupChange, Option<Arc<str>>) {
        let Some(group) = self.groups.get_mut(group_name) else { return (GroupChange::default(), None) };
        let left = group.members.remove(&channel_id);
        let mut topics = TopicsChange::default();
        if let Some(member) = &left {
            topics = group.withdraw(&member.stated);
        }
        if let Some(groups) = self.groups_of_channel.get_mut(&channel_id) {
            groups.remove(group_name);
            if groups.is_empty() {
                self.groups_of_channel.remove(&channel_id);
            }
        }
        let is_news = group.hears_news();
        if group.members.is_empty() {
            topics.removed.extend(group.subscriptions.keys().cloned());
            self.groups.remove(group_name);
        }
        topics.removed.iter().for_each(|topic| forget_topic_of(&mut self.groups_of_topic, topic, group_name));
        let change = GroupChange { changed: left.is_some(), is_news, wants_subscriptions: false };
        (change, left.map(|member| member.client.client_id))
    }

    fn note_topics(&mut self, group: &Arc<str>, change: &TopicsChange) {
        for topic in &change.removed {
            forget_topic_of(&mut self.groups_of_topic, topic, group);
        }
        for topic in &change.added {
            self.groups_of_topic.entry(Arc::clone(topic)).or_default().insert(Arc::clone(group));
        }
    }
}

impl Group {
    /// What a member states replaces what it stated before, also with an older version: its clock may have been set back. Among members the
    /// newest statement counts, so that they do not overwrite each other with each heartbeat. A replacement is no change of topics.
    fn state(&mut self, channel_id: u64, stated: Vec<SubscriptionData>, now: i64, is_new: bool) -> TopicsChange {
        let Some(member) = self.members.get_mut(&channel_id) else { return TopicsChange::default() };
        let mut before = std::mem::take(&mut member.stated);
        let client_id = Arc::clone(&member.client.client_id);
        let mut after = SubscriptionsByTopic::default();
        for mut data in stated {
            // A client that names no version means the present one.
            if data.sub_version == 0 {
                data.sub_version = now;
            }
            let is_same = |known: &&Arc<Subscription>| known.data == data;
            let topic = data.topic.as_str();
            let known = before.get(topic).filter(is_same).or_else(|| self.subscriptions.get(topic).filter(is_same)).cloned();
            after.insert(Arc::from(topic), known.unwrap_or_else(|| Arc::new(Subscription::of_heartbeat(data))));
        }
        before.retain(|topic, known| !after.get(topic).is_some_and(|kept| Arc::ptr_eq(kept, known)));
        self.members.entry(channel_id).and_modify(|member| member.stated = after.clone());
        let mut change = self.withdraw(&before);
        if is_new {
            // A client that is back speaks for itself; its old connection may not have been missed yet.
            let elsewhere = self.members.iter_mut().filter(|(id, other)| **id != channel_id && other.client.client_id == client_id);
            let old: Vec<SubscriptionsByTopic> = elsewhere.map(|(_, other)| std::mem::take(&mut other.stated)).collect();
            for stated in old {
                change.removed.extend(self.withdraw(&stated).removed);
            }
        }
        for (topic, statement) in after {
            match self.subscriptions.get(&topic) {
                Some(in_force) if statement.data.sub_version <= in_force.data.sub_version => {}
                Some(_) => drop(self.subscriptions.insert(topic, statement)),
                None => {
                    change.added.push(Arc::clone(&topic));
                    self.subscriptions.insert(topic, statement);
                }
            }
        }
        change
    }

    /// Statements that no longer hold: where one of them was in force, the newest of the others takes its place.
    fn withdraw(&mut self, statements: &SubscriptionsByTopic) -> TopicsChange {
        let mut change = TopicsChange::default();
        for (topic, withdrawn) in statements {
            let is_withdrawn = |statement: &&Arc<Subscription>| Arc::ptr_eq(statement, withdrawn);
            let others = || self.members.values().filter_map(|member| member.stated.get(topic));
            if self.subscriptions.get(topic).filter(is_withdrawn).is_none() || others().any(|other| is_withdrawn(&other)) {
                continue;
            }
            match others().max_by_key(|other| other.data.sub_version).cloned() {
                Some(newest) => drop(self.subscriptions.insert(Arc::clone(topic), newest)),
                None => {
                    self.subscriptions.remove(topic);
                    change.removed.push(Arc::clone(topic));
                }
            }
        }
        change
    }
}

fn log_left(group: &str, client_id: Option<Arc<str>>) {
    if let Some(client_id) = client_id {
        tracing::info!(group, %client_id, "a consumer left");
    }
}

fn forget_topic_of(groups_of_topic: &mut HashMap<Arc<str>, HashSet<Arc<str>>>, topic: &Arc<str>, group: &str) {
    if let Some(groups) = groups_of_topic.get_mut(topic) {
        groups.remove(group);
        if groups.is_empty() {
            groups_of_topic.remove(topic);
        }
    }
}
