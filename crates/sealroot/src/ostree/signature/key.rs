// SPDX-License-Identifier: MIT OR Apache-2.0
//! Public keys of OSTree's two kinds of signatures, and what each verifies.

use std::fmt;

use base64ct::{Base64, Encoding};
use p256::ecdsa;
use rsa::pkcs1v15;
use rsa::pkcs8::DecodePublicKey;
use rsa::traits::PublicKeyParts;
use sealroot_format::hex;
use sha2::Sha256;
use spki::ObjectIdentifier;
use spki::der::Decode;
use spki::der::referenced::OwnedToRef;

/// A kind of signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Ed25519 with bare keys of 32 bytes.
    Ed25519,
    /// Whatever a `SubjectPublicKeyInfo` says; of that, Ed25519, RSA (PKCS #1 v1.5 with SHA-256) and
    /// ECDSA on P-256 with SHA-256.
    Spki,
}

impl Engine {
    /// Both, in the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::Ed25519, Self::Spki];

    /// As OSTree calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Spki => "spki",
        }
    }

    /// The key of its signatures in a commit's detached metadata.
    pub const fn metadata_key(self) -> &'static str {
        match self {
            Self::Ed25519 => "ostree.sign.ed25519",
            Self::Spki => "ostree.sign.spki",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something is no public key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// It is no base64.
    #[error("it is no base64")]
    Base64,
    /// It has the wrong length.
    #[error("it has {found} bytes, expected 32")]
    Length {
        /// Its length.
        found: usize,
    },
    /// It is no key of its kind.
    #[error("it is no valid public key")]
    Invalid,
    /// Anyone can sign for it.
    #[error("it is too weak: anyone could sign for it")]
    Weak,
    /// It is of a kind that is not verified.
    #[error("its algorithm is {0}, expected Ed25519, RSA or P-256")]
    Algorithm(ObjectIdentifier),
}

/// A public key.
#[derive(Clone)]
pub struct Key {
    /// As it was given: what revocation compares.
    encoded: Vec<u8>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Ed25519(ed25519_dalek::VerifyingKey),
    Rsa(pkcs1v15::VerifyingKey<Sha256>),
    P256(ecdsa::VerifyingKey),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for Key {
    /// As OSTree prints it: its bytes in hex, of a long one the beginning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES: usize = 64;
        let shown = self.encoded.get(..SHOWN_BYTES).unwrap_or(&self.encoded);
        f.write_str(&hex::encode(shown))?;
        f.write_str(if shown.len() < self.encoded.len() {
            "..."
        } else {
            ""
        })
    }
}

impl Key {
    /// Fewest bits of an RSA modulus: less can be factored.
    const MIN_RSA_BITS: u32 = 2048;

    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

    /// A key in base64: the 32 bytes of one, or a `SubjectPublicKeyInfo`.
    pub fn parse(engine: Engine, base64: &str) -> Result<Self, BadKey> {
        let encoded = Base64::decode_vec(base64).map_err(|_| BadKey::Base64)?;
        match engine {
            Engine::Ed25519 => {
                let kind = Kind::Ed25519(ed25519(&encoded)?);
                Ok(Self { encoded, kind })
            }
            Engine::Spki => Self::from_der(encoded),
        }
    }

    fn from_der(encoded: Vec<u8>) -> Result<Self, BadKey> {
        let info = spki::SubjectPublicKeyInfoOwned::from_der(&encoded);
        let info = info.map_err(|_| BadKey::Invalid)?;
        let info = info.owned_to_ref();
        let kind = match info.algorithm.oid {
            Self::ED25519 => {
                let key = info.subject_public_key.as_bytes();
                Kind::Ed25519(ed25519(key.ok_or(BadKey::Invalid)?)?)
            }
            Self::RSA => {
                let key = rsa::PublicKey::from_public_key_der(&encoded);
                let key = key.map_err(|_| BadKey::Invalid)?;
                if key.n().bit_width() < Self::MIN_RSA_BITS {
                    return Err(BadKey::Weak);
                }
                Kind::Rsa(pkcs1v15::VerifyingKey::new(key))
            }
            Self::EC => {
                let key = info.subject_public_key.as_bytes();
                let is_p256 = info.algorithm.parameters_oid() == Ok(P256);
                let key = key.filter(|_| is_p256).ok_or(BadKey::Invalid)?;
                let key = ecdsa::VerifyingKey::from_sec1_bytes(key);
                Kind::P256(key.map_err(|_| BadKey::Invalid)?)
            }
            other => return Err(BadKey::Algorithm(other)),
        };
        Ok(Self { encoded, kind })
    }

    /// The bytes that were given.
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// Whether `signature` is by this key and over exactly `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        use rsa::signature::Verifier;
        match &self.kind {
            Kind::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Kind::Rsa(key) => pkcs1v15::Signature::try_from(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Kind::P256(key) => ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

/// The curve P-256.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

fn ed25519(bytes: &[u8]) -> Result<ed25519_dalek::VerifyingKey, BadKey> {
    let found = bytes.len();
    let bytes = bytes.try_into().map_err(|_| BadKey::Length { found })?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| BadKey::Invalid)?;
    if key.is_weak() {
        return Err(BadKey::Weak);
    }
    Ok(key)
}
