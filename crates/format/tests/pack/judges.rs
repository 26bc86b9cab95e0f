// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others say of our images: `fsck.erofs` and the kernel.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::{Entry, EntryKind, Pack, Visit, check};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree, Xattr, XattrSet};
use sealroot_testkit::trees::{split, trees};
use sealroot_testkit::{need, on_disk};

use crate::mount::{self, Mount};
use crate::written;

/// The same random trees in every run.
pub(crate) fn samples(count: usize, max_entries: usize) -> impl Iterator<Item = Tree> {
    let mut runner = TestRunner::deterministic();
    let strategy = trees(max_entries);
    (0..count).map(move |_| {
        strategy
            .new_tree(&mut runner)
            .expect("no local rejects")
            .current()
    })
}

fn fsck(fsck: &Path, arguments: &[&str], image: &Path) {
    let output = Command::new(fsck)
        .args(arguments)
        .arg(image)
        .output()
        .expect("fsck.erofs runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", said.escape_ascii());
}

/// The tree with no object so large that a tool which reads every block of its hole never ends.
fn with_small_objects(tree: &Tree) -> Tree {
    const MOST_BYTES: u64 = 16 << 20;
    let mut tree = tree.clone();
    let ids: Vec<InodeId> = tree.inodes().map(|(id, _)| id).collect();
    for id in ids {
        if let Kind::Regular(FileContent::External { size_bytes, .. }) =
            &mut tree.inode_mut(id).kind
        {
            *size_bytes = (*size_bytes).min(MOST_BYTES);
        }
    }
    tree
}

/// What the kernel shows of an inode is what its entry says.
fn compare(pack: &Pack<&Vec<u8>>, entry: &Entry, path: &Path) {
    let found = path.symlink_metadata().expect("lstat");
    let shown = path.display();
    let mode = u32::from(entry.stored_mode());
    assert_eq!(found.mode(), mode, "{shown}");
    assert_eq!(found.nlink(), u64::from(entry.nlink), "{shown}");
    let Metadata {
        uid,
        gid,
        mtime,
        xattrs: _,
        permissions: _,
    } = entry.metadata;
    assert_eq!((found.uid(), found.gid()), (uid, gid), "{shown}");
    let found_mtime = (found.mtime(), found.mtime_nsec());
    assert_eq!(
        found_mtime,
        (mtime.seconds, mtime.nanoseconds.into()),
        "{shown}"
    );

    let may_be_user = matches!(mode >> 12, 0o4 | 0o10);
    let visible = |xattr: &Xattr| {
        let name = &*xattr.name;
        (may_be_user || !name.starts_with(b"user."))
            && (mode >> 12 != 0o12 || !name.starts_with(b"system."))
    };
    let expected: Vec<Xattr> = entry.stored_xattrs().into_iter().filter(visible).collect();
    let found_xattrs = on_disk::xattrs(path).expect("xattrs");
    assert!(
        found_xattrs.iter().eq(&expected),
        "{shown}: {found_xattrs:?} {expected:?}"
    );

    match &entry.kind {
        EntryKind::Inline { .. } => {
            let mut content = Vec::new();
            let mut buffer = [0; 1000];
            loop {
                let len = pack
                    .read(entry, content.len() as u64, &mut buffer)
                    .expect("read");
                content.extend_from_slice(&buffer[..len]);
                if len == 0 {
                    break;
                }
            }
            assert!(fs::read(path).expect("read") == content, "{shown}");
        }
        EntryKind::External { size_bytes, .. } => assert_eq!(found.len(), *size_bytes, "{shown}"),
        EntryKind::Symlink(target) => {
            let found = fs::read_link(path).expect("readlink");
            assert_eq!(found.as_os_str().as_bytes(), &**target, "{shown}");
        }
        EntryKind::CharDevice(device) | EntryKind::BlockDevice(device) => {
            let rdev = rustix::fs::makedev(device.major, device.minor);
            assert_eq!(found.rdev(), rdev, "{shown}");
        }
        EntryKind::Directory { .. } => {
            let names = pack.names(entry).map(|name| name.expect("a name").name);
            let mut found: Vec<Box<[u8]>> = fs::read_dir(path)
                .expect("readdir")
                .map(|entry| entry.expect("an entry").file_name().as_bytes().into())
                .collect();
            found.sort();
            assert!(names.eq(found), "{shown}");
        }
        EntryKind::Fifo | EntryKind::Socket => {}
    }
}

