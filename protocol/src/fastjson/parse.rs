// SPDX-License-Identifier: Apache-2.0
//! Text to a tree of values, with every liberty that fastjson takes. Knows no target type.

use std::borrow::Cow;

use super::escape;
use super::number::{SIGN, integer_of, integer_of_text, write_number};
use crate::error::DecodeError;

/// How deep arrays and objects may lie in each other. The deepest body of the original has 9 levels; recursion stays far from the stack's end.
pub const DEPTH_MAX: usize = 128;

/// Values in one document. 40 bytes each: a frame of `[1,1,1,...` would otherwise grow twentyfold. A table of 100,000 topics has two million.
pub const VALUES_MAX: usize = 4_000_000;

/// One value. Keys are values too: numbers and whole objects occur.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// Text that is no UTF-8, as it came. Only a header has it (`parse_raw`).
    Bytes(Cow<'a, [u8]>),
    List(Vec<Value<'a>>),
    Object(Vec<(Value<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer from `low` to `high`. Decimals lose their fraction; an integer that is out of range is none.
    pub(crate) fn as_integer(&self, low: i64, high: i64) -> Option<i64> {
        match self {
            Value::Null => Some(0),
            Value::Bool(value) => Some(i64::from(*value)),
            Value::Number(number) => integer_of(number, low, high),
            Value::Text(text) => integer_of_text(text, low, high),
            // Where one value is wanted, a list of one is it.
            Value::List(items) => match items.as_slice() {
                [item] if *item != Value::Null => item.as_integer(low, high),
                _ => None,
            },
            Value::Bytes(_) | Value::Object(_) => None,
        }
    }

    /// An int. Where one is wanted, and only there, fastjson2 passes over an object.
    pub(crate) fn as_int(&self) -> Option<i32> {
        match self {
            Value::Object(_) => Some(0),
            value => value.as_integer(i32::MIN.into(), i32::MAX.into())?.try_into().ok(),
        }
    }

    /// Where the original wants a string: numbers and booleans are their text, nested values are JSON again, null is none. What is
    /// no UTF-8 stays as it is.
    pub fn to_bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Value::Null => None,
            Value::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Value::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            // A list of one text is that text.
            Value::List(items) if matches!(items.as_slice(), [Value::Null | Value::Text(_) | Value::Bytes(_)]) => items[0].to_bytes(),
            other => {
                let mut out = Vec::new();
                other.write(&mut out);
                Some(Cow::Owned(out))
            }
        }
    }

    /// As `to_bytes`, in UTF-8 whatever came.
    pub fn to_text(&self) -> Option<String> {
        self.to_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The member of that name; the last one when there are several.
    pub fn member(&self, name: &str) -> Option<&Value<'a>> {
        let Value::Object(members) = self else { return None };
        members.iter().rev().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Number(number) => write_number(number, out),
            Value::Text(text) => escape::write_text(text.as_bytes(), out),
            Value::Bytes(bytes) => escape::write_text(bytes, out),
            Value::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Value::Object(members) => {
                out.push(b'{');
                for (at, (key, value)) in members.iter().filter(|(_, value)| *value != Value::Null).enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    key.write(out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// The whole text as one value; what is no UTF-8 is replaced.
pub fn parse(text: &[u8]) -> Result<Value<'_>, DecodeError> {
    parse_as(text, false)
}

/// As `parse`; what is no UTF-8 stays as it is.
pub(crate) fn parse_raw(text: &[u8]) -> Result<Value<'_>, DecodeError> {
    parse_as(text, true)
}

fn parse_as(text: &[u8], raw: bool) -> Result<Value<'_>, DecodeError> {
    let start = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let mut parser = Parser { bytes: text, at: start, values: 0, raw };
    let value = parser.value(0)?;
    parser.blanks();
    // fastjson2 takes one comma for the beginning of more documents, and zeros for the end.
    if parser.peek() == Some(b',') {
        parser.at += 1;
        parser.blanks();
    }
    if parser.bytes[parser.at..].iter().any(|byte| *byte != 0) {
        return parser.fail("more text after the value");
    }
    Ok(value)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
    /// Text that is no UTF-8 stays as it is.
    raw: bool,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, why: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Json { at: self.at, why })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Past blanks and comments.
    fn blanks(&mut self) {
        loop {
            match self.bytes[self.at..] {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x08, ..] => self.at += 1,
                [b'/', b'/', ..] => self.skip_behind(b"\n"),
                [b'/', b'*', ..] => {
                    self.at += 2;
                    self.skip_behind(b"*/");
                }
                _ => return,
            }
        }
    }

    /// Behind the next `end`, or to the end of everything.
    fn skip_behind(&mut self, end: &[u8]) {
        let found = self.bytes[self.at..].windows(end.len()).position(|window| window == end);
        self.at = found.map_or(self.bytes.len(), |at| self.at + at + end.len());
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        if depth > DEPTH_MAX {
            return self.fail("nested too deep");
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(DecodeError::TooMany { what: "json values", limit: VALUES_MAX });
        }
        self.blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(quote @ (b'"' | b'\'')) => self.text(quote),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            Some(first) if is_name_start(first) => Ok(match self.name() {
                b"true" => Value::Bool(true),
                b"false" => Value::Bool(false),
                b"null" | b"NaN" | b"undefined" => Value::Null,
                _ => return self.fail("a bare word is no value"),
            }),
            Some(_) => self.fail("no value begins like this"),
            None => self.fail("a value is missing at the end"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                // Between members it may be missing, and there may be more than one.
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            let key = self.key(depth)?;
            self.blanks();
            if self.peek() != Some(b':') {
                return self.fail("':' is missing after a key");
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            members.push((key, value));
        }
    }

    fn key(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        match self.peek() {
            Some(first) if is_name_start(first) => {
                let name = self.name();
                Ok(self.text_of(Cow::Borrowed(name)))
            }
            _ => self.value(depth + 1),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                Some(b',') if !items.is_empty() => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            items.push(self.value(depth + 1)?);
            self.blanks();
            if !matches!(self.peek(), Some(b',' | b']')) {
                return self.fail("',' or ']' is missing after an item");
            }
        }
    }

    fn text(&mut self, quote: u8) -> Result<Value<'a>, DecodeError> {
        self.at += 1;
        let mut unescaped: Option<Vec<u8>> = None;
        let mut from = self.at;
        loop {
            let Some(run) = self.bytes[self.at..].iter().position(|byte| *byte == quote || *byte == b'\\') else {
                return self.fail("a string has no end");
            };
            self.at += run;
            if self.bytes[self.at] == quote {
                let rest = &self.bytes[from..self.at];
                self.at += 1;
                return Ok(match unescaped {
                    None => self.text_of(Cow::Borrowed(rest)),
                    Some(mut whole) => {
                        whole.extend_from_slice(rest);
                        self.text_of(Cow::Owned(whole))
                    }
                });
            }
            let whole = unescaped.get_or_insert_default();
            whole.extend_from_slice(&self.bytes[from..self.at]);
            match escape::unescape(&self.bytes[self.at..]) {
                Some((character, length)) => {
                    whole.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    self.at += length;
                }
                None => return self.fail("unknown escape"),
            }
            from = self.at;
        }
    }

    fn text_of(&self, bytes: Cow<'a, [u8]>) -> Value<'a> {
        match bytes {
            Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(Cow::Borrowed(text)),
                Err(_) if self.raw => Value::Bytes(Cow::Borrowed(bytes)),
                Err(_) => Value::Text(String::from_utf8_lossy(bytes)),
            },
            Cow::Owned(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Value::Text(Cow::Owned(text)),
                Err(broken) if self.raw => Value::Bytes(Cow::Owned(broken.into_bytes())),
                Err(broken) => Value::Text(Cow::Owned(String::from_utf8_lossy(broken.as_bytes()).into_owned())),
            },
        }
    }

    fn number(&mut self) -> Result<Value<'a>, DecodeError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let number = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        if number != SIGN && number.parse::<f64>().is_err() {
            self.at = start;
            return self.fail("not a number");
        }
        // fastjson's type suffixes: 1L, 1.5F, ...
        if matches!(self.peek(), Some(b'L' | b'S' | b'B' | b'F' | b'D')) {
            self.at += 1;
        }
        Ok(Value::Number(number))
    }

    fn name(&mut self) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(|byte| is_name_start(byte) || byte.is_ascii_digit()) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }
}

