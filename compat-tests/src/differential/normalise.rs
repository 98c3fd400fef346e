// SPDX-License-Identifier: Apache-2.0
//! Takes out of an answer what differs from run to run (addresses, times, physical offsets, ids that a server makes up) and
//! keeps everything else. Knows nothing of which side answered.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::dialect;
use crate::record::{self, Record};
use crate::wire::Frame;

const CHECK_TRANSACTION_STATE: i32 = 39;
/// Where a half message lies depends on how often the original has moved those before it.
const HALF_OFFSET: &str = "<half offset>";

/// Stands before the class in the remark of an answer that was an exception of the original's.
pub const EXCEPTION: &str = "<exception>";

/// What is volatile in this run.
#[derive(Debug, Default)]
pub struct Volatile {
    /// Text to replace, by what; longer texts first.
    pub names: Vec<(String, String)>,
    /// The ports, as values of keys that end with `Port`.
    pub ports: Vec<(String, String)>,
    /// Hex of the broker's address as it stands in an offset id.
    pub id_prefix: String,
    /// Times in milliseconds between these are "now".
    pub time_from: i64,
    pub time_to: i64,
}

/// How a body is to be read, from the step's flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Only the names of members and the kinds of values count.
    pub shape: bool,
    /// The body is `key=value` lines.
    pub properties: bool,
    /// The order of arrays counts.
    pub ordered: bool,
}

impl Volatile {
    #[must_use]
    pub fn answer(&self, frame: &Frame, view: View) -> Value {
        let mut out = Map::new();
        out.insert("code".to_owned(), json!(frame.code));
        out.insert("flag".to_owned(), json!(frame.flag));
        out.insert("language".to_owned(), json!(frame.language));
        out.insert("version".to_owned(), json!(frame.version));
        out.insert("serialize".to_owned(), json!(if frame.binary { "ROCKETMQ" } else { "JSON" }));
        if let Some(remark) = &frame.remark {
            out.insert("remark".to_owned(), json!(self.remark(remark)));
        }
        if let Some(ext) = &frame.ext {
            let fields: Map<String, Value> = ext.iter().map(|(key, value)| (key.clone(), self.ext_value(frame.code, key, value))).collect();
            out.insert("ext".to_owned(), Value::Object(fields));
        }
        if !frame.body.is_empty() {
            let mut body = self.body(&frame.body, view);
            if frame.code == CHECK_TRANSACTION_STATE {
                for record in body["records"].as_array_mut().into_iter().flatten() {
                    record["queueOffset"] = json!(HALF_OFFSET);
                }
            }
            out.insert("body".to_owned(), body);
        }
        Value::Object(out)
    }

    /// A Java exception names its class and the line that threw it: nobody else can answer that.
    fn remark(&self, remark: &str) -> String {
        let class = remark.split([':', ',', ' ']).next().unwrap_or("");
        let package = ["java.", "org.apache.", "com.alibaba."].iter().any(|package| class.starts_with(package));
        let text = self.text(remark);
        if (package && class.ends_with("Exception")) || remark.starts_with("Cannot invoke ") { format!("{EXCEPTION} {text}") } else { text }
    }

    /// A table that a server wrote.
    pub fn file(&self, text: &str) -> Result<Value> {
        Ok(json!({ "json": self.json(dialect::parse(text)?, false) }))
    }

    /// A physical offset depends on everything stored before it, so it never counts.
    fn ext_value(&self, code: i32, key: &str, value: &str) -> Value {
        if matches!(code, 0 | CHECK_TRANSACTION_STATE) && matches!(key, "indexLastUpdatePhyoffset" | "commitLogOffset") {
            return json!("<physical>");
        }
        if code == CHECK_TRANSACTION_STATE && key == "tranStateTableOffset" {
            return json!(HALF_OFFSET);
        }
        if key == "properties" {
            return self.properties_text(value);
        }
        json!(self.text(value))
    }

