// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing to a sysroot that is mounted read-only, as OSTree keeps it: in a mount namespace that
//! nobody else is in.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::MachineError;
use super::error::failed;
use crate::mountinfo::{Mount, mount_of};

/// Makes the filesystem at `path` writable for this process, if it is mounted read-only; whether
/// that was needed. For all others it stays as it is.
///
/// The namespace is the calling thread's and those that it starts from then on: call it before
/// there are others, and open files after it.
pub fn make_writable(path: &Path) -> Result<bool, MachineError> {
    if !is_read_only(path)? {
        return Ok(false);
    }
    sealroot_sys::process::unshare_mount_namespace()
        .map_err(|errno| failed("make a mount namespace for", path)(errno.into()))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)
        .map_err(|errno| failed("make the mounts private above", path)(errno.into()))?;
    let point = mount(path)?.point;
    // First what OSTree's read-only /sysroot is: a flag of the mount. Then the filesystem itself.
    for flags in [MountFlags::BIND, MountFlags::empty()] {
        rustix::mount::mount_remount(&point, flags, "")
            .map_err(|errno| failed("mount writable", &point)(errno.into()))?;
        if !is_read_only(path)? {
            return Ok(true);
        }
    }
    let read_only = std::io::ErrorKind::ReadOnlyFilesystem.into();
    Err(failed("mount writable", &point)(read_only))
}

fn is_read_only(path: &Path) -> Result<bool, MachineError> {
    let stat = rustix::fs::statvfs(path);
    let stat = stat.map_err(|errno| failed("look at", path)(errno.into()))?;
    Ok(stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The type of the filesystem that `path` is on, as the kernel calls it.
pub fn filesystem_of(path: &Path) -> Result<String, MachineError> {
    Ok(mount(path)?.filesystem)
}

/// The mount that `path` is in.
fn mount(path: &Path) -> Result<Mount, MachineError> {
    let file = std::fs::File::open(path).map_err(failed("open", path))?;
    mount_of(file).map_err(failed("find the mount of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_a_path_is_found_and_is_above_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let point = mount(directory.path()).expect("found").point;
        let path = directory.path().canonicalize().expect("there");
        assert!(path.starts_with(&point), "{}", point.display());
        assert!(!make_writable(directory.path()).expect("looked at"));
    }
}
