// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bits as DEFLATE has them: of each byte the lowest first (RFC 1951 3.1.1).

/// Most bits that are read or written at a time.
const MAX_BITS: u32 = 16;

/// Reads bits from the front of a byte string.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// How many bytes of it were taken.
    taken: usize,
    held: u32,
    held_bits: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            taken: 0,
            held: 0,
            held_bits: 0,
        }
    }

    /// The next bits, at most [`MAX_BITS`], the first as the lowest.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        while self.held_bits < count {
            let byte = *self.bytes.get(self.taken)?;
            self.taken = self.taken.checked_add(1)?;
            self.held |= u32::from(byte).checked_shl(self.held_bits)?;
            self.held_bits = self.held_bits.checked_add(8)?;
        }
        let mask = 1_u32.checked_shl(count)?.checked_sub(1)?;
        let taken = self.held & mask;
        self.held = self.held.checked_shr(count)?;
        self.held_bits = self.held_bits.checked_sub(count)?;
        Some(taken)
    }

    /// Goes to the next whole byte. The bits on the way must be 0: nothing else would come back.
    pub(super) fn align(&mut self) -> Option<()> {
        let padding = self.take(self.held_bits % 8)?;
        (padding == 0).then_some(())
    }

    /// The next whole bytes, after [`Self::align`].
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let start = self.position();
        let end = start.checked_add(len)?;
        let bytes = self.bytes.get(start..end)?;
        (self.taken, self.held, self.held_bits) = (end, 0, 0);
        Some(bytes)
    }

    /// How many whole bytes were read, after [`Self::align`].
    pub(super) fn position(&self) -> usize {
        self.taken.saturating_sub((self.held_bits / 8) as usize)
    }
}

/// Appends bits to a byte string.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    bytes: &'a mut Vec<u8>,
    held: u32,
    held_bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) const fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self {
            bytes,
            held: 0,
            held_bits: 0,
        }
    }

    /// Appends the lowest bits of a number, at most [`MAX_BITS`], the lowest first.
    pub(super) fn push(&mut self, bits: u32, count: u32) {
        debug_assert!(count <= MAX_BITS && bits >> count == 0);
        self.held |= bits.unbounded_shl(self.held_bits);
        self.held_bits = self.held_bits.saturating_add(count);
        while self.held_bits >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.held_bits = self.held_bits.saturating_sub(8);
        }
    }

    /// Fills the byte that was begun with zeros.
    pub(super) fn align(&mut self) {
        self.push(0, self.held_bits.wrapping_neg() % 8);
    }

    /// Appends whole bytes, after [`Self::align`].
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many whole bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}
