// SPDX-License-Identifier: Apache-2.0
//! One IndexFile: a hash index by message key in Java's bytes: a header, slots, and entries chained from newest to oldest.
//!
//! Entries come in batches: first the entries, then the slots that lead to them, then the header that counts them. A batch
//! that a killed process left half done is written again to the same places, so no chain loses its older part. Slots are
//! changed through a mapping: the keys of a batch fall on pages all over them, and a read and a write of each page cost more
//! than the rest of the index together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{Fs, FsFile};
use super::mapping::Mapping;

const HEADER_BYTES: u64 = 40;
const SLOT_BYTES: u64 = 4;
const ENTRY_BYTES: usize = 20;
const PAGE_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) begin_timestamp: i64,
    pub(super) end_timestamp: i64,
    pub(super) begin_offset: i64,
    pub(super) end_offset: i64,
    slots_used: i32,
    /// The place of the next entry; place 0 stays empty.
    next_entry: i32,
}

impl Header {
    fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Self {
        let long = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self {
            begin_timestamp: long(0),
            end_timestamp: long(8),
            begin_offset: long(16),
            end_offset: long(24),
            slots_used: int(32),
            next_entry: int(36).max(1),
        }
    }

    fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        for (index, long) in [self.begin_timestamp, self.end_timestamp, self.begin_offset, self.end_offset].iter().enumerate() {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&long.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.slots_used.to_be_bytes());
        bytes[36..].copy_from_slice(&self.next_entry.to_be_bytes());
        bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next_entry <= 1
    }
}

/// One key of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) hash: i32,
    pub(super) physical_offset: i64,
    pub(super) store_timestamp: i64,
}

/// Java's indexKeyHashMethod.
pub(super) fn key_hash(java_hash: i32) -> i32 {
    // The one number without a positive counterpart becomes 0.
    java_hash.checked_abs().unwrap_or(0)
}

#[derive(Clone, Copy)]
struct Entry {
    hash: i32,
    physical_offset: i64,
    seconds: i32,
    previous: i32,
}

impl Entry {
    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self {
            hash: int(0),
            physical_offset: i64::from_be_bytes(bytes[4..12].try_into().expect("eight bytes")),
            seconds: int(12),
            previous: int(16),
        }
    }

    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }
}

/// Of many files only the one that keys are added to stays open; the others are opened for each look.
pub(super) struct IndexFile {
    pub(super) path: PathBuf,
    /// From the first key that is added until the file is complete.
    held: Option<Arc<dyn FsFile>>,
    slot_count: u32,
    entry_count: u32,
    pub(super) header: Header,
    /// Of a file that keys were added to and that is not complete.
    slots: Option<MappedSlots>,
}

/// The header and the slots as the mapping has them.
struct MappedSlots {
    mapping: Arc<Mapping>,
    /// Pages whose disk space is ours: a store into a page of a sparse file would find out too late that the disk is full.
    backed_pages: Vec<bool>,
}

/// The newest places of the slots that a batch falls on.
struct NewestPlaces {
    /// Open addressing; place 0 marks an empty cell.
    cells: Vec<(u32, i32)>,
}

impl NewestPlaces {
    fn with_room(key_count: usize) -> Self {
        Self { cells: vec![(0, 0); (2 * key_count).next_power_of_two()] }
    }

    /// Puts the slot's newest place; the one it had in this batch, 0 for none.
    fn replace(&mut self, slot: u32, place: i32) -> i32 {
        let mask = self.cells.len() - 1;
        let mut at = slot as usize & mask;
        while self.cells[at].1 != 0 && self.cells[at].0 != slot {
            at = (at + 1) & mask;
        }
        std::mem::replace(&mut self.cells[at], (slot, place)).1
    }

    fn iter(&self) -> impl Iterator<Item = (u32, i32)> {
        self.cells.iter().copied().filter(|(_, place)| *place != 0)
    }
}

