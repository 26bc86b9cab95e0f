// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures for the kernel's keyring: kept, handed to the kernel with a new object, and never what
//! an object depends on.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use sealroot::monitor::{Silent, Warnings};
use sealroot::object::ObjectContent;
use sealroot::store::{Store, StoreError, Taken, object_path};
use sealroot_format::limits::MAX_OBJECT_SIGNATURE_BYTES;
use sealroot_testkit::memory_io::{
    MemoryDisk, MemoryIo, MemoryKeyring, OTHER_CERTIFICATE, Trouble, good_signature,
};

use crate::support::{Content, content};

const FILLED: MemoryKeyring = MemoryKeyring {
    has_certificate: true,
    requires_signatures: false,
};

const EMPTY: MemoryKeyring = MemoryKeyring {
    has_certificate: false,
    requires_signatures: false,
};

/// A store on a kernel with this keyring, and its disk.
fn store(keyring: Option<MemoryKeyring>) -> (MemoryDisk, Store<MemoryIo>) {
    let disk = MemoryDisk::new(true);
    if let Some(keyring) = keyring {
        disk.set_keyring(keyring);
    }
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    (disk, store)
}

/// Keeps signatures, adds the objects, and gives the warnings.
fn add(store: &Store<MemoryIo>, objects: &[(Content, Option<Vec<u8>>)]) -> Vec<String> {
    let warnings = Warnings::default();
    let transaction = store.begin(&warnings).expect("begun");
    let signatures: Vec<_> = (objects.iter())
        .filter_map(|((_, digest), signature)| Some((*digest, signature.clone()?)))
        .collect();
    transaction
        .write_object_signatures(&signatures)
        .expect("kept");
    for ((bytes, digest), _) in objects {
        let added =
            transaction.add_object(digest, bytes.len() as u64, ObjectContent::Hashed(bytes));
        added.expect("added");
    }
    transaction.finish().expect("finished");
    warnings.take()
}

fn signed(seed: u8) -> (Content, Option<Vec<u8>>) {
    let content = content(seed, 5000);
    let signature = good_signature(&content.1);
    (content, Some(signature))
}

// Rules: S1, S2
#[test]
fn a_new_object_gets_the_signature_that_is_kept_of_it() {
    let (disk, store) = store(Some(FILLED));
    let [with, without] = [signed(1), (content(2, 5000), None)];
    let warnings = add(&store, &[with.clone(), without.clone()]);
    assert_eq!(warnings, Vec::<String>::new());
    assert!(disk.is_signed(&object_path(&with.0.1)));
    assert!(!disk.is_signed(&object_path(&without.0.1)));
    let kept = store.read_object_signature(&with.0.1).expect("read");
    assert_eq!(kept, with.1);
}

// Rules: S2
#[test]
fn so_does_one_whose_digest_shows_when_it_is_written() {
    let (disk, store) = store(Some(FILLED));
    let ((bytes, digest), signature) = signed(3);
    let transaction = store.begin(&Silent).expect("begun");
    let signatures = [(digest, signature.expect("one"))];
    transaction
        .write_object_signatures(&signatures)
        .expect("kept");
    let added = transaction.add_unknown(bytes.len() as u64, |out| out.write_all(&bytes));
    assert_eq!(added.expect("added"), digest);
    transaction.finish().expect("finished");
    assert!(disk.is_signed(&object_path(&digest)));
}

// Rules: S3
#[test]
fn what_the_kernel_refuses_is_left_out_and_said() {
    let refused = [
        (b"no signature".to_vec(), "malformed"),
        (
            [OTHER_CERTIFICATE, b"1"].concat(),
            "not in the kernel's keyring",
        ),
        (good_signature(&content(9, 9).1), "of another digest"),
    ];
    for (signature, expected) in refused {
        let (disk, store) = store(Some(FILLED));
        let (first, last) = (signed(1), signed(3));
        let objects = [first, (content(2, 5000), Some(signature)), last];
        let warnings = add(&store, &objects);
        let is_signed = objects.each_ref().map(|((bytes, digest), _)| {
            let size_bytes = bytes.len() as u64;
            store.open_object(digest, size_bytes).expect("there");
            disk.is_signed(&object_path(digest))
        });
        // One refusal is enough.
        assert_eq!(is_signed, [true, false, false]);
        assert!(
            matches!(&*warnings, [one] if one.contains(expected) && one.contains(".sign")),
            "{warnings:?}"
        );
    }
}

