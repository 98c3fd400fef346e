// SPDX-License-Identifier: Apache-2.0
//! Sending: what is stored, what is answered, and every refusal in the original's order, code and words.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use ferrocket_protocol::body::group::SubscriptionGroupConfig;
use ferrocket_protocol::body::topic::TopicConfig;
use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2, SendMessageResponseHeader};
use ferrocket_protocol::message::{MessageView, batch, id, properties, property};
use ferrocket_protocol::{RemotingCommand, SerializeType, Str, request_code, response_code, version};
use support::{Client, Setup, TestBroker, java_request, remark};

const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A message as its story wants it; the rest as a Java producer fills it in.
#[derive(Clone)]
struct Message {
    header: SendMessageRequestHeader,
    body: Bytes,
}

fn message(topic: &str) -> Message {
    let header = SendMessageRequestHeader {
        producer_group: "producers".into(),
        topic: Str::copy_from(topic),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        born_timestamp: 1_700_000_000_000,
        reconsume_times: Some(0),
        ..SendMessageRequestHeader::default()
    };
    Message { header, body: Bytes::from_static(b"hello") }
}

impl Message {
    fn with(mut self, change: impl FnOnce(&mut SendMessageRequestHeader)) -> Self {
        change(&mut self.header);
        self
    }

    fn properties(self, pairs: &[(&str, &str)]) -> Self {
        let text = String::from_utf8(properties::encode(pairs.iter().copied())).unwrap();
        self.with(|header| header.properties = text.into())
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// SEND_MESSAGE: long names.
    fn request(&self) -> RemotingCommand {
        let mut request = java_request(request_code::SEND_MESSAGE).with_header(&self.header);
        request.body = self.body.clone();
        request
    }

    /// SEND_MESSAGE_V2 or SEND_BATCH_MESSAGE: letters.
    fn in_letters(&self, code: i32) -> RemotingCommand {
        let mut request = java_request(code).with_header(&SendMessageRequestHeaderV2::from(self.header.clone()));
        request.body = self.body.clone();
        request
    }
}

async fn sent(client: &mut Client, request: RemotingCommand) -> SendMessageResponseHeader {
    let answer = client.call(request).await;
    assert_eq!((answer.code, remark(&answer)), (response_code::SUCCESS, ""));
    answer.header().unwrap()
}

/// What lies in the log at the place that a message id names.
fn stored(broker: &TestBroker, msg_id: &str) -> Bytes {
    let (_, offset) = id::parse_offset_id(msg_id).expect("an offset id");
    broker.broker.store.look_message(offset).unwrap().expect("a record there")
}

fn property_of(record: &[u8], name: &str) -> Option<String> {
    MessageView::decode(record).unwrap().property(name).map(str::to_owned)
}

#[tokio::test]
async fn a_message_is_stored_and_its_place_is_answered() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let message = message("orders").properties(&[("UNIQ_KEY", "7F000001ABCD"), ("TAGS", "TagA"), ("mine", "1")]);
    let answer = client.call(message.request()).await;
    assert_eq!(answer.ext_fields.get_str("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(answer.ext_fields.get_str("TRACE_ON"), Some("true"));
    let header: SendMessageResponseHeader = answer.header().unwrap();
    assert_eq!((header.queue_id, header.queue_offset), (0, 0));
    assert_eq!(header.transaction_id.as_deref(), Some("7F000001ABCD"));
    let (address, _) = id::parse_offset_id(&header.msg_id).unwrap();
    assert_eq!(address, broker.addr, "the address by which this client came");

    let record = stored(&broker, &header.msg_id);
    let view = MessageView::decode(&record).unwrap();
    assert_eq!((view.topic, view.body, view.queue_id, view.queue_offset), ("orders", &b"hello"[..], 0, 0));
    assert_eq!((view.born_timestamp, view.born_host), (1_700_000_000_000, client.local_addr()));
    assert_eq!(view.store_host, broker.addr);
    let text = String::from_utf8(view.properties.to_vec()).unwrap().replace('\u{1}', "=").replace('\u{2}', ";");
    assert_eq!(text, "UNIQ_KEY=7F000001ABCD;TAGS=TagA;mine=1;MSG_REGION=DefaultRegion;TRACE_ON=true;CLUSTER=DefaultCluster;");

    let second = sent(&mut client, message.request()).await;
    assert_eq!((second.queue_id, second.queue_offset), (0, 1));
}

#[tokio::test]
async fn all_spellings_of_a_send_are_one() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let message = message("orders").with(|header| header.queue_id = 2);
    sent(&mut client, message.request()).await;
    sent(&mut client, message.in_letters(request_code::SEND_MESSAGE_V2)).await;
    let mut binary = message.in_letters(request_code::SEND_MESSAGE_V2);
    binary.serialize_type = SerializeType::RocketMq;
    let answer = client.call(binary).await;
    assert_eq!(answer.serialize_type, SerializeType::RocketMq, "answered in the form of the request");
    let header: SendMessageResponseHeader = answer.header().unwrap();
    assert_eq!((header.queue_id, header.queue_offset), (2, 2));
}

#[tokio::test]
async fn a_message_without_a_key_of_its_own_gets_one() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let header = sent(&mut client, message("orders").request()).await;
    let key = header.transaction_id.unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(property_of(&stored(&broker, &header.msg_id), "UNIQ_KEY").as_deref(), Some(&*key));
    let other = sent(&mut client, message("orders").request()).await.transaction_id.unwrap();
    assert_ne!(other, key);
}

