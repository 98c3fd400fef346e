// SPDX-License-Identifier: Apache-2.0
//! A client whose bytes choose among names that would be paths, in every field of every request that the broker serves; and a log that
//! has such names. Shared by `tests/hostile_names.rs` and the fuzz target of that name.

use std::path::{Component, Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferrocket::processor::routes::ROUTES;
use ferrocket::runtime::ManualClock;
use ferrocket::store::{Crash, Fs, MemoryFs};
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::message::id::parse_offset_id;
use ferrocket_protocol::message::{MessageInner, batch, properties};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code as code, response_code};

use super::{Client, Setup, TestBroker, java_request};

/// Requests of one story: each begins with a broker of its own.
pub const STEPS_MAX: usize = 120;

/// Names that would be paths, or could not be one.
pub fn paths() -> Vec<String> {
    let fixed = ["", ".", "..", "../../escaped", "a/../../escaped", "/escaped", "a/b", "a\\b", "..\\escaped", "C:\\escaped"];
    let control = ["nul\0here", "\u{1}", "line\nbreak", "\u{7f}", "\u{85}"];
    let long = ["n".repeat(256), format!("%RETRY%{}", "n".repeat(249)), "é".repeat(128), "../".repeat(80)];
    fixed.into_iter().chain(control).map(str::to_owned).chain(long).collect()
}

/// Names that a request may bring, some of them the broker's own.
const PLAIN: [&str; 13] = [
    "orders",
    "G",
    "P",
    "%RETRY%G",
    "%DLQ%G",
    "CON",
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "CID_RMQ_SYS_TRANS",
    "TBW102",
    "%RETRY%../../escaped",
];

/// The fields of all requests that are names, the short ones of SEND_MESSAGE_V2 with them.
const NAME_FIELDS: [&str; 24] = [
    "topic",
    "b",
    "consumerGroup",
    "producerGroup",
    "a",
    "group",
    "groupName",
    "srcGroup",
    "destGroup",
    "originTopic",
    "defaultTopic",
    "c",
    "clientID",
    "clientId",
    "bname",
    "n",
    "key",
    "subscription",
    "expressionType",
    "topicList",
    "attributes",
    "transactionId",
    "uniqMsgId",
    "clusterName",
];

/// Those that are numbers, with what lets a request come far.
const NUMBER_FIELDS: [(&str, &str); 28] = [
    ("queueId", "0"),
    ("e", "0"),
    ("queueOffset", "0"),
    ("maxMsgNums", "32"),
    ("f", "0"),
    ("commitOffset", "1"),
    ("suspendTimeoutMillis", "0"),
    ("subVersion", "0"),
    ("defaultTopicQueueNums", "2"),
    ("d", "2"),
    ("bornTimestamp", "1795219808000"),
    ("g", "1795219808000"),
    ("flag", "0"),
    ("h", "0"),
    ("reconsumeTimes", "0"),
    ("j", "0"),
    ("delayLevel", "1"),
    ("readQueueNums", "2"),
    ("writeQueueNums", "2"),
    ("perm", "6"),
    ("topicSysFlag", "0"),
    ("timestamp", "0"),
    ("maxNum", "9"),
    ("beginTimestamp", "0"),
    ("endTimestamp", "9999999999999"),
    ("maxReconsumeTimes", "3"),
    ("maxTopicNum", "9"),
    ("topicSeq", "0"),
];

/// The rest, always so.
const FIXED_FIELDS: [(&str, &str); 8] = [
    ("topicFilterType", "SINGLE_TAG"),
    ("order", "false"),
    ("isForce", "true"),
    ("offline", "true"),
    ("cleanOffset", "true"),
    ("unitMode", "false"),
    ("k", "false"),
    ("indexType", "K"),
];

const NUMBERS: [&str; 6] = ["-1", "0", "1", "3", "2147483648", "x"];

