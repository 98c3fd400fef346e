// SPDX-License-Identifier: Apache-2.0
//! A small table that speaks of the log, in a file beside it. The file names, or stands for, the place in the log up to which the table
//! is true, and never runs ahead of the disk: it is written only once the log is flushed up to there. A crash finds an older table, and
//! what the log has behind it happens again; it never finds one that speaks of records that are lost.
//!
//! Knows bytes and positions. Used for delay offsets and for open transactions.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::persist::{ConfigFile, PersistError};

/// A table as it was at some moment.
#[derive(Debug)]
pub struct Taken<T> {
    /// The log's end at that moment, or before: what the table says of the log is true up to here.
    pub position: i64,
    pub bytes: Vec<u8>,
    /// What must be told elsewhere before the bytes are written.
    pub told: T,
}

#[derive(Debug)]
pub struct Checkpointed<T> {
    file: ConfigFile,
    /// The table has changed since it was last taken.
    changed: AtomicBool,
    /// Held while the file is written, so that no older table replaces a newer one.
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    taken_millis: i64,
    /// At most one waits for the disk: those that follow each other say the same and more.
    waiting: Option<Taken<T>>,
}

impl<T> Checkpointed<T> {
    pub fn new(file: ConfigFile, now_millis: i64) -> Self {
        Self { file, changed: AtomicBool::new(false), state: Mutex::new(State { taken_millis: now_millis, waiting: None }) }
    }

    /// To be called after each change of the table.
    pub fn changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Takes the table when it has changed and the last time is `interval_millis` ago, and writes what was taken as soon as the log is
    /// `flushed` up to its position. `take` may say that it cannot now. Blocks on the disk.
    pub fn keep_up(
        &self,
        now_millis: i64,
        interval_millis: i64,
        take: impl FnOnce() -> Option<Taken<T>>,
        flushed: impl FnOnce() -> i64,
        tell: impl FnOnce(&T),
    ) -> Result<(), PersistError> {
        let mut state = self.state.lock();
        let is_due = state.waiting.is_none() && now_millis - state.taken_millis >= interval_millis;
        if is_due && self.changed.swap(false, Ordering::AcqRel) {
            state.waiting = take();
            if state.waiting.is_some() {
                state.taken_millis = now_millis;
            } else {
                self.changed();
            }
        }
        let Some(waiting) = &state.waiting else { return Ok(()) };
        if waiting.position > flushed() {
            return Ok(());
        }
        let Some(taken) = state.waiting.take() else { return Ok(()) };
        tell(&taken.told);
        self.file.store(&taken.bytes).inspect_err(|_| self.changed())
    }

    /// Takes and writes the table at once: right when the store is closed, so that all the log has is on the disk.
    pub fn write_closed(&self, take: impl FnOnce() -> Option<(Vec<u8>, T)>, tell: impl FnOnce(&T)) -> Result<(), PersistError> {
        let mut state = self.state.lock();
        self.changed.store(false, Ordering::Release);
        let waiting = state.waiting.take();
        // When it cannot be taken, what waits was flushed with the rest.
        let Some((bytes, told)) = take().or_else(|| waiting.map(|taken| (taken.bytes, taken.told))) else { return Ok(()) };
        tell(&told);
        self.file.store(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::store::{MemoryFs, Operation};

    const PATH: &str = "/store/config/table.json";

    fn read(fs: &MemoryFs) -> Option<Vec<u8>> {
        fs.shared().read(Path::new(PATH)).ok()
    }

    fn taken(position: i64) -> Taken<i64> {
        Taken { position, bytes: position.to_string().into_bytes(), told: position }
    }

    #[test]
    fn a_table_is_taken_when_it_changed_and_written_when_the_log_is_flushed_so_far() {
        let fs = MemoryFs::new();
        let table = Checkpointed::new(ConfigFile::new(fs.shared(), PATH), 0);
        let (end, flushed, told) = (Cell::new(100), Cell::new(0), Cell::new(0));
        let keep_up = |now| table.keep_up(now, 10, || Some(taken(end.get())), || flushed.get(), |position| told.set(*position));
        keep_up(10).unwrap();
        table.changed();
        keep_up(9).unwrap();
        flushed.set(99);
        keep_up(10).unwrap();
        end.set(200);
        table.changed();
        keep_up(20).unwrap();
        assert_eq!((read(&fs), told.get()), (None, 0), "the log is not flushed so far");
        flushed.set(100);
        keep_up(21).unwrap();
        assert_eq!((read(&fs), told.get()), (Some(b"100".to_vec()), 100), "as it was when it was taken");
        keep_up(22).unwrap();
        flushed.set(200);
        keep_up(22).unwrap();
        assert_eq!(read(&fs), Some(b"200".to_vec()), "the change since");
        end.set(300);
        keep_up(90).unwrap();
        assert_eq!(read(&fs), Some(b"200".to_vec()), "nothing has changed");
    }

    #[test]
    fn what_could_not_be_taken_or_written_is_tried_again() {
        let fs = MemoryFs::new();
        let table = Checkpointed::new(ConfigFile::new(fs.shared(), PATH), 0);
        let keep_up = |now, taken| table.keep_up(now, 0, || taken, || 1_000, |_| ());
        table.changed();
        keep_up(1, None).unwrap();
        fs.fail(Operation::SyncData, PATH, std::io::ErrorKind::Other, usize::MAX);
        assert!(keep_up(2, Some(taken(5))).is_err());
        fs.heal();
        keep_up(3, Some(taken(6))).unwrap();
        assert_eq!(read(&fs), Some(b"6".to_vec()));
        table.changed();
        table.keep_up(4, 0, || Some(taken(7)), || 0, |_| ()).unwrap();
        table.write_closed(|| Some((b"8".to_vec(), 8)), |_| ()).unwrap();
        assert_eq!(read(&fs), Some(b"8".to_vec()));
        keep_up(5, Some(taken(9))).unwrap();
        assert_eq!(read(&fs), Some(b"8".to_vec()), "nothing older, and nothing unchanged, follows it");
    }
}
