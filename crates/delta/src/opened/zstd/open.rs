// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames taken apart: first into their content, then, since it tells where matches come from, into the
//! choices.

use std::io::{self, Write};

use sealroot_format::erofs::ReadAt;

use super::block::{Block, Tables};
use super::choices::{Beside, Record, Source};
use super::content::{Content, Offsets};
use super::frame::{Blocks, Kind};
use super::nearest::{Nearest, Scan};
use super::sequences::LAST_BEFORE;
use crate::number;
use crate::opened::{Scratch, Stop};

/// A frame whose content was written.
pub(in crate::opened) struct Decoded {
    pub(in crate::opened) content_bytes: u64,
    /// Where its blocks end in the object.
    pub(in crate::opened) end: u64,
    nearest: Nearest,
}

/// Appends the content of the blocks that begin at `start` and end at `end` or before, to a file of
/// `file_bytes`.
pub(in crate::opened) fn decode(
    object: &dyn ReadAt,
    (start, end): (u64, u64),
    file: &mut impl Scratch,
    (file_bytes, max_bytes): (u64, u64),
) -> Result<Decoded, Stop> {
    let mut blocks = Blocks::new(object, start, end);
    let mut content = Content::new(file, file_bytes, max_bytes);
    let mut nearest = Nearest::new();
    let mut offsets = Offsets::new();
    let (mut tables, mut block) = (Tables::default(), Block::default());
    let mut again = Vec::new();
    loop {
        let (head, bytes) = blocks.next()?;
        match head.kind {
            Kind::Raw => content.push(bytes)?,
            Kind::Repeated => {
                let byte = bytes.first().ok_or(Stop::Invalid)?;
                content.push_repeated(*byte, head.len)?;
            }
            Kind::Compressed => {
                let read = block.read(bytes, &mut tables);
                read.and_then(|()| block.content_len())
                    .ok_or(Stop::Invalid)?;
                again.clear();
                block.push(&tables, &mut again).ok_or(Stop::Invalid)?;
                // What is not written in the way in which we do, would not come back.
                if again != bytes {
                    return Err(Stop::Invalid);
                }
                execute(&block, &mut offsets, &mut content, &mut nearest)?;
            }
        }
        content.end_block()?;
        if head.is_last {
            return Ok(Decoded {
                content_bytes: content.len(),
                end: blocks.position(),
                nearest,
            });
        }
    }
}

fn execute<S: Scratch>(
    block: &Block,
    offsets: &mut Offsets,
    content: &mut Content<'_, S>,
    nearest: &mut Nearest,
) -> Result<(), Stop> {
    let mut literals = &block.literals[..];
    for sequence in &block.sequences {
        let split = literals.split_at_checked(sequence.literals as usize);
        let (now, later) = split.ok_or(Stop::Invalid)?;
        literals = later;
        content.push(now)?;
        let copied = content.copy(offsets.distance(sequence), sequence.length)?;
        if sequence.offset > LAST_BEFORE {
            nearest.add(copied).ok_or(Stop::Invalid)?;
        }
    }
    content.push(literals)
}

/// The choices of the blocks of such a frame, whose content lies in a file from `content_start` on. The records are written to
/// `records`; their length.
pub(in crate::opened) fn choices(
    object: &dyn ReadAt,
    start: u64,
    decoded: Decoded,
    (file, content_start): (&dyn ReadAt, u64),
    records: &mut impl Write,
) -> Result<Beside, Stop> {
    let mut blocks = Blocks::new(object, start, decoded.end);
    let mut opening = Opening {
        scan: Scan::new(decoded.nearest, file, content_start, decoded.content_bytes),
        beside: Beside::default(),
        records: io::BufWriter::new(records),
    };
    let (mut tables, mut block) = (Tables::default(), Block::default());
    loop {
        let (head, bytes) = blocks.next()?;
        opening.beside.heads.push(head.bits());
        match head.kind {
            Kind::Raw | Kind::Repeated => {
                number::push(&mut opening.beside.heads, head.len as u64);
                let seen = opening.scan.distances(head.len, std::iter::empty());
                seen.map_err(Stop::Read)?;
            }
            Kind::Compressed => {
                block.read(bytes, &mut tables).ok_or(Stop::Invalid)?;
                opening.block(&block)?;
            }
        }
        if !opening.beside.is_short_enough() {
            return Err(Stop::Invalid);
        }
        if head.is_last {
            opening.records.flush().map_err(Stop::Write)?;
            return Ok(opening.beside);
        }
    }
}

struct Opening<'o, W: Write> {
    scan: Scan<'o>,
    beside: Beside,
    records: io::BufWriter<W>,
}

impl<W: Write> Opening<'_, W> {
    fn block(&mut self, block: &Block) -> Result<(), Stop> {
        let before = block.sequences.iter().map(|one| u64::from(one.literals));
        let after = (block.literals.len() as u64).saturating_sub(before.sum());
        let heads = &mut self.beside.heads;
        heads.push(block.kind.byte());
        heads.extend(&block.tree);
        number::push(heads, block.sequences.len() as u64);
        number::push(heads, after);
        if !block.sequences.is_empty() {
            heads.push(block.modes);
            heads.extend(&block.tables);
        }
        let len = block.content_len().ok_or(Stop::Invalid)?;
        let mut at = 0_u32;
        let places = block.sequences.iter().map(|sequence| {
            let place = at.saturating_add(sequence.literals);
            at = place.saturating_add(sequence.length);
            (place, sequence.length)
        });
        let nearest = self.scan.distances(len, places).map_err(Stop::Read)?;
        for (sequence, nearest) in block.sequences.iter().zip(nearest) {
            let record = Record {
                literals: sequence.literals,
                length: sequence.length,
                source: source(sequence.offset, *nearest),
            };
            let pushed = self.beside.push(record, &mut self.records);
            pushed.map_err(Stop::Write)?;
        }
        Ok(())
    }
}

fn source(offset: u32, nearest: Option<u32>) -> Source {
    match offset.checked_sub(LAST_BEFORE) {
        None | Some(0) => Source::Before(offset),
        distance if distance == nearest => Source::Nearest,
        Some(distance) => Source::Told(distance),
    }
}
