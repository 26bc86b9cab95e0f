// SPDX-License-Identifier: MIT OR Apache-2.0
//! The choices of whoever compressed a frame, as they are written down (docs/format/opened.md 3).

use std::io::{self, Write};

use sealroot_format::codec::Cursor;
use sealroot_format::erofs::ReadAt;

use crate::number;
use crate::opened::Stop;

/// Length of a record.
const RECORD_BYTES: usize = 2;

/// Literals and bytes of a match that are left for another number.
const MANY_LITERALS: u32 = 63;
const LONG_MATCH: u32 = 255;

/// The shortest match.
const MIN_MATCH: u32 = 3;

/// The lowest bits of a record are where the match comes from.
const SOURCE_BITS: u32 = 2;
const DISTANCE: u8 = 0;
const OFFSETS: u8 = 3;

/// What is not in the records, longest, bytes.
pub(in crate::opened) const MAX_BESIDE_BYTES: usize = 8 << 20;

/// Records that are in memory at a time.
const BUFFERED_RECORDS: usize = 4096;

/// Where a match comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The nearest place that has the same bytes.
    Nearest,
    /// The offset code of a distance that there was before.
    Before(u32),
    /// This distance.
    Told(u32),
}

/// Literals and a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) literals: u32,
    pub(super) length: u32,
    pub(super) source: Source,
}

/// What of the choices is in memory while they come.
#[derive(Debug, Default)]
pub(in crate::opened) struct Beside {
    /// What blocks have besides records.
    pub(in crate::opened) heads: Vec<u8>,
    /// Lengths that have no room in a record.
    pub(in crate::opened) lengths: Vec<u8>,
    /// How many matches come from the nearest place before one whose distance is told.
    pub(in crate::opened) gaps: Vec<u8>,
    /// Distances that are told.
    pub(in crate::opened) distances: Vec<u8>,
}

impl Beside {
    /// Its parts, in the order in which they stand in a form.
    pub(in crate::opened) const fn parts(&self) -> [&Vec<u8>; 4] {
        [&self.heads, &self.lengths, &self.gaps, &self.distances]
    }

    /// The same, to be filled.
    pub(in crate::opened) const fn parts_mut(&mut self) -> [&mut Vec<u8>; 4] {
        let Self {
            heads,
            lengths,
            gaps,
            distances,
        } = self;
        [heads, lengths, gaps, distances]
    }

    /// Whether there is not too much of it.
    fn is_short_enough(&self) -> bool {
        let lens = self.parts().map(Vec::len);
        let sum = lens.into_iter().try_fold(0, usize::checked_add);
        sum.is_some_and(|sum| sum <= MAX_BESIDE_BYTES)
    }
}

/// Choices as they are written down.
pub(super) struct Writer<W: Write> {
    pub(super) beside: Beside,
    records: io::BufWriter<W>,
    /// How many matches came from the nearest place since the last distance that was told.
    gap: u64,
}

impl<W: Write> Writer<W> {
    /// With records to be written there.
    pub(super) fn new(records: W) -> Self {
        Self {
            beside: Beside::default(),
            records: io::BufWriter::new(records),
            gap: 0,
        }
    }

    /// Writes a record.
    pub(super) fn push(&mut self, record: Record) -> Result<(), Stop> {
        let literals = self.in_record(record.literals, MANY_LITERALS);
        let length = self.in_record(record.length.saturating_sub(MIN_MATCH), LONG_MATCH);
        let source = match record.source {
            Source::Before(offset) => offset.to_le_bytes()[0],
            Source::Nearest => {
                self.gap = self.gap.saturating_add(1);
                DISTANCE
            }
            Source::Told(distance) => {
                number::push(&mut self.beside.gaps, std::mem::take(&mut self.gap));
                self.beside.distances.extend(distance.to_le_bytes());
                DISTANCE
            }
        };
        let record = [length, literals << SOURCE_BITS | source];
        self.records.write_all(&record).map_err(Stop::Write)
    }

    /// What of a number a record has; the rest is written beside it.
    fn in_record(&mut self, number: u32, most: u32) -> u8 {
        if let Some(rest) = number.checked_sub(most) {
            number::push(&mut self.beside.lengths, rest.into());
        }
        number.min(most).to_le_bytes()[0]
    }

