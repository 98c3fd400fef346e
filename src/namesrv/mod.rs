// SPDX-License-Identifier: Apache-2.0
//! The name server: which brokers are there, which topics they serve, and a few settings that administrators leave with it.
//!
//! Keeps nothing on the disk but `kvConfig.json`; brokers bring the rest, again and again. Knows nothing of messages, and
//! nothing of the broker that may live in the same process but what it hands over (`own_broker`).

mod kv_config;
mod live;
mod own_broker;
mod processor;
mod route_info;
mod route_tables;
pub mod routes;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ferrocket_protocol::RemotingCommand;
use parking_lot::{Mutex, RwLock};

pub use kv_config::{KvConfig, Save};
pub use own_broker::OwnBroker;
pub use routes::serves;

use crate::config::{AdvertiseRules, Advertised, NamesrvConfigCell};
use crate::remoting::{Peer, RemotingClient, Replies, RequestHandler, SerialQueue};
use crate::runtime::Runtime;
use route_info::RouteInfo;
use route_tables::Rules;

/// The first look for silent brokers, as the original.
const FIRST_SCAN: Duration = Duration::from_secs(5);

pub struct NameServer {
    me: Weak<Self>,
    config: Arc<NamesrvConfigCell>,
    /// What administrators leave here for clients, on the disk.
    kv: KvConfig,
    routes: RouteInfo,
    /// Changes of the configuration and of the KV table, which wait for the disk.
    changes: SerialQueue,
    /// Addresses of brokers for clients of certain networks.
    advertise: AdvertiseRules,
    /// The broker of this process, whose address depends on who asks.
    own_broker: RwLock<Option<Advertised>>,
    /// Connections over which brokers registered, to close those that went silent.
    broker_peers: Mutex<HashMap<u64, Weak<Peer>>>,
    started_millis: i64,
    runtime: Runtime,
    client: RemotingClient,
}

impl NameServer {
    pub fn new(config: Arc<NamesrvConfigCell>, kv: KvConfig, advertise: AdvertiseRules, runtime: &Runtime) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            config,
            kv,
            routes: RouteInfo::default(),
            changes: SerialQueue::new("change", runtime),
            advertise,
            own_broker: RwLock::new(None),
            broker_peers: Mutex::default(),
            started_millis: runtime.clock().now_millis(),
            runtime: runtime.clone(),
            client: RemotingClient::new(runtime),
        })
    }

    /// The broker of this process, wherever it registers.
    pub fn set_own_broker(&self, advertised: Advertised) {
        *self.own_broker.write() = Some(advertised);
    }

    /// Begins to look for brokers that have gone silent.
    pub fn start(self: &Arc<Self>) {
        let server = Arc::clone(self);
        self.runtime.spawn_essential("silent brokers", async move {
            let shutdown = server.runtime.shutdown().clone();
            let mut wait = FIRST_SCAN;
            while shutdown.or(server.runtime.clock().sleep(wait)).await.is_some() {
                server.forget_silent_brokers();
                wait = Duration::from_millis(server.config.load().scan_not_active_broker_interval.max(1) as u64);
            }
        });
    }

    fn forget_silent_brokers(&self) {
        let (connections, changes) = self.routes.unregister_silent(self.now_millis(), self.rules());
        for connection in connections {
            let peer = self.broker_peers.lock().remove(&connection);
            if let Some(peer) = peer.and_then(|peer| peer.upgrade()) {
                peer.close("the broker has gone silent");
            }
        }
        processor::notify(self, changes);
    }

    /// The address of a broker as this peer reaches it.
    fn show(&self, addr: &mut String, peer: &Peer) {
        let own = self.own_broker.read();
        if let Some(own) = own.as_ref().filter(|own| own.registered() == addr) {
            *addr = own.for_peer(peer.remote_addr(), peer.local_addr());
        } else if let Some(shown) = self.advertise.for_any_broker(addr, peer.remote_addr()) {
            *addr = shown;
        }
    }

    fn remember(&self, peer: &Arc<Peer>) {
        self.broker_peers.lock().insert(peer.id(), Arc::downgrade(peer));
    }

    fn rules(&self) -> Rules {
        let config = self.config.load();
        Rules {
            delete_topics_not_registered: config.delete_topic_with_broker_registration,
            acting_master: config.support_acting_master,
            notify_min_id: config.notify_min_broker_id_changed,
        }
    }

    /// For what goes on beside the request.
    fn shared(&self) -> Arc<Self> {
        self.me.upgrade().expect("a name server lives in an Arc, as `new` makes it")
    }

    fn now_millis(&self) -> i64 {
        self.runtime.clock().now_millis()
    }
}

impl RequestHandler for NameServer {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        if let Some(response) = processor::process(self, peer, request) {
            replies.answer(request, response);
        }
    }

    fn connected(&self, _: &Arc<Peer>) {}

    /// A broker whose connection ends is gone; it comes back with its next registration.
    fn closed(&self, peer: &Arc<Peer>) {
        if self.broker_peers.lock().remove(&peer.id()).is_none() {
            return;
        }
        processor::notify(self, self.routes.unregister_connection(peer.id(), self.rules()));
    }
}
