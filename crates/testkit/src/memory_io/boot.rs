// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same disk as a boot partition.
//!
//! Names that nobody synced survive a crash in any combination, as on FAT, or up to some moment,
//! as where there is a journal: that is for [`WriteBack`](super::WriteBack) to choose.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use sealroot::entry::{BootIo, BootSpace};
use sealroot::store::{DirEntry, FileKind, FileStat, StoreIo, StorePath};

use super::disk::{BLOCK_BYTES, Content, Inode};
use super::{Effect, MAX_WRITE_BYTES, MemoryFile, MemoryIo};

impl BootIo for MemoryIo {
    type File = MemoryFile;

    fn location(&self) -> &Path {
        StoreIo::location(self)
    }

    fn space(&self) -> io::Result<BootSpace> {
        let disk = self.step("space", Effect::Reads)?;
        Ok(BootSpace {
            available_bytes: disk.available_bytes(),
            block_bytes: BLOCK_BYTES,
        })
    }

    fn open(&self, path: &StorePath) -> io::Result<(MemoryFile, FileStat)> {
        StoreIo::open(self, path)
    }

    fn read_at(&self, file: &MemoryFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        StoreIo::read_at(self, file, buffer, offset)
    }

    fn list(&self, directory: &StorePath) -> io::Result<Vec<DirEntry>> {
        StoreIo::list(self, directory)
    }

    fn read_link(&self, _path: &StorePath) -> io::Result<Vec<u8>> {
        let _disk = self.step("read_link", Effect::Reads)?;
        Err(Errno::INVAL.into())
    }

    fn create(&self, path: &StorePath) -> io::Result<MemoryFile> {
        let mut disk = self.step("create", Effect::Changes)?;
        let inode = disk.add(Inode::File {
            now: Content::default(),
            durable: Content::default(),
            writers: 1,
        });
        disk.link(inode, path)?;
        Ok(self.handle(inode, true))
    }

    fn write(&self, file: &MemoryFile, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.step("write", Effect::Changes)?;
        if disk.available_bytes() < MAX_WRITE_BYTES as u64 {
            return Err(Errno::NOSPC.into());
        }
        let Inode::File { now, .. } = &mut disk.inodes[file.inode] else {
            return Err(Errno::ISDIR.into());
        };
        let len = bytes.len().min(MAX_WRITE_BYTES);
        now.bytes.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn overwrite(&self, file: &MemoryFile, byte: u8, offset: u64) -> io::Result<()> {
        let mut disk = self.step("overwrite", Effect::Changes)?;
        let Inode::File { now, .. } = &mut disk.inodes[file.inode] else {
            return Err(Errno::ISDIR.into());
        };
        let at = usize::try_from(offset).expect("a file in memory");
        *now.bytes.get_mut(at).ok_or(Errno::INVAL)? = byte;
        Ok(())
    }

    fn create_directory(&self, path: &StorePath) -> io::Result<()> {
        StoreIo::create_directory(self, path)
    }

    fn remove_file(&self, path: &StorePath) -> io::Result<()> {
        let mut disk = self.step("remove_file", Effect::Changes)?;
        Ok(disk.remove(path, FileKind::Regular)?)
    }

    fn remove_directory(&self, path: &StorePath) -> io::Result<()> {
        StoreIo::remove_directory(self, path)
    }

    fn sync_file(&self, file: &MemoryFile) -> io::Result<()> {
        StoreIo::sync_file(self, file)
    }

    fn sync_directory(&self, path: &StorePath) -> io::Result<()> {
        StoreIo::sync_directory(self, path)
    }

    fn settle(&self) -> io::Result<()> {
        StoreIo::sync_filesystem(self)
    }
}
