// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where before a place of the content the same bytes stand (docs/format/opened.md 4): the source of
//! nearly every match, since compressors take the nearest one.

use std::io;

use sealroot_format::erofs::ReadAt;

/// How many bytes of a match are compared: the most of these that it has.
const LENGTHS: [usize; 11] = [3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32];

/// The largest of them.
const MAX_LENGTH: usize = 32;

/// Of each byte, and the one before, the hash is this often more.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Places of so many different hashes are remembered.
const MAX_HASHES: usize = 1 << 21;

/// The logarithm of how many slots a table has at first.
const FIRST_SLOTS_LOG: u32 = 10;

/// A hash whose bit is not set, at as many of its highest bits, is not looked for.
const FILTER_LOG: u32 = 20;
const FILTER_SHIFT: u32 = u32::BITS - FILTER_LOG;
const FILTER_WORDS: usize = (1 << FILTER_LOG) / u64::BITS as usize;

/// Stands for no hash; that one is taken for the next.
const NO_HASH: u32 = 0;

/// How many bytes of a match of this length are compared, and which of [`LENGTHS`] that is.
fn compared(length: u32) -> Option<(usize, usize)> {
    let after = LENGTHS.partition_point(|least| *least <= length as usize);
    let index = after.checked_sub(1)?;
    Some((index, *LENGTHS.get(index)?))
}

/// The sum over the bytes up to the next one.
fn next_sum(sum: u64, byte: u8) -> u64 {
    sum.wrapping_add(u64::from(byte))
        .wrapping_add(1)
        .wrapping_mul(FACTOR)
}

/// What is looked for, and where each was seen last.
#[derive(Debug)]
pub(super) struct Nearest {
    /// For each of [`LENGTHS`].
    tables: [Table; LENGTHS.len()],
    count: usize,
}

impl Nearest {
    pub(super) fn new() -> Self {
        Self {
            tables: LENGTHS.map(|_| Table::new()),
            count: 0,
        }
    }

    /// Places of what a match has will be looked for.
    pub(super) fn add(&mut self, content: &[u8]) -> Option<()> {
        let (of, len) = compared(u32::try_from(content.len()).ok()?)?;
        let sum = content
            .get(..len)?
            .iter()
            .fold(0, |sum, byte| next_sum(sum, *byte));
        let has_room = self.count < MAX_HASHES;
        let is_new = self.tables.get_mut(of)?.add(hash_of(sum), has_room)?;
        self.count = self.count.saturating_add(usize::from(is_new));
        Some(())
    }
}

/// Hashes of one length.
#[derive(Debug)]
struct Table {
    /// Each in the slot that its highest bits say, or in the next free one.
    hashes: Vec<u32>,
    /// For each slot, one more than where its hash was seen last; 0 if it was not.
    places: Vec<u32>,
    slots_log: u32,
    count: usize,
    filter: Vec<u64>,
}

impl Table {
    fn new() -> Self {
        Self {
            hashes: vec![NO_HASH; 1 << FIRST_SLOTS_LOG],
            places: vec![0; 1 << FIRST_SLOTS_LOG],
            slots_log: FIRST_SLOTS_LOG,
            count: 0,
            filter: vec![0; FILTER_WORDS],
        }
    }

    /// Adds a hash, if there is room for it; whether it is new.
    fn add(&mut self, hash: u32, has_room: bool) -> Option<bool> {
        let slot = self.slot(hash)?;
        let there = self.hashes.get_mut(slot)?;
        if *there != NO_HASH || !has_room {
            return Some(false);
        }
        *there = hash;
        let (word, bit) = filter_place(hash);
        *self.filter.get_mut(word)? |= bit;
        self.count = self.count.checked_add(1)?;
        // A quarter at least stays free, so that searches end.
        if self.count.checked_mul(4)? > self.hashes.len().checked_mul(3)? {
            self.grow()?;
        }
        Some(true)
    }

    /// Makes room, before any place was seen.
    fn grow(&mut self) -> Option<()> {
        self.slots_log = self.slots_log.checked_add(1)?;
        let slots = 1_usize.checked_shl(self.slots_log)?;
        let old = std::mem::replace(&mut self.hashes, vec![NO_HASH; slots]);
        self.places = vec![0; slots];
        for hash in old.into_iter().filter(|hash| *hash != NO_HASH) {
            let slot = self.slot(hash)?;
            *self.hashes.get_mut(slot)? = hash;
        }
        Some(())
    }

    /// The slot of a hash, or the free one where it would be.
    fn slot(&self, hash: u32) -> Option<usize> {
        let mask = self.hashes.len().wrapping_sub(1);
        let first = hash.unbounded_shr(u32::BITS.saturating_sub(self.slots_log));
        let mut slot = first as usize & mask;
        loop {
            let there = *self.hashes.get(slot)?;
            if there == hash || there == NO_HASH {
                return Some(slot);
            }
            slot = slot.wrapping_add(1) & mask;
        }
    }

