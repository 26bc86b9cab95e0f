// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compressed blocks (RFC 8878 3.1.1.3), taken apart and put together again.

use sealroot_format::codec::Cursor;

use super::huffman::Huffman;
use super::sequences::{self, Sequence, SequenceTables};

/// The most content of a block, and the longest block, bytes.
pub(super) const MAX_BLOCK_BYTES: usize = 128 << 10;

/// Kinds of literals.
const RAW: u8 = 0;
const REPEATED: u8 = 1;
const COMPRESSED: u8 = 2;

/// What blocks take over from those before them.
#[derive(Debug, Default)]
pub(super) struct Tables {
    huffman: Option<Huffman>,
    sequences: SequenceTables,
}

impl Tables {
    /// Reads the description of a tree, if literals of this kind bring one.
    pub(super) fn read_tree(&mut self, kind: LiteralsKind, bytes: &mut Cursor<'_>) -> Option<()> {
        if kind.kind() == COMPRESSED {
            self.huffman = Some(Huffman::read(bytes)?);
        }
        Some(())
    }

    /// Reads the descriptions of the tables of sequences.
    pub(super) fn read_sequences(&mut self, modes: u8, bytes: &mut Cursor<'_>) -> Option<()> {
        self.sequences.read(modes, bytes)
    }
}

/// How the literals of a block stand in it: their kind, in the lowest two bits, and the form of their
/// lengths, in the next two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LiteralsKind(u8);

impl LiteralsKind {
    /// That of the first byte of a block, or of what [`Self::byte`] gave.
    pub(super) fn new(byte: u8) -> Self {
        let (kind, form) = (byte & 3, byte & 15);
        // The lengths of others have a form of one bit, if that is 0.
        let is_short = kind < COMPRESSED && form & 4 == 0;
        Self(if is_short { kind } else { form })
    }

    pub(super) fn byte(self) -> u8 {
        self.0
    }

    fn kind(self) -> u8 {
        self.0 & 3
    }

    /// The length of the head, and how many bits each length in it has.
    fn widths(self) -> (usize, u32) {
        match (self.kind() < COMPRESSED, self.0 >> 2) {
            (true, 1) => (2, 12),
            (true, 3) => (3, 20),
            (true, _) => (1, 5),
            (false, 2) => (4, 14),
            (false, 3) => (5, 18),
            (false, _) => (3, 10),
        }
    }

    fn has_one_stream(self) -> bool {
        self.0 >> 2 == 0
    }

    fn read(bytes: &mut Cursor<'_>) -> Option<(Self, usize, usize)> {
        let kind = Self::new(*bytes.rest().first()?);
        let (len, width) = kind.widths();
        let mut head = [0; 8];
        head.get_mut(..len)?.copy_from_slice(bytes.take(len)?);
        let shift = if len == 1 { 3 } else { 4 };
        let lengths = u64::from_le_bytes(head).checked_shr(shift)?;
        let mask = 1_u64.checked_shl(width)?.checked_sub(1)?;
        let first = usize::try_from(lengths & mask).ok()?;
        let second = usize::try_from(lengths.checked_shr(width)? & mask).ok()?;
        Some((kind, first, second))
    }

    fn push(self, first: usize, second: usize, out: &mut Vec<u8>) -> Option<()> {
        let (len, width) = self.widths();
        let fits = |length: usize| {
            let length = u64::try_from(length).ok()?;
            (length.checked_shr(width)? == 0).then_some(length)
        };
        let (first, second) = (fits(first)?, fits(second)?);
        let shift = if len == 1 { 3 } else { 4 };
        let lengths = first | second.checked_shl(width)?;
        let head = u64::from(self.0) | lengths.checked_shl(shift)?;
        out.extend(head.to_le_bytes().get(..len)?);
        Some(())
    }
}

/// A compressed block.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) kind: LiteralsKind,
    /// The description of the tree, as it stands.
    pub(super) tree: Vec<u8>,
    pub(super) literals: Vec<u8>,
    /// How the tables of sequences are given.
    pub(super) modes: u8,
    /// Their descriptions, as they stand.
    pub(super) tables: Vec<u8>,
    pub(super) sequences: Vec<Sequence>,
}

impl Block {
    pub(super) fn clear(&mut self) {
        self.kind = LiteralsKind::default();
        self.modes = 0;
        self.tree.clear();
        self.literals.clear();
        self.tables.clear();
        self.sequences.clear();
    }

    /// How long the content is that the block has; `None` if it is more than a block may have.
    pub(super) fn content_len(&self) -> Option<usize> {
        let mut len = self.literals.len();
        for sequence in &self.sequences {
            len = len.checked_add(sequence.length as usize)?;
        }
        (len <= MAX_BLOCK_BYTES).then_some(len)
    }

