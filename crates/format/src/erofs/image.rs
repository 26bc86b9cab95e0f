// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image as a list of nodes, and its bytes in the order of their positions.
//!
//! A profile makes the nodes (pass 1a) and gives each a place (pass 1b); [`write()`] is pass 2. It
//! never seeks and holds no more of the image than one item.

use std::io;
use std::ops::Range;

use super::dirent::{self, Child};
use super::inode::{DataLayout, InodeFields, chunks};
use super::layout::{
    BLOCK_BYTES, CHUNK_ENTRY_BYTES, CHUNK_HOLE, CHUNKS_MAX, CompactInode, ExtendedInode,
    SLOT_BYTES, SUPERBLOCK_OFFSET_BYTES, Superblock, within_block,
};
use super::xattr::{self, XattrId, XattrTable};
use crate::tree::{InlineContent, Timestamp};

/// What an inode has beside its attributes.
#[derive(Clone, Debug)]
pub(crate) enum Body<'t> {
    /// Nothing: an empty file, a fifo, a socket.
    Empty,
    /// A device number, encoded.
    Device(u32),
    /// The target of a symlink. Not empty.
    Bytes(&'t [u8]),
    /// The content of a regular file. Not empty.
    Content(&'t InlineContent),
    /// A regular file of this size that is all holes; its data are in another layer.
    Hole(u64),
    /// A directory: a range of [`Nodes::children`], sorted, with `.` and `..`.
    Directory(Range<usize>),
}

/// An inode to be.
#[derive(Clone, Debug)]
pub(crate) struct Node<'t> {
    pub(crate) mode: u16,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    /// A range of [`Nodes::xattr_ids`], in order of full names.
    pub(crate) xattrs: Range<usize>,
    pub(crate) body: Body<'t>,
}

/// All inodes of an image in the order of their numbers, the root first.
#[derive(Debug, Default)]
pub(crate) struct Nodes<'t> {
    pub(crate) list: Vec<Node<'t>>,
    pub(crate) children: Vec<Child<'t>>,
    pub(crate) xattr_ids: Vec<XattrId>,
    pub(crate) xattrs: XattrTable<'t>,
    /// The time of modification that compact inodes have.
    pub(crate) build_time: Timestamp,
}

/// What a node takes, before it has a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Inode and xattr area.
    pub(crate) head_bytes: u64,
    /// The chunk map behind them.
    pub(crate) map_bytes: u64,
    /// Content in full blocks.
    pub(crate) full_blocks: u32,
    /// What is left of the content, less than a block.
    pub(crate) tail_bytes: usize,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// The offset of the inode; a multiple of the slot size.
    pub(crate) offset_bytes: u64,
    /// Blocks of content outside of the inode's item.
    pub(crate) blocks: u32,
    /// The first of these blocks.
    pub(crate) first_block: u32,
    /// Whether the tail is behind the inode, not in the last of the blocks.
    pub(crate) inline: bool,
}

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Layout {
    /// What comes before the superblock.
    pub(crate) header: Vec<u8>,
    pub(crate) superblock: Superblock,
    /// What comes behind it.
    pub(crate) after_superblock: Vec<u8>,
    /// One for each node.
    pub(crate) places: Vec<Place>,
    /// The offset of the shared xattrs, and them in order.
    pub(crate) shared_offset_bytes: u64,
    pub(crate) shared: Vec<XattrId>,
    /// The nodes with blocks in the order of these blocks.
    pub(crate) block_order: Vec<u32>,
    /// A directory whose rest is in a block counts that block in full.
    pub(crate) round_directory_size: bool,
}

impl Layout {
    /// The length of the image.
    pub(crate) fn size_bytes(&self) -> u64 {
        u64::from(self.superblock.blocks) * BLOCK_BYTES as u64
    }
}

impl Node<'_> {
    fn fields(&self, number: u32, size_bytes: u64, xattr_count: u16) -> InodeFields {
        InodeFields {
            layout: DataLayout::Plain,
            xattr_count,
            mode: self.mode,
            nlink: self.nlink,
            size_bytes,
            location: 0,
            number,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
        }
    }
}

impl<'t> Nodes<'t> {
    pub(crate) fn children_of(&self, node: &Node<'t>) -> &[Child<'t>] {
        match &node.body {
            Body::Directory(range) => &self.children[range.clone()],
            _ => &[],
        }
    }

    pub(crate) fn xattrs_of(&self, node: &Node<'t>) -> &[XattrId] {
        &self.xattr_ids[node.xattrs.clone()]
    }

