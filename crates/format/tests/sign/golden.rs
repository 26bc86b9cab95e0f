// SPDX-License-Identifier: MIT OR Apache-2.0
//! The golden files and the examples of the format documents: each must read as the documents of
//! [`crate::common`], be written again to the byte, and stand in its page as it is.

use std::{fs, path::PathBuf};

use crate::common::{
    golden_channel, golden_keyset, golden_policy, golden_statement, key, signed, trusted,
};
use sealroot_format::{
    floor::Floor,
    policy::Policy,
    sign::{
        Channel, Keyset, Statement, Unverified, parse_public_keys, secret::SecretKey,
        write_public_keys,
    },
};

fn file(path: &str) -> String {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The golden file `name`, which must stand in the format document `page` too, after the line
/// that names it.
fn golden(name: &str, page: &str) -> String {
    let path = format!("testdata/v1/{name}");
    let text = file(&path);
    let page = file(&format!("docs/format/{page}"));
    let example = format!("`{path}`:\n\n```text\n{text}```\n");
    assert!(
        page.contains(&example),
        "the page lacks this example:\n{example}"
    );
    text
}

#[test]
fn release() {
    let text = golden("release.sign", "statement.md");
    let document = Unverified::<Statement>::parse(text.as_bytes()).unwrap();
    assert_eq!(document, signed(&golden_statement(), &[11, 12]));
    assert_eq!(document.to_string(), text);
    let verified = document.verify(&trusted(&golden_keyset())).unwrap();
    assert_eq!(*verified, golden_statement());
    assert_eq!(verified.to_string().as_bytes(), document.body());
}

#[test]
fn channel() {
    let text = golden("channel", "channel.md");
    let document = Unverified::<Channel>::parse(text.as_bytes()).unwrap();
    assert_eq!(document, signed(&golden_channel(), &[21]));
    assert_eq!(document.to_string(), text);
    let verified = document.verify(&trusted(&golden_keyset())).unwrap();
    assert_eq!(*verified, golden_channel());
}

#[test]
fn keyset() {
    let text = golden("keyset", "keyset.md");
    let document = Unverified::<Keyset>::parse(text.as_bytes()).unwrap();
    assert_eq!(document, signed(&golden_keyset(), &[1, 2]));
    assert_eq!(document.to_string(), text);
    assert_eq!(*document.verify_first().unwrap(), golden_keyset());
    assert_eq!(
        *Keyset::parse_trusted(text.as_bytes()).unwrap(),
        golden_keyset()
    );
}

#[test]
fn policy() {
    let text = golden("policy", "policy.md");
    assert_eq!(Policy::parse(text.as_bytes()).unwrap(), golden_policy());
    assert_eq!(golden_policy().to_string(), text);
}

#[test]
fn floor() {
    let text = golden("floor", "floor.md");
    let floor = Floor {
        epoch: 3,
        index: 42,
    };
    assert_eq!(Floor::parse(text.as_bytes()), Ok(floor));
    assert_eq!(floor.to_string(), text);
}

#[test]
fn key_files() {
    let secret = golden("release-11.secret", "keyset.md");
    assert_eq!(*key(11).to_file(), secret);
    let read = SecretKey::parse(secret.as_bytes()).unwrap();
    assert_eq!(read.public(), key(11).public());
    let public = golden("release-11.public", "keyset.md");
    assert_eq!(write_public_keys([key(11).public()]), public);
    assert_eq!(
        parse_public_keys(public.as_bytes()).unwrap(),
        [*key(11).public()]
    );
}
