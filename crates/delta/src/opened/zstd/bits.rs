// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bits as the streams of Zstandard have them: from the last byte to the first, of each byte the highest first
//! (RFC 8878 4.1). They are written with the [`BitWriter`], front to back.

use crate::opened::bits::BitWriter;

/// Most bits that are read at a time.
const MAX_BITS: u32 = 57;

/// Reads bits from the back of a byte string.
#[derive(Debug)]
pub(super) struct BackwardReader<'a> {
    /// What was not taken yet.
    bytes: &'a [u8],
    /// The next bits, from the highest on; behind them zeros.
    held: u64,
    held_bits: u32,
}

impl<'a> BackwardReader<'a> {
    /// The bits before the highest one of the last byte, which marks the end; `None` if there is no mark.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let last = *bytes.last()?;
        let mut reader = Self {
            bytes,
            held: 0,
            held_bits: 0,
        };
        reader.fill();
        reader.take(last.leading_zeros().checked_add(1)?)?;
        (last != 0).then_some(reader)
    }

    fn fill(&mut self) {
        while self.held_bits < MAX_BITS
            && let Some((last, rest)) = self.bytes.split_last()
        {
            let shift = 56_u32.saturating_sub(self.held_bits);
            self.held |= u64::from(*last).unbounded_shl(shift);
            self.held_bits = self.held_bits.saturating_add(8);
            self.bytes = rest;
        }
    }

    /// The next bits, at most [`MAX_BITS`]; if there are less, zeros follow them.
    pub(super) fn peek(&self, count: u32) -> u64 {
        self.held.unbounded_shr(64_u32.saturating_sub(count))
    }

    /// Goes on by so many bits; `None` if there are less.
    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        self.held_bits = self.held_bits.checked_sub(count)?;
        self.held = self.held.unbounded_shl(count);
        if self.held_bits < MAX_BITS {
            self.fill();
        }
        Some(())
    }

    /// The next bits, at most [`MAX_BITS`].
    pub(super) fn take(&mut self, count: u32) -> Option<u64> {
        let taken = self.peek(count);
        self.skip(count)?;
        Some(taken)
    }

    /// Whether all were read.
    pub(super) fn is_empty(&self) -> bool {
        self.held_bits == 0 && self.bytes.is_empty()
    }
}

/// Writes the mark behind the last bits.
pub(super) fn push_end(bits: &mut BitWriter<'_>) {
    bits.push(1, 1);
    bits.align();
}
