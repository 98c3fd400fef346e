// SPDX-License-Identifier: Apache-2.0
//! `bench compare`: every server in turn on the same directory, A B B A, a fresh store each time; one line of JSON per run, one table.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::meter::Usage;
use super::original::{Heap, Original, PATIENCE};
use super::pair::{Pair, PairAddrs, PairCommands};
use super::server::{START_MAX, Server, own_binary};
use super::suite::{Choice, measured, on_echo, on_server};
use super::workload::{Needs, WORKLOADS, Workload};
use super::{BenchError, table};
use crate::runtime::{Runtime, SharedClock, local_time};

#[derive(Debug, Args)]
pub(in crate::cli) struct CompareArgs {
    /// A directory of the original's jars (scripts/oracle.sh prints one), or an image whose jars are taken; may be given several times
    #[arg(long, value_name = "DIRECTORY_OR_IMAGE", required = true)]
    java: Vec<String>,
    /// Each version runs with each of these
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Heap::Lean])]
    heaps: Vec<Heap>,
    #[command(flatten)]
    choice: Choice,
    /// Where the servers listen, one at a time
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:21911")]
    addr: SocketAddr,
    /// The stores are made below it and removed
    #[arg(long, value_name = "DIRECTORY")]
    dir: PathBuf,
    /// Seconds of each run
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[arg(long, default_value_t = 2.0)]
    warmup_ours_seconds: f64,
    #[arg(long, default_value_t = 20.0)]
    warmup_java_seconds: f64,
    /// Turns of each server; every second one in reverse order: A B B A
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Void runs are tried again so often
    #[arg(long, default_value_t = 1)]
    retries: u32,
    /// Nothing is tried again once so many minutes have passed
    #[arg(long, default_value_t = f64::INFINITY)]
    retry_minutes: f64,
    /// Messages in the store of the workloads that start on one, instead of 3.5 millions (4 GB)
    #[arg(long)]
    fill_messages: Option<u64>,
    /// The lines go into a new file there
    #[arg(long, value_name = "DIRECTORY", default_value = "benches/results")]
    results: PathBuf,
    /// The table also goes between the marks of this page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// A run on a machine that did something else says little.
const STEAL_PERCENT_MAX: f64 = 2.0;
const FOREIGN_CPU_PERCENT_MAX: f64 = 5.0;
/// A server counts as settled when it uses no more of a core, or after so many looks.
const SETTLED_CORE_SHARE: f64 = 0.2;
const SETTLE_LOOK: Duration = Duration::from_millis(300);
const SETTLE_LOOKS_MAX: usize = 30;

const ASYNC_FLUSH: &str = "flushDiskType=ASYNC_FLUSH";

#[derive(Debug)]
enum Contender {
    Ours,
    Java(Original),
}

impl Contender {
    fn name(&self) -> &str {
        match self {
            Self::Ours => table::OURS,
            Self::Java(original) => &original.name,
        }
    }
}

pub(super) async fn run(args: &CompareArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let dir = std::path::absolute(&args.dir).map_err(|error| BenchError::Process { file: args.dir.clone(), error: error.to_string() })?;
    let mut contenders = vec![Contender::Ours];
    for source in &args.java {
        for heap in &args.heaps {
            contenders.push(Contender::Java(Original::new(source, *heap, &dir)?));
        }
    }
    let mut lines = Lines::create(args, runtime)?;
    lines.add(json!({"machine": machine(), "contenders": contenders.iter().map(Contender::name).collect::<Vec<_>>()}))?;
    for turn in 0..args.turns {
        if turn == args.turns / 2 {
            limits(args, &mut lines)?;
        }
        let mut order: Vec<&Contender> = contenders.iter().collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for contender in order {
            let visit = Visit { args, dir: &dir, contender, number: turn, runtime };
            visit.run(&mut lines).await?;
        }
    }
    remove(&Visit::passed(&dir))?;
    let page = table::of(&lines.lines, &lines.path.display().to_string());
    super::say(&page)?;
    args.page.as_deref().map_or(Ok(()), |file| table::write(file, &page))
}

fn remove(dir: &Path) -> Result<(), BenchError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BenchError::Process { file: dir.to_owned(), error: error.to_string() })
        }
        _ => Ok(()),
    }
}

