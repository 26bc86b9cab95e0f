// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two releases, compared: what of the new one stands in the old one.

use rayon::prelude::*;
use sealroot_delta::adjusted::{Learner, Lesson, MAX_ADJUSTED_BYTES, Renumbering};
use sealroot_format::digest::VerityDigest;

use super::Release;
use super::bases::Bases;
use super::compared::Compared;
use super::error::DeltaError;
use super::file::{FIRST_OBJECT_BASE, SMALL_BASE, TEXT_BASE};
use super::text::{self, Objects};
use crate::monitor::{Monitor, Unit};
use crate::store::StoreIo;

/// Old and new objects that are in memory together, and whose covers are looked for at the same
/// time. One pair may be larger.
const BATCH_BYTES: u64 = 64 << 20;

/// Two releases, to be compared.
pub(super) struct Releases<'r, I: StoreIo> {
    from: &'r Release<'r, I>,
    to: &'r Release<'r, I>,
    monitor: &'r dyn Monitor,
}

/// What is compared.
pub(super) enum Compares<'c> {
    Renumbering,
    Text,
    Small,
    Object(&'c Pair),
}

impl Compares<'_> {
    /// The number of what it is patched from, given how they compare.
    pub(super) fn base_number(&self, compared: &Compared) -> Option<u32> {
        match self {
            Self::Renumbering => None,
            Self::Text => Some(TEXT_BASE),
            Self::Small => Some(SMALL_BASE),
            Self::Object(_) if compared.old.is_empty() => None,
            Self::Object(pair) => {
                let number = u32::try_from(pair.base?.0).ok()?;
                number.checked_add(FIRST_OBJECT_BASE)
            }
        }
    }
}

/// What the new release has that the old one has not.
pub(super) struct New {
    pub(super) renumbering_bytes: u32,
    pub(super) text_bytes: u64,
    pub(super) objects: u64,
    pub(super) object_bytes: u64,
}

impl<'r, I: StoreIo> Releases<'r, I> {
    pub(super) fn new(
        from: &'r Release<'r, I>,
        to: &'r Release<'r, I>,
        monitor: &'r dyn Monitor,
    ) -> Self {
        Self { from, to, monitor }
    }

    /// Compares the texts, the files in the packs, then each new object with the one that it
    /// resembles.
    pub(super) fn compare(
        &self,
        each: &mut dyn FnMut(Compares<'_>, &Compared) -> Result<(), DeltaError>,
    ) -> Result<New, DeltaError> {
        let Self { from, to, monitor } = self;
        let in_memory = DeltaError::io("read a release");
        let old = Objects::of(from.tree);
        let (mut old_text, mut new_text) = (Vec::new(), Vec::new());
        text::write(from.tree, &old, &mut old_text).map_err(&in_memory)?;
        let new = text::write(to.tree, &old, &mut new_text).map_err(&in_memory)?;
        text::check_length(new_text.len() as u64, to.tree.len() as u64)?;
        let object_bytes = new.all.iter().map(|(_, size)| size).sum();
        let bases = Bases::of(from.tree, &old).choose(to.tree, &new);
        let pairs = new.all.iter().zip(bases).map(|(object, base)| Pair {
            new: *object,
            base: base.map(|number| (number, old.all[number])),
        });
        let pairs: Vec<_> = pairs.collect();
        monitor.start("looking for new numbers", Unit::Bytes, Some(object_bytes));
        let renumbering = self.learn(&pairs)?;
        let encoded = renumbering.encode();
        let renumbering_bytes = u32::try_from(encoded.len()).expect("MAX_RENUMBERING_BYTES");
        each(Compares::Renumbering, &Compared::new(Vec::new(), encoded))?;

        monitor.start("comparing", Unit::Bytes, Some(object_bytes));
        let text_bytes = new_text.len() as u64;
        each(Compares::Text, &Compared::new(old_text, new_text))?;

        let (mut old_small, mut new_small) = (Vec::new(), Vec::new());
        text::write_small(from.tree, &mut old_small).map_err(&in_memory)?;
        text::write_small(to.tree, &mut new_small).map_err(&in_memory)?;
        each(Compares::Small, &Compared::new(old_small, new_small))?;

        for batch in batches(&pairs) {
            let compared: Vec<_> = batch
                .par_iter()
                .map(|pair| pair.compare(from, to, &renumbering))
                .collect::<Result<_, _>>()?;
            for (pair, compared) in batch.iter().zip(&compared) {
                each(Compares::Object(pair), compared)?;
                monitor.advance(pair.new.1);
            }
        }
        Ok(New {
            renumbering_bytes,
            text_bytes,
            objects: new.all.len() as u64,
            object_bytes,
        })
    }

    /// What the modules of both releases say of how numbers have changed.
    fn learn(&self, pairs: &[Pair]) -> Result<Renumbering, DeltaError> {
        let mut learner = Learner::default();
        for batch in batches(pairs) {
            let lessons: Vec<_> = batch
                .par_iter()
                .map(|pair| pair.lesson(self.from, self.to))
                .collect::<Result<_, _>>()?;
            for (pair, lesson) in batch.iter().zip(&lessons) {
                if let Some(lesson) = lesson {
                    learner.add(lesson);
                }
                self.monitor.advance(pair.new.1);
            }
        }
        Ok(learner.finish())
    }
}

/// A new object and the old one that it resembles.
pub(super) struct Pair {
    pub(super) new: (VerityDigest, u64),
    base: Option<(usize, (VerityDigest, u64))>,
}

impl Pair {
    fn bytes(&self) -> u64 {
        self.new.1 + self.base.map_or(0, |(_, (_, size_bytes))| size_bytes)
    }

    fn compare<I: StoreIo>(
        &self,
        from: &Release<'_, I>,
        to: &Release<'_, I>,
        renumbering: &Renumbering,
    ) -> Result<Compared, DeltaError> {
        let new = read(to, self.new)?;
        let old = match self.base {
            Some((_, object)) => read(from, object)?,
            None => Vec::new(),
        };
        let opened = Compared::opened(&old, &new, renumbering);
        let opened = opened.map_err(DeltaError::io("open an object"))?;
        let compared = opened.unwrap_or_else(|| Compared::adjusted(old, new, renumbering));
        Ok(compared.or_anew())
    }

    /// What the two say about how numbers have changed.
    fn lesson<I: StoreIo>(
        &self,
        from: &Release<'_, I>,
        to: &Release<'_, I>,
    ) -> Result<Option<Lesson>, DeltaError> {
        match self.base {
            Some((_, base)) if base.1.max(self.new.1) <= MAX_ADJUSTED_BYTES => {
                Ok(Lesson::of(&read(from, base)?, &read(to, self.new)?))
            }
            _ => Ok(None),
        }
    }
}

fn read<I: StoreIo>(
    release: &Release<'_, I>,
    (digest, size_bytes): (VerityDigest, u64),
) -> Result<Vec<u8>, DeltaError> {
    let file = release.store.open_object(&digest, size_bytes)?;
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
    let read = file.read_exact_at(&mut bytes, 0);
    read.map_err(DeltaError::io("read an object"))?;
    Ok(bytes)
}

/// Pairs that are in memory together.
fn batches(mut pairs: &[Pair]) -> impl Iterator<Item = &[Pair]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |pair: &&Pair| {
            bytes += pair.bytes();
            bytes <= BATCH_BYTES
        };
        let count = pairs.iter().take_while(fits).count().max(1);
        let (batch, rest) = pairs.split_at_checked(count)?;
        pairs = rest;
        Some(batch)
    })
}
