// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why an `/etc` could not be read, merged or written.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::policy::DeploymentName;
use sealroot_format::tree::TreeError;

use super::plan::Clash;
use crate::deploy::DeployError;
use crate::release::ReleaseError;
use crate::source::SourceError;
use crate::store::StoreError;

/// Why an `/etc` could not be read, merged or written. The deployment has the `/etc` it had before,
/// or none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The deployment cannot be read.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The release's default cannot be read.
    #[error(transparent)]
    Release(Box<ReleaseError>),
    /// The present `/etc` cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A directory that should hold an `/etc` cannot be opened.
    #[error("cannot open {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A release has neither `/usr/etc` nor `/etc`.
    #[error("the release has no /etc: neither /usr/etc nor /etc is a directory with files in it")]
    NoDefault,
    /// A release has files in both of the places where its default may be.
    #[error("the release has files in /usr/etc and in /etc: expected one of them")]
    TwoDefaults,
    /// Directories are nested deeper than is cleared away after a crash.
    #[error("/etc{path}: nested too deep: expected at most {max} directories below /etc")]
    TooDeep {
        /// The first directory that is.
        path: String,
        /// How deep they may be nested.
        max: usize,
    },
    /// Local changes and the new release cannot both be had.
    #[error("/etc cannot be merged: {}", Listed(clashes))]
    Clashes {
        /// Each of them, and the way out.
        clashes: Vec<Clash>,
    },
    /// The deployment's own `/etc` was to be merged into itself.
    #[error("{name} is where the changes come from, it cannot be where they are merged to")]
    OwnSource {
        /// The deployment.
        name: DeploymentName,
    },
    /// The release has nothing of that name.
    #[error("/etc/{path}: the release has no such file; if it is unwanted, remove it")]
    NotInDefault {
        /// Below `/etc`.
        path: String,
    },
    /// A directory is to become something else, or the other way round.
    #[error("/etc/{path}: it is {found} and the release's is not: move it away first")]
    InTheWay {
        /// Below `/etc`.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// The path is too long for a deployment.
    #[error("/etc{path}: the path is too long to be in a deployment")]
    TooLong {
        /// Below `/etc`.
        path: String,
    },
    /// A file is no such file as can be kept.
    #[error("{path}: expected {expected}, found {found}")]
    NotKeepable {
        /// The file.
        path: String,
        /// What can be kept.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The content of a file is not what can be kept of it.
    #[error(transparent)]
    Kept(#[from] sealroot_format::text::Error),
    /// The merged tree breaks a bound.
    #[error("{path} cannot be part of a tree")]
    Tree {
        /// Which entry.
        path: String,
        /// Which bound.
        source: TreeError,
    },
    /// The content of a file cannot be read any more.
    #[error("cannot read the content of /etc{path}")]
    Content {
        /// The file, below `/etc`.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

impl From<ReleaseError> for EtcError {
    fn from(error: ReleaseError) -> Self {
        Self::Release(error.into())
    }
}

struct Listed<'c>(&'c [Clash]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, clash) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{clash}")?;
        }
        Ok(())
    }
}

impl EtcError {
    /// [`ErrorClass::Usage`] for what somebody has to decide first, the class of the cause
    /// elsewhere.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Deploy(error) => error.class(),
            Self::Release(error) => error.class(),
            Self::Source(error) => error.class(),
            Self::NoDefault | Self::NotInDefault { .. } => ErrorClass::NotFound,
            Self::TwoDefaults | Self::NotKeepable { .. } => ErrorClass::Corrupt,
            Self::TooDeep { .. } | Self::TooLong { .. } => ErrorClass::Unsupported,
            Self::Kept(error) => error.class(),
            Self::Clashes { .. } | Self::OwnSource { .. } | Self::InTheWay { .. } => {
                ErrorClass::Usage
            }
            Self::Tree { source, .. } => source.class(),
            Self::Content { .. } | Self::Directory { .. } => ErrorClass::Io,
        }
    }
}

/// A path for messages.
pub(super) fn text_of(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}
