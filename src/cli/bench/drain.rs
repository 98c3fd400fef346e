// SPDX-License-Identifier: Apache-2.0
//! `bench drain`: a backlog is read, over and over, while producers send at a fixed rate to another topic; what these notice, against
//! the same sends with nothing beside them.

use clap::Args;
use serde_json::Value;

use super::control::Control;
use super::meter::Window;
use super::report::{Latency, Report};
use super::send::{Load, prove};
use super::{BenchError, CommonArgs, ask, pull, suite};
use crate::runtime::Runtime;

#[derive(Debug, Args)]
pub(in crate::cli) struct DrainArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// The topic is filled up to so many messages of 1 KB
    #[arg(long, default_value_t = 1_000_000)]
    backlog_messages: u64,
    /// First let the machine forget the files it has in memory (needs root), so that the backlog is read from the disk
    #[arg(long)]
    cold: bool,
    /// Messages per second beside
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Connections that send them
    #[arg(long, default_value_t = 64)]
    producers: usize,
    /// The backlog is read at least once and until so long is over
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// The percentiles of the live sends that are told.
const LIVE: [&str; 3] = ["p50", "p99", "p99_9"];

pub(super) async fn run(args: &DrainArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let (common, clock) = (&args.common, runtime.clock());
    let queues = fill(args, runtime).await?;
    let alone = live(args, runtime).await?;
    if args.cold {
        pull::forget_files()?;
    }
    let window = Window::open(&common.server_pids, common.count_syscalls)?;
    let started = clock.nanos();
    let live = {
        let (args, beside) = (args.live_line(), runtime.clone());
        beside.spawn_blocking("live sends", move || suite::measured("live", &args))
    };
    let mut total = pull::Tally::new();
    let mut first_seconds = None;
    while first_seconds.is_none() || !live.is_finished() {
        total.add(pull::read_once(queues.clone(), common, runtime).await?);
        first_seconds.get_or_insert((clock.nanos() - started) as f64 / 1e9);
    }
    let seconds = (clock.nanos() - started) as f64 / 1e9;
    let mut report = Report::new("drain", common);
    report.cost = window.close(total.messages, seconds, common.threads)?;
    let beside = live.join().await.ok_or(BenchError::Worker)??;
    report.body_bytes = (total.bytes / total.messages.max(1)) as usize;
    report.took(total.messages, seconds);
    report.latency_micros = Some(Latency::of(&total.latency_nanos));
    report.bodies_checked = total.checked;
    report.figure("cold", f64::from(u8::from(args.cold)));
    report.figure("backlog_messages", queues.iter().map(pull::Queue::count).sum::<u64>() as f64);
    report.figure("first_drain_seconds", first_seconds.unwrap_or_default());
    report.figure("live_rate_per_second", args.rate);
    for (when, line) in [("alone", &alone), ("beside", &beside)] {
        for percentile in LIVE {
            let micros = line["latency_micros"][percentile].as_f64();
            let micros = micros.ok_or_else(|| BenchError::Workload(format!("live sends {when}: {line} has no {percentile}")))?;
            report.figure(&format!("{when}_ack_{percentile}_micros"), micros);
        }
    }
    report.print(common.json)
}

/// The queues of the backlog, with what was missing.
async fn fill(args: &DrainArgs, runtime: &Runtime) -> Result<Vec<pull::Queue>, BenchError> {
    let common = &args.common;
    let names = [common.topic.clone()];
    ask::create_topics(common, &names).await?;
    let control = Control::new(common.addr, runtime);
    let queues = pull::queues(&control, common).await?;
    let missing = args.backlog_messages.saturating_sub(queues.iter().map(pull::Queue::count).sum());
    if missing == 0 {
        return Ok(queues);
    }
    let filling = CommonArgs { connections: 16, ..common.clone() };
    let before = ask::max_offsets(&filling, &names).await?;
    let acknowledged = Load::filling(&filling, missing, 1).run("fill", &filling, runtime).await?.1;
    prove(runtime.clock(), &filling, &names, &before, acknowledged).await?;
    pull::queues(&control, common).await
}

/// The sends with nothing beside them. They are this binary once more: what reads must not be what makes them late.
async fn live(args: &DrainArgs, runtime: &Runtime) -> Result<Value, BenchError> {
    let line = args.live_line();
    runtime.spawn_blocking("live sends", move || suite::measured("live", &line)).join().await.ok_or(BenchError::Worker)?
}

impl DrainArgs {
    fn live_line(&self) -> Vec<String> {
        let (addr, topic) = (self.common.addr.to_string(), format!("{}-live", self.common.topic));
        let (rate, producers, seconds) = (self.rate.to_string(), self.producers.to_string(), self.seconds.to_string());
        let header = self.common.header.name();
        let words = [
            "send",
            "--addr",
            &addr,
            "--topic",
            &topic,
            "--header",
            header,
            "--connections",
            &producers,
            "--rate",
            &rate,
            "--warmup-seconds",
            "1",
            "--seconds",
            &seconds,
        ];
        words.map(str::to_owned).to_vec()
    }
}
