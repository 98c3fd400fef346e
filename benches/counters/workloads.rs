// SPDX-License-Identifier: Apache-2.0
//! What is counted, with fixed inputs: a message of 1 KiB with TAGS, KEYS and a unique key, as an official client sends it.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ferrocket::runtime::SystemClock;
use ferrocket::store::{AllMessages, ArrivalListener, GetMessage, MessageStore, RealFs, StoreConfig};
use ferrocket_protocol::ext_fields::Spare;
use ferrocket_protocol::header::pull::pull_flag;
use ferrocket_protocol::header::{
    EndTransactionRequestHeader, GetMaxOffsetRequestHeader, PullMessageRequestHeader, SendFields, SendMessageRequestHeader,
    SendMessageRequestHeaderV2, SendMessageResponseHeader,
};
use ferrocket_protocol::message::id::parse_offset_id;
use ferrocket_protocol::message::{MessageInner, tags_code};
use ferrocket_protocol::{RemotingCommand, SerializeType, fastjson, request_code, split_frame};

use crate::support::{Setup, consumer_heartbeat, pull_header, pull_request, send_header};

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) messages: u64,
    /// Whether it speaks to the kernel.
    pub(crate) asks_system: bool,
    run: fn(u64),
}

pub(crate) const ALL: &[Workload] = &[
    Workload { name: "frame_json", messages: 2_000, asks_system: false, run: |messages| decode(SerializeType::Json, false, messages) },
    Workload {
        name: "frame_binary",
        messages: 2_000,
        asks_system: false,
        run: |messages| decode(SerializeType::RocketMq, false, messages),
    },
    Workload { name: "header_json", messages: 2_000, asks_system: false, run: |messages| decode(SerializeType::Json, true, messages) },
    Workload {
        name: "header_binary",
        messages: 2_000,
        asks_system: false,
        run: |messages| decode(SerializeType::RocketMq, true, messages),
    },
    Workload { name: "append", messages: 2_048, asks_system: true, run: append },
    Workload { name: "get", messages: 2_048, asks_system: true, run: get },
    Workload { name: "send_request", messages: 2_048, asks_system: true, run: send_requests },
    Workload { name: "pull_request", messages: 2_048, asks_system: true, run: pull_requests },
    Workload { name: "tail_request", messages: 2_048, asks_system: true, run: tail_requests },
    Workload { name: "transaction", messages: 2_048, asks_system: true, run: transactions },
];

pub(crate) fn run(name: &str, messages: u64) {
    let workload = ALL.iter().find(|workload| workload.name == name).expect("the name of a workload");
    (workload.run)(messages);
}

const TOPIC: &str = "counters";
const QUEUES: u64 = 8;
const BODY: [u8; 1024] = [b'x'; 1024];
/// Stands for the offset in a pull that is encoded once.
const OFFSET_MARK: i64 = 111_111_111;
const OFFSET_DIGITS: usize = 9;
/// Requests in one write of the client, and messages in one pull.
const BATCH: u64 = 16;
/// MessageSysFlag.TRANSACTION_COMMIT_TYPE.
const COMMIT: i32 = 8;

fn header(queue_id: i32) -> SendMessageRequestHeader {
    let pairs = [("TAGS", "TagA"), ("KEYS", "key-1"), ("WAIT", "true"), ("UNIQ_KEY", "7F0000010B4A18B4AAC2157F3D5C0000")];
    send_header(TOPIC, queue_id, &pairs)
}

fn send_frame(serialize_type: SerializeType, queue_id: i32) -> Bytes {
    let mut request = RemotingCommand::request_with(request_code::SEND_MESSAGE_V2, &SendMessageRequestHeaderV2::from(header(queue_id)))
        .with_body(Bytes::from_static(&BODY));
    request.serialize_type = serialize_type;
    encoded(request)
}

fn encoded(request: RemotingCommand) -> Bytes {
    let mut frame = BytesMut::new();
    request.encode(&mut frame);
    frame.freeze()
}

fn decode(serialize_type: SerializeType, with_header: bool, messages: u64) {
    let frame = send_frame(serialize_type, 3);
    let mut input = BytesMut::new();
    for _ in 0..messages {
        input.extend_from_slice(&frame);
    }
    let mut spare = Spare::default();
    while let Some(bytes) = split_frame(&mut input).unwrap() {
        let command = black_box(RemotingCommand::decode_with(bytes, &mut spare).unwrap());
        if with_header {
            black_box(SendFields::read(&command).unwrap());
        }
        command.give_back(&mut spare);
    }
}

