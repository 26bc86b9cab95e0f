// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys: which are safe to trust, their ids, their files.

use std::collections::BTreeSet;

use curve25519_dalek::{Scalar, constants::EIGHT_TORSION};
use ed25519_dalek::{Verifier, VerifyingKey};
use proptest::prelude::*;
use sealroot_format::{
    ErrorClass, hex,
    sign::{Error, PublicKey, Unverified, parse_public_keys, secret::SecretKey},
};
use sha2::{Digest, Sha256, Sha512};

use crate::common::{golden_statement, key};

/// Encodings of small-order points that are not the canonical one (y not reduced, or x = 0 with
/// a sign).
const NON_CANONICAL: [&str; 6] = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

fn is_unsafe(bytes: &[u8; 32]) -> bool {
    matches!(PublicKey::from_bytes(bytes), Err(Error::UnsafeKey { .. }))
}

// Rules: G8
#[test]
fn the_eight_small_order_points_are_no_keys() {
    let points: BTreeSet<_> = EIGHT_TORSION
        .iter()
        .map(|point| point.compress().0)
        .collect();
    assert_eq!(points.len(), 8);
    assert!(points.iter().all(is_unsafe));
    for hex in NON_CANONICAL {
        assert!(is_unsafe(&hex::decode(hex.as_bytes()).unwrap()), "{hex}");
    }
}

// Rules: G8
#[test]
fn points_outside_of_the_prime_order_group_and_non_points_are_no_keys() {
    let honest = VerifyingKey::from_bytes(key(11).public().as_bytes())
        .unwrap()
        .to_edwards();
    for torsion in &EIGHT_TORSION[1..] {
        let mixed = (honest + torsion).compress().0;
        assert!(
            VerifyingKey::from_bytes(&mixed).is_ok(),
            "the library itself takes it"
        );
        assert!(is_unsafe(&mixed));
    }
    assert!(is_unsafe(&[2; 32]), "no point");
}

// Rules: G8
#[test]
fn no_second_encoding_of_a_point_is_a_key() {
    // Only y below 19 fit a second time: these are all such encodings there are.
    for (small, sign) in (0..19).flat_map(|small| [(small, 0), (small, 0x80)]) {
        let mut reduced = [0; 32];
        (reduced[0], reduced[31]) = (small, sign);
        // The same y, and the prime 2^255 - 19 added to it.
        let mut unreduced = [0xff; 32];
        (unreduced[0], unreduced[31]) = (0xed + small, 0x7f | sign);
        assert_eq!(
            VerifyingKey::from_bytes(&reduced).is_ok(),
            VerifyingKey::from_bytes(&unreduced).is_ok(),
            "the library itself takes both"
        );
        assert!(is_unsafe(&unreduced), "{small} {sign}");
    }
}

// Rules: G7
#[test]
fn a_signature_with_a_small_order_r_is_refused() {
    let (secret, document) = (key(11), Unverified::unsigned(&golden_statement()).unwrap());
    let signing = ed25519_dalek::SigningKey::from_bytes(&[11; 32]);
    for torsion in &EIGHT_TORSION {
        // r = 0 plus torsion: only who holds the secret key can make these.
        let r = torsion.compress().0;
        let hash = Sha512::new()
            .chain_update(r)
            .chain_update(secret.public().as_bytes())
            .chain_update(document.message().as_bytes())
            .finalize();
        let s = Scalar::from_bytes_mod_order_wide(&hash.into()) * signing.to_scalar();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(s.as_bytes());
        assert!(!secret.public().verifies(document.message(), &signature));
        if r == EIGHT_TORSION[0].compress().0 {
            let point = signing.verifying_key();
            let lax = point.verify(document.message().as_bytes(), &signature.into());
            assert!(lax.is_ok(), "the signature is right but for the order of R");
        }
    }
}

// Rules: G7
#[test]
fn a_scalar_that_is_not_reduced_is_refused() {
    // The order of the group, little-endian.
    let order: [u8; 32] =
        hex::decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let document = Unverified::unsigned(&golden_statement()).unwrap();
    let mut signature = key(11).sign(document.message());
    assert!(key(11).public().verifies(document.message(), &signature));
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert_eq!(carry, 0);
    assert!(!key(11).public().verifies(document.message(), &signature));
}

// Rules: G5
#[test]
fn a_key_id_is_the_hash_of_algorithm_and_key() {
    let public = key(11).public().to_owned();
    let input = [b"ed25519\0", public.as_bytes().as_slice()].concat();
    let digest = hex::encode(&Sha256::digest(input));
    assert_eq!(public.id().to_string(), digest[..32]);
}

/// Test 1 of RFC 8032, 7.1.
#[test]
fn a_seed_gives_the_key_of_the_standard() {
    let seed = hex::decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let secret = SecretKey::from_seed(&seed.unwrap()).unwrap();
    assert_eq!(hex::encode(secret.public().as_bytes()), public);
}

