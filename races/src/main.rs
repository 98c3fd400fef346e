// SPDX-License-Identifier: Apache-2.0
//! `make torture-races`: the orders in which threads of connections, held pulls and serial queues may meet.
//!
//! The model compiles the programme's own files over locks and sockets at which a scheduler decides who goes on (shuttle), and runs
//! small programmes in thousands of orders. The stress drives the programme itself: two reactors, real sockets, clients that send,
//! wait, lag, leave and are drained. A failure prints what repeats it: a schedule, or a seed.

// The programme's files bring their own tests, which run where they belong: as a test this crate is empty.
#[cfg(not(test))]
mod broker;
#[cfg(not(test))]
mod command;
#[cfg(not(test))]
mod model;
#[cfg(not(test))]
mod remoting;
#[cfg(not(test))]
mod runtime;
#[cfg(not(test))]
mod stress;

#[cfg(not(test))]
fn main() {
    command::run();
}
