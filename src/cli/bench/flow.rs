// SPDX-License-Identifier: Apache-2.0
//! Producers and consumers at the same time: what `bench e2e` and `bench topics` share.
//!
//! Consumers wait at the end of every queue as push consumers do: one held pull per queue, which commits as it goes. A message
//! says when it was due, so that its way from there to the consumer is one latency. Nothing counts unless every group got every
//! acknowledged message once and in order.

mod consume;
mod produce;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use self::consume::Consumer;
use self::produce::Producer;
use super::connection::LoadConnection;
use super::frames::{FrameShape, Template, UNIQUE_KEY_BYTES, topics};
use super::meter::Window;
use super::progress::{Goal, Progress};
use super::report::{Latency, Report, latency_histogram};
use super::{ANSWER_MAX, BenchError, CommonArgs, GROUP, ask, join_all, pair};
use crate::runtime::{Runtime, SharedClock, Shutdown, Task};

/// How often it is looked whether everything has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What flows.
pub(super) struct Flow<'a> {
    pub(super) workload: &'static str,
    pub(super) common: &'a CommonArgs,
    /// See `frames::topics`.
    pub(super) topics: u32,
    pub(super) body_bytes: usize,
    pub(super) load: Load,
    pub(super) groups: usize,
    /// Connections of each group; the queues are shared among them.
    pub(super) consumers: usize,
    pub(super) consume_addr: SocketAddr,
    /// Messages asked for in one pull.
    pub(super) batch: i32,
    pub(super) warmup_seconds: f64,
    pub(super) seconds: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// So many messages a second, whatever the answers do.
    Open { per_second: f64 },
    /// So many in flight on each connection.
    Closed { depth: usize },
}

/// What all tasks of a run look at; moments in nanoseconds of `clock`.
struct Shared {
    clock: SharedClock,
    topics: u32,
    queues: u32,
    producers: usize,
    load: Load,
    first_nanos: u64,
    /// Messages due from here on count.
    counts_from: u64,
    end_nanos: u64,
    template: Template,
    progress: Arc<AtomicU64>,
    received: AtomicU64,
    stop: Shutdown,
}

/// What one task has seen.
struct Tally {
    all: u64,
    /// Due after the warm-up.
    counted: u64,
    refused: u64,
    checked: u64,
    latency_nanos: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        Self { all: 0, counted: 0, refused: 0, checked: 0, latency_nanos: latency_histogram() }
    }

    fn count(&mut self, due_nanos: u64, now: u64, shared: &Shared) {
        self.all += 1;
        if due_nanos >= shared.counts_from {
            self.counted += 1;
            self.latency_nanos.saturating_record(now.saturating_sub(due_nanos));
        }
    }

    fn sum(tallies: Vec<Self>) -> Self {
        tallies.into_iter().fold(Self::new(), |mut total, tally| {
            total.all += tally.all;
            total.counted += tally.counted;
            total.refused += tally.refused;
            total.checked += tally.checked;
            total.latency_nanos += tally.latency_nanos;
            total
        })
    }
}

