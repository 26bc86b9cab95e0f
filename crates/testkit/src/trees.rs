// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees to test with: random ones for properties, and changes that must not matter.
//!
//! Random trees are small but mean: names of all bytes and lengths, names that sort around `.` and
//! `..`, hardlinks, whiteouts, xattrs that look like those of overlayfs, sizes around every bound
//! the pack has.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sealroot_format::digest::VerityDigest;
use sealroot_format::digest::compute_verity_digest;
use sealroot_format::limits::{MAX_OWNER, MAX_THRESHOLD_BYTES};
use sealroot_format::tree::{
    DeviceNumber, FileContent, Inode, InodeId, Kind, Metadata, Timestamp, Tree, Xattr, XattrSet,
};

/// A tree of up to `max_entries` inodes below the root.
///
/// Content is inline up to [`MAX_THRESHOLD_BYTES`] and external above, so [`split`] gives a valid
/// tree for every threshold.
pub fn trees(max_entries: usize) -> impl Strategy<Value = Tree> {
    let steps = vec((any::<Index>(), names(), steps()), 0..=max_entries);
    (metadata(), steps).prop_map(|(root, steps)| {
        let mut tree = Tree::new(root);
        let mut directories = vec![InodeId::ROOT];
        let mut others = Vec::new();
        for (parent, name, step) in steps {
            let parent = *parent.get(&directories);
            // A name that is taken makes a smaller tree.
            match step {
                Step::Insert(inode) => {
                    let is_directory = inode.as_directory().is_some();
                    match tree.insert(parent, &name, *inode) {
                        Ok(id) if is_directory => directories.push(id),
                        Ok(id) => others.push(id),
                        Err(_) => {}
                    }
                }
                Step::Link(target) if !others.is_empty() => {
                    let _ = tree.link(parent, &name, *target.get(&others));
                }
                Step::Link(_) => {}
            }
        }
        without_whiteout_conflicts(tree)
    })
}

/// Puts the files above `threshold_bytes` aside, under their digests.
pub fn split(tree: &Tree, threshold_bytes: u32) -> Tree {
    let mut tree = tree.clone();
    let ids: Vec<InodeId> = tree.inodes().map(|(id, _)| id).collect();
    for id in ids {
        if let Kind::Regular(content) = &mut tree.inode_mut(id).kind
            && let FileContent::Inline(inline) = content
            && inline.size_bytes() > threshold_bytes.into()
        {
            *content = FileContent::External {
                digest: compute_verity_digest(&inline.read().expect("in memory")),
                size_bytes: inline.size_bytes(),
            };
        }
    }
    tree
}

/// The same tree put together in another order, which `seed` decides.
///
/// # Panics
/// Never for a valid tree.
pub fn shuffled(tree: &Tree, seed: u64) -> Tree {
    let mut state = seed | 1;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
    };
    let mut copy = Tree::new(tree.inode(InodeId::ROOT).metadata.clone());
    let mut copies = vec![None; tree.len()];
    copies[InodeId::ROOT.index()] = Some(InodeId::ROOT);
    let mut todo: Vec<(InodeId, &[u8], InodeId)> = Vec::new();
    let names_of = |id: InodeId| {
        let names = tree
            .inode(id)
            .as_directory()
            .into_iter()
            .flat_map(sealroot_format::tree::Directory::iter);
        names.map(move |(name, child)| (id, name, child))
    };
    todo.extend(names_of(InodeId::ROOT));
    while !todo.is_empty() {
        let (parent, name, child) = todo.swap_remove(random(todo.len()));
        let parent = copies[parent.index()].expect("parents are copied first");
        if let Some(target) = copies[child.index()] {
            copy.link(parent, name, target).expect("the tree was valid");
            continue;
        }
        let inode = tree.inode(child);
        let kind = match &inode.kind {
            Kind::Directory(_) => Kind::directory(),
            other => other.clone(),
        };
        let inode = Inode::new(inode.metadata.clone(), kind);
        let id = copy
            .insert(parent, name, inode)
            .expect("the tree was valid");
        copies[child.index()] = Some(id);
        todo.extend(names_of(child));
    }
    copy
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Box<Inode>),
    Link(Index),
}

