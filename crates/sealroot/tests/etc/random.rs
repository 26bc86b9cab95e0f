// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds of every merge, on arbitrary small trees.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;
use sealroot::etc::{Aspect, Change, diff};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree, Xattr, XattrSet};

use crate::support::{lookup, merge, text};

/// An entry of an arbitrary tree.
#[derive(Clone, Debug)]
struct Entry {
    metadata: Metadata,
    kind: EntryKind,
}

#[derive(Clone, Debug)]
enum EntryKind {
    File(u8),
    Symlink(u8),
    Directory(BTreeMap<u8, Entry>),
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let xattr = |name: &'static [u8]| {
        prop::option::weighted(0.3, 0..2u8).prop_map(move |value| {
            value.map(|value| Xattr {
                name: name.into(),
                value: Box::new([value]),
            })
        })
    };
    let xattrs = [
        xattr(b"security.selinux").boxed(),
        xattr(b"system.posix_acl_access").boxed(),
        xattr(b"user.x").boxed(),
    ];
    (
        prop_oneof![4 => Just(0o755u16), 1 => Just(0o700)],
        0..2u32,
        0..2u32,
        0..9i64,
        xattrs,
    )
        .prop_map(|(permissions, uid, gid, seconds, xattrs)| Metadata {
            permissions,
            uid,
            gid,
            mtime: sealroot_format::tree::Timestamp {
                seconds,
                nanoseconds: 0,
            },
            xattrs: XattrSet::from_unsorted(xattrs.into_iter().flatten().collect()).expect("valid"),
        })
}

fn entry() -> impl Strategy<Value = Entry> {
    let leaf = prop_oneof![
        3 => (0..3u8).prop_map(EntryKind::File),
        1 => (0..2u8).prop_map(EntryKind::Symlink),
    ];
    let leaf = (metadata(), leaf).prop_map(|(metadata, kind)| Entry { metadata, kind });
    leaf.prop_recursive(3, 12, 3, |inner| {
        (metadata(), btree_map(b'a'..b'd', inner, 0..3)).prop_map(|(metadata, entries)| Entry {
            metadata,
            kind: EntryKind::Directory(entries),
        })
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    btree_map(b'a'..b'e', entry(), 0..4).prop_map(|entries| {
        let mut tree = Tree::new(Metadata::default());
        add(&mut tree, InodeId::ROOT, entries);
        tree
    })
}

/// Three trees that have much in common: each name is of one, two or all of them, the same or not.
fn sides() -> impl Strategy<Value = [Tree; 3]> {
    let share = (
        entry(),
        entry(),
        entry(),
        0..8usize,
        0..8usize,
        any::<[bool; 3]>(),
    );
    btree_map(b'a'..b'e', share, 0..4).prop_map(|names| {
        let mut sides = [(); 3].map(|()| BTreeMap::new());
        for (name, (first, second, third, at, alike, there)) in names {
            let mut entries = [first.clone(), second, third];
            match alike {
                0..4 => entries = [first.clone(), first.clone(), first],
                4 => entries[1] = first,
                5 => entries[2] = first,
                6 => entries[2] = entries[1].clone(),
                _ => {}
            }
            // Often there is one small change in what is alike.
            if let Some(entry) = entries.get_mut(at) {
                touch(entry);
            }
            for (at, entry) in entries.into_iter().enumerate() {
                if there[at] || alike < 4 {
                    sides[at].insert(name, entry);
                }
            }
        }
        sides.map(|entries| {
            let mut tree = Tree::new(Metadata::default());
            add(&mut tree, InodeId::ROOT, entries);
            tree
        })
    })
}

fn touch(entry: &mut Entry) {
    match &mut entry.kind {
        EntryKind::File(content) => *content += 10,
        EntryKind::Symlink(_) => entry.metadata.uid += 10,
        EntryKind::Directory(entries) => match entries.values_mut().next() {
            Some(first) => touch(first),
            None => entry.metadata.permissions = 0o711,
        },
    }
}

fn add(tree: &mut Tree, parent: InodeId, entries: BTreeMap<u8, Entry>) {
    for (name, Entry { metadata, kind }) in entries {
        let (kind, below) = match kind {
            EntryKind::File(content) => (
                Kind::Regular(FileContent::Inline(vec![content].into())),
                None,
            ),
            EntryKind::Symlink(target) => (Kind::Symlink(Box::new([b'0' + target])), None),
            EntryKind::Directory(entries) => (Kind::directory(), Some(entries)),
        };
        let id = tree
            .insert(parent, &[name], Inode::new(metadata, kind))
            .expect("a new name");
        if let Some(entries) = below {
            add(tree, id, entries);
        }
    }
}

fn paths(tree: &Tree) -> Vec<String> {
    let mut paths = Vec::new();
    let mut walk = tree.walk();
    while let Some((path, _)) = walk.next() {
        paths.push(String::from_utf8(path.to_vec()).expect("letters"));
    }
    paths
}

fn at<'t>(tree: &'t Tree, path: &str) -> Option<&'t Inode> {
    lookup(tree, path).map(|id| tree.inode(id))
}

