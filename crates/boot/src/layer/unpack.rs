// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pack's entries written out into an empty filesystem, as overlayfs is to find them.
//!
//! What is written is at the same time put together as a tree, so that its digest can be compared
//! with the one that was signed.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;
use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_format::pack::{Entry, EntryKind, Nid, Pack, PackError, Step, Visit};
use sealroot_format::tree::{Inode, InodeId, Metadata, Tree, TreeError};

use super::node::{self, CallError};

/// One block of a pack: what is read of it at a time.
const BUFFER_BYTES: usize = 4096;

/// Why a pack could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The pack is not one.
    #[error("the pack breaks its format")]
    Pack(#[from] PackError),
    /// An entry is not one that a tree can have.
    #[error("{path}")]
    Tree { path: String, source: TreeError },
    /// An entry cannot be written.
    #[error("{path}")]
    Write { path: String, source: CallError },
}

impl UnpackError {
    /// Whether the filesystem was full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.errno == Errno::NOSPC)
    }
}

/// Writes all entries of `pack` into the empty directory `root`. Gives the tree that was written,
/// with every content as its digest.
pub(crate) fn unpack(pack: &Pack<&File>, root: BorrowedFd<'_>) -> Result<Tree, UnpackError> {
    let mut writer = Writer {
        pack,
        place: Place {
            root,
            directory: None,
        },
        tree: Tree::new(Metadata::default()),
        parents: vec![InodeId::ROOT],
        linked: HashMap::new(),
        directories: Vec::new(),
    };
    let mut walk = pack.walk();
    while let Some(step) = walk.next()? {
        match &step.visit {
            Visit::Entry(entry) => writer.entry(&step, entry)?,
            Visit::Link(nid) => writer.link(&step, *nid)?,
        }
    }
    writer.finish()
}

struct Writer<'p> {
    pack: &'p Pack<&'p File>,
    place: Place<'p>,
    tree: Tree,
    /// The directories from the root to the one whose names are being read.
    parents: Vec<InodeId>,
    /// Of inodes with several names the path of the first, and where it is in the tree.
    linked: HashMap<Nid, (Box<[u8]>, InodeId)>,
    /// What a directory is given at the end: until then writing into it would change its time,
    /// and its ACL and group would be inherited.
    directories: Vec<(Box<[u8]>, Entry)>,
}

impl Writer<'_> {
    fn entry(&mut self, step: &Step<'_>, entry: &Entry) -> Result<(), UnpackError> {
        let content = self.write(step, entry)?;
        let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
        if is_directory {
            self.directories.push((step.path.into(), entry.clone()));
        }
        if step.name.is_empty() {
            self.tree.inode_mut(InodeId::ROOT).metadata = entry.metadata.clone();
            return Ok(());
        }
        let inode = Inode::new(entry.metadata.clone(), node::kind(&entry.kind, content));
        let parent = self.parent(step);
        let id = self
            .tree
            .insert(parent, step.name, inode)
            .map_err(|source| not_a_tree(step, source))?;
        if is_directory {
            self.parents.push(id);
        } else if entry.nlink > 1 {
            self.linked.insert(entry.nid, (step.path.into(), id));
        }
        Ok(())
    }

    /// Writes an entry; gives the digest of content that is inside the pack.
    fn write(&mut self, step: &Step<'_>, entry: &Entry) -> Result<VerityDigest, UnpackError> {
        let mut hasher = VerityHasher::new();
        let is_root = step.name.is_empty();
        if !is_root {
            let parent = self.place.of(step).map_err(|error| error.at(step.path))?;
            let file = node::create(parent, step.name, entry);
            if let Some(file) = file.map_err(|error| error.at(step.path))? {
                copy(self.pack, entry, step.path, &File::from(file), &mut hasher)?;
            }
            if !matches!(entry.kind, EntryKind::Directory { .. }) {
                node::set_attributes(parent, step.name, entry)
                    .map_err(|error| error.at(step.path))?;
            }
        }
        Ok(hasher.finish())
    }

    fn link(&mut self, step: &Step<'_>, nid: Nid) -> Result<(), UnpackError> {
        // The walk gives a link only after what it links to.
        let (first, target) = match self.linked.get(&nid) {
            Some((path, target)) => (&**path, *target),
            None => (&b"/"[..], InodeId::ROOT),
        };
        let root = self.place.root;
        let parent = self.place.of(step).map_err(|error| error.at(step.path))?;
        node::link(root, first, parent, step.name).map_err(|error| error.at(step.path))?;
        let parent = self.parent(step);
        self.tree
            .link(parent, step.name, target)
            .map_err(|source| not_a_tree(step, source))
    }

    fn parent(&mut self, step: &Step<'_>) -> InodeId {
        self.parents.truncate(step.depth);
        self.parents.last().copied().unwrap_or(InodeId::ROOT)
    }

    /// Gives the directories their attributes.
    fn finish(self) -> Result<Tree, UnpackError> {
        for (path, entry) in &self.directories {
            node::open_directory(self.place.root, path)
                .and_then(|directory| node::set_attributes(directory.as_fd(), b".", entry))
                .map_err(|error| error.at(path))?;
        }
        Ok(self.tree)
    }
}

fn not_a_tree(step: &Step<'_>, source: TreeError) -> UnpackError {
    UnpackError::Tree {
        path: step.path.escape_ascii().to_string(),
        source,
    }
}

/// Where entries are written: the directory of the last one, which most share with the next.
struct Place<'p> {
    root: BorrowedFd<'p>,
    directory: Option<(Box<[u8]>, OwnedFd)>,
}

impl Place<'_> {
    /// The directory that the entry of a step is in; for the root itself, the root.
    fn of(&mut self, step: &Step<'_>) -> Result<BorrowedFd<'_>, CallError> {
        let end = step.path.len().saturating_sub(step.name.len());
        let path = step.path.get(..end).unwrap_or_default();
        if step.depth <= 1 {
            return Ok(self.root);
        }
        if !matches!(&self.directory, Some((last, _)) if **last == *path) {
            self.directory = Some((path.into(), node::open_directory(self.root, path)?));
        }
        Ok(match &self.directory {
            Some((_, directory)) => directory.as_fd(),
            None => self.root,
        })
    }
}

/// Copies an inline file's content, which is hashed on the way.
fn copy(
    pack: &Pack<&File>,
    entry: &Entry,
    path: &[u8],
    file: &File,
    hasher: &mut VerityHasher,
) -> Result<(), UnpackError> {
    let mut buffer = [0; BUFFER_BYTES];
    let mut offset_bytes = 0u64;
    loop {
        let read = pack.read(entry, offset_bytes, &mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        file.write_all_at(bytes, offset_bytes)
            .map_err(|error| CallError::of_io("write", &error).at(path))?;
        hasher.update(bytes);
        offset_bytes = offset_bytes.saturating_add(read as u64);
    }
}

impl CallError {
    fn at(self, path: &[u8]) -> UnpackError {
        UnpackError::Write {
            path: path.escape_ascii().to_string(),
            source: self,
        }
    }
}
