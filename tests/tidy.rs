// SPDX-License-Identifier: Apache-2.0
//! The house rules that a compiler does not check: which room may know which, how a file opens, that a wire name has one home, and a
//! request code one row.
//!
//! Reads the source as text, and the tables as they are compiled; judges nothing about behaviour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The floors of `ARCHITECTURE.md`: a room may import rooms of lower floors, and of its own floor only where listed in `SAME_FLOOR`.
const FLOORS: [(&str, u8); 11] = [
    ("runtime", 1),
    ("config", 1),
    ("store", 2),
    ("remoting", 2),
    ("admin", 3),
    ("broker", 3),
    ("namesrv", 3),
    ("processor", 4),
    ("takeover", 5),
    ("server", 5),
    ("cli", 5),
];

/// Rooms on one floor that may know each other, in this direction only.
const SAME_FLOOR: [(&str, &str); 4] = [("cli", "server"), ("cli", "takeover"), ("server", "takeover"), ("config", "runtime")];

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
        ("src/broker/", &["response_code::", "with_remark", "Refusal", "Completion"], "services never answer a client"),
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

/// Names that more than one type of the programme has, how many do, and why that puzzles nobody. A new pair wants a better name, or a line.
const SHARED_NAMES: [(&str, usize, &str); 18] = [
    ("Broker", 2, "its services; the same with their ports and their stop"),
    ("NameServer", 2, "ours with its tables; inside of registration, one of those that are told"),
    ("Registration", 2, "what a name server is sent, and what a broker does to send it"),
    ("Part", 2, "of a registration, on either side of it"),
    ("Fs", 2, "the file system under the store, and the same in the words of a start"),
    ("Save", 3, "how a room of a higher floor has a file written"),
    ("FlushDiskType", 2, "the key's value; the store is configured without keys"),
    ("ConfigFile", 2, "the file of keys that a start reads; a table that the broker keeps"),
    ("Parts", 2, "what the broker is made of; what its transactions are made of"),
    ("Connection", 2, "a connection's task; inside of the name server, whose it is"),
    ("Unserved", 2, "what waits in a store in vain; a request code that nobody serves"),
    ("Key", 2, "of the configuration; of a message"),
    ("Entry", 2, "of a file of keys; inside of an index file"),
    ("Head", 2, "of a record; inside of a ConsumeQueue's load, of a file"),
    ("Row", 2, "of a request code, in the broker and in the name server, which do not know each other"),
    ("Lane", 2, "as Row"),
    ("Serve", 2, "as Row"),
    ("Waiters", 2, "inside of hold, pulls; in the store, puts"),
];

/// Names of private types that say what the file's one type is made of; as many as like may have them, as long as nobody else sees them.
const INSIDE_NAMES: [(&str, &str); 4] = [
    ("Shared", "what the clones of a type share"),
    ("State", "what its lock guards"),
    ("Table", "what its lock guards, by a key"),
    ("Tables", "what its lock guards, by several keys"),
];

/// The types that a text declares outside of any block: name, and whether other files may see it.
fn types_declared(code: &str) -> Vec<(&str, bool)> {
    let mut types = Vec::new();
    for line in code.lines() {
        let (words, is_seen) = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => (rest.split_once(") ").map_or("", |(_, rest)| rest), true),
            Some(rest) => (rest.trim_start(), true),
            None => (line, false),
        };
        let Some((kind, rest)) = words.split_once(' ') else { continue };
        if ["struct", "enum", "trait", "type", "union"].contains(&kind) {
            let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_').unwrap_or(rest.len());
            types.push((&rest[..end], is_seen));
        }
    }
    types
}

/// The names that types of several files have and that are not allowed to, with the files.
fn names_shared(files: &[(String, String)], allowed: &[(&str, usize, &str)], inside: &[(&str, &str)]) -> Vec<String> {
    let mut homes: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in files {
        for (name, is_seen) in types_declared(&shipped(text)) {
            if is_seen || !inside.iter().any(|(inside, _)| *inside == name) {
                homes.entry(name.to_owned()).or_default().insert(path);
            }
        }
    }
    let count_of = |name: &str| allowed.iter().find(|(allowed, ..)| *allowed == name).map_or(1, |(_, count, _)| *count);
    let too_many = homes.iter().filter(|(name, paths)| paths.len() > count_of(name)).map(|(name, paths)| format!("{name}: {paths:?}"));
    let none = allowed.iter().filter(|(name, ..)| homes.get(*name).is_none_or(|paths| paths.len() < 2));
    too_many.chain(none.map(|(name, ..)| format!("{name} is shared no more: take it off the list"))).collect()
}