    /// Whether a hash may be looked for.
    fn may_have(&self, hash: u32) -> bool {
        let (word, bit) = filter_place(hash);
        self.filter.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Remembers a place, if it is looked for. What is not, has the slot of nothing.
    fn saw(&mut self, hash: u32, place: u32) -> Option<()> {
        let slot = self.slot(hash)?;
        *self.places.get_mut(slot)? = place.wrapping_add(1);
        Some(())
    }

    /// Where a hash was seen last.
    fn last(&self, hash: u32) -> Option<u32> {
        let slot = self.slot(hash)?;
        let is_known = *self.hashes.get(slot)? != NO_HASH;
        self.places.get(slot)?.checked_sub(1).filter(|_| is_known)
    }
}

fn filter_place(hash: u32) -> (usize, u64) {
    let bit = hash >> FILTER_SHIFT;
    ((bit >> 6) as usize, 1_u64.wrapping_shl(bit & 63))
}

/// The upper half of a sum.
fn hash_of(sum: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = sum.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).max(NO_HASH + 1)
}

/// Goes through a content from front to back, block by block.
pub(super) struct Scan<'s> {
    nearest: Nearest,
    source: &'s dyn ReadAt,
    /// Where the content begins in the source, and how long it is.
    start: u64,
    len: u64,
    /// Where the next block begins.
    at: u32,
    /// The present block, and what is compared behind it.
    bytes: Vec<u8>,
    /// The sums up to each of these bytes, and the last one's.
    sums: Vec<u64>,
    /// The places of the block that may be the last ones when somebody asks.
    visible: Vec<u32>,
    /// Those that may be looked for, for one length: hash and place.
    wanted: Vec<(u32, u32)>,
    /// For each of [`LENGTHS`], the places that are asked about, and the numbers of the questions.
    asked: [Vec<(u32, usize)>; LENGTHS.len()],
    /// The answers.
    distances: Vec<Option<u32>>,
}

impl<'s> Scan<'s> {
    pub(super) fn new(nearest: Nearest, source: &'s dyn ReadAt, start: u64, len: u64) -> Self {
        Self {
            nearest,
            source,
            start,
            len,
            at: 0,
            bytes: Vec::new(),
            sums: Vec::new(),
            visible: Vec::new(),
            wanted: Vec::new(),
            asked: Default::default(),
            distances: Vec::new(),
        }
    }

    /// Goes through the next block, of `len` bytes. For each of these matches, given by where it begins in
    /// the block, ascending, and its length: how far before it the same stands for the last time.
    pub(super) fn distances(
        &mut self,
        len: usize,
        matches: impl Iterator<Item = (u32, u32)>,
    ) -> io::Result<&[Option<u32>]> {
        self.load(len)?;
        self.distances.clear();
        self.asked.iter_mut().for_each(Vec::clear);
        self.visible.clear();
        let mut done = 0;
        for (place, length) in matches {
            self.find_visible(done, place);
            done = place;
            let of = compared(length).and_then(|(of, _)| self.asked.get_mut(of));
            if let Some(asked) = of {
                asked.push((place, self.distances.len()));
            }
            self.distances.push(None);
        }
        self.find_visible(done, u32::try_from(len).unwrap_or(u32::MAX));
        for of in 0..LENGTHS.len() {
            self.see(of);
        }
        self.at = self
            .at
            .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        Ok(&self.distances)
    }

    /// Has a block in memory, with all that is compared there.
    fn load(&mut self, len: usize) -> io::Result<()> {
        let left = self.len.saturating_sub(self.at.into());
        let most = len.saturating_add(MAX_LENGTH);
        let len = usize::try_from(left).map_or(most, |left| left.min(most));
        self.bytes.resize(len, 0);
        let position = self.start.saturating_add(self.at.into());
        self.source.read_exact_at(&mut self.bytes, position)?;
        self.sums.clear();
        self.sums.push(0);
        let mut sum = 0;
        for byte in &self.bytes {
            sum = next_sum(sum, *byte);
            self.sums.push(sum);
        }
        Ok(())
    }

    /// Of the places from one to another, at which somebody asks, those at which not all that is
    /// compared is the same as at the next one.
    fn find_visible(&mut self, from: u32, to: u32) {
        let end = (to as usize)
            .saturating_add(MAX_LENGTH)
            .min(self.bytes.len());
        let bytes = self.bytes.get(from as usize..end).unwrap_or_default();
        let mut run = 0_usize;
        for (place, index) in (from..to).zip(0..) {
            // So often the byte here is repeated.
            if run == 0 {
                let here = bytes.get(index..).unwrap_or_default();
                let first = here.first();
                run = here.iter().take_while(|byte| Some(*byte) == first).count();
            }
            if run <= MAX_LENGTH || index == 0 || place.saturating_add(1) == to {
                self.visible.push(place);
            }
            run = run.saturating_sub(1);
        }
    }

