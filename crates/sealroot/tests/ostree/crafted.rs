// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects under their right names that no writer writes: the checksums are right, and still
//! nothing wrong is accepted.

use std::fs;

use sealroot::ostree::{ObjectError, ObjectKind, OstreeError};
use sealroot_format::ErrorClass;
use sealroot_format::tree::{FileContent, Kind, TreeError};
use sealroot_testkit::content::Numbers;
use sealroot_testkit::need;

use crate::craft::{Checksum, Content, Craft, commit, dirmeta, dirtree, xattrs};
use crate::encode::{Value, append_as_wide_as, array, bytes, text, u32_be, u64_be};
use crate::repositories::{ostree, try_ostree};

/// The error in one object of the commit.
#[track_caller]
pub(crate) fn object_error(craft: &Craft, rev: &str) -> (ObjectKind, ObjectError, ErrorClass) {
    let error = craft.read(rev).unwrap_err();
    let class = error.class();
    match error {
        OstreeError::Object { at, source } => (at.object.kind, *source, class),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_malformed(craft: &Craft, rev: &str, kind: ObjectKind, text: &str) {
    let (found, error, class) = object_error(craft, rev);
    assert_eq!(found, kind);
    let ObjectError::Malformed(source) = error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains(text), "{source}");
    assert_eq!(class, ErrorClass::Corrupt);
}

#[test]
fn what_is_crafted_well_is_accepted_by_ostree_too() {
    let craft = Craft::new();
    let content = Content {
        xattrs: xattrs(&[("user.a", b"1"), ("user.b", b"")]),
        ..Content::regular(b"some content")
    };
    let file = craft.put_content(&content);
    let link = craft.put_content(&Content::symlink(b"a"));
    let meta = craft.put_dirmeta();
    let empty = craft.put("dirtree", &dirtree(&[], &[]));
    let tree = dirtree(&[(b"a", file), (b"c", link)], &[(b"b", empty, meta)]);
    let rev = craft.commit_tree(&tree);
    let tree = craft.read(&rev).unwrap().tree;
    // Besides the root: a, b, c, and the mount points.
    assert_eq!(tree.len(), 1 + 3 + 9);
    let a = tree.inode(tree.lookup([&b"a"[..]]).unwrap());
    assert_eq!(
        a.kind,
        Kind::Regular(FileContent::Inline(b"some content"[..].into()))
    );
    assert_eq!(a.metadata.xattrs.get(b"user.b"), Some(&b""[..]));
    if need::tool("ostree").is_some() {
        craft.write("refs/heads/test", format!("{rev}\n").as_bytes());
        ostree(craft.path(), &["fsck", "--quiet"]);
    }
}

#[test]
fn names_that_no_directory_has_are_refused() {
    let long = [b'n'; 256];
    let names: [(&[u8], &str); 8] = [
        (b"", "empty"),
        (b".", "reserved"),
        (b"..", "reserved"),
        (b"a/b", "slash"),
        (b"/etc/passwd", "slash"),
        (&long, "255"),
        (b"\xff", "type does not allow"),
        (b"a\0b", "NUL"),
    ];
    for (name, text) in names {
        let craft = Craft::new();
        let file = craft.put_content(&Content::regular(b""));
        let empty = craft.put("dirtree", &dirtree(&[], &[]));
        let as_file = craft.commit_tree(&dirtree(&[(name, file)], &[]));
        assert_malformed(&craft, &as_file, ObjectKind::DirTree, text);
        let as_directory = craft.commit_tree(&dirtree(&[], &[(name, empty, craft.put_dirmeta())]));
        assert_malformed(&craft, &as_directory, ObjectKind::DirTree, text);
    }
}

#[test]
fn names_out_of_order_or_twice_are_refused() {
    let craft = Craft::new();
    let file = craft.put_content(&Content::regular(b""));
    let empty = craft.put("dirtree", &dirtree(&[], &[]));
    let meta = craft.put_dirmeta();
    let refused = |tree: Vec<u8>, text: &str| {
        assert_malformed(&craft, &craft.commit_tree(&tree), ObjectKind::DirTree, text);
    };
    refused(
        dirtree(&[(b"b", file), (b"a", file)], &[]),
        "order of names",
    );
    refused(
        dirtree(&[], &[(b"b", empty, meta), (b"a", empty, meta)]),
        "order of names",
    );
    refused(dirtree(&[(b"a", file), (b"a", file)], &[]), "twice");
    refused(
        dirtree(&[], &[(b"a", empty, meta), (b"a", empty, meta)]),
        "twice",
    );
    refused(
        dirtree(&[(b"a", file), (b"b", file)], &[(b"b", empty, meta)]),
        "twice",
    );
}

#[test]
fn encodings_that_are_not_normal_are_refused() {
    let craft = Craft::new();
    let file = craft.put_content(&Content::regular(b""));
    let meta = craft.put_dirmeta();
    let empty = craft.put("dirtree", &dirtree(&[], &[]));
    let refused = |tree: &[u8], text: &str| {
        assert_malformed(&craft, &craft.commit_tree(tree), ObjectKind::DirTree, text);
    };
    refused(b"", "too early");
    refused(b"\x01", "offset");
    refused(b"\0\0", "");
    // The same directory with framing offsets of two bytes in place of one.
    let mut entry = b"file\0".to_vec();
    entry.extend(file);
    append_as_wide_as(&mut entry, &[5], 1);
    for (entry_width, tree_width) in [(2, 1), (1, 2)] {
        let mut tree = entry.clone();
        append_as_wide_as(&mut tree, &[entry.len()], entry_width);
        let end = tree.len();
        append_as_wide_as(&mut tree, &[end], tree_width);
        refused(&tree, "");
    }
    // A file's checksum of 31 bytes, a directory's of none.
    let short = Value::Tuple(vec![text("file"), bytes(&file[..31])]);
    let lists = [array(1, vec![short]), array(1, Vec::new())];
    refused(&Value::Tuple(lists.into()).encode(), "32 bytes");
    let short = Value::Tuple(vec![text("d"), bytes([]), bytes(meta)]);
    let lists = [array(1, Vec::new()), array(1, vec![short])];
    refused(&Value::Tuple(lists.into()).encode(), "32 bytes");

    let mut parts = Vec::new();
    let well = commit(empty, meta, &[("k", u32_be(1), "u"), ("n", text("x"), "s")]);
    let Value::Tuple(members) = well.clone() else {
        panic!("a commit is a tuple");
    };
    let with = |at: usize, value: Value| {
        let mut members = members.clone();
        members[at] = value;
        Value::Tuple(members).encode()
    };
    parts.push((with(1, bytes([1; 31])), "32 bytes"));
    parts.push((with(3, text(b"\xff")), "does not allow"));
    parts.push((with(6, bytes([1; 33])), "32 bytes"));
    parts.push((with(7, bytes([])), "32 bytes"));
    // The padding before the value of the second key.
    let mut padding = well.encode();
    let key = padding.windows(2).position(|pair| pair == b"n\0").unwrap();
    assert_eq!(padding[key + 2], 0);
    padding[key + 2] = 1;
    parts.push((padding, "padding"));
    parts.push((
        commit(empty, meta, &[("k", Value::Number(vec![2]), "b")]).encode(),
        "boolean",
    ));
    for (bytes, text) in parts {
        let rev = sealroot_format::hex::encode(&craft.put("commit", &bytes));
        assert_malformed(&craft, &rev, ObjectKind::Commit, text);
    }
}

#[test]
fn attributes_that_no_directory_has_are_refused() {
    let craft = Craft::new();
    let empty = craft.put("dirtree", &dirtree(&[], &[]));
    let refused = |meta: &[u8], text: &str| {
        let rev = craft.put_commit(empty, craft.put("dirmeta", meta));
        assert_malformed(&craft, &rev, ObjectKind::DirMeta, text);
    };
    refused(&dirmeta(0o100_755, 0, xattrs(&[])), "mode");
    refused(&dirmeta(0o755, 0, xattrs(&[])), "mode");
    refused(&dirmeta(0o1_040_755, 0, xattrs(&[])), "mode");
    refused(&dirmeta(0o040_755, u32::MAX, xattrs(&[])), "uid");
    refused(
        &dirmeta(0o040_755, 0, xattrs(&[("user.a", b"1"), ("user.a", b"2")])),
        "twice",
    );
    refused(
        &dirmeta(0o040_755, 0, xattrs(&[("nonamespace", b"1")])),
        "xattr name",
    );
    refused(
        &dirmeta(0o040_755, 0, xattrs(&[("user.", b"1")])),
        "xattr name",
    );
    let without_nul = array(1, vec![Value::Tuple(vec![bytes("user.a"), bytes("1")])]);
    refused(&dirmeta(0o040_755, 0, without_nul), "NUL");
    let two_nuls = array(
        1,
        vec![Value::Tuple(vec![bytes("user.a\0b\0"), bytes("1")])],
    );
    refused(&dirmeta(0o040_755, 0, two_nuls), "NUL");
    let cut = dirmeta(0o040_755, 0, xattrs(&[]));
    refused(&cut[..11], "too early");
}

#[test]
fn values_that_no_tree_can_hold_are_refused() {
    let craft = Craft::new();
    let empty = craft.put("dirtree", &dirtree(&[], &[]));
    let large = dirmeta(0o040_755, 0, xattrs(&[("user.large", &vec![0; 65_536])]));
    let rev = craft.put_commit(empty, craft.put("dirmeta", &large));
    let (kind, _, class) = object_error(&craft, &rev);
    assert_eq!(
        (kind, class),
        (ObjectKind::DirMeta, ErrorClass::Unsupported)
    );
}

/// A directory in which each of `levels` directories names the next one twice.
fn doubling(craft: &Craft, levels: usize, bottom: Checksum) -> Vec<u8> {
    let meta = craft.put_dirmeta();
    (0..levels).fold(dirtree(&[(b"f", bottom)], &[]), |below, _| {
        let below = craft.put("dirtree", &below);
        dirtree(&[], &[(b"a", below, meta), (b"b", below, meta)])
    })
}

#[test]
fn a_tree_is_measured_before_it_is_built() {
    let craft = Craft::new();
    let file = craft.put_content(&Content::regular(b"x"));
    let rev = craft.commit_tree(&doubling(&craft, 5, file));
    assert_eq!(craft.read(&rev).unwrap().tree.len(), 1 + 62 + 32 + 9);
    // 2^61 directories in 60 objects.
    let rev = craft.commit_tree(&doubling(&craft, 60, file));
    let error = craft.read(&rev).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unsupported);
    let OstreeError::Entry {
        source: TreeError::Bound { what, .. },
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(what, "entries of a tree");
}

#[test]
fn paths_have_a_longest_length() {
    let craft = Craft::new();
    let meta = craft.put_dirmeta();
    let name = [b'n'; 255];
    let nested = |levels: usize| {
        (0..levels).fold(dirtree(&[], &[]), |below, _| {
            dirtree(&[], &[(&name, craft.put("dirtree", &below), meta)])
        })
    };
    // 15 times 256 bytes, then 255: 4095 bytes are the most.
    assert!(craft.read(&craft.commit_tree(&nested(15))).is_ok());
    let error = craft.read(&craft.commit_tree(&nested(16))).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unsupported);
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("path")
    );
}