    /// Takes a block apart, of which nothing must be left.
    pub(super) fn read(&mut self, bytes: &[u8], tables: &mut Tables) -> Option<()> {
        self.clear();
        let mut bytes = Cursor::new(bytes);
        self.read_literals(&mut bytes, tables)?;
        let count = sequences::read_count(&mut bytes)?;
        if count == 0 {
            return bytes.rest().is_empty().then_some(());
        }
        self.modes = bytes.u8()?;
        let described = bytes.rest();
        tables.read_sequences(self.modes, &mut bytes)?;
        self.tables.extend(before(described, &bytes)?);
        tables
            .sequences
            .read_sequences(bytes.rest(), count, &mut self.sequences)
    }

    fn read_literals(&mut self, bytes: &mut Cursor<'_>, tables: &mut Tables) -> Option<()> {
        let (kind, count, len) = LiteralsKind::read(bytes)?;
        self.kind = kind;
        if count > MAX_BLOCK_BYTES {
            return None;
        }
        match kind.kind() {
            RAW => self.literals.extend(bytes.take(count)?),
            REPEATED => self.literals.resize(count, bytes.u8()?),
            _ => {
                let mut bytes = Cursor::new(bytes.take(len)?);
                let described = bytes.rest();
                tables.read_tree(kind, &mut bytes)?;
                self.tree.extend(before(described, &bytes)?);
                let huffman = tables.huffman.as_ref()?;
                if kind.has_one_stream() {
                    return huffman.read_stream(bytes.rest(), count, &mut self.literals);
                }
                let lens = [bytes.u16()?, bytes.u16()?, bytes.u16()?];
                let (each, last) = quarters(count)?;
                for len in lens {
                    let stream = bytes.take(len.into())?;
                    huffman.read_stream(stream, each, &mut self.literals)?;
                }
                huffman.read_stream(bytes.rest(), last, &mut self.literals)?;
            }
        }
        Some(())
    }

    /// Appends the block. The tables are those after its descriptions.
    pub(super) fn push(&self, tables: &Tables, out: &mut Vec<u8>) -> Option<()> {
        self.push_literals(tables, out)?;
        sequences::push_count(u32::try_from(self.sequences.len()).ok()?, out)?;
        if self.sequences.is_empty() {
            return Some(());
        }
        out.push(self.modes);
        out.extend(&self.tables);
        tables.sequences.push_sequences(&self.sequences, out)
    }

    fn push_literals(&self, tables: &Tables, out: &mut Vec<u8>) -> Option<()> {
        let literals = &self.literals;
        match self.kind.kind() {
            RAW => {
                self.kind.push(literals.len(), 0, out)?;
                out.extend(literals);
            }
            REPEATED => {
                self.kind.push(literals.len(), 0, out)?;
                out.push(repeated(literals)?);
            }
            _ => {
                let huffman = tables.huffman.as_ref()?;
                let mut section = self.tree.clone();
                if self.kind.has_one_stream() {
                    huffman.push_stream(literals, &mut section)?;
                } else {
                    push_quarters(huffman, literals, &mut section)?;
                }
                self.kind.push(literals.len(), section.len(), out)?;
                out.extend(section);
            }
        }
        Some(())
    }
}

/// The byte of which a string consists.
pub(super) fn repeated(bytes: &[u8]) -> Option<u8> {
    let first = *bytes.first()?;
    bytes.iter().all(|byte| *byte == first).then_some(first)
}

/// How many literals each of the first three streams has, and the last.
fn quarters(count: usize) -> Option<(usize, usize)> {
    let each = count.div_ceil(4);
    Some((each, count.checked_sub(each.checked_mul(3)?)?))
}

fn push_quarters(huffman: &Huffman, literals: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (each, _) = quarters(literals.len())?;
    let (mut streams, mut start) = (Vec::new(), 0);
    let mut rest = literals;
    for _ in 0..3 {
        let (now, later) = rest.split_at_checked(each)?;
        rest = later;
        huffman.push_stream(now, &mut streams)?;
        let len = streams.len().checked_sub(start)?;
        out.extend(u16::try_from(len).ok()?.to_le_bytes());
        start = streams.len();
    }
    huffman.push_stream(rest, &mut streams)?;
    out.extend(streams);
    Some(())
}

/// What of `all` was read.
fn before<'a>(all: &'a [u8], rest: &Cursor<'_>) -> Option<&'a [u8]> {
    all.get(..all.len().checked_sub(rest.rest().len())?)
}
