// SPDX-License-Identifier: MIT OR Apache-2.0
//! Applying a delta: the objects that it makes come into the store, each under its own digest, and
//! the tree that it makes is compared with the statement.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::sync::Arc;

use sealroot_delta::adjusted::{Adjusted, MAX_ADJUSTED_BYTES, Renumbering, Stage};
use sealroot_delta::kernel::{Kernel, MAX_MOVES_BYTES, ToldMoves};
use sealroot_delta::opened::{self, CloseError, Opened};
use sealroot_delta::{GroupReader, PatchError};
use sealroot_format::digest::VerityDigest;
use sealroot_format::erofs::ReadAt;
use sealroot_format::sign::{Statement, Verified};
use sealroot_format::tree::Tree;

use super::Release;
use super::error::DeltaError;
use super::file::{
    self, Adjustment, FIRST_OBJECT_BASE, GroupEntry, Header, Part, SMALL_BASE, TEXT_BASE, invalid,
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
        scratch,
        bases: Bases {
            release: from,
            scratch,
            objects: &old,
            text: old_text,
            small: old_small,
            open: None,
            opened: None,
            adjusted: None,
            kernel: None,
            renumbering: Renumbering::default(),
        },
    };
    let mut renumbering = Vec::new();
    patches.copy(
        header.renumbering_bytes.into(),
        Kind::Plain,
        &mut renumbering,
    )?;
    patches.bases.renumbering = Renumbering::parse(&renumbering)
        .ok_or_else(|| invalid("the renumbering", "ascending numbers", "something else"))?;
    let mut new_text = file()?;
    patches.copy(header.text_bytes, Kind::Plain, &mut new_text)?;
    new_text.rewind().map_err(&put_aside)?;
    let new_small = Arc::new(file()?);
    let small: Arc<dyn ReadAt + Send + Sync> = new_small.clone();
    let unfinished = Unfinished::parse(&mut BufReader::new(&new_text), &old, &small)?;
    drop(new_text);
    let object_bytes = check_sizes(&unfinished, statement)?;
    patches.copy(unfinished.small_bytes, Kind::Plain, &mut &*new_small)?;
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

/// What parts make together.
#[derive(Clone, Copy)]
enum Kind {
    /// A text, or files in the pack.
    Plain,
    /// An object.
    Object,
    /// The opened form of one.
    Opened { len_bytes: u32 },
    /// One of a kernel image, straightened.
    Kernel { len_bytes: u32 },
}

/// The parts of a delta, one after another.
struct Patches<'p, I: StoreIo> {
    delta: &'p mut dyn Read,
    entries: std::slice::Iter<'p, GroupEntry>,
    /// Those of the present group.
    parts: std::vec::IntoIter<Part>,
    reader: Option<GroupReader>,
    /// Makes empty files.
    scratch: &'p dyn Fn() -> io::Result<File>,
    bases: Bases<'p, I>,
}

