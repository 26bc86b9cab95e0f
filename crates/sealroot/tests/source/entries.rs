// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is taken over, attribute by attribute.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat, setxattr};
use sealroot::source::SourceError;
use sealroot_format::limits;
use sealroot_format::tree::{DeviceNumber, FileContent, Inode, InodeId, Kind, Tree};
use sealroot_testkit::need;

use crate::support::read;

fn inode<'t>(tree: &'t Tree, path: &str) -> &'t Inode {
    let components = path.split('/').filter(|name| !name.is_empty());
    let id = tree.lookup(components.map(str::as_bytes));
    tree.inode(id.unwrap_or_else(|| panic!("{path} is in the tree")))
}

fn content(inode: &Inode) -> Vec<u8> {
    match &inode.kind {
        Kind::Regular(FileContent::Inline(content)) => content.read().expect("read"),
        other => panic!("{other:?} is no small file"),
    }
}

#[test]
fn metadata_is_that_of_the_system() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let file = root.path().join("file");
    fs::write(&file, "content").expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4711)).expect("chmod");
    fs::create_dir(root.path().join("sticky")).expect("mkdir");
    fs::set_permissions(
        root.path().join("sticky"),
        fs::Permissions::from_mode(0o1777),
    )
    .expect("chmod");
    symlink("nowhere/at all", root.path().join("link")).expect("symlink");
    let _listener = UnixListener::bind(root.path().join("socket")).expect("bind");

    let tree = read(root.path()).expect("a readable tree");
    for path in ["", "file", "sticky", "link", "socket"] {
        let expected = fs::symlink_metadata(root.path().join(path)).expect("stat");
        let Inode { metadata, .. } = inode(&tree, path);
        assert_eq!(
            u32::from(metadata.permissions),
            expected.mode() & 0o7777,
            "{path}"
        );
        assert_eq!(
            (metadata.uid, metadata.gid),
            (expected.uid(), expected.gid()),
            "{path}"
        );
        assert_eq!(metadata.mtime.seconds, expected.mtime(), "{path}");
        assert_eq!(
            i64::from(metadata.mtime.nanoseconds),
            expected.mtime_nsec(),
            "{path}"
        );
    }
    assert_eq!(content(inode(&tree, "file")), b"content");
    assert_eq!(inode(&tree, "file").metadata.permissions, 0o4711);
    assert_eq!(
        inode(&tree, "link").kind,
        Kind::Symlink(b"nowhere/at all".as_slice().into())
    );
    assert_eq!(inode(&tree, "socket").kind, Kind::Socket);
}

#[test]
fn names_are_any_bytes() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let long = [b'n'; limits::MAX_NAME_BYTES];
    let mut names: Vec<&[u8]> = vec![b"\n", b" ", b"\xff\xfe", b"-", b"...", "\u{e9}".as_bytes()];
    names.push(&long);
    for name in &names {
        fs::write(root.path().join(OsStr::from_bytes(name)), name).expect("write");
    }
    let tree = read(root.path()).expect("a readable tree");
    names.sort_unstable();
    let top = tree.inode(InodeId::ROOT).as_directory().expect("a root");
    assert_eq!(top.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
    for (name, id) in top.iter() {
        assert_eq!(content(tree.inode(id)), name);
    }
}

#[test]
fn hardlinks_are_one_inode_wherever_they_are() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| root.path().join(name);
    for directory in ["a", "b", "b/c"] {
        fs::create_dir(path(directory)).expect("mkdir");
    }
    fs::write(path("b/c/file"), "linked").expect("write");
    for name in ["a/1", "a/2", "b/c/zz", "top"] {
        fs::hard_link(path("b/c/file"), path(name)).expect("link");
    }
    symlink("target", path("b/symlink")).expect("symlink");
    fs::hard_link(path("b/symlink"), path("a/symlink")).expect("link");
    // One more link, but outside.
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::write(path("alone"), "alone").expect("write");
    fs::hard_link(path("alone"), outside.path().join("other")).expect("link");

    let tree = read(root.path()).expect("a readable tree");
    let file = inode(&tree, "a/1");
    assert_eq!(file.name_count(), 5);
    assert_eq!(content(file), b"linked");
    for name in ["a/2", "b/c/file", "b/c/zz", "top"] {
        assert!(std::ptr::eq(inode(&tree, name), file), "{name}");
    }
    assert_eq!(inode(&tree, "a/symlink").name_count(), 2);
    assert_eq!(inode(&tree, "alone").name_count(), 1);
    // The root, three directories, and three others.
    assert_eq!(tree.len(), 7);
}

