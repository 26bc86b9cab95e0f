// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directories of a commit: every dirtree and dirmeta read once, level by level.

use std::collections::HashMap;

use rayon::prelude::*;
use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits;
use sealroot_format::tree::{Metadata, TreeError};

use super::error::{ObjectError, ObjectKind, ObjectName, OstreeError};
use super::files::ContentObjects;
use super::format::{Child, Commit, DirMeta, DirTree};
use super::repository::Repository;
use crate::monitor::{Monitor, Unit};

/// All directory objects of one commit, verified.
#[derive(Debug, Default)]
pub(super) struct Directories {
    trees: HashMap<Sha256Digest, DirTree>,
    metas: HashMap<Sha256Digest, Metadata>,
}

/// An object to read, and one path at which it stands.
type Wanted = (ObjectName, Vec<u8>);

enum Parsed {
    Tree(DirTree),
    Meta(Metadata),
}

impl Directories {
    /// Reads what the commit's root directory leads to.
    pub(super) fn read(
        repository: &Repository,
        commit: &Commit<'_>,
        monitor: &dyn Monitor,
    ) -> Result<Self, OstreeError> {
        monitor.start("reading directories", Unit::Items, None);
        let mut directories = Self::default();
        let mut names = 0;
        let mut level = vec![
            (dirtree(commit.root_tree), Vec::new()),
            (dirmeta(commit.root_meta), Vec::new()),
        ];
        while !level.is_empty() {
            let objects: Vec<Parsed> = level
                .par_iter()
                .map(|wanted| read(repository, wanted))
                .collect::<Result<_, _>>()?;
            monitor.advance(level.len() as u64);
            let mut next = Vec::new();
            for ((object, path), parsed) in level.into_iter().zip(objects) {
                match parsed {
                    Parsed::Meta(meta) => {
                        directories.metas.insert(object.checksum, meta);
                    }
                    Parsed::Tree(tree) => {
                        // Each stands in the tree at least once.
                        names += tree.children().len() as u64;
                        check_bound("entries of a tree", names, MAX_ENTRIES, &path)?;
                        wanted_by(&tree, &path, &mut next);
                        directories.trees.insert(object.checksum, tree);
                    }
                }
            }
            directories.keep_new(&mut next);
            level = next;
        }
        directories.check_extent(&commit.root_tree)?;
        Ok(directories)
    }

    /// What all directories name.
    pub(super) fn content_objects(&self) -> ContentObjects {
        let mut objects = ContentObjects::default();
        for (name, child) in self.trees.values().flat_map(DirTree::children) {
            objects.names += 1;
            objects.name_bytes += name.len() as u64;
            if let Child::File(checksum) = child {
                objects.checksums.insert(*checksum);
            }
        }
        objects
    }

    /// Checks the bounds of the tree before it is built: a few directories that name one another
    /// many times can make a tree of any size.
    fn check_extent(&self, root: &Sha256Digest) -> Result<(), OstreeError> {
        let mut known = HashMap::new();
        let mut open = vec![(*root, false)];
        while let Some((tree, children_are_known)) = open.pop() {
            if known.contains_key(&tree) {
                continue;
            }
            if children_are_known {
                known.insert(tree, self.extent(&tree, &known));
            } else {
                open.push((tree, true));
                let directories = self.names(&tree).iter();
                open.extend(directories.filter_map(|(_, child)| match child {
                    Child::Directory { tree, .. } => Some((*tree, false)),
                    Child::File(_) => None,
                }));
            }
        }
        known.get(root).map_or(Ok(()), Extent::check)
    }

    /// The extent of a directory, of whose directories it is known.
    fn extent(&self, tree: &Sha256Digest, known: &HashMap<Sha256Digest, Extent>) -> Extent {
        let mut extent = Extent::default();
        for (name, child) in self.names(tree) {
            let mut one = Extent {
                entries: 1,
                bytes: name.len() as u64,
                path_bytes: name.len() as u64 + 1,
            };
            if let Child::Directory { tree, meta } = child
                && let Some(below) = known.get(tree)
            {
                let xattrs = xattr_bytes(self.metadata(meta));
                one.entries = one.entries.saturating_add(below.entries);
                one.bytes = (one.bytes + xattrs).saturating_add(below.bytes);
                one.path_bytes = one.path_bytes.saturating_add(below.path_bytes);
            }
            extent.entries = extent.entries.saturating_add(one.entries);
            extent.bytes = extent.bytes.saturating_add(one.bytes);
            extent.path_bytes = extent.path_bytes.max(one.path_bytes);
        }
        extent
    }

