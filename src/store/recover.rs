// SPDX-License-Identifier: Apache-2.0
//! Where does the log end, and which of its messages do the ConsumeQueues lack?
//!
//! Reading starts at our own mark when it still fits the log, else where the original would start. Every record from there on
//! is checked; each queue that one of them belongs to is cut at the first of them and written anew.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ferrocket_protocol::message::MessageView;
use tracing::{error, info, warn};

use super::checkpoint::{Checkpoint, Position, hash_of};
use super::commit_log::CommitLog;
use super::consume_queue::ConsumeQueue;
use super::dispatch::is_dispatched;
use super::fs::Fs;
use super::log_reader::{LogReader, forward_over_damage};
use super::mapped_file::MappedFile;
use super::mark::{Indexed, Mark};
use super::queue_ends::QueueEnds;
use super::queue_table::QueueTable;
use super::record::Found;
use super::set_aside::set_aside;
use super::unit::Unit;
use super::{StoreConfig, StoreError, at_path};

/// Units that recovery holds in memory (20 bytes each) before it writes them: what two rounds of queue writes leave to it, so that a
/// start after a kill does not wait for the files of many queues.
const PENDING_UNITS_MAX: usize = 1_000_000;

pub(super) struct Recovered {
    pub(super) end: i64,
    /// Start of the last record; -1 when there is none.
    pub(super) last_record: i64,
    pub(super) last_store_timestamp: i64,
    /// Queues with units that were not in their files.
    pub(super) redispatched: Vec<Arc<ConsumeQueue>>,
    /// What our position file says is durable, as far as it is believed.
    pub(super) synced: Indexed,
}

struct Start {
    offset: i64,
    /// Records from here on go to the ConsumeQueues.
    dispatch_from: i64,
    last_record: i64,
}

/// What the last stop left besides the log and the queues.
pub(super) struct RecoveryInput<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) position: Option<&'a Position>,
    /// Where the queues ended at the last stop that was in order; no topic was deleted since.
    pub(super) ends: Option<QueueEnds>,
    pub(super) orderly: bool,
}

pub(super) fn recover(
    fs: &dyn Fs,
    config: &StoreConfig,
    log: &CommitLog,
    queues: &QueueTable,
    left: RecoveryInput<'_>,
) -> Result<Recovered, StoreError> {
    let RecoveryInput { checkpoint, position, ends, orderly } = left;
    let files = log.files.files();
    let Some(last_file) = files.last() else {
        say_what_is_gone(position, orderly, 0);
        return without_log(log, queues);
    };
    log.set_readable_end(last_file.end_offset());
    if let Some(begins) = position.and_then(|position| position.log_begins)
        && begins < log.min_offset()
    {
        let (from, to) = (begins, log.min_offset());
        warn!(
            from,
            to,
            "the log begins later than when this server last wrote to it: files expired just before a kill or under another broker, or somebody removed them"
        );
    }
    let boot_id = fs.boot_id();
    let same_boot = |position: &&Position| !boot_id.is_empty() && position.boot == hash_of(&boot_id);
    let ends = match ends {
        Some(ends) if is_of_log(log, queues, &ends.mark)? => Some(ends),
        _ => None,
    };
    let ended_at = ends.as_ref().map(|ends| ends.mark);
    let lost = ends.map(|ends| lost_queues(queues, ends)).unwrap_or_default();
    let fitting = |indexed: Indexed| {
        // Of queues whose ends are known no single unit has to speak for all.
        let fits = ended_at == Some(indexed.mark) || fits(log, queues, &indexed)?;
        Ok::<_, StoreError>(fits.then_some(indexed))
    };
    let synced = position.map(|position| fitting(position.synced)).transpose()?.flatten().unwrap_or_default();
    let written = position.filter(|position| same_boot(position) || (position.clean && orderly));
    let written = written.map(|position| fitting(position.written)).transpose()?.flatten();
    let trusted = written.is_some() || synced.mark.position >= 0;
    let start = match written.or((synced.mark.position >= 0).then_some(synced)) {
        Some(Indexed { mark, .. }) => Start { offset: mark.position, dispatch_from: mark.position, last_record: mark.last_record },
        None if orderly => start_after_orderly_stop(config, log, queues, &files)?,
        None => start_after_crash(config, checkpoint, &files)?,
    };
    info!(offset = start.offset, trusted, orderly, "reading the log");
    let mut scan = scan(config, log, queues, &files, &start, lost)?;
    scan.rebuild_lost(log, queues)?;
    say_what_is_gone(position, orderly, scan.end);
    cut(fs, log, &files, scan.end, trusted && orderly)?;
    for queue in queues.all() {
        queue.cut_behind(&queues.files, scan.end)?;
        // What damage took from the log leaves its offsets: consumers may have passed them.
        if queue.is_loaded() && queue.fill_to_its_end(&queues.files, log)? {
            scan.note(queue);
        }
    }
    Ok(Recovered {
        end: scan.end,
        last_record: scan.last_record,
        last_store_timestamp: scan.last_store_timestamp,
        redispatched: scan.redispatched,
        synced,
    })
}

