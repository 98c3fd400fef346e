// SPDX-License-Identifier: Apache-2.0
//! Records behind the end of the log. They say that something before them is damaged, or was not on the disk yet when the power went. They
//! cannot be part of the log any more, whose offsets go on from its end; they are kept beside it, where nothing reads them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, warn};

use super::commit_log::CommitLog;
use super::fs::Fs;
use super::log_reader::{LogReader, next_record};
use super::mapped_file::MappedFile;
use super::record::Found;
use super::{StoreError, at_path};

/// What lies behind damage is copied in blocks of the disk: what it cannot read is no more than these.
const BLOCK_BYTES: usize = 4096;

/// What a file has behind the end of the log.
struct Behind {
    file: Arc<MappedFile>,
    records: u64,
    first: i64,
}

/// Sets aside what lies behind the end of the log, from there to the end of its file and in the files that follow, if there is a record
/// anywhere. Whether there was.
pub(super) fn set_aside(fs: &dyn Fs, log: &CommitLog, files: &[Arc<MappedFile>], end: i64) -> Result<bool, StoreError> {
    let mut behind = Vec::new();
    for file in files.iter().filter(|file| file.end_offset() > end && !file.is_read_only()) {
        let from = (end - file.start_offset()).max(0) as usize;
        let (records, first) = records_from(file, from).map_err(at_path("read", file.path()))?;
        if records > 0 {
            behind.push(Behind { file: Arc::clone(file), records, first });
        }
    }
    let Some(Behind { file, first, .. }) = behind.first() else { return Ok(false) };
    let (kept, records) = (dir_for(file, end), behind.iter().map(|behind| behind.records).sum::<u64>());
    error!(at = end, records, first, kept = %kept.display(), "the log is damaged here: records lie behind it, and are set aside");
    if let Some(damaged) = files.iter().find(|file| file.start_offset() < end && file.end_offset() > end) {
        let dir = dir_for(damaged, end);
        copy_rest(fs, damaged, end, &dir).map_err(at_path("set aside into", &dir))?;
    }
    for Behind { file, .. } in behind.iter().filter(|behind| behind.file.start_offset() >= end) {
        let dir = dir_for(file, end);
        fs.create_dir_all(&dir).and_then(|()| log.files.move_to(file, &dir)).map_err(at_path("set aside into", &dir))?;
    }
    Ok(true)
}

/// Beside the directory of the log that the file is in, and so on the same disk.
fn dir_for(file: &MappedFile, end: i64) -> PathBuf {
    let beside = file.path().ancestors().nth(2).unwrap_or(Path::new("/"));
    beside.join(format!("commitlog.behind.{end:020}"))
}

/// How many whole records a file has from a byte on, and where in the log the first one is. What cannot be read there nobody needs.
fn records_from(file: &MappedFile, from: usize) -> io::Result<(u64, i64)> {
    let mut reader = LogReader::default();
    let (mut records, mut first) = (0, -1);
    let mut at = from;
    let passed_over = |error| {
        warn!(path = %file.path().display(), %error, "a part of what lies behind the end of the log cannot be read");
        Ok(())
    };
    while let Some(begins) = next_record(&mut reader, file, at, passed_over)? {
        at = begins;
        // Those that follow each other need no search.
        while let Ok(Found::Record(record)) = reader.check(file, file.start_offset() + at as i64, true) {
            if records == 0 {
                first = record.physical_offset;
            }
            records += 1;
            at += record.total_bytes();
        }
    }
    Ok((records, first))
}

/// The bytes of a file from the end of the log on; what is empty of them, or cannot be read, takes no space.
fn copy_rest(fs: &dyn Fs, file: &MappedFile, end: i64, dir: &Path) -> io::Result<()> {
    fs.create_dir_all(dir)?;
    let rest = fs.create(&dir.join(format!("{end:020}")))?;
    let from = (end - file.start_offset()) as usize;
    rest.set_len((file.file_bytes() - from) as u64)?;
    let mut block = [0; BLOCK_BYTES];
    let mut at = from;
    while let Some(data) = file.next_data(at)?.filter(|data| *data < file.file_bytes()) {
        at = at.max(data);
        let block = &mut block[..(BLOCK_BYTES - at % BLOCK_BYTES).min(file.file_bytes() - at)];
        match file.read_file(block, at, true) {
            Ok(()) => rest.write_at(block, (at - from) as u64)?,
            Err(error) => warn!(path = %file.path().display(), at, %error, "cannot be read, and is not set aside"),
        }
        at += block.len();
    }
    rest.sync_data()?;
    fs.sync_dir(dir)
}
