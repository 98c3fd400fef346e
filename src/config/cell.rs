// SPDX-License-Identifier: Apache-2.0
//! A configuration that changes while the server runs: requests 25 and 26 of a broker, 318 and 319 of a name server.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tracing::warn;

use super::report::became;
use super::{BrokerConfig, Keys, NamesrvConfig, Properties, Standing, properties, shown};

/// Keys of one command that nobody knows and that are compared with all that are known.
const DOUBTED_KEYS_MAX: usize = 16;

pub type ConfigCell = Cell<BrokerConfig>;
pub type NamesrvConfigCell = Cell<NamesrvConfig>;

/// Writes the file that the configuration came from; given its new bytes.
type Save = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send>;
type Watcher<K> = Box<dyn Fn(&K) + Send + Sync>;
/// What the next start would say, if it refused the second values; the first ones hold now.
type Check<K> = fn(&K, &K) -> Result<(), String>;

/// The values that hold now, and the file they came from.
pub struct Cell<K> {
    now: ArcSwap<K>,
    /// Locked while the file is written; the version is not.
    file: Mutex<File>,
    version: Mutex<Version>,
    watchers: Mutex<Vec<Watcher<K>>>,
    check: Option<Check<K>>,
}

struct File {
    bytes: Vec<u8>,
    save: Option<Save>,
}

/// How often the configuration was changed, and when last: the data version that 26 answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub timestamp_millis: i64,
    pub counter: i64,
}

/// A key that a command gave another value, as a log may show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub key: &'static str,
    pub from: String,
    pub to: String,
}

/// Why a change by command was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    #[error("Can not update config in black list.")]
    BlackListed,
    #[error("{0}")]
    Unreadable(String),
    #[error("{key}={value} is wrong: it must be {kind}")]
    Wrong { key: String, value: String, kind: &'static str },
    #[error("{0}")]
    Refused(String),
    #[error("the configuration file could not be written: {0}")]
    NotSaved(String),
}

impl<K: Keys> Cell<K> {
    /// A configuration that no file backs: changes live as long as the process.
    pub fn new(config: K) -> Self {
        Self {
            now: ArcSwap::from_pointee(config),
            file: Mutex::new(File { bytes: Vec::new(), save: None }),
            version: Mutex::new(Version { timestamp_millis: 0, counter: 0 }),
            watchers: Mutex::new(Vec::new()),
            check: None,
        }
    }

    /// A configuration whose changes are written back into `bytes`, the text it was read from.
    pub fn backed(config: K, bytes: Vec<u8>, started_millis: i64, save: Save) -> Self {
        let cell = Self::new(config);
        *cell.file.lock() = File { bytes, save: Some(save) };
        cell.version.lock().timestamp_millis = started_millis;
        cell
    }

    /// Refuses changes after which the next start would not come up.
    pub fn checked(mut self, check: Check<K>) -> Self {
        self.check = Some(check);
        self
    }

    /// The values that hold at this moment. Load once per request, and never keep the guard.
    pub fn load(&self) -> Guard<Arc<K>> {
        self.now.load()
    }

    /// Fills in what only the start can know (a port that the machine chose); not a change, and not written back.
    pub fn assume(&self, known: impl FnOnce(&mut K)) {
        let mut config = K::clone(&self.now.load());
        known(&mut config);
        self.now.store(Arc::new(config));
    }

    /// Called with the new values, which hold by then, after each change by command.
    pub fn on_change(&self, watcher: Watcher<K>) {
        self.watchers.lock().push(watcher);
    }

    pub fn version(&self) -> Version {
        *self.version.lock()
    }

