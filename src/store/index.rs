// SPDX-License-Identifier: Apache-2.0
//! The message index: which messages have this key, unique key or tag. Built behind the puts, from the log.
//!
//! How far it has come stands in the newest IndexFile itself; what a stop left undone, or a Java broker wrote meanwhile, is
//! read from the log again. A query first lets the index catch up. A put never waits for it.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use chrono::{NaiveDateTime, TimeDelta};
use ferrocket_protocol::java_hash::string_hash;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::base::Base;
use super::commit_log::CommitLog;
use super::dispatch::{TAG_KIND, push_keys};
use super::fs::{Fs, is_failed_sync};
use super::index_file::{IndexFile, Key, key_hash};
use super::log_reader::LogReader;
use super::record;
use super::{StoreConfig, StoreError, at_path};
use crate::runtime::local_time;

/// Keys that are added at once: enough to make the system calls of a batch cheap, few enough that whoever waits for the processor
/// gets it within a tenth of a millisecond.
const BATCH_KEYS_MAX: usize = 512;
/// A query waits for the index only if it is not further behind.
const QUERY_CATCH_UP_BYTES_MAX: i64 = 256 * 1024 * 1024;

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexType {
    Key,
    Unique,
    Tag,
}

/// The records found, oldest first, and how far the index had come.
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    pub records: Vec<Bytes>,
    pub index_last_update_timestamp: i64,
    pub index_last_update_phyoffset: i64,
}

/// What a query may find at most. One message comes in any case.
#[derive(Clone, Copy, Debug)]
pub struct QueryMax {
    pub count: usize,
    pub bytes: usize,
}

impl QueryResult {
    /// False when it would be too much.
    fn take(&mut self, record: &[u8], bytes_max: usize) -> bool {
        let taken: usize = self.records.iter().map(Bytes::len).sum();
        let fits = self.records.is_empty() || taken + record.len() <= bytes_max;
        if fits {
            self.records.push(Bytes::copy_from_slice(record));
        }
        fits
    }
}

pub(super) struct Indexer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    slot_count: u32,
    entry_count: u32,
    enabled: bool,
    state: Mutex<State>,
    /// As `State::position`, for who must not wait while a batch is written.
    reached: AtomicI64,
}

struct State {
    /// Oldest first.
    files: Vec<IndexFile>,
    /// Messages before this place of the log have their entries.
    position: i64,
    failing: bool,
}

struct Found64 {
    offsets: Vec<i64>,
    last_timestamp: i64,
    last_offset: i64,
}

impl Indexer {
    /// `trusted`: what was written before the stop is there. Otherwise, as in Java, only files stay that were complete and synced.
    pub(super) fn load(
        fs: Arc<dyn Fs>,
        config: &StoreConfig,
        log: &CommitLog,
        synced_timestamp: i64,
        trusted: bool,
    ) -> Result<Self, StoreError> {
        let dir = config.store_path_root_dir.join("index");
        let mut state = State { files: Vec::new(), position: log.min_offset(), failing: false };
        let index = |fs, state: State| Self {
            fs,
            dir: dir.clone(),
            slot_count: config.max_hash_slot_num,
            entry_count: config.max_index_num,
            enabled: config.message_index_enable,
            reached: AtomicI64::new(state.position),
            state: Mutex::new(state),
        };
        if !config.message_index_enable {
            return Ok(index(fs, state));
        }
        fs.create_dir_all(&dir).map_err(at_path("create directory", &dir))?;
        let mut names: Vec<String> =
            fs.read_dir(&dir).map_err(at_path("list", &dir))?.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect();
        names.retain(|name| {
            let is_ours = name.len() == FILE_NAME_DIGITS && name.parse::<u64>().is_ok();
            if !is_ours {
                warn!(path = %dir.join(name).display(), "not an index file: left alone");
            }
            is_ours
        });
        names.sort();
        let count = names.len();
        let mut all_later = false;
        for (number, name) in names.into_iter().enumerate() {
            let path = dir.join(name);
            let file =
                IndexFile::open(fs.as_ref(), &path, config.max_hash_slot_num, config.max_index_num).map_err(at_path("open", &path))?;
            let agrees = |file: &IndexFile| {
                // A file is synced before the next one is made; Java says the same by the time.
                let complete = number + 1 < count && file.header.end_timestamp <= synced_timestamp;
                let behind = file.header.end_offset >= log.max_offset();
                !behind && (trusted || complete) && !file.header.is_empty()
            };
            match file {
                Some(file) if !all_later && agrees(&file) => {
                    state.files.push(file);
                    continue;
                }
                Some(_) => info!(path = %path.display(), "removing an index file that may not agree with the log: it is built again"),
                None if all_later || number + 1 == count && !trusted => {
                    info!(path = %path.display(), "removing an index file that was not finished: it is built again")
                }
                None => {
                    warn!(path = %path.display(), "an index file is damaged, or written with another maxHashSlotNum or maxIndexNum: it and all later ones are built again from the log")
                }
            }
            all_later = true;
            fs.remove_file(&path).map_err(at_path("remove", &path))?;
        }
        if let Some(last) = state.files.last().map(|file| file.header.end_offset) {
            // The message at that place has its entries; the next one is the first without.
            let after = end_of_record(log, last).map_err(at_path("read the log for", &dir))?;
            state.position = after.max(log.min_offset());
        }
        Ok(index(fs, state))
    }

