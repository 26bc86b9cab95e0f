// SPDX-License-Identifier: MIT OR Apache-2.0
//! The grammar of one inode: docs/format/pack.md, "Overlay attributes" and "Inodes".

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

use super::PackError;
use super::overlay::{self, MARKER, METACOPY, OVERLAY, PACK, REDIRECT, Role};
use crate::digest::{DIGEST_BYTES, VerityDigest};
use crate::erofs::inode::{DataLayout, decode_device};
use crate::erofs::read_xattrs::RawXattr;
use crate::erofs::reader::{RawInode, Reader};
use crate::erofs::xattr::{METACOPY_PREFIX, Namespace, StoredXattr};
use crate::erofs::{ImageError, Nid, ReadAt, dirent};
use crate::limits;
use crate::tree::{DeviceNumber, Metadata, Xattr, XattrSet};

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
    /// A regular file with its content in the pack, to be read with [`super::Pack::read`].
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
        let xattr = |stored: StoredXattr<'_>| Xattr {
            name: stored.full_name(),
            value: stored.value.to_vec().into(),
        };
        stored.unwrap_or_default().into_iter().map(xattr).collect()
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
    for (what, owner) in [("user", fields.uid), ("group", fields.gid)] {
        if owner > limits::MAX_OWNER {
            let expected = format!("at most {}", limits::MAX_OWNER);
            return Err(field(what, at, owner, expected));
        }
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
