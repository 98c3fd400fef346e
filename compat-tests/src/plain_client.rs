// SPDX-License-Identifier: Apache-2.0
//! What a client does with one broker or name server, over one connection, without a client library: send, pull everything,
//! ask for offsets. Answers that are no success are errors here.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::dialect;
use crate::record::{self, Record};
use crate::wire::{Connection, Frame};

const TIMEOUT: Duration = Duration::from_secs(15);

const SUCCESS: i32 = 0;
const PULL_NOT_FOUND: i32 = 19;
const PULL_RETRY_IMMEDIATELY: i32 = 20;
const QUERY_NOT_FOUND: i32 = 22;

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub topic: String,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub properties: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Outgoing {
    #[must_use]
    pub fn new(topic: &str, queue_id: i32, body: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.to_owned(), queue_id, body: body.into(), ..Self::default() }
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.properties.push((key, value.into()));
        self
    }

    fn properties_text(&self) -> String {
        self.properties.iter().map(|(key, value)| format!("{key}\u{1}{value}\u{2}")).collect()
    }

    fn header(&self, code: i32, batch: bool) -> Frame {
        Frame::request(code)
            .with("a", "PlainProducer")
            .with("b", &self.topic)
            .with("c", "TBW102")
            .with("d", 4)
            .with("e", self.queue_id)
            .with("f", self.sys_flag)
            .with("g", now_millis())
            .with("h", 0)
            .with("i", if batch { String::new() } else { self.properties_text() })
            .with("j", 0)
            .with("k", false)
            .with("m", batch)
    }

    /// SEND_MESSAGE_V2.
    #[must_use]
    pub fn request(&self) -> Frame {
        self.header(310, false).with_body(self.body.clone())
    }
}

/// SEND_BATCH_MESSAGE of messages for one queue.
#[must_use]
pub fn batch_request(messages: &[Outgoing]) -> Frame {
    let mut body = Vec::new();
    for message in messages {
        record::push_batch_message(&mut body, &message.body, message.properties_text().as_bytes());
    }
    messages[0].header(320, true).with_body(body)
}

pub struct PlainClient {
    pub connection: Connection,
}

impl PlainClient {
    pub fn open(addr: SocketAddr) -> Result<Self> {
        Ok(Self { connection: Connection::open(addr)? })
    }

    pub fn ask(&mut self, request: &Frame) -> Result<Frame> {
        self.connection.call(request, TIMEOUT)
    }

    /// An answer with another code is an error.
    pub fn expect(&mut self, request: &Frame) -> Result<Frame> {
        let answer = self.ask(request)?;
        if answer.code != SUCCESS {
            bail!("request {} was answered {}: {:?}", request.code, answer.code, answer.remark);
        }
        Ok(answer)
    }

    pub fn send(&mut self, message: &Outgoing) -> Result<Frame> {
        self.expect(&message.request()).with_context(|| format!("send to {}", message.topic))
    }

    pub fn create_topic(&mut self, name: &str, queues: i32) -> Result<()> {
        let request = Frame::request(17)
            .with("topic", name)
            .with("defaultTopic", "TBW102")
            .with("readQueueNums", queues)
            .with("writeQueueNums", queues)
            .with("perm", 6)
            .with("topicFilterType", "SINGLE_TAG")
            .with("topicSysFlag", 0)
            .with("order", false);
        self.expect(&request).map(|_| ())
    }

    fn offset(&mut self, code: i32, topic: &str, queue_id: i32) -> Result<i64> {
        self.expect(&Frame::request(code).with("topic", topic).with("queueId", queue_id))?.ext_i64("offset")
    }

    pub fn max_offset(&mut self, topic: &str, queue_id: i32) -> Result<i64> {
        self.offset(30, topic, queue_id)
    }

    pub fn min_offset(&mut self, topic: &str, queue_id: i32) -> Result<i64> {
        self.offset(31, topic, queue_id)
    }

    pub fn search_offset(&mut self, topic: &str, queue_id: i32, timestamp: i64) -> Result<i64> {
        let request = Frame::request(29).with("topic", topic).with("queueId", queue_id).with("timestamp", timestamp);
        self.expect(&request)?.ext_i64("offset")
    }

