// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects, packs and statements on this machine's filesystem: each is stored once, under the
//! right name, and only complete; what is there already counts only if it is what it should be.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sealroot::check::{self, Depth};
use sealroot::monitor::{Silent, Warnings};
use sealroot::object::{ObjectContent, ObjectSink};
use sealroot::store::{Store, StoreError, VeritySupport, object_path, pack_path};
use sealroot_format::ErrorClass;
use sealroot_format::digest::{VerityBatch, VerityDigest, compute_verity_digest};

use crate::support::{COMMIT, Scratch, content, files_below, replace, stream};

fn add(store: &Store, contents: &[(Vec<u8>, VerityDigest)]) -> Result<u64, StoreError> {
    let transaction = store.begin(&Silent)?;
    for (bytes, digest) in contents {
        if !transaction.has_object(digest, bytes.len() as u64)? {
            transaction.add_object(digest, bytes.len() as u64, ObjectContent::Hashed(bytes))?;
        }
    }
    transaction.finish().map(|summary| summary.added_objects)
}

// Rules: O4
#[test]
fn what_is_added_is_there_and_is_not_written_again() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let contents: Vec<_> = (0..40)
        .map(|i| content(i, 5000 + usize::from(i) * 911))
        .collect();
    assert_eq!(add(&store, &contents).expect("added"), 40);
    for (bytes, digest) in &contents {
        assert_eq!(&fs::read(scratch.object(digest)).expect("an object"), bytes);
    }
    let names = files_below(&scratch.location());
    assert_eq!(names.len(), 40 + 2, "objects, store.toml and lock");

    let reopened = Store::open(&scratch.location()).expect("a store");
    let transaction = reopened.begin(&Silent).expect("a transaction");
    for (bytes, digest) in &contents {
        assert!(transaction.has(digest, bytes.len() as u64).expect("asked"));
    }
    let summary = transaction.finish().expect("finished");
    assert_eq!((summary.added_objects, summary.present_objects), (0, 40));
    assert_eq!(
        summary.present_bytes,
        contents
            .iter()
            .map(|(bytes, _)| bytes.len() as u64)
            .sum::<u64>()
    );
}

// Rules: O4
#[test]
fn one_object_offered_by_many_threads_is_stored_once() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let contents: Vec<_> = (0..20).map(|i| content(i, 9000)).collect();
    let transaction = store.begin(&Silent).expect("a transaction");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for (bytes, digest) in &contents {
                    if !transaction.has(digest, 9000).expect("asked") {
                        let mut reader = &bytes[..];
                        let content = ObjectContent::Stream(&mut reader);
                        transaction.add(digest, 9000, content).expect("added");
                    }
                }
            });
        }
    });
    let summary = transaction.finish().expect("finished");
    assert_eq!(summary.added_objects, 20);
    assert_eq!(files_below(&scratch.location().join("objects")).len(), 20);
}

#[test]
fn more_files_than_a_batch_and_than_descriptors_are_stored() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let contents: Vec<_> = (0..600u32)
        .map(|i| {
            let bytes = i.to_le_bytes().repeat(1100);
            let digest = compute_verity_digest(&bytes);
            (bytes, digest)
        })
        .collect();
    assert_eq!(add(&store, &contents).expect("added"), 600);
    assert_eq!(files_below(&scratch.location().join("objects")).len(), 600);
}

/// Large objects are written past the page cache where their memory and the filesystem allow it,
/// but for what is no whole block.
#[test]
fn large_objects_are_whole_wherever_they_lie_in_memory() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let transaction = store.begin(&Silent).expect("a transaction");
    let mut contents = Vec::new();
    let sizes = [65_535, 65_536, 65_537, 69_632, 1_048_575, 3_000_001];
    for (seed, size) in (1..).zip(sizes) {
        let (bytes, digest) = content(seed, size);
        let mut batch = VerityBatch::new();
        batch.reserve(size);
        batch.push(&bytes);
        let (found, aligned) = batch.finish().next().expect("one file");
        assert_eq!(found, digest);
        let added = transaction.add_object(&digest, size as u64, ObjectContent::Hashed(aligned));
        added.expect("added from a block of memory");
        contents.push((bytes, digest));

        let (bytes, digest) = content(seed + 100, size);
        let shifted = [b"x", &bytes[..]].concat();
        let added =
            transaction.add_object(&digest, size as u64, ObjectContent::Hashed(&shifted[1..]));
        added.expect("added from anywhere");
        contents.push((bytes, digest));

        let (bytes, digest) = content(seed + 200, size);
        let mut reader = &bytes[..];
        let added =
            transaction.add_object(&digest, size as u64, ObjectContent::Stream(&mut reader));
        added.expect("added from a reader");
        contents.push((bytes, digest));
    }
    transaction.finish().expect("finished");
    for (bytes, digest) in &contents {
        let found = fs::read(scratch.object(digest)).expect("an object");
        assert!(found == *bytes, "an object of {} bytes", bytes.len());
    }
}

