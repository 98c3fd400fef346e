// SPDX-License-Identifier: Apache-2.0
//! HEART_BEAT (34): who a client is and what it reads. Read with all liberties of C++ (ordinals) and Go (code sets of strings).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    #[serde(rename = "clientID")]
    pub client_id: String,
    pub consumer_data_set: Vec<ConsumerData>,
    /// Not 0 in V2: the hash of the rest.
    pub heartbeat_fingerprint: i32,
    pub producer_data_set: Vec<ProducerData>,
    #[serde(alias = "isWithoutSub")]
    pub without_sub: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    pub group_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub group_name: String,
    pub message_model: MessageModel,
    pub subscription_data_set: Vec<SubscriptionData>,
    pub unit_mode: bool,
}

/// In the order of their ordinals, which the C++ client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeType {
    ConsumeActively,
    ConsumePassively,
    ConsumePop,
    /// Left out, or a word of the client's own (`PUSH` of client-go 2.0.0): Java's null, and written as that.
    #[default]
    #[serde(other, rename = "")]
    Unknown,
}

/// In the order of their ordinals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageModel {
    Broadcasting,
    Clustering,
    LiteSelective,
    /// As of `ConsumeType`.
    #[default]
    #[serde(other, rename = "")]
    Unknown,
}

/// In the order of their ordinals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeFromWhere {
    ConsumeFromLastOffset,
    ConsumeFromLastOffsetAndFromMinWhenBootFirst,
    ConsumeFromMinOffset,
    ConsumeFromMaxOffset,
    ConsumeFromFirstOffset,
    ConsumeFromTimestamp,
    /// As of `ConsumeType`.
    #[default]
    #[serde(other, rename = "")]
    Unknown,
}

/// Expression type of a subscription by tags.
pub const EXPRESSION_TAG: &str = "TAG";
pub const EXPRESSION_SQL92: &str = "SQL92";
/// The expression that takes everything.
pub const SUB_ALL: &str = "*";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    pub class_filter_mode: bool,
    /// Java hashes of the tags.
    pub code_set: BTreeSet<i32>,
    pub expression_type: String,
    pub sub_string: String,
    /// Milliseconds from Java, nanoseconds from Go: only ever compared.
    pub sub_version: i64,
    pub tags_set: BTreeSet<String>,
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: BTreeSet::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: BTreeSet::new(),
            topic: String::new(),
        }
    }
}

/// 46.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientRequestBody {
    pub client_id: String,
    pub group: String,
    pub namespace: Option<String>,
    pub subscription_data: Option<SubscriptionData>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson;

    /// rocketmq-client-go v2.1.2 sends hashes as text.
    #[test]
    fn go_is_read() {
        let text = br#"{"clientID":"1.2.3.4@5","producerDataSet":[],"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"t","subString":"a","tagsSet":["a"],"codeSet":["97"],"subVersion":1700000000000000000,"expressionType":"TAG"}],"unitMode":false}]}"#;
        let heartbeat: HeartbeatData = fastjson::from_slice(text).unwrap();
        let subscription = &heartbeat.consumer_data_set[0].subscription_data_set[0];
        assert_eq!((subscription.code_set.first(), subscription.sub_version), (Some(&97), 1_700_000_000_000_000_000));
    }

    #[test]
    fn cpp_is_read() {
        let text = br#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"g","messageModel":0,"subscriptionDataSet":[{"codeSet":[97],"subString":"a","subVersion":"12","tagsSet":["a"],"topic":"t"}]}]}"#;
        let consumer = fastjson::from_slice::<HeartbeatData>(text).unwrap().consumer_data_set.remove(0);
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::ConsumeFromFirstOffset);
        assert_eq!((consumer.consume_type, consumer.message_model), (ConsumeType::ConsumePassively, MessageModel::Broadcasting));
        assert_eq!(
            (consumer.subscription_data_set[0].sub_version, consumer.subscription_data_set[0].expression_type.as_str()),
            (12, "TAG")
        );
    }

    /// rocketmq-client-go 2.0.0 says `PUSH`.
    #[test]
    fn words_are_read_in_any_case_and_unknown_ones_are_null() {
        let text = br#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":"consumeFromFirst-Offset","consumeType":"PUSH","groupName":"g","messageModel":"Clustering"}]}"#;
        let consumer = fastjson::from_slice::<HeartbeatData>(text).unwrap().consumer_data_set.remove(0);
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::ConsumeFromFirstOffset);
        assert_eq!((consumer.consume_type, consumer.message_model), (ConsumeType::Unknown, MessageModel::Clustering));
        let written = r#"{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[],"unitMode":false}"#;
        assert_eq!(fastjson::to_string(&consumer), written);
    }

    #[test]
    fn both_spellings_of_without_sub_are_read() {
        for text in [&br#"{"withoutSub":true}"#[..], br#"{"isWithoutSub":true}"#] {
            assert!(fastjson::from_slice::<HeartbeatData>(text).unwrap().without_sub);
        }
    }
}
