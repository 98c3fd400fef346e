// SPDX-License-Identifier: Apache-2.0
//! A connection and its task, as a listener starts them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use shuttle::future::JoinHandle;

use super::connection::{Connection, RequestHandler};
use super::connection_limits::Limits;
use super::peer::Peer;
use super::socket::{self, Client};
use crate::runtime::SharedClock;

pub struct Connected {
    pub client: Client,
    pub peer: Arc<Peer>,
    pub task: JoinHandle<()>,
}

/// `room`: as many bytes as the socket takes while its client reads none.
pub fn connect(handler: Arc<impl RequestHandler>, limits: &Limits, clock: SharedClock, room: usize) -> Connected {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let (client, read, write) = socket::pair(room);
    let peer = Arc::new(Peer::new(addr, addr, write, limits, clock));
    let task = shuttle::future::spawn(Connection::new(read, Arc::clone(&peer), handler, Arc::default()).run());
    Connected { client, peer, task }
}

/// Asks the connection's task to read what has arrived, and no more.
pub fn drain(peer: &Peer) {
    peer.drain();
}

pub fn is_drained(peer: &Peer) -> bool {
    peer.is_drained()
}
