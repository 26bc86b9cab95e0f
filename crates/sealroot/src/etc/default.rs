// SPDX-License-Identifier: MIT OR Apache-2.0
//! The default `/etc` of a release.

use sealroot_format::tree::{InodeId, Tree};

use super::error::EtcError;
use super::node::{Node, collect};

/// The default `/etc` of a release's tree: `/usr/etc` where that is a directory with something in
/// it, otherwise `/etc`. As the boot program has it.
pub fn default_of(tree: &Tree) -> Result<Tree, EtcError> {
    let populated = |path: &[&[u8]]| -> Option<(InodeId, bool)> {
        let id = tree.lookup(path.iter().copied())?;
        Some((id, !tree.inode(id).as_directory()?.is_empty()))
    };
    let id = match (populated(&[b"usr", b"etc"]), populated(&[b"etc"])) {
        (Some((_, true)), Some((_, true))) => return Err(EtcError::TwoDefaults),
        (Some((id, true)), _) | (_, Some((id, _))) => id,
        (_, None) => return Err(EtcError::NoDefault),
    };
    collect(Node::of_default(tree, id))
}

/// What a release has in a directory at the top of its tree, as a tree of its own; `None` where
/// there is no such directory or nothing in it.
pub(crate) fn part_of(tree: &Tree, name: &[u8]) -> Result<Option<Tree>, EtcError> {
    let found = tree.lookup([name]).filter(|id| {
        let directory = tree.inode(*id).as_directory();
        directory.is_some_and(|directory| !directory.is_empty())
    });
    found
        .map(|id| collect(Node::of_default(tree, id)))
        .transpose()
}
