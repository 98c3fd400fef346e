// SPDX-License-Identifier: Apache-2.0
//! The log read forward through its files, in large steps: what the disk cannot read is an error that names its place, where a look
//! through a mapping would be a signal that ends the process.
//!
//! For who reads what was written long ago, record after record. Knows where a record lies, not what follows from it.

use std::io;
use std::ops::ControlFlow;

use ferrocket_protocol::message::{MessageView, layout};

use super::commit_log::CommitLog;
use super::mapped_file::MappedFile;
use super::record::{self, Found};

/// Read at once: the disk's time for one look is as long as that for this much.
const STEP_BYTES: usize = 256 * 1024;

#[derive(Default)]
pub(super) struct LogReader {
    buffer: Vec<u8>,
    /// Where in the log the buffer begins.
    start: i64,
}

impl LogReader {
    /// What lies at this place of the log, which is in that file.
    pub(super) fn check(&mut self, file: &MappedFile, offset: i64, check_crc: bool) -> io::Result<Found<'_>> {
        Ok(record::check(self.bytes(file, offset)?, offset, check_crc))
    }

    /// The bytes at this place: the whole record when one begins there, else the head of whatever it is.
    pub(super) fn bytes(&mut self, file: &MappedFile, offset: i64) -> io::Result<&[u8]> {
        let head = self.fetch(file, offset, record::LENGTHS_BYTES_MAX)?;
        let record_bytes = record::plausible_bytes(head, offset).unwrap_or(0);
        self.fetch(file, offset, record_bytes.max(record::LENGTHS_BYTES_MAX))
    }

    /// `wanted` bytes, or all up to the end of the file; mostly more.
    fn fetch(&mut self, file: &MappedFile, offset: i64, wanted: usize) -> io::Result<&[u8]> {
        let at = (offset - file.start_offset()) as usize;
        let rest = file.published().saturating_sub(at);
        let wanted = wanted.min(rest);
        let known = offset - self.start;
        let is_here = known >= 0 && known as usize + wanted <= self.buffer.len();
        if !is_here {
            // Of what the disk cannot read, the part that nobody asked for yet must not count.
            let read = self.read(file, at, wanted.max(STEP_BYTES).min(rest)).or_else(|_| self.read(file, at, wanted));
            if let Err(error) = read {
                self.buffer.clear();
                let path = file.path().display();
                return Err(io::Error::new(error.kind(), format!("the log at {offset} ({path}, byte {at}): {error}")));
            }
            self.start = offset;
        }
        Ok(&self.buffer[(offset - self.start) as usize..])
    }

    fn read(&mut self, file: &MappedFile, at: usize, len: usize) -> io::Result<()> {
        self.buffer.resize(len, 0);
        file.read_file(&mut self.buffer, at, true)
    }
}

/// The next whole record is looked for in pieces of this size: behind each place that is damaged one of them is read for nothing.
const SEARCH_BYTES: usize = 16 * 1024;
const MAGIC_BYTES: usize = 4;

/// Where the next whole record of a file begins, at a byte or behind it: found by what each begins with, whatever lies before. Where the
/// disk cannot read, `unreadable` says whether to look on behind that piece.
pub(super) fn next_record(
    reader: &mut LogReader,
    file: &MappedFile,
    from: usize,
    mut unreadable: impl FnMut(io::Error) -> io::Result<()>,
) -> io::Result<Option<usize>> {
    let mut at = from;
    while let Some(magic) = next_magic(file, at + layout::MAGIC_AT, &mut unreadable)? {
        at = magic - layout::MAGIC_AT;
        match reader.check(file, file.start_offset() + at as i64, true) {
            Ok(Found::Record(_)) => return Ok(Some(at)),
            Ok(_) => {}
            Err(error) => unreadable(error)?,
        }
        at += 1;
    }
    Ok(None)
}

/// Where the next four bytes are that every record has. What the file system knows to be empty is not read.
fn next_magic(file: &MappedFile, mut at: usize, unreadable: &mut impl FnMut(io::Error) -> io::Result<()>) -> io::Result<Option<usize>> {
    let mut piece = vec![0; SEARCH_BYTES];
    while at + MAGIC_BYTES <= file.published() {
        let Some(data) = file.next_data(at)?.filter(|data| data + MAGIC_BYTES <= file.published()) else { break };
        at = at.max(data);
        let piece = &mut piece[..SEARCH_BYTES.min(file.published() - at)];
        if let Err(error) = file.read_file(piece, at, true) {
            unreadable(error)?;
            at += piece.len();
            continue;
        }
        let is_magic = |four: &[u8]| four == layout::MAGIC_V1.to_be_bytes() || four == layout::MAGIC_V2.to_be_bytes();
        if let Some(found) = piece.windows(MAGIC_BYTES).position(is_magic) {
            return Ok(Some(at + found));
        }
        at += piece.len() + 1 - MAGIC_BYTES;
    }
    Ok(None)
}

/// As `forward`, over whatever is damaged between `position` and `end`.
pub(super) fn forward_over_damage(
    log: &CommitLog,
    position: i64,
    end: i64,
    mut each: impl FnMut(&MessageView<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut at = position;
    let mut is_done = false;
    while at < end {
        let (stopped, error) = forward(log, at, end, |record| {
            let flow = each(record);
            is_done = flow.is_break();
            flow
        });
        error.map_or(Ok(()), Err)?;
        let Some(file) = log.files.find(stopped).filter(|_| stopped < end && !is_done) else { break };
        let next = next_record(&mut LogReader::default(), &file, (stopped - file.start_offset()) as usize, Err)?;
        at = next.map_or_else(|| file.end_offset(), |next| file.start_offset() + next as i64);
    }
    Ok(())
}

/// Every record from `position`, where one starts or a file ends, to `end`, or until `each` breaks or no record follows; where it stopped,
/// with the error when the disk cannot read what lies there.
pub(super) fn forward(
    log: &CommitLog,
    position: i64,
    end: i64,
    mut each: impl FnMut(&MessageView<'_>) -> ControlFlow<()>,
) -> (i64, Option<io::Error>) {
    let mut reader = LogReader::default();
    let mut at = position;
    while at < end {
        let Some(file) = log.files.find(at) else { break };
        match reader.check(&file, at, false) {
            Ok(Found::Record(view)) => {
                if each(&view).is_break() {
                    break;
                }
                at += view.total_bytes() as i64;
            }
            // The rest of the file is blank.
            Ok(Found::Blank) => at = file.end_offset(),
            Ok(Found::Nothing) => break,
            Err(error) => return (at, Some(error)),
        }
    }
    (at, None)
}