type Xattrs<'a> = &'a [(&'a str, &'a [u8])];

#[test]
fn all_xattrs_are_read_also_those_of_symlinks_and_special_files() {
    if !need::root() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| root.path().join(name);
    fs::create_dir(path("directory")).expect("mkdir");
    fs::write(path("file"), "").expect("write");
    symlink("target", path("symlink")).expect("symlink");
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
    // cap_net_raw, effective and permitted; struct vfs_cap_data of version 2.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    // user::rw-, user:7:r--, group::r--, mask::r--, other::---
    let acl = [
        &[2u8, 0, 0, 0][..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[2, 0, 4, 0, 7, 0, 0, 0],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[0x10, 0, 4, 0, 255, 255, 255, 255],
        &[0x20, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    let long = [b'v'; 3000];
    let set = |name: &str, xattr: &str, value: &[u8]| {
        lsetxattr(path(name), xattr, value, XattrFlags::empty()).expect(xattr);
    };
    let expected: [(&str, Xattrs<'_>); 5] = [
        ("", &[("trusted.root", b"")]),
        (
            "directory",
            &[("trusted.overlay.opaque", b"y"), ("user.d", b"\0\xff")],
        ),
        (
            "file",
            &[
                ("security.capability", &capability),
                ("security.selinux", b"system_u:object_r:bin_t:s0\0"),
                ("system.posix_acl_access", &acl),
                ("user.empty", b""),
            ],
        ),
        ("symlink", &[("security.selinux", b"link_t")]),
        ("fifo", &[("trusted.long", &long)]),
    ];
    for (name, xattrs) in expected {
        for (xattr, value) in xattrs {
            set(name, xattr, value);
        }
    }
    let tree = read(root.path()).expect("a readable tree");
    for (name, xattrs) in expected {
        let found: Vec<(&str, &[u8])> = inode(&tree, name)
            .metadata
            .xattrs
            .iter()
            .map(|xattr| (str::from_utf8(&xattr.name).expect("plain"), &*xattr.value))
            .collect();
        assert_eq!(found, xattrs, "{name}");
    }
}

#[test]
fn a_filesystem_without_xattrs_is_one_whose_files_have_none() {
    // proc knows no extended attributes.
    let tree = read(Path::new("/proc/self/attr"));
    match tree {
        Ok(tree) => assert!(tree.inode(InodeId::ROOT).metadata.xattrs.is_empty()),
        // Its files may not be readable; but that is not for lack of attributes.
        Err(SourceError::Io { action, .. }) => assert_eq!(action, "read"),
        Err(other) => panic!("{other}"),
    }
    assert!(setxattr("/proc/self/attr", "user.a", b"", XattrFlags::empty()).is_err());
}

#[test]
fn whiteouts_are_kept_without_being_asked_for() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let node = root.path().join("gone");
    let made = mknodat(CWD, &node, FileType::CharacterDevice, Mode::empty(), 0);
    if made.is_err() {
        return need::missing("the right to make whiteouts");
    }
    let tree = read(root.path()).expect("a readable tree");
    assert_eq!(
        inode(&tree, "gone").kind,
        Kind::CharDevice(DeviceNumber::WHITEOUT)
    );
}

#[test]
fn many_files_in_many_directories_are_all_there_in_order() {
    const FILES: usize = 1000;
    let root = tempfile::tempdir().expect("a temporary directory");
    for directory in 0..4 {
        let path = root.path().join(format!("d{directory}"));
        fs::create_dir(&path).expect("mkdir");
        for file in 0..FILES {
            let content = format!("{directory} {file}").repeat(file);
            fs::write(path.join(file.to_string()), content).expect("write");
        }
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build();
    let many = pool
        .expect("threads")
        .install(|| read(root.path()).expect("a readable tree"));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one = pool
        .expect("a thread")
        .install(|| read(root.path()).expect("a readable tree"));
    assert!(many == one);
    assert_eq!(many.len(), 1 + 4 + 4 * FILES);
    assert_eq!(content(inode(&many, "d3/7")), b"3 7".repeat(7));
    let large = &inode(&many, "d1/999").kind;
    let Kind::Regular(FileContent::External { size_bytes, .. }) = large else {
        panic!("{large:?} is no large file");
    };
    assert_eq!(*size_bytes, 5 * 999);
}
