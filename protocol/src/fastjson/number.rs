// SPDX-License-Identifier: Apache-2.0
//! Numbers as fastjson reads them where an integer is wanted, and prints them where text is wanted. Knows nothing of JSON's other values.

use super::write::java_double;
use crate::scan;

/// What fastjson2 takes for zero.
pub(super) const SIGN: &str = "-";

/// What a number is between `low` and `high`: an integer must lie there, a decimal is cut off.
pub(super) fn integer_of(number: &str, low: i64, high: i64) -> Option<i64> {
    if let Some(integer) = scan::integer(number.as_bytes()) {
        return (low..=high).contains(&integer).then_some(integer);
    }
    if !number.contains(['.', 'e', 'E']) && number != SIGN {
        return None;
    }
    // A decimal beyond the range ends at its end, as Java casts; only integers overflow.
    let decimal: f64 = if number == SIGN { 0.0 } else { number.parse().ok()? };
    Some((decimal as i64).clamp(low, high))
}

/// As `integer_of`, from text: nothing is zero, and so is null; a Java suffix and commas between digits are passed over.
pub(super) fn integer_of_text(text: &str, low: i64, high: i64) -> Option<i64> {
    match text {
        "" | "null" | "NULL" | "false" => Some(0),
        "true" => Some(1),
        _ => {
            let digits = text.strip_suffix('L').unwrap_or(text);
            let is_number = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' | b','));
            let number: String = digits.chars().filter(|character| *character != ',').collect();
            if is_number { integer_of(&number, low, high) } else { None }
        }
    }
}

/// As fastjson2 prints it again: a whole number without sign and zeros in front, a decimal as it came, one with an exponent as Java
/// prints a double.
pub(super) fn write_number(number: &str, out: &mut Vec<u8>) {
    let (sign, digits) = match number.as_bytes() {
        [b'-', ..] => ("-", &number[1..]),
        [b'+', ..] => ("", &number[1..]),
        _ => ("", number),
    };
    if digits.contains(['e', 'E']) {
        out.extend_from_slice(java_double(number.parse().unwrap_or_default()).as_bytes());
        return;
    }
    let whole = digits.trim_start_matches('0').trim_end_matches('.');
    out.extend_from_slice(sign.as_bytes());
    if number != SIGN && (whole.is_empty() || whole.starts_with('.')) {
        out.push(b'0');
    }
    out.extend_from_slice(whole.as_bytes());
}
