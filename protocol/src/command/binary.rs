// SPDX-License-Identifier: Apache-2.0
//! The compact header (`ROCKETMQ`): fixed numbers, then length-prefixed text.

use bytes::{BufMut, Bytes, BytesMut};

use super::{HEADER_WORD_BYTES, RemotingCommand, SerializeType};
use crate::error::DecodeError;
use crate::ext_fields::{Builder, ExtFields, Span, Spare, TOO_MANY_FIELDS};
use crate::language::LanguageCode;
use crate::scan;
use crate::str::Str;

/// A cursor that knows where it is and how much is left.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    #[inline(always)]
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let rest = &self.bytes[self.at..];
        let Some(chunk) = rest.first_chunk::<N>() else {
            return Err(DecodeError::Truncated { what, at: self.at, needed: N, available: rest.len() });
        };
        self.at += N;
        Ok(*chunk)
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        self.take(what).map(i16::from_be_bytes)
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.take(what).map(i32::from_be_bytes)
    }

    /// The span of the next `length` bytes.
    #[inline(always)]
    fn span(&mut self, what: &'static str, length: i64) -> Result<(usize, usize), DecodeError> {
        let available = self.bytes.len() - self.at;
        let fits = usize::try_from(length).ok().filter(|length| *length <= available);
        let Some(length) = fits else { return Err(DecodeError::Length { what, length, available }) };
        let start = self.at;
        self.at += length;
        Ok((start, self.at))
    }
}

/// `end` is where the header ends and the body begins.
pub(super) fn decode(frame: Bytes, end: usize, spare: &mut Spare) -> Result<RemotingCommand, DecodeError> {
    let header = &frame[..end];
    let mut reader = Reader { bytes: header, at: HEADER_WORD_BYTES };
    let code = i32::from(reader.i16("code")?);
    let [language] = reader.take("language")?;
    let version = i32::from(reader.i16("version")?);
    let opaque = reader.i32("opaque")?;
    let flag = reader.i32("flag")?;
    let remark_length = reader.i32("remark length")?;
    let (remark_start, remark_end) = reader.span("remark", i64::from(remark_length))?;
    // As there: fields of a negative length are none, and only where a pair begins is looked at their end.
    let ext_length = reader.i32("ext length")?.max(0);
    let (ext_start, ext_end) = reader.span("ext fields", i64::from(ext_length))?;

    // Nothing written and nothing to say look the same: both read as null.
    let remark = if remark_start < remark_end { Some(Str::from_lossy(frame.slice(remark_start..remark_end))) } else { None };
    let mut is_clean = true;
    let fields = if ext_start == ext_end { None } else { Some(decode_fields(header, ext_start, ext_end, spare, &mut is_clean)?) };
    let body = frame.slice(end..);
    let mut ext_fields = fields.map_or_else(ExtFields::default, |fields| fields.finish(frame));
    if !is_clean {
        ext_fields.replace_broken();
    }
    Ok(RemotingCommand {
        code,
        language: LanguageCode::from_code(language),
        version,
        opaque,
        flag,
        remark,
        ext_fields,
        body,
        serialize_type: SerializeType::RocketMq,
    })
}

/// `is_clean`: whether every value is UTF-8.
fn decode_fields(header: &[u8], start: usize, end: usize, spare: &mut Spare, is_clean: &mut bool) -> Result<Builder, DecodeError> {
    let mut reader = Reader { bytes: header, at: start };
    let mut fields = Builder::new(spare);
    fields.restart();
    let mut all_clean = true;
    while reader.at < end {
        let length = reader.i16("ext key length")?;
        let key = reader.span("ext key", i64::from(length))?;
        let length = reader.i32("ext value length")?;
        let value = reader.span("ext value", i64::from(length))?;
        // A key without letters is Java's null key: nobody asks for it.
        if key.0 < key.1 {
            let word = scan::word_at(&header[key.0..], key.1 - key.0);
            all_clean &= scan::begins_with_utf8(&header[value.0..], value.1 - value.0);
            let value = if value.0 < value.1 { Span::of_frame(value.0, value.1) } else { Span::NULL };
            if !fields.push(word, Span::of_frame(key.0, key.1), value) {
                return Err(TOO_MANY_FIELDS);
            }
        }
    }
    *is_clean = all_clean;
    Ok(fields)
}

pub(super) fn encode(command: &RemotingCommand, out: &mut BytesMut) {
    // The original writes the low 16 bits of code and version and so do we.
    out.put_i16(command.code as i16);
    out.put_u8(command.language.code());
    out.put_i16(command.version as i16);
    out.put_i32(command.opaque);
    out.put_i32(command.flag);
    let remark = command.sent_remark().map_or(&[][..], str::as_bytes);
    out.put_u32(remark.len() as u32);
    out.extend_from_slice(remark);

    let length_at = out.len();
    out.put_u32(0);
    for (key, value) in command.ext_fields.pairs() {
        put_field(out, key, value);
    }
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

#[inline]
pub(super) fn put_field(out: &mut impl BufMut, key: &[u8], value: &[u8]) {
    // The form has no room for a longer name, and no field of the protocol has one.
    let Ok(length) = i16::try_from(key.len()) else { return };
    out.put_i16(length);
    out.put_slice(key);
    out.put_u32(value.len() as u32);
    out.put_slice(value);
}
