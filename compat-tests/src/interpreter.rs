// SPDX-License-Identifier: Apache-2.0
//! What each step of a scenario means: which agent does it, how its result is put in short, and how long the wait may be.
//!
//! Knows agents and one server under test; does not know how either was started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::agent::Agent;
use crate::cluster::ServerUnderTest;
use crate::pattern::{mismatch, short};
use crate::scenario::{Scenario, Step};

const POLL: Duration = Duration::from_millis(150);

/// Steps that the admin API of 5.5.0 does, whichever client the scenario runs on.
const ADMIN_OPS: [&str; 9] =
    ["ready", "topic", "delete_topic", "group", "route", "topic_stats", "progress", "connections", "broker_config"];
/// Steps that may be repeated until they show what is wanted. The others act, and act once.
const QUESTIONS: &[&str] = &[
    "ready",
    "route",
    "topic_stats",
    "progress",
    "connections",
    "received",
    "checks",
    "assigned",
    "queues",
    "max_offset",
    "min_offset",
    "search_offset",
    "earliest_time",
    "view",
    "query",
    "fetch_offset",
    "balanced",
    "committed",
    "offset_for_time",
    "assignment",
    "mqadmin",
    "pull",
    "now",
    "topic_list",
];

pub struct Agents {
    pub by_client: BTreeMap<String, Arc<Agent>>,
}

impl Agents {
    fn get(&self, client: &str) -> Result<&Agent> {
        self.by_client.get(client).map(Arc::as_ref).ok_or_else(|| anyhow!("no agent for {client}"))
    }
}

/// One scenario on one client and one server.
pub struct Cell<'a> {
    pub scenario: &'a Scenario,
    pub client: &'a str,
    pub trace: bool,
    /// How long a step with `see` is repeated while it does not agree, unless it says `within`.
    pub patience: Duration,
    /// Distinguishes this cell's names from those of all others.
    pub number: usize,
    pub agents: &'a Agents,
    pub server: &'a ServerUnderTest,
}

