// SPDX-License-Identifier: Apache-2.0
//! Sending: the long names of V1, the letters of V2, and the answer.

use super::{Field, header};
use crate::command::RemotingCommand;
use crate::error::HeaderError;
use crate::ext_fields::FieldName;
use crate::request_code;
use crate::str::Str;

header! {
    /// SEND_MESSAGE (10), SEND_REPLY_MESSAGE (324); what the V2 codes are read into as well.
    pub struct SendMessageRequestHeader {
        "producerGroup" => producer_group: Str!,
        "topic" => topic: Str! required,
        "defaultTopic" => default_topic: Str!,
        "defaultTopicQueueNums" => default_topic_queue_nums: i32!,
        "queueId" => queue_id: i32! required,
        "sysFlag" => sys_flag: i32! required,
        "bornTimestamp" => born_timestamp: i64! required,
        "flag" => flag: i32! required,
        "properties" => properties: Str,
        "reconsumeTimes" => reconsume_times: Option<i32>,
        "unitMode" => unit_mode: bool,
        "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
        "batch" => batch: bool,
        "bname" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    /// SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320), SEND_REPLY_MESSAGE_V2 (325): the same in letters.
    pub struct SendMessageRequestHeaderV2 {
        "a" => producer_group: Str!,
        "b" => topic: Str! required,
        "c" => default_topic: Str!,
        "d" => default_topic_queue_nums: i32!,
        "e" => queue_id: i32! required,
        "f" => sys_flag: i32! required,
        "g" => born_timestamp: i64! required,
        "h" => flag: i32! required,
        "i" => properties: Str,
        "j" => reconsume_times: Option<i32>,
        "k" => unit_mode: bool,
        "l" => max_reconsume_times: Option<i32>,
        "m" => batch: bool,
        "n" => broker_name: Option<Str>,
        "lo" => logical: Option<bool>,
    }

    /// The answer to all of them. `MSG_REGION` and `TRACE_ON` must be there: Java producers read them without a look.
    pub struct SendMessageResponseHeader {
        "msgId" => msg_id: Str!,
        "queueId" => queue_id: i32!,
        "queueOffset" => queue_offset: i64!,
        "transactionId" => transaction_id: Option<Str>,
        "batchUniqId" => batch_uniq_id: Option<Str>,
        "recallHandle" => recall_handle: Option<Str>,
        "MSG_REGION" => msg_region: Option<Str>,
        "TRACE_ON" => trace_on: Option<Str>,
    }

    /// CONSUMER_SEND_MSG_BACK (36).
    pub struct ConsumerSendMsgBackRequestHeader {
        "offset" => offset: i64! required,
        "group" => group: Str! required,
        "delayLevel" => delay_level: Option<i32>!,
        "originMsgId" => origin_msg_id: Option<Str>,
        "originTopic" => origin_topic: Option<Str>,
        "unitMode" => unit_mode: bool,
        "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
        "bname" => broker_name: Option<Str>,
    }

    /// RECALL_MESSAGE (370).
    pub struct RecallMessageRequestHeader {
        "producerGroup" => producer_group: Option<Str>,
        "topic" => topic: Str!,
        "recallHandle" => recall_handle: Str!,
        "bname" => broker_name: Option<Str>,
    }

    pub struct RecallMessageResponseHeader {
        "msgId" => msg_id: Str!,
    }
}

impl SendMessageRequestHeader {
    /// Whichever names the code of `request` goes with.
    pub fn from_request(request: &RemotingCommand) -> Result<Self, HeaderError> {
        match request.code {
            request_code::SEND_MESSAGE_V2 | request_code::SEND_BATCH_MESSAGE | request_code::SEND_REPLY_MESSAGE_V2 => {
                request.header::<SendMessageRequestHeaderV2>().map(Self::from)
            }
            _ => request.header(),
        }
    }
}

impl ConsumerSendMsgBackRequestHeader {
    /// `delay_level`, without which the original sends nothing back.
    pub fn required_delay_level(&self) -> Result<i32, &'static str> {
        self.delay_level.ok_or("delayLevel")
    }
}