/// What was durable, or there when the store was stopped in order, no crash can take.
fn say_what_is_gone(position: Option<&Position>, orderly: bool, end: i64) {
    let Some(position) = position else { return };
    let was_there = if position.clean && orderly { position.written.mark.position } else { position.synced.mark.position };
    if was_there > end {
        error!(from = end, to = was_there, "the log's end is missing: it was on the disk up to there");
    }
}

/// Java too: without a log the ConsumeQueues mean nothing.
fn without_log(log: &CommitLog, queues: &QueueTable) -> Result<Recovered, StoreError> {
    for queue in queues.all() {
        warn!(topic = %queue.topic, queue_id = queue.queue_id, "removing a ConsumeQueue that has no log");
        queue.destroy(&queues.files).map_err(at_path("remove", queue.dir()))?;
        queues.remove_queue(&queue);
    }
    log.set_readable_end(0);
    Ok(Recovered { end: 0, last_record: -1, last_store_timestamp: 0, redispatched: Vec::new(), synced: Indexed::default() })
}

/// The log still is the one that the mark was made of.
fn is_of_log(log: &CommitLog, queues: &QueueTable, mark: &Mark) -> Result<bool, StoreError> {
    if mark.position < log.min_offset() || mark.position > log.max_offset() || mark.last_record < log.min_offset() {
        return Ok(false);
    }
    Ok(Mark::at(log, mark.position, mark.last_record).map_err(at_path("read the log of", queues.files.root()))? == *mark)
}

/// Tells the queues how far they reached once; those that have nothing of it, or not its end. One file of each is looked for, but only when
/// a directory is missing: else a queue that has lost its end is mended by itself when it is loaded.
fn lost_queues(queues: &QueueTable, ends: QueueEnds) -> HashMap<u32, Arc<ConsumeQueue>> {
    let mut known = Vec::with_capacity(ends.queues.len());
    let mut is_missing = false;
    for (topic, queue_id, end) in ends.queues {
        is_missing |= queues.get(&topic, queue_id).is_none();
        let Some(queue) = queues.get_or_create(&topic, queue_id, false) else { continue };
        queue.has_reached(end);
        known.push(queue);
    }
    known.retain(|queue| is_missing && queue.lacks_its_last_file(&queues.files));
    known.into_iter().map(|queue| (queue.cache_id(), queue)).collect()
}

/// The log and the ConsumeQueues still are what they were when the mark was made.
fn fits(log: &CommitLog, queues: &QueueTable, indexed: &Indexed) -> Result<bool, StoreError> {
    let mark = &indexed.mark;
    if !is_of_log(log, queues, mark)? {
        return Ok(false);
    }
    let failed = || at_path("read the log of", queues.files.root());
    if let Some(count) = indexed.queues_left {
        return Ok(queues.all().len() >= count as usize);
    }
    let unit_of_last = log.with_record(mark.last_record, |record| {
        if !is_dispatched(record.sys_flag) {
            return true;
        }
        let queue = queues.get(record.topic, record.queue_id);
        let unit = queue.and_then(|queue| queue.unit_before_loading(&queues.files, record.queue_offset));
        unit.is_some_and(|unit| unit.physical_offset == mark.last_record)
    });
    Ok(unit_of_last.map_err(failed())?.unwrap_or(false))
}

