// SPDX-License-Identifier: Apache-2.0
//! The broker's services: topics, groups, offsets, clients, held pulls, delayed messages. None of them answers a client.
//!
//! This file assembles them around the store, starts and stops them in order, and holds what concerns several of them.

mod address;
mod announce;
pub mod attributes;
pub mod checkpointed;
pub mod client_channel;
pub mod consumer_offsets;
pub mod consumers;
pub mod due;
pub mod figures;
pub mod filter;
pub mod flow_control;
pub mod group_news;
pub mod groups;
pub mod hold;
pub mod membership;
pub mod persist;
pub mod producers;
pub mod pull;
pub mod rebalance_lock;
pub mod registration;
pub mod replication;
pub mod retry;
pub mod role;
pub mod schedule;
pub mod send;
pub mod stats;
pub mod topics;
pub mod transaction;
pub mod unserved;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{Datelike, Timelike};
use ferrocket_protocol::message::id::{Id, UniqueKeys};
use ferrocket_protocol::topic_names;
use parking_lot::Mutex;
use thiserror::Error;

use crate::config::{BrokerConfig, ConfigCell};
use crate::remoting::{Peer, ReadBatch};
use crate::runtime::{Runtime, SharedClock, local_time};
use crate::store::{ArrivalListener, Fs, MessageStore, StoreConfig, StoreError};

pub use self::address::{Address, Hosts, Location};
use self::consumer_offsets::ConsumerOffsets;
use self::consumers::Consumers;
use self::flow_control::FlowControl;
use self::group_news::GroupNews;
use self::groups::Groups;
use self::hold::Hold;
use self::persist::{ConfigFile, PersistError};
use self::producers::Producers;
use self::rebalance_lock::RebalanceLocks;
use self::registration::{Neighbour, Registration};
use self::replication::master::Slaves;
use self::replication::members::{self, Members};
use self::replication::pre_online;
use self::replication::slave::Slave;
use self::role::{Role, RoleState};
use self::schedule::{Schedule, ScheduleError};
use self::stats::Stats;
use self::topics::{QUEUES_MAX, Topic, Topics};
use self::transaction::Transactions;

/// Between group and topic in the retry topics that the original's POP makes: its second and its first form.
const POP_RETRY_SEPARATORS: [char; 2] = ['+', '_'];
const MILLIS_PER_DAY: i64 = 86_400_000;
/// The original's sampling period for rates.
const SAMPLE_PERIOD: Duration = Duration::from_secs(10);

/// What a broker is made of.
pub struct Parts {
    pub config: Arc<ConfigCell>,
    pub store_config: StoreConfig,
    pub fs: Arc<dyn Fs>,
    pub clock: SharedClock,
    pub runtime: Runtime,
    pub location: Location,
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Persist(#[from] PersistError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

pub struct Broker {
    pub config: Arc<ConfigCell>,
    pub clock: SharedClock,
    pub runtime: Runtime,
    pub store: Arc<MessageStore>,
    pub topics: Arc<Topics>,
    pub groups: Groups,
    pub consumer_offsets: ConsumerOffsets,
    pub consumers: Arc<Consumers>,
    pub producers: Producers,
    pub group_news: GroupNews,
    pub hold: Arc<Hold>,
    pub rebalance_locks: RebalanceLocks,
    pub schedule: Arc<Schedule>,
    pub transactions: Arc<Transactions>,
    pub slave: Arc<Slave>,
    pub slaves: Arc<Slaves>,
    pub members: Members,
    pub stats: Stats,
    pub flow_control: Arc<FlowControl>,
    /// Sends to queues that are being loaded: counted by themselves, so that a slow disk refuses no send to the others.
    pub cold_flow_control: Arc<FlowControl>,
    /// Replies whose push to the client that asked has not been answered, or that are being stored.
    pub reply_flow_control: Arc<FlowControl>,
    standing: Mutex<RoleState>,
    location: Location,
    address: Arc<ArcSwap<Address>>,
    registration: OnceLock<Arc<Registration>>,
    /// One announcement at a time writes the topics.
    writing_topics: tokio::sync::Mutex<()>,
    /// Whether groups pull or pop, as a master says; nothing here goes by it yet.
    request_modes_file: ConfigFile,
    unique_keys: UniqueKeys,
    started_millis: i64,
    /// The configuration of the start: what waits for the next one is read here, as the broker's name and its cluster.
    pub started_with: Arc<BrokerConfig>,
}

/// Whether a request may wait for the disk where it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    MustNotWait,
    MayWait,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({})", self.started_with.broker_name)
    }
}

