// SPDX-License-Identifier: Apache-2.0
//! Where this broker is: in messages and message ids, for name servers, and for each peer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Broker;
use crate::config::{AdvertiseRules, Advertised};
use crate::remoting::Peer;

/// Where this broker says it is.
#[derive(Clone, Debug)]
pub struct Location {
    /// `brokerIP1` as name servers are told it; when it was not set, the machine's first address that is not loopback.
    pub host: String,
    /// The address behind `host`, stored in every message.
    pub ip: IpAddr,
    /// A person set `brokerIP1`.
    pub is_set: bool,
    pub rules: AdvertiseRules,
    /// The port that requests come in on; 0 until it is known (`Broker::listening_on`).
    pub port: u16,
}

/// Where this broker was at its start, as stored in messages and as put into message ids. As in the original a `brokerIP1` or
/// `listenPort` that is changed later changes neither, only what name servers are told.
#[derive(Debug)]
pub struct Address {
    /// `brokerIP1:listenPort`, the stored host of every message.
    pub store_host: SocketAddr,
    pub advertised: Advertised,
}

/// This broker's address as it is stored, and as a peer reaches it.
#[derive(Clone, Copy, Debug)]
pub struct Hosts {
    pub store: SocketAddr,
    pub for_peer: SocketAddr,
}

impl Address {
    pub(super) fn at(location: &Location, port: u16) -> Self {
        Self {
            store_host: SocketAddr::new(location.ip, port),
            advertised: Advertised::new(location.rules.clone(), &location.host, location.is_set, port),
        }
    }
}

impl Broker {
    /// The port that was bound, when the configuration left the choice (`listenPort=0`).
    pub fn listening_on(&self, port: u16) {
        self.address.store(Arc::new(Address::at(&self.location, port)));
        self.config.assume(|config| {
            config.listen_port = i32::from(port);
            if config.ha_listen_port <= 0 {
                config.ha_listen_port = i32::from(port) + 1;
            }
        });
    }

    pub fn address(&self) -> Arc<Address> {
        self.address.load_full()
    }

    pub fn store_host(&self) -> SocketAddr {
        self.address.load().store_host
    }

    /// The address by which `peer` can reach this broker; the stored one where the rule for its network is a name.
    pub fn address_for(&self, peer: &Peer) -> SocketAddr {
        self.hosts_for(peer).for_peer
    }

    pub fn hosts_for(&self, peer: &Peer) -> Hosts {
        let address = self.address.load();
        let store = address.store_host;
        Hosts { store, for_peer: address.advertised.socket_for_peer(peer.remote_addr(), peer.local_addr()).unwrap_or(store) }
    }
}
