// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects of a release that OSTree has already, and that need not be fetched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use sealroot::adopt::{AdoptError, gather, gather_on};
use sealroot::check::{self, Depth, Severity};
use sealroot::monitor::{Silent, Warnings};
use sealroot::object::Discard;
use sealroot::ostree::{self, FileCheck, ReadOptions, Repository};
use sealroot::release;
use sealroot::spool::Spool;
use sealroot::store::{Store, TransactionSummary, VeritySupport};
use sealroot_format::digest::{CommitId, VerityDigest, compute_verity_digest};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Tree};
use sealroot_testkit::content::bytes;
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble};
use sealroot_testkit::need;
use tempfile::TempDir;

use crate::support::{OBJECTS, Sysroot, THRESHOLD_BYTES, inodes};

/// A commit of nobody's.
fn unknown() -> CommitId {
    CommitId::from_bytes([3; 32])
}

/// The tree of the commit, as that of a release.
fn tree_of(sysroot: &Sysroot) -> Tree {
    let options = ReadOptions {
        threshold_bytes: THRESHOLD_BYTES,
        files: FileCheck::Checksums,
    };
    let spool = Spool::in_temporary_directory();
    let path = sysroot.repository_path();
    let read = ostree::read_commit(&path, "main", &options, &spool, &Discard, &Silent);
    read.unwrap().tree
}

/// Changes the content of a file to other bytes of the same number.
fn change(tree: &mut Tree, path: &str) -> VerityDigest {
    let components = path.split('/').map(str::as_bytes);
    let inode = tree.lookup(components).unwrap();
    let inode = tree.inode_mut(inode);
    let Kind::Regular(FileContent::External { size_bytes, .. }) = inode.kind else {
        panic!("{path} is no object");
    };
    let digest = compute_verity_digest(&bytes(77, usize::try_from(size_bytes).unwrap()));
    inode.kind = Kind::Regular(FileContent::External { digest, size_bytes });
    digest
}

fn gather_from(
    store: &Store,
    repository: &Repository,
    tree: &Tree,
) -> (TransactionSummary, Vec<String>) {
    let warnings = Warnings::default();
    let transaction = store.begin(&Silent).unwrap();
    gather(&transaction, repository, unknown(), tree, &warnings).unwrap();
    let summary = transaction.finish().unwrap();
    let report = check::check(store, Depth::Full, &Silent).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    (summary, warnings.take())
}

/// The objects of a tree that a store has.
fn present(store: &Store, tree: &Tree) -> BTreeSet<VerityDigest> {
    let objects = release::objects(tree).into_iter();
    objects
        .filter(|(digest, size_bytes)| store.open_object(digest, *size_bytes).is_ok())
        .map(|(digest, _)| digest)
        .collect()
}

// Rules: O7
#[test]
fn what_ostree_has_at_the_same_path_is_linked() {
    for mode in ["bare", "bare-user", "bare-user-only"] {
        let Some(sysroot) = Sysroot::new(mode) else {
            return;
        };
        let mut tree = tree_of(&sysroot);
        let other = change(&mut tree, "usr/many/3");
        let theirs = inodes(&sysroot.repository_path().join("objects"));
        let store = sysroot.store();
        let (summary, warnings) = gather_from(&store, &sysroot.repository(), &tree);
        assert_eq!(warnings, [""; 0]);
        assert_eq!(
            (summary.linked_objects, summary.added_objects),
            (OBJECTS - 1, 0),
            "{mode}"
        );
        let objects = release::objects(&tree);
        let mut expected: BTreeSet<_> = objects.into_keys().collect();
        assert!(expected.remove(&other));
        assert_eq!(present(&store, &tree), expected);
        let ours = inodes(&sysroot.store_path().join("objects"));
        assert!(
            ours.keys().all(|inode| theirs.contains_key(inode)),
            "{mode}"
        );
        sysroot.assert_clean();
        let (again, _) = gather_from(&store, &sysroot.repository(), &tree);
        assert_eq!(again.linked_objects, 0);
        assert_eq!(again.present_objects, OBJECTS - 1);
    }
}

