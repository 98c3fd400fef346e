// SPDX-License-Identifier: Apache-2.0
//! One connection of a group at the tail: a pull of each of its queues is always on its way or held.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use ferrocket_protocol::message::decode::records;
use ferrocket_protocol::{RemotingCommand, response_code};

use super::super::connection::LoadConnection;
use super::super::frames::sequence_of;
use super::super::pull_frame::PullFrame;
use super::super::{BenchError, HeaderForm};
use super::{Shared, Tally};

/// The checksum of one in so many bodies is computed again.
const CHECK_EVERY: u64 = 64;

pub(super) struct Consumer {
    connection: LoadConnection,
    header: HeaderForm,
    batch: i32,
    /// The opaque of a queue's pull is its place here.
    queues: Vec<Queue>,
    out: BytesMut,
}

struct Queue {
    next: i64,
    pull: PullFrame,
}

impl Consumer {
    pub(super) fn new(connection: LoadConnection, header: HeaderForm, batch: i32) -> Self {
        Self { connection, header, batch, queues: Vec::new(), out: BytesMut::new() }
    }

    pub(super) fn add(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let opaque = self.queues.len() as i32;
        let pull = PullFrame::new(self.header, opaque, group, topic, queue_id, self.batch);
        self.queues.push(Queue { next: offset, pull });
    }

    /// Asks for every queue once.
    pub(super) async fn attach(&mut self) -> Result<(), BenchError> {
        for queue in &mut self.queues {
            queue.pull.write(&mut self.out, queue.next);
        }
        self.connection.write(&self.out).await?;
        self.out = BytesMut::new();
        Ok(())
    }

    pub(super) async fn run(mut self, shared: Arc<Shared>) -> Result<Tally, BenchError> {
        let mut tally = Tally::new();
        loop {
            match shared.stop.or(self.connection.read()).await {
                None => return Ok(tally),
                Some(read) => read?,
            }
            let now = shared.clock.nanos();
            let before = tally.all;
            while let Some(frame) = self.connection.next_frame()? {
                let response = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what: "pull answer", error })?;
                // What the server says of its own accord is no answer.
                if response.is_response() {
                    self.take(&response, now, &shared, &mut tally)?;
                }
            }
            if !self.out.is_empty() {
                self.connection.write(&self.out).await?;
                self.out.clear();
            }
            if tally.all > before {
                shared.received.fetch_add(tally.all - before, Ordering::AcqRel);
            }
        }
    }

    /// What one pull brought, and the next pull of that queue.
    fn take(&mut self, response: &RemotingCommand, now: u64, shared: &Shared, tally: &mut Tally) -> Result<(), BenchError> {
        let queue = self
            .queues
            .get_mut(response.opaque as usize)
            .ok_or_else(|| BenchError::NotProven(format!("an answer to opaque {}", response.opaque)))?;
        match response.code {
            response_code::SUCCESS => {}
            response_code::PULL_NOT_FOUND | response_code::PULL_RETRY_IMMEDIATELY => {
                queue.pull.write(&mut self.out, queue.next);
                return Ok(());
            }
            code => {
                let remark = response.remark.as_deref().unwrap_or_default().to_owned();
                return Err(BenchError::Refused { what: "a pull", code, remark });
            }
        }
        for message in records(&response.body) {
            let message = message.map_err(|error| BenchError::Decode { what: "pulled message", error })?;
            if message.queue_offset != queue.next {
                let text = format!("{} queue {} gave offset {} at {}", message.topic, message.queue_id, message.queue_offset, queue.next);
                return Err(BenchError::NotProven(text));
            }
            let Some(due_nanos) = sequence_of(message.body) else {
                return Err(BenchError::NotProven(format!("{} queue {}: a foreign message", message.topic, message.queue_id)));
            };
            queue.next += 1;
            tally.count(due_nanos, now, shared);
            if tally.all % CHECK_EVERY == 1 {
                if !message.has_valid_body_crc() {
                    let text = format!("{} queue {} offset {}: checksum", message.topic, message.queue_id, message.queue_offset);
                    return Err(BenchError::NotProven(text));
                }
                tally.checked += 1;
            }
        }
        queue.pull.write(&mut self.out, queue.next);
        Ok(())
    }
}
