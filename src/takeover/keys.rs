// SPDX-License-Identifier: Apache-2.0
//! The configuration of the broker that takes over: what the old master's says, but for where things are; over it the operator's file and
//! flags. It is what the broker is started with next time.

use crate::config::{self, BROKER_ID, BrokerConfig, Keys, Properties, PropertiesError};

/// They say where a broker is, or who runs beside it, and are not those of another machine.
const PLACES: [&str; 14] = [
    "advertise",
    "bindAddress",
    "brokerConfigPath",
    "brokerIP1",
    "brokerIP2",
    BROKER_ID,
    "configBlackList",
    "configStorePath",
    "haListenPort",
    "haMasterAddress",
    "memoryBudgetBytes",
    "namesrvAddr",
    "readOnlyCommitLogStorePaths",
    "rocketmqHome",
];

/// The text of the file. Of `old` what differs from the defaults; `file` and what follows it are the operator's.
pub fn merged(old: &Properties, file: &[u8], settings: &[String], data_dir: &str, name_servers: &str) -> Result<Vec<u8>, PropertiesError> {
    let given = Properties::parse(file)?;
    let default = BrokerConfig::default();
    let mut keys: Vec<(&str, String)> = Vec::new();
    for entry in old.iter() {
        let (key, value) = (entry.key.as_str(), entry.value.trim());
        let is_elsewhere = PLACES.contains(&key) || key.starts_with("storePath");
        // Keys of its clients and of its system are not in the list.
        let is_default = default.get(key).is_none_or(|default| default == value);
        if !value.is_empty() && !is_elsewhere && !is_default && given.get(key).is_none() {
            keys.push((key, value.to_owned()));
        }
    }
    let mut over: Vec<(&str, String)> = vec![("storePathRootDir", data_dir.to_owned()), ("namesrvAddr", name_servers.to_owned())];
    over.extend(settings.iter().filter_map(|setting| setting.split_once('=')).map(|(key, value)| (key.trim(), value.to_owned())));
    for (key, value) in over {
        keys.retain(|(known, _)| *known != key);
        keys.push((key, value));
    }
    config::edit(file, &keys)
}
