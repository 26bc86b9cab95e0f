// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees that cannot become a release, or only just.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::support::{STORE, Scratch};

const BUILD: &str = "--store store build --dir tree --os exampleos --stream stable --index 1";

/// What must be true of a store after a build that failed.
fn assert_nothing_was_built(scratch: &Scratch) {
    assert_eq!(scratch.listing("store/pack"), []);
    assert_eq!(scratch.listing("store/deploy"), []);
    let check = scratch.ok("--store store --json check --full").json();
    for finding in check["findings"].as_array().expect("a list") {
        assert_eq!(finding["severity"], "leftover", "{finding}");
    }
}

#[test]
fn a_device_node() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.small_tree();
    fs::create_dir(scratch.path("tree/dev")).expect("a directory");
    let (path, device) = (scratch.path("tree/dev/null"), makedev(1, 3));
    mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, device).expect("a device");
    let words = [
        "tree/dev/null is a character device 1:3",
        "expected none",
        "hint: leave it out",
        "--devices keep",
    ];
    scratch.refused(ErrorClass::Usage, BUILD, &words);
    scratch.refused(ErrorClass::Usage, "image tree x", &words);
    assert!(!scratch.path("x").exists());
    assert_nothing_was_built(&scratch);
    scratch.ok(&format!("{BUILD} --devices keep"));
    let listed = scratch.ok("image tree x --devices keep");
    assert_eq!(listed.code, 0);
    let listed = scratch.ok("ls x /dev").text();
    assert!(listed.starts_with("cr--"), "{listed}");
}

#[test]
fn a_kernel_that_leads_elsewhere() {
    let scratch = Scratch::new();
    scratch.small_tree();
    for kernel in ["../../x", ".."] {
        let line = format!("{BUILD} --kernel {kernel}");
        scratch.refused(ErrorClass::Usage, &line, &[kernel, "without /"]);
    }
    assert_nothing_was_built(&scratch);
}

#[test]
fn an_unreadable_file() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.small_tree();
    let secret = scratch.path("tree/etc/shadow");
    fs::write(&secret, "secret").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("chmod");
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(scratch.directory.path(), everybody).expect("chmod");
    let ran = scratch.run_as_nobody(BUILD);
    let words = [
        "tree/etc/shadow",
        "Permission denied",
        "hint: try it as root",
    ];
    crate::support::check_refusal(&ran, ErrorClass::Io, BUILD, &words);
    assert_nothing_was_built(&scratch);
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    let scratch = Scratch::new();
    scratch.small_tree();
    // Large enough to be streamed, so that there is time for changes.
    scratch.write("tree/log", vec![0; 64 << 20]);
    let done = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .open(scratch.path("tree/log"));
            let file = file.as_mut().expect("a file");
            while !done.load(Ordering::Relaxed) {
                file.rewind().expect("seek");
                file.write_all(b"more").expect("write");
            }
        });
        let ran = scratch.run(BUILD);
        done.store(true, Ordering::Relaxed);
        ran
    });
    let words = [
        "tree/log",
        "changed while it was being read",
        "hint: let nothing write",
    ];
    crate::support::check_refusal(&ran, ErrorClass::Busy, BUILD, &words);
    assert_nothing_was_built(&scratch);
    scratch.ok(BUILD);
}

#[test]
fn the_longest_names() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let name = "n".repeat(255);
    scratch.write(&format!("tree/etc/{name}"), "longest");
    scratch.ok("image tree x");
    assert_eq!(scratch.ok(&format!("cat x /etc/{name}")).text(), "longest");
    let words = ["in the pack"];
    scratch.refused(ErrorClass::NotFound, &format!("cat x /etc/{name}n"), &words);
}

#[test]
fn a_path_that_is_too_long() {
    let scratch = Scratch::new();
    scratch.small_tree();
    // Deeper than a path may be long, made from the inside.
    let script = format!(
        "cd tree; for i in $(seq 17); do mkdir {0} && cd {0}; done; touch end",
        "d".repeat(250)
    );
    let made = scratch.command_of("sh", "-c").arg(script).status();
    assert!(made.expect("sh starts").success());
    let words = ["expected at most 4095"];
    scratch.refused(ErrorClass::Unsupported, BUILD, &words);
    assert_nothing_was_built(&scratch);
    let removed = scratch.command_of("rm", "-rf tree").status();
    assert!(removed.expect("rm starts").success());
}

#[test]
fn a_mount_inside_the_tree() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.small_tree();
    fs::create_dir(scratch.path("tree/proc")).expect("a directory");
    let mounted = scratch
        .command_of("mount", "-t tmpfs none tree/proc")
        .status();
    assert!(mounted.expect("mount starts").success());
    let ran = scratch.run(BUILD);
    let unmounted = scratch.command_of("umount", "tree/proc").status();
    assert!(unmounted.expect("umount starts").success());
    let words = ["tree/proc is a mount point", "unmount it"];
    crate::support::check_refusal(&ran, ErrorClass::Usage, BUILD, &words);
    assert_nothing_was_built(&scratch);
}

#[test]
fn what_is_odd_but_allowed() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let _socket = UnixListener::bind(scratch.path("tree/socket")).expect("a socket");
    let fifo = scratch.path("tree/fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
    std::os::unix::fs::symlink("loop", scratch.path("tree/loop")).expect("a symlink");
    for n in 0..100 {
        let link = scratch.path(&format!("tree/etc/link{n}"));
        fs::hard_link(scratch.path("tree/etc/hostname"), link).expect("a link");
    }
    scratch.ok(BUILD);
    scratch.ok("image tree x");
    assert_eq!(scratch.ok("dump x").text(), scratch.ok("dump tree").text());
}

#[test]
fn sources_that_are_not_there_make_no_store() {
    let scratch = Scratch::new();
    scratch.write("file", "");
    let rest = "--os exampleos --stream stable --index 1";
    for (class, source, words) in [
        (ErrorClass::NotFound, "--dir none", "cannot read"),
        (ErrorClass::Usage, "--dir file", "expected a directory"),
        (ErrorClass::NotFound, "--ostree none ref", "cannot read"),
    ] {
        let line = format!("{STORE} build {source} {rest}");
        scratch.refused(class, &line, &[words]);
        assert!(!scratch.path("store").exists(), "{source}");
    }
    scratch.small_tree();
    let line = format!("--store tree build --dir tree {rest}");
    scratch.refused(
        ErrorClass::Usage,
        &line,
        &["the store tree lies in the tree tree"],
    );
    let line = format!("--store no/store build --dir tree {rest}");
    scratch.refused(ErrorClass::NotFound, &line, &["no/store", "hint: "]);
    let line = format!("{STORE} build --ostree tree ref {rest}");
    scratch.refused(ErrorClass::NotFound, &line, &["tree"]);
}

#[test]
fn names_in_errors_do_not_steer_the_terminal() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("tree")).expect("a directory");
    let name = scratch.path("tree/\u{1b}[31m\n\u{202e}");
    fs::write(&name, vec![7; 70_000]).expect("a file");
    for words in ["image other", "ls"] {
        let mut words = words.split(' ');
        let mut run = scratch.command(words.next().expect("a command"));
        let output = run.arg("tree/\u{1b}[31m\n\u{202e}").args(words).output();
        let output = output.expect("it starts");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success());
        assert!(said.contains(r"tree/\u{1b}[31m\n\u{202e}"), "{said}");
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
    }
}
