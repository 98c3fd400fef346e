// SPDX-License-Identifier: Apache-2.0
//! Tag subscriptions: the hash of a message's tag is enough here, clients compare the tags themselves.
//!
//! Order and results follow FilterAPI.java and ExpressionMessageFilter.java.

use ferrocket_protocol::body::SubscriptionData;
use ferrocket_protocol::java_hash::string_hash;
use thiserror::Error;

use crate::store::MessageFilter;

const EVERYTHING: &str = "*";
const TAG: &str = "TAG";

/// The longest expression that is read: some thousand tags, of which a consumer has a few. It is kept as text, as a set and as hashes.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;
/// Tags and their hashes of all subscriptions of one heartbeat: they are kept for as long as its client is there.
pub const TAGS_MAX: usize = 131_072;
/// What a tag costs in the sets beside its text, and a subscription beside its tags.
const TAG_BYTES: usize = 64;
const SUBSCRIPTION_BYTES: usize = 512;

/// A subscription as a client stated it, and what a ConsumeQueue unit is tested against.
#[derive(Debug)]
pub struct Subscription {
    pub data: SubscriptionData,
    /// Sorted hashes of the wanted tags; `None` wants everything.
    tag_hashes: Option<Vec<i32>>,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ParseFailed(String);

impl Subscription {
    /// As a heartbeat brought it: the client has hashed its tags.
    pub fn of_heartbeat(data: SubscriptionData) -> Self {
        let wants_everything = data.class_filter_mode || !is_tag_type(&data.expression_type) || data.sub_string == EVERYTHING;
        let tag_hashes = (!wants_everything).then(|| {
            let mut hashes: Vec<i32> = data.code_set.iter().copied().collect();
            hashes.sort_unstable();
            hashes
        });
        Self { data, tag_hashes }
    }

    /// As a pull brings it in its header.
    pub fn of_pull(topic: &str, expression: Option<&str>, expression_type: Option<&str>, now_millis: i64) -> Result<Self, ParseFailed> {
        let mut data = SubscriptionData { topic: topic.to_owned(), sub_version: now_millis, ..Default::default() };
        let expression = expression.unwrap_or_default();
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(ParseFailed(format!("the expression has {} bytes, more than {EXPRESSION_BYTES_MAX}", expression.len())));
        }
        if let Some(other) = expression_type.filter(|name| *name != TAG) {
            if expression.is_empty() {
                return Err(ParseFailed(format!("Expression can't be null! {other}")));
            }
            data.sub_string = expression.to_owned();
            data.expression_type = other.to_owned();
            return Ok(Self::of_heartbeat(data));
        }
        data.expression_type = TAG.to_owned();
        if expression.is_empty() || expression == EVERYTHING {
            data.sub_string = EVERYTHING.to_owned();
            return Ok(Self { data, tag_hashes: None });
        }
        data.sub_string = expression.to_owned();
        // Java's split drops trailing empty parts: a text of nothing but separators has no part at all.
        if expression.split("||").all(str::is_empty) {
            return Err(ParseFailed("subString split error".to_owned()));
        }
        for tag in expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()) {
            data.tags_set.insert(tag.to_owned());
            data.code_set.insert(string_hash(tag));
        }
        Ok(Self::of_heartbeat(data))
    }

    /// About what it takes to keep it.
    pub fn kept_bytes(&self) -> usize {
        let data = &self.data;
        SUBSCRIPTION_BYTES + data.topic.len() + 2 * data.sub_string.len() + TAG_BYTES * (data.tags_set.len() + data.code_set.len())
    }

    #[cfg(test)]
    pub fn of_tags(topic: &str, tags: &str) -> Self {
        Self::of_pull(topic, Some(tags), None, 0).expect("a test's tags parse")
    }

    pub fn is_tag_type(&self) -> bool {
        is_tag_type(&self.data.expression_type)
    }

    /// Whether a later pull with this text may use what was parsed.
    pub fn has_expression(&self, expression: Option<&str>, expression_type: Option<&str>) -> bool {
        let expression = expression.filter(|text| !text.is_empty()).unwrap_or(EVERYTHING);
        self.data.sub_string == expression && self.data.expression_type == expression_type.unwrap_or(TAG)
    }

    pub fn matches_tags_code(&self, tags_code: i64) -> bool {
        match &self.tag_hashes {
            None => true,
            // Java narrows the unit's long to an int before it looks.
            Some(hashes) => hashes.binary_search(&(tags_code as i32)).is_ok(),
        }
    }
}

impl MessageFilter for Subscription {
    fn matches_unit(&self, tags_code: i64) -> bool {
        self.matches_tags_code(tags_code)
    }
}

/// Whether a subscription of this type is a list of tags.
pub fn is_tag_type(expression_type: &str) -> bool {
    expression_type.is_empty() || expression_type == TAG
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(tag: &str) -> i64 {
        i64::from(string_hash(tag))
    }

    #[test]
    fn a_list_of_tags_wants_each_of_them_and_nothing_else() {
        let subscription = Subscription::of_tags("T", "TagA || TagB||");
        assert!(subscription.matches_tags_code(hash("TagA")) && subscription.matches_tags_code(hash("TagB")));
        assert!(!subscription.matches_tags_code(hash("TagC")) && !subscription.matches_tags_code(0));
        assert_eq!(subscription.data.tags_set.len(), 2);
        assert!(subscription.has_expression(Some("TagA || TagB||"), None));
        assert!(!subscription.has_expression(Some("TagA"), Some("TAG")));
    }

    #[test]
    fn nothing_and_star_want_everything() {
        for text in [None, Some(""), Some("*")] {
            let subscription = Subscription::of_pull("T", text, Some("TAG"), 5).unwrap();
            assert!(subscription.matches_tags_code(0) && subscription.matches_tags_code(hash("x")));
            assert_eq!((subscription.data.sub_string.as_str(), subscription.data.sub_version), ("*", 5));
            assert!(subscription.has_expression(text, None));
        }
    }

    /// Two strings with one hash: the server lets both through, the client compares the tags.
    #[test]
    fn tags_with_the_same_hash_cannot_be_told_apart_here() {
        assert!(Subscription::of_tags("T", "Aa").matches_tags_code(hash("BB")));
    }

    #[test]
    fn only_separators_are_no_subscription() {
        assert_eq!(Subscription::of_pull("T", Some("||"), None, 0).unwrap_err().to_string(), "subString split error");
        assert!(Subscription::of_pull("T", Some(" || "), None, 0).is_ok(), "a blank part is a part");
    }

    #[test]
    fn another_language_wants_everything_of_the_queue_and_needs_an_expression() {
        let subscription = Subscription::of_pull("T", Some("a > 1"), Some("SQL92"), 0).unwrap();
        assert!(!subscription.is_tag_type() && subscription.matches_tags_code(1));
        assert_eq!(Subscription::of_pull("T", None, Some("SQL92"), 0).unwrap_err().to_string(), "Expression can't be null! SQL92");
    }

    #[test]
    fn a_heartbeat_s_hashes_are_taken_as_they_are() {
        let data = SubscriptionData {
            topic: "T".to_owned(),
            sub_string: "A".to_owned(),
            code_set: [65].into_iter().collect(),
            expression_type: "TAG".to_owned(),
            ..Default::default()
        };
        let subscription = Subscription::of_heartbeat(data);
        assert!(subscription.matches_tags_code(65) && !subscription.matches_tags_code(66));
    }
}