    /// Ends a block.
    pub(super) fn end_block(&self) -> Result<(), Stop> {
        let is_short_enough = self.beside.is_short_enough();
        is_short_enough.then_some(()).ok_or(Stop::Invalid)
    }

    /// All but the records, which are written.
    pub(super) fn finish(mut self) -> Result<Beside, Stop> {
        self.records.flush().map_err(Stop::Write)?;
        Ok(self.beside)
    }
}

/// Choices as they are read again.
pub(super) struct Reader<'c> {
    pub(super) heads: Cursor<'c>,
    lengths: Cursor<'c>,
    gaps: Cursor<'c>,
    distances: Cursor<'c>,
    /// How many matches come from the nearest place before the next distance that is told, if that is known.
    gap: Option<u64>,
    form: &'c dyn ReadAt,
    /// Which records were not read yet, as positions in the form.
    at: u64,
    end: u64,
    /// Those that were, and how much of them was taken.
    buffer: Vec<u8>,
    taken: usize,
}

impl<'c> Reader<'c> {
    /// Those of a form, whose records lie from `start` on and have `len` bytes.
    pub(super) fn new(beside: &'c Beside, form: &'c dyn ReadAt, start: u64, len: u64) -> Self {
        Self {
            heads: Cursor::new(&beside.heads),
            lengths: Cursor::new(&beside.lengths),
            gaps: Cursor::new(&beside.gaps),
            distances: Cursor::new(&beside.distances),
            gap: None,
            form,
            at: start,
            end: start.saturating_add(len),
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// The next record.
    pub(super) fn record(&mut self) -> Result<Record, Stop> {
        if self.taken >= self.buffer.len() {
            self.fill()?;
        }
        self.next().ok_or(Stop::Invalid)
    }

    fn fill(&mut self) -> Result<(), Stop> {
        const MOST: usize = BUFFERED_RECORDS * RECORD_BYTES;
        let left = self.end.saturating_sub(self.at);
        let len = usize::try_from(left).map_or(MOST, |left| left.min(MOST));
        self.buffer.resize(len, 0);
        self.taken = 0;
        self.form
            .read_exact_at(&mut self.buffer, self.at)
            .map_err(Stop::Read)?;
        self.at = self.at.saturating_add(len as u64);
        Ok(())
    }

    fn next(&mut self) -> Option<Record> {
        let mut record = Cursor::new(self.buffer.get(self.taken..)?);
        let (length, low) = (record.u8()?, record.u8()?);
        self.taken = self.taken.checked_add(RECORD_BYTES)?;
        let literals = self.whole(low >> SOURCE_BITS, MANY_LITERALS)?;
        let length = self.whole(length, LONG_MATCH)?.checked_add(MIN_MATCH)?;
        let source = match low & OFFSETS {
            DISTANCE => self.distance()?,
            offset => Source::Before(offset.into()),
        };
        Some(Record {
            literals,
            length,
            source,
        })
    }

    fn distance(&mut self) -> Option<Source> {
        let gap = match self.gap {
            Some(gap) => gap,
            None if self.gaps.rest().is_empty() => return Some(Source::Nearest),
            None => number::take(&mut self.gaps)?,
        };
        self.gap = gap.checked_sub(1);
        match self.gap {
            Some(_) => Some(Source::Nearest),
            None => self.distances.u32().map(Source::Told),
        }
    }

    fn whole(&mut self, in_record: u8, most: u32) -> Option<u32> {
        let in_record = u32::from(in_record);
        if in_record < most {
            return Some(in_record);
        }
        let rest = u32::try_from(number::take(&mut self.lengths)?).ok()?;
        most.checked_add(rest)
    }

    /// Whether all choices were taken.
    pub(super) fn is_empty(&self) -> bool {
        let parts = [&self.heads, &self.lengths, &self.gaps, &self.distances];
        let rests = parts.map(Cursor::rest);
        let is_taken = self.at >= self.end && self.taken >= self.buffer.len();
        is_taken && rests.iter().all(|rest| rest.is_empty())
    }
}
