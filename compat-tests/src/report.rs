// SPDX-License-Identifier: Apache-2.0
//! The report: each scenario x client x server as pass, FAIL or n/a, with the reasons below the tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::cluster::Kind;
use crate::scenario::{CLIENTS, Scenario};

#[derive(Clone, Debug)]
pub enum Outcome {
    /// `first_failure`: why it did not pass among the others, before it passed alone.
    Pass {
        millis: u64,
        first_failure: Option<String>,
    },
    /// Passed on the oracle when this very scenario file last ran there.
    Kept,
    Fail {
        reason: String,
    },
}

/// By (scenario, client).
pub type Outcomes = BTreeMap<(String, String), Outcome>;

pub fn text(kind: Kind, about: &str, scenarios: &[&Scenario], outcomes: &Outcomes) -> String {
    let mut out = String::new();
    let width = scenarios.iter().map(|s| s.name.len()).max().unwrap_or(0);
    for tools in [false, true] {
        let rows: Vec<&&Scenario> = scenarios.iter().filter(|s| s.is_about_tools() == tools).collect();
        let columns: Vec<&str> = CLIENTS.iter().copied().filter(|c| c.starts_with("mqadmin") == tools).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(out, "\n{} ({about})\n{:width$}", kind.name(), "");
        for column in &columns {
            let _ = write!(out, "  {column:>14}");
        }
        out.push('\n');
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for scenario in rows {
            let _ = write!(out, "{:width$}", scenario.name);
            for column in &columns {
                let cell = match (scenario.runs_on(column), outcomes.get(&(scenario.name.clone(), (*column).to_owned()))) {
                    (Some(Err(reason)), _) => {
                        reasons.entry(reason).or_default().push(format!("{} on {column}", scenario.name));
                        "n/a".into()
                    }
                    (_, Some(Outcome::Pass { first_failure: Some(_), .. })) => "pass (2nd try)".into(),
                    (_, Some(Outcome::Pass { millis, .. })) => format!("pass {:.1}s", *millis as f64 / 1000.0),
                    (_, Some(Outcome::Kept)) => "pass (kept)".into(),
                    (_, Some(Outcome::Fail { .. })) => "FAIL".into(),
                    _ => "-".into(),
                };
                let _ = write!(out, "  {cell:>14}");
            }
            out.push('\n');
        }
        if !reasons.is_empty() {
            out.push_str("n/a because:\n");
            for (reason, cells) in reasons {
                let _ = writeln!(out, "  {reason}: {}", cells.join(", "));
            }
        }
    }
    for ((scenario, client), outcome) in outcomes {
        match outcome {
            Outcome::Fail { reason } => {
                let _ = writeln!(out, "FAIL {} {scenario} on {client}: {reason}", kind.name());
            }
            Outcome::Pass { first_failure: Some(reason), .. } => {
                let _ = writeln!(out, "2nd try {} {scenario} on {client}, at first: {reason}", kind.name());
            }
            _ => {}
        }
    }
    let count = |test: fn(&Outcome) -> bool| outcomes.values().filter(|o| test(o)).count();
    let _ = writeln!(
        out,
        "{}: {} passed, {} kept, {} failed",
        kind.name(),
        count(|o| matches!(o, Outcome::Pass { .. })),
        count(|o| matches!(o, Outcome::Kept)),
        count(|o| matches!(o, Outcome::Fail { .. }))
    );
    out
}

pub fn json(kind: Kind, scenarios: &[&Scenario], outcomes: &Outcomes) -> Value {
    let rows: Vec<Value> = scenarios
        .iter()
        .map(|scenario| {
            let mut cells = serde_json::Map::new();
            for client in CLIENTS {
                let cell = match (scenario.runs_on(client), outcomes.get(&(scenario.name.clone(), client.to_owned()))) {
                    (None, _) => continue,
                    (Some(Err(reason)), _) => json!({"result": "n/a", "reason": reason}),
                    (_, Some(Outcome::Pass { millis, first_failure })) => {
                        json!({"result": "pass", "millis": millis, "first_failure": first_failure})
                    }
                    (_, Some(Outcome::Kept)) => json!({"result": "pass", "kept": true}),
                    (_, Some(Outcome::Fail { reason })) => json!({"result": "fail", "reason": reason}),
                    _ => json!({"result": "not run"}),
                };
                cells.insert(client.to_owned(), cell);
            }
            json!({"scenario": scenario.name, "title": scenario.title, "clients": cells})
        })
        .collect();
    json!({"server": kind.name(), "scenarios": rows})
}
