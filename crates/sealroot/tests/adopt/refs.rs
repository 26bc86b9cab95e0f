// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ref that keeps OSTree's prune from an adopted commit, judged by the `ostree` program.

use sealroot::adopt::{keep_on, kept_on, ref_name, release_on};
use sealroot::monitor::Silent;
use sealroot::store::{KernelIo, StorePath};
use sealroot_format::sign::Name;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble, WriteBack};

use crate::support::Sysroot;

fn stateroot() -> Name {
    "exampleos".parse().unwrap()
}

#[test]
fn prune_keeps_the_commit_until_the_ref_is_released() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let io = KernelIo::open(&sysroot.repository_path()).unwrap();
    let lock = sysroot.repository().lock_exclusively(&Silent).unwrap();
    assert!(keep_on(&io, &stateroot(), &sysroot.commit).unwrap());
    assert!(!keep_on(&io, &stateroot(), &sysroot.commit).unwrap());
    drop(lock);
    let name = ref_name(&stateroot(), &sysroot.commit);
    assert!(sysroot.ostree(&["refs"]).lines().any(|line| line == name));
    let found = sysroot.ostree(&["rev-parse", &name]);
    assert_eq!(found.trim_end(), sysroot.commit.to_string());
    sysroot.ostree(&["refs", "--delete", "main"]);
    sysroot.ostree(&["prune", "--refs-only"]);
    sysroot.assert_clean();
    sysroot.adopt(None).unwrap();
    assert_eq!(release_on(&io).unwrap(), [name]);
    assert!(release_on(&io).unwrap().is_empty());
    assert_eq!(sysroot.ostree(&["refs"]), "");
    sysroot.ostree(&["prune", "--refs-only"]);
    sysroot.repository().commit(sysroot.commit).unwrap_err();
}

#[test]
fn a_power_cut_leaves_the_ref_as_it_was_or_whole() {
    let commit = sealroot_format::digest::CommitId::from_bytes([7; 32]);
    let before = MemoryDisk::new(false);
    for directory in ["tmp/x", "refs/x", "refs/heads/x"] {
        before.plant(&StorePath::new(directory).unwrap(), b"");
    }
    let disk = before.copy();
    let io = disk.process(Trouble::None);
    let calls = io.calls();
    assert!(keep_on(&io, &stateroot(), &commit).unwrap());
    let (changes, after) = (calls.get().changes, disk.files());
    let path = format!("/refs/heads/{}", ref_name(&stateroot(), &commit));
    for at in 0..=changes {
        let disk = before.copy();
        let result = keep_on(
            &disk.process(Trouble::KilledAtChange { at }),
            &stateroot(),
            &commit,
        );
        for order in WriteBack::orders(12) {
            let when = format!("{at}, {order:?}: {result:?}");
            let found = disk.crash(order);
            let text = found.files().get(&path).cloned();
            assert!(
                text.is_none() || text == after.get(&path).cloned(),
                "{when}"
            );
            assert!(
                text.is_some() || result.is_err(),
                "{when}: it is not durable"
            );
            keep_on(&found.process(Trouble::None), &stateroot(), &commit).expect(&when);
            assert!(
                found.crash(WriteBack::Nothing).files().contains_key(&path),
                "{when}"
            );
            release_on(&found.process(Trouble::None)).expect(&when);
            assert!(
                !found.crash(WriteBack::Nothing).files().contains_key(&path),
                "{when}"
            );
        }
    }
}

#[test]
fn what_is_no_ref_of_ours_is_left_and_named() {
    let commit = sealroot_format::digest::CommitId::from_bytes([7; 32]);
    let disk = MemoryDisk::new(false);
    let stray = "refs/heads/sealroot/exampleos/stray";
    for path in ["tmp/x", "refs/x", "refs/heads/x"] {
        disk.plant(&StorePath::new(path).unwrap(), b"");
    }
    let io = disk.process(Trouble::None);
    keep_on(&io, &stateroot(), &commit).unwrap();
    disk.plant(&StorePath::new(stray).unwrap(), b"");
    assert_eq!(kept_on(&io).unwrap().len(), 1);
    let error = release_on(&io).unwrap_err();
    assert!(error.to_string().contains(stray), "{error}");
    assert!(kept_on(&io).unwrap().is_empty());
    assert!(disk.files().contains_key(&format!("/{stray}")));
}