fn steps() -> impl Strategy<Value = Step> {
    let insert = (metadata(), kinds());
    prop_oneof![
        9 => insert.prop_map(|(metadata, kind)| Step::Insert(Box::new(Inode::new(metadata, kind)))),
        1 => any::<Index>().prop_map(Step::Link),
    ]
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let byte = (1..=255u8).prop_filter("not a slash", |byte| *byte != b'/');
    prop_oneof![
        6 => "[a-z]{1,6}".prop_map(String::into_bytes),
        2 => vec(byte, 1..=255),
        1 => "[0-9a-f]{2}".prop_map(String::into_bytes),
        1 => select(vec!["!", "-", ".!", ".-x", "..x", "...", ".wh.a", "~"])
            .prop_map(|name| name.as_bytes().to_vec()),
    ]
    .prop_filter("not reserved", |name| name != b"." && name != b"..")
}

fn kinds() -> impl Strategy<Value = Kind> {
    let devices =
        (0..4096u32, 0..1u32 << 20).prop_map(|(major, minor)| DeviceNumber { major, minor });
    prop_oneof![
        5 => Just(Kind::directory()),
        8 => contents().prop_map(Kind::Regular),
        3 => symlinks().prop_map(Kind::Symlink),
        1 => devices.clone().prop_map(Kind::CharDevice),
        1 => devices.prop_map(Kind::BlockDevice),
        1 => Just(Kind::CharDevice(DeviceNumber::WHITEOUT)),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ]
}

fn contents() -> impl Strategy<Value = FileContent> {
    let external = (any::<[u8; 32]>(), sizes_of_objects());
    prop_oneof![
        9 => (sizes(), any::<u8>()).prop_map(|(size, first)| FileContent::Inline(bytes(size, first).into())),
        2 => external.prop_map(|(digest, size_bytes)| FileContent::External {
            digest: VerityDigest::from_bytes(digest),
            size_bytes,
        }),
    ]
}

/// Sizes of small files, many of them near a bound.
fn sizes() -> impl Strategy<Value = usize> {
    let bounds = vec![0usize, 1, 64, 2048, 4032, 4064, 4096, 8192, 12_288, 65_536];
    prop_oneof![
        2 => 0..300usize,
        2 => (select(bounds), 0..3usize)
            .prop_map(|(bound, more)| (bound + more).saturating_sub(1).min(65_536)),
        1 => 0..10_000usize,
    ]
}

fn sizes_of_objects() -> impl Strategy<Value = u64> {
    let least = u64::from(MAX_THRESHOLD_BYTES) + 1;
    prop_oneof![
        4 => least..1 << 24,
        1 => (1u64 << 32) - 1..=(1 << 32) + 1,
        1 => (1u64 << 43) - 1..=(1 << 43) + 1,
    ]
}

fn symlinks() -> impl Strategy<Value = Box<[u8]>> {
    let bounds = vec![1usize, 60, 2048, 4031, 4032, 4063, 4064, 4065, 4095];
    prop_oneof![
        3 => 1..40usize,
        1 => select(bounds),
        1 => 1..=4095usize,
    ]
    .prop_map(|size| vec![b'l'; size].into_boxed_slice())
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let owners = || prop_oneof![4 => Just(0u32), 2 => 0..70_000u32, 1 => 0..=MAX_OWNER];
    (0..=0o7777u16, owners(), owners(), mtimes(), xattrs()).prop_map(
        |(permissions, uid, gid, mtime, xattrs)| Metadata {
            permissions,
            uid,
            gid,
            mtime,
            xattrs,
        },
    )
}

