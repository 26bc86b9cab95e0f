// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two at one store.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};
use sealroot_format::ErrorClass;

use crate::support::{STORE, Scratch, check_refusal, finished};

#[test]
fn a_store_in_use_is_left_alone() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let before = scratch.listing("store");
    let lock = File::open(scratch.path("store/lock")).expect("the lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    // All at once, for each waits a while.
    let lines = [
        format!("{STORE} build --dir tree --os exampleos --stream stable --index 2"),
        format!("{STORE} sign {commit} --key vendor.secret"),
        format!("{STORE} deploy {commit} --mode integrity"),
        format!("{STORE} check"),
    ];
    let children = lines.each_ref().map(|line| {
        let mut command = scratch.command(line);
        let piped = std::process::Stdio::piped;
        command
            .stdout(piped())
            .stderr(piped())
            .spawn()
            .expect("it starts")
    });
    // Who only reads does not wait.
    scratch.ok(&format!("{STORE} ls {commit}"));
    scratch.ok(&format!("{STORE} verify {commit}"));
    scratch.ok(&format!("{STORE} status"));
    for (child, line) in children.into_iter().zip(&lines) {
        let ran = finished(child.wait_with_output().expect("it ends"));
        let words = ["store/lock is locked", "try again later"];
        check_refusal(&ran, ErrorClass::Busy, line, &words);
    }
    assert_eq!(scratch.listing("store"), before);
    drop(lock);
    scratch.ok(&lines[2]);
}

#[test]
fn who_is_late_waits() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let lock = File::open(scratch.path("store/lock")).expect("the lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    let mut deploy = scratch.command(&format!("{STORE} deploy {commit} --mode integrity"));
    let child = deploy.stdout(std::process::Stdio::null()).spawn();
    let mut child = child.expect("it starts");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(
        child.try_wait().expect("asked").is_none(),
        "it does not wait"
    );
    drop(lock);
    assert!(child.wait().expect("it ends").success());
}
