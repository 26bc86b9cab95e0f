// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees that cannot be packs: refused with a path and a reason, before anything is written.

use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::{PackError, write_pack};
use sealroot_format::tree::{
    DeviceNumber, FileContent, Inode, InodeId, Kind, Metadata, Tree, Xattr, XattrSet,
};

fn xattrs(xattrs: &[(&str, usize)]) -> Metadata {
    let xattr = |(name, len): &(&str, usize)| Xattr {
        name: name.as_bytes().into(),
        value: vec![b'v'; *len].into(),
    };
    Metadata {
        xattrs: XattrSet::from_unsorted(xattrs.iter().map(xattr).collect()).expect("valid"),
        ..Metadata::default()
    }
}

fn tree_of(inodes: &[(&str, Metadata, Kind)]) -> Tree {
    let mut tree = Tree::new(Metadata::default());
    for (name, metadata, kind) in inodes {
        let inode = Inode::new(metadata.clone(), kind.clone());
        tree.insert(InodeId::ROOT, name.as_bytes(), inode)
            .expect("inserted");
    }
    tree
}

fn external(digest: u8, size_bytes: u64) -> Kind {
    let digest = VerityDigest::from_bytes([digest; 32]);
    Kind::Regular(FileContent::External { digest, size_bytes })
}

fn inline(len: usize) -> Kind {
    Kind::Regular(FileContent::Inline(vec![b'c'; len].into()))
}

fn refusal(tree: &Tree, threshold: u32) -> PackError {
    let mut written = Vec::new();
    let error = write_pack(tree, threshold, &mut written).expect_err("it is refused");
    assert!(written.is_empty());
    error
}

fn assert_refused(tree: &Tree, class: ErrorClass, expected: &str) {
    let error = refusal(tree, 64);
    assert_eq!(error.class(), class);
    assert_eq!(error.to_string(), expected);
}

// Rules: P1
#[test]
fn files_on_the_wrong_side_of_the_threshold() {
    let usage = ErrorClass::Usage;
    assert_refused(
        &tree_of(&[("a", Metadata::default(), inline(65))]),
        usage,
        "/a: a file of 65 bytes is inline, against a threshold of 64",
    );
    assert_refused(
        &tree_of(&[("a", Metadata::default(), external(1, 64))]),
        usage,
        "/a: a file of 64 bytes is external, against a threshold of 64",
    );
    let error = refusal(&tree_of(&[]), 65_537);
    assert_eq!(
        error.to_string(),
        "threshold: found 65537 bytes, expected at most 65536"
    );
}

// Rules: P2
#[test]
fn owners_that_chown_cannot_set() {
    let nobody = |uid, gid| Metadata {
        uid,
        gid,
        ..Metadata::default()
    };
    for (metadata, what) in [
        (nobody(u32::MAX, 0), "user"),
        (nobody(0, u32::MAX), "group"),
    ] {
        let inode = Inode::new(metadata.clone(), Kind::Fifo);
        let error = tree_of(&[]).insert(InodeId::ROOT, b"a", inode);
        assert_eq!(
            error.expect_err("it is refused").to_string(),
            format!("{what}: found 4294967295, expected at most 4294967294")
        );
        // The root is not inserted.
        assert_refused(
            &Tree::new(metadata),
            ErrorClass::Unsupported,
            &format!("/: {what}: found 4294967295, expected at most 4294967294"),
        );
    }
    let last = nobody(u32::MAX - 1, u32::MAX - 1);
    write_pack(&tree_of(&[("a", last, Kind::Fifo)]), 64, &mut Vec::new()).expect("it is written");
}

// Rules: P3
#[test]
fn files_that_are_too_large_or_contradict_each_other() {
    let none = Metadata::default();
    assert_refused(
        &tree_of(&[("a", none.clone(), external(1, (1 << 53) + 1))]),
        ErrorClass::Unsupported,
        "/a: size: found more, expected at most 256 KiB of xattrs and 8 PiB of content",
    );
    assert_refused(
        &tree_of(&[
            ("a", none.clone(), external(1, 100)),
            ("b", none, external(1, 101)),
        ]),
        ErrorClass::Unsupported,
        "/b: size: found 101, expected 100, as another file with the same digest",
    );
}

// Rules: P2
#[test]
fn a_path_that_is_too_long() {
    let mut tree = Tree::new(Metadata::default());
    let mut parent = InodeId::ROOT;
    for _ in 0..16 {
        let inode = Inode::new(Metadata::default(), Kind::directory());
        parent = tree.insert(parent, &[b'd'; 255], inode).expect("inserted");
    }
    let error = refusal(&tree, 64).to_string();
    assert!(
        error.ends_with("bytes of a path below: found 4096, expected at most 4095"),
        "{error}"
    );
}

// Rules: P14, P21
#[test]
fn xattrs_that_cannot_be_stored() {
    let long = format!("trusted.overlay.{}", "x".repeat(232));
    for (name, expected) in [
        ("system.foo", "user., trusted., security. or a POSIX ACL"),
        (&long, "a name that has at most 255 bytes once escaped"),
        (
            "trusted.overlay.",
            "a name that goes on after trusted.overlay.",
        ),
    ] {
        assert_refused(
            &tree_of(&[("a", xattrs(&[(name, 0)]), Kind::Fifo)]),
            ErrorClass::Unsupported,
            &format!("/a: xattr: found {name}, expected {expected}"),
        );
    }
    let fits = &long[..long.len() - 1];
    let tree = tree_of(&[("a", xattrs(&[(fits, 0)]), Kind::Fifo)]);
    write_pack(&tree, 64, &mut Vec::new()).expect("it is short enough");
}

// Rules: P14
#[test]
fn as_many_xattrs_as_a_tree_admits_fit() {
    // Names of five bytes and no value take the most room in the image against their length.
    let names: Vec<String> = (0..20_000)
        .map(|number| format!("user.{number:05}"))
        .collect();
    let many: Vec<(&str, usize)> = names.iter().map(|name| (&name[..], 0)).collect();
    let tree = tree_of(&[("a", xattrs(&many), Kind::Fifo)]);
    write_pack(&tree, 64, &mut Vec::new()).expect("it fits");
}

// Rules: P23
#[test]
fn whiteouts_that_cannot_be_escaped() {
    let whiteout = || Kind::CharDevice(DeviceNumber::WHITEOUT);
    let expected = |path: &str, name: &str| {
        format!("{path}: xattr: found {name}, expected none that is needed to keep a whiteout")
    };
    for name in ["trusted.overlay.whiteout", "user.overlay.whiteout"] {
        assert_refused(
            &tree_of(&[("a", xattrs(&[(name, 0)]), whiteout())]),
            ErrorClass::Unsupported,
            &expected("/a", name),
        );
    }
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.whiteouts",
        "user.overlay.opaque",
        "user.overlay.whiteouts",
    ] {
        let mut tree = tree_of(&[("a", Metadata::default(), whiteout())]);
        tree.inode_mut(InodeId::ROOT).metadata = xattrs(&[(name, 1)]);
        assert_refused(&tree, ErrorClass::Unsupported, &expected("/", name));
    }
}
