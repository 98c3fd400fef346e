// SPDX-License-Identifier: Apache-2.0
//! The JSON header. Read in one pass that only notes where things lie; what that pass does not know goes to the tolerant reader in `fastjson`.

use std::io::Write;

use bytes::{Buf, Bytes, BytesMut};

use super::{HEADER_WORD_BYTES, RemotingCommand, SerializeType};
use crate::error::DecodeError;
use crate::ext_fields::{Builder, ExtFields, Source, Span, Spare, TOO_MANY_FIELDS};
use crate::fastjson::escape::{self, write_text};
use crate::fastjson::parse::{self, Value};
use crate::language::LanguageCode;
use crate::scan;
use crate::str::Str;

/// `end` is where the header ends and the body begins.
pub(super) fn decode(mut frame: Bytes, end: usize, spare: &mut Spare) -> Result<RemotingCommand, DecodeError> {
    let header = Str::try_from(frame.slice(HEADER_WORD_BYTES..end)).map_err(|_| DecodeError::Utf8 { what: "json header" })?;
    frame.advance(end);
    let body = frame;
    match scan_header(header.as_bytes(), spare) {
        Some(found) => Ok(found.into_command(header, body, spare)),
        None => Ok(decode_unusual(&header)?.with_body(body)),
    }
}

/// What the pass found. Spans are counted from the begin of the header.
struct Found {
    code: i32,
    flag: i32,
    opaque: i32,
    version: i32,
    language: LanguageCode,
    remark: Span,
    fields: Builder,
    fields_present: bool,
    /// So much of `fields.beside` is text; the rest is room.
    beside_bytes: usize,
}

impl Found {
    fn into_command(mut self, header: Str, body: Bytes, spare: &mut Spare) -> RemotingCommand {
        self.fields.beside.truncate(self.beside_bytes);
        let remark = self.remark.cut(&header, &self.fields.beside);
        let ext_fields = if self.fields_present {
            self.fields.finish(Source::Text(header))
        } else {
            self.fields.give_back(spare);
            ExtFields::default()
        };
        RemotingCommand {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark,
            ext_fields,
            body,
            serialize_type: SerializeType::Json,
        }
    }

    /// The rest of a string that begins at `start` and has an escape: copied beside the frame.
    fn unescape(&mut self, bytes: &[u8], start: usize) -> Option<(Span, usize)> {
        let beside = &mut self.fields.beside;
        if beside.is_empty() {
            // Room for every string to come: none gets longer by being unescaped.
            beside.resize(bytes.len() - start, 0);
        }
        let begin = self.beside_bytes;
        let (mut at, mut into) = (start, begin);
        loop {
            let plain = scan::copy_plain(&bytes[at..], &mut beside[into..]);
            (at, into) = (at + plain, into + plain);
            let rest = bytes.get(at..)?;
            if rest.first()? == &b'"' {
                self.beside_bytes = into;
                return Some((Span::beside(begin, into), at + 1));
            }
            match rest.first_chunk::<6>() {
                // The separators of a property string, twice in every pair.
                Some(b"\\u0001") => (beside[into], at, into) = (1, at + 6, into + 1),
                Some(b"\\u0002") => (beside[into], at, into) = (2, at + 6, into + 1),
                _ => {
                    let (character, length) = escape::unescape(rest)?;
                    (at, into) = (at + length, into + character.encode_utf8(&mut beside[into..]).len());
                }
            }
        }
    }
}