// Rules: O1, O2, L5
#[test]
fn content_that_is_not_what_was_announced_leaves_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let (bytes, digest) = content(1, 10_000);
    let mut other = bytes.clone();
    other[5000] ^= 1;
    let longer = [&bytes[..], b"x"].concat();
    for (wrong, expected) in [
        (&other[..], "fs-verity digest"),
        (&bytes[..9999], "has 9999 bytes, expected 10000"),
        (&longer[..], "has more, expected 10000"),
    ] {
        let transaction = store.begin(&Silent).expect("a transaction");
        let mut reader = wrong;
        let error = transaction
            .add_object(&digest, 10_000, ObjectContent::Stream(&mut reader))
            .expect_err("wrong content");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.class(), ErrorClass::Untrusted);
        let error = transaction.finish().expect_err("it has failed");
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(
        files_below(&scratch.location().join("objects")),
        [] as [PathBuf; 0]
    );
}

#[test]
fn a_reader_that_fails_is_named() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let scratch = Scratch::new();
    let store = scratch.store();
    let transaction = store.begin(&Silent).expect("a transaction");
    let digest = VerityDigest::from_bytes([1; 32]);
    let error = transaction
        .add_object(&digest, 5, ObjectContent::Stream(&mut Broken))
        .expect_err("a broken reader");
    let source = std::error::Error::source(&error).expect("a cause");
    assert_eq!(source.to_string(), "the disk is gone");
    assert!(error.to_string().contains("objects/01/"), "{error}");
}

// Rules: O3, O5, N3
#[test]
fn what_is_wrong_under_an_objects_name_is_replaced_and_kept_in_the_trash() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let contents: Vec<_> = (0..5).map(|i| content(i, 5000)).collect();
    add(&store, &contents).expect("added");
    let outside = scratch.directory.path().join("outside");
    fs::write(&outside, "outside").expect("written");

    let plant = |i: usize, plant: &dyn Fn(&Path)| {
        let path = scratch.object(&contents[i].1);
        fs::remove_file(&path).expect("removed");
        plant(&path);
    };
    plant(0, &|path| fs::write(path, "short").expect("planted"));
    plant(1, &|path| fs::create_dir(path).expect("planted"));
    plant(2, &|path| {
        std::os::unix::fs::symlink(&outside, path).expect("planted");
    });
    plant(3, &|path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).expect("planted");
    });
    plant(4, &|path| {
        std::os::unix::net::UnixListener::bind(path).expect("planted");
    });

    let warnings = Warnings::default();
    let transaction = store.begin(&warnings).expect("a transaction");
    for (bytes, digest) in &contents {
        assert!(!transaction.has(digest, 5000).expect("asked"));
        transaction
            .add(digest, 5000, ObjectContent::Hashed(bytes))
            .expect("added");
    }
    transaction.finish().expect("finished");
    let warnings = warnings.take();
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    for ((bytes, digest), found) in contents.iter().zip([
        "has 5 bytes, expected 5000",
        "a directory",
        "a symbolic link",
        "a device, fifo or socket",
        "a device, fifo or socket",
    ]) {
        assert_eq!(&fs::read(scratch.object(digest)).expect("an object"), bytes);
        let trash = format!(
            "objects-{}",
            object_path(digest).to_string()[8..].replace('/', "-")
        );
        assert!(
            warnings
                .iter()
                .any(|w| w.contains(found) && w.contains(&trash)),
            "{found}: {warnings:?}"
        );
        let kept = scratch.location().join("trash").join(trash + ".0");
        assert!(kept.symlink_metadata().is_ok(), "{}", kept.display());
    }
    assert_eq!(fs::read(&outside).expect("outside"), b"outside");
}

// Rules: O3, O5
#[test]
#[ignore = "needs a filesystem with fs-verity: runs in virtual machines"]
fn with_verity_only_the_right_measurement_counts() {
    let scratch = Scratch::new();
    let store = scratch.store();
    assert_eq!(store.verity(), VeritySupport::Kernel);
    let contents: Vec<_> = (0..3).map(|i| content(i, 5000)).collect();
    add(&store, &contents).expect("added");
    let [plain, first, second] = [0, 1, 2].map(|i| scratch.object(&contents[i].1));
    // The right bytes without fs-verity; two objects of one size in each other's place.
    replace(&plain, &contents[0].0);
    let aside = scratch.directory.path().join("aside");
    fs::rename(&first, &aside).expect("moved");
    fs::rename(&second, &first).expect("moved");
    fs::rename(&aside, &second).expect("moved");
    let error = fs::write(&first, "changed").expect_err("fs-verity");
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);

    for (_, digest) in &contents {
        let error = store.open_object(digest, 5000).expect_err("wrong");
        assert_eq!(error.class(), ErrorClass::Untrusted, "{error}");
    }
    let report = check::check(&store, Depth::Quick, &Silent).expect("checked");
    assert_eq!(report.findings.len(), 3, "{:?}", report.findings);
    assert_eq!(add(&store, &contents).expect("added"), 3);
    for (bytes, digest) in &contents {
        assert_eq!(&fs::read(scratch.object(digest)).expect("an object"), bytes);
    }
    assert_eq!(files_below(&scratch.location().join("trash")).len(), 3);
}

