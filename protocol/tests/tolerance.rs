// SPDX-License-Identifier: Apache-2.0
//! Headers and bodies against what the original's own parsers make of them: `fixtures/tolerance.tsv`, which
//! `compat-tests/tolerance/Tolerance.java` recorded. What fastjson2 reads (5.x) is read the same; what only fastjson 1.2.83 reads (4.x)
//! is read like that or refused; what neither reads is refused.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::collections::BTreeMap;

use bytes::Bytes;
use ferrocket_protocol::body::{
    CheckClientRequestBody, ConsumerOffsetSerializeWrapper, CreateTopicListRequestBody, HeartbeatData, KvTable, LockBatchRequestBody,
    RegisterBrokerBody, ResetOffsetBody, SubscriptionGroupConfig, SubscriptionGroupList, TopicConfig, TopicConfigSerializeWrapper,
    TopicList,
};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::fastjson::parse::{self, Value};
use ferrocket_protocol::{RemotingCommand, fastjson};
use serde::Serialize;
use serde::de::DeserializeOwned;

const GOLDEN: &str = include_str!("fixtures/tolerance.tsv");

/// What is meant to differ: a part of the input (behind its class), and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("*", "NaN", "the words NaN and undefined are null wherever null may stand"),
    ("*", "undefined", "as NaN"),
    ("*", ":.5", "a decimal without its zero is a number everywhere"),
    ("*", "[.5", "as above"),
    ("*", "12D", "the suffix of a double leaves the number as it is written"),
    ("*", "2024-01-01", "a date is no number: Java's is that of its time zone"),
    ("*", ":-}", "a sign without digits is read as a number everywhere"),
    ("*", ":-,", "as above"),
    ("*", "[-]", "as above"),
    ("HeartbeatData", "isWithoutSub", "both names of 4.x and 5.x are read"),
    ("TopicConfig", "topicFilterType", "an unknown word counts as SINGLE_TAG: null has no place in a registration"),
    ("SubscriptionGroupConfig", "\"consumeEnable\":null", "null keeps the default, also of a boolean"),
    ("SubscriptionGroupConfig", "\"groupRetryPolicy\"", "a policy that is null is the default one; a list of one number needs no brackets"),
    ("LockBatchRequestBody", "\"mqSet\":\"null\"", "the word is null for every list"),
    ("*", ":null", "a value that is null keeps its default; Java stumbles over it later"),
    ("*", ":\"null\"", "as above"),
    ("*", ":\"NULL\"", "as above"),
    ("*", ":\"\"", "as above"),
    ("SubscriptionGroupList", "[\"", "as above"),
    ("HeartbeatData", "\"codeSet\":\"", "text is read as a number alike in and out of a list"),
    ("HeartbeatData", "\"codeSet\":[\"", "empty text is the number zero in a list too"),
    ("HeartbeatData", "\"consumerDataSet\":[\"\"]", "empty text in a list is an empty object"),
    ("*", "1:\"3\",null", "a key may be null"),
    ("RemotingCommand", "~", "what is no UTF-8 stays as it is, where fastjson2 misreads it"),
    ("RemotingCommand", "\\u00zz", "an escape that is none stays as it is, where fastjson2 reads a 3"),
    ("RemotingCommand", "null", "null is no header: fastjson reads it, and the original closes the connection"),
    ("HeartbeatData", "null", "a body that is null is an empty one"),
];

