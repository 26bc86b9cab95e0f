// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEFLATE streams taken apart into their content and the choices of whoever compressed it, and put
//! together again (RFC 1951; docs/format/opened.md 2).

use sealroot_format::codec::Cursor;

use super::bits::{BitReader, BitWriter};
use super::code::{Code, DISTANCE_RANGES, DISTANCE_SYMBOLS, END, LENGTH_RANGES, LITERAL_SYMBOLS};
use crate::number;

const STORED: u8 = 0;
const FIXED: u8 = 1;
const DYNAMIC: u8 = 2;

/// The order in which the lengths of the codes for lengths stand.
const LENGTH_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// For the symbols from 16 on: how many bits are added, and to how many lengths.
const REPEATS: [(u32, u32); 3] = [(2, 3), (3, 3), (7, 11)];

/// Most literals of a record.
const MAX_LITERALS: u8 = u8::MAX;

/// The shortest match.
const MIN_MATCH: u16 = 3;

/// Appends the content of the stream at the start of `bytes` and the choices that were made in it;
/// the length of the stream. `None` if there is none that could be put together again, or its
/// content would make `content` longer than `max_bytes`.
pub(super) fn open(
    bytes: &[u8],
    content: &mut Vec<u8>,
    choices: &mut Vec<u8>,
    max_bytes: usize,
) -> Option<usize> {
    let mut bits = BitReader::new(bytes);
    let start = content.len();
    let mut opening = Opening {
        content,
        start,
        choices,
        max_bytes,
    };
    loop {
        let is_last = bits.take(1)?;
        let kind = u8::try_from(bits.take(2)?).ok()?;
        opening
            .choices
            .push(kind << 1 | u8::try_from(is_last).ok()?);
        match kind {
            STORED => opening.stored(&mut bits)?,
            FIXED => {
                opening.matches(
                    &mut bits,
                    &Code::fixed_literals()?,
                    &Code::fixed_distances()?,
                )?;
            }
            DYNAMIC => {
                let (literals, distances) = opening.codes(&mut bits)?;
                opening.matches(&mut bits, &literals, &distances)?;
            }
            _ => return None,
        }
        if is_last == 1 {
            bits.align()?;
            return Some(bits.position());
        }
    }
}

struct Opening<'o> {
    content: &'o mut Vec<u8>,
    /// Where the content of this stream begins.
    start: usize,
    choices: &'o mut Vec<u8>,
    max_bytes: usize,
}