impl Cell<'_> {
    pub async fn run(&self) -> Result<()> {
        let mut kept = BTreeMap::new();
        kept.insert("namesrv".to_owned(), Value::from(self.server.namesrv()));
        kept.insert("broker".to_owned(), Value::from("broker-a"));
        kept.insert("broker_addr".to_owned(), Value::from(self.server.broker_addr()));
        let outcome = async {
            for (index, step) in self.scenario.steps.iter().enumerate() {
                let op = step["do"].as_str().unwrap_or_default();
                let start = Instant::now();
                self.step(op, step, &mut kept).await.map_err(|e| {
                    let by = step.get("by").or_else(|| step.get("as")).map(|b| format!(" {b}")).unwrap_or_default();
                    anyhow!("step {} ({op}{by}): {e:#}", index + 1)
                })?;
                if self.trace {
                    println!(
                        "{} {} {}: {} {op} {} ms",
                        self.server.name(),
                        self.scenario.name,
                        self.client,
                        index + 1,
                        start.elapsed().as_millis()
                    );
                }
            }
            Ok(())
        }
        .await;
        for agent in self.agents.by_client.values() {
            agent.call("close_all", &json!({"prefix": self.prefix()})).await?.map_err(|e| anyhow!("closing: {}", short(&e)))?;
        }
        outcome
    }

    fn prefix(&self) -> String {
        format!("c{}-", self.number)
    }

    async fn step(&self, op: &str, step: &Step, kept: &mut BTreeMap<String, Value>) -> Result<()> {
        let mut args = Map::new();
        for (key, value) in step {
            if !["do", "see", "fails", "keep", "within", "stays", "on"].contains(&key.as_str()) {
                args.insert(key.clone(), self.fill(value, kept)?);
            }
        }
        let see = step.get("see").map(|see| self.fill(see, kept)).transpose()?;
        let fails = step.get("fails").map(|fails| self.fill(fails, kept)).transpose()?;
        let patience = step.get("within").and_then(Value::as_f64).map_or(self.patience, Duration::from_secs_f64);
        let stays = step.get("stays").and_then(Value::as_f64).map(Duration::from_secs_f64);
        let repeatable = QUESTIONS.contains(&op) && (see.is_some() || fails.is_some());
        let on = step.get("on").and_then(Value::as_str);

        let start = Instant::now();
        let mut agreed_since = None;
        loop {
            let result = self.perform(op, &args, on).await?;
            let (why, value) = match (&fails, result) {
                (None, Err(error)) => (Some(format!("failed: {}", short(&error))), Value::Null),
                (Some(_), Ok(value)) => (Some(format!("expected a failure, got {}", short(&value))), Value::Null),
                (Some(fails), Err(error)) => (mismatch(fails, &error, "error")?, error),
                (None, Ok(value)) => {
                    let value = in_short(op, &args, value);
                    (see.as_ref().map_or(Ok(None), |see| mismatch(see, &value, ""))?, value)
                }
            };
            match (why, stays) {
                (None, Some(stays)) => {
                    let since = *agreed_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= stays {
                        return keep(step, &value, kept);
                    }
                }
                (None, None) => return keep(step, &value, kept),
                (Some(why), _) => {
                    if agreed_since.is_some() {
                        bail!("did not stay so: {why}");
                    }
                    if !repeatable {
                        // A send step counts what was refused; the counts alone do not say why.
                        match value.get("errors").and_then(Value::as_array) {
                            Some(errors) if !errors.is_empty() => bail!("{why}; errors: {}", short(&value["errors"])),
                            _ => bail!("{why}"),
                        }
                    }
                    if start.elapsed() > patience {
                        bail!("{why} (after {} s)", patience.as_secs());
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn perform(&self, op: &str, args: &Map<String, Value>, on: Option<&str>) -> Result<Result<Value, Value>> {
        let mut args = args.clone();
        match op {
            "restart" | "stop_server" | "start_server" => {
                let kill = args.get("how").and_then(Value::as_str) == Some("kill");
                if op != "start_server" {
                    self.server.stop(kill).await?;
                }
                if op != "stop_server" {
                    self.server.start_again().await?;
                    self.await_ready().await?;
                }
                return Ok(Ok(Value::Null));
            }
            // The server's own first write of a table may come only some seconds after its start.
            "server_age" => {
                let wanted = Duration::from_secs(args.get("seconds").and_then(Value::as_u64).unwrap_or(0));
                tokio::time::sleep(wanted.saturating_sub(self.server.age().await)).await;
                return Ok(Ok(Value::Null));
            }
            "now" => {
                let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
                return Ok(Ok(Value::from(u64::try_from(millis)?)));
            }
            _ => {}
        }
        args.entry("namesrv").or_insert_with(|| Value::from(self.server.namesrv()));
        if let Some(Value::String(name)) = args.get("as") {
            args.insert("as".into(), Value::from(format!("{}{name}", self.prefix())));
        }
        let client = self.agent_for(op, on);
        let agent = self.agents.get(&client)?;
        if op == "mqadmin" {
            let line = args.get("run").and_then(Value::as_str).ok_or_else(|| anyhow!("mqadmin wants `run`"))?;
            let mut words = split_words(line)?;
            words.push("-n".into());
            words.push(self.server.namesrv());
            args.insert("args".into(), json!(words));
        }
        if ["send", "request"].contains(&op) {
            args.insert("messages".into(), messages(&args)?);
        }
        match args.get("by").cloned() {
            Some(Value::String(name)) => {
                args.insert("by".into(), Value::from(format!("{}{name}", self.prefix())));
                let result = agent.call(op, &Value::Object(args)).await?;
                Ok(result.map(|value| if ["received", "checks"].contains(&op) { label(value, &name) } else { value }))
            }
            Some(Value::Array(names)) => {
                let mut all = Vec::new();
                for name in names {
                    let name = name.as_str().unwrap_or_default().to_owned();
                    args.insert("by".into(), Value::from(format!("{}{name}", self.prefix())));
                    match agent.call(op, &Value::Object(args.clone())).await? {
                        Ok(value) => all.extend(label(value, &name).as_array().cloned().unwrap_or_default()),
                        Err(error) => return Ok(Err(error)),
                    }
                }
                Ok(Ok(Value::Array(all)))
            }
            _ => agent.call(op, &Value::Object(args)).await,
        }
    }

    fn agent_for(&self, op: &str, on: Option<&str>) -> String {
        let is_tool = self.client.starts_with("mqadmin");
        if ADMIN_OPS.contains(&op) {
            "mqadmin-5.5.0".into()
        } else if op == "mqadmin" {
            on.unwrap_or(if is_tool { self.client } else { "mqadmin-5.5.0" }).into()
        } else {
            on.unwrap_or(if is_tool { "java-5.5.0" } else { self.client }).into()
        }
    }

    async fn await_ready(&self) -> Result<()> {
        await_ready(self.agents, self.server).await
    }

    /// `{name}` in any text is what an earlier step kept under that name (`{n+3}`, `{n-1}` for numbers); any other name becomes
    /// one that no other cell uses. A text that is nothing else keeps the kept value's type.
    fn fill(&self, value: &Value, kept: &BTreeMap<String, Value>) -> Result<Value> {
        Ok(match value {
            Value::String(text) => {
                if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'))
                    && !name.contains(['{', '}'])
                    && name.starts_with(|c: char| c.is_ascii_lowercase())
                {
                    return self.named(name, kept);
                }
                let mut out = String::new();
                let mut rest = text.as_str();
                while let Some(open) = rest.find('{') {
                    // A brace that opens no name (as in a regular expression) is only a brace.
                    if !rest[open + 1..].starts_with(|c: char| c.is_ascii_lowercase()) {
                        out.push_str(&rest[..=open]);
                        rest = &rest[open + 1..];
                        continue;
                    }
                    let Some(close) = rest[open..].find('}') else { bail!("unclosed {{ in {text:?}") };
                    out.push_str(&rest[..open]);
                    match self.named(&rest[open + 1..open + close], kept)? {
                        Value::String(text) => out.push_str(&text),
                        other => out.push_str(&other.to_string()),
                    }
                    rest = &rest[open + close + 1..];
                }
                out.push_str(rest);
                Value::String(out)
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.fill(item, kept)).collect::<Result<_>>()?),
            Value::Object(fields) => {
                let mut out = Map::new();
                for (key, item) in fields {
                    let key = match self.fill(&Value::String(key.clone()), kept)? {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    out.insert(key, self.fill(item, kept)?);
                }
                Value::Object(out)
            }
            other => other.clone(),
        })
    }

    fn named(&self, name: &str, kept: &BTreeMap<String, Value>) -> Result<Value> {
        if let Some(value) = kept.get(name) {
            return Ok(value.clone());
        }
        if let Some(at) = name.find(['+', '-']) {
            let (base, by) = (kept.get(&name[..at]).and_then(Value::as_i64), name[at..].parse::<i64>());
            let (Some(base), Ok(by)) = (base, by) else { bail!("{{{name}}} is no sum of a kept number") };
            return Ok(Value::from(base + by));
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            bail!("{{{name}}} is no name");
        }
        Ok(Value::from(format!("{name}-{}{}", self.prefix(), &self.scenario.hash[..4])))
    }
}

/// Waits until the server's broker is in the route of TBW102: "boot success" comes before that.
pub async fn await_ready(agents: &Agents, server: &ServerUnderTest) -> Result<()> {
    let start = Instant::now();
    let admin = agents.get("mqadmin-5.5.0")?;
    let mut last = Value::Null;
    while start.elapsed() < Duration::from_secs(90) {
        match admin.call("ready", &json!({"namesrv": server.namesrv()})).await? {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(value) => last = value,
            Err(error) => last = error,
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("{} never came into the route of TBW102: {}", server.name(), short(&last))
}

fn keep(step: &Step, value: &Value, kept: &mut BTreeMap<String, Value>) -> Result<()> {
    for (name, path) in step.get("keep").and_then(Value::as_object).into_iter().flatten() {
        let pointer = path.as_str().unwrap_or_default();
        let found = value.pointer(pointer).ok_or_else(|| anyhow!("nothing to keep at {pointer:?} in {}", short(value)))?;
        kept.insert(name.clone(), found.clone());
    }
    Ok(())
}

fn label(mut list: Value, name: &str) -> Value {
    for item in list.as_array_mut().into_iter().flatten() {
        if let Some(fields) = item.as_object_mut() {
            fields.insert("by".into(), Value::from(name));
        }
    }
    list
}

/// The messages of a `send` or a `request`: `count` copies of the step's own fields, with # as the running number (and `{shard,tags,queue}_of` cycling).
fn messages(args: &Map<String, Value>) -> Result<Value> {
    let mut template = args.clone();
    for own in ["by", "as", "mode", "count", "timeout", "namesrv", "count_from", "shards", "tags_of", "queue_of"] {
        template.remove(own);
    }
    let count = args.get("count").and_then(Value::as_u64).unwrap_or(1);
    let from = args.get("count_from").and_then(Value::as_u64).unwrap_or(0);
    let cycle = |key: &str, index: u64| -> Option<Value> {
        let list = args.get(key)?.as_array()?;
        list.get(usize::try_from(index).ok()? % list.len()).cloned()
    };
    let mut out = Vec::new();
    for index in 0..count {
        let number = from + index;
        let mut message = Map::new();
        for (key, value) in &template {
            message.insert(key.clone(), numbered(value, number));
        }
        if let Some(shards) = args.get("shards").and_then(Value::as_u64) {
            message.insert("shard".into(), Value::from(format!("shard-{}", number % shards)));
        }
        if let Some(tags) = cycle("tags_of", index) {
            message.insert("tags".into(), tags);
        }
        if let Some(queue) = cycle("queue_of", index) {
            message.insert("queue".into(), queue);
        }
        out.push(Value::Object(message));
    }
    Ok(Value::Array(out))
}

fn numbered(value: &Value, number: u64) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('#', &number.to_string())),
        Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), numbered(v, number))).collect()),
        other => other.clone(),
    }
}

