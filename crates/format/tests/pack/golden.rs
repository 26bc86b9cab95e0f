// SPDX-License-Identifier: MIT OR Apache-2.0
//! The golden packs of format version 1: these trees give these bytes, for ever.
//!
//! `SEALROOT_GOLDEN=write` writes those that are not there. None is ever changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::hex;
use sealroot_format::pack::{PackPlan, PackSummary, check, write_pack};
use sealroot_format::tree::dump::write_dump;
use sealroot_format::tree::{
    DeviceNumber, FileContent, Inode, InodeId, Kind, Metadata, Timestamp, Tree, Xattr, XattrSet,
};

fn directory() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/v1/pack"
    ))
}

fn metadata(permissions: u16, seconds: i64, xattrs: &[(&str, &[u8])]) -> Metadata {
    let xattr = |(name, value): &(&str, &[u8])| Xattr {
        name: name.as_bytes().into(),
        value: (*value).into(),
    };
    Metadata {
        permissions,
        uid: 0,
        gid: 0,
        mtime: Timestamp {
            seconds,
            nanoseconds: 0,
        },
        xattrs: XattrSet::from_unsorted(xattrs.iter().map(xattr).collect()).expect("valid xattrs"),
    }
}

fn content(len: usize) -> Kind {
    let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
    Kind::Regular(FileContent::Inline(bytes.into()))
}

fn external(content: &[u8], size_bytes: u64) -> Kind {
    let digest = compute_verity_digest(content);
    Kind::Regular(FileContent::External { digest, size_bytes })
}

/// Only a root.
fn empty() -> Tree {
    Tree::new(metadata(0o755, 0, &[]))
}

