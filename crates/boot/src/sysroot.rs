// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what lies on the unauthenticated physical root: by descriptor, beneath it, through no
//! link and onto no other filesystem.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::refusal::{Code, OrRefuse as _, Refusal};

/// No symlink of any kind and no mount point may be on the way.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A directory of the initramfs.
pub(crate) fn open_directory(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// A directory somewhere beneath `base`, as a place only.
pub(crate) fn open_directory_beneath(
    base: BorrowedFd<'_>,
    path: impl Arg,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(base, path, flags, Mode::empty(), BENEATH)
}

/// A regular file somewhere beneath `base`, open for reading, and what `fstat` says of it.
///
/// A fifo or device in its place is not waited for and not read.
pub(crate) fn open_file_beneath(
    base: BorrowedFd<'_>,
    path: &str,
    code: Code,
) -> Result<(OwnedFd, Stat), Refusal> {
    match find_file_beneath(base, path, code)? {
        Some(found) => Ok(found),
        None => Err(Errno::NOENT).or_refuse(code, path, REGULAR),
    }
}

const REGULAR: &str = "a regular file";

/// As [`open_file_beneath`]; nothing where there is nothing of that name.
pub(crate) fn find_file_beneath(
    base: BorrowedFd<'_>,
    path: &str,
    code: Code,
) -> Result<Option<(OwnedFd, Stat)>, Refusal> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags | OFlags::CLOEXEC;
    let file = match rustix::fs::openat2(base, path, flags, Mode::empty(), BENEATH) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.or_refuse(code, path, REGULAR)?,
    };
    let stat = rustix::fs::fstat(&file).or_refuse(code, path, REGULAR)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some((file, stat))),
        other => Err(Refusal::new(code, path, REGULAR, format!("{other:?}"))),
    }
}

/// A directory of the initramfs that only root can look into, made for `name`.
pub(crate) fn private_directory(name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(CWD, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_directory(name),
        Err(errno) => Err(errno),
    }
}