/// Long answers in the form that scenarios ask about.
fn in_short(op: &str, args: &Map<String, Value>, value: Value) -> Value {
    match op {
        "send" => sent(&value),
        "received" | "checks" => received(value),
        "pull" => {
            let mut value = value;
            let messages = value.get("messages").cloned().unwrap_or_default();
            if let (Some(fields), Value::Object(about)) = (value.as_object_mut(), received(messages)) {
                for (key, item) in about {
                    fields.insert(key, item);
                }
            }
            value
        }
        "query" => received(value),
        "assigned" | "queues" | "balanced" | "assignment" => {
            let ids = unique(&value, "queue");
            json!({"count": value.as_array().map_or(0, Vec::len), "ids": ids, "list": value})
        }
        "mqadmin" => {
            let mut value = value;
            if let Some(fields) = value.as_object_mut() {
                fields.insert("line".into(), args.get("run").cloned().unwrap_or_default());
            }
            value
        }
        _ => value,
    }
}

fn sent(results: &Value) -> Value {
    let results = results.as_array().cloned().unwrap_or_default();
    let fine: Vec<&Value> = results.iter().filter(|r| r.get("status").and_then(Value::as_str) == Some("SEND_OK")).collect();
    let errors: Vec<Value> = results.iter().filter_map(|r| r.get("error").cloned()).collect();
    let ids: BTreeSet<String> = fine.iter().filter_map(|r| r.get("msgId")).map(Value::to_string).collect();
    let list = Value::Array(results.clone());
    json!({
        "ok": fine.len(),
        "distinct_ids": ids.len(),
        "errors": errors,
        "statuses": unique(&list, "status"),
        "queues": unique(&list, "queue"),
        "offsets": results.iter().filter_map(|r| r.get("offset").cloned()).collect::<Vec<_>>(),
        "first": results.first().cloned().unwrap_or_default(),
        "last": results.last().cloned().unwrap_or_default(),
        "results": list,
    })
}

