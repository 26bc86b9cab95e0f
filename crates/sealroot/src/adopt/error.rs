// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with an adoption or the way back.

use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::pack::PackError;

use crate::deploy::DeployError;
use crate::entry::EntryError;
use crate::import::{Difference, ImportError};
use crate::ostree::OstreeError;
use crate::store::StoreError;

/// Why nothing was adopted or taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// OSTree's side cannot be read or written.
    #[error(transparent)]
    Ostree(#[from] OstreeError),
    /// A boot entry cannot be removed.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The deployments of the store cannot be read.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree does not fit into a pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The vendor's statement cannot be used.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The repository has its files compressed.
    #[error(
        "{}: a repository of mode archive has its files compressed, so they cannot become objects",
        repository.display()
    )]
    Compressed {
        /// The repository.
        repository: PathBuf,
    },
    /// The statement is of something else.
    #[error("the release statement is of commit {found}, expected {expected}")]
    OtherCommit {
        /// The commit that is to be adopted.
        expected: CommitId,
        /// The commit of the statement.
        found: CommitId,
    },
    /// What was made of the commit is not what was signed.
    #[error(
        "the pack made here is not the one that was signed: {}",
        list(differences)
    )]
    OtherPack {
        /// In what.
        differences: Vec<Difference>,
    },
    /// A ref of the repository is not what it should be.
    #[error("{} is in the place of a ref and is none", path.display())]
    BadRef {
        /// The file.
        path: PathBuf,
    },
    /// The pre-flight found what stands against it.
    #[error("this commit cannot be adopted here: {}", reasons.join("; "))]
    Blocked {
        /// What it found.
        reasons: Vec<String>,
    },
    /// OSTree could not boot.
    #[error("OSTree has nothing whole to boot in {}: {reason}", sysroot.display())]
    NothingToReturnTo {
        /// The physical root.
        sysroot: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Boot entries that are not ours to remove would boot what is to be removed, or nothing.
    #[error(
        "boot entries that others made or changed boot deployments of sealroot, or did: {}",
        entries.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    StillBooted {
        /// Their files.
        entries: Vec<PathBuf>,
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
}

impl AdoptError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Ostree(error) => error.class(),
            Self::Entry(error) => error.class(),
            Self::Deploy(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Pack(error) => error.class(),
            Self::Import(error) => error.class(),
            Self::Compressed { .. } | Self::OtherPack { .. } | Self::Blocked { .. } => {
                ErrorClass::Unsupported
            }
            Self::OtherCommit { .. } | Self::StillBooted { .. } => ErrorClass::Usage,
            Self::BadRef { .. } => ErrorClass::Corrupt,
            Self::NothingToReturnTo { .. } => ErrorClass::NotFound,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Io { .. } => ErrorClass::Io,
        }
    }
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Gives an [`io::Error`] its context.
pub(super) fn failed(
    operation: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> AdoptError {
    let path = path.into();
    move |source| AdoptError::Io {
        operation,
        path,
        source,
    }
}
