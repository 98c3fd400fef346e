// SPDX-License-Identifier: Apache-2.0
//! Official RocketMQ clients and tools, in containers, against Ferrocket and against the original (the oracle).
//!
//! The rooms: `scenario` reads the files, `interpreter` does their steps through an `agent`, `pattern` compares,
//! `images` and `cluster` bring up containers, `suite` runs it all, `report` tells, `oracle_results` remembers.
//!
//! Beside them, without containers: `servers` starts the original and Ferrocket as processes, `wire`, `record` and `dialect`
//! speak to them in bytes of their own (a mistake of the code under test must not hide behind itself), `producers` know what
//! was acknowledged to them, `differential` compares answers.
#![allow(clippy::print_stdout, reason = "a command line tool")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own tasks, plain files")]

pub mod agent;
pub mod cluster;
pub mod dialect;
pub mod differential;
pub mod images;
pub mod interpreter;
pub mod oracle_results;
pub mod pattern;
pub mod plain_client;
pub mod producers;
pub mod record;
pub mod report;
pub mod scenario;
pub mod servers;
pub mod suite;
pub mod wire;
