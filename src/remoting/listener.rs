// SPDX-License-Identifier: Apache-2.0
//! Accepts connections, bounds their number, starts a task for each, and closes those that say nothing for too long.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::connection::{Connection, RequestHandler};
use super::connection_limits::Limits;
use super::limits::{ACCEPT_RETRY, DRAIN_LOOK};
use super::peer::Peer;
use super::watch;
use crate::runtime::{Runtime, Shutdown};

pub struct Listener {
    local_addr: SocketAddr,
    accepting: Shutdown,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Connections {
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
    /// Set before the peers are asked, so that one that comes while they are is asked too.
    draining: AtomicBool,
    /// Why all were closed. Set before that, so that one that was being accepted when that stopped is closed, too.
    closed: OnceLock<&'static str>,
    /// Sweeps so far: the coarse time in which idleness is counted, so that a message costs no clock call.
    tick: Arc<AtomicU32>,
}

impl Listener {
    /// Binds and begins to accept. Port 0 takes a free one: see `local_addr`.
    pub async fn bind<H: RequestHandler + ?Sized>(
        addr: SocketAddr,
        handler: Arc<H>,
        limits: Limits,
        runtime: &Runtime,
    ) -> io::Result<Self> {
        Self::serve(TcpListener::bind(addr).await?, handler, limits, runtime)
    }

    /// Begins to accept from a socket that was bound before.
    pub fn serve<H: RequestHandler + ?Sized>(socket: TcpListener, handler: Arc<H>, limits: Limits, runtime: &Runtime) -> io::Result<Self> {
        let listener = Self { local_addr: socket.local_addr()?, accepting: runtime.shutdown().child(), connections: Arc::default() };
        if let Some(idle) = limits.idle {
            let sweep = sweep(Arc::clone(&listener.connections), idle, limits.idle_sweep, runtime.clone());
            runtime.spawn_essential("idle sweep", sweep);
        }
        watch::start(&limits.budget, runtime);
        let accept = Accept {
            socket,
            handler,
            limits,
            accepting: listener.accepting.clone(),
            connections: Arc::clone(&listener.connections),
            runtime: runtime.clone(),
        };
        runtime.spawn_essential("accept", accept.run());
        Ok(listener)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub fn connection_count(&self) -> usize {
        self.connections.peers.lock().len()
    }

    /// First step of a stop: no new connections; those that live go on.
    pub fn stop_accepting(&self) {
        self.accepting.begin();
    }

    /// Second step: what has arrived is handled, nothing more is read. A client that asks again with every answer would otherwise
    /// keep its connection busy for good.
    pub fn stop_reading(&self) {
        self.connections.draining.store(true, Ordering::SeqCst);
        self.connections.all().iter().for_each(|peer| peer.drain());
    }

    /// Third step: waits until every request that was read is answered and the answers were taken, for at most `patience`.
    /// False when some could not be given; a peer that does not take its answers is only waited for.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.stop_reading();
        // In the machine's time, as the stop of the runtime: a clock that a test holds must not hold it up.
        let mut look = tokio::time::interval(DRAIN_LOOK);
        let drained = async {
            while self.connections.any(|peer| !peer.is_drained() || peer.unread_bytes() > 0) {
                look.tick().await;
            }
        };
        // What is left at the end may be answers that were given and not taken.
        tokio::time::timeout(patience, drained).await.is_ok() || !self.connections.any(|peer| !peer.is_drained())
    }

    /// Last step: every connection ends, one that is just being accepted, too.
    pub fn close_all(&self, reason: &'static str) {
        self.connections.close_all(reason);
    }
}

impl Connections {
    fn all(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().values().cloned().collect()
    }

    fn close_all(&self, reason: &'static str) {
        let reason = *self.closed.get_or_init(|| reason);
        self.all().iter().for_each(|peer| peer.close(reason));
    }

