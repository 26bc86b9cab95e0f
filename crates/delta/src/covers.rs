// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which pieces of a new byte string stand nearly so in an old one.

use crate::index::{Index, Match, common_prefix};

/// A piece of the new string that is nearly a piece of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Where it begins in the old string.
    pub old: usize,
    /// Where it begins in the new string.
    pub new: usize,
    /// Its length in both.
    pub len_bytes: usize,
}

/// A match that begins a cover has at least this many bytes.
const MIN_MATCH_BYTES: usize = 12;

/// A match that continues where the cover before would, is worth a cover from this length on.
const MIN_SAME_BYTES: usize = 6;

/// So far a match elsewhere must be longer than one that goes on as before.
const WORTH_MOVING_BYTES: usize = 8;

/// A cover is extended over differences until this many more bytes differed than agreed.
const MAX_DROP: i32 = 48;

/// After each block of so many bytes that a cover is extended by, it is seen whether more agrees elsewhere,
/// if too many of them differed.
const BLOCK_BYTES: usize = 32;

/// Elsewhere is where the longest match is, of at least so many bytes.
const MIN_ELSEWHERE_BYTES: usize = 6;

/// So many bytes tell where more agrees.
const WINDOW_BYTES: usize = 256;

/// Which differences are believed to be some. Most of an object file is zeros, which agree with one another
/// wherever they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// Of 32 bytes, so many that differ have it seen whether more agrees elsewhere.
    pub suspicious_bytes: usize,
    /// Of 256 bytes, so many more must agree there.
    pub worth_leaving_bytes: usize,
}

impl Tolerance {
    /// For contents that changed.
    pub const USUAL: Self = Self {
        suspicious_bytes: 5,
        worth_leaving_bytes: 16,
    };

    /// For tables that are expected to agree: each difference may be the first of an entry that came in
    /// between.
    pub const STRICT: Self = Self {
        suspicious_bytes: 1,
        worth_leaving_bytes: 4,
    };
}

/// Where there is nothing alike for long, positions are left out: at most this many at a time.
const MAX_STEP: usize = 4;

/// So many positions without a match are looked at before more are left out.
const PATIENCE: usize = 256;

/// The covers of `new`, ascending and without overlaps.
pub fn find_covers(old: &[u8], new: &[u8], tolerance: Tolerance) -> Vec<Cover> {
    let mut finder = Finder {
        tolerance,
        old,
        new,
        index: Index::new(old),
        covers: Vec::new(),
        end: 0,
        old_end: 0,
    };
    finder.run();
    finder.covers
}

struct Finder<'a> {
    tolerance: Tolerance,
    old: &'a [u8],
    new: &'a [u8],
    index: Index<'a>,
    covers: Vec<Cover>,
    /// Where the last cover ends in the new string and in the old one.
    end: usize,
    old_end: usize,
}

impl Finder<'_> {
    fn run(&mut self) {
        let mut at = 0;
        let mut missed = 0;
        while at < self.new.len() {
            if let Some(found) = self.match_at(at) {
                self.add(at, found);
                at = self.end;
                missed = 0;
            } else {
                missed += 1;
                at += (missed / PATIENCE + 1).min(MAX_STEP);
            }
        }
    }

    /// What is worth a cover at this position of the new string.
    fn match_at(&self, at: usize) -> Option<Match> {
        let wanted = &self.new[at..];
        let same = self.old_end + (at - self.end);
        let same = Match {
            position: same,
            len_bytes: self
                .old
                .get(same..)
                .map_or(0, |old| common_prefix(old, wanted)),
        };
        if same.len_bytes >= MIN_MATCH_BYTES + WORTH_MOVING_BYTES {
            return Some(same);
        }
        let longest = self.index.longest(wanted);
        if same.len_bytes >= MIN_SAME_BYTES
            && longest.len_bytes < same.len_bytes + WORTH_MOVING_BYTES
        {
            return Some(same);
        }
        (longest.len_bytes >= MIN_MATCH_BYTES).then_some(longest)
    }

    fn add(&mut self, at: usize, found: Match) {
        let before = self.extend_backwards(at, found.position);
        let after = self.extend_forwards(at + found.len_bytes, found.position + found.len_bytes);
        let cover = Cover {
            old: found.position - before,
            new: at - before,
            len_bytes: before + found.len_bytes + after,
        };
        self.end = cover.new + cover.len_bytes;
        self.old_end = cover.old + cover.len_bytes;
        match self.covers.last_mut() {
            Some(last)
                if last.new + last.len_bytes == cover.new
                    && last.old + last.len_bytes == cover.old =>
            {
                last.len_bytes += cover.len_bytes;
            }
            _ => self.covers.push(cover),
        }
    }

    fn extend_forwards(&self, new: usize, old: usize) -> usize {
        let mut extension = Extension::default();
        let mut differing = 0;
        for (old_byte, new_byte) in self.old[old..].iter().zip(&self.new[new..]) {
            let agrees = old_byte == new_byte;
            differing += usize::from(!agrees);
            if !extension.goes_on(agrees) {
                break;
            }
            let len = extension.len_bytes;
            if len.is_multiple_of(BLOCK_BYTES) {
                if differing >= self.tolerance.suspicious_bytes
                    && self.is_better_elsewhere(new + len, old + len)
                {
                    break;
                }
                differing = 0;
            }
        }
        extension.best_len_bytes
    }

    fn extend_backwards(&self, new: usize, old: usize) -> usize {
        let mut extension = Extension::default();
        let (old, new) = (&self.old[..old], &self.new[self.end..new]);
        let mut pairs = old.iter().rev().zip(new.iter().rev());
        while let Some((old, new)) = pairs.next()
            && extension.goes_on(old == new)
        {}
        extension.best_len_bytes
    }

    /// Whether what follows in the new string agrees more with another place of the old one.
    fn is_better_elsewhere(&self, new: usize, old: usize) -> bool {
        let found = self.index.longest(&self.new[new..]);
        found.position != old
            && found.len_bytes >= MIN_ELSEWHERE_BYTES
            && self.agreement(new, found.position)
                > self.agreement(new, old) + self.tolerance.worth_leaving_bytes
    }

    fn agreement(&self, new: usize, old: usize) -> usize {
        let pairs = self.old[old..].iter().zip(&self.new[new..]);
        let agree = |(old, new): &(&u8, &u8)| old == new;
        pairs.take(WINDOW_BYTES).filter(agree).count()
    }
}

/// How far to go for the most agreement.
#[derive(Default)]
struct Extension {
    len_bytes: usize,
    /// How many more bytes agreed than differed.
    score: i32,
    best_score: i32,
    best_len_bytes: usize,
}

impl Extension {
    /// Counts a byte; whether more may be gained by the next.
    fn goes_on(&mut self, agrees: bool) -> bool {
        self.len_bytes += 1;
        self.score += if agrees { 1 } else { -1 };
        if self.score > self.best_score {
            (self.best_score, self.best_len_bytes) = (self.score, self.len_bytes);
        }
        self.best_score - self.score <= MAX_DROP
    }
}
