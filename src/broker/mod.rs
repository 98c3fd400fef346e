// SPDX-License-Identifier: Apache-2.0
//! The broker's services: topics, groups, offsets, clients, held pulls, delayed messages. None of them answers a client.

pub mod attributes;
pub mod flow_control;
pub mod persist;
pub mod stats;
pub mod topics;
