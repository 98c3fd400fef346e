// SPDX-License-Identifier: Apache-2.0
//! Requests encoded once and patched per message, and the two numbers of an answer that a generator needs: its own cost must stay small.

use bytes::BytesMut;
use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use ferrocket_protocol::message::batch::encode_item;
use ferrocket_protocol::{RemotingCommand, SerializeType, request_code, topic_names};

use super::{GROUP, HeaderForm};

/// What all frames of a run have in common.
#[derive(Debug, Clone)]
pub(super) struct FrameShape {
    pub(super) topic: String,
    /// Whether the topic is one of many: `numbered_topic(&topic, stamp.topic)`.
    pub(super) numbered: bool,
    pub(super) queues: u32,
    pub(super) header: HeaderForm,
    pub(super) body_bytes: usize,
    /// Messages of one request; more than one makes it a SEND_BATCH_MESSAGE.
    pub(super) batch: usize,
    pub(super) oneway: bool,
}

/// The topics of a run: one of this name, or so many with a number behind it.
pub(super) fn topics(name: &str, count: u32) -> Vec<String> {
    match count {
        1 => vec![name.to_owned()],
        _ => (0..count).map(|number| numbered_topic(name, number)).collect(),
    }
}

/// The name of one of up to 100,000 topics; all have the same length.
fn numbered_topic(prefix: &str, number: u32) -> String {
    format!("{prefix}-{number:05}")
}

const TOPIC_DIGITS: usize = 5;
const TOPIC_MARK: u32 = 98_765;

/// What differs between two requests of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) topic: u32,
    pub(super) connection: u32,
    /// Of the first message; the others of a batch count on.
    pub(super) sequence: u64,
    pub(super) born_millis: i64,
}

/// A body needs as many to say what it is.
pub(super) const UNIQUE_KEY_BYTES: usize = 32;
const SEQUENCE_DIGITS: usize = 12;

impl Stamp {
    /// 32 hexadecimal digits, as the original's unique keys.
    fn unique_key(&self) -> [u8; UNIQUE_KEY_BYTES] {
        let number = u128::from(self.connection) << 96 | u128::from(self.born_millis as u64) << 48 | u128::from(self.sequence);
        let mut digits = [0; UNIQUE_KEY_BYTES];
        // By halves: this is done for every message, and shifts of 128 bits take several instructions.
        for (half, digits) in [(number >> 64) as u64, number as u64].into_iter().zip(digits.chunks_exact_mut(16)) {
            for (at, digit) in digits.iter_mut().enumerate() {
                *digit = b"0123456789ABCDEF"[(half >> (60 - 4 * at)) as usize & 15];
            }
        }
        digits
    }
}

/// Encoded requests, one per queue, with the places of what is patched.
pub(super) struct Template {
    queues: Vec<Patched>,
}

impl Template {
    pub(super) fn new(shape: &FrameShape) -> Self {
        Self { queues: (0..shape.queues).map(|queue_id| Patched::new(shape, queue_id)).collect() }
    }

    pub(super) fn longest(&self) -> usize {
        self.queues.iter().map(|queue| queue.frame.len()).max().unwrap_or(0)
    }

    /// Appends the request. `opaque` must have ten digits, so that a frame keeps its length.
    pub(super) fn stamp(&self, out: &mut BytesMut, queue: u32, opaque: i32, stamp: &Stamp) {
        let template = &self.queues[queue as usize];
        let start = out.len();
        out.extend_from_slice(&template.frame);
        template.patch(&mut out[start..], opaque, stamp);
    }

    /// The body of the first message of a request.
    pub(super) fn body(&self, queue: u32, stamp: &Stamp) -> Vec<u8> {
        let template = &self.queues[queue as usize];
        let body_at = template.items[0].body_at;
        let mut body = template.frame[body_at..body_at + template.body_bytes].to_vec();
        patch_body(&mut body, &stamp.unique_key());
        body
    }
}

