// SPDX-License-Identifier: Apache-2.0
//! Which request code is served by whom, and the test that proves it: the source of the table in `docs/compatibility.md`.
//!
//! Kept beside THE TABLE in `mod.rs`; `tests/compatibility.rs` asks a running broker for every code and compares, and writes the
//! document. Serves no request itself.

/// Who serves a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The broker; proven by a test file.
    Broker(&'static str),
    /// The name server; proven by a test file.
    NameServer(&'static str),
    /// Sent by the broker to clients, so nobody serves it.
    ToClients(&'static str),
    /// Not served, for good reason.
    OnPurpose(&'static str),
    /// Part of this feature.
    NotYet(&'static str),
}

use Standing::{Broker, NameServer, NotYet, OnPurpose, ToClients};

const NOBODY: &str = "the original does not serve it either";
const OLD_ACL: &str = "the ACL of 4.x, gone from the original since 5.3";

pub const ACL: &str = "access control";
pub const COLD: &str = "flow control of cold data";
pub const LITE: &str = "lite topics";
pub const POP: &str = "POP consumption";
pub const QUESTIONS: &str = "the rarer questions of tools";
pub const REPLICATION: &str = "replication and the controller";
pub const REQUEST_REPLY: &str = "request-reply";
pub const ROCKSDB: &str = "stores in RocksDB";
pub const SQL92: &str = "SQL92 filters";
pub const STATIC_TOPICS: &str = "static topics";
pub const TIMED: &str = "timed messages";

const SEND: &str = "tests/send.rs";
const PULL: &str = "tests/pull.rs";
const CONSUMERS: &str = "tests/consumers.rs";
const QUERY: &str = "tests/query_message.rs";
const TOPIC: &str = "tests/admin_topic.rs";
const TRANSACTION: &str = "tests/transaction.rs";
const BROKER: &str = "tests/admin_broker.rs";
const NAMESRV: &str = "tests/namesrv.rs";

/// What a code that is not served belongs to.
pub fn unserved_feature(code: i32) -> Option<&'static str> {
    let at = COVERAGE.binary_search_by_key(&code, |(code, _)| *code).ok()?;
    match COVERAGE[at].1 {
        NotYet(feature) => Some(feature),
        _ => None,
    }
}

pub const COVERAGE: &[(i32, Standing)] = &[
    (10, Broker(SEND)),
    (11, Broker(PULL)),
    (12, Broker(QUERY)),
    (13, OnPurpose(NOBODY)),
    (14, Broker(CONSUMERS)),
    (15, Broker(CONSUMERS)),
    (17, Broker(TOPIC)),
    (18, Broker(TOPIC)),
    (21, Broker(TOPIC)),
    (22, OnPurpose(NOBODY)),
    (23, OnPurpose(NOBODY)),
    (25, Broker(BROKER)),
    (26, Broker(BROKER)),
    (27, OnPurpose(NOBODY)),
    (28, Broker(BROKER)),
    (29, Broker(CONSUMERS)),
    (30, Broker(CONSUMERS)),
    (31, Broker(CONSUMERS)),
    (32, Broker(CONSUMERS)),
    (33, Broker(QUERY)),
    (34, Broker(CONSUMERS)),
    (35, Broker(CONSUMERS)),
    (36, Broker(CONSUMERS)),
    (37, Broker(TRANSACTION)),
    (38, Broker(CONSUMERS)),
    (39, ToClients(TRANSACTION)),
    (40, ToClients(CONSUMERS)),
    (41, Broker(CONSUMERS)),
    (42, Broker(CONSUMERS)),
    (43, Broker(CONSUMERS)),
    (45, Broker(BROKER)),
    (46, Broker(CONSUMERS)),
    (47, OnPurpose(NOBODY)),
    (50, OnPurpose(OLD_ACL)),
    (51, OnPurpose(OLD_ACL)),
    (52, OnPurpose(OLD_ACL)),
    (53, OnPurpose(OLD_ACL)),
    (54, OnPurpose(OLD_ACL)),
    (60, NotYet(TIMED)),
    (61, NotYet(TIMED)),
    (100, NameServer(NAMESRV)),
    (101, NameServer(NAMESRV)),
    (102, NameServer(NAMESRV)),
    (103, NameServer(NAMESRV)),
    (104, NameServer(NAMESRV)),
    (105, NameServer(NAMESRV)),
    (106, NameServer(NAMESRV)),
    (200, Broker(CONSUMERS)),
    (201, Broker(CONSUMERS)),
    (202, Broker(TOPIC)),
    (203, Broker(CONSUMERS)),
    (204, Broker(CONSUMERS)),
    (205, NameServer(NAMESRV)),
    (206, NameServer(NAMESRV)),
    (207, Broker(CONSUMERS)),
    (208, Broker(CONSUMERS)),
    (209, OnPurpose(NOBODY)),
    (210, OnPurpose(NOBODY)),
    (211, OnPurpose(NOBODY)),
    (212, OnPurpose(NOBODY)),
    (213, OnPurpose(NOBODY)),
    (214, OnPurpose(NOBODY)),
    (215, Broker(TOPIC)),
    (216, NameServer(NAMESRV)),
    (217, NameServer(NAMESRV)),
    (219, NameServer(NAMESRV)),
    (220, ToClients(CONSUMERS)),
    (221, NotYet(QUESTIONS)),
    (222, Broker(CONSUMERS)),
    (223, NotYet(QUESTIONS)),
    (224, NameServer(NAMESRV)),
    (225, Broker(CONSUMERS)),
    (300, Broker(CONSUMERS)),
    (301, OnPurpose(NOBODY)),
    (302, OnPurpose(NOBODY)),
    (303, NotYet(QUESTIONS)),
    (304, NameServer(NAMESRV)),
    (305, Broker(CONSUMERS)),
    (306, NotYet(QUESTIONS)),
    (307, Broker(CONSUMERS)),
    (308, NotYet(QUESTIONS)),
    (309, NotYet(QUESTIONS)),
    (310, Broker(SEND)),
    (311, NameServer(NAMESRV)),
    (312, NameServer(NAMESRV)),
    (313, NameServer(NAMESRV)),
    (314, Broker(CONSUMERS)),
    (315, NotYet(QUESTIONS)),
    (316, NotYet(QUESTIONS)),
    (317, NotYet(QUESTIONS)),
    (318, NameServer(NAMESRV)),
    (319, NameServer(NAMESRV)),
    (320, Broker(SEND)),
    (321, NotYet(QUESTIONS)),
    (322, NameServer(NAMESRV)),
    (323, Broker(TRANSACTION)),
    (324, NotYet(REQUEST_REPLY)),
    (325, NotYet(REQUEST_REPLY)),
    (326, NotYet(REQUEST_REPLY)),
    (327, NameServer(NAMESRV)),
    (328, Broker(CONSUMERS)),
    (329, NotYet(QUESTIONS)),
    (343, NotYet(QUESTIONS)),
    (345, NotYet(QUESTIONS)),
    (351, Broker(TOPIC)),
    (352, Broker(CONSUMERS)),
    (353, NotYet(QUESTIONS)),
    (354, NotYet(ROCKSDB)),
    (355, NotYet(ROCKSDB)),
    (361, Broker(PULL)),
    (370, NotYet(TIMED)),
    (400, NotYet(POP)),
    (401, NotYet(POP)),
    (402, NotYet(POP)),
    (513, NotYet(STATIC_TOPICS)),
    (901, NameServer(NAMESRV)),
    (902, NotYet(REPLICATION)),
    (903, NotYet(REPLICATION)),
    (904, NameServer(NAMESRV)),
    (905, NotYet(REPLICATION)),
    (906, NotYet(REPLICATION)),
    (907, NotYet(REPLICATION)),
    (908, NotYet(REPLICATION)),
    (1001, NotYet(REPLICATION)),
    (1002, NotYet(REPLICATION)),
    (1003, NotYet(REPLICATION)),
    (1004, NotYet(REPLICATION)),
    (1005, NotYet(REPLICATION)),
    (1006, NotYet(REPLICATION)),
    (1007, NotYet(REPLICATION)),
    (1008, NotYet(REPLICATION)),
    (1009, NotYet(REPLICATION)),
    (1010, NotYet(REPLICATION)),
    (1011, NotYet(REPLICATION)),
    (1012, NotYet(REPLICATION)),
    (1013, NotYet(REPLICATION)),
    (2001, NotYet(COLD)),
    (2002, NotYet(COLD)),
    (2003, NotYet(COLD)),
    (2004, NotYet(QUESTIONS)),
    (3001, NotYet(ACL)),
    (3002, NotYet(ACL)),
    (3003, NotYet(ACL)),
    (3004, NotYet(ACL)),
    (3005, NotYet(ACL)),
    (3006, NotYet(ACL)),
    (3007, NotYet(ACL)),
    (3008, NotYet(ACL)),
    (3009, NotYet(ACL)),
    (3010, NotYet(ACL)),
    (5001, NotYet(TIMED)),
    (5002, NotYet(QUESTIONS)),
    (5003, NotYet(QUESTIONS)),
    (200_050, NotYet(POP)),
    (200_051, NotYet(POP)),
    (200_052, NotYet(POP)),
    (200_053, NotYet(POP)),
    (200_054, NotYet(POP)),
    (200_055, NotYet(POP)),
    (200_056, NotYet(POP)),
    (200_070, NotYet(LITE)),
    (200_071, NotYet(LITE)),
    (200_072, OnPurpose(NOBODY)),
    (200_073, NotYet(LITE)),
    (200_074, NotYet(LITE)),
    (200_075, NotYet(LITE)),
    (200_076, NotYet(LITE)),
    (200_077, NotYet(LITE)),
    (200_078, NotYet(LITE)),
    (200_079, NotYet(LITE)),
    (200_151, NotYet(POP)),
];

/// What people call a part of RocketMQ, for the table in `README.md`.
pub struct Feature {
    pub name: &'static str,
    pub shown_by: ShownBy,
}

/// What shows whether a feature is served; `tests/compatibility.rs` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownBy {
    /// All of them are, or none.
    Codes(&'static [i32]),
    /// How a running server answers to a try of it.
    Trying { is_served: bool },
}

const NOT_SERVED: ShownBy = ShownBy::Trying { is_served: false };

pub const FEATURES: &[Feature] = &[
    Feature { name: "Sending: sync, async, one-way, batches, in order", shown_by: ShownBy::Codes(&[10, 310, 320]) },
    Feature {
        name: "Push and pull consumers: clustering, broadcasting, in order, tags",
        shown_by: ShownBy::Codes(&[11, 361, 34, 38, 41, 42]),
    },
    Feature { name: "Retries and dead letters", shown_by: ShownBy::Codes(&[36]) },
    Feature { name: DELAYED, shown_by: ShownBy::Trying { is_served: true } },
    Feature { name: "Transactions", shown_by: ShownBy::Codes(&[37, 39, 323]) },
    Feature { name: "Queries by key, id and time", shown_by: ShownBy::Codes(&[12, 33, 29]) },
    Feature {
        name: "Topics, groups, offsets and configuration by mqadmin",
        shown_by: ShownBy::Codes(&[17, 215, 200, 207, 222, 25, 26, 28]),
    },
    Feature { name: RARE_COMMANDS, shown_by: ShownBy::Codes(&[306, 309, 315, 316, 317, 321, 329, 2004]) },
    Feature { name: TIMED_AND_RECALL, shown_by: NOT_SERVED },
    Feature { name: "Request-reply", shown_by: ShownBy::Codes(&[324, 325]) },
    Feature {
        name: "POP consumption (also push consumers with `clientRebalance=false`)",
        shown_by: ShownBy::Codes(&[400, 401, 200_050, 200_051, 200_053]),
    },
    Feature { name: FILTERS, shown_by: NOT_SERVED },
    Feature { name: TLS, shown_by: NOT_SERVED },
    Feature { name: "Access control", shown_by: ShownBy::Codes(&[3001, 3006]) },
    Feature { name: "Static topics", shown_by: ShownBy::Codes(&[513]) },
    Feature { name: "Lite topics", shown_by: ShownBy::Codes(&[200_070]) },
    Feature { name: "Slaves and the controller", shown_by: ShownBy::Codes(&[903, 906, 1001]) },
];

pub const RARE_COMMANDS: &str = "Rarer commands of mqadmin: `brokerConsumeStats`, `queryCq`, `cleanExpiredCQ`, `cleanUnusedTopic`, `deleteExpiredCommitLog`, `setCommitLogReadAheadMode`, the figures of `statsAll`, and a message given to one consumer (`queryMsgById -g -d`)";
pub const DELAYED: &str = "Delayed messages (the 18 levels)";
pub const TIMED_AND_RECALL: &str = "Timed messages at any moment, and their recall";
pub const FILTERS: &str = "SQL92 filters";
/// The original's default is `tls.server.mode=permissive`: it serves such clients unasked.
pub const TLS: &str = "TLS (the original serves it unasked)";
/// Asked for on every port of ours; the original's own is 8081, of its proxy.
pub const GRPC: &str = "gRPC";
