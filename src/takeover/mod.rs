// SPDX-License-Identifier: Apache-2.0
//! A running master hands its place over to the broker of this process, while clients go on.
//!
//! The order is what makes it safe. First all of its log and its tables are copied, and nothing there changes. Then this broker stands at
//! the name servers in its place and passes every connection on to it, until clients have asked for their routes again. Then requests are
//! held, its log is closed, the rest copied and looked through, and the connections end: who comes back is served here. Whatever goes
//! wrong before that, the old master gets its place and its permission back.

mod carried;
pub mod keys;
mod logs;
pub mod old_master;
mod progress;
mod relay;

use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::net::unix::pipe::Receiver;
use tracing::warn;

use crate::admin::AdminError;
use crate::broker::Broker;
use crate::broker::role::Role;
use carried::{Carried, TableState};
use old_master::OldMaster;
use progress::CopyBar;
use relay::Relay;

/// Clients ask name servers for their routes every 30 s.
pub const SETTLE: Duration = Duration::from_secs(35);
/// How often the old master is asked where its log ends.
const LOOK: Duration = Duration::from_secs(1);
/// And while requests are held.
const HELD_LOOK: Duration = Duration::from_millis(20);
/// Requests that were passed on are answered within it; who waits longer hears of a closed connection, and tries again.
const ANSWERS_MAX: Duration = Duration::from_millis(100);
/// Closed, the old log must have been copied within it, tables too. Beyond it the old master serves again.
const HELD_MAX: Duration = Duration::from_secs(10);
/// The tables may take so long when nobody waits for them.
const TABLES_MAX: Duration = Duration::from_secs(60);
/// Looks at the tables for each time that they are asked for.
const LOOKS_PER_COPY: u32 = 25;
/// So often in a row its end must be the same, with nothing under way there.
const SAME_ENDS: u32 = 3;
/// So much may be missing when connections are passed on.
const NEARLY_BYTES: i64 = 1024 * 1024;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub from: String,
    /// Without it the operator's key is waited for.
    pub is_switch: bool,
    pub settle: Duration,
    pub is_terminal: bool,
}

/// What of the old master must be undone when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Copying,
    Moving,
    Over,
}

pub struct Story {
    pub old: OldMaster,
    wish: Wish,
    /// Where both are registered.
    name_servers: String,
    stage: Stage,
    relays: Vec<Relay>,
    /// Of the old log.
    begin: i64,
}

/// The end of it, as the report says it.
pub struct HandedOver {
    pub sockets: Vec<TcpListener>,
    pub end: i64,
    pub held: Duration,
}

fn said(old: &OldMaster, error: &AdminError) -> String {
    format!("the old master at {}: {error}", old.addr)
}

impl Story {
    pub fn new(old: OldMaster, wish: Wish, name_servers: String) -> Self {
        Self { old, wish, name_servers, stage: Stage::Copying, relays: Vec::new(), begin: 0 }
    }

    /// From a slave that does not run yet to a master that nobody listens for yet. `sockets`: the port of each at the old master.
    pub async fn run(&mut self, broker: &Arc<Broker>, sockets: Vec<(TcpListener, u16)>, say: &dyn Fn(&str)) -> Result<HandedOver, String> {
        self.copy(broker, say).await?;
        let carried = self.tables_carried(broker, TableState::Moving, TABLES_MAX).await?;
        say(&format!("carried: {}", told(carried)));
        if !self.wish.is_switch {
            self.wait_for_key(broker, say).await?;
        }
        self.move_clients(broker, sockets, say).await?;
        self.hand_over(broker, say).await
    }

    async fn copy(&mut self, broker: &Arc<Broker>, say: &dyn Fn(&str)) -> Result<(), String> {
        let mut progress = CopyBar::new(self.wish.is_terminal);
        loop {
            let log = self.old.log().await.map_err(|error| said(&self.old, &error))?;
            let here = broker.store.max_phy_offset();
            self.begin = log.begin;
            if here == 0 && log.end > 0 {
                // Its first file may be deleted before the copy begins.
                broker.slave.begin_at(log.begin);
            }
            // Not before it knows where to begin.
            broker.slave.learn_master(Some(self.old.addr.clone()), Some(self.old.ha_addr.clone()));
            if here > 0 && broker.store.min_phy_offset() > log.begin {
                let begin = broker.store.min_phy_offset();
                return Err(format!("the log here begins at {begin}, and the old one at {}: give it an empty directory", log.begin));
            }
            if let Some(line) = progress.line(log.end, here.max(log.begin), broker.clock.nanos()) {
                say(&line);
            }
            if log.end - here.max(log.begin) <= NEARLY_BYTES && (here > 0 || log.end == 0) {
                return Ok(());
            }
            broker.clock.sleep(LOOK).await;
        }
    }