struct Patched {
    frame: Vec<u8>,
    binary: bool,
    body_bytes: usize,
    opaque_at: usize,
    born_at: usize,
    topic_at: Option<usize>,
    items: Vec<PatchedItem>,
}

/// One message in a frame.
struct PatchedItem {
    unique_key_at: usize,
    key_at: usize,
    body_at: usize,
}

/// Stand-ins: each occurs in a frame only where it is to be patched.
const OPAQUE_MARK: i32 = 1_987_654_321;
const BORN_MARK: i64 = 1_765_432_109_876;
const UNIQUE_KEY_MARK: &str = "FEDCBA9876543210FEDCBA9876543210";
const KEY_MARK: &str = "key0987654321";
const KEY_PREFIX_BYTES: usize = 3;
const KEY_DIGITS: usize = 10;

impl Patched {
    fn new(shape: &FrameShape, queue_id: u32) -> Self {
        let properties = format!("UNIQ_KEY\u{1}{UNIQUE_KEY_MARK}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}KEYS\u{1}{KEY_MARK}\u{2}");
        // Digits, so that no mark can occur in it; its first bytes are patched with the unique key.
        let body: Vec<u8> = (0..shape.body_bytes).map(|at| b'0' + (at % 7) as u8).collect();
        let is_batch = shape.batch > 1;
        let mut payload = Vec::new();
        let mut bodies_at = vec![0];
        if is_batch {
            bodies_at.clear();
            for _ in 0..shape.batch {
                encode_item(0, &body, properties.as_bytes(), &mut payload);
                bodies_at.push(payload.len() - properties.len() - size_of::<u16>() - body.len());
            }
        } else {
            payload = body;
        }
        let topic = if shape.numbered { numbered_topic(&shape.topic, TOPIC_MARK) } else { shape.topic.clone() };
        let topic_mark = topic.clone().into_bytes();
        let header = SendMessageRequestHeaderV2::from(SendMessageRequestHeader {
            producer_group: GROUP.into(),
            topic: topic.into(),
            default_topic: topic_names::AUTO_CREATE.into(),
            default_topic_queue_nums: 4,
            queue_id: queue_id as i32,
            born_timestamp: BORN_MARK,
            properties: if is_batch { "WAIT\u{1}true\u{2}".into() } else { properties.into() },
            reconsume_times: Some(0),
            batch: is_batch,
            ..SendMessageRequestHeader::default()
        });
        let code = if is_batch { request_code::SEND_BATCH_MESSAGE } else { request_code::SEND_MESSAGE_V2 };
        let payload_bytes = payload.len();
        let mut request = RemotingCommand::request_with(code, &header).with_body(payload);
        request.serialize_type = shape.header.into();
        request.opaque = OPAQUE_MARK;
        if shape.oneway {
            request.mark_oneway();
        }
        let mut out = BytesMut::new();
        request.encode(&mut out);
        let frame = out.to_vec();
        let binary = request.serialize_type == SerializeType::RocketMq;
        let opaque_mark = if binary { OPAQUE_MARK.to_be_bytes().to_vec() } else { OPAQUE_MARK.to_string().into_bytes() };
        let payload_at = frame.len() - payload_bytes;
        let (unique_keys_at, keys_at) = (positions(&frame, UNIQUE_KEY_MARK.as_bytes()), positions(&frame, KEY_MARK.as_bytes()));
        assert_eq!((unique_keys_at.len(), keys_at.len()), (bodies_at.len(), bodies_at.len()), "one mark of each kind per message");
        let items = bodies_at.iter().zip(unique_keys_at).zip(keys_at).map(|((body_at, unique_key_at), key_at)| PatchedItem {
            unique_key_at,
            key_at: key_at + KEY_PREFIX_BYTES,
            body_at: payload_at + body_at,
        });
        Self {
            binary,
            body_bytes: shape.body_bytes,
            opaque_at: only_position(&frame, &opaque_mark),
            born_at: only_position(&frame, BORN_MARK.to_string().as_bytes()),
            topic_at: shape.numbered.then(|| only_position(&frame, &topic_mark) + topic_mark.len() - TOPIC_DIGITS),
            items: items.collect(),
            frame,
        }
    }

