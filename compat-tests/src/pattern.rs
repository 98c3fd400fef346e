// SPDX-License-Identifier: Apache-2.0
//! What a scenario must see, compared with what came.
//!
//! A plain value must be equal; an object must agree in the keys that it names; a list must agree item by item.
//! An object made of the words below is a question instead of a value.

use anyhow::{Result, bail};
use regex::Regex;
use serde_json::{Map, Value};

const WORDS: [&str; 14] = [
    "at_least",
    "at_most",
    "contains",
    "lacks",
    "matches",
    "not",
    "one_of",
    "length",
    "each",
    "some",
    "absent",
    "series",
    "count_from",
    "size_of",
];

/// `Ok(None)` = agrees; `Ok(Some(why))` = does not; `Err` = the pattern itself is wrong.
pub fn mismatch(wanted: &Value, got: &Value, at: &str) -> Result<Option<String>> {
    match wanted {
        Value::Object(words) if !words.is_empty() && words.keys().all(|key| WORDS.contains(&key.as_str())) => {
            for (word, argument) in words {
                if let Some(why) = ask(word, argument, words, got, at)? {
                    return Ok(Some(why));
                }
            }
            Ok(None)
        }
        Value::Object(fields) => {
            let Value::Object(have) = got else { return Ok(Some(format!("{at}: expected an object, got {}", short(got)))) };
            for (key, value) in fields {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                if let Some(why) = mismatch(value, have.get(key).unwrap_or(&Value::Null), &at)? {
                    return Ok(Some(why));
                }
            }
            Ok(None)
        }
        Value::Array(items) => {
            let Value::Array(have) = got else { return Ok(Some(format!("{at}: expected a list, got {}", short(got)))) };
            if items.len() != have.len() {
                return Ok(Some(format!("{at}: expected {} items, got {}: {}", items.len(), have.len(), short(got))));
            }
            for (index, (item, value)) in items.iter().zip(have).enumerate() {
                if let Some(why) = mismatch(item, value, &format!("{at}[{index}]"))? {
                    return Ok(Some(why));
                }
            }
            Ok(None)
        }
        _ => Ok((!equal(wanted, got)).then(|| format!("{at}: expected {}, got {}", short(wanted), short(got)))),
    }
}

