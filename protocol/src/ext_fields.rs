// SPDX-License-Identifier: Apache-2.0
//! `ExtFields`: the string pairs of a command's header, kept as spans of the frame they came in. Knows no field's name or type.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::scan;
use crate::str::Str;

/// Pairs in one header. The original has no limit; 24 bytes are kept for each, and no client sends more than a few dozen.
pub const EXT_FIELDS_MAX: usize = 4096;

/// Of a header that is not all UTF-8 so much is kept as text, twice what the properties of a message may have. A value that is behind reads
/// as one replaced character: no name is like that.
const REPLACED_BYTES_MAX: usize = 64 * 1024;

pub(crate) const TOO_MANY_FIELDS: DecodeError = DecodeError::TooMany { what: "ext fields", limit: EXT_FIELDS_MAX };

/// Where text of a header lies: in the frame, as it came; or beside it: JSON text that had `\u0001` in it, or what we inserted. Two
/// numbers, because many are made and few are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// With `BESIDE` in it, or `NULL_START`.
    start: u32,
    length: u32,
}

/// A header's length has 24 bits, so no place in it has this one.
const BESIDE: u32 = 1 << 31;
const NULL_START: u32 = u32::MAX;

impl Span {
    /// Java's null: the key is there and counts as absent.
    pub(crate) const NULL: Span = Span { start: NULL_START, length: 0 };

    #[inline(always)]
    pub(crate) fn of_frame(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 }
    }

    #[inline(always)]
    pub(crate) fn beside(start: usize, end: usize) -> Self {
        Self { start: start as u32 | BESIDE, length: (end - start) as u32 }
    }

    #[inline(always)]
    fn is_null(self) -> bool {
        self.start == NULL_START
    }

    /// Its bytes, in the frame or beside it; of null none.
    #[inline(always)]
    fn of<'a>(self, frame: &'a [u8], beside: &'a [u8]) -> &'a [u8] {
        if self.start & BESIDE == 0 {
            return &frame[self.start as usize..][..self.length as usize];
        }
        if self.is_null() { &[] } else { &beside[(self.start & !BESIDE) as usize..][..self.length as usize] }
    }

    /// As text that shares the frame, if it lies there.
    fn cut(self, frame: &Bytes, beside: &[u8]) -> Str {
        if self.start & BESIDE == 0 {
            let start = self.start as usize;
            return Str::from_lossy(frame.slice(start..start + self.length as usize));
        }
        Str::from_lossy(Bytes::copy_from_slice(self.of(frame, beside)))
    }
}

#[derive(Clone, Copy)]
struct Entry {
    /// `scan::word_of` the key: names are told apart by one comparison.
    word: u64,
    key: Span,
    value: Span,
}

/// The pairs of one header, in their order. A key that came twice has the value that came last.
///
/// Absent (`default()`) and empty differ on the wire: the JSON header leaves `extFields` out or writes `{}`.
#[derive(Clone, Default)]
pub struct ExtFields {
    frame: Bytes,
    beside: Vec<u8>,
    entries: Vec<Entry>,
    present: bool,
    /// What values that are no UTF-8 read as where text is wanted. Their bytes stay, and are what a record keeps.
    replaced: Option<Box<[(Span, String)]>>,
}

impl ExtFields {
    /// For a header that is not all UTF-8.
    pub(crate) fn replace_broken(&mut self) {
        let mut room = REPLACED_BYTES_MAX;
        let broken = self.entries.iter().filter_map(|entry| {
            let bytes = self.bytes_of(entry.value);
            room = room.checked_sub(bytes.len())?;
            match String::from_utf8_lossy(bytes) {
                Cow::Owned(text) => Some((entry.value, text)),
                Cow::Borrowed(_) => None,
            }
        });
        self.replaced = Some(broken.collect());
    }

    /// Present and without pairs.
    pub fn empty() -> Self {
        Self { present: true, ..Self::default() }
    }

