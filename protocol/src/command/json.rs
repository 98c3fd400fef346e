// SPDX-License-Identifier: Apache-2.0
//! The JSON header. Read in one pass that only notes where things lie; what that pass does not know goes to the tolerant reader in `fastjson`.

use std::io::Write;

use bytes::{Bytes, BytesMut};

use super::{HEADER_WORD_BYTES, RemotingCommand, SerializeType};
use crate::error::DecodeError;
use crate::ext_fields::{Builder, ExtFields, Span, Spare, TOO_MANY_FIELDS};
use crate::fastjson::escape::{self, write_text};
use crate::fastjson::parse::{self, Value};
use crate::language::LanguageCode;
use crate::scan;
use crate::str::Str;

/// `end` is where the header ends and the body begins.
pub(super) fn decode(frame: Bytes, end: usize, spare: &mut Spare) -> Result<RemotingCommand, DecodeError> {
    let header = &frame[..end];
    let is_clean = scan::is_utf8(&header[HEADER_WORD_BYTES..]);
    if let Some(found) = scan_header(header, spare) {
        return Ok(found.into_command(frame, end, spare, is_clean));
    }
    let mut command = decode_unusual(&header[HEADER_WORD_BYTES..])?.with_body(frame.slice(end..));
    if !is_clean {
        command.ext_fields.replace_broken();
    }
    Ok(command)
}

/// What the pass found. Spans are counted from the begin of the frame.
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
    /// `is_clean`: the header is UTF-8.
    fn into_command(self, frame: Bytes, end: usize, spare: &mut Spare, is_clean: bool) -> RemotingCommand {
        let remark = self.fields.text(self.remark, &frame);
        let body = frame.slice(end..);
        let mut ext_fields = if self.fields_present {
            self.fields.finish(frame)
        } else {
            self.fields.give_back(spare);
            ExtFields::default()
        };
        if !is_clean {
            ext_fields.replace_broken();
        }
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

    /// The rest of a string that begins at `start` and has an escape, copied beside the frame behind `beside_bytes`. Where it ends.
    fn unescape(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let beside = &mut self.fields.beside;
        // Room for every string to come: none gets longer by being unescaped, and eight bytes are copied at once.
        let room = self.beside_bytes + bytes.len() - start;
        if beside.len() < room {
            beside.resize(room, 0);
        }
        let (mut at, mut into) = (start, self.beside_bytes);
        loop {
            // Eight bytes at once, of which those before the next quote or backslash count.
            while let Some(eight) = bytes.get(at..)?.first_chunk::<8>() {
                beside[into..into + 8].copy_from_slice(eight);
                let plain = scan::plain_bytes(u64::from_le_bytes(*eight));
                (at, into) = (at + plain, into + plain);
                if plain < 8 {
                    break;
                }
            }
            match bytes.get(at..)? {
                // The separators of a property string, twice in every pair.
                [b'\\', b'u', b'0', b'0', b'0', digit @ b'1'..=b'2', ..] => (beside[into], at, into) = (digit - b'0', at + 6, into + 1),
                [b'"', ..] => {
                    self.beside_bytes = into;
                    return Some(at);
                }
                rest @ [b'\\', ..] => {
                    let (character, length) = escape::unescape(rest)?;
                    (at, into) = (at + length, into + character.encode_utf8(&mut beside[into..]).len());
                }
                // Less than eight bytes are left.
                [byte, ..] => (beside[into], at, into) = (*byte, at + 1, into + 1),
                [] => return None,
            }
        }
    }
}

