// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names without the ending that says that something is compressed, when it is not any more.

use std::collections::{HashMap, HashSet};

use sealroot_format::tree::{InodeId, Kind, Tree, TreeError};

use super::{Change, NormalizeError, change_of, without_ending};
use crate::source::error::{Failure, Fault};

/// So many symlinks are followed on the way to a file, as by the kernel.
const MAX_FOLLOWED: usize = 40;

/// A name of a file that was decompressed or has several, or of a symlink.
struct Name {
    /// From the root, without a leading slash.
    path: Vec<u8>,
    inode: InodeId,
}

impl Name {
    fn last(&self) -> &[u8] {
        let mut components = self.path.rsplit(|byte| *byte == b'/');
        components.next().unwrap_or_default()
    }

    /// Whether it says that something is compressed that is decompressed while it is read.
    fn is_of_compressed(&self) -> bool {
        change_of(&self.path).is_some_and(Change::is_opened)
    }

    /// The directories it is in, from the root on.
    fn directories(&self, tree: &Tree) -> Vec<InodeId> {
        let above = self.path.len() - self.last().len();
        let mut directories = vec![InodeId::ROOT];
        for name in components(&self.path[..above]) {
            let inner = directories.last().and_then(|last| child(tree, *last, name));
            directories.extend(inner);
        }
        directories
    }
}

/// Takes the endings off the names of files that were decompressed, off those of symlinks to them that lie
/// among them, and off the targets of all symlinks to either.
pub(in crate::source) fn rename(tree: &mut Tree, opened: &HashSet<InodeId>) -> Result<(), Failure> {
    let names = names(tree, opened);
    check_other_names(&names)?;
    let symlinks = names
        .iter()
        .filter(|name| target(tree, name.inode).is_some());
    let symlinks: Vec<_> = symlinks
        .map(|name| (name, name.directories(tree)))
        .collect();
    let mut renamed = opened.clone();
    for (link, directories) in &symlinks {
        let leads_to_opened = || {
            let mut left = MAX_FOLLOWED;
            let end = follow(tree, directories, link.inode, &mut left);
            end.is_some_and(|end| end.last().is_some_and(|end| opened.contains(end)))
        };
        let has_one_name = tree.inode(link.inode).name_count() == 1;
        if has_one_name && link.is_of_compressed() && leads_to_opened() {
            renamed.insert(link.inode);
        }
    }
    let mut targets = Vec::new();
    for (link, directories) in &symlinks {
        let target = target(tree, link.inode).unwrap_or_default();
        let mut left = MAX_FOLLOWED;
        let next = step(tree, directories, target, &mut left);
        let next = next.and_then(|next| next.last().copied());
        if next.is_some_and(|next| renamed.contains(&next))
            && let Some(without) = without_ending(target)
        {
            targets.push((link.inode, Box::from(without)));
        }
    }
    for (link, target) in targets {
        tree.inode_mut(link).kind = Kind::Symlink(target);
    }
    for name in names.iter().filter(|name| renamed.contains(&name.inode)) {
        let at = |error| {
            let fault = match error {
                TreeError::Duplicate { name } => NormalizeError::Taken { name }.into(),
                error => Fault::Entry(error),
            };
            fault.at(name.path.clone())
        };
        let directory = *name.directories(tree).last().unwrap_or(&InodeId::ROOT);
        if let Some(without) = without_ending(name.last()) {
            tree.rename(directory, name.last(), without).map_err(at)?;
        }
    }
    Ok(())
}

fn names(tree: &Tree, opened: &HashSet<InodeId>) -> Vec<Name> {
    let mut names = Vec::new();
    let mut walk = tree.walk();
    while let Some((path, inode)) = walk.next() {
        let has_several = tree.inode(inode).name_count() > 1;
        if has_several || opened.contains(&inode) || target(tree, inode).is_some() {
            let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
            names.push(Name { path, inode });
        }
    }
    names
}

/// All names of a file must say the same of it: it was read by one of them, and chance says which.
fn check_other_names(names: &[Name]) -> Result<(), Failure> {
    let mut first_names = HashMap::new();
    for name in names {
        let first = *first_names.entry(name.inode).or_insert(name);
        let [change, first_change] = [name, first].map(|name| change_of(&name.path));
        if change == first_change {
            continue;
        }
        let (read, other) = match change {
            Some(_) => (name, first),
            None => (first, name),
        };
        let name = other.path.as_slice().into();
        return Err(Fault::from(NormalizeError::OtherName { name }).at(read.path.clone()));
    }
    Ok(())
}

fn target(tree: &Tree, inode: InodeId) -> Option<&[u8]> {
    match &tree.inode(inode).kind {
        Kind::Symlink(target) => Some(target),
        _ => None,
    }
}

fn child(tree: &Tree, directory: InodeId, name: &[u8]) -> Option<InodeId> {
    tree.inode(directory).as_directory()?.get(name)
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let all = path.split(|byte| *byte == b'/');
    all.filter(|name| !matches!(*name, b"" | b"."))
}

/// What a path names, seen from a directory, and all directories above it from the root on. If that is a symlink it
/// is not followed. `left` says how many may still be.
fn step(
    tree: &Tree,
    directories: &[InodeId],
    path: &[u8],
    left: &mut usize,
) -> Option<Vec<InodeId>> {
    let from = if path.starts_with(b"/") {
        &directories[..1]
    } else {
        directories
    };
    let mut at = from.to_vec();
    let mut names = components(path).peekable();
    while let Some(name) = names.next() {
        if name == b".." {
            if at.len() > 1 {
                at.pop();
            }
            continue;
        }
        let inode = child(tree, *at.last()?, name)?;
        if names.peek().is_some() {
            at = follow(tree, &at, inode, left)?;
        } else {
            at.push(inode);
        }
    }
    Some(at)
}

/// What an inode in a directory leads to, if all symlinks are followed.
fn follow(
    tree: &Tree,
    directories: &[InodeId],
    inode: InodeId,
    left: &mut usize,
) -> Option<Vec<InodeId>> {
    let Some(target) = target(tree, inode) else {
        return Some([directories, &[inode]].concat());
    };
    *left = left.checked_sub(1)?;
    let mut next = step(tree, directories, target, left)?;
    let inode = next.pop()?;
    if next.is_empty() {
        return Some(vec![inode]);
    }
    follow(tree, &next, inode, left)
}
