// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the numbers of types and the places of names have changed that all modules of a kernel refer to.

use std::ops::Range;

use sealroot_format::codec::Cursor;

use super::btf::{self, Refers};
use super::lately::{Around, Lately};
use super::words::{put, u32_at};
use crate::number;

/// Longest renumbering, bytes.
pub const MAX_RENUMBERING_BYTES: u32 = 1 << 20;

/// What numbers became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renumbering {
    types: Shifts,
    names: Shifts,
}

/// From each of these numbers on, ascending, so much is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shifts(pub(super) Vec<(u32, i64)>);

impl Renumbering {
    pub(super) const fn new(types: Shifts, names: Shifts) -> Self {
        Self { types, names }
    }

    /// As it stands in deltas; empty if nothing has changed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if *self != Self::default() {
            self.types.encode(&mut out);
            self.names.encode(&mut out);
        }
        out
    }

    /// Reads it; `None` if it is not one as [`Renumbering::encode`] writes them.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let renumbering = Self {
            types: Shifts::parse(&mut cursor)?,
            names: Shifts::parse(&mut cursor)?,
        };
        (cursor.rest().is_empty() && renumbering != Self::default()).then_some(renumbering)
    }

    /// Adjusts the type information that an object has at this place.
    pub(super) fn adjust(&self, object: &mut [u8], section: Range<usize>) {
        if let Some(section) = object.get_mut(section) {
            self.adjust_types(section);
        }
    }

    /// Adjusts a section of type information.
    pub(crate) fn adjust_types(&self, section: &mut [u8]) {
        if *self == Self::default() {
            return;
        }
        let old = section.to_vec();
        let [mut types, mut names] =
            [&self.types, &self.names].map(|shifts| Lately::new(|number| shifts.around(number)));
        for (at, refers) in btf::records(&old).flat_map(|record| record.words()) {
            let shifts = match refers {
                Some(Refers::ToType) => &mut types,
                Some(Refers::ToName) => &mut names,
                None => continue,
            };
            if let Some(number) = u32_at(&old, at) {
                put(section, at, renumbered(number, shifts).to_le_bytes());
            }
        }
    }
}

impl Shifts {
    /// What is added to a number.
    pub(crate) fn shift(&self, number: u32) -> i64 {
        self.around(number).1
    }

    /// The numbers around this one to which the same is added, and what that is.
    fn around(&self, number: u32) -> Around<u32> {
        let after = self.0.partition_point(|(from, _)| *from <= number);
        let next = self.0.get(after).and_then(|(from, _)| from.checked_sub(1));
        let before = after.checked_sub(1).and_then(|index| self.0.get(index));
        let (from, shift) = before.copied().unwrap_or_default();
        (from..=next.unwrap_or(u32::MAX), shift)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        number::push(out, self.0.len() as u64);
        let (mut before, mut shift_before) = (0, 0_i64);
        for (from, shift) in &self.0 {
            number::push(out, u64::from(from.wrapping_sub(before)));
            number::push(out, number::fold(shift.wrapping_sub(shift_before)));
            (before, shift_before) = (*from, *shift);
        }
    }

    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Option<Self> {
        let count = number::take(cursor)?;
        let mut shifts = Vec::new();
        let (mut from, mut shift) = (0_u32, 0_i64);
        for index in 0..count {
            let further = u32::try_from(number::take(cursor)?).ok()?;
            if further == 0 && index > 0 {
                return None;
            }
            from = from.checked_add(further)?;
            shift = shift.checked_add(number::unfold(number::take(cursor)?))?;
            shifts.push((from, shift));
        }
        Some(Self(shifts))
    }
}

/// What a number became. 0 is no number.
fn renumbered(number: u32, shifts: &mut Lately<u32, impl Fn(u32) -> Around<u32>>) -> u32 {
    if number == 0 {
        return 0;
    }
    let renumbered = i64::from(number).saturating_add(shifts.shift(number));
    u32::try_from(renumbered).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rules: J2
    #[test]
    fn a_renumbering_comes_back_and_nothing_else_does() {
        let types = Shifts(vec![(0, 0), (7, 3), (9, -4), (1 << 31, 1)]);
        let names = Shifts(vec![(12, -2)]);
        let mut lately = Lately::new(|number| types.around(number));
        assert_eq!(
            [0, 20, 6, 7, 8, 9, 1 << 31, 8].map(|number| renumbered(number, &mut lately)),
            [0, 16, 6, 10, 11, 5, (1 << 31) + 1, 11]
        );
        let apply = |shifts: &Shifts, number| {
            renumbered(number, &mut Lately::new(|number| shifts.around(number)))
        };
        assert_eq!(apply(&names, u32::MAX), u32::MAX - 2);
        assert_eq!(apply(&Shifts(vec![(0, -9)]), 3), 3);
        let renumbering = Renumbering { types, names };
        let bytes = renumbering.encode();
        assert_eq!(Renumbering::parse(&bytes), Some(renumbering));
        for len in 1..bytes.len() {
            assert_eq!(Renumbering::parse(&bytes[..len]), None, "{len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        let repeated = [2, 5, 0, 0, 0, 0];
        for wrong in [&longer[..], &[0, 0], &repeated, &[0xff; 9]] {
            assert_eq!(Renumbering::parse(wrong), None, "{wrong:x?}");
        }
        assert_eq!(Renumbering::parse(&[]), Some(Renumbering::default()));
        assert!(Renumbering::default().encode().is_empty());
    }
}
