// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of a frame on its way into a file: what is copied from lately is in memory, the rest is
//! read back.

use std::io::Write;

use sealroot_format::erofs::ReadAt;

use super::sequences::Sequence;
use crate::opened::Stop;

/// So much of what came last is in memory, and up to twice as much.
const RECENT_BYTES: usize = 4 << 20;

/// The content so far.
pub(super) struct Content<'s, S> {
    file: &'s mut S,
    /// Where it begins in the file.
    start: u64,
    /// It MUST not become longer.
    max_bytes: u64,
    /// What is in memory, and how much was dropped before it.
    recent: Vec<u8>,
    dropped: u64,
    /// How much of what is in memory is in the file too.
    written: usize,
}

impl<'s, S: ReadAt + Write> Content<'s, S> {
    /// An empty one, which will be at the end of a file of `start` bytes.
    pub(super) fn new(file: &'s mut S, start: u64, max_bytes: u64) -> Self {
        Self {
            file,
            start,
            max_bytes,
            recent: Vec::new(),
            dropped: 0,
            written: 0,
        }
    }

    /// How long it is.
    pub(super) fn len(&self) -> u64 {
        self.dropped.saturating_add(self.recent.len() as u64)
    }

    fn has_room(&self, len: usize) -> Result<(), Stop> {
        let after = self.len().checked_add(len as u64);
        let fits = after.is_some_and(|after| after <= self.max_bytes);
        fits.then_some(()).ok_or(Stop::Invalid)
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.has_room(bytes.len())?;
        self.recent.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends a byte `count` times.
    pub(super) fn push_repeated(&mut self, byte: u8, count: usize) -> Result<(), Stop> {
        self.has_room(count)?;
        let len = self.recent.len().saturating_add(count);
        self.recent.resize(len, byte);
        Ok(())
    }

    /// Appends what stands `distance` bytes before.
    pub(super) fn copy(&mut self, distance: u32, len: u32) -> Result<(), Stop> {
        let (distance, len) = (distance as usize, len as usize);
        self.has_room(len)?;
        let end = self.recent.len().saturating_add(len);
        while self.recent.len() < end {
            let left = end.saturating_sub(self.recent.len());
            match self.recent.len().checked_sub(distance) {
                Some(from) => {
                    let to = from.saturating_add(left).min(self.recent.len());
                    if from == to {
                        return Err(Stop::Invalid);
                    }
                    self.recent.extend_from_within(from..to);
                }
                None => self.copy_dropped(distance, left)?,
            }
        }
        Ok(())
    }

    /// Appends what stands `distance` bytes before and is not in memory, at most `len` bytes.
    fn copy_dropped(&mut self, distance: usize, len: usize) -> Result<(), Stop> {
        let from = self
            .len()
            .checked_sub(distance as u64)
            .ok_or(Stop::Invalid)?;
        let begins = self.recent.len();
        let len = len.min(distance.saturating_sub(begins));
        self.recent.resize(begins.saturating_add(len), 0);
        let appended = self.recent.get_mut(begins..).unwrap_or_default();
        let position = self.start.saturating_add(from);
        self.file
            .read_exact_at(appended, position)
            .map_err(Stop::Read)
    }

    /// What was appended since the last block ended.
    pub(super) fn block(&self) -> &[u8] {
        self.recent.get(self.written..).unwrap_or_default()
    }

    /// Ends a block: writes what it has.
    pub(super) fn end_block(&mut self) -> Result<(), Stop> {
        let block = self.recent.get(self.written..).unwrap_or_default();
        self.file.write_all(block).map_err(Stop::Write)?;
        let surplus = self.recent.len().saturating_sub(RECENT_BYTES);
        if surplus >= RECENT_BYTES {
            self.recent.drain(..surplus);
            self.dropped = self.dropped.saturating_add(surplus as u64);
        }
        self.written = self.recent.len();
        Ok(())
    }
}

/// The last distances, which sequences may take again (RFC 8878 3.1.1.5).
#[derive(Debug)]
pub(super) struct Offsets([u32; 3]);

impl Offsets {
    /// Those of the first sequence of a frame.
    pub(super) const fn new() -> Self {
        Self([1, 4, 8])
    }

    /// The distance of the next match; 0 is none.
    pub(super) fn distance(&mut self, sequence: &Sequence) -> u32 {
        let [first, second, third] = self.0;
        let repeated = if sequence.literals == 0 {
            sequence.offset
        } else {
            sequence.offset.saturating_sub(1)
        };
        let (distance, second, third) = match (sequence.offset, repeated) {
            (4.., _) => (sequence.offset.saturating_sub(3), first, second),
            (_, 0) => (first, second, third),
            (_, 1) => (second, first, third),
            (_, 2) => (third, first, second),
            _ => (first.saturating_sub(1), first, second),
        };
        self.0 = [distance, second, third];
        distance
    }
}
