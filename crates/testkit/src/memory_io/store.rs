// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a store asks of the disk.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;
use sealroot::store::{
    DirEntry, FileKind, FileStat, LockKind, OnTaken, SignatureKeyring, StoreIdentity, StoreIo,
    StorePath, Usage,
};
use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Metadata;
use sealroot_sys::verity::{EnableVerityError, MeasureVerityError};

use super::disk::{Content, Inode};
use super::{Effect, MAX_WRITE_BYTES, MemoryFile, MemoryIo, MemoryLock, keyring};

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
            signature: None,
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
        keyring::enable(disk, file, None)
    }

    fn enable_signed_verity(
        &self,
        file: &MemoryFile,
        signature: &[u8],
    ) -> Result<(), EnableVerityError> {
        let disk = self.step("enable_signed_verity", Effect::Changes)?;
        keyring::enable(disk, file, Some(signature))
    }

    fn read_verity_signature(&self, file: &MemoryFile) -> io::Result<Option<Vec<u8>>> {
        let disk = self.step("read_verity_signature", Effect::Reads)?;
        match &disk.inodes[file.inode] {
            Inode::File { now, .. } => Ok(now.signature.clone()),
            Inode::Directory => Ok(None),
        }
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

    fn lock_holder(&self, _path: &StorePath) -> Option<u32> {
        None
    }

    fn identity(&self) -> io::Result<StoreIdentity> {
        Ok(StoreIdentity {
            device: 0,
            inode: 0,
        })
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
