// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: each panics where what must hold does not.

use std::io::Read as _;
use std::path::Path;

use super::config::{Config, parse};
use super::format::{
    ArchiveHeader, Attributes, Commit, DirMeta, DirTree, FileHeader, parse_xattrs,
};
use super::gvariant::Dictionary;
use super::inflate::Inflate;
use super::refs::RefName;
use super::signature::{Engine, fuzz as signature};

/// A commit object.
pub fn ostree_commit(data: &[u8]) {
    if let Ok(commit) = Commit::parse(data) {
        let metadata = commit.metadata.as_bytes().to_vec();
        assert!(data.starts_with(&metadata));
        ostree_dictionary(&metadata);
    }
}

/// A dictionary: detached metadata, or that of a commit.
pub fn ostree_dictionary(data: &[u8]) {
    let Ok(dictionary) = Dictionary::parse(data.to_vec()) else {
        return;
    };
    assert_eq!(dictionary.as_bytes(), data);
    for key in dictionary.keys() {
        assert!(dictionary.contains(key));
        let _ = dictionary.string(key);
        let _ = dictionary.boolean(key);
        let _ = dictionary.strings(key);
        let _ = dictionary.byte_strings(key);
    }
    let with = dictionary.with_bytes("key", b"value").expect("no NUL");
    let again = Dictionary::parse(with.as_bytes().to_vec());
    let again = again.expect("what was written is in normal form");
    assert_eq!(again.bytes("key"), Some(&b"value"[..]));
    for key in dictionary.keys().filter(|key| *key != "key") {
        assert_eq!(again.bytes(key), dictionary.bytes(key));
    }
}

/// A dirtree object.
pub fn ostree_dirtree(data: &[u8]) {
    if let Ok(tree) = DirTree::parse(data) {
        let names = || tree.children().iter().map(|(name, _)| name);
        assert!(names().is_sorted_by(|a, b| a < b), "names out of order");
        assert!(!names().any(|name| name.contains(&b'/') || name.is_empty()));
    }
}

/// A dirmeta object, what a bare-user repository has in an xattr, and split xattrs.
pub fn ostree_dirmeta(data: &[u8]) {
    if let Ok(meta) = DirMeta::parse(data) {
        let metadata = meta.into_metadata();
        assert!(metadata.permissions <= 0o7777);
        assert!(metadata.xattrs.iter().is_sorted_by(|a, b| a.name < b.name));
    }
    if let Ok(attributes) = Attributes::parse(data) {
        assert!(parse_xattrs(&data[12..]).is_ok_and(|xattrs| xattrs == attributes.xattrs));
    }
    let _ = parse_xattrs(data);
}

/// The header of a content object: as archives have it, and as it is hashed.
pub fn ostree_file(data: &[u8]) {
    let Ok(header) = ArchiveHeader::parse(data) else {
        return;
    };
    let (attributes, target) = header.file.clone().into_parts();
    assert_eq!(attributes.is_symlink(), target.is_some());
    let again = FileHeader::new(attributes, target).expect("it was parsed");
    assert_eq!(again, header.file);
    let encoded = again.encode();
    let (prefix, rest) = encoded.split_first_chunk().expect("a prefix");
    assert_eq!(ArchiveHeader::parse_prefix(*prefix), Ok(rest.len()));
    if data.len() <= 0xff {
        // The same but for the size in front: what is hashed is what was read.
        assert_eq!(rest[..12], data[8..20]);
    }
    for other in [again.with_sorted_xattrs(), again.without_empty_xattrs()] {
        assert!(other.is_none_or(|other| other != again));
    }
}

/// The deflated content of an archive's object, behind two bytes that say how long it claims to be.
pub fn ostree_content(data: &[u8]) {
    let Some((claimed, deflated)) = data.split_first_chunk() else {
        return;
    };
    let claimed_bytes = u64::from(u16::from_le_bytes(*claimed));
    let mut out = Vec::new();
    let read = Inflate::new(deflated, claimed_bytes).read_to_end(&mut out);
    assert!(out.len() as u64 <= claimed_bytes, "more than was claimed");
    assert!(read.is_err() || out.len() as u64 == claimed_bytes);
}

/// The configuration of a repository, and what a remote in it demands.
pub fn ostree_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = Path::new("config");
    let parsed = parse(path, text);
    let config = Config::of_text(path, text);
    assert!(parsed.is_ok() || config.is_err());
    if let Ok(config) = parsed {
        signature::demands(path, config);
    }
    if let Some(name) = RefName::parse(text) {
        assert_eq!(RefName::parse(&name.to_string()), Some(name));
        assert!(
            !text
                .split(['/', ':'])
                .any(|part| matches!(part, "" | "." | ".."))
        );
    }
}

/// A file of public keys; the first byte says of which kind.
pub fn ostree_keys(data: &[u8]) {
    let Some((which, text)) = data.split_first() else {
        return;
    };
    let engine = Engine::ALL[usize::from(*which) % Engine::ALL.len()];
    if let Ok(text) = std::str::from_utf8(text) {
        signature::keys(engine, text);
    }
}