/// What a class was made from, as the original's writer prints it; `None` when it was refused.
fn read(class: &str, input: &[u8]) -> Option<String> {
    fn body<T: DeserializeOwned + Serialize>(input: &[u8]) -> Option<String> {
        fastjson::from_slice::<T>(input).ok().map(|body| fastjson::to_string(&body))
    }
    match class {
        "RemotingCommand" => header(input),
        "HeartbeatData" => body::<HeartbeatData>(input),
        "TopicConfig" => body::<TopicConfig>(input),
        "SubscriptionGroupConfig" => body::<SubscriptionGroupConfig>(input),
        "SubscriptionGroupList" => body::<SubscriptionGroupList>(input),
        "LockBatchRequestBody" => body::<LockBatchRequestBody>(input),
        "ResetOffsetBody" => body::<ResetOffsetBody>(input),
        "TopicConfigSerializeWrapper" => body::<TopicConfigSerializeWrapper>(input),
        "ConsumerOffsetSerializeWrapper" => body::<ConsumerOffsetSerializeWrapper>(input),
        "KVTable" => body::<KvTable>(input),
        "TopicList" => body::<TopicList>(input),
        "CreateTopicListRequestBody" => body::<CreateTopicListRequestBody>(input),
        "CheckClientRequestBody" => body::<CheckClientRequestBody>(input),
        "RegisterBrokerBody" => body::<RegisterBrokerBody>(input),
        "DataVersion" => body::<DataVersion>(input),
        other => panic!("what is {other}?"),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    code: i32,
    ext_fields: Option<BTreeMap<String, String>>,
    flag: i32,
    language: String,
    opaque: i32,
    remark: Option<String>,
    version: i32,
}

fn header(input: &[u8]) -> Option<String> {
    let frame = [&(input.len() as u32).to_be_bytes(), input].concat();
    let command = RemotingCommand::decode(Bytes::from(frame)).ok()?;
    let fields = || {
        let mut fields = BTreeMap::new();
        for (name, value) in command.ext_fields.iter() {
            fields.insert(name.to_string(), value.to_string());
        }
        fields.retain(|name, _| command.ext_fields.contains(name));
        fields
    };
    Some(fastjson::to_string(&Header {
        code: command.code,
        ext_fields: command.ext_fields.is_present().then(fields),
        flag: command.flag,
        language: command.language.name().to_owned(),
        opaque: command.opaque,
        remark: command.remark.as_ref().map(|remark| remark.to_string()),
        version: command.version,
    }))
}

/// In one order, without what says nothing: null, and what is empty. A language that is null counts as OTHER.
fn canonical(text: &str) -> String {
    fn print(value: &Value<'_>) -> String {
        match value {
            Value::List(items) => {
                let mut items: Vec<String> = items.iter().map(print).filter(|item| !item.is_empty()).collect();
                items.sort();
                if items.is_empty() { String::new() } else { format!("[{}]", items.join(",")) }
            }
            Value::Object(members) => {
                let members = members.iter().map(|(key, value)| (print(key), print(value)));
                let mut members: Vec<String> = members
                    .filter(|(key, value)| !value.is_empty() && (key.as_str(), value.as_str()) != ("language", "OTHER"))
                    .map(|(key, value)| format!("{key}:{value}"))
                    .collect();
                members.sort();
                if members.is_empty() { String::new() } else { format!("{{{}}}", members.join(",")) }
            }
            other => other.to_text().unwrap_or_default(),
        }
    }
    print(&parse::parse(text.as_bytes()).unwrap())
}

/// `~HH` is a byte, everything else the text it is.
fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split('~');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

#[test]
fn every_input_reads_as_the_original_reads_it() {
    let mut met = vec![0; EXCEPTIONS.len()];
    let mut wrong = Vec::new();
    for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
        let [class, input, second, first] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("four columns: {line}") };
        let of = |golden: &str| (golden != "error").then(|| if golden == "null" { String::new() } else { canonical(golden) });
        let (second, first) = (of(second), of(if first == "=" { second } else { first }));
        let ours = read(class, &bytes(input)).map(|text| canonical(&text));
        let is_right = match (&second, &first) {
            (Some(_), _) => ours == second,
            (None, Some(_)) => ours.is_none() || ours == first,
            (None, None) => ours.is_none(),
        };
        let exception = EXCEPTIONS.iter().position(|(of, part, _)| [class, "*"].contains(of) && input.contains(part));
        match exception {
            Some(at) if !is_right => met[at] += 1,
            _ if !is_right => wrong.push(format!("{class} {input}\n  is     {ours:?}\n  must be {second:?} or {first:?}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    for (at, (class, part, why)) in EXCEPTIONS.iter().enumerate() {
        assert!(met[at] > 0, "an exception that nothing needs: {class} {part}: {why}");
    }
}