    /// Leaves its memory for the next header.
    pub(crate) fn give_back(self, spare: &mut Spare) {
        if (1..=SPARE_FIELDS_MAX).contains(&self.entries.capacity()) {
            spare.entries = self.entries;
        }
        if (1..=SPARE_BYTES_MAX).contains(&self.beside.capacity()) {
            spare.beside = self.beside;
        }
    }

    /// False when the command had no `extFields` at all: Java's null map.
    pub fn is_present(&self) -> bool {
        self.present
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    pub fn get(&self, key: &str) -> Option<Str> {
        self.find(key).map(|value| self.str_of(value))
    }

    /// The bytes of a value, by its name and that name's word.
    pub(crate) fn get_bytes(&self, word: u64, key: &str) -> Option<&[u8]> {
        self.find_word(word, key).map(|value| self.bytes_of(value))
    }

    /// As `get`, without sharing the frame.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.find(key).map(|value| self.text_of(value))
    }

    /// Every pair in its order; a key that came twice is there twice, nulls are not.
    pub fn iter(&self) -> impl Iterator<Item = (Str, Str)> + '_ {
        self.entries.iter().filter(|entry| !entry.value.is_null()).map(|entry| (self.str_of(entry.key), self.str_of(entry.value)))
    }

    /// Sets `key`, in place of the value it had.
    pub fn insert(&mut self, key: impl AsRef<str>, value: impl AsRef<str>) {
        let value = self.add(value.as_ref().as_bytes());
        self.place(key.as_ref(), value);
    }

    /// Sets `key` to what `value` displays as: numbers and booleans travel as text.
    pub fn insert_display(&mut self, key: &str, value: impl fmt::Display) {
        let start = self.beside.len();
        {
            use std::io::Write;
            write!(self.beside, "{value}").expect("a Vec takes every byte");
        }
        self.place(key, Span::beside(start, self.beside.len()));
    }

    /// An empty header is still written as `{}`.
    pub fn mark_present(&mut self) {
        self.present = true;
    }

    pub fn remove(&mut self, key: &str) {
        let doomed: Vec<bool> = self.entries.iter().map(|entry| self.bytes_of(entry.key) == key.as_bytes()).collect();
        let mut at = doomed.iter();
        self.entries.retain(|_| !at.next().expect("one verdict per entry"));
    }

    /// The pairs as a header's decoder walks them: the keys' words and the keys, values that may be null.
    pub(crate) fn walk(&self) -> impl Iterator<Item = (u64, FieldName<'_>, FieldValue<'_>)> {
        self.entries
            .iter()
            .map(|entry| (entry.word, FieldName { fields: self, span: entry.key }, FieldValue { fields: self, span: entry.value }))
    }

    /// The pairs as an encoder wants them.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().filter(|entry| !entry.value.is_null()).map(|entry| (self.bytes_of(entry.key), self.bytes_of(entry.value)))
    }

    fn find(&self, key: &str) -> Option<Span> {
        self.find_word(scan::word_of(key.as_bytes()), key)
    }

    fn find_word(&self, word: u64, key: &str) -> Option<Span> {
        let found = &self.entries[self.position(word, key)?];
        (!found.value.is_null()).then_some(found.value)
    }

    /// The last entry of that name.
    fn position(&self, word: u64, key: &str) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.word == word && FieldName { fields: self, span: entry.key }.is(key))
    }

    fn place(&mut self, key: &str, value: Span) {
        self.present = true;
        let word = scan::word_of(key.as_bytes());
        if let Some(at) = self.position(word, key) {
            self.entries[at].value = value;
            return;
        }
        let key = self.add(key.as_bytes());
        self.entries.push(Entry { word, key, value });
    }

    fn add(&mut self, bytes: &[u8]) -> Span {
        let start = self.beside.len();
        self.beside.extend_from_slice(bytes);
        Span::beside(start, self.beside.len())
    }

    #[inline(always)]
    fn bytes_of(&self, span: Span) -> &[u8] {
        span.of(&self.frame, &self.beside)
    }

    fn text_of(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes_of(span)).unwrap_or_else(|_| self.replacement(span))
    }

    #[cold]
    fn replacement(&self, span: Span) -> &str {
        let found = self.replaced.iter().flatten().find(|(broken, _)| *broken == span);
        found.map_or("\u{FFFD}", |(_, text)| text)
    }

    fn str_of(&self, span: Span) -> Str {
        span.cut(&self.frame, &self.beside)
    }
}

