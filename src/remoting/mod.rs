// SPDX-License-Identifier: Apache-2.0
//! RemotingCommands over TCP: one task per connection that reads, handles and answers without handing over.
//!
//! A request that can be answered at once is answered with the other replies of the same read, in one write. One that must
//! wait leaves a `Completion` and the connection reads on. Nothing here knows a topic, a request code or a remark of RocketMQ.
//!
//! From below: the bytes (`replies`, `buffers`, `first_bytes`, `transport`), the memory (`budget`), what a connection has to write and to
//! do (`outbound`), who is read (`read_scheduler`), the connection for others (`peer`, `deferred`, `completion`) and its task
//! (`connection`), and who begins one (`listener`, `client`). A file imports only what is below it.

mod budget;
mod buffers;
mod client;
mod completion;
mod connection;
mod connection_limits;
mod deferred;
mod first_bytes;
mod limits;
mod listener;
mod outbound;
mod peer;
mod read_scheduler;
mod replies;
mod serial_queue;
mod session;
mod socket;
mod transport;
mod unserved;
mod watch;
mod work;

pub use budget::Budget;
pub use client::RemotingClient;
pub use completion::Completion;
pub use connection::RequestHandler;
pub use connection_limits::{ConnectionLimit, Limits};
pub use deferred::ReadBatch;
pub use limits::CONNECTIONS_MAX;
pub use listener::Listener;
pub use peer::{CallError, Peer, next_channel_id};
pub use read_scheduler::ReadScheduler;
pub use replies::Replies;
pub use serial_queue::SerialQueue;
pub use transport::Sessions;
pub use work::Work;

#[cfg(test)]
mod records;
