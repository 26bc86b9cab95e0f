// SPDX-License-Identifier: MIT OR Apache-2.0
//! One inode written out: made, given its attributes, linked. Always in a directory that is open,
//! never through a symlink.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::{Entry, EntryKind};
use sealroot_format::tree::{DeviceNumber, FileContent, Kind};
use sealroot_sys::mount::fd_path;

use crate::sysroot::open_directory_beneath;

/// A call that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{call}")]
pub(crate) struct CallError {
    pub call: &'static str,
    #[source]
    pub errno: Errno,
}

impl CallError {
    pub(super) fn of_io(call: &'static str, error: &io::Error) -> Self {
        Self {
            call,
            errno: Errno::from_io_error(error).unwrap_or(Errno::IO),
        }
    }
}

trait Call<T> {
    fn call(self, call: &'static str) -> Result<T, CallError>;
}

impl<T> Call<T> for Result<T, Errno> {
    fn call(self, call: &'static str) -> Result<T, CallError> {
        self.map_err(|errno| CallError { call, errno })
    }
}

/// A path of a walk, which starts with a slash, as one below the root.
fn relative(path: &[u8]) -> &[u8] {
    match path.strip_prefix(b"/") {
        Some(b"") | None => b".",
        Some(relative) => relative,
    }
}

/// The directory at a path of a walk.
pub(super) fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, CallError> {
    open_directory_beneath(root, relative(path)).call("openat2")
}

/// Makes the inode of an entry, for now with no rights. Gives the file if it is to be written to.
pub(super) fn create(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
) -> Result<Option<OwnedFd>, CallError> {
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind, device: DeviceNumber| {
        let device = makedev(device.major, device.minor);
        rustix::fs::mknodat(parent, name, kind, mode, device).call("mknod")
    };
    let file = |size_bytes| {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, mode).call("open")?;
        rustix::fs::ftruncate(&file, size_bytes).call("ftruncate")?;
        Ok(file)
    };
    match &entry.kind {
        EntryKind::Directory { .. } => {
            rustix::fs::mkdirat(parent, name, Mode::RWXU).call("mkdir")?;
        }
        EntryKind::Inline { size_bytes } => return file(*size_bytes).map(Some),
        // Only the length shows; the content is the object's.
        EntryKind::External { size_bytes, .. } => drop(file(*size_bytes)?),
        EntryKind::Symlink(target) => {
            rustix::fs::symlinkat(&**target, parent, name).call("symlink")?;
        }
        // Stored as an empty file that overlayfs takes for a whiteout.
        EntryKind::CharDevice(DeviceNumber::WHITEOUT) => drop(file(0)?),
        EntryKind::CharDevice(device) => node(FileType::CharacterDevice, *device)?,
        EntryKind::BlockDevice(device) => node(FileType::BlockDevice, *device)?,
        EntryKind::Fifo => node(FileType::Fifo, DeviceNumber::WHITEOUT)?,
        EntryKind::Socket => node(FileType::Socket, DeviceNumber::WHITEOUT)?,
    }
    Ok(None)
}

/// What an entry is in a tree, where the content of an inline file is only its digest.
pub(super) fn kind(kind: &EntryKind, inline: VerityDigest) -> Kind {
    let regular = |digest, size_bytes| Kind::Regular(FileContent::External { digest, size_bytes });
    match kind {
        EntryKind::Directory { .. } => Kind::directory(),
        EntryKind::Inline { size_bytes } => regular(inline, *size_bytes),
        EntryKind::External { digest, size_bytes } => regular(*digest, *size_bytes),
        EntryKind::Symlink(target) => Kind::Symlink(target.clone()),
        EntryKind::CharDevice(device) => Kind::CharDevice(*device),
        EntryKind::BlockDevice(device) => Kind::BlockDevice(*device),
        EntryKind::Fifo => Kind::Fifo,
        EntryKind::Socket => Kind::Socket,
    }
}

/// Sets owner, mode, xattrs and time. The owner first: changing it takes setuid bits and capabilities
/// away.
pub(super) fn set_attributes(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
) -> Result<(), CallError> {
    let (owner, group) = (entry.metadata.uid, entry.metadata.gid);
    let (owner, group) = (Uid::from_raw(owner), Gid::from_raw(group));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent, name, Some(owner), Some(group), flags).call("chown")?;
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        let mode = Mode::from_raw_mode(entry.metadata.permissions.into());
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).call("chmod")?;
    }
    let mut path = fd_path(parent).into_bytes();
    path.push(b'/');
    path.extend_from_slice(name);
    for xattr in entry.stored_xattrs() {
        let create = XattrFlags::CREATE;
        rustix::fs::lsetxattr(&*path, &*xattr.name, &xattr.value, create).call("setxattr")?;
    }
    let time = Timespec {
        tv_sec: entry.metadata.mtime.seconds,
        tv_nsec: entry.metadata.mtime.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(parent, name, &times, flags).call("utimensat")
}

/// One more name for the inode at a path of a walk.
pub(super) fn link(
    root: BorrowedFd<'_>,
    path: &[u8],
    parent: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), CallError> {
    rustix::fs::linkat(root, relative(path), parent, name, AtFlags::empty()).call("link")
}
