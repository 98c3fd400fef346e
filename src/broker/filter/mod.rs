// SPDX-License-Identifier: Apache-2.0
//! Which messages of a topic a subscription wants.

mod tags;

pub use tags::{EXPRESSION_BYTES_MAX, ParseFailed, Subscription, TAGS_MAX, is_tag_type};
