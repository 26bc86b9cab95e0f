// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a tree is put together: beside its final name and nobody's but root's, or in an empty
//! directory that was there.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::UnpackError;
use crate::monitor::Monitor;

/// How a directory under construction ends.
const PARTIAL: &str = ".partial";

/// The ACLs that a new directory may have inherited, and would hand on.
const ACLS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// A directory to write a tree into.
#[derive(Debug)]
pub(super) struct Place {
    root: OwnedFd,
    /// The directory's final path.
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// To be renamed when it is complete.
    New {
        parent: File,
        partial: OsString,
        name: OsString,
    },
    /// It was there, as described.
    Existing(Stat),
}

impl Place {
    /// Makes a directory for `path`, or takes the empty one that is there.
    pub(super) fn open(path: &Path) -> Result<Self, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match (
            rustix::fs::open(path, flags, Mode::empty()),
            path.file_name(),
        ) {
            (Ok(root), _) => Self::existing(root, path),
            (Err(Errno::NOENT), Some(name)) => Self::new(path, name),
            (Err(errno), _) => Err(io_error("open", path, errno)),
        }
    }

    fn new(path: &Path, name: &OsStr) -> Result<Self, UnpackError> {
        let parent_path = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = File::open(parent_path).map_err(|source| UnpackError::Io {
            operation: "open",
            path: parent_path.into(),
            source,
        })?;
        let mut partial = name.to_owned();
        partial.push(PARTIAL);
        let there = parent_path.join(&partial);
        match rustix::fs::mkdirat(&parent, &partial, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(UnpackError::Leftover { partial: there }),
            Err(errno) => return Err(io_error("create", &there, errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&parent, &partial, flags, Mode::empty());
        let place = Self {
            root: root.map_err(|errno| io_error("open", &there, errno))?,
            path: path.into(),
            kind: Kind::New {
                parent,
                partial,
                name: name.into(),
            },
        };
        place.drop_acls()?;
        Ok(place)
    }

    fn existing(root: OwnedFd, path: &Path) -> Result<Self, UnpackError> {
        let failed = |operation| move |errno| io_error(operation, path, errno);
        let stat = rustix::fs::fstat(&root).map_err(failed("look at"))?;
        let place = Self {
            root,
            path: path.into(),
            kind: Kind::Existing(stat),
        };
        if let Some(found) = place.first_name().map_err(failed("list"))? {
            return Err(UnpackError::NotEmpty {
                directory: path.into(),
                found,
            });
        }
        // From here on only root can put anything into it; what somebody did before shows.
        rustix::fs::fchown(&place.root, Some(Uid::ROOT), Some(Gid::ROOT))
            .and_then(|()| rustix::fs::fchmod(&place.root, Mode::RWXU))
            .map_err(failed("take over"))?;
        match place.first_name().map_err(failed("list"))? {
            None => place.drop_acls().map(|()| place),
            Some(found) => {
                place.restore();
                Err(UnpackError::NotEmpty {
                    directory: path.into(),
                    found,
                })
            }
        }
    }

    /// The directory to write into.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Where a path of the tree will be, for messages.
    pub(super) fn path_of(&self, path: &[u8]) -> PathBuf {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        self.path.join(OsStr::from_bytes(relative))
    }

    /// Makes all of it durable and gives it its name.
    pub(super) fn finish(&self) -> Result<(), UnpackError> {
        let failed = |operation| move |errno| io_error(operation, &self.path, errno);
        rustix::fs::syncfs(&self.root).map_err(failed("sync"))?;
        if let Kind::New {
            parent,
            partial,
            name,
        } = &self.kind
        {
            let flags = RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(parent, partial, parent, name, flags)
                .map_err(failed("create"))?;
            rustix::fs::fsync(parent).map_err(failed("sync"))?;
        }
        Ok(())
    }

    /// Takes away what was written.
    pub(super) fn clear(&self, monitor: &dyn Monitor) {
        let (result, left) = match &self.kind {
            Kind::New {
                parent, partial, ..
            } => {
                let left = proc_path(parent.as_fd()).join(partial);
                (fs::remove_dir_all(left), self.path.with_file_name(partial))
            }
            Kind::Existing(_) => {
                let result = empty(&proc_path(self.root.as_fd()));
                self.restore();
                (result, self.path.clone())
            }
        };
        if let Err(error) = result
            && error.kind() != io::ErrorKind::NotFound
        {
            let left = left.display();
            monitor.warn(format!(
                "what was written could not be removed from {left} ({error}): it is incomplete, \
                 remove it"
            ));
        }
    }

    /// Owner and mode as they were. Whether that succeeds matters to nobody: the error that led
    /// here is the one to be told.
    fn restore(&self) {
        if let Kind::Existing(stat) = &self.kind {
            let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            let mode = Mode::from_raw_mode(stat.st_mode);
            let _ = rustix::fs::fchown(&self.root, Some(owner), Some(group))
                .and_then(|()| rustix::fs::fchmod(&self.root, mode));
        }
    }

    fn first_name(&self) -> Result<Option<String>, Errno> {
        for entry in Dir::read_from(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                return Ok(Some(name.escape_ascii().to_string()));
            }
        }
        Ok(None)
    }

    fn drop_acls(&self) -> Result<(), UnpackError> {
        for name in ACLS {
            match rustix::fs::fremovexattr(&self.root, name) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(io_error("remove the ACL of", &self.path, errno)),
            }
        }
        Ok(())
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The kernel's own name for an open directory.
fn proc_path(directory: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

fn io_error(operation: &'static str, path: &Path, errno: Errno) -> UnpackError {
    UnpackError::Io {
        operation,
        path: path.into(),
        source: errno.into(),
    }
}
