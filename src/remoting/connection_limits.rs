// SPDX-License-Identifier: Apache-2.0
//! What the connections of a listener or a client may hold at most, and what they share with those of the other listeners.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::budget::Budget;
use super::limits::{COMPLETIONS_MAX, CONNECTIONS_MAX, IDLE_MAX, IDLE_SWEEP, OUTBOUND_BYTES_MAX, OUTBOUND_PAUSE_BYTES};
use super::outbound::OutboundLimits;
use super::read_scheduler::ReadScheduler;
use super::transport::Sessions;
use super::unserved::AskedInVain;

/// How many connections may be open at the same time; clones share the number, so that all listeners of a process keep one limit.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    pub(super) permits: Arc<Semaphore>,
    pub(super) max: usize,
    /// Theirs too: what clients asked for in vain, on whichever port.
    pub(super) unserved: AskedInVain,
}

impl Default for ConnectionLimit {
    fn default() -> Self {
        Self::new(CONNECTIONS_MAX)
    }
}

impl ConnectionLimit {
    pub fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max, unserved: AskedInVain::default() }
    }
}

/// The limits that one listener or client enforces; tests make them small.
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections: ConnectionLimit,
    /// `None` never closes a connection for being idle.
    pub idle: Option<Duration>,
    pub idle_sweep: Duration,
    /// A peer that has so many bytes of answers to take is not read.
    pub outbound_pause_bytes: usize,
    /// And with more than this it is closed.
    pub outbound_bytes: usize,
    /// Nor is one read that so many of its requests wait for.
    pub completions: usize,
    pub read_scheduler: ReadScheduler,
    pub budget: Budget,
    pub sessions: Sessions,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: ConnectionLimit::default(),
            idle: Some(IDLE_MAX),
            idle_sweep: IDLE_SWEEP,
            outbound_pause_bytes: OUTBOUND_PAUSE_BYTES,
            outbound_bytes: OUTBOUND_BYTES_MAX,
            completions: COMPLETIONS_MAX,
            read_scheduler: ReadScheduler::default(),
            budget: Budget::default(),
            sessions: Sessions::default(),
        }
    }
}

impl Limits {
    pub(super) fn outbound(&self) -> OutboundLimits {
        OutboundLimits { pause_bytes: self.outbound_pause_bytes, bytes: self.outbound_bytes, completions: self.completions }
    }
}
