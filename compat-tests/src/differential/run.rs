// SPDX-License-Identifier: Apache-2.0
//! Holds the conversations of one family with one make of server on a fresh store and returns its normalised answers.
//! Knows nothing of the other side's answers.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::compare::Answers;
use super::normalise::{View, Volatile};
use super::script::{Family, Scenario, Spec, Step, Verb, unescape};
use crate::plain_client::{PlainClient, eventually};
use crate::record;
use crate::servers::{self, BrokerSettings, Make};
use crate::wire::{Connection, Frame, Next};

/// A held pull may take its 15 s; everything else answers at once, on a cold JVM within seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broken frame may take to end its connection.
const RAW_TIMEOUT: Duration = Duration::from_millis(1500);
/// What needs a background task (index, registration) has this long.
const UNTIL_TIMEOUT: Duration = Duration::from_secs(15);
/// Both sides of "now": a delay of two hours and a clock that was read a moment ago.
const NOW_MILLIS: i64 = 3 * 3600 * 1000;

/// Codes that store a message.
const STORING: [i32; 6] = [10, 310, 320, 36, 37, 323];

const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// `broker_make` differs from `make` only to look at a name server alone.
pub fn run(family: &Family, make: &Make, broker_make: &Make, home: &Path) -> Result<Answers> {
    let namesrv_port = servers::free_port()?;
    let broker_port = servers::free_port()?;
    let namesrv = servers::start_namesrv(make, &home.join("namesrv"), namesrv_port, &family.namesrv_lines)?;
    let broker = servers::start_broker(
        broker_make,
        &home.join("broker"),
        &BrokerSettings { name: "broker-a", port: broker_port, namesrv: Some(namesrv.addr.to_string()), lines: &family.broker_lines },
    )?;
    wait_registered(namesrv.addr)?;
    let mut talk = Talk::new(namesrv.addr, broker.addr, home);
    talk.dispatches_later = *broker_make != Make::Ferrocket;
    let mut answers = Answers::new();
    for scenario in &family.scenarios {
        let steps = talk.hold(scenario).with_context(|| {
            format!("{}, {}/{}\nbroker:\n{}\nname server:\n{}", make.name(), family.name, scenario.name, broker.tail(), namesrv.tail())
        })?;
        answers.insert(scenario.name.clone(), steps);
    }
    broker.kill()?;
    namesrv.kill()?;
    Ok(answers)
}

/// "Boot success" comes before the broker is in the route.
fn wait_registered(namesrv: SocketAddr) -> Result<()> {
    let mut connection = Connection::open(namesrv)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if connection.call(&Frame::request(105).with("topic", "BenchmarkTest"), ANSWER_TIMEOUT)?.code == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the broker did not register within 30 s")
}

struct Talk {
    namesrv: SocketAddr,
    broker: SocketAddr,
    home: String,
    connections: HashMap<String, Connection>,
    /// Raw answers by label, for substitutions.
    given: HashMap<String, Frame>,
    held: HashMap<String, (String, i32, View)>,
    last_server_request: Option<(String, i32)>,
    addresses: Vec<(String, String)>,
    /// The original makes a stored message readable only a moment after its answer.
    dispatches_later: bool,
    has_stored: bool,
}

impl Talk {
    fn new(namesrv: SocketAddr, broker: SocketAddr, home: &Path) -> Self {
        let port = broker.port();
        let addresses = vec![
            (broker.to_string(), "<broker>".to_owned()),
            (format!("127.0.0.1:{}", port - 2), "<vip>".to_owned()),
            (format!("127.0.0.1:{}", port + 1), "<ha>".to_owned()),
            (namesrv.to_string(), "<namesrv>".to_owned()),
            (home.display().to_string(), "<home>".to_owned()),
        ];
        Self {
            namesrv,
            broker,
            home: home.display().to_string(),
            connections: HashMap::new(),
            given: HashMap::new(),
            held: HashMap::new(),
            last_server_request: None,
            addresses,
            dispatches_later: false,
            has_stored: false,
        }
    }

    fn hold(&mut self, scenario: &Scenario) -> Result<BTreeMap<String, Value>> {
        self.connections.clear();
        self.given.clear();
        self.held.clear();
        let mut answers = BTreeMap::new();
        for step in &scenario.steps {
            let answer = self.step(step).with_context(|| format!("line {}: {}", step.line, step.label))?;
            if let Some(answer) = answer {
                answers.insert(step.label.clone(), answer);
            }
        }
        Ok(answers)
    }

