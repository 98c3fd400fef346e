// SPDX-License-Identifier: Apache-2.0
//! What a put answers, and what it waits for.

/// Java's PutMessageStatus, in its order. Which response code each becomes is the processor's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMessageStatus {
    PutOk,
    FlushDiskTimeout,
    FlushSlaveTimeout,
    SlaveNotAvailable,
    ServiceNotAvailable,
    CreateMappedFileFailed,
    MessageIllegal,
    PropertiesSizeExceeded,
    OsPageCacheBusy,
    UnknownError,
    InSyncReplicasNotEnough,
    PutToRemoteBrokerFail,
    LmqConsumeQueueNumExceeded,
    WheelTimerFlowControl,
    WheelTimerMsgIllegal,
    WheelTimerNotEnable,
}

impl PutMessageStatus {
    /// The message is in the log, whatever else went wrong.
    pub fn is_stored(self) -> bool {
        use PutMessageStatus::*;
        matches!(self, PutOk | FlushDiskTimeout | FlushSlaveTimeout | SlaveNotAvailable)
    }
}

/// Where a message must be before its producer is answered, or before consumers may read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// On the disk of this machine.
    pub disk: bool,
    /// In the logs of this many slaves; of their disks nothing is said.
    pub replicas: usize,
}

impl Needs {
    pub const DISK: Self = Self { disk: true, replicas: 0 };
}

/// Where a message went, or why it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResult {
    pub status: PutMessageStatus,
    /// Of the (first) record.
    pub physical_offset: i64,
    /// Of the (first) message in its queue.
    pub queue_offset: i64,
    pub store_timestamp: i64,
    pub message_count: i32,
    /// All records together.
    pub record_bytes: i32,
    /// Of each record of a batch; empty for a single message.
    pub physical_offsets: Vec<i64>,
    /// What its producer waits for.
    pub(super) needs: Needs,
}

impl PutResult {
    pub(super) fn refused(status: PutMessageStatus) -> Self {
        Self {
            status,
            physical_offset: 0,
            queue_offset: 0,
            store_timestamp: 0,
            message_count: 0,
            record_bytes: 0,
            physical_offsets: Vec::new(),
            needs: Needs::default(),
        }
    }

    /// Whether the answer has to wait for `MessageStore::when_durable`. Never with ASYNC_FLUSH and without slaves to wait for.
    pub fn needs_wait(&self) -> bool {
        self.needs != Needs::default()
    }

    pub fn end_offset(&self) -> i64 {
        self.physical_offset + i64::from(self.record_bytes)
    }
}
