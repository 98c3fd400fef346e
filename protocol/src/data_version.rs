// SPDX-License-Identifier: Apache-2.0
//! `DataVersion`: the stamp on a table, by which a name server or a slave sees that it changed. The caller brings the time.

use serde::{Deserialize, Serialize};

/// Two tables are the same when all three agree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    pub counter: i64,
    pub state_version: i64,
    pub timestamp: i64,
}

impl DataVersion {
    /// A table nobody has changed yet.
    pub const fn at(now_millis: i64) -> Self {
        Self { counter: 0, state_version: 0, timestamp: now_millis }
    }

    /// One change: the counter steps even when the clock does not.
    pub fn next(&mut self, now_millis: i64) {
        self.next_with_state(0, now_millis);
    }

    /// `state_version` is the controller's epoch, 0 without one.
    pub fn next_with_state(&mut self, state_version: i64, now_millis: i64) {
        self.timestamp = now_millis;
        self.state_version = state_version;
        self.counter += 1;
    }

    /// Which of two is newer: by state version, then counter, then time.
    pub fn compare(&self, other: &Self) -> std::cmp::Ordering {
        (self.state_version, self.counter, self.timestamp).cmp(&(other.state_version, other.counter, other.timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_even_when_the_clock_stands() {
        let mut version = DataVersion::at(7);
        let before = version.clone();
        version.next(7);
        assert_ne!(version, before);
        assert_eq!(version, DataVersion { counter: 1, state_version: 0, timestamp: 7 });
        assert!(version.compare(&before).is_gt());
    }
}