    /// Drops from `wanted` what was read already or is wanted twice.
    fn keep_new(&self, wanted: &mut Vec<Wanted>) {
        wanted.sort_unstable_by_key(|(object, _)| (object.kind as u8, object.checksum));
        wanted.dedup_by_key(|(object, _)| *object);
        wanted.retain(|(object, _)| match object.kind {
            ObjectKind::DirMeta => !self.metas.contains_key(&object.checksum),
            _ => !self.trees.contains_key(&object.checksum),
        });
    }

    /// The names of a directory of this commit.
    pub(super) fn names(&self, tree: &Sha256Digest) -> &[(Box<[u8]>, Child)] {
        self.trees
            .get(tree)
            .map(DirTree::children)
            .expect("every dirtree that a dirtree names was read")
    }

    /// The attributes of a directory of this commit.
    pub(super) fn metadata(&self, meta: &Sha256Digest) -> &Metadata {
        self.metas
            .get(meta)
            .expect("every dirmeta that a dirtree names was read")
    }
}

fn dirtree(checksum: Sha256Digest) -> ObjectName {
    let kind = ObjectKind::DirTree;
    ObjectName { checksum, kind }
}

fn dirmeta(checksum: Sha256Digest) -> ObjectName {
    let kind = ObjectKind::DirMeta;
    ObjectName { checksum, kind }
}

fn read(repository: &Repository, (object, path): &Wanted) -> Result<Parsed, OstreeError> {
    let parse = || -> Result<Parsed, ObjectError> {
        let bytes = repository.read_metadata(*object)?;
        Ok(match object.kind {
            ObjectKind::DirMeta => Parsed::Meta(DirMeta::parse(&bytes)?.into_metadata()),
            _ => Parsed::Tree(DirTree::parse(&bytes)?),
        })
    };
    parse().map_err(|error| {
        let path: &[u8] = if path.is_empty() { b"/" } else { path };
        error.at(*object, Some(path))
    })
}

fn wanted_by(tree: &DirTree, path: &[u8], wanted: &mut Vec<Wanted>) {
    for (name, child) in tree.children() {
        if let Child::Directory { tree, meta } = child {
            let path = [path, b"/", name].concat();
            wanted.push((dirtree(*tree), path.clone()));
            wanted.push((dirmeta(*meta), path));
        }
    }
}

/// How much tree a directory makes, all that is below it included.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    entries: u64,
    /// Of names and of the directories' xattrs.
    bytes: u64,
    /// The longest path, a slash before each name.
    path_bytes: u64,
}

impl Extent {
    fn check(&self) -> Result<(), OstreeError> {
        let bounds = [
            ("entries of a tree", self.entries, MAX_ENTRIES),
            (
                "length of a path",
                self.path_bytes,
                limits::MAX_PATH_BYTES as u64,
            ),
            (TREE_BYTES, self.bytes, limits::MAX_OSTREE_TREE_BYTES),
        ];
        bounds
            .into_iter()
            .try_for_each(|(what, found, most)| check_bound(what, found, most, b"/"))
    }
}

/// The root directory and the mount points that may be added count too.
const MAX_ENTRIES: u64 = limits::MAX_TREE_ENTRIES as u64 - 16;

/// What [`limits::MAX_OSTREE_TREE_BYTES`] bounds.
pub(super) const TREE_BYTES: &str = "bytes of names, xattrs, targets and small files of a tree";

/// Checks that a tree has at most so much of something.
pub(super) fn check_bound(
    what: &'static str,
    found: u64,
    most: u64,
    path: &[u8],
) -> Result<(), OstreeError> {
    if found <= most {
        return Ok(());
    }
    Err(OstreeError::Entry {
        path: path.into(),
        source: TreeError::Bound {
            what,
            found,
            expected: format!("at most {most}"),
        },
    })
}

/// Bytes that the xattrs of an inode take.
pub(super) fn xattr_bytes(metadata: &Metadata) -> u64 {
    let xattrs = metadata.xattrs.iter();
    xattrs
        .map(|xattr| (xattr.name.len() + xattr.value.len()) as u64)
        .sum()
}
