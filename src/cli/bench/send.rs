// SPDX-License-Identifier: Apache-2.0
//! `bench send`: closed loop (`depth` requests in flight on every connection) or open loop (`--rate`), each acknowledged and proven.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::message::decode::MessageView;
use ferrocket_protocol::{RemotingCommand, response_code};
use hdrhistogram::Histogram;

use super::connection::LoadConnection;
use super::control::Control;
use super::frames::{FrameShape, Stamp, Template, command_numbers, topics};
use super::meter::Window;
use super::pace::{Alarm, Pace};
use super::progress::{Goal, Progress};
use super::report::{Latency, Report, latency_histogram};
use super::{BenchError, CommonArgs, ask, join_all, pull};
use crate::runtime::{Runtime, SharedClock};

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct SendArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// Use the topic as it is instead of creating it
    #[arg(long)]
    keep_topic: bool,
    /// A slave that must have the same in the end
    #[arg(long, value_name = "HOST:PORT")]
    replica: Option<SocketAddr>,
    /// Read every message back that was acknowledged, not only a sample
    #[arg(long, conflicts_with = "topics")]
    read_back: bool,
}

/// What is sent, and how fast.
#[derive(Debug, Clone, Args)]
pub(super) struct LoadArgs {
    /// Requests in flight on each connection; 1 is a synchronous producer
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) depth: u32,
    /// Topics that take turns; more than one get a number behind the name
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    topics: u32,
    #[arg(long, default_value_t = 1024)]
    pub(super) body_bytes: usize,
    /// Messages of one request (SEND_BATCH_MESSAGE)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch: u32,
    /// Ask for an answer only once in 64 messages; `depth` then counts these groups
    #[arg(long, conflicts_with_all = ["batch", "rate"])]
    pub(super) oneway: bool,
    /// Open loop: so many messages per second of all connections together, whatever the server does; latency counts from the due time
    #[arg(long, conflicts_with = "depth")]
    rate: Option<f64>,
    /// Stop after so many messages (default: after --seconds)
    #[arg(long)]
    messages: Option<u64>,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Sent first and not counted
    #[arg(long, default_value_t = 0.0)]
    warmup_seconds: f64,
}

impl LoadArgs {
    /// One connection's synchronous sends, without an end.
    fn one_kilobyte() -> Self {
        Self {
            depth: 1,
            topics: 1,
            body_bytes: 1024,
            batch: 1,
            oneway: false,
            rate: None,
            messages: None,
            seconds: 0.0,
            warmup_seconds: 0.0,
        }
    }
}

/// One in so many acknowledged requests is read back, up to `SAMPLES_MAX` per run.
const SAMPLE_EVERY: u64 = 64;
const SAMPLES_MAX: usize = 512;

/// A oneway send has no answer; this many are followed by one that has. Keeps what a server may have queued below the
/// original's sendThreadPoolQueueCapacity, beyond which it drops without a word.
const ONEWAY_GROUP: u64 = 64;

/// How often the queues' ends are asked for while they lag behind the answers.
const OFFSETS_EVERY: Duration = Duration::from_millis(50);
/// Ends that stood still for so long are final.
const OFFSETS_STILL_MAX: Duration = Duration::from_secs(5);

/// Opaques have ten digits throughout, so that a frame keeps its length.
const OPAQUE_FIRST: i32 = 1_000_000_000;

/// In open loop, a connection with so many unanswered requests waits; their latency goes on counting.
const OPEN_LOOP_IN_FLIGHT_MAX: usize = 16_384;

pub(super) async fn run(args: &SendArgs, runtime: &Runtime) -> Result<(), BenchError> {
    measure(args, runtime).await?.print(args.common.json)
}