/// One name whose word is known to be the right one.
#[derive(Clone, Copy)]
pub struct FieldName<'a> {
    fields: &'a ExtFields,
    span: Span,
}

impl<'a> FieldName<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.fields.bytes_of(self.span)
    }

    /// The one letter that it is, from its word.
    #[inline(always)]
    pub(crate) fn letter(self, word: u64) -> Option<u8> {
        (self.span.length == 1).then_some(word as u8)
    }

    /// Whether it is `name`, whose word it has: seven bytes are in the word itself.
    #[inline(always)]
    pub fn is(self, name: &str) -> bool {
        self.span.length as usize == name.len() && (name.len() <= 7 || self.fields.bytes_of(self.span) == name.as_bytes())
    }
}

/// One value while a header reads itself.
#[derive(Clone, Copy)]
pub struct FieldValue<'a> {
    fields: &'a ExtFields,
    span: Span,
}

impl<'a> FieldValue<'a> {
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.span.is_null()
    }

    /// Whether it is a number that `into` can hold; what is not leaves it as it is.
    #[inline(always)]
    pub(crate) fn read_number<N: TryFrom<i64>>(self, into: &mut N) -> bool {
        let Some(Ok(number)) = scan::integer(self.bytes()).map(N::try_from) else { return false };
        *into = number;
        true
    }

    /// The same for a field that may be missing.
    #[inline(always)]
    pub(crate) fn may_read_number<N: TryFrom<i64>>(self, into: &mut N) -> bool {
        self.is_null() || self.read_number(into)
    }

    /// The same where missing is told apart.
    #[inline(always)]
    pub(crate) fn may_read_some<N: TryFrom<i64>>(self, into: &mut Option<N>) -> bool {
        *into = scan::integer(self.bytes()).and_then(|number| number.try_into().ok());
        into.is_some() || self.is_null()
    }

    #[inline(always)]
    pub fn bytes(self) -> &'a [u8] {
        self.fields.bytes_of(self.span)
    }
    pub fn text(self) -> &'a str {
        self.fields.text_of(self.span)
    }
    pub fn to_str(self) -> Str {
        self.fields.str_of(self.span)
    }
}

/// Memory of a header that was read, for the next one: a connection reads one after the other.
#[derive(Default)]
pub struct Spare {
    entries: Vec<Entry>,
    beside: Vec<u8>,
}

/// What no usual header exceeds; more is not kept.
const SPARE_FIELDS_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 4096;

/// Gathers spans while a header is parsed: into its frame, and into `beside`.
pub(crate) struct Builder {
    entries: Vec<Entry>,
    /// What an earlier header left here is never looked at.
    pub(crate) beside: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(spare: &mut Spare) -> Self {
        Self { entries: std::mem::take(&mut spare.entries), beside: std::mem::take(&mut spare.beside) }
    }

    /// A pair whose key has the word `word`. False when there are too many.
    #[inline(always)]
    pub(crate) fn push(&mut self, word: u64, key: Span, value: Span) -> bool {
        if self.entries.len() == EXT_FIELDS_MAX {
            return false;
        }
        self.entries.push(Entry { word, key, value });
        true
    }

    /// Begins anew, with room for what headers usually have.
    pub(crate) fn restart(&mut self) {
        self.entries.clear();
        self.entries.reserve(16);
    }

    /// The text of a string that is no field; of null none.
    pub(crate) fn text(&self, span: Span, frame: &Bytes) -> Option<Str> {
        (!span.is_null()).then(|| span.cut(frame, &self.beside))
    }

