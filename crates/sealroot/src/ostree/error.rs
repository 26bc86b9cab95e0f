// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a commit cannot be read.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::{CommitId, Sha256Digest, VerityDigest};
use sealroot_format::tree::TreeError;

use super::format::FormatError;
use super::gvariant::NotNormal;
use super::inflate::InflateError;
use super::signature::SignatureError;
use crate::store::StoreError;

/// What kind of object a checksum names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// A directory's names.
    DirTree,
    /// A directory's attributes.
    DirMeta,
    /// A regular file or symlink.
    File,
}

impl ObjectKind {
    /// As OSTree ends the names of such objects.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::DirTree => "dirtree",
            Self::DirMeta => "dirmeta",
            Self::File => "file",
        }
    }
}

/// One object of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    /// What names it.
    pub checksum: Sha256Digest,
    /// What it is.
    pub kind: ObjectKind,
}

impl fmt::Display for ObjectName {
    /// As OSTree spells it: `<checksum>.<kind>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.checksum, self.kind.extension())
    }
}

/// An object and a path of the tree at which it stands; `/` is the root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectAt {
    /// The object.
    pub object: ObjectName,
    /// One of the paths it has in the tree, where known; a commit has none.
    pub path: Option<Box<[u8]>>,
}

impl fmt::Display for ObjectAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}", self.object)?;
        match &self.path {
            Some(path) => write!(f, " ({})", path.escape_ascii()),
            None => Ok(()),
        }
    }
}

/// Why a commit cannot be read from a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OstreeError {
    /// There is no repository.
    #[error("{} is not an OSTree repository: {reason}", path.display())]
    NotARepository {
        /// Where it was looked for.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The repository's `config` cannot be understood.
    #[error("{}: {field}: expected {expected}, found {found}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Line or key.
        field: String,
        /// What may be.
        expected: &'static str,
        /// What there is.
        found: String,
    },
    /// The repository uses something that is not read yet.
    #[error("{}: repositories with {what} are not supported; pull the commit into one of its own", path.display())]
    UnsupportedRepository {
        /// The repository.
        path: PathBuf,
        /// What it has.
        what: String,
    },
    /// A revision that is neither a checksum nor a ref.
    #[error(
        "{rev:?} is no revision: expected a checksum of 64 lowercase hex digits, a ref, or \
         remote:ref, perhaps with ^ for the parent"
    )]
    Revision {
        /// As given.
        rev: String,
    },
    /// A ref that is not there.
    #[error("the repository has no ref {rev:?}; `ostree refs` lists those it has")]
    RefMissing {
        /// As given.
        rev: String,
    },
    /// A ref's file holds no checksum.
    #[error("the ref {rev:?}: expected 64 lowercase hex digits and a line feed, found {found:?}")]
    Ref {
        /// As given.
        rev: String,
        /// The beginning of the file.
        found: String,
    },
    /// The parent of a commit that has none.
    #[error("commit {commit} has no parent")]
    NoParent {
        /// The commit.
        commit: CommitId,
    },
    /// More refs than any repository has.
    #[error("the repository has too many refs to list: expected at most {bound}")]
    TooManyRefs {
        /// The bound.
        bound: usize,
    },
    /// The commit was pulled in part only, or `ostree fsck` found objects missing.
    #[error(
        "commit {commit} is only in part in this repository; `ostree --repo={} pull REMOTE \
         {commit}` completes it",
        repository.display()
    )]
    Partial {
        /// The repository.
        repository: PathBuf,
        /// The commit.
        commit: CommitId,
    },
    /// The commit was deleted on purpose: a tombstone is in its place.
    #[error(
        "commit {commit} was deleted from this repository, where a tombstone marks it; take a \
         newer one, or pull it again if its remote still has it"
    )]
    Deleted {
        /// The commit.
        commit: CommitId,
    },
    /// An object cannot be used.
    #[error("{at} cannot be used")]
    Object {
        /// The object.
        at: ObjectAt,
        /// Why.
        #[source]
        source: Box<ObjectError>,
    },
    /// The tree breaks a bound.
    #[error("{}: no tree can have this", path.escape_ascii())]
    Entry {
        /// Where in the tree.
        path: Box<[u8]>,
        /// Which bound.
        #[source]
        source: TreeError,
    },
    /// A tree that has two sets of configuration defaults.
    #[error(
        "the tree has files in /etc and also a directory /usr/etc, so it is not clear which are the defaults; commit it with one of them"
    )]
    TwoEtcs,
    /// The detached metadata of a commit cannot be used.
    #[error(
        "the detached metadata of commit {commit} cannot be used; the commit itself may be good: \
         pull it again, or take away its .commitmeta, which holds the signatures"
    )]
    Detached {
        /// The commit.
        commit: CommitId,
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// The commit is not signed as its remote demands, or that cannot be told.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A statement cannot be published as it is.
    #[error(transparent)]
    Statement(sealroot_format::sign::Error),
    /// Somebody else holds the repository's lock.
    #[error(
        "the repository is in use: {} is locked and stayed so for {waited_seconds} s; try again \
         later",
        lock.display()
    )]
    Busy {
        /// The lock file.
        lock: PathBuf,
        /// How long we waited.
        waited_seconds: u64,
    },
    /// The repository's lock cannot be taken.
    #[error("cannot lock {}; only who may write to a repository can publish in it", lock.display())]
    Lock {
        /// The lock file.
        lock: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the repository cannot be read or written.
    #[error(transparent)]
    Written(#[from] StoreError),
    /// The system failed to read the repository.
    #[error("cannot read {}", path.display())]
    Read {
        /// A file of the repository.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why one object cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// It is not there.
    #[error("it is missing; pull the commit again, or look for more damage with `ostree fsck`")]
    Missing,
    /// It is not the one its name says.
    #[error(
        "its checksum is {found}, so it is damaged or was changed; `ostree fsck --delete` removes it, then pull the commit again"
    )]
    Checksum {
        /// What its bytes really hash to.
        found: Sha256Digest,
    },
    /// It is not the one its name says, in a repository that does not keep all of an object.
    #[error(
        "with owner 0:0 and no xattrs its checksum is {found}, so it is damaged, or the commit \
         has more of it than a repository of mode bare-user-only keeps; pull the commit into one \
         of mode bare, bare-user or archive, where it can be verified"
    )]
    NotCanonical {
        /// What it hashes to with the canonical metadata.
        found: Sha256Digest,
    },
    /// The object that holds its xattrs is not there.
    #[error(
        "its xattrs, the object with the extension .file-xattrs-link, are missing; pull the \
         commit again"
    )]
    MissingXattrs,
    /// It breaks its format.
    #[error(
        "it breaks its format; if `ostree fsck` finds no damage, what made the commit is at fault"
    )]
    Malformed(
        /// How.
        #[from]
        FormatError,
    ),
    /// It is no GVariant as it should be.
    #[error("it is no GVariant in normal form: {0}")]
    Encoding(NotNormal),
    /// Its deflated bytes break their format.
    #[error(
        "it cannot be decompressed; `ostree fsck --delete` removes it, then pull the commit again"
    )]
    Deflated(
        /// How.
        #[from]
        InflateError,
    ),
    /// Its file is of the wrong kind or size.
    #[error("{field}: expected {expected}, found {found}")]
    File {
        /// What about the file.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The system failed to read it.
    #[error("it cannot be read; a bare repository is for its owner, usually root, to read")]
    Read(
        /// What the system said.
        #[source]
        io::Error,
    ),
    /// The store did not take it.
    #[error("it cannot be stored as {digest}")]
    Sink {
        /// The object of the store.
        digest: VerityDigest,
        /// What the store said.
        #[source]
        source: io::Error,
    },
    /// The store did not take it as it is.
    #[error("it cannot become an object of the store")]
    Take(#[source] io::Error),
    /// Its content could not be put aside.
    #[error("it cannot be put aside until it is packed")]
    Spool(#[source] io::Error),
}

impl From<io::Error> for ObjectError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(inflate) => Self::Deflated(*inflate),
            None => Self::Read(error),
        }
    }
}

