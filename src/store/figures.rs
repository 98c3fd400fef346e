// SPDX-License-Identifier: Apache-2.0
//! How the store stands, taken once: plain numbers for whoever shows them. In the original StoreStatsService and
//! DefaultMessageStore#getRuntimeInfo make texts of them at once; here that is the affair of each who shows them.

use std::borrow::Cow;
use std::path::PathBuf;

use super::fs::DiskUsage;

/// Where the buckets of `StoreFigures::put_counts_by_time` end, in milliseconds; the last one does not.
pub const PUT_TIME_ENDS_MILLIS: [u64; 12] = [1, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000];

/// Per second, over the last 10, 60 and 600 seconds; 0 until it has been counted for so long.
pub type Rates = [f64; 3];

/// Offsets and sizes are bytes of the log, moments are wall clock milliseconds. Counts begin with the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreFigures {
    /// Why a put would be refused now, for people; `None` when it would be taken.
    pub unwritable_why: Option<Cow<'static, str>>,
    /// When the store was opened.
    pub boot_millis: i64,
    pub up_seconds: u64,
    pub put_count: u64,
    pub put_failed_count: u64,
    pub put_bytes: u64,
    /// The longest put and read of this minute and the last.
    pub put_millis_max: u64,
    pub get_millis_max: u64,
    /// How many puts of the last whole minute took how long.
    pub put_counts_by_time: [u64; PUT_TIME_ENDS_MILLIS.len() + 1],
    /// What 99 % and 99.9 % of the puts of the last whole minute stayed below.
    pub put_millis_99: f64,
    pub put_millis_999: f64,
    pub puts: Rates,
    /// Reads that found messages, those that found none, and both.
    pub gets_found: Rates,
    pub gets_missed: Rates,
    pub gets: Rates,
    /// Messages that were read.
    pub gets_transferred: Rates,
    /// Each path of the CommitLog, and the used part of its disk: from 0 to 1, or -1 when it cannot be told.
    pub commit_log_disks: Vec<(PathBuf, f64)>,
    pub consume_queue_disk_used: f64,
    /// The disk that the root of the store is on, when it can be told.
    pub disk: Option<DiskUsage>,
    pub min_offset: i64,
    pub max_offset: i64,
    pub flushed_offset: i64,
    /// How much of the log the message index does not have yet.
    pub index_behind_bytes: i64,
    /// How long the present put has held the append lock.
    pub append_lock_millis: u64,
    /// When the oldest record was stored; -1 when there is none.
    pub earliest_store_millis: i64,
}