#[test]
fn what_all_names_hold_together_is_bounded() {
    let value = vec![1; 65_000];
    let large = xattrs(&[("user.a", &value), ("user.b", &value), ("user.c", &value)]);
    let refused = |craft: &Craft, rev: &str| {
        let error = craft.read(rev).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unsupported);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("bytes of names, xattrs"), "{source}");
    };
    // 2^15 names of a file with 195 kB of xattrs are 6 GB: refused once the file was read.
    let craft = Craft::new();
    let content = Content {
        xattrs: large.clone(),
        ..Content::regular(b"x")
    };
    let file = craft.put_content(&content);
    refused(&craft, &craft.commit_tree(&doubling(&craft, 15, file)));
    // As many directories: refused before anything is built.
    let craft = Craft::new();
    let meta = craft.put("dirmeta", &dirmeta(0o040_755, 0, large));
    let tree = (0..15).fold(dirtree(&[], &[]), |below, _| {
        let below = craft.put("dirtree", &below);
        dirtree(&[], &[(b"a", below, meta), (b"b", below, meta)])
    });
    refused(&craft, &craft.commit_tree(&tree));
}

#[test]
fn metadata_larger_than_ostree_allows_is_refused() {
    let craft = Craft::new();
    let meta = craft.put_dirmeta();
    let tree = [9; 32];
    let path = craft.object_path(tree, "dirtree");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Sparse: a hole beyond the bound.
    fs::File::create(&path)
        .unwrap()
        .set_len((128 << 20) + 1)
        .unwrap();
    let (kind, error, class) = object_error(&craft, &craft.put_commit(tree, meta));
    assert_eq!((kind, class), (ObjectKind::DirTree, ErrorClass::Corrupt));
    assert!(error.to_string().contains("size"), "{error}");
}