    /// The body of 25 or 318: Java properties. Blocks on the disk. All of it is obeyed or none; keys that nobody knows are passed over, as in Java.
    ///
    /// Differs from Java on purpose: a wrong value is refused instead of passed over, and the file keeps the operator's
    /// comments and order instead of being replaced by a list of every key.
    /// Answers what is other than before, for whoever knows who asked.
    pub fn update(&self, body: &[u8], now_millis: i64) -> Result<Vec<Changed>, UpdateError> {
        let wanted = Properties::parse(body).map_err(|error| UpdateError::Unreadable(error.to_string()))?;
        let mut file = self.file.lock();
        let mut config = K::clone(&self.now.load());
        if config.black_list().iter().any(|key| wanted.get(key).is_some()) {
            return Err(UpdateError::BlackListed);
        }
        let mut changes = Vec::new();
        let mut unknown = 0;
        for entry in wanted.iter() {
            let wrong = |kind| UpdateError::Wrong { key: entry.key.clone(), value: entry.value.trim().to_owned(), kind };
            if config.set(&entry.key, &entry.value).map_err(wrong)? {
                changes.push((entry.key.as_str(), entry.value.trim().to_owned()));
                continue;
            }
            unknown += 1;
            if unknown <= DOUBTED_KEYS_MAX
                && let Some(doubt) = became::<K>(&entry.key, &entry.value).doubt(&entry.key)
            {
                warn!("a command changes what is not obeyed: {doubt}");
            }
        }
        if let Some((_, why)) = config.refusal() {
            return Err(UpdateError::Refused(why));
        }
        if let Some(check) = self.check {
            check(&self.now.load(), &config).map_err(UpdateError::Refused)?;
        }
        let bytes = properties::edit(&file.bytes, &changes).map_err(|error| UpdateError::NotSaved(error.to_string()))?;
        if let Some(save) = &mut file.save {
            save(&bytes).map_err(UpdateError::NotSaved)?;
        }
        file.bytes = bytes;
        {
            let mut version = self.version.lock();
            *version = Version { timestamp_millis: now_millis, counter: version.counter + 1 };
        }
        let before = self.load();
        let mut changed = Vec::new();
        for key in K::KEYS {
            let (from, to) = (before.get(key.name).unwrap_or_default(), config.get(key.name).unwrap_or_default());
            if from == to {
                continue;
            }
            if key.standing == Standing::Restart {
                warn!(key = key.name, "changed and kept; it is obeyed after the next start");
            }
            if let Some(doubt) = became::<K>(key.name, &to).doubt(key.name) {
                warn!("a command changes what is not obeyed: {doubt}");
            }
            changed.push(Changed { key: key.name, from: shown(key.name, &from).into_owned(), to: shown(key.name, &to).into_owned() });
        }
        drop(before);
        let config = Arc::new(config);
        self.now.store(Arc::clone(&config));
        for watcher in self.watchers.lock().iter() {
            watcher(&config);
        }
        Ok(changed)
    }

    /// The body of 26 or 319: every key with its value, one per line, unset ones empty.
    pub fn to_properties(&self) -> String {
        let config = self.load();
        let mut lines: Vec<String> =
            K::KEYS.iter().map(|key| format!("{}={}\n", key.name, config.get(key.name).unwrap_or_default())).collect();
        lines.sort_unstable();
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FlushDiskType, read};

