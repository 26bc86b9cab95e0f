// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames taken apart: into their content, and the choices of whoever compressed it.

use std::io::Write;

use sealroot_format::erofs::ReadAt;

use super::block::{Block, Tables};
use super::choices::{Beside, Record, Source, Writer};
use super::content::{Content, Offsets};
use super::frame::{Blocks, Kind};
use super::nearest::{Match, Nearest};
use super::sequences::LAST_BEFORE;
use crate::number;
use crate::opened::{Scratch, Side, Stop};

/// A frame whose content and records were written.
pub(in crate::opened) struct Opened {
    pub(in crate::opened) content_bytes: u64,
    /// Where its blocks end in the object.
    pub(in crate::opened) end: u64,
    pub(in crate::opened) beside: Beside,
}

/// Opens the blocks that begin at `start` and end at `end` or before: appends their content to a file of
/// `file_bytes`, and writes their records to `records`.
pub(in crate::opened) fn open(
    object: &dyn ReadAt,
    (start, end): (u64, u64),
    side: Side,
    file: &mut impl Scratch,
    (file_bytes, max_bytes): (u64, u64),
    records: &mut impl Write,
) -> Result<Opened, Stop> {
    let mut blocks = Blocks::new(object, start, end);
    let mut opening = Opening {
        content: Content::new(file, file_bytes, max_bytes),
        offsets: Offsets::new(),
        nearest: match side {
            Side::Old => None,
            Side::New => Some(Nearest::new()),
        },
        choices: Writer::new(records),
        again: Vec::new(),
    };
    let (mut tables, mut block) = (Tables::default(), Block::default());
    loop {
        let (head, bytes) = blocks.next()?;
        let content = &mut opening.content;
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
                opening.check(&block, &tables, bytes)?;
                opening.execute(&block)?;
            }
        }
        opening.know_block();
        opening.choices.beside.heads.push(head.bits());
        match head.kind {
            Kind::Raw | Kind::Repeated => {
                number::push(&mut opening.choices.beside.heads, head.len as u64);
            }
            Kind::Compressed => opening.write(&block)?,
        }
        opening.content.end_block()?;
        opening.choices.end_block()?;
        if head.is_last {
            return Ok(Opened {
                content_bytes: opening.content.len(),
                end: blocks.position(),
                beside: opening.choices.finish()?,
            });
        }
    }
}

struct Opening<'o, S, W: Write> {
    content: Content<'o, S>,
    offsets: Offsets,
    /// Where matches may come from, if distances are told.
    nearest: Option<Nearest>,
    choices: Writer<W>,
    /// The last block, as it would be closed.
    again: Vec<u8>,
}

impl<S: Scratch, W: Write> Opening<'_, S, W> {
    /// What is to be closed must come back: a block must be written in the way in which we do.
    fn check(&mut self, block: &Block, tables: &Tables, bytes: &[u8]) -> Result<(), Stop> {
        if self.nearest.is_none() {
            return Ok(());
        }
        self.again.clear();
        let pushed = block.push(tables, &mut self.again);
        let comes_back = pushed.is_some() && self.again == bytes;
        comes_back.then_some(()).ok_or(Stop::Invalid)
    }

    /// Appends what a block says.
    fn execute(&mut self, block: &Block) -> Result<(), Stop> {
        let mut literals = &block.literals[..];
        for sequence in &block.sequences {
            let split = literals.split_at_checked(sequence.literals as usize);
            let (now, later) = split.ok_or(Stop::Invalid)?;
            literals = later;
            self.content.push(now)?;
            let distance = self.offsets.distance(sequence);
            self.content.copy(distance, sequence.length)?;
        }
        self.content.push(literals)
    }

    /// Has matches come from the block that was appended.
    fn know_block(&mut self) {
        if let Some(nearest) = &mut self.nearest {
            nearest.push(self.content.block());
        }
    }

    /// Writes down the choices of a block.
    fn write(&mut self, block: &Block) -> Result<(), Stop> {
        let before = block.sequences.iter().map(|one| u64::from(one.literals));
        let after = (block.literals.len() as u64).saturating_sub(before.sum());
        let heads = &mut self.choices.beside.heads;
        heads.push(block.kind.byte());
        heads.extend(&block.tree);
        number::push(heads, block.sequences.len() as u64);
        number::push(heads, after);
        if !block.sequences.is_empty() {
            heads.push(block.modes);
            heads.extend(&block.tables);
        }
        let nearest = (self.nearest.as_ref()).map(|nearest| nearest.distances(&told(block)));
        let mut nearest = nearest.map(Vec::into_iter);
        for sequence in &block.sequences {
            let source = match distance(sequence.offset) {
                None => Source::Before(sequence.offset),
                Some(distance) => match nearest.as_mut().map(Iterator::next) {
                    Some(nearest) if nearest.flatten() != Some(distance) => Source::Told(distance),
                    _ => Source::Nearest,
                },
            };
            self.choices.push(Record {
                literals: sequence.literals,
                length: sequence.length,
                source,
            })?;
        }
        Ok(())
    }
}

/// The distance that an offset code stands for, unless it is one that there was before.
fn distance(offset: u32) -> Option<u32> {
    offset
        .checked_sub(LAST_BEFORE)
        .filter(|distance| *distance > 0)
}

/// The matches of a block that have distances of their own.
fn told(block: &Block) -> Vec<Match> {
    Match::sought(block.sequences.iter().map(|sequence| {
        let is_told = distance(sequence.offset).is_some();
        (sequence.literals, sequence.length, is_told)
    }))
}
