// SPDX-License-Identifier: MIT OR Apache-2.0
//! Private keys that have got into what everybody will read (A56).
//!
//! Looked for is what is easily put in by mistake: files of keys as programs write them. What is
//! compressed, as modules may be, is not opened.

use sealroot_format::sign::secret::SecretKey;

use super::UkiError;

const BEGIN: &[u8] = b"-----BEGIN ";
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";

/// The rest of the first line of such a file is shorter.
const LINE_BYTES: usize = 48;

/// What its second line has at least, unless it is a header: one of old keys with a passphrase, or
/// of PGP.
const BODY_BYTES: usize = 16;
const HEADERS: [&[u8]; 3] = [b"Proc-Type:", b"Version:", b"Comment:"];

/// An RSA key in PKCS #8, behind the beginning of its sequence: version 0, `rsaEncryption` without
/// parameters, an octet string.
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
        .or_else(|| {
            let mut keys = find(bytes, RSA_PKCS8).filter(|at| is_rsa_key(bytes, *at));
            Some((keys.next()?.saturating_sub(4), "a private RSA key"))
        })
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

/// Whether the key's sequence begins before it and the sequence of its numbers behind it, each with two
/// bytes of length. Programs that know such keys have only what is between.
fn is_rsa_key(bytes: &[u8], at: usize) -> bool {
    let (before, from) = bytes.split_at_checked(at).unwrap_or_default();
    let behind = from.get(RSA_PKCS8.len()..).unwrap_or_default();
    matches!(before, [.., 0x30, 0x82, _, _]) && matches!(behind, [_, _, 0x30, 0x82, ..])
}

/// Whether a file of a key begins there. Programs that know such files have their first line, but not
/// the second.
fn is_private_key(bytes: &[u8], begin: usize) -> bool {
    let behind = bytes
        .get(begin.saturating_add(BEGIN.len())..)
        .unwrap_or_default();
    let line = behind
        .get(..behind.len().min(LINE_BYTES))
        .unwrap_or_default();
    let Some(line) = line.split(|byte| *byte == b'\n').next() else {
        return false;
    };
    let rest = behind
        .get(line.len()..)
        .unwrap_or_default()
        .trim_ascii_start();
    let second = rest.get(..BODY_BYTES).unwrap_or_default();
    let is_body = second.iter().copied().all(is_base64) && second.len() == BODY_BYTES;
    let names_a_key = line
        .windows(PRIVATE_KEY.len())
        .any(|words| words == PRIVATE_KEY);
    let is_line = line.trim_ascii_end().ends_with(b"-----");
    names_a_key && is_line && (is_body || HEADERS.iter().any(|header| rest.starts_with(header)))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// A run of base64 that is a seed and the public key that belongs to it.
fn find_ostree_key(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for run in bytes.split(|byte| !is_base64(*byte)) {
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
        pkcs8.extend_from_slice(&[4, 0xa7, 0x30, 0x82, 4, 0xa3, 2, 1, 0]);
        let secret = SecretKey::from_seed(&[7; 32]).unwrap();
        let body = "MIIEvQIBADANBgkqhkiG9w0B";
        let pem = |kind: &str, between: &str| {
            format!("-----BEGIN {kind}-----{between}{body}\n").into_bytes()
        };
        let old = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n".to_vec();
        for (key, what) in [
            (&pem("PRIVATE KEY", "\n")[..], "a private key in PEM"),
            (&pem("RSA PRIVATE KEY", "\r\n"), "a private key in PEM"),
            (&pem("ENCRYPTED PRIVATE KEY", "\n"), "a private key in PEM"),
            (&pem("OPENSSH PRIVATE KEY", "\n"), "a private key in PEM"),
            (
                &pem("PGP PRIVATE KEY BLOCK", "\n\n"),
                "a private key in PEM",
            ),
            (&old, "a private key in PEM"),
            (&pkcs8, "a private RSA key"),
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
            b"-----BEGIN PRIVATE KEY-----",
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n",
            b"-----BEGIN OPENSSH PRIVATE KEY-----expected a key of its kind",
            b"-----BEGIN CERTIFICATE-----\nPRIVATE KEYPRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B",
            other.as_bytes(),
            RSA_PKCS8,
            &[&[0x30, 0x82, 4, 0xbd], RSA_PKCS8, &[0; 4]].concat(),
            &[RSA_PKCS8, &[4, 0xa7, 0x30, 0x82]].concat(),
            &[b'A'; 88],
            &[0; 100],
        ] {
            assert_eq!(found(public), None, "{}", public.escape_ascii());
        }
    }
}
