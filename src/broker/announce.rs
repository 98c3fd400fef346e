// SPDX-License-Identifier: Apache-2.0
//! What name servers are told of this broker, and when: at its start, with each change, and when it leaves. `registration` tells it.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::Broker;
use super::persist::PersistError;
use super::registration::{BrokerSnapshot, Form, Identity, Learned, Neighbour, Registration, RegistrationSource};
use super::replication::slave::Slave;
use super::topics::Topics;
use crate::config::{AdvertiseRules, Advertised, BrokerConfig, ConfigCell};

/// How long an answer waits for the name servers to hear of a new topic. They are told in any case; a client that gets its
/// answer first only finds the route a moment later. Producers wait 3 s for theirs.
const ANNOUNCE_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the name servers are told of this broker: always as the configuration has it now, but for what waits for the next start.
struct ConfiguredBroker {
    config: Arc<ConfigCell>,
    started_with: Arc<BrokerConfig>,
    topics: Arc<Topics>,
    slave: Arc<Slave>,
    rules: AdvertiseRules,
}

impl RegistrationSource for ConfiguredBroker {
    fn snapshot(&self) -> BrokerSnapshot {
        let config = self.config.load();
        let advertised = Advertised::new(self.rules.clone(), &config.broker_ip1, config.is_given("brokerIP1"), config.listen_port as u16);
        let (data_version, topics) = self.topics.shared_snapshot();
        BrokerSnapshot {
            identity: identity(&config, &self.started_with),
            advertised,
            broker_permission: config.broker_permission,
            force: config.force_register,
            form: Form {
                compressed: config.compressed_register,
                part_topics: config.enable_split_registration.then_some(config.split_registration_size.max(0) as usize),
                single_topics: config.enable_single_topic_register,
            },
            acting_not_active_millis: self.started_with.enable_slave_acting_master.then_some(config.broker_not_active_timeout_millis),
            timeout: Duration::from_millis(config.register_broker_timeout_mills.max(0) as u64),
            data_version,
            topics,
        }
    }

    fn learn(&self, learned: Learned) {
        self.topics.mark_ordered(learned.ordered.iter().map(String::as_str));
        self.slave.learn_master(learned.master_addr, learned.ha_server_addr);
    }
}

fn identity(config: &BrokerConfig, started_with: &BrokerConfig) -> Identity {
    Identity {
        broker_name: started_with.broker_name.clone(),
        broker_addr: format!("{}:{}", config.broker_ip1, config.listen_port),
        cluster_name: started_with.broker_cluster_name.clone(),
        broker_id: started_with.broker_id,
        ha_server_addr: format!("{}:{}", config.broker_ip2, config.ha_listen_port),
    }
}

/// The addresses of `namesrvAddr`.
pub(super) fn name_servers(config: &BrokerConfig) -> Vec<String> {
    let mut addrs: Vec<String> = Vec::new();
    for addr in config.namesrv_addr.split(';').map(str::trim).filter(|addr| !addr.is_empty()) {
        if !addrs.iter().any(|known| known == addr) {
            addrs.push(addr.to_owned());
        }
    }
    addrs
}

impl Broker {
    pub(super) fn register(self: &Arc<Self>, neighbour: Option<(String, Arc<dyn Neighbour>)>) {
        let (config, topics) = (Arc::clone(&self.config), Arc::clone(&self.topics));
        let (started_with, rules) = (Arc::clone(&self.started_with), self.location.rules.clone());
        let slave = Arc::clone(&self.slave);
        let source = Arc::new(ConfiguredBroker { config, started_with, topics, slave, rules });
        let config = self.config.load();
        let period = Duration::from_millis(config.register_name_server_period.max(0) as u64);
        let registration = Registration::start(&name_servers(&config), neighbour, source, period, &self.runtime);
        drop(config);
        assert!(self.registration.set(registration).is_ok(), "a broker is started once");
        let broker = Arc::downgrade(self);
        self.config.on_change(Box::new(move |_| {
            if let Some(broker) = broker.upgrade() {
                broker.register_where_configured();
            }
        }));
    }

    /// From now on with the name servers of `namesrvAddr` as it is now.
    pub fn register_where_configured(&self) {
        if let Some(registration) = self.registration.get() {
            registration.register_with(&name_servers(&self.config.load()));
        }
    }

    /// As what it is registered: a change of the configuration that changes this is announced before it is answered.
    pub fn registered_as(&self) -> impl PartialEq + use<> {
        let config = self.config.load();
        (identity(&config, &self.started_with), config.broker_permission, name_servers(&config))
    }

    /// Its place in the tables of name servers.
    pub fn identity(&self) -> Identity {
        identity(&self.config.load(), &self.started_with)
    }

    /// Name servers that do not know of this broker.
    pub fn unreached_name_servers(&self) -> Vec<String> {
        self.registration.get().map(|registration| registration.unreached()).unwrap_or_default()
    }

    /// Tells the name servers that this broker leaves.
    pub async fn unregister(&self) {
        if let Some(registration) = self.registration.get() {
            registration.unregister().await;
        }
    }

    /// Writes the tables and tells the name servers, in the background.
    pub fn announce(self: &Arc<Self>) {
        self.announce_then(|_| ());
    }

    /// As `announce`; `then` runs when that is done, or after `ANNOUNCE_WAIT_MAX`, and hears whether `topics.json` is on the disk. When
    /// it is not, the topics hold all the same, and it is written with a later turn (`membership::start`).
    pub fn announce_then(self: &Arc<Self>, then: impl FnOnce(Result<(), PersistError>) + Send + 'static) {
        let broker = Arc::clone(self);
        let changes = self.topics.changes();
        self.runtime.spawn("announce", async move {
            let written = broker.write_topics(changes).await.unwrap_or(Err(PersistError::Panicked));
            if let Err(error) = &written {
                error!(%error, "topics could not be written; trying again");
            }
            if let Some(registration) = broker.registration.get() {
                tokio::select! {
                    () = registration.announce() => {}
                    () = broker.clock.sleep(ANNOUNCE_WAIT_MAX) => {}
                }
            }
            then(written);
        });
    }

    /// Writes `topics.json` unless it holds so many changes by the time its turn has come: thousands of topics that are made in
    /// one go are a few writes.
    async fn write_topics(self: &Arc<Self>, changes: u64) -> Option<Result<(), PersistError>> {
        let _turn = self.writing_topics.lock().await;
        if self.topics.is_written(changes) {
            return Some(Ok(()));
        }
        let broker = Arc::clone(self);
        self.runtime.spawn_blocking("persist topics", move || broker.topics.persist()).join().await
    }
}
