// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot etc`: what was changed is listed, and where nothing is kept that is said.

use std::fs;
use std::process::Command;

use sealroot_format::ErrorClass;

use crate::support::{STORE, Scratch};

#[test]
fn the_changes_of_a_kept_etc_are_listed() {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.write("tree/etc/removed", "1\n");
    scratch.ok("keys new vendor");
    let commit = scratch.build("--index 1");
    scratch.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
    scratch.ok(&format!("{STORE} deploy {commit} --mode integrity"));
    let deployment = format!("{commit}.0");
    let diff = format!("{STORE} etc diff {deployment}");
    scratch.refused(ErrorClass::NotFound, &diff, &["keeps no /etc of its own"]);

    let etc = format!("store/deploy/{deployment}/etc");
    let mut copy = Command::new("cp");
    let copied = copy
        .args(["-a", "tree/etc", &etc])
        .current_dir(scratch.directory.path());
    assert!(copied.status().expect("cp").success());
    assert_eq!(scratch.ok(&diff).text(), "as the release has it\n");
    scratch.write(&format!("{etc}/hostname"), "mine\n");
    scratch.write(&format!("{etc}/new"), "mine\n");
    fs::remove_file(scratch.path(&format!("{etc}/removed"))).expect("removed");
    let expected = "M /etc/hostname (content)\nA /etc/new\nD /etc/removed\n";
    assert_eq!(scratch.ok(&diff).text(), expected);
    let json = scratch.ok(&format!("--json {diff}")).json();
    assert_eq!(json["is_kept"], true);
    assert_eq!(json["changes"][0]["path"], "/etc/hostname");
    assert_eq!(json["changes"][0]["aspects"][0], "content");
}

#[test]
fn without_a_deployment_that_runs_there_is_nothing_to_change() {
    let scratch = Scratch::new();
    scratch.signed();
    fs::create_dir(scratch.path("run")).expect("a directory");
    for command in ["etc diff --run run", "etc reset --run run /etc/hostname"] {
        let line = format!("{STORE} {command}");
        scratch.refused(
            ErrorClass::NotFound,
            &line,
            &["no deployment of sealroot runs here"],
        );
    }
}
