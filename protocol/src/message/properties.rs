// SPDX-License-Identifier: Apache-2.0
//! The property string, read and edited as the bytes it is: `name 1 value 2 name 1 value 2`. Knows no name.
//!
//! The reader's rules are the original's: a pair runs to the next separator (2) or the end, its first 1 splits it, pairs without name or
//! value do not count, and of two pairs with one name the last one does.

use crate::scan;

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// Behind a pair; some clients leave out the last one.
pub const PROPERTY_SEPARATOR: u8 = 2;

/// Name and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// What lies between the separators: a pair each, unless a client wrote something else.
#[inline]
pub fn parts(properties: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = properties;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, behind) = rest.split_at(scan::find_byte(rest, PROPERTY_SEPARATOR).unwrap_or(rest.len()));
        rest = behind.get(1..).unwrap_or_default();
        Some(part)
    })
}

/// A part as a pair, if it is one that counts.
#[inline]
pub fn pair(part: &[u8]) -> Option<Pair<'_>> {
    let (name, value) = part.split_at(scan::find_byte(part, NAME_VALUE_SEPARATOR)?);
    (!name.is_empty() && value.len() > 1).then(|| (name, &value[1..]))
}

/// The value of a part that is a pair of `name`.
#[inline(always)]
pub fn value<'a>(part: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let is_pair = part.len() > name.len() + 1 && part[name.len()] == NAME_VALUE_SEPARATOR && part[..name.len()] == *name.as_bytes();
    is_pair.then(|| &part[name.len() + 1..])
}

/// The pairs that count, in their order.
pub fn iter(properties: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    parts(properties).filter_map(pair)
}

/// The value of `name`: of its last pair.
pub fn find<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    parts(properties).filter_map(|part| value(part, name)).last()
}

/// As `find`, when the value is text.
pub fn find_str<'a>(properties: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(find(properties, name)?).ok()
}

/// Whether `name` has exactly the value `true`, in any case.
pub fn is_true(properties: &[u8], name: &str) -> bool {
    find(properties, name).is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
}

/// Appends a pair, and the separator before it when the last one is missing.
pub fn push(properties: &mut Vec<u8>, name: &str, value: impl AsRef<[u8]>) {
    if properties.last().is_some_and(|last| *last != PROPERTY_SEPARATOR) {
        properties.push(PROPERTY_SEPARATOR);
    }
    properties.extend_from_slice(name.as_bytes());
    properties.push(NAME_VALUE_SEPARATOR);
    properties.extend_from_slice(value.as_ref());
    properties.push(PROPERTY_SEPARATOR);
}

/// Gives `name` this value and no other; the rest stays byte for byte.
pub fn set(properties: &mut Vec<u8>, name: &str, value: impl AsRef<[u8]>) {
    remove(properties, name);
    push(properties, name, value);
}

/// Takes every pair of `name` out; tells whether there was one.
pub fn remove(properties: &mut Vec<u8>, name: &str) -> bool {
    let before = properties.len();
    let mut at = 0;
    while at < properties.len() {
        let end = scan::find_byte(&properties[at..], PROPERTY_SEPARATOR).map_or(properties.len(), |run| at + run + 1);
        let pair = &properties[at..end];
        if pair.starts_with(name.as_bytes()) && pair.get(name.len()) == Some(&NAME_VALUE_SEPARATOR) {
            properties.drain(at..end);
        } else {
            at = end;
        }
    }
    properties.len() != before
}

/// A new property string.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut properties = Vec::new();
    for (name, value) in pairs {
        push(&mut properties, name, value);
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A vector computed by the original's code.
    #[test]
    fn writes_the_vector() {
        assert_eq!(encode([("k1", "v1"), ("TAGS", "TagA")]), b"k1\x01v1\x02TAGS\x01TagA\x02");
    }

    #[test]
    fn reads_what_every_client_writes() {
        let unfinished = b"a\x011\x02TAGS\x01TagA";
        assert_eq!(find(unfinished, "TAGS"), Some(&b"TagA"[..]), "4.9.1 to 5.1.4 drop the last separator");
        assert_eq!(find(b"a\x01x\x01y\x02", "a"), Some(&b"x\x01y"[..]), "the first 1 splits");
        assert_eq!(find(b"a\x011\x02a\x012\x02", "a"), Some(&b"2"[..]), "the last one counts");
        assert_eq!(find(b"aa\x011\x02", "a"), None);
        assert_eq!(find(b"a\x01\x02b\x02\x01c\x02", "a"), None, "a pair without value does not count");
        assert_eq!(iter(b"a\x01\x02b\x02\x01c\x02d\x01e").collect::<Vec<_>>(), [(&b"d"[..], &b"e"[..])]);
    }

    proptest! {
        /// The same told in two steps: cut at every 2, then at the first 1 of each piece.
        #[test]
        fn pairs_are_what_lies_between_the_separators(properties in prop::collection::vec(prop_oneof![Just(1u8), Just(2u8), Just(b'a'), Just(0), Just(0x81)], 0..60)) {
            let pieces = properties.split(|byte| *byte == PROPERTY_SEPARATOR);
            let pairs = pieces.filter_map(|piece| {
                let at = piece.iter().position(|byte| *byte == NAME_VALUE_SEPARATOR)?;
                (at > 0 && at + 1 < piece.len()).then(|| (&piece[..at], &piece[at + 1..]))
            });
            prop_assert_eq!(find(&properties, "a"), pairs.clone().filter(|(name, _)| name == b"a").map(|(_, value)| value).next_back());
            prop_assert!(iter(&properties).eq(pairs));
        }
    }

    #[test]
    fn edits_leave_the_rest_alone() {
        let mut properties = b"a\x011\x02b\x012\x02a\x013".to_vec();
        assert!(remove(&mut properties, "a"));
        assert_eq!(properties, b"b\x012\x02");
        assert!(!remove(&mut properties, "a"));
        let mut properties = b"b\x012".to_vec();
        set(&mut properties, "CLUSTER", "c");
        assert_eq!(properties, b"b\x012\x02CLUSTER\x01c\x02", "a missing last separator is added first");
    }
}
