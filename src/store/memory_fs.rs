// SPDX-License-Identifier: Apache-2.0
//! A file system in memory, for tests: what the programme sees (live) and what a power cut would leave (durable) are two
//! images, every operation is counted and can be made to fail, and the disk can be full.
//!
//! Strict where real ones are lenient: a name lasts only after `sync_dir`, a byte or a length only after `sync_data`, and a
//! power cut keeps any subset of the pages that were not synced.

mod gate;
mod lock;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use gate::Stall;
use gate::{Gate, Stalled};
use parking_lot::Mutex;

use super::fs::{DirEntry, DiskUsage, Fs, FsFile, FsLock, Metadata, failed_sync};
use super::mapping::Mapping;

const PAGE_BYTES: u64 = 4096;

/// What may be stopped or made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Of a file that is there. Changes nothing, so it does not count as a place to crash at.
    Open,
    /// As `Open`.
    Read,
    CreateDir,
    Create,
    SetLen,
    Write,
    Store,
    Reserve,
    Zero,
    SyncData,
    SyncDir,
    SyncFileSystem,
    Rename,
    Remove,
}

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: everything it wrote is there.
    Killed,
    /// The power goes: of what was not synced, a part chosen by the seed is there. Seed 0 keeps nothing of it.
    PowerCut(u64),
}

#[derive(Clone)]
pub struct MemoryFs(Arc<Mutex<State>>, Arc<Gate>);

struct State {
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    locked: BTreeSet<PathBuf>,
    operations: u64,
    /// From this operation on nothing happens any more.
    off_at: Option<u64>,
    faults: Vec<Fault>,
    /// Bytes of files whose path contains the text that cannot be read.
    bad_sectors: Vec<(String, u64)>,
    disk_bytes: u64,
    now_millis: i64,
    boot: u64,
    open_files: usize,
    open_files_max: usize,
}

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Inode>),
}

struct Fault {
    operation: Operation,
    path_part: String,
    error: io::ErrorKind,
    times: usize,
}

struct Inode {
    /// As created; for faults by name.
    path: PathBuf,
    content: Mutex<Content>,
}

struct Content {
    len: u64,
    bytes: Arc<Mapping>,
    /// Pages that take disk space.
    allocated: BTreeSet<u64>,
    /// Pages changed since the last sync.
    dirty: BTreeSet<u64>,
    durable_len: u64,
    durable: BTreeMap<u64, Vec<u8>>,
    modified_millis: i64,
}