struct Nobody;

impl ArrivalListener for Nobody {
    fn arriving(&self, _topic: &str, _queue_id: i32, _max_offset: i64, _tags_code: i64, _store_time: i64) {}
}

fn filled_store(folder: &std::path::Path, messages: u64) -> Arc<MessageStore> {
    let store = MessageStore::open(StoreConfig::at(folder), RealFs::shared(), SystemClock::shared(), Arc::new(Nobody)).unwrap();
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let topic = ferrocket_protocol::Str::from(TOPIC);
    let properties = Bytes::copy_from_slice(header(0).properties.as_bytes());
    for number in 0..messages {
        let message = MessageInner {
            topic: topic.clone(),
            queue_id: (number % QUEUES) as i32,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_795_219_808_000,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from_static(&BODY),
            properties: properties.clone(),
            tags_code: tags_code("TagA"),
        };
        assert!(store.put_message(black_box(&message)).status.is_stored());
    }
    store
}

fn append(messages: u64) {
    let folder = tempfile::tempdir().unwrap();
    filled_store(folder.path(), messages);
}

/// Reads what a store holds, `BATCH` messages at a time. The cost of writing them is in it as well.
fn get(messages: u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = filled_store(folder.path(), messages);
    for queue_id in 0..QUEUES as i32 {
        for offset in (0..messages / QUEUES).step_by(BATCH as usize) {
            let request =
                GetMessage { group: "G", topic: TOPIC, queue_id, offset: offset as i64, max_count: BATCH as i32, max_bytes: 1 << 20 };
            let got = store.get_message_blocking(&request, &AllMessages).unwrap();
            assert_eq!(got.next_begin_offset, (offset + BATCH) as i64);
            black_box(got);
        }
    }
}

/// Through a socket into a broker in this process; the client's two system calls per batch are counted with it.
fn with_broker(client: impl FnOnce(Pipe) + Send + 'static) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        // Under valgrind a request may wait for longer than a live broker lets it.
        let broker = Setup::new().config(|config| config.broker_fast_failure_enable = false).start().await;
        broker.create_topic(TOPIC, QUEUES as i32);
        let addr = broker.addr;
        tokio::task::spawn_blocking(move || client(Pipe::connect(addr))).await.unwrap();
        broker.stop().await;
    });
}

fn send_requests(messages: u64) {
    with_broker(move |mut pipe| pipe.send(messages));
}

/// One pull for `BATCH` messages. The cost of sending them is in it as well.
fn pull_requests(messages: u64) {
    with_broker(move |mut pipe| {
        pipe.send(messages);
        let heartbeat = fastjson::to_vec(&consumer_heartbeat("G", "client", &[(TOPIC, "*")]));
        pipe.ask(&encoded(RemotingCommand::request(request_code::HEART_BEAT).with_body(heartbeat)), 1);
        for queue_id in 0..QUEUES as i32 {
            let mut header = pull_header("G", TOPIC, queue_id, OFFSET_MARK);
            header.max_msg_nums = BATCH as i32;
            let mut pull = Pulls::new(&[header]);
            for offset in (0..messages / QUEUES).step_by(BATCH as usize) {
                pipe.ask(pull.at(offset), 1);
            }
        }
    });
}

/// Each message ends a held pull, whose consumer asks again: what a consumer at the tail of many queues costs, the send included.
fn tail_requests(messages: u64) {
    with_broker(move |mut sender| {
        let mut consumer = Pipe::connect(sender.stream.peer_addr().unwrap());
        let heartbeat = fastjson::to_vec(&consumer_heartbeat("G", "client", &[(TOPIC, "*")]));
        consumer.ask(&encoded(RemotingCommand::request(request_code::HEART_BEAT).with_body(heartbeat)), 1);
        let mut sends = BytesMut::new();
        for queue_id in 0..QUEUES as i32 {
            sends.extend_from_slice(&send_frame(SerializeType::Json, queue_id));
        }
        let header = |queue_id| {
            let mut header = pull_header("G", TOPIC, queue_id, OFFSET_MARK);
            header.sys_flag |= pull_flag::SUBSCRIPTION | pull_flag::COMMIT_OFFSET;
            header.commit_offset = OFFSET_MARK;
            header.subscription = Some("*".into());
            header.expression_type = Some("TAG".into());
            header
        };
        let mut pulls = Pulls::new(&(0..QUEUES as i32).map(header).collect::<Vec<_>>());
        assert_eq!(pulls.marks.len() as u64, 2 * QUEUES);
        // Its answer comes when the pulls before it are held.
        let end = GetMaxOffsetRequestHeader { topic: TOPIC.into(), ..GetMaxOffsetRequestHeader::default() };
        RemotingCommand::request_with(request_code::GET_MAX_OFFSET, &end).encode(&mut pulls.frames);
        for offset in 0..messages / QUEUES {
            consumer.ask(pulls.at(offset), 1);
            sender.ask(&sends, QUEUES);
            consumer.take(QUEUES);
        }
    });
}

