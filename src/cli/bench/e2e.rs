// SPDX-License-Identifier: Apache-2.0
//! `bench e2e`: an open loop of sends, and groups of consumers at the tail by long polling.

use std::net::SocketAddr;

use clap::Args;

use super::flow::{Flow, Load};
use super::{BenchError, CommonArgs};
use crate::runtime::Runtime;

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct E2eArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Messages per second of all connections together
    #[arg(long, default_value_t = 10_000.0)]
    pub(super) rate: f64,
    /// Groups that each consume everything
    #[arg(long, default_value_t = 1)]
    pub(super) groups: usize,
    /// Connections of each group
    #[arg(long, default_value_t = 1)]
    pub(super) consumers: usize,
    /// They consume from there: a slave of the broker, so that the latency holds the replication too
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) consume_addr: Option<SocketAddr>,
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

pub(super) async fn run(args: &E2eArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let flow = Flow {
        workload: "e2e",
        common: &args.common,
        topics: 1,
        body_bytes: args.body_bytes,
        load: Load::Open { per_second: args.rate },
        groups: args.groups,
        consumers: args.consumers,
        consume_addr: args.consume_addr.unwrap_or(args.common.addr),
        batch: args.batch,
        warmup_seconds: args.warmup_seconds,
        seconds: args.seconds,
    };
    flow.run(runtime).await
}