pub(super) async fn measure(args: &SendArgs, runtime: &Runtime) -> Result<Report, BenchError> {
    let common = &args.common;
    let control = Control::new(common.addr, runtime);
    let names = topics(&common.topic, args.load.topics);
    if !args.keep_topic {
        ask::create_topics(common, &names).await?;
    }
    let before = ask::max_offsets(common, &names).await?;
    let load = Load::new(common, &args.load);
    let (mut report, acknowledged, samples) = load.run("send", common, runtime).await?;
    for addr in [common.addr].into_iter().chain(args.replica) {
        prove(runtime.clock(), &CommonArgs { addr, ..common.clone() }, &names, &before, acknowledged).await?;
    }
    for sample in &samples {
        let pulled = control.pull_one(&names[sample.stamp.topic as usize], sample.queue_id, sample.queue_offset).await?;
        let message = MessageView::decode(&pulled).map_err(|error| BenchError::Decode { what: "read a sample", error })?;
        if message.queue_offset != sample.queue_offset || message.body != load.template.body(sample.queue_id as u32, &sample.stamp) {
            let text = format!("queue {} offset {} does not hold what was sent", sample.queue_id, sample.queue_offset);
            return Err(BenchError::NotProven(text));
        }
    }
    report.bodies_checked = samples.len() as u64;
    if args.read_back {
        let after = ask::max_offsets(common, &names).await?;
        let queues = before.into_iter().zip(after).enumerate().map(|(at, (begin, end))| pull::Queue::new(at as i32, begin, end));
        report.bodies_checked += pull::read_once(queues.collect(), common, runtime).await?.checked;
    }
    Ok(report)
}

/// The queues must have grown by what was acknowledged: no less, and no more.
pub(super) async fn prove(
    clock: &SharedClock,
    common: &CommonArgs,
    names: &[String],
    before: &[i64],
    acknowledged: u64,
) -> Result<(), BenchError> {
    let begin: i64 = before.iter().sum();
    let (mut advanced, mut grew_nanos) = (0, clock.nanos());
    loop {
        let now = ask::max_offsets(common, names).await?.iter().sum::<i64>() - begin;
        if now > advanced {
            (advanced, grew_nanos) = (now, clock.nanos());
        }
        // The original's queues follow its log at some distance.
        if advanced >= acknowledged as i64 || clock.nanos() - grew_nanos > OFFSETS_STILL_MAX.as_nanos() as u64 {
            break;
        }
        clock.sleep(OFFSETS_EVERY).await;
    }
    if advanced != acknowledged as i64 {
        let text = format!("{acknowledged} sends were acknowledged, the queues advanced by {advanced}");
        return Err(BenchError::NotProven(text));
    }
    Ok(())
}

/// The load of a run, apart from what proves it: `echo` puts the same on a server that stores nothing.
pub(super) struct Load {
    args: LoadArgs,
    pub(super) template: Arc<Template>,
    oneway: Option<Arc<Template>>,
}

impl Load {
    pub(super) fn new(common: &CommonArgs, args: &LoadArgs) -> Self {
        let shape = FrameShape {
            topic: common.topic.clone(),
            numbered: args.topics > 1,
            queues: common.queues,
            header: common.header,
            body_bytes: args.body_bytes,
            batch: args.batch as usize,
            oneway: false,
        };
        let oneway = args.oneway.then(|| Arc::new(Template::new(&FrameShape { oneway: true, ..shape.clone() })));
        Self { args: args.clone(), template: Arc::new(Template::new(&shape)), oneway }
    }

    /// So many messages of 1 KB as fast as they are taken.
    pub(super) fn filling(common: &CommonArgs, messages: u64, topics: u32) -> Self {
        Self::new(common, &LoadArgs { depth: 16, topics, messages: Some(messages), ..LoadArgs::one_kilobyte() })
    }

    /// So many messages of 1 KB a second, whatever the server does; the first second does not count.
    pub(super) fn live(common: &CommonArgs, per_second: f64, seconds: f64) -> Self {
        Self::new(common, &LoadArgs { rate: Some(per_second), seconds, warmup_seconds: 1.0, ..LoadArgs::one_kilobyte() })
    }

