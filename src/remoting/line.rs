// SPDX-License-Identifier: Apache-2.0
//! Work of requests that may wait for the disk and whose order counts: done on the pool for what may block, one after the other, in
//! the order in which it came. Knows neither what the work is nor how it is answered.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::error;

use super::peer::Peer;
use crate::runtime::Runtime;
use crate::runtime::sync::{AtomicUsize, Mutex, Ordering};

/// Its length is bounded by the completions that each connection may have outstanding: whoever pushes holds one.
pub struct Line {
    name: &'static str,
    runtime: Runtime,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Waiting or running; read without the lock by requests that only want to know whether there is any.
    count: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(u64, Work)>,
    /// A thread of the pool takes one piece of work after the other.
    running: bool,
    /// By the peer's id: how much of it waits or runs.
    of_peers: HashMap<u64, usize>,
}

type Work = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({}: {})", self.name, self.state.count.load(Ordering::Relaxed))
    }
}

impl Line {
    pub fn new(name: &'static str, runtime: &Runtime) -> Self {
        Self { name, runtime: runtime.clone(), state: Arc::default() }
    }

    /// Nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.state.count.load(Ordering::Acquire) == 0
    }

    /// Whether work of this peer waits or runs.
    pub fn has_of(&self, peer: &Peer) -> bool {
        !self.is_idle() && self.state.queue.lock().of_peers.contains_key(&peer.id())
    }

    /// `work` runs when everything that was pushed before it has ended.
    pub fn push(&self, peer: &Peer, work: impl FnOnce() + Send + 'static) {
        let mut queue = self.state.queue.lock();
        self.state.count.fetch_add(1, Ordering::AcqRel);
        *queue.of_peers.entry(peer.id()).or_default() += 1;
        queue.waiting.push_back((peer.id(), Box::new(work)));
        if !std::mem::replace(&mut queue.running, true) {
            let (name, state) = (self.name, Arc::clone(&self.state));
            self.runtime.spawn_blocking(name, move || state.work_off(name));
        }
    }
}

impl State {
    fn work_off(&self, name: &'static str) {
        loop {
            let (peer_id, work) = {
                let mut queue = self.queue.lock();
                let Some(next) = queue.waiting.pop_front() else {
                    queue.running = false;
                    return;
                };
                next
            };
            // What a panic leaves unanswered its completion answers.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                error!(work = name, "work in line panicked");
            }
            let mut queue = self.queue.lock();
            self.count.fetch_sub(1, Ordering::AcqRel);
            if let Some(count) = queue.of_peers.get_mut(&peer_id) {
                *count -= 1;
                if *count == 0 {
                    queue.of_peers.remove(&peer_id);
                }
            }
        }
    }
}
