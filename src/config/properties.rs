// SPDX-License-Identifier: Apache-2.0
//! Java's `.properties` syntax: the text of `broker.conf`, and of requests 25 and 318.
//!
//! The bytes are ISO-8859-1 with `\uXXXX` escapes, whatever an editor wrote, because that is how the original reads them:
//! a path in UTF-8 names the same directory here as there.

use std::collections::HashMap;

/// One `key = value` with the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// From 1.
    pub line: usize,
    /// One past the last line of it, from 1; more than `line + 1` only where lines are continued.
    line_end: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PropertiesError {
    pub line: usize,
    pub what: String,
}

impl Properties {
    pub fn parse(bytes: &[u8]) -> Result<Self, PropertiesError> {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(PropertiesError { line: 1, what: "the text is UTF-16: save it as UTF-8".to_owned() });
        }
        let text = text_of(bytes);
        let lines = natural_lines(&text);
        let mut entries = Vec::new();
        let mut next = 0;
        while next < lines.len() {
            let first = next;
            let mut logical = lines[next].trim_start_matches(is_blank).to_owned();
            next += 1;
            if logical.is_empty() || logical.starts_with(['#', '!']) {
                continue;
            }
            while ends_with_odd_backslashes(&logical) {
                logical.pop();
                let Some(more) = lines.get(next) else { break };
                logical.push_str(more.trim_start_matches(is_blank));
                next += 1;
            }
            let (key, value) = split(&logical);
            let line = first + 1;
            entries.push(Entry { key: unescape(key, line)?, value: unescape(value, line)?, line, line_end: next + 1 });
        }
        Ok(Self { entries })
    }

    /// The last value of a key counts, as in Java.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }

    /// Each key once, with its last value.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let last: HashMap<&str, usize> = self.entries.iter().enumerate().map(|(at, entry)| (entry.key.as_str(), at)).collect();
        self.entries.iter().enumerate().filter(move |(at, entry)| last[entry.key.as_str()] == *at).map(|(_, entry)| entry)
    }

    /// Lines whose key stands again further down, each with the next one of that key.
    pub fn repeated(&self) -> impl Iterator<Item = (&Entry, &Entry)> {
        let next = |at: usize, key: &str| self.entries[at + 1..].iter().find(|later| later.key == key);
        self.entries.iter().enumerate().filter_map(move |(at, entry)| Some((entry, next(at, &entry.key)?)))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn push(&mut self, key: &str, value: &str) {
        self.entries.push(Entry { key: key.to_owned(), value: value.to_owned(), line: 0, line_end: 0 });
    }
}

/// Without the byte order mark that some editors begin UTF-8 with: to the original it is part of the first key.
fn text_of(bytes: &[u8]) -> String {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).iter().map(|&byte| byte as char).collect()
}

/// The file with some keys changed: comments, order and every other line stay as the operator wrote them.
pub fn edit(bytes: &[u8], changes: &[(&str, String)]) -> Result<Vec<u8>, PropertiesError> {
    let properties = Properties::parse(bytes)?;
    let text = text_of(bytes);
    let lines = natural_lines(&text);
    let mut out = String::new();
    let mut at = 1;
    let changed = |key: &str| changes.iter().find(|(name, _)| *name == key);
    for entry in &properties.entries {
        let Some((key, value)) = changed(&entry.key) else { continue };
        for line in &lines[at - 1..entry.line - 1] {
            out.push_str(line);
            out.push('\n');
        }
        // Of several lines for one key only the last counted; the earlier ones go.
        if properties.entry(key).map(|last| last.line) == Some(entry.line) {
            push_line(&mut out, key, value);
        }
        at = entry.line_end;
    }
    for line in lines.get(at - 1..).unwrap_or_default() {
        out.push_str(line);
        out.push('\n');
    }
    for (key, value) in changes.iter().filter(|(key, _)| properties.entry(key).is_none()) {
        push_line(&mut out, key, value);
    }
    Ok(out.chars().map(|letter| letter as u8).collect())
}

