// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`StoreIo`] and [`BootIo`](sealroot::entry::BootIo) in memory: every operation can fail, and the power can go at every operation.
//!
//! A [`MemoryDisk`] is a filesystem that tells what processes see from what is durable. A
//! [`MemoryIo`] is one process that uses it, with or without a [`Trouble`] ahead.
//! [`MemoryDisk::crash`] gives the disk that is found after a power cut.

mod boot;
mod crash;
mod disk;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use sealroot::store::{
    DirEntry, FileKind, FileStat, LockKind, OnTaken, SignatureKeyring, StoreIo, StorePath, Usage,
};
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::tree::Metadata;
use sealroot_sys::verity::{EnableVerityError, MeasureVerityError};

pub use crash::WriteBack;
use disk::{Content, Disk, Inode, InodeId};

/// Most bytes one write takes: longer ones are short writes.
const MAX_WRITE_BYTES: usize = 3000;

/// A filesystem in memory. Clones are the same filesystem; [`MemoryDisk::copy`] is another.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    /// An empty filesystem, with fs-verity or without.
    pub fn new(has_verity: bool) -> Self {
        Self::of(Disk::new(has_verity))
    }

    /// An empty filesystem without fs-verity whose files take at most so much.
    pub fn with_capacity(capacity_bytes: u64) -> Self {
        Self::of(Disk {
            capacity_bytes: Some(capacity_bytes),
            ..Disk::new(false)
        })
    }

    fn of(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Another filesystem with the same state, durable and not.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::of(self.disk().clone())
    }

    /// The filesystem as it is found after a power cut.
    #[must_use]
    pub fn crash(&self, order: WriteBack) -> Self {
        Self::of(crash::crash(&self.disk(), order))
    }

    /// A process that uses it.
    pub fn process(&self, trouble: Trouble) -> MemoryIo {
        MemoryIo {
            disk: self.clone(),
            trouble,
            calls: Arc::default(),
            intruder: None,
        }
    }

    /// A process that is not alone: before each of its operations, of which it is told the name,
    /// `intruder` does something to the disk.
    pub fn process_watched(
        &self,
        intruder: impl Fn(&'static str, &Self) + Send + Sync + 'static,
    ) -> MemoryIo {
        MemoryIo {
            intruder: Some(Arc::new(intruder)),
            ..self.process(Trouble::None)
        }
    }

    /// All files and their content as processes see them, by path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        let mut files = BTreeMap::new();
        let mut open = vec![(disk::ROOT, String::new())];
        while let Some((directory, path)) = open.pop() {
            for (name, inode) in disk.children(directory) {
                let path = format!("{path}/{}", name.escape_ascii());
                match &disk.inodes[inode] {
                    Inode::Directory => open.push((inode, path)),
                    Inode::File { now, .. } => {
                        files.insert(path, now.bytes.clone());
                    }
                }
            }
        }
        files
    }

    /// Puts a file without fs-verity in the place of whatever is there, durable.
    ///
    /// # Panics
    /// If the parent of its directory is not there.
    pub fn plant(&self, path: &StorePath, bytes: &[u8]) {
        let mut disk = self.disk();
        let content = Content {
            bytes: bytes.into(),
            verity: None,
            is_signed: false,
        };
        let inode = disk.add(Inode::File {
            now: content.clone(),
            durable: content,
            writers: 0,
        });
        if disk.remove(path, FileKind::Regular) == Err(Errno::NOENT)
            && let Some((directory, _)) = path.split()
            && disk.resolve(&directory).is_err()
        {
            disk.create_directory(&directory).expect("a parent");
        }
        disk.link(inode, path).expect("nothing has the name");
        disk.sync_all();
    }

    /// Whether it has fs-verity.
    pub fn has_verity(&self) -> bool {
        self.disk().has_verity
    }

    /// The kernel verifies built-in signatures from now on.
    pub fn set_keyring(&self, keyring: MemoryKeyring) {
        self.disk().keyring = Some(keyring);
    }

    /// Whether the file at a path has a built-in signature, durable.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn is_signed(&self, path: &StorePath) -> bool {
        let disk = self.disk();
        match &disk.inodes[disk.resolve(path).expect("it is there")] {
            Inode::File { durable, .. } => durable.is_signed,
            Inode::Directory => panic!("{path} is no file"),
        }
    }

    /// Changes the content of a file and of all links to it, as a bad block does: what is measured stays.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn rot(&self, path: &StorePath) {
        let mut disk = self.disk();
        let inode = disk.resolve(path).expect("it is there");
        let Inode::File { now, durable, .. } = &mut disk.inodes[inode] else {
            panic!("{path} is no file");
        };
        for content in [now, durable] {
            content.bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
    }

    /// The owner, mode and so on that were set, by path.
    pub fn attributes(&self) -> BTreeMap<String, Metadata> {
        let disk = self.disk();
        let mut found = BTreeMap::new();
        let mut open = vec![(disk::ROOT, String::new())];
        while let Some((directory, path)) = open.pop() {
            for (name, inode) in disk.children(directory) {
                let path = format!("{path}/{}", name.escape_ascii());
                if matches!(disk.inodes[inode], Inode::Directory) {
                    open.push((inode, path.clone()));
                }
                if let Some((now, _)) = disk.attributes.get(&inode) {
                    found.insert(path, now.clone());
                }
            }
        }
        found
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What will go wrong for a process. Operations are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Operation `at` fails, once.
    FailsOnce {
        /// Which one.
        at: usize,
        /// How.
        errno: Errno,
    },
    /// Operation `at` and all later ones fail.
    FailsFrom {
        /// The first one.
        at: usize,
        /// How.
        errno: Errno,
    },
    /// The process is killed before its `at`th operation that changes something: that one and
    /// all later ones fail and do nothing.
    KilledAtChange {
        /// Which one.
        at: usize,
    },
}