/// SendMessageProcessor.java#clearReservedProperties, and what the broker sets itself.
#[tokio::test]
async fn a_client_cannot_set_what_is_the_brokers() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let forged = [("POP_CK", "x"), ("CLUSTER", "other"), ("MSG_REGION", "other"), ("TRACE_ON", "false"), ("mine", "1")];
    let header = sent(&mut client, message("orders").properties(&forged).request()).await;
    let record = stored(&broker, &header.msg_id);
    let values = ["POP_CK", "CLUSTER", "MSG_REGION", "TRACE_ON", "mine"].map(|name| property_of(&record, name));
    assert_eq!(values, [None, Some("DefaultCluster"), Some("DefaultRegion"), Some("true"), Some("1")].map(|v| v.map(str::to_owned)));
}

/// Clients 4.9.1 to 5.1.4 leave out the last separator.
#[tokio::test]
async fn properties_without_their_last_separator_are_completed() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let message = message("orders").with(|header| header.properties = "TAGS\u{1}TagA\u{2}KEYS\u{1}k1".into());
    let header = sent(&mut client, message.request()).await;
    let record = stored(&broker, &header.msg_id);
    assert_eq!(property_of(&record, "KEYS").as_deref(), Some("k1"));
    assert_eq!(property_of(&record, "CLUSTER").as_deref(), Some("DefaultCluster"));
}

#[tokio::test]
async fn an_unknown_topic_is_created_after_its_template() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    sent(&mut client, message("orders").with(|header| header.default_topic_queue_nums = 3).request()).await;
    let topic = broker.broker.topics.get("orders").unwrap();
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm, topic.topic_sys_flag), (3, 3, 6, 0));
    sent(&mut client, message("unit").with(|header| header.unit_mode = true).request()).await;
    assert_eq!(broker.broker.topics.get("unit").unwrap().topic_sys_flag, 1);
}

#[tokio::test]
async fn a_negative_queue_id_is_left_to_the_broker() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for _ in 0..8 {
        let header = sent(&mut client, message("orders").with(|header| header.queue_id = -1).request()).await;
        assert!((0..4).contains(&header.queue_id), "{}", header.queue_id);
    }
}

#[tokio::test]
async fn a_oneway_send_is_stored_and_not_answered() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    sent(&mut client, message("orders").request()).await;
    let mut oneway = message("orders").request();
    oneway.mark_oneway();
    let opaque = client.begin(oneway).await;
    let mut refused = message("no such.topic").request();
    refused.mark_oneway();
    let refused = client.begin(refused).await;
    let next = sent(&mut client, message("orders").request()).await;
    assert_eq!(next.queue_offset, 2, "the oneway message lies before it");
    assert!(!client.has_response(opaque) && !client.has_response(refused));
}

