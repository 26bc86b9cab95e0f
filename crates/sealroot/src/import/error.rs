// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a release could not be had from an OSTree commit.

use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::pack::PackError;
use sealroot_format::sign::{self, Name};

use crate::ostree::{OstreeError, StatementPlace};
use crate::store::StoreError;

/// Why a release could not be had from an OSTree commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The commit cannot be read or verified.
    #[error(transparent)]
    Ostree(#[from] OstreeError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree does not fit into a pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Signatures of two places do not go together.
    #[error(transparent)]
    Statement(#[from] sign::Error),
    /// The vendor has published none.
    #[error(
        "{} has no release statement of commit {commit}{}: expected one in its detached metadata \
         or in the directory sealroot; `ostree pull` brings what the vendor has published since",
        repository.display(),
        in_stream(stream.as_ref())
    )]
    NoStatement {
        /// The repository.
        repository: PathBuf,
        /// The commit.
        commit: CommitId,
        /// The stream that was asked for.
        stream: Option<Name>,
    },
    /// There is none that can be used.
    #[error("the release statement of commit {commit} in {place} cannot be used")]
    Refused {
        /// The commit.
        commit: CommitId,
        /// Where it is.
        place: StatementPlace,
        /// Why not.
        #[source]
        why: Box<RefusedStatement>,
    },
    /// The commit has been released in several streams.
    #[error("{commit} was released in several streams: {}", list(streams))]
    SeveralStreams {
        /// The commit.
        commit: CommitId,
        /// Where.
        streams: Vec<Name>,
    },
    /// The store has another release of the commit in that stream.
    #[error(
        "the store has another signed statement of {commit} in stream {stream}, which a deployment \
         may need to boot; it was not replaced"
    )]
    OtherRelease {
        /// The commit.
        commit: CommitId,
        /// The stream.
        stream: Name,
    },
}

/// Why a statement that was published with a commit is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedStatement {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(OstreeError),
    /// It is damaged, or not signed by those who must.
    #[error(transparent)]
    Statement(sign::Error),
    /// It is about another commit.
    #[error("it is about another commit, {stated}")]
    OtherCommit {
        /// The one it states.
        stated: CommitId,
    },
    /// It is about another stream than its name.
    #[error("it is about another stream, {stated}")]
    OtherStream {
        /// The one it states.
        stated: Name,
    },
}

fn list(streams: &[Name]) -> String {
    let names: Vec<&str> = streams.iter().map(Name::as_str).collect();
    names.join(", ")
}

fn in_stream(stream: Option<&Name>) -> String {
    stream
        .map(|stream| format!(" in stream {stream}"))
        .unwrap_or_default()
}

impl RefusedStatement {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreadable(error) => error.class(),
            Self::Statement(error) => error.class(),
            Self::OtherCommit { .. } | Self::OtherStream { .. } => ErrorClass::Untrusted,
        }
    }
}

impl ImportError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Ostree(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Pack(error) => error.class(),
            Self::Statement(error) => error.class(),
            Self::NoStatement { .. } => ErrorClass::NotFound,
            Self::Refused { why, .. } => why.class(),
            Self::SeveralStreams { .. } | Self::OtherRelease { .. } => ErrorClass::Usage,
        }
    }
}
