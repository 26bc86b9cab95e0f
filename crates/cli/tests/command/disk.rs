// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that are full, or lack fs-verity.

use std::fs;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::support::Scratch;

/// A filesystem of a few megabytes at `disk`.
struct Disk<'s> {
    scratch: &'s Scratch,
}

impl<'s> Disk<'s> {
    fn tmpfs(scratch: &'s Scratch, size: &str) -> Self {
        fs::create_dir(scratch.path("disk")).expect("a directory");
        Self::mount(scratch, &format!("-t tmpfs -o size={size} none disk"))
    }

    /// ext4 in a file; `features` for mkfs.
    fn ext4(scratch: &'s Scratch, megabytes: u64, features: &str) -> Option<Self> {
        need::tool("mkfs.ext4")?;
        let image = fs::File::create(scratch.path("disk.img")).expect("a file");
        image.set_len(megabytes << 20).expect("sparse");
        fs::create_dir(scratch.path("disk")).expect("a directory");
        let made = scratch
            .command_of("mkfs.ext4", &format!("-q {features} disk.img"))
            .status();
        assert!(made.expect("mkfs starts").success());
        Some(Self::mount(scratch, "-o loop disk.img disk"))
    }

    fn mount(scratch: &'s Scratch, line: &str) -> Self {
        let mounted = scratch.command_of("mount", line).status();
        assert!(mounted.expect("mount starts").success());
        Self { scratch }
    }

    /// Fills it, but for `left_bytes`.
    fn fill(&self, left_bytes: u64) -> PathBuf {
        let path = self.scratch.path("disk/filler");
        let free = rustix::fs::statvfs(self.scratch.path("disk").as_path()).expect("statvfs");
        let free_bytes = free.f_bavail * free.f_frsize;
        let len = usize::try_from(free_bytes.saturating_sub(left_bytes)).expect("small");
        fs::write(&path, vec![1; len]).expect("it fits");
        path
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let unmounted = self.scratch.command_of("umount", "disk").status();
        assert!(unmounted.expect("umount starts").success());
    }
}

const BUILD: &str = "--store disk/store build --dir tree --os exampleos --stream stable --index 1";

fn build_on_a_full_disk(scratch: &Scratch, disk: &Disk<'_>) {
    scratch.write("tree/usr/other", vec![8; 3_000_000]);
    let filler = disk.fill(2_000_000);
    let words = [
        "no space left to",
        "disk/store",
        "available",
        "hint: make room and do the same",
    ];
    let line = BUILD;
    scratch.refused(ErrorClass::Io, line, &words);
    assert_eq!(scratch.listing("disk/store/pack"), []);
    let check = scratch.ok("--store disk/store --json check --full").json();
    for finding in check["findings"].as_array().expect("a list") {
        assert_eq!(finding["severity"], "leftover", "{finding}");
    }
    fs::remove_file(filler).expect("removed");
    scratch.ok(BUILD);
    let check = scratch.ok("--store disk/store --json check --full").json();
    assert_eq!(
        check["findings"].as_array().map(Vec::len),
        Some(0),
        "{check}"
    );
}

#[test]
fn a_full_tmpfs() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.small_tree();
    let disk = Disk::tmpfs(&scratch, "8m");
    build_on_a_full_disk(&scratch, &disk);
}

#[test]
fn a_full_ext4() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.small_tree();
    if let Some(disk) = Disk::ext4(&scratch, 12, "-O ^has_journal") {
        build_on_a_full_disk(&scratch, &disk);
    }
}

#[test]
fn what_does_not_fit_is_not_there() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let commit = scratch.signed();
    scratch.write("tree/etc/many", vec![5; 60_000]);
    let disk = Disk::tmpfs(&scratch, "1m");
    disk.fill(50_000);
    let before = scratch.listing("disk");
    let line = "image tree disk/tree.pack --threshold 65536";
    scratch.refused(
        ErrorClass::Io,
        line,
        &["cannot write disk/tree.pack", "No space left"],
    );
    let unpack = format!("{} unpack {commit} disk/out", crate::support::STORE);
    let words = [
        "no space left for disk/out/",
        "100008 bytes",
        "nothing incomplete",
        "hint: ",
    ];
    scratch.refused(ErrorClass::Io, &unpack, &words);
    assert_eq!(scratch.listing("disk"), before);
}

#[test]
fn where_fs_verity_is_needed_and_there_is_none() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    for mode in ["", "--mode verity", "--mode sealed"] {
        let line = format!("{} deploy {commit} {mode}", crate::support::STORE);
        let words = [
            "was made without fs-verity",
            "hint: --mode integrity",
            "make a new store",
        ];
        scratch.refused(ErrorClass::Unsupported, &line, &words);
    }
    assert_eq!(scratch.listing("store/deploy"), []);
    // A store that was made where there was fs-verity.
    scratch.write("store/store.toml", "version = 1\nverity = \"kernel\"\n");
    let line = format!("{} verify {commit}", crate::support::STORE);
    let words = ["was made with fs-verity", "does not offer now", "tune2fs"];
    scratch.refused(ErrorClass::Unsupported, &line, &words);
}
