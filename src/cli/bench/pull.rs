// SPDX-License-Identifier: Apache-2.0
//! `bench pull`: every queue of a topic from its first message to its last, one pull in flight per queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use ferrocket_protocol::header::offset::{GetMinOffsetRequestHeader, GetMinOffsetResponseHeader};
use ferrocket_protocol::header::pull::{PullMessageRequestHeader, PullMessageResponseHeader, pull_flag};
use ferrocket_protocol::message::decode::records;
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use hdrhistogram::Histogram;

use super::connection::LoadConnection;
use super::meter::usage;
use super::report::{Latency, Report, ServerFigures, latency_histogram};
use super::{BenchError, CommonArgs, Control, join_all};
use crate::runtime::{Runtime, SharedClock};

#[derive(Debug, Args)]
pub(in crate::cli) struct PullArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
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
    let control = Control::new(common, runtime);
    let ends = control.max_offsets(common).await?;
    let mut queues = Vec::new();
    for (queue_id, end) in ends.into_iter().enumerate() {
        let begin = min_offset(&control, common, queue_id as i32).await?;
        queues.push(Queue { queue_id: queue_id as i32, begin, next: begin, end });
    }
    let expected = queues.iter().map(|queue| (queue.end - queue.begin) as u64).sum::<u64>() * u64::from(args.rounds);

    let count = common.connections.min(queues.len());
    let mut shares: Vec<Vec<Queue>> = (0..count).map(|_| Vec::new()).collect();
    for (at, queue) in queues.into_iter().enumerate() {
        shares[at % count].push(queue);
    }
    let mut consumers = Vec::new();
    for queues in shares {
        let connection = LoadConnection::open(common.addr, runtime.clock().clone()).await?;
        consumers.push(Consumer::new(connection, queues, args, runtime.clock().clone()));
    }
    let used_before = common.server_pid.map(usage).transpose()?;
    let started = runtime.clock().nanos();
    let tasks = consumers.into_iter().map(|consumer| runtime.spawn("consumer", consumer.run())).collect();
    let mut total = Tally { messages: 0, bytes: 0, checked: 0, latency_nanos: latency_histogram() };
    for tally in join_all(tasks).await? {
        total.messages += tally.messages;
        total.bytes += tally.bytes;
        total.checked += tally.checked;
        total.latency_nanos += tally.latency_nanos;
    }
    let took = Duration::from_nanos(runtime.clock().nanos() - started);
    let used_after = common.server_pid.map(usage).transpose()?;
    if total.messages != expected {
        let text = format!("the queues hold {expected} messages, {} were pulled", total.messages);
        return Err(BenchError::NotProven(text));
    }
    let mut report = Report::new("pull", common);
    report.connections = count;
    report.depth = common.queues.div_ceil(count.max(1) as u32) as usize;
    report.body_bytes = (total.bytes / total.messages.max(1)) as usize;
    report.took(total.messages, took);
    report.latency_micros = Some(Latency::of(&total.latency_nanos));
    report.server = used_before.zip(used_after).map(|(before, after)| ServerFigures::between(before, after, total.messages));
    report.bodies_checked = total.checked;
    report.print(common.json)
}

async fn min_offset(control: &Control, common: &CommonArgs, queue_id: i32) -> Result<i64, BenchError> {
    let topic = common.topic.clone().into();
    let header = GetMinOffsetRequestHeader { topic, queue_id, ..GetMinOffsetRequestHeader::default() };
    let request = RemotingCommand::request_with(request_code::GET_MIN_OFFSET, &header);
    let response = control.ask("get min offset", request).await?;
    let header: GetMinOffsetResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
    Ok(header.offset)
}

#[derive(Debug)]
struct Queue {
    queue_id: i32,
    begin: i64,
    next: i64,
    end: i64,
}

struct Tally {
    messages: u64,
    bytes: u64,
    checked: u64,
    latency_nanos: Histogram<u64>,
}

struct Consumer {
    connection: LoadConnection,
    queues: Vec<Queue>,
    topic: Arc<str>,
    batch: i32,
    rounds: u32,
    request: RemotingCommand,
    clock: SharedClock,
    tally: Tally,
}

impl Consumer {
    fn new(connection: LoadConnection, queues: Vec<Queue>, args: &PullArgs, clock: SharedClock) -> Self {
        let mut request = RemotingCommand::request(request_code::PULL_MESSAGE);
        request.serialize_type = args.common.header.into();
        let topic = args.common.topic.as_str().into();
        let tally = Tally { messages: 0, bytes: 0, checked: 0, latency_nanos: latency_histogram() };
        Self { connection, queues, topic, batch: args.batch, rounds: args.rounds, request, clock, tally }
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
            }
        }
        Ok(self.tally)
    }

    fn ask(&mut self, at: usize, out: &mut BytesMut) {
        let queue = &self.queues[at];
        let header = PullMessageRequestHeader {
            consumer_group: "ferrocket-bench".into(),
            topic: self.topic.to_string().into(),
            queue_id: queue.queue_id,
            queue_offset: queue.next,
            max_msg_nums: i64::from(self.batch).min(queue.end - queue.next) as i32,
            sys_flag: pull_flag::SUBSCRIPTION,
            subscription: Some("*".into()),
            expression_type: Some("TAG".into()),
            ..PullMessageRequestHeader::default()
        };
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
