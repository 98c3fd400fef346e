// SPDX-License-Identifier: Apache-2.0
//! ConsumeQueue units from memory to their files, in rounds: a round writes every queue that had some when it began, evenly over the
//! time that it may take.
//!
//! A queue's turn opens a file, and makes it when it is the first: many queues with a message now and then would cost that for each
//! message, and all at once would leave nothing for whoever sends. When a round is over, the log as it ended at the round's beginning
//! has its units in the files: from there a process that was killed reads it again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, MutexGuard};
use tracing::{error, warn};

use super::appender::Appender;
use super::base::Base;
use super::consume_queue::ConsumeQueue;
use super::flush::Flusher;
use super::mark::Indexed;
use super::queue_ends;
use super::{StoreError, at_path};
use crate::runtime::or_abort;

/// This many queues are written in every pass of the keeper, however few are due: their files are still open.
pub(super) const QUEUES_PER_PASS: usize = 128;

/// A round is over after this time, and when the log has grown by this much or by this many messages: their units are in memory, and a
/// process that was killed reads up to two rounds again.
const ROUND_NANOS: u64 = 5_000_000_000;
const ROUND_LOG_BYTES: i64 = 512 * 1024 * 1024;
const ROUND_MESSAGES: u64 = 500_000;

/// More ConsumeQueues than these are synced with everything else on their disk.
const SYNCED_ONE_BY_ONE_MAX: usize = 512;

/// ConsumeQueues are synced early when a restart after a power cut would otherwise have to read this much of the log again.
const UNSYNCED_LOG_BYTES_MAX: i64 = 512 * 1024 * 1024;

/// A sync that failed is tried again after this.
const AGAIN_NANOS: u64 = 1_000_000_000;

/// Units from memory to the files, and from there to the disk.
pub(super) struct QueueWriter {
    /// Held while queues are written, and while their files go.
    writes: Mutex<Writes>,
    /// One sync at a time: each speaks for all queues that were written before it.
    syncing: Mutex<()>,
}

#[derive(Default)]
struct Writes {
    /// The round that is under way.
    round: Option<Round>,
    /// Queues whose last units are still in memory though written.
    warm: Vec<Arc<ConsumeQueue>>,
    /// Queues written to since the last sync, by cache id.
    unsynced: HashMap<u32, Arc<ConsumeQueue>>,
    /// The log up to here has its units in the files.
    written: Indexed,
    written_store_timestamp: i64,
    /// While a topic is deleted: how many queues stay. Such changes of administrators come one after the other.
    left_by_deletion: Option<u32>,
    /// A stop that was not orderly may have left files unsynced that nobody remembers: the first sync is of everything.
    sync_everything: bool,
    next_sync_nanos: u64,
    /// After one that failed.
    sync_again_nanos: u64,
}

/// Queues that are written, and what is true when all of them are.
struct Round {
    queues: Vec<Arc<ConsumeQueue>>,
    /// How many of them had their turn.
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

impl QueueWriter {
    pub(super) fn new(sync_everything: bool) -> Self {
        Self { writes: Mutex::new(Writes { sync_everything, ..Writes::default() }), syncing: Mutex::new(()) }
    }

    /// What is due of the round under way, or of a new one. `between` runs now and then.
    pub(super) fn write_due(&self, base: &Base, appender: &Appender, between: impl Fn()) {
        let mut writes = self.writes.lock();
        let round = writes.round.take().unwrap_or_else(|| begin_round(base, appender));
        // Messages are refused until all is written.
        let urgent = base.health.queue_error.load(Ordering::Relaxed);
        let messages = base.stats.put_times.load(Ordering::Relaxed);
        let due = if urgent { usize::MAX } else { round.due(base.clock.nanos(), base.log.max_offset(), messages) };
        // A stop does not wait until the files of all queues are made.
        writes.write_round(base, appender, round, |turns| {
            if turns > 0 && turns.is_multiple_of(QUEUES_PER_PASS) {
                between();
            }
            turns < due && !base.is_shut_down()
        });
    }

