// SPDX-License-Identifier: Apache-2.0
//! Keeps the name servers told: which topics this broker has, that it lives, and that it leaves.
//!
//! One task per name server, so that a slow or dead one delays no other. Each tells its changes one after the other, always
//! from the newest table: a name server can never keep an older table than the one it was told last.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ferrocket_protocol::body::{KvTable, RegisterBrokerBody, TopicConfig, TopicConfigAndMappingSerializeWrapper};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::route::{
    QueryDataVersionRequestHeader, QueryDataVersionResponseHeader, RegisterBrokerRequestHeader, UnregisterBrokerRequestHeader,
};
use ferrocket_protocol::{RemotingCommand, fastjson, perm, request_code};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::broker::topics::Topic;
use crate::remoting::{CallError, RemotingClient};
use crate::runtime::{Runtime, Shutdown};

/// First pause after a name server could not be told; doubled up to the registration period.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// How long the original's broker waits for a name server at its shutdown; an orderly stop has 5 s in all.
const UNREGISTER_MAX: Duration = Duration::from_secs(1);

/// What the broker says of itself at this moment.
pub struct Told {
    pub broker_name: String,
    /// As name servers give it to clients.
    pub broker_addr: String,
    pub cluster_name: String,
    pub broker_id: i64,
    pub ha_server_addr: String,
    /// What all topics' permissions are cut down to.
    pub broker_permission: i32,
    /// Register always, or only where the name server says that its table is old.
    pub force: bool,
    pub timeout: Duration,
    pub data_version: DataVersion,
    pub topics: Vec<Arc<Topic>>,
}

/// Where the table comes from, and where ordered topics of a name server go to.
pub trait Source: Send + Sync + 'static {
    fn told(&self) -> Told;
    fn mark_ordered(&self, topics: &[String]);
}

pub struct Registration(Arc<Shared>);

struct Shared {
    name_servers: Vec<NameServer>,
    /// Announcements so far.
    announced: AtomicU64,
    source: Arc<dyn Source>,
    client: RemotingClient,
    runtime: Runtime,
    /// The broker leaves: nothing is told any more, lest it come back. Begins with the runtime's stop at the latest.
    leaving: Shutdown,
    period: Duration,
    mapping_version: DataVersion,
}

struct NameServer {
    addr: String,
    changed: Notify,
    /// The announcement up to which this name server was told, or could not be.
    done: watch::Sender<u64>,
    /// The last attempt to tell it was taken.
    reached: AtomicBool,
}

/// What one name server holds of us.
#[derive(Default)]
struct Held {
    topics: HashMap<Arc<str>, Arc<Topic>>,
    is_complete: bool,
    /// The connection it was told over: a new one may lead to a name server that began anew.
    connection: u64,
    /// What all its permissions were cut down to.
    broker_permission: i32,
}

