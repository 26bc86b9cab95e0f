// SPDX-License-Identifier: MIT OR Apache-2.0
//! Canonical prefix codes (RFC 1951 3.2.2), and what the symbols of DEFLATE stand for.

use super::bits::{BitReader, BitWriter};

/// Longest code of a symbol, bits.
const MAX_CODE_BITS: usize = 15;

/// Symbols of the first alphabet: literals, the end of the block, lengths.
pub(super) const LITERAL_SYMBOLS: usize = 286;

/// Symbols of the second alphabet: distances.
pub(super) const DISTANCE_SYMBOLS: usize = 30;

/// The end of a block.
pub(super) const END: usize = 256;

/// For each length symbol from 257 on, the shortest length, and how many bits are added.
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// For each distance symbol, the shortest distance, and how many bits are added.
const DISTANCES: [(u16, u8); DISTANCE_SYMBOLS] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

/// Lengths and distances: the symbol, and what is added to its least value.
pub(super) struct Ranges(&'static [(u16, u8)]);

pub(super) const LENGTH_RANGES: Ranges = Ranges(&LENGTHS);
pub(super) const DISTANCE_RANGES: Ranges = Ranges(&DISTANCES);

impl Ranges {
    /// The value of a symbol and the bits behind it; `None` if another symbol has the same.
    pub(super) fn take(&self, symbol: usize, bits: &mut BitReader<'_>) -> Option<u16> {
        let (least, extra_bits) = *self.0.get(symbol)?;
        let added = u16::try_from(bits.take(extra_bits.into())?).ok()?;
        let value = least.checked_add(added)?;
        (self.symbol(value)?.0 == symbol).then_some(value)
    }

    /// The symbol of a value, what is added, and in how many bits.
    pub(super) fn symbol(&self, value: u16) -> Option<(usize, u16, u8)> {
        let symbol = self
            .0
            .partition_point(|(least, _)| *least <= value)
            .checked_sub(1)?;
        let (least, extra_bits) = *self.0.get(symbol)?;
        let added = value.checked_sub(least)?;
        let fits = u32::from(added) < 1_u32.checked_shl(extra_bits.into())?;
        fits.then_some((symbol, added, extra_bits))
    }
}

/// The code of each symbol.
#[derive(Debug)]
pub(super) struct Code {
    /// How many symbols have codes of each length.
    counts: [u16; MAX_CODE_BITS + 1],
    /// The symbols by length, then by number.
    symbols: Vec<u16>,
    /// The code of each symbol, first bit lowest, and its length; 0 if it has none.
    codes: Vec<(u16, u8)>,
}

impl Code {
    /// The code whose symbols have these lengths; `None` if there are not that many codes.
    pub(super) fn new(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0_u16; MAX_CODE_BITS + 1];
        for length in lengths {
            let count = counts.get_mut(usize::from(*length))?;
            *count = count.checked_add(1)?;
        }
        *counts.first_mut()? = 0;
        let mut next = [0_u16; MAX_CODE_BITS + 1];
        let mut code = 0_u32;
        for (next, count) in next.iter_mut().skip(1).zip(counts.iter().skip(1)) {
            code = code.checked_mul(2)?;
            *next = u16::try_from(code).ok()?;
            code = code.checked_add((*count).into())?;
        }
        let mut left = 1_i32;
        for count in counts.iter().skip(1) {
            left = left.checked_mul(2)?.checked_sub((*count).into())?;
            if left < 0 {
                return None;
            }
        }
        let mut codes = Vec::with_capacity(lengths.len());
        for length in lengths {
            let next = next.get_mut(usize::from(*length))?;
            let reversed = next
                .reverse_bits()
                .checked_shr(16_u32.checked_sub((*length).into())?);
            codes.push((reversed.unwrap_or_default(), *length));
            *next = next.wrapping_add(u16::from(*length != 0));
        }
        let mut symbols: Vec<u16> = (0..u16::try_from(lengths.len()).ok()?).collect();
        let length_of = |symbol: &u16| lengths.get(usize::from(*symbol)).copied();
        symbols.retain(|symbol| length_of(symbol) != Some(0));
        symbols.sort_by_key(length_of);
        Some(Self {
            counts,
            symbols,
            codes,
        })
    }

    /// The code of blocks that bring none, for literals and lengths (RFC 1951 3.2.6).
    pub(super) fn fixed_literals() -> Option<Self> {
        let lengths = [(8, 144), (9, 112), (7, 24), (8, 8)];
        let lengths = lengths.map(|(length, count)| std::iter::repeat_n(length, count));
        Self::new(&lengths.into_iter().flatten().collect::<Vec<u8>>())
    }

    /// The same for distances.
    pub(super) fn fixed_distances() -> Option<Self> {
        Self::new(&[5; 32])
    }

    /// Reads a symbol.
    pub(super) fn take(&self, bits: &mut BitReader<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for count in self.counts.iter().skip(1) {
            code = code.checked_mul(2)? | bits.take(1)?;
            let count = u32::from(*count);
            let within = code.checked_sub(first)?;
            if within < count {
                let at = index.checked_add(within)? as usize;
                return self.symbols.get(at).copied().map(usize::from);
            }
            index = index.checked_add(count)?;
            first = first.checked_add(count)?.checked_mul(2)?;
        }
        None
    }

    /// Writes a symbol; `None` if it has no code.
    pub(super) fn push(&self, symbol: usize, bits: &mut BitWriter<'_>) -> Option<()> {
        let (code, length) = *self.codes.get(symbol)?;
        if length == 0 {
            return None;
        }
        bits.push(code.into(), length.into());
        Some(())
    }
}