/// Where two types share a name, one of them is wrong. Each command of the bench is a programme of its own.
#[test]
fn a_type_has_a_name_of_its_own() {
    let files: Vec<_> = rust_files("src").into_iter().filter(|(path, _)| !path.starts_with("src/cli/bench")).collect();
    let shared = names_shared(&files, &SHARED_NAMES, &INSIDE_NAMES);
    assert!(shared.is_empty(), "types that share a name:\n{}", shared.join("\n"));
}

#[test]
fn a_shared_name_is_found_unless_it_has_its_reason() {
    let file = |name: &str, text: &str| (format!("src/{name}.rs"), text.to_owned());
    let a = file("a/one", "pub struct Turn;\nstruct Shared {\n    at: usize,\n}\n// struct Place;\nfn f() {\n    struct Place;\n}");
    let b =
        file("b/two", "enum Turn {}\nstruct Shared(u8);\npub(super) struct Place<'a>(&'a u8);\n#[cfg(test)]\nmod tests {}\nstruct Late;");
    let inside = [("Shared", "")];
    let found = |files: &[(String, String)], allowed: &[(&str, usize, &str)]| names_shared(files, allowed, &inside);
    let both = [a.clone(), b];
    assert_eq!(found(&both, &[]), ["Turn: {\"src/a/one.rs\", \"src/b/two.rs\"}"]);
    assert_eq!(found(&both, &[("Turn", 2, "")]), [] as [String; 0]);
    let third = [&both[..], &[file("c", "pub(crate) type Turn = u8;\npub struct Shared;\ntrait Place: Sized {}")]].concat();
    assert_eq!(found(&third, &[("Turn", 2, "")]).len(), 2, "one more than has a reason, and a second place");
    assert_eq!(found(&[a], &[("Turn", 2, "")]), ["Turn is shared no more: take it off the list"]);
    let seen = [file("a", "pub struct Shared;"), file("b", "pub(super) enum Shared {}")];
    assert_eq!(found(&seen, &[]).len(), 1, "inside no more");
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
    assert!(with_unsafe.iter().all(|path| path == "src/store/mapping.rs"), "unsafe outside store/mapping.rs: {with_unsafe:?}");
}

/// The import circles between the rooms of a directory, each with the places that close it. A room is a file with the directory of
/// the same name; `mod.rs` is one too, but what it only re-exports counts as an import of the file where it is at home.
fn import_circles(under: &str, files: &[(String, String)]) -> Vec<String> {
    let module_of = |path: &str| -> Vec<String> {
        let inside = path.strip_prefix(under).expect("a file of the directory").trim_start_matches('/').trim_end_matches(".rs");
        inside.split('/').filter(|part| *part != "mod").map(str::to_owned).collect()
    };
    let room_of = |module: &[String]| module.first().cloned().unwrap_or_else(|| "mod".to_owned());
    let rooms: BTreeSet<String> = files.iter().map(|(path, _)| room_of(&module_of(path))).collect();
    let directory = under.rsplit('/').next().unwrap_or("");
    // Name -> the room where it is at home.
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in files.iter().filter(|(path, _)| module_of(path).is_empty()) {
        assert!(path.ends_with("mod.rs"), "{path}");
        for named in paths_named(&shipped(text)) {
            let inside: Vec<&String> = named.path.iter().skip_while(|part| *part == "self").collect();
            if let [home, .., name] = inside[..]
                && named.is_use
                && rooms.contains(home)
            {
                homes.insert(named.alias.unwrap_or_else(|| name.clone()), home.clone());
            }
        }
    }
    let mut arrows: BTreeMap<String, BTreeMap<String, String>> = rooms.iter().map(|room| (room.clone(), BTreeMap::new())).collect();
    for (path, text) in files {
        let module = module_of(path);
        let from = room_of(&module);
        for named in paths_named(&shipped(text)) {
            if named.is_re_export && from == "mod" {
                continue;
            }
            // From `directory` on: what `super`, `self` or `crate::..::directory` lead to.
            let mut at = module.clone();
            let mut parts = named.path.iter().map(String::as_str).peekable();
            match parts.peek().copied() {
                Some("crate") => {
                    let inner: Vec<&str> = named.path.iter().skip(1).map(String::as_str).collect();
                    let outer: Vec<&str> = under.trim_start_matches("src/").split('/').collect();
                    if !inner.starts_with(&outer) {
                        continue;
                    }
                    at.clear();
                    parts.nth(outer.len());
                }
                Some("super" | "self") => {
                    parts.next_if_eq(&"self");
                    while parts.next_if_eq(&"super").is_some() {
                        if at.pop().is_none() {
                            at.push("..".to_owned());
                        }
                    }
                }
                Some(first) if from == "mod" && rooms.contains(first) => at.clear(),
                _ => continue,
            }
            at.extend(parts.map(str::to_owned));
            let to: Vec<String> = match at.first().map(String::as_str) {
                Some("..") => continue,
                // The whole directory: whatever it holds.
                None | Some("*" | "self") => rooms.iter().filter(|room| *room != "mod").cloned().collect(),
                Some(name) if rooms.contains(name) => vec![name.to_owned()],
                Some(name) => vec![homes.get(name).cloned().unwrap_or_else(|| "mod".to_owned())],
            };
            for to in to.into_iter().filter(|to| *to != from) {
                let says = format!("{directory}/{from} names {to} ({})", named.path.join("::"));
                arrows.entry(from.clone()).or_default().entry(to).or_insert(says);
            }
        }
    }
    // Rooms that nothing of the rest names, or that name nothing of it, are in no circle.
    let mut left: BTreeSet<&String> = rooms.iter().collect();
    loop {
        let names_one = |room: &String| arrows[room].keys().any(|to| left.contains(to));
        let is_named = |room: &String| left.iter().any(|from| arrows[*from].contains_key(room));
        let in_circle: BTreeSet<&String> = left.iter().copied().filter(|room| names_one(room) && is_named(room)).collect();
        if in_circle.len() == left.len() {
            break;
        }
        left = in_circle;
    }
    let reaches = |from: &String, wanted: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(room) = open.pop() {
            open.extend(arrows[room].keys().filter(|to| left.contains(to) && seen.insert(*to)));
        }
        seen.contains(wanted)
    };
    left.iter()
        .flat_map(|from| arrows[*from].iter().filter(|(to, _)| left.contains(to) && reaches(to, from)).map(|(_, says)| says.clone()))
        .collect()
}

