// SPDX-License-Identifier: Apache-2.0
//! Small settings that administrators leave with the name server: `kvConfig.json`. Does not know where the file is.

use std::collections::BTreeMap;

use ferrocket_protocol::body::kv::{KvConfigSerializeWrapper, KvTable};
use ferrocket_protocol::fastjson;
use parking_lot::Mutex;
use thiserror::Error;

/// The namespace of the ordered-topic configuration: topic to `broker-a:4;broker-b:4`.
pub(super) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Writes the file, given its whole text.
pub type Save = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send>;
type Table = BTreeMap<String, BTreeMap<String, String>>;

/// Changes wait for the disk; whoever reads does not wait for them.
pub struct KvConfig {
    table: Mutex<Table>,
    /// One change at a time: locked while the file is written.
    save: Mutex<Save>,
}

/// The change was not made.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("kvConfig.json could not be written, nothing is changed: {0}")]
pub struct NotKept(String);

impl KvConfig {
    /// From the file's text; `None` when there is no file yet. `Err` says what is wrong with it.
    pub fn load(text: Option<&[u8]>, save: Save) -> Result<Self, String> {
        let file: KvConfigSerializeWrapper = match text.filter(|text| !text.is_empty()) {
            Some(text) => fastjson::from_slice(text).map_err(|error| error.to_string())?,
            None => KvConfigSerializeWrapper::default(),
        };
        Ok(Self { table: Mutex::new(file.config_table), save: Mutex::new(save) })
    }

    /// `None` as a value takes the key away, as in the original, where a null value reads as absent.
    pub fn put(&self, namespace: &str, key: &str, value: Option<&str>) -> Result<(), NotKept> {
        self.change(|table| {
            let table = table.entry(namespace.to_owned()).or_default();
            match value {
                Some(value) => drop(table.insert(key.to_owned(), value.to_owned())),
                None => drop(table.remove(key)),
            }
        })
    }

    /// False when it was not there.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<bool, NotKept> {
        self.change(|table| table.get_mut(namespace).is_some_and(|table| table.remove(key).is_some()))
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.table.lock().get(namespace)?.get(key).cloned()
    }

    /// `None`: the namespace was never used. An emptied one is an empty table.
    pub fn list(&self, namespace: &str) -> Option<KvTable> {
        self.table.lock().get(namespace).map(|table| KvTable { table: table.clone() })
    }

    /// All of it or nothing: what cannot be written does not hold. The original logs that and keeps it until it stops.
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> Result<T, NotKept> {
        let mut save = self.save.lock();
        let mut file = KvConfigSerializeWrapper { config_table: self.table.lock().clone() };
        let outcome = change(&mut file.config_table);
        save(&fastjson::to_vec(&file)).map_err(NotKept)?;
        *self.table.lock() = file.config_table;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_change_that_cannot_be_written_is_refused_and_not_made() {
        let is_full = Arc::new(AtomicBool::new(false));
        let disk = Arc::clone(&is_full);
        let save = move |_: &[u8]| if disk.load(Ordering::SeqCst) { Err("disk full".to_owned()) } else { Ok(()) };
        let kv = KvConfig::load(None, Box::new(save)).unwrap();
        kv.put("n", "k", Some("old")).unwrap();
        is_full.store(true, Ordering::SeqCst);
        let refused = kv.put("n", "k", Some("new")).unwrap_err();
        assert_eq!(refused.to_string(), "kvConfig.json could not be written, nothing is changed: disk full");
        assert!(kv.delete("n", "k").is_err());
        assert_eq!(kv.get("n", "k").as_deref(), Some("old"));
        is_full.store(false, Ordering::SeqCst);
        kv.delete("n", "k").unwrap();
        assert_eq!(kv.get("n", "k"), None);
    }
}
