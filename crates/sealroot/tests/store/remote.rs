// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a store knows of remotes, and what has come of their files.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use sealroot::check::{Depth, FindingCode, check};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreError, StoreIo, StorePath};
use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits::MAX_REMOTE_BYTES;
use sealroot_format::sign::Name;

use crate::support::{Scratch, play_power_cuts};

const HEAD: Sha256Digest = Sha256Digest::from_bytes([0xab; 32]);

fn vendor() -> Name {
    "vendor".parse().expect("a name")
}

fn write<I: StoreIo>(store: &Store<I>, content: &[u8]) -> Result<(), StoreError> {
    let transaction = store.begin(&Silent)?;
    transaction.write_remote(&vendor(), content)?;
    transaction.finish().map(drop)
}

fn remove<I: StoreIo>(store: &Store<I>) -> Result<bool, StoreError> {
    let transaction = store.begin(&Silent)?;
    let was_there = transaction.remove_remote(&vendor())?;
    transaction.finish()?;
    Ok(was_there)
}

#[test]
fn remotes_come_and_go() {
    let scratch = Scratch::new();
    let store = scratch.store();
    assert_eq!(store.list_remotes().expect("listed"), []);
    assert!(!remove(&store).expect("there is none"));
    for content in [&b"old"[..], b"new"] {
        write(&store, content).expect("written");
        let read = store.read_remote(&vendor()).expect("read");
        assert_eq!(read.as_deref(), Some(content));
        assert_eq!(store.list_remotes().expect("listed"), [vendor()]);
    }
    let report = check(&store, Depth::Full, &Silent).expect("checked");
    assert_eq!(report.findings, []);
    assert!(remove(&store).expect("removed"));
    assert_eq!(store.read_remote(&vendor()).expect("looked"), None);
    let len = usize::try_from(MAX_REMOTE_BYTES).expect("small") + 1;
    let error = write(&store, &vec![b'x'; len]).expect_err("too large");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
}

/// As who keeps what has come of a file does, and needs it not to be durable.
fn make_directory<I: StoreIo>(store: &Store<I>) {
    let remote = StorePath::new("remote").expect("a path");
    store.io().create_directory(&remote).expect("made");
}

// Rules: M1
#[test]
fn a_power_cut_leaves_what_is_known_as_it_was_or_as_it_is_to_be() {
    let look = |store: &_, (): &()| Store::read_remote(store, &vendor()).expect("read");
    let write_new = |store: &_, (): &()| drop(write(store, b"new"));
    let write_old = |store: &_| write(store, b"old").expect("written");
    let crashes = play_power_cuts(&|_| (), &write_new, &look)
        + play_power_cuts(&write_old, &write_new, &look)
        + play_power_cuts(&|store| make_directory(store), &write_new, &look)
        + play_power_cuts(&write_old, &|store, ()| drop(remove(store)), &look);
    assert!(crashes > 200);
}

// Rules: M2
#[test]
fn a_part_is_gone_on_with_by_one_at_a_time() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let mut part = store.open_part(&HEAD).expect("made");
    part.write_all(b"half of it").expect("written");
    let error = store.open_part(&HEAD).expect_err("somebody has it");
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    drop(part);
    let part = store.open_part(&HEAD).expect("opened");
    assert_eq!(part.metadata().expect("looked at").len(), 10);
    drop(part);
    assert_eq!(store.list_parts().expect("listed"), [HEAD]);
    let report = check(&store, Depth::Full, &Silent).expect("checked");
    assert_eq!(report.findings, []);
    store.remove_part(&HEAD).expect("removed");
    store.remove_part(&HEAD).expect("there is none");
    assert_eq!(store.list_parts().expect("listed"), []);
}

#[test]
fn what_is_planted_is_not_followed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    write(&store, b"known").expect("written");
    let elsewhere = scratch.location().join("elsewhere");
    fs::write(&elsewhere, "precious").expect("written");
    let part = scratch.location().join(format!("remote/{HEAD}.part"));
    symlink(&elsewhere, &part).expect("planted");
    store.open_part(&HEAD).expect_err("a link");
    fs::remove_file(&part).expect("removed");
    fs::create_dir(&part).expect("planted");
    store.open_part(&HEAD).expect_err("a directory");
    fs::remove_dir(&part).expect("removed");
    rustix::fs::mkfifoat(rustix::fs::CWD, &part, rustix::fs::Mode::RUSR).expect("planted");
    store.open_part(&HEAD).expect_err("a fifo");
    assert_eq!(fs::read(&elsewhere).expect("read"), b"precious");
    fs::write(scratch.location().join("remote/notes"), "mine").expect("written");
    let report = check(&store, Depth::Full, &Silent).expect("checked");
    let codes: Vec<_> = report.findings.iter().map(|finding| finding.code).collect();
    let expected = [
        FindingCode::Stray,
        FindingCode::NotRegular,
        FindingCode::Stray,
    ];
    assert_eq!(codes, expected, "{:?}", report.findings);
}
