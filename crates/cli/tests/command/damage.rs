// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged and foreign files: each is refused with its name, and nothing is made of it.

use std::fs;
use std::path::{Path, PathBuf};

use sealroot_format::ErrorClass;

use crate::support::{Ran, STORE, Scratch, flip, overwrite};

/// Which classes a damaged file may lead to.
const DAMAGE: [ErrorClass; 2] = [ErrorClass::Corrupt, ErrorClass::Untrusted];

fn assert_damage(ran: &Ran, what: &str, words: &[&str]) {
    let codes = DAMAGE.map(|class| i32::from(class.exit_code()));
    assert!(
        codes.contains(&ran.code),
        "{what}: {} {}",
        ran.code,
        ran.err
    );
    for word in words {
        assert!(ran.err.contains(word), "{what}: no {word:?} in {}", ran.err);
    }
}

/// Damages a file at some places and in some lengths, runs `judge` each time, and mends it.
fn with_damage(path: &Path, step: usize, mut judge: impl FnMut(&str)) {
    let whole = fs::read(path).expect("a file");
    let bits = [1, 2, 4, 8, 16, 32, 64, 128].into_iter().cycle();
    for (at, mask) in (0..whole.len()).step_by(step).zip(bits) {
        flip(path, at, mask);
        judge(&format!("bit {mask} of byte {at}"));
        overwrite(path, &whole);
    }
    for len in [0, 1, whole.len() / 2, whole.len() - 1] {
        overwrite(path, &whole[..len]);
        judge(&format!("{len} bytes"));
        overwrite(path, &whole);
    }
    overwrite(path, &[&whole[..], b"x"].concat());
    judge("one byte more");
    overwrite(path, &whole);
}

#[test]
fn a_damaged_statement() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let path = scratch.only("store/pack", ".sign");
    let name = format!("the release statement of {commit} in stream stable");
    with_damage(&path, 31, |what| {
        for line in [
            "verify",
            "deploy --mode integrity",
            "ls",
            "cat",
            "unpack",
            "mount",
        ] {
            let rest = match line {
                "cat" => "/etc/hostname",
                "unpack" | "mount" => "out",
                _ => "",
            };
            let ran = scratch.run(&format!("{STORE} {line} {commit} {rest}"));
            assert_damage(&ran, &format!("{line}, {what}"), &[&name]);
        }
        let status = scratch.ok(&format!("{STORE} status")).text();
        assert!(status.contains("stable: REFUSED"), "{what}: {status}");
        assert_eq!(scratch.listing("store/deploy"), [], "{what}");
    });
    scratch.ok(&format!("{STORE} verify {commit}"));
}

#[test]
fn a_damaged_statement_is_not_signed() {
    let scratch = Scratch::new();
    let commit = scratch.built();
    let path = scratch.only("store/pack", ".sign");
    let whole = fs::read(&path).expect("a file");
    let text = String::from_utf8(whole.clone()).expect("text");
    for (from, to) in [
        ("index 1", "index 01"),
        ("entries ", "entries 1"),
        ("objects 1", "objects 2"),
        ("pack-digest sha256:4096:", "pack-digest sha256:4096:0"),
        ("tree-digest sha256:", "tree-digest sha512:"),
        ("stream stable", "stream beta"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        overwrite(&path, changed.as_bytes());
        let ran = scratch.run(&format!("{STORE} sign {commit} --key vendor.secret"));
        assert_damage(&ran, to, &["error: "]);
        assert_eq!(fs::read(&path).expect("a file"), changed.as_bytes(), "{to}");
        overwrite(&path, &whole);
    }
}

#[test]
fn a_damaged_pack() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let path = scratch.only("store/pack", ".pack");
    let remove = format!("; or remove {}", path_in(&scratch, &path));
    with_damage(&path, 331, |what| {
        for line in [
            "verify",
            "deploy --mode integrity",
            "ls",
            "dump",
            "sign --key vendor.secret",
        ] {
            let ran = scratch.run(&format!("{STORE} {line} {commit}"));
            assert_damage(
                &ran,
                &format!("{line}, {what}"),
                &["pack", "expected", &remove, "then build or"],
            );
        }
        let ran = scratch.run(&format!("{STORE} check --full"));
        assert_damage(&ran, what, &["store is damaged", &remove, "then build or"]);
        let quick = scratch.run(&format!("{STORE} check"));
        assert_damage(&quick, what, &["store is damaged", &remove]);
        assert!(ran.text().contains("damage "), "{}", ran.text());
        assert_eq!(scratch.listing("store/deploy"), [], "{what}");
    });
    // The way out that is offered.
    fs::remove_file(&path).expect("removed");
    scratch.build("--index 1");
    scratch.ok(&format!("{STORE} verify {commit}"));
}

