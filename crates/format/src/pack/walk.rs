// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks a whole pack and checks what concerns several entries: one root, every directory reached
//! once, link counts, no content twice.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

use std::collections::HashMap;

use super::entry::{Entry, EntryKind, field, read_entry};
use super::read::{Pack, Scan};
use super::{PackError, ReadAt};
use crate::erofs::reader::{RawDirent, RawInode, Reader};
use crate::erofs::{Nid, dirent};
use crate::limits;
use crate::tree::{
    DeviceNumber, FileContent, InlineContent, Inode, InodeId, Kind, Tree, TreeError, Xattr,
};

/// A walk over a pack in canonical order: depth first, names sorted bytewise, the root first.
///
/// Holds the nids of all inodes and one path, no content. When it has ended without an error, the
/// whole grammar was checked but for the content of inline files, which has none.
#[derive(Debug)]
pub struct Walk<'p, R> {
    pub(super) reader: Reader<'p, R>,
    inodes: u64,
    root: Option<Nid>,
    open: Vec<Frame>,
    path: Vec<u8>,
    /// How many components the current path has.
    depth: usize,
    seen: HashMap<Nid, Seen>,
    /// What is left of the image for content; every byte of it can be used once.
    content_left_bytes: u64,
    xattrs_left_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    nlink: u32,
    /// How many names there were so far.
    names: u32,
    /// As directory entries give it.
    file_type: u8,
    is_whiteout: bool,
}

#[derive(Debug)]
struct Frame {
    scan: Scan,
    nid: Nid,
    path_len: usize,
    nlink: u32,
    subdirectories: u32,
    holds_whiteouts: bool,
    whiteouts: bool,
}

/// One step of a walk.
#[derive(Debug)]
pub struct Step<'w> {
    /// The path: `/` for the root, else it starts with `/` and does not end with it.
    pub path: &'w [u8],
    /// The last component of the path; empty for the root.
    pub name: &'w [u8],
    /// How many components the path has.
    pub depth: usize,
    /// What is there.
    pub visit: Visit,
}

/// What a step of a walk comes upon.
#[derive(Debug)]
pub enum Visit {
    /// An inode for the first time.
    Entry(Entry),
    /// One more name of an inode that came before.
    Link(Nid),
}

impl<R: ReadAt> Pack<R> {
    /// Walks all names and checks the grammar on the way.
    pub fn walk(&self) -> Walk<'_, R> {
        Walk {
            reader: self.image.reader(),
            inodes: self.entries(),
            root: Some(self.image.root()),
            open: Vec::new(),
            path: Vec::new(),
            depth: 0,
            seen: HashMap::new(),
            content_left_bytes: self.size_bytes(),
            xattrs_left_bytes: limits::MAX_TREE_XATTR_BYTES,
        }
    }

    /// Reads the whole pack and checks its grammar in full.
    pub fn tree(&self) -> Result<Tree, PackError> {
        let mut contents = self.image.reader();
        self.tree_with(|raw| Ok(contents.whole_content(raw)?.into()))
    }

    /// Reads the tree; `content_of` gives the content of inline files.
    pub(super) fn tree_with(
        &self,
        mut content_of: impl FnMut(&RawInode) -> Result<InlineContent, PackError>,
    ) -> Result<Tree, PackError> {
        let mut walk = self.walk();
        let Some(Step {
            visit: Visit::Entry(root),
            ..
        }) = walk.next()?
        else {
            return Err(field("root", 0, "none", "a directory"));
        };
        let mut tree = Tree::new(root.metadata);
        // The directories from the root to the one whose names are being read.
        let mut parents = vec![InodeId::ROOT];
        let mut ids: HashMap<Nid, InodeId> = HashMap::new();
        while let Some(Step {
            path,
            name,
            depth,
            visit,
        }) = walk.next()?
        {
            parents.truncate(depth);
            let parent = parents.last().copied().unwrap_or(InodeId::ROOT);
            let tree_error = |source: TreeError| PackError::Tree {
                path: path.escape_ascii().to_string(),
                source,
            };
            match visit {
                Visit::Entry(entry) => {
                    let (nid, is_shared) = (entry.nid, entry.nlink > 1);
                    let inode = entry.into_inode(&mut content_of)?;
                    let is_directory = inode.as_directory().is_some();
                    let id = tree.insert(parent, name, inode).map_err(tree_error)?;
                    if is_directory {
                        parents.push(id);
                    } else if is_shared {
                        ids.insert(nid, id);
                    }
                }
                Visit::Link(nid) => {
                    let target = ids.get(&nid).copied().unwrap_or(InodeId::ROOT);
                    tree.link(parent, name, target).map_err(tree_error)?;
                }
            }
        }
        Ok(tree)
    }
}

