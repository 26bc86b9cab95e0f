// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keysets: who must sign them, and that one which is not signed enough is of no use.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use sealroot_format::ErrorClass;
use sealroot_format::policy::BOOT_PROGRAM_NOTICE;

use crate::support::{STORE, Scratch, finished};

/// The options that give each role one key.
fn roles(root: &str, other: &str) -> String {
    format!("--root {root}.public --release {other}.public --channel {other}.public")
}

/// Keys with these names, and no keysets.
fn make_keys(scratch: &Scratch, names: &[&str]) {
    for name in names {
        scratch.ok(&format!("keys new {name}"));
        fs::remove_file(scratch.path(&format!("{name}.keyset"))).expect("removed");
    }
}

#[test]
fn a_keyset_that_is_not_signed_by_itself_is_of_no_use() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let good = fs::read_to_string(scratch.path("vendor.keyset")).expect("text");
    let (body, signature) = good.split_once("\n\n").expect("two parts");
    make_keys(&scratch, &["other"]);
    scratch.ok(&format!(
        "keys keyset other.keyset {}",
        roles("other", "other")
    ));
    scratch.ok("keys sign other.keyset --key other.secret");
    let other = fs::read_to_string(scratch.path("other.keyset")).expect("text");
    let (_, other) = other.split_once("\n\n").expect("two parts");
    let (key, _) = signature.rsplit_once(' ').expect("two parts");
    let (_, foreign) = other.rsplit_once(' ').expect("two parts");

    let few = "expected signatures by 1 distinct root keys of keyset version 1, found 0";
    let wrong = "the signature by the root key";
    for (text, words) in [
        (format!("{body}\n\n"), [few, "hint: `sealroot keys sign`"]),
        (format!("{body}\n\n{other}"), [few, "hint: "]),
        (format!("{body}\n\n{key} {foreign}"), [wrong, "is wrong"]),
    ] {
        scratch.write("vendor.keyset", text);
        let initramfs = "initramfs -o out --modules . --root LABEL=r --os o --stream s \
                         --arch x86_64 --allow-insecure-boot";
        for line in [
            format!("{STORE} verify {commit}"),
            format!("{STORE} deploy {commit} --mode integrity"),
            format!("{STORE} sign {commit} --key vendor.secret"),
            format!("{STORE} ls {commit}"),
            format!("{STORE} status"),
            format!("{STORE} {initramfs}"),
            format!(
                "keys keyset next --after vendor.keyset {}",
                roles("other", "other")
            ),
        ] {
            let words = [&words[..], &["vendor.keyset cannot be used"]].concat();
            scratch.refused(ErrorClass::Untrusted, &line, &words);
        }
        assert!(!scratch.path("out").exists() && !scratch.path("next").exists());
    }
    scratch.write("vendor.keyset", good);
    scratch.ok(&format!("{STORE} verify {commit}"));
}

#[test]
fn the_next_keyset_is_signed_by_old_and_new_root_keys() {
    let scratch = Scratch::new();
    make_keys(&scratch, &["old", "new", "release"]);
    let first = format!("keys keyset first {}", roles("old", "release"));
    let made = scratch.ok(&first).text();
    assert!(made.contains("  0 root signatures, not enough: 1 needed"));
    scratch.ok("keys sign first --key old.secret");

    let line = format!("keys keyset next --after first {}", roles("new", "release"));
    let made = scratch.ok(&line).text();
    let lines = |old: &str, new: &str| {
        format!("root signature{old}\n  {new}").replace("; `keys sign` adds one", "")
    };
    let none = lines(
        "s of version 1, not enough: 1 needed",
        "0 root signatures of version 2, not enough: 1 needed",
    );
    let made = made.replace("; `keys sign` adds one", "");
    assert!(made.contains(&none), "{made}");

    // With the new keys alone it is not enough, and who does not know the old ones cannot tell.
    let signed = scratch.ok("keys sign next --key new.secret").text();
    assert!(
        signed.contains("1 root signature of version 2, enough"),
        "{signed}"
    );
    assert!(
        signed.contains("enough root keys of version 1 must have signed too"),
        "{signed}"
    );
    let shown = scratch.ok("--json keys show next").json();
    assert!(shown["is_complete"].is_null(), "{shown}");
    let shown = scratch.ok("--json keys show next --after first").json();
    assert_eq!(shown["is_complete"], false, "{shown}");
    let counts = |shown: &serde_json::Value| {
        [0, 1].map(|n| shown["signatures"][n]["good"].as_array().map(Vec::len))
    };
    assert_eq!(counts(&shown), [Some(0), Some(1)]);

    scratch.ok("keys sign next --after first --key old.secret");
    let shown = scratch.ok("--json keys show next --after first").json();
    assert_eq!(shown["is_complete"], true, "{shown}");
    assert_eq!(counts(&shown), [Some(1), Some(1)]);
    let wrong_way = "keys show first --after next";
    let words = ["expected version 3", "found 1"];
    scratch.refused(ErrorClass::Untrusted, wrong_way, &words);
}