/// Every kind of inode, both forms, every way an xattr is stored.
fn kinds() -> Tree {
    const ACL: &[u8] = &[
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255,
        255, 255, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    let label: (&str, &[u8]) = ("security.selinux", b"system_u:object_r:usr_t:s0\0");
    let mut tree = Tree::new(metadata(0o755, 0, &[label]));
    let mut add = |parent, name: &str, metadata, kind| {
        let inode = Inode::new(metadata, kind);
        tree.insert(parent, name.as_bytes(), inode)
            .expect("inserted")
    };
    let plain = |permissions| metadata(permissions, 0, &[label]);
    let usr = add(InodeId::ROOT, "usr", plain(0o755), Kind::directory());
    let dev = add(InodeId::ROOT, "dev", plain(0o755), Kind::directory());
    let number = |major, minor| DeviceNumber { major, minor };
    add(dev, "null", plain(0o666), Kind::CharDevice(number(1, 3)));
    add(
        dev,
        "disk",
        plain(0o660),
        Kind::BlockDevice(number(259, 0x12345)),
    );
    add(dev, "fifo", plain(0o600), Kind::Fifo);
    add(dev, "socket", plain(0o777), Kind::Socket);
    let empty = add(usr, "empty", plain(0o644), content(0));
    add(usr, "inline", plain(0o644), content(64));
    let large = add(usr, "large", plain(0o4755), external(b"large", 65));
    add(
        usr,
        "large.again",
        metadata(0o644, -1, &[]),
        external(b"large", 65),
    );
    add(usr, "huge", plain(0o644), external(b"huge", (1 << 43) + 1));
    add(
        usr,
        "link",
        plain(0o777),
        Kind::Symlink(b"../dev/null".as_slice().into()),
    );
    add(usr, "!before", plain(0o644), content(1));
    add(usr, "...after", plain(0o644), content(1));
    add(usr, "\u{e9}\n", plain(0o644), content(1));
    let old = metadata(0o644, 1_700_000_000, &[label, ("user.note", b"once")]);
    add(usr, "extended", old, content(5));
    let owner = Metadata {
        uid: 65_536,
        gid: 65_535,
        ..metadata(
            0o2755,
            0,
            &[("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0])],
        )
    };
    add(usr, "owner", owner, content(5));
    let acl = metadata(
        0o755,
        0,
        &[
            ("system.posix_acl_default", ACL),
            ("system.posix_acl_access", ACL),
        ],
    );
    add(usr, "acl", acl, Kind::directory());
    let layers = add(usr, "layers", plain(0o700), Kind::directory());
    let escaped = [
        ("trusted.overlay.opaque", &b"y"[..]),
        ("trusted.overlay.overlay.redirect", b"/x"),
        ("user.overlay.origin", b""),
    ];
    add(
        layers,
        "opaque",
        metadata(0o755, 0, &escaped),
        Kind::directory(),
    );
    let whiteout = add(
        layers,
        "gone",
        plain(0o000),
        Kind::CharDevice(DeviceNumber::WHITEOUT),
    );
    for (directory, name, target) in [
        (usr, "empty.link", empty),
        (InodeId::ROOT, "a.link", large),
        (layers, "gone.too", whiteout),
    ] {
        tree.link(directory, name.as_bytes(), target)
            .expect("linked");
    }
    tree
}

/// What does not fit beside its inode: contents, directories, xattrs, symlinks.
fn blocks() -> Tree {
    let mut tree = Tree::new(metadata(0o755, 1, &[]));
    let mut add = |parent, name: String, metadata, kind| {
        let inode = Inode::new(metadata, kind);
        tree.insert(parent, name.as_bytes(), inode)
            .expect("inserted")
    };
    for len in [4064, 4065, 4097] {
        add(
            InodeId::ROOT,
            format!("file-{len}"),
            metadata(0o644, 1, &[]),
            content(len),
        );
    }
    for len in [4064, 4065] {
        let target = Kind::Symlink(vec![b'l'; len].into());
        add(
            InodeId::ROOT,
            format!("link-{len}"),
            metadata(0o777, 1, &[]),
            target,
        );
    }
    let value = vec![b'v'; 4090];
    let large = metadata(0o644, 2, &[("user.large", &value), ("user.small", b"")]);
    add(InodeId::ROOT, "xattrs".into(), large, content(100));
    let names = add(
        InodeId::ROOT,
        "names".into(),
        metadata(0o755, 1, &[]),
        Kind::directory(),
    );
    for number in 0..40 {
        let name = format!("{number:0200}");
        add(
            names,
            name,
            metadata(0o644, 1 + number % 2, &[]),
            content(0),
        );
    }
    tree
}

/// More items of all sizes than blocks are open at a time.
fn window() -> Tree {
    let mut tree = Tree::new(metadata(0o755, 0, &[]));
    for number in 0..600 {
        let inode = Inode::new(
            metadata(0o644, number % 3, &[]),
            content(number_bytes(number)),
        );
        let name = format!("{number:04}");
        tree.insert(InodeId::ROOT, name.as_bytes(), inode)
            .expect("inserted");
    }
    tree
}

fn number_bytes(number: i64) -> usize {
    usize::try_from(number * 1_103 % 4_097).expect("not negative")
}

fn golden() -> [(&'static str, u32, Tree); 3] {
    [
        ("empty", 0, empty()),
        ("kinds", 64, kinds()),
        ("blocks", 65_536, blocks()),
    ]
}

fn write(name: &str, tree: &Tree, threshold: u32) -> (PackSummary, Vec<u8>) {
    let mut bytes = Vec::new();
    let summary =
        write_pack(tree, threshold, &mut bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    (summary, bytes)
}

// Rules: P1, P6, P9, P16, P24, P25, P26, P27, P28, P29
#[test]
fn golden_packs_are_written_and_read_as_ever() {
    for (name, threshold, tree) in golden() {
        let (summary, pack) = write(name, &tree, threshold);
        let mut dump = Vec::new();
        write_dump(&tree, &mut dump).expect("written");
        let files = [("pack", &pack[..]), ("dump", &dump[..])];
        for (extension, bytes) in files {
            let path = directory().join(format!("{name}.{extension}"));
            if env::var_os("SEALROOT_GOLDEN").is_some_and(|value| value == "write")
                && !path.exists()
            {
                fs::write(&path, bytes).expect("written");
            }
            let found =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(found == bytes, "{name}.{extension} differs");
        }
        let checked = check(pack.clone()).expect("a valid pack");
        assert!(checked.tree == tree, "{name}");
        assert_eq!(checked.summary, summary, "{name}");
        assert!(checked.thresholds.contains(&threshold), "{name}");
    }
}

// Rules: P28
#[test]
fn a_pack_too_large_to_be_kept_has_the_same_digest_as_ever() {
    let (summary, _) = write("window", &window(), 4096);
    let expected = "d1ca0ddb8fbd3564c41b8fb316557d2a904809dec8ba3af03e2cef7af052d510";
    assert_eq!(summary.digest.to_hex(), expected);
}

#[test]
fn a_plan_writes_the_same_pack_each_time() {
    for (name, threshold, tree) in golden() {
        let (summary, pack) = write(name, &tree, threshold);
        let plan = PackPlan::new(&tree, threshold).expect("a plan");
        for _ in 0..2 {
            assert_eq!(plan.summarize().expect("a summary"), summary, "{name}");
            let mut bytes = Vec::new();
            plan.write(&mut bytes).expect("written");
            assert!(bytes == pack, "{name}");
        }
    }
}

/// The list is what `fsverity digest` says of the files, so a changed one shows.
#[test]
fn golden_packs_have_the_digests_in_the_list() {
    let list = fs::read_to_string(directory().join("DIGESTS")).expect("the list");
    let listed: BTreeSet<(String, VerityDigest)> = list
        .lines()
        .map(|line| {
            let (digest, name) = line.split_once(' ').expect("two fields");
            let digest = hex::decode(digest.strip_prefix("sha256:").expect("a prefix").as_bytes());
            (
                name.to_owned(),
                VerityDigest::from_bytes(digest.expect("a digest")),
            )
        })
        .collect();
    let found: BTreeSet<(String, VerityDigest)> = fs::read_dir(directory())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name != "DIGESTS"))
        .map(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (name, compute_verity_digest(&fs::read(&path).expect("read")))
        })
        .collect();
    assert_eq!(listed, found);
}
