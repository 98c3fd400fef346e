// SPDX-License-Identifier: Apache-2.0
//! The fields without which the original cannot go on: it reads null into a number, or looks null up in a table, and answers
//! SYSTEM_ERROR. (What a header declares as not null says little: most of those may be missing.)
//!
//! Where the original refuses a missing field by a code of its own, that is the processor's. A send and a pull tell a missing field
//! while they are read (`SendFields`, `PullFields`).

use std::ops::RangeInclusive;

use super::Field;
use crate::ext_fields::ExtFields;
use crate::scan;

/// One such field; `header!` makes it of a field that is marked `required`.
#[derive(Debug)]
pub struct Required {
    pub name: &'static str,
    /// `scan::word_of` the name.
    word: u64,
    /// What its text can be.
    range: Option<RangeInclusive<i64>>,
}

impl Required {
    pub(crate) const fn new<T: Field>(name: &'static str) -> Self {
        Self { name, word: scan::word_of(name.as_bytes()), range: T::RANGE }
    }

    /// The first of these that is missing or, being a number, cannot be read.
    pub fn first_unreadable(required: &[Self], ext: &ExtFields) -> Option<&'static str> {
        required.iter().find_map(|field| field.unreadable(ext))
    }

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
    use crate::header::*;

    fn unreadable<H: Header>(fields: &[(&str, &str)]) -> Option<&'static str> {
        let mut ext = ExtFields::default();
        for (name, value) in fields {
            ext.insert(name, value);
        }
        Required::first_unreadable(H::REQUIRED, &ext)
    }

    /// Seen on 5.5.0: `ConsumeQueueStore` is asked with a null number, which ends in a NullPointerException.
    #[test]
    fn a_number_must_be_there_and_be_one() {
        let max_offset = unreadable::<GetMaxOffsetRequestHeader>;
        assert_eq!(max_offset(&[("topic", "T"), ("queueId", "-1")]), None);
        assert_eq!(max_offset(&[("topic", "T")]), Some("queueId"));
        assert_eq!(max_offset(&[("topic", "T"), ("queueId", "x")]), Some("queueId"));
        assert_eq!(max_offset(&[("topic", "T"), ("queueId", "2147483648")]), Some("queueId"));
        assert_eq!(max_offset(&[("queueId", "0")]), Some("topic"));
        let at = |offset| unreadable::<ViewMessageRequestHeader>(&[("offset", offset)]);
        assert_eq!((at("2147483648"), at("9223372036854775808")), (None, Some("offset")));
    }

    /// A blank name is there; the processors have their own words for it.
    #[test]
    fn a_blank_text_is_there() {
        assert_eq!(unreadable::<GetTopicConfigRequestHeader>(&[("topic", "")]), None);
    }

    #[test]
    fn a_header_without_required_fields_needs_none() {
        assert_eq!(unreadable::<UnregisterClientRequestHeader>(&[]), None);
    }
}
