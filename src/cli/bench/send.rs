// SPDX-License-Identifier: Apache-2.0
//! `bench send`: frames encoded once, patched per message, kept `depth` deep in flight on every connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use ferrocket_protocol::body::topic::TopicFilterType;
use ferrocket_protocol::header::pull::{PullMessageRequestHeader, pull_flag};
use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2, SendMessageResponseHeader};
use ferrocket_protocol::message::decode::MessageView;
use ferrocket_protocol::{RemotingCommand, SerializeType, perm, request_code, response_code, topic_names};
use hdrhistogram::Histogram;

use super::connection::LoadConnection;
use super::meter::usage;
use super::report::{Latency, Report, ServerFigures, latency_histogram};
use super::{ANSWER_MAX, BenchError, CommonArgs, Control, join_all};
use crate::runtime::{Runtime, SharedClock};

#[derive(Debug, Args)]
pub(in crate::cli) struct SendArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Requests in flight on each connection; 1 is a synchronous producer
    #[arg(long, default_value_t = 1)]
    depth: usize,
    #[arg(long, default_value_t = 1024)]
    body_bytes: usize,
    /// Stop after so many messages (default: after --seconds)
    #[arg(long)]
    messages: Option<u64>,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Sent first and not counted
    #[arg(long, default_value_t = 0.0)]
    warmup_seconds: f64,
    /// Use the topic as it is instead of creating it
    #[arg(long)]
    keep_topic: bool,
}

/// One in so many acknowledged messages is read back, up to `SAMPLES_MAX` per run.
const SAMPLE_EVERY: u64 = 64;
const SAMPLES_MAX: usize = 512;

/// How often the queues' ends are asked for while they lag behind the answers.
const OFFSETS_EVERY: Duration = Duration::from_millis(50);

/// Opaques have ten digits throughout, so that a frame keeps its length.
const OPAQUE_FIRST: i32 = 1_000_000_000;

pub(super) async fn run(args: &SendArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let common = &args.common;
    let control = Control::new(common, runtime);
    if !args.keep_topic {
        create_topic(&control, common).await?;
    }
    let before = control.max_offsets(common).await?;
    let template = Arc::new(Template::new(args));
    let clock = runtime.clock();
    let mut connections = Vec::new();
    for _ in 0..common.connections {
        connections.push(LoadConnection::open(common.addr, clock.clone()).await?);
    }

    let mut acknowledged = 0;
    if args.warmup_seconds > 0.0 {
        let warmup = Plan::until(clock, args.warmup_seconds);
        let (back, tally) = drive(connections, warmup, args, &template, runtime).await?;
        connections = back;
        acknowledged += tally.acknowledged;
    }

    let used_before = common.server_pid.map(usage).transpose()?;
    let started = clock.nanos();
    let plan = match args.messages {
        Some(messages) => Plan { messages, end_nanos: u64::MAX, issued: AtomicU64::new(0) },
        None => Plan::until(clock, args.seconds),
    };
    let (connections, tally) = drive(connections, plan, args, &template, runtime).await?;
    let took = Duration::from_nanos(clock.nanos() - started);
    let used_after = common.server_pid.map(usage).transpose()?;
    drop(connections);
    acknowledged += tally.acknowledged;

    prove(&control, clock, common, &before, acknowledged, &template, &tally).await?;
    let mut report = Report::new("send", common);
    report.depth = args.depth;
    report.body_bytes = args.body_bytes;
    report.refused = tally.refused;
    report.took(tally.acknowledged, took);
    report.latency_micros = Some(Latency::of(&tally.latency_nanos));
    report.server = used_before.zip(used_after).map(|(before, after)| ServerFigures::between(before, after, tally.acknowledged));
    report.bodies_checked = tally.samples.len() as u64;
    report.print(common.json)
}

