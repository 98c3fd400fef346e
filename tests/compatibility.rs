// SPDX-License-Identifier: Apache-2.0
//! Every request code of 4.5 to 5.5 is accounted for: what its row says is what the original says, what a running broker does, and what
//! `docs/compatibility.md` shows. `FERROCKET_WRITE_DOCS=1` writes the document's tables.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, and it writes the document")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use ferrocket::config::{BrokerConfig, Keys};
use ferrocket::processor::coverage::{self, FEATURES, ShownBy, UNSERVED, Unserved};
use ferrocket::{namesrv, processor};
use ferrocket_protocol::header::SendMessageRequestHeader;
use ferrocket_protocol::message::{properties, property};
use ferrocket_protocol::route::Route;
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

/// The releases of `docs/request-codes.tsv`, in its order.
const RELEASES: [&str; 4] = ["4.5.2", "4.9.7", "5.3.3", "5.5.1"];

/// One line of `docs/request-codes.tsv`: what the original's own sources say of a code.
struct Known {
    name: String,
    releases: String,
    /// What its access control asks for, as `DefaultAuthorizationContextBuilder.java` and the annotations of the header classes say.
    right: String,
}

fn known_codes() -> BTreeMap<i32, Known> {
    let text = std::fs::read_to_string(root().join("docs/request-codes.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [code, name, _, known @ .., right] = &columns[..] else { panic!("{line}") };
        let first = known.iter().position(|known| *known == "yes").unwrap();
        let last = known.iter().rposition(|known| *known == "yes").unwrap();
        let releases = format!("{} - {}", RELEASES[first], RELEASES[last]);
        (code.parse().unwrap(), Known { name: (*name).to_owned(), releases, right: (*right).to_owned() })
    });
    rows.collect()
}

/// A code that is served, and the columns that its server has of its own.
struct Served {
    route: &'static Route,
    lane: String,
    wait: String,
    /// Of its handlers.
    directory: &'static str,
}

fn served_by_the_broker() -> Vec<Served> {
    let served = |row: &&'static processor::routes::Row| Served {
        route: &row.route,
        lane: format!("{:?}", row.lane),
        wait: row.wait.to_string(),
        directory: "src/processor",
    };
    processor::routes::ROUTES.iter().map(served).collect()
}

fn served_by_the_name_server() -> Vec<Served> {
    let served = |row: &&'static namesrv::routes::Row| Served {
        route: &row.route,
        lane: format!("{:?}", row.lane),
        wait: String::new(),
        directory: "src/namesrv",
    };
    namesrv::routes::ROUTES.iter().map(served).collect()
}

impl Served {
    /// The file and the name of the function.
    fn handler(&self) -> (String, &'static str) {
        let (modules, function) = self.route.handler.rsplit_once("::").unwrap();
        (format!("{}/{}.rs", self.directory, modules.replace("::", "/")), function)
    }

    fn fields(&self) -> String {
        let required: Vec<&str> = self.route.required.iter().map(|field| field.name).collect();
        match (self.route.header, required.is_empty()) {
            ("()", _) => String::new(),
            (header, true) => format!("`{header}`"),
            (header, false) => format!("`{header}`: {}", required.join(", ")),
        }
    }
}

fn code_in_ticks(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

fn table() -> String {
    let known = known_codes();
    let mut table = String::new();
    for (server, mut served) in [("broker", served_by_the_broker()), ("name server", served_by_the_name_server())] {
        served.sort_by_key(|served| served.route.code);
        write!(
            table,
            "### Served by the {server}\n\n| code | name | releases | lane | waits at most | fields | right | handler | proven by |\n\
             |---|---|---|---|---|---|---|---|---|\n"
        )
        .unwrap();
        for served in served {
            let (code, right) = (served.route.code, served.route.permission);
            let (Known { name, releases, .. }, (file, _)) = (&known[&code], served.handler());
            let (lane, wait, fields) = (&served.lane, code_in_ticks(&served.wait), served.fields());
            let (handler, proof) = (served.route.handler, served.route.proof);
            writeln!(
                table,
                "| {code} | {name} | {releases} | {lane} | {wait} | {fields} | {right} | [`{handler}`](../{file}) | `{proof}` |"
            )
            .unwrap();
        }
        table.push('\n');
    }
    table.push_str("### Served by nobody\n\n| code | name | releases | why | proven by |\n|---|---|---|---|---|\n");
    for (code, why) in UNSERVED {
        let Known { name, releases, .. } = &known[code];
        let (why, proof) = match why {
            Unserved::ToClients(test) => ("sent to clients".to_owned(), code_in_ticks(test)),
            Unserved::OnPurpose(why) => ((*why).to_owned(), String::new()),
            Unserved::NotYet(feature) => (format!("not yet: {feature}"), String::new()),
        };
        writeln!(table, "| {code} | {name} | {releases} | {why} | {proof} |").unwrap();
    }
    table
}

#[test]
fn the_protocol_names_every_code_of_the_original() {
    let named: BTreeSet<i32> = request_code::ALL.iter().map(|(code, _)| *code).collect();
    assert_eq!(named, known_codes().into_keys().collect());
}

/// What each row says, against what the original says, and against the files of this repository.
#[test]
fn every_row_is_true() {
    let known = known_codes();
    let keys: BTreeSet<&str> = BrokerConfig::KEYS.iter().map(|key| key.name).collect();
    for served in served_by_the_broker().into_iter().chain(served_by_the_name_server()) {
        let route = served.route;
        assert_eq!(route.permission.to_string(), known[&route.code].right, "{}", route.label);
        // RemotingHelper.java#getRequestCodeDesc.
        assert_eq!(Some(route.label), request_code::name(route.code).map(str::to_lowercase).as_deref());
        assert!(served.wait.is_empty() || keys.contains(&*served.wait), "{}: {} is no key", route.label, served.wait);
        let (file, function) = served.handler();
        let text = std::fs::read_to_string(root().join(&file)).unwrap_or_else(|error| panic!("{}: {file}: {error}", route.label));
        assert!(text.contains(&format!("fn {function}(")), "{}: no {function} in {file}", route.label);
        assert!(root().join(route.proof).exists(), "{}: {}", route.label, route.proof);
    }
    for (code, why) in UNSERVED {
        if let Unserved::ToClients(test) = why {
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
    let is_unserved =
        |code: &i32| UNSERVED.iter().any(|(unserved, why)| unserved == code && matches!(why, Unserved::NotYet(_) | Unserved::OnPurpose(_)));
    let served = codes.iter().filter(|code| !is_unserved(code)).count();
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
    let served: BTreeSet<i32> = served_by_the_broker().iter().map(|served| served.route.code).collect();
    for (code, _) in request_code::ALL {
        // A connection for each: some of these requests end it.
        let mut client = broker.connect().await;
        let answer = client.call(RemotingCommand::request(*code)).await;
        let is_known = answer.code != response_code::REQUEST_CODE_NOT_SUPPORTED;
        assert_eq!(is_known, served.contains(code), "{code}: {} {}", answer.code, remark(&answer));
        assert!(!remark(&answer).contains("inside the broker"), "{code}: {}", remark(&answer));
        if !is_known {
            assert_eq!(remark(&answer), format!(" request type {code} not supported"));
        }
    }
}
