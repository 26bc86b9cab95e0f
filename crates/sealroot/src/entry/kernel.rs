// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`BootIo`] on a real filesystem.
//!
//! Trusts nothing below the partition's directory: every path is resolved by `openat2` beneath
//! one directory descriptor, without symbolic links and within one filesystem, and what is done
//! to a name is done relative to its parent's descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_sys::journal;

use super::io::{BootIo, BootSpace};
use crate::store::{DirEntry, FileKind, FileStat, StorePath};

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Mode of files: an initramfs may hold what only root may read. FAT has its own idea of modes.
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// A directory of a real filesystem, as a boot partition.
#[derive(Debug)]
pub struct KernelBootIo {
    root: OwnedFd,
    location: PathBuf,
}

impl KernelBootIo {
    /// The directory at `location`, whose own path is trusted as the user gave it.
    pub fn open(location: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::open(location, flags, Mode::empty())?,
            location: location.into(),
        })
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

impl AsFd for KernelBootIo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// An open file of a boot partition.
#[derive(Debug)]
pub struct KernelBootFile(OwnedFd);

impl BootIo for KernelBootIo {
    type File = KernelBootFile;

    fn location(&self) -> &Path {
        &self.location
    }

    fn space(&self) -> io::Result<BootSpace> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(BootSpace {
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            block_bytes: stat.f_frsize.max(stat.f_bsize),
        })
    }

    fn open(&self, path: &StorePath) -> io::Result<(KernelBootFile, FileStat)> {
        // NONBLOCK: a planted fifo must not stop us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.openat2(path.as_bytes(), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let stat = FileStat {
            kind: file_kind(FileType::from_raw_mode(stat.st_mode)),
            size_bytes: u64::try_from(stat.st_size).map_err(io::Error::other)?,
            inode: stat.st_ino,
        };
        Ok((KernelBootFile(file), stat))
    }

    fn read_at(&self, file: &KernelBootFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&file.0, buffer, offset)?)
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

    fn read_link(&self, path: &StorePath) -> io::Result<Vec<u8>> {
        let (directory, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&directory, name, Vec::new())?;
        Ok(target.into_bytes())
    }

    fn create(&self, path: &StorePath) -> io::Result<KernelBootFile> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = self.openat2(path.as_bytes(), flags, FILE_MODE)?;
        Ok(KernelBootFile(file))
    }

    fn write(&self, file: &KernelBootFile, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&file.0, bytes)?)
    }

    fn overwrite(&self, file: &KernelBootFile, byte: u8, offset: u64) -> io::Result<()> {
        match rustix::io::pwrite(&file.0, &[byte], offset)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(()),
        }
    }

    fn create_directory(&self, path: &StorePath) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(rustix::fs::mkdirat(&directory, name, DIRECTORY_MODE)?)
    }

    fn remove_file(&self, path: &StorePath) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&directory, name, AtFlags::empty())?)
    }

    fn remove_directory(&self, path: &StorePath) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR)?)
    }

    fn sync_file(&self, file: &KernelBootFile) -> io::Result<()> {
        rustix::fs::fsync(&file.0)?;
        // Whoever reads it back is to see what the disk has; advice may go unheard.
        let _ = rustix::fs::fadvise(&file.0, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }

    fn sync_directory(&self, path: &StorePath) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.openat2(path.as_bytes(), flags, Mode::empty())?;
        Ok(rustix::fs::fsync(&directory)?)
    }

    fn settle(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.root)?;
        // On FAT that does not reach beyond the disk's cache; this does.
        rustix::fs::fsync(&self.root)?;
        Ok(journal::write_in_place(&self.root)?)
    }
}

fn file_kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    }
}