    /// Writes all units that are only in memory, but begins no queue after `goes_on`, given how many of the round had their turn, said no:
    /// it stays with those that are only in memory. False when some are not written.
    pub(super) fn write_while(&self, base: &Base, appender: &Appender, goes_on: impl Fn(usize) -> bool) -> bool {
        let mut writes = self.writes.lock();
        // The round under way knows nothing of what came since it began.
        let under_way = writes.round.take();
        under_way.is_none_or(|round| writes.write_round(base, appender, round, &goes_on))
            && writes.write_round(base, appender, begin_round(base, appender), &goes_on)
    }

    /// How far the log has its units in the files; after a failed sync the kernel may have dropped what was written, on this boot too.
    pub(super) fn written(&self, base: &Base) -> Indexed {
        if base.is_poisoned() { Indexed::default() } else { self.writes.lock().written }
    }

    pub(super) fn unsynced_count(&self) -> usize {
        self.writes.lock().unsynced.len()
    }

    /// Many small files take their time: this is done by the indexer's thread, which nobody waits for.
    pub(super) fn sync_when_due(&self, base: &Base, flusher: &Flusher) {
        let now = base.clock.nanos();
        let due = {
            let mut writes = self.writes.lock();
            let interval = base.config.load().flush_consume_queue_thorough_interval * 1_000_000;
            if writes.next_sync_nanos == 0 {
                writes.next_sync_nanos = now + interval;
            }
            let unsynced_bytes = writes.written.mark.position - base.checkpoints.queues_synced_to();
            let due = (now >= writes.next_sync_nanos && unsynced_bytes > 0) || unsynced_bytes >= UNSYNCED_LOG_BYTES_MAX;
            let due = due && now >= writes.sync_again_nanos && !base.is_poisoned();
            if due {
                writes.next_sync_nanos = now + interval;
            }
            due
        };
        if due && let Err(error) = self.sync(base, flusher) {
            let mut writes = self.writes.lock();
            writes.sync_again_nanos = now + AGAIN_NANOS;
            writes.next_sync_nanos = now + AGAIN_NANOS;
            if base.complaints.queue_sync.is_due(now) {
                error!(%error, "cannot sync the ConsumeQueues: after a power cut more of the log would be read again; trying again");
            }
        }
    }

    /// Makes the written units durable, after the log that they point into.
    pub(super) fn sync(&self, base: &Base, flusher: &Flusher) -> io::Result<()> {
        let _one_at_a_time = self.syncing.lock();
        let (unsynced, written, store_timestamp, everything) = {
            let mut writes = self.writes.lock();
            let everything = std::mem::take(&mut writes.sync_everything);
            (std::mem::take(&mut writes.unsynced), writes.written, writes.written_store_timestamp, everything)
        };
        if flusher.progress.flushed() < written.mark.position {
            flusher.flush(base);
        }
        if flusher.progress.flushed() < written.mark.position {
            return Err(io::Error::other("the log could not be synced"));
        }
        let everything = everything || unsynced.len() > SYNCED_ONE_BY_ONE_MAX;
        // What was taken from the lists is on none of them while it is synced.
        let synced = or_abort("a sync of ConsumeQueues", || sync_queues(base, &unsynced, everything));
        if let Err(error) = synced {
            base.poison_if_sync_failed(&error);
            self.writes.lock().sync_everything = true;
            return Err(error);
        }
        // An earlier sync may have failed and taken its share of the queues with it: then nothing more is known to be durable.
        if base.is_poisoned() {
            return Err(io::Error::other("a sync failed before"));
        }
        base.checkpoints.queues_are_synced(written, store_timestamp);
        Ok(())
    }

