// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames as rows of blocks (RFC 8878 3.1.1), in an object that is read piece by piece.

use sealroot_format::codec::Cursor;
use sealroot_format::erofs::ReadAt;

use super::block::MAX_BLOCK_BYTES;
use crate::opened::Stop;

/// What a frame begins with.
pub(in crate::opened) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The longest header of a frame without a dictionary.
const MAX_HEADER_BYTES: usize = 14;

/// Flags of a frame: a checksum follows the blocks; the window is as long as the content, and not told.
const HAS_CHECKSUM: u8 = 1 << 2;
const IS_SINGLE: u8 = 1 << 5;

/// Bits that name a dictionary, or are reserved.
const NOT_OURS: u8 = 0b0000_1011;

/// Length of a block's head.
const BLOCK_HEAD_BYTES: usize = 3;

/// How a block has its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Raw,
    /// One byte, repeated.
    Repeated,
    Compressed,
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub(super) is_last: bool,
    pub(super) kind: Kind,
    /// Of the block, or how often its byte is repeated.
    pub(super) len: usize,
}

impl BlockHead {
    /// Its kind and whether it is the last one, as they stand in the head.
    pub(super) fn bits(self) -> u8 {
        let kind = match self.kind {
            Kind::Raw => 0,
            Kind::Repeated => 1,
            Kind::Compressed => 2,
        };
        kind << 1 | u8::from(self.is_last)
    }

    /// The inverse of [`Self::bits`], with a length; `None` if no block has it.
    pub(super) fn new(bits: u8, len: usize) -> Option<Self> {
        let kind = match bits >> 1 {
            0 => Kind::Raw,
            1 => Kind::Repeated,
            2 => Kind::Compressed,
            _ => return None,
        };
        (len <= MAX_BLOCK_BYTES).then_some(Self {
            is_last: bits & 1 == 1,
            kind,
            len,
        })
    }

    /// The head.
    pub(super) fn encode(self) -> Option<[u8; BLOCK_HEAD_BYTES]> {
        let len = u32::try_from(self.len).ok()?.checked_shl(3)?;
        let [low, middle, high, _] = (len | u32::from(self.bits())).to_le_bytes();
        Some([low, middle, high])
    }

    fn parse(bytes: [u8; BLOCK_HEAD_BYTES]) -> Option<Self> {
        let [low, middle, high] = bytes;
        let head = u32::from_le_bytes([low, middle, high, 0]);
        Self::new(low & 7, usize::try_from(head >> 3).ok()?)
    }
}

/// Where the blocks of a frame begin, counted from its first byte, and the length of what follows
/// them.
pub(in crate::opened) fn header(
    frame: &dyn ReadAt,
    start: u64,
    end: u64,
) -> Result<(u64, u64), Stop> {
    let len = end.saturating_sub(start).min(MAX_HEADER_BYTES as u64);
    let mut header = vec![0; usize::try_from(len).unwrap_or_default()];
    frame
        .read_exact_at(&mut header, start)
        .map_err(Stop::Read)?;
    let parse = || {
        let mut cursor = Cursor::new(&header);
        let magic = cursor.array::<4>()?;
        let flags = cursor.u8()?;
        if magic != MAGIC || flags & NOT_OURS != 0 {
            return None;
        }
        let is_single = flags & IS_SINGLE != 0;
        let window_len = usize::from(!is_single);
        let size_len = match flags >> 6 {
            0 => usize::from(is_single),
            log => 1_usize.checked_shl(log.into())?,
        };
        cursor.take(window_len.checked_add(size_len)?)?;
        let checksum_len = if flags & HAS_CHECKSUM == 0 { 0 } else { 4 };
        Some((u64::try_from(cursor.offset_bytes()).ok()?, checksum_len))
    };
    parse().ok_or(Stop::Invalid)
}

/// The blocks of a frame.
pub(super) struct Blocks<'o> {
    object: &'o dyn ReadAt,
    at: u64,
    end: u64,
    bytes: Vec<u8>,
}

impl<'o> Blocks<'o> {
    /// Those that begin at `start`, and end at `end` or before.
    pub(super) fn new(object: &'o dyn ReadAt, start: u64, end: u64) -> Self {
        Self {
            object,
            at: start,
            end,
            bytes: Vec::new(),
        }
    }

    /// The next block: its head, and what follows that.
    pub(super) fn next(&mut self) -> Result<(BlockHead, &[u8]), Stop> {
        let mut head = [0; BLOCK_HEAD_BYTES];
        let object = self.object;
        object
            .read_exact_at(&mut head, self.take(BLOCK_HEAD_BYTES)?)
            .map_err(Stop::Read)?;
        let head = BlockHead::parse(head).ok_or(Stop::Invalid)?;
        let len = match head.kind {
            Kind::Repeated => 1,
            Kind::Raw | Kind::Compressed => head.len,
        };
        let at = self.take(len)?;
        self.bytes.resize(len, 0);
        object
            .read_exact_at(&mut self.bytes, at)
            .map_err(Stop::Read)?;
        Ok((head, &self.bytes))
    }

    /// Goes on by `len` bytes; where they begin.
    fn take(&mut self, len: usize) -> Result<u64, Stop> {
        let at = self.at;
        let after = at
            .checked_add(len as u64)
            .filter(|after| *after <= self.end);
        self.at = after.ok_or(Stop::Invalid)?;
        Ok(at)
    }

    /// Where the next block would begin.
    pub(super) fn position(&self) -> u64 {
        self.at
    }
}
