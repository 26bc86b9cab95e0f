// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the numbers of types have changed, from modules of both kernels: what most of them say.

use std::collections::HashMap;

use super::btf::{self, Refers};
use super::elf::Elf;
use super::renumbering::{MAX_RENUMBERING_BYTES, Renumbering, Shifts};
use super::words::u32_at;
use crate::covers::{Tolerance, find_covers};

/// What stands for a record where two lists of records are compared.
const KEY_BYTES: usize = 4;

/// Gathers what pairs of modules say.
#[derive(Clone, Debug, Default)]
pub struct Learner {
    types: Votes,
    names: Votes,
}

/// What one pair of modules says.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// Numbers of the old module, and what the new one has in their place.
    references: Vec<(Refers, u32, u32)>,
    own_types: [u32; 2],
    own_names: [u32; 2],
}

#[derive(Clone, Debug, Default)]
struct Votes {
    /// For how many references a number has changed by so much.
    counts: HashMap<(u32, i64), u32>,
    /// From which numbers on a module's own begin, in both kernels.
    own: [u32; 2],
}

impl Lesson {
    /// What an old and a new module say; `None` if they have no type information.
    pub fn of(old: &[u8], new: &[u8]) -> Option<Self> {
        let [old, new] = [Types::of(old)?, Types::of(new)?];
        let mut references = Vec::new();
        for cover in find_covers(&old.keys, &new.keys, Tolerance::USUAL) {
            if cover.old % KEY_BYTES != cover.new % KEY_BYTES {
                continue;
            }
            let skipped = cover.old.next_multiple_of(KEY_BYTES) - cover.old;
            let [old_at, new_at] = [cover.old, cover.new].map(|at| (at + skipped) / KEY_BYTES);
            let count = cover.len_bytes.saturating_sub(skipped) / KEY_BYTES;
            let pairs = old.records[old_at..][..count]
                .iter()
                .zip(&new.records[new_at..][..count]);
            for (one, other) in pairs.filter(|(one, other)| one.layout == other.layout) {
                for ((at, refers), (new_at, _)) in one.words().zip(other.words()) {
                    let numbers = (u32_at(old.section, at), u32_at(new.section, new_at));
                    if let (Some(refers), (Some(old), Some(new))) = (refers, numbers)
                        && old != 0
                        && new != 0
                    {
                        references.push((refers, old, new));
                    }
                }
            }
        }
        Some(Self {
            references,
            own_types: [&old, &new].map(Types::first_own_type),
            own_names: [&old, &new].map(Types::first_own_name),
        })
    }
}

/// The type information of a module.
struct Types<'m> {
    section: &'m [u8],
    records: Vec<btf::Record>,
    /// A key for each record: what does not refer to anything.
    keys: Vec<u8>,
}

impl<'m> Types<'m> {
    fn of(module: &'m [u8]) -> Option<Self> {
        let section = &module[Elf::parse(module)?.btf()?];
        let records: Vec<_> = btf::records(section).collect();
        let keys = records.iter().flat_map(|record| key(section, record));
        Some(Self {
            section,
            keys: keys.collect(),
            records,
        })
    }

    fn largest(&self, wanted: Refers) -> u32 {
        let words = self.records.iter().flat_map(btf::Record::words);
        let wanted = words.filter(|(_, refers)| *refers == Some(wanted));
        let numbers = wanted.filter_map(|(at, _)| u32_at(self.section, at));
        numbers.max().unwrap_or(0)
    }

    /// The last types of a module are referred to by others.
    fn first_own_type(&self) -> u32 {
        let types = self.records.iter().filter(|record| record.begins_type);
        let count = u32::try_from(types.count()).unwrap_or(u32::MAX);
        (self.largest(Refers::ToType).saturating_add(1)).saturating_sub(count)
    }

    /// The last name of a module is that of something.
    fn first_own_name(&self) -> u32 {
        let last = btf::names(self.section).map_or(0, |(_, last)| last);
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        self.largest(Refers::ToName).saturating_sub(last)
    }
}

fn key(section: &[u8], record: &btf::Record) -> [u8; KEY_BYTES] {
    const FACTOR: u32 = 0x9e37_79b1;
    let plain = record.words().filter(|(_, refers)| refers.is_none());
    let words = plain.filter_map(|(at, _)| u32_at(section, at));
    let begins = u32::from(record.begins_type);
    let mix = |key: u32, word: u32| (key ^ word).wrapping_mul(FACTOR).rotate_left(15);
    words.fold(mix(begins, FACTOR), mix).to_le_bytes()
}

impl Learner {
    /// Listens to a pair of modules.
    pub fn add(&mut self, lesson: &Lesson) {
        for (refers, old, new) in &lesson.references {
            let votes = match refers {
                Refers::ToType => &mut self.types,
                Refers::ToName => &mut self.names,
            };
            let shift = i64::from(*new) - i64::from(*old);
            *votes.counts.entry((*old, shift)).or_default() += 1;
        }
        self.types.see_own(lesson.own_types);
        self.names.see_own(lesson.own_names);
    }

    /// What most say; nothing if that would be too long.
    pub fn finish(self) -> Renumbering {
        let renumbering = Renumbering::new(self.types.finish(), self.names.finish());
        if renumbering.encode().len() > MAX_RENUMBERING_BYTES as usize {
            return Renumbering::default();
        }
        renumbering
    }
}

impl Votes {
    fn see_own(&mut self, first: [u32; 2]) {
        for (own, first) in self.own.iter_mut().zip(first) {
            *own = first.max(*own);
        }
    }

    /// Up to a module's own a number changes as the one before, unless most say otherwise. From there on
    /// all change in the same way.
    fn finish(self) -> Shifts {
        let mut counts: Vec<_> = self.counts.into_iter().collect();
        counts.sort_unstable();
        let [own, own_now] = self.own;
        let mut shifts = Vec::new();
        let mut present = 0;
        let of_all = |((number, _), _): &((u32, i64), u32)| *number < own;
        counts.retain(of_all);
        for votes in counts.chunk_by(|((one, _), _), ((other, _), _)| one == other) {
            let count = |shift: i64| {
                let vote = votes.iter().find(|((_, of), _)| *of == shift);
                vote.map_or(0, |(_, count)| *count)
            };
            let most = votes.iter().max_by_key(|(_, count)| *count);
            if let Some(((number, shift), most)) = most
                && *most > count(present)
            {
                present = *shift;
                shifts.push((*number, present));
            }
        }
        let shift_of_own = i64::from(own_now) - i64::from(own);
        if shift_of_own != present {
            shifts.push((own, shift_of_own));
        }
        Shifts(shifts)
    }
}
