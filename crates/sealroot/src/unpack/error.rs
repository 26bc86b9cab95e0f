// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a tree could not be written out.

use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;

use crate::store::StoreError;

/// Why a tree could not be written out. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// Only root can give files away, make device nodes and set all attributes.
    #[error(
        "cannot unpack into {} as user {uid}: only root can give files their owners, device \
         nodes and attributes; as another user, look at a tree with ls, cat and dump",
        directory.display()
    )]
    NotRoot {
        /// Where to.
        directory: PathBuf,
        /// Who asks.
        uid: u32,
    },
    /// The directory has something in it.
    #[error(
        "{} is not empty: it has {found:?} in it; give an empty or a new directory",
        directory.display()
    )]
    NotEmpty {
        /// Where to.
        directory: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// Another unpacking has left its work, or is at it.
    #[error(
        "{} exists: another unpacking is writing it or was interrupted; remove it if none is",
        partial.display()
    )]
    Leftover {
        /// What is there.
        partial: PathBuf,
    },
    /// The tree has large files and there is no store to take them from.
    #[error("{path}: its content is the object {digest}, and no store was found to take it from")]
    NoStore {
        /// The file.
        path: String,
        /// Its content.
        digest: VerityDigest,
    },
    /// An object is missing, damaged or cannot be read.
    #[error("{path}: its content cannot be taken from the store")]
    Object {
        /// The file.
        path: String,
        /// Why not.
        source: StoreError,
    },
    /// The filesystem or a quota is full.
    #[error(
        "no space left for {}: all files together have {content_bytes} bytes; nothing incomplete \
         was kept",
        path.display()
    )]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// The content of all files.
        content_bytes: u64,
        /// The refusal.
        source: io::Error,
    },
    /// The system refused something.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// An extended attribute was refused.
    #[error(
        "cannot set the extended attribute {name:?} of {}; if its filesystem has no such \
         attributes, unpack onto another",
        path.display()
    )]
    Xattr {
        /// Whose.
        path: PathBuf,
        /// Its full name.
        name: String,
        /// The refusal.
        source: io::Error,
    },
    /// An entry has an owner or group that no file of Linux can have.
    #[error("{path}: the {what} is {id}, expected a smaller number: no file can have this one")]
    Owner {
        /// The entry.
        path: String,
        /// `owner` or `group`.
        what: &'static str,
        /// The number.
        id: u32,
    },
}

impl UnpackError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotEmpty { .. } => ErrorClass::Usage,
            Self::Leftover { .. } => ErrorClass::Busy,
            Self::NoStore { .. } => ErrorClass::NotFound,
            Self::Object { source, .. } => source.class(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::NotRoot { .. } | Self::NoSpace { .. } | Self::Io { .. } => ErrorClass::Io,
            Self::Xattr { .. } | Self::Owner { .. } => ErrorClass::Unsupported,
        }
    }
}
