// SPDX-License-Identifier: MIT OR Apache-2.0
//! A statement becomes verified by k distinct release keys of a trusted keyset, and by nothing
//! else.

use crate::common::{golden_keyset, golden_statement, key, keyset, signed, trusted};
use sealroot_format::{
    ErrorClass,
    sign::{Error, Keyset, Role, Statement, Unverified},
};

#[test]
fn enough_distinct_release_keys_verify() {
    let keyset = trusted(&golden_keyset());
    for numbers in [&[11, 12][..], &[11, 13], &[12, 13], &[11, 12, 13]] {
        let verified = signed(&golden_statement(), numbers)
            .verify(&keyset)
            .unwrap();
        assert_eq!(*verified, golden_statement());
        assert_eq!(verified.signers().len(), numbers.len());
    }
}

#[test]
fn too_few_or_foreign_or_other_roles_keys_do_not() {
    let keyset = trusted(&golden_keyset());
    for (numbers, found) in [
        (&[][..], 0),
        (&[11], 1),
        (&[11, 99], 1),
        (&[1, 2, 3, 21, 98, 99], 0),
        (&[13, 1, 21], 1),
    ] {
        let error = signed(&golden_statement(), numbers)
            .verify(&keyset)
            .unwrap_err();
        let expected = Error::TooFewSignatures {
            what: "release statement",
            role: Role::Release,
            keyset: 1,
            expected: 2,
            found,
        };
        assert_eq!(error, expected, "{numbers:?}");
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }
}

#[test]
fn signatures_by_unknown_keys_are_ignored_and_wrong_ones_by_known_keys_refused() {
    let keyset = trusted(&golden_keyset());
    let file = signed(&golden_statement(), &[11, 12, 13, 99]).to_string();
    for number in [11, 12, 13, 99] {
        let id = key(number).public().id().to_string();
        let start = file.find(&format!("sig {id} ")).unwrap() + "sig ".len() + id.len() + 1;
        let mut bytes = file.clone().into_bytes();
        // Still canonical base64, another signature.
        bytes[start + 40] = if bytes[start + 40] == b'A' {
            b'B'
        } else {
            b'A'
        };
        let result = Unverified::<Statement>::parse(&bytes)
            .unwrap()
            .verify(&keyset);
        match result {
            Ok(_) => assert_eq!(number, 99),
            Err(error) => {
                assert_ne!(number, 99);
                assert!(matches!(error, Error::BadSignature { .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_duplicate_signature_is_refused() {
    let file = signed(&golden_statement(), &[11]).to_string();
    let signature = file.lines().last().unwrap();
    let twice = format!("{file}{signature}\n");
    let error = Unverified::<Statement>::parse(twice.as_bytes()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert!(
        error
            .to_string()
            .contains("above the one of the line before"),
        "{error}"
    );
}

#[test]
fn signatures_of_one_kind_of_document_are_worth_nothing_on_another() {
    // The same keys in all roles, so that only the domain tells the documents apart.
    let keys: &[u8] = &[1, 2];
    let same = keyset(1, [(2, keys), (2, keys), (2, keys)]);
    let next = keyset(2, [(2, keys), (2, keys), (2, keys)]);
    let next = signed(&next, keys);
    next.verify_successor(&trusted(&same)).unwrap();

    let as_statement = Unverified::<Statement>::parse(next.to_string().as_bytes()).unwrap();
    let error = as_statement.verify(&trusted(&same)).unwrap_err();
    assert!(matches!(error, Error::BadSignature { .. }), "{error}");

    let statement = signed(&golden_statement(), keys);
    let as_keyset = Unverified::<Keyset>::parse(statement.to_string().as_bytes()).unwrap();
    let error = as_keyset.verify_successor(&trusted(&same)).unwrap_err();
    assert!(matches!(error, Error::BadSignature { .. }), "{error}");
}

/// THREATS A20: every bit of a signed file.
#[test]
fn no_flipped_bit_gives_another_statement() {
    let keyset = trusted(&golden_keyset());
    let file = signed(&golden_statement(), &[11, 12])
        .to_string()
        .into_bytes();
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let verified =
            Unverified::<Statement>::parse(&flipped).and_then(|document| document.verify(&keyset));
        assert!(verified.is_err(), "bit {bit} of {}", file.len() * 8);
    }
}

#[test]
fn no_truncated_or_longer_file_is_accepted() {
    let keyset = trusted(&golden_keyset());
    let file = signed(&golden_statement(), &[11, 12])
        .to_string()
        .into_bytes();
    for length in 0..file.len() {
        let verified = Unverified::<Statement>::parse(&file[..length])
            .and_then(|document| document.verify(&keyset));
        assert!(verified.is_err(), "cut to {length}");
    }
    for tail in ["\n", " ", "\0", "sig", "sig \n", "os debian\n", "\r\n"] {
        let longer = [&file, tail.as_bytes()].concat();
        assert!(
            Unverified::<Statement>::parse(&longer).is_err(),
            "tail {tail:?}"
        );
    }
}

#[test]
fn the_first_empty_line_ends_the_body_and_no_second_one_may_follow() {
    let file = signed(&golden_statement(), &[11, 12]).to_string();
    let extra_end = format!("{file}\n");
    let doubled = file.replacen("\n\n", "\n\n\n", 1);
    for bad in [&extra_end, &doubled] {
        assert!(Unverified::<Statement>::parse(bad.as_bytes()).is_err());
    }
    // An empty line inside the body moves its end: what follows is no signature.
    let split = file.replacen("\nindex", "\n\nindex", 1);
    assert!(Unverified::<Statement>::parse(split.as_bytes()).is_err());
}

#[test]
fn merging_and_adding_keep_signatures_sorted_and_distinct() {
    let statement = golden_statement();
    let mut one = signed(&statement, &[13]);
    let two = signed(&statement, &[11, 12, 13]);
    one.merge(&two).unwrap();
    assert_eq!(one.to_string(), two.to_string());
    assert_eq!(
        Unverified::parse(one.to_string().as_bytes()).unwrap(),
        two,
        "the text reads back"
    );

    let mut other = statement.clone();
    other.index += 1;
    let other = signed(&other, &[11]);
    assert!(matches!(
        one.merge(&other).unwrap_err(),
        Error::OtherDocument { .. }
    ));
    let signature = key(11).sign(other.message());
    let error = one.add(key(11).public(), signature).unwrap_err();
    assert!(matches!(error, Error::ForeignSignature { .. }), "{error}");
}