#[tokio::test]
async fn a_batch_is_stored_message_by_message() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let mut body = Vec::new();
    for tag in ["A", "B", "C"] {
        let properties = properties::encode([("TAGS", tag), ("WAIT", "true")]);
        batch::encode_item(7, format!("body {tag}").as_bytes(), &properties, &mut body);
    }
    let message = message("orders").properties(&[("WAIT", "true")]).with(|header| header.batch = true).body(body);
    sent(&mut client, message.clone().with(|header| header.queue_id = 1).in_letters(request_code::SEND_BATCH_MESSAGE)).await;
    let header = sent(&mut client, message.with(|header| header.queue_id = 1).in_letters(request_code::SEND_BATCH_MESSAGE)).await;
    assert_eq!((header.queue_id, header.queue_offset, header.transaction_id), (1, 3, None));
    let ids: Vec<&str> = header.msg_id.split(',').collect();
    assert_eq!(ids.len(), 3);
    for (number, (msg_id, tag)) in ids.iter().zip(["A", "B", "C"]).enumerate() {
        let record = stored(&broker, msg_id);
        let view = MessageView::decode(&record).unwrap();
        assert_eq!((view.queue_offset, view.flag, view.body), (3 + number as i64, 7, format!("body {tag}").as_bytes()));
        assert_eq!(view.properties, properties::encode([("TAGS", tag), ("WAIT", "true")]), "5.5 adds nothing to them");
    }
}

/// The original fails by an exception: no fields, and texts of its own.
#[tokio::test]
async fn a_batch_that_is_none_is_refused() {
    let broker = Setup::new().config(|config| config.max_message_size = 1_000).start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    let mut long = Vec::new();
    for _ in 0..20 {
        batch::encode_item(0, &[b'x'; 60], b"", &mut long);
    }
    let whole = message("orders").with(|header| header.batch = true);
    for body in [Bytes::from_static(b"no batch"), Bytes::from(long)] {
        let answer = client.call(whole.clone().body(body).in_letters(request_code::SEND_BATCH_MESSAGE)).await;
        assert_eq!(answer.code, response_code::SYSTEM_ERROR);
        assert_eq!(remark(&answer), "the batch cannot be stored: it is too long or damaged");
        assert!(answer.ext_fields.is_empty());
    }
    assert_eq!(broker.broker.store.max_offset("orders", 0), 0);
}

/// delta-5.5 §7 and §17.
#[tokio::test]
async fn a_priority_is_a_queue() {
    let broker = TestBroker::start().await;
    broker.create_topic("tasks", 8);
    let mut client = broker.connect().await;
    for (pairs, queue_id) in [
        (&[("_SYS_MSG_PRIORITY_", "5")][..], 5),
        (&[("_SYS_MSG_PRIORITY_", "99")], 7),
        (&[("_SYS_MSG_PRIORITY_", "5"), ("__SHARDINGKEY", "s")], 0),
        (&[("_SYS_MSG_PRIORITY_", "x")], 0),
    ] {
        let header = sent(&mut client, message("tasks").properties(pairs).request()).await;
        assert_eq!(header.queue_id, queue_id, "{pairs:?}");
        let kept = property_of(&stored(&broker, &header.msg_id), "_SYS_MSG_PRIORITY_").is_some();
        assert_eq!(kept, pairs.len() == 1, "{pairs:?}");
    }
}

struct Refused {
    why: &'static str,
    request: RemotingCommand,
    code: i32,
    remark: String,
}

fn refused(why: &'static str, request: RemotingCommand, code: i32, remark: impl Into<String>) -> Refused {
    Refused { why, request, code, remark: remark.into() }
}

