// SPDX-License-Identifier: MIT OR Apache-2.0
//! ls, cat, dump, unpack and mount show the same tree.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::support::{STORE, Scratch, check_refusal, finished};

/// The ways to name the same pack.
fn targets(scratch: &Scratch, commit: &str) -> [String; 3] {
    scratch.ok(&format!("{STORE} deploy {commit} --mode integrity"));
    let pack = scratch.only("store/pack", ".pack");
    [
        commit.to_owned(),
        format!("{commit}.0"),
        pack.to_str().expect("plain").to_owned(),
    ]
}

#[test]
fn every_target_shows_the_tree() {
    let scratch = Scratch::new();
    scratch.small_tree();
    symlink("large", scratch.path("tree/usr/bin/link")).expect("a symlink");
    let setuid = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(scratch.path("tree/usr/bin/large"), setuid).expect("chmod");
    let commit = scratch.signed();
    let dump = scratch.ok("dump tree").text();
    for target in targets(&scratch, &commit) {
        let text = |line: &str| scratch.ok(&format!("{STORE} {line}")).text();
        assert_eq!(text(&format!("dump {target}")), dump);
        assert_eq!(
            text(&format!("dump {target} --digest-only")).trim_end(),
            commit
        );
        let listed = text(&format!("ls {target} usr/bin/"));
        let mut lines = listed.lines();
        let large = lines.next().expect("a line");
        assert!(
            large.starts_with("-rwsr-xr-x") && large.ends_with("100000 large"),
            "{large}"
        );
        let link = lines.next().expect("a line");
        assert!(
            link.starts_with("lrwxrwxrwx") && link.ends_with("link -> large"),
            "{link}"
        );
        assert_eq!(text(&format!("cat {target} /etc/hostname")), "example\n");
        assert_eq!(
            text(&format!("cat {target} /usr/./bin//large")).len(),
            100_000
        );

        let refused = |class, line: &str, words: &[&str]| {
            scratch.refused(class, &format!("{STORE} {line}"), words);
        };
        for line in [
            format!("cat {target} /none"),
            format!("ls {target} /etc/hostname/x"),
        ] {
            refused(ErrorClass::NotFound, &line, &["in the pack"]);
        }
        for path in ["/etc", "/usr/bin/link"] {
            let words = [path, "not a regular file", "hint: `sealroot ls`"];
            refused(ErrorClass::Usage, &format!("cat {target} {path}"), &words);
        }
    }
    let words = [
        "is no commit, no deployment and no file",
        "hint: a commit is the 64 digits",
    ];
    scratch.refused(
        ErrorClass::NotFound,
        &format!("{STORE} ls {}", &commit[1..]),
        &words,
    );
}

#[test]
fn unpacked_and_mounted_trees_are_the_same() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let dump = scratch.ok("dump tree").text();
    for (n, target) in targets(&scratch, &commit).iter().enumerate() {
        let unpacked = scratch
            .ok(&format!("{STORE} unpack {target} out{n}"))
            .text();
        assert_eq!(
            unpacked,
            format!("out{n}: 6 entries, 100008 bytes in files\n")
        );
        assert_eq!(scratch.ok(&format!("dump out{n}")).text(), dump);

        fs::create_dir(scratch.path(&format!("mnt{n}"))).expect("a directory");
        let mounted = scratch.ok(&format!("{STORE} mount {target} mnt{n}"));
        let shown = scratch.run(&format!("dump mnt{n}"));
        let unmounted = scratch.command_of("umount", &format!("mnt{n}")).status();
        assert!(unmounted.expect("umount starts").success());
        assert_eq!(shown.text(), dump);
        assert!(
            mounted
                .err
                .contains("warning: the store in store has no fs-verity"),
            "{}",
            mounted.err
        );
        let left = fs::read_dir(scratch.path(&format!("mnt{n}"))).expect("a directory");
        assert_eq!(left.count(), 0, "one umount is enough");
    }
}

#[test]
fn a_pack_file_needs_no_store_until_it_names_objects() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("tree/etc/hostname", "example\n");
    scratch.ok("image tree small.pack");
    scratch.ok("unpack small.pack out");
    assert_eq!(
        scratch.ok("dump out").text(),
        scratch.ok("dump tree").text()
    );
    scratch.small_tree();
    scratch.ok("image tree large.pack");
    let words = [
        "/usr/bin/large",
        "no store was found",
        "hint: name the store with --store DIR",
    ];
    scratch.refused(ErrorClass::NotFound, "unpack large.pack other", &words);
    assert!(!scratch.path("other").exists());
    let words = ["hint: name the store with --store DIR"];
    scratch.refused(ErrorClass::NotFound, "mount large.pack out", &words);
}