// Rules: P8, P13, P15, P17, P18
#[test]
fn the_kernel_shows_what_was_written() {
    if !mount::possible() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let image = directory.path().join("image");
    for (index, tree) in samples(40, 60).enumerate() {
        let threshold = [0, 64, 4096, 65_536][index % 4];
        let bytes = written(&split(&tree, threshold), threshold);
        fs::write(&image, &bytes).expect("written");
        let mount = Mount::erofs(&image);
        let pack = Pack::open(&bytes).expect("a pack");
        let mut walk = pack.walk();
        let mut first_inodes = HashMap::new();
        while let Some(step) = walk.next().expect("a valid pack") {
            let path = mount.path(step.path);
            let found = path.symlink_metadata().expect("lstat").ino();
            match step.visit {
                Visit::Entry(entry) => {
                    compare(&pack, &entry, &path);
                    first_inodes.insert(entry.nid, found);
                }
                Visit::Link(nid) => assert_eq!(first_inodes.get(&nid), Some(&found)),
            }
        }
    }
}

/// What random trees do not reach: a huge directory, more xattrs than can be shared, more than one
/// block of them, files of petabytes.
fn extreme() -> Tree {
    let xattrs = |count: usize, len: usize| {
        let xattr = |number| Xattr {
            name: format!("user.{number:03}").into_bytes().into(),
            value: vec![b'v'; len].into(),
        };
        XattrSet::from_unsorted((0..count).map(xattr).collect()).expect("within bounds")
    };
    let with_xattrs = |xattrs| Metadata {
        permissions: 0o755,
        xattrs,
        ..Metadata::default()
    };
    let none = || with_xattrs(XattrSet::new());
    let content = |len| Kind::Regular(FileContent::Inline(vec![b'c'; len].into()));
    let mut tree = Tree::new(with_xattrs(xattrs(2, 3000)));
    let mut add = |parent, name: &str, metadata, kind| {
        let inode = Inode::new(metadata, kind);
        tree.insert(parent, name.as_bytes(), inode)
            .expect("inserted")
    };
    let huge = add(InodeId::ROOT, "huge", none(), Kind::directory());
    for number in 0..120_000 {
        let kind = if number % 10_000 == 0 {
            Kind::directory()
        } else {
            Kind::Fifo
        };
        add(
            huge,
            &format!("{:0width$}", number, width = number % 200 + 1),
            none(),
            kind,
        );
    }
    for name in ["shared-1", "shared-2"] {
        add(
            InodeId::ROOT,
            name,
            with_xattrs(xattrs(300, 20)),
            content(10),
        );
    }
    for (name, len) in [("x-1", 4000), ("x-2", 30_000), ("x-3", 60_000)] {
        add(
            InodeId::ROOT,
            name,
            with_xattrs(xattrs(3, len)),
            content(4095),
        );
        let link = Kind::Symlink(vec![b'l'; 4095].into());
        let security = Xattr {
            name: b"security.x".as_slice().into(),
            value: vec![b's'; len].into(),
        };
        let security = XattrSet::from_unsorted(vec![security]).expect("within bounds");
        add(
            InodeId::ROOT,
            &format!("{name}-link"),
            with_xattrs(security),
            link,
        );
    }
    for bits in [17, 32, 43, 44, 53] {
        let digest = VerityDigest::from_bytes([bits; 32]);
        let size_bytes = 1 << bits;
        let kind = Kind::Regular(FileContent::External { digest, size_bytes });
        add(InodeId::ROOT, &format!("external-{bits}"), none(), kind);
    }
    tree
}

// Rules: P10, P13, P16
#[test]
fn extremes_are_accepted() {
    let Some(tool) = need::tool("fsck.erofs") else {
        return;
    };
    let tree = extreme();
    let bytes = written(&tree, 4096);
    let checked = check(bytes.clone()).expect("a valid pack");
    assert!(checked.tree == tree);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let image = directory.path().join("image");
    fs::write(&image, &bytes).expect("written");
    let output = Command::new(&tool)
        .arg(&image)
        .output()
        .expect("fsck.erofs runs");
    assert!(output.status.success(), "{}", output.stdout.escape_ascii());
    if !mount::possible() {
        return;
    }
    let mount = Mount::erofs(&image);
    let pack = Pack::open(&bytes).expect("a pack");
    let mut walk = pack.walk();
    let mut number = 0;
    while let Some(step) = walk.next().expect("a valid pack") {
        number += 1;
        if let Visit::Entry(entry) = step.visit
            && (step.depth < 2 || number % 1000 == 0)
        {
            compare(&pack, &entry, &mount.path(step.path));
        }
    }
}

#[test]
fn fsck_accepts_every_image() {
    let Some(tool) = need::tool("fsck.erofs") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let image = directory.path().join("image");
    for tree in samples(40, 60) {
        for threshold in [0, 64, 4096, 65_536] {
            let tree = split(&tree, threshold);
            fs::write(&image, written(&tree, threshold)).expect("written");
            fsck(&tool, &[], &image);
            fs::write(&image, written(&with_small_objects(&tree), threshold)).expect("written");
            fsck(&tool, &["--extract"], &image);
        }
    }
}
