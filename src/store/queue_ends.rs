// SPDX-License-Identifier: Apache-2.0
//! Where each ConsumeQueue ended when the store was last stopped in order: our own `ferrocket.queues`, which may be deleted at any time.
//!
//! A ConsumeQueue that lost its end looks like one that never had it, and would give its offsets to other messages. A queue only grows, so
//! what the file says stays true while the log is the one that it was written for and no topic is deleted; the file goes with the first
//! topic that is. A broker of the original deletes topics without a word to us, so nothing is believed once one was here: it leaves a
//! word in `lock`, which our own stop empties. Knows queues by their ends only.

use std::io;
use std::path::Path;

use super::checkpoint::LOCK_FILE;
use super::consume_queue::QueueEnd;
use super::fs::Fs;
use super::mark::Mark;
use super::queue_table::QueueTable;

const ENDS_FILE: &str = "ferrocket.queues";
const ENDS_MAGIC: u64 = 0x4652_5251_5545_3031; // FRRQUE01

/// What the file says.
pub(super) struct QueueEnds {
    /// The end of the log then.
    pub(super) mark: Mark,
    pub(super) queues: Vec<(String, i32, QueueEnd)>,
}

/// Read at once: 34 bytes for each queue besides its topic's name. `None` when there is no such word, or it does not hold any more. To be
/// asked before `lock` is locked, as whoever opens and closes that file lets go of it.
pub(super) fn read(fs: &dyn Fs, root: &Path) -> io::Result<Option<QueueEnds>> {
    if fs.metadata(&root.join(LOCK_FILE)).is_ok_and(|lock| lock.len > 0) {
        return Ok(None);
    }
    match fs.read(&root.join(ENDS_FILE)) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of a store whose queues are all on the disk, with the log up to this place.
pub(super) fn write(fs: &dyn Fs, root: &Path, mark: &Mark, queues: &QueueTable) -> io::Result<()> {
    let bytes = encode(mark, queues);
    let file = fs.create(&root.join(ENDS_FILE))?;
    file.set_len(bytes.len() as u64)?;
    file.write_at(&bytes, 0)?;
    file.sync_data()
}

/// From now on nothing is known of where the queues end.
pub(super) fn forget(fs: &dyn Fs, root: &Path) -> io::Result<()> {
    match fs.remove_file(&root.join(ENDS_FILE)) {
        Ok(()) => fs.sync_dir(root),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What only another broker writes there is taken away: the last act of a stop, since it lets go of the lock.
pub(super) fn empty_lock(fs: &dyn Fs, root: &Path) -> io::Result<()> {
    let path = root.join(LOCK_FILE);
    if fs.metadata(&path)?.len == 0 { Ok(()) } else { fs.create(&path)?.set_len(0) }
}

fn encode(mark: &Mark, queues: &QueueTable) -> Vec<u8> {
    let longs = [ENDS_MAGIC as i64, mark.position, mark.last_record, i64::from(mark.last_record_crc)];
    let mut bytes: Vec<u8> = longs.iter().flat_map(|long| long.to_be_bytes()).collect();
    for topic in queues.topics() {
        for queue in queues.of_topic(&topic) {
            let Some(QueueEnd { first, next, in_log }) = queue.known_end() else { continue };
            bytes.extend((topic.len() as u16).to_be_bytes());
            bytes.extend(topic.as_bytes());
            bytes.extend(queue.queue_id.to_be_bytes());
            [first, next, in_log].iter().for_each(|long| bytes.extend(long.to_be_bytes()));
        }
    }
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<QueueEnds> {
    let (mut rest, crc) = bytes.split_last_chunk()?;
    if crc32fast::hash(rest) != u32::from_be_bytes(*crc) || long(&mut rest)? != ENDS_MAGIC as i64 {
        return None;
    }
    let mark = Mark { position: long(&mut rest)?, last_record: long(&mut rest)?, last_record_crc: long(&mut rest)? as u32 };
    let mut queues = Vec::new();
    while !rest.is_empty() {
        let topic_bytes = u16::from_be_bytes(take(&mut rest)?);
        let (topic, behind) = rest.split_at_checked(topic_bytes.into())?;
        let topic = String::from_utf8(topic.to_vec()).ok()?;
        rest = behind;
        let queue_id = i32::from_be_bytes(take(&mut rest)?);
        let end = QueueEnd { first: long(&mut rest)?, next: long(&mut rest)?, in_log: long(&mut rest)? };
        queues.push((topic, queue_id, end));
    }
    Some(QueueEnds { mark, queues })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn long(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes).map(i64::from_be_bytes)
}
