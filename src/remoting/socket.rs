// SPDX-License-Identifier: Apache-2.0
//! The halves of a socket that a connection reads and writes; the model (`races/`) has others.

pub(super) use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
