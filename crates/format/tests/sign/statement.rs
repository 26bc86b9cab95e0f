// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of a statement: one form, all fields, nothing else.

use proptest::{collection::vec, option, prelude::*};
use sealroot_format::{
    ErrorClass,
    digest::{CommitId, TreeDigest, VerityDigest},
    sign::{Name, Statement, Word},
};

use crate::common::{assert_each_line_matters, edited, golden_statement};

fn with(from: &str, to: &str) -> Result<Statement, sealroot_format::sign::Error> {
    let text = golden_statement().to_string();
    assert_eq!(text.matches(from).count(), 1, "{from:?}");
    Statement::parse(text.replacen(from, to, 1).as_bytes())
}

fn refused(from: &str, to: &str) {
    match with(from, to) {
        Err(error) => assert_eq!(error.class(), ErrorClass::Corrupt, "{to:?}"),
        Ok(statement) => panic!("accepted {to:?}: {statement}"),
    }
}

// Rules: T1, T2
#[test]
fn lines_are_printable_ascii_ended_by_one_line_feed() {
    let text = golden_statement().to_string();
    assert_eq!(
        Statement::parse(text.as_bytes()).unwrap(),
        golden_statement()
    );
    assert!(Statement::parse(text.trim_end().as_bytes()).is_err());
    assert!(Statement::parse(b"").is_err());
    assert!(Statement::parse(text.replace('\n', "\r\n").as_bytes()).is_err());
    for byte in (0..=u8::MAX).filter(|byte| !matches!(byte, b' '..=b'~')) {
        for place in ["os debian", "12.8+1", "created"] {
            let at = text.find(place).unwrap() + 3;
            let mut bytes = text.clone().into_bytes();
            bytes.insert(at, byte);
            assert!(Statement::parse(&bytes).is_err(), "byte {byte:#x} at {at}");
        }
    }
}

// Rules: T3
#[test]
fn another_version_is_named_as_the_reason() {
    let error = with("release 1\n", "release 2\n").unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unsupported);
    assert_eq!(
        error.to_string(),
        "release statement has format version 2, this program knows version 1"
    );
    for header in [
        "release 01",
        "release",
        "release 1 ",
        "keyset 1",
        "Release 1",
        "release -1",
    ] {
        refused("release 1\n", &format!("{header}\n"));
    }
}

// Rules: T4, T5, S1
#[test]
fn every_line_must_be_there_once_and_in_order() {
    let text = golden_statement().to_string();
    assert_eq!(text.lines().count(), 19);
    assert_each_line_matters(&text, |text| Statement::parse(text).is_ok());
    for tail in ["\n", "x", "x y\n", " "] {
        assert!(
            Statement::parse(format!("{text}{tail}").as_bytes()).is_err(),
            "{tail:?}"
        );
    }
    for (from, to) in [
        ("os debian", "os  debian"),
        ("os debian", "os"),
        ("os debian", "os "),
    ] {
        refused(from, to);
    }
}

// Rules: T6
#[test]
fn numbers_have_one_form_and_fit() {
    for bad in [
        "",
        "042",
        "+42",
        "-42",
        "4 2",
        "42 ",
        "0x2a",
        "4_2",
        "42.0",
        "18446744073709551616",
        "-",
    ] {
        refused("index 42", &format!("index {bad}"));
    }
    assert_eq!(with("index 42", "index 0").unwrap().index, 0);
    let most = with("index 42", "index 18446744073709551615").unwrap();
    assert_eq!(most.index, u64::MAX);
    for key in ["pack-format 1", "threshold 4096"] {
        let key = key.split_once(' ').unwrap();
        refused(
            &format!("{} {}", key.0, key.1),
            &format!("{} 4294967296", key.0),
        );
    }
}

