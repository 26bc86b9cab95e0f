// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`StoreIo`] on a real filesystem.
//!
//! Trusts nothing below the store's directory: every path is resolved by `openat2` beneath one
//! directory descriptor, without symbolic links and within one filesystem, and what is done to a
//! name is done relative to its parent's descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags,
};
use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Metadata;
use sealroot_sys::keyring;
use sealroot_sys::verity::{
    EnableVerityError, MeasureVerityError, enable_signed_verity, enable_verity, measure_verity,
    read_verity_signature,
};

use super::attributes;
use super::io::{
    DirEntry, FileKind, FileStat, LockKind, OnTaken, SignatureKeyring, StoreIdentity, StoreIo,
    Usage,
};
use super::lock::holder_in;
use super::path::{StoreDir, StorePath};

/// How every path below the store's directory is resolved.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// How what is to be read is opened. A planted fifo must not stop us, nor a link lead elsewhere.
const OPEN_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Mode of files: their content is protected by the store's directory, which only its owner can
/// enter; objects may hold what `/etc/shadow` holds.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
/// Content from this size on is written past the page cache, where it may be: below it, waiting for
/// the disk takes longer than copying, and the copies are written back together.
const MIN_DIRECT_BYTES: usize = 64 * 1024;

/// What addresses, offsets and lengths of direct I/O are multiples of. Where a filesystem wants
/// more, it refuses, and the page cache is used.
const DIRECT_BLOCK_BYTES: usize = 4096;

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const STORE_MODE: Mode = Mode::from_raw_mode(0o700);

/// Where the kernel lists who has locked what.
const LOCKS: &str = "/proc/locks";

/// What `st_blocks` counts in, whatever the block size of the filesystem.
const STAT_BLOCK_BYTES: u64 = 512;

/// A directory of a real filesystem, as a store uses it.
#[derive(Debug)]
pub struct KernelIo {
    root: OwnedFd,
    location: PathBuf,
}

impl KernelIo {
    /// Where the store is in a sysroot.
    pub const STORE_IN_SYSROOT: &str = "ostree/verity";

