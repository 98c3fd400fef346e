// SPDX-License-Identifier: Apache-2.0
//! Finds the differences between two lists of answers and judges them by the explained list. Knows nothing of how the answers
//! came about.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::normalise::EXCEPTION;

/// Answers of one family: scenario -> step -> normalised answer.
pub type Answers = BTreeMap<String, BTreeMap<String, Value>>;

#[derive(Debug)]
pub struct Difference {
    /// `family/scenario/step path`
    pub at: String,
    pub oracle: String,
    pub ferrocket: String,
}

/// One line of `explained.txt`: where a difference is meant, and why; also what each side must say, when that is part of it.
#[derive(Debug)]
pub struct Explained {
    pub pattern: String,
    pub values: Option<(String, String)>,
    pub reason: String,
    pub used: bool,
}

pub fn load_explained(path: &Path) -> Result<Vec<Explained>> {
    let text = fs::read_to_string(path)?;
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (pattern, reason) = line.split_once(" :: ").with_context(|| format!("explained.txt: no ` :: ` in {line}"))?;
            let mut parts = pattern.split(" | ").map(|part| part.trim().to_owned());
            let pattern = parts.next().unwrap_or_default();
            Ok(Explained { pattern, values: parts.next().zip(parts.next()), reason: reason.trim().to_owned(), used: false })
        })
        .collect()
}

#[must_use]
pub fn differences(family: &str, oracle: &Answers, ferrocket: &Answers) -> Vec<Difference> {
    let mut found = Vec::new();
    for (scenario, steps) in oracle {
        for (step, wanted) in steps {
            let at = format!("{family}/{scenario}/{step}");
            match ferrocket.get(scenario).and_then(|steps| steps.get(step)) {
                Some(given) => diff(&at, "", wanted, given, &mut found),
                None => found.push(Difference { at, oracle: wanted.to_string(), ferrocket: "(step not reached)".to_owned() }),
            }
        }
    }
    found
}

fn diff(at: &str, path: &str, oracle: &Value, ferrocket: &Value, found: &mut Vec<Difference>) {
    match (oracle, ferrocket) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                let path = join(path, key);
                match right.get(key) {
                    Some(other) => diff(at, &path, value, other, found),
                    None => diff(at, &path, value, &Value::Null, found),
                }
            }
            for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
                push(at, &join(path, key), "(absent)", &value.to_string(), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (value, other)) in left.iter().zip(right).enumerate() {
                diff(at, &join(path, &index.to_string()), value, other, found);
            }
        }
        (left, right) if left == right => {}
        // The original's own exception text cannot be anybody else's answer; the code beside it is compared.
        (Value::String(left), _) if path == "remark" && left.starts_with(EXCEPTION) => {}
        (left, right) => push(at, path, &left.to_string(), &right.to_string(), found),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn push(at: &str, path: &str, oracle: &str, ferrocket: &str, found: &mut Vec<Difference>) {
    found.push(Difference { at: format!("{at} {path}"), oracle: oracle.to_owned(), ferrocket: ferrocket.to_owned() });
}

/// The reason why this difference is meant, if it is.
pub fn explain<'a>(difference: &Difference, explained: &'a mut [Explained]) -> Option<&'a str> {
    let entry = explained.iter_mut().find(|entry| {
        matches(&entry.pattern, &difference.at)
            && entry
                .values
                .as_ref()
                .is_none_or(|(oracle, ours)| matches(oracle, &difference.oracle) && matches(ours, &difference.ferrocket))
    })?;
    entry.used = true;
    Some(&entry.reason)
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else { return false };
            tail.is_empty() || (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answers(value: Value) -> Answers {
        BTreeMap::from([("s".to_owned(), BTreeMap::from([("01 310".to_owned(), value)]))])
    }

    #[test]
    fn each_field_that_differs_is_one_line() {
        let oracle = answers(json!({"code": 0, "ext": {"a": "1", "b": "2"}, "body": [1, 2]}));
        let ours = answers(json!({"code": 1, "ext": {"a": "1", "c": "3"}, "body": [1]}));
        let found: Vec<String> = differences("f", &oracle, &ours).into_iter().map(|d| d.at).collect();
        assert_eq!(found, ["f/s/01 310 body", "f/s/01 310 code", "f/s/01 310 ext.b", "f/s/01 310 ext.c"]);
    }

    #[test]
    fn an_explained_difference_marks_its_entry_as_used() {
        let mut explained = vec![Explained { pattern: "f/*/* ext.b".to_owned(), values: None, reason: "why".to_owned(), used: false }];
        let difference = Difference { at: "f/s/01 310 ext.b".to_owned(), oracle: String::new(), ferrocket: String::new() };
        assert_eq!(explain(&difference, &mut explained), Some("why"));
        assert!(explained[0].used);
        let other = Difference { at: "f/s/01 310 ext.bc".to_owned(), oracle: String::new(), ferrocket: String::new() };
        assert_eq!(explain(&other, &mut explained), None);
    }
}
