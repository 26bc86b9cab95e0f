// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stateroots: `ostree/deploy/<name>/var` of the physical root, shared by deployments and with OSTree.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::sign::Name;
use sealroot_format::tree::Tree;

use super::MachineError;
use super::error::failed;
use crate::monitor::Monitor;
use crate::store::Store;
use crate::{etc, unpack};

/// The directory in a stateroot, and in a release.
const VAR: &str = "var";

const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Makes the `/var` of a stateroot where it is missing, durable and at once: what a release has in
/// its own `/var`, the large files from the store's objects, else an empty directory. Whether it was
/// missing.
pub fn make_stateroot(
    sysroot: &Path,
    name: &Name,
    first: Option<(&Tree, &Store)>,
    monitor: &dyn Monitor,
) -> Result<bool, MachineError> {
    let mut path = sysroot.to_owned();
    let opened = rustix::fs::open(sysroot, DIRECTORY_FLAGS, Mode::empty());
    let mut directory = opened.map_err(|errno| failed("open", sysroot)(errno.into()))?;
    for part in ["ostree", "deploy", name.as_str()] {
        path.push(part);
        make(&directory, part, &path)?;
        directory = open(&directory, part, &path)?;
    }
    path.push(VAR);
    let first = match first {
        Some((tree, store)) => etc::part_of(tree, VAR.as_bytes())?.map(|var| (var, store)),
        None => None,
    };
    let is_new = match first {
        Some((var, store)) if !path.exists() => {
            unpack::unpack(&var, Some(store), &path, monitor)?;
            true
        }
        _ => make(&directory, VAR, &path)?,
    };
    open(&directory, VAR, &path)?;
    Ok(is_new)
}

/// Makes a directory where there is none, durable. Whether there was none.
fn make(parent: &OwnedFd, name: &str, path: &Path) -> Result<bool, MachineError> {
    match rustix::fs::mkdirat(parent, name, DIRECTORY_MODE) {
        Ok(()) => {
            let synced = rustix::fs::fsync(parent);
            synced.map_err(|errno| failed("sync", path)(errno.into()))?;
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(failed("create", path)(errno.into())),
    }
}

fn open(parent: &OwnedFd, name: &str, path: &Path) -> Result<OwnedFd, MachineError> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(parent, name, DIRECTORY_FLAGS, Mode::empty(), resolve)
        .map_err(|errno| failed("open", path)(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;

    #[test]
    fn it_is_made_once_and_through_no_link() {
        let sysroot = tempfile::tempdir().expect("a directory");
        let name: Name = "debian".parse().expect("a name");
        assert!(make_stateroot(sysroot.path(), &name, None, &Silent).expect("made"));
        assert!(!make_stateroot(sysroot.path(), &name, None, &Silent).expect("there"));
        assert!(sysroot.path().join("ostree/deploy/debian/var").is_dir());
        let other: Name = "other".parse().expect("a name");
        let link = sysroot.path().join("ostree/deploy/other");
        std::os::unix::fs::symlink("/tmp", link).expect("planted");
        let error = make_stateroot(sysroot.path(), &other, None, &Silent).expect_err("a link");
        assert!(error.to_string().contains("ostree/deploy/other"), "{error}");
    }
}
