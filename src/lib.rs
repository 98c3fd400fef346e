// SPDX-License-Identifier: Apache-2.0
//! Ferrocket: a drop-in RocketMQ name server and broker.
//!
//! The rooms, from the ground up; each may only know those above it in this list (see `ARCHITECTURE.md`).

pub mod runtime;

pub mod config;

pub mod remoting;
pub mod store;

pub mod admin;
pub mod broker;
pub mod namesrv;

pub mod processor;

pub mod cli;
pub mod server;
pub mod takeover;
