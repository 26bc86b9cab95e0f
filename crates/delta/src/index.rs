// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in a byte string the longest piece of another one stands.

use std::ops::Range;

use libsais::SuffixArrayConstruction;

/// The longest byte string that has an index: positions are 31 bits.
pub const MAX_INDEXED_BYTES: usize = i32::MAX as usize;

/// From this length on the first three bytes lead to a part of the array, not two: a table of 64 MiB.
const LONG_BYTES: usize = 4 << 20;

/// A match: these many bytes at this position of the text are those that were looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) position: usize,
    pub(crate) len_bytes: usize,
}

/// The suffix array of a text, and where in it the suffixes with the same first bytes begin.
pub(crate) struct Index<'t> {
    text: &'t [u8],
    suffixes: Vec<i32>,
    /// The first suffix with each value of the first `prefix_bytes` bytes, and the end.
    starts: Vec<u32>,
    prefix_bytes: usize,
}

impl<'t> Index<'t> {
    /// The index of a text of at most [`MAX_INDEXED_BYTES`].
    pub(crate) fn new(text: &'t [u8]) -> Self {
        let suffixes = SuffixArrayConstruction::for_text(text)
            .in_owned_buffer32()
            .single_threaded()
            .run()
            .expect("a text of at most 2 GiB has a suffix array")
            .into_vec();
        let prefix_bytes = if text.len() < LONG_BYTES { 2 } else { 3 };
        Self {
            text,
            suffixes,
            starts: starts(text, prefix_bytes),
            prefix_bytes,
        }
    }

    /// The longest match of a prefix of `wanted`; an empty one if it would be shorter than the
    /// table's prefix.
    pub(crate) fn longest(&self, wanted: &[u8]) -> Match {
        let Some(Range { start, end }) = self.range(wanted) else {
            return Match::default();
        };
        let (mut low, mut high) = (start, end);
        let (mut common_low, mut common_high) = (self.prefix_bytes, self.prefix_bytes);
        let mut best = Match::default();
        while low < high {
            let middle = low + (high - low) / 2;
            let position = self.suffixes[middle].cast_unsigned() as usize;
            let suffix = &self.text[position..];
            let common = common_low.min(common_high).min(suffix.len());
            let len_bytes = common + common_prefix(&suffix[common..], &wanted[common..]);
            if len_bytes > best.len_bytes {
                best = Match {
                    position,
                    len_bytes,
                };
            }
            if len_bytes == wanted.len() {
                break;
            }
            let is_less = match suffix.get(len_bytes) {
                Some(byte) => *byte < wanted[len_bytes],
                None => true,
            };
            if is_less {
                low = middle + 1;
                common_low = len_bytes;
            } else {
                high = middle;
                common_high = len_bytes;
            }
        }
        best
    }

    /// The suffixes that begin as `wanted` does.
    fn range(&self, wanted: &[u8]) -> Option<Range<usize>> {
        let key = key(wanted.get(..self.prefix_bytes)?);
        let range = self.starts[key] as usize..self.starts[key + 1] as usize;
        (!range.is_empty()).then_some(range)
    }
}

/// A suffix that is shorter than the prefix counts as if zeros followed: it sorts before all others
/// with the same key then, as it does in the array.
fn starts(text: &[u8], prefix_bytes: usize) -> Vec<u32> {
    let mut starts = vec![0_u32; (1 << (8 * prefix_bytes)) + 1];
    let mut padded = [0; 3];
    for position in 0..text.len() {
        let rest = &text[position..];
        let len = rest.len().min(prefix_bytes);
        padded[..len].copy_from_slice(&rest[..len]);
        padded[len..].fill(0);
        starts[key(&padded[..prefix_bytes]) + 1] += 1;
    }
    let mut before = 0;
    for start in &mut starts {
        before += *start;
        *start = before;
    }
    starts
}

fn key(prefix: &[u8]) -> usize {
    prefix
        .iter()
        .fold(0, |key, byte| key << 8 | usize::from(*byte))
}

/// How many bytes two strings have in common at their beginning.
pub(crate) fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let len_bytes = one.len().min(other.len());
    let (one, other) = (&one[..len_bytes], &other[..len_bytes]);
    let mut common = 0;
    for (one, other) in one.chunks_exact(WORD).zip(other.chunks_exact(WORD)) {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a word"));
        let differing = word(one) ^ word(other);
        if differing != 0 {
            return common + (differing.trailing_zeros() / 8) as usize;
        }
        common += WORD;
    }
    let rest = one[common..].iter().zip(&other[common..]);
    common + rest.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Repetitive, so that many suffixes begin alike.
    fn text(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"\0ab\xff"[(state >> 30) as usize]
            })
            .collect()
    }

    #[test]
    fn the_longest_match_is_found() {
        let old = text(3000);
        let index = Index::new(&old);
        let mut new = text(5000).split_off(1500);
        new.iter_mut().step_by(37).for_each(|byte| *byte ^= 1);
        for at in 0..new.len() {
            let wanted = &new[at..];
            let lens = (0..old.len()).map(|position| common_prefix(&old[position..], wanted));
            let longest = lens.max().unwrap_or(0);
            let found = index.longest(wanted);
            if longest >= 2 {
                assert_eq!(found.len_bytes, longest, "at {at}");
                let there = &old[found.position..][..found.len_bytes];
                assert_eq!(there, &wanted[..found.len_bytes]);
            } else {
                assert_eq!(found, Match::default());
            }
        }
    }

    #[test]
    fn what_is_shorter_than_the_prefix_is_not_found() {
        for old in [&b""[..], b"a", b"ab"] {
            let index = Index::new(old);
            assert_eq!(index.longest(b""), Match::default());
            assert_eq!(index.longest(b"a"), Match::default());
        }
        assert_eq!(Index::new(b"ab").longest(b"abc").len_bytes, 2);
    }
}
