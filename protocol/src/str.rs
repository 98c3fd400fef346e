// SPDX-License-Identifier: Apache-2.0
//! `Str`: text that is a slice of the frame it came in. Knows UTF-8, nothing of the protocol.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};

use bytes::Bytes;
use bytestring::ByteString;

/// Text that shares its bytes with the frame it was read from. Cloning counts a reference; nothing is copied.
///
/// A `Str` keeps its whole frame alive: what enters a table becomes `Arc<str>` or `String` first. It is checked once, when it is made.
#[derive(Clone, Default)]
pub struct Str(ByteString);

impl Str {
    pub const EMPTY: Str = Str(ByteString::new());

    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// A copy with storage of its own.
    pub fn copy_from(text: &str) -> Self {
        Self(ByteString::from(text))
    }

    /// Text that a header says; what is no UTF-8 in it is replaced, as Java does.
    pub(crate) fn from_lossy(bytes: Bytes) -> Self {
        ByteString::try_from(bytes.clone()).map_or_else(|_| Self::from(String::from_utf8_lossy(&bytes).into_owned()), Self)
    }

    /// A part that shares the bytes; it must begin and end at a character.
    pub fn cut(&self, range: Range<usize>) -> Self {
        Self(self.0.slice_ref(&self.0[range]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Str {
    fn from(text: &'static str) -> Self {
        Self::from_static(text)
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(ByteString::from(text))
    }
}

impl TryFrom<Bytes> for Str {
    type Error = std::str::Utf8Error;
    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        ByteString::try_from(bytes).map(Self)
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Str {}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}
impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}
impl PartialEq<Str> for str {
    fn eq(&self, other: &Str) -> bool {
        other == self
    }
}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Str {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `str` does it, so that a map of `Str` can be asked with `&str`.
        self.as_str().hash(state);
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_str_is_asked_with_plain_text() {
        let map = std::collections::HashMap::from([(Str::from("topic"), 1)]);
        assert_eq!(map.get("topic"), Some(&1));
    }

    #[test]
    fn broken_utf8_is_no_str() {
        assert!(Str::try_from(Bytes::from_static(b"a\xff")).is_err());
        assert_eq!(Str::from_lossy(Bytes::from_static(b"a\xff")), "a\u{fffd}");
    }
}
