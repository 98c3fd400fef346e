// SPDX-License-Identifier: Apache-2.0
//! RemotingCommands over TCP: one task per connection that reads, handles and answers without handing over.
//!
//! A request that can be answered at once is answered with the other replies of the same read, in one write. One that must
//! wait leaves a `Completion` and the connection reads on. Nothing here knows a topic, a request code or a remark of RocketMQ.

mod budget;
mod buffers;
mod client;
mod connection;
mod late;
mod limits;
mod line;
mod listener;
mod outbound;
mod peer;
mod replies;
mod socket;
mod turns;
mod unserved;
mod watch;

pub use budget::Budget;
pub use client::RemotingClient;
pub use connection::RequestHandler;
pub use late::{Round, Work};
pub use limits::{CONNECTIONS_MAX, ConnectionLimit, Limits};
pub use line::Line;
pub use listener::Listener;
pub use peer::{CallError, Completion, Peer};
pub use replies::Replies;
pub use turns::Turns;