/// What a process has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All operations.
    pub all: usize,
    /// Those that change something, syncs included.
    pub changes: usize,
    /// How often each.
    pub by_name: BTreeMap<&'static str, usize>,
}

impl Calls {
    /// How often one operation was called.
    pub fn of(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or_default()
    }
}

/// Counts what a process does.
#[derive(Clone, Debug)]
pub struct CallCounter(Arc<Mutex<Calls>>);

impl CallCounter {
    /// What has been done so far.
    pub fn get(&self) -> Calls {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.clone()
    }
}

type Intruder = Arc<dyn Fn(&'static str, &MemoryDisk) + Send + Sync>;

/// One process that uses a [`MemoryDisk`]. Clones are the same process.
#[derive(Clone)]
pub struct MemoryIo {
    disk: MemoryDisk,
    trouble: Trouble,
    calls: Arc<Mutex<Calls>>,
    intruder: Option<Intruder>,
}

impl fmt::Debug for MemoryIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryIo")
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Changes,
}

impl MemoryIo {
    /// To ask what has been done when the process itself is gone.
    pub fn calls(&self) -> CallCounter {
        CallCounter(Arc::clone(&self.calls))
    }

    fn count(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, or fails it.
    fn step(&self, name: &'static str, effect: Effect) -> Result<MutexGuard<'_, Disk>, Errno> {
        if let Some(intruder) = &self.intruder {
            intruder(name, &self.disk);
        }
        let mut calls = self.count();
        let (this, this_change) = (calls.all, calls.changes);
        calls.all += 1;
        calls.changes += usize::from(effect == Effect::Changes);
        *calls.by_name.entry(name).or_default() += 1;
        match self.trouble {
            Trouble::FailsOnce { at, errno } if this == at => Err(errno),
            Trouble::FailsFrom { at, errno } if this >= at => Err(errno),
            Trouble::KilledAtChange { at }
                if this_change > at || this_change == at && effect == Effect::Changes =>
            {
                Err(Errno::SHUTDOWN)
            }
            _ => Ok(self.disk.disk()),
        }
    }

    fn handle(&self, inode: InodeId, is_writer: bool) -> MemoryFile {
        MemoryFile {
            disk: self.disk.clone(),
            inode,
            is_writer,
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    inode: InodeId,
    is_writer: bool,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.is_writer
            && let Inode::File { writers, .. } = &mut self.disk.disk().inodes[self.inode]
        {
            *writers = writers.saturating_sub(1);
        }
    }
}

/// A lock.
#[derive(Debug)]
pub struct MemoryLock {
    disk: MemoryDisk,
    kind: LockKind,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut disk = self.disk.disk();
        match self.kind {
            LockKind::Shared => disk.shared_locks -= 1,
            LockKind::Exclusive => disk.is_locked = false,
        }
    }
}

/// Enables fs-verity. A signature is good that is [`good_signature`]'s.
fn enable(
    mut disk: MutexGuard<'_, Disk>,
    file: &MemoryFile,
    signature: Option<&[u8]>,
) -> Result<(), EnableVerityError> {
    if !disk.has_verity {
        return Err(EnableVerityError::NotSupported);
    }
    if disk.spoiled.contains(&file.inode) {
        return Err(EnableVerityError::Other(Errno::UCLEAN));
    }
    let keyring = disk.keyring;
    let Inode::File { now, writers, .. } = &mut disk.inodes[file.inode] else {
        return Err(EnableVerityError::IsDirectory);
    };
    if *writers > 0 {
        return Err(EnableVerityError::OpenForWriting);
    }
    if now.verity.is_some() {
        return Err(EnableVerityError::AlreadyEnabled);
    }
    let digest = compute_verity_digest(&now.bytes);
    let judged = keyring.map_or(Ok(()), |keyring| keyring.judge(&digest, signature));
    if let Err(error) = judged {
        disk.spoiled.insert(file.inode);
        return Err(error);
    }
    now.is_signed = signature.is_some();
    now.verity = Some(digest);
    Ok(())
}

/// What a kernel that verifies built-in signatures is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryKeyring {
    /// Whether the keyring has the certificate of [`good_signature`].
    pub has_certificate: bool,
    /// Whether files without a signature are refused.
    pub requires_signatures: bool,
}

impl MemoryKeyring {
    fn judge(
        self,
        digest: &VerityDigest,
        signature: Option<&[u8]>,
    ) -> Result<(), EnableVerityError> {
        match signature {
            None if self.requires_signatures => Err(EnableVerityError::NotPermitted),
            None => Ok(()),
            Some(_) if !self.has_certificate => Err(EnableVerityError::NoCertificate),
            Some(signature) if signature == good_signature(digest) => Ok(()),
            Some(signature) if signature.starts_with(OTHER_CERTIFICATE) => {
                Err(EnableVerityError::NoCertificate)
            }
            Some(signature) if signature.starts_with(GOOD_SIGNATURE) => {
                Err(EnableVerityError::SignatureRejected)
            }
            Some(_) => Err(EnableVerityError::SignatureMalformed),
        }
    }
}

const GOOD_SIGNATURE: &[u8] = b"signature ";

/// How a signature begins of which the certificate is in no keyring.
pub const OTHER_CERTIFICATE: &[u8] = b"other ";

/// The signature that a [`MemoryKeyring`] with its certificate takes of a digest.
pub fn good_signature(digest: &VerityDigest) -> Vec<u8> {
    [GOOD_SIGNATURE, digest.as_bytes()].concat()
}

impl StoreIo for MemoryIo {
    type File = MemoryFile;
    type Directory = StorePath;
    type Lock = MemoryLock;

