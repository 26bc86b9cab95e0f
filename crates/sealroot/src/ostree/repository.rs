// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository on disk: its objects as files.
//!
//! All files are opened relative to the repository's directory and never through a symlink,
//! except refs, which may be aliases of one another.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode as FileMode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits;
use sha2::{Digest, Sha256};

use super::config::Config;
use super::error::{ObjectError, ObjectName, OstreeError};

/// How a repository keeps its content objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Files with their own owner, mode and xattrs, and symlinks.
    Bare,
    /// Regular files whose owner, mode and xattrs are in the xattr `user.ostreemeta`.
    BareUser,
    /// Like bare, but files have no owner, group and xattrs of their own: those are lost.
    BareUserOnly,
    /// Like bare, but the xattrs are in an object of their own.
    BareSplitXattrs,
    /// Header and deflated bytes in one file.
    Archive,
}

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
    pub(super) objects: OwnedFd,
    pub(super) config: Config,
}

impl Repository {
    /// Opens the repository at `path` and reads its configuration.
    pub fn open(path: &Path) -> Result<Self, OstreeError> {
        let not_a_repository = |reason| {
            move |errno: Errno| OstreeError::NotARepository {
                path: path.into(),
                reason,
                source: errno.into(),
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, FileMode::empty())
            .map_err(not_a_repository("it cannot be opened"))?;
        let objects = open_beneath(&root, "objects", flags)
            .map_err(not_a_repository("it has no directory objects"))?;
        let config = open_beneath(&root, "config", TO_READ)
            .map_err(not_a_repository("it has no file config"))?;
        let config = Config::read(path, File::from(config))?;
        Ok(Self {
            path: path.into(),
            root,
            objects,
            config,
        })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it keeps its content objects.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// The bytes of a commit, dirtree or dirmeta, verified.
    pub(super) fn read_metadata(&self, object: ObjectName) -> Result<Vec<u8>, ObjectError> {
        const MAX: u64 = limits::MAX_OSTREE_METADATA_BYTES;
        let (file, _) = self.open_regular(&object.checksum, object.kind.extension())?;
        let mut bytes = Vec::new();
        file.take(MAX.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX {
            return Err(ObjectError::File {
                field: "size",
                expected: format!("at most {MAX} bytes"),
                found: "more".into(),
            });
        }
        let found = Sha256Digest::from_bytes(Sha256::digest(&bytes).into());
        if found != object.checksum {
            return Err(ObjectError::Checksum { found });
        }
        Ok(bytes)
    }

    /// Opens an object that must be a regular file.
    pub(super) fn open_regular(
        &self,
        checksum: &Sha256Digest,
        extension: &str,
    ) -> Result<(File, rustix::fs::Stat), ObjectError> {
        let path = object_path(checksum, extension);
        let file = match open_beneath(&self.objects, &path, TO_READ) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(ObjectError::Missing),
            Err(Errno::LOOP) => return Err(wrong_type("a symlink")),
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file, stat)),
            _ => Err(wrong_type("something else")),
        }
    }

    /// Opens an object that must be a symlink, without following it; `None` if it is none.
    pub(super) fn open_symlink(
        &self,
        checksum: &Sha256Digest,
        extension: &str,
    ) -> Result<Option<(OwnedFd, rustix::fs::Stat)>, ObjectError> {
        let path = object_path(checksum, extension);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = match open_beneath(&self.objects, &path, flags) {
            Ok(link) => link,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(ObjectError::Missing),
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&link)?;
        let is_symlink = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        Ok(is_symlink.then_some((link, stat)))
    }
}

fn wrong_type(found: &str) -> ObjectError {
    ObjectError::File {
        field: "file type",
        expected: "a regular file".into(),
        found: found.into(),
    }
}

/// How a file is opened that is to be read: a fifo in its place must not hold us up.
pub(super) const TO_READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens what `path` names beneath `directory`, through no symlink.
pub(super) fn open_beneath(
    directory: &OwnedFd,
    path: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(directory, path, flags, FileMode::empty(), resolve)
}

/// The name of an object in the directory `objects`.
pub(super) fn object_path(checksum: &Sha256Digest, extension: &str) -> String {
    let hex = checksum.to_hex();
    let (directory, rest) = hex.split_at(2);
    format!("{directory}/{rest}.{extension}")
}
