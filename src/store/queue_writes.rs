// SPDX-License-Identifier: Apache-2.0
//! ConsumeQueue units from memory to their files, in rounds: a round writes every queue that had some when it began, evenly over the
//! time that it may take.
//!
//! A queue's turn opens a file, and makes it when it is the first: many queues with a message now and then would cost that for each
//! message, and all at once would leave nothing for whoever sends. When a round is over, the log as it ended at the round's beginning
//! has its units in the files: from there a process that was killed reads it again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{error, warn};

use super::checkpoint::Indexed;
use super::consume_queue::ConsumeQueue;
use super::keep::Keeper;
use super::message_store::MessageStore;
use crate::runtime::or_abort;

/// So many queues are written in every pass of the keeper, however few are due: their files are still open.
const QUEUES_PER_PASS: usize = 128;

/// A round is over after this time, and when the log has grown by this much or by so many messages: their units are in memory, and a
/// process that was killed reads up to two rounds again.
const ROUND_NANOS: u64 = 5_000_000_000;
const ROUND_LOG_BYTES: i64 = 512 * 1024 * 1024;
const ROUND_MESSAGES: u64 = 500_000;

/// Queues that are written, and what is true when all of them are.
pub(super) struct Round {
    queues: Vec<Arc<ConsumeQueue>>,
    /// So many of them had their turn.
    turns: usize,
    /// They had their turn and must have another one.
    failed: Vec<Arc<ConsumeQueue>>,
    /// When the round began, and the log then.
    began_nanos: u64,
    messages: u64,
    position: i64,
    last_record: i64,
    store_timestamp: i64,
}

impl Round {
    /// How many queues should have had their turn by now.
    fn due(&self, now: u64, position: i64, messages: u64) -> usize {
        let parts = [
            now.saturating_sub(self.began_nanos) as f64 / ROUND_NANOS as f64,
            (position - self.position) as f64 / ROUND_LOG_BYTES as f64,
            messages.saturating_sub(self.messages) as f64 / ROUND_MESSAGES as f64,
        ];
        let due = parts.into_iter().fold(0.0, f64::max) * self.queues.len() as f64;
        (due as usize).max(self.turns + QUEUES_PER_PASS)
    }
}

impl MessageStore {
    /// What is due of the round under way, or of a new one.
    pub(super) fn write_due_queues(&self, now: u64) {
        let mut keeper = self.keeper.lock();
        let round = keeper.round.take().unwrap_or_else(|| self.begin_round());
        // Messages are refused until all is written.
        let urgent = self.health.queue_error.load(Ordering::Relaxed);
        let messages = self.stats.put_times.load(Ordering::Relaxed);
        let due = if urgent { usize::MAX } else { round.due(now, self.log.max_offset(), messages) };
        // A stop does not wait until the files of all queues are made.
        self.write_round(&mut keeper, round, |turns| turns < due && !self.health.shutdown.load(Ordering::Relaxed));
    }

    /// Writes all units that are only in memory. False when some could not be written.
    pub(super) fn write_queues(&self) -> bool {
        self.write_queues_while(|| true)
    }

    /// As `write_queues`, but begins no queue after `goes_on` said no: it stays with those that are only in memory.
    pub(super) fn write_queues_while(&self, goes_on: impl Fn() -> bool) -> bool {
        let mut keeper = self.keeper.lock();
        // The round under way knows nothing of what came since it began.
        let under_way = keeper.round.take();
        under_way.is_none_or(|round| self.write_round(&mut keeper, round, |_| goes_on()))
            && self.write_round(&mut keeper, self.begin_round(), |_| goes_on())
    }

    fn begin_round(&self) -> Round {
        let mut appender = self.appender.lock();
        let queues = std::mem::take(&mut appender.dirty);
        for queue in &queues {
            queue.dirty.store(false, Ordering::Relaxed);
        }
        Round {
            queues,
            turns: 0,
            failed: Vec::new(),
            began_nanos: self.clock.nanos(),
            messages: self.stats.put_times.load(Ordering::Relaxed),
            position: appender.tail.position,
            last_record: appender.last_record,
            store_timestamp: appender.last_store_timestamp,
        }
    }

    /// Goes on with a round while `goes_on` says so, given how many queues had their turn. Whether the round is over and all are written.
    fn write_round(&self, keeper: &mut Keeper, round: Round, goes_on: impl Fn(usize) -> bool) -> bool {
        // A round that is lost would be taken for written by the mark of the next one.
        or_abort("a round of queue writes", || self.write_queues_of(keeper, round, goes_on))
    }

    fn write_queues_of(&self, keeper: &mut Keeper, mut round: Round, goes_on: impl Fn(usize) -> bool) -> bool {
        while let Some(queue) = round.queues.get(round.turns) {
            if !goes_on(round.turns) {
                keeper.round = Some(round);
                return false;
            }
            match queue.write_pending(&self.queues.files) {
                Ok(0) => {}
                Ok(_) => drop(keeper.unsynced.insert(queue.number, Arc::clone(queue))),
                Err(error) => {
                    if !self.health.queue_error.swap(true, Ordering::SeqCst) {
                        error!(topic = %queue.topic, queue_id = queue.queue_id, %error, "cannot write a ConsumeQueue: messages are refused until it works");
                    }
                    round.failed.push(Arc::clone(queue));
                }
            }
            round.turns += 1;
            if round.turns.is_multiple_of(QUEUES_PER_PASS) {
                self.keep_ahead(keeper);
            }
        }
        self.end_round(keeper, round)
    }

    /// Whether all are written.
    fn end_round(&self, keeper: &mut Keeper, round: Round) -> bool {
        let just_written: HashSet<u32> = round.queues.iter().map(|queue| queue.number).collect();
        let warm = std::mem::replace(&mut keeper.warm, round.queues);
        for queue in warm {
            if !just_written.contains(&queue.number) && !queue.dirty.load(Ordering::Relaxed) {
                queue.rest();
            }
        }
        if !round.failed.is_empty() {
            let mut appender = self.appender.lock();
            for queue in round.failed {
                appender.note_unwritten(&queue);
            }
            return false;
        }
        if round.position != keeper.written.mark.position {
            match Indexed::at(&self.log, &self.queues, round.position, round.last_record) {
                Ok(written) => (keeper.written, keeper.written_store_timestamp) = (written, round.store_timestamp),
                // The mark before it is as true.
                Err(error) => warn!(%error, position = round.position, "cannot read the end of the log"),
            }
        }
        self.health.queue_error.store(false, Ordering::SeqCst);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_round_is_as_far_as_its_time_or_its_log_or_its_messages() {
        let queue = Arc::new(ConsumeQueue::new(Arc::from("T"), 0, 0, PathBuf::new()));
        let round = Round {
            queues: vec![queue; 10_000],
            turns: 0,
            failed: Vec::new(),
            began_nanos: 7,
            messages: 70,
            position: 700,
            last_record: 0,
            store_timestamp: 0,
        };
        assert_eq!(round.due(7, 700, 70), QUEUES_PER_PASS);
        assert_eq!(round.due(7 + ROUND_NANOS / 10, 700, 70), 1_000);
        assert_eq!(round.due(7 + ROUND_NANOS / 10, 700 + ROUND_LOG_BYTES / 2, 70), 5_000);
        assert!(round.due(7 + ROUND_NANOS / 10, 700, 70 + ROUND_MESSAGES) >= 10_000);
        assert_eq!(Round { turns: 2_000, ..round }.due(7 + ROUND_NANOS / 10, 700, 70), 2_000 + QUEUES_PER_PASS);
    }
}