    /// Goes through the block for one of the lengths.
    fn see(&mut self, of: usize) -> Option<()> {
        let table = self.nearest.tables.get_mut(of)?;
        let wanted = wanted(
            table,
            *LENGTHS.get(of)?,
            &self.sums,
            &self.visible,
            &mut self.wanted,
        );
        let mut asked = self.asked.get(of)?.iter().peekable();
        for (hash, index) in wanted? {
            let place = self.at.saturating_add(*index);
            while asked.next_if(|(asked, _)| asked < index).is_some() {}
            if let Some((_, number)) = asked.next_if(|(asked, _)| asked == index) {
                let last = table.last(*hash).and_then(|last| place.checked_sub(last));
                *self.distances.get_mut(*number)? = last;
            }
            table.saw(*hash, place);
        }
        Some(())
    }
}

/// Which of these places, by their hashes and indices, may be looked for. Apart from looking for them,
/// so that a processor can do several at once.
fn wanted<'w>(
    table: &Table,
    length: usize,
    sums: &[u64],
    visible: &[u32],
    wanted: &'w mut Vec<(u32, u32)>,
) -> Option<&'w [(u32, u32)]> {
    let power = (0..length).fold(1, |power: u64, _| power.wrapping_mul(FACTOR));
    let ends = sums.get(length..).unwrap_or_default();
    wanted.clear();
    wanted.resize(visible.len(), (0, 0));
    let mut count = 0_usize;
    for index in visible {
        let (before, end) = (sums.get(*index as usize)?, ends.get(*index as usize));
        let Some(end) = end else { break };
        let hash = hash_of(end.wrapping_sub(before.wrapping_mul(power)));
        *wanted.get_mut(count)? = (hash, *index);
        count = count.wrapping_add(usize::from(table.may_have(hash)));
    }
    wanted.get(..count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few letters, in long runs here and there.
    fn content(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut content = Vec::new();
        while content.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let run = if state >> 26 == 0 { 90 } else { 1 };
            content.extend(std::iter::repeat_n(b'a' + (state >> 30) as u8, run));
        }
        content.truncate(len);
        content
    }

    /// Matches of all lengths, by where they begin and end.
    fn matches(len: usize) -> Vec<(usize, usize)> {
        let (mut matches, mut at, mut length) = (Vec::new(), 5, 3);
        while at + length < len {
            matches.push((at, at + length));
            at += length + length % 3;
            length = 3 + (length * 7 + at) % 45;
        }
        matches
    }

    // Rules: O13, O14
    #[test]
    fn the_nearest_place_is_found() {
        let content = content(20_000);
        let matches = matches(content.len());
        let mut nearest = Nearest::new();
        for (start, end) in &matches {
            nearest.add(&content[*start..*end]).expect("long enough");
        }
        let source = [&[0; 9][..], &content].concat();
        let mut scan = Scan::new(nearest, &source, 9, content.len() as u64);
        let mut block = 0;
        let mut found = 0;
        while block < content.len() {
            // Blocks end where matches begin.
            let begins = |(start, _): &&(usize, usize)| *start >= block + 900;
            let end = matches
                .iter()
                .find(begins)
                .map_or(content.len(), |(start, _)| *start);
            let within = matches
                .iter()
                .filter(|(start, _)| (block..end).contains(start));
            let within: Vec<_> = within.collect();
            let places = within.iter().map(|(start, end)| {
                let place = u32::try_from(start - block).expect("short");
                (place, u32::try_from(end - start).expect("short"))
            });
            let distances = scan.distances(end - block, places).expect("memory");
            for ((start, end), distance) in within.iter().zip(distances) {
                let is_within = |len: &&usize| **len <= end - start;
                let len = LENGTHS.iter().rev().find(is_within).expect("at least 3");
                let same = |at: &usize| content[*at..at + len] == content[*start..start + len];
                let last = (0..*start).rev().find(same);
                let expected = last.map(|last| u32::try_from(start - last).expect("short"));
                assert_eq!(*distance, expected, "{start} to {end}");
                found += usize::from(last.is_some());
            }
            block = end;
        }
        assert!(found > 300, "{found} of {}", matches.len());
    }

    // Rules: O13
    #[test]
    fn the_hash_is_as_written() {
        let page = include_str!("../../../../../docs/format/opened.md");
        let sum = b"vmlinux".iter().fold(0, |sum, byte| next_sum(sum, *byte));
        assert!(
            page.contains(&format!("`{:08x}`", hash_of(sum))),
            "{:08x}",
            hash_of(sum)
        );
        assert!(page.contains(&format!("`{FACTOR:016x}`")));
        let lengths = LENGTHS.map(|length| length.to_string()).join(", ");
        assert!(page.contains(&lengths), "{lengths}");
    }

    // Rules: O14
    #[test]
    fn only_so_many_hashes_are_looked_for() {
        let mut nearest = Nearest::new();
        for number in 0..=MAX_HASHES as u64 {
            nearest.add(&number.to_le_bytes()).expect("long enough");
        }
        assert!(nearest.count <= MAX_HASHES);
        let mut table = Table::new();
        assert_eq!(table.add(7, false), Some(false));
        assert_eq!(table.add(7, true), Some(true));
        assert_eq!(table.add(7, true), Some(false));
    }
}
