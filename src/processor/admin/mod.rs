// SPDX-License-Identifier: Apache-2.0
//! What administrators' tools ask, one file per thing they ask about. Knows no hot path.

pub(super) mod broker;
pub(super) mod consumer;
pub(super) mod group;
pub(super) mod runtime_info;
pub(super) mod topic;

/// Of the changes that one command makes at once the log names so many.
const NAMED_MAX: usize = 64;
