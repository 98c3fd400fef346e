// SPDX-License-Identifier: Apache-2.0
//! The words of the command line, one file per sub-command. Decides nothing about how servers run.

mod bench;
mod broker;
mod health;
mod log;
mod namesrv;
mod server;
mod takeover;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config;
use crate::server::{ConfigFile, Fs, Plan, Screen, StartError};

/// A drop-in RocketMQ name server and broker.
///
/// Without a command: both in one process, ready for clients at 127.0.0.1:9876, with the data in ./ferrocket-data.
#[derive(Debug, Parser)]
#[command(name = "ferrocket", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    all_in_one: server::AllInOne,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a name server alone, as mqnamesrv does.
    Namesrv(namesrv::NamesrvArgs),
    /// Run a broker alone, as mqbroker does.
    Broker(broker::BrokerArgs),
    /// Take over from a running master, of the original or not, while clients go on.
    Takeover(takeover::TakeoverArgs),
    /// Put load on a broker and measure it.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Ask the servers of this machine whether they serve; exit 0 when they do.
    Health(health::HealthArgs),
}

/// Whether a command line is one, without running it.
#[cfg(test)]
fn parse(words: &[&str]) -> Result<(), clap::Error> {
    Line::try_parse_from(words).map(|_| ())
}

/// Flags of every command that runs a server.
#[derive(Debug, Args)]
struct Common {
    /// Set one key of the configuration, over the file; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// How log lines are written: text for people, json for machines.
    #[arg(long, value_name = "FORMAT", env = "FERROCKET_LOG_FORMAT", value_enum, default_value_t = log::Format::Text)]
    log_format: log::Format,
    /// What is logged: a level, or directives as in RUST_LOG (which counts when this is not given).
    #[arg(long = "log", value_name = "LEVEL")]
    log_filter: Option<String>,
    /// Print every key of the configuration with its value, and exit.
    #[arg(short = 'p', long = "printConfigItem")]
    print_all: bool,
    /// Say how this start differs from the original's defaults, and what became of every key of the file.
    #[arg(short = 'v', long)]
    verbose: bool,
}

/// Reads the command line and runs what it says.
pub fn main() -> ExitCode {
    let line = Line::parse();
    let outcome = match line.command {
        None => line.all_in_one.run(),
        Some(Command::Namesrv(namesrv)) => namesrv.run(),
        Some(Command::Broker(broker)) => broker.run(),
        Some(Command::Health(health)) => health.run(),
        Some(Command::Takeover(takeover)) => takeover.run(),
        Some(Command::Bench(bench)) => return bench.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::from(1)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one sentence of a failed start, and what a configuration that is printed makes one doubt")]
fn say_error(error: &dyn std::fmt::Display) {
    eprintln!("ferrocket: {error}");
}

/// Answers of the command line, and the lines that tools wait for. Who closed stdout, as `-p | head` does, wants no more of them.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Runs what was planned until a signal ends it; or only prints it.
fn run(plan: Plan, common: &Common, print_important: bool) -> Result<(), StartError> {
    if common.print_all || print_important {
        for doubt in crate::server::look_through(&plan)? {
            say_error(&doubt);
        }
        let broker = plan.broker.as_ref().map(|broker| ("broker", config::printed(&broker.config, print_important)));
        let namesrv = plan.namesrv.as_ref().map(|namesrv| ("name server", config::printed(&namesrv.config, print_important)));
        // Two servers have keys of the same names: each list says whose it is. One alone is what the original prints.
        let with_titles = broker.is_some() && namesrv.is_some();
        for (title, config) in [broker, namesrv].into_iter().flatten() {
            if with_titles {
                say(&format!("# {title}"));
            }
            say(config.trim_end());
        }
        return Ok(());
    }
    log::start(common.log_format, common.log_filter.as_deref())?;
    let screen = Screen { is_terminal: std::io::stdout().is_terminal(), is_verbose: common.verbose };
    crate::server::run(plan, screen, &say)
}

/// The file of -c; a file that is named must be there.
fn config_file(path: Option<&str>) -> Result<Option<ConfigFile>, StartError> {
    path.map(|path| Fs::machine().read_config(path)).transpose()
}
