// SPDX-License-Identifier: Apache-2.0
//! Lanes: where each request is served, what Java calls its executor. A connection's task never waits for the disk.
//!
//! Which code has which lane stands in its row (`routes`); knows no request's meaning.

use std::sync::Arc;

use ferrocket_protocol::RemotingCommand;
use tracing::debug;

use super::reply::{Cold, Refusal, Reply};
use super::routes::Row;
use crate::broker::Broker;
pub use crate::broker::Disk;
use crate::remoting::{Completion, Peer, SerialQueue};

/// Where a code is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The connection's task. What is not in memory answers `Reply::WouldBlock`, and is asked for again on the pool.
    Connection,
    /// The connection's task, but behind the changes that this connection has under way: administrators read what they wrote.
    Tables,
    /// As `Tables`, for changes that are made in memory and behind everybody's changes under way.
    Changes,
    /// The pool: it reads the disk, or makes an answer of a whole table.
    Disk,
    /// The pool, one after the other in the order in which they came: changes that need the disk.
    DiskChanges,
}

/// The lanes beside the connections' tasks.
#[derive(Debug)]
pub(super) struct Lanes {
    changes: SerialQueue,
    /// Sends to queues that are not loaded, in the order of each queue.
    cold_sends: [SerialQueue; COLD_LINES],
}

/// Cold queues that are loaded side by side. After a restart senders come back to all queues at once; a disk takes a few reads at a time.
const COLD_LINES: usize = 8;

impl Lanes {
    pub(super) fn new(broker: &Broker) -> Self {
        let cold_sends = std::array::from_fn(|_| SerialQueue::new("cold send", &broker.runtime));
        Self { changes: SerialQueue::new("change", &broker.runtime), cold_sends }
    }

    /// Where a request goes that the connection's task does not serve itself.
    pub(super) fn beside(&self, peer: &Peer, lane: Lane) -> Option<OffReactor> {
        let in_line = match lane {
            Lane::Connection => return None,
            Lane::Tables => self.changes.has_of(peer).then_some(true)?,
            Lane::Changes => (!self.changes.is_idle()).then_some(true)?,
            Lane::Disk => self.changes.has_of(peer),
            Lane::DiskChanges => true,
        };
        Some(if in_line { OffReactor::Changes } else { OffReactor::Pool })
    }

    pub(super) fn serve(&self, beside: OffReactor, row: &'static Row, broker: &Arc<Broker>, peer: &Arc<Peer>, request: RemotingCommand) {
        let work = work(row, broker, peer, request);
        match beside {
            OffReactor::Changes => self.changes.push(peer, work),
            OffReactor::Pool => drop(broker.runtime.spawn_blocking("request", work)),
        }
    }

    /// Serves a request again that was answered `Reply::WouldBlock`.
    pub(super) fn serve_again(&self, cold: Cold, row: &'static Row, broker: &Arc<Broker>, peer: &Arc<Peer>, request: RemotingCommand) {
        let work = work(row, broker, peer, request);
        match cold {
            Cold::Read => drop(broker.runtime.spawn_blocking("cold read", work)),
            Cold::Send(put, in_flight) => self.cold_sends[put.queue_number() as usize % COLD_LINES].push(peer, move || {
                work();
                drop((put, in_flight));
            }),
        }
    }
}

/// OffReactor the connection's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffReactor {
    Pool,
    Changes,
}

/// What is done on the pool.
fn work(row: &'static Row, broker: &Arc<Broker>, peer: &Arc<Peer>, request: RemotingCommand) -> impl FnOnce() + Send + 'static {
    let completion = peer.completion(&request).keeping(&request);
    let (broker, peer) = (Arc::clone(broker), Arc::clone(peer));
    move || {
        let outcome = (row.serve)(&broker, &peer, &request, Disk::MayWait);
        answer(&broker, completion, outcome);
    }
}

fn answer(broker: &Broker, completion: Completion, outcome: Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::Now(response)) => completion.answer_now(response),
        Ok(Reply::Pulled(pulled)) => pulled.answer(completion),
        Ok(Reply::Sent(sent)) => {
            let (form, opaque) = (completion.serialize_type(), completion.opaque());
            completion.answer_with(|replies| sent.write(&broker.config.load(), form, opaque, replies));
        }
        Ok(Reply::Later | Reply::Silent) => completion.end_unanswered(),
        Ok(Reply::WouldBlock(_)) => unreachable!("a request that may wait does"),
        Err(refusal) => {
            debug!(peer = %completion.peer(), refusal = refusal.code, remark = ?refusal.remark, "refused");
            completion.answer_now(refusal.into_response());
        }
    }
}
