// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing on a filesystem in memory, stopped at every single operation.

use std::collections::BTreeMap;

use rustix::io::Errno;
use sealroot::ostree::{Dictionary, STATEMENT_KEY, publish_on};
use sealroot::store::StorePath;
use sealroot_format::digest::CommitId;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble, WriteBack};

use crate::publish::{signed, stream};

/// The files of a repository in memory: the detached metadata, and nothing published.
fn disk(metadata: &Dictionary) -> MemoryDisk {
    let disk = MemoryDisk::new(false);
    let path = |text: &str| StorePath::new(text).unwrap();
    for directory in ["objects", "objects/01", "tmp"] {
        disk.plant(&path(&format!("{directory}/file")), b"");
    }
    let name = format!("objects/01/{}.commitmeta", "01".repeat(31));
    disk.plant(&path(&name), metadata.as_bytes());
    disk
}

/// What is published on a disk: the detached metadata and the statement's file.
fn on(disk: &MemoryDisk) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut files: BTreeMap<String, Vec<u8>> = disk.files();
    let id = "01".repeat(32);
    let metadata = files
        .remove(&format!("/objects/01/{}.commitmeta", &id[2..]))
        .unwrap();
    (
        metadata,
        files.remove(&format!("/sealroot/{id}.stable.sign")),
    )
}

// Rules: R5
#[test]
fn whatever_fails_and_wherever_the_power_goes_each_file_is_old_or_new() {
    let id = CommitId::from_bytes([1; 32]);
    let document = signed(id, 1, &[1, 2]);
    let text = document.to_string().into_bytes();
    let old = Dictionary::default()
        .with_bytes("example.key", b"value")
        .unwrap();
    let new = old.with_bytes(STATEMENT_KEY, &text).unwrap();
    let before = disk(&old);
    let after = before.copy();
    let io = after.process(Trouble::None);
    let calls = io.calls();
    assert!(publish_on(&io, id, &stream(), &document).unwrap().is_new);
    assert_eq!(on(&after), (new.as_bytes().to_vec(), Some(text.clone())));
    let calls = calls.get();

    let judge = |disk: &MemoryDisk, what: &str| {
        let (metadata, file) = on(disk);
        assert!(
            metadata == old.as_bytes() || metadata == new.as_bytes(),
            "{what}: metadata"
        );
        assert!(
            file.is_none() || file.as_ref() == Some(&text),
            "{what}: file"
        );
        publish_on(&disk.process(Trouble::None), id, &stream(), &document).unwrap();
        assert_eq!(on(disk), on(&after), "{what}: again");
        let left = disk
            .files()
            .keys()
            .filter(|path| path.contains("replacement"))
            .count();
        assert_eq!(left, 0, "{what}");
    };
    for at in 0..calls.all {
        for errno in [Errno::NOSPC, Errno::IO] {
            let disk = before.copy();
            let io = disk.process(Trouble::FailsOnce { at, errno });
            assert!(publish_on(&io, id, &stream(), &document).is_err(), "{at}");
            judge(&disk, &format!("{errno:?} at {at}"));
        }
    }
    for at in 0..=calls.changes {
        for order in WriteBack::orders(24) {
            let disk = before.copy();
            let io = disk.process(Trouble::KilledAtChange { at });
            let published = publish_on(&io, id, &stream(), &document);
            assert_eq!(published.is_ok(), at == calls.changes);
            let found = disk.crash(order);
            if published.is_ok() {
                assert_eq!(on(&found), on(&after), "{order:?}");
            }
            judge(&found, &format!("killed at {at}, {order:?}"));
        }
    }
}
