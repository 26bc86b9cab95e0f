// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pack: an EROFS image with all metadata and the small files of a tree, and overlayfs
//! redirects to objects for the large ones.
//!
//! A pack is a pure function of the tree and its division into inline and external files. The
//! format is described in `docs/format/pack.md`; it is frozen: the same tree gives the same bytes
//! for as long as [`FORMAT_VERSION`] is 1.
//!
//! The writer trusts its tree, the reader trusts nothing.

mod check;
mod composefs;
mod entry;
mod error;
#[cfg(test)]
mod hostile;
mod nodes;
mod order;
mod overlay;
mod place;
mod read;
mod stored;
mod verity;
mod walk;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;

use crate::digest::VerityDigest;
use crate::erofs::image::{self, Layout, Nodes};
use crate::limits;
use crate::tree::{FileContent, Inode, InodeId, Kind, Timestamp, Tree};

use nodes::Builder;

pub use crate::erofs::{ImageError, Nid, ReadAt};
pub use check::{CheckedPack, check};
pub use composefs::{ComposefsSummary, write_composefs};
pub use entry::{Entry, EntryKind};
pub use error::PackError;
pub use read::{Name, Names, Pack};
pub use stored::read;
pub use walk::{Step, Visit, Walk};

/// The version of the format that [`write_pack`] writes and [`Pack`] reads.
pub const FORMAT_VERSION: u32 = 1;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackSummary {
    /// The fs-verity digest of the pack.
    pub digest: VerityDigest,
    /// The length of the pack.
    pub size_bytes: u64,
    /// How many inodes it has.
    pub entries: u64,
    /// How many different objects it names.
    pub objects: u64,
    /// The length of these objects together.
    pub object_bytes: u64,
}

/// Writes the pack of `tree` from its first byte to its last.
///
/// Files of at most `threshold_bytes` must be inline in `tree`, all others external. The output
/// is not flushed or synced.
///
/// # Errors
/// [`PackError::Threshold`], [`PackError::Split`], [`PackError::Entry`], [`PackError::TooLarge`]
/// before anything is written; [`PackError::Write`]; [`PackError::Content`].
pub fn write_pack(
    tree: &Tree,
    threshold_bytes: u32,
    out: &mut dyn io::Write,
) -> Result<PackSummary, PackError> {
    PackPlan::new(tree, threshold_bytes)?.write_and_hash(out)
}

/// Where everything in a pack is: for whoever must know its digest before writing it.
#[derive(Debug)]
pub struct PackPlan<'t> {
    nodes: Nodes<'t>,
    layout: Layout,
    objects: u64,
    object_bytes: u64,
}

impl<'t> PackPlan<'t> {
    /// Plans what [`write_pack`] writes.
    ///
    /// # Errors
    /// Those of [`write_pack`] that come before anything is written.
    pub fn new(tree: &'t Tree, threshold_bytes: u32) -> Result<Self, PackError> {
        if threshold_bytes > limits::MAX_THRESHOLD_BYTES {
            return Err(PackError::Threshold {
                found: threshold_bytes,
                max: limits::MAX_THRESHOLD_BYTES,
            });
        }
        let (objects, object_bytes) = check_files(tree, threshold_bytes.into())?;
        let order = order::of_pack(tree)?;
        let digests: Vec<_> = tree.inodes().map(|(_, inode)| digest(inode)).collect();
        let builder = Builder {
            tree,
            order: &order,
            profile: &overlay::PACK,
            digests: &digests,
            build_time: commonest_mtime(tree),
        };
        let mut nodes = builder.build()?;
        let shapes = nodes::shapes(tree, &order, &nodes)?;
        let layout = place::plan(&mut nodes, &shapes).ok_or_else(too_many_blocks)?;
        Ok(Self {
            nodes,
            layout,
            objects,
            object_bytes,
        })
    }

    /// What would be written.
    ///
    /// # Errors
    /// [`PackError::Content`].
    pub fn summarize(&self) -> Result<PackSummary, PackError> {
        self.write_and_hash(&mut io::sink())
    }

