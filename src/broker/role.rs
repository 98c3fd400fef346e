// SPDX-License-Identifier: Apache-2.0
//! Master or slave: which services run in which role, and the change from one to the other while the broker runs. In the original
//! BrokerController#changeSpecialServiceStatus.
//!
//! A master sends slaves its log, delivers delayed messages and asks about open transactions; a slave does none of it, and follows its
//! master's log and tables. Knows in what order they start and end, not how they work.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tracing::info;

use super::replication::{metadata, slave};
use super::{Broker, transaction};
use crate::config::{BrokerConfig, BrokerRole};
use crate::runtime::Parker;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Slave,
}

impl Role {
    pub fn of(config: &BrokerConfig) -> Self {
        match config.broker_role {
            BrokerRole::AsyncMaster | BrokerRole::SyncMaster => Self::Master,
            BrokerRole::Slave => Self::Slave,
        }
    }
}

/// The role of a broker, under the lock that changes of it take.
#[derive(Debug)]
pub(super) struct RoleState {
    role: Role,
    /// It starts nothing any more.
    is_closed: bool,
}

impl RoleState {
    pub(super) fn new(role: Role) -> Mutex<Self> {
        Mutex::new(Self { role, is_closed: false })
    }
}

impl Broker {
    /// As requests see it: a slave's log is a copy.
    pub fn is_slave(&self) -> bool {
        self.store.is_copy()
    }

    pub fn role(&self) -> Role {
        self.standing.lock().role
    }

    /// From now on this role. When it returns, what the new role runs has started from its tables as they are, and of what it does not
    /// run nothing is under way and nothing follows. Waits for the piece of work that is under way, which may wait for the disk; an
    /// error says that a thread could not be started, and the role is what it was.
    pub fn change_role(self: &Arc<Self>, role: Role) -> io::Result<()> {
        let mut standing = self.standing.lock();
        if standing.role == role || standing.is_closed {
            return Ok(());
        }
        stop(self, standing.role);
        if let Err(error) = start(self, role) {
            stop(self, role);
            start(self, standing.role)?;
            return Err(error);
        }
        info!(?role, "the role has changed");
        standing.role = role;
        Ok(())
    }

    /// Before the start: it begins as a slave, whatever the configuration says that it is to be.
    pub fn begin_as_slave(&self) {
        self.standing.lock().role = Role::Slave;
        self.store.set_copy(true);
    }

    /// `brokerRole` by command: with SLAVE a master takes nothing any more, at once, as in the original. All else of a role begins with a start.
    pub(super) fn obey_role(&self, config: &BrokerConfig) {
        let standing = self.standing.lock();
        if standing.role == Role::Master {
            self.store.set_copy(Role::of(config) == Role::Slave);
        }
    }

    /// Starts what the role runs, once, when the store runs.
    pub(super) fn start_role(self: &Arc<Self>) -> io::Result<()> {
        start(self, self.standing.lock().role)
    }

    /// Clients may be told of this broker: it begins what it does by itself.
    pub(super) fn end_isolation(self: &Arc<Self>) -> io::Result<()> {
        let standing = self.standing.lock();
        if standing.role == Role::Master && !standing.is_closed {
            start_by_itself(self)?;
        }
        self.members.end_isolation();
        Ok(())
    }

    /// The store is to be closed: no role runs anything any more.
    pub(super) fn end_role(&self) {
        let mut standing = self.standing.lock();
        stop(self, standing.role);
        standing.is_closed = true;
    }
}

fn start(broker: &Arc<Broker>, role: Role) -> io::Result<()> {
    match role {
        Role::Master => {
            if broker.store.is_copy() {
                broker.transactions.reopen(&broker.consumer_offsets).map_err(io::Error::other)?;
            }
            broker.store.set_copy(false);
            if !broker.members.is_isolated() {
                start_by_itself(broker)?;
            }
            listen_to_slaves(broker)
        }
        Role::Slave => {
            metadata::start(broker, slave::start(broker));
            Ok(())
        }
    }
}

/// What a master does by itself.
fn start_by_itself(broker: &Arc<Broker>) -> io::Result<()> {
    broker.schedule.start(Arc::clone(&broker.store), &broker.runtime)?;
    transaction::check::start(broker)
}

/// Where the machine chose the broker's port it chooses this one, too: that port says nothing of its neighbours.
fn listen_to_slaves(broker: &Arc<Broker>) -> io::Result<()> {
    let is_any = broker.started_with.listen_port == 0 && broker.started_with.ha_listen_port <= 0;
    let wanted = if is_any { 0 } else { broker.config.load().ha_listen_port };
    let port = broker.slaves.start(u16::try_from(wanted).unwrap_or(0))?;
    broker.config.assume(|config| config.ha_listen_port = i32::from(port));
    Ok(())
}

fn stop(broker: &Broker, role: Role) {
    match role {
        Role::Master => {
            broker.slaves.stop();
            broker.schedule.stop();
            broker.transactions.stop(broker.store_host());
        }
        Role::Slave => broker.slave.stop(),
    }
}

/// Whether a service may work now. Its thread starts with the first duty and ends with the runtime; off duty it does no more than bring
/// to the disk what it has done before.
#[derive(Debug)]
pub struct Duty {
    is_on: Mutex<bool>,
    has_thread: AtomicBool,
    bell: Parker,
}

impl Duty {
    /// Off; `bell` wakes the thread.
    pub fn new(bell: Parker) -> Self {
        Self { is_on: Mutex::new(false), has_thread: AtomicBool::new(false), bell }
    }

    /// The service may work. `start_thread` is called when there is no thread yet.
    pub fn begin(&self, start_thread: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        *self.is_on.lock() = true;
        if !self.has_thread.swap(true, Ordering::AcqRel) {
            start_thread().inspect_err(|_| {
                self.has_thread.store(false, Ordering::Release);
                self.end();
            })?;
        }
        self.bell.unpark();
        Ok(())
    }

    /// To be held for each piece of work; `None`: it may not be done.
    pub fn hold(&self) -> Option<MutexGuard<'_, bool>> {
        Some(self.is_on.lock()).filter(|is_on| **is_on)
    }

    /// When this returns no piece of work is under way, and none follows.
    pub fn end(&self) {
        *self.is_on.lock() = false;
    }
}
