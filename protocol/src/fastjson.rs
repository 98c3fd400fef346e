// SPDX-License-Identifier: Apache-2.0
//! The dialect of JSON that the original's bodies and config files are written in; the only place that knows it.
//!
//! Reading accepts what fastjson 1.2.83 or fastjson2 accept (recorded in `tests/fixtures/tolerance.tsv`): unquoted numbers and whole objects
//! as keys (`{0:1}`, `{{"topic":"T"}:1}`), names without quotes, single quotes, comments, trailing commas, numbers as text and text for
//! numbers, enums by ordinal and in any case, `$ref`.
//! Writing gives what the original writes: names ascending, nulls left out, number keys bare, object keys as object literals, never `$ref`.
//!
//! ```
//! use std::collections::BTreeMap;
//! use ferrocket_protocol::fastjson;
//! let read: BTreeMap<i32, String> = fastjson::from_slice(b"{0:'a','1':2,}").unwrap();
//! assert_eq!(fastjson::to_vec(&read), br#"{0:"a",1:"2"}"#);
//! assert_eq!(fastjson::to_vec_standard(&read), br#"{"0":"a","1":"2"}"#);
//! ```

pub(crate) mod escape;
mod number;
pub mod parse;
mod read;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::DecodeError;

/// Reads any spelling that either generation of the original reads. Members nobody asked for are skipped, missing ones keep their defaults
/// (`#[serde(default)]`), and null counts as missing. What is no UTF-8 is replaced.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    read::from_value(&parse::parse(bytes)?)
}

pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, ReadError> {
    from_slice(text.as_bytes())
}

/// The original's usual form: compact, number keys bare.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::to_vec(value, write::Form::Usual)
}

/// The form of a route for clients that read only standard JSON: number keys quoted. (1.2.83 also escaped what is not ASCII; 5.5.0 does not.)
pub fn to_vec_standard<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::to_vec(value, write::Form::Standard)
}

/// The form of the config files: as `to_vec`, each member on its own line behind tabs.
pub fn to_pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::to_vec(value, write::Form::Pretty)
}

/// `to_vec` as text, for values that travel inside a header.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_vec(value)).expect("the writer only writes text")
}

/// Why a body could not be read: it is no JSON, or not of this shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Text(#[from] DecodeError),
    #[error("json: {0}")]
    Shape(String),
}

impl serde::de::Error for ReadError {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Self::Shape(why.to_string())
    }
}
