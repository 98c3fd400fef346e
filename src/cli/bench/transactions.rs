// SPDX-License-Identifier: Apache-2.0
//! `bench transactions`: half messages and their commits, so many transactions in flight on each connection; or half messages that
//! stay open, to see what they cost a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use clap::Args;
use ferrocket_protocol::body::heartbeat::{HeartbeatData, ProducerData};
use ferrocket_protocol::header::EndTransactionRequestHeader;
use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2, SendMessageResponseHeader};
use ferrocket_protocol::message::{id, properties, property, sys_flag};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code, response_code, topic_names};
use hdrhistogram::Histogram;

use super::connection::LoadConnection;
use super::control::Control;
use super::meter::Window;
use super::progress::{Goal, Progress};
use super::report::{Latency, Report, latency_histogram};
use super::{BenchError, CommonArgs, GROUP, join_all};
use crate::runtime::{Runtime, SharedClock};

#[derive(Debug, Args)]
pub(in crate::cli) struct TransactionArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Transactions in flight on each connection
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    #[arg(long, default_value_t = 1024)]
    body_bytes: usize,
    /// Stop after so many transactions (default: after --seconds)
    #[arg(long)]
    messages: Option<u64>,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Prepare so many half messages and leave them open; nothing is committed
    #[arg(long, conflicts_with_all = ["messages", "seconds"])]
    open: Option<u64>,
    /// Then stay connected for so long without deciding: the report is of the questions that come
    #[arg(long, requires = "open", value_name = "SECONDS")]
    asked_seconds: Option<f64>,
}

/// Opaques of half messages count from here; those of their ends follow `END_DISTANCE` behind.
const OPAQUE_FIRST: i32 = 1_000_000_000;
const END_DISTANCE: i32 = 1_000_000;

pub(super) async fn run(args: &TransactionArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let common = &args.common;
    let control = Control::new(common.addr, runtime);
    control.create_topic(&common.topic, common.queues).await?;
    let before: i64 = control.max_offsets(&common.topic, common.queues).await?.iter().sum();
    let halves_before = control.max_offset(topic_names::TRANS_HALF, 0).await?;
    let clock = runtime.clock();
    let plan = Arc::new(Plan {
        transactions: args.open.or(args.messages).unwrap_or(u64::MAX),
        end_nanos: if args.open.or(args.messages).is_some() { u64::MAX } else { clock.nanos() + (args.seconds * 1e9) as u64 },
        issued: AtomicU64::new(0),
    });
    let goal = args.open.or(args.messages).map_or(Goal::Seconds(args.seconds), Goal::Messages);
    let progress = Progress::start("transactions", goal, runtime);
    let mut connections = Vec::new();
    for _ in 0..common.connections {
        connections.push(LoadConnection::open(common.addr).await?);
    }
    let window = Window::open(&common.server_pids, common.count_syscalls)?;
    let started = clock.nanos();
    let mut tasks = Vec::new();
    for (at, connection) in connections.into_iter().enumerate() {
        let producer = Producer {
            connection,
            id: at as u64,
            header: common.header.into(),
            topic: Str::copy_from(&common.topic),
            queues: common.queues,
            body: Bytes::from(vec![b'x'; args.body_bytes]),
            commits: args.open.is_none(),
            plan: Arc::clone(&plan),
            clock: clock.clone(),
            progress: progress.counter(),
            in_flight: Vec::new(),
            out: BytesMut::new(),
        };
        tasks.push(runtime.spawn("transactions", producer.run(args.in_flight as usize)));
    }
    let mut done = 0;
    let mut latency_nanos = latency_histogram();
    let mut producers = Vec::new();
    for (producer, count, latency) in join_all(tasks, &progress, clock).await? {
        producers.push(producer);
        done += count;
        latency_nanos += latency;
    }
    let seconds = (clock.nanos() - started) as f64 / 1e9;
    drop(progress);
    let mut report = report_of("transactions", args, window, done, seconds)?;
    report.latency_micros = Some(Latency::of(&latency_nanos));
    prove(&control, clock, args, done, before, halves_before).await?;
    if let Some(seconds) = args.asked_seconds {
        report = be_asked(args, producers, done, seconds, runtime).await?;
    }
    report.print(common.json)
}

