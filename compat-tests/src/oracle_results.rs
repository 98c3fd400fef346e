// SPDX-License-Identifier: Apache-2.0
//! What already passed on the oracle, known by the scenario file's hash and the oracle's version, so that only changed
//! scenarios run there again. Failures are never kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::images::repository;
use crate::scenario::Scenario;

/// oracle version -> scenario -> client -> hash of the scenario that passed.
type Table = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

pub struct OracleResults {
    table: Table,
    version: String,
}

fn path() -> PathBuf {
    repository().join("compat-tests/oracle-results.json")
}

impl OracleResults {
    pub fn load(version: &str) -> Result<OracleResults> {
        let table = match std::fs::read(path()) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Table::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(OracleResults { table, version: version.to_owned() })
    }

    pub fn passed(&self, scenario: &Scenario, client: &str) -> bool {
        let hash = self.table.get(&self.version).and_then(|t| t.get(&scenario.name)).and_then(|t| t.get(client));
        hash == Some(&scenario.hash)
    }

    pub fn record(&mut self, scenario: &Scenario, client: &str, passed: bool) {
        let row = self.table.entry(self.version.clone()).or_default().entry(scenario.name.clone()).or_default();
        if passed {
            row.insert(client.to_owned(), scenario.hash.clone());
        } else {
            row.remove(client);
        }
    }

    /// Writes the table without rows of scenarios that no longer exist.
    pub fn save(&mut self, scenarios: &[Scenario]) -> Result<()> {
        for rows in self.table.values_mut() {
            rows.retain(|name, cells| !cells.is_empty() && scenarios.iter().any(|s| &s.name == name));
        }
        let mut text = serde_json::to_string_pretty(&self.table)?;
        text.push('\n');
        std::fs::write(path(), text)?;
        Ok(())
    }
}
