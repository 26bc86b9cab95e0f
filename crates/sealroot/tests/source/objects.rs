// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the sink is offered.

use std::fs::{self, File};
use std::io::{self, Write as _};

use sealroot::monitor::Silent;
use sealroot::object::{Discard, ObjectContent, ObjectSink};
use sealroot::source::{BUFFER_BYTES, DirectoryOptions, read_directory};
use sealroot::spool::Spool;
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::tree::{FileContent, InodeId, Kind, Tree};
use sealroot_testkit::content;

use crate::support::{Remember, message, read, read_in_order};

fn external(tree: &Tree, name: &str) -> VerityDigest {
    let id = tree.lookup([name.as_bytes()]).expect("it is in the tree");
    match &tree.inode(id).kind {
        Kind::Regular(FileContent::External { digest, .. }) => *digest,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn files_above_the_threshold_go_to_the_sink_under_their_digests() {
    const SIZES: [usize; 9] = [
        0,
        1,
        4096,
        4097,
        100_000,
        600_000,
        BUFFER_BYTES - 1,
        BUFFER_BYTES,
        BUFFER_BYTES + 1,
    ];
    let root = tempfile::tempdir().expect("a temporary directory");
    for size in SIZES {
        let content = content::bytes(size as u64, size);
        fs::write(root.path().join(size.to_string()), content).expect("write");
    }
    let sink = Remember::default();
    let options = DirectoryOptions::default();
    // One thread has the largest buffer.
    let tree = read_in_order(root.path(), options, &sink).expect("a readable tree");
    let mut objects = sink.objects.into_inner().expect("no panic");
    for size in SIZES {
        let content = content::bytes(size as u64, size);
        if size <= 4096 {
            let id = tree.lookup([size.to_string().as_bytes()]);
            let inode = tree.inode(id.expect("it is in the tree"));
            let expected = FileContent::Inline(content.into());
            assert!(inode.kind == Kind::Regular(expected), "{size}");
            continue;
        }
        let digest = external(&tree, &size.to_string());
        assert_eq!(digest, compute_verity_digest(&content), "{size}");
        let stored = objects.remove(&digest).expect("it was added");
        assert!(stored.content == content, "{size}");
        assert_eq!(stored.was_in_memory, size <= BUFFER_BYTES, "{size}");
    }
    assert!(objects.is_empty());
}

#[test]
fn a_threshold_of_nothing_keeps_only_empty_files() {
    let root = tempfile::tempdir().expect("a temporary directory");
    fs::write(root.path().join("empty"), "").expect("write");
    fs::write(root.path().join("one"), "1").expect("write");
    let sink = Remember::default();
    let options = DirectoryOptions {
        threshold_bytes: 0,
        ..DirectoryOptions::default()
    };
    let tree = read_directory(
        root.path(),
        &options,
        &Spool::in_temporary_directory(),
        &sink,
        &Silent,
    )
    .expect("a readable tree");
    assert_eq!(external(&tree, "one"), compute_verity_digest(b"1"));
    assert_eq!(sink.objects.into_inner().expect("no panic").len(), 1);
}

#[test]
fn what_the_sink_has_is_not_offered() {
    struct HasAll;
    impl ObjectSink for HasAll {
        fn has(&self, _: &VerityDigest, _: u64) -> io::Result<bool> {
            Ok(true)
        }
        fn add(&self, digest: &VerityDigest, _: u64, _: ObjectContent<'_>) -> io::Result<()> {
            panic!("{digest} was offered")
        }
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    for size in [5000, BUFFER_BYTES + 1] {
        fs::write(root.path().join(size.to_string()), vec![1; size]).expect("write");
    }
    let options = DirectoryOptions::default();
    read_directory(
        root.path(),
        &options,
        &Spool::in_temporary_directory(),
        &HasAll,
        &Silent,
    )
    .expect("a readable tree");
}

#[test]
fn a_sink_that_fails_ends_the_reading_and_the_file_is_named() {
    struct Full;
    impl ObjectSink for Full {
        fn has(&self, _: &VerityDigest, _: u64) -> io::Result<bool> {
            Ok(false)
        }
        fn add(&self, _: &VerityDigest, _: u64, _: ObjectContent<'_>) -> io::Result<()> {
            Err(io::Error::other("no space left"))
        }
    }
    for size in [5000, BUFFER_BYTES + 1] {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::write(root.path().join("large"), vec![1; size]).expect("write");
        let options = DirectoryOptions::default();
        let error = read_directory(
            root.path(),
            &options,
            &Spool::in_temporary_directory(),
            &Full,
            &Silent,
        )
        .expect_err("full");
        assert_eq!(
            message(&error, root.path()),
            "cannot store the content of ROOT/large: no space left"
        );
    }
}

#[test]
fn sparse_files_are_read_as_the_zeros_they_are() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let size = 9 * 1024 * 1024;
    let mut file = File::create(root.path().join("sparse")).expect("create");
    file.set_len(size as u64).expect("truncate");
    file.write_all(b"start").expect("write");
    let tree = read(root.path()).expect("a readable tree");
    let mut expected = vec![0; size];
    expected[..5].copy_from_slice(b"start");
    assert_eq!(external(&tree, "sparse"), compute_verity_digest(&expected));
}

#[test]
fn an_empty_directory_is_a_tree() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let options = DirectoryOptions::default();
    let tree = read_directory(
        root.path(),
        &options,
        &Spool::in_temporary_directory(),
        &Discard,
        &Silent,
    )
    .expect("a tree");
    assert_eq!(tree.len(), 1);
    assert!(tree.inode(InodeId::ROOT).as_directory().is_some());
}