fn is_directory(inode: &Inode) -> bool {
    inode.as_directory().is_some()
}

/// In what two inodes differ, judged by `diff` on trees that have nothing else.
fn aspects(a: &Inode, b: &Inode) -> Vec<Aspect> {
    let alone = |inode: &Inode| {
        let kind = match &inode.kind {
            Kind::Directory(_) => Kind::directory(),
            kind => kind.clone(),
        };
        let mut tree = Tree::new(Metadata::default());
        let inode = Inode::new(inode.metadata.clone(), kind);
        tree.insert(InodeId::ROOT, b"x", inode).expect("a name");
        tree
    };
    match diff(&alone(a), &alone(b)).pop().map(|found| found.change) {
        Some(Change::Changed(aspects)) => aspects,
        _ => Vec::new(),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_untouched_etc_becomes_the_new_default([old, _, new] in sides()) {
        let plan = merge(&old, &old, &new);
        prop_assert_eq!(text(&plan.merged), text(&new));
        prop_assert!(plan.decisions.is_empty() && plan.clashes.is_empty());
    }

    #[test]
    fn a_release_that_changes_nothing_changes_nothing([old, current, _] in sides()) {
        let plan = merge(&old, &current, &old);
        prop_assert!(plan.clashes.is_empty());
        prop_assert_eq!(text(&plan.merged), text(&current));
    }

    #[test]
    fn unrelated_trees_merge_or_clash([old, current, new] in [tree(), tree(), tree()]) {
        let plan = merge(&old, &current, &new);
        for clash in &plan.clashes {
            let path = String::from_utf8(clash.path.to_vec()).expect("letters");
            let is_local = at(&current, &path).map(is_directory);
            let is_new = at(&new, &path).map(is_directory);
            prop_assert!(is_local.is_some() && is_new.is_some() && is_local != is_new);
        }
    }

    #[test]
    fn a_merge_of_what_was_merged_is_the_same([old, current, new] in sides()) {
        let first = merge(&old, &current, &new);
        prop_assume!(first.clashes.is_empty());
        let again = merge(&new, &first.merged, &new);
        prop_assert_eq!(text(&again.merged), text(&first.merged));
        prop_assert!(again.clashes.is_empty());
    }

    #[test]
    fn no_local_change_is_lost([old, current, new] in sides()) {
        let plan = merge(&old, &current, &new);
        prop_assume!(plan.clashes.is_empty());
        for path in paths(&current) {
            let here = at(&current, &path).expect("its own path");
            let merged = at(&plan.merged, &path);
            let Some(before) = at(&old, &path) else {
                let merged = merged.expect("an addition is kept");
                prop_assert!(aspects(here, merged).is_empty(), "{}", path);
                continue;
            };
            let changed = aspects(before, here);
            let only_label = changed.iter().all(|aspect| *aspect == Aspect::Label);
            let Some(merged) = merged else {
                // Gone only with the release, or with a directory that was all the release's.
                prop_assert!(only_label, "{} {:?}", path, changed);
                continue;
            };
            if only_label && aspects(before, merged).contains(&Aspect::Kind) {
                continue;
            }
            // What was changed is now as it is here, user and group each on its own.
            for aspect in aspects(here, merged) {
                prop_assert!(
                    !changed.contains(&aspect) || matches!(aspect, Aspect::Owner | Aspect::Xattrs),
                    "{} {}", path, aspect
                );
            }
            let (b, h, m) = (&before.metadata, &here.metadata, &merged.metadata);
            prop_assert!(b.uid == h.uid || m.uid == h.uid);
            prop_assert!(b.gid == h.gid || m.gid == h.gid);
            let value = |data: &Metadata| data.xattrs.get(b"user.x").map(<[u8]>::to_vec);
            prop_assert!(value(b) == value(h) || value(m) == value(h));
        }
    }

    #[test]
    fn what_was_removed_stays_away([old, current, new] in sides()) {
        let plan = merge(&old, &current, &new);
        prop_assume!(plan.clashes.is_empty());
        for path in paths(&old) {
            let was_in_a_directory = at(&current, parent(&path)).is_some_and(is_directory);
            if was_in_a_directory && at(&current, &path).is_none() {
                prop_assert!(at(&plan.merged, &path).is_none(), "{}", path);
            }
        }
    }

    #[test]
    fn untouched_files_follow_the_release([old, current, new] in sides()) {
        let plan = merge(&old, &current, &new);
        prop_assume!(plan.clashes.is_empty());
        for path in paths(&current) {
            let (Some(before), Some(here)) = (at(&old, &path), at(&current, &path)) else {
                continue;
            };
            if is_directory(here) || !aspects(before, here).is_empty() {
                continue;
            }
            match (at(&new, &path), at(&plan.merged, &path)) {
                (None, merged) => prop_assert!(merged.is_none(), "{}", path),
                (Some(new), Some(merged)) => prop_assert!(aspects(new, merged).is_empty()),
                (Some(_), None) => prop_assert!(false, "{} is missing", path),
            }
        }
    }
}
