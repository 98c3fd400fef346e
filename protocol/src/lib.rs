// SPDX-License-Identifier: Apache-2.0
//! RocketMQ's remoting protocol: bytes to words and back. Nothing here does I/O, awaits, reads a clock or keeps a global.
//!
//! `frame` cuts the stream, `command` reads and writes one frame, `header` and `body` hold what a request code means,
//! `message` is the record that travels and is stored, `fastjson` is the dialect of the JSON bodies, `ha` what masters
//! and slaves say on a port of their own.

pub mod body;
pub mod command;
pub mod data_version;
pub mod error;
pub mod ext_fields;
pub mod fastjson;
pub mod frame;
pub mod ha;
pub mod header;
pub mod java_hash;
pub mod language;
pub mod message;
pub mod perm;
pub mod request_code;
pub mod response_code;
pub mod route;
mod scan;
pub mod str;
pub mod topic_names;
pub mod version;

pub use command::{RemotingCommand, SerializeType};
pub use error::{DecodeError, HeaderError};
pub use ext_fields::ExtFields;
pub use frame::{FRAME_BYTES_MAX, split_frame};
pub use header::Header;
pub use language::LanguageCode;
pub use str::Str;
