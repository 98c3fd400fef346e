// SPDX-License-Identifier: Apache-2.0
//! The log of a master on its slaves: the original's DefaultHAService, at either end.

pub mod metadata;
pub mod slave;
