// SPDX-License-Identifier: Apache-2.0
//! Pairs of text: runtime info (28), a KV namespace (219), the order config in a registration's answer (103).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    pub table: BTreeMap<String, String>,
}

/// `kvConfig.json` of the name server: namespace to key to value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KvConfigSerializeWrapper {
    pub config_table: BTreeMap<String, BTreeMap<String, String>>,
}
