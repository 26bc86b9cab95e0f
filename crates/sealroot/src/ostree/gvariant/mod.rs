// SPDX-License-Identifier: MIT OR Apache-2.0
//! GVariant as OSTree's metadata objects use it: strict reading, and the writing of the little that
//! is written.
//!
//! Only normal form is accepted, so a value has exactly one encoding: zero padding, ascending
//! framing offsets of the smallest width, NUL-terminated UTF-8 strings, booleans 0 or 1. All
//! framing is little-endian. Nothing is allocated by claim and nothing recurses deeper than
//! [`MAX_DEPTH`].
//!
//! [`Tuple`] and [`Array`] take the fixed types of OSTree apart member by member; [`Dictionary`]
//! holds values whose type stands in the data.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod dictionary;
mod normal;
mod types;

use std::ops::Range;

pub use dictionary::Dictionary;

/// Deepest nesting of containers and variants, the same as `GLib`'s. Bounds the recursion.
const MAX_DEPTH: usize = 128;

/// Why bytes are not the normal form of the type they should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotNormal {
    /// A member or the framing offsets reach beyond the end.
    #[error("it ends too early")]
    Truncated,
    /// Bytes belong to no member.
    #[error("it has bytes that belong to no member")]
    Excess,
    /// A framing offset points before the member's start or beyond the end.
    #[error("a framing offset is out of range")]
    Offset,
    /// Framing offsets are wider than they need to be.
    #[error("its framing offsets are wider than needed")]
    OffsetWidth,
    /// Padding before an aligned member is not zero.
    #[error("its padding is not zero")]
    Padding,
    /// A string has no NUL at the end or one before it.
    #[error("a string is not terminated by its only NUL")]
    String,
    /// A string is not UTF-8, or no valid object path or signature.
    #[error("a string has bytes that its type does not allow")]
    Characters,
    /// A boolean is neither 0 nor 1.
    #[error("a boolean is neither 0 nor 1")]
    Boolean,
    /// A variant's type is not one complete type.
    #[error("a variant has no valid type")]
    Type,
    /// Containers are nested too deep.
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

type Result<T> = std::result::Result<T, NotNormal>;

/// The width of framing offsets in a container of `len` bytes, its offsets included.
const fn offset_width(len: usize) -> usize {
    match len as u64 {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// The least width with which `count` offsets can frame `body_len` bytes.
fn least_offset_width(body_len: usize, count: usize) -> usize {
    [1, 2, 4]
        .into_iter()
        .find(|width| {
            count
                .checked_mul(*width)
                .and_then(|table| table.checked_add(body_len))
                .is_some_and(|total| offset_width(total) <= *width)
        })
        .unwrap_or(8)
}

/// One little-endian framing offset of 1 to 8 bytes.
fn read_offset(bytes: &[u8]) -> Result<usize> {
    let mut wide = [0; 8];
    for (to, from) in wide.iter_mut().zip(bytes) {
        *to = *from;
    }
    usize::try_from(u64::from_le_bytes(wide)).map_err(|_| NotNormal::Offset)
}

/// The first multiple of `alignment` from `position` on; the padding up to it must be zero.
fn skip_padding(bytes: &[u8], position: usize, alignment: usize) -> Result<usize> {
    let aligned = position
        .checked_next_multiple_of(alignment)
        .ok_or(NotNormal::Truncated)?;
    let padding = bytes.get(position..aligned).ok_or(NotNormal::Truncated)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(NotNormal::Padding);
    }
    Ok(aligned)
}

/// A string without its NUL.
pub(super) fn string(bytes: &[u8]) -> Result<&str> {
    match bytes.split_last() {
        Some((0, text)) if !text.contains(&0) => {
            std::str::from_utf8(text).map_err(|_| NotNormal::Characters)
        }
        _ => Err(NotNormal::String),
    }
}

/// Takes a tuple or dictionary entry apart, member by member.
#[derive(Clone, Debug)]
pub(super) struct Tuple<'a> {
    body: &'a [u8],
    /// The framing offsets not yet used; the first member's is the last.
    offsets: &'a [u8],
    width: usize,
    position: usize,
}

impl<'a> Tuple<'a> {
    /// A tuple with `framed` members of variable size that are not its last member.
    pub(super) fn new(bytes: &'a [u8], framed: usize) -> Result<Self> {
        let width = offset_width(bytes.len());
        let (body, offsets) = framed
            .checked_mul(width)
            .and_then(|table| bytes.len().checked_sub(table))
            .and_then(|body_len| bytes.split_at_checked(body_len))
            .ok_or(NotNormal::Truncated)?;
        if framed > 0 && least_offset_width(body.len(), framed) != width {
            return Err(NotNormal::OffsetWidth);
        }
        Ok(Self {
            body,
            offsets,
            width,
            position: 0,
        })
    }

