// SPDX-License-Identifier: Apache-2.0
//! `RemotingCommand`: one frame as words. Its header comes in two forms, `json` and `binary`; what its fields mean is `header`'s business.

mod binary;
mod json;
pub mod reply;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{DecodeError, HeaderError};
use crate::ext_fields::{ExtFields, Spare};
use crate::header::Header;
use crate::language::LanguageCode;
use crate::str::Str;
use crate::version;

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;

/// The word in front of the header: its form and its length.
const HEADER_WORD_BYTES: usize = 4;

/// The form of a header. Every frame names its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SerializeType {
    #[default]
    Json,
    RocketMq,
}

impl SerializeType {
    pub const fn code(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::RocketMq => 1,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::RocketMq => "ROCKETMQ",
        }
    }
}

/// A request or a response. Strings and body are slices of the frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RemotingCommand {
    pub code: i32,
    pub language: LanguageCode,
    pub version: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<Str>,
    pub ext_fields: ExtFields,
    pub body: Bytes,
    pub serialize_type: SerializeType,
}

/// A longer remark is cut. Requests are echoed in remarks, and this much fits the header's 24-bit length with every byte escaped.
const REMARK_BYTES_MAX: usize = 1 << 20;

impl RemotingCommand {
    /// Reads one frame as `split_frame` gives it: header word, header, body.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        Self::decode_with(frame, &mut Spare::default())
    }

    /// As `decode`, in the memory that another command gave back.
    pub fn decode_with(frame: Bytes, spare: &mut Spare) -> Result<Self, DecodeError> {
        let Some(word) = frame.first_chunk::<HEADER_WORD_BYTES>() else {
            return Err(DecodeError::Truncated { what: "header word", at: 0, needed: HEADER_WORD_BYTES, available: frame.len() });
        };
        let word = u32::from_be_bytes(*word);
        let (form, length) = ((word >> 24) as u8, (word & 0x00FF_FFFF) as usize);
        let available = frame.len() - HEADER_WORD_BYTES;
        if length > available {
            return Err(DecodeError::Length { what: "header", length: length as i64, available });
        }
        let end = HEADER_WORD_BYTES + length;
        match form {
            0 => json::decode(frame, end, spare),
            1 => binary::decode(frame, end, spare),
            other => Err(DecodeError::SerializeType(other)),
        }
    }

    /// Ends the command and leaves its memory for the next one.
    pub fn give_back(self, spare: &mut Spare) {
        self.ext_fields.give_back(spare);
    }

    /// A request of ours, without fields. The sender gives it its opaque.
    pub fn request(code: i32) -> Self {
        Self { code, version: version::CURRENT, ..Self::default() }
    }

    pub fn request_with(code: i32, header: &impl Header) -> Self {
        Self::request(code).with_header(header)
    }

    pub fn response(code: i32) -> Self {
        Self { code, version: version::CURRENT, flag: FLAG_RESPONSE, ..Self::default() }
    }

    pub fn with_header(mut self, header: &impl Header) -> Self {
        self.ext_fields.mark_present();
        header.encode(&mut self.ext_fields);
        self
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn with_remark(mut self, remark: impl Into<Str>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Makes this the answer to `request`: its opaque, in the form it was asked in.
    pub fn answering(mut self, request: &RemotingCommand) -> Self {
        self.opaque = request.opaque;
        self.serialize_type = request.serialize_type;
        self.flag |= FLAG_RESPONSE;
        self
    }

    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    pub fn mark_oneway(&mut self) {
        self.flag |= FLAG_ONEWAY;
    }

    /// Reads the fields as `H`, as tolerant as the original: what is missing or cannot be parsed keeps its default, and the checks of a
    /// header are only made when the command has fields at all.
    pub fn header<H: Header>(&self) -> Result<H, HeaderError> {
        if !self.ext_fields.is_present() {
            return Ok(H::default());
        }
        let header = H::decode(&self.ext_fields);
        header.check()?;
        Ok(header)
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_header(self.body.len(), out);
        out.extend_from_slice(&self.body);
    }

    /// The remark as it is sent.
    fn sent_remark(&self) -> Option<&str> {
        let remark = self.remark.as_deref()?;
        let end = (0..=REMARK_BYTES_MAX.min(remark.len())).rev().find(|end| remark.is_char_boundary(*end));
        Some(&remark[..end.unwrap_or(0)])
    }

    /// Appends the frame up to its body; `body_bytes` follow separately.
    pub fn encode_header(&self, body_bytes: usize, out: &mut BytesMut) {
        let start = out.len();
        out.put_bytes(0, 8);
        match self.serialize_type {
            SerializeType::Json => json::encode(self, out),
            SerializeType::RocketMq => binary::encode(self, out),
        }
        patch_head(out, start, self.serialize_type, body_bytes);
    }
}

/// Fills in the two words in front of the header that begins 8 bytes after `start` and ends with `out`.
fn patch_head(out: &mut BytesMut, start: usize, form: SerializeType, body_bytes: usize) {
    let header_bytes = out.len() - start - 8;
    assert!(header_bytes < 1 << 24, "a header we built fits its 24-bit length: {header_bytes}");
    let length = HEADER_WORD_BYTES + header_bytes + body_bytes;
    out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(u32::from(form.code()) << 24 | header_bytes as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response_code;

    /// A request of 16 MB can name its topic with nearly all of it, and the refusal names the topic.
    #[test]
    fn a_remark_that_echoes_a_huge_request_is_cut_at_a_character() {
        for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
            for (echoed, kept) in [("\u{1}".repeat(16 << 20), REMARK_BYTES_MAX), ("€".repeat(6 << 20), REMARK_BYTES_MAX / 3 * 3)] {
                let mut response = RemotingCommand::response(response_code::TOPIC_NOT_EXIST).with_remark(echoed.clone());
                response.serialize_type = serialize_type;
                let mut frame = BytesMut::new();
                response.encode(&mut frame);
                let read = RemotingCommand::decode(frame.freeze().slice(4..)).unwrap();
                assert_eq!(read.remark.as_deref(), Some(&echoed[..kept]));
            }
        }
    }
}
