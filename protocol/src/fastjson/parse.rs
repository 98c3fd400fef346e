// SPDX-License-Identifier: Apache-2.0
//! Text to a tree of values, with every liberty that fastjson takes. Knows no target type.

use std::borrow::Cow;

use super::escape;
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

    /// A number, or text that is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Number(number) => integer(number),
            Value::Text(text) => integer(text.trim()),
            _ => None,
        }
    }

    /// Where the original wants a string: numbers and booleans are their text, nested values are JSON again, null is none.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Text(text) => Some(text.to_string()),
            other => {
                let mut out = Vec::new();
                other.write(&mut out);
                Some(String::from_utf8_lossy(&out).into_owned())
            }
        }
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
            Value::Number(number) => out.extend_from_slice(number.as_bytes()),
            Value::Text(text) => escape::write_text(text.as_bytes(), out),
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
                for (at, (key, value)) in members.iter().enumerate() {
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

/// `5`, `+5`, `5.0`: what fits an integer without loss of its whole part.
pub(super) fn integer(number: &str) -> Option<i64> {
    number.parse().ok().or_else(|| {
        let float: f64 = number.parse().ok()?;
        (float.is_finite() && float.abs() < 9.2e18).then_some(float as i64)
    })
}

/// The whole text as one value.
pub fn parse(text: &str) -> Result<Value<'_>, DecodeError> {
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, values: 0 };
    let value = parser.value(0)?;
    parser.blanks();
    if parser.at < parser.bytes.len() {
        return parser.fail("more text after the value");
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, why: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Json { at: self.at, why })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x08)) {
            self.at += 1;
        }
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
            Some(quote @ (b'"' | b'\'')) => self.text(quote).map(Value::Text),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            Some(first) if is_name_start(first) => Ok(match self.name() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" | "NaN" | "undefined" => Value::Null,
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
            self.blanks();
            if !matches!(self.peek(), Some(b',' | b'}')) {
                return self.fail("',' or '}' is missing after a member");
            }
        }
    }

    fn key(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        match self.peek() {
            Some(first) if is_name_start(first) => Ok(Value::Text(Cow::Borrowed(self.name()))),
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
                Some(b',') => {
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

    fn text(&mut self, quote: u8) -> Result<Cow<'a, str>, DecodeError> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<Vec<u8>> = None;
        let mut from = start;
        loop {
            let Some(run) = self.bytes[self.at..].iter().position(|byte| *byte == quote || *byte == b'\\') else {
                return self.fail("a string has no end");
            };
            self.at += run;
            if self.bytes[self.at] == quote {
                let rest = &self.text[from..self.at];
                self.at += 1;
                return Ok(match unescaped {
                    None => Cow::Borrowed(rest),
                    Some(mut whole) => {
                        whole.extend_from_slice(rest.as_bytes());
                        Cow::Owned(String::from_utf8(whole).map_err(|_| DecodeError::Utf8 { what: "json string" })?)
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

    fn number(&mut self) -> Result<Value<'a>, DecodeError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let number = &self.text[start..self.at];
        if number.parse::<f64>().is_err() {
            self.at = start;
            return self.fail("not a number");
        }
        // fastjson's type suffixes: 1L, 1.5F, ...
        if matches!(self.peek(), Some(b'L' | b'S' | b'B' | b'F' | b'D')) {
            self.at += 1;
        }
        Ok(Value::Number(number))
    }

    fn name(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|byte| is_name_start(byte) || byte.is_ascii_digit()) {
            self.at += 1;
        }
        &self.text[start..self.at]
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
        let value = parse("{a:1,'b':[1,2,],\"c\":{{'q':3}:7},0:\"x\",}\n").unwrap();
        assert_eq!(value.member("a"), Some(&Value::Number("1")));
        assert_eq!(value.member("b"), Some(&Value::List(vec![Value::Number("1"), Value::Number("2")])));
        assert!(matches!(value.member("c"), Some(Value::Object(members)) if matches!(members[0].0, Value::Object(_))));
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let deep = "[".repeat(100_000);
        assert!(matches!(parse(&deep), Err(DecodeError::Json { why: "nested too deep", .. })));
        let deep_keys = "{".repeat(100_000);
        assert!(parse(&deep_keys).is_err());
        let many = format!("[{}]", "1,".repeat(VALUES_MAX + 1));
        assert_eq!(parse(&many), Err(DecodeError::TooMany { what: "json values", limit: VALUES_MAX }));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1", "{\"a\"}", "{\"a\":}", "\"x", "1 2", "{\"a\":1 \"b\":2}", "tru", "-", "\"\\q\"", "{:1}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
