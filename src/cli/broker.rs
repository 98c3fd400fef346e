// SPDX-License-Identifier: Apache-2.0
//! `ferrocket broker`: the flags of mqbroker.

use clap::Args;

use super::{Common, config_file};
use crate::server::{Machine, StartError, Wanted, plan};

#[derive(Debug, Args)]
pub(super) struct BrokerArgs {
    /// A broker.conf.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    file: Option<String>,
    /// Name servers to register with: 127.0.0.1:9876;192.168.0.1:9876. Also NAMESRV_ADDR.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
    /// Directory of the store (storePathRootDir).
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Do not start on a store in which messages wait for a feature that is not served yet.
    #[arg(long)]
    refuse_unserved: bool,
    /// Print the important keys of the configuration with their values, and exit.
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important: bool,
    #[command(flatten)]
    common: Common,
}

impl BrokerArgs {
    pub(super) fn run(self) -> Result<(), StartError> {
        let wanted = Wanted {
            file: config_file(self.file.as_deref())?,
            namesrv_addr: self.namesrv_addr,
            data_dir: self.data,
            namesrv_port: None,
            settings: self.common.settings.clone(),
            refuse_unserved: self.refuse_unserved,
        };
        super::run(plan::broker(wanted, &Machine::read())?, &self.common, self.print_important)
    }
}
