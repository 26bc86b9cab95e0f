// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chains: one delta after another, over releases that nobody wants. Of those, only what the last one
//! is made of needs to be made, or fetched.

use std::collections::HashSet;
use std::io::Read;

use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Tree;

use super::apply::Application;
use super::error::DeltaError;
use super::file::{self, FIRST_OBJECT_BASE, Header, Outline, invalid};
use super::text::Objects;
use crate::monitor::Silent;
use crate::store::{StoreIo, Transaction};

/// Stands for the new object of this number until that is made: a digest that no object has.
pub(super) fn stand_in(pack: &VerityDigest, number: u32) -> VerityDigest {
    let mut bytes = *pack.as_bytes();
    bytes[NUMBER..].copy_from_slice(&number.to_le_bytes());
    VerityDigest::from_bytes(bytes)
}

/// Where in a stand-in the number is.
const NUMBER: usize = 28;

/// The number of the new object for which this stands, if for one of the release with this pack.
fn stands_for(pack: &VerityDigest, digest: &VerityDigest) -> Option<u32> {
    let (release, number) = digest.as_bytes().split_at(NUMBER);
    let number = u32::from_le_bytes(number.try_into().ok()?);
    (release == &pack.as_bytes()[..NUMBER]).then_some(number)
}

impl<I: StoreIo> Application<'_, I> {
    /// The new tree, before any object is made. Of the delta, only the groups that make the pack are there; the old
    /// tree may be such a one itself.
    pub fn sketch(&self, delta: &mut dyn Read) -> Result<Tree, DeltaError> {
        let monitor = &Silent;
        let quietly = Self { monitor, ..*self };
        quietly.make_tree(delta, None, &|_, entry| entry.objects.is_none())
    }

    /// Makes as much of the new release as these groups of a delta do, which are all that are there. The tree is
    /// verified by nobody, and has objects that nobody has.
    pub fn apply_partly(
        &self,
        transaction: &Transaction<'_, I>,
        (delta, groups): (&mut dyn Read, &[bool]),
    ) -> Result<Tree, DeltaError> {
        let is_there = |number: usize| groups.get(number).copied().unwrap_or_default();
        self.make_tree(delta, Some(transaction), &|number, _| is_there(number))
    }
}

/// The objects that the last release of a chain is made of. What a delta is to make follows from the
/// deltas behind it, so they are looked at from the last to the first.
#[derive(Debug)]
pub struct Needed {
    digests: HashSet<VerityDigest>,
}

impl Needed {
    /// By the last release, of which this is the [sketch](Application::sketch).
    pub fn by(last: &Tree) -> Self {
        let objects = Objects::of(last).all.into_iter();
        Self {
            digests: objects.map(|(digest, _)| digest).collect(),
        }
    }

    /// Which groups of a delta make the pack or something that is needed.
    pub fn groups(&self, outline: &Outline) -> Vec<bool> {
        let digests = self.digests.iter();
        let numbers = digests.filter_map(|digest| stands_for(&outline.to, digest));
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        let groups = &outline.groups;
        let is_needed = |group: &file::Group| match &group.objects {
            None => true,
            Some(objects) => {
                let first = numbers.partition_point(|number| number < objects.start());
                numbers
                    .get(first)
                    .is_some_and(|number| objects.contains(number))
            }
        };
        let mut needed: Vec<bool> = groups.iter().map(is_needed).collect();
        // What begins in one group and ends in the next needs both.
        let goes_on = |number: usize| {
            let ends = groups[number]
                .objects
                .as_ref()
                .map(|objects| *objects.end());
            let next = groups[number + 1].objects.as_ref();
            ends.is_some() && ends == next.map(|objects| *objects.start())
        };
        let pairs = 0..groups.len().saturating_sub(1);
        for number in pairs.clone() {
            needed[number + 1] |= needed[number] && goes_on(number);
        }
        for number in pairs.rev() {
            needed[number] |= needed[number + 1] && goes_on(number);
        }
        needed
    }

    /// Adds the objects of `old`, the tree that a delta patches, that these groups are patched from, which are all that
    /// are there of it.
    pub fn add_bases(
        &mut self,
        (delta, groups): (&mut dyn Read, &[bool]),
        old: &Tree,
    ) -> Result<(), DeltaError> {
        let header = Header::read(delta)?;
        let old = Objects::of(old).all;
        let there = header.groups.iter().zip(groups);
        for (entry, _) in there.filter(|(_, is_there)| **is_there) {
            for part in file::read_parts(delta, entry)? {
                let Some(number) = part
                    .base
                    .and_then(|base| base.checked_sub(FIRST_OBJECT_BASE))
                else {
                    continue;
                };
                let object = old.get(number as usize).ok_or_else(|| {
                    let expected = format_args!("one of {}", old.len());
                    invalid("an old object", expected, number)
                })?;
                self.digests.insert(object.0);
            }
        }
        Ok(())
    }
}
