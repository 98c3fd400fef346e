// SPDX-License-Identifier: Apache-2.0
//! One producer's connection of a flow: at its share of a rate whatever the answers do, or so many messages in flight.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use ferrocket_protocol::{RemotingCommand, response_code};

use super::super::BenchError;
use super::super::connection::LoadConnection;
use super::super::frames::{Stamp, command_numbers};
use super::super::pace::{Alarm, Pace};
use super::{Load, Shared, Tally};

/// Opaques have ten digits throughout, so that a frame keeps its length.
const OPAQUE_FIRST: i32 = 1_000_000_000;

pub(super) struct Producer {
    connection: LoadConnection,
    id: usize,
    shared: Arc<Shared>,
    open: Option<(Pace, Alarm)>,
    /// When the message in each slot was due; an open load makes slots as it needs them.
    due: Vec<u64>,
    free: Vec<usize>,
    out: BytesMut,
    sent: u64,
    last_sequence: u64,
}

impl Producer {
    pub(super) fn new(connection: LoadConnection, id: usize, shared: Arc<Shared>) -> Result<Self, BenchError> {
        let (open, depth) = match shared.load {
            Load::Open { per_second } => (Some((Pace::new(shared.first_nanos, per_second, id, shared.producers), Alarm::new()?)), 0),
            Load::Closed { depth } => (None, depth),
        };
        let (due, free) = (vec![0; depth], (0..depth).rev().collect());
        Ok(Self { connection, id, shared, open, due, free, out: BytesMut::new(), sent: 0, last_sequence: 0 })
    }

    pub(super) async fn run(mut self) -> Result<Tally, BenchError> {
        let shared = Arc::clone(&self.shared);
        let clock = &shared.clock;
        let mut tally = Tally::new();
        clock.sleep(Duration::from_nanos(shared.first_nanos.saturating_sub(clock.nanos()))).await;
        loop {
            let now = clock.nanos();
            self.stamp_what_is_due(now);
            if !self.out.is_empty() {
                self.connection.write(&self.out).await?;
                self.out.clear();
            }
            let next = self.open.as_ref().map(|(pace, _)| pace.next_nanos()).filter(|next| *next < shared.end_nanos);
            if self.free.len() == self.due.len() && next.is_none() && (self.open.is_some() || now >= shared.end_nanos) {
                return Ok(tally);
            }
            match (next, &self.open) {
                (Some(next), Some((_, alarm))) => {
                    alarm.set(next.saturating_sub(clock.nanos()))?;
                    tokio::select! {
                        read = self.connection.read() => read?,
                        rung = alarm.rung() => rung?,
                    }
                }
                _ => self.connection.read().await?,
            }
            let now = clock.nanos();
            let before = tally.all;
            while let Some(frame) = self.connection.next_frame()? {
                self.take(&frame, now, &mut tally)?;
            }
            shared.progress.fetch_add(tally.all - before, Ordering::Relaxed);
        }
    }

    fn stamp_what_is_due(&mut self, now: u64) {
        let born_millis = self.shared.clock.now_millis();
        let end_nanos = self.shared.end_nanos;
        if self.open.is_none() && now < end_nanos {
            while let Some(slot) = self.free.pop() {
                self.stamp(slot, now, born_millis);
            }
        }
        while let Some((pace, _)) = &mut self.open
            && pace.next_nanos() < end_nanos
            && let Some(due) = pace.take(now)
        {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.due.push(0);
                self.due.len() - 1
            });
            self.stamp(slot, due, born_millis);
        }
    }

    /// The messages go through all topics, and from round to round through their queues.
    fn stamp(&mut self, slot: usize, due_nanos: u64, born_millis: i64) {
        let shared = &self.shared;
        self.due[slot] = due_nanos;
        // The sequence says when the message was due; two of one moment differ by a nanosecond.
        self.last_sequence = due_nanos.max(self.last_sequence + 1);
        let number = self.id as u64 + self.sent * shared.producers as u64;
        let topic = (number % u64::from(shared.topics)) as u32;
        let queue = (number / u64::from(shared.topics) % u64::from(shared.queues)) as u32;
        let stamp = Stamp { topic, connection: self.id as u32, sequence: self.last_sequence, born_millis };
        shared.template.stamp(&mut self.out, queue, OPAQUE_FIRST + slot as i32, &stamp);
        self.sent += 1;
    }

    fn take(&mut self, frame: &bytes::Bytes, now: u64, tally: &mut Tally) -> Result<(), BenchError> {
        let decode = || RemotingCommand::decode(frame.clone()).map_err(|error| BenchError::Decode { what: "send answer", error });
        let (code, opaque) = match command_numbers(frame) {
            Some(numbers) => numbers,
            None => decode().map(|response| (response.code, response.opaque))?,
        };
        let slot = opaque.wrapping_sub(OPAQUE_FIRST) as usize;
        let due = *self.due.get(slot).ok_or_else(|| BenchError::NotProven(format!("an answer to opaque {opaque}")))?;
        self.free.push(slot);
        match code {
            response_code::SUCCESS => tally.count(due, now, &self.shared),
            // Flow control is counted and lived with; anything else ends the run.
            response_code::SYSTEM_BUSY => tally.refused += 1,
            code => {
                let remark = decode()?.remark.as_deref().unwrap_or_default().to_owned();
                return Err(BenchError::Refused { what: "a send", code, remark });
            }
        }
        Ok(())
    }
}
