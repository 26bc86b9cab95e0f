// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames put together again, of their content and the choices.

use std::io::Write;

use sealroot_format::erofs::ReadAt;

use super::block::{Block, LiteralsKind, MAX_BLOCK_BYTES, Tables, repeated};
use super::choices::{Beside, Reader, Record, Source};
use super::frame::{BlockHead, Kind};
use super::nearest::{Match, Nearest};
use super::sequences::{LAST_BEFORE, MAX_SEQUENCES, Sequence};
use crate::number;
use crate::opened::Stop;

/// Where in a form the parts of a frame lie that are not in memory: begin and length.
#[derive(Clone, Copy, Debug)]
pub(in crate::opened) struct Places {
    pub(in crate::opened) content: (u64, u64),
    pub(in crate::opened) records: (u64, u64),
}

/// Writes the blocks of a frame to `out`, no more than `max_bytes` of them; how many there are.
pub(in crate::opened) fn close(
    form: &dyn ReadAt,
    places: Places,
    beside: &Beside,
    out: &mut dyn Write,
    max_bytes: u64,
) -> Result<u64, Stop> {
    let mut walk = Walk::new(form, places, beside);
    let mut nearest = Nearest::new();
    let (mut block, mut encoded) = (Block::default(), Vec::new());
    let mut written = 0_u64;
    while walk.next()? {
        walk.encode(&mut nearest, &mut block, &mut encoded)?;
        written = written.saturating_add(encoded.len() as u64);
        if written > max_bytes {
            return Err(Stop::Invalid);
        }
        out.write_all(&encoded).map_err(Stop::Write)?;
    }
    Ok(written)
}

/// The blocks of a form, one after another.
struct Walk<'c> {
    form: &'c dyn ReadAt,
    choices: Reader<'c>,
    tables: Tables,
    head: Option<BlockHead>,
    /// If the block is compressed.
    kind: LiteralsKind,
    modes: u8,
    tree: &'c [u8],
    described: &'c [u8],
    records: Vec<Record>,
    /// Where its content begins in that of the frame, and what it is.
    begins: u64,
    content: Vec<u8>,
    /// Where the content of the frame begins in the form, and its length.
    place: (u64, u64),
}

impl<'c> Walk<'c> {
    fn new(form: &'c dyn ReadAt, places: Places, beside: &'c Beside) -> Self {
        let (start, len) = places.records;
        Self {
            form,
            choices: Reader::new(beside, form, start, len),
            tables: Tables::default(),
            head: None,
            kind: LiteralsKind::default(),
            modes: 0,
            tree: &[],
            described: &[],
            records: Vec::new(),
            begins: 0,
            content: Vec::new(),
            place: places.content,
        }
    }

    /// Goes on to the next block; false after the last one.
    fn next(&mut self) -> Result<bool, Stop> {
        self.begins = self.begins.saturating_add(self.content.len() as u64);
        self.content.clear();
        if self.head.is_some_and(|head| head.is_last) {
            let is_whole = self.begins == self.place.1 && self.choices.is_empty();
            return is_whole.then_some(false).ok_or(Stop::Invalid);
        }
        self.records.clear();
        let bits = self.choices.heads.u8().ok_or(Stop::Invalid)?;
        let head = BlockHead::new(bits, 0).ok_or(Stop::Invalid)?;
        let len = match head.kind {
            Kind::Raw | Kind::Repeated => {
                let len = number::take(&mut self.choices.heads).ok_or(Stop::Invalid)?;
                usize::try_from(len).unwrap_or(usize::MAX)
            }
            Kind::Compressed => self.compressed()?,
        };
        let left = self.place.1.saturating_sub(self.begins);
        if len > MAX_BLOCK_BYTES || len as u64 > left {
            return Err(Stop::Invalid);
        }
        self.head = Some(BlockHead { len, ..head });
        self.content.resize(len, 0);
        let position = self.place.0.saturating_add(self.begins);
        let read = self.form.read_exact_at(&mut self.content, position);
        read.map_err(Stop::Read)?;
        Ok(true)
    }

