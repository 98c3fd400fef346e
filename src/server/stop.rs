// SPDX-License-Identifier: Apache-2.0
//! An orderly stop in bounded time: one deadline from the signal on, which every step gets what is left of.
//!
//! A step that does not end in its time is named and left behind: the process ends with a failure. Where the store was not closed the
//! directory counts as not stopped in order, and the next start recovers it.

use std::future::Future;
use std::time::Duration;

use tracing::error;

use super::StartError;
use crate::runtime::SharedClock;

/// From the signal to the end of the last step. Orchestrators kill after 10 s, the promise to people is 5 s: half a second of it
/// is for the end of the process itself.
const STEPS_MAX: Duration = Duration::from_millis(4_500);

pub(super) struct Stop {
    clock: SharedClock,
    deadline_nanos: u64,
    /// What was not done, as sentences.
    failed: Vec<String>,
    /// The store's directory counts as not stopped in order.
    next_start_recovers: bool,
}

impl Stop {
    /// The stop begins now.
    pub(super) fn begin(clock: &SharedClock) -> Self {
        Self::within(STEPS_MAX, clock)
    }

    pub(super) fn within(time: Duration, clock: &SharedClock) -> Self {
        Self {
            clock: clock.clone(),
            deadline_nanos: clock.nanos() + time.as_nanos() as u64,
            failed: Vec::new(),
            next_start_recovers: false,
        }
    }

    pub(super) fn left(&self) -> Duration {
        Duration::from_nanos(self.deadline_nanos.saturating_sub(self.clock.nanos()))
    }

    /// Runs a step to its end, or to the deadline: then it is named, and `None`.
    pub(super) async fn step<T>(&mut self, name: &'static str, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.clock.sleep(self.left()) => {
                self.did_not_end(name);
                None
            }
        }
    }

    pub(super) fn did_not_end(&mut self, name: &'static str) {
        error!(step = name, "a step of the stop did not end in time");
        self.failed.push(format!("{name}: not done in time"));
    }

    pub(super) fn failed(&mut self, name: &'static str, why: impl std::fmt::Display) {
        self.failed.push(format!("{name}: {why}"));
    }

    pub(super) fn leaves_recovery(&mut self) {
        self.next_start_recovers = true;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    pub(super) fn outcome(self) -> Result<(), StartError> {
        if self.failed.is_empty() {
            return Ok(());
        }
        let recovers = if self.next_start_recovers { ", the next start recovers" } else { "" };
        Err(StartError::Sentence(format!("the stop is not complete{recovers} ({})", self.failed.join("; "))))
    }
}
