// SPDX-License-Identifier: Apache-2.0
//! What the store must know to work: plain values, filled from the broker's configuration by whoever assembles the server.
//!
//! Field names are the snake case of the original's keys where there is one. Knows nothing of configuration files.

use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDiskType {
    Async,
    Sync,
}

/// How many logs must have a message before its producer hears that it is stored; this one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiesWanted {
    pub in_sync_replicas: usize,
    /// enableSlaveActingMaster: a message that so few slaves could soon have is refused before it is written.
    pub refused_without: bool,
    /// enableAutoInSyncReplicas: those that are in sync will do, as long as they are so many. Only where messages are refused.
    pub min_in_sync_replicas: Option<usize>,
    /// Slaves that lack less of the log are in sync; in bytes.
    pub max_gap_not_in_sync: i64,
    pub slave_timeout_millis: u64,
}

impl CopiesWanted {
    /// Java's defaults: nobody waits for a slave.
    pub const DEFAULT: Self = Self {
        in_sync_replicas: 1,
        refused_without: false,
        min_in_sync_replicas: None,
        max_gap_not_in_sync: 268_435_456,
        slave_timeout_millis: 3_000,
    };

    /// Whether there can be a put that needs slaves.
    pub(super) fn may_need_slaves(&self) -> bool {
        self.in_sync_replicas > 1 || self.refused_without && self.min_in_sync_replicas.is_some_and(|count| count > 1)
    }

    /// Of so many logs that are in sync, this one among them, how many must have a message; `None`: it is not to be written. Java's
    /// calcNeedAckNums.
    pub(super) fn needed(&self, in_sync: usize) -> Option<usize> {
        if !self.refused_without {
            return Some(self.in_sync_replicas);
        }
        let needed = self.min_in_sync_replicas.map_or(self.in_sync_replicas, |least| self.in_sync_replicas.min(in_sync).max(least));
        Some(needed).filter(|needed| *needed <= in_sync)
    }
}

/// Times are in milliseconds, sizes in bytes, ratios in percent, unless a field says otherwise. Everything above the line is fixed when the store opens; what is below may change while it runs (`MessageStore::reconfigure`).
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub store_path_root_dir: PathBuf,
    /// Directories for CommitLog files; empty means `<root>/commitlog`.
    pub store_path_commit_log: Vec<PathBuf>,
    pub read_only_commit_log_store_paths: Vec<PathBuf>,
    pub mapped_file_size_commit_log: usize,
    pub mapped_file_size_consume_queue: usize,
    pub max_hash_slot_num: u32,
    pub max_index_num: u32,
    pub message_index_enable: bool,
    pub flush_disk_type: FlushDiskType,
    pub check_crc_on_recover: bool,
    /// `messageDelayLevel` resolved to milliseconds, level 1 first: for the tagsCode of SCHEDULE_TOPIC_XXXX. Whoever delivers counts with
    /// the same ones as whoever stores.
    pub delay_level_millis: Vec<i64>,
    // --- live from here
    pub max_message_size: usize,
    pub flush_interval_commit_log: u64,
    pub flush_commit_log_least_pages: u32,
    pub flush_commit_log_thorough_interval: u64,
    pub flush_consume_queue_thorough_interval: u64,
    pub sync_flush_timeout: u64,
    /// Hours, as written in the key: `04` or `04;05`.
    pub delete_when: String,
    pub file_reserved_time_hours: u64,
    pub delete_file_batch_max: usize,
    pub clean_resource_interval: u64,
    pub clean_file_forcibly_enable: bool,
    pub disk_max_used_space_ratio: u32,
    pub disk_space_warning_level_ratio: u32,
    pub disk_space_clean_forcibly_ratio: u32,
    pub max_transfer_bytes_on_message_in_memory: usize,
    pub max_transfer_count_on_message_in_memory: usize,
    pub max_transfer_bytes_on_message_in_disk: usize,
    pub max_transfer_count_on_message_in_disk: usize,
    pub access_message_in_memory_max_ratio: u32,
    pub max_filter_message_size: usize,
    pub max_msgs_num_batch: usize,
    pub os_page_cache_busy_timeout_millis: u64,
    pub copies: CopiesWanted,
}

impl StoreConfig {
    /// The original's defaults under a root directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        const MINUTE: i64 = 60_000;
        Self {
            store_path_root_dir: root.into(),
            store_path_commit_log: Vec::new(),
            read_only_commit_log_store_paths: Vec::new(),
            mapped_file_size_commit_log: 1 << 30,
            mapped_file_size_consume_queue: 6_000_000,
            max_hash_slot_num: 5_000_000,
            max_index_num: 20_000_000,
            message_index_enable: true,
            flush_disk_type: FlushDiskType::Async,
            check_crc_on_recover: true,
            max_message_size: 4 * 1024 * 1024,
            flush_interval_commit_log: 500,
            flush_commit_log_least_pages: 4,
            flush_commit_log_thorough_interval: 10_000,
            flush_consume_queue_thorough_interval: 60_000,
            sync_flush_timeout: 5_000,
            delete_when: "04".to_owned(),
            file_reserved_time_hours: 72,
            delete_file_batch_max: 10,
            clean_resource_interval: 10_000,
            clean_file_forcibly_enable: true,
            disk_max_used_space_ratio: 75,
            disk_space_warning_level_ratio: 90,
            disk_space_clean_forcibly_ratio: 85,
            max_transfer_bytes_on_message_in_memory: 262_144,
            max_transfer_count_on_message_in_memory: 32,
            max_transfer_bytes_on_message_in_disk: 65_536,
            max_transfer_count_on_message_in_disk: 8,
            access_message_in_memory_max_ratio: 40,
            max_filter_message_size: 16_000,
            max_msgs_num_batch: 64,
            os_page_cache_busy_timeout_millis: 1_000,
            copies: CopiesWanted::DEFAULT,
            delay_level_millis: [1, 5, 10, 30]
                .map(|seconds| seconds * 1_000)
                .into_iter()
                .chain([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120].map(|minutes| minutes * MINUTE))
                .collect(),
        }
    }

    pub fn commit_log_dirs(&self) -> Vec<PathBuf> {
        if self.store_path_commit_log.is_empty() {
            return vec![self.store_path_root_dir.join("commitlog")];
        }
        self.store_path_commit_log.clone()
    }

    /// Java rounds the configured size up to whole units.
    pub fn consume_queue_file_bytes(&self) -> u64 {
        (self.mapped_file_size_consume_queue as u64).div_ceil(20) * 20
    }

    pub fn index_file_bytes(&self) -> u64 {
        40 + 4 * u64::from(self.max_hash_slot_num) + 20 * u64::from(self.max_index_num)
    }
}
