// SPDX-License-Identifier: MIT OR Apache-2.0
//! What takes root rights says so; what does not, does without.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::support::{STORE, Scratch, check_refusal};

fn scratch_for_everybody() -> Scratch {
    let scratch = Scratch::new();
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(scratch.directory.path(), everybody).expect("chmod");
    scratch
}

#[test]
fn a_user_builds_signs_and_looks() {
    if !need::root() {
        return;
    }
    let scratch = scratch_for_everybody();
    scratch.small_tree();
    let run = |line: &str| {
        let ran = scratch.run_as_nobody(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        ran
    };
    run("keys new vendor");
    let build = "--json build --dir tree --os exampleos --stream stable --index 1";
    let built = run(&format!("{STORE} {build}")).json();
    let commit = built["commit"].as_str().expect("text");
    for line in [
        format!("sign {commit} --key vendor.secret"),
        format!("verify {commit} --full"),
        format!("deploy {commit} --mode integrity"),
        "status".to_owned(),
        "check --full".to_owned(),
        format!("ls {commit}"),
        format!("cat {commit} /usr/bin/large"),
        format!("dump {commit}"),
    ] {
        run(&format!("{STORE} {line}"));
    }
    for (line, word) in [
        ("unpack", "only root can give"),
        ("mount", "only root can mount"),
    ] {
        let line = format!("{STORE} {line} {commit} tree/etc");
        let ran = scratch.run_as_nobody(&line);
        let words = ["as user 65534", word, "ls, cat and dump"];
        check_refusal(&ran, ErrorClass::Io, &line, &words);
    }
}

#[test]
fn a_store_of_root_is_closed_to_others() {
    if !need::root() {
        return;
    }
    let scratch = scratch_for_everybody();
    let commit = scratch.signed();
    for line in [
        format!("{STORE} verify {commit}"),
        format!("{STORE} status"),
        format!("{STORE} sign {commit} --key vendor.secret"),
        format!("{STORE} build --dir tree --os exampleos --stream stable --index 2"),
    ] {
        let ran = scratch.run_as_nobody(&line);
        let words = ["store", "Permission denied", "hint: try it as root"];
        check_refusal(&ran, ErrorClass::Io, &line, &words);
    }
}

#[test]
fn a_secret_key_is_its_owners() {
    if !need::root() {
        return;
    }
    let scratch = scratch_for_everybody();
    scratch.ok("keys new vendor");
    let mode = fs::metadata(scratch.path("vendor.secret"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let line = "keys sign vendor.keyset --key vendor.secret";
    let ran = scratch.run_as_nobody(line);
    check_refusal(
        &ran,
        ErrorClass::Io,
        line,
        &["vendor.secret", "Permission denied"],
    );
}

#[test]
fn three_files_or_none() {
    let scratch = Scratch::new();
    for taken in ["a.secret", "a.public", "a.keyset"] {
        scratch.write(taken, "mine");
        let words = [taken, "exists already", "hint: choose another name"];
        scratch.refused(ErrorClass::Usage, "keys new a", &words);
        assert_eq!(scratch.listing("").len(), 1, "{taken}");
        fs::remove_file(scratch.path(taken)).expect("removed");
    }
    scratch.refused(ErrorClass::NotFound, "keys new none/a", &["none/a.secret"]);
}

#[test]
fn a_secret_key_given_for_another_file_is_not_shown() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let secret = fs::read_to_string(scratch.path("vendor.secret")).expect("a secret key");
    for line in [
        format!("--store store --keyset vendor.secret verify {commit}"),
        "--store store --keyset vendor.secret status".into(),
        "keys show vendor.secret".into(),
        "keys keyset --root vendor.secret --release vendor.secret -o other.keyset".into(),
        "--keyset vendor.keyset initramfs -o out --modules . --policy vendor.secret".into(),
        format!("{STORE} sign {commit} --key vendor.public"),
        "ls vendor.secret".into(),
    ] {
        for line in [line.clone(), format!("--json {line}")] {
            let ran = scratch.run(&line);
            let said = format!("{}{}", String::from_utf8_lossy(&ran.out), ran.err);
            for part in secret.trim().as_bytes().windows(8) {
                let part = str::from_utf8(part).expect("base64");
                assert!(!said.contains(part), "{line}: {said}");
            }
        }
    }
}