impl<I: StoreIo> Patches<'_, I> {
    /// Makes the next `size_bytes` of the new release.
    fn copy(&mut self, size_bytes: u64, kind: Kind, out: &mut dyn Write) -> Result<(), DeltaError> {
        let opened_bytes = match kind {
            Kind::Plain | Kind::Object => None,
            Kind::Opened { len_bytes } | Kind::Kernel { len_bytes } => Some(len_bytes),
        };
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
            let Some(reader) = &mut self.reader else {
                continue;
            };
            match (part.adjusted, kind) {
                (Some(Adjustment::Kernel), Kind::Kernel { .. }) => {
                    reader.apply(self.bases.get_kernel(part.base)?, len_bytes, out)?;
                }
                (None, Kind::Opened { .. }) => {
                    reader.apply(self.bases.get_opened(part.base)?, len_bytes, out)?;
                }
                (None, Kind::Plain | Kind::Object) if self.bases.adjusted.is_none() => {
                    reader.apply(self.bases.get(part.base)?, len_bytes, out)?;
                }
                (Some(Adjustment::Object(stage)), Kind::Object) => {
                    let start = size_bytes - left_bytes - len_bytes;
                    let start = usize::try_from(start).unwrap_or(usize::MAX);
                    let old = self.bases.get_adjusted(part.base, stage, start)?;
                    old.apply(reader, start, len_bytes, out)?;
                }
                (adjusted, _) => {
                    let found = adjusted.map_or(0, Adjustment::number);
                    return Err(invalid("stage of a part", "as before, or none", found));
                }
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
        self.bases.adjusted = None;
        self.bases.kernel = None;
        // What is empty has no part.
        let next = match size_bytes {
            0 => None,
            _ => Some(self.next_part()?),
        };
        let of_opened = next.and_then(|part| Some((part.opened_bytes?, part.adjusted)));
        let Some((opened_bytes, adjusted)) = of_opened else {
            return self.copy(size_bytes, Kind::Object, out);
        };
        let form_bytes = u64::from(opened_bytes);
        file::at_most(
            "length of an opened object",
            form_bytes,
            opened::MAX_IMAGE_FORM_BYTES,
        )?;
        file::at_most(OPENED_SIZE, size_bytes, opened::MAX_IMAGE_BYTES)?;
        let len_bytes = opened_bytes;
        let is_kernel = adjusted == Some(Adjustment::Moves);
        let kind = if is_kernel {
            self.adjust_kernel()?;
            Kind::Kernel { len_bytes }
        } else {
            Kind::Opened { len_bytes }
        };
        if form_bytes <= opened::MAX_OPENED_BYTES && !is_kernel {
            let mut form = Vec::new();
            self.copy(form_bytes, kind, &mut form)?;
            return Ok(opened::close(&form, size_bytes, out)?);
        }
        let put_aside = DeltaError::io("put an opened object aside");
        let mut form = (self.scratch)().map_err(&put_aside)?;
        let mut buffer = BufWriter::new(&form);
        self.copy(form_bytes, kind, &mut buffer)?;
        buffer.flush().map_err(&put_aside)?;
        drop(buffer);
        if is_kernel {
            let kernel = kernel_of(&form)?;
            kernel.restore(&mut form).map_err(&put_aside)?;
        }
        Ok(opened::close(&form, size_bytes, out)?)
    }

    /// Has the old kernel adjusted to what the next part says.
    fn adjust_kernel(&mut self) -> Result<(), DeltaError> {
        let part = self.next_part()?;
        self.parts.next();
        let what = "length of what has moved in a kernel";
        file::at_most(what, part.len_bytes.into(), MAX_MOVES_BYTES.into())?;
        let mut moves = Vec::new();
        if let Some(reader) = &mut self.reader {
            reader.apply(&NOTHING, part.len_bytes.into(), &mut moves)?;
        }
        let moves = ToldMoves::parse(&moves)
            .ok_or_else(|| invalid("what has moved in a kernel", "ascending places", "other"))?;
        self.bases.adjust_kernel(part.base, &moves)
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
            (
                Some(
                    DeltaError::Patch(PatchError::Write(_))
                    | DeltaError::Opened(CloseError::Write(_)),
                ),
                Err(error),
            ) => Err(error.into()),
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
    scratch: &'b dyn Fn() -> io::Result<File>,
    objects: &'b Objects,
    text: File,
    small: File,
    /// The object that was used last.
    open: Option<(u32, StoredFile<'b, I>)>,
    /// The opened form that was used last.
    opened: Option<(u32, Opened<File>)>,
    /// The adjusted object of the new one that is being made.
    adjusted: Option<(u32, Adjusted)>,
    /// The form of the old kernel, straightened and adjusted, of the new one that is being made.
    kernel: Option<(u32, File)>,
    renumbering: Renumbering,
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

    /// An old object, adjusted as far as that, for what comes in the new one from `start` on.
    fn get_adjusted(
        &mut self,
        number: Option<u32>,
        stage: Stage,
        start: usize,
    ) -> Result<&mut Adjusted, DeltaError> {
        const WHAT: &str = "what is patched from an adjusted object";
        if start == 0 {
            let number = number.filter(|number| *number >= FIRST_OBJECT_BASE);
            let number = number.ok_or_else(|| invalid(WHAT, "an old object", "something else"))?;
            let object = self.read(
                number,
                "size of an old object that is adjusted",
                MAX_ADJUSTED_BYTES,
            )?;
            let adjusted = Adjusted::new(object, &self.renumbering);
            let adjusted = adjusted.map_err(|_| invalid(WHAT, "an old object file", "another"))?;
            self.adjusted = Some((number, adjusted));
        }
        match &mut self.adjusted {
            Some((of, adjusted)) if Some(*of) == number && adjusted.stage() <= stage => {
                adjusted.go_on_to(stage);
                Ok(adjusted)
            }
            _ => Err(invalid(WHAT, "the next stage of the same", "another")),
        }
    }

    /// Adjusts the opened form of an old kernel image.
    fn adjust_kernel(&mut self, number: Option<u32>, moves: &ToldMoves) -> Result<(), DeltaError> {
        self.get_opened(number)?;
        let Some((number, Opened::Image { mut form, .. })) = self.opened.take() else {
            return Err(invalid(OF_KERNEL, "a kernel image", "another object"));
        };
        let kernel = kernel_of(&form)?;
        let change = DeltaError::io("adjust an old kernel");
        kernel.straighten(&mut form).map_err(&change)?;
        let adjusted = kernel.adjust(&mut form, moves, &self.renumbering);
        adjusted.map_err(&change)?;
        self.kernel = Some((number, form));
        Ok(())
    }

    /// The form that was adjusted, of this old object.
    fn get_kernel(&self, number: Option<u32>) -> Result<&dyn ReadAt, DeltaError> {
        match &self.kernel {
            Some((of, form)) if Some(*of) == number => Ok(form),
            _ => Err(invalid(OF_KERNEL, "the one that was adjusted", "another")),
        }
    }

    /// The whole of an old object.
    fn read(&mut self, number: u32, what: &'static str, most: u64) -> Result<Vec<u8>, DeltaError> {
        let read = DeltaError::io("read an old object");
        let object = self.get(Some(number))?;
        let size_bytes = object.size_bytes().map_err(&read)?;
        file::at_most(what, size_bytes, most)?;
        let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or_default()];
        object.read_exact_at(&mut bytes, 0).map_err(&read)?;
        Ok(bytes)
    }

    /// The opened form of an old object.
    fn get_opened(&mut self, number: Option<u32>) -> Result<&dyn ReadAt, DeltaError> {
        const WHAT: &str = "what an opened object is patched from";
        let number = number.filter(|number| *number >= FIRST_OBJECT_BASE);
        let number = number.ok_or_else(|| invalid(WHAT, "an old object", "something else"))?;
        if self.opened.as_ref().is_none_or(|(of, _)| *of != number) {
            self.opened = None;
            let open = DeltaError::io("open an old object");
            let scratch = self.scratch;
            let object = self.get(Some(number))?;
            let opened = opened::open(object, &mut || scratch()).map_err(open)?;
            let opened = opened.ok_or_else(|| invalid(WHAT, "one that can be opened", "another"));
            self.opened = Some((number, opened?));
        }
        match &self.opened {
            Some((_, opened)) => Ok(opened.form()),
            None => Ok(&NOTHING),
        }
    }
}

const OF_KERNEL: &str = "what a kernel is patched from";

/// The kernel in an opened form.
fn kernel_of(form: &File) -> Result<Kernel, DeltaError> {
    let kernel = Kernel::in_form(form).map_err(DeltaError::io("read an opened object"))?;
    kernel.ok_or_else(|| invalid(OF_KERNEL, "the form of a kernel", "another"))
}

const OPENED_SIZE: &str = "size of an object that is opened";

static NOTHING: Vec<u8> = Vec::new();
