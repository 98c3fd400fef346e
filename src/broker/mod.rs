// SPDX-License-Identifier: Apache-2.0
//! The broker's services: topics, groups, offsets, clients, held pulls, delayed messages. None of them answers a client.

pub mod attributes;
pub mod consumer_offsets;
pub mod consumers;
pub mod filter;
pub mod flow_control;
pub mod groups;
pub mod hold;
pub mod persist;
pub mod producers;
pub mod rebalance_lock;
pub mod registration;
pub mod retry;
pub mod stats;
pub mod to_client;
pub mod topics;