    /// Everything in a queue from `from` on that matches the subscription.
    pub fn pull_all(&mut self, topic: &str, queue_id: i32, from: i64, subscription: &str) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut offset = from;
        loop {
            let request = Frame::request(11)
                .with("consumerGroup", "PlainConsumer")
                .with("topic", topic)
                .with("queueId", queue_id)
                .with("queueOffset", offset)
                .with("maxMsgNums", 32)
                .with("sysFlag", 4)
                .with("commitOffset", 0)
                .with("suspendTimeoutMillis", 0)
                .with("subscription", subscription)
                .with("subVersion", 0)
                .with("expressionType", "TAG");
            let answer = self.ask(&request)?;
            let next = answer.ext_i64("nextBeginOffset").with_context(|| format!("pull {topic} {queue_id} at {offset}"));
            match answer.code {
                SUCCESS => records.extend(record::decode_all(&answer.body)?),
                // A slave sends whoever finds nothing back to its master.
                PULL_RETRY_IMMEDIATELY if next.as_ref().is_ok_and(|next| *next == offset) => return Ok(records),
                PULL_RETRY_IMMEDIATELY => {}
                PULL_NOT_FOUND => return Ok(records),
                code => bail!("pull {topic} {queue_id} at {offset} was answered {code}: {:?}", answer.remark),
            }
            let next = next?;
            if next <= offset {
                bail!("pull {topic} {queue_id} at {offset} leads to {next}");
            }
            offset = next;
        }
    }

    /// Physical offsets of the messages with a key, in order, none twice.
    pub fn query(&mut self, topic: &str, key: &str, unique: bool) -> Result<Vec<i64>> {
        let mut request = Frame::request(12)
            .with("topic", topic)
            .with("key", key)
            .with("maxNum", 64)
            .with("beginTimestamp", 0)
            .with("endTimestamp", i64::MAX);
        if unique {
            request = request.with("_UNIQUE_KEY_QUERY", true);
        }
        let answer = self.ask(&request)?;
        if answer.code == QUERY_NOT_FOUND {
            return Ok(Vec::new());
        }
        if answer.code != SUCCESS {
            bail!("query {topic} {key} was answered {}: {:?}", answer.code, answer.remark);
        }
        let mut found: Vec<i64> = record::decode_all(&answer.body)?.iter().map(|record| record.physical_offset).collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    pub fn view(&mut self, physical_offset: i64) -> Result<Record> {
        let answer = self.expect(&Frame::request(33).with("offset", physical_offset))?;
        record::decode_all(&answer.body)?.pop().context("an answer without a record")
    }

    pub fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Result<()> {
        let request =
            Frame::request(15).with("consumerGroup", group).with("topic", topic).with("queueId", queue_id).with("commitOffset", offset);
        self.expect(&request).map(|_| ())
    }

    pub fn committed(&mut self, group: &str, topic: &str, queue_id: i32) -> Result<i64> {
        let request = Frame::request(14).with("consumerGroup", group).with("topic", topic).with("queueId", queue_id);
        self.expect(&request)?.ext_i64("offset")
    }

    pub fn create_group(&mut self, group: &str) -> Result<()> {
        self.expect(&Frame::request(200).with_body(format!("{{\"groupName\":\"{group}\"}}"))).map(|_| ())
    }

    /// A JSON body, read in fastjson's dialect.
    pub fn body(&mut self, request: &Frame) -> Result<Value> {
        let answer = self.expect(request)?;
        dialect::parse(std::str::from_utf8(&answer.body)?)
    }

    /// The route of a topic; `None` when the name server has none.
    pub fn route(&mut self, topic: &str) -> Result<Option<Value>> {
        let answer = self.ask(&Frame::request(105).with("topic", topic))?;
        if answer.code == 17 {
            return Ok(None);
        }
        if answer.code != SUCCESS {
            bail!("route of {topic} was answered {}: {:?}", answer.code, answer.remark);
        }
        Ok(Some(dialect::parse(std::str::from_utf8(&answer.body)?)?))
    }
}

/// Asks again until the answer is `Some`, at most so long.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ask()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[must_use]
pub fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