/// A half message and its commit, one after the other. The client reads each answer, which costs about a tenth of it all.
fn transactions(messages: u64) {
    with_broker(move |mut pipe| {
        let pairs = [("TAGS", "TagA"), ("UNIQ_KEY", "7F0000010B4A18B4AAC2157F3D5C0000"), ("TRAN_MSG", "true"), ("PGROUP", "P")];
        let mut half = send_header(TOPIC, 3, &pairs);
        half.sys_flag = 4;
        let half = encoded(RemotingCommand::request_with(request_code::SEND_MESSAGE, &half).with_body(Bytes::from_static(&BODY)));
        let mut end = EndTransactionRequestHeader { producer_group: "P".into(), commit_or_rollback: COMMIT, ..Default::default() };
        for _ in 0..messages {
            let sent: SendMessageResponseHeader = pipe.answer_to(&half).header().unwrap();
            end.tran_state_table_offset = sent.queue_offset;
            end.commit_log_offset = parse_offset_id(&sent.msg_id).unwrap().1;
            let ended = pipe.answer_to(&encoded(RemotingCommand::request_with(request_code::END_TRANSACTION, &end)));
            assert_eq!(ended.code, 0, "{:?}", ended.remark);
        }
    });
}

/// Pulls that are encoded once: to encode each would cost as much as the server's work on it.
struct Pulls {
    frames: BytesMut,
    /// Where the offset stands.
    marks: Vec<usize>,
}

impl Pulls {
    fn new(headers: &[PullMessageRequestHeader]) -> Self {
        let mut frames = BytesMut::new();
        headers.iter().for_each(|header| pull_request(header).encode(&mut frames));
        let mark = OFFSET_MARK.to_string();
        let is_mark = |at: &usize| frames[*at..].starts_with(mark.as_bytes());
        let marks = (0..frames.len()).filter(is_mark).collect();
        Self { frames, marks }
    }

    fn at(&mut self, offset: u64) -> &[u8] {
        for mark in &self.marks {
            let mut left = offset;
            for digit in self.frames[*mark..*mark + OFFSET_DIGITS].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
        &self.frames
    }
}

/// A client that allocates nothing per message.
struct Pipe {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Pipe {
    fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: vec![0; 256 * 1024] }
    }

    fn send(&mut self, messages: u64) {
        let mut frames = BytesMut::new();
        for number in 0..BATCH {
            frames.extend_from_slice(&send_frame(SerializeType::Json, (number % QUEUES) as i32));
        }
        for _ in 0..messages / BATCH {
            self.ask(&frames, BATCH);
        }
    }

    /// One write, then reads until so many answers have come.
    fn ask(&mut self, frames: &[u8], answers: u64) {
        self.stream.write_all(frames).unwrap();
        self.take(answers);
    }

    fn answer_to(&mut self, frame: &[u8]) -> RemotingCommand {
        self.stream.write_all(frame).unwrap();
        let count = self.stream.read(&mut self.input).unwrap();
        let mut input = BytesMut::from(&self.input[..count]);
        RemotingCommand::decode(split_frame(&mut input).unwrap().expect("a short answer comes in one piece")).unwrap()
    }

    /// Each answer begins with "code":0.
    fn take(&mut self, answers: u64) {
        let (mut filled, mut at, mut seen) = (0, 0, 0);
        while seen < answers {
            let count = self.stream.read(&mut self.input[filled..]).unwrap();
            assert_ne!(count, 0, "the broker closed the connection");
            filled += count;
            while let Some(head) = self.input[..filled].get(at..at + 4) {
                let frame = 4 + u32::from_be_bytes(head.try_into().unwrap()) as usize;
                if at + frame > filled {
                    break;
                }
                let text = &self.input[at + 8..at + frame.min(600)];
                at += frame;
                // The broker's own requests are not answers.
                if text.starts_with(b"{\"code\":0,") {
                    seen += 1;
                } else {
                    assert!(!text.windows(9).any(|window| window == b"\"flag\":1,"), "{}", String::from_utf8_lossy(text));
                }
            }
        }
        assert_eq!(at, filled);
    }
}