impl IndexFile {
    /// `None` when it is damaged: not of its length, or its head says what cannot be.
    pub(super) fn open(fs: &dyn Fs, path: &Path, slot_count: u32, entry_count: u32) -> io::Result<Option<Self>> {
        let file = fs.open(path)?;
        let mut bytes = [0; HEADER_BYTES as usize];
        let is_whole = file.len()? == Self::file_bytes(slot_count, entry_count) && file.read_at(&mut bytes, 0)? == bytes.len();
        let header = Header::decode(&bytes);
        let can_be = header.next_entry as u32 <= entry_count && (0..=header.end_offset).contains(&header.begin_offset);
        let opened = Self { path: path.to_owned(), held: None, slot_count, entry_count, header, slots: None };
        Ok((is_whole && can_be).then_some(opened))
    }

    fn file_bytes(slot_count: u32, entry_count: u32) -> u64 {
        HEADER_BYTES + SLOT_BYTES * u64::from(slot_count) + ENTRY_BYTES as u64 * u64::from(entry_count)
    }

    fn file(&self, fs: &dyn Fs) -> io::Result<Arc<dyn FsFile>> {
        self.held.as_ref().map_or_else(|| fs.open(&self.path), |held| Ok(Arc::clone(held)))
    }

    /// A new file after `previous`, whose end its header begins with, as Java's does.
    pub(super) fn create(fs: &dyn Fs, path: &Path, slot_count: u32, entry_count: u32, previous: Option<&Header>) -> io::Result<Self> {
        fs.create(path)?.set_len(Self::file_bytes(slot_count, entry_count))?;
        let mut header = Header { next_entry: 1, ..Header::default() };
        if let Some(previous) = previous {
            header.begin_timestamp = previous.end_timestamp;
            header.end_timestamp = previous.end_timestamp;
            header.begin_offset = previous.end_offset;
            header.end_offset = previous.end_offset;
        }
        Ok(Self { path: path.to_owned(), held: None, slot_count, entry_count, header, slots: None })
    }

    /// How many more keys fit.
    pub(super) fn room(&self) -> usize {
        (i64::from(self.entry_count) - i64::from(self.header.next_entry)).max(0) as usize
    }

    fn slot_of(&self, hash: i32) -> u32 {
        hash as u32 % self.slot_count
    }

    fn slot_at(slot: u32) -> u64 {
        HEADER_BYTES + u64::from(slot) * SLOT_BYTES
    }

    fn entry_at(&self, place: i32) -> u64 {
        HEADER_BYTES + SLOT_BYTES * u64::from(self.slot_count) + place as u64 * ENTRY_BYTES as u64
    }

