// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words that are addresses: those of tables, once they are straightened, and those that the kernel
//! lists itself, to be changed where it is loaded elsewhere (`arch/x86/tools/relocs.c`).

use std::io;

use super::edit::{Edit, WORD_BYTES, Words, read};
use super::layout::{Layout, extended, low};
use super::moves::ToldMoves;

/// Changes each word of a table, to what comes of it and its own address.
pub(super) fn change_tables(
    form: &mut dyn Edit,
    layout: &Layout,
    change: &dyn Fn(u32, u32) -> u32,
) -> io::Result<()> {
    let mut words = Words::of(form)?;
    for (place, address) in layout.table_words() {
        words.change(place, |word| change(word, low(address)))?;
    }
    words.write()
}

/// Adjusts the words of straightened tables.
pub(super) fn adjust_tables(
    form: &mut dyn Edit,
    layout: &Layout,
    moves: &ToldMoves,
) -> io::Result<()> {
    change_tables(form, layout, &|word, _| adjusted(layout, moves, word))
}

/// Adjusts the words that the kernel's relocations name, and these.
pub(super) fn adjust_relocations(
    form: &mut dyn Edit,
    layout: &Layout,
    moves: &ToldMoves,
) -> io::Result<()> {
    let relocations = layout.relocations().clone();
    let list = read(form, &relocations)?;
    let listed = list.as_chunks::<WORD_BYTES>().0;
    let addresses = listed
        .iter()
        .map(|word| extended(u32::from_le_bytes(*word)));
    let mut places: Vec<u64> = addresses
        .filter_map(|address| {
            let section = layout.section_of(address)?;
            let place = section.place_of(address);
            (place.checked_add(WORD_BYTES as u64)? <= section.range.end).then_some(place)
        })
        .collect();
    places.sort_unstable();
    places.dedup();
    let mut words = Words::of(form)?;
    for place in places {
        words.change(place, |word| adjusted(layout, moves, word))?;
    }
    let places = (relocations.start..).step_by(WORD_BYTES);
    for (place, _) in places.zip(listed) {
        words.change(place, |word| adjusted(layout, moves, word))?;
    }
    words.write()
}

fn adjusted(layout: &Layout, moves: &ToldMoves, word: u32) -> u32 {
    word.wrapping_add(moves.of_address(layout, extended(word)))
}
