// SPDX-License-Identifier: Apache-2.0
//! `ferrocket`: name server and broker in one process.

use clap::Args;

use super::{Common, config_file};
use crate::server::{Fs, Machine, StartError, Wanted, plan};

#[derive(Debug, Args)]
pub(super) struct AllInOne {
    /// A broker.conf.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    file: Option<String>,
    /// Name servers to register with, instead of starting one: 127.0.0.1:9876;192.168.0.1:9876. Also NAMESRV_ADDR.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
    /// Directory of the store (storePathRootDir).
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Port of the name server of this process; 0 picks a free one.
    #[arg(long, value_name = "PORT")]
    namesrv_port: Option<u16>,
    /// Do not start on a store in which messages wait for a feature that is not served yet.
    #[arg(long)]
    refuse_unserved: bool,
    /// Print the important keys of the configuration with their values, and exit.
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important: bool,
    #[command(flatten)]
    common: Common,
}

impl AllInOne {
    pub(super) fn run(self) -> Result<(), StartError> {
        let wanted = Wanted {
            file: config_file(self.file.as_deref())?,
            namesrv_addr: self.namesrv_addr,
            data_dir: self.data,
            namesrv_port: self.namesrv_port,
            settings: self.common.settings.clone(),
            refuse_unserved: self.refuse_unserved,
        };
        // Without a file, the changes that commands made last time.
        let kept = match wanted.file {
            Some(_) => None,
            None => Fs::machine().read_kept_changes(&plan::kept_changes_path(plan::root_of(&wanted)))?,
        };
        let mut plan = plan::all_in_one(wanted, kept, &Machine::read())?;
        if let Some(namesrv) = &mut plan.namesrv
            && let Some(kept) = Fs::machine().read_kept_changes(&namesrv.file.path)?
        {
            namesrv.obey_kept(kept)?;
        }
        super::run(plan, &self.common, self.print_important)
    }
}
