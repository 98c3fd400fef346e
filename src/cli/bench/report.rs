// SPDX-License-Identifier: Apache-2.0
//! A run's figures, for people and for scripts.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::meter::Usage;
use super::{BenchError, CommonArgs, say};

/// Latencies between 1 us and 60 s with three digits.
pub(super) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds and digits are constants that fit")
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) workload: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) label: String,
    pub(super) connections: usize,
    pub(super) depth: usize,
    pub(super) queues: u32,
    pub(super) header: &'static str,
    pub(super) body_bytes: usize,
    pub(super) messages: u64,
    pub(super) refused: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_micros: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerFigures>,
    /// Bodies compared byte by byte (send) or by their checksum (pull).
    pub(super) bodies_checked: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Latency {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
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

#[derive(Debug, Serialize)]
pub(super) struct ServerFigures {
    cpu_seconds: f64,
    cpu_seconds_per_million_messages: f64,
    context_switches_per_message: f64,
    anonymous_mib: f64,
}

impl ServerFigures {
    pub(super) fn between(before: Usage, after: Usage, messages: u64) -> Self {
        let messages = messages.max(1) as f64;
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        let switches = after.context_switches.saturating_sub(before.context_switches);
        Self {
            cpu_seconds,
            cpu_seconds_per_million_messages: cpu_seconds * 1e6 / messages,
            context_switches_per_message: switches as f64 / messages,
            anonymous_mib: after.anonymous_bytes as f64 / (1024.0 * 1024.0),
        }
    }
}

impl Report {
    pub(super) fn new(workload: &'static str, common: &CommonArgs) -> Self {
        Self {
            workload,
            label: common.label.clone(),
            connections: common.connections,
            depth: 1,
            queues: common.queues,
            header: match common.header {
                super::HeaderForm::Json => "json",
                super::HeaderForm::Binary => "binary",
            },
            body_bytes: 0,
            messages: 0,
            refused: 0,
            seconds: 0.0,
            messages_per_second: 0.0,
            latency_micros: None,
            server: None,
            bodies_checked: 0,
        }
    }

    pub(super) fn took(&mut self, messages: u64, time: Duration) {
        self.messages = messages;
        self.seconds = time.as_secs_f64();
        self.messages_per_second = messages as f64 / self.seconds.max(1e-9);
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
        if let Some(server) = &self.server {
            lines.push(format!(
                "  server          {:.2} CPU s per million messages, {:.2} context switches per message, {:.1} MiB anonymous memory",
                server.cpu_seconds_per_million_messages, server.context_switches_per_message, server.anonymous_mib
            ));
        }
        lines.push(format!(
            "  proven          offsets agree with answers, {} bodies checked, {} refused",
            self.bodies_checked, self.refused
        ));
        lines.join("\n")
    }
}
