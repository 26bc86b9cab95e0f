// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables of finite state entropy coding (RFC 8878 4.1), to read and to write with.

use sealroot_format::codec::Cursor;

use super::bits::BackwardReader;
use crate::opened::bits::{BitReader, BitWriter};

/// The least logarithm of a table's size that a description can say, and the largest one of all
/// tables.
const MIN_LOG: u32 = 5;
const MAX_LOG: u32 = 9;

/// A table. A state is the number of one of its cells.
#[derive(Clone, Debug)]
pub(super) struct Fse {
    log: u32,
    cells: Vec<Cell>,
    /// The states of each symbol, ascending, one symbol after another.
    states: Vec<u16>,
    /// For each symbol, where its states begin in these, and how many it has.
    symbols: Vec<(u16, u16)>,
}

/// What a state stands for, and what follows it.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    symbol: u8,
    bits: u8,
    /// The next state, if the bits are 0.
    base: u16,
}

impl Fse {
    /// The table in which each symbol has so many states; -1 stands for one at the end of the
    /// table.
    pub(super) fn new(log: u32, counts: &[i16]) -> Option<Self> {
        let size = 1_u16.checked_shl(log).filter(|_| log <= MAX_LOG)?;
        let states_of = |count: &i16| count.unsigned_abs();
        if counts.iter().map(states_of).try_fold(0, u16::checked_add)? != size {
            return None;
        }
        let numbered = || (0..=u8::MAX).zip(counts);
        let mut cells = vec![Cell::default(); size.into()];
        let mut end = cells.len();
        for (symbol, _) in numbered().filter(|(_, count)| **count < 0) {
            end = end.checked_sub(1)?;
            cells.get_mut(end)?.symbol = symbol;
        }
        let mask = size.wrapping_sub(1);
        let step = (size >> 1).wrapping_add(size >> 3).wrapping_add(3);
        let mut at = 0_u16;
        for (symbol, count) in numbered() {
            for _ in 0..*count {
                cells.get_mut(usize::from(at))?.symbol = symbol;
                at = at.wrapping_add(step) & mask;
                // Some cell before the end is free, or this was the last one.
                for _ in 0..size {
                    if usize::from(at) < end {
                        break;
                    }
                    at = at.wrapping_add(step) & mask;
                }
            }
        }
        let mut symbols = Vec::with_capacity(counts.len());
        let mut start = 0_u16;
        for count in counts.iter().map(states_of) {
            symbols.push((start, 0));
            start = start.checked_add(count)?;
        }
        let mut states = vec![0; size.into()];
        for (state, cell) in (0_u16..).zip(&mut cells) {
            let count = states_of(counts.get(usize::from(cell.symbol))?);
            let (start, known) = symbols.get_mut(usize::from(cell.symbol))?;
            *states.get_mut(usize::from(start.checked_add(*known)?))? = state;
            let number = count.checked_add(*known)?;
            let bits = log.checked_sub(number.checked_ilog2()?)?;
            cell.bits = u8::try_from(bits).ok()?;
            cell.base = number.checked_shl(bits)?.checked_sub(size)?;
            *known = known.checked_add(1)?;
        }
        Some(Self {
            log,
            cells,
            states,
            symbols,
        })
    }

    /// The table of a single symbol, which takes no bits.
    pub(super) fn single(symbol: u8) -> Option<Self> {
        let mut counts = vec![0; usize::from(symbol)];
        counts.push(1);
        Self::new(0, &counts)
    }

    /// Reads a description of a table with at most so many symbols (RFC 8878 4.1.1).
    pub(super) fn read(bytes: &mut Cursor<'_>, max_log: u32, max_symbols: usize) -> Option<Self> {
        let mut bits = BitReader::new(bytes.rest());
        let log = bits.take(4)?.checked_add(MIN_LOG)?;
        if log > max_log {
            return None;
        }
        let mut left = 1_u32.checked_shl(log)?;
        let mut counts = Vec::new();
        while left > 0 {
            // One more than a count is written, -1 being the least: it may be from 0 to left + 1.
            let most = left.checked_add(1)?;
            let width = most.checked_ilog2()?;
            let short = 2_u32
                .checked_shl(width)?
                .checked_sub(1)?
                .checked_sub(most)?;
            let mut value = bits.take(width)?;
            if value >= short {
                value |= bits.take(1)?.checked_shl(width)?;
                if value >= 1_u32.checked_shl(width)? {
                    value = value.checked_sub(short)?;
                }
            }
            let count = i16::try_from(value).ok()?.checked_sub(1)?;
            left = left.checked_sub(count.unsigned_abs().into())?;
            counts.push(count);
            let mut goes_on = count == 0;
            while goes_on && counts.len() <= max_symbols {
                let zeros = bits.take(2)?;
                counts.extend(std::iter::repeat_n(0, zeros as usize));
                goes_on = zeros == 3;
            }
            if counts.len() > max_symbols {
                return None;
            }
        }
        bytes.take(bits.position())?;
        Self::new(log, &counts)
    }

    /// Reads the first state.
    pub(super) fn start(&self, bits: &mut BackwardReader<'_>) -> Option<u16> {
        u16::try_from(bits.take(self.log)?).ok()
    }

    /// The symbol of a state.
    pub(super) fn symbol(&self, state: u16) -> Option<u8> {
        Some(self.cells.get(usize::from(state))?.symbol)
    }

    /// Reads the state that follows; `None` if the bits end before.
    pub(super) fn next(&self, state: u16, bits: &mut BackwardReader<'_>) -> Option<u16> {
        let cell = self.cells.get(usize::from(state))?;
        let added = bits.take(cell.bits.into())?;
        cell.base.checked_add(u16::try_from(added).ok()?)
    }

    /// The state that the last of all symbols has: its first one.
    pub(super) fn last_state(&self, symbol: u8) -> Option<u16> {
        let (start, count) = *self.symbols.get(usize::from(symbol))?;
        let state = self.states.get(usize::from(start)).copied();
        state.filter(|_| count > 0)
    }

    /// The state of a symbol that is followed by `next`, the bits between them being written.
    pub(super) fn previous(&self, symbol: u8, next: u16, bits: &mut BitWriter<'_>) -> Option<u16> {
        let (start, count) = *self.symbols.get(usize::from(symbol))?;
        let next = next.checked_add(1_u16.checked_shl(self.log)?)?;
        let mut width = self.log.checked_sub(count.checked_ilog2()?)?;
        if next.checked_shr(width)? < count {
            width = width.checked_sub(1)?;
        }
        let index = next.checked_shr(width)?.checked_sub(count)?;
        let mask = 1_u16.checked_shl(width)?.wrapping_sub(1);
        bits.push((next & mask).into(), width);
        let index = usize::from(start.checked_add(index)?);
        self.states.get(index).copied()
    }

    /// Writes the first state.
    pub(super) fn push_start(&self, state: u16, bits: &mut BitWriter<'_>) {
        bits.push(state.into(), self.log);
    }
}