/// New messages wake whoever waits for them.
struct Arrivals {
    hold: Arc<Hold>,
    schedule: Arc<Schedule>,
}

impl ArrivalListener for Arrivals {
    fn arriving(&self, topic: &str, queue_id: i32, max_offset: i64, tags_code: i64, _store_time: i64) {
        if topic == topic_names::SCHEDULE {
            // The tags code of a delayed message is the moment it is due.
            self.schedule.arriving(queue_id, tags_code);
        }
        self.hold.arriving(topic, queue_id, max_offset, tags_code);
    }

    /// One write per producer, by the thread that flushed.
    fn round(&self, answers: &mut dyn FnMut()) {
        let _batch = ReadBatch::begin();
        answers();
    }
}

/// What could not be brought to the disk.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Persist(#[from] PersistError),
}

impl Broker {
    /// Loads the tables, opens and recovers the store. Nothing runs yet.
    pub fn open(parts: Parts) -> Result<Arc<Self>, OpenError> {
        let Parts { config: cell, store_config, fs, clock, runtime, location } = parts;
        let config = cell.load();
        let config_dir: PathBuf = store_config.store_path_root_dir.join("config");
        let file = |name: &str| ConfigFile::new(Arc::clone(&fs), config_dir.join(name));
        let topics = Topics::load(file("topics.json"), &config, Arc::clone(&clock))?;
        let schedule = Arc::new(Schedule::load(
            file("delayOffset.json"),
            &config.message_delay_level,
            config.delay_offset_update_version_step,
            config.flush_delay_offset_interval,
            Arc::clone(&clock),
            runtime.parker(),
        )?);
        let unique_keys = UniqueKeys::new(location.ip, std::process::id(), clock.now_millis() as u32);
        let hold = Arc::new(Hold::new(Arc::clone(&clock)));
        let arrivals = Arc::new(Arrivals { hold: Arc::clone(&hold), schedule: Arc::clone(&schedule) });
        let halves_file = store_config.store_path_root_dir.join("ferrocket.halves");
        let store = MessageStore::open(store_config, Arc::clone(&fs), Arc::clone(&clock), arrivals)?;
        // The ports are open before the role starts.
        store.set_copy(Role::of(&config) == Role::Slave);
        let consumer_offsets = ConsumerOffsets::load(file("consumerOffset.json"), Arc::clone(&clock))?;
        let transaction_parts = transaction::Parts {
            store: Arc::clone(&store),
            config: Arc::clone(&cell),
            clock: Arc::clone(&clock),
            parker: runtime.parker(),
            snapshot: ConfigFile::new(Arc::clone(&fs), halves_file),
            metrics: file("transactionMetrics"),
        };
        let standing = RoleState::new(Role::of(&config));
        let transactions = Transactions::open(transaction_parts, &consumer_offsets)?;
        let consumers = Arc::new(Consumers::new(Arc::clone(&clock)));
        Ok(Arc::new(Self {
            started_millis: clock.now_millis(),
            started_with: Arc::clone(&config),
            groups: Groups::load(file("subscriptionGroup.json"), Arc::clone(&cell), Arc::clone(&clock))?,
            consumer_offsets,
            group_news: GroupNews::new(runtime.clone(), Arc::clone(&consumers)),
            consumers,
            producers: Producers::new(Arc::clone(&clock)),
            hold,
            rebalance_locks: RebalanceLocks::new(Arc::clone(&clock)),
            slaves: Arc::new(Slaves::new(Arc::clone(&store), Arc::clone(&cell), runtime.clone())),
            members: Members::new(&config, store.max_phy_offset(), &runtime),
            config: cell,
            clock,
            runtime,
            store,
            topics: Arc::new(topics),
            schedule,
            transactions: Arc::new(transactions),
            slave: Arc::default(),
            stats: Stats::default(),
            flow_control: Arc::new(FlowControl::default()),
            cold_flow_control: Arc::new(FlowControl::default()),
            reply_flow_control: Arc::new(FlowControl::default()),
            address: Arc::new(ArcSwap::from_pointee(Address::at(&location, location.port))),
            standing,
            location,
            registration: OnceLock::new(),
            writing_topics: tokio::sync::Mutex::new(()),
            request_modes_file: file("messageRequestMode.json"),
            unique_keys,
        }))
    }

