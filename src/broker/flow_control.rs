// SPDX-License-Identifier: Apache-2.0
//! How much may be on its way into the store at once.
//!
//! The original measures how long a request has waited in its queue; nothing queues here, so what is measured are the bytes of
//! sends that were accepted and not yet answered (they wait for the disk, or for a new topic to be announced).
//! Knows no request and no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sends that wait for their answer; the original's sendThreadPoolQueueCapacity.
pub const SENDS_IN_FLIGHT_MAX: usize = 10_000;
/// Their bytes. The count alone would admit 10,000 messages of maxMessageSize (4 MiB): 40 GiB.
pub const SEND_BYTES_IN_FLIGHT_MAX: usize = 256 * 1024 * 1024;

#[derive(Debug)]
pub struct FlowControl {
    count_max: usize,
    bytes_max: usize,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self::with_limits(SENDS_IN_FLIGHT_MAX, SEND_BYTES_IN_FLIGHT_MAX)
    }
}

impl FlowControl {
    pub fn with_limits(count_max: usize, bytes_max: usize) -> Self {
        Self { count_max, bytes_max, count: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// Whether one more send may be accepted now. A check, not a reservation: most sends are answered at once and never count.
    pub fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) < self.count_max && self.bytes.load(Ordering::Relaxed) < self.bytes_max
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
        let by_count = Arc::new(FlowControl::with_limits(2, 1_000));
        let first = by_count.enter(1);
        let second = by_count.enter(1);
        assert!(!by_count.has_room());
        drop(first);
        assert!(by_count.has_room());
        drop(second);

        let by_bytes = Arc::new(FlowControl::with_limits(100, 1_000));
        let big = by_bytes.enter(1_000);
        assert!(!by_bytes.has_room());
        assert_eq!((by_bytes.sends_in_flight(), by_bytes.bytes_in_flight()), (1, 1_000));
        drop(big);
        assert_eq!((by_bytes.sends_in_flight(), by_bytes.bytes_in_flight()), (0, 0));
    }
}