fn received(list: Value) -> Value {
    let empty = Vec::new();
    let messages = list.as_array().unwrap_or(&empty);
    let texts = |key: &str| -> Vec<Value> { messages.iter().filter_map(|m| m.get(key).cloned()).collect() };
    let mut per_consumer: BTreeMap<String, usize> = BTreeMap::new();
    let mut queue_users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // The last new offset per queue: a message that comes again (a retry) is no disorder, one that comes late is.
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut in_order = true;
    for message in messages {
        let by = message.get("by").and_then(Value::as_str).unwrap_or_default();
        *per_consumer.entry(by.to_owned()).or_default() += 1;
        let queue = format!("{} {}", message["topic"], message["queue"]);
        queue_users.entry(queue.clone()).or_default().insert(by.to_owned());
        let offset = message["offset"].as_i64().unwrap_or(-1);
        let before = last.insert(format!("{queue} {by}"), offset);
        in_order &= before.is_none_or(|before| offset >= before);
    }
    let distinct: BTreeSet<String> = texts("body").iter().map(Value::to_string).collect();
    json!({
        "count": messages.len(),
        "bodies": texts("body"),
        "distinct": distinct.len(),
        "taken": messages.iter().filter(|m| m["taken"] == json!(true)).filter_map(|m| m.get("body").cloned()).collect::<Vec<_>>(),
        "tags": unique(&list, "tags"),
        "queues": unique(&list, "queue"),
        "reconsumes": texts("reconsume"),
        "per_consumer": per_consumer,
        "shared_queues": queue_users.values().filter(|users| users.len() > 1).count(),
        "in_order": in_order,
        "latency_last": messages.last().and_then(|m| Some(m["at"].as_i64()? - m["stored"].as_i64()?)),
        "overlap": messages.iter().any(|m| m["overlap"] == json!(true)),
        "batch_max": messages.iter().filter_map(|m| m["batch"].as_u64()).max(),
        "first": messages.first().cloned().unwrap_or_default(),
        "last": messages.last().cloned().unwrap_or_default(),
        "messages": messages,
    })
}

