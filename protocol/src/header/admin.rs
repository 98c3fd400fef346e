// SPDX-License-Identifier: Apache-2.0
//! What administrators ask of a broker, one room per subject.

pub mod auth;
pub mod broker;
pub mod group;
pub mod topic;
