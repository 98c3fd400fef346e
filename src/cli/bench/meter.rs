// SPDX-License-Identifier: Apache-2.0
//! What a run cost: the server, the generator and the rest of the machine between two moments, from /proc.
//!
//! A server's children count with it: a start script's JVM is its child.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::BenchError;

/// Clock ticks per second in /proc: fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;
const MIB: f64 = 1024.0 * 1024.0;

/// `PF_KTHREAD` in the flags of /proc/PID/stat: writeback and interrupts, which work for whoever caused them.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Busier than this and the generator, not the server, set the pace.
const GENERATOR_BUSY_PERCENT_MAX: f64 = 90.0;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time of all threads, those that ended too.
    pub(super) cpu_seconds: f64,
    pub(super) anonymous_bytes: u64,
    pub(super) file_bytes: u64,
    /// Of the threads that live: the kernel forgets those of threads that ended.
    pub(super) context_switches: u64,
    pub(super) page_faults: u64,
    pub(super) descriptors: usize,
}

impl Usage {
    /// Of one process and all its descendants.
    pub(super) fn of(pid: u32) -> Result<Self, BenchError> {
        Self::of_all(&[pid])
    }

    pub(super) fn of_all(pids: &[u32]) -> Result<Self, BenchError> {
        let mut total = Self::default();
        let mut processes = pids.to_vec();
        while let Some(pid) = processes.pop() {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let stat = Stat::read(&process)?;
            total.cpu_seconds += stat.cpu_seconds_with_children;
            total.page_faults += stat.page_faults;
            let status = read(&process.join("status"))?;
            total.anonymous_bytes += field(&status, "RssAnon:") * 1024;
            total.file_bytes += (field(&status, "RssFile:") + field(&status, "RssShmem:")) * 1024;
            // Readable only for the process's own user.
            total.descriptors += std::fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
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

    /// Of this process without its children: `compare` starts the server as one.
    fn of_generator() -> Result<Self, BenchError> {
        Ok(Self { cpu_seconds: Stat::read(Path::new("/proc/self"))?.cpu_seconds, ..Self::default() })
    }
}

/// The whole machine's use, in seconds since it started.
#[derive(Debug, Clone, Copy, Default)]
struct Machine {
    /// Of all processors, idle or not.
    total: f64,
    steal: f64,
    processes: f64,
    kernel_threads: f64,
}

impl Machine {
    fn now() -> Result<Self, BenchError> {
        let stat = read(Path::new("/proc/stat"))?;
        let times: Vec<f64> =
            stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8).filter_map(|time| time.parse().ok()).collect();
        if times.len() < 8 {
            return Err(unreadable(Path::new("/proc/stat"), "too short"));
        }
        let mut machine =
            Self { total: times.iter().sum::<f64>() / TICKS_PER_SECOND, steal: times[7] / TICKS_PER_SECOND, ..Self::default() };
        let processes = std::fs::read_dir("/proc").map_err(|error| unreadable(Path::new("/proc"), error))?;
        for process in processes.flatten().filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()) {
            // A process may end between the listing and the look; its parent has its time once it was waited for.
            let Ok(stat) = Stat::read(&process.path()) else { continue };
            if stat.kernel_thread {
                machine.kernel_threads += stat.cpu_seconds;
            } else {
                machine.processes += stat.cpu_seconds_with_children;
            }
        }
        Ok(machine)
    }
}

/// What a measurement opens before its load and closes after it.
pub(super) struct Window {
    servers: Vec<u32>,
    /// Of all of them at the beginning.
    server: Option<Usage>,
    generator: Usage,
    machine: Machine,
    syscalls: Option<SyscallCount>,
}

impl Window {
    pub(super) fn open(servers: &[u32], count_syscalls: bool) -> Result<Self, BenchError> {
        let servers = servers.to_vec();
        let syscalls = (count_syscalls && !servers.is_empty()).then(|| SyscallCount::start(&servers)).transpose()?;
        let machine = Machine::now()?;
        let server = (!servers.is_empty()).then(|| Usage::of_all(&servers)).transpose()?;
        Ok(Self { servers, server, generator: Usage::of_generator()?, machine, syscalls })
    }

