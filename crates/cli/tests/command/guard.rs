// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that are in the way of results, and stores in places where they must not be.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};

use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::support::{STORE, Scratch};

#[test]
fn only_regular_files_are_replaced() {
    let scratch = Scratch::new();
    scratch.small_tree();
    assert!(
        scratch
            .command_of("mkfifo", "fifo")
            .status()
            .expect("it starts")
            .success()
    );
    symlink("nowhere", scratch.path("dangling")).expect("made");
    for (name, found) in [
        ("fifo", "fifo is a device, fifo or socket"),
        ("dangling", "dangling is a symbolic link to nothing"),
        ("tree/../tree", "is a directory"),
    ] {
        let words = [found, "expected a regular file or nothing", "hint: "];
        let line = format!("image tree/usr {name}");
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    let fifo = fs::symlink_metadata(scratch.path("fifo")).expect("there");
    assert!(fifo.file_type().is_fifo());
    if need::root() {
        let made = scratch.command_of("mknod", "null c 1 3").status();
        assert!(made.expect("mknod starts").success());
        scratch.refused(ErrorClass::Usage, "image tree null", &["a device"]);
        let null = fs::symlink_metadata(scratch.path("null")).expect("there");
        assert!(null.file_type().is_char_device());
    }
    // A link stays a link; what it names is replaced.
    fs::write(scratch.path("one.pack"), "old").expect("written");
    symlink("one.pack", scratch.path("latest.pack")).expect("made");
    scratch.ok("image tree latest.pack");
    let link = fs::symlink_metadata(scratch.path("latest.pack")).expect("there");
    assert!(link.is_symlink());
    scratch.ok("ls one.pack /etc");
}

#[test]
fn nothing_waits_for_what_is_no_file() {
    const INITRAMFS: &str = "initramfs -o initramfs.img --modules tree";
    let scratch = Scratch::new();
    let commit = scratch.built();
    scratch.write("fifos/etc/sealroot/nothing", "");
    scratch.write("repo/objects/nothing", "");
    let fifos = "fifo repo/config fifos/etc/sealroot/keyset";
    let made = scratch.command_of("mkfifo", fifos).status();
    assert!(made.expect("mkfifo starts").success());

    for command in ["ls", "dump", "cat", "unpack", "mount"] {
        let rest = match command {
            "cat" => "/etc/hostname",
            "unpack" | "mount" => "out",
            _ => "",
        };
        for (file, found) in [("fifo", "a fifo"), ("/dev/zero", "a device")] {
            let line = format!("{STORE} {command} {file} {rest}");
            scratch.refused(
                ErrorClass::Usage,
                &line,
                &["expected a regular file", found],
            );
        }
    }
    let of_repository = "build --ostree repo main --os exampleos --stream stable --index 2";
    for (line, class, word) in [
        (
            &*format!("--store store --keyset fifo verify {commit}"),
            ErrorClass::Corrupt,
            "the end of the text",
        ),
        (
            "--store store --sysroot fifos keys show fifos/etc/sealroot/keyset",
            ErrorClass::Corrupt,
            "the end of the text",
        ),
        (
            &format!("{STORE} sign {commit} --key fifo"),
            ErrorClass::Corrupt,
            "an empty file",
        ),
        (
            &format!("{STORE} sign {commit} --key /dev/zero"),
            ErrorClass::Usage,
            "found a device",
        ),
        (
            &format!("{STORE} {of_repository}"),
            ErrorClass::Corrupt,
            "expected a regular file",
        ),
        (
            &format!("{STORE} {INITRAMFS} --policy fifo"),
            ErrorClass::Corrupt,
            "the end of the text",
        ),
        (
            &format!("{STORE} {INITRAMFS} --policy /dev/zero"),
            ErrorClass::Usage,
            "found a device",
        ),
    ] {
        scratch.refused(class, line, &[word]);
    }
}

#[test]
fn nothing_is_put_into_the_tree_that_is_read() {
    let scratch = Scratch::new();
    scratch.small_tree();
    symlink("tree", scratch.path("alias")).expect("made");
    let before = scratch.listing("tree");
    let release = "--os exampleos --stream stable --index 1";
    for (line, what) in [
        (
            "image tree tree/usr/self.pack",
            "the image tree/usr/self.pack",
        ),
        ("image tree alias/self.pack", "the image alias/self.pack"),
        (
            &format!("--store tree/new/store build --dir tree {release}"),
            "the store",
        ),
        (
            &format!("--sysroot tree build --dir alias {release}"),
            "the store",
        ),
    ] {
        let words = [what, "lies in the tree", "hint: put it somewhere else"];
        scratch.refused(ErrorClass::Usage, line, &words);
    }
    assert_eq!(scratch.listing("tree"), before);
    scratch.ok("image tree/usr tree/etc/usr.pack");
}

#[test]
fn keysets_are_not_overwritten() {
    let scratch = Scratch::new();
    scratch.ok("keys new vendor");
    let before = fs::read(scratch.path("vendor.keyset")).expect("a keyset");
    let roles = "--root vendor.public --release vendor.public --channel vendor.public";
    let line = format!("keys keyset vendor.keyset {roles}");
    scratch.refused(ErrorClass::Usage, &line, &["vendor.keyset", "hint: "]);
    assert_eq!(fs::read(scratch.path("vendor.keyset")).expect("it"), before);
    let other = format!("keys keyset other.keyset {roles}");
    for threshold in [0, 2] {
        let words = ["--release-threshold: expected 1 to 1, found", "hint: "];
        let line = format!("{other} --release-threshold {threshold}");
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    scratch.ok(&other);
}

#[test]
fn a_new_store_without_fs_verity_says_so_once() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let build = |index| {
        let line = format!("{STORE} build --dir tree --os o --stream s --index {index}");
        scratch.ok(&line).err
    };
    let first = build(1);
    let words = ["note: ", "has no fs-verity: ", "Only the mode integrity"];
    let toml = fs::read_to_string(scratch.path("store/store.toml")).expect("it");
    if toml.contains("kernel") {
        assert!(!first.contains("note: "), "{first}");
        return;
    }
    assert!(words.iter().all(|word| first.contains(word)), "{first}");
    let again = build(1);
    assert!(!again.contains("note: "), "{again}");
    // A device is told when it is made to follow, before anything is fetched.
    scratch.ok("keys new vendor");
    let add = "--store device --keyset vendor.keyset remote add vendor www --os o --stream s";
    let added = scratch.ok(add).err;
    assert!(words.iter().all(|word| added.contains(word)), "{added}");
    let line = format!("{STORE} --json build --dir tree --os o --stream s --index 1");
    let built = scratch.ok(&line).json();
    let reasons = ["kernel", "feature", "filesystem", "unknown"];
    let reason = built["no_verity"].as_str().expect("a reason");
    assert!(reasons.contains(&reason), "{reason}");
}

#[test]
fn a_replaced_object_gets_a_new_deployment() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let deploy = format!("{STORE} deploy {commit} --mode integrity");
    scratch.ok(&deploy);
    let objects = scratch.listing("store/objects");
    let (object, _) = objects.iter().find(|(_, len)| *len > 0).expect("one");
    let object = scratch.directory.path().join(object);
    crate::support::flip(&object, 1000, 1);
    fs::remove_file(&object).expect("removed");

    let check = scratch.run(&format!("{STORE} --json check"));
    assert_eq!(check.code, i32::from(ErrorClass::Corrupt.exit_code()));
    let findings = &check.json()["findings"];
    assert_eq!(findings[0]["code"], "missing-object", "{findings}");
    assert!(check.err.contains("build or fetch"), "{}", check.err);

    scratch.build("--index 1");
    scratch.ok(&format!("{STORE} verify {commit}"));
    let again = scratch.ok(&deploy).text();
    let name = format!("{commit}.1");
    assert!(again.contains(&format!("deployed as {name}")), "{again}");
    let again = scratch.ok(&deploy).text();
    assert!(again.contains("was deployed already"), "{again}");
    // The old one is still damaged, and the way out is named.
    let check = scratch.run(&format!("{STORE} check --full"));
    let words = [
        &*format!("deploy anew what {commit}.0 is of"),
        "remove that in store/deploy",
    ];
    for word in words {
        assert!(check.err.contains(word), "{}", check.err);
    }
    fs::remove_dir_all(scratch.path(&format!("store/deploy/{commit}.0"))).expect("removed");
    scratch.ok(&format!("{STORE} check --full"));

    // A truncated object, and one of another size in a deployment.
    crate::support::overwrite(&object, b"short");
    let check = scratch.run(&format!("{STORE} check"));
    assert!(check.text().contains("5 bytes, expected 100000"));
    assert_eq!(check.text().matches("wrong-digest").count(), 2);
}