fn report_of(workload: &str, args: &TransactionArgs, window: Window, count: u64, seconds: f64) -> Result<Report, BenchError> {
    let mut report = Report::new(workload, &args.common);
    report.cost = window.close(count, seconds, args.common.threads)?;
    report.depth = args.in_flight as usize;
    report.body_bytes = args.body_bytes;
    report.took(count, seconds);
    Ok(report)
}

/// What the questions about `open` halves cost while nobody answers them.
async fn be_asked(
    args: &TransactionArgs,
    producers: Vec<Producer>,
    open: u64,
    seconds: f64,
    runtime: &Runtime,
) -> Result<Report, BenchError> {
    let (common, clock) = (&args.common, runtime.clock());
    let progress = Progress::start("questions", Goal::Seconds(seconds), runtime);
    let window = Window::open(&common.server_pids, common.count_syscalls)?;
    let started = clock.nanos();
    let listen = |producer: Producer| runtime.spawn("transactions", producer.be_asked(seconds, progress.counter()));
    let tasks: Vec<_> = producers.into_iter().map(listen).collect();
    let mut questions = 0;
    for task in tasks {
        questions += task.join().await.ok_or(BenchError::Worker)??;
    }
    let seconds = (clock.nanos() - started) as f64 / 1e9;
    drop(progress);
    let mut report = report_of("questions", args, window, questions, seconds)?;
    report.figure("open_halves", open as f64);
    if questions == 0 {
        return Err(BenchError::NotProven(format!("nobody asked about {open} open transactions in {seconds:.0} s")));
    }
    Ok(report)
}