impl Opening<'_> {
    fn has_room(&self, len: usize) -> Option<()> {
        let room = self.max_bytes.checked_sub(self.content.len())?;
        (len <= room).then_some(())
    }

    fn stored(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        bits.align()?;
        let mut lengths = Cursor::new(bits.bytes(4)?);
        let (len, complement) = (lengths.u16()?, lengths.u16()?);
        if len != !complement {
            return None;
        }
        self.has_room(len.into())?;
        self.content.extend_from_slice(bits.bytes(len.into())?);
        number::push(self.choices, len.into());
        Some(())
    }

    /// The codes that a block brings.
    fn codes(&mut self, bits: &mut BitReader<'_>) -> Option<(Code, Code)> {
        let counts = [bits.take(5)?, bits.take(5)?, bits.take(4)?];
        for count in counts {
            self.choices.push(u8::try_from(count).ok()?);
        }
        let mut lengths = CodeLengths::new(counts)?;
        let mut of_lengths = [0; 19];
        for at in lengths.order()? {
            let length = u8::try_from(bits.take(3)?).ok()?;
            self.choices.push(length);
            *of_lengths.get_mut(*at)? = length;
        }
        let code = Code::new(&of_lengths)?;
        while !lengths.is_complete() {
            let symbol = code.take(bits)?;
            self.choices.push(u8::try_from(symbol).ok()?);
            let extra = match extra_bits(symbol) {
                None => 0,
                Some(count) => {
                    let extra = bits.take(count)?;
                    self.choices.push(u8::try_from(extra).ok()?);
                    extra
                }
            };
            lengths.add(symbol, extra)?;
        }
        lengths.codes()
    }

    fn matches(
        &mut self,
        bits: &mut BitReader<'_>,
        literals: &Code,
        distances: &Code,
    ) -> Option<()> {
        let mut records = Vec::new();
        let mut count = 0_u64;
        let mut run = 0_u8;
        let mut record = |run: u8, length: u8, distance: u16| {
            records.extend([run, length]);
            records.extend(distance.to_le_bytes());
            count = count.saturating_add(1);
        };
        loop {
            let symbol = literals.take(bits)?;
            if let Ok(literal) = u8::try_from(symbol) {
                self.has_room(1)?;
                self.content.push(literal);
                run = run.saturating_add(1);
                if run == MAX_LITERALS {
                    record(run, 0, 0);
                    run = 0;
                }
                continue;
            }
            if symbol == END {
                break;
            }
            let length = LENGTH_RANGES.take(symbol.checked_sub(END)?.checked_sub(1)?, bits)?;
            let distance = DISTANCE_RANGES.take(distances.take(bits)?, bits)?;
            self.copy(length.into(), distance.into())?;
            record(
                run,
                u8::try_from(length.checked_sub(MIN_MATCH)?).ok()?,
                distance,
            );
            run = 0;
        }
        if run > 0 {
            record(run, 0, 0);
        }
        number::push(self.choices, count);
        self.choices.extend(records);
        Some(())
    }

    fn copy(&mut self, length: usize, distance: usize) -> Option<()> {
        self.has_room(length)?;
        let from = self.content.len().checked_sub(distance)?;
        if from < self.start {
            return None;
        }
        for at in from..from.checked_add(length)? {
            let byte = *self.content.get(at)?;
            self.content.push(byte);
        }
        Some(())
    }
}

fn extra_bits(symbol: usize) -> Option<u32> {
    let (bits, _) = REPEATS.get(symbol.checked_sub(16)?)?;
    Some(*bits)
}

/// The lengths of the two codes of a block, while they come.
struct CodeLengths {
    literals: usize,
    distances: usize,
    of_lengths: usize,
    lengths: Vec<u8>,
}

impl CodeLengths {
    fn new([literals, distances, of_lengths]: [u32; 3]) -> Option<Self> {
        let literals = (literals as usize).checked_add(257)?;
        let distances = (distances as usize).checked_add(1)?;
        if literals > LITERAL_SYMBOLS || distances > DISTANCE_SYMBOLS {
            return None;
        }
        Some(Self {
            literals,
            distances,
            of_lengths: (of_lengths as usize).checked_add(4)?,
            lengths: Vec::new(),
        })
    }

    /// The symbols whose lengths come first.
    fn order(&self) -> Option<&'static [usize]> {
        LENGTH_ORDER.get(..self.of_lengths)
    }

    fn all(&self) -> usize {
        self.literals.saturating_add(self.distances)
    }

    fn is_complete(&self) -> bool {
        self.lengths.len() == self.all()
    }

    fn add(&mut self, symbol: usize, extra: u32) -> Option<()> {
        let count = match symbol.checked_sub(16) {
            None => 1,
            Some(repeat) => REPEATS.get(repeat)?.1.checked_add(extra)? as usize,
        };
        let length = match symbol {
            0..=15 => u8::try_from(symbol).ok()?,
            16 => *self.lengths.last()?,
            _ => 0,
        };
        let len = self.lengths.len().checked_add(count)?;
        if len > self.all() {
            return None;
        }
        self.lengths.resize(len, length);
        Some(())
    }

    fn codes(&self) -> Option<(Code, Code)> {
        let (literals, distances) = self.lengths.split_at_checked(self.literals)?;
        Some((Code::new(literals)?, Code::new(distances)?))
    }
}

