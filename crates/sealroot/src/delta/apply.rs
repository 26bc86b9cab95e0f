// SPDX-License-Identifier: MIT OR Apache-2.0
//! Applying a delta: the objects that it makes come into the store, each under its own digest, and
//! the tree that it makes is compared with the statement.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::sync::Arc;

use sealroot_delta::{GroupReader, PatchError, opened};
use sealroot_format::digest::VerityDigest;
use sealroot_format::erofs::ReadAt;
use sealroot_format::sign::{Statement, Verified};
use sealroot_format::tree::Tree;

use super::Release;
use super::error::DeltaError;
use super::file::{
    self, FIRST_OBJECT_BASE, GroupEntry, Header, Part, SMALL_BASE, TEXT_BASE, invalid,
};
use super::text::{self, Objects, Unfinished};
use crate::import;
use crate::monitor::{Monitor, Unit};
use crate::store::{StoreIo, StoredFile, Transaction};

/// Makes the release that `statement` names of `from`, which the store of the transaction has whole.
/// All its objects are in the store then, and its tree is the one that was signed; the pack and the
/// statement are the caller's to add. `scratch` makes empty files to read and write.
///
/// A delta that is damaged, or meant for something else, leaves at most objects that no release
/// names.
pub fn apply<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    from: &Release<'_, I>,
    statement: &Verified<Statement>,
    delta: &mut dyn Read,
    scratch: &dyn Fn() -> io::Result<File>,
    monitor: &dyn Monitor,
) -> Result<Tree, DeltaError> {
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

    let mut patches = Patches {
        delta,
        entries: header.groups.iter(),
        parts: Vec::new().into_iter(),
        reader: None,
        bases: Bases {
            release: from,
            objects: &old,
            text: old_text,
            small: old_small,
            open: None,
            opened: None,
        },
    };
    let mut new_text = file()?;
    patches.copy(header.text_bytes, None, &mut new_text)?;
    new_text.rewind().map_err(&put_aside)?;
    let new_small = Arc::new(file()?);
    let small: Arc<dyn ReadAt + Send + Sync> = new_small.clone();
    let unfinished = Unfinished::parse(&mut BufReader::new(&new_text), &small)?;
    drop(new_text);
    let object_bytes = check_sizes(&unfinished, statement)?;
    patches.copy(unfinished.small_bytes, None, &mut &*new_small)?;
    monitor.start("patching", Unit::Bytes, Some(object_bytes));
    let mut digests = Vec::new();
    let mut left_bytes = object_bytes;
    for size_bytes in &unfinished.sizes {
        let added = patches.add_object(transaction, *size_bytes);
        let needed_bytes = left_bytes.saturating_add(statement.pack_size_bytes);
        digests.push(added.map_err(|error| error.needing(needed_bytes))?);
        monitor.advance(*size_bytes);
        left_bytes = left_bytes.saturating_sub(*size_bytes);
    }
    patches.finish()?;
    let tree = unfinished.finish(&digests);
    monitor.start("packing", Unit::Items, None);
    let differences = import::compare(&tree, statement)?;
    if differences.is_empty() {
        Ok(tree)
    } else {
        Err(DeltaError::Differs { differences })
    }
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

/// The parts of a delta, one after another.
struct Patches<'p, I: StoreIo> {
    delta: &'p mut dyn Read,
    entries: std::slice::Iter<'p, GroupEntry>,
    /// Those of the present group.
    parts: std::vec::IntoIter<Part>,
    reader: Option<GroupReader>,
    bases: Bases<'p, I>,
}

