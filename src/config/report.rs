// SPDX-License-Identifier: Apache-2.0
//! What became of a file's keys: each is obeyed, accepted without effect, or unknown; a wrong value is a sentence with its line.

use std::fmt;

use super::{Keys, Properties, PropertiesError, Standing, others, refuse};

/// One key of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub key: String,
    pub value: String,
    /// `None`: nobody knows the key.
    pub standing: Option<Standing>,
}

/// What became of a file's keys; its `Display` is the table that the start prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub given: Vec<Given>,
}

/// Why the start cannot go on with this file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("{source_name}, {error}")]
    Syntax { source_name: String, error: PropertiesError },
    #[error("{source_name}, line {line}: {key}={value} is wrong: it must be {kind}")]
    Value { source_name: String, line: usize, key: String, value: String, kind: &'static str },
    #[error("{place}{why}")]
    Refused { place: String, why: String },
}

/// Sets `config` from a file's text. `source_name` is how the sentences call the file.
pub fn read<K: Keys>(config: &mut K, bytes: &[u8], source_name: &str) -> Result<Report, Unreadable> {
    let properties = Properties::parse(bytes).map_err(|error| Unreadable::Syntax { source_name: source_name.to_owned(), error })?;
    let place = |line: usize| format!("{source_name}, line {line}: ");
    let mut report = Report::default();
    for entry in properties.iter() {
        let (key, value) = (entry.key.as_str(), entry.value.as_str());
        config.set(key, value).map_err(|kind| Unreadable::Value {
            source_name: source_name.to_owned(),
            line: entry.line,
            key: key.to_owned(),
            value: value.trim().to_owned(),
            kind,
        })?;
        if let Some(why) = (key == "tls.server.mode").then(|| refuse::refuse_tls(value)).flatten() {
            return Err(Unreadable::Refused { place: place(entry.line), why });
        }
        let standing =
            K::KEYS.iter().find(|declared| declared.name == key).map(|declared| declared.standing).or_else(|| others::standing(key));
        report.given.push(Given { key: key.to_owned(), value: value.trim().to_owned(), standing });
    }
    if let Some((key, why)) = config.refusal() {
        let place = properties.entry(key).map(|entry| place(entry.line)).unwrap_or_default();
        return Err(Unreadable::Refused { place, why });
    }
    Ok(report)
}

impl Report {
    fn lines(&self, wanted: impl Fn(&Given) -> Option<String>) -> Vec<String> {
        self.given.iter().filter_map(|given| wanted(given).map(|line| format!("    {}={}{line}", given.key, given.value))).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let honoured = self.lines(|given| match given.standing? {
            Standing::Live | Standing::Restart | Standing::Guarded(_) => Some(String::new()),
            Standing::Inert(_) => None,
        });
        let inert = self.lines(|given| match given.standing? {
            Standing::Inert(why) => Some(format!("    ({why})")),
            _ => None,
        });
        let unknown = self.lines(|given| given.standing.is_none().then(String::new));
        let mut first = true;
        for (title, lines) in [("honoured:", honoured), ("accepted without effect:", inert), ("unknown, ignored:", unknown)] {
            for line in std::iter::once(format!("  {title}")).chain(lines.iter().cloned()).take_while(|_| !lines.is_empty()) {
                if !std::mem::take(&mut first) {
                    writeln!(out)?;
                }
                write!(out, "{line}")?;
            }
        }
        Ok(())
    }
}
