// SPDX-License-Identifier: Apache-2.0
//! Tables by name that are asked several times for every message.
//!
//! Their hash has a random key, as the library's, and costs a fifth of it: names are short.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;

pub type NameMap<V> = HashMap<Arc<str>, V, RandomState>;

/// A `NameMap` of which each part has a lock of its own.
pub type SharedNameMap<V> = DashMap<Arc<str>, V, RandomState>;
