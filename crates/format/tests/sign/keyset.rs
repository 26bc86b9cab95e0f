// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keysets: their text, their rules, and how one follows another.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};
use sealroot_format::{
    ErrorClass,
    digest::{CommitId, Sha256Digest},
    sign::{Error, KeyId, Keyset, Recovery, Role, RoleKeys, Unverified, Verified},
};
use sha2::{Digest as _, Sha256};

use crate::common::{
    assert_each_line_matters, edited, golden_keyset, golden_statement, key, keyset, signed, trusted,
};

fn id(number: u8) -> KeyId {
    key(number).public().id()
}

fn parse(text: &str) -> Result<Keyset, Error> {
    Keyset::parse_trusted(text.as_bytes()).map(Verified::into_inner)
}

fn refused(from: &str, to: &str) {
    let text = golden_keyset().to_string();
    assert_eq!(text.matches(from).count(), 1, "{from:?}");
    if let Ok(keyset) = parse(&text.replacen(from, to, 1)) {
        panic!("accepted {to:?}: {keyset}");
    }
}

// Rules: K1
#[test]
fn lines_stand_in_order() {
    let text = golden_keyset().to_string();
    assert_each_line_matters(&text, |text| Keyset::parse_trusted(text).is_ok());
    // The ids of a role.
    let [a, b, c] = [1, 2, 3].map(|n| id(n).to_string());
    let mut ids = [&a, &b, &c];
    ids.sort();
    let [a, b, c] = ids;
    let good = format!("root 2 {a} {b} {c}\n");
    assert!(text.contains(&good));
    for bad in [
        format!("root 2 {b} {a} {c}\n"),
        format!("root 2 {a} {b} {b} {c}\n"),
        format!("root 2 {a} {b} {c} {c}\n"),
        format!("root 2 {a}  {b} {c}\n"),
        format!("root 2 {a} {b} {c} \n"),
        format!("root 2 {a} {b} {}\n", c.to_uppercase()),
        format!("root 2{a} {b} {c}\n"),
        format!("root {a} {b} {c}\n"),
    ] {
        refused(&good, &bad);
    }
}

// Rules: K2
#[test]
fn thresholds_fit_their_keys() {
    for bad in ["0", "4", "02", "-1", "+2", "-", "18446744073709551617"] {
        refused("root 2 ", &format!("root {bad} "));
    }
    for (threshold, keys) in [(0, 0), (1, 0), (0, 2), (3, 2)] {
        let role = || RoleKeys::new(1, [id(1)]);
        let bad = RoleKeys::new(threshold, [id(1), id(2)].into_iter().take(keys));
        let all = [*key(1).public(), *key(2).public()];
        for roles in [
            [bad.clone(), role(), role()],
            [role(), bad.clone(), role()],
            [role(), role(), bad.clone()],
        ] {
            let error = Keyset::new(1, roles, all.into_iter().take(keys.max(1))).unwrap_err();
            assert!(matches!(error, Error::Role { .. }), "{error}");
        }
    }
    let line = format!("channel 1 {}\n", id(21));
    refused(&line, "channel 1\n");
    refused(&line, "channel 0\n");
    refused(&line, "channel -\n");
}

// Rules: K3
#[test]
fn keys_and_roles_name_each_other() {
    let text = golden_keyset().to_string();
    for number in [1, 13, 21] {
        let start = format!("key {} ", id(number));
        let line = text.lines().find(|line| line.starts_with(&start)).unwrap();
        refused(&format!("{line}\n"), "");
    }
    let roles = [[1], [1], [1]].map(|numbers| RoleKeys::new(1, numbers.map(id)));
    let one = [*key(1).public()];
    Keyset::new(1, roles.clone(), one).unwrap();
    let error = Keyset::new(1, roles, [*key(1).public(), *key(2).public()]).unwrap_err();
    assert!(error.to_string().contains("has no role"), "{error}");
}

// Rules: K4
#[test]
fn ids_and_keys_belong_together_and_are_safe() {
    let one = key(1).public().to_string();
    let other = golden_keyset()
        .to_string()
        .replace(&one, &key(99).public().to_string());
    let error = parse(&other).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("has the id {}", id(99))),
        "{error}"
    );
    refused(&one, "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    refused(&one, "Z2FyYmFnZQ==");
    let text = golden_keyset().to_string();
    let line = format!("key {} ed25519", id(1));
    assert!(parse(&text.replacen(&line, &line.replace("ed25519", "ed448"), 1)).is_err());
}

