// SPDX-License-Identifier: Apache-2.0
//! Text inside quotes: escapes in both directions.

use bytes::BufMut;

use crate::scan;

/// Writes `text` (valid UTF-8) in double quotes as the original does: control characters escaped, everything else raw.
pub(crate) fn write_text(text: &[u8], out: &mut impl BufMut) {
    out.put_u8(b'"');
    put_escaped(text, out);
    out.put_u8(b'"');
}

/// As `write_text`, between quotes that are already there.
pub(crate) fn put_escaped(text: &[u8], out: &mut impl BufMut) {
    let mut rest = text;
    while let Some(at) = scan::must_escape(rest) {
        out.put_slice(&rest[..at]);
        write_escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

fn write_escape(byte: u8, out: &mut impl BufMut) {
    match byte {
        b'"' => out.put_slice(b"\\\""),
        b'\\' => out.put_slice(b"\\\\"),
        b'\n' => out.put_slice(b"\\n"),
        b'\r' => out.put_slice(b"\\r"),
        b'\t' => out.put_slice(b"\\t"),
        0x08 => out.put_slice(b"\\b"),
        0x0c => out.put_slice(b"\\f"),
        other => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.put_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(other >> 4)], HEX[usize::from(other & 0xF)]]);
        }
    }
}

/// Reads the escape that `bytes` begin with (at the backslash): what it means, and how many bytes it took.
///
/// Half of a surrogate pair becomes a question mark, as when Java encodes it.
pub(crate) fn unescape(bytes: &[u8]) -> Option<(char, usize)> {
    let plain = match bytes.get(1)? {
        b'u' => return unescape_unicode(bytes),
        b'x' => return Some((char::from_u32(hex(bytes.get(2..4)?)?)?, 4)),
        byte @ (b'"' | b'\\' | b'/' | b'\'' | b' ') => *byte,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'f' | b'F' => 0x0c,
        b'v' => 0x0b,
        digit @ b'0'..=b'7' => digit - b'0',
        _ => return None,
    };
    Some((char::from(plain), 2))
}

fn unescape_unicode(bytes: &[u8]) -> Option<(char, usize)> {
    let digits = bytes.get(2..6)?;
    let Some(first) = hex(digits) else {
        // fastjson2 makes some character or other of it: as text it is not lost. A string that ends in it has no end.
        let is_text = digits.iter().all(|byte| *byte >= b' ' && !matches!(byte, b'"' | b'\\'));
        return is_text.then_some(('\\', 1));
    };
    if (0xD800..0xDC00).contains(&first)
        && bytes.get(6..8) == Some(b"\\u")
        && let Some(second) = bytes.get(8..12).and_then(hex)
        && (0xDC00..0xE000).contains(&second)
    {
        let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return Some((char::from_u32(code)?, 12));
    }
    Some((char::from_u32(first).unwrap_or('?'), 6))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(usize, String)> {
        unescape(text.as_bytes()).map(|(character, length)| (length, character.to_string()))
    }

    #[test]
    fn escapes_read_as_java_means_them() {
        assert_eq!(read("\\u0001x"), Some((6, "\u{1}".into())));
        assert_eq!(read("\\uD83D\\uDE00"), Some((12, "😀".into())));
        assert_eq!(read("\\uD83Dx"), Some((6, "?".into())));
        assert_eq!(read("\\u0000x"), Some((6, "\0".into())));
        assert_eq!(read("\\u00e9"), Some((6, "é".into())));
        assert_eq!(read("\\u00zz"), Some((1, "\\".into())));
        assert_eq!(read("\\u00\","), None);
        assert_eq!(read("\\u00"), None);
        assert_eq!(read("\\"), None);
        assert_eq!(read("\\q"), None);
    }

    /// Printed by fastjson2 2.0.59, which 5.5.0 writes with.
    #[test]
    fn text_is_written_as_the_original_writes_it() {
        let text = "\u{1b}\u{b}\u{8}\u{c}\n\r\t\0\u{7f}\u{2028}😀/'<\"\\";
        let mut out = Vec::new();
        write_text(text.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\"\\u001b\\u000b\\b\\f\\n\\r\\t\\u0000\u{7f}\u{2028}😀/'<\\\"\\\\\"");
    }
}