    fn body(&self, bytes: &[u8], view: View) -> Value {
        if let Ok(records) = record::decode_all(bytes) {
            return json!({ "records": records.iter().map(|record| self.record(record)).collect::<Vec<_>>() });
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() });
        };
        if view.properties {
            let lines: Map<String, Value> = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| {
                    let port = self.ports.iter().find(|(port, _)| port == value).filter(|_| key.ends_with("Port"));
                    (key.to_owned(), json!(port.map_or_else(|| self.text(value), |(_, name)| name.clone())))
                })
                .collect();
            return json!({ "properties": lines });
        }
        match dialect::parse(text) {
            Ok(value) if view.shape => json!({ "shape": self.json(shape(&value), view.ordered) }),
            Ok(value) => json!({ "json": self.json(value, view.ordered) }),
            Err(_) => json!({ "text": self.text(text) }),
        }
    }

    fn json(&self, value: Value, ordered: bool) -> Value {
        match value {
            Value::String(text) => json!(self.text(&text)),
            Value::Number(number) => match number.as_i64() {
                Some(time) if self.is_time(time) => json!("<time>"),
                _ => Value::Number(number),
            },
            Value::Array(items) => {
                let mut items: Vec<Value> = items.into_iter().map(|item| self.json(item, ordered)).collect();
                if !ordered {
                    // Most lists are sets in the original, in the order of their hashes.
                    items.sort_by_key(Value::to_string);
                }
                Value::Array(items)
            }
            Value::Object(members) => {
                Value::Object(members.into_iter().map(|(key, value)| (self.text(&key), self.json(value, ordered))).collect())
            }
            other => other,
        }
    }

    fn record(&self, record: &Record) -> Value {
        json!({
            "magic": format!("{:08x}", record.magic),
            "recordBytes": record.record_bytes - self.made_up_bytes(record),
            "bodyCrc": record.body_crc,
            "queueId": record.queue_id,
            "flag": record.flag,
            "queueOffset": record.queue_offset,
            "sysFlag": record.sys_flag,
            "bornTimestamp": self.time(record.born_timestamp),
            "bornHost": self.text(&record.born_host.to_string()),
            "storeTimestamp": self.time(record.store_timestamp),
            "storeHost": self.text(&record.store_host.to_string()),
            "reconsumeTimes": record.reconsume_times,
            "preparedTransactionOffset": if record.prepared_transaction_offset == 0 { json!(0) } else { json!("<physical>") },
            "body": self.short(&String::from_utf8_lossy(&record.body)),
            "topic": record.topic,
            "properties": self.properties_text(&record.properties),
        })
    }

    /// A unique key that the server makes up is longer where its host's first address is IPv6; a half message has it twice.
    fn made_up_bytes(&self, record: &Record) -> usize {
        let made_up = |name| record.property(name).filter(|key| self.word(key) == "<unique id>").map_or(0, str::len);
        made_up("UNIQ_KEY") + made_up("__transactionId__")
    }

    /// Properties as a map: nobody reads their order. Their length is part of the record's.
    fn properties_text(&self, text: &str) -> Value {
        let mut out = Map::new();
        for pair in text.split('\u{2}').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('\u{1}').unwrap_or((pair, "<no separator>"));
            let value = if out.contains_key(key) { format!("<twice> {value}") } else { value.to_owned() };
            out.insert(key.to_owned(), json!(self.short(&self.text(&value))));
        }
        Value::Object(out)
    }

    fn short(&self, text: &str) -> String {
        let text = self.text(text);
        let count = text.chars().count();
        if count <= 200 { text } else { format!("{}... {count} characters", text.chars().take(40).collect::<String>()) }
    }

    fn is_time(&self, value: i64) -> bool {
        (self.time_from..=self.time_to).contains(&value)
    }

    fn time(&self, value: i64) -> Value {
        if self.is_time(value) { json!("<time>") } else { json!(value) }
    }

    /// Names, then words: an offset id, another 32-digit id, a time.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut named = text.to_owned();
        for (from, to) in &self.names {
            named = named.replace(from, to);
        }
        let mut out = String::new();
        let mut word = String::new();
        for c in named.chars().chain(['\0']) {
            if c.is_ascii_alphanumeric() {
                word.push(c);
                continue;
            }
            out.push_str(&self.word(&word));
            word.clear();
            out.push(c);
        }
        out.pop();
        out
    }

    fn word(&self, word: &str) -> String {
        let upper_hex = matches!(word.len(), 32 | 56) && word.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c));
        if upper_hex && word.starts_with(&self.id_prefix) {
            return if word.len() == 32 { "<offset id>".to_owned() } else { "<offset id of 56 digits>".to_owned() };
        }
        if upper_hex {
            return "<unique id>".to_owned();
        }
        if word.len() == 13 && word.parse().is_ok_and(|time| self.is_time(time)) {
            return "<time>".to_owned();
        }
        word.to_owned()
    }
}

fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(items) => json!(items.first().map(shape).into_iter().collect::<Vec<_>>()),
        Value::Object(members) => Value::Object(members.iter().map(|(key, value)| (key.clone(), shape(value))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volatile_words_are_named_and_the_rest_stays() {
        let volatile = Volatile {
            names: vec![("127.0.0.1:10911".to_owned(), "<broker>".to_owned())],
            ports: Vec::new(),
            id_prefix: "7F00000100002A9F".to_owned(),
            time_from: 1_700_000_000_000,
            time_to: 1_800_000_000_000,
        };
        assert_eq!(
            volatile.text("at 127.0.0.1:10911, id 7F00000100002A9F0000000000000000, now 1750000000000 not 1850000000000"),
            "at <broker>, id <offset id>, now <time> not 1850000000000"
        );
    }
}
