// SPDX-License-Identifier: Apache-2.0
//! What happens to groups behind the requests' backs: clients that leave without a word, news that wait for their turn, tables
//! that have to reach the disk.

use std::sync::Arc;
use std::time::Duration;

use ferrocket_protocol::body::SubscriptionGroupConfig;

use super::Broker;
use super::client_channel::ClientChannel;
use super::consumers::GroupChange;
use super::persist::PersistError;

/// How often silent clients are looked for, and read rates sampled; the original's housekeeping period.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How often a table that could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// How long news wait when they are not told in real time.
const NEWS: Duration = Duration::from_secs(15);

/// A connection ended: its client leaves all its groups at once, and the others share the queues anew.
pub fn left(broker: &Broker, channel: &dyn ClientChannel) {
    broker.producers.close(channel);
    for group in broker.consumers.close(channel) {
        broker.group_news.tell(&broker.config.load(), &group);
    }
}

/// A member came or went: the others hear of it, unless the group does not want that.
pub fn tell(broker: &Broker, group_name: &str, group: Option<&SubscriptionGroupConfig>, change: &GroupChange) {
    if change.is_news && group.is_none_or(|group| group.notify_consumer_ids_changed_enable) {
        broker.group_news.tell(&broker.config.load(), group_name);
    }
}

/// Closes connections whose clients have not been heard for too long.
pub fn close_silent_clients(broker: &Broker) {
    let silent = broker.producers.silent_channels().into_iter().chain(broker.consumers.silent_channels());
    for channel in silent {
        tracing::warn!(peer = %channel.remote_addr(), "closing a client that sends no heartbeats");
        left(broker, &*channel);
        channel.close("no heartbeat");
    }
    broker.consumers.expire_pulled();
    broker.rebalance_locks.expire();
}

/// Groups and offsets, to the disk. Blocks on it.
pub fn persist_all(broker: &Broker) -> Result<(), PersistError> {
    let groups = broker.groups.persist();
    broker.consumer_offsets.persist()?;
    groups
}

/// Starts the tasks; they end with the runtime.
pub fn start(broker: &Arc<Broker>) {
    broker.hold.start(&broker.runtime);
    every(broker, "client housekeeping", HOUSEKEEPING, |broker| {
        close_silent_clients(broker);
        broker.consumer_offsets.sample_reads();
    });
    every(broker, "group news", NEWS, |broker| broker.group_news.tell_waiting());
    let interval = broker.config.load().flush_consumer_offset_interval.max(1) as u64;
    persist_each(broker, "consumer offsets", Duration::from_millis(interval), |broker| broker.consumer_offsets.persist());
    persist_changed_groups(broker);
    // Written with each change; here only what failed then.
    persist_each(broker, "unwritten topics", WRITE_AGAIN, |broker| broker.topics.persist());
    persist_each(broker, "unwritten groups", WRITE_AGAIN, |broker| broker.groups.persist());
}

fn every(broker: &Arc<Broker>, name: &'static str, period: Duration, work: impl Fn(&Broker) + Send + 'static) {
    let broker = Arc::clone(broker);
    let shutdown = broker.runtime.shutdown().clone();
    broker.runtime.clone().spawn_essential(name, async move {
        while shutdown.or(broker.clock.sleep(period)).await.is_some() {
            work(&broker);
        }
    });
}

fn persist_each(broker: &Arc<Broker>, name: &'static str, period: Duration, persist: fn(&Broker) -> Result<(), PersistError>) {
    let broker = Arc::clone(broker);
    let shutdown = broker.runtime.shutdown().clone();
    broker.runtime.clone().spawn_essential(name, async move {
        while shutdown.or(broker.clock.sleep(period)).await.is_some() {
            persist_once(&broker, name, persist).await;
        }
    });
}

/// A group that was made on first use is on the disk soon, not with the next period.
fn persist_changed_groups(broker: &Arc<Broker>) {
    let broker = Arc::clone(broker);
    let shutdown = broker.runtime.shutdown().clone();
    broker.runtime.clone().spawn_essential("subscription groups", async move {
        while shutdown.or(broker.groups.changed()).await.is_some() {
            persist_once(&broker, "subscription groups", |broker| broker.groups.persist()).await;
        }
    });
}

async fn persist_once(broker: &Arc<Broker>, name: &'static str, persist: fn(&Broker) -> Result<(), PersistError>) {
    let persisting = Arc::clone(broker);
    let outcome = broker.runtime.spawn_blocking(name, move || persist(&persisting)).join().await;
    if let Some(Err(why)) = outcome {
        tracing::error!(%why, "a table could not be written; the next turn tries again");
    }
}