// Rules: T7, T8, T9, S3
#[test]
fn names_words_and_dashes() {
    let long = |count| "n".repeat(count);
    for bad in [
        "-",
        "",
        ".hidden",
        "_x",
        "a/b",
        "a b",
        "..",
        "a:b",
        "a~b",
        &long(65),
    ] {
        refused("os debian", &format!("os {bad}"));
        refused("stream stable", &format!("stream {bad}"));
        refused("arch x86_64", &format!("arch {bad}"));
        if bad != "-" {
            refused("variant -", &format!("variant {bad}"));
        }
    }
    for good in ["a", "0", "A.b_c+d-e", &long(64)] {
        assert_eq!(
            with("os debian", &format!("os {good}"))
                .unwrap()
                .os
                .as_str(),
            good
        );
    }
    for bad in ["", "a b", &long(256)] {
        refused("version 12.8+1", &format!("version {bad}"));
        refused("kernel 6.12.57+deb12-amd64", &format!("kernel {bad}"));
    }
    for good in ["--", "~!@/\\\"", &long(255)] {
        let statement = with("version 12.8+1", &format!("version {good}")).unwrap();
        assert_eq!(statement.version.unwrap().as_str(), good);
    }
    assert_eq!(with("version 12.8+1", "version -").unwrap().version, None);
    assert_eq!(
        with("kernel 6.12.57+deb12-amd64", "kernel -")
            .unwrap()
            .kernel,
        None
    );
    assert!("-".parse::<Word>().is_err());
    for key in [
        "index",
        "epoch",
        "commit",
        "tree-digest",
        "pack-digest",
        "objects",
        "created",
    ] {
        let text = golden_statement().to_string();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        refused(line, &format!("{key} -"));
    }
}

// Rules: S2
#[test]
fn digests_are_tagged_and_lowercase() {
    let (commit, tree, pack) = ("c0".repeat(32), "7d".repeat(32), "fa".repeat(32));
    let (tree_line, pack_line) = (format!("sha256:{tree}"), format!("sha256:4096:{pack}"));
    refused(&commit, &commit.to_uppercase());
    refused(&commit, &commit[1..]);
    refused(&commit, &format!("{commit}0"));
    refused(&commit, &format!("sha256:{commit}"));
    refused(&tree_line, &tree);
    refused(&tree_line, &format!("sha256:4096:{tree}"));
    refused(&tree_line, &format!("SHA256:{tree}"));
    refused(&pack_line, &pack);
    refused(&pack_line, &format!("sha256:{pack}"));
    refused(&pack_line, &format!("sha512:4096:{pack}"));
    refused(&pack_line, &format!("sha256:65536:{pack}"));
    refused(&pack_line, &pack_line.to_uppercase());
}

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9][A-Za-z0-9._+-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn word() -> impl Strategy<Value = Word> {
    "[!-~]{1,255}".prop_filter_map("a dash is none", |text| text.parse().ok())
}

prop_compose! {
    pub(crate) fn any_statement()(
        (os, variant, stream, arch) in (name(), option::of(name()), name(), name()),
        (version, kernel) in (option::of(word()), option::of(word())),
        digests in any::<[[u8; 32]; 3]>(),
        numbers in any::<[u64; 7]>(),
        (pack_format, threshold_bytes) in any::<(u32, u32)>(),
    ) -> Statement {
        let [commit, tree, pack] = digests;
        let [index, epoch, pack_size_bytes, entries, objects, object_bytes, created] = numbers;
        Statement {
            os, variant, stream, arch, version, index, epoch,
            commit: CommitId::from_bytes(commit),
            tree_digest: TreeDigest::from_bytes(tree),
            pack_format,
            pack_digest: VerityDigest::from_bytes(pack),
            pack_size_bytes, entries, objects, object_bytes, threshold_bytes, kernel, created,
        }
    }
}

proptest! {
    #[test]
    fn every_statement_reads_back(statement in any_statement()) {
        let text = statement.to_string();
        prop_assert_eq!(&Statement::parse(text.as_bytes()).unwrap(), &statement);
    }

    #[test]
    fn what_is_read_is_written_to_the_byte(
        bytes in edited(golden_statement().to_string()),
    ) {
        if let Ok(statement) = Statement::parse(&bytes) {
            prop_assert_eq!(statement.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..600)) {
        drop(Statement::parse(&bytes));
    }
}
