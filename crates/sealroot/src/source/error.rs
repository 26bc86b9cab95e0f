// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a directory cannot be read as a tree.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sealroot_format::tree::TreeError;
use sealroot_format::{ErrorClass, limits};

use super::normal::NormalizeError;

/// Why a directory cannot be read as a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An extended attribute is there and cannot be read.
    #[error("cannot read the extended attribute {:?} of {}", name.escape_ascii().to_string(), path.display())]
    Xattr {
        /// Whose.
        path: PathBuf,
        /// The attribute's full name.
        name: Box<[u8]>,
        /// Why not.
        source: io::Error,
    },
    /// Something was not the same before and after it was read.
    #[error("{} changed while it was being read: {what}", path.display())]
    Changed {
        /// What changed.
        path: PathBuf,
        /// How that showed.
        what: &'static str,
    },
    /// Something else is mounted inside the tree.
    #[error(
        "{} is a mount point: unmount it, or bind-mount the tree elsewhere, which shows it without \
         its mounts",
        path.display()
    )]
    MountPoint {
        /// The mount point.
        path: PathBuf,
    },
    /// A device node, where they are not to be kept.
    #[error("{} is a {kind} device {major}:{minor}, expected none in an OS tree", path.display())]
    Device {
        /// The device node.
        path: PathBuf,
        /// `block` or `character`.
        kind: &'static str,
        /// The driver.
        major: u32,
        /// The device.
        minor: u32,
    },
    /// The path from the root is too long.
    #[error(
        "the path of {} from the root has {found} bytes, expected at most {}",
        path.display(),
        limits::MAX_PATH_BYTES
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes from the root of the tree.
        found: usize,
    },
    /// It has something that no tree can have.
    #[error("{} cannot be part of a tree", path.display())]
    Entry {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        source: TreeError,
    },
    /// The file was read, but its content could not be stored.
    #[error("cannot store the content of {}", path.display())]
    Sink {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The content of small files could not be put aside.
    #[error("cannot put small files aside until they are packed")]
    Spool(#[source] io::Error),
    /// A file that is to be normalized cannot be.
    #[error("cannot normalize {}; without that, it is taken as it is", path.display())]
    Normalize {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: NormalizeError,
    },
}

impl SourceError {
    /// [`ErrorClass::Busy`] for changes, [`ErrorClass::Usage`] for what the caller can choose
    /// otherwise, the class of the cause elsewhere.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Io { .. } | Self::Xattr { .. } | Self::Sink { .. } | Self::Spool(_) => {
                ErrorClass::Io
            }
            Self::Changed { .. } => ErrorClass::Busy,
            Self::MountPoint { .. } | Self::Device { .. } => ErrorClass::Usage,
            Self::PathTooLong { .. } | Self::Normalize { .. } => ErrorClass::Unsupported,
            Self::Entry { source, .. } => source.class(),
        }
    }
}

/// An error that does not know yet which entry it is about.
#[derive(Debug)]
pub(super) enum Fault {
    Os(&'static str, Errno),
    Xattr(Box<[u8]>, Errno),
    Changed(&'static str),
    MountPoint,
    Device {
        kind: &'static str,
        major: u32,
        minor: u32,
    },
    PathTooLong(usize),
    Entry(TreeError),
    Sink(io::Error),
    Spool(io::Error),
    Normalize(NormalizeError),
}

impl Fault {
    /// For `map_err` of a system call; `action` completes "cannot ...".
    pub(super) const fn os(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Os(action, errno)
    }

    /// For `map_err` of opening something that was there a moment ago.
    pub(super) fn open(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| match errno {
            Errno::XDEV => Self::MountPoint,
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR => {
                Self::Changed("it was replaced or removed")
            }
            errno => Self::Os(action, errno),
        }
    }

    /// Says which entry it is about, by its path from the root without a leading slash.
    pub(super) const fn at(self, path: Vec<u8>) -> Failure {
        Failure { path, fault: self }
    }
}

/// A [`Fault`] and the entry it is about.
#[derive(Debug)]
pub(super) struct Failure {
    /// From the root, without a leading slash; empty for the root.
    pub(super) path: Vec<u8>,
    fault: Fault,
}

impl Failure {
    pub(super) fn into_error(self, root: &Path) -> SourceError {
        let path = match &*self.path {
            [] => root.to_path_buf(),
            path => root.join(OsStr::from_bytes(path)),
        };
        match self.fault {
            Fault::Os(action, errno) => SourceError::Io {
                action,
                path,
                source: errno.into(),
            },
            Fault::Xattr(name, errno) => SourceError::Xattr {
                path,
                name,
                source: errno.into(),
            },
            Fault::Changed(what) => SourceError::Changed { path, what },
            Fault::MountPoint => SourceError::MountPoint { path },
            Fault::Device { kind, major, minor } => SourceError::Device {
                path,
                kind,
                major,
                minor,
            },
            Fault::PathTooLong(found) => SourceError::PathTooLong { path, found },
            Fault::Entry(source) => SourceError::Entry { path, source },
            Fault::Sink(source) => SourceError::Sink { path, source },
            Fault::Spool(source) => SourceError::Spool(source),
            Fault::Normalize(source) => SourceError::Normalize { path, source },
        }
    }
}