    fn patch(&self, frame: &mut [u8], opaque: i32, stamp: &Stamp) {
        if self.binary {
            frame[self.opaque_at..self.opaque_at + 4].copy_from_slice(&opaque.to_be_bytes());
        } else {
            write_digits(&mut frame[self.opaque_at..self.opaque_at + 10], opaque as u64);
        }
        write_digits(&mut frame[self.born_at..self.born_at + 13], stamp.born_millis as u64);
        if let Some(at) = self.topic_at {
            write_digits(&mut frame[at..at + TOPIC_DIGITS], u64::from(stamp.topic));
        }
        let mut stamp = *stamp;
        for item in &self.items {
            let unique_key = stamp.unique_key();
            frame[item.unique_key_at..item.unique_key_at + unique_key.len()].copy_from_slice(&unique_key);
            write_digits(&mut frame[item.key_at..item.key_at + KEY_DIGITS], stamp.sequence);
            patch_body(&mut frame[item.body_at..item.body_at + self.body_bytes], &unique_key);
            stamp.sequence += 1;
        }
    }
}

fn patch_body(body: &mut [u8], unique_key: &[u8]) {
    let patched = body.len().min(unique_key.len());
    body[..patched].copy_from_slice(&unique_key[..patched]);
}

/// The sequence of the request that brought this body: the end of the unique key that it begins with.
pub(super) fn sequence_of(body: &[u8]) -> Option<u64> {
    let digits = body.get(UNIQUE_KEY_BYTES - SEQUENCE_DIGITS..UNIQUE_KEY_BYTES)?;
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

fn positions(frame: &[u8], mark: &[u8]) -> Vec<usize> {
    frame.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at).collect()
}

pub(super) fn only_position(frame: &[u8], mark: &[u8]) -> usize {
    match positions(frame, mark)[..] {
        [at] => at,
        ref found => panic!("a mark of the frame stands at {found:?}"),
    }
}

/// The last digits of `number`, filling `digits`.
pub(super) fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Code and opaque of a command, without reading the rest; `None` when it looks unlike what this meter or either server writes.
pub(super) fn command_numbers(frame: &[u8]) -> Option<(i32, i32)> {
    let word = u32::from_be_bytes(*frame.first_chunk()?);
    let header = frame.get(4..4 + (word & 0x00FF_FFFF) as usize)?;
    match word >> 24 {
        0 => {
            let code = leading_number(header.strip_prefix(b"{\"code\":")?)?;
            // Found from the end by its rarest letter: the field stands before the last few.
            let mut until = header.len();
            loop {
                let q = header[..until].iter().rposition(|byte| *byte == b'q')?;
                if header[..q].ends_with(b"\"opa")
                    && let Some(value) = header[q..].strip_prefix(b"que\":")
                {
                    return Some((code, leading_number(value)?));
                }
                until = q;
            }
        }
        1 => {
            let code = i16::from_be_bytes([*header.first()?, *header.get(1)?]);
            Some((i32::from(code), i32::from_be_bytes(*header.get(5..)?.first_chunk()?)))
        }
        _ => None,
    }
}

