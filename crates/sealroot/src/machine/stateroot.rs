// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stateroots: `ostree/deploy/<name>/var` of the physical root, shared by deployments and with OSTree.

use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::sign::Name;

use super::MachineError;

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Makes the `/var` of a stateroot where it is missing, durable. Whether it was.
pub fn make_stateroot(sysroot: &Path, name: &Name) -> Result<bool, MachineError> {
    let mut path = sysroot.to_owned();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |operation, path: &Path, errno: Errno| MachineError::Runtime {
        operation,
        path: path.to_owned(),
        source: errno.into(),
    };
    let opened = rustix::fs::open(sysroot, flags, Mode::empty());
    let mut directory = opened.map_err(|errno| failed("open", sysroot, errno))?;
    let mut is_new = false;
    for part in ["ostree", "deploy", name.as_str(), "var"] {
        path.push(part);
        match rustix::fs::mkdirat(&directory, part, DIRECTORY_MODE) {
            Ok(()) => {
                is_new = true;
                rustix::fs::fsync(&directory).map_err(|errno| failed("sync", &path, errno))?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("create", &path, errno)),
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(&directory, part, flags, Mode::empty(), resolve);
        directory = opened.map_err(|errno| failed("open", &path, errno))?;
    }
    Ok(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_through_no_link() {
        let sysroot = tempfile::tempdir().expect("a directory");
        let name: Name = "debian".parse().expect("a name");
        assert!(make_stateroot(sysroot.path(), &name).expect("made"));
        assert!(!make_stateroot(sysroot.path(), &name).expect("there"));
        assert!(sysroot.path().join("ostree/deploy/debian/var").is_dir());
        let other: Name = "other".parse().expect("a name");
        let link = sysroot.path().join("ostree/deploy/other");
        std::os::unix::fs::symlink("/tmp", link).expect("planted");
        let error = make_stateroot(sysroot.path(), &other).expect_err("a link");
        assert!(error.to_string().contains("ostree/deploy/other"), "{error}");
    }
}
