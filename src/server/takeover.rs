// SPDX-License-Identifier: Apache-2.0
//! The broker of this process takes over from another one: its ports are bound before anything begins, and served when it is the master.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::broker::{Broker, VIP_DISTANCE};
use super::files::Fs;
use super::plan::BrokerPlan;
use super::{StartError, check_bind_port};
use crate::config::BROKER_NAME;
use crate::remoting::Limits;
use crate::runtime::Runtime;
use crate::takeover::Story;
use crate::takeover::old_master::OldMaster;

/// Whose log a directory holds the beginning of.
const MARK: &str = "ferrocket.takeover";

/// Everything that can be known before anything is changed, a sentence each.
pub(super) async fn obstacles(old: &OldMaster, plan: &BrokerPlan, fs: &Fs) -> Result<Vec<String>, StartError> {
    let mut found = old.obstacles().await.map_err(|error| StartError::Sentence(error.to_string()))?;
    let root = Path::new(&plan.config.store_path_root_dir);
    let mark = fs.read_table(&root.join(MARK).to_string_lossy())?;
    let is_empty = fs.is_empty_dir(Path::new(&plan.config.store_path_commit_log));
    if !is_empty && mark.as_deref() != Some(mark_of(old).as_bytes()) {
        found.push(format!("{} has messages, and not those of this master: give the new broker an empty directory", root.display()));
    }
    let port = plan.config.listen_port as u16;
    for port in [port, port.saturating_sub(VIP_DISTANCE)].into_iter().filter(|port| *port > 0) {
        let taken = check_bind_port(&plan.config.bind_address, port).err();
        found.extend(taken.map(|error| format!("{error} (--set listenPort=PORT)")));
    }
    Ok(found)
}

fn mark_of(old: &OldMaster) -> String {
    format!("{}@{}\n", old.key(BROKER_NAME), old.addr)
}

/// The directory belongs to this takeover from now on, and has the file for the next start.
pub(super) async fn begin(old: &OldMaster, plan: &BrokerPlan, fs: &Fs) -> Result<(), StartError> {
    if let Some(obstacle) = obstacles(old, plan, fs).await?.into_iter().next() {
        return Err(StartError::Sentence(obstacle));
    }
    let path = Path::new(&plan.config.store_path_root_dir).join(MARK);
    let written = fs.saver(&path.to_string_lossy())(mark_of(old).as_bytes()).and_then(|()| fs.saver(&plan.file.path)(&plan.file.bytes));
    written.map_err(|error| StartError::Sentence(format!("{} cannot be written: {error}", plan.config.store_path_root_dir)))
}

/// Returns when this broker is the master and serves.
pub(super) async fn take_over(
    broker: &mut Broker,
    story: &mut Story,
    limits: &Limits,
    runtime: &Runtime,
    say: &dyn Fn(&str),
) -> Result<(), StartError> {
    let old_port: u16 = story.old.addr.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
    let sockets: Vec<TcpListener> = broker.bind().await?;
    let ports = [old_port, old_port.saturating_sub(VIP_DISTANCE)];
    broker.services.begin_as_slave();
    broker.start(None).await?;
    let sockets = sockets.into_iter().zip(ports).collect();
    let handed = story.run(&Arc::clone(&broker.services), sockets, say).await.map_err(StartError::Sentence)?;
    broker.serve(handed.sockets, Arc::clone(&broker.handler), limits, runtime)?;
    say(&format!("this broker is the master now; requests waited for {} ms", handed.held.as_millis()));
    match story.look_through(&broker.services, handed.end).await {
        Ok(equal) => say(&equal),
        Err(why) => say(&format!("NOT COMPARED TO THE END: {why}")),
    }
    say(&format!(
        "the old master at {} is read-only and takes nothing more: stop it when no client is connected to it, and do not start it again as \
         a master; start this broker next time with: ferrocket broker -c {}",
        story.old.addr, broker.file
    ));
    Ok(())
}
