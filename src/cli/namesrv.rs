// SPDX-License-Identifier: Apache-2.0
//! `ferrocket namesrv`: the flags of mqnamesrv.

use clap::Args;

use super::{Common, config_file};
use crate::server::{Machine, StartError, plan};

#[derive(Debug, Args)]
pub(super) struct NamesrvArgs {
    /// A namesrv.conf.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    file: Option<String>,
    /// Accepted as by mqnamesrv, without effect: a name server registers nowhere.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES", hide = true)]
    namesrv_addr: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl NamesrvArgs {
    pub(super) fn run(self) -> Result<(), StartError> {
        let file = config_file(self.file.as_deref())?;
        super::run(plan::namesrv(file.as_ref(), &self.common.settings, &Machine::read())?, &self.common, false)
    }
}
