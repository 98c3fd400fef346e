// SPDX-License-Identifier: Apache-2.0
//! What became of a file's keys: each is obeyed, accepted without effect, or unknown; a wrong value is a sentence with its line.

use std::collections::BTreeMap;
use std::fmt;

use super::{Keys, Properties, PropertiesError, Standing, did_you_mean, others, refuse, shown};

/// One key of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub key: String,
    pub value: String,
    pub became: Became,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Honoured,
    /// And why.
    WithoutEffect(&'static str),
    /// Nobody knows the key; the known one that is close to it.
    Unknown(Option<&'static str>),
}

impl Became {
    /// Why a value does nothing here, as the start and the log of a command say it.
    pub(super) fn doubt(self, key: &str) -> Option<String> {
        match self {
            Self::WithoutEffect(why) => Some(format!("{key} has no effect: {why}")),
            Self::Unknown(Some(meant)) => Some(format!("{key} is no key of this server and has no effect: did you mean {meant}?")),
            Self::Honoured | Self::Unknown(None) => None,
        }
    }
}

/// The parts of the table, in its order.
const TITLES: [&str; 4] = ["honoured:", "overruled:", "accepted without effect:", "unknown, ignored:"];

/// What became of a file's keys; its `Display` is the table that the start prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub given: Vec<Given>,
    /// A sentence for each line of the file that another one of the same key undoes.
    pub repeated: Vec<String>,
    /// The value of each key that holds, and where it comes from.
    holding: BTreeMap<String, Holding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Holding {
    value: String,
    /// As the beginning of a sentence about it.
    place: String,
}

/// Why the start cannot go on with this file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("{source_name}, {error}")]
    Syntax { source_name: String, error: PropertiesError },
    #[error("{place}{key}={value} is wrong: it must be {kind}")]
    Value { place: String, key: String, value: String, kind: &'static str },
    #[error("{place}{why}")]
    Refused { place: String, why: String },
}

/// Sets `config` from a file's text. `source_name` is how the sentences call the file.
pub fn read<K: Keys>(config: &mut K, bytes: &[u8], source_name: &str) -> Result<Report, Unreadable> {
    let properties = Properties::parse(bytes).map_err(|error| Unreadable::Syntax { source_name: source_name.to_owned(), error })?;
    let mut report = Report::default();
    report.repeated.extend(properties.repeated().map(|(first, next)| {
        format!("{source_name}, line {}: {} stands again in line {}, and the last line of a key counts", first.line, first.key, next.line)
    }));
    for entry in properties.iter() {
        let (key, value) = (entry.key.as_str(), entry.value.as_str());
        set(config, &mut report, key, value, format!("{source_name}, line {}: ", entry.line))?;
        if let Some(why) = (key == "tls.server.mode").then(|| refuse::refuse_tls(value)).flatten() {
            return Err(Unreadable::Refused { place: report.place(key), why });
        }
        report.given.push(Given { key: key.to_owned(), value: value.trim().to_owned(), became: became::<K>(key, value) });
    }
    report.refuse(config)?;
    Ok(report)
}

/// Sets one key of `config`; `place` begins every later sentence about it. False when there is no such key.
pub fn set<K: Keys>(config: &mut K, report: &mut Report, key: &str, value: &str, place: String) -> Result<bool, Unreadable> {
    let known = config.set(key, value).map_err(|kind| Unreadable::Value {
        place: place.clone(),
        key: key.to_owned(),
        value: value.trim().to_owned(),
        kind,
    })?;
    report.holding.insert(key.to_owned(), Holding { value: value.trim().to_owned(), place });
    Ok(known)
}

/// As `set`, of a person who means this run: a key without effect is refused as one that nobody knows.
pub fn set_by_hand<K: Keys>(config: &mut K, report: &mut Report, key: &str, value: &str, place: &str) -> Result<(), Unreadable> {
    let refused = |why: String| Err(Unreadable::Refused { place: place.to_owned(), why });
    if set(config, report, key, value, place.to_owned())? {
        return Ok(());
    }
    if let Some(why) = (key == "tls.server.mode").then(|| refuse::refuse_tls(value)).flatten() {
        return refused(why);
    }
    match became::<K>(key, value) {
        Became::Honoured => Ok(()),
        Became::WithoutEffect(why) => refused(format!("{key} has no effect: {why}; leave it out")),
        Became::Unknown(meant) => {
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            refused(format!("there is no key {key} to set{meant}"))
        }
    }
}

pub(super) fn became<K: Keys>(key: &str, value: &str) -> Became {
    let declared = K::KEYS.iter().find(|declared| declared.name == key).map(|declared| declared.standing);
    match declared.or_else(|| others::standing(key)) {
        Some(Standing::Live | Standing::Restart) => Became::Honoured,
        Some(Standing::Guarded(_)) => refuse::effect_missing(key, value).map_or(Became::Honoured, Became::WithoutEffect),
        Some(Standing::Inert(why)) => Became::WithoutEffect(why),
        None => Became::Unknown(did_you_mean(key, K::KEYS.iter().map(|declared| declared.name))),
    }
}

impl Report {
    /// Where a key got its value, as the beginning of a sentence about it; empty for a default.
    pub fn place(&self, key: &str) -> String {
        self.holding.get(key).map(|holding| holding.place.clone()).unwrap_or_default()
    }

    /// Where that key was given a value, and nothing else: for a server that takes it over from another one.
    pub fn only_place_of(&self, key: &str) -> Self {
        Self {
            holding: self.holding.get_key_value(key).map(|(key, holding)| (key.clone(), holding.clone())).into_iter().collect(),
            ..Self::default()
        }
    }

    /// The first value that cannot be obeyed safely ends the start.
    pub fn refuse<K: Keys>(&self, config: &K) -> Result<(), Unreadable> {
        config.refusal().map_or(Ok(()), |(key, why)| Err(Unreadable::Refused { place: self.place(key), why }))
    }

    /// Keys that were probably not meant so, a sentence each.
    pub fn misspelt(&self) -> impl Iterator<Item = String> {
        let misspelt = self.given.iter().filter(|given| matches!(given.became, Became::Unknown(_)));
        misspelt.filter_map(|given| Some(format!("{}{}", self.place(&given.key), given.became.doubt(&given.key)?)))
    }

    /// The part of the table that an operator should not miss: what has no effect, and what something else overrules.
    pub fn without_honoured(&self) -> Self {
        let given = self.given.iter().filter(|given| self.line(given).0 != TITLES[0]).cloned().collect();
        Self { given, holding: self.holding.clone(), ..Self::default() }
    }

    /// In which part of the table a key stands, and what is remarked there.
    fn line(&self, given: &Given) -> (&'static str, String) {
        if let Some(other) = self.holding.get(&given.key).filter(|holding| holding.value != given.value) {
            let from = other.place.trim_end_matches([':', ' ']);
            return (TITLES[1], format!("    ({} holds: {from})", shown(&given.key, &other.value)));
        }
        match given.became {
            Became::Honoured => (TITLES[0], String::new()),
            Became::WithoutEffect(why) => (TITLES[2], format!("    ({why})")),
            Became::Unknown(Some(meant)) => (TITLES[3], format!("    (did you mean {meant}?)")),
            Became::Unknown(None) => (TITLES[3], String::new()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for title in TITLES {
            let mut of_title = self.given.iter().map(|given| (given, self.line(given))).filter(|(_, line)| line.0 == title).peekable();
            lines.extend(of_title.peek().map(|_| format!("  {title}")));
            lines.extend(of_title.map(|(given, (_, remark))| format!("    {}={}{remark}", given.key, shown(&given.key, &given.value))));
        }
        out.write_str(&lines.join("\n"))
    }
}
