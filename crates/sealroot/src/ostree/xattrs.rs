// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of the files of a bare repository.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs;
use rustix::io::{Errno, Result};
use sealroot_format::tree::Xattr;

/// What Linux allows for one value and for the list of names.
const MAX_BYTES: usize = 65_536;

/// All xattrs of an open file, sorted by name: the order in which OSTree hashes them.
pub(super) fn of_file(file: &File) -> Result<Vec<Xattr>> {
    read_all(
        || fs::flistxattr_query(file),
        |out| fs::flistxattr(file, out),
        |name| fs::fgetxattr_query(file, name),
        |name, out| fs::fgetxattr(file, name, out),
    )
}

/// The same of a symlink opened with `O_PATH`, which needs `/proc`.
pub(super) fn of_symlink(link: &OwnedFd) -> Result<Vec<Xattr>> {
    let path = format!("/proc/self/fd/{}", link.as_raw_fd());
    read_all(
        || fs::listxattr_query(&path),
        |out| fs::listxattr(&path, out),
        |name| fs::getxattr_query(&path, name),
        |name, out| fs::getxattr(&path, name, out),
    )
}

/// The value of one xattr of a file; `None` if it is not there.
pub(super) fn one_of_file(file: &File, name: &str) -> Result<Option<Vec<u8>>> {
    let value = read_sized(
        || fs::fgetxattr_query(file, name),
        |out| fs::fgetxattr(file, name, out),
    );
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn read_all(
    list_len: impl Fn() -> Result<usize>,
    list: impl Fn(&mut [u8]) -> Result<usize>,
    value_len: impl Fn(&[u8]) -> Result<usize>,
    value: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Result<Vec<Xattr>> {
    let names = match read_sized(list_len, list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut xattrs = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        xattrs.push(Xattr {
            name: name.into(),
            value: read_sized(|| value_len(name), |out| value(name, out))?.into(),
        });
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Reads what has a length that may grow between two calls.
fn read_sized(
    len: impl Fn() -> Result<usize>,
    read: impl Fn(&mut [u8]) -> Result<usize>,
) -> Result<Vec<u8>> {
    let read_up_to = |max: usize| {
        let mut bytes = vec![0; max];
        let len = read(&mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    };
    match len()? {
        0 => Ok(Vec::new()),
        len => match read_up_to(len) {
            Err(Errno::RANGE) => read_up_to(MAX_BYTES),
            result => result,
        },
    }
}