#[test]
fn only_root_keys_count() {
    let scratch = Scratch::new();
    make_keys(&scratch, &["root", "next", "release", "stranger"]);
    scratch.ok(&format!("keys keyset first {}", roles("root", "release")));
    let before = fs::read(scratch.path("first")).expect("a keyset");
    for key in ["release", "stranger"] {
        let line = format!("keys sign first --key {key}.secret");
        scratch.refused(
            ErrorClass::Usage,
            &line,
            &["is no root key of first", "hint: "],
        );
    }
    assert_eq!(fs::read(scratch.path("first")).expect("it"), before);
    scratch.ok("keys sign first --key root.secret");
    let roles = roles("next", "release");
    scratch.ok(&format!("keys keyset second --after first {roles}"));
    let line = "keys sign second --after first --key stranger.secret";
    scratch.refused(ErrorClass::Usage, line, &["is no root key of second"]);
    // It may be one of the keyset before, which was not named.
    let signed = scratch.ok("keys sign second --key stranger.secret").text();
    assert!(
        signed.contains("0 root signatures of version 2, not enough"),
        "{signed}"
    );
    assert!(signed.contains("no root key of version 2"), "{signed}");
}

#[test]
fn a_keyset_that_is_there_and_cannot_be_read_is_not_passed_over() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let keyset = fs::read(scratch.path("vendor.keyset")).expect("read");
    scratch.write("root/usr/lib/sealroot/keyset", keyset);
    let line = format!("--sysroot root --store store verify {commit}");
    scratch.ok(&line);
    let administrators = scratch.path("root/etc/sealroot");
    fs::create_dir_all(&administrators).expect("made");
    symlink("/nowhere", administrators.join("keyset")).expect("planted");
    let ran = scratch.run(&line);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("root/etc/sealroot/keyset"), "{}", ran.err);
}

/// The smallest program that is taken for the boot program, and a kernel that needs no modules.
fn boot_parts(scratch: &Scratch) {
    let mut program = vec![0; 64 + 56];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[0x20] = 64;
    program[0x36] = 56;
    program.extend(BOOT_PROGRAM_NOTICE.as_bytes());
    scratch.write("sealroot-boot", program);
    scratch.write("modules/modules.dep", "");
    let modules = [
        "fs/ext4/ext4",
        "fs/erofs/erofs",
        "fs/overlayfs/overlay",
        "drivers/block/loop",
    ];
    let built_in = modules.map(|module| format!("kernel/{module}.ko\n"));
    scratch.write("modules/modules.builtin", built_in.concat());
}

#[test]
fn a_keyset_may_come_through_a_pipe() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    boot_parts(&scratch);
    let keyset = fs::read(scratch.path("vendor.keyset")).expect("a keyset");
    for line in [
        format!("--store store publish {commit} --to www --key vendor.secret"),
        "initramfs -o initramfs.img --modules modules --boot-program sealroot-boot --root LABEL=r \
         --os exampleos --stream stable --arch x86_64 --allow-insecure-boot"
            .to_owned(),
        "--store device remote add vendor www --os exampleos --stream stable".to_owned(),
    ] {
        let mut command = scratch.command(&format!("--keyset /dev/stdin {line}"));
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(&keyset).expect("written");
        drop(pipe);
        let ran = finished(child.wait_with_output().expect("it ends"));
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
    }
}
