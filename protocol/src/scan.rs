// SPDX-License-Identifier: Apache-2.0
//! Looking through text eight bytes at a time. Knows nothing but bytes.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bits where `word` has a zero byte; the lowest one set is exact, which is all that is used.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[inline]
const fn equal(word: u64, byte: u8) -> u64 {
    zeros(word ^ (ONES * byte as u64))
}

/// The first byte that `wanted` (for a word) or `is_wanted` (for a byte of the rest) finds.
#[inline(always)]
fn find(bytes: &[u8], wanted: impl Fn(u64) -> u64, is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let found = wanted(u64::from_le_bytes(*chunk));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    // The last eight once more: in those that were looked at nothing was found.
    if let Some(last) = bytes.last_chunk::<8>() {
        let found = wanted(u64::from_le_bytes(*last));
        return (found != 0).then(|| bytes.len() - 8 + found.trailing_zeros() as usize / 8);
    }
    bytes.iter().position(|byte| is_wanted(*byte))
}

/// Where a JSON string ends or has an escape.
#[inline]
pub(crate) fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    find(bytes, |word| equal(word, b'"') | equal(word, b'\\'), |byte| matches!(byte, b'"' | b'\\'))
}

/// Where text must be escaped to stand in a JSON string.
#[inline]
pub(crate) fn must_escape(bytes: &[u8]) -> Option<usize> {
    // Below 0x20: the subtraction borrows out of the byte. Bytes from 0x80 on are taken out again.
    let control = |word: u64| word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    find(bytes, |word| control(word) | equal(word, b'"') | equal(word, b'\\'), |byte| byte < 0x20 || matches!(byte, b'"' | b'\\'))
}

/// Where `wanted` stands, quicker than the library where it is not far.
#[inline]
pub(crate) fn find_byte(bytes: &[u8], wanted: u8) -> Option<usize> {
    find(bytes, |word| equal(word, wanted), |byte| byte == wanted)
}

/// Whether it is UTF-8, with a short way for short text.
#[inline]
pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    // Sixteen at a time, the last ones once more with some before them.
    let (blocks, _) = bytes.as_chunks::<16>();
    if let Some(last) = bytes.last_chunk::<16>() {
        let all = blocks.iter().fold(u128::from_le_bytes(*last), |all, block| all | u128::from_le_bytes(*block));
        return all as u64 & HIGHS == 0 && (all >> 64) as u64 & HIGHS == 0 || std::str::from_utf8(bytes).is_ok();
    }
    find(bytes, |word| word & HIGHS, |byte| byte >= 0x80).is_none_or(|at| std::str::from_utf8(&bytes[at..]).is_ok())
}

/// As `is_utf8` for the first `length` bytes: short text is looked at as one word.
#[inline(always)]
pub(crate) fn begins_with_utf8(bytes: &[u8], length: usize) -> bool {
    match bytes.first_chunk::<8>() {
        Some(chunk) if length < 8 && short_word(u64::from_le_bytes(*chunk), length) & HIGHS == 0 => true,
        _ => is_utf8(&bytes[..length]),
    }
}

/// A short name as one number: its length and its first seven bytes. Different numbers, different names.
#[inline]
pub(crate) const fn word_of(name: &[u8]) -> u64 {
    let length = (name.len() as u64) << 56;
    if let Some(word) = name.first_chunk::<8>() {
        return length | (u64::from_le_bytes(*word) & 0x00FF_FFFF_FFFF_FFFF);
    }
    let mut word = length;
    let mut at = 0;
    while at < name.len() && at < 7 {
        word |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    word
}

/// `word_of` the name that `bytes` begin with.
#[inline(always)]
pub(crate) fn word_at(bytes: &[u8], length: usize) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(chunk) if length < 8 => short_word(u64::from_le_bytes(*chunk), length),
        _ => word_of(&bytes[..length]),
    }
}

/// Whether a constant's name is meant by `word`: fastjson2 compares without case, `_` and `-`.
pub(crate) fn is_same_word(name: &[u8], word: &[u8]) -> bool {
    fn letters(word: &[u8]) -> impl Iterator<Item = u8> + '_ {
        word.iter().filter(|byte| !matches!(byte, b'_' | b'-')).map(u8::to_ascii_lowercase)
    }
    letters(name).eq(letters(word))
}

/// The word of a name of one small letter, when `bytes` begin with that and text follows at once, as in nearly every send:
/// `b":"`.
#[inline(always)]
pub(crate) fn letter_before_text(bytes: &[u8]) -> Option<u64> {
    const BEHIND: u32 = u32::from_le_bytes(*b"\":\"\0");
    let four = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
    let letter = four as u8;
    (four >> 8 == BEHIND && letter.is_ascii_lowercase()).then_some(1 << 56 | u64::from(letter))
}

/// The word and the length of the name that `bytes` begin with and that ends at a quote; `None` when it has an escape or no end.
#[inline(always)]
pub(crate) fn name(bytes: &[u8]) -> Option<(u64, usize)> {
    let Some(chunk) = bytes.first_chunk::<8>() else { return whole_name(bytes) };
    let text = u64::from_le_bytes(*chunk);
    let length = plain_bytes(text);
    if length == 8 {
        return whole_name(bytes);
    }
    (bytes[length] == b'"').then_some((short_word(text, length), length))
}