/// The fields of a send where they lie in its request: what comes with every message is read without an owner.
#[derive(Debug, Clone)]
pub struct SendFields<'a> {
    pub topic: Str,
    /// Only a topic that has to be made is made like this one; no topic has a name that is no text.
    pub default_topic: &'a [u8],
    /// Only a topic that has to be made needs it.
    pub default_topic_queue_nums: Option<i32>,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    pub properties: &'a [u8],
    pub reconsume_times: Option<i32>,
    pub unit_mode: bool,
    pub max_reconsume_times: Option<i32>,
    pub batch: bool,
}

/// SendMessageRequestHeader's names, and the letters of SendMessageRequestHeaderV2 for them.
const LETTERS: [(&str, u8); 12] = [
    ("topic", b'b'),
    ("defaultTopic", b'c'),
    ("defaultTopicQueueNums", b'd'),
    ("queueId", b'e'),
    ("sysFlag", b'f'),
    ("bornTimestamp", b'g'),
    ("flag", b'h'),
    ("properties", b'i'),
    ("reconsumeTimes", b'j'),
    ("unitMode", b'k'),
    ("maxReconsumeTimes", b'l'),
    ("batch", b'm'),
];

/// Without these the original cannot go on; the last three may be missing.
const REQUIRED: [(&str, &str); 8] = [
    ("b", "topic"),
    ("e", "queueId"),
    ("f", "sysFlag"),
    ("g", "bornTimestamp"),
    ("h", "flag"),
    ("d", "defaultTopicQueueNums"),
    ("j", "reconsumeTimes"),
    ("l", "maxReconsumeTimes"),
];

impl<'a> SendFields<'a> {
    /// The field without which the original makes no topic.
    pub const QUEUE_NUMS: &'static str = "defaultTopicQueueNums";