fn push_line(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push('=');
    for (at, letter) in value.chars().enumerate() {
        match letter {
            ' ' if at == 0 => out.push_str("\\ "),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(letter),
            _ => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
    out.push('\n');
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\u{c}')
}

/// Lines end with LF, CR or CR LF.
fn natural_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        let width = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn ends_with_odd_backslashes(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// The key ends at the first blank, `=` or `:` that is not escaped.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical
        .char_indices()
        .find(|&(_, letter)| {
            let ends = !escaped && (is_blank(letter) || letter == '=' || letter == ':');
            escaped = !escaped && letter == '\\';
            ends
        })
        .map_or(logical.len(), |(at, _)| at);
    let value = logical[end..].trim_start_matches(is_blank);
    let value = value.strip_prefix(['=', ':']).unwrap_or(value);
    (&logical[..end], value.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: usize) -> Result<String, PropertiesError> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let plain = if letter != '\\' {
            letter
        } else {
            match letters.next() {
                Some('u') => {
                    let digits: String = letters.by_ref().take(4).collect();
                    let unit = (digits.len() == 4).then(|| u16::from_str_radix(&digits, 16).ok()).flatten();
                    let what = || format!("\\u{digits} is not \\u followed by four hexadecimal digits");
                    units.push(unit.ok_or_else(|| PropertiesError { line, what: what() })?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => break,
            }
        };
        units.extend(plain.encode_utf16(&mut [0; 2]).iter());
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        Properties::parse(text.as_bytes()).unwrap().iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn separators_comments_and_continued_lines_are_javas() {
        let text = "# c\n! c\n\na=1\n  b : 2\nc 3\nd\ne=x\\\n   y\\\r\n z\nf=g=h\n\\u0061b\\=c = d \\t\n";
        let expected = [("a", "1"), ("b", "2"), ("c", "3"), ("d", ""), ("e", "xyz"), ("f", "g=h"), ("ab=c", "d \t")];
        assert_eq!(parsed(text), pairs(&expected));
    }

    #[test]
    fn the_last_of_two_lines_with_one_key_counts() {
        assert_eq!(parsed("a=1\nb=2\na=3"), pairs(&[("b", "2"), ("a", "3")]));
    }

    #[test]
    fn a_key_that_stands_twice_is_found_with_both_lines() {
        let properties = Properties::parse(b"a=1\nb=2\na=3\n\na=4").unwrap();
        let lines: Vec<_> = properties.repeated().map(|(first, next)| (first.key.as_str(), first.line, next.line)).collect();
        assert_eq!(lines, [("a", 1, 3), ("a", 3, 5)]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_key() {
        let bytes = b"\xef\xbb\xbfa=1\nb=2\n";
        assert_eq!(Properties::parse(bytes).unwrap().get("a"), Some("1"));
        assert_eq!(edit(bytes, &[("b", "3".into())]).unwrap(), b"a=1\nb=3\n", "the original finds its first key too");
        let error = Properties::parse(b"\xff\xfea\0=\0").unwrap_err();
        assert_eq!(error.to_string(), "line 1: the text is UTF-16: save it as UTF-8");
    }

    #[test]
    fn bytes_are_latin_1_whatever_the_editor_wrote() {
        assert_eq!(Properties::parse(b"a=\xfcb").unwrap().get("a"), Some("\u{fc}b"));
        assert_eq!(Properties::parse("a=ü".as_bytes()).unwrap().get("a"), Some("\u{c3}\u{bc}"));
        assert_eq!(parsed("a=\\uD83D\\uDE80"), pairs(&[("a", "🚀")]));
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        let error = Properties::parse(b"a=1\n\nb=\\u12g4\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3: \\u12g4 is not \\u followed by four hexadecimal digits");
    }

    #[test]
    fn an_edit_changes_its_keys_and_nothing_else() {
        let before = b"# mine\na=1\n\nlong=x\\\n  y\nb = 2\na=3\n";
        let after = edit(before, &[("a", "4".into()), ("long", " z\\ü".into()), ("new", "n".into())]).unwrap();
        assert_eq!(String::from_utf8(after.clone()).unwrap(), "# mine\n\nlong=\\ z\\\\\\u00FC\nb = 2\na=4\nnew=n\n");
        let again = Properties::parse(&after).unwrap();
        assert_eq!((again.get("a"), again.get("long"), again.get("new")), (Some("4"), Some(" z\\ü"), Some("n")));
    }

    #[test]
    fn an_edit_of_an_empty_file_begins_it() {
        assert_eq!(edit(b"", &[("a", "1".into())]).unwrap(), b"a=1\n");
    }
}