/// One pass over the header in `bytes`. `None`: it is not the flat, strict JSON that clients write, and may still be what the original
/// reads.
///
/// The position is passed from hand to hand, not kept in a struct: it stays in a register, and that is half of the time.
fn scan_header(bytes: &[u8], spare: &mut Spare) -> Option<Found> {
    /// Four letters tell a name from the others.
    const fn four(name: &[u8; 4]) -> u32 {
        u32::from_le_bytes(*name)
    }
    const CODE: u32 = four(b"code");
    const FLAG: u32 = four(b"flag");
    const OPAQUE: u32 = four(b"opaq");
    const VERSION: u32 = four(b"vers");
    const LANGUAGE: u32 = four(b"lang");
    const EXT_FIELDS: u32 = four(b"extF");
    const REMARK: u32 = four(b"rema");
    const SERIALIZE_TYPE: u32 = four(b"seri");
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
    let mut place = first_name(bytes, HEADER_WORD_BYTES)?;
    let end = loop {
        let start = match place {
            Place::Name(start) => start,
            Place::End(end) => break end,
        };
        let end;
        match u32::from_le_bytes(*bytes.get(start..)?.first_chunk()?) {
            CODE => (found.code, end) = integer(bytes, behind_name(bytes, start, b"code")?)?,
            FLAG => (found.flag, end) = integer(bytes, behind_name(bytes, start, b"flag")?)?,
            OPAQUE => (found.opaque, end) = integer(bytes, behind_name(bytes, start, b"opaque")?)?,
            VERSION => (found.version, end) = integer(bytes, behind_name(bytes, start, b"version")?)?,
            REMARK => (found.remark, end) = value(bytes, behind_name(bytes, start, b"remark")?, &mut found)?,
            LANGUAGE => {
                let (text, text_end) = plain_string(bytes, behind_name(bytes, start, b"language")?)?;
                found.language = LanguageCode::from_name(text);
                end = text_end;
            }
            EXT_FIELDS => end = scan_fields(bytes, behind_name(bytes, start, b"extFields")?, &mut found)?,
            // What the sender says it is; the frame's own byte decides.
            SERIALIZE_TYPE => (_, end) = plain_string(bytes, behind_name(bytes, start, b"serializeTypeCurrentRPC")?)?,
            _ => return None,
        }
        place = next_name(bytes, end)?;
    };
    // The C++ client ends its header with a newline.
    (blanks(bytes, end) == bytes.len()).then_some(found)
}

/// The object that begins at `at`; where it ends. Apart, so that what every field needs stays in registers.
#[inline(never)]
fn scan_fields(bytes: &[u8], at: usize, found: &mut Found) -> Option<usize> {
    found.fields.restart();
    found.fields_present = true;
    let mut place = first_name(bytes, at)?;
    loop {
        let start = match place {
            Place::Name(start) => start,
            Place::End(end) => return Some(end),
        };
        let (word, length, (span, end)) = match scan::letter_before_text(&bytes[start..]) {
            Some(word) => (word, 1, string(bytes, start + 4, found)?),
            None => {
                let (word, length) = scan::name(&bytes[start..])?;
                (word, length, value(bytes, colon(bytes, start + length + 1)?, found)?)
            }
        };
        // A flood is told by the tolerant reader.
        if !found.fields.push(word, Span::of_frame(start, start + length), span) {
            return None;
        }
        place = next_name(bytes, end)?;
    }
}

/// What an object goes on with.
enum Place {
    /// A name begins here, behind its quote.
    Name(usize),
    /// The object ended before.
    End(usize),
}

/// In an object that begins at `at`.
fn first_name(bytes: &[u8], at: usize) -> Option<Place> {
    let at = blanks(bytes, take(bytes, blanks(bytes, at), b'{')?);
    match bytes.get(at)? {
        b'"' => Some(Place::Name(at + 1)),
        b'}' => Some(Place::End(at + 1)),
        _ => None,
    }
}

/// Behind a value that ends at `at`.
#[inline(always)]
fn next_name(bytes: &[u8], at: usize) -> Option<Place> {
    // Compact, as nearly always.
    if let [b',', b'"', ..] = bytes.get(at..)? {
        return Some(Place::Name(at + 2));
    }
    let at = blanks(bytes, at);
    match bytes.get(at)? {
        b',' => Some(Place::Name(take(bytes, blanks(bytes, at + 1), b'"')?)),
        b'}' => Some(Place::End(at + 1)),
        _ => None,
    }
}