    /// In the spelling that the code of `request` goes with, and as tolerant as `RemotingCommand::header`. `Err` names the first field
    /// that is missing, or no number, and without which the original cannot go on.
    pub fn read(request: &'a RemotingCommand) -> Result<Self, &'static str> {
        let in_letters = !matches!(request.code, request_code::SEND_MESSAGE | request_code::SEND_REPLY_MESSAGE);
        let (mut topic, mut default_topic, mut properties) = (None, &[][..], &[][..]);
        let (mut queue_id, mut sys_flag, mut flag) = (0, 0, 0);
        let (mut default_topic_queue_nums, mut reconsume_times, mut max_reconsume_times) = (None, None, None);
        let (mut born_timestamp, mut unit_mode, mut batch) = (0, false, false);
        // Of a name that comes twice the last value says whether it can be read.
        let (mut has_queue_id, mut has_sys_flag, mut has_born_timestamp, mut has_flag) = (false, false, false, false);
        let (mut may_make_topic, mut may_count, mut may_limit) = (true, true, true);
        for (word, name, value) in request.ext_fields.walk() {
            let letter = if in_letters { name.letter(word) } else { letter_for(name) };
            let Some(letter) = letter else { continue };
            let is_there = !value.is_null();
            match letter {
                b'b' => topic = is_there.then_some(value),
                b'c' if is_there => default_topic = value.bytes(),
                b'd' => may_make_topic = value.may_read_some(&mut default_topic_queue_nums),
                b'e' => has_queue_id = value.read_number(&mut queue_id),
                b'f' => has_sys_flag = value.read_number(&mut sys_flag),
                b'g' => has_born_timestamp = value.read_number(&mut born_timestamp),
                b'h' => has_flag = value.read_number(&mut flag),
                b'i' if is_there => properties = value.bytes(),
                b'j' => may_count = value.may_read_some(&mut reconsume_times),
                b'k' if is_there => unit_mode = bool::read(value) == Some(true),
                b'l' => may_limit = value.may_read_some(&mut max_reconsume_times),
                b'm' if is_there => batch = bool::read(value) == Some(true),
                _ => {}
            }
        }
        // In letters the original reads every number at once, in names one that cannot be read is one that is missing.
        let (may_make_topic, may_count, may_limit) = (may_make_topic | !in_letters, may_count | !in_letters, may_limit | !in_letters);
        let readable = [topic.is_some(), has_queue_id, has_sys_flag, has_born_timestamp, has_flag, may_make_topic, may_count, may_limit];
        let Some(topic) = topic.filter(|_| readable == [true; 8]) else {
            let missing = REQUIRED.iter().zip(readable).find(|(_, is_readable)| !is_readable);
            let ((letter, name), _) = missing.expect("one of them is why");
            return Err(if in_letters { letter } else { name });
        };
        Ok(Self {
            topic: topic.to_str(),
            default_topic,
            default_topic_queue_nums,
            queue_id,
            sys_flag,
            born_timestamp,
            flag,
            properties,
            reconsume_times,
            unit_mode,
            max_reconsume_times,
            batch,
        })
    }
}

fn letter_for(name: FieldName<'_>) -> Option<u8> {
    let name = name.bytes();
    LETTERS.iter().find(|(known, _)| name == known.as_bytes()).map(|(_, letter)| *letter)
}

impl From<SendMessageRequestHeaderV2> for SendMessageRequestHeader {
    fn from(letters: SendMessageRequestHeaderV2) -> Self {
        Self {
            producer_group: letters.producer_group,
            topic: letters.topic,
            default_topic: letters.default_topic,
            default_topic_queue_nums: letters.default_topic_queue_nums,
            queue_id: letters.queue_id,
            sys_flag: letters.sys_flag,
            born_timestamp: letters.born_timestamp,
            flag: letters.flag,
            properties: letters.properties,
            reconsume_times: letters.reconsume_times,
            unit_mode: letters.unit_mode,
            max_reconsume_times: letters.max_reconsume_times,
            batch: letters.batch,
            broker_name: letters.broker_name,
            logical: letters.logical,
        }
    }
}

impl From<SendMessageRequestHeader> for SendMessageRequestHeaderV2 {
    fn from(names: SendMessageRequestHeader) -> Self {
        Self {
            producer_group: names.producer_group,
            topic: names.topic,
            default_topic: names.default_topic,
            default_topic_queue_nums: names.default_topic_queue_nums,
            queue_id: names.queue_id,
            sys_flag: names.sys_flag,
            born_timestamp: names.born_timestamp,
            flag: names.flag,
            properties: names.properties,
            reconsume_times: names.reconsume_times,
            unit_mode: names.unit_mode,
            max_reconsume_times: names.max_reconsume_times,
            batch: names.batch,
            broker_name: names.broker_name,
            logical: names.logical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn both_spellings_read_as_one() {
        let header = SendMessageRequestHeader {
            producer_group: "g".into(),
            topic: "t".into(),
            queue_id: 3,
            properties: "KEYS\u{1}k\u{2}".into(),
            reconsume_times: Some(0),
            ..Default::default()
        };
        let long = RemotingCommand::request_with(request_code::SEND_MESSAGE, &header);
        let letters = RemotingCommand::request_with(request_code::SEND_MESSAGE_V2, &SendMessageRequestHeaderV2::from(header.clone()));
        assert_eq!(SendMessageRequestHeader::from_request(&long), Ok(header.clone()));
        assert_eq!(SendMessageRequestHeader::from_request(&letters), Ok(header));
    }

    fn read(request: &RemotingCommand) -> Result<SendMessageRequestHeader, &'static str> {
        SendFields::read(request).map(|fields| SendMessageRequestHeader {
            topic: fields.topic.clone(),
            default_topic: Str::copy_from(std::str::from_utf8(fields.default_topic).unwrap()),
            default_topic_queue_nums: fields.default_topic_queue_nums.unwrap_or(0),
            queue_id: fields.queue_id,
            sys_flag: fields.sys_flag,
            born_timestamp: fields.born_timestamp,
            flag: fields.flag,
            properties: Str::copy_from(std::str::from_utf8(fields.properties).unwrap()),
            reconsume_times: fields.reconsume_times,
            unit_mode: fields.unit_mode,
            max_reconsume_times: fields.max_reconsume_times,
            batch: fields.batch,
            ..SendMessageRequestHeader::default()
        })
    }

    #[test]
    fn the_fields_where_they_lie_are_those_of_the_header() {
        let header = SendMessageRequestHeader {
            topic: "t".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: -1,
            sys_flag: 2,
            born_timestamp: i64::MAX,
            flag: 7,
            properties: "KEYS\u{1}k\u{2}".into(),
            reconsume_times: Some(3),
            unit_mode: true,
            max_reconsume_times: Some(16),
            batch: true,
            ..Default::default()
        };
        let long = RemotingCommand::request_with(request_code::SEND_MESSAGE, &header);
        let letters = RemotingCommand::request_with(request_code::SEND_BATCH_MESSAGE, &SendMessageRequestHeaderV2::from(header.clone()));
        assert_eq!((read(&long), read(&letters)), (Ok(header.clone()), Ok(header)));
    }

    /// Seen on 5.5.0: each of these ends in a NullPointerException or a NumberFormatException.
    #[test]
    fn the_first_field_that_cannot_be_read_is_named() {
        let fields = [("b", "T"), ("e", "0"), ("f", "0"), ("g", "0"), ("h", "0")];
        let names = [("topic", "T"), ("queueId", "0"), ("sysFlag", "0"), ("bornTimestamp", "0"), ("flag", "0")];
        let marked = [SendMessageRequestHeaderV2::REQUIRED, SendMessageRequestHeader::REQUIRED];
        for ((code, all), marked) in [(request_code::SEND_MESSAGE_V2, fields), (request_code::SEND_MESSAGE, names)].into_iter().zip(marked)
        {
            assert!(marked.iter().map(|field| field.name).eq(all.map(|(name, _)| name)), "they are marked so");
            let mut request = RemotingCommand::request(code);
            for (name, value) in all {
                assert_eq!(read(&request), Err(name));
                if value == "0" {
                    request.ext_fields.insert(name, "x");
                    assert_eq!(read(&request), Err(name));
                }
                request.ext_fields.insert(name, value);
            }
            assert!(read(&request).is_ok());
            request.ext_fields.insert(all[1].0, "2147483648");
            assert_eq!(read(&request), Err(all[1].0), "too large for an int");
        }
    }

    /// Seen on 5.5.0: SendMessageRequestHeaderV2 reads its numbers itself, the long names are read one by one and forgiven.
    #[test]
    fn what_may_be_missing_must_still_be_a_number_in_letters() {
        let fields = [("b", "T"), ("e", "0"), ("f", "0"), ("g", "0"), ("h", "0")];
        let names = [("topic", "T"), ("queueId", "0"), ("sysFlag", "0"), ("bornTimestamp", "0"), ("flag", "0")];
        for (letter, name) in &REQUIRED[5..] {
            for text in ["word", "", "2147483648"] {
                let mut letters = RemotingCommand::request(request_code::SEND_MESSAGE_V2);
                letters.ext_fields = fields.into_iter().chain([(*letter, text)]).collect();
                assert_eq!(read(&letters), Err(*letter), "{text}");
                let mut long = RemotingCommand::request(request_code::SEND_MESSAGE);
                long.ext_fields = names.into_iter().chain([(*name, text)]).collect();
                assert!(read(&long).is_ok(), "{name}={text}");
            }
        }
    }

    #[test]
    fn a_code_reads_only_its_own_spelling() {
        let mut crossed = RemotingCommand::request(request_code::SEND_MESSAGE);
        crossed.ext_fields.insert("b", "letters");
        assert_eq!(SendMessageRequestHeader::from_request(&crossed).unwrap().topic, "");
    }
}
