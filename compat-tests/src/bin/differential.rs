// SPDX-License-Identifier: Apache-2.0
//! `differential`: holds the scripted conversations with Ferrocket and compares with what the original answered.
//!
//! The original's answers are kept beside the scripts, by family, text hash and version; only a family whose text changed (or
//! `--record`) starts a JVM.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use compat_tests::differential::compare::{self, Answers, Explained};
use compat_tests::differential::run;
use compat_tests::differential::script::{self, Family};
use compat_tests::servers::{self, Make};
use serde::{Deserialize, Serialize};

const ORACLE: &str = "5.5.0";

#[derive(Parser)]
struct Options {
    /// Families to run; all when none is named.
    families: Vec<String>,
    /// Ask the original again, whatever is kept.
    #[arg(long)]
    record: bool,
    /// Ask the original again and compare with what is kept: shows what is not stable.
    #[arg(long)]
    check_oracle: bool,
    /// Ferrocket's name server with the original's broker.
    #[arg(long)]
    original_broker: bool,
    /// Stop after the original's side.
    #[arg(long)]
    oracle_only: bool,
}

/// What the original answered to one family.
#[derive(Serialize, Deserialize)]
struct Kept {
    oracle: String,
    hash: String,
    answers: Answers,
}

fn main() -> ExitCode {
    match work(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("differential: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> Result<bool> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential");
    let names = if options.families.is_empty() { families(&directory)? } else { options.families.clone() };
    let mut explained = compare::load_explained(&directory.join("explained.txt"))?;
    let broker_make = if options.original_broker { Make::Java(ORACLE) } else { Make::Ferrocket };
    let mut report = Report::default();
    for name in &names {
        let family = script::load(&directory, name)?;
        let oracle = oracle_answers(&family, &directory, options, &mut report)?;
        if options.oracle_only || options.check_oracle {
            continue;
        }
        let home = servers::scratch(&format!("differential-{name}"))?;
        let ferrocket = match run::run(&family, &Make::Ferrocket, &broker_make, &home) {
            Ok(answers) => answers,
            Err(error) => {
                println!("{name}: {error:#}");
                report.broken += 1;
                continue;
            }
        };
        report.judge(&family, &oracle, &ferrocket, &mut explained);
        fs::remove_dir_all(&home)?;
    }
    let all = options.families.is_empty() && !options.oracle_only && !options.check_oracle;
    Ok(report.finish(&explained, all))
}

fn families(directory: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(directory)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_suffix(".txt").map(str::to_owned))
        .filter(|name| name != "prelude" && name != "explained")
        .collect();
    names.sort();
    Ok(names)
}

fn oracle_answers(family: &Family, directory: &Path, options: &Options, report: &mut Report) -> Result<Answers> {
    let path: PathBuf = directory.join(format!("golden/{}.json", family.name));
    let kept = match fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice::<Kept>(&bytes).with_context(|| path.display().to_string())?),
        Err(_) => None,
    };
    let current = kept.filter(|kept| kept.hash == family.hash && kept.oracle == ORACLE);
    if let (Some(kept), false, false) = (&current, options.record, options.check_oracle) {
        return Ok(kept.answers.clone());
    }
    if !servers::has_java() {
        bail!("{} changed since the original answered it, and there is no Java here to ask it again", family.name);
    }
    let home = servers::scratch(&format!("oracle-{}", family.name))?;
    let answers = run::run(family, &Make::Java(ORACLE), &Make::Java(ORACLE), &home)?;
    fs::remove_dir_all(&home)?;
    if let (Some(kept), true) = (&current, options.check_oracle) {
        for difference in compare::differences(&family.name, &kept.answers, &answers) {
            println!("unstable {}: {} -> {}", difference.at, difference.oracle, difference.ferrocket);
            report.unexplained += 1;
        }
        return Ok(answers);
    }
    let kept = Kept { oracle: ORACLE.to_owned(), hash: family.hash.clone(), answers };
    let mut text = serde_json::to_string_pretty(&kept)?;
    text.push('\n');
    fs::create_dir_all(directory.join("golden"))?;
    fs::write(&path, text)?;
    println!("{}: the original answered {} scenarios", family.name, kept.answers.len());
    Ok(kept.answers)
}

#[derive(Default)]
struct Report {
    scenarios: usize,
    steps: usize,
    unexplained: usize,
    broken: usize,
    by_reason: BTreeMap<String, usize>,
}

impl Report {
    fn judge(&mut self, family: &Family, oracle: &Answers, ferrocket: &Answers, explained: &mut [Explained]) {
        let mut unexplained = 0;
        for difference in compare::differences(&family.name, oracle, ferrocket) {
            match compare::explain(&difference, explained) {
                Some(reason) => *self.by_reason.entry(reason.to_owned()).or_default() += 1,
                None => {
                    unexplained += 1;
                    println!("{}\n    original  {}\n    ferrocket {}", difference.at, difference.oracle, difference.ferrocket);
                }
            }
        }
        let steps: usize = oracle.values().map(BTreeMap::len).sum();
        println!("{:<12} {:>4} scenarios {:>5} answers {:>4} unexplained", family.name, oracle.len(), steps, unexplained);
        self.scenarios += oracle.len();
        self.steps += steps;
        self.unexplained += unexplained;
    }

    fn finish(&self, explained: &[Explained], all: bool) -> bool {
        if self.scenarios > 0 {
            println!("\n{} scenarios, {} answers, {} unexplained differences", self.scenarios, self.steps, self.unexplained);
        }
        if !self.by_reason.is_empty() {
            println!("explained:");
            for (reason, count) in &self.by_reason {
                println!("{count:>6}  {reason}");
            }
        }
        let stale: Vec<&Explained> = explained.iter().filter(|entry| all && !entry.used).collect();
        for entry in &stale {
            println!("stale: no difference matches {}", entry.pattern);
        }
        self.unexplained == 0 && self.broken == 0 && stale.is_empty()
    }
}
