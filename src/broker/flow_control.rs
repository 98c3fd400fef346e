// SPDX-License-Identifier: Apache-2.0
//! How much may be on its way into the store at once.
//!
//! Hardly a send queues here before it is stored, so what is counted are sends that were stored and not yet answered (they wait for
//! the disk, or for a new topic to be announced), those to a queue that is being loaded, each kind by itself, and their bytes. Knows no
//! request and no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of sends that wait for their answer. Their count alone (sendThreadPoolQueueCapacity) would admit 10,000 messages of
/// maxMessageSize (4 MiB): 40 GiB.
pub const SEND_BYTES_IN_FLIGHT_MAX: usize = 256 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct FlowControl {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl FlowControl {
    /// Whether one more send may be accepted beside at most `count_max` others. A check, not a reservation: most sends are
    /// answered at once and never count.
    pub fn has_room(&self, count_max: usize) -> bool {
        self.count.load(Ordering::Relaxed) < count_max && self.bytes.load(Ordering::Relaxed) < SEND_BYTES_IN_FLIGHT_MAX
    }

    /// Counts a send that will be answered later, until the guard is dropped.
    pub fn enter(self: &Arc<Self>, bytes: usize) -> InFlight {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        InFlight { control: Arc::clone(self), bytes }
    }

    pub fn sends_in_flight(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn bytes_in_flight(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One accepted send that has not been answered yet.
#[derive(Debug)]
pub struct InFlight {
    control: Arc<FlowControl>,
    bytes: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.control.count.fetch_sub(1, Ordering::Relaxed);
        self.control.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_by_count_or_by_bytes_and_comes_back_with_the_answers() {
        let control = Arc::new(FlowControl::default());
        let first = control.enter(1);
        let second = control.enter(1);
        assert!(!control.has_room(2) && control.has_room(3));
        drop(first);
        assert!(control.has_room(2));
        drop(second);

        let big = control.enter(SEND_BYTES_IN_FLIGHT_MAX);
        assert!(!control.has_room(100));
        assert_eq!((control.sends_in_flight(), control.bytes_in_flight()), (1, SEND_BYTES_IN_FLIGHT_MAX));
        drop(big);
        assert_eq!((control.sends_in_flight(), control.bytes_in_flight()), (0, 0));
    }
}