    fn roll(&self, state: &mut State, now_millis: i64) -> io::Result<()> {
        let newest = state.files.last().and_then(|file| file.path.file_name()?.to_str()).unwrap_or_default();
        let name = file_name_after(newest, now_millis);
        let previous = state.files.last().map(|file| file.header);
        let path = self.dir.join(name);
        let fs = self.fs.as_ref();
        let created = IndexFile::create(fs, &path, self.slot_count, self.entry_count, previous.as_ref()).and_then(|file| {
            file.write_header(fs)?;
            fs.sync_dir(&self.dir)?;
            Ok(file)
        });
        match created {
            Ok(file) => state.files.push(file),
            Err(error) => {
                // The next attempt has another name.
                self.remove_if_there(&path);
                return Err(error);
            }
        }
        Ok(())
    }

    fn remove_if_there(&self, path: &Path) {
        match self.fs.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %path.display(), %error, "cannot remove an index file that is not used");
            }
            _ => {}
        }
    }

    /// Of the newest file a sync has failed: what the disk holds nobody can know, so it is made again from the log.
    fn make_newest_again(&self, state: &mut State) {
        if let Some(file) = state.files.pop() {
            state.position = file.header.begin_offset;
            self.remove_if_there(&file.path);
        }
    }

    /// Adds the keys of messages in log order. The store time of a file's last message, when one was completed.
    fn add(&self, log: &CommitLog, state: &mut State, keys: &[Key], now_millis: i64) -> io::Result<Option<i64>> {
        let mut completed = None;
        let mut rest = keys;
        while let Some(first) = rest.first() {
            // A message's keys stay together: the file says by message how far it has come.
            let room = state.files.last().map_or(0, IndexFile::room);
            let mut fits = rest.len().min(room);
            while fits > 0 && fits < rest.len() && rest[fits].physical_offset == rest[fits - 1].physical_offset {
                fits -= 1;
            }
            if fits == 0 && state.files.last().is_some_and(|file| file.header.is_empty()) {
                // More keys than a whole file holds.
                let keys_of_first = rest.iter().take_while(|key| key.physical_offset == first.physical_offset).count();
                fits = keys_of_first.min(room);
                if fits == 0 {
                    return Err(io::Error::other("maxIndexNum leaves no room for a key"));
                }
                let skipped = keys_of_first - fits;
                warn!(offset = first.physical_offset, skipped, "a message has more keys than an index file holds");
                state.files.last_mut().expect("looked at").add(self.fs.as_ref(), &rest[..fits])?;
                rest = &rest[keys_of_first..];
                continue;
            }
            if fits == 0 {
                if let Some(full) = state.files.last_mut() {
                    if let Err(error) = full.complete(self.fs.as_ref()) {
                        if is_failed_sync(&error) {
                            self.make_newest_again(state);
                        }
                        return Err(error);
                    }
                    completed = Some(full.header.end_timestamp);
                }
                self.roll(state, now_millis)?;
                continue;
            }
            state.files.last_mut().expect("has room").add(self.fs.as_ref(), &rest[..fits])?;
            let last = rest[fits - 1].physical_offset;
            state.position = end_of_record(log, last)?;
            rest = &rest[fits..];
        }
        Ok(completed)
    }

    fn find(&self, config: &StoreConfig, hash: i32, max: usize, begin: i64, end: i64) -> io::Result<Found64> {
        let state = self.state.lock();
        let mut found = Found64 { offsets: Vec::new(), last_timestamp: 0, last_offset: 0 };
        let max = max.min(config.max_msgs_num_batch);
        for (age, file) in state.files.iter().rev().enumerate() {
            if age == 0 {
                found.last_timestamp = file.header.end_timestamp;
                found.last_offset = file.header.end_offset;
            }
            if file.overlaps(begin, end) {
                file.find(self.fs.as_ref(), hash, begin, end, max, &mut found.offsets)?;
            }
            if file.header.begin_timestamp < begin || found.offsets.len() >= max {
                break;
            }
        }
        Ok(found)
    }

    /// Removes files of which the log has nothing any more; never the last.
    pub(super) fn expire(&self, min_physical: i64) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.files.len() > 1 && state.files[0].header.end_offset < min_physical {
            // One that cannot be removed is tried again.
            match self.fs.remove_file(&state.files[0].path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(state.files.remove(0)),
            }
        }
        Ok(())
    }

    /// How much of a log that ends there has no entries yet.
    pub(super) fn behind_bytes(&self, log_end: i64) -> i64 {
        if self.enabled { (log_end - self.reached.load(Ordering::Acquire)).max(0) } else { 0 }
    }
}

