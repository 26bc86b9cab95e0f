// SPDX-License-Identifier: MIT OR Apache-2.0
//! Applying a delta: the objects that it makes come into the store, each under its own digest, and
//! the tree that it makes is compared with the statement.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::sync::Arc;

use sealroot_delta::adjusted::Renumbering;
use sealroot_format::erofs::ReadAt;
use sealroot_format::sign::{Statement, Verified};
use sealroot_format::tree::Tree;

use super::Release;
use super::chain::stand_in;
use super::error::DeltaError;
use super::file::{GroupEntry, Header, invalid};
use super::old::Bases;
use super::patches::{Kind, Patches};
use super::text::{self, Objects, Unfinished};
use crate::import;
use crate::monitor::{Monitor, Unit};
use crate::store::{KernelIo, StoreIo, Transaction};

/// A delta to be applied, between two releases.
pub struct Application<'a, I: StoreIo = KernelIo> {
    /// The old release, which the store has whole, or as far as the new one needs it (see [`Needed`](super::Needed)).
    pub from: &'a Release<'a, I>,
    /// The new release.
    pub statement: &'a Verified<Statement>,
    /// Makes empty files to read and write.
    pub scratch: &'a dyn Fn() -> io::Result<File>,
    /// Who is told how far it is.
    pub monitor: &'a dyn Monitor,
}

impl<I: StoreIo> std::fmt::Debug for Application<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application")
            .field("from", &self.from.pack)
            .field("to", &self.statement.pack_digest)
            .finish_non_exhaustive()
    }
}

impl<I: StoreIo> Application<'_, I> {
    /// Makes the new release. All its objects are in the store of the transaction then, and its tree is the one that was
    /// signed; the pack and the statement are the caller's to add.
    ///
    /// A delta that is damaged, or meant for something else, leaves at most objects that no release
    /// names.
    pub fn apply(
        &self,
        transaction: &Transaction<'_, I>,
        delta: &mut dyn Read,
    ) -> Result<Tree, DeltaError> {
        let tree = self.make_tree(delta, Some(transaction), &|_, _| true)?;
        self.monitor.start("packing", Unit::Items, None);
        let differences = import::compare(&tree, self.statement)?;
        if differences.is_empty() {
            Ok(tree)
        } else {
            Err(DeltaError::Differs { differences })
        }
    }

    /// The tree, of those groups of the delta that are `wanted`; the others are not there. New objects that would need
    /// them, and all without a transaction, are not made: [stand-ins](stand_in) have their places.
    pub(super) fn make_tree(
        &self,
        delta: &mut dyn Read,
        transaction: Option<&Transaction<'_, I>>,
        wanted: &dyn Fn(usize, &GroupEntry) -> bool,
    ) -> Result<Tree, DeltaError> {
        let Self {
            from,
            statement,
            scratch,
            monitor,
        } = *self;
        let header = Header::read(delta)?;
        for (which, found, expected) in [
            ("old", header.from, from.pack),
            ("new", header.to, statement.pack_digest),
        ] {
            if found != expected {
                return Err(DeltaError::OtherRelease {
                    which,
                    expected,
                    found,
                });
            }
        }
        text::check_length(header.text_bytes, statement.entries)?;
        let put_aside = DeltaError::io("put the tree aside");
        let file = || scratch().map_err(&put_aside);
        let old = Objects::of(from.tree);
        let (old_text, old_small) = (file()?, file()?);
        let mut out = BufWriter::new(&old_text);
        text::write(from.tree, &old, &mut out).map_err(&put_aside)?;
        out.flush().map_err(&put_aside)?;
        drop(out);
        let mut out = BufWriter::new(&old_small);
        text::write_small(from.tree, &mut out).map_err(&put_aside)?;
        out.flush().map_err(&put_aside)?;
        drop(out);

        let entries = header.groups.iter().enumerate();
        let (kept, left_out): (Vec<_>, Vec<_>) =
            entries.partition(|(number, entry)| wanted(*number, entry));
        let kept: Vec<_> = kept.into_iter().map(|(_, entry)| entry).collect();
        let bases = Bases::new(from, &old, (old_text, old_small), scratch);
        let mut patches = Patches::new(delta, &kept, scratch, bases);
        let mut renumbering = Vec::new();
        let renumbering_bytes = header.renumbering_bytes.into();
        patches.copy(renumbering_bytes, Kind::Plain, &mut renumbering)?;
        patches.bases.renumbering = Renumbering::parse(&renumbering)
            .ok_or_else(|| invalid("the renumbering", "ascending numbers", "something else"))?;
        let mut new_text = file()?;
        patches.copy_aside(header.text_bytes, Kind::Plain, &new_text)?;
        new_text.rewind().map_err(&put_aside)?;
        let new_small = Arc::new(file()?);
        let small: Arc<dyn ReadAt + Send + Sync> = new_small.clone();
        let unfinished = Unfinished::parse(&mut BufReader::new(&new_text), &old, &small)?;
        drop(new_text);
        let object_bytes = check_sizes(&unfinished, statement)?;
        patches.copy_aside(unfinished.small_bytes, Kind::Plain, &new_small)?;
        monitor.start("patching", Unit::Bytes, Some(object_bytes));
        let left_out = within(left_out.into_iter().map(|(_, entry)| entry), &unfinished);
        let mut digests = Vec::new();
        let mut left_bytes = object_bytes;
        for ((number, size_bytes), is_left_out) in (0..).zip(&unfinished.sizes).zip(left_out) {
            digests.push(match transaction {
                Some(transaction) if !is_left_out => {
                    let added = patches.add_object(transaction, number, *size_bytes);
                    let needed_bytes = left_bytes.saturating_add(statement.pack_size_bytes);
                    added.map_err(|error| error.needing(needed_bytes))?
                }
                _ => stand_in(&header.to, number),
            });
            monitor.advance(*size_bytes);
            left_bytes = left_bytes.saturating_sub(*size_bytes);
        }
        patches.finish()?;
        Ok(unfinished.finish(&digests))
    }
}

/// For each new object whether one of these groups has parts of it.
fn within<'g>(groups: impl Iterator<Item = &'g GroupEntry>, unfinished: &Unfinished) -> Vec<bool> {
    let count = unfinished.sizes.len();
    // By how many more groups have it than have the one before it.
    let mut steps = vec![0_i64; count + 1];
    for objects in groups.filter_map(|group| group.objects.as_ref()) {
        let first = (*objects.start() as usize).min(count);
        let end = (*objects.end() as usize).saturating_add(1).min(count);
        steps[first] += 1;
        steps[end] -= 1;
    }
    let mut sum = 0;
    let has = |step: &i64| {
        sum += step;
        sum > 0
    };
    steps[..count].iter().map(has).collect()
}

/// That what is to be made is not more than was signed; the bytes of new objects.
fn check_sizes(unfinished: &Unfinished, statement: &Statement) -> Result<u64, DeltaError> {
    let add = |sum: u64, size: &u64| sum.checked_add(*size);
    let object_bytes = unfinished.sizes.iter().try_fold(0, add);
    let object_bytes = object_bytes.unwrap_or(u64::MAX);
    for (what, found, signed) in [
        ("bytes of new objects", object_bytes, statement.object_bytes),
        (
            "bytes of files in the pack",
            unfinished.small_bytes,
            statement.pack_size_bytes,
        ),
    ] {
        if found > signed {
            let expected = format_args!("at most the {signed} that were signed");
            return Err(invalid(what, expected, found));
        }
    }
    Ok(object_bytes)
}
