// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parsers and bytes from outside: nothing panics, and what is accepted has one encoding.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use sealroot::ostree::format::{ArchiveHeader, Attributes, Child, Commit, DirMeta, DirTree};
use sha2::{Digest, Sha256};

use crate::craft::{Checksum, Content, commit, dirmeta, dirtree, framed, xattrs};
use crate::encode::{Value, array, bytes, text, u32_be, u64_be};
use crate::repositories::{Repositories, make_everything};

/// Parses bytes as an object and, if that succeeds, compares with how it is encoded.
fn parse(extension: &str, object: &[u8]) -> bool {
    match extension {
        "commit" => Commit::parse(object)
            .map(|commit| {
                let _ = commit.metadata.string("version");
            })
            .is_ok(),
        "dirtree" => DirTree::parse(object)
            .map(|tree| assert_eq!(encode_dirtree(&tree), object))
            .is_ok(),
        "dirmeta" => {
            if let Ok(attributes) = Attributes::parse(object) {
                assert_eq!(encode_attributes(&attributes), object);
            }
            DirMeta::parse(object).is_ok()
        }
        "filez" => parse_archive_header(object).is_some(),
        other => panic!("{other}"),
    }
}

fn parse_archive_header(object: &[u8]) -> Option<()> {
    let (prefix, rest) = object.split_first_chunk()?;
    let len = ArchiveHeader::parse_prefix(*prefix).ok()?;
    let header = rest.get(..len)?;
    let parsed = ArchiveHeader::parse(header).ok()?;
    let encoded = encode_archive_header(&parsed);
    assert_eq!(encoded, header);
    Some(())
}

fn encode_dirtree(tree: &DirTree) -> Vec<u8> {
    let mut files = Vec::new();
    let mut directories = Vec::new();
    for (name, child) in tree.children() {
        match child {
            Child::File(file) => files.push((&**name, *file.as_bytes())),
            Child::Directory { tree, meta } => {
                directories.push((&**name, *tree.as_bytes(), *meta.as_bytes()));
            }
        }
    }
    dirtree(&files, &directories)
}

fn encode_xattrs(attributes: &Attributes) -> Value {
    let pairs = attributes.xattrs.iter().map(|xattr| {
        let name = [&xattr.name, &b"\0"[..]].concat();
        Value::Tuple(vec![bytes(name), bytes(&xattr.value)])
    });
    array(1, pairs.collect())
}

fn encode_attributes(attributes: &Attributes) -> Vec<u8> {
    let numbers = [attributes.uid, attributes.gid, attributes.mode].map(u32_be);
    let mut members = numbers.to_vec();
    members.push(encode_xattrs(attributes));
    Value::Tuple(members).encode()
}

fn encode_archive_header(header: &ArchiveHeader) -> Vec<u8> {
    let (attributes, target) = header.file.clone().into_parts();
    let Attributes { uid, gid, mode, .. } = attributes;
    let mut members = vec![u64_be(header.claimed_size_bytes)];
    members.extend([uid, gid, mode, 0].map(u32_be));
    members.extend([text(target.unwrap_or_default()), encode_xattrs(&attributes)]);
    Value::Tuple(members).encode()
}

/// A few objects of each kind, as `ostree` wrote them.
fn real_objects() -> Option<Vec<(String, Vec<u8>)>> {
    let repositories = Repositories::new(make_everything)?;
    let mut objects = Vec::new();
    for extension in ["commit", "dirtree", "dirmeta", "filez"] {
        let is = |path: &Path| path.extension().unwrap() == extension;
        let mut all: Vec<Vec<u8>> = repositories
            .objects("archive")
            .iter()
            .filter(|path| is(path))
            .map(|path| fs::read(path).unwrap())
            .collect();
        all.sort_by_key(Vec::len);
        // The smallest, the largest that is not slow to try, and some between.
        all.retain(|object| object.len() < 6000);
        let step = (all.len() / 6).max(1);
        let last = all.pop();
        let some = all.into_iter().step_by(step).chain(last);
        objects.extend(some.map(|object| (extension.to_owned(), object)));
    }
    Some(objects)
}