/// Year to millisecond of the local time at which the file was made.
const FILE_NAME_FORMAT: &str = "%Y%m%d%H%M%S%3f";
const FILE_NAME_DIGITS: usize = 17;

/// The name of a file made now. Names rise, also when the clock (or the zone's) was set back, however far.
fn file_name_after(newest: &str, now_millis: i64) -> String {
    let name = local_time(now_millis).format(FILE_NAME_FORMAT).to_string();
    if *name > *newest {
        return name;
    }
    let moment = NaiveDateTime::parse_from_str(newest, FILE_NAME_FORMAT).ok();
    let next =
        moment.and_then(|moment| moment.checked_add_signed(TimeDelta::seconds(1))).map(|next| next.format(FILE_NAME_FORMAT).to_string());
    // A name that is no time is only a number.
    let number = newest.parse::<u64>().unwrap_or(0) + 1;
    next.filter(|next| **next > *newest).unwrap_or_else(|| format!("{number:017}"))
}

/// Where the record at this place ends; the place itself when none is there.
fn end_of_record(log: &CommitLog, offset: i64) -> io::Result<i64> {
    Ok(log.head(offset)?.map_or(offset, |head| offset + head.total_bytes as i64))
}

impl Indexer {
    /// Brings the index up to where the log ends now; whether it was behind. What comes meanwhile is the next call's: one message at a
    /// time, it would never end.
    pub(super) fn build(&self, base: &Base) -> bool {
        if !self.enabled {
            return false;
        }
        let end = base.log.max_offset();
        let mut has_grown = false;
        loop {
            {
                let mut state = self.state.lock();
                match self.build_batch(base, &mut state, end) {
                    Ok(true) => state.failing = false,
                    Ok(false) => return has_grown,
                    Err(error) => {
                        if !std::mem::replace(&mut state.failing, true) {
                            error!(%error, "cannot write the index: it waits in the log and is tried again");
                        }
                        return has_grown;
                    }
                }
            }
            has_grown = true;
            // A connection that waits for the processor goes first.
            std::thread::yield_now();
        }
    }

