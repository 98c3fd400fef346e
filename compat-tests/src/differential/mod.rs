// SPDX-License-Identifier: Apache-2.0
//! The differential runner: scripted conversations held with the original and with Ferrocket, each on a fresh store, and the
//! answers compared field by field. `script` reads the conversations, `run` holds them, `normalise` takes the volatile parts
//! out of an answer, `compare` finds and judges the differences.

pub mod compare;
pub mod normalise;
pub mod run;
pub mod script;