    /// The directory at `location`, whose own path is trusted as the user gave it.
    pub fn open(location: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::open(location, flags, Mode::empty())?,
            location: location.into(),
        })
    }

    /// Like [`KernelIo::open`], making the directory first if it is missing.
    pub fn open_or_create(location: &Path) -> io::Result<Self> {
        match rustix::fs::mkdir(location, STORE_MODE) {
            Ok(()) => {
                let parent = match location.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                File::open(parent)?.sync_all()?;
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Self::open(location)
    }

    /// `ostree/verity` below `sysroot`. Below it, no component may be a symbolic link.
    pub fn open_in_sysroot(sysroot: &Path) -> io::Result<Self> {
        let parent = Self::open(sysroot)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(Self {
            root: parent.openat2(Self::STORE_IN_SYSROOT.as_bytes(), flags, Mode::empty())?,
            location: sysroot.join(Self::STORE_IN_SYSROOT),
        })
    }

    /// Like [`KernelIo::open_in_sysroot`], making what is missing first.
    pub fn open_or_create_in_sysroot(sysroot: &Path) -> io::Result<Self> {
        let mut io = Self::open(sysroot)?;
        let modes = [DIRECTORY_MODE, STORE_MODE];
        for (name, mode) in Self::STORE_IN_SYSROOT.split('/').zip(modes) {
            match rustix::fs::mkdirat(&io.root, name, mode) {
                Ok(()) => rustix::fs::fsync(&io.root)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            io = Self {
                root: io.openat2(name.as_bytes(), flags, Mode::empty())?,
                location: io.location.join(name),
            };
        }
        Ok(io)
    }

    /// A directory of the store, as a place.
    pub(crate) fn open_directory(&self, path: &StorePath) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok(self.openat2(path.as_bytes(), flags, Mode::empty())?)
    }

    /// A directory of the store, to list it and what is in it.
    pub(crate) fn open_directory_for_reading(&self, path: &StorePath) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        Ok(self.openat2(path.as_bytes(), flags, Mode::empty())?)
    }

    /// A file without a name to read and write, for what is only needed while this process runs.
    pub(crate) fn create_scratch(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::EXCL;
        let directory = StoreDir::Tmp.path();
        let file = self.openat2(directory.as_bytes(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(file.into())
    }

    /// The file at `path` to read and change, made empty if there is none.
    pub(super) fn open_to_change(&self, path: &StorePath) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = self.openat2(path.as_bytes(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(file.into())
    }

    fn openat2(&self, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, RESOLVE)
    }

    /// The directory that holds `path`, and the name there.
    fn parent<'p>(&self, path: &'p StorePath) -> rustix::io::Result<(OwnedFd, &'p OsStr)> {
        let (directory, name) = path.split().ok_or(Errno::INVAL)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = self.openat2(directory.as_bytes(), flags, Mode::empty())?;
        Ok((directory, OsStr::from_bytes(name)))
    }
}

/// An open file of a store.
#[derive(Debug)]
pub struct KernelFile(OwnedFd);

impl AsFd for KernelFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<KernelFile> for OwnedFd {
    fn from(file: KernelFile) -> Self {
        file.0
    }
}

/// A lock of a store: `flock` belongs to the open file description, so it ends with the process
/// however that ends, and two handles of one process exclude one another as well.
#[derive(Debug)]
pub struct KernelLock {
    _file: OwnedFd,
}

impl StoreIo for KernelIo {
    type File = KernelFile;
    type Directory = OwnedFd;
    type Lock = KernelLock;

    fn location(&self) -> &Path {
        &self.location
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn open(&self, path: &StorePath) -> io::Result<(KernelFile, FileStat)> {
        let file = self.openat2(path.as_bytes(), OPEN_FLAGS, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let stat = FileStat {
            kind: file_kind(FileType::from_raw_mode(stat.st_mode)),
            size_bytes: u64::try_from(stat.st_size).map_err(io::Error::other)?,
            inode: stat.st_ino,
        };
        Ok((KernelFile(file), stat))
    }

    fn hold(&self, directory: &StorePath) -> io::Result<OwnedFd> {
        self.open_directory(directory)
    }

    fn open_in(&self, directory: &OwnedFd, name: &[u8]) -> io::Result<KernelFile> {
        let flags = OPEN_FLAGS | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(directory, name, flags, Mode::empty(), RESOLVE)?;
        Ok(KernelFile(file))
    }

    fn read_at(&self, file: &KernelFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(file, buffer, offset)?)
    }

    fn list(&self, directory: &StorePath) -> io::Result<Vec<DirEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.openat2(directory.as_bytes(), flags, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let file_type = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            };
            entries.push(DirEntry {
                name: name.to_bytes().into(),
                kind: file_kind(file_type),
            });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn usage(&self, path: &StorePath) -> io::Result<Usage> {
        let (directory, name) = self.parent(path)?;
        let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Usage {
            links: stat.st_nlink,
            allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * STAT_BLOCK_BYTES,
        })
    }

    fn measure_verity(
        &self,
        file: &KernelFile,
    ) -> Result<Option<VerityDigest>, MeasureVerityError> {
        Ok(measure_verity(file)?.sha256().map(VerityDigest::from_bytes))
    }

    fn create_unnamed(&self, directory: &StorePath) -> io::Result<KernelFile> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE;
        let file = self.openat2(directory.as_bytes(), flags, FILE_MODE)?;
        Ok(KernelFile(file))
    }

    fn write(&self, file: &KernelFile, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(file, bytes)?)
    }

    fn write_uncached(&self, file: &KernelFile, bytes: &[u8]) -> io::Result<usize> {
        let address = bytes.as_ptr().addr();
        if bytes.len() >= MIN_DIRECT_BYTES && address.is_multiple_of(DIRECT_BLOCK_BYTES) {
            let (blocks, _tail) = bytes.split_at(bytes.len() - bytes.len() % DIRECT_BLOCK_BYTES);
            match write_direct(file, blocks) {
                // This filesystem does not do it, or not here.
                Ok(0) | Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
                result => return Ok(result?),
            }
        }
        self.write(file, bytes)
    }

    fn reopen_read_only(&self, file: &KernelFile) -> io::Result<KernelFile> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(proc_path(file), flags, Mode::empty())?;
        Ok(KernelFile(file))
    }

    fn import(&self, file: BorrowedFd<'_>) -> io::Result<KernelFile> {
        Ok(KernelFile(file.try_clone_to_owned()?))
    }

    fn share(&self, file: &KernelFile, source: BorrowedFd<'_>) -> io::Result<()> {
        Ok(rustix::fs::ioctl_ficlone(file, source)?)
    }

    fn enable_verity(&self, file: &KernelFile) -> Result<(), EnableVerityError> {
        enable_verity(file)
    }

    fn enable_signed_verity(
        &self,
        file: &KernelFile,
        signature: &[u8],
    ) -> Result<(), EnableVerityError> {
        enable_signed_verity(file, signature)
    }

    fn read_verity_signature(&self, file: &KernelFile) -> io::Result<Option<Vec<u8>>> {
        read_verity_signature(file)
    }

    fn signature_keyring(&self) -> SignatureKeyring {
        let keys = std::fs::read_to_string("/proc/keys").unwrap_or_default();
        match keyring::count_keys(&keys, keyring::FS_VERITY) {
            None => SignatureKeyring::Absent,
            Some(0) => SignatureKeyring::Empty,
            Some(_) => SignatureKeyring::Filled,
        }
    }

    fn link(&self, file: &KernelFile, path: &StorePath) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        self.link_in(file, &directory, name.as_bytes())
    }

    fn link_in(&self, file: &KernelFile, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
        match rustix::fs::linkat(file, "", directory, name, AtFlags::EMPTY_PATH) {
            // Linking a descriptor itself needs CAP_DAC_READ_SEARCH; its magic link does not.
            Err(Errno::NOENT) => {
                let flags = AtFlags::SYMLINK_FOLLOW;
                Ok(rustix::fs::linkat(
                    CWD,
                    proc_path(file),
                    directory,
                    name,
                    flags,
                )?)
            }
            result => Ok(result?),
        }
    }

    fn create_directory(&self, path: &StorePath) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(rustix::fs::mkdirat(&directory, name, DIRECTORY_MODE)?)
    }

    fn create_symlink(&self, path: &StorePath, target: &[u8]) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target, &directory, name)?)
    }

    fn set_attributes(&self, path: &StorePath, metadata: &Metadata) -> io::Result<()> {
        match self.openat2(path.as_bytes(), OPEN_FLAGS, Mode::empty()) {
            Ok(file) => attributes::set(file.as_fd(), metadata),
            Err(Errno::LOOP) => {
                let (directory, name) = self.parent(path)?;
                attributes::set_symlink(directory.as_fd(), name, metadata)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn rename(&self, from: &StorePath, to: &StorePath, on_taken: OnTaken) -> io::Result<()> {
        let (from_directory, from_name) = self.parent(from)?;
        let (to_directory, to_name) = self.parent(to)?;
        let flags = match on_taken {
            OnTaken::Replace => RenameFlags::empty(),
            OnTaken::Fail => RenameFlags::NOREPLACE,
            OnTaken::Exchange => RenameFlags::EXCHANGE,
        };
        Ok(rustix::fs::renameat_with(
            &from_directory,
            from_name,
            &to_directory,
            to_name,
            flags,
        )?)
    }

    fn remove_file(&self, path: &StorePath) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&directory, name, AtFlags::empty())?)
    }

    fn remove_directory(&self, path: &StorePath) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR)?)
    }

    fn sync_file(&self, file: &KernelFile) -> io::Result<()> {
        // Not fdatasync: the fs-verity flag of an inode need not be among what that writes.
        Ok(rustix::fs::fsync(file)?)
    }

    fn sync_directory(&self, path: &StorePath) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.openat2(path.as_bytes(), flags, Mode::empty())?;
        Ok(rustix::fs::fsync(&directory)?)
    }

    fn sync_filesystem(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    fn try_lock(&self, path: &StorePath, kind: LockKind) -> io::Result<Option<KernelLock>> {
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.openat2(path.as_bytes(), flags, FILE_MODE)?;
        let found = file_kind(FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode));
        if found != FileKind::Regular {
            let text = format!("it is {}, expected a regular file", found.name());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let operation = match kind {
            LockKind::Shared => FlockOperation::NonBlockingLockShared,
            LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(KernelLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn lock_holder(&self, path: &StorePath) -> Option<u32> {
        let file = self.openat2(path.as_bytes(), OFlags::PATH, Mode::empty());
        let stat = rustix::fs::fstat(file.ok()?).ok()?;
        let (major, minor) = (
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
        );
        let locks = std::fs::read_to_string(LOCKS).ok()?;
        holder_in(&locks, (major, minor, stat.st_ino))
    }

    fn identity(&self) -> io::Result<StoreIdentity> {
        let stat = rustix::fs::fstat(&self.root)?;
        Ok(StoreIdentity {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// Writes whole blocks, from which the disk takes them itself.
fn write_direct(file: &KernelFile, blocks: &[u8]) -> rustix::io::Result<usize> {
    // Not for all that is written to the file: what is no whole block cannot be.
    rustix::fs::fcntl_setfl(file, OFlags::DIRECT)?;
    let written = rustix::io::write(file, blocks);
    rustix::fs::fcntl_setfl(file, OFlags::empty())?;
    written
}

/// The kernel's own name for an open file.
fn proc_path(file: &KernelFile) -> String {
    format!("/proc/self/fd/{}", file.0.as_raw_fd())
}

fn file_kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    }
}
