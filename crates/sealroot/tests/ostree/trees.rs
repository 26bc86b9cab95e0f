// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree that is read is the tree that was committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use sealroot_format::ErrorClass;
use sealroot_format::tree::{FileContent, Kind};
use sealroot_testkit::need;

use crate::entries::{Entries, Objects, assert_same, of_directory, of_tree};
use crate::repositories::{
    MODES, Repositories, THRESHOLD_BYTES, make_everything, make_random, ostree,
};

const MOUNT_POINTS: [&str; 9] = [
    "boot", "dev", "etc", "proc", "run", "sys", "sysroot", "tmp", "var",
];

/// Takes the added mount points out, which must be as they should be.
fn without_mount_points(mut entries: Entries, committed: &Entries) -> Entries {
    for name in MOUNT_POINTS {
        let path = format!("/{name}").into_bytes();
        if committed.contains_key(&path) {
            continue;
        }
        let added = entries.remove(&path).expect("a mount point");
        let mode = if name == "tmp" { 0o041_777 } else { 0o040_755 };
        assert_eq!((added.mode, added.uid, added.gid), (mode, 0, 0), "{name}");
        assert!(added.xattrs.is_empty());
    }
    entries
}

/// Reads from all modes and compares with what `ostree` checks out.
fn check_all_modes(make: impl FnOnce(&Path)) -> Option<()> {
    let repositories = Repositories::new(make)?;
    let checkout = repositories.path("checkout");
    ostree(
        &repositories.path("bare"),
        &["checkout", "test", checkout.to_str().unwrap()],
    );
    let checked_out = of_directory(&checkout);
    let mut source = of_directory(&repositories.source());
    for entry in source.values_mut() {
        // OSTree does not see xattrs without a value.
        entry.xattrs.retain(|(_, value)| !value.0.is_empty());
    }
    assert_same(&source, &checked_out);
    let mut trees = Vec::new();
    for mode in MODES {
        let objects = Objects::default();
        let read = repositories.read(mode, &objects).unwrap();
        assert_eq!(read.commit.to_hex(), repositories.commit);
        assert_eq!(read.info.version.as_deref(), Some("12.5"));
        assert_eq!(read.info.kernel.as_deref(), Some("6.12.1"));
        assert_eq!(read.info.architecture, None);
        assert_eq!(read.info.subject, "A subject");
        assert!(read.info.timestamp_seconds > 1_500_000_000);
        let entries = without_mount_points(of_tree(&read.tree, &objects), &checked_out);
        assert_same(&entries, &checked_out);
        check_listing(&repositories, mode, &entries);
        trees.push(read.tree);
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
    Some(())
}

/// Compares with what `ostree ls` says: type, mode, owner, size and path of all entries.
fn check_listing(repositories: &Repositories, mode: &str, entries: &Entries) {
    let output = ostree(&repositories.path(mode), &["ls", "-R", "-C", "-X", "test"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut listed = BTreeMap::new();
    for line in text.lines() {
        let (attributes, path) = line.split_once(" } ").unwrap();
        let (attributes, xattrs) = attributes.split_once(" { ").unwrap();
        let fields: Vec<&str> = attributes.split_whitespace().collect();
        let path = path.split_once(" -> ").map_or(path, |(path, _)| path);
        let xattrs = if xattrs.starts_with('@') {
            0
        } else {
            xattrs.matches("(b").count()
        };
        let fields = (
            fields[0].to_owned(),
            fields[1].to_owned(),
            fields[2].to_owned(),
            fields[3].to_owned(),
        );
        listed.insert(path.as_bytes().to_vec(), (fields, xattrs));
    }
    assert_eq!(listed.len(), entries.len());
    for (path, entry) in entries {
        let (kind, size) = match entry.mode & 0o170_000 {
            0o040_000 => ('d', 0),
            0o120_000 => ('l', 0),
            _ => ('-', entry.content.0.len()),
        };
        let fields = (
            format!("{kind}{:05o}", entry.mode & 0o7777),
            entry.uid.to_string(),
            entry.gid.to_string(),
            size.to_string(),
        );
        assert_eq!(
            listed[path],
            (fields, entry.xattrs.len()),
            "{}",
            path.escape_ascii()
        );
    }
}

#[test]
fn everything_that_ostree_carries_is_read_alike_from_all_modes() {
    check_all_modes(make_everything);
}

#[test]
fn random_trees_are_read_alike_from_all_modes() {
    for seed in 0..5 {
        if check_all_modes(|root| make_random(root, seed)).is_none() {
            return;
        }
    }
}

#[test]
fn large_files_go_to_the_sink_and_only_when_it_lacks_them() {
    let Some(repositories) = Repositories::new(make_everything) else {
        return;
    };
    for mode in MODES {
        let objects = Objects::default();
        let tree = repositories.read(mode, &objects).unwrap().tree;
        let mut external = 0;
        for (_, inode) in tree.inodes() {
            match &inode.kind {
                Kind::Regular(FileContent::Inline(content)) => {
                    assert!(content.size_bytes() <= THRESHOLD_BYTES.into());
                }
                Kind::Regular(FileContent::External { size_bytes, .. }) => {
                    assert!(*size_bytes > THRESHOLD_BYTES.into());
                    external += 1;
                }
                _ => {}
            }
        }
        // 7 sizes above the threshold, random and zeros, one more name, and one file with xattrs.
        assert_eq!(external, 2 * 7 + 2, "{mode}");
        assert_eq!(objects.kept.lock().unwrap().len(), 2 * 7 + 1, "{mode}");
        // Those of more than 4 MiB are not held: they are read again, once.
        assert_eq!(objects.streamed.load(Ordering::Relaxed), 2, "{mode}");
        let again = repositories.read(mode, &objects).unwrap().tree;
        assert_eq!(objects.streamed.load(Ordering::Relaxed), 2, "{mode}");
        assert_eq!(tree, again);
    }
}

#[test]
fn objects_are_named_by_their_fs_verity_digest() {
    let (Some(repositories), Some(fsverity)) =
        (Repositories::new(make_everything), need::tool("fsverity"))
    else {
        return;
    };
    let objects = Objects::default();
    repositories.read("archive", &objects).unwrap();
    let path = repositories.path("object");
    for (digest, bytes) in &*objects.kept.lock().unwrap() {
        fs::write(&path, bytes).unwrap();
        let output = Command::new(&fsverity)
            .args(["digest", "--compact"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim(),
            digest.to_hex()
        );
    }
}

#[test]
fn names_at_the_root_stay_as_they_are() {
    let committed = |root: &Path| {
        fs::create_dir_all(root.join("usr/etc/defaults")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::create_dir(root.join("ostree")).unwrap();
        fs::create_dir(root.join("sysroot")).unwrap();
        fs::write(root.join("var"), b"a file").unwrap();
        std::os::unix::fs::symlink("sysroot/tmp", root.join("tmp")).unwrap();
        std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    };
    check_all_modes(committed);
}

#[test]
fn a_tree_with_two_sets_of_defaults_is_refused() {
    let Some(repositories) = Repositories::new(|root| {
        fs::create_dir_all(root.join("usr/etc")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/fstab"), b"").unwrap();
    }) else {
        return;
    };
    for mode in MODES {
        let error = repositories.read(mode, &Objects::default()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unsupported);
        assert!(error.to_string().contains("/usr/etc"), "{error}");
    }
}
