// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever two strings are: the patch between them makes the new one of the old one.

use proptest::prelude::*;
use sealroot_delta::{Cover, GroupReader, GroupWriter, Tolerance, find_covers};

/// The new strings that a group makes of the old ones.
fn apply(group: &[u8], pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut reader = GroupReader::open(group.to_vec(), 0).expect("a group");
    let apply = |(old, new): &(Vec<u8>, Vec<u8>)| {
        let mut out = Vec::new();
        let size_bytes = new.len() as u64;
        reader.apply(old, size_bytes, &mut out).expect("a patch");
        out
    };
    let made = pairs.iter().map(apply).collect();
    reader.finish().expect("nothing is left");
    made
}

fn group(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut writer = GroupWriter::new();
    for (old, new) in pairs {
        let covers = find_covers(old, new, Tolerance::USUAL);
        check(old, new, &covers);
        writer.push(old, new, &covers);
    }
    writer.finish()
}

fn check(old: &[u8], new: &[u8], covers: &[Cover]) {
    let mut end = 0;
    for cover in covers {
        assert!(cover.new >= end && cover.len_bytes > 0, "{covers:?}");
        end = cover.new + cover.len_bytes;
        assert!(cover.old + cover.len_bytes <= old.len(), "{covers:?}");
    }
    assert!(end <= new.len(), "{covers:?}");
}

/// What happens to a string from one release to the next.
#[derive(Clone, Debug)]
enum Edit {
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// Adds to a byte every so many bytes, as moved addresses do.
    Add(prop::sample::Index, usize, u8),
    Move(prop::sample::Index, prop::sample::Index, usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Insert(at, new) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, len) => {
                let at = at.index(bytes.len() + 1);
                let end = bytes.len().min(at + len);
                bytes.drain(at..end);
            }
            Self::Add(at, every, added) => {
                let at = at.index(bytes.len() + 1);
                let all = bytes[at..].iter_mut().step_by(*every).take(200);
                all.for_each(|byte| *byte = byte.wrapping_add(*added));
            }
            Self::Move(from, to, len) => {
                let from = from.index(bytes.len() + 1);
                let end = bytes.len().min(from + len);
                let moved: Vec<u8> = bytes.drain(from..end).collect();
                let to = to.index(bytes.len() + 1);
                bytes.splice(to..to, moved);
            }
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (index(), bytes).prop_map(|(at, new)| Edit::Insert(at, new)),
        (index(), 0..2000_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (index(), 1..90_usize, any::<u8>()).prop_map(|(at, every, by)| Edit::Add(at, every, by)),
        (index(), index(), 0..2000_usize).prop_map(|(from, to, len)| Edit::Move(from, to, len)),
    ]
}

fn pair() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let old = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20_000),
        prop::collection::vec(0..2_u8, 0..20_000),
        Just(Vec::new()),
    ];
    (old, prop::collection::vec(edit(), 0..12)).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for edit in edits {
            edit.apply(&mut new);
        }
        (old, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_a_group_makes_is_what_it_was_made_of(pairs in prop::collection::vec(pair(), 0..4)) {
        let made = apply(&group(&pairs), &pairs);
        for ((_, new), made) in pairs.iter().zip(&made) {
            prop_assert!(new == made);
        }
    }

    #[test]
    fn a_damaged_group_makes_no_more_than_announced(
        pairs in prop::collection::vec(pair(), 1..3),
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let mut group = group(&pairs);
        let at = at.index(group.len());
        group[at] ^= by;
        let Ok(mut reader) = GroupReader::open(group.clone(), 0) else { return Ok(()) };
        for (old, new) in &pairs {
            let mut out = Vec::new();
            let size_bytes = new.len() as u64;
            let result = reader.apply(old, size_bytes, &mut out);
            prop_assert!(out.len() <= new.len());
            if result.is_err() {
                return Ok(());
            }
            prop_assert_eq!(out.len(), new.len());
        }
    }
}

#[test]
fn a_small_change_is_a_small_patch() {
    let mut state = 1_u64;
    let old: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[7]
    })
    .take(1 << 20)
    .collect();
    let mut new = old.clone();
    new.splice(300_000..300_000, *b"something new");
    new.drain(600_000..600_100);
    for at in (700_000..900_000).step_by(1000) {
        new[at] ^= 0x40;
    }
    let pairs = [(old, new)];
    let covers = find_covers(&pairs[0].0, &pairs[0].1, Tolerance::USUAL);
    assert_eq!(covers.len(), 3, "{covers:?}");
    let group = group(&pairs);
    assert!(group.len() < 1000, "{} bytes", group.len());
    assert_eq!(apply(&group, &pairs)[0], pairs[0].1);
}
