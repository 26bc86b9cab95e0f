// SPDX-License-Identifier: MIT OR Apache-2.0
//! What in symbols and relocations tells places, adjusted to where these went.

use super::elf::{Elf, RELOCATIONS, SYMBOLS, Section};
use super::lately::Lately;
use super::moves::Moves;
use super::words::{array_at, put, u16_at, u32_at, u64_at};

/// Length of a symbol and of a relocation.
const ENTRY_BYTES: usize = 24;
const SIGNED_ENTRY_BYTES: i64 = 24;

/// The type of a symbol that stands for a section, in the lower half of a byte.
const SECTION: u8 = 3;

/// `EM_X86_64`, and its relocations that count from behind the four bytes that they change.
const X86_64: u16 = 62;
const FROM_BEHIND: [u32; 2] = [2, 4];
const PLACE_BYTES: i64 = 4;

/// Adjusts where symbols are, and how much belongs to them.
pub(super) fn adjust_symbols(object: &mut [u8], elf: &Elf, moves: &Moves) {
    let starts = Starts::of(elf, moves);
    for entry in elf.of_kind(SYMBOLS).flat_map(entries) {
        let Some((kind, number, section)) = symbol(object, elf, entry) else {
            continue;
        };
        if kind == SECTION {
            continue;
        }
        let (at, size_at) = (entry.saturating_add(8), entry.saturating_add(16));
        let (Some(value), Some(size)) = (u64_at(object, at), u64_at(object, size_at)) else {
            continue;
        };
        let Some(start) = place(section, value) else {
            continue;
        };
        let moved = moves.shift(start).wrapping_sub(starts.shift(number));
        put(object, at, value.wrapping_add_signed(moved).to_le_bytes());
        let last = size.checked_sub(1).and_then(|last| value.checked_add(last));
        if let Some(last) = last.and_then(|last| place(section, last)) {
            let grown = moves.shift(last).wrapping_sub(moves.shift(start));
            put(
                object,
                size_at,
                size.wrapping_add_signed(grown).to_le_bytes(),
            );
        }
    }
}

/// Adjusts which places relocations change, which symbols they name, and, where these stand for sections,
/// what they add.
pub(super) fn adjust_relocations(object: &mut [u8], elf: &Elf, moves: &Moves) {
    let starts = Starts::of(elf, moves);
    let lately = || Lately::new(|place| moves.around(place));
    let (mut places, mut names, mut meanings) = (lately(), lately(), lately());
    for relocations in elf.of_kind(RELOCATIONS) {
        let (target, table) = (relocations.info, relocations.link);
        let target_section = elf.section(target);
        let symbols = elf.section(table).filter(|section| section.kind == SYMBOLS);
        for entry in entries(relocations) {
            let [kind_at, symbol_at, added_at] = [8, 12, 16].map(|at| entry.saturating_add(at));
            let Some(offset) = u64_at(object, entry) else {
                continue;
            };
            if let Some(place) = target_section.and_then(|section| place(section, offset)) {
                let moved = places.shift(place).wrapping_sub(starts.shift(target));
                put(
                    object,
                    entry,
                    offset.wrapping_add_signed(moved).to_le_bytes(),
                );
            }
            let number = u32_at(object, symbol_at).unwrap_or(0);
            let named = symbols.and_then(|section| {
                let offset = u64::from(number).checked_mul(ENTRY_BYTES as u64)?;
                place(section, offset)
            });
            let Some(named) = named else {
                continue;
            };
            let moved = names.shift(named).wrapping_sub(starts.shift(table));
            let entries = moved / SIGNED_ENTRY_BYTES;
            let by = i32::try_from(entries).unwrap_or(0);
            put(
                object,
                symbol_at,
                number.wrapping_add_signed(by).to_le_bytes(),
            );
            let Some((SECTION, number, section)) = symbol(object, elf, named) else {
                continue;
            };
            let kind = u32_at(object, kind_at).unwrap_or(0);
            let is_from_behind = elf.machine == X86_64 && FROM_BEHIND.contains(&kind);
            let behind = if is_from_behind { PLACE_BYTES } else { 0 };
            let added = array_at(object, added_at).map_or(0, i64::from_le_bytes);
            let meant = u64::try_from(added.wrapping_add(behind)).ok();
            if let Some(place) = meant.and_then(|meant| place(section, meant)) {
                let moved = meanings.shift(place).wrapping_sub(starts.shift(number));
                put(object, added_at, added.wrapping_add(moved).to_le_bytes());
            }
        }
    }
}

/// Where the entries of a section begin.
fn entries(section: &Section) -> impl Iterator<Item = usize> + use<> {
    let count = section.range.len() / ENTRY_BYTES;
    section.range.clone().step_by(ENTRY_BYTES).take(count)
}

/// The type of a symbol, and the section in which it is, with its number.
fn symbol<'e>(object: &[u8], elf: &'e Elf, entry: usize) -> Option<(u8, u32, &'e Section)> {
    let [kind] = array_at(object, entry.checked_add(4)?)?;
    let number = u16_at(object, entry.checked_add(6)?)?.into();
    Some((kind & 0xf, number, elf.section(number)?))
}

/// How far the beginning of each section has moved.
struct Starts(Vec<i64>);

impl Starts {
    fn of(elf: &Elf, moves: &Moves) -> Self {
        let sections = elf.sections.iter();
        Self(
            sections
                .map(|section| moves.shift_of_start(&section.range))
                .collect(),
        )
    }

    /// That of the section of this number; 0 if there is none.
    fn shift(&self, number: u32) -> i64 {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        self.0.get(index).copied().unwrap_or(0)
    }
}

/// Where in the object an offset into a section is; its end counts as well.
fn place(section: &Section, offset: u64) -> Option<usize> {
    let place = section
        .range
        .start
        .checked_add(usize::try_from(offset).ok()?)?;
    (place <= section.range.end).then_some(place)
}