    /// Starts what runs beside the requests, and registers with the name servers of `namesrvAddr`; `neighbour` is the one of this
    /// process, with the address that it has there.
    pub fn start(self: &Arc<Self>, neighbour: Option<(String, Arc<dyn Neighbour>)>) -> std::io::Result<()> {
        self.store.start(&self.runtime)?;
        self.start_role()?;
        membership::start(self);
        pre_online::start(self, neighbour);
        members::start(self);
        let this = Arc::downgrade(self);
        self.config.on_change(Box::new(move |config| this.upgrade().iter().for_each(|broker| broker.obey_role(config))));
        let broker = Arc::clone(self);
        let shutdown = self.runtime.shutdown().clone();
        self.runtime.spawn_essential("broker samples", async move {
            let mut day = local_time(broker.clock.now_millis()).num_days_from_ce();
            while shutdown.or(broker.clock.sleep(SAMPLE_PERIOD)).await.is_some() {
                broker.topics.sample_rates();
                let today = local_time(broker.clock.now_millis()).num_days_from_ce();
                if today != day {
                    day = today;
                    broker.stats.record_morning(broker.topics.put_total());
                }
            }
        });
        Ok(())
    }

    /// Stops delivering, closes the store, writes the tables. Requests must have ended before.
    pub fn stop(&self) -> Result<(), WriteError> {
        // Whatever failed, the tables are written.
        let stored = self.close_store();
        self.persist_tables()?;
        stored
    }

    /// Stops delivering and closes the store. Delivery positions must not run ahead of what the disk holds, so they are written last.
    pub fn close_store(&self) -> Result<(), WriteError> {
        self.end_role();
        self.store.shutdown()?;
        let delivered = self.schedule.persist();
        // Its snapshot stands for an offset, which is written behind it whatever `persist_tables` has written meanwhile.
        self.transactions.persist(&self.consumer_offsets)?;
        self.consumer_offsets.persist()?;
        Ok(delivered?)
    }

    /// Topics, groups and consumer offsets.
    pub fn persist_tables(&self) -> Result<(), WriteError> {
        let topics = self.topics.persist();
        membership::persist_all(self)?;
        Ok(topics?)
    }

    /// The topic, its messages and what groups have consumed of it. Blocks on the disk, which has all of it when this returns, but for
    /// `topics.json`.
    pub fn delete_topic(&self, name: &str) -> Result<(), WriteError> {
        if self.config.load().clear_retry_topic_when_delete_topic {
            for group in self.consumer_offsets.groups_of(name) {
                for separator in POP_RETRY_SEPARATORS {
                    let retry = format!("{}{separator}{name}", topic_names::retry_topic(&group));
                    if self.topics.contains(&retry) {
                        self.delete_one_topic(&retry)?;
                    }
                }
            }
        }
        self.delete_one_topic(name)
    }

    fn delete_one_topic(&self, name: &str) -> Result<(), WriteError> {
        let _leaving = self.topics.delete(name);
        self.consumer_offsets.remove_topic(name);
        self.hold.forget_topic(name);
        // Before the queues go: an offset that came back after a kill would pass over the messages of a new topic of this name. A full
        // disk refuses the offsets, but must not keep the queues.
        let written = self.consumer_offsets.persist();
        self.store.delete_topic(name)?;
        Ok(written?)
    }

    /// A connection has ended.
    pub fn peer_closed(&self, peer: &Peer) {
        membership::left(self, peer);
    }

    pub fn started_millis(&self) -> i64 {
        self.started_millis
    }

    /// A UNIQ_KEY for a message whose client gave it none.
    pub fn next_unique_key(&self) -> Id {
        let now = self.clock.now_millis();
        let local = local_time(now);
        let days = i64::from(local.day0());
        let millis_of_day = i64::from(local.num_seconds_from_midnight()) * 1_000 + i64::from(local.nanosecond() / 1_000_000);
        self.unique_keys.next(now, now - days * MILLIS_PER_DAY - millis_of_day)
    }

    /// The queues below `count` of a topic, for a list: all of them, or, of one that has more than may be made, those with something
    /// stored and those that `others` adds.
    pub fn queues_to_list(&self, topic: &Topic, count: i32, others: impl FnOnce() -> BTreeSet<i32>) -> Vec<i32> {
        if count <= QUEUES_MAX {
            return (0..count).collect();
        }
        let mut queues = others();
        queues.extend(self.store.queue_ids(&topic.topic_name));
        queues.into_iter().filter(|queue_id| (0..count).contains(queue_id)).take(QUEUES_MAX as usize).collect()
    }

    /// Counts messages that were put, as the original does: under the topic that they really went to.
    pub fn count_put(&self, topic: &Topic, messages: u64, bytes: u64) {
        topic.puts.add(messages, bytes);
    }

    /// As `count_put`, by the topic's name.
    pub fn count_put_to(&self, topic: &str, messages: u64, bytes: u64) {
        if let Some(topic) = self.topics.get(topic) {
            self.count_put(&topic, messages, bytes);
        }
    }
}
