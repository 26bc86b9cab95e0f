// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which mount a file is reached through, as the kernel lists them.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, StatxFlags};

/// Where the kernel lists this thread's mounts.
const LIST: &str = "/proc/self/mountinfo";

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// What of the filesystem is mounted.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// The type of the filesystem, as the kernel calls it.
    pub(crate) filesystem: String,
    /// The device, if there is one.
    pub(crate) source: Option<PathBuf>,
}

/// The mount that an open file is reached through.
pub(crate) fn mount_of(file: impl AsFd) -> io::Result<Mount> {
    let id = mount_id(file)?;
    let list = std::fs::read(LIST)?;
    let found = list.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, mount) = parse(line)?;
        (found == id).then_some(mount)
    });
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// All mounts that this thread sees, in the order in which they were made.
pub(crate) fn mounts() -> io::Result<Vec<Mount>> {
    let list = std::fs::read(LIST)?;
    let lines = list.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(parse).map(|(_, mount)| mount).collect())
}

/// Where a file is, as far as names go: files can be linked only within one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    device: u64,
    mount: u64,
}

/// Where an open file is.
pub(crate) fn place_of(file: impl AsFd) -> io::Result<Place> {
    Ok(Place {
        device: rustix::fs::fstat(&file)?.st_dev,
        mount: mount_id(&file)?,
    })
}

/// Tells mounts apart.
pub(crate) fn mount_id(file: impl AsFd) -> rustix::io::Result<u64> {
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}

/// A line (`proc_pid_mountinfo(5)`): the mount's id and the mount.
fn parse(line: &[u8]) -> Option<(u64, Mount)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let mut fields = fields.skip(2);
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    // Optional fields end with a dash.
    fields.find(|field| *field == b"-")?;
    let filesystem = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = Some(unescape(fields.next()?)).filter(|source| source.is_absolute());
    let mount = Mount {
        root,
        point,
        filesystem,
        source,
    };
    Some((id, mount))
}

/// A path as it is listed: some bytes are written in octal.
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
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
    fn a_line_is_taken_apart() {
        let line = b"36 35 98:0 /sub /mnt\\0402 rw,noatime master:1 shared:2 - ext4 /dev/root rw";
        let (id, mount) = parse(line).expect("a mount");
        assert_eq!(id, 36);
        assert_eq!(mount.root, Path::new("/sub"));
        assert_eq!(mount.point, Path::new("/mnt 2"));
        assert_eq!(mount.filesystem, "ext4");
        assert_eq!(mount.source.as_deref(), Some(Path::new("/dev/root")));
        let (_, memory) = parse(b"1 0 0:1 / / rw - tmpfs tmpfs rw").expect("a mount");
        assert_eq!(memory.source, None);
        assert_eq!(parse(b"36 35 98:0 /sub"), None);
    }
}
