// SPDX-License-Identifier: MIT OR Apache-2.0
//! Owner, permissions, extended attributes and time of one inode, set on a real filesystem.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use sealroot_format::tree::{Metadata, Xattr};

/// Of an open file or directory. The owner first: changing it takes setuid bits and capabilities
/// away; the mode after the ACLs, which it is a part of.
pub(super) fn set(file: BorrowedFd<'_>, metadata: &Metadata) -> io::Result<()> {
    let (owner, group) = owner(metadata);
    rustix::fs::fchown(file, owner, group).map_err(naming("owner"))?;
    for Xattr { name, value } in &metadata.xattrs {
        rustix::fs::fsetxattr(file, &**name, value, XattrFlags::empty())
            .map_err(naming_xattr(name))?;
    }
    let mode = Mode::from_raw_mode(metadata.permissions.into());
    rustix::fs::fchmod(file, mode).map_err(naming("mode"))?;
    rustix::fs::futimens(file, &times(metadata)).map_err(naming("time"))
}

/// Of a symbolic link, which has no permissions.
pub(super) fn set_symlink(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    metadata: &Metadata,
) -> io::Result<()> {
    let (owner, group) = owner(metadata);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(directory, name, owner, group, flags).map_err(naming("owner"))?;
    // The calls for xattrs take no directory before Linux 6.13.
    let mut there = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    there.extend_from_slice(name.as_bytes());
    for Xattr { name, value } in &metadata.xattrs {
        rustix::fs::lsetxattr(&*there, &**name, value, XattrFlags::empty())
            .map_err(naming_xattr(name))?;
    }
    rustix::fs::utimensat(directory, name, &times(metadata), flags).map_err(naming("time"))
}

fn owner(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    let Metadata { uid, gid, .. } = metadata;
    (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: metadata.mtime.seconds,
        tv_nsec: metadata.mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn naming(what: &'static str) -> impl FnOnce(Errno) -> io::Error {
    move |errno| named(errno, what)
}

fn naming_xattr(name: &[u8]) -> impl FnOnce(Errno) -> io::Error {
    move |errno| {
        named(
            errno,
            &format!("extended attribute {}", name.escape_ascii()),
        )
    }
}

/// The error, and what could not be set; its kind is what is decided by.
fn named(errno: Errno, what: &str) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
