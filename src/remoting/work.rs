// SPDX-License-Identifier: Apache-2.0
//! A piece of work that is kept for later and done once. Knows neither who keeps it nor what it does.

/// What is deferred, and done once.
pub trait Work: Send {
    fn run(self: Box<Self>);
}

impl<F: FnOnce() + Send> Work for F {
    fn run(self: Box<Self>) {
        (*self)();
    }
}

pub(super) type BoxedWork = Box<dyn Work>;
