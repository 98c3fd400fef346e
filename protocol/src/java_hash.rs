// SPDX-License-Identifier: Apache-2.0
//! Java's `String.hashCode`, on which tag filters and the index rest.

/// Over UTF-16 code units, wrapping at 32 bits.
pub fn string_hash(text: &str) -> i32 {
    extend(0, text)
}

/// The hash of a text whose beginning hashes to `hash` and goes on with `text`.
pub fn extend(hash: i32, text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(hash, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    }
    text.encode_utf16().fold(hash, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
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
        assert_eq!(string_hash("TopicTest#7F000001"), -1_618_634_318);
        assert_eq!(extend(string_hash("TopicTest#"), "k1"), 2_746_024);
        assert_eq!(string_hash("😀"), 0xD83D * 31 + 0xDE00, "a surrogate pair counts as two");
    }
}
