// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where before a match the same bytes stand (docs/format/opened.md 5): the source of most matches,
//! since compressors take the nearest one.

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

impl Nearest {
    pub(super) fn new() -> Self {
        Self {
            content: Recent::default(),
            block: 0,
            shortest: Places::last(),
            short: Places::all(),
            long: Places::all(),
        }
    }

    /// Appends a block to the content.
    pub(super) fn push(&mut self, block: &[u8]) {
        self.block = self.content.end();
        self.shortest.know(&self.content, self.block);
        self.short.know(&self.content, self.block);
        self.long.know(&self.content, self.block);
        self.content.push(block);
    }

    /// How far before a match, given by where in the last block it begins and its length, the same bytes stand.
    /// Later ones MUST be asked for later.
    pub(super) fn distance(&mut self, at: u32, length: u32) -> Option<u32> {
        let place = self.block.checked_add(at as usize)?;
        let copied = self.content.from(place)?.get(..length as usize)?;
        match copied.len() {
            LONG_BYTES.. => self.long.distance(&self.content, place, copied),
            SHORT_BYTES.. => self.short.distance(&self.content, place, copied),
            _ => self.shortest.distance(&self.content, place, copied),
        }
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
    /// For each hash, one more than the last place that has it; 0 if none has.
    last: Vec<u32>,
    /// For each place in the window, if more than the last are known, the same of the one before it that has
    /// its hash. As long as the content, up to the window: most frames are short.
    before: Option<Vec<u32>>,
}

impl<const BYTES: usize> Places<BYTES> {
    /// Of each hash the last one only.
    fn last() -> Self {
        Self {
            known: 0,
            last: vec![0; 1 << HASH_BITS],
            before: None,
        }
    }

    /// All that are in the window.
    fn all() -> Self {
        Self {
            before: Some(Vec::new()),
            ..Self::last()
        }
    }

    /// Has places known before this one, as far as all that is hashed is there.
    fn know(&mut self, content: &Recent, end: usize) -> Option<()> {
        let hashed_end = end.checked_add(BYTES)?.checked_sub(1)?.min(content.end());
        let len = hashed_end.checked_sub(self.known)?;
        let hashed = content.from(self.known)?.get(..len)?.windows(BYTES);
        let first = u32::try_from(self.known).ok()?;
        self.known = self.known.checked_add(hashed.len())?;
        for (bytes, place) in hashed.zip(first..) {
            let last = self.last.get_mut(hash::<BYTES>(bytes)?)?;
            let before = std::mem::replace(last, place.wrapping_add(1));
            if let Some(all) = &mut self.before {
                match all.get_mut(in_window(place)) {
                    Some(slot) => *slot = before,
                    None => all.push(before),
                }
            }
        }
        Some(())
    }

    /// How far before a place what is copied there stands, too.
    fn distance(&mut self, content: &Recent, place: usize, copied: &[u8]) -> Option<u32> {
        self.know(content, place);
        let mut next = *self.last.get(hash::<BYTES>(copied)?)?;
        for _ in 0..MAX_PLACES {
            let candidate = next.checked_sub(1)?;
            let distance = place.checked_sub(candidate as usize)?;
            if distance > WINDOW_BYTES {
                return None;
            }
            if content.from(candidate as usize)?.starts_with(copied) {
                return u32::try_from(distance).ok();
            }
            next = *self.before.as_ref()?.get(in_window(candidate))?;
        }
        None
    }
}

/// Where in the window a place is remembered.
const fn in_window(place: u32) -> usize {
    place as usize & (WINDOW_BYTES - 1)
}

/// The hash of the first bytes.
fn hash<const BYTES: usize>(bytes: &[u8]) -> Option<usize> {
    let mut word = [0; 8];
    word.first_chunk_mut::<BYTES>()?
        .copy_from_slice(bytes.first_chunk::<BYTES>()?);
    let product = u64::from_le_bytes(word).wrapping_mul(FACTOR);
    Some((product >> (u64::BITS - HASH_BITS)) as usize)
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
            3 => hash::<3>(&content[at..]),
            4 => hash::<4>(&content[at..]),
            _ => hash::<6>(&content[at..]),
        };
        let same = (0..start).rev().filter(|at| hash_at(*at) == hash_at(start));
        let mut near = same.take(most).take_while(|at| start - at <= WINDOW_BYTES);
        let found = near.find(|at| content[*at..].starts_with(&content[start..end]));
        found.map(|at| start - at)
    }

    /// How far before a match, given by where it begins in the last block, the same stands.
    fn distance(nearest: &mut Nearest, at: usize, length: usize) -> Option<usize> {
        let [at, length] = [at, length].map(|number| u32::try_from(number).expect("short"));
        let distance = nearest.distance(at, length)?;
        Some(distance as usize)
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
            let within = |(start, _): &&(usize, usize)| (block..block_end).contains(start);
            for (start, end) in matches.iter().filter(within) {
                let distance = distance(&mut nearest, start - block, end - start);
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
            assert_eq!(distance(&mut nearest, at, WORD.len()), expected);
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
            distance(&mut nearest, WORD.len() + others.len(), WORD.len())
        };
        let most = MAX_PLACES - 1;
        assert_eq!(behind(most), Some(WORD.len() + 7 * most));
        assert_eq!(behind(most + 1), None);
    }

    // Rules: O13, O14
    #[test]
    fn hashes_and_bounds_are_as_written() {
        let page = include_str!("../../../../../docs/format/opened.md");
        let hashes = [hash::<6>(b"linux!"), hash::<4>(b"linu"), hash::<3>(b"lin")];
        for hash in hashes {
            let hash = hash.expect("long enough");
            assert!(page.contains(&format!("`{hash:05x}`")), "{hash:05x}");
        }
        assert!(page.contains(&format!("`{FACTOR:016x}`")));
        assert!(page.contains(&format!("one on: {MAX_PLACES} of them")));
        assert_eq!(WINDOW_BYTES, 4_194_304);
        assert!(page.contains("4,194,304"));
    }
}
