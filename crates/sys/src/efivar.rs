// SPDX-License-Identifier: MIT OR Apache-2.0
//! Variables of the firmware, as efivarfs shows them: four bytes of attributes, then the content.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat, unlinkat};
use rustix::io::{Errno, Result};

/// Where a system has efivarfs mounted.
pub const EFIVARFS: &str = "/sys/firmware/efi/efivars";

/// Reads a variable from a mounted efivarfs, at most `limit_bytes` of it with its attributes; more is
/// [`Errno::FBIG`]. `None` if there is no such variable.
pub fn read(directory: impl AsFd, name: &str, limit_bytes: usize) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    let mut bytes = vec![0; limit_bytes.saturating_add(1)];
    // A variable is read whole or not at all.
    let len_bytes = rustix::io::read(&file, &mut bytes)?;
    if len_bytes > limit_bytes {
        return Err(Errno::FBIG);
    }
    bytes.truncate(len_bytes);
    Ok(Some(bytes))
}

/// Writes a variable, in the one call that makes it one change. The kernel guards variables that it
/// does not know against `rm` by the flag `IMMUTABLE`, which is taken away for that.
///
/// [`Errno::ACCESS`] is the firmware's answer to a signature that it does not take, or a time that
/// is not later than the last one.
pub fn write(directory: impl AsFd, name: &str, attributes: u32, content: &[u8]) -> Result<()> {
    let directory = directory.as_fd();
    let is_there = set_immutable(directory, name, false)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
    let mut bytes = attributes.to_le_bytes().to_vec();
    bytes.extend_from_slice(content);
    let written = rustix::io::write(&file, &bytes);
    drop(file);
    if written.is_ok() || is_there {
        // It only guards against mishaps.
        let _ = set_immutable(directory, name, true);
    } else {
        // The kernel leaves the name of a variable that it could not make.
        let _ = unlinkat(directory, name, AtFlags::empty());
    }
    match written? {
        len_bytes if len_bytes == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Removes a variable, guarded by `IMMUTABLE` or not. Nothing happens if it is not there.
pub fn remove(directory: impl AsFd, name: &str) -> Result<()> {
    let directory = directory.as_fd();
    if !set_immutable(directory, name, false)? {
        return Ok(());
    }
    unlinkat(directory, name, AtFlags::empty()).inspect_err(|_| {
        // It only guards against mishaps.
        let _ = set_immutable(directory, name, true);
    })
}

/// Sets or clears the flag of a variable's file; `false` if there is none.
fn set_immutable(directory: impl AsFd, name: &str, is_immutable: bool) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => opened?,
    };
    let mut flags = ioctl_getflags(&file)?;
    flags.set(IFlags::IMMUTABLE, is_immutable);
    ioctl_setflags(&file, flags)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_variable_is_read_within_its_bound() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = File::open(directory.path()).expect("opened");
        assert_eq!(read(&open, "x", 8), Ok(None));
        fs::write(directory.path().join("x"), b"12345678").expect("written");
        assert_eq!(read(&open, "x", 8), Ok(Some(b"12345678".to_vec())));
        assert_eq!(read(&open, "x", 7), Err(Errno::FBIG));
    }
}