fn unique(list: &Value, key: &str) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for value in list.as_array().into_iter().flatten().filter_map(|item| item.get(key)) {
        if !value.is_null() && !values.contains(value) {
            values.push(value.clone());
        }
    }
    values.sort_by(|a, b| match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.to_string().cmp(&b.to_string()),
    });
    values
}

/// An mqadmin line as a shell would cut it: blanks divide, single or double quotes hold together.
fn split_words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("unclosed quote in {line:?}");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_a_shell_does() {
        assert_eq!(split_words("a  -b 'c d' \"\" e'f'").unwrap(), ["a", "-b", "c d", "", "ef"]);
    }

    #[test]
    fn messages_are_numbered_and_cycle() {
        let args =
            json!({"by": "p", "topic": "t", "body": "m-#", "keys": "k#", "count": 3, "count_from": 5, "shards": 2, "tags_of": ["A", "B"]});
        let made = messages(args.as_object().unwrap()).unwrap();
        assert_eq!(made[0], json!({"topic": "t", "body": "m-5", "keys": "k5", "shard": "shard-1", "tags": "A"}));
        assert_eq!(made[2], json!({"topic": "t", "body": "m-7", "keys": "k7", "shard": "shard-1", "tags": "A"}));
        assert_eq!(made[1]["tags"], "B");
    }

    #[test]
    fn disorder_within_a_queue_is_seen() {
        let message = |queue: u64, offset: u64| json!({"topic": "t", "queue": queue, "offset": offset, "body": "x", "by": "c"});
        assert_eq!(received(json!([message(0, 0), message(1, 0), message(0, 1)]))["in_order"], true);
        assert_eq!(received(json!([message(0, 1), message(0, 0)]))["in_order"], false);
    }
}
