// SPDX-License-Identifier: MIT OR Apache-2.0
//! What instructions refer to, counted from behind them (Intel's Software Developer's Manual,
//! volume 2: CALL, JMP, Jcc; addresses relative to RIP, 2.2.1.6).
//!
//! Nothing is disassembled: what looks like such an instruction and refers to something in the kernel is
//! taken for one. What is not costs what it did.

use std::io;

use super::edit::{Edit, WORD_BYTES, read};
use super::layout::{Layout, Section, extended};
use super::moves::ToldMoves;

/// How much of a section is in memory at a time, and how much an instruction needs behind its beginning.
const CHUNK_BYTES: u64 = 256 * 1024;
const LONGEST_BYTES: usize = 6;

/// A near call and a near jump; the first byte of a conditional one.
const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;
const TWO_BYTES: u8 = 0x0f;

/// Operations with an address relative to RIP, by how many bytes follow the address.
const PLAIN: [u8; 31] = [
    0x01, 0x03, 0x09, 0x0b, 0x11, 0x13, 0x19, 0x1b, 0x21, 0x23, 0x29, 0x2b, 0x31, 0x33, 0x38, 0x39,
    0x3a, 0x3b, 0x63, 0x84, 0x85, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0xb6, 0xb7, 0xbe, 0xbf, 0xff,
];
const WITH_BYTE: [u8; 5] = [0x80, 0x83, 0xba, 0xc1, 0xc6];
const WITH_WORD: [u8; 2] = [0x81, 0xc7];

/// Adjusts the references of all code.
pub(super) fn adjust(form: &mut dyn Edit, layout: &Layout, moves: &ToldMoves) -> io::Result<()> {
    for section in layout.code() {
        let mut at = section.range.start;
        while at < section.range.end {
            let longest = CHUNK_BYTES.saturating_add(LONGEST_BYTES as u64);
            let end = at.saturating_add(longest).min(section.range.end);
            let mut chunk = read(form, &(at..end))?;
            let scan = Scan {
                layout,
                moves,
                section,
                start: at,
            };
            let (done, is_changed) = scan.run(&mut chunk);
            if is_changed {
                form.write_at(&chunk, at)?;
            }
            at = at.saturating_add(done);
        }
    }
    Ok(())
}

/// A chunk of code.
struct Scan<'s> {
    layout: &'s Layout,
    moves: &'s ToldMoves,
    section: &'s Section,
    /// Where in the form the chunk begins.
    start: u64,
}

/// What an instruction refers to.
struct Reference {
    /// Where the four bytes are that say so.
    at: usize,
    /// So many bytes come between them and the next instruction.
    behind: u64,
    is_of_code: bool,
}

impl Scan<'_> {
    /// How much of the chunk was gone through, and whether something was changed.
    fn run(&self, chunk: &mut [u8]) -> (u64, bool) {
        let mut at = 0_usize;
        let mut is_changed = false;
        while (at as u64) < CHUNK_BYTES && at < chunk.len() {
            let found = chunk.get(at..).and_then(reference);
            let end = found.and_then(|found| {
                let place = at.checked_add(found.at)?;
                let end = place.checked_add(WORD_BYTES)?;
                let word: &mut [u8; WORD_BYTES] = chunk.get_mut(place..end)?.try_into().ok()?;
                let old = u32::from_le_bytes(*word);
                let new = old.wrapping_add(self.moved(&found, place, old)?);
                *word = new.to_le_bytes();
                is_changed |= new != old;
                Some(end)
            });
            at = end.unwrap_or(at.saturating_add(1));
        }
        (at as u64, is_changed)
    }

    /// How much more than the instruction has what it refers to moved; `None` if that is nothing of the
    /// kernel.
    fn moved(&self, found: &Reference, at: usize, word: u32) -> Option<u32> {
        let place = self.start.wrapping_add(at as u64);
        let next = self.section.address_of(place);
        let next = next
            .wrapping_add(WORD_BYTES as u64)
            .wrapping_add(found.behind);
        let address = next.wrapping_add(extended(word));
        let target = self.layout.section_of(address)?;
        if found.is_of_code && !target.is_code {
            return None;
        }
        let moved = self.moves.of_place(self.layout, target.place_of(address));
        Some(moved.wrapping_sub(self.moves.of_place(self.layout, place)))
    }
}

fn reference(code: &[u8]) -> Option<Reference> {
    let (first, second) = (*code.first()?, *code.get(1)?);
    let jump = |at| Reference {
        at,
        behind: 0,
        is_of_code: true,
    };
    match (first, second) {
        (CALL | JUMP, _) => return Some(jump(1)),
        (TWO_BYTES, 0x80..=0x8f) => return Some(jump(2)),
        _ => {}
    }
    // A byte that says: an address of 32 bits, relative to RIP.
    if second & 0xc7 != 5 {
        return None;
    }
    let behind = match first {
        first if PLAIN.contains(&first) => 0,
        first if WITH_BYTE.contains(&first) => 1,
        first if WITH_WORD.contains(&first) => 4,
        _ => return None,
    };
    Some(Reference {
        at: 2,
        behind,
        is_of_code: false,
    })
}
