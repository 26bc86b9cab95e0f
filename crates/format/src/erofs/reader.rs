// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the structures of an image from untrusted bytes.
//!
//! Nothing here says what an image may contain: that is the grammar of the pack. What is checked
//! is that every structure lies within the image, has no value the format does not know, and is
//! read by the kernel as it is read here.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

use super::inode::{DataLayout, InodeFields, chunks};
use super::layout::{
    BLOCK_BITS, BLOCK_BYTES, CHUNK_ENTRY_BYTES, CHUNK_HOLE, CHUNKS_MAX, CompactInode,
    ExtendedInode, SLOT_BYTES, XATTR_UNIT_BYTES, XattrHeader, within_block,
};
use super::superblock::Image;
use super::xattr::AFTER_LONG_NAMES_BYTES;
use super::{ImageError, ReadAt};
use crate::limits;
use crate::tree::Timestamp;

/// Where an inode is in an image, in units of 32 bytes; meaningful only for the image that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nid(pub(crate) u64);

impl Nid {
    /// Where the inode is in the image.
    pub const fn offset_bytes(self) -> u64 {
        self.0.saturating_mul(SLOT_BYTES as u64)
    }
}

/// Blocks a reader keeps: enough for the metadata of a directory and the shared xattrs it uses.
const CACHE_BLOCKS: usize = 64;
const CACHE_MASK: u64 = CACHE_BLOCKS as u64 - 1;

/// Reads structures through a small cache of blocks.
#[derive(Debug)]
pub(crate) struct Reader<'i, R> {
    pub(super) image: &'i Image<R>,
    /// Indexed by block number modulo its length; empty until first used.
    cache: Vec<(u64, Vec<u8>)>,
}

/// An inode and where its parts are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawInode {
    pub(crate) offset_bytes: u64,
    pub(crate) fields: InodeFields,
    pub(super) xattr_offset_bytes: u64,
    pub(super) xattr_bytes: usize,
}

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawDirent {
    pub(crate) name: Vec<u8>,
    pub(crate) nid: Nid,
    pub(crate) file_type: u8,
}

impl<'i, R: ReadAt> Reader<'i, R> {
    pub(super) const fn new(image: &'i Image<R>) -> Self {
        Self {
            image,
            cache: Vec::new(),
        }
    }

    /// Fills `buf` through the cache.
    fn read(
        &mut self,
        what: &'static str,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> Result<(), ImageError> {
        self.image
            .check_range(what, offset_bytes, buf.len() as u64)?;
        let (mut at, mut rest) = (offset_bytes, buf);
        while !rest.is_empty() {
            let within = within_block(at);
            let block = self.block(at >> BLOCK_BITS)?;
            let available = block.get(within..).unwrap_or_default();
            let taken = available.len().min(rest.len());
            if taken == 0 {
                return Err(ImageError::field(what, at, "no bytes", "a block"));
            }
            let (now, later) = rest.split_at_mut(taken);
            now.copy_from_slice(available.get(..taken).unwrap_or_default());
            rest = later;
            at = at.saturating_add(taken as u64);
        }
        Ok(())
    }