impl From<rustix::io::Errno> for ObjectError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Read(errno.into())
    }
}

impl ObjectError {
    /// What kind of failure this is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Missing | Self::MissingXattrs => ErrorClass::NotFound,
            Self::Checksum { .. } | Self::NotCanonical { .. } => ErrorClass::Untrusted,
            Self::Malformed(source) => source.class(),
            Self::Deflated(_) | Self::Encoding(_) | Self::File { .. } => ErrorClass::Corrupt,
            Self::Read(_) | Self::Sink { .. } | Self::Take(_) | Self::Spool(_) => ErrorClass::Io,
        }
    }

    /// Says which object this is about, and where in the tree it stands.
    pub(super) fn at(self, object: ObjectName, path: Option<&[u8]>) -> OstreeError {
        OstreeError::Object {
            at: ObjectAt {
                object,
                path: path.map(Into::into),
            },
            source: Box::new(self),
        }
    }
}

impl OstreeError {
    /// Whether an object is there, and not for this user to read.
    pub(crate) fn is_denied(&self) -> bool {
        let Self::Object { source, .. } = self else {
            return false;
        };
        matches!(&**source, ObjectError::Read(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotARepository { .. }
            | Self::RefMissing { .. }
            | Self::NoParent { .. }
            | Self::Partial { .. }
            | Self::Deleted { .. } => ErrorClass::NotFound,
            Self::Revision { .. } => ErrorClass::Usage,
            Self::UnsupportedRepository { .. } | Self::TooManyRefs { .. } | Self::TwoEtcs => {
                ErrorClass::Unsupported
            }
            Self::Config { .. } | Self::Ref { .. } => ErrorClass::Corrupt,
            Self::Object { source, .. } => source.class(),
            Self::Entry { source, .. } => source.class(),
            Self::Detached { source, .. } => source.class(),
            Self::Signature(source) => source.class(),
            Self::Statement(source) => source.class(),
            Self::Busy { .. } => ErrorClass::Busy,
            Self::Written(source) => source.class(),
            Self::Read { .. } | Self::Lock { .. } => ErrorClass::Io,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn messages_say_which_object_where_and_how_to_go_on() {
        let object = ObjectName {
            checksum: Sha256Digest::from_bytes([0xab; 32]),
            kind: ObjectKind::File,
        };
        let error = ObjectError::Checksum {
            found: Sha256Digest::from_bytes([0xcd; 32]),
        };
        let error = error.at(object, Some(b"/usr/bin/a b\n"));
        let (ab, cd) = ("ab".repeat(32), "cd".repeat(32));
        assert_eq!(
            error.to_string(),
            format!("object {ab}.file (/usr/bin/a b\\n) cannot be used")
        );
        assert_eq!(
            error.source().map(ToString::to_string),
            Some(format!(
                "its checksum is {cd}, so it is damaged or was changed; `ostree fsck --delete` \
                 removes it, then pull the commit again"
            ))
        );
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }
}
