// SPDX-License-Identifier: Apache-2.0
//! Java's `String.hashCode`, on which tag filters and the index rest.

/// Over UTF-16 code units, wrapping at 32 bits.
pub fn string_hash(text: &str) -> i32 {
    extend(0, text)
}

/// The hash of a text whose beginning hashes to `hash` and goes on with `text`.
pub fn extend(hash: i32, text: &str) -> i32 {
    if text.is_ascii() { extend_ascii(hash, text.as_bytes()) } else { text.encode_utf16().fold(hash, step) }
}

/// As `extend`; what is no text is replaced as Java's `new String(bytes)` does.
pub fn extend_bytes(hash: i32, bytes: &[u8]) -> i32 {
    if bytes.is_ascii() { extend_ascii(hash, bytes) } else { extend(hash, &String::from_utf8_lossy(bytes)) }
}

fn step(hash: i32, unit: impl Into<i32>) -> i32 {
    hash.wrapping_mul(31).wrapping_add(unit.into())
}

/// Four at a time, so that no multiplication waits for the one before it.
fn extend_ascii(hash: i32, bytes: &[u8]) -> i32 {
    let (fours, rest) = bytes.as_chunks::<4>();
    let hash = fours.iter().fold(hash, |hash, four| {
        let [a, b, c, d] = *four;
        let added = i32::from(a) * (31 * 31 * 31) + i32::from(b) * (31 * 31) + i32::from(c) * 31 + i32::from(d);
        hash.wrapping_mul(31 * 31 * 31 * 31).wrapping_add(added)
    });
    rest.iter().fold(hash, |hash, byte| step(hash, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Java 17.
    #[test]
    fn hashes_as_java_does() {
        assert_eq!(string_hash(""), 0);
        assert_eq!(string_hash("TagA"), 2_598_919);
        assert_eq!(string_hash("TagA || TagB"), 1_359_775_119);
        assert_eq!(string_hash("标签"), 857_175);
        assert_eq!(string_hash("TopicTest#k1"), 2_746_024);
        assert_eq!(extend_bytes(string_hash("TopicTest#"), b"k1"), 2_746_024);
        assert_eq!(extend_bytes(1, "标签".as_bytes()), extend(1, "标签"));
        assert_eq!(extend_bytes(1, b"a\xFF"), extend(1, "a\u{FFFD}"));
        assert_eq!(string_hash("TopicTest#7F000001"), -1_618_634_318);
        assert_eq!(extend(string_hash("TopicTest#"), "k1"), 2_746_024);
        assert_eq!(string_hash("😀"), 0xD83D * 31 + 0xDE00, "a surrogate pair counts as two");
    }
}
