// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks of open file descriptions, which are not those of `flock`.

use std::os::fd::{AsFd, AsRawFd as _};

use rustix::io::{Errno, Result};

/// Locks the whole of a file for this open file description: `fcntl` with `F_OFD_SETLK`. Whether
/// that was done; nothing is waited for. An exclusive lock needs a file that is open for writing.
///
/// The lock ends with the last descriptor of the description.
pub fn fcntl_ofd_setlk(file: impl AsFd, is_exclusive: bool) -> Result<bool> {
    let kind = if is_exclusive {
        libc::F_WRLCK
    } else {
        libc::F_RDLCK
    };
    match setlk(file, kind) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn setlk(file: impl AsFd, kind: libc::c_int) -> Result<()> {
    let lock = libc::flock {
        l_type: kind.try_into().map_err(|_| Errno::INVAL)?,
        l_whence: libc::SEEK_SET.try_into().map_err(|_| Errno::INVAL)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: int fcntl(int, int, const struct flock *): the descriptor is open and the struct
    // outlives the call, which only reads it.
    let result = unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        Ok(())
    } else {
        Err(crate::mount::last_errno())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn descriptions_exclude_one_another() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let open = || File::options().read(true).write(true).open(file.path());
        let (first, second) = (open().expect("open"), open().expect("open"));
        assert_eq!(fcntl_ofd_setlk(&first, false), Ok(true));
        assert_eq!(fcntl_ofd_setlk(&second, false), Ok(true));
        assert_eq!(fcntl_ofd_setlk(&second, true), Ok(false));
        drop(first);
        assert_eq!(fcntl_ofd_setlk(&second, true), Ok(true));
        let third = open().expect("open");
        assert_eq!(fcntl_ofd_setlk(&third, false), Ok(false));
        drop(second);
        assert_eq!(fcntl_ofd_setlk(&third, false), Ok(true));
        let read_only = File::open(file.path()).expect("open");
        assert_eq!(fcntl_ofd_setlk(&read_only, true), Err(Errno::BADF));
    }
}
