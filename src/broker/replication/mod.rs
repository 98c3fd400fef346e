// SPDX-License-Identifier: Apache-2.0
//! The log of a master on its slaves: the original's DefaultHAService, at either end.

mod feed;
mod flow;
pub mod master;
pub mod members;
pub mod metadata;
pub mod pre_online;
pub mod slave;
