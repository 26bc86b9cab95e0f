// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the xattrs of an inode from untrusted bytes.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

use super::layout::{BLOCK_BYTES, XATTR_UNIT_BYTES, XattrEntry, XattrHeader};
use super::reader::{RawInode, Reader};
use super::xattr::{LONG_NAMES, Namespace, filter_bit, long_name};
use super::{ImageError, ReadAt};
use crate::limits;

/// A stored xattr: its namespace, the rest of its name and its value.
pub(crate) type RawXattr = (Namespace, Vec<u8>, Vec<u8>);

impl<R: ReadAt> Reader<'_, R> {
    /// The xattrs of an inode in the order they are stored, at most
    /// [`limits::MAX_XATTR_SET_BYTES`] of them and what escaping adds.
    pub(crate) fn xattrs(&mut self, inode: &RawInode) -> Result<Vec<RawXattr>, ImageError> {
        let (start, area_bytes) = (inode.xattr_offset_bytes, inode.xattr_bytes as u64);
        if area_bytes == 0 {
            return Ok(Vec::new());
        }
        self.image.check_range("xattrs", start, area_bytes)?;
        let header: [u8; XattrHeader::BYTES] = self.array("xattr header", start)?;
        let header = XattrHeader::decode(&header).unwrap_or_default();
        let end = start.saturating_add(area_bytes);
        let mut at = start.saturating_add(XattrHeader::BYTES as u64);
        let mut found = Vec::new();
        let (mut present, mut total_bytes) = (0, 0usize);
        let mut take = |(namespace, suffix, value): RawXattr| {
            present |= filter_bit(namespace.index(), &suffix);
            total_bytes = total_bytes
                .saturating_add(suffix.len())
                .saturating_add(value.len());
            if total_bytes > limits::MAX_XATTR_SET_BYTES {
                let expected = format!("at most {}", limits::MAX_XATTR_SET_BYTES);
                return Err(ImageError::field(
                    "bytes of xattrs",
                    start,
                    total_bytes,
                    expected,
                ));
            }
            found.push((namespace, suffix, value));
            Ok(())
        };
        for _ in 0..header.shared_count {
            if at >= end {
                return Err(ImageError::field(
                    "shared xattrs",
                    start,
                    header.shared_count,
                    "fewer",
                ));
            }
            let reference = u32::from_le_bytes(self.array("shared xattr", at)?);
            let base =
                u64::from(self.image.superblock.xattr_block).saturating_mul(BLOCK_BYTES as u64);
            let shared_at =
                base.saturating_add(u64::from(reference).saturating_mul(XATTR_UNIT_BYTES as u64));
            let (xattr, _) = self.xattr(shared_at)?;
            take(xattr)?;
            at = at.saturating_add(XATTR_UNIT_BYTES as u64);
        }
        while at < end {
            let (xattr, next) = self.xattr(at)?;
            take(xattr)?;
            at = next;
        }
        if at != end {
            return Err(ImageError::field("end of the xattrs", start, at, end));
        }
        if header.name_filter != !present || header.reserved != [0; 7] {
            let found = format!("{:#x}", header.name_filter);
            return Err(ImageError::field(
                "xattr name filter",
                start,
                found,
                format!("{:#x}", !present),
            ));
        }
        Ok(found)
    }

    /// One xattr entry and where the next begins.
    fn xattr(&mut self, at: u64) -> Result<(RawXattr, u64), ImageError> {
        let entry: [u8; XattrEntry::BYTES] = self.array("xattr", at)?;
        let entry = XattrEntry::decode(&entry).unwrap_or_default();
        let name_at = at.saturating_add(XattrEntry::BYTES as u64);
        let suffix = self.vec("xattr name", name_at, entry.name_bytes.into())?;
        let value_at = name_at.saturating_add(entry.name_bytes.into());
        let value = self.vec("xattr value", value_at, entry.value_bytes.into())?;
        let (namespace, suffix) = name_of(entry.name_index, suffix).ok_or_else(|| {
            ImageError::field(
                "xattr namespace",
                at,
                entry.name_index,
                "1, 2, 3, 4 or 6 and a name, or a long name without more",
            )
        })?;
        let end = value_at.saturating_add(entry.value_bytes.into());
        let next = end
            .checked_next_multiple_of(XATTR_UNIT_BYTES as u64)
            .unwrap_or(end);
        Ok(((namespace, suffix, value), next))
    }
}

/// Namespace and rest of a name, which has only one form: a long name is never spelled out.
fn name_of(name_index: u8, rest: Vec<u8>) -> Option<(Namespace, Vec<u8>)> {
    if let Some(name) = long_name(name_index) {
        return rest.is_empty().then(|| (Namespace::Trusted, name.to_vec()));
    }
    let mut known = Namespace::ALL.into_iter();
    let namespace = known.find(|namespace| {
        namespace.index() == name_index && namespace.is_whole_name() == rest.is_empty()
    })?;
    let is_long = namespace == Namespace::Trusted && LONG_NAMES.contains(&rest.as_slice());
    (!is_long).then_some((namespace, rest))
}
