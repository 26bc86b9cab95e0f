// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands against a unified kernel image.

use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;

use sealroot_format::{ErrorClass, policy, sign, text};

use crate::{initramfs, signer};

/// What is wrong with an image: where, what should be there, what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    place: String,
    expected: String,
    found: String,
}

impl Fault {
    pub(super) fn new(place: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self {
            place: place.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            expected,
            found,
        } = self;
        write!(f, "{place}: expected {expected}, found {found}")
    }
}

/// Why a unified kernel image is not made, signed or understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UkiError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The initramfs could not be made.
    #[error(transparent)]
    Initramfs(#[from] initramfs::Error),
    /// What should be an EFI application is none that can be used.
    #[error("{what}: {fault}")]
    Image {
        /// Which.
        what: &'static str,
        /// What is wrong.
        fault: Fault,
    },
    /// A kernel parameter that would undo what the image is for.
    #[error("kernel parameter {parameter}: {reason}")]
    Parameter {
        /// The parameter.
        parameter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel command line is none.
    #[error("kernel command line: {source}")]
    CommandLine {
        /// Why not.
        source: text::Error,
    },
    /// The initramfs in an image cannot be looked through.
    #[error("initramfs of the image")]
    Scan {
        /// Why not.
        source: initramfs::ScanError,
    },
    /// The policy in an image's initramfs is none.
    #[error("policy of the image")]
    Policy {
        /// Why not.
        source: policy::Error,
    },
    /// The keyset in an image's initramfs is none.
    #[error("keyset of the image")]
    Keyset {
        /// Why not.
        source: sign::Error,
    },
    /// The keys in an image have not signed a release.
    #[error("the release is not signed by the keys in the image")]
    Statement {
        /// Why not.
        source: sign::Error,
    },
    /// An image would not boot a release.
    #[error("the image is for another release")]
    OtherRelease {
        /// What differs.
        source: policy::Error,
    },
    /// An image for repairs boots no release.
    #[error("the image repairs the store, and boots no release")]
    Repairs,
    /// There is a private key in what would be for everybody to read.
    #[error("{place}, byte {offset_bytes}: expected no secrets, found {what}")]
    Secret {
        /// The part of the image.
        place: String,
        /// Where in it.
        offset_bytes: usize,
        /// What it looks like.
        what: &'static str,
    },
    /// An image that is not sealed would be signed.
    #[error("the image is not sealed: its policy has {found}")]
    NotSealed {
        /// What speaks against it.
        found: String,
    },
    /// It is signed already.
    #[error("the image is signed already")]
    Signed,
    /// A certificate or a private key cannot be used.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The signer command gave nothing that could be used.
    #[error(transparent)]
    Signer(#[from] signer::Error),
    /// The private key is not the certificate's, or the signer command signed something else.
    #[error("the signature does not verify by the certificate {}", certificate.display())]
    ForeignSignature {
        /// The certificate.
        certificate: PathBuf,
    },
}

impl UkiError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorClass::NotFound,
                io::ErrorKind::InvalidInput => ErrorClass::Usage,
                _ => ErrorClass::Io,
            },
            Self::Initramfs(error) => error.class(),
            Self::Image { .. } => ErrorClass::Corrupt,
            Self::Scan { source } => source.class(),
            Self::Policy { source } | Self::OtherRelease { source } => source.class(),
            Self::Keyset { source } => source.class(),
            Self::Parameter { .. }
            | Self::CommandLine { .. }
            | Self::Secret { .. }
            | Self::NotSealed { .. }
            | Self::Repairs
            | Self::Signed
            | Self::Credential { .. } => ErrorClass::Usage,
            Self::Signer(error) => error.class(),
            Self::Statement { .. } | Self::ForeignSignature { .. } => ErrorClass::Untrusted,
        }
    }
}
