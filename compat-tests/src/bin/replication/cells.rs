// SPDX-License-Identifier: Apache-2.0
//! The report: what was tried between whom, whether it went well and how long it took; and which of it the original was seen to do between
//! two brokers of its own (`compat-tests/oracle-replication.json`), which is asked anew with `--oracle` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use compat_tests::servers;

/// Pair -> what went well there.
type Kept = BTreeMap<String, BTreeSet<String>>;

/// The cells of one pair.
pub(super) struct Cells {
    pair: String,
    good: BTreeSet<String>,
}

impl Cells {
    pub(super) fn of(pair: &str) -> Self {
        Self { pair: pair.to_owned(), good: BTreeSet::new() }
    }

    pub(super) fn good_count(&self) -> usize {
        self.good.len()
    }

    pub(super) fn run<T>(&mut self, name: &str, cell: impl FnOnce() -> Result<T>) -> Result<T> {
        let since = Instant::now();
        let outcome = cell().with_context(|| name.to_owned());
        let verdict = if outcome.is_ok() { "good" } else { "FAILED" };
        println!("replication: {:30} {name}: {verdict} ({:.1} s)", self.pair, since.elapsed().as_secs_f32());
        if outcome.is_ok() {
            self.good.insert(name.to_owned());
        }
        outcome
    }
}

fn path() -> PathBuf {
    servers::repository().join("compat-tests/oracle-replication.json")
}

fn kept() -> Result<Kept> {
    Ok(serde_json::from_slice(&std::fs::read(path()).with_context(|| format!("read {}", path().display()))?)?)
}

/// Of pairs of the original: keeps what went well.
pub(super) fn keep(cells: &[Cells]) -> Result<()> {
    let mut kept = kept().unwrap_or_default();
    kept.retain(|pair, _| cells.iter().all(|cells| cells.pair != *pair));
    for cells in cells {
        kept.entry(cells.pair.clone()).or_default().extend(cells.good.clone());
    }
    std::fs::write(path(), serde_json::to_string_pretty(&kept)? + "\n").context("keep what the original did")
}

/// Says how many cells ran, and names those that the original was not seen to do: they are ours alone, or wrong.
pub(super) fn count(cells: &[Cells]) -> Result<usize> {
    let kept = kept()?;
    let seen: BTreeSet<&String> = kept.values().flatten().collect();
    let ran: BTreeSet<&String> = cells.iter().flat_map(|cells| &cells.good).collect();
    for name in ran.difference(&seen) {
        println!("replication: not seen between two brokers of the original: {name}");
    }
    Ok(cells.iter().map(Cells::good_count).sum())
}
