// SPDX-License-Identifier: Apache-2.0
//! Where log lines go and how they look: stderr, so that stdout keeps the lines that tools wait for.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::server::StartError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// Starts logging for the whole process. `filter` goes before RUST_LOG, and that before info.
pub(super) fn start(format: Format, filter: Option<&str>) -> Result<(), StartError> {
    let wrong = |why: &dyn std::fmt::Display| {
        StartError::Sentence(format!("the log filter is wrong: {why}; use a level such as info, or directives as in RUST_LOG"))
    };
    let filter = match filter {
        Some(filter) => EnvFilter::try_new(filter).map_err(|error| wrong(&error))?,
        None => match std::env::var("RUST_LOG") {
            Ok(filter) if !filter.is_empty() => EnvFilter::try_new(filter).map_err(|error| wrong(&error))?,
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