    /// Removes a topic's queues and their files. `between` runs now and then.
    pub(super) fn delete_queues(
        &self,
        base: &Base,
        topic: &str,
        is_going: &dyn Fn(&ConsumeQueue) -> bool,
        between: impl Fn(),
    ) -> Result<(), StoreError> {
        let is_going = |queue: &ConsumeQueue| *queue.topic == *topic && is_going(queue);
        let announced = self.announce_deletion(base, &is_going);
        let removed = announced.and_then(|()| self.remove_queues(base, topic, &is_going, between));
        // No queue's file may be written back while its directory goes.
        let mut writes = self.writes.lock();
        writes.left_by_deletion = None;
        removed?;
        // A name that may have no directory has none.
        let Some(dir) = base.queues.files.topic_dir(topic) else { return Ok(()) };
        if base.fs.exists(&dir) {
            match base.fs.remove_dir(&dir) {
                // Something else lies in it: as in Java it stays.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => other.map_err(at_path("remove", &dir))?,
            }
            base.fs.sync_dir(base.queues.files.root()).map_err(at_path("sync", base.queues.files.root()))?;
        }
        Ok(())
    }

    /// Until the topic is gone a mark counts the queues that stay, and needs no unit of it: such a one is on the disk before the first goes.
    fn announce_deletion(&self, base: &Base, is_going: &dyn Fn(&ConsumeQueue) -> bool) -> Result<(), StoreError> {
        let mut writes = self.writes.lock();
        let stays = |queue: &Arc<ConsumeQueue>| !is_going(queue) && queue.has_files() && !writes.unsynced.contains_key(&queue.cache_id());
        let left = base.queues.all().iter().filter(|queue| stays(queue)).count() as u32;
        // Nobody must miss the topic's queues at a start.
        queue_ends::forget(base.fs.as_ref(), &base.root).map_err(at_path("remove the ends of the ConsumeQueues in", &base.root))?;
        writes.left_by_deletion = Some(left);
        writes.written.queues_left = Some(left);
        let written = if base.is_poisoned() { Indexed::default() } else { writes.written };
        base.checkpoints.queues_go(base.log.min_offset(), written, left).map_err(at_path("checkpoint", &base.root))
    }

    /// Some at a time, from the last on: a topic may have very many, and whoever writes queues has his turn after each step.
    fn remove_queues(
        &self,
        base: &Base,
        topic: &str,
        is_going: &dyn Fn(&ConsumeQueue) -> bool,
        between: impl Fn(),
    ) -> Result<(), StoreError> {
        let mut going = base.queues.of_topic(topic);
        going.retain(|queue| is_going(queue));
        for queues in going.rchunks(QUEUES_PER_PASS) {
            let writes = self.writes.lock();
            for queue in queues.iter().rev() {
                queue.destroy(&base.queues.files).map_err(at_path("remove", queue.dir()))?;
                base.queues.remove_queue(queue);
            }
            MutexGuard::unlock_fair(writes);
            between();
        }
        Ok(())
    }

    /// The log lost its oldest files: so do the ConsumeQueues.
    pub(super) fn expire(&self, base: &Base) {
        let min = base.log.min_offset();
        for queue in base.queues.all() {
            // Its topic must not be deleted meanwhile: a queue that takes its place has files of the same names.
            let _no_deletion = self.writes.lock();
            let expired = queue.ensure_loaded(&base.queues.files, &base.log).map_err(|error| error.to_string());
            if let Err(error) = expired.and_then(|()| queue.expire(&base.queues.files, min).map_err(|error| error.to_string())) {
                error!(topic = %queue.topic, queue_id = queue.queue_id, %error, "cannot expire a ConsumeQueue");
            }
        }
    }
}

fn sync_queues(base: &Base, queues: &HashMap<u32, Arc<ConsumeQueue>>, everything: bool) -> io::Result<()> {
    if everything {
        queues.values().for_each(|queue| queue.forget_unsynced());
        return base.fs.sync_file_system(&base.root);
    }
    queues.values().try_for_each(|queue| queue.sync(&base.queues.files))
}

fn begin_round(base: &Base, appender: &Appender) -> Round {
    let mut end = appender.lock();
    Round {
        queues: end.take_unwritten(),
        turns: 0,
        failed: Vec::new(),
        began_nanos: base.clock.nanos(),
        messages: base.stats.put_times.load(Ordering::Relaxed),
        position: end.tail.position,
        last_record: end.last_record,
        store_timestamp: end.last_store_timestamp,
    }
}

impl Writes {
    /// Goes on with a round while `goes_on` says so, given how many queues had their turn. Whether the round is over and all are written.
    fn write_round(&mut self, base: &Base, appender: &Appender, round: Round, goes_on: impl Fn(usize) -> bool) -> bool {
        // A round that is lost would be taken for written by the mark of the next one.
        or_abort("a round of queue writes", || self.write_queues_of(base, appender, round, goes_on))
    }