impl Flow<'_> {
    pub(super) async fn run(&self, runtime: &Runtime) -> Result<(), BenchError> {
        let common = self.common;
        let clock = runtime.clock();
        let names = topics(&common.topic, self.topics);
        let creating = clock.nanos();
        ask::create_topics(common, &names).await?;
        let attaching = clock.nanos();
        let before = ask::max_offsets(common, &names).await?;
        if self.consume_addr != common.addr {
            pair::know_topics(self.consume_addr, &names, runtime).await?;
        }
        let consumers = self.attach(&names, &before).await?;
        let attached = clock.nanos();

        let goal = Goal::Seconds(self.warmup_seconds + self.seconds);
        let progress = Progress::start(self.workload, goal, runtime);
        let after = |seconds: f64| attached + (seconds * 1e9) as u64;
        let shape = FrameShape {
            topic: common.topic.clone(),
            numbered: self.topics > 1,
            queues: common.queues,
            header: common.header,
            body_bytes: self.body_bytes.max(UNIQUE_KEY_BYTES),
            batch: 1,
            oneway: false,
        };
        let shared = Arc::new(Shared {
            clock: clock.clone(),
            topics: self.topics,
            queues: common.queues,
            producers: common.connections,
            load: self.load,
            first_nanos: attached,
            counts_from: after(self.warmup_seconds),
            end_nanos: after(self.warmup_seconds + self.seconds),
            template: Template::new(&shape),
            progress: progress.counter(),
            received: AtomicU64::new(0),
            stop: runtime.shutdown().child(),
        });
        let consuming: Vec<_> =
            consumers.into_iter().map(|consumer| runtime.spawn("consumer", consumer.run(Arc::clone(&shared)))).collect();
        let mut producing = Vec::new();
        for id in 0..common.connections {
            let producer = Producer::new(LoadConnection::open(common.addr).await?, id, Arc::clone(&shared))?;
            producing.push(runtime.spawn("producer", producer.run()));
        }
        clock.sleep(Duration::from_nanos(shared.counts_from.saturating_sub(clock.nanos()))).await;
        let window = Window::open(&common.server_pids, common.count_syscalls)?;
        let sent = Tally::sum(join_all(producing, &progress, clock).await?);
        let sent_all = clock.nanos();
        let expected = sent.all * self.groups as u64;
        wait_for(expected, &shared, &consuming).await?;
        let received_all = clock.nanos();
        let seconds = (received_all - shared.counts_from) as f64 / 1e9;
        let cost = window.close(sent.counted, seconds, common.threads)?;
        shared.stop.begin();
        let got = Tally::sum(join_all(consuming, &progress, clock).await?);
        drop(progress);

        let advanced = ask::max_offsets(common, &names).await?.iter().sum::<i64>() - before.iter().sum::<i64>();
        if advanced != sent.all as i64 || got.all != expected {
            let (acknowledged, groups, received) = (sent.all, self.groups, got.all);
            let text =
                format!("{acknowledged} sends were acknowledged, the queues advanced by {advanced}, {groups} groups received {received}");
            return Err(BenchError::NotProven(text));
        }
        let mut report = Report::new(self.workload, common);
        if let Load::Closed { depth } = self.load {
            report.depth = depth;
        }
        report.body_bytes = self.body_bytes;
        report.refused = sent.refused;
        report.bodies_checked = got.checked;
        report.took(sent.counted, (sent_all - shared.counts_from) as f64 / 1e9);
        let acknowledged = Latency::of(&sent.latency_nanos);
        report.figure("ack_p50_micros", acknowledged.p50);
        report.figure("ack_p99_micros", acknowledged.p99);
        report.figure("ack_p99_9_micros", acknowledged.p99_9);
        report.figure("topics_count", f64::from(self.topics));
        report.figure("create_seconds", (attaching - creating) as f64 / 1e9);
        // The rest is of the consumers; a run that only sends has its answers' latency there.
        report.latency_micros = Some(if self.groups > 0 { Latency::of(&got.latency_nanos) } else { acknowledged });
        if self.groups > 0 {
            report.figure("groups_count", self.groups as f64);
            report.figure("attach_seconds", (attached - attaching) as f64 / 1e9);
            report.figure("deliveries_per_second", got.counted as f64 / seconds);
            report.figure("drain_seconds", (received_all - sent_all) as f64 / 1e9);
            if let Some(server) = &cost.server {
                report.figure("server_cpu_per_delivery_micros", server.cpu_seconds * 1e6 / got.counted.max(1) as f64);
            }
        }
        report.cost = cost;
        report.print(common.json)
    }

    /// The consumers of all groups, with a pull of every queue on its way.
    async fn attach(&self, names: &[String], ends: &[i64]) -> Result<Vec<Consumer>, BenchError> {
        let queues = self.common.queues as usize;
        let mut consumers = Vec::new();
        for group in 0..self.groups {
            let group = format!("{GROUP}-{group}");
            for share in 0..self.consumers.min(ends.len()) {
                let mut consumer = Consumer::new(LoadConnection::open(self.consume_addr).await?, self.common.header, self.batch);
                for (at, end) in ends.iter().enumerate().skip(share).step_by(self.consumers) {
                    consumer.add(&group, &names[at / queues], (at % queues) as i32, *end);
                }
                consumer.attach().await?;
                consumers.push(consumer);
            }
        }
        Ok(consumers)
    }
}

/// Until the consumers have `expected` messages; gives up when nothing more comes.
async fn wait_for(expected: u64, shared: &Shared, consuming: &[Task<Result<Tally, BenchError>>]) -> Result<(), BenchError> {
    let (mut last, mut last_nanos) = (0, shared.clock.nanos());
    loop {
        let received = shared.received.load(Ordering::Acquire);
        // A consumer that ended has a reason, which is told when it is joined.
        if received >= expected || consuming.iter().any(Task::is_finished) {
            return Ok(());
        }
        let now = shared.clock.nanos();
        if received > last {
            (last, last_nanos) = (received, now);
        }
        if now - last_nanos > ANSWER_MAX.as_nanos() as u64 {
            let text = format!("{expected} messages should have reached the consumers, {received} did");
            return Err(BenchError::NotProven(text));
        }
        shared.clock.sleep(LOOK_EVERY).await;
    }
}
