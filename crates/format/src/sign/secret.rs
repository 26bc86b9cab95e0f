// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secret keys: for those who sign, never used by the boot program.
//!
//! A secret key is wiped from memory when dropped and never shown by `Debug` or in an error.

use std::fmt;

use base64ct::{Base64, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use super::{Error, Message, PublicKey, SIGNATURE_BYTES};

/// Bytes of the random seed a secret key is made of.
pub const SEED_BYTES: usize = 32;

/// Seed and public key, as in OSTree's secret key files.
const FILE_BYTES: usize = 64;

/// An Ed25519 secret key.
pub struct SecretKey {
    signing: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// The key that a seed gives. A new key needs a seed from the system's random generator.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Result<Self, Error> {
        let signing = SigningKey::from_bytes(seed);
        let public = PublicKey::from_bytes(signing.verifying_key().as_bytes())?;
        Ok(Self { signing, public })
    }

    /// Reads a secret key file as OSTree's: one line with the base64 of seed and public key.
    /// The line feed may be missing.
    pub fn parse(file: &[u8]) -> Result<Self, Error> {
        let line = file.strip_suffix(b"\n").unwrap_or(file);
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        let length = match Base64::decode(line, bytes.as_mut_slice()) {
            Ok(decoded) => decoded.len(),
            Err(_) => 0,
        };
        if length != FILE_BYTES {
            return Err(Error::SecretSyntax {
                found: syntax_of(line),
            });
        }
        let (seed, public) = bytes.split_at(SEED_BYTES);
        let Some(seed) = seed.first_chunk() else {
            return Err(Error::SecretSyntax { found: "no seed" });
        };
        let key = Self::from_seed(seed)?;
        if key.public.as_bytes().as_slice() != public {
            return Err(Error::KeyMismatch {
                expected: key.public.to_string(),
                found: Base64::encode_string(public),
            });
        }
        Ok(key)
    }

    /// The text of a secret key file, as OSTree reads it.
    pub fn to_file(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.signing.to_keypair_bytes());
        let line = Zeroizing::new(Base64::encode_string(bytes.as_slice()));
        // Room for all of it: growing would leave a copy behind in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(line.len().saturating_add(1)));
        text.push_str(&line);
        text.push('\n');
        text
    }

    /// The public key that belongs to this one.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a document's message.
    pub fn sign(&self, message: &Message) -> [u8; SIGNATURE_BYTES] {
        self.signing.sign(message.as_bytes()).to_bytes()
    }
}

/// What a line that is no secret key looks like, without a character of it.
fn syntax_of(line: &[u8]) -> &'static str {
    match line {
        [] => "an empty file",
        _ if line.contains(&b'\n') => "more than one line",
        _ if line.len() != 88 => "a line of another length",
        _ => "a line of 88 characters that is not canonical base64 of 64 bytes",
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public.id())
    }
}
