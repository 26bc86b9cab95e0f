// SPDX-License-Identifier: MIT OR Apache-2.0
//! A statement becomes verified by k distinct release keys of a trusted keyset, and by nothing
//! else.

use proptest::{prelude::*, sample::subsequence};
use sha2::{Digest, Sha256};

use crate::{
    common::{edited, golden_keyset, golden_statement, key, keyset, signed, trusted},
    statement::any_statement,
};
use sealroot_format::{
    ErrorClass,
    sign::{Error, Keyset, Role, Statement, Unverified},
};

// Rules: G9
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

// Rules: G9, G10
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

// Rules: G10
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

// Rules: G2
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

// Rules: G6
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

// Rules: G1
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

// Rules: G2
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

// Rules: G1
#[test]
fn a_document_may_be_unsigned_but_not_without_its_empty_line() {
    let unsigned = Unverified::unsigned(&golden_statement()).unwrap();
    let text = unsigned.to_string();
    assert!(text.ends_with("\n\n"));
    assert_eq!(
        Unverified::<Statement>::parse(text.as_bytes()).unwrap(),
        unsigned
    );
    let body = text.strip_suffix('\n').unwrap();
    assert_eq!(unsigned.body(), body.as_bytes());
    assert!(Unverified::<Statement>::parse(body.as_bytes()).is_err());
    assert!(Unverified::<Statement>::parse(b"").is_err());
}

// Rules: G2, G3
#[test]
fn signature_lines_have_one_form() {
    let file = signed(&golden_statement(), &[11, 12]).to_string();
    let lines: Vec<&str> = file.lines().collect();
    let (body, signatures) = lines.split_at(lines.len() - 2);
    let parses = |signatures: &[String]| {
        let file = format!("{}\n{}\n", body.join("\n"), signatures.join("\n"));
        Unverified::<Statement>::parse(file.as_bytes()).is_ok()
    };
    let [one, two] = [0, 1].map(|index| signatures[index].to_owned());
    assert!(parses(&[one.clone(), two.clone()]));
    assert!(!parses(&[two.clone(), one.clone()]), "descending");
    for bad in [
        one.to_uppercase(),
        one.replace("sig ", "Sig "),
        one.replace("sig ", "sig  "),
        format!("{one} "),
        format!(" {one}"),
        format!("{one} ed25519"),
        one.replace('=', ""),
        one.replacen("==", "=", 1),
        one.replacen("==", "====", 1),
        one.replace("g==", "h=="),
        one.replace('/', "_"),
        one.replacen("sig 1", "sig ", 1),
        one.split_at(one.len() - 4).0.to_owned(),
        "sig".to_owned(),
        "# comment".to_owned(),
    ] {
        assert_ne!(bad, one, "the edit did something");
        assert!(!parses(&[bad.clone(), two.clone()]), "{bad}");
    }
}

// Rules: G4
#[test]
fn files_and_signatures_are_bounded() {
    let statement = golden_statement();
    let most: Vec<u8> = (0..64).collect();
    let mut document = signed(&statement, &most);
    let text = document.to_string();
    assert_eq!(
        Unverified::<Statement>::parse(text.as_bytes()).unwrap(),
        document
    );
    let more = signed(&statement, &[64]);
    assert!(matches!(
        document.merge(&more),
        Err(Error::TooManySignatures { limit: 64, .. })
    ));
    let added = document.add(key(64).public(), more.signatures()[0].signature);
    assert!(matches!(added, Err(Error::TooManySignatures { .. })));
    let last = text.lines().last().unwrap();
    let after = last.replacen(&last[4..36], &"f".repeat(32), 1);
    let error = Unverified::<Statement>::parse(format!("{text}{after}\n").as_bytes()).unwrap_err();
    assert!(matches!(error, Error::TooManySignatures { .. }), "{error}");

    let longest = format!("{}\n\n", "x".repeat(65_534));
    assert!(Unverified::<Statement>::parse(longest.as_bytes()).is_ok());
    let longer = format!("x{longest}");
    let error = Unverified::<Statement>::parse(longer.as_bytes()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("at most 65536 bytes, found 65537"),
        "{error}"
    );
    let error = Unverified::<Keyset>::parse(&longer.as_bytes()[..16_385]).unwrap_err();
    assert!(error.to_string().contains("at most 16384 bytes"), "{error}");
}

