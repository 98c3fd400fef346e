// SPDX-License-Identifier: Apache-2.0
//! What a server's process has used so far, from /proc. Its children count with it: a start script's JVM is its child.

use std::path::{Path, PathBuf};

use super::BenchError;

/// Clock ticks per second in /proc/PID/stat: fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time of all threads, those that ended too.
    pub(super) cpu_seconds: f64,
    pub(super) anonymous_bytes: u64,
    pub(super) context_switches: u64,
}

pub(super) fn usage(pid: u32) -> Result<Usage, BenchError> {
    let mut total = Usage::default();
    let mut processes = vec![pid];
    while let Some(pid) = processes.pop() {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let stat = read(&process.join("stat"))?;
        total.cpu_seconds += cpu_seconds(&stat).ok_or_else(|| unreadable(&process.join("stat"), "too short"))?;
        total.anonymous_bytes += field(&read(&process.join("status"))?, "RssAnon:") * 1024;
        let tasks = std::fs::read_dir(process.join("task")).map_err(|error| unreadable(&process.join("task"), error))?;
        for task in tasks.flatten() {
            // A thread may end between the listing and the look.
            let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
            total.context_switches += field(&status, "voluntary_ctxt_switches:");
            total.context_switches += field(&status, "nonvoluntary_ctxt_switches:");
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            processes.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    Ok(total)
}

fn read(file: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(file).map_err(|error| unreadable(file, error))
}

fn unreadable(file: &Path, error: impl ToString) -> BenchError {
    BenchError::ServerProcess { file: file.to_owned(), error: error.to_string() }
}

/// utime, stime, and those of children that were waited for. The name before them is in brackets and may hold blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let after_name = stat.rsplit_once(')')?.1;
    let times: Vec<f64> = after_name.split_whitespace().skip(11).take(4).filter_map(|time| time.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum::<f64>() / TICKS_PER_SECOND)
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()).and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_times() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 25 75 20 0 1 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.anonymous_bytes > 0);
        assert!(usage.context_switches > 0);
    }

    #[test]
    fn a_process_that_is_not_there_is_told() {
        assert!(super::usage(u32::MAX).unwrap_err().to_string().contains("/proc/4294967295/stat"));
    }
}
