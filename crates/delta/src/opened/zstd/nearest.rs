// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where before a match the same bytes stand (docs/format/opened.md 5): the source of most matches,
//! since compressors take the nearest one.

use super::block::MAX_BLOCK_BYTES;

/// How far back places are looked for, bytes: a power of two.
const WINDOW_BYTES: usize = 1 << 22;

/// So many places are tried, of those that have the hash of the match's first bytes.
const MAX_PLACES: usize = 16;

/// How many bytes that are: of the shortest matches, of short ones, and of others.
const SHORTEST_BYTES: usize = 3;
const SHORT_BYTES: usize = 4;
const LONG_BYTES: usize = 6;

/// The bits of a hash: the highest ones of the bytes, the last of them highest, times this.
const HASH_BITS: u32 = 17;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The bits of a place: no frame has more content (docs/format/opened.md 6).
const PLACE_BITS: u32 = 28;

/// The content so far, as much of it as places are looked for in, and where they are.
#[derive(Debug)]
pub(super) struct Nearest {
    content: Recent,
    /// Where the last block begins.
    block: usize,
    shortest: Places<SHORTEST_BYTES>,
    short: Places<SHORT_BYTES>,
    long: Places<LONG_BYTES>,
}

/// A match of the last block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    /// Where in the block it begins.
    pub(super) at: u32,
    pub(super) length: u32,
}

impl Match {
    /// Those of a block that are sought: of each, how many literals come before it, its length, and whether it is.
    pub(super) fn sought(block: impl Iterator<Item = (u32, u32, bool)>) -> Vec<Self> {
        let mut end = 0_u32;
        let matches = block.filter_map(|(literals, length, is_sought)| {
            let at = end.saturating_add(literals);
            end = at.saturating_add(length);
            is_sought.then_some(Self { at, length })
        });
        matches.collect()
    }
}

impl Nearest {
    pub(super) fn new() -> Self {
        Self {
            content: Recent::default(),
            block: 0,
            shortest: Places::last(),
            short: Places::some(),
            long: Places::some(),
        }
    }

    /// Appends a block to the content.
    pub(super) fn push(&mut self, block: &[u8]) {
        self.block = self.content.end();
        self.content.push(block);
        self.shortest.know(&self.content);
        self.short.know(&self.content);
        self.long.know(&self.content);
    }

    /// How far before each of these matches the same bytes stand.
    pub(super) fn distances(&self, matches: &[Match]) -> Vec<Option<u32>> {
        let mut distances = vec![None; matches.len()];
        let (mut shortest, mut short, mut long) = (Vec::new(), Vec::new(), Vec::new());
        for (one, distance) in matches.iter().zip(&mut distances) {
            let place = self.block.saturating_add(one.at as usize);
            let behind = self.content.from(place).unwrap_or_default();
            let copied = behind.get(..one.length as usize).unwrap_or_default();
            match copied.len() {
                LONG_BYTES.. => long.extend(self.long.search(place, copied, distance)),
                SHORT_BYTES.. => short.extend(self.short.search(place, copied, distance)),
                _ => shortest.extend(self.shortest.search(place, copied, distance)),
            }
        }
        self.shortest.find(&self.content, shortest);
        self.short.find(&self.content, short);
        self.long.find(&self.content, long);
        distances
    }
}

/// What came last of the content.
#[derive(Debug, Default)]
struct Recent {
    bytes: Vec<u8>,
    /// How much came before that.
    dropped: usize,
}

impl Recent {
    fn end(&self) -> usize {
        self.dropped.saturating_add(self.bytes.len())
    }

    /// Appends bytes. Those of a window before them stay.
    fn push(&mut self, bytes: &[u8]) {
        let surplus = self.bytes.len().saturating_sub(WINDOW_BYTES);
        if surplus >= WINDOW_BYTES {
            self.bytes.drain(..surplus);
            self.dropped = self.dropped.saturating_add(surplus);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What is there from a place on.
    fn from(&self, place: usize) -> Option<&[u8]> {
        self.bytes.get(place.checked_sub(self.dropped)?..)
    }
}

/// Places by the hash of as many bytes there.
#[derive(Debug)]
struct Places<const BYTES: usize> {
    /// Those from here on are not known yet.
    known: usize,
    /// For each hash, the last place that has it.
    last: Vec<Mark>,
    /// For each place, the one before it that has its hash: a ring, of which only what was needed so far is there,
    /// since most frames are short.
    before: Vec<Mark>,
    ring: usize,
    /// So many places are tried.
    tries: usize,
}

/// The way from one place to the one before it, for a match.
struct Search<'c> {
    place: usize,
    copied: &'c [u8],
    /// What a place is marked with that may have the same.
    sought: Mark,
    /// What is tried next.
    next: Mark,
    distance: &'c mut Option<u32>,
}

impl<const BYTES: usize> Places<BYTES> {
    /// For places of the last block, the one before them.
    fn last() -> Self {
        Self::new(MAX_BLOCK_BYTES, 1)
    }

