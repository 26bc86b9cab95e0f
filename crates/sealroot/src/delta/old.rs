// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is patched: of the old release.

use std::fs::File;
use std::io;

use sealroot_delta::adjusted::{Adjusted, MAX_ADJUSTED_BYTES, Renumbering, Stage};
use sealroot_delta::kernel::{Kernel, ToldMoves};
use sealroot_delta::opened::{self, Opened, Side};
use sealroot_format::erofs::ReadAt;

use super::Release;
use super::error::DeltaError;
use super::file::{self, FIRST_OBJECT_BASE, SMALL_BASE, TEXT_BASE, invalid};
use super::text::Objects;
use crate::store::{StoreError, StoreIo, StoredFile};

/// What is patched: of the old release.
pub(super) struct Bases<'b, I: StoreIo> {
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
    pub(super) adjusted: Option<(u32, Adjusted)>,
    /// The form of the old kernel, straightened and adjusted, of the new one that is being made.
    pub(super) kernel: Option<(u32, File)>,
    pub(super) renumbering: Renumbering,
}

impl<'b, I: StoreIo> Bases<'b, I> {
    /// Of a release with these objects, this text and these files in its pack. `scratch` makes empty files.
    pub(super) fn new(
        release: &'b Release<'b, I>,
        objects: &'b Objects,
        (text, small): (File, File),
        scratch: &'b dyn Fn() -> io::Result<File>,
    ) -> Self {
        Self {
            release,
            scratch,
            objects,
            text,
            small,
            open: None,
            opened: None,
            adjusted: None,
            kernel: None,
            renumbering: Renumbering::default(),
        }
    }

    pub(super) fn get(&mut self, number: Option<u32>) -> Result<&dyn ReadAt, DeltaError> {
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
            let opened = self.release.store.open_object(digest, *size_bytes);
            if let Err(StoreError::NotFound { .. }) = opened {
                return Err(invalid("an old object", "one that is there", digest));
            }
            let file = opened?;
            self.open = Some((number, file));
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Ok(&NOTHING),
        }
    }

    /// An old object, adjusted as far as that, for what comes in the new one from `start` on.
    pub(super) fn get_adjusted(
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
    pub(super) fn adjust_kernel(
        &mut self,
        number: Option<u32>,
        moves: &ToldMoves,
    ) -> Result<(), DeltaError> {
        self.get_opened(number)?;
        let Some((number, Opened::Framed { mut form, .. })) = self.opened.take() else {
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
    pub(super) fn get_kernel(&self, number: Option<u32>) -> Result<&dyn ReadAt, DeltaError> {
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
    pub(super) fn get_opened(&mut self, number: Option<u32>) -> Result<&dyn ReadAt, DeltaError> {
        const WHAT: &str = "what an opened object is patched from";
        let number = number.filter(|number| *number >= FIRST_OBJECT_BASE);
        let number = number.ok_or_else(|| invalid(WHAT, "an old object", "something else"))?;
        if self.opened.as_ref().is_none_or(|(of, _)| *of != number) {
            self.opened = None;
            let open = DeltaError::io("open an old object");
            let scratch = self.scratch;
            let object = self.get(Some(number))?;
            let opened = opened::open(object, Side::Old, &mut || scratch()).map_err(open)?;
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
pub(super) fn kernel_of(form: &File) -> Result<Kernel, DeltaError> {
    let kernel = Kernel::in_form(form).map_err(DeltaError::io("read an opened object"))?;
    kernel.ok_or_else(|| invalid(OF_KERNEL, "the form of a kernel", "another"))
}

/// What a part is patched from that is patched from nothing.
pub(super) static NOTHING: Vec<u8> = Vec::new();