// Rules: K10
#[test]
fn secret_key_files_have_one_form() {
    let file = key(11).to_file().to_string();
    let line = file.strip_suffix('\n').unwrap();
    for good in [file.as_str(), line] {
        assert_eq!(
            SecretKey::parse(good.as_bytes()).unwrap().public(),
            key(11).public()
        );
    }
    let other_half = format!("{}{}", &line[..43], &key(12).to_file()[43..]);
    let error = SecretKey::parse(other_half.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::KeyMismatch { .. }), "{error}");
    for bad in [
        String::new(),
        "\n".to_owned(),
        format!("{line}\r\n"),
        format!("{line} \n"),
        format!(" {line}\n"),
        format!("{line}\n\n"),
        format!("{file}{file}"),
        line.replace('=', ""),
        line[1..].to_owned(),
        // Unused bits that are not zero.
        line.replace("g==", "h=="),
        line.replacen('C', "-", 1),
        key(11).public().to_string(),
    ] {
        assert_ne!(bad, file);
        let error = SecretKey::parse(bad.as_bytes()).unwrap_err();
        assert!(
            matches!(error, Error::SecretSyntax { .. }),
            "{bad:?}: {error}"
        );
    }
}

// Rules: K12
#[test]
fn no_part_of_a_secret_is_shown() {
    let secret = key(11);
    let file = secret.to_file();
    let seed = &file[..42];
    let shows = |text: &str| (0..seed.len() - 5).any(|at| text.contains(&seed[at..at + 6]));
    assert!(shows(&file), "the check itself works");
    assert!(!shows(&format!("{secret:?} {secret:#?}")));
    for damaged in [
        file.replace("OQ==", ""),
        file.replacen("CwtmvN", "CwtmvM", 1),
        format!("{}{}", &file[..43], &key(12).to_file()[43..]),
        format!("{}!", &*file),
    ] {
        if let Err(error) = SecretKey::parse(damaged.as_bytes()) {
            assert!(!shows(&format!("{error} {error:?}")), "{error}");
        }
    }
}

// Rules: K11
#[test]
fn public_key_files_hold_many_keys() {
    let (one, two) = (*key(11).public(), *key(12).public());
    for (text, expected) in [
        (String::new(), vec![]),
        ("\n\n".to_owned(), vec![]),
        (format!("{one}"), vec![one]),
        (format!("\n{one}\n\n  \n{two}\n"), vec![one, two]),
        (format!("{one}\n{one}\n"), vec![one, one]),
    ] {
        assert_eq!(
            parse_public_keys(text.as_bytes()).unwrap(),
            expected,
            "{text:?}"
        );
    }
    let identity = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for bad in [
        format!("{one} \n"),
        format!("{one}\r\n"),
        format!("# comment\n{one}\n"),
        one.to_string().replace('=', ""),
        format!("{one}\n{identity}\n"),
        "\n".repeat(65_537),
        format!("{}{one}\n", "\n".repeat(65_536 - 44)),
    ] {
        let shown = bad.trim_start();
        assert!(parse_public_keys(bad.as_bytes()).is_err(), "{shown:?}");
    }
    let longest = format!("{}{one}\n", "\n".repeat(65_536 - 45));
    assert_eq!(parse_public_keys(longest.as_bytes()).unwrap(), [one]);
    let error = parse_public_keys(identity.as_bytes()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Untrusted);
}

// Rules: G3
#[test]
fn base64_is_canonical() {
    let good = key(11).public().to_string();
    assert_eq!(PublicKey::from_base64(&good).unwrap(), *key(11).public());
    let last = good.len() - 2;
    for bad in [
        good.replace('=', ""),
        format!("{good}="),
        format!("{}p=", &good[..last]),
        good.replace('+', "-"),
        format!("{} {}", &good[..8], &good[8..]),
        format!("{good}\n"),
        String::new(),
    ] {
        assert!(PublicKey::from_base64(&bad).is_err(), "{bad:?}");
    }
    // Of the 4 characters with the same upper bits just one is canonical.
    let alphabet = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['+', '/']);
    let same = |c: &char| PublicKey::from_base64(&format!("{}{c}=", &good[..last])).is_ok();
    let accepted: Vec<_> = alphabet.filter(same).collect();
    assert!(accepted.contains(&good.as_bytes()[last].into()));
    assert!(accepted.len() <= 16, "{accepted:?}");
}

proptest! {
    #[test]
    fn key_files_read_back(seed: [u8; 32]) {
        let secret = SecretKey::from_seed(&seed).unwrap();
        let read = SecretKey::parse(secret.to_file().as_bytes()).unwrap();
        prop_assert_eq!(read.public(), secret.public());
        let public = PublicKey::from_base64(&secret.public().to_string()).unwrap();
        prop_assert_eq!(&public, secret.public());
    }

    #[test]
    fn no_bytes_make_the_key_readers_panic(bytes: Vec<u8>) {
        drop(SecretKey::parse(&bytes));
        drop(parse_public_keys(&bytes));
    }

    #[test]
    fn no_point_is_a_key_in_two_encodings(bytes: [u8; 32]) {
        if let Ok(key) = PublicKey::from_bytes(&bytes) {
            prop_assert_eq!(key.as_bytes(), &bytes);
        }
    }
}
