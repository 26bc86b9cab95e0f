// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is compressed inside an object, opened, so that it can be patched: its content, and the
//! choices of whoever compressed it, from which the very same bytes come back (docs/format/opened.md).
//!
//! No compressor has to be run, or known: whatever made a stream, what it chose is written down.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

mod bits;
mod code;
mod deflate;
mod framed;
mod members;
mod zstd;

use std::io::{self, Write};
use std::ops::Range;

use sealroot_format::erofs::ReadAt;

/// Longest object with gzip members that is opened, bytes.
pub const MAX_CLOSED_BYTES: u64 = 4 << 20;

/// Longest opened form of such an object, bytes.
pub const MAX_OPENED_BYTES: u64 = 16 << 20;

/// Longest object with a Zstandard frame that is opened, bytes.
pub const MAX_FRAMED_BYTES: u64 = 64 << 20;

/// Longest opened form of such an object, bytes.
pub const MAX_FRAMED_FORM_BYTES: u64 = 256 << 20;

/// The first byte of a form: what was opened.
const KIND_BYTES: usize = 1;
const MEMBERS: u8 = 0;
const FRAMED: u8 = 1;

/// What a long form is written to, and read of again.
pub trait Scratch: ReadAt + Write {}

impl<S: ReadAt + Write> Scratch for S {}

/// What a form is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It is patched from. It says all that a patch may use, and cannot be closed.
    Old,
    /// It is what a patch makes, and can be closed.
    New,
}

/// An object in its opened form.
#[derive(Debug)]
pub enum Opened<S> {
    /// With gzip members.
    Members {
        /// The form.
        form: Vec<u8>,
        /// How many members were opened.
        count: usize,
    },
    /// A Zstandard frame, alone or in a kernel image.
    Framed {
        /// The form.
        form: S,
        /// Where in it the choices begin.
        choices_start: u64,
    },
}

impl<S: Scratch> Opened<S> {
    /// The form.
    pub fn form(&self) -> &dyn ReadAt {
        match self {
            Self::Members { form, .. } => form,
            Self::Framed { form, .. } => form,
        }
    }

    /// Whether something is opened in it.
    pub fn has_streams(&self) -> bool {
        !matches!(self, Self::Members { count: 0, .. })
    }
}

/// Why an object could not be made of its opened form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The form does not say what object it is.
    #[error("expected the opened form of an object of {size_bytes} bytes, found something else")]
    NotOpened {
        /// How long the object should be.
        size_bytes: u64,
    },
    /// The form cannot be read.
    #[error("the opened form of an object cannot be read")]
    Read(#[source] io::Error),
    /// The object cannot be written.
    #[error("the object cannot be written")]
    Write(#[source] io::Error),
}

/// Why something was not opened, or closed.
#[derive(Debug)]
enum Stop {
    /// What was read is not of this kind, or breaks a bound.
    Invalid,
    Read(io::Error),
    Write(io::Error),
}

/// The opened form of an object; `None` if one of them is too long. The same object always has the
/// same on each side. `scratch` makes empty files, or memory, for long ones.
pub fn open<S: Scratch>(
    object: &dyn ReadAt,
    side: Side,
    scratch: &mut dyn FnMut() -> io::Result<S>,
) -> io::Result<Option<Opened<S>>> {
    let size_bytes = object.size_bytes()?;
    if size_bytes <= MAX_FRAMED_BYTES {
        match framed::open(object, size_bytes, side, scratch) {
            Ok((form, choices_start)) => {
                return Ok(Some(Opened::Framed {
                    form,
                    choices_start,
                }));
            }
            Err(Stop::Read(error) | Stop::Write(error)) => return Err(error),
            Err(Stop::Invalid) => {}
        }
    }
    if size_bytes > MAX_CLOSED_BYTES {
        return Ok(None);
    }
    let object = read_all(object, size_bytes)?;
    let members = members::open(&object);
    Ok(members.map(|(form, count)| Opened::Members { form, count }))
}

/// Writes the object of `size_bytes` that has this opened form to `out`, and never more than that.
pub fn close(form: &dyn ReadAt, size_bytes: u64, out: &mut dyn Write) -> Result<(), CloseError> {
    close_any(form, size_bytes, out).map_err(|stop| match stop {
        Stop::Invalid => CloseError::NotOpened { size_bytes },
        Stop::Read(error) => CloseError::Read(error),
        Stop::Write(error) => CloseError::Write(error),
    })
}

fn close_any(form: &dyn ReadAt, size_bytes: u64, out: &mut dyn Write) -> Result<(), Stop> {
    let form_bytes = form.size_bytes().map_err(Stop::Read)?;
    let mut kind = [0; KIND_BYTES];
    if form_bytes > 0 {
        form.read_exact_at(&mut kind, 0).map_err(Stop::Read)?;
    }
    match kind {
        [FRAMED] if form_bytes <= MAX_FRAMED_FORM_BYTES => {
            framed::close(form, form_bytes, size_bytes, out)
        }
        [MEMBERS] if form_bytes <= MAX_OPENED_BYTES && size_bytes <= MAX_CLOSED_BYTES => {
            let form = read_all(form, form_bytes).map_err(Stop::Read)?;
            let object = members::close(&form, size_bytes).ok_or(Stop::Invalid)?;
            out.write_all(&object).map_err(Stop::Write)
        }
        _ => Err(Stop::Invalid),
    }
}

/// Where in the form of an object with a Zstandard frame the content of that lies; `None` if it is no such
/// form.
pub fn framed_content(form: &dyn ReadAt) -> io::Result<Option<Range<u64>>> {
    let form_bytes = form.size_bytes()?;
    let mut kind = [0; KIND_BYTES];
    if form_bytes == 0 {
        return Ok(None);
    }
    form.read_exact_at(&mut kind, 0)?;
    if kind != [FRAMED] {
        return Ok(None);
    }
    framed::content(form, form_bytes)
}

/// All of what is known to be short.
fn read_all(source: &dyn ReadAt, size_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or_default()];
    source.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
