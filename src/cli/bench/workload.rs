// SPDX-License-Identifier: Apache-2.0
//! The table of what is measured: each workload is a line of `ferrocket bench`, with the figures that count and what they must be.

use serde_json::Value;

/// What the server must be before the line is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Running, ASYNC_FLUSH.
    AsyncFlush,
    /// Running, SYNC_FLUSH.
    SyncFlush,
    /// A master that waits for its slave, and that slave; ASYNC_FLUSH.
    SyncPair,
    /// A master that does not wait; `bench catch-up` starts its slave.
    AsyncPair,
    /// Not running: `bench start` starts it.
    Start,
}

#[derive(Debug)]
pub(super) struct Workload {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) needs: Needs,
    /// The sub-command and its own arguments.
    pub(super) line: &'static [&'static str],
    /// In `make bench-quick`.
    pub(super) quick: bool,
    /// Whether `bench echo` with the same arguments is its limit.
    pub(super) has_limit: bool,
    pub(super) figures: &'static [Figure],
}

/// A number of a run's JSON line.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// JSON pointer.
    at: &'static str,
    pub(super) more_is_better: bool,
    pub(super) must: Option<Must>,
}

/// The gate: so many times better than the best of the original's, or a bound in the figure's own unit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Must {
    Times(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub(super) fn of(&self, line: &Value) -> Option<f64> {
        line.pointer(self.at)?.as_f64()
    }

    /// How many times better `ours` is.
    pub(super) fn ratio(&self, ours: f64, theirs: f64) -> f64 {
        if self.more_is_better { ours / theirs } else { theirs / ours }
    }
}

pub(super) const THROUGHPUT: &str = "msg/s";
pub(super) const CPU: &str = "CPU µs/msg";

const fn throughput(must: Option<Must>) -> Figure {
    Figure { name: THROUGHPUT, at: "/messages_per_second", more_is_better: true, must }
}

/// Seconds per million messages are microseconds per message.
const fn cpu(must: Option<Must>) -> Figure {
    Figure { name: CPU, at: "/server/cpu_seconds_per_million_messages", more_is_better: false, must }
}

const fn less(name: &'static str, at: &'static str, must: Option<Must>) -> Figure {
    Figure { name, at, more_is_better: false, must }
}

const fn times(times: f64) -> Option<Must> {
    Some(Must::Times(times))
}

const fn at_most(bound: f64) -> Option<Must> {
    Some(Must::AtMost(bound))
}

/// What a start finds in its store.
const FILLED: Figure = less("M messages before", "/figures/messages_before_millions", None);
const P50: Figure = less("p50 µs", "/latency_micros/p50", None);
const P99: Figure = less("p99 µs", "/latency_micros/p99", None);
const CATCH_UP: Figure =
    Figure { name: "MB/s", at: "/figures/catch_up_megabytes_per_second", more_is_better: true, must: Some(Must::AtLeast(500.0)) };
const OF_BARE_COPY: Figure = Figure { name: "% of a bare copy", at: "/figures/of_bare_copy_percent", more_is_better: true, must: None };

macro_rules! figures {
    ($($figure:expr),*) => {{
        const FIGURES: &[Figure] = &[$($figure),*];
        FIGURES
    }};
}

const fn send(id: &'static str, what: &'static str, line: &'static [&'static str], figures: &'static [Figure]) -> Workload {
    Workload { id, what, needs: Needs::AsyncFlush, line, quick: false, has_limit: true, figures }
}

const fn flush(id: &'static str, what: &'static str, line: &'static [&'static str], figures: &'static [Figure]) -> Workload {
    Workload { id, what, needs: Needs::SyncFlush, line, quick: false, has_limit: false, figures }
}

const fn start(id: &'static str, what: &'static str, line: &'static [&'static str], figures: &'static [Figure]) -> Workload {
    Workload { id, what, needs: Needs::Start, line, quick: false, has_limit: false, figures }
}

const fn pair(id: &'static str, needs: Needs, what: &'static str, line: &'static [&'static str], figures: &'static [Figure]) -> Workload {
    Workload { id, what, needs, line, quick: false, has_limit: false, figures }
}

