// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far what has moved, as whoever makes a delta tells it.

use std::ops::Range;

use sealroot_format::codec::Cursor;

use super::layout::{Layout, low};
use crate::adjusted::{Moves, Shifts};
use crate::covers::Cover;

/// Longest list of moves, bytes.
pub const MAX_MOVES_BYTES: u32 = 1 << 20;

/// Shorter covers are not worth being told.
const MIN_COVER_BYTES: usize = 32;

/// From which place of the old kernel on what has moved how far in the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldMoves(Shifts);

impl ToldMoves {
    /// What covers of two forms say, whose kernels lie there. Nothing if that would be too long.
    pub fn of(covers: &[Cover], old: &Range<u64>, new: &Range<u64>) -> Self {
        let within = |cover: &Cover| {
            Some(Cover {
                old: inside(cover.old, cover.len_bytes, old)?,
                new: inside(cover.new, cover.len_bytes, new)?,
                ..*cover
            })
        };
        let long = covers
            .iter()
            .filter(|cover| cover.len_bytes >= MIN_COVER_BYTES);
        let believed = Moves::of(&long.filter_map(within).collect::<Vec<_>>());
        let told = Self(believed.into_shifts());
        if told.encode().len() > MAX_MOVES_BYTES as usize {
            return Self::default();
        }
        told
    }

    /// As it stands in deltas.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.0.encode(&mut out);
        out
    }

    /// Reads it; `None` if it is not one as [`ToldMoves::encode`] writes them.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let shifts = Shifts::parse(&mut cursor)?;
        cursor.rest().is_empty().then_some(Self(shifts))
    }

    /// How far a place of the form has moved.
    pub(super) fn of_place(&self, layout: &Layout, place: u64) -> u32 {
        let place = u32::try_from(layout.in_content(place)).unwrap_or(u32::MAX);
        low(self.0.shift(place).cast_unsigned())
    }

    /// How far what has this address has moved; 0 if it is none of the kernel.
    pub(super) fn of_address(&self, layout: &Layout, address: u64) -> u32 {
        let section = layout.section_of(address);
        section.map_or(0, |section| {
            self.of_place(layout, section.place_of(address))
        })
    }
}

fn inside(place: usize, len: usize, content: &Range<u64>) -> Option<usize> {
    let start = usize::try_from(content.start).ok()?;
    let end = place.checked_add(len)?;
    (end as u64 <= content.end)
        .then(|| place.checked_sub(start))
        .flatten()
}