    fn write_queues_of(&mut self, base: &Base, appender: &Appender, mut round: Round, goes_on: impl Fn(usize) -> bool) -> bool {
        while let Some(queue) = round.queues.get(round.turns) {
            if !goes_on(round.turns) {
                self.round = Some(round);
                return false;
            }
            match queue.write_pending(&base.queues.files) {
                Ok(0) => {}
                Ok(_) => drop(self.unsynced.insert(queue.cache_id(), Arc::clone(queue))),
                Err(error) => {
                    if !base.health.queue_error.swap(true, Ordering::SeqCst) {
                        error!(topic = %queue.topic, queue_id = queue.queue_id, %error, "cannot write a ConsumeQueue: messages are refused until it works");
                    }
                    round.failed.push(Arc::clone(queue));
                }
            }
            round.turns += 1;
        }
        self.end_round(base, appender, round)
    }

    /// Whether all are written.
    fn end_round(&mut self, base: &Base, appender: &Appender, round: Round) -> bool {
        let just_written: HashSet<u32> = round.queues.iter().map(|queue| queue.cache_id()).collect();
        for queue in std::mem::replace(&mut self.warm, round.queues) {
            if !just_written.contains(&queue.cache_id()) && !queue.is_unwritten.load(Ordering::Relaxed) {
                queue.release_tail();
            }
        }
        if !round.failed.is_empty() {
            let mut end = appender.lock();
            round.failed.iter().for_each(|queue| end.note_unwritten(queue));
            return false;
        }
        if round.position != self.written.mark.position {
            match Indexed::at(&base.log, &base.queues, round.position, round.last_record) {
                Ok(written) => {
                    self.written = Indexed { queues_left: self.left_by_deletion.or(written.queues_left), ..written };
                    self.written_store_timestamp = round.store_timestamp;
                }
                // The mark before it is as true.
                Err(error) => warn!(%error, position = round.position, "cannot read the end of the log"),
            }
        }
        base.health.queue_error.store(false, Ordering::SeqCst);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::PathBuf;

    use super::super::queue_files::QueueDir;
    use super::super::{ArrivalListener, MemoryFs, MessageStore, StoreConfig};
    use super::*;
    use crate::runtime::ManualClock;

    struct Nobody;

    impl ArrivalListener for Nobody {
        fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
    }

    /// Whoever deletes a topic of many queues keeps neither the keeper from writing others' nor senders from space in the log.
    #[test]
    fn a_topic_goes_in_steps_between_which_queues_can_be_written() {
        let fs = MemoryFs::new();
        let config =
            StoreConfig { mapped_file_size_commit_log: 1 << 20, max_hash_slot_num: 50, max_index_num: 120, ..StoreConfig::at("/store") };
        let store = MessageStore::open(config, fs.shared(), Arc::new(ManualClock::at_millis(1)), Arc::new(Nobody)).unwrap();
        let queues = &store.base.queues;
        for queue_id in 0..3 * QUEUES_PER_PASS as i32 + 1 {
            queues.get_or_create("T", queue_id, true).unwrap();
        }
        let left = RefCell::new(Vec::new());
        let between = || {
            assert!(store.queue_writer.writes.try_lock().is_some());
            left.borrow_mut().push(queues.of_topic("T").len());
        };
        store.queue_writer.delete_queues(&store.base, "T", &|_| true, between).unwrap();
        assert_eq!(left.into_inner(), [2 * QUEUES_PER_PASS + 1, QUEUES_PER_PASS + 1, 1, 0]);
        store.shutdown().unwrap();
    }

    #[test]
    fn a_round_is_as_far_as_its_time_or_its_log_or_its_messages() {
        let queue = Arc::new(ConsumeQueue::new(Arc::from("T"), 0, QueueDir::new(0, PathBuf::new())));
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