async fn create_topic(control: &Control, common: &CommonArgs) -> Result<(), BenchError> {
    use ferrocket_protocol::header::admin::topic::CreateTopicRequestHeader;
    let header = CreateTopicRequestHeader {
        topic: common.topic.clone().into(),
        default_topic: topic_names::AUTO_CREATE.into(),
        read_queue_nums: common.queues as i32,
        write_queue_nums: common.queues as i32,
        perm: perm::READ_WRITE,
        topic_filter_type: TopicFilterType::SingleTag.name().into(),
        ..CreateTopicRequestHeader::default()
    };
    let request = RemotingCommand::request_with(request_code::UPDATE_AND_CREATE_TOPIC, &header);
    control.ask("create the topic", request).await.map(|_| ())
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

#[derive(Debug)]
struct Sample {
    queue_id: i32,
    queue_offset: i64,
    stamp: Stamp,
}

struct Tally {
    acknowledged: u64,
    refused: u64,
    latency_nanos: Histogram<u64>,
    samples: Vec<Sample>,
}

impl Tally {
    fn new() -> Self {
        Self { acknowledged: 0, refused: 0, latency_nanos: latency_histogram(), samples: Vec::new() }
    }

    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.latency_nanos += other.latency_nanos;
        self.samples.extend(other.samples);
    }
}

async fn drive(
    connections: Vec<LoadConnection>,
    plan: Plan,
    args: &SendArgs,
    template: &Arc<Template>,
    runtime: &Runtime,
) -> Result<(Vec<LoadConnection>, Tally), BenchError> {
    let plan = Arc::new(plan);
    let samples_max = SAMPLES_MAX.div_ceil(connections.len().max(1));
    let tasks = connections
        .into_iter()
        .enumerate()
        .map(|(at, connection)| {
            let producer = Producer {
                connection,
                id: at as u32,
                depth: args.depth,
                queues: args.common.queues,
                plan: Arc::clone(&plan),
                template: Arc::clone(template),
                clock: runtime.clock().clone(),
                samples_max,
            };
            runtime.spawn("producer", producer.run())
        })
        .collect();
    let mut total = Tally::new();
    let mut connections = Vec::new();
    for (connection, tally) in join_all(tasks).await? {
        connections.push(connection);
        total.add(tally);
    }
    Ok((connections, total))
}

struct Producer {
    connection: LoadConnection,
    id: u32,
    depth: usize,
    queues: u32,
    plan: Arc<Plan>,
    template: Arc<Template>,
    clock: SharedClock,
    samples_max: usize,
}

#[derive(Clone, Copy, Default)]
struct InFlight {
    sent_nanos: u64,
    stamp: Stamp,
}

impl Producer {
    async fn run(mut self) -> Result<(LoadConnection, Tally), BenchError> {
        let mut tally = Tally::new();
        let mut slots = vec![InFlight::default(); self.depth];
        let mut free: Vec<usize> = (0..self.depth).rev().collect();
        let mut out = BytesMut::with_capacity(self.depth * self.template.longest());
        let mut next_queue = self.id % self.queues;
        loop {
            let now = self.clock.nanos();
            let (first, count) = self.plan.take(free.len() as u64, now);
            if count > 0 {
                let born = self.clock.now_millis();
                for sequence in first..first + count {
                    let slot = free.pop().expect("no more were taken than are free");
                    let stamp = Stamp { connection: self.id, sequence, born_millis: born };
                    slots[slot] = InFlight { sent_nanos: now, stamp };
                    self.template.stamp(&mut out, next_queue, OPAQUE_FIRST + slot as i32, &stamp);
                    next_queue = (next_queue + 1) % self.queues;
                }
                self.connection.write(&out).await?;
                out.clear();
            }
            if free.len() == self.depth {
                return Ok((self.connection, tally));
            }
            self.connection.read().await?;
            let now = self.clock.nanos();
            while let Some(frame) = self.connection.next_frame()? {
                let response = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what: "send answer", error })?;
                let slot = (response.opaque - OPAQUE_FIRST) as usize;
                let sent = *slots.get(slot).ok_or_else(|| BenchError::NotProven(format!("an answer to opaque {}", response.opaque)))?;
                free.push(slot);
                if response.code != response_code::SUCCESS {
                    tally.refuse(&response)?;
                    continue;
                }
                tally.acknowledged += 1;
                tally.latency_nanos.saturating_record(now - sent.sent_nanos);
                if tally.acknowledged % SAMPLE_EVERY == 1 && tally.samples.len() < self.samples_max {
                    let header: SendMessageResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
                    let (queue_id, queue_offset) = (header.queue_id, header.queue_offset);
                    tally.samples.push(Sample { queue_id, queue_offset, stamp: sent.stamp });
                }
            }
        }
    }
}

impl Tally {
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

/// What differs between two messages of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stamp {
    connection: u32,
    sequence: u64,
    born_millis: i64,
}

