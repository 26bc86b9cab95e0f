// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing to a sysroot that is mounted read-only, as OSTree keeps it: in a mount namespace that
//! nobody else is in.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatVfsMountFlags, StatxFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::MachineError;
use super::error::failed;

/// Where the kernel lists this thread's mounts.
const LIST: &str = "/proc/self/mountinfo";

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
    let point = mount_point(path)?;
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
    let line = mount_line(path)?;
    let mut fields = line.split(|byte| *byte == b' ');
    // proc_pid_mountinfo(5): optional fields end with a dash, then comes the type.
    let kind = fields
        .by_ref()
        .find(|field| *field == b"-")
        .and_then(|_| fields.next());
    Ok(String::from_utf8_lossy(kind.unwrap_or_default()).into_owned())
}

/// Where the mount that `path` is in is mounted.
fn mount_point(path: &Path) -> Result<PathBuf, MachineError> {
    let line = mount_line(path)?;
    let point = line.split(|byte| *byte == b' ').nth(4);
    Ok(unescape(point.unwrap_or_default()))
}

/// What mountinfo says of the mount that `path` is in.
fn mount_line(path: &Path) -> Result<Vec<u8>, MachineError> {
    let look = |errno: rustix::io::Errno| failed("look at", path)(errno.into());
    let file = std::fs::File::open(path).map_err(failed("open", path))?;
    let id = mount_id(&file).map_err(look)?.to_string();
    let list = std::fs::read(LIST).map_err(failed("read", LIST))?;
    let mut lines = list.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.split(|byte| *byte == b' ').next() == Some(id.as_bytes()));
    let missing = || failed("find the mount of", path)(std::io::ErrorKind::NotFound.into());
    Ok(line.ok_or_else(missing)?.to_vec())
}

/// Tells mounts apart: files can be linked only within one.
pub(crate) fn mount_id(file: impl AsFd) -> rustix::io::Result<u64> {
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}

/// A path as mountinfo has it: some bytes are written in octal.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        for (field, expected) in [
            ("/sysroot", "/sysroot"),
            ("/a\\040b", "/a b"),
            ("/a\\", "/a\\"),
            ("/a\\9", "/a\\9"),
        ] {
            assert_eq!(unescape(field.as_bytes()), Path::new(expected));
        }
    }

    #[test]
    fn the_mount_of_a_path_is_found_and_is_above_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let point = mount_point(directory.path()).expect("found");
        let path = directory.path().canonicalize().expect("there");
        assert!(path.starts_with(&point), "{}", point.display());
        assert!(!make_writable(directory.path()).expect("looked at"));
    }
}
