// SPDX-License-Identifier: Apache-2.0
//! Our own outgoing connections: one per address, opened when first needed, opened again after it was lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ferrocket_protocol::{RemotingCommand, response_code};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::connection::{Connection, RequestHandler};
use super::connection_limits::Limits;
use super::limits::CONNECT_MAX;
use super::peer::{CallError, Peer};
use super::replies::Replies;
use crate::runtime::Runtime;

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Peer>>>>;

/// Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct RemotingClient(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    handler: Arc<ServesNothing>,
    limits: Limits,
    /// One slot per address; its lock is held while connecting, so that callers of one address share the attempt and those
    /// of another never wait for it.
    slots: Mutex<HashMap<String, Slot>>,
}

impl RemotingClient {
    /// A client that serves no requests of the other side.
    pub fn new(runtime: &Runtime) -> Self {
        Self::watching(runtime, |_| ())
    }

    /// As `new`; `lost` hears of every connection that ended.
    pub fn watching(runtime: &Runtime, lost: impl Fn(&Peer) + Send + Sync + 'static) -> Self {
        Self::with(runtime, Limits::default(), lost)
    }

    pub(crate) fn with(runtime: &Runtime, limits: Limits, lost: impl Fn(&Peer) + Send + Sync + 'static) -> Self {
        let runtime = runtime.clone();
        let handler = Arc::new(ServesNothing { lost: Box::new(lost) });
        Self(Arc::new(Shared { runtime, handler, limits, slots: Mutex::default() }))
    }

    /// Sends a request to `addr` ("host:port") and waits for its response; connecting counts in `timeout`.
    pub async fn invoke(&self, addr: &str, request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, CallError> {
        let started = self.0.runtime.clock().nanos();
        let peer = self.peer(addr, timeout).await?;
        let spent = Duration::from_nanos(self.0.runtime.clock().nanos() - started);
        let answer = peer.call(request, timeout.saturating_sub(spent)).await;
        if matches!(answer, Err(CallError::Timeout { .. })) {
            // As in Java: the way there may be dead without anybody having said so. The next call takes a new one.
            peer.close("no answer in time");
        }
        answer
    }

    /// As `invoke`; an answer other than success is an error.
    pub async fn succeed(&self, addr: &str, request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, CallError> {
        succeeded(self.invoke(addr, request, timeout).await?)
    }

    /// As `succeed`, for a request that the other side may not know and never answer: the connection stays.
    pub async fn succeed_if_known(&self, addr: &str, request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, CallError> {
        self.peer(addr, timeout).await?.succeed(request, timeout).await
    }

    /// Sends a request that wants no response.
    pub async fn invoke_oneway(&self, addr: &str, request: RemotingCommand, timeout: Duration) -> Result<(), CallError> {
        self.peer(addr, timeout).await?.send(request);
        Ok(())
    }

    /// The live connection to `addr`, or a new one.
    pub async fn peer(&self, addr: &str, timeout: Duration) -> Result<Arc<Peer>, CallError> {
        let slot = Arc::clone(self.0.slots.lock().entry(addr.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(peer) = slot.as_ref().filter(|peer| peer.is_active()) {
            return Ok(Arc::clone(peer));
        }
        let peer = self.connect(addr, timeout.min(CONNECT_MAX)).await?;
        *slot = Some(Arc::clone(&peer));
        Ok(peer)
    }

    /// Closes the connection to one address; a later call opens it again.
    pub async fn close(&self, addr: &str, reason: &'static str) {
        let slot = self.0.slots.lock().remove(addr);
        if let Some(slot) = slot
            && let Some(peer) = slot.lock().await.take()
        {
            peer.close(reason);
        }
    }

    /// Closes all connections; a later call opens them again.
    pub async fn close_all(&self, reason: &'static str) {
        let slots: Vec<_> = self.0.slots.lock().drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            if let Some(peer) = slot.lock().await.take() {
                peer.close(reason);
            }
        }
    }

    async fn connect(&self, addr: &str, timeout: Duration) -> Result<Arc<Peer>, CallError> {
        let failed = |why: String| CallError::Connect { addr: addr.to_owned(), why };
        let runtime = &self.0.runtime;
        let opened = tokio::select! {
            opened = TcpStream::connect(addr) => opened,
            () = runtime.clock().sleep(timeout) => return Err(failed(format!("no connection within {timeout:?}"))),
        };
        let with_addresses = |stream: TcpStream| {
            stream.set_nodelay(true)?;
            Ok((stream.peer_addr()?, stream.local_addr()?, stream))
        };
        let (remote_addr, local_addr, stream) =
            opened.and_then(with_addresses).map_err(|error: std::io::Error| failed(error.to_string()))?;
        let (read, write) = stream.into_split();
        let peer = Arc::new(Peer::new(remote_addr, local_addr, write, &self.0.limits, runtime.clock().clone()));
        let tick = Arc::new(AtomicU32::new(0));
        let mut connection = Connection::new(read, Arc::clone(&peer), Arc::clone(&self.0.handler), tick);
        if let Some(session) = self.0.limits.sessions.begin() {
            connection.secure(session);
        }
        let (shutdown, stopped) = (runtime.shutdown().clone(), Arc::clone(&peer));
        runtime.spawn("outgoing connection", async move {
            let run = connection.run();
            tokio::pin!(run);
            if shutdown.or(&mut run).await.is_none() {
                stopped.close("the server stops");
                run.await;
            }
        });
        Ok(peer)
    }
}

impl Peer {
    /// As `call`; an answer other than SUCCESS is an error.
    pub async fn succeed(&self, request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, CallError> {
        succeeded(self.call(request, timeout).await?)
    }
}

fn succeeded(response: RemotingCommand) -> Result<RemotingCommand, CallError> {
    if response.code == response_code::SUCCESS {
        return Ok(response);
    }
    let remark = response.remark.as_deref().unwrap_or_default().to_owned();
    Err(CallError::Refused { code: response.code, remark })
}

struct ServesNothing {
    lost: Box<dyn Fn(&Peer) + Send + Sync>,
}

impl RequestHandler for ServesNothing {
    fn handle(&self, _peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        let remark = format!(" request type {} not supported", request.code);
        let response = RemotingCommand::response(response_code::REQUEST_CODE_NOT_SUPPORTED).with_remark(remark);
        replies.answer(request, response);
    }

    fn connected(&self, _peer: &Arc<Peer>) {}

    fn closed(&self, peer: &Arc<Peer>) {
        (self.lost)(peer);
    }
}