impl Stamp {
    /// 32 hexadecimal digits, as the original's unique keys.
    fn unique_key(&self) -> [u8; 32] {
        let number = u128::from(self.connection) << 96 | u128::from(self.born_millis as u64) << 48 | u128::from(self.sequence);
        let mut digits = [0; 32];
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789ABCDEF"[(number >> (124 - 4 * at)) as usize & 15];
        }
        digits
    }
}

/// Encoded requests, one per queue, with the places of what is patched.
struct Template {
    queues: Vec<Patched>,
}

struct Patched {
    frame: Vec<u8>,
    binary: bool,
    opaque_at: usize,
    born_at: usize,
    unique_key_at: usize,
    key_at: usize,
    body_at: usize,
}

/// Stand-ins that occur once in a frame.
const OPAQUE_MARK: i32 = 1_987_654_321;
const BORN_MARK: i64 = 1_765_432_109_876;
const UNIQUE_KEY_MARK: &str = "FEDCBA9876543210FEDCBA9876543210";
const KEY_MARK: &str = "key0987654321";
const KEY_PREFIX_BYTES: usize = 3;
const KEY_DIGITS: usize = 10;

impl Template {
    fn new(args: &SendArgs) -> Self {
        Self { queues: (0..args.common.queues).map(|queue_id| Patched::new(args, queue_id)).collect() }
    }

    fn longest(&self) -> usize {
        self.queues.iter().map(|queue| queue.frame.len()).max().unwrap_or(0)
    }

    fn stamp(&self, out: &mut BytesMut, queue: u32, opaque: i32, stamp: &Stamp) {
        let template = &self.queues[queue as usize];
        let start = out.len();
        out.extend_from_slice(&template.frame);
        template.patch(&mut out[start..], opaque, stamp);
    }
}

impl Patched {
    fn new(args: &SendArgs, queue_id: u32) -> Self {
        let properties = format!("UNIQ_KEY\u{1}{UNIQUE_KEY_MARK}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}KEYS\u{1}{KEY_MARK}\u{2}");
        let header = SendMessageRequestHeaderV2::from(SendMessageRequestHeader {
            producer_group: "ferrocket-bench".into(),
            topic: args.common.topic.clone().into(),
            default_topic: topic_names::AUTO_CREATE.into(),
            default_topic_queue_nums: 4,
            queue_id: queue_id as i32,
            born_timestamp: BORN_MARK,
            properties: properties.into(),
            reconsume_times: Some(0),
            ..SendMessageRequestHeader::default()
        });
        // Digits, so that no mark can occur in it; its first bytes are patched with the unique key.
        let body: Vec<u8> = (0..args.body_bytes).map(|at| b'0' + (at % 7) as u8).collect();
        let mut request = RemotingCommand::request_with(request_code::SEND_MESSAGE_V2, &header).with_body(body);
        request.serialize_type = args.common.header.into();
        request.opaque = OPAQUE_MARK;
        let mut out = BytesMut::new();
        request.encode(&mut out);
        let frame = out.to_vec();
        let binary = request.serialize_type == SerializeType::RocketMq;
        let opaque_mark = if binary { OPAQUE_MARK.to_be_bytes().to_vec() } else { OPAQUE_MARK.to_string().into_bytes() };
        Self {
            opaque_at: position(&frame, &opaque_mark),
            born_at: position(&frame, BORN_MARK.to_string().as_bytes()),
            unique_key_at: position(&frame, UNIQUE_KEY_MARK.as_bytes()),
            key_at: position(&frame, KEY_MARK.as_bytes()) + KEY_PREFIX_BYTES,
            body_at: frame.len() - args.body_bytes,
            frame,
            binary,
        }
    }

    fn patch(&self, frame: &mut [u8], opaque: i32, stamp: &Stamp) {
        if self.binary {
            frame[self.opaque_at..self.opaque_at + 4].copy_from_slice(&opaque.to_be_bytes());
        } else {
            write_digits(&mut frame[self.opaque_at..self.opaque_at + 10], opaque as u64);
        }
        write_digits(&mut frame[self.born_at..self.born_at + 13], stamp.born_millis as u64);
        let unique_key = stamp.unique_key();
        frame[self.unique_key_at..self.unique_key_at + unique_key.len()].copy_from_slice(&unique_key);
        write_digits(&mut frame[self.key_at..self.key_at + KEY_DIGITS], stamp.sequence);
        self.patch_body(&mut frame[self.body_at..], &unique_key);
    }