    /// One batch of what is before `end`; false when there is nothing to do.
    fn build_batch(&self, base: &Base, state: &mut State, end: i64) -> io::Result<bool> {
        state.position = state.position.max(base.log.min_offset());
        if state.position >= end {
            return Ok(false);
        }
        let Some(file) = base.log.files.find(state.position) else { return Ok(false) };
        let mut keys = Vec::with_capacity(BATCH_KEYS_MAX);
        let mut position = state.position;
        let file_end = file.end_offset().min(end);
        let is_hot = base.log.is_hot(position);
        let mut reader = LogReader::default();
        while keys.len() < BATCH_KEYS_MAX && position < file_end {
            let rest = if is_hot {
                file.read((position - file.start_offset()) as usize, (file_end - position) as usize)
            } else {
                match reader.bytes(&file, position) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        error!(%error, "a part of the log cannot be read: the rest of this file is not indexed");
                        position = file_end;
                        break;
                    }
                }
            };
            if let Some(record) = record::named(rest, position) {
                push_keys(&record, position, &mut keys);
                position += record.head.total_bytes as i64;
                continue;
            }
            if !record::is_blank(rest) {
                error!(position, "the log has no record here: the rest of this file is not indexed");
            }
            position = if record::is_blank(rest) { file.end_offset() } else { file_end };
            break;
        }
        let completed = self.add(&base.log, state, &keys, base.clock.now_millis())?;
        state.position = position;
        self.reached.store(position, Ordering::Release);
        if let Some(timestamp) = completed {
            base.checkpoints.index_is_synced(timestamp);
        }
        Ok(true)
    }

    /// Syncs the newest file; those before it were synced when they were complete.
    pub(super) fn close(&self, base: &Base) -> io::Result<()> {
        self.build(base);
        self.state.lock().files.last().map_or(Ok(()), |newest| newest.sync(self.fs.as_ref()))
    }

    /// Messages of a topic by key, stored within the times, oldest first. Keys are compared by hash only, as in Java: the
    /// client looks closer.
    pub(super) fn query(
        &self,
        base: &Base,
        topic: &str,
        key: &str,
        max: QueryMax,
        times: RangeInclusive<i64>,
        kind: IndexType,
    ) -> QueryResult {
        let (begin, end) = times.into_inner();
        if !self.enabled {
            return QueryResult::default();
        }
        if self.behind_bytes(base.log.max_offset()) <= QUERY_CATCH_UP_BYTES_MAX {
            self.build(base);
        } else {
            warn!("the index is still being built: a query may not find everything");
        }
        let text = match kind {
            IndexType::Key | IndexType::Unique => format!("{topic}#{key}"),
            IndexType::Tag => format!("{topic}#{TAG_KIND}{key}"),
        };
        let hash = key_hash(string_hash(&text));
        let config = base.config.load();
        let mut result = QueryResult::default();
        let mut until = end;
        // Messages that the index still names may have expired: then Java looks for older ones, in three rounds at most.
        for _ in 0..3 {
            let mut found = match self.find(&config, hash, max.count, begin, until) {
                Ok(found) => found,
                Err(error) => {
                    error!(%error, "reading the index failed");
                    return result;
                }
            };
            if found.offsets.is_empty() {
                break;
            }
            found.offsets.sort_unstable();
            result.index_last_update_timestamp = found.last_timestamp;
            result.index_last_update_phyoffset = found.last_offset;
            match base.log.store_timestamp(found.offsets[0]) {
                Ok(Some(timestamp)) => until = timestamp,
                Ok(None) => {}
                Err(error) => error!(%error, "reading the log failed"),
            }
            for offset in &found.offsets {
                match base.log.with_record(*offset, |record| result.take(record.record, max.bytes)) {
                    Ok(Some(false)) => break,
                    Ok(_) => {}
                    // The others may be all that is asked for.
                    Err(error) => error!(offset, %error, "reading a message that the index names failed"),
                }
            }
            if !result.records.is_empty() || until < begin {
                break;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_index_files_rise_whatever_the_clock_does() {
        let now = 1_700_000_000_000;
        let name = file_name_after("", now);
        assert_eq!(name.len(), FILE_NAME_DIGITS);
        assert_eq!(name, local_time(now).format(FILE_NAME_FORMAT).to_string());
        assert_eq!(file_name_after("99981231235959999", now), "99990101000000999", "a clock that was far ahead");
        assert_eq!(file_name_after("20261399000000000", now), "20261399000000001", "no time at all");
    }
}
