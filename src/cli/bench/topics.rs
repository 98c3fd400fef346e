// SPDX-License-Identifier: Apache-2.0
//! `bench topics`: topics made in one go, then sent to and consumed from all at once.

use clap::Args;

use super::flow::{Flow, Load};
use super::{BenchError, CommonArgs};
use crate::runtime::Runtime;

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct TopicsArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Their number; each has --queues queues
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) topics: u32,
    /// Requests in flight on each producer's connection
    #[arg(long, default_value_t = 16)]
    pub(super) depth: usize,
    /// Messages per second, whatever the answers do (default: as fast as they come)
    #[arg(long)]
    pub(super) rate: Option<f64>,
    /// Groups that each consume everything; 0 only sends
    #[arg(long, default_value_t = 1)]
    pub(super) groups: usize,
    /// Connections of each group
    #[arg(long, default_value_t = 8)]
    pub(super) consumers: usize,
    /// Messages asked for in one pull
    #[arg(long, default_value_t = 32)]
    pub(super) batch: i32,
    #[arg(long, default_value_t = 1024)]
    pub(super) body_bytes: usize,
    #[arg(long, default_value_t = 10.0)]
    pub(super) seconds: f64,
    /// Sent first and not counted
    #[arg(long, default_value_t = 1.0)]
    pub(super) warmup_seconds: f64,
}

pub(super) async fn run(args: &TopicsArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let flow = Flow {
        workload: "topics",
        common: &args.common,
        topics: args.topics,
        body_bytes: args.body_bytes,
        load: args.rate.map_or(Load::Closed { depth: args.depth.max(1) }, |per_second| Load::Open { per_second }),
        groups: args.groups,
        consumers: args.consumers,
        consume_addr: args.common.addr,
        batch: args.batch,
        warmup_seconds: args.warmup_seconds,
        seconds: args.seconds,
    };
    flow.run(runtime).await
}