/// Nine or ten digits at most, as an i32 has them; never negative.
fn leading_number(text: &[u8]) -> Option<i32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrocket_protocol::message::batch::items;
    use ferrocket_protocol::split_frame;

    fn shape(header: HeaderForm) -> FrameShape {
        FrameShape { topic: "T".into(), numbered: false, queues: 4, header, body_bytes: 100, batch: 1, oneway: false }
    }

    fn stamped(shape: &FrameShape, stamp: &Stamp) -> RemotingCommand {
        let mut out = BytesMut::new();
        Template::new(shape).stamp(&mut out, 3, 1_000_000_009, stamp);
        let request = RemotingCommand::decode(split_frame(&mut out).unwrap().unwrap()).unwrap();
        assert_eq!(request.opaque, 1_000_000_009);
        request
    }

    const STAMP: Stamp = Stamp { topic: 17, connection: 5, sequence: 42, born_millis: 1_700_000_000_000 };

    #[test]
    fn a_patched_frame_is_the_request_it_should_be() {
        for header in [HeaderForm::Json, HeaderForm::Binary] {
            let shape = shape(header);
            let request = stamped(&shape, &STAMP);
            let header = SendMessageRequestHeader::from_request(&request).unwrap();
            assert_eq!((header.queue_id, header.born_timestamp, &*header.topic), (3, 1_700_000_000_000, "T"));
            let key = String::from_utf8(STAMP.unique_key().to_vec()).unwrap();
            assert!(header.properties.contains(&key) && header.properties.contains("key0000000042\u{2}"));
            assert_eq!(request.body, Template::new(&shape).body(3, &STAMP));
            assert_eq!(sequence_of(&request.body), Some(STAMP.sequence));
            assert!(request.body.starts_with(key.as_bytes()));
            assert!(!request.is_oneway());
        }
    }

    #[test]
    fn a_batch_carries_so_many_messages_each_with_its_own_key() {
        let shape = FrameShape { batch: 3, ..shape(HeaderForm::Json) };
        let request = stamped(&shape, &STAMP);
        assert_eq!(request.code, request_code::SEND_BATCH_MESSAGE);
        assert!(SendMessageRequestHeader::from_request(&request).unwrap().batch);
        let items: Vec<_> = items(&request.body).collect::<Result<_, _>>().unwrap();
        for (at, item) in items.iter().enumerate() {
            let stamp = Stamp { sequence: STAMP.sequence + at as u64, ..STAMP };
            assert_eq!(item.body, Template::new(&shape).body(3, &stamp));
            let properties = String::from_utf8(item.properties.to_vec()).unwrap();
            assert!(properties.contains(&format!("key00000000{}\u{2}", 42 + at)), "{properties}");
        }
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn a_numbered_topic_is_patched_and_oneway_is_marked() {
        let shape = FrameShape { numbered: true, oneway: true, ..shape(HeaderForm::Binary) };
        let request = stamped(&shape, &STAMP);
        assert_eq!(&*SendMessageRequestHeader::from_request(&request).unwrap().topic, "T-00017");
        assert!(request.is_oneway());
    }

    #[test]
    fn a_unique_key_is_the_number_in_hexadecimal_digits() {
        let stamp = Stamp { topic: 0, connection: 0xAB, sequence: 0x12, born_millis: 0x0199_0000_0000 };
        assert_eq!(stamp.unique_key(), *b"000000AB019900000000000000000012");
    }

    #[test]
    fn an_answer_gives_its_numbers_in_either_form() {
        for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
            let mut answer = RemotingCommand::request(14);
            answer.serialize_type = serialize_type;
            answer.opaque = 1_000_000_321;
            let mut out = BytesMut::new();
            answer.encode(&mut out);
            assert_eq!(command_numbers(&split_frame(&mut out).unwrap().unwrap()), Some((14, 1_000_000_321)));
        }
        // As the original orders it.
        let header = br#"{"code":0,"extFields":{"queueId":"3","msgId":"x","queueOffset":"12"},"flag":1,"language":"JAVA","opaque":77,"serializeTypeCurrentRPC":"JSON","version":477}"#;
        let frame = [&(header.len() as u32).to_be_bytes()[..], header].concat();
        assert_eq!(command_numbers(&frame), Some((0, 77)));
        let tricky = br#"{"code":2,"flag":1,"opaque":5,"remark":"q queue opaque"}"#;
        let frame = [&(tricky.len() as u32).to_be_bytes()[..], tricky].concat();
        assert_eq!(command_numbers(&frame), Some((2, 5)));
        assert_eq!(command_numbers(&frame[..40]), None);
        assert_eq!(command_numbers(b""), None);
    }
}
