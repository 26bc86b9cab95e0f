// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sequences of a block, literals that are followed by a match, and the tables of their codes (RFC 8878 3.1.1.3.2).

use sealroot_format::codec::Cursor;

use super::bits::{BackwardReader, push_end};
use super::fse::Fse;
use crate::opened::bits::BitWriter;

/// The most sequences of a block: what its three bytes can say.
pub(super) const MAX_SEQUENCES: u32 = 0xffff + LONG_COUNT;

/// From this number of sequences on it takes two bytes, and three.
const MIDDLE_COUNT: u32 = 0x80;
const LONG_COUNT: u32 = 0x7f00;

/// Offsets up to this one stand for distances before; others are so much more than the distance.
pub(super) const LAST_BEFORE: u32 = 3;

/// The largest code of an offset: the bits behind the highest one.
const MAX_OFFSET_CODE: u8 = 31;

/// Bits that are written at a time.
const WRITTEN_BITS: u32 = 16;

/// For each code, the least value, and how many bits are added.
type Ranges = [(u32, u8)];

const LITERAL_LENGTHS: [(u32, u8); 36] = [
    (0, 0),
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 0),
    (12, 0),
    (13, 0),
    (14, 0),
    (15, 0),
    (16, 1),
    (18, 1),
    (20, 1),
    (22, 1),
    (24, 2),
    (28, 2),
    (32, 3),
    (40, 3),
    (48, 4),
    (64, 6),
    (128, 7),
    (256, 8),
    (512, 9),
    (1024, 10),
    (2048, 11),
    (4096, 12),
    (8192, 13),
    (16384, 14),
    (32768, 15),
    (65536, 16),
];

const MATCH_LENGTHS: [(u32, u8); 53] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 0),
    (12, 0),
    (13, 0),
    (14, 0),
    (15, 0),
    (16, 0),
    (17, 0),
    (18, 0),
    (19, 0),
    (20, 0),
    (21, 0),
    (22, 0),
    (23, 0),
    (24, 0),
    (25, 0),
    (26, 0),
    (27, 0),
    (28, 0),
    (29, 0),
    (30, 0),
    (31, 0),
    (32, 0),
    (33, 0),
    (34, 0),
    (35, 1),
    (37, 1),
    (39, 1),
    (41, 1),
    (43, 2),
    (47, 2),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 5),
    (131, 7),
    (259, 8),
    (515, 9),
    (1027, 10),
    (2051, 11),
    (4099, 12),
    (8195, 13),
    (16387, 14),
    (32771, 15),
    (65539, 16),
];

/// How many states each code has in the tables that no block has to describe.
const DEFAULT_LITERAL_LENGTHS: [i16; 36] = [
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
    -1, -1, -1, -1,
];
const DEFAULT_OFFSETS: [i16; 29] = [
    1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
];
const DEFAULT_MATCH_LENGTHS: [i16; 53] = [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
];

/// Literals, and the match behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) literals: u32,
    pub(super) length: u32,
    /// As it is coded: which distance before it is, or 3 more than the distance.
    pub(super) offset: u32,
}

/// The tables of the last sequences.
#[derive(Debug, Default)]
pub(super) struct SequenceTables {
    literals: Option<Fse>,
    offsets: Option<Fse>,
    lengths: Option<Fse>,
}

impl SequenceTables {
    /// Reads the descriptions of the tables that a block does not take over.
    pub(super) fn read(&mut self, modes: u8, bytes: &mut Cursor<'_>) -> Option<()> {
        if modes & 3 != 0 {
            return None;
        }
        read_table(
            &mut self.literals,
            modes >> 6,
            bytes,
            (6, &DEFAULT_LITERAL_LENGTHS),
            (9, LITERAL_LENGTHS.len()),
        )?;
        read_table(
            &mut self.offsets,
            modes >> 4,
            bytes,
            (5, &DEFAULT_OFFSETS),
            (8, usize::from(MAX_OFFSET_CODE).checked_add(1)?),
        )?;
        read_table(
            &mut self.lengths,
            modes >> 2,
            bytes,
            (6, &DEFAULT_MATCH_LENGTHS),
            (9, MATCH_LENGTHS.len()),
        )
    }

    /// Appends so many sequences, which are all that `bytes` has.
    pub(super) fn read_sequences(
        &self,
        bytes: &[u8],
        count: u32,
        out: &mut Vec<Sequence>,
    ) -> Option<()> {
        let (literals, offsets) = (self.literals.as_ref()?, self.offsets.as_ref()?);
        let lengths = self.lengths.as_ref()?;
        let bits = &mut BackwardReader::new(bytes)?;
        let mut literals_state = literals.start(bits)?;
        let mut offset_state = offsets.start(bits)?;
        let mut length_state = lengths.start(bits)?;
        for number in 1..=count {
            let code = offsets.symbol(offset_state)?;
            let added = u32::try_from(bits.take(code.into())?).ok()?;
            let offset = 1_u32.checked_shl(code.into())? | added;
            let length = read_value(&MATCH_LENGTHS, lengths.symbol(length_state)?, bits)?;
            let before = read_value(&LITERAL_LENGTHS, literals.symbol(literals_state)?, bits)?;
            out.push(Sequence {
                literals: before,
                length,
                offset,
            });
            if number < count {
                literals_state = literals.next(literals_state, bits)?;
                length_state = lengths.next(length_state, bits)?;
                offset_state = offsets.next(offset_state, bits)?;
            }
        }
        bits.is_empty().then_some(())
    }

