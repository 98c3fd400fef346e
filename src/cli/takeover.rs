// SPDX-License-Identifier: Apache-2.0
//! `ferrocket takeover`: asks the old master, plans a broker like it, and hands both to the server.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use super::{Common, config_file, log};
use crate::runtime::{Runtime, SystemClock};
use crate::server::{ConfigFile, Machine, Plan, Screen, StartError, Wanted, plan};
use crate::takeover::old_master::OldMaster;
use crate::takeover::{SETTLE, Wish, keys};

#[derive(Debug, Args)]
pub(super) struct TakeoverArgs {
    /// The master that is taken over.
    #[arg(long, value_name = "HOST:PORT")]
    from: String,
    /// The name servers that know it; by default those of its own configuration.
    #[arg(short = 'n', long = "namesrv", alias = "namesrvAddr", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
    /// Directory of the new store (storePathRootDir): an empty one, or that of a takeover from this master that was ended.
    #[arg(long, value_name = "DIR")]
    data: String,
    /// Only say what would be done and what stands in the way; changes nothing.
    #[arg(long)]
    check: bool,
    /// Take over as soon as everything is copied, without waiting for a key.
    #[arg(long, conflicts_with = "check")]
    switch: bool,
    /// How long clients are passed on to the old master, so that all have asked name servers for their routes once more.
    #[arg(long, value_name = "SECONDS", default_value_t = SETTLE.as_secs())]
    settle: u64,
    /// A broker.conf whose keys go before those of the old master.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl TakeoverArgs {
    pub(super) fn run(self) -> Result<(), StartError> {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let threads = threads.map_err(|error| StartError::Sentence(format!("the machine gives no threads: {error}")))?;
        let planned = threads.block_on(self.plan())?;
        // What it asked with ends before the server begins.
        drop(threads);
        let Some(plan) = planned else { return Ok(()) };
        if self.common.print_all {
            return super::run(plan, &self.common, false);
        }
        log::start(self.common.log_format, self.common.log_filter.as_deref())?;
        let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        let screen = Screen { is_terminal: std::io::stdout().is_terminal(), is_verbose: self.common.verbose };
        let wish = Wish { from: self.from, is_switch: self.switch, settle: Duration::from_secs(self.settle), is_terminal };
        crate::server::take_over(plan, wish, screen, &super::say)
    }

    /// `None`: it was only to be checked, and nothing stands in the way.
    async fn plan(&self) -> Result<Option<Plan>, StartError> {
        let runtime = Runtime::current(SystemClock::shared());
        let old = OldMaster::ask(&runtime, &self.from, self.namesrv_addr.as_deref()).await.map_err(StartError::Sentence)?;
        let name_servers = self.namesrv_addr.clone().unwrap_or_else(|| old.key("namesrvAddr").to_owned());
        if name_servers.is_empty() {
            return Err(StartError::Sentence("the old master names no name server: name those that know it with --namesrv".to_owned()));
        }
        let file = config_file(self.file.as_deref())?.unwrap_or_default();
        let unreadable = |error| StartError::Sentence(format!("{}, {error}", file.path));
        let bytes = keys::merged(&old.config, &file.bytes, &self.common.settings, &self.data, &name_servers).map_err(unreadable)?;
        let wanted = Wanted {
            file: Some(ConfigFile { path: format!("{}/broker.conf", self.data), bytes }),
            settings: self.common.settings.clone(),
            ..Wanted::default()
        };
        let plan = plan::broker(wanted, &Machine::read())?;
        if !self.check {
            return Ok(Some(plan));
        }
        crate::server::check_takeover(&old, &plan, &super::say).await?;
        super::say("nothing stands in the way, and nothing was changed");
        Ok(None)
    }
}
