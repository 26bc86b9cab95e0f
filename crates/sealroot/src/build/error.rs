// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why nothing was built.

use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::pack::PackError;
use sealroot_format::sign::{self, Name, Word};

use crate::ostree::OstreeError;
use crate::source::SourceError;
use crate::store::StoreError;

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The directory could not be read as it is.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The OSTree commit could not be read or verified.
    #[error(transparent)]
    Ostree(#[from] OstreeError),
    /// The tree does not fit into a pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The statement cannot be written down.
    #[error(transparent)]
    Statement(#[from] sign::Error),
    /// The store is part of the tree it is to be built from.
    #[error("the store {} lies in the tree {}: expected it elsewhere", store.display(), tree.display())]
    StoreInTree {
        /// The store.
        store: PathBuf,
        /// The tree.
        tree: PathBuf,
    },
    /// The tree has kernels, but not the one it is said to be for.
    #[error(
        "the tree has no modules of the kernel {named}: expected {}",
        list(found)
    )]
    OtherKernel {
        /// The kernel release that was named.
        named: Word,
        /// Those in the tree.
        found: Vec<Word>,
    },
    /// No kernel is called that.
    #[error("{:?} is no kernel release: expected one as `uname -r` says it, a name without /", named.as_str())]
    KernelName {
        /// What was named.
        named: Word,
    },
    /// The commit has a signed statement in this stream that says something else.
    #[error(
        "{commit} is released in stream {stream} already, and signed: expected {expected:?} as \
         there, found {found:?}"
    )]
    Signed {
        /// The commit.
        commit: CommitId,
        /// The stream.
        stream: Name,
        /// The first line that differs, as it was signed.
        expected: String,
        /// That line as it would be now.
        found: String,
    },
    /// Another release has that number, or a higher one.
    #[error("the index {found} is not above {highest}, which {commit} has in stream {stream}")]
    Index {
        /// The number that was given.
        found: u64,
        /// The highest there is.
        highest: u64,
        /// Who has it.
        commit: CommitId,
        /// Where.
        stream: Name,
    },
    /// The version or kernel release of an OSTree commit cannot stand in a statement.
    #[error("the commit's own {field} cannot stand in a statement; name it with --{field}")]
    Word {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: sealroot_format::text::Error,
    },
}

fn list(kernels: &[Word]) -> String {
    let kernels: Vec<&str> = kernels.iter().map(Word::as_str).collect();
    kernels.join(" or ")
}

impl BuildError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Source(error) => error.class(),
            Self::Ostree(error) => error.class(),
            Self::Pack(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Statement(error) => error.class(),
            Self::Word { .. }
            | Self::Index { .. }
            | Self::Signed { .. }
            | Self::StoreInTree { .. }
            | Self::KernelName { .. }
            | Self::OtherKernel { .. } => ErrorClass::Usage,
        }
    }
}
