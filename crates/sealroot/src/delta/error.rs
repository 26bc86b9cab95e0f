// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a delta could not be made or applied.

use std::io;

use sealroot_delta::PatchError;
use sealroot_delta::opened::CloseError;
use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::PackError;
use sealroot_format::tree::ParseError;

use crate::import::Difference;
use crate::store::StoreError;

/// Why a delta could not be made or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// Reading the delta, or what is put aside meanwhile.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is no delta, or breaks its format.
    #[error("not a valid delta: {what}: expected {expected}, found {found}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// What may be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// It is between other releases.
    #[error("the delta is for another {which} release: expected pack {expected}, found {found}")]
    OtherRelease {
        /// Old or new.
        which: &'static str,
        /// The pack that is there, or wanted.
        expected: VerityDigest,
        /// The one that the delta is for.
        found: VerityDigest,
    },
    /// A patch of it.
    #[error("the delta cannot be applied")]
    Patch(#[from] PatchError),
    /// An opened object of it.
    #[error("an opened object in the delta")]
    Opened(#[from] CloseError),
    /// The tree in it.
    #[error("the delta makes no tree")]
    Tree(#[from] ParseError),
    /// What came out is another release than the one that was signed.
    #[error(
        "the delta makes another release than the one that was signed: {}",
        list(differences)
    )]
    Differs {
        /// In what.
        differences: Vec<Difference>,
    },
    /// The pack of what came out.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl DeltaError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. }
            | Self::Patch(PatchError::Base(_) | PatchError::Write(_))
            | Self::Opened(CloseError::Read(_) | CloseError::Write(_)) => ErrorClass::Io,
            Self::Invalid { .. } | Self::Patch(_) | Self::Opened(_) | Self::Tree(_) => {
                ErrorClass::Corrupt
            }
            Self::OtherRelease { .. } => ErrorClass::Usage,
            Self::Differs { .. } => ErrorClass::Untrusted,
            Self::Pack(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }

    /// The same; if it was space that was missing, with what all that is left needs.
    pub(super) fn needing(mut self, bytes: u64) -> Self {
        if let Self::Store(StoreError::NoSpace { needed_bytes, .. }) = &mut self {
            *needed_bytes = Some(bytes);
        }
        self
    }

    pub(super) fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
