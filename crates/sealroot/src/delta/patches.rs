// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of a delta, applied one after another.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use sealroot_delta::kernel::{MAX_MOVES_BYTES, ToldMoves};
use sealroot_delta::opened::{self, CloseError};
use sealroot_delta::{GroupReader, PatchError};
use sealroot_format::digest::VerityDigest;

use super::error::DeltaError;
use super::file::{self, Adjustment, GroupEntry, Part, invalid};
use super::old::{Bases, NOTHING, kernel_of};
use crate::store::{StoreIo, Transaction};

/// Most pieces that patches make are short.
const BUFFER_BYTES: usize = 64 * 1024;

/// What parts make together.
#[derive(Clone, Copy)]
pub(super) enum Kind {
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
pub(super) struct Patches<'p, I: StoreIo> {
    delta: &'p mut dyn Read,
    entries: std::slice::Iter<'p, &'p GroupEntry>,
    /// The present group, as the table has it.
    entry: Option<&'p GroupEntry>,
    /// The object that is being made.
    object: Option<u32>,
    /// That of which the last part was.
    last: Option<u32>,
    /// Those of the present group.
    parts: std::vec::IntoIter<Part>,
    reader: Option<GroupReader>,
    /// Makes empty files.
    scratch: &'p dyn Fn() -> io::Result<File>,
    pub(super) bases: Bases<'p, I>,
}

impl<'p, I: StoreIo> Patches<'p, I> {
    /// Those of these groups, which come in `delta` one behind another.
    pub(super) fn new(
        delta: &'p mut dyn Read,
        entries: &'p [&'p GroupEntry],
        scratch: &'p dyn Fn() -> io::Result<File>,
        bases: Bases<'p, I>,
    ) -> Self {
        Self {
            delta,
            entries: entries.iter(),
            entry: None,
            object: None,
            last: None,
            parts: Vec::new().into_iter(),
            reader: None,
            scratch,
            bases,
        }
    }

    /// Makes the next `size_bytes` of the new release.
    pub(super) fn copy(
        &mut self,
        size_bytes: u64,
        kind: Kind,
        out: &mut dyn Write,
    ) -> Result<(), DeltaError> {
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
            self.take_part();
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

    /// Makes it in a file.
    pub(super) fn copy_aside(
        &mut self,
        size_bytes: u64,
        kind: Kind,
        file: &File,
    ) -> Result<(), DeltaError> {
        let mut buffer = BufWriter::with_capacity(BUFFER_BYTES, file);
        self.copy(size_bytes, kind, &mut buffer)?;
        buffer
            .flush()
            .map_err(DeltaError::io("put aside what patches make"))
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

    fn take_part(&mut self) {
        self.parts.next();
        self.last = self.object;
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
            opened::MAX_FRAMED_FORM_BYTES,
        )?;
        file::at_most(OPENED_SIZE, size_bytes, opened::MAX_FRAMED_BYTES)?;
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
        self.copy_aside(form_bytes, kind, &form)?;
        if is_kernel {
            let kernel = kernel_of(&form)?;
            kernel.restore(&mut form).map_err(&put_aside)?;
        }
        Ok(opened::close(&form, size_bytes, out)?)
    }

    /// Has the old kernel adjusted to what the next part says.
    fn adjust_kernel(&mut self) -> Result<(), DeltaError> {
        let part = self.next_part()?;
        self.take_part();
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
        self.end_group()?;
        let entry = self.entries.next();
        let entry = *entry.ok_or_else(|| invalid("the delta", "more groups", "their end"))?;
        let group = file::read_group(self.delta, entry)?;
        let (parts, reader) = file::open_group(group)?;
        let first = entry.objects.as_ref().map(|objects| *objects.start());
        check_object("the first object of a group", first, self.object)?;
        if parts.is_empty() {
            return Err(invalid("a group", "parts", "none"));
        }
        self.entry = Some(entry);
        self.parts = parts.into_iter();
        self.reader = Some(reader);
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), DeltaError> {
        if let Some(reader) = self.reader.take() {
            reader.finish()?;
        }
        let Some(entry) = self.entry.take() else {
            return Ok(());
        };
        let last = entry.objects.as_ref().map(|objects| *objects.end());
        check_object("the last object of a group", last, self.last)
    }

    /// Makes the next object, of this number, and gives it to the store.
    pub(super) fn add_object(
        &mut self,
        transaction: &Transaction<'_, I>,
        number: u32,
        size_bytes: u64,
    ) -> Result<VerityDigest, DeltaError> {
        self.object = Some(number);
        let mut failure = None;
        let added = transaction.add_unknown(size_bytes, |out| {
            let mut buffer = BufWriter::with_capacity(BUFFER_BYTES, out);
            let made = self.make_object(size_bytes, &mut buffer);
            let flushed = made.and_then(|()| Ok(buffer.flush().map_err(PatchError::Write)?));
            flushed.map_err(|error| {
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
    pub(super) fn finish(mut self) -> Result<(), DeltaError> {
        match self.parts.len() + self.entries.len() {
            0 => self.end_group(),
            _ => Err(invalid("the delta", "its end", "more parts")),
        }
    }
}

/// That the table has the object of which a group has parts.
fn check_object(
    what: &'static str,
    told: Option<u32>,
    found: Option<u32>,
) -> Result<(), DeltaError> {
    if told == found {
        return Ok(());
    }
    let name = |object: Option<u32>| object.map_or("none".into(), |number| number.to_string());
    Err(invalid(what, name(told), name(found)))
}

const OPENED_SIZE: &str = "size of an object that is opened";