#[test]
fn what_is_in_the_way_is_named() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let unpack = |place: &str| format!("{STORE} unpack {commit} {place}");
    let mount = |place: &str| format!("{STORE} mount {commit} {place}");
    scratch.refused(
        ErrorClass::Usage,
        &unpack("tree"),
        &["tree is not empty", "a new directory"],
    );
    scratch.refused(
        ErrorClass::NotFound,
        &unpack("none/out"),
        &["cannot open none"],
    );
    scratch.refused(
        ErrorClass::Usage,
        &unpack("tree/etc/hostname"),
        &["expected a new or an empty directory, found a file"],
    );
    scratch.refused(
        ErrorClass::NotFound,
        &mount("none"),
        &["hint: make it first: mkdir none"],
    );
    scratch.refused(
        ErrorClass::Usage,
        &mount("tree/etc/hostname"),
        &["the mountpoint tree/etc/hostname: expected a directory, found a file"],
    );
    fs::create_dir(scratch.path("out.partial")).expect("a directory");
    let words = ["out.partial exists", "was interrupted", "remove it"];
    scratch.refused(ErrorClass::Busy, &unpack("out"), &words);
}

#[test]
fn paths_may_be_any_bytes() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let name = OsString::from_vec(b"\xff\xfe".to_vec());
    fs::write(scratch.path("tree/etc").join(&name), "odd").expect("a file");
    scratch.ok("image tree tree.pack");
    fs::rename(
        scratch.path("tree.pack"),
        scratch.directory.path().join(&name),
    )
    .expect("renamed");
    let mut command = scratch.command("cat");
    let ran = command
        .arg(&name)
        .arg(OsString::from_vec(b"/etc/\xff\xfe".to_vec()));
    let ran = finished(ran.output().expect("it starts"));
    assert_eq!((ran.code, &*ran.out), (0, &b"odd"[..]), "{}", ran.err);
    let mut command = scratch.command("ls");
    let ran = finished(command.arg(&name).arg("/etc").output().expect("it starts"));
    assert!(ran.text().ends_with(" \\xff\\xfe\n"), "{}", ran.text());
    let mut command = scratch.command("ls");
    let ran = command.arg(OsString::from_vec(b"\xfe".to_vec())).output();
    let ran = finished(ran.expect("it starts"));
    check_refusal(&ran, ErrorClass::NotFound, "ls", &["is no commit"]);
}

#[test]
fn the_first_digits_of_a_commit_do() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let short = &commit[..6];
    for line in [
        format!("verify {short}"),
        format!("sign {short} --key vendor.secret"),
        format!("deploy {short} --mode integrity"),
        format!("ls {short} /etc"),
        format!("ls {short}.0 /etc"),
        format!("dump {}", &commit[..63]),
    ] {
        scratch.ok(&format!("{STORE} {line}"));
    }
    let other = if short.starts_with('0') {
        "1111"
    } else {
        "0000"
    };
    let words = [&*format!("begins with {other}"), "hint: `sealroot status`"];
    let line = format!("{STORE} verify {other}");
    scratch.refused(ErrorClass::NotFound, &line, &words);
    scratch.refused(
        ErrorClass::NotFound,
        &format!("{STORE} ls {other}"),
        &["is no commit, no deployment and no file"],
    );
    let none = format!("{STORE} ls {short}.3");
    scratch.refused(ErrorClass::NotFound, &none, &["there is no deployment"]);
    for bad in ["12", &commit.to_uppercase(), &format!("{commit}0")] {
        let words = ["expected 64 lowercase hex digits or the first 4", "found "];
        scratch.refused(ErrorClass::Usage, &format!("{STORE} verify {bad}"), &words);
    }

    // Verified as a whole, whatever lies there under a name that begins so.
    let twin = format!("{short}{}", "0".repeat(58));
    let statement = fs::read(scratch.path(&format!("store/pack/{commit}.stable.sign")));
    let statement = statement.expect("a statement");
    let twin_path = scratch.path(&format!("store/pack/{twin}.stable.sign"));
    fs::write(&twin_path, &statement).expect("planted");
    let words = [
        "2 commits begin with",
        "hint: give more digits",
        &commit,
        &twin,
    ];
    for line in ["verify", "ls", "deploy --mode integrity"] {
        let line = format!("{STORE} {line} {short}");
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    let line = format!("{STORE} verify {short}000");
    scratch.refused(ErrorClass::Untrusted, &line, &["is of", &commit]);
    fs::remove_file(twin_path).expect("removed");

    // A file that is called so is not taken unverified.
    scratch.ok(&format!("image tree {short}"));
    let words = ["may be the file or the commit", "is the file;"];
    let line = format!("{STORE} ls {short}");
    scratch.refused(ErrorClass::Usage, &line, &words);
    scratch.ok(&format!("{STORE} ls ./{short}"));
}