// Rules: K5, K6
#[test]
fn size_and_version_are_bounded() {
    refused("version 1\n", "version 0\n");
    refused("version 1\n", "version 01\n");
    let most: Vec<u8> = (100..132).collect();
    let full = keyset(1, [(32, &most), (32, &most), (32, &most)]);
    let next = keyset(2, [(32, &most), (32, &most), (32, &most)]);
    // The largest keyset, signed by all keys of two such sets, is still read.
    let mut all = most.clone();
    all.extend(132..164);
    let document = signed(&next, &all);
    assert!(
        document.to_string().len() <= 16_384,
        "{}",
        document.to_string().len()
    );
    let read = Unverified::<Keyset>::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(*read.verify_successor(&trusted(&full)).unwrap(), next);

    let public: Vec<_> = (100..133).map(|number| *key(number).public()).collect();
    let role = RoleKeys::new(1, public.iter().map(sealroot_format::sign::PublicKey::id));
    let error = Keyset::new(1, [role.clone(), role.clone(), role], public).unwrap_err();
    assert!(error.to_string().contains("at most 32 keys"), "{error}");
    let long = "x".repeat(16_385);
    assert!(parse(&long).unwrap_err().to_string().contains("too long"));
}

// Rules: K7
#[test]
fn a_keyset_trusted_by_origin_needs_no_signatures() {
    let text = golden_keyset().to_string();
    let with_wrong_signature = signed(&golden_statement(), &[1]).to_string();
    let signature = with_wrong_signature.lines().last().unwrap();
    for good in [
        text.clone(),
        format!("{text}\n"),
        signed(&golden_keyset(), &[1]).to_string(),
        format!("{text}\n{signature}\n"),
    ] {
        let trusted = Keyset::parse_trusted(good.as_bytes()).unwrap();
        assert_eq!(*trusted, golden_keyset());
        assert!(trusted.signers().is_empty());
    }
    for bad in [
        format!("{text}\n\n"),
        format!("{text}\nsig x\n"),
        format!("{text}x"),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
    }
}

const OLD: [(usize, &[u8]); 3] = [(2, &[1, 2, 3]), (1, &[11]), (1, &[21])];
const NEW: [(usize, &[u8]); 3] = [(2, &[3, 4, 5]), (1, &[12]), (1, &[21])];

fn rotate(version: u64, signers: &[u8]) -> Result<(), Error> {
    let next = signed(&keyset(version, NEW), signers);
    next.verify_successor(&trusted(&keyset(7, OLD))).map(drop)
}

// Rules: K15
#[test]
fn a_later_keyset_counts_if_root_keys_of_both_have_signed_it() {
    let later = |version, signers: &[u8]| {
        let keyset = signed(&keyset(version, NEW), signers);
        keyset.verify_later(&trusted(&self::keyset(7, OLD)))
    };
    for version in [8, 9, 700] {
        assert_eq!(later(version, &[1, 3, 4]).unwrap().version(), version);
    }
    for version in [1, 6, 7] {
        let error = later(version, &[1, 3, 4]).unwrap_err();
        let expected = Error::NotTheSuccessor {
            expected: 8,
            found: version,
        };
        assert_eq!(error, expected);
    }
    for too_few in [&[4, 5][..], &[1, 2], &[11, 12, 21]] {
        let error = later(9, too_few).unwrap_err();
        assert!(matches!(error, Error::TooFewSignatures { .. }), "{error}");
    }
}

// Rules: K8
#[test]
fn a_successor_is_signed_by_old_and_new_root_keys() {
    for enough in [
        &[1, 2, 4, 5][..],
        &[1, 3, 4],
        &[2, 3, 5],
        &[1, 2, 3, 4, 5, 11, 99],
    ] {
        rotate(8, enough).unwrap_or_else(|error| panic!("{enough:?}: {error}"));
    }
    for too_few in [
        &[][..],
        &[1, 2],
        &[4, 5],
        &[3],
        &[1, 4, 5],
        &[1, 2, 4],
        &[11, 12, 21, 99],
    ] {
        let error = rotate(8, too_few).unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooFewSignatures {
                    role: Role::Root,
                    ..
                }
            ),
            "{too_few:?}: {error}"
        );
    }
}