    /// The figures per message of the `messages` that passed since; `threads` of the generator could be busy.
    pub(super) fn close(self, messages: u64, seconds: f64, threads: usize) -> Result<Cost, BenchError> {
        let after = self.server.map(|before| Usage::of_all(&self.servers).map(|after| (before, after))).transpose()?;
        let generator = Usage::of_generator()?.cpu_seconds - self.generator.cpu_seconds;
        let machine = Machine::now()?;
        let syscalls = self.syscalls.map(SyscallCount::stop).transpose()?;
        let server = after.map(|(before, after)| ServerCost::between(before, after, messages, syscalls));
        let capacity = (machine.total - self.machine.total).max(1e-9);
        let ours = generator + server.as_ref().map_or(0.0, |server| server.cpu_seconds);
        let foreign = machine.processes - self.machine.processes - ours;
        Ok(Cost {
            // Without the server's pid its own use cannot be told from foreign use.
            machine: server.is_some().then(|| MachineCost {
                steal_percent: (machine.steal - self.machine.steal) * 100.0 / capacity,
                // Ticks and precise times differ a little, both ways.
                foreign_cpu_percent: (foreign * 100.0 / capacity).clamp(0.0, 100.0),
                kernel_threads_cpu_seconds: machine.kernel_threads - self.machine.kernel_threads,
            }),
            server,
            generator: GeneratorCost {
                cpu_seconds: generator,
                cpu_seconds_per_million_messages: per_million(generator, messages),
                busy_percent: generator * 100.0 / (seconds.max(1e-9) * threads as f64),
                is_the_bottleneck: generator * 100.0 > GENERATOR_BUSY_PERCENT_MAX * seconds * threads as f64,
            },
        })
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cost {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerCost>,
    pub(super) generator: GeneratorCost,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) machine: Option<MachineCost>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ServerCost {
    pub(super) cpu_seconds: f64,
    pub(super) cpu_seconds_per_million_messages: f64,
    pub(super) context_switches_per_message: f64,
    pub(super) page_faults_per_message: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) syscalls_per_message: Option<f64>,
    pub(super) anonymous_mib: f64,
    pub(super) file_mib: f64,
    /// Open at the end of the run.
    #[serde(default)]
    pub(super) descriptors: usize,
}

impl ServerCost {
    fn between(before: Usage, after: Usage, messages: u64, syscalls: Option<u64>) -> Self {
        let per_message = |count: u64| count as f64 / messages.max(1) as f64;
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        Self {
            cpu_seconds,
            cpu_seconds_per_million_messages: per_million(cpu_seconds, messages),
            context_switches_per_message: per_message(after.context_switches.saturating_sub(before.context_switches)),
            page_faults_per_message: per_message(after.page_faults.saturating_sub(before.page_faults)),
            syscalls_per_message: syscalls.map(per_message),
            anonymous_mib: after.anonymous_bytes as f64 / MIB,
            file_mib: after.file_bytes as f64 / MIB,
            descriptors: after.descriptors,
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct GeneratorCost {
    pub(super) cpu_seconds: f64,
    pub(super) cpu_seconds_per_million_messages: f64,
    /// Of the threads that it was given.
    pub(super) busy_percent: f64,
    pub(super) is_the_bottleneck: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MachineCost {
    /// Of all processors: taken by other machines on this host, and by processes other than server and generator.
    pub(super) steal_percent: f64,
    pub(super) foreign_cpu_percent: f64,
    /// Writeback and the like; works for the server, yet is not in its figure.
    pub(super) kernel_threads_cpu_seconds: f64,
}

fn per_million(cpu_seconds: f64, messages: u64) -> f64 {
    cpu_seconds * 1e6 / messages.max(1) as f64
}

/// `perf stat` beside the server: the kernel tells nobody else how many system calls a process made.
struct SyscallCount(Child);

impl SyscallCount {
    fn start(pids: &[u32]) -> Result<Self, BenchError> {
        let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pids]);
        let started = perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        started.map(Self).map_err(|error| BenchError::Io { what: "start perf, which counts system calls", error })
    }

    fn stop(self) -> Result<u64, BenchError> {
        let pid = rustix::process::Pid::from_child(&self.0);
        let io = |error| BenchError::Io { what: "stop perf", error };
        rustix::process::kill_process(pid, rustix::process::Signal::INT).map_err(|error| io(error.into()))?;
        let said = self.0.wait_with_output().map_err(io)?.stderr;
        let said = String::from_utf8_lossy(&said);
        let count = said.lines().find(|line| line.contains("raw_syscalls")).and_then(|line| line.split(',').next()?.parse().ok());
        count.ok_or_else(|| BenchError::NotProven(format!("perf did not count system calls: {}", said.trim())))
    }
}

/// The fields of /proc/PID/stat that count here.
struct Stat {
    kernel_thread: bool,
    page_faults: u64,
    cpu_seconds: f64,
    /// With those of children that were waited for.
    cpu_seconds_with_children: f64,
}

impl Stat {
    fn read(process: &Path) -> Result<Self, BenchError> {
        let file = process.join("stat");
        Self::parse(&read(&file)?).ok_or_else(|| unreadable(&file, "too short"))
    }

    /// The name is in brackets and may hold blanks; the state follows it.
    fn parse(stat: &str) -> Option<Self> {
        let numbers: Vec<u64> =
            stat.rsplit_once(')')?.1.split_whitespace().skip(1).map(|number| number.parse::<i64>().unwrap_or(0) as u64).take(14).collect();
        let [_, _, _, _, _, flags, minor, children_minor, major, children_major, user, system, children_user, children_system] =
            numbers[..]
        else {
            return None;
        };
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        Some(Self {
            kernel_thread: flags & KERNEL_THREAD != 0,
            page_faults: minor + children_minor + major + children_major,
            cpu_seconds: seconds(user + system),
            cpu_seconds_with_children: seconds(user + system + children_user + children_system),
        })
    }
}

fn read(file: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(file).map_err(|error| unreadable(file, error))
}

fn unreadable(file: &Path, error: impl ToString) -> BenchError {
    BenchError::Process { file: file.to_owned(), error: error.to_string() }
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()).and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_fields() {
        let stat = Stat::parse("7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 25 75 20 0 1 0 100 1 1").unwrap();
        assert_eq!((stat.cpu_seconds, stat.cpu_seconds_with_children, stat.page_faults), (2.0, 3.0, 10));
        assert!(!stat.kernel_thread);
        assert!(Stat::parse("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 5 0 0 20").unwrap().kernel_thread);
        assert!(Stat::parse("7 (short) S 1 7").is_none());
    }

    #[test]
    fn a_window_sees_what_this_process_burns() {
        let window = Window::open(&[std::process::id()], false).unwrap();
        let mut spins = 0u64;
        while Usage::of_generator().unwrap().cpu_seconds - window.generator.cpu_seconds < 0.05 {
            spins = std::hint::black_box(spins + 1);
        }
        let cost = window.close(1_000_000, 1.0, 1).unwrap();
        let server = cost.server.unwrap();
        assert!(server.cpu_seconds >= 0.05 && server.anonymous_mib > 0.0, "{server:?}");
        assert_eq!(server.cpu_seconds, server.cpu_seconds_per_million_messages);
        assert!(cost.generator.busy_percent >= 5.0);
        assert!(cost.machine.is_some());
    }

    #[test]
    fn a_process_that_is_not_there_is_told() {
        assert!(Usage::of(u32::MAX).unwrap_err().to_string().contains("/proc/4294967295/stat"));
    }
}