impl Default for MemoryFs {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryFs {
    pub fn new() -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Dir)]);
        Self(
            Arc::new(Mutex::new(State {
                live: root.clone(),
                durable: root,
                locked: BTreeSet::new(),
                operations: 0,
                off_at: None,
                faults: Vec::new(),
                bad_sectors: Vec::new(),
                disk_bytes: 1 << 40,
                now_millis: 0,
                boot: 1,
                open_files: 0,
                open_files_max: usize::MAX,
            })),
            Arc::default(),
        )
    }

    pub fn shared(&self) -> Arc<dyn Fs> {
        Arc::new(self.clone())
    }

    fn opened(&self, state: &mut State, inode: Arc<Inode>) -> Arc<dyn FsFile> {
        state.open_files += 1;
        Arc::new(MemoryFile { fs: self.clone(), inode })
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// The machine stops just before this operation: it and all later ones fail and change nothing.
    pub fn stop_before(&self, operation: u64) {
        self.0.lock().off_at = Some(operation);
    }

    /// The next `times` such operations on files whose path contains `path_part` fail.
    pub fn fail(&self, operation: Operation, path_part: &str, error: io::ErrorKind, times: usize) {
        self.0.lock().faults.push(Fault { operation, path_part: path_part.to_owned(), error, times });
    }

    /// From now on the disk does not answer for files whose path contains `path_part`. Stores into a mapping go on: they are in memory.
    pub fn stall(&self, path_part: &str) -> Stall {
        Stall::new(Arc::clone(&self.1), path_part)
    }

    /// From now on a sync of a file whose path contains `path_part` does not return before `heal`: a disk that is gone, or far too slow.
    pub fn hang_syncs(&self, path_part: &str) {
        self.1.close(path_part, Stalled::Syncs);
    }

    /// From now on every read of this byte of files whose path contains `path_part` fails. Through a mapping it can still be seen.
    pub fn break_sector(&self, path_part: &str, offset: u64) {
        self.0.lock().bad_sectors.push((path_part.to_owned(), offset));
    }

    pub fn heal(&self) {
        self.0.lock().faults.clear();
        self.0.lock().bad_sectors.clear();
        self.1.open();
    }

    pub fn set_disk_bytes(&self, bytes: u64) {
        self.0.lock().disk_bytes = bytes;
    }

    /// The time that files changed from now on bear.
    pub fn set_now_millis(&self, millis: i64) {
        self.0.lock().now_millis = millis;
    }

    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes()
    }

    /// Everything that is there, by the names under which it was made.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().live.keys().cloned().collect()
    }

    pub fn open_files(&self) -> usize {
        self.0.lock().open_files
    }

    /// No more files than these can be open at the same time (EMFILE).
    pub fn set_open_files_max(&self, count: usize) {
        self.0.lock().open_files_max = count;
    }

    /// Changes bytes of a file behind everybody's back.
    pub fn damage(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let inode = self.0.lock().file(path)?;
        let content = inode.content.lock();
        content.bytes.copy_in(offset as usize, bytes);
        Ok(())
    }

    /// Another file system with what a crash now would leave.
    pub fn crashed(&self, crash: Crash) -> Self {
        let state = self.0.lock();
        let (names, boot) = match crash {
            Crash::Killed => (&state.live, state.boot),
            Crash::PowerCut(_) => (&state.durable, state.boot + 1),
        };
        let mut random = Random(match crash {
            Crash::Killed => 0,
            Crash::PowerCut(seed) => seed,
        });
        let mut nodes = BTreeMap::new();
        for (path, node) in names {
            let node = match node {
                Node::Dir => Node::Dir,
                Node::File(inode) => Node::File(Arc::new(inode.after(crash, &mut random))),
            };
            nodes.insert(path.clone(), node);
        }
        Self(
            Arc::new(Mutex::new(State {
                live: nodes.clone(),
                durable: nodes,
                locked: BTreeSet::new(),
                operations: 0,
                off_at: None,
                faults: Vec::new(),
                bad_sectors: Vec::new(),
                disk_bytes: state.disk_bytes,
                now_millis: state.now_millis,
                boot,
                open_files: 0,
                open_files_max: usize::MAX,
            })),
            Arc::default(),
        )
    }
}

/// xorshift: the same seed, the same crash.
struct Random(u64);

impl Random {
    /// Never for seed 0.
    fn coin(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 33 & 1 == 1
    }
}

impl State {
    /// Counts an operation; the error that it shall fail with, if any.
    fn step(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        let is_sync = matches!(operation, Operation::SyncData | Operation::SyncDir | Operation::SyncFileSystem);
        let failed = |error| if is_sync { failed_sync(error) } else { error };
        if self.off_at.is_some_and(|off_at| self.operations >= off_at) {
            return Err(failed(io::Error::other("the machine is off")));
        }
        self.operations += 1;
        self.fault(operation, path).map_err(failed)
    }

    /// A file or a directory is being opened.
    fn open(&mut self, path: &Path) -> io::Result<()> {
        self.fault(Operation::Open, path)?;
        if self.open_files >= self.open_files_max {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
        }
        Ok(())
    }

