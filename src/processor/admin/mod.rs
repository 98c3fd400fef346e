// SPDX-License-Identifier: Apache-2.0
//! What administrators' tools ask, one file per thing they ask about. Knows no hot path.

pub(super) mod broker;
pub(super) mod consumer;
pub(super) mod group;
pub(super) mod topic;
