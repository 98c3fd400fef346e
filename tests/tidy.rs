// SPDX-License-Identifier: Apache-2.0
//! The house rules that a compiler does not check: which room may know which, how a file opens, that a wire name has one home, and a
//! request code one row.
//!
//! Reads the source as text, and the tables as they are compiled; judges nothing about behaviour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The floors of `ARCHITECTURE.md`: a room may import rooms of lower floors, and of its own floor only where listed in `SAME_FLOOR`.
const FLOORS: [(&str, u8); 9] = [
    ("runtime", 1),
    ("config", 1),
    ("store", 2),
    ("remoting", 2),
    ("broker", 3),
    ("namesrv", 3),
    ("processor", 4),
    ("server", 5),
    ("cli", 5),
];

/// Rooms on one floor that may know each other, in this direction only.
const SAME_FLOOR: [(&str, &str); 2] = [("cli", "server"), ("config", "runtime")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(directory).expect("source directory").map(|entry| entry.expect("entry").path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target" && name != "corpus") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(under), &mut found);
    assert!(!found.is_empty(), "no Rust file under {under}");
    found
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable source");
            (path.strip_prefix(root()).expect("inside the repository").to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// The part of a file that ships: without its `#[cfg(test)]` module and without comments.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod").next().unwrap_or("");
    code.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect::<Vec<_>>().join("\n")
}

fn room(path: &str) -> Option<&str> {
    path.strip_prefix("src/")?.split(['/', '.']).next().filter(|name| FLOORS.iter().any(|(room, _)| room == name))
}

fn floor(room: &str) -> u8 {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor).expect("a known room")
}

/// Every `crate::room` that a text names, also inside `use crate::{a::.., b::..}`.
fn rooms_named(code: &str) -> BTreeSet<&str> {
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut item_start = 0;
            for (index, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if (depth == 1 && character == ',') || depth == 0 {
                    named.insert(group[item_start..index].trim().split("::").next().unwrap_or(""));
                    item_start = index + 1;
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            named.insert(rest.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').next().unwrap_or(""));
        }
    }
    named.into_iter().filter(|name| FLOORS.iter().any(|(room, _)| room == name)).collect()
}

#[test]
fn an_arrow_only_points_down() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let Some(from) = room(&path) else { continue };
        for to in rooms_named(&shipped(&text)) {
            let allowed = to == from || floor(to) < floor(from) || SAME_FLOOR.contains(&(from, to));
            if !allowed {
                wrong.push(format!("{path}: {from} (floor {}) names {to} (floor {})", floor(from), floor(to)));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point up or sideways:\n{}", wrong.join("\n"));
}

/// What a room must not even name: the invariants of `ARCHITECTURE.md`.
#[test]
fn a_room_does_not_see_what_it_must_not_know() {
    let forbidden: [(&str, &[&str], &str); 5] = [
        ("src/store/", &["RemotingCommand", "response_code", "request_code"], "the store never sees a request"),
        ("src/remoting/", &["topic_names", "TopicConfig", "MessageInner"], "remoting never sees a topic"),
        ("src/broker/", &["response_code::"], "services never answer a client"),
        ("src/processor/", &["std::fs", "TcpStream", "std::thread"], "a processor never sees a file, a socket or a thread"),
        ("protocol/src/", &["std::fs", "TcpStream", "tokio", "SystemTime", "std::env"], "the protocol has no I/O, no async, no clock"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src").into_iter().chain(rust_files("protocol/src")) {
        let code = shipped(&text);
        for (prefix, names, why) in forbidden {
            if path.starts_with(prefix) {
                wrong.extend(names.iter().filter(|name| code.contains(**name)).map(|name| format!("{path} names {name}: {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_with_its_licence_and_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for under in ["src", "protocol/src", "tests", "compat-tests/src"] {
        for (path, text) in rust_files(under) {
            let mut lines = text.lines();
            if lines.next() != Some("// SPDX-License-Identifier: Apache-2.0") {
                wrong.push(format!("{path}: the first line is not the SPDX line"));
            }
            if !lines.next().is_some_and(|line| line.starts_with("//! ")) {
                wrong.push(format!("{path}: no `//!` head says what the room is for"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A camel-case ext field is spelled once, in its `header!`; everything else goes through the typed header.
#[test]
fn a_wire_name_has_one_home() {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in rust_files("protocol/src/header") {
        for line in shipped(&text).lines() {
            if let Some((literal, _)) = line.trim().split_once(" =>")
                && let Some(name) = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
                && name.chars().any(|character| character.is_ascii_uppercase())
                && name.starts_with(|character: char| character.is_ascii_lowercase())
            {
                names.insert(name.to_owned(), path.clone());
            }
        }
    }
    assert!(names.len() > 60, "only {} wire names found: has the shape of header! changed?", names.len());
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        if path.starts_with("src/config/") || path.starts_with("src/cli/") {
            continue;
        }
        let code = shipped(&text);
        for (name, home) in &names {
            if code.contains(&format!("\"{name}\"")) {
                wrong.push(format!("{path}: \"{name}\" lives in {home}"));
            }
        }
    }
    assert!(wrong.is_empty(), "wire names with a second home:\n{}", wrong.join("\n"));
}

/// What is known of a code stands in its row, and each code has one.
#[test]
fn a_request_code_has_one_row() {
    use ferrocket::{namesrv, processor};
    let broker = processor::routes::ROUTES.iter().map(|row| row.route.code);
    let name_server = namesrv::routes::ROUTES.iter().map(|row| row.route.code);
    let unserved: Vec<i32> = processor::coverage::UNSERVED.iter().map(|(code, _)| *code).collect();
    assert!(unserved.is_sorted(), "`coverage::UNSERVED` is searched, so it is ascending");
    let mut rows: Vec<i32> = broker.chain(name_server).chain(unserved).collect();
    rows.sort_unstable();
    let codes: Vec<i32> = ferrocket_protocol::request_code::ALL.iter().map(|(code, _)| *code).collect();
    assert_eq!(rows, codes, "one row in `processor/routes`, `namesrv/routes` or `processor/coverage` for each code of the protocol");
}

/// A second table by request code would have to be kept equal to the rows.
#[test]
fn nothing_but_the_rows_matches_request_codes() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src/processor").into_iter().chain(rust_files("src/namesrv")) {
        if path.ends_with("/routes.rs") {
            continue;
        }
        let code = shipped(&text);
        for (at, _) in code.match_indices("code::") {
            let is_request_code = !code[..at].ends_with("response_");
            let name = code[at + "code::".len()..]
                .split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
                .next()
                .unwrap_or("");
            let after = code[at + "code::".len() + name.len()..].trim_start();
            let before = code[..at].trim_end_matches("request_").trim_end();
            let is_pattern = after.starts_with("=>") || after.starts_with('|') || before.ends_with('|');
            if is_request_code && !name.is_empty() && is_pattern {
                wrong.push(format!("{path}: {name} in a pattern"));
            }
        }
    }
    assert!(wrong.is_empty(), "tables by request code beside the rows:\n{}", wrong.join("\n"));
}

/// System topics and name prefixes are spelled in `protocol/src/topic_names.rs` alone.
#[test]
fn a_system_topic_has_one_home() {
    let spelled =
        ["\"TBW102\"", "\"SCHEDULE_TOPIC_XXXX\"", "\"%RETRY%", "\"%DLQ%", "\"RMQ_SYS_TRANS_HALF_TOPIC\"", "\"OFFSET_MOVED_EVENT\""];
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src").into_iter().chain(rust_files("protocol/src")) {
        if path == "protocol/src/topic_names.rs" {
            continue;
        }
        let code = shipped(&text);
        wrong.extend(spelled.iter().filter(|name| code.contains(**name)).map(|name| format!("{path}: {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `unsafe` lives in one file, where each block names its invariant (clippy checks the SAFETY comments).
#[test]
fn unsafe_lives_in_one_file() {
    let with_unsafe: Vec<String> = rust_files("src")
        .into_iter()
        .chain(rust_files("protocol/src"))
        .filter(|(_, text)| {
            shipped(text).split(|character: char| !character.is_ascii_alphanumeric() && character != '_').any(|word| word == "unsafe")
        })
        .map(|(path, _)| path)
        .collect();
    assert!(with_unsafe.iter().all(|path| path == "src/store/mapped_file.rs"), "unsafe outside store/mapped_file.rs: {with_unsafe:?}");
}