    /// The report, how many messages were acknowledged (those of the warm-up too), and where some of them are.
    pub(super) async fn run(
        &self,
        workload: &'static str,
        common: &CommonArgs,
        runtime: &Runtime,
    ) -> Result<(Report, u64, Vec<Sample>), BenchError> {
        let clock = runtime.clock();
        let mut connections = Vec::new();
        for _ in 0..common.connections {
            connections.push(LoadConnection::open(common.addr).await?);
        }
        let mut acknowledged = 0;
        if self.args.warmup_seconds > 0.0 {
            let progress = Progress::start("warm-up", Goal::Seconds(self.args.warmup_seconds), runtime);
            let warmup = Plan::until(clock, self.args.warmup_seconds);
            let (back, tally) = self.drive(connections, warmup, common, &progress, runtime).await?;
            connections = back;
            acknowledged += tally.acknowledged;
        }
        let goal = self.args.messages.map_or(Goal::Seconds(self.args.seconds), Goal::Messages);
        let progress = Progress::start(workload, goal, runtime);
        let window = Window::open(&common.server_pids, common.count_syscalls)?;
        let started = clock.nanos();
        let plan = match self.args.messages {
            Some(messages) => Plan { messages, end_nanos: u64::MAX, issued: AtomicU64::new(0) },
            None => Plan::until(clock, self.args.seconds),
        };
        let (connections, tally) = self.drive(connections, plan, common, &progress, runtime).await?;
        let seconds = (clock.nanos() - started) as f64 / 1e9;
        drop(progress);
        let mut report = Report::new(workload, common);
        report.cost = window.close(tally.acknowledged, seconds, common.threads)?;
        drop(connections);
        report.depth = self.args.depth as usize;
        report.body_bytes = self.args.body_bytes;
        report.refused = tally.refused;
        report.took(tally.acknowledged, seconds);
        report.latency_micros = Some(Latency::of(&tally.latency_nanos));
        if self.args.batch > 1 {
            report.figure("batch_messages", f64::from(self.args.batch));
        }
        if let Some(rate) = self.args.rate {
            report.figure("rate_messages_per_second", rate);
        }
        if self.args.oneway {
            report.figure("oneway_group_messages", ONEWAY_GROUP as f64);
        }
        Ok((report, acknowledged + tally.acknowledged, tally.samples))
    }

    async fn drive(
        &self,
        connections: Vec<LoadConnection>,
        plan: Plan,
        common: &CommonArgs,
        progress: &Progress,
        runtime: &Runtime,
    ) -> Result<(Vec<LoadConnection>, Tally), BenchError> {
        let plan = Arc::new(plan);
        let count = connections.len();
        let started = runtime.clock().nanos();
        let mut tasks = Vec::new();
        for (at, connection) in connections.into_iter().enumerate() {
            let places = common.queues * self.args.topics;
            let open_loop =
                self.args.rate.map(|rate| Alarm::new().map(|alarm| (Pace::new(started, rate, at, count), alarm))).transpose()?;
            let producer = Producer {
                connection,
                id: at as u32,
                depth: self.args.depth as usize,
                queues: common.queues,
                topics: self.args.topics,
                batch: u64::from(self.args.batch),
                open_loop,
                plan: Arc::clone(&plan),
                template: Arc::clone(&self.template),
                oneway: self.oneway.clone(),
                clock: runtime.clock().clone(),
                samples_max: SAMPLES_MAX.div_ceil(count),
                progress: progress.counter(),
                slots: Vec::new(),
                free: Vec::new(),
                out: BytesMut::new(),
                next_place: (at as u64 * u64::from(places) / count as u64) as u32,
            };
            tasks.push(runtime.spawn("producer", producer.run()));
        }
        let mut total = Tally::new();
        let mut connections = Vec::new();
        for (connection, tally) in join_all(tasks, progress, runtime.clock()).await? {
            connections.push(connection);
            total.add(tally);
        }
        Ok((connections, total))
    }
}

/// How much is sent, shared by all connections.
struct Plan {
    messages: u64,
    end_nanos: u64,
    issued: AtomicU64,
}

impl Plan {
    fn until(clock: &SharedClock, seconds: f64) -> Self {
        let end_nanos = clock.nanos() + (seconds * 1e9) as u64;
        Self { messages: u64::MAX, end_nanos, issued: AtomicU64::new(0) }
    }