#[test]
fn only_what_stands_at_the_same_path_is_looked_at() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let from = tree_of(&sysroot);
    let mut tree = Tree::new(from.inode(InodeId::ROOT).metadata.clone());
    let at = |path: &[&[u8]]| {
        from.inode(from.lookup(path.iter().copied()).unwrap())
            .clone()
    };
    let usr = tree.insert(InodeId::ROOT, b"usr", empty(&from)).unwrap();
    let sizes = tree.insert(usr, b"sizes", empty(&from)).unwrap();
    let large = at(&[b"usr", b"sizes", b"70000"]);
    tree.insert(sizes, b"moved", large).unwrap();
    tree.insert(sizes, b"300000", at(&[b"usr", b"sizes", b"300000"]))
        .unwrap();
    let (summary, _) = gather_from(&sysroot.store(), &sysroot.repository(), &tree);
    assert_eq!(summary.linked_objects, 1);
    assert_eq!(summary.linked_bytes, 300_000);
}

fn empty(like: &Tree) -> Inode {
    let metadata = like.inode(InodeId::ROOT).metadata.clone();
    Inode::new(metadata, Kind::directory())
}

#[test]
fn without_fs_verity_what_others_could_change_is_copied() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let tree = tree_of(&sysroot);
    let objects = walk(&sysroot.repository_path().join("objects"));
    let with_len = |len: u64| {
        let mut files = objects.iter();
        let is_it = |path: &&PathBuf| path.symlink_metadata().unwrap().len() == len;
        files.find(is_it).unwrap()
    };
    std::os::unix::fs::chown(with_len(70_000), Some(1000), None).unwrap();
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(with_len(300_000), writable).unwrap();
    let store = sysroot.store();
    if store.verity() == VeritySupport::None {
        let (summary, _) = gather_from(&store, &sysroot.repository(), &tree);
        let found = (summary.linked_objects, summary.added_objects);
        // Or shared, where the filesystem can.
        assert!(
            [(OBJECTS - 2, 2), (OBJECTS, 0)].contains(&found),
            "{found:?}"
        );
        let theirs = inodes(&sysroot.repository_path().join("objects"));
        let ours = inodes(&sysroot.store_path().join("objects"));
        let both = ours.keys().filter(|inode| theirs.contains_key(inode));
        assert_eq!(both.count() as u64, OBJECTS - 2);
    }
}

#[test]
fn an_archive_has_nothing_to_link() {
    let Some(sysroot) = Sysroot::new("archive") else {
        return;
    };
    let (summary, warnings) =
        gather_from(&sysroot.store(), &sysroot.repository(), &tree_of(&sysroot));
    assert_eq!((summary, warnings), (TransactionSummary::default(), vec![]));
}

#[test]
fn what_is_wrong_in_the_repository_is_only_told() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let tree = tree_of(&sysroot);
    let objects = sysroot.repository_path().join("objects");
    // One file is gone, one is not what OSTree put there, one has become a directory.
    let has_len = |len: u64| {
        let is_it = |path: &PathBuf| {
            let metadata = path.symlink_metadata().unwrap();
            metadata.is_file() && metadata.len() == len
        };
        walk(&objects).into_iter().find(is_it).unwrap()
    };
    fs::remove_file(has_len(300_000)).unwrap();
    fs::write(has_len(70_000), bytes(78, 70_000)).unwrap();
    let directory = has_len(4097);
    fs::remove_file(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    let (summary, warnings) = gather_from(&sysroot.store(), &sysroot.repository(), &tree);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(summary.linked_objects, OBJECTS - 3);

    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let objects = sysroot.repository_path().join("objects");
    let damaged = walk(&objects)
        .into_iter()
        .find(|path| path.extension().is_some_and(|found| found == "dirtree"));
    fs::write(damaged.unwrap(), "damaged").unwrap();
    let (summary, warnings) = gather_from(&sysroot.store(), &sysroot.repository(), &tree);
    assert_eq!(summary, TransactionSummary::default());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("cannot be looked through"),
        "{warnings:?}"
    );
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let below = |entry: std::io::Result<fs::DirEntry>| match entry.unwrap().path() {
        path if path.is_dir() => walk(&path),
        path => vec![path],
    };
    entries.flat_map(below).collect()
}

/// A filesystem in a file.
struct Disk {
    directory: TempDir,
}