impl Registration {
    /// Begins to register with every name server of `name_servers` ("host:port").
    pub fn start(name_servers: &[String], source: Arc<dyn Source>, period: Duration, runtime: &Runtime) -> Arc<Self> {
        let shared = Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            name_servers: name_servers
                .iter()
                .map(|addr| NameServer {
                    addr: addr.clone(),
                    changed: Notify::new(),
                    done: watch::Sender::new(0),
                    reached: AtomicBool::new(false),
                })
                .collect(),
            announced: AtomicU64::new(1),
            source,
            client: RemotingClient::watching(runtime, {
                let this = this.clone();
                // A name server whose connection is lost has forgotten us: it is told again at once.
                move |_| this.upgrade().iter().for_each(|shared| shared.wake_all())
            }),
            runtime: runtime.clone(),
            leaving: runtime.shutdown().child(),
            // As the original clamps it.
            period: period.clamp(Duration::from_secs(10), Duration::from_secs(60)),
            mapping_version: DataVersion::at(runtime.clock().now_millis()),
        });
        for at in 0..shared.name_servers.len() {
            runtime.spawn_essential("register with a name server", Arc::clone(&shared).keep_told(at));
        }
        Arc::new(Self(shared))
    }

    /// Resolves when every name server was told of the table as it is now, or could not be reached.
    pub async fn announce(&self) {
        let mine = self.0.announced.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.wake_all();
        for name_server in &self.0.name_servers {
            let mut done = name_server.done.subscribe();
            // The sender lives in `self`.
            let _ = done.wait_for(|done| *done >= mine).await;
        }
    }

    /// Those that could not be told the last time.
    pub fn unreached(&self) -> Vec<String> {
        let unreached = self.0.name_servers.iter().filter(|name_server| !name_server.reached.load(Ordering::Acquire));
        unreached.map(|name_server| name_server.addr.clone()).collect()
    }

    /// Leaves every name server, all at the same time. Nothing is announced after it.
    pub async fn unregister(&self) {
        self.0.leaving.begin();
        let told = self.0.source.told();
        let leaving: Vec<_> = (0..self.0.name_servers.len())
            .map(|at| {
                let header = UnregisterBrokerRequestHeader {
                    broker_name: told.broker_name.clone().into(),
                    broker_addr: told.broker_addr.clone().into(),
                    cluster_name: told.cluster_name.clone().into(),
                    broker_id: told.broker_id,
                };
                let request = RemotingCommand::request_with(request_code::UNREGISTER_BROKER, &header);
                let shared = Arc::clone(&self.0);
                self.0.runtime.spawn("unregister", async move {
                    let addr = &shared.name_servers[at].addr;
                    match shared.client.succeed(addr, request, UNREGISTER_MAX).await {
                        Ok(_) => info!(name_server = addr, "unregistered"),
                        Err(error) => warn!(name_server = addr, %error, "could not unregister"),
                    }
                })
            })
            .collect();
        for task in leaving {
            task.join().await;
        }
        self.0.client.close_all("the broker stops").await;
    }
}

impl Shared {
    fn wake_all(&self) {
        self.name_servers.iter().for_each(|name_server| name_server.changed.notify_one());
    }

    async fn keep_told(self: Arc<Self>, at: usize) {
        let name_server = &self.name_servers[at];
        let addr = &name_server.addr;
        let mut held = Held::default();
        let mut failures = 0;
        let mut periodic = false;
        while !self.leaving.has_begun() {
            let announced = self.announced.load(Ordering::Acquire);
            let Some(result) = self.leaving.or(self.tell(addr, &mut held, periodic)).await else { break };
            name_server.reached.store(result.is_ok(), Ordering::Release);
            name_server.done.send_replace(announced);
            let pause = match result {
                Ok(()) => {
                    failures = 0;
                    self.period
                }
                Err(error) => {
                    // Once per failure, not once per attempt.
                    if failures == 0 {
                        warn!(name_server = addr, %error, "could not register; trying again");
                    }
                    held = Held::default();
                    failures += 1;
                    self.period.min(RETRY_FIRST * 2u32.saturating_pow(failures - 1))
                }
            };
            let Some(by_time) = self.leaving.or(self.pause(name_server, pause, failures > 0)).await else { break };
            periodic = by_time;
        }
        // Nobody waits for what will not be told.
        name_server.done.send_replace(u64::MAX);
    }

    /// True when the pause went by, false when something changed before. While a name server cannot be reached a change does
    /// not cut the pause short: it only hears that it could not be told.
    async fn pause(&self, name_server: &NameServer, pause: Duration, unreachable: bool) -> bool {
        let mut sleep = self.runtime.clock().sleep(pause);
        loop {
            tokio::select! {
                () = &mut sleep => return true,
                () = name_server.changed.notified() => {
                    if !unreachable {
                        return false;
                    }
                    name_server.done.send_replace(self.announced.load(Ordering::Acquire));
                }
            }
        }
    }