fn ask(word: &str, argument: &Value, words: &Map<String, Value>, got: &Value, at: &str) -> Result<Option<String>> {
    let no = |what: &str| Ok(Some(format!("{at}: expected {what} {}, got {}", short(argument), short(got))));
    match word {
        "at_least" | "at_most" => {
            let (Some(bound), Some(value)) = (argument.as_f64(), got.as_f64()) else { return no(word) };
            let fine = if word == "at_least" { value >= bound } else { value <= bound };
            if fine { Ok(None) } else { no(word) }
        }
        "contains" | "lacks" => {
            let holds = |wanted: &Value| match got {
                Value::String(text) => wanted.as_str().is_some_and(|part| text.contains(part)),
                Value::Array(items) => items.iter().any(|item| equal(wanted, item)),
                _ => false,
            };
            let wanted = argument.as_array().cloned().unwrap_or_else(|| vec![argument.clone()]);
            let fine = if word == "contains" { wanted.iter().all(holds) } else { got != &Value::Null && !wanted.iter().any(holds) };
            if fine { Ok(None) } else { no(word) }
        }
        "matches" => {
            for part in argument.as_array().cloned().unwrap_or_else(|| vec![argument.clone()]) {
                let Some(expression) = part.as_str() else { bail!("`matches` wants a text") };
                let regex = Regex::new(&format!("(?s){expression}"))?;
                if !got.as_str().is_some_and(|text| regex.is_match(text)) {
                    return Ok(Some(format!("{at}: expected a match of {expression:?}, got {}", short(got))));
                }
            }
            Ok(None)
        }
        "not" => Ok(mismatch(argument, got, at)?.is_none().then(|| format!("{at}: expected anything but {}", short(argument)))),
        "one_of" => {
            for choice in argument.as_array().into_iter().flatten() {
                if mismatch(choice, got, at)?.is_none() {
                    return Ok(None);
                }
            }
            no("one of")
        }
        "length" => {
            let length = match got {
                Value::Array(items) => items.len(),
                Value::String(text) => text.len(),
                Value::Object(fields) => fields.len(),
                _ => return no("length"),
            };
            mismatch(argument, &Value::from(length), &format!("{at}.length"))
        }
        "each" | "some" => {
            let Value::Array(items) = got else { return no(word) };
            let mut last = None;
            for (index, item) in items.iter().enumerate() {
                let why = mismatch(argument, item, &format!("{at}[{index}]"))?;
                match (word, why) {
                    ("each", Some(why)) => return Ok(Some(why)),
                    ("some", None) => return Ok(None),
                    (_, why) => last = why,
                }
            }
            if word == "each" { Ok(None) } else { Ok(Some(last.unwrap_or_else(|| format!("{at}: expected some item, got none")))) }
        }
        "absent" => {
            if got.is_null() == argument.as_bool().unwrap_or(true) {
                Ok(None)
            } else {
                no("absent =")
            }
        }
        // { series = "m-#", size_of = 10, count_from = 0 }: the list m-0 .. m-9 in any order.
        "series" => {
            let Some(template) = argument.as_str() else { bail!("`series` wants a text with #") };
            let from = words.get("count_from").and_then(Value::as_u64).unwrap_or(0);
            let Some(count) = words.get("size_of").and_then(Value::as_u64) else { bail!("`series` wants `size_of`") };
            let mut wanted: Vec<String> = (from..from + count).map(|n| template.replace('#', &n.to_string())).collect();
            let mut have: Vec<String> = got.as_array().into_iter().flatten().map(|v| v.as_str().unwrap_or_default().to_owned()).collect();
            wanted.sort();
            have.sort();
            if wanted == have {
                return Ok(None);
            }
            let missing: Vec<&String> = wanted.iter().filter(|w| !have.contains(w)).collect();
            let extra: Vec<&String> = have.iter().filter(|h| !wanted.contains(h)).collect();
            Ok(Some(format!(
                "{at}: expected {template} x {count}, got {} (missing {}, unexpected {}, repeated {})",
                have.len(),
                short(&serde_json::json!(missing)),
                short(&serde_json::json!(extra)),
                have.windows(2).filter(|pair| pair[0] == pair[1]).count()
            )))
        }
        _ => Ok(None),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A value as text that fits into a report line.
pub fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(3000) {
        Some((cut, _)) => format!("{}... ({} bytes)", &text[..cut], text.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn agrees(wanted: Value, got: Value) -> bool {
        mismatch(&wanted, &got, "").unwrap().is_none()
    }

    #[test]
    fn values_objects_and_lists() {
        assert!(agrees(json!(1), json!(1.0)));
        assert!(!agrees(json!("1"), json!(1)));
        assert!(agrees(json!({"a": 1}), json!({"a": 1, "b": 2})));
        assert!(!agrees(json!({"a": 1, "c": 2}), json!({"a": 1, "b": 2})));
        assert!(agrees(json!([1, {"x": 2}]), json!([1, {"x": 2, "y": 3}])));
        assert!(!agrees(json!([1]), json!([1, 2])));
    }

    #[test]
    fn questions() {
        assert!(agrees(json!({"at_least": 2, "at_most": 3}), json!(3)));
        assert!(!agrees(json!({"at_least": 2}), json!(null)));
        assert!(agrees(json!({"contains": ["a", "b"]}), json!("cab")));
        assert!(!agrees(json!({"lacks": "a"}), json!("cab")));
        assert!(!agrees(json!({"lacks": "a"}), json!(null)), "nothing at all is not a text without it");
        assert!(agrees(json!({"matches": "^a.*b$"}), json!("a\nb")));
        assert!(agrees(json!({"not": 3}), json!(4)));
        assert!(agrees(json!({"one_of": [1, {"at_least": 7}]}), json!(9)));
        assert!(agrees(json!({"each": {"x": 1}}), json!([{"x": 1}, {"x": 1}])));
        assert!(!agrees(json!({"some": {"x": 2}}), json!([{"x": 1}])));
        assert!(!agrees(json!({"some": {"x": 2}}), json!([])));
        assert!(agrees(json!({"k": {"absent": true}}), json!({})));
        assert!(agrees(json!({"length": {"at_least": 2}}), json!([1, 2])));
    }

    #[test]
    fn a_series_is_a_set_with_no_repetition() {
        assert!(agrees(json!({"series": "m-#", "size_of": 2}), json!(["m-1", "m-0"])));
        assert!(!agrees(json!({"series": "m-#", "size_of": 2}), json!(["m-1", "m-0", "m-0"])));
        assert!(agrees(json!({"series": "m-#", "size_of": 1, "count_from": 5}), json!(["m-5"])));
    }
}
