// SPDX-License-Identifier: Apache-2.0
//! Every request code of 4.5 to 5.5 is accounted for: what `coverage` says is what a running broker does, and what
//! `docs/compatibility.md` shows. `FERROCKET_WRITE_DOCS=1` writes the document's table.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, and it writes the document")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use ferrocket::processor::coverage::{COVERAGE, Standing};
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use support::{TestBroker, remark};

const BEGIN: &str = "<!-- request codes: written by tests/compatibility.rs -->\n";
const END: &str = "<!-- end of request codes -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Code to the columns of `docs/request-codes.tsv` after it: name, first seen, then whether each release knows it.
fn known_codes() -> BTreeMap<i32, Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/request-codes.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let mut columns = line.split('\t').map(str::to_owned);
        (columns.next().unwrap().parse().unwrap(), columns.collect())
    });
    rows.collect()
}

fn table() -> String {
    let mut table = String::from("| code | name | 4.5.2 | 4.9.7 | 5.3.3 | 5.5.1 | here | proven by |\n|---|---|---|---|---|---|---|---|\n");
    let standings: BTreeMap<i32, Standing> = COVERAGE.iter().copied().collect();
    for (code, columns) in known_codes() {
        let releases: Vec<&str> = columns[2..].iter().map(|known| if known == "yes" { "x" } else { "" }).collect();
        let (here, test) = match standings[&code] {
            Standing::Broker(test) => ("served by the broker", test),
            Standing::NameServer(test) => ("served by the name server", test),
            Standing::ToClients(test) => ("sent to clients", test),
            Standing::OnPurpose(why) => (why, ""),
            Standing::NotYet => ("not yet", ""),
        };
        let test = if test.is_empty() { String::new() } else { format!("`{test}`") };
        writeln!(table, "| {code} | {} | {} | {here} | {test} |", columns[0], releases.join(" | ")).unwrap();
    }
    table
}

#[test]
fn every_code_of_the_original_has_a_standing() {
    let known: BTreeSet<i32> = known_codes().into_keys().collect();
    let stated: Vec<i32> = COVERAGE.iter().map(|(code, _)| *code).collect();
    assert!(stated.is_sorted(), "ascending");
    assert_eq!(stated.into_iter().collect::<BTreeSet<_>>(), known);
    let named: BTreeSet<i32> = request_code::ALL.iter().map(|(code, _)| *code).collect();
    assert_eq!(named, known, "the protocol names them all");
}

#[test]
fn every_proof_exists() {
    for (code, standing) in COVERAGE {
        if let Standing::Broker(test) | Standing::NameServer(test) | Standing::ToClients(test) = standing {
            assert!(root().join(test).exists(), "{code}: {test}");
        }
    }
}

#[test]
fn the_document_shows_what_is_true() {
    let path: PathBuf = root().join("docs/compatibility.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the table's first mark");
    let (shown, after) = rest.split_once(END).expect("the table's last mark");
    let table = table();
    if shown != table && std::env::var_os("FERROCKET_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(shown, table, "write it with FERROCKET_WRITE_DOCS=1 cargo test --test compatibility");
}

/// A request without fields and body is a poor one, but a code that is served never says that it is not known, and none of
/// them takes the broker down.
#[tokio::test]
async fn a_broker_serves_exactly_the_codes_that_it_says() {
    let broker = TestBroker::start().await;
    for (code, standing) in COVERAGE {
        // A connection for each: some of these requests end it.
        let mut client = broker.connect().await;
        let answer = client.call(RemotingCommand::request(*code)).await;
        let is_known = answer.code != response_code::REQUEST_CODE_NOT_SUPPORTED;
        assert_eq!(is_known, matches!(standing, Standing::Broker(_)), "{code}: {} {}", answer.code, remark(&answer));
        assert!(!remark(&answer).contains("inside the broker"), "{code}: {}", remark(&answer));
        if !is_known {
            assert_eq!(remark(&answer), format!(" request type {code} not supported"));
        }
    }
}