    /// Reads the choices of a compressed block; the length of its content.
    fn compressed(&mut self) -> Result<usize, Stop> {
        let (count, mut len) = self.descriptions().ok_or(Stop::Invalid)?;
        for _ in 0..count {
            let record = self.choices.record()?;
            self.records.push(record);
            len = len
                .saturating_add(record.literals.into())
                .saturating_add(record.length.into());
            if len > MAX_BLOCK_BYTES as u64 {
                return Err(Stop::Invalid);
            }
        }
        usize::try_from(len).map_err(|_| Stop::Invalid)
    }

    /// The number of records, and of literals after the last one.
    fn descriptions(&mut self) -> Option<(u64, u64)> {
        let heads = &mut self.choices.heads;
        self.kind = LiteralsKind::new(heads.u8()?);
        let described = heads.rest();
        self.tables.read_tree(self.kind, heads)?;
        self.tree = read_of(described, heads.rest())?;
        let count = number::take(heads).filter(|count| *count <= MAX_SEQUENCES.into())?;
        let after = number::take(heads)?;
        (self.modes, self.described) = (0, &[]);
        if count > 0 {
            self.modes = heads.u8()?;
            let described = heads.rest();
            self.tables.read_sequences(self.modes, heads)?;
            self.described = read_of(described, heads.rest())?;
        }
        Some((count, after))
    }

    /// The block as it stands in the frame.
    fn encode(
        &self,
        nearest: &mut Nearest,
        block: &mut Block,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let head = self.head.ok_or(Stop::Invalid)?;
        out.clear();
        nearest.push(&self.content);
        match head.kind {
            Kind::Raw => out.extend(&self.content),
            Kind::Repeated => out.push(repeated(&self.content).ok_or(Stop::Invalid)?),
            Kind::Compressed => {
                self.fill(nearest, block).ok_or(Stop::Invalid)?;
                block.push(&self.tables, out).ok_or(Stop::Invalid)?;
            }
        }
        let len = match head.kind {
            Kind::Repeated => head.len,
            Kind::Raw | Kind::Compressed => out.len(),
        };
        let head = BlockHead::new(head.bits(), len).and_then(BlockHead::encode);
        out.splice(..0, head.ok_or(Stop::Invalid)?);
        Ok(())
    }

    fn fill(&self, nearest: &Nearest, block: &mut Block) -> Option<()> {
        block.clear();
        block.kind = self.kind;
        block.modes = self.modes;
        block.tree.extend(self.tree);
        block.tables.extend(self.described);
        let mut nearest = nearest.distances(&self.matches()).into_iter();
        let mut content = &self.content[..];
        for record in &self.records {
            let Record {
                literals, length, ..
            } = *record;
            let offset = match record.source {
                Source::Before(offset) => offset,
                Source::Told(distance) => distance.checked_add(LAST_BEFORE)?,
                Source::Nearest => nearest.next()??.checked_add(LAST_BEFORE)?,
            };
            block.sequences.push(Sequence {
                literals,
                length,
                offset,
            });
            let (now, copied) = content.split_at_checked(literals as usize)?;
            block.literals.extend(now);
            content = copied.get(length as usize..)?;
        }
        block.literals.extend(content);
        Some(())
    }

    /// The matches that come from the nearest place.
    fn matches(&self) -> Vec<Match> {
        Match::sought(self.records.iter().map(|record| {
            let is_nearest = record.source == Source::Nearest;
            (record.literals, record.length, is_nearest)
        }))
    }
}

/// What of `all` was read, if `rest` was not.
fn read_of<'a>(all: &'a [u8], rest: &[u8]) -> Option<&'a [u8]> {
    all.get(..all.len().checked_sub(rest.len())?)
}