    fn backed(text: &str) -> (ConfigCell, Arc<Mutex<String>>) {
        let mut config = BrokerConfig::default();
        read(&mut config, text.as_bytes(), "broker.conf").unwrap();
        let saved = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&saved);
        let save = move |bytes: &[u8]| {
            *into.lock() = String::from_utf8(bytes.to_vec()).unwrap();
            Ok(())
        };
        (ConfigCell::backed(config, text.as_bytes().to_vec(), 1, Box::new(save)), saved)
    }

    #[test]
    fn a_change_holds_at_once_and_is_in_the_file() {
        let (cell, saved) = backed("# mine\nmaxMessageSize=100\nbrokerName=a\n");
        let changed = cell.update(b"maxMessageSize=200\nfileReservedTime=48\nnobodyKnows=1\nbrokerName=a", 7).unwrap();
        let of = |key, from: &str, to: &str| Changed { key, from: from.to_owned(), to: to.to_owned() };
        assert_eq!(changed, [of("fileReservedTime", "72", "48"), of("maxMessageSize", "100", "200")]);
        assert_eq!((cell.load().max_message_size, cell.load().file_reserved_time), (200, 48));
        assert_eq!(*saved.lock(), "# mine\nmaxMessageSize=200\nbrokerName=a\nfileReservedTime=48\n");
        assert_eq!(cell.version(), Version { timestamp_millis: 7, counter: 1 });
        let mut again = BrokerConfig::default();
        read(&mut again, saved.lock().as_bytes(), "broker.conf").unwrap();
        assert_eq!(again.max_message_size, 200);
    }

    /// AdminBrokerProcessor.java#updateBrokerConfig.
    #[test]
    fn keys_of_the_black_list_are_refused_with_everything_beside_them() {
        let (cell, saved) = backed("configBlackList=brokerName\n");
        for key in ["brokerName", "brokerConfigPath", "rocketmqHome", "configBlackList"] {
            let body = format!("maxMessageSize=64\n{key}=x");
            assert_eq!(cell.update(body.as_bytes(), 7), Err(UpdateError::BlackListed), "{key}");
        }
        assert_eq!(cell.load().max_message_size, 4_194_304);
        assert_eq!(*saved.lock(), "");
    }

    #[test]
    fn a_wrong_or_unsafe_value_changes_nothing() {
        let (cell, saved) = backed("");
        let wrong = cell.update(b"fileReservedTime=1\nmaxMessageSize=big", 7).unwrap_err();
        assert_eq!(wrong.to_string(), "maxMessageSize=big is wrong: it must be a whole number of bytes from 64 to 2147483647");
        assert!(matches!(cell.update(b"brokerRole=SLAVE", 7), Err(UpdateError::Refused(_))));
        assert_eq!(cell.load().file_reserved_time, 72);
        assert_eq!(*saved.lock(), "");
    }

    #[test]
    fn what_the_start_would_refuse_is_neither_held_nor_saved() {
        let (cell, saved) = backed("");
        let cell = cell.checked(|_, config| if config.max_message_size > 64 { Ok(()) } else { Err("too small".to_owned()) });
        assert_eq!(cell.update(b"fileReservedTime=1\nmaxMessageSize=64", 7), Err(UpdateError::Refused("too small".into())));
        assert_eq!((cell.load().file_reserved_time, cell.load().max_message_size), (72, 4_194_304));
        assert_eq!(*saved.lock(), "");
        assert!(cell.update(b"maxMessageSize=65", 7).is_ok());
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_values() {
        let cell = ConfigCell::backed(BrokerConfig::default(), Vec::new(), 1, Box::new(|_| Err("read-only".into())));
        assert_eq!(cell.update(b"maxMessageSize=64", 7), Err(UpdateError::NotSaved("read-only".into())));
        assert_eq!(cell.load().max_message_size, 4_194_304);
    }

    #[test]
    fn watchers_see_the_new_values() {
        let (cell, _) = backed("");
        let seen = Arc::new(Mutex::new(FlushDiskType::AsyncFlush));
        let into = Arc::clone(&seen);
        cell.on_change(Box::new(move |config| *into.lock() = config.flush_disk_type));
        cell.update(b"flushDiskType=SYNC_FLUSH", 7).unwrap();
        assert_eq!(*seen.lock(), FlushDiskType::SyncFlush);
    }

    #[test]
    fn every_key_is_listed_with_its_value() {
        let text = ConfigCell::new(BrokerConfig::default()).to_properties();
        let listed = Properties::parse(text.as_bytes()).unwrap();
        assert_eq!(listed.iter().count(), BrokerConfig::KEYS.len());
        for (key, value) in [("listenPort", "10911"), ("flushDiskType", "ASYNC_FLUSH"), ("brokerIP1", ""), ("maxMessageSize", "4194304")] {
            assert_eq!(listed.get(key), Some(value), "{key}");
        }
    }
}
