// SPDX-License-Identifier: Apache-2.0
//! The addresses that gave a sign of life: which brokers registered there, and over which connection.
//!
//! Found by address and by connection, so that an end of many brokers costs no more than their number.

use std::collections::{BTreeMap, HashMap, HashSet};

use ferrocket_protocol::data_version::DataVersion;

use super::route_tables::{Departure, Registration};

/// Silence after which a broker is forgotten, when it did not say its own.
pub(super) const BROKER_EXPIRY_MILLIS: i64 = 120_000;

/// Brokers that one connection may register, at most. A broker has a connection of its own, and a container of brokers has a few
/// dozen; without an end, one client would fill the memory and make each request for the whole cluster a long one.
pub(super) const BROKERS_OF_A_CONNECTION: usize = 1024;

/// In the place of a connection: what the broker of this process says of itself. No peer has this number.
pub(super) const OWN_BROKER: u64 = u64::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BrokerAddress {
    pub cluster: String,
    pub addr: String,
}

#[derive(Clone, Debug)]
pub(super) struct Live {
    pub last_update_millis: i64,
    pub expiry_millis: i64,
    pub data_version: DataVersion,
    pub connection: u64,
    pub ha_server_addr: String,
    /// The brokers of this address with their ids: one, unless several say that they live there.
    brokers: BTreeMap<String, i64>,
}

#[derive(Default)]
pub(super) struct LiveTable {
    live: HashMap<BrokerAddress, Live>,
    connections: HashMap<u64, Connection>,
}

#[derive(Default)]
struct Connection {
    addresses: HashSet<BrokerAddress>,
    /// Of all its addresses together.
    brokers: usize,
}

impl LiveTable {
    pub(super) fn get(&self, at: &BrokerAddress) -> Option<&Live> {
        self.live.get(at)
    }

    /// A sign of life; an address that is not known stays unknown.
    pub(super) fn touch(&mut self, at: &BrokerAddress, now_millis: i64) {
        if let Some(live) = self.live.get_mut(at) {
            live.last_update_millis = now_millis;
        }
    }

    /// May the connection of this registration register one more, if it is one more?
    pub(super) fn has_room(&self, at: &BrokerAddress, wanted: &Registration) -> bool {
        let here = self.live.get(at);
        let brought = here.map_or(1, |live| live.brokers.len() + usize::from(!live.brokers.contains_key(&wanted.name)));
        let its_own = here.filter(|live| live.connection == wanted.connection).map_or(0, |live| live.brokers.len());
        let held = self.connections.get(&wanted.connection).map_or(0, |connection| connection.brokers);
        brought <= its_own || held - its_own + brought <= BROKERS_OF_A_CONNECTION
    }

    /// The registered broker lives here from now on; was the address unknown until now?
    pub(super) fn put(&mut self, at: &BrokerAddress, wanted: &Registration, now_millis: i64) -> bool {
        let mut brokers = self.remove(at).unwrap_or_default();
        let is_new = brokers.is_empty();
        brokers.insert(wanted.name.clone(), wanted.id);
        let connection = self.connections.entry(wanted.connection).or_default();
        connection.addresses.insert(at.clone());
        connection.brokers += brokers.len();
        let live = Live {
            last_update_millis: now_millis,
            expiry_millis: wanted.expiry_millis.unwrap_or(BROKER_EXPIRY_MILLIS),
            data_version: wanted.data_version.clone(),
            connection: wanted.connection,
            ha_server_addr: wanted.ha_server_addr.clone(),
            brokers,
        };
        self.live.insert(at.clone(), live);
        is_new
    }

    /// The broker lives here no longer; the address goes with the last one.
    pub(super) fn leave(&mut self, at: &BrokerAddress, name: &str) {
        let Some(live) = self.live.get_mut(at) else {
            return;
        };
        let left = usize::from(live.brokers.remove(name).is_some());
        if let Some(connection) = self.connections.get_mut(&live.connection) {
            connection.brokers -= left;
        }
        if live.brokers.is_empty() {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: &BrokerAddress) -> Option<BTreeMap<String, i64>> {
        let live = self.live.remove(at)?;
        if let Some(connection) = self.connections.get_mut(&live.connection) {
            connection.addresses.remove(at);
            connection.brokers -= live.brokers.len();
            if connection.addresses.is_empty() {
                self.connections.remove(&live.connection);
            }
        }
        Some(live.brokers)
    }

    /// Everything whose last registration came over this connection.
    pub(super) fn of_connection(&self, connection: u64) -> Vec<Departure> {
        let addresses = self.connections.get(&connection).into_iter().flat_map(|connection| &connection.addresses);
        addresses.filter_map(|at| Some((at, self.live.get(at)?))).flat_map(|(at, live)| departures(at, live)).collect()
    }

    /// Everything that was silent for too long, and the connections that it came over.
    pub(super) fn silent(&self, now_millis: i64) -> (Vec<Departure>, Vec<u64>) {
        let is_silent = |live: &Live| live.last_update_millis.saturating_add(live.expiry_millis) < now_millis;
        let silent = || self.live.iter().filter(|(_, live)| is_silent(live));
        let connections: HashSet<u64> = silent().map(|(_, live)| live.connection).collect();
        (silent().flat_map(|(at, live)| departures(at, live)).collect(), connections.into_iter().collect())
    }
}

fn departures<'a>(at: &'a BrokerAddress, live: &'a Live) -> impl Iterator<Item = Departure> + 'a {
    let departure =
        |(name, id): (&String, &i64)| Departure { cluster: at.cluster.clone(), addr: at.addr.clone(), name: name.clone(), id: *id };
    live.brokers.iter().map(departure)
}