    /// The length of the node's content.
    pub(crate) fn content_bytes(&self, node: &Node<'t>) -> u64 {
        match &node.body {
            Body::Empty | Body::Device(_) => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Content(content) => content.size_bytes(),
            Body::Hole(size_bytes) => *size_bytes,
            Body::Directory(_) => dirent::size_bytes(self.children_of(node)),
        }
    }

    /// What a node takes. `None` if the image cannot hold it.
    pub(crate) fn shape(&self, node: &Node<'t>) -> Option<Shape> {
        let content_bytes = self.content_bytes(node);
        let area_bytes = self.xattrs.area_bytes(self.xattrs_of(node));
        let fields = node.fields(0, content_bytes, xattr::area_count(area_bytes)?);
        let inode_bytes = if fields.fits_compact(self.build_time) {
            CompactInode::BYTES
        } else {
            ExtendedInode::BYTES
        };
        let head_bytes = (inode_bytes + area_bytes) as u64;
        if let Body::Hole(size_bytes) = node.body {
            let (_, count) = chunks(size_bytes);
            return (count <= CHUNKS_MAX).then_some(Shape {
                head_bytes,
                map_bytes: count * CHUNK_ENTRY_BYTES as u64,
                full_blocks: 0,
                tail_bytes: 0,
            });
        }
        Some(Shape {
            head_bytes,
            map_bytes: 0,
            full_blocks: u32::try_from(content_bytes / BLOCK_BYTES as u64).ok()?,
            tail_bytes: usize::try_from(content_bytes % BLOCK_BYTES as u64).ok()?,
        })
    }

    /// Says where the shared xattrs are: from `offset_bytes` on, in this order. Gives the offset
    /// of their end, and the block the superblock is to name.
    pub(crate) fn place_shared(
        &mut self,
        shared: &[XattrId],
        offset_bytes: u64,
    ) -> Option<(u64, u32)> {
        let block = u32::try_from(offset_bytes / BLOCK_BYTES as u64).ok()?;
        let mut at_bytes = offset_bytes % BLOCK_BYTES as u64;
        for id in shared {
            self.xattrs
                .place_shared(*id, u32::try_from(at_bytes / 4).ok()?);
            at_bytes += self.xattrs.shared_bytes(*id) as u64;
        }
        Some((u64::from(block) * BLOCK_BYTES as u64 + at_bytes, block))
    }
}

/// Why an image could not be written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The output failed.
    Output(io::Error),
    /// The content of a file could not be read.
    Content(io::Error),
}

/// Pass 2: writes the image from its first byte to its last.
pub(crate) fn write(
    nodes: &Nodes<'_>,
    layout: &Layout,
    out: &mut dyn io::Write,
) -> Result<(), WriteError> {
    let mut emitter = Emitter {
        nodes,
        layout,
        out,
        buffer: Vec::with_capacity(FLUSH_BYTES + 2 * BLOCK_BYTES),
        flushed_bytes: 0,
    };
    emitter.buffer.extend_from_slice(&layout.header);
    emitter.pad_to(SUPERBLOCK_OFFSET_BYTES as u64)?;
    layout.superblock.encode(&mut emitter.buffer);
    emitter.buffer.extend_from_slice(&layout.after_superblock);

    let mut order: Vec<usize> = (0..nodes.list.len()).collect();
    order.sort_unstable_by_key(|node| layout.places[*node].offset_bytes);
    for number in order {
        emitter.item(number)?;
    }
    emitter.pad_to(layout.shared_offset_bytes)?;
    for id in &layout.shared {
        nodes.xattrs.encode_shared(*id, &mut emitter.buffer);
        emitter.flush_if_full()?;
    }
    for number in &layout.block_order {
        emitter.blocks(*number as usize)?;
    }
    emitter.pad_to(layout.size_bytes())?;
    emitter.flush()
}

/// How much is gathered before it is written.
const FLUSH_BYTES: usize = 64 * 1024;

struct Emitter<'a, 't> {
    nodes: &'a Nodes<'t>,
    layout: &'a Layout,
    out: &'a mut dyn io::Write,
    buffer: Vec<u8>,
    flushed_bytes: u64,
}

