// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key, keyset and statement files.

use std::{
    error::Error as _,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use sealroot::{
    keys::{self, Error, KeysetPlan, RolePlan},
    signer::Signer,
};
use sealroot_format::{
    ErrorClass,
    sign::{Keyset, Role, SignatureState, Unverified},
};
use tempfile::TempDir;

use crate::{key, statement};

fn role(threshold: usize, numbers: &[u8]) -> RolePlan {
    RolePlan {
        threshold,
        keys: numbers
            .iter()
            .map(|&number| *key(number).public())
            .collect(),
    }
}

fn plan(root: &[u8]) -> KeysetPlan {
    KeysetPlan {
        root: role(2, root),
        release: role(1, &[11, 12]),
        channel: role(1, &[21]),
    }
}

fn sign(document: &mut Unverified<Keyset>, numbers: &[u8]) {
    for &number in numbers {
        Signer::Key(key(number)).sign(document).unwrap();
    }
}

#[test]
fn keys_are_written_once_for_their_owner_and_read_back() {
    let directory = TempDir::new().unwrap();
    let (secret, public) = (
        directory.path().join("a.secret"),
        directory.path().join("a.public"),
    );
    let key = keys::generate().unwrap();
    assert_ne!(key.public(), keys::generate().unwrap().public());
    keys::write_secret_key(&secret, &key).unwrap();
    keys::write_public_key_file(&public, &[*key.public()]).unwrap();
    let mode = fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(
        keys::read_secret_key(&secret).unwrap().public(),
        key.public()
    );
    assert_eq!(keys::read_public_key(&public).unwrap(), *key.public());

    let before = fs::read(&secret).unwrap();
    let other = keys::generate().unwrap();
    let error = keys::write_secret_key(&secret, &other).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(fs::read(&secret).unwrap(), before);
    // Nor is a link followed to where somebody else wants the key.
    let link = directory.path().join("link");
    symlink(directory.path().join("elsewhere"), &link).unwrap();
    assert!(keys::write_secret_key(&link, &other).is_err());
    assert!(!directory.path().join("elsewhere").exists());
}

#[test]
fn files_that_are_missing_foreign_or_too_long_say_which_they_are() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let error = keys::read_secret_key(&path).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert_eq!(error.to_string(), format!("cannot read {}", path.display()));

    fs::write(&path, "x".repeat(1_000_000)).unwrap();
    for error in [
        keys::read_secret_key(&path).unwrap_err(),
        keys::read_public_keys(&path).unwrap_err(),
        keys::read_keyset(&path).unwrap_err(),
        keys::read_trusted_keyset(&path).unwrap_err(),
        keys::read_statement(&path).unwrap_err(),
    ] {
        assert_eq!(error.class(), ErrorClass::Corrupt);
        assert_eq!(
            error.to_string(),
            format!("{} cannot be used", path.display())
        );
        assert!(error.source().is_some());
    }
    fs::write(&path, format!("{}\n{}\n", key(1).public(), key(2).public())).unwrap();
    let error = keys::read_public_key(&path).unwrap_err();
    assert!(matches!(error, Error::KeyCount { found: 2, .. }), "{error}");
    assert_eq!(keys::read_public_keys(&path).unwrap().len(), 2);
    assert!(
        keys::read_public_keys(directory.path()).is_err(),
        "a directory"
    );
}

#[test]
fn a_keyset_is_made_signed_stored_and_followed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("keyset");
    let mut first = plan(&[1, 2, 3]).first().unwrap();
    assert!(first.verify_first().is_err());
    sign(&mut first, &[1, 3]);
    first.verify_first().unwrap();
    keys::write_document(&path, &first).unwrap();
    assert_eq!(keys::read_keyset(&path).unwrap(), first);
    let trusted = keys::read_trusted_keyset(&path).unwrap();
    assert_eq!(trusted.version(), 1);

    let mut second = plan(&[3, 4, 5]).successor(&trusted).unwrap();
    sign(&mut second, &[3, 4]);
    assert!(
        second.verify_successor(&trusted).is_err(),
        "one old root key is not enough"
    );
    sign(&mut second, &[1]);
    assert_eq!(second.verify_successor(&trusted).unwrap().version(), 2);
    keys::write_document(&path, &second).unwrap();
    assert_eq!(keys::read_keyset(&path).unwrap(), second);
    let left: Vec<_> = fs::read_dir(&directory).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_keyset_that_breaks_its_rules_is_not_made() {
    let error = plan(&[1, 2, 1]).first().unwrap_err();
    assert!(matches!(error, Error::RepeatedKey { .. }), "{error}");
    let error = plan(&[1]).first().unwrap_err();
    assert_eq!(
        error.to_string(),
        "keyset: root role: expected a threshold of 1 to 1 keys, found 2"
    );
    let nobody = KeysetPlan {
        channel: role(1, &[]),
        ..plan(&[1, 2])
    };
    assert!(nobody.first().is_err());
}

#[test]
fn a_document_that_cannot_be_written_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("taken");
    fs::create_dir(&path).unwrap();
    let error = keys::write_document(&path, &statement()).unwrap_err();
    assert!(error.to_string().starts_with("cannot replace "), "{error}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    let missing = directory.path().join("no/such/place");
    assert_eq!(
        keys::write_document(&missing, &statement())
            .unwrap_err()
            .class(),
        ErrorClass::NotFound
    );
}

#[test]
fn signatures_made_on_several_machines_come_together() {
    let directory = TempDir::new().unwrap();
    let keyset = plan(&[1, 2]).first().unwrap();
    let keyset = Keyset::parse_trusted(keyset.to_string().as_bytes()).unwrap();
    let paths = [12, 99, 11].map(|number| {
        let path = directory.path().join(format!("{number}.sign"));
        keys::write_document(&path, &statement()).unwrap();
        let mut document = keys::read_statement(&path).unwrap();
        Signer::Key(key(number)).sign(&mut document).unwrap();
        keys::write_document(&path, &document).unwrap();
        path
    });
    let mut all = statement();
    for path in &paths {
        all.merge(&keys::read_statement(path).unwrap()).unwrap();
    }
    let states: Vec<_> = all.inspect(&keyset, Role::Release).collect();
    assert_eq!(states.len(), 3);
    for (id, state) in states {
        let foreign = id == key(99).public().id();
        let expected = if foreign {
            SignatureState::Foreign
        } else {
            SignatureState::Good
        };
        assert_eq!(state, expected);
    }
    assert_eq!(all.verify(&keyset).unwrap().signers().len(), 2);
}