fn machine() -> Value {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()));
    json!({
        "processors": processors.lines().filter(|line| line.starts_with("processor")).count(),
        "model": model,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

/// What `bench echo` reaches today, half way through.
fn limits(args: &CompareArgs, lines: &mut Lines) -> Result<(), BenchError> {
    for workload in args.choice.of(Needs::AsyncFlush).filter(|workload| workload.has_limit) {
        lines.measure(workload, &on_echo(workload, args.seconds), table::LIMIT, 0, args.retries)?;
    }
    Ok(())
}

/// One server's turn.
struct Visit<'a> {
    args: &'a CompareArgs,
    /// A server may be told of it from another directory.
    dir: &'a Path,
    contender: &'a Contender,
    number: u32,
    runtime: &'a Runtime,
}

impl Visit<'_> {
    async fn run(&self, lines: &mut Lines) -> Result<(), BenchError> {
        for (needs, flush) in [(Needs::AsyncFlush, ASYNC_FLUSH), (Needs::SyncFlush, "flushDiskType=SYNC_FLUSH")] {
            let mut workloads = self.args.choice.of(needs).peekable();
            if workloads.peek().is_none() {
                continue;
            }
            self.clear()?;
            let command = self.command(&self.home(), self.args.addr, &[flush, "brokerId=0"], None)?;
            let mut server = Server::start(&command, Some(&self.log()))?;
            server.first_send(self.args.addr, START_MAX, self.runtime).await?;
            self.warm_up()?;
            for workload in workloads {
                self.settle(server.id()).await?;
                let mut line = on_server(workload, self.args.addr, self.args.seconds);
                line.extend(["--server-pid".to_owned(), server.id().to_string()]);
                lines.measure(workload, &line, self.contender.name(), self.number, self.args.retries)?;
            }
            // Its store goes away with it: nothing is gained by an orderly stop.
            server.kill(self.runtime.clock()).await?;
        }
        for (needs, role) in [(Needs::SyncPair, "brokerRole=SYNC_MASTER"), (Needs::AsyncPair, "brokerRole=ASYNC_MASTER")] {
            self.run_pair(needs, role, lines).await?;
        }
        // A start takes seconds to minutes with the original, and varies little: once.
        if self.number == 0 {
            for workload in self.args.choice.of(Needs::Start) {
                self.clear()?;
                let command = self.command(&self.home(), self.args.addr, &[ASYNC_FLUSH, "brokerId=0"], None)?;
                let mut line = self.on_server_to_start(workload);
                line.push("--".to_owned());
                line.extend(command);
                lines.measure(workload, &line, self.contender.name(), self.number, 0)?;
            }
        }
        self.clear()
    }

    async fn run_pair(&self, needs: Needs, role: &str, lines: &mut Lines) -> Result<(), BenchError> {
        let mut workloads = self.args.choice.of(needs).peekable();
        if workloads.peek().is_none() {
            return Ok(());
        }
        self.clear()?;
        let addrs = PairAddrs::beside(self.args.addr);
        let of_master = [ASYNC_FLUSH, "brokerId=0", role, "inSyncReplicas=2"];
        let commands = PairCommands {
            master: self.command(&self.home(), addrs.master, &of_master, Some(addrs.namesrv))?,
            slave: self.command(
                &self.slave_home(),
                addrs.slave,
                &[ASYNC_FLUSH, "brokerId=1", "brokerRole=SLAVE", "slaveReadEnable=true"],
                Some(addrs.namesrv),
            )?,
            addrs,
        };
        let mut pair = Pair::start(&commands, &self.log(), self.runtime).await?;
        self.warm_up()?;
        if needs == Needs::AsyncPair
            && let Some(slave) = pair.slave.take()
        {
            slave.stop(self.runtime.clock()).await?;
        }
        for workload in workloads {
            let mut pids = vec![pair.master.id()];
            pids.extend(pair.slave.as_ref().map(Server::id));
            for pid in &pids {
                self.settle(*pid).await?;
            }
            let mut line = on_server(workload, self.args.addr, self.args.seconds);
            let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let at_slave = if workload.line[0] == "e2e" { "--consume-addr" } else { "--replica" };
            line.extend([at_slave, &addrs.slave.to_string(), "--server-pid", &pids].map(str::to_owned));
            if needs == Needs::AsyncPair {
                self.fill_less(&mut line, "--messages");
                let (dir, log) = (self.dir.display().to_string(), self.log().display().to_string());
                line.extend(["--copy-to", &dir, "--server-log", &log, "--"].map(str::to_owned));
                line.extend(commands.slave.iter().cloned());
            }
            lines.measure(
                workload,
                &line,
                self.contender.name(),
                self.number,
                if needs == Needs::SyncPair { self.args.retries } else { 0 },
            )?;
        }
        pair.end(self.runtime.clock()).await
    }

    /// What the workload before it left to the disk and to the server (an index that is behind) is not the next one's load.
    async fn settle(&self, server_pid: u32) -> Result<(), BenchError> {
        rustix::fs::sync();
        for _ in 0..SETTLE_LOOKS_MAX {
            let before = Usage::of(server_pid)?.cpu_seconds;
            self.runtime.clock().sleep(SETTLE_LOOK).await;
            let share = (Usage::of(server_pid)?.cpu_seconds - before) / SETTLE_LOOK.as_secs_f64();
            if share <= SETTLED_CORE_SHARE {
                break;
            }
        }
        Ok(())
    }

    fn home(&self) -> PathBuf {
        self.dir.join("server")
    }

    fn slave_home(&self) -> PathBuf {
        self.dir.join("slave")
    }

    fn store(&self) -> PathBuf {
        match self.contender {
            Contender::Ours => self.home(),
            Contender::Java(_) => self.home().join("store"),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.out")
    }

    /// Where the small files of earlier stores wait for the end. ext4 is slow to give out an inode that was freed minutes ago: the
    /// server after one with thousands of queues would pay for their removal.
    fn passed(dir: &Path) -> PathBuf {
        dir.join("passed")
    }

    fn clear(&self) -> Result<(), BenchError> {
        let (home, queues, passed) = (self.home(), self.store().join("consumequeue"), Self::passed(self.dir));
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |error: std::io::Error| BenchError::Process { file, error: error.to_string() }
        };
        if queues.exists() {
            std::fs::create_dir_all(&passed).map_err(failed(&passed))?;
            let count = std::fs::read_dir(&passed).map_err(failed(&passed))?.count();
            #[expect(clippy::disallowed_methods, reason = "a store's files from outside, while no server runs")]
            std::fs::rename(&queues, passed.join(count.to_string())).map_err(failed(&queues))?;
        }
        remove(&home)?;
        remove(&self.slave_home())?;
        rustix::fs::sync();
        Ok(())
    }

    /// The command that starts the server in `home`, which is made.
    fn command(&self, home: &Path, addr: SocketAddr, keys: &[&str], namesrv: Option<SocketAddr>) -> Result<Vec<String>, BenchError> {
        std::fs::create_dir_all(home).map_err(|error| BenchError::Process { file: home.to_owned(), error: error.to_string() })?;
        let mut settings: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        if let Contender::Java(original) = self.contender {
            settings.extend(namesrv.map(|namesrv| format!("namesrvAddr={namesrv}")));
            return original.command(home, addr, &settings);
        }
        settings.extend([format!("listenPort={}", addr.port()), "brokerName=measured".to_owned(), PATIENCE.to_owned()]);
        settings.push(format!("brokerIP1={}", addr.ip()));
        let (home, namesrv) = (home.display().to_string(), namesrv.map(|namesrv| namesrv.to_string()));
        let found_by = namesrv.as_deref().map_or(["--namesrv-port", "0"], |namesrv| ["--namesrvAddr", namesrv]);
        let words: Vec<&str> = ["--data", &home, "--log", "warn"].into_iter().chain(found_by).collect();
        let mut command = own_binary(&words)?;
        command.extend(settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
        Ok(command)
    }

    /// Once at full breadth, so that Java has compiled what it will.
    fn warm_up(&self) -> Result<(), BenchError> {
        let seconds = match self.contender {
            Contender::Ours => self.args.warmup_ours_seconds,
            Contender::Java(_) => self.args.warmup_java_seconds,
        };
        let warmup = WORKLOADS.iter().find(|workload| workload.id == "W5").expect("it stands in the table");
        measured(warmup.id, &on_server(warmup, self.args.addr, seconds)).map(|_| ())
    }

    fn fill_less(&self, line: &mut [String], argument: &str) {
        if let (Some(messages), Some(at)) = (self.args.fill_messages, line.iter().position(|word| word == argument)) {
            line[at + 1] = messages.to_string();
        }
    }

    fn on_server_to_start(&self, workload: &Workload) -> Vec<String> {
        let mut line: Vec<String> = workload.line.iter().map(|word| (*word).to_owned()).collect();
        self.fill_less(&mut line, "--fill-messages");
        let (addr, store, log) = (self.args.addr.to_string(), self.store().display().to_string(), self.log().display().to_string());
        line.extend(["--addr", &addr, "--data", &store, "--server-log", &log].iter().map(|word| (*word).to_owned()));
        line
    }
}

/// What was measured, on the disk as soon as it is known.
struct Lines {
    path: PathBuf,
    file: File,
    lines: Vec<Value>,
    clock: SharedClock,
    retry_until_nanos: f64,
}

impl Lines {
    fn create(args: &CompareArgs, runtime: &Runtime) -> Result<Self, BenchError> {
        let io = |error: std::io::Error| BenchError::Process { file: args.results.clone(), error: error.to_string() };
        for dir in [&args.results, &args.dir] {
            std::fs::create_dir_all(dir).map_err(io)?;
        }
        let path = args.results.join(format!("{}.jsonl", local_time(runtime.clock().now_millis()).format("%Y%m%d-%H%M%S")));
        let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(io)?;
        let clock = runtime.clock().clone();
        let retry_until_nanos = clock.nanos() as f64 + args.retry_minutes * 60e9;
        Ok(Self { path, file, lines: Vec::new(), clock, retry_until_nanos })
    }

    fn add(&mut self, line: Value) -> Result<(), BenchError> {
        let written = writeln!(self.file, "{line}");
        written.map_err(|error| BenchError::Process { file: self.path.clone(), error: error.to_string() })?;
        self.lines.push(line);
        Ok(())
    }

    /// Runs a workload; again while the machine disturbs it. A void run is kept with its reason. So is one that failed: no figure
    /// is a result too, and the others still count.
    fn measure(&mut self, workload: &Workload, line: &[String], contender: &str, round: u32, retries: u32) -> Result<(), BenchError> {
        for tried in 0..=retries {
            super::say(&format!("{} {contender}: bench {}", workload.id, line.join(" ")))?;
            let mut result = match measured(workload.id, line) {
                Ok(result) => result,
                Err(error) => json!({"id": workload.id, "failed": error.to_string()}),
            };
            let void = void(&result);
            result["contender"] = contender.into();
            result["round"] = round.into();
            result["void"] = void.clone().into();
            self.add(result)?;
            if void.is_none() || tried == retries || self.clock.nanos() as f64 > self.retry_until_nanos {
                break;
            }
        }
        Ok(())
    }
}

fn void(line: &Value) -> Option<String> {
    if let Some(failed) = line["failed"].as_str() {
        return Some(failed.to_owned());
    }
    let over = |name: &str, max: f64| {
        let percent = line["machine"][name].as_f64()?;
        (percent > max).then(|| format!("{name} {percent:.1}"))
    };
    over("steal_percent", STEAL_PERCENT_MAX).or_else(|| over("foreign_cpu_percent", FOREIGN_CPU_PERCENT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_run_is_void() {
        let run = |steal: f64, foreign: f64| json!({"machine": {"steal_percent": steal, "foreign_cpu_percent": foreign}});
        assert_eq!(void(&run(1.9, 4.9)), None);
        assert_eq!(void(&run(2.1, 0.0)).as_deref(), Some("steal_percent 2.1"));
        assert_eq!(void(&run(0.0, 5.1)).as_deref(), Some("foreign_cpu_percent 5.1"));
        assert_eq!(void(&json!({"failed": "it fell"})).as_deref(), Some("it fell"));
        assert_eq!(void(&json!({})), None, "a start has no machine figures");
    }
}
