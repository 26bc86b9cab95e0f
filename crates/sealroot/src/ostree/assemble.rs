// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree of a commit: first all names with the directories, then the files' content.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits;
use sealroot_format::tree::{
    FileContent, InlineContent, Inode, InodeId, Kind, Metadata, Tree, TreeError,
};

use super::content::ContentReader;
use super::directories::{Directories, TREE_BYTES, check_bound, xattr_bytes};
use super::error::{ObjectKind, ObjectName, OstreeError};
use super::format::{Child, Commit};
use crate::monitor::{Monitor, Unit};

/// A tree whose files are all empty so far, and which object is the content of which.
#[derive(Debug)]
pub(super) struct Skeleton {
    pub(super) tree: Tree,
    /// What all files have so far.
    no_content: InlineContent,
    files: Vec<(Sha256Digest, Vec<InodeId>)>,
}

impl Skeleton {
    /// Gives every name of the commit an inode of its own.
    pub(super) fn build(
        commit: &Commit<'_>,
        directories: &Directories,
    ) -> Result<Self, OstreeError> {
        let root = directories.metadata(&commit.root_meta).clone();
        let mut skeleton = Self {
            tree: Tree::new(root),
            no_content: Vec::new().into(),
            files: Vec::new(),
        };
        let mut index = HashMap::new();
        let mut path = Vec::new();
        let names = directories.names(&commit.root_tree);
        let mut open = vec![(InodeId::ROOT, names.iter(), 0)];
        while let Some((directory, names, path_len)) = open.last_mut() {
            let (directory, path_len) = (*directory, *path_len);
            path.truncate(path_len);
            let Some((name, child)) = names.next() else {
                open.pop();
                continue;
            };
            path.push(b'/');
            path.extend_from_slice(name);
            let added = skeleton.add(directory, name, child, directories);
            let inode = added.map_err(|source| OstreeError::Entry {
                path: path.as_slice().into(),
                source,
            })?;
            match child {
                Child::Directory { tree, .. } => {
                    open.push((inode, directories.names(tree).iter(), path.len()));
                }
                Child::File(checksum) => {
                    let at = *index.entry(*checksum).or_insert(skeleton.files.len());
                    match skeleton.files.get_mut(at) {
                        Some((_, inodes)) => inodes.push(inode),
                        None => skeleton.files.push((*checksum, vec![inode])),
                    }
                }
            }
        }
        Ok(skeleton)
    }

    fn add(
        &mut self,
        directory: InodeId,
        name: &[u8],
        child: &Child,
        directories: &Directories,
    ) -> Result<InodeId, TreeError> {
        let (metadata, kind) = match child {
            Child::File(_) => {
                let content = FileContent::Inline(self.no_content.clone());
                (Metadata::default(), Kind::Regular(content))
            }
            Child::Directory { meta, .. } => {
                (directories.metadata(meta).clone(), Kind::directory())
            }
        };
        self.tree
            .insert(directory, name, Inode::new(metadata, kind))
    }

    /// Leaves files empty that are not below one of these directories.
    pub(super) fn retain_below(&mut self, directories: &[&[&[u8]]]) {
        let tree = &self.tree;
        let mut open: Vec<InodeId> = (directories.iter())
            .filter_map(|path| tree.lookup(path.iter().copied()))
            .collect();
        let mut wanted = HashSet::new();
        while let Some(inode) = open.pop() {
            match tree.inode(inode).as_directory() {
                Some(directory) => open.extend(directory.iter().map(|(_, child)| child)),
                None => {
                    wanted.insert(inode);
                }
            }
        }
        for (_, inodes) in &mut self.files {
            inodes.retain(|inode| wanted.contains(inode));
        }
        self.files.retain(|(_, inodes)| !inodes.is_empty());
    }

    /// Reads every content object once, on all cores, and fills it in wherever it stands.
    pub(super) fn fill(
        self,
        reader: &ContentReader<'_>,
        monitor: &dyn Monitor,
    ) -> Result<Tree, OstreeError> {
        let Self {
            mut tree, files, ..
        } = self;
        monitor.start("reading files", Unit::Items, Some(files.len() as u64));
        let tree_bytes = AtomicU64::new(0);
        let contents: Vec<(Metadata, Kind)> = files
            .par_iter()
            .map_init(Vec::new, |buffer, (checksum, inodes)| {
                let content = reader.read(checksum, buffer).map_err(|error| {
                    let checksum = *checksum;
                    let kind = ObjectKind::File;
                    error.at(ObjectName { checksum, kind }, Some(&path_of(&tree, inodes)))
                })?;
                let bytes = held_bytes(&content).saturating_mul(inodes.len() as u64);
                let bytes = tree_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                let most = limits::MAX_OSTREE_TREE_BYTES;
                if bytes > most {
                    check_bound(TREE_BYTES, bytes, most, &path_of(&tree, inodes))?;
                }
                monitor.advance(1);
                Ok(content)
            })
            .collect::<Result<_, OstreeError>>()?;
        for ((_, inodes), (metadata, kind)) in files.into_iter().zip(contents) {
            let Some((last, others)) = inodes.split_last() else {
                continue;
            };
            for inode in others {
                set(&mut tree, *inode, metadata.clone(), kind.clone());
            }
            set(&mut tree, *last, metadata, kind);
        }
        Ok(tree)
    }
}

fn set(tree: &mut Tree, inode: InodeId, metadata: Metadata, kind: Kind) {
    let inode = tree.inode_mut(inode);
    inode.metadata = metadata;
    inode.kind = kind;
}

/// What a file adds to its tree beyond a fixed size.
fn held_bytes((metadata, kind): &(Metadata, Kind)) -> u64 {
    let content = match kind {
        Kind::Regular(FileContent::Inline(content)) => content.size_bytes(),
        Kind::Symlink(target) => target.len() as u64,
        _ => 0,
    };
    xattr_bytes(metadata).saturating_add(content)
}

/// The path of the first of `inodes`; for messages only.
fn path_of(tree: &Tree, inodes: &[InodeId]) -> Vec<u8> {
    let mut walk = tree.walk();
    while let Some((path, inode)) = walk.next() {
        if inodes.first() == Some(&inode) {
            return path.into();
        }
    }
    Vec::new()
}