    /// For places of the last block, some of those in the window before them.
    fn some() -> Self {
        Self::new(WINDOW_BYTES + MAX_BLOCK_BYTES, MAX_PLACES)
    }

    fn new(ring: usize, tries: usize) -> Self {
        Self {
            known: 0,
            last: vec![Mark::NONE; 1 << HASH_BITS],
            before: Vec::new(),
            ring,
            tries,
        }
    }

    /// Has all places known at which all that is hashed is there.
    fn know(&mut self, content: &Recent) {
        while let Some(known) = self.know_to_ring_end(content) {
            self.known = known;
        }
    }

    /// Has those known up to the end of the ring; the first one behind. `None` if there are no more.
    fn know_to_ring_end(&mut self, content: &Recent) -> Option<usize> {
        let hashed = content.from(self.known)?.windows(BYTES);
        let start = self.known.checked_rem(self.ring)?;
        let end = start.saturating_add(hashed.len()).min(self.ring);
        let known = self.known.checked_add(end.checked_sub(start)?)?;
        if start == end || known >> PLACE_BITS > 0 {
            return None;
        }
        if self.before.len() < end {
            self.before.resize(end, Mark::NONE);
        }
        let slots = self.before.get_mut(start..end)?;
        let places = u32::try_from(self.known).ok()?..;
        for ((bytes, place), slot) in hashed.zip(places).zip(slots) {
            let product = product::<BYTES>(bytes)?;
            let last = self.last.get_mut(hash(product))?;
            *slot = std::mem::replace(last, Mark::new(place, product));
        }
        Some(known)
    }

    fn before(&self, place: usize) -> Option<Mark> {
        self.before.get(place.checked_rem(self.ring)?).copied()
    }

    fn search<'c>(
        &self,
        place: usize,
        copied: &'c [u8],
        distance: &'c mut Option<u32>,
    ) -> Option<Search<'c>> {
        Some(Search {
            place,
            copied,
            sought: Mark::new(0, product::<BYTES>(copied)?),
            next: self.before(place)?,
            distance,
        })
    }

    /// Goes these ways a step of each at a time: what is far away in memory then comes for many at once.
    fn find(&self, content: &Recent, mut searches: Vec<Search<'_>>) {
        for _ in 0..self.tries {
            searches.retain_mut(|search| self.step(content, search).is_some());
        }
    }

    /// Tries the next place; `None` at the end of the way.
    fn step(&self, content: &Recent, search: &mut Search<'_>) -> Option<()> {
        let candidate = search.next.place()?;
        let distance = search.place.checked_sub(candidate)?;
        if distance > WINDOW_BYTES {
            return None;
        }
        let may_be = search.next.may_have_the_bytes_of(search.sought);
        if may_be && content.from(candidate)?.starts_with(search.copied) {
            *search.distance = u32::try_from(distance).ok();
            return None;
        }
        search.next = self.before(candidate)?;
        Some(())
    }
}

/// A place and some of what its bytes are hashed from: one more than the place, and above it the bits of the
/// product that come after those of the hash. Most places that only have the same hash are so passed over without a
/// look at the content.
#[derive(Clone, Copy, Debug)]
struct Mark(u32);

impl Mark {
    const NONE: Self = Self(0);

    const fn new(place: u32, product: u64) -> Self {
        let [.., low, high] = (product << HASH_BITS).to_le_bytes();
        let above = u32::from_le_bytes([0, 0, low, high]) >> PLACE_BITS << PLACE_BITS;
        Self(above | place.wrapping_add(1))
    }

    fn place(self) -> Option<usize> {
        let one_more = self.0 & ((1 << PLACE_BITS) - 1);
        one_more.checked_sub(1).map(|place| place as usize)
    }

    /// If the bytes may be the same, the hashes being so.
    const fn may_have_the_bytes_of(self, other: Self) -> bool {
        self.0 >> PLACE_BITS == other.0 >> PLACE_BITS
    }
}

/// What the hash of the first bytes is taken from.
fn product<const BYTES: usize>(bytes: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    word.first_chunk_mut::<BYTES>()?
        .copy_from_slice(bytes.first_chunk::<BYTES>()?);
    Some(u64::from_le_bytes(word).wrapping_mul(FACTOR))
}