    fn fault(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        let name = path.to_string_lossy();
        for fault in &mut self.faults {
            if fault.operation == operation && fault.times > 0 && name.contains(&fault.path_part) {
                fault.times -= 1;
                return Err(fault.error.into());
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.live.get(path) {
            Some(Node::File(inode)) => Ok(Arc::clone(inode)),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn used_bytes(&self) -> u64 {
        let files = self.live.values().filter_map(|node| match node {
            Node::File(inode) => Some(inode.content.lock().allocated.len() as u64),
            Node::Dir => None,
        });
        files.sum::<u64>() * PAGE_BYTES
    }
}

fn pages(offset: u64, len: u64) -> impl Iterator<Item = u64> {
    let end = if len == 0 { offset / PAGE_BYTES } else { (offset + len - 1) / PAGE_BYTES + 1 };
    offset / PAGE_BYTES..end
}

impl Inode {
    fn after(&self, crash: Crash, random: &mut Random) -> Self {
        let content = self.content.lock();
        let killed = crash == Crash::Killed;
        let keeps_len = killed || content.len == content.durable_len || random.coin();
        let len = if keeps_len { content.len } else { content.durable_len };
        let bytes = Mapping::anonymous(len as usize).expect("memory for a test");
        let mut page = vec![0; PAGE_BYTES as usize];
        let mut allocated = BTreeSet::new();
        let mut durable = BTreeMap::new();
        for number in pages(0, len) {
            let at = number * PAGE_BYTES;
            let size = PAGE_BYTES.min(len - at) as usize;
            page.fill(0);
            if killed || content.dirty.contains(&number) && random.coin() {
                let there = content.bytes.len().saturating_sub(at as usize).min(size);
                content.bytes.copy_out(at as usize, &mut page[..there]);
            } else if let Some(old) = content.durable.get(&number) {
                let there = old.len().min(size);
                page[..there].copy_from_slice(&old[..there]);
            }
            bytes.copy_in(at as usize, &page[..size]);
            if content.allocated.contains(&number) {
                allocated.insert(number);
            }
            if page.iter().any(|byte| *byte != 0) {
                durable.insert(number, page[..size].to_vec());
            }
        }
        // After a kill the page cache still owes the disk what was not synced.
        let (dirty, durable, durable_len) =
            if killed { (content.dirty.clone(), content.durable.clone(), content.durable_len) } else { (BTreeSet::new(), durable, len) };
        let modified_millis = content.modified_millis;
        Self {
            path: self.path.clone(),
            content: Mutex::new(Content { len, bytes, allocated, dirty, durable_len, durable, modified_millis }),
        }
    }
}

impl Fs for MemoryFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.1.pass(path);
        let mut state = self.0.lock();
        let mut missing: Vec<&Path> = path.ancestors().filter(|dir| !state.live.contains_key(*dir)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        state.step(Operation::CreateDir, path)?;
        missing.reverse();
        for dir in missing {
            state.live.insert(dir.to_owned(), Node::Dir);
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.1.pass(path);
        let mut state = self.0.lock();
        state.open(path)?;
        let inode = state.file(path)?;
        Ok(self.opened(&mut state, inode))
    }

    fn open_without_waiting(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        if self.1.would_block(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.open(path)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.1.pass(path);
        let mut state = self.0.lock();
        state.open(path)?;
        if let Ok(inode) = state.file(path) {
            return Ok(self.opened(&mut state, inode));
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        if !matches!(state.live.get(parent), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.step(Operation::Create, path)?;
        let inode = Arc::new(Inode {
            path: path.to_owned(),
            content: Mutex::new(Content {
                len: 0,
                bytes: Mapping::anonymous(0)?,
                allocated: BTreeSet::new(),
                dirty: BTreeSet::new(),
                durable_len: 0,
                durable: BTreeMap::new(),
                modified_millis: state.now_millis,
            }),
        });
        state.live.insert(path.to_owned(), Node::File(Arc::clone(&inode)));
        Ok(self.opened(&mut state, inode))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.1.pass(path);
        let state = self.0.lock();
        if !matches!(state.live.get(path), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let children = state.live.iter().filter(|(child, _)| child.parent() == Some(path));
        Ok(children
            .filter_map(|(child, node)| Some(DirEntry { name: child.file_name()?.to_str()?.to_owned(), is_dir: matches!(node, Node::Dir) }))
            .collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.1.pass(path);
        let state = self.0.lock();
        match state.live.get(path) {
            Some(Node::Dir) => Ok(Metadata { len: 0, is_dir: true, modified_millis: 0 }),
            Some(Node::File(inode)) => {
                let content = inode.content.lock();
                Ok(Metadata { len: content.len, is_dir: false, modified_millis: content.modified_millis })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.1.pass(from);
        let mut state = self.0.lock();
        state.file(from)?;
        state.step(Operation::Rename, from)?;
        if let Some(node) = state.live.remove(from) {
            state.live.insert(to.to_owned(), node);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.1.pass(path);
        let mut state = self.0.lock();
        state.file(path)?;
        state.step(Operation::Remove, path)?;
        state.live.remove(path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.1.pass(path);
        let mut state = self.0.lock();
        if state.live.keys().any(|child| child.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.step(Operation::Remove, path)?;
        state.live.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.1.pass(path);
        let mut state = self.0.lock();
        state.open(path)?;
        state.step(Operation::SyncDir, path)?;
        // The directory itself lasts with its first sync: what it lies in is created before anything is acknowledged.
        let mut lasting: Vec<(PathBuf, Node)> = path.ancestors().map(|dir| (dir.to_owned(), Node::Dir)).collect();
        lasting
            .extend(state.live.iter().filter(|(child, _)| child.parent() == Some(path)).map(|(child, node)| (child.clone(), node.clone())));
        let State { durable, live, .. } = &mut *state;
        // A directory that is gone goes with all that is left in it.
        let gone = |child: &Path| child.ancestors().any(|dir| dir.parent() == Some(path) && !live.contains_key(dir));
        durable.retain(|child, node| !gone(child) && (child.parent() != Some(path) || matches!(node, Node::Dir)));
        state.durable.extend(lasting);
        Ok(())
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        self.1.pass(path);
        let mut state = self.0.lock();
        state.open(path)?;
        state.step(Operation::SyncFileSystem, path)?;
        for node in state.live.values() {
            if let Node::File(inode) = node {
                inode.content.lock().sync();
            }
        }
        state.durable = state.live.clone();
        Ok(())
    }

    fn disk_usage(&self, path: &Path) -> io::Result<DiskUsage> {
        self.1.pass(path);
        let state = self.0.lock();
        let free = state.disk_bytes.saturating_sub(state.used_bytes());
        Ok(DiskUsage { total: state.disk_bytes, free, usable: free })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FsLock>> {
        self.create(path)?;
        lock::take(self, path)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn FsLock>> {
        lock::take(self, path)
    }

    fn boot_id(&self) -> String {
        self.0.lock().boot.to_string()
    }
}

struct MemoryFile {
    fs: MemoryFs,
    inode: Arc<Inode>,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.fs.0.lock().open_files -= 1;
    }
}

impl MemoryFile {
    /// Counts the operation, takes disk space for the range and marks it as changed.
    fn change(
        &self,
        operation: Operation,
        offset: u64,
        len: u64,
        takes_space: bool,
        then: impl FnOnce(&mut Content) -> io::Result<()>,
    ) -> io::Result<()> {
        match operation {
            // In memory.
            Operation::Store => {}
            Operation::SyncData => self.fs.1.pass_for(&self.inode.path, Stalled::Syncs),
            _ => self.fs.1.pass(&self.inode.path),
        }
        let mut state = self.fs.0.lock();
        state.step(operation, &self.inode.path)?;
        let free = state.disk_bytes.saturating_sub(if state.disk_bytes < 1 << 40 { state.used_bytes() } else { 0 });
        let mut content = self.inode.content.lock();
        if takes_space {
            let new: Vec<u64> = pages(offset, len).filter(|page| !content.allocated.contains(page)).collect();
            if new.len() as u64 * PAGE_BYTES > free {
                assert_ne!(operation, Operation::Store, "SIGBUS: a store into {} found no disk space", self.inode.path.display());
                return Err(io::ErrorKind::StorageFull.into());
            }
            content.allocated.extend(new);
        }
        content.modified_millis = state.now_millis;
        then(&mut content)
    }
}

impl Content {
    fn sync(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            let at = number * PAGE_BYTES;
            let size = PAGE_BYTES.min(self.len.saturating_sub(at)) as usize;
            let mut page = vec![0; size];
            self.bytes.copy_out(at as usize, &mut page);
            self.durable.insert(number, page);
        }
        self.durable_len = self.len;
    }

    fn grow(&mut self, len: u64) -> io::Result<()> {
        if len as usize > self.bytes.len() {
            let bytes = Mapping::anonymous(len as usize)?;
            let mut old = vec![0; (self.len as usize).min(self.bytes.len())];
            self.bytes.copy_out(0, &mut old);
            bytes.copy_in(0, &old);
            assert_eq!(Arc::strong_count(&self.bytes), 1, "a mapped file does not grow");
            self.bytes = bytes;
        }
        self.len = self.len.max(len);
        Ok(())
    }
}

impl FsFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.fs.1.pass(&self.inode.path);
        Ok(self.inode.content.lock().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Operation::SetLen, 0, 0, false, |content| {
            content.grow(len)?;
            if len < content.len {
                let cut = vec![0; (content.len - len) as usize];
                content.bytes.copy_in(len as usize, &cut);
                content.len = len;
            }
            Ok(())
        })
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.1.pass(&self.inode.path);
        {
            let mut state = self.fs.0.lock();
            state.fault(Operation::Read, &self.inode.path)?;
            let (path, range) = (self.inode.path.to_string_lossy(), offset..offset + bytes.len() as u64);
            if state.bad_sectors.iter().any(|(part, at)| range.contains(at) && path.contains(part)) {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
            }
        }
        let content = self.inode.content.lock();
        let count = (content.len.saturating_sub(offset) as usize).min(bytes.len());
        content.bytes.copy_out(offset as usize, &mut bytes[..count]);
        Ok(count)
    }

    fn read_at_without_waiting(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.fs.1.would_block(&self.inode.path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = bytes.len() as u64;
        self.change(Operation::Write, offset, len, true, |content| {
            content.grow(offset + len)?;
            content.bytes.copy_in(offset as usize, bytes);
            content.dirty.extend(pages(offset, len));
            Ok(())
        })
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Operation::Reserve, offset, len, true, |_| Ok(()))
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Operation::Zero, offset, len, false, |content| {
            let len = len.min(content.len.saturating_sub(offset));
            content.bytes.copy_in(offset as usize, &vec![0; len as usize]);
            content.dirty.extend(pages(offset, len));
            // Whole pages go back to the disk.
            let (first, last) = (offset.div_ceil(PAGE_BYTES), (offset + len) / PAGE_BYTES);
            content.allocated.retain(|page| *page < first || *page >= last);
            Ok(())
        })
    }

    /// Nothing: pages of an image that were taken out of the mapping would be lost, since no file has them.
    fn start_writeback(&self, _mapping: &Mapping, _at: usize, _len: usize) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Operation::SyncData, 0, 0, false, |content| {
            content.sync();
            Ok(())
        })
    }

    fn map(&self, len: usize) -> io::Result<Arc<Mapping>> {
        let content = self.inode.content.lock();
        if content.bytes.len() < len {
            return Err(io::Error::other("a mapping beyond the end of the file"));
        }
        Ok(Arc::clone(&content.bytes))
    }

    fn store(&self, mapping: &Mapping, at: usize, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len() as u64;
        self.change(Operation::Store, at as u64, len, true, |content| {
            mapping.copy_in(at, bytes);
            content.dirty.extend(pages(at as u64, len));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_leaves_what_was_synced_and_a_kill_leaves_everything() {
        let fs = MemoryFs::new();
        let dir = Path::new("/d");
        fs.create_dir_all(dir).unwrap();
        let file = fs.create(&dir.join("f")).unwrap();
        file.write_at(b"one", 0).unwrap();
        assert!(!fs.crashed(Crash::PowerCut(0)).exists(&dir.join("f")), "its name was not synced");
        file.sync_data().unwrap();
        fs.sync_dir(dir).unwrap();
        file.write_at(b"two", 0).unwrap();
        assert_eq!(fs.crashed(Crash::PowerCut(0)).read(&dir.join("f")).unwrap(), b"one");
        assert_eq!(fs.crashed(Crash::Killed).read(&dir.join("f")).unwrap(), b"two");
        fs.remove_file(&dir.join("f")).unwrap();
        assert!(fs.crashed(Crash::PowerCut(0)).exists(&dir.join("f")));
        assert!(!fs.crashed(Crash::Killed).exists(&dir.join("f")));
    }

    #[test]
    fn a_disk_that_does_not_answer_is_waited_for() {
        let fs = MemoryFs::new();
        let file = fs.create(Path::new("/slow")).unwrap();
        file.write_at(b"x", 0).unwrap();
        let stall = fs.stall("slow");
        let would_block = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        assert!(file.read_at_without_waiting(&mut [0], 0).is_err_and(would_block));
        assert!(fs.open_without_waiting(Path::new("/slow")).is_err_and(would_block));
        fs.create(Path::new("/fast")).unwrap().write_at(b"y", 0).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| file.read_at(&mut [0], 0).unwrap());
            while stall.waiting_count() == 0 {
                std::thread::yield_now();
            }
            drop(stall);
            assert_eq!(reader.join().unwrap(), 1);
        });
    }

    #[test]
    fn operations_can_be_stopped_and_failed() {
        let fs = MemoryFs::new();
        let file = fs.create(Path::new("/f")).unwrap();
        fs.fail(Operation::Write, "f", io::ErrorKind::StorageFull, 1);
        assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_at(b"x", 0).unwrap();
        fs.stop_before(fs.operations());
        assert!(file.write_at(b"y", 0).is_err());
        assert_eq!(fs.read(Path::new("/f")).unwrap(), b"x");
    }
}