// Rules: O4, O5
#[test]
fn a_pack_is_written_once_and_a_wrong_one_again() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let (bytes, digest) = content(9, 70_000);
    let write = || {
        let transaction = store.begin(&Silent).expect("a transaction");
        let new = transaction.add_pack(&digest, 70_000, |out| out.write_all(&bytes));
        let new = new.expect("added");
        transaction.finish().expect("finished");
        new
    };
    assert!(write());
    assert!(!write());
    let path = scratch.location().join(pack_path(&digest).to_string());
    replace(&path, b"truncated");
    assert!(write());
    assert_eq!(fs::read(&path).expect("a pack"), bytes);
    assert_eq!(store.list_packs().expect("listed"), [digest]);

    let file = store.open_pack(&digest).expect("a pack");
    let mut middle = [0; 100];
    file.read_exact_at(&mut middle, 4000).expect("read");
    assert_eq!(middle, bytes[4000..4100]);
    let error = file
        .read_exact_at(&mut middle, 69_950)
        .expect_err("beyond the end");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn statements_are_replaced_whole_and_not_rewritten() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let write = |text: &[u8]| {
        let transaction = store.begin(&Silent).expect("a transaction");
        let changed = transaction.write_statement(&COMMIT, &stream(), text);
        let changed = changed.expect("written");
        transaction.finish().expect("finished");
        changed
    };
    assert_eq!(
        store.read_statement(&COMMIT, &stream()).expect("asked"),
        None
    );
    assert!(write(b"one\n"));
    assert!(!write(b"one\n"));
    assert!(write(b"one\n\nsig a b\n"));
    assert_eq!(
        store
            .read_statement(&COMMIT, &stream())
            .expect("read")
            .as_deref(),
        Some(&b"one\n\nsig a b\n"[..])
    );
    assert_eq!(
        store.list_statements().expect("listed"),
        [(COMMIT, stream())]
    );

    let transaction = store.begin(&Silent).expect("a transaction");
    let error = transaction
        .write_statement(&COMMIT, &stream(), &vec![b'x'; 65_537])
        .expect_err("too large");
    assert!(
        error
            .to_string()
            .contains("65537 bytes, expected at most 65536")
    );
}

// Rules: C1, C2, C3, C4, N4
#[test]
fn a_store_says_what_it_is_and_refuses_what_it_is_not() {
    let scratch = Scratch::new();
    let error = Store::open(&scratch.location()).expect_err("nothing there");
    assert_eq!(error.class(), ErrorClass::NotFound);
    let error = Store::open(scratch.directory.path()).expect_err("no store");
    assert_eq!(error.class(), ErrorClass::NotFound, "{error}");

    let store = scratch.store();
    let config = scratch.location().join("store.toml");
    let text = fs::read_to_string(&config).expect("store.toml");
    let expected = match store.verity() {
        VeritySupport::Kernel => "version = 1\nverity = \"kernel\"\n",
        VeritySupport::None => "version = 1\nverity = \"none\"\n",
    };
    assert_eq!(text, expected);

    fs::write(&config, "version = 1\nverity = \"kernel\"\n").expect("written");
    if store.verity() == VeritySupport::None {
        let error = Store::open(&scratch.location()).expect_err("no fs-verity here");
        assert_eq!(error.class(), ErrorClass::Unsupported);
        assert!(error.to_string().contains("tune2fs -O verity"), "{error}");
    }
    fs::write(&config, "version = 9\n").expect("written");
    let error = Store::open(&scratch.location()).expect_err("a newer store");
    assert!(
        error.to_string().contains("version 9, expected 1"),
        "{error}"
    );
    fs::write(&config, "#".repeat(5000)).expect("written");
    let error = Store::open(&scratch.location()).expect_err("too large");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");

    let other = scratch.directory.path().join("other");
    fs::create_dir(&other).expect("made");
    fs::write(other.join("precious"), "").expect("written");
    let error = Store::open_or_create(&other).expect_err("something else");
    assert_eq!(error.class(), ErrorClass::Usage);
    assert_eq!(files_below(&other).len(), 1, "nothing was added");
}
