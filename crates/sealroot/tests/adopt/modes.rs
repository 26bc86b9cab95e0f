// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every mode of repository: what is linked, what is written, and that OSTree notices nothing.

use std::fs;

use sealroot::adopt::AdoptError;
use sealroot::check::{self, Depth};
use sealroot::etc;
use sealroot::monitor::Silent;
use sealroot::object::Discard;
use sealroot::ostree::{self, FileCheck, ReadOptions};
use sealroot::spool::Spool;
use sealroot_format::limits::DEFAULT_THRESHOLD_BYTES;
use sealroot_format::tree::dump;

use crate::support::{OBJECTS, Sysroot, inodes};

fn adopt_in(mode: &str) {
    let Some(sysroot) = Sysroot::new(mode) else {
        return;
    };
    let theirs = sysroot.repository_path().join("objects");
    let before = inodes(&theirs);
    let adopted = sysroot.adopt(None).unwrap();
    assert_eq!(adopted.objects.linked_objects, OBJECTS, "{mode}");
    assert_eq!(adopted.objects.added_objects, 0, "{mode}: written");
    assert!(adopted.copied.is_empty() && adopted.is_new);
    let ours = inodes(&sysroot.store_path().join("objects"));
    assert_eq!(ours.len() as u64, OBJECTS);
    for (inode, links) in &ours {
        assert!(before.contains_key(inode), "{mode}: not OSTree's file");
        assert!(*links >= 2);
    }
    sysroot.assert_clean();
    let store = sysroot.store();
    let report = check::check(&store, Depth::Full, &Silent).unwrap();
    assert!(report.findings.is_empty(), "{mode}: {:?}", report.findings);
    // Once more: nothing is left to do.
    let again = sysroot.adopt(None).unwrap();
    assert_eq!(again.pack, adopted.pack);
    assert!(!again.is_new);
    assert_eq!(again.objects.linked_objects, 0);
    assert_eq!(again.objects.present_objects, OBJECTS);
    assert_eq!(inodes(&theirs).len(), before.len());
}

#[test]
fn a_bare_repository_is_linked() {
    adopt_in("bare");
}

#[test]
fn a_bare_user_repository_is_linked_and_its_symlinks_are_not() {
    adopt_in("bare-user");
}

#[test]
fn a_bare_user_only_repository_is_linked() {
    adopt_in("bare-user-only");
}

#[test]
fn an_archive_is_refused() {
    let Some(sysroot) = Sysroot::new("archive") else {
        return;
    };
    let error = sysroot.adopt(None).unwrap_err();
    assert!(matches!(error, AdoptError::Compressed { .. }), "{error}");
    assert!(inodes(&sysroot.store_path().join("objects")).is_empty());
}

#[test]
fn content_and_metadata_of_the_files_stay() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let objects = sysroot.repository_path().join("objects");
    let look = || {
        let mut found = Vec::new();
        for directory in fs::read_dir(&objects).unwrap() {
            for object in fs::read_dir(directory.unwrap().path()).unwrap() {
                let path = object.unwrap().path();
                let stat = path.symlink_metadata().unwrap();
                let bytes = stat.is_file().then(|| fs::read(&path).unwrap());
                found.push((
                    path,
                    stat.mode(),
                    stat.uid(),
                    stat.mtime(),
                    stat.size(),
                    bytes,
                ));
            }
        }
        found.sort();
        found
    };
    let before = look();
    sysroot.adopt(None).unwrap();
    assert!(look() == before, "OSTree's files are not what they were");
}

#[test]
fn the_default_etc_of_a_commit_is_read_without_the_rest() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let repository = sysroot.repository();
    let commit = repository.commit(sysroot.commit).unwrap();
    let options = ReadOptions {
        threshold_bytes: DEFAULT_THRESHOLD_BYTES,
        files: FileCheck::Checksums,
    };
    let spool = Spool::in_temporary_directory();
    let whole = ostree::read_tree(&repository, &commit, &options, &spool, &Discard, &Silent);
    let whole = etc::default_of(&whole.unwrap().tree).unwrap();
    // What is not of it need not even be there.
    let objects = sysroot.repository_path().join("objects");
    for directory in fs::read_dir(objects).unwrap() {
        for object in fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = object.unwrap().path();
            let is_file = path
                .extension()
                .is_some_and(|extension| extension == "file");
            if is_file && path.metadata().is_ok_and(|stat| stat.len() > 4096) {
                fs::remove_file(path).unwrap();
            }
        }
    }
    let tree = ostree::read_etc(&repository, &commit, &Silent).unwrap();
    let default = etc::default_of(&tree).unwrap();
    assert!(default.lookup([&b"config"[..]]).is_some());
    assert_eq!(
        dump::digest(&default).unwrap(),
        dump::digest(&whole).unwrap()
    );
}