#[test]
fn a_file_where_a_directory_is_wanted_is_wrong_usage() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    scratch.write("file", "x");
    let before = scratch.listing("");
    let release = "--os o --stream s --index 1";
    let policy = "--root LABEL=r --os o --stream s --arch x86_64 --allow-insecure-boot";
    let directory = "expected a directory";
    let store = "expected a store's directory";
    for (line, words) in [
        (
            format!("{STORE} build --dir file {release}"),
            ["--dir file", directory],
        ),
        (
            format!("--store new build --dir file {release}"),
            ["--dir file", directory],
        ),
        (
            format!("{STORE} build --ostree file ref {release}"),
            ["--ostree file", "expected an OSTree repository"],
        ),
        ("image file out".into(), ["the tree file", directory]),
        ("image /dev/null out".into(), [directory, "found a device"]),
        ("--store file status".into(), ["--store file", store]),
        (
            format!("--store file build --dir tree {release}"),
            ["--store file", store],
        ),
        (
            "--sysroot file check".into(),
            ["--sysroot file", "expected the root's directory"],
        ),
        (
            format!("{STORE} unpack {commit} file"),
            ["file", "expected a new or an empty directory"],
        ),
        (
            format!("{STORE} mount {commit} file"),
            ["the mountpoint file", directory],
        ),
        (
            format!("{STORE} initramfs -o out --modules file {policy}"),
            [
                "--modules file",
                "expected the directory of a kernel's modules",
            ],
        ),
    ] {
        let words = [&words[..], &["found a"]].concat();
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    for line in [
        "--store store --keyset tree verify".into(),
        "keys show tree".into(),
        format!("{STORE} sign {commit} --key tree"),
        format!("{STORE} initramfs -o out --modules . --policy tree"),
    ] {
        scratch.refused(ErrorClass::Usage, &line, &["tree", "directory"]);
    }
    scratch.refused(
        ErrorClass::NotFound,
        &format!("{STORE} build --ostree tree ref {release}"),
        &["tree is not an OSTree repository"],
    );
    assert_eq!(scratch.listing(""), before);
}

#[test]
fn words_for_people_have_no_spaces() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let mut deploy = scratch.command(&format!(
        "{STORE} deploy {commit} --mode integrity --origin"
    ));
    let ran = crate::support::finished(deploy.arg("a b").output().expect("it starts"));
    assert_eq!(ran.code, 2);
    let words = "expected a word: 1 to 255 printable ASCII characters without spaces";
    assert!(ran.err.contains(words), "{}", ran.err);
    for command in ["deploy", "build"] {
        let help = scratch.ok(&format!("{command} --help")).text();
        assert!(help.contains("<WORD>"), "{help}");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            help.contains("rintable ASCII without spaces, at most 255"),
            "{help}"
        );
    }
}
