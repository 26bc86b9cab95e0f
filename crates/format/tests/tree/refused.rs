// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines that are no tree, each with the reason and the number of its line.

use sealroot_format::limits::MAX_TREE_LINE_BYTES;
use sealroot_format::tree::{FileContent, ParseError, Tree, parse_lines};

const ROOT: &str = "sealroot tree 1\n/ d 0755 0 0 0.000000000\n";

fn parse(text: &str) -> Result<Tree, ParseError> {
    let mut content = |size_bytes: u64, word: &[u8]| match word {
        b"empty" if size_bytes == 0 => Ok(FileContent::Inline(Vec::new().into())),
        _ => Err("the word `empty`"),
    };
    parse_lines(&mut text.as_bytes(), &mut content)
}

/// The line and what was expected there.
fn refused(text: &str) -> (u64, String) {
    match parse(text).expect_err(text) {
        ParseError::Line { line, expected, .. } => (line, expected.to_owned()),
        ParseError::Tree { line, source } => (line, source.to_string()),
        error => panic!("{error}"),
    }
}

#[test]
fn the_beginning() {
    for text in ["", "sealroot tree 2\n", "sealroot tree 1"] {
        assert_eq!(refused(text).0, 1, "{text}");
    }
    assert_eq!(refused("sealroot tree 1\n").0, 2);
    for root in [
        "/a d 0755 0 0 0.000000000",
        "/ f 0755 0 0 0.000000000 0 empty",
    ] {
        let (line, expected) = refused(&format!("sealroot tree 1\n{root}\n"));
        assert_eq!((line, &*expected), (2, "the root directory"), "{root}");
    }
}

#[test]
fn lines_after_the_root() {
    let meta = "0644 0 0 0.000000000";
    for (lines, at, expected) in [
        (format!("/a f {meta} 0 other"), 3, "the word `empty`"),
        (format!("/a f {meta} 1 empty"), 3, "the word `empty`"),
        (format!("/a f {meta} 0"), 3, "more fields"),
        (format!("/a f {meta} 01 empty"), 3, "a size in bytes"),
        (format!("/a x {meta}"), 3, "a kind: one of"),
        (format!("/a p {meta} "), 3, "an xattr with its value"),
        (
            format!("/a p {meta} user.a=1 user.a=2"),
            3,
            "sorted by name",
        ),
        (
            format!("/a p {meta} user.b=1 user.a=2"),
            3,
            "sorted by name",
        ),
        (format!("/a p {meta} =1"), 3, "the xattr name"),
        (format!("/a c {meta} 1"), 3, "MAJOR:MINOR"),
        (format!("/a c {meta} 4096:0"), 3, "device"),
        (format!("/a l {meta} "), 3, "symlink"),
        (
            "/a p 0644 4294967295 0 0.000000000".to_owned(),
            3,
            "found 4294967295",
        ),
        (
            "/a p 644 0 0 0.000000000".to_owned(),
            3,
            "four octal digits",
        ),
        (
            "/a p 0648 0 0 0.000000000".to_owned(),
            3,
            "four octal digits",
        ),
        ("/a p 0644 0 0 -0.000000000".to_owned(), 3, "a time"),
        ("/a p 0644 0 0 0.0".to_owned(), 3, "a time"),
        ("/a p 0644 0 0 +1.000000000".to_owned(), 3, "a time"),
        (format!("/a\\x61 p {meta}"), 3, "plain characters"),
        (format!("/a\\xFF p {meta}"), 3, "plain characters"),
        (format!("/a\\x2f p {meta}"), 3, "plain characters"),
        (format!("/b p {meta}\n/a p {meta}"), 4, "canonical order"),
        (format!("/a p {meta}\n/a p {meta}"), 4, "canonical order"),
        (format!("/a p {meta}\n/a/b p {meta}"), 4, "canonical order"),
        (format!("/a/b p {meta}"), 3, "canonical order"),
        (format!("a p {meta}"), 3, "canonical order"),
        (format!("/ d {meta}"), 3, "not valid"),
        (format!("/a/ p {meta}"), 3, "canonical order"),
        (format!("/. p {meta}"), 3, "not valid"),
        (
            format!("/a d {meta}\n/b d {meta}\n/a/c p {meta}"),
            5,
            "canonical order",
        ),
        (
            format!("/aa d {meta}\n/bb/c p {meta}"),
            4,
            "canonical order",
        ),
        ("/b h /a".to_owned(), 3, "a path of a line before"),
        (
            format!("/a p {meta}\n/b h x/a"),
            4,
            "a path of a line before",
        ),
        (
            format!("/a d {meta}\n/b h /a"),
            4,
            "hardlink to a directory",
        ),
        (
            format!("/a p {meta}\n/b h /a\n/c h /b"),
            5,
            "the first path of an inode",
        ),
        (format!("/a p {meta}\n/b h /a x"), 4, "no more fields"),
    ] {
        let (line, found) = refused(&format!("{ROOT}{lines}\n"));
        assert!(
            line == at && found.contains(expected),
            "{lines}: {line}, {found}"
        );
    }
    let unended = format!("{ROOT}/a p {meta}");
    assert!(refused(&unended).1.contains("ended by LF"));
}

#[test]
fn a_line_without_an_end_takes_bounded_memory() {
    let text = format!("{ROOT}/{}", "a".repeat(2 << 20));
    let (line, expected) = refused(&text);
    assert!(line == 3 && expected.contains("mebibyte"), "{expected}");
    assert!(u64::try_from(text.len()).expect("a length") > MAX_TREE_LINE_BYTES);
}

#[test]
fn bytes_that_are_no_text() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut text = ROOT.as_bytes().to_vec();
    text.extend(bytes);
    let mut content = |_: u64, _: &[u8]| Err("nothing");
    let error = parse_lines(&mut &text[..], &mut content).expect_err("no tree");
    assert!(matches!(error, ParseError::Line { line: 3, .. }), "{error}");
}