const fn without_limit(mut workload: Workload) -> Workload {
    workload.has_limit = false;
    workload
}

const fn quick(mut workload: Workload) -> Workload {
    workload.quick = true;
    workload
}

/// In the order they are run: what reads a backlog comes after what made it. "must" figures: the design's goals.
pub(super) const WORKLOADS: &[Workload] = &[
    quick(send(
        "W1",
        "sync send 1 KB, 1 producer",
        &["send", "--connections", "1"],
        figures![throughput(times(2.0)), cpu(times(4.5)), P50, P99],
    )),
    send(
        "W2",
        "sync send 1 KB, 16 producers",
        &["send", "--connections", "16"],
        figures![throughput(times(2.2)), cpu(times(4.3)), P50, P99],
    ),
    quick(send(
        "W3",
        "sync send 1 KB, 128 producers",
        &["send", "--connections", "128"],
        figures![throughput(times(1.8)), cpu(times(3.0)), P50, P99],
    )),
    send(
        "W4",
        "sync send 1 KB, 1,024 producers",
        &["send", "--connections", "1024"],
        figures![throughput(times(1.5)), cpu(times(2.6)), P50, P99],
    ),
    quick(send(
        "W5",
        "async send 1 KB, 64 x 16, JSON",
        &["send", "--connections", "64", "--depth", "16"],
        figures![throughput(times(4.0)), cpu(times(5.0)), P50, P99, less("anonymous MiB", "/server/anonymous_mib", at_most(150.0))],
    )),
    send(
        "W5b",
        "async send 1 KB, 64 x 16, binary",
        &["send", "--connections", "64", "--depth", "16", "--header", "binary"],
        figures![throughput(times(4.5)), cpu(times(6.0)), P50, P99],
    ),
    send(
        "W5-1x64",
        "async send 1 KB, 1 x 64",
        &["send", "--connections", "1", "--depth", "64"],
        figures![throughput(times(4.0)), cpu(times(5.5)), P50, P99],
    ),
    send(
        "W5-128B",
        "async send 128 B, 64 x 16",
        &["send", "--connections", "64", "--depth", "16", "--body-bytes", "128"],
        figures![throughput(times(5.0)), cpu(times(6.0)), P50, P99],
    ),
    send(
        "W5-4K",
        "async send 4 KB, 64 x 16",
        &["send", "--connections", "64", "--depth", "16", "--body-bytes", "4096"],
        figures![throughput(None), cpu(None), P50, P99],
    ),
    without_limit(send(
        "W6",
        "oneway 1 KB, 16 connections",
        &["send", "--connections", "16", "--oneway"],
        figures![throughput(None), cpu(None)],
    )),
    send(
        "W7",
        "batch 32 x 1 KB, 16 x 4",
        &["send", "--connections", "16", "--depth", "4", "--batch", "32"],
        figures![throughput(times(2.0)), cpu(times(2.7)), P50, P99],
    ),
    send(
        "W7-100B",
        "batch 32 x 100 B, 16 x 4",
        &["send", "--connections", "16", "--depth", "4", "--batch", "32", "--body-bytes", "100"],
        figures![throughput(None), cpu(None), P50, P99],
    ),
    send(
        "OL",
        "open loop 10 k/s, 64 connections",
        &["send", "--connections", "64", "--rate", "10000"],
        figures![
            P50,
            less("p99 µs", "/latency_micros/p99", at_most(1000.0)),
            less("p99.9 µs", "/latency_micros/p99_9", None),
            cpu(times(4.0))
        ],
    ),
    quick(flush(
        "W8-16",
        "SYNC_FLUSH, 16 producers",
        &["flush", "--producers", "16"],
        figures![throughput(times(2.5)), cpu(None), P50, P99],
    )),
    flush("W8-1", "SYNC_FLUSH, 1 producer", &["flush", "--producers", "1"], figures![throughput(times(4.0)), cpu(None), P50, P99]),
    flush(
        "W8-128",
        "SYNC_FLUSH, 128 producers",
        &["flush", "--producers", "128"],
        figures![throughput(times(1.4)), cpu(times(2.5)), P50, P99],
    ),
    flush(
        "W8-1024",
        "SYNC_FLUSH, 1,024 producers",
        &["flush", "--producers", "1024"],
        figures![throughput(times(1.4)), cpu(times(2.5)), P50, P99],
    ),
    // The backlog that is read is the one of W10-fill; both are one topic.
    without_limit(send(
        "W10-fill",
        "backlog of 1 M messages",
        &["send", "--topic", "ferrocket-bench-backlog", "--connections", "16", "--depth", "16", "--messages", "1000000"],
        figures![throughput(None), cpu(None)],
    )),
    without_limit(send(
        "W10",
        "catch-up, warm",
        &["pull", "--topic", "ferrocket-bench-backlog", "--connections", "4", "--rounds", "4"],
        figures![throughput(times(1.2)), cpu(times(2.0))],
    )),
    quick(without_limit(send(
        "W9",
        "consumers at the tail, open loop 10 k/s",
        &["e2e", "--connections", "8", "--rate", "10000"],
        figures![
            less("p50 µs", "/latency_micros/p50", at_most(150.0)),
            less("p99 µs", "/latency_micros/p99", at_most(1000.0)),
            less("p99.9 µs", "/latency_micros/p99_9", None),
            cpu(times(4.0))
        ],
    ))),
    without_limit(send(
        "W11",
        "fan-out to 10 groups, open loop 2 k/s",
        &["e2e", "--topic", "ferrocket-bench-fan", "--connections", "8", "--rate", "2000", "--groups", "10"],
        figures![less("CPU µs/delivery", "/figures/server_cpu_per_delivery_micros", times(4.0)), P50, P99],
    )),
    without_limit(send(
        "W12",
        "send 64 x 16 + consume, 1 topic",
        &["topics", "--topic", "ferrocket-bench-one", "--topics", "1", "--connections", "64", "--depth", "16"],
        figures![throughput(times(3.5)), cpu(times(4.5)), less("lag p50 µs", "/latency_micros/p50", at_most(5000.0))],
    )),
    quick(without_limit(send(
        "W12-256",
        "send 64 x 16 + consume, 256 topics",
        &["topics", "--topics", "256", "--connections", "64", "--depth", "16"],
        figures![throughput(None), cpu(None), less("lag p50 µs", "/latency_micros/p50", None)],
    ))),
    without_limit(send(
        "W12-1024",
        "send 64 x 16 + consume, 1,024 topics",
        &["topics", "--topics", "1024", "--connections", "64", "--depth", "16"],
        figures![throughput(None), cpu(None), less("lag p50 µs", "/latency_micros/p50", None)],
    )),
    without_limit(send(
        "W13",
        "transactions: half + commit, 64 in flight",
        &["transactions", "--topic", "ferrocket-bench-transactions", "--connections", "1", "--in-flight", "64"],
        figures![throughput(None), cpu(None), P50, P99],
    )),
    // Behind those that the memory it frees, and the host takes, would cost.
    without_limit(send(
        "W10-cold",
        "catch-up, cold",
        &["pull", "--topic", "ferrocket-bench-backlog", "--connections", "4", "--cold"],
        figures![throughput(None), cpu(None)],
    )),
    // Last of those that a server runs one after the other: the original stops here when its descriptors are used up.
    without_limit(send(
        "W12-10000",
        "send 64 x 16 + consume, 10,000 topics",
        &["topics", "--topics", "10000", "--connections", "64", "--depth", "16"],
        figures![throughput(None), cpu(None), less("lag p50 µs", "/latency_micros/p50", None)],
    )),
    quick(pair(
        "W17",
        Needs::SyncPair,
        "SYNC_MASTER and a slave, async send 1 KB, 1 x 64; CPU of both",
        &["send", "--connections", "1", "--depth", "64"],
        figures![throughput(times(3.0)), cpu(times(4.0)), P50, P99],
    )),
    quick(pair(
        "W17-lag",
        Needs::SyncPair,
        "consumers at the tail of the slave, open loop 10 k/s",
        &["e2e", "--topic", "ferrocket-bench-lag", "--connections", "8", "--rate", "10000"],
        figures![P50, less("p99 µs", "/latency_micros/p99", at_most(2000.0)), cpu(None)],
    )),
    quick(pair(
        "W17-catch-up",
        Needs::AsyncPair,
        "a slave that is behind; CPU of both",
        &["catch-up", "--topic", "ferrocket-bench-behind", "--messages", "3500000"],
        figures![CATCH_UP, OF_BARE_COPY, cpu(None)],
    )),
    quick(start(
        "R1",
        "start, empty",
        &["start", "--case", "empty"],
        figures![
            less("ms to first ack", "/figures/ready_send_millis", at_most(100.0)),
            less("CPU s", "/figures/cpu_seconds_until_ready", None)
        ],
    )),
    start(
        "R2",
        "start, clean",
        &["start", "--case", "clean", "--fill-messages", "3500000"],
        figures![
            less("ms to first ack", "/figures/ready_send_millis", at_most(200.0)),
            less("ms to first pull", "/figures/ready_pull_millis", None),
            less("CPU s", "/figures/cpu_seconds_until_ready", None),
            FILLED
        ],
    ),
    quick(start(
        "R3",
        "start, after kill -9",
        &["start", "--case", "killed", "--fill-messages", "3500000"],
        figures![
            less("ms to first ack", "/figures/ready_send_millis", at_most(1000.0)),
            less("ms to first pull", "/figures/ready_pull_millis", None),
            less("CPU s", "/figures/cpu_seconds_until_ready", None),
            FILLED
        ],
    )),
    start(
        "R4",
        "start, derived files deleted",
        &["start", "--case", "derived-deleted", "--fill-messages", "3500000"],
        figures![
            less("ms to first ack", "/figures/ready_send_millis", None),
            less("ms to first pull", "/figures/ready_pull_millis", None),
            less("CPU s", "/figures/cpu_seconds_until_ready", None),
            FILLED
        ],
    ),
    quick(start(
        "R5",
        "idle for 30 s",
        &["start", "--case", "empty", "--settle-seconds", "10", "--idle-seconds", "30"],
        figures![
            less("anonymous MiB", "/figures/idle_anonymous_mib", at_most(30.0)),
            less("CPU % of a core", "/figures/idle_cpu_percent_of_a_core", at_most(0.3))
        ],
    )),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workload_has_one_id_and_a_line_that_parses() {
        let mut ids: Vec<&str> = WORKLOADS.iter().map(|workload| workload.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), WORKLOADS.len());
        for workload in WORKLOADS {
            let mut line: Vec<&str> = ["ferrocket", "bench"].into_iter().chain(workload.line.iter().copied()).collect();
            if workload.needs == Needs::AsyncPair {
                line.extend(["--replica", "127.0.0.1:1", "--", "slave"]);
            }
            if workload.needs == Needs::Start {
                line.extend(["--addr", "127.0.0.1:1", "--data", "/nowhere", "--", "server"]);
            }
            crate::cli::parse(&line).unwrap_or_else(|error| panic!("{}: {error}", workload.id));
            if workload.has_limit {
                let echo: Vec<&str> = ["ferrocket", "bench", "echo"].into_iter().chain(workload.line[1..].iter().copied()).collect();
                crate::cli::parse(&echo).unwrap_or_else(|error| panic!("limit of {}: {error}", workload.id));
            }
        }
    }

    #[test]
    fn a_ratio_says_how_many_times_better() {
        assert_eq!(throughput(None).ratio(300.0, 100.0), 3.0);
        assert_eq!(cpu(None).ratio(5.0, 20.0), 4.0);
        let line = serde_json::json!({"latency_micros": {"p99": 7.5}});
        assert_eq!((P99.of(&line), P50.of(&line)), (Some(7.5), None));
    }
}
