// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pack under overlayfs, with its objects: the tree as a booted system sees it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sealroot_format::tree::{
    DeviceNumber, FileContent, Inode, InodeId, Kind, Metadata, Tree, Xattr, XattrSet,
};
use sealroot_testkit::on_disk;
use sealroot_testkit::trees::split;

use crate::judges::samples;
use crate::mount::{self, Mount};
use crate::written;

/// Puts the content of all files of `source` that are external in `tree` into `objects`.
fn store(tree: &Tree, source: &Path, objects: &Path) {
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        if let Kind::Regular(FileContent::External { digest, .. }) = &tree.inode(id).kind {
            let name = digest.to_hex();
            let directory = objects.join(&name[..2]);
            fs::create_dir_all(&directory).expect("created");
            let path = source.join(OsStr::from_bytes(&path[1..]));
            fs::copy(path, directory.join(format!("{}.file", &name[2..]))).expect("copied");
        }
    }
}

/// The tree as it looks under overlayfs: whiteouts are what an overlay inside takes for whiteouts.
fn seen(tree: &Tree) -> Tree {
    let mut seen = tree.clone();
    let whiteouts: Vec<_> = tree
        .inodes()
        .filter(|(_, inode)| inode.is_whiteout())
        .collect();
    for (id, _) in whiteouts {
        let inode = seen.inode_mut(id);
        inode.kind = Kind::Regular(FileContent::Inline(Vec::new().into()));
        add_xattrs(
            inode,
            &[
                ("trusted.overlay.whiteout", ""),
                ("user.overlay.whiteout", ""),
            ],
        );
    }
    for (id, inode) in tree.inodes() {
        let names = inode
            .as_directory()
            .into_iter()
            .flat_map(sealroot_format::tree::Directory::iter);
        if names
            .map(|(_, child)| child)
            .any(|child| tree.inode(child).is_whiteout())
        {
            let added = [
                ("trusted.overlay.opaque", "x"),
                ("trusted.overlay.whiteouts", ""),
                ("user.overlay.opaque", "x"),
                ("user.overlay.whiteouts", ""),
            ];
            add_xattrs(seen.inode_mut(id), &added);
        }
    }
    seen
}

fn add_xattrs(inode: &mut Inode, added: &[(&str, &str)]) {
    let added = added.iter().map(|(name, value)| Xattr {
        name: name.as_bytes().into(),
        value: value.as_bytes().into(),
    });
    let xattrs = inode.metadata.xattrs.iter().cloned().chain(added).collect();
    inode.metadata.xattrs = XattrSet::from_unsorted(xattrs).expect("they are new");
}

// Rules: P19, P21
#[test]
fn an_overlay_shows_the_tree() {
    if !mount::possible() {
        return;
    }
    for (index, sample) in samples(40, 60).enumerate() {
        let threshold = [0, 64, 4096, 65_536][index % 4];
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (source, objects) = (
            directory.path().join("source"),
            directory.path().join("objects"),
        );
        fs::create_dir(&source).expect("created");
        fs::create_dir(&objects).expect("created");
        on_disk::write(&small_files(sample), &source).expect("written");
        let tree = on_disk::read(&source).expect("read");
        let tree = split(&tree, threshold);
        store(&tree, &source, &objects);
        let image = directory.path().join("image");
        fs::write(&image, written(&tree, threshold)).expect("written");
        let image = Mount::erofs(&image);
        let overlay = Mount::overlay(&image, &objects);
        let found = on_disk::read(overlay.root()).expect("read");
        let (found, expected) = (split(&found, threshold), seen(&tree));
        assert!(
            found == expected,
            "sample {index}: {found:#?} {expected:#?}"
        );
    }
}

/// Without external files of terabytes.
fn small_files(mut tree: Tree) -> Tree {
    let ids: Vec<_> = tree.inodes().map(|(id, _)| id).collect();
    for id in ids {
        if let Kind::Regular(FileContent::External { size_bytes, .. }) =
            &mut tree.inode_mut(id).kind
        {
            *size_bytes = 65_537 + *size_bytes % 1_000_000;
        }
    }
    tree
}

// Rules: P22, P23
#[test]
fn whiteouts_work_in_an_overlay_inside() {
    if !mount::possible() {
        return;
    }
    let mut tree = Tree::new(Metadata::default());
    let inode = |kind| {
        let permissions = 0o755;
        Inode::new(
            Metadata {
                permissions,
                ..Metadata::default()
            },
            kind,
        )
    };
    let file = |text: &str| Kind::Regular(FileContent::Inline(text.as_bytes().into()));
    let mut add = |parent, name: &str, kind| {
        tree.insert(parent, name.as_bytes(), inode(kind))
            .expect("inserted")
    };
    let upper = add(InodeId::ROOT, "upper", Kind::directory());
    let lower = add(InodeId::ROOT, "lower", Kind::directory());
    let upper_sub = add(upper, "sub", Kind::directory());
    let lower_sub = add(lower, "sub", Kind::directory());
    for directory in [lower, lower_sub] {
        add(directory, "gone", file("lower"));
        add(directory, "kept", file("lower"));
    }
    for directory in [upper, upper_sub] {
        add(directory, "gone", Kind::CharDevice(DeviceNumber::WHITEOUT));
        add(directory, "new", file("upper"));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let image = directory.path().join("image");
    fs::write(&image, written(&tree, 64)).expect("written");
    let image = Mount::erofs(&image);
    let overlay = Mount::overlay(&image, directory.path());
    for flags in [&[][..], &["userxattr"]] {
        let inside = Mount::stack(&overlay.path(b"/upper"), &overlay.path(b"/lower"), flags);
        for path in [&b"/"[..], b"/sub"] {
            let mut names: Vec<_> = fs::read_dir(inside.path(path))
                .expect("readdir")
                .map(|entry| entry.expect("an entry").file_name())
                .filter(|name| name != "sub")
                .collect();
            names.sort();
            assert_eq!(names, ["kept", "new"], "{flags:?}");
        }
        assert!(!inside.path(b"/sub/gone").exists());
    }
}