/// A path as it stands in a text, with what a `use` group adds to it.
#[derive(Clone, Debug, Default, PartialEq)]
struct NamedPath {
    path: Vec<String>,
    alias: Option<String>,
    is_use: bool,
    is_re_export: bool,
}

/// Every path of two names and more, those of `use` groups one by one; also `use` of one name.
fn paths_named(code: &str) -> Vec<NamedPath> {
    let tokens = tokens_of(code);
    let mut named = Vec::new();
    let mut at = 0;
    let (mut is_use, mut is_re_export) = (false, false);
    while at < tokens.len() {
        match tokens[at].as_str() {
            // Not `impl Trait + use<'a>`.
            "use" if tokens.get(at + 1).is_some_and(|token| token != "<") => {
                is_use = true;
                // `pub use`, `pub(super) use`, `pub(in crate::x) use`.
                let before = tokens[..at].iter().rposition(|token| token == ";" || token == "}").map_or(0, |end| end + 1);
                is_re_export = tokens[before..at].iter().any(|token| token == "pub");
                at += 1;
            }
            ";" => {
                is_use = false;
                at += 1;
            }
            // Who may see something is no import.
            "in" if tokens[..at].ends_with(&["pub".to_owned(), "(".to_owned()]) => {
                at += tokens[at..].iter().position(|token| token == ")").unwrap_or(1);
            }
            token if is_name(token) || token == "{" && is_use => {
                let first = named.len();
                at = path_at(&tokens, at, &[], &mut named);
                for path in &mut named[first..] {
                    (path.is_use, path.is_re_export) = (is_use, is_use && is_re_export);
                }
            }
            _ => at += 1,
        }
    }
    named.retain(|named| named.path.len() > 1 || named.is_use);
    named
}

/// Reads the path, or the tree of paths, that begins at a token; where it ends.
fn path_at(tokens: &[String], mut at: usize, before: &[String], named: &mut Vec<NamedPath>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    let next = path_at(tokens, at, &path, named);
                    at = if next == at || tokens.get(next).is_some_and(|token| token == ",") { next + 1 } else { next };
                }
                return at + 1;
            }
            Some(name) if is_name(name) || name == "*" => path.push(name.to_owned()),
            _ => return at,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
        if tokens.get(at).is_some_and(|token| token == "<") {
            break;
        }
    }
    let mut alias = None;
    if tokens.get(at).is_some_and(|token| token == "as") {
        alias = tokens.get(at + 1).cloned();
        at += 2;
    }
    named.push(NamedPath { path, alias, ..NamedPath::default() });
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Names, `::` and single characters; of texts in quotes nothing.
fn tokens_of(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if is_name(rest) {
            rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            continue;
        } else if rest.starts_with("'\"'") {
            3
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|character: char| {
                let ends = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                ends
            });
            rest = end.map_or("", |end| &rest[end + 2..]);
            continue;
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

#[test]
fn no_file_of_store_or_remoting_is_imported_by_what_it_imports() {
    let circles: Vec<String> = ["src/store", "src/remoting"].iter().flat_map(|under| import_circles(under, &rust_files(under))).collect();
    assert!(circles.is_empty(), "import circles:\n{}", circles.join("\n"));
}

/// A lock is a field that only the file of its owner sees: others call what the owner does under it.
#[test]
fn a_lock_of_the_store_has_one_owner() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src/store") {
        let code = shipped(&text);
        let fields =
            code.lines().map(str::trim_start).filter(|line| line.starts_with("pub") && !line.contains("fn ") && line.ends_with(','));
        wrong.extend(fields.filter(|line| line.contains("Mutex<") || line.contains("RwLock<")).map(|line| format!("{path}: {line}")));
    }
    assert!(wrong.is_empty(), "locks that others can take:\n{}", wrong.join("\n"));
}