// Rules: S2
#[test]
fn a_kernel_without_certificates_is_not_asked() {
    for keyring in [None, Some(EMPTY)] {
        let disk = MemoryDisk::new(true);
        if let Some(keyring) = keyring {
            disk.set_keyring(keyring);
        }
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        let store = Store::open_or_create_on(io).expect("a store");
        assert_eq!(add(&store, &[signed(1)]), Vec::<String>::new());
        assert_eq!(calls.get().of("enable_signed_verity"), 0);
    }
}

// Rules: S3
#[test]
fn what_can_be_no_signature_is_none() {
    let (disk, store) = store(Some(FILLED));
    let object = signed(1);
    add(&store, &[(content(2, 5000), object.1.clone())]);
    let path = store_path(&object.0);
    disk.plant(
        &path,
        &vec![7; usize::try_from(MAX_OBJECT_SIGNATURE_BYTES).expect("small") + 1],
    );
    let warnings = add(&store, &[(object.0.clone(), None)]);
    assert!(
        matches!(&*warnings, [warning] if warning.contains("its file is none")),
        "{warnings:?}"
    );
    assert!(!disk.is_signed(&object_path(&object.0.1)));
}

fn store_path((_, digest): &Content) -> sealroot::store::StorePath {
    let hex = digest.to_hex();
    let path = format!("objects/{}/{}.sign", &hex[..2], &hex[2..]);
    sealroot::store::StorePath::new(path).expect("a path")
}

// Rules: S3
#[test]
fn a_kernel_that_wants_signatures_says_so() {
    let (disk, store) = store(None);
    disk.set_keyring(MemoryKeyring {
        requires_signatures: true,
        ..FILLED
    });
    let (bytes, digest) = content(1, 5000);
    let transaction = store.begin(&Silent).expect("begun");
    let added = transaction.add_object(&digest, bytes.len() as u64, ObjectContent::Hashed(&bytes));
    let error = added.expect_err("refused");
    let text = format!(
        "{error}: {}",
        std::error::Error::source(&error).expect("a cause")
    );
    assert!(text.contains("fs.verity.require_signatures"), "{text}");
}

// Rules: S1
#[test]
fn a_signature_is_not_long_and_can_be_replaced() {
    let (_, store) = store(None);
    let (_, digest) = content(1, 5000);
    let transaction = store.begin(&Silent).expect("begun");
    for bytes in [b"one".to_vec(), b"two".to_vec()] {
        let signatures = [(digest, bytes.clone())];
        transaction
            .write_object_signatures(&signatures)
            .expect("kept");
        assert_eq!(
            store.read_object_signature(&digest).expect("read"),
            Some(bytes)
        );
    }
    let long = usize::try_from(MAX_OBJECT_SIGNATURE_BYTES).expect("small") + 1;
    let refused = transaction.write_object_signatures(&[(digest, vec![0; long])]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

// Rules: S4
#[test]
fn a_file_that_others_use_too_gets_none() {
    let (disk, store) = store(Some(FILLED));
    let ((bytes, digest), signature) = signed(1);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&bytes).expect("written");
    let transaction = store.begin(&Silent).expect("begun");
    let signatures = [(digest, signature.expect("one"))];
    transaction
        .write_object_signatures(&signatures)
        .expect("kept");
    let taken = transaction.take_object(&digest, bytes.len() as u64, file.as_file().as_fd());
    assert_eq!(taken.expect("taken"), Taken::Linked);
    transaction.finish().expect("finished");
    assert!(!disk.is_signed(&object_path(&digest)));
}