/// Text; or a number or boolean, whose text it is (the C++ client writes them so); or null. And where it ends.
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
    let begin = found.beside_bytes;
    let stop = found.unescape(bytes, start)?;
    Some((Span::beside(begin, found.beside_bytes), stop + 1))
}

fn bare_value(bytes: &[u8], at: usize) -> Option<(Span, usize)> {
    let rest = &bytes[at..];
    let length = match rest.first()? {
        b'-' | b'0'..=b'9' => plain_number(rest)?,
        b't' if rest.starts_with(b"true") => 4,
        b'f' if rest.starts_with(b"false") => 5,
        b'n' if rest.starts_with(b"null") => return Some((Span::NULL, at + 4)),
        _ => return None,
    };
    Some((Span::of_frame(at, at + length), at + length))
}

/// The length of a whole number that is its own text; other numbers are printed anew, which is the tolerant reader's.
fn plain_number(bytes: &[u8]) -> Option<usize> {
    let start = usize::from(bytes.first() == Some(&b'-'));
    let end = start + bytes[start..].iter().position(|byte| !byte.is_ascii_digit())?;
    let is_whole = !matches!(bytes[end], b'.' | b'e' | b'E' | b'+' | b'-' | b'A'..=b'Z');
    (is_whole && matches!(bytes[start..end], [b'1'..=b'9', ..])).then_some(end).or_else(|| (is_whole && bytes[..end] == *b"0").then_some(1))
}

/// A string without escapes, and where it ends.
fn plain_string(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let text = &bytes[take(bytes, at, b'"')?..];
    let length = scan::quote_or_backslash(text)?;
    (text[length] == b'"').then_some((&text[..length], at + length + 2))
}

/// Where the value begins whose name begins at `at`, when that is `name`.
#[inline(always)]
fn behind_name(bytes: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let is_name = bytes[at..].strip_prefix(name)?.first() == Some(&b'"');
    if is_name { colon(bytes, at + name.len() + 1) } else { None }
}

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
    // Nearly always there are none.
    while let Some(byte) = bytes.get(at)
        && *byte <= b' '
        && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    {
        at += 1;
    }
    at
}

/// Everything else that the original reads: single quotes, nested values, numbers as text, members we do not know.
fn decode_unusual(header: &[u8]) -> Result<RemotingCommand, DecodeError> {
    let Value::Object(members) = parse::parse_raw(header)? else {
        return Err(DecodeError::Json { at: 0, why: "a header is an object" });
    };
    let mut command = RemotingCommand::default();
    for (name, value) in &members {
        match name.as_text().unwrap_or_default() {
            "code" => command.code = number_of(value)?,
            "flag" => command.flag = number_of(value)?,
            "opaque" => command.opaque = number_of(value)?,
            "version" => command.version = number_of(value)?,
            "language" => {
                command.language = match ordinal(value, LanguageCode::COUNT)? {
                    Some(ordinal) => LanguageCode::from_code(ordinal),
                    None => LanguageCode::from_name(value.to_bytes().unwrap_or_default()),
                }
            }
            // What the sender says it is; the frame's own byte decides.
            "serializeTypeCurrentRPC" => _ = ordinal(value, SERIALIZE_TYPES)?,
            "remark" => command.remark = value.to_text().map(Str::from),
            "extFields" => command.ext_fields = fields(value)?,
            _ => {}
        }
    }
    Ok(command)
}

const SERIALIZE_TYPES: i64 = 2;

fn number_of(value: &Value<'_>) -> Result<i32, DecodeError> {
    value.as_int().ok_or(DecodeError::Json { at: 0, why: "a header number is an int" })
}

