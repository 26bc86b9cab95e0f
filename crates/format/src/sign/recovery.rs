// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proof that root keys are held: what their holders sign before machines are sealed
//! (`docs/format/keyset.md`, 5).

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Document, Error, Keyset, Role, Unverified, Verified, document::Body};
use crate::{
    digest::{CommitId, Sha256Digest},
    limits,
    text::Lines,
};

const WHAT: &str = "recovery proof";

/// Version of its format.
const FORMAT_VERSION: u32 = 1;

const DIGEST: &str = "sha256: and 64 lowercase hex digits";
const DIGEST_TAG: &str = "sha256:";
const COMMIT: &str = "64 lowercase hex digits";

/// That enough root keys of a keyset are held by somebody, now that a release is to be sealed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The version of the keyset.
    pub keyset: u64,
    /// SHA-256 of the keyset's text, without signatures.
    pub keyset_digest: Sha256Digest,
    /// The release that machines run which are to be sealed.
    pub commit: CommitId,
}

impl Recovery {
    /// What the holders of the root keys of `keyset` sign for machines that run `commit`.
    pub fn of(keyset: &Keyset, commit: CommitId) -> Self {
        let digest = Sha256::digest(keyset.to_string());
        Self {
            keyset: keyset.version(),
            keyset_digest: Sha256Digest::from_bytes(digest.into()),
            commit,
        }
    }

    /// Reads the body of a document, of which nothing is verified.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut lines = Lines::new(WHAT, text, limits::MAX_RECOVERY_BYTES)?;
        lines.header("recovery", FORMAT_VERSION)?;
        let recovery = Self {
            keyset: lines.field("keyset")?.number()?,
            keyset_digest: lines.field("keyset-digest")?.parse(DIGEST, |text| {
                Sha256Digest::from_hex(text.strip_prefix(DIGEST_TAG)?)
            })?,
            commit: lines.field("commit")?.parse(COMMIT, CommitId::from_hex)?,
        };
        lines.end()?;
        Ok(recovery)
    }
}

/// The canonical text.
impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            keyset,
            keyset_digest,
            commit,
        } = self;
        writeln!(f, "sealroot recovery {FORMAT_VERSION}")?;
        writeln!(f, "keyset {keyset}")?;
        writeln!(f, "keyset-digest {DIGEST_TAG}{keyset_digest}")?;
        writeln!(f, "commit {commit}")
    }
}

impl Document for Recovery {}

impl Body for Recovery {
    const WHAT: &'static str = WHAT;
    const DOMAIN: &'static str = "sealroot.recovery.v1";
    const MAX_BYTES: usize = limits::MAX_RECOVERY_BYTES;
}

impl Unverified<Recovery> {
    /// The proof, if enough root keys of `keyset` have signed it. Parsed only then. Whether it is for
    /// that keyset and the right release is another question.
    pub fn verify(&self, keyset: &Verified<Keyset>) -> Result<Verified<Recovery>, Error> {
        let signers = self.signers(keyset, Role::Root)?;
        Ok(Verified::new(Recovery::parse(self.body())?, signers))
    }
}
