// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository on disk: its configuration, its refs, and its objects as files.
//!
//! All files are opened relative to the repository's directory and never through a symlink,
//! except refs, which may be aliases of one another.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode as FileMode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::digest::{CommitId, Sha256Digest};
use sealroot_format::limits;
use sha2::{Digest, Sha256};

use super::error::{ObjectError, ObjectName, OstreeError};
use super::keyfile::KeyFile;

/// How a repository keeps its content objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
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
pub(super) struct Repository {
    path: PathBuf,
    root: OwnedFd,
    objects: OwnedFd,
    pub(super) mode: Mode,
    /// Whether the xattrs of a bare repository's files are not part of its objects.
    pub(super) ignore_xattrs: bool,
}

impl Repository {
    /// Opens the repository at `path` and reads its configuration.
    pub(super) fn open(path: &Path) -> Result<Self, OstreeError> {
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
        let config = open_beneath(&root, "config", OFlags::RDONLY | OFlags::CLOEXEC)
            .map_err(not_a_repository("it has no file config"))?;
        let config_path = path.join("config");
        let (mode, ignore_xattrs) = read_config(path, &config_path, File::from(config))?;
        Ok(Self {
            path: path.into(),
            root,
            objects,
            mode,
            ignore_xattrs,
        })
    }

    /// The commit that `rev` names: a checksum, a local ref, or `remote:ref`.
    pub(super) fn resolve(&self, rev: &str) -> Result<CommitId, OstreeError> {
        if let Some(commit) = CommitId::from_hex(rev) {
            return Ok(commit);
        }
        let rev_error = || OstreeError::Revision { rev: rev.into() };
        let (directory, name) = match rev.split_once(':') {
            None => ("refs/heads".into(), rev),
            Some((remote, name)) if is_ref_component(remote) => {
                (format!("refs/remotes/{remote}"), name)
            }
            Some(_) => return Err(rev_error()),
        };
        if !name.split('/').all(is_ref_component) {
            return Err(rev_error());
        }
        let read_error = |source: io::Error| OstreeError::Read {
            path: self.path.join(&directory).join(name),
            source,
        };
        let file = match self.open_ref(&directory, name) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => {
                return Err(OstreeError::RefMissing { rev: rev.into() });
            }
            Err(errno) => return Err(read_error(errno.into())),
        };
        let mut text = Vec::new();
        match File::from(file)
            .take(limits::MAX_OSTREE_REF_BYTES)
            .read_to_end(&mut text)
        {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(OstreeError::RefMissing { rev: rev.into() });
            }
            result => result.map_err(read_error)?,
        };
        CommitId::from_hex(text.trim_ascii_end()).ok_or_else(|| OstreeError::Ref {
            rev: rev.into(),
            found: text.escape_ascii().to_string(),
        })
    }

    /// Refs may be symlinks to others: aliases. They stay beneath the refs of one kind.
    fn open_ref(&self, directory: &str, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open_beneath(&self.root, directory, flags)?;
        rustix::fs::openat2(
            directory,
            name,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            FileMode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Refuses a commit that is marked as there only in part.
    pub(super) fn check_complete(&self, commit: CommitId) -> Result<(), OstreeError> {
        let marker = format!("state/{commit}.commitpartial");
        match open_beneath(&self.root, &marker, OFlags::PATH | OFlags::CLOEXEC) {
            Ok(_) => Err(OstreeError::Partial { commit }),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(errno) => Err(OstreeError::Read {
                path: self.path.join(marker),
                source: errno.into(),
            }),
        }
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
        // O_NONBLOCK: a fifo must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match open_beneath(&self.objects, &path, flags) {
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

fn open_beneath(directory: &OwnedFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(directory, path, flags, FileMode::empty(), resolve)
}

fn object_path(checksum: &Sha256Digest, extension: &str) -> String {
    let hex = checksum.to_hex();
    let (directory, rest) = hex.split_at(2);
    format!("{directory}/{rest}.{extension}")
}

/// One component of a ref or a remote's name: a word, with `-` and `.` after its first character.
fn is_ref_component(component: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    component.starts_with(is_word)
        && component
            .chars()
            .all(|c| is_word(c) || c == '-' || c == '.')
}

fn read_config(repository: &Path, path: &Path, file: File) -> Result<(Mode, bool), OstreeError> {
    let error = |field: String, expected, found: &str| OstreeError::Config {
        path: path.into(),
        field,
        expected,
        found: found.into(),
    };
    let mut text = Vec::new();
    let max = limits::MAX_OSTREE_CONFIG_BYTES;
    file.take(max.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(|source| OstreeError::Read {
            path: path.into(),
            source,
        })?;
    if text.len() as u64 > max {
        return Err(error("size".into(), "at most 1 MiB", "more"));
    }
    let text =
        std::str::from_utf8(&text).map_err(|_| error("text".into(), "UTF-8", "other bytes"))?;
    let config = KeyFile::parse(text).map_err(|bad| {
        error(
            format!("line {}", bad.number),
            "a group or a key with its value",
            "neither",
        )
    })?;
    let unsupported = |what: String| OstreeError::UnsupportedRepository {
        path: repository.into(),
        what,
    };
    match config.get("core", "repo_version") {
        Some("1") => {}
        found => {
            let field = "core.repo_version".into();
            return Err(error(field, "1", found.unwrap_or("nothing")));
        }
    }
    if config.get("core", "parent").is_some() {
        return Err(unsupported("a parent repository".into()));
    }
    let mode = match config.get("core", "mode") {
        None | Some("bare") => Mode::Bare,
        Some("bare-user") => Mode::BareUser,
        Some("archive" | "archive-z2") => Mode::Archive,
        Some("bare-user-only") => Mode::BareUserOnly,
        Some("bare-split-xattrs") => Mode::BareSplitXattrs,
        Some(mode) => return Err(error("core.mode".into(), "a mode of OSTree", mode)),
    };
    let ignore_xattrs = match config.get("core", "disable-xattrs") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(found) => {
            let field = "core.disable-xattrs".into();
            return Err(error(field, "true or false", found));
        }
    };
    Ok((mode, ignore_xattrs))
}
