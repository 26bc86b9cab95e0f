// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens an image: the superblock is checked against our profile before anything else is read.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

use super::layout::{
    AFTER_SUPERBLOCK_BYTES, BLOCK_BITS, BLOCK_BYTES, COMPAT_MTIME, COMPAT_XATTR_FILTER,
    INCOMPAT_CHUNKED_FILE, INCOMPAT_XATTR_PREFIXES, MAGIC, SLOT_BITS, SUPERBLOCK_OFFSET_BYTES,
    Superblock, XATTR_UNIT_BYTES,
};
use super::reader::{Nid, Reader};
use super::xattr::{self, LONG_NAMES, LONG_NAMES_BYTES};
use super::{ImageError, ReadAt};
use crate::limits;
use crate::tree::Timestamp;

/// An image whose superblock was checked.
#[derive(Debug)]
pub(crate) struct Image<R> {
    source: R,
    pub(crate) size_bytes: u64,
    pub(crate) superblock: Superblock,
}

impl<R: ReadAt> Image<R> {
    /// Reads the superblock and checks it against our profile, whose volume name is `volume_name`.
    pub(crate) fn open(source: R, volume_name: [u8; 16]) -> Result<Self, ImageError> {
        let read_error = |source| ImageError::Read {
            offset_bytes: 0,
            source,
        };
        let size_bytes = source.size_bytes().map_err(read_error)?;
        let mut image = Self {
            source,
            size_bytes,
            superblock: Superblock::default(),
        };
        let at = SUPERBLOCK_OFFSET_BYTES as u64;
        let mut bytes = [0; Superblock::BYTES];
        image.read("superblock", at, &mut bytes)?;
        let superblock = Superblock::decode(&bytes).unwrap_or_default();
        check_superblock(&superblock, volume_name, size_bytes)?;
        image.superblock = superblock;
        image.check_long_names()?;
        Ok(image)
    }

    fn check_long_names(&self) -> Result<(), ImageError> {
        let at = AFTER_SUPERBLOCK_BYTES as u64;
        let mut found = [0; LONG_NAMES_BYTES];
        self.read("long xattr names", at, &mut found)?;
        let expected = xattr::long_names();
        if found != expected {
            let (found, expected) = (found.escape_ascii(), expected.escape_ascii());
            return Err(ImageError::field("long xattr names", at, found, expected));
        }
        Ok(())
    }

    pub(super) fn read(
        &self,
        what: &'static str,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> Result<(), ImageError> {
        self.check_range(what, offset_bytes, buf.len() as u64)?;
        let read = self.source.read_exact_at(buf, offset_bytes);
        read.map_err(|source| ImageError::Read {
            offset_bytes,
            source,
        })
    }

    pub(super) fn check_range(
        &self,
        what: &'static str,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<(), ImageError> {
        match offset_bytes.checked_add(len_bytes) {
            Some(end) if end <= self.size_bytes => Ok(()),
            _ => Err(ImageError::Truncated {
                what,
                offset_bytes,
                len_bytes,
                size_bytes: self.size_bytes,
            }),
        }
    }

    /// A reader with a cache of its own.
    pub(crate) const fn source(&self) -> &R {
        &self.source
    }

    pub(crate) fn reader(&self) -> Reader<'_, R> {
        Reader::new(self)
    }

    pub(crate) fn root(&self) -> Nid {
        Nid(u64::from(self.superblock.root_nid))
    }

    pub(super) fn build_time(&self) -> Timestamp {
        Timestamp {
            seconds: self.superblock.build_time_seconds.cast_signed(),
            nanoseconds: self.superblock.build_time_nanoseconds,
        }
    }
}

/// What all superblocks of packs have in common.
pub(crate) fn fixed_fields() -> Superblock {
    const PREFIXES: u8 = 2;
    const PREFIX_START: u32 = 288;
    const _: () = assert!(PREFIXES as usize == LONG_NAMES.len());
    const _: () = assert!(PREFIX_START as usize * XATTR_UNIT_BYTES == AFTER_SUPERBLOCK_BYTES);
    Superblock {
        magic: MAGIC,
        feature_compat: COMPAT_MTIME | COMPAT_XATTR_FILTER,
        block_bits: BLOCK_BITS,
        feature_incompat: INCOMPAT_CHUNKED_FILE | INCOMPAT_XATTR_PREFIXES,
        xattr_prefixes: PREFIXES,
        xattr_prefix_start: PREFIX_START,
        ..Superblock::default()
    }
}

fn check_superblock(
    found: &Superblock,
    volume_name: [u8; 16],
    size_bytes: u64,
) -> Result<(), ImageError> {
    let at = SUPERBLOCK_OFFSET_BYTES as u64;
    if found.magic != MAGIC {
        let expected = format!("{MAGIC:#x}");
        return Err(ImageError::field(
            "EROFS magic",
            at,
            format!("{:#x}", found.magic),
            expected,
        ));
    }
    if found.volume_name != volume_name {
        return Err(ImageError::VolumeName {
            found: found.volume_name,
            expected: volume_name,
        });
    }
    // What is free to vary.
    let expected = Superblock {
        root_nid: found.root_nid,
        inodes: found.inodes,
        build_time_seconds: found.build_time_seconds,
        build_time_nanoseconds: found.build_time_nanoseconds,
        blocks: found.blocks,
        xattr_block: found.xattr_block,
        volume_name,
        ..fixed_fields()
    };
    check_fixed_fields(found, &expected)?;
    let blocks_bytes = u64::from(found.blocks).saturating_mul(BLOCK_BYTES as u64);
    if blocks_bytes != size_bytes {
        return Err(ImageError::field(
            "length of the image",
            at,
            size_bytes,
            blocks_bytes,
        ));
    }
    let inodes_max = (size_bytes >> SLOT_BITS).min(limits::MAX_TREE_ENTRIES as u64);
    if found.inodes == 0 || found.inodes > inodes_max {
        let expected = format!("1 to {inodes_max}");
        return Err(ImageError::field(
            "number of inodes",
            at,
            found.inodes,
            expected,
        ));
    }
    Ok(())
}

/// That two superblocks are the same; the error names the first field that differs.
fn check_fixed_fields(found: &Superblock, expected: &Superblock) -> Result<(), ImageError> {
    let (mut found_bytes, mut expected_bytes) = (Vec::new(), Vec::new());
    found.encode(&mut found_bytes);
    expected.encode(&mut expected_bytes);
    let (mut found, mut expected) = (&*found_bytes, &*expected_bytes);
    let mut at = SUPERBLOCK_OFFSET_BYTES as u64;
    for (name, len) in Superblock::FIELDS {
        let (found_field, found_rest) = found.split_at_checked(*len).unwrap_or_default();
        let (expected_field, expected_rest) = expected.split_at_checked(*len).unwrap_or_default();
        if found_field != expected_field {
            let (found, expected) = (number(found_field), number(expected_field));
            return Err(ImageError::field(name, at, found, expected));
        }
        (found, expected) = (found_rest, expected_rest);
        at = at.saturating_add(*len as u64);
    }
    Ok(())
}

/// A little-endian number as people write it.
fn number(bytes: &[u8]) -> String {
    let digits = bytes.iter().rev().map(|byte| format!("{byte:02x}"));
    format!("0x{}", digits.collect::<String>())
}