/// The ordinal that stands where one of `count` constants is wanted; none where a name does, or null.
fn ordinal(value: &Value<'_>, count: i64) -> Result<Option<u8>, DecodeError> {
    let ordinal = match value {
        Value::Null | Value::Text(_) | Value::Bytes(_) => return Ok(None),
        Value::Number(_) => value.as_integer(i64::MIN, i64::MAX).filter(|ordinal| (0..count).contains(ordinal)),
        _ => None,
    };
    let ordinal = ordinal.and_then(|ordinal| u8::try_from(ordinal).ok());
    ordinal.map(Some).ok_or(DecodeError::Json { at: 0, why: "a header constant is a name or an ordinal" })
}

fn fields(value: &Value<'_>) -> Result<ExtFields, DecodeError> {
    let members = match value {
        Value::Null => return Ok(ExtFields::default()),
        Value::Text(text) if text.is_empty() || text == "null" => return Ok(ExtFields::default()),
        Value::Object(members) => members,
        _ => return Err(DecodeError::Json { at: 0, why: "extFields is an object" }),
    };
    let mut fields = Builder::new(&mut Spare::default());
    let mut beside = Vec::new();
    let mut store = |text: &[u8]| {
        let start = beside.len();
        beside.extend_from_slice(text);
        Span::beside(start, beside.len())
    };
    for (key, value) in members {
        let key = match key {
            Value::Text(_) | Value::Bytes(_) => key.to_bytes().unwrap_or_default(),
            _ => return Err(DecodeError::Json { at: 0, why: "the name of a field is text" }),
        };
        let span = store(&key);
        let value = value.to_bytes().map_or(Span::NULL, |text| store(&text));
        if !fields.push(scan::word_of(&key), span, value) {
            return Err(TOO_MANY_FIELDS);
        }
    }
    fields.beside = beside;
    Ok(fields.finish(Bytes::new()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What stands for `~` in a generated header: no UTF-8.
    const BROKEN: u8 = 0xC4;

    /// Text between quotes, with all that can stand there, and some that cannot.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-z0-9 :,{}]{0,12}",
            2 => prop::sample::select(vec!["\\u0001", "\\u0002", "\\u0003", "\\u00012", "\\n", "\\\"", "\\\\", "\\ud83d\\ude00", "\\ud83d", "€", "~", "~~", "\\u00zz", "\\ "])
                .prop_map(str::to_owned),
            1 => prop::sample::select(vec!["\\u00", "\\q", "\"", "\u{1}"]).prop_map(str::to_owned),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
    }

    fn blank() -> impl Strategy<Value = &'static str> {
        prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n\t")]
    }

    fn object(names: &'static [&'static str], value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let member = (blank(), prop::sample::select(names), blank(), blank(), value, blank());
        prop::collection::vec(member, 0..6).prop_map(|members| {
            let members: Vec<String> = members.iter().map(|(a, name, b, c, value, d)| format!("{a}\"{name}\"{b}:{c}{value}{d}")).collect();
            format!("{{{}}}", members.join(","))
        })
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![4 => text(), 2 => "-?[0-9]{1,11}", 1 => prop::sample::select(vec!["true", "false", "null", "[]", "1.5", "1e3", "05", "-", "-0", "5.", "7L", "{}", "''"]).prop_map(str::to_owned)]
    }

    fn header() -> impl Strategy<Value = String> {
        let fields = object(&["a", "b", "i", "q", "topic", "extFields", "properties", "a\\u0001", ""], value());
        let value = prop_oneof![2 => value(), 2 => fields, 1 => prop::sample::select(vec!["\"GO\"", "\"go\"", "\"9\"", "\"xyz\""]).prop_map(str::to_owned)];
        let names = &[
            "code",
            "flag",
            "opaque",
            "version",
            "language",
            "extFields",
            "extFields",
            "remark",
            "serializeTypeCurrentRPC",
            "codes",
            "extF",
        ];
        (object(names, value), prop::sample::select(vec!["", "", "\n", "x", "\0", ",", "//x"])).prop_map(|(object, end)| object + end)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        /// Also in memory that another header left.
        #[test]
        fn what_the_quick_pass_takes_is_what_the_tolerant_reader_reads(header in header()) {
            let header: Vec<u8> = header.bytes().map(|byte| if byte == b'~' { BROKEN } else { byte }).collect();
            let frame = Bytes::from([b"\0\0\0\0", &header[..], b"body"].concat());
            let end = frame.len() - 4;
            let mut spare = Spare::default();
            ExtFields::from_iter([("left", "\"\\".repeat(20)), ("behind", String::new())]).give_back(&mut spare);
            if let Some(found) = scan_header(&frame[..end], &mut spare) {
                let quick = found.into_command(frame.clone(), end, &mut spare, false);
                let tolerant = decode_unusual(&header).map(|command| command.with_body(&b"body"[..]));
                prop_assert_eq!(tolerant.as_ref(), Ok(&quick));
                prop_assert_eq!(quick.ext_fields.iter().collect::<Vec<_>>(), tolerant.unwrap().ext_fields.iter().collect::<Vec<_>>());
            }
        }
    }

    /// Keys in GBK, as C++ clients on Windows write them: the bytes stay, and where text is wanted they are replaced.
    #[test]
    fn what_is_no_utf8_stays_as_it_is() {
        for (begin, behind) in [
            (&br#"{"extFields":{"i":"k\u0001"#[..], &br#"\u0002","topic":"a"#[..]),
            (&br#"{'extFields':{"i":"k\u0001"#[..], &br#"\u0002",topic:"a"#[..]),
        ] {
            let header = [begin, b"\xC4\xE3", behind, b"\xFF\"},\"remark\":\"\xFF\"}"].concat();
            let frame = Bytes::from([b"\0\0\0\0", &header[..]].concat());
            let command = decode(frame, header.len() + 4, &mut Spare::default()).unwrap();
            assert_eq!(command.ext_fields.pairs().next(), Some((&b"i"[..], &b"k\x01\xC4\xE3\x02"[..])));
            assert_eq!(command.ext_fields.get_str("topic"), Some("a\u{FFFD}"));
            assert_eq!(
                (command.ext_fields.get("topic").unwrap(), command.remark.unwrap()),
                (Str::from("a\u{FFFD}"), Str::from("\u{FFFD}"))
            );
        }
    }

    /// Java's texts have both: a header with one does not end the connection, in the quick pass and in the tolerant one.
    #[test]
    fn a_zero_and_half_of_a_pair_are_characters_like_others() {
        for header in [r#"{"extFields":{"a":"x\u0000y","b":"\ud83d"}}"#, r#"{'extFields':{a:"x\u0000y",b:"\ud83d"}}"#] {
            let frame = Bytes::from([b"\0\0\0\0", header.as_bytes()].concat());
            let command = decode(frame, header.len() + 4, &mut Spare::default()).unwrap();
            let field = |name| command.ext_fields.get(name).map(|value| value.to_string());
            assert_eq!((field("a").as_deref(), field("b").as_deref()), (Some("x\0y"), Some("?")), "{header}");
        }
    }

    #[test]
    fn the_quick_pass_takes_what_clients_write() {
        let headers = [
            // Java
            r#"{"code":310,"extFields":{"a":"P","b":"T","i":"KEYS\u0001k\u0002"},"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":475}"#,
            // C++
            "{\"code\":310,\"extFields\":{\"e\":3,\"k\":false},\"flag\":0,\"language\":\"CPP\",\"opaque\":1,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":1}\n",
            // Python
            r#"{"code": 310, "language": "PYTHON", "extFields": {"a": "P", "topic": "T"}, "flag": 0, "remark": ""}"#,
            r#"{"remark":"\u0001"}"#,
        ];
        for header in headers {
            let frame = [b"\0\0\0\0", header.as_bytes()].concat();
            assert!(scan_header(&frame, &mut Spare::default()).is_some(), "{header}");
        }
    }
}