/// The order in which locks of the store are taken is in `ARCHITECTURE.md`; a lock that is not there has no place in it. The file system of
/// the tests stands for the disk, below all of them.
#[test]
fn every_lock_of_the_store_has_its_row() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let table = page.split("## Locks of the store").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the table");
    let named: BTreeSet<&str> =
        table.lines().filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let mut locks = BTreeSet::new();
    for (path, text) in rust_files("src/store").into_iter().filter(|(path, _)| !path.starts_with("src/store/memory_fs")) {
        // A field, `name: Mutex<...>,`. What has a lock in another way has no name to put into the table, and is said as it stands.
        for line in shipped(&text).lines().map(str::trim).filter(|line| line.contains("Mutex<") || line.contains("RwLock<")) {
            let field = line.split_once(": Mutex<").or(line.split_once(": RwLock<")).filter(|_| line.ends_with(','));
            locks.insert(field.map_or_else(|| format!("{path}: {line}"), |(name, _)| name.to_owned()));
        }
    }
    let missing: Vec<&String> = locks.iter().filter(|name| !named.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "locks without a row: {missing:?}");
    let gone: Vec<&&str> = named.iter().filter(|name| !locks.contains(**name)).collect();
    assert!(gone.is_empty(), "rows without a lock: {gone:?}");
}

/// The checker itself, on sources made up for it: each closes a circle in its own way, or does not.
#[test]
fn a_circle_of_imports_is_found_however_it_is_written() {
    let circles = |files: &[(&str, &str)]| {
        let files: Vec<(String, String)> = files.iter().map(|(path, text)| (format!("src/store/{path}"), (*text).to_owned())).collect();
        import_circles("src/store", &files)
    };
    let a = ("a.rs", "use super::b::B;\npub struct A;");
    for b in [
        "use super::a::A;",
        "use super::{c, a::{A, self}};",
        "use crate::store::a::A;",
        "use crate::{runtime, store::{a}};",
        "use std::io;\nfn f() -> io::Result<crate::store::a::A> {}",
        "fn f(a: super::a::A) {}",
        "use super::A;",
        "use super::{c::C, Renamed};",
        "use super::*;",
        "fn f() { let text = \"\\\"\"; super::a::g(); }",
        "use super::c::C;",
    ] {
        let c = ("c.rs", "pub(super) fn c(a: &super::A) {}");
        let files = [("mod.rs", "mod a;\nmod b;\npub use a::A;\npub use a::{self, Other as Renamed};"), a, ("b.rs", b), c];
        let found = circles(&files);
        assert!(found.iter().any(|line| line.starts_with("store/a names b")), "{b}: {found:?}");
        assert!(found.len() > 1, "{b}: {found:?}");
    }
    for b in [
        "// use super::a::A;",
        "const TEXT: &str = \"super::a::A\";",
        "use crate::runtime::a::A;",
        "use super::super::a::A;",
        "use super::c::C;",
        "pub struct B;\n#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}",
        "use super::Error;",
        "pub(in crate::store) fn f() -> impl Fn() + use<> {}",
    ] {
        let files = [("mod.rs", "mod a;\npub use a::A;\npub struct Error;"), a, ("b.rs", b), ("c.rs", "pub struct C;")];
        assert_eq!(circles(&files), [] as [String; 0], "{b}");
    }
    // A file and its own directory are one room, which others may not be in a circle with.
    let (parent, child) = (("b.rs", "mod load;\nuse load::L;"), ("b/load.rs", "use super::B;\nuse super::super::c::C;"));
    assert_eq!(circles(&[("mod.rs", ""), a, parent, child, ("c.rs", "pub struct C;")]), [] as [String; 0]);
    assert_eq!(circles(&[("mod.rs", ""), a, parent, child, ("c.rs", "use super::a::A;")]).len(), 3);
    // What `mod.rs` uses itself counts, what it hands on does not.
    let error = ("a.rs", "use super::Error;");
    assert_eq!(circles(&[("mod.rs", "pub use a::A;\npub struct Error;"), error]), [] as [String; 0]);
    assert_eq!(circles(&[("mod.rs", "use a::A;\npub struct Error(A);"), error]).len(), 2);
    assert_eq!(circles(&[("mod.rs", "pub struct Error(a::A);"), error]).len(), 2);
}
