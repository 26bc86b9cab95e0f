// SPDX-License-Identifier: MIT OR Apache-2.0
//! The export profile `composefs`: the same tree as a composefs v1.0 image, bit for bit what
//! `mkcomposefs` writes.
//!
//! The image's version is 0, or 1 if the tree has whiteouts, as the defaults of `mkcomposefs` are.

use std::io;

use super::nodes::{self, Builder};
use super::verity::Hashing;
use super::{PackError, order, overlay, path_of, too_many_blocks};
use crate::digest::{VerityDigest, compute_verity_digest};
use crate::erofs::image::{self, Layout, Node, Nodes, Place, Shape};
use crate::erofs::layout::{
    AFTER_SUPERBLOCK_BYTES, BLOCK_BITS, BLOCK_BYTES, COMPAT_MTIME, COMPAT_XATTR_FILTER, MAGIC,
    SLOT_BYTES, Superblock, within_block,
};
use crate::erofs::xattr::Namespace;
use crate::tree::{FileContent, Inode, InodeId, Kind, Tree};

/// The magic of the header in front of the superblock.
const HEADER_MAGIC: u32 = 0xD078_629A;
/// The version of that header.
const HEADER_VERSION: u32 = 1;
/// In the header's flags: some inode has a POSIX ACL.
const FLAG_ACL: u32 = 1;
/// Files up to this size are in the image.
const INLINE_MAX_BYTES: u64 = 64;
/// The file type of a symlink in `st_mode`.
const SYMLINK: u16 = 0o12;
/// A larger rest of a directory or file gets a block of its own.
const TAIL_MAX_BYTES: usize = BLOCK_BYTES / 2;

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComposefsSummary {
    /// The fs-verity digest of the image.
    pub digest: VerityDigest,
    /// The length of the image.
    pub size_bytes: u64,
    /// The composefs version of the image, 0 or 1.
    pub version: u32,
}

/// Writes `tree` as a composefs image. Files up to 64 bytes go into the image and must be inline in
/// `tree`; larger ones become redirects, and the digests of those that are inline are computed.
///
/// # Errors
/// [`PackError::Split`] if a file of up to 64 bytes is external, [`PackError::Entry`] and
/// [`PackError::TooLarge`] for what composefs cannot hold, all before anything is written;
/// [`PackError::Write`]; [`PackError::Content`].
pub fn write_composefs(
    tree: &Tree,
    out: &mut dyn io::Write,
) -> Result<ComposefsSummary, PackError> {
    let digests = digests(tree)?;
    let digests: Vec<_> = digests.iter().map(Option::as_ref).collect();
    let order = order::of_composefs(tree);
    let mtimes = tree.inodes().map(|(_, inode)| inode.metadata.mtime);
    let builder = Builder {
        tree,
        order: &order,
        profile: &overlay::COMPOSEFS,
        digests: &digests,
        build_time: mtimes.min().unwrap_or_default(),
    };
    let mut nodes = builder.build()?;
    let shapes = nodes::shapes(tree, &order, &nodes)?;
    let version = u32::from(tree.inodes().any(|(_, inode)| inode.is_whiteout()));
    let layout = plan(&mut nodes, &shapes, version).ok_or_else(too_many_blocks)?;
    let mut hashing = Hashing::new(out);
    image::write(&nodes, &layout, &mut hashing)?;
    Ok(ComposefsSummary {
        digest: hashing.finish(),
        size_bytes: layout.size_bytes(),
        version,
    })
}

/// The digest of each file that is not in the image, by [`InodeId::index`].
fn digests(tree: &Tree) -> Result<Vec<Option<VerityDigest>>, PackError> {
    let digest = |(id, inode): (InodeId, &Inode)| {
        let Kind::Regular(content) = &inode.kind else {
            return Ok(None);
        };
        let is_small = content.size_bytes() <= INLINE_MAX_BYTES;
        match content {
            FileContent::Inline(_) if is_small => Ok(None),
            FileContent::Inline(content) => {
                let bytes = content.read().map_err(PackError::Content)?;
                Ok(Some(compute_verity_digest(&bytes)))
            }
            FileContent::External { digest, .. } if !is_small => Ok(Some(*digest)),
            FileContent::External { size_bytes, .. } => Err(PackError::Split {
                path: path_of(tree, id),
                size_bytes: *size_bytes,
                found: "external",
                threshold_bytes: INLINE_MAX_BYTES,
            }),
        }
    };
    tree.inodes().map(digest).collect()
}

