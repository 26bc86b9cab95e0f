// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a signed document or a key was refused.

use super::{KeyId, Role};
use crate::{ErrorClass, text};

/// Why a signed document or a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text breaks its grammar.
    #[error(transparent)]
    Text(#[from] text::Error),
    /// A signature by a key of the role does not fit the document.
    #[error(
        "{what}: the signature by the {role} key {key} is wrong: the document or the signature was changed"
    )]
    BadSignature {
        /// The kind of document.
        what: &'static str,
        /// The role the key was looked up for.
        role: Role,
        /// The key.
        key: KeyId,
    },
    /// A signature to be added does not fit the document.
    #[error("{what}: the new signature by key {key} does not fit the document")]
    ForeignSignature {
        /// The kind of document.
        what: &'static str,
        /// The key that should have made it.
        key: KeyId,
    },
    /// Fewer distinct keys of the role have signed than the threshold says.
    #[error(
        "{what}: expected signatures by {expected} distinct {role} keys of keyset version {keyset}, found {found}"
    )]
    TooFewSignatures {
        /// The kind of document.
        what: &'static str,
        /// The role whose keys count.
        role: Role,
        /// The version of the keyset that was asked.
        keyset: u64,
        /// The threshold of the role.
        expected: usize,
        /// How many of its keys have signed.
        found: usize,
    },
    /// A document has as many signatures as it may have.
    #[error("{what} has too many signatures: at most {limit} are allowed")]
    TooManySignatures {
        /// The kind of document.
        what: &'static str,
        /// The most signatures a document may have.
        limit: usize,
    },
    /// Signatures of one document were to be added to another.
    #[error(
        "{what}: the two files do not hold the same document, so their signatures cannot be merged"
    )]
    OtherDocument {
        /// The kind of document.
        what: &'static str,
    },
    /// A keyset does not follow the one it is to replace.
    #[error(
        "keyset: expected version {expected}, the one after the trusted keyset's, found {found}"
    )]
    NotTheSuccessor {
        /// The trusted keyset's version and one.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// A keyset has the last version there is.
    #[error("keyset: version {version} is the last one possible, it can have no successor")]
    LastVersion {
        /// The version.
        version: u64,
    },
    /// A keyset breaks a rule on its roles or keys.
    #[error("keyset: {role} role: {reason}")]
    Role {
        /// The role.
        role: Role,
        /// The rule and what breaks it.
        reason: String,
    },
    /// A keyset breaks a rule on all its keys.
    #[error("keyset: {reason}")]
    Keyset {
        /// The rule and what breaks it.
        reason: String,
    },
    /// A channel breaks a rule on what it offers.
    #[error("channel: {reason}")]
    Channel {
        /// The rule and what breaks it.
        reason: String,
    },
    /// A public key is no point, not in its only encoding, or not of the large prime order:
    /// signatures by such a key prove nothing.
    #[error("public key {found} is not safe: {reason}")]
    UnsafeKey {
        /// The key in base64.
        found: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The two halves of a secret key file do not belong together.
    #[error("secret key file: the public half is {found}, the secret half gives {expected}")]
    KeyMismatch {
        /// The public key that belongs to the seed, in base64.
        expected: String,
        /// The public key in the file, in base64.
        found: String,
    },
    /// A secret key file is no line of base64 of 64 bytes. What it holds is not shown.
    #[error(
        "secret key file: expected one line of base64 of 64 bytes (88 characters), found {found}"
    )]
    SecretSyntax {
        /// What is wrong, without any of the content.
        found: &'static str,
    },
}

impl Error {
    /// What kind of failure this is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Text(error) => error.class(),
            Self::BadSignature { .. }
            | Self::ForeignSignature { .. }
            | Self::TooFewSignatures { .. }
            | Self::NotTheSuccessor { .. }
            | Self::UnsafeKey { .. } => ErrorClass::Untrusted,
            Self::LastVersion { .. } | Self::TooManySignatures { .. } => ErrorClass::Unsupported,
            Self::OtherDocument { .. } => ErrorClass::Usage,
            Self::Role { .. }
            | Self::Keyset { .. }
            | Self::Channel { .. }
            | Self::KeyMismatch { .. }
            | Self::SecretSyntax { .. } => ErrorClass::Corrupt,
        }
    }
}