/// Java's: the last file whose first record the ConsumeQueues reach.
fn start_after_orderly_stop(
    config: &StoreConfig,
    log: &CommitLog,
    queues: &QueueTable,
    files: &[Arc<MappedFile>],
) -> Result<Start, StoreError> {
    let mut reached = -1;
    for queue in queues.all() {
        queue.ensure_loaded(&queues.files, log)?;
        reached = reached.max(queue.max_physical_end());
    }
    let matched = last_file_with(files, config, |offset, _| offset <= reached)?;
    let file = &files[matched];
    // A record that starts exactly where the ConsumeQueues end is missing in them; Java forgets it.
    Ok(Start { offset: file.start_offset(), dispatch_from: reached, last_record: -1 })
}

/// Java's: the last file whose first record was stored before everything was on the disk.
fn start_after_crash(config: &StoreConfig, checkpoint: &Checkpoint, files: &[Arc<MappedFile>]) -> Result<Start, StoreError> {
    let (timestamp, logics) = (checkpoint.min_timestamp(), checkpoint.logics_physical_offset);
    let matched = last_file_with(files, config, |offset, stored| stored <= timestamp && (logics <= 0 || offset <= logics))?;
    let offset = files[matched].start_offset();
    Ok(Start { offset, dispatch_from: offset, last_record: -1 })
}

/// The last file whose first record, by its offset and store time, is such a one; the first file without one.
fn last_file_with(files: &[Arc<MappedFile>], config: &StoreConfig, is_it: impl Fn(i64, i64) -> bool) -> Result<usize, StoreError> {
    for (number, file) in files.iter().enumerate().rev() {
        let mut reader = LogReader::default();
        let first = reader.check(file, file.start_offset(), config.check_crc_on_recover).map_err(at_path("read", file.path()))?;
        if let Found::Record(record) = first
            && record.store_timestamp != 0
            && is_it(record.physical_offset, record.store_timestamp)
        {
            return Ok(number);
        }
    }
    Ok(0)
}

#[derive(Default)]
struct Scan {
    end: i64,
    last_record: i64,
    last_store_timestamp: i64,
    redispatched: Vec<Arc<ConsumeQueue>>,
    /// Cache ids of the redispatched queues.
    cache_ids: HashSet<u32>,
    pending_units: usize,
    /// Records whose topic may have no queue.
    passed_over: u64,
    /// Records before this one are not dispatched.
    dispatch_from: i64,
    /// Queues that lack messages from before, by cache id: they are made from all of the log, once its end is known.
    lost: HashMap<u32, Arc<ConsumeQueue>>,
}

impl Scan {
    fn dispatch(&mut self, log: &CommitLog, queues: &QueueTable, record: &MessageView<'_>, unit: &Unit) -> Result<(), StoreError> {
        let Some(queue) = queues.get_or_create(record.topic, record.queue_id, true) else {
            self.pass_over(record);
            return Ok(());
        };
        if self.lost.contains_key(&queue.cache_id()) {
            return Ok(());
        }
        let may_be_lost = record.queue_offset > 0 && self.dispatch_from > log.min_offset() && !self.cache_ids.contains(&queue.cache_id());
        if may_be_lost && queue.has_nothing(&queues.files, log, record.queue_offset)? {
            self.lost.insert(queue.cache_id(), queue);
            return Ok(());
        }
        self.redispatch(log, queues, queue, record.queue_offset, unit)
    }

    fn redispatch(
        &mut self,
        log: &CommitLog,
        queues: &QueueTable,
        queue: Arc<ConsumeQueue>,
        offset: i64,
        unit: &Unit,
    ) -> Result<(), StoreError> {
        queue.redispatch(&queues.files, log, offset, unit)?;
        self.pending_units += 1;
        self.note(queue);
        if self.pending_units >= PENDING_UNITS_MAX {
            self.pending_units = 0;
            for queue in &self.redispatched {
                queue.write_pending(&queues.files).map_err(at_path("write", queue.dir()))?;
            }
        }
        Ok(())
    }

    /// It has units that are not in its files.
    fn note(&mut self, queue: Arc<ConsumeQueue>) {
        if self.cache_ids.insert(queue.cache_id()) {
            queue.is_unwritten.store(true, Ordering::Relaxed);
            self.redispatched.push(queue);
        }
    }

