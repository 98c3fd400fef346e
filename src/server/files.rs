// SPDX-License-Identifier: Apache-2.0
//! The files of the start: configuration and kept tables, through the store's file system.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::plan::ConfigFile;
use crate::broker::persist;
use crate::store::{Fs as StoreFs, RealFs};

/// A configuration file is not larger than this; a mistaken `-c` on a log is caught early.
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
            Err(error) => Err(StartError::Sentence(format!("{path} cannot be read: {error}; change its permissions, or move it away"))),
        }
    }

    /// Replaces the file so that no crash can halve it.
    pub(super) fn saver(&self, path: &str) -> Save {
        // The directory is synced too, so it must have a name.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        let file = persist::ConfigFile::new(self.shared(), path);
        Box::new(move |bytes| file.store(bytes).map_err(|error| error.to_string()))
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
            return Err(io::Error::other(format!("it is {length} bytes long, which no configuration is")));
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
