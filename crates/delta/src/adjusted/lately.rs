// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far one place after another has moved, each often close to the one before.

use std::ops::RangeInclusive;

/// The places around one that have moved as far, and how far that is.
pub(super) type Around<P> = (RangeInclusive<P>, i64);

/// Remembers what was found last.
pub(super) struct Lately<P, F> {
    find: F,
    found: Option<Around<P>>,
}

impl<P: PartialOrd + Copy, F: Fn(P) -> Around<P>> Lately<P, F> {
    pub(super) const fn new(find: F) -> Self {
        Self { find, found: None }
    }

    pub(super) fn shift(&mut self, place: P) -> i64 {
        match &self.found {
            Some((around, shift)) if around.contains(&place) => *shift,
            _ => {
                let found = (self.find)(place);
                let shift = found.1;
                self.found = Some(found);
                shift
            }
        }
    }
}
