// SPDX-License-Identifier: Apache-2.0
//! What one message costs here: its request's header read, its answer written. `cargo bench -p ferrocket-protocol`.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, criterion_group, criterion_main};
use ferrocket_protocol::command::reply::{SendReply, encode_pull_reply, encode_send_reply};
use ferrocket_protocol::header::pull::{PullMessageRequestHeader, PullMessageResponseHeader};
use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use ferrocket_protocol::{RemotingCommand, SerializeType, request_code, split_frame};

fn send_request(form: SerializeType) -> Bytes {
    let header = SendMessageRequestHeaderV2::from(SendMessageRequestHeader {
        producer_group: "please_rename_unique_group_name".into(),
        topic: "TopicTest".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: "KEYS\x01key-0001\x02UNIQ_KEY\x017F0000010000000018B4AAC200000001\x02WAIT\x01true\x02TAGS\x01TagA\x02".into(),
        reconsume_times: Some(0),
        broker_name: Some("broker-a".into()),
        ..Default::default()
    });
    let request =
        RemotingCommand { serialize_type: form, opaque: 4711, ..RemotingCommand::request_with(request_code::SEND_MESSAGE_V2, &header) };
    frame(request.with_body(vec![b'x'; 1024]))
}

fn pull_request() -> Bytes {
    let header = PullMessageRequestHeader {
        consumer_group: "group".into(),
        topic: "TopicTest".into(),
        queue_id: 3,
        queue_offset: 123_456,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 123_456,
        suspend_timeout_millis: 15_000,
        expression_type: Some("TAG".into()),
        max_msg_bytes: Some(262_144),
        ..Default::default()
    };
    frame(RemotingCommand { opaque: 4711, ..RemotingCommand::request_with(request_code::PULL_MESSAGE, &header) })
}

fn frame(command: RemotingCommand) -> Bytes {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    split_frame(&mut out).expect("our own frame").expect("a whole one")
}

fn requests(criterion: &mut Criterion) {
    for (name, form) in [("json", SerializeType::Json), ("binary", SerializeType::RocketMq)] {
        let frame = send_request(form);
        criterion.bench_function(&format!("read send v2 {name}"), |bench| {
            bench.iter(|| RemotingCommand::decode(black_box(frame.clone())).expect("our own frame"));
        });
        criterion.bench_function(&format!("read send v2 {name} and its header"), |bench| {
            bench.iter(|| {
                let request = RemotingCommand::decode(black_box(frame.clone())).expect("our own frame");
                SendMessageRequestHeader::from_request(&request).expect("our own header")
            });
        });
    }
    let frame = pull_request();
    criterion.bench_function("read pull json and its header", |bench| {
        bench.iter(|| {
            let request = RemotingCommand::decode(black_box(frame.clone())).expect("our own frame");
            request.header::<PullMessageRequestHeader>().expect("our own header")
        });
    });
}

fn replies(criterion: &mut Criterion) {
    let reply = SendReply {
        code: 0,
        msg_id: b"0A00000200002A9F00000000000003E8",
        queue_id: 3,
        queue_offset: 123_456,
        transaction_id: Some(b"7F0000010000000018B4AAC200000001"),
        recall_handle: None,
        msg_region: "DefaultRegion",
        trace_on: true,
    };
    for (name, form) in [("json", SerializeType::Json), ("binary", SerializeType::RocketMq)] {
        let mut out = BytesMut::with_capacity(1 << 16);
        criterion.bench_function(&format!("write send reply {name}"), |bench| {
            bench.iter(|| {
                out.clear();
                encode_send_reply(&mut out, form, black_box(4711), &reply);
            });
        });
    }
    let header = PullMessageResponseHeader { next_begin_offset: 123_456, max_offset: 123_456, ..Default::default() };
    let mut out = BytesMut::with_capacity(1 << 16);
    criterion.bench_function("write pull reply json", |bench| {
        bench.iter(|| {
            out.clear();
            encode_pull_reply(&mut out, SerializeType::Json, 0, black_box(4711), Some("FOUND"), &header, 0);
        });
    });
}

criterion_group!(benches, requests, replies);
criterion_main!(benches);
