// SPDX-License-Identifier: MIT OR Apache-2.0
//! Private keys that have got into what everybody will read (A56).
//!
//! Looked for is what is easily put in by mistake: files of keys as programs write them. What is
//! compressed, as modules may be, is not opened.

use sealroot_format::sign::secret::SecretKey;

use super::UkiError;

const BEGIN: &[u8] = b"-----BEGIN ";
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";

/// How far behind [`BEGIN`] the words [`PRIVATE_KEY`] begin at most: `ENCRYPTED `, `OPENSSH `.
const KIND_BYTES: usize = 20;

/// An RSA key in PKCS #8, behind the two lengths of its beginning: version 0, `rsaEncryption`
/// without parameters, an octet string.
const RSA_PKCS8: &[u8] = &[
    2, 1, 0, 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0, 4, 0x82,
];

/// The base64 of seed and public key, 64 bytes.
const OSTREE_KEY_BYTES: usize = 88;

/// Refuses bytes with a private key in them. `place` is what they are, for people.
pub(super) fn refuse(place: &str, bytes: &[u8]) -> Result<(), UkiError> {
    let found = find(bytes, BEGIN)
        .filter(|at| is_private_key(bytes, *at))
        .map(|at| (at, "a private key in PEM"))
        .next();
    let found = found
        .or_else(|| Some((find(bytes, RSA_PKCS8).next()?, "a private RSA key")))
        .or_else(|| Some((find_ostree_key(bytes)?, "a secret key for releases")));
    match found {
        None => Ok(()),
        Some((offset_bytes, what)) => Err(UkiError::Secret {
            place: place.to_owned(),
            offset_bytes,
            what,
        }),
    }
}

fn find<'b>(bytes: &'b [u8], wanted: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    let first = wanted.first().copied().unwrap_or_default();
    let candidates = bytes
        .iter()
        .enumerate()
        .filter(move |(_, byte)| **byte == first);
    candidates.map(|(at, _)| at).filter(move |at| {
        bytes
            .get(*at..)
            .is_some_and(|rest| rest.starts_with(wanted))
    })
}

fn is_private_key(bytes: &[u8], begin: usize) -> bool {
    let kind = begin.saturating_add(BEGIN.len());
    let end = kind
        .saturating_add(KIND_BYTES)
        .saturating_add(PRIVATE_KEY.len())
        .min(bytes.len());
    let kind = bytes.get(kind..end).unwrap_or_default();
    kind.windows(PRIVATE_KEY.len())
        .any(|words| words == PRIVATE_KEY)
}

/// A run of base64 that is a seed and the public key that belongs to it.
fn find_ostree_key(bytes: &[u8]) -> Option<usize> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut at = 0;
    for run in bytes.split(|byte| !is_base64(byte)) {
        if run.len() == OSTREE_KEY_BYTES && SecretKey::parse(run).is_ok() {
            return Some(at);
        }
        at = at.saturating_add(run.len()).saturating_add(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Option<(usize, &'static str)> {
        match refuse("x", bytes) {
            Ok(()) => None,
            Err(UkiError::Secret {
                offset_bytes, what, ..
            }) => Some((offset_bytes, what)),
            Err(other) => panic!("{other}"),
        }
    }

    // Rules: U15
    #[test]
    fn keys_are_found_wherever_they_lie() {
        let mut pkcs8 = vec![0x30, 0x82, 4, 0xbd];
        pkcs8.extend_from_slice(RSA_PKCS8);
        let secret = SecretKey::from_seed(&[7; 32]).unwrap();
        for (key, what) in [
            (&b"-----BEGIN PRIVATE KEY-----"[..], "a private key in PEM"),
            (b"-----BEGIN RSA PRIVATE KEY-----", "a private key in PEM"),
            (
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
                "a private key in PEM",
            ),
            (
                b"-----BEGIN OPENSSH PRIVATE KEY-----",
                "a private key in PEM",
            ),
            (
                b"-----BEGIN PGP PRIVATE KEY BLOCK-----",
                "a private key in PEM",
            ),
            (RSA_PKCS8, "a private RSA key"),
            (secret.to_file().as_bytes(), "a secret key for releases"),
        ] {
            for (before, after) in [("", ""), ("x \n", "\n y"), ("\0\0\0", "\0")] {
                let bytes = [before.as_bytes(), key, after.as_bytes()].concat();
                assert_eq!(found(&bytes), Some((before.len(), what)), "{before:?}");
            }
        }
    }

    #[test]
    fn what_is_public_is_none() {
        let secret = SecretKey::from_seed(&[7; 32]).unwrap();
        let other = secret.to_file().replace(['A', 'b'], "c");
        for public in [
            &b"-----BEGIN CERTIFICATE-----"[..],
            b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
            b"-----BEGIN",
            b"PRIVATE KEY",
            other.as_bytes(),
            &[b'A'; 88],
            &[0; 100],
        ] {
            assert_eq!(found(public), None, "{}", public.escape_ascii());
        }
    }
}
