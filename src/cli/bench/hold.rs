// SPDX-License-Identifier: Apache-2.0
//! `bench hold`: many connections that each wait for a message at the end of a queue. What they cost while nothing happens, what an
//! open loop of sends beside them notices, and that each is answered when its message comes. With `--crowd` each of those sends
//! is for all of them.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use ferrocket_protocol::message::decode::records;
use ferrocket_protocol::{RemotingCommand, response_code};

use super::ask::{self, succeeded};
use super::connection::LoadConnection;
use super::frames::{FrameShape, Stamp, Template, UNIQUE_KEY_BYTES, sequence_of};
use super::meter::Usage;
use super::progress::{Goal, Progress};
use super::pull_frame::PullFrame;
use super::report::{Latency, Report, latency_histogram};
use super::send::{Load, prove};
use super::{ANSWER_MAX, BenchError, CommonArgs, GROUP, join_all};
use crate::runtime::{Runtime, SharedClock, Task};

#[derive(Debug, Args)]
pub(in crate::cli) struct HoldArgs {
    /// --connections of them wait, spread over the topic's --queues
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Messages per second to another topic
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Connections that send them
    #[arg(long, default_value_t = 8)]
    producers: usize,
    /// The messages go to the topic itself: each ends the waits on its queue, and all of them wait again
    #[arg(long)]
    crowd: bool,
    /// Of each part: sends alone, waiting alone, both
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// Between the last connection's pull and the moment when nothing more is expected to happen for it.
const SETTLE: Duration = Duration::from_secs(2);

/// Opaques have ten digits throughout, so that a frame keeps its length.
const OPAQUE_FIRST: i32 = 1_000_000_000;

pub(super) async fn run(args: &HoldArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let (common, clock) = (&args.common, runtime.clock());
    crate::server::raise_open_files();
    let live_topic = if args.crowd { common.topic.clone() } else { format!("{}-live", common.topic) };
    let live = CommonArgs { topic: live_topic, connections: args.producers, ..common.clone() };
    let names = [common.topic.clone()];
    ask::create_topics(common, &names).await?;
    part(&format!("sends alone, {} s", args.seconds));
    let (alone, _) = send_live(args, &live, runtime).await?;
    let ends = ask::max_offsets(common, &names).await?;

    part(&format!("{} connections come and wait alone, {} s", common.connections, args.seconds));
    let usage = || (!common.server_pids.is_empty()).then(|| Usage::of_all(&common.server_pids)).transpose();
    let before = usage()?;
    let attaching = clock.nanos();
    let renewed = Arc::new(AtomicU64::new(0));
    let progress = Progress::start("hold", Goal::Messages(common.connections as u64), runtime);
    let crowd = Crowd::start(clock)?;
    let mut holding = Vec::new();
    for at in 0..common.connections {
        let queue_id = at % ends.len();
        let holder = Holder {
            pull: PullFrame::new(common.header, 0, GROUP, &common.topic, queue_id as i32, 1),
            offset: ends[queue_id],
            renewed: Arc::clone(&renewed),
            woken: progress.counter(),
            clock: clock.clone(),
        };
        let attached = crowd.runtime.spawn("attach", holder.attach(common.addr)).join().await;
        let (holder, connection) = attached.ok_or(BenchError::Worker)??;
        holding.push(crowd.runtime.spawn("holder", holder.run(connection)));
    }
    let attached_nanos = clock.nanos() - attaching;
    clock.sleep(SETTLE).await;

    let (attached, renewed_before) = (usage()?, renewed.load(Ordering::Relaxed));
    clock.sleep(Duration::from_secs_f64(args.seconds)).await;
    let idle = usage()?;
    let renewals = renewed.load(Ordering::Relaxed) - renewed_before;
    if holding.iter().any(Task::is_finished) {
        // Its reason is told when it is joined.
        join_all(holding, &progress, clock).await?;
        return Err(BenchError::NotProven("a pull was answered before there was a message".to_owned()));
    }

    part(&format!("sends beside them, {} s", args.seconds));
    let (beside, mut report) = send_live(args, &live, runtime).await?;
    part("a message for each of them");
    let waking = clock.nanos();
    wake(common, clock).await?;
    let mut wake_nanos = latency_histogram();
    for nanos in join_all(holding, &progress, clock).await? {
        wake_nanos.saturating_record(nanos);
    }
    let woken_nanos = clock.nanos() - waking;
    drop(progress);

    report.workload = "hold".to_owned();
    report.figure("held_pulls_count", common.connections as f64);
    report.figure("attach_seconds", attached_nanos as f64 / 1e9);
    report.figure("renewals_per_second", renewals as f64 / args.seconds.max(1e-9));
    for (when, latency) in [("alone", &alone), ("beside", &beside)] {
        report.figure(&format!("{when}_ack_p50_micros"), latency.p50);
        report.figure(&format!("{when}_ack_p99_micros"), latency.p99);
        report.figure(&format!("{when}_ack_p99_9_micros"), latency.p99_9);
    }
    report.figure("beside_over_alone_p99", beside.p99 / alone.p99.max(1e-9));
    let woken = Latency::of(&wake_nanos);
    report.figure("wake_p50_millis", woken.p50 / 1000.0);
    report.figure("wake_max_millis", woken.max / 1000.0);
    report.figure("wake_all_millis", woken_nanos as f64 / 1e6);
    if let (Some(before), Some(attached), Some(idle)) = (before, attached, idle) {
        let grown = attached.anonymous_bytes.saturating_sub(before.anonymous_bytes);
        report.figure("anonymous_per_connection_bytes", grown as f64 / common.connections.max(1) as f64);
        report.figure("idle_cpu_percent_of_a_core", (idle.cpu_seconds - attached.cpu_seconds) * 100.0 / args.seconds.max(1e-9));
    }
    report.print(common.json)
}

/// Three times `--seconds` go by before the report; where there is no bar, a line says that the run goes on.
fn part(what: &str) {
    if !std::io::stderr().is_terminal() {
        // Whoever closed stderr does not want to know.
        let _ = writeln!(std::io::stderr(), "hold: {what}");
    }
}

/// The sends beside; their report is that of the run.
async fn send_live(args: &HoldArgs, live: &CommonArgs, runtime: &Runtime) -> Result<(Latency, Report), BenchError> {
    let names = [live.topic.clone()];
    ask::create_topics(live, &names).await?;
    let before = ask::max_offsets(live, &names).await?;
    let (report, acknowledged, _) = Load::live(live, args.rate, args.seconds).run("live sends", live, runtime).await?;
    prove(runtime.clock(), live, &names, &before, acknowledged).await?;
    let latency = report.latency_micros.clone().unwrap_or_default();
    Ok((latency, report))
}

/// A message to each queue, which says when it was sent; again where the server has no time for it.
async fn wake(common: &CommonArgs, clock: &SharedClock) -> Result<(), BenchError> {
    let template = Template::new(&FrameShape {
        topic: common.topic.clone(),
        numbered: false,
        queues: common.queues,
        header: common.header,
        body_bytes: UNIQUE_KEY_BYTES,
        batch: 1,
        oneway: false,
    });
    let mut connection = LoadConnection::open(common.addr).await?;
    let mut out = BytesMut::new();
    let mut due: Vec<u32> = (0..common.queues).collect();
    let mut answered = 0;
    while answered < common.queues {
        let stamp = Stamp { topic: 0, connection: 0, sequence: clock.nanos(), born_millis: clock.now_millis() };
        for queue in due.drain(..) {
            template.stamp(&mut out, queue, OPAQUE_FIRST + queue as i32, &stamp);
        }
        connection.write(&out).await?;
        out.clear();
        tokio::select! {
            read = connection.read() => drop(read?),
            () = clock.sleep(ANSWER_MAX) => return Err(BenchError::Silent),
        }
        while let Some(frame) = connection.next_frame()? {
            let what = "wake";
            let answer = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what, error })?;
            if answer.code == response_code::SYSTEM_BUSY {
                due.push((answer.opaque - OPAQUE_FIRST) as u32);
                continue;
            }
            succeeded(what, &answer)?;
            answered += 1;
        }
    }
    Ok(())
}

