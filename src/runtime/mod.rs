// SPDX-License-Identifier: Apache-2.0
//! What everything that runs is owned by: the clock, tasks, threads and the orderly stop.
//!
//! Nothing here knows what the tasks and threads do. No other room spawns anything or asks the machine for the time.

mod clock;
mod fatal;
mod local_time;
mod names;
mod owner;
mod seldom;
mod shutdown;
pub mod sync;

pub use clock::{BoxFuture, Clock, ManualClock, Parker, SharedClock, SystemClock};
pub use fatal::or_abort;
pub use local_time::local_time;
pub use names::{NameMap, SharedNameMap};
pub use owner::{Runtime, Task};
pub use seldom::Seldom;
pub use shutdown::Shutdown;
