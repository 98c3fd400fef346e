// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with bytes (`DecodeError`: the connection is closed) and with a header (`HeaderError`: the request is refused).

use thiserror::Error;

/// The bytes are not RocketMQ. The original closes the connection without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("frame length {length} is negative or shorter than its own header word")]
    FrameLength { length: i32 },
    #[error("frame of {length} bytes is over the limit of {limit}")]
    FrameTooLong { length: usize, limit: usize },
    #[error("{what}: needs {needed} bytes at {at}, only {available} are there")]
    Truncated { what: &'static str, at: usize, needed: usize, available: usize },
    #[error("serialize type {0} is unknown")]
    SerializeType(u8),
    #[error("{what} says its length is {length}, of {available} bytes")]
    Length { what: &'static str, length: i64, available: usize },
    #[error("{what} is not UTF-8")]
    Utf8 { what: &'static str },
    #[error("json at {at}: {why}")]
    Json { at: usize, why: &'static str },
    #[error("{what}: more than {limit}")]
    TooMany { what: &'static str, limit: usize },
    #[error("message magic {0:#010x} is unknown")]
    Magic(u32),
    #[error("inflate: {0}")]
    Inflate(String),
}

/// A header that the original refuses to read although its bytes are well formed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct HeaderError(pub String);
