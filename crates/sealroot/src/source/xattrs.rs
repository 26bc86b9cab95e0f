// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of files, open or not.

use std::ffi::CStr;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;
use sealroot_format::tree::{Xattr, XattrSet};

use super::error::Fault;

/// The most bytes of all names of an inode, and of one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const KERNEL_MAX_BYTES: usize = 64 * 1024;

/// What is asked for at first: the kernel allocates as much as it is offered, and clears it, for
/// each call. Nearly all names and values fit.
const USUAL_BYTES: usize = 512;

/// Attributes that belong to the filesystem the tree lies on, not to the tree.
const FILESYSTEMS_OWN: &[u8] = b"btrfs.";

/// Reads extended attributes; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
}

/// How an inode is reached.
enum Target<'a> {
    Open(BorrowedFd<'a>),
    Path(&'a CStr),
}

impl Target<'_> {
    fn list(&self, names: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => flistxattr(file, names),
            Self::Path(path) => llistxattr(*path, names),
        }
    }

    fn get(&self, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => fgetxattr(file, name, value),
            Self::Path(path) => lgetxattr(*path, name, value),
        }
    }
}

impl XattrReader {
    /// Of a file opened for reading.
    pub(super) fn of_open(&mut self, file: BorrowedFd<'_>) -> Result<XattrSet, Fault> {
        read(&Target::Open(file), &mut self.names, &mut self.value)
    }

    /// Of an entry that cannot be opened: a symlink or a special file.
    ///
    /// The calls for xattrs take no directory before Linux 6.13, and none of `O_PATH`; so the
    /// directory is named by its descriptor, through `/proc`.
    pub(super) fn of_entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<XattrSet, Fault> {
        self.path.clear();
        write!(self.path, "/proc/self/fd/{}/", directory.as_raw_fd())
            .expect("writing to memory cannot fail");
        self.path.extend_from_slice(name.to_bytes_with_nul());
        let path = CStr::from_bytes_with_nul(&self.path).expect("one NUL, at the end");
        read(&Target::Path(path), &mut self.names, &mut self.value)
    }
}

fn read(target: &Target<'_>, names: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<XattrSet, Fault> {
    let len_bytes = match with_room(names, |names| target.list(names)) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(XattrSet::new()),
        Ok(len_bytes) => len_bytes,
        Err(errno) => return Err(Fault::Os("list the extended attributes of", errno)),
    };
    let mut xattrs = Vec::new();
    for name in names[..len_bytes].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).expect("the kernel ends names with NUL");
        if name.to_bytes().starts_with(FILESYSTEMS_OWN) {
            continue;
        }
        let len_bytes = match with_room(value, |value| target.get(name, value)) {
            // Some filesystems list what the kernel gives to nobody: `user.` on a symlink.
            Err(Errno::NODATA) => continue,
            found => found.map_err(|errno| Fault::Xattr(name.to_bytes().into(), errno))?,
        };
        xattrs.push(Xattr {
            name: name.to_bytes().into(),
            value: value[..len_bytes].into(),
        });
    }
    XattrSet::from_unsorted(xattrs).map_err(Fault::Entry)
}

/// Calls with the usual room, and with the most there can be where that is too little.
fn with_room(
    buffer: &mut Vec<u8>,
    call: impl Fn(&mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    buffer.resize(USUAL_BYTES, 0);
    match call(buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(KERNEL_MAX_BYTES, 0);
            call(buffer)
        }
        result => result,
    }
}
