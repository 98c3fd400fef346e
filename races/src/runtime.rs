// SPDX-License-Identifier: Apache-2.0
//! What the programme's rooms take from their runtime, with threads and locks of the model's scheduler.

#![expect(dead_code, unreachable_pub, reason = "the programme uses more of its files than the model does")]

#[path = "../../src/runtime/clock.rs"]
mod clock;
#[path = "../../src/runtime/names.rs"]
mod names;
#[path = "../../src/runtime/shutdown.rs"]
mod shutdown;
pub mod sync;

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use names::NameMap;
pub use shutdown::Shutdown;

#[derive(Clone, Debug, Default)]
pub struct Runtime {
    shutdown: Shutdown,
}

impl Runtime {
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub fn spawn(&self, _name: &'static str, future: impl Future + Send + 'static) {
        drop(shuttle::future::spawn(async move {
            future.await;
        }));
    }

    pub fn spawn_essential(&self, name: &'static str, future: impl Future + Send + 'static) {
        self.spawn(name, future);
    }

    pub fn spawn_blocking(&self, _name: &'static str, work: impl FnOnce() + Send + 'static) {
        drop(shuttle::thread::spawn(work));
    }
}
