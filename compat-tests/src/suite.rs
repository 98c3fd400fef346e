// SPDX-License-Identifier: Apache-2.0
//! One run of the suite: what must run, everything it needs, the cells side by side, the report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cluster::{AgentContainer, Cluster, Kind, ServerUnderTest};
use crate::images;
use crate::interpreter::{Agents, Cell, await_ready};
use crate::oracle_results::OracleResults;
use crate::report::{self, Outcome, Outcomes};
use crate::scenario::{CLIENTS, Scenario, Server};

/// Longer than any scenario may take; then it counts as hanging.
const CELL_TIMEOUT: Duration = Duration::from_secs(300);
/// More failures than this are not tried again.
const SECOND_TRIES_MAX: usize = 20;

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
pub enum Servers {
    Ferrocket,
    Oracle,
    Both,
}

#[derive(Parser)]
#[command(about = "Runs the compat scenarios against Ferrocket and the original")]
pub struct Options {
    /// Which server to run against
    #[arg(long, value_enum, default_value = "both")]
    server: Servers,
    /// Only scenarios and clients whose `scenario/client` contains this; several parts divided by commas
    #[arg(long, default_value = "")]
    only: String,
    /// Version of the original that is the oracle: 5.5.0 or 4.9.7
    #[arg(long, default_value = "5.5.0")]
    oracle_version: String,
    /// Run on the oracle even what passed there before, unchanged
    #[arg(long)]
    fresh: bool,
    /// Scenarios at the same time
    #[arg(long, default_value_t = 20)]
    jobs: usize,
    /// Cargo profile of the server
    #[arg(long, default_value = "release")]
    profile: String,
    /// Seconds that a question is repeated until it agrees, where the scenario does not say
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Print each step with the time it took
    #[arg(long)]
    trace: bool,
    /// Print the scenarios and who runs them, then stop
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy)]
struct Job {
    scenario: usize,
    client: &'static str,
    kind: Kind,
}

/// Runs what the options ask for; whether everything passed.
pub async fn run(options: Options) -> Result<bool> {
    let scenarios = Arc::new(Scenario::load_all(&images::repository().join("compat-tests/scenarios"))?);
    if options.list {
        for scenario in scenarios.iter() {
            let clients: Vec<&str> = CLIENTS.into_iter().filter(|c| scenario.runs_on(c) == Some(Ok(()))).collect();
            println!("{:40} {}\n{:40}   {}", scenario.name, scenario.title, "", clients.join(" "));
        }
        return Ok(true);
    }
    let mut kept = OracleResults::load(&options.oracle_version)?;
    let mut outcomes: BTreeMap<&str, Outcomes> = BTreeMap::new();
    let jobs = plan(&options, &scenarios, &kept, &mut outcomes);
    let started = Instant::now();
    if !jobs.is_empty() {
        for (job, outcome) in execute(&options, &scenarios, &jobs).await? {
            let scenario = &scenarios[job.scenario];
            if job.kind == Kind::Oracle {
                kept.record(scenario, job.client, matches!(outcome, Outcome::Pass { .. }));
            }
            outcomes.entry(job.kind.name()).or_default().insert((scenario.name.clone(), job.client.to_owned()), outcome);
        }
        kept.save(&scenarios)?;
    }

    let folder = images::work_folder();
    std::fs::create_dir_all(&folder)?;
    let mut fine = true;
    let mut whole = String::new();
    for kind in [Kind::Oracle, Kind::Ferrocket] {
        let Some(outcomes) = outcomes.get(kind.name()) else { continue };
        let named: BTreeSet<&str> = outcomes.keys().map(|(name, _)| name.as_str()).collect();
        let shown: Vec<&Scenario> = scenarios.iter().filter(|s| named.contains(s.name.as_str())).collect();
        let about = if kind == Kind::Oracle { options.oracle_version.as_str() } else { options.profile.as_str() };
        whole.push_str(&report::text(kind, about, &shown, outcomes));
        let json = serde_json::to_vec_pretty(&report::json(kind, &shown, outcomes))?;
        std::fs::write(folder.join(format!("report-{}.json", kind.name())), json)?;
        fine &= !outcomes.values().any(|o| matches!(o, Outcome::Fail { .. }));
    }
    println!("{whole}\n{} cells run in {} s; report in {}", jobs.len(), started.elapsed().as_secs(), folder.join("report.txt").display());
    std::fs::write(folder.join("report.txt"), whole)?;
    Ok(fine)
}

