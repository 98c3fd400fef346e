// SPDX-License-Identifier: Apache-2.0
//! Sending: the long names of V1, the letters of V2, and the answer.

use super::header;
use crate::command::RemotingCommand;
use crate::error::HeaderError;
use crate::request_code;
use crate::str::Str;

header! {
    /// SEND_MESSAGE (10), SEND_REPLY_MESSAGE (324); what the V2 codes are read into as well.
    pub struct SendMessageRequestHeader {
        "producerGroup" => producer_group: Str!,
        "topic" => topic: Str!,
        "defaultTopic" => default_topic: Str!,
        "defaultTopicQueueNums" => default_topic_queue_nums: i32!,
        "queueId" => queue_id: i32!,
        "sysFlag" => sys_flag: i32!,
        "bornTimestamp" => born_timestamp: i64!,
        "flag" => flag: i32!,
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
        "b" => topic: Str!,
        "c" => default_topic: Str!,
        "d" => default_topic_queue_nums: i32!,
        "e" => queue_id: i32!,
        "f" => sys_flag: i32!,
        "g" => born_timestamp: i64!,
        "h" => flag: i32!,
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
        "offset" => offset: i64!,
        "group" => group: Str!,
        "delayLevel" => delay_level: i32!,
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

    #[test]
    fn a_code_reads_only_its_own_spelling() {
        let mut crossed = RemotingCommand::request(request_code::SEND_MESSAGE);
        crossed.ext_fields.insert("b", "letters");
        assert_eq!(SendMessageRequestHeader::from_request(&crossed).unwrap().topic, "");
    }
}
