// SPDX-License-Identifier: Apache-2.0
//! The JSON header. Read in one pass that only notes where things lie; what that pass does not know goes to the tolerant reader in `fastjson`.

use std::io::Write;

use bytes::{Bytes, BytesMut};

use super::{RemotingCommand, SerializeType};
use crate::error::DecodeError;
use crate::ext_fields::{Builder, ExtFields, Span};
use crate::fastjson::escape::{self, write_text};
use crate::fastjson::parse::{self, Value};
use crate::language::LanguageCode;
use crate::str::Str;

pub(super) fn decode(header: Bytes) -> Result<RemotingCommand, DecodeError> {
    let text = std::str::from_utf8(&header).map_err(|_| DecodeError::Utf8 { what: "json header" })?;
    let scan = Scan::new(text).run();
    match scan {
        Ok(found) => Ok(found.into_command(&header)),
        Err(Unusual) => decode_unusual(text),
    }
}

/// The quick pass met something that flat, strict JSON does not have.
struct Unusual;

/// What one pass over the header found.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    code: i32,
    flag: i32,
    opaque: i32,
    version: i32,
    language: LanguageCode,
    remark: Option<Span>,
    fields: Builder,
    fields_present: bool,
    unescaped: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            code: 0,
            flag: 0,
            opaque: 0,
            version: 0,
            language: LanguageCode::Java,
            remark: None,
            fields: ExtFields::builder(),
            fields_present: false,
            unescaped: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Self, Unusual> {
        self.expect(b'{')?;
        if !self.empty_object()? {
            loop {
                self.member()?;
                if !self.more()? {
                    break;
                }
            }
        }
        // The C++ client ends its header with a newline.
        self.blanks();
        if self.at == self.bytes.len() { Ok(self) } else { Err(Unusual) }
    }

    fn into_command(self, header: &Bytes) -> RemotingCommand {
        let remark = self.remark.map(|span| span.cut(header, &self.unescaped));
        let ext_fields = if self.fields_present { self.fields.finish(header.clone(), self.unescaped) } else { ExtFields::default() };
        RemotingCommand {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark,
            ext_fields,
            body: Bytes::new(),
            serialize_type: SerializeType::Json,
        }
    }

    fn member(&mut self) -> Result<(), Unusual> {
        let (start, end) = self.plain_string()?;
        self.expect(b':')?;
        match &self.bytes[start..end] {
            b"code" => self.code = self.integer()?,
            b"flag" => self.flag = self.integer()?,
            b"opaque" => self.opaque = self.integer()?,
            b"version" => self.version = self.integer()?,
            b"language" => {
                let (start, end) = self.plain_string()?;
                let name = std::str::from_utf8(&self.bytes[start..end]).map_err(|_| Unusual)?;
                self.language = LanguageCode::from_name(name);
            }
            b"remark" => self.remark = self.text_or_null()?,
            b"extFields" => self.ext_fields()?,
            b"serializeTypeCurrentRPC" => {
                self.text_or_null()?;
            }
            _ => return Err(Unusual),
        }
        Ok(())
    }

    fn ext_fields(&mut self) -> Result<(), Unusual> {
        self.blanks();
        if self.bytes.get(self.at) != Some(&b'{') {
            return Err(Unusual);
        }
        self.at += 1;
        self.fields.clear();
        self.fields_present = true;
        if self.empty_object()? {
            return Ok(());
        }
        loop {
            let (start, end) = self.plain_string()?;
            self.expect(b':')?;
            let value = self.field_value()?;
            self.fields.push(Span::of_frame(start, end), value).map_err(|_| Unusual)?;
            if !self.more()? {
                return Ok(());
            }
        }
    }

    /// Text; or a number or boolean, whose text it is (the C++ client writes them so); or null.
    fn field_value(&mut self) -> Result<Option<Span>, Unusual> {
        self.blanks();
        match self.bytes.get(self.at) {
            Some(b'"') => self.text_or_null(),
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                while matches!(self.bytes.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    self.at += 1;
                }
                Ok(Some(Span::of_frame(start, self.at)))
            }
            Some(b't') => self.literal(b"true").map(Some),
            Some(b'f') => self.literal(b"false").map(Some),
            Some(b'n') => self.literal(b"null").map(|_| None),
            _ => Err(Unusual),
        }
    }

    fn text_or_null(&mut self) -> Result<Option<Span>, Unusual> {
        self.blanks();
        if self.bytes.get(self.at) == Some(&b'n') {
            return self.literal(b"null").map(|_| None);
        }
        self.open_quote()?;
        let start = self.at;
        match self.run_to_quote_or_escape()? {
            b'"' => {
                self.at += 1;
                Ok(Some(Span::of_frame(start, self.at - 1)))
            }
            _ => self.unescape_from(start).map(Some),
        }
    }

    /// A string with an escape in it: copied beside the frame.
    fn unescape_from(&mut self, start: usize) -> Result<Span, Unusual> {
        let into = self.unescaped.len();
        if into == 0 {
            self.unescaped.reserve(256);
        }
        let mut from = start;
        loop {
            self.unescaped.extend_from_slice(&self.bytes[from..self.at]);
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(Span::of_unescaped(into, self.unescaped.len()));
            }
            self.at += escape::unescape(&self.bytes[self.at..], &mut self.unescaped).ok_or(Unusual)?;
            from = self.at;
            self.run_to_quote_or_escape()?;
        }
    }

    /// A string without escapes, as all our names are.
    fn plain_string(&mut self) -> Result<(usize, usize), Unusual> {
        self.blanks();
        self.open_quote()?;
        let start = self.at;
        match self.run_to_quote_or_escape()? {
            b'"' => {
                self.at += 1;
                Ok((start, self.at - 1))
            }
            _ => Err(Unusual),
        }
    }

    fn open_quote(&mut self) -> Result<(), Unusual> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(Unusual);
        }
        self.at += 1;
        Ok(())
    }

    /// Stops at `"` or `\` and tells which.
    fn run_to_quote_or_escape(&mut self) -> Result<u8, Unusual> {
        let run = self.bytes[self.at..].iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Unusual)?;
        self.at += run;
        Ok(self.bytes[self.at])
    }

    fn integer(&mut self) -> Result<i32, Unusual> {
        self.blanks();
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let mut value: i64 = 0;
        let digits = self.at;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            value = value * 10 + i64::from(digit - b'0');
            self.at += 1;
            if self.at - digits > 10 {
                return Err(Unusual);
            }
        }
        if self.at == digits || matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E')) {
            return Err(Unusual);
        }
        if start != digits {
            value = -value;
        }
        i32::try_from(value).map_err(|_| Unusual)
    }

    fn literal(&mut self, literal: &[u8]) -> Result<Span, Unusual> {
        let start = self.at;
        if !self.bytes[start..].starts_with(literal) {
            return Err(Unusual);
        }
        self.at += literal.len();
        Ok(Span::of_frame(start, self.at))
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unusual> {
        self.blanks();
        if self.bytes.get(self.at) != Some(&byte) {
            return Err(Unusual);
        }
        self.at += 1;
        Ok(())
    }

    /// After a `{`: whether it closes at once.
    fn empty_object(&mut self) -> Result<bool, Unusual> {
        self.blanks();
        let closes = self.bytes.get(self.at) == Some(&b'}');
        self.at += usize::from(closes);
        Ok(closes)
    }

    /// After a member: `,` and another one, or `}`.
    fn more(&mut self) -> Result<bool, Unusual> {
        self.blanks();
        let more = match self.bytes.get(self.at) {
            Some(b',') => true,
            Some(b'}') => false,
            _ => return Err(Unusual),
        };
        self.at += 1;
        Ok(more)
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// Everything else that the original reads: single quotes, nested values, numbers as text, members we do not know.
fn decode_unusual(text: &str) -> Result<RemotingCommand, DecodeError> {
    let Value::Object(members) = parse::parse(text)? else {
        return Err(DecodeError::Json { at: 0, why: "a header is an object" });
    };
    let mut command = RemotingCommand::default();
    for (name, value) in &members {
        match name.as_text().unwrap_or_default() {
            "code" => command.code = integer(value)?,
            "flag" => command.flag = integer(value)?,
            "opaque" => command.opaque = integer(value)?,
            "version" => command.version = integer(value)?,
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

fn integer(value: &Value<'_>) -> Result<i32, DecodeError> {
    value.as_integer().and_then(|number| i32::try_from(number).ok()).ok_or(DecodeError::Json { at: 0, why: "a header number is an int" })
}

fn fields(value: &Value<'_>) -> Result<ExtFields, DecodeError> {
    let members = match value {
        Value::Null => return Ok(ExtFields::default()),
        Value::Object(members) => members,
        _ => return Err(DecodeError::Json { at: 0, why: "extFields is an object" }),
    };
    let mut storage = Vec::new();
    let mut fields = ExtFields::builder();
    let mut store = |text: &str| {
        let start = storage.len();
        storage.extend_from_slice(text.as_bytes());
        Span::of_unescaped(start, storage.len())
    };
    for (key, value) in members {
        let Some(key) = key.to_text() else { continue };
        let key = store(&key);
        let value = value.to_text().map(|text| store(&text));
        fields.push(key, value)?;
    }
    Ok(fields.finish(Bytes::new(), storage))
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
    if let Some(remark) = &command.remark {
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
