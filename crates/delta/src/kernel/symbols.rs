// SPDX-License-Identifier: MIT OR Apache-2.0
//! The addresses of the kernel's own list of symbols (`kernel/kallsyms.c`), which nothing names: the longest
//! run of words that only fall, or only rise.

use std::io;
use std::ops::Range;

use super::edit::{Edit, WORD_BYTES, Words, read};
use super::layout::Layout;
use super::moves::ToldMoves;

/// How many words are in memory at a time, bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is shorter is no list of symbols.
const MIN_RUN_BYTES: u64 = 16 * 1024;

/// Words that rise are offsets below this.
const MAX_RISING: u32 = 1 << 30;

/// How the words of a run follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Each is the complement of an offset, and not above the one before.
    Falling,
    /// Each is an offset, and not below the one before.
    Rising,
}

impl Order {
    fn fits(self, before: u32, word: u32) -> bool {
        match self {
            Self::Falling => word <= before && word.cast_signed() < 0,
            Self::Rising => word >= before && word < MAX_RISING,
        }
    }

    /// The offset that a word is, and back.
    fn offset(self, word: u32) -> u32 {
        match self {
            Self::Falling => !word,
            Self::Rising => word,
        }
    }
}

/// Adjusts them, if there is such a list.
pub(super) fn adjust(form: &mut dyn Edit, layout: &Layout, moves: &ToldMoves) -> io::Result<()> {
    let (Some(constants), Some(first)) = (layout.constants(), layout.code().next()) else {
        return Ok(());
    };
    let first = first.address;
    let Some((run, order)) = longest(form, constants)? else {
        return Ok(());
    };
    let mut words = Words::of(form)?;
    for place in run.step_by(WORD_BYTES) {
        words.change(place, |word| {
            let offset = order.offset(word);
            let address = first.wrapping_add(offset.into());
            order.offset(offset.wrapping_add(moves.of_address(layout, address)))
        })?;
    }
    words.write()
}

/// The longest run, of equal ones the first that ends.
fn longest(form: &dyn Edit, section: &Range<u64>) -> io::Result<Option<(Range<u64>, Order)>> {
    let mut runs = [Order::Falling, Order::Rising].map(|order| (section.start, order));
    let mut best: Option<(Range<u64>, Order)> = None;
    let mut best_bytes = MIN_RUN_BYTES.saturating_sub(1);
    let mut before = None;
    let mut at = section.start;
    let mut end_run = |range: Range<u64>, order| {
        let bytes = range.end.saturating_sub(range.start);
        if bytes > best_bytes {
            best_bytes = bytes;
            best = Some((range, order));
        }
    };
    while at.saturating_add(WORD_BYTES as u64) <= section.end {
        let end = at.saturating_add(CHUNK_BYTES as u64).min(section.end);
        let chunk = read(form, &(at..end))?;
        for word in chunk.as_chunks::<WORD_BYTES>().0 {
            let word = u32::from_le_bytes(*word);
            for (start, order) in &mut runs {
                if !before.is_some_and(|before| order.fits(before, word)) {
                    end_run(*start..at, *order);
                    *start = at;
                }
            }
            before = Some(word);
            at = at.saturating_add(WORD_BYTES as u64);
        }
    }
    for (start, order) in runs {
        end_run(start..at, order);
    }
    Ok(best)
}