#[test]
fn a_file_that_is_no_pack() {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("image tree tree.pack");
    let path = scratch.path("tree.pack");
    let mut refused = 0;
    with_damage(&path, 53, |what| {
        // A file that nobody vouches for may have other content, but must be well-formed.
        let ran = scratch.run("dump tree.pack");
        if ran.code != 0 {
            refused += 1;
            assert_damage(&ran, what, &["tree.pack is not a pack"]);
        }
    });
    assert!(refused > 10, "{refused}");
    // A field is named, in few words.
    flip(&path, 1024 + 12, 1);
    let words = ["block_bits at byte 1036: found 0x0d, expected 0x0c"];
    let error = scratch.refused(ErrorClass::Corrupt, "ls tree.pack", &words);
    assert!(error.len() < 300, "{error}");
    scratch.refused(
        ErrorClass::Corrupt,
        "ls tree/etc/hostname",
        &["is not a pack", "superblock"],
    );
    scratch.refused(
        ErrorClass::Usage,
        "ls tree",
        &["tree is a directory", "only `sealroot dump`"],
    );
}

#[test]
fn a_damaged_keyset() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let path = scratch.path("vendor.keyset");
    let (verify, status) = (
        format!("{STORE} verify {commit}"),
        format!("{STORE} status"),
    );
    let whole = fs::read(&path).expect("a keyset");
    let body = whole
        .windows(2)
        .position(|two| two == b"\n\n")
        .expect("an end")
        + 1;
    for at in (0..body).step_by(7) {
        flip(&path, at, 1);
        assert_damage(&scratch.run(&verify), &format!("byte {at}"), &["error: "]);
        overwrite(&path, &whole);
    }
    for len in [0, 10, body - 1] {
        overwrite(&path, &whole[..len]);
        for line in [&verify, &status] {
            let ran = scratch.run(line);
            assert_damage(
                &ran,
                &format!("{len} bytes"),
                &["vendor.keyset cannot be used", "line"],
            );
        }
        overwrite(&path, &whole);
    }
    fs::remove_file(&path).expect("removed");
    for line in [&verify, &status] {
        scratch.refused(ErrorClass::NotFound, line, &["cannot read vendor.keyset"]);
    }
}

#[test]
fn a_foreign_key() {
    let scratch = Scratch::new();
    let commit = scratch.built();
    scratch.ok("keys new stranger");
    scratch.ok(&format!("{STORE} sign {commit} --key stranger.secret"));
    for line in ["verify", "deploy --mode integrity", "ls"] {
        let words = [
            "1 distinct release keys",
            "found 0",
            "hint: `sealroot sign`",
        ];
        scratch.refused(
            ErrorClass::Untrusted,
            &format!("{STORE} {line} {commit}"),
            &words,
        );
    }
    scratch.ok(&format!(
        "--store store --keyset stranger.keyset verify {commit}"
    ));
}

#[test]
fn a_damaged_store_record() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let path = scratch.path("store/store.toml");
    with_damage(&path, 1, |what| {
        let ran = scratch.run(&format!("{STORE} verify {commit}"));
        // One byte of white space more or less changes nothing.
        if ran.err.contains("store.toml has version") {
            assert_eq!(ran.code, i32::from(ErrorClass::Unsupported.exit_code()));
        } else if ran.code != 0 {
            assert_damage(
                &ran,
                what,
                &["store/store.toml is not valid", "hint: if it was damaged"],
            );
        }
    });
    overwrite(&path, b"version = 2\nmore = 1\n");
    let newer = scratch.refused(
        ErrorClass::Unsupported,
        &format!("{STORE} verify {commit}"),
        &[
            "store/store.toml has version 2, expected 1",
            "newer sealroot",
        ],
    );
    assert!(!newer.contains("remove"), "{newer}");
    // The way out that is offered.
    overwrite(&path, b"junk");
    fs::remove_file(&path).expect("removed");
    let words = ["store is not a sealroot store", "hint: name the store"];
    scratch.refused(
        ErrorClass::NotFound,
        &format!("{STORE} verify {commit}"),
        &words,
    );
    scratch.build("--index 1");
    scratch.ok(&format!("{STORE} verify {commit} --full"));
    scratch.ok(&format!("{STORE} check --full"));
}