/// Everything here is answered at once.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Takes its choices from bytes; when they are used up it always takes the first.
pub struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.byte() % count == count - 1
    }

    fn of<'b, T>(&mut self, all: &'b [T]) -> &'b T {
        &all[self.byte() % all.len()]
    }

    fn name(&mut self, paths: &[String], usual: &str) -> String {
        match self.byte() % 8 {
            0..4 => usual.to_owned(),
            4 | 5 => (*self.of(&PLAIN)).to_owned(),
            _ => self.of(paths).clone(),
        }
    }
}

struct Story<'a> {
    choices: Choices<'a>,
    paths: Vec<String>,
    codes: Vec<i32>,
    /// Every field is what it should be, so that only properties are hostile.
    is_calm: bool,
    /// What was sent last: id, offset in its queue, place in the log.
    sent: (String, i64, i64),
}

impl Story<'_> {
    fn name(&mut self, usual: &str) -> String {
        if self.is_calm { usual.to_owned() } else { self.choices.name(&self.paths, usual) }
    }

    fn request(&mut self, code: i32) -> RemotingCommand {
        let mut request = java_request(code);
        for (name, value) in FIXED_FIELDS {
            request.ext_fields.insert(name, Str::from_static(value));
        }
        for (name, usual) in NUMBER_FIELDS {
            let value = if !self.is_calm && self.choices.one_in(16) { *self.choices.of(&NUMBERS) } else { usual };
            request.ext_fields.insert(name, Str::from_static(value));
        }
        // No pull waits, and no producer is still undecided: those have no answer.
        for (name, values) in [("sysFlag", ["4", "5"]), ("commitOrRollback", ["8", "12"])] {
            request.ext_fields.insert(name, Str::copy_from(self.choices.of::<&str>(&values)));
        }
        for name in NAME_FIELDS {
            let usual = match name {
                "topic" | "b" | "originTopic" => "orders",
                "producerGroup" | "a" => "P",
                "defaultTopic" | "c" => "TBW102",
                "subscription" => "*",
                "expressionType" => "TAG",
                "attributes" | "topicList" => "",
                _ => "G",
            };
            let value = self.name(usual);
            request.ext_fields.insert(name, Str::from(value));
        }
        let (id, queue_offset, place) = self.sent.clone();
        for (name, value) in [("offset", place), ("commitLogOffset", place), ("tranStateTableOffset", queue_offset)] {
            request.ext_fields.insert(name, Str::from(value.to_string()));
        }
        let id = if !self.is_calm && self.choices.one_in(8) { self.name("") } else { id };
        request.ext_fields.insert("msgId", Str::from(id));
        let properties = String::from_utf8(self.properties()).unwrap();
        request.ext_fields.insert("properties", Str::from(properties.clone()));
        request.ext_fields.insert("i", Str::from(properties));
        request.with_body(self.body(code))
    }

    fn properties(&mut self) -> Vec<u8> {
        let mut pairs = vec![("UNIQ_KEY".to_owned(), "key".to_owned()), ("PGROUP".to_owned(), "P".to_owned())];
        for (name, usual) in [("REAL_TOPIC", "orders"), ("REAL_QID", "0")] {
            let value = match name {
                "REAL_TOPIC" => self.choices.name(&self.paths, usual),
                _ => if self.choices.one_in(8) { *self.choices.of(&NUMBERS) } else { usual }.to_owned(),
            };
            pairs.push((name.to_owned(), value));
        }
        let names = ["RETRY_TOPIC", "TAGS", "KEYS", "PGROUP", "__LITE_TOPIC", "INNER_MULTI_DISPATCH", "CLUSTER"];
        for name in names {
            if self.choices.one_in(4) {
                let value = self.name(if name == "PGROUP" { "P" } else { "orders" });
                pairs.push((name.to_owned(), value));
            }
        }
        for (name, usual) in [("DELAY", "1"), ("TRAN_MSG", "true"), ("_SYS_MSG_PRIORITY_", "1"), ("WAIT", "false")] {
            if self.choices.one_in(3) {
                let value = if self.choices.one_in(4) { *self.choices.of(&NUMBERS) } else { usual };
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
        properties::encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    fn body(&mut self, code: i32) -> Bytes {
        let json = |text: &str| fastjson::to_string(&text.to_owned());
        let (topic, group, client) = (json(&self.name("orders")), json(&self.name("G")), json(&self.name("c")));
        let subscription = format!("{{\"topic\":{topic},\"subString\":\"*\",\"subVersion\":1,\"expressionType\":\"TAG\"}}");
        let queue = format!("{{\"topic\":{topic},\"brokerName\":\"broker-a\",\"queueId\":0}}");
        let text = match code {
            code::HEART_BEAT => format!(
                "{{\"clientID\":{client},\"producerDataSet\":[{{\"groupName\":{group}}}],\"consumerDataSet\":[{{\"groupName\":{group},\
                 \"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"CLUSTERING\",\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\
                 \"subscriptionDataSet\":[{subscription}]}}]}}"
            ),
            code::CHECK_CLIENT_CONFIG => {
                format!("{{\"clientId\":{client},\"group\":{group},\"namespace\":{topic},\"subscriptionData\":{subscription}}}")
            }
            code::LOCK_BATCH_MQ | code::UNLOCK_BATCH_MQ => {
                format!("{{\"consumerGroup\":{group},\"clientId\":{client},\"mqSet\":[{queue}]}}")
            }
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => format!("{{\"groupName\":{group}}}"),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => format!("{{\"groupConfigList\":[{{\"groupName\":{group}}}]}}"),
            code::UPDATE_AND_CREATE_TOPIC_LIST => {
                format!("{{\"topicConfigList\":[{{\"topicName\":{topic},\"readQueueNums\":1,\"writeQueueNums\":1,\"perm\":6}}]}}")
            }
            code::UPDATE_BROKER_CONFIG => {
                let keys = ["storePathRootDir", "storePathCommitLog", "msgTraceTopicName", "brokerConfigPath", "rocketmqHome"];
                let key = *self.choices.of(&keys);
                format!("{key}={}\n", self.name("orders").escape_default())
            }
            code::SEND_BATCH_MESSAGE => {
                let properties = self.properties();
                let mut items = Vec::new();
                batch::encode_item(0, b"item", &properties, &mut items);
                return items.into();
            }
            _ => "body".to_owned(),
        };
        Bytes::from(text)
    }

    /// What the log of another broker may hold.
    fn foreign_record(&mut self, broker: &TestBroker) {
        let topic = *self.choices.of(&["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC", "orders"]);
        let message = MessageInner {
            topic: Str::from_static(topic),
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_795_219_808_000,
            born_host: broker.addr,
            store_host: broker.addr,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from_static(b"foreign"),
            properties: self.properties().into(),
            tags_code: 0,
        };
        let store = &broker.broker.store;
        let put =
            if topic == "RMQ_SYS_TRANS_HALF_TOPIC" { broker.broker.transactions.put_half(&message) } else { store.put_message(&message) };
        if put.status.is_stored() {
            let id = ferrocket_protocol::message::id::offset_id(broker.addr, put.physical_offset).to_string();
            self.sent = (id, put.queue_offset, put.physical_offset);
        }
    }

    async fn step(&mut self, broker: &TestBroker, client: &mut Client, clock: &ManualClock) {
        match self.choices.byte() % 32 {
            0 => broker.advance(clock, Duration::from_secs(7)).await,
            // A forged half message, taken up, committed and sent back: each as a client that knows its way would.
            1..8 => {
                self.is_calm = true;
                if self.choices.one_in(2) {
                    self.foreign_record(broker);
                } else {
                    self.ask(client, code::SEND_MESSAGE).await;
                }
                if self.ask(client, code::RESUME_CHECK_HALF_MESSAGE).await == response_code::SUCCESS {
                    self.look_at_last_half(broker);
                }
                for code in [code::END_TRANSACTION, code::CONSUMER_SEND_MSG_BACK] {
                    self.ask(client, code).await;
                }
                self.is_calm = false;
            }
            _ => {
                let code = *self.choices.of(&self.codes);
                self.ask(client, code).await;
            }
        }
    }

    async fn ask(&mut self, client: &mut Client, code: i32) -> i32 {
        let request = self.request(code);
        let told = format!("{} {:?}", request.code, request.ext_fields);
        let answer = tokio::time::timeout(ANSWER_PATIENCE, client.call(request)).await.unwrap_or_else(|_| panic!("no answer to {told}"));
        if answer.code == response_code::SUCCESS
            && let Ok(sent) = answer.header::<SendMessageResponseHeader>()
            && let Some((_, place)) = parse_offset_id(&sent.msg_id)
        {
            self.sent = (sent.msg_id.to_string(), sent.queue_offset, place);
        }
        answer.code
    }

    /// The last half message is the one that is meant from here on.
    fn look_at_last_half(&mut self, broker: &TestBroker) {
        let store = &broker.broker.store;
        let queue_offset = store.max_offset("RMQ_SYS_TRANS_HALF_TOPIC", 0) - 1;
        if let Ok(Some(unit)) = store.consume_queue_unit("RMQ_SYS_TRANS_HALF_TOPIC", 0, queue_offset) {
            (self.sent.1, self.sent.2) = (queue_offset, unit.physical_offset);
        }
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A panic inside a request is caught and answered: this one counts it.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

/// Whatever there is lies below `root`, is one of its parents or was there before, and was made by a name without a way up.
pub fn require_inside(fs: &MemoryFs, root: &Path, before: &[PathBuf]) {
    for path in fs.paths() {
        let goes_up = path.components().any(|part| part == Component::ParentDir);
        let is_inside = path.starts_with(root) || root.starts_with(&path) || before.contains(&path);
        assert!(is_inside && !goes_up, "{} is not in {}", path.display(), root.display());
    }
    assert!(before.iter().all(|path| fs.exists(path)), "what lay beside the store is still there");
}

/// One story: requests chosen by `bytes`, a stop or a kill, a start on what was left, and nothing lies outside the store's directory.
pub async fn story(bytes: &[u8]) {
    count_panics();
    let fs = MemoryFs::new();
    let (setup, clock) = Setup::new().on(&fs).manual_clock();
    fs.create_dir_all(Path::new("/escaped")).unwrap();
    fs.create_dir_all(&setup.folder().with_file_name("escaped")).unwrap();
    let (root, before) = (setup.folder().to_owned(), fs.paths());
    let broker = setup.start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    // A client that is asked answers nothing: that would only make the story wait.
    let codes = ROUTES.iter().map(|row| row.route.code).filter(|code| *code != code::GET_CONSUMER_RUNNING_INFO);
    // In the order of their numbers: what was recorded chooses by place.
    let codes: std::collections::BTreeSet<i32> = codes.collect();
    let mut story =
        Story { choices: Choices(bytes), paths: paths(), codes: codes.into_iter().collect(), is_calm: false, sent: (String::new(), 0, 0) };
    for _ in 0..STEPS_MAX {
        if story.choices.0.is_empty() {
            break;
        }
        story.step(&broker, &mut client, &clock).await;
    }
    broker.advance(&clock, Duration::from_secs(40)).await;
    require_inside(&fs, &root, &before);
    drop(client);
    let killed = fs.crashed(Crash::Killed);
    let setup = broker.stop().await;
    require_inside(&fs, &root, &before);
    let again = if bytes.len().is_multiple_of(2) { killed } else { fs };
    let broker = setup.on(&again).with_clock(&clock).start().await;
    broker.advance(&clock, Duration::from_secs(40)).await;
    broker.stop().await;
    require_inside(&again, &root, &before);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "nothing panicked");
}
