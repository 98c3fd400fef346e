// SPDX-License-Identifier: Apache-2.0
//! `bench pull`: every queue of a topic from its first message to its last, one pull in flight per queue.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use clap::Args;
use ferrocket_protocol::header::pull::PullMessageResponseHeader;
use ferrocket_protocol::message::decode::records;
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use hdrhistogram::Histogram;

use super::connection::LoadConnection;
use super::control::{Control, pull_header};
use super::meter::Window;
use super::progress::{Goal, Progress};
use super::report::{Latency, Report, latency_histogram};
use super::{BenchError, CommonArgs, join_all};
use crate::runtime::{Runtime, SharedClock};

#[derive(Debug, Args)]
pub(in crate::cli) struct PullArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    read: ReadArgs,
    /// First let the machine forget the files it has in memory (needs root), so that they are read from the disk
    #[arg(long)]
    cold: bool,
}

#[derive(Debug, Clone, Copy, Args)]
struct ReadArgs {
    /// Messages asked for in one pull
    #[arg(long, default_value_t = 32)]
    batch: i32,
    /// Read everything so many times
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

/// The checksum of one in so many bodies is computed again.
const CHECK_EVERY: u64 = 64;

pub(super) async fn run(args: &PullArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let common = &args.common;
    let control = Control::new(common.addr, runtime);
    let queues = queues(&control, common).await?;
    if args.cold {
        forget_files()?;
    }
    let mut report = Report::new("pull", common);
    report.connections = common.connections.min(queues.len());
    report.depth = common.queues.div_ceil(report.connections.max(1) as u32) as usize;
    let progress = Progress::start("pull", Goal::Messages(expected(&queues, args.read.rounds)), runtime);
    let window = Window::open(&common.server_pids, common.count_syscalls)?;
    let started = runtime.clock().nanos();
    let total = read(queues, args.read, common, &progress, runtime).await?;
    let seconds = (runtime.clock().nanos() - started) as f64 / 1e9;
    drop(progress);
    report.cost = window.close(total.messages, seconds, common.threads)?;
    report.body_bytes = (total.bytes / total.messages.max(1)) as usize;
    report.took(total.messages, seconds);
    report.latency_micros = Some(Latency::of(&total.latency_nanos));
    report.figure("cold", f64::from(u8::from(args.cold)));
    report.bodies_checked = total.checked;
    report.print(common.json)
}

/// All that a topic holds.
pub(super) async fn queues(control: &Control, common: &CommonArgs) -> Result<Vec<Queue>, BenchError> {
    let ends = control.max_offsets(&common.topic, common.queues).await?;
    let mut queues = Vec::new();
    for (queue_id, end) in ends.into_iter().enumerate() {
        let begin = control.min_offset(&common.topic, queue_id as i32).await?;
        queues.push(Queue::new(queue_id as i32, begin, end));
    }
    Ok(queues)
}

/// Reads what stands between two moments.
pub(super) async fn read_once(queues: Vec<Queue>, common: &CommonArgs, runtime: &Runtime) -> Result<Tally, BenchError> {
    let once = ReadArgs { batch: 32, rounds: 1 };
    let progress = Progress::start("read", Goal::Messages(expected(&queues, once.rounds)), runtime);
    read(queues, once, common, &progress, runtime).await
}

fn expected(queues: &[Queue], rounds: u32) -> u64 {
    queues.iter().map(Queue::count).sum::<u64>() * u64::from(rounds)
}

async fn read(
    queues: Vec<Queue>,
    args: ReadArgs,
    common: &CommonArgs,
    progress: &Progress,
    runtime: &Runtime,
) -> Result<Tally, BenchError> {
    let expected = expected(&queues, args.rounds);
    let count = common.connections.min(queues.len());
    let mut shares: Vec<Vec<Queue>> = (0..count).map(|_| Vec::new()).collect();
    for (at, queue) in queues.into_iter().enumerate() {
        shares[at % count].push(queue);
    }
    let mut tasks = Vec::new();
    for queues in shares {
        let connection = LoadConnection::open(common.addr).await?;
        let consumer = Consumer::new(connection, queues, args, common, progress.counter(), runtime.clock().clone());
        tasks.push(runtime.spawn("consumer", consumer.run()));
    }
    let mut total = Tally::new();
    for tally in join_all(tasks, progress, runtime.clock()).await? {
        total.add(tally);
    }
    if total.messages != expected {
        let text = format!("the queues hold {expected} messages, {} were pulled", total.messages);
        return Err(BenchError::NotProven(text));
    }
    Ok(total)
}

/// Written pages stay in memory until they are on the disk, so they go there first.
pub(super) fn forget_files() -> Result<(), BenchError> {
    rustix::fs::sync();
    let told = std::fs::OpenOptions::new().write(true).open("/proc/sys/vm/drop_caches").and_then(|mut file| file.write_all(b"3"));
    told.map_err(|error| BenchError::Io { what: "drop the machine's file caches", error })
}

/// What is read of a queue: from `begin` up to, not including, `end`.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    queue_id: i32,
    begin: i64,
    next: i64,
    end: i64,
}

