// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two byte strings, compared: as they are, opened, or with the old one adjusted.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sealroot_delta::adjusted::{self, Adjusted, Renumbering, Stage};
use sealroot_delta::kernel::{Kernel, ToldMoves};
use sealroot_delta::opened::{self, Opened, Side};
use sealroot_delta::{Cover, Tolerance, find_covers};
use sealroot_format::erofs::ReadAt;

use super::file::Adjustment;

/// A part of the new release has at most this many bytes.
pub(super) const PART_BYTES: usize = 4 << 20;

/// Larger objects are compared in pieces of this size, each with the piece at the same place: a
/// suffix array takes five times as much.
const WINDOW_BYTES: usize = 80 << 20;

/// A new object of which less than this part stands in the old one is not patched from it.
const LEAST_SHARE: usize = 16;

/// Two byte strings, and what of the new one stands in the old one.
pub(super) struct Compared {
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
    /// The new one, piece by piece.
    pub(super) pieces: Vec<Piece>,
    /// Whether these are opened forms.
    pub(super) is_opened: bool,
    /// If they are kernels and the old one is adjusted, what is told of it.
    pub(super) moves: Option<Vec<u8>>,
}

/// A piece of a new byte string.
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    /// Its covers, counted from where it begins.
    pub(super) covers: Vec<Cover>,
    /// How the old object is adjusted for it.
    pub(super) adjusted: Option<Adjustment>,
}

impl Compared {
    /// As they are.
    pub(super) fn new(old: Vec<u8>, new: Vec<u8>) -> Self {
        Self {
            pieces: pieces(0..new.len(), &covers(&old, &new), None),
            old,
            new,
            is_opened: false,
            moves: None,
        }
    }

    /// Of the opened forms, if something is compressed in both and most of the new one stands in the
    /// old one: else what is compressed is shorter as it is.
    pub(super) fn opened(
        old: &dyn ReadAt,
        new: &dyn ReadAt,
        renumbering: &Renumbering,
    ) -> io::Result<Option<Self>> {
        let largest = old.size_bytes()?.max(new.size_bytes()?);
        let is_large = largest > opened::MAX_CLOSED_BYTES;
        let _one_at_a_time = is_large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
        let (Some((mut new, new_choices)), Some((mut old, old_choices))) =
            (form(new, Side::New)?, form(old, Side::Old)?)
        else {
            return Ok(None);
        };
        let contents = |old: &[u8], new: &[u8]| covers(&old[..old_choices], &new[..new_choices]);
        let moves = adjust_kernel(&mut old, &mut new, renumbering, contents)?;
        let mut covers = contents(&old, &new);
        let of_choices = self::covers(&old[old_choices..], &new[new_choices..]);
        covers.extend(counted_from(of_choices, old_choices, new_choices));
        let covered: usize = covers.iter().map(|cover| cover.len_bytes).sum();
        let adjusted = moves.is_some().then_some(Adjustment::Kernel);
        Ok((covered >= new.len() / 2).then(|| Self {
            pieces: pieces(0..new.len(), &covers, adjusted),
            old,
            new,
            is_opened: true,
            moves,
        }))
    }

    /// Of object files, the old one adjusted.
    pub(super) fn adjusted(old: Vec<u8>, new: Vec<u8>, renumbering: &Renumbering) -> Self {
        let Some(new_ranges) = adjusted::pieces(&new) else {
            return Self::new(old, new);
        };
        let mut old = match Adjusted::new(old, renumbering) {
            Ok(adjusted) => adjusted,
            Err(old) => return Self::new(old, new),
        };
        let mut all = Vec::new();
        let old_ranges = old.pieces();
        for ((stage, range), old_range) in Stage::ALL.into_iter().zip(new_ranges).zip(old_ranges) {
            old.go_on_to(stage);
            let tolerance = match stage {
                Stage::Contents => Tolerance::USUAL,
                Stage::Symbols | Stage::Relocations => Tolerance::STRICT,
            };
            let bytes = &old.bytes()[old_range.clone()];
            let covers = find_covers(bytes, &new[range.clone()], tolerance);
            let covers: Vec<_> = counted_from(covers, old_range.start, range.start).collect();
            for piece in pieces(range, &covers, Some(Adjustment::Object(stage))) {
                let noted = piece.covers.iter().copied();
                counted_from(noted, 0, piece.range.start).for_each(|cover| old.note(cover));
                all.push(piece);
            }
        }
        Self {
            old: old.into_bytes(),
            new,
            pieces: all,
            is_opened: false,
            moves: None,
        }
    }
}