#[test]
fn a_damaged_deployment_record() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let deploy = format!("{STORE} deploy {commit} --mode integrity");
    scratch.ok(&deploy);
    let record = format!("store/deploy/{commit}.0/deployment.toml");
    overwrite(&scratch.path(&record), b"junk");
    let status = scratch.ok(&format!("{STORE} status")).text();
    assert!(
        status.contains("DAMAGED: ") && status.contains(&record),
        "{status}"
    );
    let ran = scratch.run(&format!("{STORE} check"));
    assert_damage(&ran, "check", &["store is damaged"]);
    assert!(ran.text().contains("deployment.toml"), "{}", ran.text());
    let words = [
        &*record,
        "is not a valid deployment record",
        "hint: deploy the release again",
    ];
    scratch.refused(
        ErrorClass::Corrupt,
        &format!("{STORE} ls {commit}.0"),
        &words,
    );
    // The way out that is offered.
    let again = scratch.ok(&deploy).text();
    assert!(
        again.contains(&format!("deployed as {commit}.1")),
        "{again}"
    );
    scratch.ok(&format!("{STORE} ls {commit}.1"));
    let none = format!("{STORE} ls {commit}.7");
    scratch.refused(
        ErrorClass::NotFound,
        &none,
        &[
            &format!("there is no deployment {commit}.7"),
            "hint: `sealroot status` lists",
        ],
    );
}

/// A path as the command, run in the scratch directory, writes it.
fn path_in(scratch: &Scratch, path: &Path) -> String {
    let relative = path.strip_prefix(scratch.directory.path());
    relative.expect("below").display().to_string()
}

fn object(scratch: &Scratch) -> PathBuf {
    let listing = scratch.listing("store/objects");
    let mut files = listing
        .into_iter()
        .filter(|(path, _)| path.extension().is_some());
    let (path, _) = files.next().expect("an object");
    scratch.path(path.to_str().expect("plain"))
}

#[test]
fn a_damaged_or_missing_object() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let path = object(&scratch);
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("plain");
    let digest = file.strip_suffix(".file").expect("an object");
    flip(&path, 50_000, 1);
    let full = format!("{STORE} verify {commit} --full");
    let remove = format!("; or remove {}", path_in(&scratch, &path));
    // Without fs-verity only reading tells, so it is always read.
    for line in [&format!("{STORE} verify {commit}"), &full] {
        let words = ["1 object cannot be used", &remove, "then build"];
        scratch.refused(ErrorClass::Untrusted, line, &words);
    }
    let cat = format!("{STORE} cat {commit} /usr/bin/large");
    let ran = scratch.run(&cat);
    assert_eq!(ran.out, b"", "not a byte of it");
    assert_damage(&ran, "cat", &[digest, "fs-verity digest", &remove]);

    fs::write(&path, "short").expect("written");
    scratch.refused(
        ErrorClass::Untrusted,
        &cat,
        &[digest, "5 bytes, expected 100000", "hint: "],
    );
    fs::remove_file(&path).expect("removed");
    scratch.refused(
        ErrorClass::NotFound,
        &cat,
        &[digest, "does not exist", "; or build"],
    );
    let ran = scratch.run(&format!("{STORE} verify {commit}"));
    assert_damage(&ran, "verify", &["1 object cannot be used"]);
    assert!(ran.text().contains("it is missing"), "{}", ran.text());
    let deploy = format!("{STORE} deploy {commit} --mode integrity");
    scratch.refused(
        ErrorClass::NotFound,
        &deploy,
        &[digest, "does not exist", "; or build"],
    );
    assert_eq!(scratch.listing("store/deploy"), []);

    scratch.build("--index 1");
    scratch.ok(&full);
    scratch.ok(&deploy);
}

#[test]
fn what_is_to_be_removed_is_named_once() {
    let scratch = Scratch::new();
    scratch.signed();
    fs::remove_dir(scratch.path("store/tmp")).expect("removed");
    scratch.write("store/tmp", "");
    let ran = scratch.run(&format!("{STORE} check"));
    assert_eq!(ran.err.matches("store/tmp").count(), 1, "{}", ran.err);
}