// Rules: K8
#[test]
fn a_successor_has_the_next_version() {
    for version in [1, 6, 7, 9, u64::MAX] {
        let error = rotate(version, &[1, 3, 4]).unwrap_err();
        let expected = Error::NotTheSuccessor {
            expected: 8,
            found: version,
        };
        assert_eq!(error, expected);
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }
    let last = trusted(&keyset(u64::MAX, OLD));
    let next = signed(&keyset(1, OLD), &[1, 2]);
    let error = next.verify_successor(&last).unwrap_err();
    assert_eq!(error, Error::LastVersion { version: u64::MAX });
}

// Rules: K8
#[test]
fn a_successor_is_not_parsed_before_the_old_root_keys_vouch_for_it() {
    let garbage = Unverified::<Keyset>::parse(b"garbage\n\n").unwrap();
    let error = garbage
        .verify_successor(&trusted(&golden_keyset()))
        .unwrap_err();
    assert!(matches!(error, Error::TooFewSignatures { .. }), "{error}");
}

// Rules: K9
#[test]
fn a_first_keyset_is_signed_by_itself() {
    signed(&golden_keyset(), &[1, 3]).verify_first().unwrap();
    let error = signed(&golden_keyset(), &[1, 11, 12])
        .verify_first()
        .unwrap_err();
    assert!(
        matches!(error, Error::TooFewSignatures { found: 1, .. }),
        "{error}"
    );
}

#[test]
fn no_flipped_bit_gives_another_keyset() {
    let old = trusted(&keyset(7, OLD));
    let next = keyset(8, NEW);
    let file = signed(&next, &[1, 3, 4]).to_string().into_bytes();
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = Unverified::<Keyset>::parse(&flipped);
        assert!(
            read.and_then(|document| document.verify_successor(&old))
                .is_err(),
            "bit {bit}"
        );
    }
}

/// Whose keys count for a role: numbers of keys and how many of them it takes.
#[derive(Clone, Debug)]
struct Holders {
    keys: Vec<u8>,
    threshold: usize,
}

impl Holders {
    /// So many of them as it takes.
    fn enough(&self) -> &[u8] {
        &self.keys[..self.threshold]
    }

    fn role(&self) -> (usize, &[u8]) {
        (self.threshold, &self.keys)
    }

    fn are_enough(&self, signers: &[u8]) -> bool {
        let signing = self.keys.iter().filter(|key| signers.contains(key));
        signing.count() >= self.threshold
    }
}

