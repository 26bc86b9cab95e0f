// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the inodes of a pack go: best fit among a window of open blocks.
//!
//! Frozen as part of format version 1 (docs/format/pack.md, "Placement").

use crate::erofs::image::Body;
use crate::erofs::image::{Layout, Nodes, Place, Shape};
use crate::erofs::layout::{BLOCK_BYTES, SLOT_BYTES, Superblock};
use crate::erofs::superblock::fixed_fields;
use crate::erofs::xattr::{AFTER_LONG_NAMES_BYTES, long_names};

/// How many blocks are open for items at a time.
const WINDOW_BLOCKS: usize = 32;

/// The volume name of all packs, before the number of the format version.
pub(super) const VOLUME_PREFIX: &[u8] = b"sealroot-pack-";

/// The volume name of packs of format version 1.
pub(super) const VOLUME_NAME: [u8; 16] = *b"sealroot-pack-1\0";

/// Gives every node its place. `None` if the image would be too large.
pub(super) fn plan(nodes: &mut Nodes<'_>, shapes: &[Shape]) -> Option<Layout> {
    let mut window = Window::new();
    let mut places: Vec<Place> = shapes
        .iter()
        .map(|shape| place_item(&mut window, shape))
        .collect();
    let shared = nodes.xattrs.shared();
    let shared_offset_bytes = window.end_bytes();
    let (meta_end_bytes, xattr_block) = nodes.place_shared(&shared, shared_offset_bytes)?;

    let mut next_block = u32::try_from(meta_end_bytes.div_ceil(BLOCK_BYTES as u64)).ok()?;
    let is_directory =
        |number: &u32| matches!(nodes.list[*number as usize].body, Body::Directory(_));
    let with_blocks = |number: &u32| places[*number as usize].blocks > 0;
    let numbers = 0..u32::try_from(places.len()).ok()?;
    let (directories, others): (Vec<u32>, Vec<u32>) =
        numbers.filter(with_blocks).partition(is_directory);
    let block_order = [directories, others].concat();
    for number in &block_order {
        let place = &mut places[*number as usize];
        place.first_block = next_block;
        next_block = next_block.checked_add(place.blocks)?;
    }
    let root = places.first()?.offset_bytes / SLOT_BYTES as u64;
    let superblock = Superblock {
        root_nid: u16::try_from(root).ok()?,
        inodes: places.len() as u64,
        build_time_seconds: nodes.build_time.seconds.cast_unsigned(),
        build_time_nanoseconds: nodes.build_time.nanoseconds,
        blocks: next_block,
        xattr_block: if shared.is_empty() { 0 } else { xattr_block },
        volume_name: VOLUME_NAME,
        ..fixed_fields()
    };
    Some(Layout {
        header: Vec::new(),
        superblock,
        after_superblock: long_names().to_vec(),
        places,
        shared_offset_bytes,
        shared,
        block_order,
        round_directory_size: false,
    })
}

/// pack.md, "Placement": a tail goes with its inode if the item then fits into one block, else
/// into a block of its own.
fn place_item(window: &mut Window, shape: &Shape) -> Place {
    let head_bytes = shape.head_bytes + shape.map_bytes;
    let whole_bytes = head_bytes + shape.tail_bytes as u64;
    let inline = shape.tail_bytes > 0 && whole_bytes <= BLOCK_BYTES as u64;
    let item_bytes = if inline { whole_bytes } else { head_bytes };
    let own_tail = shape.tail_bytes > 0 && !inline;
    Place {
        offset_bytes: window.place(item_bytes.next_multiple_of(SLOT_BYTES as u64)),
        blocks: shape.full_blocks + u32::from(own_tail),
        first_block: 0,
        inline,
    }
}

/// A block that still has room.
#[derive(Clone, Copy, Debug)]
struct OpenBlock {
    number: u64,
    free_bytes: u64,
}

/// The open blocks, in ascending order of their numbers.
struct Window {
    open: Vec<OpenBlock>,
    /// How many blocks there are, open or full.
    blocks: u64,
    /// Where the last item ends.
    end_bytes: u64,
}

impl Window {
    /// The first block is open behind the superblock.
    fn new() -> Self {
        Self {
            open: vec![OpenBlock {
                number: 0,
                free_bytes: (BLOCK_BYTES - AFTER_LONG_NAMES_BYTES) as u64,
            }],
            blocks: 1,
            end_bytes: AFTER_LONG_NAMES_BYTES as u64,
        }
    }

