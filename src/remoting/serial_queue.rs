// SPDX-License-Identifier: Apache-2.0
//! A serial queue: work of requests that may wait for the disk and whose order counts, done on the pool for what may block, one after
//! the other, in the order in which it came. Knows neither what the work is nor how it is answered.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::error;

use super::peer::Peer;
use crate::runtime::Runtime;
use crate::runtime::sync::{AtomicUsize, Mutex, Ordering};

/// Its length is bounded by the completions that each connection may have outstanding: whoever pushes holds one.
pub struct SerialQueue {
    name: &'static str,
    runtime: Runtime,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Waiting or running; read without the lock by requests that only want to know whether there is any.
    count: AtomicUsize,
    pending: Mutex<Pending>,
}

/// Something waits only while a thread works it off; `of_peers` sums up to what waits and what runs.
#[derive(Default)]
struct Pending {
    waiting: VecDeque<(u64, Box<dyn FnOnce() + Send>)>,
    /// A thread of the pool takes one piece of work after the other.
    running: bool,
    /// By the peer's id: how much of it waits or runs.
    of_peers: HashMap<u64, usize>,
}

impl fmt::Debug for SerialQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialQueue({}: {})", self.name, self.shared.count.load(Ordering::Relaxed))
    }
}

impl SerialQueue {
    pub fn new(name: &'static str, runtime: &Runtime) -> Self {
        Self { name, runtime: runtime.clone(), shared: Arc::default() }
    }

    /// Nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.shared.count.load(Ordering::Acquire) == 0
    }

    /// Whether work of this peer waits or runs.
    pub fn has_of(&self, peer: &Peer) -> bool {
        !self.is_idle() && self.shared.pending.lock().of_peers.contains_key(&peer.id())
    }

    /// `work` runs when everything that was pushed before it has ended.
    pub fn push(&self, peer: &Peer, work: impl FnOnce() + Send + 'static) {
        let mut pending = self.shared.pending.lock();
        self.shared.count.fetch_add(1, Ordering::AcqRel);
        *pending.of_peers.entry(peer.id()).or_default() += 1;
        pending.waiting.push_back((peer.id(), Box::new(work)));
        if !std::mem::replace(&mut pending.running, true) {
            let (name, shared) = (self.name, Arc::clone(&self.shared));
            self.runtime.spawn_blocking(name, move || shared.work_off(name));
        }
    }
}

impl Shared {
    fn work_off(&self, name: &'static str) {
        loop {
            let (peer_id, work) = {
                let mut pending = self.pending.lock();
                let Some(next) = pending.waiting.pop_front() else {
                    debug_assert!(pending.of_peers.is_empty(), "nothing is left, but of a peer");
                    pending.running = false;
                    return;
                };
                next
            };
            // What a panic leaves unanswered its completion answers.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                error!(work = name, "work of a serial queue panicked");
            }
            let mut pending = self.pending.lock();
            self.count.fetch_sub(1, Ordering::AcqRel);
            if let Some(count) = pending.of_peers.get_mut(&peer_id) {
                *count -= 1;
                if *count == 0 {
                    pending.of_peers.remove(&peer_id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::remoting::Limits;
    use crate::runtime::SystemClock;

    /// Nothing is remembered of a peer whose work has ended: it does not wait behind others' work, and its number takes no memory.
    #[tokio::test]
    async fn a_peer_is_in_the_queue_as_long_as_its_work() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = async || {
            let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let (stream, addr) = server.unwrap();
            drop(client.unwrap());
            Peer::new(addr, addr, stream.into_split().1, &Limits::default(), SystemClock::shared())
        };
        let (first, second) = (peer().await, peer().await);
        let queue = SerialQueue::new("test", &Runtime::current(SystemClock::shared()));
        let (begin, begins) = mpsc::channel::<()>();
        queue.push(&first, move || begins.recv().unwrap());
        assert!(queue.has_of(&first) && !queue.has_of(&second));
        let (end, ends) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        queue.push(&second, move || {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        });
        begin.send(()).unwrap();
        has_begun.await.unwrap();
        assert!(!queue.has_of(&first) && queue.has_of(&second));
        end.send(()).unwrap();
        let is_idle = async {
            while !queue.is_idle() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), is_idle).await.unwrap();
        assert!(!queue.has_of(&second));
        assert!(queue.shared.pending.lock().of_peers.is_empty());
    }
}