async fn assert_refused(client: &mut Client, cases: Vec<Refused>) {
    for case in cases {
        let answer = client.call(case.request).await;
        assert_eq!((answer.code, remark(&answer)), (case.code, case.remark.as_str()), "{}", case.why);
        assert_eq!(answer.ext_fields.get_str("MSG_REGION"), Some("DefaultRegion"), "4.x clients read it: {}", case.why);
    }
}

const ILLEGAL: i32 = response_code::MESSAGE_ILLEGAL;
const INVALID: i32 = response_code::INVALID_PARAMETER;
const FORBIDDEN: i32 = response_code::NO_PERMISSION;

fn illegal_message(limit: i32) -> String {
    format!(
        "the message is illegal, maybe msg body or properties length not matched. msg body length limit {limit}B, \
         msg properties length limit 32KB."
    )
}

/// TopicValidator.java and AbstractSendMessageProcessor.java#msgCheck.
#[tokio::test]
async fn a_topic_that_cannot_be_sent_to_is_refused_by_name() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let long = "t".repeat(128);
    let long_retry = format!("%RETRY%{}", "g".repeat(249));
    assert_refused(
        &mut client,
        vec![
            refused("blank", message(" ").request(), INVALID, "The specified topic is blank."),
            refused(
                "characters",
                message("a.b").request(),
                INVALID,
                "The specified topic: a.b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
            ),
            refused(
                "length",
                message(&long).request(),
                INVALID,
                format!("The specified topic: {long}, is longer than topic max length: 127"),
            ),
            refused(
                "length of a retry topic",
                message(&long_retry).request(),
                INVALID,
                format!("The specified topic is DLQ or Retry topic: {long_retry}, and it's longer than topic max length: 255"),
            ),
            refused(
                "the broker's own",
                message("SCHEDULE_TOPIC_XXXX").request(),
                FORBIDDEN,
                "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
            ),
        ],
    )
    .await;
    assert!(!broker.broker.topics.contains("a.b"));
}

#[tokio::test]
async fn without_automatic_creation_an_unknown_topic_is_refused() {
    let broker = Setup::new().config(|config| config.auto_create_topic_enable = false).start().await;
    let mut client = broker.connect().await;
    let remark = format!("topic[orders] not exist, apply first please!{FAQ}");
    assert_refused(&mut client, vec![refused("unknown", message("orders").request(), response_code::TOPIC_NOT_EXIST, remark)]).await;
    // Retry topics belong to groups and are made all the same.
    sent(&mut client, message("%RETRY%g").with(|header| header.max_reconsume_times = Some(3)).request()).await;
    assert_eq!(broker.broker.topics.get("%RETRY%g").unwrap().write_queue_nums, 1);
}

#[tokio::test]
async fn a_queue_that_the_topic_does_not_have_is_refused() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 4);
    let mut client = broker.connect().await;
    let text = format!(
        "request queueId[4] is illegal, TopicConfig [topicName=orders, readQueueNums=4, writeQueueNums=4, perm=RW-, \
         topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={{}}] Producer: {}",
        client.local_addr()
    );
    let request = message("orders").with(|header| header.queue_id = 4).request();
    assert_refused(&mut client, vec![refused("queue", request, INVALID, text)]).await;
}

#[tokio::test]
async fn an_ordered_topic_is_refused_by_a_broker_without_write_permission() {
    let broker = Setup::new().config(|config| config.broker_permission = 4).start().await;
    broker.create_topic("plain", 1);
    broker.broker.topics.update(TopicConfig { topic_name: "ordered".into(), order: true, ..TopicConfig::default() }).unwrap();
    let mut client = broker.connect().await;
    let remark = "the broker[127.0.0.1] sending message is forbidden";
    assert_refused(&mut client, vec![refused("ordered", message("ordered").request(), FORBIDDEN, remark)]).await;
    // Only the route keeps producers away from the others.
    sent(&mut client, message("plain").request()).await;
}

