// SPDX-License-Identifier: MIT OR Apache-2.0
//! One inode written out: made, given its attributes, linked. Always relative to an open directory
//! that was reached through no symlink.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
    makedev,
};
use sealroot_format::tree::{DeviceNumber, Inode, Kind, Metadata, Xattr};

use super::UnpackError;

/// Nothing is reached through a link or a mount, at any time.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// An operation that the system refused; of which file is not known here.
#[derive(Debug)]
pub(super) struct Failure {
    attempt: Attempt,
    source: io::Error,
}

#[derive(Debug)]
enum Attempt {
    /// A verb.
    Operation(&'static str),
    /// Setting this extended attribute.
    Xattr(Box<[u8]>),
}

/// Names what was tried.
pub(super) trait Call<T> {
    fn call(self, operation: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Call<T> for Result<T, E> {
    fn call(self, operation: &'static str) -> Result<T, Failure> {
        self.map_err(|source| Failure {
            attempt: Attempt::Operation(operation),
            source: source.into(),
        })
    }
}

impl Failure {
    /// The error of a file at `path`, in a tree with `content_bytes` in its files.
    pub(super) fn at(self, path: PathBuf, content_bytes: u64) -> UnpackError {
        let Self { attempt, source } = self;
        match (source.kind(), attempt) {
            (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => {
                UnpackError::NoSpace {
                    path,
                    content_bytes,
                    source,
                }
            }
            (_, Attempt::Xattr(name)) => UnpackError::Xattr {
                path,
                name: name.escape_ascii().to_string(),
                source,
            },
            (_, Attempt::Operation(operation)) => UnpackError::Io {
                operation,
                path,
                source,
            },
        }
    }
}

/// Makes inodes at paths of a tree, which begin with a slash, below a directory.
#[derive(Debug)]
pub(super) struct Nodes<'p> {
    root: BorrowedFd<'p>,
    /// The directory of the last path, which most share with the next.
    last: Option<(Box<[u8]>, OwnedFd)>,
}

impl<'p> Nodes<'p> {
    pub(super) fn new(root: BorrowedFd<'p>) -> Self {
        Self { root, last: None }
    }

    /// Makes a directory that only its owner can enter.
    pub(super) fn make_directory(&mut self, path: &[u8]) -> Result<(), Failure> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::mkdirat(parent, name, Mode::RWXU).call("create")
    }

    /// Makes an empty file that only its owner can read, open for writing.
    pub(super) fn create_file(&mut self, path: &[u8]) -> Result<OwnedFd, Failure> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, mode).call("create")
    }

    /// Makes what is neither a directory nor a regular file, and sets all that is said of it.
    pub(super) fn make_special(&mut self, path: &[u8], inode: &Inode) -> Result<(), Failure> {
        let (parent, name) = self.parent(path)?;
        let node = |file_type, device: DeviceNumber| {
            let device = makedev(device.major, device.minor);
            rustix::fs::mknodat(parent, name, file_type, Mode::RUSR, device).call("create")
        };
        let none = DeviceNumber { major: 0, minor: 0 };
        match &inode.kind {
            Kind::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                rustix::fs::symlinkat(target, parent, name).call("create")?;
            }
            Kind::CharDevice(device) => node(FileType::CharacterDevice, *device)?,
            Kind::BlockDevice(device) => node(FileType::BlockDevice, *device)?,
            Kind::Fifo => node(FileType::Fifo, none)?,
            Kind::Socket => node(FileType::Socket, none)?,
            Kind::Directory(_) | Kind::Regular(_) => return Ok(()),
        }
        let Metadata {
            permissions, mtime, ..
        } = inode.metadata;
        let (owner, group) = owner(&inode.metadata);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, name, owner, group, flags).call(SET_OWNER)?;
        // The calls for xattrs take no directory before Linux 6.13.
        let mut there = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        there.extend_from_slice(name.as_bytes());
        for Xattr { name, value } in &inode.metadata.xattrs {
            let flags = XattrFlags::empty();
            rustix::fs::lsetxattr(&*there, &**name, value, flags)
                .map_err(|errno| xattr_failure(name, errno))?;
        }
        if !matches!(inode.kind, Kind::Symlink(_)) {
            let mode = Mode::from_raw_mode(permissions.into());
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).call(SET_MODE)?;
        }
        rustix::fs::utimensat(parent, name, &times(mtime), flags).call(SET_TIME)
    }

    /// Gives the inode at `first` one more name.
    pub(super) fn link(&mut self, first: &[u8], path: &[u8]) -> Result<(), Failure> {
        let (directory, old_name) = split(first);
        let directory = open_directory(self.root, directory)?;
        let (parent, name) = self.parent(path)?;
        rustix::fs::linkat(directory, old_name, parent, name, AtFlags::empty()).call("link")
    }

    /// Sets all that is said of a directory.
    pub(super) fn set_directory(&self, path: &[u8], metadata: &Metadata) -> Result<(), Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        set(open(self.root, path, flags)?, metadata)
    }

    /// The directory that a path is in, and its name there.
    fn parent<'n>(&mut self, path: &'n [u8]) -> Result<(BorrowedFd<'_>, &'n OsStr), Failure> {
        let (directory, name) = split(path);
        if !matches!(&self.last, Some((last, _)) if **last == *directory) {
            self.last = Some((directory.into(), open_directory(self.root, directory)?));
        }
        let parent = self.last.as_ref().map_or(self.root, |(_, fd)| fd.as_fd());
        Ok((parent, name))
    }
}

const SET_OWNER: &str = "set the owner of";
const SET_MODE: &str = "set the mode of";
const SET_TIME: &str = "set the time of";

/// Sets all that is said of an open file or directory. The owner first: changing it takes setuid
/// bits and capabilities away; the mode after the ACLs, which it is a part of.
pub(super) fn set(file: impl AsFd, metadata: &Metadata) -> Result<(), Failure> {
    let (owner, group) = owner(metadata);
    rustix::fs::fchown(&file, owner, group).call(SET_OWNER)?;
    for Xattr { name, value } in &metadata.xattrs {
        rustix::fs::fsetxattr(&file, &**name, value, XattrFlags::empty())
            .map_err(|errno| xattr_failure(name, errno))?;
    }
    let mode = Mode::from_raw_mode(metadata.permissions.into());
    rustix::fs::fchmod(&file, mode).call(SET_MODE)?;
    rustix::fs::futimens(&file, &times(metadata.mtime)).call(SET_TIME)
}

fn xattr_failure(name: &[u8], errno: rustix::io::Errno) -> Failure {
    Failure {
        attempt: Attempt::Xattr(name.into()),
        source: errno.into(),
    }
}

fn owner(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    let Metadata { uid, gid, .. } = metadata;
    (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
}

fn times(mtime: sealroot_format::tree::Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// The directory of a path and the name in it.
fn split(path: &[u8]) -> (&[u8], &OsStr) {
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let (directory, name) = path.split_at(slash);
    (
        directory,
        OsStr::from_bytes(name.strip_prefix(b"/").unwrap_or(name)),
    )
}

fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Failure> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY)
}

fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Failure> {
    let relative = match path.strip_prefix(b"/").unwrap_or(path) {
        b"" => b".",
        relative => relative,
    };
    let flags = flags | OFlags::CLOEXEC;
    rustix::fs::openat2(root, relative, flags, Mode::empty(), CONFINED).call("open")
}
