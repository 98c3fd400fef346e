// SPDX-License-Identifier: Apache-2.0
//! Locks of the file system in memory: each path has one owner, whoever asks.

use std::io;
use std::path::{Path, PathBuf};

use super::super::fs::FsLock;
use super::MemoryFs;

struct MemoryLock {
    fs: MemoryFs,
    path: PathBuf,
}

impl FsLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.fs.0.lock().locked.remove(&self.path);
    }
}

pub(super) fn take(fs: &MemoryFs, path: &Path) -> io::Result<Box<dyn FsLock>> {
    if !fs.0.lock().locked.insert(path.to_owned()) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(Box::new(MemoryLock { fs: fs.clone(), path: path.to_owned() }))
}