#[tokio::test]
async fn before_its_start_time_the_broker_accepts_nothing() {
    let (setup, _clock) = Setup::new().manual_clock();
    let start_millis = 4_102_444_800_000_i64;
    let broker = setup.config(|config| config.start_accept_send_request_time_stamp = start_millis).start().await;
    let mut client = broker.connect().await;
    let until = ferrocket::runtime::local_time(start_millis).format("%Y-%m-%d %H:%M:%S,%3f");
    let remark = format!("broker unable to service, until {until}");
    assert_refused(&mut client, vec![refused("early", message("orders").request(), response_code::SYSTEM_ERROR, remark)]).await;
}

#[tokio::test]
async fn a_message_over_its_limits_is_refused() {
    let broker = Setup::new().config(|config| config.max_message_size = 1_000).start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    let remark = illegal_message(1_000);
    let fat = message("orders").properties(&[("p", &"x".repeat(33_000))]);
    assert_refused(
        &mut client,
        vec![
            refused("body", message("orders").body(vec![b'x'; 1_001]).request(), ILLEGAL, &*remark),
            refused("properties", fat.request(), ILLEGAL, &*remark),
            refused("half an inner batch", message("orders").properties(&[("INNER_NUM", "2")]).request(), ILLEGAL, &*remark),
            refused(
                "a batch to a retry topic",
                message("%RETRY%g").with(|header| header.batch = true).in_letters(request_code::SEND_BATCH_MESSAGE),
                ILLEGAL,
                "batch request does not support retry group %RETRY%g",
            ),
        ],
    )
    .await;
    sent(&mut client, message("orders").body(vec![b'x'; 1_000]).request()).await;
}

/// The original fails by a null pointer here; the code is the same, the text is ours.
#[tokio::test]
async fn an_empty_body_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let answer = client.call(message("orders").body("").request()).await;
    assert_eq!((answer.code, remark(&answer)), (response_code::SYSTEM_ERROR, "the message body is empty"));
    assert!(!broker.broker.topics.contains("orders"));
}

/// What a later release serves must not be stored as if it were an ordinary message.
#[tokio::test]
async fn timers_are_refused_as_a_broker_without_them_does() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    let timer = "accurate timer message is not served yet, though timerWheelEnable is true";
    assert_refused(
        &mut client,
        vec![
            refused(
                "half timer",
                message("orders").properties(&[("TRAN_MSG", "true"), ("TIMER_DELAY_SEC", "5")]).request(),
                response_code::SYSTEM_ERROR,
                timer,
            ),
            refused("timer", message("orders").properties(&[("TIMER_DELAY_SEC", "5")]).request(), response_code::SYSTEM_ERROR, timer),
            refused("timer", message("orders").properties(&[("TIMER_DELIVER_MS", "5")]).request(), response_code::SYSTEM_ERROR, timer),
        ],
    )
    .await;
    assert_eq!(broker.broker.store.max_offset("orders", 0), 0);
}

#[tokio::test]
async fn a_store_that_takes_nothing_refuses_in_the_originals_words() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    broker.broker.store.shutdown().unwrap();
    let answer = client.call(message("orders").request()).await;
    assert_eq!(answer.code, response_code::SERVICE_NOT_AVAILABLE);
    let text = remark(&answer);
    assert!(
        text.starts_with("service not available now. It may be caused by one of the following reasons: the broker's disk is full [CL: ")
            && text.ends_with("], messages are put to the slave, message store has been shut down, etc."),
        "{text}"
    );
}

#[tokio::test]
async fn sends_beyond_the_room_are_told_to_come_again() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    let waiting = broker.broker.flow_control.enter(ferrocket::broker::flow_control::SEND_BYTES_IN_FLIGHT_MAX);
    let answer = client.call(message("orders").request()).await;
    assert_eq!(answer.code, response_code::SYSTEM_BUSY);
    assert_eq!(remark(&answer), "[OVERLOAD]system busy, start flow control for a while");
    drop(waiting);
    sent(&mut client, message("orders").request()).await;
}

