// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot etc`: what was changed is listed, and where nothing is kept that is said.

use std::fs;
use std::process::Command;

use sealroot_format::ErrorClass;

use sealroot_testkit::need;

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

#[test]
fn the_etc_of_whoever_looks_is_not_that_of_another_system() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let commit = scratch.signed();
    scratch.ok(&format!("{STORE} deploy {commit} --mode integrity"));
    let pack = "ab".repeat(32);
    let booted = format!(
        r#"{{"version": 1, "insecure": [], "mode": "integrity", "layer": "erofs", "pack": "{pack}",
            "commit": "{commit}", "serial": 0}}"#
    );
    scratch.write("run/booted.json", booted);
    let etc = format!("store/deploy/{commit}.0/etc");
    scratch.write(&format!("{etc}/hostname"), "mine\n");
    scratch.write("root/etc/hostname", "mine\n");
    let reset = format!("{STORE} etc reset --run run /etc/hostname");
    let words = ["whose /etc", "hint: name that root with --root DIR"];
    scratch.refused(ErrorClass::Usage, &reset, &words);
    scratch.ok(&format!("{reset} --root root"));
    let reset = fs::read_to_string(scratch.path("root/etc/hostname"));
    assert_eq!(reset.expect("a file"), "example\n");
}

const ID: &str = "0123456789abcdef0123456789abcdef\n";

/// A root with these files in its `/etc`.
fn root_with(files: &[(&str, &str)]) -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("root/var")).expect("a directory");
    for (name, content) in files {
        scratch.write(&format!("root/etc/{name}"), content);
    }
    scratch
}

#[test]
fn files_are_kept_as_they_are_and_forgotten() {
    if !need::root() {
        return;
    }
    let shadow = "root:*:1::::::\ndaemon:*:1::::::\n";
    let passwd = "root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/sbin/nologin\n";
    let scratch = root_with(&[
        ("machine-id", ID),
        ("hostname", "example\n"),
        ("shadow", shadow),
        ("passwd", passwd),
    ]);
    let zone = "../usr/share/zoneinfo/Europe/Paris";
    std::os::unix::fs::symlink(zone, scratch.path("root/etc/localtime")).expect("a symlink");
    let kept =
        |name: &str| fs::read_to_string(scratch.path("root/var/lib/sealroot/etc").join(name));

    let line = "etc keep --root root --run run machine-id /etc/hostname localtime shadow";
    let ran = scratch.ok(line);
    assert_eq!(
        ran.text(),
        "/etc/machine-id is kept\n/etc/hostname is kept\n/etc/localtime is kept\n\
         /etc/shadow is kept\n"
    );
    assert!(
        ran.err.contains("not booted with `etc allowlist`"),
        "{}",
        ran.err
    );
    assert_eq!(kept("machine-id").expect("kept"), ID);
    assert_eq!(kept("localtime").expect("kept"), "Europe/Paris\n");
    assert_eq!(kept("shadow").expect("kept"), "root:*:1::::::\n");
    let mode = |path: &str| {
        let metadata = scratch.path(path).metadata().expect("metadata");
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
    };
    assert_eq!(mode("root/var/lib/sealroot/etc"), 0o700);
    assert_eq!(mode("root/var/lib/sealroot/etc/shadow"), 0o600);

    scratch.write("root/etc/hostname", "other\n");
    scratch.write("root/var/lib/sealroot/etc/machine-id", "x\n");
    let list = scratch.ok("etc keep --list --root root").text();
    for expected in [
        "/etc/hostname                      kept, but /etc has another now\n",
        "/etc/localtime                     kept\n",
        "/etc/machine-id                    kept, but NOT USED: /etc/machine-id, line 1: expected 32",
        "/etc/adjtime                       not there\n",
    ] {
        assert!(list.contains(expected), "{list}");
    }
    let json = scratch.ok("--json etc keep --list --root root").json();
    assert_eq!(json["files"][1]["path"], "/etc/hostname");
    assert_eq!(json["files"][1]["is_current"], false);

    let json = scratch
        .ok("--json etc forget --root root hostname adjtime")
        .json();
    assert_eq!(json["forgotten"][0], "/etc/hostname");
    assert_eq!(json["were_not_kept"][0], "/etc/adjtime");
    kept("hostname").expect_err("forgotten");
}

#[test]
fn what_the_next_boot_would_not_use_is_not_kept() {
    let scratch = root_with(&[
        ("machine-id", ID),
        ("hostname", "two words\n"),
        ("shadow", "root::1::::::\n"),
        ("passwd", "root:x:0:0::/:/bin/sh\n"),
        ("localtime", "TZif"),
    ]);
    fs::create_dir(scratch.path("root/etc/adjtime")).expect("a directory");
    let keep = |name: &str| format!("etc keep --root root machine-id {name}");
    for (class, name, reason) in [
        (
            ErrorClass::Corrupt,
            "hostname",
            "/etc/hostname, line 1: expected a host name",
        ),
        (
            ErrorClass::Corrupt,
            "shadow",
            "/etc/shadow, line 1: expected a user once",
        ),
        (
            ErrorClass::Corrupt,
            "localtime",
            "expected a symlink to a file in /usr/share/zoneinfo",
        ),
        (
            ErrorClass::Corrupt,
            "adjtime",
            "root/etc/adjtime: expected a regular file, found a directory",
        ),
        (ErrorClass::NotFound, "timezone", "root/etc/timezone"),
        (
            ErrorClass::Usage,
            "ld.so.preload",
            "ld.so.preload is no file that can be kept",
        ),
        (
            ErrorClass::Usage,
            "/etc/../etc/hostname",
            "is no file that can be kept",
        ),
    ] {
        scratch.refused(class, &keep(name), &[reason]);
        // Not even the good one.
        assert!(!scratch.path("root/var/lib").exists(), "{name}");
    }
}

#[test]
fn a_sysroot_elsewhere_does_not_say_whose_etc_is_meant() {
    let scratch = Scratch::new();
    scratch.write("sys/etc/hostname", "example\n");
    fs::create_dir(scratch.path("sys/var")).expect("a directory");
    for command in ["keep hostname", "keep --list", "forget hostname"] {
        let line = format!("--sysroot sys etc {command}");
        scratch.refused(
            ErrorClass::Usage,
            &line,
            &["sys does not say", "--root DIR"],
        );
    }
    scratch.ok("--sysroot sys etc keep --root sys --run run hostname");
    assert!(scratch.path("sys/var/lib/sealroot/etc/hostname").exists());
}
