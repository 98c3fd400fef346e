// SPDX-License-Identifier: Apache-2.0
//! Every request code of 4.5 to 5.5 is accounted for: what `coverage` says is what a running broker does, and what
//! `docs/compatibility.md` shows. `FERROCKET_WRITE_DOCS=1` writes the document's table.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, and it writes the document")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use ferrocket::processor::coverage::{self, COVERAGE, FEATURES, ShownBy, Standing};
use ferrocket_protocol::header::SendMessageRequestHeader;
use ferrocket_protocol::message::{properties, property};
use ferrocket_protocol::{RemotingCommand, request_code, response_code};
use support::{TestBroker, pull_header, pull_request, remark, send_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BEGIN: &str = "<!-- request codes: written by tests/compatibility.rs -->\n";
const END: &str = "<!-- end of request codes -->\n";
const FEATURES_BEGIN: &str = "<!-- features: written by tests/compatibility.rs -->\n";
const FEATURES_END: &str = "<!-- end of features -->\n";

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
            Standing::Broker(test) => ("served by the broker".to_owned(), test),
            Standing::NameServer(test) => ("served by the name server".to_owned(), test),
            Standing::ToClients(test) => ("sent to clients".to_owned(), test),
            Standing::OnPurpose(why) => (why.to_owned(), ""),
            Standing::NotYet(feature) => (format!("not yet: {feature}"), ""),
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
    same_as_shown("docs/compatibility.md", BEGIN, END, &table());
    same_as_shown("README.md", FEATURES_BEGIN, FEATURES_END, &features());
}

fn same_as_shown(file: &str, begin: &str, end: &str, table: &str) {
    let path: PathBuf = root().join(file);
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(begin).expect("the table's first mark");
    let (shown, after) = rest.split_once(end).expect("the table's last mark");
    if shown != table && std::env::var_os("FERROCKET_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(shown, table, "write it with FERROCKET_WRITE_DOCS=1 cargo test --test compatibility");
}

/// `None` where some of the codes are served and others are not.
fn is_served(shown_by: ShownBy) -> Option<bool> {
    let codes = match shown_by {
        ShownBy::Trying { is_served } => return Some(is_served),
        ShownBy::Codes(codes) => codes,
    };
    let standings: BTreeMap<i32, Standing> = COVERAGE.iter().copied().collect();
    let served = codes.iter().filter(|code| !matches!(standings[*code], Standing::NotYet(_) | Standing::OnPurpose(_))).count();
    (served == 0 || served == codes.len()).then_some(served > 0)
}

fn features() -> String {
    let mut table = String::from(
        "| | clients of the remoting protocol (Java 4.x and 5.x, Go, C++, Python, ...) and tools | gRPC clients of 5.x (`rocketmq-clients`, port 8081) |\n|---|---|---|\n",
    );
    let word = |is_served: bool| if is_served { "served" } else { "**not yet**" };
    for feature in FEATURES {
        let is_served = is_served(feature.shown_by).unwrap_or_else(|| panic!("{}: half of it is served", feature.name));
        writeln!(table, "| {} | {} | {} |", feature.name, word(is_served), word(false)).unwrap();
    }
    table
}

/// What no request code tells: each is tried as a client would.
#[tokio::test]
async fn features_without_a_code_of_their_own_are_served_as_the_table_says() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let with = |name: &str, value: &str| {
        let mut header = SendMessageRequestHeader::from_request(&send_request("T", 0, "", "x")).unwrap();
        let mut text = header.properties.as_bytes().to_vec();
        properties::set(&mut text, name, value);
        header.properties = String::from_utf8(text).unwrap().into();
        RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body("x")
    };
    let mut client = broker.connect().await;
    client.consume("G", "c@1", &[("T", "*")]).await;
    let mut filtered = pull_header("G", "T", 0, 0);
    filtered.sys_flag |= 4;
    filtered.subscription = Some("a > 1".into());
    filtered.expression_type = Some("SQL92".into());
    let mut tried = BTreeMap::new();
    let is_taken = |answer: RemotingCommand| answer.code == response_code::SUCCESS;
    tried.insert(coverage::DELAYED, is_taken(client.call(with(property::DELAY, "1")).await));
    tried.insert(coverage::TIMED_AND_RECALL, is_taken(client.call(with(property::TIMER_DELAY_SEC, "5")).await));
    tried.insert(coverage::FILTERS, is_taken(client.call(pull_request(&filtered)).await));
    let hello = [0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x00];
    tried.insert(coverage::TLS, is_answered(&broker, &hello).await);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    assert!(!is_answered(&broker, preface).await, "the column of gRPC says that it is not served");
    for feature in FEATURES {
        if let ShownBy::Trying { is_served } = feature.shown_by {
            assert_eq!(tried.remove(feature.name), Some(is_served), "{}", feature.name);
        }
    }
    assert!(tried.is_empty(), "{tried:?} is in no table");
}

/// Whether these first bytes get an answer before the end of the connection.
async fn is_answered(broker: &TestBroker, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(broker.addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = [0; 16];
    let read = tokio::time::timeout(support::PATIENCE, stream.read(&mut answer)).await.expect("an answer or an end");
    read.is_ok_and(|length| length > 0)
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