    fn entry(&self, file: &dyn FsFile, place: i32) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        file.read_at(&mut bytes, self.entry_at(place))?;
        Ok(Entry::decode(&bytes))
    }

    fn is_place(&self, place: i32) -> bool {
        place > 0 && place < self.header.next_entry
    }

    /// Java's: the whole seconds since the file's first entry.
    fn seconds_since_begin(begin_timestamp: i64, store_timestamp: i64) -> i32 {
        if begin_timestamp <= 0 {
            return 0;
        }
        ((store_timestamp - begin_timestamp) / 1_000).clamp(0, i64::from(i32::MAX)) as i32
    }

    /// Adds keys in log order; they must fit.
    pub(super) fn add(&mut self, fs: &dyn Fs, keys: &[Key]) -> io::Result<()> {
        assert!(keys.len() <= self.room(), "the caller has rolled the file");
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(()) };
        let mut header = self.header;
        if header.is_empty() {
            header.begin_offset = first.physical_offset;
            header.begin_timestamp = first.store_timestamp;
        }
        let base = header.next_entry;
        let file = self.file(fs)?;
        let mut slots = match self.slots.take() {
            Some(slots) => slots,
            None => self.map_slots(file.as_ref())?,
        };
        self.held = Some(Arc::clone(&file));
        let mut newest = NewestPlaces::with_room(keys.len());
        let mut bytes = Vec::with_capacity(keys.len() * ENTRY_BYTES);
        for (place, key) in (base..).zip(keys) {
            let slot = self.slot_of(key.hash);
            let previous = match newest.replace(slot, place) {
                0 => {
                    let previous = self.older_than(file.as_ref(), slots.get(file.as_ref(), slot)?, base)?;
                    header.slots_used += i32::from(previous == 0);
                    previous
                }
                previous => previous,
            };
            let seconds = Self::seconds_since_begin(header.begin_timestamp, key.store_timestamp);
            bytes.extend_from_slice(&Entry { hash: key.hash, physical_offset: key.physical_offset, seconds, previous }.encode());
        }
        file.write_at(&bytes, self.entry_at(base))?;
        for (slot, place) in newest.iter() {
            file.store(&slots.mapping, Self::slot_at(slot) as usize, &place.to_be_bytes())?;
        }
        header.next_entry += keys.len() as i32;
        header.end_offset = last.physical_offset;
        header.end_timestamp = last.store_timestamp;
        file.write_at(&header.encode(), 0)?;
        self.header = header;
        self.slots = Some(slots);
        Ok(())
    }

    fn map_slots(&self, file: &dyn FsFile) -> io::Result<MappedSlots> {
        let len = Self::slot_at(self.slot_count) as usize;
        Ok(MappedSlots { mapping: file.map(len)?, backed_pages: vec![false; len.div_ceil(PAGE_BYTES)] })
    }

    /// No more keys come: syncs the file.
    pub(super) fn complete(&mut self, fs: &dyn Fs) -> io::Result<()> {
        self.slots = None;
        self.sync(fs)?;
        self.held = None;
        Ok(())
    }

    /// The newest entry of a chain that the header counts. Those above belong to a batch that was cut short.
    fn older_than(&self, file: &dyn FsFile, place: i32, base: i32) -> io::Result<i32> {
        let mut place = place;
        while place >= base {
            if place as u32 >= self.entry_count {
                return Ok(0);
            }
            let previous = self.entry(file, place)?.previous;
            if previous >= place {
                return Ok(0);
            }
            place = previous;
        }
        Ok(place.max(0))
    }

    /// Appends the offsets of messages with this key hash stored within the times, newest first, up to `max` in all.
    pub(super) fn find(&self, fs: &dyn Fs, hash: i32, begin: i64, end: i64, max: usize, found: &mut Vec<i64>) -> io::Result<()> {
        let file = self.file(fs)?;
        let file = file.as_ref();
        let mut slot = [0; SLOT_BYTES as usize];
        file.read_at(&mut slot, Self::slot_at(self.slot_of(hash)))?;
        let mut place = self.older_than(file, i32::from_be_bytes(slot), self.header.next_entry)?;
        while found.len() < max && self.is_place(place) {
            let entry = self.entry(file, place)?;
            if entry.seconds < 0 {
                return Ok(());
            }
            let stored = self.header.begin_timestamp + i64::from(entry.seconds) * 1_000;
            if entry.hash == hash && (begin..=end).contains(&stored) {
                found.push(entry.physical_offset);
            }
            // A chain only ever leads back; a damaged one must not lead in a circle.
            if entry.previous >= place || stored < begin {
                return Ok(());
            }
            place = entry.previous;
        }
        Ok(())
    }

    /// Whether messages of these times can be in this file.
    pub(super) fn overlaps(&self, begin: i64, end: i64) -> bool {
        begin <= self.header.end_timestamp && end >= self.header.begin_timestamp
    }

    pub(super) fn write_header(&self, fs: &dyn Fs) -> io::Result<()> {
        self.file(fs)?.write_at(&self.header.encode(), 0)
    }

    pub(super) fn sync(&self, fs: &dyn Fs) -> io::Result<()> {
        self.file(fs)?.sync_data()
    }
}

impl MappedSlots {
    /// The slot's place. From here on a store into the slot cannot fail.
    fn get(&mut self, file: &dyn FsFile, slot: u32) -> io::Result<i32> {
        let at = IndexFile::slot_at(slot) as usize;
        let page = at / PAGE_BYTES;
        if !self.backed_pages[page] {
            let mut bytes = [0; PAGE_BYTES];
            let start = (page * PAGE_BYTES) as u64;
            let read = file.read_at(&mut bytes, start)?;
            file.write_at(&bytes[..read], start)?;
            self.backed_pages[page] = true;
        }
        let mut place = [0; SLOT_BYTES as usize];
        self.mapping.copy_out(at, &mut place);
        Ok(i32::from_be_bytes(place))
    }
}