impl Compared {
    /// From nothing, if next to nothing of the new one stands in the old one: so nobody needs the old one for it.
    pub(super) fn or_anew(self) -> Self {
        let covers = self.pieces.iter().flat_map(|piece| &piece.covers);
        let covered: usize = covers.map(|cover| cover.len_bytes).sum();
        if self.is_opened || covered >= self.new.len() / LEAST_SHARE {
            return self;
        }
        Self::new(Vec::new(), self.new)
    }
}

/// If these are forms of kernels, straightens both and adjusts the old one to what their covers say; what is
/// told of that.
fn adjust_kernel(
    old: &mut Vec<u8>,
    new: &mut Vec<u8>,
    renumbering: &Renumbering,
    covers: impl Fn(&[u8], &[u8]) -> Vec<Cover>,
) -> io::Result<Option<Vec<u8>>> {
    let (Some(kernel), Some(new_kernel)) = (Kernel::in_form(old)?, Kernel::in_form(new)?) else {
        return Ok(None);
    };
    kernel.straighten(old)?;
    new_kernel.straighten(new)?;
    let moves = ToldMoves::of(&covers(old, new), kernel.content(), new_kernel.content());
    kernel.adjust(old, &moves, renumbering)?;
    Ok(Some(moves.encode()))
}

/// Forms of kernels take some 500 MB to compare.
static LARGE: Mutex<()> = Mutex::new(());

/// The opened form of an object, if something is compressed in it, and where in it choices begin that
/// are compared apart.
fn form(object: &dyn ReadAt, side: Side) -> io::Result<Option<(Vec<u8>, usize)>> {
    Ok(match opened::open(object, side, &mut || Ok(Vec::new()))? {
        Some(Opened::Members { form, count: 1.. }) => {
            let end = form.len();
            Some((form, end))
        }
        Some(Opened::Framed {
            form,
            choices_start,
        }) => {
            let start = usize::try_from(choices_start).unwrap_or(form.len());
            Some((form, start))
        }
        _ => None,
    })
}

fn covers(old: &[u8], new: &[u8]) -> Vec<Cover> {
    if old.len().max(new.len()) <= WINDOW_BYTES {
        return find_covers(old, new, Tolerance::USUAL);
    }
    let mut covers = Vec::new();
    for (at, new) in (0..).step_by(WINDOW_BYTES).zip(new.chunks(WINDOW_BYTES)) {
        let end = old.len().min(at + WINDOW_BYTES);
        let old = old.get(at..end).unwrap_or_default();
        let found = find_covers(old, new, Tolerance::USUAL);
        covers.extend(counted_from(found, at, at));
    }
    covers
}

/// Covers of pieces that begin at these places, counted from the beginning of the whole.
fn counted_from(
    covers: impl IntoIterator<Item = Cover>,
    old: usize,
    new: usize,
) -> impl Iterator<Item = Cover> {
    covers.into_iter().map(move |cover| Cover {
        old: cover.old + old,
        new: cover.new + new,
        ..cover
    })
}

/// A range of the new byte string in pieces of at most [`PART_BYTES`], with what of the covers lies in each.
fn pieces(range: Range<usize>, mut covers: &[Cover], adjusted: Option<Adjustment>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + PART_BYTES);
        let within = covers.iter().take_while(|cover| cover.new < end).count();
        let clipped = covers[..within].iter().map(|cover| clip(cover, start, end));
        pieces.push(Piece {
            range: start..end,
            covers: clipped.collect(),
            adjusted,
        });
        let is_over = |cover: &&Cover| cover.new + cover.len_bytes <= end;
        let over = covers[..within].iter().take_while(is_over).count();
        covers = &covers[over..];
        start = end;
    }
    pieces
}

/// What of a cover lies between two places of the new object, counted from the first.
fn clip(cover: &Cover, start: usize, end: usize) -> Cover {
    let from = cover.new.max(start);
    let to = (cover.new + cover.len_bytes).min(end);
    Cover {
        old: cover.old + (from - cover.new),
        new: from - start,
        len_bytes: to - from,
    }
}
