// SPDX-License-Identifier: Apache-2.0
//! What is known to be on the disk: Java's `checkpoint`, and beside it our own `ferrocket.position`.
//!
//! Ours may be deleted at any time. It says up to which position of the log the ConsumeQueues are written and how the last
//! record before that position looks, so a directory that a Java broker has changed since is noticed. Knows only its files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::fs::{Fs, FsFile};
use super::mark::{Indexed, Mark};

pub(super) const CHECKPOINT_FILE: &str = "checkpoint";
pub(super) const POSITION_FILE: &str = "ferrocket.position";
pub(super) const ABORT_FILE: &str = "abort";
pub(super) const LOCK_FILE: &str = "lock";

const CHECKPOINT_BYTES: usize = 4096;

/// Java's checkpoint: six longs at the head of 4096 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) physic_msg_timestamp: i64,
    pub(super) logics_msg_timestamp: i64,
    pub(super) index_msg_timestamp: i64,
    pub(super) master_flushed_offset: i64,
    pub(super) confirm_phy_offset: i64,
    /// Since 5.5: start of the last record whose unit is durable in its ConsumeQueue.
    pub(super) logics_physical_offset: i64,
}

impl Checkpoint {
    fn decode(bytes: &[u8]) -> Self {
        let long = |index: usize| {
            let at = index * 8;
            bytes.get(at..at + 8).map_or(0, |eight| i64::from_be_bytes(eight.try_into().expect("eight bytes")))
        };
        Self {
            physic_msg_timestamp: long(0),
            logics_msg_timestamp: long(1),
            index_msg_timestamp: long(2),
            master_flushed_offset: long(3),
            confirm_phy_offset: long(4),
            logics_physical_offset: long(5),
        }
    }

    fn encode(&self) -> [u8; 48] {
        let longs = [
            self.physic_msg_timestamp,
            self.logics_msg_timestamp,
            self.index_msg_timestamp,
            self.master_flushed_offset,
            self.confirm_phy_offset,
            self.logics_physical_offset,
        ];
        let mut bytes = [0; 48];
        for (long, place) in longs.iter().zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&long.to_be_bytes());
        }
        bytes
    }

    /// Records stored before this moment are in the log and in the ConsumeQueues on the disk.
    pub(super) fn min_timestamp(&self) -> i64 {
        (self.physic_msg_timestamp.min(self.logics_msg_timestamp) - 3_000).max(0)
    }
}

/// The open `checkpoint` file.
pub(super) struct CheckpointFile {
    file: Arc<dyn FsFile>,
}

impl CheckpointFile {
    pub(super) fn open(fs: &dyn Fs, root: &Path) -> io::Result<(Self, Checkpoint)> {
        let file = fs.create(&root.join(CHECKPOINT_FILE))?;
        if file.len()? < CHECKPOINT_BYTES as u64 {
            file.set_len(CHECKPOINT_BYTES as u64)?;
        }
        let mut bytes = [0; 48];
        file.read_at(&mut bytes, 0)?;
        Ok((Self { file }, Checkpoint::decode(&bytes)))
    }

    pub(super) fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.file.write_at(&checkpoint.encode(), 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Of a boot id, for `Position::boot`.
pub(super) fn hash_of(text: &str) -> u64 {
    // FNV-1a: only ever compared with itself.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// What `ferrocket.position` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) sequence: u64,
    /// The orderly stop wrote it: nothing lies behind `written`.
    pub(super) clean: bool,
    /// Hash of the boot under which `written` holds; another boot may have lost what was not synced.
    pub(super) boot: u64,
    pub(super) written: Indexed,
    /// As `written`, but durable.
    pub(super) synced: Indexed,
    /// Where the log began.
    pub(super) log_begins: Option<i64>,
}

const SLOT_BYTES: usize = 128;
const POSITION_MAGIC: u64 = 0x4652_5250_4f53_3031; // FRRPOS01

impl Position {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let longs = [
            POSITION_MAGIC,
            self.sequence,
            u64::from(self.clean),
            self.boot,
            self.written.mark.position as u64,
            self.written.mark.last_record as u64,
            u64::from(self.written.mark.last_record_crc),
            self.synced.mark.position as u64,
            self.synced.mark.last_record as u64,
            u64::from(self.synced.mark.last_record_crc),
            self.written.queues_left.map_or(0, |count| u64::from(count) + 1),
            self.synced.queues_left.map_or(0, |count| u64::from(count) + 1),
            self.log_begins.map_or(0, |offset| offset as u64 + 1),
        ];
        for (long, place) in longs.iter().zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&long.to_be_bytes());
        }
        let crc = crc32fast::hash(&bytes[..SLOT_BYTES - 4]);
        bytes[SLOT_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_at_checked(SLOT_BYTES - 4)?;
        if crc32fast::hash(content) != u32::from_be_bytes(crc.try_into().ok()?) {
            return None;
        }
        let long = |index: usize| u64::from_be_bytes(content[index * 8..index * 8 + 8].try_into().expect("eight bytes"));
        let indexed = |first: usize, left: usize| Indexed {
            mark: Mark { position: long(first) as i64, last_record: long(first + 1) as i64, last_record_crc: long(first + 2) as u32 },
            queues_left: long(left).checked_sub(1).map(|count| count as u32),
        };
        (long(0) == POSITION_MAGIC).then(|| Self {
            sequence: long(1),
            clean: long(2) == 1,
            boot: long(3),
            written: indexed(4, 10),
            synced: indexed(7, 11),
            log_begins: long(12).checked_sub(1).map(|offset| offset as i64),
        })
    }
}

