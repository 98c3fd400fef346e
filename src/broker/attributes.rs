// SPDX-License-Identifier: Apache-2.0
//! Attributes of topics and groups: `+key=value,-key` read, checked and applied.
//!
//! Order of checks and sentences follow the original's AttributeParser and AttributeUtil, because admin tools print them.
//! Knows neither topics nor groups; each of them brings its table of known attributes.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

/// A modification as the request carries it: keys keep their sign.
pub type Modification = BTreeMap<String, String>;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct AttributeError(String);

/// One known attribute.
#[derive(Debug)]
pub struct Attribute {
    pub name: &'static str,
    /// Whether it can be altered after creation.
    pub changeable: bool,
    pub values: Values,
}

#[derive(Debug)]
pub enum Values {
    /// In the order in which the original prints its set.
    OneOf(&'static [&'static str]),
    Range(i64, i64),
    Bool,
    Text,
}

impl Values {
    fn verify(&self, value: &str) -> Result<(), AttributeError> {
        match self {
            Self::OneOf(known) if known.contains(&value) => Ok(()),
            Self::OneOf(known) => refuse(format!("value is not in set: [{}]", known.join(", "))),
            Self::Range(min, max) => match value.parse::<i64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(()),
                Ok(_) => refuse(format!("value is not in range({min}, {max})")),
                Err(_) => refuse(format!("For input string: \"{value}\"")),
            },
            Self::Bool if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => Ok(()),
            Self::Bool => refuse("boolean attribute format is wrong.".to_owned()),
            Self::Text => Ok(()),
        }
    }
}

fn refuse<T>(sentence: String) -> Result<T, AttributeError> {
    Err(AttributeError(sentence))
}

/// Reads `+key1=value1,-key2`.
pub fn parse(text: &str) -> Result<Modification, AttributeError> {
    let mut modification = Modification::new();
    if text.is_empty() {
        return Ok(modification);
    }
    for item in text.trim_end_matches(',').split(',') {
        let (key, value) = match item.split_once('=') {
            Some((key, rest)) => {
                if !key.contains('+') {
                    return refuse(format!("add/alter attribute format is wrong: {key}"));
                }
                match rest.split('=').next() {
                    Some("") | None => return refuse("Index 1 out of bounds for length 1".to_owned()),
                    Some(value) => (key, value),
                }
            }
            None if item.contains('-') => (item, ""),
            None => return refuse(format!("delete attribute format is wrong: {item}")),
        };
        if modification.insert(key.to_owned(), value.to_owned()).is_some() {
            return refuse(format!("key duplication: {key}"));
        }
    }
    Ok(modification)
}

/// The attributes after `modification`; `current` is `None` when the topic or group is being created.
pub fn alter(
    known: &[Attribute],
    current: Option<&BTreeMap<String, String>>,
    modification: &Modification,
) -> Result<BTreeMap<String, String>, AttributeError> {
    let creates = current.is_none();
    let mut result = current.cloned().unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut changes = Vec::with_capacity(modification.len());
    for (signed, value) in modification {
        let mut characters = signed.chars();
        let sign = characters.next();
        let name = characters.as_str();
        if name.is_empty() || name.contains(['+', '-']) {
            return refuse("kv string format wrong.".to_owned());
        }
        if !seen.insert(name) {
            return refuse(format!("alter duplication key. key: {name}"));
        }
        match sign {
            Some('+') => changes.push((name, Some(value))),
            _ if creates => {
                return refuse(format!("only add attribute is supported while creating topic. key: {name}"));
            }
            Some('-') if !result.contains_key(name) => {
                return refuse(format!("attempt to delete a nonexistent key: {name}"));
            }
            Some('-') => changes.push((name, None)),
            _ => return refuse(format!("wrong format key: {name}")),
        }
    }
    for (name, value) in &changes {
        let Some(attribute) = known.iter().find(|attribute| attribute.name == *name) else {
            return refuse(format!("unsupported key: {name}"));
        };
        if !creates && !attribute.changeable {
            return refuse(format!("attempt to update an unchangeable attribute. key: {name}"));
        }
        if let Some(value) = value {
            attribute.values.verify(value)?;
        }
    }
    for (name, value) in changes {
        match value {
            Some(value) => result.insert(name.to_owned(), value.clone()),
            None => result.remove(name),
        };
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Attribute; 4] = [
        Attribute { name: "queue.type", changeable: false, values: Values::OneOf(&["SimpleCQ", "BatchCQ"]) },
        Attribute { name: "message.type", changeable: true, values: Values::OneOf(&["NORMAL", "FIFO"]) },
        Attribute { name: "minutes", changeable: true, values: Values::Range(-1, 43_200) },
        Attribute { name: "flag", changeable: true, values: Values::Bool },
    ];

    fn altered(current: Option<&str>, text: &str) -> Result<BTreeMap<String, String>, String> {
        let current = current.map(|text| alter(&KNOWN, None, &parse(text).unwrap()).unwrap());
        let modification = parse(text).map_err(|error| error.to_string())?;
        alter(&KNOWN, current.as_ref(), &modification).map_err(|error| error.to_string())
    }

    #[test]
    fn attributes_are_set_changed_and_deleted() {
        let created = altered(None, "+message.type=FIFO,+queue.type=BatchCQ").unwrap();
        assert_eq!(created.get("message.type").map(String::as_str), Some("FIFO"));
        let changed = altered(Some("+message.type=FIFO,+minutes=5"), "-minutes,+message.type=NORMAL,+flag=TRUE").unwrap();
        assert_eq!(changed.get("message.type").map(String::as_str), Some("NORMAL"));
        assert_eq!(changed.get("minutes"), None);
        assert_eq!(altered(None, ""), Ok(BTreeMap::new()));
    }

    /// Sentences printed by the original's classes (5.5.0).
    #[test]
    fn every_refusal_has_the_originals_sentence() {
        for (current, text, sentence) in [
            (None, "k=1", "add/alter attribute format is wrong: k"),
            (None, "k", "delete attribute format is wrong: k"),
            (None, "+k=", "Index 1 out of bounds for length 1"),
            (None, "+flag=true,+flag=true", "key duplication: +flag"),
            (None, "-flag", "only add attribute is supported while creating topic. key: flag"),
            (None, "++k=1", "kv string format wrong."),
            (None, "+k=1", "unsupported key: k"),
            (None, "+queue.type=x", "value is not in set: [SimpleCQ, BatchCQ]"),
            (None, "+minutes=99999", "value is not in range(-1, 43200)"),
            (None, "+minutes=x", "For input string: \"x\""),
            (None, "+flag=1", "boolean attribute format is wrong."),
            (Some("+flag=true"), "-minutes", "attempt to delete a nonexistent key: minutes"),
            (Some("+flag=true"), "+flag=true,-flag", "alter duplication key. key: flag"),
            (Some(""), "+queue.type=BatchCQ", "attempt to update an unchangeable attribute. key: queue.type"),
        ] {
            assert_eq!(altered(current, text), Err(sentence.to_owned()), "{text}");
        }
    }
}
