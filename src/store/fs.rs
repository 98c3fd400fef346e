// SPDX-License-Identifier: Apache-2.0
//! The seam between the store (and `broker/persist`) and the disk: every create, write, store into a mapping, sync, rename
//! and unlink goes through it, so that a test can stop or fail each of them and rebuild what a power cut would leave.
//!
//! `RealFs` is the machine's file system; its twin with separate live and durable images is `MemoryFs`. Knows nothing of messages.
#![expect(clippy::disallowed_methods, reason = "this is the one place where files are touched")]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags, ResolveFlags, SeekFrom};

use super::mapping::Mapping;

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub len: u64,
    pub is_dir: bool,
    /// Last modification, milliseconds since 1970.
    pub modified_millis: i64,
}

/// Of the file system that a path is on, in bytes. `usable` is what an ordinary user may still write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    pub total: u64,
    pub free: u64,
    pub usable: u64,
}

impl DiskUsage {
    /// Java's UtilAll.getDiskPartitionSpaceUsedPercent: used / (used + usable), a hundredth rounded up.
    pub fn used_ratio(&self) -> f64 {
        let used = self.total.saturating_sub(self.free);
        let whole = used + self.usable;
        if whole == 0 {
            return -1.0;
        }
        let percent = used * 100 / whole + u64::from(!(used * 100).is_multiple_of(whole));
        percent as f64 / 100.0
    }
}

/// The sync itself failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct FailedSync(#[source] io::Error);

pub(super) fn failed_sync(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), FailedSync(error))
}

/// Whether the kernel has said of something that it may not be on the disk. It says so once: a sync that is tried again succeeds, with
/// the pages gone. Everything else (no descriptor left for opening a directory, no memory) has lost nothing and may be tried again.
pub fn is_failed_sync(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<FailedSync>())
}

/// A lock on a file or a directory of this store; dropped with the process at the latest.
pub trait FsLock: Send + Sync {}

/// The file system. Paths are used as they are; nothing here creates parents unless it says so.
pub trait Fs: Send + Sync + 'static {
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// An existing file, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;
    /// As `open`, but `WouldBlock` when the disk would have to be asked for it.
    fn open_without_waiting(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;
    /// An existing file on a path that may not be writable.
    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;
    /// The file, created empty when it does not exist; never truncated.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;
    /// Unsorted.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// An empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in this directory durable. Of all syncs: see `is_failed_sync`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything durable that was ever written to the file system that this directory is on.
    fn sync_file_system(&self, path: &Path) -> io::Result<()>;
    fn disk_usage(&self, path: &Path) -> io::Result<DiskUsage>;
    /// Java's lock: a POSIX record lock on the first byte. `WouldBlock` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FsLock>>;
    /// Takes a directory for one store and leaves nothing in it. `WouldBlock` when another one has it, of this process or another;
    /// `Unsupported` where the file system knows no such lock.
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn FsLock>>;
    /// Changes when written but unsynced data may have been lost: the kernel's boot id. Empty when unknown.
    fn boot_id(&self) -> String;

    fn exists(&self, path: &Path) -> bool {
        self.metadata(path).is_ok()
    }

    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open_read_only(path)?;
        let mut bytes = vec![0; file.len()? as usize];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// One open file.
#[expect(clippy::len_without_is_empty, reason = "a length on the disk, not a collection")]
pub trait FsFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    /// Grows (sparse) or cuts the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reads until `bytes` is full or the file ends; the count read.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As `read_at`, but `WouldBlock` when the bytes are not all in memory.
    fn read_at_without_waiting(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// From where on, at `offset` or behind it, the file may hold something else than zeroes; `None` when nowhere. What the file system
    /// says without a look at the disk's contents: one that keeps no holes answers `offset`.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len()?).then_some(offset))
    }
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Takes disk space for a range, so that a later store there cannot fail for want of it.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes a range read as zeroes.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Starts writing a range of the file that is mapped there to the disk, without waiting and without promising anything.
    fn start_writeback(&self, mapping: &Mapping, at: usize, len: usize) -> io::Result<()>;
    /// Makes the contents durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// The first `len` bytes, shared with `write_at` and `read_at`.
    fn map(&self, len: usize) -> io::Result<Arc<Mapping>>;
    /// A store into a mapping of this file.
    fn store(&self, mapping: &Mapping, at: usize, bytes: &[u8]) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl RealFs {
    pub fn shared() -> Arc<dyn Fs> {
        Arc::new(Self)
    }
}

impl Fs for RealFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(RealFile { file: OpenOptions::new().read(true).write(true).open(path)? }))
    }

    fn open_without_waiting(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
            Ok(file) => Ok(Arc::new(RealFile { file: file.into() })),
            Err(rustix::io::Errno::NOENT) => Err(io::ErrorKind::NotFound.into()),
            // Not in memory, or a kernel (before 5.12) or sandbox that knows no such call: `open` says what is wrong, if anything is.
            Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(RealFile { file: File::open(path)? }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(RealFile { file: OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)? }))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // A name that is not UTF-8 was not written by any RocketMQ broker.
            if let Ok(name) = entry.file_name().into_string() {
                let kind = entry.file_type()?;
                // Follows links, as Java's File.isDirectory does.
                let is_dir = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
                entries.push(DirEntry { name, is_dir });
            }
        }
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let metadata = std::fs::metadata(path)?;
        let modified_millis = metadata.mtime() * 1_000 + metadata.mtime_nsec() / 1_000_000;
        Ok(Metadata { len: metadata.len(), is_dir: metadata.is_dir(), modified_millis })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all().map_err(failed_sync)
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        rustix::fs::syncfs(File::open(path)?).map_err(|error| failed_sync(error.into()))
    }

    fn disk_usage(&self, path: &Path) -> io::Result<DiskUsage> {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(io::Error::other)?;
        let stat = rustix::fs::statvfs(path.as_c_str())?;
        Ok(DiskUsage { total: stat.f_blocks * stat.f_frsize, free: stat.f_bfree * stat.f_frsize, usable: stat.f_bavail * stat.f_frsize })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FsLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Whole-file record lock: it covers the first byte, which is the one that Java takes.
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            // POSIX lets a held lock answer EACCES as well.
            let held = matches!(error, rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN);
            if held { io::Error::from(io::ErrorKind::WouldBlock) } else { error.into() }
        })?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn FsLock>> {
        use rustix::io::Errno;
        let file = File::open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Err(io::ErrorKind::WouldBlock.into()),
            // NFS wants the file open for writing, which a directory never is.
            Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn boot_id(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    }
}