impl<I: StoreIo> Patches<'_, I> {
    /// Makes the next `size_bytes` of the new release, or of the opened form of one of its objects.
    fn copy(
        &mut self,
        size_bytes: u64,
        opened_bytes: Option<u32>,
        out: &mut dyn Write,
    ) -> Result<(), DeltaError> {
        let mut left_bytes = size_bytes;
        while left_bytes > 0 {
            let part = self.next_part()?;
            let len_bytes = u64::from(part.len_bytes);
            if len_bytes == 0 || len_bytes > left_bytes {
                let expected = format_args!("1 to {left_bytes} bytes");
                return Err(invalid("length of a part", expected, len_bytes));
            }
            if part.opened_bytes != opened_bytes {
                // As it stands in the file: 0 if nothing is opened.
                let number = |bytes: Option<u32>| bytes.unwrap_or_default();
                let (expected, found) = (number(opened_bytes), number(part.opened_bytes));
                return Err(invalid("length of an opened object", expected, found));
            }
            left_bytes -= len_bytes;
            self.parts.next();
            if let Some(reader) = &mut self.reader {
                let base = match opened_bytes {
                    None => self.bases.get(part.base)?,
                    Some(_) => self.bases.get_opened(part.base)?,
                };
                reader.apply(base, len_bytes, out)?;
            }
        }
        Ok(())
    }

    /// What comes next; it stays the next.
    fn next_part(&mut self) -> Result<Part, DeltaError> {
        loop {
            match self.parts.as_slice() {
                [next, ..] => return Ok(*next),
                [] => self.next_group()?,
            }
        }
    }

    /// Makes the next object.
    fn make_object(&mut self, size_bytes: u64, out: &mut dyn Write) -> Result<(), DeltaError> {
        // What is empty has no part.
        let opened_bytes = match size_bytes {
            0 => None,
            _ => self.next_part()?.opened_bytes,
        };
        let Some(opened_bytes) = opened_bytes else {
            return self.copy(size_bytes, None, out);
        };
        let most = opened::MAX_OPENED_BYTES as u64;
        file::at_most("length of an opened object", opened_bytes.into(), most)?;
        let most = opened::MAX_CLOSED_BYTES as u64;
        file::at_most("size of an object that is opened", size_bytes, most)?;
        let mut form = Vec::new();
        self.copy(opened_bytes.into(), Some(opened_bytes), &mut form)?;
        let object = opened::close(&form, size_bytes)?;
        out.write_all(&object)
            .map_err(|error| PatchError::Write(error).into())
    }

    fn next_group(&mut self) -> Result<(), DeltaError> {
        if let Some(reader) = self.reader.take() {
            reader.finish()?;
        }
        let entry = self.entries.next();
        let entry = entry.ok_or_else(|| invalid("the delta", "more groups", "their end"))?;
        let group = file::read_group(self.delta, entry)?;
        let (parts, reader) = file::open_group(group)?;
        self.parts = parts.into_iter();
        self.reader = Some(reader);
        Ok(())
    }

    fn add_object<S: StoreIo>(
        &mut self,
        transaction: &Transaction<'_, S>,
        size_bytes: u64,
    ) -> Result<VerityDigest, DeltaError> {
        let mut failure = None;
        let added = transaction.add_unknown(size_bytes, |out| {
            self.make_object(size_bytes, out).map_err(|error| {
                let text = error.to_string();
                failure = Some(error);
                io::Error::other(text)
            })
        });
        match (failure, added) {
            // The store says better why it did not take it.
            (Some(DeltaError::Patch(PatchError::Write(_))), Err(error)) => Err(error.into()),
            (Some(failure), _) => Err(failure),
            (None, added) => Ok(added?),
        }
    }

    /// Ends the delta, which must have nothing more.
    fn finish(mut self) -> Result<(), DeltaError> {
        if let Some(reader) = self.reader.take() {
            reader.finish()?;
        }
        match self.parts.len() + self.entries.len() {
            0 => Ok(()),
            _ => Err(invalid("the delta", "its end", "more parts")),
        }
    }
}

/// What is patched: of the old release.
struct Bases<'b, I: StoreIo> {
    release: &'b Release<'b, I>,
    objects: &'b Objects,
    text: File,
    small: File,
    /// The object that was used last.
    open: Option<(u32, StoredFile<'b, I>)>,
    /// The opened form that was used last.
    opened: Option<(u32, Vec<u8>)>,
}

impl<I: StoreIo> Bases<'_, I> {
    fn get(&mut self, number: Option<u32>) -> Result<&dyn ReadAt, DeltaError> {
        let number = match number {
            None => return Ok(&NOTHING),
            Some(TEXT_BASE) => return Ok(&self.text),
            Some(SMALL_BASE) => return Ok(&self.small),
            Some(number) => number,
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let index = (number - FIRST_OBJECT_BASE) as usize;
            let object = self.objects.all.get(index);
            let (digest, size_bytes) = object.ok_or_else(|| {
                let most = self.objects.all.len();
                invalid("an old object", format_args!("one of {most}"), index)
            })?;
            let file = self.release.store.open_object(digest, *size_bytes)?;
            self.open = Some((number, file));
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Ok(&NOTHING),
        }
    }

    /// The opened form of an old object.
    fn get_opened(&mut self, number: Option<u32>) -> Result<&dyn ReadAt, DeltaError> {
        const WHAT: &str = "what an opened object is patched from";
        let number = number.filter(|number| *number >= FIRST_OBJECT_BASE);
        let number = number.ok_or_else(|| invalid(WHAT, "an old object", "something else"))?;
        if self.opened.as_ref().is_none_or(|(of, _)| *of != number) {
            let read = DeltaError::io("read an old object");
            let object = self.get(Some(number))?;
            let size_bytes = object.size_bytes().map_err(&read)?;
            let most = opened::MAX_CLOSED_BYTES as u64;
            file::at_most("size of an old object that is opened", size_bytes, most)?;
            let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or_default()];
            object.read_exact_at(&mut bytes, 0).map_err(&read)?;
            let form = opened::open(&bytes);
            let form = form.ok_or_else(|| invalid(WHAT, "one that can be opened", "another"))?;
            self.opened = Some((number, form.bytes));
        }
        match &self.opened {
            Some((_, form)) => Ok(form),
            None => Ok(&NOTHING),
        }
    }
}

static NOTHING: Vec<u8> = Vec::new();
