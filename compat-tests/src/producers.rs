// SPDX-License-Identifier: Apache-2.0
//! Producers that know what was acknowledged to them, while servers are killed under them: each sends to a queue of its own with several
//! requests in flight. What they know is compared with what a server has afterwards: every acknowledged message is at the offset that its
//! answer named, and a queue holds its producer's messages in the order of sending.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::plain_client::{Outgoing, PlainClient};
use crate::wire::{Connection, Next};

/// Written, and not on as many disks as were asked for: such a message may be there or not.
const FLUSH_SLAVE_TIMEOUT: i32 = 12;

/// One for each queue of a topic.
pub struct Producers {
    topic: &'static str,
    each: Vec<Producer>,
}

/// Queue offset -> number of the message, for each acknowledged one.
type Acknowledged = BTreeMap<i64, u64>;

#[derive(Default)]
struct Producer {
    next: u64,
    acknowledged: Acknowledged,
    /// Where the next check may begin, and the last number before it.
    checked_to: i64,
    last_number: Option<u64>,
}

impl Producers {
    #[must_use]
    pub fn new(topic: &'static str, count: usize) -> Self {
        Self { topic, each: (0..count).map(|_| Producer::default()).collect() }
    }

    #[must_use]
    pub fn acknowledged_count(&self) -> usize {
        self.each.iter().map(|producer| producer.acknowledged.len()).sum()
    }

    /// All send with `window` requests in flight each, until after `load` `kill` has ended the server.
    pub fn load(&mut self, addr: SocketAddr, window: usize, load: Duration, kill: impl FnOnce() -> Result<()>) -> Result<()> {
        let stop = AtomicBool::new(false);
        let topic = self.topic;
        std::thread::scope(|scope| -> Result<()> {
            let running: Vec<_> = (0..)
                .zip(&mut self.each)
                .map(|(queue_id, producer)| {
                    let stop = &stop;
                    scope.spawn(move || producer.send(&mut Connection::open(addr)?, topic, queue_id, window, stop))
                })
                .collect();
            std::thread::sleep(load);
            let killed = kill();
            stop.store(true, Ordering::Relaxed);
            for producer in running {
                producer.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??;
            }
            killed
        })
    }

    /// What came since the last check.
    pub fn check(&mut self, addr: SocketAddr) -> Result<()> {
        let mut client = PlainClient::open(addr)?;
        for (queue_id, producer) in (0..).zip(&mut self.each) {
            producer.check(&mut client, self.topic, queue_id).with_context(|| format!("queue {queue_id}"))?;
        }
        Ok(())
    }

    /// At the end everything once more, from the beginning.
    pub fn check_whole(&self, addr: SocketAddr) -> Result<()> {
        let mut client = PlainClient::open(addr)?;
        for (queue_id, producer) in (0..).zip(&self.each) {
            let records = client.pull_all(self.topic, queue_id, 0, "*")?;
            ensure!(
                records.len() as i64 == producer.checked_to,
                "queue {queue_id} has {} of {} records",
                records.len(),
                producer.checked_to
            );
            for (offset, number) in &producer.acknowledged {
                let record = &records[*offset as usize];
                ensure!(number_of(&record.body)? == *number, "queue {queue_id}: offset {offset} no longer holds {number}");
            }
        }
        Ok(())
    }
}

impl Producer {
    /// Until the connection ends. One producer's requests are on one connection, so they are stored in the order of sending.
    fn send(&mut self, connection: &mut Connection, topic: &str, queue_id: i32, window: usize, stop: &AtomicBool) -> Result<()> {
        let mut in_flight: HashMap<i32, u64> = HashMap::new();
        while !stop.load(Ordering::Relaxed) {
            while in_flight.len() < window {
                let number = self.next;
                let message = Outgoing::new(topic, queue_id, format!("{queue_id} {number} {}", "x".repeat(500 + (number % 700) as usize)))
                    .with("UNIQ_KEY", format!("{queue_id}-{number}"));
                let Ok(opaque) = connection.send(&message.request()) else { return Ok(()) };
                self.next += 1;
                in_flight.insert(opaque, number);
            }
            match connection.anything(Duration::from_millis(200))? {
                Next::Frame(answer) => {
                    let number = in_flight.remove(&answer.opaque).context("an answer to nothing")?;
                    if answer.code == FLUSH_SLAVE_TIMEOUT {
                        continue;
                    }
                    ensure!(answer.code == 0, "a send was answered {}: {:?}", answer.code, answer.remark);
                    let twice = self.acknowledged.insert(answer.ext_i64("queueOffset")?, number);
                    ensure!(twice.is_none(), "the queue offset {} was given twice", answer.ext("queueOffset"));
                }
                Next::Nothing => {}
                Next::Closed | Next::Foreign => return Ok(()),
            }
        }
        Ok(())
    }

    fn check(&mut self, client: &mut PlainClient, topic: &str, queue_id: i32) -> Result<()> {
        let records = client.pull_all(topic, queue_id, self.checked_to, "*")?;
        let mut at = self.checked_to;
        for record in &records {
            ensure!(record.queue_offset == at, "a hole at {at}: next is {}", record.queue_offset);
            let number = number_of(&record.body)?;
            ensure!(self.last_number.is_none_or(|last| last < number), "number {number} stands after {:?}", self.last_number);
            if let Some(wanted) = self.acknowledged.get(&at) {
                ensure!(*wanted == number, "offset {at} was acknowledged for {wanted} and holds {number}");
            }
            self.last_number = Some(number);
            at += 1;
        }
        if let Some((last, number)) = self.acknowledged.last_key_value() {
            ensure!(*last < at, "message {number}, acknowledged at {last}, is missing: the queue ends at {at}");
        }
        self.checked_to = at;
        Ok(())
    }
}

fn number_of(body: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(body)?;
    text.split(' ').nth(1).with_context(|| format!("body {text}"))?.parse().context("the number in a body")
}