    pub(crate) fn finish(self, frame: Bytes) -> ExtFields {
        ExtFields { frame, beside: self.beside, entries: self.entries, present: true, replaced: None }
    }

    /// For a header without fields.
    pub(crate) fn give_back(self, spare: &mut Spare) {
        self.finish(Bytes::new()).give_back(spare);
    }
}

impl fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.present {
            return f.write_str("absent");
        }
        f.debug_map().entries(self.pairs().map(|(key, value)| (String::from_utf8_lossy(key), String::from_utf8_lossy(value)))).finish()
    }
}

/// Equal when they say the same, wherever the bytes lie.
impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.present == other.present && self.pairs().eq(other.pairs())
    }
}
impl Eq for ExtFields {}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for ExtFields {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut fields = ExtFields::empty();
        for (key, value) in pairs {
            fields.insert(key, value);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_counts_and_a_null_hides_both() {
        let frame = || Bytes::from_static(b"key12");
        let word = scan::word_of(b"key");
        let mut builder = Builder::new(&mut Spare::default());
        builder.push(word, Span::of_frame(0, 3), Span::of_frame(3, 4));
        builder.push(word, Span::of_frame(0, 3), Span::of_frame(4, 5));
        let twice = builder.finish(frame());
        assert_eq!(twice.get("key").as_deref(), Some("2"));

        let mut builder = Builder::new(&mut Spare::default());
        builder.push(word, Span::of_frame(0, 3), Span::of_frame(3, 4));
        builder.push(word, Span::of_frame(0, 3), Span::NULL);
        let hidden = builder.finish(frame());
        assert_eq!((hidden.get("key"), hidden.contains("key")), (None, false));
    }

    #[test]
    fn insert_replaces_and_remove_removes() {
        let mut fields = ExtFields::default();
        assert!(!fields.is_present());
        fields.insert("a", "1");
        fields.insert_display("a", 22);
        fields.insert("b", "3");
        assert_eq!(fields.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["a=22", "b=3"]);
        fields.remove("a");
        assert_eq!((fields.get("a"), fields.len()), (None, 1));
    }

    #[test]
    fn a_header_reads_the_same_in_the_memory_of_another() {
        let mut spare = Spare::default();
        ExtFields::from_iter([("a", "1"), ("b", "2")]).give_back(&mut spare);
        assert!(spare.entries.capacity() > 0 && spare.beside.capacity() > 0);
        let mut builder = Builder::new(&mut spare);
        builder.restart();
        builder.push(scan::word_of(b"c"), Span::of_frame(0, 1), Span::of_frame(1, 2));
        assert_eq!(builder.finish(Bytes::from_static(b"c3")), ExtFields::from_iter([("c", "3")]));

        ExtFields::from_iter([("a", "x".repeat(SPARE_BYTES_MAX))]).give_back(&mut spare);
        assert_eq!(spare.beside.capacity(), 0, "one that grew is let go");

        let mut grown = Builder::new(&mut spare);
        grown.beside.resize(SPARE_BYTES_MAX + 1, b'x');
        grown.give_back(&mut spare);
        assert_eq!(spare.beside.capacity(), 0, "also behind a header without fields, which may have a long remark");
    }

    /// The word of a name holds its length modulo 256 and seven of its bytes: the rest must be looked at.
    #[test]
    fn names_with_the_same_word_are_told_apart() {
        let long = "topicID".to_owned() + &"x".repeat(256);
        let fields = ExtFields::from_iter([("topicID", "7"), (long.as_str(), "263"), ("topicID1", "8"), ("topicID2", "9")]);
        assert_eq!(fields.len(), 4);
        for (name, value) in [("topicID", "7"), (long.as_str(), "263"), ("topicID1", "8"), ("topicID2", "9")] {
            assert_eq!(fields.get_str(name), Some(value));
        }
        assert_eq!(fields.get_str("topicID3"), None);
    }
}
