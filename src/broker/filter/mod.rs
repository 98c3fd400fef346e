// SPDX-License-Identifier: Apache-2.0
//! Which messages of a topic a subscription wants.

mod tags;

pub use tags::{ParseFailed, Subscription, is_tag_type};