/// Whether `ostree fsck` accepts the one commit of a repository.
fn ostree_accepts(craft: &Craft, rev: &str) -> bool {
    craft.write("refs/heads/test", format!("{rev}\n").as_bytes());
    try_ostree(craft.path(), &["fsck", "--quiet"])
        .status
        .success()
}

/// Changes objects at random and asks `ostree` what it thinks of those that we accept. It accepts
/// more: also what is not in normal form.
#[test]
fn what_is_accepted_of_damaged_objects_under_right_names_ostree_accepts_too() {
    if need::tool("ostree").is_none() {
        return;
    }
    let mut numbers = Numbers::new(7);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..240 {
        let craft = Craft::new();
        let file = craft.put_content(&Content::regular(b""));
        let meta = dirmeta(0o040_755, 0, xattrs(&[("user.a", b"1"), ("user.b", b"2")]));
        let tree = dirtree(&[(b"f", file), (b"g", file)], &[]);
        let commit = |tree, meta| {
            let numbers = Value::Array {
                alignment: 4,
                fixed: true,
                elements: vec![u32_be(1), u32_be(2)],
            };
            let pair = Value::Tuple(vec![text("x"), u64_be(3)]);
            let flag = Value::Number(vec![1]);
            let metadata = [
                ("version", text("1"), "s"),
                ("numbers", numbers, "au"),
                ("pair", pair, "(st)"),
                ("flag", flag, "b"),
            ];
            commit(tree, meta, &metadata).encode()
        };
        let mut damage = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = numbers.below(bytes.len() as u64) as usize;
            match numbers.below(4) {
                0 => bytes[at] ^= 1 << numbers.below(8),
                1 => bytes[at] = numbers.below(256) as u8,
                2 => bytes.truncate(at),
                _ => bytes.insert(at, numbers.below(3) as u8),
            }
            bytes
        };
        let (meta, tree, which) = match round % 3 {
            0 => (damage(&meta), tree, ObjectKind::DirMeta),
            1 => (meta, damage(&tree), ObjectKind::DirTree),
            _ => (meta, tree, ObjectKind::Commit),
        };
        let meta = craft.put("dirmeta", &meta);
        let tree = craft.put("dirtree", &tree);
        let mut bytes = commit(tree, meta);
        if which == ObjectKind::Commit {
            bytes = damage(&bytes);
        }
        let rev = sealroot_format::hex::encode(&craft.put("commit", &bytes));
        match craft.read(&rev) {
            Ok(_) => {
                accepted += 1;
                assert!(ostree_accepts(&craft, &rev), "{which:?} {round}");
            }
            Err(OstreeError::Object { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(
        accepted > 10 && refused > 100,
        "{accepted} accepted, {refused} refused"
    );
}