fn mtimes() -> impl Strategy<Value = Timestamp> {
    let time = |seconds, nanoseconds| Timestamp {
        seconds,
        nanoseconds,
    };
    prop_oneof![
        4 => Just(time(0, 0)),
        2 => select(vec![time(1_700_000_000, 0), time(1_700_000_000, 1), time(-1, 999_999_999)]),
        1 => (-(1i64 << 40)..1 << 40, 0..1_000_000_000u32)
            .prop_map(move |(seconds, nanoseconds)| time(seconds, nanoseconds)),
    ]
}

fn xattrs() -> impl Strategy<Value = XattrSet> {
    let names = prop_oneof![
        4 => select(vec![
            "security.selinux",
            "security.capability",
            "user.a",
            "user.overlay.whiteout",
            "user.overlay.opaque",
            "trusted.a",
            "trusted.overlay",
            "trusted.overlay.opaque",
            "trusted.overlay.metacopy",
            "trusted.overlay.redirect",
            "trusted.overlay.whiteout",
            "trusted.overlay.overlay.redirect",
            "trusted.overlay.overlay.overlay.x",
            "trusted.overlay.sealroot-whiteout",
            "trusted.overlayx",
            "system.posix_acl_access",
            "system.posix_acl_default",
        ]).prop_map(String::from),
        1 => "(user|trusted|security)\\.[ -~]{1,200}",
    ];
    let values = prop_oneof![
        4 => select(vec!["", "y", "x", "system_u:object_r:usr_t:s0"])
            .prop_map(|value| value.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..100),
        1 => (0..6000usize).prop_map(|size| vec![b'v'; size]),
    ];
    let sets = |count| {
        vec((names.clone(), values.clone()), count).prop_map(|xattrs| {
            let mut xattrs: Vec<Xattr> = xattrs
                .into_iter()
                .map(|(name, value)| Xattr {
                    value: valid_value(&name, value).into(),
                    name: name.into_bytes().into(),
                })
                .collect();
            xattrs.sort();
            xattrs.dedup_by(|a, b| a.name == b.name);
            XattrSet::from_unsorted(xattrs).expect("names and values are within bounds")
        })
    };
    prop_oneof![3 => Just(XattrSet::new()), 2 => sets(1..2), 2 => sets(2..8), 1 => sets(8..20)]
}

/// The kernel gives out only valid ACLs and capabilities.
fn valid_value(name: &str, value: Vec<u8>) -> Vec<u8> {
    match name {
        "security.capability" => [&[1, 0, 0, 2, 0, 4], &[0; 14][..]].concat(),
        name if name.starts_with("system.posix_acl_") => {
            let id = value.len().min(255).to_le_bytes()[0];
            let entry = |tag: u8, id: [u8; 4]| [&[tag, 0, 5, 0], &id[..]].concat();
            let none = [0xff; 4];
            [
                vec![2, 0, 0, 0],
                entry(0x01, none),
                entry(0x02, [id, 3, 0, 0]),
                entry(0x04, none),
                entry(0x10, none),
                entry(0x20, none),
            ]
            .concat()
        }
        _ => value,
    }
}

/// Takes the xattrs away that cannot be told from those the pack adds for whiteouts.
fn without_whiteout_conflicts(mut tree: Tree) -> Tree {
    let holds_whiteout = |inode: &Inode| {
        let names = inode
            .as_directory()
            .into_iter()
            .flat_map(sealroot_format::tree::Directory::iter);
        names
            .map(|(_, child)| child)
            .any(|child| tree.inode(child).is_whiteout())
    };
    let concerned: Vec<InodeId> = tree
        .inodes()
        .filter(|(_, inode)| inode.is_whiteout() || holds_whiteout(inode))
        .map(|(id, _)| id)
        .collect();
    for id in concerned {
        tree.inode_mut(id).metadata.xattrs = XattrSet::new();
    }
    tree
}

fn bytes(size: usize, first: u8) -> Box<[u8]> {
    let pattern = (0..=250u8).cycle();
    pattern
        .map(|byte| byte.wrapping_add(first))
        .take(size)
        .collect()
}
