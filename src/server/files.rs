// SPDX-License-Identifier: Apache-2.0
//! The files of the start: configuration and kept tables, through the store's file system.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::plan::ConfigFile;
use crate::broker::persist;
use crate::store::{Fs as StoreFs, RealFs};

/// A configuration file or kept table is not larger than this, read or written; a mistaken `-c` on a log is caught early.
const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Replaces a file by these bytes; `Err` says why it could not, for people.
pub(super) type Save = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send>;

/// The file system of this machine, in the words of a start.
#[derive(Clone)]
pub struct Fs(Arc<dyn StoreFs>);

impl Fs {
    pub fn machine() -> Self {
        Self(RealFs::shared())
    }

    #[cfg(test)]
    pub(super) fn of(fs: Arc<dyn StoreFs>) -> Self {
        Self(fs)
    }

    pub(super) fn shared(&self) -> Arc<dyn StoreFs> {
        Arc::clone(&self.0)
    }

    /// The file of -c.
    pub fn read_config(&self, path: &str) -> Result<ConfigFile, StartError> {
        let bytes = self.read(path).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file; correct -c".to_owned(),
                io::ErrorKind::PermissionDenied => "this user may not read it; change its permissions".to_owned(),
                _ => error.to_string(),
            };
            StartError::Sentence(format!("the configuration file {path} cannot be read: {remedy}"))
        })?;
        Ok(ConfigFile { path: path.to_owned(), bytes })
    }

    /// The changes that commands made at an earlier run; none is no mistake.
    pub fn read_kept_changes(&self, path: &str) -> Result<Option<ConfigFile>, StartError> {
        Ok(self.read_table(path)?.map(|bytes| ConfigFile { path: path.to_owned(), bytes }))
    }

    /// A small file that may not be there yet.
    pub fn read_table(&self, path: &str) -> Result<Option<Vec<u8>>, StartError> {
        match self.read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::FileTooLarge => "shorten it, or move it away to begin without",
                    io::ErrorKind::PermissionDenied => "change its permissions, or move it away",
                    _ => "mend its disk, or move it away",
                };
                Err(StartError::Sentence(format!("{path} cannot be read: {error}; {remedy}")))
            }
        }
    }

    /// Replaces the file so that no crash can halve it. What the next start would not read is not written.
    pub(super) fn saver(&self, path: &str) -> Save {
        // The directory is synced too, so it must have a name.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        let file = persist::ConfigFile::new(self.shared(), path);
        Box::new(move |bytes| {
            let length = bytes.len() as u64;
            if length > CONFIG_BYTES_MAX {
                return Err(format!("it would be {length} bytes long, and no start reads more than {CONFIG_BYTES_MAX}"));
            }
            file.store(bytes).map_err(|error| error.to_string())
        })
    }

    /// No file lies there; a directory that is not there holds none.
    pub(super) fn is_empty_dir(&self, dir: &Path) -> bool {
        self.0.read_dir(dir).map_or(true, |entries| entries.is_empty())
    }

    /// A RocksDB database names its manifest in a file of this name.
    pub(super) fn is_rocksdb(&self, dir: &Path) -> bool {
        self.0.read_dir(dir).is_ok_and(|entries| entries.iter().any(|entry| entry.name == "CURRENT"))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.0.open_read_only(Path::new(path))?;
        let length = file.len()?;
        if length > CONFIG_BYTES_MAX {
            let why = format!("it is {length} bytes long, and no more than {CONFIG_BYTES_MAX} are read");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let mut bytes = vec![0; length as usize];
        let mut at = 0;
        while at < bytes.len() {
            match file.read_at(&mut bytes[at..], at as u64)? {
                0 => break,
                count => at += count,
            }
        }
        bytes.truncate(at);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, ConfigCell, UpdateError};
    use crate::namesrv::KvConfig;
    use crate::store::MemoryFs;

    const PATH: &str = "/kept";

    /// Values of 6 MB, of which two fit into a file that is read.
    fn large() -> String {
        "x".repeat(6_000_000)
    }

    #[test]
    fn settings_that_no_start_would_read_are_refused_and_the_old_ones_stay() {
        let fs = Fs::of(MemoryFs::new().shared());
        let kv = KvConfig::load(None, fs.saver(PATH)).unwrap();
        for key in ["a", "b"] {
            kv.put("n", key, Some(&large())).unwrap();
        }
        let why = kv.put("n", "c", Some(&large())).unwrap_err().to_string();
        let words = "kvConfig.json could not be written, nothing is changed: it would be 180000";
        assert!(why.starts_with(words) && why.ends_with("and no start reads more than 16777216"), "{why}");
        assert_eq!(kv.get("n", "c"), None);
        let again = KvConfig::load(fs.read_table(PATH).unwrap().as_deref(), fs.saver(PATH)).unwrap();
        assert!(again.get("n", "b").is_some() && again.get("n", "c").is_none());
    }

    #[test]
    fn a_configuration_that_no_start_would_read_is_refused_and_the_old_one_stays() {
        let fs = Fs::of(MemoryFs::new().shared());
        let cell = ConfigCell::backed(BrokerConfig::default(), Vec::new(), 1, fs.saver(PATH));
        for key in ["brokerName", "regionId"] {
            cell.update(format!("{key}={}", large()).as_bytes(), 7).unwrap();
        }
        let refused = cell.update(format!("brokerClusterName={}", large()).as_bytes(), 7);
        assert!(matches!(&refused, Err(UpdateError::NotSaved(why)) if why.ends_with("no start reads more than 16777216")), "{refused:?}");
        assert_eq!(cell.load().broker_cluster_name, "DefaultCluster");
        let kept = fs.read_kept_changes(PATH).unwrap().unwrap();
        assert!(kept.bytes.starts_with(b"brokerName=x") && kept.bytes.len() < 13_000_000);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_with_what_to_do() {
        let machine = MemoryFs::new();
        let file = persist::ConfigFile::new(machine.shared(), PATH);
        file.store(&vec![b'x'; CONFIG_BYTES_MAX as usize + 1]).unwrap();
        let said = Fs::of(machine.shared()).read_table(PATH).unwrap_err().to_string();
        let sentence = "/kept cannot be read: it is 16777217 bytes long, and no more than 16777216 are read; shorten it, or move it away to begin without";
        assert_eq!(said, sentence);
    }
}