/// As many half messages were stored, and as many messages are seen, as were acknowledged. The original may store a half message
/// again when it asks about it, so there may be more of these.
async fn prove(
    control: &Control,
    clock: &SharedClock,
    args: &TransactionArgs,
    done: u64,
    before: i64,
    halves_before: i64,
) -> Result<(), BenchError> {
    let expected = if args.open.is_some() { 0 } else { done as i64 };
    let deadline = clock.nanos() + super::ANSWER_MAX.as_nanos() as u64;
    loop {
        let seen = control.max_offsets(&args.common.topic, args.common.queues).await?.iter().sum::<i64>() - before;
        let halves = control.max_offset(topic_names::TRANS_HALF, 0).await? - halves_before;
        if seen == expected && halves >= done as i64 {
            return Ok(());
        }
        if seen > expected || clock.nanos() > deadline {
            let text = format!("{done} transactions were acknowledged, {halves} half messages stored, {seen} messages are seen");
            return Err(BenchError::NotProven(text));
        }
        clock.sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// How many transactions there are, shared by all connections.
struct Plan {
    transactions: u64,
    end_nanos: u64,
    issued: AtomicU64,
}

impl Plan {
    fn take(&self, now: u64) -> Option<u64> {
        if now >= self.end_nanos {
            return None;
        }
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        (number < self.transactions).then_some(number)
    }
}

struct Producer {
    connection: LoadConnection,
    id: u64,
    header: ferrocket_protocol::SerializeType,
    topic: Str,
    queues: u32,
    body: Bytes,
    commits: bool,
    plan: Arc<Plan>,
    clock: SharedClock,
    progress: Arc<AtomicU64>,
    /// When the transaction of a slot began; 0 while it has none.
    in_flight: Vec<u64>,
    out: BytesMut,
}

impl Producer {
    async fn run(mut self, depth: usize) -> Result<(Self, u64, Histogram<u64>), BenchError> {
        let mut latency_nanos = latency_histogram();
        let mut done = 0;
        self.in_flight = vec![0; depth];
        self.join_the_group();
        for slot in 0..depth {
            self.prepare(slot);
        }
        while self.in_flight.iter().any(|began| *began > 0) {
            self.connection.write(&self.out).await?;
            self.out.clear();
            self.connection.read().await?;
            while let Some(frame) = self.connection.next_frame()? {
                let answer = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what: "answer", error })?;
                if !answer.is_response() || answer.opaque < OPAQUE_FIRST {
                    continue;
                }
                if answer.code != response_code::SUCCESS {
                    let remark = answer.remark.as_deref().unwrap_or_default().to_owned();
                    return Err(BenchError::Refused { what: "a transaction", code: answer.code, remark });
                }
                let number = answer.opaque - OPAQUE_FIRST;
                let slot = (number % END_DISTANCE) as usize;
                if self.commits && number < END_DISTANCE {
                    self.commit(slot, &answer)?;
                    continue;
                }
                done += 1;
                self.progress.fetch_add(1, Ordering::Relaxed);
                latency_nanos.saturating_record(self.clock.nanos().saturating_sub(self.in_flight[slot]));
                self.in_flight[slot] = 0;
                self.prepare(slot);
            }
        }
        Ok((self, done, latency_nanos))
    }

    /// Counts the questions that come in so many seconds.
    async fn be_asked(mut self, seconds: f64, progress: Arc<AtomicU64>) -> Result<u64, BenchError> {
        let mut questions = 0;
        let clock = self.clock.clone();
        let counting = async {
            loop {
                self.connection.read().await?;
                while let Some(frame) = self.connection.next_frame()? {
                    let request = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what: "question", error })?;
                    if request.code == request_code::CHECK_TRANSACTION_STATE && !request.is_response() {
                        questions += 1;
                        progress.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        tokio::select! {
            failed = counting => failed,
            () = clock.sleep(std::time::Duration::from_secs_f64(seconds)) => Ok(questions),
        }
    }

    /// So that there is somebody to be asked; the questions are not answered.
    fn join_the_group(&mut self) {
        let heartbeat = HeartbeatData {
            client_id: format!("bench@{}", self.id),
            producer_data_set: vec![ProducerData { group_name: GROUP.to_owned() }],
            ..HeartbeatData::default()
        };
        let request = RemotingCommand::request(request_code::HEART_BEAT).with_body(fastjson::to_vec(&heartbeat));
        self.write(request, 1);
    }

    fn prepare(&mut self, slot: usize) {
        let now = self.clock.nanos();
        let Some(number) = self.plan.take(now) else { return };
        self.in_flight[slot] = now.max(1);
        let key = format!("{:016X}{number:016X}", self.id);
        let pairs = [(property::UNIQ_KEY, &*key), (property::TRAN_MSG, "true"), (property::PGROUP, GROUP), (property::WAIT, "true")];
        let text = String::from_utf8(properties::encode(pairs)).expect("names and digits");
        let header = SendMessageRequestHeaderV2::from(SendMessageRequestHeader {
            producer_group: GROUP.into(),
            topic: self.topic.clone(),
            default_topic: topic_names::AUTO_CREATE.into(),
            default_topic_queue_nums: 4,
            queue_id: (number % u64::from(self.queues)) as i32,
            sys_flag: sys_flag::TRANSACTION_PREPARED,
            born_timestamp: self.clock.now_millis(),
            properties: text.into(),
            ..SendMessageRequestHeader::default()
        });
        let request = RemotingCommand::request_with(request_code::SEND_MESSAGE_V2, &header).with_body(self.body.clone());
        self.write(request, OPAQUE_FIRST + slot as i32);
    }

    fn commit(&mut self, slot: usize, answer: &RemotingCommand) -> Result<(), BenchError> {
        let sent: SendMessageResponseHeader = answer.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
        let place = id::parse_offset_id(&sent.msg_id).ok_or_else(|| BenchError::NotProven(format!("the message id {}", sent.msg_id)))?;
        let header = EndTransactionRequestHeader {
            topic: Some(self.topic.clone()),
            producer_group: GROUP.into(),
            tran_state_table_offset: sent.queue_offset,
            commit_log_offset: place.1,
            commit_or_rollback: sys_flag::TRANSACTION_COMMIT,
            msg_id: sent.transaction_id.clone().unwrap_or_default(),
            transaction_id: sent.transaction_id,
            ..EndTransactionRequestHeader::default()
        };
        let request = RemotingCommand::request_with(request_code::END_TRANSACTION, &header);
        self.write(request, OPAQUE_FIRST + END_DISTANCE + slot as i32);
        Ok(())
    }

    fn write(&mut self, mut request: RemotingCommand, opaque: i32) {
        request.opaque = opaque;
        request.serialize_type = self.header;
        request.encode(&mut self.out);
    }
}
