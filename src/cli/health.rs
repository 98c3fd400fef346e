// SPDX-License-Identifier: Apache-2.0
//! `ferrocket health`: for HEALTHCHECK in an image that has no other tool.

use clap::Args;

use crate::server::{StartError, health};

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// The name server.
    #[arg(long, value_name = "HOST:PORT")]
    namesrv: Option<String>,
    /// The broker.
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,
}

impl HealthArgs {
    /// Without addresses, the default ports of this machine are asked: at least one server must be there, and each that is must answer.
    pub(super) fn run(self) -> Result<(), StartError> {
        let answered = health::ask(self.namesrv.as_deref(), self.broker.as_deref())?;
        super::say(&answered);
        Ok(())
    }
}
