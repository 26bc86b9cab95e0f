// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches of several objects in one group, to be compressed together (docs/format/patch.md).

use crate::covers::Cover;
use crate::number;

/// Bytes that agree are written as a number only if at least so many come in a row: among others, what
/// follows what is plainer for a compressor if the zeros stay.
const MIN_RUN_BYTES: usize = 16;

/// A group to which patches are added.
#[derive(Clone, Debug, Default)]
pub struct GroupWriter {
    controls: Vec<u8>,
    residues: Vec<u8>,
    literals: Vec<u8>,
}

impl GroupWriter {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// About how long the group is.
    pub fn len_bytes(&self) -> usize {
        self.controls.len() + self.residues.len() + self.literals.len()
    }

    /// Adds the patch that makes `new` of `old`. The covers are those of these two, ascending and
    /// without overlaps, as [`crate::find_covers`] finds them; there may be none.
    pub fn push(&mut self, old: &[u8], new: &[u8], covers: &[Cover]) {
        self.control(covers.len());
        let (mut end, mut old_end) = (0, 0);
        for cover in covers {
            let gap = cover.new - end;
            self.control(gap);
            self.literals.extend_from_slice(&new[end..cover.new]);
            let moved = to_i64(cover.old) - to_i64(old_end + gap);
            number::push(&mut self.controls, number::fold(moved));
            self.control(cover.len_bytes);
            end = cover.new + cover.len_bytes;
            old_end = cover.old + cover.len_bytes;
            self.push_residue(&old[cover.old..old_end], &new[cover.new..end]);
        }
        self.literals.extend_from_slice(&new[end..]);
    }

    /// In turns, how many bytes agree, and how many differ, or differ among those that agree.
    fn push_residue(&mut self, old: &[u8], new: &[u8]) {
        let differs = |at: &usize| old[*at] != new[*at];
        let mut at = 0;
        loop {
            let start = (at..new.len()).find(differs).unwrap_or(new.len());
            self.control(start - at);
            if start == new.len() {
                return;
            }
            at = start + 1;
            for next in start + 1..new.len() {
                if differs(&next) {
                    at = next + 1;
                } else if next + 1 - at >= MIN_RUN_BYTES {
                    break;
                }
            }
            self.control(at - start);
            let pairs = old[start..at].iter().zip(&new[start..at]);
            self.residues
                .extend(pairs.map(|(old, new)| new.wrapping_sub(*old)));
            if at == new.len() {
                return;
            }
        }
    }

    fn control(&mut self, number: usize) {
        number::push(&mut self.controls, number as u64);
    }

    /// The group.
    pub fn finish(self) -> Vec<u8> {
        let mut group = Vec::with_capacity(self.len_bytes() + 20);
        number::push(&mut group, self.controls.len() as u64);
        number::push(&mut group, self.residues.len() as u64);
        group.extend(self.controls);
        group.extend(self.residues);
        group.extend(self.literals);
        group
    }
}

fn to_i64(position: usize) -> i64 {
    i64::try_from(position).expect("no string is that long")
}
