// SPDX-License-Identifier: MIT OR Apache-2.0
//! What cannot be unpacked leaves nothing behind.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use sealroot::monitor::{Silent, Warnings};
use sealroot::release;
use sealroot::store::object_path;
use sealroot::unpack::{UnpackError, unpack};
use sealroot_format::ErrorClass;
use sealroot_format::tree::{InodeId, Metadata, Tree};
use sealroot_testkit::need;

use crate::support::Scratch;

/// Unpacks into `out`, which fails; the error and its causes.
fn refusal(scratch: &Scratch, tree: &Tree, out: &Path) -> (UnpackError, String) {
    let warnings = Warnings::default();
    let error = unpack(tree, Some(&scratch.store()), out, &warnings).expect_err("refused");
    assert_eq!(warnings.take(), [""; 0]);
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    let place = scratch.directory.path().to_str().expect("plain");
    (error, message.replace(place, "PLACE"))
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    let out = scratch.path("out");
    fs::create_dir(&out).expect("a directory");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o750)).expect("chmod");
    fs::write(out.join("mine"), "mine").expect("a file");
    let (error, message) = refusal(&scratch, &tree, &out);
    assert_eq!(error.class(), ErrorClass::Usage);
    assert_eq!(
        message,
        "PLACE/out is not empty: it has \"mine\" in it; give an empty or a new directory"
    );
    assert_eq!(fs::read_to_string(out.join("mine")).expect("still"), "mine");
    assert_eq!(fs::metadata(&out).expect("there").mode() & 0o7777, 0o750);

    let (error, _) = refusal(&scratch, &tree, &out.join("mine"));
    assert_eq!(error.class(), ErrorClass::Io);
    let (error, _) = refusal(&scratch, &tree, &scratch.path("none/out"));
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[test]
fn an_interrupted_unpacking_is_named() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    fs::create_dir(scratch.path("out.partial")).expect("a directory");
    let (error, message) = refusal(&scratch, &tree, &scratch.path("out"));
    assert_eq!(error.class(), ErrorClass::Busy);
    assert!(message.starts_with("PLACE/out.partial exists"), "{message}");
    assert_eq!(scratch.names(), ["out.partial"]);
}

#[test]
fn objects_are_looked_for_before_anything_is_written() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    let (digest, _) = release::objects(&tree).pop_last().expect("an object");
    let path = scratch.path("store").join(object_path(&digest).to_string());
    fs::remove_file(path).expect("removed");
    let (error, message) = refusal(&scratch, &tree, &scratch.path("out"));
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(
        message.contains("/usr/bin/") && message.contains("does not exist"),
        "{message}"
    );
    assert_eq!(scratch.names(), [""; 0]);

    let error = unpack(&tree, None, &scratch.path("out"), &Silent).expect_err("no store");
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(error.to_string().contains("no store was found"), "{error}");
}

#[test]
fn a_changed_object_is_not_given_out() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    let (digest, _) = release::objects(&tree).pop_last().expect("an object");
    let path = scratch.path("store").join(object_path(&digest).to_string());
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("opens");
    file.write_all_at(b"evil", 60_000)
        .expect("no fs-verity here");
    let existing = scratch.path("existing");
    fs::create_dir(&existing).expect("a directory");
    fs::set_permissions(&existing, fs::Permissions::from_mode(0o710)).expect("chmod");
    std::os::unix::fs::chown(&existing, Some(12), Some(34)).expect("chown");
    for out in [scratch.path("out"), existing.clone()] {
        let (error, message) = refusal(&scratch, &tree, &out);
        assert_eq!(error.class(), ErrorClass::Untrusted);
        assert!(message.contains(&format!("expected {digest}")), "{message}");
    }
    assert_eq!(scratch.names(), ["existing"]);
    assert_eq!(fs::read_dir(&existing).expect("there").count(), 0);
    let found = fs::metadata(&existing).expect("there");
    assert_eq!(
        (found.mode() & 0o7777, found.uid(), found.gid()),
        (0o710, 12, 34)
    );
}

#[test]
fn a_full_filesystem_is_left_as_it_was() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    let small = scratch.path("small");
    fs::create_dir(&small).expect("a directory");
    let _mounted = Tmpfs::mount(&small, "size=100k");
    for out in [small.join("out"), small.clone()] {
        let (error, message) = refusal(&scratch, &tree, &out);
        assert!(matches!(error, UnpackError::NoSpace { .. }), "{message}");
        assert!(message.contains("140005 bytes"), "{message}");
        assert_eq!(fs::read_dir(&small).expect("there").count(), 0);
    }
}

#[test]
fn an_attribute_that_the_filesystem_lacks_is_named() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let mut tree = scratch.small_tree();
    let id = tree.lookup([&b"usr"[..], b"small"]).expect("it is there");
    let xattr = sealroot_format::tree::Xattr {
        name: (*b"system.nonsense").into(),
        value: (*b"x").into(),
    };
    tree.inode_mut(id).metadata.xattrs =
        sealroot_format::tree::XattrSet::from_unsorted(vec![xattr]).expect("a set");
    let (error, message) = refusal(&scratch, &tree, &scratch.path("out"));
    assert_eq!(error.class(), ErrorClass::Unsupported);
    assert!(
        message.contains("\"system.nonsense\" of PLACE/out/usr/small"),
        "{message}"
    );
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn an_owner_that_no_file_has_is_refused() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let mut tree = Tree::new(Metadata::default());
    tree.inode_mut(InodeId::ROOT).metadata.gid = u32::MAX;
    let (error, message) = refusal(&scratch, &tree, &scratch.path("out"));
    assert_eq!(error.class(), ErrorClass::Unsupported);
    assert!(
        message.starts_with("/: the group is 4294967295"),
        "{message}"
    );
}

/// A small filesystem, unmounted in the end.
struct Tmpfs<'p>(&'p Path);

impl<'p> Tmpfs<'p> {
    fn mount(place: &'p Path, options: &str) -> Self {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "small"])
            .arg(place)
            .status();
        assert!(mount.expect("mount starts").success());
        Self(place)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        assert!(unmounted.expect("umount starts").success());
    }
}
