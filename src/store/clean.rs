// SPDX-License-Identifier: Apache-2.0
//! Retention: which CommitLog files go, by age and by how full the disk is, and what goes with them.
//!
//! Age is the file's modification time and the hours of `deleteWhen` are local, both as in Java. The last file never goes.

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::Timelike;
use tracing::{error, info, warn};

use super::base::Base;
use super::config::StoreConfig;
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

#[derive(Default)]
pub(super) struct Retention {
    manual_delete_ticks: AtomicU32,
}

impl Retention {
    /// Expired files go with the next tick, and for some ticks after.
    pub(super) fn delete_by_hand(&self) {
        self.manual_delete_ticks.store(MANUAL_DELETE_TICKS, Ordering::Relaxed);
    }

    /// One tick of the cleaning; whether the log lost files. Nothing goes that is not durable: `flushed` is how far the log is.
    pub(super) fn tick(&self, base: &Base, flushed: i64) -> bool {
        let config = base.config.load_full();
        let disk = judge_disk(base);
        note_disk(base, disk);
        let manual = self.manual_delete_ticks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ticks| ticks.checked_sub(1)).is_ok();
        let now = base.clock.now_millis();
        let hour = local_time(now).hour();
        let in_hour = config.delete_when.split(';').any(|when| when.trim().parse() == Ok(hour));
        if !(in_hour || disk.over_used || manual) {
            return false;
        }
        let reserved_millis = config.file_reserved_time_hours as i64 * 3_600_000;
        let at_once = disk.clean_at_once && config.clean_file_forcibly_enable;
        let min = base.log.min_offset();
        remove_expired(base, flushed, now, reserved_millis, at_once, config.delete_file_batch_max);
        let is_shorter = base.log.min_offset() > min;
        if !is_shorter && disk.clean_at_once {
            warn!("the disk is nearly full and no file of the log may go");
        }
        is_shorter
    }
}

/// Before the first put, as the original a second after its start: the first cleaning comes only after a minute.
pub(super) fn measure_disk(base: &Base) {
    note_disk(base, judge_disk(base));
}

fn note_disk(base: &Base, disk: DiskState) {
    match (base.health.disk_full.swap(disk.full, Ordering::SeqCst), disk.full) {
        (false, true) => error!("the disk is full: no more messages are taken until there is room again"),
        (true, false) => info!("the disk has room again: messages are taken"),
        _ => {}
    }
}

fn remove_expired(base: &Base, flushed: i64, now: i64, reserved_millis: i64, at_once: bool, batch_max: usize) {
    let files = base.log.files.files();
    for file in files.iter().take(files.len().saturating_sub(1)).take(batch_max) {
        let expired = match base.fs.metadata(file.path()) {
            Ok(metadata) => metadata.modified_millis + reserved_millis <= now,
            Err(error) => {
                error!(path = %file.path().display(), %error, "cannot look at a file of the log");
                false
            }
        };
        // A file that is not on the disk yet must stay: its records are acknowledged.
        if !(expired || at_once) || file.end_offset() > flushed {
            break;
        }
        if let Err(error) = base.log.files.remove(file) {
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

fn judge_disk(base: &Base) -> DiskState {
    let config = base.config.load();
    let dirs = base.log.files.dirs();
    let ratios: Vec<f64> = dirs.iter().map(|dir| base.used_ratio(dir)).collect();
    let forcibly = forcible_ratio(&config);
    let full_dirs = dirs.iter().zip(&ratios).filter(|(_, ratio)| **ratio > forcibly).map(|(dir, _)| dir.clone()).collect();
    base.log.files.set_full_dirs(full_dirs);
    judge(&config, &ratios, base.used_ratio(base.queues.files.root()))
}

/// By the used parts of the disks that the log's directories are on, and of the ConsumeQueues'.
fn judge(config: &StoreConfig, log: &[f64], queues: f64) -> DiskState {
    let warning = f64::from(config.disk_space_warning_level_ratio.clamp(35, 90)) / 100.0;
    let forcibly = forcible_ratio(config);
    let max_used = f64::from(config.disk_max_used_space_ratio.clamp(10, 95)) / 100.0;
    let mut state = DiskState::default();
    for ratio in [emptiest(log.iter().copied()), queues] {
        state.full |= ratio > warning;
        state.clean_at_once |= ratio > forcibly;
        state.over_used |= !(0.0..=max_used).contains(&ratio) || ratio > forcibly;
    }
    state
}

fn forcible_ratio(config: &StoreConfig) -> f64 {
    f64::from(config.disk_space_clean_forcibly_ratio.clamp(30, 85)) / 100.0
}

/// Of the log's paths: as long as one has room there is room.
pub(super) fn emptiest(ratios: impl Iterator<Item = f64>) -> f64 {
    ratios.fold(f64::MAX, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DefaultMessageStore.java#isSpaceToDelete: the smallest of the log's ratios, then that of the ConsumeQueues.
    #[test]
    fn the_emptiest_of_several_paths_says_whether_the_disk_is_full() {
        let config = StoreConfig::at("/store");
        let is = |log: &[f64], queues| {
            let DiskState { over_used, clean_at_once, full } = judge(&config, log, queues);
            (over_used, clean_at_once, full)
        };
        assert_eq!(is(&[0.95, 0.5], 0.5), (false, false, false));
        assert_eq!(is(&[0.5, 0.95, 0.99], 0.5), (false, false, false));
        assert_eq!(is(&[0.95, 0.8], 0.5), (true, false, false), "over diskMaxUsedSpaceRatio");
        assert_eq!(is(&[0.86, 0.95], 0.5), (true, true, false), "over diskSpaceCleanForciblyRatio");
        assert_eq!(is(&[0.99, 0.91], 0.5), (true, true, true), "over diskSpaceWarningLevelRatio");
        assert_eq!(is(&[0.5], 0.91), (true, true, true), "the ConsumeQueues have one path");
        assert_eq!(is(&[-1.0], 0.5), (true, false, false), "of one that cannot be told expired files go");
    }
}
