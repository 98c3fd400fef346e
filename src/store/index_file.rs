// SPDX-License-Identifier: Apache-2.0
//! One IndexFile: a hash index by message key in Java's bytes: a header, slots, and entries chained from newest to oldest.
//!
//! Entries come in batches: first the entries, then the slots that lead to them, then the header that counts them. A batch
//! that a killed process left half done is written again to the same places, so no chain loses its older part.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{Fs, FsFile};

const HEADER_BYTES: u64 = 40;
const SLOT_BYTES: u64 = 4;
const ENTRY_BYTES: usize = 20;
/// Slots are read and written together when they lie in one page.
const PAGE_BYTES: u64 = 4096;

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

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_be_bytes());
        out.extend_from_slice(&self.physical_offset.to_be_bytes());
        out.extend_from_slice(&self.seconds.to_be_bytes());
        out.extend_from_slice(&self.previous.to_be_bytes());
    }
}

pub(super) struct IndexFile {
    pub(super) path: PathBuf,
    file: Arc<dyn FsFile>,
    slot_count: u32,
    entry_count: u32,
    pub(super) header: Header,
}

impl IndexFile {
    pub(super) fn open(fs: &dyn Fs, path: &Path, slot_count: u32, entry_count: u32) -> io::Result<Self> {
        let file = fs.create(path)?;
        let len = HEADER_BYTES + SLOT_BYTES * u64::from(slot_count) + ENTRY_BYTES as u64 * u64::from(entry_count);
        if file.len()? < len {
            file.set_len(len)?;
        }
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_at(&mut bytes, 0)?;
        Ok(Self { path: path.to_owned(), file, slot_count, entry_count, header: Header::decode(&bytes) })
    }

    /// A new file after `previous`, whose end its header begins with, as Java's does.
    pub(super) fn create(fs: &dyn Fs, path: &Path, slot_count: u32, entry_count: u32, previous: Option<&Header>) -> io::Result<Self> {
        let mut index = Self::open(fs, path, slot_count, entry_count)?;
        if let Some(previous) = previous {
            index.header.begin_timestamp = previous.end_timestamp;
            index.header.end_timestamp = previous.end_timestamp;
            index.header.begin_offset = previous.end_offset;
            index.header.end_offset = previous.end_offset;
        }
        Ok(index)
    }

    /// How many more keys fit.
    pub(super) fn room(&self) -> usize {
        (i64::from(self.entry_count) - i64::from(self.header.next_entry)).max(0) as usize
    }

    fn slot_at(&self, hash: i32) -> u64 {
        HEADER_BYTES + u64::from(hash as u32 % self.slot_count) * SLOT_BYTES
    }

    fn entry_at(&self, place: i32) -> u64 {
        HEADER_BYTES + SLOT_BYTES * u64::from(self.slot_count) + place as u64 * ENTRY_BYTES as u64
    }

    fn entry(&self, place: i32) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        self.file.read_at(&mut bytes, self.entry_at(place))?;
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
    pub(super) fn add(&mut self, keys: &[Key]) -> io::Result<()> {
        assert!(keys.len() <= self.room(), "the caller has rolled the file");
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(()) };
        let mut header = self.header;
        if header.is_empty() {
            header.begin_offset = first.physical_offset;
            header.begin_timestamp = first.store_timestamp;
        }
        let base = header.next_entry;
        let mut entries: Vec<Entry> = keys
            .iter()
            .map(|key| Entry {
                hash: key.hash,
                physical_offset: key.physical_offset,
                seconds: Self::seconds_since_begin(header.begin_timestamp, key.store_timestamp),
                previous: 0,
            })
            .collect();
        // By slot, and among one slot's keys in log order: each leads to the one before.
        let mut order: Vec<(u64, usize)> = keys.iter().enumerate().map(|(index, key)| (self.slot_at(key.hash), index)).collect();
        order.sort_unstable();
        let mut slots: Vec<(u64, Vec<u8>)> = Vec::new();
        for page in order.chunk_by(|left, right| left.0 / PAGE_BYTES == right.0 / PAGE_BYTES) {
            let (from, to) = (page[0].0, page[page.len() - 1].0 + SLOT_BYTES);
            let mut bytes = vec![0; (to - from) as usize];
            self.file.read_at(&mut bytes, from)?;
            let mut last: Option<(u64, i32)> = None;
            for &(at, index) in page {
                let slot = &mut bytes[(at - from) as usize..(at - from + SLOT_BYTES) as usize];
                let place = base + index as i32;
                entries[index].previous = match last {
                    Some((same, previous)) if same == at => previous,
                    _ => {
                        let on_disk = i32::from_be_bytes((&*slot).try_into().expect("four bytes"));
                        let previous = self.older_than(on_disk, base)?;
                        header.slots_used += i32::from(previous == 0);
                        previous
                    }
                };
                slot.copy_from_slice(&place.to_be_bytes());
                last = Some((at, place));
            }
            slots.push((from, bytes));
        }
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        for entry in &entries {
            entry.encode(&mut bytes);
        }
        self.file.write_at(&bytes, self.entry_at(base))?;
        for (at, bytes) in &slots {
            self.file.write_at(bytes, *at)?;
        }
        header.next_entry += keys.len() as i32;
        header.end_offset = last.physical_offset;
        header.end_timestamp = last.store_timestamp;
        self.file.write_at(&header.encode(), 0)?;
        self.header = header;
        Ok(())
    }

    /// The newest entry of a chain that the header counts. Those above belong to a batch that was cut short.
    fn older_than(&self, place: i32, base: i32) -> io::Result<i32> {
        let mut place = place;
        while place >= base {
            if place as u32 >= self.entry_count {
                return Ok(0);
            }
            let previous = self.entry(place)?.previous;
            if previous >= place {
                return Ok(0);
            }
            place = previous;
        }
        Ok(place.max(0))
    }

    /// Appends the offsets of messages with this key hash stored within the times, newest first, up to `max` in all.
    pub(super) fn find(&self, hash: i32, begin: i64, end: i64, max: usize, found: &mut Vec<i64>) -> io::Result<()> {
        let mut slot = [0; SLOT_BYTES as usize];
        self.file.read_at(&mut slot, self.slot_at(hash))?;
        let mut place = self.older_than(i32::from_be_bytes(slot), self.header.next_entry)?;
        while found.len() < max && self.is_place(place) {
            let entry = self.entry(place)?;
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

    pub(super) fn write_header(&self) -> io::Result<()> {
        self.file.write_at(&self.header.encode(), 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
