// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with a release.

use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::pack::{self, PackError};
use sealroot_format::sign::{self, Name};

use crate::store::StoreError;

/// Why a release cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no statement of the commit.
    #[error("there is no release statement of {commit}{}", in_stream(stream.as_ref()))]
    NoStatement {
        /// The commit.
        commit: CommitId,
        /// The stream that was asked for.
        stream: Option<Name>,
    },
    /// The commit has been released in several streams.
    #[error("{commit} was released in several streams: {}", list(streams))]
    SeveralStreams {
        /// The commit.
        commit: CommitId,
        /// Where.
        streams: Vec<Name>,
    },
    /// The statement is damaged, or not signed by those who must.
    #[error("the release statement of {named} cannot be used")]
    Statement {
        /// Commit and stream, for people.
        named: String,
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: sign::Error,
    },
    /// The statement's file is named after another release than it states.
    #[error("the release statement named {named} is of {stated}")]
    OtherRelease {
        /// Commit and stream of the name.
        named: String,
        /// Commit and stream of the statement.
        stated: String,
    },
    /// The pack's bytes are not those that were signed.
    #[error("the pack has the {what} {found}, expected {expected} as in the release statement")]
    OtherPack {
        /// What differs.
        what: &'static str,
        /// What the statement says.
        expected: String,
        /// What the pack has.
        found: String,
    },
    /// The pack is of a format that this version does not know.
    #[error(
        "the pack has format version {found}, expected {}: a newer sealroot is needed",
        pack::FORMAT_VERSION
    )]
    PackFormat {
        /// The version that the statement names.
        found: u32,
    },
    /// The pack is the signed one and yet breaks its format.
    #[error("the signed pack {digest} is not well-formed")]
    Pack {
        /// The pack.
        digest: VerityDigest,
        /// Where and how.
        source: PackError,
    },
    /// A file of the release was looked for, and the pack breaks its format there.
    #[error("the pack of the release is not well-formed")]
    Tree(#[source] PackError),
    /// The tree has no kernel.
    #[error("the release has no kernel: there is no {path} in it")]
    NoKernel {
        /// Where it should be.
        path: String,
    },
    /// The tree has several kernels, and the statement names none.
    #[error(
        "the release has several kernels and its statement names none of them: {}",
        versions.join(", ")
    )]
    SeveralKernels {
        /// Their versions.
        versions: Vec<String>,
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

impl ReleaseError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoStatement { .. } | Self::NoKernel { .. } => ErrorClass::NotFound,
            Self::SeveralStreams { .. } => ErrorClass::Usage,
            Self::Statement { source, .. } => source.class(),
            Self::OtherRelease { .. } | Self::OtherPack { .. } => ErrorClass::Untrusted,
            Self::PackFormat { .. } | Self::SeveralKernels { .. } => ErrorClass::Unsupported,
            Self::Pack { source, .. } | Self::Tree(source) => source.class(),
        }
    }
}
