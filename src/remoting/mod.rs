// SPDX-License-Identifier: Apache-2.0
//! RemotingCommands over TCP: one task per connection that reads, handles and answers without handing over.
//!
//! A request that can be answered at once is answered with the other replies of the same read, in one write. One that must
//! wait leaves a `Completion` and the connection reads on. Nothing here knows a topic, a request code or a remark of RocketMQ.

mod budget;
mod buffers;
mod client;
mod connection;
mod deferred;
mod limits;
mod listener;
mod outbound;
mod peer;
mod read_scheduler;
mod replies;
mod serial_queue;
mod socket;
mod unserved;
mod watch;

pub use budget::Budget;
pub use client::RemotingClient;
pub use connection::RequestHandler;
pub use deferred::{ReadBatch, Work};
pub use limits::{CONNECTIONS_MAX, ConnectionLimit, Limits};
pub use listener::Listener;
pub use peer::{CallError, Completion, Peer};
pub use read_scheduler::ReadScheduler;
pub use replies::Replies;
pub use serial_queue::SerialQueue;