/// What must run now, and what passed on the oracle before.
fn plan(options: &Options, scenarios: &[Scenario], kept: &OracleResults, outcomes: &mut BTreeMap<&str, Outcomes>) -> Vec<Job> {
    let wanted = |cell: &str| options.only.split(',').any(|part| cell.contains(part));
    let mut jobs = Vec::new();
    for kind in [Kind::Oracle, Kind::Ferrocket] {
        let chosen =
            matches!((options.server, kind), (Servers::Both, _) | (Servers::Oracle, Kind::Oracle) | (Servers::Ferrocket, Kind::Ferrocket));
        if !chosen {
            continue;
        }
        for (index, scenario) in scenarios.iter().enumerate() {
            for client in CLIENTS {
                if scenario.runs_on(client) != Some(Ok(())) || !wanted(&format!("{}/{client}", scenario.name)) {
                    continue;
                }
                if kind == Kind::Oracle && !options.fresh && kept.passed(scenario, client) {
                    outcomes.entry(kind.name()).or_default().insert((scenario.name.clone(), client.to_owned()), Outcome::Kept);
                } else {
                    jobs.push(Job { scenario: index, client, kind });
                }
            }
        }
    }
    // Those that start servers of their own take longest: first.
    jobs.sort_by_key(|job| (scenarios[job.scenario].server == Server::Shared, job.scenario));
    jobs
}

async fn execute(options: &Options, scenarios: &Arc<Vec<Scenario>>, jobs: &[Job]) -> Result<Vec<CellOutcome>> {
    images::engine_up().await?;
    crate::cluster::sweep().await?;
    let clients: BTreeSet<&str> = jobs.iter().map(|job| job.client).collect();
    let needs = |kind| jobs.iter().any(|job| job.kind == kind);
    let uses_go = clients.iter().any(|c| c.starts_with("go")) || jobs.iter().any(|job| mentions(&scenarios[job.scenario], "go-2.1.2"));
    println!("building images");
    let java_image = images::java().await?;
    let go_image = if uses_go { Some(images::go().await?) } else { None };
    let ferrocket_image = if needs(Kind::Ferrocket) { Some(images::ferrocket(&options.profile).await?) } else { None };
    let cluster = Arc::new(Cluster::new(java_image, go_image, ferrocket_image, options.oracle_version.clone()));

    println!("starting agents and servers");
    let mut columns: BTreeSet<&str> = clients.clone();
    columns.insert("mqadmin-5.5.0");
    for client in CLIENTS {
        let for_tools = client == "java-5.5.0" && clients.iter().any(|c| c.starts_with("mqadmin"));
        if for_tools || jobs.iter().any(|job| mentions(&scenarios[job.scenario], client)) {
            columns.insert(client);
        }
    }
    // The first container makes the network that the others join.
    let mut containers: Vec<(String, AgentContainer)> = vec![("mqadmin-5.5.0".into(), cluster.agent("mqadmin-5.5.0").await?)];
    let mut starting = tokio::task::JoinSet::new();
    for column in columns.into_iter().filter(|c| *c != "mqadmin-5.5.0").map(str::to_owned) {
        let cluster = Arc::clone(&cluster);
        starting.spawn(async move { cluster.agent(&column).await.map(|agent| (column, agent)) });
    }
    let mut shared: BTreeMap<&'static str, ServerUnderTest> = BTreeMap::new();
    for kind in [Kind::Oracle, Kind::Ferrocket] {
        if jobs.iter().any(|job| job.kind == kind && scenarios[job.scenario].server == Server::Shared) {
            shared.insert(kind.name(), cluster.server(kind, &[], false).await?);
        }
    }
    while let Some(started) = starting.join_next().await {
        containers.push(started??);
    }
    let agents = Agents { by_client: containers.iter().map(|(name, c)| (name.clone(), Arc::clone(&c.agent))).collect() };
    for server in shared.values() {
        await_ready(&agents, server).await?;
    }

    println!("running {} scenario cells", jobs.len());
    let stage = Arc::new(Stage {
        scenarios: Arc::clone(scenarios),
        cluster,
        agents,
        shared,
        trace: options.trace,
        patience: Duration::from_secs(options.patience),
        permits: Semaphore::new(options.jobs),
        own_oracle: Semaphore::new(3),
        own_ferrocket: Semaphore::new(8),
    });
    // Each cell is a task of its own: dropping a container blocks its thread, and must not block the other cells.
    let mut running = tokio::task::JoinSet::new();
    for (number, job) in jobs.iter().copied().enumerate() {
        let stage = Arc::clone(&stage);
        running.spawn(async move { stage.run(number, job).await });
    }
    let mut results = Vec::new();
    while let Some(result) = running.join_next().await {
        results.push(result??);
    }
    // A cell that failed plays once more, alone: a red report must mean a defect, not a crowded machine. Many failures are no crowd.
    let failed: Vec<usize> = (0..results.len()).filter(|index| matches!(results[*index].1, Outcome::Fail { .. })).collect();
    if failed.len() <= SECOND_TRIES_MAX {
        for (again, index) in failed.into_iter().enumerate() {
            let (job, Outcome::Fail { reason }) = results[index].clone() else { continue };
            if let (_, Outcome::Pass { millis, .. }) = stage.run(jobs.len() + again, job).await? {
                results[index].1 = Outcome::Pass { millis, first_failure: Some(reason) };
            }
        }
    }
    for server in stage.shared.values() {
        write_log(server).await?;
    }
    for (client, container) in &containers {
        std::fs::write(images::work_folder().join(format!("agent-{client}.log")), container.output().await)?;
    }
    Ok(results)
}