fn holders(keys: std::ops::Range<u8>) -> impl Strategy<Value = Holders> {
    let keys = prop::collection::hash_set(keys, 1..4);
    let chosen = (keys, any::<prop::sample::Index>());
    chosen.prop_map(|(keys, threshold)| Holders {
        threshold: 1 + threshold.index(keys.len()),
        keys: keys.into_iter().collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_history_of_rotations_locks_anybody_out(
        history in vec((holders(0..6), holders(6..12)), 2..6),
        others in prop::collection::btree_set(0..6_u8, 0..6),
    ) {
        let keysets: Vec<Keyset> = (1..)
            .zip(&history)
            .map(|(version, (root, release))| {
                keyset(version, [root.role(), release.role(), (1, &[21])])
            })
            .collect();
        let others = Vec::from_iter(others);
        let mut followed = signed(&keysets[0], history[0].0.enough()).verify_first()?;
        for (index, next) in keysets.iter().enumerate().skip(1) {
            let (old, new) = (&history[index - 1].0, &history[index].0);
            let both: BTreeSet<u8> = old.enough().iter().chain(new.enough()).copied().collect();
            // Whoever else signs, it counts if there are enough of both.
            let counts = signed(next, &others).verify_successor(&followed).is_ok();
            prop_assert_eq!(counts, old.are_enough(&others) && new.are_enough(&others));
            if let Some(after) = keysets.get(index + 1) {
                let all: Vec<u8> = (0..6).collect();
                prop_assert!(signed(after, &all).verify_successor(&followed).is_err(), "a gap");
            }
            followed = signed(next, &Vec::from_iter(both)).verify_successor(&followed)?;
        }
        prop_assert_eq!(&*followed, keysets.last().unwrap());
        // What was released at any time boots by the keys that its image has, for ever.
        for (keyset, (_, release)) in keysets.iter().zip(&history) {
            let statement = signed(&golden_statement(), release.enough());
            prop_assert!(statement.verify(&trusted(keyset)).is_ok());
            let (_, last) = history.last().unwrap();
            let counts = last.are_enough(release.enough());
            prop_assert_eq!(statement.verify(&followed).is_ok(), counts);
        }
    }

    #[test]
    fn every_keyset_reads_back(
        version in 1..u64::MAX,
        roles in [vec(0..40_u8, 1..8), vec(0..40_u8, 1..8), vec(0..40_u8, 1..8)],
        thresholds in any::<[prop::sample::Index; 3]>(),
    ) {
        let distinct = |numbers: &[u8]| {
            let mut numbers = numbers.to_vec();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let roles = roles.each_ref().map(|numbers| distinct(numbers));
        let [a, b, c] = [0, 1, 2].map(|role: usize| {
            let numbers = roles[role].as_slice();
            (1 + thresholds[role].index(numbers.len()), numbers)
        });
        let set = keyset(version, [a, b, c]);
        prop_assert_eq!(&parse(&set.to_string()).unwrap(), &set);
    }

    #[test]
    fn what_is_read_is_written_to_the_byte(
        bytes in edited(golden_keyset().to_string()),
    ) {
        if let Ok(keyset) = Keyset::parse_trusted(&bytes) {
            let text = keyset.to_string();
            prop_assert_eq!(text.as_bytes(), bytes.get(..text.len()).unwrap());
            prop_assert!(matches!(&bytes[text.len()..], [] | [b'\n']));
        }
    }
}

fn recovery() -> Recovery {
    Recovery::of(&golden_keyset(), CommitId::from_bytes([7; 32]))
}

// Rules: K13
#[test]
fn a_proof_of_recovery_has_one_form() {
    let text = recovery().to_string();
    let digest = Sha256::digest(golden_keyset().to_string());
    let digest = Sha256Digest::from_bytes(digest.into());
    let expected = format!(
        "sealroot recovery 1\nkeyset 1\nkeyset-digest sha256:{digest}\ncommit {}\n",
        "07".repeat(32)
    );
    assert_eq!(text, expected);
    assert_eq!(Recovery::parse(text.as_bytes()), Ok(recovery()));
    for bad in [
        text.replace("recovery 1", "recovery 2"),
        text.replace("keyset 1", "keyset 01"),
        text.replace("sha256:", "sha512:"),
        text.replace("commit 07", "commit 0"),
        format!("{text}more\n"),
        text.lines().rev().flat_map(|line| [line, "\n"]).collect(),
    ] {
        assert!(Recovery::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let long = format!("{text}\n{}", "x".repeat(16_384));
    Unverified::<Recovery>::parse(long.as_bytes()).expect_err("too long");
}

// Rules: K14
#[test]
fn a_proof_of_recovery_counts_with_enough_root_keys() {
    let trusted = trusted(&golden_keyset());
    let verify = |keys: &[u8]| signed(&recovery(), keys).verify(&trusted);
    assert_eq!(*verify(&[1, 3]).expect("two of three"), recovery());
    // One is not enough, and neither are keys of other roles.
    for keys in [&[1][..], &[11, 12], &[1, 11, 21]] {
        assert!(matches!(
            verify(keys),
            Err(Error::TooFewSignatures {
                role: Role::Root,
                expected: 2,
                ..
            })
        ));
    }
    // A signature of another document is none of this.
    let other = signed(&golden_keyset(), &[1, 2]).to_string();
    let (_, signatures) = other.split_once("\n\n").expect("signatures");
    let forged = format!("{}\n{signatures}", recovery());
    let forged = Unverified::<Recovery>::parse(forged.as_bytes()).expect("a document");
    assert!(matches!(
        forged.verify(&trusted),
        Err(Error::BadSignature { .. })
    ));
}
