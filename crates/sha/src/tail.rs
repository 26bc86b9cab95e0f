// SPDX-License-Identifier: MIT OR Apache-2.0
//! The padded end of a message (FIPS 180-4, 5.1.1).

use crate::BLOCK_BYTES;

/// The last one or two blocks of a message.
pub(crate) struct Tail {
    bytes: [u8; 2 * BLOCK_BYTES],
    len_bytes: usize,
}

impl Tail {
    /// Pads the bytes of a message of `message_bytes` bytes that fill no whole block.
    pub(crate) fn new(rest: &[u8], message_bytes: usize) -> Self {
        const LENGTH_BYTES: usize = size_of::<u64>();
        let len_bytes = if rest.len() < BLOCK_BYTES - LENGTH_BYTES {
            BLOCK_BYTES
        } else {
            2 * BLOCK_BYTES
        };
        let mut bytes = [0; 2 * BLOCK_BYTES];
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()] = 0x80;
        let message_bits = (message_bytes as u64) << 3;
        bytes[len_bytes - LENGTH_BYTES..len_bytes].copy_from_slice(&message_bits.to_be_bytes());
        Self { bytes, len_bytes }
    }

    /// One or two blocks; the same number for all messages of one length.
    pub(crate) fn blocks(&self) -> &[[u8; BLOCK_BYTES]] {
        self.bytes[..self.len_bytes].as_chunks().0
    }
}