    fn location(&self) -> &Path {
        Path::new("/memory")
    }

    fn available_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn open(&self, path: &StorePath) -> io::Result<(MemoryFile, FileStat)> {
        let disk = self.step("open", Effect::Reads)?;
        let inode = disk.resolve(path)?;
        let size_bytes = match &disk.inodes[inode] {
            Inode::Directory => 0,
            Inode::File { now, .. } => now.bytes.len() as u64,
        };
        let stat = FileStat {
            kind: disk.kind(inode),
            size_bytes,
            inode: inode as u64,
        };
        Ok((self.handle(inode, false), stat))
    }

    fn hold(&self, directory: &StorePath) -> io::Result<StorePath> {
        let disk = self.step("hold", Effect::Reads)?;
        disk.resolve(directory)?;
        Ok(directory.clone())
    }

    fn open_in(&self, directory: &StorePath, name: &[u8]) -> io::Result<MemoryFile> {
        let path = directory.join(name).ok_or(Errno::INVAL)?;
        self.open(&path).map(|(file, _)| file)
    }

    fn read_at(&self, file: &MemoryFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.step("read_at", Effect::Reads)?;
        let Inode::File { now, .. } = &disk.inodes[file.inode] else {
            return Err(Errno::ISDIR.into());
        };
        let start = usize::try_from(offset).map_or(now.bytes.len(), |n| n.min(now.bytes.len()));
        let rest = &now.bytes[start..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn list(&self, directory: &StorePath) -> io::Result<Vec<DirEntry>> {
        Ok(self.step("list", Effect::Reads)?.list(directory)?)
    }

    fn usage(&self, path: &StorePath) -> io::Result<Usage> {
        let disk = self.step("usage", Effect::Reads)?;
        let inode = disk.resolve(path)?;
        let allocated_bytes = match &disk.inodes[inode] {
            Inode::Directory => 0,
            Inode::File { now, .. } => now.bytes.len() as u64,
        };
        Ok(Usage {
            links: disk.names.values().filter(|named| **named == inode).count() as u64,
            allocated_bytes,
        })
    }

    fn measure_verity(
        &self,
        file: &MemoryFile,
    ) -> Result<Option<VerityDigest>, MeasureVerityError> {
        let disk = self.step("measure_verity", Effect::Reads)?;
        match &disk.inodes[file.inode] {
            _ if !disk.has_verity => Err(MeasureVerityError::NotSupported),
            Inode::File { now, .. } => match now.verity {
                Some(digest) => Ok(Some(digest)),
                None => Err(MeasureVerityError::NotEnabled),
            },
            Inode::Directory => Err(MeasureVerityError::NotEnabled),
        }
    }

    fn create_unnamed(&self, directory: &StorePath) -> io::Result<MemoryFile> {
        let mut disk = self.step("create_unnamed", Effect::Changes)?;
        disk.resolve(directory)?;
        let inode = disk.add(Inode::File {
            now: Content::default(),
            durable: Content::default(),
            writers: 1,
        });
        Ok(self.handle(inode, true))
    }

    fn write(&self, file: &MemoryFile, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.step("write", Effect::Changes)?;
        let Inode::File { now, .. } = &mut disk.inodes[file.inode] else {
            return Err(Errno::ISDIR.into());
        };
        if !file.is_writer || now.verity.is_some() {
            return Err(Errno::BADF.into());
        }
        let len = bytes.len().min(MAX_WRITE_BYTES);
        now.bytes.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn reopen_read_only(&self, file: &MemoryFile) -> io::Result<MemoryFile> {
        let _disk = self.step("reopen_read_only", Effect::Reads)?;
        Ok(self.handle(file.inode, false))
    }

    fn import(&self, file: BorrowedFd<'_>) -> io::Result<MemoryFile> {
        let mut disk = self.step("import", Effect::Reads)?;
        let stat = rustix::fs::fstat(file)?;
        let known = disk.foreign.get(&(stat.st_dev, stat.st_ino)).copied();
        if let Some(inode) = known {
            return Ok(self.handle(inode, false));
        }
        let mut bytes = vec![0; usize::try_from(stat.st_size).map_err(io::Error::other)?];
        let mut read = 0;
        while read < bytes.len() {
            match rustix::io::pread(file, &mut bytes[read..], read as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        let content = Content {
            bytes,
            verity: None,
            is_signed: false,
        };
        let inode = disk.add(Inode::File {
            now: content.clone(),
            durable: content,
            writers: 0,
        });
        disk.foreign.insert((stat.st_dev, stat.st_ino), inode);
        Ok(self.handle(inode, false))
    }

    fn enable_verity(&self, file: &MemoryFile) -> Result<(), EnableVerityError> {
        let disk = self.step("enable_verity", Effect::Changes)?;
        enable(disk, file, None)
    }

    fn enable_signed_verity(
        &self,
        file: &MemoryFile,
        signature: &[u8],
    ) -> Result<(), EnableVerityError> {
        let disk = self.step("enable_signed_verity", Effect::Changes)?;
        enable(disk, file, Some(signature))
    }

    fn signature_keyring(&self) -> SignatureKeyring {
        match self.disk.disk().keyring {
            None => SignatureKeyring::Absent,
            Some(keyring) if keyring.has_certificate => SignatureKeyring::Filled,
            Some(_) => SignatureKeyring::Empty,
        }
    }

    fn link(&self, file: &MemoryFile, path: &StorePath) -> io::Result<()> {
        Ok(self.step("link", Effect::Changes)?.link(file.inode, path)?)
    }

    fn link_in(&self, file: &MemoryFile, directory: &StorePath, name: &[u8]) -> io::Result<()> {
        self.link(file, &directory.join(name).ok_or(Errno::INVAL)?)
    }

    fn create_directory(&self, path: &StorePath) -> io::Result<()> {
        let mut disk = self.step("create_directory", Effect::Changes)?;
        Ok(disk.create_directory(path)?)
    }

    fn create_symlink(&self, path: &StorePath, target: &[u8]) -> io::Result<()> {
        let mut disk = self.step("create_symlink", Effect::Changes)?;
        Ok(disk.create_symlink(path, target)?)
    }

    fn set_attributes(&self, path: &StorePath, metadata: &Metadata) -> io::Result<()> {
        let mut disk = self.step("set_attributes", Effect::Changes)?;
        Ok(disk.set_attributes(path, metadata)?)
    }

    fn rename(&self, from: &StorePath, to: &StorePath, on_taken: OnTaken) -> io::Result<()> {
        let mut disk = self.step("rename", Effect::Changes)?;
        if on_taken == OnTaken::Exchange {
            return Ok(disk.exchange(from, to)?);
        }
        Ok(disk.rename(from, to, on_taken == OnTaken::Replace)?)
    }

    fn remove_file(&self, path: &StorePath) -> io::Result<()> {
        let mut disk = self.step("remove_file", Effect::Changes)?;
        Ok(disk.remove(path, FileKind::Regular)?)
    }

    fn remove_directory(&self, path: &StorePath) -> io::Result<()> {
        let mut disk = self.step("remove_directory", Effect::Changes)?;
        Ok(disk.remove(path, FileKind::Directory)?)
    }

    fn sync_file(&self, file: &MemoryFile) -> io::Result<()> {
        self.step("sync_file", Effect::Changes)?
            .sync_file(file.inode);
        Ok(())
    }

    fn sync_directory(&self, path: &StorePath) -> io::Result<()> {
        let mut disk = self.step("sync_directory", Effect::Changes)?;
        Ok(disk.sync_directory(path)?)
    }

    fn sync_filesystem(&self) -> io::Result<()> {
        self.step("sync_filesystem", Effect::Changes)?.sync_all();
        Ok(())
    }

    fn try_lock(&self, path: &StorePath, kind: LockKind) -> io::Result<Option<MemoryLock>> {
        let mut disk = self.step("try_lock", Effect::Changes)?;
        if disk.resolve(path) == Err(Errno::NOENT) {
            let inode = disk.add(Inode::File {
                now: Content::default(),
                durable: Content::default(),
                writers: 0,
            });
            disk.link(inode, path)?;
        }
        if disk.is_locked || kind == LockKind::Exclusive && disk.shared_locks > 0 {
            return Ok(None);
        }
        match kind {
            LockKind::Shared => disk.shared_locks += 1,
            LockKind::Exclusive => disk.is_locked = true,
        }
        Ok(Some(MemoryLock {
            disk: self.disk.clone(),
            kind,
        }))
    }
}