    /// Up to `wanted` sequence numbers: the first and how many.
    fn take(&self, wanted: u64, now: u64) -> (u64, u64) {
        if now >= self.end_nanos {
            return (0, 0);
        }
        let first = self.issued.fetch_add(wanted, Ordering::Relaxed);
        (first, wanted.min(self.messages.saturating_sub(first)))
    }
}

/// An acknowledged message, to be read back.
#[derive(Debug)]
pub(super) struct Sample {
    queue_id: i32,
    queue_offset: i64,
    stamp: Stamp,
}

struct Tally {
    acknowledged: u64,
    requests: u64,
    refused: u64,
    latency_nanos: Histogram<u64>,
    samples: Vec<Sample>,
}

impl Tally {
    fn new() -> Self {
        Self { acknowledged: 0, requests: 0, refused: 0, latency_nanos: latency_histogram(), samples: Vec::new() }
    }

    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.requests += other.requests;
        self.refused += other.refused;
        self.latency_nanos += other.latency_nanos;
        self.samples.extend(other.samples);
    }

    /// Flow control is counted and lived with; anything else ends the run.
    fn refuse(&mut self, response: &RemotingCommand) -> Result<(), BenchError> {
        if response.code == response_code::SYSTEM_BUSY {
            self.refused += 1;
            return Ok(());
        }
        let remark = response.remark.as_deref().unwrap_or_default().to_owned();
        Err(BenchError::Refused { what: "a send", code: response.code, remark })
    }
}

struct Producer {
    connection: LoadConnection,
    id: u32,
    depth: usize,
    queues: u32,
    topics: u32,
    batch: u64,
    open_loop: Option<(Pace, Alarm)>,
    plan: Arc<Plan>,
    template: Arc<Template>,
    /// Set when only the last of a group is answered.
    oneway: Option<Arc<Template>>,
    clock: SharedClock,
    samples_max: usize,
    progress: Arc<AtomicU64>,
    slots: Vec<InFlight>,
    free: Vec<usize>,
    out: BytesMut,
    /// A queue of a topic: all topics' queue 0 come first.
    next_place: u32,
}

#[derive(Clone, Copy, Default)]
struct InFlight {
    due_nanos: u64,
    messages: u64,
    stamp: Stamp,
}

impl Producer {
    async fn run(mut self) -> Result<(LoadConnection, Tally), BenchError> {
        let mut tally = Tally::new();
        self.slots = vec![InFlight::default(); self.depth];
        self.free = (0..self.depth).rev().collect();
        self.out.reserve(self.depth * self.template.longest());
        loop {
            let now = self.clock.nanos();
            let ended = if self.open_loop.is_some() { self.stage_due(now)? } else { self.stage_free(now) };
            if !self.out.is_empty() {
                self.connection.write(&self.out).await?;
                self.out.clear();
            }
            if ended && self.free.len() == self.slots.len() {
                return Ok((self.connection, tally));
            }
            match &self.open_loop {
                Some((_, alarm)) if !ended => tokio::select! {
                    biased;
                    read = self.connection.read() => read?,
                    rung = alarm.rung() => {
                        rung?;
                        continue;
                    }
                },
                _ => self.connection.read().await?,
            }
            self.take_answers(&mut tally)?;
        }
    }

    /// Closed loop: a request for every free slot. True when there is nothing more to send.
    fn stage_free(&mut self, now: u64) -> bool {
        let group = if self.oneway.is_some() { ONEWAY_GROUP } else { self.batch };
        let (first, mut count) = self.plan.take(self.free.len() as u64 * group, now);
        if count == 0 {
            return true;
        }
        let born = self.clock.now_millis();
        let mut sequence = first;
        while count > 0 {
            let messages = if self.oneway.is_some() { group.min(count) } else { self.batch };
            self.stage(now, born, sequence, messages);
            sequence += messages;
            count = count.saturating_sub(messages);
        }
        false
    }