const fn hash(product: u64) -> usize {
    (product >> (u64::BITS - HASH_BITS)) as usize
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
            content.extend(std::iter::repeat_n(b'a' + (state >> 29) as u8, run));
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

    /// What the page says, at length.
    fn expected(content: &[u8], start: usize, end: usize) -> Option<usize> {
        let (hashed, most) = match end - start {
            3 => (3, 1),
            4 | 5 => (4, MAX_PLACES),
            _ => (6, MAX_PLACES),
        };
        let hash_at = |at: usize| match hashed {
            3 => product::<3>(&content[at..]).map(hash),
            4 => product::<4>(&content[at..]).map(hash),
            _ => product::<6>(&content[at..]).map(hash),
        };
        let same = (0..start).rev().filter(|at| hash_at(*at) == hash_at(start));
        let mut near = same.take(most).take_while(|at| start - at <= WINDOW_BYTES);
        let found = near.find(|at| content[*at..].starts_with(&content[start..end]));
        found.map(|at| start - at)
    }

    /// How far before matches, given by where they begin in the last block and their length, the same stands.
    fn distances(nearest: &Nearest, matches: &[(usize, usize)]) -> Vec<Option<usize>> {
        let short = |number| u32::try_from(number).expect("short");
        let matches = matches.iter().map(|(at, length)| Match {
            at: short(*at),
            length: short(*length),
        });
        let distances = nearest.distances(&matches.collect::<Vec<_>>());
        let long = |distance: u32| distance as usize;
        distances.into_iter().map(|one| one.map(long)).collect()
    }

    // Rules: O13, O14
    #[test]
    fn the_nearest_place_is_found() {
        let content = content(20_000);
        let matches = matches(content.len());
        let (mut nearest, mut block) = (Nearest::new(), 0);
        let (mut found, mut missed) = (0, 0);
        while block < content.len() {
            // Blocks end where matches begin.
            let begins = |(start, _): &&(usize, usize)| *start >= block + 900;
            let next = matches.iter().find(begins);
            let block_end = next.map_or(content.len(), |(start, _)| *start);
            nearest.push(&content[block..block_end]);
            let within = matches
                .iter()
                .filter(|(start, _)| (block..block_end).contains(start));
            let begins = within
                .clone()
                .map(|(start, end)| (start - block, end - start));
            let distances = distances(&nearest, &begins.collect::<Vec<_>>());
            for ((start, end), distance) in within.zip(distances) {
                assert_eq!(
                    distance,
                    expected(&content, *start, *end),
                    "{start} to {end}"
                );
                found += usize::from(distance.is_some());
                missed += usize::from(distance.is_none());
            }
            block = block_end;
        }
        assert!(found > 200 && missed > 200, "{found} found, {missed} not");
    }

    // Rules: O14
    #[test]
    fn what_is_too_far_is_not_found() {
        const WORD: &[u8] = b"seldom";
        let between = vec![0; WINDOW_BYTES - WORD.len()];
        for (more, expected) in [(&[][..], Some(WINDOW_BYTES)), (&[1], None)] {
            let content = [WORD, more, &between, WORD].concat();
            let mut nearest = Nearest::new();
            content
                .chunks(100_000)
                .for_each(|block| nearest.push(block));
            let at = (content.len() - WORD.len()) % 100_000;
            assert_eq!(distances(&nearest, &[(at, WORD.len())]), [expected]);
        }
    }

    // Rules: O14
    #[test]
    fn what_is_behind_too_many_others_is_not_found() {
        const WORD: &[u8] = b"often_!?";
        let behind = |others: usize| {
            let other = |number| [b"often_".as_slice(), &[number]].concat();
            let others: Vec<u8> = (0..=u8::MAX).take(others).flat_map(other).collect();
            let mut nearest = Nearest::new();
            nearest.push(&[WORD, &others, WORD].concat());
            distances(&nearest, &[(WORD.len() + others.len(), WORD.len())])
        };
        let most = MAX_PLACES - 1;
        assert_eq!(behind(most), [Some(WORD.len() + 7 * most)]);
        assert_eq!(behind(most + 1), [None]);
    }

    // Rules: O13, O14
    #[test]
    fn hashes_and_bounds_are_as_written() {
        let page = include_str!("../../../../../docs/format/opened.md");
        let products = [
            product::<6>(b"linux!"),
            product::<4>(b"linu"),
            product::<3>(b"lin"),
        ];
        for product in products {
            let hash = hash(product.expect("long enough"));
            assert!(page.contains(&format!("`{hash:05x}`")), "{hash:05x}");
        }
        assert!(page.contains(&format!("`{FACTOR:016x}`")));
        assert!(page.contains(&format!("one on: {MAX_PLACES} of them")));
        assert_eq!(WINDOW_BYTES, 4_194_304);
        assert!(page.contains("4,194,304"));
    }
}
