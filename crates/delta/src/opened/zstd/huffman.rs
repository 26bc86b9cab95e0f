// SPDX-License-Identifier: MIT OR Apache-2.0
//! Huffman codes of literals (RFC 8878 4.2).

use sealroot_format::codec::Cursor;

use super::bits::{BackwardReader, push_end};
use super::fse::Fse;
use crate::opened::bits::BitWriter;

/// Longest code, bits.
const MAX_BITS: u32 = 11;

/// Weights that are written: that of the last symbol follows from the others.
const MAX_WEIGHTS: usize = 255;

/// Kinds of weights: of each length, and that of no code.
const WEIGHT_KINDS: usize = MAX_BITS as usize + 1;

/// The largest table of weights.
const MAX_WEIGHTS_LOG: u32 = 6;

/// The first byte of a description, if at least this, says how many weights follow that take four
/// bits each.
const PLAIN: u8 = 128;

/// A code.
#[derive(Clone, Debug)]
pub(super) struct Huffman {
    max_bits: u32,
    /// For each value of `max_bits` bits, the symbol that they begin with, and its length.
    table: Vec<(u8, u8)>,
    /// For each symbol, its code and its length; 0 if it has none.
    codes: Vec<(u16, u8)>,
}

impl Huffman {
    /// Reads the description of a code.
    pub(super) fn read(bytes: &mut Cursor<'_>) -> Option<Self> {
        let head = bytes.u8()?;
        let weights = match head.checked_sub(PLAIN) {
            None => packed_weights(bytes.take(head.into())?)?,
            Some(count) => {
                let count = usize::from(count).checked_add(1)?;
                let packed = bytes.take(count.div_ceil(2))?;
                let both = packed.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                both.take(count).collect()
            }
        };
        Self::new(weights)
    }

    fn new(mut weights: Vec<u8>) -> Option<Self> {
        let share = |weight: u8| match weight.checked_sub(1) {
            None => Some(0),
            Some(shift) => 1_u32.checked_shl(shift.into()),
        };
        let mut sum = 0_u32;
        for weight in &weights {
            sum = sum.checked_add(share(*weight)?)?;
        }
        let max_bits = sum.checked_ilog2()?.checked_add(1)?;
        if max_bits > MAX_BITS {
            return None;
        }
        let left = 1_u32.checked_shl(max_bits)?.checked_sub(sum)?;
        if !left.is_power_of_two() {
            return None;
        }
        weights.push(u8::try_from(left.checked_ilog2()?.checked_add(1)?).ok()?);
        let mut table = Vec::with_capacity(1_usize.checked_shl(max_bits)?);
        let mut codes = vec![(0, 0); weights.len()];
        for weight in 1..=u8::try_from(max_bits).ok()? {
            let bits = u8::try_from(max_bits)
                .ok()?
                .checked_add(1)?
                .checked_sub(weight)?;
            let len = share(weight)?;
            for (symbol, (_, code)) in (0..=u8::MAX)
                .zip(weights.iter().zip(&mut codes))
                .filter(|(_, (of, _))| **of == weight)
            {
                let first = u32::try_from(table.len()).ok()?;
                *code = (u16::try_from(first.checked_div(len)?).ok()?, bits);
                table.extend(std::iter::repeat_n((symbol, bits), len as usize));
            }
        }
        Some(Self {
            max_bits,
            table,
            codes,
        })
    }

    /// Appends the `count` literals of a stream, which has no more.
    pub(super) fn read_stream(&self, bytes: &[u8], count: usize, out: &mut Vec<u8>) -> Option<()> {
        let mut bits = BackwardReader::new(bytes)?;
        for _ in 0..count {
            let index = usize::try_from(bits.peek(self.max_bits)).ok()?;
            let (symbol, len) = *self.table.get(index)?;
            bits.skip(len.into())?;
            out.push(symbol);
        }
        bits.is_empty().then_some(())
    }

    /// Appends the stream that has these literals; `None` if one of them has no code.
    pub(super) fn push_stream(&self, literals: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut bits = BitWriter::new(out);
        for literal in literals.iter().rev() {
            let (code, len) = *self.codes.get(usize::from(*literal))?;
            if len == 0 {
                return None;
            }
            bits.push(code.into(), len.into());
        }
        push_end(&mut bits);
        Some(())
    }
}

/// Weights that are compressed themselves, with two states in turn (RFC 8878 4.2.1.2).
fn packed_weights(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Cursor::new(bytes);
    let table = Fse::read(&mut bytes, MAX_WEIGHTS_LOG, WEIGHT_KINDS)?;
    let mut bits = BackwardReader::new(bytes.rest())?;
    let (mut state, mut other) = (table.start(&mut bits)?, table.start(&mut bits)?);
    let mut weights = Vec::new();
    loop {
        weights.push(table.symbol(state)?);
        let next = table.next(state, &mut bits);
        state = other;
        if weights.len() >= MAX_WEIGHTS {
            return None;
        }
        let Some(next) = next else {
            weights.push(table.symbol(state)?);
            return Some(weights);
        };
        other = next;
    }
}
