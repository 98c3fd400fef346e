// SPDX-License-Identifier: Apache-2.0
//! How the broker stands, taken once: plain numbers for whoever shows them, now the answer to 28 and `ferrocket health`.
//!
//! Knows no key, no text and no answer's form.

use std::borrow::Cow;

use ferrocket_protocol::perm;

use super::Broker;
use super::replication::master::SlaveFigures;
use super::schedule::LevelProgress;
use super::stats::Mornings;
use crate::store::{StoreError, StoreFigures};

/// Messages are counted since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BrokerFigures {
    pub broker_name: String,
    pub broker_permission: i32,
    pub store: StoreFigures,
    pub put_total: u64,
    pub get_total: u64,
    pub mornings: Mornings,
    /// Sends that are being worked on.
    pub sends_in_flight: u64,
    pub delay_levels: Vec<LevelProgress>,
    /// Of a slave: how much of the master's log it lacks, as far as the master has said where that ends.
    pub missing_bytes: Option<i64>,
    /// Of a master, those that are connected.
    pub slaves: Vec<SlaveFigures>,
}

/// Whether a broker does what it is there for.
#[derive(Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    Serves,
    /// An operator has taken the permission to write away: it is no fault.
    KeepsMessagesAway,
    /// No message is taken, and why, for people.
    TakesNoMessages(&'a Cow<'static, str>),
}

impl BrokerFigures {
    /// Waits for the disk as `MessageStore::figures` does, and fails as that.
    pub fn of(broker: &Broker) -> Result<Self, StoreError> {
        let config = broker.config.load();
        Ok(Self {
            broker_name: broker.started_with.broker_name.clone(),
            broker_permission: config.broker_permission,
            store: broker.store.figures()?,
            put_total: broker.topics.put_total(),
            get_total: broker.stats.get_total(),
            mornings: broker.stats.mornings(),
            sends_in_flight: broker.flow_control.sends_in_flight() as u64,
            delay_levels: broker.schedule.progress(&broker.store),
            missing_bytes: broker.is_slave().then(|| broker.slave.behind_bytes(broker.store.max_phy_offset())).flatten(),
            slaves: broker.slaves.figures(),
        })
    }

    pub fn condition(&self) -> Condition<'_> {
        match &self.store.unwritable_why {
            Some(why) => Condition::TakesNoMessages(why),
            None if !perm::is_writable(self.broker_permission) => Condition::KeepsMessagesAway,
            None => Condition::Serves,
        }
    }
}