impl Queue {
    pub(super) fn new(queue_id: i32, begin: i64, end: i64) -> Self {
        Self { queue_id, begin, next: begin, end }
    }

    pub(super) fn count(&self) -> u64 {
        (self.end - self.begin) as u64
    }
}

/// What was read.
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) checked: u64,
    /// From a pull to its answer.
    pub(super) latency_nanos: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { messages: 0, bytes: 0, checked: 0, latency_nanos: latency_histogram() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.checked += other.checked;
        self.latency_nanos += other.latency_nanos;
    }
}

struct Consumer {
    connection: LoadConnection,
    queues: Vec<Queue>,
    topic: Arc<str>,
    batch: i32,
    rounds: u32,
    request: RemotingCommand,
    clock: SharedClock,
    progress: Arc<AtomicU64>,
    tally: Tally,
}

impl Consumer {
    fn new(
        connection: LoadConnection,
        queues: Vec<Queue>,
        args: ReadArgs,
        common: &CommonArgs,
        progress: Arc<AtomicU64>,
        clock: SharedClock,
    ) -> Self {
        let mut request = RemotingCommand::request(request_code::PULL_MESSAGE);
        request.serialize_type = common.header.into();
        let topic = common.topic.as_str().into();
        Self { connection, queues, topic, batch: args.batch, rounds: args.rounds, request, clock, progress, tally: Tally::new() }
    }

    async fn run(mut self) -> Result<Tally, BenchError> {
        let mut out = BytesMut::new();
        for _ in 0..self.rounds {
            let mut open = 0;
            let mut asked_nanos = vec![0; self.queues.len()];
            let now = self.clock.nanos();
            for (at, asked) in asked_nanos.iter_mut().enumerate() {
                self.queues[at].next = self.queues[at].begin;
                if self.queues[at].begin < self.queues[at].end {
                    self.ask(at, &mut out);
                    *asked = now;
                    open += 1;
                }
            }
            while open > 0 {
                if !out.is_empty() {
                    self.connection.write(&out).await?;
                    out.clear();
                }
                self.connection.read().await?;
                let now = self.clock.nanos();
                let before = self.tally.messages;
                while let Some(frame) = self.connection.next_frame()? {
                    let response = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what: "pull answer", error })?;
                    let at = response.opaque as usize;
                    if at >= self.queues.len() {
                        return Err(BenchError::NotProven(format!("an answer to opaque {at}")));
                    }
                    self.tally.latency_nanos.saturating_record(now - asked_nanos[at]);
                    self.take(at, &response)?;
                    if self.queues[at].next < self.queues[at].end {
                        self.ask(at, &mut out);
                        asked_nanos[at] = now;
                    } else {
                        open -= 1;
                    }
                }
                self.progress.fetch_add(self.tally.messages - before, Ordering::Relaxed);
            }
        }
        Ok(self.tally)
    }

    fn ask(&mut self, at: usize, out: &mut BytesMut) {
        let queue = &self.queues[at];
        let count = i64::from(self.batch).min(queue.end - queue.next) as i32;
        let header = pull_header(&self.topic, queue.queue_id, queue.next, count);
        let mut request = self.request.clone().with_header(&header);
        request.opaque = at as i32;
        request.encode(out);
    }

    fn take(&mut self, at: usize, response: &RemotingCommand) -> Result<(), BenchError> {
        if response.code != response_code::SUCCESS {
            let remark = response.remark.as_deref().unwrap_or_default().to_owned();
            return Err(BenchError::Refused { what: "a pull", code: response.code, remark });
        }
        let header: PullMessageResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
        let queue = &mut self.queues[at];
        for message in records(&response.body) {
            let message = message.map_err(|error| BenchError::Decode { what: "pulled message", error })?;
            if message.queue_offset != queue.next {
                let text = format!("queue {} gave offset {} at {}", queue.queue_id, message.queue_offset, queue.next);
                return Err(BenchError::NotProven(text));
            }
            queue.next += 1;
            self.tally.messages += 1;
            self.tally.bytes += message.body.len() as u64;
            if self.tally.messages % CHECK_EVERY == 1 {
                if !message.has_valid_body_crc() {
                    let text = format!("queue {} offset {}: checksum of the body", queue.queue_id, message.queue_offset);
                    return Err(BenchError::NotProven(text));
                }
                self.tally.checked += 1;
            }
        }
        if header.next_begin_offset != queue.next {
            let text = format!("queue {}: next offset is {}, told {}", queue.queue_id, queue.next, header.next_begin_offset);
            return Err(BenchError::NotProven(text));
        }
        Ok(())
    }
}
