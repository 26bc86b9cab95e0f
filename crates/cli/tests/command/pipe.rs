// SPDX-License-Identifier: MIT OR Apache-2.0
//! Outputs that close or are full.

use std::fs::File;
use std::process::Stdio;

use sealroot_format::ErrorClass;

use crate::support::{STORE, Scratch, check_refusal, finished};

#[test]
fn a_closed_pipe_is_no_error_and_hides_none() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    // More than a pipe holds.
    for name in 0..3000 {
        scratch.write(&format!("tree/etc/{name:0>40}"), "");
    }
    let many = scratch.build("--index 2");
    scratch.ok(&format!("{STORE} sign {many} --key vendor.secret"));
    let lines = [
        format!("{STORE} ls {many} /etc"),
        format!("{STORE} --json ls {many} /etc"),
        format!("{STORE} dump {many}"),
        format!("{STORE} dump tree"),
        format!("{STORE} cat {commit} /usr/bin/large"),
        format!("{STORE} cat {commit} /etc/hostname"),
        format!("{STORE} status"),
        format!("{STORE} verify"),
        "--help".to_owned(),
    ];
    for line in lines {
        for mut command in [scratch.command(&line), scratch.command(&line)] {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("it starts");
            drop(child.stdout.take());
            let ran = finished(child.wait_with_output().expect("it ends"));
            assert_eq!((ran.code, &*ran.err), (0, ""), "{line}");
        }
    }
    // The verdict stands, read or not.
    scratch.write("tree/etc/unsigned", "");
    scratch.build("--index 3");
    let mut command = scratch.command(&format!("{STORE} verify"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    drop(child.stdout.take());
    let ran = finished(child.wait_with_output().expect("it ends"));
    assert_eq!(
        ran.code,
        i32::from(ErrorClass::Untrusted.exit_code()),
        "{}",
        ran.err
    );
}

#[test]
fn head_takes_what_it_wants() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let sealroot = env!("CARGO_BIN_EXE_sealroot");
    let script = format!("set -o pipefail; {sealroot} {STORE} ls {commit} /usr/bin | head -1");
    let mut bash = scratch.command_of("bash", "-c");
    let ran = finished(bash.arg(script).output().expect("bash starts"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.text().lines().count(), 1);
}

#[test]
fn a_full_output_is_an_error() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    for line in [
        "ls",
        "dump",
        "cat /etc/hostname",
        "cat /usr/bin/large",
        "--help",
    ] {
        let (words, path) = match line.split_once(" /") {
            Some((words, path)) => (words, format!("/{path}")),
            None => (line, String::new()),
        };
        let line = format!("{STORE} {words} {commit} {path}");
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device");
        let ran = scratch
            .command(&line)
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn();
        let ran = finished(ran.expect("it starts").wait_with_output().expect("it ends"));
        check_refusal(
            &ran,
            ErrorClass::Io,
            &line,
            &["standard output", "No space left"],
        );
    }
}

#[test]
fn a_closed_standard_error_changes_no_code() {
    let scratch = Scratch::new();
    let mut command = scratch.command("--store none status");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(6));
}
