// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two at one store.

use std::fs::File;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sealroot_format::ErrorClass;
use serde_json::json;

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
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
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

/// What a deployment says while somebody else holds the lock for so long.
fn deploy_late(options: &str, held: Duration) -> String {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let lock = File::open(scratch.path("store/lock")).expect("the lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    let line = format!("{STORE} {options} deploy {commit} --mode integrity");
    let mut deploy = scratch.command(&line);
    let child = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it starts");
    thread::sleep(held);
    assert!(
        child.try_wait().expect("asked").is_none(),
        "it does not wait"
    );
    drop(lock);
    let ran = finished(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.err
}

#[test]
fn who_is_late_waits() {
    let said = deploy_late("", Duration::from_millis(300));
    assert!(!said.contains("waiting"), "{said}");
}

#[test]
fn who_waits_long_says_for_whom() {
    let held = Duration::from_millis(1800);
    let holder = std::process::id();
    let waiting =
        format!("waiting: another sealroot command (process {holder}) holds the lock store/lock");
    let said = deploy_late("", held);
    assert!(said.contains(&format!("note: {waiting}\n")), "{said}");
    let said = deploy_late("--json", held);
    let event = json!({ "progress": "wait", "stage": waiting }).to_string();
    assert_eq!(said.lines().filter(|line| *line == event).count(), 1);
}