impl Disk {
    fn new(megabytes: u64, mkfs: &[&str]) -> Option<Self> {
        need::tool(mkfs[0])?;
        need::tool("ostree")?;
        if !need::root() {
            return None;
        }
        let disk = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let image = disk.directory.path().join("disk.img");
        File::create(&image)
            .unwrap()
            .set_len(megabytes << 20)
            .unwrap();
        fs::create_dir(disk.path()).unwrap();
        let image = image.to_str().unwrap();
        run(&[mkfs, &[image]].concat());
        run(&["mount", "-o", "loop", image, disk.path().to_str().unwrap()]);
        Some(disk)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(&["umount", self.path().to_str().unwrap()]);
    }
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

// Rules: O7
#[test]
fn only_files_that_are_taken_get_fs_verity() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let mut tree = tree_of(&sysroot);
    change(&mut tree, "usr/many/3");
    let io = MemoryDisk::new(true).process(Trouble::None);
    let calls = io.calls();
    let store = Store::open_or_create_on(io).unwrap();
    let before = calls.get();
    let summary = gather_in_memory(&store, &sysroot, &tree).unwrap();
    assert_eq!(summary.linked_objects, OBJECTS - 1);
    let enabled = calls.get().of("enable_verity") - before.of("enable_verity");
    assert_eq!(enabled as u64, OBJECTS - 1);
}

fn gather_in_memory(
    store: &Store<MemoryIo>,
    sysroot: &Sysroot,
    tree: &Tree,
) -> Result<TransactionSummary, AdoptError> {
    let transaction = store.begin(&Silent)?;
    let repository = sysroot.repository();
    gather_on(
        &transaction,
        &repository,
        unknown(),
        tree,
        &|_| Ok(true),
        &Silent,
    )?;
    Ok(transaction.finish()?)
}

#[test]
fn what_fails_on_the_way_is_no_worse_than_what_is_not_found() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let tree = tree_of(&sysroot);
    let before = MemoryDisk::new(true);
    Store::open_or_create_on(before.process(Trouble::None)).unwrap();
    let io = before.copy().process(Trouble::None);
    let calls = io.calls();
    gather_in_memory(&Store::open_on(io).unwrap(), &sysroot, &tree).unwrap();
    let mut went_on = 0;
    for at in (0..=calls.get().all).step_by(2) {
        let disk = before.copy();
        let errno = Errno::IO;
        let result = match Store::open_on(disk.process(Trouble::FailsOnce { at, errno })) {
            Ok(store) => gather_in_memory(&store, &sysroot, &tree).map(drop),
            Err(error) => Err(error.into()),
        };
        went_on += usize::from(result.is_ok());
        let store = Store::open_on(disk.process(Trouble::None)).unwrap();
        let summary = gather_in_memory(&store, &sysroot, &tree).unwrap();
        let there = summary.linked_objects + summary.added_objects + summary.present_objects;
        assert_eq!(there, OBJECTS, "{at}: {result:?}");
        let report = check::check(&store, Depth::Full, &Silent).unwrap();
        let mut findings = report.findings.iter();
        let damage = findings.find(|found| found.code.severity() != Severity::Leftover);
        assert!(damage.is_none(), "{at}: {damage:?}");
    }
    assert!(went_on > 0, "a file that cannot be taken is copied");
}

#[test]
fn what_cannot_be_linked_shares_its_content_or_is_copied() {
    // A subvolume is as another filesystem to links.
    let Some(disk) = Disk::new(256, &["mkfs.btrfs", "-q"]) else {
        return;
    };
    let subvolume = disk.path().join("theirs");
    run(&["btrfs", "subvolume", "create", subvolume.to_str().unwrap()]);
    let sysroot = Sysroot::new_in(&subvolume, "bare").unwrap();
    let tree = tree_of(&sysroot);
    let store = Store::open_or_create(&disk.path().join("store")).unwrap();
    let (summary, _) = gather_from(&store, &sysroot.repository(), &tree);
    assert_eq!(
        (summary.linked_objects, summary.added_objects),
        (OBJECTS, 0)
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(&elsewhere.path().join("store")).unwrap();
    let (summary, _) = gather_from(&store, &sysroot.repository(), &tree);
    assert_eq!(
        (summary.linked_objects, summary.added_objects),
        (0, OBJECTS)
    );
    assert_eq!(present(&store, &tree).len() as u64, OBJECTS);
    sysroot.assert_clean();
}
