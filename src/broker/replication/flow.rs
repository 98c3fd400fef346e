// SPDX-License-Identifier: Apache-2.0
//! Bytes per second on their way to one slave: counted always, held below a limit when one is given. Java's FlowMonitor, which counts the
//! headers alone.

const WINDOW_NANOS: u64 = 1_000_000_000;

/// One slave's, from its connection on: seconds begin there.
#[derive(Debug)]
pub(super) struct Flow {
    window_began_nanos: u64,
    in_window_bytes: u64,
    in_last_window_bytes: u64,
}

impl Flow {
    pub(super) fn new(now_nanos: u64) -> Self {
        Self { window_began_nanos: now_nanos, in_window_bytes: 0, in_last_window_bytes: 0 }
    }

    fn roll(&mut self, now_nanos: u64) {
        let windows = now_nanos.saturating_sub(self.window_began_nanos) / WINDOW_NANOS;
        if windows > 0 {
            self.in_last_window_bytes = if windows == 1 { self.in_window_bytes } else { 0 };
            self.in_window_bytes = 0;
            self.window_began_nanos += windows * WINDOW_NANOS;
        }
    }

    pub(super) fn add(&mut self, bytes: usize, now_nanos: u64) {
        self.roll(now_nanos);
        self.in_window_bytes += bytes as u64;
    }

    /// In the last whole second.
    pub(super) fn bytes_in_second(&mut self, now_nanos: u64) -> u64 {
        self.roll(now_nanos);
        self.in_last_window_bytes
    }

    /// How many bytes may follow now with `limit` bytes a second; `Err`: none before this moment.
    pub(super) fn may_send(&mut self, limit: u64, now_nanos: u64) -> Result<u64, u64> {
        self.roll(now_nanos);
        match limit.saturating_sub(self.in_window_bytes) {
            0 => Err(self.window_began_nanos + WINDOW_NANOS),
            left => Ok(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_carries_its_limit_and_no_more() {
        let mut flow = Flow::new(500);
        assert_eq!(flow.may_send(10, 500), Ok(10));
        flow.add(7, 600);
        assert_eq!(flow.may_send(10, 700), Ok(3));
        flow.add(4, 700);
        assert_eq!(flow.may_send(10, 800), Err(500 + WINDOW_NANOS));
        assert_eq!(flow.may_send(12, 800), Ok(1), "another limit holds at once");
        assert_eq!(flow.bytes_in_second(800), 0, "the first second is not over");
        assert_eq!(flow.may_send(10, 500 + WINDOW_NANOS), Ok(10));
        assert_eq!(flow.bytes_in_second(500 + WINDOW_NANOS), 11);
        assert_eq!(flow.bytes_in_second(500 + 3 * WINDOW_NANOS), 0, "nothing was sent in the last one");
    }
}
