// SPDX-License-Identifier: MIT OR Apache-2.0
//! Old object files, adjusted to what is known to have moved, so that less differs in the new ones
//! (docs/format/adjusted.md).
//!
//! A line of code that was inserted moves all that follows, and each relocation, symbol and type that
//! refers to it says so. What moved in the contents is known once their patch is: symbols are adjusted to
//! that before they are patched, and relocations to both.
//!
//! Rooms, each using only those before it: `words`; `elf`, where the sections lie; `btf`, the references in
//! type information; `lately`, for one question after another how far something moved; `renumbering`, how
//! numbers changed; `moves`, what covers say of places; `fields`, which are adjusted to that; `learn`, for
//! whoever makes deltas.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

mod btf;
mod elf;
mod fields;
mod lately;
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "what whoever makes a delta has read and checked"
)]
mod learn;
mod moves;
mod renumbering;
mod words;

use std::io::Write;
use std::ops::Range;

pub use learn::{Learner, Lesson};
pub(crate) use moves::Moves;
pub(crate) use renumbering::Shifts;
pub use renumbering::{MAX_RENUMBERING_BYTES, Renumbering};

use crate::apply::{GroupReader, PatchError};
use crate::covers::Cover;
use elf::Elf;

/// Longest object that is adjusted, bytes: it is in memory whole.
pub const MAX_ADJUSTED_BYTES: u64 = 32 << 20;

/// So many covers of an object count.
const MAX_COVERS: usize = 1 << 16;

/// What of an old object has been adjusted. New object files are patched in this order, which is that in
/// which they have these pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The numbers in its type information.
    Contents,
    /// And its symbols.
    Symbols,
    /// And its relocations.
    Relocations,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 3] = [Self::Contents, Self::Symbols, Self::Relocations];

    /// Its number in files, from 1 on.
    pub fn number(self) -> u32 {
        match self {
            Self::Contents => 1,
            Self::Symbols => 2,
            Self::Relocations => 3,
        }
    }

    /// That of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }
}

/// An old object file on its way through the stages.
#[derive(Clone, Debug)]
pub struct Adjusted {
    bytes: Vec<u8>,
    elf: Elf,
    stage: Stage,
    covers: Vec<Cover>,
}

impl Adjusted {
    /// An object in its first stage; back it comes if it is no relocatable ELF file of 64 bits, little-endian,
    /// of at most [`MAX_ADJUSTED_BYTES`].
    pub fn new(mut object: Vec<u8>, renumbering: &Renumbering) -> Result<Self, Vec<u8>> {
        let Some(elf) = elf_of(&object) else {
            return Err(object);
        };
        if let Some(section) = elf.btf() {
            renumbering.adjust(&mut object, section);
        }
        Ok(Self {
            bytes: object,
            elf,
            stage: Stage::Contents,
            covers: Vec::new(),
        })
    }

    /// The object as it is now.
    pub const fn bytes(&self) -> &Vec<u8> {
        &self.bytes
    }

    /// And no more.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Which stage it is in.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Where the pieces of the stages lie in it.
    pub fn pieces(&self) -> [Range<usize>; 3] {
        self.elf.pieces(self.bytes.len())
    }

    /// Tells of a cover of the new object, with places in both whole objects.
    pub fn note(&mut self, cover: Cover) {
        if self.covers.len() < MAX_COVERS {
            self.covers.push(cover);
        }
    }

    /// Applies the next of these patches, which makes `len_bytes` of the new object from `start` on.
    pub fn apply(
        &mut self,
        patches: &mut GroupReader,
        start: usize,
        len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<(), PatchError> {
        let Self { bytes, covers, .. } = self;
        patches.apply_noting(bytes, len_bytes, out, &mut |cover| {
            if covers.len() < MAX_COVERS {
                let new = cover.new.saturating_add(start);
                covers.push(Cover { new, ..cover });
            }
        })
    }

    /// Goes on to a stage, by way of those between. There is no way back.
    pub fn go_on_to(&mut self, stage: Stage) {
        if self.stage < Stage::Symbols && stage >= Stage::Symbols {
            fields::adjust_symbols(&mut self.bytes, &self.elf, &Moves::of(&self.covers));
        }
        if self.stage < Stage::Relocations && stage >= Stage::Relocations {
            fields::adjust_relocations(&mut self.bytes, &self.elf, &Moves::of(&self.covers));
        }
        self.stage = self.stage.max(stage);
    }
}

/// Where the pieces of a new object lie that are patched with an old one in each of its stages; `None` if
/// the new one is no such file.
pub fn pieces(object: &[u8]) -> Option<[Range<usize>; 3]> {
    Some(elf_of(object)?.pieces(object.len()))
}

fn elf_of(object: &[u8]) -> Option<Elf> {
    let is_short_enough = object.len() as u64 <= MAX_ADJUSTED_BYTES;
    Elf::parse(object).filter(|_| is_short_enough)
}