// Rules: G6
#[test]
fn the_signed_bytes_are_domain_length_and_text() {
    let text = golden_statement().to_string();
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    let expected = [b"sealroot.release.v1\0", &length[..], text.as_bytes()].concat();
    let document = Unverified::unsigned(&golden_statement()).unwrap();
    assert_eq!(document.message().as_bytes(), expected);

    let text = golden_keyset().to_string();
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    let expected = [b"sealroot.keyset.v1\0", &length[..], text.as_bytes()].concat();
    let document = Unverified::unsigned(&golden_keyset()).unwrap();
    assert_eq!(document.message().as_bytes(), expected);
}

/// THREATS A20: what the same key has signed elsewhere, or without the domain, fits nothing here.
// Rules: G6
#[test]
fn a_signature_on_other_bytes_does_not_fit() {
    let text = golden_statement().to_string();
    let signing = ed25519_dalek::SigningKey::from_bytes(&[11; 32]);
    let message = Unverified::unsigned(&golden_statement()).unwrap();
    let message = message.message().as_bytes();
    for bytes in [
        text.as_bytes(),
        &Sha256::digest(&text),
        &Sha256::digest(message),
        &message[..message.len() - 1],
        &[message, b"\n"].concat(),
        golden_statement().commit.as_bytes(),
    ] {
        let signature = ed25519_dalek::Signer::sign(&signing, bytes).to_bytes();
        let mut document = Unverified::unsigned(&golden_statement()).unwrap();
        let error = document.add(key(11).public(), signature).unwrap_err();
        assert!(matches!(error, Error::ForeignSignature { .. }), "{error}");
    }
    let signature = ed25519_dalek::Signer::sign(&signing, message).to_bytes();
    let mut document = Unverified::unsigned(&golden_statement()).unwrap();
    document.add(key(11).public(), signature).unwrap();
}

// Rules: G11
#[test]
fn nothing_is_parsed_before_it_is_verified() {
    let keyset = trusted(&golden_keyset());
    for body in [
        "garbage\n",
        "sealroot release 9\n",
        "sealroot release 1\nos \n",
    ] {
        let document = Unverified::<Statement>::parse(format!("{body}\n").as_bytes()).unwrap();
        let error = document.verify(&keyset).unwrap_err();
        assert!(
            matches!(error, Error::TooFewSignatures { .. }),
            "{body}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn every_signed_statement_verifies_and_reads_back(
        statement in any_statement(),
        signers in subsequence(vec![11, 12, 13, 99], 0..=4),
    ) {
        let document = signed(&statement, &signers);
        let read = Unverified::<Statement>::parse(document.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&read, &document);
        let count = signers.iter().filter(|&&number| number != 99).count();
        match read.verify(&trusted(&golden_keyset())) {
            Ok(verified) => prop_assert!(count >= 2 && *verified == statement),
            Err(_) => prop_assert!(count < 2),
        }
    }

    #[test]
    fn edited_files_give_the_same_statement_or_none(
        bytes in edited(signed(&golden_statement(), &[11, 12, 13, 99]).to_string()),
    ) {
        let keyset = trusted(&golden_keyset());
        let verified = Unverified::<Statement>::parse(&bytes)
            .and_then(|document| document.verify(&keyset));
        if let Ok(verified) = verified {
            prop_assert_eq!(verified.into_inner(), golden_statement());
        }
    }

    #[test]
    fn no_bytes_make_the_splitter_panic(bytes: Vec<u8>) {
        drop(Unverified::<Statement>::parse(&bytes));
        drop(Keyset::parse_trusted(&bytes));
    }
}