    /// Open loop: a request for every due time that has come. True when the run is over.
    fn stage_due(&mut self, now: u64) -> Result<bool, BenchError> {
        let (mut pace, alarm) = self.open_loop.take().expect("only called in open loop");
        let born = self.clock.now_millis();
        let mut ended = pace.next_nanos() >= self.plan.end_nanos;
        while !ended && self.slots.len() - self.free.len() < OPEN_LOOP_IN_FLIGHT_MAX {
            let Some(due) = pace.take(now) else { break };
            let (first, count) = self.plan.take(self.batch, due);
            if count == 0 {
                ended = true;
                break;
            }
            if self.free.is_empty() {
                self.free.push(self.slots.len());
                self.slots.push(InFlight::default());
            }
            self.stage(due, born, first, self.batch);
            ended = pace.next_nanos() >= self.plan.end_nanos;
        }
        if !ended {
            alarm.set(pace.next_nanos().saturating_sub(self.clock.nanos()))?;
        }
        self.open_loop = Some((pace, alarm));
        Ok(ended)
    }

    fn stage(&mut self, due_nanos: u64, born_millis: i64, sequence: u64, messages: u64) {
        let slot = self.free.pop().expect("no more were taken than are free");
        let mut stamp = Stamp { topic: 0, connection: self.id, sequence, born_millis };
        let opaque = OPAQUE_FIRST + slot as i32;
        if let Some(oneway) = self.oneway.clone() {
            for _ in 1..messages {
                let queue = self.next_queue(&mut stamp);
                oneway.stamp(&mut self.out, queue, opaque, &stamp);
                stamp.sequence += 1;
            }
        }
        let queue = self.next_queue(&mut stamp);
        self.slots[slot] = InFlight { due_nanos, messages, stamp };
        self.template.stamp(&mut self.out, queue, opaque, &stamp);
    }

    fn next_queue(&mut self, stamp: &mut Stamp) -> u32 {
        stamp.topic = self.next_place % self.topics;
        let queue = self.next_place / self.topics;
        self.next_place = (self.next_place + 1) % (self.topics * self.queues);
        queue
    }

    fn take_answers(&mut self, tally: &mut Tally) -> Result<(), BenchError> {
        let now = self.clock.nanos();
        let before = tally.acknowledged;
        while let Some(frame) = self.connection.next_frame()? {
            let decoded = || RemotingCommand::decode(frame.clone()).map_err(|error| BenchError::Decode { what: "send answer", error });
            let (code, opaque) = match command_numbers(&frame) {
                Some(numbers) => numbers,
                None => decoded().map(|answer| (answer.code, answer.opaque))?,
            };
            let slot = usize::try_from(opaque.wrapping_sub(OPAQUE_FIRST)).unwrap_or(usize::MAX);
            let sent = *self.slots.get(slot).ok_or_else(|| BenchError::NotProven(format!("an answer to opaque {opaque}")))?;
            if sent.messages == 0 {
                return Err(BenchError::NotProven(format!("a second answer to opaque {opaque}")));
            }
            self.slots[slot].messages = 0;
            self.free.push(slot);
            if code != response_code::SUCCESS {
                tally.refuse(&decoded()?)?;
                continue;
            }
            tally.acknowledged += sent.messages;
            tally.requests += 1;
            tally.latency_nanos.saturating_record(now.saturating_sub(sent.due_nanos));
            if tally.requests % SAMPLE_EVERY == 1 && tally.samples.len() < self.samples_max {
                let header: SendMessageResponseHeader = decoded()?.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
                let (queue_id, queue_offset) = (header.queue_id, header.queue_offset);
                if !(0..self.queues as i32).contains(&queue_id) {
                    return Err(BenchError::NotProven(format!("a message went to queue {queue_id}, which was not asked for")));
                }
                tally.samples.push(Sample { queue_id, queue_offset, stamp: sent.stamp });
            }
        }
        self.progress.fetch_add(tally.acknowledged - before, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_gives_out_no_more_than_it_has() {
        let plan = Plan { messages: 10, end_nanos: 100, issued: AtomicU64::new(0) };
        assert_eq!(plan.take(8, 0), (0, 8));
        assert_eq!(plan.take(8, 0), (8, 2));
        assert_eq!(plan.take(8, 0).1, 0);
        let over = Plan { messages: 10, end_nanos: 100, issued: AtomicU64::new(0) };
        assert_eq!(over.take(1, 100), (0, 0));
    }
}