/// Everything that the cells of a run share.
struct Stage {
    scenarios: Arc<Vec<Scenario>>,
    cluster: Arc<Cluster>,
    agents: Agents,
    shared: BTreeMap<&'static str, ServerUnderTest>,
    trace: bool,
    patience: Duration,
    permits: Semaphore,
    /// A server of one's own is two JVMs on the oracle: few at a time.
    own_oracle: Semaphore,
    own_ferrocket: Semaphore,
}

type CellOutcome = (Job, Outcome);

impl Stage {
    async fn run(&self, number: usize, job: Job) -> Result<CellOutcome> {
        let scenario = &self.scenarios[job.scenario];
        let own = if job.kind == Kind::Oracle { &self.own_oracle } else { &self.own_ferrocket };
        let _own = if scenario.server != Server::Shared { Some(own.acquire().await?) } else { None };
        let _permit = self.permits.acquire().await?;
        let started = Instant::now();
        let result = tokio::time::timeout(CELL_TIMEOUT, self.play(number, job, scenario))
            .await
            .unwrap_or_else(|_| Err(anyhow!("did not end within {} s", CELL_TIMEOUT.as_secs())));
        let millis = u64::try_from(started.elapsed().as_millis())?;
        let outcome = match result {
            Ok(()) => Outcome::Pass { millis, first_failure: None },
            Err(error) => Outcome::Fail { reason: format!("{error:#}") },
        };
        if let Outcome::Fail { reason } = &outcome {
            println!("FAIL {} {} on {} after {:.1} s: {reason}", job.kind.name(), scenario.name, job.client, millis as f64 / 1000.0);
        }
        Ok((job, outcome))
    }

    async fn play(&self, number: usize, job: Job, scenario: &Scenario) -> Result<()> {
        let private;
        let server = if scenario.server != Server::Shared {
            private = match scenario.server {
                Server::Pair => self.cluster.pair(job.kind, &scenario.conf).await?,
                _ => self.cluster.server(job.kind, &scenario.conf, true).await?,
            };
            await_ready(&self.agents, &private).await?;
            &private
        } else {
            self.shared.get(job.kind.name()).context("the shared server runs")?
        };
        let (agents, trace, patience) = (&self.agents, self.trace, self.patience);
        let outcome = Cell { scenario, client: job.client, trace, patience, number, agents, server }.run().await;
        if outcome.is_err() && scenario.server != Server::Shared {
            write_log(server).await?;
        }
        outcome
    }
}

/// Whether some step of the scenario is done by that client whichever client runs it.
fn mentions(scenario: &Scenario, client: &str) -> bool {
    scenario.steps.iter().any(|step| step.get("on").and_then(serde_json::Value::as_str) == Some(client))
}

async fn write_log(server: &ServerUnderTest) -> Result<()> {
    let path = images::work_folder().join(format!("server-{}.log", server.name().replace(&std::process::id().to_string(), "run")));
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, server.output().await)?;
    Ok(())
}