    /// Asks for the tables until all of them are here.
    async fn tables_carried(&self, broker: &Arc<Broker>, tables: TableState, patience: Duration) -> Result<Carried, String> {
        let began = broker.clock.nanos();
        let mut looks = 0;
        loop {
            if looks % LOOKS_PER_COPY == 0 {
                broker.slave.copy_tables();
            }
            looks += 1;
            match carried::compare(&self.old, broker, tables).await.map_err(|error| said(&self.old, &error))? {
                Ok(carried) => return Ok(carried),
                Err(missing) if elapsed(broker, began) > patience => return Err(format!("not everything was carried: {missing}")),
                Err(_) => broker.clock.sleep(HELD_LOOK).await,
            }
        }
    }

    async fn wait_for_key(&self, broker: &Arc<Broker>, say: &dyn Fn(&str)) -> Result<(), String> {
        if !self.wish.is_terminal {
            say("copied, and followed from now on: end this with SIGTERM and run it with --switch to take over");
            return std::future::pending().await;
        }
        say("copied, and followed from now on: press Enter to take over, Ctrl-C to leave the old master as it is");
        let key = async {
            let flags = OFlags::NONBLOCK.bits() as i32;
            let terminal = std::fs::File::options().read(true).custom_flags(flags).open("/dev/tty")?;
            Receiver::from_file_unchecked(terminal)?.read_u8().await
        };
        key.await.map_err(|error| format!("no key can be read: {error}"))?;
        let log = self.old.log().await.map_err(|error| said(&self.old, &error))?;
        match log.end - broker.store.max_phy_offset() {
            ..=NEARLY_BYTES => Ok(()),
            behind => Err(format!("{behind} bytes of the old log are missing: its connection broke; see the log")),
        }
    }

    /// This broker stands in the old one's place, and passes on what comes.
    async fn move_clients(&mut self, broker: &Arc<Broker>, sockets: Vec<(TcpListener, u16)>, say: &dyn Fn(&str)) -> Result<(), String> {
        say(&format!("the old master's place is taken; should this process be killed: {}", self.old.restore_by_hand()));
        self.stage = Stage::Moving;
        let host = self.old.addr.rsplit_once(':').map_or("", |(host, _)| host);
        for (socket, port) in sockets {
            self.relays.push(Relay::start(socket, format!("{host}:{port}"), &broker.runtime));
        }
        // Its slaves stay with it for so long.
        let (ha_host, ha_port) = {
            let config = broker.config.load();
            (config.broker_ip2.clone(), config.ha_listen_port)
        };
        let (old_host, old_port) = self.old.ha_addr.rsplit_once(':').unwrap_or_default();
        let old_host = Some(self.old.key("brokerIP2")).filter(|host| !host.is_empty()).unwrap_or(old_host);
        broker.config.assume(|config| {
            config.namesrv_addr.clone_from(&self.name_servers);
            (config.broker_ip2, config.ha_listen_port) = (old_host.to_owned(), old_port.parse().unwrap_or(0));
        });
        broker.register_where_configured();
        announced(broker).await;
        self.old.leave_place().await.map_err(|error| said(&self.old, &error))?;
        broker.config.assume(|config| (config.broker_ip2, config.ha_listen_port) = (ha_host, ha_port));
        let unreached = broker.unreached_name_servers();
        if !unreached.is_empty() {
            return Err(format!("this broker cannot register with {}: see the log", unreached.join(", ")));
        }
        say(&format!("clients are passed on to the old master for {:?}, until they know this address", self.wish.settle));
        broker.clock.sleep(self.wish.settle).await;
        Ok(())
    }