struct RealLock {
    _file: File,
}

impl FsLock for RealLock {}

struct RealFile {
    file: File,
}

fn write_zeroes(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let zeroes = vec![0; len.min(1 << 20) as usize];
    let mut at = 0;
    while at < len {
        let part = (len - at).min(zeroes.len() as u64);
        file.write_all_at(&zeroes[..part as usize], offset + at)?;
        at += part;
    }
    Ok(())
}

impl FsFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match self.file.read_at(&mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn read_at_without_waiting(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = bytes.len();
        let mut buffers = [io::IoSliceMut::new(bytes)];
        match rustix::io::preadv2(&self.file, &mut buffers, offset, rustix::io::ReadWriteFlags::NOWAIT) {
            Ok(read) if read == wanted => Ok(read),
            // Partly in memory, or the end of the file: the caller's waiting read finds out which.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
            // A file system that knows no such flag is read in the ordinary way.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
                self.read_at(buffers[0].as_mut(), offset)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        // Every read and write here names its place: nobody minds where the file is left.
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok((offset < self.len()?).then_some(offset)),
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                // Without fallocate, writing zeroes is what takes the space; the range holds no data yet.
                write_zeroes(&self.file, offset, len)
            }
            result => Ok(result?),
        }
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeroes(&self.file, offset, len),
            result => Ok(result?),
        }
    }

    fn start_writeback(&self, mapping: &Mapping, at: usize, len: usize) -> io::Result<()> {
        // The disk takes a page that is mapped for writing only after every processor was interrupted for it, page by page.
        mapping.unmap_pages(at, len);
        super::mapping::start_writeback(&self.file, at as u64, len as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(failed_sync)
    }

    fn map(&self, len: usize) -> io::Result<Arc<Mapping>> {
        Mapping::of_file(&self.file, len)
    }

    fn store(&self, mapping: &Mapping, at: usize, bytes: &[u8]) -> io::Result<()> {
        mapping.copy_in(at, bytes);
        Ok(())
    }
}

/// `path` with a suffix appended to its file name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
