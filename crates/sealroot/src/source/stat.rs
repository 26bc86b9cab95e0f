// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel says about an inode without opening it.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, StatxTimestamp, statx};
use sealroot_format::tree::{DeviceNumber, Metadata, Timestamp, XattrSet};

use super::error::Fault;

/// Which inode it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: (u32, u32),
    inode: u64,
}

/// What changes when an inode does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) identity: Identity,
    pub(super) size_bytes: u64,
    mtime: Timestamp,
    ctime: Timestamp,
}

/// Everything but content, xattrs and symlink target.
#[derive(Clone, Debug)]
pub(super) struct Stat {
    pub(super) version: Version,
    pub(super) file_type: FileType,
    pub(super) device: DeviceNumber,
    pub(super) links: u32,
    pub(super) is_mount_point: bool,
    permissions: u16,
    uid: u32,
    gid: u32,
}

impl Stat {
    /// Of the entry `name`, which is not followed and not mounted.
    pub(super) fn of_entry(directory: BorrowedFd<'_>, name: &CStr) -> Result<Self, Fault> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(directory, name, flags, StatxFlags::BASIC_STATS)
            .map(|stat| Self::from_kernel(&stat))
            .map_err(Fault::open("look at"))
    }

    /// Of an open file.
    pub(super) fn of_open(file: BorrowedFd<'_>) -> Result<Self, Fault> {
        statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
            .map(|stat| Self::from_kernel(&stat))
            .map_err(Fault::os("look at"))
    }

    fn from_kernel(stat: &Statx) -> Self {
        Self {
            version: Version {
                identity: Identity {
                    device: (stat.stx_dev_major, stat.stx_dev_minor),
                    inode: stat.stx_ino,
                },
                size_bytes: stat.stx_size,
                mtime: timestamp(stat.stx_mtime),
                ctime: timestamp(stat.stx_ctime),
            },
            file_type: FileType::from_raw_mode(stat.stx_mode.into()),
            device: DeviceNumber {
                major: stat.stx_rdev_major,
                minor: stat.stx_rdev_minor,
            },
            links: stat.stx_nlink,
            is_mount_point: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            permissions: stat.stx_mode & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
        }
    }

    /// The metadata of a tree's inode.
    pub(super) fn metadata(&self, xattrs: XattrSet) -> Metadata {
        Metadata {
            permissions: self.permissions,
            uid: self.uid,
            gid: self.gid,
            mtime: self.version.mtime,
            xattrs,
        }
    }
}

/// Fails if an open file is no longer what it was before it was opened.
pub(super) fn check_unchanged(before: &Version, file: BorrowedFd<'_>) -> Result<(), Fault> {
    let after = Stat::of_open(file)?.version;
    before.check_same(&after)
}

impl Version {
    /// Fails if `after` shows a change since `self`.
    pub(super) fn check_same(&self, after: &Self) -> Result<(), Fault> {
        Err(Fault::Changed(if self.identity != after.identity {
            "it was replaced"
        } else if self.size_bytes != after.size_bytes {
            "its size is another"
        } else if self != after {
            "its time of change is another"
        } else {
            return Ok(());
        }))
    }
}

fn timestamp(time: StatxTimestamp) -> Timestamp {
    Timestamp {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    }
}