    fn take(&mut self, member: Range<usize>) -> Result<&'a [u8]> {
        let bytes = self.body.get(member.clone()).ok_or(NotNormal::Truncated)?;
        self.position = member.end;
        Ok(bytes)
    }

    /// The next member, of the fixed size `size`.
    pub(super) fn fixed(&mut self, alignment: usize, size: usize) -> Result<&'a [u8]> {
        let start = skip_padding(self.body, self.position, alignment)?;
        let end = start.checked_add(size).ok_or(NotNormal::Truncated)?;
        self.take(start..end)
    }

    /// The next member, a big-endian `u32`: OSTree swaps the integers it stores.
    pub(super) fn u32_be(&mut self) -> Result<u32> {
        let bytes = self.fixed(4, 4)?.try_into();
        Ok(u32::from_be_bytes(bytes.map_err(|_| NotNormal::Truncated)?))
    }

    /// The next member, a big-endian `u64`.
    pub(super) fn u64_be(&mut self) -> Result<u64> {
        let bytes = self.fixed(8, 8)?.try_into();
        Ok(u64::from_be_bytes(bytes.map_err(|_| NotNormal::Truncated)?))
    }

    /// The next member, of variable size and not the last.
    pub(super) fn framed(&mut self, alignment: usize) -> Result<&'a [u8]> {
        let start = skip_padding(self.body, self.position, alignment)?;
        let (rest, offset) = self
            .offsets
            .len()
            .checked_sub(self.width)
            .and_then(|at| self.offsets.split_at_checked(at))
            .ok_or(NotNormal::Truncated)?;
        self.offsets = rest;
        let end = read_offset(offset)?;
        if end < start || end > self.body.len() {
            return Err(NotNormal::Offset);
        }
        self.take(start..end)
    }

    /// The last member, of variable size.
    pub(super) fn last(mut self, alignment: usize) -> Result<&'a [u8]> {
        let start = skip_padding(self.body, self.position, alignment)?;
        self.take(start..self.body.len())
    }

    /// Checks that nothing follows the last member, which was of fixed size.
    fn finish(self) -> Result<()> {
        if self.position == self.body.len() {
            Ok(())
        } else {
            Err(NotNormal::Excess)
        }
    }
}

/// The elements of an array whose elements have variable size.
#[derive(Clone, Debug)]
pub(super) struct Array<'a> {
    body: &'a [u8],
    ends: std::slice::ChunksExact<'a, u8>,
    alignment: usize,
    position: usize,
}

impl<'a> Array<'a> {
    /// Finds the framing offsets; each element is checked when it is taken.
    pub(super) fn new(bytes: &'a [u8], alignment: usize) -> Result<Self> {
        let width = offset_width(bytes.len());
        let (body, ends) = if bytes.is_empty() {
            (bytes, bytes)
        } else {
            // The last framing offset is the end of the last element: there the offsets begin.
            let last = bytes.len().saturating_sub(width);
            let body_len = read_offset(bytes.get(last..).ok_or(NotNormal::Truncated)?)?;
            if body_len > last {
                return Err(NotNormal::Offset);
            }
            bytes
                .split_at_checked(body_len)
                .ok_or(NotNormal::Truncated)?
        };
        let ends = ends.chunks_exact(width);
        if !ends.remainder().is_empty() {
            return Err(NotNormal::Offset);
        }
        if ends.len() > 0 && least_offset_width(body.len(), ends.len()) != width {
            return Err(NotNormal::OffsetWidth);
        }
        Ok(Self {
            body,
            ends,
            alignment,
            position: 0,
        })
    }

    fn element(&mut self, end: &[u8]) -> Result<&'a [u8]> {
        let start = skip_padding(self.body, self.position, self.alignment)?;
        let end = read_offset(end)?;
        let element = self.body.get(start..end).ok_or(NotNormal::Offset)?;
        self.position = end;
        Ok(element)
    }
}

impl<'a> Iterator for Array<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.ends.next()?;
        Some(self.element(end))
    }
}

/// Appends `ends`, the framing offsets of a container, to its body.
pub(super) fn append_offsets(container: &mut Vec<u8>, ends: &[usize]) {
    let width = least_offset_width(container.len(), ends.len());
    for end in ends {
        let bytes = (*end as u64).to_le_bytes();
        container.extend(bytes.iter().take(width));
    }
}

#[cfg(test)]
mod tests;