#[tokio::test]
async fn the_operator_says_how_many_sends_may_wait() {
    let broker = Setup::new().config(|config| config.send_thread_pool_queue_capacity = 2).start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    let first = broker.broker.flow_control.enter(1);
    sent(&mut client, message("orders").request()).await;
    let _second = broker.broker.flow_control.enter(1);
    assert_eq!(client.call(message("orders").request()).await.code, response_code::SYSTEM_BUSY);
    drop(first);
    sent(&mut client, message("orders").request()).await;
}

/// SendMessageProcessor.java#handleRetryAndDLQ.
#[tokio::test]
async fn a_retry_that_was_tried_too_often_goes_to_the_dead_letters() {
    let broker = TestBroker::start().await;
    broker.broker.groups.update(SubscriptionGroupConfig { group_name: "g".into(), retry_max_times: 2, ..Default::default() }).unwrap();
    let mut client = broker.connect().await;
    let retry = |times, max| {
        message("%RETRY%g")
            .properties(&[("DELAY", "3")])
            .with(move |header| (header.reconsume_times, header.max_reconsume_times) = (Some(times), max))
    };
    let mut old_client = retry(3, Some(16)).request();
    old_client.version = version::V3_4_9 - 1;
    for (request, is_dead) in
        [(retry(2, None).request(), false), (retry(3, None).request(), true), (retry(3, Some(16)).request(), false), (old_client, true)]
    {
        let header = sent(&mut client, request).await;
        let record = stored(&broker, &header.msg_id);
        let view = MessageView::decode(&record).unwrap();
        let expected = if is_dead { ("%DLQ%g", 0, Some("-1")) } else { ("SCHEDULE_TOPIC_XXXX", 2, Some("3")) };
        assert_eq!((view.topic, view.queue_id, view.property(property::DELAY)), expected);
    }
    assert_eq!(broker.broker.topics.get("%DLQ%g").unwrap().write_queue_nums, 1);
}

#[tokio::test]
async fn a_retry_of_an_unknown_group_is_refused() {
    let broker = Setup::new().config(|config| config.auto_create_subscription_group = false).start().await;
    let mut client = broker.connect().await;
    let remark = format!("subscription group not exist, g {FAQ}");
    let code = response_code::SUBSCRIPTION_GROUP_NOT_EXIST;
    assert_refused(&mut client, vec![refused("group", message("%RETRY%g").request(), code, remark)]).await;
}

/// One connection holds many sends that wait for the disk, and they share its syncs.
#[tokio::test]
async fn sync_flush_answers_when_the_disk_has_it() {
    let broker = Setup::new().sync_flush().start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    let opaques = client.begin_all((0..1_000).map(|_| message("orders").request())).await;
    let mut offsets = Vec::new();
    for opaque in opaques {
        let answer = client.response(opaque).await;
        assert_eq!(answer.code, response_code::SUCCESS);
        let header: SendMessageResponseHeader = answer.header().unwrap();
        let (_, position) = id::parse_offset_id(&header.msg_id).unwrap();
        assert!(broker.broker.store.flushed_offset() > position);
        offsets.push(header.queue_offset);
    }
    assert_eq!(offsets, (0..1_000).collect::<Vec<i64>>(), "the order of one connection is kept");
    // The last is counted until its answer is on its way, which the client may see first.
    broker.wait_until(|broker| broker.flow_control.sends_in_flight() == 0).await;
    let unwaiting = message("orders").properties(&[("WAIT", "false")]).request();
    sent(&mut client, unwaiting).await;
}

/// Nobody waits for a oneway message to be on the disk, but consumers wait for the message. Time stands still: only who is told of it
/// flushes.
#[tokio::test]
async fn sync_flush_shows_a_oneway_message_at_once() {
    let (setup, _clock) = Setup::new().sync_flush().manual_clock();
    let broker = setup.start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    for count in 1..=3 {
        let mut oneway = message("orders").request();
        oneway.mark_oneway();
        client.begin(oneway).await;
        broker.wait_until(|broker| broker.store.max_offset("orders", 0) == count).await;
        assert_eq!(broker.broker.store.flushed_offset(), broker.broker.store.max_phy_offset());
    }
}
