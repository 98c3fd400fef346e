// SPDX-License-Identifier: Apache-2.0
//! The JSON bodies, one room per subject. Plain serde; `fastjson` reads and writes them.
//!
//! Fields stand in ascending order of their wire names, as the original prints them (the writer checks it in tests).

pub mod assignment;
pub mod auth;
pub mod connection;
pub mod consume_queue;
pub mod group;
pub mod ha;
pub mod heartbeat;
pub mod kv;
pub mod lock;
pub mod offset;
pub mod pop;
pub mod queue;
pub mod register;
pub mod route;
pub mod running_info;
pub mod stats;
pub mod topic;

pub use assignment::*;
pub use auth::*;
pub use connection::*;
pub use consume_queue::*;
pub use group::*;
pub use ha::*;
pub use heartbeat::*;
pub use kv::*;
pub use lock::*;
pub use offset::*;
pub use pop::*;
pub use queue::*;
pub use register::*;
pub use route::*;
pub use running_info::*;
pub use stats::*;
pub use topic::*;

use std::collections::BTreeMap;

/// A map whose keys are written as bare numbers: `{0:"a",1:"b"}`.
pub type NumericMap<K, V> = BTreeMap<K, V>;

/// A map whose keys are written as whole objects: `{{"brokerName":"b","queueId":3,"topic":"T"}:7}`.
pub type ObjectKeyMap<K, V> = BTreeMap<K, V>;
