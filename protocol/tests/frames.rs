// SPDX-License-Identifier: Apache-2.0
//! Whole frames against the original's bytes, and what must be refused.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use bytes::{Bytes, BytesMut};
use ferrocket_protocol::{DecodeError, LanguageCode, RemotingCommand, SerializeType, split_frame};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn read(frame: &[u8]) -> RemotingCommand {
    let mut buffer = BytesMut::from(frame);
    let frame = split_frame(&mut buffer).unwrap().expect("a whole frame");
    assert!(buffer.is_empty());
    RemotingCommand::decode(frame).unwrap()
}

fn written(command: &RemotingCommand) -> Vec<u8> {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out.to_vec()
}

fn json_frame(header: &str) -> Bytes {
    let mut frame = (header.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(header.as_bytes());
    Bytes::from(frame)
}

fn route_request() -> RemotingCommand {
    let mut request = RemotingCommand::request(105);
    request.version = 479;
    request.opaque = 1;
    request.ext_fields.insert("topic", "T");
    request
}

#[test]
fn the_json_vector_reads_and_writes() {
    let mut vector = hex("0000007f 0000007b");
    vector.extend_from_slice(
        br#"{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}"#,
    );
    assert_eq!(read(&vector), route_request());
    assert_eq!(written(&route_request()), vector);
}

#[test]
fn the_binary_vectors_read_and_write() {
    let vector = hex("00000025 01000021 0069 00 01df 00000001 00000000 00000000 0000000c 0005 746f706963 00000001 54");
    let request = RemotingCommand { serialize_type: SerializeType::RocketMq, ..route_request() };
    assert_eq!(read(&vector), request);
    assert_eq!(written(&request), vector);

    let vector = hex("00000019 01000015 0000 00 01df 00000001 00000001 00000000 00000000");
    let response = RemotingCommand { version: 479, serialize_type: SerializeType::RocketMq, ..RemotingCommand::response(0) }
        .answering(&RemotingCommand { opaque: 1, serialize_type: SerializeType::RocketMq, ..RemotingCommand::default() });
    assert_eq!(read(&vector), response);
    assert_eq!(written(&response), vector);
}

#[test]
fn the_body_follows_the_header() {
    let request = route_request().with_body(&b"body"[..]);
    assert_eq!(read(&written(&request)).body, "body");
    let mut head = BytesMut::new();
    request.encode_header(4, &mut head);
    assert_eq!([&head[..], b"body"].concat(), written(&request));
}

/// jsoncpp: numbers in ext fields, an empty remark, a newline at the end, no serializeTypeCurrentRPC.
#[test]
fn the_cpp_client_is_read() {
    let header = "{\"code\":11,\"extFields\":{\"queueId\":3,\"ok\":true,\"topic\":\"T\"},\"flag\":0,\"language\":\"CPP\",\"opaque\":5,\"remark\":\"\",\"version\":333}\n";
    let command = RemotingCommand::decode(json_frame(header)).unwrap();
    assert_eq!((command.code, command.language, command.opaque), (11, LanguageCode::Cpp, 5));
    assert_eq!(command.ext_fields.get("queueId").as_deref(), Some("3"));
    assert_eq!(command.ext_fields.get("ok").as_deref(), Some("true"));
    assert_eq!(command.remark.as_deref(), Some(""));
}

/// What only the tolerant reader knows gives the same command.
#[test]
fn unusual_spellings_read_the_same() {
    let usual = RemotingCommand::decode(json_frame(
        r#"{"code":34,"extFields":{"a":"1","p":"k\u0001v\u0002"},"flag":0,"language":"GO","opaque":7,"remark":"r\n","version":317}"#,
    ))
    .unwrap();
    assert_eq!(usual.ext_fields.get("p").as_deref(), Some("k\u{1}v\u{2}"));
    for header in [
        r#"{"code":"34","extFields":{"a":1,"p":"k\u0001v\u0002"},"flag":0,"language":"GO","opaque":7,"remark":"r\n","version":317,"other":{"deep":[1]}}"#,
        r#"{'code':34,'extFields':{'a':'1','p':'k\u0001v\u0002'},'flag':0,'language':'GO','opaque':7,'remark':'r\n','version':317,}"#,
        r#" { "code" : 34 , "extFields" : { "a" : "1" , "p" : "k\u0001v\u0002" } , "flag" : 0 , "language" : 9 , "opaque" : 7 , "remark" : "r\n" , "version" : 317 } "#,
    ] {
        assert_eq!(RemotingCommand::decode(json_frame(header)).unwrap(), usual, "{header}");
    }
}

#[test]
fn null_and_missing_and_empty_fields_are_told_apart() {
    let fields = |header: &str| RemotingCommand::decode(json_frame(header)).unwrap().ext_fields;
    assert!(!fields(r#"{"code":1}"#).is_present());
    assert!(!fields(r#"{"code":1,"extFields":null}"#).is_present());
    assert!(fields(r#"{"code":1,"extFields":{}}"#).is_present());
    assert_eq!(fields(r#"{"extFields":{"a":null,"b":""}}"#).get("a"), None);
    assert_eq!(fields(r#"{"extFields":{"a":null,"b":""}}"#).get("b").as_deref(), Some(""));
}

#[test]
fn frames_that_lie_are_refused() {
    let decode = |bytes: &[u8]| RemotingCommand::decode(Bytes::copy_from_slice(bytes));
    assert!(matches!(decode(b"\0\0"), Err(DecodeError::Truncated { .. })));
    assert!(matches!(decode(b"\0\0\0\x05{}"), Err(DecodeError::Length { what: "header", .. })), "a header longer than its frame");
    assert_eq!(decode(b"\x07\0\0\x02{}"), Err(DecodeError::SerializeType(7)));
    assert!(matches!(decode(b"\0\0\0\x05{\"\xff\":"), Err(DecodeError::Json { .. })));
    assert!(decode(b"\0\0\0\0").is_err(), "an empty header");
    let deep = format!("{{\"code\":1,\"x\":{}", "[".repeat(1_000_000));
    assert!(matches!(RemotingCommand::decode(json_frame(&deep)), Err(DecodeError::Json { .. })));
    // remark length, ext length, key length and value length: each longer than what is there, each negative.
    let whole = hex("01000021 0069 00 01df 00000001 00000000 00000000 0000000c 0005 746f706963 00000001 54");
    for (at, bytes) in [(17usize, 4usize), (21, 4), (25, 2), (32, 4)] {
        for value in [0x7F, 0xFF] {
            let mut lying = whole.clone();
            lying[at..at + bytes].fill(value);
            // Fields of a negative length are none: 5.5.0 goes on without them.
            assert_eq!(decode(&lying).is_ok(), (at, value) == (21, 0xFF), "length at {at} = {value:#x}");
        }
    }
}

/// As 5.5.0: the length of the fields says where no further pair begins, not where the last one ends.
#[test]
fn the_last_field_may_end_behind_the_fields() {
    let mut frame = hex("01000021 0069 00 01df 00000001 00000000 00000000 0000000c 0005 746f706963 00000001 54");
    frame[24] -= 1;
    assert_eq!(RemotingCommand::decode(Bytes::from(frame)).unwrap().ext_fields.get_str("topic"), Some("T"));
}

#[test]
fn a_flood_of_fields_is_refused() {
    let many: Vec<String> = (0..5000).map(|at| format!("\"k{at}\":\"v\"")).collect();
    let header = format!("{{\"code\":1,\"extFields\":{{{}}}}}", many.join(","));
    assert!(matches!(RemotingCommand::decode(json_frame(&header)), Err(DecodeError::TooMany { what: "ext fields", .. })));
}