    fn end_bytes(&self) -> u64 {
        self.end_bytes
    }

    /// The offset of an item of this size, which is a multiple of the slot size.
    fn place(&mut self, item_bytes: u64) -> u64 {
        let fits = |block: &&mut OpenBlock| block.free_bytes >= item_bytes;
        // Of equal ones `min_by_key` gives the first, which is the lowest.
        let best = self
            .open
            .iter_mut()
            .filter(fits)
            .min_by_key(|block| block.free_bytes);
        let offset_bytes = if let Some(block) = best {
            let offset_bytes = (block.number + 1) * BLOCK_BYTES as u64 - block.free_bytes;
            block.free_bytes -= item_bytes;
            offset_bytes
        } else {
            self.append(item_bytes)
        };
        self.open.retain(|block| block.free_bytes > 0);
        self.end_bytes = self.end_bytes.max(offset_bytes + item_bytes);
        offset_bytes
    }

    /// Puts an item into new blocks, of which the last stays open. If that is one too many, the
    /// one with the least room is closed.
    fn append(&mut self, item_bytes: u64) -> u64 {
        let first = self.blocks;
        self.blocks += item_bytes.div_ceil(BLOCK_BYTES as u64);
        if self.open.len() == WINDOW_BLOCKS {
            let by_room = |(_, block): &(usize, &OpenBlock)| block.free_bytes;
            let fullest = self.open.iter().enumerate().min_by_key(by_room);
            let (fullest, _) = fullest.expect("the window is not empty");
            self.open.remove(fullest);
        }
        self.open.push(OpenBlock {
            number: self.blocks - 1,
            free_bytes: item_bytes.next_multiple_of(BLOCK_BYTES as u64) - item_bytes,
        });
        first * BLOCK_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets of items of these sizes.
    fn place(items: &[u64]) -> Vec<u64> {
        let mut window = Window::new();
        items
            .iter()
            .map(|item_bytes| window.place(*item_bytes))
            .collect()
    }

    // Rules: P24
    #[test]
    fn a_tail_is_with_its_inode_or_in_a_block() {
        let place = |head_bytes, tail_bytes| {
            let shape = Shape {
                head_bytes,
                map_bytes: 0,
                full_blocks: 2,
                tail_bytes,
            };
            let place = place_item(&mut Window::new(), &shape);
            (place.inline, place.blocks)
        };
        assert_eq!(place(32, 0), (false, 2));
        assert_eq!(place(32, 4064), (true, 2));
        assert_eq!(place(32, 4065), (false, 3));
        assert_eq!(place(5000, 1), (false, 3));
    }

    // Rules: P25
    #[test]
    fn the_block_with_the_least_room_that_is_enough_is_taken() {
        // Room is left: 2880 - 2848 = 32, then 96, 64, 64.
        let items = [2848, 4000, 4032, 4032, 96, 64, 64, 32, 32];
        let block = 4096;
        let ends = [
            block + 4000,
            2 * block + 4032,
            3 * block + 4032,
            1216 + 2848,
            4 * block,
        ];
        assert_eq!(
            place(&items),
            [
                1216,
                block,
                2 * block,
                3 * block,
                ends[0],
                ends[1],
                ends[2],
                ends[3],
                ends[4]
            ]
        );
    }

    // Rules: P26
    #[test]
    fn a_large_item_takes_blocks_of_its_own_and_leaves_the_last_open() {
        assert_eq!(
            place(&[4096, 10_016, 2000, 2304]),
            [4096, 8192, 8192 + 10_016, 1216]
        );
        assert_eq!(place(&[10_016, 2880, 2000])[2], 4096 + 10_016);
    }

    // Rules: P26
    #[test]
    fn the_fullest_of_33_open_blocks_is_closed() {
        // Block 0 and 31 others, of which the second and third have the least room.
        let mut items = vec![2880 - 1024];
        items.extend([3072, 4000, 4000]);
        items.extend([3072; 28]);
        // One more closes the second; the third is open still.
        items.extend([3104, 96, 96]);
        let offsets = place(&items);
        assert_eq!(offsets[32], 32 * 4096);
        assert_eq!(offsets[33], 3 * 4096 + 4000);
        assert_eq!(offsets[34], 32 * 4096 + 3104);
    }
}
