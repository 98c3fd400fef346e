// SPDX-License-Identifier: Apache-2.0
//! The hot path in counts that no busy neighbour moves: instructions, allocations and system calls per message.
//!
//! Each workload runs under valgrind with N and with 2 N messages; the difference is what a message costs. Without arguments
//! every count is compared with `benches/counters.json` and a count that left its tolerance fails the run; `--write` keeps what
//! was counted instead. With the name of a workload and a number this program is the workload.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring programme, not the server")]

#[path = "../../tests/support/mod.rs"]
mod support;
mod workloads;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

/// Instructions may move by so much before they count as changed: compilers and C libraries differ a little.
const INSTRUCTIONS_TOLERANCE: f64 = 0.15;
/// Allocations and system calls are whole numbers per message or per batch: one more in every fourth message is a change.
const WHOLE_TOLERANCE: f64 = 0.25;
/// How much is done in one batch is chance, which counts where a message costs many allocations: a transaction had 31.2 to 32.2.
const ALLOCATIONS_TOLERANCE: f64 = 0.05;
/// How often threads wake each other is chance, which counts where a message costs many calls.
const CALLS_TOLERANCE: f64 = 0.1;

/// What one message costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Counts {
    instructions: f64,
    allocations: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_calls: Option<f64>,
}

fn main() -> ExitCode {
    // `cargo bench` adds "--bench".
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => gate(false),
        ["--write"] => gate(true),
        [name, messages] => {
            workloads::run(name, messages.parse().unwrap());
            ExitCode::SUCCESS
        }
        _ => panic!("usage: counters [--write | WORKLOAD MESSAGES]"),
    }
}

fn gate(write: bool) -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counters.json");
    let kept: BTreeMap<String, Counts> = match std::fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).unwrap(),
        Err(_) => BTreeMap::new(),
    };
    let mut counted = BTreeMap::new();
    let mut moved = Vec::new();
    println!("{:<16} {:>22} {:>18} {:>18}", "per message", "instructions", "allocations", "system calls");
    for workload in workloads::ALL {
        let counts = count(workload);
        let before = kept.get(workload.name);
        println!(
            "{:<16} {:>22} {:>18} {:>18}",
            workload.name,
            beside(counts.instructions, before.map(|kept| kept.instructions), 0),
            beside(counts.allocations, before.map(|kept| kept.allocations), 2),
            counts.system_calls.map_or("-".to_owned(), |calls| beside(calls, before.and_then(|kept| kept.system_calls), 2)),
        );
        match before {
            Some(kept) => moved.extend(differences(kept, &counts).map(|what| format!("{}: {what}", workload.name))),
            None => moved.push(format!("{}: is not in {}", workload.name, file.display())),
        }
        counted.insert(workload.name, counts);
    }
    if write {
        std::fs::write(&file, serde_json::to_string_pretty(&counted).unwrap() + "\n").unwrap();
        return ExitCode::SUCCESS;
    }
    for line in &moved {
        println!("counters: {line}");
    }
    if moved.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("counters: a change that is meant is kept with `make counters-write`");
    ExitCode::FAILURE
}

/// "counted (kept)".
fn beside(counted: f64, kept: Option<f64>, digits: usize) -> String {
    kept.map_or_else(|| format!("{counted:.digits$}"), |kept| format!("{counted:.digits$} ({kept:.digits$})"))
}

/// What left its tolerance, upwards or downwards: a gain is kept too, or the next loss would hide in it.
fn differences(kept: &Counts, counted: &Counts) -> impl Iterator<Item = String> + use<> {
    let check = |what, kept: f64, counted: f64, tolerance: f64| {
        ((counted - kept).abs() > tolerance).then(|| format!("{what} per message were {kept:.2} and are {counted:.2}"))
    };
    let (kept_calls, calls) = (kept.system_calls.unwrap_or(0.0), counted.system_calls.unwrap_or(0.0));
    [
        check("instructions", kept.instructions, counted.instructions, kept.instructions * INSTRUCTIONS_TOLERANCE),
        check("allocations", kept.allocations, counted.allocations, WHOLE_TOLERANCE.max(kept.allocations * ALLOCATIONS_TOLERANCE)),
        check("system calls", kept_calls, calls, WHOLE_TOLERANCE.max(kept_calls * CALLS_TOLERANCE)),
    ]
    .into_iter()
    .flatten()
}

fn count(workload: &workloads::Workload) -> Counts {
    Counts {
        instructions: per_message(workload, &["--tool=callgrind", "--callgrind-out-file=/dev/null"], |said| {
            number_behind(said, "Collected : ")
        }),
        allocations: per_message(workload, &["--tool=dhat", "--dhat-out-file=/dev/null"], |said| {
            let total = said.lines().find(|line| line.contains("Total: ")).expect("dhat's total");
            number_behind(total, " in ")
        }),
        system_calls: workload
            .asks_system
            .then(|| per_message(workload, &["--tool=none", "--trace-syscalls=yes"], |said| said.matches("SYSCALL[").count() as u64)),
    }
}

fn per_message(workload: &workloads::Workload, valgrind: &[&str], read: impl Fn(&str) -> u64) -> f64 {
    let cost = |messages: u64| read(&run_under(valgrind, workload.name, messages));
    let (once, twice) = (cost(workload.messages), cost(2 * workload.messages));
    ((twice as f64 - once as f64) / workload.messages as f64 * 100.0).round() / 100.0
}

/// What valgrind said.
fn run_under(valgrind: &[&str], workload: &str, messages: u64) -> String {
    let log: PathBuf = std::env::temp_dir().join(format!("ferrocket-counters-{}.log", std::process::id()));
    let status = Command::new("valgrind")
        .args(valgrind)
        .arg(format!("--log-file={}", log.display()))
        .arg(std::env::current_exe().unwrap())
        .args([workload, &messages.to_string()])
        .status()
        .expect("valgrind is needed (Debian: apt-get install valgrind)");
    let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    std::fs::remove_file(&log).unwrap();
    assert!(status.success(), "{workload} failed under valgrind {valgrind:?}:\n{said}");
    said
}

fn number_behind(text: &str, mark: &str) -> u64 {
    let digits = &text[text.find(mark).expect("valgrind's count") + mark.len()..];
    digits.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}
