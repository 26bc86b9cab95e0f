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
use super::overlay::{self, MARKER, METACOPY, OVERLAY, PACK, REDIRECT, Role};
use super::place::VOLUME_NAME;
use crate::digest::{DIGEST_BYTES, VerityDigest};
use crate::erofs::inode::DataLayout;
use crate::erofs::inode::decode_device;
use crate::erofs::reader::{RawDirent, RawInode, RawXattr, Reader};
use crate::erofs::superblock::Image;
use crate::erofs::xattr::{METACOPY_PREFIX, Namespace};
use crate::erofs::{ImageError, Nid, ReadAt, dirent};
use crate::limits;
use crate::tree::{DeviceNumber, Metadata, Xattr, XattrSet};

/// A pack whose superblock was checked, and nothing else yet.
#[derive(Debug)]
pub struct Pack<R> {
    pub(super) image: Image<R>,
}

/// One inode of a pack.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is. Names with the same nid are hardlinks.
    pub nid: Nid,
    /// Mode, owner, time and the payload's xattrs.
    pub metadata: Metadata,
    /// How many names it says it has; for a directory 2 and the number of subdirectories.
    pub nlink: u32,
    /// What it is.
    pub kind: EntryKind,
    pub(super) raw: RawInode,
}

/// What an inode of a pack is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory {
        /// Whether there are whiteouts among its names.
        holds_whiteouts: bool,
    },
    /// A regular file with its content in the pack, to be read with [`Pack::read`].
    Inline {
        /// The length of the content.
        size_bytes: u64,
    },
    /// A regular file whose content is an object.
    External {
        /// The fs-verity digest of the object.
        digest: VerityDigest,
        /// The length of the content.
        size_bytes: u64,
    },
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A character device, or a whiteout.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
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

    /// How many inodes the pack says it has, at most [`limits::MAX_TREE_ENTRIES`].
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

impl Entry {
    /// The `st_mode` of the inode as overlayfs is to find it: a whiteout is a regular file.
    pub const fn stored_mode(&self) -> u16 {
        self.raw.fields.mode
    }