    fn step(&mut self, step: &Step) -> Result<Option<Value>> {
        let name = step.connection.as_str();
        match &step.verb {
            Verb::Ask(spec) | Verb::Oneway(spec) if STORING.contains(&spec.code) => self.has_stored = true,
            _ => self.settle()?,
        }
        Ok(match &step.verb {
            Verb::Ask(spec) => {
                let frame = self.frame(spec)?;
                let view = view(spec);
                let connection = self.connection(name)?;
                let opaque = connection.send(&frame)?;
                let next = connection.answer(opaque, ANSWER_TIMEOUT)?;
                Some(self.answer(step, next, view))
            }
            Verb::Until(code, spec) => {
                let deadline = Instant::now() + UNTIL_TIMEOUT;
                loop {
                    let frame = self.frame(spec)?;
                    let connection = self.connection(name)?;
                    let opaque = connection.send(&frame)?;
                    let next = connection.answer(opaque, ANSWER_TIMEOUT)?;
                    let done = matches!(&next, Next::Frame(frame) if frame.code == *code) || Instant::now() > deadline;
                    if done {
                        break Some(self.answer(step, next, view(spec)));
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Verb::Async(spec) => {
                let frame = self.frame(spec)?;
                let opaque = self.connection(name)?.send(&frame)?;
                self.held.insert(step.label.clone(), (name.to_owned(), opaque, view(spec)));
                None
            }
            Verb::Oneway(spec) => {
                let frame = Frame { flag: 2, ..self.frame(spec)? };
                self.connection(name)?.send(&frame)?;
                None
            }
            Verb::Await(label) => {
                let (name, opaque, view) = self.held.remove(label).with_context(|| format!("no async request {label}"))?;
                let next = self.connection(&name)?.answer(opaque, ANSWER_TIMEOUT * 2)?;
                Some(self.answer(step, next, view))
            }
            Verb::Expect { code, millis } => {
                let next = self.connection(name)?.server_request(*code, Duration::from_millis(*millis))?;
                if let Next::Frame(frame) = &next {
                    self.last_server_request = Some((name.to_owned(), frame.opaque));
                }
                Some(self.answer(step, next, View::default()))
            }
            Verb::Reply(spec) => {
                let (name, opaque) = self.last_server_request.take().context("no request of the server to reply to")?;
                let frame = Frame { flag: 1, opaque, ..self.frame(spec)? };
                self.connection(&name)?.write_raw(&frame.encode())?;
                None
            }
            Verb::Nothing(millis) => {
                let next = self.connection(name)?.anything(Duration::from_millis(*millis))?;
                Some(self.answer(step, next, View::default()))
            }
            Verb::Raw(text) => {
                let bytes = raw_bytes(&self.substitute(text)?)?;
                let connection = self.connection(name)?;
                connection.write_raw(&bytes)?;
                let next = connection.anything(RAW_TIMEOUT)?;
                Some(self.answer(step, next, View::default()))
            }
            Verb::File(name) => {
                let path = Path::new(&self.home).join("broker/store/config").join(name);
                let text = eventually(&format!("{name} is written"), UNTIL_TIMEOUT, || Ok(std::fs::read_to_string(&path).ok()))?;
                Some(self.volatile().file(&text)?)
            }
            Verb::Sleep(millis) => {
                std::thread::sleep(Duration::from_millis(*millis));
                None
            }
            Verb::Close => {
                self.connections.remove(name);
                None
            }
        })
    }

    /// Waits until the original has dispatched what it stored.
    fn settle(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.has_stored) || !self.dispatches_later {
            return Ok(());
        }
        let mut client = PlainClient::open(self.broker)?;
        eventually("everything stored is dispatched", UNTIL_TIMEOUT, || {
            // The original fails on this one now and then, when its statistics are empty.
            let answer = client.ask(&Frame::request(28))?;
            let text = String::from_utf8_lossy(&answer.body);
            Ok(text.contains("\"dispatchBehindBytes\":\"0\"").then_some(()))
        })?;
        // The queue's own entry follows the position by an instant.
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    fn answer(&mut self, step: &Step, next: Next, view: View) -> Value {
        match next {
            Next::Closed => {
                // The next request opens a new one.
                if matches!(step.verb, Verb::Ask(_)) {
                    self.connections.remove(&step.connection);
                }
                json!({ "closed": true })
            }
            Next::Nothing => json!({ "nothing": true }),
            Next::Foreign => json!({ "foreign": true }),
            Next::Frame(frame) => {
                let answer = self.volatile().answer(&frame, view);
                self.given.insert(step.label.clone(), frame);
                answer
            }
        }
    }

    fn volatile(&self) -> Volatile {
        let mut names = self.addresses.clone();
        // Stable: of two equal ones the newest stays first.
        names.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        let now = now_millis();
        Volatile {
            names,
            ports: vec![
                (self.broker.port().to_string(), "<broker port>".to_owned()),
                ((self.broker.port() + 1).to_string(), "<ha port>".to_owned()),
                (self.namesrv.port().to_string(), "<namesrv port>".to_owned()),
            ],
            id_prefix: format!("7F000001{:08X}", self.broker.port()),
            time_from: now - NOW_MILLIS,
            time_to: now + NOW_MILLIS,
        }
    }

    /// Connections open at their first use: `b` the broker, `v` its VIP port, `n` the name server.
    fn connection(&mut self, name: &str) -> Result<&mut Connection> {
        if !self.connections.contains_key(name) {
            let addr = match name.as_bytes()[0] {
                b'n' => self.namesrv,
                b'v' => servers::loopback(self.broker.port() - 2),
                _ => self.broker,
            };
            let connection = Connection::open(addr)?;
            // Records of an earlier scenario may still name its connections; a port that comes again means the newest.
            self.addresses.insert(0, (connection.local_addr()?.to_string(), format!("<client {name}>")));
            self.connections.insert(name.to_owned(), connection);
        }
        self.connections.get_mut(name).context("the connection was opened a moment ago")
    }

    fn frame(&self, spec: &Spec) -> Result<Frame> {
        let mut frame = Frame::request(spec.code);
        frame.binary = spec.has("binary");
        if let Some(version) = spec.flag_value("version") {
            frame.version = version.parse()?;
        }
        if let Some(language) = spec.flag_value("language") {
            language.clone_into(&mut frame.language);
        }
        if let Some(remark) = spec.flag_value("remark") {
            frame.remark = Some(remark.to_owned());
        }
        if spec.has("noext") {
            frame.ext = None;
        }
        for (key, value) in &spec.fields {
            frame = frame.with(key, self.substitute(value)?);
        }
        if let Some(body) = &spec.body {
            frame.body = self.body(body)?;
        }
        Ok(frame)
    }

    fn body(&self, text: &str) -> Result<Vec<u8>> {
        let text = self.substitute(text)?;
        if let Some(hex) = text.strip_prefix("hex:") {
            return raw_bytes(hex);
        }
        if let Some(list) = text.strip_prefix("batch:") {
            let mut out = Vec::new();
            for message in list.split(";;") {
                let (body, properties) = message.trim().split_once('|').unwrap_or((message.trim(), ""));
                record::push_batch_message(&mut out, unescape(body)?.as_bytes(), unescape(properties)?.as_bytes());
            }
            return Ok(out);
        }
        if let Some(text) = text.strip_prefix("escaped:") {
            return Ok(unescape(text)?.into_bytes());
        }
        Ok(text.into_bytes())
    }

    /// Replaces each `${...}`; its words stand in the README of the conversation files.
    fn substitute(&self, text: &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((head, tail)) = rest.split_once("${") {
            let (name, tail) = tail.split_once('}').with_context(|| format!("no }} in {text}"))?;
            out.push_str(head);
            out.push_str(&self.variable(name)?);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn variable(&self, name: &str) -> Result<String> {
        if let Some(rest) = name.strip_prefix("now") {
            let delta: i64 = if rest.is_empty() { 0 } else { rest.parse()? };
            return Ok((now_millis() + delta).to_string());
        }
        if let Some(rest) = name.strip_prefix("fill:") {
            let (unit, count) = rest.split_once(':').context("fill:UNIT:COUNT")?;
            return Ok(unit.repeat(count.parse()?));
        }
        match name {
            "broker" => return Ok(self.broker.to_string()),
            "vip" => return Ok(format!("127.0.0.1:{}", self.broker.port() - 2)),
            "namesrv" => return Ok(self.namesrv.to_string()),
            "home" => return Ok(self.home.clone()),
            "yesterday" => return Ok((now_millis() - DAY_MILLIS).to_string()),
            _ => {}
        }
        if let Some(client) = name.strip_prefix("client:") {
            let connection = self.connections.get(client).with_context(|| format!("connection {client} is not open"))?;
            return Ok(connection.local_addr()?.to_string());
        }
        let (label, field) = name.split_once('.').with_context(|| format!("unknown variable {name}"))?;
        let frame = self.given.get(label).with_context(|| format!("no answer {label}"))?;
        if field == "physical" {
            return Ok(record::id_offset(frame.ext("msgId"))?.to_string());
        }
        if let Some((index, field)) = field.split_once('.') {
            let records = record::decode_all(&frame.body)?;
            let record = records.get(index.parse::<usize>()?).with_context(|| format!("no record {index} in {label}"))?;
            return Ok(match field {
                "store" => record.store_timestamp.to_string(),
                "physical" => record.physical_offset.to_string(),
                "id" => format!("{}{:016X}", self.volatile().id_prefix, record.physical_offset),
                "uniq" => record.property("UNIQ_KEY").unwrap_or("").to_owned(),
                other => bail!("a record has no field {other}"),
            });
        }
        Ok(frame.ext(field).to_owned())
    }
}

fn view(spec: &Spec) -> View {
    View { shape: spec.has("shape"), properties: spec.has("properties"), ordered: spec.has("ordered") }
}

/// Hex digits and `'text'`, blanks between them.
fn raw_bytes(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('\'') {
            let (quoted, tail) = tail.split_once('\'').context("a quote without end")?;
            out.extend_from_slice(unescape(quoted)?.as_bytes());
            rest = tail.trim_start();
        } else {
            let pair = rest.get(..2).context("an odd count of hex digits")?;
            out.push(u8::from_str_radix(pair, 16).with_context(|| format!("{pair} is not hex"))?);
            rest = rest[2..].trim_start();
        }
    }
    Ok(out)
}

fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