    /// Appends what [`Self::read_sequences`] reads; `None` if a code that it takes has no state.
    pub(super) fn push_sequences(&self, sequences: &[Sequence], out: &mut Vec<u8>) -> Option<()> {
        let (literals, offsets) = (self.literals.as_ref()?, self.offsets.as_ref()?);
        let lengths = self.lengths.as_ref()?;
        let bits = &mut BitWriter::new(out);
        let mut states = None;
        for sequence in sequences.iter().rev() {
            let (literals_code, literals_added) = code_of(&LITERAL_LENGTHS, sequence.literals)?;
            let (length_code, length_added) = code_of(&MATCH_LENGTHS, sequence.length)?;
            let offset_code = sequence.offset.checked_ilog2()?;
            let offset_symbol = u8::try_from(offset_code).ok()?;
            states = Some(match states {
                None => (
                    literals.last_state(literals_code)?,
                    offsets.last_state(offset_symbol)?,
                    lengths.last_state(length_code)?,
                ),
                Some((literals_state, offset_state, length_state)) => {
                    let offset_state = offsets.previous(offset_symbol, offset_state, bits)?;
                    let length_state = lengths.previous(length_code, length_state, bits)?;
                    let before = literals.previous(literals_code, literals_state, bits)?;
                    (before, offset_state, length_state)
                }
            });
            push(literals_added, bits);
            push(length_added, bits);
            let highest = 1_u32.checked_shl(offset_code)?;
            push((sequence.offset ^ highest, offset_code), bits);
        }
        let (literals_state, offset_state, length_state) = states?;
        lengths.push_start(length_state, bits);
        offsets.push_start(offset_state, bits);
        literals.push_start(literals_state, bits);
        push_end(bits);
        Some(())
    }
}

/// Reads a table as its mode says: the default, of a single symbol, described, or that of before.
fn read_table(
    table: &mut Option<Fse>,
    mode: u8,
    bytes: &mut Cursor<'_>,
    (default_log, default): (u32, &[i16]),
    (max_log, max_symbols): (u32, usize),
) -> Option<()> {
    let read = match mode & 3 {
        0 => Fse::new(default_log, default)?,
        1 => {
            let symbol = bytes
                .u8()
                .filter(|symbol| usize::from(*symbol) < max_symbols);
            Fse::single(symbol?)?
        }
        2 => Fse::read(bytes, max_log, max_symbols)?,
        _ => return Some(()),
    };
    *table = Some(read);
    Some(())
}

fn read_value(ranges: &Ranges, code: u8, bits: &mut BackwardReader<'_>) -> Option<u32> {
    let (least, width) = *ranges.get(usize::from(code))?;
    let added = u32::try_from(bits.take(width.into())?).ok()?;
    least.checked_add(added)
}

/// The code of a value, and what is added, in how many bits.
fn code_of(ranges: &Ranges, value: u32) -> Option<(u8, (u32, u32))> {
    let after = ranges.partition_point(|(least, _)| *least <= value);
    let code = after.checked_sub(1)?;
    let (least, width) = *ranges.get(code)?;
    let added = value.checked_sub(least)?;
    let fits = added.checked_shr(width.into()) == Some(0);
    fits.then_some((u8::try_from(code).ok()?, (added, width.into())))
}

fn push((value, width): (u32, u32), bits: &mut BitWriter<'_>) {
    let low_width = width.min(WRITTEN_BITS);
    let high_width = width.saturating_sub(low_width);
    let mask = u32::MAX.unbounded_shl(low_width);
    bits.push(value & !mask, low_width);
    bits.push(value.unbounded_shr(low_width), high_width);
}

/// Reads how many sequences a block has.
pub(super) fn read_count(bytes: &mut Cursor<'_>) -> Option<u32> {
    let first = bytes.u8()?;
    match first {
        0..=0x7f => Some(first.into()),
        0xff => Some(u32::from(bytes.u16()?).checked_add(LONG_COUNT)?),
        _ => Some(u32::from(first & 0x7f) << 8 | u32::from(bytes.u8()?)),
    }
}

/// Appends how many sequences a block has, in the shortest way.
pub(super) fn push_count(count: u32, out: &mut Vec<u8>) -> Option<()> {
    let [low, high, ..] = count.to_le_bytes();
    match count {
        0..MIDDLE_COUNT => out.push(low),
        MIDDLE_COUNT..LONG_COUNT => out.extend([high | 0x80, low]),
        LONG_COUNT..=MAX_SEQUENCES => {
            out.push(0xff);
            out.extend(
                u16::try_from(count.checked_sub(LONG_COUNT)?)
                    .ok()?
                    .to_le_bytes(),
            );
        }
        _ => return None,
    }
    Some(())
}