    /// The xattrs as overlayfs is to find them, redirects and escapes among them.
    pub fn stored_xattrs(&self) -> Vec<Xattr> {
        let role = match &self.kind {
            EntryKind::External { digest, .. } => Role::External(digest),
            EntryKind::CharDevice(DeviceNumber::WHITEOUT) => Role::Whiteout,
            EntryKind::Directory {
                holds_whiteouts: true,
            } => Role::HoldsWhiteouts,
            _ => Role::Plain,
        };
        // An entry that was read has only xattrs that can be stored.
        let stored = overlay::stored_xattrs(&self.metadata.xattrs, role, &PACK);
        let xattr = |stored: crate::erofs::xattr::StoredXattr<'_>| Xattr {
            name: stored.full_name(),
            value: stored.value.to_vec().into(),
        };
        stored.unwrap_or_default().into_iter().map(xattr).collect()
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
                _ => return Ok(Some(found)),
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

pub(super) fn field(
    what: &'static str,
    offset_bytes: u64,
    found: impl ToString,
    expected: impl ToString,
) -> PackError {
    PackError::Image(ImageError::field(what, offset_bytes, found, expected))
}

/// Reads one inode and checks it as far as that can be done without any other.
pub(super) fn read_entry<R: ReadAt>(
    reader: &mut Reader<'_, R>,
    nid: Nid,
) -> Result<Entry, PackError> {
    let raw = reader.inode(nid)?;
    let fields = &raw.fields;
    let at = raw.offset_bytes;
    let mut xattrs = split_xattrs(at, reader.xattrs(&raw)?)?;
    let mut kind = read_kind(reader, &raw, &mut xattrs)?;
    if let Some(marker) = xattrs.marker.take() {
        let role = match kind {
            EntryKind::Inline { size_bytes: 0 } => {
                kind = EntryKind::CharDevice(DeviceNumber::WHITEOUT);
                Role::Whiteout
            }
            EntryKind::Directory { .. } => {
                kind = EntryKind::Directory {
                    holds_whiteouts: true,
                };
                Role::HoldsWhiteouts
            }
            _ => {
                return Err(field(
                    "whiteout xattr",
                    at,
                    "one",
                    "none on this type of file",
                ));
            }
        };
        if !marker.is_empty() {
            return Err(field("whiteout xattr", at, "a value", "an empty one"));
        }
        take_whiteout_xattrs(at, &mut xattrs.payload, role)?;
    }
    if xattrs.metacopy.is_some() || xattrs.redirect.is_some() {
        return Err(field(
            "overlay xattrs",
            at,
            "a redirect",
            "none on this type of file",
        ));
    }
    let set = XattrSet::from_unsorted(xattrs.payload);
    let set = set.map_err(|source| field("xattrs", at, source, "a valid set"))?;
    if fields.mtime.nanoseconds >= 1_000_000_000 {
        return Err(field(
            "nanoseconds of mtime",
            at,
            fields.mtime.nanoseconds,
            "below 1000000000",
        ));
    }
    Ok(Entry {
        nid,
        metadata: Metadata {
            permissions: fields.mode & 0o7777,
            uid: fields.uid,
            gid: fields.gid,
            mtime: fields.mtime,
            xattrs: set,
        },
        nlink: fields.nlink,
        kind,
        raw,
    })
}

/// The xattrs of an inode, those that are overlayfs' apart from the payload's.
struct SplitXattrs {
    payload: Vec<Xattr>,
    metacopy: Option<Vec<u8>>,
    redirect: Option<Vec<u8>>,
    marker: Option<Vec<u8>>,
}

/// pack.md, "Overlay attributes": every `trusted.overlay.*` is one of ours or escaped.
fn split_xattrs(at: u64, raw: Vec<RawXattr>) -> Result<SplitXattrs, PackError> {
    let mut split = SplitXattrs {
        payload: Vec::with_capacity(raw.len()),
        metacopy: None,
        redirect: None,
        marker: None,
    };
    for (namespace, suffix, value) in raw {
        let name_bytes = namespace.prefix().len().saturating_add(suffix.len());
        if name_bytes > limits::MAX_XATTR_NAME_BYTES {
            let expected = format!("at most {}", limits::MAX_XATTR_NAME_BYTES);
            return Err(field("length of a xattr name", at, name_bytes, expected));
        }
        let overlay = match namespace {
            Namespace::Trusted => suffix.strip_prefix(OVERLAY),
            _ => None,
        };
        let suffix = match overlay {
            None => &*suffix,
            Some(escaped) if escaped.starts_with(OVERLAY) && escaped != OVERLAY => escaped,
            Some(_) => {
                let place = match &*suffix {
                    METACOPY => &mut split.metacopy,
                    REDIRECT => &mut split.redirect,
                    MARKER => &mut split.marker,
                    _ => return Err(field("xattr", at, suffix.escape_ascii(), "it escaped")),
                };
                if place.replace(value).is_some() {
                    return Err(field("xattr", at, suffix.escape_ascii(), "it once"));
                }
                continue;
            }
        };
        split.payload.push(Xattr {
            name: [namespace.prefix(), suffix].concat().into(),
            value: value.into(),
        });
    }
    Ok(split)
}

/// Takes away what the writer added for the sake of whiteouts; all of it must be there.
fn take_whiteout_xattrs(
    at: u64,
    payload: &mut Vec<Xattr>,
    role: Role<'_>,
) -> Result<(), PackError> {
    for (namespace, _, suffix, value) in role.whiteout_xattrs() {
        let name = [namespace.prefix(), suffix].concat();
        let found = payload
            .iter()
            .position(|xattr| *xattr.name == *name && *xattr.value == **value);
        let found =
            found.ok_or_else(|| field("whiteout xattrs", at, "not all", name.escape_ascii()))?;
        payload.swap_remove(found);
    }
    Ok(())
}

fn read_kind<R: ReadAt>(
    reader: &mut Reader<'_, R>,
    raw: &RawInode,
    xattrs: &mut SplitXattrs,
) -> Result<EntryKind, PackError> {
    let fields = &raw.fields;
    let (at, size_bytes) = (raw.offset_bytes, fields.size_bytes);
    let file_type = dirent::file_type(fields.mode);
    if fields.layout == DataLayout::Chunked && file_type != Some(1) {
        return Err(field(
            "inode format",
            at,
            "chunk based",
            "it on regular files only",
        ));
    }
    let check_size = |max: u64| {
        let too_large = || field("size", at, size_bytes, format!("at most {max}"));
        (size_bytes <= max).then_some(()).ok_or_else(too_large)
    };
    let device = decode_device(fields.location);
    let kind = match file_type {
        Some(1) if fields.layout == DataLayout::Chunked => {
            reader.check_hole(raw)?;
            let digest = object_digest(at, xattrs)?;
            return Ok(EntryKind::External { digest, size_bytes });
        }
        Some(1) => {
            check_size(limits::MAX_THRESHOLD_BYTES.into())?;
            EntryKind::Inline { size_bytes }
        }
        Some(2) => EntryKind::Directory {
            holds_whiteouts: false,
        },
        Some(7) => {
            check_size(limits::MAX_SYMLINK_BYTES as u64)?;
            EntryKind::Symlink(reader.whole_content(raw)?)
        }
        Some(3) if device == DeviceNumber::WHITEOUT => {
            return Err(field("device", at, "a whiteout", "it escaped"));
        }
        Some(3) => EntryKind::CharDevice(device),
        Some(4) => EntryKind::BlockDevice(device),
        Some(5) => EntryKind::Fifo,
        Some(6) => EntryKind::Socket,
        _ => {
            return Err(field(
                "file type",
                at,
                format!("{:#o}", fields.mode),
                "a known one",
            ));
        }
    };
    let may_have_content = matches!(file_type, Some(1 | 2 | 7));
    if !may_have_content && (size_bytes != 0 || fields.layout != DataLayout::Plain) {
        return Err(field("size", at, size_bytes, "0 on this type of file"));
    }
    Ok(kind)
}

/// pack.md, "External files": the digest, and exactly the redirect that belongs to it.
fn object_digest(at: u64, xattrs: &mut SplitXattrs) -> Result<VerityDigest, PackError> {
    let metacopy = xattrs.metacopy.take().unwrap_or_default();
    let digest = metacopy.strip_prefix(&METACOPY_PREFIX);
    let digest: Option<[u8; DIGEST_BYTES]> = digest.and_then(|digest| digest.try_into().ok());
    let digest = digest.map(VerityDigest::from_bytes);
    let digest = digest.ok_or_else(|| {
        field(
            "overlay.metacopy of an external file",
            at,
            metacopy.escape_ascii(),
            "a SHA-256 digest",
        )
    })?;
    let redirect = xattrs.redirect.take().unwrap_or_default();
    let expected = overlay::redirect_value(&digest, &PACK);
    if redirect != expected {
        let (found, expected) = (redirect.escape_ascii(), expected.escape_ascii());
        return Err(field(
            "overlay.redirect of an external file",
            at,
            found,
            expected,
        ));
    }
    Ok(digest)
}
