// SPDX-License-Identifier: Apache-2.0
//! `bench flush`: what an acknowledgement costs when it means that the message is on the disk.

use clap::Args;
use ferrocket_protocol::{RemotingCommand, request_code};

use super::BenchError;
use super::control::Control;
use super::send::{self, SendArgs};
use crate::runtime::Runtime;

#[derive(Debug, Args)]
pub(in crate::cli) struct FlushArgs {
    #[command(flatten)]
    pub(super) send: SendArgs,
    /// One run for each of these numbers of synchronous producers
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128, 1024])]
    producers: Vec<usize>,
}

/// As both servers print their configuration.
const SYNC_FLUSH: &str = "flushDiskType=SYNC_FLUSH";

pub(super) async fn run(args: &FlushArgs, runtime: &Runtime) -> Result<(), BenchError> {
    if !is_sync(&Control::new(args.send.common.addr, runtime)).await? {
        return Err(BenchError::Refusal(format!("the broker does not run with {SYNC_FLUSH}")));
    }
    for producers in &args.producers {
        let mut send = args.send.clone();
        send.common.connections = *producers;
        let mut report = send::measure(&send, runtime).await?;
        report.workload = "flush".to_owned();
        report.print(send.common.json)?;
    }
    Ok(())
}

pub(super) async fn is_sync(control: &Control) -> Result<bool, BenchError> {
    let config = control.ask("get the broker's configuration", RemotingCommand::request(request_code::GET_BROKER_CONFIG)).await?;
    Ok(String::from_utf8_lossy(&config.body).lines().any(|line| line.trim() == SYNC_FLUSH))
}
