// SPDX-License-Identifier: Apache-2.0
//! A scenario: one file that says what a user does and must see.
//!
//! Knows the files and which clients run them. Does not know what a step means; that is `interpreter`.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Every client of the matrix, in the order of the report's columns. A family name ("java", "go", "mqadmin") in a scenario means all of it.
pub const CLIENTS: [&str; 7] = ["java-4.5.2", "java-4.5.2-vip", "java-4.9.8", "java-5.5.0", "go-2.1.2", "mqadmin-4.9.7", "mqadmin-5.5.0"];

pub type Step = Map<String, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    /// Families that run this scenario.
    clients: Vec<String>,
    /// Clients of any family that cannot run it, each with the reason that the report shows. A key is the beginning of a client's name.
    #[serde(default)]
    without: BTreeMap<String, String>,
    /// "own" for scenarios that restart the server or change its settings, "pair" for a master of which the same is true, and a slave.
    #[serde(default)]
    server: Server,
    /// Lines added to the server's broker.conf (only with a server of its own).
    #[serde(default)]
    conf: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    #[default]
    Shared,
    Own,
    Pair,
}

#[derive(Debug)]
pub struct Scenario {
    pub name: String,
    pub title: String,
    pub server: Server,
    pub conf: Vec<String>,
    pub steps: Vec<Step>,
    /// Of the file's bytes; what the kept oracle results are known by.
    pub hash: String,
    clients: Vec<String>,
    without: BTreeMap<String, String>,
}

impl Scenario {
    pub fn parse(name: &str, text: &str) -> Result<Scenario> {
        let file: File = toml::from_str(text)?;
        for step in &file.steps {
            ensure!(step.get("do").is_some_and(Value::is_string), "a step without `do`: {}", Value::Object(step.clone()));
        }
        for client in &file.clients {
            ensure!(["java", "go", "mqadmin"].contains(&client.as_str()), "unknown family {client}");
        }
        for key in file.without.keys() {
            ensure!(CLIENTS.iter().any(|client| client.starts_with(key.as_str())), "`without` names no client: {key}");
        }
        if file.clients.iter().any(|c| c != "mqadmin") {
            for family in ["java", "go"] {
                let listed = file.clients.iter().any(|c| c == family);
                ensure!(listed || file.without.contains_key(family), "{family} is neither in `clients` nor in `without` with a reason");
            }
        }
        ensure!(file.conf.is_empty() || file.server != Server::Shared, "`conf` needs a server of its own");
        Ok(Scenario {
            name: name.to_owned(),
            title: file.title,
            server: file.server,
            conf: file.conf,
            steps: file.steps,
            hash: hash(text.as_bytes()),
            clients: file.clients,
            without: file.without,
        })
    }

    /// All scenarios of a folder, sorted by name.
    pub fn load_all(folder: &Path) -> Result<Vec<Scenario>> {
        let mut scenarios = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path)?;
            scenarios.push(Scenario::parse(&name, &text).with_context(|| format!("scenario {name}"))?);
        }
        if scenarios.is_empty() {
            bail!("no scenarios in {}", folder.display());
        }
        scenarios.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(scenarios)
    }

    /// Whether a client runs this scenario; `Err` is the reason why not, and `None` that it belongs to another table of the report.
    pub fn runs_on(&self, client: &str) -> Option<Result<(), &str>> {
        let family = client.split('-').next().unwrap_or(client);
        if (family == "mqadmin") != self.is_about_tools() {
            return None;
        }
        if let Some((_, reason)) = self.without.iter().find(|(key, _)| client.starts_with(key.as_str())) {
            return Some(Err(reason));
        }
        Some(if self.clients.iter().any(|c| c == family) { Ok(()) } else { Err("not for this client") })
    }

    pub fn is_about_tools(&self) -> bool {
        self.clients.iter().all(|c| c == "mqadmin")
    }
}

/// A stable, short name for some bytes (FNV-1a); not for secrets.
pub fn hash(bytes: &[u8]) -> String {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    fnv.write(bytes);
    format!("{:016x}", fnv.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Scenario> {
        Scenario::load_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap()
    }

    #[test]
    fn each_scenario_file_reads_and_says_why_a_client_is_left_out() {
        for scenario in all() {
            for client in CLIENTS {
                if let Some(Err(reason)) = scenario.runs_on(client) {
                    assert!(
                        reason.len() > 10 && reason != "not for this client",
                        "{} does not say why {client} cannot run it",
                        scenario.name
                    );
                }
            }
        }
    }

    #[test]
    fn the_suite_is_as_broad_as_promised() {
        let scenarios = all();
        let count = |client: &str| scenarios.iter().filter(|s| s.runs_on(client) == Some(Ok(()))).count();
        assert!(count("java-5.5.0") >= 45, "java-5.5.0 runs {}", count("java-5.5.0"));
        assert!(count("java-4.9.8") >= 45, "java-4.9.8 runs {}", count("java-4.9.8"));
        assert!(count("java-4.5.2") >= 45, "java-4.5.2 runs {}", count("java-4.5.2"));
        assert!(count("go-2.1.2") >= 30, "go-2.1.2 runs {}", count("go-2.1.2"));
    }

    #[test]
    fn a_family_left_out_without_a_reason_is_refused() {
        let error = Scenario::parse("x", "title = 't'\nclients = ['java']\nsteps = []").unwrap_err();
        assert!(error.to_string().contains("go is neither"), "{error}");
    }
}