    /// Writes the pack and hashes nothing. The output is not flushed or synced.
    ///
    /// # Errors
    /// [`PackError::Write`]; [`PackError::Content`].
    pub fn write(&self, out: &mut dyn io::Write) -> Result<(), PackError> {
        Ok(image::write(&self.nodes, &self.layout, out)?)
    }

    fn write_and_hash(&self, out: &mut dyn io::Write) -> Result<PackSummary, PackError> {
        let mut hashing = verity::Hashing::new(out);
        self.write(&mut hashing)?;
        Ok(PackSummary {
            digest: hashing.finish(),
            size_bytes: self.layout.size_bytes(),
            entries: self.nodes.list.len() as u64,
            objects: self.objects,
            object_bytes: self.object_bytes,
        })
    }
}

fn digest(inode: &Inode) -> Option<&VerityDigest> {
    match &inode.kind {
        Kind::Regular(FileContent::External { digest, .. }) => Some(digest),
        _ => None,
    }
}

/// Compact inodes have this one; of equally common ones the smallest.
fn commonest_mtime(tree: &Tree) -> Timestamp {
    let mut counts: HashMap<Timestamp, usize> = HashMap::new();
    for (_, inode) in tree.inodes() {
        *counts.entry(inode.metadata.mtime).or_default() += 1;
    }
    let best = counts
        .into_iter()
        .max_by_key(|(mtime, count)| (*count, Reverse(*mtime)));
    best.map(|(mtime, _)| mtime).unwrap_or_default()
}

/// Checks owners and the division into inline and external files; gives the number of different objects and
/// their length.
fn check_files(tree: &Tree, threshold_bytes: u64) -> Result<(u64, u64), PackError> {
    let mut objects = HashMap::new();
    for (id, inode) in tree.inodes() {
        check_owner(tree, id)?;
        let Kind::Regular(content) = &inode.kind else {
            continue;
        };
        let size_bytes = content.size_bytes();
        let found = match content {
            FileContent::Inline(_) if size_bytes > threshold_bytes => "inline",
            FileContent::External { .. } if size_bytes <= threshold_bytes => "external",
            FileContent::Inline(_) => continue,
            FileContent::External { digest, .. } => {
                let other = *objects.entry(digest).or_insert(size_bytes);
                if other != size_bytes {
                    let expected = format!("{other}, as another file with the same digest");
                    return Err(entry_error(tree, id, "size", size_bytes, expected));
                }
                continue;
            }
        };
        return Err(PackError::Split {
            path: path_of(tree, id),
            size_bytes,
            found,
            threshold_bytes,
        });
    }
    let object_bytes = objects
        .values()
        .try_fold(0u64, |sum, size| sum.checked_add(*size));
    let object_bytes = object_bytes.ok_or(PackError::TooLarge {
        what: "bytes of all objects",
        max: u64::MAX,
    })?;
    Ok((objects.len() as u64, object_bytes))
}

/// The tree itself checks all inodes but the root, and none that was changed later.
fn check_owner(tree: &Tree, id: InodeId) -> Result<(), PackError> {
    let metadata = &tree.inode(id).metadata;
    for (what, owner) in [("user", metadata.uid), ("group", metadata.gid)] {
        if owner > limits::MAX_OWNER {
            let expected = format!("at most {}", limits::MAX_OWNER);
            return Err(entry_error(tree, id, what, owner, expected));
        }
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers and adapters are passed"
)]
fn entry_error(
    tree: &Tree,
    id: InodeId,
    what: &'static str,
    found: impl ToString,
    expected: String,
) -> PackError {
    PackError::Entry {
        path: path_of(tree, id),
        what,
        found: found.to_string(),
        expected,
    }
}

const fn too_many_blocks() -> PackError {
    PackError::TooLarge {
        what: "blocks of the image",
        max: u32::MAX as u64,
    }
}

/// The first path of an inode, for messages.
fn path_of(tree: &Tree, id: InodeId) -> String {
    let mut walk = tree.walk();
    while let Some((path, found)) = walk.next() {
        if found == id {
            return path.escape_ascii().to_string();
        }
    }
    String::from("(an inode without a name)")
}
