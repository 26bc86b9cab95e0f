// SPDX-License-Identifier: MIT OR Apache-2.0
//! Applying patches: nothing of a group is trusted. What comes out is right only if its digest is.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::io::{self, Write};
use std::ops::Range;

use sealroot_format::codec::Cursor;
use sealroot_format::erofs::ReadAt;

use crate::covers::Cover;
use crate::number;

/// How much of the old object is copied at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// Shorter pieces are read with the pages in which they lie: more of these is often wanted next.
const SHORT_BYTES: usize = 4096;
const PAGE_BYTES: u64 = 4096;

/// Why a patch could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// A part of the group ends before the patches do, or a number in it is none.
    #[error("the {part} of the group: expected more, found their end or no number")]
    Short {
        /// The part.
        part: &'static str,
    },
    /// The group has more than its patches use.
    #[error("the {part} of the group: expected their end, found {left_bytes} more bytes")]
    Leftover {
        /// The part.
        part: &'static str,
        /// How much.
        left_bytes: usize,
    },
    /// A patch makes more than was announced.
    #[error("the new object: expected {size_bytes} bytes, found a patch that makes more")]
    TooLong {
        /// What was announced.
        size_bytes: u64,
    },
    /// A patch copies from where the old object has nothing.
    #[error(
        "the old object: expected a piece of its {size_bytes} bytes, found {len_bytes} bytes at \
         {position}"
    )]
    OutOfBase {
        /// Where the piece would be.
        position: i128,
        /// Its length.
        len_bytes: u64,
        /// How long the old object is.
        size_bytes: u64,
    },
    /// A number that makes no sense.
    #[error("the controls of the group: expected {expected}, found {found}")]
    Control {
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: u64,
    },
    /// The old object cannot be read.
    #[error("the old object cannot be read")]
    Base(#[source] io::Error),
    /// The new object cannot be written.
    #[error("the new object cannot be written")]
    Write(#[source] io::Error),
}

/// The patches of a group, to be applied one after another.
#[derive(Debug)]
pub struct GroupReader {
    group: Vec<u8>,
    /// What is left of each part.
    controls: Range<usize>,
    residues: Range<usize>,
    literals: Range<usize>,
}

impl GroupReader {
    /// Takes the group apart that `bytes` has from `start` on.
    pub fn open(bytes: Vec<u8>, start: usize) -> Result<Self, PatchError> {
        let mut all = start.min(bytes.len())..bytes.len();
        let controls_len = take(&bytes, &mut all, CONTROLS)?;
        let residues_len = take(&bytes, &mut all, RESIDUES)?;
        let controls = piece(&mut all, controls_len, CONTROLS)?;
        let residues = piece(&mut all, residues_len, RESIDUES)?;
        Ok(Self {
            group: bytes,
            controls,
            residues,
            literals: all,
        })
    }

    /// Applies the next patch: reads of the old object in `base`, writes the `size_bytes` of the new
    /// one to `out`, and never more.
    pub fn apply(
        &mut self,
        base: &dyn ReadAt,
        size_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<(), PatchError> {
        self.apply_noting(base, size_bytes, out, &mut |_| {})
    }

    /// Does that, and tells of each cover that was copied.
    pub(crate) fn apply_noting(
        &mut self,
        base: &dyn ReadAt,
        size_bytes: u64,
        out: &mut dyn Write,
        note: &mut dyn FnMut(Cover),
    ) -> Result<(), PatchError> {
        let mut old = Old::new(base).map_err(PatchError::Base)?;
        let too_long = || PatchError::TooLong { size_bytes };
        let mut buffer = [0; BUFFER_BYTES];
        let mut left_bytes = size_bytes;
        let mut expected = 0_i128;
        for _ in 0..self.control()? {
            let gap = self.control()?;
            left_bytes = left_bytes.checked_sub(gap).ok_or_else(too_long)?;
            self.copy_literals(gap, out)?;
            let moved = number::unfold(self.control()?);
            let len_bytes = self.control()?;
            left_bytes = left_bytes.checked_sub(len_bytes).ok_or_else(too_long)?;
            let position = expected
                .saturating_add(gap.into())
                .saturating_add(moved.into());
            let start = start(position, len_bytes, old.size_bytes)?;
            let new = size_bytes
                .saturating_sub(left_bytes)
                .saturating_sub(len_bytes);
            self.cover(&mut old, (start, len_bytes), &mut buffer, out)?;
            if let [Ok(old), Ok(new), Ok(len_bytes)] = [start, new, len_bytes].map(usize::try_from)
            {
                note(Cover {
                    old,
                    new,
                    len_bytes,
                });
            }
            expected = position.saturating_add(len_bytes.into());
        }
        self.copy_literals(left_bytes, out)
    }

    /// Ends the group, which has no further patch.
    pub fn finish(self) -> Result<(), PatchError> {
        for (left, part) in [
            (self.controls, CONTROLS),
            (self.residues, RESIDUES),
            (self.literals, LITERALS),
        ] {
            if !left.is_empty() {
                let left_bytes = left.len();
                return Err(PatchError::Leftover { part, left_bytes });
            }
        }
        Ok(())
    }

    fn control(&mut self) -> Result<u64, PatchError> {
        take(&self.group, &mut self.controls, CONTROLS)
    }

    fn copy_literals(&mut self, len_bytes: u64, out: &mut dyn Write) -> Result<(), PatchError> {
        let piece = piece(&mut self.literals, len_bytes, LITERALS)?;
        let bytes = self.group.get(piece).unwrap_or_default();
        out.write_all(bytes).map_err(PatchError::Write)
    }

    /// A piece of the old object, given by where it begins and its length, with its differences.
    fn cover(
        &mut self,
        old: &mut Old<'_>,
        (mut position, len_bytes): (u64, u64),
        buffer: &mut [u8; BUFFER_BYTES],
        out: &mut dyn Write,
    ) -> Result<(), PatchError> {
        let mut runs = Runs::new(len_bytes);
        let mut left_bytes = len_bytes;
        while left_bytes > 0 {
            let len =
                usize::try_from(left_bytes).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let (piece, _) = buffer.split_at_mut(len);
            old.read(piece, position).map_err(PatchError::Base)?;
            self.add_residues(piece, &mut runs)?;
            out.write_all(piece).map_err(PatchError::Write)?;
            position = position.saturating_add(len as u64);
            left_bytes = left_bytes.saturating_sub(len as u64);
        }
        Ok(())
    }

    fn add_residues(&mut self, mut piece: &mut [u8], runs: &mut Runs) -> Result<(), PatchError> {
        while !piece.is_empty() {
            while runs.run_bytes == 0 {
                runs.next(self.control()?)?;
            }
            let len =
                usize::try_from(runs.run_bytes).map_or(piece.len(), |run| run.min(piece.len()));
            let (now, later) = piece.split_at_mut(len);
            if runs.differs {
                let residues = piece_of(&mut self.residues, len, RESIDUES)?;
                let residues = self.group.get(residues).unwrap_or_default();
                for (byte, residue) in now.iter_mut().zip(residues) {
                    *byte = byte.wrapping_add(*residue);
                }
            }
            runs.run_bytes = runs.run_bytes.saturating_sub(len as u64);
            piece = later;
        }
        Ok(())
    }
}

/// The old object, and the pages of it that were read last.
struct Old<'b> {
    base: &'b dyn ReadAt,
    size_bytes: u64,
    /// Where the pages begin.
    start: u64,
    pages: Vec<u8>,
}

impl<'b> Old<'b> {
    fn new(base: &'b dyn ReadAt) -> io::Result<Self> {
        Ok(Self {
            base,
            size_bytes: base.size_bytes()?,
            start: 0,
            pages: Vec::new(),
        })
    }

    /// Reads a piece that is there.
    fn read(&mut self, piece: &mut [u8], position: u64) -> io::Result<()> {
        if piece.len() >= SHORT_BYTES {
            return self.base.read_exact_at(piece, position);
        }
        if let Some(bytes) = self.in_pages(position, piece.len()) {
            piece.copy_from_slice(bytes);
            return Ok(());
        }
        let end = position.saturating_add(piece.len() as u64);
        let start = position & !PAGE_BYTES.wrapping_sub(1);
        let end = end.checked_next_multiple_of(PAGE_BYTES);
        let end = end.map_or(self.size_bytes, |end| end.min(self.size_bytes));
        let len = usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?;
        self.start = start;
        self.pages.resize(len, 0);
        let read = self.base.read_exact_at(&mut self.pages, start);
        read.inspect_err(|_| self.pages.clear())?;
        let bytes = self.in_pages(position, piece.len());
        piece.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn in_pages(&self, position: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.pages.get(at..)?.get(..len)
    }
}

/// The turns of a cover: bytes that agree, bytes that differ.
struct Runs {
    differs: bool,
    is_first: bool,
    /// What is left of this turn.
    run_bytes: u64,
    /// What is left of the cover after it.
    left_bytes: u64,
}

impl Runs {
    const fn new(len_bytes: u64) -> Self {
        Self {
            differs: true,
            is_first: true,
            run_bytes: 0,
            left_bytes: len_bytes,
        }
    }

    /// The next turn. Only the first may be empty, so that there is an end.
    fn next(&mut self, run_bytes: u64) -> Result<(), PatchError> {
        let found = run_bytes;
        if run_bytes == 0 && !self.is_first {
            let expected = "a turn of at least one byte";
            return Err(PatchError::Control { expected, found });
        }
        let Some(left_bytes) = self.left_bytes.checked_sub(run_bytes) else {
            let expected = "a turn within the cover";
            return Err(PatchError::Control { expected, found });
        };
        self.left_bytes = left_bytes;
        self.run_bytes = run_bytes;
        self.differs = !self.differs;
        self.is_first = false;
        Ok(())
    }
}

const CONTROLS: &str = "controls";
const RESIDUES: &str = "residues";
const LITERALS: &str = "literals";

/// Where a piece begins, if the old object has it.
fn start(position: i128, len_bytes: u64, size_bytes: u64) -> Result<u64, PatchError> {
    u64::try_from(position)
        .ok()
        .filter(|start| {
            let end = start.checked_add(len_bytes);
            end.is_some_and(|end| end <= size_bytes)
        })
        .ok_or(PatchError::OutOfBase {
            position,
            len_bytes,
            size_bytes,
        })
}

fn take(bytes: &[u8], left: &mut Range<usize>, part: &'static str) -> Result<u64, PatchError> {
    let mut cursor = Cursor::new(bytes.get(left.clone()).unwrap_or_default());
    let number = number::take(&mut cursor).ok_or(PatchError::Short { part })?;
    left.start = left.start.saturating_add(cursor.offset_bytes());
    Ok(number)
}

fn piece(
    left: &mut Range<usize>,
    len_bytes: u64,
    part: &'static str,
) -> Result<Range<usize>, PatchError> {
    let len = usize::try_from(len_bytes).map_err(|_| PatchError::Short { part })?;
    piece_of(left, len, part)
}

fn piece_of(
    left: &mut Range<usize>,
    len: usize,
    part: &'static str,
) -> Result<Range<usize>, PatchError> {
    let end = left.start.checked_add(len).filter(|end| *end <= left.end);
    let end = end.ok_or(PatchError::Short { part })?;
    let piece = left.start..end;
    left.start = end;
    Ok(piece)
}
