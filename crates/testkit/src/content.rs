// SPDX-License-Identifier: MIT OR Apache-2.0
//! File contents made from a number, the same on host and guest.

/// A repeatable stream of numbers (`SplitMix64`).
#[derive(Clone, Copy, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The stream of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// `len_bytes` bytes, different for each seed.
pub fn bytes(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(len_bytes.next_multiple_of(8));
    while bytes.len() < len_bytes {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}

/// File sizes at which fs-verity digests are compared: every edge of a block and of a level of
/// the Merkle tree up to 64 MiB, and random ones; more than 500.
pub fn verity_sizes() -> Vec<u64> {
    const BLOCK: u64 = 4096;
    const HASHES_PER_BLOCK: u64 = 128;
    let powers = (0..24).map(|shift| 1 << shift);
    let blocks = [1, 2, 3, HASHES_PER_BLOCK, 2 * HASHES_PER_BLOCK]
        .map(|blocks| blocks * BLOCK)
        .into_iter();
    let edges = powers
        .chain(blocks)
        .flat_map(|edge: u64| [edge - 1, edge, edge + 1]);
    // Three levels: once, as it is slow.
    let deep = [HASHES_PER_BLOCK * HASHES_PER_BLOCK * BLOCK + 1];
    let mut numbers = Numbers::new(19);
    let random = (0..450).map(|_| numbers.below(256 * 1024));
    let mut sizes: Vec<u64> = edges.chain(deep).chain(random).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}
