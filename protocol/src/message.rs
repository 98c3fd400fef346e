// SPDX-License-Identifier: Apache-2.0
//! One message: the record that lies in the log and travels in pull answers, its properties, ids, flags and batches.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::java_hash;
use crate::str::Str;

pub mod batch;
pub mod decode;
pub mod encode;
pub mod id;
pub mod layout;
pub mod properties;
pub mod property;
pub mod sys_flag;

pub use decode::MessageView;
pub use encode::{encode_record, patch_record, record_bytes};

/// What a processor hands to the store: a message that has no offsets yet. Body and properties are slices of the request.
#[derive(Debug, Clone)]
pub struct MessageInner {
    pub topic: Str,
    pub queue_id: i32,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: Bytes,
    pub properties: Bytes,
    /// What the ConsumeQueue filters by; see `tags_code`.
    pub tags_code: i64,
}

/// The filter code of a message's tags: Java's hash, widened with its sign; 0 without tags.
pub fn tags_code(tags: impl AsRef<[u8]>) -> i64 {
    i64::from(java_hash::extend_bytes(0, tags.as_ref()))
}

/// `tags_code` of what `TAGS` says in a property string.
pub fn tags_code_of(properties: &[u8]) -> i64 {
    tags_code(properties::find(properties, property::TAGS).unwrap_or_default())
}