/// Letters beyond ASCII count, so that a name is never cut inside a character.
fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_liberties_of_fastjson_are_taken() {
        let value = parse(b"\xef\xbb\xbf/*c*/{a:1,'b':[1,2,],//\n\"c\":{{'q':3}:7} 0:\"x\",},\n\0").unwrap();
        assert_eq!(value.member("a"), Some(&Value::Number("1")));
        assert_eq!(value.member("b"), Some(&Value::List(vec![Value::Number("1"), Value::Number("2")])));
        assert!(matches!(value.member("c"), Some(Value::Object(members)) if matches!(members[0].0, Value::Object(_))));
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let deep = "[".repeat(100_000);
        assert!(matches!(parse(deep.as_bytes()), Err(DecodeError::Json { why: "nested too deep", .. })));
        let deep_keys = "{".repeat(100_000);
        assert!(parse(deep_keys.as_bytes()).is_err());
        let many = format!("[{}]", "1,".repeat(VALUES_MAX + 1));
        assert_eq!(parse(many.as_bytes()), Err(DecodeError::TooMany { what: "json values", limit: VALUES_MAX }));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in
            ["", "{", "[1", "{\"a\"}", "{\"a\":}", "\"x", "1 2", "[1 2]", "[,1]", "1,,", "1\0x", "/*", "tru", "--", "\"\\q\"", "{:1}"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
