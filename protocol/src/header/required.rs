// SPDX-License-Identifier: Apache-2.0
//! The fields without which the original cannot go on: it reads null into a number, or looks null up in a table, and answers
//! SYSTEM_ERROR. (What a header declares as not null says little: most of those may be missing.) Knows codes and names only.
//!
//! Where the original refuses a missing field by a code of its own, that is the processor's, not this table's.

use crate::command::RemotingCommand;
use crate::ext_fields::ExtFields;
use crate::request_code as code;
use crate::scan;

enum Required {
    Text(&'static str),
    Number(&'static str),
}

use Required::{Number, Text};

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
        code::REGISTER_BROKER => &[Text("brokerName"), Text("clusterName"), Text("brokerAddr")],
        code::QUERY_DATA_VERSION | code::BROKER_HEARTBEAT => &[Text("brokerAddr")],
        _ => &[],
    }
}

fn of_broker(request_code: i32) -> &'static [Required] {
    match request_code {
        code::SEND_MESSAGE => &[Text("topic"), Number("queueId"), Number("sysFlag"), Number("bornTimestamp"), Number("flag")],
        code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => &[Text("b"), Number("e"), Number("f"), Number("g"), Number("h")],
        code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => {
            &[Text("consumerGroup"), Text("topic"), Number("queueId"), Number("queueOffset"), Number("maxMsgNums"), Number("sysFlag")]
        }
        code::END_TRANSACTION => &[Number("commitOrRollback"), Number("tranStateTableOffset"), Number("commitLogOffset")],
        code::CONSUMER_SEND_MSG_BACK => &[Text("group"), Number("offset")],
        code::QUERY_MESSAGE => &[Number("maxNum"), Number("beginTimestamp"), Number("endTimestamp")],
        code::VIEW_MESSAGE_BY_ID => &[Number("offset")],
        code::QUERY_CONSUMER_OFFSET => &[Number("queueId")],
        code::UPDATE_CONSUMER_OFFSET => &[Text("topic")],
        code::SEARCH_OFFSET_BY_TIMESTAMP => &[Text("topic"), Number("queueId"), Number("timestamp")],
        code::GET_MAX_OFFSET | code::GET_MIN_OFFSET | code::GET_EARLIEST_MSG_STORETIME => &[Text("topic"), Number("queueId")],
        code::UPDATE_AND_CREATE_TOPIC => {
            &[Text("topic"), Text("topicFilterType"), Number("perm"), Number("readQueueNums"), Number("writeQueueNums")]
        }
        code::GET_TOPIC_CONFIG | code::GET_TOPIC_STATS_INFO | code::QUERY_TOPIC_CONSUME_BY_WHO | code::INVOKE_BROKER_TO_RESET_OFFSET => {
            &[Text("topic")]
        }
        code::GET_SUBSCRIPTIONGROUP_CONFIG => &[Text("group")],
        code::DELETE_SUBSCRIPTIONGROUP => &[Text("groupName")],
        code::GET_CONSUMER_LIST_BY_GROUP
        | code::GET_CONSUMER_CONNECTION_LIST
        | code::GET_CONSUME_STATS
        | code::GET_CONSUMER_RUNNING_INFO => &[Text("consumerGroup")],
        code::GET_PRODUCER_CONNECTION_LIST => &[Text("producerGroup")],
        _ => &[],
    }
}

impl Required {
    fn unreadable(&self, ext: &ExtFields) -> Option<&'static str> {
        let (name, readable) = match self {
            Text(name) => (*name, ext.contains(name)),
            Number(name) => (*name, ext.get_bytes(name).is_some_and(|digits| scan::integer(digits).is_some())),
        };
        (!readable).then_some(name)
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
        assert_eq!(unreadable_field(&request(code::GET_MAX_OFFSET, &[("queueId", "0")])), Some("topic"));
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
