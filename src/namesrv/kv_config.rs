// SPDX-License-Identifier: Apache-2.0
//! Small settings that administrators leave with the name server: `kvConfig.json`. Does not know where the file is.

use std::collections::BTreeMap;

use ferrocket_protocol::body::kv::{KvConfigSerializeWrapper, KvTable};
use ferrocket_protocol::fastjson;
use parking_lot::Mutex;
use tracing::error;

/// The namespace of the ordered-topic configuration: topic to `broker-a:4;broker-b:4`.
pub(super) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Writes the file, given its whole text.
pub type Save = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send>;
type Table = BTreeMap<String, BTreeMap<String, String>>;

pub struct KvConfig(Mutex<Kept>);

struct Kept {
    table: Table,
    save: Save,
}

impl KvConfig {
    /// From the file's text; `None` when there is no file yet. `Err` says what is wrong with it.
    pub fn load(text: Option<&[u8]>, save: Save) -> Result<Self, String> {
        let file: KvConfigSerializeWrapper = match text.filter(|text| !text.is_empty()) {
            Some(text) => fastjson::from_slice(text).map_err(|error| error.to_string())?,
            None => KvConfigSerializeWrapper::default(),
        };
        Ok(Self(Mutex::new(Kept { table: file.config_table, save })))
    }

    /// `None` as a value takes the key away, as in the original, where a null value reads as absent.
    pub fn put(&self, namespace: &str, key: &str, value: Option<&str>) {
        let mut kept = self.0.lock();
        let table = kept.table.entry(namespace.to_owned()).or_default();
        match value {
            Some(value) => table.insert(key.to_owned(), value.to_owned()),
            None => table.remove(key),
        };
        kept.persist();
    }

    pub fn delete(&self, namespace: &str, key: &str) {
        let mut kept = self.0.lock();
        if let Some(table) = kept.table.get_mut(namespace) {
            table.remove(key);
        }
        kept.persist();
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.0.lock().table.get(namespace)?.get(key).cloned()
    }

    /// `None`: the namespace was never used. An emptied one is an empty table.
    pub fn list(&self, namespace: &str) -> Option<KvTable> {
        self.0.lock().table.get(namespace).map(|table| KvTable { table: table.clone() })
    }
}

impl Kept {
    /// A table that cannot be written stays in memory and is written with the next change; the administrator was answered by then.
    fn persist(&mut self) {
        let file = KvConfigSerializeWrapper { config_table: self.table.clone() };
        let written = (self.save)(&fastjson::to_vec(&file));
        if let Err(why) = written {
            error!(why, "kvConfig.json could not be written");
        }
    }
}
