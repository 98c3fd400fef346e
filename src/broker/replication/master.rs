// SPDX-License-Identifier: Apache-2.0
//! The slaves of this master: where they connect, how many may, and how each stands. Java's DefaultHAService.
//!
//! Listens while the broker is a master (`broker/role`). Knows nothing of what a slave is sent (`feed`).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::feed::{FedSlave, Feed, FeedEnd};
use crate::config::{BrokerConfig, BrokerRole, ConfigCell};
use crate::runtime::{Runtime, Seldom, Shutdown};
use crate::store::{CopiesWanted, MessageStore};

/// Slaves that are connected at a time. Each may keep one piece of the log, of `haTransferBatchSize` bytes, beside its socket.
pub const SLAVES_MAX: usize = 64;
/// Pause after a connection could not be accepted, as when no descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

pub struct Slaves {
    store: Arc<MessageStore>,
    config: Arc<ConfigCell>,
    runtime: Runtime,
    reconfigured: Arc<Notify>,
    serving: Mutex<Option<Arc<Serving>>>,
}

/// From the start of the role to its end.
struct Serving {
    /// `None` when the role has ended: the port is free then.
    socket: Mutex<Option<TcpListener>>,
    ended: Shutdown,
    /// By number, in the order in which they came.
    connected: Mutex<BTreeMap<u64, Arc<FedSlave>>>,
    last_number: AtomicU64,
    refusals: Seldom,
    /// One for each cause: a slave that is refused comes again every 5 s.
    ends: Mutex<HashMap<Discriminant<FeedEnd>, Seldom>>,
}

impl Serving {
    /// A slave says where its log ends. If a connection of its own from before is not closed yet, it must not count as a second copy: all
    /// from its address count again when they have said so again.
    fn doubt_those_before(&self, number: u64, store: &MessageStore) {
        let connected = self.connected.lock();
        let Some(ip) = connected.get(&number).map(|slave| slave.addr.ip()) else { return };
        connected.range(..number).filter(|(_, slave)| slave.addr.ip() == ip).for_each(|(_, slave)| slave.doubt(store));
    }

    fn tell(&self, slave: SocketAddr, ended: &FeedEnd, now_nanos: u64) {
        if !self.ends.lock().entry(discriminant(ended)).or_default().is_due(now_nanos) {
            return;
        }
        match ended {
            FeedEnd::Left | FeedEnd::Stopped => info!(%slave, "no more is sent to a slave: {ended}"),
            _ => warn!(%slave, "a slave's connection is closed: {ended}; more of this is said once a minute"),
        }
    }
}

/// How a slave stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlaveFigures {
    pub addr: SocketAddr,
    /// Where its log ends, as it has said; -1 before it has.
    pub reported_offset: i64,
    /// What the master's log has behind that.
    pub behind_bytes: i64,
    /// For how long the slave's log has not ended where the master's did; 0 while it does.
    pub behind_millis: u64,
    /// Where the bytes end that were sent to it; -1 before any were.
    pub sent_offset: i64,
    /// In the last whole second.
    pub sent_bytes_in_second: u64,
    /// It lacks less than `haMaxGapNotInSync`.
    pub is_in_sync: bool,
}

impl Slaves {
    pub(in crate::broker) fn new(store: Arc<MessageStore>, config: Arc<ConfigCell>, runtime: Runtime) -> Self {
        let reconfigured = Arc::new(Notify::new());
        let news = Arc::clone(&reconfigured);
        config.on_change(Box::new(move |_| news.notify_waiters()));
        Self { store, config, runtime, reconfigured, serving: Mutex::default() }
    }

    /// Listens on `haListenPort` of `bindAddress` (port 0: one that the machine chooses); the port. What the original does not: it listens on
    /// every address.
    pub(in crate::broker) fn start(self: &Arc<Self>, port: u16) -> io::Result<u16> {
        let addr = SocketAddr::new(self.config.load().bind_address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port);
        let cannot = |error: io::Error| io::Error::new(error.kind(), format!("haListenPort: slaves cannot connect to {addr}: {error}"));
        let socket = std::net::TcpListener::bind(addr).map_err(cannot)?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        let serving = Arc::new(Serving {
            socket: Mutex::new(Some(self.runtime.register(|| TcpListener::from_std(socket))?)),
            ended: self.runtime.shutdown().child(),
            connected: Mutex::default(),
            last_number: AtomicU64::new(0),
            refusals: Seldom::default(),
            ends: Mutex::default(),
        });
        *self.serving.lock() = Some(Arc::clone(&serving));
        let slaves = Arc::clone(self);
        self.runtime.spawn_essential("accept slaves", async move { slaves.accept(&serving).await });
        Ok(port)
    }

    /// When it returns the port is free, and the connections are about to end.
    pub(in crate::broker) fn stop(&self) {
        if let Some(serving) = self.serving.lock().take() {
            drop(serving.socket.lock().take());
            serving.ended.begin();
        }
    }

