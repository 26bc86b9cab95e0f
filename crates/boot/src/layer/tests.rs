// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both forms of the metadata layer, made by the kernel of this machine from the same packs, are
//! the same to the last attribute.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::mount::UnmountFlags;
use sealroot_format::limits::DEFAULT_THRESHOLD_BYTES;
use sealroot_format::pack::{Pack as PackReader, write_pack};
use sealroot_format::tree::{Inode, InodeId, Kind, Metadata, Tree, Xattr, XattrSet, dump};
use sealroot_sys::mount::{attach, fd_path};
use sealroot_testkit::{need, trees};

use super::{make_read_only, tmpfs, unpack};

/// An inode as a filesystem shows it; a directory's link count is the filesystem's affair.
#[derive(Debug, PartialEq)]
struct Shown {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    device: u64,
    links: u64,
    size_bytes: u64,
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All paths below `root` and what they show.
fn listing(root: &Path) -> BTreeMap<PathBuf, Shown> {
    let mut list = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let shown = show(&path, path == root);
        if shown.mode & 0o170_000 == 0o040_000 {
            let entries = fs::read_dir(&path).expect("a directory");
            todo.extend(entries.map(|entry| entry.expect("a name").path()));
        }
        let relative = path.strip_prefix(root).expect("it is below").to_owned();
        list.insert(relative, shown);
    }
    list
}

fn show(path: &Path, is_root: bool) -> Shown {
    // The root itself is a link in /proc.
    let path = if is_root { &path.join(".") } else { path };
    let stat = fs::symlink_metadata(path).expect("it is there");
    let (is_file, is_directory) = (stat.is_file(), stat.is_dir());
    let content = if stat.is_symlink() {
        let target = fs::read_link(path).expect("a symlink");
        target.as_os_str().as_bytes().to_vec()
    } else if is_file && stat.len() <= u64::from(DEFAULT_THRESHOLD_BYTES) {
        fs::read(path).expect("a file")
    } else {
        Vec::new()
    };
    Shown {
        mode: stat.mode(),
        owner: (stat.uid(), stat.gid()),
        mtime: (stat.mtime(), stat.mtime_nsec()),
        device: stat.rdev(),
        links: if is_directory { 0 } else { stat.nlink() },
        size_bytes: if is_directory { 0 } else { stat.len() },
        content,
        xattrs: xattrs(path),
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).expect("a list");
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("a value");
        value.truncate(len);
        value
    };
    names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| (name.to_vec(), value(name)))
        .collect()
}