impl Emitter<'_, '_> {
    /// The inode, its xattrs and what is behind them.
    fn item(&mut self, number: usize) -> Result<(), WriteError> {
        let (nodes, node) = (self.nodes, &self.nodes.list[number]);
        let place = &self.layout.places[number];
        let ids = nodes.xattrs_of(node);
        let content_bytes = nodes.content_bytes(node);
        self.pad_to(place.offset_bytes)?;

        let number = u32::try_from(number).expect("nodes are bounded");
        let area_count = xattr::area_count(nodes.xattrs.area_bytes(ids)).expect("shape checked it");
        let mut fields = node.fields(number, content_bytes, area_count);
        let mut holes = 0;
        match &node.body {
            Body::Hole(size_bytes) => {
                fields.layout = DataLayout::Chunked;
                (fields.location, holes) = chunks(*size_bytes);
            }
            Body::Device(device) => fields.location = *device,
            _ if place.inline => {
                fields.layout = DataLayout::Inline;
                fields.location = place.first_block;
            }
            _ => fields.location = place.first_block,
        }
        if self.layout.round_directory_size && fields.mode >> 12 == 0o4 && !place.inline {
            fields.size_bytes = fields.size_bytes.next_multiple_of(BLOCK_BYTES as u64);
        }
        fields.encode(nodes.build_time, &mut self.buffer);
        nodes.xattrs.encode_area(ids, &mut self.buffer);
        for _ in 0..holes {
            self.buffer.extend_from_slice(&CHUNK_HOLE.to_le_bytes());
        }
        if place.inline {
            self.tail(node)?;
        }
        self.flush_if_full()
    }

    /// What is left of the content after its full blocks.
    fn tail(&mut self, node: &Node<'_>) -> Result<(), WriteError> {
        match &node.body {
            Body::Bytes(bytes) => {
                let (_, tail) = bytes.as_chunks::<BLOCK_BYTES>();
                self.buffer.extend_from_slice(tail);
            }
            Body::Content(content) => {
                let tail_bytes = within_block(content.size_bytes()) as u64;
                self.content(content, content.size_bytes() - tail_bytes, tail_bytes)?;
            }
            Body::Directory(_) => {
                let last = dirent::blocks(self.nodes.children_of(node)).last();
                let (block, _) = last.expect("a directory has . and ..");
                self.directory_block(block);
            }
            Body::Empty | Body::Device(_) | Body::Hole(_) => {}
        }
        Ok(())
    }

    /// A part of the content of a file.
    fn content(
        &mut self,
        content: &InlineContent,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<(), WriteError> {
        let start = self.buffer.len();
        let len = usize::try_from(len_bytes).expect("a part of a small file");
        self.buffer.resize(start + len, 0);
        let read = content.read_exact_at(&mut self.buffer[start..], offset_bytes);
        read.map_err(WriteError::Content)
    }

    /// The blocks of a node outside of its item.
    fn blocks(&mut self, number: usize) -> Result<(), WriteError> {
        let node = &self.nodes.list[number];
        let place = self.layout.places[number];
        let end_block = u64::from(place.first_block) + u64::from(place.blocks);
        self.pad_to(u64::from(place.first_block) * BLOCK_BYTES as u64)?;
        match &node.body {
            Body::Bytes(bytes) => {
                for block in bytes.chunks(BLOCK_BYTES).take(place.blocks as usize) {
                    self.buffer.extend_from_slice(block);
                    self.flush_if_full()?;
                }
            }
            Body::Content(content) => {
                let blocks_bytes = u64::from(place.blocks) * BLOCK_BYTES as u64;
                self.content(content, 0, content.size_bytes().min(blocks_bytes))?;
            }
            Body::Directory(_) => {
                let blocks = dirent::blocks(self.nodes.children_of(node));
                for (index, (block, _)) in (0..place.blocks).zip(blocks) {
                    self.pad_to(u64::from(place.first_block + index) * BLOCK_BYTES as u64)?;
                    self.directory_block(block);
                    self.flush_if_full()?;
                }
            }
            Body::Empty | Body::Device(_) | Body::Hole(_) => {}
        }
        self.pad_to(end_block * BLOCK_BYTES as u64)
    }

    fn directory_block(&mut self, block: &[Child<'_>]) {
        let target = |number: u32| {
            let offset_bytes = self.layout.places[number as usize].offset_bytes;
            let mode = self.nodes.list[number as usize].mode;
            let file_type = dirent::file_type(mode).expect("nodes have a type");
            (offset_bytes / SLOT_BYTES as u64, file_type)
        };
        dirent::encode_block(block, target, &mut self.buffer);
    }

    /// Zeros up to an offset of the image.
    fn pad_to(&mut self, offset_bytes: u64) -> Result<(), WriteError> {
        let at_bytes = self.flushed_bytes + self.buffer.len() as u64;
        let missing = offset_bytes
            .checked_sub(at_bytes)
            .expect("places do not overlap");
        let missing = usize::try_from(missing).expect("less than an item or a block");
        self.buffer.resize(self.buffer.len() + missing, 0);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), WriteError> {
        if self.buffer.len() < FLUSH_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let written = self.out.write_all(&self.buffer);
        written.map_err(WriteError::Output)?;
        self.flushed_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
