// SPDX-License-Identifier: Apache-2.0
//! The message store: the CommitLog is the only truth; ConsumeQueues, IndexFiles and checkpoints are derived from it.
//!
//! Files and bytes are the original's (`docs/formats.md`). The only door is `MessageStore`. Knows records and queues, but no
//! request, no client and no socket.

mod config;
mod fs;
mod get;
mod mapped_file;
mod put;

pub use config::{FlushDiskType, StoreConfig};
pub use fs::{DirEntry, DiskUsage, Fs, FsFile, FsLock, Metadata, RealFs, with_suffix};
pub use get::{GET_BYTES_MAX, GetMessage, GetMessageResult, GetMessageStatus};
pub use mapped_file::{AppendBy, MappedFile, Mapping};
pub use put::{PutMessageStatus, PutResult};

/// Told of every message that became readable, in queue order, outside the append lock.
pub trait ArrivalListener: Send + Sync {
    /// `max_offset` is the queue's after this message.
    fn arriving(&self, topic: &str, queue_id: i32, max_offset: i64, tags_code: i64, store_time: i64);
}