/// One pass over a header, which is UTF-8. `None`: it is not the flat, strict JSON that clients write, and may still
/// be what the original reads.
///
/// The position is passed from hand to hand, not kept in a struct: it stays in a register, and that is half of the time.
fn scan_header(bytes: &[u8], spare: &mut Spare) -> Option<Found> {
    const CODE: u64 = scan::word_of(b"code");
    const FLAG: u64 = scan::word_of(b"flag");
    const OPAQUE: u64 = scan::word_of(b"opaque");
    const VERSION: u64 = scan::word_of(b"version");
    const LANGUAGE: u64 = scan::word_of(b"language");
    const EXT_FIELDS: u64 = scan::word_of(b"extFields");
    const REMARK: u64 = scan::word_of(b"remark");
    const SERIALIZE_TYPE: u64 = scan::word_of(b"serializeTypeCurrentRPC");
    let mut found = Found {
        code: 0,
        flag: 0,
        opaque: 0,
        version: 0,
        language: LanguageCode::Java,
        remark: Span::NULL,
        fields: Builder::new(spare),
        fields_present: false,
        beside_bytes: 0,
    };
    let mut at = blanks(bytes, take(bytes, blanks(bytes, 0), b'{')?);
    if bytes.get(at) == Some(&b'}') {
        at += 1;
    } else {
        loop {
            let start = take(bytes, at, b'"')?;
            let (word, length) = scan::name(&bytes[start..])?;
            let name = &bytes[start..start + length];
            at = colon(bytes, start + length + 1)?;
            match word {
                CODE => (found.code, at) = integer(bytes, at)?,
                FLAG => (found.flag, at) = integer(bytes, at)?,
                OPAQUE => (found.opaque, at) = integer(bytes, at)?,
                VERSION => (found.version, at) = integer(bytes, at)?,
                REMARK => (found.remark, at) = value(bytes, at, &mut found)?,
                LANGUAGE if name == b"language" => {
                    let (start, end) = plain_string(bytes, at)?;
                    found.language = LanguageCode::from_name(std::str::from_utf8(&bytes[start..end]).ok()?);
                    at = end + 1;
                }
                EXT_FIELDS if name == b"extFields" => at = scan_fields(bytes, at, &mut found)?,
                // What the sender says it is; the frame's own byte decides.
                SERIALIZE_TYPE if name == b"serializeTypeCurrentRPC" => at = plain_string(bytes, at)?.1 + 1,
                _ => return None,
            }
            at = blanks(bytes, at);
            match bytes.get(at)? {
                b',' => at = blanks(bytes, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
        at += 1;
    }
    // The C++ client ends its header with a newline.
    (blanks(bytes, at) == bytes.len()).then_some(found)
}

fn scan_fields(bytes: &[u8], at: usize, found: &mut Found) -> Option<usize> {
    found.fields.restart();
    found.fields_present = true;
    let mut at = blanks(bytes, take(bytes, at, b'{')?);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    at = take(bytes, at, b'"')?;
    loop {
        // `at` is behind the quote that opens a name.
        let (word, length) = scan::name(&bytes[at..])?;
        let (start, end) = (at, at + length);
        // Compact and text, as nearly always: two bytes say what is next.
        let (span, next) = match bytes.get(end + 1..end + 3)? {
            b":\"" => string(bytes, end + 3, found)?,
            _ => value(bytes, colon(bytes, end + 1)?, found)?,
        };
        // A flood is told by the tolerant reader.
        if !found.fields.push(word, Span::of_frame(start, end), span) {
            return None;
        }
        if let Some(b",\"") = bytes.get(next..next + 2) {
            at = next + 2;
            continue;
        }
        at = blanks(bytes, next);
        match bytes.get(at)? {
            b',' => at = take(bytes, blanks(bytes, at + 1), b'"')?,
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Text; or a number or boolean, whose text it is (the C++ client writes them so); or null.
#[inline(always)]
fn value(bytes: &[u8], at: usize, found: &mut Found) -> Option<(Span, usize)> {
    if bytes.get(at) != Some(&b'"') {
        return bare_value(bytes, at);
    }
    string(bytes, at + 1, found)
}

/// The rest of a string that begins at `start`, behind its quote.
#[inline(always)]
fn string(bytes: &[u8], start: usize, found: &mut Found) -> Option<(Span, usize)> {
    let stop = start + scan::quote_or_backslash(&bytes[start..])?;
    if bytes[stop] == b'"' {
        return Some((Span::of_frame(start, stop), stop + 1));
    }
    found.unescape(bytes, start)
}

fn bare_value(bytes: &[u8], at: usize) -> Option<(Span, usize)> {
    let rest = &bytes[at..];
    let length = match rest.first()? {
        b'-' | b'0'..=b'9' => rest.iter().position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))?,
        b't' if rest.starts_with(b"true") => 4,
        b'f' if rest.starts_with(b"false") => 5,
        b'n' if rest.starts_with(b"null") => return Some((Span::NULL, at + 4)),
        _ => return None,
    };
    Some((Span::of_frame(at, at + length), at + length))
}

/// Begin and end of a string without escapes, as all names are.
#[inline(always)]
fn plain_string(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = take(bytes, at, b'"')?;
    let stop = start + scan::quote_or_backslash(&bytes[start..])?;
    (bytes[stop] == b'"').then_some((start, stop))
}

#[inline(always)]
fn integer(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let is_negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(is_negative);
    let (mut end, mut value) = (start, 0);
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        value = value * 10 + i64::from(digit - b'0');
        end += 1;
        // Longer ones are the tolerant reader's.
        if end - start > 10 {
            return None;
        }
    }
    if end == start || matches!(bytes.get(end)?, b'.' | b'e' | b'E' | b'-') {
        return None;
    }
    Some((i32::try_from(if is_negative { -value } else { value }).ok()?, end))
}

#[inline(always)]
fn colon(bytes: &[u8], at: usize) -> Option<usize> {
    Some(blanks(bytes, take(bytes, blanks(bytes, at), b':')?))
}

#[inline(always)]
fn take(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (bytes.get(at) == Some(&byte)).then_some(at + 1)
}

#[inline(always)]
fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Everything else that the original reads: single quotes, nested values, numbers as text, members we do not know.
fn decode_unusual(text: &str) -> Result<RemotingCommand, DecodeError> {
    let Value::Object(members) = parse::parse(text)? else {
        return Err(DecodeError::Json { at: 0, why: "a header is an object" });
    };
    let mut command = RemotingCommand::default();
    for (name, value) in &members {
        match name.as_text().unwrap_or_default() {
            "code" => command.code = number_of(value)?,
            "flag" => command.flag = number_of(value)?,
            "opaque" => command.opaque = number_of(value)?,
            "version" => command.version = number_of(value)?,
            "language" => match value {
                Value::Number(ordinal) => command.language = ordinal.parse().map_or(LanguageCode::Other, LanguageCode::from_code),
                other => command.language = LanguageCode::from_name(other.as_text().unwrap_or_default()),
            },
            "remark" => command.remark = value.to_text().map(Str::from),
            "extFields" => command.ext_fields = fields(value)?,
            _ => {}
        }
    }
    Ok(command)
}

fn number_of(value: &Value<'_>) -> Result<i32, DecodeError> {
    value.as_integer().and_then(|number| i32::try_from(number).ok()).ok_or(DecodeError::Json { at: 0, why: "a header number is an int" })
}

fn fields(value: &Value<'_>) -> Result<ExtFields, DecodeError> {
    let members = match value {
        Value::Null => return Ok(ExtFields::default()),
        Value::Object(members) => members,
        _ => return Err(DecodeError::Json { at: 0, why: "extFields is an object" }),
    };
    let mut fields = Builder::new(&mut Spare::default());
    let mut beside = Vec::new();
    let mut store = |text: &str| {
        let start = beside.len();
        beside.extend_from_slice(text.as_bytes());
        Span::beside(start, beside.len())
    };
    for (key, value) in members {
        let Some(key) = key.to_text() else { continue };
        let span = store(&key);
        let value = value.to_text().map_or(Span::NULL, |text| store(&text));
        if !fields.push(scan::word_of(key.as_bytes()), span, value) {
            return Err(TOO_MANY_FIELDS);
        }
    }
    fields.beside = beside;
    Ok(fields.finish(Source::default()))
}

/// In the original's order of names; nulls are left out.
pub(super) fn encode(command: &RemotingCommand, out: &mut BytesMut) {
    let mut writer = Writer(out);
    write!(writer, "{{\"code\":{}", command.code).expect(GROWS);
    if command.ext_fields.is_present() {
        writer.0.extend_from_slice(b",\"extFields\":{");
        for (at, (key, value)) in command.ext_fields.pairs().enumerate() {
            if at > 0 {
                writer.0.extend_from_slice(b",");
            }
            write_text(key, writer.0);
            writer.0.extend_from_slice(b":");
            write_text(value, writer.0);
        }
        writer.0.extend_from_slice(b"}");
    }
    write!(writer, ",\"flag\":{},\"language\":\"{}\",\"opaque\":{}", command.flag, command.language.name(), command.opaque).expect(GROWS);
    if let Some(remark) = command.sent_remark() {
        writer.0.extend_from_slice(b",\"remark\":");
        write_text(remark.as_bytes(), writer.0);
    }
    write!(writer, ",\"serializeTypeCurrentRPC\":\"{}\",\"version\":{}}}", command.serialize_type.name(), command.version).expect(GROWS);
}

const GROWS: &str = "a growing buffer takes every byte";

struct Writer<'a>(&'a mut BytesMut);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
