// SPDX-License-Identifier: Apache-2.0
//! Small tables in `config/*.json`: loaded at start, replaced as a whole, never half.
//!
//! The original moves the old file to `.bak` and then writes the new one in place, so a crash can leave only the `.bak`: both
//! sides of that are understood when loading. Here the new file is complete and on the disk before it takes its name.
//! Knows bytes, not what is in them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use tracing::{error, warn};

use crate::store::Fs;

#[derive(Debug, Error)]
#[error("{what} {path}: {source}")]
pub struct PersistError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// One table's file.
pub struct ConfigFile {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// One writer at a time: two could take each other's temporary file.
    writing: Mutex<()>,
}

impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigFile({})", self.path.display())
    }
}

impl ConfigFile {
    pub fn new(fs: Arc<dyn Fs>, path: impl Into<PathBuf>) -> Self {
        Self { fs, path: path.into(), writing: Mutex::new(()) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `read` makes of the file, or of its `.bak` when the file is missing, empty or not readable as such.
    /// `None` when there is neither; a file that nobody could read is kept beside as `.unreadable`.
    pub fn load<T, E: fmt::Display>(&self, read: impl Fn(&[u8]) -> Result<T, E>) -> Result<Option<T>, PersistError> {
        for path in [self.path.clone(), beside(&self.path, "bak")] {
            let bytes = match self.fs.read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(PersistError { what: "read", path, source }),
            };
            if bytes.is_empty() {
                warn!(path = %path.display(), "the file is empty");
                continue;
            }
            match read(&bytes) {
                Ok(table) => return Ok(Some(table)),
                Err(why) => {
                    let kept = beside(&path, "unreadable");
                    error!(path = %path.display(), kept = %kept.display(), %why, "the file cannot be understood");
                    self.fs.rename(&path, &kept).map_err(|source| PersistError { what: "set aside", path: path.clone(), source })?;
                }
            }
        }
        Ok(None)
    }

    /// Replaces the file; its last contents become the `.bak`. When this returns, the new contents survive a power cut.
    pub fn store(&self, bytes: &[u8]) -> Result<(), PersistError> {
        let _writing = self.writing.lock();
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| PersistError { what, path, source }
        };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        self.fs.create_dir_all(directory).map_err(failed("create", directory))?;

        let new = beside(&self.path, "tmp");
        let file = self.fs.create(&new).map_err(failed("create", &new))?;
        file.set_len(0).map_err(failed("empty", &new))?;
        file.write_at(bytes, 0).map_err(failed("write", &new))?;
        file.sync_data().map_err(failed("sync", &new))?;
        drop(file);

        if self.fs.exists(&self.path) {
            let old = beside(&self.path, "bak");
            self.fs.rename(&self.path, &old).map_err(failed("rename", &self.path))?;
        }
        self.fs.rename(&new, &self.path).map_err(failed("rename", &new))?;
        self.fs.sync_dir(directory).map_err(failed("sync", directory))
    }
}

/// `topics.json` with `bak` gives `topics.json.bak`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RealFs;

    fn file() -> (tempfile::TempDir, ConfigFile) {
        let directory = tempfile::tempdir().unwrap();
        let file = ConfigFile::new(RealFs::shared(), directory.path().join("config/topics.json"));
        (directory, file)
    }

    /// Understands nothing but numbers.
    fn load(file: &ConfigFile) -> Option<u32> {
        file.load(|bytes| std::str::from_utf8(bytes).map_err(|e| e.to_string())?.parse::<u32>().map_err(|e| e.to_string())).unwrap()
    }

    #[test]
    fn what_was_stored_is_loaded_and_the_version_before_it_is_kept() {
        let (_directory, file) = file();
        assert_eq!(load(&file), None);
        file.store(b"1").unwrap();
        file.store(b"22").unwrap();
        file.store(b"3").unwrap();
        assert_eq!(load(&file), Some(3));
        assert_eq!(std::fs::read(beside(file.path(), "bak")).unwrap(), b"22");
    }

    /// ConfigManager.java#load, and the moment between the original's two renames.
    #[test]
    fn the_bak_counts_when_the_file_is_missing_empty_or_unreadable() {
        let (_directory, file) = file();
        for damage in [None, Some(&b""[..]), Some(b"{half")] {
            file.store(b"1").unwrap();
            file.store(b"2").unwrap();
            match damage {
                None => std::fs::remove_file(file.path()).unwrap(),
                Some(bytes) => std::fs::write(file.path(), bytes).unwrap(),
            }
            assert_eq!(load(&file), Some(1), "{damage:?}");
        }
        assert_eq!(std::fs::read(beside(file.path(), "unreadable")).unwrap(), b"{half", "kept for the operator");
    }

    #[test]
    fn a_leftover_of_a_crash_is_no_obstacle() {
        let (_directory, file) = file();
        file.store(b"1").unwrap();
        std::fs::write(beside(file.path(), "tmp"), b"a longer leftover").unwrap();
        assert_eq!(load(&file), Some(1));
        file.store(b"2").unwrap();
        assert_eq!(load(&file), Some(2));
    }
}
