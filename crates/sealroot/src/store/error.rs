// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong in a store.

use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_sys::verity::{EnableVerityError, MeasureVerityError};

use super::config::STORE_VERSION;
use super::io::FileKind;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The filesystem refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The filesystem or a quota is full.
    #[error(
        "no space left to {operation} {}: {} needed, {} available",
        path.display(), bytes_or_unknown(*needed_bytes), bytes_or_unknown(*available_bytes)
    )]
    NoSpace {
        /// The operation, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What this operation needed, with fs-verity's Merkle tree where there is one.
        needed_bytes: Option<u64>,
        /// What the filesystem says it has for us.
        available_bytes: Option<u64>,
        /// The refusal.
        source: io::Error,
    },
    /// Somebody else holds the lock.
    #[error(
        "the store is in use: {} is locked and stayed so for {waited_ms} ms; try again later",
        lock.display()
    )]
    Busy {
        /// The lock file.
        lock: PathBuf,
        /// How long we waited.
        waited_ms: u64,
    },
    /// The directory is no store.
    #[error("{} is not a sealroot store: it has no store.toml", location.display())]
    NotAStore {
        /// The directory.
        location: PathBuf,
    },
    /// A store was to be made where something else is.
    #[error(
        "{} cannot become a store: it has {found:?} in it; give an empty or a new directory",
        location.display()
    )]
    NotEmpty {
        /// The directory.
        location: PathBuf,
        /// A name that is no part of a store.
        found: String,
    },
    /// `store.toml` is not what it should be.
    #[error("{} is not valid: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store is of another version.
    #[error(
        "{} has version {found}, expected {STORE_VERSION}: a newer sealroot is needed",
        path.display()
    )]
    Version {
        /// Its `store.toml`.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// `store.toml` promises fs-verity and the filesystem does not have it.
    #[error(
        "{} was made with fs-verity, which this filesystem or kernel does not offer now: \
         enable it (ext4: tune2fs -O verity) or make a new store elsewhere",
        location.display()
    )]
    VerityLost {
        /// The store.
        location: PathBuf,
    },
    /// fs-verity could not be enabled on a new file.
    #[error("cannot enable fs-verity on {}", path.display())]
    EnableVerity {
        /// What the file was to become.
        path: PathBuf,
        /// The refusal.
        source: EnableVerityError,
    },
    /// A file could not be measured.
    #[error("cannot measure the fs-verity digest of {}", path.display())]
    MeasureVerity {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: MeasureVerityError,
    },
    /// A name that must be a regular file is something else.
    #[error("{} is {}, expected a regular file", path.display(), found.name())]
    NotRegular {
        /// The name.
        path: PathBuf,
        /// What it is.
        found: FileKind,
    },
    /// Content does not have the digest it was announced under.
    #[error(
        "the content for {} has the fs-verity digest {found}, expected {expected}: \
         it changed while it was read",
        path.display()
    )]
    DigestMismatch {
        /// What the content was to become.
        path: PathBuf,
        /// What was announced.
        expected: VerityDigest,
        /// What it is.
        found: VerityDigest,
    },
    /// Content does not have the size it was announced with.
    #[error(
        "the content for {} has {found}, expected {expected_bytes} bytes: \
         it changed while it was read",
        path.display()
    )]
    SizeMismatch {
        /// What the content was to become.
        path: PathBuf,
        /// What was announced.
        expected_bytes: u64,
        /// What it is, in words.
        found: String,
    },
    /// What is in the store under this name is not what the name says.
    #[error("{} cannot be trusted: {reason}", path.display())]
    Damaged {
        /// The name.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that was asked for is not there.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The name.
        path: PathBuf,
    },
    /// The content of an object or pack could not be read or made.
    #[error("cannot get the content for {}", path.display())]
    Content {
        /// What it was to become.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A small file is larger than it may be.
    #[error("{} has {found_bytes} bytes, expected at most {max_bytes}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found_bytes: u64,
        /// What it may have.
        max_bytes: u64,
    },
    /// An operation of the transaction has failed: it can only be given up.
    #[error(
        "the transaction on {} cannot go on since it failed: {cause}",
        location.display()
    )]
    Failed {
        /// The store.
        location: PathBuf,
        /// Why it failed.
        cause: String,
    },
}

impl StoreError {
    /// Whether content was given that is not what it was announced as, and nothing else failed.
    pub(crate) fn is_about_content(&self) -> bool {
        matches!(
            self,
            Self::Content { .. } | Self::SizeMismatch { .. } | Self::DigestMismatch { .. }
        )
    }

    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Io { .. }
            | Self::NoSpace { .. }
            | Self::EnableVerity { .. }
            | Self::MeasureVerity { .. }
            | Self::Content { .. }
            | Self::Failed { .. } => ErrorClass::Io,
            Self::Busy { .. } => ErrorClass::Busy,
            Self::NotAStore { .. } | Self::NotFound { .. } => ErrorClass::NotFound,
            Self::NotEmpty { .. } => ErrorClass::Usage,
            Self::Config { .. } | Self::NotRegular { .. } | Self::TooLarge { .. } => {
                ErrorClass::Corrupt
            }
            Self::Version { .. } | Self::VerityLost { .. } => ErrorClass::Unsupported,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } | Self::Damaged { .. } => {
                ErrorClass::Untrusted
            }
        }
    }
}

impl From<StoreError> for io::Error {
    /// For the traits that speak [`io::Error`]: the error is whole inside.
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Io { source, .. } | StoreError::NoSpace { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

fn bytes_or_unknown(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "an unknown amount".into(), |n| format!("{n} bytes"))
}
