// SPDX-License-Identifier: Apache-2.0
//! How much memory this process may use, and how much of it connections get: a key says it, or the smallest limit of a control group
//! that holds the process (of either version, nested as they may be), or the machine.

use std::path::{Path, PathBuf};

use super::plan::Plan;

/// Connections get one part in so many. Beside them stand the program, its tables, the log's pages that are being written, and what
/// the allocator keeps of freed memory.
const CONNECTIONS_SHARE: u64 = 4;

/// With less no message of the greatest length would pass.
const BUDGET_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Work that may wait for the disk runs on so many threads at most, as tokio's default; each may hold a pull's answer.
const POOL_THREADS_MAX: usize = 512;
/// A disk that is slow for one is not yet slow for all.
const POOL_THREADS_MIN: usize = 8;
/// What one of them may hold: a message of 4 MiB or some full pulls, and what the allocator keeps for it of answers that were freed, by
/// their sizes.
const POOL_THREAD_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// For connections.
    pub budget_bytes: usize,
    pub pool_threads: usize,
    /// Where that comes from, for people.
    pub source: &'static str,
}

impl Memory {
    pub(super) fn of(plan: &Plan) -> Self {
        let broker = plan.broker.as_ref().map(|broker| broker.config.memory_budget_bytes);
        let namesrv = plan.namesrv.as_ref().map(|namesrv| namesrv.config.memory_budget_bytes);
        let given = broker.or(namesrv).and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        let machine = rustix::system::sysinfo();
        Self::from(given, group_limit(&|path| std::fs::read_to_string(path).ok()), machine.totalram as u64 * u64::from(machine.mem_unit))
    }

    fn from(given: Option<u64>, group: Option<u64>, machine: u64) -> Self {
        let (budget_bytes, source) = match (given, group.filter(|group| *group < machine)) {
            (Some(given), _) => (given, "memoryBudgetBytes"),
            (None, Some(group)) => ((group / CONNECTIONS_SHARE).max(BUDGET_BYTES_MIN), "a quarter of the control group's memory limit"),
            (None, None) => ((machine / CONNECTIONS_SHARE).max(BUDGET_BYTES_MIN), "a quarter of the machine's memory"),
        };
        let threads = usize::try_from(budget_bytes / POOL_THREAD_BYTES).unwrap_or(POOL_THREADS_MAX);
        Self {
            budget_bytes: usize::try_from(budget_bytes).unwrap_or(usize::MAX / 2).min(usize::MAX / 2),
            pool_threads: threads.clamp(POOL_THREADS_MIN, POOL_THREADS_MAX),
            source,
        }
    }
}

/// The smallest limit on the way from this process's control group to the root. `read` gives a file's text.
fn group_limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let mut least = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (kind, names): (&str, &[&str]) = match controllers {
            "" => ("cgroup2", &["memory.max", "memory.high"]),
            controllers if controllers.split(',').any(|controller| controller == "memory") => ("cgroup", &["memory.limit_in_bytes"]),
            _ => continue,
        };
        let Some((mount, directory)) = mounts.lines().find_map(|mount| mounted(mount, kind, group)) else { continue };
        for directory in directory.ancestors().take_while(|directory| directory.starts_with(&mount)) {
            // Without a limit there stands "max", or a number beyond every machine.
            for limit in names.iter().filter_map(|name| read(&directory.join(name))?.trim().parse().ok()) {
                least = Some(least.map_or(limit, |least: u64| least.min(limit)));
            }
        }
    }
    least
}

/// Where a hierarchy is mounted and where `group` lies in it. A container sees its own group as the mount's root, under the name that
/// the group has outside or under none.
fn mounted(mount: &str, kind: &str, group: &str) -> Option<(PathBuf, PathBuf)> {
    let (place, rest) = mount.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, at) = (place.next()?, PathBuf::from(place.next()?));
    let mut rest = rest.split(' ');
    let is_memory = rest.next() == Some(kind) && (kind == "cgroup2" || rest.next_back()?.split(',').any(|option| option == "memory"));
    let below = Path::new(group).strip_prefix(root).or_else(|_| Path::new(group).strip_prefix("/")).ok()?;
    is_memory.then(|| (at.clone(), at.join(below)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const V1: &str = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 25 0:27 ROOT /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
    const V2: &str = "32 25 0:28 ROOT /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    fn limit(group: &str, mounts: &str, root: &str, files: &[(&str, &str)]) -> Option<u64> {
        let mounts = mounts.replace("ROOT", root);
        group_limit(&|path| match path.to_str().unwrap() {
            "/proc/self/cgroup" => Some(group.to_owned()),
            "/proc/self/mountinfo" => Some(mounts.clone()),
            path => files.iter().find(|(name, _)| *name == path).map(|(_, text)| format!("{text}\n")),
        })
    }

    #[test]
    fn the_smallest_limit_above_the_process_counts() {
        let nested = [
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "134217728"),
            ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "268435456"),
        ];
        assert_eq!(limit("5:cpu:/\n4:memory:/a/b\n0::/\n", V1, "/", &nested), Some(128 * MIB));
        let unified = [
            ("/sys/fs/cgroup/a/memory.max", "max"),
            ("/sys/fs/cgroup/a/b/memory.max", "268435456"),
            ("/sys/fs/cgroup/a/b/memory.high", "134217728"),
        ];
        assert_eq!(limit("0::/a/b\n", V2, "/", &unified), Some(128 * MIB));
        assert_eq!(limit("0::/a\n", V2, "/", &unified), None, "no limit");
        assert_eq!(limit("", V2, "/", &unified), None);
        assert_eq!(limit("0::/a/b\n", "", "/", &unified), None, "nothing is mounted");
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let old = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728")];
        assert_eq!(limit("4:memory:/docker/1f\n", V1, "/docker/1f", &old), Some(128 * MIB), "named as outside");
        let new = [("/sys/fs/cgroup/memory.max", "134217728")];
        assert_eq!(limit("0::/\n", V2, "/", &new), Some(128 * MIB), "with a name space of its own");
    }

    #[test]
    fn a_key_goes_before_the_group_and_the_group_before_the_machine() {
        let budget = |given, group| {
            let memory = Memory::from(given, group, 8_192 * MIB);
            (memory.budget_bytes as u64 / MIB, memory.pool_threads)
        };
        assert_eq!(budget(None, None), (2_048, 512));
        assert_eq!(budget(None, Some(u64::MAX / 2)), (2_048, 512), "a limit beyond the machine");
        assert_eq!(budget(None, Some(128 * MIB)), (32, 8));
        assert_eq!(budget(None, Some(32 * MIB)), (16, 8));
        assert_eq!(budget(Some(100 * MIB), Some(128 * MIB)), (100, 25));
    }
}