    fn block(&mut self, number: u64) -> Result<&[u8], ImageError> {
        if self.cache.is_empty() {
            self.cache.resize(CACHE_BLOCKS, (u64::MAX, Vec::new()));
        }
        let slot = usize::try_from(number & CACHE_MASK).unwrap_or(0);
        let offset_bytes = number.saturating_mul(BLOCK_BYTES as u64);
        let missing = || ImageError::field("block", offset_bytes, "no bytes", "a block");
        let (cached, bytes) = self.cache.get_mut(slot).ok_or_else(missing)?;
        if *cached != number {
            *cached = u64::MAX;
            bytes.resize(BLOCK_BYTES, 0);
            self.image.read("block", offset_bytes, bytes)?;
            *cached = number;
        }
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
        offset_bytes: u64,
    ) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        self.read(what, offset_bytes, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes whose number the caller bounded.
    pub(super) fn vec(
        &mut self,
        what: &'static str,
        offset_bytes: u64,
        len: usize,
    ) -> Result<Vec<u8>, ImageError> {
        self.image.check_range(what, offset_bytes, len as u64)?;
        let mut bytes = vec![0; len];
        self.read(what, offset_bytes, &mut bytes)?;
        Ok(bytes)
    }

    /// The inode at `nid`.
    pub(crate) fn inode(&mut self, nid: Nid) -> Result<RawInode, ImageError> {
        let at = nid.0.checked_mul(SLOT_BYTES as u64);
        let at = at
            .filter(|at| *at >= AFTER_LONG_NAMES_BYTES as u64)
            .ok_or_else(|| {
                ImageError::field(
                    "nid",
                    nid.0.saturating_mul(SLOT_BYTES as u64),
                    nid.0,
                    "behind the superblock",
                )
            })?;
        let compact: [u8; CompactInode::BYTES] = self.array("inode", at)?;
        let compact = CompactInode::decode(&compact).unwrap_or_default();
        let (fields, inode_bytes) = if compact.format & 1 == 0 {
            (self.compact_fields(at, compact)?, CompactInode::BYTES)
        } else {
            let extended: [u8; ExtendedInode::BYTES] = self.array("inode", at)?;
            let extended = ExtendedInode::decode(&extended).unwrap_or_default();
            (extended_fields(at, extended)?, ExtendedInode::BYTES)
        };
        Ok(RawInode {
            offset_bytes: at,
            fields,
            xattr_offset_bytes: at.saturating_add(inode_bytes as u64),
            xattr_bytes: match usize::from(fields.xattr_count).checked_sub(1) {
                None => 0,
                Some(units) => units
                    .saturating_mul(XATTR_UNIT_BYTES)
                    .saturating_add(XattrHeader::BYTES),
            },
        })
    }

    fn compact_fields(&self, at: u64, found: CompactInode) -> Result<InodeFields, ImageError> {
        if found.reserved != 0 || found.mtime_delta != 0 {
            return Err(ImageError::field(
                "reserved fields of an inode",
                at,
                "other",
                "zero",
            ));
        }
        Ok(InodeFields {
            layout: data_layout(at, found.format)?,
            xattr_count: found.xattr_count,
            mode: found.mode,
            nlink: found.nlink.into(),
            size_bytes: found.size.into(),
            location: found.location,
            number: found.number,
            uid: found.uid.into(),
            gid: found.gid.into(),
            mtime: self.image.build_time(),
        })
    }

    /// Checks that a chunk-based inode is one hole, as the writer makes it.
    pub(crate) fn check_hole(&mut self, inode: &RawInode) -> Result<(), ImageError> {
        let at = inode
            .xattr_offset_bytes
            .saturating_add(inode.xattr_bytes as u64);
        let (size_bytes, format) = (inode.fields.size_bytes, inode.fields.location);
        if size_bytes == 0 || size_bytes > limits::MAX_FILE_BYTES {
            return Err(ImageError::field(
                "size of an external file",
                inode.offset_bytes,
                size_bytes,
                "1 to 8 PiB",
            ));
        }
        let (expected_format, count) = chunks(size_bytes);
        if format != expected_format || count > CHUNKS_MAX {
            return Err(ImageError::field(
                "chunk format",
                inode.offset_bytes,
                format,
                expected_format,
            ));
        }
        for index in 0..count {
            let at = at.saturating_add(index.saturating_mul(CHUNK_ENTRY_BYTES as u64));
            let chunk = u32::from_le_bytes(self.array("chunk", at)?);
            if chunk != CHUNK_HOLE {
                return Err(ImageError::field("chunk", at, chunk, "a hole"));
            }
        }
        Ok(())
    }

    /// Reads content from `offset_bytes` on: as much as fits into `buf` and lies in one block;
    /// 0 at the end.
    pub(crate) fn content(
        &mut self,
        inode: &RawInode,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> Result<usize, ImageError> {
        let (index, within) = (offset_bytes >> BLOCK_BITS, within_block(offset_bytes));
        let Some((at, len)) = content_block(inode, index)? else {
            return Ok(0);
        };
        let available = len.saturating_sub(within);
        let taken = available.min(buf.len());
        let target = buf.get_mut(..taken).unwrap_or_default();
        self.image
            .read("content", at.saturating_add(within as u64), target)?;
        Ok(taken)
    }

    /// All content of an inode that the caller found small enough.
    pub(crate) fn whole_content(&mut self, inode: &RawInode) -> Result<Box<[u8]>, ImageError> {
        let size_bytes = inode.fields.size_bytes;
        self.image.check_range("content", 0, size_bytes)?;
        let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(0)];
        for (index, block) in (0..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
            if let Some((at, _)) = content_block(inode, index)? {
                self.read("content", at, block)?;
            }
        }
        Ok(bytes.into_boxed_slice())
    }

    /// That all content of an inode lies within the image.
    pub(crate) fn check_content(&self, inode: &RawInode) -> Result<(), ImageError> {
        let mut index = 0_u64;
        while let Some((at, len)) = content_block(inode, index)? {
            self.image.check_range("content", at, len as u64)?;
            index = index.saturating_add(1);
        }
        Ok(())
    }

    /// The names in block `index` of a directory; `None` behind the last block.
    pub(crate) fn dirents(
        &mut self,
        inode: &RawInode,
        index: u64,
    ) -> Result<Option<Vec<RawDirent>>, ImageError> {
        let Some((at, len)) = content_block(inode, index)? else {
            return Ok(None);
        };
        let block = self.vec("directory", at, len)?;
        let is_last = len < BLOCK_BYTES;
        super::dirent::decode_block(&block, is_last)
            .map(Some)
            .ok_or_else(|| {
                ImageError::field("directory block", at, "other", "entries, names and zeros")
            })
    }
}

fn data_layout(at: u64, format: u16) -> Result<DataLayout, ImageError> {
    match format >> 1 {
        0 => Ok(DataLayout::Plain),
        2 => Ok(DataLayout::Inline),
        4 => Ok(DataLayout::Chunked),
        _ => Err(ImageError::field(
            "inode format",
            at,
            format,
            "flat plain, flat inline or chunk based",
        )),
    }
}

fn extended_fields(at: u64, found: ExtendedInode) -> Result<InodeFields, ImageError> {
    if found.reserved_1 != 0 || found.reserved_2 != [0; 16] {
        return Err(ImageError::field(
            "reserved fields of an inode",
            at,
            "other",
            "zero",
        ));
    }
    Ok(InodeFields {
        layout: data_layout(at, found.format)?,
        xattr_count: found.xattr_count,
        mode: found.mode,
        nlink: found.nlink,
        size_bytes: found.size,
        location: found.location,
        number: found.number,
        uid: found.uid,
        gid: found.gid,
        mtime: Timestamp {
            seconds: found.mtime_seconds.cast_signed(),
            nanoseconds: found.mtime_nanoseconds,
        },
    })
}

/// Where the content's block `index` is, and how much of it there is.
fn content_block(inode: &RawInode, index: u64) -> Result<Option<(u64, usize)>, ImageError> {
    let block_bytes = BLOCK_BYTES as u64;
    let fields = &inode.fields;
    let Some(left) = fields
        .size_bytes
        .checked_sub(index.saturating_mul(block_bytes))
    else {
        return Ok(None);
    };
    let len = usize::try_from(left.min(block_bytes)).unwrap_or(0);
    if len == 0 {
        return Ok(None);
    }
    let at = if fields.layout == DataLayout::Inline && len < BLOCK_BYTES {
        let at = inode
            .xattr_offset_bytes
            .saturating_add(inode.xattr_bytes as u64);
        if within_block(at).saturating_add(len) > BLOCK_BYTES {
            return Err(ImageError::field("tail", at, len, "bytes within one block"));
        }
        at
    } else {
        u64::from(fields.location)
            .saturating_add(index)
            .saturating_mul(block_bytes)
    };
    Ok(Some((at, len)))
}
