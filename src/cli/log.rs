// SPDX-License-Identifier: Apache-2.0
//! Where log lines go and how they look: stderr, so that stdout keeps the lines that tools wait for.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::config::did_you_mean;
use crate::server::StartError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// The words for a level; a number from 0 (off) to 5 (trace) is one too.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The part of the log that is ours; others write nothing that is worth a directive of its own.
const OURS: &str = "ferrocket";
/// Its rooms: a part that lies in none of them logs nothing.
const ROOMS: [&str; 11] =
    ["admin", "broker", "cli", "config", "namesrv", "processor", "remoting", "runtime", "server", "store", "takeover"];

/// Starts logging for the whole process. `filter` goes before RUST_LOG, and that before info.
pub(super) fn start(format: Format, filter: Option<&str>) -> Result<(), StartError> {
    let filter = match filter {
        Some(filter) => checked("--log", filter)?,
        None => match std::env::var("RUST_LOG") {
            Ok(filter) if !filter.trim().is_empty() => checked("RUST_LOG", &filter)?,
            _ => EnvFilter::new("info"),
        },
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A directive that names no level is the name of a part of the programme to the library, and one that is misspelt would silence
/// all others, warnings too.
fn checked(source: &str, filter: &str) -> Result<EnvFilter, StartError> {
    let wrong = |why: String| {
        let use_this = "use a level (off, error, warn, info, debug or trace), or directives such as info,ferrocket::store=debug";
        StartError::Sentence(format!("{source} {filter} is wrong: {why}; {use_this}"))
    };
    let is_level = |word: &str| LEVELS.contains(&word.to_lowercase().as_str()) || matches!(word.as_bytes(), [b'0'..=b'5']);
    let is_ours = |word: &str| word.split("::").next() == Some(OURS);
    let directives: Vec<&str> = filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    for directive in &directives {
        // Behind the part and what stands in brackets comes the level; without a part it is all of the directive.
        let behind = directive.rsplit_once(']').map_or(*directive, |(_, behind)| behind);
        let level = behind.split_once('=').map(|(_, level)| level);
        let word = level.unwrap_or(directive);
        if !is_level(word) && (level.is_some() || !directive.contains('[') && !is_ours(word)) {
            let meant = did_you_mean(word, LEVELS.into_iter().chain([OURS]));
            let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
            return Err(wrong(format!("{word} is no level{meant}")));
        }
    }
    for target in directives.iter().map(|directive| directive.split(['=', '[']).next().unwrap_or_default()) {
        let (first, room) = target.split_once("::").map_or((target, None), |(first, rest)| (first, rest.split("::").next()));
        // The library takes a target for the beginning of a name.
        let is_begun = |room: &str| ROOMS.iter().any(|known| known.starts_with(room));
        let known = || ROOMS.into_iter();
        let meant = match room {
            Some(room) if first == OURS && !is_begun(room) => did_you_mean(room, known()).map(|room| format!("{OURS}::{room}")),
            // A word without a room: one that was meant for ours, or the name of another crate.
            None if target != OURS && !is_level(target) => match did_you_mean(target, known().chain([OURS])) {
                Some(OURS) => Some(OURS.to_owned()),
                Some(room) => Some(format!("{OURS}::{room}")),
                None => continue,
            },
            _ => continue,
        };
        let meant = meant.map_or_else(|| format!("; its parts are {}", ROOMS.join(", ")), |meant| format!(" (did you mean {meant}?)"));
        return Err(wrong(format!("{target} is no part of this programme{meant}")));
    }
    if !directives.iter().any(|directive| is_level(directive) || is_ours(directive.split(['=', '[']).next().unwrap_or_default())) {
        return Err(wrong("it names nothing that this programme logs".to_owned()));
    }
    EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_of_the_programme_can_be_named() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let entries = std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap());
        let mut rooms: Vec<String> =
            entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect();
        rooms.sort();
        assert_eq!(rooms, ROOMS);
    }

    #[test]
    fn a_filter_that_would_silence_everything_by_mistake_is_refused() {
        for good in [
            "info",
            "WARN",
            "off",
            "3",
            "info,ferrocket::store=debug",
            "ferrocket=debug",
            "ferrocket",
            "warn,other=trace",
            "ferrocket::sto=debug",
            "info,ferrocket::store::clean=debug",
            "info,ferrocket[span{field=1}]=debug",
            "info,[span]=debug",
        ] {
            assert!(checked("--log", good).is_ok(), "{good}");
        }
        let why = |filter| checked("--log", filter).unwrap_err().to_string();
        assert!(why("inof").starts_with("--log inof is wrong: inof is no level (did you mean info?); use a level (off, error"));
        assert!(why("ferocket").contains("(did you mean ferrocket?)"));
        assert!(
            why("info,ferrocket::sotre=debug").contains("ferrocket::sotre is no part of this programme (did you mean ferrocket::store?);")
        );
        assert!(why("ferrocket::store=inof").contains("inof is no level (did you mean info?); use a level"));
        assert!(why("info,ferrocket[span{field=1}]=wran").contains("wran is no level (did you mean warn?)"));
        assert!(why("warn,a=b=c").contains("b=c is no level; use a level"));
        assert!(why("info,store=debug").contains("(did you mean ferrocket::store?)"));
        assert!(why("info,ferocket=debug").contains("(did you mean ferrocket?)"));
        assert!(why("info,ferrocket::netty=debug").contains("its parts are admin, broker, cli, config,"));
        for wrong in
            ["inof=debug", "ferocket::store=debug", "info,inof", "other", "ferrocket=inof", "6", ",", "ferrocket=", "ferrocket=info=debug"]
        {
            assert!(checked("RUST_LOG", wrong).is_err(), "{wrong}");
        }
    }
}
