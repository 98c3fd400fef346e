// SPDX-License-Identifier: Apache-2.0
//! `replication`: masters and slaves of Ferrocket and of the original, as processes. Each pair has one life, of which the report names every
//! cell: late joiners, expired files, double write, tables, kills of either end, bad networks, two slaves, the slave that carries on.
//! Pairs run side by side: they mostly wait.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

mod cells;
mod kills;
mod links;
mod member;
mod pair;
mod proxy;
mod several;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use cells::Cells;
use clap::Parser;
use compat_tests::servers::{self, Make};

const OURS: Make = Make::Ferrocket;
const NEW: Make = Make::Java("5.5.0");
const OLD: Make = Make::Java("4.9.7");

#[derive(Parser)]
struct Options {
    /// Runs only the pairs whose name contains it
    #[arg(default_value = "")]
    only: String,
    /// Pairs at the same time
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Asks the original instead: its own pairs, whose results are kept
    #[arg(long)]
    oracle: bool,
    /// Only the kills of the master under load, so many
    #[arg(long)]
    kills: Option<u32>,
}

/// Runs in a directory of its own.
type Story = Box<dyn FnOnce(&Path, &mut Cells) -> Result<()> + Send>;

fn main() -> ExitCode {
    let options = Options::parse();
    let since = Instant::now();
    match run(&options) {
        Ok(count) => {
            println!("replication: {count} cells, all good, in {:.1} s", since.elapsed().as_secs_f32());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("replication: FAILED after {:.1} s: {error:#}", since.elapsed().as_secs_f32());
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<usize> {
    let mut stories: Vec<(String, Story)> = Vec::new();
    if options.kills.is_none() {
        let pairs = [(NEW, NEW), (OLD, OLD), (OURS, NEW), (NEW, OURS), (OLD, OURS), (OURS, OLD), (OURS, OURS)];
        for (master, slave) in pairs.into_iter().filter(|(master, slave)| options.oracle != [master, slave].contains(&&OURS)) {
            let name = format!("{} -> {}", master.name(), slave.name());
            let makes = (master.clone(), slave.clone());
            stories.push((name.clone(), Box::new(move |home, cells| pair::story(&makes.0, &makes.1, home, cells))));
            // What the original's own pair of 5.x cannot be shown on: its slave goes where the name server says, and its master listens there.
            if (&master, &slave) != (&NEW, &NEW) {
                stories.push((name, Box::new(move |home, cells| links::story(&master, &slave, home, cells))));
            }
        }
        for (master, slaves) in [(NEW, [NEW, NEW]), (OURS, [OURS, NEW]), (NEW, [OURS, OURS]), (OLD, [OURS, OURS])] {
            if options.oracle != (master == OURS || slaves.contains(&OURS)) {
                let name = format!("{} -> {}, {}", master.name(), slaves[0].name(), slaves[1].name());
                stories.push((name, Box::new(move |home, cells| several::story(&master, slaves.each_ref(), home, cells))));
            }
        }
    }
    stories.retain(|(name, _)| name.contains(&options.only));
    let mut done = side_by_side(stories, options.jobs)?;
    if options.oracle {
        cells::keep(&done)?;
        return Ok(done.iter().map(Cells::good_count).sum());
    }
    let kills = "ferrocket -> ferrocket, killed";
    if kills.contains(&options.only) {
        // Alone: what others take from the disk it would not have.
        let rounds = options.kills;
        let story: Story = Box::new(move |home, cells| kills::story(rounds, home, cells));
        done.push(tell(kills, story).1?);
    }
    cells::count(&done)
}

/// Their cells; an error names every pair that failed.
fn side_by_side(stories: Vec<(String, Story)>, jobs: usize) -> Result<Vec<Cells>> {
    let waiting = Mutex::new(stories.into_iter());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((name, story)) = next else { return };
                    let outcome = tell(&name, story);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let mut failed = Vec::new();
    let mut done = Vec::new();
    for (name, outcome) in outcomes.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match outcome {
            Ok(cells) => done.push(cells),
            Err(_) => failed.push(name),
        }
    }
    if failed.is_empty() { Ok(done) } else { anyhow::bail!("{}", failed.join("; ")) }
}

/// Its directories stay when it fails.
fn tell(name: &str, story: Story) -> (String, Result<Cells>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut cells = Cells::of(name);
    let outcome = servers::scratch(&format!("replication-{}", NUMBER.fetch_add(1, Ordering::Relaxed))).and_then(|home| {
        story(&home, &mut cells).with_context(|| format!("the directories stay in {}", home.display()))?;
        Ok(fs::remove_dir_all(&home)?)
    });
    if let Err(error) = &outcome {
        println!("replication: {name}: FAILED: {error:#}");
    }
    (name.to_owned(), outcome.map(|()| cells))
}