#[test]
fn every_truncation_and_changed_byte_of_real_objects_is_survived() {
    let Some(objects) = real_objects() else {
        return;
    };
    assert!(objects.len() > 15);
    for (extension, object) in objects {
        assert!(parse(&extension, &object), "{extension}");
        for len in 0..object.len() {
            parse(&extension, &object[..len]);
        }
        let mut changed = object.clone();
        for at in 0..object.len() {
            let flips = (0..8).map(|bit| object[at] ^ 1 << bit);
            for byte in flips.chain([0, 1, 0xff]) {
                changed[at] = byte;
                parse(&extension, &changed);
            }
            changed[at] = object[at];
        }
    }
}

#[test]
fn truncated_metadata_is_no_object() {
    let checksum: Checksum = [7; 32];
    let xattrs = xattrs(&[("user.a", b"1"), ("user.b", b"")]);
    let metadata = [("version", text("12"), "s")];
    let content = Content {
        xattrs: xattrs.clone(),
        ..Content::regular(b"")
    };
    let deflated = crate::craft::deflate(b"").len();
    let mut header = content.object();
    header.truncate(header.len() - deflated);
    for (extension, object) in [
        ("commit", commit(checksum, checksum, &metadata).encode()),
        ("dirmeta", dirmeta(0o040_755, 1, xattrs)),
        ("filez", header),
    ] {
        assert!(parse(extension, &object), "{extension}");
        for len in 0..object.len() {
            // Attributes without their xattrs are whole too.
            let whole = extension == "dirmeta" && len == 12;
            assert_eq!(parse(extension, &object[..len]), whole, "{extension} {len}");
        }
    }
}

fn any_name() -> impl Strategy<Value = String> {
    "[^/\0]{1,40}".prop_filter("a name", |name| {
        name != "." && name != ".." && name.len() < 256
    })
}

proptest! {
    #[test]
    fn any_bytes_are_survived(object in proptest::collection::vec(any::<u8>(), 0..300)) {
        for extension in ["commit", "dirtree", "dirmeta", "filez"] {
            parse(extension, &object);
        }
        // Past the prefix, which random bytes do not pass.
        parse("filez", &framed(&object));
    }

    #[test]
    fn any_directory_is_read_as_it_was_written(
        entries in proptest::collection::btree_map(any_name(), any::<[bool; 1]>(), 0..40),
        checksum in any::<Checksum>(),
        meta in any::<Checksum>(),
    ) {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for (name, [is_file]) in &entries {
            if *is_file {
                files.push((name.as_bytes(), checksum));
            } else {
                directories.push((name.as_bytes(), checksum, meta));
            }
        }
        let object = dirtree(&files, &directories);
        let parsed = DirTree::parse(&object).unwrap();
        let names = parsed.children().iter().map(|(name, _)| name.to_vec());
        let expected = entries.keys().map(|name| name.as_bytes().to_vec());
        prop_assert_eq!(names.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        prop_assert_eq!(encode_dirtree(&parsed), object);
    }

    #[test]
    fn any_header_is_read_as_it_was_written(
        uid in 0..u32::MAX,
        permissions in 0..=0o7777u32,
        size in 0..1u64 << 62,
        pairs in proptest::collection::btree_map(
            "[a-z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..300), 0..6),
        target in proptest::option::of("[^\0]{1,300}"),
    ) {
        let named: Vec<_> = pairs.iter().map(|(name, value)| (format!("user.x{name}"), value)).collect();
        let pairs: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        let base = match &target {
            Some(target) => Content::symlink(target.as_bytes()),
            None => Content::regular(b""),
        };
        let content = Content {
            uid,
            mode: base.mode & 0o170_000 | permissions,
            xattrs: xattrs(&pairs),
            claimed_size_bytes: if target.is_some() { 0 } else { size },
            ..base
        };
        let object = content.object();
        let (prefix, rest) = object.split_first_chunk().unwrap();
        let len = ArchiveHeader::parse_prefix(*prefix).unwrap();
        let header = ArchiveHeader::parse(&rest[..len]).unwrap();
        prop_assert_eq!(header.claimed_size_bytes, content.claimed_size_bytes);
        prop_assert_eq!(header.file.attributes().uid, uid);
        prop_assert_eq!(u32::from(header.file.attributes().permissions()), permissions);
        prop_assert_eq!(header.file.attributes().xattrs.len(), pairs.len());
        prop_assert_eq!(encode_archive_header(&header), &rest[..len]);
        // What is hashed differs only by the size.
        let hashed: Checksum = Sha256::digest(header.file.encode()).into();
        prop_assert_eq!(hashed, content.checksum());
    }
}
