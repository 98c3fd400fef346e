// SPDX-License-Identifier: Apache-2.0
//! The programme's connections, on sockets of the model.

#![expect(dead_code, unreachable_pub, unused_imports, reason = "the programme uses more of its files than the model does")]

#[path = "../../src/remoting/budget.rs"]
mod budget;
#[path = "../../src/remoting/buffers.rs"]
mod buffers;
#[path = "../../src/remoting/completion.rs"]
mod completion;
mod connect;
#[path = "../../src/remoting/connection.rs"]
mod connection;
#[path = "../../src/remoting/connection_limits.rs"]
mod connection_limits;
#[path = "../../src/remoting/deferred.rs"]
mod deferred;
#[path = "../../src/remoting/first_bytes.rs"]
mod first_bytes;
#[path = "../../src/remoting/limits.rs"]
mod limits;
#[path = "../../src/remoting/outbound.rs"]
mod outbound;
#[path = "../../src/remoting/peer.rs"]
mod peer;
#[path = "../../src/remoting/read_scheduler.rs"]
mod read_scheduler;
#[path = "../../src/remoting/replies.rs"]
mod replies;
#[path = "../../src/remoting/serial_queue.rs"]
mod serial_queue;
#[path = "../../src/remoting/session.rs"]
mod session;
mod socket;
#[path = "../../src/remoting/transport.rs"]
mod transport;
#[path = "../../src/remoting/unserved.rs"]
mod unserved;
#[path = "../../src/remoting/work.rs"]
mod work;

pub use completion::Completion;
pub use connect::{Connected, connect, drain, is_drained};
pub use connection::RequestHandler;
pub use connection_limits::Limits;
pub use deferred::ReadBatch;
pub use peer::{CallError, Peer};
pub use read_scheduler::ReadScheduler;
pub use replies::Replies;
pub use serial_queue::SerialQueue;
pub use socket::Client;
pub use work::Work;