/// A thread of their own for those who wait: reading 10,000 answers must not look like a server that keeps the sender waiting.
struct Crowd {
    runtime: Runtime,
    thread: Option<tokio::runtime::Runtime>,
}

impl Crowd {
    fn start(clock: &SharedClock) -> Result<Self, BenchError> {
        let thread = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| BenchError::Io { what: "start the holders", error })?;
        Ok(Self { runtime: Runtime::new(thread.handle().clone(), clock.clone()), thread: Some(thread) })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

/// One connection's pull that waits.
struct Holder {
    pull: PullFrame,
    offset: i64,
    renewed: Arc<AtomicU64>,
    woken: Arc<AtomicU64>,
    clock: SharedClock,
}

impl Holder {
    async fn attach(mut self, addr: SocketAddr) -> Result<(Self, LoadConnection), BenchError> {
        let mut connection = LoadConnection::open(addr).await?;
        self.ask(&mut connection).await?;
        Ok((self, connection))
    }

    async fn ask(&mut self, connection: &mut LoadConnection) -> Result<(), BenchError> {
        let mut out = BytesMut::new();
        self.pull.write(&mut out, self.offset);
        connection.write(&out).await
    }

    /// Until its last message comes: so many nanoseconds after it was sent.
    async fn run(mut self, mut connection: LoadConnection) -> Result<u64, BenchError> {
        loop {
            connection.read().await?;
            let now = self.clock.nanos();
            while let Some(frame) = connection.next_frame()? {
                let what = "a held pull";
                let answer = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what, error })?;
                if !answer.is_response() {
                    continue;
                }
                if [response_code::PULL_NOT_FOUND, response_code::PULL_RETRY_IMMEDIATELY].contains(&answer.code) {
                    self.renewed.fetch_add(1, Ordering::Relaxed);
                    self.ask(&mut connection).await?;
                    continue;
                }
                succeeded(what, &answer)?;
                let message = records(&answer.body).next().transpose().map_err(|error| BenchError::Decode { what, error })?;
                let found = message.filter(|message| message.queue_offset == self.offset && message.has_valid_body_crc());
                let Some(message) = found else {
                    return Err(BenchError::NotProven(format!("a pull from {} did not bring its message", self.offset)));
                };
                if message.body.len() > UNIQUE_KEY_BYTES {
                    // One of the sends beside.
                    self.offset += 1;
                    self.ask(&mut connection).await?;
                    continue;
                }
                let Some(sent_nanos) = sequence_of(message.body) else {
                    return Err(BenchError::NotProven(format!("a pull from {} did not bring its message", self.offset)));
                };
                self.woken.fetch_add(1, Ordering::Relaxed);
                return Ok(now.saturating_sub(sent_nanos));
            }
        }
    }
}