    fn any(&self, mut test: impl FnMut(&Peer) -> bool) -> bool {
        self.peers.lock().values().any(|peer| test(peer))
    }
}

struct Accept<H: ?Sized> {
    socket: TcpListener,
    handler: Arc<H>,
    limits: Limits,
    accepting: Shutdown,
    connections: Arc<Connections>,
    runtime: Runtime,
}

impl<H: RequestHandler + ?Sized> Accept<H> {
    async fn run(self) {
        let permits = Arc::clone(&self.limits.connections.permits);
        let accepting = self.accepting.clone();
        let accept_all = async {
            loop {
                if permits.available_permits() == 0 {
                    warn!(connections = self.limits.connections.max, "no more connections: new ones wait");
                }
                // Never closed, so a permit always comes.
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
                match self.socket.accept().await {
                    Ok((stream, remote_addr)) => self.start(stream, plain(remote_addr), permit),
                    Err(error) => {
                        warn!(%error, "accept failed");
                        self.runtime.clock().sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        };
        accepting.or(accept_all).await;
        drop(self.socket);
        // A stop of the whole runtime, not only of accepting, ends the connections too.
        self.runtime.shutdown().begun().await;
        self.connections.close_all("the server stops");
    }

    /// A process that is out of memory says so to those who come, and lives.
    fn refuse(&self, remote_addr: SocketAddr) {
        let budget = &self.limits.budget;
        let now = self.runtime.clock().nanos();
        if budget.says_refusal(now) {
            let (used, budget) = (budget.used_bytes(), budget.bytes());
            warn!(peer = %remote_addr, used, budget, "no memory for one more connection: new ones are closed");
        }
    }

    fn start(&self, stream: TcpStream, remote_addr: SocketAddr, permit: tokio::sync::OwnedSemaphorePermit) {
        let Some(admission) = self.limits.budget.admit() else {
            self.refuse(remote_addr);
            return;
        };
        let seat = self.runtime.seat();
        // Out of the hands of the thread that accepted it.
        let prepare = || {
            stream.set_nodelay(true)?;
            let local_addr = plain(stream.local_addr()?);
            let stream = stream.into_std()?;
            Ok((seat.register(|| TcpStream::from_std(stream))?, local_addr))
        };
        let (stream, local_addr) = match prepare() {
            Ok(prepared) => prepared,
            Err::<_, io::Error>(error) => {
                debug!(%remote_addr, %error, "a connection ended before it began");
                return;
            }
        };
        let (read, write) = stream.into_split();
        let clock = self.runtime.clock().clone();
        let peer = Arc::new(Peer::new(remote_addr, local_addr, write, &self.limits, clock));
        self.connections.peers.lock().insert(peer.id(), Arc::clone(&peer));
        if self.connections.draining.load(Ordering::SeqCst) {
            peer.drain();
        }
        if let Some(reason) = self.connections.closed.get()
            && self.accepting.has_begun()
        {
            peer.close(reason);
        }
        let tick = Arc::clone(&self.connections.tick);
        let connection = Connection::new(read, Arc::clone(&peer), Arc::clone(&self.handler), tick);
        let connections = Arc::clone(&self.connections);
        seat.spawn("connection", async move {
            connection.run().await;
            connections.peers.lock().remove(&peer.id());
            drop((permit, admission));
        });
    }
}

/// An IPv4 client of a socket for both families is an IPv4 client: hosts of messages, advertised addresses and people see it so.
fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

async fn sweep(connections: Arc<Connections>, idle: Duration, every: Duration, runtime: Runtime) {
    let idle_ticks = idle.as_nanos().div_ceil(every.as_nanos().max(1)) as u32;
    while runtime.shutdown().or(runtime.clock().sleep(every)).await.is_some() {
        let tick = connections.tick.fetch_add(1, Ordering::Relaxed) + 1;
        for peer in connections.peers.lock().values() {
            if tick.wrapping_sub(peer.last_tick()) >= idle_ticks {
                peer.close("idle");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ferrocket_protocol::RemotingCommand;
    use tokio::io::AsyncReadExt;

    use super::super::replies::Replies;
    use super::*;
    use crate::runtime::SystemClock;

    struct Nobody;

    impl RequestHandler for Nobody {
        fn handle(&self, _: &Arc<Peer>, _: &mut RemotingCommand, _: &mut Replies) {}
        fn connected(&self, _: &Arc<Peer>) {}
        fn closed(&self, _: &Arc<Peer>) {}
    }

    /// A connection was accepted, then the thread that did it stood still while everything else was closed.
    #[tokio::test]
    async fn one_that_was_being_accepted_when_all_were_closed_is_closed_too() {
        let runtime = Runtime::current(SystemClock::shared());
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(socket.local_addr().expect("its address")).await.expect("a connection");
        let (stream, addr) = socket.accept().await.expect("the same");
        let limits = Limits::default();
        let permit = Arc::clone(&limits.connections.permits).acquire_owned().await.expect("never closed");
        let (accepting, connections) = (runtime.shutdown().child(), Arc::<Connections>::default());
        let runtime = runtime.clone();
        let accept = Accept { socket, handler: Arc::new(Nobody), limits, accepting, connections, runtime };
        accept.accepting.begin();
        accept.connections.close_all("the test ends");
        accept.start(stream, addr, permit);
        let end = tokio::time::timeout(Duration::from_secs(60), client.read_u8()).await.expect("an end");
        assert!(end.is_err());
    }
}
