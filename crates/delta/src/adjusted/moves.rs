// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the covers of an object say about where something went.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use super::lately::Around;
use super::renumbering::Shifts;
use crate::covers::Cover;

/// Shorter covers say nothing.
const MIN_COVER_BYTES: usize = 16;

/// So much of a section, or all of it, tells where it begins.
const BEGINNING_BYTES: usize = 16;

/// Covers in whose order nothing was changed, ascending in both objects and without overlaps.
pub(crate) struct Moves {
    kept: Vec<Cover>,
}

impl Moves {
    /// Of these, longer ones first, each that does not contradict those before it.
    pub(crate) fn of(covers: &[Cover]) -> Self {
        let long = |cover: &&Cover| cover.len_bytes >= MIN_COVER_BYTES;
        let mut sorted: Vec<_> = covers.iter().filter(long).copied().collect();
        sorted.sort_by_key(|cover| (Reverse(cover.len_bytes), cover.new));
        let mut kept = BTreeMap::new();
        for cover in sorted {
            let before = kept.range(..=cover.old).next_back();
            let after = kept.range(cover.old..).next();
            let neighbours = [before, after].map(|found| found.map(|(_, cover)| *cover));
            let is_in_order = match neighbours {
                [Some(before), Some(after)] => {
                    comes_before(before, cover) && comes_before(cover, after)
                }
                [Some(before), None] => comes_before(before, cover),
                [None, Some(after)] => comes_before(cover, after),
                [None, None] => true,
            };
            if is_in_order {
                kept.insert(cover.old, cover);
            }
        }
        Self {
            kept: kept.into_values().collect(),
        }
    }

    /// From which place of the old object on what has moved how far.
    pub(crate) fn into_shifts(self) -> Shifts {
        let mut shifts = Vec::new();
        let mut present = 0;
        for cover in self.kept {
            let moved = shift(&cover);
            if moved != present {
                present = moved;
                shifts.push((u32::try_from(cover.old).unwrap_or(u32::MAX), moved));
            }
        }
        Shifts(shifts)
    }

    /// How far what was at this place of the old object has moved: as the cover in which it lies, or else as
    /// the one before it.
    pub(super) fn shift(&self, position: usize) -> i64 {
        self.around(position).1
    }

    /// The places around this one that have moved as far, and how far.
    pub(super) fn around(&self, position: usize) -> Around<usize> {
        let after = self.kept.partition_point(|cover| cover.old <= position);
        let next = (self.kept.get(after)).and_then(|cover| cover.old.checked_sub(1));
        let cover = after.checked_sub(1).and_then(|index| self.kept.get(index));
        let (from, shift) = cover.map_or((0, 0), |cover| (cover.old, shift(cover)));
        (from..=next.unwrap_or(usize::MAX), shift)
    }

    /// How far the beginning of a section has moved: as the first cover that has some of it.
    pub(super) fn shift_of_start(&self, section: &Range<usize>) -> i64 {
        let needed = section.len().min(BEGINNING_BYTES);
        let first = self
            .kept
            .partition_point(|cover| end(cover) <= section.start);
        let covers = self.kept.get(first..).unwrap_or_default().iter();
        let mut within = covers.take_while(|cover| cover.old < section.end);
        let found = within.find(|cover| {
            let common = cover.old.max(section.start)..end(cover).min(section.end);
            common.len() >= needed
        });
        found.map_or_else(|| self.shift(section.start), shift)
    }
}

fn comes_before(one: Cover, other: Cover) -> bool {
    let end_new = one.new.saturating_add(one.len_bytes);
    end(&one) <= other.old && end_new <= other.new
}

const fn end(cover: &Cover) -> usize {
    cover.old.saturating_add(cover.len_bytes)
}

fn shift(cover: &Cover) -> i64 {
    let [old, new] = [cover.old, cover.new].map(|place| i64::try_from(place).unwrap_or(i64::MAX));
    new.saturating_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(old: usize, new: usize, len_bytes: usize) -> Cover {
        Cover {
            old,
            new,
            len_bytes,
        }
    }

    // Rules: J4
    #[test]
    fn longer_covers_are_believed_first() {
        let main = [cover(0, 0, 100), cover(100, 120, 300), cover(410, 425, 50)];
        let astray = [cover(90, 600, 40), cover(200, 460, 60), cover(405, 420, 15)];
        let moves = Moves::of(&[main.as_slice(), &astray].concat());
        let shifts = [0, 99, 100, 399, 405, 410, 1000].map(|place| moves.shift(place));
        assert_eq!(shifts, [0, 0, 20, 20, 20, 15, 15]);
        assert_eq!(Moves::of(&[]).shift(7), 0);
    }

    // Rules: J5
    #[test]
    fn a_section_begins_where_enough_of_it_does() {
        let moves = Moves::of(&[cover(0, 0, 104), cover(104, 130, 300)]);
        assert_eq!(moves.shift_of_start(&(96..200)), 26);
        assert_eq!(moves.shift_of_start(&(80..200)), 0);
        assert_eq!(moves.shift_of_start(&(100..104)), 0);
        assert_eq!(moves.shift_of_start(&(500..600)), 26);
    }
}
