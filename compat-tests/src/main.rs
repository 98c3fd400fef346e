// SPDX-License-Identifier: Apache-2.0
//! `cargo run -p compat-tests -- --server ferrocket|oracle|both [--only PATTERN]` does everything: engine, base images,
//! agents, servers, scenarios, report. A scenario that fails on the oracle is a wrong scenario.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::process::ExitCode;

use clap::Parser;
use compat_tests::suite::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("compat-tests: {error:#}");
            ExitCode::from(2)
        }
    }
}
