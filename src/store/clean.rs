// SPDX-License-Identifier: Apache-2.0
//! Retention: which CommitLog files go, by age and by how full the disk is, and what goes with them.
//!
//! Age is the file's modification time and the hours of `deleteWhen` are local, both as in Java. The last file never goes.

use std::sync::atomic::Ordering;

use chrono::Timelike;
use tracing::{error, info, warn};

use super::message_store::MessageStore;
use crate::runtime::local_time;

/// Ticks that a manual deletion stays in force, as in Java.
const MANUAL_DELETE_TICKS: u32 = 20;

/// What a tick decides from the disk's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DiskState {
    /// Expired files go now, whatever the hour.
    over_used: bool,
    /// Files go whatever their age.
    clean_at_once: bool,
    full: bool,
}

impl MessageStore {
    /// DELETE_EXPIRED_COMMITLOG: expired files go now, and for some ticks after.
    pub fn delete_expired_now(&self) {
        self.health.manual_delete_ticks.store(MANUAL_DELETE_TICKS, Ordering::Relaxed);
        self.clean();
    }

    /// Before the first put, as the original a second after its start: the first cleaning comes only after a minute.
    pub(super) fn measure_disk(&self) {
        self.note_disk(self.judge_disk());
    }

    fn note_disk(&self, disk: DiskState) {
        match (self.health.disk_full.swap(disk.full, Ordering::SeqCst), disk.full) {
            (false, true) => error!("the disk is full: no more messages are taken until there is room again"),
            (true, false) => info!("the disk has room again: messages are taken"),
            _ => {}
        }
    }

    /// One tick of the cleaning.
    pub fn clean(&self) {
        let config = self.config.load_full();
        let disk = self.judge_disk();
        self.note_disk(disk);
        let manual =
            self.health.manual_delete_ticks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ticks| ticks.checked_sub(1)).is_ok();
        let now = self.clock.now_millis();
        let hour = local_time(now).hour();
        let in_hour = config.delete_when.split(';').any(|when| when.trim().parse() == Ok(hour));
        if !(in_hour || disk.over_used || manual) {
            return;
        }
        let reserved_millis = config.file_reserved_time_hours as i64 * 3_600_000;
        let at_once = disk.clean_at_once && config.clean_file_forcibly_enable;
        let min = self.log.min_offset();
        self.remove_expired(now, reserved_millis, at_once, config.delete_file_batch_max);
        if self.log.min_offset() > min {
            self.expire_indexes();
        } else if disk.clean_at_once {
            warn!("the disk is nearly full and no file of the log may go");
        }
    }

    fn remove_expired(&self, now: i64, reserved_millis: i64, at_once: bool, batch_max: usize) {
        let files = self.log.files.files();
        for file in files.iter().take(files.len().saturating_sub(1)).take(batch_max) {
            let expired = match self.fs.metadata(file.path()) {
                Ok(metadata) => metadata.modified_millis + reserved_millis <= now,
                Err(error) => {
                    error!(path = %file.path().display(), %error, "cannot look at a file of the log");
                    false
                }
            };
            // A file that is not on the disk yet must stay: its records are acknowledged.
            if !(expired || at_once) || file.end_offset() > self.flushed_offset() {
                break;
            }
            if let Err(error) = self.log.files.remove(file) {
                // Or it is gone, and that is not on the disk yet: nothing more goes before it is.
                error!(path = %file.path().display(), %error, "cannot remove an expired file");
                break;
            }
            let path = file.path().display();
            match expired {
                true => info!(%path, "removed an expired file of the log"),
                false => warn!(%path, "removed a file of the log before its time: the disk is too full"),
            }
        }
    }

    /// The log lost its oldest files: so do the ConsumeQueues and the index.
    pub(super) fn expire_indexes(&self) {
        let min = self.log.min_offset();
        for queue in self.queues.all() {
            // Its topic must not be deleted meanwhile: a queue that takes its place has files of the same names.
            let _no_deletion = self.keeper.lock();
            let expired = queue.ensure_loaded(&self.queues.files, &self.log).map_err(|error| error.to_string());
            if let Err(error) = expired.and_then(|()| queue.expire(&self.queues.files, min).map_err(|error| error.to_string())) {
                error!(topic = %queue.topic, queue_id = queue.queue_id, %error, "cannot expire a ConsumeQueue");
            }
        }
        if let Err(error) = self.index.expire(min) {
            error!(%error, "cannot expire the index");
        }
    }

    fn judge_disk(&self) -> DiskState {
        let config = self.config.load();
        let warning = f64::from(config.disk_space_warning_level_ratio.clamp(35, 90)) / 100.0;
        let forcibly = f64::from(config.disk_space_clean_forcibly_ratio.clamp(30, 85)) / 100.0;
        let max_used = f64::from(config.disk_max_used_space_ratio.clamp(10, 95)) / 100.0;
        let dirs = self.log.files.dirs();
        let ratios: Vec<f64> = dirs.iter().map(|dir| self.used_ratio(dir)).collect();
        let full_dirs = dirs.iter().zip(&ratios).filter(|(_, ratio)| **ratio > forcibly).map(|(dir, _)| dir.clone()).collect();
        self.log.files.set_full_dirs(full_dirs);
        // Several paths: as long as one has room there is room.
        let log = ratios.iter().copied().fold(f64::MAX, f64::min);
        let queues = self.used_ratio(self.queues.files.root());
        let mut state = DiskState::default();
        for ratio in [log, queues] {
            state.full |= ratio > warning;
            state.clean_at_once |= ratio > forcibly;
            state.over_used |= !(0.0..=max_used).contains(&ratio) || ratio > forcibly;
        }
        state
    }
}
