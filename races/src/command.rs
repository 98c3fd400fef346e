// SPDX-License-Identifier: Apache-2.0
//! What is run, for how long, and from which seed.

use std::time::Duration;

use clap::Parser;

use crate::{model, stress};

#[derive(Parser)]
struct Args {
    /// For the models and the stress together
    #[arg(long, env = "TORTURE_SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Of the orders and of what clients do; by default each run takes others
    #[arg(long)]
    seed: Option<u64>,
    /// A model's name, and the schedule that failed
    #[arg(long, num_args = 2)]
    replay: Option<Vec<String>>,
    #[arg(long, value_enum, default_value = "both")]
    only: Only,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Both,
    Model,
    Stress,
}

pub(crate) fn run() {
    let args = Args::parse();
    if let Some([name, schedule]) = args.replay.as_deref() {
        return model::replay(name, schedule);
    }
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ stress::now_nanos());
    eprintln!("races: seed {seed}, {} s", args.seconds);
    let time = Duration::from_secs(args.seconds);
    let (model, stress) = match args.only {
        Only::Both => (time / 2, time / 2),
        Only::Model => (time, Duration::ZERO),
        Only::Stress => (Duration::ZERO, time),
    };
    model::run_all(seed, model);
    stress::run(seed, stress);
}