/// One that is long, or near the end.
#[inline]
fn whole_name(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = quote_or_backslash(bytes)?;
    (bytes[length] == b'"').then_some((word_of(&bytes[..length]), length))
}

/// The word of the first `length` bytes of eight.
#[inline(always)]
fn short_word(text: u64, length: usize) -> u64 {
    debug_assert!(length < 8);
    (length as u64) << 56 | text & ((1 << (8 * length)) - 1)
}

/// How many of these eight bytes stand before the end of a JSON string or its next escape.
#[inline(always)]
pub(crate) fn plain_bytes(text: u64) -> usize {
    (equal(text, b'"') | equal(text, b'\\')).trailing_zeros() as usize / 8
}

/// Java's `Long.parseLong`: an optional sign, digits of any script, nothing else.
#[inline]
pub(crate) fn integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    if digits.len() > SHORT_DIGITS_MAX {
        return long_integer(negative, digits);
    }
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return long_integer(negative, digits);
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// So many digits cannot overflow.
const SHORT_DIGITS_MAX: usize = 18;

#[cold]
fn long_integer(negative: bool, digits: &[u8]) -> Option<i64> {
    // Downwards: the least number has no positive twin.
    let mut value: i64 = 0;
    for digit in std::str::from_utf8(digits).ok()?.chars() {
        value = value.checked_mul(10)?.checked_sub(i64::from(java_digit(digit)?))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// The zeros of the scripts that have digits of their own, as far as Java's `Character.digit` knows them in one `char`.
const ZEROS: [u16; 37] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50, 0x0ED0, 0x0F20,
    0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0,
    0xAA50, 0xABF0, 0xFF10,
];

fn java_digit(character: char) -> Option<u32> {
    let distance = |zero: &u16| u32::from(character).checked_sub(u32::from(*zero)).filter(|digit| *digit <= 9);
    ZEROS.iter().find_map(distance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_find_what_bytes_find(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), 0u8..0x22, 0x7eu8..0x82], 0..40)) {
            prop_assert_eq!(quote_or_backslash(&bytes), bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')));
            prop_assert_eq!(must_escape(&bytes), bytes.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')));
            prop_assert_eq!(find_byte(&bytes, b'"'), bytes.iter().position(|byte| *byte == b'"'));
            prop_assert_eq!(is_utf8(&bytes), std::str::from_utf8(&bytes).is_ok());
            for length in 0..=bytes.len() {
                prop_assert_eq!(begins_with_utf8(&bytes, length), std::str::from_utf8(&bytes[..length]).is_ok());
            }
        }

        #[test]
        fn integers_parse_as_the_library_parses(text in "[+-]{0,2}[0-9]{0,20}x?") {
            prop_assert_eq!(integer(text.as_bytes()), text.parse::<i64>().ok());
        }

        #[test]
        fn digits_of_any_script_are_digits(zero in prop::sample::select(&ZEROS[..]), number in any::<i32>()) {
            let text: String = number.to_string().chars().map(|c| match c.to_digit(10) {
                Some(digit) => char::from_u32(u32::from(zero) + digit).unwrap(),
                None => c,
            }).collect();
            prop_assert_eq!(integer(text.as_bytes()), Some(i64::from(number)));
        }

        #[test]
        fn every_integer_parses(number in any::<i64>()) {
            prop_assert_eq!(integer(number.to_string().as_bytes()), Some(number));
        }
    }

    proptest! {
        #[test]
        fn a_name_has_one_word_wherever_it_stands(name_text in "[a-zA-Z\0]{0,12}", behind in "[\"a-z]{0,10}") {
            let word = word_of(name_text.as_bytes());
            let text = format!("{name_text}{behind}");
            prop_assert_eq!(word_at(text.as_bytes(), name_text.len()), word);
            let quoted = format!("{name_text}\"{behind}");
            prop_assert_eq!(name(quoted.as_bytes()), Some((word, name_text.len())));
            prop_assert_eq!(name(format!("{name_text}\\{behind}").as_bytes()), None);
        }

        #[test]
        fn plain_bytes_end_where_bytes_say(text in prop::array::uniform8(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\')])) {
            let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(8);
            prop_assert_eq!(plain_bytes(u64::from_le_bytes(text)), end);
        }

        #[test]
        fn a_letter_before_text_is_what_the_bytes_say(text in "[a-c\"\\\\:A]{0,6}") {
            let letter = match text.as_bytes() {
                [letter @ b'a'..=b'z', b'"', b':', b'"', ..] => Some(word_of(&[*letter])),
                _ => None,
            };
            prop_assert_eq!(letter_before_text(text.as_bytes()), letter);
        }
    }

    #[test]
    fn different_words_are_different_names() {
        assert_eq!(word_of(b"topic"), word_of(b"topic"));
        assert_ne!(word_of(b"a"), word_of(b"a\0"));
    }
}
