// SPDX-License-Identifier: Apache-2.0
//! Reads fastjson's dialect into ordinary JSON values, keeping what differs visible: an unquoted numeric key `0` becomes `#0`,
//! an object as key becomes its own canonical text. Knows nothing of what the members mean.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Number, Value};

/// The whole text as one value.
pub fn parse(text: &str) -> Result<Value> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.blanks();
    if reader.at != text.len() {
        bail!("text after the JSON value at {}", reader.at);
    }
    Ok(value)
}

const DEPTH_MAX: usize = 64;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn peek(&mut self) -> Result<char> {
        self.blanks();
        self.rest().chars().next().context("the JSON text ends early")
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        let found = self.peek()?;
        if found != wanted {
            bail!("found {found:?} where {wanted:?} was expected at {}", self.at);
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > DEPTH_MAX {
            bail!("nested deeper than {DEPTH_MAX}");
        }
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' => Ok(Value::String(self.string()?)),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value> {
        self.expect('{')?;
        let mut members = Map::new();
        if self.peek()? == '}' {
            self.expect('}')?;
            return Ok(Value::Object(members));
        }
        loop {
            let key = match self.peek()? {
                '"' => self.string()?,
                '{' => self.object(depth + 1)?.to_string(),
                _ => format!("#{}", self.word()?),
            };
            self.expect(':')?;
            let value = self.value(depth + 1)?;
            if members.insert(key.clone(), value).is_some() {
                bail!("the key {key} stands twice");
            }
            if self.peek()? == ',' {
                self.expect(',')?;
            } else {
                self.expect('}')?;
                return Ok(Value::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value> {
        self.expect('[')?;
        let mut items = Vec::new();
        if self.peek()? == ']' {
            self.expect(']')?;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.peek()? == ',' {
                self.expect(',')?;
            } else {
                self.expect(']')?;
                return Ok(Value::Array(items));
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        self.blanks();
        let rest = self.rest().as_bytes();
        let mut end = 1;
        while *rest.get(end).context("a string without end")? != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        let literal = &self.rest()[..=end];
        // fastjson writes U+007F and other controls raw or escaped; serde_json refuses raw ones.
        let escaped: String =
            literal.chars().map(|c| if (c as u32) < 0x20 { format!("\\u{:04x}", c as u32) } else { c.to_string() }).collect();
        let text = serde_json::from_str(&escaped).with_context(|| format!("string {literal}"))?;
        self.at += end + 1;
        Ok(text)
    }

    fn word(&mut self) -> Result<String> {
        self.blanks();
        let end = self.rest().find([':', ',', '}', ']', ' ', '\n', '\t', '\r']).unwrap_or(self.rest().len());
        let word = self.rest()[..end].to_owned();
        if word.is_empty() {
            bail!("nothing where a value was expected at {}", self.at);
        }
        self.at += end;
        Ok(word)
    }

    fn scalar(&mut self) -> Result<Value> {
        let word = self.word()?;
        Ok(match word.as_str() {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Number(word.parse::<Number>().with_context(|| format!("{word} is not a number"))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_of_every_kind_stay_distinguishable() {
        let read = parse(r#"{"table":{0:5,"1":6},"offsets":{{"topic":"T","queueId":0}:7},"list":["a\u0001"], "d":0.0}"#).expect("reads");
        assert_eq!(
            read,
            json!({"table": {"#0": 5, "1": 6}, "offsets": {"{\"queueId\":0,\"topic\":\"T\"}": 7}, "list": ["a\u{1}"], "d": 0.0})
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{\"a\":}", "[1,]", "{}x", "a=b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