/// Writes the pack of a tree, brings it up both ways, and compares.
fn compare(tree: &Tree) {
    let mut pack = tempfile::NamedTempFile::new().expect("a file");
    write_pack(tree, DEFAULT_THRESHOLD_BYTES, &mut pack).expect("a pack");
    pack.flush().expect("it is written");

    let file = File::open(pack.path()).expect("a file");
    let mounted = sealroot_sys::erofs::mount(file.as_fd()).expect("the kernel mounts the pack");

    let reader = PackReader::open(&file).expect("a pack");
    let unpacked = tmpfs(64 << 20, reader.entries()).expect("a tmpfs");
    let written = unpack::unpack(&reader, unpacked.as_fd()).expect("the pack unpacks");
    make_read_only(unpacked.as_fd()).expect("it becomes read-only");

    assert_eq!(dump::digest(&written).unwrap(), dump::digest(tree).unwrap());
    let place = |fd| PathBuf::from(fd_path(fd));
    let (unpacked_path, mounted_path) = (place(unpacked.as_fd()), place(mounted.as_fd()));
    assert_eq!(listing(&unpacked_path), listing(&mounted_path));
    let refused = fs::write(unpacked_path.join("new"), b"").expect_err("it is read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

/// Takes away what no Linux filesystem has: owners that mean "unchanged", `user.` xattrs on what
/// is neither file nor directory, ACLs that contradict the mode, modes of symlinks.
fn as_linux_has_it(mut tree: Tree) -> Tree {
    let ids: Vec<InodeId> = tree.inodes().map(|(id, _)| id).collect();
    for id in ids {
        let inode = tree.inode_mut(id);
        let takes_user = matches!(inode.kind, Kind::Regular(_) | Kind::Directory(_));
        let kept = inode.metadata.xattrs.iter().filter(|xattr| {
            let is_acl = xattr.name.starts_with(b"system.");
            let is_user = xattr.name.starts_with(b"user.");
            !is_acl && (takes_user || !is_user)
        });
        let kept: Vec<Xattr> = kept.cloned().collect();
        inode.metadata.xattrs = XattrSet::from_unsorted(kept).expect("fewer than before");
        if matches!(inode.kind, Kind::Symlink(_)) {
            inode.metadata.permissions = 0o777;
        }
        for owner in [&mut inode.metadata.uid, &mut inode.metadata.gid] {
            *owner = (*owner).min(u32::MAX - 1);
        }
    }
    tree
}

#[test]
fn unpacked_and_mounted_packs_are_the_same() {
    if !need::root() {
        return;
    }
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let trees = trees::trees(60)
        .prop_map(|tree| as_linux_has_it(trees::split(&tree, DEFAULT_THRESHOLD_BYTES)));
    TestRunner::new(config)
        .run(&trees, |tree| {
            compare(&tree);
            Ok(())
        })
        .expect("all are the same");
}

/// What the kernel says of a mount's filesystem, in the order of `/proc/self/mountinfo`: its options.
fn options(mount: BorrowedFd<'_>) -> String {
    let place = tempfile::tempdir().expect("a directory");
    let directory = File::open(place.path()).expect("it opens");
    attach(mount, directory.as_fd()).expect("it is attached");
    let mounts = fs::read_to_string("/proc/self/mountinfo");
    rustix::mount::unmount(place.path(), UnmountFlags::DETACH).expect("it is detached");
    let mounts = mounts.expect("the mounts");
    let is_here = |line: &&str| line.split(' ').nth(4) == place.path().to_str();
    let line = mounts.lines().find(is_here).expect("it is among them");
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Whoever has the disk could change what was swapped out.
#[test]
fn an_unpacked_pack_is_never_swapped_out() {
    if !need::root() {
        return;
    }
    let is_held = |mount| options(mount).split(',').any(|option| option == "noswap");
    let writable = tmpfs(1 << 20, 10).expect("a tmpfs");
    assert!(is_held(writable.as_fd()), "{}", options(writable.as_fd()));
    let sealed = tmpfs(1 << 20, 10).expect("a tmpfs");
    make_read_only(sealed.as_fd()).expect("it becomes read-only");
    assert!(is_held(sealed.as_fd()), "{}", options(sealed.as_fd()));
}

#[test]
fn nothing_is_inherited_from_a_directory() {
    /// An ACL with one named user: owner, user 7, group, mask, others may all read and enter.
    const ACL: &[u8] = b"\x02\0\0\0\
        \x01\0\x05\0\xff\xff\xff\xff\x02\0\x05\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\
        \x10\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    if !need::root() {
        return;
    }
    let acl = |name: &str| Xattr {
        name: name.as_bytes().into(),
        value: ACL.into(),
    };
    let xattrs = [
        acl("system.posix_acl_access"),
        acl("system.posix_acl_default"),
    ];
    let parent = Metadata {
        permissions: 0o2555,
        gid: 8,
        xattrs: XattrSet::from_unsorted(xattrs.to_vec()).expect("two xattrs"),
        ..Metadata::default()
    };
    let child = Metadata {
        permissions: 0o600,
        ..Metadata::default()
    };
    let mut tree = Tree::new(parent.clone());
    let inner = Inode::new(parent, Kind::directory());
    let inner = tree.insert(InodeId::ROOT, b"d", inner).expect("an entry");
    for directory in [InodeId::ROOT, inner] {
        let fifo = Inode::new(child.clone(), Kind::Fifo);
        tree.insert(directory, b"f", fifo).expect("an entry");
        let plain = Inode::new(child.clone(), Kind::directory());
        tree.insert(directory, b"p", plain).expect("an entry");
    }
    compare(&tree);
}