/// Appends the stream that has this content and was made with these choices; no more of it than
/// makes `out` a little longer than `max_bytes`. `None` if there is no such stream.
pub(super) fn close(
    content: &[u8],
    choices: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    max_bytes: usize,
) -> Option<()> {
    let mut closing = Closing {
        content: Cursor::new(content),
        choices,
        bits: BitWriter::new(out),
        max_bytes,
    };
    loop {
        let head = closing.choices.u8()?;
        let (kind, is_last) = (head >> 1, head & 1);
        closing.bits.push(is_last.into(), 1);
        closing.bits.push(u32::from(kind) & 3, 2);
        match kind {
            STORED => closing.stored()?,
            FIXED => closing.matches(&Code::fixed_literals()?, &Code::fixed_distances()?)?,
            DYNAMIC => {
                let (literals, distances) = closing.codes()?;
                closing.matches(&literals, &distances)?;
            }
            _ => return None,
        }
        if is_last == 1 {
            closing.bits.align();
            return closing.content.rest().is_empty().then_some(());
        }
    }
}

struct Closing<'c, 'b> {
    content: Cursor<'c>,
    choices: &'c mut Cursor<'b>,
    bits: BitWriter<'c>,
    max_bytes: usize,
}

impl Closing<'_, '_> {
    fn stored(&mut self) -> Option<()> {
        let len = u16::try_from(number::take(self.choices)?).ok()?;
        self.bits.align();
        self.bits.bytes(&len.to_le_bytes());
        self.bits.bytes(&(!len).to_le_bytes());
        self.bits.bytes(self.content.take(len.into())?);
        self.is_short_enough()
    }

    fn is_short_enough(&self) -> Option<()> {
        (self.bits.len() <= self.max_bytes).then_some(())
    }

    fn codes(&mut self) -> Option<(Code, Code)> {
        let counts = self.choices.array::<3>()?;
        let mut lengths = CodeLengths::new(counts.map(u32::from))?;
        for (count, bits) in counts.into_iter().zip([5, 5, 4]) {
            self.push(count.into(), bits)?;
        }
        let mut of_lengths = [0; 19];
        for at in lengths.order()? {
            let length = self.choices.u8()?;
            self.push(length.into(), 3)?;
            *of_lengths.get_mut(*at)? = length;
        }
        let code = Code::new(&of_lengths)?;
        while !lengths.is_complete() {
            let symbol = usize::from(self.choices.u8()?);
            code.push(symbol, &mut self.bits)?;
            let extra = match extra_bits(symbol) {
                None => 0,
                Some(count) => {
                    let extra = self.choices.u8()?;
                    self.push(extra.into(), count)?;
                    extra
                }
            };
            lengths.add(symbol, extra.into())?;
        }
        lengths.codes()
    }

    fn push(&mut self, bits: u32, count: u32) -> Option<()> {
        if bits >= 1_u32.checked_shl(count)? {
            return None;
        }
        self.bits.push(bits, count);
        Some(())
    }

    fn matches(&mut self, literals: &Code, distances: &Code) -> Option<()> {
        for _ in 0..number::take(self.choices)? {
            let (run, length) = (self.choices.u8()?, self.choices.u8()?);
            let distance = self.choices.u16()?;
            for literal in self.content.take(run.into())? {
                literals.push((*literal).into(), &mut self.bits)?;
            }
            if distance > 0 {
                let length = u16::from(length).checked_add(MIN_MATCH)?;
                self.content.take(length.into())?;
                let (symbol, added, bits) = LENGTH_RANGES.symbol(length)?;
                literals.push(symbol.checked_add(END)?.checked_add(1)?, &mut self.bits)?;
                self.bits.push(added.into(), bits.into());
                let (symbol, added, bits) = DISTANCE_RANGES.symbol(distance)?;
                distances.push(symbol, &mut self.bits)?;
                self.bits.push(added.into(), bits.into());
            }
            self.is_short_enough()?;
        }
        literals.push(END, &mut self.bits)
    }
}