    /// One look at the log for all queues whose files are gone. Where it is damaged what follows is read all the same.
    fn rebuild_lost(&mut self, log: &CommitLog, queues: &QueueTable) -> Result<(), StoreError> {
        if self.lost.is_empty() {
            return Ok(());
        }
        let lost = std::mem::take(&mut self.lost);
        warn!(queues = lost.len(), "ConsumeQueues lack messages that the log may have: they are made from it again");
        let mut failed = None;
        let read = forward_over_damage(log, log.min_offset(), self.end, |record| {
            let Some(unit) = queues.files.dispatch.unit_of(record) else { return ControlFlow::Continue(()) };
            let queue = queues.get(record.topic, record.queue_id).filter(|queue| lost.contains_key(&queue.cache_id()));
            let done = queue.map(|queue| self.redispatch(log, queues, queue, record.queue_offset, &unit));
            failed = done.and_then(Result::err);
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        failed.map_or(Ok(()), Err)?;
        read.map_err(at_path("read the log of", queues.files.root()))?;
        for queue in lost.into_values() {
            if queue.fill_to_its_end(&queues.files, log)? {
                self.note(queue);
            }
        }
        Ok(())
    }

    /// It stays in the log, where no consumer finds it; what lies behind it is read on.
    fn pass_over(&mut self, record: &MessageView<'_>) {
        if self.passed_over == 0 {
            let (topic, offset) = (record.topic, record.physical_offset);
            warn!(?topic, offset, "the log has messages whose topic is no legal name: they are passed over, this is the first");
        }
        self.passed_over += 1;
    }
}

fn scan(
    config: &StoreConfig,
    log: &CommitLog,
    queues: &QueueTable,
    files: &[Arc<MappedFile>],
    start: &Start,
    lost: HashMap<u32, Arc<ConsumeQueue>>,
) -> Result<Scan, StoreError> {
    let (end, last_record) = (start.offset, start.last_record);
    let mut scan = Scan { end, last_record, dispatch_from: start.dispatch_from, lost, ..Scan::default() };
    if let Some(timestamp) = log.store_timestamp(start.last_record).map_err(at_path("read the log of", queues.files.root()))? {
        scan.last_store_timestamp = timestamp;
    }
    let mut reader = LogReader::default();
    for file in files.iter().filter(|file| file.end_offset() > start.offset) {
        if file.start_offset() > scan.end {
            error!(expected = scan.end, found = file.start_offset(), "the log has a gap: what lies behind it is lost");
            break;
        }
        loop {
            match reader.check(file, scan.end, config.check_crc_on_recover).map_err(at_path("read", file.path()))? {
                Found::Record(record) => {
                    if record.physical_offset >= start.dispatch_from
                        && let Some(unit) = queues.files.dispatch.unit_of(&record)
                    {
                        scan.dispatch(log, queues, &record, &unit)?;
                    }
                    scan.last_record = record.physical_offset;
                    scan.last_store_timestamp = record.store_timestamp;
                    scan.end += record.total_bytes() as i64;
                }
                Found::Blank if files.iter().any(|next| next.start_offset() == file.end_offset()) => {
                    scan.end = file.end_offset();
                    break;
                }
                Found::Blank | Found::Nothing => return Ok(scan),
            }
        }
    }
    Ok(scan)
}

/// The log ends here: later files go, and what lies behind in the last one.
fn cut(fs: &dyn Fs, log: &CommitLog, files: &[Arc<MappedFile>], end: i64, rest_is_zero: bool) -> Result<(), StoreError> {
    let rest_is_zero = !set_aside(fs, log, files, end)? && rest_is_zero;
    let files = log.files.files();
    for file in files.iter().rev() {
        let failed = at_path("cut", file.path());
        if file.start_offset() > end || (file.start_offset() == end && files.len() > 1) {
            info!(path = %file.path().display(), "removing a file behind the end of the log");
            log.files.remove(file).map_err(failed)?;
        } else if file.end_offset() > end {
            let at = (end - file.start_offset()) as usize;
            let mut behind = vec![0; 64.min(file.file_bytes() - at)];
            file.read_file(&mut behind, at, true).map_err(at_path("read", file.path()))?;
            let looks_empty = behind.iter().all(|byte| *byte == 0);
            if rest_is_zero && looks_empty {
                file.set_end(at);
            } else {
                file.truncate(at).map_err(failed)?;
            }
        }
    }
    Ok(())
}