/// Gives every node its place, one behind the other. `None` if the image would be too large.
fn plan(nodes: &mut Nodes<'_>, shapes: &[Shape], version: u32) -> Option<Layout> {
    let mut places = Vec::with_capacity(shapes.len());
    let mut end_bytes = AFTER_SUPERBLOCK_BYTES as u64;
    for (node, shape) in nodes.list.iter().zip(shapes) {
        let place = place_item(node, shape, end_bytes)?;
        let tail_bytes = if place.inline { shape.tail_bytes } else { 0 };
        let item_bytes = shape.head_bytes + shape.map_bytes + tail_bytes as u64;
        end_bytes = (place.offset_bytes + item_bytes).next_multiple_of(SLOT_BYTES as u64);
        places.push(place);
    }
    let mut shared = nodes.xattrs.shared();
    shared.sort_by(|a, b| nodes.xattrs.get(*b).cmp_all(nodes.xattrs.get(*a)));
    let (meta_end_bytes, xattr_block) = nodes.place_shared(&shared, end_bytes)?;

    let mut next_block = u32::try_from(meta_end_bytes.div_ceil(BLOCK_BYTES as u64)).ok()?;
    let mut block_order = Vec::new();
    for (number, place) in (0..).zip(&mut places) {
        if place.blocks > 0 {
            block_order.push(number);
            place.first_block = next_block;
            next_block = next_block.checked_add(place.blocks)?;
        }
    }
    let root = places.first()?.offset_bytes / SLOT_BYTES as u64;
    Some(Layout {
        header: header(nodes, version),
        after_superblock: Vec::new(),
        superblock: Superblock {
            magic: MAGIC,
            feature_compat: COMPAT_MTIME | COMPAT_XATTR_FILTER,
            block_bits: BLOCK_BITS,
            root_nid: u16::try_from(root).ok()?,
            inodes: nodes.list.len() as u64,
            build_time_seconds: nodes.build_time.seconds.cast_unsigned(),
            build_time_nanoseconds: nodes.build_time.nanoseconds,
            blocks: next_block,
            xattr_block,
            ..Superblock::default()
        },
        places,
        shared_offset_bytes: end_bytes,
        shared,
        block_order,
        round_directory_size: true,
    })
}

/// Where a node goes when the one before ends at `end_bytes`; `None` if its chunk map would have
/// to cross a block.
fn place_item(node: &Node<'_>, shape: &Shape, end_bytes: u64) -> Option<Place> {
    let block_bytes = BLOCK_BYTES as u64;
    let tail_bytes = shape.map_bytes + shape.tail_bytes as u64;
    let whole_bytes = shape.head_bytes + tail_bytes;
    let block_left_bytes = block_bytes - within_block(end_bytes) as u64;
    let tail_left_bytes = block_bytes - within_block(end_bytes + shape.head_bytes) as u64;
    let (inline, pad_bytes) = if node.mode >> 12 == SYMLINK {
        let crosses = whole_bytes > block_left_bytes;
        let pad_bytes = if crosses {
            block_left_bytes % block_bytes
        } else {
            0
        };
        (whole_bytes < block_bytes, pad_bytes)
    } else if tail_bytes == 0 || shape.tail_bytes > TAIL_MAX_BYTES {
        (false, 0)
    } else if tail_bytes <= tail_left_bytes {
        (shape.map_bytes == 0, 0)
    } else {
        let pad_bytes = tail_left_bytes.next_multiple_of(SLOT_BYTES as u64);
        if tail_bytes + (pad_bytes - tail_left_bytes) > block_bytes {
            return None;
        }
        (shape.map_bytes == 0, pad_bytes)
    };
    let own_tail = shape.tail_bytes > 0 && !inline;
    Some(Place {
        offset_bytes: end_bytes + pad_bytes,
        blocks: shape.full_blocks + u32::from(own_tail),
        first_block: 0,
        inline,
    })
}

fn header(nodes: &Nodes<'_>, version: u32) -> Vec<u8> {
    let is_acl = |id| {
        let namespace = nodes.xattrs.get(id).namespace;
        matches!(namespace, Namespace::AclAccess | Namespace::AclDefault)
    };
    let has_acl = nodes.xattr_ids.iter().any(|id| is_acl(*id));
    let flags = if has_acl { FLAG_ACL } else { 0 };
    let fields = [HEADER_MAGIC, HEADER_VERSION, flags, version, 0, 0, 0, 0];
    fields.into_iter().flat_map(u32::to_le_bytes).collect()
}
