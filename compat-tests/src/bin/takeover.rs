// SPDX-License-Identifier: Apache-2.0
//! `takeover`: a master of the original, under the load of its own clients, hands over to Ferrocket: nothing that was acknowledged is lost,
//! nothing comes out of order, and how long a send waited at most is printed.
//! An argument runs only the trials whose name contains it.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compat_tests::plain_client::{Outgoing, PlainClient};
use compat_tests::servers::{self, BrokerSettings, Make};
use compat_tests::wire::Frame;

const TOPIC: &str = "Moved";
const QUEUES: i32 = 4;
/// What lies in the log before anybody sends: several files of it.
const BEFORE: i32 = 3_000;
const FILE_BYTES: u32 = 1_048_576;
/// Of the clients, so that they know the new address for a while when it ends.
const LOAD_SECONDS: u32 = 75;
const LIMIT: Duration = Duration::from_secs(150);
/// A send's longest wait, with retries: below 2 s on a machine that does nothing else, and CI has two slow processors.
const WAIT_MAX_MILLIS: u64 = 5_000;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut good = true;
    for version in ["4.9.7", "5.5.0"] {
        let name = format!("a {version} master");
        if !name.contains(&wanted) {
            continue;
        }
        let since = Instant::now();
        let result = servers::scratch("takeover").and_then(|home| {
            let figures = trial(&home, version).with_context(|| format!("the directories stay in {}", home.display()))?;
            fs::remove_dir_all(&home)?;
            Ok(figures)
        });
        match result {
            Ok(figures) => println!("takeover: {name}: good ({:.1} s): {figures}", since.elapsed().as_secs_f32()),
            Err(error) => {
                good = false;
                println!("takeover: {name}: FAILED: {error:#}");
            }
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Killed when a trial fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() {
            let _ended = self.0.wait();
        }
    }
}

fn start(mut command: Command, output: &Path) -> Result<Process> {
    let log = File::create(output)?;
    Ok(Process(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
}

/// Until the process has written it.
fn said(process: &mut Process, output: &Path, text: &str) -> Result<String> {
    let since = Instant::now();
    loop {
        let all = fs::read_to_string(output)?;
        if all.contains(text) {
            return Ok(all);
        }
        ensure!(since.elapsed() < LIMIT, "{} never said {text:?}", output.display());
        if let Some(status) = process.0.try_wait()? {
            bail!("{} ended with {status} before it said {text:?}", output.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn trial(home: &Path, version: &'static str) -> Result<String> {
    let namesrv = servers::start_namesrv(&Make::Ferrocket, &home.join("namesrv"), servers::free_port()?, &[])?;
    let lines = [
        format!("mappedFileSizeCommitLog={FILE_BYTES}"),
        "brokerIP2=127.0.0.1".to_owned(),
        "transactionTimeOut=2000".to_owned(),
        "transactionCheckInterval=3000".to_owned(),
    ];
    let settings = BrokerSettings { name: "moved", port: servers::free_port()?, namesrv: Some(namesrv.addr.to_string()), lines: &lines };
    let old = servers::start_broker(&Make::Java(version), &home.join("old"), &settings)?;
    let mut client = PlainClient::open(old.addr)?;
    client.create_topic(TOPIC, QUEUES)?;
    for number in 0..BEFORE {
        client.send(&Outgoing::new(TOPIC, number % QUEUES, format!("before {number} {}", "x".repeat(1_000))))?;
    }

    let output = home.join("load.out");
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &servers::oracle_classpath(version)?]);
    command.arg(servers::repository().join("compat-tests/takeover/Load.java"));
    command.args([namesrv.addr.to_string(), LOAD_SECONDS.to_string()]).env("HOME", home);
    let mut load = start(command, &output)?;
    said(&mut load, &output, "acked transaction 3")?;

    let (port, told) = (servers::free_port()?, home.join("takeover.out"));
    let takeover = |more: &[&str]| -> Result<Command> {
        let mut command = Command::new(servers::ferrocket_binary()?);
        command.args(["takeover", "--from", &old.addr.to_string(), "--data"]).arg(home.join("new"));
        command.args(["--set", "brokerIP1=127.0.0.1", "--set", "brokerIP2=127.0.0.1", "--set", &format!("listenPort={port}")]);
        command.args(more).env("HOME", home).env_remove("NAMESRV_ADDR");
        Ok(command)
    };
    let checked = takeover(&["--check"])?.output()?;
    ensure!(checked.status.success(), "--check: {}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    let mut new = start(takeover(&["--switch"])?, &told)?;
    let report = said(&mut new, &told, "boot success")?;
    let line = |beginning: &str| report.lines().find(|line| line.starts_with(beginning)).map(str::to_owned);
    line("the two logs are equal from 1 to ").with_context(|| format!("the logs were not compared:\n{report}"))?;
    let held = line("this broker is the master now").context("no switch")?;
    let all = said(&mut load, &output, "\nover\n")?;

    // The old one took nothing since, and the name server names the new one alone.
    let cluster = PlainClient::open(namesrv.addr)?.body(&Frame::request(106))?;
    let addrs = &cluster["brokerAddrTable"]["moved"]["brokerAddrs"];
    let master = addrs.get("0").or_else(|| addrs.get("#0")).and_then(|addr| addr.as_str()).context("no master")?;
    ensure!(master == format!("127.0.0.1:{port}"), "the master is {master}");
    judge(&all, version).map(|figures| format!("{held}; {figures}"))
}

/// Nothing acknowledged is missing, what one producer sent to one queue came in its order.
fn judge(all: &str, version: &str) -> Result<String> {
    let mut acked: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut consumed: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let (mut longest, mut failed) = (0, 0);
    for line in all.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["acked", kind, number, millis] => {
                acked.entry(kind).or_default().push(number.parse()?);
                longest = longest.max(millis.parse::<u64>()?);
            }
            ["consumed", kind, number] => consumed.entry(kind).or_default().push(number.parse()?),
            ["failed", ..] => failed += 1,
            _ => {}
        }
    }
    let (mut lost, mut doubled, mut count) = (Vec::new(), 0, 0);
    for (kind, numbers) in &acked {
        let came = consumed.get(kind).with_context(|| format!("nothing of {kind} was consumed"))?;
        let unique: HashSet<u32> = came.iter().copied().collect();
        lost.extend(numbers.iter().filter(|number| !unique.contains(number)).map(|number| format!("{kind} {number}")));
        doubled += came.len() - unique.len();
        count += numbers.len();
    }
    ensure!(lost.is_empty(), "lost: {}", lost.join(", "));
    // First sight of each: what comes again may come later.
    let mut seen = HashSet::new();
    let first: Vec<u32> = consumed["ordered"].iter().copied().filter(|number| seen.insert(*number)).collect();
    ensure!(first.is_sorted(), "out of order: {:?}", first.windows(2).find(|pair| pair[0] > pair[1]));
    ensure!(longest < WAIT_MAX_MILLIS, "a send to the {version} master or its heir waited for {longest} ms");
    Ok(format!("{count} acknowledged, 0 lost, 0 out of order, {doubled} came twice, {failed} sends failed, the longest took {longest} ms"))
}
