// SPDX-License-Identifier: Apache-2.0
//! The message store: the CommitLog is the only truth; ConsumeQueues, IndexFiles and checkpoints are derived from it.
//!
//! Files and bytes are the original's (`docs/formats.md`). The only door is `MessageStore`. Knows records and queues, but no
//! request, no client and no socket.

mod append_raw;
mod appender;
mod base;
mod checkpoint;
mod clean;
mod commit_log;
mod config;
mod consume_queue;
mod dispatch;
mod figures;
mod flush;
mod followers;
mod fs;
mod get;
mod index;
mod index_file;
mod keep;
mod latency;
mod lifecycle;
mod log_reader;
mod maintenance;
mod mapped_file;
mod mapped_file_queue;
mod mapping;
mod mark;
mod memory_fs;
mod message_store;
mod overlap;
mod progress;
mod put;
mod put_message;
mod queue_ends;
mod queue_files;
mod queue_table;
mod queue_writes;
mod range;
mod read;
mod record;
mod recover;
mod scan;
mod set_aside;
mod stats;
mod unit;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ferrocket_protocol::message::MessageView;

pub use append_raw::RawAppendError;
pub use config::{CopiesWanted, FlushDiskType, StoreConfig};
pub use consume_queue::ColdPut;
pub use figures::{PUT_TIME_ENDS_MILLIS, Rates, StoreFigures};
pub use fs::{DirEntry, DiskUsage, Fs, FsFile, FsLock, Metadata, RealFs, is_failed_sync, with_suffix};
pub use get::{GET_BYTES_MAX, GetMessage, GetMessageResult, GetMessageStatus, MessagePosition};
pub use index::{IndexType, QueryMax, QueryResult};
pub use mapped_file::{AppendBy, MappedFile};
pub use mapping::Mapping;
pub use mark::Mark;
pub use memory_fs::{Crash, MemoryFs, Operation, Stall};
pub use message_store::{DiskUse, MessageStore};
pub use overlap::{COMPARED_BYTES, Overlap};
pub use put::{Needs, PutMessageStatus, PutResult};
pub use queue_files::may_name_a_directory;
pub use range::{LogFollower, LogRange};
pub use read::Boundary;
pub use unit::Unit;

/// Why a store cannot be opened or closed. The text is for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} has {found} bytes instead of {expected}: set {key} to the value that the store was written with", path.display())]
    WrongLength { path: PathBuf, found: u64, expected: u64, key: &'static str },
    #[error("{} does not belong there: its name is not an offset; move it away", path.display())]
    ForeignFile { path: PathBuf },
    #[error("{} is in use by another broker: stop it, or choose another {key}", path.display())]
    Locked { path: PathBuf, key: &'static str },
    #[error("{} was written with storeType=defaultRocksDB, which is not served", path.display())]
    RocksDb { path: PathBuf },
    #[error("the log ends in {}, which may only be read: make it writable or take its path out of readOnlyCommitLogStorePaths", path.display())]
    ReadOnlyEnd { path: PathBuf },
    #[error("CommitLog files are missing between {} and {}: is a path of storePathCommitLog not mounted?", before.display(), behind.display())]
    Gap { before: PathBuf, behind: PathBuf },
    #[error("a sync failed while the store was open: what the disk holds is unknown")]
    Poisoned,
}

fn at_path(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path: path.clone(), source }
}

/// The machine's memory: Java serves smaller batches of messages that it expects to be no longer in it.
fn physical_memory_bytes() -> i64 {
    static BYTES: OnceLock<i64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let info = rustix::system::sysinfo();
        (info.totalram as i64).saturating_mul(i64::from(info.mem_unit))
    })
}

/// Chooses among a queue's messages.
pub trait MessageFilter {
    /// By the tagsCode alone, without a look at the log.
    fn matches_unit(&self, tags_code: i64) -> bool;

    /// Whether `matches_record` has a say.
    fn needs_record(&self) -> bool {
        false
    }

    fn matches_record(&self, _record: &MessageView<'_>) -> bool {
        true
    }
}

/// Every message.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllMessages;

impl MessageFilter for AllMessages {
    fn matches_unit(&self, _tags_code: i64) -> bool {
        true
    }
}

/// Told of every message once, when it can be read, outside the append lock: of two that threads have put into one queue at the same
/// time the later one may be told first. Whoever keeps a maximum of what he is told keeps the greater one.
pub trait ArrivalListener: Send + Sync {
    /// `max_offset` is the queue's after this message; it may be greater by now.
    fn arriving(&self, topic: &str, queue_id: i32, max_offset: i64, tags_code: i64, store_time: i64);

    /// Runs `answers`, which tells many producers that their messages are on the disk: what goes to one of them may leave together.
    fn round(&self, answers: &mut dyn FnMut()) {
        answers();
    }
}