    async fn hand_over(&mut self, broker: &Arc<Broker>, say: &dyn Fn(&str)) -> Result<HandedOver, String> {
        let began = broker.clock.nanos();
        self.relays.iter().for_each(|relay| relay.hold(true));
        broker.clock.sleep(ANSWERS_MAX).await;
        self.old.freeze().await.map_err(|error| said(&self.old, &error))?;
        let end = self.end_copied(broker, began).await?;
        let left = HELD_MAX.saturating_sub(elapsed(broker, began));
        let carried = self.tables_carried(broker, TableState::Still, left).await?;
        // From here to the end of the change nothing is waited for that a signal could end.
        broker.change_role(Role::Master).map_err(|error| format!("this broker cannot become the master: {error}"))?;
        self.stage = Stage::Over;
        let mut sockets = Vec::new();
        for relay in self.relays.drain(..) {
            sockets.push(relay.end().await.ok_or("a port was lost: see the log")?);
        }
        say(&format!("carried: {}, {} open transactions", told(carried), broker.transactions.open_count()));
        broker.announce();
        Ok(HandedOver { sockets, end, held: elapsed(broker, began) })
    }

    /// Where both logs end, and the old one for good.
    async fn end_copied(&self, broker: &Arc<Broker>, began: u64) -> Result<i64, String> {
        let (mut same, mut last) = (0, -1);
        loop {
            let log = self.old.log().await.map_err(|error| said(&self.old, &error))?;
            let here = broker.store.max_phy_offset();
            same = if log.end == last && !log.is_busy && here == log.end { same + 1 } else { 0 };
            last = log.end;
            if same == SAME_ENDS {
                break;
            }
            if elapsed(broker, began) > HELD_MAX {
                return Err(format!("the old log ends at {} and the one here at {here}, after {HELD_MAX:?}", log.end));
            }
            broker.clock.sleep(HELD_LOOK).await;
        }
        let store = Arc::clone(&broker.store);
        broker.runtime.spawn_blocking("flush the log", move || store.flush_log()).join().await;
        let flushed = broker.store.flushed_offset();
        if flushed < last { Err(format!("the disk here has the log up to {flushed} of {last}: see the log")) } else { Ok(last) }
    }

    /// Reads both logs once more; a sentence of what was found. The old one must not have grown.
    pub async fn look_through(&self, broker: &Arc<Broker>, end: i64) -> Result<String, String> {
        let equal = logs::compare(broker, &self.old.ha_addr, self.begin, end).await?;
        let log = self.old.log().await.map_err(|error| said(&self.old, &error))?;
        if log.end != end {
            return Err(format!("the old log has grown from {end} to {} since it was closed: what it took then is not here", log.end));
        }
        Ok(format!("the two logs are equal from {} to {} (CRC-32 {:08x} of both)", equal.begin, equal.end, equal.crc32))
    }

    /// After a failure or a signal: the old master is what it was. Clients that know this address already are passed on until they have
    /// asked again.
    pub async fn restore(&mut self, broker: &Arc<Broker>, say: &dyn Fn(&str)) {
        if self.stage != Stage::Moving {
            return;
        }
        if let Err(error) = self.old.restore().await {
            say(&format!("{}: IT IS NOT AS IT WAS: {}", said(&self.old, &error), self.old.restore_by_hand()));
            return;
        }
        self.stage = Stage::Over;
        self.relays.iter().for_each(|relay| relay.hold(false));
        broker.unregister().await;
        // It may have registered before this broker left.
        if let Err(error) = self.old.restore().await {
            warn!(%error, "the old master is told once more who it is");
        }
        say(&format!("the old master has its place and its permission back; clients are passed on to it for {:?} more", self.wish.settle));
        broker.clock.sleep(self.wish.settle).await;
    }
}

fn told(Carried { topics, groups, offsets, delay_levels }: Carried) -> String {
    format!("{topics} topics, {groups} groups, {offsets} consumer offsets, {delay_levels} delay levels")
}

fn elapsed(broker: &Broker, since_nanos: u64) -> Duration {
    Duration::from_nanos(broker.clock.nanos() - since_nanos)
}

/// Name servers have heard of it, or have not in time.
async fn announced(broker: &Arc<Broker>) {
    let (told, heard) = tokio::sync::oneshot::channel();
    broker.announce_then(move |_| {
        let _ = told.send(());
    });
    let _ = heard.await;
}
