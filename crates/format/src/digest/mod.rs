// SPDX-License-Identifier: MIT OR Apache-2.0
//! Digests as types that never compare with one another, and fs-verity digests computed in user
//! space.
//!
//! A *fs-verity digest* is the hash of the fs-verity descriptor, not of the file's bytes and not
//! the Merkle root. There is one profile: SHA-256, 4096-byte blocks, no salt.

mod verity;

use std::fmt;

use crate::hex;

pub use verity::{VERITY_BLOCK_BYTES, VerityBatch, VerityHasher, compute_verity_digest};

/// Bytes of every digest we use (SHA-256).
pub const DIGEST_BYTES: usize = 32;

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; DIGEST_BYTES]);

        impl $name {
            /// Wraps raw digest bytes.
            pub const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
                Self(bytes)
            }

            /// The raw digest bytes.
            pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
                &self.0
            }

            /// Parses exactly 64 lowercase hex digits.
            pub fn from_hex(text: impl AsRef<[u8]>) -> Option<Self> {
                hex::decode(text.as_ref()).map(Self)
            }

            /// The 64 lowercase hex digits.
            pub fn to_hex(self) -> String {
                hex::encode(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::write(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

digest_type! {
    /// The fs-verity digest of a file's content (SHA-256, 4096-byte blocks, no salt): what names
    /// objects and packs, and what the kernel measures.
    VerityDigest
}

digest_type! {
    /// What names a release's tree: the OSTree commit checksum or, for a tree from elsewhere, the
    /// SHA-256 of the canonical dump.
    CommitId
}

digest_type! {
    /// The SHA-256 of a tree's canonical dump.
    TreeDigest
}

digest_type! {
    /// A plain SHA-256 of some bytes.
    Sha256Digest
}
