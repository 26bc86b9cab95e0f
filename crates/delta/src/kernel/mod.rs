// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels in the opened forms of their images, adjusted to what has moved, so that less differs in
//! the new ones (docs/format/kernel.md).
//!
//! A function that grew by a line moves all behind it, and every call over it, every table of places
//! and every address of something behind it has other bytes. How far what has moved is told; what of an
//! old kernel is an address is then changed as it should be in the new one. Tables that count from where
//! they stand themselves are *straightened* first, in the old kernel and in the new one: they say addresses
//! then, which do not change when an entry comes in between.
//!
//! Rooms, each using only those before it: `edit`, forms that are changed in place; `layout`, where
//! sections lie and which address is where; `moves`, how far; `code`, what instructions refer to;
//! `symbols`, the addresses of the kernel's own list; `words`, all other words that are addresses.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

mod code;
mod edit;
mod layout;
mod moves;
mod symbols;
mod words;

use std::io;
use std::ops::Range;

use sealroot_format::erofs::ReadAt;

use crate::adjusted::Renumbering;
use crate::opened;
use layout::Layout;

pub use edit::Edit;
pub use moves::{MAX_MOVES_BYTES, ToldMoves};

/// A kernel in a form.
#[derive(Debug)]
pub struct Kernel(Layout);

impl Kernel {
    /// The kernel in a form whose content lies there, as [`crate::opened::framed_content`] says; `None`
    /// if it is none that can be adjusted.
    pub fn find(form: &dyn ReadAt, content: Range<u64>) -> io::Result<Option<Self>> {
        Ok(Layout::read(form, content)?.map(Self))
    }

    /// The kernel in the opened form of an image; `None` if it is no such form, or none that can be adjusted.
    pub fn in_form(form: &dyn ReadAt) -> io::Result<Option<Self>> {
        match opened::framed_content(form)? {
            Some(content) => Self::find(form, content),
            None => Ok(None),
        }
    }

    /// Where in the form it lies.
    pub fn content(&self) -> &Range<u64> {
        self.0.content()
    }

    /// Has tables say addresses.
    pub fn straighten(&self, form: &mut dyn Edit) -> io::Result<()> {
        words::change_tables(form, &self.0, &u32::wrapping_add)
    }

    /// The opposite of [`Kernel::straighten`].
    pub fn restore(&self, form: &mut dyn Edit) -> io::Result<()> {
        words::change_tables(form, &self.0, &u32::wrapping_sub)
    }

    /// Changes what is an address in a form that was straightened, and the numbers in its type information.
    pub fn adjust(
        &self,
        form: &mut dyn Edit,
        moves: &ToldMoves,
        renumbering: &Renumbering,
    ) -> io::Result<()> {
        let Self(layout) = self;
        code::adjust(form, layout, moves)?;
        if let Some(section) = layout.btf() {
            let mut types = edit::read(form, section)?;
            renumbering.adjust_types(&mut types);
            form.write_at(&types, section.start)?;
        }
        symbols::adjust(form, layout, moves)?;
        words::adjust_tables(form, layout, moves)?;
        words::adjust_relocations(form, layout, moves)
    }
}