impl Entry {
    fn into_inode(
        self,
        content_of: &mut impl FnMut(&RawInode) -> Result<InlineContent, PackError>,
    ) -> Result<Inode, PackError> {
        let kind = match self.kind {
            EntryKind::Directory { .. } => Kind::directory(),
            EntryKind::Inline { .. } => Kind::Regular(FileContent::Inline(content_of(&self.raw)?)),
            EntryKind::External { digest, size_bytes } => {
                Kind::Regular(FileContent::External { digest, size_bytes })
            }
            EntryKind::Symlink(target) => Kind::Symlink(target),
            EntryKind::CharDevice(device) => Kind::CharDevice(device),
            EntryKind::BlockDevice(device) => Kind::BlockDevice(device),
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::Socket => Kind::Socket,
        };
        Ok(Inode::new(self.metadata, kind))
    }
}

impl<R: ReadAt> Walk<'_, R> {
    /// The next name. After the last, and after an error, there are no more.
    #[expect(clippy::should_implement_trait, reason = "it lends its path buffer")]
    pub fn next(&mut self) -> Result<Option<Step<'_>>, PackError> {
        match self.step() {
            Ok(Some((visit, name_at))) => Ok(Some(Step {
                name: self.path.get(name_at..).unwrap_or_default(),
                path: if self.path.is_empty() {
                    b"/"
                } else {
                    &self.path
                },
                depth: self.depth,
                visit,
            })),
            Ok(None) => Ok(None),
            Err(error) => {
                self.open.clear();
                self.seen.clear();
                self.inodes = 0;
                Err(error)
            }
        }
    }

    /// Goes on to the next name; gives what it names and where in the path it begins.
    fn step(&mut self) -> Result<Option<(Visit, usize)>, PackError> {
        if let Some(nid) = self.root.take() {
            let root = read_entry(&mut self.reader, nid)?;
            if !matches!(root.kind, EntryKind::Directory { .. }) {
                return Err(field(
                    "root",
                    root.raw.offset_bytes,
                    "another type",
                    "a directory",
                ));
            }
            self.spend(&root)?;
            self.remember(&root)?;
            self.enter(&root, nid);
            return Ok(Some((Visit::Entry(root), 0)));
        }
        loop {
            let Some(frame) = self.open.last_mut() else {
                return self.finish();
            };
            self.path.truncate(frame.path_len);
            let Some(dirent) = frame.scan.next(&mut self.reader)? else {
                self.leave()?;
                continue;
            };
            self.depth = self.open.len();
            return self.visit(&dirent).map(Some);
        }
    }

    fn visit(&mut self, dirent: &RawDirent) -> Result<(Visit, usize), PackError> {
        self.path.push(b'/');
        let name_at = self.path.len();
        self.path.extend_from_slice(&dirent.name);
        if self.path.len() > limits::MAX_PATH_BYTES {
            let at = dirent.nid.offset_bytes();
            let expected = format!("at most {}", limits::MAX_PATH_BYTES);
            return Err(field("length of a path", at, self.path.len(), expected));
        }
        if let Some(seen) = self.seen.get_mut(&dirent.nid) {
            seen.names = seen.names.saturating_add(1);
            if seen.names > seen.nlink || seen.file_type == 2 {
                let at = dirent.nid.offset_bytes();
                return Err(field("link count", at, "one more name", seen.nlink));
            }
            let seen = *seen;
            self.count(dirent, seen)?;
            return Ok((Visit::Link(dirent.nid), name_at));
        }
        let entry = read_entry(&mut self.reader, dirent.nid)?;
        self.spend(&entry)?;
        let seen = self.remember(&entry)?;
        self.count(dirent, seen)?;
        if seen.file_type == 2 {
            self.enter(&entry, dirent.nid);
        }
        Ok((Visit::Entry(entry), name_at))
    }

    /// Takes the inode's content and xattrs off what may be left.
    fn spend(&mut self, entry: &Entry) -> Result<(), PackError> {
        let at = entry.raw.offset_bytes;
        let content_bytes = match entry.kind {
            EntryKind::External { .. } => 0,
            _ => entry.raw.fields.size_bytes,
        };
        let left = self.content_left_bytes.checked_sub(content_bytes);
        let too_much = || field("size", at, content_bytes, "not more than the image has");
        self.content_left_bytes = left.ok_or_else(too_much)?;
        let lengths = |xattr: &Xattr| xattr.name.len().saturating_add(xattr.value.len());
        let xattr_bytes: usize = entry.metadata.xattrs.iter().map(lengths).sum();
        let left = self.xattrs_left_bytes.checked_sub(xattr_bytes);
        let too_much = || {
            let expected = format!("at most {}", limits::MAX_TREE_XATTR_BYTES);
            field("bytes of all xattrs", at, "more", expected)
        };
        self.xattrs_left_bytes = left.ok_or_else(too_much)?;
        Ok(())
    }

    fn remember(&mut self, entry: &Entry) -> Result<Seen, PackError> {
        let at = entry.raw.offset_bytes;
        if self.seen.len() as u64 >= self.inodes {
            return Err(field(
                "inode",
                at,
                "one more",
                format!("{} in all", self.inodes),
            ));
        }
        let seen = Seen {
            nlink: entry.nlink,
            names: 1,
            file_type: dirent::file_type(entry.stored_mode()).unwrap_or(0),
            is_whiteout: entry.kind == EntryKind::CharDevice(DeviceNumber::WHITEOUT),
        };
        self.seen.insert(entry.nid, seen);
        Ok(seen)
    }

    /// Counts a name in its directory.
    fn count(&mut self, dirent: &RawDirent, seen: Seen) -> Result<(), PackError> {
        if seen.file_type != dirent.file_type {
            let at = dirent.nid.offset_bytes();
            return Err(field(
                "type in a directory entry",
                at,
                dirent.file_type,
                seen.file_type,
            ));
        }
        if let Some(frame) = self.open.last_mut() {
            frame.whiteouts |= seen.is_whiteout;
            frame.subdirectories = frame
                .subdirectories
                .saturating_add(u32::from(seen.file_type == 2));
        }
        Ok(())
    }

    fn enter(&mut self, directory: &Entry, nid: Nid) {
        let parent = self.open.last().map_or(nid, |frame| frame.nid);
        self.open.push(Frame {
            scan: Scan::new(directory, Some(parent)),
            nid,
            path_len: self.path.len(),
            nlink: directory.nlink,
            subdirectories: 0,
            holds_whiteouts: directory.kind
                == EntryKind::Directory {
                    holds_whiteouts: true,
                },
            whiteouts: false,
        });
    }

    /// Checks a directory whose names have all been read.
    fn leave(&mut self) -> Result<(), PackError> {
        let Some(frame) = self.open.pop() else {
            return Ok(());
        };
        let at = frame.nid.offset_bytes();
        let nlink = frame.subdirectories.saturating_add(2);
        if frame.nlink != nlink {
            return Err(field("link count of a directory", at, frame.nlink, nlink));
        }
        if frame.holds_whiteouts != frame.whiteouts {
            return Err(field(
                "whiteout xattrs of a directory",
                at,
                frame.holds_whiteouts,
                frame.whiteouts,
            ));
        }
        Ok(())
    }

    /// Checks the whole when all directories have been left.
    fn finish(&mut self) -> Result<Option<(Visit, usize)>, PackError> {
        let found = self.seen.len() as u64;
        if found != self.inodes {
            return Err(field("number of inodes", 0, self.inodes, found));
        }
        for (nid, seen) in &self.seen {
            if seen.file_type != 2 && seen.names != seen.nlink {
                return Err(field(
                    "link count",
                    nid.offset_bytes(),
                    seen.nlink,
                    seen.names,
                ));
            }
        }
        Ok(None)
    }
}