    /// Those that are connected now, by address.
    pub fn figures(&self) -> Vec<SlaveFigures> {
        let Some(serving) = self.serving.lock().clone() else { return Vec::new() };
        let slaves: Vec<Arc<FedSlave>> = serving.connected.lock().values().cloned().collect();
        let (end, now) = (self.store.max_phy_offset(), self.runtime.clock().nanos());
        let max_gap = i64::from(self.config.load().ha_max_gap_not_in_sync);
        let figures = slaves.iter().map(|slave| {
            let reported_offset = slave.reported();
            // One that has just said so may be ahead of the end that was looked at before.
            let behind_bytes = (end - reported_offset).max(0);
            let behind_nanos = if behind_bytes == 0 { 0 } else { now.saturating_sub(slave.caught_up_nanos()) };
            SlaveFigures {
                addr: slave.addr,
                reported_offset,
                behind_bytes,
                behind_millis: behind_nanos / 1_000_000,
                sent_offset: slave.sent(),
                sent_bytes_in_second: slave.bytes_in_second(now),
                is_in_sync: behind_bytes < max_gap,
            }
        });
        let mut figures: Vec<SlaveFigures> = figures.collect();
        figures.sort_by_key(|figures| figures.addr);
        figures
    }

    async fn accept(self: &Arc<Self>, serving: &Arc<Serving>) {
        let accept_all = async {
            loop {
                let accepted = std::future::poll_fn(|context| match &*serving.socket.lock() {
                    Some(socket) => socket.poll_accept(context).map(Some),
                    None => Poll::Ready(None),
                });
                match accepted.await {
                    Some(Ok((stream, addr))) => self.admit(serving, stream, addr),
                    Some(Err(error)) => {
                        if serving.refusals.is_due(self.runtime.clock().nanos()) {
                            warn!(%error, "a slave's connection could not be accepted");
                        }
                        self.runtime.clock().sleep(ACCEPT_RETRY).await;
                    }
                    None => return,
                }
            }
        };
        serving.ended.or(accept_all).await;
    }

    fn admit(self: &Arc<Self>, serving: &Arc<Serving>, stream: TcpStream, addr: SocketAddr) {
        let now = self.runtime.clock().nanos();
        let number = serving.last_number.fetch_add(1, Ordering::Relaxed);
        let slave = Arc::new(FedSlave::new(SocketAddr::new(addr.ip().to_canonical(), addr.port()), number, now));
        {
            let mut connected = serving.connected.lock();
            // Who has not said where his log ends may be anybody.
            let waiting = || connected.iter().find(|(_, slave)| slave.reported() < 0).map(|(number, _)| *number);
            let longest_waiting = if connected.len() < SLAVES_MAX { None } else { waiting() };
            if let Some(displaced) = longest_waiting.and_then(|number| connected.remove(&number)) {
                displaced.displaced.notify_one();
            }
            if connected.len() >= SLAVES_MAX {
                if serving.refusals.is_due(now) {
                    warn!(slave = %slave.addr, slaves = SLAVES_MAX, "no more slaves may connect: it is closed");
                }
                return;
            }
            connected.insert(number, Arc::clone(&slave));
        }
        if let Err(error) = stream.set_nodelay(true) {
            // Of a connection that is gone already, which its task sees.
            info!(slave = %slave.addr, %error, "a slave's socket takes no options");
        }
        let feed = Feed {
            slave,
            stream,
            store: Arc::clone(&self.store),
            config: Arc::clone(&self.config),
            runtime: self.runtime.clone(),
            reconfigured: Arc::clone(&self.reconfigured),
            reported_first: Notify::new(),
            on_first_report: {
                let (serving, store) = (Arc::downgrade(serving), Arc::clone(&self.store));
                Box::new(move || {
                    if let Some(serving) = serving.upgrade() {
                        serving.doubt_those_before(number, &store);
                    }
                })
            },
        };
        let serving = Arc::clone(serving);
        self.runtime.spawn("slave", async move {
            let ended = serving.ended.or(feed.run()).await.unwrap_or(FeedEnd::Stopped);
            feed.slave.doubt(&feed.store);
            serving.connected.lock().remove(&number);
            serving.tell(feed.slave.addr, &ended, feed.runtime.clock().nanos());
        });
    }
}

/// What the store is to know of slaves: only a SYNC_MASTER waits for them.
pub fn copies(config: &BrokerConfig) -> CopiesWanted {
    let count = |value: i32| value.max(1) as usize;
    if config.broker_role != BrokerRole::SyncMaster {
        return CopiesWanted::DEFAULT;
    }
    CopiesWanted {
        in_sync_replicas: count(config.in_sync_replicas),
        refused_without: config.enable_slave_acting_master,
        min_in_sync_replicas: config.enable_auto_in_sync_replicas.then(|| count(config.min_in_sync_replicas)),
        max_gap_not_in_sync: i64::from(config.ha_max_gap_not_in_sync),
        slave_timeout_millis: config.slave_timeout.max(0) as u64,
    }
}