/// The open `ferrocket.position`: two slots written in turn, so that one of them is always whole.
pub(super) struct PositionFile {
    file: Arc<dyn FsFile>,
    sequence: u64,
}

impl PositionFile {
    /// The file and the newest whole slot, if there is one.
    pub(super) fn open(fs: &dyn Fs, root: &Path) -> io::Result<(Self, Option<Position>)> {
        let file = fs.create(&root.join(POSITION_FILE))?;
        let mut bytes = [0; 2 * SLOT_BYTES];
        file.read_at(&mut bytes, 0)?;
        let newest = bytes.chunks_exact(SLOT_BYTES).filter_map(Position::decode).max_by_key(|position| position.sequence);
        let sequence = newest.as_ref().map_or(0, |position| position.sequence);
        Ok((Self { file, sequence }, newest))
    }

    pub(super) fn write(&mut self, position: &Position) -> io::Result<()> {
        self.sequence += 1;
        let slot = Position { sequence: self.sequence, ..position.clone() };
        self.file.write_at(&slot.encode(), self.sequence % 2 * SLOT_BYTES as u64)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Both files of an open store, and what they say when they are written next.
pub(super) struct Checkpoints {
    state: Mutex<State>,
}

struct State {
    file: CheckpointFile,
    values: Checkpoint,
    position_file: PositionFile,
    position: Position,
}

impl Checkpoints {
    pub(super) fn new(file: CheckpointFile, values: Checkpoint, position_file: PositionFile, position: Position) -> Self {
        Self { state: Mutex::new(State { file, values, position_file, position }) }
    }

    /// Says durably that the store is open: nothing is known to be written.
    pub(super) fn mark_running(&self) -> io::Result<()> {
        let state = &mut *self.state.lock();
        state.position_file.write(&state.position)?;
        state.position_file.sync()
    }

    /// The log is durable up to a record of this store time.
    pub(super) fn log_is_synced(&self, store_timestamp: i64) {
        self.state.lock().values.physic_msg_timestamp = store_timestamp;
    }

    /// The index is durable up to a record of this store time.
    pub(super) fn index_is_synced(&self, store_timestamp: i64) {
        self.state.lock().values.index_msg_timestamp = store_timestamp;
    }

    /// The ConsumeQueues are durable up to this place, whose last record has this store time.
    pub(super) fn queues_are_synced(&self, synced: Indexed, store_timestamp: i64) {
        let mut state = self.state.lock();
        state.position.synced = synced;
        if store_timestamp > 0 {
            state.values.logics_msg_timestamp = store_timestamp;
        }
        if synced.mark.last_record > 0 {
            state.values.logics_physical_offset = synced.mark.last_record;
        }
    }

    /// Where the log ended when the ConsumeQueues were last synced.
    pub(super) fn queues_synced_to(&self) -> i64 {
        self.state.lock().position.synced.mark.position
    }

    /// Writes both files; the log begins at `log_begins`, and the ConsumeQueues are written up to `written`. They are not synced: an
    /// older one is as true, it only costs time after a power cut.
    pub(super) fn write(&self, log_begins: i64, written: Indexed) -> io::Result<()> {
        let state = &mut *self.state.lock();
        state.position.written = written;
        state.position.log_begins = Some(log_begins);
        state.file.write(&state.values)?;
        state.position_file.write(&state.position)
    }

    /// Queues are about to go, and so many are left: from now on both marks are known by these, on the disk too.
    pub(super) fn queues_go(&self, log_begins: i64, written: Indexed, left: u32) -> io::Result<()> {
        self.state.lock().position.synced.queues_left = Some(left);
        self.write(log_begins, written)?;
        self.sync_position()
    }

    pub(super) fn sync_position(&self) -> io::Result<()> {
        self.state.lock().position_file.sync()
    }

    /// The last word of a store that is being closed; `clean` when everything is written.
    pub(super) fn close(&self, log_begins: i64, written: Indexed, clean: bool) -> io::Result<()> {
        self.state.lock().position.clean = clean;
        self.write(log_begins, written)?;
        let state = self.state.lock();
        state.file.sync()?;
        state.position_file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_six_longs() {
        let checkpoint = Checkpoint {
            physic_msg_timestamp: 10_000,
            logics_msg_timestamp: 9_000,
            index_msg_timestamp: 3,
            master_flushed_offset: 4,
            confirm_phy_offset: 5,
            logics_physical_offset: 6,
        };
        let bytes = checkpoint.encode();
        assert_eq!(&bytes[40..48], &6_i64.to_be_bytes());
        assert_eq!(Checkpoint::decode(&bytes), checkpoint);
        assert_eq!(checkpoint.min_timestamp(), 6_000);
        assert_eq!(Checkpoint::default().min_timestamp(), 0);
    }

    #[test]
    fn a_torn_slot_is_not_believed() {
        let position = Position {
            sequence: 7,
            clean: true,
            boot: 9,
            written: Indexed { mark: Mark { position: 100, last_record: 50, last_record_crc: 1 }, queues_left: Some(0) },
            log_begins: Some(0),
            ..Position::default()
        };
        let mut bytes = position.encode();
        assert_eq!(Position::decode(&bytes), Some(position));
        bytes[40] ^= 1;
        assert_eq!(Position::decode(&bytes), None);
        assert_eq!(Position::decode(&[0; SLOT_BYTES]), None);
    }
}
