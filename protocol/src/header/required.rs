// SPDX-License-Identifier: Apache-2.0
//! The fields without which the original cannot go on: it reads null into a number, or looks null up in a table, and answers
//! SYSTEM_ERROR. (What a header declares as not null says little: most of those may be missing.) Knows codes and names only.
//!
//! Where the original refuses a missing field by a code of its own, that is the processor's, not this table's. A send and a pull tell it
//! while they are read (`SendFields`, `PullFields`).

use std::ops::RangeInclusive;

use crate::command::RemotingCommand;
use crate::ext_fields::ExtFields;
use crate::request_code as code;
use crate::scan;

struct Required {
    name: &'static str,
    /// `scan::word_of` the name.
    word: u64,
    /// What its text can be.
    range: Option<RangeInclusive<i64>>,
}

const fn text(name: &'static str) -> Required {
    Required { name, word: scan::word_of(name.as_bytes()), range: None }
}

const fn int(name: &'static str) -> Required {
    Required { name, word: scan::word_of(name.as_bytes()), range: Some(i32::MIN as i64..=i32::MAX as i64) }
}

const fn long(name: &'static str) -> Required {
    Required { name, word: scan::word_of(name.as_bytes()), range: Some(i64::MIN..=i64::MAX) }
}

/// The first field of a request to a broker that is missing or, being a number, cannot be read.
pub fn unreadable_field(request: &RemotingCommand) -> Option<&'static str> {
    first_unreadable(of_broker(request.code), &request.ext_fields)
}

/// The same for a request to a name server.
pub fn unreadable_route_field(request: &RemotingCommand) -> Option<&'static str> {
    first_unreadable(of_name_server(request.code), &request.ext_fields)
}

fn first_unreadable(required: &[Required], ext: &ExtFields) -> Option<&'static str> {
    required.iter().find_map(|field| field.unreadable(ext))
}

fn of_name_server(request_code: i32) -> &'static [Required] {
    match request_code {
        code::REGISTER_BROKER => const { &[text("brokerName"), text("clusterName"), text("brokerAddr"), long("brokerId")] },
        code::QUERY_DATA_VERSION | code::BROKER_HEARTBEAT => const { &[text("brokerAddr")] },
        _ => &[],
    }
}

fn of_broker(request_code: i32) -> &'static [Required] {
    match request_code {
        code::END_TRANSACTION => const { &[int("commitOrRollback"), long("tranStateTableOffset"), long("commitLogOffset")] },
        code::CONSUMER_SEND_MSG_BACK => const { &[text("group"), long("offset")] },
        code::QUERY_MESSAGE => const { &[int("maxNum"), long("beginTimestamp"), long("endTimestamp")] },
        code::VIEW_MESSAGE_BY_ID => const { &[long("offset")] },
        code::QUERY_CONSUMER_OFFSET => const { &[int("queueId")] },
        code::UPDATE_CONSUMER_OFFSET => const { &[text("topic")] },
        code::SEARCH_OFFSET_BY_TIMESTAMP => const { &[text("topic"), int("queueId"), long("timestamp")] },
        code::GET_MAX_OFFSET | code::GET_MIN_OFFSET | code::GET_EARLIEST_MSG_STORETIME => const { &[text("topic"), int("queueId")] },
        code::UPDATE_AND_CREATE_TOPIC => {
            const { &[text("topic"), text("topicFilterType"), int("perm"), int("readQueueNums"), int("writeQueueNums")] }
        }
        code::GET_TOPIC_CONFIG | code::GET_TOPIC_STATS_INFO | code::QUERY_TOPIC_CONSUME_BY_WHO | code::INVOKE_BROKER_TO_RESET_OFFSET => {
            const { &[text("topic")] }
        }
        code::GET_SUBSCRIPTIONGROUP_CONFIG => const { &[text("group")] },
        code::DELETE_SUBSCRIPTIONGROUP => const { &[text("groupName")] },
        code::GET_CONSUMER_LIST_BY_GROUP
        | code::GET_CONSUMER_CONNECTION_LIST
        | code::GET_CONSUME_STATS
        | code::GET_CONSUMER_RUNNING_INFO => const { &[text("consumerGroup")] },
        code::GET_PRODUCER_CONNECTION_LIST => const { &[text("producerGroup")] },
        _ => &[],
    }
}

impl Required {
    fn unreadable(&self, ext: &ExtFields) -> Option<&'static str> {
        let value = ext.get_bytes(self.word, self.name);
        let is_readable = value.is_some_and(|digits| match &self.range {
            Some(range) => scan::integer(digits).is_some_and(|number| range.contains(&number)),
            None => true,
        });
        (!is_readable).then_some(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(code: i32, fields: &[(&str, &str)]) -> RemotingCommand {
        let mut request = RemotingCommand::request(code);
        for (name, value) in fields {
            request.ext_fields.insert(name, value);
        }
        request
    }

    /// Seen on 5.5.0: `ConsumeQueueStore` is asked with a null number, which ends in a NullPointerException.
    #[test]
    fn a_number_must_be_there_and_be_one() {
        assert_eq!(unreadable_field(&request(code::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "-1")])), None);
        assert_eq!(unreadable_field(&request(code::GET_MAX_OFFSET, &[("topic", "T")])), Some("queueId"));
        assert_eq!(unreadable_field(&request(code::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "x")])), Some("queueId"));
        assert_eq!(unreadable_field(&request(code::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "2147483648")])), Some("queueId"));
        assert_eq!(unreadable_field(&request(code::GET_MAX_OFFSET, &[("queueId", "0")])), Some("topic"));
        let at = |offset| unreadable_field(&request(code::VIEW_MESSAGE_BY_ID, &[("offset", offset)]));
        assert_eq!((at("2147483648"), at("9223372036854775808")), (None, Some("offset")));
    }

    /// A blank name is there; the processors have their own words for it.
    #[test]
    fn a_blank_text_is_there() {
        assert_eq!(unreadable_field(&request(code::GET_TOPIC_CONFIG, &[("topic", "")])), None);
    }

    #[test]
    fn a_code_without_required_fields_needs_none() {
        assert_eq!(unreadable_field(&request(code::HEART_BEAT, &[])), None);
    }
}
