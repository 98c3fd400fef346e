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
pub enum PersistError {
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{0} cannot be understood; bring back a good copy, or move what is there away to begin with an empty table")]
    NoGoodCopy(String),
    #[error("writing a table panicked: see the log")]
    Panicked,
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
    /// `None` when there is neither. A file in whose place the `.bak` was read is kept beside as `.unreadable`; when no copy can be
    /// understood all stay where they are, so that no later start takes the table for an empty one either.
    pub fn load<T, E: fmt::Display>(&self, read: impl Fn(&[u8]) -> Result<T, E>) -> Result<Option<T>, PersistError> {
        let mut bad: Vec<(PathBuf, String)> = Vec::new();
        for path in [self.path.clone(), beside(&self.path, "bak")] {
            let bytes = match self.fs.read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(PersistError::Io { what: "read", path, source }),
            };
            if bytes.is_empty() {
                warn!(path = %path.display(), "the file is empty");
                continue;
            }
            match read(&bytes) {
                Ok(table) => {
                    for (path, why) in bad {
                        let kept = beside(&path, "unreadable");
                        error!(path = %path.display(), kept = %kept.display(), why, "the file cannot be understood: its .bak counts");
                        self.fs.rename(&path, &kept).map_err(|source| PersistError::Io { what: "set aside", path, source })?;
                    }
                    return Ok(Some(table));
                }
                Err(why) => bad.push((path, why.to_string())),
            }
        }
        if bad.is_empty() {
            return Ok(None);
        }
        let named: Vec<String> = bad.iter().map(|(path, why)| format!("{} ({why})", path.display())).collect();
        Err(PersistError::NoGoodCopy(named.join(" and ")))
    }

    /// Replaces the file; its last contents become the `.bak`. When this returns, the new contents survive a power cut.
    pub fn store(&self, bytes: &[u8]) -> Result<(), PersistError> {
        let _writing = self.writing.lock();
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| PersistError::Io { what, path, source }
        };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        if !self.fs.exists(directory) {
            self.fs.create_dir_all(directory).map_err(failed("create", directory))?;
            if let Some(above) = directory.parent() {
                self.fs.sync_dir(above).map_err(failed("sync", above))?;
            }
        }

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
    use crate::store::{Crash, MemoryFs};

    const PATH: &str = "/store/config/topics.json";

    fn file(fs: &MemoryFs) -> ConfigFile {
        ConfigFile::new(fs.shared(), PATH)
    }

    /// Understands nothing but numbers.
    fn load(fs: &MemoryFs) -> Option<u32> {
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<u32>().ok()).ok_or("no number");
        file(fs).load(number).unwrap()
    }

    fn write(fs: &MemoryFs, path: &Path, bytes: &[u8]) {
        let file = fs.shared().create(path).unwrap();
        file.set_len(0).unwrap();
        file.write_at(bytes, 0).unwrap();
    }

    #[test]
    fn what_was_stored_is_loaded_and_the_version_before_it_is_kept() {
        let fs = MemoryFs::new();
        assert_eq!(load(&fs), None);
        for bytes in [&b"1"[..], b"22", b"3"] {
            file(&fs).store(bytes).unwrap();
        }
        assert_eq!(load(&fs), Some(3));
        assert_eq!(fs.shared().read(&beside(Path::new(PATH), "bak")).unwrap(), b"22");
    }

    /// ConfigManager.java#load, and the moment between the original's two renames.
    #[test]
    fn the_bak_counts_when_the_file_is_missing_empty_or_unreadable() {
        let fs = MemoryFs::new();
        for damage in [None, Some(&b""[..]), Some(b"{half")] {
            file(&fs).store(b"1").unwrap();
            file(&fs).store(b"2").unwrap();
            match damage {
                None => fs.shared().remove_file(Path::new(PATH)).unwrap(),
                Some(bytes) => write(&fs, Path::new(PATH), bytes),
            }
            assert_eq!(load(&fs), Some(1), "{damage:?}");
        }
        let kept = fs.shared().read(&beside(Path::new(PATH), "unreadable")).unwrap();
        assert_eq!(kept, b"{half", "kept for the operator");
    }

    /// An empty table in place of consumerOffset.json would consume everything again, or nothing.
    #[test]
    fn a_table_of_which_no_copy_can_be_understood_is_an_error_at_every_start() {
        let bak = beside(Path::new(PATH), "bak");
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<u32>().ok()).ok_or("no number");
        for (text, bak_text, named) in [
            (Some("{half"), None, "/store/config/topics.json (no number) cannot"),
            (Some("{half"), Some(""), "/store/config/topics.json (no number) cannot"),
            (None, Some("{half"), "/store/config/topics.json.bak (no number) cannot"),
            (Some(""), Some("{half"), "/store/config/topics.json.bak (no number) cannot"),
            (Some("{"), Some("}"), "/store/config/topics.json (no number) and /store/config/topics.json.bak (no number) cannot"),
        ] {
            let fs = MemoryFs::new();
            file(&fs).store(b"1").unwrap();
            fs.shared().remove_file(Path::new(PATH)).unwrap();
            for (path, text) in [(Path::new(PATH), text), (&bak, bak_text)] {
                if let Some(text) = text {
                    write(&fs, path, text.as_bytes());
                }
            }
            for _ in 0..2 {
                let why = file(&fs).load(number).unwrap_err().to_string();
                assert!(why.starts_with(named) && why.contains("bring back a good copy"), "{why}");
            }
        }
    }

    /// ConfigManager.java#load: a file without contents is as good as none.
    #[test]
    fn empty_files_are_an_empty_table() {
        let fs = MemoryFs::new();
        file(&fs).store(b"").unwrap();
        assert_eq!(load(&fs), None);
        file(&fs).store(b"").unwrap();
        assert_eq!(load(&fs), None);
    }

    #[test]
    fn a_leftover_of_a_crash_is_no_obstacle() {
        let fs = MemoryFs::new();
        file(&fs).store(b"1").unwrap();
        write(&fs, &beside(Path::new(PATH), "tmp"), b"a longer leftover");
        assert_eq!(load(&fs), Some(1));
        file(&fs).store(b"2").unwrap();
        assert_eq!(load(&fs), Some(2));
    }

    /// Whenever the machine stops, the table is the old one or the new one; the new one as soon as `store` has said so.
    #[test]
    fn no_crash_loses_or_empties_a_table() {
        for stored_before in 0..3_u32 {
            let fresh = || {
                let fs = MemoryFs::new();
                (1..=stored_before).for_each(|number| file(&fs).store(number.to_string().as_bytes()).unwrap());
                fs
            };
            let new = stored_before + 1;
            let mut stop_before = fresh().operations();
            loop {
                let fs = fresh();
                fs.stop_before(stop_before);
                let is_stored = file(&fs).store(new.to_string().as_bytes()).is_ok();
                for crash in [Crash::Killed, Crash::PowerCut(0), Crash::PowerCut(1), Crash::PowerCut(7)] {
                    let found = load(&fs.crashed(crash)).unwrap_or(0);
                    let allowed = if is_stored { new..=new } else { stored_before..=new };
                    assert!(allowed.contains(&found), "{found} after {crash:?} before operation {stop_before}");
                }
                if is_stored {
                    break;
                }
                stop_before += 1;
            }
        }
    }
}
