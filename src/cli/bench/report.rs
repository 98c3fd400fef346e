// SPDX-License-Identifier: Apache-2.0
//! A run's figures: one line of JSON for scripts, a table for people.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::meter::Cost;
use super::{BenchError, CommonArgs, say};

/// Latencies between 1 ns and 60 s with three digits.
pub(super) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds and digits are constants that fit")
}

/// One line under `benches/results`. A workload sets what it has; the rest stays at its default or absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// The sub-command.
    pub(super) workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) label: String,
    pub(super) connections: usize,
    pub(super) depth: usize,
    pub(super) queues: u32,
    pub(super) header: String,
    pub(super) body_bytes: usize,
    pub(super) messages: u64,
    pub(super) refused: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_micros: Option<Latency>,
    /// What only this workload has; the unit is the name's last word.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) figures: BTreeMap<String, f64>,
    #[serde(flatten)]
    pub(super) cost: Cost,
    /// Bodies compared byte by byte (send) or by their checksum (pull).
    pub(super) bodies_checked: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) p99_99: f64,
    pub(super) max: f64,
}

impl Latency {
    pub(super) fn of(nanos: &Histogram<u64>) -> Self {
        let at = |quantile| nanos.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            mean: nanos.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: nanos.max() as f64 / 1000.0,
        }
    }
}

impl Report {
    pub(super) fn new(workload: &str, common: &CommonArgs) -> Self {
        Self {
            workload: workload.to_owned(),
            label: common.label.clone(),
            connections: common.connections,
            depth: 1,
            queues: common.queues,
            header: common.header.name().to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn took(&mut self, messages: u64, seconds: f64) {
        self.messages = messages;
        self.seconds = seconds;
        self.messages_per_second = messages as f64 / seconds.max(1e-9);
    }

    pub(super) fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    pub(super) fn print(&self, json: bool) -> Result<(), BenchError> {
        say(&if json { self.to_json() } else { self.to_table() })
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report holds only numbers and text")
    }

    fn to_table(&self) -> String {
        let mut lines = vec![format!(
            "{} {} x {}, {} byte bodies, {} queues, {} headers: {} messages in {:.2} s",
            self.workload, self.connections, self.depth, self.body_bytes, self.queues, self.header, self.messages, self.seconds
        )];
        lines.push(format!("  throughput      {:>12.0} messages/s", self.messages_per_second));
        if let Some(latency) = &self.latency_micros {
            lines.push(format!(
                "  latency in us   mean {:.1}  p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  p99.99 {:.1}  max {:.1}",
                latency.mean, latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99, latency.max
            ));
        }
        lines.extend(self.figures.iter().map(|(name, value)| format!("  {name:<34} {value:>12.3}")));
        if let Some(server) = &self.cost.server {
            lines.push(format!(
                "  server          {:.2} CPU s per million messages, {:.2} context switches and {:.3} page faults per message, {:.1} MiB anonymous and {:.1} MiB file memory, {} descriptors",
                server.cpu_seconds_per_million_messages,
                server.context_switches_per_message,
                server.page_faults_per_message,
                server.anonymous_mib,
                server.file_mib,
                server.descriptors
            ));
            lines.extend(server.syscalls_per_message.map(|count| format!("  system calls    {count:>12.3} per message")));
        }
        let generator = &self.cost.generator;
        let verdict = if generator.is_the_bottleneck { ": it set the pace, not the server" } else { "" };
        lines.push(format!(
            "  generator       {:.2} CPU s per million messages, {:.0} % of its threads{verdict}",
            generator.cpu_seconds_per_million_messages, generator.busy_percent
        ));
        if let Some(machine) = &self.cost.machine {
            lines.push(format!(
                "  machine         {:.1} % stolen, {:.1} % used by others, {:.2} s in kernel threads",
                machine.steal_percent, machine.foreign_cpu_percent, machine.kernel_threads_cpu_seconds
            ));
        }
        lines.push(format!(
            "  proven          offsets agree with answers, {} bodies checked, {} refused",
            self.bodies_checked, self.refused
        ));
        lines.join("\n")
    }
}
