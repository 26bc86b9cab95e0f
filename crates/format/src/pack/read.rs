// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a pack from untrusted bytes: single entries, by path or in order.
//!
//! Each entry is checked against the grammar of the pack (docs/format/pack.md, "Grammar") before
//! anything of it is given out. What concerns several entries is checked by [`super::Walk`].

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

use super::PackError;
use super::entry::{Entry, EntryKind, field, read_entry};
use super::place::VOLUME_NAME;
use crate::erofs::reader::{RawDirent, RawInode, Reader};
use crate::erofs::superblock::Image;
use crate::erofs::{Nid, ReadAt};
use crate::tree::check_name;

/// A pack whose superblock was checked, and nothing else yet.
#[derive(Debug)]
pub struct Pack<R> {
    pub(super) image: Image<R>,
}

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name; not `.` or `..`.
    pub name: Box<[u8]>,
    /// What it names.
    pub nid: Nid,
}

impl<R: ReadAt> Pack<R> {
    /// Opens a pack: checks the superblock against the profile, and the length.
    pub fn open(source: R) -> Result<Self, PackError> {
        let image = Image::open(source, VOLUME_NAME)?;
        Ok(Self { image })
    }

    /// The length of the pack.
    pub const fn size_bytes(&self) -> u64 {
        self.image.size_bytes
    }

    /// How many inodes the pack says it has, at most [`crate::limits::MAX_TREE_ENTRIES`].
    pub const fn entries(&self) -> u64 {
        self.image.superblock.inodes
    }

    /// The root directory.
    pub fn root(&self) -> Result<Entry, PackError> {
        self.entry(self.image.root())
    }

    /// The inode at `nid`, which this pack gave.
    pub fn entry(&self, nid: Nid) -> Result<Entry, PackError> {
        read_entry(&mut self.image.reader(), nid)
    }

    /// The inode at a path of components, without following symlinks.
    pub fn lookup<'p>(
        &self,
        components: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<Option<Entry>, PackError> {
        let mut entry = self.root()?;
        for component in components {
            if !matches!(entry.kind, EntryKind::Directory { .. }) {
                return Ok(None);
            }
            let mut names = self.names(&entry);
            let found = names.find(|name| !matches!(name, Ok(name) if *name.name != *component));
            match found.transpose()? {
                Some(name) => entry = self.entry(name.nid)?,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    /// The names of a directory, sorted bytewise; none for anything else.
    pub fn names(&self, directory: &Entry) -> Names<'_, R> {
        Names {
            reader: self.image.reader(),
            scan: Scan::new(directory, None),
        }
    }

    /// Reads the content of an [`EntryKind::Inline`] file from `offset_bytes` on, as much as fits
    /// into `buf` and is in one block; gives 0 at the end.
    pub fn read(
        &self,
        file: &Entry,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> Result<usize, PackError> {
        match file.kind {
            EntryKind::Inline { .. } => {
                Ok(self.image.reader().content(&file.raw, offset_bytes, buf)?)
            }
            _ => Ok(0),
        }
    }
}

/// The names of one directory; see [`Pack::names`].
#[derive(Debug)]
pub struct Names<'p, R> {
    reader: Reader<'p, R>,
    scan: Scan,
}

impl<R: ReadAt> Iterator for Names<'_, R> {
    type Item = Result<Name, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.scan.next(&mut self.reader).transpose()?;
        Some(found.map(|found| Name {
            name: found.name.into(),
            nid: found.nid,
        }))
    }
}

/// A position in the names of a directory.
#[derive(Debug)]
pub(super) struct Scan {
    directory: Option<RawInode>,
    own: Nid,
    parent: Option<Nid>,
    next_block: u64,
    block: std::vec::IntoIter<RawDirent>,
    previous: Vec<u8>,
    dots: u32,
}

impl Scan {
    /// At the first name. `..` is checked against `parent` where that is known.
    pub(super) fn new(directory: &Entry, parent: Option<Nid>) -> Self {
        let is_directory = matches!(directory.kind, EntryKind::Directory { .. });
        Self {
            directory: is_directory.then_some(directory.raw),
            own: directory.nid,
            parent,
            next_block: 0,
            block: Vec::new().into_iter(),
            previous: Vec::new(),
            dots: 0,
        }
    }

    /// The next name that is not `.` or `..`. After an error there are no more.
    pub(super) fn next<R: ReadAt>(
        &mut self,
        reader: &mut Reader<'_, R>,
    ) -> Result<Option<RawDirent>, PackError> {
        let Some(directory) = self.directory else {
            return Ok(None);
        };
        let found = self.step(&directory, reader);
        if !matches!(found, Ok(Some(_))) {
            self.directory = None;
        }
        found
    }

    fn step<R: ReadAt>(
        &mut self,
        directory: &RawInode,
        reader: &mut Reader<'_, R>,
    ) -> Result<Option<RawDirent>, PackError> {
        let at = directory.offset_bytes;
        loop {
            let Some(found) = self.block.next() else {
                match reader.dirents(directory, self.next_block)? {
                    Some(block) => self.block = block.into_iter(),
                    None if self.dots != 2 => {
                        return Err(field("directory", at, "no . or no ..", "both"));
                    }
                    None => return Ok(None),
                }
                self.next_block = self.next_block.saturating_add(1);
                continue;
            };
            // The grammar forbids the empty name, so the first is always greater.
            if found.name <= self.previous {
                let (found, previous) = (found.name.escape_ascii(), self.previous.escape_ascii());
                return Err(field(
                    "name in a directory",
                    at,
                    found,
                    format!("one after {previous}"),
                ));
            }
            self.previous.clone_from(&found.name);
            let expected = match &*found.name {
                b"." => Some(self.own),
                b".." => self.parent.or(Some(found.nid)),
                // pack.md P2: whoever walks makes files of these names.
                name => {
                    check_name(name).map_err(|source| PackError::Tree {
                        path: name.escape_ascii().to_string(),
                        source,
                    })?;
                    return Ok(Some(found));
                }
            };
            if expected != Some(found.nid) || found.file_type != 2 {
                let name = found.name.escape_ascii();
                return Err(field(
                    "directory",
                    at,
                    format!("a wrong {name}"),
                    "its own or its parent's nid",
                ));
            }
            self.dots = self.dots.saturating_add(1);
        }
    }
}