    /// Tells what this name server does not hold yet; everything when `periodic` or when it holds nothing of us.
    async fn tell(&self, addr: &str, held: &mut Held, periodic: bool) -> Result<(), CallError> {
        let connection = self.client.peer(addr, self.source.told().timeout).await?;
        let told = self.source.told();
        if held.connection != connection.id() || held.broker_permission != told.broker_permission {
            *held = Held { connection: connection.id(), broker_permission: told.broker_permission, ..Held::default() };
        }
        let topics: Vec<&Arc<Topic>> = if periodic || !held.is_complete {
            if periodic && !told.force && !self.is_changed(addr, &told).await? {
                return Ok(());
            }
            told.topics.iter().collect()
        } else {
            let is_new = |topic: &&Arc<Topic>| held.topics.get(topic.topic_name.as_str()).is_none_or(|known| !Arc::ptr_eq(known, topic));
            told.topics.iter().filter(is_new).collect()
        };
        if topics.is_empty() && held.is_complete {
            return Ok(());
        }
        let response = self.client.succeed(addr, self.registration(&told, &topics), told.timeout).await?;
        self.learn_ordered_topics(&response);
        for topic in &topics {
            held.topics.insert(Arc::from(topic.topic_name.as_str()), Arc::clone(topic));
        }
        if held.topics.len() > told.topics.len() {
            let names: std::collections::HashSet<&str> = told.topics.iter().map(|topic| topic.topic_name.as_str()).collect();
            held.topics.retain(|name, _| names.contains(&**name));
        }
        if !held.is_complete {
            info!(name_server = addr, topics = topics.len(), "registered");
        }
        held.is_complete = true;
        Ok(())
    }

    async fn is_changed(&self, addr: &str, told: &Told) -> Result<bool, CallError> {
        let header = QueryDataVersionRequestHeader {
            broker_name: told.broker_name.clone().into(),
            broker_addr: told.broker_addr.clone().into(),
            cluster_name: told.cluster_name.clone().into(),
            broker_id: told.broker_id,
        };
        let request =
            RemotingCommand::request_with(request_code::QUERY_DATA_VERSION, &header).with_body(fastjson::to_vec(&told.data_version));
        let response = self.client.succeed(addr, request, told.timeout).await?;
        let header: QueryDataVersionResponseHeader = response.header().unwrap_or_default();
        Ok(header.changed)
    }

    fn registration(&self, told: &Told, topics: &[&Arc<Topic>]) -> RemotingCommand {
        let mask = if perm::is_readable(told.broker_permission) && perm::is_writable(told.broker_permission) {
            !0
        } else {
            told.broker_permission
        };
        let masked = |topic: &&Arc<Topic>| {
            let config = TopicConfig { perm: topic.perm & mask, ..topic.config().clone() };
            (config.topic_name.clone(), config)
        };
        let body = RegisterBrokerBody {
            topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper {
                data_version: told.data_version.clone(),
                mapping_data_version: self.mapping_version.clone(),
                topic_config_table: topics.iter().map(masked).collect(),
                ..TopicConfigAndMappingSerializeWrapper::default()
            },
            ..RegisterBrokerBody::default()
        };
        // 5.5 says `compressed=false` whatever `compressedRegister` is, so a compressed body could not be read.
        let body = body.encode(false);
        let header = RegisterBrokerRequestHeader {
            broker_name: told.broker_name.clone().into(),
            broker_addr: told.broker_addr.clone().into(),
            cluster_name: told.cluster_name.clone().into(),
            ha_server_addr: told.ha_server_addr.clone().into(),
            broker_id: told.broker_id,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: (crc32fast::hash(&body) & 0x7FFF_FFFF) as i32,
            ..RegisterBrokerRequestHeader::default()
        };
        RemotingCommand::request_with(request_code::REGISTER_BROKER, &header).with_body(body)
    }

    /// The answer carries the name server's ordered topics.
    fn learn_ordered_topics(&self, response: &RemotingCommand) {
        if response.body.is_empty() {
            return;
        }
        match fastjson::from_slice::<KvTable>(&response.body) {
            Ok(ordered) => self.source.mark_ordered(&ordered.table.into_keys().collect::<Vec<_>>()),
            Err(error) => warn!(%error, "the name server's ordered topics are unreadable"),
        }
    }
}