    fn patch_body(&self, body: &mut [u8], unique_key: &[u8]) {
        let patched = body.len().min(unique_key.len());
        body[..patched].copy_from_slice(&unique_key[..patched]);
    }

    fn body(&self, stamp: &Stamp) -> Vec<u8> {
        let mut body = self.frame[self.body_at..].to_vec();
        self.patch_body(&mut body, &stamp.unique_key());
        body
    }
}

fn position(frame: &[u8], mark: &[u8]) -> usize {
    frame.windows(mark.len()).position(|window| window == mark).expect("the frame was encoded with this mark")
}

/// The last digits of `number`, filling `digits`.
fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

async fn prove(
    control: &Control,
    clock: &SharedClock,
    common: &CommonArgs,
    before: &[i64],
    acknowledged: u64,
    template: &Template,
    tally: &Tally,
) -> Result<(), BenchError> {
    let deadline = clock.nanos() + ANSWER_MAX.as_nanos() as u64;
    let advanced = loop {
        let advanced = control.max_offsets(common).await?.iter().sum::<i64>() - before.iter().sum::<i64>();
        // The original's queues follow its log at some distance.
        if advanced >= acknowledged as i64 || clock.nanos() > deadline {
            break advanced;
        }
        clock.sleep(OFFSETS_EVERY).await;
    };
    if advanced != acknowledged as i64 {
        let text = format!("{acknowledged} sends were acknowledged, the queues advanced by {advanced}");
        return Err(BenchError::NotProven(text));
    }
    for sample in &tally.samples {
        let header = PullMessageRequestHeader {
            consumer_group: "ferrocket-bench".into(),
            topic: common.topic.clone().into(),
            queue_id: sample.queue_id,
            queue_offset: sample.queue_offset,
            max_msg_nums: 1,
            sys_flag: pull_flag::SUBSCRIPTION,
            subscription: Some("*".into()),
            expression_type: Some("TAG".into()),
            ..PullMessageRequestHeader::default()
        };
        let pulled = control.ask("read a sample", RemotingCommand::request_with(request_code::PULL_MESSAGE, &header)).await?;
        let message = MessageView::decode(&pulled.body).map_err(|error| BenchError::Decode { what: "read a sample", error })?;
        let sent = template.queues[sample.queue_id as usize].body(&sample.stamp);
        if message.queue_offset != sample.queue_offset || message.body != sent {
            let text = format!("queue {} offset {} does not hold what was sent", sample.queue_id, sample.queue_offset);
            return Err(BenchError::NotProven(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patched_frame_is_the_request_it_should_be() {
        for header in [super::super::HeaderForm::Json, super::super::HeaderForm::Binary] {
            let args = SendArgs {
                common: CommonArgs {
                    addr: ([127, 0, 0, 1], 1).into(),
                    topic: "T".into(),
                    queues: 4,
                    connections: 1,
                    header,
                    threads: 1,
                    server_pid: None,
                    json: false,
                    label: String::new(),
                },
                depth: 1,
                body_bytes: 100,
                messages: None,
                seconds: 1.0,
                warmup_seconds: 0.0,
                keep_topic: false,
            };
            let template = Template::new(&args);
            let stamp = Stamp { connection: 5, sequence: 42, born_millis: 1_700_000_000_000 };
            let mut out = BytesMut::new();
            template.stamp(&mut out, 3, OPAQUE_FIRST + 9, &stamp);
            let frame = ferrocket_protocol::split_frame(&mut out).unwrap().unwrap();
            let request = RemotingCommand::decode(frame).unwrap();
            assert_eq!(request.opaque, OPAQUE_FIRST + 9);
            let header = SendMessageRequestHeader::from_request(&request).unwrap();
            assert_eq!((header.queue_id, header.born_timestamp), (3, 1_700_000_000_000));
            let key = String::from_utf8(stamp.unique_key().to_vec()).unwrap();
            assert!(header.properties.contains(&key) && header.properties.contains("key0000000042\u{2}"));
            assert_eq!(request.body, template.queues[3].body(&stamp));
            assert!(request.body.starts_with(key.as_bytes()));
        }
    }

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
