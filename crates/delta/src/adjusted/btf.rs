// SPDX-License-Identifier: MIT OR Apache-2.0
//! The references in type information: which words of it are numbers of types, and which are places of
//! names (the kernel's Documentation/bpf/btf.rst).

use super::words::{array_at, u32_at};

const MAGIC: [u8; 3] = [0x9f, 0xeb, 1];

/// Length of a word.
const WORD_BYTES: usize = 4;

/// What a word refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refers {
    /// To a type, by its number.
    ToType,
    /// To a name, by its place.
    ToName,
}

/// Words that belong together.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Where it begins in the section.
    pub(super) at: usize,
    pub(super) layout: Layout,
    /// Whether a type begins with it.
    pub(super) begins_type: bool,
}

impl Record {
    /// The places of its words in the section, and what these refer to.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, Option<Refers>)> + use<> {
        let places = (self.at..).step_by(WORD_BYTES);
        places.zip(self.layout.iter().copied())
    }
}

/// What the words of a record are, in their order; `None` for those that refer to nothing.
pub(super) type Layout = &'static [Option<Refers>];

const NAME: Option<Refers> = Some(Refers::ToName);
const TYPE: Option<Refers> = Some(Refers::ToType);

/// The beginning of a type that has a size, and of one that refers to another.
const SIZED: Layout = &[NAME, None, None];
const REFERRING: Layout = &[NAME, None, TYPE];

/// The records of a section, from its types on; none if it is something else. They end where something is
/// not understood.
pub(super) fn records(section: &[u8]) -> impl Iterator<Item = Record> {
    let types = types(section).unwrap_or_default();
    let mut at = types.start;
    let mut following = (0_usize, SIZED);
    std::iter::from_fn(move || {
        let (left, layout) = &mut following;
        let begins_type = *left == 0;
        let layout = if let Some(less) = left.checked_sub(1) {
            *left = less;
            *layout
        } else {
            let info = u32_at(section, at.checked_add(WORD_BYTES)?)?;
            let (beginning, count, items) = kind(info)?;
            following = (count, items);
            beginning
        };
        let record = Record {
            at,
            layout,
            begins_type,
        };
        at = at.checked_add(layout.len().checked_mul(WORD_BYTES)?)?;
        (at <= types.end).then_some(record)
    })
}

/// Where the types lie in a section.
fn types(section: &[u8]) -> Option<std::ops::Range<usize>> {
    if array_at(section, 0)? != MAGIC {
        return None;
    }
    let [header, offset, len] = [4, 8, 12].map(|at| u32_at(section, at));
    let start = usize::try_from(header?).ok()?;
    let start = start.checked_add(usize::try_from(offset?).ok()?)?;
    let end = start.checked_add(usize::try_from(len?).ok()?)?;
    (end <= section.len()).then_some(start..end)
}

/// How a type begins that says this of itself, how many records follow, and what these are.
fn kind(info: u32) -> Option<(Layout, usize, Layout)> {
    let [low, high, _, kind] = info.to_le_bytes();
    let members = usize::from(u16::from_le_bytes([low, high]));
    Some(match kind & 0x1f {
        // An integer; an array; a structure and a union; an enumeration.
        1 => (SIZED, 1, &[None]),
        3 => (SIZED, 1, &[TYPE, TYPE, None]),
        4 | 5 => (SIZED, members, &[NAME, TYPE, None]),
        6 => (SIZED, members, &[NAME, None]),
        // A forward declaration; a floating-point number.
        7 | 16 => (SIZED, 0, &[]),
        // A pointer, a name for a type, qualifiers, a function, a tag of a type.
        2 | 8..=12 | 18 => (REFERRING, 0, &[]),
        // The parameters of a function; a variable; a section; a tag; an enumeration of 64 bits.
        13 => (REFERRING, members, &[NAME, TYPE]),
        14 | 17 => (REFERRING, 1, &[None]),
        15 => (SIZED, members, &[TYPE, None, None]),
        19 => (SIZED, members, &[NAME, None, None]),
        _ => return None,
    })
}

/// The names of a section: how long they are together, and where the last one begins among them.
pub(super) fn names(section: &[u8]) -> Option<(usize, usize)> {
    types(section)?;
    let [header, offset, len] = [4, 16, 20].map(|at| u32_at(section, at));
    let start = usize::try_from(header?).ok()?;
    let start = start.checked_add(usize::try_from(offset?).ok()?)?;
    let end = start.checked_add(usize::try_from(len?).ok()?)?;
    let names = section.get(start..end)?;
    let before_last = names.get(..names.len().checked_sub(1)?)?;
    let zero = before_last.iter().rposition(|byte| *byte == 0);
    let last = zero.map_or(Some(0), |zero| zero.checked_add(1))?;
    Some((names.len(), last))
}
