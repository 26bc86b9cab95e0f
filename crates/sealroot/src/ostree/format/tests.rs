// SPDX-License-Identifier: MIT OR Apache-2.0

use sha2::{Digest, Sha256};

use super::*;

/// Bytes from hex with spaces.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn sha256(parts: &[&[u8]]) -> String {
    let digest: [u8; 32] = Sha256::digest(parts.concat()).into();
    Sha256Digest::from_bytes(digest).to_hex()
}

fn attributes(mode: u32, xattrs: &[(&str, &str)]) -> Attributes {
    let xattrs = xattrs.iter().map(|(name, value)| Xattr {
        name: name.as_bytes().into(),
        value: value.as_bytes().into(),
    });
    Attributes {
        uid: 0,
        gid: 0,
        mode,
        xattrs: xattrs.collect(),
    }
}

#[test]
fn the_checksum_of_a_file_is_ostrees() {
    let header = FileHeader::new(attributes(0o100_644, &[("user.k", "v")]), None).unwrap();
    assert_eq!(
        header.encode(),
        hex("0000001c 00000000 00000000 00000000 000081a4 00000000 00 757365722e6b00 76 07 09 11"),
    );
    assert_eq!(
        sha256(&[&header.encode(), b"hello\n"]),
        "3e5e9b67aba7129892d185d393d7eaca8df8e25252e4d6b633491f7b9f12c27b",
    );
}

#[test]
fn the_checksum_of_a_symlink_is_ostrees() {
    let header = FileHeader::new(attributes(0o120_777, &[]), Some(b"h"[..].into())).unwrap();
    assert_eq!(
        header.encode(),
        hex("00000013 00000000 00000000 00000000 0000a1ff 00000000 6800 12"),
    );
    assert_eq!(
        sha256(&[&header.encode()]),
        "25c8c1190074750f7bed7654eb678f0d2bc578c79bfad7bc139b53fa14fc84d6",
    );
}

#[test]
fn directories_without_anything_have_wellknown_checksums() {
    let dirmeta = hex("00000000 00000000 000041ed");
    assert_eq!(
        sha256(&[&dirmeta]),
        "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488",
    );
    let metadata = DirMeta::parse(&dirmeta).unwrap().into_metadata();
    assert_eq!((metadata.permissions, metadata.xattrs.len()), (0o755, 0));
    assert_eq!(
        sha256(&[b"\0"]),
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    );
    assert_eq!(DirTree::parse(b"\0").unwrap(), DirTree::default());
}

#[test]
fn archive_headers_are_read_as_ostree_writes_them() {
    let object = hex(
        "00000024 00000000 0000000000000006 00000000 00000000 000081a4 00000000 00 \
         757365722e6b00 76 07 09 19",
    );
    let (prefix, header) = object.split_first_chunk().unwrap();
    assert_eq!(ArchiveHeader::parse_prefix(*prefix), Ok(header.len()));
    let header = ArchiveHeader::parse(header).unwrap();
    assert_eq!(header.claimed_size_bytes, 6);
    let file = FileHeader::new(attributes(0o100_644, &[("user.k", "v")]), None);
    assert_eq!(Ok(header.file), file);

    let object =
        hex("0000001b 00000000 0000000000000000 00000000 00000000 0000a1ff 00000000 6800 1a");
    let (prefix, header) = object.split_first_chunk().unwrap();
    assert_eq!(ArchiveHeader::parse_prefix(*prefix), Ok(header.len()));
    let header = ArchiveHeader::parse(header).unwrap();
    let file = FileHeader::new(attributes(0o120_777, &[]), Some(b"h"[..].into()));
    assert_eq!(Ok(header.file), file);
}

#[test]
fn unsorted_xattrs_are_hashed_as_written_and_can_be_sorted() {
    let sorted = attributes(0o100_644, &[("user.a", "2"), ("user.b", "1")]);
    let unsorted = attributes(0o100_644, &[("user.b", "1"), ("user.a", "2")]);
    let sorted = FileHeader::new(sorted, None).unwrap();
    let unsorted = FileHeader::new(unsorted, None).unwrap();
    assert_ne!(sorted.encode(), unsorted.encode());
    assert_eq!(sorted.with_sorted_xattrs(), None);
    assert_eq!(unsorted.with_sorted_xattrs(), Some(sorted));
}

#[test]
fn modes_and_owners_that_no_file_has_are_refused() {
    for (mode, target) in [
        (0o040_755, None),
        (0o120_777, None),
        (0o100_644, Some("t")),
        (0o010_644, None),
        (0o1_100_644, None),
        (0o120_777, Some("")),
        (0o120_777, Some("a\0b")),
    ] {
        let target = target.map(|target| target.as_bytes().into());
        assert!(
            FileHeader::new(attributes(mode, &[]), target).is_err(),
            "{mode:o}"
        );
    }
    let long = vec![b'x'; sealroot_format::limits::MAX_SYMLINK_BYTES + 1];
    assert!(FileHeader::new(attributes(0o120_777, &[]), Some(long.into())).is_err());
    let nobody = Attributes {
        uid: u32::MAX,
        ..attributes(0o100_644, &[])
    };
    assert!(FileHeader::new(nobody, None).is_err());
}
